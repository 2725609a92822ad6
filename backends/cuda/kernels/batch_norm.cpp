#include "backends/cuda/kernels/batch_norm.h"

#include <fmt/format.h>

#include <limits>

#include "backends/cuda/kernels/channel_sums.h"
#include "backends/cuda/kernels/elementwise.h"
#include "backends/cuda/kernels/loops.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

using Place = KernelArgument::Place;

/// Operand `i` or result `i` of the node, one value per channel as it broadcasts to x.
PlacedView channels(Place place, int i, std::span<const View> views, std::int64_t rank) {
  return {{place, i}, along_channels(views[static_cast<std::size_t>(i)], rank)};
}

/// y = tail((x - mean) * inv_std * scale + bias) with the statistics of results 1 and 2.
KernelSource apply_kernel(const Node& node, std::span<const View> operands,
                          std::span<const View> results) {
  const std::int64_t rank = operands[0].type.rank();
  std::vector<PlacedView> inputs{{{Place::operand, 0}, operands[0]},
                                 channels(Place::result, 1, results, rank),
                                 channels(Place::result, 2, results, rank),
                                 channels(Place::operand, 1, operands, rank),
                                 channels(Place::operand, 2, operands, rank)};
  const Strings& tail = node.attributes().strings("tail");
  if (operands.size() > 5) {
    inputs.push_back(tail == Strings{"prelu"} ? channels(Place::operand, 5, operands, rank)
                                              : PlacedView{{Place::operand, 5}, operands[5]});
  }
  std::size_t last = inputs.size();
  Strings lines;
  const auto add = [&](std::string line) {
    lines.push_back(std::move(line));
    return last++;
  };
  std::size_t v = add("sub 0 1");
  v = add(fmt::format("mul {} 2", v));
  v = add(fmt::format("mul {} 3", v));
  v = add(fmt::format("add {} 4", v));
  for (const std::string& entry : tail) {
    v = add(entry == "relu" ? fmt::format("relu {}", v) : fmt::format("{} {} 5", entry, v));
  }
  return elementwise_kernel(parse_elementwise(lines, inputs.size()), inputs,
                            {{Place::result, 0}, results[0]});
}

/// The mean and the variance from the sums of x - s and of its square, s the channel's first x.
std::string statistics_text(const Node& node, double count) {
  const double momentum = node.attributes().number("momentum");
  std::string text = fmt::format("    const float offset = sum0 / {};\n", float_literal(count));
  text +=
      fmt::format("    const float variance = facet::maximum(sum1 / {} - offset * offset, 0.0f);\n",
                  float_literal(count));
  text += "    mean[c] = shift + offset;\n";
  text += fmt::format("    inv_std[c] = facet::rsqrt(variance + {});\n",
                      float_literal(node.attributes().number("epsilon")));
  text += fmt::format("    new_mean[c] = {} * old_mean[c] + {} * (shift + offset);\n",
                      float_literal(1 - momentum), float_literal(momentum));
  // A channel of one element has no unbiased variance: NaN, as the formula says.
  text += fmt::format("    new_var[c] = {} * old_var[c] + {} * variance;\n",
                      float_literal(1 - momentum), float_literal(momentum * count / (count - 1)));
  return text;
}

KernelSequence forward_kernels(const Node& node, std::span<const View> operands,
                               std::span<const View> results) {
  ChannelSums sums("facet_batch_norm", {{"x", {{Place::operand, 0}, operands[0]}}});
  sums.add_shift("x");
  sums.add_terms("const float d = x - shift;", {"d", "d * d"});
  sums.finish_with({{"mean", {Place::result, 1}, true},
                    {"inv_std", {Place::result, 2}, true},
                    {"new_mean", {Place::result, 3}, true},
                    {"new_var", {Place::result, 4}, true},
                    {"old_mean", {Place::operand, 3}, false},
                    {"old_var", {Place::operand, 4}, false}},
                   statistics_text(node, static_cast<double>(sums.count())));
  KernelSequence sequence = sums.kernels();
  sequence.kernels.push_back(apply_kernel(node, operands, results));
  return sequence;
}

/// dx = scale * inv_std * (g - dbias / n - xhat * dscale / n), where g is what passes the tail.
KernelSource data_kernel(const Node& node, std::span<const View> operands,
                         std::span<const View> results, double count) {
  const Strings& tail = node.attributes().strings("tail");
  const std::int64_t rank = operands[1].type.rank();
  const bool written = tail.size() == 2;  // g is there already
  std::vector<PlacedView> inputs{written ? PlacedView{{Place::result, 3}, results[3]}
                                         : PlacedView{{Place::operand, 0}, operands[0]},
                                 {{Place::operand, 1}, operands[1]},
                                 channels(Place::operand, 2, operands, rank),
                                 channels(Place::operand, 3, operands, rank),
                                 channels(Place::operand, 4, operands, rank),
                                 channels(Place::result, 1, results, rank),
                                 channels(Place::result, 2, results, rank)};
  const bool masked = tail.size() == 1;
  if (masked) inputs.push_back(channels(Place::operand, 5, operands, rank));
  if (tail == Strings{"prelu"}) inputs.push_back(channels(Place::operand, 6, operands, rank));
  std::size_t last = inputs.size();
  Strings lines;
  const auto add = [&](std::string line) {
    lines.push_back(std::move(line));
    return last++;
  };
  std::size_t centred = add("sub 1 3");
  const std::size_t normal = add(fmt::format("mul {} 4", centred));
  std::size_t g = 0;
  if (masked) {
    std::size_t z = add(fmt::format("mul {} 2", normal));
    z = add(fmt::format("add {} 7", z));
    const std::size_t passes = add(fmt::format("greater {} #0", z));
    const bool slope = inputs.size() == 9;
    const std::string otherwise = slope ? fmt::format("{}", add("mul 0 8")) : "#0";
    g = add(fmt::format("where {} 0 {}", passes, otherwise));
  }
  std::size_t share = add(fmt::format("mul {} 5", normal));
  share = add(fmt::format("add {} 6", share));
  share = add(fmt::format("mul {} #{}", share, 1 / count));
  std::size_t v = add(fmt::format("sub {} {}", g, share));
  v = add(fmt::format("mul {} 4", v));
  add(fmt::format("mul {} 2", v));
  return elementwise_kernel(parse_elementwise(lines, inputs.size()), inputs,
                            {{Place::result, 0}, results[0]});
}

KernelSequence backward_kernels(const Node& node, std::span<const View> operands,
                                std::span<const View> results) {
  const Strings& tail = node.attributes().strings("tail");
  const bool is_sum = tail.size() == 2;
  const bool has_slope = tail == Strings{"prelu"};
  std::vector<ChannelSums::Source> sources{{"dy", {{Place::operand, 0}, operands[0]}},
                                           {"x", {{Place::operand, 1}, operands[1]}}};
  const bool has_two = is_sum && operands.size() > 6;  // cotangents
  if (is_sum) sources.push_back({"y", {{Place::operand, 5}, operands[5]}});
  if (has_two) sources.push_back({"more", {{Place::operand, 6}, operands[6]}});
  ChannelSums sums("facet_batch_norm_bwd", std::move(sources));
  sums.add_parameter("mean", {Place::operand, 3});
  sums.add_parameter("inv_std", {Place::operand, 4});
  if (tail.size() == 1) {
    sums.add_parameter("scale", {Place::operand, 2});
    sums.add_parameter("bias", {Place::operand, 5});
  }
  if (has_slope)
    sums.add_parameter("slope", {Place::operand, 6}, operands[6].type.shape == Shape{1});
  std::string lines = "const float normal = (x - mean) * inv_std; ";
  std::vector<std::string> terms{"g", "g * normal"};
  if (tail.empty()) lines += "const float g = dy;";
  if (tail == Strings{"relu"}) {
    lines += "const float g = normal * scale + bias > 0.0f ? dy : 0.0f;";
  } else if (has_slope) {
    lines += "const float z = normal * scale + bias; const float g = z > 0.0f ? dy : dy * slope;";
    terms.push_back("z > 0.0f ? 0.0f : dy * z");
  } else if (is_sum) {
    lines += fmt::format("const float g = y > 0.0f ? {} : 0.0f;", has_two ? "dy + more" : "dy");
    sums.write("g", {{Place::result, 3}, results[3]});
  }
  sums.add_terms(std::move(lines), std::move(terms));
  std::vector<ChannelSums::ChannelAccess> to{{"dbias", {Place::result, 2}, true},
                                             {"dscale", {Place::result, 1}, true}};
  std::string text = "    dbias[c] = sum0;\n    dscale[c] = sum1;\n";
  if (has_slope && operands[6].type.shape != Shape{1}) {
    to.push_back({"dslope", {Place::result, 3}, true});
    text += "    dslope[c] = sum2;\n";
  }
  sums.finish_with(std::move(to), std::move(text));
  if (has_slope && operands[6].type.shape == Shape{1}) sums.add_total(2, {Place::result, 3});
  KernelSequence sequence = sums.kernels();
  sequence.kernels.push_back(
      data_kernel(node, operands, results, static_cast<double>(sums.count())));
  return sequence;
}

}  // namespace

bool is_batch_norm(const Node& node) {
  return node.is("batch_norm_train") || node.is("batch_norm_bwd");
}

KernelSequence batch_norm_kernels(const Node& node, std::span<const View> operands,
                                  std::span<const View> results) {
  if (!is_batch_norm(node)) {
    throw failure(fmt::format("'{}' is no batch norm of a training step", node.kind()));
  }
  const View& x = operands[node.is("batch_norm_bwd") ? 1 : 0];
  if (element_count(x.type.shape).factor > std::numeric_limits<std::int32_t>::max()) {
    throw failure(fmt::format("{} has too many elements for one batch norm", to_string(x.type)));
  }
  if (node.is("batch_norm_train")) return forward_kernels(node, operands, results);
  return backward_kernels(node, operands, results);
}

}  // namespace facet::cuda
