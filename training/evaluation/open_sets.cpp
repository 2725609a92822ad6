#include "training/evaluation/open_sets.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/error.h"
#include "training/synth/synth_sets.h"

namespace facet {
namespace {

/// Options behind "synth", "synth:KEY=VALUE:KEY=VALUE".
class SynthName {
 public:
  explicit SynthName(std::string name) : name_(std::move(name)) {
    std::string_view rest = std::string_view(name_).substr(5);
    while (!rest.empty()) {
      rest.remove_prefix(1);  // ":"
      const std::string_view option = rest.substr(0, rest.find(':'));
      rest.remove_prefix(option.size());
      const auto equals = option.find('=');
      if (equals == std::string_view::npos) fail(option, "write KEY=VALUE");
      options_[std::string(option.substr(0, equals))] = option.substr(equals + 1);
    }
  }

  static bool fits(std::string_view name) { return name == "synth" || name.starts_with("synth:"); }

  template <class Number>
  void take(const char* key, Number& value) {
    const auto found = options_.find(key);
    known_.emplace_back(key);
    if (found == options_.end()) return;
    const std::string_view text = found->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) fail(text, "is not a number");
    options_.erase(found);
  }
  /// Throws for options that nobody took.
  void finish() const {
    if (options_.empty()) return;
    fail(options_.begin()->first,
         fmt::format("is no option; there are {}", fmt::join(known_, ", ")));
  }

 private:
  [[noreturn]] void fail(std::string_view what, std::string_view why) const {
    throw usage_error(fmt::format("{}: '{}' {}", name_, what, why));
  }

  std::string name_;
  std::map<std::string, std::string_view, std::less<>> options_;
  std::vector<std::string> known_;
};

void check_name(std::set<std::string>& names, const std::string& name) {
  if (names.insert(name).second) return;
  throw usage_error(fmt::format("[evaluation] has two sets of the name '{}'", name));
}

}  // namespace

PairSet open_pair_set(const std::string& name) {
  if (SynthName::fits(name)) {
    SynthName options(name);
    SynthPairsOptions synth;
    options.take("pairs", synth.pairs);
    options.take("seed", synth.seed);
    options.take("difficulty", synth.difficulty);
    options.finish();
    return open_synth_pairs(synth);
  }
  if (name.ends_with(".bin")) return open_verification_bin(name);
  if (name.ends_with(".txt")) return open_pairs(name);
  if (const auto colon = name.find(".txt:"); colon != std::string::npos) {
    return open_pairs(name.substr(0, colon + 4), name.substr(colon + 5));
  }
  throw usage_error(
      fmt::format("evaluation.pairs: '{}' is no set of pairs; name a file .bin of "
                  "InsightFace, a list .txt of pairs (LIST.txt:FOLDER if the pictures are "
                  "not beside it), or synth",
                  name));
}

IdentificationSet open_identification_set(const std::string& name) {
  if (SynthName::fits(name)) {
    SynthName options(name);
    SynthSurveillanceOptions synth;
    options.take("persons", synth.persons);
    options.take("first_person", synth.first_person);
    options.take("seed", synth.seed);
    options.finish();
    return open_synth_surveillance(synth);
  }
  if (!std::filesystem::is_directory(name)) {
    throw usage_error(
        fmt::format("evaluation.identification: '{}' is no folder of SCface; name one, or "
                    "synth",
                    name));
  }
  return open_scface_test(name);
}

ProtocolSets open_protocol_sets(const EvaluationRecipe& evaluation) {
  ProtocolSets sets;
  std::set<std::string> names;
  for (const std::string& name : evaluation.pairs) {
    sets.pairs.push_back(open_pair_set(name));
    check_name(names, sets.pairs.back().name);
  }
  names.clear();
  for (const std::string& name : evaluation.identification) {
    sets.identification.push_back(open_identification_set(name));
    check_name(names, sets.identification.back().name);
  }
  return sets;
}

}  // namespace facet
