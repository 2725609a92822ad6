#include <fmt/format.h>

#include "backends/cuda/kernels/attention_side_writer.h"
#include "backends/cuda/kernels/loops.h"

// The phases of a block of attention's gradient, as text.

namespace facet::cuda {

/// Declares letter0 and letter1: the channels of tokens `token` and `token` + 8.
std::string SideWriter::fragments(const TokenVectors& x, std::string_view letter,
                                  std::string_view token, std::string_view indent) const {
  return fmt::format(
      "{0}facet::Four<{1}> {2}0[{3}], {2}1[{3}];\n#pragma unroll\n"
      "{0}for (int m = 0; m < {3}; ++m) {{\n{0}  {2}0[m] = {4};\n{0}  {2}1[m] = {5};\n{0}}}\n",
      indent, type_, letter, chunks(x), four(x, fmt::format("{} + g", token)),
      four(x, fmt::format("{} + g + 8", token)));
}

/// Four channels of a token, as `token_four_text` has them.
std::string SideWriter::four(const TokenVectors& x, std::string_view token) const {
  if (x.step == 1) return token_four_text(type_, x.lie, x.head, x.name, token, x.tokens);
  const bool whole = x.lie.token % 8 == 0 && x.lie.image % 8 == 0 && x.head.step % 8 == 0;
  return fmt::format(
      "facet::half_of_eight<{}, {}, {}>({} + {}LL * ({}) + 32 * m + 8 * t, {} < {} ? {} - 16 * m - "
      "4 * t : 0)",
      type_, whole, x.part, x.name, x.lie.token, token, token, x.tokens, x.head.size);
}

std::string SideWriter::pairs(std::string_view to, const TokenVectors& own,
                              const TokenVectors& other, const TokenVectors& own_places,
                              const PlaceTables& own_tables, const TokenVectors& other_places,
                              const PlaceTables& other_tables, bool has_factors) const {
  const auto row = [&](const PlaceTable& table) {
    return table_four_text(type_, view(table.operand).type.dtype, table.columns, table.name, "row",
                           fmt::format("row >= 0 && row < {}", table.rows));
  };
  const auto scaled = [&](int term) { return has_factors ? factor(term) : std::string(); };
  std::string text;
  if (!own_tables.empty()) {
    text += "    {\n" + fragments(own_places, "x", "first", "      ");
    for (const PlaceTable& table : own_tables) {
      text += fmt::format(
          R"(      for (int n = warp; n < {tiles}; n += {warps}) {{
        const int row = {first} + 8 * n + g;
        float d[4] = {{}};
#pragma unroll
        for (int m = 0; m < {chunks}; ++m) facet::multiply(d, x0[m], x1[m], {row});
        for (int e = 0; e < 4; ++e) {{
          places[{step} * (g + e / 2 * 8) + {at} + 8 * n + 2 * t + e % 2] = d[e];
        }}
      }}
)",
          fmt::arg("tiles", rounded_up(table.places, 8) / 8), fmt::arg("warps", kGradientWarps),
          fmt::arg("first", table.first_row), fmt::arg("chunks", chunks(own_places)),
          fmt::arg("row", row(table)), fmt::arg("step", room_.place_row), fmt::arg("at", table.at));
    }
    text += "    }\n    __syncthreads();\n";
  }
  std::string places;
  for (const PlaceTable& table : own_tables) {
    places += fmt::format("          s += {}places[{} * a + {} + {}];\n",
                          scaled(table.operand == s_.relative_value ? 0 : term_of(table)),
                          room_.place_row, table.at, table.place);
  }
  text += "    {\n" + fragments(own, "x", "first", "      ");
  text += fmt::format(
      R"(      for (int j = 16 * warp; j < {end}; j += {step}) {{
        float c[2][4] = {{}};
#pragma unroll
        for (int m = 0; m < {chunks}; ++m) {{
          facet::multiply(c[0], x0[m], x1[m], {other0});
          facet::multiply(c[1], x0[m], x1[m], {other1});
        }}
#pragma unroll
        for (int e = 0; e < 8; ++e) {{
          const int a = g + e / 2 % 2 * 8, other = j + e / 4 * 8 + 2 * t + e % 2;
          if (other >= {others}) continue;
          float s = {factor}c[e / 4][e % 4];
{places}          {to}[{row} * a + other] = s;
        }}
      }}
    }}
    __syncthreads();
)",
      fmt::arg("end", room_.others), fmt::arg("step", 16 * kGradientWarps),
      fmt::arg("chunks", chunks(own)), fmt::arg("other0", four(other, "j + g")),
      fmt::arg("other1", four(other, "j + g + 8")), fmt::arg("others", others_),
      fmt::arg("factor", scaled(0)), fmt::arg("places", places), fmt::arg("to", to),
      fmt::arg("row", room_.row));
  if (other_tables.empty()) return text;
  text += fmt::format(
      "    for (int j = 16 * warp; j < {}; j += {}) {{\n"
      "      float* const by_other = places + {} * warp;\n",
      room_.others, 16 * kGradientWarps, kOwnTokens * room_.other_row);
  text += fragments(other_places, "z", "j", "      ");
  std::string sum;
  for (const PlaceTable& table : other_tables) {
    text += fmt::format(
        R"(#pragma unroll 1
      for (int n = 0; n < {tiles}; ++n) {{
        const int row = {first} + 8 * n + g;
        float d[4] = {{}};
#pragma unroll
        for (int m = 0; m < {chunks}; ++m) facet::multiply(d, z0[m], z1[m], {row});
        for (int e = 0; e < 4; ++e) {{
          by_other[{step} * (g + e / 2 * 8) + {at} + 8 * n + 2 * t + e % 2] = d[e];
        }}
      }}
)",
        fmt::arg("tiles", rounded_up(table.places, 8) / 8), fmt::arg("first", table.first_row),
        fmt::arg("chunks", chunks(other_places)), fmt::arg("row", row(table)),
        fmt::arg("step", room_.other_row), fmt::arg("at", table.at));
    sum += fmt::format("{}by_other[{} * b + {} + {}]", sum.empty() ? "" : " + ", room_.other_row,
                       table.at, table.place);
  }
  const int term = other_tables[0].operand == s_.relative_value ? 0 : term_of(other_tables[0]);
  return text + fmt::format(
                    R"(      __syncwarp();
#pragma unroll
      for (int e = 0; e < 8; ++e) {{
        const int a = g + e / 2 % 2 * 8, b = e / 4 * 8 + 2 * t + e % 2;
        const int other = j + b;
        if (other < {others}) {to}[{row} * a + other] += {factor}({sum});
      }}
      __syncwarp();
    }}
    __syncthreads();
)",
                    fmt::arg("others", others_), fmt::arg("to", to), fmt::arg("row", room_.row),
                    fmt::arg("factor", scaled(term)), fmt::arg("sum", sum));
}

/// Scores become weights, and gradients of weights those of scores. Rows of queries have their sums
/// here: of exp(s), and of its product with the gradients of weights; between the passes a negative
/// power marks a score that the clamp cut.
std::string SideWriter::weights() const {
  std::string score = "scores[at + j]", is_cut;
  if (s_.scale != 1) score = fmt::format("{} * {}", float_literal(s_.scale), score);
  if (s_.clamp) {
    const std::string low = float_literal(s_.clamp->first);
    const std::string high = float_literal(s_.clamp->second);
    is_cut = fmt::format("{0} < {1} || {0} > {2}", score, low, high);
    score = fmt::format("facet::clamp({}, {}, {})", score, low, high);
  }
  const std::string query = is_queries_ ? "(first + a)" : "j";
  const std::string key = is_queries_ ? "j" : "(first + a)";
  std::string kept;
  if (s_.bias >= 0) {
    const Stream bias =
        broadcast_stream(view(s_.bias), {plan_.images, s_.heads, s_.queries, s_.keys});
    score +=
        fmt::format(" + facet::to_float(bias[{}LL * image + {}LL * head + {}LL * {} + {}LL * {}])",
                    bias.strides[0], bias.strides[1], bias.strides[2], query, bias.strides[3], key);
    if (is_queries_ && d_.bias >= 0) {
      const bool by_image = plan_.bias_slots == plan_.images;
      kept = fmt::format(
          "          float* const sum = scratch + {}LL + {}LL * {} + {}LL * head + {} * {} + j;\n"
          "          *sum = {};\n",
          plan_.bias_sums, s_.heads * s_.queries * s_.keys, by_image ? "image" : "slice",
          s_.queries * s_.keys, s_.keys, query,
          by_image ? "change" : "image == slice ? change : *sum + change");
    }
  }
  const auto of_queries = [&](std::int64_t scratch) {
    return fmt::format("scratch + {}LL + {}LL * image + {} * head", scratch, s_.heads * s_.queries,
                       s_.queries);
  };
  std::string text = fmt::format(
      R"(    float* const logarithms = {logarithms};
    float* const dots = {dots};
    for (int a = warp; a < {own}; a += {warps}) {{
      const int at = {row} * a;
      if (first + a >= {tokens}) {{
        for (int j = lane; j < {end}; j += facet::kLanes) scores[at + j] = changes[at + j] = 0.0f;
        continue;
      }}
)",
      fmt::arg("logarithms", of_queries(plan_.logarithms)),
      fmt::arg("dots", of_queries(plan_.dots)), fmt::arg("own", kOwnTokens),
      fmt::arg("warps", kGradientWarps), fmt::arg("row", room_.row), fmt::arg("tokens", own_),
      fmt::arg("end", room_.others));
  if (is_queries_) {
    text += fmt::format(
        R"(      float most = facet::bits_to_float(0xff800000u);
      for (int j = lane; j < {others}; j += facet::kLanes) most = facet::maximum(most, {score});
      most = facet::warp_maximum(most);
      float sum = 0.0f, dot = 0.0f;
      for (int j = lane; j < {others}; j += facet::kLanes) {{
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
        fmt::arg("others", others_), fmt::arg("score", score),
        fmt::arg("power", s_.clamp ? is_cut + " ? -power : power" : "power"));
  }
  std::string weight = fmt::format("facet::exp({} - logarithms[j])", score);
  if (is_queries_) {
    weight = s_.clamp ? "facet::abs(scores[at + j]) * share" : "scores[at + j] * share";
    is_cut = "scores[at + j] < 0.0f";
  }
  const std::string cut =
      s_.clamp ? fmt::format("          if ({}) change = 0.0f;\n", is_cut) : std::string();
  return text + fmt::format(
                    R"(      for (int j = lane; j < {end}; j += facet::kLanes) {{
        float weight = 0.0f, change = 0.0f;
        if (j < {others}) {{
          weight = {weight};
          change = weight * (changes[at + j] - {dot});
{kept}{cut}        }}
        scores[at + j] = weight;
        changes[at + j] = change;
      }}
    }}
    __syncthreads();
)",
                    fmt::arg("end", room_.others), fmt::arg("others", others_),
                    fmt::arg("weight", weight), fmt::arg("dot", is_queries_ ? "dot" : "dots[j]"),
                    fmt::arg("kept", kept), fmt::arg("cut", cut));
}

/// places[own][place] = the sum of `from` over the others that are there.
std::string SideWriter::spread(std::string_view from, const PlaceTables& tables) const {
  std::string text;
  for (const PlaceTable& table : tables) {
    std::string sum;
    if (table.kind == PlaceTable::Kind::distance) {
      const std::string other =
          is_queries_ ? fmt::format("a - p + {}", s_.keys - 1) : std::string("a + p - 15");
      sum = fmt::format(
          "        const int other = {};\n"
          "        const float x = other >= 0 && other < {} ? {}[{} * a + other] : 0.0f;\n",
          other, others_, from, room_.row);
    } else {
      const bool is_height = table.kind == PlaceTable::Kind::height;
      const std::int64_t extent = is_height ? s_.height : s_.width;
      sum = fmt::format(
          "        const int line = (first + a) {0} {1} - p + {2};\n        float x = 0.0f;\n"
          "        for (int i = 0; i < {3} && line >= 0 && line < {4}; ++i) {{\n"
          "          x += {5}[{6} * a + {7}];\n        }}\n",
          is_height ? '/' : '%', s_.width, extent - 1, is_height ? s_.width : s_.height, extent,
          from, room_.row,
          is_height ? fmt::format("{} * line + i", s_.width)
                    : fmt::format("{} * i + line", s_.width));
    }
    text += fmt::format(
        "    for (int a = warp; a < {0}; a += {1}) {{\n"
        "      for (int p = lane; p < {2}; p += facet::kLanes) {{\n{3}"
        "        places[{4} * a + {5} + p] = x;\n      }}\n    }}\n",
        kOwnTokens, kGradientWarps, rounded_up(table.places, 16), sum, room_.place_row, table.at);
  }
  return tables.empty() ? text : text + "    __syncthreads();\n";
}

/// to += rows of `from` times what lies under each other at `at`, in terms of row `r`.
std::string SideWriter::product(std::string_view to, std::string_view from, std::int64_t row,
                                std::int64_t count, std::int64_t columns, DType dtype,
                                std::string_view at, std::string_view is_there) const {
  const std::string is_inside = fmt::format("c < {} && {}", columns, is_there);
  const std::string take =
      type_name(dtype) == type_
          ? fmt::format("b.values[i] = {} ? {} : {}();", is_inside, at, type_)
          : fmt::format("facet::from_float({} ? facet::to_float({}) : 0.0f, b.values[i]);",
                        is_inside, at);
  return fmt::format(
      R"(      for (int m = 0; m < {count}; m += 16) {{
        facet::Four<{type}> b;
        for (int i = 0; i < 4; ++i) {{
          const int r = m + 4 * t + i;
          {take}
        }}
        facet::multiply({to}, facet::round_four<{type}>({from} + {row} * g + m + 4 * t),
                        facet::round_four<{type}>({from} + {row} * (g + 8) + m + 4 * t), b);
      }}
)",
      fmt::arg("count", count), fmt::arg("type", type_), fmt::arg("take", take), fmt::arg("to", to),
      fmt::arg("from", from), fmt::arg("row", row));
}

std::string SideWriter::outcome(std::string_view name, int result, const TokenVectors& x,
                                std::string_view from, const TokenVectors& other,
                                const PlaceTables& tables, bool has_factors) const {
  if (result < 0) return {};
  const View& to = results_[static_cast<std::size_t>(result)];
  const Tokens lie = tokens_of(s_, to);
  std::string text = fmt::format(
      "    for (int n = warp; n < {}; n += {}) {{\n      const int c = 8 * n + g;\n"
      "      float d[4] = {{}};\n",
      rounded_up(x.head.size, 8) / 8, kGradientWarps);
  text += product("d", from, room_.row, room_.others, x.head.size, other.lie.dtype,
                  other.at("r", "c"), fmt::format("r < {}", others_));
  if (!tables.empty()) text += "      float p[4] = {};\n";
  for (const PlaceTable& table : tables) {
    const std::string row = fmt::format("({} + r)", table.first_row);
    text += product("p", fmt::format("places + {}", table.at), room_.place_row,
                    rounded_up(table.places, 16), x.head.size, view(table.operand).type.dtype,
                    fmt::format("{}[{} * {} + c]", table.name, table.columns, row),
                    fmt::format("{0} >= 0 && {0} < {1}", row, table.rows));
  }
  std::string sums;
  if (has_factors && !sums_.scale_terms.empty()) {
    sums = fmt::format("        const float own_value = facet::to_float({});\n", x.at("own", "to"));
    for (const int term : sums_.scale_terms) {
      sums += fmt::format("        sum{0} += own_value * {1}[e];\n", term, term == 0 ? "d" : "p");
    }
  }
  std::string sum = has_factors ? factor(0) + "d[e]" : std::string("d[e]");
  if (!tables.empty())
    sum += fmt::format(" + {}p[e]", has_factors ? factor(term_of(tables[0])) : "");
  if (has_factors && s_.scale != 1) sum = fmt::format("{} * ({})", float_literal(s_.scale), sum);
  text += fmt::format(
      R"(      for (int e = 0; e < 4; ++e) {{
        const int own = first + g + e / 2 * 8, to = 8 * n + 2 * t + e % 2;
        if (own >= {tokens} || to >= {size}) continue;
{sums}        facet::from_float({sum}, all_{name}[{image}LL * image + {head} * head + {first} + {token}LL * own + to]);
      }}
    }}
)",
      fmt::arg("tokens", own_), fmt::arg("size", x.head.size), fmt::arg("sums", sums),
      fmt::arg("sum", sum), fmt::arg("name", name), fmt::arg("image", lie.image),
      fmt::arg("head", x.head.step), fmt::arg("first", x.head.first), fmt::arg("token", lie.token));
  return text;
}

/// scratch[place][channel] += what was spread over places, times the own vectors.
std::string SideWriter::table_sums(const TableSums& sums, const TokenVectors& x) const {
  const std::string at = x.at("own", "c");
  const std::string is_there = fmt::format("own < {} && c < {}", own_, x.head.size);
  const std::string take =
      type_name(x.lie.dtype) == type_
          ? fmt::format("b[n].values[i] = {} ? {} : {}();", is_there, at, type_)
          : fmt::format("facet::from_float({} ? facet::to_float({}) : 0.0f, b[n].values[i]);",
                        is_there, at);
  return fmt::format(
      R"(    {{
      facet::Four<{type}> b[{columns}];
#pragma unroll
      for (int n = 0; n < {columns}; ++n) {{
        const int c = 8 * n + g;
        for (int i = 0; i < 4; ++i) {{
          const int own = first + 4 * t + i;
          {take}
        }}
      }}
      facet::Four<float>* const all = (facet::Four<float>*)(scratch + {scratch}LL + {size}LL * blockIdx.x) + lane;
      for (int m = warp; m < {rows}; m += {warps}) {{
        facet::Four<{type}> a0, a1;
        for (int i = 0; i < 4; ++i) {{
          const float* const from = places + {row} * (4 * t + i) + {at} + 16 * m + g;
          facet::from_float(from[0], a0.values[i]);
          facet::from_float(from[8], a1.values[i]);
        }}
        facet::Four<float>* const sums = all + {tiles} * m;
#pragma unroll
        for (int n = 0; n < {columns}; ++n) {{
          facet::Four<float> d = {{}};
          if (image != slice) d = sums[32 * n];
          facet::multiply(d.values, a0, a1, b[n]);
          sums[32 * n] = d;
        }}
      }}
    }}
)",
      fmt::arg("rows", rounded_up(sums.table.places, 16) / 16), fmt::arg("warps", kGradientWarps),
      fmt::arg("type", type_), fmt::arg("row", room_.place_row), fmt::arg("at", sums.table.at),
      fmt::arg("scratch", sums.scratch), fmt::arg("size", sums.size),
      fmt::arg("tiles", rounded_up(sums.table.columns, 8) / 8 * 32),
      fmt::arg("columns", rounded_up(sums.table.columns, 8) / 8), fmt::arg("take", take));
}

}  // namespace facet::cuda
