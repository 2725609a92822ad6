#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ir/attributes.h"

namespace facet::zoo {

/// What values an option takes.
enum class OptionKind {
  integer,   ///< at least `minimum`, or one of `choices`
  integers,  ///< "1,2,5,3"
  boolean,   ///< "true" or "false"
  choice     ///< one of `choices`
};

/// One option of a model, as `--set name=value` spells it.
struct OptionSpec {
  std::string name;
  OptionKind kind = OptionKind::integer;
  std::string default_value;
  std::string doc;
  std::vector<std::string> choices = {};
  std::int64_t minimum = 1;  ///< of an integer
};

/// "an integer of at least 1", "true or false", "DCRTrunk, NewDCRTrunk or ResNet-18".
std::string describe_values(const OptionSpec& option);

/// The options of a model as a caller set them, complete and checked.
class Settings {
 public:
  /// Throws Error(usage) that names model, option, value, the nearest names and what is allowed.
  Settings(std::string_view model, const std::vector<OptionSpec>& options,
           const std::map<std::string, std::string>& given);

  /// The accessors take a declared option of their kind.
  std::int64_t integer(std::string_view name) const;
  Ints integers(std::string_view name) const;
  bool boolean(std::string_view name) const { return text(name) == "true"; }
  const std::string& text(std::string_view name) const;

 private:
  std::map<std::string, std::string, std::less<>> values_;
};

}  // namespace facet::zoo
