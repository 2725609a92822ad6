#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace facet {

/// Who has to act. `usage`: the call was wrong (unknown model, bad option, ill-typed network), the
/// command exits 2. `failure`: the work failed (broken file, full disk, unsupported shape), it exits 1.
enum class ErrorKind { usage, failure };

/// The one exception type of the library. `what()` is one message: what went wrong, where (file,
/// node, line), and what to do. Passes and loaders add where they were with `add_context`.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, std::string message)
      : std::runtime_error(message), kind_(kind), message_(std::move(message)) {}

  ErrorKind kind() const { return kind_; }
  const char* what() const noexcept override { return message_.c_str(); }
  /// Appends ", while <context>", e.g. the pass or file that was worked on. Returns *this to rethrow.
  Error& add_context(std::string_view context) {
    message_.append("\n  while ").append(context);
    return *this;
  }

 private:
  ErrorKind kind_;
  std::string message_;
};

inline Error usage_error(std::string message) { return {ErrorKind::usage, std::move(message)}; }
inline Error failure(std::string message) { return {ErrorKind::failure, std::move(message)}; }

/// "did you mean 'lscnn' or 'lesa'?" for a misspelt `name`, from the nearest of `known` by edit
/// distance (at most three, none further than half the name's length); empty if nothing is near.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& known);

}  // namespace facet
