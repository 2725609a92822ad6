#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <string_view>
#include <system_error>
#include <vector>

#include "ir/error.h"
#include "runtime/formats/weights_file.h"
#include "runtime/weights.h"

namespace facet {
namespace {

/// What wrappers put before a module's own names: data parallelism, trainers that hold the network
/// as a member `model`, torch.compile.
constexpr std::array<std::string_view, 3> kPrefixes = {"module.", "model.", "_orig_mod."};

/// Names nearest to a wrong one are looked for this often; a wrong model would have thousands.
constexpr std::size_t kMostHints = 20;

/// The parameter a name of the file means: as it is, or with as few prefixes taken off as it takes.
const Parameter* parameter_of(const Graph& graph, std::string_view name) {
  for (;;) {
    if (const Parameter* parameter = graph.find_parameter(name)) return parameter;
    const auto* prefix = std::ranges::find_if(
        kPrefixes, [&](std::string_view candidate) { return name.starts_with(candidate); });
    if (prefix == kPrefixes.end()) return nullptr;
    name.remove_prefix(prefix->size());
  }
}

/// A name that no parameter has, without all that wrappers may have put before it.
std::string_view without_prefixes(std::string_view name) {
  for (;;) {
    const auto* prefix = std::ranges::find_if(
        kPrefixes, [&](std::string_view candidate) { return name.starts_with(candidate); });
    if (prefix == kPrefixes.end()) return name;
    name.remove_prefix(prefix->size());
  }
}

std::string describe(DType dtype, const std::vector<std::int64_t>& shape) {
  return fmt::format("{}[{}]", to_string(dtype), fmt::join(shape, ", "));
}

bool begins_with_one_of(std::string_view key, const std::vector<std::string>& heads) {
  return std::ranges::any_of(heads, [&](const std::string& head) { return key.starts_with(head); });
}

/// Fits the tensors of a file to the parameters of a graph and keeps a list of what does not.
class Fitting {
 public:
  Fitting(const Graph& graph, const std::string& path, const std::vector<std::string>& skip)
      : graph_(graph), path_(path), skip_(skip) {}

  void add(const std::string& name, const HostTensor& tensor) {
    const Parameter* parameter = parameter_of(graph_, name);
    if (begins_with_one_of(parameter != nullptr ? parameter->key : without_prefixes(name), skip_)) return;
    if (parameter == nullptr) {
      unexpected_.emplace_back(name, describe(tensor.dtype(), tensor.shape()));
      return;
    }
    const auto [known, is_new] = names_.emplace(parameter->key, name);
    if (!is_new) {
      throw failure(fmt::format("{} has both '{}' and '{}' for '{}'; remove one", path_,
                                known->second, name, parameter->key));
    }
    const DType wanted = parameter->type.dtype;
    const std::vector<std::int64_t> shape = static_extents(parameter->type.shape);
    if (tensor.shape() != shape || is_float(tensor.dtype()) != is_float(wanted)) {
      ill_typed_.push_back(fmt::format("{} is {}, should be {}", name,
                                       describe(tensor.dtype(), tensor.shape()),
                                       describe(wanted, shape)));
      return;
    }
    weights_.emplace(parameter->key, tensor.cast(wanted));
  }

  TensorMap finish() {
    for (const Parameter& parameter : graph_.parameters()) {
      if (names_.contains(parameter.key) || begins_with_one_of(parameter.key, skip_)) continue;
      missing_.push_back(&parameter);
    }
    if (!missing_.empty() || !unexpected_.empty() || !ill_typed_.empty()) throw failure(message());
    return std::move(weights_);
  }

 private:
  std::string message() const {
    std::string text = fmt::format(
        "{} does not fit '{}': {} missing, {} unexpected and {} ill-typed tensors; "
        "check the model and its options, nothing was loaded",
        path_, graph_.name(), missing_.size(), unexpected_.size(), ill_typed_.size());
    std::vector<std::string> keys;
    for (const Parameter* parameter : missing_) {
      keys.push_back(parameter->key);
      text += fmt::format("\n  missing: {} {}", parameter->key, to_string(parameter->type));
    }
    std::size_t hints = 0;
    for (const auto& [name, type] : unexpected_) {
      const std::string hint = hints++ < kMostHints ? did_you_mean(name, keys) : "";
      text += fmt::format("\n  unexpected: {} {}{}{}", name, type, hint.empty() ? "" : "; ", hint);
    }
    for (const std::string& line : ill_typed_) text += "\n  ill-typed: " + line;
    return text;
  }

  const Graph& graph_;
  const std::string& path_;
  const std::vector<std::string>& skip_;
  TensorMap weights_;
  std::map<std::string, std::string> names_;  // of the file, by key
  std::vector<const Parameter*> missing_;
  std::vector<std::pair<std::string, std::string>> unexpected_;  // name and type
  std::vector<std::string> ill_typed_;
};

}  // namespace

TensorMap load_weights(const Graph& graph, const std::string& path,
                       const std::vector<std::string>& skip) {
  const WeightsFile file = read_weights_file(path);
  Fitting fitting(graph, path, skip);
  for (const auto& [name, tensor] : file.tensors) fitting.add(name, tensor);
  return fitting.finish();
}

TensorMap resolve_weights(const Graph& graph, const std::string& specification) {
  constexpr std::string_view kRandom = "random";
  const std::string_view text = specification;
  if (text != kRandom && !text.starts_with("random:")) return load_weights(graph, specification);
  const std::string_view digits = text.substr(std::min(text.size(), kRandom.size() + 1));
  std::uint64_t seed = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), seed);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    throw usage_error(fmt::format(
        "weights '{}': write random:SEED with a whole number, e.g. random:1, or a file: "
        "safetensors, model.safetensors.index.json, .pth",
        specification));
  }
  return trial_weights(graph, seed);
}

}  // namespace facet
