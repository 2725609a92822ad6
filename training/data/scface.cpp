#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "ir/error.h"
#include "runtime/formats/picture_files.h"
#include "training/data/file_pictures.h"
#include "training/data/protocol_sets.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kTrainingPersons = 50;
constexpr int kCameras = 5;
constexpr std::array<const char*, 3> kDistances = {"d1 (4.2 m)", "d2 (2.6 m)", "d3 (1.0 m)"};
constexpr const char* kMugshots = "mugshot_frontal_cropped_all";

/// What the name of a file says. Distance 0 is the mugshot.
struct Shot {
  std::string path;  ///< relative to the folder
  std::int64_t label = 0;
  int distance = 0;
  int camera = 0;
};

/// Reads a number off the front of `text`; nothing if there is none.
std::optional<int> take_number(std::string_view& text) {
  int value = 0;
  std::size_t digits = 0;
  while (digits < text.size() && digits < 6 && text[digits] >= '0' && text[digits] <= '9') {
    value = value * 10 + (text[digits++] - '0');
  }
  if (digits == 0) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, std::string_view beginning) {
  if (!text.starts_with(beginning)) return false;
  text.remove_prefix(beginning.size());
  return true;
}

/// "001_frontal" at distance 0, "001_cam1_2" at distance 2; nothing for other names.
std::optional<Shot> parse_name(std::string_view stem, int distance) {
  const std::optional<int> person = take_number(stem);
  if (!person || *person < 1) return std::nullopt;
  if (distance == 0) {
    if (stem != "_frontal") return std::nullopt;
    return Shot{{}, *person - 1, 0, 0};
  }
  if (!take(stem, "_cam")) return std::nullopt;
  const std::optional<int> camera = take_number(stem);
  if (!camera || stem != fmt::format("_{}", distance)) return std::nullopt;
  return Shot{{}, *person - 1, distance, *camera};
}

class ScFace {
 public:
  explicit ScFace(const fs::path& folder) : folder_(folder) {
    read(kMugshots, 0);
    for (int distance = 1; distance <= 3; ++distance) {
      read(fmt::format("surveillance_cameras_distance_{}", distance), distance);
    }
    // A person's pictures stand together, mugshot first, then by distance.
    std::ranges::stable_sort(shots_, {}, &Shot::label);
  }

  /// The part of the persons [begin, end), with what they lack. Those without a mugshot are left
  /// out if the protocol needs one.
  std::vector<Shot> persons(std::int64_t begin, std::int64_t end, bool need_mugshot) {
    std::map<std::int64_t, std::vector<Shot>> by_person;
    for (const Shot& shot : shots_) {
      if (shot.label >= begin && shot.label < end) by_person[shot.label].push_back(shot);
    }
    std::vector<Shot> kept;
    for (auto& [label, shots] : by_person) {
      if (note_missing(label, shots) && need_mugshot) continue;
      std::ranges::move(shots, std::back_inserter(kept));
    }
    return kept;
  }

  std::unique_ptr<FileDataset> dataset(const std::vector<Shot>& shots, std::int64_t classes,
                                       BadEntries bad_entries) const {
    check_left_out(left_out_, bad_entries, folder_.string(), "pictures");
    if (shots.empty()) {
      throw failure(fmt::format("{}: has no picture of the persons that this part is about",
                                folder_.string()));
    }
    std::vector<FileDataset::Item> items;
    for (const Shot& shot : shots) items.push_back({shot.path, shot.label});
    std::vector<std::string> names;
    for (std::int64_t i = 1; i <= classes; ++i) names.push_back(fmt::format("{:03}", i));
    return std::make_unique<FileDataset>(folder_, std::move(items), std::move(names), left_out_);
  }

 private:
  void read(const std::string& name, int distance) {
    const fs::path folder = folder_ / name;
    std::error_code ignored;
    if (!fs::is_directory(folder, ignored)) {
      throw failure(
          fmt::format("{}: there is no such folder; SCface has {} and "
                      "surveillance_cameras_distance_1 to _3 in it",
                      folder.string(), kMugshots));
    }
    for (const std::string& file : picture_files_below(folder)) {
      std::optional<Shot> shot = parse_name(fs::path(file).stem().string(), distance);
      if (!shot || shot->camera > kCameras) continue;  // infrared, or not of the protocol
      shot->path = fs::path(file).lexically_relative(folder_).string();
      shots_.push_back(std::move(*shot));
    }
  }

  /// True if the mugshot is missing.
  bool note_missing(std::int64_t label, const std::vector<Shot>& shots) {
    const auto lacks = [&](int distance, int camera) {
      return std::ranges::none_of(shots, [&](const Shot& shot) {
        return shot.distance == distance && shot.camera == camera;
      });
    };
    const bool no_mugshot = lacks(0, 0);
    if (no_mugshot) {
      left_out_.add(fmt::format("{}: there is no {}/{:03}_frontal.jpg", folder_.string(), kMugshots,
                                label + 1));
    }
    for (int distance = 1; distance <= 3; ++distance) {
      for (int camera = 1; camera <= kCameras; ++camera) {
        if (!lacks(distance, camera)) continue;
        left_out_.add(fmt::format("{}: there is no {:03}_cam{}_{}.jpg", folder_.string(), label + 1,
                                  camera, distance));
      }
    }
    return no_mugshot;
  }

  fs::path folder_;
  std::vector<Shot> shots_;
  LeftOut left_out_;
};

}  // namespace

std::unique_ptr<Dataset> open_scface_training(const fs::path& folder, BadEntries bad_entries) {
  ScFace scface(folder);
  const std::vector<Shot> shots = scface.persons(0, kTrainingPersons, false);
  return scface.dataset(shots, kTrainingPersons, bad_entries);
}

IdentificationSet open_scface_test(const fs::path& folder, BadEntries bad_entries) {
  ScFace scface(folder);
  const std::vector<Shot> shots =
      scface.persons(kTrainingPersons, std::numeric_limits<std::int64_t>::max(), true);
  IdentificationSet set;
  set.name = "scface";
  for (const char* name : kDistances) set.groups.push_back({name, {}});
  for (std::size_t i = 0; i < shots.size(); ++i) {
    const auto number = static_cast<std::int64_t>(i);
    const int distance = shots[i].distance;
    (distance == 0 ? set.gallery : set.groups[static_cast<std::size_t>(distance) - 1].probes)
        .push_back(number);
  }
  set.pictures = scface.dataset(shots, shots.empty() ? 0 : shots.back().label + 1, bad_entries);
  return set;
}

}  // namespace facet
