#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "ir/graph.h"

/// What a node of the op `sdpa` computes, read from its attributes and operand types.
///
/// Tokens i, j are the places of a map in raster order or the rows of a sequence. For image n and
/// head g, with p(i, j) = i - j + keys - 1, the row that belongs to the distance of two tokens,
///
///   s[i, j] = scale * ( a0[g] * q[i] . k[j]
///                     + a1[g] * q[i] . relative_query[p]        or, on a map of height x width,
///                       a1[g] * q[i] . (relative_height[yi - yj + height - 1]
///                                      + relative_width[xi - xj + width - 1])
///                     + a2[g] * k[j] . relative_key[p] )
///   A       = softmax over j of clamp(s, lo, hi) + bias[n, g, i, j]
///   y[i, c] = b0[c] * sum_j A[i, j] v[j, c] + b1[c] * sum_j A[i, j] relative_value[p, c] +
///   shift[c]
///
/// where c counts the channels of all heads, g * value.size + the channel within the head. Parts
/// whose operand is absent vanish; absent scales are 1 and an absent shift is 0. An interleaved
/// result keeps the two sums apart, as what normalises them separately reads them: its channel 2c
/// is sum_j A v, its channel 2c + 1 is sum_j A relative_value. One that keeps its weights gives A,
/// [N, heads, queries, keys], as a second result, for its gradient to read.
namespace facet {

/// The channels of head g in an operand: first + g * step, ... size of them. Query, key and value
/// may lie in one packed operand.
struct HeadChannels {
  std::int64_t first = 0;
  std::int64_t step = 0;
  std::int64_t size = 0;
};

struct Sdpa {
  std::int64_t heads = 1;
  HeadChannels query, key, value;
  bool channels_last = false;  ///< operands are [N, K, C]; otherwise [N, C, K] or [N, C, H, W]
  bool interleaved = false;    ///< with relative_value, without output_scale and output_shift
  bool keeps_weights = false;
  double scale = 1;
  std::optional<std::pair<double, double>> clamp;
  std::int64_t queries = 0;  ///< tokens that ask
  std::int64_t keys = 0;     ///< tokens that are asked
  std::int64_t height = 0;   ///< of the map; 0 without relative_height and relative_width
  std::int64_t width = 0;

  // Operand numbers, -1 for an absent one.
  int score_scale = -1;      ///< a [terms, heads]
  int relative_query = -1;   ///< [queries + keys - 1, query.size]
  int relative_key = -1;     ///< [queries + keys - 1, query.size]
  int relative_height = -1;  ///< [2 * height - 1, query.size]
  int relative_width = -1;   ///< [2 * width - 1, query.size]
  int bias = -1;             ///< broadcasts to [N, heads, queries, keys]
  int relative_value = -1;   ///< [queries + keys - 1, value.size]
  int output_scale = -1;     ///< b [1, or 2 with relative_value, channels()]
  int output_shift = -1;     ///< [channels()]

  bool has_query_places() const { return relative_query >= 0 || relative_height >= 0; }
  /// Parts of the scores: content, places of the query, places of the key.
  int terms() const { return 1 + (has_query_places() ? 1 : 0) + (relative_key >= 0 ? 1 : 0); }
  std::int64_t channels() const { return heads * value.size; }
  std::int64_t result_channels() const { return interleaved ? 2 * channels() : channels(); }
  std::int64_t distances() const { return queries + keys - 1; }
};

/// What a node of the op `sdpa_bwd` computes. Its operands are the cotangent of the sdpa's result
/// and the sdpa's own operands: operand i of the sdpa is operand i + 1 here. Its results are
/// gradients of the type of their operand, those behind q, k and v in f32; with D = scale * dL/ds,
/// zero where the clamp cuts,
///
///   dA[i, j] = dy[i] . (v[j] + relative_value[p])        dL/ds = A o (dA - rowsum(A o dA))
///   dq[i] = sum_j D[i, j] (a0 k[j] + a1 relative_query[p])       dv[j] = sum_i A[i, j] dy[i]
///   dk[j] = sum_i D[i, j] (a0 q[i] + a2 relative_key[p])
///   da_t[g] = sum over n, i, j of D[i, j] times part t of the scores
///
/// and the tables' by the distance of the pairs, summed over images and heads. Channels of q, k and
/// v that no head reads get 0.
struct SdpaBwd {
  Sdpa sdpa;
  bool packed = false;  ///< q, k and v are one value of disjoint channels, with one gradient
  int weights = -1;     ///< operand of the node, its last: A, which then is not made again

  // Result numbers, -1 for an absent one. Those of a packed q, k and v are all 0.
  int query = 0, key = 0, value = 0;
  int score_scale = -1;
  int relative_query = -1;
  int relative_key = -1;
  int relative_height = -1;
  int relative_width = -1;
  int bias = -1;  ///< only where the attribute bias_gradient asks for it
  int relative_value = -1;
};

/// What a node of the op `score_moments` computes: the mean and the biased variance of each part of
/// the scores above (content, places of the query, places of the key; ahead of all scales, clamp
/// and bias) over images and pairs of tokens, f32 [terms, heads] each. Its operands are q, k and
/// those tables of places that `extras` names; operand numbers are the node's own. There is no
/// value.
///
/// The operands of a `score_moments_bwd` are the cotangents of means and variances, the means, and
/// those of the score_moments: operand i there is operand i + 3 here. Each part t gets, with the
/// count = images * queries * keys of pairs,
///
///   S[i, j] = a s[i, j] + b     a = 2 dvariance / count     b = (dmean - 2 dvariance mean) / count
///   dq[i] = sum_j S0[i, j] k[j] + S1[i, j] relative_query[p]
///   dk[j] = sum_i S0[i, j] q[i] + S2[i, j] relative_key[p]
///
/// and the tables as from an sdpa. Results are numbered as those of SdpaBwd, without a value.

/// Operand names behind q, k and v, in the order in which they must stand.
std::span<const std::string_view> sdpa_extras();

/// Throws Error(usage) that says which attribute or operand does not fit.
Sdpa parse_sdpa(const Attributes& attributes, std::span<const Type> operands);
/// The same for a node that exists: an sdpa.
Sdpa sdpa_of(const Node& node);

/// The same of an sdpa_bwd, `operands` included the cotangent. Throws Error(usage) for one of an
/// sdpa with output_scale or output_shift too: those are differentiated as plain ops.
SdpaBwd parse_sdpa_bwd(const Attributes& attributes, std::span<const Type> operands);
SdpaBwd sdpa_bwd_of(const Node& node);
/// Whether no channel of one operand is read by two of queries, keys and values of any head.
bool are_disjoint(const Sdpa& sdpa);

/// Throws Error(usage) that says which attribute or operand does not fit.
Sdpa parse_score_moments(const Attributes& attributes, std::span<const Type> operands);
Sdpa score_moments_of(const Node& node);
/// `value` is -1. `packed` says that q and k are one value of disjoint channels.
SdpaBwd parse_score_moments_bwd(const Attributes& attributes, std::span<const Type> operands);
SdpaBwd score_moments_bwd_of(const Node& node);
/// Whether no channel of one operand is read by both queries and keys of any head.
bool are_scores_disjoint(const Sdpa& sdpa);

}  // namespace facet
