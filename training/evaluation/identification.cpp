#include "training/evaluation/identification.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <map>
#include <numeric>

#include "ir/error.h"

namespace facet {
namespace {

constexpr double kFar = std::numeric_limits<double>::infinity();

/// Smaller is nearer; what cannot be compared is infinitely far.
double distance(std::span<const double> a, std::span<const double> b, Metric metric) {
  const double value = metric == Metric::cosine ? -cosine(a, b) : squared_distance(a, b);
  return std::isnan(value) ? kFar : value;
}

std::vector<double> distances_to(const Embeddings& gallery, std::span<const double> probe,
                                 Metric metric) {
  std::vector<double> result(static_cast<std::size_t>(gallery.rows));
  for (std::int64_t i = 0; i < gallery.rows; ++i) {
    result[static_cast<std::size_t>(i)] = distance(gallery.row(i), probe, metric);
  }
  return result;
}

/// The places of `values` by rising value, earlier ones first where they are equal; `count` of
/// them.
std::vector<std::int64_t> smallest(const std::vector<double>& values, std::size_t count) {
  std::vector<std::int64_t> order(values.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  count = std::min(count, order.size());
  const auto nearer = [&](std::int64_t a, std::int64_t b) {
    const double x = values[static_cast<std::size_t>(a)];
    const double y = values[static_cast<std::size_t>(b)];
    return x != y ? x < y : a < b;
  };
  std::ranges::partial_sort(order, order.begin() + static_cast<std::ptrdiff_t>(count), nearer);
  order.resize(count);
  return order;
}

void check_tables(const Embeddings& gallery, std::size_t gallery_labels, const Embeddings& probes,
                  std::size_t probe_labels) {
  if (gallery.rows == 0) throw usage_error("the gallery is empty");
  if (gallery.width != probes.width || gallery.rows != static_cast<std::int64_t>(gallery_labels) ||
      probes.rows != static_cast<std::int64_t>(probe_labels)) {
    throw usage_error("gallery, probes and their labels do not fit each other");
  }
}

}  // namespace

std::vector<std::int64_t> identification_ranks(const Embeddings& gallery,
                                               const std::vector<std::int64_t>& gallery_persons,
                                               const Embeddings& probes,
                                               const std::vector<std::int64_t>& probe_persons,
                                               Metric metric) {
  check_tables(gallery, gallery_persons.size(), probes, probe_persons.size());
  std::map<std::int64_t, std::size_t> places;  // of persons, in the order of the gallery
  std::vector<std::size_t> place_of;
  for (const std::int64_t person : gallery_persons) {
    place_of.push_back(places.try_emplace(person, places.size()).first->second);
  }
  std::vector<std::int64_t> ranks;
  for (std::int64_t p = 0; p < probes.rows; ++p) {
    const std::vector<double> pictures = distances_to(gallery, probes.row(p), metric);
    std::vector<double> persons(places.size(), kFar);
    for (std::size_t i = 0; i < pictures.size(); ++i) {
      persons[place_of[i]] = std::min(persons[place_of[i]], pictures[i]);
    }
    const auto own = places.find(probe_persons[static_cast<std::size_t>(p)]);
    std::int64_t rank = 1 + static_cast<std::int64_t>(places.size());
    if (own != places.end() && persons[own->second] != kFar) {
      rank = 1;
      for (std::size_t i = 0; i < persons.size(); ++i) {
        const bool before = i < own->second;
        if (persons[i] < persons[own->second] || (before && persons[i] == persons[own->second]))
          ++rank;
      }
    }
    ranks.push_back(rank);
  }
  return ranks;
}

std::vector<double> cumulative_match(const std::vector<std::int64_t>& ranks, std::int64_t most) {
  std::vector<double> curve(static_cast<std::size_t>(most));
  for (const std::int64_t rank : ranks) {
    for (std::int64_t k = rank - 1; k < most; ++k) curve[static_cast<std::size_t>(k)] += 1;
  }
  for (double& value : curve) value /= static_cast<double>(std::max<std::size_t>(ranks.size(), 1));
  return curve;
}

std::vector<Neighbor> nearest_rows(const Embeddings& gallery, std::span<const double> probe,
                                   std::int64_t count, Metric metric) {
  const std::vector<double> distances = distances_to(gallery, probe, metric);
  std::vector<Neighbor> matches;
  for (const std::int64_t row : smallest(distances, static_cast<std::size_t>(count))) {
    const double value = distances[static_cast<std::size_t>(row)];
    matches.push_back({row, metric == Metric::cosine ? -value : std::sqrt(value)});
  }
  return matches;
}

Retrieval retrieval(const Embeddings& queries, const Embeddings& gallery,
                    const std::vector<std::int64_t>& classes, bool drop_first) {
  check_tables(gallery, classes.size(), queries, classes.size());
  std::map<std::int64_t, std::int64_t> sizes;
  for (const std::int64_t label : classes) ++sizes[label];
  Retrieval result;
  for (std::int64_t q = 0; q < queries.rows; ++q) {
    const std::int64_t label = classes[static_cast<std::size_t>(q)];
    const std::int64_t relevant = sizes[label] - 1;
    if (relevant == 0) continue;
    const std::vector<double> distances = distances_to(gallery, queries.row(q), Metric::euclidean);
    std::vector<std::int64_t> neighbours =
        smallest(distances, static_cast<std::size_t>(relevant) + 1);
    if (drop_first || std::erase(neighbours, q) == 0) {
      drop_first ? neighbours.erase(neighbours.begin()) : neighbours.erase(neighbours.end() - 1);
    }
    double hits = 0;
    double precisions = 0;
    for (std::size_t r = 0; r < neighbours.size(); ++r) {
      if (classes[static_cast<std::size_t>(neighbours[r])] != label) continue;
      ++hits;
      precisions += hits / static_cast<double>(r + 1);
      if (r == 0) ++result.precision_at_1;
    }
    result.r_precision += hits / static_cast<double>(relevant);
    result.map_at_r += precisions / static_cast<double>(relevant);
    ++result.queries;
  }
  const auto count = static_cast<double>(std::max<std::int64_t>(result.queries, 1));
  result.precision_at_1 /= count;
  result.r_precision /= count;
  result.map_at_r /= count;
  return result;
}

}  // namespace facet
