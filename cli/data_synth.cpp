#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/common.h"
#include "runtime/threads.h"
#include "training/synth/synth_files.h"

namespace facet::cli {
namespace {

struct SynthArguments {
  std::string output;
  SynthFilesOptions files;
  int threads = 0;
};

void run_synth(SynthArguments arguments) {
  if (arguments.threads != 0) set_threads(arguments.threads);
  arguments.files.threads = thread_count();
  write_synth_files(arguments.output, arguments.files);
  const SynthOptions& training = arguments.files.training;
  write_text(
      "", fmt::format("{}: {} pictures of {} persons to train on, {} pairs to verify, {} "
                      "persons under surveillance\n",
                      arguments.output, grouped(training.identities * training.images_per_identity),
                      grouped(training.identities), grouped(arguments.files.pairs),
                      grouped(arguments.files.surveillance_persons)));
}

}  // namespace

void add_data_synth_command(CLI::App& data) {
  CLI::App* command = data.add_subcommand(
      "synth", "Render faces of made persons into the files that real data sets come in");
  auto arguments = std::make_shared<SynthArguments>();
  SynthFilesOptions& files = arguments->files;
  command->add_option("-o,--output", arguments->output, "A new or empty folder")
      ->required()
      ->type_name("FOLDER");
  command->add_option("--identities", files.training.identities, "Persons to train on")
      ->capture_default_str();
  command->add_option("--images", files.training.images_per_identity, "Pictures of each")
      ->capture_default_str();
  command->add_option("--pairs", files.pairs, "Pairs of other persons to verify, a multiple of 20")
      ->capture_default_str();
  command
      ->add_option("--persons", files.surveillance_persons,
                   "Persons with a mugshot and 15 surveillance pictures (SCface: 130)")
      ->capture_default_str();
  command->add_option("--seed", files.training.seed, "Another seed shows other persons")
      ->capture_default_str();
  command
      ->add_option("--difficulty", files.training.difficulty,
                   "From passport photos (0) to poor snapshots (2)")
      ->capture_default_str();
  command->add_option("--quality", files.jpeg_quality, "Of the JPEG files, 1 to 100")
      ->capture_default_str();
  add_threads_option(*command, arguments->threads);
  command->callback([arguments] { run_synth(*arguments); });
}

}  // namespace facet::cli
