#pragma once

#include <functional>
#include <set>
#include <string>

#include "passes/target.h"

namespace facet::testing {

/// A target whose answers a test chooses. As it is made, it runs everything, multiplies every
/// dtype, takes every epilogue entry, wants row-major values and has no strided kernels.
class FakeTarget : public Target {
 public:
  std::function<bool(const Node&)> supported = [](const Node&) { return true; };
  std::function<bool(DType)> multiplied = [](DType) { return true; };
  std::function<bool(const Node&, std::string_view entry, const Type* extra)> takes_entry =
      [](const Node&, std::string_view, const Type*) { return true; };
  std::function<LayoutChoice(const Node&)> layouts = [](const Node& node) {
    LayoutChoice choice;
    choice.operands.resize(static_cast<std::size_t>(node.operand_count()));
    choice.results.resize(static_cast<std::size_t>(node.result_count()));
    return choice;
  };
  std::function<Layout(const Type&)> layout_of_state = [](const Type&) { return Layout{}; };

  std::string_view name() const override { return "fake"; }
  bool supports(const Node& node) const override { return supported(node); }
  bool multiplies(DType dtype) const override { return multiplied(dtype); }
  bool accepts_epilogue(const Node& node, std::string_view entry,
                        const Type* extra) const override {
    return takes_entry(node, entry, extra);
  }
  LayoutChoice choose_layouts(const Node& node) const override { return layouts(node); }
  Layout state_layout(const Type& type) const override { return layout_of_state(type); }
  bool writes_slices(const Node&, int) const override { return false; }
  bool reads_slices(const Node&, int) const override { return false; }
};

}  // namespace facet::testing
