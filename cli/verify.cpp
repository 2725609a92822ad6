#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/inputs.h"
#include "ir/error.h"
#include "runtime/weights.h"

namespace facet::cli {
namespace {

struct VerifyArguments {
  std::string first;
  std::string second;
  ModelArguments model;
  CompileArguments compile;
  std::string weights;
  std::string output_name;
  double threshold = 0.35;
  bool json = false;
};

void run_verify(const VerifyArguments& arguments) {
  CompileOptions options = compile_options(arguments.compile);
  if (!(arguments.threshold >= -1 && arguments.threshold <= 1)) {
    throw usage_error("--threshold is a cosine: from -1 to 1");
  }
  const Model model = load_model(arguments.model);
  require_weights("verify", model, arguments.weights);
  const std::string output = embedding_output(model.graph, arguments.output_name);
  options.outputs = {output};
  if (!model.preprocess) {
    throw usage_error(fmt::format("'{}' takes no photos: it has no single input [N, 3, H, W]",
                                  model.graph.name()));
  }
  const std::string name = model.graph.inputs().at(0)->attributes().text("name");
  const TensorMap inputs =
      read_inputs(model, {name + "=" + arguments.first, name + "=" + arguments.second});
  const auto executable =
      compile(model.graph, weights_of(model, model.graph, arguments.weights), options, 2);
  const HostTensor embeddings =
      executable->make_context()->run(inputs).at(output).cast(DType::f32);
  const std::int64_t width = embeddings.element_count() / 2;
  const double similarity =
      cosine_similarity(embeddings.as<float>(), embeddings.as<float>() + width, width);
  const bool same = similarity >= arguments.threshold;
  if (arguments.json) {
    const nlohmann::ordered_json result = {{"a", arguments.first},
                                           {"b", arguments.second},
                                           {"model", model.name},
                                           {"similarity", similarity},
                                           {"threshold", arguments.threshold},
                                           {"same", same}};
    return write_text(
        "", result.dump(2, ' ', true, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  }
  write_text("", fmt::format("{}: cosine similarity {:.4f}, threshold {:g}\n",
                             same ? "same" : "different", similarity, arguments.threshold));
}

}  // namespace

void add_verify_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("verify", "Say whether two photos show the same face");
  auto arguments = std::make_shared<VerifyArguments>();
  command->add_option("a", arguments->first, "A photo (JPEG, PNG)")->required()->type_name("A.jpg");
  command->add_option("b", arguments->second, "Another one")->required()->type_name("B.jpg");
  command->add_option("--model", arguments->model.model, "A model of the zoo, or a file .ir")
      ->required()
      ->type_name("MODEL|FILE.ir|FILE.onnx");
  add_set_option(*command, arguments->model.settings);
  add_dim_option(*command, arguments->model.dims);
  command->add_option("--weights", arguments->weights,
                      "The module's state_dict, or fresh parameters (needed unless an ONNX model has its own)")
      ->type_name("FILE.safetensors|random:SEED");
  command->add_option("--threshold", arguments->threshold,
                      "The same from this cosine similarity on; it depends on model and training")
      ->capture_default_str();
  command->add_option("--output-name", arguments->output_name, "The network's output to compare")
      ->type_name("NAME");
  command->add_flag("--json", arguments->json, "Print JSON");
  add_compile_arguments(*command, arguments->compile);
  command->callback([arguments] { run_verify(*arguments); });
}

}  // namespace facet::cli
