#include "training/data/dataset.h"

#include <gmock/gmock.h>
#include <zlib.h>

#include "tests/formats/temp_folder.h"
#include "tests/training/pictures.h"

namespace facet::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// cat: 2 pictures (one a folder deeper), dog: 1.
void write_animals(const TempFolder& folder) {
  fs::create_directories(folder / "cat/more");
  fs::create_directories(folder / "dog");
  fs::create_directories(folder / ".hidden");
  write_png(folder / "cat/b.PNG", numbered_image(5, 4, 1));
  write_png(folder / "cat/more/a.png", numbered_image(5, 4, 2));
  write_png(folder / "dog/c.png", numbered_image(3, 3, 3));
  write_bytes(folder / "cat/notes.txt", "not a picture");
  write_bytes(folder / "list.csv", "not a class");
}

TEST(Dataset, FolderHasAClassPerFolder) {
  const TempFolder folder;
  write_animals(folder);
  const auto data = open_image_folder(folder / "");
  ASSERT_EQ(data->size(), 3);
  EXPECT_THAT(data->class_names(), ElementsAre("cat", "dog"));
  EXPECT_EQ(data->class_count(), 2);
  EXPECT_THAT((std::vector{data->label(0), data->label(1), data->label(2)}), ElementsAre(0, 0, 1));
  EXPECT_THAT(data->name(0), HasSubstr("cat/b.PNG"));
  EXPECT_THAT(data->name(1), HasSubstr("cat/more/a.png"));
  const Image image = data->load(2);
  EXPECT_EQ(image.pixels, numbered_image(3, 3, 3).pixels);
  check_labels(*data, 2);
}

TEST(Dataset, ValidationUsesTheLabelsOfTheTrainingSet) {
  const TempFolder folder;
  write_animals(folder);
  const auto data = open_image_folder(folder / "", {"bird", "cat", "dog", "fish"});
  EXPECT_EQ(data->class_count(), 4);
  EXPECT_EQ(data->label(0), 1);
  EXPECT_EQ(data->label(2), 2);
  EXPECT_THAT(error_of([&] {
                open_image_folder(folder / "", {"cats", "dog"});
              }),
              AllOf(HasSubstr("no class 'cat'"), HasSubstr("did you mean 'cats'")));
}

TEST(Dataset, FingerprintNoticesChangesAndNotMoves) {
  const TempFolder folder;
  fs::create_directories(folder / "one");
  const auto root = folder / "one";
  for (const char* name : {"cat", "dog"}) {
    fs::create_directories(root / name);
    write_png(root / name / "a.png", numbered_image(4, 4, 1));
    write_png(root / name / "b.png", numbered_image(4, 4, 2));
  }
  const auto fingerprint = [&](const fs::path& path) {
    return open_image_folder(path)->fingerprint();
  };
  const std::uint64_t before = fingerprint(root);
  fs::copy(root, folder / "two", fs::copy_options::recursive);
  EXPECT_EQ(fingerprint(folder / "two"), before);
  EXPECT_EQ(fingerprint((folder / "two").string() + "/"), before);

  fs::rename(folder / "two/cat/a.png", folder / "two/cat/c.png");
  EXPECT_NE(fingerprint(folder / "two"), before) << "another name";
  fs::rename(folder / "two/cat/c.png", folder / "two/dog/c.png");
  EXPECT_NE(fingerprint(folder / "two"), before) << "another class";
  write_png(root / "cat/a.png", numbered_image(9, 9, 1));
  EXPECT_NE(fingerprint(root), before) << "another size";
}

TEST(Dataset, FolderErrorsNameTheFolder) {
  const TempFolder folder;
  EXPECT_THAT(error_of([&] { open_image_folder(folder / "missing"); }),
              AllOf(HasSubstr("missing"), HasSubstr("no such folder")));
  EXPECT_THAT(error_of([&] { open_image_folder(folder / ""); }), HasSubstr("has no folders"));
  write_animals(folder);
  EXPECT_THAT(error_of([&] { open_image_folder(folder / "list.csv"); }),
              HasSubstr("no such folder"));
  fs::create_directories(folder / "empty");
  EXPECT_THAT(error_of([&] { open_image_folder(folder / ""); }),
              AllOf(HasSubstr("empty"), HasSubstr("the class has no")));
}

TEST(Dataset, UnreadablePicturesFailWhenLoaded) {
  const TempFolder folder;
  write_animals(folder);
  write_bytes(folder / "dog/c.png", "this is not a picture");
  const auto data = open_image_folder(folder / "");
  EXPECT_THAT(error_of([&] { data->load(2); }), HasSubstr("dog/c.png"));
  fs::remove(folder / "dog/c.png");
  EXPECT_THAT(error_of([&] { data->load(2); }), HasSubstr("dog/c.png"));
}

TEST(Dataset, LabelsOutOfRangeAreNamed) {
  const NumberedPictures data(5);
  check_labels(data, 3);
  EXPECT_THAT(error_of([&] { check_labels(data, 2); }),
              AllOf(HasSubstr("picture#2"), HasSubstr("label 2 is out of range"),
                    HasSubstr("2 classes (0 to 1)")));
}

void write_gzipped(const fs::path& path, const std::string& bytes) {
  gzFile file = gzopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr);
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  ASSERT_EQ(gzclose(file), Z_OK);
}

TEST(Dataset, FashionMnistWithALabelOutOfRange) {
  const TempFolder folder;
  std::string images = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28};
  images += std::string(28 * 28, '\x05') + std::string(28 * 28, '\x07');
  write_gzipped(folder / "train-images-idx3-ubyte.gz", images);
  write_gzipped(folder / "train-labels-idx1-ubyte.gz", std::string{0, 0, 8, 1, 0, 0, 0, 2, 9, 3});
  const auto data = open_fashion_mnist(true, folder / "");
  ASSERT_EQ(data->size(), 2);
  EXPECT_EQ(data->label(0), 9);
  EXPECT_EQ(data->load(1).pixels, plain_image(28, 28, 7, 7, 7).pixels);
  const std::uint64_t before = data->fingerprint();

  write_gzipped(folder / "train-labels-idx1-ubyte.gz", std::string{0, 0, 8, 1, 0, 0, 0, 2, 9, 4});
  EXPECT_NE(open_fashion_mnist(true, folder / "")->fingerprint(), before);
  write_gzipped(folder / "train-labels-idx1-ubyte.gz", std::string{0, 0, 8, 1, 0, 0, 0, 2, 9, 10});
  EXPECT_THAT(error_of([&] { open_fashion_mnist(true, folder / ""); }),
              AllOf(HasSubstr("train#1"), HasSubstr("label 10 is out of range")));
}

TEST(Dataset, FashionMnistAsDebianHasIt) {
  if (!fs::exists(kFashionMnistFolder)) GTEST_SKIP() << "dataset-fashion-mnist is not installed";
  const auto data = open_fashion_mnist(false);
  ASSERT_EQ(data->size(), 10000);
  EXPECT_EQ(data->class_count(), 10);
  EXPECT_EQ(data->class_names()[9], "Ankle boot");
  std::vector<int> counts(10);
  for (std::int64_t i = 0; i < data->size(); ++i)
    ++counts[static_cast<std::size_t>(data->label(i))];
  EXPECT_THAT(counts, ::testing::Each(1000));
  const Image image = data->load(0);
  EXPECT_EQ(image.width, 28);
  EXPECT_EQ(image.height, 28);
}

}  // namespace
}  // namespace facet::test
