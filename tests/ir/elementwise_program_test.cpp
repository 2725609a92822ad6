#include "ir/elementwise_program.h"

#include <gmock/gmock.h>

#include "ir/op.h"
#include "tests/ir/error_of.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ElementwiseProgram, ReadsValuesAndLiterals) {
  const auto program = parse_elementwise({"add 0 #0.5", "clamp 2 #-1 #1", "prelu 3 1"}, 2);
  ASSERT_EQ(program.size(), 3u);
  EXPECT_EQ(program[0].op, "add");
  EXPECT_EQ(program[0].arguments[0].value, 0u);
  EXPECT_FALSE(program[0].arguments[0].is_literal);
  EXPECT_TRUE(program[0].arguments[1].is_literal);
  EXPECT_EQ(program[0].arguments[1].literal, 0.5);
  EXPECT_EQ(program[1].arguments.size(), 3u);
  EXPECT_EQ(program[1].arguments[1].literal, -1);
  EXPECT_EQ(program[2].arguments[0].value, 3u);
}

TEST(ElementwiseProgram, PrintsWhatItRead) {
  const Strings lines{"mul 0 1", "sigmoid 2", "clamp 3 #-0.1 #1e-30", "add 4 #0.1"};
  const auto program = parse_elementwise(lines, 2);
  for (std::size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(to_string(program[i]), lines[i]);
}

TEST(ElementwiseProgram, ErrorsQuoteTheLine) {
  const auto message = [](const char* line) {
    return error_of([&] { parse_elementwise({"neg 0", line}, 1); });
  };
  EXPECT_THAT(message("gelu 0"), AllOf(HasSubstr("\"gelu 0\""), HasSubstr("no scalar function")));
  EXPECT_THAT(message("add 0"), AllOf(HasSubstr("\"add 0\""), HasSubstr("takes 2 operands")));
  EXPECT_THAT(message("add 0 1 1"), HasSubstr("takes 2 operands"));
  EXPECT_THAT(message("neg 2"), AllOf(HasSubstr("'2'"), HasSubstr("2 values defined so far")));
  EXPECT_THAT(message("neg -1"), HasSubstr("'-1'"));
  EXPECT_THAT(message("neg x"), HasSubstr("'x'"));
  EXPECT_THAT(message("neg #"), HasSubstr("'#' is not a number"));
  EXPECT_THAT(message("neg #1.5x"), HasSubstr("not a number"));
  EXPECT_THAT(message(""), HasSubstr("no scalar function"));
  EXPECT_THAT(message("conv 0 0"), HasSubstr("no scalar function"));
}

/// The scalar functions are the unary, binary and clamp ops of the table, and their counts agree.
TEST(ElementwiseProgram, FunctionsAreOpsOfTheTable) {
  int functions = 0;
  for (const OpDef* op : all_ops()) {
    const int arity = elementwise_arity(op->name);
    if (arity == 0) continue;
    ++functions;
    if (op->name == "clamp") {
      EXPECT_EQ(arity, 3);  // the bounds are attributes of the op
    } else {
      EXPECT_EQ(op->signature.arity(), std::pair(arity, arity)) << op->name;
    }
  }
  EXPECT_EQ(functions, 40);
  EXPECT_EQ(elementwise_arity("softmax"), 0);
}

}  // namespace
}  // namespace facet::test
