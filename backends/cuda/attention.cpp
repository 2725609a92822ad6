#include "backends/cuda/attention.h"

#include <fmt/format.h>

#include <utility>

#include "backends/cuda/device_views.h"
#include "ir/error.h"
#include "ir/sdpa.h"

namespace facet::cuda {
namespace {

using Place = GraphTensor::Place;
using Extents = std::vector<std::int64_t>;

/// Strides from image to image, token to token and channel to channel.
struct TokenStrides {
  std::int64_t image = 0, token = 0, channel = 0;
};

/// Writes the tensors of one attention.
class AttentionWriter {
 public:
  AttentionWriter(const Node& node, std::span<const View> operands, const View& result)
      : s_(sdpa_of(node)), operands_(operands), result_(result) {
    images_ = result.type.shape[0].factor;
  }

  const Sdpa& sdpa() const { return s_; }
  GraphWriter& graph() { return graph_; }

  /// The heads of operand 0, 1 or 2 as [N, heads, tokens, channels], at a place where they lie as
  /// in the operand.
  GraphTensor heads(int operand, Place place, int index) const {
    const HeadChannels& at = operand == 0 ? s_.query : operand == 1 ? s_.key : s_.value;
    const std::int64_t tokens = operand == 0 ? s_.queries : s_.keys;
    return tensor(operands_[static_cast<std::size_t>(operand)], at, tokens, place, index);
  }
  /// y or dy [N, heads, queries, channels].
  GraphTensor outcome(Place place, int index) const {
    return tensor(result_, {0, s_.value.size, s_.value.size}, s_.queries, place, index);
  }
  /// Row i of operand `operand` [rows, channels of all heads], as it broadcasts to the result.
  GraphTensor per_channel(int operand) const {
    const View& view = operands_[static_cast<std::size_t>(operand)];
    const std::int64_t all = s_.channels();
    return {Place::operand,
            operand,
            0,
            view.type.dtype,
            {1, s_.heads, 1, s_.value.size},
            {all, s_.value.size, all, 1}};
  }
  GraphTensor bias(Place place, int index) const {
    const View& view = operands_[static_cast<std::size_t>(s_.bias)];
    const Extents extents = static_extents(view.type.shape);
    GraphTensor tensor{place, index, 0, view.type.dtype, {1, 1, 1, 1}, {0, 0, 0, 1}};
    const std::size_t missing = 4 - extents.size();
    std::int64_t stride = 1;
    for (std::size_t i = 4; i-- > 0;) {
      if (i >= missing) tensor.extents[i] = extents[i - missing];
      tensor.strides[i] = i >= missing ? view.strides[i - missing] : stride;
      stride = tensor.strides[i] * tensor.extents[i];
    }
    return tensor;
  }
  /// A f32 for each query of each head.
  GraphTensor per_query(Place place, int index) const {
    return {place, index, 0, DType::f32, per_query(), {s_.heads * s_.queries, s_.queries, 1, 1}};
  }
  Extents per_query() const { return {images_, s_.heads, s_.queries, 1}; }
  Extents pairs() const { return {images_, s_.heads, s_.queries, s_.keys}; }

  /// The tensor with its last two axes in the other order.
  static GraphTensor transposed(GraphTensor tensor) {
    std::swap(tensor.extents[2], tensor.extents[3]);
    std::swap(tensor.strides[2], tensor.strides[3]);
    return tensor;
  }

  /// scale * q . k, clamped and biased.
  int scores(int q, int k) {
    int v = graph_.inside(pairs());
    graph_.step(GraphOp::matmul, {q, k}, v);
    if (s_.scale != 1) v = graph_.step_by(GraphOp::multiply, v, s_.scale);
    if (s_.clamp) {
      v = graph_.step_by(GraphOp::maximum, v, s_.clamp->first);
      v = graph_.step_by(GraphOp::minimum, v, s_.clamp->second);
    }
    if (s_.bias >= 0) v = graph_.step(GraphOp::add, {v, graph_.add(bias(Place::operand, s_.bias))});
    return v;
  }

 private:
  GraphTensor tensor(const View& view, const HeadChannels& at, std::int64_t tokens, Place place,
                     int index) const {
    const TokenStrides strides = strides_of(view);
    if (strides.channel != 1) {
      throw failure(
          fmt::format("attention on the GPU reads the channels of a token side by side, "
                      "not {} with strides of {} elements between them",
                      to_string(view.type), strides.channel));
    }
    return {place,
            index,
            at.first,
            view.type.dtype,
            {images_, s_.heads, tokens, at.size},
            {strides.image, at.step, strides.token, 1}};
  }

  TokenStrides strides_of(const View& view) const {
    if (view.strides.size() != view.type.shape.size()) {
      throw failure(fmt::format("the GPU reads plain layouts, not {}", to_string(view.type)));
    }
    if (s_.channels_last) return {view.strides[0], view.strides[1], view.strides[2]};
    return {view.strides[0], view.strides.back(), view.strides[1]};
  }

  Sdpa s_;
  std::span<const View> operands_;
  View result_;
  std::int64_t images_ = 0;
  GraphWriter graph_;
};

/// Dense with the channels of a token side by side.
View token_view(Type type, bool channels_last) {
  if (type.rank() == 3 && !channels_last) {
    View view = device_view(type);
    view.type.layout = "acb";
    return dense_view(view.type);
  }
  return device_view(std::move(type));
}

std::vector<View> token_views(const Node& node) {
  const bool last = sdpa_of(node).channels_last;
  std::vector<View> views;
  for (int i = 0; i < node.operand_count(); ++i) {
    Type type = node.operand(i).type();
    if (i < 3) {
      views.push_back(token_view(type, last));
    } else {
      type.layout = {};
      views.push_back(dense_view(type));
    }
  }
  return views;
}

View token_result(const Node& node) {
  return token_view(node.result_types()[0], sdpa_of(node).channels_last);
}

}  // namespace

std::string attention_refusal(const Node& node) {
  if (!node.is("sdpa")) return fmt::format("'{}' is no sdpa", node.kind());
  if (node.attributes().boolean("interleaved")) return "its result is interleaved";
  for (const std::string& extra : node.attributes().strings("extras")) {
    if (extra == "bias" || extra == "output_scale" || extra == "output_shift") continue;
    return "it has " + extra;
  }
  return {};
}

LayoutChoice attention_layouts(const Node& node) {
  LayoutChoice choice;
  for (const View& view : token_views(node)) choice.operands.push_back(view.type.layout);
  choice.results.push_back(token_result(node).type.layout);
  return choice;
}

std::optional<OperationGraph> attention_graph(const Node& node, std::span<const View> operands,
                                              std::span<const View> results,
                                              SoftmaxStatistics statistics) {
  if (!attention_refusal(node).empty()) return std::nullopt;
  AttentionWriter writer(node, operands, results[0]);
  GraphWriter& graph = writer.graph();
  const Sdpa& s = writer.sdpa();
  const int q = graph.add(writer.heads(0, Place::operand, 0));
  const int k = graph.add(writer.transposed(writer.heads(1, Place::operand, 1)));
  const int v = graph.add(writer.heads(2, Place::operand, 2));
  const int scores = writer.scores(q, k);
  const int largest = graph.inside(writer.per_query());
  graph.step(GraphOp::reduce_max, {scores}, largest);
  const int powers = graph.step(GraphOp::exp, {graph.step(GraphOp::subtract, {scores, largest})});
  const int sum = graph.inside(writer.per_query());
  graph.step(GraphOp::reduce_sum, {powers}, sum);
  const bool kept = statistics == SoftmaxStatistics::kept;
  const int logarithm =
      graph.add(writer.per_query(kept ? Place::result : Place::scratch, kept ? 1 : 0));
  graph.step(GraphOp::add, {largest, graph.step(GraphOp::log, {sum})}, logarithm);
  const int weights = graph.inside(writer.pairs(), operands[2].type.dtype);
  graph.step(GraphOp::divide, {powers, sum}, weights);
  const GraphTensor outcome = writer.outcome(Place::result, 0);
  int y = graph.inside(outcome.extents);
  graph.step(GraphOp::matmul, {weights, v}, y);
  if (s.output_scale >= 0) {
    y = graph.step(GraphOp::multiply, {y, graph.add(writer.per_channel(s.output_scale))});
  }
  if (s.output_shift >= 0) {
    y = graph.step(GraphOp::add, {y, graph.add(writer.per_channel(s.output_shift))});
  }
  return graph.finish_in(y, graph.add(outcome));
}

std::optional<OperationGraph> attention_graph(const Node& node, SoftmaxStatistics statistics) {
  if (!node.is("sdpa")) return std::nullopt;
  const std::vector<View> results{token_result(node)};
  return attention_graph(node, token_views(node), results, statistics);
}

std::optional<OperationGraph> attention_gradient_graph(const Node& node,
                                                       std::span<const View> operands,
                                                       const View& result) {
  if (!attention_refusal(node).empty()) return std::nullopt;
  AttentionWriter writer(node, operands, result);
  const Sdpa& s = writer.sdpa();
  if (s.clamp || s.output_scale >= 0 || s.output_shift >= 0) return std::nullopt;
  GraphWriter& graph = writer.graph();
  const int given = static_cast<int>(operands.size());
  const DType dtype = operands[0].type.dtype;
  const int q = graph.add(writer.heads(0, Place::operand, 0));
  const int k = graph.add(writer.transposed(writer.heads(1, Place::operand, 1)));
  const int v = graph.add(writer.transposed(writer.heads(2, Place::operand, 2)));
  const int y = graph.add(writer.outcome(Place::operand, given));
  const int dy = graph.add(writer.outcome(Place::operand, given + 1));
  const int logarithm = graph.add(writer.per_query(Place::operand, given + 2));

  // sum(dy * y), what a weight's gradient is compared with. Engines know it with a factor behind
  // it.
  const int products = graph.inside(writer.outcome(Place::inside, 0).extents);
  graph.step(GraphOp::multiply, {dy, y}, products);
  const int reduced = graph.inside(writer.per_query());
  graph.step(GraphOp::reduce_sum, {products}, reduced);
  GraphStep once;
  once.op = GraphOp::multiply;
  once.operands = {reduced};
  once.result = graph.add(writer.per_query(Place::scratch, 0));
  once.settings = {1};
  graph.step(once);

  const int scores = writer.scores(q, k);
  const int weights =
      graph.step(GraphOp::exp, {graph.step(GraphOp::subtract, {scores, logarithm})});
  GraphTensor turned{Place::inside,
                     0,
                     0,
                     dtype,
                     writer.pairs(),
                     {s.heads * s.queries * s.keys, s.queries * s.keys, s.keys, 1}};
  turned = writer.transposed(turned);
  const int weights_by_key = graph.add(turned);
  graph.step(GraphOp::transpose, {weights}, weights_by_key);
  graph.step(GraphOp::matmul, {weights_by_key, dy}, graph.add(writer.heads(2, Place::result, 2)));

  const int dweights = graph.inside(writer.pairs());
  graph.step(GraphOp::matmul, {dy, v}, dweights);
  int dscores = graph.step(GraphOp::multiply,
                           {graph.step(GraphOp::subtract, {dweights, once.result}), weights});
  if (s.bias >= 0) {
    graph.step(GraphOp::reduce_sum, {dscores}, graph.add(writer.bias(Place::result, 3)));
  }
  if (s.scale != 1) dscores = graph.step_by(GraphOp::multiply, dscores, s.scale);
  const int dscores_by_key = graph.add(turned);
  graph.step(GraphOp::transpose, {dscores}, dscores_by_key);
  graph.step(GraphOp::matmul, {dscores_by_key, q}, graph.add(writer.heads(1, Place::result, 1)));
  GraphTensor keys = writer.heads(1, Place::inside, 0);
  keys.offset = 0;
  const int k_by_token = graph.add(keys);
  graph.step(GraphOp::transpose, {k}, k_by_token);
  graph.step(GraphOp::matmul, {dscores, k_by_token}, graph.add(writer.heads(0, Place::result, 0)));
  return graph.finish();
}

std::optional<OperationGraph> attention_gradient_graph(const Node& node) {
  if (!node.is("sdpa")) return std::nullopt;
  return attention_gradient_graph(node, token_views(node), token_result(node));
}

}  // namespace facet::cuda
