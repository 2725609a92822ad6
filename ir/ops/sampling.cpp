#include <fmt/format.h>

#include <algorithm>

#include "ir/error.h"
#include "ir/ops/families.h"
#include "ir/ops/gradients_indexing.h"
#include "ir/ops/indexing.h"

// Ops that read images at points between their elements: grid_sample (Jaderberg et al. 2015) and
// roi_align (He et al. 2017), with their gradients.

namespace facet::ops {
namespace {

void require_word(const InferContext& context, std::string_view attribute,
                  std::initializer_list<std::string_view> words) {
  const std::string& word = context.attributes.text(attribute);
  if (std::find(words.begin(), words.end(), word) != words.end()) return;
  throw usage_error(fmt::format("'{}' knows no {} '{}'", context.op.name, attribute, word));
}

void require_cotangent(const Type& cotangent, const Type& result) {
  if (cotangent.shape == result.shape) return;
  throw usage_error(fmt::format("the cotangent is {} where {} is needed", to_string(cotangent),
                                to_string(result)));
}

Type grid_sample_type(const InferContext& context, std::size_t first) {
  const Type& x = context.operand(first);
  const Type& grid = context.operand(first + 1);
  const std::int64_t spatial = x.rank() - 2;
  require_word(context, "mode", {"linear", "nearest", "cubic"});
  require_word(context, "padding", {"zeros", "border", "reflection"});
  const bool fits = is_float(x.dtype) && is_float(grid.dtype) && spatial >= 1 && spatial <= 3 &&
                    grid.rank() == x.rank() && grid.shape[0] == x.shape[0] &&
                    grid.shape.back() == Dim(spatial);
  if (!fits) {
    throw usage_error(
        fmt::format("grid_sample takes images [N, C, ...] and a grid [N, ..., rank] "
                    "of floats, not {} and {}",
                    to_string(x), to_string(grid)));
  }
  Type result{x.dtype, {x.shape[0], x.shape[1]}, {}};
  result.shape.insert(result.shape.end(), grid.shape.begin() + 1, grid.shape.end() - 1);
  return result;
}

std::vector<Type> infer_grid_sample(const InferContext& context) {
  return {grid_sample_type(context, 0)};
}

std::vector<Type> infer_grid_sample_bwd(const InferContext& context) {
  require_cotangent(context.operand(0), grid_sample_type(context, 1));
  return {context.operand(1), context.operand(2)};
}

Type roi_align_type(const InferContext& context, std::size_t first) {
  const Type& x = context.operand(first);
  const Type& boxes = context.operand(first + 1);
  const Type& images = context.operand(first + 2);
  require_word(context, "mode", {"avg", "max"});
  require_indices(context, first + 2);
  for (const char* extent : {"output_height", "output_width"}) {
    require_extent(extent, context.attributes.integer(extent), 1);
  }
  require_extent("sampling_ratio", context.attributes.integer("sampling_ratio"), 0);
  if (!is_float(x.dtype) || !is_float(boxes.dtype) || x.rank() != 4 || boxes.rank() != 2 ||
      !(boxes.shape[1] == Dim(4)) || !(images.shape == Shape{boxes.shape[0]})) {
    throw usage_error(
        fmt::format("roi_align takes x [N, C, H, W], boxes [R, 4] and the number of "
                    "each box's image [R], not {}, {} and {}",
                    to_string(x), to_string(boxes), to_string(images)));
  }
  return Type{x.dtype,
              {boxes.shape[0], x.shape[1], context.attributes.integer("output_height"),
               context.attributes.integer("output_width")},
              {}};
}

std::vector<Type> infer_roi_align(const InferContext& context) {
  return {roi_align_type(context, 0)};
}

std::vector<Type> infer_roi_align_bwd(const InferContext& context) {
  require_cotangent(context.operand(0), roi_align_type(context, 1));
  return {context.operand(1), context.operand(2)};
}

Attributes sampling(const char* mode, const char* padding, bool align_corners) {
  return {{"mode", std::string(mode)},
          {"padding", std::string(padding)},
          {"align_corners", align_corners}};
}

std::vector<Sample> with_cotangent(std::vector<Sample> samples, std::vector<Type> cotangents) {
  for (std::size_t i = 0; i < samples.size(); ++i) {
    samples[i].operands.insert(samples[i].operands.begin(), cotangents[i]);
  }
  return samples;
}

std::vector<Sample> grid_sample_samples() {
  const std::vector<Type> plane{f32({2, 3, 5, 4}), f32({2, 3, 6, 2})};
  const std::vector<Type> volume{f32({1, 2, 3, 4, 3}), f32({1, 2, 3, 2, 3})};
  return {{plane, {}, -1.3, 1.3},
          {plane, sampling("linear", "border", true), -1.3, 1.3},
          {plane, sampling("linear", "reflection", false), -2.3, 2.3},
          {plane, sampling("linear", "reflection", true), -2.3, 2.3},
          {plane, sampling("cubic", "zeros", false), -1.3, 1.3},
          {plane, sampling("cubic", "reflection", true), -1.6, 1.6},
          {plane, sampling("nearest", "border", false), -1.3, 1.3},
          {volume, sampling("linear", "zeros", true), -1.3, 1.3}};
}
std::vector<Sample> grid_sample_bwd_samples() {
  const Type plane = f32({2, 3, 3, 6}), volume = f32({1, 2, 2, 3, 2});
  return with_cotangent(grid_sample_samples(),
                        {plane, plane, plane, plane, plane, plane, plane, volume});
}

std::vector<Sample> roi_align_samples() {
  const auto bins = [](const char* mode, bool half_pixel, std::int64_t ratio) {
    return Attributes{{"mode", std::string(mode)},        {"half_pixel", half_pixel},
                      {"sampling_ratio", ratio},          {"spatial_scale", 2.0},
                      {"output_height", std::int64_t{2}}, {"output_width", std::int64_t{3}}};
  };
  const std::vector<Type> operands{f32({2, 3, 5, 6}), f32({4, 4}), i64({4})};
  return {{operands, {{"spatial_scale", 2.5}}, 0, 2},
          {operands, bins("avg", true, 2), 0, 2},
          {operands, bins("avg", false, 0), 0, 2},
          {operands, bins("max", true, 2), 0, 2}};
}
std::vector<Sample> roi_align_bwd_samples() {
  const Type bins = f32({4, 3, 2, 3});
  return with_cotangent(roi_align_samples(), {f32({4, 3, 1, 1}), bins, bins, bins});
}

/// A point reads a few elements per axis.
double elements_read(const Node& node) { return 8 * result_elements(node); }

struct SamplingOp {
  std::string_view name, doc;
  Signature signature;
  std::vector<AttributeSpec> attributes;
  std::vector<Type> (*infer)(const InferContext&);
  Gradient gradient;
  OnnxMapping onnx;
  Samples::Make samples;
};

OpDef sampling_op(SamplingOp op) {
  return OpDef{.name = op.name,
               .doc = op.doc,
               .signature = std::move(op.signature),
               .attributes = std::move(op.attributes),
               .infer = op.infer,
               .gradient = op.gradient,
               .layout = LayoutRole::plain,
               .aliasing = Aliasing::fresh,
               .precision = PrecisionPolicy::f32,
               .decomposition = Decomposition::primitive(),
               .cost = Cost::memory(elements_read),
               .onnx = op.onnx,
               .samples = Samples::cases(op.samples)};
}

}  // namespace

std::vector<OpDef> sampling_ops() {
  const Gradient none = Gradient::none("second derivatives are not supported");
  const OnnxMapping backward = OnnxMapping::none("training steps are not exported");
  const std::vector<AttributeSpec> grid{
      {"mode", std::string("linear")}, {"padding", std::string("zeros")}, {"align_corners", false}};
  const std::vector<AttributeSpec> boxes{{"mode", std::string("avg")},
                                         {"output_height", std::int64_t{1}},
                                         {"output_width", std::int64_t{1}},
                                         {"sampling_ratio", std::int64_t{0}},
                                         {"spatial_scale", 1.0},
                                         {"half_pixel", true}};
  std::vector<OpDef> list;
  list.push_back(sampling_op(
      {"grid_sample",
       "Images read at the points of a grid, whose coordinates (the last axis first) run from -1 "
       "to "
       "1 across the image, or from the middle of its first element to that of its last "
       "(align_corners).",
       Signature({"x", "grid"}, {"y"}), grid, infer_grid_sample,
       Gradient::rule(grid_sample_gradient), OnnxMapping::op("GridSample", 16),
       grid_sample_samples}));
  list.push_back(sampling_op({"grid_sample_bwd", "Gradient of grid_sample by images and grid.",
                              Signature({"dy", "x", "grid"}, {"dx", "dgrid"}), grid,
                              infer_grid_sample_bwd, none, backward, grid_sample_bwd_samples}));
  list.push_back(sampling_op(
      {"roi_align",
       "Boxes (x1, y1, x2, y2, times spatial_scale) of the images that `images` numbers, cut into "
       "bins: the mean or maximum of sampling_ratio^2 points a bin (0: one an element), read "
       "between the elements. half_pixel: element i lies at i + 0.5; else boxes are at least 1 "
       "wide.",
       Signature({"x", "boxes", "images"}, {"y"}), boxes, infer_roi_align,
       Gradient::rule(roi_align_gradient), OnnxMapping::op("RoiAlign", 16), roi_align_samples}));
  list.push_back(sampling_op({"roi_align_bwd", "Gradient of roi_align by images and boxes.",
                              Signature({"dy", "x", "boxes", "images"}, {"dx", "dboxes"}), boxes,
                              infer_roi_align_bwd, none, backward, roi_align_bwd_samples}));
  return list;
}

}  // namespace facet::ops
