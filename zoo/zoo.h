#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "zoo/settings.h"

/// The networks that come with Facet, by name.
namespace facet::zoo {

/// How a photo becomes the model's input. Pixels are RGB, 8 bit; a resize is bilinear with
/// antialiasing, and value = (pixel / 255 - mean) / std per channel.
struct Preprocessing {
  enum class Fit {
    stretch,     ///< to height x width, whatever the aspect
    center_crop  ///< the shorter side to a length, then height x width out of the middle
  };
  Fit fit = Fit::stretch;
  /// center_crop: the pixels the shorter side gets before the cut; 0: as many as the cut needs.
  std::int64_t shorter_side = 0;
  std::array<float, 3> mean = {0.5F, 0.5F, 0.5F};
  std::array<float, 3> std = {0.5F, 0.5F, 0.5F};
};

struct OutputSpec {
  std::string name;
  std::string doc;  ///< shape, and under which options it is there
};

struct ModelSpec {
  std::string name;
  std::string doc;
  std::vector<OptionSpec> options;
  std::int64_t height = 0;  ///< of the input [N, 3, height, width] under default options
  std::int64_t width = 0;
  Preprocessing preprocessing;
  std::vector<OutputSpec> outputs;
  Graph (*declare)(const Settings& settings);
};

/// All models in the order of the specs. The list is made once and never changes.
const std::vector<ModelSpec>& models();
/// Throws Error(usage) with the nearest names and the list.
const ModelSpec& find_model(std::string_view name);
/// The model's inference graph: one input `input` [N, 3, H, W], outputs as its spec says, the
/// state_dict of the whole module. Throws Error(usage) for an unknown model, option or value.
Graph build(std::string_view name, const std::map<std::string, std::string>& settings = {});

}  // namespace facet::zoo
