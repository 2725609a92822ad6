#include "cli/bench_head.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "backends/cpu/peaks.h"
#include "cli/common.h"
#include "cli/resident_memory.h"
#include "ir/dsl.h"
#include "ir/error.h"
#include "runtime/progress.h"
#include "runtime/report.h"
#include "runtime/threads.h"
#include "training/random.h"
#include "training/stepper.h"

namespace facet::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 5;
constexpr double kRate = 0.1;

struct HeadSize {
  std::int64_t classes = 0;
  std::int64_t width = 512;
};

HeadSize parse_size(const std::string& text) {
  HeadSize size;
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, size.classes);
  bool good = first.ec == std::errc();
  if (good && first.ptr != end) {
    const auto second = std::from_chars(first.ptr + 1, end, size.width);
    good = *first.ptr == 'x' && second.ec == std::errc() && second.ptr == end;
  }
  if (good && size.classes > 0 && size.width > 0) return size;
  throw usage_error(
      fmt::format("--head takes CLASSES or CLASSESxD, such as 1000000x512, not '{}'", text));
}

/// As little as a head needs before it: an embedding that has parameters, so that its gradient is
/// computed.
Graph embedding_network(std::int64_t width) {
  Network network("head");
  const Tensor x = network.input("input", {"N", 3, 1, 1});
  const Scope root = network.root();
  network.output("embedding",
                 root.batch_norm("features", root.linear("fc", flatten(x), {.out = width})));
  return network.finish();
}

/// One head while it is measured.
class Head {
 public:
  Head(const HeadBench& bench, const HeadSize& size, double sample_rate)
      : classes_(size.classes), batch_(bench.batch) {
    Recipe recipe;
    recipe.model.name = "head";
    recipe.loss.kind = LossRecipe::Kind::arcface;
    recipe.partial_fc.sample_rate = sample_rate;
    recipe.partial_fc.version =
        bench.version == "v1" ? PartialFcRecipe::Version::v1 : PartialFcRecipe::Version::v2;
    recipe.optimizer.weight_decay = 5e-4;
    recipe.training.batch = bench.batch;
    recipe.training.precision = bench.precision;
    recipe.training.on_nan = TrainingRecipe::OnNan::skip;
    centers_ = step_options(recipe, classes_).loss.sampled;
    if (centers_ == 0) centers_ = classes_;
    stepper_ = std::make_unique<Stepper>(embedding_network(size.width), recipe, classes_);
    for (int i = 0; i < 3; ++i) step();
    const Clock::time_point start = Clock::now();
    step();
    estimate_ = seconds_since(start);
    peak_rss_ = resident_memory().peak;
  }

  void measure(double seconds) {
    const auto repeats =
        static_cast<int>(std::clamp(seconds / std::max(estimate_, 1e-6), 1.0, 1e5));
    step();  // finds the caches full of another head's data
    for (int i = 0; i < repeats; ++i) {
      const Batch batch = make_batch();
      const Clock::time_point start = Clock::now();
      apply(batch);
      times_.push_back(seconds_since(start) * 1e3);
    }
  }

  std::int64_t classes() const { return classes_; }
  std::int64_t centers() const { return centers_; }
  std::int64_t peak_rss() const { return peak_rss_; }
  const Stepper& stepper() const { return *stepper_; }
  double fastest() const { return *std::ranges::min_element(times_); }
  double median() const {
    std::vector<double> sorted = times_;
    std::ranges::sort(sorted);
    return sorted[sorted.size() / 2];
  }
  /// Operands and results of all kernels, each once.
  double moved_bytes() const {
    double bytes = 0;
    for (const StepInfo& step : stepper_->program().steps) bytes += step.bytes;
    return bytes;
  }

 private:
  static double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  Batch make_batch() {
    Random random(1, static_cast<std::uint64_t>(taken_++));
    Batch batch;
    batch.pixels = HostTensor(DType::f32, {batch_, 3, 1, 1});
    batch.labels = HostTensor(DType::i64, {batch_});
    for (std::int64_t i = 0; i < batch_ * 3; ++i) {
      batch.pixels.as_mutable<float>()[i] = static_cast<float>(random.normal());
    }
    for (std::int64_t i = 0; i < batch_; ++i) {
      batch.labels.as_mutable<std::int64_t>()[i] = random.integer(classes_);
    }
    return batch;
  }

  void step() { apply(make_batch()); }

  void apply(const Batch& batch) {
    const StepResult result = stepper_->step({&batch, 1}, kRate);
    if (!result.applied) throw failure("the loss of the head is not finite");
  }

  std::int64_t classes_;
  std::int64_t batch_;
  std::int64_t centers_ = 0;
  std::int64_t taken_ = 0;
  std::int64_t peak_rss_ = 0;
  double estimate_ = 0;  ///< seconds
  std::vector<double> times_;
  std::unique_ptr<Stepper> stepper_;
};

/// What no head can do without: the rows and their velocity read and written once, three products.
struct Floor {
  double bytes = 0;
  double flops = 0;
  double milliseconds(const Ceilings& ceilings) const {
    return 1e3 * std::max(bytes / ceilings.bandwidth_bytes, flops / ceilings.f32_flops);
  }
};

Floor floor_of(const Head& head, std::int64_t batch, std::int64_t width) {
  const double elements = static_cast<double>(head.centers()) * static_cast<double>(width);
  return {4 * elements * sizeof(float), 6 * elements * static_cast<double>(batch)};
}

std::string row_text(const Head& head, const Floor& floor, const Ceilings& ceilings) {
  const ProgramInfo& program = head.stepper().program();
  return fmt::format(
      "{:>10} {:>10} {:>10.1f} {:>10.1f} {:>10.1f} {:>10} {:>10} {:>10} {:>10} {:>10}\n",
      head.classes(), head.centers(), head.median(), head.fastest(), floor.milliseconds(ceilings),
      human_bytes(head.moved_bytes()), human_bytes(floor.bytes),
      human_bytes(static_cast<double>(program.arena_bytes)),
      human_bytes(static_cast<double>(head.stepper().state_bytes())),
      head.peak_rss() > 0 ? human_bytes(static_cast<double>(head.peak_rss())) : "-");
}

nlohmann::ordered_json row_json(const Head& head, const Floor& floor, const Ceilings& ceilings) {
  return {{"classes", head.classes()},
          {"centers", head.centers()},
          {"median_ms", head.median()},
          {"min_ms", head.fastest()},
          {"floor_ms", floor.milliseconds(ceilings)},
          {"moved_bytes", head.moved_bytes()},
          {"floor_bytes", floor.bytes},
          {"flops", floor.flops},
          {"arena_bytes", head.stepper().program().arena_bytes},
          {"state_bytes", head.stepper().state_bytes()},
          {"peak_rss_bytes", head.peak_rss()}};
}

/// Every kernel of the step with what it moves: where passes over [batch, centres] are.
std::string kernels_text(const Head& head) {
  std::string text = fmt::format("kernels of the step over {} centres\n", head.centers());
  for (const StepInfo& step : head.stepper().program().steps) {
    text += fmt::format("  {:<20} {:<26} {:<28} {:>10} {:>9.2f} GFLOP\n", step.kind, step.scope,
                        step.result_type, human_bytes(step.bytes), step.flops * 1e-9);
  }
  return text;
}

void check(const HeadBench& bench) {
  if (!(bench.sample_rate > 0 && bench.sample_rate <= 1)) {
    throw usage_error("--sample-rate must be above 0 and at most 1");
  }
  if (bench.version != "v1" && bench.version != "v2") {
    throw usage_error("--partial-fc takes v1 or v2");
  }
}

}  // namespace

void bench_head(const HeadBench& bench) {
  check(bench);
  const HeadSize size = parse_size(bench.head);
  std::vector<Head> heads;
  heads.emplace_back(bench, size, bench.sample_rate);
  if (bench.sample_rate < 1) {
    heads.emplace_back(bench, HeadSize{heads[0].centers(), size.width}, 1);
  }
  Progress progress("bench", kRounds * static_cast<std::int64_t>(heads.size()), "slices");
  for (int round = 0; round < kRounds; ++round) {
    for (Head& head : heads) {
      head.measure(bench.seconds / kRounds);
      progress.advance();
    }
  }
  progress.finish();
  const Ceilings ceilings = measure_ceilings(thread_count());
  std::string text = fmt::format(
      "{} threads, {}, batch {}, width {}; {:.1f} GFLOP/s f32, {:.1f} GB/s in this run\n"
      "{:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}\n",
      thread_count(), to_string(bench.precision), bench.batch, size.width,
      ceilings.f32_flops * 1e-9, ceilings.bandwidth_bytes * 1e-9, "classes", "centres", "median ms",
      "min ms", "floor ms", "moved", "floor", "arena", "state", "peak RSS");
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Head& head : heads) {
    const Floor floor = floor_of(head, bench.batch, size.width);
    text += row_text(head, floor, ceilings);
    rows.push_back(row_json(head, floor, ceilings));
  }
  if (heads.size() == 2) {
    text += fmt::format("{} of {} centres ({}) take {:.2f} x the time of a full head of as many\n",
                        heads[0].centers(), heads[0].classes(), bench.version,
                        heads[0].median() / heads[1].median());
  }
  if (bench.profile) {
    for (const Head& head : heads) text += kernels_text(head);
  }
  write_text("", text);
  if (!bench.json.empty()) write_text(bench.json, rows.dump(2) + "\n");
}

}  // namespace facet::cli
