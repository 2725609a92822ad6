#include "training/evaluation/protocol_log.h"

#include <fmt/format.h>

#include <cstddef>

#include "training/training_log.h"

namespace facet {
namespace {

std::string plain(const std::string& name) {
  std::string text;
  for (const char c : name) {
    const bool kept = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '-' || c == '.';
    text.push_back(kept ? c : '_');
  }
  return text;
}

LogColumn column(const std::string& what, const std::string& name) {
  return {what + "_" + plain(name), what + "/" + plain(name)};
}

std::string note_name(std::size_t row) { return fmt::format("steps_to.{}", row); }

}  // namespace

std::vector<LogColumn> protocol_columns(const ProtocolSets& sets) {
  std::vector<LogColumn> columns;
  for (const PairSet& set : sets.pairs) columns.push_back(column("verification", set.name));
  for (const IdentificationSet& set : sets.identification) {
    for (const auto& group : set.groups)
      columns.push_back(column("rank1", set.name + "_" + group.name));
  }
  return columns;
}

std::vector<std::optional<double>> protocol_values(const ProtocolResults& results) {
  std::vector<std::optional<double>> values;
  for (const PairResult& result : results.pairs) values.push_back(result.verification.mean);
  for (const IdentificationResult& result : results.identification) {
    for (const GroupResult& group : result.groups) values.push_back(group.rank(1));
  }
  return values;
}

std::string describe(const ProtocolResults& results) {
  std::string text;
  for (const PairResult& result : results.pairs) {
    text += fmt::format("{}{} {:.2f} +- {:.2f}%", text.empty() ? "" : ", ", result.name,
                        result.verification.mean * 100, result.verification.deviation * 100);
  }
  for (const IdentificationResult& result : results.identification) {
    text += fmt::format("{}{} rank-1", text.empty() ? "" : ", ", result.name);
    const char* separator = " ";
    for (const GroupResult& group : result.groups) {
      text += fmt::format("{}{:.1f}%", separator, group.rank(1) * 100);
      separator = " / ";
    }
  }
  return text;
}

LevelSteps::LevelSteps(const ProtocolSets& sets, const std::vector<double>& levels) {
  for (const PairSet& set : sets.pairs) {
    for (const double level : levels) rows_.push_back({set.name, level, std::nullopt});
  }
}

void LevelSteps::add(const ProtocolResults& results, std::int64_t iteration) {
  for (const PairResult& result : results.pairs) {
    for (Row& row : rows_) {
      if (row.set != result.name || row.iteration || result.verification.mean < row.level) continue;
      row.iteration = iteration;
    }
  }
}

void LevelSteps::write(std::map<std::string, std::string>& notes) const {
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (rows_[i].iteration) notes[note_name(i)] = fmt::format("{}", *rows_[i].iteration);
  }
}

void LevelSteps::read(const std::map<std::string, std::string>& notes) {
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    rows_[i].iteration.reset();
    if (notes.contains(note_name(i))) rows_[i].iteration = integer_note(notes, note_name(i));
  }
}

}  // namespace facet
