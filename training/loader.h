#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "ir/host_tensor.h"
#include "training/augment.h"
#include "training/data/dataset.h"
#include "training/sampler.h"
#include "training/scales.h"

namespace facet {

/// What happens to a picture that cannot be read.
enum class OnBadImage {
  stop,      ///< `next` throws what it is
  replace,   ///< its place gets the next readable picture of the epoch's order (training)
  leave_out  ///< its place is closed, the batch becomes smaller (validation)
};

struct LoaderOptions {
  std::int64_t batch = 64;
  std::uint64_t seed = 1;  ///< of the order and of every draw of the augmentation
  bool shuffle = true;     ///< another order in every epoch; false: by number
  std::int64_t per_class = 0;  ///< above 0: pictures by class (SamplerOptions)
  Scales scales = {};      ///< other resolutions that every picture comes in
  bool drop_last = true;   ///< leave out what does not fill the last batch of an epoch
  int threads = 1;         ///< that decode and augment
  /// Pictures stay the bytes that they are decoded to, a quarter of the memory, where the
  /// augmentation allows it (`keeps_bytes`) and there is one scale: for who normalises batches.
  bool bytes = false;
  OnBadImage on_bad_image = OnBadImage::stop;
  std::int64_t first_epoch = 0;      ///< where to begin, for a training that is resumed
  std::int64_t first_iteration = 0;  ///< within that epoch
  std::int64_t end_epoch = 0;        ///< the epoch before which the loader ends; 0: never
  /// For several processes with one seed: this one takes the places shard, shard + shards, ... of an
  /// epoch's order, which begins anew at its end so that every shard has as many (size / shards,
  /// rounded up; a few pictures come twice). Specs of MLA-ArcFace, section 4.4.
  std::int64_t shard = 0;
  std::int64_t shards = 1;
};

struct BadImage {
  std::int64_t item = 0;
  std::string message;
};

/// n = the batch, or less at the end of an epoch without drop_last and where pictures were left out
/// (then it can be 0).
struct Batch {
  HostTensor pixels;                ///< f32 [n, 3, height, width]; as bytes u8 [n, height, width, 3]
  std::vector<HostTensor> scales;   ///< the same pictures for each of LoaderOptions::scales.sizes
  HostTensor labels;                ///< i64 [n]
  std::vector<std::int64_t> items;  ///< [n], in the data set
  std::vector<BadImage> problems;   ///< pictures that were replaced or left out, by number
  std::int64_t epoch = 0;
  std::int64_t iteration = 0;  ///< within the epoch
  /// With CutMix: the loss is own_share * L(labels) + (1 - own_share) * L(mixed_labels). Without it
  /// `mixed_labels` is empty.
  HostTensor mixed_labels;
  double own_share = 1;
};

/// Batches in an order that depends on the seed alone: whatever the number of threads, and wherever
/// it begins, batch (epoch, iteration) holds the same bits. Reads a few batches ahead. One thread
/// may call `next`; the destructor stops and joins the threads.
class Loader {
 public:
  /// `dataset` must outlive the loader. Throws Error(usage) for settings without meaning and
  /// Error(failure) if the data set does not fill one batch and drop_last is set.
  Loader(const Dataset& dataset, const Preprocess& settings, const Augmentation& augmentation,
         const LoaderOptions& options);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  std::int64_t batches_per_epoch() const { return batches_per_epoch_; }
  /// Nothing after the last. Throws what a picture of the batch met (the first in order) if
  /// `on_bad_image` is stop, or if very many in a row cannot be read.
  std::optional<Batch> next();

 private:
  using Order = std::shared_ptr<const std::vector<std::int64_t>>;
  /// Memory of batches that nobody holds any more serves the next ones: fresh pages cost as much as
  /// a tenth of decoding.
  class Memory {
   public:
    /// Not zeroed.
    HostTensor take(DType dtype, const std::vector<std::int64_t>& shape);

   private:
    std::vector<std::shared_ptr<HostTensor>> tensors_;
  };
  /// A batch in the making.
  struct Work {
    Batch batch;
    Order order;
    std::int64_t first = 0;    ///< place of slot 0 in the order
    std::int64_t claimed = 0;  ///< slots that a thread has or had
    std::int64_t done = 0;
    std::vector<char> filled;
    std::int64_t error_slot = 0;
    std::exception_ptr error;  ///< of the lowest slot that has one
    std::int64_t slots() const { return static_cast<std::int64_t>(filled.size()); }
  };

  void run();
  Work* open_work();
  bool start_work();
  void fill_slots(Work& work, std::int64_t begin, std::int64_t end, Image& picture,
                  std::unique_lock<std::mutex>& lock);
  void fill_slot(Work& work, std::int64_t slot, Image& picture,
                 std::vector<BadImage>& problems) const;
  void load_slot(std::int64_t item, Random random, Image& picture, Work& work,
                 std::int64_t slot) const;
  Batch finished(Work& work) const;
  void stop();

  const Dataset& dataset_;
  const Preprocess settings_;
  const Augmentation augmentation_;
  const LoaderOptions options_;
  const bool bytes_;
  const bool straight_;  ///< pictures may be decoded into their place
  const Sampler sampler_;
  std::int64_t pictures_per_epoch_ = 0;  ///< of this shard
  std::int64_t batches_per_epoch_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<Work>> ahead_;  ///< in order; the front one is next
  std::int64_t next_epoch_;                  ///< of the batch after those
  std::int64_t next_iteration_;
  Memory memory_;
  Order order_;               ///< of next_epoch_, once one of its batches is begun
  std::exception_ptr error_;  ///< outside any batch
  bool stopping_ = false;
  std::vector<std::thread> threads_;  // last: they use everything above
};

}  // namespace facet
