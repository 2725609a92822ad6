#include "zoo/iresnet.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/error.h"
#include "zoo/blocks/initializers.h"
#include "zoo/blocks/iresnet_block.h"
#include "zoo/blocks/learnable_fusion.h"
#include "zoo/blocks/patch_attention.h"

namespace facet::zoo {
namespace {

Ints blocks_of(std::int64_t depth) {
  switch (depth) {
    case 18:
      return {2, 2, 2, 2};
    case 34:
      return {3, 4, 6, 3};
    case 50:
      return {3, 4, 14, 3};
    case 100:
      return {3, 13, 30, 3};
    case 200:
      return {6, 26, 60, 6};
    default:
      break;
  }
  throw usage_error(
      fmt::format("iresnet: there is no depth {}; choose 18, 34, 50, 100 or 200", depth));
}

Ints blocks_of(const IResNetOptions& options) {
  if (options.blocks.empty()) return blocks_of(options.depth);
  if (std::ranges::any_of(options.blocks, [](auto n) { return n < 1; })) {
    throw usage_error(
        fmt::format("{}: layers takes positive numbers, the blocks of each stage", options.name));
  }
  return options.blocks;
}

/// Every stage halves the map: [N, 3, 112, 112] -> [N, 512, 7, 7] with the published options.
Tensor trunk(Scope root, Tensor x, const IResNetOptions& options, IResNetBlockKind kind) {
  x = root.conv("conv1", x,
                {.out = options.width,
                 .kernel = 3,
                 .stride = options.stem_stride,
                 .padding = 1,
                 .bias = false,
                 .init = normal_init(0.1)});
  x = root.batch_norm("bn1", x);
  x = root.prelu("prelu", x);
  const Ints blocks = blocks_of(options);
  for (std::size_t stage = 0; stage < blocks.size(); ++stage) {
    const Scope layer = root / fmt::format("layer{}", stage + 1);
    const std::int64_t out = options.width << stage;
    for (std::int64_t i = 0; i < blocks[stage]; ++i) {
      const bool first = i == 0;
      x = iresnet_block(layer / i, x, out, first ? 2 : 1, first, kind);
    }
    x = layer.output(x);
  }
  return x;
}

/// Side branch and trunk in one map: f = bn(bn(trunk) + gamma * bn(side)).
Tensor fuse(Scope root, Tensor features, Tensor side, bool shared_bn) {
  const Scope again = root.shared();
  side = again.batch_norm(shared_bn ? "bn2" : "bn_side", side);
  features = again.batch_norm(shared_bn ? "bn2" : "bn_trunk", features);
  return again.batch_norm("bn2", learnable_fusion(root / "lf", features, side));
}

Tensor embed(Scope root, Tensor x, std::int64_t size) {
  x = (root / "dropout").output(flatten(x));  // its probability is 0 in every published recipe
  x = root.linear("fc", x, {.out = size});
  return root.batch_norm("features", x, {.trainable_weight = false});
}

/// The outputs, and the graph with the asked initial values.
Graph finish(Network& network, Tensor embedding, const IResNetOptions& options) {
  network.output("embedding", embedding);
  if (options.num_classes > 0) {
    network.output("logits",
                   network.root().linear("classifier", embedding, {.out = options.num_classes}));
  }
  const ZeroInit zero_init = options.zero_init_residual;
  Graph graph = network.finish();
  if (zero_init == ZeroInit::none) return graph;
  const std::string_view suffix = zero_init == ZeroInit::bn2 ? ".bn2.weight" : ".bn3.weight";
  for (Parameter& parameter : graph.parameters()) {
    if (parameter.key.starts_with("layer") && parameter.key.ends_with(suffix)) {
      parameter.init = {Initializer::Kind::constant, 0, 0};
    }
  }
  return graph;
}

std::string name_of(const IResNetOptions& options, std::string_view family) {
  return options.name.empty() ? fmt::format("{}_iresnet{}", family, options.depth) : options.name;
}

}  // namespace

Graph arcface_iresnet(const IResNetOptions& options) {
  Network network(name_of(options, "arcface"));
  const Scope root = network.root();
  Tensor x = network.input("input", {"N", 3, options.input_size, options.input_size});
  x = trunk(root, x, options, IResNetBlockKind::plain);
  x = root.batch_norm("bn2", x);
  return finish(network, embed(root, x, options.embedding_size), options);
}

Graph mla_iresnet(const IResNetOptions& options) {
  Network network(name_of(options, "mla"));
  const Scope root = network.root();
  root.order({"conv1", "bn1", "prelu", "layer1", "layer2", "layer3", "layer4", "bn_trunk",
              "bn_side", "bn2", "fc", "features", "saatten", "lf"});
  const Tensor image = network.input("input", {"N", 3, options.input_size, options.input_size});
  const Tensor side = patch_attention(root / "saatten", image,
                                      {.channels = options.width << (blocks_of(options).size() - 1),
                                       .patch = options.patch,
                                       .clamp = options.clamp});
  const Tensor features = trunk(root, image, options, IResNetBlockKind::mla);
  const Tensor fused = fuse(root, features, side, options.shared_bn);
  return finish(network, embed(root, fused, options.embedding_size), options);
}

}  // namespace facet::zoo
