#include "training/evaluation/templates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <string_view>

#include "ir/error.h"

namespace facet {
namespace {

std::vector<std::string_view> words_of(std::string_view line) {
  constexpr std::string_view kBlanks = " \t\r";
  std::vector<std::string_view> words;
  for (;;) {
    const auto begin = line.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) return words;
    const auto end = std::min(line.find_first_of(kBlanks, begin), line.size());
    words.push_back(line.substr(begin, end - begin));
    line.remove_prefix(end);
  }
}

template <class Number>
Number number(std::string_view word) {
  Number value{};
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) {
    throw failure(fmt::format("\"{}\" is not a number", word));
  }
  return value;
}

double finite(std::string_view word) {
  const auto value = number<double>(word);
  if (!std::isfinite(value)) throw failure(fmt::format("\"{}\" is not a finite number", word));
  return value;
}

/// Calls `take` with the words of every line that has some; there must be `count` of them.
void for_each_line(const std::filesystem::path& path, std::size_t count,
                   const std::function<void(const std::vector<std::string_view>&)>& take) {
  std::ifstream file(path);
  if (!file || std::filesystem::is_directory(path)) {
    throw failure(fmt::format("{}: cannot be read: {}", path.string(),
                              file ? "it is a folder" : std::strerror(errno)));
  }
  std::string line;
  std::int64_t taken = 0;
  for (std::int64_t number = 1; std::getline(file, line); ++number) {
    const std::vector<std::string_view> words = words_of(line);
    if (words.empty()) continue;
    try {
      if (words.size() != count)
        throw failure(fmt::format("{} words, not {}", words.size(), count));
      take(words);
    } catch (const Error& error) {
      throw failure(fmt::format("{}:{}: {}", path.string(), number, error.what()));
    }
    ++taken;
  }
  if (taken == 0) throw failure(fmt::format("{}: is empty", path.string()));
}

}  // namespace

std::vector<DetectedFace> read_detected_faces(const std::filesystem::path& file) {
  std::vector<DetectedFace> faces;
  for_each_line(file, 12, [&](const auto& words) {
    DetectedFace face{std::string(words[0]), {}, finite(words[11])};
    for (std::size_t i = 0; i < face.points.size(); ++i) {
      face.points[i] = {finite(words[1 + 2 * i]), finite(words[2 + 2 * i])};
    }
    faces.push_back(std::move(face));
  });
  return faces;
}

std::vector<TemplateFace> read_template_faces(const std::filesystem::path& file) {
  std::vector<TemplateFace> faces;
  for_each_line(file, 3, [&](const auto& words) {
    faces.push_back(
        {std::string(words[0]), number<std::int64_t>(words[1]), number<std::int64_t>(words[2])});
  });
  return faces;
}

std::vector<TemplatePair> read_template_pairs(const std::filesystem::path& file) {
  std::vector<TemplatePair> pairs;
  for_each_line(file, 3, [&](const auto& words) {
    if (words[2] != "0" && words[2] != "1")
      throw failure("a pair is 0 (different) or 1 (the same)");
    pairs.push_back(
        {number<std::int64_t>(words[0]), number<std::int64_t>(words[1]), words[2] == "1"});
  });
  return pairs;
}

void TemplatePool::add(const TemplateFace& face, std::span<const double> feature, double weight) {
  if (!medias_.empty() && medias_.begin()->second.sum.size() != feature.size()) {
    throw usage_error("the features of templates are not as wide as each other");
  }
  Media& media = medias_[{face.template_id, face.media_id}];
  media.sum.resize(feature.size());
  for (std::size_t i = 0; i < feature.size(); ++i) media.sum[i] += weight * feature[i];
  ++media.pictures;
}

std::map<std::int64_t, std::vector<double>> TemplatePool::templates() const {
  std::map<std::int64_t, std::vector<double>> result;
  for (const auto& [key, media] : medias_) {
    std::vector<double>& pooled = result[key.first];
    pooled.resize(media.sum.size());
    for (std::size_t i = 0; i < pooled.size(); ++i) {
      pooled[i] += media.sum[i] / static_cast<double>(media.pictures);
    }
  }
  for (auto& [id, pooled] : result) normalize(pooled);
  return result;
}

std::vector<double> template_scores(const std::map<std::int64_t, std::vector<double>>& templates,
                                    const std::vector<TemplatePair>& pairs) {
  std::vector<double> scores;
  scores.reserve(pairs.size());
  for (const TemplatePair& pair : pairs) {
    const auto first = templates.find(pair.first);
    const auto second = templates.find(pair.second);
    const bool known = first != templates.end() && second != templates.end();
    scores.push_back(known ? dot(first->second, second->second)
                           : std::numeric_limits<double>::quiet_NaN());
  }
  return scores;
}

}  // namespace facet
