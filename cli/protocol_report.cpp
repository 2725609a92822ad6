#include "cli/protocol_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "cli/common.h"

namespace facet::cli {
namespace {

using Rows = std::vector<std::vector<std::string>>;

/// Columns as wide as their widest cell; the first to the left, the others to the right.
std::string aligned(const Rows& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      text += i == 0 ? fmt::format("{:<{}}", row[i], widths[i])
                     : fmt::format("  {:>{}}", row[i], widths[i]);
    }
    text += "\n";
  }
  return text;
}

std::string percent(double part) { return fmt::format("{:.2f}", part * 100); }

/// `val` where the protocol has it.
nlohmann::ordered_json rate_json(const AcceptanceRate& rate, bool with_val) {
  nlohmann::ordered_json json = {{"far", rate.far}, {"tar", rate.tar}};
  if (!with_val) return json;
  json["val"] = rate.val.rate;
  json["val_deviation"] = rate.val.deviation;
  json["val_far"] = rate.val.far;
  return json;
}

std::string pair_table(const ProtocolResults& results, bool with_val) {
  std::vector<std::string> head = {"verification %", "pairs", "accuracy", "+-", "AUC", "EER"};
  for (const AcceptanceRate& rate : results.pairs.front().rates) {
    head.push_back(fmt::format("TAR@{:g}", rate.far));
    if (with_val) head.push_back(fmt::format("VAL@{:g}", rate.far));
  }
  Rows rows = {head};
  for (const PairResult& result : results.pairs) {
    rows.push_back({result.name, grouped(result.pairs), percent(result.verification.mean),
                    percent(result.verification.deviation), percent(result.area),
                    percent(result.equal_error_rate)});
    for (const AcceptanceRate& rate : result.rates) {
      rows.back().push_back(percent(rate.tar));
      if (with_val) rows.back().push_back(percent(rate.val.rate));
    }
  }
  return aligned(rows);
}

std::string group_table(const ProtocolResults& results) {
  Rows rows = {{"identification %", "gallery", "probes", "rank-1", "rank-5", "rank-10", "rank-20"}};
  for (const IdentificationResult& result : results.identification) {
    for (const GroupResult& group : result.groups) {
      rows.push_back({result.name + " " + group.name, grouped(result.persons),
                      grouped(group.probes), percent(group.rank(1)), percent(group.rank(5)),
                      percent(group.rank(10)), percent(group.rank(20))});
    }
  }
  return aligned(rows);
}

}  // namespace

std::string protocol_table(const ProtocolResults& results, const EvaluationRecipe& evaluation) {
  std::string text;
  if (!results.pairs.empty()) {
    text += pair_table(results, evaluation.protocol == EvaluationRecipe::Protocol::insightface);
  }
  if (!results.identification.empty()) text += (text.empty() ? "" : "\n") + group_table(results);
  return text;
}

nlohmann::ordered_json protocol_json(const ProtocolResults& results,
                                     const EvaluationRecipe& evaluation) {
  const bool with_val = evaluation.protocol == EvaluationRecipe::Protocol::insightface;
  nlohmann::ordered_json json = {{"verification", nlohmann::ordered_json::array()},
                                 {"identification", nlohmann::ordered_json::array()},
                                 {"pictures_left_out", results.problems.size()},
                                 {"protocol_seconds", results.seconds}};
  for (const PairResult& result : results.pairs) {
    nlohmann::ordered_json rates = nlohmann::ordered_json::array();
    for (const AcceptanceRate& rate : result.rates) rates.push_back(rate_json(rate, with_val));
    json["verification"].push_back({{"name", result.name},
                                    {"pairs", result.pairs},
                                    {"left_out", result.left_out},
                                    {"accuracy", result.verification.mean},
                                    {"deviation", result.verification.deviation},
                                    {"threshold", result.verification.threshold},
                                    {"fold_accuracy", result.verification.fold_accuracy},
                                    {"fold_threshold", result.verification.fold_threshold},
                                    {"auc", result.area},
                                    {"eer", result.equal_error_rate},
                                    {"norm", result.norm},
                                    {"rates", rates}});
  }
  for (const IdentificationResult& result : results.identification) {
    nlohmann::ordered_json groups = nlohmann::ordered_json::array();
    for (const GroupResult& group : result.groups) {
      groups.push_back({{"name", group.name},
                        {"probes", group.probes},
                        {"left_out", group.left_out},
                        {"rank1", group.rank(1)},
                        {"cmc", group.cmc}});
    }
    json["identification"].push_back({{"name", result.name},
                                      {"persons", result.persons},
                                      {"rank1", result.rank1()},
                                      {"groups", groups}});
  }
  return json;
}

std::string template_table(const TemplateResult& result) {
  Rows rows = {{result.name + " %", "pairs", "AUC", "EER"},
               {"1:1, templates", grouped(result.pairs), percent(result.area),
                percent(result.equal_error_rate)}};
  for (const AcceptanceRate& rate : result.rates) {
    rows[0].push_back(fmt::format("TAR@{:g}", rate.far));
    rows[1].push_back(percent(rate.tar));
  }
  std::string text = aligned(rows);
  if (result.left_out > 0 || result.pairs_left_out > 0) {
    text += fmt::format(
        "left out: {} pictures that cannot be read, {} pairs of templates without any\n",
        grouped(result.left_out), grouped(result.pairs_left_out));
  }
  return text;
}

nlohmann::ordered_json template_json(const TemplateResult& result) {
  nlohmann::ordered_json rates = nlohmann::ordered_json::array();
  for (const AcceptanceRate& rate : result.rates) rates.push_back(rate_json(rate, false));
  return {{"name", result.name},
          {"images", result.pictures},
          {"left_out", result.left_out},
          {"templates", result.templates},
          {"pairs", result.pairs},
          {"pairs_left_out", result.pairs_left_out},
          {"auc", result.area},
          {"eer", result.equal_error_rate},
          {"rates", rates}};
}

}  // namespace facet::cli
