#include <fmt/format.h>

#include "ir/dsl.h"
#include "ir/dsl_state.h"
#include "ir/error.h"

namespace facet {
namespace {

using dsl::location;
using dsl::make;

/// A function without a name belongs to the scope of its latest operand.
Tensor apply(std::string_view op, const std::vector<Tensor>& operands, Attributes attributes,
             const std::source_location& at) {
  NetworkState* state = operands.at(0).state();
  std::vector<Value> values;
  const Node* latest = operands[0].value().node;
  for (const Tensor& tensor : operands) {
    values.push_back(tensor.value());
    if (state->position[tensor.value().node] > state->position[latest]) latest = tensor.value().node;
  }
  return make(state, op, std::move(values), std::move(attributes), latest->provenance().scope, at);
}

/// A number belongs to the scope of the tensor it meets, so that the result does too.
Tensor number(const Tensor& known, double value, const std::source_location& at) {
  return make(known.state(), "constant", {}, {{"value", HostTensor::scalar(DType::f32, value)}},
              known.value().node->provenance().scope, at);
}

Tensor apply_binary(std::string_view op, const Operand& a, const Operand& b) {
  const std::source_location& at = a.at();
  if (!a.tensor() && !b.tensor()) {
    throw usage_error(fmt::format("'{}' of two numbers at {}: one must be a tensor", op, location(at)));
  }
  const Tensor& known = a.tensor() ? *a.tensor() : *b.tensor();
  const auto tensor = [&](const Operand& operand) {
    return operand.tensor() ? *operand.tensor() : number(known, operand.number(), at);
  };
  return apply(op, {tensor(a), tensor(b)}, {}, at);
}

}  // namespace

Tensor operator+(Operand a, Operand b) { return apply_binary("add", a, b); }
Tensor operator-(Operand a, Operand b) { return apply_binary("sub", a, b); }
Tensor operator*(Operand a, Operand b) { return apply_binary("mul", a, b); }
Tensor operator/(Operand a, Operand b) { return apply_binary("div", a, b); }
Tensor maximum(Operand a, Operand b) { return apply_binary("maximum", a, b); }
Tensor minimum(Operand a, Operand b) { return apply_binary("minimum", a, b); }

Tensor relu(Tensor x, At at) { return apply("relu", {x}, {}, at); }
Tensor sigmoid(Tensor x, At at) { return apply("sigmoid", {x}, {}, at); }
Tensor tanh(Tensor x, At at) { return apply("tanh", {x}, {}, at); }
Tensor exp(Tensor x, At at) { return apply("exp", {x}, {}, at); }
Tensor sqrt(Tensor x, At at) { return apply("sqrt", {x}, {}, at); }
Tensor rsqrt(Tensor x, At at) { return apply("rsqrt", {x}, {}, at); }
Tensor square(Tensor x, At at) { return apply("square", {x}, {}, at); }
Tensor erf(Tensor x, At at) { return apply("erf", {x}, {}, at); }
Tensor clamp(Tensor x, double lo, double hi, At at) {
  return apply("clamp", {x}, {{"min", lo}, {"max", hi}}, at);
}
Tensor softmax(Tensor x, std::int64_t axis, At at) {
  return apply("softmax", {x}, {{"axis", axis}}, at);
}

namespace {

std::string_view spelling(Distance distance) {
  return distance == Distance::column_minus_row ? "j-i" : "i-j";
}

Attributes pool_attributes(const PoolOptions& options) {
  const std::int64_t p = options.padding;
  return {{"kernel", Ints{options.kernel, options.kernel}},
          {"strides", Ints{options.stride, options.stride}},
          {"pads", Ints{p, p, p, p}}};
}

}  // namespace

Tensor conv(Tensor x, Tensor weight, ConvOptions options, At at) {
  return apply("conv", {x, weight}, dsl::conv_attributes(options, {}), at);
}
Tensor max_pool(Tensor x, PoolOptions options, At at) {
  return apply("max_pool", {x}, pool_attributes(options), at);
}
Tensor avg_pool(Tensor x, PoolOptions options, At at) {
  return apply("avg_pool", {x}, pool_attributes(options), at);
}
Tensor mean(Tensor x, Ints axes, At at) {
  return apply("reduce_mean", {x}, {{"axes", std::move(axes)}}, at);
}
Tensor sum(Tensor x, Ints axes, At at) {
  return apply("reduce_sum", {x}, {{"axes", std::move(axes)}}, at);
}
Tensor max(Tensor x, Ints axes, At at) {
  return apply("reduce_max", {x}, {{"axes", std::move(axes)}}, at);
}
Tensor matmul(Tensor a, Tensor b, At at) { return apply("matmul", {a, b}, {}, at); }
Tensor matmul_transposed(Tensor a, bool transpose_a, Tensor b, bool transpose_b, At at) {
  return apply("matmul", {a, b}, {{"transpose_a", transpose_a}, {"transpose_b", transpose_b}}, at);
}
Tensor reshape(Tensor x, Ints shape, At at) {
  return apply("reshape", {x}, {{"shape", std::move(shape)}}, at);
}
Tensor transpose(Tensor x, Ints permutation, At at) {
  return apply("transpose", {x}, {{"permutation", std::move(permutation)}}, at);
}
Tensor flatten(Tensor x, At at) { return reshape(x, {0, -1}, at); }
Tensor concat(std::vector<Tensor> inputs, std::int64_t axis, At at) {
  if (inputs.empty()) throw usage_error("concat of no tensors at " + location(at));
  return apply("concat", inputs, {{"axis", axis}}, at);
}
Tensor slice(Tensor x, std::int64_t axis, std::int64_t start, std::int64_t end, At at) {
  return apply("slice", {x}, {{"axis", axis}, {"start", start}, {"end", end}}, at);
}
Tensor pad(Tensor x, std::int64_t axis, std::int64_t before, std::int64_t after, At at) {
  return apply("pad", {x}, {{"axis", axis}, {"before", before}, {"after", after}}, at);
}
Tensor reverse(Tensor x, std::int64_t axis, At at) {
  return apply("reverse", {x}, {{"axis", axis}}, at);
}
Tensor skew(Tensor x, Distance distance, At at) {
  return apply("skew", {x}, {{"distance", std::string(spelling(distance))}}, at);
}
Tensor unskew(Tensor x, Distance distance, At at) {
  return apply("unskew", {x}, {{"distance", std::string(spelling(distance))}}, at);
}
Tensor stop_gradient(Tensor x, At at) { return apply("stop_gradient", {x}, {}, at); }
Tensor straight_through(Tensor value, Tensor through, At at) {
  return apply("straight_through", {value, through}, {}, at);
}
Tensor greater(Operand a, Operand b) { return apply_binary("greater", a, b); }
Tensor where(Tensor condition, Operand a, Operand b) {
  const std::source_location& at = a.at();
  const auto tensor = [&](const Operand& operand) {
    return operand.tensor() ? *operand.tensor() : number(condition, operand.number(), at);
  };
  return apply("where", {condition, tensor(a), tensor(b)}, {}, at);
}
Tensor log(Tensor x, At at) { return apply("log", {x}, {}, at); }
Tensor dropout(Tensor x, double rate, At at) { return apply("dropout", {x}, {{"rate", rate}}, at); }

Tensor cross_entropy(Tensor logits, Tensor labels, double label_smoothing, At at) {
  return mean(apply("cross_entropy", {logits, labels}, {{"label_smoothing", label_smoothing}}, at), {0},
              at);
}
Tensor pick(Tensor x, Tensor labels, At at) { return apply("pick", {x, labels}, {}, at); }
Tensor place(Tensor x, Tensor labels, Tensor v, At at) {
  return apply("place", {x, labels, v}, {}, at);
}
Tensor gather_rows(Tensor table, Tensor labels, At at) {
  return apply("gather_rows", {table, labels}, {}, at);
}
Tensor scatter_add_rows(Tensor x, Tensor labels, std::int64_t rows, At at) {
  return apply("scatter_add_rows", {x, labels}, {{"rows", rows}}, at);
}

Tensor l2_normalize(Tensor x, double epsilon, At at) {
  const Tensor norm = sqrt(sum(square(x, at), {-1}, at), at);
  return apply_binary("div", Operand(x, at), Operand(apply_binary("maximum", Operand(norm, at),
                                                                  Operand(epsilon, at)), at));
}

}  // namespace facet
