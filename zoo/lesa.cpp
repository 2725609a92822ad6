#include "zoo/lesa.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/error.h"
#include "zoo/blocks/residual_block.h"

namespace facet::zoo {
namespace {

void check(const LesaResNetOptions& options) {
  const auto reject = [&](const std::string& why) {
    throw usage_error(fmt::format("{}: {}", options.name, why));
  };
  const auto take = [&](std::string_view name, const Ints& list, std::int64_t lo, std::int64_t hi) {
    if (list.size() == options.stages &&
        std::ranges::all_of(list, [&](auto n) { return n >= lo && n <= hi; })) {
      return;
    }
    reject(fmt::format("{} takes {} numbers, one a stage, {}", name,
                       options.stages == 4 ? "four" : std::to_string(options.stages),
                       hi == 1 ? "0 or 1" : fmt::format("{} or more", lo)));
  };
  constexpr std::int64_t any = 1 << 20;
  take("layers", options.layers, 1, any);
  take("strides", options.strides, 1, any);
  take("stage_with_lesa", options.stage_with_lesa, 0, 1);
  take("stage_with_first_conv", options.stage_with_first_conv, 0, 1);
  take("stage_spatial_res", options.stage_spatial_res, 1, any);
  for (const Ints* list :
       {&options.layer.channel_shrink, &options.layer.kernel_size, &options.layer.group}) {
    if (std::ranges::any_of(*list, [](auto n) { return n < 1; })) {
      reject("df_channel_shrink, df_kernel_size and df_group take positive numbers");
    }
  }
  if (options.input_size < 4) {
    reject(fmt::format("input_size={} leaves nothing behind the stem; use 4 or more",
                       options.input_size));
  }
}

Tensor lesa_block(Scope scope, Tensor x, Bottleneck block, const LesaResNetOptions& options,
                  std::size_t stage) {
  const std::int64_t side = options.stage_spatial_res[stage] * block.stride;
  if (x.extent(2) != side || x.extent(3) != side) {
    throw usage_error(fmt::format(
        "{}: the LESA layer of {} sees {} x {} places, but stage_spatial_res={} and a stride of {} "
        "make it {} x {}; set stage_spatial_res or input_size so that they agree",
        options.name, scope.path(), x.extent(2), x.extent(3), options.stage_spatial_res[stage],
        block.stride, side, side));
  }
  LesaOptions layer = options.layer;
  layer.stride = block.stride;
  return bottleneck_block(scope, x, block,
                          [&](Tensor y) { return lesa_layer(scope / "conv2", y, layer); });
}

}  // namespace

Graph lesa_resnet(const LesaResNetOptions& options) {
  check(options);
  Network network(options.name);
  const Scope root = network.root();
  Tensor x = network.input("input", {"N", 3, options.input_size, options.input_size});
  x = resnet_stem(root, x, options.stem);
  for (std::size_t stage = 0; stage < options.stages; ++stage) {
    const Scope layer = root / fmt::format("layer{}", stage + 1);
    const std::int64_t planes = options.stem.width << stage;
    const bool attends = options.lesa && options.stage_with_lesa[stage] != 0;
    for (std::int64_t i = 0; i < options.layers[stage]; ++i) {
      const Bottleneck block{.width = planes * options.base_width / 64,
                             .out = 4 * planes,
                             .stride = i == 0 ? options.strides[stage] : 1};
      const bool convolves = !attends || (i == 0 && options.stage_with_first_conv[stage] != 0);
      x = convolves ? bottleneck_block(layer / i, x, block)
                    : lesa_block(layer / i, x, block, options, stage);
    }
    x = layer.output(x);
  }
  x = flatten((root / "avgpool").output(mean(x, {2, 3})));
  if (options.embedding) network.output("embedding", x);
  network.output("logits", root.linear("fc", x, {.out = options.num_classes}));
  return network.finish();
}

}  // namespace facet::zoo
