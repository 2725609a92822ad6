// Writes the inputs that fuzzing begins with: SEEDS/TARGET/*, small and right, so that changed ones
// come far.  make_seeds SEEDS TESTS-FOLDER [ONNX-TEST-DATA]

#include <turbojpeg.h>
#include <zlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/formats/image.h"
#include "runtime/formats/npy.h"
#include "runtime/formats/safetensors.h"
#include "runtime/formats/verification_bin.h"
#include "tests/formats/record_bytes.h"
#include "tests/formats/torch_archive.h"
#include "training/checkpoint.h"
#include "training/recipe.h"

namespace facet::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kLargestSeed = 4096;

void write(const fs::path& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path.string());
}

fs::path folder(const fs::path& seeds, const std::string& target) {
  fs::create_directories(seeds / target);
  return seeds / target;
}

std::string big_endian(std::uint32_t value) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8)
    text.push_back(static_cast<char>(value >> shift & 0xFF));
  return text;
}

void write_tensor_seeds(const fs::path& seeds) {
  const NamedTensors tensors = {{"a.weight", HostTensor::from_floats({2, 3}, {1, 2, 3, 4, 5, 6})},
                                {"b", HostTensor(DType::i64, {})},
                                {"c", HostTensor(DType::boolean, {3})},
                                {"d", HostTensor(DType::bf16, {0, 4})}};
  write_safetensors(folder(seeds, "safetensors") / "four", tensors, {{"format", "pt"}});
  write_safetensors(folder(seeds, "safetensors") / "one", {tensors[0]});
  for (const auto dtype : {DType::f64, DType::f16, DType::i8, DType::boolean}) {
    write_npy(folder(seeds, "npy") / std::string(to_string(dtype)), HostTensor(dtype, {2, 3}));
  }
  write(folder(seeds, "npy") / "fortran",
        "\x93NUMPY\x02" + std::string("\0\x3C\0\0\0", 5) +
            "{'descr':'|u1','fortran_order':True,'shape':(2,3),}         \n" + "abcdef");
  write(folder(seeds, "weight_index") / "two",
        R"({"metadata":{"total_size":8},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  Checkpoint checkpoint;
  checkpoint.tensors = {{"a", tensors[0].second}};
  checkpoint.recipe = to_toml({});
  checkpoint.notes = {{"k", "v"}};
  write_checkpoint(folder(seeds, "checkpoint") / "one", checkpoint);
}

void write_idx_seeds(const fs::path& seeds) {
  const std::string plain = std::string("\0\0\x08\x03", 4) + big_endian(2) + big_endian(2) +
                            big_endian(3) + "abcdefghijkl";
  write(folder(seeds, "idx") / "plain", plain);
  const fs::path packed = folder(seeds, "idx") / "packed";
  gzFile file = gzopen(packed.c_str(), "wb");
  if (file == nullptr || gzwrite(file, plain.data(), static_cast<unsigned>(plain.size())) <= 0 ||
      gzclose(file) != Z_OK) {
    throw std::runtime_error("cannot write " + packed.string());
  }
}

void write_image_seeds(const fs::path& seeds) {
  Image image = make_image(24, 17);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] = static_cast<std::uint8_t>(i * i >> 3);
  }
  write_png(folder(seeds, "image") / "png", image);
  for (const bool progressive : {false, true}) {
    for (const int sampling : {TJSAMP_444, TJSAMP_420, TJSAMP_GRAY}) {
      tjhandle coder = tjInitCompress();
      unsigned char* bytes = nullptr;
      unsigned long size = 0;
      if (tjCompress2(coder, image.pixels.data(), image.width, 0, image.height, TJPF_RGB, &bytes,
                      &size, sampling, 80, progressive ? TJFLAG_PROGRESSIVE : 0) != 0) {
        throw std::runtime_error("libjpeg cannot write");
      }
      write(seeds / "image" / ("jpeg" + std::to_string(sampling) + (progressive ? "p" : "")),
            {reinterpret_cast<const char*>(bytes), size});
      tjFree(bytes);
      tjDestroy(coder);
    }
  }
}

void write_record_seeds(const fs::path& seeds) {
  const std::string first = test::labels_record({4, 5}, "");
  test::RecordBytes bytes;
  for (const std::string& record :
       {first, test::plain_record(1, "abcd"), test::labels_record({1, 2}, "ef"),
        test::record_part(1, test::record_payload(0, 3, {}, "g")) + test::record_part(3, "h"),
        test::labels_record({1, 4}, "")}) {
    bytes.add(record);
  }
  const auto length = static_cast<std::uint16_t>(bytes.index.size());
  write(folder(seeds, "record_file") / "indexed", test::raw(length) + bytes.index + bytes.records);
  write(seeds / "record_file" / "scanned", test::raw(std::uint16_t{0}) + bytes.records);
  write(seeds / "record_file" / "im2rec",
        test::raw(std::uint16_t{4}) + "5\t0\n" + test::plain_record(2, "x"));
  const std::vector<std::byte> picture(5, std::byte{'p'});
  write_verification_bin(folder(seeds, "verification_bin") / "python2",
                         std::vector(4, picture), {true, false});
  using namespace std::string_literals;
  write(seeds / "verification_bin" / "python3",
        "\x80\x04\x95\x12\0\0\0\0\0\0\0]\x94(C\x01x\x94h\x01" "e]\x94\x88" "a\x86\x94."s);
}

/// Without checksums, so that a changed content is read.
std::string unchecked(std::string archive) {
  for (std::size_t at = 0; (at = archive.find("PK\x01\x02", at)) != std::string::npos; ++at) {
    archive.replace(at + 16, 4, 4, '\0');
  }
  return archive;
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_torch_seeds(const fs::path& seeds, const fs::path& tests) {
  const test::TorchTensor tensor{.shape = {2, 3}, .strides = {1, 2}};
  for (const bool packed : {false, true}) {
    write(folder(seeds, "torch") / (packed ? "packed" : "stored"),
          unchecked(test::torch_archive(tensor, {}, packed)));
  }
  const fs::path pickles = folder(seeds, "torch_pickle");
  write(pickles / "small",
        "\x80\x02}" + test::pickled(std::string("w")) + test::pickled(tensor) + "s.");
  for (const auto& entry : fs::directory_iterator(tests / "data")) {
    if (entry.path().extension() != ".pth") continue;
    const std::string archive = read_file(entry.path());
    write(seeds / "torch" / entry.path().stem(), unchecked(archive));
    // data.pkl is the first entry and stored: its pickle begins with a protocol, ends with a stop.
    const std::size_t begin = archive.find('\x80');
    const std::size_t end = archive.find(".PK\x07\x08", begin);
    if (end != std::string::npos)
      write(pickles / entry.path().stem(), archive.substr(begin, end + 1 - begin));
  }
}

void write_text_seeds(const fs::path& seeds, const fs::path& tests) {
  write(folder(seeds, "graph_text") / "net", read_file(tests / "data" / "net.ir"));
  write(seeds / "graph_text" / "table", R"(graph "t" {
  param "p" : i64[2, 2] other fixed tensor<i64[2, 2]; table 1 [2, 2] [2, 1]>
  %0 = parameter() {key = "p", type = "i64[2, 2]"} : i64[2, 2]
  return "y" = %0
}
)");
  write(folder(seeds, "recipe") / "default", to_toml({}));
  write(seeds / "recipe" / "short", "[model]\nname = \"lscnn\"\n[training]\nepochs = 3\n");
}

void copy_onnx_seeds(const fs::path& seeds, const fs::path& data) {
  const fs::path target = folder(seeds, "onnx");
  for (const auto& entry : fs::recursive_directory_iterator(data)) {
    if (entry.path().filename() != "model.onnx" || fs::file_size(entry) > kLargestSeed) continue;
    fs::copy_file(entry, target / entry.path().parent_path().filename(),
                  fs::copy_options::overwrite_existing);
  }
}

}  // namespace
}  // namespace facet::fuzz

int main(int argc, char** argv) {
  using namespace facet::fuzz;
  if (argc < 3) {
    std::fprintf(stderr, "usage: make_seeds SEEDS TESTS-FOLDER [ONNX-TEST-DATA]\n");
    return 2;
  }
  write_tensor_seeds(argv[1]);
  write_idx_seeds(argv[1]);
  write_image_seeds(argv[1]);
  write_record_seeds(argv[1]);
  write_torch_seeds(argv[1], argv[2]);
  write_text_seeds(argv[1], argv[2]);
  if (argc > 3) copy_onnx_seeds(argv[1], argv[3]);
  return 0;
}
