#include "backends/cuda/cuda_driver.h"

#include <cudnn_graph.h>
#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <list>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "backends/cuda/cudnn_plan.h"
#include "backends/cuda/driver_library.h"
#include "backends/cuda/nvrtc.h"
#include "backends/cuda/once_cache.h"
#include "backends/cuda/plan_timing.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr std::size_t kKernelCacheBytes = std::size_t{256} << 20;
constexpr std::size_t kPlanBytes = std::size_t{64} << 20;
constexpr std::size_t kTimedPlans = 8;  // cuDNN's own order is rarely farther off

/// $XDG_CACHE_HOME/facet/`name`, else ~/.cache/facet/..., else a temporary folder.
std::filesystem::path cache_folder(const char* name) {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path folder = cache != nullptr && *cache != '\0' ? std::filesystem::path(cache)
                                 : home != nullptr && *home != '\0'
                                     ? std::filesystem::path(home) / ".cache"
                                     : std::filesystem::temp_directory_path();
  return folder / "facet" / name;
}

CUdeviceptr address(const std::byte* at) { return reinterpret_cast<CUdeviceptr>(at); }
CUstream stream_of(StreamHandle stream) { return reinterpret_cast<CUstream>(stream); }
CUevent event_of(EventHandle event) { return reinterpret_cast<CUevent>(event); }

/// What cuDNN says of the device that `handle` is for.
std::string describe_device(cudnnHandle_t handle) {
  Descriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, "description of the device");
  device.set(CUDNN_ATTR_DEVICEPROP_HANDLE, handle);
  device.finalize();
  return device.get_text(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION);
}

/// A handle of cuDNN, which is for one thread at a time.
struct CudnnHandle {
  std::mutex mutex;
  cudnnHandle_t raw = nullptr;
};

/// A plan with the handle that it was built by.
class DevicePlan final : public GraphPlan {
 public:
  DevicePlan(std::shared_ptr<const CudnnPlan> plan, CudnnHandle& handle)
      : plan_(std::move(plan)), handle_(handle) {}

  std::int64_t workspace_bytes() const override { return plan_->workspace_bytes(); }
  std::int64_t engine() const override { return plan_->engine(); }
  const CudnnPlan& plan() const { return *plan_; }
  CudnnHandle& handle() const { return handle_; }

 private:
  std::shared_ptr<const CudnnPlan> plan_;
  CudnnHandle& handle_;
};

class CudaDriver final : public DriverApi {
 public:
  CudaDriver()
      : library_(load_driver_library()), kernels_(cache_folder("kernels"), kKernelCacheBytes) {
    check(library_.init(0), "starting the driver");
    CUdevice device = 0;
    check(library_.device_get(&device, 0), "finding the GPU");
    check(library_.retain_context(&context_, device), "opening the GPU");
    enter();
    std::array<char, 256> name{};
    library_.device_name(name.data(), static_cast<int>(name.size()) - 1, device);
    facts_.name = name.data();
    int major = 0;
    int minor = 0;
    library_.device_attribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
    library_.device_attribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
    facts_.capability = 10 * major + minor;
    std::size_t bytes = 0;
    library_.device_bytes(&bytes, device);
    facts_.bytes = static_cast<std::int64_t>(bytes);
    facts_.description = describe_device(take_handle().handle.raw);
    planner_ = std::make_shared<CudnnPlanner>(facts_.description,
                                              FileCache(cache_folder("plans"), ".fcp", kPlanBytes));
    matmuls_ = open_cublaslt();
  }

  const DeviceFacts& facts() const override { return facts_; }
  const std::shared_ptr<CudnnPlanner>& planner() const { return planner_; }

  std::byte* allocate(std::int64_t bytes) override {
    enter();
    CUdeviceptr block = 0;
    const CUresult result = library_.allocate(&block, static_cast<std::size_t>(bytes));
    if (result == CUDA_ERROR_OUT_OF_MEMORY) return nullptr;
    check(result, "allocating memory");
    return reinterpret_cast<std::byte*>(block);
  }
  void free(std::byte* block) noexcept override {
    if (enter_quietly()) library_.free(address(block));
  }
  std::byte* allocate_pinned(std::int64_t bytes) override {
    enter();
    void* block = nullptr;
    const CUresult result = library_.allocate_pinned(&block, static_cast<std::size_t>(bytes));
    return result == CUDA_SUCCESS ? static_cast<std::byte*>(block) : nullptr;
  }
  void free_pinned(std::byte* block) noexcept override {
    if (enter_quietly()) library_.free_pinned(block);
  }
  std::int64_t free_bytes() override {
    enter();
    std::size_t free_now = 0;
    std::size_t total = 0;
    check(library_.memory(&free_now, &total), "asking for free memory");
    return static_cast<std::int64_t>(free_now);
  }

  StreamHandle make_stream() override {
    enter();
    CUstream stream = nullptr;
    check(library_.make_stream(&stream, CU_STREAM_NON_BLOCKING), "making a stream");
    return reinterpret_cast<StreamHandle>(stream);
  }
  void destroy(StreamHandle stream) noexcept override {
    if (enter_quietly()) library_.destroy_stream(stream_of(stream));
  }
  EventHandle make_event() override {
    enter();
    CUevent event = nullptr;
    check(library_.make_event(&event, CU_EVENT_DEFAULT), "making an event");
    return reinterpret_cast<EventHandle>(event);
  }
  void destroy(EventHandle event) noexcept override {
    if (enter_quietly()) library_.destroy_event(event_of(event));
  }
  void record(EventHandle event, StreamHandle stream) override {
    enter();
    check(library_.record(event_of(event), stream_of(stream)), "recording an event");
  }
  void wait(StreamHandle stream, EventHandle event) override {
    enter();
    check(library_.wait(stream_of(stream), event_of(event), 0), "ordering streams");
  }
  void synchronize(EventHandle event) override {
    enter();
    check(library_.synchronize_event(event_of(event)), "waiting for the GPU");
  }
  void synchronize(StreamHandle stream) override {
    enter();
    check(library_.synchronize_stream(stream_of(stream)), "waiting for the GPU");
  }
  double milliseconds(EventHandle from, EventHandle to) override {
    enter();
    float elapsed = 0;
    check(library_.elapsed(&elapsed, event_of(from), event_of(to)), "taking the time");
    return elapsed;
  }

  void copy_in(StreamHandle stream, std::byte* to, const std::byte* pinned,
               std::int64_t bytes) override {
    enter();
    check(library_.copy_in(address(to), pinned, static_cast<std::size_t>(bytes), stream_of(stream)),
          "copying to the GPU");
  }
  void copy_out(StreamHandle stream, std::byte* pinned, const std::byte* from,
                std::int64_t bytes) override {
    enter();
    check(library_.copy_out(pinned, address(from), static_cast<std::size_t>(bytes),
                            stream_of(stream)),
          "copying from the GPU");
  }
  void copy(StreamHandle stream, std::byte* to, const std::byte* from,
            std::int64_t bytes) override {
    enter();
    check(library_.copy(address(to), address(from), static_cast<std::size_t>(bytes),
                        stream_of(stream)),
          "copying on the GPU");
  }
  void clear(StreamHandle stream, std::byte* to, std::int64_t bytes) override {
    enter();
    check(library_.clear(address(to), 0, static_cast<std::size_t>(bytes), stream_of(stream)),
          "clearing memory");
  }

  FunctionHandle load(const KernelSource& kernel) override {
    return functions_.get(kernel.name + "\n" + kernel.text, [&] {
      const CompiledKernel compiled = kernels_.get(kernel, facts_.capability);
      enter();
      CUmodule module = nullptr;
      check(library_.load_module(&module, compiled.code.data()), "loading a kernel");
      CUfunction function = nullptr;
      check(library_.get_function(&function, module, kernel.name.c_str()), "finding a kernel");
      if (kernel.shared_bytes > 0) {
        check(library_.set_function_attribute(function,
                                              CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                              static_cast<int>(kernel.shared_bytes)),
              "asking for shared memory");
      }
      return reinterpret_cast<FunctionHandle>(function);
    });
  }
  void launch(StreamHandle stream, FunctionHandle function, std::int64_t blocks, int threads,
              std::int64_t shared_bytes, std::span<std::byte* const> addresses) override {
    enter();
    std::vector<void*> parameters;
    for (std::byte* const& at : addresses) parameters.push_back(const_cast<std::byte**>(&at));
    check(
        library_.launch(reinterpret_cast<CUfunction>(function), static_cast<unsigned>(blocks), 1, 1,
                        static_cast<unsigned>(threads), 1, 1, static_cast<unsigned>(shared_bytes),
                        stream_of(stream), parameters.data(), nullptr),
        "launching a kernel");
  }

  std::shared_ptr<const GraphPlan> plan(const OperationGraph& graph,
                                        const EngineRules& rules) override {
    enter();
    const std::string key =
        fmt::format("{} {} {}\n{}", rules.tf32, rules.deterministic, rules.timed, to_text(graph));
    return plans_.get(key, [&]() -> std::shared_ptr<const GraphPlan> {
      std::vector<std::shared_ptr<const GraphPlan>> plans;
      {
        const TakenHandle taken = take_handle();
        const auto bound = [&](std::shared_ptr<const CudnnPlan> plan) {
          return std::make_shared<const DevicePlan>(std::move(plan), taken.handle);
        };
        if (auto kept = planner_->kept_plan(graph, rules, taken.handle.raw)) {
          return bound(std::move(kept));
        }
        for (auto& plan :
             planner_->make_plans(graph, rules, taken.handle.raw, rules.timed ? kTimedPlans : 1)) {
          plans.push_back(bound(std::move(plan)));
        }
      }
      const std::size_t best = plans.size() > 1 ? fastest(graph, plans) : 0;
      planner_->keep_plan(graph, rules, static_cast<const DevicePlan&>(*plans[best]).plan());
      return plans[best];
    });
  }
  void run(StreamHandle stream, const GraphPlan& plan, const OperationGraph& graph,
           std::span<std::byte* const> addresses, std::byte* workspace) override {
    enter();
    const auto& built = static_cast<const DevicePlan&>(plan);
    const std::lock_guard lock(built.handle().mutex);
    const cudnnHandle_t handle = built.handle().raw;
    const cudnnStatus_t status = cudnnSetStream(handle, stream_of(stream));
    if (status != CUDNN_STATUS_SUCCESS) {
      throw failure(fmt::format("cuDNN does not take the stream: {}", describe(status)));
    }
    built.plan().run(handle, graph, addresses, workspace);
  }

  std::optional<MatmulAlgorithm> choose(const Matmul& matmul) override {
    enter();
    return matmuls_->choose(matmul);
  }
  void run(StreamHandle stream, const Matmul& matmul, const MatmulAlgorithm& algorithm,
           const MatmulAddresses& addresses) override {
    enter();
    matmuls_->run(matmul, algorithm, addresses, stream_of(stream));
  }

  void begin_capture(StreamHandle stream) override {
    enter();
    check(library_.begin_capture(stream_of(stream), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
          "beginning a capture");
  }
  GraphHandle end_capture(StreamHandle stream) override {
    enter();
    CUgraph graph = nullptr;
    check(library_.end_capture(stream_of(stream), &graph), "ending a capture");
    CUgraphExec executable = nullptr;
    const CUresult result = library_.instantiate(&executable, graph, 0);
    library_.destroy_graph(graph);
    check(result, "making a CUDA graph");
    return reinterpret_cast<GraphHandle>(executable);
  }
  void launch(StreamHandle stream, GraphHandle graph) override {
    enter();
    check(library_.launch_graph(reinterpret_cast<CUgraphExec>(graph), stream_of(stream)),
          "launching a CUDA graph");
  }
  void destroy(GraphHandle graph) noexcept override {
    if (enter_quietly()) library_.destroy_executable(reinterpret_cast<CUgraphExec>(graph));
  }

 private:
  /// The driver works in the calling thread's context.
  bool enter_quietly() noexcept { return library_.set_context(context_) == CUDA_SUCCESS; }
  void enter() {
    if (!enter_quietly()) throw failure("NVIDIA's driver does not give this thread the GPU");
  }
  void check(CUresult result, std::string_view doing) const {
    if (result == CUDA_SUCCESS) return;
    const char* words = nullptr;
    library_.error_string(result, &words);
    throw failure(fmt::format("{} failed: {} (CUDA error {})", doing,
                              words != nullptr ? words : "unknown", static_cast<int>(result)));
  }

  /// One at a time has the device.
  std::size_t fastest(const OperationGraph& graph,
                      std::span<const std::shared_ptr<const GraphPlan>> plans) {
    const std::lock_guard lock(timing_);
    return fastest_plan(*this, graph, plans);
  }

  struct TakenHandle {
    CudnnHandle& handle;
    std::unique_lock<std::mutex> lock;
  };
  /// A handle that nobody uses: a new one where all are in use.
  TakenHandle take_handle() {
    const std::lock_guard lock(mutex_);
    for (CudnnHandle& handle : handles_) {
      std::unique_lock own(handle.mutex, std::try_to_lock);
      if (own.owns_lock()) return {handle, std::move(own)};
    }
    CudnnHandle& handle = handles_.emplace_back();
    const cudnnStatus_t status = cudnnCreate(&handle.raw);
    if (status != CUDNN_STATUS_SUCCESS) {
      handles_.pop_back();
      throw failure(fmt::format("cuDNN does not start: {}", describe(status)));
    }
    return {handle, std::unique_lock(handle.mutex)};
  }

  DriverLibrary library_;
  CUcontext context_ = nullptr;
  DeviceFacts facts_;
  std::shared_ptr<CudnnPlanner> planner_;
  std::unique_ptr<MatmulLibrary> matmuls_;
  std::mutex timing_;
  std::mutex mutex_;
  std::list<CudnnHandle> handles_;  ///< stay as long as the program: plans run by theirs
  KernelCache kernels_;
  OnceCache<FunctionHandle> functions_;
  OnceCache<std::shared_ptr<const GraphPlan>> plans_;
};

}  // namespace

OpenedDriver open_cuda_driver() {
  const auto driver = std::make_shared<CudaDriver>();
  return {driver, driver->planner()};
}

}  // namespace facet::cuda
