#include "training/csv_log.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "tests/formats/temp_folder.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::vector<std::string> kColumns = {"loss", "accuracy"};

TEST(CsvLog, WritesRowsAtOnce) {
  const TempFolder folder;
  CsvLog log(folder / "log.csv", kColumns);
  log.row(10, {0.1, std::nullopt});
  log.row(20, {std::nan(""), 1.0});
  log.row(30, {-std::numeric_limits<double>::infinity(), 0.1 + 0.2});
  EXPECT_EQ(read_bytes(folder / "log.csv"),
            "iteration,loss,accuracy\n10,0.1,\n20,nan,1\n30,-inf,0.30000000000000004\n");
  EXPECT_THAT(error_of([&] { log.row(40, {1.0}); }, ErrorKind::usage), HasSubstr("1 values for 2"));
}

TEST(CsvLog, ResumedItDropsWhatIsDoneAgain) {
  const TempFolder folder;
  const auto path = folder / "log.csv";
  {
    CsvLog log(path, kColumns);
    for (const int i : {5, 10, 15, 20}) log.row(i, {i / 10.0, std::nullopt});
  }
  {
    CsvLog log(path, kColumns, 15);
    log.row(15, {7.0, 8.0});
  }
  EXPECT_EQ(read_bytes(path), "iteration,loss,accuracy\n5,0.5,\n10,1,\n15,7,8\n");
  write_bytes(path, read_bytes(path) + "16,9.5");  // the program was killed within a row
  { CsvLog log(path, kColumns, 100); }
  EXPECT_EQ(read_bytes(path), "iteration,loss,accuracy\n5,0.5,\n10,1,\n15,7,8\n");
  { CsvLog log(path, kColumns, 0); }
  EXPECT_EQ(read_bytes(path), "iteration,loss,accuracy\n");
  EXPECT_EQ(folder.file_count(), 1);
}

TEST(CsvLog, NewItReplacesAndResumedItMayBegin) {
  const TempFolder folder;
  write_bytes(folder / "old.csv", "something else\n");
  { CsvLog log(folder / "old.csv", kColumns); }
  EXPECT_EQ(read_bytes(folder / "old.csv"), "iteration,loss,accuracy\n");
  { CsvLog log(folder / "new.csv", kColumns, 50); }
  EXPECT_EQ(read_bytes(folder / "new.csv"), "iteration,loss,accuracy\n");
  write_bytes(folder / "cut.csv", "iterat");
  { CsvLog log(folder / "cut.csv", kColumns, 50); }
  EXPECT_EQ(read_bytes(folder / "cut.csv"), "iteration,loss,accuracy\n");
}

TEST(CsvLog, ForeignFilesStayAsTheyAre) {
  const TempFolder folder;
  const auto path = folder / "log.csv";
  const auto refusal = [&](const std::string& text) {
    write_bytes(path, text);
    const std::string message = error_of([&] { CsvLog(path, kColumns, 5); });
    EXPECT_EQ(read_bytes(path), text);
    return message;
  };
  EXPECT_THAT(refusal("iteration,loss\n1,2\n"), AllOf(HasSubstr("log.csv"), HasSubstr("columns")));
  EXPECT_THAT(refusal("iteration,loss,accuracy\n1,2,3\nx,2,3\n"), HasSubstr("log.csv:3:"));
  EXPECT_THAT(refusal("iteration,loss,accuracy\n12\n"), HasSubstr("log.csv:2:"));
  EXPECT_THAT(error_of([&] { CsvLog(folder / "missing/log.csv", kColumns); }),
              HasSubstr("missing"));
}

}  // namespace
}  // namespace facet::test
