#include "tests/fuzz/memory_limit.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

// Of the sanitizer's allocator_interface.h, which GCC does not install.
extern "C" {
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*, std::size_t),
                                              void (*on_free)(const volatile void*));
std::size_t __sanitizer_get_allocated_size(const volatile void* memory);
void __sanitizer_print_stack_trace();
}

namespace facet::fuzz {
namespace {

std::atomic<std::ptrdiff_t> live = 0;
std::atomic<std::ptrdiff_t> peak = 0;

void on_malloc(const volatile void*, std::size_t size) {
  const std::ptrdiff_t now = live += static_cast<std::ptrdiff_t>(size);
  if (now > peak) peak = now;
  if (now <= static_cast<std::ptrdiff_t>(kMemoryLimit)) return;
  live = 0;  // printing allocates
  std::fprintf(stderr, "fuzz: %zu bytes are allocated at once, the last %zu here:\n",
               static_cast<std::size_t>(now), size);
  __sanitizer_print_stack_trace();
  std::abort();
}

void on_free(const volatile void* memory) {
  if (memory != nullptr)
    live -= static_cast<std::ptrdiff_t>(__sanitizer_get_allocated_size(memory));
}

}  // namespace

void watch_memory() { __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free); }

void begin_input() {
  live = 0;
  peak = 0;
}

std::size_t peak_memory() { return static_cast<std::size_t>(peak.load()); }

}  // namespace facet::fuzz
