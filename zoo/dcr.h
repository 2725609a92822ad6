#pragma once

#include <optional>
#include <string>

#include "ir/dsl.h"
#include "zoo/blocks/resnet_stem.h"

namespace facet::zoo {

struct DcrOptions {
  std::string name = "dcr";
  /// "DCRTrunk", "NewDCRTrunk", "ResNet-18", "ResNet-34", "ResNet-50", "ResNet-101", "ResNet-152".
  std::string backbone = "DCRTrunk";
  std::int64_t num_classes = 10575;
  std::int64_t num_scales = 5;             ///< one branch each; 0 is the full resolution
  std::optional<std::int64_t> branch = 0;  ///< the branch that runs; none: the trunk's classifier
  /// All branches run, each on a picture of its own: the form that coupled training takes. `branch` is
  /// not read.
  bool all_branches = false;
  Ints layers = {1, 2, 5, 3};              ///< residual blocks of the stages; not for ResNet-*
  std::size_t stages = 4;              ///< as many as `layers` has numbers; DCRTrunk takes others
  ResNetStem stem = {};                ///< of DCRTrunk
  bool use_bn = true;                  ///< false: no BN, NewDCRTrunk only
  bool normalized_embeddings = false;  ///< embeddings of trunk and branch get length 1
  std::int64_t out_channels = 512;     ///< width of the trunk's embedding
  std::int64_t mid_channels = 512;     ///< width of a branch's embedding
  std::int64_t input_size = 120;       ///< height and width of the image, pixels; at least 16
  /// true: the outputs are `embedding` and `logits`, those of the branch or of the trunk alone.
  bool plain_outputs = false;
};

/// The option as text: "trunk", "all" or a number.
void set_branch(DcrOptions& options, const std::string& branch);

/// Deep Coupled ResNet (Lu, Jiang and Kot, "Deep Coupled ResNet for Low-Resolution Face
/// Recognition", IEEE SPL 25(4), 2018): one trunk for all resolutions, one small branch for each.
///
/// input [N, 3, S, S] -> trunk_embeddings [N, out_channels], and
///   with a branch: branch_embeddings [N, mid_channels] and branch_logits [N, num_classes];
///   without:       trunk_logits [N, num_classes];
/// or embedding and logits alone with `plain_outputs`. With `all_branches` the inputs are `input` for
/// scale 0 and `input.k` for scale k, through the same trunk in this order, and the outputs are those of
/// a branch with ".k" behind their names: branch_embeddings.0, branch_logits.0 ...
/// The state_dict always holds the trunk's classifier and every branch.
/// Throws Error(usage) when options are out of range or contradict each other.
Graph dcr(const DcrOptions& options = {});

}  // namespace facet::zoo
