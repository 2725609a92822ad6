#pragma once

#include <cstdint>
#include <memory>

#include "training/data/protocol_sets.h"

/// Data sets of faces that are rendered when they are loaded, and kept if all of a set take at most 512 MB:
/// no files, the same bits on every
/// machine. A seed is a world of 3 x 2^32 persons in three ranges, of which each kind of set takes
/// its own, so that nobody who is trained on is tested. A larger set begins with the smaller one.
namespace facet {

/// Pictures are 112 x 112, aligned as InsightFace aligns; see training/synth/render.h.
struct SynthOptions {
  std::int64_t identities = 500;          ///< 1 to 2^32
  std::int64_t images_per_identity = 20;  ///< 1 to 2^20
  /// The first picture's number of every person: a set with another range shows other pictures of
  /// the same persons.
  std::int64_t first_image = 0;
  std::uint64_t seed = 1;
  /// How far pictures are from passport photos (0) in pose, light, expression, occlusion and
  /// quality; 0 to 2.
  double difficulty = 1;
};

/// Snapshots of persons for training; the label is the person. Throws Error(usage) for options out
/// of range.
std::unique_ptr<Dataset> open_synth_dataset(const SynthOptions& options);

struct SynthPairsOptions {
  std::int64_t pairs = 1000;  ///< a multiple of 20, at least 40
  std::uint64_t seed = 1;
  double difficulty = 1;
};

/// 1:1 verification like LFW's: ten folds of different persons, in each first as many pairs of one
/// person as then of two. Pair k is of the pictures 2 k and 2 k + 1, every picture is in one pair.
/// Throws Error(usage) for options out of range.
PairSet open_synth_pairs(const SynthPairsOptions& options);

struct SynthSurveillanceOptions {
  std::int64_t persons = 80;  ///< 1 to 2^32
  /// The first person's number: SCface's protocol trains on its first 50 persons.
  std::int64_t first_person = 50;
  std::uint64_t seed = 1;
};

inline constexpr int kSynthCameras = 5;
inline constexpr int kSynthDistances = 3;
/// A person's pictures: the mugshot, then those of cameras 1 to 5 at distance 1, 2 and 3.
inline constexpr int kSurveillancePictures = 1 + kSynthCameras * kSynthDistances;
/// Which picture of a person shows it from a camera (1 to 5) at a distance (1, far, to 3).
constexpr int surveillance_picture(int camera, int distance) {
  return 1 + (distance - 1) * kSynthCameras + (camera - 1);
}

/// 1:N identification like SCface's: a gallery of mugshots; a group of probes for every distance,
/// with faces of 8 to 10, 15 to 19 and 27 to 36 pixels that are enlarged to 112 x 112 pictures.
/// Throws Error(usage) for options out of range.
IdentificationSet open_synth_surveillance(const SynthSurveillanceOptions& options = {});

}  // namespace facet
