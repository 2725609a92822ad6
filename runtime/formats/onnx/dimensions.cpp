#include "runtime/formats/onnx/dimensions.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ir/error.h"
#include "runtime/formats/onnx/node_reader.h"
#include "runtime/formats/onnx/tensor_proto.h"

namespace facet::onnx_import {
namespace {

/// A name as an identifier: "batch size" is "batch_size".
std::string identifier(const std::string& name) {
  std::string result;
  for (const char c : name) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    result += word ? c : '_';
  }
  if (result.empty() || (result[0] >= '0' && result[0] <= '9')) result.insert(0, "_");
  return result;
}

}  // namespace

std::string Dimensions::symbol(const std::string& name) {
  const auto known = symbols_.find(name);
  if (known != symbols_.end()) return known->second;
  std::string result = identifier(name);
  while (!taken_.insert(result).second) result += '_';
  return symbols_[name] = result;
}

Dim Dimensions::dimension(const ::onnx::TensorShapeProto::Dimension& dim, const std::string& input,
                          std::size_t axis) {
  if (dim.has_dim_value() && dim.dim_value() >= 0) return Dim(dim.dim_value());
  if (dim.has_dim_value() && dim.dim_value() != -1) {  // -1: some writers' way to leave it open
    throw failure(fmt::format("input '{}' has the extent {}", input, dim.dim_value()));
  }
  if (!dim.dim_param().empty()) return Dim(symbol(dim.dim_param()));
  return Dim(symbol(axis == 0 ? "N" : fmt::format("{}_{}", input, axis)));
}

void Dimensions::fit(const std::string& input, const Type& type,
                     const std::vector<std::int64_t>& given) {
  bool fits = given.size() == type.shape.size();
  for (std::size_t i = 0; fits && i < given.size(); ++i) {
    const Dim& dim = type.shape[i];
    const std::int64_t extent =
        dim.is_static() ? dim.factor : extents_.emplace(dim.symbol, given[i]).first->second;
    fits = extent == given[i] && extent >= 0;
  }
  if (fits) return;
  throw usage_error(fmt::format("input '{}' has shape [{}], but the model takes {}", input,
                                fmt::join(given, ", "), to_string(resolve(type))));
}

Type Dimensions::declare(const ::onnx::ValueInfoProto& input) {
  if (!input.type().has_tensor_type()) {
    throw out_of_scope("sequences, maps and optional values");
  }
  const auto& tensor = input.type().tensor_type();
  Type type{facet_dtype(tensor.elem_type()), {}, {}};
  const auto given = options_.input_shapes.find(input.name());
  if (!tensor.has_shape()) {
    if (given == options_.input_shapes.end()) {
      throw failure(
          fmt::format("input '{}' has no shape in the file: it must be given", input.name()));
    }
    type.shape = Shape(given->second.begin(), given->second.end());
    return type;
  }
  std::size_t axis = 0;
  for (const auto& dim : tensor.shape().dim()) {
    type.shape.push_back(dimension(dim, input.name(), axis++));
  }
  for (const auto& [name, own] : symbols_) {  // an extent may be given by the model's own spelling
    const auto extent = extents_.find(name);
    if (extent != extents_.end()) extents_.emplace(own, extent->second);
  }
  if (given != options_.input_shapes.end()) fit(input.name(), type, given->second);
  return type;
}

Type Dimensions::resolve(Type type) const {
  for (Dim& dim : type.shape) {
    const auto extent = extents_.find(dim.symbol);
    if (dim.is_static() || extent == extents_.end()) continue;
    if (__builtin_mul_overflow(dim.factor, extent->second, &dim.factor) || dim.factor < 0) {
      throw usage_error(fmt::format("dimension {} cannot be {}", dim.symbol, extent->second));
    }
    dim.symbol.clear();
  }
  return type;
}

void Dimensions::check_names() const {
  std::vector<std::string> known;
  for (const auto& [name, own] : symbols_) known.push_back(own);
  for (const auto& [name, extent] : options_.dims) {
    if (symbols_.contains(name) || taken_.contains(name)) continue;
    const std::string hint = did_you_mean(name, known);
    throw usage_error(fmt::format("the model has no dynamic dimension '{}'{}{} (it has: {})", name,
                                  hint.empty() ? "" : "; ", hint, fmt::join(known, ", ")));
  }
}

}  // namespace facet::onnx_import
