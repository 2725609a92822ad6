#include "runtime/formats/verification_bin.h"

#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>

#include "ir/error.h"
#include "runtime/formats/atomic_file.h"
#include "runtime/formats/pickle.h"

namespace facet {
namespace {

using Kind = PickleValue::Kind;

constexpr std::string_view kNoNumpy =
    "numpy arrays are not read; put the pictures' encoded bytes and plain booleans into the file, "
    "as "
    "InsightFace's lfw2pack.py does";
constexpr std::string_view kNoText =
    "it is how Python 3 keeps bytes in protocol 2; write the file again with protocol 4";

bool truth_of(const PickleValue& value, std::size_t pair) {
  const bool is_truth = value.kind == Kind::boolean ||
                        (value.kind == Kind::integer && (value.number == 0 || value.number == 1));
  if (is_truth) return value.number != 0;
  throw failure(
      fmt::format("its second list has something else than True or False for pair {}", pair));
}

void read_lists(const PickleData& data, VerificationBin& result) {
  const PickleValue& root = data[data.root];
  if (root.kind != Kind::sequence || root.items.size() != 2 ||
      data[root.items[0]].kind != Kind::sequence || data[root.items[1]].kind != Kind::sequence) {
    throw failure("it is a pickle of something else than the two lists (pictures, same)");
  }
  for (const std::uint32_t id : data[root.items[0]].items) {
    const PickleValue& value = data[id];
    if (value.kind != Kind::bytes && value.kind != Kind::text) {
      throw failure(fmt::format("its picture {} is no string of bytes", result.pictures.size()));
    }
    result.pictures.push_back(std::as_bytes(std::span(value.text)));
  }
  for (const std::uint32_t id : data[root.items[1]].items) {
    result.same.push_back(truth_of(data[id], result.same.size()));
  }
  if (result.pictures.size() != 2 * result.same.size()) {
    throw failure(fmt::format("it has {} pictures for {} pairs, not two for each",
                              result.pictures.size(), result.same.size()));
  }
  if (result.same.empty()) throw failure("it has no pairs");
}

}  // namespace

VerificationBin read_verification_bin(const std::filesystem::path& path) {
  return read_verification_bin(MappedFile::open(path));
}

VerificationBin read_verification_bin(std::shared_ptr<const MappedFile> file) {
  PickleNames names;
  names.advice = "write the file again with Python's pickle";
  names.refused = {{"numpy.", kNoNumpy}, {"_codecs.encode", kNoText}};
  VerificationBin result;
  try {
    read_lists(read_pickle(file->bytes(), names), result);
  } catch (const Error& error) {
    throw failure(fmt::format("{}: is no verification set (.bin): {}", file->path(), error.what()));
  }
  result.file = std::move(file);
  return result;
}

void write_verification_bin(const std::filesystem::path& path,
                            std::span<const std::vector<std::byte>> pictures,
                            const std::vector<bool>& same) {
  if (pictures.size() != 2 * same.size() || same.empty()) {
    throw usage_error(
        fmt::format("{} pictures for {} pairs: there must be two for each, and a pair",
                    pictures.size(), same.size()));
  }
  AtomicFile file(path);
  file.write("\x80\x02](");  // protocol 2; a list whose items follow
  for (const std::vector<std::byte>& picture : pictures) {
    if (picture.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
      throw failure(
          fmt::format("{}: a picture of {} bytes is too large", path.string(), picture.size()));
    }
    const auto size = static_cast<std::uint32_t>(picture.size());
    file.write("T");
    file.write(std::as_bytes(std::span(&size, 1)));
    file.write(picture);
  }
  std::string truths = "e](";
  for (const bool truth : same) truths += truth ? '\x88' : '\x89';
  file.write(truths + "e\x86.");  // the two lists are a tuple
  file.commit();
}

}  // namespace facet
