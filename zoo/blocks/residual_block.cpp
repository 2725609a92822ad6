#include "zoo/blocks/residual_block.h"

#include "zoo/blocks/initializers.h"

namespace facet::zoo {
namespace {

/// conv{index} and bn{index}, "same" padding, no bias.
Tensor conv_bn(Scope scope, Tensor x, std::int64_t index, std::int64_t out, std::int64_t kernel,
               std::int64_t stride) {
  const std::string number = std::to_string(index);
  x = scope.conv("conv" + number, x,
                 {.out = out,
                  .kernel = kernel,
                  .stride = stride,
                  .padding = kernel / 2,
                  .bias = false,
                  .init = he_fan_out(kernel, out)});
  return scope.batch_norm("bn" + number, x);
}

Tensor shortcut(Scope scope, Tensor x, std::int64_t out, std::int64_t stride) {
  if (stride == 1 && x.channels() == out) return x;
  const Scope down = scope / "downsample";
  x = down.conv("0", x, {.out = out, .stride = stride, .bias = false, .init = he_fan_out(1, out)});
  return down.output(down.batch_norm("1", x));
}

}  // namespace

Tensor basic_block(Scope scope, Tensor x, std::int64_t out, std::int64_t stride) {
  const Scope activation = scope / "relu";
  Tensor y = activation.output(relu(conv_bn(scope, x, 1, out, 3, stride)));
  y = conv_bn(scope, y, 2, out, 3, 1);
  return scope.output(activation.output(relu(y + shortcut(scope, x, out, stride))));
}

Tensor bottleneck_block(Scope scope, Tensor x, const Bottleneck& block,
                        const std::function<Tensor(Tensor)>& middle) {
  const Scope activation = scope / "relu";
  Tensor y = activation.output(relu(conv_bn(scope, x, 1, block.width, 1, 1)));
  y = activation.output(relu(middle(y)));
  y = conv_bn(scope, y, 3, block.out, 1, 1);
  return scope.output(activation.output(relu(y + shortcut(scope, x, block.out, block.stride))));
}

Tensor bottleneck_block(Scope scope, Tensor x, const Bottleneck& block) {
  return bottleneck_block(scope, x, block, [&](Tensor y) {
    return conv_bn(scope, y, 2, block.width, 3, block.stride);
  });
}

Tensor bottleneck_block(Scope scope, Tensor x, std::int64_t planes, std::int64_t stride) {
  return bottleneck_block(scope, x, {.width = planes, .out = 4 * planes, .stride = stride});
}

}  // namespace facet::zoo
