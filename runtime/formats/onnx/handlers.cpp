#include "runtime/formats/onnx/node_reader.h"

namespace facet::onnx_import {
namespace {

HandlerTable make_table() {
  HandlerTable table;
  for (auto* family : {add_compute_handlers, add_core_handlers, add_shape_handlers, add_refusals}) family(table);
  return table;
}

}  // namespace

const HandlerTable& handlers() {
  static const HandlerTable table = make_table();
  return table;
}

}  // namespace facet::onnx_import
