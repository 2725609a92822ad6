#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "ir/graph.h"
#include "ir/host_tensor.h"

namespace facet {

/// What runs of a graph change: parameters under training, running statistics, an optimizer's
/// moments. Tensors by key, in memory of its own on the device that runs the graph, there in the
/// layouts that the device wants and row-major for callers; the programs of one training run share
/// it. A run writes it, so not synchronised.
class State {
 public:
  /// Copies the tensors that `graph` updates. `dtype` f64 keeps them in float64 (the reference
  /// device); otherwise each has its declared type. Throws Error(usage) that lists those that are
  /// missing from `tensors` or mis-shaped.
  State(const Graph& graph, const TensorMap& tensors, bool float64 = false);
  /// The same in the memory of `device`, on the host without a copy of what has its type and layout
  /// already: the bytes of `tensors` become the state's, so they must be writable (no mapped file)
  /// and read by nobody else. Throws as above, and as DeviceQueue::allocate.
  State(const Graph& graph, TensorMap&& tensors, const Backend& device);

  bool empty() const { return tensors_.empty(); }
  bool contains(const std::string& key) const { return tensors_.contains(key); }
  std::vector<std::string> keys() const;
  /// Of all tensors.
  std::int64_t byte_count() const;

  /// A tensor as it is now. On the host it is the state's own, which changes with the next run; of
  /// another device, or from another layout, it is a copy. Throws Error(failure) for an unknown key.
  HostTensor tensor(const std::string& key) const;
  /// All tensors likewise.
  TensorMap tensors() const;
  /// A deep copy of all tensors.
  TensorMap snapshot() const;
  /// Overwrites tensors with those of the same keys. Throws Error(usage) for an unknown key or
  /// another shape; then nothing is changed.
  void assign(const TensorMap& tensors);
  /// Overwrites a tensor with zeros. Throws Error(failure) for an unknown key.
  void clear(const std::string& key);
  /// Address of a tensor on its device, in the device's layout. Throws Error(failure) for an unknown key.
  std::byte* bytes(const std::string& key) const;

 private:
  struct Tensor {
    DType dtype = DType::f32;
    std::vector<std::int64_t> shape;
    std::vector<std::int64_t> strides;  ///< in elements; empty: row-major
    std::int64_t byte_count = 0;
    std::shared_ptr<std::byte> bytes;
  };
  /// Fills `tensors_`; `device` null: row-major on the host. Throws as the constructors.
  void adopt(const Graph& graph, const TensorMap& tensors, bool float64, const Backend* device);
  const Tensor& find(const std::string& key) const;

  std::shared_ptr<DeviceQueue> queue_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace facet
