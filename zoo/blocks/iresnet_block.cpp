#include "zoo/blocks/iresnet_block.h"

#include "zoo/blocks/channel_attention.h"
#include "zoo/blocks/initializers.h"
#include "zoo/blocks/spatial_attention.h"

namespace facet::zoo {
namespace {

Tensor shortcut(Scope scope, Tensor x, std::int64_t out, std::int64_t stride) {
  const Scope down = scope / "downsample";
  x = down.conv("0", x, {.out = out, .stride = stride, .bias = false, .init = normal_init(0.1)});
  return down.output(down.batch_norm("1", x));
}

/// MLA's hybrid attention.
Tensor attend(Scope scope, Tensor x) {
  x = channel_attention(scope / "ca", x) * x;
  return scope.output(spatial_attention(scope / "sa", x) * x);
}

}  // namespace

Tensor iresnet_block(Scope scope, Tensor x, std::int64_t out, std::int64_t stride, bool project,
                     IResNetBlockKind kind) {
  ConvOptions conv3x3{
      .out = out, .kernel = 3, .padding = 1, .bias = false, .init = normal_init(0.1)};
  Tensor y = scope.batch_norm("bn1", x);
  y = scope.conv("conv1", y, conv3x3);
  y = scope.batch_norm("bn2", y);
  y = scope.prelu("prelu", y);
  conv3x3.stride = stride;
  y = scope.conv("conv2", y, conv3x3);
  y = scope.batch_norm("bn3", y);

  const Tensor identity = project ? shortcut(scope, x, out, stride) : x;
  if (kind == IResNetBlockKind::plain) return scope.output(y + identity);
  return scope.output(relu(attend(scope / "attn", y) + identity));
}

}  // namespace facet::zoo
