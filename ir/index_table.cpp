#include "ir/index_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "ir/error.h"

namespace facet {
namespace {

/// A text of one line may ask for any size; no table of positions is as large.
constexpr std::int64_t kMostElements = std::int64_t{1} << 22;
/// Whole numbers up to here are exact as doubles, which HostTensor hands out.
constexpr double kLargestExact = 0x1p53;

/// Element `i` of the table in row-major order; wraps around, as a text may hold any steps.
std::int64_t element(const IndexTable& table, std::int64_t i) {
  auto value = static_cast<std::uint64_t>(table.start);
  for (std::size_t axis = table.counts.size(); axis-- > 0; i /= table.counts[axis]) {
    value += static_cast<std::uint64_t>(i % table.counts[axis]) *
             static_cast<std::uint64_t>(table.steps[axis]);
  }
  return static_cast<std::int64_t>(value);
}

}  // namespace

std::optional<IndexTable> as_index_table(const HostTensor& tensor) {
  const std::int64_t count = tensor.element_count();
  if (is_float(tensor.dtype()) || count < 2 || count > kMostElements) return std::nullopt;
  const std::vector<double> doubles = tensor.to_doubles();
  const auto is_exact = [](double value) { return std::fabs(value) < kLargestExact; };
  if (!std::all_of(doubles.begin(), doubles.end(), is_exact)) return std::nullopt;
  const std::vector<std::int64_t> values(doubles.begin(), doubles.end());
  IndexTable table{values[0], {}, {}};
  // The innermost axis is the longest even run; whole runs form the next axis, and so on.
  for (std::int64_t run = 1; run < count;) {
    const std::int64_t step = values[static_cast<std::size_t>(run)] - values[0];
    std::int64_t steps = 1;
    while (steps * run < count &&
           values[static_cast<std::size_t>(steps * run)] == values[0] + steps * step) {
      ++steps;
    }
    if (table.counts.size() == 4 || count % (steps * run) != 0) return std::nullopt;
    table.counts.insert(table.counts.begin(), steps);
    table.steps.insert(table.steps.begin(), step);
    run *= steps;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    if (values[static_cast<std::size_t>(i)] != element(table, i)) return std::nullopt;
  }
  return table;
}

HostTensor expand(const IndexTable& table, DType dtype, std::vector<std::int64_t> shape) {
  const std::int64_t count = element_count(shape);
  if (count > kMostElements) {
    throw usage_error(fmt::format("a table of {} elements is too large", count));
  }
  if (table.counts.size() != table.steps.size() || element_count(table.counts) != count) {
    throw usage_error(fmt::format("a table of counts [{}] and steps [{}] does not fill shape [{}]",
                                  fmt::join(table.counts, ", "), fmt::join(table.steps, ", "),
                                  fmt::join(shape, ", ")));
  }
  HostTensor wide(DType::i64, std::move(shape));
  for (std::int64_t i = 0; i < wide.element_count(); ++i) {
    wide.as_mutable<std::int64_t>()[i] = element(table, i);
  }
  return wide.cast(dtype);
}

}  // namespace facet
