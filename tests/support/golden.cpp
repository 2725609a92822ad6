#include "tests/support/golden.h"

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "tests/support/paths.h"

namespace facet::testing {
namespace {

using nlohmann::json;

Digest read_digest(const json& source) {
  return {source.at("shape").get<std::vector<std::int64_t>>(), source.at("l2").get<double>(),
          source.at("mean").get<double>(), source.at("index").get<std::vector<std::int64_t>>(),
          source.at("value").get<std::vector<double>>()};
}

std::map<std::string, Digest> read_digests(const json& source) {
  std::map<std::string, Digest> digests;
  for (const auto& [name, digest] : source.items()) digests[name] = read_digest(digest);
  return digests;
}

/// |difference| / scale, where 0 / 0 is no error.
double relative(double difference, double scale) {
  return difference == 0 ? 0 : std::fabs(difference) / scale;
}

GoldenTrain read_train(const json& source) {
  return {source.at("inputs").get<std::map<std::string, std::vector<std::int64_t>>>(),
          read_digests(source.at("outputs")),
          read_digests(source.at("grad_inputs")),
          read_digests(source.at("grad_params")),
          read_digests(source.at("running_stats")),
          source.at("vjp_scalar").get<double>()};
}

}  // namespace

double l2_norm(const HostTensor& tensor) {
  double sum = 0;
  for (std::int64_t i = 0; i < tensor.element_count(); ++i) sum += tensor.at(i) * tensor.at(i);
  return std::sqrt(sum);
}

DigestError digest_error(const Digest& expected, const HostTensor& actual) {
  constexpr double kWrong = std::numeric_limits<double>::infinity();
  if (actual.shape() != expected.shape) return {kWrong, kWrong};
  const double l2 = l2_norm(actual);
  if (!std::isfinite(l2)) return {kWrong, kWrong};
  double squares = 0;
  for (std::size_t i = 0; i < expected.index.size(); ++i) {
    const double difference = actual.at(expected.index[i]) - expected.value[i];
    squares += difference * difference;
  }
  const double rms = expected.l2 / std::sqrt(static_cast<double>(actual.element_count()));
  return {relative(std::sqrt(squares / static_cast<double>(expected.index.size())), rms),
          relative(l2 - expected.l2, expected.l2)};
}

GoldenCase read_golden(const std::string& name) {
  const std::string path = (test_data() / "golden" / (name + ".json")).string();
  std::ifstream file(path);
  try {
    const json source = json::parse(file);
    GoldenCase result;
    result.name = source.at("case").get<std::string>();
    result.parameters = source.at("parameters").get<std::int64_t>();
    for (const json& entry : source.at("state_dict")) {
      result.state_dict.push_back({entry.at(0).get<std::string>(),
                                   entry.at(1).get<std::vector<std::int64_t>>(),
                                   entry.at(2).get<std::string>()});
    }
    const json& eval = source.at("eval");
    eval.at("inputs").get_to(result.inputs);
    if (eval.contains("taps")) result.taps = read_digests(eval.at("taps"));
    result.outputs = read_digests(eval.at("outputs"));
    if (source.contains("train")) result.train = read_train(source.at("train"));
    return result;
  } catch (const json::exception& error) {
    throw failure("cannot read golden file " + path + ": " + error.what());
  }
}

}  // namespace facet::testing
