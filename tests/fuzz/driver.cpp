// Runs a fuzz target without libFuzzer, with the same entry point and the same spelling of options:
//
//   fuzz_TARGET [-runs=N] [-seed=S] [-max_len=BYTES] [-max_total_time=SECONDS]
//               [-artifact_prefix=PATH] FILE|FOLDER...
//
// Every file is run as it is, then N changed ones (0: none). Inputs that reach something new are
// kept and changed further. The same seed and files give the same run. An input that is a fault is
// written to PATHcrash; the exit code is then not 0.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/coverage.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_limit.h"
#include "tests/fuzz/mutate.h"

/// Faults end in abort(), so that the handler below can keep the input.
extern "C" const char* __asan_default_options() { return "abort_on_error=1:detect_leaks=1"; }

namespace facet::fuzz {
namespace {

constexpr unsigned kLongestSeconds = 60;  // for one input
constexpr std::size_t kLargestCorpus = 4096;

struct Options {
  std::uint64_t runs = 10'000;
  std::uint64_t seed = 1;
  std::uint64_t max_len = 8192;
  std::uint64_t max_total_time = 0;  // 0: no limit
  std::string artifact_prefix;
  std::vector<std::string> paths;
};

const std::string* current = nullptr;  // the input that runs
std::string artifact;

/// Only what a signal handler may call.
void keep_input(int signal) {
  if (current != nullptr) {
    const int file = ::open(artifact.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file >= 0 && ::write(file, current->data(), current->size()) >= 0) {
      constexpr std::string_view kNote = "fuzz: the input is kept in ";
      (void)!::write(2, kNote.data(), kNote.size());
      (void)!::write(2, artifact.data(), artifact.size());
      (void)!::write(2, "\n", 1);
    }
  }
  std::signal(SIGABRT, SIG_DFL);
  if (signal == SIGALRM) {
    constexpr std::string_view kNote = "fuzz: one input took too long\n";
    (void)!::write(2, kNote.data(), kNote.size());
  }
  std::abort();
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const std::size_t equals = argument.find('=');
    if (!argument.starts_with('-') || equals == std::string_view::npos) {
      options.paths.emplace_back(argument);
      continue;
    }
    const std::string_view name = argument.substr(1, equals - 1);
    const std::string_view value = argument.substr(equals + 1);
    if (name == "artifact_prefix") {
      options.artifact_prefix = value;
      continue;
    }
    for (const auto& [known, number] :
         {std::pair{"runs", &options.runs}, std::pair{"seed", &options.seed},
          std::pair{"max_len", &options.max_len},
          std::pair{"max_total_time", &options.max_total_time}}) {
      if (name == known) std::from_chars(value.data(), value.data() + value.size(), *number);
    }
  }
  return options;
}

std::vector<std::string> read_inputs(const std::vector<std::string>& paths) {
  std::vector<std::filesystem::path> files;
  for (const std::string& path : paths) {
    if (!std::filesystem::is_directory(path)) {
      files.emplace_back(path);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(path))
      files.push_back(entry.path());
  }
  std::ranges::sort(files);
  std::vector<std::string> inputs;
  for (const auto& path : files) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "fuzz: cannot read %s\n", path.c_str());
      std::exit(2);
    }
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return inputs;
}

class Fuzzer {
 public:
  /// True if the input reached something new.
  bool run(const std::string& input) {
    current = &input;
    forget_coverage();
    begin_input();
    ::alarm(kLongestSeconds);
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
    ::alarm(0);
    largest_ = std::max(largest_, peak_memory());
    ++runs_;
    current = nullptr;
    return found_new_coverage();
  }

  void report(std::string_view name, std::size_t corpus) const {
    std::printf("%.*s: %zu inputs, %zu kept, %zu places, at most %.1f MiB at once\n",
                static_cast<int>(name.size()), name.data(), runs_, corpus, covered(),
                static_cast<double>(largest_) / (1 << 20));
  }

 private:
  std::size_t runs_ = 0;
  std::size_t largest_ = 0;
};

int run(const Options& options, std::string_view name) {
  using Clock = std::chrono::steady_clock;
  std::vector<std::string> corpus = read_inputs(options.paths);
  if (corpus.empty()) {
    std::fprintf(stderr, "fuzz: no inputs; name files or folders that have some\n");
    return 2;
  }
  Fuzzer fuzzer;
  for (const std::string& input : corpus) fuzzer.run(input);
  Mutator mutator(options.seed, options.max_len);
  const auto end = options.max_total_time == 0
                       ? Clock::time_point::max()
                       : Clock::now() + std::chrono::seconds(options.max_total_time);
  for (std::uint64_t i = 0; i < options.runs && Clock::now() < end; ++i) {
    std::string input = mutator.make(corpus);
    if (!fuzzer.run(input)) continue;
    if (corpus.size() < kLargestCorpus) {
      corpus.push_back(std::move(input));
    } else {
      corpus[mutator.below(corpus.size())] = std::move(input);
    }
  }
  fuzzer.report(name, corpus.size());
  return 0;
}

}  // namespace
}  // namespace facet::fuzz

int main(int argc, char** argv) {
  using namespace facet::fuzz;
  const Options options = parse(argc, argv);
  artifact = options.artifact_prefix + "crash";
  std::signal(SIGABRT, keep_input);
  std::signal(SIGALRM, keep_input);
  watch_memory();
  return run(options, std::filesystem::path(argv[0]).filename().string());
}
