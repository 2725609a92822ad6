#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <turbojpeg.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "ir/text.h"
#include "runtime/formats/idx.h"
#include "runtime/formats/image.h"
#include "runtime/formats/npy.h"
#include "runtime/formats/record_file.h"
#include "runtime/formats/torch_file.h"
#include "runtime/formats/verification_bin.h"
#include "runtime/formats/weight_index.h"
#include "runtime/splitmix.h"
#include "tests/formats/record_bytes.h"
#include "tests/formats/temp_folder.h"
#include "tests/formats/torch_archive.h"
#include "tests/fuzz/memory_file.h"

// Every reader with every way a file can be broken by chance or by intent. The programs in
// tests/fuzz look further, with sanitizers; here is what must hold in every build.

namespace facet::test {
namespace {

/// What reading one file may ask the system for.
constexpr rlim_t kMemory = rlim_t{64} << 20;

rlim_t mapped_now() {
  std::ifstream file("/proc/self/statm");
  rlim_t pages = 0;
  file >> pages;
  return pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE));
}

/// Runs `work` in a child that cannot have more than kMemory: true if it came to its end, be it by
/// an Error. Sanitizers map terabytes for themselves, there the limit is left out.
bool survives(const std::function<void()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
#ifndef __SANITIZE_ADDRESS__
    const rlimit limit = {mapped_now() + kMemory, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) ::_exit(3);
#endif
    try {
      work();
    } catch (const Error& error) {
      // The system's refusal is not the reader's.
      ::_exit(std::string_view(error.what()).find("out of memory") == std::string_view::npos ? 0
                                                                                             : 4);
    } catch (...) {
      ::_exit(5);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct Reader {
  const char* name;
  std::string (*good)();
  void (*read)(const std::string& bytes);
};
void PrintTo(const Reader& reader, std::ostream* out) { *out << reader.name; }

std::shared_ptr<const MappedFile> in_memory(const std::string& bytes) {
  return MappedFile::copy_of(std::as_bytes(std::span(bytes)), "x");
}

/// Through a file, for what writes and reads files only.
std::string written(const std::function<void(const std::filesystem::path&)>& write) {
  const TempFolder folder;
  write(folder / "x");
  return read_bytes(folder / "x");
}

std::string good_jpeg() {
  const Image image = make_image(40, 30);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  tjhandle coder = tjInitCompress();
  tjCompress2(coder, image.pixels.data(), 40, 0, 30, TJPF_RGB, &bytes, &size, TJSAMP_420, 80, 0);
  std::string file(reinterpret_cast<const char*>(bytes), size);
  tjFree(bytes);
  tjDestroy(coder);
  return file;
}

std::string good_idx() { return std::string("\0\0\x08\x02\0\0\0\x02\0\0\0\x03", 12) + "abcdef"; }

const Reader kReaders[] = {
    {"Safetensors",
     [] {
       return written([](const auto& path) {
         write_safetensors(
             path, {{"a", HostTensor(DType::f32, {2, 3})}, {"b", HostTensor(DType::u8, {})}},
             {{"k", "v"}});
       });
     },
     [](const std::string& bytes) { read_safetensors(in_memory(bytes)); }},
    {"WeightIndex",
     [] { return std::string(R"({"metadata":{"n":1},"weight_map":{"a":"1","b":"2"}})"); },
     [](const std::string& bytes) { parse_weight_index(bytes); }},
    {"Npy",
     [] {
       return written([](const auto& path) { write_npy(path, HostTensor(DType::f64, {3, 2})); });
     },
     [](const std::string& bytes) { read_npy(in_memory(bytes)); }},
    {"Idx", good_idx,
     [](const std::string& bytes) {
       read_idx(fuzz::MemoryFile(std::as_bytes(std::span(bytes))).path());
     }},
    {"Png", [] { return written([](const auto& path) { write_png(path, make_image(20, 10)); }); },
     [](const std::string& bytes) { decode_image(std::as_bytes(std::span(bytes)), "x"); }},
    {"Jpeg", good_jpeg,
     [](const std::string& bytes) { decode_image(std::as_bytes(std::span(bytes)), "x"); }},
    {"RecordFile",
     [] { return labels_record({3, 4}, "") + plain_record(1, "abc") + plain_record(2, "de"); },
     [](const std::string& bytes) {
       const RecordFile file(in_memory(bytes), nullptr);
       for (std::int64_t item = 0; item < file.size(); ++item) file.label(item);
     }},
    {"VerificationBin",
     [] {
       return written([](const auto& path) {
         write_verification_bin(path, std::vector(2, std::vector(3, std::byte{1})), {true});
       });
     },
     [](const std::string& bytes) { read_verification_bin(in_memory(bytes)); }},
    {"Torch",
     [] {
       return torch_archive({.shape = {2, 3}, .strides = {1, 2}}, {}, false);
     },
     [](const std::string& bytes) { read_torch(in_memory(bytes)); }},
    {"TorchPacked",
     [] {
       return torch_archive({.shape = {2, 3}, .strides = {1, 2}}, {}, true);
     },
     [](const std::string& bytes) { read_torch(in_memory(bytes)); }},
    {"GraphText",
     [] {
       return std::string(
           "graph \"t\" {\n"
           "  param \"p\" : i64[2, 2] other fixed tensor<i64[2, 2]; table 1 [2, 2] [2, 1]>\n"
           "  %0 = input() {name = \"x\", type = \"f32[N, 3, 8, 8]\"} : f32[N, 3, 8, 8]\n"
           "  %1 = relu(%0) : f32[N, 3, 8, 8] @ \"a\"\n"
           "  return \"y\" = %1\n}\n");
     },
     [](const std::string& bytes) { parse_graph(bytes); }},
};

class HostileFiles : public ::testing::TestWithParam<Reader> {};

TEST_P(HostileFiles, TheGoodOneIsRead) { GetParam().read(GetParam().good()); }

TEST_P(HostileFiles, CutShortAtEveryLength) {
  const std::string good = GetParam().good();
  EXPECT_TRUE(survives([&] {
    for (std::size_t size = 0; size < good.size(); ++size) {
      try {
        GetParam().read(good.substr(0, size));
      } catch (const Error&) {
      }
    }
  }));
}

TEST_P(HostileFiles, WithBitsFlipped) {
  const std::string good = GetParam().good();
  EXPECT_TRUE(survives([&] {
    for (std::uint64_t i = 0; i < 3000; ++i) {
      std::string bad = good;
      for (std::uint64_t flip = 0; flip <= i % 4; ++flip) {
        const std::uint64_t random = splitmix64(i, flip);
        bad[random % bad.size()] ^= static_cast<char>(1U << (random >> 32) % 8);
      }
      try {
        GetParam().read(bad);
      } catch (const Error& error) {
        if (std::string_view(error.what()).find("out of memory") != std::string_view::npos) throw;
      }
    }
  }));
}

INSTANTIATE_TEST_SUITE_P(All, HostileFiles, ::testing::ValuesIn(kReaders),
                         [](const auto& reader) { return reader.param.name; });

/// `bytes` of a small file that declares far more than it has.
class Declares : public ::testing::TestWithParam<std::pair<const char*, std::function<void()>>> {};

TEST_P(Declares, FarMoreThanThereIs) {
  bool refused = false;
  try {
    GetParam().second();
  } catch (const Error&) {
    refused = true;
  }
  EXPECT_TRUE(refused);
  EXPECT_TRUE(survives(GetParam().second));
}

void read_text(const std::string& constant) {
  parse_graph("graph \"t\" {\n  param \"p\" : i64[4194305] other fixed tensor<" + constant +
              ">\n  return \"y\" = %0\n}\n");
}

std::string png_of(std::uint32_t width, std::uint32_t height) {
  std::string bytes = written([](const auto& path) { write_png(path, make_image(20, 10)); });
  std::string size;
  for (const std::uint32_t extent : {width, height}) {
    for (int shift = 24; shift >= 0; shift -= 8) size.push_back(static_cast<char>(extent >> shift));
  }
  bytes.replace(16, 8, size);
  const auto checksum = crc32(0, reinterpret_cast<const Bytef*>(bytes.data()) + 12, 17);
  for (int i = 0; i < 4; ++i)
    bytes[29 + static_cast<std::size_t>(i)] = static_cast<char>(checksum >> (24 - 8 * i));
  return bytes;
}

std::string jpeg_of(std::uint16_t width, std::uint16_t height) {
  std::string bytes = good_jpeg();
  const std::size_t frame = bytes.find("\xFF\xC0");
  const char size[] = {static_cast<char>(height >> 8), static_cast<char>(height),
                       static_cast<char>(width >> 8), static_cast<char>(width)};
  return bytes.replace(frame + 5, 4, size, 4);
}

/// These are made once, before memory is limited.
const std::string& many_values() {
  static const std::string archive = make_zip({{"a/data.pkl", std::string(50'000'000, ']'), true}});
  return archive;
}

const std::string& packed_storage() {
  static const std::string archive = make_zip(
      {{"a/data.pkl", "}" + pickled(std::string("w")) +
                          pickled(TorchTensor{.elements = 25 << 20, .shape = {1}, .strides = {1}}) +
                          "s."},
       {"a/data/0", std::string(std::size_t{100} << 20, '\0'), true}});
  return archive;
}

void decode(const std::string& bytes) { decode_image(std::as_bytes(std::span(bytes)), "x"); }

INSTANTIATE_TEST_SUITE_P(
    All, Declares,
    ::testing::Values(
        std::pair{"Png", [] { decode(png_of(16000, 16000)); }},
        std::pair{"Jpeg", [] { decode(jpeg_of(16000, 16000)); }},
        std::pair{"TextTable", [] { read_text("i64[4194305]; table 0 [4194305] [1]"); }},
        std::pair{"TextTables",
                  [] {
                    std::string text = "graph \"t\" {\n";
                    for (int i = 0; i < 100; ++i) {
                      text += "  param \"p" + std::to_string(i) +
                              "\" : i64[1000000] other fixed tensor<i64[1000000]; table " +
                              std::to_string(i) + " [1000000] [1]>\n";
                    }
                    parse_graph(text + "}\n");
                  }},
        std::pair{"Idx",
                  [] {
                    const TempFolder folder;
                    write_bytes(folder / "x", std::string("\0\0\x08\x02\x7F\0\0\0\x7F\0\0\0", 12));
                    read_idx(folder / "x");
                  }},
        std::pair{"PickleOfManyValues", [] { read_torch(in_memory(many_values())); }},
        std::pair{"PackedStorage", [] { read_torch(in_memory(packed_storage())); }}),
    [](const auto& declared) { return declared.param.first; });

}  // namespace
}  // namespace facet::test
