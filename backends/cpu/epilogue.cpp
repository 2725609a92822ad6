#include <fmt/format.h>

#include <tuple>

#include "backends/cpu/recipe.h"
#include "ir/error.h"

namespace facet::cpu {
namespace {

using dnnl::algorithm;
using dnnl::memory;

constexpr memory::data_type f32 = memory::data_type::f32;
constexpr memory::data_type bf16 = memory::data_type::bf16;

/// Operands of the epilogue are read as f32 or bf16.
memory::data_type extra_type(memory::data_type given) { return given == bf16 ? bf16 : f32; }

/// Other biases (bf16 beside f32 weights) are added as a post-op.
bool is_bias_type(memory::data_type given, memory::data_type compute) {
  return given == f32 || (given == bf16 && compute == bf16);
}

memory::data_type checked_type(const EpilogueEntry& entry, const View& view) {
  const memory::data_type type = data_type(view.type.dtype);
  if (is_float(view.type.dtype) && type != memory::data_type::undef) return type;
  throw failure(fmt::format("the epilogue's '{}' cannot read {} values", entry.name,
                            to_string(view.type.dtype)));
}

}  // namespace

Epilogue::Epilogue(const Request& request, Recipe& recipe, std::size_t rank,
                   std::size_t channel_axis, const Extents& bias_extents,
                   const Describe& describe_extra) {
  int post_op = 0;
  for (const EpilogueEntry& entry : request.epilogue) {
    recipe.key.append("|").append(entry.name);
    if (entry.operand < 0) {
      steps_.push_back({entry.name, -1, 0});
      ++post_op;
      continue;
    }
    const auto operand = static_cast<std::size_t>(entry.operand);
    const View& view = request.operands[operand];
    const memory::data_type given = checked_type(entry, view);
    const auto number = static_cast<int>(recipe.arguments.size());
    Argument argument{DNNL_ARG_BIAS, false, operand, {}, {}};
    const bool first = &entry == request.epilogue.data();
    if (entry.name == "bias" && first && is_bias_type(given, compute_type(request))) {
      argument.given = argument.wanted = plain(bias_extents, given);
      bias_ = number;
    } else {
      int mask = 0;
      if (entry.name == "bias" || entry.name == "prelu") {
        Extents extents(rank, 1);
        extents[channel_axis] = static_extents(view.type.shape)[0];
        // A slope is one number for all channels or one for each; the channel count may be one.
        if (extents[channel_axis] > 1) mask = 1 << channel_axis;
        argument.given = plain(extents, given);
        // oneDNN takes slopes in f32 only.
        argument.wanted = plain(extents, entry.name == "prelu" ? f32 : extra_type(given));
      } else {
        std::tie(argument.given, argument.wanted) = describe_extra(view);
        argument.wanted = with_type(argument.wanted, extra_type(given));
      }
      argument.arg = DNNL_ARG_ATTR_MULTIPLE_POST_OP(post_op++) |
                     (entry.name == "prelu" ? DNNL_ARG_WEIGHTS : DNNL_ARG_SRC_1);
      steps_.push_back({entry.name, number, mask});
    }
    recipe.arguments.push_back(std::move(argument));
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
