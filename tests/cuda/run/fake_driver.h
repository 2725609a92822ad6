#pragma once

#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backends/cuda/driver_api.h"
#include "tests/cuda/host_kernels.h"

namespace facet::test {

/// A GPU that is not there. Its memory is the host's; generated kernels run as the host's compiler
/// makes them, cuDNN's graphs by plain loops. Work on a stream is as late as the program allows: it
/// is done when someone waits for it, so what is read too early or overwritten too early shows.
/// Launches on addresses that were not allocated throw. One thread; several may load kernels and
/// ask for plans.
class FakeDriver : public cuda::DriverApi {
 public:
  explicit FakeDriver(std::int64_t bytes = std::int64_t{1} << 30);
  ~FakeDriver() override;

  /// Every call that does something, in order: "copy_in 64", "launch facet_reduction", "graph of
  /// 3".
  std::vector<std::string> log;
  /// The launch of a kernel or plan whose entry in the log contains this is refused in a capture.
  std::string refuses_capture_of;
  /// Graphs that no engine builds a plan for; empty: none.
  std::function<bool(const cuda::OperationGraph&)> refuses_plan;
  /// Called in every `load` and `plan`, on the caller's thread.
  std::function<void()> while_making;
  std::int64_t live_bytes() const;
  std::size_t live_blocks() const { return blocks_.size(); }

  const cuda::DeviceFacts& facts() const override { return facts_; }
  std::byte* allocate(std::int64_t bytes) override;
  void free(std::byte* block) noexcept override;
  std::byte* allocate_pinned(std::int64_t bytes) override;
  void free_pinned(std::byte* block) noexcept override;
  std::int64_t free_bytes() override { return facts_.bytes - live_bytes(); }

  cuda::StreamHandle make_stream() override;
  void destroy(cuda::StreamHandle stream) noexcept override;
  cuda::EventHandle make_event() override;
  void destroy(cuda::EventHandle event) noexcept override;
  void record(cuda::EventHandle event, cuda::StreamHandle stream) override;
  void wait(cuda::StreamHandle stream, cuda::EventHandle event) override;
  void synchronize(cuda::EventHandle event) override;
  void synchronize(cuda::StreamHandle stream) override;
  double milliseconds(cuda::EventHandle from, cuda::EventHandle to) override;

  void copy_in(cuda::StreamHandle stream, std::byte* to, const std::byte* pinned,
               std::int64_t bytes) override;
  void copy_out(cuda::StreamHandle stream, std::byte* pinned, const std::byte* from,
                std::int64_t bytes) override;
  void copy(cuda::StreamHandle stream, std::byte* to, const std::byte* from,
            std::int64_t bytes) override;
  void clear(cuda::StreamHandle stream, std::byte* to, std::int64_t bytes) override;

  cuda::FunctionHandle load(const cuda::KernelSource& kernel) override;
  void launch(cuda::StreamHandle stream, cuda::FunctionHandle function, std::int64_t blocks,
              int threads, std::int64_t shared_bytes,
              std::span<std::byte* const> addresses) override;

  std::shared_ptr<const cuda::GraphPlan> plan(const cuda::OperationGraph& graph,
                                              const cuda::EngineRules& rules) override;
  void run(cuda::StreamHandle stream, const cuda::GraphPlan& plan,
           const cuda::OperationGraph& graph, std::span<std::byte* const> addresses,
           std::byte* workspace) override;

  std::optional<cuda::MatmulAlgorithm> choose(const cuda::Matmul& matmul) override;
  void run(cuda::StreamHandle stream, const cuda::Matmul& matmul,
           const cuda::MatmulAlgorithm& algorithm, const cuda::MatmulAddresses& addresses) override;

  void begin_capture(cuda::StreamHandle stream) override;
  cuda::GraphHandle end_capture(cuda::StreamHandle stream) override;
  void launch(cuda::StreamHandle stream, cuda::GraphHandle graph) override;
  void destroy(cuda::GraphHandle graph) noexcept override;

 private:
  using Work = std::function<void()>;
  struct Stream {
    std::deque<Work> work;
    bool captures = false;
    std::vector<Work> captured;
  };
  struct Event {
    Stream* stream = nullptr;
    int recorded = 0;  ///< times it was put on a stream
    int reached = 0;   ///< times the stream got there
  };
  struct Function {
    std::string name;
    std::string key;
    HostKernels* kernels = nullptr;
    std::size_t number = 0;
    std::int64_t shared_bytes = 0;
  };

  static Stream& at(cuda::StreamHandle stream) { return *reinterpret_cast<Stream*>(stream); }
  static Event& at(cuda::EventHandle event) { return *reinterpret_cast<Event*>(event); }
  void put(cuda::StreamHandle stream, std::string entry, Work work);
  static void reach(Event& event, int count);
  static void drain(Stream& stream);
  void require_memory(const std::byte* at, std::int64_t bytes, const std::string& entry) const;
  void compile_pending();

  cuda::DeviceFacts facts_;
  std::mutex making_;
  std::map<const std::byte*, std::int64_t> blocks_;  ///< of the device, by address
  std::map<const std::byte*, std::int64_t> pinned_;
  std::list<Stream> streams_;
  std::list<Event> events_;
  std::list<Function> functions_;
  std::list<HostKernels> kernels_;  ///< the last is not compiled yet
  bool is_pending_ = false;
  std::list<std::vector<Work>> graphs_;
};

}  // namespace facet::test
