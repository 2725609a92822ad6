#include <algorithm>
#include <bit>
#include <map>
#include <optional>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/kernels/program.h"

namespace facet::cpu {
namespace {

/// Bit a: the value varies along axis a of the result.
using Axes = std::uint64_t;

/// Where a value of the whole program is to be had: strides per axis of the result.
struct Location {
  Source source;
  Axes axes = 0;
};

class Stager {
 public:
  Stager(const Node& node, const Program& program, std::span<const View> operands,
         const View& result)
      : program_(program), result_(result), extents_(static_extents(result.type.shape)) {
    for (std::size_t i = 0; i < program.inputs; ++i) {
      add_source({Source::Place::operand, i, float_type(node, operands[i].type.dtype),
                  operand_strides(node, i, operands[i])});
    }
    for (std::size_t i = 0; i < program.literals.size(); ++i) {
      add_source(
          {Source::Place::literal, i, Float::f32, std::vector<std::int64_t>(extents_.size(), 0)});
    }
    result_type_ = float_type(node, result.type.dtype);
    for (const Instruction& instruction : program.instructions) {
      Axes axes = 0;
      for (const std::size_t a : instruction.arguments) axes |= values_[a].axes;
      values_.push_back({{}, axes});
    }
    // The result is written whole, even where strides of 0 made all operands constant.
    for (std::size_t a = 0; a < extents_.size(); ++a) {
      if (extents_[a] != 1) values_.back().axes |= Axes{1} << a;
    }
  }

  StagedProgram run() {
    std::vector<Axes> spaces;
    for (std::size_t v = program_.first_result(); v < values_.size(); ++v) {
      spaces.push_back(values_[v].axes);
    }
    std::sort(spaces.begin(), spaces.end(), [](Axes a, Axes b) {
      return std::popcount(a) != std::popcount(b) ? std::popcount(a) < std::popcount(b) : a < b;
    });
    spaces.erase(std::unique(spaces.begin(), spaces.end()), spaces.end());
    staged_.literals = program_.literals;
    // A value's arguments vary along no more axes than it does, so smaller spaces come first.
    for (const Axes axes : spaces) staged_.stages.push_back(make_stage(axes));
    return std::move(staged_);
  }

 private:
  void add_source(Source source) {
    Axes axes = 0;
    for (std::size_t a = 0; a < source.strides.size(); ++a) {
      if (source.strides[a] != 0) axes |= Axes{1} << a;
    }
    values_.push_back({std::move(source), axes});
  }

  /// Operands broadcast as NumPy does; the channel statistics and slopes lie along axis 1.
  std::vector<std::int64_t> operand_strides(const Node& node, std::size_t i,
                                            const View& view) const {
    const bool per_channel = i > 0 && (node.is("batch_norm") || node.is("prelu"));
    if (!per_channel) return broadcast_strides(view, extents_);
    std::vector<std::int64_t> strides(extents_.size(), 0);
    if (static_extents(view.type.shape)[0] != 1) strides[1] = view.strides[0];
    return strides;
  }

  bool is_result(std::size_t value) const { return value + 1 == program_.values(); }

  /// Whether a stage of other axes reads the value.
  bool leaves(std::size_t value, Axes axes) const {
    for (std::size_t i = 0; i < program_.instructions.size(); ++i) {
      const auto& arguments = program_.instructions[i].arguments;
      const bool reads = std::find(arguments.begin(), arguments.end(), value) != arguments.end();
      if (reads && values_[program_.first_result() + i].axes != axes) return true;
    }
    return false;
  }

  /// Dense f32 scratch over `axes`, the axes lying in the result's order.
  Source allocate(Axes axes) {
    std::vector<std::size_t> order;
    for (std::size_t a = 0; a < extents_.size(); ++a) {
      if ((axes >> a & 1) != 0) order.push_back(a);
    }
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return result_.strides[a] < result_.strides[b];
    });
    Source source{Source::Place::scratch, staged_.scratch_bytes, Float::f32,
                  std::vector<std::int64_t>(extents_.size(), 0)};
    std::int64_t elements = 1;
    for (const std::size_t a : order) {
      source.strides[a] = elements;
      elements *= extents_[a];
    }
    staged_.scratch_bytes += (static_cast<std::size_t>(elements) * sizeof(float) + 63) / 64 * 64;
    return source;
  }

  Stage make_stage(Axes axes) {
    Stage stage;
    std::vector<std::size_t> members;
    for (std::size_t v = program_.first_result(); v < values_.size(); ++v) {
      if (values_[v].axes == axes) members.push_back(v);
    }
    std::map<std::size_t, std::size_t> number;  // program value -> stage value
    for (const std::size_t v : members) {
      for (const std::size_t a : instruction(v).arguments) {
        const bool computed_here = a >= program_.first_result() && values_[a].axes == axes;
        if (computed_here || number.contains(a)) continue;
        number[a] = stage.sources.size();
        stage.sources.push_back(values_[a].source);
      }
    }
    for (const std::size_t v : members) {
      number[v] = stage.sources.size() + stage.instructions.size();
      Instruction renumbered = instruction(v);
      for (std::size_t& a : renumbered.arguments) a = number.at(a);
      stage.instructions.push_back(std::move(renumbered));
    }
    for (const std::size_t v : members) {
      if (is_result(v)) {
        stage.sinks.push_back({number.at(v), true, 0, result_type_, result_.strides});
      } else if (leaves(v, axes)) {
        values_[v].source = allocate(axes);
        const Source& kept = values_[v].source;
        stage.sinks.push_back({number.at(v), false, kept.index, Float::f32, kept.strides});
      }
    }
    fuse_pairs(stage);
    collapse_axes(stage, axes);
    return stage;
  }

  const Instruction& instruction(std::size_t value) const {
    return program_.instructions[value - program_.first_result()];
  }

  /// What `inner` and `outer` become when nothing but `outer` reads `inner`; its own arguments are
  /// the inner ones, then the other outer one.
  static std::optional<Function> fused(Function inner, Function outer) {
    if (inner == Function::mul && outer == Function::add) return Function::multiply_add;
    if (inner == Function::add && outer == Function::relu) return Function::add_relu;
    if (inner == Function::multiply_add && outer == Function::relu) {
      return Function::multiply_add_relu;
    }
    return std::nullopt;
  }

  /// Pairs of instructions that one vector loop does are joined; the inner one goes.
  static void fuse_pairs(Stage& stage) {
    const std::size_t first = stage.sources.size();
    std::vector<int> reads(first + stage.instructions.size(), 0);
    for (const Instruction& i : stage.instructions) {
      for (const std::size_t a : i.arguments) ++reads[a];
    }
    for (const Sink& sink : stage.sinks) ++reads[sink.value];
    std::vector<bool> gone(stage.instructions.size(), false);
    for (Instruction& outer : stage.instructions) {
      for (std::size_t side = 0; side < outer.arguments.size(); ++side) {
        const std::size_t value = outer.arguments[side];
        if (value < first || reads[value] != 1) continue;
        const Instruction& inner = stage.instructions[value - first];
        const std::optional<Function> both = fused(inner.function, outer.function);
        if (!both) continue;
        std::vector<std::size_t> arguments = inner.arguments;
        if (outer.arguments.size() == 2) arguments.push_back(outer.arguments[1 - side]);
        outer = {*both, std::move(arguments)};
        gone[value - first] = true;
        break;
      }
    }
    drop(stage, gone);
  }

  static void drop(Stage& stage, const std::vector<bool>& gone) {
    const std::size_t first = stage.sources.size();
    std::vector<std::size_t> number(first + gone.size());
    std::vector<Instruction> kept;
    for (std::size_t v = 0; v < first; ++v) number[v] = v;
    for (std::size_t i = 0; i < gone.size(); ++i) {
      number[first + i] = first + kept.size();
      if (!gone[i]) kept.push_back(std::move(stage.instructions[i]));
    }
    for (Instruction& i : kept) {
      for (std::size_t& a : i.arguments) a = number[a];
    }
    for (Sink& sink : stage.sinks) sink.value = number[sink.value];
    stage.instructions = std::move(kept);
  }

  /// From axes of the result to as few loops as all sources and sinks allow.
  void collapse_axes(Stage& stage, Axes axes) const {
    std::vector<std::int64_t> extents(extents_.size(), 1);
    for (std::size_t a = 0; a < extents.size(); ++a) {
      if ((axes >> a & 1) != 0) extents[a] = extents_[a];
    }
    std::vector<std::vector<std::int64_t>> strides;
    for (const Sink& sink : stage.sinks) strides.push_back(sink.strides);
    for (const Source& source : stage.sources) strides.push_back(source.strides);
    Loops loops = collapse(extents, strides, 0);
    stage.extents = std::move(loops.extents);
    for (std::size_t i = 0; i < stage.sinks.size(); ++i) {
      stage.sinks[i].strides = std::move(loops.strides[i]);
    }
    for (std::size_t i = 0; i < stage.sources.size(); ++i) {
      stage.sources[i].strides = std::move(loops.strides[stage.sinks.size() + i]);
    }
  }

  const Program& program_;
  const View& result_;
  std::vector<std::int64_t> extents_;
  Float result_type_ = Float::f32;
  std::vector<Location> values_;
  StagedProgram staged_;
};

}  // namespace

StagedProgram make_stages(const Node& node, const Program& program, std::span<const View> operands,
                          const View& result) {
  return Stager(node, program, operands, result).run();
}

}  // namespace facet::cpu
