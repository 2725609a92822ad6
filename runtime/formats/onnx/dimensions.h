#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "ir/type.h"
#include "runtime/formats/onnx/onnx_import.h"

namespace facet::onnx_import {

/// The dynamic dimensions of a model: the symbol or the extent of each.
class Dimensions {
 public:
  explicit Dimensions(const ImportOptions& options) : options_(options), extents_(options.dims) {}

  /// The type of a graph input; dimensions that its shape in the options fixes are remembered, so
  /// call it for all inputs before the types are used. Throws Error(failure) for what is no tensor
  /// of a type Facet has, Error(usage) if the shape given does not fit.
  Type declare(const ::onnx::ValueInfoProto& input);
  /// `type` with the extents that are known by now.
  Type resolve(Type type) const;
  /// Throws Error(usage) if the options name a dimension that no input has.
  void check_names() const;

 private:
  Dim dimension(const ::onnx::TensorShapeProto::Dimension& dim, const std::string& input,
                std::size_t axis);
  std::string symbol(const std::string& name);
  void fit(const std::string& input, const Type& type, const std::vector<std::int64_t>& given);

  const ImportOptions& options_;
  std::map<std::string, std::int64_t> extents_;  // by symbol or by the model's name
  std::map<std::string, std::string> symbols_;   // by the model's name
  std::set<std::string> taken_;
};

}  // namespace facet::onnx_import
