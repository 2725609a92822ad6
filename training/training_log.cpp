#include "training/training_log.h"

#include <fmt/format.h>

#include <charconv>
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

struct Column {
  const char* name;  ///< in log.csv
  const char* tag;   ///< in TensorBoard
};

constexpr Column kColumns[] = {
    {"loss", "train/loss"},
    {"accuracy", "train/accuracy"},
    {"learning_rate", "train/learning_rate"},
    {"images_per_second", "speed/images_per_second"},
    {"validation_loss", "validation/loss"},
    {"validation_top1", "validation/top1"},
    {"validation_top5", "validation/top5"},
};

std::vector<std::string> column_names() {
  std::vector<std::string> names;
  for (const Column& column : kColumns) names.emplace_back(column.name);
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

TrainingLog::TrainingLog(const std::filesystem::path& folder, std::int64_t resumed_at)
    : table_(folder / "log.csv", column_names(), resumed_at), events_(folder, resumed_at) {}

void TrainingLog::row(std::int64_t iteration, double learning_rate, const LogWindow& window,
                      const Evaluation* validation) {
  std::vector<std::optional<double>> values = {window.loss(), window.accuracy(), learning_rate,
                                               window.rate()};
  values.resize(std::size(kColumns));
  if (validation != nullptr) {
    values[4] = validation->loss;
    values[5] = validation->top1;
    values[6] = validation->top5;
  }
  table_.row(iteration, values);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i]) events_.scalar(kColumns[i].tag, iteration, *values[i]);
  }
}

}  // namespace facet
