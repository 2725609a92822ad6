#include <gmock/gmock.h>

#include "runtime/formats/record_file.h"
#include "tests/formats/record_bytes.h"
#include "tests/training/data/data_files.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Six pictures of three classes and, if wanted, records that cannot be used among them.
void write_records(const TempFolder& folder, bool with_bad = false) {
  RecordBytes bytes;
  for (int i = 0; i < 6; ++i) {
    bytes.add(plain_record(static_cast<float>(i / 2), jpeg_text(i)));
    if (!with_bad || i != 3) continue;
    bytes.add(plain_record(7.5F, jpeg_text(9)));
    bytes.add(plain_record(1, ""));
    bytes.add(record_part(0, "short"));
    bytes.add(plain_record(99, jpeg_text(9)));
  }
  write_bytes(folder / "train.rec", bytes.records);
  write_bytes(folder / "train.idx", bytes.index);
}

TEST(RecordDataset, HasThePicturesAndLabelsOfTheRecords) {
  const TempFolder folder;
  write_records(folder);
  const auto data = open_record_dataset(folder / "train.rec");
  ASSERT_EQ(data->size(), 6);
  EXPECT_THAT(data->class_names(), ElementsAre("0", "1", "2"));
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(data->label(i), i / 2);
    EXPECT_EQ(data->load(i).pixels, decode_image(jpeg_bytes(i), "x").pixels);
    EXPECT_EQ(data->name(i), (folder / "train.rec").string() + "#" + std::to_string(i));
  }
  EXPECT_EQ(data->left_out().count, 0);
  EXPECT_EQ(open_record_dataset(folder / "train.rec", {.classes = 5})->class_count(), 5);
  write_bytes(folder / "property", "4,112,112");
  EXPECT_EQ(open_record_dataset(folder / "train.rec")->class_count(), 4);
}

TEST(RecordDataset, RecordsThatCannotBeUsedAreCountedAndNamed) {
  const TempFolder folder;
  write_records(folder, true);
  const DatasetOptions three = {.classes = 3};
  EXPECT_THAT(error_of([&] { open_record_dataset(folder / "train.rec", three); }),
              AllOf(HasSubstr("4 records cannot be used"), HasSubstr("train.rec#4: its label 7.5"),
                    HasSubstr("train.rec#5: has no picture"), HasSubstr("train.rec#6: the record"),
                    HasSubstr("train.rec#7: the label 99 is out of range"), HasSubstr("skip")));
  const auto data = open_record_dataset(folder / "train.rec",
                                        {.classes = 3, .bad_entries = BadEntries::leave_out});
  EXPECT_EQ(data->size(), 6);
  EXPECT_EQ(data->left_out().count, 4);
  EXPECT_EQ(data->left_out().problems.size(), 4U);
  EXPECT_EQ(data->label(5), 2);
  EXPECT_EQ(data->load(5).pixels, decode_image(jpeg_bytes(5), "x").pixels);
  write_bytes(folder / "bad.rec", plain_record(0.5F, "x"));
  EXPECT_THAT(error_of([&] {
                open_record_dataset(folder / "bad.rec", {.bad_entries = BadEntries::leave_out});
              }),
              HasSubstr("none of 1 records can be used"));
}

TEST(RecordDataset, FingerprintNoticesChangesAndNotMoves) {
  const TempFolder folder;
  write_records(folder);
  const auto before = open_record_dataset(folder / "train.rec")->fingerprint();
  std::filesystem::create_directories(folder / "other");
  for (const char* name : {"train.rec", "train.idx"}) {
    std::filesystem::copy(folder / name, folder / "other" / name);
  }
  EXPECT_EQ(open_record_dataset(folder / "other" / "train.rec")->fingerprint(), before);
  std::string bytes = read_bytes(folder / "train.rec");
  bytes.replace(12, 4, raw(2.0F));  // the label of the first record
  write_bytes(folder / "train.rec", bytes);
  EXPECT_NE(open_record_dataset(folder / "train.rec")->fingerprint(), before);
}

TEST(RecordDataset, ACorruptPictureAmongManyIsReplaced) {
  const TempFolder folder;
  RecordWriter writer(folder / "train.rec");
  for (int i = 0; i < 40; ++i) {
    std::string jpeg = jpeg_text(i);
    if (i == 17) jpeg.resize(jpeg.size() / 2);
    writer.add(i / 10, std::as_bytes(std::span(jpeg)));
  }
  writer.finish();
  const auto data = open_record_dataset(folder / "train.rec");
  EXPECT_THAT(error_of([&] { data->load(17); }), HasSubstr("train.rec#18: cannot be read"));
  const auto batches =
      batches_of(*data, {.batch = 8, .on_bad_image = OnBadImage::replace, .end_epoch = 1});
  std::int64_t problems = 0;
  for (const Batch& batch : batches) problems += static_cast<std::int64_t>(batch.problems.size());
  EXPECT_EQ(batches.size(), 5U);
  EXPECT_EQ(problems, 1);
  expect_same_for_all_threads(*data);
}

}  // namespace
}  // namespace facet::test
