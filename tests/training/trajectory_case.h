#pragma once

#include <fmt/format.h>

#include <map>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/training/loss_case.h"
#include "training/step.h"
#include "zoo/zoo.h"

/// trajectories.json: whole training steps of three networks, from filled parameters.
namespace facet::testing {

struct Trajectory {
  std::string name;  ///< in the file
  std::string model;
  std::map<std::string, std::string> settings;
  LossOptions loss;
  double lr = 0.002;
  OptimizerOptions optimizer{.momentum = 0.9, .weight_decay = 5e-4};
};

inline const std::vector<Trajectory>& trajectories() {
  static const std::vector<Trajectory> cases = {
      {"dcr_trunk_only_64_classes_ce_sgd",
       "dcr",
       {{"num_classes", "64"}, {"num_scales", "3"}, {"branch", "trunk"}},
       {}},
      {"mla_iresnet18_arcface_head_16_classes_sgd",
       "mla_iresnet18",
       {},
       {.kind = LossOptions::Kind::margin, .classes = 16}},
      {"lesa_resnet50_1000_classes_ce_nesterov",
       "lesa_resnet50",
       {},
       {},
       0.0002,
       {.momentum = 0.9, .nesterov = true, .weight_decay = 8e-5}}};
  return cases;
}

inline void PrintTo(const Trajectory& one, std::ostream* out) { *out << one.name; }

/// What the file has of a case.
struct GoldenTrajectory {
  std::vector<std::int64_t> shape;
  std::vector<double> losses;
  std::map<std::string, Digest> after;  ///< parameters and running statistics by key
};

inline GoldenTrajectory read_trajectory(const std::string& name) {
  const nlohmann::json file = read_json("trajectories");
  for (const nlohmann::json& source : file.at("cases")) {
    if (source.at("case") != name) continue;
    GoldenTrajectory result;
    source.at("shape").get_to(result.shape);
    source.at("loss").get_to(result.losses);
    const auto read = [&](const std::string& key, const nlohmann::json& digest) {
      Digest& to = result.after[key];
      digest.at("shape").get_to(to.shape);
      digest.at("l2").get_to(to.l2);
      digest.at("mean").get_to(to.mean);
      digest.at("index").get_to(to.index);
      digest.at("value").get_to(to.value);
    };
    for (const char* part : {"params_after", "buffers_after"}) {
      for (const auto& [key, digest] : source.at(part).items()) read(key, digest);
    }
    if (source.contains("head_after")) read("head.weight", source.at("head_after"));
    return result;
  }
  ADD_FAILURE() << "no trajectory " << name;
  return {};
}

inline Graph training_step_of(const Trajectory& one, std::int64_t batch) {
  return make_training_step(zoo::build(one.model, one.settings), {.loss = one.loss,
                                                                  .optimizer = one.optimizer,
                                                                  .mode = {.keep_dropout = false},
                                                                  .batch = batch});
}

/// The filled state at the start; optimizer state is zero.
inline TensorMap start_of(const Graph& step) {
  TensorMap state = fill_parameters(step);
  for (const Parameter& parameter : step.parameters()) {
    if (parameter.key == "head.weight") {
      state[parameter.key] =
          uniform(parameter.key, static_extents(parameter.type.shape), -0.05, 0.05);
    } else if (parameter.key.starts_with("optimizer.")) {
      state[parameter.key] = HostTensor(DType::f32, static_extents(parameter.type.shape));
    }
  }
  return state;
}

/// The inputs of step `t`.
inline TensorMap inputs_of(const Trajectory& one, const GoldenTrajectory& golden, std::int64_t t) {
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < golden.shape.at(0); ++i) labels.push_back((5 * t + 3 * i) % 10);
  return {{"input", uniform(fmt::format("input{}", t), golden.shape, -1, 1)},
          {"labels", labels_tensor(labels)},
          {"lr", HostTensor::from_doubles({1}, {one.lr})}};
}

}  // namespace facet::testing
