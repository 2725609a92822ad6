#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace facet {

/// What of the forward pass a training step computes again in its backward pass rather than keeping
/// it.
struct RecomputePolicy {
  enum class Kind {
    none,
    scope,  ///< everything inside the named scopes but what leaves them
    budget  ///< as little as makes the arena fit
  };
  Kind kind = Kind::none;
  /// scope: patterns like "layer1" or "layer*.*"; '*' stands for any part of one name. Each scope
  /// that one matches is computed again by itself.
  std::vector<std::string> scopes = {};
  std::int64_t bytes = 0;  ///< budget: of the arena; 0: `fraction` says it
  double fraction = 0;     ///< budget: of the arena without recomputation, in (0, 1)

  friend bool operator==(const RecomputePolicy&, const RecomputePolicy&) = default;
};

/// What was made to be computed again.
struct RecomputeReport {
  int values = 0;              ///< steps of the forward pass that run again behind it
  std::int64_t kept_less = 0;  ///< bytes by which the highest memory need sinks, as estimated
  double flops = 0;            ///< of those steps
  double all_flops = 0;        ///< of all steps before
};

/// "none", "scope:layer1,layer2.*", "budget:0.5", "budget:800MB" (kB, MB, GB decimal; KiB, MiB,
/// GiB; none: bytes). Throws Error(usage) "<where> is ..." that says what there is.
RecomputePolicy parse_recompute(std::string_view text,
                                std::string_view where = "the recompute policy");
/// The text that reads back as this policy.
std::string to_string(const RecomputePolicy& policy);

}  // namespace facet
