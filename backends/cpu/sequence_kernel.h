#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/backend.h"

namespace facet::cpu {

/// Kernels run one after the other on some of a node's operands and results; they use the same
/// scratch. Named after the first.
class SequenceKernel : public Kernel {
 public:
  /// `operands` and `results` are the node's, in the order in which the kernel takes its own.
  void append(std::unique_ptr<Kernel> kernel, std::vector<std::size_t> operands,
              std::vector<std::size_t> results) {
    steps_.push_back({std::move(kernel), std::move(operands), std::move(results)});
  }

  std::string implementation() const override { return steps_.front().kernel->implementation(); }
  std::size_t scratch_bytes() const override {
    std::size_t most = 0;
    for (const Step& step : steps_) most = std::max(most, step.kernel->scratch_bytes());
    return most;
  }
  std::function<void()> bind(DeviceQueue& queue, std::span<std::byte* const> operands,
                             std::span<std::byte* const> results,
                             std::byte* scratch) const override {
    std::vector<std::function<void()>> calls;
    for (const Step& step : steps_) {
      std::vector<std::byte*> reads, writes;
      for (const std::size_t i : step.operands) reads.push_back(operands[i]);
      for (const std::size_t i : step.results) writes.push_back(results[i]);
      calls.push_back(step.kernel->bind(queue, reads, writes, scratch));
    }
    return [calls = std::move(calls)] {
      for (const auto& call : calls) call();
    };
  }

 private:
  struct Step {
    std::unique_ptr<Kernel> kernel;
    std::vector<std::size_t> operands, results;
  };
  std::vector<Step> steps_;
};

}  // namespace facet::cpu
