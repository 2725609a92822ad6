#include "passes/storage_forest.h"

#include <algorithm>
#include <utility>

#include "ir/layout.h"
#include "passes/prepared.h"

namespace facet {

StorageForest::StorageForest(const Graph& graph, std::span<Node* const> steps, const Target& target)
    : graph_(&graph), target_(&target) {
  last_step_ = std::max(0, static_cast<int>(steps.size()) - 1);
  for (std::size_t i = 0; i < steps.size(); ++i) steps_[steps[i]] = static_cast<int>(i);
  for (Node* input : graph.inputs()) add(input->result(), 0, graph.is_output(input->result()));
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps[i]->is("input")) continue;
    for (int r = 0; r < steps[i]->result_count(); ++r) {
      const Value value = steps[i]->result(r);
      if (state_behind(value) != nullptr) continue;  // it lies in the state
      add(value, static_cast<int>(i), graph.is_output(value));
    }
  }
}

void StorageForest::add(Value value, int first, bool is_output) {
  const int index = static_cast<int>(cells_.size());
  if (value.index == 0) first_cell_[value.node] = index;
  Cell cell;
  cell.value = value;
  cell.first = first;
  cell.last = is_output ? last_step_ : first;
  for (const auto& [result, use] : value.node->all_uses()) {
    if (result == value.index) cell.last = std::max(cell.last, step_of(use.node));
  }
  cell.pinned = is_output || value.node->is("input");
  cell.extents = static_extents(value.shape());
  cells_.push_back(std::move(cell));
  place(index);
}

int StorageForest::find(Value value) const {
  const auto found = first_cell_.find(value.node);
  return found == first_cell_.end() ? -1 : found->second + value.index;
}

int StorageForest::step_of(const Node* node) const {
  const auto found = steps_.find(node);
  return found == steps_.end() ? -1 : found->second;
}

int StorageForest::root(int index) const {
  while (cell(index).parent >= 0) index = cell(index).parent;
  return index;
}

std::vector<int> StorageForest::subtree(int index) const {
  std::vector<int> found = {index};
  for (std::size_t i = 0; i < found.size(); ++i) {
    const std::vector<int>& children = cell(found[i]).children;
    found.insert(found.end(), children.begin(), children.end());
  }
  return found;
}

void StorageForest::link_to(int child, int parent, const Link& link) {
  cell(child).parent = parent;
  cell(child).link = link;
  cell(parent).children.push_back(child);
}

void StorageForest::detach(int child) {
  Cell& cut = cell(child);
  std::erase(cell(cut.parent).children, child);
  cut.parent = -1;
  place(child);
}

bool StorageForest::make_root(int index) {
  std::vector<std::pair<int, Link>> path;  // from `index` upwards
  for (int i = index; cell(i).parent >= 0; i = cell(i).parent) {
    if (cell(i).link.kind == LinkKind::part) return false;
    path.emplace_back(i, cell(i).link);
  }
  // `rename` and `same` hold in both directions.
  std::vector<int> parents;
  for (const auto& [child, link] : path) parents.push_back(cell(child).parent);
  for (const auto& [child, link] : path) std::erase(cell(cell(child).parent).children, child);
  cell(index).parent = -1;
  for (std::size_t i = 0; i < path.size(); ++i) link_to(parents[i], path[i].first, path[i].second);
  place(index);
  return true;
}

bool StorageForest::attach(int child, int parent, const Link& link) {
  if (root(child) == root(parent) || !make_root(child)) return false;
  link_to(child, parent, link);
  if (place(child)) {
    const std::vector<int> moved = subtree(child);
    if (std::all_of(moved.begin(), moved.end(), [&](int i) { return placement_is_legal(i); })) {
      return true;
    }
  }
  detach(child);
  return false;
}

/// The parent's gaps in the strides of a value that is its bytes under another name; none where
/// they cannot be.
std::optional<std::vector<std::int64_t>> StorageForest::renamed_strides(const Cell& at) const {
  const Cell& parent = cell(at.parent);
  if (parent.strides.empty() || at.strides.empty()) return std::nullopt;
  auto strides = reshaped_strides(parent.value.shape(), parent.strides, at.value.shape());
  // Along extents of 1 as in a dense value: what lies behind them.
  for (std::size_t axis = at.extents.size(); strides && axis-- > 0;) {
    if (at.extents[axis] != 1) continue;
    const bool is_last = axis + 1 == at.extents.size();
    (*strides)[axis] = is_last ? 1 : (*strides)[axis + 1] * at.extents[axis + 1];
  }
  return strides;
}

/// Places the subtree from the parent's place downwards. False where a `rename` meets gaps that its
/// shape has no strides for.
bool StorageForest::place(int index) {
  Cell& at = cell(index);
  const bool own_space = at.parent < 0 || at.link.kind == LinkKind::rename;
  if (own_space) {
    at.space = index;
    at.start.assign(at.extents.size(), 0);
    at.strides = dense_strides(at.value.type());
    at.offset = at.parent < 0 ? 0 : cell(at.parent).offset;
    if (at.parent >= 0 && !is_dense(at.parent)) {
      auto strides = renamed_strides(at);
      if (!strides) return false;
      at.strides = std::move(*strides);
    }
  } else {
    const Cell& parent = cell(at.parent);
    at.space = parent.space;
    at.start = parent.start;
    at.strides = parent.strides;
    at.offset = parent.offset;
    if (at.link.kind == LinkKind::part) {
      at.start[at.link.axis] += at.link.start;
      at.offset += at.link.start * at.strides[at.link.axis] * size_of(at.value.dtype());
    }
  }
  return std::all_of(at.children.begin(), at.children.end(), [&](int c) { return place(c); });
}

bool StorageForest::is_dense(int index) const {
  const Cell& at = cell(index);
  return same_strides(at.extents, at.strides, dense_strides(at.value.type()));
}

bool StorageForest::placement_is_legal(int index) const {
  const Cell& at = cell(index);
  if (at.offset % target_->address_alignment() != 0) return false;
  if (is_dense(index)) return true;
  if (!at.is_view && !target_->writes_slices(*at.value.node, at.value.index)) return false;
  for (const auto& [result, use] : at.value.node->all_uses()) {
    if (result == at.value.index && !reader_is_legal(index, use)) return false;
  }
  return true;
}

bool StorageForest::reader_is_legal(int index, const Use& use) const {
  if (step_of(use.node) < 0) return true;
  if (use.node == cell(index).slot_of) return true;  // the concat finds it in its place
  // A view was placed with its operand; `place` has refused those that cannot have gaps.
  const int made = find(use.node->result());
  if (made >= 0 && cell(made).is_view) return true;
  return target_->reads_slices(*use.node, use.operand);
}

std::int64_t StorageForest::bytes(int index) const { return byte_size(cell(index).value.type()); }

bool StorageForest::overlap(int a, int b) const {
  const Cell& x = cell(a);
  const Cell& y = cell(b);
  if (x.space == y.space && !x.strides.empty()) {
    for (std::size_t axis = 0; axis < x.extents.size(); ++axis) {
      if (x.start[axis] + x.extents[axis] <= y.start[axis]) return false;
      if (y.start[axis] + y.extents[axis] <= x.start[axis]) return false;
    }
    return true;
  }
  const auto end = [&](int index) {
    const Cell& at = cell(index);
    if (at.strides.empty()) return at.offset + bytes(index);
    std::int64_t last = 0;
    for (std::size_t axis = 0; axis < at.extents.size(); ++axis) {
      last += (at.extents[axis] - 1) * at.strides[axis];
    }
    return at.offset + (last + 1) * size_of(at.value.dtype());
  };
  return x.offset < end(b) && y.offset < end(a);
}

}  // namespace facet
