#include "backends/cuda/kernels/channel_sums.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "ir/layout.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;
constexpr int kWarps = kThreads / kWarp;
/// Four on each of an H200's 132 multiprocessors: with 16 bytes of each source on the way for every
/// thread they keep its memory busy.
constexpr std::int64_t kWantedBlocks = 528;
/// A lane adds up at least as many positions before its sums go to other lanes.
constexpr std::int64_t kLeastSteps = 8;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Lanes side by side along `units` groups of channels: the most of which four in five have work.
int lanes_across(std::int64_t units) {
  for (int across = kWarp; across > 1; across /= 2) {
    if (5 * units >= 4 * ceil_div(units, across) * across) return across;
  }
  return 1;
}

std::string scaled(std::int64_t stride, std::string_view index) {
  return stride == 1 ? std::string(index) : fmt::format("{}LL * {}", stride, index);
}

}  // namespace

/// How the work is shared: a thread has `group` neighbouring channels and moves `vector` elements
/// at once; `across` lanes of a warp are side by side along channels, all others of the block along
/// positions.
struct ChannelSums::Tiling {
  Loops positions;                     ///< streams as the sources
  std::vector<std::int64_t> channels;  ///< strides of the sources
  int vector = 1;
  int group = 1;
  int across = 1;
  std::int64_t units = 0;    ///< groups of channels
  std::int64_t columns = 0;  ///< blocks beside each other
  std::int64_t chunk = 0;    ///< positions of a part
  std::int64_t parts = 0;
};

ChannelSums::ChannelSums(std::string name, std::vector<Source> sources)
    : name_(std::move(name)), sources_(std::move(sources)) {
  const Shape& shape = sources_[0].value.view.type.shape;
  channels_ = shape[1].factor;
  count_ = element_count(shape).factor / std::max<std::int64_t>(channels_, 1);
}

void ChannelSums::add_shift(std::string source) { shifted_ = std::move(source); }
void ChannelSums::add_parameter(std::string name, KernelArgument place, bool is_one) {
  parameters_.push_back({std::move(name), place, is_one});
}
void ChannelSums::add_terms(std::string lines, std::vector<std::string> terms) {
  lines_ = std::move(lines);
  terms_ = std::move(terms);
}
void ChannelSums::write(std::string value, const PlacedView& to) {
  written_ = std::move(value);
  sources_.push_back({"to", to});
}
void ChannelSums::finish_with(std::vector<ChannelAccess> accesses, std::string text) {
  accesses_ = std::move(accesses);
  finish_ = std::move(text);
}
void ChannelSums::add_total(std::size_t term, KernelArgument to) { total_ = {term, to}; }

ChannelSums::Tiling ChannelSums::tiling() const {
  const std::vector<std::int64_t> extents = static_extents(sources_[0].value.view.type.shape);
  std::vector<Stream> streams;
  for (const Source& source : sources_) {
    streams.push_back(broadcast_stream(source.value.view, extents));
  }
  std::vector<std::size_t> axes;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (i != 1) axes.push_back(i);
  }
  Tiling t;
  t.positions = loops_over(axes, extents, streams, 0);
  for (const Stream& stream : streams) t.channels.push_back(stream.strides[1]);
  const auto all_one = [](const auto& strides) {
    return std::ranges::all_of(strides, [](std::int64_t stride) { return stride == 1; });
  };
  std::vector<std::int64_t> inner;
  for (const Stream& stream : t.positions.streams) inner.push_back(stream.strides.back());
  const bool by_channels = all_one(t.channels);
  Loops all = t.positions;  // with the channels, to find what can be moved at once
  const auto at = by_channels ? all.extents.size() : std::size_t{0};
  all.extents.insert(all.extents.begin() + static_cast<std::ptrdiff_t>(at), channels_);
  for (std::size_t i = 0; i < all.streams.size(); ++i) {
    auto& strides = all.streams[i].strides;
    strides.insert(strides.begin() + static_cast<std::ptrdiff_t>(at), t.channels[i]);
  }
  if (by_channels || all_one(inner)) t.vector = vector_of(all);
  t.group = by_channels ? t.vector : 1;
  t.units = channels_ / t.group;
  t.across = by_channels ? lanes_across(t.units) : 1;
  t.columns = ceil_div(t.units, t.across);
  const std::int64_t step = kThreads / t.across * (t.vector / t.group);
  const std::int64_t most = std::max<std::int64_t>(count_ / (step * kLeastSteps), 1);
  t.parts = std::clamp<std::int64_t>(kWantedBlocks / t.columns, 1, most);
  t.chunk = ceil_div(ceil_div(count_, t.parts), t.vector) * t.vector;
  t.parts = ceil_div(count_, t.chunk);
  return t;
}

std::string ChannelSums::shift_of(const std::string& channel) const {
  for (const Source& source : sources_) {
    if (source.name != shifted_) continue;
    const std::int64_t stride = source.value.view.strides[1];
    return fmt::format("p_{} + {}", source.name, scaled(stride, channel));
  }
  return {};
}

/// The loop over the part's positions.
std::string ChannelSums::loop_text(const Tiling& t) const {
  std::string text =
      fmt::format("  const int end = active ? part < {} ? (part + 1) * {} : {} : 0;\n", t.parts - 1,
                  t.chunk, count_);
  text += fmt::format(
      "  for (int r = part * {} + row * (V / G); r < end; r += ROWS * (V / G)) {{\n", t.chunk);
  text += coordinates_text(t.positions, "r");
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const std::string& name = sources_[i].name;
    text += fmt::format("  float v_{}[V];\n", name);
    if (name == "to") continue;
    text += fmt::format("  facet::load(v_{0}, p_{0} + {1});\n", name,
                        offset_text(t.positions.streams[i]));
  }
  text += "  for (int i = 0; i < V; ++i) {\n";
  for (const Source& source : sources_) {
    if (source.name != "to") text += fmt::format("    const float {0} = v_{0}[i];\n", source.name);
  }
  if (!shifted_.empty()) text += "    const float shift = c_shift[i % G];\n";
  for (const Parameter& parameter : parameters_) {
    text += fmt::format("    const float {0} = c_{0}[i % G];\n", parameter.name);
  }
  text += fmt::format("    {}\n", lines_);
  if (!written_.empty()) text += fmt::format("    v_to[i] = {};\n", written_);
  for (std::size_t k = 0; k < terms_.size(); ++k) {
    text += fmt::format("    sum{}[i % G] += {};\n", k, terms_[k]);
  }
  text += "  }\n";
  if (!written_.empty()) {
    text +=
        fmt::format("  facet::store(p_to + {}, v_to);\n", offset_text(t.positions.streams.back()));
  }
  return text + "  }\n";
}

KernelSource ChannelSums::sum_kernel(const Tiling& t) const {
  KernelSource kernel{name_ + "_sums", {}, kThreads, t.columns * t.parts, {}};
  std::vector<std::string> names;
  for (const Source& source : sources_) {
    names.push_back(fmt::format("{}{}* __restrict__ p_{}", source.name == "to" ? "" : "const ",
                                type_name(source.value.view.type.dtype), source.name));
    kernel.arguments.push_back(source.value.place);
  }
  for (const Parameter& parameter : parameters_) {
    names.push_back(fmt::format("const float* __restrict__ p_{}", parameter.name));
    kernel.arguments.push_back(parameter.place);
  }
  names.emplace_back("float* __restrict__ parts");
  kernel.arguments.push_back({KernelArgument::Place::scratch, 0});
  std::string& text = kernel.text;
  text = fmt::format("extern \"C\" __global__ void __launch_bounds__({}) {}({}) {{\n", kThreads,
                     kernel.name, fmt::join(names, ", "));
  text +=
      fmt::format("  constexpr int V = {}, G = {}, ACROSS = {};\n", t.vector, t.group, t.across);
  text += fmt::format(
      "  constexpr int ROWS = {0} / ACROSS;\n"
      "  const int part = blockIdx.x / {1}, column = blockIdx.x % {1};\n"
      "  const int unit = column * ACROSS + threadIdx.x % ACROSS;\n"
      "  const bool active = unit < {2};\n  const int c = active ? unit * G : 0;\n"
      "  const int row = threadIdx.x / ACROSS;\n",
      kThreads, t.columns, t.units);
  if (!shifted_.empty()) {
    text += fmt::format("  float c_shift[G];\n  facet::load(c_shift, {});\n", shift_of("c"));
  }
  for (const Parameter& parameter : parameters_) {
    text += fmt::format("  float c_{0}[G];\n  facet::load(c_{0}, p_{0}{1});\n", parameter.name,
                        parameter.is_one ? ", 0" : " + c");
  }
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    text += fmt::format("  p_{} += {};\n", sources_[i].name, scaled(t.channels[i], "c"));
  }
  for (std::size_t k = 0; k < terms_.size(); ++k)
    text += fmt::format("  float sum{}[G] = {{}};\n", k);
  text += loop_text(t) + block_text(t);
  return kernel;
}

/// The sums of a block's threads: those of a warp by exchange, those of the warps in shared memory.
std::string ChannelSums::block_text(const Tiling& t) const {
  const auto count = static_cast<std::int64_t>(terms_.size());
  const std::int64_t width = t.across * t.group;
  std::string text =
      "  for (int k = 0; k < G; ++k) {\n"
      "    for (int d = facet::kLanes / 2; d >= ACROSS; d /= 2) {\n";
  for (std::int64_t k = 0; k < count; ++k) {
    text += fmt::format("      sum{0}[k] += facet::exchange(sum{0}[k], d);\n", k);
  }
  text += fmt::format(
      "    }}\n  }}\n  __shared__ float all[{}][{}];\n"
      "  if (threadIdx.x % facet::kLanes < ACROSS) {{\n"
      "    float* const at = all[threadIdx.x / facet::kLanes] + threadIdx.x % ACROSS * G;\n"
      "    for (int k = 0; k < G; ++k) {{\n",
      kWarps, count * width);
  for (std::int64_t k = 0; k < count; ++k) {
    text += fmt::format("      at[{} + k] = sum{}[k];\n", k * width, k);
  }
  return text + fmt::format(
                    "    }}\n  }}\n  __syncthreads();\n"
                    "  for (int i = threadIdx.x; i < {0}; i += {1}) {{\n"
                    "    const int to = column * {2} + i % {2};\n    if (to >= {3}) continue;\n"
                    "    float total = all[0][i];\n"
                    "    for (int warp = 1; warp < {4}; ++warp) total += all[warp][i];\n"
                    "    parts[(part * {5} + i / {2}) * {3} + to] = total;\n  }}\n}}\n",
                    count * width, kThreads, width, channels_, kWarps, count);
}

KernelSource ChannelSums::finish_kernel(const Tiling& t) const {
  const auto count = static_cast<std::int64_t>(terms_.size());
  KernelSource kernel{name_ + "_finish",
                      {},
                      kThreads,
                      ceil_div(channels_ * kWarp, kThreads),
                      {{KernelArgument::Place::scratch, 0}}};
  std::vector<std::string> names{"float* __restrict__ parts"};
  for (const Source& source : sources_) {
    if (source.name != shifted_) continue;
    names.push_back(fmt::format("const {}* __restrict__ p_{}",
                                type_name(source.value.view.type.dtype), source.name));
    kernel.arguments.push_back(source.value.place);
  }
  for (const ChannelAccess& access : accesses_) {
    names.push_back(fmt::format("{}float* {}", access.written ? "" : "const ", access.name));
    kernel.arguments.push_back(access.place);
  }
  std::string& text = kernel.text;
  text = fmt::format("extern \"C\" __global__ void __launch_bounds__({}) {}({}) {{\n", kThreads,
                     kernel.name, fmt::join(names, ", "));
  text += fmt::format(
      "  const int c = (blockIdx.x * {} + threadIdx.x) / {};\n"
      "  const int lane = threadIdx.x % facet::kLanes;\n  if (c >= {}) return;\n",
      kThreads, kWarp, channels_);
  for (std::int64_t k = 0; k < count; ++k) text += fmt::format("  float sum{} = 0.0f;\n", k);
  text += fmt::format(
      "#pragma unroll 4\n  for (int part = lane; part < {}; part += facet::kLanes) {{\n", t.parts);
  for (std::int64_t k = 0; k < count; ++k) {
    text +=
        fmt::format("    sum{0} += parts[(part * {1} + {0}) * {2} + c];\n", k, count, channels_);
  }
  text += "  }\n";
  for (std::int64_t k = 0; k < count; ++k) {
    text += fmt::format("  sum{0} = facet::warp_sum(sum{0});\n", k);
  }
  text += "  if (lane == 0) {\n";
  if (!shifted_.empty()) {
    text += fmt::format("    const float shift = facet::to_float(*({}));\n", shift_of("c"));
  }
  text += finish_;
  if (total_) {
    text += fmt::format("    parts[{} + c] = sum{};\n", t.parts * count * channels_, total_->first);
  }
  text += "  }\n}\n";
  return kernel;
}

/// One warp adds up what the channels left behind the parts.
KernelSource ChannelSums::total_kernel(const Tiling& t) const {
  KernelSource kernel{
      name_ + "_total", {}, kWarp, 1, {{KernelArgument::Place::scratch, 0}, total_->second}};
  kernel.text = fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({}) {}(const float* __restrict__ parts, "
      "float* total) {{\n  const int lane = threadIdx.x % facet::kLanes;\n  float sum = 0.0f;\n"
      "  for (int c = lane; c < {}; c += facet::kLanes) sum += parts[{} + c];\n"
      "  sum = facet::warp_sum(sum);\n  if (lane == 0) *total = sum;\n}}\n",
      kWarp, kernel.name, channels_,
      t.parts * static_cast<std::int64_t>(terms_.size()) * channels_);
  return kernel;
}

KernelSequence ChannelSums::kernels() const {
  const Tiling t = tiling();
  const auto rows = t.parts * static_cast<std::int64_t>(terms_.size()) + (total_ ? 1 : 0);
  KernelSequence sequence{{sum_kernel(t), finish_kernel(t)},
                          rows * channels_ * size_of(DType::f32)};
  if (total_) sequence.kernels.push_back(total_kernel(t));
  return sequence;
}

}  // namespace facet::cuda
