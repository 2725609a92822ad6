#include <gmock/gmock.h>

#include "runtime/formats/verification_bin.h"
#include "tests/training/data/data_files.h"
#include "training/data/protocol_sets.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

void write_lfw(const TempFolder& folder) {
  write_jpeg(folder / "lfw/Ann_Lee/Ann_Lee_0001.jpg", 1);
  write_jpeg(folder / "lfw/Ann_Lee/Ann_Lee_0012.jpg", 2);
  write_jpeg(folder / "lfw/Bo/Bo_0001.jpg", 3);
}

TEST(PairSets, LfwsViewTwo) {
  const TempFolder folder;
  write_lfw(folder);
  write_bytes(folder / "lfw/pairs.txt", "10\t300\nAnn_Lee\t1\t12\nAnn_Lee\t12\tBo\t1\r\n");
  const PairSet set = open_pairs(folder / "lfw/pairs.txt");
  EXPECT_EQ(set.name, "pairs");
  ASSERT_EQ(set.pairs.size(), 2U);
  EXPECT_EQ(set.pictures->size(), 3);
  EXPECT_TRUE(set.pairs[0].same);
  EXPECT_FALSE(set.pairs[1].same);
  EXPECT_EQ(set.pairs[0].second, set.pairs[1].first) << "one picture, one number";
  EXPECT_EQ(set.pictures->load(set.pairs[1].second).pixels,
            decode_image(jpeg_bytes(3), "x").pixels);
  EXPECT_THAT(set.pictures->name(set.pairs[0].second), HasSubstr("Ann_Lee/Ann_Lee_0012.jpg"));
}

TEST(PairSets, DcrsListOfPaths) {
  const TempFolder folder;
  write_lfw(folder);
  write_bytes(folder / "lfw_test_pair.txt",
              "Ann_Lee/Ann_Lee_0001.jpg Ann_Lee/Ann_Lee_0012.jpg 1\n"
              "Ann_Lee/Ann_Lee_0001.jpg   Bo/Bo_0001.jpg 0\n");
  const PairSet set = open_pairs(folder / "lfw_test_pair.txt", folder / "lfw");
  ASSERT_EQ(set.pairs.size(), 2U);
  EXPECT_EQ(set.name, "lfw_test_pair");
  EXPECT_TRUE(set.pairs[0].same);
  EXPECT_FALSE(set.pairs[1].same);
  EXPECT_EQ(set.pairs[0].first, set.pairs[1].first);
}

TEST(PairSets, PairsWithoutAFileAreCountedAndNamed) {
  const TempFolder folder;
  write_lfw(folder);
  write_bytes(folder / "lfw/pairs.txt", "10 300\nAnn_Lee 1 2\nAnn_Lee 1 12\nCy 1 Bo 1\n");
  EXPECT_THAT(error_of([&] { open_pairs(folder / "lfw/pairs.txt"); }),
              AllOf(HasSubstr("2 pairs cannot be used"),
                    HasSubstr("pairs.txt:2: there is no file " +
                              (folder / "lfw/Ann_Lee/Ann_Lee_0002.jpg").string()),
                    HasSubstr("pairs.txt:4:")));
  const PairSet set = open_pairs(folder / "lfw/pairs.txt", {}, BadEntries::leave_out);
  EXPECT_EQ(set.pairs.size(), 1U);
  EXPECT_EQ(set.left_out.count, 2);
  EXPECT_EQ(set.pictures->size(), 2) << "pictures of pairs alone";
  write_bytes(folder / "lfw/pairs.txt", "Cy 1 2\n");
  EXPECT_THAT(error_of([&] { open_pairs(folder / "lfw/pairs.txt", {}, BadEntries::leave_out); }),
              HasSubstr("of 1 pairs none has both pictures"));
}

TEST(PairSets, LinesThatAreNoPairsAreRefused) {
  const TempFolder folder;
  for (const char* line :
       {"Ann_Lee 1", "a b c", "a.jpg b.jpg 2", "Ann_Lee 1 Bo x", "1 2 3 4 5 x"}) {
    write_bytes(folder / "pairs.txt", std::string("1 1\n") + line + "\n");
    EXPECT_THAT(error_of([&] { open_pairs(folder / "pairs.txt"); }),
                AllOf(HasSubstr("pairs.txt:2: "), HasSubstr("is no pair")))
        << line;
  }
  write_bytes(folder / "pairs.txt", "10\t300\n");
  EXPECT_THAT(error_of([&] { open_pairs(folder / "pairs.txt"); }), HasSubstr("lists no pairs"));
}

TEST(PairSets, VerificationFiles) {
  const TempFolder folder;
  const std::vector<std::vector<std::byte>> pictures = {
      jpeg_bytes(1), jpeg_bytes(2), jpeg_bytes(3), {std::byte{1}}};
  write_verification_bin(folder / "agedb_30.bin", pictures, {true, false});
  const PairSet set = open_verification_bin(folder / "agedb_30.bin");
  EXPECT_EQ(set.name, "agedb_30");
  ASSERT_EQ(set.pairs.size(), 2U);
  EXPECT_EQ(set.pairs[1].first, 2);
  EXPECT_EQ(set.pairs[1].second, 3);
  EXPECT_TRUE(set.pairs[0].same);
  EXPECT_FALSE(set.pairs[1].same);
  EXPECT_EQ(set.pictures->load(1).pixels, decode_image(jpeg_bytes(2), "x").pixels);
  EXPECT_THAT(error_of([&] { set.pictures->load(3); }), HasSubstr("agedb_30.bin#3"));
}

/// Persons 1 to 3 of training and 51 to 53 of the test, as the cameras took them.
void write_scface(const TempFolder& folder) {
  for (const int person : {2, 1, 51, 52}) {
    char name[64];
    std::snprintf(name, sizeof name, "%03d_frontal.%s", person, person == 1 ? "JPG" : "jpg");
    write_jpeg(folder / "mugshot_frontal_cropped_all" / name, person * 100);
    for (int distance = 1; distance <= 3; ++distance) {
      for (int camera = 1; camera <= 7; ++camera) {
        std::snprintf(name, sizeof name, "cam%d/%03d_cam%d_%d.jpg", camera, person, camera,
                      distance);
        write_jpeg(folder / ("surveillance_cameras_distance_" + std::to_string(distance)) / name,
                   person * 100 + distance * 10 + camera);
      }
    }
  }
  write_bytes(folder / "mugshot_frontal_cropped_all/readme.txt", "x");
  write_jpeg(folder / "mugshot_frontal_cropped_all/other.jpg", 1);
}

TEST(ScFace, TrainingPersons) {
  const TempFolder folder;
  write_scface(folder);
  const auto data = open_scface_training(folder / "");
  ASSERT_EQ(data->size(), 2 * 16) << "a mugshot and 5 cameras at 3 distances";
  EXPECT_EQ(data->class_count(), 50);
  EXPECT_EQ(data->class_names()[1], "002");
  EXPECT_EQ(data->label(0), 0);
  EXPECT_EQ(data->label(31), 1);
  EXPECT_THAT(data->name(0), HasSubstr("001_frontal.JPG"));
  EXPECT_THAT(data->name(1), HasSubstr("cam1/001_cam1_1.jpg"));
  EXPECT_THAT(data->name(31), HasSubstr("cam5/002_cam5_3.jpg"));
  EXPECT_EQ(data->load(31).pixels, decode_image(jpeg_bytes(235), "x").pixels);
  expect_same_for_all_threads(*data);
}

TEST(ScFace, TestPersonsByDistance) {
  const TempFolder folder;
  write_scface(folder);
  const IdentificationSet set = open_scface_test(folder / "");
  EXPECT_EQ(set.name, "scface");
  ASSERT_EQ(set.pictures->size(), 32);
  EXPECT_THAT(set.gallery, ElementsAre(0, 16));
  EXPECT_EQ(set.pictures->label(16), 51);
  ASSERT_EQ(set.groups.size(), 3U);
  EXPECT_EQ(set.groups[0].name, "d1 (4.2 m)");
  EXPECT_EQ(set.groups[2].name, "d3 (1.0 m)");
  for (std::size_t group = 0; group < 3; ++group) {
    ASSERT_EQ(set.groups[group].probes.size(), 10U);
    for (const std::int64_t probe : set.groups[group].probes) {
      EXPECT_THAT(set.pictures->name(probe), HasSubstr("_" + std::to_string(group + 1) + ".jpg"));
    }
  }
}

TEST(ScFace, WhatAPersonLacksIsNamed) {
  const TempFolder folder;
  write_scface(folder);
  std::filesystem::remove(folder / "surveillance_cameras_distance_2/cam4/052_cam4_2.jpg");
  std::filesystem::remove(folder / "mugshot_frontal_cropped_all/051_frontal.jpg");
  EXPECT_THAT(error_of([&] { open_scface_test(folder / ""); }),
              AllOf(HasSubstr("2 pictures cannot be used"),
                    HasSubstr("there is no mugshot_frontal_cropped_all/051_frontal.jpg"),
                    HasSubstr("there is no 052_cam4_2.jpg")));
  const IdentificationSet set = open_scface_test(folder / "", BadEntries::leave_out);
  EXPECT_EQ(set.gallery.size(), 1U) << "51 cannot be found without a mugshot";
  EXPECT_EQ(set.groups[0].probes.size(), 5U);
  EXPECT_EQ(set.groups[1].probes.size(), 4U);
  EXPECT_EQ(set.pictures->left_out().count, 2);
  EXPECT_EQ(open_scface_training(folder / "")->size(), 32) << "training lacks nothing";
  std::filesystem::remove_all(folder / "surveillance_cameras_distance_3");
  EXPECT_THAT(error_of([&] { open_scface_test(folder / ""); }),
              HasSubstr("surveillance_cameras_distance_3: there is no such folder"));
}

}  // namespace
}  // namespace facet::test
