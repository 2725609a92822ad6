#include "backends/cuda/file_cache.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/formats/temp_folder.h"

namespace facet {
namespace {

using cuda::FileCache;

constexpr std::size_t kPlenty = 1 << 20;

std::vector<std::filesystem::path> files_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(folder)) files.push_back(file.path());
  return files;
}

TEST(FileCache, GivesBackWhatWasWrittenUnderTheKey) {
  const test::TempFolder folder;
  const FileCache cache(folder / "cache", ".x", kPlenty);
  EXPECT_EQ(cache.read("a"), std::nullopt);
  const std::string value("binary\0\n and more", 17);
  cache.write("a", value);
  cache.write("a longer key\nof two lines", "");
  EXPECT_EQ(cache.read("a"), value);
  EXPECT_EQ(FileCache(folder / "cache", ".x", kPlenty).read("a longer key\nof two lines"), "");
  cache.write("a", "other");
  EXPECT_EQ(cache.read("a"), "other");
  EXPECT_EQ(files_in(folder / "cache").size(), 2u);
}

// Every cut of a file, a byte more, another key under the same name.
TEST(FileCache, TornFilesAreNone) {
  const test::TempFolder folder;
  const FileCache cache(folder / "cache", ".x", kPlenty);
  cache.write("key", "value");
  const std::filesystem::path file = files_in(folder / "cache").front();
  const std::string whole = test::read_bytes(file);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    test::write_bytes(file, whole.substr(0, size));
    EXPECT_EQ(cache.read("key"), std::nullopt) << size;
  }
  for (const std::string& broken : {whole + "x", "x" + whole.substr(1), std::string(100, '\n')}) {
    test::write_bytes(file, broken);
    EXPECT_EQ(cache.read("key"), std::nullopt) << broken;
  }
  std::string other = whole;
  other.replace(other.find("key"), 3, "kez");
  test::write_bytes(file, other);
  EXPECT_EQ(cache.read("key"), std::nullopt);
}

TEST(FileCache, KeepsToItsLimitAndDropsTheOldest) {
  const test::TempFolder folder;
  const std::filesystem::path path = folder / "cache";
  const std::string value(1000, 'v');
  FileCache(path, ".x", kPlenty).write("first", value);
  FileCache(path, ".y", kPlenty).write("another's", value);
  const auto now = std::filesystem::file_time_type::clock::now();
  for (const auto& file : files_in(path)) {
    std::filesystem::last_write_time(file, now - std::chrono::hours(1));
  }
  const FileCache cache(path, ".x", 2500);
  cache.write("second", value);
  EXPECT_EQ(cache.read("first"), value);  // and it counts as used
  for (const auto& file : files_in(path)) {
    if (test::read_bytes(file).find("second") != std::string::npos) {
      std::filesystem::last_write_time(file, now - std::chrono::hours(1));
    }
  }
  cache.write("third", value);
  EXPECT_EQ(cache.read("first"), value);
  EXPECT_EQ(cache.read("second"), std::nullopt);
  EXPECT_EQ(cache.read("third"), value);
  EXPECT_EQ(FileCache(path, ".y", kPlenty).read("another's"), value);
}

TEST(FileCache, AFolderThatCannotBeOnlyKeepsNothing) {
  const test::TempFolder folder;
  test::write_bytes(folder / "file", "x");
  const FileCache cache(folder / "file", ".x", kPlenty);
  cache.write("key", "value");
  EXPECT_EQ(cache.read("key"), std::nullopt);
}

TEST(FileCache, ThreadsShareAKey) {
  const test::TempFolder folder;
  const FileCache cache(folder / "cache", ".x", kPlenty);
  const std::string value(100000, 'v');
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 20; ++k) {
        cache.write("key", value);
        EXPECT_EQ(cache.read("key"), value);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(files_in(folder / "cache").size(), 1u);
}

}  // namespace
}  // namespace facet
