#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace facet {

/// One step that a conv or linear applies to its accumulators, in f32, before it stores them.
/// Entries: "bias", "add", "mul", "prelu" read the next extra operand; "relu", "sigmoid" none.
struct EpilogueEntry {
  std::string name;
  int operand = -1;  ///< index among the node's operands, -1 for none
};

/// Operands before the epilogue's: x and weight.
inline constexpr int kEpilogueStart = 2;

bool epilogue_reads_operand(std::string_view entry);
bool is_epilogue_entry(std::string_view entry);
/// The entries of a conv or linear with their operands.
std::vector<EpilogueEntry> epilogue_of(const Node& node);

}  // namespace facet
