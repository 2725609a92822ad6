#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <string>
#include <vector>

namespace facet::onnx_import {

/// The newest opset that is read.
inline constexpr std::int64_t kNewestOpset = 22;

/// "Relu" for ONNX's own operators, "domain::Operator" for others: how the handler table spells it.
std::string operator_name(const std::string& domain, const std::string& op);
/// The version in which the model imports a domain; 0 if it does not.
std::int64_t imported_opset(const ::onnx::ModelProto& model, const std::string& domain);

/// Replaces calls of the model's own functions by their bodies. Throws Error(failure) for functions
/// that call each other in a circle and when the model would grow beyond a million nodes.
void inline_functions(::onnx::ModelProto& model);

/// Runs ONNX's own checker, then its version converter up to `kNewestOpset`, if an operator of the
/// model has changed since. A model the converter cannot lift is left as it is; `warnings` says so.
/// Throws Error(failure) with the checker's words.
void check_and_convert(::onnx::ModelProto& model, std::vector<std::string>& warnings);

}  // namespace facet::onnx_import
