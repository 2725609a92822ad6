#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace facet {

/// Layouts a compute node wants: one per operand and per result.
struct LayoutChoice {
  std::vector<Layout> operands;
  std::vector<Layout> results;
};

/// What passes ask of the device that will run the graph. Immutable; safe from several threads.
class Target {
 public:
  virtual ~Target() = default;

  /// "reference", "cpu".
  virtual std::string_view name() const = 0;
  /// Whether the node runs as it is; otherwise it is decomposed.
  virtual bool supports(const Node& node) const = 0;
  /// Whether products of this dtype run. Where they do not, a node that reads it and does not run
  /// is computed in f32, between casts: the dtype is one to store in.
  virtual bool multiplies(DType) const { return true; }
  /// Whether `entry` ("relu", "add", ...) may be appended to the epilogue of the compute node;
  /// `extra` is the type of the operand the entry reads, null for one that reads none.
  virtual bool accepts_epilogue(const Node& node, std::string_view entry,
                                const Type* extra) const = 0;
  /// Layouts for a node of role `compute` with static shapes.
  virtual LayoutChoice choose_layouts(const Node& node) const = 0;
  /// An unblocked layout in which state of this type lies between runs: by the type alone, as all
  /// programs that share the state must agree on it.
  virtual Layout state_layout(const Type& /*type*/) const { return {}; }
  /// Whether the node can write result `index` (read operand `index`) as a slice of a wider buffer:
  /// same layout, but with gaps between the rows of the sliced axis.
  virtual bool writes_slices(const Node& node, int index) const = 0;
  virtual bool reads_slices(const Node& node, int index) const = 0;
  /// Bytes; operands and results begin at multiples of it. At most 64.
  virtual std::int64_t address_alignment() const { return 1; }
};

}  // namespace facet
