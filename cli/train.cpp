#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/protocol_report.h"
#include "cli/recipes.h"
#include "ir/error.h"
#include "runtime/formats/atomic_file.h"
#include "runtime/threads.h"
#include "training/evaluation/open_sets.h"
#include "training/recipe_data.h"
#include "training/trainer.h"

namespace facet::cli {
namespace {

struct TrainArguments {
  std::string recipe;
  std::vector<std::string> overrides;
  std::string output;
  bool resume = false;
  DeviceArguments device;
  int threads = 0;
  bool quiet = false;
  std::string json;
};

volatile std::sig_atomic_t stop_signal = 0;

/// While it lives the first Ctrl-C (or SIGTERM) is a request to stop; the second ends the program.
class StopSignals {
 public:
  StopSignals() {
    struct sigaction action = {};
    action.sa_handler = [](int signal) { stop_signal = signal; };
    action.sa_flags = SA_RESETHAND | SA_RESTART;
    ::sigaction(SIGINT, &action, &before_[0]);
    ::sigaction(SIGTERM, &action, &before_[1]);
  }
  ~StopSignals() {
    ::sigaction(SIGINT, &before_[0], nullptr);
    ::sigaction(SIGTERM, &before_[1], nullptr);
  }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

 private:
  struct sigaction before_[2] = {};
};

nlohmann::ordered_json evaluation_json(const Evaluation& evaluation) {
  return {{"loss", evaluation.loss},
          {"top1", evaluation.top1},
          {"top5", evaluation.top5},
          {"images", evaluation.pictures},
          {"left_out", evaluation.left_out}};
}

nlohmann::ordered_json result_json(const TrainArguments& arguments, const Recipe& recipe,
                                   const TrainingResult& result) {
  nlohmann::ordered_json json = {
      {"recipe", arguments.recipe},
      {"model", recipe.model.name},
      {"output", arguments.output},
      {"device", arguments.device.name},
      {"precision", to_string(recipe.training.precision)},
      {"threads", thread_count()},
      {"ended_by", result.end == TrainingResult::End::patience ? "patience" : "epochs"},
      {"iterations", result.iterations},
      {"epochs", result.epochs},
      {"seconds", result.seconds},
      {"images_per_s", result.images_per_second},
      {"arena_bytes", result.arena_bytes},
      {"state_bytes", result.state_bytes},
      {"skipped_steps", result.skipped},
      {"bad_images", result.bad_images},
      {"left_out", result.left_out},
      {"validation_left_out", result.validation_left_out}};
  if (result.validation) json["validation"] = evaluation_json(*result.validation);
  if (result.protocols) json.update(protocol_json(*result.protocols, recipe.evaluation));
  if (result.best) {
    json[fmt::format("best_{}", name_of(recipe.evaluation.metric))] = *result.best;
    json["best_epoch"] = result.best_epoch + 1;
    json["best_iteration"] = result.best_iteration;
  }
  if (!result.steps_to.empty()) json["steps_to"] = nlohmann::ordered_json::array();
  for (const LevelSteps::Row& row : result.steps_to) {
    nlohmann::ordered_json steps = {{"set", row.set}, {"level", row.level}, {"iteration", nullptr}};
    if (row.iteration) steps["iteration"] = *row.iteration;
    json["steps_to"].push_back(steps);
  }
  return json;
}

/// "lfw 80% at 400, 85% at 900, 90% not reached": the first evaluated iteration of each level.
std::string levels_line(const std::vector<LevelSteps::Row>& rows) {
  std::string text;
  std::string set;
  for (const LevelSteps::Row& row : rows) {
    text += row.set != set ? fmt::format("{}{} ", text.empty() ? "" : "; ", row.set) : ", ";
    set = row.set;
    text += row.iteration ? fmt::format("{:g}% at {}", row.level * 100, grouped(*row.iteration))
                          : fmt::format("{:g}% not reached", row.level * 100);
  }
  return text;
}

std::string summary(const TrainArguments& arguments, const Recipe& recipe, const TrainingResult& result) {
  std::string text = fmt::format(
      "{}: {} epochs, {} iterations, {:.1f} s, {:.0f} images/s", arguments.output, result.epochs,
      grouped(result.iterations), result.seconds, result.images_per_second);
  if (result.end == TrainingResult::End::patience) text += "; ended by training.patience";
  text += "\n";
  if (result.best) {
    const bool by_top1 = recipe.evaluation.metric == EvaluationRecipe::Metric::top1;
    text += fmt::format("best validation: {} {:.2f}% in epoch {} (best.safetensors)\n",
                        by_top1 ? "top-1" : name_of(recipe.evaluation.metric), *result.best * 100,
                        result.best_epoch + 1);
  }
  if (result.protocols) text += protocol_table(*result.protocols, recipe.evaluation);
  if (!result.steps_to.empty()) {
    text += fmt::format("iterations to accuracies: {}\n", levels_line(result.steps_to));
  }
  if (result.skipped > 0) {
    text += fmt::format("{} steps were skipped: their loss or gradients were not finite\n",
                        result.skipped);
  }
  if (result.bad_images > 0) {
    text += fmt::format("{} times a picture could not be read and another took its place\n",
                        result.bad_images);
  }
  for (const auto& [set, count] : {std::pair{"training", result.left_out},
                                   std::pair{"validation", result.validation_left_out}}) {
    if (count == 0) continue;
    text += fmt::format("{} entries of the {} set could not be used and were left out\n", count, set);
  }
  return text;
}

void run_train(const TrainArguments& arguments) {
  if (arguments.threads != 0) set_threads(arguments.threads);
  const Device device = chosen_device(arguments.device.name);
  const Recipe recipe = load_recipe(arguments.recipe, arguments.overrides);
  Graph network = recipe_network(recipe);
  const RecipeData data = open_data(recipe.data);
  const ProtocolSets protocols = open_protocol_sets(recipe.evaluation);
  // Opened now: nobody wants to learn after hours that the folder is missing.
  std::unique_ptr<AtomicFile> json;
  if (!arguments.json.empty()) json = std::make_unique<AtomicFile>(arguments.json);
  TrainerOptions options;
  options.output = arguments.output;
  options.resume = arguments.resume;
  options.device = device;
  options.device_memory = static_cast<std::int64_t>(arguments.device.memory);
  options.tune = arguments.device.tune;
  options.quiet = arguments.quiet;
  if (!protocols.empty()) options.protocols = &protocols;
  options.stop_requested = [] { return stop_signal != 0; };
  const StopSignals signals;
  Trainer trainer(std::move(network), recipe, *data.train, data.validation.get(), options);
  const TrainingResult result = trainer.run();
  if (result.end == TrainingResult::End::interrupted) {
    throw failure(fmt::format("stopped by a signal behind iteration {}; the checkpoint is written, the "
                              "same command with --resume goes on", result.iterations));
  }
  write_text("", summary(arguments, recipe, result));
  if (!json) return;
  json->write(result_json(arguments, recipe, result).dump(2) + "\n");
  json->commit();
}

}  // namespace

void add_train_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("train", "Train a network as a recipe says");
  auto arguments = std::make_shared<TrainArguments>();
  command->add_option("recipe", arguments->recipe,
                      "A TOML file or the name of a recipe that comes with Facet")
      ->required()
      ->type_name("RECIPE");
  command->add_option("overrides", arguments->overrides,
                      "Fields that win over the recipe's, such as training.epochs=5")
      ->type_name("SECTION.FIELD=VALUE");
  command->add_option("--output", arguments->output,
                      "Folder for checkpoint, weights, log and recipe; new or empty")
      ->required()
      ->type_name("FOLDER");
  command->add_flag("--resume", arguments->resume,
                    "Go on with the training in the output folder where its checkpoint is");
  add_device_options(*command, arguments->device);
  add_threads_option(*command, arguments->threads);
  command->add_flag("--quiet", arguments->quiet, "No progress, only the result");
  command->add_option("--json", arguments->json, "Write the result here, too")->type_name("FILE");
  command->callback([arguments] { run_train(*arguments); });
}

}  // namespace facet::cli
