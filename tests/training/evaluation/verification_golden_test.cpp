#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/fill.h"
#include "tests/support/paths.h"
#include "training/evaluation/verification.h"

// verification.json: InsightFace's own code on embeddings that a formula fills.
namespace facet {
namespace {

struct Case {
  Embeddings first;
  Embeddings second;
  std::vector<char> same;
};

/// The rule of the file's "rule".
Case make_case(const nlohmann::json& golden) {
  const auto pairs = golden.at("pairs").get<std::int64_t>();
  const auto width = golden.at("dim").get<std::int64_t>();
  const std::string seed = std::to_string(golden.at("seed").get<int>());
  Case made;
  made.first = Embeddings(testing::uniform("verif.a." + seed, {pairs, width}, -1, 1));
  const Embeddings noise(testing::uniform("verif.n." + seed, {pairs, width}, -1, 1));
  made.second = noise;
  for (std::int64_t i = 0; i < pairs; ++i) {
    made.same.push_back((i / (pairs / 20)) % 2 == 0 ? 1 : 0);
    if (made.same.back() == 0) continue;
    for (std::int64_t d = 0; d < width; ++d) {
      made.second.row(i)[d] = made.first.row(i)[d] + 0.9 * noise.row(i)[d];
    }
  }
  return made;
}

TEST(VerificationGolden, EveryFigureIsTheSame) {
  std::ifstream file(testing::test_data() / "golden" / "verification.json");
  const nlohmann::json cases = nlohmann::json::parse(file);
  ASSERT_EQ(cases.size(), 2U);
  for (const nlohmann::json& golden : cases) {
    const Case made = make_case(golden);
    const Verification result = verify_insightface(made.first, made.second, made.same);
    EXPECT_EQ(result.fold_accuracy, golden.at("fold_accuracy").get<std::vector<double>>());
    EXPECT_EQ(result.fold_threshold, golden.at("fold_threshold").get<std::vector<double>>());
    EXPECT_DOUBLE_EQ(result.mean, golden.at("mean").get<double>());
    EXPECT_DOUBLE_EQ(result.deviation, golden.at("std").get<double>());
  }
}

}  // namespace
}  // namespace facet
