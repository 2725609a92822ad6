#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/image_source.h"
#include "ir/error.h"
#include "runtime/progress.h"
#include "training/evaluation/embedder.h"
#include "training/evaluation/embeddings.h"
#include "training/evaluation/identification.h"

namespace facet::cli {
namespace {

struct IdentifyArguments {
  std::string gallery;
  std::string probe;
  ModelArguments model;
  CompileArguments compile;
  std::string weights;
  std::string output_name;
  std::string flip = "none";
  std::int64_t top = 3;
  std::int64_t batch = 16;
  int loader_threads = 1;
  bool skip_bad = false;
  std::string json;
};

/// Pictures with the person each shows, as far as its place says it.
struct Faces {
  std::vector<std::string> names;    ///< below the folder
  std::vector<std::string> persons;  ///< the first folder of the name; without one the name's stem
  Embeddings embeddings;
};

/// A person of the gallery as near as the nearest of the person's pictures.
struct Candidate {
  std::string person;
  std::string picture;
  double cosine = 0;
};

Faces embed_faces(const std::string& path, Embedder& embedder) {
  const ImageSource source({path}, 0);
  Progress progress("embed " + path, source.size(), "images");
  const EmbeddedPictures embedded = embedder.all(source, [&](std::int64_t count) {
    progress.advance(count);
    return true;
  });
  for (const BadImage& problem : embedded.problems) progress.note("skipped: " + problem.message);
  progress.finish();
  Faces faces;
  std::vector<std::int64_t> kept;
  for (std::int64_t i = 0; i < source.size(); ++i) {
    if (embedded.readable[static_cast<std::size_t>(i)] == 0) continue;
    const std::filesystem::path file(source.name(i));
    const bool folder = std::filesystem::is_directory(path);
    const std::filesystem::path name = folder ? file.lexically_relative(path) : file.filename();
    faces.names.push_back(name.string());
    faces.persons.push_back(name.has_parent_path() ? name.begin()->string() : name.stem().string());
    kept.push_back(i);
  }
  faces.embeddings = normalized(rows_of(Embeddings(embedded.embeddings), kept));
  return faces;
}

/// Persons by falling similarity, `most` at most.
std::vector<Candidate> candidates(const Faces& gallery, std::span<const double> probe,
                                  std::int64_t most) {
  std::vector<Candidate> found;
  std::set<std::string> seen;
  for (const Neighbor& match :
       nearest_rows(gallery.embeddings, probe, gallery.embeddings.rows, Metric::cosine)) {
    const auto row = static_cast<std::size_t>(match.row);
    if (!seen.insert(gallery.persons[row]).second) continue;
    found.push_back({gallery.persons[row], gallery.names[row], match.score});
    if (static_cast<std::int64_t>(found.size()) == most) break;
  }
  return found;
}

nlohmann::ordered_json probe_json(const std::string& name, const std::vector<Candidate>& found) {
  nlohmann::ordered_json matches = nlohmann::ordered_json::array();
  for (const Candidate& candidate : found) {
    matches.push_back({{"person", candidate.person},
                       {"picture", candidate.picture},
                       {"similarity", candidate.cosine}});
  }
  return {{"probe", name}, {"matches", matches}};
}

void run_identify(const IdentifyArguments& arguments) {
  if (arguments.top < 1 || arguments.batch < 1)
    throw usage_error("--top and --batch must be at least 1");
  const Model model = load_model(arguments.model);
  require_weights("identify", model, arguments.weights);
  if (!model.preprocess) {
    throw usage_error(fmt::format("'{}' takes no photos: it has no single input [N, 3, H, W]",
                                  model.graph.name()));
  }
  EmbedderOptions how;
  how.compile = compile_options(arguments.compile);
  how.preprocess = *model.preprocess;
  how.flip = flip_named(arguments.flip);
  how.output = arguments.output_name;
  how.batch = arguments.batch;
  how.loader_threads = arguments.loader_threads;
  how.leave_out_bad = arguments.skip_bad;
  Embedder embedder(model.graph, weights_of(model, model.graph, arguments.weights), how);
  const Faces gallery = embed_faces(arguments.gallery, embedder);
  const Faces probes = embed_faces(arguments.probe, embedder);
  const std::set<std::string> persons(gallery.persons.begin(), gallery.persons.end());
  std::size_t width = 5;
  for (const std::string& name : probes.names) width = std::max(width, name.size());
  std::string text;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  std::int64_t known = 0;
  std::int64_t right = 0;
  for (std::size_t i = 0; i < probes.names.size(); ++i) {
    const auto found =
        candidates(gallery, probes.embeddings.row(static_cast<std::int64_t>(i)), arguments.top);
    text += fmt::format("{:<{}}", probes.names[i], width);
    for (const Candidate& candidate : found)
      text += fmt::format("  {} {:.3f}", candidate.person, candidate.cosine);
    text += "\n";
    rows.push_back(probe_json(probes.names[i], found));
    if (!persons.contains(probes.persons[i])) continue;
    ++known;
    if (found.front().person == probes.persons[i]) ++right;
  }
  text = fmt::format("{} pictures of {} persons in the gallery, {} probes; cosine similarities\n",
                     gallery.names.size(), persons.size(), probes.names.size()) +
         text;
  if (known > 0) {
    text +=
        fmt::format("rank-1 {:.2f}%: {} of the {} probes whose person's name is in the gallery\n",
                    100.0 * static_cast<double>(right) / static_cast<double>(known), right, known);
  }
  write_text("", text);
  if (arguments.json.empty()) return;
  nlohmann::ordered_json json = {{"model", model.name},
                                 {"gallery", arguments.gallery},
                                 {"persons", persons.size()},
                                 {"probes", rows}};
  if (known > 0) {
    json["known"] = known;
    json["rank1"] = static_cast<double>(right) / static_cast<double>(known);
  }
  write_text(arguments.json,
             json.dump(2, ' ', true, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

}  // namespace

void add_identify_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("identify", "Say which persons of a gallery photos show");
  auto arguments = std::make_shared<IdentifyArguments>();
  command
      ->add_option("gallery", arguments->gallery,
                   "A folder with a folder for every person, or with a photo each")
      ->required()
      ->type_name("GALLERY");
  command->add_option("probe", arguments->probe, "A photo, or a folder of them")
      ->required()
      ->type_name("PROBE");
  command->add_option("--model", arguments->model.model, "A model of the zoo, or a file .ir")
      ->required()
      ->type_name("MODEL|FILE.ir|FILE.onnx");
  add_set_option(*command, arguments->model.settings);
  add_dim_option(*command, arguments->model.dims);
  command
      ->add_option(
          "--weights", arguments->weights,
          "The module's state_dict, or fresh parameters (needed unless an ONNX model has its own)")
      ->type_name("FILE.safetensors|random:SEED");
  command->add_option("--top", arguments->top, "Persons named for a photo")->capture_default_str();
  command->add_option("--flip", arguments->flip, "What an image's mirror image adds")
      ->capture_default_str()
      ->type_name("none|sum|concatenate");
  command->add_option("--output-name", arguments->output_name, "The network's output to compare")
      ->type_name("NAME");
  command->add_option("--batch", arguments->batch, "Images at once")->capture_default_str();
  command->add_option("--loader-threads", arguments->loader_threads, "Threads that decode")
      ->capture_default_str();
  command->add_flag("--skip-bad", arguments->skip_bad, "Go on where an image cannot be read");
  command->add_option("--json", arguments->json, "Write the result here, too")->type_name("FILE");
  add_compile_arguments(*command, arguments->compile);
  command->callback([arguments] { run_identify(*arguments); });
}

}  // namespace facet::cli
