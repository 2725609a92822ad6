#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "ir/dsl.h"
#include "ir/text.h"
#include "runtime/formats/safetensors.h"
#include "runtime/weights.h"
#include "tests/formats/temp_folder.h"
#include "tests/support/paths.h"

namespace facet::test {

/// What a run of the command left: its exit code and what it printed.
struct Outcome {
  int code = -1;
  std::string out;
  std::string error;
};

/// Runs `facet` with `arguments`, which a shell reads, after the shell commands `before`.
inline Outcome facet_command(const std::string& arguments, const std::string& before = "") {
  const TempFolder folder;
  const std::string out = folder / "out";
  const std::string error = folder / "error";
  const std::string line = before + " '" + testing::facet_command_path().string() + "' " + arguments + " >'" + out + "' 2>'" +
                           error + "' </dev/null";
  const int status = std::system(line.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_bytes(out), read_bytes(error)};
}

/// Its arguments are file names or numbers; each is quoted.
inline std::string quoted(const std::filesystem::path& path) { return " '" + path.string() + "' "; }

/// A network small enough to run in no time: photos [N, 3, 16, 16] to embeddings [N, 6] and logits.
inline Graph tiny_network() {
  Network network("tiny");
  const Tensor x = network.input("image", {"N", 3, 16, 16});
  const Scope root = network.root();
  const Tensor hidden = relu(root.conv("conv", x, {.out = 8, .kernel = 3, .stride = 2, .padding = 1}));
  const Tensor embedding = root.linear("embed", flatten(mean(hidden, {2, 3})), {.out = 6});
  network.output("embedding", embedding);
  network.output("logits", root.linear("classify", relu(embedding), {.out = 3}));
  return network.finish();
}

/// A folder with the network in text form and weights for it.
class TinyFolder : public TempFolder {
 public:
  TinyFolder() : graph_(tiny_network()) {
    write_bytes(*this / "tiny.ir", to_text(graph_));
    write_weights(random_weights(graph_, 7));
  }
  const Graph& graph() const { return graph_; }
  void write_weights(const TensorMap& weights) const {
    write_safetensors(*this / "tiny.safetensors", {weights.begin(), weights.end()});
  }
  /// "MODEL --weights FILE" of the network.
  std::string model() const { return quoted(*this / "tiny.ir") + weights(); }
  std::string weights() const { return " --weights" + quoted(*this / "tiny.safetensors"); }

 private:
  Graph graph_;
};

}  // namespace facet::test
