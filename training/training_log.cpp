#include "training/training_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/error.h"

namespace facet {
namespace {

template <class Number>
Number note(const std::map<std::string, std::string>& notes, const std::string& key) {
  const auto found = notes.find(key);
  Number value{};
  if (found != notes.end()) {
    const std::string& text = found->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size()) return value;
  }
  throw failure(fmt::format("the checkpoint's note \"{}\" is missing or damaged", key));
}

constexpr std::size_t kValidation = 4;  // the place of the first of its columns
constexpr std::size_t kProtocols = 7;

std::vector<LogColumn> all_columns(const std::vector<LogColumn>& protocols) {
  std::vector<LogColumn> columns = {{"loss", "train/loss"},
                                    {"accuracy", "train/accuracy"},
                                    {"learning_rate", "train/learning_rate"},
                                    {"images_per_second", "speed/images_per_second"},
                                    {"validation_loss", "validation/loss"},
                                    {"validation_top1", "validation/top1"},
                                    {"validation_top5", "validation/top5"}};
  columns.insert(columns.end(), protocols.begin(), protocols.end());
  return columns;
}

std::vector<std::string> names_of(const std::vector<LogColumn>& columns) {
  std::vector<std::string> names;
  for (const LogColumn& column : columns) names.push_back(column.name);
  return names;
}

}  // namespace

void LogWindow::add(const StepResult& step, double step_seconds) {
  seconds += step_seconds;
  if (!step.applied) return;
  loss_sum += step.loss;
  ++steps;
  correct += step.correct;
  pictures += step.pictures;
}

std::optional<double> LogWindow::loss() const {
  if (steps == 0) return std::nullopt;
  return loss_sum / static_cast<double>(steps);
}

std::optional<double> LogWindow::accuracy() const {
  if (pictures == 0) return std::nullopt;
  return static_cast<double>(correct) / static_cast<double>(pictures);
}

std::optional<double> LogWindow::rate() const {
  if (pictures == 0 || seconds <= 0) return std::nullopt;
  return static_cast<double>(pictures) / seconds;
}

void LogWindow::write(std::map<std::string, std::string>& notes) const {
  notes["window.loss_sum"] = fmt::format("{}", loss_sum);  // reads back to the bit
  notes["window.steps"] = fmt::format("{}", steps);
  notes["window.correct"] = fmt::format("{}", correct);
  notes["window.pictures"] = fmt::format("{}", pictures);
  notes["window.seconds"] = fmt::format("{}", seconds);
}

LogWindow LogWindow::read(const std::map<std::string, std::string>& notes) {
  return {note<double>(notes, "window.loss_sum"), integer_note(notes, "window.steps"),
          integer_note(notes, "window.correct"), integer_note(notes, "window.pictures"),
          note<double>(notes, "window.seconds")};
}

std::int64_t integer_note(const std::map<std::string, std::string>& notes, const std::string& key) {
  return note<std::int64_t>(notes, key);
}

TrainingLog::TrainingLog(const std::filesystem::path& folder, std::int64_t resumed_at,
                         const std::vector<LogColumn>& protocols)
    : columns_(all_columns(protocols)),
      table_(folder / "log.csv", names_of(columns_), resumed_at),
      events_(folder, resumed_at) {}

void TrainingLog::row(std::int64_t iteration, double learning_rate, const LogWindow& window,
                      const Evaluation* validation, const ProtocolResults* protocols) {
  std::vector<std::optional<double>> values = {window.loss(), window.accuracy(), learning_rate,
                                               window.rate()};
  values.resize(columns_.size());
  if (validation != nullptr) {
    values[kValidation] = validation->loss;
    values[kValidation + 1] = validation->top1;
    values[kValidation + 2] = validation->top5;
  }
  if (protocols != nullptr) std::ranges::copy(protocol_values(*protocols), values.begin() + kProtocols);
  table_.row(iteration, values);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i]) events_.scalar(columns_[i].tag, iteration, *values[i]);
  }
}

}  // namespace facet
