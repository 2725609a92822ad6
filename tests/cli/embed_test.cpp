#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "backends/reference/reference.h"
#include "runtime/formats/image.h"
#include "runtime/formats/npy.h"
#include "runtime/formats/preprocess.h"
#include "tests/cli/command.h"

// `facet embed` and `facet verify`: photos to embeddings, and what becomes of damaged ones.
namespace facet {
namespace {

using ::testing::HasSubstr;
using test::facet_command;
using test::Outcome;
using test::quoted;
using test::TinyFolder;

Image photo(int seed) {
  Image image = make_image(24, 20);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] = static_cast<std::uint8_t>((i * static_cast<std::size_t>(seed * 2 + 3)) % 253);
  }
  return image;
}

/// Five photos p0.png ... p4.png in the folder "photos".
class Embed : public ::testing::Test {
 protected:
  Embed() {
    std::filesystem::create_directories(folder_ / "photos/deep");
    for (int i = 0; i < 5; ++i) write_png(photo_path(i), photo(i));
    test::write_bytes(folder_ / "photos/notes.txt", "no picture");
  }
  std::filesystem::path photo_path(int i) const {
    return folder_ / ((i < 3 ? "photos/p" : "photos/deep/p") + std::to_string(i) + ".png");
  }
  /// Element-wise against the float64 reference on the same pixels.
  void expect_row(const HostTensor& table, std::int64_t row, const Image& image) const {
    const HostTensor input = preprocess(image, {.width = 16, .height = 16});
    const HostTensor expected = evaluate(folder_.graph(), {{"image", input}},
                                         random_weights(folder_.graph(), 7)).at("embedding");
    for (std::int64_t i = 0; i < 6; ++i) {
      EXPECT_NEAR(table.at(row * 6 + i), expected.at(i), 1e-5) << row << " " << i;
    }
  }
  Outcome embed(const std::string& images, const std::string& output, const std::string& more = "") {
    return facet_command("embed" + folder_.model() + images + "--output" + quoted(folder_ / output) + more);
  }

  const TinyFolder folder_;
};

TEST_F(Embed, TablesAreWrittenAsRowsCome) {
  std::filesystem::rename(photo_path(1), folder_ / "photos/p, \"1\".png");
  const Outcome outcome = facet_command("embed" + folder_.model() + quoted(folder_ / "photos") + "--csv" +
                                        quoted(folder_ / "e.csv") + "--batch 2");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("e.csv: 5 embeddings of 6 numbers"));
  const std::string text = test::read_bytes(folder_ / "e.csv");
  EXPECT_THAT(text, ::testing::StartsWith("name,0,1,2,3,4,5\n"));
  EXPECT_THAT(text, HasSubstr("photos/p, \"\"1\"\".png\","));
  EXPECT_EQ(std::ranges::count(text, '\n'), 6);
  // Every number reads back to the bit.
  ASSERT_EQ(embed(quoted(folder_ / "photos"), "e.npy", "--batch 2").code, 0);
  const HostTensor table = read_npy(folder_ / "e.npy");
  const std::string last = text.substr(text.rfind(','));
  EXPECT_EQ(std::stof(last.substr(1)), table.as<float>()[29]);
}

TEST_F(Embed, MirrorImagesAreAdded) {
  ASSERT_EQ(embed(quoted(photo_path(0)), "none.npy").code, 0);
  ASSERT_EQ(embed(quoted(photo_path(0)), "sum.npy", "--flip sum").code, 0);
  ASSERT_EQ(embed(quoted(photo_path(0)), "both.npy", "--flip concatenate").code, 0);
  const HostTensor none = read_npy(folder_ / "none.npy");
  const HostTensor sum = read_npy(folder_ / "sum.npy");
  const HostTensor both = read_npy(folder_ / "both.npy");
  ASSERT_EQ(both.shape(), (std::vector<std::int64_t>{1, 12}));
  for (std::int64_t d = 0; d < 6; ++d) {
    EXPECT_EQ(both.at(d), none.at(d));
    EXPECT_NEAR(both.at(d) + both.at(6 + d), sum.at(d), 1e-5);
  }
  EXPECT_EQ(embed(quoted(photo_path(0)), "x.npy", "--flip up").code, 2);
  EXPECT_EQ(facet_command("embed" + folder_.model() + quoted(photo_path(0))).code, 2);
}

TEST_F(Embed, NothingIsLeftOfAFailure) {
  test::write_bytes(folder_ / "photos/zz.png", "no picture");
  const auto files = folder_.file_count();
  EXPECT_EQ(embed(quoted(folder_ / "photos"), "e.npy", "--csv" + quoted(folder_ / "e.csv")).code, 1);
  EXPECT_EQ(folder_.file_count(), files);
}

TEST_F(Embed, FoldersAreReadInOrderWhateverTheBatch) {
  for (const std::string batch : {"1", "2", "16"}) {
    const Outcome outcome = embed(quoted(folder_ / "photos"), "e.safetensors", "--batch " + batch);
    ASSERT_EQ(outcome.code, 0) << outcome.error;
    const SafetensorsFile file = read_safetensors(folder_ / "e.safetensors");
    const HostTensor table = file.at("embeddings");
    ASSERT_EQ(table.shape(), (std::vector<std::int64_t>{5, 6}));
    const nlohmann::json names = nlohmann::json::parse(file.metadata().at("names"));
    const std::vector<int> order = {3, 4, 0, 1, 2};  // "deep" comes before "p0.png"
    for (std::int64_t row = 0; row < 5; ++row) {
      const int number = order[static_cast<std::size_t>(row)];
      EXPECT_EQ(names[static_cast<std::size_t>(row)], photo_path(number).string());
      expect_row(table, row, photo(number));
    }
  }
}

TEST_F(Embed, NpyHasItsNamesBesideIt) {
  const Outcome outcome =
      embed(quoted(photo_path(2)) + quoted(photo_path(0)), "e.npy", "--output-name logits");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_EQ(read_npy(folder_ / "e.npy").shape(), (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(test::read_bytes(folder_ / "e.names.txt"),
            photo_path(2).string() + "\n" + photo_path(0).string() + "\n");
}

TEST_F(Embed, IdxFilesAndLimits) {
  std::string idx("\0\0\x08\x03\0\0\0\x03\0\0\0\x10\0\0\0\x10", 16);  // u8 [3, 16, 16]
  for (int i = 0; i < 3 * 256; ++i) idx += static_cast<char>(i * 5 % 256);
  test::write_bytes(folder_ / "grey.idx", idx);
  const Outcome outcome = embed(quoted(folder_ / "grey.idx"), "e.safetensors", "--limit 2");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const SafetensorsFile file = read_safetensors(folder_ / "e.safetensors");
  ASSERT_EQ(file.at("embeddings").shape(), (std::vector<std::int64_t>{2, 6}));
  EXPECT_THAT(file.metadata().at("names"), HasSubstr("grey.idx#1"));
  const auto* pixels = reinterpret_cast<const std::uint8_t*>(idx.data()) + 16;
  expect_row(file.at("embeddings"), 1, image_from_grey({pixels + 256, 256}, 16, 16));
}

TEST_F(Embed, ADamagedPhotoStopsOrIsSkipped) {
  const std::string whole = test::read_bytes(photo_path(1));
  test::write_bytes(photo_path(1), whole.substr(0, whole.size() / 2));
  test::write_bytes(folder_ / "photos/z.jpg", "\xFF\xD8\xFF\xE0 this is no JPEG");
  const Outcome stopped = embed(quoted(folder_ / "photos"), "e.safetensors");
  EXPECT_EQ(stopped.code, 1);
  EXPECT_THAT(stopped.error, HasSubstr("facet: " + photo_path(1).string()));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "e.safetensors"));
  const Outcome skipped = embed(quoted(folder_ / "photos"), "e.safetensors", "--skip-bad --batch 2");
  ASSERT_EQ(skipped.code, 0) << skipped.error;
  EXPECT_THAT(skipped.error, HasSubstr("skipped: " + photo_path(1).string()));
  EXPECT_THAT(skipped.error, HasSubstr("z.jpg"));
  EXPECT_THAT(skipped.out, HasSubstr("2 images skipped"));
  const HostTensor table = read_safetensors(folder_ / "e.safetensors").at("embeddings");
  ASSERT_EQ(table.shape(), (std::vector<std::int64_t>{4, 6}));
  expect_row(table, 2, photo(0));
  expect_row(table, 3, photo(2));
}

TEST_F(Embed, NothingReadableAndNothingThereAreFailures) {
  test::write_bytes(folder_ / "bad.png", "\x89PNG");
  const Outcome none = embed(quoted(folder_ / "bad.png"), "e.npy", "--skip-bad");
  EXPECT_EQ(none.code, 1);
  EXPECT_THAT(none.error, HasSubstr("none of the images"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "e.npy"));
  const Outcome missing = embed(quoted(folder_ / "nothing.png"), "e.npy");
  EXPECT_EQ(missing.code, 1);
  EXPECT_THAT(missing.error, HasSubstr("nothing.png"));
}

TEST_F(Embed, FullDiskLeavesNoFile) {
  std::filesystem::create_symlink("/dev/full", folder_ / "e.safetensors");
  const std::ptrdiff_t before = folder_.file_count();
  const Outcome outcome = facet_command("embed" + folder_.model() + quoted(folder_ / "photos") +
                                        "--output" + quoted(folder_ / "e.safetensors"));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.error, HasSubstr("e.safetensors"));
  EXPECT_EQ(folder_.file_count(), before);
}

TEST_F(Embed, NeighborsAreDrawn) {
  write_png(photo_path(4), photo(0));  // its own twin
  const Outcome outcome =
      embed(quoted(folder_ / "photos"), "e.safetensors",
            "--queries 2 --matches 3 --neighbors" + quoted(folder_ / "sheet.png"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const Image sheet = read_image(folder_ / "sheet.png");
  EXPECT_GT(sheet.width, 4 * 96);
  EXPECT_GT(sheet.height, 2 * 96);
}

TEST_F(Embed, VerifyComparesTwoPhotos) {
  const std::string call = " --json --model" + folder_.model();
  const Outcome twins = facet_command("verify" + quoted(photo_path(1)) + quoted(photo_path(1)) + call);
  ASSERT_EQ(twins.code, 0) << twins.error;
  const nlohmann::json same = nlohmann::json::parse(twins.out);
  EXPECT_NEAR(same.at("similarity").get<double>(), 1, 1e-6);
  EXPECT_EQ(same.at("same"), true);

  const auto embedding = [&](int i) {
    return evaluate(folder_.graph(), {{"image", preprocess(photo(i), {.width = 16, .height = 16})}},
                    random_weights(folder_.graph(), 7)).at("embedding").to_doubles();
  };
  const std::vector<double> a = embedding(0);
  const std::vector<double> b = embedding(3);
  double dot = 0;
  double a2 = 0;
  double b2 = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    dot += a[i] * b[i];
    a2 += a[i] * a[i];
    b2 += b[i] * b[i];
  }
  const double cosine = dot / std::sqrt(a2 * b2);
  const std::string pair = "verify" + quoted(photo_path(0)) + quoted(photo_path(3)) + call;
  for (const double step : {-1e-3, 1e-3}) {
    const Outcome outcome = facet_command(pair + " --threshold " + std::to_string(cosine + step));
    ASSERT_EQ(outcome.code, 0) << outcome.error;
    const nlohmann::json result = nlohmann::json::parse(outcome.out);
    EXPECT_NEAR(result.at("similarity").get<double>(), cosine, 1e-5);
    EXPECT_EQ(result.at("same"), step < 0);
  }
}

TEST_F(Embed, VerifyNamesADamagedPhoto) {
  test::write_bytes(folder_ / "bad.jpg", "\xFF\xD8\xFF\xE0 this is no JPEG");
  const Outcome outcome = facet_command("verify" + quoted(photo_path(1)) + quoted(folder_ / "bad.jpg") +
                                        "--model" + folder_.model());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.error, HasSubstr("bad.jpg"));
}

}  // namespace
}  // namespace facet
