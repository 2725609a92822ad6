#include <fmt/format.h>

#include <numeric>

#include "ir/epilogue.h"
#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients.h"

// conv_branches: convolutions of one input with one window, as one wide convolution whose results
// are ranges of its channels. A target that has it reads the input once and writes every branch
// where it belongs, for instance into a slice of the concat in which the branches meet.

namespace facet::ops {
namespace {

/// Entries that treat every channel for itself: they split with the channels.
bool is_per_channel(std::string_view entry) {
  return entry == "bias" || entry == "prelu" || entry == "relu" || entry == "sigmoid";
}

std::vector<Type> infer_branches(const InferContext& context) {
  const Type wide = infer_convolution(context);
  const Ints& channels = context.attributes.ints("channels");
  for (const std::int64_t extent : channels) require_extent("channels of a branch", extent, 1);
  const std::int64_t sum = std::accumulate(channels.begin(), channels.end(), std::int64_t{0});
  if (channels.empty() || !(wide.shape[1] == Dim(sum))) {
    throw usage_error(fmt::format("the branches' channels are {} together, but the weight makes {}",
                                  sum, to_string(wide.shape[1])));
  }
  if (context.attributes.integer("groups") != 1) {
    throw usage_error("branches cannot have groups: a group's channels may lie in two of them");
  }
  for (const std::string& entry : context.attributes.strings("epilogue")) {
    if (!is_per_channel(entry)) {
      throw usage_error(
          fmt::format("the epilogue entry '{}' reads a value as wide as all branches "
                      "together",
                      entry));
    }
  }
  std::vector<Type> types;
  for (const std::int64_t extent : channels) {
    types.push_back(wide);
    types.back().shape[1] = extent;
  }
  return types;
}

double branches_flops(const Node& node) {
  const auto w = static_extents(node.operand(1).shape());
  const std::int64_t first = node.attributes().ints("channels")[0];
  const double pixels = result_elements(node) / static_cast<double>(first);
  return 2.0 * pixels * static_cast<double>(w[0] * w[1] * w[2] * w[3]);
}

/// One conv for each branch, on its rows of the weight.
std::vector<Value> decompose_branches(Builder& build, Node& node) {
  const Ints& channels = node.attributes().ints("channels");
  Attributes attributes;
  for (const auto& [name, value] : node.attributes()) {
    if (name != "channels") attributes.set(name, value);
  }
  std::vector<Value> results;
  std::int64_t start = 0;
  for (const std::int64_t extent : channels) {
    std::vector<Value> operands{node.operand(0)};
    for (int i = 1; i < node.operand_count(); ++i) {
      Value extra = node.operand(i);
      if (extra.shape() != Shape{1}) {
        extra = build("slice", {extra},
                      {{"axis", std::int64_t{0}}, {"start", start}, {"end", start + extent}});
      }
      operands.push_back(extra);
    }
    results.push_back(build("conv", std::move(operands), attributes));
    start += extent;
  }
  return results;
}

std::vector<Sample> branches_samples() {
  const auto attributes = [](Ints channels, std::int64_t pad, Strings epilogue) {
    return Attributes{{"channels", std::move(channels)},
                      {"pads", Ints{pad, pad, pad, pad}},
                      {"epilogue", std::move(epilogue)}};
  };
  const Type x = f32({2, 16, 9, 7});
  std::vector<Sample> samples{
      {{x, f32({48, 16, 1, 1})}, attributes({16, 32}, 0, {})},
      {{x, f32({100, 16, 1, 1}), f32({100})}, attributes({60, 24, 16}, 0, {"bias", "relu"})},
      {{x, f32({40, 16, 3, 3}), f32({40}), f32({40})}, attributes({8, 32}, 1, {"bias", "prelu"})},
      {{x, f32({5, 16, 3, 3}), f32({1})}, attributes({2, 3}, 1, {"prelu"})},
      {{x, f32({24, 16, 1, 1})}, attributes({24}, 0, {"sigmoid"})},
  };
  samples[2].attributes.set("strides", Ints{2, 2});
  return samples;
}

}  // namespace

OpDef conv_branches_op() {
  return OpDef{.name = "conv_branches",
               .doc =
                   "Convolutions of x side by side: result i is a range of the channels of conv(x, "
                   "weight), channels[i] wide, behind the results before it.",
               .signature = Signature({"x", "weight", "extras..."}, {"branches..."}),
               .attributes = {{"channels", Ints{}, true},
                              {"strides", Ints{1, 1}},
                              {"pads", Ints{0, 0, 0, 0}},
                              {"dilations", Ints{1, 1}},
                              {"groups", std::int64_t{1}},
                              {"epilogue", Strings{}}},
               .infer = infer_branches,
               .gradient = Gradient::rule(conv_branches_gradient),
               .layout = LayoutRole::compute,
               .aliasing = Aliasing::fresh,
               .precision = PrecisionPolicy::low,
               .decomposition = Decomposition::rule(decompose_branches),
               .cost = Cost::compute(branches_flops),
               .onnx = OnnxMapping::decomposed(),
               .samples = Samples::cases(branches_samples)};
}

}  // namespace facet::ops
