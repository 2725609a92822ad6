#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/backend.h"

namespace facet::cpu {

/// The addresses a kernel was bound to.
struct Addresses {
  std::vector<std::byte*> operands;
  std::vector<std::byte*> results;
  std::byte* scratch = nullptr;
};

/// A kernel made of a Plan: an immutable structure with
///   std::string implementation() const;
///   std::size_t scratch_bytes() const;
///   void run(const Addresses&) const;
/// Callables share the plan, so they may outlive the kernel.
template <class Plan>
class PlannedKernel : public Kernel {
 public:
  explicit PlannedKernel(Plan plan) : plan_(std::make_shared<const Plan>(std::move(plan))) {}

  std::string implementation() const override { return plan_->implementation(); }
  std::size_t scratch_bytes() const override { return plan_->scratch_bytes(); }
  std::function<void()> bind(DeviceQueue&, std::span<std::byte* const> operands,
                             std::span<std::byte* const> results,
                             std::byte* scratch) const override {
    Addresses addresses{
        {operands.begin(), operands.end()}, {results.begin(), results.end()}, scratch};
    return [plan = plan_, bound = std::move(addresses)] { plan->run(bound); };
  }

 private:
  std::shared_ptr<const Plan> plan_;
};

template <class Plan>
std::unique_ptr<Kernel> make_kernel(Plan plan) {
  return std::make_unique<PlannedKernel<Plan>>(std::move(plan));
}

}  // namespace facet::cpu
