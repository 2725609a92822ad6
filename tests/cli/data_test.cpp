#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "runtime/formats/image.h"
#include "runtime/formats/record_file.h"
#include "runtime/formats/verification_bin.h"
#include "tests/cli/command.h"

// `facet data`: what is in a set, files made of it, and a training on them.
namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// A picture of 16 x 16 whose brightest channel is its class.
Image picture(int label, int number) {
  Image image = make_image(16, 16);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    const auto noise = static_cast<int>((i * 37 + static_cast<std::size_t>(number) * 101) % 60);
    image.pixels[i] =
        static_cast<std::uint8_t>(noise + (static_cast<int>(i % 3) == label ? 150 : 0));
  }
  return image;
}

std::string jpeg(int label, int number) {
  const std::vector<std::byte> bytes = encode_jpeg(picture(label, number), 95);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Class folders 0, 1, 2 with eight pictures each.
class Data : public ::testing::Test {
 protected:
  Data() {
    for (int label = 0; label < 3; ++label) {
      const std::string name = "faces/" + std::to_string(label);
      std::filesystem::create_directories(folder_ / name);
      for (int i = 0; i < 8; ++i) {
        write_bytes(folder_ / (name + "/" + std::to_string(i) + ".jpg"), jpeg(label, i));
      }
    }
  }
  nlohmann::json inspected(const std::string& path, int code = 0) const {
    const Outcome outcome = facet_command("data inspect" + quoted(folder_ / path) + "--json" +
                                          quoted(folder_ / "found.json"));
    EXPECT_EQ(outcome.code, code) << outcome.out << outcome.error;
    return nlohmann::json::parse(read_bytes(folder_ / "found.json"));
  }

  const TinyFolder folder_;
};

TEST_F(Data, InspectsClassFolders) {
  std::filesystem::remove(folder_ / "faces/1/7.jpg");
  const nlohmann::json found = inspected("faces");
  EXPECT_EQ(found["kind"], "class folders");
  EXPECT_EQ(found["pictures"], 23);
  EXPECT_EQ(found["classes"]["count"], 3);
  EXPECT_EQ(found["classes"]["smallest"]["name"], "1");
  EXPECT_EQ(found["classes"]["smallest"]["pictures"], 7);
  EXPECT_EQ(found["sizes"]["16 x 16"], 23);
  EXPECT_EQ(found["problems"].size(), 0U);
  EXPECT_THAT(facet_command("data inspect" + quoted(folder_ / "faces")).out,
              HasSubstr("nothing is wrong"));
}

TEST_F(Data, InspectionNamesWhatIsWrong) {
  write_bytes(folder_ / "faces/2/3.jpg", jpeg(2, 3).substr(0, 300));
  const nlohmann::json found = inspected("faces", 1);
  EXPECT_EQ(found["unreadable_pictures"], 1);
  EXPECT_THAT(found["problems"][0].get<std::string>(), HasSubstr("faces/2/3.jpg"));
  const Outcome outcome = facet_command("data inspect" + quoted(folder_ / "faces"));
  EXPECT_THAT(outcome.out, HasSubstr("0 entries cannot be used, 1 pictures cannot be read"));
  EXPECT_THAT(outcome.error, HasSubstr("1 problems"));
  const Outcome fast = facet_command("data inspect --fast" + quoted(folder_ / "faces"));
  EXPECT_EQ(fast.code, 0) << "nothing was decoded";
  EXPECT_THAT(fast.out, HasSubstr("not decoded"));
  EXPECT_THAT(facet_command("data inspect" + quoted(folder_ / "nowhere")).error,
              HasSubstr("no such file or folder"));
}

TEST_F(Data, PacksFoldersIntoARecordFile) {
  const Outcome outcome = facet_command("data pack" + quoted(folder_ / "faces") + "--output" +
                                        quoted(folder_ / "train.rec"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("24 pictures of 3 classes"));
  const RecordFile file(folder_ / "train.rec");
  ASSERT_EQ(file.size(), 24);
  const Record record = file.read(9);
  EXPECT_EQ(
      std::string(reinterpret_cast<const char*>(record.picture.data()), record.picture.size()),
      jpeg(1, 1))
      << "JPEG files are taken as they are";
  EXPECT_EQ(read_bytes(folder_ / "property"), "3,16,16");
  const nlohmann::json found = inspected("train.rec");
  EXPECT_EQ(found["kind"], "record file");
  EXPECT_EQ(found["pictures"], 24);
  EXPECT_EQ(found["classes"]["largest"]["pictures"], 8);
  // A list in another order, resized; with a line that names no file.
  write_bytes(folder_ / "list.txt", "2/1.jpg 1\n0/0.jpg 0\n0/9.jpg 0\n");
  const std::string pack = "data pack" + quoted(folder_ / "list.txt") + "--root" +
                           quoted(folder_ / "faces") + "--size 12 --output" +
                           quoted(folder_ / "small.rec");
  EXPECT_THAT(facet_command(pack).error, HasSubstr("list.txt:3: there is no file"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "small.rec"));
  const Outcome skipped = facet_command(pack + "--skip-bad");
  ASSERT_EQ(skipped.code, 0) << skipped.error;
  EXPECT_THAT(skipped.error, HasSubstr("1 entries cannot be used"));
  const RecordFile small(folder_ / "small.rec");
  ASSERT_EQ(small.size(), 2);
  EXPECT_EQ(small.label(0), 0);
  EXPECT_EQ(small.label(1), 1);
  EXPECT_EQ(decode_image(small.read(0).picture, "x").width, 12);
}

TEST_F(Data, PacksPairsIntoAVerificationFile) {
  write_bytes(folder_ / "pairs.txt", "0/0.jpg 0/1.jpg 1\n0/0.jpg 1/0.jpg 0\n2/0.jpg 2/4.jpg 1\n");
  const Outcome outcome =
      facet_command("data pack" + quoted(folder_ / "faces") + "--pairs" +
                    quoted(folder_ / "pairs.txt") + "--output" + quoted(folder_ / "faces.bin"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const VerificationBin bin = read_verification_bin(folder_ / "faces.bin");
  EXPECT_EQ(bin.pictures.size(), 6U);
  EXPECT_EQ(bin.same, (std::vector<bool>{true, false, true}));
  const nlohmann::json found = inspected("faces.bin");
  EXPECT_EQ(found["kind"], "verification file");
  EXPECT_EQ(found["pairs"]["same"], 2);
  EXPECT_EQ(found["pairs"]["different"], 1);
  const Outcome listed = facet_command("data inspect" + quoted(folder_ / "pairs.txt") + "--root" +
                                       quoted(folder_ / "faces"));
  EXPECT_EQ(listed.code, 0) << listed.error;
  EXPECT_THAT(listed.out,
              AllOf(HasSubstr("list of pairs"), HasSubstr("2 of one person, 1 of two")));
  EXPECT_EQ(facet_command("data pack" + quoted(folder_ / "faces") + "--output x.bin").code, 2);
}

TEST_F(Data, BenchComparesWithTurboJpeg) {
  const Outcome outcome = facet_command("data bench" + quoted(folder_ / "faces") +
                                        "--seconds 0.05 --batch 8 --threads 1,2 --json" +
                                        quoted(folder_ / "bench.json"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("TurboJPEG alone"), HasSubstr("Loader, 2 threads"),
                                 HasSubstr("bytes to f32, by the step")));
  const auto json = nlohmann::json::parse(read_bytes(folder_ / "bench.json"));
  EXPECT_GT(json["bare"]["images_per_s"], 0);
  EXPECT_EQ(json["loader"].size(), 2U);
}

TEST_F(Data, TrainsOnARecordFileWithDamageInIt) {
  RecordWriter writer(folder_ / "train.rec");
  for (int label = 0; label < 3; ++label) {
    for (int i = 0; i < 8; ++i) {
      std::string bytes = jpeg(label, i);
      if (label == 1 && i == 2) bytes.resize(200);  // a corrupt picture among many
      if (label == 2 && i == 5) bytes.clear();      // a record without one
      writer.add(label, std::as_bytes(std::span(bytes)));
    }
  }
  writer.finish();
  write_bytes(folder_ / "r.toml",
              "[model]\nname = \"" + (folder_ / "tiny.ir").string() +
                  "\"\n[data]\nkind = \"record\"\ntrain = \"" + (folder_ / "train.rec").string() +
                  "\"\non_bad_image = \"skip\"\n[optimizer]\nlearning_rate = 0.01\n" +
                  "[training]\nepochs = 2\nbatch = 4\n");
  const std::string train = "train" + quoted(folder_ / "r.toml") + "--threads 1 --output";
  const Outcome outcome = facet_command(train + quoted(folder_ / "run"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.error, AllOf(HasSubstr("1 entries of the training set cannot be used"),
                                   HasSubstr("train.rec#22: has no picture"),
                                   HasSubstr("train.rec#11: cannot be read as an image")));
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("1 entries of the training set could not be used"),
                                 HasSubstr("times a picture could not be read")));
  const Outcome strict =
      facet_command(train + quoted(folder_ / "strict") + "data.on_bad_image=stop");
  EXPECT_EQ(strict.code, 1);
  EXPECT_THAT(strict.error,
              AllOf(HasSubstr("1 records cannot be used"), HasSubstr("train.rec#22")));
}

}  // namespace
}  // namespace facet::test
