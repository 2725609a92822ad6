#include "training/synth/synth_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "ir/error.h"
#include "runtime/formats/atomic_file.h"
#include "runtime/formats/record_file.h"
#include "runtime/formats/verification_bin.h"
#include "runtime/progress.h"

namespace facet {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

constexpr int kTile = 112;

/// A folder beside `target` that becomes it when `commit` is called, and else vanishes.
class FolderToBe {
 public:
  explicit FolderToBe(fs::path target) : target_(std::move(target)) {
    if (!target_.has_filename()) target_ = target_.parent_path();  // "folder/"
    if (target_.empty()) throw usage_error("the output folder has no name");
    std::error_code error;
    if (fs::exists(target_, error) &&
        !(fs::is_directory(target_, error) && fs::is_empty(target_, error))) {
      throw usage_error(
          fmt::format("{}: exists and is not an empty folder; name a new one", target_.string()));
    }
    path_ = target_.parent_path() / fmt::format(".{}.part", target_.filename().string());
    fs::remove_all(path_, error);  // of a run that was killed
    make(path_);
  }
  ~FolderToBe() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  FolderToBe(const FolderToBe&) = delete;
  FolderToBe& operator=(const FolderToBe&) = delete;

  const fs::path& path() const { return path_; }
  static void make(const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) {
      throw failure(fmt::format("{}: cannot be made: {}", folder.string(), error.message()));
    }
  }
  void commit() {
    std::error_code error;
    fs::rename(path_, target_, error);  // over an empty folder, too
    if (error) {
      throw failure(
          fmt::format("{}: cannot be put in place: {}", target_.string(), error.message()));
    }
    path_.clear();
  }

 private:
  fs::path target_;
  fs::path path_;
};

/// Renders the pictures of a set in order, several threads at once, and hands them on as JPEG.
void for_each_jpeg(const PictureSet& set, const SynthFilesOptions& options, Progress& progress,
                   const std::function<void(std::int64_t, Bytes)>& take) {
  const auto threads = static_cast<std::size_t>(options.threads);
  constexpr std::size_t kPerThread = 16;
  std::vector<Bytes> jpegs(threads * kPerThread);
  const auto chunk = static_cast<std::int64_t>(jpegs.size());
  for (std::int64_t start = 0; start < set.size(); start += chunk) {
    const std::int64_t count = std::min(chunk, set.size() - start);
    std::vector<std::exception_ptr> errors(threads);
    const auto work = [&](std::size_t thread) {
      try {
        for (auto i = static_cast<std::int64_t>(thread); i < count; i += options.threads) {
          jpegs[static_cast<std::size_t>(i)] =
              encode_jpeg(set.load(start + i), options.jpeg_quality);
        }
      } catch (...) {
        errors[thread] = std::current_exception();
      }
    };
    {
      std::vector<std::jthread> others;
      for (std::size_t thread = 1; thread < threads; ++thread) others.emplace_back(work, thread);
      work(0);
    }
    for (const std::exception_ptr& error : errors) {
      if (error) std::rethrow_exception(error);
    }
    for (std::int64_t i = 0; i < count; ++i) {
      take(start + i, std::move(jpegs[static_cast<std::size_t>(i)]));
    }
    progress.advance(count);
  }
}

void write_file(const fs::path& path, const Bytes& bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void write_surveillance(const fs::path& folder, const PictureSet& pictures,
                        const SynthFilesOptions& options, Progress& progress) {
  const fs::path mugshots = folder / "mugshot_frontal_cropped_all";
  const auto at_distance = [&](std::int64_t distance) {
    return folder / fmt::format("surveillance_cameras_distance_{}", distance);
  };
  FolderToBe::make(mugshots);
  for (int distance = 1; distance <= kSynthDistances; ++distance) {
    FolderToBe::make(at_distance(distance));
  }
  for_each_jpeg(pictures, options, progress, [&](std::int64_t item, const Bytes& jpeg) {
    const std::int64_t person = item / kSurveillancePictures + 1;
    const std::int64_t slot = item % kSurveillancePictures;
    if (slot == 0) return write_file(mugshots / fmt::format("{:03}_frontal.jpg", person), jpeg);
    const std::int64_t camera = (slot - 1) % kSynthCameras + 1;
    const std::int64_t distance = (slot - 1) / kSynthCameras + 1;
    write_file(at_distance(distance) / fmt::format("{:03}_cam{}_{}.jpg", person, camera, distance),
               jpeg);
  });
}

}  // namespace

void write_synth_files(const fs::path& folder, const SynthFilesOptions& options) {
  if (options.jpeg_quality < 1 || options.jpeg_quality > 100) {
    throw usage_error(
        fmt::format("the JPEG quality is {}; it must be from 1 to 100", options.jpeg_quality));
  }
  if (options.threads < 1 || options.threads > 1024) {
    throw usage_error(fmt::format("{} threads; it must be from 1 to 1024", options.threads));
  }
  // Checks what they are given before anything is written.
  const auto training = open_synth_dataset(options.training);
  const PairSet verification =
      open_synth_pairs({options.pairs, options.training.seed, options.training.difficulty});
  const IdentificationSet surveillance =
      open_synth_surveillance({options.surveillance_persons, 0, options.training.seed});

  FolderToBe output(folder);
  Progress progress(
      "rendering faces",
      training->size() + verification.pictures->size() + surveillance.pictures->size(), "pictures");
  RecordWriter records(output.path() / "train.rec", kTile, kTile);
  for_each_jpeg(*training, options, progress, [&](std::int64_t item, const Bytes& jpeg) {
    records.add(training->label(item), jpeg);
  });
  records.finish(training->class_count());

  std::vector<Bytes> pictures;
  for_each_jpeg(*verification.pictures, options, progress,
                [&](std::int64_t, Bytes jpeg) { pictures.push_back(std::move(jpeg)); });
  std::vector<bool> same;
  for (const Pair& pair : verification.pairs) same.push_back(pair.same);
  write_verification_bin(output.path() / "verification.bin", pictures, same);

  write_surveillance(output.path() / "scface", *surveillance.pictures, options, progress);
  write_png(output.path() / "contact_sheet.png", synth_contact_sheet(options.training));
  progress.finish();
  output.commit();
}

Image synth_contact_sheet(const SynthOptions& options, int persons, int images) {
  const auto set = open_synth_dataset(options);
  const auto rows = static_cast<int>(std::min<std::int64_t>(persons, options.identities));
  const auto columns =
      static_cast<int>(std::min<std::int64_t>(images, options.images_per_identity));
  Image sheet = make_image(columns * kTile, rows * kTile);
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) {
      const Image picture = set->load(row * options.images_per_identity + column);
      for (int y = 0; y < kTile; ++y) {
        const auto from = picture.pixels.begin() + y * kTile * Image::channels;
        const auto to = (row * kTile + y) * sheet.width + column * kTile;
        std::copy_n(from, kTile * Image::channels, sheet.pixels.begin() + to * Image::channels);
      }
    }
  }
  return sheet;
}

}  // namespace facet
