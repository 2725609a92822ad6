#include <algorithm>
#include <set>
#include <string>

#include "ir/layout.h"
#include "ir/op.h"
#include "passes/storage_forest.h"

// Decides which values share a buffer, in three rounds over the steps.
//
//   concats   %3 = concat(%1, %2)    %1 and %2 are written where %3 has them. Concats of concats
//   end
//                                    up in one buffer.
//   views     %2 = reshape(%1), slice(%1), reorder(%1) that moves nothing: %2 is bytes of %1.
//   in place  %2 = relu(%1), %1 not read later: %2 overwrites %1. Several results of a step overwrite
//             an operand each.
//
// After the first two rounds every byte of a buffer is written once, so no value can spoil another;
// the third checks each pair of values whose bytes it lets coincide.
//
// Refused: graph inputs and outputs share with nothing; a value lies in one concat only, and once;
// blocked layouts have no slices; a kernel that would meet gaps it cannot read or write.

namespace facet {
namespace {

std::size_t axis_of(const Node& node) {
  const std::int64_t axis = node.attributes().integer("axis");
  return static_cast<std::size_t>(axis < 0 ? axis + node.operand(0).type().rank() : axis);
}

bool read_once(const Node& node, Value value) {
  return std::count(node.operands().begin(), node.operands().end(), value) == 1;
}

class StoragePlanner {
 public:
  StoragePlanner(const Graph& graph, std::span<Node* const> steps, const Target& target,
                 const StorageOptions& options)
      : steps_(steps), options_(options), forest_(graph, steps, target) {}

  Storage plan();

 private:
  void place_in_concat(Node& concat);
  void make_view(Node& node);
  bool attach_view(int view, int source, const Node& node);
  void reuse_operands(Node& node);
  bool overwrite(const Node& node, int result, int operand);
  bool attach_in_place(const Node& node, int child, int parent, int result, int operand);
  bool lengthens_larger(int child, int parent) const;
  bool overwrites_live_bytes(const Node& node, int result, const std::vector<int>& older,
                             const std::vector<int>& newer) const;
  void count_moves(Node* node, Storage& storage) const;
  Storage collect() const;

  std::span<Node* const> steps_;
  StorageOptions options_;
  StorageForest forest_;
};

/// Operands of the concat that can be written where its result has them are.
void StoragePlanner::place_in_concat(Node& concat) {
  const int result = forest_.find(concat.result());
  const Type& type = concat.result().type();
  if (forest_.cell(result).pinned || is_blocked(type.layout)) return;
  const std::size_t axis = axis_of(concat);
  std::int64_t start = 0;
  for (const Value& operand : concat.operands()) {
    const std::int64_t begin = start;
    start += operand.shape()[axis].factor;
    const int index = forest_.find(operand);
    if (index < 0 || forest_.cell(index).pinned || forest_.cell(index).slot_of != nullptr) continue;
    if (operand.type().layout != type.layout || !read_once(concat, operand)) continue;
    // Set first: the concat then does not count as a reader that meets gaps.
    forest_.cell(index).slot_of = &concat;
    if (!forest_.attach(index, result, {LinkKind::part, axis, begin})) {
      forest_.cell(index).slot_of = nullptr;
    }
  }
}

/// Whether the dense bytes of operand and result are the same.
bool keeps_bytes(const Node& node) {
  const bool is_reshape = node.op().aliasing == Aliasing::view;
  if (!is_reshape && !node.is("reorder")) return false;
  const Type& from = node.operand(0).type();
  const Type& to = node.result_types()[0];
  if (from.dtype != to.dtype) return false;
  if (is_blocked(from.layout) || is_blocked(to.layout)) return from == to;
  const auto strides = reshaped_strides(from.shape, dense_strides(from), to.shape);
  return strides && same_strides(static_extents(to.shape), *strides, dense_strides(to));
}

bool StoragePlanner::attach_view(int view, int source, const Node& node) {
  if (!node.is("slice")) {
    // The other direction serves a view that lies in a concat: its source is then written there.
    return forest_.attach(view, source, {LinkKind::rename, 0, 0}) ||
           forest_.attach(source, view, {LinkKind::rename, 0, 0});
  }
  const std::int64_t start = node.attributes().integer("start");
  return forest_.attach(view, source, {LinkKind::part, axis_of(node), start});
}

void StoragePlanner::make_view(Node& node) {
  const Type& type = node.result_types()[0];
  const bool is_slice = node.is("slice");
  if (!is_slice && !keeps_bytes(node)) return;
  const int view = forest_.find(node.result());
  const int source = forest_.find(node.operand(0));
  if (source < 0 || forest_.cell(view).pinned || forest_.cell(source).pinned) return;
  if (is_slice && (is_blocked(type.layout) || type.layout != node.operand(0).type().layout)) return;
  forest_.cell(view).is_view = true;
  if (!attach_view(view, source, node)) forest_.cell(view).is_view = false;
}

void StoragePlanner::reuse_operands(Node& node) {
  std::set<int> placed;  // results
  std::set<Value> overwritten;
  for (const Overwrite& pair : overwrites_of(node)) {
    const Value made = node.result(pair.result), operand = node.operand(pair.operand);
    if (placed.contains(pair.result) || overwritten.contains(operand)) continue;
    const int result = forest_.find(made), index = forest_.find(operand);
    if (index < 0 || forest_.cell(index).pinned || forest_.cell(result).pinned) continue;
    if (operand.type() != made.type()) continue;
    if (forest_.cell(index).last > forest_.cell(result).first) continue;
    if (!overwrite(node, result, index)) continue;
    placed.insert(pair.result);
    overwritten.insert(operand);
  }
}

/// Either tree may be the one that is hung into the other: the result's into a slice that the
/// operand leaves, or the operand's into the slice that the result has in a concat.
bool StoragePlanner::overwrite(const Node& node, int result, int operand) {
  if (forest_.root(result) == forest_.root(operand)) return false;
  return attach_in_place(node, result, operand, result, operand) ||
         attach_in_place(node, operand, result, result, operand);
}

bool StoragePlanner::attach_in_place(const Node& node, int child, int parent, int result,
                                     int operand) {
  if (lengthens_larger(child, parent)) return false;
  const std::vector<int> older = forest_.subtree(forest_.root(operand));
  const std::vector<int> newer = forest_.subtree(forest_.root(result));
  if (!forest_.attach(child, parent, {LinkKind::same, 0, 0})) return false;
  if (!overwrites_live_bytes(node, result, older, newer)) return true;
  forest_.detach(child);
  return false;
}

/// Whether hanging the child's tree in would keep a larger buffer alive for longer: that costs more
/// than the child's own buffer would.
bool StoragePlanner::lengthens_larger(int child, int parent) const {
  if (forest_.bytes(forest_.root(parent)) <= forest_.bytes(child)) return false;
  const auto range = [&](int index) {
    std::pair<int, int> steps(forest_.cell(index).first, forest_.cell(index).last);
    for (const int i : forest_.subtree(forest_.root(index))) {
      steps.first = std::min(steps.first, forest_.cell(i).first);
      steps.second = std::max(steps.second, forest_.cell(i).last);
    }
    return steps;
  };
  const auto [child_first, child_last] = range(child);
  const auto [first, last] = range(parent);
  return child_first < first || child_last > last;
}

/// `older` lie in the operand's tree, `newer` in the result's. Where they share bytes the older
/// must have been read for the last time when the newer are first written, at this step; and what
/// the step itself reads must lie element for element where it writes.
bool StoragePlanner::overwrites_live_bytes(const Node& node, int result,
                                           const std::vector<int>& older,
                                           const std::vector<int>& newer) const {
  const Cell& made = forest_.cell(result);
  for (const int i : older) {
    const Cell& old = forest_.cell(i);
    for (const int j : newer) {
      if (!forest_.overlap(i, j)) continue;
      if (old.last > made.first || forest_.cell(j).first < made.first) return true;
      const bool read_here = std::count(node.operands().begin(), node.operands().end(), old.value);
      const bool in_step = old.offset == made.offset && old.strides == made.strides &&
                           old.value.type() == made.value.type();
      if (read_here && !in_step) return true;
    }
  }
  return false;
}

std::string label(const Value& value) {
  const std::string& scope = value.node->provenance().scope;
  if (!scope.empty()) return scope;
  return value.node->is("input") ? value.node->attributes().text("name")
                                 : std::string(value.node->kind());
}

void StoragePlanner::count_moves(Node* node, Storage& storage) const {
  if (!node->is("concat")) {
    const int index = forest_.find(node->result());
    if (index >= 0 && forest_.cell(index).is_view) storage.free_steps.insert(node);
    return;
  }
  int copies = 0;
  for (const Value& operand : node->operands()) {
    const int index = forest_.find(operand);
    const bool in_slice = index >= 0 && forest_.cell(index).slot_of == node;
    copies += in_slice ? 0 : 1;
  }
  storage.concat_copies += copies;
  storage.concat_slices += node->operand_count() - copies;
  if (copies == 0) storage.free_steps.insert(node);
}

Storage StoragePlanner::collect() const {
  Storage storage;
  std::vector<int> buffer_of(forest_.size(), -1);
  for (std::size_t i = 0; i < forest_.size(); ++i) {
    const Cell& cell = forest_.cell(static_cast<int>(i));
    const int root = forest_.root(static_cast<int>(i));
    int& buffer = buffer_of[static_cast<std::size_t>(root)];
    if (buffer < 0) {
      buffer = static_cast<int>(storage.buffers.size());
      storage.buffers.push_back(
          {forest_.bytes(root), cell.first, cell.last, label(forest_.cell(root).value), -1});
    }
    Buffer& bytes = storage.buffers[static_cast<std::size_t>(buffer)];
    bytes.first = std::min(bytes.first, cell.first);
    bytes.last = std::max(bytes.last, cell.last);
    // A slice without gaps is dense: kernels shall see it as such.
    const bool dense = forest_.is_dense(static_cast<int>(i));
    storage.placements[cell.value] = {buffer, cell.offset,
                                      dense ? dense_strides(cell.value.type()) : cell.strides};
  }
  for (Node* node : steps_) count_moves(node, storage);
  return storage;
}

Storage StoragePlanner::plan() {
  if (options_.concat_slices) {
    // From the last: a concat that lies in another then passes its place on to its own operands.
    for (auto node = steps_.rbegin(); node != steps_.rend(); ++node) {
      if ((*node)->is("concat")) place_in_concat(**node);
    }
  }
  if (options_.views) {
    for (Node* node : steps_) make_view(*node);
  }
  if (options_.in_place) {
    for (Node* node : steps_) reuse_operands(*node);
  }
  return collect();
}

}  // namespace

Storage assign_storage(const Graph& graph, std::span<Node* const> steps, const Target& target,
                       const StorageOptions& options) {
  return StoragePlanner(graph, steps, target, options).plan();
}

}  // namespace facet
