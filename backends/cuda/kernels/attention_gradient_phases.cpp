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
  text += "    {\n";
  std::string unroll, load;
  if (is_wide(own)) {
    unroll = " 4";
    load = fmt::format("          const facet::Four<{}> x0 = {}, x1 = {};\n", type_,
                       four(own, "first + g"), four(own, "first + g + 8"));
  } else {
    text += fragments(own, "x", "first", "      ");
  }
  text += fmt::format(
      R"(      for (int j = 16 * warp; j < {end}; j += {step}) {{
        float c[2][4] = {{}};
#pragma unroll{unroll}
        for (int m = 0; m < {chunks}; ++m) {{
{load}          facet::multiply(c[0], x0{at}, x1{at}, {other0});
          facet::multiply(c[1], x0{at}, x1{at}, {other1});
        }}
#pragma unroll
        for (int e = 0; e < 8; ++e) {{
          const int a = g + e / 2 % 2 * 8, other = j + e / 4 * 8 + 2 * t + e % 2;
          if (other >= left) continue;
          float s = {factor}c[e / 4][e % 4];
{places}          {to}[{row} * a + other] = s;
        }}
      }}
    }}
    __syncthreads();
)",
      fmt::arg("end", room_.others), fmt::arg("step", 16 * kGradientWarps),
      fmt::arg("unroll", unroll), fmt::arg("chunks", chunks(own)), fmt::arg("load", load),
      fmt::arg("at", is_wide(own) ? "" : "[m]"), fmt::arg("other0", four(other, "j + g")),
      fmt::arg("other1", four(other, "j + g + 8")), fmt::arg("factor", scaled(0)),
      fmt::arg("places", places), fmt::arg("to", to), fmt::arg("row", room_.row));
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
        if (other < left) {to}[{row} * a + other] += {factor}({sum});
      }}
      __syncwarp();
    }}
    __syncthreads();
)",
                    fmt::arg("to", to), fmt::arg("row", room_.row),
                    fmt::arg("factor", scaled(term)), fmt::arg("sum", sum));
}

/// places[own][place] = the sum of `from` over the others that are there.
std::string SideWriter::spread(std::string_view from, const PlaceTables& tables) const {
  std::string text;
  for (const PlaceTable& table : tables) {
    std::string sum;
    if (table.kind == PlaceTable::Kind::distance) {
      const std::string other =
          is_queries_ ? fmt::format("a - p + {}", room_.met - 1) : std::string("a + p - 15");
      sum = fmt::format(
          "        const int other = {};\n"
          "        const float x = other >= 0 && other < left ? {}[{} * a + other] : 0.0f;\n",
          other, from, room_.row);
    } else {
      const bool is_height = table.kind == PlaceTable::Kind::height;
      const std::int64_t extent = is_height ? s_.height : s_.width;
      sum = fmt::format(
          "        const int line = (first + a) {0} {1} - p + {2};\n        float x = 0.0f;\n"
          "        for (int i = 0; i < {3} && line >= 0 && line < {4}; ++i) {{\n"
          "          const int other = {7} - start;\n"
          "          if (other >= 0 && other < left) x += {5}[{6} * a + other];\n        }}\n",
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
                                const PlaceTables& tables, bool has_factors,
                                std::int64_t first_total) const {
  if (result < 0) return {};
  const View& to = results_[static_cast<std::size_t>(result)];
  const Tokens lie = tokens_of(s_, to);
  std::string text = fmt::format(
      "    for (int n = warp; n < {}; n += {}) {{\n      const int c = 8 * n + g;\n"
      "      float d[4] = {{}};\n",
      rounded_up(x.head.size, 8) / 8, kGradientWarps);
  text += product("d", from, room_.row, room_.others, x.head.size, other.lie.dtype,
                  other.at("r", "c"), "r < left");
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
  std::string totals;
  if (!room_.is_whole) {
    totals = fmt::format(
        "        float& total = totals[128 * ({} + n) + 32 * e + lane];\n"
        "        total = {} + (start > 0 ? total : 0.0f);\n"
        "        if (start + left < {}) continue;\n",
        first_total, sum, others_);
    sum = "total";
  }
  text += fmt::format(
      R"(      for (int e = 0; e < 4; ++e) {{
        const int own = first + g + e / 2 * 8, to = 8 * n + 2 * t + e % 2;
        if (own >= {tokens} || to >= {size}) continue;
{sums}{totals}        facet::from_float({sum}, all_{name}[{image}LL * image + {head} * head + {first} + {token}LL * own + to]);
      }}
    }}
)",
      fmt::arg("tokens", own_), fmt::arg("size", x.head.size), fmt::arg("sums", sums),
      fmt::arg("totals", totals), fmt::arg("sum", sum), fmt::arg("name", name),
      fmt::arg("image", lie.image), fmt::arg("head", x.head.step), fmt::arg("first", x.head.first),
      fmt::arg("token", lie.token));
  return text;
}

/// scratch[place][channel] += what was spread over places, times the own vectors. Stretches that
/// follow each other share 16 places of a table of distances.
std::string SideWriter::table_sums(const TableSums& sums, const TokenVectors& x) const {
  std::string place = "m", is_added = "turn != slice";
  if (!room_.is_whole) {
    is_added += " || start > 0";
    if (sums.table.kind == PlaceTable::Kind::distance) {
      place = is_queries_ ? fmt::format("(m + ({} - start) / 16)", room_.all - room_.met)
                          : std::string("(m + start / 16)");
      is_added += is_queries_ ? fmt::format(" && m == {}", room_.met / 16) : " && m == 0";
    }
  }
  TokenVectors of_team = x;
  of_team.name = "of_team";
  const std::string at = of_team.at("own", "c");
  const std::string is_there = fmt::format("own < {} && c < {}", own_, x.head.size);
  const std::string take =
      type_name(x.lie.dtype) == type_
          ? fmt::format("b[u][n].values[i] = {} ? {} : {}();", is_there, at, type_)
          : fmt::format("facet::from_float({} ? facet::to_float({}) : 0.0f, b[u][n].values[i]);",
                        is_there, at);
  return fmt::format(
      R"(    {{
      facet::Four<{type}> b[{teams}][{columns}];
#pragma unroll
      for (int u = 0; u < {teams}; ++u) {{
        const {x_type}* const of_team = {x} + {image}LL * (u - team);
#pragma unroll
        for (int n = 0; n < {columns}; ++n) {{
          const int c = 8 * n + g;
          for (int i = 0; i < 4; ++i) {{
            const int own = first + 4 * t + i;
            {take}
          }}
        }}
      }}
      facet::Four<float>* const all = (facet::Four<float>*)(scratch + {scratch}LL + {size}LL * blockIdx.x) + lane;
      for (int m = threadIdx.x / facet::kLanes; m < {rows}; m += {warps}) {{
        facet::Four<{type}> a0[{teams}], a1[{teams}];
#pragma unroll
        for (int u = 0; u < {teams}; ++u) {{
          for (int i = 0; i < 4; ++i) {{
            const float* const from = places + {memory} * (u - team) + {row} * (4 * t + i) + {at} + 16 * m + g;
            facet::from_float(from[0], a0[u].values[i]);
            facet::from_float(from[8], a1[u].values[i]);
          }}
        }}
        facet::Four<float>* const sums = all + {tiles} * {place};
#pragma unroll
        for (int n = 0; n < {columns}; ++n) {{
          facet::Four<float> d = {{}};
          if ({is_added}) d = sums[32 * n];
#pragma unroll
          for (int u = 0; u < {teams}; ++u) facet::multiply(d.values, a0[u], a1[u], b[u][n]);
          sums[32 * n] = d;
        }}
      }}
    }}
)",
      fmt::arg("teams", plan_.teams), fmt::arg("x_type", type_name(x.lie.dtype)),
      fmt::arg("x", x.name), fmt::arg("image", x.lie.image), fmt::arg("memory", room_.bytes / 4),
      fmt::arg("rows", rounded_up(sums.table.places, 16) / 16),
      fmt::arg("warps", plan_.teams * kGradientWarps), fmt::arg("type", type_),
      fmt::arg("row", room_.place_row), fmt::arg("at", sums.table.at),
      fmt::arg("scratch", sums.scratch), fmt::arg("size", sums.size),
      fmt::arg("tiles", rounded_up(sums.table.columns, 8) / 8 * 32), fmt::arg("place", place),
      fmt::arg("is_added", is_added), fmt::arg("columns", rounded_up(sums.table.columns, 8) / 8),
      fmt::arg("take", take));
}

}  // namespace facet::cuda
