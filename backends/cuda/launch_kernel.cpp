#include "backends/cuda/launch_kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "backends/cuda/cuda_queue.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr std::int64_t kAlignment = 256;  // of a workspace, which some engines want

/// The addresses a node was bound to.
struct Addresses {
  std::vector<std::byte*> operands;
  std::vector<std::byte*> results;
  std::byte* scratch = nullptr;
  std::byte* workspace = nullptr;
};

std::byte* aligned(std::byte* at) {
  const auto number = reinterpret_cast<std::uintptr_t>(at);
  return at + (kAlignment - number % kAlignment) % kAlignment;
}

/// What an argument of a kernel or a matrix of a product takes; `table` is for those that read one.
std::byte* address_of(const KernelArgument& argument, const Lowered& lowered, const Addresses& at,
                      std::byte* table = nullptr) {
  const auto index = static_cast<std::size_t>(argument.index);
  switch (argument.place) {
    case KernelArgument::Place::operand:
      return at.operands.at(index);
    case KernelArgument::Place::result:
      return at.results.at(index);
    case KernelArgument::Place::scratch:
      return at.scratch + lowered.scratch.at(index);
    default:
      return table;
  }
}

std::vector<std::byte*> kernel_addresses(const KernelSource& kernel, const Lowered& lowered,
                                         const Addresses& at, std::byte* table) {
  std::vector<std::byte*> addresses;
  for (const KernelArgument& argument : kernel.arguments) {
    addresses.push_back(address_of(argument, lowered, at, table));
  }
  return addresses;
}

MatmulAddresses matmul_addresses(const Matmul& matmul, const Lowered& lowered,
                                 const Addresses& at) {
  const auto matrix = [&](const Matrix& m) {
    return address_of(m.place, lowered, at) + m.offset * size_of(m.dtype);
  };
  MatmulAddresses addresses{matrix(matmul.a), matrix(matmul.b), matrix(matmul.d), nullptr,
                            at.workspace};
  if (matmul.bias) addresses.bias = address_of(*matmul.bias, lowered, at);
  if (matmul.bias_gradient) addresses.bias = address_of(*matmul.bias_gradient, lowered, at);
  return addresses;
}

std::vector<std::byte*> graph_addresses(const OperationGraph& graph, const Lowered& lowered,
                                        const Addresses& at) {
  std::vector<std::byte*> addresses;
  for (const GraphTensor& tensor : graph.tensors) {
    const auto index = static_cast<std::size_t>(tensor.index);
    const std::int64_t offset = tensor.offset * size_of(tensor.dtype);
    switch (tensor.place) {
      case GraphTensor::Place::operand:
        addresses.push_back(at.operands.at(index) + offset);
        break;
      case GraphTensor::Place::result:
        addresses.push_back(at.results.at(index) + offset);
        break;
      case GraphTensor::Place::scratch:
        addresses.push_back(at.scratch + lowered.scratch.at(index) + offset);
        break;
      case GraphTensor::Place::inside:
        addresses.push_back(nullptr);
        break;
    }
  }
  return addresses;
}

/// A row of the table of an update kernel, as the kernels' prelude declares it.
struct TableRow {
  std::array<std::byte*, 3> states{};
  std::byte* source = nullptr;
  long long count = 0;
  int first_block = 0;
};

/// The table on the device, a row for each of the nodes, whose operands and results are as many: of
/// the operands the states come first, then the new value's source.
std::shared_ptr<std::byte> make_table(const UpdateKernel& update, const Addresses& at,
                                      DeviceQueue& queue) {
  const std::size_t nodes = update.rows.size();
  const std::size_t operands = at.operands.size() / nodes;
  const std::size_t states = at.results.size() / nodes;
  std::vector<TableRow> rows(nodes);
  for (std::size_t i = 0; i < nodes; ++i) {
    TableRow& row = rows[i];
    for (std::size_t s = 0; s < states; ++s) row.states.at(s) = at.results[i * states + s];
    row.source = at.operands[i * operands + states];
    row.count = update.rows[i].count;
    row.first_block = update.rows[i].first_block;
  }
  const auto bytes = static_cast<std::int64_t>(rows.size() * sizeof(TableRow));
  std::shared_ptr<std::byte> table = queue.allocate(bytes, "tables");
  queue.write(table.get(), reinterpret_cast<const std::byte*>(rows.data()), bytes);
  return table;
}

}  // namespace

LaunchKernel::LaunchKernel(std::string_view name, Lowered lowered, DriverApi& driver,
                           const EngineRules& rules)
    : implementation_(name), lowered_(std::make_shared<const Lowered>(std::move(lowered))) {
  std::int64_t workspace = 0;
  for (const Launch& launch : lowered_->launches) {
    Loaded loaded;
    std::string library;
    if (const auto* graph = std::get_if<OperationGraph>(&launch)) {
      loaded.plan = driver.plan(*graph, rules);
      workspace = std::max(workspace, loaded.plan->workspace_bytes());
      library = fmt::format("cudnn{}", loaded.plan->engine());
    } else if (const auto* matmul = std::get_if<Matmul>(&launch)) {
      const std::optional<MatmulAlgorithm> algorithm = driver.choose(*matmul);
      if (!algorithm) {
        throw failure(fmt::format("cuBLASLt has no algorithm for\n{}", to_text(*matmul)));
      }
      loaded.algorithm = *algorithm;
      workspace = std::max(workspace, algorithm->workspace_bytes);
      library = "cublaslt";
    } else {
      const auto* update = std::get_if<UpdateKernel>(&launch);
      const KernelSource& kernel =
          update != nullptr ? update->kernel : std::get<KernelSource>(launch);
      loaded.function = driver.load(kernel);
      library = "kernel";
    }
    if (loaded_.empty()) implementation_ += ":" + library;
    loaded_.push_back(std::move(loaded));
  }
  scratch_bytes_ = lowered_->scratch_bytes + (workspace > 0 ? workspace + kAlignment : 0);
}

std::function<void()> LaunchKernel::bind(DeviceQueue& queue, std::span<std::byte* const> operands,
                                         std::span<std::byte* const> results,
                                         std::byte* scratch) const {
  const Addresses at{{operands.begin(), operands.end()},
                     {results.begin(), results.end()},
                     scratch,
                     aligned(scratch + lowered_->scratch_bytes)};
  DriverApi& driver = static_cast<CudaQueue&>(queue).driver();
  const StreamHandle stream = static_cast<CudaQueue&>(queue).stream();
  std::vector<std::function<void()>> calls;
  for (std::size_t i = 0; i < loaded_.size(); ++i) {
    const Launch& launch = lowered_->launches[i];
    if (const auto* graph = std::get_if<OperationGraph>(&launch)) {
      calls.emplace_back(
          [&driver, stream, lowered = lowered_, graph, plan = loaded_[i].plan,
           addresses = graph_addresses(*graph, *lowered_, at),
           workspace = at.workspace] { driver.run(stream, *plan, *graph, addresses, workspace); });
      continue;
    }
    if (const auto* matmul = std::get_if<Matmul>(&launch)) {
      calls.emplace_back([&driver, stream, lowered = lowered_, matmul,
                          algorithm = loaded_[i].algorithm,
                          addresses = matmul_addresses(*matmul, *lowered_, at)] {
        driver.run(stream, *matmul, algorithm, addresses);
      });
      continue;
    }
    const auto* update = std::get_if<UpdateKernel>(&launch);
    const KernelSource& kernel =
        update != nullptr ? update->kernel : std::get<KernelSource>(launch);
    std::shared_ptr<std::byte> table;
    if (update != nullptr) table = make_table(*update, at, queue);
    calls.emplace_back([&driver, stream, table, function = loaded_[i].function,
                        blocks = kernel.blocks, threads = kernel.threads,
                        shared_bytes = kernel.shared_bytes,
                        addresses = kernel_addresses(kernel, *lowered_, at, table.get())] {
      driver.launch(stream, function, blocks, threads, shared_bytes, addresses);
    });
  }
  if (calls.size() == 1) return std::move(calls.front());
  return [calls = std::move(calls)] {
    for (const auto& call : calls) call();
  };
}

}  // namespace facet::cuda
