#include "training/evaluation/protocols.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ir/error.h"
#include "runtime/weights.h"
#include "tests/training/evaluation/face_sets.h"
#include "training/evaluation/open_sets.h"
#include "training/evaluation/protocol_log.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Preprocess small_pictures() {
  Preprocess settings;
  settings.width = settings.height = 8;
  return settings;
}

EmbedderOptions small_options(Flip flip) {
  EmbedderOptions options;
  options.preprocess = small_pictures();
  options.flip = flip;
  options.batch = 4;
  return options;
}

/// A network without batch norm, whose eval mode needs no training.
Graph network() { return test::small_network({.norm = false}); }

TEST(Embedder, FlipsAreAddedOrPutSideBySide) {
  const Graph graph = network();
  const TensorMap weights = random_weights(graph, 3);
  const test::ColouredFaces faces(10);
  const HostTensor none =
      embed_pictures(graph, weights, small_options(Flip::none), faces).embeddings;
  const HostTensor sum = embed_pictures(graph, weights, small_options(Flip::sum), faces).embeddings;
  const HostTensor both =
      embed_pictures(graph, weights, small_options(Flip::concatenate), faces).embeddings;
  ASSERT_EQ(none.shape(), (std::vector<std::int64_t>{10, 8}));
  ASSERT_EQ(both.shape(), (std::vector<std::int64_t>{10, 16}));
  double mirrored_differs = 0;
  for (std::int64_t i = 0; i < 10; ++i) {
    for (std::int64_t d = 0; d < 8; ++d) {
      const double own = both.at(i * 16 + d);
      const double mirror = both.at(i * 16 + 8 + d);
      EXPECT_EQ(none.at(i * 8 + d), own);
      EXPECT_EQ(sum.at(i * 8 + d), own + mirror);
      mirrored_differs += std::abs(own - mirror);
    }
  }
  EXPECT_GT(mirrored_differs, 1e-3);
}

TEST(Embedder, BatchesAndThreadsChangeNothing) {
  const Graph graph = network();
  const TensorMap weights = random_weights(graph, 3);
  const test::ColouredFaces faces(11);
  EmbedderOptions options = small_options(Flip::sum);
  const HostTensor expected = embed_pictures(graph, weights, options, faces).embeddings;
  options.batch = 64;
  options.loader_threads = 3;
  const HostTensor actual = embed_pictures(graph, weights, options, faces).embeddings;
  for (std::int64_t i = 0; i < expected.element_count(); ++i) {
    EXPECT_NEAR(expected.at(i), actual.at(i), 1e-6);
  }
}

TEST(Embedder, MirroredTwiceIsTheSame) {
  const HostTensor x = HostTensor::from_floats({1, 1, 2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(mirrored(x).to_doubles(), ElementsAre(3, 2, 1, 6, 5, 4));
  EXPECT_EQ(mirrored(mirrored(x)).to_doubles(), x.to_doubles());
}

TEST(Embedder, BadPicturesAreNamedAndLeftOut) {
  const Graph graph = network();
  const TensorMap weights = random_weights(graph, 3);
  const test::ColouredFaces faces(10, {0, 7});
  EmbedderOptions options = small_options(Flip::none);
  EXPECT_THAT(test::error_of([&] { embed_pictures(graph, weights, options, faces); }),
              HasSubstr("picture#0"));
  options.leave_out_bad = true;
  const EmbeddedPictures result = embed_pictures(graph, weights, options, faces);
  ASSERT_EQ(result.problems.size(), 2U);
  EXPECT_EQ(result.problems[1].item, 7);
  EXPECT_EQ(std::ranges::count(result.readable, 1), 8);
  EXPECT_EQ(result.readable[7], 0);
  for (std::int64_t d = 0; d < 8; ++d) EXPECT_EQ(result.embeddings.at(7 * 8 + d), 0);
  const test::ColouredFaces none(2, {0, 1});
  EXPECT_THAT(test::error_of([&] { embed_pictures(graph, weights, options, none); }),
              HasSubstr("none of the 2 pictures"));
}

TEST(Embedder, StopsWhenAsked) {
  const Graph graph = network();
  const test::ColouredFaces faces(12);
  std::int64_t seen = 0;
  const EmbeddedPictures result =
      embed_pictures(graph, random_weights(graph, 3), small_options(Flip::none), faces,
                     [&](std::int64_t count) { return (seen += count) < 8; });
  EXPECT_FALSE(result.complete);
  EXPECT_EQ(seen, 8);
}

TEST(Embedder, OutputsAreFoundByName) {
  EXPECT_EQ(embedding_output(network()), "embedding");
  EXPECT_EQ(embedding_output(network(), "logits"), "logits");
  EXPECT_THROW(embedding_output(network(), "embeding"), Error);
}

/// Embeddings that show the person, but for picture 4 of `coloured_gallery`.
Embeddings table_of_persons(std::int64_t count) {
  Embeddings table(count, 3);
  for (std::int64_t i = 0; i < count; ++i) table.row(i)[static_cast<std::size_t>(i % 3)] = 1;
  return table;
}

TEST(Protocols, PairsWithoutPicturesAreLeftOut) {
  const PairSet set = test::coloured_pairs(20);
  std::vector<char> readable(43, 1);
  const PairResult all = evaluate_pairs(set, table_of_persons(43), readable, {});
  EXPECT_EQ(all.pairs, 20);
  EXPECT_EQ(all.left_out, 0);
  EXPECT_EQ(all.verification.mean, 1);
  EXPECT_EQ(all.area, 1);
  EXPECT_EQ(all.equal_error_rate, 0);
  ASSERT_EQ(all.rates.size(), 3U);
  EXPECT_EQ(all.rates[1].far, 0.01);
  EXPECT_EQ(all.rates[1].tar, 1);
  EXPECT_EQ(all.rates[1].val.rate, 1);
  readable[3] = 0;  // of pair 0 (0, 3) and of pair 1 (2, 3)
  const PairResult some = evaluate_pairs(set, table_of_persons(43), readable, {});
  EXPECT_EQ(some.pairs, 18);
  EXPECT_EQ(some.left_out, 2);
  std::ranges::fill(readable.begin() + 16, readable.end(), 0);
  EXPECT_THAT(test::error_of([&] { evaluate_pairs(set, table_of_persons(43), readable, {}); }),
              HasSubstr("coloured: "));
}

TEST(Protocols, EveryProtocolJudgesItsWay) {
  const PairSet set = test::coloured_pairs(20);
  const std::vector<char> readable(43, 1);
  EvaluationRecipe evaluation;
  for (const auto protocol : {EvaluationRecipe::Protocol::lscnn, EvaluationRecipe::Protocol::dcr}) {
    evaluation.protocol = protocol;
    const PairResult result = evaluate_pairs(set, table_of_persons(43), readable, evaluation);
    EXPECT_EQ(result.verification.mean, 1);
    EXPECT_EQ(result.rates.front().val.rate, 0);  // InsightFace's alone
    EXPECT_GT(result.verification.threshold, 0);
  }
  EXPECT_EQ(flip_of(evaluation), Flip::none);
  evaluation.protocol = EvaluationRecipe::Protocol::lscnn;
  EXPECT_EQ(flip_of(evaluation), Flip::concatenate);
  evaluation.flip = EvaluationRecipe::Flips::sum;
  EXPECT_EQ(flip_of(evaluation), Flip::sum);
  EXPECT_EQ(flip_of({}), Flip::sum);
}

TEST(Protocols, GroupsHaveCurvesOfTheirOwn) {
  const IdentificationSet set = test::coloured_gallery();
  std::vector<char> readable(9, 1);
  Embeddings table = table_of_persons(9);
  std::ranges::copy(table.row(0), table.row(4).begin());  // looks like person 0, is person 1
  const IdentificationResult result = evaluate_identification(set, table, readable, {});
  EXPECT_EQ(result.persons, 3);
  ASSERT_EQ(result.groups.size(), 2U);
  EXPECT_THAT(result.groups[0].cmc, ElementsAre(0.75, 1, 1));
  EXPECT_THAT(result.groups[1].cmc, ElementsAre(1, 1, 1));
  EXPECT_EQ(result.rank1(), 0.875);
  EXPECT_EQ(result.groups[0].rank(2), 1);
  EXPECT_EQ(result.groups[0].rank(99), 1);
  readable[4] = readable[1] = 0;
  const IdentificationResult fewer = evaluate_identification(set, table, readable, {});
  EXPECT_EQ(fewer.persons, 2);
  EXPECT_EQ(fewer.groups[0].probes, 3);
  EXPECT_EQ(fewer.groups[0].left_out, 1);
  readable[7] = readable[8] = 0;
  EXPECT_THAT(test::error_of([&] { evaluate_identification(set, table, readable, {}); }),
              HasSubstr("far (1 m)"));
}

TEST(Protocols, RunOnANetwork) {
  const Graph graph = network();
  const ProtocolSets sets = test::coloured_sets();
  EXPECT_EQ(sets.pictures(), 43 + 9);
  Embedder embedder(graph, random_weights(graph, 3), small_options(Flip::sum));
  std::int64_t seen = 0;
  const ProtocolResults results = run_protocols(sets, embedder, {}, [&](std::int64_t count) {
    seen += count;
    return true;
  });
  EXPECT_EQ(seen, 52);
  ASSERT_TRUE(results.complete);
  EXPECT_EQ(results.verification(), results.pairs.front().verification.mean);
  EXPECT_GT(results.pairs.front().norm, 0);
  EXPECT_TRUE(std::isnan(ProtocolResults().verification()));
  EXPECT_FALSE(run_protocols(sets, embedder, {}, [](std::int64_t) { return false; }).complete);
}

TEST(Protocols, FingerprintsTellSetsApart) {
  const std::uint64_t whole = test::coloured_sets().fingerprint();
  EXPECT_EQ(test::coloured_sets().fingerprint(), whole);
  ProtocolSets other = test::coloured_sets();
  other.pairs[0].pairs[3].same = !other.pairs[0].pairs[3].same;
  EXPECT_NE(other.fingerprint(), whole);
  other = test::coloured_sets();
  std::swap(other.identification[0].groups[0].probes[0],
            other.identification[0].groups[0].probes[1]);
  EXPECT_NE(other.fingerprint(), whole);
}

TEST(ProtocolLog, ColumnsAndValuesMatch) {
  const std::vector<LogColumn> columns = protocol_columns(test::coloured_sets());
  ASSERT_EQ(columns.size(), 3U);
  EXPECT_EQ(columns[0].name, "verification_coloured");
  EXPECT_EQ(columns[0].tag, "verification/coloured");
  EXPECT_EQ(columns[2].name, "rank1_gallery_far__1_m_");
  ProtocolResults results;
  results.pairs.emplace_back().verification.mean = 0.75;
  results.identification.emplace_back().groups = {{"near", 4, 0, {0.5, 1}},
                                                  {"far", 4, 0, {0.25, 1}}};
  EXPECT_THAT(protocol_values(results), ElementsAre(0.75, 0.5, 0.25));
}

TEST(ProtocolLog, LevelsKeepTheFirstIteration) {
  const ProtocolSets sets = test::coloured_sets();
  LevelSteps steps(sets, {0.8, 0.9});
  ProtocolResults results;
  results.pairs.emplace_back().name = "coloured";
  const auto measure = [&](double mean, std::int64_t iteration) {
    results.pairs[0].verification.mean = mean;
    steps.add(results, iteration);
  };
  measure(0.7, 10);
  measure(0.85, 20);
  measure(0.6, 30);
  measure(0.8, 40);
  ASSERT_EQ(steps.rows().size(), 2U);
  EXPECT_EQ(steps.rows()[0].iteration, 20);
  EXPECT_EQ(steps.rows()[1].iteration, std::nullopt);
  std::map<std::string, std::string> notes;
  steps.write(notes);
  LevelSteps read(sets, {0.8, 0.9});
  read.read(notes);
  EXPECT_EQ(read.rows()[0].iteration, 20);
  EXPECT_EQ(read.rows()[1].iteration, std::nullopt);
}

TEST(OpenSets, NamesThatAreNoneAreRefused) {
  EXPECT_THROW(open_pair_set("lfw"), Error);
  EXPECT_THROW(open_identification_set("/no/such/folder"), Error);
  EXPECT_THAT(test::error_of([] { open_pair_set("synth:pears=40"); }, ErrorKind::usage),
              HasSubstr("pairs, seed, difficulty"));
  EXPECT_THAT(test::error_of([] { open_pair_set("synth:pairs=many"); }, ErrorKind::usage),
              HasSubstr("'many' is not a number"));
  EvaluationRecipe twice;
  twice.pairs = {"synth:pairs=40", "synth:pairs=60"};
  EXPECT_THAT(test::error_of([&] { open_protocol_sets(twice); }, ErrorKind::usage),
              HasSubstr("two sets of the name"));
}

TEST(OpenSets, RenderedFacesNeedNoFiles) {
  const PairSet pairs = open_pair_set("synth:pairs=40:seed=2:difficulty=0.5");
  EXPECT_EQ(pairs.pairs.size(), 40U);
  const IdentificationSet set = open_identification_set("synth:persons=3");
  EXPECT_EQ(set.gallery.size(), 3U);
  EXPECT_EQ(set.groups.size(), 3U);
}

}  // namespace
}  // namespace facet
