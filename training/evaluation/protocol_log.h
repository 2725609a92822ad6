#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "training/evaluation/protocols.h"

namespace facet {

/// A column of a training's log.
struct LogColumn {
  std::string name;  ///< in log.csv: "verification_lfw"
  std::string tag;   ///< in TensorBoard: "verification/lfw"
};

/// What a training logs of its protocols: the accuracy of every set of pairs, the rank-1 rate of
/// every group of probes. Letters, digits, "_", "-" and "." of names stay, others become "_".
std::vector<LogColumn> protocol_columns(const ProtocolSets& sets);
/// The values in the same order, 0 to 1.
std::vector<std::optional<double>> protocol_values(const ProtocolResults& results);

/// "lfw 99.12 +- 0.31%, scface rank-1 71.3% / 93.5% / 98.0%": on one line.
std::string describe(const ProtocolResults& results);

/// At which iteration a training first reached accuracies in verification.
class LevelSteps {
 public:
  struct Row {
    std::string set;
    double level = 0;
    std::optional<std::int64_t> iteration;  ///< steps done; nothing: not reached
  };

  LevelSteps() = default;
  LevelSteps(const ProtocolSets& sets, const std::vector<double>& levels);

  /// What was measured behind `iteration` steps.
  void add(const ProtocolResults& results, std::int64_t iteration);
  const std::vector<Row>& rows() const { return rows_; }

  /// As notes of a checkpoint, and back for the same sets and levels.
  void write(std::map<std::string, std::string>& notes) const;
  void read(const std::map<std::string, std::string>& notes);

 private:
  std::vector<Row> rows_;
};

}  // namespace facet
