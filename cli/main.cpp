#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "ir/error.h"

namespace facet::cli {
namespace {

constexpr int kFailure = 1;
constexpr int kUsage = 2;

int report(int code, std::string_view message) {
  fmt::print(stderr, "facet: {}\n", message);
  return code;
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

/// CLI11 would only say that an argument was not expected.
void check_command(const CLI::App& app, int argc, char** argv) {
  const std::vector<std::string> known = command_names(app);
  if (argc < 2) {
    throw usage_error(fmt::format("which command? There are {}; `facet --help` says more",
                                  fmt::join(known, ", ")));
  }
  const std::string name = argv[1];
  if (name.starts_with("-") || std::ranges::find(known, name) != known.end()) return;
  const std::string hint = did_you_mean(name, known);
  throw usage_error(fmt::format("unknown command '{}'{}{} (commands: {})", name,
                                hint.empty() ? "" : "; ", hint, fmt::join(known, ", ")));
}

std::string describe(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  if (chosen.empty()) return fmt::format("{} (see `facet --help`)", error.what());
  const CLI::App& command = *chosen.front();
  std::string message = fmt::format("{}: {}", command.get_name(), error.what());
  for (const std::string& extra : command.remaining()) {
    if (!extra.starts_with("-")) continue;
    const std::string name = extra.substr(0, extra.find('='));
    const std::string hint = did_you_mean(name, option_names(command));
    message = fmt::format("{}: unknown option '{}'{}{}", command.get_name(), name,
                          hint.empty() ? "" : "; ", hint);
    break;
  }
  return fmt::format("{} (see `facet {} --help`)", message, command.get_name());
}

int parse_and_run(int argc, char** argv) {
  CLI::App app("Facet compiles attention networks for faces and images to fast programs.\n", "facet");
  app.set_version_flag("--version", "facet 0.1.0");
  app.require_subcommand(1);
  app.footer("`facet COMMAND --help` explains each command. Exit codes: 0 done, 1 the work failed, "
             "2 the call was wrong.");
  add_models_command(app);
  add_show_command(app);
  add_explain_command(app);
  add_run_command(app);
  add_grad_command(app);
  add_bench_command(app);
  add_embed_command(app);
  add_verify_command(app);
  add_train_command(app);
  add_eval_command(app);
  add_identify_command(app);
  add_align_command(app);
  add_export_command(app);
  add_import_command(app);
  add_data_command(app);
  check_command(app, argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {  // --help, --version
    app.exit(wanted);
  } catch (const CLI::ParseError& error) {
    throw usage_error(describe(app, error));
  }
  // Output that did not fit (a full disk behind a redirection) shows here at the latest.
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    throw failure("standard output cannot be written; is its disk full?");
  }
  return 0;
}

int guarded_main(int argc, char** argv) {
  // A write beyond the file size limit should fail with a message, not end the process.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    return parse_and_run(argc, argv);
  } catch (const Error& error) {
    return report(error.kind() == ErrorKind::usage ? kUsage : kFailure, error.what());
  } catch (const std::bad_alloc&) {
    return report(kFailure, "out of memory; try a smaller batch or a smaller network");
  } catch (const std::exception& error) {
    return report(kFailure, error.what());
  }
}

}  // namespace
}  // namespace facet::cli

int main(int argc, char** argv) { return facet::cli::guarded_main(argc, argv); }
