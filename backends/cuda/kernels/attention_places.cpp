#include "backends/cuda/kernels/attention_places.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "backends/cuda/kernels/attention_tokens.h"

namespace facet::cuda {
namespace {

/// Gives the tables their places in a row, aligned to `step`. Returns what they take.
std::int64_t lay_out(PlaceTables& tables, std::int64_t step) {
  std::int64_t end = 0;
  for (PlaceTable& table : tables) {
    table.at = end;
    end += rounded_up(table.places, step);
  }
  return end;
}

}  // namespace

PlaceTables score_tables(const Sdpa& s, AttentionSide of, AttentionSide own, std::int64_t met) {
  const bool is_own = of == own;
  const bool of_queries = own == AttentionSide::queries;
  PlaceTables tables;
  const auto distance = [&](int operand, std::string name, std::int64_t columns) {
    PlaceTable table;
    table.operand = operand;
    table.name = std::move(name);
    table.columns = columns;
    table.rows = s.distances();
    table.places = (is_own ? met : kOwnTokens) + kOwnTokens - 1;
    const std::int64_t last = s.keys - kOwnTokens;
    if (of_queries) {
      table.first_row = is_own ? fmt::format("first - start + {}", s.keys - met)
                               : fmt::format("first - start - j + {}", last);
      table.place = is_own ? fmt::format("a - other + {}", met - 1) : "a - b + 15";
    } else {
      table.first_row = is_own ? fmt::format("start - first + {}", last)
                               : fmt::format("start + j - first + {}", last);
      table.place = is_own ? "other - a + 15" : "b - a + 15";
    }
    tables.push_back(std::move(table));
  };
  const auto on_map = [&](PlaceTable::Kind kind, int operand, std::string name) {
    PlaceTable table;
    table.kind = kind;
    table.operand = operand;
    table.name = std::move(name);
    table.columns = s.query.size;
    const bool is_height = kind == PlaceTable::Kind::height;
    const std::int64_t extent = is_height ? s.height : s.width;
    table.rows = table.places = 2 * extent - 1;
    table.first_row = "0";
    const char op = is_height ? '/' : '%';
    const char* const query = of_queries ? "(first + a)" : "(start + other)";
    const char* const key = of_queries ? "(start + other)" : "(first + a)";
    table.place =
        fmt::format("{0} {1} {2} - {3} {1} {2} + {4}", query, op, s.width, key, extent - 1);
    tables.push_back(std::move(table));
  };
  if (of == AttentionSide::keys) {
    if (s.relative_key >= 0) distance(s.relative_key, "key_table", s.query.size);
  } else {
    if (s.relative_query >= 0) distance(s.relative_query, "query_table", s.query.size);
    if (s.relative_height >= 0) {
      on_map(PlaceTable::Kind::height, s.relative_height, "height_table");
      on_map(PlaceTable::Kind::width, s.relative_width, "width_table");
    }
  }
  lay_out(tables, is_own ? 16 : 8);
  return tables;
}

PlaceTables value_tables(const Sdpa& s, AttentionSide own, std::int64_t met) {
  if (s.relative_value < 0) return {};
  Sdpa as_query = s;
  as_query.relative_query = s.relative_value;
  as_query.relative_height = as_query.relative_width = -1;
  PlaceTables tables = score_tables(as_query, AttentionSide::queries, own, met);
  tables[0].name = "value_table";
  tables[0].columns = s.value.size;
  return tables;
}

GradientRoom::GradientRoom(const Sdpa& s, AttentionSide side, std::int64_t shared_bytes) {
  met = all = side == AttentionSide::queries ? s.keys : s.queries;
  if (measure(s, side) <= shared_bytes) return;
  // Each warp takes 16 others at a time.
  constexpr std::int64_t kStep = 16 * kGradientWarps;
  is_whole = false;
  met = rounded_up(all, kStep) - kStep;
  while (met > 0 && measure(s, side) > shared_bytes) met -= kStep;
  if (met > 0) all = rounded_up(all, met);
}

std::int64_t GradientRoom::measure(const Sdpa& s, AttentionSide side) {
  const bool is_queries = side == AttentionSide::queries;
  others = rounded_up(met, 16);
  row = others + 4;
  PlaceTables own = score_tables(s, side, side, met);
  std::int64_t own_places = lay_out(own, 16);
  PlaceTables values = value_tables(s, side, met);
  PlaceTables other =
      score_tables(s, is_queries ? AttentionSide::keys : AttentionSide::queries, side, met);
  std::int64_t other_places = lay_out(other, 8);
  std::int64_t& with_values = is_queries ? own_places : other_places;
  with_values = std::max(with_values, lay_out(values, is_queries ? 16 : 8));
  if (own_places > 0) place_row = own_places + 4;
  if (other_places > 0) other_row = other_places + 5;
  places = kOwnTokens * std::max(place_row, kGradientWarps * other_row);
  if (!is_whole) {
    row_sums = is_queries ? 3 * kOwnTokens : 0;
    totals = rounded_up(s.query.size, 8) + (is_queries ? 0 : rounded_up(s.value.size, 8));
    totals *= kOwnTokens;
  }
  return bytes = 4 * (2 * kOwnTokens * row + places + row_sums + totals);
}

}  // namespace facet::cuda
