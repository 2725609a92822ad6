#include "zoo/lscnn.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/error.h"
#include "zoo/blocks/dense.h"
#include "zoo/blocks/transition.h"

namespace facet::zoo {
namespace {

void check(const LsCnnOptions& options) {
  const bool small = options.small_stride > 0;
  if (!small && (options.input_size < 127 || options.input_size > 142)) {
    throw usage_error(fmt::format(
        "lscnn: input_size={} does not fit: the last map must be 7x7, which takes images of 127 to "
        "142 pixels a side; resize the faces to 128",
        options.input_size));
  }
  if (options.layers.size() != (small ? 2 : 3) ||
      std::ranges::any_of(options.layers, [](auto n) { return n < 1; })) {
    throw usage_error(
        fmt::format("{}: layers takes {} positive numbers, the dense layers of each block",
                    options.name, small ? "two" : "three"));
  }
}

/// conv{index}, norm{index}, relu{index}. The bias ahead of a BN is redundant; published code has
/// it.
Tensor stem(Scope root, Tensor x, std::string_view index, std::int64_t out,
            std::int64_t stride = 1) {
  const auto name = [&](std::string_view kind) { return fmt::format("{}{}", kind, index); };
  x = root.conv(name("conv"), x, {.out = out, .kernel = 3, .stride = stride, .padding = 1});
  x = root.batch_norm(name("norm"), x);
  return (root / name("relu")).output(relu(x));
}

Tensor pool(Scope scope, Tensor x) { return scope.output(max_pool(x, {.kernel = 3, .stride = 2})); }

}  // namespace

Graph lscnn(const LsCnnOptions& options) {
  check(options);
  const bool small = options.small_stride > 0;
  Network network(options.name);
  const Scope root = network.root();
  Tensor x = network.input("input", {"N", 3, options.input_size, options.input_size});

  x = stem(root, x, "1", options.stem, small ? options.small_stride : 1);
  x = stem(root, x, "2", options.stem);
  x = pool(root / "maxPool1", x);
  x = stem(root, x, "3", 2 * options.stem);
  x = stem(root, x, "4", 2 * options.stem);
  if (!small) x = pool(root / "maxPool2", x);

  x = dense_block(root / "lcnn_D1", x, options.layers[0], options.growth);  // "lcnn" as published
  x = transition_block(root / "lscnn_T1", x);
  x = dense_block(root / "lscnn_D2", x, options.layers[1], options.growth);
  if (!small) {
    x = transition_block(root / "lscnn_T2", x);
    x = dense_block(root / "lscnn_D3", x, options.layers[2], options.growth);
  }

  x = root.batch_norm("norm", x);
  x = (root / "relu").output(relu(x));
  x = (root / "avgPool").output(mean(x, {2, 3}));
  x = (root / "flatten").output(flatten(x));
  const Tensor embedding = root.linear("fc", x, {.out = options.embedding_size});
  const Tensor logits = root.linear("classification", embedding, {.out = options.num_classes});
  network.output("embedding", embedding);
  network.output("logits", logits);
  return network.finish();
}

}  // namespace facet::zoo
