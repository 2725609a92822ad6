#include "runtime/formats/atomic_file.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/formats/temp_folder.h"

namespace facet::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(AtomicFile, AppearsWholeAtCommit) {
  const TempFolder folder;
  const auto path = folder / "out.bin";
  AtomicFile file(path);
  file.write("hello, ");
  file.write("world");
  EXPECT_FALSE(fs::exists(path));
  file.commit();
  EXPECT_EQ(read_bytes(path), "hello, world");
  EXPECT_EQ(folder.file_count(), 1);
}

TEST(AtomicFile, WithoutCommitTheOldFileStays) {
  const TempFolder folder;
  const auto path = folder / "out.bin";
  write_bytes(path, "old");
  {
    AtomicFile file(path);
    file.write("new");
    EXPECT_EQ(folder.file_count(), 2);
  }
  EXPECT_EQ(read_bytes(path), "old");
  EXPECT_EQ(folder.file_count(), 1);
}

TEST(AtomicFile, ReplacesAndKeepsThePermissions) {
  const TempFolder folder;
  const auto path = folder / "out.bin";
  write_bytes(path, "old and longer than the new");
  ASSERT_EQ(::chmod(path.c_str(), 0640), 0);
  AtomicFile file(path);
  file.write("new");
  file.commit();
  EXPECT_EQ(read_bytes(path), "new");
  struct stat status = {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640U);
}

TEST(AtomicFile, FollowsASymbolicLink) {
  const TempFolder folder;
  fs::create_directory(folder / "elsewhere");
  write_bytes(folder / "elsewhere/real.bin", "old");
  fs::create_symlink("elsewhere/real.bin", folder / "link.bin");
  AtomicFile file(folder / "link.bin");
  file.write("new");
  file.commit();
  EXPECT_TRUE(fs::is_symlink(folder / "link.bin"));
  EXPECT_EQ(read_bytes(folder / "elsewhere/real.bin"), "new");
}

TEST(AtomicFile, TakesALinkToNothingYetAndTheLongestName) {
  const TempFolder folder;
  fs::create_symlink("later.bin", folder / "link.bin");
  AtomicFile(folder / "link.bin").commit();
  EXPECT_TRUE(fs::is_symlink(folder / "link.bin"));
  EXPECT_TRUE(fs::exists(folder / "later.bin"));

  fs::create_symlink("b", folder / "a");
  fs::create_symlink("a", folder / "b");
  EXPECT_THAT(error_of([&] { AtomicFile(folder / "a"); }), HasSubstr("symbolic links"));

  const std::string longest(255, 'x');
  AtomicFile(folder / longest).commit();
  EXPECT_TRUE(fs::exists(folder / longest));
}

TEST(AtomicFile, AFullDiskLeavesTheOldFileAndNothingElse) {
  const TempFolder folder;
  const auto path = folder / "out.bin";
  write_bytes(path, "old");
  const std::string part(600, 'x');
  {
    const FileSizeLimit limit(1000);
    AtomicFile file(path);
    file.write(part);
    const std::string message = error_of([&] { file.write(part); });
    EXPECT_THAT(message, AllOf(HasSubstr(path.string()), HasSubstr("File too large"),
                               HasSubstr("write to another disk")));
    EXPECT_EQ(folder.file_count(), 1) << "the temporary file goes as soon as a write fails";
    error_of([&] { file.commit(); }, ErrorKind::usage);
  }
  EXPECT_EQ(read_bytes(path), "old");
  EXPECT_EQ(folder.file_count(), 1);
}

TEST(AtomicFile, SaysWhenNoSpaceIsLeft) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "this system has no /dev/full";
  AtomicFile file("/dev/full");
  EXPECT_THAT(error_of([&] { file.write("x"); }),
              AllOf(HasSubstr("/dev/full"), HasSubstr("No space left"), HasSubstr("free space")));
}

TEST(AtomicFile, WritesStraightToWhatIsNoFile) {
  AtomicFile file("/dev/null");
  file.write("x");
  file.commit();
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST(AtomicFile, SaysWhatIsWrongWithThePath) {
  const TempFolder folder;
  EXPECT_THAT(error_of([&] { AtomicFile(folder / "missing/out.bin"); }),
              AllOf(HasSubstr("missing/out.bin"), HasSubstr("create its folder first")));
  fs::create_directory(folder / "taken");
  EXPECT_THAT(error_of([&] { AtomicFile(folder / "taken"); }), HasSubstr("name a file"));
  write_bytes(folder / "file", "");
  EXPECT_THAT(error_of([&] { AtomicFile(folder / "file/out.bin"); }), HasSubstr("Not a directory"));
}

TEST(AtomicFile, EndsWithCommit) {
  const TempFolder folder;
  AtomicFile file(folder / "out.bin");
  file.commit();
  error_of([&] { file.write("x"); }, ErrorKind::usage);
  error_of([&] { file.commit(); }, ErrorKind::usage);
}

TEST(AtomicFile, ReplacesWhatIsWrittenAlready) {
  const TempFolder folder;
  AtomicFile file(folder / "x");
  file.write("0000abcd");
  file.write_at(0, std::as_bytes(std::span("1234", 4)));
  file.write("efg");
  file.commit();
  EXPECT_EQ(read_bytes(folder / "x"), "1234abcdefg");
}

}  // namespace
}  // namespace facet::test
