#pragma once

#include <cstdint>
#include <string>

#include "runtime/compile.h"

namespace facet::cli {

/// `facet bench --head`: the training step of a margin loss's head alone.
struct HeadBench {
  std::string head;  ///< "CLASSES" or "CLASSESxD"; D is 512 unless given
  double sample_rate =
      1;  ///< below 1 the centres are sampled, and a full head of as many runs beside
  std::string version = "v2";
  std::int64_t batch = 64;
  Precision precision = Precision::f32;
  double seconds = 3;  ///< of each head
  bool profile = false;
  std::string json;
};

/// Random pictures of one pixel to embeddings, ArcFace, gradients, SGD with momentum and weight
/// decay, as `facet train` steps them: sampling, places of labels and accuracy count. The two heads
/// take turns in short rounds; medians are printed. Throws Error(usage) for arguments out of range.
void bench_head(const HeadBench& bench);

}  // namespace facet::cli
