#include "backends/cuda/kernels/parameters.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace facet::cuda {

void Parameters::operand(int index, std::string_view type, std::string_view name, bool is_apart) {
  arguments_.push_back({KernelArgument::Place::operand, index});
  texts_.push_back(fmt::format("const {}*{} {}", type, is_apart ? " __restrict__" : "", name));
}

void Parameters::result(int index, std::string_view type, std::string_view name) {
  arguments_.push_back({KernelArgument::Place::result, index});
  texts_.push_back(fmt::format("{}* {}", type, name));
}

void Parameters::scratch() {
  arguments_.push_back({KernelArgument::Place::scratch, 0});
  texts_.emplace_back("float* scratch");
}

KernelSource Parameters::begin(std::string name, int threads, std::int64_t blocks,
                               int resident) const {
  KernelSource kernel{std::move(name), {}, threads, blocks, arguments_, 0};
  kernel.text = fmt::format("extern \"C\" __global__ void __launch_bounds__({}{}) {}({}) {{\n",
                            threads, resident > 0 ? fmt::format(", {}", resident) : "", kernel.name,
                            fmt::join(texts_, ", "));
  return kernel;
}

}  // namespace facet::cuda
