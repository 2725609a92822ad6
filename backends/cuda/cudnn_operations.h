#pragma once

#include <deque>
#include <map>
#include <string>

#include "backends/cuda/cudnn_descriptor.h"
#include "backends/cuda/operation_graph.h"

/// The steps of an operation graph as cuDNN's operation descriptors.
namespace facet::cuda {

/// What operations refer to: tensors by number, descriptions of operations. It must live as long as
/// they do.
class GraphParts {
 public:
  const Descriptor& keep(Descriptor part) { return parts_.emplace_back(std::move(part)); }
  void keep_tensor(int number, Descriptor part) { tensors_[number] = &keep(std::move(part)); }
  bool has_tensor(int number) const { return tensors_.contains(number); }
  const Descriptor& tensor(int number) const { return *tensors_.at(number); }

 private:
  std::deque<Descriptor> parts_;
  std::map<int, const Descriptor*> tensors_;
};

/// Makes the operation of step `number`, whose tensors are among the parts; it is not finalised.
/// Throws Error(failure) with cuDNN's reason.
Descriptor make_operation(const GraphStep& step, std::size_t number, GraphParts& parts);

}  // namespace facet::cuda
