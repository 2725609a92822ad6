#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "training/data/dataset.h"

/// Pictures together with the questions that an evaluation protocol asks about them.
namespace facet {

/// Two pictures, by number, and whether they show the same person.
struct Pair {
  std::int64_t first = 0;
  std::int64_t second = 0;
  bool same = false;
};

/// 1:1 verification: in the order of the list, of which folds are contiguous parts.
struct PairSet {
  std::string name;  ///< of the benchmark, for tables: "lfw"
  std::unique_ptr<PictureSet> pictures;
  std::vector<Pair> pairs;
  LeftOut left_out = {};  ///< pairs
};

/// 1:N identification, closed set: every probe's person is in the gallery.
struct IdentificationSet {
  struct Group {
    std::string name;                  ///< for tables: "d1 (4.2 m)"
    std::vector<std::int64_t> probes;  ///< numbers of pictures
  };
  std::string name;
  std::unique_ptr<Dataset> pictures;  ///< labels: the persons
  std::vector<std::int64_t> gallery;  ///< numbers of pictures
  std::vector<Group> groups;
};

/// InsightFace's verification file; its name without the extension is the benchmark's. Throws
/// Error(failure) as `read_verification_bin`.
PairSet open_verification_bin(const std::filesystem::path& bin);

/// Pairs of picture files below `root` (empty: the folder of the list), told apart line by line:
///
///   name  1  4              LFW's pairs.txt: two of one person, NAME/NAME_0001.jpg and
///   ..._0004.jpg name  1  other  2       two persons a/1.jpg  b/2.jpg  1     DCR's
///   lfw_test_pair.txt: two files, and 1 if they show one person
///
/// Fields have blanks or tabs between them; a first line of numbers alone (how many folds and
/// pairs) is passed over. Throws Error(failure) for a list without pairs, for lines that are none
/// of these, and as `bad_entries` says for pairs of which a file is missing. Specs of LS-CNN 4.4
/// and DCR 4.1.
PairSet open_pairs(const std::filesystem::path& list, const std::filesystem::path& root = {},
                   BadEntries bad_entries = BadEntries::stop);

/// SCface as DCR divides it (specs of DCR, sections 4.1, 4.2 and 6.3): a folder with
/// mugshot_frontal_cropped_all/001_frontal.JPG and
/// surveillance_cameras_distance_{1,2,3}/**/001_cam1_1.jpg. Only the cameras 1 to 5 belong to the
/// protocol. A label is the person's number less 1.
///
/// The pictures of the first 50 persons, mugshots and surveillance, ordered by person. Throws
/// Error(failure) for a missing folder and, as `bad_entries` says, for pictures that a person
/// lacks.
std::unique_ptr<Dataset> open_scface_training(const std::filesystem::path& folder,
                                              BadEntries bad_entries = BadEntries::stop);
/// Those of the other persons: the gallery has their mugshots, the groups d1 (4.2 m), d2 (2.6 m)
/// and d3 (1.0 m) what the cameras saw. A person without a mugshot is left out.
IdentificationSet open_scface_test(const std::filesystem::path& folder,
                                   BadEntries bad_entries = BadEntries::stop);

}  // namespace facet
