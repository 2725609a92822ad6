#include "backends/cpu/primitive_kernel.h"

#include <fmt/format.h>

#include "ir/error.h"

namespace facet::cpu {
namespace {

constexpr std::size_t kAlignment = 64;

std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// Primitives with their memory objects, ready for oneDNN's C interface: its C++ one builds a list
/// of arguments on every call.
struct Bound {
  struct Call {
    dnnl::primitive primitive;
    std::vector<dnnl::memory> memories;
    std::vector<dnnl_exec_arg_t> arguments;
  };
  dnnl::stream stream;
  std::vector<Call> calls;

  void operator()() const {
    for (const Call& call : calls) {
      const dnnl_status_t status =
          dnnl_primitive_execute(call.primitive.get(), stream.get(),
                                 static_cast<int>(call.arguments.size()), call.arguments.data());
      if (status != dnnl_success) {
        throw failure(
            fmt::format("oneDNN could not run a primitive (status {})", static_cast<int>(status)));
      }
    }
  }
};

}  // namespace

Place PrimitiveKernel::reserve(std::size_t bytes) {
  const Place place{Place::Kind::scratch, reserved_};
  reserved_ += aligned(bytes);
  return place;
}

void PrimitiveKernel::append(const PrimitiveDesc& descriptor,
                             std::vector<PlacedArgument> arguments) {
  Descriptor scratchpad = descriptor.scratchpad_desc();
  scratchpad_ = std::max(scratchpad_, scratchpad.get_size());
  steps_.push_back(
      {dnnl::primitive(descriptor.get()), std::move(arguments), std::move(scratchpad)});
}

std::size_t PrimitiveKernel::scratch_bytes() const { return reserved_ + aligned(scratchpad_); }

std::function<void()> PrimitiveKernel::bind(DeviceQueue&, std::span<std::byte* const> operands,
                                            std::span<std::byte* const> results,
                                            std::byte* scratch) const {
  const auto address = [&](const Place& place) -> std::byte* {
    switch (place.kind) {
      case Place::Kind::operand:
        return operands[place.index];
      case Place::Kind::result:
        return results[place.index];
      case Place::Kind::scratch:
        return scratch + place.index;
    }
    return nullptr;
  };
  auto bound = std::make_shared<Bound>();
  bound->stream = dnnl::stream(engine_);
  for (const Step& step : steps_) {
    Bound::Call call{step.primitive, {}, {}};
    const auto add = [&](int arg, const Descriptor& descriptor, std::byte* data) {
      call.memories.emplace_back(descriptor, engine_, data);
      call.arguments.push_back({arg, call.memories.back().get()});
    };
    for (const PlacedArgument& argument : step.arguments) {
      add(argument.arg, argument.descriptor, address(argument.place));
    }
    if (step.scratchpad.get_size() > 0) {
      add(DNNL_ARG_SCRATCHPAD, step.scratchpad, scratch + reserved_);
    }
    bound->calls.push_back(std::move(call));
  }
  return [bound] { (*bound)(); };
}

}  // namespace facet::cpu
