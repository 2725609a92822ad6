#include "training/partial_fc.h"

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace facet {
namespace {

constexpr std::string_view kPrefix = "training.partial_fc.";
constexpr const char* kTable = "head.weight";
constexpr const char* kVelocity = "optimizer.head.weight.velocity";

}  // namespace

PartialFc::PartialFc(const Options& options)
    : sampler_(options.classes, options.sample, options.seed), steps_(DType::i64, {1}) {
  if (options.dense) missed_ = std::make_unique<MissedSteps>(options.classes, *options.dense);
}

void PartialFc::begin(const std::vector<HostTensor>& labels) {
  rows_ = sampler_.draw(*steps_.as<std::int64_t>(), labels);
  if (missed_) owed_ = missed_->owed(rows_);
}

void PartialFc::complete(TensorMap& inputs) const {
  inputs["sampled"] = rows_;
  if (missed_) inputs["owed"] = owed_;
  inputs["labels"] = places_of(inputs.at("labels"), rows_);
}

void PartialFc::applied(double learning_rate, State& state) {
  ++*steps_.as_mutable<std::int64_t>();
  if (!missed_) return;
  missed_->stepped(rows_, learning_rate);
  if (!missed_->is_full()) return;
  HostTensor table = state.tensor(kTable), velocity = state.tensor(kVelocity);
  missed_->pay_all(table, velocity);
  state.assign({{kTable, table}, {kVelocity, velocity}});
}

HostTensor PartialFc::centers(const State& state) const {
  const HostTensor table = state.tensor(kTable);
  return missed_ ? missed_->paid(table, state.tensor(kVelocity)) : table;
}

TensorMap PartialFc::tensors() const {
  TensorMap all = {{std::string(kPrefix) + "steps", steps_}};
  if (!missed_) return all;
  for (const auto& [key, tensor] : missed_->tensors()) {
    all.emplace(std::string(kPrefix) + "missed." + key, tensor);
  }
  return all;
}

void PartialFc::assign(const TensorMap& tensors) {
  TensorMap missed;
  for (const auto& [key, tensor] : tensors) {
    const std::string name = key.substr(kPrefix.size());
    if (name == "steps") {
      *steps_.as_mutable<std::int64_t>() = *tensor.as<std::int64_t>();
    } else {
      missed.emplace(name.substr(std::string_view("missed.").size()), tensor);
    }
  }
  if (missed_) missed_->assign(missed);
}

std::string PartialFc::describe() const {
  return fmt::format("partial fc {} of {} centres a step, v{}", sampler_.sample(),
                     sampler_.classes(), missed_ ? 2 : 1);
}

bool PartialFc::owns(const std::string& key) { return key.starts_with(kPrefix); }

}  // namespace facet
