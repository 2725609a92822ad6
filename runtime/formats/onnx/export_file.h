#pragma once

#include <onnx/onnx_pb.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "ir/host_tensor.h"

namespace facet::onnx_export {

/// Initializers that are streamed into the file, in this order.
using Weights = std::vector<std::pair<std::string, HostTensor>>;

/// Writes `model`, whose graph gets `weights` as further initializers, without holding their bytes
/// in a message. `external`, or a model that would pass 2 GiB: weights of a kilobyte or more go to
/// PATH.data. Both files or neither; throws Error(failure).
void write_model(const ::onnx::ModelProto& model, const Weights& weights,
                 const std::filesystem::path& path, bool external);

}  // namespace facet::onnx_export
