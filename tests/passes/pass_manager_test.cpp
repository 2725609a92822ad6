#include <gmock/gmock.h>

#include <stdexcept>

#include "ir/error.h"
#include "ir/op.h"
#include "tests/ir/error_of.h"
#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using test::error_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kBody = R"(
  %0 = input() {name = "x", type = "f32[N, 4]"} : f32[N, 4]
  %1 = exp(%0) : f32[N, 4] @ "e"
  %2 = relu(%1) : f32[N, 4] @ "r"
  return "y" = %2
)";

// Passes that misbehave in one way each.
bool change_in_silence(Graph& graph, PassContext&) {
  graph.node_list().back()->attributes();
  Node* last = graph.node_list().back();
  graph.replace_uses(last->result(), last->operand(0));
  graph.erase(last);
  return false;
}
bool boast(Graph&, PassContext&) { return true; }
bool do_nothing(Graph&, PassContext&) { return false; }
bool set_wrong_type(Graph& graph, PassContext&) {
  graph.node_list()[1]->set_result_type(0, Type{DType::f32, {7}, {}});
  return true;
}
bool read_ahead(Graph& graph, PassContext&) {
  graph.move_before(graph.node_list()[2], graph.node_list()[1]);
  return true;
}
bool lose_operand(Graph& graph, PassContext&) {
  graph.node_list()[2]->set_operand(0, Value{});
  return true;
}
bool lose_operand_in_silence(Graph& graph, PassContext& context) {
  return !lose_operand(graph, context);
}
bool throw_standard(Graph&, PassContext&) { throw std::out_of_range("no such axis"); }
bool throw_usage(Graph&, PassContext&) { throw usage_error("cannot be lowered"); }

std::string failure_of(bool (*run)(Graph&, PassContext&), PipelineOptions options = {},
                       ErrorKind kind = ErrorKind::failure) {
  return error_of(
      [&] {
        Graph graph = testing::parse_body(kBody);
        PassContext context;
        const std::vector<Pass> passes = {{"odd", "", run}};
        run_pipeline(graph, passes, context, options);
      },
      kind);
}

TEST(PassManager, CatchesAChangeThatIsNotClaimed) {
  EXPECT_EQ(failure_of(change_in_silence),
            "pass 'odd' says it did not change the graph, but it is another\n"
            "  while running pass 'odd' on 'g'");
}

TEST(PassManager, CatchesAClaimWithoutAChange) {
  EXPECT_EQ(failure_of(boast),
            "pass 'odd' says it changed the graph, but it is the same\n"
            "  while running pass 'odd' on 'g'");
}

TEST(PassManager, ChecksClaimsOnlyWhenAsked) {
  Graph graph = testing::parse_body(kBody);
  PassContext context;
  const std::vector<Pass> passes = {{"odd", "", boast}};
  PipelineOptions options;
  options.check_claims = false;
  EXPECT_TRUE(run_pipeline(graph, passes, context, options).at(0).changed);
}

TEST(PassManager, VerifiesAndNamesThePassAndTheNode) {
  const std::string in_odd = "\n  while running pass 'odd' on 'g'";
  EXPECT_THAT(failure_of(set_wrong_type),
              AllOf(HasSubstr("exp (e)"), HasSubstr("f32[7]"), HasSubstr(in_odd)));
  EXPECT_THAT(failure_of(read_ahead), AllOf(HasSubstr("relu (r)"), HasSubstr(in_odd)));
  EXPECT_THAT(failure_of(lose_operand),
              AllOf(HasSubstr("relu (r)"), HasSubstr("an operand is missing"), HasSubstr(in_odd)));
  EXPECT_THAT(failure_of(lose_operand_in_silence), HasSubstr(in_odd));
}

TEST(PassManager, VerifiesOnlyWhenAsked) {
  Graph graph = testing::parse_body(kBody);
  PassContext context;
  const std::vector<Pass> passes = {{"odd", "", set_wrong_type}};
  PipelineOptions options;
  options.verify = false;
  EXPECT_TRUE(run_pipeline(graph, passes, context, options).at(0).changed);
  EXPECT_THROW(verify(graph), Error);
}

TEST(PassManager, ErrorsOfAPassSayWhichOne) {
  EXPECT_EQ(failure_of(throw_usage, {}, ErrorKind::usage),
            "cannot be lowered\n  while running pass 'odd' on 'g'");
  EXPECT_EQ(failure_of(throw_standard), "no such axis\n  while running pass 'odd' on 'g'");
}

TEST(PassManager, ReportsWhatEachPassDid) {
  Graph graph = testing::parse_body(kBody);
  PassContext context;
  const std::vector<Pass> passes = {{"idle", "", do_nothing}, find_pass("fuse-elementwise")};
  const std::vector<PassReport> reports = run_pipeline(graph, passes, context);
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_EQ(reports[0].name, "idle");
  EXPECT_FALSE(reports[0].changed);
  EXPECT_EQ(reports[0].nodes_before, 3u);
  EXPECT_EQ(reports[0].nodes_after, 3u);
  EXPECT_GE(reports[0].milliseconds, 0);
  EXPECT_EQ(reports[1].name, "fuse-elementwise");
  EXPECT_TRUE(reports[1].changed);
  EXPECT_EQ(reports[1].nodes_before, 3u);
  EXPECT_EQ(reports[1].nodes_after, 2u);
  EXPECT_EQ(testing::to_lines(context.remarks),
            "applied fuse-elementwise @ r: elementwise exp relu\n");
}

std::vector<std::string> names(const std::vector<PassReport>& reports) {
  std::vector<std::string> result;
  for (const PassReport& report : reports) result.push_back(report.name);
  return result;
}

TEST(PassManager, StopsAfterTheFirstPasses) {
  const std::vector<Pass> passes = {find_pass("canonicalize"), find_pass("eliminate-dead-code"),
                                    find_pass("fuse-elementwise")};
  for (std::size_t stop = 0; stop <= passes.size(); ++stop) {
    Graph graph = testing::parse_body(kBody);
    PassContext context;
    PipelineOptions options;
    options.stop_after = static_cast<int>(stop);
    EXPECT_EQ(run_pipeline(graph, passes, context, options).size(), stop);
    EXPECT_EQ(graph.size(), stop == 3 ? 2u : 3u);
  }
}

// The number counts places in the pipeline, whether or not a pass is disabled.
TEST(PassManager, SkipsDisabledPasses) {
  const std::vector<Pass> passes = {find_pass("canonicalize"), find_pass("eliminate-dead-code"),
                                    find_pass("fuse-elementwise")};
  Graph graph = testing::parse_body(kBody);
  PassContext context;
  PipelineOptions options;
  options.disabled = {"fuse-elementwise", "canonicalize"};
  EXPECT_THAT(names(run_pipeline(graph, passes, context, options)),
              ElementsAre("eliminate-dead-code"));
  EXPECT_EQ(graph.size(), 3u);
  options.stop_after = 1;
  EXPECT_THAT(names(run_pipeline(graph, passes, context, options)), ElementsAre());
}

TEST(PassManager, DumpsAfterEachPassThatRuns) {
  Graph graph = testing::parse_body(kBody);
  PassContext context;
  PipelineOptions options;
  options.disabled = {"canonicalize"};
  std::vector<std::string> dumps;
  options.after_pass = [&](std::string_view pass, const Graph& now) {
    dumps.push_back(std::string(pass) + " " + std::to_string(now.size()));
  };
  const std::vector<Pass> passes = {find_pass("eliminate-dead-code"), find_pass("canonicalize"),
                                    find_pass("fuse-elementwise")};
  run_pipeline(graph, passes, context, options);
  EXPECT_THAT(dumps, ElementsAre("eliminate-dead-code 3", "fuse-elementwise 2"));
}

TEST(PassManager, UnknownNamesGetASuggestion) {
  EXPECT_EQ(error_of([] {
              Graph graph("g");
              PassContext context;
              PipelineOptions options;
              options.disabled = {"fold-batchnorm"};
              run_pipeline(graph, optimization_pipeline(), context, options);
            }),
            "there is no pass 'fold-batchnorm'; did you mean 'fold-batch-norm' or "
            "'lower-batch-norm'?");
  EXPECT_THAT(error_of([] { find_pass("canonicalise"); }), HasSubstr("'canonicalize'"));
}

// Without a near name the message lists them all.
TEST(PassManager, FarNamesGetTheList) {
  EXPECT_THAT(error_of([] { find_pass("zz"); }),
              AllOf(HasSubstr("there is no pass 'zz'"), HasSubstr("canonicalize, fold-constants"),
                    HasSubstr("eliminate-reorders")));
}

TEST(PassManager, FindsEveryPassAndThePipelinesAreMadeOfThem) {
  for (const Pass& pass : all_passes()) {
    EXPECT_EQ(&find_pass(pass.name), &pass);
    EXPECT_FALSE(pass.doc.empty()) << pass.name;
  }
  for (const auto& pipeline : {optimization_pipeline(), layout_pipeline()}) {
    for (const Pass& pass : pipeline) EXPECT_EQ(find_pass(pass.name).run, pass.run);
  }
}

// A bias that is a constant is reshaped by the fusion, and the reshape folded in the same run.
TEST(Pipeline, FoldsTheConstantsItBuilds) {
  Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = constant() {value = tensor<f32[2, 1, 1]; [0.5, 2.0]>} : f32[2, 1, 1]
  %3 = constant() {value = tensor<f32[]; [1.0]>} : f32[]
  %4 = conv(%0, %1) : f32[N, 2, 4, 4]
  %5 = sqrt(%3) : f32[]
  %6 = mul(%4, %5) : f32[N, 2, 4, 4]
  %7 = add(%2, %6) : f32[N, 2, 4, 4]
  return "y" = %7
)");
  PassContext context;
  context.evaluate = testing::reference_evaluator();
  run_pipeline(graph, optimization_pipeline(), context);
  EXPECT_EQ(testing::body_of(graph), R"(
  %0 = input() {name = "x", type = "f32[N, 2, 4, 4]"} : f32[N, 2, 4, 4]
  %1 = parameter() {key = "weight", type = "f32[2, 2, 1, 1]"} : f32[2, 2, 1, 1]
  %2 = constant() {value = tensor<f32[2]; [0.5, 2.0]>} : f32[2]
  %3 = conv(%0, %1, %2) {epilogue = ["bias"]} : f32[N, 2, 4, 4]
  return "y" = %3
)");
}

TEST(Prepared, ValuesOfParametersAndConstantsOnly) {
  const Graph graph = testing::parse_body(R"(
  %0 = input() {name = "x", type = "f32[4]"} : f32[4]
  %1 = parameter() {key = "p", type = "f32[4]"} : f32[4]
  %2 = constant() {value = tensor<f32[]; [2.0]>} : f32[]
  %3 = mul(%1, %2) : f32[4]
  %4 = add(%3, %0) : f32[4]
  %5 = exp(%4) : f32[4]
  return "y" = %5, "p" = %3
)");
  std::vector<bool> prepared;
  for (Node* node : graph.node_list()) prepared.push_back(is_prepared(node->result()));
  EXPECT_EQ(prepared, (std::vector<bool>{false, true, true, true, false, false}));
}

// Each value twice in the next: walking up path by path would take 2^200 steps.
TEST(Prepared, SharedOperandsAreVisitedOnce) {
  Graph graph("g");
  Value value = graph.create("constant", {}, {{"value", HostTensor::scalar(DType::f32, 1)}})->result();
  for (int i = 0; i < 200; ++i) value = graph.create("mul", {value, value})->result();
  EXPECT_TRUE(is_prepared(value));
}

}  // namespace
}  // namespace facet
