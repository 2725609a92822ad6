#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace facet {

/// How far a long task is, on standard error: a bar with rate and remaining time where that is a
/// terminal, a plain line every few seconds where it is a file. One thread uses it.
class Progress {
 public:
  /// `unit` is what is counted, "images". `done` of them were done before, in no time of this task.
  /// A `quiet` one says nothing.
  Progress(std::string title, std::int64_t total, std::string unit, std::int64_t done = 0,
           bool quiet = false);
  /// Ends the line of a bar that was left unfinished.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `detail` is shown behind rate and remaining time until the next one: "loss 0.41".
  void advance(std::int64_t count = 1, std::string detail = {});
  /// Says something on a line of its own without tearing the bar.
  void note(const std::string& text);
  /// Shows the last state.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  void show();
  void erase();

  std::string title_;
  std::string unit_;
  std::int64_t total_;
  std::int64_t before_;
  std::int64_t done_;
  std::string detail_;
  bool quiet_;
  bool terminal_;
  bool finished_ = false;
  std::size_t shown_width_ = 0;
  Clock::time_point start_;
  Clock::time_point next_;
};

/// "0:07", "12:34", "1:02:03".
std::string clock_text(double seconds);

}  // namespace facet
