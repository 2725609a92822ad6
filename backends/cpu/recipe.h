#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/cpu/descriptors.h"
#include "backends/cpu/primitive_cache.h"
#include "ir/epilogue.h"
#include "ir/graph.h"

/// How compute nodes become oneDNN primitives: a Request says what is to be computed on which
/// views, a Recipe says it in oneDNN's words.
namespace facet::cpu {

/// A compute node (conv, linear, matmul), or one that a pass thinks about.
struct Request {
  const Node* node = nullptr;  ///< kind, attributes, and where it came from
  std::vector<EpilogueEntry> epilogue;
  std::vector<View> operands;
  View result;
};

/// The node as it stands: dense views in its types' layouts. A symbolic extent counts as two, the
/// smallest number whose implementations are those of larger ones.
Request request_of(const Node& node);
/// The type with every symbolic extent as `request_of` counts it.
Type with_static_batch(Type type);
Request request_of(const Node& node, std::span<const View> operands, const View& result);

/// One memory argument of a primitive.
struct Argument {
  int arg = 0;  ///< DNNL_ARG_...
  bool is_result = false;
  std::size_t index = 0;  ///< operand or result of the node
  Descriptor given;       ///< as it lies in memory, with the primitive's axes
  Descriptor wanted;      ///< what to ask for when the choice is oneDNN's: often format `any`
};

struct Recipe {
  std::string key;  ///< primitive and attributes, without the arguments' descriptors
  std::vector<Argument> arguments;
  /// Descriptors in the arguments' order. Throws dnnl::error.
  std::function<PrimitiveDesc(const dnnl::engine& engine, std::span<const Descriptor>)> make;
};

/// Recipes throw Error(failure) with the bare reason when the dtypes or layouts cannot be
/// described.
Recipe convolution_recipe(const TagTable& tags, const Request& request);
/// A conv whose window is one pixel as a product [N*H*W, C] x [C, O]: unlike oneDNN's convolutions
/// it reads and writes slices of wider NHWC buffers. Null for other convs and for views that are
/// not rows of channels.
std::optional<Recipe> pointwise_recipe(const TagTable& tags, const Request& request);
Recipe linear_recipe(const TagTable& tags, const Request& request);
Recipe matmul_recipe(const TagTable& tags, const Request& request);

/// Weights of a product, [in, out] to oneDNN, as the IR's linear [out, in] or conv [O, C, 1, 1]
/// weights. The bytes are the same.
Descriptor product_weights_to_node(const Descriptor& weights, std::size_t node_rank);

/// Weights of a conv with the primitive's axes, five of them when there are groups. Throws
/// Error(failure) with the bare reason.
Descriptor describe_weights(const TagTable& tags, const View& view, std::int64_t groups);

bool is_pointwise(const Node& node);

/// The type in which x and weight meet: bf16 when both are, else f32.
dnnl::memory::data_type compute_type(const Request& request);

/// The epilogue as post-ops.
class Epilogue {
 public:
  /// Descriptors of an extra operand that is as large as the result or broadcasts onto it:
  /// {given, wanted}.
  using Describe = std::function<std::pair<Descriptor, Descriptor>(const View& view)>;

  /// Appends the entries' arguments to `recipe`. A bias in front becomes the primitive's own, with
  /// extents `bias_extents`; per-channel operands get one extent per axis of the primitive's
  /// result.
  Epilogue(const Request& request, Recipe& recipe, std::size_t rank, std::size_t channel_axis,
           const Extents& bias_extents, const Describe& describe_extra);

  /// Attributes with these descriptors (the recipe's arguments, in order) and a scratchpad the
  /// caller gives.
  dnnl::primitive_attr attributes(std::span<const Descriptor> arguments) const;
  /// The bias argument's descriptor, or an empty one.
  Descriptor bias(std::span<const Descriptor> arguments) const;

 private:
  struct Step {
    std::string entry;
    int argument = -1;  ///< among the recipe's
    int mask = 0;
  };
  std::vector<Step> steps_;
  int bias_ = -1;
};

}  // namespace facet::cpu
