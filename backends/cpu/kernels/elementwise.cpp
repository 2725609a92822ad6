#include <algorithm>
#include <array>
#include <numeric>
#include <string>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/planned_kernel.h"
#include "backends/cpu/kernels/program.h"

namespace facet::cpu {
namespace {

/// A tile is at most this many elements: larger ones leave the first-level cache, smaller ones
/// spend their time between the loops.
constexpr std::int64_t kTileElements = 2048;
/// Floats of all registers of one thread together (32 KiB, on the stack).
constexpr std::int64_t kPool = 8192;
constexpr std::size_t kNoRegister = static_cast<std::size_t>(-1);

struct Step {
  bool is_load = false;  ///< source `value` into its register; otherwise function -> value
  std::size_t value = 0;
  TileFunction function = nullptr;
  std::array<std::size_t, 3> arguments{};
  std::size_t argument_count = 0;
};

/// A stage cut into tiles of rows x cols over its two innermost loops. Values live in registers
/// (f32, one tile each) unless the loops can read or write them where they are in memory.
struct TiledStage {
  Stage stage;
  std::vector<Step> steps;
  std::vector<std::size_t> registers;  ///< per value: its register or kNoRegister
  std::vector<std::size_t> sink_of;    ///< per value: the sink it is computed into, or kNoRegister
  std::int64_t lanes = 0;              ///< floats per register
  std::int64_t tile_rows = 0, tile_cols = 0;
  std::int64_t row_tiles = 0, col_tiles = 0;
  std::int64_t units = 0;
  std::int64_t elements = 0;
};

/// f16, gaps between columns, and what a tile would widen many times over go through a register.
bool reads_in_place(const Stage& stage, std::size_t number) {
  const Source& source = stage.sources[number];
  const std::int64_t row = source.strides[source.strides.size() - 2];
  const std::int64_t col = source.strides.back();
  if (source.type == Float::f32) return col == 0 || col == 1;
  if (source.type == Float::f16 || col != 1 || row == 0) return false;
  for (const Instruction& instruction : stage.instructions) {
    for (std::size_t i = 0; i < instruction.arguments.size(); ++i) {
      if (instruction.arguments[i] != number) continue;
      if (!takes_bf16(instruction.function, static_cast<int>(i))) return false;
    }
  }
  return true;
}

bool writes_in_place(const Sink& sink) {
  return sink.type == Float::f32 && sink.strides.back() == 1;
}

/// Registers by linear scan; a register is free again after its value's last reader.
std::size_t assign_registers(TiledStage& tiled) {
  std::vector<std::size_t> last_use(tiled.registers.size(), 0);
  for (std::size_t s = 0; s < tiled.steps.size(); ++s) {
    const Step& step = tiled.steps[s];
    for (std::size_t a = 0; a < step.argument_count; ++a) last_use[step.arguments[a]] = s;
    last_use[step.value] = std::max(last_use[step.value], s);
  }
  for (const Sink& sink : tiled.stage.sinks) last_use[sink.value] = tiled.steps.size();
  std::vector<std::size_t> free;
  std::size_t count = 0;
  for (std::size_t s = 0; s < tiled.steps.size(); ++s) {
    const std::size_t value = tiled.steps[s].value;
    if (tiled.sink_of[value] == kNoRegister) {
      if (free.empty()) free.push_back(count++);
      tiled.registers[value] = free.back();
      free.pop_back();
    }
    for (std::size_t v = 0; v < last_use.size(); ++v) {
      if (last_use[v] == s && tiled.registers[v] != kNoRegister) free.push_back(tiled.registers[v]);
    }
  }
  return count;
}

void cut_tiles(TiledStage& tiled, std::size_t registers) {
  const std::vector<std::int64_t>& extents = tiled.stage.extents;
  const std::int64_t rows = extents[extents.size() - 2];
  const std::int64_t cols = extents.back();
  const std::int64_t share =
      kPool / std::max<std::int64_t>(static_cast<std::int64_t>(registers), 1);
  tiled.lanes = std::max<std::int64_t>(std::min(kTileElements, share / 16 * 16), 1);
  tiled.col_tiles = (cols + tiled.lanes - 1) / tiled.lanes;
  const std::int64_t even = (cols + tiled.col_tiles - 1) / tiled.col_tiles;
  tiled.tile_cols = std::min((even + 15) / 16 * 16, tiled.lanes);
  tiled.col_tiles = (cols + tiled.tile_cols - 1) / tiled.tile_cols;
  tiled.tile_rows =
      std::clamp<std::int64_t>(tiled.lanes / std::min(tiled.tile_cols, cols), 1, rows);
  tiled.row_tiles = (rows + tiled.tile_rows - 1) / tiled.tile_rows;
  tiled.elements =
      std::accumulate(extents.begin(), extents.end(), std::int64_t{1}, std::multiplies<>());
  tiled.units = tiled.elements / (rows * cols) * tiled.row_tiles * tiled.col_tiles;
}

TiledStage tile(Stage stage) {
  const std::size_t missing = stage.extents.size() < 2 ? 2 - stage.extents.size() : 0;
  stage.extents.insert(stage.extents.begin(), missing, 1);
  for (Source& s : stage.sources) s.strides.insert(s.strides.begin(), missing, 0);
  for (Sink& s : stage.sinks) s.strides.insert(s.strides.begin(), missing, 0);

  TiledStage tiled;
  const std::size_t first = stage.sources.size();
  tiled.registers.assign(first + stage.instructions.size(), kNoRegister);
  tiled.sink_of.assign(tiled.registers.size(), kNoRegister);
  for (std::size_t i = 0; i < stage.sinks.size(); ++i) {
    const Sink& sink = stage.sinks[i];
    if (writes_in_place(sink)) tiled.sink_of[sink.value] = i;
  }
  std::vector<bool> ready(first, false);
  for (std::size_t i = 0; i < first; ++i) ready[i] = reads_in_place(stage, i);
  for (std::size_t i = 0; i < stage.instructions.size(); ++i) {
    const Instruction& instruction = stage.instructions[i];
    Step step;
    step.value = first + i;
    step.function = vector_loops().functions[static_cast<int>(instruction.function)];
    for (const std::size_t a : instruction.arguments) {
      step.arguments[step.argument_count++] = a;
      if (a >= first || ready[a]) continue;
      ready[a] = true;
      Step load;
      load.is_load = true;
      load.value = a;
      tiled.steps.push_back(load);
    }
    tiled.steps.push_back(step);
  }
  tiled.stage = std::move(stage);
  cut_tiles(tiled, assign_registers(tiled));
  return tiled;
}

/// One thread's walk over tiles of a stage.
class Walk {
 public:
  Walk(const TiledStage& tiled, const std::vector<float>& literals, const Addresses& addresses)
      : tiled_(tiled), literals_(literals), addresses_(addresses), tiles_(tiled.registers.size()) {}

  void run(std::int64_t begin, std::int64_t end) {
    for (std::int64_t unit = begin; unit < end; ++unit) {
      place(unit);
      for (const Step& step : tiled_.steps) {
        step.is_load ? load(step.value) : apply(step);
      }
      for (std::size_t i = 0; i < tiled_.stage.sinks.size(); ++i) {
        const Sink& sink = tiled_.stage.sinks[i];
        if (tiled_.sink_of[sink.value] != i) store(sink);
      }
    }
  }

 private:
  /// Sets the tile's position and size and says where every value lies.
  void place(std::int64_t unit) {
    const std::vector<std::int64_t>& extents = tiled_.stage.extents;
    const std::size_t depth = extents.size();
    first_col_ = unit % tiled_.col_tiles * tiled_.tile_cols;
    unit /= tiled_.col_tiles;
    first_row_ = unit % tiled_.row_tiles * tiled_.tile_rows;
    outer_ = unit / tiled_.row_tiles;
    rows_ = std::min(tiled_.tile_rows, extents[depth - 2] - first_row_);
    cols_ = std::min(tiled_.tile_cols, extents[depth - 1] - first_col_);
    for (std::size_t v = 0; v < tiles_.size(); ++v) {
      if (tiled_.registers[v] != kNoRegister) {
        tiles_[v] = {pool_ + static_cast<std::int64_t>(tiled_.registers[v]) * tiled_.lanes, cols_,
                     true, Float::f32};
      } else if (v < tiled_.stage.sources.size()) {
        const Source& s = tiled_.stage.sources[v];
        tiles_[v] = {address(s), s.strides[depth - 2], s.strides[depth - 1] != 0, s.type};
      } else if (tiled_.sink_of[v] != kNoRegister) {
        const Sink& s = tiled_.stage.sinks[tiled_.sink_of[v]];
        tiles_[v] = {address(s), s.strides[depth - 2], true, Float::f32};
      }
    }
  }

  std::int64_t offset(const std::vector<std::int64_t>& strides) const {
    const std::vector<std::int64_t>& extents = tiled_.stage.extents;
    const std::size_t depth = extents.size();
    std::int64_t sum = first_row_ * strides[depth - 2] + first_col_ * strides[depth - 1];
    std::int64_t rest = outer_;
    for (std::size_t d = depth - 2; d-- > 0;) {
      sum += rest % extents[d] * strides[d];
      rest /= extents[d];
    }
    return sum;
  }

  const std::byte* address(const Source& source) const {
    if (source.place == Source::Place::literal) {
      return reinterpret_cast<const std::byte*>(&literals_[source.index]);
    }
    const std::byte* const base = source.place == Source::Place::operand
                                      ? addresses_.operands[source.index]
                                      : addresses_.scratch + source.index;
    return base + offset(source.strides) * size_of(source.type);
  }
  std::byte* address(const Sink& sink) const {
    std::byte* const base =
        sink.is_result ? addresses_.results[0] : addresses_.scratch + sink.index;
    return base + offset(sink.strides) * size_of(sink.type);
  }

  /// Widens a source into its register; what does not vary along rows or columns is kept once.
  void load(std::size_t value) {
    const Source& source = tiled_.stage.sources[value];
    const std::int64_t row = source.strides[source.strides.size() - 2];
    const std::int64_t col = source.strides.back();
    const std::byte* const from = address(source);
    auto* const to = static_cast<float*>(const_cast<void*>(tiles_[value].data));
    if (col == 0) {
      load_floats(source.type, from, row, to, row == 0 ? 1 : rows_);
      tiles_[value].row = row == 0 ? 0 : 1;
      tiles_[value].varies = false;
      return;
    }
    if (row == 0) {
      load_floats(source.type, from, col, to, cols_);
      tiles_[value].row = 0;
    } else if (row == cols_ && col == 1) {
      load_floats(source.type, from, 1, to, rows_ * cols_);
    } else {
      for (std::int64_t r = 0; r < rows_; ++r) {
        load_floats(source.type, from + r * row * size_of(source.type), col, to + r * cols_, cols_);
      }
    }
  }

  void apply(const Step& step) {
    std::array<Tile, 3> arguments;
    const Tile& to = tiles_[step.value];
    bool flat = to.row == cols_;
    for (std::size_t a = 0; a < std::min(step.argument_count, arguments.size()); ++a) {
      arguments[a] = tiles_[step.arguments[a]];
      flat = flat && (arguments[a].varies ? arguments[a].row == cols_ : arguments[a].row == 0);
    }
    auto* const y = static_cast<float*>(const_cast<void*>(to.data));
    if (flat) {
      step.function(y, 0, arguments.data(), 1, rows_ * cols_);
    } else {
      step.function(y, to.row, arguments.data(), rows_, cols_);
    }
  }

  void store(const Sink& sink) {
    const auto* const from = static_cast<const float*>(tiles_[sink.value].data);
    const std::int64_t row = sink.strides[sink.strides.size() - 2];
    const std::int64_t col = sink.strides.back();
    std::byte* const to = address(sink);
    if (row == cols_ && col == 1) {
      return store_floats(sink.type, from, to, 1, rows_ * cols_);
    }
    for (std::int64_t r = 0; r < rows_; ++r) {
      store_floats(sink.type, from + r * cols_, to + r * row * size_of(sink.type), col, cols_);
    }
  }

  const TiledStage& tiled_;
  const std::vector<float>& literals_;
  const Addresses& addresses_;
  std::vector<Tile> tiles_;
  std::int64_t first_row_ = 0, first_col_ = 0, outer_ = 0, rows_ = 0, cols_ = 0;
  alignas(64) float pool_[kPool];
};

struct ElementwisePlan {
  std::vector<float> literals;
  std::vector<TiledStage> stages;
  std::size_t scratch = 0;

  std::string implementation() const { return std::string("elementwise:") + vector_loops().name; }
  std::size_t scratch_bytes() const { return scratch; }
  void run(const Addresses& addresses) const {
    for (const TiledStage& stage : stages) {
      parallel_for(stage.units, stage.elements, [&](std::int64_t begin, std::int64_t end) {
        Walk(stage, literals, addresses).run(begin, end);
      });
    }
  }
};

}  // namespace

std::unique_ptr<Kernel> lower_elementwise(const Node& node, std::span<const View> operands,
                                          std::span<const View> results) {
  check_unblocked(node, operands, results);
  StagedProgram staged = make_stages(node, make_program(node), operands, results[0]);
  ElementwisePlan plan;
  plan.literals = std::move(staged.literals);
  plan.scratch = staged.scratch_bytes;
  for (Stage& stage : staged.stages) plan.stages.push_back(tile(std::move(stage)));
  return make_kernel(std::move(plan));
}

}  // namespace facet::cpu
