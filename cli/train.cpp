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
#include "cli/recipes.h"
#include "ir/error.h"
#include "runtime/formats/atomic_file.h"
#include "runtime/threads.h"
#include "training/recipe_data.h"
#include "training/trainer.h"

namespace facet::cli {
namespace {

struct TrainArguments {
  std::string recipe;
  std::vector<std::string> overrides;
  std::string output;
  bool resume = false;
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
  if (result.best_top1) {
    json["best_top1"] = *result.best_top1;
    json["best_epoch"] = result.best_epoch + 1;
  }
  return json;
}

std::string summary(const TrainArguments& arguments, const TrainingResult& result) {
  std::string text = fmt::format(
      "{}: {} epochs, {} iterations, {:.1f} s, {:.0f} images/s", arguments.output, result.epochs,
      grouped(result.iterations), result.seconds, result.images_per_second);
  if (result.end == TrainingResult::End::patience) text += "; ended by training.patience";
  text += "\n";
  if (result.best_top1) {
    text += fmt::format("best validation: top-1 {:.2f}% in epoch {} (best.safetensors)\n",
                        *result.best_top1 * 100, result.best_epoch + 1);
  }
  if (result.skipped > 0) text += fmt::format("{} steps were skipped: loss not finite\n", result.skipped);
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
  const Recipe recipe = load_recipe(arguments.recipe, arguments.overrides);
  Graph network = recipe_network(recipe);
  const RecipeData data = open_data(recipe.data);
  // Opened now: nobody wants to learn after hours that the folder is missing.
  std::unique_ptr<AtomicFile> json;
  if (!arguments.json.empty()) json = std::make_unique<AtomicFile>(arguments.json);
  TrainerOptions options;
  options.output = arguments.output;
  options.resume = arguments.resume;
  options.quiet = arguments.quiet;
  options.stop_requested = [] { return stop_signal != 0; };
  const StopSignals signals;
  Trainer trainer(std::move(network), recipe, *data.train, data.validation.get(), options);
  const TrainingResult result = trainer.run();
  if (result.end == TrainingResult::End::interrupted) {
    throw failure(fmt::format("stopped by a signal behind iteration {}; the checkpoint is written, the "
                              "same command with --resume goes on", result.iterations));
  }
  write_text("", summary(arguments, result));
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
  add_threads_option(*command, arguments->threads);
  command->add_flag("--quiet", arguments->quiet, "No progress, only the result");
  command->add_option("--json", arguments->json, "Write the result here, too")->type_name("FILE");
  command->callback([arguments] { run_train(*arguments); });
}

}  // namespace facet::cli
