#pragma once

#include <deque>
#include <dnnl.hpp>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

namespace facet::cpu {

using PrimitiveDesc = dnnl::primitive_desc_base;

/// Whether an implementation is compiled for this machine rather than oneDNN's plain loops, which
/// are a hundred times slower.
bool is_fast(const PrimitiveDesc& descriptor);

/// Primitive descriptors by key, so that repeated blocks ask oneDNN once. What oneDNN cannot do is
/// remembered too. Keeps the 2048 youngest. Thread-safe.
class PrimitiveCache {
 public:
  /// Nothing where `make` throws a dnnl::error by which oneDNN says that it has no such primitive:
  /// "unimplemented", or "invalid arguments" for a combination that it refuses. Any other error
  /// goes on to the caller and is not remembered. The number of threads joins the key.
  std::optional<PrimitiveDesc> get(const std::string& key,
                                   const std::function<PrimitiveDesc()>& make);
  /// Forgets all: a descriptor may take 120 KB.
  void clear();

 private:
  static constexpr std::size_t kCapacity = 2048;
  std::mutex mutex_;
  std::unordered_map<std::string, std::optional<PrimitiveDesc>> entries_;
  std::deque<std::string> age_;
};

}  // namespace facet::cpu
