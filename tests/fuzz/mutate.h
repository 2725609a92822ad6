#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace facet::fuzz {

/// Random changes of inputs; the same seed makes the same changes.
class Mutator {
 public:
  Mutator(std::uint64_t seed, std::size_t longest) : state_(seed), longest_(longest) {}

  /// One of `corpus` with a few changes, of at most the longest size.
  std::string make(const std::vector<std::string>& corpus);
  /// A number below `limit`, which is not 0.
  std::size_t below(std::size_t limit) { return static_cast<std::size_t>(next() % limit); }

 private:
  std::uint64_t next();
  void change(std::string& text, const std::vector<std::string>& corpus);
  void overwrite(std::string& text, std::uint64_t value);
  void copy_within(std::string& text);
  void splice(std::string& text, const std::string& other);

  std::uint64_t state_;
  std::size_t longest_;
};

}  // namespace facet::fuzz
