#include "runtime/formats/onnx/prepare.h"

#include <fmt/format.h>
#include <onnx/checker.h>
#include <onnx/defs/schema.h>
#include <onnx/inliner/inliner.h>
#include <onnx/version_converter/convert.h>

#include <algorithm>
#include <exception>
#include <map>
#include <set>

#include "ir/error.h"

namespace facet::onnx_import {
namespace {

using ::onnx::FunctionProto;
using ::onnx::GraphProto;
using ::onnx::ModelProto;
using ::onnx::NodeProto;
using ::onnx::OpSchema;
using ::onnx::OpSchemaRegistry;
using Nodes = google::protobuf::RepeatedPtrField<NodeProto>;

constexpr std::int64_t kMostNodes = 1'000'000;

/// How many nodes the model has once all calls are replaced by bodies: each function is counted
/// once.
class ExpandedSize {
 public:
  explicit ExpandedSize(const ModelProto& model) {
    for (const FunctionProto& function : model.functions()) {
      functions_[key(function.domain(), function.name())].push_back(&function);
    }
  }

  std::int64_t nodes(const Nodes& list) {
    std::int64_t count = 0;
    for (const NodeProto& node : list) {
      const auto called = functions_.find(key(node.domain(), node.op_type()));
      count += 1;
      if (called != functions_.end()) {
        for (const FunctionProto* function : called->second) count += function_nodes(*function);
      }
      for (const auto& attribute : node.attribute()) {
        if (attribute.has_g()) count += nodes(attribute.g().node());
        for (const GraphProto& graph : attribute.graphs()) count += nodes(graph.node());
      }
      if (count > kMostNodes) {
        throw failure(fmt::format("its functions unfold to more than {} nodes", kMostNodes));
      }
    }
    return count;
  }

 private:
  static std::string key(const std::string& domain, const std::string& name) {
    return domain + "::" + name;
  }

  std::int64_t function_nodes(const FunctionProto& function) {
    const auto known = sizes_.find(&function);
    if (known != sizes_.end()) return known->second;
    if (!open_.insert(&function).second) {
      throw failure(fmt::format("function '{}' calls itself", function.name()));
    }
    if (open_.size() > 64) throw failure("functions call each other more than 64 levels deep");
    const std::int64_t count = nodes(function.node());
    open_.erase(&function);
    return sizes_[&function] = count;
  }

  std::map<std::string, std::vector<const FunctionProto*>> functions_;
  std::map<const FunctionProto*, std::int64_t> sizes_;
  std::set<const FunctionProto*> open_;
};

/// Whether an operator means something else, or is spelt in another way, in the newest opset.
bool has_changed(const NodeProto& node, std::int64_t opset) {
  if (!node.domain().empty() && node.domain() != "ai.onnx") return false;
  const auto* registry = OpSchemaRegistry::Instance();
  const OpSchema* then = registry->GetSchema(node.op_type(), static_cast<int>(opset), "");
  const OpSchema* now = registry->GetSchema(node.op_type(), static_cast<int>(kNewestOpset), "");
  if (then == nullptr || now == nullptr) return true;
  return then->since_version() != now->since_version();
}

/// What an exception of the library says, in one line.
std::string words_of(const std::exception& error) {
  std::string text = error.what();
  std::replace(text.begin(), text.end(), '\n', ' ');
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

/// Hardmax got another meaning in opset 13, which the converter does not know of.
bool is_misread(const ModelProto& model, std::int64_t opset) {
  const Nodes& nodes = model.graph().node();
  return opset < 13 && std::any_of(nodes.begin(), nodes.end(), [](const NodeProto& node) {
           return node.op_type() == "Hardmax" && node.domain().empty();
         });
}

void convert(ModelProto& model, std::int64_t opset, std::vector<std::string>& warnings) {
  if (is_misread(model, opset)) return;
  try {
    ModelProto lifted =
        ::onnx::version_conversion::ConvertVersion(model, static_cast<int>(kNewestOpset));
    if (lifted.graph().output_size() != model.graph().output_size()) {
      throw failure("outputs were lost");
    }
    model = std::move(lifted);
  } catch (const std::exception& error) {
    warnings.push_back(
        fmt::format("ONNX's version converter cannot lift the model from opset {} to {}; "
                    "it is read as it is ({})",
                    opset, kNewestOpset, words_of(error)));
  }
}

}  // namespace

std::string operator_name(const std::string& domain, const std::string& op) {
  return domain.empty() || domain == "ai.onnx" ? op : domain + "::" + op;
}

std::int64_t imported_opset(const ModelProto& model, const std::string& domain) {
  const bool own = domain.empty() || domain == "ai.onnx";
  for (const auto& opset : model.opset_import()) {
    const bool is_own = opset.domain().empty() || opset.domain() == "ai.onnx";
    if (own ? is_own : opset.domain() == domain) return opset.version();
  }
  return 0;
}

void inline_functions(ModelProto& model) {
  if (model.functions_size() == 0) return;
  ExpandedSize(model).nodes(model.graph().node());
  try {
    ::onnx::inliner::InlineLocalFunctions(model, true);
  } catch (const std::exception& error) {
    throw failure(fmt::format("its functions cannot be inlined: {}", words_of(error)));
  }
}

void check_and_convert(ModelProto& model, std::vector<std::string>& warnings) {
  try {
    ::onnx::checker::check_model(model);
  } catch (const std::exception& error) {
    throw failure(fmt::format("ONNX's checker refuses it: {}", words_of(error)));
  }
  const std::int64_t opset = imported_opset(model, "");
  if (opset == 0 || opset == kNewestOpset) return;
  const Nodes& nodes = model.graph().node();
  if (std::any_of(nodes.begin(), nodes.end(),
                  [&](const NodeProto& node) { return has_changed(node, opset); })) {
    convert(model, opset, warnings);
  }
}

}  // namespace facet::onnx_import
