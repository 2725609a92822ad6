#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ir/error.h"
#include "runtime/formats/onnx/node_writer.h"

// Windows and points of images: transposed and deformed convolutions, dilated maxima, resizing,
// sampling.

namespace facet::onnx_export {
namespace {

void write_conv_transpose(NodeWriter& w) {
  const Attributes& a = w.attributes();
  w.result("ConvTranspose", w.operands(),
           {{"strides", a.ints("strides")},
            {"pads", a.ints("pads")},
            {"dilations", a.ints("dilations")},
            {"output_padding", a.ints("output_padding")},
            {"group", a.integer("groups")}});
}

Attributes max_pool_attributes(const Attributes& a) {
  return {{"kernel_shape", a.ints("kernel")},
          {"strides", a.ints("strides")},
          {"pads", a.ints("pads")},
          {"dilations", a.ints("dilations")}};
}

void write_max_pool_dilated(NodeWriter& w) {
  w.result("MaxPool", w.operands(), max_pool_attributes(w.attributes()));
}

void write_max_pool_indices(NodeWriter& w) {
  Attributes attributes = max_pool_attributes(w.attributes());
  attributes.set("storage_order", w.attributes().boolean("column_major"));
  w.result("MaxPool", w.operands(), std::move(attributes), 0, 1);
}

std::string deform_obstacle(const Node& node, int opset) {
  const bool fixed = node.operand(0).shape()[1].is_static();
  return fixed ? missing_before(19, opset, "DeformConv") : "a dynamic number of channels";
}

/// A deformed convolution of every channel for itself whose filters each pick one tap.
void write_deform_sample(NodeWriter& w) {
  const Attributes& a = w.attributes();
  const Ints& kernel = a.ints("kernel");
  const std::int64_t channels = w.type(0).shape[1].factor;
  const std::int64_t taps = kernel[0] * kernel[1];
  HostTensor weight(w.type(0).dtype, {channels * taps, 1, kernel[0], kernel[1]});
  const HostTensor one = HostTensor::scalar(weight.dtype(), 1);
  const std::int64_t size = size_of(weight.dtype());
  for (std::int64_t filter = 0; filter < channels * taps; ++filter) {
    std::copy_n(one.data(), size, weight.mutable_data() + (filter * taps + filter % taps) * size);
  }
  w.result("DeformConv", {w.operand(0), w.add("Constant", {}, {{"value", weight}}), w.operand(1)},
           {{"kernel_shape", kernel},
            {"strides", a.ints("strides")},
            {"pads", a.ints("pads")},
            {"dilations", a.ints("dilations")},
            {"group", channels},
            {"offset_group", a.integer("offset_groups")}});
}

std::string grid_sample_obstacle(const Node& node, int opset) {
  if (node.operand(0).type().rank() != 4) return missing_before(20, opset, "GridSample of volumes");
  return missing_before(16, opset, "GridSample");
}

/// The modes have other names since opset 20.
void write_grid_sample(NodeWriter& w) {
  const Attributes& a = w.attributes();
  std::string mode = a.text("mode");
  if (w.opset() < 20 && mode != "nearest") mode = mode == "linear" ? "bilinear" : "bicubic";
  w.result("GridSample", w.operands(),
           {{"mode", mode},
            {"padding_mode", a.text("padding")},
            {"align_corners", a.boolean("align_corners")}});
}

std::string roi_align_obstacle(const Node& node, int opset) {
  return node.attributes().boolean("half_pixel")
             ? missing_before(16, opset, "RoiAlign by half pixels")
             : "";
}

void write_roi_align(NodeWriter& w) {
  const Attributes& a = w.attributes();
  Attributes attributes;
  for (const char* name : {"output_height", "output_width", "sampling_ratio"}) {
    attributes.set(name, a.integer(name));
  }
  attributes.set("mode", a.text("mode"));
  attributes.set("spatial_scale", a.number("spatial_scale"));
  if (w.opset() >= 16) {
    attributes.set("coordinate_transformation_mode",
                   std::string(a.boolean("half_pixel") ? "half_pixel" : "output_half_pixel"));
  }
  w.result("RoiAlign", w.operands(), std::move(attributes));
}

/// What resize says, in the terms of ONNX.
struct Resizing {
  explicit Resizing(const Node& node)
      : a(node.attributes()), x(node.operand(0).shape()), y(node.result_types()[0].shape) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (a.ints("sizes")[i] != 0 || crops()) axes.push_back(static_cast<std::int64_t>(i));
    }
  }
  bool crops() const { return a.text("coordinates") == "tf_crop_and_resize"; }
  bool has_scales() const { return !a.doubles("scales").empty(); }
  bool is_static() const { return facet::is_static(x); }
  /// All axes ahead of the first resized one stay, all behind it are fixed.
  bool keeps_prefix() const {
    const auto first = static_cast<std::size_t>(axes.empty() ? 0 : axes[0]);
    return facet::is_static(Shape(x.begin() + static_cast<std::ptrdiff_t>(first), x.end()));
  }
  /// ONNX computes the sizes of the scales, in single precision.
  bool scales_give_sizes() const {
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto scale = static_cast<float>(a.doubles("scales")[i]);
      if (!x[i].is_static()) {
        if (scale != 1) return false;
      } else if (std::floor(static_cast<float>(x[i].factor) * scale) !=
                 static_cast<float>(y[i].factor)) {
        return false;
      }
    }
    return true;
  }

  const Attributes& a;
  const Shape& x;
  const Shape& y;
  Ints axes;  ///< that are resized
};

std::string resize_obstacle(const Node& node, int opset) {
  const Resizing r(node);
  if (r.a.boolean("antialias") && opset < 18)
    return missing_before(18, opset, "Resize's antialias");
  if (r.a.text("coordinates") == "half_pixel_symmetric" && opset < 19) {
    return missing_before(19, opset, "Resize's half_pixel_symmetric");
  }
  if (r.has_scales()) return r.scales_give_sizes() ? "" : "scales that do not give the sizes";
  if (r.crops() && !r.is_static()) return "a crop of dynamic extents";
  if (opset < 18 && !r.is_static() && !r.keeps_prefix()) {
    return missing_before(18, opset, "Resize between dynamic axes");
  }
  return "";
}

std::string floats(NodeWriter& w, const Doubles& values, DType dtype) {
  const HostTensor tensor =
      HostTensor::from_doubles({static_cast<std::int64_t>(values.size())}, values).cast(dtype);
  return w.add("Constant", {}, {{"value", tensor}});
}

/// The wanted extents: of the resized axes (opset 18), of all, or of those behind what stays.
std::string sizes_of(NodeWriter& w, const Resizing& r, Attributes& attributes) {
  Ints sizes;
  if (w.opset() >= 18 && !r.crops()) {
    for (const std::int64_t axis : r.axes)
      sizes.push_back(r.y[static_cast<std::size_t>(axis)].factor);
    attributes.set("axes", r.axes);
    return w.ints(sizes);
  }
  if (r.is_static()) return w.ints(static_extents(r.y));
  for (std::size_t i = static_cast<std::size_t>(r.axes[0]); i < r.y.size(); ++i) {
    sizes.push_back(r.y[i].factor);
  }
  const std::string shape = w.add("Shape", {w.operand(0)});
  const std::string kept = w.add("Slice", {shape, w.ints({0}), w.ints({r.axes[0]})});
  return w.add("Concat", {kept, w.ints(sizes)}, {{"axis", std::int64_t{0}}});
}

void write_resize(NodeWriter& w) {
  const Resizing r(w.node());
  const Attributes& a = w.attributes();
  if (r.axes.empty()) return w.result_is(w.operand(0));
  Attributes attributes{{"mode", a.text("mode")},
                        {"coordinate_transformation_mode", a.text("coordinates")},
                        {"nearest_mode", a.text("rounding")},
                        {"cubic_coeff_a", a.number("cubic_coefficient")},
                        {"exclude_outside", a.boolean("exclude_outside")},
                        {"extrapolation_value", a.number("extrapolation")}};
  if (w.opset() >= 18) attributes.set("antialias", a.boolean("antialias"));
  Names inputs{w.operand(0), r.crops() ? floats(w, a.doubles("roi"), DType::f32) : "", "", ""};
  if (r.has_scales()) {
    inputs[2] = floats(w, a.doubles("scales"), DType::f32);
  } else {
    inputs[3] = sizes_of(w, r, attributes);
  }
  w.result("Resize", std::move(inputs), std::move(attributes));
}

}  // namespace

void add_vision_writers(WriterTable& table) {
  table.add("conv_transpose", write_conv_transpose);
  table.add("max_pool_dilated", write_max_pool_dilated);
  table.add("max_pool_indices", write_max_pool_indices);
  table.add("deform_sample", write_deform_sample, deform_obstacle);
  table.add("grid_sample", write_grid_sample, grid_sample_obstacle);
  table.add("roi_align", write_roi_align, roi_align_obstacle);
  table.add("resize", write_resize, resize_obstacle);
}

}  // namespace facet::onnx_export
