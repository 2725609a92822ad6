#include "backends/cpu/solution.h"

#include <fmt/format.h>

#include "ir/error.h"

namespace facet::cpu {
namespace {

std::optional<PrimitiveDesc> make_primitive(Device& device, const Recipe& recipe,
                                            std::span<const Descriptor> descriptors) {
  std::string key = recipe.key;
  for (const Descriptor& descriptor : descriptors) key.append(";").append(fingerprint(descriptor));
  return device.cache.get(key, [&] { return recipe.make(device.engine, descriptors); });
}

}  // namespace

std::optional<Solution> solve_as_given(Device& device, const Recipe& recipe) {
  std::vector<Descriptor> descriptors;
  for (const Argument& argument : recipe.arguments) {
    if (argument.given.get_data_type() != argument.wanted.get_data_type()) return std::nullopt;
    descriptors.push_back(argument.given);
  }
  std::optional<PrimitiveDesc> primitive = make_primitive(device, recipe, descriptors);
  if (!primitive) return std::nullopt;
  return Solution{*std::move(primitive), std::move(descriptors)};
}

std::optional<Solution> solve_as_wanted(Device& device, const Recipe& recipe) {
  std::vector<Descriptor> descriptors;
  for (const Argument& argument : recipe.arguments) descriptors.push_back(argument.wanted);
  std::optional<PrimitiveDesc> primitive = make_primitive(device, recipe, descriptors);
  if (!primitive) return std::nullopt;
  for (std::size_t i = 0; i < descriptors.size(); ++i) {
    if (descriptors[i].get_format_kind() == dnnl::memory::format_kind::any) {
      descriptors[i] = primitive->query_md(dnnl::query::exec_arg_md, recipe.arguments[i].arg);
    }
  }
  return Solution{*std::move(primitive), std::move(descriptors)};
}

bool solves_fast(const std::optional<Solution>& solution) {
  return solution && is_fast(solution->primitive);
}

void append_copy(Device& device, PrimitiveKernel& kernel, const Place& from,
                 const Descriptor& source, const Place& to, const Descriptor& target) {
  const std::optional<PrimitiveDesc> primitive =
      device.cache.get(fmt::format("copy;{};{}", fingerprint(source), fingerprint(target)), [&] {
        dnnl::primitive_attr attributes;
        attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
        return PrimitiveDesc(dnnl::reorder::primitive_desc(device.engine, source, device.engine,
                                                           target, attributes));
      });
  if (!primitive) throw failure("oneDNN has no copy between these layouts and dtypes");
  kernel.append(*primitive, {{DNNL_ARG_FROM, from, source}, {DNNL_ARG_TO, to, target}});
}

std::unique_ptr<PrimitiveKernel> build_kernel(Device& device, const Recipe& recipe,
                                              const Solution& solution) {
  auto kernel = std::make_unique<PrimitiveKernel>(device.engine);
  struct Copy {
    Place from;
    Descriptor source;
    Place to;
    Descriptor target;
  };
  std::vector<Copy> results;
  std::vector<PlacedArgument> arguments;
  int copies = 0;
  for (std::size_t i = 0; i < recipe.arguments.size(); ++i) {
    const Argument& argument = recipe.arguments[i];
    const Descriptor& needed = solution.descriptors[i];
    Place place{argument.is_result ? Place::Kind::result : Place::Kind::operand, argument.index};
    if (argument.given != needed) {
      const Place staged = kernel->reserve(needed.get_size());
      if (argument.is_result) {
        results.push_back({staged, needed, place, argument.given});
      } else {
        append_copy(device, *kernel, place, argument.given, staged, needed);
      }
      place = staged;
      ++copies;
    }
    arguments.push_back({argument.arg, place, needed});
  }
  kernel->append(solution.primitive, std::move(arguments));
  for (const Copy& copy : results) {
    append_copy(device, *kernel, copy.from, copy.source, copy.to, copy.target);
  }
  std::string name = solution.primitive.impl_info_str();
  if (copies > 0) name += fmt::format(" with {} copies", copies);
  kernel->set_implementation(std::move(name));
  return kernel;
}

std::string lowering_context(const Node& node) {
  const Provenance& from = node.provenance();
  return fmt::format("lowering {} '{}'{} for the CPU", node.kind(), from.scope,
                     from.location.empty() ? "" : " (" + from.location + ")");
}

Error onednn_failure(const dnnl::error& error) {
  return failure(
      fmt::format("oneDNN: {} (status {})", error.message, static_cast<int>(error.status)));
}

}  // namespace facet::cpu
