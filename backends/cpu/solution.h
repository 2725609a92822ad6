#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/cpu/compute.h"
#include "backends/cpu/primitive_kernel.h"
#include "backends/cpu/recipe.h"
#include "ir/error.h"

/// From a recipe to a primitive on given or wished-for layouts, and to a kernel.
namespace facet::cpu {

/// A primitive and the descriptors it reads and writes, in the recipe's order.
struct Solution {
  PrimitiveDesc primitive;
  std::vector<Descriptor> descriptors;
};

/// On the values as they lie. Null when dtypes would have to change.
std::optional<Solution> solve_as_given(Device& device, const Recipe& recipe);
/// In the layouts oneDNN prefers.
std::optional<Solution> solve_as_wanted(Device& device, const Recipe& recipe);
bool solves_fast(const std::optional<Solution>& solution);

/// Appends a copy between two descriptors of the same extents. Throws Error(failure) with the bare
/// reason.
void append_copy(Device& device, PrimitiveKernel& kernel, const Place& from,
                 const Descriptor& source, const Place& to, const Descriptor& target);

/// The primitive with copies around it for arguments that do not lie as it needs them.
std::unique_ptr<PrimitiveKernel> build_kernel(Device& device, const Recipe& recipe,
                                              const Solution& solution);

/// What the node's errors say of where they happened.
std::string lowering_context(const Node& node);
Error onednn_failure(const dnnl::error& error);

/// What `function` returns; its errors, oneDNN's too, become Error(failure) that names the node.
template <class Function>
auto at_node(const Node& node, const Function& function) -> decltype(function()) {
  try {
    return function();
  } catch (Error& error) {
    error.add_context(lowering_context(node));
    throw;
  } catch (const dnnl::error& error) {
    throw onednn_failure(error).add_context(lowering_context(node));
  }
}

}  // namespace facet::cpu
