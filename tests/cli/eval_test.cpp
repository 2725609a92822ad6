#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/formats/image.h"
#include "tests/cli/command.h"

// `facet eval` on faces, `facet identify` and `facet align`: what they say, and wrong calls.
namespace facet {
namespace {

using test::facet_command;
using test::Outcome;
using test::quoted;
using test::TempFolder;
using test::TinyFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// A picture of one colour with a darker spot.
void write_face(const std::filesystem::path& file, int red, int green, int blue, int spot = 0) {
  std::filesystem::create_directories(file.parent_path());
  Image image = make_image(64, 64);
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    image.pixels[i] = static_cast<std::uint8_t>(red);
    image.pixels[i + 1] = static_cast<std::uint8_t>(green);
    image.pixels[i + 2] = static_cast<std::uint8_t>(blue);
  }
  for (int x = 0; x < 8; ++x) image.pixels[static_cast<std::size_t>((spot * 64 + x) * 3)] = 0;
  write_png(file, image);
}

std::string eval_call(const TinyFolder& folder) {
  return "eval" + quoted(folder / "tiny.ir") + folder.weights() + " --threads 1";
}

TEST(Eval, RenderedFacesGiveATableAReportAndAPage) {
  const TinyFolder folder;
  const Outcome outcome = facet_command(
      eval_call(folder) + " --pairs synth:pairs=40 --identification synth:persons=4 --far 0.1" +
      " --json" + quoted(folder / "report.json") + "--html" + quoted(folder / "page.html"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("verification %"), HasSubstr("TAR@0.1"), HasSubstr("VAL@0.1"),
                    HasSubstr("identification %"), HasSubstr("rank-20")));
  const auto json = nlohmann::json::parse(test::read_bytes(folder / "report.json"));
  const auto& pairs = json.at("verification").at(0);
  EXPECT_EQ(pairs.at("pairs"), 40);
  EXPECT_EQ(pairs.at("fold_accuracy").size(), 10U);
  EXPECT_EQ(pairs.at("rates").size(), 1U);
  EXPECT_TRUE(pairs.at("rates").at(0).contains("val"));
  EXPECT_EQ(json.at("identification").at(0).at("persons"), 4);
  EXPECT_EQ(json.at("identification").at(0).at("groups").at(0).at("cmc").size(), 4U);
  const std::string page = test::read_bytes(folder / "page.html");
  EXPECT_THAT(page, AllOf(HasSubstr("id=\"roc\""), HasSubstr("id=\"cmc\""),
                          HasSubstr("prefers-color-scheme: dark"), Not(HasSubstr("<script")),
                          Not(HasSubstr("nan"))));
  // A curve for the pairs, one for each of the three distances, and a line of the legend for each.
  std::size_t curves = 0;
  for (std::size_t at = 0; (at = page.find("class=\"curve\"", at)) != std::string::npos; ++at)
    ++curves;
  EXPECT_EQ(curves, 8U);
  EXPECT_TRUE(
      std::ranges::all_of(page, [](char c) { return static_cast<unsigned char>(c) < 0x80; }));
}

TEST(Eval, ProtocolsChangeWhatIsReported) {
  const TinyFolder folder;
  const Outcome outcome =
      facet_command(eval_call(folder) + " --pairs synth:pairs=40 --protocol lscnn");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("TAR@0.1"), Not(HasSubstr("VAL@"))));
}

TEST(Eval, RecipesSayWhatIsEvaluated) {
  const TinyFolder folder;
  test::write_bytes(
      folder / "faces.toml",
      "[model]\nname = \"" + (folder / "tiny.ir").string() +
          "\"\n[data]\nkind = \"synth\"\n[synth]\nidentities = 3\nimages_per_identity = 4\n"
          "validation_images = 2\n[evaluation]\npairs = [\"synth:pairs=40\"]\nfar = [0.05]\n");
  const std::string call =
      "eval" + quoted(folder / "faces.toml") + folder.weights() + " --threads 1";
  const Outcome outcome = facet_command(call);
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("6 images, loss"), HasSubstr("TAR@0.05")));
  const Outcome changed = facet_command(call + " evaluation.far=0.25 synth.validation_images=0");
  ASSERT_EQ(changed.code, 0) << changed.error;
  EXPECT_THAT(changed.out, AllOf(HasSubstr("TAR@0.25"), Not(HasSubstr("loss"))));
}

TEST(Eval, WrongCallsAreRefused) {
  const TinyFolder folder;
  const std::string call = eval_call(folder);
  const auto refused = [](const std::string& arguments) {
    const Outcome outcome = facet_command(arguments);
    EXPECT_EQ(outcome.code, 2) << arguments << outcome.error;
    EXPECT_EQ(outcome.out, "");
    return outcome.error;
  };
  EXPECT_THAT(refused(call), HasSubstr("--pairs"));
  EXPECT_THAT(refused(call + " --pairs lfw"), HasSubstr("'lfw' is no set of pairs"));
  EXPECT_THAT(refused(call + " --pairs synth:pairs=41"), HasSubstr("41"));
  EXPECT_THAT(refused(call + " --pairs synth --protocol lfw"),
              HasSubstr("insightface, lscnn, dcr"));
  EXPECT_THAT(refused(call + " --pairs synth --flip both"), HasSubstr("concatenate"));
  EXPECT_THAT(refused(call + " --pairs synth --far 2"), HasSubstr("evaluation.far"));
  EXPECT_THAT(refused(call + " --ijb x --pairs synth"), HasSubstr("--ijb"));
  EXPECT_THAT(refused(call + " evaluation.far=0.1 --pairs synth"), HasSubstr("is for a recipe"));
  const Outcome missing = facet_command(call + " --ijb" + quoted(folder / "none"));
  EXPECT_EQ(missing.code, 1);
  EXPECT_THAT(missing.error, HasSubstr("has neither"));
}

TEST(Eval, TemplatesAreThoseOfTheLists) {
  const TinyFolder folder;
  std::string points;
  std::string templates;
  for (int i = 0; i < 6; ++i) {
    const std::string name = std::to_string(i + 1) + ".png";
    write_face(folder / "ijb/loose_crop" / name, i < 3 ? 250 : 10, 20, i < 3 ? 5 : 240, i);
    points += name + " 20 20 44 20 32 32 22 44 42 44 0.9\n";
    templates += name + " " + std::to_string(1 + i / 2) + " " + std::to_string(i) + "\n";
  }
  std::filesystem::create_directories(folder / "ijb/meta");
  test::write_bytes(folder / "ijb/meta/ijbc_name_5pts_score.txt", points);
  test::write_bytes(folder / "ijb/meta/ijbc_face_tid_mid.txt", templates);
  test::write_bytes(folder / "ijb/meta/ijbc_template_pair_label.txt",
                    "1 1 1\n1 3 0\n3 3 1\n9 1 0\n");
  const std::string call = eval_call(folder) + " --ijb" + quoted(folder / "ijb");
  const Outcome outcome = facet_command(call + "--json" + quoted(folder / "r.json") + "--html" +
                                        quoted(folder / "p.html"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("IJB-C %"), HasSubstr("TAR@1e-06"),
                                 HasSubstr("1 pairs of templates without any")));
  const auto json = nlohmann::json::parse(test::read_bytes(folder / "r.json")).at("templates");
  EXPECT_EQ(json.at("templates"), 3);
  EXPECT_EQ(json.at("pairs"), 3);
  EXPECT_EQ(json.at("auc"), 1);
  EXPECT_THAT(test::read_bytes(folder / "p.html"), HasSubstr("IJB-C: AUC 100.00%"));
  test::write_bytes(folder / "ijb/loose_crop/2.png", "no picture");
  EXPECT_EQ(facet_command(call).code, 1);
  EXPECT_THAT(facet_command(call + " --skip-bad").error, HasSubstr("2.png"));
  test::write_bytes(folder / "ijb/meta/ijbc_face_tid_mid.txt", templates + "7.png 1 9\n");
  EXPECT_THAT(facet_command(call).error, HasSubstr("6 faces with landmarks, but 7 in templates"));
}

TEST(Identify, PersonsOfTheGalleryAreNamed) {
  const TinyFolder folder;
  for (int i = 0; i < 3; ++i) {
    write_face(folder / "gallery/red" / (std::to_string(i) + ".png"), 250, 10, 10, i);
    write_face(folder / "gallery/blue" / (std::to_string(i) + ".png"), 10, 10, 250, i);
    write_face(folder / "probes/red" / (std::to_string(i) + ".png"), 245, 12, 10, 9 + i);
  }
  write_face(folder / "probes/stranger.png", 20, 10, 240, 3);
  const std::string call = "identify" + quoted(folder / "gallery") + quoted(folder / "probes") +
                           "--model" + quoted(folder / "tiny.ir") + folder.weights() +
                           " --threads 1";
  const Outcome outcome = facet_command(call + " --top 2 --json" + quoted(folder / "r.json"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("6 pictures of 2 persons in the gallery, 4 probes"),
                                 HasSubstr("rank-1 100.00%: 3 of the 3 probes")));
  const auto json = nlohmann::json::parse(test::read_bytes(folder / "r.json"));
  ASSERT_EQ(json.at("probes").size(), 4U);
  EXPECT_EQ(json.at("probes").at(0).at("probe"), "red/0.png");
  EXPECT_EQ(json.at("probes").at(0).at("matches").size(), 2U);
  EXPECT_EQ(json.at("probes").at(3).at("matches").at(0).at("person"), "blue");
  EXPECT_EQ(json.at("rank1"), 1);
  EXPECT_EQ(facet_command(call + " --top 0").code, 2);
  EXPECT_EQ(facet_command("identify a b --weights random:1").code, 2);
  EXPECT_EQ(facet_command("identify" + quoted(folder / "none") + quoted(folder / "probes") +
                          "--model" + quoted(folder / "tiny.ir") + folder.weights())
                .code,
            1);
}

TEST(Align, FacesAreCutByLandmarks) {
  const TempFolder folder;
  write_face(folder / "photo.png", 100, 150, 200);
  const std::string call =
      "align" + quoted(folder / "photo.png") + "--output" + quoted(folder / "face.png");
  const std::string five = " --landmarks 20,20,44,20,32,32,22,44,42,44";
  ASSERT_EQ(facet_command(call + five).code, 0);
  const Image face = read_image(folder / "face.png");
  EXPECT_EQ(face.width, 112);
  EXPECT_EQ(face.pixels[(56 * 112 + 56) * 3 + 1], 150);
  ASSERT_EQ(facet_command(call + five + " --size 96").code, 0);
  EXPECT_EQ(read_image(folder / "face.png").height, 96);
  EXPECT_EQ(facet_command(call + " --landmarks 1,2,3").code, 2);
  EXPECT_EQ(facet_command(call + " --landmarks 1,2,3,4").code, 2);
  EXPECT_EQ(facet_command(call + " --landmarks '1;2'").code, 2);
  EXPECT_EQ(facet_command(call).code, 2);
  EXPECT_EQ(facet_command(call + " --landmarks 5,5,5,5,5,5,5,5,5,5").code, 1);
  test::write_bytes(folder / "list.txt", "photo.png 20 20 44 20 32 32 22 44 42 44 0.9\n");
  ASSERT_EQ(facet_command("align" + quoted(folder / "") + "--list" + quoted(folder / "list.txt") +
                          "--output" + quoted(folder / "out"))
                .code,
            0);
  EXPECT_EQ(read_image(folder / "out/photo.png").width, 112);
}

}  // namespace
}  // namespace facet
