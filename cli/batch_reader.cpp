#include "cli/batch_reader.h"

#include <utility>

#include "ir/error.h"

namespace facet::cli {

BatchReader::BatchReader(const ImageSource& source, const Preprocess& settings, std::int64_t batch,
                         bool skip_bad)
    : source_(source), settings_(settings), batch_(batch), skip_bad_(skip_bad) {
  thread_ = std::thread([this] { read_all(); });
}

BatchReader::~BatchReader() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

std::optional<PictureBatch> BatchReader::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !ready_.empty() || ended_; });
  if (!ready_.empty()) {
    PictureBatch batch = std::move(ready_.front());
    ready_.pop_front();
    changed_.notify_all();
    return batch;
  }
  if (error_) std::rethrow_exception(error_);
  return std::nullopt;
}

void BatchReader::read_all() {
  std::exception_ptr error;
  try {
    std::int64_t position = 0;
    while (position < source_.size() && deliver(read_batch(position))) {
    }
  } catch (...) {
    error = std::current_exception();
  }
  {
    const std::lock_guard lock(mutex_);
    error_ = error;
    ended_ = true;
  }
  changed_.notify_all();
}

PictureBatch BatchReader::read_batch(std::int64_t& position) {
  PictureBatch batch;
  batch.pixels = HostTensor(DType::f32, {batch_, 3, settings_.height, settings_.width});
  const std::int64_t size = std::int64_t{3} * settings_.height * settings_.width;
  while (position < source_.size() && static_cast<std::int64_t>(batch.numbers.size()) < batch_) {
    float* to = batch.pixels.as_mutable<float>() +
                static_cast<std::int64_t>(batch.numbers.size()) * size;
    const std::int64_t number = position++;
    try {
      preprocess_into(source_.load(number), settings_, {to, static_cast<std::size_t>(size)});
      batch.numbers.push_back(number);
    } catch (const Error& error) {
      if (!skip_bad_) throw;
      batch.problems.emplace_back(error.what());
    }
  }
  return batch;
}

/// Waits for room. False if nobody wants more.
bool BatchReader::deliver(PictureBatch batch) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ready_.size() < kAhead || stopping_; });
  if (stopping_) return false;
  ready_.push_back(std::move(batch));
  changed_.notify_all();
  return true;
}

}  // namespace facet::cli
