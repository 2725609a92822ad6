#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "backends/cpu/peaks.h"
#include "cli/bench_head.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/resident_memory.h"
#include "cli/training_step.h"
#include "ir/error.h"
#include "runtime/formats/atomic_file.h"
#include "runtime/progress.h"
#include "runtime/report.h"
#include "runtime/threads.h"
#include "runtime/weights.h"

namespace facet::cli {
namespace {

constexpr int kRounds = 5;

struct BenchArguments {
  std::vector<std::string> models;
  std::vector<std::string> settings;
  std::vector<std::string> dims;
  std::vector<std::int64_t> batches = {1};
  std::vector<std::string> precisions = {"f32"};
  CompileArguments compile;  ///< but for its precision
  bool train = false;
  std::string recompute = "none";
  bool profile = false;
  double seconds = 3;
  std::string json;
  HeadBench head;  ///< in place of models
};

/// One line of the table while it is measured.
struct Row {
  std::string model;
  Precision precision = Precision::f32;
  std::int64_t batch = 1;
  std::int64_t program_batch = 1;  ///< 1 for a training step, whose shapes are fixed
  std::shared_ptr<const Executable> executable;
  std::shared_ptr<Context> context;
  double estimate = 0;  ///< milliseconds of a run, before the measurement
  std::int64_t peak_rss = 0;  ///< of the process up to here: compiled, run twice; 0: unknown
  std::vector<double> times;

  const ProgramInfo& program() const { return executable->program(program_batch); }
  double median() const {
    std::vector<double> sorted = times;
    std::ranges::sort(sorted);
    const std::size_t middle = sorted.size() / 2;
    return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }
  double fastest() const { return *std::ranges::min_element(times); }
};

/// 0 where it is not known.
double peak_flops(Precision precision, const Ceilings& ceilings) {
  switch (precision) {
    case Precision::bf16:
      return ceilings.bf16_flops;
    case Precision::f16:
      return ceilings.f16_flops;
    case Precision::tf32:
      return ceilings.tf32_flops;
    default:
      return ceilings.f32_flops;
  }
}

/// Each compute step's plain arithmetic (36 products for 2 x 2 results of a 3 x 3 window) and bytes at
/// the machine's ceilings. Only an algorithm with fewer products, such as Winograd's, gets below.
std::optional<double> floor_ms(const Row& row, const Ceilings& ceilings) {
  const double peak = peak_flops(row.precision, ceilings);
  if (row.executable->options().device == Device::reference || peak == 0) return std::nullopt;
  double seconds = 0;
  for (const StepInfo& step : row.program().steps) {
    if (step.is_compute) seconds += std::max(step.flops / peak, step.bytes / ceilings.bandwidth_bytes);
  }
  return seconds * 1e3;
}

TensorMap weights_to_time(const Model& model) {
  return model.weights.empty() ? trial_weights(model.graph, 0) : model.weights;
}

TensorMap training_weights(const Model& model, const Graph& step) {
  TensorMap weights = trial_weights(step, 0);
  for (const auto& [key, tensor] : model.weights) {
    if (weights.contains(key)) weights[key] = tensor;
  }
  return weights;
}

void warm_up(Row& row) {
  row.context->time(row.program_batch, 1);  // touches all memory
  row.estimate = row.context->time(row.program_batch, 1).front();
  // Not later: finding the machine's ceilings takes memory that is not the network's.
  row.peak_rss = resident_memory().peak;
}

/// All rows, compiled and run once. Batches of a model share its weights.
std::vector<Row> prepare(const BenchArguments& arguments, const CompileOptions& base) {
  std::vector<Row> rows;
  const auto programs = static_cast<std::int64_t>(
      arguments.models.size() * arguments.precisions.size() * arguments.batches.size());
  Progress progress("compile", programs, "programs");
  for (const std::string& name : arguments.models) {
    const Model model = load_model(name, arguments.settings, arguments.dims);
    const TensorMap weights = arguments.train ? TensorMap() : weights_to_time(model);
    for (const std::string& precision : arguments.precisions) {
      CompileOptions options = base;
      options.precision = parse_precision(precision);
      for (const std::int64_t batch : arguments.train ? arguments.batches : std::vector<std::int64_t>()) {
        PassContext context;
        const Graph step = training_step(model, batch, options.precision, context);
        // Given away with the state, which takes their bytes.
        const auto executable = compile(step, training_weights(model, step), options, 1);
        rows.push_back({model.name, options.precision, batch, 1, executable,
                        executable->make_context(executable->take_state()), 0, 0, {}});
        warm_up(rows.back());
        progress.advance();
      }
      if (arguments.train) continue;
      const auto executable = compile(model.graph, weights, options, arguments.batches.front());
      const std::shared_ptr<Context> context = executable->make_context();
      for (const std::int64_t batch : arguments.batches) {
        rows.push_back({model.name, options.precision, batch, batch, executable, context, 0, 0, {}});
        warm_up(rows.back());
        progress.advance();
      }
    }
  }
  progress.finish();
  return rows;
}

/// The rows take turns in short slices, so that whatever else the machine does disturbs all alike.
Ceilings measure(std::vector<Row>& rows, double seconds) {
  Ceilings best;
  const Device device = rows.front().executable->options().device;
  const double slice = seconds * 1e3 / kRounds;
  Progress progress("bench", static_cast<std::int64_t>(rows.size()) * kRounds, "slices");
  for (int round = 0; round < kRounds; ++round) {
    const Ceilings now = device == Device::cuda
                             ? rows.front().executable->measure_ceilings().value_or(Ceilings{})
                             : measure_ceilings(thread_count());
    for (double Ceilings::*const one :
         {&Ceilings::f32_flops, &Ceilings::bf16_flops, &Ceilings::f16_flops, &Ceilings::tf32_flops,
          &Ceilings::bandwidth_bytes}) {
      best.*one = std::max(best.*one, now.*one);
    }
    for (Row& row : rows) {
      const int repeats = static_cast<int>(std::clamp(slice / std::max(row.estimate, 1e-3), 1.0, 1e6));
      // The first run of a slice finds the caches full of another row's data.
      if (repeats > 1) row.context->time(row.program_batch, 1);
      const std::vector<double> times = row.context->time(row.program_batch, repeats);
      row.times.insert(row.times.end(), times.begin(), times.end());
      progress.advance();
    }
  }
  progress.finish();
  return best;
}

/// Something for every input: floats in [-1, 1), a learning rate and labels of 0.
TensorMap sample_inputs(const Row& row) {
  TensorMap inputs;
  for (const Node* input : row.executable->graph().inputs()) {
    const Type& type = input->result_types()[0];
    std::vector<std::int64_t> shape;
    for (const Dim& dim : type.shape) {
      shape.push_back(dim.is_static() ? dim.factor : dim.factor * row.batch);
    }
    HostTensor tensor(type.dtype, shape);
    if (type.dtype == DType::f32 && tensor.element_count() > 1) {
      for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
        tensor.as_mutable<float>()[i] = static_cast<float>(i * 7919 % 2000) / 1000.0F - 1.0F;
      }
    }
    inputs.emplace(input->attributes().text("name"), std::move(tensor));
  }
  return inputs;
}

/// Where the mean time of a few runs goes.
void print_profile(const Row& row) {
  constexpr std::size_t kRuns = 3;
  const TensorMap inputs = sample_inputs(row);
  std::vector<std::vector<ProfileRow>> profiles(kRuns);
  double total = 0;
  for (auto& rows : profiles) {
    row.context->profile(inputs, rows);
    for (const ProfileRow& step : rows) total += step.milliseconds;
  }
  write_text("", fmt::format("{} {} batch {}, mean of {} runs\n", row.model, to_string(row.precision),
                             row.batch, kRuns) +
                     profile_text(row.program(), average(profiles), total / kRuns));
}

nlohmann::ordered_json known(std::int64_t bytes) {
  return bytes > 0 ? nlohmann::ordered_json(bytes) : nlohmann::ordered_json();
}

nlohmann::ordered_json measured(double rate) {
  return rate > 0 ? nlohmann::ordered_json(rate) : nlohmann::ordered_json();
}

nlohmann::ordered_json row_json(const Row& row, const Ceilings& ceilings, std::int64_t baseline_rss,
                                bool fusion, const char* mode) {
  const std::optional<double> floor = floor_ms(row, ceilings);
  const ProgramInfo& program = row.program();
  // The oracle prepares nothing.
  const bool prepares = row.executable->options().device != Device::reference;
  const std::int64_t prepared =
      prepares ? program.prepared_bytes : parameter_bytes(row.executable->graph());
  return {{"model", row.model},
          {"device", to_string(row.executable->options().device)},
          {"precision", to_string(row.precision)},
          {"batch", row.batch},
          {"threads", thread_count()},
          {"mode", mode},
          {"execution", row.context->describe_runs(row.program_batch)},
          {"fusion", fusion},
          {"disabled_passes", row.executable->options().disabled_passes},
          {"compile_s", program.compile_seconds},
          {"median_ms", row.median()},
          {"min_ms", row.fastest()},
          {"images_per_s", static_cast<double>(row.batch) * 1e3 / row.median()},
          {"floor_ms", floor ? nlohmann::ordered_json(*floor) : nlohmann::ordered_json()},
          {"peak_bytes", program.arena_bytes},
          {"lower_bound_bytes", program.lower_bound_bytes},
          {"recompute", to_string(row.executable->options().recompute)},
          {"recomputed_steps", program.recomputed.values},
          {"recomputed_flops", program.recomputed.flops},
          {"plain_peak_bytes", known(program.plain_arena_bytes)},
          {"state_bytes", program.state_bytes},
          {"parameter_bytes", prepared},
          {"baseline_rss_bytes", known(baseline_rss)},
          {"peak_rss_bytes", known(row.peak_rss)},
          {"runs", row.times.size()},
          {"peak_flops", measured(peak_flops(row.precision, ceilings))},
          {"bandwidth_bytes", measured(ceilings.bandwidth_bytes)}};
}

/// What the policy did to a training step; empty without one.
std::string recompute_line(const Row& row) {
  const RecomputePolicy& policy = row.executable->options().recompute;
  if (policy.kind == RecomputePolicy::Kind::none) return {};
  const RecomputeReport& done = row.program().recomputed;
  return fmt::format("{} {} batch {}: {}: {} steps run again, {} kept less, {:+.1f} % flops\n", row.model,
                     to_string(row.precision), row.batch, to_string(policy), done.values,
                     human_bytes(static_cast<double>(done.kept_less)),
                     100 * done.flops / std::max(done.all_flops, 1.0));
}

void print_table(const std::vector<Row>& rows, const Ceilings& ceilings, bool fusion) {
  std::string text = fmt::format(
      "{} threads{}; ceilings measured in this run: {:.1f} GFLOP/s f32, {:.1f} GFLOP/s bf16, "
      "{:.1f} GB/s\n{:<20} {:<9} {:>5} {:>10} {:>10} {:>10} {:>9} {:>8} {:>9} {:>10} {:>11}\n",
      thread_count(), fusion ? "" : ", no fusion", ceilings.f32_flops * 1e-9,
      ceilings.bf16_flops * 1e-9, ceilings.bandwidth_bytes * 1e-9, "model", "precision", "batch",
      "median ms", "min ms", "floor ms", "x floor", "images/s", "compile s", "arena", "weights");
  for (const Row& row : rows) {
    const std::optional<double> floor = floor_ms(row, ceilings);
    const ProgramInfo& program = row.program();
    text += fmt::format(
        "{:<20} {:<9} {:>5} {:>10.3f} {:>10.3f} {:>10} {:>9} {:>8.1f} {:>9.3f} {:>10} {:>11}\n",
        row.model, to_string(row.precision), row.batch, row.median(), row.fastest(),
        floor ? fmt::format("{:.3f}", *floor) : "-",
        floor && *floor > 0 ? fmt::format("{:.2f}", row.median() / *floor) : "-",
        static_cast<double>(row.batch) * 1e3 / row.median(), program.compile_seconds,
        human_bytes(static_cast<double>(program.arena_bytes)),
        human_bytes(static_cast<double>(program.prepared_bytes)));
  }
  for (const Row& row : rows) text += recompute_line(row);
  write_text("", text);
}

void run_head(const BenchArguments& arguments) {
  if (!arguments.models.empty() || arguments.batches.size() != 1 || arguments.precisions.size() != 1) {
    throw usage_error("--head is a head alone: give no MODEL, one --batch and one --precision");
  }
  if (arguments.batches[0] < 1 || !(arguments.seconds > 0)) {
    throw usage_error("--batch takes a number from 1 on, --seconds one above 0");
  }
  compile_options(arguments.compile);  // the threads
  HeadBench head = arguments.head;
  head.batch = arguments.batches[0];
  head.precision = parse_precision(arguments.precisions[0]);
  head.seconds = arguments.seconds;
  head.profile = arguments.profile;
  head.json = arguments.json;
  bench_head(head);
}

void run_bench(const BenchArguments& arguments) {
  if (!arguments.head.head.empty()) return run_head(arguments);
  if (arguments.models.empty()) throw usage_error("name a MODEL, or a head by --head");
  CompileOptions options = compile_options(arguments.compile);
  options.recompute = parse_recompute(arguments.recompute, "--recompute");
  if (options.recompute.kind != RecomputePolicy::Kind::none && !arguments.train) {
    throw usage_error("--recompute is for training steps; add --train");
  }
  for (const std::string& precision : arguments.precisions) parse_precision(precision);
  if (std::ranges::any_of(arguments.batches, [](std::int64_t batch) { return batch < 1; })) {
    throw usage_error("--batch takes numbers from 1 on, between commas");
  }
  if (arguments.profile && options.device == Device::reference) {
    throw usage_error("the reference device has no steps to time; profile on --device cpu");
  }
  if (!(arguments.seconds > 0)) throw usage_error("--seconds must be above 0");
  const std::int64_t baseline_rss = resident_memory().current;  // before any network is made
  for (const std::string& name : arguments.models) load_model(name, arguments.settings, arguments.dims);
  // Opened now: nobody wants to learn after minutes that the folder is missing.
  std::optional<AtomicFile> json;
  if (!arguments.json.empty()) json.emplace(arguments.json);
  std::vector<Row> rows = prepare(arguments, options);
  const Ceilings ceilings = measure(rows, arguments.seconds);
  const bool fusion = !arguments.compile.no_fusion && options.device != Device::reference;
  print_table(rows, ceilings, fusion);
  if (arguments.profile) {
    for (const Row& row : rows) print_profile(row);
  }
  if (!json) return;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  const char* mode = arguments.train ? "train" : "run";
  for (const Row& row : rows) list.push_back(row_json(row, ceilings, baseline_rss, fusion, mode));
  json->write(list.dump(2) + "\n");
  json->commit();
}

}  // namespace

void add_bench_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("bench", "Time networks and compare with the machine's ceilings");
  auto arguments = std::make_shared<BenchArguments>();
  command->add_option("models", arguments->models, "Models of the zoo or networks in text form")
      ->type_name("MODEL");
  add_set_option(*command, arguments->settings);
  add_dim_option(*command, arguments->dims);
  command->add_option("--batch", arguments->batches, "Batch sizes, e.g. 1,16")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  command
      ->add_option("--precision", arguments->precisions,
                   "f32, bf16 or f32,bf16; on cuda f16 and tf32, too")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  CompileArguments& compile = arguments->compile;
  add_device_options(*command, compile.device);
  add_threads_option(*command, compile.threads);
  add_pass_arguments(*command, compile);
  command->add_flag("--train", arguments->train,
                    "Time training steps: forward, loss, backward, SGD with momentum");
  command->add_option("--recompute", arguments->recompute,
                      "none, scope:PATTERN,... or budget:SIZE: what a training step computes again in "
                      "its backward pass instead of keeping it, e.g. budget:0.5, budget:800MB")
      ->type_name("POLICY")
      ->capture_default_str();
  command->add_option("--head", arguments->head.head,
                      "In place of MODEL: the training step of an ArcFace head alone")
      ->type_name("CLASSES[xD]");
  command->add_option("--sample-rate", arguments->head.sample_rate,
                      "Part of the head's centres that a step samples; a full head of as many runs beside")
      ->capture_default_str();
  command->add_option("--partial-fc", arguments->head.version,
                      "v1, or v2: momentum and decay of centres that are not sampled")
      ->capture_default_str();
  command->add_flag("--profile", arguments->profile, "Print the time of every step, too");
  command->add_option("--seconds", arguments->seconds, "Time to measure each row")
      ->capture_default_str();
  command->add_option("--json", arguments->json, "Write the rows here, too")->type_name("FILE");
  command->callback([arguments] { run_bench(*arguments); });
}

}  // namespace facet::cli
