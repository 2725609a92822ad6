#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/evaluation_page.h"
#include "cli/protocol_report.h"
#include "cli/recipes.h"
#include "ir/error.h"
#include "runtime/formats/atomic_file.h"
#include "runtime/formats/safetensors.h"
#include "runtime/progress.h"
#include "runtime/threads.h"
#include "runtime/weights.h"
#include "training/evaluation/ijb.h"
#include "training/evaluation/open_sets.h"
#include "training/evaluation/protocols.h"
#include "training/evaluator.h"
#include "training/recipe_data.h"
#include "training/recipe_fields.h"
#include "zoo/recipes.h"

namespace facet::cli {
namespace {

struct EvalArguments {
  std::string model;  ///< or a recipe
  std::vector<std::string> settings;
  std::string recipe;
  std::vector<std::string> overrides;
  std::vector<std::string> positional_overrides;
  std::string weights;
  std::string head;
  std::string data;
  std::vector<std::string> pairs;
  std::vector<std::string> identification;
  std::string protocol;
  std::string flip;
  std::string far;
  std::string ijb;
  std::int64_t batch = 0;
  bool skip_bad = false;
  int loader_threads = 1;
  CompileArguments compile;
  std::string json;
  std::string html;
};

/// What is evaluated and on what.
struct Task {
  std::string name;
  Graph network;
  LossOptions loss;
  std::unique_ptr<Dataset> data;  ///< null: no classes are asked for
  EvaluationRecipe evaluation;
  ProtocolSets protocols;
  std::optional<TemplateSet> templates;
  Preprocess preprocess;
  LoaderOptions loading;
};

/// What came of it.
struct Results {
  std::optional<Evaluation> classes;
  std::optional<ProtocolResults> protocols;
  std::optional<TemplateResult> templates;
};

/// A field of [evaluation] for every option that was given.
std::vector<std::string> evaluation_overrides(const EvalArguments& arguments) {
  std::vector<std::string> overrides;
  const auto add = [&](const char* field, const std::string& value) {
    if (!value.empty()) overrides.push_back(fmt::format("evaluation.{}={}", field, value));
  };
  add("pairs", fmt::format("{}", fmt::join(arguments.pairs, ",")));
  add("identification", fmt::format("{}", fmt::join(arguments.identification, ",")));
  add("protocol", arguments.protocol);
  add("flip", arguments.flip);
  add("far", arguments.far);
  return overrides;
}

std::unique_ptr<Dataset> open_validation(const std::string& data) {
  if (data == "fashion_mnist") return open_fashion_mnist(false);
  return open_image_folder(data);
}

bool names_recipe(const std::string& name) {
  return name.ends_with(".toml") || std::ranges::find(zoo::recipe_names(), name) != zoo::recipe_names().end();
}

/// The sets of the protocols; --ijb stands alone.
void open_sets(const EvalArguments& arguments, Task& task) {
  if (!arguments.ijb.empty()) {
    task.templates = open_ijb(arguments.ijb);
    if (arguments.flip.empty()) task.evaluation.flip = EvaluationRecipe::Flips::sum;
    return;
  }
  task.protocols = open_protocol_sets(task.evaluation);
}

/// The recipe's network, way to cut pictures and sets; --data in place of its validation set.
Task task_of_recipe(const EvalArguments& arguments, const std::string& name) {
  if (!arguments.settings.empty()) {
    throw usage_error("--set is for a MODEL; with a recipe write model.settings.KEY=VALUE behind it");
  }
  std::vector<std::string> overrides = arguments.overrides;
  overrides.insert(overrides.end(), arguments.positional_overrides.begin(),
                   arguments.positional_overrides.end());
  for (std::string& option : evaluation_overrides(arguments)) overrides.push_back(std::move(option));
  const Recipe recipe = load_recipe(name, overrides);
  Task task;
  task.name = recipe.model.name;
  task.network = recipe_network(recipe);
  task.evaluation = recipe.evaluation;
  open_sets(arguments, task);
  RecipeData data;
  if (arguments.data == "none") {
    // Faces alone, on a machine that lacks the training's pictures, say.
  } else if (arguments.data.empty() && !task.templates) {
    data = open_data(recipe.data);
  } else if (recipe.data.kind == DataRecipe::Kind::folder && arguments.data != "fashion_mnist" &&
             !arguments.data.empty()) {
    data.train = open_image_folder(recipe.data.train);
    data.validation = open_image_folder(arguments.data, data.train->class_names());
  } else if (!arguments.data.empty()) {
    data.validation = open_validation(arguments.data);
  }
  if (!data.validation && task.protocols.empty() && !task.templates) {
    throw usage_error(fmt::format("recipe '{}' has no validation set and its [evaluation] names none; "
                                  "name one with --data, --pairs or --identification", name));
  }
  if (data.validation) {
    const std::int64_t classes = (data.train ? data.train : data.validation)->class_count();
    task.loss = loss_options(recipe, classes);
    task.data = std::move(data.validation);
  }
  const PictureInput input = picture_inputs(task.network, recipe).front();
  task.preprocess = preprocess_of(recipe.data, input.height, input.width);
  task.loading = validation_loader(recipe);
  return task;
}

Task task_of_model(const EvalArguments& arguments) {
  if (!arguments.overrides.empty() || !arguments.positional_overrides.empty()) {
    throw usage_error(fmt::format("'{}' is for a recipe; use --set KEY=VALUE with a MODEL",
                                  (arguments.overrides.empty() ? arguments.positional_overrides
                                                               : arguments.overrides).front()));
  }
  Task task;
  // A recipe of nothing but these fields says what is wrong with them.
  task.evaluation = parse_recipe(fmt::format("[model]\nname = {}\n", toml_string(arguments.model)),
                                 arguments.model, evaluation_overrides(arguments))
                        .evaluation;
  const bool without_data = arguments.data.empty() || arguments.data == "none";
  if (without_data && arguments.pairs.empty() && arguments.identification.empty() &&
      arguments.ijb.empty()) {
    throw usage_error("--data is missing: fashion_mnist, or a folder with a folder for every class; or "
                      "name faces with --pairs, --identification or --ijb");
  }
  Model model = load_model(arguments.model, arguments.settings);
  picture_input(model.graph);
  open_sets(arguments, task);
  task.name = model.name;
  task.network = std::move(model.graph);
  if (!without_data) task.data = open_validation(arguments.data);
  task.preprocess = model.preprocess.value();
  task.loading.shuffle = task.loading.drop_last = false;
  task.loading.end_epoch = 1;
  return task;
}

Task make_task(const EvalArguments& arguments) {
  if (arguments.model.empty() == arguments.recipe.empty()) {
    throw usage_error("name a MODEL or a --recipe, one of the two");
  }
  if (!arguments.ijb.empty() && (!arguments.pairs.empty() || !arguments.identification.empty())) {
    throw usage_error("--ijb is an evaluation of its own: leave --pairs and --identification out");
  }
  const bool is_recipe = arguments.recipe.empty() && names_recipe(arguments.model);
  Task task = arguments.recipe.empty() && !is_recipe
                  ? task_of_model(arguments)
                  : task_of_recipe(arguments, is_recipe ? arguments.model : arguments.recipe);
  if (arguments.batch != 0) task.loading.batch = arguments.batch;
  task.loading.threads = arguments.loader_threads;
  task.loading.on_bad_image = arguments.skip_bad ? OnBadImage::leave_out : OnBadImage::stop;
  return task;
}

/// With the weights of the head that margin losses train. Nothing where they are not given and other
/// results are asked for, too.
std::optional<TensorMap> with_head(const EvalArguments& arguments, const Task& task, const Graph& logits,
                                   TensorMap weights) {
  std::vector<std::string> missing;
  for (const Parameter& parameter : logits.parameters()) {
    if (!weights.contains(parameter.key)) missing.push_back(parameter.key);
  }
  if (missing.empty()) return weights;
  if (arguments.head.empty()) {
    if (!task.protocols.empty() && arguments.data.empty()) {
      fmt::print(stderr, "top-1 is left out: the weights lack '{}'; give --head of the training\n",
                 missing.front());
      return std::nullopt;
    }
    throw usage_error(fmt::format("the recipe's loss compares with centres of the classes ('{}'), which "
                                  "the weights lack; give --head head.safetensors or "
                                  "best_head.safetensors of the training", missing.front()));
  }
  const SafetensorsFile file = read_safetensors(arguments.head);
  for (const std::string& key : missing) weights.emplace(key, file.at(key));
  return weights;
}

template <class Problems>
void say_left_out(std::int64_t count, const Problems& problems) {
  if (count == 0) return;
  fmt::print(stderr, "{} pictures cannot be read and were left out; the first:\n", count);
  for (std::size_t i = 0; i < std::min<std::size_t>(problems.size(), 5); ++i) {
    if constexpr (std::is_same_v<typename Problems::value_type, BadImage>) {
      fmt::print(stderr, "  {}\n", problems[i].message);
    } else {
      fmt::print(stderr, "  {}\n", problems[i]);
    }
  }
}

std::optional<Evaluation> evaluate_classes(const EvalArguments& arguments, const Task& task,
                                           const CompileOptions& options, const TensorMap& weights) {
  const Graph logits = logits_network(task.network, task.loss);
  const std::optional<TensorMap> all = with_head(arguments, task, logits, weights);
  if (!all) return std::nullopt;
  Progress progress("eval", task.data->size(), "images");
  Evaluation result = evaluate_network(logits, logits_scale(task.loss), *all, options, *task.data,
                                       task.preprocess, task.loading, [&](std::int64_t count) {
                                         progress.advance(count);
                                         return true;
                                       });
  progress.finish();
  say_left_out(result.left_out, result.problems);
  return result;
}

void evaluate_faces(const EvalArguments& arguments, const Task& task, const CompileOptions& options,
                    const TensorMap& weights, Results& results) {
  EmbedderOptions how;
  how.compile = options;
  how.preprocess = task.preprocess;
  how.batch = task.loading.batch;
  how.loader_threads = task.loading.threads;
  how.leave_out_bad = arguments.skip_bad;
  Embedder embedder(task.network, weights, embedder_options(task.evaluation, how));
  std::optional<Embedder> probes;
  if (has_own_probes(task.evaluation) && !task.templates) {
    probes.emplace(task.network, weights, probe_options(task.evaluation, how));
  }
  const std::int64_t pictures = task.templates
                                    ? task.templates->pictures->size()
                                    : task.protocols.pictures() * (probes ? 2 : 1);
  Progress progress("eval", pictures, "images");
  if (task.templates) {
    results.templates = evaluate_templates(
        *task.templates, embedder, arguments.far.empty() ? template_far() : task.evaluation.far,
        [&](std::int64_t count) { progress.advance(count); });
    progress.finish();
    return say_left_out(results.templates->left_out, results.templates->problems);
  }
  const auto on_batch = [&](std::int64_t count) {
    progress.advance(count);
    return true;
  };
  results.protocols = run_protocols(task.protocols, embedder, task.evaluation, on_batch,
                                    probes ? &*probes : nullptr);
  progress.finish();
  say_left_out(static_cast<std::int64_t>(results.protocols->problems.size()), results.protocols->problems);
}

std::string classes_line(const Task& task, const CompileOptions& options, const Evaluation& result) {
  return fmt::format("{}, {}: {} images, loss {:.4f}, top-1 {:.2f}%, top-5 {:.2f}%, {:.0f} images/s\n",
                     task.name, to_string(options.precision), grouped(result.pictures), result.loss,
                     result.top1 * 100, result.top5 * 100,
                     static_cast<double>(result.pictures) / result.seconds);
}

void write_json(const EvalArguments& arguments, const Task& task, const CompileOptions& options,
                const Results& results) {
  nlohmann::ordered_json json = {{"model", task.name},
                                 {"weights", arguments.weights},
                                 {"device", to_string(options.device)},
                                 {"precision", to_string(options.precision)},
                                 {"threads", thread_count()}};
  if (const auto& classes = results.classes) {
    json["images"] = classes->pictures;
    json["left_out"] = classes->left_out;
    json["loss"] = classes->loss;
    json["top1"] = classes->top1;
    json["top5"] = classes->top5;
    json["images_per_s"] = static_cast<double>(classes->pictures) / classes->seconds;
  }
  if (results.protocols) json.update(protocol_json(*results.protocols, task.evaluation));
  if (results.templates) json["templates"] = template_json(*results.templates);
  write_text(arguments.json,
             json.dump(2, ' ', true, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

void write_page(const EvalArguments& arguments, const Task& task, const CompileOptions& options,
                const Results& results, std::vector<std::string> tables) {
  std::vector<Curve> curves;
  double least = 0.1;
  const auto add = [&](const std::string& name, const std::vector<RocPoint>& roc, double area) {
    curves.push_back(roc_curve_of(fmt::format("{}: AUC {:.2f}%", name, area * 100), roc));
    for (const RocPoint& point : roc) {
      if (point.fpr > 0) least = std::min(least, point.fpr);
    }
  };
  EvaluationPage page{task.name, fmt::format("{}, {}", arguments.weights, to_string(options.precision)),
                      std::move(tables), {}};
  if (results.protocols) {
    for (const PairResult& pairs : results.protocols->pairs) add(pairs.name, pairs.roc, pairs.area);
  }
  if (results.templates) add(results.templates->name, results.templates->roc, results.templates->area);
  page.charts.push_back(roc_chart(curves, least));
  if (results.protocols) page.charts.push_back(cmc_chart(*results.protocols));
  write_text(arguments.html, to_html(page));
}

void run_eval(const EvalArguments& arguments) {
  if (arguments.batch < 0) throw usage_error("--batch takes a number from 1 on");
  const CompileOptions options = compile_options(arguments.compile);
  const Task task = make_task(arguments);
  for (const std::string& file : {arguments.json, arguments.html}) {
    if (!file.empty()) AtomicFile{std::filesystem::path(file)};  // nobody wants to learn at the end
  }
  const TensorMap weights = resolve_weights(task.network, arguments.weights);
  Results results;
  std::vector<std::string> tables;
  if (task.data) results.classes = evaluate_classes(arguments, task, options, weights);
  if (results.classes) tables.push_back(classes_line(task, options, *results.classes));
  if (!task.protocols.empty() || task.templates) {
    evaluate_faces(arguments, task, options, weights, results);
  }
  if (results.protocols) tables.push_back(protocol_table(*results.protocols, task.evaluation));
  if (results.templates) tables.push_back(template_table(*results.templates));
  write_text("", fmt::format("{}", fmt::join(tables, "\n")));
  if (!arguments.json.empty()) write_json(arguments, task, options, results);
  if (!arguments.html.empty()) write_page(arguments, task, options, results, tables);
}

}  // namespace

void add_eval_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "eval", "How well a network tells classes apart, and faces: verification and identification");
  auto arguments = std::make_shared<EvalArguments>();
  command->add_option("model", arguments->model,
                      "A recipe, whose network, pictures and [evaluation] are taken; or a network")
      ->type_name("RECIPE|MODEL|FILE.ir|FILE.onnx");
  command->add_option("overrides", arguments->positional_overrides, "Fields that win over the recipe's")
      ->type_name("SECTION.FIELD=VALUE");
  add_set_option(*command, arguments->settings);
  command->add_option("--recipe", arguments->recipe, "In place of RECIPE")->type_name("RECIPE");
  command->add_option("--override", arguments->overrides, "A field that wins over the recipe's")
      ->type_name("SECTION.FIELD=VALUE")
      ->allow_extra_args(false);
  command->add_option("--weights", arguments->weights, "The module's state_dict")
      ->required()
      ->type_name("FILE.safetensors|random:SEED");
  command->add_option("--head", arguments->head, "Centres of the classes that a margin loss trained")
      ->type_name("FILE.safetensors");
  command->add_option("--data", arguments->data,
                      "fashion_mnist (its test set), or a folder with a folder for every class; none: "
                      "not the recipe's either")
      ->type_name("fashion_mnist|FOLDER|none");
  command->add_option("--pairs", arguments->pairs, "Pairs to verify")
      ->type_name("FILE.bin|LIST.txt[:FOLDER]|synth")
      ->allow_extra_args(false);
  command->add_option("--identification", arguments->identification, "A gallery and probes")
      ->type_name("SCFACE|synth")
      ->allow_extra_args(false);
  command->add_option("--protocol", arguments->protocol, "How pairs are judged (default: insightface)")
      ->type_name("insightface|lscnn|dcr");
  command->add_option("--flip", arguments->flip, "What mirror images add (default: as the protocol says)")
      ->type_name("none|sum|concatenate");
  command->add_option("--far", arguments->far, "Rates of wrong acceptances, such as 0.01,0.001")
      ->type_name("RATES");
  command->add_option("--ijb", arguments->ijb, "IJB-B or IJB-C: a folder with loose_crop/ and meta/")
      ->type_name("FOLDER");
  command->add_option("--batch", arguments->batch, "Pictures at a time (default: the recipe's, 64)")
      ->type_name("N");
  command->add_flag("--skip-bad", arguments->skip_bad,
                    "Leave pictures out that cannot be read, with a count, instead of ending");
  command->add_option("--loader-threads", arguments->loader_threads, "Threads that decode")
      ->capture_default_str();
  add_compile_arguments(*command, arguments->compile);
  command->add_option("--json", arguments->json, "Write the result here, too")->type_name("FILE");
  command->add_option("--html", arguments->html, "Write a page with ROC and CMC curves")
      ->type_name("FILE.html");
  command->callback([arguments] { run_eval(*arguments); });
}

}  // namespace facet::cli
