#include "training/step.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>

#include "ir/dsl.h"
#include "ir/error.h"
#include "ir/op.h"
#include "passes/differentiate.h"
#include "passes/fuse_training.h"
#include "passes/loss_scale.h"
#include "passes/pass.h"
#include "passes/sampled_rows.h"

namespace facet {
namespace {

using Kind = LossOptions::Kind;

constexpr std::string_view kAverage = "ema.";
constexpr const char* kCenters = "head.weight";

/// The network's outputs, to be found by name.
class Outputs {
 public:
  explicit Outputs(const Graph& graph) : network_(graph.name()), outputs_(graph.outputs()) {}

  std::vector<Value> named(const std::vector<std::string>& names) const {
    std::vector<Value> values;
    for (const std::string& name : names) {
      const Value* value = find(name);
      if (value == nullptr) throw missing(fmt::format("'{}'", name));
      values.push_back(*value);
    }
    return values;
  }

  /// The only one with one of these endings.
  std::string only(const std::vector<std::string>& endings) const {
    std::vector<std::string> found;
    for (const Output& output : outputs_) {
      for (const std::string& ending : endings) {
        if (output.name.ends_with(ending)) found.push_back(output.name);
      }
    }
    if (found.size() != 1) throw missing(fmt::format("one that ends in '{}'", endings[0]));
    return found[0];
  }

  /// Those that end in "<ending>.0", "<ending>.1" ..., as many as there are.
  std::vector<std::string> numbered(const std::string& ending) const {
    std::vector<std::string> found;
    for (;;) {
      const std::string wanted = fmt::format("{}.{}", ending, found.size());
      const auto it = std::ranges::find_if(
          outputs_, [&](const Output& output) { return output.name.ends_with(wanted); });
      if (it == outputs_.end()) return found;
      found.push_back(it->name);
    }
  }

  const Value* find(const std::string& name) const {
    for (const Output& output : outputs_) {
      if (output.name == name) return &output.value;
    }
    return nullptr;
  }

 private:
  Error missing(const std::string& what) const {
    std::vector<std::string> names;
    for (const Output& output : outputs_) names.push_back(output.name);
    return usage_error(fmt::format("the loss needs of network '{}' the output {}; it has {}",
                                   network_, what, fmt::join(names, ", ")));
  }

  std::string network_;
  std::vector<Output> outputs_;
};

std::vector<Value> find_logits(const Outputs& outputs, const LossOptions& options) {
  if (options.kind == Kind::margin) return {};
  if (!options.logits.empty()) return outputs.named(options.logits);
  if (options.kind == Kind::dcr_coupled && !outputs.numbered("logits").empty()) {
    return outputs.named(outputs.numbered("logits"));
  }
  return outputs.named({outputs.only({"logits"})});
}

std::vector<Value> find_embeddings(const Outputs& outputs, const LossOptions& options) {
  if (options.kind == Kind::cross_entropy) return {};
  if (!options.embeddings.empty()) return outputs.named(options.embeddings);
  if (options.kind == Kind::dcr_coupled && options.logits.empty()) {
    for (const char* ending : {"embedding", "embeddings"}) {
      const std::vector<std::string> names = outputs.numbered(ending);
      if (!names.empty()) return outputs.named(names);
    }
  }
  if (options.kind != Kind::margin && options.logits.empty()) {
    std::string name = outputs.only({"logits"});
    name.resize(name.size() - std::string_view("logits").size());
    for (const char* ending : {"embedding", "embeddings"}) {
      if (outputs.find(name + ending) != nullptr) return outputs.named({name + ending});
    }
  }
  return outputs.named({outputs.only({"embedding", "embeddings"})});
}

/// Adds the loss to a network under construction.
class LossWriter {
 public:
  LossWriter(Network& network, const LossOptions& options, const std::vector<Value>& logits,
             const std::vector<Value>& embeddings)
      : network_(network), options_(options) {
    NetworkState* state = network.root().state();
    for (const Value value : logits) logits_.emplace_back(state, value);
    for (const Value value : embeddings) embeddings_.emplace_back(state, value);
  }

  void run() {
    const Dim batch = (logits_.empty() ? embeddings_ : logits_).at(0).shape().at(0);
    const Tensor labels = network_.input("labels", {batch}, DType::i64);
    if (options_.kind == Kind::margin) {
      Tensor centers =
          class_centers(network_.root() / "head", options_.classes, embeddings_.at(0).extent(1));
      if (options_.sampled > 0) {
        centers = gather_rows(centers, network_.input("sampled", {options_.sampled}, DType::i64));
      }
      logits_.push_back(cosine_similarities(embeddings_[0], centers));
    }
    Tensor loss = of(labels);
    if (options_.mixed_labels) {
      const Tensor others = of(network_.input("mixed_labels", {batch}, DType::i64));
      const Tensor own = network_.input("own_share", {1});
      loss = loss * own + others * (1.0 - own);
    }
    network_.output("loss", loss);
    network_.output("logits", logits_[0]);
  }

 private:
  Tensor of(Tensor labels) {
    DcrLossOptions dcr = options_.dcr;
    dcr.label_smoothing = options_.label_smoothing;
    switch (options_.kind) {
      case Kind::cross_entropy:
        return cross_entropy(logits_.at(0), labels, options_.label_smoothing);
      case Kind::margin:
        return cross_entropy(margin_logits(logits_.at(0), labels, options_.margin), labels,
                             options_.label_smoothing);
      case Kind::dcr_trunk:
        return dcr_trunk_loss(network_, embeddings_.at(0), logits_.at(0), labels, dcr);
      case Kind::dcr_coupled:
        return dcr_coupled_loss(network_, embeddings_, logits_, labels, dcr);
    }
    throw failure("unknown kind of loss");
  }

  Network& network_;
  const LossOptions& options_;
  std::vector<Tensor> logits_;
  std::vector<Tensor> embeddings_;
};

void check(const LossOptions& options) {
  if (options.kind == Kind::margin && options.classes < 1) {
    throw usage_error(
        fmt::format("a margin loss needs the number of classes, not {}", options.classes));
  }
  if (options.sampled < 0 || (options.sampled > 0 && options.kind != Kind::margin) ||
      options.sampled > std::max<std::int64_t>(options.classes, 0)) {
    throw usage_error(
        fmt::format("{} of {} centres cannot be sampled; a margin loss takes from 1 to all "
                    "of them, or 0 for the ordinary head",
                    options.sampled, options.classes));
  }
  if (!(options.label_smoothing >= 0 && options.label_smoothing < 1)) {
    throw usage_error(fmt::format("the label smoothing is {}; it must be at least 0 and below 1",
                                  options.label_smoothing));
  }
  const bool keeps_centers = options.kind == Kind::dcr_trunk || options.kind == Kind::dcr_coupled;
  if (options.mixed_labels && keeps_centers) {
    throw usage_error("a loss with class centres takes no mixed labels");
  }
}

void freeze(Graph& graph, const std::vector<std::string>& frozen) {
  for (const std::string& head : frozen) {
    bool found = false;
    for (Parameter& parameter : graph.parameters()) {
      if (!parameter.key.starts_with(head)) continue;
      parameter.trainable = false;
      found = true;
    }
    if (!found) {
      throw usage_error(fmt::format("network '{}' has no parameter whose key begins with '{}'",
                                    graph.name(), head));
    }
  }
}

/// The gradient of the output `loss`, times `scale` where there is one, by every trainable
/// parameter that it depends on; of `sampled` tables by their rows.
std::map<std::string, Value> gradients_of_loss(Graph& graph,
                                               const std::vector<std::string>& sampled,
                                               Value scale) {
  std::vector<Value> wrt;
  std::vector<std::string> keys;
  for (Node* node : graph.node_list()) {
    if (!node->is("parameter")) continue;
    const Parameter* parameter = graph.find_parameter(node->attributes().text("key"));
    if (!parameter->trainable || !is_float(parameter->type.dtype)) continue;
    const bool by_rows = std::ranges::find(sampled, parameter->key) != sampled.end();
    wrt.push_back(by_rows ? sampled_rows(graph, parameter->key)->result() : node->result());
    keys.push_back(parameter->key);
  }
  Builder build(graph, nullptr, {"loss", {}, {}});
  const HostTensor one = HostTensor::from_floats({1}, {1.0F});
  if (!scale) scale = build("constant", {}, {{"value", one}});
  const Seed seed{graph.outputs().at(0).value, scale};
  const std::vector<Value> found = differentiate(graph, {&seed, 1}, wrt);
  std::map<std::string, Value> gradients;
  for (std::size_t i = 0; i < wrt.size(); ++i) {
    if (!found[i]) continue;
    Value& sum = gradients[keys[i]];  // a key may be read at several places
    sum = sum ? build("add", {sum, found[i]}) : found[i];
  }
  return gradients;
}

}  // namespace

std::vector<std::string> outputs_of_scales(const Graph& network, const std::string& ending) {
  return Outputs(network).numbered(ending);
}

Graph with_loss(Graph network, const LossOptions& options) {
  check(options);
  const Outputs outputs(network);
  const std::vector<Value> logits = find_logits(outputs, options);
  const std::vector<Value> embeddings = find_embeddings(outputs, options);
  network.outputs().clear();
  Network going_on(std::move(network));
  LossWriter(going_on, options, logits, embeddings).run();
  return going_on.finish();
}

Graph make_training_step(Graph network, const StepOptions& options) {
  PassContext context;
  return make_training_step(std::move(network), options, context);
}

Graph make_training_step(Graph network, const StepOptions& options, PassContext& context) {
  const std::vector<std::string> symbols = network.symbols();
  if (symbols.size() > 1) {
    throw usage_error(
        fmt::format("network '{}' has several symbolic extents ({}); a training step "
                    "takes one, the batch",
                    network.name(), fmt::join(symbols, ", ")));
  }
  if (symbols.size() == 1) network = network.with_symbol(symbols[0], options.batch);
  Graph graph = with_loss(std::move(network), options.loss);
  freeze(graph, options.frozen);
  to_training_mode(graph, options.mode);
  if (options.fuse) fuse_for_training(graph, context);
  std::vector<std::string> sampled;
  if (options.loss.sampled > 0) sampled.emplace_back(kCenters);
  if (options.loss.sampled > 0 && !graph.find_parameter(kCenters)->trainable) {
    throw usage_error("centres that are sampled are trained; take them out of the frozen parts");
  }
  if (options.loss.sampled > 0 && options.dense_centers) owe_missed_steps(graph, kCenters);
  const Value scale = options.scale_loss ? add_loss_scale(graph) : Value{};
  const std::map<std::string, Value> gradients = gradients_of_loss(graph, sampled, scale);
  if (options.accumulate_only) {
    append_accumulation(graph, gradients, sampled, scale);
  } else {
    OptimizerOptions optimizer = options.optimizer;
    optimizer.sampled = sampled;
    optimizer.loss_scale = scale;
    optimizer.guard = graph.outputs().at(0).value;  // the loss
    const AppendedOptimizer made = append_optimizer(graph, gradients, optimizer);
    if (made.gradient_norm) graph.outputs().push_back({"gradient_norm", made.gradient_norm});
    if (scale) append_loss_scale(graph, made.nothing);
  }
  eliminate_dead_code(graph, context);
  verify(graph);
  return graph;
}

void start_averages(const Graph& graph, TensorMap& tensors) {
  for (const Parameter& parameter : graph.parameters()) {
    if (!parameter.key.starts_with(kAverage) || tensors.contains(parameter.key)) continue;
    const auto found = tensors.find(parameter.key.substr(kAverage.size()));
    if (found != tensors.end()) tensors[parameter.key] = found->second.clone();
  }
}

}  // namespace facet
