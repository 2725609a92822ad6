#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace facet {

/// A sum over the parts of a concat, with a batch norm or without: see split_term_sums.cpp.
struct TermSum {
  Node* sum = nullptr;
  Node* concat = nullptr;
  Node* norm = nullptr;       // null without a batch norm
  std::vector<Node*> chain;   // from the sum up to the concat, both included
  std::int64_t part = 0;      // elements of a part that lie together
  std::int64_t channels = 0;  // of the norm that a part lies in, side by side
  std::int64_t blocks = 1;    // of channels, each of which holds some of every part
};

/// What `sum` adds up, if it is a reduce_sum over one axis with only reshapes and a batch norm of
/// kind `norm` between it and a concat.
std::optional<TermSum> match_term_sum(const Graph& graph, Node* sum, std::string_view norm);
/// Why the sum does not split; empty if it does. Sets `part`, `channels` and `blocks`.
std::string term_sum_refusal(TermSum& found);

}  // namespace facet
