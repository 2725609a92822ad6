#include <gmock/gmock.h>

#include "tests/passes/memory_case.h"

namespace facet::testing {
namespace {

using ::testing::ElementsAre;

TEST(ConcatSlices, producers_write_side_by_side_in_nhwc) {
  MemoryCase c;
  const Value x = c.input("x", {2, 4, 3, 3}, "acdb");
  const Value a = c.conv(x, 4);
  const Value b = c.conv(a, 2);
  const Value d = c.conv(a, 6);
  const Value y = c.concat({a, b, d});
  c.output(c.mean(y));
  const Storage storage = c.plan();
  EXPECT_EQ(storage.concat_slices, 3);
  EXPECT_EQ(storage.concat_copies, 0);
  EXPECT_TRUE(is_free(storage, y));
  EXPECT_EQ(place_of(storage, a).offset, 0);
  EXPECT_EQ(place_of(storage, b).offset, 4 * 4);
  EXPECT_EQ(place_of(storage, d).offset, 6 * 4);
  EXPECT_THAT(place_of(storage, b).strides, ElementsAre(9 * 12, 1, 3 * 12, 12));
  EXPECT_EQ(buffer_of(storage, y).bytes, 2 * 12 * 9 * 4);
  EXPECT_EQ(buffer_of(storage, y).first, 0);  // the first producer
  EXPECT_EQ(buffer_of(storage, y).last, 4);
  EXPECT_EQ(buffer_of(storage, y).name, "s3");
}

TEST(ConcatSlices, of_one_row_major_image_are_dense_and_need_no_strided_kernel) {
  MemoryCase c;
  c.target.writes = [](const Node&, int) { return false; };
  c.target.reads = c.target.writes;
  const Value a = c.conv(c.input("x", {1, 4, 3, 3}), 4);
  const Value b = c.conv(a, 2);
  const Value y = c.concat({a, b});
  c.output(c.mean(y));
  const Storage storage = c.plan();
  EXPECT_EQ(storage.concat_slices, 2);
  EXPECT_EQ(place_of(storage, b).offset, 4 * 9 * 4);
  EXPECT_THAT(place_of(storage, b).strides, ElementsAre(18, 9, 3, 1));
}

TEST(ConcatSlices, along_other_axes) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {2, 4, 3, 3}, "acdb"), 4);
  const Value b = c.conv(a, 4);
  const Value tall = c.concat({a, b}, 2);
  c.output(c.mean(tall));
  const Value rows = c.op("exp", {c.input("z", {3, 5})});
  const Value more = c.op("exp", {c.input("v", {1, 5})});
  c.output(c.op("softmax", {c.concat({rows, more}, -2)}));
  const Storage storage = c.plan();
  EXPECT_EQ(storage.concat_slices, 4);
  EXPECT_EQ(place_of(storage, b).offset, 3 * 3 * 4 * 4);
  EXPECT_THAT(place_of(storage, b).strides, ElementsAre(72, 1, 12, 4));
  EXPECT_EQ(place_of(storage, more).offset, 3 * 5 * 4);
}

TEST(ConcatSlices, refuses_a_producer_that_cannot_write_them) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {1, 4, 3, 3}, "acdb"), 4);
  const Value b = c.mean(a);
  const Value d = c.op("mul", {a, b});
  const Value y = c.concat({a, d});
  c.output(c.mean(y));
  c.target.writes = [](const Node& node, int index) { return index == 0 && !node.is("conv"); };
  const Storage storage = c.plan();
  EXPECT_FALSE(share(storage, a, y));
  EXPECT_TRUE(share(storage, d, y));
  EXPECT_EQ(storage.concat_slices, 1);
  EXPECT_EQ(storage.concat_copies, 1);
  EXPECT_FALSE(is_free(storage, y));
}

TEST(ConcatSlices, refuses_a_value_whose_reader_cannot_read_them) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {1, 4, 3, 3}, "acdb"), 4);
  const Value b = c.conv(a, 4);
  const Value y = c.concat({a, b});
  c.output(c.mean(y));
  int asked_for = -1;
  c.target.reads = [&](const Node& node, int operand) {
    asked_for = operand;
    return !node.is("conv");
  };
  const Storage storage = c.plan();
  EXPECT_FALSE(share(storage, a, y));
  EXPECT_TRUE(share(storage, b, y));
  EXPECT_EQ(asked_for, 0);
}

TEST(ConcatSlices, refuses_inputs_parameters_and_outputs) {
  MemoryCase c;
  const Value x = c.input("x", {1, 4, 3, 3}, "acdb");
  const Value a = c.conv(x, 4);
  const Value b = c.conv(a, 4);
  const Value y = c.concat({x, a, b});
  c.output(a);
  c.output(c.mean(y));
  const Value whole_output = c.concat({b, c.conv(b, 1)});
  c.output(whole_output);
  const Value row = c.op("exp", {c.input("z", {1, 4})});
  c.output(c.op("softmax", {c.concat({row, c.parameter("token", {1, 4})}, 0)}));
  const Storage storage = c.plan();
  EXPECT_FALSE(share(storage, x, y));
  EXPECT_FALSE(share(storage, a, y));
  EXPECT_TRUE(share(storage, b, y));
  EXPECT_FALSE(share(storage, b, whole_output));
  EXPECT_EQ(storage.concat_slices, 2);  // b, and the row beside the parameter
  EXPECT_EQ(storage.concat_copies, 5);
}

TEST(ConcatSlices, refuses_an_operand_that_is_there_twice) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {1, 4, 3, 3}, "acdb"), 4);
  const Value b = c.conv(a, 4);
  const Value y = c.concat({a, b, a});
  c.output(c.mean(y));
  const Storage storage = c.plan();
  EXPECT_FALSE(share(storage, a, y));
  EXPECT_TRUE(share(storage, b, y));
  EXPECT_EQ(storage.concat_copies, 2);
}

TEST(ConcatSlices, a_value_lies_in_one_concat_only) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {1, 4, 3, 3}, "acdb"), 4);
  const Value b = c.conv(a, 4);
  const Value first = c.concat({a, b});
  const Value second = c.concat({b, a});
  c.output(c.mean(first));
  c.output(c.mean(second));
  const Storage storage = c.plan();
  EXPECT_EQ(storage.concat_slices, 2);
  EXPECT_EQ(storage.concat_copies, 2);
  EXPECT_TRUE(share(storage, a, second));
  EXPECT_FALSE(share(storage, first, second));
}

TEST(ConcatSlices, refuses_blocked_layouts) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {1, 8, 3, 3}, "aBcd8b"), 8);
  const Value y = c.concat({a, c.conv(a, 8)});
  c.output(c.mean(y));
  EXPECT_EQ(c.plan().concat_copies, 2);
}

/// x_{i+1} = concat(x_i, y_i), y_i made from x_i by a narrow and a wide branch: the dense blocks.
struct DenseBlock {
  std::vector<Value> states;
  std::vector<Value> growths;
};

DenseBlock dense_block(MemoryCase& c, Value x, int layers, std::int64_t growth) {
  DenseBlock block{{x}, {}};
  for (int i = 0; i < layers; ++i) {
    const Value gated = c.op("mul", {x, c.op("sigmoid", {c.mean(x)})});
    const Value left = c.conv(c.conv(gated, 4 * growth), growth);
    const Value right = c.conv(gated, growth);
    const Value y = c.conv(c.concat({left, right}), growth);
    block.growths.push_back(y);
    x = c.concat({x, y});
    block.states.push_back(x);
  }
  return block;
}

TEST(ConcatSlices, nested_dense_blocks_collapse_into_one_buffer_without_copies) {
  MemoryCase c;
  const Value stem = c.conv(c.input("x", {1, 3, 6, 6}, "acdb"), 16);
  const DenseBlock block = dense_block(c, stem, 5, 4);
  c.output(c.mean(c.conv(block.states.back(), 8)));
  const Storage storage = c.plan();
  EXPECT_EQ(storage.concat_copies, 0);
  EXPECT_EQ(storage.concat_slices, 5 * 4);
  const Value last = block.states.back();
  EXPECT_EQ(buffer_of(storage, last).bytes, (16 + 5 * 4) * 36 * 4);
  EXPECT_EQ(buffer_of(storage, last).first, 0);
  for (const Value& state : block.states) {
    EXPECT_TRUE(share(storage, state, last));
    EXPECT_EQ(place_of(storage, state).offset, 0);
    EXPECT_THAT(place_of(storage, state).strides, ElementsAre(36 * 36, 1, 6 * 36, 36));
  }
  for (std::size_t i = 0; i < block.growths.size(); ++i) {
    EXPECT_TRUE(share(storage, block.growths[i], last));
    EXPECT_EQ(place_of(storage, block.growths[i]).offset,
              static_cast<std::int64_t>(16 + 4 * i) * 4);
  }
  EXPECT_EQ(c.arena.bytes, c.arena.lower_bound);
}

TEST(ConcatSlices, a_broken_link_in_a_dense_block_costs_only_its_own_copy) {
  MemoryCase c;
  const Value stem = c.conv(c.input("x", {1, 3, 6, 6}, "acdb"), 16);
  const DenseBlock block = dense_block(c, stem, 3, 4);
  c.output(c.mean(block.states.back()));
  c.output(c.op("abs", {block.states[2]}));
  c.target.reads = [](const Node& node, int) { return !node.is("abs"); };
  const Storage storage = c.plan();
  EXPECT_EQ(storage.concat_copies, 1);  // state 2 into state 3
  EXPECT_TRUE(share(storage, block.states[0], block.states[2]));
  EXPECT_FALSE(share(storage, block.states[2], block.states[3]));
  EXPECT_TRUE(share(storage, block.growths[2], block.states[3]));
}

TEST(ConcatSlices, compose_with_views_of_dense_slices) {
  MemoryCase c;
  const Value image = c.conv(c.input("x", {1, 3, 2, 2}), 4);
  const Value tokens = c.reshape(image, {4, 4});
  const Value extra = c.op("exp", {c.input("z", {1, 4})});
  const Value all = c.concat({extra, tokens}, 0);
  c.output(c.op("softmax", {all}));
  const Storage storage = c.plan();
  EXPECT_EQ(storage.concat_copies, 0);
  EXPECT_TRUE(is_free(storage, tokens));
  EXPECT_EQ(place_of(storage, image).offset, 16);  // the convolution writes behind the extra row
  EXPECT_THAT(place_of(storage, image).strides, ElementsAre(16, 4, 2, 1));
}

TEST(ConcatSlices, a_reshape_of_a_slice_with_gaps_is_copied_where_no_axes_have_its_strides) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {2, 4, 2, 2}), 4);
  const Value y = c.concat({a, c.conv(a, 4)});
  const Value flat = c.reshape(a, {32});
  const Value rows = c.reshape(a, {2, 16});
  c.output(c.mean(y));
  c.output(c.op("softmax", {flat}));
  c.output(c.op("softmax", {rows}));
  const Storage storage = c.plan();
  EXPECT_TRUE(share(storage, a, y));
  EXPECT_FALSE(is_free(storage, flat));
  EXPECT_FALSE(share(storage, flat, a));
  EXPECT_TRUE(is_free(storage, rows));
  EXPECT_THAT(place_of(storage, rows).strides, ElementsAre(32, 1));
}

// What ends in a concat through reshapes is written there by the step ahead of them.
TEST(ConcatSlices, reshapes_carry_gaps_to_the_step_ahead) {
  MemoryCase c;
  const Value image = c.conv(c.input("x", {2, 8, 3, 3}, "acdb"), 8);
  const Value pairs = c.reshape(image, {2, 4, 2, 9}, "adbc");
  const Value sums = c.op("reduce_sum", {pairs}, {{"axes", Ints{2}}});
  const Value halves = c.reshape(sums, {2, 4, 3, 3}, "acdb");
  const Value y = c.concat({halves, c.conv(image, 4)});
  c.output(c.mean(y));
  const Storage storage = c.plan();
  EXPECT_TRUE(is_free(storage, pairs));
  EXPECT_TRUE(is_free(storage, halves));
  EXPECT_TRUE(share(storage, sums, y));
  EXPECT_EQ(storage.concat_copies, 0);
  EXPECT_THAT(place_of(storage, pairs).strides, ElementsAre(72, 2, 1, 8));
  EXPECT_THAT(place_of(storage, sums).strides, ElementsAre(72, 1, 72, 8));

  c.target.writes = [](const Node& node, int) { return !node.is("reduce_sum"); };
  const Storage copied = c.plan();
  EXPECT_FALSE(share(copied, sums, y));
  EXPECT_FALSE(is_free(copied, halves));
  EXPECT_TRUE(share(copied, halves, y));
}

TEST(ConcatSlices, in_place_within_a_slice) {
  MemoryCase c;
  const Value x = c.input("x", {1, 4, 3, 3}, "acdb");
  const Value a = c.conv(x, 4);
  const Value b = c.conv(x, 4);
  const Value active = c.relu(b);  // both b and its relu can lie in the slice
  const Value y = c.concat({a, active});
  c.output(c.mean(y));
  const Storage storage = c.plan();
  EXPECT_TRUE(share(storage, b, y));
  EXPECT_EQ(place_of(storage, b).offset, 16);
  EXPECT_EQ(place_of(storage, b).strides, place_of(storage, active).strides);

  c.target.writes = [&](const Node& node, int) { return &node != b.node; };
  const Storage separate = c.plan();
  EXPECT_FALSE(share(separate, b, y));
  EXPECT_TRUE(share(separate, active, y));
}

TEST(ConcatSlices, in_place_refuses_a_slice_that_the_concat_still_needs) {
  MemoryCase c;
  const Value a = c.conv(c.input("x", {1, 4, 3, 3}, "acdb"), 4);
  const Value b = c.conv(a, 4);
  const Value y = c.concat({a, b});
  const Value spoils = c.relu(b);
  const Value sum = c.mean(y);
  const Value late = c.conv(spoils, 8);
  c.output(c.op("add", {sum, late}));
  const Storage storage = c.plan();
  EXPECT_TRUE(share(storage, b, y));
  EXPECT_FALSE(share(storage, spoils, y));
}

TEST(ConcatSlices, in_place_takes_a_slice_of_a_concat_that_is_dead) {
  MemoryCase c;
  const Value x = c.input("x", {1, 4, 3, 3}, "acdb");
  const Value a = c.conv(x, 4);
  const Value b = c.conv(x, 4);
  const Value y = c.concat({a, b});
  c.output(c.mean(y));
  const Value first = c.relu(a);
  const Value second = c.add(b, first);
  c.output(c.mean(second));
  const Storage storage = c.plan();
  EXPECT_TRUE(share(storage, a, y));
  EXPECT_TRUE(share(storage, first, a));
  EXPECT_EQ(place_of(storage, first).offset, 0);
  EXPECT_EQ(place_of(storage, first).strides, place_of(storage, a).strides);
  // Over b it would keep the whole concat alive for one step more.
  EXPECT_FALSE(share(storage, second, b));
  EXPECT_FALSE(share(storage, second, first));
}

}  // namespace
}  // namespace facet::testing
