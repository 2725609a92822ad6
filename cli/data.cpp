#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "cli/data_commands.h"
#include "ir/error.h"
#include "training/data/protocol_sets.h"

namespace facet::cli {

std::unique_ptr<Dataset> open_labelled(DataKind kind, const std::string& path,
                                       const std::string& root, const DatasetOptions& options) {
  switch (kind) {
    case DataKind::class_folders:
      return open_image_folder(path);
    case DataKind::fashion_mnist:
      return open_fashion_mnist(true, path);
    case DataKind::scface:
      return open_scface_training(path, options.bad_entries);
    case DataKind::record:
      return open_record_dataset(path, options);
    case DataKind::list:
      return open_list_dataset(path, root, options);
    case DataKind::verification_bin:
    case DataKind::pairs:
      break;
  }
  throw usage_error(
      fmt::format("{}: is a {}, which has no labels; name class folders, a list or a "
                  "record file",
                  path, to_string(kind)));
}

void add_data_command(CLI::App& app) {
  CLI::App* data = app.add_subcommand("data", "Looks at data sets and makes files of them");
  data->require_subcommand(1);
  add_data_inspect_command(*data);
  add_data_pack_command(*data);
  add_data_bench_command(*data);
  add_data_synth_command(*data);
}

}  // namespace facet::cli
