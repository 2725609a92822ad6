#include "training/synth/synth_sets.h"

#include <fmt/format.h>

#include <bit>
#include <utility>

#include "ir/error.h"
#include "runtime/splitmix.h"
#include "training/synth/picture_cache.h"
#include "training/synth/render.h"

namespace facet {
namespace {

constexpr std::int64_t kRange = std::int64_t{1} << 32;
/// Raised whenever the renderer draws other pictures.
constexpr std::uint64_t kRendererVersion = 1;

enum class Part : std::int64_t { training, verification, surveillance };

/// Picture `image` of person `number` of a part of a seed's world.
struct Shot {
  std::uint64_t seed;
  Part part;
  std::int64_t number;
  std::int64_t image;

  std::uint64_t person() const {
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(part) * kRange + number);
  }
  synth::FaceIdentity identity() const { return synth::draw_identity(Random(seed, 0, person())); }
  Random draws() const { return Random(seed, 1 + static_cast<std::uint64_t>(image), person()); }

  Image snapshot(double difficulty) const {
    const synth::FaceIdentity face = identity();
    return synth::render_face(face, synth::draw_snapshot(face, difficulty, draws()));
  }
};

void check(std::string_view what, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return;
  throw usage_error(
      fmt::format("synthetic faces: {} is {}; it must be from {} to {}", what, value, least, most));
}

void check_difficulty(double difficulty) {
  if (difficulty >= 0 && difficulty <= 2) return;
  throw usage_error(
      fmt::format("synthetic faces: difficulty is {}; it must be from 0 to 2", difficulty));
}

std::uint64_t hash(std::initializer_list<std::uint64_t> numbers) {
  std::uint64_t result = splitmix64(kRendererVersion, 0);
  for (const std::uint64_t number : numbers) result = splitmix64(result ^ number, 1);
  return result;
}

class SynthDataset final : public Dataset {
 public:
  explicit SynthDataset(const SynthOptions& options)
      : options_(options), cache_(options.identities * options.images_per_identity) {
    for (std::int64_t i = 0; i < options.identities; ++i) {
      names_.push_back(fmt::format("person_{:06}", i));
    }
  }

  std::int64_t size() const override { return options_.identities * options_.images_per_identity; }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::int64_t label(std::int64_t item) const override {
    return item / options_.images_per_identity;
  }
  std::string name(std::int64_t item) const override {
    return fmt::format("synth#{} picture {}", label(item), image(item));
  }
  Image load(std::int64_t item) const override {
    return cache_.get(item, [&] {
      return Shot{options_.seed, Part::training, label(item), image(item)}.snapshot(
          options_.difficulty);
    });
  }
  std::uint64_t fingerprint() const override {
    return hash({0, options_.seed, static_cast<std::uint64_t>(options_.identities),
                 static_cast<std::uint64_t>(options_.images_per_identity),
                 static_cast<std::uint64_t>(options_.first_image),
                 std::bit_cast<std::uint64_t>(options_.difficulty)});
  }

 private:
  std::int64_t image(std::int64_t item) const {
    return options_.first_image + item % options_.images_per_identity;
  }

  SynthOptions options_;
  std::vector<std::string> names_;
  synth::PictureCache cache_;
};

class SynthPairPictures final : public PictureSet {
 public:
  SynthPairPictures(const SynthPairsOptions& options,
                    std::vector<std::pair<std::int64_t, std::int64_t>> shots)
      : options_(options),
        shots_(std::move(shots)),
        cache_(static_cast<std::int64_t>(shots_.size())) {}

  std::int64_t size() const override { return static_cast<std::int64_t>(shots_.size()); }
  std::string name(std::int64_t item) const override {
    const auto [person, image] = shots_.at(static_cast<std::size_t>(item));
    return fmt::format("synth pairs#{} person {} picture {}", item, person, image);
  }
  Image load(std::int64_t item) const override {
    const auto& [person, image] = shots_.at(static_cast<std::size_t>(item));
    const Shot shot = {options_.seed, Part::verification, person, image};
    return cache_.get(item, [&] { return shot.snapshot(options_.difficulty); });
  }
  std::uint64_t fingerprint() const override {
    return hash({1, options_.seed, static_cast<std::uint64_t>(options_.pairs),
                 std::bit_cast<std::uint64_t>(options_.difficulty)});
  }

 private:
  SynthPairsOptions options_;
  std::vector<std::pair<std::int64_t, std::int64_t>> shots_;  // person and picture
  synth::PictureCache cache_;
};

class SurveillancePictures final : public Dataset {
 public:
  explicit SurveillancePictures(const SynthSurveillanceOptions& options)
      : options_(options), cache_(options.persons * kSurveillancePictures) {
    for (std::int64_t i = 0; i < options.persons; ++i) {
      names_.push_back(fmt::format("{:03}", options.first_person + i + 1));
    }
  }

  std::int64_t size() const override { return options_.persons * kSurveillancePictures; }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::int64_t label(std::int64_t item) const override { return item / kSurveillancePictures; }
  std::string name(std::int64_t item) const override {
    const std::int64_t slot = item % kSurveillancePictures;
    const std::string& person = names_.at(static_cast<std::size_t>(label(item)));
    if (slot == 0) return fmt::format("synth surveillance#{}_frontal", person);
    return fmt::format("synth surveillance#{}_cam{}_{}", person, (slot - 1) % kSynthCameras + 1,
                       (slot - 1) / kSynthCameras + 1);
  }
  Image load(std::int64_t item) const override {
    return cache_.get(item, [&] { return render(item); });
  }
  std::uint64_t fingerprint() const override {
    return hash({2, options_.seed, static_cast<std::uint64_t>(options_.persons),
                 static_cast<std::uint64_t>(options_.first_person)});
  }

 private:
  Image render(std::int64_t item) const {
    const std::int64_t slot = item % kSurveillancePictures;
    const Shot shot = {options_.seed, Part::surveillance, options_.first_person + label(item),
                       slot};
    const synth::FaceIdentity face = shot.identity();
    if (slot == 0) return synth::render_face(face, synth::draw_mugshot(face, shot.draws()));
    const int camera = static_cast<int>((slot - 1) % kSynthCameras) + 1;
    const int distance = static_cast<int>((slot - 1) / kSynthCameras) + 1;
    return synth::render_face(face, synth::draw_surveillance(face, camera, distance, shot.draws()));
  }

  SynthSurveillanceOptions options_;
  std::vector<std::string> names_;
  synth::PictureCache cache_;
};

}  // namespace

std::unique_ptr<Dataset> open_synth_dataset(const SynthOptions& options) {
  constexpr std::int64_t kMostImages = std::int64_t{1} << 20;
  check("identities", options.identities, 1, kRange);
  check("images_per_identity", options.images_per_identity, 1, kMostImages);
  check("first_image", options.first_image, 0, kMostImages);
  check_difficulty(options.difficulty);
  return std::make_unique<SynthDataset>(options);
}

PairSet open_synth_pairs(const SynthPairsOptions& options) {
  constexpr std::int64_t kFolds = 10;
  check("pairs", options.pairs, 40, kRange);
  if (options.pairs % (2 * kFolds) != 0) {
    throw usage_error(fmt::format(
        "synthetic faces: pairs is {}; ten folds with as many pairs of one person as of "
        "two need a multiple of {}",
        options.pairs, 2 * kFolds));
  }
  check_difficulty(options.difficulty);
  const std::int64_t half = options.pairs / (2 * kFolds);  // persons and pairs of a kind in a fold
  PairSet set;
  set.name = "synth";
  std::vector<std::pair<std::int64_t, std::int64_t>> shots;
  Random random(options.seed, 0, static_cast<std::uint64_t>(3 * kRange));  // beyond all persons
  const auto add = [&](std::pair<std::int64_t, std::int64_t> first,
                       std::pair<std::int64_t, std::int64_t> second) {
    const auto number = static_cast<std::int64_t>(shots.size());
    set.pairs.push_back({number, number + 1, first.first == second.first});
    shots.push_back(first);
    shots.push_back(second);
  };
  for (std::int64_t fold = 0; fold < kFolds; ++fold) {
    const std::int64_t start = fold * half;
    for (std::int64_t i = 0; i < half; ++i) add({start + i, 0}, {start + i, 1});
    // Everyone is once the first and once the second of two: pictures 2 and 3.
    const std::int64_t offset = 1 + random.integer(half - 1);
    for (std::int64_t i = 0; i < half; ++i) {
      add({start + i, 2}, {start + (i + offset) % half, 3});
    }
  }
  set.pictures = std::make_unique<SynthPairPictures>(options, std::move(shots));
  return set;
}

IdentificationSet open_synth_surveillance(const SynthSurveillanceOptions& options) {
  check("persons", options.persons, 1, kRange);
  check("first_person", options.first_person, 0, kRange - options.persons);
  IdentificationSet set;
  set.name = "synth surveillance";
  set.pictures = std::make_unique<SurveillancePictures>(options);
  const char* names[] = {"d1 (4.2 m)", "d2 (2.6 m)", "d3 (1.0 m)"};
  for (int distance = 1; distance <= kSynthDistances; ++distance) {
    set.groups.push_back({names[distance - 1], {}});
  }
  for (std::int64_t person = 0; person < options.persons; ++person) {
    const std::int64_t start = person * kSurveillancePictures;
    set.gallery.push_back(start);
    for (int distance = 1; distance <= kSynthDistances; ++distance) {
      for (int camera = 1; camera <= kSynthCameras; ++camera) {
        set.groups[static_cast<std::size_t>(distance - 1)].probes.push_back(
            start + surveillance_picture(camera, distance));
      }
    }
  }
  return set;
}

}  // namespace facet
