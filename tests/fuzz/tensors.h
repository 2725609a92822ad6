#pragma once

#include <cstdlib>

#include "ir/host_tensor.h"

namespace facet::fuzz {

/// Reads every byte a reader handed out, so that a tensor beyond its memory is a fault at once.
inline void touch(const HostTensor& tensor) {
  if (tensor.byte_count() < 0 || (tensor.data() == nullptr && tensor.byte_count() > 0))
    std::abort();
  unsigned sum = 0;
  for (std::int64_t i = 0; i < tensor.byte_count(); ++i)
    sum += std::to_integer<unsigned>(tensor.data()[i]);
  volatile unsigned sink = sum;
  (void)sink;
}

/// The same of names and tensors.
template <class Tensors>
void touch_all(const Tensors& tensors) {
  for (const auto& [name, tensor] : tensors) touch(tensor);
}

}  // namespace facet::fuzz
