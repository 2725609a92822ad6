#pragma once

#include <string>
#include <vector>

#include "passes/pass.h"

/// The compiler's remarks as reports list them.
namespace facet {

/// One place that a remark speaks of.
struct RemarkPlace {
  std::string scope;                 ///< "(top)" where there is none
  std::vector<std::string> origins;  ///< scopes that what was made there stands for; missed: none
};

/// Remarks that say the same of several places.
struct RemarkGroup {
  std::string pass;
  std::string pattern;
  std::string reason;  ///< missed: why not
  std::vector<RemarkPlace> places;
};

/// The remarks of one kind: passes in the order of their first remark, the groups of a pass with
/// the most places first.
std::vector<RemarkGroup> group_remarks(const std::vector<Remark>& remarks, Remark::Kind kind);

/// The places' scopes, one for each place.
std::vector<std::string> scopes_of(const RemarkGroup& group);
/// All origins of all places in order of appearance, without those that name the place itself: what
/// a reader cannot tell from the scopes.
std::vector<std::string> further_origins(const RemarkGroup& group);

/// Scopes that differ in numbers only as one pattern with its count: {"layer1.0.conv",
/// "layer1.1.conv", "fc"} becomes {"layer1.[0-1].conv (2)", "fc"}. Where several numbers differ the
/// pattern may stand for more than there is; the count is exact. In order of first appearance.
std::vector<std::string> compact_scopes(const std::vector<std::string>& scopes);

}  // namespace facet
