#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "training/data/protocol_sets.h"
#include "training/evaluation/embedder.h"
#include "training/evaluation/roc.h"
#include "training/evaluation/verification.h"
#include "training/recipe.h"

/// A recipe's section [evaluation], carried out.
namespace facet {

/// What it names. Immutable once opened.
struct ProtocolSets {
  std::vector<PairSet> pairs;
  std::vector<IdentificationSet> identification;

  bool empty() const { return pairs.empty() && identification.empty(); }
  std::int64_t pictures() const;
  /// Of pictures, pairs and groups: another value, other results.
  std::uint64_t fingerprint() const;
};

/// Acceptance at a rate of wrong acceptances.
struct AcceptanceRate {
  double far = 0;      ///< asked for
  double tar = 0;      ///< of the ROC over all pairs, see tar_at_far
  ValidationRate val;  ///< of thresholds chosen on other folds; protocol insightface alone
};

struct PairResult {
  std::string name;
  std::int64_t pairs = 0;
  std::int64_t left_out = 0;  ///< pairs with a picture that cannot be read
  Verification verification;
  std::vector<AcceptanceRate> rates;  ///< for EvaluationRecipe::far
  std::vector<RocPoint> roc;
  double area = 0;  ///< below the ROC
  double equal_error_rate = 0;
  double norm = 0;  ///< mean L2 norm of embeddings (InsightFace's XNorm)
};

struct GroupResult {
  std::string name;
  std::int64_t probes = 0;
  std::int64_t left_out = 0;
  std::vector<double> cmc;  ///< [persons in the gallery], see cumulative_match

  double rank(std::int64_t k) const;  ///< rank-k rate; for more than all persons that of all
};

struct IdentificationResult {
  std::string name;
  std::int64_t persons = 0;  ///< in the gallery
  std::vector<GroupResult> groups;

  double rank1() const;  ///< mean over the groups
};

struct ProtocolResults {
  std::vector<PairResult> pairs;
  std::vector<IdentificationResult> identification;
  std::vector<BadImage> problems;  ///< pictures that were left out
  double seconds = 0;
  bool complete = true;  ///< false: it was stopped, and not all is there

  double verification() const;  ///< mean accuracy over the sets of pairs; NaN without any
  double rank1() const;         ///< mean over the sets; NaN without any
};

/// How the section embeds pictures; the rest is as in `options`.
EmbedderOptions embedder_options(const EvaluationRecipe& evaluation, EmbedderOptions options);
/// Whether the second pictures of pairs and the probes of galleries are embedded in another way, and
/// how.
bool has_own_probes(const EvaluationRecipe& evaluation);
EmbedderOptions probe_options(const EvaluationRecipe& evaluation, EmbedderOptions options);
Flip flip_of(const EvaluationRecipe& evaluation);

/// A protocol on pairs whose embeddings are known: of `table` row i is picture i, `readable[i]`
/// whether it counts. `probes` is the table of second pictures, null where it is the same. Throws
/// Error(failure) if too few pairs can be read.
PairResult evaluate_pairs(const PairSet& set, const Embeddings& table,
                          const std::vector<char>& readable, const EvaluationRecipe& evaluation,
                          const Embeddings* probes = nullptr);
/// The same for galleries. Gallery pictures that cannot be read are not there.
IdentificationResult evaluate_identification(const IdentificationSet& set, const Embeddings& table,
                                             const std::vector<char>& readable,
                                             const EvaluationRecipe& evaluation,
                                             const Embeddings* probes = nullptr);

/// Embeds all sets and evaluates them. `probes` embeds second pictures of pairs and probes of
/// galleries, null: `embedder` does. `on_batch` is called behind every batch with its number of
/// pictures; false stops. Throws as Embedder and the functions above.
ProtocolResults run_protocols(const ProtocolSets& sets, Embedder& embedder,
                              const EvaluationRecipe& evaluation,
                              const std::function<bool(std::int64_t)>& on_batch = {},
                              Embedder* probes = nullptr);

}  // namespace facet
