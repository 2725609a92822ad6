#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/passes/memory_case.h"

/// A machine that runs any graph on made-up numbers, once with every value in a place of its own
/// and once in the arena of a memory plan. Each op hashes what it reads, so a byte that is
/// overwritten too early changes every number behind it. It knows nothing of the planner or the
/// checker.
namespace facet::testing {

using Words = std::vector<std::uint64_t>;  ///< a value's elements in row-major order

inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t h = (a ^ (b + 0x9E3779B97F4A7C15u + (a << 6) + (a >> 2))) * 0xBF58476D1CE4E5B9u;
  h ^= h >> 29;
  return h * 0x94D049BB133111EBu ^ (h >> 32);
}

/// Multi-index of a row-major element number.
inline std::vector<std::int64_t> index_of(std::int64_t element,
                                          const std::vector<std::int64_t>& extents) {
  std::vector<std::int64_t> index(extents.size());
  for (std::size_t axis = extents.size(); axis-- > 0;) {
    index[axis] = element % extents[axis];
    element /= extents[axis];
  }
  return index;
}

inline std::int64_t element_of(const std::vector<std::int64_t>& index,
                               const std::vector<std::int64_t>& extents) {
  std::int64_t element = 0;
  for (std::size_t axis = 0; axis < extents.size(); ++axis) {
    element = element * extents[axis] + index[axis];
  }
  return element;
}

inline std::int64_t count_of(const std::vector<std::int64_t>& extents) {
  std::int64_t count = 1;
  for (const std::int64_t extent : extents) count *= extent;
  return count;
}

/// Element number in `from` that element `element` of `to` reads: NumPy broadcasting.
inline std::int64_t broadcast_element(std::int64_t element, const std::vector<std::int64_t>& to,
                                      const std::vector<std::int64_t>& from) {
  std::vector<std::int64_t> index = index_of(element, to);
  index.erase(index.begin(), index.end() - static_cast<std::ptrdiff_t>(from.size()));
  for (std::size_t axis = 0; axis < from.size(); ++axis) {
    if (from[axis] == 1) index[axis] = 0;
  }
  return element_of(index, from);
}

inline std::uint64_t truncate(std::uint64_t word, DType dtype) {
  const auto bits = 8 * static_cast<unsigned>(size_of(dtype));
  return bits == 64 ? word : word & ((std::uint64_t{1} << bits) - 1);
}

/// What the machine needs of each value: to read and to write an element.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual std::uint64_t read(Value value, std::int64_t element) = 0;
  virtual void write(Value value, std::int64_t element, std::uint64_t word) = 0;
};

/// Every value in a place of its own; values that no step makes have fixed numbers.
class PrivateMemory : public Memory {
 public:
  std::uint64_t read(Value value, std::int64_t element) override {
    return words_of(value).at(static_cast<std::size_t>(element));
  }
  void write(Value value, std::int64_t element, std::uint64_t word) override {
    words_of(value).at(static_cast<std::size_t>(element)) = truncate(word, value.dtype());
  }
  Words& words_of(Value value) {
    const auto [at, is_new] = words_.try_emplace(value);
    if (is_new) {
      const std::int64_t count = count_of(static_extents(value.shape()));
      for (std::int64_t i = 0; i < count; ++i) {
        const auto id = static_cast<std::uint64_t>(words_.size());
        at->second.push_back(truncate(mix(id, static_cast<std::uint64_t>(i)), value.dtype()));
      }
    }
    return at->second;
  }

 private:
  std::map<Value, Words> words_;
};

/// Values where a plan puts them. Throws std::out_of_range outside the arena.
class ArenaMemory : public Memory {
 public:
  ArenaMemory(const Storage& storage, std::int64_t arena_bytes, PrivateMemory& truth)
      : storage_(storage), bytes_(static_cast<std::size_t>(arena_bytes), 0xEE), truth_(truth) {}

  std::uint64_t read(Value value, std::int64_t element) override {
    if (!storage_.placements.contains(value)) return truth_.read(value, element);
    const std::int64_t at = address(value, element);
    std::uint64_t word = 0;
    for (std::int64_t i = size_of(value.dtype()); i-- > 0;) {
      word = word << 8 | bytes_.at(static_cast<std::size_t>(at + i));
    }
    return word;
  }
  void write(Value value, std::int64_t element, std::uint64_t word) override {
    const std::int64_t at = address(value, element);
    for (std::int64_t i = 0; i < size_of(value.dtype()); ++i, word >>= 8) {
      bytes_.at(static_cast<std::size_t>(at + i)) = static_cast<std::uint8_t>(word);
    }
  }
  void fill(std::int64_t begin, std::int64_t bytes) {
    for (std::int64_t i = 0; i < bytes; ++i) bytes_.at(static_cast<std::size_t>(begin + i)) ^= 0x5A;
  }
  std::int64_t address(Value value, std::int64_t element) const {
    const Placement& place = storage_.placements.at(value);
    const Buffer& buffer = storage_.buffers.at(static_cast<std::size_t>(place.buffer));
    const std::vector<std::int64_t> extents = static_extents(value.shape());
    const std::vector<std::int64_t> index = index_of(element, extents);
    std::int64_t position = 0;
    if (is_blocked(value.type().layout)) {
      position = blocked_position(index, extents);
    } else {
      for (std::size_t axis = 0; axis < index.size(); ++axis) {
        position += index[axis] * place.strides.at(axis);
      }
    }
    return buffer.offset + place.offset + position * size_of(value.dtype());
  }

 private:
  /// The one blocked layout the tests use: "aBcd8b".
  static std::int64_t blocked_position(const std::vector<std::int64_t>& index,
                                       const std::vector<std::int64_t>& extents) {
    const std::int64_t blocks = (extents[1] + 7) / 8;
    const std::int64_t outer = index[0] * blocks + index[1] / 8;
    return ((outer * extents[2] + index[2]) * extents[3] + index[3]) * 8 + index[1] % 8;
  }

  const Storage& storage_;
  std::vector<std::uint8_t> bytes_;
  PrivateMemory& truth_;
};

/// One step. `spoil` is called before a step that is not in place writes: kernels may write their
/// results before they have read everything.
class Machine {
 public:
  Machine(Memory& memory, const Storage* plan) : memory_(memory), plan_(plan) {}

  void run(Node& node, std::uint64_t id, const std::function<void()>& spoil) {
    if (plan_ != nullptr && plan_->free_steps.contains(&node)) return;
    if (node.is("reshape") || node.is("reorder")) {
      copy(node.operand(0), node.result(), [](std::int64_t i) { return i; });
    } else if (node.is("slice") || node.is("concat")) {
      move_parts(node);
    } else if (node.op().aliasing == Aliasing::in_place) {
      run_elementwise(node, id);
    } else {
      run_opaque(node, id, spoil);
    }
  }

 private:
  template <class Map>
  void copy(Value from, Value to, Map to_source) {
    const std::int64_t count = count_of(static_extents(to.shape()));
    for (std::int64_t i = 0; i < count; ++i) memory_.write(to, i, memory_.read(from, to_source(i)));
  }

  void move_parts(Node& node) {
    std::int64_t axis = node.attributes().integer("axis");
    if (axis < 0) axis += node.result_types()[0].rank();
    const auto at = static_cast<std::size_t>(axis);
    const std::vector<std::int64_t> whole =
        static_extents(node.is("slice") ? node.operand(0).shape() : node.result().shape());
    std::int64_t start = node.is("slice") ? node.attributes().integer("start") : 0;
    const auto shifted = [&](std::int64_t i, const std::vector<std::int64_t>& part) {
      std::vector<std::int64_t> index = index_of(i, part);
      index[at] += start;
      return element_of(index, whole);
    };
    if (node.is("slice")) {
      const std::vector<std::int64_t> part = static_extents(node.result().shape());
      return copy(node.operand(0), node.result(), [&](std::int64_t i) { return shifted(i, part); });
    }
    for (const Value& operand : node.operands()) {
      const std::vector<std::int64_t> part = static_extents(operand.shape());
      const std::int64_t count = count_of(part);
      if (!lies_there(operand, node.result(), shifted(0, part))) {
        for (std::int64_t i = 0; i < count; ++i) {
          memory_.write(node.result(), shifted(i, part), memory_.read(operand, i));
        }
      }
      start += part[at];
    }
  }

  /// By address, as the contract for concats says.
  bool lies_there(Value operand, Value result, std::int64_t first) const {
    const auto* arena = dynamic_cast<const ArenaMemory*>(&memory_);
    return arena != nullptr && plan_->placements.contains(operand) &&
           arena->address(operand, 0) == arena->address(result, first);
  }

  void run_elementwise(Node& node, std::uint64_t id) {
    const std::vector<std::int64_t> extents = static_extents(node.result().shape());
    for (std::int64_t i = 0; i < count_of(extents); ++i) {
      std::uint64_t word = id;
      for (const Value& operand : node.operands()) {
        const auto from = broadcast_element(i, extents, static_extents(operand.shape()));
        word = mix(word, memory_.read(operand, from));
      }
      memory_.write(node.result(), i, word);
    }
  }

  void run_opaque(Node& node, std::uint64_t id, const std::function<void()>& spoil) {
    spoil();
    std::uint64_t digest = id;
    for (const Value& operand : node.operands()) {
      const std::int64_t count = count_of(static_extents(operand.shape()));
      for (std::int64_t i = 0; i < count; ++i) digest = mix(digest, memory_.read(operand, i));
    }
    const std::int64_t count = count_of(static_extents(node.result().shape()));
    for (std::int64_t i = 0; i < count; ++i) {
      memory_.write(node.result(), i, mix(digest, static_cast<std::uint64_t>(i)));
    }
  }

  Memory& memory_;
  const Storage* plan_;
};

/// Runs the plan; the first difference from a run without it, or nothing. Scratch buffers, those
/// that no value lies in, are written at every step of their life.
inline std::optional<std::string> difference(const MemoryCase& c, const Storage& storage,
                                             std::int64_t arena_bytes) {
  PrivateMemory truth;
  ArenaMemory arena(storage, arena_bytes, truth);
  std::vector<bool> holds_values(storage.buffers.size(), false);
  for (const auto& [value, place] : storage.placements) {
    holds_values.at(static_cast<std::size_t>(place.buffer)) = true;
  }
  const auto differs = [&](Value value) {
    const Words& words = truth.words_of(value);
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (arena.read(value, static_cast<std::int64_t>(i)) != words[i]) return true;
    }
    return false;
  };
  try {
    for (Node* input : c.graph.inputs()) {
      const Words words = truth.words_of(input->result());
      for (std::size_t i = 0; i < words.size(); ++i) {
        arena.write(input->result(), static_cast<std::int64_t>(i), words[i]);
      }
    }
    Machine expected(truth, nullptr);
    Machine actual(arena, &storage);
    for (std::size_t s = 0; s < c.steps.size(); ++s) {
      Node& node = *c.steps[s];
      const auto step = static_cast<int>(s);
      for (const Value& operand : node.operands()) truth.words_of(operand);
      expected.run(node, s, [] {});
      for (std::size_t b = 0; b < storage.buffers.size(); ++b) {
        const Buffer& buffer = storage.buffers[b];
        const bool runs = buffer.first <= step && step <= buffer.last;
        if (!holds_values[b] && runs) arena.fill(buffer.offset, buffer.bytes);
      }
      actual.run(node, s, [&] {
        const std::int64_t count = count_of(static_extents(node.result().shape()));
        for (std::int64_t i = 0; i < count; ++i) arena.write(node.result(), i, ~std::uint64_t{0});
      });
      if (differs(node.result())) return "step " + std::to_string(s) + " differs";
    }
    for (const Output& output : c.graph.outputs()) {
      if (differs(output.value)) return output.name + " differs";
    }
  } catch (const std::out_of_range&) {
    return "outside the arena";
  }
  return std::nullopt;
}

}  // namespace facet::testing
