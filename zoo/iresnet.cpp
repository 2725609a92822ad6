#include "zoo/iresnet.h"

#include <fmt/format.h>

#include <array>

#include "ir/error.h"
#include "zoo/blocks/initializers.h"
#include "zoo/blocks/iresnet_block.h"
#include "zoo/blocks/learnable_fusion.h"
#include "zoo/blocks/patch_attention.h"

namespace facet::zoo {
namespace {

std::array<std::int64_t, 4> blocks_of(std::int64_t depth) {
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

/// [N, 3, 112, 112] -> [N, 512, 7, 7]
Tensor trunk(Scope root, Tensor x, std::int64_t depth, IResNetBlockKind kind) {
  x = root.conv("conv1", x,
                {.out = 64, .kernel = 3, .padding = 1, .bias = false, .init = normal_init(0.1)});
  x = root.batch_norm("bn1", x);
  x = root.prelu("prelu", x);
  const std::array<std::int64_t, 4> blocks = blocks_of(depth);
  for (std::int64_t stage = 0; stage < 4; ++stage) {
    const Scope layer = root / fmt::format("layer{}", stage + 1);
    const std::int64_t out = std::int64_t{64} << stage;
    for (std::int64_t i = 0; i < blocks[static_cast<std::size_t>(stage)]; ++i) {
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

Graph finish(Network& network, ZeroInit zero_init) {
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

}  // namespace

Graph arcface_iresnet(const IResNetOptions& options) {
  Network network(fmt::format("arcface_iresnet{}", options.depth));
  const Scope root = network.root();
  Tensor x = network.input("input", {"N", 3, 112, 112});
  x = trunk(root, x, options.depth, IResNetBlockKind::plain);
  x = root.batch_norm("bn2", x);
  network.output("embedding", embed(root, x, options.embedding_size));
  return finish(network, options.zero_init_residual);
}

Graph mla_iresnet(const IResNetOptions& options) {
  Network network(fmt::format("mla_iresnet{}", options.depth));
  const Scope root = network.root();
  root.order({"conv1", "bn1", "prelu", "layer1", "layer2", "layer3", "layer4", "bn_trunk",
              "bn_side", "bn2", "fc", "features", "saatten", "lf"});
  const Tensor image = network.input("input", {"N", 3, 112, 112});
  const Tensor side = patch_attention(root / "saatten", image, {.clamp = options.clamp});
  const Tensor features = trunk(root, image, options.depth, IResNetBlockKind::mla);
  const Tensor fused = fuse(root, features, side, options.shared_bn);
  network.output("embedding", embed(root, fused, options.embedding_size));
  return finish(network, options.zero_init_residual);
}

}  // namespace facet::zoo
