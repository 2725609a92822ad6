#include "backends/cpu/primitive_cache.h"

#include <fmt/format.h>
#include <omp.h>

#include <string_view>

namespace facet::cpu {

bool is_fast(const PrimitiveDesc& descriptor) {
  // "ref:any", or wrapped: "jit_uni_ncsp_convolution:conv+ref:any".
  const std::string_view name = descriptor.impl_info_str();
  return name.find("ref:") == name.npos;
}

std::optional<PrimitiveDesc> PrimitiveCache::get(const std::string& key,
                                                 const std::function<PrimitiveDesc()>& make) {
  // oneDNN divides the work when it makes a descriptor, by the threads it finds then.
  const std::string full = fmt::format("{}t {}", omp_get_max_threads(), key);
  {
    const std::lock_guard lock(mutex_);
    const auto it = entries_.find(full);
    if (it != entries_.end()) return it->second;
  }
  std::optional<PrimitiveDesc> made;
  try {
    made = make();
  } catch (const dnnl::error& error) {
    if (error.status != dnnl_unimplemented && error.status != dnnl_invalid_arguments) throw;
  }
  const std::lock_guard lock(mutex_);
  if (entries_.emplace(full, made).second) age_.push_back(full);
  if (age_.size() > kCapacity) {
    entries_.erase(age_.front());
    age_.pop_front();
  }
  return made;
}

void PrimitiveCache::clear() {
  const std::lock_guard lock(mutex_);
  entries_.clear();
  age_.clear();
}

}  // namespace facet::cpu
