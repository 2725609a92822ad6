#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <string>

namespace facet::onnx_import {

/// What a NodeReader reads.
struct NodeSource {
  const ::onnx::NodeProto& proto;
  std::string name;
  std::string op;  ///< as the handler table spells it
  std::int64_t opset = 0;

  const ::onnx::AttributeProto* attribute(std::string_view wanted) const;
  /// Name of input i; empty if it is left out.
  const std::string& input(int i) const;
};

}  // namespace facet::onnx_import
