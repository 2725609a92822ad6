#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference.h"
#include "ir/error.h"
#include "runtime/compile.h"
#include "runtime/formats/onnx/onnx_import.h"
#include "tests/support/paths.h"

// ONNX's own backend suite, as Debian's package libonnx-testdata installs it: every case is
// imported, run on the reference and on the CPU, and compared with the case's outputs.
// BACKEND_SUITE.md keeps the result; FACET_WRITE_BACKEND_SUITE=1 writes it anew.

namespace facet {
namespace {

namespace fs = std::filesystem;

const fs::path kData = testing::onnx_test_data();
const fs::path kTable = testing::test_data() / "onnx" / "BACKEND_SUITE.md";

struct Case {
  std::string name;
  fs::path model;
  std::vector<fs::path> sets;  ///< folders of input_0.pb, output_0.pb ...; empty: a light model
};

struct Outcome {
  enum class Kind { passed, failed, out_of_scope } kind = Kind::passed;
  std::string reason;
};

/// numpy.testing.assert_allclose with the suite's own tolerances.
std::string difference(const HostTensor& got, const HostTensor& want, const std::string& what) {
  if (got.shape() != want.shape()) {
    return fmt::format("{} has {} elements in other axes than {}", what, got.element_count(),
                       want.element_count());
  }
  const double rtol = want.dtype() == DType::bf16 ? 0x1p-6 : 1e-3;
  for (std::int64_t i = 0; i < want.element_count(); ++i) {
    const double a = got.at(i);
    const double b = want.at(i);
    const bool same =
        a == b || (std::isnan(a) && std::isnan(b)) || std::abs(a - b) <= 1e-7 + rtol * std::abs(b);
    if (!same) return fmt::format("{}[{}] is {:g}, not {:g}", what, i, a, b);
  }
  return {};
}

std::vector<HostTensor> read_numbered(const fs::path& folder, const char* kind) {
  std::vector<HostTensor> tensors;
  for (int i = 0;; ++i) {
    const fs::path path = folder / fmt::format("{}_{}.pb", kind, i);
    if (!fs::exists(path)) return tensors;
    tensors.push_back(read_onnx_tensor(path));
  }
}

/// What the suite's own runner feeds a light model: 0, 1/n, 2/n ...
HostTensor ramp(const Type& type) {
  std::vector<std::int64_t> shape;
  for (const Dim& dim : type.shape) shape.push_back(dim.is_static() ? dim.factor : 1);
  HostTensor tensor(DType::f32, shape);
  const auto count = static_cast<double>(tensor.element_count());
  for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
    tensor.as_mutable<float>()[i] = static_cast<float>(static_cast<double>(i) / count);
  }
  return tensor;
}

struct DataSet {
  TensorMap inputs;
  std::vector<HostTensor> outputs;
};

DataSet light_data(const Case& item, const OnnxSignature& signature) {
  DataSet data;
  for (const Node* input : signature.graph.inputs()) {
    data.inputs[input->attributes().text("name")] = ramp(input->result_types()[0]);
  }
  fs::path output = item.model;
  data.outputs.push_back(read_onnx_tensor(output.replace_extension().string() + "_output_0.pb"));
  return data;
}

DataSet read_data(const fs::path& folder, const OnnxSignature& signature) {
  DataSet data;
  const std::vector<HostTensor> inputs = read_numbered(folder, "input");
  for (std::size_t i = 0; i < inputs.size() && i < signature.inputs.size(); ++i) {
    data.inputs[signature.inputs[i]] = inputs[i];
  }
  data.outputs = read_numbered(folder, "output");
  return data;
}

std::string compare(const OnnxSignature& signature, const TensorMap& got, const DataSet& data,
                    const std::string& device) {
  for (std::size_t i = 0; i < data.outputs.size(); ++i) {
    const std::string& name = signature.outputs.at(i);
    const std::string what =
        difference(got.at(name), data.outputs[i], fmt::format("{} on {}", name, device));
    if (!what.empty()) return what;
  }
  return {};
}

TensorMap run_on_cpu(const ImportedModel& model, const TensorMap& given) {
  TensorMap inputs;
  std::int64_t batch = 1;
  for (const Node* input : model.graph.inputs()) {
    const std::string& name = input->attributes().text("name");
    inputs[name] = given.at(name);
    const Shape& shape = input->result_types()[0].shape;
    for (std::size_t i = 0; i < shape.size(); ++i) {
      if (!shape[i].is_static()) batch = inputs[name].shape()[i] / shape[i].factor;
    }
  }
  return compile(model.graph, model.weights, {}, batch)->make_context()->run(inputs);
}

/// light_squeezenet's thousand logits are all 9.4756869e9, where the next float is 1024 away: their
/// softmax is 1/1000 each only if all channels are added in one order, which oneDNN's products do not
/// do without AVX-512.
bool is_beyond_floats(const Case& item) {
  return item.name == "light_squeezenet" && !cpu_features().avx512;
}

/// What is left to ask of such probabilities.
std::string expect_sum_of_one(const TensorMap& got) {
  const std::vector<double> values = got.begin()->second.to_doubles();
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return std::abs(sum - 1) < 1e-3 ? "" : fmt::format("the probabilities on cpu add up to {}", sum);
}

/// The difference found, empty for none. Throws what import and run throw.
std::string run(const OnnxSignature& signature, const Case& item, const DataSet& data) {
  ImportOptions options;
  options.bindings = data.inputs;
  if (signature.graph.symbols().size() > 1) {
    for (const auto& [name, tensor] : data.inputs) options.input_shapes[name] = tensor.shape();
  }
  const ImportedModel model = import_onnx(item.model, options);
  std::string what =
      compare(signature, evaluate(model.graph, data.inputs, model.weights), data, "reference");
  if (!what.empty()) return what;
  const TensorMap got = run_on_cpu(model, data.inputs);
  return is_beyond_floats(item) ? expect_sum_of_one(got) : compare(signature, got, data, "cpu");
}

/// An error is out of scope if all it complains of is.
Outcome classify(const Error& error) {
  std::istringstream lines(error.what());
  std::string reason;
  bool first = true;
  bool all = true;
  constexpr std::string_view kMark = "out of scope: ";
  for (std::string line; std::getline(lines, line); first = false) {
    const std::size_t at = line.find(kMark);
    const bool heading = first && line.find("that cannot be imported") != std::string::npos;
    if (at != std::string::npos && reason.empty()) reason = line.substr(at + kMark.size());
    if (at == std::string::npos && !heading) all = false;
  }
  if (all && !reason.empty()) return {Outcome::Kind::out_of_scope, reason};
  std::string text = error.what();
  const std::size_t path = text.find(".onnx: ");
  if (path != std::string::npos) text.erase(0, path + 7);
  std::replace(text.begin(), text.end(), '\n', ' ');
  return {Outcome::Kind::failed, text};
}

Outcome run(const Case& item) {
  try {
    const OnnxSignature signature = read_onnx_signature(item.model);
    std::vector<DataSet> sets;
    if (item.sets.empty()) sets.push_back(light_data(item, signature));
    try {
      for (const fs::path& folder : item.sets) sets.push_back(read_data(folder, signature));
    } catch (const Error& error) {
      import_onnx(item.model);  // says better why data of another kind cannot be read
      throw;
    }
    for (const DataSet& data : sets) {
      const std::string what = run(signature, item, data);
      if (!what.empty()) return {Outcome::Kind::failed, what};
    }
    return {};
  } catch (const Error& error) {
    return classify(error);
  } catch (const std::exception& error) {
    return {Outcome::Kind::failed, fmt::format("exception: {}", error.what())};
  }
}

std::vector<Case> cases_of(const std::string& folder) {
  std::vector<Case> cases;
  for (const auto& entry : fs::directory_iterator(kData / folder)) {
    if (entry.path().extension() == ".onnx") {
      cases.push_back({entry.path().stem().string(), entry.path(), {}});
    } else if (fs::exists(entry.path() / "model.onnx")) {
      Case item{entry.path().filename().string(), entry.path() / "model.onnx", {}};
      for (const auto& set : fs::directory_iterator(entry.path())) {
        if (set.is_directory()) item.sets.push_back(set.path());
      }
      std::ranges::sort(item.sets);
      cases.push_back(std::move(item));
    }
  }
  std::ranges::sort(cases, {}, &Case::name);
  return cases;
}

struct Summary {
  std::size_t passed = 0;
  std::map<std::string, std::string> failed;                     // reason by case
  std::map<std::string, std::vector<std::string>> out_of_scope;  // cases by reason

  std::size_t out_count() const {
    std::size_t count = 0;
    for (const auto& [reason, names] : out_of_scope) count += names.size();
    return count;
  }
  double rate() const {
    return static_cast<double>(passed) /
           static_cast<double>(std::max<std::size_t>(passed + failed.size(), 1));
  }

  std::string text(const std::string& folder) const {
    std::string out = fmt::format(
        "## {}\n\n{} cases: {} passed, {} failed, {} out of scope; {:.1f} % of those "
        "in scope passed.\n",
        folder, passed + failed.size() + out_count(), passed, failed.size(), out_count(),
        100 * rate());
    if (!failed.empty()) out += "\nFailed:\n\n| case | why |\n|---|---|\n";
    for (const auto& [name, reason] : failed)
      out += fmt::format("| {} | {} |\n", name, reason.substr(0, 160));
    if (!out_of_scope.empty()) out += "\nOut of scope:\n\n| why | cases | which |\n|---|---|---|\n";
    for (const auto& [reason, names] : out_of_scope) {
      std::string list;
      for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
      out += fmt::format("| {} | {} | {} |\n", reason, names.size(), list);
    }
    return out + "\n";
  }
};

/// The table by folders: "" is what stands ahead of the first.
std::map<std::string, std::string> read_table() {
  std::map<std::string, std::string> sections;
  std::ifstream file(kTable);
  std::string folder;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("## ")) folder = line.substr(3);
    sections[folder] += line + "\n";
  }
  return sections;
}

void keep(const std::string& folder, const Summary& summary) {
  std::map<std::string, std::string> sections = read_table();
  if (std::getenv("FACET_WRITE_BACKEND_SUITE") == nullptr) {
    EXPECT_EQ(sections[folder], summary.text(folder))
        << "write it anew with FACET_WRITE_BACKEND_SUITE=1";
    return;
  }
  sections[folder] = summary.text(folder);
  std::ofstream file(kTable);
  for (const auto& section : sections) file << section.second;
}

Summary run_folder(const std::string& folder) {
  Summary summary;
  for (const Case& item : cases_of(folder)) {
    const Outcome outcome = run(item);
    if (outcome.kind == Outcome::Kind::passed) ++summary.passed;
    if (outcome.kind == Outcome::Kind::failed) summary.failed[item.name] = outcome.reason;
    if (outcome.kind == Outcome::Kind::out_of_scope)
      summary.out_of_scope[outcome.reason].push_back(item.name);
  }
  return summary;
}

class BackendSuite : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kData)) {
      GTEST_SKIP()
          << "ONNX's backend suite is not installed (Debian: libonnx-testdata): NOTHING was tested";
    }
  }
};

TEST_F(BackendSuite, Node) {
  const Summary summary = run_folder("node");
  EXPECT_GE(summary.rate(), 0.85);
  keep("node", summary);
}

TEST_F(BackendSuite, Light) {
  const Summary summary = run_folder("light");
  EXPECT_EQ(summary.passed, 9u);
  EXPECT_EQ(summary.failed.size() + summary.out_count(), 0u);
  keep("light", summary);
}

/// As the declared ResNet-50: every batch norm folds into its convolution, every block ends in one
/// convolution with the residual added.
TEST_F(BackendSuite, LightResnet50FusesAsADeclaredNetwork) {
  const ImportedModel model = import_onnx(kData / "light/light_resnet50.onnx");
  const auto executable = compile(model.graph, model.weights);
  std::map<std::string, int> steps;
  for (const StepInfo& step : executable->program(1).steps) ++steps[step.kind];
  steps.erase("reorder");
  const std::map<std::string, int> expected = {
      {"conv", 53}, {"linear", 1}, {"max_pool", 1}, {"reduce_mean", 1}, {"softmax", 1}};
  EXPECT_EQ(steps, expected);
}

TEST_F(BackendSuite, Simple) { keep("simple", run_folder("simple")); }

TEST_F(BackendSuite, PytorchOperator) {
  const Summary summary = run_folder("pytorch-operator");
  EXPECT_EQ(summary.rate(), 1.0);
  keep("pytorch-operator", summary);
}

TEST_F(BackendSuite, PytorchConverted) {
  const Summary summary = run_folder("pytorch-converted");
  EXPECT_EQ(summary.rate(), 1.0);
  keep("pytorch-converted", summary);
}

}  // namespace
}  // namespace facet
