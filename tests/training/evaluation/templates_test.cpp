#include "training/evaluation/templates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ir/error.h"
#include "tests/formats/temp_folder.h"

namespace facet {
namespace {

using test::TempFolder;
using test::write_bytes;
using ::testing::HasSubstr;

TEST(Templates, ListsAreRead) {
  const TempFolder folder;
  write_bytes(folder / "points.txt",
              "1.jpg 1 2 3 4 5 6 7 8 9.5 10 0.875\n\nb/2.jpg 0 0 1 0 0 1 1 1 2 2 1\r\n");
  const auto faces = read_detected_faces(folder / "points.txt");
  ASSERT_EQ(faces.size(), 2U);
  EXPECT_EQ(faces[1].name, "b/2.jpg");
  EXPECT_EQ(faces[0].points[4].x, 9.5);
  EXPECT_EQ(faces[0].score, 0.875);
  write_bytes(folder / "tid.txt", "1.jpg 11 -3\n");
  EXPECT_EQ(read_template_faces(folder / "tid.txt").at(0).media_id, -3);
  write_bytes(folder / "pairs.txt", "11 12 1\n11 13 0\n");
  const auto pairs = read_template_pairs(folder / "pairs.txt");
  ASSERT_EQ(pairs.size(), 2U);
  EXPECT_TRUE(pairs[0].same);
  EXPECT_FALSE(pairs[1].same);
}

TEST(Templates, DamagedListsNameFileAndLine) {
  const TempFolder folder;
  const auto message = [&](const std::string& text) -> std::string {
    write_bytes(folder / "pairs.txt", text);
    try {
      read_template_pairs(folder / "pairs.txt");
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message("1 2 1\n1 x 1\n"), HasSubstr("pairs.txt:2: \"x\" is not a number"));
  EXPECT_THAT(message("1 2\n"), HasSubstr("2 words, not 3"));
  EXPECT_THAT(message("1 2 2\n"), HasSubstr("0 (different)"));
  EXPECT_THAT(message(""), HasSubstr("is empty"));
  EXPECT_THROW(read_template_pairs(folder / "none.txt"), Error);
}

TEST(Templates, MediasAreAveragedAndSummed) {
  TemplatePool pool;
  const std::vector<double> a = {4, 0};
  const std::vector<double> b = {0, 2};
  const std::vector<double> c = {1, 1};
  pool.add({"1", 5, 1}, a, 0.5);  // a video of two frames: mean (1, 0.5)
  pool.add({"2", 6, 9}, c, 1);
  pool.add({"3", 5, 1}, b, 0.5);
  pool.add({"4", 5, 2}, c, 2);  // and a picture: (2, 2)
  const auto templates = pool.templates();
  ASSERT_EQ(templates.size(), 2U);
  const double norm = std::hypot(3.0, 2.5);
  EXPECT_NEAR(templates.at(5)[0], 3 / norm, 1e-15);
  EXPECT_NEAR(templates.at(5)[1], 2.5 / norm, 1e-15);
  const auto scores = template_scores(templates, {{5, 6, true}, {6, 6, true}, {5, 7, false}});
  EXPECT_NEAR(scores[0], 5.5 / norm / std::sqrt(2), 1e-15);
  EXPECT_NEAR(scores[1], 1, 1e-15);
  EXPECT_TRUE(std::isnan(scores[2]));
  EXPECT_THROW(pool.add({"5", 5, 3}, std::vector<double>{1, 2, 3}, 1), Error);
}

}  // namespace
}  // namespace facet
