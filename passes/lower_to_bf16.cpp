#include <algorithm>
#include <map>
#include <numeric>

#include "ir/epilogue.h"
#include "ir/op.h"
#include "ir/sdpa.h"
#include "passes/pass.h"
#include "passes/prepared.h"

// lower-to-bf16: convolutions, matrix products and attention read bf16 and accumulate in f32;
// activations are stored in bf16; biases, slopes and other per-channel parameters stay f32, as do
// the scales, shifts and biases of an sdpa; graph outputs are f32.
//
//   before   %2 = conv(%x, %w, %b) : f32        return y = %2
//   after    %2 = conv(cast(%x), cast(%w), %b) : bf16   return y = cast(%2) : f32
//
// Casts of weights are prepared values: they run once, when weights are bound. Ops of policy
// `follow` compute in f32 inside and round once at their result; a concat needs one dtype, so its f32
// operands are cast. New state is f32 as the outputs are. Refused: a matmul of full_precision;
// integers; inputs of rank below 2; prepared values but where a product reads them; outputs that were
// bf16 already.
//
// lower-to-f16: the same with f16, whose largest number is 65504.

namespace facet {
namespace {

class Lowering {
 public:
  Lowering(Graph& graph, DType low) : graph_(graph), low_(low), prepared_(graph) {}

  bool run() {
    std::vector<Value*> kept;  // what leaves the graph in f32: outputs and new state
    for (std::vector<Output>* list : {&graph_.outputs(), &graph_.updates()}) {
      for (Output& output : *list) {
        if (output.value.dtype() == DType::f32) kept.push_back(&output.value);
      }
    }
    for (Node* node : graph_.node_list()) lower(node);
    for (Value* value : kept) {
      if (value->dtype() == low_) *value = cast(*value, DType::f32, nullptr);
    }
    return changed_;
  }

 private:
  void lower(Node* node) {
    if (node->is("input")) return lower_input(node);
    if (prepared_.contains(node)) return;
    if (stays_f32(*node)) {
      for (int i = 0; i < node->operand_count(); ++i) read_as_f32(node, i);
    } else if (node->op().precision == PrecisionPolicy::low) {
      for (const int operand : factors(*node)) read_as_low(node, operand);
    } else if (node->is("concat") && reads_low(*node)) {
      for (int i = 0; i < node->operand_count(); ++i) read_as_low(node, i);
    }
    infer(node);
  }

  /// By its op, or because whoever made it asked for that.
  static bool stays_f32(const Node& node) {
    return node.op().precision == PrecisionPolicy::f32 ||
           (node.is("matmul") && node.attributes().boolean("full_precision"));
  }

  /// The operands that are multiplied with each other: the others are added to, or scale, what is
  /// accumulated in f32.
  static std::vector<int> factors(const Node& node) {
    if (node.is("sdpa")) return factors(sdpa_of(node), 0);
    if (node.is("sdpa_bwd")) {
      std::vector<int> list = factors(sdpa_bwd_of(node).sdpa, 1);
      list.push_back(0);
      return list;
    }
    std::vector<int> list(static_cast<std::size_t>(
        node.attributes().has("epilogue") ? kEpilogueStart : node.operand_count()));
    std::iota(list.begin(), list.end(), 0);
    return list;
  }

  static std::vector<int> factors(const Sdpa& s, int first) {
    std::vector<int> list{first, first + 1, first + 2};
    for (const int table : {s.relative_query, s.relative_key, s.relative_height, s.relative_width,
                            s.relative_value}) {
      if (table >= 0) list.push_back(first + table);
    }
    return list;
  }

  /// Activations that descend from an f32 input become bf16 there. Casts read the input itself: they
  /// say what they want of it. A vector is no activation but a setting (a learning rate, say).
  void lower_input(Node* input) {
    if (input->result().type().rank() < 2) return;
    std::vector<Use> readers = input->uses(0);
    std::erase_if(readers, [](const Use& use) { return use.node->is("cast"); });
    if (input->result().dtype() != DType::f32 || readers.empty()) return;
    const auto& nodes = graph_.nodes();
    const auto place = std::find_if(nodes.begin(), nodes.end(),
                                    [&](const auto& node) { return node.get() == input; });
    const Value low = cast(input->result(), low_, std::next(place)->get());
    for (const Use& use : readers) use.node->set_operand(use.operand, low);
  }

  bool reads_low(const Node& node) const {
    return std::any_of(node.operands().begin(), node.operands().end(),
                       [&](const Value& value) { return value.dtype() == low_; });
  }

  void read_as_low(Node* node, int index) {
    const Value value = node->operand(index);
    if (value.dtype() == DType::f32) node->set_operand(index, cast(value, low_, node));
  }

  void read_as_f32(Node* node, int index) {
    const Value value = node->operand(index);
    if (value.dtype() == low_) node->set_operand(index, cast(value, DType::f32, node));
  }

  /// Operands have their new types already: producers stand before their readers.
  static void infer(Node* node) {
    std::vector<Type> types;
    for (const Value& value : node->operands()) types.push_back(value.type());
    std::vector<Type> inferred =
        node->op().infer(InferContext{node->op(), types, node->attributes()});
    for (std::size_t i = 0; i < inferred.size(); ++i) {
      node->set_result_type(static_cast<int>(i), std::move(inferred[i]));
    }
  }

  /// The value in another dtype; the cast is made once, before its first reader (null: at the end).
  Value cast(Value value, DType dtype, Node* before) {
    Value& made = casts_[{value, dtype}];
    if (!made) {
      Builder build(graph_, before, value.node->provenance());
      made = build("cast", {value}, {{"dtype", std::string(to_string(dtype))}});
      changed_ = true;
    }
    return made;
  }

  Graph& graph_;
  DType low_;
  PreparedSet prepared_;
  std::map<std::pair<Value, DType>, Value> casts_;
  bool changed_ = false;
};

}  // namespace

bool lower_to_bf16(Graph& graph, PassContext&) { return Lowering(graph, DType::bf16).run(); }
bool lower_to_f16(Graph& graph, PassContext&) { return Lowering(graph, DType::f16).run(); }

}  // namespace facet
