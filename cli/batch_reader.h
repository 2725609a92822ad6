#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cli/image_source.h"
#include "runtime/formats/preprocess.h"

namespace facet::cli {

/// Pictures as a network takes them. The tensor always has the full batch; rows behind the last
/// picture are zeros, so that one program serves every batch.
struct PictureBatch {
  HostTensor pixels;                   ///< f32 [batch, 3, height, width]
  std::vector<std::int64_t> numbers;   ///< of the pictures, in order
  std::vector<std::string> problems;   ///< why pictures were left out
};

/// Decodes and preprocesses ahead on a thread of its own, while its owner computes.
class BatchReader {
 public:
  /// `source` must outlive the reader. With `skip_bad`, pictures that cannot be read are left out
  /// and reported; otherwise the first one ends the reading.
  BatchReader(const ImageSource& source, const Preprocess& settings, std::int64_t batch,
              bool skip_bad);
  ~BatchReader();
  BatchReader(const BatchReader&) = delete;
  BatchReader& operator=(const BatchReader&) = delete;

  /// The next batch, in order; nothing after the last. Throws what the reading thread met.
  std::optional<PictureBatch> next();

 private:
  void read_all();
  PictureBatch read_batch(std::int64_t& position);
  bool deliver(PictureBatch batch);

  static constexpr std::size_t kAhead = 2;  // batches that wait at most

  const ImageSource& source_;
  const Preprocess settings_;
  const std::int64_t batch_;
  const bool skip_bad_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<PictureBatch> ready_;
  std::exception_ptr error_;
  bool ended_ = false;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace facet::cli
