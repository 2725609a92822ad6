#include "runtime/formats/onnx/import_math.h"

// Comparisons, logic and choices.

namespace facet::onnx_import {
namespace {

/// How deep products of comparisons are looked into: a hostile file may nest them without end.
constexpr int kDepth = 8;

/// Whether x is 1 or 0 everywhere.
bool is_flag(Value x, int depth = kDepth) {
  const Node& node = *x.node;
  if (node.is("greater") || node.is("greater_equal") || node.is("equal")) return true;
  if (depth == 0) return false;
  if (node.is("maximum") || node.is("minimum")) {
    return is_flag(node.operand(0), depth - 1) && is_flag(node.operand(1), depth - 1);
  }
  return node.is("sub") && constant_number(node.operand(0)) == 1.0 &&
         is_flag(node.operand(1), depth - 1);
}

/// What a boolean was cast from; null if it is no cast.
Value cast_from(Value x) {
  if (x.dtype() != DType::boolean || !x.node->is("cast")) return {};
  return x.node->operand(0);
}

/// The float, 1 or 0, behind a boolean; null if there is none.
Value float_flag(Value x) {
  const Value from = cast_from(x);
  return from && is_float(from.dtype()) && is_flag(from) ? from : Value{};
}

Value negation(NodeReader& node, Value flag) {
  return node.make("sub", {node.scalar(1, flag), flag});
}

void compare(NodeReader& node, const char* op, bool turned) {
  const Value a = node.input(turned ? 1 : 0), b = node.input(turned ? 0 : 1);
  node.set(as_boolean(node, node.make(op, {a, b})));
}
void import_equal(NodeReader& node) { compare(node, "equal", false); }
void import_greater(NodeReader& node) { compare(node, "greater", false); }
void import_less(NodeReader& node) { compare(node, "greater", true); }
void import_greater_or_equal(NodeReader& node) { compare(node, "greater_equal", false); }
void import_less_or_equal(NodeReader& node) { compare(node, "greater_equal", true); }

/// Both as floats if they are comparisons of floats of one type, else on booleans.
void combine(NodeReader& node, const char* on_floats, const char* on_booleans) {
  const Value a = node.input(0), b = node.input(1);
  const Value x = float_flag(a), y = float_flag(b);
  if (x && y && x.dtype() == y.dtype()) {
    return node.set(as_boolean(node, node.make(on_floats, {x, y})));
  }
  node.set(node.make("bitwise", {a, b}, {{"function", std::string(on_booleans)}}));
}
void import_and(NodeReader& node) { combine(node, "minimum", "and"); }
void import_or(NodeReader& node) { combine(node, "maximum", "or"); }
void import_xor(NodeReader& node) {
  node.set(
      node.make("bitwise", {node.input(0), node.input(1)}, {{"function", std::string("xor")}}));
}

void import_not(NodeReader& node) {
  const Value x = node.input(0);
  if (const Value flag = float_flag(x)) return node.set(as_boolean(node, negation(node, flag)));
  node.set(node.make("bitwise", {x, node.scalar(1, x)}, {{"function", std::string("xor")}}));
}

/// The largest finite number.
double largest(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return 1.7976931348623157e308;
    case DType::f16:
      return 65504;
    default:
      return 3.4028234663852886e38;
  }
}

void import_is_inf(NodeReader& node) {
  Value x = node.input(0);
  const bool below = node.flag("detect_negative", true), above = node.flag("detect_positive", true);
  const Value limit = node.scalar(largest(x.dtype()), x);
  if (below && above) x = node.make("abs", {x});
  if (below && !above) x = node.make("neg", {x});
  Value flag = node.make("greater", {x, limit});
  if (!below && !above) flag = node.make("minimum", {flag, node.scalar(0, flag)});
  node.set(as_boolean(node, flag));
}

void import_is_nan(NodeReader& node) {
  const Value x = node.input(0);
  node.set(as_boolean(node, negation(node, node.make("equal", {x, x}))));
}

void import_where(NodeReader& node) {
  const Value a = node.input(1), b = node.input(2);
  node.set(node.make("where", {as_condition(node, node.input(0), a.dtype()), a, b}));
}

}  // namespace

Value as_boolean(NodeReader& node, Value flag) { return node.cast(flag, DType::boolean); }

Value as_number(NodeReader& node, Value x, DType dtype) {
  const Value flag = float_flag(x);
  return flag && flag.dtype() == dtype ? flag : node.cast(x, dtype);
}

Value as_condition(NodeReader& node, Value x, DType dtype) {
  const Value from = cast_from(x);
  return from && from.dtype() == dtype ? from : node.cast(x, dtype);
}

void add_logic_handlers(HandlerTable& table) {
  table.add("Equal", import_equal);
  table.add("Greater", import_greater);
  table.add("Less", import_less);
  table.add("GreaterOrEqual", import_greater_or_equal);
  table.add("LessOrEqual", import_less_or_equal);
  table.add("And", import_and);
  table.add("Or", import_or);
  table.add("Xor", import_xor);
  table.add("Not", import_not);
  table.add("IsInf", import_is_inf);
  table.add("IsNaN", import_is_nan);
  table.add("Where", import_where);
}

}  // namespace facet::onnx_import
