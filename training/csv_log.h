#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace facet {

/// A table of numbers that grows by a row at a time: a header, then "iteration" and the columns,
/// separated by commas. Every row is flushed. Empty fields are values that a row does not have;
/// "nan" and "inf" are values. One thread uses it.
class CsvLog {
 public:
  /// A new table; an existing file is replaced. With `resumed_at` of 0 or more the rows before that
  /// iteration of an existing file stay and those at and behind it go, also a last line that was
  /// cut short. Throws Error(failure) if the file cannot be written, has other columns or has a row
  /// that does not begin with an iteration; it is then as it was.
  CsvLog(const std::filesystem::path& path, std::vector<std::string> columns,
         std::int64_t resumed_at = -1);

  /// One value per column, written so that reading gives the same double. Throws Error(usage) for
  /// another number of values, Error(failure) if it cannot be written.
  void row(std::int64_t iteration, const std::vector<std::optional<double>>& values);

 private:
  std::filesystem::path path_;
  std::size_t columns_;
  std::ofstream file_;
};

}  // namespace facet
