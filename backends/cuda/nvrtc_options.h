#pragma once

#include <string>
#include <vector>

namespace facet::cuda {

/// What kernels for this architecture are compiled with: part of what identifies their code.
std::vector<std::string> nvrtc_options(int architecture);

}  // namespace facet::cuda
