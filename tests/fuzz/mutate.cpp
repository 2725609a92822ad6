#include "tests/fuzz/mutate.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include "runtime/splitmix.h"
#include "tests/fuzz/coverage.h"

namespace facet::fuzz {
namespace {

/// Sizes and counts at which code goes wrong.
constexpr std::array<std::uint64_t, 14> kNumbers = {
    0,          1,          0x7F,       0x80,       0xFF,       0x7FFF,     0xFFFF,
    0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1ULL << 40, 1ULL << 60, ~0ULL >> 1, ~0ULL};
constexpr std::array<std::string_view, 6> kWords = {
    "1152921504606846976", "-1", "18446744073709551615", "9223372036854775807", "1e999", "nan"};

}  // namespace

std::uint64_t Mutator::next() { return splitmix64(state_++, 0); }

std::string Mutator::make(const std::vector<std::string>& corpus) {
  std::string text = corpus[below(corpus.size())];
  for (std::size_t changes = 1 + below(4); changes > 0; --changes) change(text, corpus);
  if (text.size() > longest_) text.resize(longest_);
  return text;
}

void Mutator::change(std::string& text, const std::vector<std::string>& corpus) {
  const std::size_t at = below(text.size() + 1);
  switch (text.empty() ? 5 : below(11)) {
    case 0:
      text[at % text.size()] ^= static_cast<char>(1U << below(8));
      break;
    case 1:
      text[at % text.size()] = static_cast<char>(next());
      break;
    case 2:
      overwrite(text, kNumbers[below(kNumbers.size())]);
      break;
    case 3:
      overwrite(text, compared()[below(compared().size())]);
      break;
    case 4:
      text.erase(at, 1 + below(1 + below(64)));
      break;
    case 5:
      text.insert(at, 1 + below(8), static_cast<char>(next()));
      break;
    case 6:
      text.resize(at);
      break;
    case 7:
      copy_within(text);
      break;
    case 8:
      splice(text, corpus[below(corpus.size())]);
      break;
    case 9:
      text.insert(at, kWords[below(kWords.size())]);
      break;
    default: {
      // A digit becomes another: numbers of texts keep being numbers.
      const auto digit = std::find_if(text.begin() + static_cast<std::ptrdiff_t>(at), text.end(),
                                      [](unsigned char c) { return std::isdigit(c) != 0; });
      if (digit != text.end()) *digit = static_cast<char>('0' + below(10));
    }
  }
}

/// The low bytes of `value` at any place, little- or big-endian.
void Mutator::overwrite(std::string& text, std::uint64_t value) {
  const std::size_t width = std::min<std::size_t>(std::size_t{1} << below(4), text.size());
  const std::size_t at = below(text.size() - width + 1);
  const bool big = below(4) == 0;
  for (std::size_t i = 0; i < width; ++i) {
    text[at + (big ? width - 1 - i : i)] = static_cast<char>(value >> (8 * i));
  }
}

void Mutator::copy_within(std::string& text) {
  const std::size_t from = below(text.size());
  const std::string part = text.substr(from, 1 + below(64));
  text.insert(below(text.size() + 1), part);
}

void Mutator::splice(std::string& text, const std::string& other) {
  if (other.empty()) return;
  text.resize(below(text.size() + 1));
  text += other.substr(below(other.size()));
}

}  // namespace facet::fuzz
