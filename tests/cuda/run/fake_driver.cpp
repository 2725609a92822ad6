#include "tests/cuda/run/fake_driver.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "ir/error.h"
#include "tests/cuda/cuda_case.h"
#include "tests/cuda/run/host_graph.h"
#include "tests/cuda/run/host_matmul.h"

namespace facet::test {
namespace {

constexpr std::int64_t kWorkspace = 300;

class FakePlan final : public cuda::GraphPlan {
 public:
  std::int64_t workspace_bytes() const override { return kWorkspace; }
  std::int64_t engine() const override { return 0; }
};

/// Not zeroed: nobody may count on that.
std::byte* make_block(std::int64_t bytes) {
  void* block = std::aligned_alloc(256, static_cast<std::size_t>((bytes + 255) / 256 * 256));
  std::memset(block, 0xFF, static_cast<std::size_t>(bytes));  // NaN in every float type
  return static_cast<std::byte*>(block);
}

}  // namespace

FakeDriver::FakeDriver(std::int64_t bytes) {
  facts_.name = "fake GPU";
  facts_.capability = 90;
  facts_.bytes = bytes;
  facts_.description = h200_description();
}

FakeDriver::~FakeDriver() {
  for (const auto& [block, bytes] : blocks_) std::free(const_cast<std::byte*>(block));
  for (const auto& [block, bytes] : pinned_) std::free(const_cast<std::byte*>(block));
}

std::int64_t FakeDriver::live_bytes() const {
  std::int64_t sum = 0;
  for (const auto& [block, bytes] : blocks_) sum += bytes;
  return sum;
}

void FakeDriver::put(cuda::StreamHandle stream, std::string entry, Work work) {
  Stream& to = at(stream);
  if (to.captures) {
    if (!refuses_capture_of.empty() && entry.find(refuses_capture_of) != std::string::npos) {
      throw failure(fmt::format("{} is not permitted when a stream is capturing", entry));
    }
    to.captured.push_back(std::move(work));
    log.push_back("captured " + entry);
  } else {
    to.work.push_back(std::move(work));
    log.push_back(std::move(entry));
  }
}

void FakeDriver::drain(Stream& stream) {
  while (!stream.work.empty()) {
    const Work work = std::move(stream.work.front());
    stream.work.pop_front();
    work();
  }
}

void FakeDriver::reach(Event& event, int count) {
  while (event.reached < count) {
    const Work work = std::move(event.stream->work.front());
    event.stream->work.pop_front();
    work();
  }
}

void FakeDriver::require_memory(const std::byte* at, std::int64_t bytes,
                                const std::string& entry) const {
  auto block = blocks_.upper_bound(at);
  if (block != blocks_.begin()) {
    --block;
    if (at + bytes <= block->first + block->second) return;
  }
  throw failure(fmt::format("{} at an address that is not allocated", entry));
}

std::byte* FakeDriver::allocate(std::int64_t bytes) {
  if (bytes > free_bytes()) return nullptr;
  std::byte* const block = make_block(bytes);
  blocks_[block] = bytes;
  log.push_back(fmt::format("allocate {}", bytes));
  return block;
}

void FakeDriver::free(std::byte* block) noexcept {
  for (Stream& stream : streams_) drain(stream);
  log.push_back(fmt::format("free {}", blocks_.at(block)));
  blocks_.erase(block);
  std::free(block);
}

std::byte* FakeDriver::allocate_pinned(std::int64_t bytes) {
  std::byte* const block = make_block(bytes);
  pinned_[block] = bytes;
  log.push_back(fmt::format("allocate_pinned {}", bytes));
  return block;
}

void FakeDriver::free_pinned(std::byte* block) noexcept {
  pinned_.erase(block);
  std::free(block);
}

cuda::StreamHandle FakeDriver::make_stream() {
  return reinterpret_cast<cuda::StreamHandle>(&streams_.emplace_back());
}

void FakeDriver::destroy(cuda::StreamHandle stream) noexcept {
  drain(at(stream));
  streams_.remove_if([&](const Stream& one) { return &one == &at(stream); });
}

cuda::EventHandle FakeDriver::make_event() {
  return reinterpret_cast<cuda::EventHandle>(&events_.emplace_back());
}

void FakeDriver::destroy(cuda::EventHandle event) noexcept {
  Event& gone = at(event);
  if (gone.stream != nullptr) reach(gone, gone.recorded);
  events_.remove_if([&](const Event& one) { return &one == &gone; });
}

void FakeDriver::record(cuda::EventHandle event, cuda::StreamHandle stream) {
  Event& marks = at(event);
  if (marks.stream != nullptr && marks.stream != &at(stream)) reach(marks, marks.recorded);
  marks.stream = &at(stream);
  ++marks.recorded;
  put(stream, "record", [&marks] { ++marks.reached; });
}

void FakeDriver::wait(cuda::StreamHandle stream, cuda::EventHandle event) {
  Event& marks = at(event);
  put(stream, "wait", [&marks, count = marks.recorded] { reach(marks, count); });
}

void FakeDriver::synchronize(cuda::EventHandle event) {
  reach(at(event), at(event).recorded);
  log.emplace_back("synchronize");
}

void FakeDriver::synchronize(cuda::StreamHandle stream) {
  drain(at(stream));
  log.emplace_back("synchronize stream");
}

double FakeDriver::milliseconds(cuda::EventHandle, cuda::EventHandle) { return 1.5; }

void FakeDriver::copy_in(cuda::StreamHandle stream, std::byte* to, const std::byte* pinned,
                         std::int64_t bytes) {
  const std::string entry = fmt::format("copy_in {}", bytes);
  require_memory(to, bytes, entry);
  put(stream, entry, [=] { std::memcpy(to, pinned, static_cast<std::size_t>(bytes)); });
}

void FakeDriver::copy_out(cuda::StreamHandle stream, std::byte* pinned, const std::byte* from,
                          std::int64_t bytes) {
  const std::string entry = fmt::format("copy_out {}", bytes);
  require_memory(from, bytes, entry);
  put(stream, entry, [=] { std::memcpy(pinned, from, static_cast<std::size_t>(bytes)); });
}

void FakeDriver::copy(cuda::StreamHandle stream, std::byte* to, const std::byte* from,
                      std::int64_t bytes) {
  const std::string entry = fmt::format("copy {}", bytes);
  require_memory(to, bytes, entry);
  require_memory(from, bytes, entry);
  put(stream, entry, [=] { std::memmove(to, from, static_cast<std::size_t>(bytes)); });
}

void FakeDriver::clear(cuda::StreamHandle stream, std::byte* to, std::int64_t bytes) {
  const std::string entry = fmt::format("clear {}", bytes);
  require_memory(to, bytes, entry);
  put(stream, entry, [=] { std::memset(to, 0, static_cast<std::size_t>(bytes)); });
}

cuda::FunctionHandle FakeDriver::load(const cuda::KernelSource& kernel) {
  if (while_making) while_making();
  const std::lock_guard lock(making_);
  // Here a function knows its grid.
  const std::string key = fmt::format("{} {}\n{}", kernel.blocks, kernel.threads, kernel.text);
  for (Function& known : functions_) {
    if (known.key == key) return reinterpret_cast<cuda::FunctionHandle>(&known);
  }
  if (!is_pending_) kernels_.emplace_back();
  is_pending_ = true;
  Function& function = functions_.emplace_back();
  function = {kernel.name, key, &kernels_.back(), kernels_.back().add(kernel), kernel.shared_bytes};
  log.push_back("load " + kernel.name);
  return reinterpret_cast<cuda::FunctionHandle>(&function);
}

void FakeDriver::compile_pending() {
  if (is_pending_) kernels_.back().compile();
  is_pending_ = false;
}

void FakeDriver::launch(cuda::StreamHandle stream, cuda::FunctionHandle function, std::int64_t, int,
                        std::int64_t shared_bytes, std::span<std::byte* const> addresses) {
  const Function& loaded = *reinterpret_cast<const Function*>(function);
  const std::string entry = "launch " + loaded.name;
  if (shared_bytes != loaded.shared_bytes) {
    throw failure(fmt::format("{} with {} bytes of shared memory, not {}", entry, shared_bytes,
                              loaded.shared_bytes));
  }
  std::vector<void*> parameters(addresses.begin(), addresses.end());
  for (const std::byte* address : addresses) require_memory(address, 1, entry);
  put(stream, entry, [this, &loaded, parameters] {
    compile_pending();
    loaded.kernels->run(loaded.number, parameters);
  });
}

std::shared_ptr<const cuda::GraphPlan> FakeDriver::plan(const cuda::OperationGraph& graph,
                                                        const cuda::EngineRules&) {
  if (while_making) while_making();
  const std::lock_guard lock(making_);
  if (refuses_plan && refuses_plan(graph)) {
    throw failure(fmt::format("cuDNN builds no plan: refused; the graph is\n{}", to_text(graph)));
  }
  return std::make_shared<const FakePlan>();
}

void FakeDriver::run(cuda::StreamHandle stream, const cuda::GraphPlan&,
                     const cuda::OperationGraph& graph, std::span<std::byte* const> addresses,
                     std::byte* workspace) {
  const std::string entry = fmt::format("run {}", to_string(graph.steps.front().op));
  std::vector<std::byte*> at(addresses.begin(), addresses.end());
  for (const std::byte* address : at) {
    if (address != nullptr) require_memory(address, 1, entry);
  }
  require_memory(workspace, kWorkspace, entry);
  put(stream, entry, [&graph, at, workspace] {
    std::memset(workspace, 0xFF, kWorkspace);
    run_on_host(graph, at);
  });
}

std::optional<cuda::MatmulAlgorithm> FakeDriver::choose(const cuda::Matmul&) {
  return cuda::MatmulAlgorithm{{}, kWorkspace};
}

void FakeDriver::run(cuda::StreamHandle stream, const cuda::Matmul& matmul,
                     const cuda::MatmulAlgorithm&, const cuda::MatmulAddresses& addresses) {
  for (const std::byte* address : {addresses.a, addresses.b}) {
    require_memory(address, 1, "matmul");
  }
  require_memory(addresses.d, 1, "matmul");
  require_memory(addresses.workspace, kWorkspace, "matmul");
  put(stream, "matmul", [&matmul, addresses] {
    std::memset(addresses.workspace, 0xFF, kWorkspace);
    run_on_host(matmul, addresses);
  });
}

void FakeDriver::begin_capture(cuda::StreamHandle stream) {
  at(stream).captures = true;
  log.emplace_back("begin_capture");
}

cuda::GraphHandle FakeDriver::end_capture(cuda::StreamHandle stream) {
  at(stream).captures = false;
  graphs_.push_back(std::exchange(at(stream).captured, {}));
  log.emplace_back("end_capture");
  return reinterpret_cast<cuda::GraphHandle>(&graphs_.back());
}

void FakeDriver::launch(cuda::StreamHandle stream, cuda::GraphHandle graph) {
  const auto& steps = *reinterpret_cast<const std::vector<Work>*>(graph);
  put(stream, fmt::format("graph of {}", steps.size()), [&steps] {
    for (const Work& work : steps) work();
  });
}

void FakeDriver::destroy(cuda::GraphHandle graph) noexcept {
  graphs_.remove_if([&](const std::vector<Work>& one) {
    return reinterpret_cast<cuda::GraphHandle>(const_cast<std::vector<Work>*>(&one)) == graph;
  });
}

}  // namespace facet::test
