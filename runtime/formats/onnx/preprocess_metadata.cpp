#include "runtime/formats/onnx/preprocess_metadata.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <string>
#include <string_view>

#include "ir/error.h"

namespace facet {
namespace {

const std::string& entry(const Metadata& metadata, const std::string& key) {
  const auto it = metadata.find(key);
  if (it == metadata.end()) throw failure(fmt::format("the model's metadata lacks \"{}\"", key));
  return it->second;
}

[[noreturn]] void meaningless(const std::string& key, const std::string& text) {
  throw failure(fmt::format("the model's metadata has \"{}\" for \"{}\"", text, key));
}

template <class Number>
std::string_view read_number(std::string_view text, Number& number, const std::string& key) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) meaningless(key, std::string(text));
  return text.substr(static_cast<std::size_t>(end - text.data()));
}

int pixels(const Metadata& metadata, const std::string& key) {
  const std::string& text = entry(metadata, key);
  int number = 0;
  if (!read_number(text, number, key).empty() || number < 0) meaningless(key, text);
  return number;
}

std::array<float, 3> three(const Metadata& metadata, const std::string& key) {
  const std::string& text = entry(metadata, key);
  std::array<float, 3> numbers{};
  std::string_view rest = text;
  for (std::size_t i = 0; i < 3; ++i) {
    if (i > 0) {
      if (!rest.starts_with(',')) meaningless(key, text);
      rest.remove_prefix(1);
    }
    rest = read_number(rest, numbers[i], key);
  }
  if (!rest.empty()) meaningless(key, text);
  return numbers;
}

/// Whether the entry is `yes` rather than `no`.
bool choice(const Metadata& metadata, const std::string& key, std::string_view yes,
            std::string_view no) {
  const std::string& text = entry(metadata, key);
  if (text != yes && text != no) meaningless(key, text);
  return text == yes;
}

Filter filter(const Metadata& metadata, const std::string& key) {
  try {
    return parse_filter(entry(metadata, key));
  } catch (const Error&) {
    meaningless(key, entry(metadata, key));
  }
}

}  // namespace

Metadata preprocess_metadata(const Preprocess& settings) {
  const bool crops = settings.fit == Preprocess::Fit::center_crop;
  return {{"preprocess.width", std::to_string(settings.width)},
          {"preprocess.height", std::to_string(settings.height)},
          {"preprocess.fit", crops ? "center_crop" : "stretch"},
          {"preprocess.shorter_side", std::to_string(settings.shorter_side)},
          {"preprocess.filter", std::string(to_string(settings.filter))},
          {"preprocess.mean", fmt::format("{}", fmt::join(settings.mean, ","))},
          {"preprocess.std", fmt::format("{}", fmt::join(settings.std, ","))},
          {"preprocess.channels", settings.bgr ? "BGR" : "RGB"},
          {"preprocess.layout", "NCHW"},
          {"preprocess.value", "(pixel / 255 - mean) / std"}};
}

std::optional<Preprocess> preprocess_of(const Metadata& metadata) {
  if (!metadata.contains("preprocess.mean")) return std::nullopt;
  Preprocess settings;
  settings.width = pixels(metadata, "preprocess.width");
  settings.height = pixels(metadata, "preprocess.height");
  settings.fit = choice(metadata, "preprocess.fit", "center_crop", "stretch")
                     ? Preprocess::Fit::center_crop
                     : Preprocess::Fit::stretch;
  settings.shorter_side = pixels(metadata, "preprocess.shorter_side");
  settings.filter = filter(metadata, "preprocess.filter");
  settings.mean = three(metadata, "preprocess.mean");
  settings.std = three(metadata, "preprocess.std");
  settings.bgr = choice(metadata, "preprocess.channels", "BGR", "RGB");
  return settings;
}

}  // namespace facet
