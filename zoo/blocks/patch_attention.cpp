#include "zoo/blocks/patch_attention.h"

#include <cmath>

#include "zoo/blocks/initializers.h"

namespace facet::zoo {

Tensor patch_attention(Scope scope, Tensor image, const PatchAttentionOptions& options) {
  const Initializer init = normal_init(0.1);
  const Tensor patches = scope.conv("conv1_", image,
                                    {.out = options.channels,
                                     .kernel = options.patch,
                                     .stride = options.patch,
                                     .bias = false,
                                     .init = init});
  const std::int64_t rows = patches.extent(2);
  const std::int64_t columns = patches.extent(3);
  const auto project = [&](std::string_view name, std::int64_t width) {
    const Tensor y = scope.conv(name, patches, {.out = width, .init = init});
    return reshape(y, {0, width, rows * columns});
  };
  const Tensor query = project("query_conv", options.keys);
  const Tensor key = project("key_conv", options.keys);
  const Tensor value = project("value_conv", options.channels);

  Tensor energy = matmul_transposed(query, true, key, false);
  energy = options.clamp ? clamp(energy, -1, 1)
                         : energy * (1 / std::sqrt(static_cast<double>(options.keys)));
  const Tensor attention = softmax(energy, -1);
  const Tensor y = matmul_transposed(value, false, attention, true);
  return scope.output(reshape(y, {0, options.channels, rows, columns}));
}

}  // namespace facet::zoo
