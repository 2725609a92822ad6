#pragma once

#include <array>
#include <string_view>

/// Spellings that the printer and the parser of the text form share, in the order of their enums.
namespace facet::text_names {

inline constexpr std::array<std::string_view, 9> kRoles{
    "weight",       "bias",        "bn_weight",       "bn_bias", "running_mean",
    "running_var", "batches_tracked", "prelu_slope", "other"};
inline constexpr std::array<std::string_view, 3> kInitializers{"constant", "uniform", "normal"};

}  // namespace facet::text_names
