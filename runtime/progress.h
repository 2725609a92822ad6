#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

namespace facet {

/// How far a long task is, on standard error: a bar with rate and remaining time where that is a
/// terminal, a plain line every few seconds where it is a file. One thread uses it.
class Progress {
 public:
  /// `unit` is what is counted, "images". Of `total`, `done` were done before (by a training that
  /// is resumed, say): rate and remaining time come from what is done here.
  Progress(std::string title, std::int64_t total, std::string unit, std::int64_t done = 0);
  /// Ends the line of a bar that was left unfinished.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(std::int64_t count = 1);
  /// What else is shown behind the numbers from now on, "loss 0.31": on one line.
  void set_status(std::string status) { status_ = std::move(status); }
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
  std::string status_;
  std::int64_t total_;
  std::int64_t done_;
  std::int64_t done_before_;
  bool terminal_;
  bool finished_ = false;
  std::size_t shown_width_ = 0;
  Clock::time_point start_;
  Clock::time_point next_;
};

/// "0:07", "12:34", "1:02:03".
std::string clock_text(double seconds);

}  // namespace facet
