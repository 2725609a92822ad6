#include "training/metrics.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "ir/error.h"

namespace facet {

std::int64_t top_k_correct(const HostTensor& logits, const HostTensor& labels, std::int64_t k) {
  if (logits.rank() != 2 || !is_float(logits.dtype()) || labels.dtype() != DType::i64 ||
      labels.rank() != 1 || labels.shape()[0] != logits.shape()[0] || k < 1) {
    throw usage_error(
        fmt::format("the top {} of {}[{}] with labels {}[{}]: give k >= 1, logits "
                    "[N, C] and labels i64[N]",
                    k, to_string(logits.dtype()), fmt::join(logits.shape(), ", "),
                    to_string(labels.dtype()), fmt::join(labels.shape(), ", ")));
  }
  const HostTensor values = logits.cast(DType::f32);
  const std::int64_t classes = values.shape()[1];
  std::int64_t correct = 0;
  for (std::int64_t n = 0; n < values.shape()[0]; ++n) {
    const std::int64_t label = labels.as<std::int64_t>()[n];
    if (label < 0 || label >= classes) continue;
    const float* row = values.as<float>() + n * classes;
    if (std::isnan(row[label])) continue;
    std::int64_t larger = 0;
    for (std::int64_t c = 0; c < classes; ++c) {
      if (row[c] > row[label] || std::isnan(row[c]) || (row[c] == row[label] && c < label))
        ++larger;
    }
    if (larger < k) ++correct;
  }
  return correct;
}

}  // namespace facet
