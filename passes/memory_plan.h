#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "passes/target.h"

/// The static memory plan of one program: where every value lives in one arena. Planning has two
/// halves, because scratch sizes are only known after lowering and lowering needs strides:
/// `assign_storage` decides which values share a buffer (views, in place, concat slices), then the
/// backend lowers the nodes, then `place_buffers` gives the buffers (scratch included) offsets.
namespace facet {

/// Where a value lies: an offset into a buffer, and element strides along its logical axes (empty
/// for a blocked layout). Strides differ from dense ones for a slice of a wider buffer that has
/// gaps; a slice without gaps has dense strides.
struct Placement {
  int buffer = -1;
  std::int64_t offset = 0;  ///< bytes from the buffer's start; 0, or a multiple of the element size
  std::vector<std::int64_t> strides;
};

/// Bytes that are live from step `first` to step `last`, both included.
struct Buffer {
  std::int64_t bytes = 0;
  int first = 0;
  int last = 0;
  std::string name;         ///< scope of the value it was made for, for reports
  std::int64_t offset = -1;  ///< in the arena, set by `place_buffers`
};

struct StorageOptions {
  bool views = true;          ///< reshape, slice and idle reorder results are the operand's bytes
  bool in_place = true;       ///< elementwise results overwrite a dying operand
  bool concat_slices = true;  ///< producers write into their slice of the concat
};

struct Storage {
  std::map<Value, Placement> placements;  ///< one per value of the steps, inputs and outputs included
  std::vector<Buffer> buffers;
  /// Steps that move nothing: views, and concats whose operands all lie in their slices. Of any other
  /// concat those operands are copied whose address is not that of their slice.
  std::set<const Node*> free_steps;
  int concat_slices = 0;  ///< concat operands that are written in place
  int concat_copies = 0;  ///< concat operands that have to be copied
};

/// `steps` are the nodes that run, in order; step i is steps[i]. Values that steps read and none of
/// them makes (parameters, prepared weights) are not placed. Graph inputs are live from step 0 and
/// graph outputs to the last step; neither is overwritten or shared. A concat whose operands all lie
/// in their slices, and a reshape that is a view, still count as steps (which copy nothing). The
/// target is only asked about slices with gaps. Throws Error(usage) for a shape with symbols.
Storage assign_storage(const Graph& graph, std::span<Node* const> steps, const Target& target,
                       const StorageOptions& options = {});

/// Sizes count every buffer rounded up to 64 bytes.
struct ArenaPlan {
  std::int64_t bytes = 0;        ///< the arena's size: the peak
  std::int64_t lower_bound = 0;  ///< most bytes live at any one step: no arena can be smaller
  std::string strategy;          ///< which placement order won
};
/// Sets the buffers' offsets (64-byte aligned) so that no two that live at once overlap. Tries best
/// and first fit in the order of size, of crowded steps, of size x life and of time, improves the
/// best locally, and keeps the smallest arena. Deterministic. Throws Error(failure) for a buffer that
/// ends before it begins.
ArenaPlan place_buffers(std::vector<Buffer>& buffers);

/// Re-derives from the graph alone that the plan is sound: at every step each operand still holds
/// what its producer wrote, no result overwrites a value that is read later or in the same step
/// (unless in place is legal), slices do not overlap, each access falls into its buffer's life, and
/// everything lies inside the arena. Buffers that no value lies in are scratch, which the steps of
/// their life overwrite. Independent of the planner: it simulates the steps over byte ranges. Throws
/// Error(failure) that names the two values, the step and the byte ranges.
void check_memory_plan(const Graph& graph, std::span<Node* const> steps, const Storage& storage,
                       std::int64_t arena_bytes);

}  // namespace facet
