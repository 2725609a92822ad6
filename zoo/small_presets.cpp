#include "zoo/small_presets.h"

#include <fmt/format.h>

#include <utility>

#include "ir/error.h"
#include "zoo/dcr.h"
#include "zoo/iresnet.h"
#include "zoo/lesa.h"
#include "zoo/lscnn.h"

namespace facet::zoo {
namespace {

/// The stride of the first convolution, behind which a picture is 28 or 32 places wide.
std::int64_t stem_stride(std::string_view model, const Settings& settings) {
  const std::int64_t size = settings.integer("input_size");
  if (size != 28 && size != 64) {
    throw usage_error(
        fmt::format("{}: input_size={} does not fit: the small networks take pictures of 28 or 64 "
                    "pixels a side; resize them to one of the two",
                    model, size));
  }
  return size == 28 ? 1 : 2;
}

/// `layers` with one number for each of three stages.
Ints three_stages(std::string_view model, const Settings& settings) {
  Ints layers = settings.integers("layers");
  if (layers.size() == 3) return layers;
  throw usage_error(
      fmt::format("{}: layers takes three positive numbers, the blocks of each stage", model));
}

ModelSpec small_spec(std::string name, std::string doc, std::vector<OptionSpec> options) {
  ModelSpec spec;
  spec.name = std::move(name);
  spec.doc = std::move(doc);
  spec.options = {
      {"num_classes", OptionKind::integer, "10", "classes the classifier tells apart"},
      {"input_size", OptionKind::integer, "28", "height and width of the picture, 28 or 64"},
  };
  spec.options.insert(spec.options.end(), options.begin(), options.end());
  spec.height = spec.width = 28;
  return spec;
}

OptionSpec width(const char* value, const char* doc) {
  return {.name = "width",
          .kind = OptionKind::integer,
          .default_value = value,
          .doc = doc,
          .minimum = 16};
}

OptionSpec layers(const char* value, const char* doc) {
  return {"layers", OptionKind::integers, value, doc};
}

OptionSpec embedding_size() {
  return {"embedding_size", OptionKind::integer, "128", "width of the embedding"};
}

std::vector<OutputSpec> outputs(const char* embedding) {
  return {{"embedding", embedding}, {"logits", "[N, num_classes]"}};
}

ModelSpec lscnn_small_spec() {
  ModelSpec spec = small_spec(
      "lscnn_small", "LS-CNN for small pictures: two dense blocks with dual face attention",
      {width("32", "channels of the first convolutions; the second pair has twice as many"),
       {"growth_rate", OptionKind::integer, "32", "channels each dense layer adds"},
       layers("1,3", "dense layers of the two blocks"),
       embedding_size()});
  spec.outputs = outputs("[N, embedding_size]");
  spec.declare = [](const Settings& settings) {
    return lscnn({.name = "lscnn_small",
                  .num_classes = settings.integer("num_classes"),
                  .growth = settings.integer("growth_rate"),
                  .layers = settings.integers("layers"),
                  .input_size = settings.integer("input_size"),
                  .stem = settings.integer("width"),
                  .embedding_size = settings.integer("embedding_size"),
                  .small_stride = stem_stride("lscnn_small", settings)});
  };
  return spec;
}

Graph declare_dcr(const Settings& settings) {
  DcrOptions options;
  options.name = "dcr_small";
  options.stem = {.width = settings.integer("width"),
                  .kernel = 3,
                  .stride = stem_stride(options.name, settings)};
  options.num_classes = settings.integer("num_classes");
  options.num_scales = settings.integer("num_scales");
  set_branch(options, settings.text("branch"));
  options.normalized_embeddings = settings.boolean("normalized_embeddings");
  options.layers = settings.integers("layers");
  options.stages = 3;
  options.out_channels = options.mid_channels = settings.integer("embedding_size");
  options.input_size = settings.integer("input_size");
  options.plain_outputs = true;
  return dcr(options);
}

ModelSpec dcr_small_spec() {
  ModelSpec spec = small_spec(
      "dcr_small", "Deep Coupled ResNet for small pictures: a residual trunk and its branches",
      {{"num_scales", OptionKind::integer, "3", "branches; 0 is the full resolution"},
       {.name = "branch",
        .kind = OptionKind::integer,
        .default_value = "0",
        .doc = "the branch whose embedding and logits are the outputs, the trunk itself, or all: an "
               "input and outputs for each scale",
        .choices = {"trunk", "all"},
        .minimum = 0},
       {"normalized_embeddings", OptionKind::boolean, "false", "embeddings get length 1"},
       width("48", "channels of the stem and the first stage; each later stage doubles them"),
       layers("2,2,2", "residual blocks of the three stages"),
       embedding_size()});
  spec.outputs = outputs("[N, embedding_size]");
  spec.declare = declare_dcr;
  return spec;
}

Graph declare_mla(const Settings& settings) {
  IResNetOptions options;
  options.name = "mla_small";
  options.blocks = three_stages(options.name, settings);
  options.width = settings.integer("width");
  options.input_size = settings.integer("input_size");
  options.stem_stride = stem_stride(options.name, settings);
  options.embedding_size = settings.integer("embedding_size");
  options.num_classes = settings.integer("num_classes");
  options.shared_bn = settings.boolean("shared_bn");
  options.clamp = settings.boolean("clamp");
  options.patch = options.stem_stride == 1 ? 7 : 16;  // 4x4 patches, as the trunk's last map
  return settings.boolean("attention") ? mla_iresnet(options) : arcface_iresnet(options);
}

ModelSpec mla_small_spec() {
  ModelSpec spec = small_spec(
      "mla_small",
      "MLA-ArcFace for small pictures: IResNet with multi-level attention and a linear classifier",
      {{"attention", OptionKind::boolean, "true",
        "false: ArcFace's IResNet, without attention and side branch"},
       width("32", "channels of the stem and the first stage; each later stage doubles them"),
       layers("2,2,2", "blocks of the three stages"),
       embedding_size(),
       {"shared_bn", OptionKind::boolean, "false",
        "one BN for side branch, trunk and their sum, as published; false: three, so that running "
        "statistics are right"},
       {"clamp", OptionKind::boolean, "false",
        "clamp the side branch's energies to [-1, 1], as published; false: divide by sqrt(64)"}});
  spec.outputs = outputs("[N, embedding_size], not normalised");
  spec.declare = declare_mla;
  return spec;
}

Graph declare_lesa(const Settings& settings) {
  LesaResNetOptions options;
  options.name = "lesa_small";
  options.stages = 3;
  options.stem = {.width = settings.integer("width"),
                  .kernel = 3,
                  .stride = stem_stride(options.name, settings)};
  options.num_classes = settings.integer("num_classes");
  options.input_size = settings.integer("input_size");
  options.layers = three_stages(options.name, settings);
  options.strides = {1, 2, 1};
  options.lesa = settings.boolean("lesa");
  options.stage_with_lesa = {0, 0, 1};
  options.stage_with_first_conv = {1, 1, 0};
  const std::int64_t side = options.stem.stride == 1 ? 7 : 8;
  options.stage_spatial_res = {2 * side, side, side};
  options.layer.groups = settings.integer("groups");
  options.layer.positions = settings.text("pe_type") == "detection_qr"
                                ? LesaPositions::detection_qr
                                : LesaPositions::classification;
  options.embedding = true;
  return lesa_resnet(options);
}

ModelSpec lesa_small_spec() {
  ModelSpec spec = small_spec(
      "lesa_small",
      "ResNet with locally enhanced self-attention for small pictures: the last stage attends",
      {width("32", "planes of the first of three stages; the embedding is 16 times as wide"),
       layers("2,2,2", "bottleneck blocks of the three stages"),
       {"lesa", OptionKind::boolean, "true", "false: 3x3 convolutions everywhere, same strides"},
       {"pe_type",
        OptionKind::choice,
        "classification",
        "places: one table along the raster, or rows and columns for queries",
        {"classification", "detection_qr"}},
       {"groups", OptionKind::integer, "4", "heads of a LESA layer"}});
  spec.outputs = outputs("[N, 16 * width], the mean of the last map");
  spec.declare = declare_lesa;
  return spec;
}

}  // namespace

std::vector<ModelSpec> small_presets() {
  return {lscnn_small_spec(), dcr_small_spec(), mla_small_spec(), lesa_small_spec()};
}

}  // namespace facet::zoo
