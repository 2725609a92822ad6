#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "ir/error.h"
#include "runtime/formats/mapped_file.h"
#include "runtime/formats/quoted.h"
#include "training/data/file_pictures.h"
#include "training/data/text_lines.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kHeader = "image,subject,label";
// Where nothing says how many there are, a wrong label must not make billions.
constexpr std::int64_t kMostClasses = std::int64_t{1} << 24;

/// A line of a list, taken apart.
struct Line {
  std::string_view path;
  std::string_view subject;  ///< empty if the format has none
  std::string_view label;
};

std::string_view without_quotes(std::string_view text) {
  const bool quoted = text.size() >= 2 && text.front() == '"' && text.back() == '"';
  return quoted ? text.substr(1, text.size() - 2) : text;
}

/// "path label"; the path may have blanks in it.
std::optional<Line> parse_plain(std::string_view text) {
  const auto label = text.find_last_of(" \t");
  if (label == std::string_view::npos) return std::nullopt;
  const auto path = text.find_last_not_of(" \t", label);
  if (path == std::string_view::npos) return std::nullopt;
  return Line{text.substr(0, path + 1), {}, text.substr(label + 1)};
}

/// "image,subject,label"; the image's path may have commas in it.
std::optional<Line> parse_csv(std::string_view text) {
  const auto label = text.rfind(',');
  if (label == std::string_view::npos || label == 0) return std::nullopt;
  const auto subject = text.rfind(',', label - 1);
  if (subject == std::string_view::npos || subject == 0) return std::nullopt;
  return Line{without_quotes(text.substr(0, subject)),
              without_quotes(text.substr(subject + 1, label - subject - 1)),
              text.substr(label + 1)};
}

class ListReader {
 public:
  ListReader(const fs::path& list, fs::path root, const DatasetOptions& options)
      : file_(MappedFile::open(list)),
        root_(root.empty() ? list.parent_path() : std::move(root)),
        options_(options) {}

  std::unique_ptr<Dataset> read() {
    bool csv = false;
    for_each_line(*file_, [&](std::int64_t number, std::string_view text) {
      if (number == 1 && text == kHeader) {
        csv = true;
        return;
      }
      if (text.empty()) return;
      ++lines_;
      try {
        add(csv ? parse_csv(text) : parse_plain(text), text);
      } catch (const Error& error) {
        left_out_.add(fmt::format("{}:{}: {}", file_->path(), number, error.what()));
      }
    });
    check_left_out(left_out_, options_.bad_entries, file_->path(), "lines");
    if (items_.empty()) {
      throw failure(lines_ == 0
                        ? fmt::format("{}: lists no picture; a line is a path, a blank and a label",
                                      file_->path())
                        : fmt::format("{}: none of {} lines can be used; the first: {}",
                                      file_->path(), lines_, left_out_.problems.at(0)));
    }
    std::int64_t classes = options_.classes;
    if (classes == 0) {
      for (const auto& item : items_) classes = std::max(classes, item.label + 1);
    }
    std::vector<std::string> names = numbers_up_to(classes);
    for (std::size_t label = 0; label < subjects_.size(); ++label) {
      if (!subjects_[label].empty()) names[label] = subjects_[label];
    }
    return std::make_unique<FileDataset>(root_, std::move(items_), std::move(names),
                                         std::move(left_out_));
  }

 private:
  void add(const std::optional<Line>& line, std::string_view text) {
    if (!line) throw failure(fmt::format("{} has no label", in_quotes(text)));
    std::int64_t label = -1;
    const std::string_view digits = line->label;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), label);
    if (error != std::errc() || end != digits.data() + digits.size() || label < 0) {
      throw failure(
          fmt::format("the label {} is no class, a whole number from 0 on", in_quotes(digits)));
    }
    const std::int64_t limit = options_.classes > 0 ? options_.classes : kMostClasses;
    if (label >= limit) {
      throw failure(fmt::format("the label {} is out of range: there are {} classes (0 to {})",
                                label, limit, limit - 1));
    }
    if (!names_.has(root_ / line->path)) {
      throw failure(
          fmt::format("there is no file {}; name the folder that the paths are relative to, "
                      "or correct the line",
                      (root_ / line->path).string()));
    }
    note_subject(line->subject, label);
    items_.push_back({std::string(line->path), label});
  }

  void note_subject(std::string_view subject, std::int64_t label) {
    if (subject.empty()) return;
    const auto place = static_cast<std::size_t>(label);
    if (subjects_.size() <= place) subjects_.resize(place + 1);
    if (subjects_[place].empty()) subjects_[place] = subject;
    if (subjects_[place] == subject) return;
    throw failure(fmt::format("the label {} is that of {}, not of {}", label,
                              in_quotes(subjects_[place]), in_quotes(subject)));
  }

  std::shared_ptr<const MappedFile> file_;
  fs::path root_;
  DatasetOptions options_;
  FileNames names_;
  std::int64_t lines_ = 0;
  std::vector<FileDataset::Item> items_;
  std::vector<std::string> subjects_;  ///< by label
  LeftOut left_out_;
};

}  // namespace

std::unique_ptr<Dataset> open_list_dataset(const fs::path& list, const fs::path& root,
                                           const DatasetOptions& options) {
  return ListReader(list, root, options).read();
}

}  // namespace facet
