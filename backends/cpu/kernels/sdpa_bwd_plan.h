#pragma once

#include <string>
#include <vector>

#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/sdpa_loops.h"
#include "backends/cpu/kernels/sdpa_plan.h"
#include "ir/sdpa.h"

namespace facet::cpu {

/// Where the parts of the scratch of sdpa_bwd lie, in floats. Tables are read by all threads, a
/// group is written by one, and behind the groups each thread has its own part.
struct SdpaBwdScratch {
  // Tables. Those by distance of query minus key run backwards where they are turned, as in
  // SdpaPlan.
  std::int64_t factors = 0;        ///< scale * score_scale, [3, heads]
  std::int64_t places_turned = 0;  ///< of the query, [d, places_row]
  std::int64_t places = 0;         ///< the same, [places_row, depth_row]
  std::int64_t key = 0;            ///< behind kPanel - 1 rows of zeros, [key_rows, d]
  std::int64_t key_turned = 0;     ///< [d, key_row]
  std::int64_t value_turned = 0;   ///< [dv, value_row]
  std::int64_t tables = 0;         ///< end of the tables
  // From the beginning of a group: gradients of tables, in the order of the turned tables.
  std::int64_t of_places = 0;  ///< [d, places_row]
  std::int64_t of_key = 0;     ///< [key_rows, depth_row]
  std::int64_t of_value = 0;   ///< [dv, value_row]
  std::int64_t group = 0;      ///< end of the group
  std::int64_t scales = 0;     ///< behind the groups: gradients of score_scale, [images * heads, 3]
  std::int64_t threads = 0;    ///< where the threads' parts begin
  // From the beginning of a thread's part.
  std::int64_t keys = 0, keys_turned = 0, values_turned = 0;   ///< of the head
  std::int64_t of_keys = 0, of_key_places = 0, of_values = 0;  ///< turned: [d or dv, keys_row]
  std::int64_t scaled_keys = 0;  ///< [padded_keys, depth_row], by the factor of key places
  std::int64_t queries = 0, queries_turned = 0;        ///< of the block
  std::int64_t cotangents = 0, cotangents_turned = 0;  ///< of content, then of places
  std::int64_t weights = 0, of_scores = 0;  ///< of the block, zeros between rows: see SdpaPlan
  std::int64_t mask = 0;                    ///< 0 where the clamp cuts
  std::int64_t sums = 0;                    ///< products of queries, or cotangents, and places
  std::int64_t spread = 0;                  ///< the same for every key of a map
  std::int64_t key_sums = 0;                ///< products of keys and their places, panel by panel
  std::int64_t diagonals = 0;               ///< a panel of scores' cotangents by distance
  std::int64_t bias = 0;
  std::int64_t of_queries = 0;  ///< of the block, twice: content and places
  std::int64_t product = 0;     ///< on its way to a sum
  std::int64_t thread = 0;      ///< end of the part
};

/// One sdpa_bwd for fixed views, all products in f32.
///
/// Images' heads are divided among groups, whose number does not depend on that of the threads: a
/// group adds up its heads' gradients of the tables, and the groups' are added in their order, so
/// that threads change no bit. A head is worked on in blocks of queries, as in SdpaPlan: scores and
/// weights are made again, then their cotangents, and both are multiplied while they are near.
struct SdpaBwdPlan {
  SdpaBwd bwd;
  const SdpaLoops* loops = nullptr;
  std::int64_t images = 0;
  std::int64_t threads = 1;  ///< the scratch has room for
  std::int64_t groups = 1;
  SdpaTokens dy, q, k, v;
  std::int64_t between_parts = 0;          ///< elements, of an interleaved dy
  std::vector<SdpaTokens> results;         ///< of q, k, v
  std::vector<Ints> unread;                ///< channels of each result that no head reads
  std::vector<SdpaExtra> extras;           ///< by operand number of the sdpa - 3
  std::vector<SdpaExtra> extra_results;    ///< by result number - that of the value - 1
  std::vector<std::int64_t> bias_strides;  ///< over [N, heads, queries, keys]

  std::int64_t blocks = 0;  ///< of a head
  std::int64_t padded_keys = 0, keys_row = 0, scores_row = 0, sums_row = 0;
  std::int64_t depth_row = 0;  ///< channels of a query, to whole panels
  std::int64_t places_row = 0, rows_columns = 0, key_rows = 0, key_row = 0, value_row = 0;
  std::int64_t product_row = 0, key_sums_panel = 0;
  SdpaBwdScratch at;

  std::string implementation() const { return std::string("sdpa_bwd:") + loops->name; }
  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(4 * (at.threads + threads * at.thread));
  }
  void run(const Addresses& addresses) const;
  const SdpaExtra& extra(int operand) const {
    return extras[static_cast<std::size_t>(operand - 3)];
  }
};

/// Thread `part` of `parts` fills its share of the tables.
void pack_sdpa_bwd_tables(const SdpaBwdPlan& plan, const Addresses& addresses, std::int64_t part,
                          std::int64_t parts);
/// Groups begin..end with the part of the scratch of `thread`.
void run_sdpa_bwd_groups(const SdpaBwdPlan& plan, const Addresses& addresses, std::int64_t thread,
                         std::int64_t begin, std::int64_t end);
/// Adds up the groups' gradients of tables and scales; thread `part` of `parts` writes its share.
void add_sdpa_bwd_groups(const SdpaBwdPlan& plan, const Addresses& addresses, std::int64_t part,
                         std::int64_t parts);

/// lower_sdpa_bwd with the loops of one instruction set, which must run here.
std::unique_ptr<Kernel> lower_sdpa_bwd(const Node& node, std::span<const View> operands,
                                       std::span<const View> results, const SdpaLoops& loops);

}  // namespace facet::cpu
