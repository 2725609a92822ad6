#pragma once

#include "ir/dsl.h"
#include "zoo/blocks/resnet_stem.h"

namespace facet::zoo {

/// The default trunk of published DCR code: a ResNet of basic blocks, `layers` a stage, whose
/// channels double from `stem.width` on. x [N, 3, H, W] -> [N, width of the last stage], the global
/// mean of its map: 512 for four stages and ImageNet's stem.
Tensor dcr_trunk(Scope scope, Tensor x, const Ints& layers, const ResNetStem& stem = {});

/// The trunk closer to DCR's paper: prelu stages with max pools, exactly the paper's without BN.
/// x [N, 3, H, W] -> [N, 512].
Tensor new_dcr_trunk(Scope scope, Tensor x, const Ints& layers, bool use_bn);

/// A stock ResNet without its classifier; depth 18, 34, 50, 101 or 152.
/// x [N, 3, H, W] -> [N, 512], or [N, 2048] from depth 50 on. Throws Error(usage) for other depths.
Tensor resnet_trunk(Scope scope, Tensor x, std::int64_t depth);

}  // namespace facet::zoo
