#pragma once

#include <string>

#include "training/data/protocol_sets.h"
#include "training/evaluation/protocols.h"
#include "training/recipe.h"

namespace facet {

/// The set of pairs that an entry of EvaluationRecipe::pairs names: InsightFace's file (*.bin); a
/// list of pairs (*.txt) beside its pictures, or "LIST.txt:FOLDER" where they are elsewhere; or
/// faces that are rendered, "synth" with the defaults of SynthPairsOptions or
/// "synth:pairs=2000:seed=3:difficulty=0.5". Throws Error(usage) for none of these, and as what
/// opens it.
PairSet open_pair_set(const std::string& name);

/// What an entry of EvaluationRecipe::identification names: a folder of SCface, or "synth",
/// "synth:persons=80:first_person=50:seed=1".
IdentificationSet open_identification_set(const std::string& name);

/// Both lists of a recipe. Throws Error(usage) if two sets have one name.
ProtocolSets open_protocol_sets(const EvaluationRecipe& evaluation);

}  // namespace facet
