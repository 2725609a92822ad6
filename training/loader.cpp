#include "training/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <span>
#include <utility>

#include "ir/error.h"
#include "training/cut_mix.h"

namespace facet {
namespace {

constexpr std::int64_t kChunk = 4;  // slots a thread takes at a time
constexpr std::int64_t kMostReplacements =
    100;  // a folder that is gone must not be tried to its end
// The draws for a batch are none of any picture.
constexpr std::uint64_t kBatchItem = std::uint64_t{1} << 63;

void check(const LoaderOptions& options) {
  if (options.batch < 1) throw usage_error(fmt::format("a batch of {} pictures", options.batch));
  if (options.threads < 1 || options.threads > 1024) {
    throw usage_error(fmt::format("{} loader threads: give 1 to 1024", options.threads));
  }
  if (options.shards < 1 || options.shard < 0 || options.shard >= options.shards) {
    throw usage_error(fmt::format("shard {} of {}: there are the shards 0 to {}", options.shard,
                                  options.shards, options.shards - 1));
  }
  if (options.first_epoch < 0 || options.first_iteration < 0) {
    throw usage_error("a loader cannot begin before the first batch");
  }
}

/// The rows of `tensor` whose `filled` is set.
HostTensor rows_of(const HostTensor& tensor, const std::vector<char>& filled) {
  std::vector<std::int64_t> shape = tensor.shape();
  const std::int64_t row = tensor.byte_count() / shape[0];
  shape[0] = std::ranges::count_if(filled, [](char flag) { return flag != 0; });
  HostTensor kept(tensor.dtype(), shape);
  std::byte* to = kept.mutable_data();
  for (std::size_t i = 0; i < filled.size(); ++i) {
    if (filled[i] == 0) continue;
    to = std::copy_n(tensor.data() + static_cast<std::int64_t>(i) * row, row, to);
  }
  return kept;
}

/// The places shard, shard + shards, ... of an order that goes on from its beginning.
std::vector<std::int64_t> part_of(const std::vector<std::int64_t>& order, std::int64_t shard,
                                  std::int64_t shards) {
  const auto size = static_cast<std::int64_t>(order.size());
  std::vector<std::int64_t> part;
  for (std::int64_t i = shard; i < (size + shards - 1) / shards * shards; i += shards) {
    part.push_back(order[static_cast<std::size_t>(i % size)]);
  }
  return part;
}

}  // namespace

Loader::Loader(const Dataset& dataset, const Preprocess& settings, const Augmentation& augmentation,
               const LoaderOptions& options)
    : dataset_(dataset),
      settings_(settings),
      augmentation_(augmentation),
      options_(options),
      bytes_(options.bytes && options.scales.count() == 1 && keeps_bytes(augmentation)),
      straight_(bytes_ && only_mirrors(settings, augmentation)),
      sampler_(dataset, {options.seed, options.shuffle, options.per_class}),
      next_epoch_(options.first_epoch),
      next_iteration_(options.first_iteration) {
  check(options_);
  check_augmentation(augmentation_);
  check_scales(options_.scales);
  pictures_per_epoch_ = (sampler_.size() + options_.shards - 1) / options_.shards;
  batches_per_epoch_ = pictures_per_epoch_ / options_.batch;
  if (!options_.drop_last && pictures_per_epoch_ % options_.batch != 0) ++batches_per_epoch_;
  if (batches_per_epoch_ == 0) {
    throw failure(
        fmt::format("{} pictures do not fill one batch of {}; make the batch smaller or "
                    "keep the last one",
                    pictures_per_epoch_, options_.batch));
  }
  next_epoch_ += next_iteration_ / batches_per_epoch_;
  next_iteration_ %= batches_per_epoch_;
  try {
    for (int i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { run(); });
  } catch (...) {
    stop();
    throw;
  }
}

Loader::~Loader() { stop(); }

void Loader::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

HostTensor Loader::Memory::take(DType dtype, const std::vector<std::int64_t>& shape) {
  for (const auto& tensor : tensors_) {
    if (tensor.use_count() == 1 && tensor->dtype() == dtype && tensor->shape() == shape) {
      std::atomic_thread_fence(
          std::memory_order_acquire);  // what the last holder read, it has read
      return HostTensor(dtype, shape, tensor->data(), tensor);
    }
  }
  const auto tensor = std::make_shared<HostTensor>(dtype, shape);
  tensors_.push_back(tensor);
  return HostTensor(dtype, shape, tensor->data(), tensor);
}

std::optional<Batch> Loader::next() {
  std::unique_ptr<Work> work;
  {
    std::unique_lock lock(mutex_);
    const auto ended = [this] {
      return options_.end_epoch > 0 && next_epoch_ >= options_.end_epoch;
    };
    changed_.wait(lock, [&] {
      if (!ahead_.empty()) return ahead_.front()->done == ahead_.front()->slots();
      return error_ != nullptr || ended();
    });
    if (ahead_.empty() && error_) std::rethrow_exception(error_);
    if (ahead_.empty()) return std::nullopt;
    if (ahead_.front()->error) std::rethrow_exception(ahead_.front()->error);
    work = std::move(ahead_.front());
    ahead_.pop_front();
  }
  changed_.notify_all();
  return finished(*work);
}

/// A thread: takes slots of the first batch that has some left, or begins the next batch.
void Loader::run() {
  Image picture;  // its memory serves one picture after the other
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    Work* work = open_work();
    if (work == nullptr) {
      changed_.wait(lock);
      continue;
    }
    const std::int64_t begin = work->claimed;
    work->claimed = std::min(begin + kChunk, work->slots());
    fill_slots(*work, begin, work->claimed, picture, lock);
    if (work->done == work->slots())
      changed_.notify_all();  // waking for each chunk cost a tenth of decoding
  }
}

/// A batch with slots that nobody has; null if there is nothing to do.
Loader::Work* Loader::open_work() {
  for (const auto& work : ahead_) {
    if (work->claimed < work->slots()) return work.get();
  }
  // Two whole batches wait at most, and enough of small ones to give every thread a chunk.
  const auto most = static_cast<std::size_t>(2 + options_.threads * kChunk / options_.batch);
  if (ahead_.size() >= most || error_) return nullptr;
  try {
    return start_work() ? ahead_.back().get() : nullptr;
  } catch (...) {
    error_ = std::current_exception();
    changed_.notify_all();
    return nullptr;
  }
}

/// False behind the last epoch.
bool Loader::start_work() {
  if (options_.end_epoch > 0 && next_epoch_ >= options_.end_epoch) return false;
  if (!order_) {
    std::vector<std::int64_t> order = sampler_.order(next_epoch_);
    if (options_.shards > 1) order = part_of(order, options_.shard, options_.shards);
    order_ = std::make_shared<const std::vector<std::int64_t>>(std::move(order));
  }
  auto work = std::make_unique<Work>();
  work->order = order_;
  work->first = next_iteration_ * options_.batch;
  const std::int64_t count = std::min(options_.batch, pictures_per_epoch_ - work->first);
  work->filled.resize(static_cast<std::size_t>(count));
  const std::vector<std::int64_t> planes = {count, 3, settings_.height, settings_.width};
  work->batch.pixels = bytes_
                           ? memory_.take(DType::u8, {count, settings_.height, settings_.width, 3})
                           : memory_.take(DType::f32, planes);
  for (std::size_t k = 1; k < options_.scales.count(); ++k) {
    work->batch.scales.push_back(memory_.take(DType::f32, planes));
  }
  work->batch.labels = HostTensor(DType::i64, {count});
  work->batch.items.resize(static_cast<std::size_t>(count));
  work->batch.epoch = next_epoch_;
  work->batch.iteration = next_iteration_;
  ahead_.push_back(std::move(work));
  changed_.notify_all();
  if (++next_iteration_ == batches_per_epoch_) {
    next_iteration_ = 0;
    ++next_epoch_;
    order_.reset();
  }
  return true;
}

/// Works without the lock; what threads share is written with it.
void Loader::fill_slots(Work& work, std::int64_t begin, std::int64_t end, Image& picture,
                        std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  std::vector<BadImage> problems;
  std::exception_ptr error;
  std::int64_t slot = begin;
  try {
    for (; slot < end; ++slot) fill_slot(work, slot, picture, problems);
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  std::ranges::move(problems, std::back_inserter(work.batch.problems));
  if (error && (!work.error || slot < work.error_slot)) {
    work.error = error;
    work.error_slot = slot;
  }
  work.done += end - begin;
}

void Loader::fill_slot(Work& work, std::int64_t slot, Image& picture,
                       std::vector<BadImage>& problems) const {
  const auto place = static_cast<std::size_t>(slot);
  const std::int64_t tries = std::min(kMostReplacements, pictures_per_epoch_);
  for (std::int64_t i = 0; i < tries; ++i) {
    const std::int64_t at = (work.first + slot + i) % pictures_per_epoch_;
    const std::int64_t item = (*work.order)[static_cast<std::size_t>(at)];
    // By class a picture may come again in an epoch; then it must not look the same.
    const std::int64_t draws =
        options_.per_class > 0 ? at * options_.shards + options_.shard : item;
    const Random random(options_.seed, static_cast<std::uint64_t>(work.batch.epoch),
                        static_cast<std::uint64_t>(draws));
    try {
      load_slot(item, random, picture, work, slot);
      work.batch.labels.as_mutable<std::int64_t>()[slot] = dataset_.label(item);
      work.batch.items[place] = item;
      work.filled[place] = 1;
      return;
    } catch (const Error& error) {
      if (options_.on_bad_image == OnBadImage::stop || error.kind() == ErrorKind::usage) throw;
      problems.push_back({item, error.what()});
    }
    if (options_.on_bad_image == OnBadImage::leave_out) return;
  }
  throw failure(fmt::format("none of {} pictures in a row can be read; the last: {}", tries,
                            problems.back().message));
}

void Loader::load_slot(std::int64_t item, Random random, Image& picture, Work& work,
                       std::int64_t slot) const {
  const std::int64_t size = std::int64_t{3} * settings_.height * settings_.width;
  const auto place = [&](auto* first) {
    return std::span(first + slot * size, static_cast<std::size_t>(size));
  };
  HostTensor& pixels = work.batch.pixels;
  if (bytes_) {
    const auto to = place(pixels.as_mutable<std::uint8_t>());
    if (straight_ && dataset_.load_to(item, settings_.width, settings_.height, to)) {
      return mirror_by_chance(to, settings_, augmentation_, random);
    }
    dataset_.load_into(item, picture);
    return augment_away(picture, settings_, augmentation_, random, to);
  }
  dataset_.load_into(item, picture);
  std::vector<std::span<float>> to = {place(pixels.as_mutable<float>())};
  for (HostTensor& scale : work.batch.scales) to.push_back(place(scale.as_mutable<float>()));
  if (to.size() == 1) return augment_away(picture, settings_, augmentation_, random, to[0]);
  augment_scales_into(picture, settings_, augmentation_, options_.scales, random, to);
}

Batch Loader::finished(Work& work) const {
  Batch batch = std::move(work.batch);
  std::ranges::sort(batch.problems, {}, &BadImage::item);
  const auto twice = std::ranges::unique(batch.problems, {}, &BadImage::item);
  batch.problems.erase(twice.begin(), twice.end());
  if (std::ranges::find(work.filled, 0) != work.filled.end()) {
    batch.pixels = rows_of(batch.pixels, work.filled);
    for (HostTensor& scale : batch.scales) scale = rows_of(scale, work.filled);
    batch.labels = rows_of(batch.labels, work.filled);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < work.filled.size(); ++i) {
      if (work.filled[i] != 0) batch.items[kept++] = batch.items[i];
    }
    batch.items.resize(kept);
  }
  if (augmentation_.cut_mix > 0) {
    const Random random(options_.seed, static_cast<std::uint64_t>(batch.epoch),
                        kBatchItem + static_cast<std::uint64_t>(batch.iteration));
    CutMixResult mixed = cut_mix(batch.pixels, batch.labels, augmentation_, random);
    batch.mixed_labels = std::move(mixed.labels);
    batch.own_share = mixed.own;
  }
  return batch;
}

}  // namespace facet
