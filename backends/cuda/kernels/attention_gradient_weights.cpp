#include <fmt/format.h>

#include "backends/cuda/kernels/attention_side_writer.h"
#include "backends/cuda/kernels/loops.h"

// Scores and weights of a block of attention's gradient, as text.

namespace facet::cuda {

SideWriter::ScoreText SideWriter::score() const {
  ScoreText text{"scores[at + j]", {}};
  if (s_.scale != 1) text.value = fmt::format("{} * {}", float_literal(s_.scale), text.value);
  if (s_.clamp) {
    const std::string low = float_literal(s_.clamp->first);
    const std::string high = float_literal(s_.clamp->second);
    text.is_cut = fmt::format("{0} < {1} || {0} > {2}", text.value, low, high);
    text.value = fmt::format("facet::clamp({}, {}, {})", text.value, low, high);
  }
  if (s_.bias >= 0) {
    const Stream bias =
        broadcast_stream(view(s_.bias), {plan_.images, s_.heads, s_.queries, s_.keys});
    text.value +=
        fmt::format(" + facet::to_float(bias[{}LL * image + {}LL * head + {}LL * {} + {}LL * {}])",
                    bias.strides[0], bias.strides[1], bias.strides[2],
                    is_queries_ ? "(first + a)" : "(start + j)", bias.strides[3],
                    is_queries_ ? "(start + j)" : "(first + a)");
  }
  return text;
}

/// Where the numbers of the head's queries begin.
std::string SideWriter::of_queries(std::int64_t scratch) const {
  return fmt::format("scratch + {}LL + {}LL * image + {} * head", scratch, s_.heads * s_.queries,
                     s_.queries);
}

/// Rows of queries have their sums over stretches: of exp(s), and of its product with the gradients
/// of weights, both relative to the largest score so far.
std::string SideWriter::row_sums() const {
  return fmt::format(
      R"(    for (int a = warp; a < {own} && first + a < {tokens}; a += {warps}) {{
      const int at = {row} * a;
      const float before = start > 0 ? row_sums[a] : facet::bits_to_float(0xff7fffffu);
      float most = before;
      for (int j = lane; j < left; j += facet::kLanes) most = facet::maximum(most, {score});
      most = facet::warp_maximum(most);
      float sum = 0.0f, dot = 0.0f;
      for (int j = lane; j < left; j += facet::kLanes) {{
        const float power = facet::exp({score} - most);
        sum += power;
        dot += power * changes[at + j];
      }}
      sum = facet::warp_sum(sum);
      dot = facet::warp_sum(dot);
      __syncwarp();
      if (lane != 0) continue;
      if (start > 0) {{
        const float kept = facet::exp(before - most);
        sum += kept * row_sums[{own} + a];
        dot += kept * row_sums[2 * {own} + a];
      }}
      row_sums[a] = most;
      row_sums[{own} + a] = sum;
      row_sums[2 * {own} + a] = dot;
      ({logarithms})[first + a] = most + facet::log(sum);
      ({dots})[first + a] = dot / sum;
    }}
    __syncthreads();
)",
      fmt::arg("own", kOwnTokens), fmt::arg("tokens", own_), fmt::arg("warps", kGradientWarps),
      fmt::arg("row", room_.row), fmt::arg("score", score().value),
      fmt::arg("logarithms", of_queries(plan_.logarithms)),
      fmt::arg("dots", of_queries(plan_.dots)));
}

/// Scores become weights, and gradients of weights those of scores. Rows of queries that meet all
/// keys at once have their sums here; between the passes a negative power marks a score that the
/// clamp cut.
std::string SideWriter::weights() const {
  const std::string score = this->score().value;
  std::string is_cut = this->score().is_cut;
  std::string kept;
  if (is_queries_ && d_.bias >= 0) {
    const bool by_image = plan_.bias_slots == plan_.images;
    kept = fmt::format(
        "          float* const sum = scratch + {}LL + {}LL * {} + {}LL * head + {}LL * (first + "
        "a) "
        "+ start + j;\n          *sum = {};\n",
        plan_.bias_sums, s_.heads * s_.queries * s_.keys, by_image ? "image" : "slice",
        s_.queries * s_.keys, s_.keys,
        by_image ? "change" : "turn == slice ? change : *sum + change");
  }
  const char* const from = is_queries_ ? "" : " + start";
  std::string text = fmt::format(
      R"(    float* const logarithms = {logarithms}{from};
    float* const dots = {dots}{from};
    for (int a = warp; a < {own}; a += {warps}) {{
      const int at = {row} * a;
      if (first + a >= {tokens}) {{
        for (int j = lane; j < {end}; j += facet::kLanes) scores[at + j] = changes[at + j] = 0.0f;
        continue;
      }}
)",
      fmt::arg("logarithms", of_queries(plan_.logarithms)),
      fmt::arg("dots", of_queries(plan_.dots)), fmt::arg("from", from), fmt::arg("own", kOwnTokens),
      fmt::arg("warps", kGradientWarps), fmt::arg("row", room_.row), fmt::arg("tokens", own_),
      fmt::arg("end", room_.others));
  std::string weight =
      fmt::format("facet::exp({} - {})", score, is_queries_ ? "logarithm" : "logarithms[j]");
  if (is_queries_ && !room_.is_whole) {
    text += "      const float logarithm = logarithms[first + a], dot = dots[first + a];\n";
  } else if (is_queries_) {
    text += fmt::format(
        R"(      float most = facet::bits_to_float(0xff800000u);
      for (int j = lane; j < left; j += facet::kLanes) most = facet::maximum(most, {score});
      most = facet::warp_maximum(most);
      float sum = 0.0f, dot = 0.0f;
      for (int j = lane; j < left; j += facet::kLanes) {{
        const float power = facet::exp({score} - most);
        sum += power;
        dot += power * changes[at + j];
        scores[at + j] = {power};
      }}
      sum = facet::warp_sum(sum);
      const float share = 1.0f / sum;
      dot = facet::warp_sum(dot) * share;
      if (lane == 0) {{
        logarithms[first + a] = most + facet::log(sum);
        dots[first + a] = dot;
      }}
)",
        fmt::arg("score", score),
        fmt::arg("power", s_.clamp ? is_cut + " ? -power : power" : "power"));
    weight = s_.clamp ? "facet::abs(scores[at + j]) * share" : "scores[at + j] * share";
    is_cut = "scores[at + j] < 0.0f";
  }
  const std::string cut =
      s_.clamp ? fmt::format("          if ({}) change = 0.0f;\n", is_cut) : std::string();
  return text + fmt::format(
                    R"(      for (int j = lane; j < {end}; j += facet::kLanes) {{
        float weight = 0.0f, change = 0.0f;
        if (j < left) {{
          weight = {weight};
          change = weight * (changes[at + j] - {dot});
{kept}{cut}        }}
        scores[at + j] = weight;
        changes[at + j] = change;
      }}
    }}
    __syncthreads();
)",
                    fmt::arg("end", room_.others), fmt::arg("weight", weight),
                    fmt::arg("dot", is_queries_ ? "dot" : "dots[j]"), fmt::arg("kept", kept),
                    fmt::arg("cut", cut));
}

}  // namespace facet::cuda
