#include <fmt/format.h>
#include <gmock/gmock.h>

#include <random>

#include "ir/op.h"
#include "ir/text.h"
#include "tests/ir/error_of.h"
#include "tests/ir/networks.h"
#include "tests/support/op_samples.h"

namespace facet::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::string_view kGood = R"(graph "g" {
  param "w" : f32[3] weight uniform(-1.0, 1.0)
  param "t" : f32[2] other fixed tensor<f32[2]; [1.0, 2.0]> frozen
  %0 = input() {name = "x", type = "f32[N, 3]"} : f32[N, 3]
  %1 = parameter() {key = "w", type = "f32[3]"} : f32[3]
  %2 = mul(%0, %1) : f32[N, 3] @ "scale"
  %3 = reduce_mean(%2) {axes = [1], keepdims = false} : f32[N]
  return "y" = %2, "mean" = %3
}
)";

/// One thing changed in a good text, and the error it must give.
struct Mistake {
  std::string_view what;
  std::string_view from, to;
  int line, column;
  std::string_view expected;
};

const Mistake kMistakes[] = {
    {"no graph", "graph \"g\"", "grap \"g\"", 1, 1, "expected 'graph', found 'grap \"g\" {'"},
    {"no name", "graph \"g\" {", "graph g {", 1, 7, "expected '\"', found 'g {'"},
    {"no brace", "\"g\" {", "\"g\"", 2, 3, "expected '{', found 'param"},
    {"key twice", "\"t\" : f32[2]", "\"w\" : f32[2]", 3, 9,
     "expected a key that is not declared yet"},
    {"unknown role", "] weight", "] wait", 2, 22, "expected one of weight, bias, bn_weight"},
    {"unknown initializer", "uniform", "unifrom", 2, 29,
     "expected one of constant, uniform, normal"},
    {"no number", "(-1.0", "(x", 2, 37, "expected a number, found 'x, 1.0)'"},
    {"a symbol in values", "tensor<f32[2]", "tensor<f32[N]", 3, 34, "still has the symbol N"},
    {"values that do not fit", "[1.0, 2.0]", "[1.0]", 3, 34, "1 values do not fill the shape [2]"},
    {"values of another type", "tensor<f32[2]", "tensor<f64[2]", 3, 34,
     "expected values of type f32[2]"},
    {"a comma too many", "[1.0, 2.0]", "[1.0, 2.0, ]", 3, 60,
     "expected a number, found ']> frozen'"},
    {"not the next number", "%1 =", "%2 =", 5, 3, "expected the next value, %1, found '%2 = "},
    {"no percent", "  %1 =", "  1 =", 5, 3, "expected '%', found '1 = "},
    {"no equals", "%2 = mul", "%2 mul", 6, 6, "expected '=', found 'mul("},
    {"unknown op", "mul(", "mull(", 6, 8, "there is no op 'mull'; did you mean 'mul'"},
    {"no op", "= mul(", "= (", 6, 8, "expected a name, found '("},
    {"a value below", "mul(%0, %1)", "mul(%0, %2)", 6, 16, "expected a value defined above"},
    {"no such result", "mul(%0, %1)", "mul(%0, %1.1)", 6, 16, "expected a result of that node"},
    {"too few operands", "mul(%0, %1)", "mul(%0)", 6, 8, "takes 2 operands, not 1"},
    {"a trailing comma", "mul(%0, %1)", "mul(%0, %1, )", 6, 20, "expected '%', found ') : "},
    {"no operand list", "mul(%0, %1)", "mul", 6, 12, "expected '(', found ': f32"},
    {"shapes that do not fit", "type = \"f32[3]\"} : f32[3]", "type = \"f32[4]\"} : f32[4]", 5, 8,
     "expected a parameter that a param line declares with this type"},
    {"an undeclared key", "key = \"w\"", "key = \"v\"", 5, 8, "expected a parameter that a param"},
    {"unknown attribute", "{axes", "{axs", 7, 25, "expected an attribute of op 'reduce_mean'"},
    {"attribute twice", "keepdims = false", "axes = [0]", 7, 37,
     "expected an attribute that is not set yet"},
    {"missing attribute", "{axes = [1], keepdims = false}", "{keepdims = false}", 7, 8,
     "attribute 'axes' of op 'reduce_mean' is not set"},
    {"attribute of another kind", "axes = [1]", "axes = 1", 7, 32, "expected '[', found '1, keep"},
    {"no boolean", "= false", "= no", 7, 48, "expected 'false', found 'no} : f32[N]'"},
    {"attribute out of range", "axes = [1]", "axes = [2]", 7, 8,
     "axis 2 is outside a value of rank"},
    {"a number too large", "axes = [1]", "axes = [99999999999999999999]", 7, 33,
     "expected a number"},
    {"another type", ": f32[N]\n", ": f32[3]\n", 7, 57, "expected f32[N], the type of the result"},
    {"another dtype", ": f32[N]\n", ": bf16[N]\n", 7, 57,
     "expected f32[N], the type of the result"},
    {"unknown dtype", ": f32[N]\n", ": g32[N]\n", 7, 57, "unknown dtype 'g32'"},
    {"no type", " : f32[N]\n", "\n", 8, 3, "expected ':', found 'return "},
    {"an unfinished type", ": f32[N]\n", ": f32[N\n", 7, 57, "expected a type such as"},
    {"too many results", "%3 = reduce", "%3:2 = reduce", 7, 59, "expected '(', found 'f32[N]'"},
    {"more results than the op has", "%3 = reduce_mean(%2) {axes = [1], keepdims = false} : f32[N]",
     "%3:2 = reduce_mean(%2) {axes = [1], keepdims = false} : (f32[N], f32[N])", 7, 3,
     "expected 1 results"},
    {"no results", "%3 = reduce_mean(%2) {axes = [1], keepdims = false} : f32[N]",
     "%3:0 = reduce_mean(%2) {axes = [1], keepdims = false} :", 7, 3, "expected 1 results"},
    {"an unfinished scope", "@ \"scale\"", "@ scale", 6, 34, "expected '\"', found 'scale'"},
    {"no return", "  return \"y\"", "  \"y\"", 8, 3, "expected '%', found '\"y\" = %2"},
    {"output twice", "\"mean\" =", "\"y\" =", 8, 20, "expected a name that no other output has"},
    {"output without value", "= %3\n", "=\n", 9, 1, "expected '%', found '}'"},
    {"no closing brace", "%3\n}\n", "%3\n", 9, 1, "expected '}', found the end of the text"},
    {"something behind", "}\n", "}\nmore", 10, 1, "expected the end of the text, found 'more'"},
    {"an unfinished name", "\"mean\" = %3\n}\n", "\"mean", 8, 25, "found the end of the text"},
};

TEST(Parser, TheGoodTextIsGood) { EXPECT_EQ(to_text(parse_graph(kGood)), kGood); }

TEST(Parser, EveryMistakeHasItsPlace) {
  for (const Mistake& mistake : kMistakes) {
    SCOPED_TRACE(mistake.what);
    std::string text(kGood);
    const std::size_t at = text.rfind(mistake.from);
    ASSERT_NE(at, std::string::npos);
    text.replace(at, mistake.from.size(), mistake.to);
    const std::string message = error_of([&] { parse_graph(text); });
    EXPECT_THAT(message,
                StartsWith(fmt::format("line {}, column {}: ", mistake.line, mistake.column)));
    EXPECT_THAT(message, HasSubstr(std::string(mistake.expected)));
  }
}

TEST(Parser, NothingAtAll) {
  EXPECT_EQ(error_of([] { parse_graph(""); }),
            "line 1, column 1: expected 'graph', found the end of the text");
  EXPECT_THAT(error_of([] { parse_graph("\n\n  x"); }), StartsWith("line 3, column 3: "));
}

TEST(Parser, WhatOnlyTheWholeGraphShowsIsAUsageErrorToo) {
  std::string text(kGood);
  const std::string one = "  %1 = parameter() {key = \"w\", type = \"f32[3]\"} : f32[3]\n";
  text.replace(text.find(one), one.size(),
               "  %1 = input() {name = \"x\", type = \"f32[3]\"} : f32[3]\n");
  EXPECT_THAT(error_of([&] { parse_graph(text); }),
              ::testing::AllOf(StartsWith("line 1, column 1: "), HasSubstr("a second input 'x'")));
}

TEST(Parser, AShapeWithoutValuesTakesNoMemory) {
  std::string text(kGood);
  const std::string values = "tensor<f32[2]";
  text.replace(text.find(values), values.size(), "tensor<f32[4000000000000]");
  EXPECT_THAT(error_of([&] { parse_graph(text); }), HasSubstr("2 values do not fill"));
}

/// Texts that the fuzz below starts from: networks and one sample of every op.
std::vector<std::string> seeds() {
  std::vector<std::string> texts{std::string(kGood), to_text(two_branches()), to_text(attention())};
  for (const OpDef* op : all_ops()) {
    const std::vector<Sample> samples = op->samples.make();
    if (!samples.empty()) texts.push_back(to_text(testing::make_case(*op, samples.back()).graph));
  }
  return texts;
}

/// One random edit: a character, a number, a stretch cut out or doubled, two lines swapped.
void mutate(std::string& text, std::mt19937& random) {
  const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  if (text.empty()) return;
  const std::size_t at = pick(text.size());
  const std::size_t length = 1 + pick(std::min<std::size_t>(30, text.size() - at));
  static constexpr std::string_view kCharacters = "%=(){}[]<>,;:.@\"\\ \n0123456789-N*abfx#";
  static constexpr const char* kNumbers[] = {"0",  "-1",    "2147483648", "9223372036854775807",
                                             "64", "1e308", "nan",        "-9223372036854775808"};
  switch (pick(6)) {
    case 0:
      text[at] = kCharacters[pick(kCharacters.size())];
      break;
    case 1:
      text.insert(at, 1, kCharacters[pick(kCharacters.size())]);
      break;
    case 2:
      text.erase(at, length);
      break;
    case 3:
      text.insert(at, text.substr(at, length));
      break;
    case 4: {
      const std::size_t digit = text.find_first_of("0123456789", at);
      if (digit == std::string::npos) break;
      const std::size_t end = text.find_first_not_of("0123456789", digit);
      text.replace(digit, end == std::string::npos ? end : end - digit,
                   kNumbers[pick(std::size(kNumbers))]);
      break;
    }
    default: {
      const std::size_t line = text.find('\n', at);
      if (line == std::string::npos) break;
      const std::size_t next = text.find('\n', line + 1);
      if (next == std::string::npos) break;
      const std::string cut = text.substr(line, next - line);
      text.erase(line, next - line);
      const std::size_t place = text.rfind('\n', at);
      text.insert(place == std::string::npos ? 0 : place, cut);
    }
  }
}

/// Whatever is done to a text, it is refused with a usage error that names a place, or it reads as
/// a graph that prints and reads back.
TEST(Parser, MutatedTextsNeverCrash) {
  std::mt19937 random(2024);
  const std::vector<std::string> texts = seeds();
  int accepted = 0;
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text = texts[static_cast<std::size_t>(i) % texts.size()];
    for (std::size_t edits = 1 + random() % 3; edits > 0; --edits) mutate(text, random);
    try {
      const Graph graph = parse_graph(text);
      const std::string printed = to_text(graph);
      // A constant may have grown beyond what prints as values.
      if (printed.find("; hash ") == std::string::npos) {
        ASSERT_EQ(to_text(parse_graph(printed)), printed) << text;
      }
      ++accepted;
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::usage) << text;
      ASSERT_THAT(error.what(), StartsWith("line ")) << text;
      ++refused;
    }
  }
  EXPECT_GT(accepted, 400);
  EXPECT_GT(refused, 10000);
}

}  // namespace
}  // namespace facet::test
