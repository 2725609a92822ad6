#pragma once

#include <string>
#include <vector>

#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/sdpa_factors.h"
#include "backends/cpu/kernels/sdpa_loops.h"
#include "backends/cpu/kernels/sdpa_plan.h"
#include "ir/sdpa.h"

namespace facet::cpu {

/// Columns of a sum by distance that are multiplied at once; so many zeros stand ahead of each row
/// of weights and behind the last: a strip may lie half outside of the keys.
inline constexpr std::int64_t kStrip = 2 * kPanel;

/// A matrix [queries, columns] of which the rows of a section are kept, each `row` elements behind
/// the one before, zeros between them. In f32 all forms are one.
struct SdpaKept {
  std::int64_t row = 0;
  std::int64_t block = 0;  ///< f32 rows of a block
  std::int64_t left = -1;  ///< these as a left factor; -1: not kept
  std::int64_t right = 0;  ///< the section as a right factor: pair [p][j] is [2p][j], [2p + 1][j]
  std::int64_t shifted = -1;  ///< the same by distance: [2p][j], [2p + 1][j + 1]
};

/// Where the parts of the scratch of sdpa_bwd lie, in 4-byte words. Tables are read by all threads,
/// a group is written by one, and behind the groups each thread has its own part. Factors: see
/// SdpaFactors.
struct SdpaBwdScratch {
  // Tables. Those of query and value run backwards, as in SdpaPlan.
  std::int64_t factors = 0;        ///< scale * score_scale, f32 [3, heads]
  std::int64_t places_turned = 0;  ///< of the query: right factor [d][places_row]
  std::int64_t places = 0;         ///< the same, right factor [places_row][depth_row]
  std::int64_t key = 0;            ///< behind kPanel - 1 rows of zeros: left factor [key_row][d]
  std::int64_t key_places = 0;     ///< without these: right factor [key_row][depth_row]
  std::int64_t value_turned = 0;   ///< right factor [dv][value_row]
  std::int64_t tables = 0;         ///< end of the tables
  // From the beginning of a group: gradients of tables, f32, in the order of the tables.
  std::int64_t of_places = 0;  ///< [d, places_row]
  std::int64_t of_key = 0;     ///< [d, key_row]
  std::int64_t of_value = 0;   ///< [dv, value_row]
  std::int64_t group = 0;      ///< end of the group
  std::int64_t scales = 0;     ///< behind the groups: gradients of score_scale, [images * heads, 3]
  std::int64_t threads = 0;    ///< where the threads' parts begin
  // From the beginning of a thread's part. Of the head:
  std::int64_t keys = 0;           ///< right factor [keys][depth_row]
  std::int64_t keys_turned = 0;    ///< right factor [d][keys_row]
  std::int64_t keys_left = 0;      ///< left factor [d][keys]
  std::int64_t values_turned = 0;  ///< right factor [dv][keys_row]
  std::int64_t of_keys = 0;        ///< f32 [d, keys_row]
  std::int64_t of_key_places = 0;  ///< f32 [keys, depth_row]
  std::int64_t of_values = 0;      ///< f32 [dv, keys_row]
  // Of the section:
  SdpaKept weights, of_scores;
  SdpaKept map_sums;  ///< of_scores added up by lines and columns of a map
  std::int64_t turned = 0,
               turned_shifted = 0;   ///< of_scores by key: left factor, right by distance
  std::int64_t queries_left = 0;     ///< left factor [d][section]
  std::int64_t cotangents_left = 0;  ///< left factors [dv][section], of content, then of places
  // Of the block:
  std::int64_t queries = 0;       ///< f32 [rows, d]
  std::int64_t queries_rows = 0;  ///< the same as a left factor
  std::int64_t cotangents = 0;    ///< left factor [rows][dv], of one part
  std::int64_t mask = 0;          ///< 0 where the clamp cuts
  std::int64_t sums = 0;          ///< products of queries, or cotangents, and places
  std::int64_t spread = 0;        ///< the same for every key of a map
  std::int64_t key_sums = 0;      ///< products of keys and their places, panel by panel
  std::int64_t bias = 0;
  std::int64_t of_queries = 0;  ///< f32, twice: content and places
  std::int64_t product = 0;     ///< on its way to a sum or a result
  std::int64_t thread = 0;      ///< end of the part
};

/// One sdpa_bwd for fixed views.
///
/// Images' heads are divided among groups, whose number does not depend on that of the threads: a
/// group adds up its heads' gradients of the tables, and the groups' are added in their order, so
/// that threads change no bit. A head is worked on in sections of queries, a section in blocks as
/// in SdpaPlan: scores and weights are made again, then their cotangents, and what the block's
/// queries get. Both are kept until the section is through, so that what is summed over queries,
/// for keys, values and tables, is one product each as deep as the section. By distance, j - i, a
/// row is the one before shifted by one. Products by key and distance take the turned cotangents,
/// in which keys and queries have changed places.
struct SdpaBwdPlan {
  SdpaBwd bwd;
  SdpaFactors factors;
  std::int64_t images = 0;
  std::int64_t threads = 1;  ///< the scratch has room for
  std::int64_t groups = 1;
  SdpaTokens dy, q, k, v;
  std::int64_t between_parts = 0;          ///< elements, of an interleaved dy
  SdpaWeights weights;                     ///< the operand, where they are kept
  std::vector<SdpaTokens> results;         ///< of q, k, v
  std::vector<Ints> unread;                ///< channels of each result that no head reads
  std::vector<SdpaExtra> extras;           ///< by operand number of the sdpa - 3
  std::vector<SdpaExtra> extra_results;    ///< by result number - that of the value - 1
  std::vector<std::int64_t> bias_strides;  ///< over [N, heads, queries, keys]

  std::int64_t section = 0;  ///< queries, whole blocks
  std::int64_t padded_keys = 0, keys_row = 0;
  std::int64_t depth_row = 0;   ///< channels of a query, to whole panels
  std::int64_t turned_row = 0;  ///< elements
  std::int64_t places_row = 0, rows_columns = 0, key_row = 0, value_row = 0;
  std::int64_t sums_row = 0, key_sums_panel = 0;
  SdpaBwdScratch at;

  std::int64_t block_rows() const { return factors.loops->block_rows; }
  std::string implementation() const { return std::string("sdpa_bwd:") + factors.loops->name; }
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
