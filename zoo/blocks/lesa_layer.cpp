#include "zoo/blocks/lesa_layer.h"

#include <fmt/format.h>

#include <cmath>

#include "ir/error.h"
#include "zoo/blocks/initializers.h"

namespace facet::zoo {
namespace {

/// The extents of the layer.
struct Extents {
  std::int64_t channels, heads, head, keys;  ///< head: channels of v; keys: of q and of k
  std::int64_t height, width, tokens;
};

Extents extents_of(Scope scope, Tensor x, const LesaOptions& options) {
  const auto reject = [&](const std::string& why) {
    throw usage_error(fmt::format("LESA layer '{}': {}", scope.path(), why));
  };
  const std::int64_t channels = x.channels();
  if (options.groups < 1 || channels % (2 * options.groups) != 0) {
    reject(
        fmt::format("{} channels do not divide into {} groups of even width; choose another "
                    "groups",
                    channels, options.groups));
  }
  if (options.kernel_size.size() != options.channel_shrink.size() + 1 ||
      options.group.size() != options.channel_shrink.size() + 1) {
    reject(
        fmt::format("the fusion has {} hidden convolutions and a projection, so kernel sizes and "
                    "groups take {} entries, not {} and {}",
                    options.channel_shrink.size(), options.channel_shrink.size() + 1,
                    options.kernel_size.size(), options.group.size()));
  }
  const std::int64_t head = channels / options.groups;
  const std::int64_t height = x.extent(2);
  const std::int64_t width = x.extent(3);
  return {channels, options.groups, head, head / 2, height, width, height * width};
}

/// Queries and keys [N, heads, keys, K], values [N, heads, head, K].
struct Projections {
  Tensor q, k, v;
};

Projections project(Scope scope, Tensor x, const Extents& e) {
  const Scope transform = scope / "qkv_transform";
  const Tensor weight = transform.parameter(
      "weight", {2 * e.channels, e.channels, 1},
      normal_init(1 / std::sqrt(static_cast<double>(e.channels))), ParameterRole::weight);
  Tensor qkv = conv(x, reshape(weight, {2 * e.channels, e.channels, 1, 1}));
  qkv = scope.batch_norm("bn_qkv", transform.output(qkv));
  qkv = reshape(qkv, {0, e.heads, 2 * e.head, e.tokens});
  return {slice(qkv, 2, 0, e.keys), slice(qkv, 2, e.keys, 2 * e.keys),
          slice(qkv, 2, 2 * e.keys, 2 * e.head)};
}

/// The scores' parts [N, heads, K, K] in one batch norm, and their sum.
Tensor similarity(Scope scope, const std::vector<Tensor>& parts, const Extents& e) {
  const auto count = static_cast<std::int64_t>(parts.size());
  Tensor scores = scope.batch_norm("bn_similarity", concat(parts, 1));
  scores = sum(reshape(scores, {0, count, e.heads, e.tokens, e.tokens}), {1});
  return softmax(reshape(scores, {0, e.heads, e.tokens, e.tokens}), -1);
}

/// i - j + K - 1 for tokens i, j.
HostTensor raster_distances(std::int64_t tokens) {
  HostTensor index(DType::i64, {tokens * tokens});
  auto* values = index.as_mutable<std::int64_t>();
  for (std::int64_t i = 0; i < tokens; ++i) {
    for (std::int64_t j = 0; j < tokens; ++j) values[i * tokens + j] = i - j + tokens - 1;
  }
  return index;
}

/// The context term with `LesaPositions::classification`.
Tensor context_by_raster(Scope scope, Tensor x, const Extents& e) {
  const Tensor relative = scope.parameter("relative", {2 * e.head, 2 * e.tokens - 1},
                                          normal_init(1 / std::sqrt(static_cast<double>(e.head))));
  scope.buffer("flatten_index", raster_distances(e.tokens));
  const Tensor query_table = slice(relative, 0, 0, e.keys);
  const Tensor key_table = slice(relative, 0, e.keys, 2 * e.keys);
  const Tensor value_table = slice(relative, 0, 2 * e.keys, 2 * e.head);
  const auto [q, k, v] = project(scope, x, e);

  const auto row_minus_column = Distance::row_minus_column;
  const Tensor qk = matmul_transposed(q, true, k, false);
  const Tensor qr = skew(matmul_transposed(q, true, query_table, false), row_minus_column);
  const Tensor rk = skew(matmul_transposed(k, true, key_table, false), row_minus_column);
  const Tensor attention = similarity(scope, {qk, qr, transpose(rk, {0, 1, 3, 2})}, e);
  const Tensor content = matmul_transposed(v, false, attention, true);
  const Tensor places =
      matmul_transposed(value_table, false, unskew(attention, row_minus_column), true);

  // Channel c of content and of places are the channels 2c and 2c + 1 of one batch norm.
  const auto part = [&](Tensor t) { return reshape(t, {0, e.channels, 1, e.tokens}); };
  Tensor y = reshape(concat({part(content), part(places)}, 2), {0, 2 * e.channels, e.tokens});
  y = reshape(scope.batch_norm("bn_output", y), {0, e.channels, 2, e.tokens});
  return reshape(sum(y, {2}), {0, e.channels, e.height, e.width});
}

/// q[i] . (Rw[xj - xi] + Rh[yj - yi]), [N, heads, K, K].
Tensor map_distances(Scope scope, Tensor q, const Extents& e) {
  const Initializer init = normal_init(1 / std::sqrt(static_cast<double>(e.keys)));
  const Tensor rows = scope.parameter("rel_height", {2 * e.height - 1, e.keys}, init);
  const Tensor columns = scope.parameter("rel_width", {2 * e.width - 1, e.keys}, init);
  const auto key_minus_query = Distance::column_minus_row;
  Tensor along_x = matmul_transposed(q, true, columns, true);
  along_x = reshape(along_x, {0, e.heads, e.height, e.width, 2 * e.width - 1});
  along_x = reshape(skew(along_x, key_minus_query), {0, e.heads, e.tokens, 1, e.width});
  Tensor along_y = matmul_transposed(q, true, rows, true);
  along_y = reshape(along_y, {0, e.heads, e.height, e.width, 2 * e.height - 1});
  along_y = skew(transpose(along_y, {0, 1, 3, 2, 4}), key_minus_query);  // [.., xi, yi, yj]
  along_y = reshape(transpose(along_y, {0, 1, 3, 2, 4}), {0, e.heads, e.tokens, e.height, 1});
  return reshape(along_x + along_y, {0, e.heads, e.tokens, e.tokens});
}

/// The context term with `LesaPositions::detection_qr`.
Tensor context_by_map(Scope scope, Tensor x, const Extents& e) {
  const auto [q, k, v] = project(scope, x, e);
  const Tensor qk = matmul_transposed(q, true, k, false);
  const Tensor attention = similarity(scope, {qk, map_distances(scope, q, e)}, e);
  Tensor y = matmul_transposed(v, false, attention, true);
  y = scope.batch_norm("bn_output", reshape(y, {0, e.channels, e.tokens}));
  return reshape(y, {0, e.channels, e.height, e.width});
}

Tensor local(Scope scope, Tensor x, const Extents& e) {
  const Scope transform = scope / "x_transform";
  x = transform.conv("0", x,
                     {.out = e.channels,
                      .kernel = 3,
                      .padding = 1,
                      .groups = e.heads,
                      .bias = false,
                      .init = he_fan_out(3, e.channels)});
  if (e.heads > 1) {  // groups alone would never exchange anything
    x = transform.conv("1", x,
                       {.out = e.channels, .bias = false, .init = he_fan_out(1, e.channels)});
  }
  return scope.batch_norm("bn_x", transform.output(x));
}

Tensor gate(Scope scope, Tensor z, const LesaOptions& options, const Extents& e) {
  const auto conv_bn = [&](Scope at, Tensor t, std::size_t entry, std::int64_t index,
                           std::int64_t out) {
    const std::int64_t kernel = options.kernel_size[entry];
    t = at.conv(std::to_string(index), t,
                {.out = out,
                 .kernel = kernel,
                 .padding = kernel / 2,
                 .groups = options.group[entry],
                 .bias = false,
                 .init = he_fan_out(kernel, out)});
    return at.batch_norm(std::to_string(index + 1), t);
  };
  const Scope reasoning = scope / "reasoning";
  z = (reasoning / 0).output(relu(z));
  std::int64_t index = 1;
  for (std::size_t t = 0; t < options.channel_shrink.size(); ++t, index += 3) {
    z = conv_bn(reasoning, z, t, index, z.channels() / options.channel_shrink[t]);
    z = (reasoning / (index + 2)).output(relu(z));
  }
  reasoning.output(z);
  const Scope projection = scope / "projection";
  return sigmoid(
      projection.output(conv_bn(projection, z, options.channel_shrink.size(), 0, e.channels)));
}

}  // namespace

Tensor lesa_layer(Scope scope, Tensor x, const LesaOptions& options) {
  const Extents e = extents_of(scope, x, options);
  const bool raster = options.positions == LesaPositions::classification;
  scope.order({"qkv_transform", "bn_qkv", raster ? "bn_similarity" : "bn_output",
               raster ? "bn_output" : "bn_similarity", "x_transform", "bn_x", "reasoning",
               "projection"});
  const Tensor context = raster ? context_by_raster(scope, x, e) : context_by_map(scope, x, e);
  const Tensor u = local(scope, x, e);
  Tensor y = u + gate(scope, concat({u, context}, 1), options, e) * context;
  if (options.stride > 1) y = avg_pool(y, {.kernel = options.stride, .stride = options.stride});
  return scope.output(y);
}

}  // namespace facet::zoo
