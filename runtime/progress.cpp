#include "runtime/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace facet {
namespace {

constexpr std::chrono::milliseconds kBarInterval(100);
constexpr std::chrono::seconds kLineInterval(5);

/// Columns of the terminal on standard error.
std::size_t terminal_width() {
  winsize size = {};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

std::string clock_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::ceil(std::max(seconds, 0.0)));
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

Progress::Progress(std::string title, std::int64_t total, std::string unit, std::int64_t done)
    : title_(std::move(title)),
      unit_(std::move(unit)),
      total_(total),
      done_(done),
      done_before_(done),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      next_(start_ + (terminal_ ? Clock::duration(kBarInterval) : Clock::duration(kLineInterval))) {
  if (terminal_) show();
}

Progress::~Progress() {
  if (terminal_ && !finished_) std::fputc('\n', stderr);
}

void Progress::advance(std::int64_t count) {
  done_ += count;
  const Clock::time_point now = Clock::now();
  if (now < next_) return;
  next_ = now + (terminal_ ? Clock::duration(kBarInterval) : Clock::duration(kLineInterval));
  show();
}

void Progress::note(const std::string& text) {
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
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const std::int64_t here = done_ - done_before_;
  const double rate = seconds > 0 ? static_cast<double>(here) / seconds : 0;
  std::string state = fmt::format("{}/{} {}", done_, total_, unit_);
  if (here > 0) state += fmt::format(", {:.1f} {}/s", rate, unit_);
  if (here > 0 && done_ < total_) {
    state += ", ETA " + clock_text(static_cast<double>(total_ - done_) / rate);
  } else if (done_ >= total_) {
    state += ", took " + clock_text(seconds);
  }
  if (!status_.empty()) state += ", " + status_;
  if (!terminal_) {
    fmt::print(stderr, "{}: {}\n", title_, state);
    return;
  }
  constexpr std::size_t kWidth = 30;
  const double part = total_ > 0 ? static_cast<double>(done_) / static_cast<double>(total_) : 1;
  const auto filled = static_cast<std::size_t>(std::clamp(part, 0.0, 1.0) * kWidth);
  std::string line = fmt::format("{} [{}{}] {}", title_, std::string(filled, '='),
                                 std::string(kWidth - filled, ' '), state);
  // A line that wraps could not be overwritten: without the bar where it does not fit.
  const std::size_t most = terminal_width() - 1;
  if (line.size() > most) line = fmt::format("{} {}", title_, state).substr(0, most);
  const std::size_t width = line.size();
  line.resize(std::max(width, shown_width_), ' ');  // what stood there before goes
  shown_width_ = width;
  fmt::print(stderr, "\r{}", line);
  std::fflush(stderr);
}

}  // namespace facet
