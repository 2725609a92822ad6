#include "zoo/dcr.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "ir/error.h"
#include "zoo/dcr_trunks.h"

namespace facet::zoo {
namespace {

constexpr std::string_view resnet_prefix = "ResNet-";

void check(const DcrOptions& options) {
  const auto reject = [&](const std::string& why) { throw usage_error(options.name + ": " + why); };
  const bool stock = options.backbone.starts_with(resnet_prefix);
  if (!options.use_bn && options.backbone != "NewDCRTrunk") {
    reject(fmt::format("use_bn=false needs backbone=NewDCRTrunk; {} cannot do without BN",
                       options.backbone));
  }
  if (stock && options.layers != DcrOptions{}.layers) {
    reject(fmt::format("layers belongs to DCRTrunk and NewDCRTrunk; {} has its own",
                       options.backbone));
  }
  if (options.layers.size() != options.stages ||
      std::ranges::any_of(options.layers, [](auto n) { return n < 1; })) {
    reject(fmt::format("layers takes {} positive numbers, the blocks of each stage",
                       options.stages == 4 ? "four" : std::to_string(options.stages)));
  }
  if (options.input_size < 16) {
    reject(
        fmt::format("input_size={} is too small; the trunk halves the image four times, so use "
                    "16 or more",
                    options.input_size));
  }
  if (!options.all_branches && options.branch && (*options.branch < 0 || *options.branch >= options.num_scales)) {
    reject(
        fmt::format("there is no branch {}: num_scales={} makes branches 0 to {}; or take "
                    "branch=trunk",
                    *options.branch, options.num_scales, options.num_scales - 1));
  }
}

Tensor features(Scope scope, Tensor x, const DcrOptions& options) {
  const std::string_view name = options.backbone;
  if (name == "DCRTrunk") return dcr_trunk(scope, x, options.layers, options.stem);
  if (name == "NewDCRTrunk") return new_dcr_trunk(scope, x, options.layers, options.use_bn);
  std::int64_t depth = 0;
  if (name.starts_with(resnet_prefix)) {
    const std::string_view digits = name.substr(resnet_prefix.size());
    std::from_chars(digits.data(), digits.data() + digits.size(), depth);
    return resnet_trunk(scope, x, depth);
  }
  throw usage_error(fmt::format(
      "dcr: unknown backbone '{}'; choose DCRTrunk, NewDCRTrunk or ResNet-<depth>", name));
}

/// A linear layer `fc1`, brought to length 1 if the options ask for it.
Tensor embed(Scope scope, Tensor x, std::int64_t size, bool normalized) {
  const Tensor e = scope.linear("fc1", x, {.out = size});
  return normalized ? l2_normalize(e) : e;
}

/// What a trunk or a branch makes.
struct Head {
  Tensor embedding;
  Tensor logits;
};

Head trunk(Scope scope, Tensor image, const DcrOptions& options) {
  const Tensor x = features(scope, image, options);
  const Tensor e = embed(scope, x, options.out_channels, options.normalized_embeddings);
  return {e, scope.linear("fc2", e, {.out = options.num_classes})};
}

/// e = fc1(t), logits = fc2(prelu(e)) with one slope. The embedding is e ahead of the PReLU.
Head branch(Scope scope, Tensor t, const DcrOptions& options) {
  scope.order({"fc1", "fc2", "relu"});
  const Tensor e = embed(scope, t, options.mid_channels, options.normalized_embeddings);
  const Tensor active = scope.prelu("relu", e, {.shared = true});
  return {e, scope.linear("fc2", active, {.out = options.num_classes})};
}

/// Every scale through the shared trunk and its branch.
void coupled(Network& network, const DcrOptions& options) {
  const Scope root = network.root();
  const Shape shape = {"N", 3, options.input_size, options.input_size};
  for (std::int64_t k = 0; k < options.num_scales; ++k) {
    const Tensor image = network.input(k == 0 ? "input" : fmt::format("input.{}", k), shape);
    const Head shared = trunk(root.shared() / "trunk", image, options);
    const Head own = branch(root / "branches" / k, shared.embedding, options);
    const std::string_view prefix = options.plain_outputs ? "" : "branch_";
    const std::string_view embedding = options.plain_outputs ? "embedding" : "embeddings";
    network.output(fmt::format("{}{}.{}", prefix, embedding, k), own.embedding);
    network.output(fmt::format("{}logits.{}", prefix, k), own.logits);
  }
}

}  // namespace

void set_branch(DcrOptions& options, const std::string& branch) {
  options.all_branches = branch == "all";
  options.branch.reset();
  if (branch != "trunk" && branch != "all") options.branch = std::stoll(branch);
}

Graph dcr(const DcrOptions& options) {
  check(options);
  Network network(options.name);
  if (options.all_branches) {
    coupled(network, options);
    return network.finish();
  }
  const Scope root = network.root();
  const Tensor image = network.input("input", {"N", 3, options.input_size, options.input_size});
  const Head shared = trunk(root / "trunk", image, options);
  const auto output = [&](const char* name, const char* plain_name, Tensor value) {
    network.output(options.plain_outputs ? plain_name : name, value);
  };
  if (!options.branch || !options.plain_outputs) {
    output("trunk_embeddings", "embedding", shared.embedding);
  }
  if (!options.branch) output("trunk_logits", "logits", shared.logits);
  // Every branch is declared, for the state_dict; what the chosen outputs do not need is dropped.
  for (std::int64_t i = 0; i < options.num_scales; ++i) {
    const Head own = branch(root / "branches" / i, shared.embedding, options);
    if (options.branch != i) continue;
    output("branch_embeddings", "embedding", own.embedding);
    output("branch_logits", "logits", own.logits);
  }
  return network.finish();
}

}  // namespace facet::zoo
