#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/recipes.h"
#include "ir/error.h"
#include "runtime/formats/atomic_file.h"
#include "runtime/formats/safetensors.h"
#include "runtime/progress.h"
#include "runtime/threads.h"
#include "runtime/weights.h"
#include "training/evaluator.h"
#include "training/recipe_data.h"

namespace facet::cli {
namespace {

struct EvalArguments {
  std::string model;
  std::vector<std::string> settings;
  std::string recipe;
  std::vector<std::string> overrides;
  std::string weights;
  std::string head;
  std::string data;
  std::int64_t batch = 0;
  bool skip_bad = false;
  int loader_threads = 1;
  CompileArguments compile;
  std::string json;
};

/// What is evaluated and on what.
struct Task {
  std::string name;
  Graph network;
  LossOptions loss;
  std::unique_ptr<Dataset> data;
  Preprocess preprocess;
  LoaderOptions loading;
};

std::unique_ptr<Dataset> open_validation(const std::string& data) {
  if (data == "fashion_mnist") return open_fashion_mnist(false);
  return open_image_folder(data);
}

/// The recipe's network, way to cut pictures and validation set; --data in place of the latter.
Task task_of_recipe(const EvalArguments& arguments) {
  if (!arguments.settings.empty()) {
    throw usage_error("--set is for a MODEL; with --recipe write --override model.settings.KEY=VALUE");
  }
  const Recipe recipe = load_recipe(arguments.recipe, arguments.overrides);
  Graph network = recipe_network(recipe);
  RecipeData data;
  if (arguments.data.empty()) {
    data = open_data(recipe.data);
  } else if (recipe.data.kind == DataRecipe::Kind::folder && arguments.data != "fashion_mnist") {
    data.train = open_image_folder(recipe.data.train);
    data.validation = open_image_folder(arguments.data, data.train->class_names());
  } else {
    data.validation = open_validation(arguments.data);
  }
  if (!data.validation) {
    throw usage_error(fmt::format("recipe '{}' has no validation set; name one with --data",
                                  arguments.recipe));
  }
  const std::int64_t classes = (data.train ? data.train : data.validation)->class_count();
  const PictureInput input = picture_input(network);
  return {recipe.model.name, std::move(network), loss_options(recipe, classes),
          std::move(data.validation), preprocess_of(recipe.data, input.height, input.width),
          validation_loader(recipe)};
}

Task task_of_model(const EvalArguments& arguments) {
  if (!arguments.overrides.empty()) {
    throw usage_error("--override is for --recipe; use --set KEY=VALUE with a MODEL");
  }
  if (arguments.data.empty()) {
    throw usage_error("--data is missing: fashion_mnist, or a folder with a folder for every class");
  }
  Model model = load_model(arguments.model, arguments.settings);
  picture_input(model.graph);
  LoaderOptions loading;
  loading.shuffle = loading.drop_last = false;
  loading.end_epoch = 1;
  return {model.name, std::move(model.graph), {}, open_validation(arguments.data),
          model.preprocess.value(), loading};
}

Task make_task(const EvalArguments& arguments) {
  if (arguments.model.empty() == arguments.recipe.empty()) {
    throw usage_error("name a MODEL or a --recipe, one of the two");
  }
  Task task = arguments.recipe.empty() ? task_of_model(arguments) : task_of_recipe(arguments);
  if (arguments.batch != 0) task.loading.batch = arguments.batch;
  task.loading.threads = arguments.loader_threads;
  task.loading.on_bad_image = arguments.skip_bad ? OnBadImage::leave_out : OnBadImage::stop;
  return task;
}

/// The network's weights, with those of the head that margin losses train.
TensorMap read_weights(const EvalArguments& arguments, const Task& task, const Graph& logits) {
  TensorMap weights = resolve_weights(task.network, arguments.weights);
  std::vector<std::string> missing;
  for (const Parameter& parameter : logits.parameters()) {
    if (!weights.contains(parameter.key)) missing.push_back(parameter.key);
  }
  if (missing.empty()) return weights;
  if (arguments.head.empty()) {
    throw usage_error(fmt::format("the recipe's loss compares with centres of the classes ('{}'), which "
                                  "the weights lack; give --head head.safetensors or "
                                  "best_head.safetensors of the training", missing.front()));
  }
  const SafetensorsFile file = read_safetensors(arguments.head);
  for (const std::string& key : missing) weights.emplace(key, file.at(key));
  return weights;
}

void report(const EvalArguments& arguments, const Task& task, const CompileOptions& options,
            const Evaluation& result) {
  const double rate = static_cast<double>(result.pictures) / result.seconds;
  write_text("", fmt::format("{}, {}: {} images, loss {:.4f}, top-1 {:.2f}%, top-5 {:.2f}%, {:.0f} "
                             "images/s\n", task.name, to_string(options.precision),
                             grouped(result.pictures), result.loss, result.top1 * 100,
                             result.top5 * 100, rate));
  if (arguments.json.empty()) return;
  const nlohmann::ordered_json json = {{"model", task.name},
                                       {"weights", arguments.weights},
                                       {"device", to_string(options.device)},
                                       {"precision", to_string(options.precision)},
                                       {"threads", thread_count()},
                                       {"images", result.pictures},
                                       {"left_out", result.left_out},
                                       {"loss", result.loss},
                                       {"top1", result.top1},
                                       {"top5", result.top5},
                                       {"images_per_s", rate}};
  write_text(arguments.json, json.dump(2) + "\n");
}

void run_eval(const EvalArguments& arguments) {
  if (arguments.batch < 0) throw usage_error("--batch takes a number from 1 on");
  const CompileOptions options = compile_options(arguments.compile);
  const Task task = make_task(arguments);
  const Graph logits = logits_network(task.network, task.loss);
  const TensorMap weights = read_weights(arguments, task, logits);
  Progress progress("eval", task.data->size(), "images");
  const Evaluation result =
      evaluate_network(logits, logits_scale(task.loss), weights, options, *task.data,
                       task.preprocess, task.loading, [&](std::int64_t count) {
                         progress.advance(count);
                         return true;
                       });
  progress.finish();
  if (result.left_out > 0) {
    fmt::print(stderr, "{} pictures cannot be read and were left out; the first:\n", result.left_out);
    for (const std::string& problem : result.problems) fmt::print(stderr, "  {}\n", problem);
  }
  report(arguments, task, options, result);
}

}  // namespace

void add_eval_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("eval", "Loss and accuracy of a network on labelled pictures");
  auto arguments = std::make_shared<EvalArguments>();
  command->add_option("model", arguments->model, "A model of the zoo, or a network in text form (.ir)")
      ->type_name("MODEL|FILE.ir|FILE.onnx");
  add_set_option(*command, arguments->settings);
  command->add_option("--recipe", arguments->recipe,
                      "In place of MODEL: network, loss, pictures and validation set of this recipe")
      ->type_name("RECIPE");
  command->add_option("--override", arguments->overrides, "A field that wins over the recipe's")
      ->type_name("SECTION.FIELD=VALUE")
      ->allow_extra_args(false);
  command->add_option("--weights", arguments->weights, "The module's state_dict")
      ->required()
      ->type_name("FILE.safetensors|random:SEED");
  command->add_option("--head", arguments->head, "Centres of the classes that a margin loss trained")
      ->type_name("FILE.safetensors");
  command->add_option("--data", arguments->data,
                      "fashion_mnist (its test set), or a folder with a folder for every class")
      ->type_name("fashion_mnist|FOLDER");
  command->add_option("--batch", arguments->batch, "Pictures at a time (default: the recipe's, 64)")
      ->type_name("N");
  command->add_flag("--skip-bad", arguments->skip_bad,
                    "Leave pictures out that cannot be read, with a count, instead of ending");
  command->add_option("--loader-threads", arguments->loader_threads, "Threads that decode")
      ->capture_default_str();
  add_compile_arguments(*command, arguments->compile);
  command->add_option("--json", arguments->json, "Write the result here, too")->type_name("FILE");
  command->callback([arguments] { run_eval(*arguments); });
}

}  // namespace facet::cli
