#pragma once

namespace CLI {
class App;
}

/// The subcommands of `facet`, one file each. Every function adds its subcommand to `app`, which
/// runs it while it parses; errors leave as facet::Error.
namespace facet::cli {

void add_models_command(CLI::App& app);
void add_show_command(CLI::App& app);
void add_explain_command(CLI::App& app);
void add_run_command(CLI::App& app);
void add_bench_command(CLI::App& app);
void add_grad_command(CLI::App& app);
void add_embed_command(CLI::App& app);
void add_verify_command(CLI::App& app);
void add_train_command(CLI::App& app);
void add_eval_command(CLI::App& app);
void add_identify_command(CLI::App& app);
void add_align_command(CLI::App& app);
void add_export_command(CLI::App& app);
void add_import_command(CLI::App& app);
void add_data_command(CLI::App& app);
/// A subcommand of `facet data`.
void add_data_synth_command(CLI::App& data);

}  // namespace facet::cli
