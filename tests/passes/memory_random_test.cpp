#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <utility>

#include "ir/error.h"
#include "tests/passes/memory_machine.h"
#include "tests/passes/memory_random_graph.h"

namespace facet::testing {
namespace {

/// The lowering asks for scratch between the two halves of the plan.
void add_scratch(Storage& storage, int steps, std::mt19937& random) {
  for (int step = 0; step < steps; ++step) {
    if (random() % 3 != 0) continue;
    storage.buffers.push_back({static_cast<std::int64_t>(random() % 300), step, step, "scratch"});
  }
}

TEST(RandomPlans, pass_the_checker_and_compute_the_same_numbers) {
  int slices = 0;
  int views = 0;
  int in_place = 0;
  for (unsigned seed = 0; seed < 800; ++seed) {
    SCOPED_TRACE(seed);
    MemoryCase c;
    const RandomGraph random(c, seed);
    std::mt19937 choices(seed);
    const StorageOptions options{.views = choices() % 8 != 0,
                                 .in_place = choices() % 8 != 0,
                                 .concat_slices = choices() % 8 != 0};
    Storage storage = assign_storage(c.graph, c.steps, c.target, options);
    const std::size_t buffers = storage.buffers.size();
    add_scratch(storage, static_cast<int>(c.steps.size()), choices);
    const ArenaPlan arena = place_buffers(storage.buffers);
    ASSERT_NO_THROW(check_memory_plan(c.graph, c.steps, storage, arena.bytes));
    ASSERT_EQ(difference(c, storage, arena.bytes).value_or(""), "");
    slices += storage.concat_slices;
    views += static_cast<int>(storage.free_steps.size());
    in_place += static_cast<int>(storage.placements.size() - buffers) - storage.concat_slices;
  }
  // The graphs are worth the name.
  EXPECT_GT(slices, 1500);
  EXPECT_GT(views, 1500);
  EXPECT_GT(in_place, 2500);
}

/// Damages the plan in one of many ways. Returns what it did, empty if it found nothing to damage.
class Mutation {
 public:
  Mutation(Storage& storage, ArenaPlan& arena, std::mt19937& random)
      : storage_(storage), arena_(arena), random_(random) {}

  std::string apply() {
    switch (draw(9)) {
      case 0:
        return shift_buffer();
      case 1:
        return swap_buffers();
      case 2:
        return move_value();
      case 3:
        return shift_value();
      case 4:
        return change_stride();
      case 5:
        return drop_free_step();
      case 6:
        arena_.bytes -= 64;
        return "smaller arena";
      case 7:
        return grow_scratch();
      default:
        return swap_values();
    }
  }

 private:
  std::size_t draw(std::size_t bound) { return random_() % bound; }
  Buffer& buffer() { return storage_.buffers[draw(storage_.buffers.size())]; }
  Placement& value() {
    auto at = storage_.placements.begin();
    std::advance(at, draw(storage_.placements.size()));
    return at->second;
  }

  std::string shift_buffer() {
    Buffer& at = buffer();
    at.offset += draw(2) == 0 || at.offset == 0 ? 64 : -64;
    return "shifted buffer";
  }
  std::string swap_buffers() {
    std::swap(buffer().offset, buffer().offset);
    return "swapped buffers";
  }
  /// Into another buffer, whose life is made to fit: only the bytes can tell.
  std::string move_value() {
    Placement& at = value();
    const Buffer& from = storage_.buffers[static_cast<std::size_t>(at.buffer)];
    const std::size_t other = draw(storage_.buffers.size());
    Buffer& to = storage_.buffers[other];
    if (to.bytes < from.bytes) return {};
    to.first = std::min(to.first, from.first);
    to.last = std::max(to.last, from.last);
    const int left = std::exchange(at.buffer, static_cast<int>(other));
    const bool is_empty = std::none_of(storage_.placements.begin(), storage_.placements.end(),
                                       [&](const auto& p) { return p.second.buffer == left; });
    if (is_empty) storage_.buffers[static_cast<std::size_t>(left)].bytes = 0;  // else it is scratch
    return "moved value";
  }
  std::string shift_value() {
    value().offset += draw(2) == 0 ? 4 : -4;
    return "shifted value";
  }
  std::string change_stride() {
    Placement& at = value();
    if (at.strides.empty()) return {};
    std::int64_t& stride = at.strides[draw(at.strides.size())];
    stride += draw(2) == 0 ? 1 : -1;
    return "changed stride";
  }
  std::string drop_free_step() {
    if (storage_.free_steps.empty()) return {};
    storage_.free_steps.erase(storage_.free_steps.begin());
    return "dropped free step";
  }
  std::string grow_scratch() {
    const auto step = static_cast<int>(draw(20));
    const std::int64_t offset = static_cast<std::int64_t>(draw(64)) * 64;
    storage_.buffers.push_back({64, step, step, "scratch", offset});
    return "new scratch";
  }
  std::string swap_values() {
    std::swap(value(), value());
    return "swapped values";
  }

  Storage& storage_;
  ArenaPlan& arena_;
  std::mt19937& random_;
};

bool checker_refuses(const MemoryCase& c, const Storage& storage, std::int64_t arena_bytes) {
  try {
    check_memory_plan(c.graph, c.steps, storage, arena_bytes);
    return false;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::failure);
    return true;
  }
}

TEST(RandomPlans, the_checker_notices_every_damage_that_changes_a_number) {
  std::map<std::string, int> harmful;
  int harmless = 0;
  int over_careful = 0;
  for (unsigned seed = 0; seed < 350; ++seed) {
    MemoryCase c;
    const RandomGraph graph(c, seed);
    std::mt19937 random(seed * 7919 + 1);
    Storage planned = assign_storage(c.graph, c.steps, c.target);
    add_scratch(planned, static_cast<int>(c.steps.size()), random);
    const ArenaPlan arena = place_buffers(planned.buffers);
    for (int round = 0; round < 6; ++round) {
      Storage storage = planned;
      ArenaPlan damaged = arena;
      const std::string what = Mutation(storage, damaged, random).apply();
      if (what.empty()) continue;
      const bool refused = checker_refuses(c, storage, damaged.bytes);
      const auto wrong = difference(c, storage, damaged.bytes);
      if (wrong) {
        ++harmful[what];
        EXPECT_TRUE(refused) << what << " of seed " << seed << ": " << *wrong;
      } else {
        ++harmless;
        over_careful += refused ? 1 : 0;
      }
    }
  }
  for (const auto& [what, count] : harmful) std::printf("%4d x %s\n", count, what.c_str());
  std::printf("%d harmless, of which %d refused for breaking the plan's own terms\n", harmless,
              over_careful);
  for (const char* what : {"shifted buffer", "swapped buffers", "moved value", "shifted value",
                           "changed stride", "new scratch", "swapped values"}) {
    EXPECT_GE(harmful[what], 30) << what;
  }
}

TEST(RandomPlans, the_checker_notices_every_life_that_is_cut_short) {
  int cut = 0;
  for (unsigned seed = 0; seed < 150; ++seed) {
    MemoryCase c;
    const RandomGraph graph(c, seed);
    Storage storage = assign_storage(c.graph, c.steps, c.target);
    const ArenaPlan arena = place_buffers(storage.buffers);
    for (Buffer& buffer : storage.buffers) {
      if (buffer.first == buffer.last) continue;
      ++buffer.first;
      EXPECT_TRUE(checker_refuses(c, storage, arena.bytes)) << seed;
      --buffer.first;
      --buffer.last;
      EXPECT_TRUE(checker_refuses(c, storage, arena.bytes)) << seed;
      ++buffer.last;
      cut += 2;
    }
  }
  EXPECT_GT(cut, 1000);
}

}  // namespace
}  // namespace facet::testing
