#include <fmt/format.h>

#include <map>
#include <utility>

#include "ir/error.h"
#include "ir/hash.h"
#include "runtime/formats/mapped_file.h"
#include "runtime/formats/verification_bin.h"
#include "training/data/file_pictures.h"
#include "training/data/pair_lines.h"
#include "training/data/protocol_sets.h"
#include "training/data/text_lines.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

class BinPictures : public PictureSet {
 public:
  explicit BinPictures(VerificationBin bin) : bin_(std::move(bin)) {
    Hasher hasher;
    for (const auto picture : bin_.pictures) hasher.number(picture.size());
    for (const bool same : bin_.same) hasher.number(same ? 1 : 0);
    fingerprint_ = hasher.value();
  }

  std::int64_t size() const override { return static_cast<std::int64_t>(bin_.pictures.size()); }
  std::string name(std::int64_t item) const override {
    return fmt::format("{}#{}", bin_.file->path(), item);
  }
  Image load(std::int64_t item) const override {
    return decode_image(bin_.pictures.at(static_cast<std::size_t>(item)), name(item));
  }
  std::uint64_t fingerprint() const override { return fingerprint_; }

 private:
  VerificationBin bin_;
  std::uint64_t fingerprint_ = 0;
};

class PairReader {
 public:
  PairReader(const fs::path& list, fs::path root, BadEntries bad_entries)
      : file_(MappedFile::open(list)),
        root_(root.empty() ? list.parent_path() : std::move(root)),
        bad_entries_(bad_entries) {}

  PairSet read() {
    PairSet set;
    set.name = fs::path(file_->path()).stem().string();
    for_each_line(*file_, [&](std::int64_t number, std::string_view text) {
      if (text.empty() || (number == 1 && has_numbers_alone(text))) return;
      const std::string where = fmt::format("{}:{}: ", file_->path(), number);
      try {
        add(parse_pair(text), where, set);
      } catch (const Error& error) {
        throw failure(where + error.what());
      }
    });
    check_left_out(set.left_out, bad_entries_, file_->path(), "pairs");
    if (set.pairs.empty()) {
      throw failure(set.left_out.count == 0
                        ? fmt::format("{}: lists no pairs", file_->path())
                        : fmt::format("{}: of {} pairs none has both pictures; the first: {}",
                                      file_->path(), set.left_out.count,
                                      set.left_out.problems.at(0)));
    }
    set.pictures = std::make_unique<FileDataset>(root_, std::move(items_),
                                                 std::vector<std::string>{"picture"}, LeftOut());
    return set;
  }

 private:
  void add(const ListedPair& pair, const std::string& where, PairSet& set) {
    for (const std::string* path : {&pair.first, &pair.second}) {
      if (names_.has(root_ / *path)) continue;
      return set.left_out.add(
          fmt::format("{}there is no file {}", where, (root_ / *path).string()));
    }
    const std::int64_t first = number_of(pair.first);
    set.pairs.push_back({first, number_of(pair.second), pair.same});
  }

  std::int64_t number_of(const std::string& path) {
    const auto [place, added] =
        numbers_.try_emplace(path, static_cast<std::int64_t>(items_.size()));
    if (added) items_.push_back({path, 0});
    return place->second;
  }

  std::shared_ptr<const MappedFile> file_;
  fs::path root_;
  BadEntries bad_entries_;
  FileNames names_;
  std::map<std::string, std::int64_t> numbers_;
  std::vector<FileDataset::Item> items_;
};

}  // namespace

PairSet open_verification_bin(const fs::path& bin) {
  VerificationBin file = read_verification_bin(bin);
  PairSet set;
  set.name = bin.stem().string();
  for (std::size_t pair = 0; pair < file.same.size(); ++pair) {
    const auto first = static_cast<std::int64_t>(2 * pair);
    set.pairs.push_back({first, first + 1, file.same[pair]});
  }
  set.pictures = std::make_unique<BinPictures>(std::move(file));
  return set;
}

PairSet open_pairs(const fs::path& list, const fs::path& root, BadEntries bad_entries) {
  return PairReader(list, root, bad_entries).read();
}

}  // namespace facet
