#include <gmock/gmock.h>

#include "tests/ir/error_of.h"
#include "tests/passes/memory_case.h"

namespace facet::testing {
namespace {

using test::error_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string refusal(const MemoryCase& c, const Storage& storage, std::int64_t arena_bytes = -1) {
  const std::int64_t bytes = arena_bytes < 0 ? c.arena.bytes : arena_bytes;
  return error_of([&] { check_memory_plan(c.graph, c.steps, storage, bytes); }, ErrorKind::failure);
}

/// x -> a -> b -> (a + b) -> y in row-major order; 64 bytes each.
struct Residual : MemoryCase {
  Value x = input("x", {1, 4, 2, 2});
  Value a = conv(x, 4);
  Value b = conv(a, 4);
  Value sum = add(a, b);
  Value y = conv(sum, 4);
  Residual() { output(y); }
  Storage separate() { return plan({.views = false, .in_place = false, .concat_slices = false}); }
};

TEST(CheckMemoryPlan, names_both_values_the_step_and_the_bytes_where_a_step_spoils_its_operand) {
  Residual c;
  Storage storage = c.separate();
  storage.placements[c.b] = place_of(storage, c.a);
  const std::int64_t at = buffer_of(storage, c.a).offset;
  EXPECT_EQ(refusal(c, storage),
            "memory plan: in step 1 conv 's1' f32[1, 4, 2, 2] and conv 's0' f32[1, 4, 2, 2] share "
            "bytes [" +
                std::to_string(at) + ", " + std::to_string(at + 64) + ")");
}

TEST(CheckMemoryPlan, notices_a_value_that_is_overwritten_between_its_steps) {
  Residual c;
  const Value late = c.add(c.y, c.a);
  c.graph.outputs().front().value = late;
  Storage storage = c.separate();
  const std::int64_t at = buffer_of(storage, c.a).offset;
  storage.buffers[static_cast<std::size_t>(place_of(storage, c.y).buffer)].offset = at;
  EXPECT_EQ(
      refusal(c, storage),
      "memory plan: step 4 (add) reads conv 's0' f32[1, 4, 2, 2], of which conv 's3' f32[1, 4, "
      "2, 2] of step 3 has overwritten bytes [" +
          std::to_string(at) + ", " + std::to_string(at + 64) + ")");
}

TEST(CheckMemoryPlan, notices_inputs_and_outputs_that_share) {
  Residual c;
  Storage storage = c.separate();
  storage.placements[c.b] = place_of(storage, c.x);  // x is dead by then: no byte is spoilt
  EXPECT_THAT(
      refusal(c, storage),
      HasSubstr("input 'x' f32[1, 4, 2, 2], an input or output of the graph, shares buffer 0 "
                "with conv 's1'"));
  storage = c.separate();
  Buffer& dead = storage.buffers[static_cast<std::size_t>(place_of(storage, c.b).buffer)];
  dead.last = 3;
  storage.buffers[static_cast<std::size_t>(place_of(storage, c.y).buffer)].bytes = 0;
  storage.placements[c.y] = place_of(storage, c.b);
  EXPECT_THAT(refusal(c, storage), HasSubstr("conv 's3' f32[1, 4, 2, 2], an input or output"));
}

TEST(CheckMemoryPlan, notices_scratch_over_a_live_value) {
  Residual c;
  Storage storage = c.separate();
  storage.buffers.push_back({64, 2, 2, "scratch of s2", buffer_of(storage, c.b).offset});
  EXPECT_THAT(refusal(c, storage), HasSubstr("scratch 'scratch of s2' of step 2 and conv 's1'"));
  storage.buffers.back() = {64, 1, 1, "scratch of s1", buffer_of(storage, c.b).offset};
  EXPECT_THAT(refusal(c, storage), HasSubstr("scratch 'scratch of s1' of step 1 and conv 's1'"));
  const std::int64_t beyond = c.arena.bytes;
  storage.buffers.back().offset = beyond;
  EXPECT_NO_THROW(check_memory_plan(c.graph, c.steps, storage, beyond + 64));
  storage.buffers.push_back(storage.buffers.back());
  EXPECT_THAT(refusal(c, storage, beyond + 64), HasSubstr("scratch 'scratch of s1' and scratch"));
}

TEST(CheckMemoryPlan, notices_what_lies_outside) {
  Residual c;
  const Storage storage = c.separate();
  EXPECT_THAT(refusal(c, storage, c.arena.bytes - 1),
              HasSubstr("does not lie at a multiple of 64"));
  Storage moved = storage;
  moved.buffers[1].offset += 4;
  EXPECT_THAT(refusal(c, moved, 1000), HasSubstr("does not lie at a multiple of 64"));
  moved = storage;
  moved.placements[c.a].offset = 4;
  EXPECT_THAT(refusal(c, moved), HasSubstr("does not lie in its buffer 's0' of 64 bytes"));
  moved = storage;
  moved.buffers[1].offset = -1;
  EXPECT_THAT(refusal(c, moved), HasSubstr("does not lie at"));
  moved = storage;
  moved.placements[c.a].buffer = 17;
  EXPECT_THAT(refusal(c, moved), HasSubstr("lies in buffer 17 of 5"));
  moved = storage;
  moved.placements.erase(c.sum);
  EXPECT_THAT(refusal(c, moved), HasSubstr("no place for add 's2'"));
}

TEST(CheckMemoryPlan, notices_strides_that_do_not_fit) {
  Residual c;
  const Storage storage = c.separate();
  for (const std::vector<std::int64_t>& strides :
       {std::vector<std::int64_t>{}, {16, 4, 2}, {16, 4, 1, 2}, {16, 4, 1, 1}, {16, 3, 2, 1}}) {
    Storage changed = storage;
    changed.placements[c.a].strides = strides;
    EXPECT_THAT(refusal(c, changed), HasSubstr("which do not fit its layout"));
  }
}

TEST(CheckMemoryPlan, notices_an_access_outside_a_buffers_life) {
  Residual c;
  Storage storage = c.separate();
  storage.buffers[static_cast<std::size_t>(place_of(storage, c.a).buffer)].last = 1;
  EXPECT_THAT(refusal(c, storage),
              HasSubstr("step 2 uses conv 's0' f32[1, 4, 2, 2] in buffer 's0', "
                        "which lives from step 0 to step 1"));
}

TEST(CheckMemoryPlan, notices_steps_in_the_wrong_order_or_twice) {
  Residual c;
  const Storage storage = c.separate();
  std::swap(c.steps[0], c.steps[1]);
  EXPECT_THAT(refusal(c, storage), HasSubstr("reads conv 's0' f32[1, 4, 2, 2] before it is made"));
  std::swap(c.steps[0], c.steps[1]);
  c.steps.insert(c.steps.begin() + 2, c.steps[1]);
  EXPECT_THAT(refusal(c, storage), HasSubstr("step 2 makes conv 's1' f32[1, 4, 2, 2] again"));
}

TEST(CheckMemoryPlan, notices_steps_wrongly_counted_as_free_or_not) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {1, 4, 2, 2}, "acdb"), 4);
  const Value b = c.conv(a, 4);
  const Value y = c.concat({a, b});
  const Value part = c.slice(y, 1, 2, 4);
  c.output(c.mean(part));
  const Storage storage = c.plan();
  for (Value free : {y, part}) {
    Storage changed = storage;
    changed.free_steps.erase(free.node);
    EXPECT_THAT(refusal(c, changed), HasSubstr("is not counted as free"));
  }
  Storage changed = c.plan({.views = false, .in_place = true, .concat_slices = false});
  for (Value moving : {y, part, a}) {
    Storage wrong = changed;
    wrong.free_steps.insert(moving.node);
    EXPECT_THAT(refusal(c, wrong), HasSubstr("is counted as free"));
  }
}

TEST(CheckMemoryPlan, notices_a_change_of_layout_that_passes_for_a_view) {
  for (const char* op : {"reshape", "reorder"}) {
    SCOPED_TRACE(op);
    MemoryCase c;
    const Value image = c.conv(c.input("x", {1, 4, 2, 2}, "acdb"), 4);
    const Value moved = op == std::string("reshape")
                            ? c.reshape(image, {1, 16})
                            : c.op("reorder", {image}, {{"layout", std::string()}});
    c.output(c.op("softmax", {moved}));
    Storage storage = c.plan();
    ASSERT_FALSE(share(storage, image, moved));
    storage.buffers[static_cast<std::size_t>(place_of(storage, moved).buffer)].bytes = 0;
    storage.buffers[static_cast<std::size_t>(place_of(storage, image).buffer)].last = 2;
    storage.placements[moved].buffer = place_of(storage, image).buffer;
    storage.free_steps.insert(moved.node);
    EXPECT_THAT(refusal(c, storage), HasSubstr("is counted as free"));
    storage.free_steps.clear();
    EXPECT_THAT(refusal(c, storage), HasSubstr("share bytes"));
  }
}

TEST(CheckMemoryPlan, notices_elements_off_their_alignment) {
  MemoryCase c;
  const Value half = c.op("cast", {c.input("x", {1, 6})}, {{"dtype", std::string("bf16")}});
  const Value part = c.slice(half, 1, 2, 4);
  c.output(c.op("softmax", {part}));
  Storage storage = c.plan();
  ASSERT_TRUE(is_free(storage, part));
  storage.placements[part].offset += 1;
  EXPECT_THAT(refusal(c, storage), HasSubstr("does not lie in its buffer"));
}

TEST(CheckMemoryPlan, notices_in_place_where_it_is_not_legal) {
  Residual c;
  Storage storage = c.plan();
  ASSERT_TRUE(share(storage, c.sum, c.a));
  // The next convolution may not write over what it reads.
  Value y = c.conv(c.y, 4);
  c.graph.outputs().front().value = y;
  storage = c.plan();
  storage.placements[c.y] = place_of(storage, c.sum);
  storage.buffers[static_cast<std::size_t>(place_of(storage, c.sum).buffer)].last = 4;
  EXPECT_THAT(refusal(c, storage), HasSubstr("in step 3 conv 's3'"));

  MemoryCase d;
  const Value wide = d.op("exp", {d.input("x", {1, 6})});
  const Value narrow = d.op("cast", {wide}, {{"dtype", std::string("bf16")}});
  d.output(d.op("softmax", {narrow}));
  Storage cast = d.plan();
  cast.buffers[static_cast<std::size_t>(place_of(cast, narrow).buffer)].bytes = 0;
  cast.buffers[static_cast<std::size_t>(place_of(cast, wide).buffer)].last = 2;
  cast.placements[narrow].buffer = place_of(cast, wide).buffer;
  EXPECT_THAT(refusal(d, cast), HasSubstr("in step 1 cast 's1'"));
}

TEST(CheckMemoryPlan, notices_slices_at_the_wrong_place) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {1, 4, 2, 2}, "acdb"), 4);
  const Value b = c.conv(a, 4);
  const Value y = c.concat({a, b});
  c.output(c.mean(y));
  const Storage storage = c.plan();
  Storage swapped = storage;
  std::swap(swapped.placements[a], swapped.placements[b]);
  EXPECT_THAT(refusal(c, swapped), HasSubstr("share bytes"));
  Storage overlapping = storage;
  overlapping.placements[b].offset -= 4;
  EXPECT_THAT(refusal(c, overlapping), HasSubstr("share bytes"));
}

}  // namespace
}  // namespace facet::testing
