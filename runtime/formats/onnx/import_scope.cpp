#include <fmt/format.h>

#include "runtime/formats/onnx/node_reader.h"

// What is out of scope, and why.

namespace facet::onnx_import {

Unsupported out_of_scope(std::string_view what) {
  return Unsupported(fmt::format("out of scope: {}", what));
}

std::string HandlerTable::reason(const std::string& op) const {
  auto it = reasons_.find(op);
  const std::size_t domain = op.find("::");
  if (it == reasons_.end() && domain != std::string::npos)
    it = reasons_.find(op.substr(0, domain + 2));
  if (it != reasons_.end()) return out_of_scope(it->second).what();
  return "Facet has no such operator";
}

void add_refusals(HandlerTable& table) {
  struct Refusal {
    std::string_view reason;
    std::vector<std::string_view> ops;
  };
  const std::vector<Refusal> refusals = {
      {"control flow", {"If", "Loop", "Scan"}},
      {"sequences",
       {"SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert",
        "SequenceLength", "SequenceMap", "SplitToSequence", "ConcatFromSequence"}},
      {"optional values", {"Optional", "OptionalGetElement", "OptionalHasElement"}},
      {"strings",
       {"StringConcat", "StringSplit", "StringNormalizer", "RegexFullMatch", "TfIdfVectorizer"}},
      {"recurrent networks", {"RNN", "GRU", "LSTM"}},
      {"image decoding", {"ImageDecoder"}},
      {"a shape that depends on the data", {"NonZero", "Unique", "Compress", "NonMaxSuppression"}},
      {"random numbers",
       {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial",
        "Bernoulli"}},
      {"operators of ai.onnx.ml", {"ai.onnx.ml::"}},
      {"optimizers and gradients as operators", {"ai.onnx.preview.training::"}},
  };
  for (const Refusal& refusal : refusals) {
    for (const std::string_view op : refusal.ops) table.refuse(op, refusal.reason);
  }
}

}  // namespace facet::onnx_import
