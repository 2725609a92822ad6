#include "zoo/zoo.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "ir/error.h"
#include "zoo/dcr.h"
#include "zoo/iresnet.h"
#include "zoo/lesa.h"
#include "zoo/lscnn.h"
#include "zoo/small_presets.h"

namespace facet::zoo {
namespace {

ModelSpec lscnn_spec() {
  ModelSpec spec;
  spec.name = "lscnn";
  spec.doc = "LS-CNN: dense blocks of multi-scale layers with dual face attention";
  spec.options = {
      {"num_classes", OptionKind::integer, "10559", "identities the classifier tells apart"},
      {"growth_rate", OptionKind::integer, "48", "channels each dense layer adds"},
      {"layers", OptionKind::integers, "3,3,5", "dense layers of the three blocks"},
      {"input_size", OptionKind::integer, "128", "height and width of the image, 127 to 142"},
  };
  spec.height = spec.width = 128;
  spec.preprocessing.fit = Preprocessing::Fit::center_crop;
  spec.outputs = {{"embedding", "[N, 512]"}, {"logits", "[N, num_classes]"}};
  spec.declare = [](const Settings& settings) {
    return lscnn({.num_classes = settings.integer("num_classes"),
                  .growth = settings.integer("growth_rate"),
                  .layers = settings.integers("layers"),
                  .input_size = settings.integer("input_size")});
  };
  return spec;
}

Graph declare_dcr(const Settings& settings) {
  DcrOptions options;
  options.backbone = settings.text("backbone");
  options.num_classes = settings.integer("num_classes");
  options.num_scales = settings.integer("num_scales");
  set_branch(options, settings.text("branch"));
  options.layers = settings.integers("layers");
  options.use_bn = settings.boolean("use_bn");
  options.normalized_embeddings = settings.boolean("normalized_embeddings");
  options.out_channels = settings.integer("out_channels");
  options.mid_channels = settings.integer("mid_channels");
  options.input_size = settings.integer("input_size");
  return dcr(options);
}

ModelSpec dcr_spec() {
  ModelSpec spec;
  spec.name = "dcr";
  spec.doc = "Deep Coupled ResNet: one trunk for all resolutions, one branch for each";
  spec.options = {
      {"num_classes", OptionKind::integer, "10575", "identities the classifiers tell apart"},
      {"num_scales", OptionKind::integer, "5", "branches; 0 is the full resolution"},
      {.name = "branch",
       .kind = OptionKind::integer,
       .default_value = "0",
       .doc = "the branch that runs, the trunk's own classifier, or all: an input and outputs for each "
              "scale",
       .choices = {"trunk", "all"},
       .minimum = 0},
      {"backbone",
       OptionKind::choice,
       "DCRTrunk",
       "the trunk",
       {"DCRTrunk", "NewDCRTrunk", "ResNet-18", "ResNet-34", "ResNet-50", "ResNet-101",
        "ResNet-152"}},
      {"layers", OptionKind::integers, "1,2,5,3", "residual blocks of the four stages"},
      {"use_bn", OptionKind::boolean, "true", "false: no BN, as in the paper; NewDCRTrunk only"},
      {"normalized_embeddings", OptionKind::boolean, "false", "embeddings get length 1"},
      {"out_channels", OptionKind::integer, "512", "width of the trunk's embedding"},
      {"mid_channels", OptionKind::integer, "512", "width of a branch's embedding"},
      {"input_size", OptionKind::integer, "120", "height and width of the image, 16 or more"},
  };
  spec.height = spec.width = 120;
  spec.outputs = {{"trunk_embeddings", "[N, out_channels]"},
                  {"branch_embeddings", "[N, mid_channels]; unless branch=trunk"},
                  {"branch_logits", "[N, num_classes]; unless branch=trunk"},
                  {"trunk_logits", "[N, num_classes]; with branch=trunk"},
                  {"branch_embeddings.k", "[N, mid_channels] of scale k; with branch=all"},
                  {"branch_logits.k", "[N, num_classes] of scale k; with branch=all"}};
  spec.declare = declare_dcr;
  return spec;
}

std::vector<OptionSpec> iresnet_options() {
  return {
      {"embedding_size", OptionKind::integer, "512", "width of the embedding"},
      {"zero_init_residual",
       OptionKind::choice,
       "none",
       "the BN weight of each residual that starts at 0; published code takes bn2 when asked",
       {"none", "bn2", "bn3"}},
  };
}

IResNetOptions iresnet_settings(const Settings& settings, std::int64_t depth) {
  const std::string& zero = settings.text("zero_init_residual");
  IResNetOptions options;
  options.depth = depth;
  options.embedding_size = settings.integer("embedding_size");
  if (zero == "bn2") options.zero_init_residual = ZeroInit::bn2;
  if (zero == "bn3") options.zero_init_residual = ZeroInit::bn3;
  return options;
}

ModelSpec iresnet_spec(std::string name, std::string doc) {
  ModelSpec spec;
  spec.name = std::move(name);
  spec.doc = std::move(doc);
  spec.options = iresnet_options();
  spec.height = spec.width = 112;
  spec.outputs = {{"embedding", "[N, embedding_size], not normalised"}};
  return spec;
}

template <std::int64_t depth>
ModelSpec arcface_spec() {
  ModelSpec spec = iresnet_spec(fmt::format("arcface_iresnet{}", depth),
                                fmt::format("ArcFace's improved ResNet, {} layers", depth));
  spec.declare = [](const Settings& settings) {
    return arcface_iresnet(iresnet_settings(settings, depth));
  };
  return spec;
}

template <std::int64_t depth>
ModelSpec mla_spec() {
  ModelSpec spec = iresnet_spec(
      fmt::format("mla_iresnet{}", depth),
      fmt::format("MLA-ArcFace: IResNet, {} layers, with multi-level attention", depth));
  spec.options.push_back({"shared_bn", OptionKind::boolean, "true",
                          "one BN for side branch, trunk and their sum, as published; "
                          "false: three"});
  spec.options.push_back({"clamp", OptionKind::boolean, "true",
                          "clamp the side branch's energies to [-1, 1], as published; "
                          "false: divide by sqrt(64)"});
  spec.declare = [](const Settings& settings) {
    IResNetOptions options = iresnet_settings(settings, depth);
    options.shared_bn = settings.boolean("shared_bn");
    options.clamp = settings.boolean("clamp");
    return mla_iresnet(options);
  };
  return spec;
}

std::vector<OptionSpec> lesa_options() {
  return {
      {"num_classes", OptionKind::integer, "1000", "classes the classifier tells apart"},
      {"lesa", OptionKind::boolean, "true", "false: 3x3 convolutions everywhere, same strides"},
      {"pe_type",
       OptionKind::choice,
       "classification",
       "places: one table along the raster, or rows and columns for queries",
       {"classification", "detection_qr"}},
      {"groups", OptionKind::integer, "8", "heads of a LESA layer"},
      {"layers", OptionKind::integers, "3,4,6,3", "blocks of the stages"},
      {"strides", OptionKind::integers, "1,2,2,1", "of the stages"},
      {"stage_with_lesa", OptionKind::integers, "0,0,1,1", "1: the stage has LESA layers"},
      {"stage_with_first_conv", OptionKind::integers, "1,1,1,0",
       "1: the stage's first block keeps its convolution"},
      {"stage_spatial_res", OptionKind::integers, "56,28,14,14",
       "side of the stages' results; sizes the tables of places"},
      {"df_channel_shrink", OptionKind::integers, "2",
       "of each hidden convolution of the fusion: channels in / channels out"},
      {"df_kernel_size", OptionKind::integers, "1,1",
       "of the fusion's hidden convolutions and of its projection"},
      {"df_group", OptionKind::integers, "1,1",
       "of the fusion's hidden convolutions and of its projection"},
      {"input_size", OptionKind::integer, "224", "height and width of the image"},
  };
}

LesaResNetOptions lesa_settings(const Settings& settings) {
  LesaResNetOptions options;
  options.num_classes = settings.integer("num_classes");
  options.input_size = settings.integer("input_size");
  options.layers = settings.integers("layers");
  options.strides = settings.integers("strides");
  options.lesa = settings.boolean("lesa");
  options.stage_with_lesa = settings.integers("stage_with_lesa");
  options.stage_with_first_conv = settings.integers("stage_with_first_conv");
  options.stage_spatial_res = settings.integers("stage_spatial_res");
  options.layer.positions = settings.text("pe_type") == "detection_qr"
                                ? LesaPositions::detection_qr
                                : LesaPositions::classification;
  options.layer.groups = settings.integer("groups");
  options.layer.channel_shrink = settings.integers("df_channel_shrink");
  options.layer.kernel_size = settings.integers("df_kernel_size");
  options.layer.group = settings.integers("df_group");
  return options;
}

template <std::int64_t base_width>
ModelSpec lesa_spec(std::string name, std::string doc) {
  ModelSpec spec;
  spec.name = std::move(name);
  spec.doc = std::move(doc);
  spec.options = lesa_options();
  spec.height = spec.width = 224;
  spec.preprocessing = {.fit = Preprocessing::Fit::center_crop,
                        .shorter_side = 256,
                        .mean = {0.485F, 0.456F, 0.406F},
                        .std = {0.229F, 0.224F, 0.225F}};
  spec.outputs = {{"logits", "[N, num_classes]"}};
  spec.declare = [](const Settings& settings) {
    LesaResNetOptions options = lesa_settings(settings);
    options.name = base_width == 64 ? "lesa_resnet50" : "lesa_wrn50";
    options.base_width = base_width;
    return lesa_resnet(options);
  };
  return spec;
}

std::vector<ModelSpec> all_models() {
  std::vector<ModelSpec> list = {
      lscnn_spec(),
      dcr_spec(),
      arcface_spec<18>(),
      arcface_spec<34>(),
      arcface_spec<50>(),
      arcface_spec<100>(),
      arcface_spec<200>(),
      mla_spec<18>(),
      mla_spec<34>(),
      mla_spec<50>(),
      mla_spec<100>(),
      mla_spec<200>(),
      lesa_spec<64>("lesa_resnet50",
                    "ResNet-50 with locally enhanced self-attention, for ImageNet"),
      lesa_spec<128>("lesa_wrn50", "the same, twice as wide inside"),
  };
  for (ModelSpec& small : small_presets()) list.push_back(std::move(small));
  return list;
}

}  // namespace

const std::vector<ModelSpec>& models() {
  static const std::vector<ModelSpec> list = all_models();
  return list;
}

const ModelSpec& find_model(std::string_view name) {
  const auto found = std::ranges::find(models(), name, &ModelSpec::name);
  if (found != models().end()) return *found;
  std::vector<std::string> known;
  for (const ModelSpec& model : models()) known.push_back(model.name);
  const std::string suggestion = did_you_mean(name, known);
  throw usage_error(fmt::format("unknown model '{}'{}{} (models: {})", name,
                                suggestion.empty() ? "" : "; ", suggestion,
                                fmt::join(known, ", ")));
}

Graph build(std::string_view name, const std::map<std::string, std::string>& settings) {
  const ModelSpec& model = find_model(name);
  return model.declare(Settings(model.name, model.options, settings));
}

}  // namespace facet::zoo
