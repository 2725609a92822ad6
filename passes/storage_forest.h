#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "passes/memory_plan.h"

/// The data structure under `assign_storage`: a forest whose nodes are values and whose trees are
/// buffers. A root is dense in its buffer; every other value lies inside its parent.
namespace facet {

/// How a value lies in its parent.
enum class LinkKind {
  part,    ///< a range along one axis: a concat's operand in the result, a slice in its source
  rename,  ///< the same elements in the same places under another shape or layout
  same     ///< the same bytes under the same type: in place
};

struct Link {
  LinkKind kind = LinkKind::same;
  std::size_t axis = 0;    ///< of a part
  std::int64_t start = 0;  ///< of a part, along the axis
};

/// One value. Live from step `first`, where it is made, to step `last`, where it is last read.
struct Cell {
  Value value;
  int first = 0;
  int last = 0;
  bool pinned = false;  ///< a graph input or output: shares its buffer with nothing
  std::vector<std::int64_t> extents;

  int parent = -1;
  Link link;
  std::vector<int> children;
  const Node* slot_of = nullptr;  ///< the concat whose result it is written into
  bool is_view = false;           ///< its node moves nothing: it is bytes of its operand

  // Where it lies, by `StorageForest::place`. Boxes of one space can be compared exactly: `start`
  // counts elements along the axes of the space's own value.
  int space = -1;
  std::vector<std::int64_t> start;
  std::int64_t offset = 0;
  std::vector<std::int64_t> strides;
};

class StorageForest {
 public:
  /// A tree for every result of the steps and every graph input. Throws Error(usage) for a symbolic
  /// shape.
  StorageForest(const Graph& graph, std::span<Node* const> steps, const Target& target);

  /// Index of the value's cell, -1 for a value that is not planned (parameters).
  int find(Value value) const;
  Cell& cell(int index) { return cells_[static_cast<std::size_t>(index)]; }
  const Cell& cell(int index) const { return cells_[static_cast<std::size_t>(index)]; }
  std::size_t size() const { return cells_.size(); }
  /// The step at which the node runs, -1 if it does not.
  int step_of(const Node* node) const;

  int root(int index) const;
  /// All cells of the subtree.
  std::vector<int> subtree(int index) const;
  /// Makes the cell its tree's root, if it covers all of it.
  bool make_root(int index);
  /// Hangs the tree of `child` into `parent`, if the child covers its whole tree and every kernel
  /// that then has to read or write with gaps can do so. Otherwise changes nothing.
  bool attach(int child, int parent, const Link& link);
  /// Undoes an `attach`.
  void detach(int child);

  bool is_dense(int index) const;
  /// Whether two cells of one tree have bytes in common; never false when they do.
  bool overlap(int a, int b) const;
  std::int64_t bytes(int index) const;

 private:
  void add(Value value, int first, bool is_output);
  void link_to(int child, int parent, const Link& link);
  std::optional<std::vector<std::int64_t>> renamed_strides(const Cell& at) const;
  bool place(int index);
  bool placement_is_legal(int index) const;
  bool reader_is_legal(int index, const Use& use) const;

  const Graph* graph_;
  const Target* target_;
  int last_step_ = 0;
  std::vector<Cell> cells_;
  std::unordered_map<const Node*, int> steps_;
  std::unordered_map<const Node*, int> first_cell_;  ///< of the node's result 0; the others follow
};

}  // namespace facet
