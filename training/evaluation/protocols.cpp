#include "training/evaluation/protocols.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "ir/error.h"
#include "training/evaluation/identification.h"

namespace facet {
namespace {

/// FNV-1a over numbers and texts.
class Hash {
 public:
  void add(std::uint64_t value) {
    for (int i = 0; i < 8; ++i) byte(static_cast<unsigned char>(value >> (8 * i)));
  }
  void add(std::int64_t value) { add(static_cast<std::uint64_t>(value)); }
  void add(std::string_view text) {
    for (const char c : text) byte(static_cast<unsigned char>(c));
    byte(0);
  }
  std::uint64_t value() const { return value_; }

 private:
  void byte(unsigned char b) { value_ = (value_ ^ b) * 0x100000001B3U; }
  std::uint64_t value_ = 0xCBF29CE484222325U;
};

Verification verify(const Embeddings& first, const Embeddings& second,
                    const std::vector<char>& same, const EvaluationRecipe& evaluation) {
  switch (evaluation.protocol) {
    case EvaluationRecipe::Protocol::lscnn:
      return verify_lscnn(first, second, same);
    case EvaluationRecipe::Protocol::dcr:
      return verify_dcr(first, second, same);
    case EvaluationRecipe::Protocol::insightface:
      break;
  }
  if (evaluation.pca > 0) return verify_insightface_pca(first, second, same, evaluation.pca);
  return verify_insightface(first, second, same);
}

std::vector<double> scores_of(const Embeddings& first, const Embeddings& second,
                              EvaluationRecipe::Protocol protocol) {
  if (protocol == EvaluationRecipe::Protocol::lscnn) return lscnn_scores(first, second);
  if (protocol == EvaluationRecipe::Protocol::dcr) return dcr_scores(first, second);
  return insightface_scores(first, second);
}

/// Those of `numbers` that can be read.
std::vector<std::int64_t> readable_of(const std::vector<std::int64_t>& numbers,
                                      const std::vector<char>& readable) {
  std::vector<std::int64_t> kept;
  for (const std::int64_t number : numbers) {
    if (readable.at(static_cast<std::size_t>(number)) != 0) kept.push_back(number);
  }
  return kept;
}

std::vector<std::int64_t> labels_of(const Dataset& pictures,
                                    const std::vector<std::int64_t>& numbers) {
  std::vector<std::int64_t> labels;
  for (const std::int64_t number : numbers) labels.push_back(pictures.label(number));
  return labels;
}

double mean_of(const std::vector<double>& values) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  return mean_and_deviation(values).mean;
}

}  // namespace

std::int64_t ProtocolSets::pictures() const {
  std::int64_t count = 0;
  for (const PairSet& set : pairs) count += set.pictures->size();
  for (const IdentificationSet& set : identification) count += set.pictures->size();
  return count;
}

std::uint64_t ProtocolSets::fingerprint() const {
  Hash hash;
  for (const PairSet& set : pairs) {
    hash.add(set.name);
    hash.add(set.pictures->fingerprint());
    for (const Pair& pair : set.pairs) {
      hash.add(pair.first);
      hash.add(pair.second);
      hash.add(std::int64_t{pair.same});
    }
  }
  for (const IdentificationSet& set : identification) {
    hash.add(set.name);
    hash.add(set.pictures->fingerprint());
    for (const std::int64_t number : set.gallery) hash.add(number);
    for (const IdentificationSet::Group& group : set.groups) {
      hash.add(group.name);
      for (const std::int64_t number : group.probes) hash.add(number);
    }
  }
  return hash.value();
}

double GroupResult::rank(std::int64_t k) const {
  if (cmc.empty() || k < 1) return 0;
  return cmc[std::min(static_cast<std::size_t>(k), cmc.size()) - 1];
}

double IdentificationResult::rank1() const {
  std::vector<double> rates;
  for (const GroupResult& group : groups) rates.push_back(group.rank(1));
  return mean_of(rates);
}

double ProtocolResults::verification() const {
  std::vector<double> means;
  for (const PairResult& result : pairs) means.push_back(result.verification.mean);
  return mean_of(means);
}

double ProtocolResults::rank1() const {
  std::vector<double> means;
  for (const IdentificationResult& result : identification) means.push_back(result.rank1());
  return mean_of(means);
}

Flip flip_of(const EvaluationRecipe& evaluation) {
  switch (evaluation.flip) {
    case EvaluationRecipe::Flips::none:
      return Flip::none;
    case EvaluationRecipe::Flips::sum:
      return Flip::sum;
    case EvaluationRecipe::Flips::concatenate:
      return Flip::concatenate;
    case EvaluationRecipe::Flips::protocol:
      break;
  }
  if (evaluation.protocol == EvaluationRecipe::Protocol::insightface) return Flip::sum;
  return evaluation.protocol == EvaluationRecipe::Protocol::lscnn ? Flip::concatenate : Flip::none;
}

EmbedderOptions embedder_options(const EvaluationRecipe& evaluation, EmbedderOptions options) {
  options.flip = flip_of(evaluation);
  options.output = evaluation.output;
  return options;
}

bool has_own_probes(const EvaluationRecipe& evaluation) {
  return evaluation.probe_size > 0 || !evaluation.probe_output.empty();
}

EmbedderOptions probe_options(const EvaluationRecipe& evaluation, EmbedderOptions options) {
  options = embedder_options(evaluation, std::move(options));
  if (!evaluation.probe_output.empty()) options.output = evaluation.probe_output;
  options.picture_size = evaluation.probe_size;
  return options;
}

PairResult evaluate_pairs(const PairSet& set, const Embeddings& table,
                          const std::vector<char>& readable, const EvaluationRecipe& evaluation,
                          const Embeddings* probes) {
  std::vector<std::int64_t> first;
  std::vector<std::int64_t> second;
  std::vector<char> same;
  for (const Pair& pair : set.pairs) {
    if (readable.at(static_cast<std::size_t>(pair.first)) == 0 ||
        readable.at(static_cast<std::size_t>(pair.second)) == 0) {
      continue;
    }
    first.push_back(pair.first);
    second.push_back(pair.second);
    same.push_back(pair.same ? 1 : 0);
  }
  const auto matching = std::ranges::count(same, 1);
  const auto count = static_cast<std::ptrdiff_t>(same.size());
  if (count < 10 || matching == 0 || matching == count) {
    throw failure(
        fmt::format("{}: {} pairs of one person and {} of two can be read; ten in all and one "
                    "of either are needed",
                    set.name, matching, count - matching));
  }
  const Embeddings a = rows_of(table, first);
  const Embeddings b = rows_of(probes != nullptr ? *probes : table, second);
  PairResult result;
  result.name = set.name;
  result.pairs = a.rows;
  result.left_out = static_cast<std::int64_t>(set.pairs.size()) - a.rows;
  result.verification = verify(a, b, same, evaluation);
  std::vector<double> scores = scores_of(a, b, evaluation.protocol);
  result.roc = roc_curve(scores, same);
  result.area = area_under(result.roc);
  result.equal_error_rate = equal_error_rate(result.roc);
  for (double& score : scores) score = -score;  // distances
  for (const double far : evaluation.far) {
    result.rates.push_back({far, tar_at_far(result.roc, far), {}});
    if (evaluation.protocol == EvaluationRecipe::Protocol::insightface) {
      result.rates.back().val = validation_rate(scores, same, far);
    }
  }
  return result;
}

IdentificationResult evaluate_identification(const IdentificationSet& set, const Embeddings& table,
                                             const std::vector<char>& readable,
                                             const EvaluationRecipe& evaluation,
                                             const Embeddings* probes_of_all) {
  const std::vector<std::int64_t> gallery = readable_of(set.gallery, readable);
  if (gallery.empty())
    throw failure(fmt::format("{}: no picture of the gallery can be read", set.name));
  const std::vector<std::int64_t> persons = labels_of(*set.pictures, gallery);
  const Embeddings gallery_table = rows_of(table, gallery);
  const Metric metric =
      evaluation.protocol == EvaluationRecipe::Protocol::dcr ? Metric::euclidean : Metric::cosine;
  IdentificationResult result;
  result.name = set.name;
  result.persons = static_cast<std::int64_t>(std::set(persons.begin(), persons.end()).size());
  for (const IdentificationSet::Group& group : set.groups) {
    const std::vector<std::int64_t> probes = readable_of(group.probes, readable);
    if (probes.empty()) {
      throw failure(fmt::format("{}: no picture of group '{}' can be read", set.name, group.name));
    }
    const Embeddings probe_table = rows_of(probes_of_all != nullptr ? *probes_of_all : table, probes);
    const auto ranks = identification_ranks(gallery_table, persons, probe_table,
                                            labels_of(*set.pictures, probes), metric);
    result.groups.push_back({group.name, static_cast<std::int64_t>(probes.size()),
                             static_cast<std::int64_t>(group.probes.size() - probes.size()),
                             cumulative_match(ranks, result.persons)});
  }
  return result;
}

ProtocolResults run_protocols(const ProtocolSets& sets, Embedder& embedder,
                              const EvaluationRecipe& evaluation,
                              const std::function<bool(std::int64_t)>& on_batch, Embedder* probes) {
  const auto start = std::chrono::steady_clock::now();
  ProtocolResults results;
  /// Embeddings of a set, and of its pictures as probes where those are others.
  struct Tables {
    Embeddings table;
    std::optional<Embeddings> probes;
    std::vector<char> readable;
    double norm = 0;
  };
  const auto embed = [&](const PictureSet& pictures) {
    EmbeddedPictures all = embedder.all(pictures, on_batch);
    results.complete = all.complete;
    results.problems.insert(results.problems.end(), all.problems.begin(), all.problems.end());
    Tables tables{Embeddings(all.embeddings), std::nullopt, std::move(all.readable), all.norm};
    if (probes != nullptr && results.complete) {
      const EmbeddedPictures others = probes->all(pictures, on_batch);
      results.complete = others.complete;
      tables.probes.emplace(others.embeddings);
    }
    return tables;
  };
  const auto probes_of = [](const Tables& t) { return t.probes ? &*t.probes : nullptr; };
  for (const PairSet& set : sets.pairs) {
    const Tables t = embed(*set.pictures);
    if (!results.complete) return results;
    results.pairs.push_back(evaluate_pairs(set, t.table, t.readable, evaluation, probes_of(t)));
    results.pairs.back().norm = t.norm;
  }
  for (const IdentificationSet& set : sets.identification) {
    const Tables t = embed(*set.pictures);
    if (!results.complete) return results;
    results.identification.push_back(
        evaluate_identification(set, t.table, t.readable, evaluation, probes_of(t)));
  }
  results.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return results;
}

}  // namespace facet
