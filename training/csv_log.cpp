#include "training/csv_log.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <iterator>
#include <string_view>

#include "ir/error.h"
#include "runtime/formats/atomic_file.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw failure(fmt::format("cannot read {}: {}", path.string(), std::strerror(errno)));
  return {std::istreambuf_iterator<char>(file), {}};
}

std::int64_t iteration_of(std::string_view line, const fs::path& path, std::size_t number) {
  std::int64_t iteration = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), iteration);
  if (error != std::errc() || end == line.data() + line.size() || *end != ',') {
    throw failure(
        fmt::format("{}:{}: the row does not begin with an iteration; move the file away "
                    "to begin a new one",
                    path.string(), number));
  }
  return iteration;
}

/// The header and the whole rows before `resumed_at`.
std::string kept_rows(const std::string& text, const std::string& header, const fs::path& path,
                      std::int64_t resumed_at) {
  std::string kept;
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // cut short
    const std::string_view line(text.data() + begin, end - begin);
    ++number;
    if (number == 1 && line != header) {
      throw failure(
          fmt::format("{}: has the columns \"{}\", not \"{}\"; move the file away to begin "
                      "a new one",
                      path.string(), line, header));
    }
    if (number == 1 || iteration_of(line, path, number) < resumed_at) {
      kept.append(line).push_back('\n');
    }
    begin = end + 1;
  }
  return kept;
}

}  // namespace

CsvLog::CsvLog(const fs::path& path, std::vector<std::string> columns, std::int64_t resumed_at)
    : path_(path), columns_(columns.size()) {
  columns.insert(columns.begin(), "iteration");
  const std::string header = fmt::format("{}", fmt::join(columns, ","));
  std::string text;
  if (resumed_at >= 0 && fs::exists(path))
    text = kept_rows(read_text(path), header, path, resumed_at);
  if (text.empty()) text = header + "\n";
  AtomicFile whole(path);
  whole.write(text);
  whole.commit();
  file_.open(path, std::ios::binary | std::ios::app);
  if (!file_)
    throw failure(fmt::format("cannot write {}: {}", path.string(), std::strerror(errno)));
}

void CsvLog::row(std::int64_t iteration, const std::vector<std::optional<double>>& values) {
  if (values.size() != columns_) {
    throw usage_error(fmt::format("{}: a row of {} values for {} columns", path_.string(),
                                  values.size(), columns_));
  }
  std::string line = fmt::format("{}", iteration);
  for (const std::optional<double>& value : values) {
    line += value ? fmt::format(",{}", *value) : std::string(",");
  }
  line.push_back('\n');
  file_.write(line.data(), static_cast<std::streamsize>(line.size()));
  if (!file_.flush()) {
    throw failure(
        fmt::format("cannot write {}: {}; free some space", path_.string(), std::strerror(errno)));
  }
}

}  // namespace facet
