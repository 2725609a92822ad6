#pragma once

#include <cstdint>

#include "backends/cpu/kernels/vector.h"

/// The inner loops of the attention kernel, compiled for several instruction sets. Matrices are
/// row-major f32; nothing here allocates, throws or starts threads. Loads and stores need no
/// alignment.
namespace facet::cpu {

/// Keys are worked on in panels of this many: the floats of the longest vector.
inline constexpr std::int64_t kPanel = 16;
/// The most queries any instruction set puts into a block; fewer than a panel.
inline constexpr std::int64_t kMostRows = 14;

/// c[r, j] = sum over k < depth of a[r, k] * b[k, j], columns a multiple of kPanel. As pairs of
/// bf16, a[r, k] and b[k, j] are two neighbouring bf16, of which both products count: a_row counts
/// bf16 and need not be even, b_row and depth count pairs.
struct Product {
  const void* a = nullptr;
  std::int64_t a_row = 0;
  const void* b = nullptr;
  std::int64_t b_row = 0;
  float* c = nullptr;
  std::int64_t c_row = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t depth = 0;
  bool adds = false;  ///< to what c holds
};

/// scores[r, j] = clamp(content * scores[r, j] + place * places[r, j] + key * keys(r, j)) for j <
/// panels * kPanel, where keys(r, P * kPanel + l) is element [kPanel - 1 + r - l, l] of panel P, a
/// matrix of kPanel columns: row t of it belongs to one distance of query and key.
struct ScoreSum {
  float* scores = nullptr;
  std::int64_t scores_row = 0;
  std::int64_t rows = 0;
  std::int64_t panels = 0;
  float content = 1;
  const float* places = nullptr;  ///< null: no such part
  std::int64_t places_row = 0;
  float place = 1;
  const float* keys = nullptr;  ///< null: no such part; kMostRows + kPanel - 1 rows a panel
  std::int64_t keys_panel = 0;
  float key = 1;
  bool clamps = false;
  float low = 0;
  float high = 0;
};

/// places[r, y * width + x] = rows[r, y + down(r)] + columns[r, x + right(r)] for the queries first
/// + r of a map of height x width, with down = height - 1 - the query's y and right alike. Up to
/// kPanel - 1 floats behind a row of places are overwritten, and as many read behind columns.
struct MapSpread {
  const float* rows = nullptr;
  const float* columns = nullptr;
  std::int64_t table_row = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t first = 0;
  std::int64_t count = 0;
  float* places = nullptr;
  std::int64_t places_row = 0;
};

/// Of each row, replaces the first `count` scores by e^(score - the row's largest) and those up to
/// `padded`, a multiple of kPanel, by 0; sums[r] is what a row adds up to.
struct Exponentials {
  float* scores = nullptr;
  std::int64_t row = 0;
  std::int64_t rows = 0;
  std::int64_t count = 0;
  std::int64_t padded = 0;
  float* sums = nullptr;
};

/// Of each row of weights w and cotangents g, both `row` apart, up to `padded`, a multiple of
/// kPanel: g[j] = w[j] * (g[j] - sum over i < count of w[i] * g[i]).
struct SoftmaxGradient {
  const float* weights = nullptr;
  float* cotangents = nullptr;
  std::int64_t row = 0;
  std::int64_t rows = 0;
  std::int64_t count = 0;
  std::int64_t padded = 0;
};

/// y[r, c] = (y[r, c] * scale[c] + add[r, c] * add_scale[c]) / sums[r] + shift[c].
struct OutputSum {
  float* y = nullptr;
  const float* add = nullptr;  ///< null: nothing is added
  std::int64_t row = 0;        ///< of both
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  const float* scale = nullptr;
  const float* add_scale = nullptr;
  const float* shift = nullptr;
  const float* sums = nullptr;
};

/// Of a token in one head, `count` channels, a multiple of kPanel: to[c] = factor * y[c] + share *
/// seen[c], scaled[c] = factor * x[c], totals[c] += share * x[c].
struct PlaceShare {
  const float* x = nullptr;
  const float* y = nullptr;
  const float* seen = nullptr;
  float factor = 1, share = 1;
  float* to = nullptr;
  float* scaled = nullptr;
  float* totals = nullptr;
  std::int64_t count = 0;
};

/// One instruction set's loops.
struct SdpaLoops {
  const char* name;         ///< that of the VectorLoops they go with
  std::int64_t block_rows;  ///< queries of a block, kMostRows or fewer
  void (*product)(const Product&);
  void (*pair_product)(const Product&);  ///< null without an instruction for it
  /// Beside pair_product: to[j] = the pair of low[j] and high[j] as bf16, 0 for a high that is
  /// null; `count` a multiple of kPanel.
  void (*join_floats)(const float* low, const float* high, std::uint32_t* to, std::int64_t count);
  void (*join_bf16)(const std::uint16_t* low, const std::uint16_t* high, std::uint32_t* to,
                    std::int64_t count);
  void (*sum_scores)(const ScoreSum&);
  void (*spread_map)(const MapSpread&);
  void (*exponentials)(const Exponentials&);
  /// Divides the rows of exponentials by their sums.
  void (*normalize)(const Exponentials&);
  /// Beside pair_product: `exponentials` as bf16 into `weights`, rows as far apart as those of the
  /// scores, which it overwrites with what is not specified; with `normalized` divided by their
  /// sums.
  void (*pair_exponentials)(const Exponentials&, bool normalized, std::uint16_t* weights);
  void (*softmax_gradient)(const SoftmaxGradient&);
  void (*sum_outputs)(const OutputSum&);
  /// to[c] += factor * from[c]; `count` is a multiple of kPanel here and below.
  void (*add_scaled)(const float* from, float factor, float* to, std::int64_t count);
  /// totals[c] += x[c], products[c] += x[c] * y[c].
  void (*add_products)(const float* x, const float* y, float* totals, float* products,
                       std::int64_t count);
  void (*share_places)(const PlaceShare&);
};

/// The loops of each instruction set, or null when they were not compiled in.
const SdpaLoops* baseline_sdpa_loops();
const SdpaLoops* avx2_sdpa_loops();
const SdpaLoops* avx512_sdpa_loops();
const SdpaLoops* avx512_bf16_sdpa_loops();

/// The loops of the instruction set of `loops`.
const SdpaLoops& sdpa_loops(const VectorLoops& loops);

}  // namespace facet::cpu
