#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "training/csv_log.h"
#include "training/evaluation/protocol_log.h"
#include "training/evaluator.h"
#include "training/event_file.h"
#include "training/stepper.h"

namespace facet {

/// The steps since the last row of the log. Part of checkpoints: rows do not show where a training
/// was interrupted.
struct LogWindow {
  double loss_sum = 0;
  std::int64_t steps = 0;
  std::int64_t correct = 0;
  std::int64_t pictures = 0;
  double seconds = 0;  ///< of the steps and of waiting for their pictures

  void add(const StepResult& step, double step_seconds);
  std::optional<double> loss() const;
  std::optional<double> accuracy() const;
  std::optional<double> rate() const;  ///< pictures per second

  /// As notes of a checkpoint, and back. Throws Error(failure) for notes that are missing or damaged.
  void write(std::map<std::string, std::string>& notes) const;
  static LogWindow read(const std::map<std::string, std::string>& notes);
};

/// A whole number in a checkpoint's notes. Throws Error(failure) if it is missing or none.
std::int64_t integer_note(const std::map<std::string, std::string>& notes, const std::string& key);

/// log.csv and an event file for TensorBoard. One thread uses it.
class TrainingLog {
 public:
  /// `resumed_at` below 0: new files. Otherwise rows of that iteration and behind it go.
  /// `protocols` are columns behind the others.
  TrainingLog(const std::filesystem::path& folder, std::int64_t resumed_at,
              const std::vector<LogColumn>& protocols = {});

  /// The window, and what was validated behind iteration `iteration` (0-based), if anything.
  void row(std::int64_t iteration, double learning_rate, const LogWindow& window,
           const Evaluation* validation, const ProtocolResults* protocols);

 private:
  std::vector<LogColumn> columns_;
  CsvLog table_;
  EventFile events_;
};

}  // namespace facet
