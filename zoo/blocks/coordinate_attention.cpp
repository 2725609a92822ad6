#include "zoo/blocks/coordinate_attention.h"

#include <algorithm>

#include "zoo/blocks/activations.h"

namespace facet::zoo {

Tensor coordinate_attention(Scope scope, Tensor x, std::int64_t reduction) {
  const std::int64_t channels = x.channels();
  const std::int64_t rows = x.extent(2);
  const std::int64_t columns = x.extent(3);
  const Tensor along_rows = mean(x, {3});
  const Tensor along_columns = transpose(mean(x, {2}), {0, 1, 3, 2});
  Tensor f = concat({along_rows, along_columns}, 2);
  f = scope.conv("conv1", f, {.out = std::max<std::int64_t>(8, channels / reduction)});
  f = h_swish(scope.batch_norm("bn1", f));
  const Tensor f_h = slice(f, 2, 0, rows);
  const Tensor f_w = transpose(slice(f, 2, rows, rows + columns), {0, 1, 3, 2});
  const Tensor row = sigmoid(scope.conv("conv_h", f_h, {.out = channels}));
  const Tensor column = sigmoid(scope.conv("conv_w", f_w, {.out = channels}));
  return scope.output(x * row * column);
}

}  // namespace facet::zoo
