#include "training/data/data_kind.h"

#include <gmock/gmock.h>

#include "tests/training/data/data_files.h"

namespace facet::test {
namespace {

TEST(DataKind, IsToldByWhatLiesThere) {
  const TempFolder folder;
  std::filesystem::create_directories(folder / "classes/a");
  std::filesystem::create_directories(folder / "scface/mugshot_frontal_cropped_all");
  std::filesystem::create_directories(folder / "mnist");
  write_bytes(folder / "mnist/train-images-idx3-ubyte.gz", "x");
  EXPECT_EQ(detect_data_kind(folder / "classes"), DataKind::class_folders);
  EXPECT_EQ(detect_data_kind(folder / "scface"), DataKind::scface);
  EXPECT_EQ(detect_data_kind(folder / "mnist"), DataKind::fashion_mnist);
  const auto kind_of = [&](const std::string& name, const std::string& text) {
    write_bytes(folder / name, text);
    return detect_data_kind(folder / name);
  };
  EXPECT_EQ(kind_of("x.rec", ""), DataKind::record);
  EXPECT_EQ(kind_of("x.bin", ""), DataKind::verification_bin);
  EXPECT_EQ(kind_of("pairs.txt", "10\t300\nAnn\t1\t4\n"), DataKind::pairs);
  EXPECT_EQ(kind_of("pairs.txt", "\nAnn 1 Bo 4\n"), DataKind::pairs);
  EXPECT_EQ(kind_of("pairs.txt", "a/1.jpg b/2.png 0\n"), DataKind::pairs);
  EXPECT_EQ(kind_of("list.txt", "0000045/001.jpg 0\n"), DataKind::list);
  EXPECT_EQ(kind_of("list.txt", "a b.jpg 1\n"), DataKind::list) << "a blank in a path";
  EXPECT_EQ(kind_of("list.csv", "image,subject,label\n"), DataKind::list);
  EXPECT_EQ(kind_of("empty", ""), DataKind::list);
  EXPECT_THAT(error_of([&] { detect_data_kind(folder / "nowhere"); }),
              ::testing::HasSubstr("nowhere: there is no such"));
}

}  // namespace
}  // namespace facet::test
