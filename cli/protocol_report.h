#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "training/evaluation/ijb.h"
#include "training/evaluation/protocols.h"

/// What protocols measured, for people and for scripts.
namespace facet::cli {

/// A table for each kind of protocol; lines end in "\n".
std::string protocol_table(const ProtocolResults& results, const EvaluationRecipe& evaluation);

/// The members of a report that protocols have: `verification`, `identification` and others.
nlohmann::ordered_json protocol_json(const ProtocolResults& results,
                                     const EvaluationRecipe& evaluation);

/// The same of a protocol on templates (IJB-B, IJB-C).
std::string template_table(const TemplateResult& result);
nlohmann::ordered_json template_json(const TemplateResult& result);

}  // namespace facet::cli
