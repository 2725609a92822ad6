#include "tests/passes/attention_bodies.h"
#include "tests/passes/pass_case.h"

namespace facet {
namespace {

using testing::expect_rewrite;
using testing::to_lines;

constexpr std::string_view kPass = "fuse-attention";

// The reshapes and slices around it are gone: the sdpa reads and gives maps.
TEST(FuseAttention, OneClampedHeadOnAMap) {
  const auto remarks = expect_rewrite(kPass, testing::kClampedBody, R"(
  %0 = input() {name = "x", type = "f32[N, 16, 2, 3]"} : f32[N, 16, 2, 3] @ "qkv"
  %1 = sdpa(%0, %0, %0) {clamp = [-1.0, 1.0], heads = 1, key = [4, 4, 4], query = [0, 4, 4], value = [8, 8, 8]} : f32[N, 8, 2, 3] @ "softmax"
  %2 = exp(%1) : f32[N, 8, 2, 3]
  return "y" = %2
)");
  EXPECT_EQ(to_lines(remarks), "applied fuse-attention @ softmax: sdpa+clamp\n");
}

TEST(FuseAttention, PackedHeadsWithChannelsLast) {
  const auto remarks = expect_rewrite(kPass, testing::kTextbookBody, R"(
  %0 = input() {name = "x", type = "f32[N, 5, 24]"} : f32[N, 5, 24] @ "attn.qkv"
  %1 = parameter() {key = "mask", type = "f32[1, 2, 5, 5]"} : f32[1, 2, 5, 5] @ "attn"
  %2 = sdpa(%0, %0, %0, %1) {channel_axis = -1, extras = ["bias"], heads = 2, key = [8, 4, 4], query = [0, 4, 4], scale = 0.5, value = [16, 4, 4]} : f32[N, 5, 8] @ "attn"
  %3 = parameter() {key = "weight", type = "f32[8, 8]"} : f32[8, 8] @ "attn.proj"
  %4 = linear(%2, %3) : f32[N, 5, 8] @ "attn.proj"
  return "y" = %4
)");
  EXPECT_EQ(to_lines(remarks), "applied fuse-attention @ attn: sdpa+bias\n");
}

// The shifts of the batch norms ahead of the softmax are gone, those behind are added.
TEST(FuseAttention, TablesOfDistancesAndBatchNorms) {
  const auto remarks = expect_rewrite(kPass, testing::kRasterBody, R"(
  %0 = input() {name = "x", type = "f32[N, 32, 2, 3]"} : f32[N, 32, 2, 3] @ "lesa.qkv"
  %1 = parameter() {key = "query_table", type = "f32[4, 11]"} : f32[4, 11] @ "lesa"
  %2 = parameter() {key = "key_table", type = "f32[4, 11]"} : f32[4, 11] @ "lesa"
  %3 = parameter() {key = "value_table", type = "f32[8, 11]"} : f32[8, 11] @ "lesa"
  %4 = parameter() {key = "n1.gamma", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %5 = parameter() {key = "n1.var", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %6 = parameter() {key = "n2.gamma", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %7 = parameter() {key = "n2.var", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %8 = parameter() {key = "n3.gamma", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %9 = parameter() {key = "n3.var", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %10 = parameter() {key = "o1.gamma", type = "f32[16]"} : f32[16] @ "lesa.out"
  %11 = parameter() {key = "o1.beta", type = "f32[16]"} : f32[16] @ "lesa.out"
  %12 = parameter() {key = "o1.mean", type = "f32[16]"} : f32[16] @ "lesa.out"
  %13 = parameter() {key = "o1.var", type = "f32[16]"} : f32[16] @ "lesa.out"
  %14 = parameter() {key = "o2.gamma", type = "f32[16]"} : f32[16] @ "lesa.out"
  %15 = parameter() {key = "o2.beta", type = "f32[16]"} : f32[16] @ "lesa.out"
  %16 = parameter() {key = "o2.mean", type = "f32[16]"} : f32[16] @ "lesa.out"
  %17 = parameter() {key = "o2.var", type = "f32[16]"} : f32[16] @ "lesa.out"
  %18 = elementwise(%4, %5) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[2] @ "lesa"
  %19 = elementwise(%6, %7) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[2] @ "lesa"
  %20 = elementwise(%8, %9) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[2] @ "lesa"
  %21 = reshape(%18) {shape = [1, -1]} : f32[1, 2] @ "lesa"
  %22 = reshape(%19) {shape = [1, -1]} : f32[1, 2] @ "lesa"
  %23 = reshape(%20) {shape = [1, -1]} : f32[1, 2] @ "lesa"
  %24 = concat(%21, %22, %23) {axis = 0} : f32[3, 2] @ "lesa"
  %25 = transpose(%1) {permutation = [1, 0]} : f32[11, 4] @ "lesa"
  %26 = transpose(%2) {permutation = [1, 0]} : f32[11, 4] @ "lesa"
  %27 = reverse(%26) {axis = 0} : f32[11, 4] @ "lesa"
  %28 = transpose(%3) {permutation = [1, 0]} : f32[11, 8] @ "lesa"
  %29 = elementwise(%10, %13) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[16] @ "lesa"
  %30 = mul(%12, %29) : f32[16] @ "lesa"
  %31 = sub(%11, %30) : f32[16] @ "lesa"
  %32 = elementwise(%14, %17) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[16] @ "lesa"
  %33 = mul(%16, %32) : f32[16] @ "lesa"
  %34 = sub(%15, %33) : f32[16] @ "lesa"
  %35 = add(%31, %34) : f32[16] @ "lesa"
  %36 = reshape(%29) {shape = [1, -1]} : f32[1, 16] @ "lesa"
  %37 = reshape(%32) {shape = [1, -1]} : f32[1, 16] @ "lesa"
  %38 = concat(%36, %37) {axis = 0} : f32[2, 16] @ "lesa"
  %39 = sdpa(%0, %0, %0, %24, %25, %27, %28, %38, %35) {extras = ["score_scale", "relative_query", "relative_key", "relative_value", "output_scale", "output_shift"], heads = 2, key = [4, 16, 4], query = [0, 16, 4], value = [8, 16, 8]} : f32[N, 16, 2, 3] @ "lesa"
  %40 = exp(%39) : f32[N, 16, 2, 3]
  return "y" = %40
)");
  EXPECT_EQ(
      to_lines(remarks),
      "applied fuse-attention @ lesa: "
      "sdpa+score_scale+relative_query+relative_key+relative_value+output_scale+output_shift\n");
}

TEST(FuseAttention, TablesOfRowsAndColumns) {
  const auto remarks = expect_rewrite(kPass, testing::kMapBody, R"(
  %0 = input() {name = "x", type = "f32[N, 32, 2, 3]"} : f32[N, 32, 2, 3] @ "lesa.qkv"
  %1 = parameter() {key = "columns", type = "f32[5, 4]"} : f32[5, 4] @ "lesa"
  %2 = parameter() {key = "rows", type = "f32[3, 4]"} : f32[3, 4] @ "lesa"
  %3 = parameter() {key = "n1.gamma", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %4 = parameter() {key = "n1.var", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %5 = parameter() {key = "n2.gamma", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %6 = parameter() {key = "n2.var", type = "f32[2]"} : f32[2] @ "lesa.norm"
  %7 = parameter() {key = "o1.gamma", type = "f32[16]"} : f32[16] @ "lesa.out"
  %8 = parameter() {key = "o1.beta", type = "f32[16]"} : f32[16] @ "lesa.out"
  %9 = parameter() {key = "o1.mean", type = "f32[16]"} : f32[16] @ "lesa.out"
  %10 = parameter() {key = "o1.var", type = "f32[16]"} : f32[16] @ "lesa.out"
  %11 = elementwise(%3, %4) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[2] @ "lesa"
  %12 = elementwise(%5, %6) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[2] @ "lesa"
  %13 = reshape(%11) {shape = [1, -1]} : f32[1, 2] @ "lesa"
  %14 = reshape(%12) {shape = [1, -1]} : f32[1, 2] @ "lesa"
  %15 = concat(%13, %14) {axis = 0} : f32[2, 2] @ "lesa"
  %16 = reverse(%2) {axis = 0} : f32[3, 4] @ "lesa"
  %17 = reverse(%1) {axis = 0} : f32[5, 4] @ "lesa"
  %18 = elementwise(%7, %10) {program = ["add 1 #1e-05", "rsqrt 2", "mul 0 3"]} : f32[16] @ "lesa"
  %19 = mul(%9, %18) : f32[16] @ "lesa"
  %20 = sub(%8, %19) : f32[16] @ "lesa"
  %21 = reshape(%18) {shape = [1, -1]} : f32[1, 16] @ "lesa"
  %22 = sdpa(%0, %0, %0, %15, %16, %17, %21, %20) {extras = ["score_scale", "relative_height", "relative_width", "output_scale", "output_shift"], heads = 2, key = [4, 16, 4], map = [2, 3], query = [0, 16, 4], value = [8, 16, 8]} : f32[N, 16, 2, 3] @ "lesa"
  return "y" = %22
)");
  EXPECT_EQ(to_lines(remarks),
            "applied fuse-attention @ lesa: "
            "sdpa+score_scale+relative_height+relative_width+output_scale+output_shift\n");
}

// Tables that count the other way are reversed; a head of one has one number for each part.
TEST(FuseAttention, MirroredTablesAndPartsWithNumbersOfTheirOwn) {
  const auto remarks = expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 24, 4]"} : f32[N, 24, 4]
  %1 = slice(%0) {axis = 1, end = 8, start = 0} : f32[N, 8, 4]
  %2 = slice(%0) {axis = 1, end = 16, start = 8} : f32[N, 8, 4]
  %3 = slice(%0) {axis = 1, end = 24, start = 16} : f32[N, 8, 4]
  %4 = constant() {value = tensor<f32[]; [0.5]>} : f32[]
  %5 = mul(%1, %4) : f32[N, 8, 4]
  %6 = matmul(%5, %2) {transpose_a = true} : f32[N, 4, 4]
  %7 = parameter() {key = "query_table", type = "f32[1, 7, 8]"} : f32[1, 7, 8]
  %8 = parameter() {key = "key_table", type = "f32[7, 8]"} : f32[7, 8]
  %9 = parameter() {key = "value_table", type = "f32[7, 8]"} : f32[7, 8]
  %10 = matmul(%1, %7) {transpose_a = true, transpose_b = true} : f32[N, 4, 7]
  %11 = skew(%10) : f32[N, 4, 4]
  %12 = matmul(%2, %8) {transpose_a = true, transpose_b = true} : f32[N, 4, 7]
  %13 = skew(%12) : f32[N, 4, 4]
  %14 = transpose(%13) {permutation = [0, 2, 1]} : f32[N, 4, 4]
  %15 = add(%6, %11) : f32[N, 4, 4]
  %16 = sub(%15, %14) : f32[N, 4, 4]
  %17 = softmax(%16) : f32[N, 4, 4]
  %18 = matmul(%17, %3) {transpose_b = true} : f32[N, 4, 8]
  %19 = transpose(%18) {permutation = [0, 2, 1]} : f32[N, 8, 4]
  %20 = unskew(%17) : f32[N, 4, 7]
  %21 = matmul(%20, %9) : f32[N, 4, 8]
  %22 = transpose(%21) {permutation = [0, 2, 1]} : f32[N, 8, 4]
  %23 = add(%19, %22) : f32[N, 8, 4]
  %24 = parameter() {key = "gain", type = "f32[8, 1]"} : f32[8, 1]
  %25 = mul(%23, %24) : f32[N, 8, 4]
  %26 = parameter() {key = "shift", type = "f32[8, 1]"} : f32[8, 1]
  %27 = add(%25, %26) : f32[N, 8, 4]
  return "y" = %27
)",
                                      R"(
  %0 = input() {name = "x", type = "f32[N, 24, 4]"} : f32[N, 24, 4]
  %1 = parameter() {key = "query_table", type = "f32[1, 7, 8]"} : f32[1, 7, 8]
  %2 = parameter() {key = "key_table", type = "f32[7, 8]"} : f32[7, 8]
  %3 = parameter() {key = "value_table", type = "f32[7, 8]"} : f32[7, 8]
  %4 = parameter() {key = "gain", type = "f32[8, 1]"} : f32[8, 1]
  %5 = parameter() {key = "shift", type = "f32[8, 1]"} : f32[8, 1]
  %6 = constant() {value = tensor<f32[1]; [1.0]>} : f32[1]
  %7 = elementwise(%6) {program = ["mul 0 #0.5"]} : f32[1]
  %8 = constant() {value = tensor<f32[1]; [1.0]>} : f32[1]
  %9 = constant() {value = tensor<f32[1]; [1.0]>} : f32[1]
  %10 = elementwise(%9) {program = ["mul 0 #-1.0"]} : f32[1]
  %11 = reshape(%7) {shape = [1, -1]} : f32[1, 1]
  %12 = reshape(%8) {shape = [1, -1]} : f32[1, 1]
  %13 = reshape(%10) {shape = [1, -1]} : f32[1, 1]
  %14 = concat(%11, %12, %13) {axis = 0} : f32[3, 1]
  %15 = reshape(%1) {shape = [7, 8]} : f32[7, 8]
  %16 = reverse(%15) {axis = 0} : f32[7, 8]
  %17 = reverse(%3) {axis = 0} : f32[7, 8]
  %18 = reshape(%4) {shape = [-1]} : f32[8]
  %19 = reshape(%4) {shape = [-1]} : f32[8]
  %20 = reshape(%5) {shape = [-1]} : f32[8]
  %21 = reshape(%18) {shape = [1, -1]} : f32[1, 8]
  %22 = reshape(%19) {shape = [1, -1]} : f32[1, 8]
  %23 = concat(%21, %22) {axis = 0} : f32[2, 8]
  %24 = sdpa(%0, %0, %0, %14, %16, %2, %17, %23, %20) {extras = ["score_scale", "relative_query", "relative_key", "relative_value", "output_scale", "output_shift"], heads = 1, key = [8, 8, 8], query = [0, 8, 8], value = [16, 8, 8]} : f32[N, 8, 4]
  return "y" = %24
)");
  EXPECT_EQ(
      to_lines(remarks),
      "applied fuse-attention @ : "
      "sdpa+score_scale+relative_query+relative_key+relative_value+output_scale+output_shift\n");
}

// The scale of the queries is the one of the scores; the bias is scaled with them. A number behind
// the result stays where it costs nothing.
TEST(FuseAttention, FewQueriesOnManyKeys) {
  const auto remarks = expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 3, 4]"} : f32[N, 3, 4] @ "attn.query"
  %1 = input() {name = "context", type = "f32[N, 5, 8]"} : f32[N, 5, 8] @ "attn.context"
  %2 = input() {name = "mask", type = "f32[N, 1, 5]"} : f32[N, 1, 5]
  %3 = constant() {value = tensor<f32[]; [0.25]>} : f32[]
  %4 = mul(%0, %3) : f32[N, 3, 4]
  %5 = slice(%1) {axis = 2, end = 4, start = 0} : f32[N, 5, 4]
  %6 = slice(%1) {axis = 2, end = 8, start = 4} : f32[N, 5, 4]
  %7 = matmul(%4, %5) {transpose_b = true} : f32[N, 3, 5]
  %8 = add(%2, %7) : f32[N, 3, 5]
  %9 = parameter() {key = "scale", type = "f32[1]"} : f32[1]
  %10 = mul(%8, %9) : f32[N, 3, 5]
  %11 = softmax(%10) {axis = 2} : f32[N, 3, 5]
  %12 = matmul(%11, %6) : f32[N, 3, 4]
  %13 = parameter() {key = "channel_scale", type = "f32[4]"} : f32[4]
  %14 = mul(%12, %13) : f32[N, 3, 4]
  %15 = parameter() {key = "gain", type = "f32[1]"} : f32[1]
  %16 = mul(%14, %15) : f32[N, 3, 4]
  return "y" = %16
)",
                                      R"(
  %0 = input() {name = "x", type = "f32[N, 3, 4]"} : f32[N, 3, 4] @ "attn.query"
  %1 = input() {name = "context", type = "f32[N, 5, 8]"} : f32[N, 5, 8] @ "attn.context"
  %2 = input() {name = "mask", type = "f32[N, 1, 5]"} : f32[N, 1, 5]
  %3 = parameter() {key = "scale", type = "f32[1]"} : f32[1]
  %4 = parameter() {key = "channel_scale", type = "f32[4]"} : f32[4]
  %5 = reshape(%3) {shape = [1, -1]} : f32[1, 1]
  %6 = reshape(%2) {shape = [0, 1, 1, 5]} : f32[N, 1, 1, 5]
  %7 = reshape(%3) {shape = [-1, 1, 1]} : f32[1, 1, 1]
  %8 = mul(%6, %7) : f32[N, 1, 1, 5]
  %9 = reshape(%4) {shape = [1, -1]} : f32[1, 4]
  %10 = sdpa(%0, %1, %1, %5, %8, %9) {channel_axis = -1, extras = ["score_scale", "bias", "output_scale"], heads = 1, key = [0, 4, 4], query = [0, 4, 4], scale = 0.25, value = [4, 4, 4]} : f32[N, 3, 4]
  %11 = parameter() {key = "gain", type = "f32[1]"} : f32[1]
  %12 = mul(%10, %11) : f32[N, 3, 4]
  return "y" = %12
)");
  EXPECT_EQ(to_lines(remarks), "applied fuse-attention @ : sdpa+score_scale+bias+output_scale\n");
}

// Nothing behind the product brings the heads into the order of the queries: a transpose does.
TEST(FuseAttention, AResultInAnotherOrder) {
  const auto remarks = expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 16, 6]"} : f32[N, 16, 6]
  %1 = reshape(%0) {shape = [0, 2, 8, 6]} : f32[N, 2, 8, 6]
  %2 = transpose(%1) {permutation = [0, 1, 3, 2]} : f32[N, 2, 6, 8]
  %3 = matmul(%2, %1) : f32[N, 2, 6, 6]
  %4 = softmax(%3) : f32[N, 2, 6, 6]
  %5 = matmul(%4, %2) : f32[N, 2, 6, 8]
  %6 = exp(%5) : f32[N, 2, 6, 8]
  return "y" = %6
)",
                                      R"(
  %0 = input() {name = "x", type = "f32[N, 16, 6]"} : f32[N, 16, 6]
  %1 = sdpa(%0, %0, %0) {heads = 2, key = [0, 8, 8], query = [0, 8, 8], value = [0, 8, 8]} : f32[N, 16, 6]
  %2 = reshape(%1) {shape = [0, 2, 8, 6]} : f32[N, 2, 8, 6]
  %3 = transpose(%2) {permutation = [0, 1, 3, 2]} : f32[N, 2, 6, 8]
  %4 = exp(%3) : f32[N, 2, 6, 8]
  return "y" = %4
)");
  EXPECT_EQ(to_lines(remarks), "applied fuse-attention @ : sdpa\n");
}

/// The sdpa that the pass makes of a body.
const Node& fused(Graph& graph) {
  PassContext context;
  const std::vector<Pass> passes = {find_pass(kPass)};
  run_pipeline(graph, passes, context);
  const Node* found = nullptr;
  for (const Node* node : graph.node_list()) found = node->is("sdpa") ? node : found;
  EXPECT_NE(found, nullptr);
  return *found;
}

TEST(FuseAttention, NamesTheScopesItStandsFor) {
  Graph graph = testing::parse_body(testing::kRasterBody);
  const Provenance& provenance = fused(graph).provenance();
  EXPECT_EQ(provenance.scope, "lesa");
  EXPECT_EQ(provenance.origins,
            (std::vector<std::string>{"lesa", "lesa.norm", "lesa.out", "lesa.qkv"}));
}

// Keys times queries, turned around; a positive number behind the clamp, a quotient ahead of it.
TEST(FuseAttention, OtherSpellingsOfTheSame) {
  const std::string body = R"(
  %0 = input() {name = "x", type = "f32[N, 16, 6]"} : f32[N, 16, 6]
  %1 = slice(%0) {axis = 1, end = 4, start = 0} : f32[N, 4, 6]
  %2 = slice(%0) {axis = 1, end = 8, start = 4} : f32[N, 4, 6]
  %3 = slice(%0) {axis = 1, end = 16, start = 8} : f32[N, 8, 6]
  %4 = matmul(%2, %1) {transpose_a = true} : f32[N, 6, 6]
  %5 = transpose(%4) {permutation = [0, 2, 1]} : f32[N, 6, 6]
  %6 = constant() {value = tensor<f32[]; [4.0]>} : f32[]
  %7 = div(%5, %6) : f32[N, 6, 6]
  %8 = clamp(%7) {max = 0.25, min = -0.5} : f32[N, 6, 6]
  %9 = mul(%6, %8) : f32[N, 6, 6]
  %10 = reshape(%9) {shape = [0, 1, 6, 6]} : f32[N, 1, 6, 6]
  %11 = softmax(%10) : f32[N, 1, 6, 6]
  %12 = reshape(%3) {shape = [0, 1, 8, 6]} : f32[N, 1, 8, 6]
  %13 = matmul(%12, %11) {transpose_b = true} : f32[N, 1, 8, 6]
  return "y" = %13
)";
  expect_rewrite(kPass, body, R"(
  %0 = input() {name = "x", type = "f32[N, 16, 6]"} : f32[N, 16, 6]
  %1 = sdpa(%0, %0, %0) {clamp = [-2.0, 1.0], heads = 1, key = [4, 4, 4], query = [0, 4, 4], value = [8, 8, 8]} : f32[N, 8, 6]
  %2 = reshape(%1) {shape = [0, 1, 8, 6]} : f32[N, 1, 8, 6]
  return "y" = %2
)");
}

// A residual behind the result is none of its business, whatever scales it.
TEST(FuseAttention, AGainAndAResidualStayBehind) {
  expect_rewrite(kPass, R"(
  %0 = input() {name = "x", type = "f32[N, 4, 6]"} : f32[N, 4, 6]
  %1 = matmul(%0, %0) {transpose_a = true} : f32[N, 6, 6]
  %2 = softmax(%1) : f32[N, 6, 6]
  %3 = matmul(%0, %2) {transpose_b = true} : f32[N, 4, 6]
  %4 = parameter() {key = "gain", type = "f32[1]"} : f32[1]
  %5 = mul(%3, %4) : f32[N, 4, 6]
  %6 = add(%5, %0) : f32[N, 4, 6]
  return "y" = %6
)",
                 R"(
  %0 = input() {name = "x", type = "f32[N, 4, 6]"} : f32[N, 4, 6]
  %1 = sdpa(%0, %0, %0) {heads = 1, key = [0, 4, 4], query = [0, 4, 4], value = [0, 4, 4]} : f32[N, 4, 6]
  %2 = parameter() {key = "gain", type = "f32[1]"} : f32[1]
  %3 = mul(%1, %2) : f32[N, 4, 6]
  %4 = add(%3, %0) : f32[N, 4, 6]
  return "y" = %4
)");
}

}  // namespace
}  // namespace facet
