#include "training/synth/synth_sets.h"

#include <gmock/gmock.h>

#include <functional>
#include <set>

#include "tests/formats/temp_folder.h"
#include "tests/training/synth/faces.h"
#include "training/recipe_data.h"

namespace facet::test {
namespace {

using testing::HasSubstr;

SynthOptions small(std::int64_t identities, std::int64_t images) {
  SynthOptions options;
  options.identities = identities;
  options.images_per_identity = images;
  return options;
}

TEST(SynthDataset, NumbersPersonsOneBehindTheOther) {
  const auto set = open_synth_dataset(small(3, 4));
  EXPECT_EQ(set->size(), 12);
  EXPECT_EQ(set->class_count(), 3);
  EXPECT_EQ(set->label(3), 0);
  EXPECT_EQ(set->label(4), 1);
  EXPECT_EQ(set->label(11), 2);
  EXPECT_EQ(set->name(6), "synth#1 picture 2");
  EXPECT_NO_THROW(check_labels(*set, 3));
}

TEST(SynthDataset, GrowsWithoutChangingWhatWasThere) {
  const auto few = open_synth_dataset(small(2, 2));
  const auto many = open_synth_dataset(small(5, 9));
  EXPECT_EQ(few->load(3).pixels, many->load(10).pixels);  // person 1, picture 1
  SynthOptions later = small(2, 2);
  later.first_image = 7;
  EXPECT_EQ(open_synth_dataset(later)->load(3).pixels, many->load(17).pixels);  // picture 8
}

TEST(SynthDataset, DependsOnSeedAndDifficulty) {
  const SynthOptions options = small(2, 2);
  const auto set = open_synth_dataset(options);
  SynthOptions other = options;
  other.seed = 2;
  EXPECT_GT(difference(set->load(0), open_synth_dataset(other)->load(0)), 5);
  EXPECT_NE(set->fingerprint(), open_synth_dataset(other)->fingerprint());
  other = options;
  other.difficulty = 0;
  EXPECT_NE(set->load(0).pixels, open_synth_dataset(other)->load(0).pixels);
  EXPECT_NE(set->fingerprint(), open_synth_dataset(other)->fingerprint());
  EXPECT_EQ(set->fingerprint(), open_synth_dataset(options)->fingerprint());
  EXPECT_NE(set->fingerprint(), open_synth_dataset(small(2, 3))->fingerprint());
}

TEST(SynthDataset, PicturesOfAPersonDifferAsMuchAsPersons) {
  const auto set = open_synth_dataset(small(6, 4));
  for (std::int64_t person = 0; person < 6; ++person) {
    for (std::int64_t image = 1; image < 4; ++image) {
      EXPECT_GT(difference(set->load(person * 4), set->load(person * 4 + image)), 10)
          << set->name(person * 4 + image);
    }
  }
}

TEST(SynthDataset, ChecksItsOptions) {
  SynthOptions options = small(0, 4);
  EXPECT_THAT(error_of([&] { open_synth_dataset(options); }, ErrorKind::usage),
              HasSubstr("identities is 0; it must be from 1"));
  options = small(2, 0);
  EXPECT_THAT(error_of([&] { open_synth_dataset(options); }, ErrorKind::usage),
              HasSubstr("images_per_identity is 0"));
  options = small(2, 2);
  options.difficulty = 2.5;
  EXPECT_THAT(error_of([&] { open_synth_dataset(options); }, ErrorKind::usage),
              HasSubstr("difficulty is 2.5; it must be from 0 to 2"));
  EXPECT_THAT(error_of(
                  [&] {
                    open_synth_pairs({50, 1, 1});
                  },
                  ErrorKind::usage),
              HasSubstr("pairs is 50; ten folds"));
  EXPECT_THAT(error_of(
                  [&] {
                    open_synth_pairs({20, 1, 1});
                  },
                  ErrorKind::usage),
              HasSubstr("pairs is 20; it must be from 40"));
  EXPECT_THAT(error_of(
                  [&] {
                    open_synth_surveillance({0, 0, 1});
                  },
                  ErrorKind::usage),
              HasSubstr("persons is 0"));
}

TEST(SynthPairs, AreBalancedInEveryFoldOfPersonsOfItsOwn) {
  const PairSet set = open_synth_pairs({120, 1, 1});
  ASSERT_EQ(set.pairs.size(), 120U);
  EXPECT_EQ(set.pictures->size(), 240);
  std::set<std::string> of_earlier_folds;
  for (std::size_t fold = 0; fold < 10; ++fold) {
    std::set<std::string> persons;
    for (std::size_t i = 0; i < 12; ++i) {
      const std::size_t k = fold * 12 + i;
      const Pair& pair = set.pairs[k];
      EXPECT_EQ(pair.same, i < 6);
      EXPECT_EQ(pair.first, static_cast<std::int64_t>(2 * k));
      EXPECT_EQ(pair.second, static_cast<std::int64_t>(2 * k + 1));
      const auto who = [&](std::int64_t item) {
        const std::string name = set.pictures->name(item);
        const std::size_t start = name.find("person");
        return name.substr(start, name.find(" picture") - start);
      };
      EXPECT_EQ(who(pair.first) == who(pair.second), pair.same) << k;
      persons.insert({who(pair.first), who(pair.second)});
    }
    const Pair& pair = set.pairs[fold * 12];
    EXPECT_GT(difference(set.pictures->load(pair.first), set.pictures->load(pair.second)), 5);
    for (const std::string& person : persons) {
      EXPECT_TRUE(of_earlier_folds.insert(person).second) << person << " is in two folds";
    }
  }
}

TEST(SynthSets, ShowNobodyOfAnother) {
  // Equal draws would give equal pictures: persons are drawn from ranges of their own.
  std::set<std::uint64_t> hashes;
  SynthOptions options = small(20, 1);
  options.difficulty = 0;
  const auto training = open_synth_dataset(options);
  const PairSet pairs = open_synth_pairs({400, 1, 0});
  const IdentificationSet surveillance = open_synth_surveillance({20, 0, 1});
  for (std::int64_t i = 0; i < 20; ++i) {
    hashes.insert(pixel_hash(training->load(i)));
    hashes.insert(pixel_hash(pairs.pictures->load(2 * i)));
    hashes.insert(
        pixel_hash(surveillance.pictures->load(surveillance.gallery[static_cast<std::size_t>(i)])));
  }
  EXPECT_EQ(hashes.size(), 60U);
}

TEST(SynthSurveillance, HasAGalleryAndFiveCamerasAtThreeDistances) {
  const IdentificationSet set = open_synth_surveillance({4, 50, 1});
  EXPECT_EQ(set.pictures->size(), 64);
  ASSERT_EQ(set.gallery.size(), 4U);
  ASSERT_EQ(set.groups.size(), 3U);
  std::set<std::int64_t> seen(set.gallery.begin(), set.gallery.end());
  EXPECT_EQ(set.pictures->name(set.gallery[1]), "synth surveillance#052_frontal");
  for (const auto& group : set.groups) {
    EXPECT_EQ(group.probes.size(), 20U) << group.name;
    seen.insert(group.probes.begin(), group.probes.end());
  }
  EXPECT_EQ(seen.size(), 64U);
  EXPECT_EQ(set.pictures->name(set.groups[2].probes[6]), "synth surveillance#052_cam2_3");
  EXPECT_EQ(set.pictures->label(set.groups[2].probes[6]), 1);
  // SCface's last 80 of 130 persons are the default.
  const IdentificationSet all = open_synth_surveillance({130, 0, 1});
  const IdentificationSet tested = open_synth_surveillance();
  EXPECT_EQ(tested.gallery.size(), 80U);
  EXPECT_EQ(tested.pictures->load(tested.gallery[0]).pixels,
            all.pictures->load(all.gallery[50]).pixels);
}

TEST(SynthSurveillance, SeesLessFromFartherAway) {
  const IdentificationSet set = open_synth_surveillance({6, 0, 1});
  // Detail: the mean difference of neighbouring pixels, which enlarging makes small.
  double last = 0;
  for (const auto& group : set.groups) {
    double detail = 0;
    for (const std::int64_t probe : group.probes) {
      const Image image = set.pictures->load(probe);
      for (std::size_t i = 3; i < image.pixels.size(); ++i) {
        const int step = image.pixels[i] - image.pixels[i - 3];
        detail += step < 0 ? -step : step;
      }
    }
    EXPECT_GT(detail, 1.2 * last) << group.name;
    last = detail;
  }
}

TEST(SynthRecipe, NamesTheSet) {
  const Recipe recipe = parse_recipe(
      "[model]\nname = \"lscnn_small\"\n[data]\nkind = \"synth\"\n[synth]\nidentities = 4\n"
      "images_per_identity = 3\nvalidation_images = 1\nseed = 9\ndifficulty = 0.5\n",
      "a test");
  const RecipeData data = open_data(recipe.data);
  EXPECT_EQ(data.train->size(), 12);
  ASSERT_NE(data.validation, nullptr);
  EXPECT_EQ(data.validation->size(), 4);
  EXPECT_EQ(data.validation->name(2), "synth#2 picture 3");
  EXPECT_EQ(data.validation->class_names(), data.train->class_names());
  EXPECT_EQ(parse_recipe(to_toml(recipe), "again").data.synth.difficulty, 0.5);
  EXPECT_THAT(
      error_of([] { parse_recipe("[synth]\ndifficulty = 3\n", "a test"); }, ErrorKind::usage),
      HasSubstr("synth.difficulty"));
}

}  // namespace
}  // namespace facet::test
