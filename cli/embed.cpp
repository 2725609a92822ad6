#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "cli/batch_reader.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/image_source.h"
#include "ir/error.h"
#include "runtime/contact_sheet.h"
#include "runtime/formats/atomic_file.h"
#include "runtime/formats/npy.h"
#include "runtime/formats/safetensors.h"
#include "runtime/progress.h"
#include "runtime/weights.h"

namespace facet::cli {
namespace {

struct EmbedArguments {
  ModelArguments model;
  CompileArguments compile;
  std::vector<std::string> images;
  std::string weights;
  std::string output;
  std::string output_name;
  std::int64_t batch = 16;
  std::int64_t limit = 0;
  bool skip_bad = false;
  std::string neighbors;
  std::int64_t queries = 6;
  std::int64_t matches = 8;
};

/// One row of numbers per picture that could be read.
struct Embeddings {
  std::int64_t width = 0;
  std::vector<float> values;           // [numbers.size(), width]
  std::vector<std::int64_t> numbers;   // of the pictures in their source
  std::int64_t left_out = 0;

  std::int64_t count() const { return static_cast<std::int64_t>(numbers.size()); }
  const float* row(std::int64_t i) const { return values.data() + i * width; }
};

void check(const EmbedArguments& arguments) {
  if (arguments.batch < 1) throw usage_error("--batch must be at least 1");
  if (arguments.limit < 0) throw usage_error("--limit must be at least 1");
  if (arguments.queries < 1 || arguments.matches < 1) {
    throw usage_error("--queries and --matches must be at least 1");
  }
  if (!arguments.output.ends_with(".npy") && !arguments.output.ends_with(".safetensors")) {
    throw usage_error(fmt::format("--output {}: name a file .safetensors or .npy", arguments.output));
  }
}

void append(Embeddings& embeddings, const HostTensor& output, const PictureBatch& batch) {
  const HostTensor rows = output.cast(DType::f32);
  const std::int64_t batch_size = batch.pixels.shape()[0];
  embeddings.width = rows.element_count() / batch_size;
  const auto used = static_cast<std::int64_t>(batch.numbers.size()) * embeddings.width;
  embeddings.values.insert(embeddings.values.end(), rows.as<float>(), rows.as<float>() + used);
  embeddings.numbers.insert(embeddings.numbers.end(), batch.numbers.begin(), batch.numbers.end());
}

Embeddings compute(const EmbedArguments& arguments, const Model& model, CompileOptions options,
                   const ImageSource& source) {
  const std::string output = embedding_output(model.graph, arguments.output_name);
  options.outputs = {output};
  const std::string input = model.graph.inputs().at(0)->attributes().text("name");
  const Dim& declared = model.graph.inputs().at(0)->result_types()[0].shape.at(0);
  const std::int64_t batch_size =
      declared.is_static() ? declared.factor : std::min(arguments.batch, source.size());
  const auto executable = compile(model.graph, weights_of(model, model.graph, arguments.weights),
                                  options, batch_size);
  const std::unique_ptr<Context> context = executable->make_context();
  Embeddings embeddings;
  Progress progress("embed", source.size(), "images");
  BatchReader reader(source, *model.preprocess, batch_size, arguments.skip_bad);
  while (const auto batch = reader.next()) {
    for (const std::string& problem : batch->problems) progress.note("skipped: " + problem);
    embeddings.left_out += static_cast<std::int64_t>(batch->problems.size());
    if (!batch->numbers.empty()) {
      append(embeddings, context->run({{input, batch->pixels}}).at(output), *batch);
    }
    progress.advance(static_cast<std::int64_t>(batch->numbers.size() + batch->problems.size()));
  }
  progress.finish();
  if (embeddings.numbers.empty()) throw failure("none of the images could be read; nothing is written");
  return embeddings;
}

/// safetensors: the tensor `embeddings`, the pictures' names as a JSON list in the metadata.
/// npy: the names one a line in a file beside it.
void write(const EmbedArguments& arguments, const Model& model, const Embeddings& embeddings,
           const ImageSource& source) {
  HostTensor table(DType::f32, {embeddings.count(), embeddings.width});
  std::ranges::copy(embeddings.values, table.as_mutable<float>());
  std::vector<std::string> names;
  for (const std::int64_t number : embeddings.numbers) names.push_back(source.name(number));
  if (arguments.output.ends_with(".npy")) {
    std::string lines;
    for (const std::string& name : names) lines += name + "\n";
    write_text(std::filesystem::path(arguments.output).replace_extension(".names.txt").string(), lines);
    return write_npy(arguments.output, table);
  }
  const nlohmann::json list = names;
  write_safetensors(arguments.output, {{"embeddings", table}},
                    {{"model", model.name},
                     {"names", list.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace)}});
}

/// The most similar other pictures of a few queries spread over all of them.
std::vector<SheetRow> find_neighbors(const EmbedArguments& arguments, const Embeddings& embeddings,
                                     const ImageSource& source) {
  const std::int64_t queries = std::min(arguments.queries, embeddings.count());
  const auto matches = static_cast<std::size_t>(std::min(arguments.matches, embeddings.count() - 1));
  std::vector<SheetRow> rows;
  for (std::int64_t q = 0; q < queries; ++q) {
    const std::int64_t query = q * embeddings.count() / queries;
    std::vector<std::pair<double, std::int64_t>> similar;  // similarity, row
    for (std::int64_t i = 0; i < embeddings.count(); ++i) {
      if (i == query) continue;
      similar.emplace_back(
          cosine_similarity(embeddings.row(query), embeddings.row(i), embeddings.width), i);
    }
    std::ranges::partial_sort(similar, similar.begin() + static_cast<std::ptrdiff_t>(matches),
                              std::greater{}, &std::pair<double, std::int64_t>::first);
    const auto picture = [&](std::int64_t row) {
      return source.load(embeddings.numbers[static_cast<std::size_t>(row)]);
    };
    SheetRow row{picture(query), {}};
    for (std::size_t m = 0; m < matches; ++m) {
      row.matches.push_back({picture(similar[m].second), similar[m].first});
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

void run_embed(const EmbedArguments& arguments) {
  check(arguments);
  const CompileOptions options = compile_options(arguments.compile);
  const Model model = load_model(arguments.model);
  require_weights("embed", model, arguments.weights);
  if (!model.preprocess) {
    throw usage_error(fmt::format("'{}' takes no photos: it has no single input [N, 3, H, W]",
                                  model.graph.name()));
  }
  embedding_output(model.graph, arguments.output_name);
  // Nobody wants to learn after an hour that the folder is missing.
  AtomicFile(arguments.output);
  if (!arguments.neighbors.empty()) AtomicFile(arguments.neighbors);
  const ImageSource source(arguments.images, arguments.limit);
  const Embeddings embeddings = compute(arguments, model, options, source);
  write(arguments, model, embeddings, source);
  std::string text = fmt::format("{}: {} embeddings of {} numbers\n", arguments.output,
                                 embeddings.count(), embeddings.width);
  if (embeddings.left_out > 0) text += fmt::format("{} images skipped\n", embeddings.left_out);
  if (!arguments.neighbors.empty()) {
    write_png(arguments.neighbors, contact_sheet(find_neighbors(arguments, embeddings, source)));
    text += fmt::format("{}: nearest neighbours\n", arguments.neighbors);
  }
  write_text("", text);
}

}  // namespace

void add_embed_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("embed", "Turn images into embeddings on disk");
  auto arguments = std::make_shared<EmbedArguments>();
  add_model_arguments(*command, arguments->model);
  command->add_option("images", arguments->images,
                      "Photos (JPEG, PNG), folders of them, or IDX files (plain or .gz)")
      ->required()
      ->type_name("IMAGES");
  command->add_option("--weights", arguments->weights,
                      "The module's state_dict, or fresh parameters (needed unless an ONNX model has its own)")
      ->type_name("FILE.safetensors|random:SEED");
  command->add_option("--output", arguments->output, "Embeddings [count, D], with the images' names")
      ->required()
      ->type_name("FILE.safetensors|FILE.npy");
  command->add_option("--output-name", arguments->output_name, "The network's output to keep")
      ->type_name("NAME");
  command->add_option("--batch", arguments->batch, "Images at once")->capture_default_str();
  command->add_option("--limit", arguments->limit, "Only the first images")->type_name("N");
  command->add_flag("--skip-bad", arguments->skip_bad, "Go on where an image cannot be read");
  command->add_option("--neighbors", arguments->neighbors,
                      "Draw the nearest neighbours of a few images here")
      ->type_name("SHEET.png");
  command->add_option("--queries", arguments->queries, "Rows of that sheet")->capture_default_str();
  command->add_option("--matches", arguments->matches, "Neighbours in a row")->capture_default_str();
  add_compile_arguments(*command, arguments->compile);
  command->callback([arguments] { run_embed(*arguments); });
}

}  // namespace facet::cli
