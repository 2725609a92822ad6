#include <fmt/format.h>

#include "backends/cpu/recipe.h"
#include "ir/error.h"

namespace facet::cpu {
namespace {

using dnnl::algorithm;
using dnnl::memory;

/// Operands of the epilogue are read as f32 or bf16.
memory::data_type extra_type(DType dtype) {
  return dtype == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

}  // namespace

Epilogue::Epilogue(const Request& request, Recipe& recipe, std::size_t rank,
                   std::size_t channel_axis, const Extents& bias_extents,
                   const Describe& describe_extra) {
  int post_op = 0;
  for (const EpilogueEntry& entry : request.epilogue) {
    recipe.key.append("|").append(entry.name);
    const bool reads = entry.operand >= 0;
    const auto operand = static_cast<std::size_t>(reads ? entry.operand : 0);
    const View& view = request.operands[operand];
    if (!reads) {
      steps_.push_back({entry.name, -1, 0});
      ++post_op;
      continue;
    }
    const memory::data_type given_type = data_type(view.type.dtype);
    if (!is_float(view.type.dtype) || given_type == memory::data_type::undef) {
      throw failure(fmt::format("the epilogue's '{}' cannot read {} values", entry.name,
                                to_string(view.type.dtype)));
    }
    const auto argument = static_cast<int>(recipe.arguments.size());
    const bool per_channel = entry.name == "bias" || entry.name == "prelu";
    // A bias of a narrower type than the weights' is added as a post-op.
    const bool first = &entry == request.epilogue.data();
    const bool own_bias = entry.name == "bias" && first &&
                          (given_type == memory::data_type::f32 ||
                           (given_type == memory::data_type::bf16 &&
                            compute_type(request) == memory::data_type::bf16));
    Argument added{DNNL_ARG_BIAS, false, operand, {}, {}};
    int mask = 0;
    if (per_channel) {
      Extents extents(rank, 1);
      extents[channel_axis] = static_extents(view.type.shape)[0];
      // A slope is one number for all channels or one for each; the channel count may be one.
      if (extents[channel_axis] > 1) mask = 1 << channel_axis;
      if (own_bias) extents = bias_extents;
      const memory::data_type wanted =
          entry.name == "prelu" ? memory::data_type::f32 : extra_type(view.type.dtype);
      added.given = plain(extents, given_type);
      added.wanted = plain(extents, wanted);
    } else {
      std::tie(added.given, added.wanted) = describe_extra(view);
      added.wanted = with_type(added.wanted, extra_type(view.type.dtype));
    }
    if (own_bias) {
      bias_ = argument;
    } else {
      added.arg = DNNL_ARG_ATTR_MULTIPLE_POST_OP(post_op++) |
                  (entry.name == "prelu" ? DNNL_ARG_WEIGHTS : DNNL_ARG_SRC_1);
      steps_.push_back({entry.name, argument, mask});
    }
    recipe.arguments.push_back(std::move(added));
  }
}

dnnl::primitive_attr Epilogue::attributes(std::span<const Descriptor> arguments) const {
  dnnl::post_ops operations;
  for (const Step& step : steps_) {
    if (step.entry == "relu") {
      operations.append_eltwise(algorithm::eltwise_relu, 0, 0);
    } else if (step.entry == "sigmoid") {
      operations.append_eltwise(algorithm::eltwise_logistic, 0, 0);
    } else if (step.entry == "prelu") {
      operations.append_prelu(step.mask);
    } else {
      operations.append_binary(step.entry == "mul" ? algorithm::binary_mul : algorithm::binary_add,
                               arguments[static_cast<std::size_t>(step.argument)]);
    }
  }
  dnnl::primitive_attr result;
  result.set_post_ops(operations);
  result.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return result;
}

Descriptor Epilogue::bias(std::span<const Descriptor> arguments) const {
  return bias_ < 0 ? Descriptor() : arguments[static_cast<std::size_t>(bias_)];
}

}  // namespace facet::cpu
