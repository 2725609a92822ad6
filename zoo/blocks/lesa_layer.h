#pragma once

#include "ir/dsl.h"

namespace facet::zoo {

/// What the attention of a LESA layer knows of places.
enum class LesaPositions {
  /// "classification": one table of token distances i - j along the raster, for queries, keys and
  /// values (Wang et al., "Axial-DeepLab", 2020, on the flattened map). As published, (dy, dx) and
  /// (dy + 1, dx - W) share an entry.
  classification,
  /// "detection_qr": a table of row distances and one of column distances, key minus query, for
  /// queries only (Srinivas et al., "Bottleneck Transformers", 2021).
  detection_qr
};

/// Options of `lesa_layer`. The three lists describe the fusion: all entries but the last of
/// `kernel_size` and `group`, one for each of `channel_shrink`, are hidden convolutions; the last
/// is the projection to the gate.
struct LesaOptions {
  LesaPositions positions = LesaPositions::classification;
  std::int64_t groups = 8;    ///< heads of the context term, groups of the local one
  std::int64_t stride = 1;    ///< the result is averaged over stride x stride windows
  Ints channel_shrink = {2};  ///< of each hidden convolution: C_in / shrink channels come out
  Ints kernel_size = {1, 1};
  Ints group = {1, 1};
};

/// Locally enhanced self-attention (Yang et al., "Locally Enhanced Self-Attention: Combining
/// Self-Attention and Convolution as Local and Context Terms", 2021, arXiv 2107.05637):
///
///   y = U + sigmoid(fusion(concat[U, B])) * B
///   U = bn_x(conv1x1(conv3x3 in groups (x)))                       the local term
///   B = sum over j of softmax_j(S)[i, j] v[j], with places         the context term
///
/// The context term has a head a group. With q, k, v = bn_qkv(conv1x1(x)), d = C / groups / 2
/// channels of q and k, tokens i, j in raster order and tables R of the distance of two tokens,
///
///   S[i, j] = bn(q[i] . k[j]) + bn(q[i] . Rq[i-j]) + bn(k[j] . Rk[j-i])
///   B[i]    = bn(sum_j A[i, j] v[j]) + bn(sum_j A[i, j] Rv[i-j])
///
/// where the parts share one batch norm (`bn_similarity`, `bn_output`) of as many channels as they
/// have together; it is also the scale of the scores. `detection_qr` has no k . R and no Rv.
/// fusion: relu, then conv, bn, relu for each hidden convolution, then the projection conv and bn.
///
/// x [N, C, H, W] -> [N, C, H / stride, W / stride] (rounded down). H and W must be fixed: the
/// tables have 2 H W - 1, or 2 H - 1 and 2 W - 1 entries.
/// Parameters: `relative`, `flatten_index` (a buffer that repeats i - j + K - 1) or `rel_height`,
/// `rel_width`; `qkv_transform.weight`, `bn_qkv`, `bn_similarity`, `bn_output`,
/// `x_transform.{0,1}`, `bn_x`, `reasoning.*`, `projection.{0,1}`. Throws Error(usage) when C does
/// not divide into `groups` of even width, or a list has the wrong length.
Tensor lesa_layer(Scope scope, Tensor x, const LesaOptions& options = {});

}  // namespace facet::zoo
