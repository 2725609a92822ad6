#include "runtime/formats/idx.h"

#include <gmock/gmock.h>
#include <zlib.h>

#include "tests/formats/temp_folder.h"

namespace facet::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string idx(const std::vector<std::uint32_t>& shape, const std::string& data, char type = 8) {
  std::string bytes = {'\0', '\0', type, static_cast<char>(shape.size())};
  for (const std::uint32_t extent : shape) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      bytes.push_back(static_cast<char>(extent >> shift & 0xFF));
    }
  }
  return bytes + data;
}

void write_gzipped(const fs::path& path, const std::string& bytes) {
  gzFile file = gzopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr);
  ASSERT_EQ(gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())),
            static_cast<int>(bytes.size()));
  ASSERT_EQ(gzclose(file), Z_OK);
}

std::string refusal(const std::string& bytes) {
  const TempFolder folder;
  write_bytes(folder / "x.idx", bytes);
  const std::string message = error_of([&] { read_idx(folder / "x.idx"); });
  EXPECT_THAT(message, HasSubstr("x.idx"));
  return message;
}

TEST(Idx, ReadsPlainAndGzippedFiles) {
  const TempFolder folder;
  const std::string bytes = idx({2, 1, 3}, {1, 2, 3, 4, 5, '\xFF'});
  write_bytes(folder / "plain", bytes);
  write_gzipped(folder / "gzipped", bytes);
  for (const char* name : {"plain", "gzipped"}) {
    const HostTensor tensor = read_idx(folder / name);
    EXPECT_EQ(tensor.dtype(), DType::u8);
    EXPECT_EQ(tensor.shape(), (std::vector<std::int64_t>{2, 1, 3}));
    EXPECT_THAT(tensor.to_doubles(), ElementsAre(1, 2, 3, 4, 5, 255));
  }
}

TEST(Idx, RefusesWhatItIsNot) {
  EXPECT_THAT(refusal(""), HasSubstr("cut short"));
  EXPECT_THAT(refusal("\x89PNG and more"), HasSubstr("does not begin"));
  EXPECT_THAT(refusal(idx({1}, "1234", 0x0D)), HasSubstr("element type is 0x0d"));
  EXPECT_THAT(refusal(idx({4}, "12345")), HasSubstr("more data than"));
  EXPECT_THAT(refusal(idx({0xFFFFFFFF, 0xFFFFFFFF}, "")), HasSubstr("not possible"));
  EXPECT_THAT(refusal(idx({0xFFFFFFFF}, "")), HasSubstr("more than its 8 can hold"));
  const TempFolder folder;
  EXPECT_THAT(error_of([&] { read_idx(folder / "missing.gz"); }),
              AllOf(HasSubstr("missing.gz"), HasSubstr("No such file")));
  error_of([&] { read_idx(folder / ""); });
}

TEST(Idx, EveryTruncationIsNoticed) {
  const TempFolder folder;
  const auto path = folder / "x.gz";
  const std::string plain = idx({3, 5}, "abcdefghijklmno");
  write_gzipped(path, plain);
  for (const std::string& whole : {plain, read_bytes(path)}) {
    for (std::size_t size = 0; size < whole.size(); ++size) {
      write_bytes(path, whole.substr(0, size));
      EXPECT_THROW(read_idx(path), Error) << "cut to " << size << " of " << whole.size();
    }
  }
}

TEST(Idx, DamageInAGzippedFileIsNoticed) {
  const TempFolder folder;
  const auto path = folder / "x.gz";
  const std::string data = "abcdefghijklmno";
  write_gzipped(path, idx({3, 5}, data));
  const std::string whole = read_bytes(path);
  for (std::size_t bit = 10 * 8; bit < whole.size() * 8; ++bit) {  // behind gzip's own header
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    write_bytes(path, bytes);
    try {
      // Padding bits at the end of the compressed data may change nothing.
      const HostTensor tensor = read_idx(path);
      EXPECT_EQ(std::string(tensor.as<char>(), 15), data) << "bit " << bit;
    } catch (const Error&) {
    }
  }
}

TEST(FashionMnist, ReadsTheTestSet) {
  if (!fs::exists(kFashionMnistFolder)) GTEST_SKIP() << "dataset-fashion-mnist is not installed";
  const FashionMnist data = read_fashion_mnist(false);
  EXPECT_EQ(data.images.shape(), (std::vector<std::int64_t>{10000, 28, 28}));
  EXPECT_EQ(data.labels.shape(), (std::vector<std::int64_t>{10000}));
  // Every class has a thousand images; the first ones are an ankle boot, a pullover, two trousers.
  std::vector<int> counts(10);
  for (std::int64_t i = 0; i < 10000; ++i) ++counts.at(data.labels.as<std::uint8_t>()[i]);
  EXPECT_EQ(counts, std::vector<int>(10, 1000));
  const std::vector<double> labels = data.labels.to_doubles();
  EXPECT_THAT(std::vector<double>(labels.begin(), labels.begin() + 4), ElementsAre(9, 2, 1, 1));
}

TEST(FashionMnist, NamesThePackageAndChecksTheShapes) {
  const TempFolder folder;
  EXPECT_THAT(error_of([&] { read_fashion_mnist(false, folder / ""); }),
              AllOf(HasSubstr("t10k-images"), HasSubstr("apt install dataset-fashion-mnist")));
  write_bytes(folder / "train-images-idx3-ubyte.gz", idx({1, 28, 27}, std::string(28 * 27, 'x')));
  write_bytes(folder / "train-labels-idx1-ubyte.gz", idx({1}, "x"));
  EXPECT_THAT(error_of([&] { read_fashion_mnist(true, folder / ""); }),
              AllOf(HasSubstr("[1, 28, 27]"), HasSubstr("[N, 28, 28]")));
}

}  // namespace
}  // namespace facet::test
