#include "training/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace facet {
namespace {

constexpr std::chrono::milliseconds kBarInterval(100);
constexpr std::chrono::seconds kLineInterval(5);

}  // namespace

std::string clock_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::ceil(std::max(seconds, 0.0)));
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

Progress::Progress(std::string title, std::int64_t total, std::string unit, std::int64_t done,
                   bool quiet)
    : title_(std::move(title)),
      unit_(std::move(unit)),
      total_(total),
      before_(done),
      done_(done),
      quiet_(quiet),
      terminal_(!quiet && ::isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      next_(start_ + (terminal_ ? Clock::duration(kBarInterval) : Clock::duration(kLineInterval))) {
  if (terminal_) show();
}

Progress::~Progress() {
  if (terminal_ && !finished_) std::fputc('\n', stderr);
}

void Progress::advance(std::int64_t count, std::string detail) {
  done_ += count;
  if (!detail.empty()) detail_ = std::move(detail);
  const Clock::time_point now = Clock::now();
  if (now < next_) return;
  next_ = now + (terminal_ ? Clock::duration(kBarInterval) : Clock::duration(kLineInterval));
  show();
}

void Progress::note(const std::string& text) {
  if (quiet_) return;
  erase();
  fmt::print(stderr, "{}\n", text);
  if (terminal_) show();
}

void Progress::finish() {
  if (std::exchange(finished_, true)) return;
  show();
  if (terminal_) std::fputc('\n', stderr);
}

void Progress::erase() {
  if (terminal_) fmt::print(stderr, "\r{:{}}\r", "", shown_width_);
}

void Progress::show() {
  if (quiet_) return;
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done_ - before_) / seconds : 0;
  std::string state = fmt::format("{}/{} {}", done_, total_, unit_);
  if (done_ > before_) state += fmt::format(", {:.1f} {}/s", rate, unit_);
  if (done_ > before_ && done_ < total_) {
    state += ", ETA " + clock_text(static_cast<double>(total_ - done_) / rate);
  } else if (done_ >= total_) {
    state += ", took " + clock_text(seconds);
  }
  if (!detail_.empty()) state += ", " + detail_;
  if (!terminal_) {
    fmt::print(stderr, "{}: {}\n", title_, state);
    return;
  }
  constexpr std::size_t kWidth = 30;
  const double part = total_ > 0 ? static_cast<double>(done_) / static_cast<double>(total_) : 1;
  const auto filled = static_cast<std::size_t>(std::clamp(part, 0.0, 1.0) * kWidth);
  std::string line = fmt::format("{} [{}{}] {}", title_, std::string(filled, '='),
                                 std::string(kWidth - filled, ' '), state);
  const std::size_t width = line.size();
  line.resize(std::max(width, shown_width_), ' ');  // what stood there before goes
  shown_width_ = width;
  fmt::print(stderr, "\r{}", line);
  std::fflush(stderr);
}

}  // namespace facet
