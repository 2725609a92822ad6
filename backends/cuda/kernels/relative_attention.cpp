#include "backends/cuda/kernels/relative_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "backends/cuda/kernels/attention_tokens.h"
#include "backends/cuda/kernels/loops.h"
#include "backends/cuda/kernels/parameters.h"
#include "ir/error.h"
#include "ir/sdpa.h"

namespace facet::cuda {
namespace {

constexpr std::int64_t kWarps = 4;
constexpr std::int64_t kThreads = kWarps * 32;
constexpr std::int64_t kQueries = 16;  // of a block
/// Blocks on a multiprocessor: shared memory leaves room for four or five, and registers for four,
/// or for three where f32 is cut in two for products.
constexpr int kResident = 4;
constexpr int kResidentF32 = 3;
constexpr std::int64_t kMostChannels = 128;
constexpr std::int64_t kMostSharedBytes = 48 << 10;
/// Of a row of products by key: 16 rows of 32 in shared memory without bank conflicts.
constexpr std::int64_t kByKeyStep = 37;

/// Channels of a value that a lane takes at once, 16 bytes at most: 8 lanes side by side cover the
/// head, or several such tiles do.
std::int64_t lane_channels(std::int64_t channels, std::int64_t size) {
  std::int64_t width = 16 / size;
  while (width > 1 && 4 * width >= channels) width /= 2;
  return width;
}

/// Of a row of a warp's share of the results, f32.
std::int64_t share_step(std::int64_t lane_channels) { return 8 * lane_channels + 4; }

/// How many elements what a block keeps in shared memory has.
struct Room {
  explicit Room(const Sdpa& s, std::int64_t size)
      : keys(rounded_up(s.keys, 16)),
        scores(keys + 4),
        weights(size == 4 ? scores : keys + 8),
        spread(rounded_up(s.keys + kQueries - 1, 16) + 8) {
    if (s.relative_query >= 0) places = rounded_up(s.keys + kQueries - 1, 8) + 4;
    if (s.relative_height >= 0) {
      places = rounded_up(2 * s.height - 1, 8) + rounded_up(2 * s.width - 1, 8) + 4;
    }
    shared_scores = kQueries * scores;
    if (s.relative_key >= 0) by_key = kWarps * kQueries * kByKeyStep;
    // f32 weights lie where the scores were, and are read until the last results.
    std::int64_t& shares = size == 4 ? by_key : shared_scores;
    shares = std::max(shares, kWarps * kQueries * share_step(lane_channels(s.value.size, size)));
    bytes = (shared_scores + by_key) * 4;
    if (size != 4) bytes += kQueries * weights * size;
    shared_places = kQueries * places * 4;
    if (s.relative_value >= 0) shared_places = std::max(shared_places, kQueries * spread * size);
    bytes += shared_places;
  }

  std::int64_t keys = 0;    ///< with those that fill up a tile
  std::int64_t scores = 0;  ///< a row of scores, f32
  /// All scores; in 16-bit types they make room for the warps' shares of the results.
  std::int64_t shared_scores = 0;
  /// Products by key of all warps; in f32 they make room for those shares.
  std::int64_t by_key = 0;
  std::int64_t weights = 0;        ///< a row of weights; f32 ones lie where the scores did
  std::int64_t spread = 0;         ///< a row of weights by distance
  std::int64_t places = 0;         ///< a row of q . table, f32
  std::int64_t shared_places = 0;  ///< bytes; first the places, then the weights by distance
  std::int64_t bytes = 0;
};

class AttentionWriter {
 public:
  AttentionWriter(const Node& node, std::span<const View> operands, const View& result)
      : s_(sdpa_of(node)),
        operands_(operands),
        result_(result),
        type_(type_name(operands[0].type.dtype)),
        room_(s_, size_of(operands[0].type.dtype)),
        chunks_(rounded_up(s_.query.size, 16) / 16),
        images_(static_extents(result.type.shape)[0]) {
    for (std::size_t i = 0; i < 3; ++i) x_.push_back(tokens_of(s_, operands[i]));
    y_ = tokens_of(s_, result);
    for (std::size_t i = 3; i < operands.size(); ++i) {
      const bool is_dense = operands[i].strides == dense_strides(operands[i].type);
      if (is_dense || static_cast<int>(i) == s_.bias) continue;
      throw failure(
          fmt::format("tables of attention must be dense, not {}", to_string(operands[i].type)));
    }
  }

  KernelSequence run() {
    Parameters parameters;
    const char* const names[] = {"q", "k", "v"};
    for (int i = 0; i < 3; ++i) add(parameters, i, names[i]);
    add(parameters, s_.score_scale, "score_scale");
    add(parameters, s_.relative_query, "query_table");
    add(parameters, s_.relative_key, "key_table");
    add(parameters, s_.relative_height, "height_table");
    add(parameters, s_.relative_width, "width_table");
    add(parameters, s_.bias, "bias");
    add(parameters, s_.relative_value, "value_table");
    add(parameters, s_.output_scale, "output_scale");
    add(parameters, s_.output_shift, "output_shift");
    parameters.result(0, type_name(y_.dtype), "y");
    const std::int64_t tiles = rounded_up(s_.queries, kQueries) / kQueries;
    const std::int64_t blocks = images_ * s_.heads * tiles;
    if (blocks > std::numeric_limits<std::int32_t>::max()) {
      throw failure(fmt::format("{} is too large for one attention", to_string(result_.type)));
    }
    KernelSource kernel = parameters.begin("facet_attention", static_cast<int>(kThreads), blocks,
                                           type_ == "float" ? kResidentF32 : kResident);
    kernel.text += begin(tiles) + query_places() + all_scores() + softmax() + output() + "}\n";
    return {{std::move(kernel)}, 0};
  }

 private:
  void add(Parameters& parameters, int operand, const char* name) const {
    if (operand >= 0) parameters.operand(operand, type_name(view(operand).type.dtype), name);
  }
  const View& view(int operand) const { return operands_[static_cast<std::size_t>(operand)]; }

  /// Of a row of a table of places, or zeros if `is_there` does not hold.
  std::string table_four(int operand, std::string_view name, std::string_view row,
                         std::string_view is_there) const {
    return table_four_text(type_, view(operand).type.dtype, s_.query.size, name, row, is_there);
  }
  std::string token_four(std::size_t operand, const HeadChannels& head, std::string_view name,
                         std::string_view token, std::int64_t tokens) const {
    return token_four_text(type_, x_[operand], head, name, token, std::to_string(tokens));
  }

  std::string begin(std::int64_t tiles) const;
  std::string query_places() const;
  std::string places_of(int table, std::string_view name, std::int64_t rows, std::int64_t columns,
                        std::string_view first, std::int64_t at) const;
  std::string all_scores() const;
  std::string softmax() const;
  std::string weighted(std::string_view left, std::int64_t step, std::int64_t rows,
                       const std::string& from, const std::string& is_there, int unrolled) const;
  std::string share(std::int64_t step, std::int64_t first_scale, bool is_added) const;
  std::string finish(std::int64_t step, std::int64_t stride, int first_channel) const;
  std::string output() const;

  Sdpa s_;
  std::span<const View> operands_;
  View result_;
  std::string_view type_;
  Room room_;
  std::int64_t chunks_ = 0;  ///< of 16 channels of a query
  std::int64_t images_ = 0;
  std::vector<Tokens> x_;
  Tokens y_;
};

std::string AttentionWriter::begin(std::int64_t tiles) const {
  std::string text = fmt::format(
      "  const int lane = threadIdx.x % facet::kLanes;\n"
      "  const int warp = threadIdx.x / facet::kLanes;\n"
      "  const int g = lane / 4, t = lane % 4;\n"
      "  const int first = blockIdx.x % {0} * {1};\n"
      "  const int head = blockIdx.x / {0} % {2};\n  const int image = blockIdx.x / {3};\n",
      tiles, kQueries, s_.heads, tiles * s_.heads);
  const HeadChannels* heads[] = {&s_.query, &s_.key, &s_.value};
  const char* const names[] = {"q", "k", "v"};
  for (std::size_t i = 0; i < 3; ++i) {
    text += fmt::format("  {} += {}LL * image + {} * head + {};\n", names[i], x_[i].image,
                        heads[i]->step, heads[i]->first);
  }
  text +=
      fmt::format("  y += {}LL * image + {} * head;\n", y_.image, s_.result_channels() / s_.heads);
  text += fmt::format(
      "  __shared__ facet::Four<float> shared_scores[{}];\n"
      "  float* const scores = shared_scores[0].values;\n",
      room_.shared_scores / 4);
  if (type_ == "float") {
    text += "  float* const weights = scores;\n";
  } else {
    text += fmt::format(
        "  __shared__ facet::Four<{0}> shared_weights[{1}];\n"
        "  {0}* const weights = shared_weights[0].values;\n",
        type_, kQueries * room_.weights / 4);
  }
  if (room_.shared_places > 0) {
    text += fmt::format("  __shared__ facet::Four<float> shared_places[{}];\n",
                        (room_.shared_places + 15) / 16);
  }
  if (room_.places > 0) text += "  float* const places = shared_places[0].values;\n";
  if (s_.relative_value >= 0) {
    text += fmt::format("  {0}* const spread = ({0}*)shared_places;\n", type_);
  }
  if (room_.by_key > 0) {
    text += fmt::format("  __shared__ facet::Four<float> shared_by_key[{}];\n", room_.by_key / 4);
  }
  if (s_.relative_key >= 0) {
    text += fmt::format("  float* const by_key = shared_by_key[0].values + {} * warp;\n",
                        kQueries * kByKeyStep);
  }
  text += fmt::format("  float* const shares = {};\n",
                      type_ == "float" ? "shared_by_key[0].values" : "scores");
  text += fmt::format(
      "  facet::Four<{0}> q0[{1}], q1[{1}];\n#pragma unroll\n"
      "  for (int m = 0; m < {1}; ++m) {{\n    q0[m] = {2};\n    q1[m] = {3};\n  }}\n",
      type_, chunks_, token_four(0, s_.query, "q", "first + g", s_.queries),
      token_four(0, s_.query, "q", "first + g + 8", s_.queries));
  return text;
}

/// places[query][at + p] = q . row `first` + p of a table of so many rows, for so many p.
std::string AttentionWriter::places_of(int table, std::string_view name, std::int64_t rows,
                                       std::int64_t columns, std::string_view first,
                                       std::int64_t at) const {
  return fmt::format(
      "  for (int n = warp; n < {0}; n += {1}) {{\n    const int row = {2} + 8 * n + g;\n"
      "    float d[4] = {{}};\n#pragma unroll\n    for (int m = 0; m < {3}; ++m) {{\n"
      "      const facet::Four<{4}> b = {5};\n      facet::multiply(d, q0[m], q1[m], b);\n    }}\n"
      "    for (int e = 0; e < 4; ++e) {{\n"
      "      places[{6} * (g + e / 2 * 8) + {7} + 8 * n + 2 * t + e % 2] = d[e];\n    }}\n  }}\n",
      rounded_up(columns, 8) / 8, kWarps, first, chunks_, type_,
      table_four(table, name, "row", fmt::format("row < {}", rows)), room_.places, at);
}

std::string AttentionWriter::query_places() const {
  std::string text;
  if (s_.relative_query >= 0) {
    text += places_of(s_.relative_query, "query_table", s_.distances(), s_.keys + kQueries - 1,
                      "first", 0);
  }
  if (s_.relative_height >= 0) {
    const std::int64_t rows = 2 * s_.height - 1, columns = 2 * s_.width - 1;
    text += places_of(s_.relative_height, "height_table", rows, rows, "0", 0);
    text += places_of(s_.relative_width, "width_table", columns, columns, "0", rounded_up(rows, 8));
  }
  return text.empty() ? text : text + "  __syncthreads();\n";
}

std::string AttentionWriter::all_scores() const {
  std::string text;
  const auto term_scale = [&](int term) {
    if (s_.score_scale < 0) return std::string();
    return fmt::format("  const float a{0} = facet::to_float(score_scale[{1} + head]);\n", term,
                       term * s_.heads);
  };
  const auto scaled = [&](int term, const std::string& what) {
    return s_.score_scale < 0 ? what : fmt::format("a{} * {}", term, what);
  };
  for (int term = 0; term < s_.terms(); ++term) text += term_scale(term);
  text += fmt::format(
      "  for (int j = 16 * warp; j < {0}; j += {1}) {{\n    float c[2][4] = {{}};\n{2}"
      "#pragma unroll\n    for (int m = 0; m < {3}; ++m) {{\n"
      "      const facet::Four<{4}> k0 = {5};\n      const facet::Four<{4}> k1 = {6};\n"
      "      facet::multiply(c[0], q0[m], q1[m], k0);\n"
      "      facet::multiply(c[1], q0[m], q1[m], k1);\n",
      room_.keys, 16 * kWarps, s_.relative_key >= 0 ? "    float r[4][4] = {};\n" : "", chunks_,
      type_, token_four(1, s_.key, "k", "j + g", s_.keys),
      token_four(1, s_.key, "k", "j + g + 8", s_.keys));
  if (s_.relative_key >= 0) {
    text += fmt::format(
        "#pragma unroll\n      for (int n = 0; n < 4; ++n) {{\n"
        "        const int row = first - j + {} + 8 * n + g;\n"
        "        const facet::Four<{}> b = {};\n        facet::multiply(r[n], k0, k1, b);\n"
        "      }}\n",
        s_.keys - kQueries, type_,
        table_four(s_.relative_key, "key_table", "row",
                   fmt::format("row >= 0 && row < {}", s_.distances())));
  }
  text += "    }\n";
  if (s_.relative_key >= 0) {
    text += fmt::format(
        "    __syncwarp();\n#pragma unroll\n    for (int n = 0; n < 4; ++n) {{\n"
        "      for (int e = 0; e < 4; ++e) {{\n"
        "        by_key[{} * (g + e / 2 * 8) + 8 * n + 2 * t + e % 2] = r[n][e];\n"
        "      }}\n    }}\n    __syncwarp();\n",
        kByKeyStep);
  }
  text += fmt::format(
      "#pragma unroll\n    for (int e = 0; e < 8; ++e) {{\n"
      "      const int a = g + e / 2 % 2 * 8, b = e / 4 * 8 + 2 * t + e % 2;\n"
      "      const int key = j + b;\n      if (key >= {}) continue;\n"
      "      float s = {};\n",
      s_.keys, scaled(0, "c[e / 4][e % 4]"));
  int term = 1;
  if (s_.relative_query >= 0) {
    text += fmt::format(
        "      s += {};\n",
        scaled(term++, fmt::format("places[{} * a + a - key + {}]", room_.places, s_.keys - 1)));
  }
  if (s_.relative_height >= 0) {
    const std::string place = fmt::format(
        "(places[{0} * a + (first + a) / {1} - key / {1} + {2}] + "
        "places[{0} * a + (first + a) % {1} - key % {1} + {3}])",
        room_.places, s_.width, s_.height - 1, rounded_up(2 * s_.height - 1, 8) + s_.width - 1);
    text += fmt::format("      if (first + a < {}) s += {};\n", s_.queries, scaled(term++, place));
  }
  if (s_.relative_key >= 0) {
    text += fmt::format("      s += {};\n",
                        scaled(term, fmt::format("by_key[{} * b + a - b + 15]", kByKeyStep)));
  }
  if (s_.scale != 1) text += fmt::format("      s *= {};\n", float_literal(s_.scale));
  if (s_.clamp) {
    text += fmt::format("      s = facet::clamp(s, {}, {});\n", float_literal(s_.clamp->first),
                        float_literal(s_.clamp->second));
  }
  if (s_.bias >= 0) {
    const Stream bias = broadcast_stream(view(s_.bias), {images_, s_.heads, s_.queries, s_.keys});
    text += fmt::format(
        "      if (first + a < {}) s += facet::to_float(bias[{}LL * image + {}LL * head + {}LL * "
        "(first + a) + {}LL * key]);\n",
        s_.queries, bias.strides[0], bias.strides[1], bias.strides[2], bias.strides[3]);
  }
  return text + fmt::format("      scores[{} * a + key] = s;\n    }}\n  }}\n  __syncthreads();\n",
                            room_.scores);
}

std::string AttentionWriter::softmax() const {
  std::string text = fmt::format(
      "  for (int a = warp; a < {0}; a += {1}) {{\n    float* const row = scores + {2} * a;\n"
      "    float most = facet::bits_to_float(0xff800000u);\n"
      "    for (int j = lane; j < {3}; j += facet::kLanes) most = facet::maximum(most, row[j]);\n"
      "    most = facet::warp_maximum(most);\n    float sum = 0.0f;\n"
      "    for (int j = lane; j < {3}; j += facet::kLanes) {{\n"
      "      row[j] = facet::exp(row[j] - most);\n      sum += row[j];\n    }}\n"
      "    sum = facet::warp_sum(sum);\n",
      kQueries, kWarps, room_.scores, s_.keys);
  if (s_.relative_value >= 0) {
    text += fmt::format(
        "    __syncwarp();\n    for (int p = lane; p < {0}; p += facet::kLanes) {{\n"
        "      const int j = a - p + {1};\n"
        "      facet::from_float(j >= 0 && j < {2} ? row[j] / sum : 0.0f, "
        "spread[{3} * a + p]);\n    }}\n    __syncwarp();\n",
        room_.spread - 8, s_.keys - 1, s_.keys, room_.spread);
  }
  return text + fmt::format(
                    "    for (int j = lane; j < {0}; j += facet::kLanes) {{\n"
                    "      facet::from_float(j < {1} ? row[j] / sum : 0.0f, "
                    "weights[{2} * a + j]);\n    }}\n  }}\n  __syncthreads();\n",
                    room_.keys, s_.keys, room_.weights);
}

/// d[u] += left . the rows at `from`, of which each warp takes every fourth 16: lane g has
/// channels W g + u of four rows, so its number u is column g of a tile of its own.
std::string AttentionWriter::weighted(std::string_view left, std::int64_t step, std::int64_t rows,
                                      const std::string& from, const std::string& is_there,
                                      int unrolled) const {
  return fmt::format(
      "#pragma unroll {7}\n    for (int m = 16 * warp; m < {0}; m += {1}) {{\n"
      "      const int j = m + 4 * t;\n"
      "      const facet::Four<{2}> a0 = facet::load_four<true>({3} + {4} * g + j, 4);\n"
      "      const facet::Four<{2}> a1 = facet::load_four<true>({3} + {4} * (g + 8) + j, 4);\n"
      "      facet::Pack<{2}, W> rows[4];\n      for (int i = 0; i < 4; ++i) {{\n"
      "        rows[i] = facet::load_row<W, {2}>({5}, is_inside && {6});\n      }}\n"
      "#pragma unroll\n      for (int u = 0; u < W; ++u) {{\n        facet::Four<{2}> b;\n"
      "        for (int i = 0; i < 4; ++i) b.values[i] = rows[i].values[u];\n"
      "        facet::multiply(d[u], a0, a1, b);\n      }}\n    }}\n",
      rows, 16 * kWarps, type_, left, step, from, is_there, unrolled);
}

/// Puts d, scaled where there is a scale, into the warp's share, or adds it to what is there.
std::string AttentionWriter::share(std::int64_t step, std::int64_t first_scale,
                                   bool is_added) const {
  std::string text = fmt::format(
      "#pragma unroll\n    for (int e = 0; e < 4; ++e) {{\n"
      "      const int column = W * (2 * t + e % 2);\n"
      "      float* const to = shares + {} * ({} * warp + g + e / 2 * 8) + column;\n"
      "      float x[W];\n      for (int u = 0; u < W; ++u) x[u] = d[u][e];\n",
      step, kQueries);
  if (s_.output_scale >= 0) {
    text += fmt::format(
        "      if (n + column < {0}) {{\n        float b[W];\n"
        "        facet::load(b, output_scale + {1} + {0} * head + n + column);\n"
        "        for (int u = 0; u < W; ++u) x[u] *= b[u];\n      }}\n",
        s_.value.size, first_scale);
  }
  if (is_added) {
    text +=
        "      float before[W];\n      facet::load(before, to);\n"
        "      for (int u = 0; u < W; ++u) x[u] += before[u];\n";
  }
  return text + "      facet::store(to, x);\n    }\n";
}

/// Adds up the warps' shares and stores them at channel `stride` * column of the result, and on.
std::string AttentionWriter::finish(std::int64_t step, std::int64_t stride,
                                    int first_channel) const {
  const std::int64_t size = s_.value.size;
  std::string text = fmt::format(
      "    __syncthreads();\n    if (first + threadIdx.x / 8 < {2} && n + threadIdx.x % 8 * W < "
      "{3}) {{\n"
      "      const int a = threadIdx.x / 8, column = threadIdx.x % 8 * W;\n      float x[W];\n"
      "      facet::load(x, shares + {0} * a + column);\n"
      "      for (int i = 1; i < {4}; ++i) {{\n        float more[W];\n"
      "        facet::load(more, shares + {0} * ({1} * i + a) + column);\n"
      "        for (int u = 0; u < W; ++u) x[u] += more[u];\n      }}\n",
      step, kQueries, s_.queries, size, kWarps);
  if (s_.output_shift >= 0) {
    text += fmt::format(
        "      float shift[W];\n      facet::load(shift, output_shift + {} * head + n + column);\n"
        "      for (int u = 0; u < W; ++u) x[u] += shift[u];\n",
        size);
  }
  const std::string at = fmt::format("y + {}LL * (first + a)", y_.token);
  return text +
         (stride == 1
              ? fmt::format("      facet::store({} + n + column, x);\n    }}\n", at)
              : fmt::format("      facet::store({} + {} * (n + column) + {}, x, {});\n    }}\n", at,
                            stride, first_channel, stride));
}

/// The warps share keys, so that each reads values once; their sums meet where the scores were.
std::string AttentionWriter::output() const {
  const std::int64_t size = s_.value.size;
  std::int64_t width = lane_channels(size, size_of(operands_[0].type.dtype));
  for (const std::int64_t step :
       {x_[2].token, x_[2].image, s_.value.step, s_.value.first, size, y_.token, y_.image}) {
    width = std::gcd(width, step);
  }
  const std::int64_t step = share_step(width);
  // Four rows of 16 bytes are on the way at once, or eight of less: registers for no more are left.
  const int unrolled = width * size_of(operands_[0].type.dtype) < 16 ? 2 : 1;
  std::string text = fmt::format(
      "  constexpr int W = {0};\n"
      "  for (int n = 0; n < {1}; n += 8 * W) {{\n    const int c = n + W * g;\n"
      "    const bool is_inside = c < {1};\n    float d[W][4] = {{}};\n",
      width, size);
  text += weighted("weights", room_.weights, room_.keys,
                   fmt::format("v + {}LL * (j + i) + c", x_[2].token),
                   fmt::format("j + i < {}", s_.keys), unrolled);
  // Two sums that stay apart or have scales of their own: the first leaves its registers for the
  // second.
  const bool is_scaled = s_.output_scale >= 0;
  const bool in_two = s_.relative_value >= 0 && (is_scaled || s_.interleaved);
  if (in_two) {
    text += share(step, 0, false);
    if (s_.interleaved) text += finish(step, 2, 0) + "    __syncthreads();\n";
    text += "    for (auto& of_tile : d) {\n      for (float& sum : of_tile) sum = 0.0f;\n    }\n";
  }
  if (s_.relative_value >= 0) {
    text += weighted("spread", room_.spread, room_.spread - 8,
                     fmt::format("value_table + {} * (first + j + i) + c", size),
                     fmt::format("first + j + i < {}", s_.distances()), unrolled);
  }
  text += share(step, in_two ? s_.channels() : 0, in_two && is_scaled);
  text += s_.interleaved ? finish(step, 2, 1) : finish(step, 1, 0);
  return text + (size > 8 * width ? "    __syncthreads();\n  }\n" : "  }\n");
}

}  // namespace

bool is_relative_attention(const Node& node) {
  if (!node.is("sdpa") || !is_float(node.operand(0).dtype())) return false;
  const Sdpa s = sdpa_of(node);
  return !s.keeps_weights && s.query.size <= kMostChannels &&
         Room(s, size_of(node.operand(0).dtype())).bytes <= kMostSharedBytes;
}

LayoutChoice relative_attention_layouts(const Node& node) {
  const Sdpa s = sdpa_of(node);
  LayoutChoice choice{std::vector<Layout>(static_cast<std::size_t>(node.operand_count())),
                      std::vector<Layout>(1)};
  for (std::size_t i = 0; i < 3; ++i) {
    choice.operands[i] = tokens_first(s, node.operand(static_cast<int>(i)).type());
  }
  choice.results[0] = tokens_first(s, node.result_types()[0]);
  return choice;
}

KernelSequence relative_attention_kernels(const Node& node, std::span<const View> operands,
                                          const View& result) {
  if (!is_relative_attention(node)) {
    throw failure(
        fmt::format("'{}' is no attention that one kernel of the GPU computes", node.kind()));
  }
  return AttentionWriter(node, operands, result).run();
}

}  // namespace facet::cuda
