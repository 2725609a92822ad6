#include "runtime/formats/idx.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <type_traits>

#include "ir/error.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kUnsignedByte = 0x08;
constexpr std::int64_t kLargestCompression = 1032;  // of deflate, by construction

struct Close {
  void operator()(gzFile file) const { gzclose(file); }
};

/// zlib reads a file that is not gzipped as it is.
class Stream {
 public:
  explicit Stream(const fs::path& path) : file_(gzopen(path.c_str(), "rb")) {
    if (!file_) throw failure(std::strerror(errno));
  }

  void read(std::span<std::byte> to) {
    while (!to.empty()) {
      const auto part = static_cast<unsigned>(std::min<std::size_t>(to.size(), 1 << 30));
      const int count = gzread(file_.get(), to.data(), part);
      check();
      if (count <= 0) throw failure("it is cut short");
      to = to.subspan(static_cast<std::size_t>(count));
    }
  }

  /// Also makes zlib compare the checksum behind the data.
  void expect_end() {
    std::byte extra;
    const int count = gzread(file_.get(), &extra, 1);
    check();
    if (count != 0) throw failure("it has more data than its header declares");
  }

 private:
  void check() {
    int error = Z_OK;
    const char* message = gzerror(file_.get(), &error);
    if (error == Z_ERRNO) throw failure(std::strerror(errno));
    if (error != Z_OK && error != Z_STREAM_END) throw failure(message);
  }

  std::unique_ptr<std::remove_pointer_t<gzFile>, Close> file_;
};

std::vector<std::int64_t> read_shape(Stream& stream) {
  std::array<std::byte, 4> word{};
  stream.read(word);
  if (word[0] != std::byte{0} || word[1] != std::byte{0}) {
    throw failure("it does not begin as an IDX file does");
  }
  const auto type = std::to_integer<unsigned>(word[2]);
  if (type != kUnsignedByte) {
    throw failure(
        fmt::format("its element type is 0x{:02x}; only unsigned bytes (0x08) are read", type));
  }
  std::vector<std::int64_t> shape(std::to_integer<std::size_t>(word[3]));
  for (auto& extent : shape) {
    stream.read(word);
    for (const std::byte byte : word) extent = extent << 8 | std::to_integer<std::int64_t>(byte);
  }
  return shape;
}

FashionMnist checked(FashionMnist data, const fs::path& folder) {
  const auto count = data.labels.element_count();
  if (data.labels.rank() != 1 || data.images.shape() != std::vector<std::int64_t>{count, 28, 28}) {
    throw failure(
        fmt::format("{}: the files hold images [{}] and labels [{}], not Fashion-MNIST's "
                    "[N, 28, 28] and [N]",
                    folder.string(), fmt::join(data.images.shape(), ", "),
                    fmt::join(data.labels.shape(), ", ")));
  }
  return data;
}

}  // namespace

HostTensor read_idx(const fs::path& path) {
  try {
    std::error_code error;
    const auto file_size = fs::file_size(path, error);
    if (error) throw failure(error.message());
    Stream stream(path);
    const auto shape = read_shape(stream);
    // A few bytes cannot declare gigabytes: no memory is asked for that the file could not fill.
    const std::int64_t count = element_count(shape);
    if (count / kLargestCompression > static_cast<std::int64_t>(file_size)) {
      throw failure(
          fmt::format("it declares {} bytes, more than its {} can hold", count, file_size));
    }
    HostTensor tensor(DType::u8, shape);
    stream.read({tensor.mutable_data(), static_cast<std::size_t>(count)});
    stream.expect_end();
    return tensor;
  } catch (const Error& error) {
    throw failure(
        fmt::format("{}: cannot be read as an IDX file: {}", path.string(), error.what()));
  }
}

FashionMnist read_fashion_mnist(bool training, const fs::path& folder) {
  const std::string prefix = training ? "train" : "t10k";
  const auto images = folder / (prefix + "-images-idx3-ubyte.gz");
  const auto labels = folder / (prefix + "-labels-idx1-ubyte.gz");
  for (const auto& path : {images, labels}) {
    if (!fs::exists(path)) {
      throw failure(
          fmt::format("{} is not there; install Debian's package dataset-fashion-mnist "
                      "(apt install dataset-fashion-mnist) or name the folder that has it",
                      path.string()));
    }
  }
  return checked({read_idx(images), read_idx(labels)}, folder);
}

}  // namespace facet
