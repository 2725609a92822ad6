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
  /// `operands` are those of the sdpa, and its first one is operand `first` of the node; `outcome`
  /// is the view of y and dy.
  AttentionWriter(Sdpa sdpa, std::span<const View> operands, const View& outcome, int first = 0)
      : s_(std::move(sdpa)), operands_(operands), result_(outcome), first_(first) {
    images_ = outcome.type.shape[0].factor;
  }

  const Sdpa& sdpa() const { return s_; }
  GraphWriter& graph() { return graph_; }

  /// The heads of operand 0, 1 or 2 as [N, heads, tokens, channels].
  GraphTensor heads(int operand) const {
    return heads(operand, operands_[static_cast<std::size_t>(operand)], Place::operand,
                 first_ + operand);
  }
  /// The same of another value with these channels.
  GraphTensor heads(int operand, const View& view, Place place, int index) const {
    const HeadChannels& at = operand == 0 ? s_.query : operand == 1 ? s_.key : s_.value;
    return tensor(view, at, operand == 0 ? s_.queries : s_.keys, place, index);
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
            first_ + operand,
            0,
            view.type.dtype,
            {1, s_.heads, 1, s_.value.size},
            {all, s_.value.size, all, 1}};
  }
  GraphTensor bias() const {
    const View& view = operands_[static_cast<std::size_t>(s_.bias)];
    const Extents extents = static_extents(view.type.shape);
    GraphTensor tensor{Place::operand,  first_ + s_.bias, 0,
                       view.type.dtype, {1, 1, 1, 1},     {0, 0, 0, 1}};
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
    if (s_.bias >= 0) v = graph_.step(GraphOp::add, {v, graph_.add(bias())});
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
  int first_ = 0;
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

View plain_view(Type type) {
  type.layout = {};
  return dense_view(type);
}

/// The first `count` operands are tokens.
std::vector<View> token_views(const Node& node, const Sdpa& s, int count) {
  std::vector<View> views;
  for (int i = 0; i < node.operand_count(); ++i) {
    const Type& type = node.operand(i).type();
    views.push_back(i < count ? token_view(type, s.channels_last) : plain_view(type));
  }
  return views;
}

}  // namespace

std::string attention_refusal(const Node& node) {
  if (!node.is("sdpa")) return fmt::format("'{}' is no sdpa", node.kind());
  if (node.attributes().boolean("interleaved")) return "its result is interleaved";
  if (node.attributes().boolean("weights")) return "it keeps its weights";
  for (const std::string& extra : node.attributes().strings("extras")) {
    if (extra == "bias" || extra == "output_scale" || extra == "output_shift") continue;
    return "it has " + extra;
  }
  return {};
}

LayoutChoice attention_layouts(const Node& node) {
  const Sdpa s = sdpa_of(node);
  LayoutChoice choice;
  for (const View& view : token_views(node, s, 3)) choice.operands.push_back(view.type.layout);
  choice.results.push_back(token_view(node.result_types()[0], s.channels_last).type.layout);
  return choice;
}

namespace {

/// Where the result and the logarithms of the forward pass go.
struct Outcome {
  Place y = Place::result;
  int y_index = 0;
  Place logarithms = Place::scratch;
  int logarithms_index = 0;
};

OperationGraph forward_graph(AttentionWriter& writer, DType dtype, const Outcome& to) {
  GraphWriter& graph = writer.graph();
  const Sdpa& s = writer.sdpa();
  const int q = graph.add(writer.heads(0));
  const int k = graph.add(writer.transposed(writer.heads(1)));
  const int v = graph.add(writer.heads(2));
  const int scores = writer.scores(q, k);
  const int largest = graph.inside(writer.per_query());
  graph.step(GraphOp::reduce_max, {scores}, largest);
  const int powers = graph.step(GraphOp::exp, {graph.step(GraphOp::subtract, {scores, largest})});
  const int sum = graph.inside(writer.per_query());
  graph.step(GraphOp::reduce_sum, {powers}, sum);
  const int logarithm = graph.add(writer.per_query(to.logarithms, to.logarithms_index));
  graph.step(GraphOp::add, {largest, graph.step(GraphOp::log, {sum})}, logarithm);
  const int weights = graph.inside(writer.pairs(), dtype);
  graph.step(GraphOp::divide, {powers, sum}, weights);
  const GraphTensor outcome = writer.outcome(to.y, to.y_index);
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

/// Reads y, the logarithms and room for sum(dy * y) from scratch 0, 1 and 2.
OperationGraph backward_graph(AttentionWriter& writer, const SdpaBwd& gradient, DType dtype,
                              std::span<const View> results) {
  const Sdpa& s = writer.sdpa();
  GraphWriter& graph = writer.graph();
  const auto result = [&](int number) -> const View& {
    return results[static_cast<std::size_t>(number)];
  };
  const int q = graph.add(writer.heads(0));
  const int k = graph.add(writer.transposed(writer.heads(1)));
  const int v = graph.add(writer.transposed(writer.heads(2)));
  const int y = graph.add(writer.outcome(Place::scratch, 0));
  const int dy = graph.add(writer.outcome(Place::operand, 0));
  const int logarithm = graph.add(writer.per_query(Place::scratch, 1));

  // sum(dy * y), what a weight's gradient is compared with. Engines know it with a factor behind
  // it.
  const int products = graph.inside(writer.outcome(Place::inside, 0).extents);
  graph.step(GraphOp::multiply, {dy, y}, products);
  const int reduced = graph.inside(writer.per_query());
  graph.step(GraphOp::reduce_sum, {products}, reduced);
  GraphStep once;
  once.op = GraphOp::multiply;
  once.operands = {reduced};
  once.result = graph.add(writer.per_query(Place::scratch, 2));
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
  graph.step(GraphOp::matmul, {weights_by_key, dy},
             graph.add(writer.heads(2, result(gradient.value), Place::result, gradient.value)));

  const int dweights = graph.inside(writer.pairs());
  graph.step(GraphOp::matmul, {dy, v}, dweights);
  int dscores = graph.step(GraphOp::multiply,
                           {graph.step(GraphOp::subtract, {dweights, once.result}), weights});
  if (s.scale != 1) dscores = graph.step_by(GraphOp::multiply, dscores, s.scale);
  const int dscores_by_key = graph.add(turned);
  graph.step(GraphOp::transpose, {dscores}, dscores_by_key);
  graph.step(GraphOp::matmul, {dscores_by_key, q},
             graph.add(writer.heads(1, result(gradient.key), Place::result, gradient.key)));
  GraphTensor keys = writer.heads(1);
  keys.place = Place::inside;
  keys.index = 0;
  keys.offset = 0;
  const int k_by_token = graph.add(keys);
  graph.step(GraphOp::transpose, {k}, k_by_token);
  graph.step(GraphOp::matmul, {dscores, k_by_token},
             graph.add(writer.heads(0, result(gradient.query), Place::result, gradient.query)));
  return graph.finish();
}

/// Whether heads read every channel of queries, keys and values: a graph writes no others.
bool reads_all(const SdpaBwd& gradient, std::span<const View> qkv) {
  const Sdpa& s = gradient.sdpa;
  const std::int64_t sizes[] = {s.query.size, s.key.size, s.value.size};
  std::int64_t together = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    const std::vector<std::int64_t> extents = static_extents(qkv[i].type.shape);
    const std::int64_t channels = s.channels_last ? extents.back() : extents[1];
    together += s.heads * sizes[i];
    if (!gradient.packed && s.heads * sizes[i] != channels) return false;
    if (gradient.packed && i == 2 && together != channels) return false;
  }
  return true;
}

}  // namespace

std::optional<OperationGraph> attention_graph(const Node& node, std::span<const View> operands,
                                              std::span<const View> results) {
  if (!attention_refusal(node).empty()) return std::nullopt;
  AttentionWriter writer(sdpa_of(node), operands, results[0]);
  return forward_graph(writer, operands[2].type.dtype, {});
}

std::optional<OperationGraph> attention_graph(const Node& node) {
  if (!node.is("sdpa")) return std::nullopt;
  const Sdpa s = sdpa_of(node);
  const std::vector<View> results{token_view(node.result_types()[0], s.channels_last)};
  return attention_graph(node, token_views(node, s, 3), results);
}

std::optional<AttentionGradientGraphs> attention_gradient_graphs(const Node& node,
                                                                 std::span<const View> operands,
                                                                 std::span<const View> results) {
  if (!node.is("sdpa_bwd")) return std::nullopt;
  const SdpaBwd gradient = sdpa_bwd_of(node);
  const Sdpa& s = gradient.sdpa;
  const std::span<const View> forward = operands.subspan(1);
  for (const std::string& extra : node.attributes().strings("extras")) {
    if (extra != "bias") return std::nullopt;
  }
  if (s.clamp || s.interleaved || s.keeps_weights || gradient.bias >= 0) return std::nullopt;
  if (!reads_all(gradient, forward)) return std::nullopt;
  const DType dtype = forward[0].type.dtype;
  AttentionGradientGraphs graphs;
  AttentionWriter again(s, forward, operands[0], 1);
  graphs.forward = forward_graph(again, dtype, {Place::scratch, 0, Place::scratch, 1});
  AttentionWriter back(s, forward, operands[0], 1);
  graphs.backward = backward_graph(back, gradient, dtype, results);
  const std::int64_t numbers = operands[0].type.shape[0].factor * s.heads * s.queries;
  const auto aligned = [](std::int64_t bytes) { return (bytes + 255) / 256 * 256; };
  graphs.scratch = {0, aligned(byte_size(operands[0].type))};
  graphs.scratch.push_back(graphs.scratch[1] + aligned(4 * numbers));
  graphs.scratch_bytes = graphs.scratch[2] + aligned(4 * numbers);
  return graphs;
}

std::optional<AttentionGradientGraphs> attention_gradient_graphs(const Node& node) {
  if (!node.is("sdpa_bwd")) return std::nullopt;
  const SdpaBwd gradient = sdpa_bwd_of(node);
  std::vector<View> results;
  for (const Type& type : node.result_types()) {
    const bool is_tokens = results.size() < (gradient.packed ? 1U : 3U);
    results.push_back(is_tokens ? token_view(type, gradient.sdpa.channels_last) : plain_view(type));
  }
  return attention_gradient_graphs(node, token_views(node, gradient.sdpa, 4), results);
}

}  // namespace facet::cuda
