#pragma once

#include <cstdint>
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

}  // namespace facet
