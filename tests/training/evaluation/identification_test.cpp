#include "training/evaluation/identification.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "ir/error.h"
#include "tests/support/fill.h"
#include "training/evaluation/principal_components.h"

namespace facet {
namespace {

using ::testing::ElementsAre;

Embeddings table(std::vector<std::vector<double>> rows) {
  Embeddings result(static_cast<std::int64_t>(rows.size()),
                    static_cast<std::int64_t>(rows[0].size()));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::ranges::copy(rows[i], result.row(static_cast<std::int64_t>(i)).begin());
  }
  return result;
}

TEST(Identification, RanksAreThoseOfPersons) {
  // Person 7 has two pictures, of which the far one does not count, nor the two before person 9.
  const Embeddings gallery = table({{0, 0}, {10, 0}, {4, 0}});
  EXPECT_THAT(identification_ranks(gallery, {7, 7, 9}, table({{3, 0}, {9, 0}, {1, 0}, {3, 0}}),
                                   {9, 7, 9, 5}, Metric::euclidean),
              ElementsAre(1, 1, 2, 3));
}

TEST(Identification, EqualDistancesRankByTheGallerysOrder) {
  const Embeddings gallery = table({{1, 0}, {1, 0}, {1, 0}});
  EXPECT_THAT(identification_ranks(gallery, {0, 1, 2}, table({{5, 0}, {5, 0}, {5, 0}}), {0, 1, 2},
                                   Metric::cosine),
              ElementsAre(1, 2, 3));
}

TEST(Identification, WhatIsNotANumberRanksBehindAll) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(
      identification_ranks(table({{1, 0}, {0, 1}}), {0, 1}, table({{nan, 0}}), {0}, Metric::cosine),
      ElementsAre(3));
}

TEST(Identification, CosineForgetsTheLength) {
  const Embeddings gallery = table({{0.1, 0}, {3, 3}});
  const Embeddings probe = table({{5, 0.1}});
  EXPECT_THAT(identification_ranks(gallery, {0, 1}, probe, {0}, Metric::cosine), ElementsAre(1));
  EXPECT_THAT(identification_ranks(gallery, {0, 1}, probe, {0}, Metric::euclidean), ElementsAre(2));
}

/// The way a first-year student would: sort everything for every probe.
std::vector<double> brute_force_cmc(const Embeddings& gallery,
                                    const std::vector<std::int64_t>& persons,
                                    const Embeddings& probes,
                                    const std::vector<std::int64_t>& own) {
  std::vector<double> curve(12);
  for (std::size_t k = 1; k <= curve.size(); ++k) {
    for (std::int64_t p = 0; p < probes.rows; ++p) {
      std::vector<std::pair<double, std::int64_t>> all;
      for (std::int64_t g = 0; g < gallery.rows; ++g) {
        all.emplace_back(squared_distance(gallery.row(g), probes.row(p)), g);
      }
      std::ranges::sort(all);
      std::vector<std::int64_t> seen;
      for (const auto& [distance, g] : all) {
        const std::int64_t person = persons[static_cast<std::size_t>(g)];
        if (std::ranges::find(seen, person) == seen.end()) seen.push_back(person);
      }
      seen.resize(k);
      if (std::ranges::find(seen, own[static_cast<std::size_t>(p)]) != seen.end())
        curve[k - 1] += 1;
    }
    curve[k - 1] /= static_cast<double>(probes.rows);
  }
  return curve;
}

TEST(Identification, CumulativeMatchEqualsBruteForce) {
  const Embeddings gallery(testing::uniform("cmc.gallery", {30, 4}, -1, 1));
  const Embeddings probes(testing::uniform("cmc.probes", {50, 4}, -1, 1));
  std::vector<std::int64_t> persons;
  std::vector<std::int64_t> own;
  for (std::int64_t i = 0; i < 30; ++i) persons.push_back(100 + (i * 7) % 12);
  for (std::int64_t i = 0; i < 50; ++i) own.push_back(100 + i % 12);
  const auto ranks = identification_ranks(gallery, persons, probes, own, Metric::euclidean);
  const std::vector<double> curve = cumulative_match(ranks, 12);
  EXPECT_EQ(curve, brute_force_cmc(gallery, persons, probes, own));
  EXPECT_EQ(curve.back(), 1);
  EXPECT_LT(curve.front(), 0.5);
}

TEST(Identification, CumulativeMatchOfRanks) {
  EXPECT_THAT(cumulative_match({1, 3, 3, 9}, 4), ElementsAre(0.25, 0.25, 0.75, 0.75));
  EXPECT_THAT(cumulative_match({}, 2), ElementsAre(0, 0));
}

TEST(Identification, NearestRowsComeFirst) {
  const Embeddings gallery = table({{0, 3}, {0, 1}, {0, 1}, {0, 2}});
  const std::vector<double> probe = {0, 0};
  const auto found = nearest_rows(gallery, probe, 3, Metric::euclidean);
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0].row, 1);
  EXPECT_EQ(found[1].row, 2);
  EXPECT_EQ(found[2].row, 3);
  EXPECT_EQ(found[2].score, 2);
  EXPECT_EQ(nearest_rows(gallery, probe, 9, Metric::cosine).size(), 4U);
}

TEST(Identification, TablesMustFit) {
  const Embeddings two(2, 3);
  EXPECT_THROW(identification_ranks(two, {0}, two, {0, 1}, Metric::cosine), Error);
  EXPECT_THROW(identification_ranks(two, {0, 1}, Embeddings(2, 4), {0, 1}, Metric::cosine), Error);
  EXPECT_THROW(identification_ranks(Embeddings(0, 3), {}, two, {0, 1}, Metric::cosine), Error);
}

// Expected numbers: numpy on the same fill.
TEST(Retrieval, IsAsNumpySays) {
  Embeddings queries(testing::uniform("ret.q", {40, 5}, -1, 1));
  const Embeddings noise(testing::uniform("ret.g", {40, 5}, -1, 1));
  const Embeddings centres(testing::uniform("ret.c", {7, 5}, -1, 1));
  Embeddings gallery = queries;
  std::vector<std::int64_t> classes;
  for (std::int64_t i = 0; i < 40; ++i) {
    classes.push_back(i % 7);
    for (std::int64_t d = 0; d < 5; ++d) {
      gallery.row(i)[d] += 0.9 * noise.row(i)[d] + 0.8 * centres.row(i % 7)[d];
      queries.row(i)[d] += 0.8 * centres.row(i % 7)[d];
    }
  }
  const Retrieval own = retrieval(queries, gallery, classes);
  EXPECT_EQ(own.queries, 40);
  EXPECT_NEAR(own.precision_at_1, 0.3, 1e-12);
  EXPECT_NEAR(own.r_precision, 0.19875, 1e-12);
  EXPECT_NEAR(own.map_at_r, 0.13466666666666666, 1e-12);
  const Retrieval dropped = retrieval(queries, gallery, classes, true);
  EXPECT_NEAR(dropped.precision_at_1, 0.45, 1e-12);
  EXPECT_NEAR(dropped.r_precision, 0.295, 1e-12);
  EXPECT_NEAR(dropped.map_at_r, 0.20970833333333333, 1e-12);
}

TEST(Retrieval, ClassesOfOnePictureDoNotCount) {
  const Embeddings points = table({{0, 0}, {0, 1}, {9, 9}});
  const Retrieval result = retrieval(points, points, {0, 0, 1});
  EXPECT_EQ(result.queries, 2);
  EXPECT_EQ(result.precision_at_1, 1);
  EXPECT_EQ(result.map_at_r, 1);
}

// Expected numbers: scikit-learn 1.9's PCA.
TEST(PrincipalComponents, AreAsScikitLearnSays) {
  const Embeddings points = normalized(Embeddings(testing::uniform("val.a", {300, 6}, -1, 1)));
  const PrincipalComponents basis(points, 3);
  const double variances[] = {0.19579553511182807, 0.18529831916215508, 0.16933556297614435};
  const double row[] = {0.2183395798502703, 0.060550443183049023, 0.67844121485601683};
  const Embeddings projected = basis.project(points);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(basis.variances()[i], variances[i], 1e-12);
    EXPECT_NEAR(std::abs(projected.row(0)[i]), row[i], 1e-11);
  }
}

TEST(PrincipalComponents, EigenvectorsReproduceTheMatrix) {
  const std::int64_t n = 40;
  Embeddings matrix(testing::uniform("eigen", {n, n}, -1, 1));
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < i; ++j) matrix.row(i)[j] = matrix.row(j)[i];
  }
  const SymmetricEigen eigen = symmetric_eigen(matrix);
  EXPECT_TRUE(std::ranges::is_sorted(eigen.values, std::ranges::greater{}));
  for (std::int64_t k = 0; k < n; ++k) {
    const std::span<const double> vector = eigen.vectors.row(k);
    for (std::int64_t other = 0; other < n; ++other) {
      EXPECT_NEAR(dot(vector, eigen.vectors.row(other)), k == other ? 1 : 0, 1e-12);
    }
    for (std::int64_t i = 0; i < n; ++i) {
      EXPECT_NEAR(dot(matrix.row(i), vector), eigen.values[static_cast<std::size_t>(k)] * vector[i],
                  1e-11);
    }
  }
}

TEST(PrincipalComponents, WhatHasNoneIsRefused) {
  EXPECT_THROW(PrincipalComponents(Embeddings(5, 3), 4), Error);
  EXPECT_THROW(PrincipalComponents(Embeddings(5, 3), 0), Error);
  EXPECT_THROW(symmetric_eigen(Embeddings(2, 3)), Error);
  Embeddings bad(2, 2);
  bad.values[1] = std::nan("");
  EXPECT_THROW(symmetric_eigen(bad), Error);
  EXPECT_EQ(PrincipalComponents(Embeddings(5, 3), 2).variances(), (std::vector<double>{0, 0}));
}

}  // namespace
}  // namespace facet
