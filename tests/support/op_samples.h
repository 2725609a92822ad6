#pragma once

#include <string>

#include "ir/graph.h"
#include "ir/host_tensor.h"
#include "ir/op.h"

namespace facet::testing {

/// A graph of one op: operand i is the input "x<i>", result i the output "y<i>".
struct SampleCase {
  Graph graph;
  TensorMap inputs;
};

/// The graph of `sample` with inputs drawn from the sample's range (f32, or whole numbers for
/// integer operands). The same sample gives the same inputs.
SampleCase make_case(const OpDef& op, const Sample& sample);

/// "conv(f32[2, 16, 9, 7], f32[24, 16, 1, 1])": a sample in a failure message.
std::string describe(const OpDef& op, const Sample& sample);

/// Largest |a - b| over the elements; infinite if the shapes differ or a value is NaN in only one.
double max_difference(const HostTensor& a, const HostTensor& b);

}  // namespace facet::testing
