#include "runtime/formats/npy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <charconv>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "ir/error.h"
#include "runtime/formats/atomic_file.h"
#include "runtime/formats/mapped_file.h"

namespace facet {
namespace {

static_assert(std::endian::native == std::endian::little, "arrays are mapped as they are stored");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kAlignment = 64;  // where the data of written files begins
constexpr std::size_t kLargestRank = 64;

constexpr std::array<std::pair<std::string_view, DType>, 8> kDTypes = {{{"<f8", DType::f64},
                                                                        {"<f4", DType::f32},
                                                                        {"<f2", DType::f16},
                                                                        {"<i8", DType::i64},
                                                                        {"<i4", DType::i32},
                                                                        {"|i1", DType::i8},
                                                                        {"|u1", DType::u8},
                                                                        {"|b1", DType::boolean}}};

struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
};

/// The header is a Python dictionary of a text, a truth value and a tuple of whole numbers.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : rest_(text) {}

  Header parse() {
    Header header;
    int seen = 0;  // one bit a key
    const auto once = [&](int bit) {
      if ((seen & bit) != 0) bad();
      seen |= bit;
    };
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr") {
        once(1);
        header.descr = descr();
      } else if (key == "fortran_order") {
        once(2);
        header.fortran_order = truth();
      } else if (key == "shape") {
        once(4);
        header.shape = tuple();
      } else {
        bad();
      }
      if (accept(',')) continue;
      expect('}');
      break;
    }
    skip_blanks();
    if (seen != 7 || !rest_.empty()) bad();
    return header;
  }

 private:
  [[noreturn]] static void bad() { throw failure("its header is not that of an array"); }

  void skip_blanks() {
    while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_.front())) != 0) {
      rest_.remove_prefix(1);
    }
  }

  bool accept(char c) {
    skip_blanks();
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }

  void expect(char c) {
    if (!accept(c)) bad();
  }

  std::string quoted() {
    skip_blanks();
    if (!rest_.starts_with('\'') && !rest_.starts_with('"')) bad();
    const std::size_t end = rest_.find(rest_.front(), 1);
    if (end == std::string_view::npos) bad();
    std::string text(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return text;
  }

  std::string descr() {
    skip_blanks();
    if (rest_.starts_with('[')) {
      throw failure("it holds records, not plain numbers; save each field as its own array");
    }
    return quoted();
  }

  bool truth() {
    skip_blanks();
    for (const auto& [word, value] : {std::pair{"True", true}, std::pair{"False", false}}) {
      if (!rest_.starts_with(word)) continue;
      rest_.remove_prefix(std::strlen(word));
      return value;
    }
    bad();
  }

  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> values;
    expect('(');
    while (!accept(')')) {
      skip_blanks();
      std::int64_t value = 0;
      const char* end = rest_.data() + rest_.size();
      const auto [next, error] = std::from_chars(rest_.data(), end, value);
      if (error != std::errc() || value < 0 || values.size() == kLargestRank) bad();
      rest_.remove_prefix(static_cast<std::size_t>(next - rest_.data()));
      accept('L');  // as Python 2 wrote its long integers
      values.push_back(value);
      if (accept(',')) continue;
      expect(')');
      break;
    }
    return values;
  }

  std::string_view rest_;
};

/// The header's text and where the data begins.
std::pair<std::string_view, std::size_t> find_header(std::string_view bytes) {
  if (!bytes.starts_with(kMagic)) throw failure("it does not begin as an .npy file does");
  if (bytes.size() < 10) throw failure("it is cut short in its header");
  const auto byte = [&](std::size_t i) {
    return static_cast<std::size_t>(static_cast<unsigned char>(bytes[i]));
  };
  const std::size_t version = byte(6);
  if (version < 1 || version > 3 || byte(7) != 0) {
    throw failure(
        fmt::format("its format version {}.{} is not known (1.0 to 3.0 are)", version, byte(7)));
  }
  const std::size_t begin = version == 1 ? 10 : 12;
  if (bytes.size() < begin) throw failure("it is cut short in its header");
  std::size_t length = byte(8) | byte(9) << 8;
  if (version > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > bytes.size() - begin) throw failure("it is cut short in its header");
  return {bytes.substr(begin, length), begin + length};
}

DType dtype_of(std::string descr) {
  if (descr.empty()) throw failure("its dtype is empty");
  if (descr == "bfloat16" || descr == "<V2" || descr == "|V2") {
    throw failure("NumPy has no bf16; save it as float32, or use safetensors");
  }
  if (descr.front() == '>') {
    throw failure(fmt::format("its dtype '{}' is big-endian; save it with .astype('<{}')", descr,
                              descr.substr(1)));
  }
  if (descr.front() == '=') descr.front() = '<';
  if (descr == "<i1" || descr == "<u1" || descr == "<b1") descr.front() = '|';
  const auto* known = std::find_if(kDTypes.begin(), kDTypes.end(),
                                   [&](const auto& item) { return item.first == descr; });
  if (known == kDTypes.end()) {
    throw failure(
        fmt::format("its dtype '{}' is not one of <f8, <f4, <f2, <i8, <i4, |i1, |u1, "
                    "|b1; save it with .astype to one of them",
                    descr.substr(0, 40)));
  }
  return known->second;
}

/// `columns` has the right shape but its first dimension fastest in memory.
HostTensor to_row_major(const HostTensor& columns) {
  HostTensor rows(columns.dtype(), columns.shape());
  const auto size = static_cast<std::size_t>(size_of(columns.dtype()));
  for (std::int64_t to = 0; to < rows.element_count(); ++to) {
    std::int64_t from = 0;
    std::int64_t rest = to;
    std::int64_t stride = rows.element_count();
    for (auto extent = rows.shape().rbegin(); extent != rows.shape().rend(); ++extent) {
      stride /= *extent;
      from += rest % *extent * stride;
      rest /= *extent;
    }
    std::memcpy(rows.mutable_data() + static_cast<std::size_t>(to) * size,
                columns.data() + static_cast<std::size_t>(from) * size, size);
  }
  return rows;
}

HostTensor read_mapped(const std::shared_ptr<const MappedFile>& file) {
  const auto bytes = file->bytes();
  const auto [text, begin] =
      find_header({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  Header header = HeaderParser(text).parse();
  const DType dtype = dtype_of(header.descr);
  std::int64_t size = 0;
  if (__builtin_mul_overflow(element_count(header.shape), size_of(dtype), &size)) {
    throw failure(fmt::format("its shape ({}) overflows", fmt::join(header.shape, ", ")));
  }
  if (static_cast<std::size_t>(size) != bytes.size() - begin) {
    throw failure(fmt::format("its shape ({}) needs {} bytes but {} are there",
                              fmt::join(header.shape, ", "), size, bytes.size() - begin));
  }
  const HostTensor tensor = tensor_in(file, dtype, std::move(header.shape), begin);
  if (dtype == DType::boolean) {
    const auto* values = tensor.as<std::uint8_t>();
    if (std::any_of(values, values + size, [](auto value) { return value > 1; })) {
      throw failure("it has bool values that are not 0 or 1");
    }
  }
  return header.fortran_order ? to_row_major(tensor) : tensor;
}

}  // namespace

HostTensor read_npy(const std::filesystem::path& path) { return read_npy(MappedFile::open(path)); }

HostTensor read_npy(const std::shared_ptr<const MappedFile>& file) {
  try {
    return read_mapped(file);
  } catch (const Error& error) {
    throw failure(
        fmt::format("{}: cannot be read as an .npy file: {}", file->path(), error.what()));
  }
}

void write_npy(const std::filesystem::path& path, const HostTensor& tensor) {
  if (tensor.empty()) throw usage_error(fmt::format("{}: the tensor is empty", path.string()));
  const auto* known = std::find_if(kDTypes.begin(), kDTypes.end(),
                                   [&](const auto& item) { return item.second == tensor.dtype(); });
  if (known == kDTypes.end()) {
    throw usage_error(
        fmt::format("{}: the .npy format has no {}; cast the tensor to f32 or write "
                    "a .safetensors file",
                    path.string(), to_string(tensor.dtype())));
  }
  // A tuple of one is written with a comma: (3,).
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", known->first,
                  fmt::join(tensor.shape(), ", "), tensor.rank() == 1 ? "," : "");
  constexpr std::size_t kPrefix = 10;
  const std::size_t total = (kPrefix + header.size() + kAlignment) / kAlignment * kAlignment;
  header.resize(total - kPrefix - 1, ' ');
  header.push_back('\n');
  if (header.size() > 0xFFFF)
    throw usage_error(path.string() + ": the tensor has too many dimensions");
  std::string prefix(kMagic);
  prefix += {'\x01', '\x00', static_cast<char>(header.size() & 0xFF),
             static_cast<char>(header.size() >> 8)};
  AtomicFile file(path);
  file.write(prefix);
  file.write(header);
  file.write({tensor.data(), static_cast<std::size_t>(tensor.byte_count())});
  file.commit();
}

}  // namespace facet
