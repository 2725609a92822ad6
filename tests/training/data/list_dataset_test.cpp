#include <gmock/gmock.h>

#include "tests/training/data/data_files.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr BadEntries kLeaveOut = BadEntries::leave_out;

void write_faces(const TempFolder& folder) {
  write_jpeg(folder / "faces/0000045/001.jpg", 1);
  write_jpeg(folder / "faces/0000045/002.jpg", 2);
  write_jpeg(folder / "faces/0000099/a b.jpg", 3);
}

TEST(ListDataset, DcrsListOfPathsAndLabels) {
  const TempFolder folder;
  write_faces(folder);
  write_bytes(folder / "faces/list.txt",
              "0000099/a b.jpg 2\r\n0000045/001.jpg 0\n\n0000045/002.jpg\t0\n");
  const auto data = open_list_dataset(folder / "faces/list.txt");
  ASSERT_EQ(data->size(), 3);
  EXPECT_THAT((std::vector{data->label(0), data->label(1), data->label(2)}), ElementsAre(2, 0, 0));
  EXPECT_THAT(data->class_names(), ElementsAre("0", "1", "2"));
  EXPECT_EQ(data->load(0).pixels, decode_image(jpeg_bytes(3), "x").pixels);
  EXPECT_EQ(data->name(1), (folder / "faces/0000045/001.jpg").string());
  expect_same_for_all_threads(*data);
  // The same list elsewhere, with the root named.
  std::filesystem::rename(folder / "faces/list.txt", folder / "list.txt");
  const auto moved = open_list_dataset(folder / "list.txt", folder / "faces", {.classes = 5});
  EXPECT_EQ(moved->class_count(), 5);
  EXPECT_EQ(moved->load(0).pixels, data->load(0).pixels);
  EXPECT_NE(moved->fingerprint(), data->fingerprint()) << "other classes";
  EXPECT_EQ(open_list_dataset(folder / "list.txt", folder / "faces")->fingerprint(),
            data->fingerprint());
}

TEST(ListDataset, LsCnnsTableHasSubjects) {
  const TempFolder folder;
  write_faces(folder);
  write_bytes(folder / "img_info.csv",
              "image,subject,label\nfaces/0000045/001.jpg,0000045,0\n"
              "\"faces/0000099/a b.jpg\",\"0000099\",1\n");
  const auto data = open_list_dataset(folder / "img_info.csv");
  ASSERT_EQ(data->size(), 2);
  EXPECT_THAT(data->class_names(), ElementsAre("0000045", "0000099"));
  EXPECT_EQ(data->label(1), 1);
  EXPECT_EQ(data->load(1).pixels, decode_image(jpeg_bytes(3), "x").pixels);
}

TEST(ListDataset, LinesThatCannotBeUsedAreCountedAndNamed) {
  const TempFolder folder;
  write_faces(folder);
  write_bytes(folder / "list.txt",
              "faces/0000045/001.jpg 0\n"
              "faces/0000045/003.jpg 0\n"
              "nowhere/001.jpg 1\n"
              "faces/0000045/002.jpg\n"
              "faces/0000045/002.jpg one\n"
              "faces/0000045/002.jpg -1\n"
              "faces/0000045/002.jpg 4\n"
              "faces 0\n"
              "faces/0000045/002.jpg 3\n");
  EXPECT_THAT(
      error_of([&] { open_list_dataset(folder / "list.txt", {}, {.classes = 4}); }),
      AllOf(
          HasSubstr("7 lines cannot be used"),
          HasSubstr("list.txt:2: there is no file " + (folder / "faces/0000045/003.jpg").string()),
          HasSubstr("list.txt:3: there is no file"), HasSubstr("list.txt:4:"),
          HasSubstr("list.txt:5: the label \"one\""), HasSubstr("list.txt:6:"), HasSubstr("...")));
  const auto data =
      open_list_dataset(folder / "list.txt", {}, {.classes = 4, .bad_entries = kLeaveOut});
  EXPECT_EQ(data->size(), 2);
  EXPECT_EQ(data->left_out().count, 7);
  EXPECT_EQ(data->left_out().problems.size(), LeftOut::kNamed);
  EXPECT_EQ(data->label(1), 3);
}

TEST(ListDataset, ListsWithoutPicturesAreRefused) {
  const TempFolder folder;
  write_bytes(folder / "empty.txt", "\n\n");
  EXPECT_THAT(error_of([&] { open_list_dataset(folder / "empty.txt"); }),
              HasSubstr("lists no picture"));
  write_bytes(folder / "gone.txt", "a.jpg 0\n");
  EXPECT_THAT(
      error_of([&] { open_list_dataset(folder / "gone.txt", {}, {.bad_entries = kLeaveOut}); }),
      HasSubstr("none of 1 lines can be used"));
  write_bytes(folder / "large.txt", "large.txt 99999999\n");
  EXPECT_THAT(error_of([&] { open_list_dataset(folder / "large.txt"); }),
              HasSubstr("the label 99999999 is out of range"));
  write_bytes(folder / "two.csv", "image,subject,label\ntwo.csv,ann,0\ntwo.csv,bob,0\ntwo.csv,0\n");
  EXPECT_THAT(error_of([&] { open_list_dataset(folder / "two.csv"); }),
              AllOf(HasSubstr("two.csv:3: the label 0 is that of \"ann\", not of \"bob\""),
                    HasSubstr("two.csv:4: \"two.csv,0\" has no label")));
  EXPECT_THAT(error_of([&] { open_list_dataset(folder / "missing.txt"); }),
              HasSubstr("missing.txt"));
}

/// DCR: the validation part are the labels in [v / 10, v / 10 + 0.1) * classes.
TEST(ListDataset, DcrsTenthsOfTheClasses) {
  const TempFolder folder;
  std::string list;
  for (int label = 0; label < 25; ++label) {
    write_jpeg(folder / (std::to_string(label) + ".jpg"), label);
    list += std::to_string(label) + ".jpg " + std::to_string(label) + "\n";
  }
  write_bytes(folder / "list.txt", list);
  const std::shared_ptr<const Dataset> all = open_list_dataset(folder / "list.txt");
  for (int tenth = 0; tenth < 10; ++tenth) {
    std::vector<std::int64_t> expected;
    for (int label = 0; label < 25; ++label) {
      if (label >= tenth * 2.5 && label < (tenth + 1) * 2.5) expected.push_back(label);
    }
    const auto inside = tenth_of_classes(all, tenth, true);
    const auto outside = tenth_of_classes(all, tenth, false);
    std::vector<std::int64_t> labels;
    for (std::int64_t i = 0; i < inside->size(); ++i) labels.push_back(inside->label(i));
    EXPECT_EQ(labels, expected);
    EXPECT_EQ(inside->size() + outside->size(), 25);
    EXPECT_EQ(inside->class_count(), 25) << "labels stay";
    EXPECT_EQ(inside->load(0).pixels, all->load(expected[0]).pixels);
    EXPECT_NE(inside->fingerprint(), outside->fingerprint());
  }
  EXPECT_THAT(error_of([&] { tenth_of_classes(all, 11, true); }, ErrorKind::usage),
              HasSubstr("0 to 9"));
  EXPECT_THAT(error_of([&] { with_labels(all, 30, 40); }), HasSubstr("the part is empty"));
}

}  // namespace
}  // namespace facet::test
