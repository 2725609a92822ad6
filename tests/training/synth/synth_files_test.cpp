#include "training/synth/synth_files.h"

#include <gmock/gmock.h>

#include "runtime/formats/record_file.h"
#include "runtime/formats/verification_bin.h"
#include "tests/formats/temp_folder.h"
#include "tests/training/synth/faces.h"

namespace facet::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

SynthFilesOptions few() {
  SynthFilesOptions options;
  options.training.identities = 3;
  options.training.images_per_identity = 2;
  options.pairs = 40;
  options.surveillance_persons = 2;
  options.threads = 2;
  return options;
}

TEST(SynthFiles, AreReadBackAsTheSetsTheyCameFrom) {
  TempFolder temp;
  write_synth_files(temp / "faces", few());
  EXPECT_EQ(temp.file_count(), 1);
  const auto close_to = [](std::span<const std::byte> jpeg, const Image& rendered) {
    return difference(decode_image(jpeg, "a picture"), rendered) < 6;
  };

  const RecordFile records(temp / "faces/train.rec");
  const auto training = open_synth_dataset(few().training);
  ASSERT_EQ(records.size(), training->size());
  EXPECT_EQ(records.declared_classes(), 3);
  for (std::int64_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(records.label(i), training->label(i));
    EXPECT_TRUE(close_to(records.read(i).picture, training->load(i))) << records.name(i);
  }

  const VerificationBin bin = read_verification_bin(temp / "faces/verification.bin");
  const PairSet pairs = open_synth_pairs({40, few().training.seed, few().training.difficulty});
  ASSERT_EQ(bin.same.size(), 40U);
  for (std::size_t i = 0; i < 40; ++i) EXPECT_EQ(bin.same[i], pairs.pairs[i].same) << i;
  EXPECT_TRUE(close_to(bin.pictures[5], pairs.pictures->load(5)));

  const IdentificationSet persons = open_synth_surveillance({2, 0, few().training.seed});
  const fs::path scface = temp / "faces/scface";
  EXPECT_LT(difference(read_image(scface / "mugshot_frontal_cropped_all/002_frontal.jpg"),
                       persons.pictures->load(persons.gallery[1])),
            6);
  const std::int64_t probe = persons.groups[2].probes[5 + 3];  // person 2, camera 4, distance 3
  EXPECT_LT(difference(read_image(scface / "surveillance_cameras_distance_3/002_cam4_3.jpg"),
                       persons.pictures->load(probe)),
            6);
  EXPECT_EQ(std::distance(fs::directory_iterator(scface / "surveillance_cameras_distance_1"), {}),
            10);
  const Image sheet = read_image(temp / "faces/contact_sheet.png");
  EXPECT_EQ(sheet.height, 3 * 112);
  EXPECT_EQ(sheet.width, 2 * 112);
}

TEST(SynthFiles, AreTheSameForAnyNumberOfThreads) {
  TempFolder temp;
  SynthFilesOptions options = few();
  write_synth_files(temp / "two", options);
  options.threads = 1;
  write_synth_files(temp / "one", options);
  EXPECT_EQ(read_bytes(temp / "one/train.rec"), read_bytes(temp / "two/train.rec"));
  EXPECT_EQ(read_bytes(temp / "one/verification.bin"), read_bytes(temp / "two/verification.bin"));
}

TEST(SynthFiles, LeaveAFolderInUseAlone) {
  TempFolder temp;
  fs::create_directories(temp / "used/inside");
  EXPECT_THAT(error_of([&] { write_synth_files(temp / "used", few()); }, ErrorKind::usage),
              HasSubstr("is not an empty folder"));
  fs::create_directories(temp / "empty");
  EXPECT_NO_THROW(write_synth_files(temp / "empty/", few()));
  EXPECT_TRUE(fs::exists(temp / "empty/train.rec"));
  EXPECT_EQ(temp.file_count(), 2);
}

TEST(SynthFiles, AreNotBegunForWrongOptions) {
  TempFolder temp;
  SynthFilesOptions options = few();
  options.pairs = 41;
  EXPECT_THAT(error_of([&] { write_synth_files(temp / "a", options); }, ErrorKind::usage),
              HasSubstr("pairs is 41"));
  options = few();
  options.jpeg_quality = 0;
  EXPECT_THAT(error_of([&] { write_synth_files(temp / "a", options); }, ErrorKind::usage),
              HasSubstr("JPEG quality is 0"));
  options = few();
  options.threads = 0;
  EXPECT_THAT(error_of([&] { write_synth_files(temp / "a", options); }, ErrorKind::usage),
              HasSubstr("0 threads"));
  EXPECT_EQ(temp.file_count(), 0);
}

}  // namespace
}  // namespace facet::test
