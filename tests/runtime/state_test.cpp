#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/dsl.h"
#include "ir/error.h"
#include "runtime/compile.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// count' = count + x, and the sum as an output.
Graph counter() {
  Graph graph("counter");
  Parameter count;
  count.key = "count";
  count.type = Type{DType::f32, {2}, {}};
  graph.parameters().push_back(count);
  const Value x =
      graph.create("input", {}, {{"name", std::string("x")}, {"type", std::string("f32[2]")}})
          ->result();
  const Value sum = graph.create("add", {graph.read_parameter("count")->result(), x})->result();
  graph.add_update("count", sum);
  graph.outputs() = {{"sum", sum}};
  return graph;
}

const TensorMap kOne{{"x", HostTensor::from_floats({2}, {1, 1})}};

TEST(ExecutableState, MadeStatesAreCopies) {
  const HostTensor count = HostTensor::from_floats({2}, {5, 7});
  const auto executable = compile(counter(), {{"count", count}});
  const auto first = executable->make_context();
  const auto second = executable->make_context();
  first->run(kOne);
  EXPECT_THAT(first->run(kOne).at("sum").to_doubles(), ElementsAre(7, 9));
  EXPECT_THAT(second->run(kOne).at("sum").to_doubles(), ElementsAre(6, 8));
  EXPECT_THAT(count.to_doubles(), ElementsAre(5, 7));
}

TEST(ExecutableState, ATakenStateIsTheBytesGivenAndTheOnlyOne) {
  const HostTensor count = HostTensor::from_floats({2}, {5, 7});
  const auto executable = compile(counter(), {{"count", count}});
  const std::shared_ptr<State> state = executable->take_state();
  executable->make_context(state)->run(kOne);
  EXPECT_EQ(state->tensors().at("count").data(), count.data());
  EXPECT_THAT(count.to_doubles(), ElementsAre(6, 8));
  for (const auto& again : {+[](const Executable& e) { e.make_state(); },
                            +[](const Executable& e) { e.take_state(); }}) {
    try {
      again(*executable);
      ADD_FAILURE() << "a second state was made";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("taken"));
    }
  }
}

}  // namespace
}  // namespace facet
