#include "runtime/formats/onnx/import_math.h"

// Operators along one axis: softmax and its kin, positions of extremes, running sums, one-hot rows.

namespace facet::onnx_import {
namespace {

/// From opset 13 on these work along one axis, before over all axes from `axis` on.
template <class Along>
void along_axis(NodeReader& node, Along along) {
  const Value x = node.input(0);
  const std::int64_t rank = x.type().rank();
  if (node.opset() >= 13) return node.set(along(x, node.axis("axis", -1, rank)));
  const std::int64_t axis = node.axis("axis", 1, rank);
  if (axis == rank - 1) return node.set(along(x, axis));
  Shape flat(x.shape().begin(), x.shape().begin() + axis);
  flat.push_back(element_count(Shape(x.shape().begin() + axis, x.shape().end())));
  node.set(node.reshape(along(node.reshape(x, flat), axis), x.shape()));
}

void import_softmax(NodeReader& node) {
  along_axis(node, [&](Value x, std::int64_t axis) {
    return node.make("softmax", {x}, {{"axis", axis}});
  });
}

void import_log_softmax(NodeReader& node) {
  along_axis(node, [&](Value x, std::int64_t axis) { return log_softmax(node, x, axis); });
}

void import_hardmax(NodeReader& node) {
  along_axis(node, [&](Value x, std::int64_t axis) {
    const Dim& depth = x.shape()[static_cast<std::size_t>(axis)];
    if (!depth.is_static()) node.unsupported("its axis has a dynamic extent");
    const Value first = node.make("arg_max", {x}, {{"axis", axis}, {"keepdims", false}});
    return node.make(
        "one_hot", {first},
        {{"depth", depth.factor}, {"axis", axis}, {"dtype", std::string(to_string(x.dtype()))}});
  });
}

void arg(NodeReader& node, const char* op) {
  const Value x = node.input(0);
  node.set(node.make(op, {x},
                     {{"axis", node.axis("axis", 0, x.type().rank())},
                      {"keepdims", node.flag("keepdims", true)},
                      {"select_last_index", node.flag("select_last_index", false)}}));
}
void import_arg_max(NodeReader& node) { arg(node, "arg_max"); }
void import_arg_min(NodeReader& node) { arg(node, "arg_min"); }

void import_cum_sum(NodeReader& node) {
  node.set(node.make("cum_sum", {node.input(0)},
                     {{"axis", node.integer_input(1)},
                      {"exclusive", node.flag("exclusive", false)},
                      {"reverse", node.flag("reverse", false)}}));
}

/// values = [off, on]: each element is one of the two.
void import_one_hot(NodeReader& node) {
  const Value indices = node.cast(node.input(0), DType::i64);
  const Doubles depth = node.numbers(1);
  if (depth.size() != 1 || !(depth[0] >= 1 && depth[0] <= 1e9)) {
    node.unsupported("its depth is not one number from 1 to 1e9");
  }
  const Type values = node.type(2);
  const std::int64_t rank = indices.type().rank();
  const DType dtype = values.dtype == DType::boolean ? DType::u8 : values.dtype;
  const Value hot = node.make("one_hot", {indices},
                              {{"depth", static_cast<std::int64_t>(depth[0])},
                               {"axis", node.axis("axis", -1, rank + 1)},
                               {"dtype", std::string(to_string(dtype))}});
  if (!(values.shape == Shape{2})) node.unsupported("its values are not [off, on]");
  const Value pair = node.cast(node.input(2), dtype);
  const auto one_of = [&](std::int64_t i) {
    const Value part =
        node.make("slice", {pair}, {{"axis", std::int64_t{0}}, {"start", i}, {"end", i + 1}});
    return node.reshape(part, {});
  };
  node.set(node.cast(node.make("where", {hot, one_of(1), one_of(0)}), values.dtype));
}

}  // namespace

Value log_softmax(NodeReader& node, Value x, std::int64_t axis) {
  return node.make("log_softmax", {x}, {{"axis", axis}});
}

void add_line_handlers(HandlerTable& table) {
  table.add("Softmax", import_softmax);
  table.add("LogSoftmax", import_log_softmax);
  table.add("Hardmax", import_hardmax);
  table.add("ArgMax", import_arg_max);
  table.add("ArgMin", import_arg_min);
  table.add("CumSum", import_cum_sum);
  table.add("OneHot", import_one_hot);
}

}  // namespace facet::onnx_import
