#include <gmock/gmock.h>

#include "tests/passes/memory_case.h"

namespace facet::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Sizes: f32[1, 4, 2, 2] is 64 bytes.

TEST(AssignStorage, gives_each_value_of_a_chain_a_buffer_with_its_life) {
  MemoryCase c;
  const Value x = c.input("x", {1, 4, 2, 2});
  const Value a = c.conv(x, 8);
  const Value b = c.conv(a, 4);
  const Value y = c.conv(b, 2);
  c.output(y);
  const Storage storage = c.plan();
  ASSERT_EQ(storage.buffers.size(), 4u);
  ASSERT_EQ(storage.placements.size(), 4u);  // weights are not placed
  const auto expect = [&](Value value, std::int64_t bytes, int first, int last) {
    EXPECT_EQ(buffer_of(storage, value).bytes, bytes);
    EXPECT_EQ(buffer_of(storage, value).first, first);
    EXPECT_EQ(buffer_of(storage, value).last, last);
    EXPECT_EQ(place_of(storage, value).offset, 0);
  };
  expect(x, 64, 0, 0);
  expect(a, 128, 0, 1);
  expect(b, 64, 1, 2);
  expect(y, 32, 2, 2);
  EXPECT_EQ(buffer_of(storage, x).name, "x");
  EXPECT_EQ(buffer_of(storage, a).name, "s0");
  EXPECT_THAT(place_of(storage, a).strides, ElementsAre(32, 4, 2, 1));
  EXPECT_EQ(c.arena.lower_bound, 192);
  EXPECT_EQ(c.arena.bytes, 192);
  EXPECT_EQ(buffer_of(storage, b).offset, 128);  // where the input was
}

TEST(AssignStorage, keeps_an_unread_input_and_every_output_to_the_end) {
  MemoryCase c;
  const Value unread = c.input("unread", {1, 4, 2, 2});
  const Value x = c.input("x", {1, 4, 2, 2});
  const Value early = c.conv(x, 4);
  const Value middle = c.conv(early, 4);
  c.output(early);
  c.output(c.conv(middle, 4));
  const Storage storage = c.plan();
  EXPECT_EQ(buffer_of(storage, unread).last, 0);
  EXPECT_EQ(buffer_of(storage, early).last, 2);
}

TEST(AssignStorage, takes_steps_that_contain_the_inputs) {
  MemoryCase c;
  const Value x = c.input("x", {1, 4, 2, 2});
  c.steps.push_back(x.node);
  const Value late = c.input("late", {1, 4, 2, 2});
  c.steps.push_back(late.node);
  c.output(c.add(c.conv(x, 4), late));
  const Storage storage = c.plan();
  EXPECT_EQ(storage.placements.size(), 4u);
  EXPECT_EQ(buffer_of(storage, late).first, 0);
  EXPECT_EQ(buffer_of(storage, late).last, 3);
}

TEST(AssignStorage, rounds_blocked_channels_up_and_gives_them_no_strides) {
  MemoryCase c;
  const Value x = c.input("x", {1, 3, 2, 2}, "aBcd8b");
  const Value a = c.relu(x);
  c.output(c.mean(a));
  const Storage storage = c.plan();
  EXPECT_EQ(buffer_of(storage, a).bytes, 8 * 4 * 4);
  EXPECT_THAT(place_of(storage, a).strides, IsEmpty());
}

TEST(AssignStorage, refuses_symbols) {
  MemoryCase c;
  c.output(c.relu(c.input("x", {"N", 4})));
  EXPECT_THROW(assign_storage(c.graph, c.steps, c.target), Error);
}

TEST(InPlace, overwrites_an_operand_that_dies) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {1, 4, 2, 2}), 4);
  const Value b = c.relu(a);
  const Value d = c.op("sigmoid", {b});
  c.output(c.conv(d, 4));
  const Storage storage = c.plan();
  EXPECT_TRUE(share(storage, a, b));
  EXPECT_TRUE(share(storage, b, d));
  EXPECT_EQ(buffer_of(storage, a).first, 0);
  EXPECT_EQ(buffer_of(storage, a).last, 3);
  EXPECT_FALSE(is_free(storage, b));
}

TEST(InPlace, takes_the_second_operand_when_the_first_is_still_read) {
  MemoryCase c;
  const Value x = c.input("x", {1, 4, 2, 2});
  const Value a = c.conv(x, 4);
  const Value b = c.conv(a, 4);
  const Value sum = c.add(a, b);
  c.output(c.conv(c.op("mul", {sum, a}), 4));
  const Storage storage = c.plan();
  EXPECT_TRUE(share(storage, sum, b));
  EXPECT_FALSE(share(storage, sum, a));
}

TEST(InPlace, takes_an_operand_that_is_read_twice_in_the_step) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {1, 4, 2, 2}), 4);
  const Value square = c.op("mul", {a, a});
  c.output(c.conv(square, 4));
  EXPECT_TRUE(share(c.plan(), a, square));
}

/// What passes the relu takes the place of its cotangent, and what the norm gets that of x: neither
/// the place of an operand that is read later.
TEST(InPlace, gives_each_result_of_a_norm_gradient_an_operand_of_its_own) {
  for (const bool keeps_x : {false, true}) {
    MemoryCase c;
    const Value input = c.input("x", {1, 4, 2, 2});
    const Value dy = c.conv(input, 4), x = c.conv(input, 4), y = c.conv(input, 4);
    const Value scale = c.parameter("scale", {4}), mean = c.parameter("mean", {4});
    const Value dx =
        c.op("batch_norm_bwd", {dy, x, scale, mean, scale, y}, {{"tail", Strings{"add", "relu"}}});
    const Value passed{dx.node, 3};
    c.output(c.conv(dx, 4));
    c.output(c.conv(passed, 4));
    if (keeps_x) c.output(c.conv(x, 4));
    const Storage storage = c.plan();
    EXPECT_TRUE(share(storage, passed, dy));
    EXPECT_EQ(share(storage, dx, x), !keeps_x);
    EXPECT_EQ(share(storage, dx, y), keeps_x);
    EXPECT_FALSE(share(storage, dx, dy));
  }
}

TEST(InPlace, refuses_inputs_outputs_and_operands_read_later) {
  MemoryCase c;
  const Value x = c.input("x", {1, 4, 2, 2});
  const Value of_input = c.relu(x);
  const Value a = c.conv(of_input, 4);
  const Value of_read_later = c.relu(a);
  const Value b = c.conv(c.add(a, of_read_later), 4);
  const Value of_output = c.relu(b);
  const Value d = c.conv(of_output, 4);
  const Value last = c.relu(d);
  c.output(b);
  c.output(last);
  const Storage storage = c.plan();
  EXPECT_FALSE(share(storage, x, of_input));
  EXPECT_FALSE(share(storage, a, of_read_later));
  EXPECT_FALSE(share(storage, b, of_output));
  EXPECT_FALSE(share(storage, d, last));  // `last` is an output
}

TEST(InPlace, refuses_other_types_and_broadcast_operands) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {1, 4, 2, 2}), 4);
  const Value gate = c.mean(a);
  const Value wide = c.op("mul", {gate, c.conv(a, 4)});  // the gate is smaller
  const Value cast = c.op("cast", {wide}, {{"dtype", std::string("bf16")}});
  c.output(c.mean(cast));
  const Storage storage = c.plan();
  EXPECT_FALSE(share(storage, gate, wide));
  EXPECT_FALSE(share(storage, wide, cast));
}

TEST(InPlace, refuses_when_a_view_of_the_operand_is_read_later) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {1, 4, 2, 2}), 4);
  const Value flat = c.reshape(a, {1, 16});
  const Value b = c.relu(a);
  c.output(c.mean(b));
  c.output(c.op("softmax", {flat}));
  const Storage storage = c.plan();
  EXPECT_TRUE(share(storage, a, flat));
  EXPECT_FALSE(share(storage, a, b));
}

TEST(InPlace, refuses_when_the_step_reads_the_bytes_at_other_places) {
  MemoryCase c;
  // The first row, broadcast, is added to every row: it may not be overwritten before the others.
  const Value a = c.op("exp", {c.input("x", {2, 2})});
  const Value row = c.slice(a, 0, 0, 1);
  const Value sum = c.add(a, row);
  c.output(c.op("softmax", {sum}));
  const Storage storage = c.plan();
  EXPECT_TRUE(share(storage, a, row));
  EXPECT_FALSE(share(storage, a, sum));

  MemoryCase d;
  // Halves of one value: the first may be overwritten, the second lies beside it.
  const Value whole = d.conv(d.input("x", {1, 4, 2, 2}), 4);
  const Value low = d.slice(whole, 1, 0, 2);
  const Value shifted = d.slice(whole, 1, 1, 3);
  const Value high = d.slice(whole, 1, 2, 4);
  const Value overlapping = d.add(low, shifted);
  const Value beside = d.add(overlapping, high);
  d.output(d.mean(beside));
  const Storage halves = d.plan();
  EXPECT_TRUE(share(halves, low, shifted));
  EXPECT_FALSE(share(halves, overlapping, low));
  EXPECT_TRUE(share(halves, beside, overlapping));
}

TEST(Views, reshape_of_row_major_is_free) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {2, 4, 2, 2}), 4);
  const Value flat = c.reshape(a, {2, 16});
  const Value back = c.reshape(flat, {2, 2, 8});
  c.output(c.op("softmax", {back}));
  const Storage storage = c.plan();
  EXPECT_TRUE(share(storage, a, back));
  EXPECT_TRUE(is_free(storage, flat));
  EXPECT_TRUE(is_free(storage, back));
  EXPECT_THAT(place_of(storage, back).strides, ElementsAre(16, 8, 1));
  EXPECT_EQ(buffer_of(storage, a).last, 3);
  const Storage copied = c.plan({.views = false, .in_place = true, .concat_slices = true});
  EXPECT_FALSE(share(copied, a, flat));
  EXPECT_THAT(copied.free_steps, IsEmpty());
}

TEST(Views, reshape_is_copied_for_inputs_outputs_and_other_layouts) {
  MemoryCase c;
  const Value x = c.input("x", {2, 4, 2, 2});
  const Value of_input = c.reshape(x, {2, 16});
  const Value a = c.relu(of_input);
  const Value as_output = c.reshape(a, {2, 4, 4});
  const Value image = c.conv(c.input("z", {2, 4, 2, 2}, "acdb"), 4);
  const Value of_nhwc = c.reshape(image, {2, 16});
  const Value squeezed = c.reshape(c.mean(image), {2, 4});  // [2, 4, 1, 1]: bytes in order
  c.output(as_output);
  c.output(c.op("softmax", {of_nhwc}));
  c.output(c.op("softmax", {squeezed}));
  const Storage storage = c.plan();
  EXPECT_FALSE(share(storage, x, of_input));
  EXPECT_FALSE(share(storage, a, as_output));
  EXPECT_FALSE(share(storage, image, of_nhwc));
  EXPECT_TRUE(is_free(storage, squeezed));
}

TEST(Views, reorder_that_moves_nothing_is_free) {
  MemoryCase c;
  const Value image = c.conv(c.input("x", {2, 4, 2, 2}, "acdb"), 4);
  const Value pooled = c.mean(image);
  const Value idle = c.op("reorder", {pooled}, {{"layout", std::string()}});
  const Value moving = c.op("reorder", {image}, {{"layout", std::string()}});
  c.output(c.op("softmax", {idle}));
  c.output(c.op("softmax", {moving}));
  const Storage storage = c.plan();
  EXPECT_TRUE(is_free(storage, idle));
  EXPECT_FALSE(is_free(storage, moving));
}

TEST(Views, slice_is_a_strided_view_where_its_readers_can) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {1, 4, 2, 2}, "acdb"), 8);
  const Value part = c.slice(a, 1, 2, 6);
  const Value inner = c.slice(part, 1, 1, 3);
  c.output(c.mean(part));
  c.output(c.mean(inner));
  const Storage storage = c.plan();
  EXPECT_TRUE(is_free(storage, part));
  EXPECT_TRUE(is_free(storage, inner));
  EXPECT_EQ(place_of(storage, part).offset, 8);
  EXPECT_EQ(place_of(storage, inner).offset, 12);
  EXPECT_THAT(place_of(storage, inner).strides, ElementsAre(32, 1, 16, 8));

  c.target.reads = [](const Node& node, int) { return !node.is("reduce_mean"); };
  const Storage copied = c.plan();
  EXPECT_FALSE(is_free(copied, part));
  EXPECT_FALSE(share(copied, a, part));
}

TEST(Views, slice_without_gaps_needs_no_strided_kernel) {
  MemoryCase c;
  c.target.reads = [](const Node&, int) { return false; };
  c.target.writes = c.target.reads;
  const Value a = c.conv(c.input("x", {1, 4, 2, 2}), 8);  // row-major, one image
  const Value part = c.slice(a, 1, 2, 6);
  const Value flat = c.reshape(part, {16});
  c.output(c.op("softmax", {flat}, {{"axis", std::int64_t{0}}}));
  const Storage storage = c.plan();
  EXPECT_TRUE(is_free(storage, part));
  EXPECT_TRUE(is_free(storage, flat));
  EXPECT_EQ(place_of(storage, flat).offset, 2 * 4 * 4);
  EXPECT_THAT(place_of(storage, part).strides, ElementsAre(16, 4, 2, 1));
}

TEST(Options, without_sharing_every_value_has_its_buffer) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {1, 4, 2, 2}), 4);
  const Value b = c.relu(a);
  const Value y = c.concat({b, c.conv(b, 4)});
  c.output(c.reshape(c.slice(y, 1, 0, 4), {16}));
  const Storage storage = c.plan({.views = false, .in_place = false, .concat_slices = false});
  EXPECT_EQ(storage.buffers.size(), storage.placements.size());
  EXPECT_THAT(storage.free_steps, IsEmpty());
  EXPECT_EQ(storage.concat_copies, 2);
  EXPECT_EQ(storage.concat_slices, 0);
}

}  // namespace
}  // namespace facet::testing
