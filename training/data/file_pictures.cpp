#include "training/data/file_pictures.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "ir/error.h"
#include "ir/hash.h"

namespace facet {

namespace fs = std::filesystem;

void LeftOut::add(std::string problem) {
  if (problems.size() < kNamed) problems.push_back(std::move(problem));
  ++count;
}

const LeftOut& PictureSet::left_out() const {
  static const LeftOut nothing;
  return nothing;
}

bool FileNames::has(const fs::path& path) {
  const auto [place, added] = folders_.try_emplace(path.parent_path().string());
  std::unordered_set<std::string>& names = place->second;
  if (added) {
    std::error_code error;
    const fs::path folder = place->first.empty() ? fs::path(".") : fs::path(place->first);
    fs::directory_iterator entries(folder, error);
    for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
      std::error_code ignored;
      if (!entries->is_directory(ignored)) names.insert(entries->path().filename().string());
    }
  }
  return names.contains(path.filename().string());
}

FileDataset::FileDataset(const fs::path& root, std::vector<Item> items,
                         std::vector<std::string> class_names, LeftOut left_out)
    : root_(root),
      items_(std::move(items)),
      class_names_(std::move(class_names)),
      left_out_(std::move(left_out)) {
  Hasher hasher;
  for (const std::string& name : class_names_) hasher.text(name);
  for (const Item& item : items_) {
    hasher.number(static_cast<std::uint64_t>(item.label));
    hasher.text(item.path);
    std::error_code error;
    const auto bytes = fs::file_size(root_ / item.path, error);
    hasher.number(error ? 0 : bytes);  // a file that has gone since is noticed when it is loaded
  }
  fingerprint_ = hasher.value();
}

std::string FileDataset::name(std::int64_t item) const { return (root_ / at(item).path).string(); }

std::vector<std::string> numbers_up_to(std::int64_t count) {
  std::vector<std::string> names;
  names.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) names.push_back(std::to_string(i));
  return names;
}

void check_left_out(const LeftOut& left_out, BadEntries bad_entries, const std::string& set,
                    const char* of) {
  if (left_out.count == 0 || bad_entries == BadEntries::leave_out) return;
  throw failure(fmt::format(
      "{}: {} {} cannot be used:\n  {}{}\ncorrect them, or go on without them (data.on_bad_image = "
      "\"skip\" in a recipe)",
      set, left_out.count, of, fmt::join(left_out.problems, "\n  "),
      left_out.count > static_cast<std::int64_t>(LeftOut::kNamed) ? "\n  ..." : ""));
}

}  // namespace facet
