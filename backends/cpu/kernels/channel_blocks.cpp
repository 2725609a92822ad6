#include "backends/cpu/kernels/channel_blocks.h"

#include <algorithm>

namespace facet::cpu {
namespace {

/// A part has at least so many elements, and so many places where it keeps sums for every channel:
/// below that the sums cost more than they are of use.
constexpr std::int64_t kPartElements = 32 * 1024;
constexpr std::int64_t kPartPlaces = 64;
constexpr std::int64_t kMostParts = 32;

std::int64_t power_of_two_below(std::int64_t value) {
  std::int64_t power = 1;
  while (2 * power <= value) power *= 2;
  return power;
}

}  // namespace

ChannelPlan plan_channels(const Node& node, std::span<const View> views) {
  ChannelPlan plan;
  std::vector<std::int64_t> extents = static_extents(views[0].type.shape);
  const std::size_t axis = extents.size() > 1 ? 1 : 0;
  plan.channels = extents[axis];
  plan.places = element_count(extents) / plan.channels;
  extents[axis] = 1;
  plan.by_rows = plan.channels > 1;
  std::vector<std::vector<std::int64_t>> strides;
  for (const View& view : views) {
    plan.types.push_back(float_type(node, view.type.dtype));
    plan.channel_steps.push_back(view.strides[axis]);
    strides.push_back(view.strides);
    plan.by_rows = plan.by_rows && view.strides[axis] == 1;
    plan.same_type = plan.same_type && plan.types.back() == plan.types.front();
  }
  plan.loops = collapse(extents, strides, 0);
  const std::int64_t worth =
      std::clamp(plan.elements() / kPartElements, std::int64_t{1}, kMostParts);
  plan.parts =
      plan.by_rows
          ? power_of_two_below(std::clamp(plan.places / kPartPlaces, std::int64_t{1}, worth))
          : std::min(worth, plan.channels);
  return plan;
}

ChannelWalk::ChannelWalk(const ChannelPlan& plan, bool written)
    : plan_(plan),
      reads_(plan.types.size() - (written ? 1 : 0)),
      written_(written),
      buffers_(plan.types.size()) {
  block_.reads.resize(reads_);
  block_.type = plan.same_type ? plan.types[0] : Float::f32;
}

void ChannelWalk::open(std::span<std::byte* const> bases, const std::vector<std::int64_t>& offsets,
                       std::int64_t rows, std::int64_t cols, const std::vector<std::int64_t>& row,
                       const std::vector<std::int64_t>& col) {
  block_.rows = rows;
  block_.cols = cols;
  bool direct = plan_.same_type;
  for (std::size_t v = 0; v < plan_.types.size(); ++v)
    direct = direct && (col[v] == 1 || cols == 1);
  block_.type = direct ? plan_.types[0] : Float::f32;
  for (std::size_t v = 0; v < plan_.types.size(); ++v) {
    const std::int64_t size = size_of(plan_.types[v]);
    std::byte* const at = bases[v] + offsets[v] * size;
    const bool is_read = v < reads_;
    if (direct) {
      if (is_read) {
        block_.reads[v] = {at, row[v]};
      } else {
        block_.writes = {at, row[v]};
      }
      continue;
    }
    std::vector<float>& buffer = buffers_[v];
    buffer.resize(static_cast<std::size_t>(rows * cols));
    if (!is_read) {
      block_.writes = {buffer.data(), cols};
      continue;
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      load_floats(plan_.types[v], at + r * row[v] * size, col[v], buffer.data() + r * cols, cols);
    }
    block_.reads[v] = {buffer.data(), cols};
  }
}

void ChannelWalk::close(std::span<std::byte* const> bases, const std::vector<std::int64_t>& offsets,
                        const std::vector<std::int64_t>& row,
                        const std::vector<std::int64_t>& col) {
  if (!written_ || block_.writes.y != static_cast<void*>(buffers_[reads_].data())) return;
  const std::int64_t size = size_of(plan_.types[reads_]);
  std::byte* const to = bases[reads_] + offsets[reads_] * size;
  for (std::int64_t r = 0; r < block_.rows; ++r) {
    store_floats(plan_.types[reads_], buffers_[reads_].data() + r * block_.cols,
                 to + r * row[reads_] * size, col[reads_], block_.cols);
  }
}

void ChannelArguments::fill(std::int64_t channel) {
  for (std::size_t i = 0; i < arrays_.size(); ++i) {
    std::fill_n(repeated_.data() + i * kPlaneColumns, kPlaneColumns, arrays_[i][channel]);
  }
  channel_ = channel;
}

ChannelSums::ChannelSums(const ChannelPlan& plan, std::size_t count)
    : plan_(plan),
      count_(count),
      width_(plan.by_rows ? plan.channels : kPlaneColumns),
      sums_(count * static_cast<std::size_t>(width_)) {}

float* ChannelSums::open(const ChannelBlock& block, std::size_t i) {
  float* const sums = sums_.data() + static_cast<std::int64_t>(i) * width_;
  std::fill_n(sums, block.cols, 0.0f);
  return sums;
}

void ChannelSums::close(const ChannelBlock& block, double* part_sums) {
  for (std::size_t i = 0; i < count_; ++i) {
    const float* const sums = sums_.data() + static_cast<std::int64_t>(i) * width_;
    double* const to = part_sums + static_cast<std::int64_t>(i) * plan_.channels;
    if (plan_.by_rows) {
      for (std::int64_t c = 0; c < block.cols; ++c) to[c] += sums[c];
    } else {
      to[block.channel] +=
          vector_loops().fold_run[static_cast<int>(Fold::sum)][0](sums, block.cols);
    }
  }
}

void add_parts(const ChannelPlan& plan, double* sums, std::size_t count) {
  const std::int64_t length = static_cast<std::int64_t>(count) * plan.channels;
  for (std::int64_t part = 1; part < plan.sum_parts(); ++part) {
    const double* const from = sums + part * length;
    for (std::int64_t i = 0; i < length; ++i) sums[i] += from[i];
  }
}

}  // namespace facet::cpu
