#include "backends/cuda/nvrtc.h"

#include <fmt/format.h>
#include <nvrtc.h>

#include <array>
#include <regex>

#include "backends/cuda/nvrtc_options.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

void check(nvrtcResult result, const char* what) {
  if (result == NVRTC_SUCCESS) return;
  throw failure(
      fmt::format("the run-time compiler of CUDA: {}: {}", what, nvrtcGetErrorString(result)));
}

class Program {
 public:
  explicit Program(const std::string& text) {
    check(nvrtcCreateProgram(&raw_, text.c_str(), "facet_kernel.cu", 0, nullptr, nullptr),
          "making a program");
  }
  ~Program() { nvrtcDestroyProgram(&raw_); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  nvrtcResult compile(const std::vector<std::string>& options) {
    std::vector<const char*> texts;
    for (const std::string& option : options) texts.push_back(option.c_str());
    return nvrtcCompileProgram(raw_, static_cast<int>(texts.size()), texts.data());
  }
  std::string log() const {
    std::size_t size = 0;
    check(nvrtcGetProgramLogSize(raw_, &size), "reading its log");
    std::string text(size, '\0');
    check(nvrtcGetProgramLog(raw_, text.data()), "reading its log");
    return text.c_str();  // up to the end of the text
  }
  std::string ptx() const {
    std::size_t size = 0;
    check(nvrtcGetPTXSize(raw_, &size), "reading the assembly");
    std::string text(size, '\0');
    check(nvrtcGetPTX(raw_, text.data()), "reading the assembly");
    return text;
  }
  std::string code() const {
    std::size_t size = 0;
    check(nvrtcGetCUBINSize(raw_, &size), "reading the machine code");
    std::string bytes(size, '\0');
    check(nvrtcGetCUBIN(raw_, bytes.data()), "reading the machine code");
    return bytes;
  }

 private:
  nvrtcProgram raw_ = nullptr;
};

/// Returns the compiler's log.
std::string compile(Program& program, const KernelSource& kernel,
                    const std::vector<std::string>& options) {
  const nvrtcResult result = program.compile(options);
  std::string log = program.log();
  if (result == NVRTC_SUCCESS) return log;
  throw failure(fmt::format("the kernel {} does not compile ({}): {}\n{}", kernel.name, options[0],
                            nvrtcGetErrorString(result), log));
}

/// The number in front of `words` in the assembler's report; nothing if it says none.
std::optional<int> number_before(const std::string& log, const std::string& words) {
  std::smatch match;
  if (!std::regex_search(log, match, std::regex("([0-9]+) " + words))) return std::nullopt;
  return std::stoi(match[1]);
}

KernelResources read_report(const std::string& log) {
  const std::optional<int> registers = number_before(log, "registers");
  const std::optional<int> stack = number_before(log, "bytes stack frame");
  if (!registers || !stack) {
    throw failure(fmt::format("the assembler's report is not understood:\n{}", log));
  }
  return {*registers, *stack,
          number_before(log, "bytes spill stores").value_or(0) +
              number_before(log, "bytes spill loads").value_or(0),
          number_before(log, "bytes smem").value_or(0)};
}

}  // namespace

std::string nvrtc_version() {
  int major = 0;
  int minor = 0;
  check(nvrtcVersion(&major, &minor), "its version");
  return fmt::format("{}.{}", major, minor);
}

std::vector<std::string> nvrtc_options(int architecture) {
  return {fmt::format("--gpu-architecture=sm_{}", architecture),
          "--std=c++17",
          "--ptxas-options=--verbose",
          "--ftz=false",
          "--prec-div=true",
          "--prec-sqrt=true",
          "--fmad=true"};
}

CompiledKernel compile_kernel(const KernelSource& kernel, int architecture) {
  Program program(kernel_prelude() + kernel.text);
  const std::string log = compile(program, kernel, nvrtc_options(architecture));
  return {program.code(), read_report(log)};
}

std::string kernel_ptx(const KernelSource& kernel, int architecture) {
  Program program(kernel_prelude() + kernel.text);
  std::vector<std::string> options = nvrtc_options(architecture);
  options[0] = fmt::format("--gpu-architecture=compute_{}", architecture);
  std::erase(options, "--ptxas-options=--verbose");
  compile(program, kernel, options);
  return program.ptx();
}

}  // namespace facet::cuda
