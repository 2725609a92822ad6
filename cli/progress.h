#pragma once

#include "training/progress.h"

namespace facet::cli {

using facet::clock_text;
using facet::Progress;

}  // namespace facet::cli
