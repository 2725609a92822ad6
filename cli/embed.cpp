#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/embedding_writer.h"
#include "cli/image_source.h"
#include "ir/error.h"
#include "runtime/contact_sheet.h"
#include "runtime/formats/atomic_file.h"
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
  std::string csv;
  std::string output_name;
  std::int64_t batch = 16;
  std::int64_t limit = 0;
  bool skip_bad = false;
  std::string flip = "none";
  int loader_threads = 1;
  std::string neighbors;
  std::int64_t queries = 6;
  std::int64_t matches = 8;
};

void check(const EmbedArguments& arguments) {
  if (arguments.batch < 1) throw usage_error("--batch must be at least 1");
  if (arguments.limit < 0) throw usage_error("--limit must be at least 1");
  if (arguments.queries < 1 || arguments.matches < 1) {
    throw usage_error("--queries and --matches must be at least 1");
  }
  if (arguments.output.empty() && arguments.csv.empty()) {
    throw usage_error("name a file with --output (.safetensors or .npy) or --csv");
  }
  flip_named(arguments.flip);
  if (!arguments.output.empty() && !arguments.output.ends_with(".npy") &&
      !arguments.output.ends_with(".safetensors")) {
    throw usage_error(fmt::format("--output {}: name a file .safetensors or .npy", arguments.output));
  }
}

/// Embeds every picture that can be read; returns how many were left out.
std::int64_t embed_all(const EmbedArguments& arguments, const Model& model, const CompileOptions& options,
                       const ImageSource& source, EmbeddingWriter& writer,
                       std::vector<std::int64_t>& numbers) {
  EmbedderOptions how;
  how.compile = options;
  how.preprocess = *model.preprocess;
  how.flip = flip_named(arguments.flip);
  how.output = arguments.output_name;
  how.batch = std::min(arguments.batch, source.size());
  how.loader_threads = arguments.loader_threads;
  how.leave_out_bad = arguments.skip_bad;
  Embedder embedder(model.graph, weights_of(model, model.graph, arguments.weights), how);
  std::int64_t left_out = 0;
  Progress progress("embed", source.size(), "images");
  embedder.each(source, [&](const EmbeddedBatch& batch) {
    for (const BadImage& problem : batch.problems) progress.note("skipped: " + problem.message);
    left_out += static_cast<std::int64_t>(batch.problems.size());
    const auto width = static_cast<std::size_t>(embedder.width());
    for (std::size_t i = 0; i < batch.items.size(); ++i) {
      writer.add(source.name(batch.items[i]), batch.values.subspan(i * width, width));
      numbers.push_back(batch.items[i]);
    }
    progress.advance(static_cast<std::int64_t>(batch.items.size() + batch.problems.size()));
    return true;
  });
  progress.finish();
  if (numbers.empty()) throw failure("none of the images could be read; nothing is written");
  return left_out;
}

/// The most similar other pictures of a few queries spread over all of them. Row i of `table` is picture
/// `numbers[i]`.
std::vector<SheetRow> find_neighbors(const EmbedArguments& arguments, const HostTensor& table,
                                     const std::vector<std::int64_t>& numbers,
                                     const ImageSource& source) {
  const std::int64_t count = table.shape()[0];
  const std::int64_t width = table.shape()[1];
  const std::int64_t queries = std::min(arguments.queries, count);
  const auto matches = static_cast<std::size_t>(std::min(arguments.matches, count - 1));
  std::vector<SheetRow> rows;
  for (std::int64_t q = 0; q < queries; ++q) {
    const std::int64_t query = q * count / queries;
    std::vector<std::pair<double, std::int64_t>> similar;  // similarity, row
    for (std::int64_t i = 0; i < count; ++i) {
      if (i == query) continue;
      similar.emplace_back(cosine_similarity(table.as<float>() + query * width,
                                             table.as<float>() + i * width, width), i);
    }
    std::ranges::partial_sort(similar, similar.begin() + static_cast<std::ptrdiff_t>(matches),
                              std::greater{}, &std::pair<double, std::int64_t>::first);
    const auto picture = [&](std::int64_t row) {
      return source.load(numbers[static_cast<std::size_t>(row)]);
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
  if (!arguments.neighbors.empty()) AtomicFile(arguments.neighbors);
  const ImageSource source(arguments.images, arguments.limit);
  EmbeddingWriter writer(arguments.output, arguments.csv);
  std::vector<std::int64_t> numbers;
  const std::int64_t left_out = embed_all(arguments, model, options, source, writer, numbers);
  const HostTensor table = writer.finish(model.name);
  std::string text;
  for (const std::string& file : {arguments.output, arguments.csv}) {
    if (file.empty()) continue;
    text += fmt::format("{}: {} embeddings of {} numbers\n", file, writer.count(), writer.width());
  }
  if (left_out > 0) text += fmt::format("{} images skipped\n", left_out);
  if (!arguments.neighbors.empty()) {
    write_png(arguments.neighbors, contact_sheet(find_neighbors(arguments, table, numbers, source)));
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
      ->type_name("FILE.safetensors|FILE.npy");
  command->add_option("--csv", arguments->csv, "Names and embeddings as a table, too, or in place of it")
      ->type_name("FILE");
  command->add_option("--output-name", arguments->output_name, "The network's output to keep")
      ->type_name("NAME");
  command->add_option("--batch", arguments->batch, "Images at once")->capture_default_str();
  command->add_option("--limit", arguments->limit, "Only the first images")->type_name("N");
  command->add_flag("--skip-bad", arguments->skip_bad, "Go on where an image cannot be read");
  command->add_option("--flip", arguments->flip, "What an image's mirror image adds")
      ->capture_default_str()
      ->type_name("none|sum|concatenate");
  command->add_option("--loader-threads", arguments->loader_threads, "Threads that decode")
      ->capture_default_str();
  command->add_option("--neighbors", arguments->neighbors,
                      "Draw the nearest neighbours of a few images here")
      ->type_name("SHEET.png");
  command->add_option("--queries", arguments->queries, "Rows of that sheet")->capture_default_str();
  command->add_option("--matches", arguments->matches, "Neighbours in a row")->capture_default_str();
  add_compile_arguments(*command, arguments->compile);
  command->callback([arguments] { run_embed(*arguments); });
}

}  // namespace facet::cli
