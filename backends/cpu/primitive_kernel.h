#pragma once

#include <dnnl.hpp>
#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/descriptors.h"
#include "backends/cpu/primitive_cache.h"

namespace facet::cpu {

/// Where a primitive's argument lies when a kernel runs.
struct Place {
  enum class Kind { operand, result, scratch } kind = Kind::operand;
  std::size_t index = 0;  ///< operand or result; bytes from the scratch's start
};

struct PlacedArgument {
  int arg = 0;  ///< DNNL_ARG_...
  Place place;
  Descriptor descriptor;
};

/// oneDNN primitives run one after the other: the computation itself and reorders around it. Owns
/// the primitives; its bound callables share them, and everything a run needs is made by `bind`.
class PrimitiveKernel : public Kernel {
 public:
  explicit PrimitiveKernel(dnnl::engine engine) : engine_(std::move(engine)) {}

  /// Reserves scratch that lives through the whole kernel.
  Place reserve(std::size_t bytes);
  /// Appends a primitive, with the scratchpad it asks for. Throws dnnl::error.
  void append(const PrimitiveDesc& descriptor, std::vector<PlacedArgument> arguments);
  void set_implementation(std::string name) { implementation_ = std::move(name); }

  std::string implementation() const override { return implementation_; }
  std::size_t scratch_bytes() const override;
  std::function<void()> bind(DeviceQueue&, std::span<std::byte* const> operands,
                             std::span<std::byte* const> results,
                             std::byte* scratch) const override;

 private:
  struct Step {
    dnnl::primitive primitive;
    std::vector<PlacedArgument> arguments;
    Descriptor scratchpad;
  };
  dnnl::engine engine_;
  std::vector<Step> steps_;
  std::string implementation_;
  std::size_t reserved_ = 0;    ///< staged operands and results
  std::size_t scratchpad_ = 0;  ///< the largest primitive's own, behind them
};

}  // namespace facet::cpu
