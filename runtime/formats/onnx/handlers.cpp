#include "runtime/formats/onnx/import_math.h"
#include "runtime/formats/onnx/node_reader.h"

namespace facet::onnx_import {
namespace {

HandlerTable make_table() {
  HandlerTable table;
  for (auto* family : {add_shape_handlers, add_refusals,
                       add_arithmetic_handlers, add_index_handlers, add_layout_handlers,
                       add_sampling_handlers, add_signal_handlers, add_vision_handlers,
                       add_pooling_handlers, add_resize_handlers, add_normalization_handlers}) {
    family(table);
  }
  return table;
}

}  // namespace

const HandlerTable& handlers() {
  static const HandlerTable table = make_table();
  return table;
}

}  // namespace facet::onnx_import
