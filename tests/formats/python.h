#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/formats/temp_folder.h"

namespace facet::test {

inline bool has_python() {
  static const bool found = std::system("python3 -c '' >/dev/null 2>&1") == 0;
  return found;
}

/// What the Python 3 program prints, its standard library alone being used. `arguments` are file
/// names. Fails the test if the program does.
inline std::string python(const std::string& program,
                          const std::vector<std::filesystem::path>& arguments) {
  const TempFolder folder;
  write_bytes(folder / "program.py", program);
  std::string line = "python3 -I '" + (folder / "program.py").string() + "'";
  for (const auto& argument : arguments) line += " '" + argument.string() + "'";
  line += " >'" + (folder / "out").string() + "' 2>'" + (folder / "error").string() + "'";
  EXPECT_EQ(std::system(line.c_str()), 0) << read_bytes(folder / "error");
  return read_bytes(folder / "out");
}

}  // namespace facet::test

/// For tests that compare with Python: says so where there is none.
#define FACET_NEEDS_PYTHON()                                                                      \
  if (!::facet::test::has_python()) {                                                             \
    GTEST_SKIP() << "python3 is not installed: what Facet writes was not read by another reader"; \
  }
