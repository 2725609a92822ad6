#include "training/recipe_data.h"

#include <gmock/gmock.h>

#include "tests/formats/record_bytes.h"
#include "tests/training/data/data_files.h"

namespace facet::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

void write_pictures(const fs::path& root, const std::vector<std::string>& classes) {
  for (const std::string& name : classes) {
    fs::create_directories(root / name);
    for (int i = 0; i < 3; ++i) {
      write_png(root / name / (std::to_string(i) + ".png"), numbered_image(10, 8, i));
    }
  }
}

Recipe folder_recipe(const TempFolder& folder) {
  Recipe recipe;
  recipe.data.kind = DataRecipe::Kind::folder;
  recipe.data.train = (folder / "train").string();
  recipe.training.batch = 4;
  return recipe;
}

TEST(RecipeData, OpensBothFoldersWithTheSameClasses) {
  const TempFolder folder;
  write_pictures(folder / "train", {"a", "b", "c"});
  write_pictures(folder / "test", {"c"});
  Recipe recipe = folder_recipe(folder);
  EXPECT_EQ(open_data(recipe.data).validation, nullptr);
  recipe.data.validation = (folder / "test").string();
  const RecipeData data = open_data(recipe.data, 3);
  EXPECT_EQ(data.train->size(), 9);
  EXPECT_EQ(data.validation->size(), 3);
  EXPECT_EQ(data.validation->label(0), 2);
  EXPECT_THAT(error_of([&] { open_data(recipe.data, 2); }), HasSubstr("3 classes, the network 2"));
}

TEST(RecipeData, LoadersSkipOrStopAsTheRecipeSays) {
  const TempFolder folder;
  write_pictures(folder / "train", {"a", "b", "c"});
  write_bytes(folder / "train/b/1.png", "broken");
  Recipe recipe = folder_recipe(folder);
  recipe.data.on_bad_image = DataRecipe::BadImage::skip;
  const auto data = open_data(recipe.data).train;
  const Preprocess settings = preprocess_of(recipe.data, 6, 7);
  std::size_t problems = 0;
  Loader training(*data, settings, recipe.augmentation, training_loader(recipe));
  for (int i = 0; i < 8; ++i) {
    const std::optional<Batch> batch = training.next();
    EXPECT_EQ(batch->items.size(), 4U);
    EXPECT_EQ(batch->pixels.shape(), (std::vector<std::int64_t>{4, 3, 6, 7}));
    problems += batch->problems.size();
  }
  EXPECT_GT(problems, 0U);
  Loader validation(*data, settings, {}, validation_loader(recipe));
  std::vector<std::int64_t> items;
  while (const auto batch = validation.next()) {
    items.insert(items.end(), batch->items.begin(), batch->items.end());
  }
  EXPECT_THAT(items, ::testing::ElementsAre(0, 1, 2, 3, 5, 6, 7, 8));
  recipe.data.on_bad_image = DataRecipe::BadImage::stop;
  Loader strict(*data, settings, {}, validation_loader(recipe));
  EXPECT_TRUE(strict.next());
  EXPECT_THAT(error_of([&] { strict.next(); }), HasSubstr("train/b/1.png"));
}

TEST(RecipeData, RecordFilesAndWhatIsWrongInThem) {
  const TempFolder folder;
  RecordBytes bytes;
  for (int i = 0; i < 6; ++i) bytes.add(plain_record(static_cast<float>(i / 2), jpeg_text(i)));
  bytes.add(plain_record(40, jpeg_text(7)));
  write_bytes(folder / "train.rec", bytes.records);
  write_bytes(folder / "test.rec", plain_record(1, jpeg_text(8)) + plain_record(3, jpeg_text(9)));
  Recipe recipe = folder_recipe(folder);
  recipe.data.kind = DataRecipe::Kind::record;
  recipe.data.train = (folder / "train.rec").string();
  EXPECT_EQ(open_data(recipe.data).train->class_count(), 41);
  recipe.data.classes = 3;
  EXPECT_THAT(error_of([&] { open_data(recipe.data); }),
              ::testing::AllOf(HasSubstr("train.rec#6: the label 40"), HasSubstr("on_bad_image")));
  recipe.data.on_bad_image = DataRecipe::BadImage::skip;
  recipe.data.validation = (folder / "test.rec").string();
  const RecipeData data = open_data(recipe.data, 3);
  EXPECT_EQ(data.train->size(), 6);
  EXPECT_EQ(data.train->left_out().count, 1);
  EXPECT_EQ(data.validation->size(), 1);
  EXPECT_EQ(data.validation->class_count(), 3);
  EXPECT_EQ(data.validation->left_out().count, 1);
}

TEST(RecipeData, ListsWithARootAndAHoldout) {
  const TempFolder folder;
  std::string list;
  for (int i = 0; i < 20; ++i) {
    write_jpeg(folder / ("faces/" + std::to_string(i) + ".jpg"), i);
    list += std::to_string(i) + ".jpg " + std::to_string(i / 2) + "\n";
  }
  write_bytes(folder / "list.txt", list + "gone.jpg 1\n");
  Recipe recipe = folder_recipe(folder);
  recipe.data.kind = DataRecipe::Kind::list;
  recipe.data.train = (folder / "list.txt").string();
  recipe.data.root = (folder / "faces").string();
  EXPECT_THAT(error_of([&] { open_data(recipe.data); }), HasSubstr("list.txt:21"));
  recipe.data.on_bad_image = DataRecipe::BadImage::skip;
  EXPECT_EQ(open_data(recipe.data).train->size(), 20);
  recipe.data.holdout = 4;
  const RecipeData data = open_data(recipe.data);
  EXPECT_EQ(data.train->size(), 18);
  EXPECT_EQ(data.train->class_count(), 10);
  EXPECT_EQ(data.train->left_out().count, 1);
  recipe.model.name = "x";
  recipe.data.kind = DataRecipe::Kind::record;
  EXPECT_THAT(error_of([&] { check_recipe(recipe); }, ErrorKind::usage), HasSubstr("data.holdout"));
  recipe.data.train.clear();
  EXPECT_THAT(error_of([&] { check_recipe(recipe); }, ErrorKind::usage), HasSubstr("data.train"));
}

TEST(RecipeData, SizesOfTheRecipeWin) {
  DataRecipe data;
  EXPECT_EQ(preprocess_of(data, 28, 30).height, 28);
  EXPECT_EQ(preprocess_of(data, 28, 30).width, 30);
  data.height = 64;
  data.width = 48;
  data.resize = 70;
  EXPECT_EQ(preprocess_of(data, 28, 30).height, 64);
  EXPECT_EQ(preprocess_of(data, 28, 30).width, 48);
  EXPECT_EQ(preprocess_of(data, 28, 30).shorter_side, 70);
}

}  // namespace
}  // namespace facet::test
