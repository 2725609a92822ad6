#include "ir/index_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ir/error.h"

namespace facet {
namespace {

/// Element `i` of the table in row-major order.
std::int64_t element(const IndexTable& table, std::int64_t i) {
  std::int64_t value = table.start;
  for (std::size_t axis = table.counts.size(); axis-- > 0; i /= table.counts[axis]) {
    value += i % table.counts[axis] * table.steps[axis];
  }
  return value;
}

}  // namespace

std::optional<IndexTable> as_index_table(const HostTensor& tensor) {
  const std::int64_t count = tensor.element_count();
  if (is_float(tensor.dtype()) || count < 2) return std::nullopt;
  const std::vector<double> doubles = tensor.to_doubles();
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
  if (table.counts.size() != table.steps.size() ||
      element_count(table.counts) != element_count(shape)) {
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
