#pragma once

#include <cstdint>
#include <vector>

#include "training/evaluation/embeddings.h"

namespace facet {

enum class Metric {
  cosine,    ///< larger is nearer
  euclidean  ///< L2 distance of the embeddings as they are; smaller is nearer
};

/// For each probe the rank of its person among the persons of the gallery, from 1 on: a person is
/// as near as the nearest of the person's pictures. Of persons as near, those that come earlier in
/// the gallery rank first. A probe whose person is not in the gallery, or which has no number to
/// compare, ranks behind all. Throws Error(usage) for embeddings of other widths and an empty
/// gallery.
std::vector<std::int64_t> identification_ranks(const Embeddings& gallery,
                                               const std::vector<std::int64_t>& gallery_persons,
                                               const Embeddings& probes,
                                               const std::vector<std::int64_t>& probe_persons,
                                               Metric metric);

/// The cumulative match characteristic: element k is the part of the ranks that are at most k + 1,
/// for k below `most`. Element 0 is the rank-1 rate. Zeros of no probes.
std::vector<double> cumulative_match(const std::vector<std::int64_t>& ranks, std::int64_t most);

/// The gallery's rows that are nearest to a probe, nearest first, `count` at most; of rows as near
/// the earlier first.
struct Neighbor {
  std::int64_t row = 0;
  double score = 0;  ///< cosine, or L2 distance
};
std::vector<Neighbor> nearest_rows(const Embeddings& gallery, std::span<const double> probe,
                                   std::int64_t count, Metric metric);

/// How well pictures of a class find each other (DCR 6.2).
struct Retrieval {
  double precision_at_1 = 0;
  double r_precision = 0;
  double map_at_r = 0;  ///< mean of (1/R) sum over r <= R of precision@r * [the r-th is relevant]
  std::int64_t queries = 0;  ///< those that count: of classes with at least two pictures
};

/// Row i of queries and gallery are of one picture of class `classes[i]`, at two resolutions, say.
/// Neighbours are by L2 distance; R is the class's pictures but one. What is left out of a query's
/// neighbours is its own picture, or, with `drop_first`, the nearest one, as the published code
/// does (its defect 19, which is the same as long as the own picture is the nearest).
Retrieval retrieval(const Embeddings& queries, const Embeddings& gallery,
                    const std::vector<std::int64_t>& classes, bool drop_first = false);

}  // namespace facet
