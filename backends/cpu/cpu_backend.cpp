#include "backends/cpu/cpu_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "backends/cpu/backward.h"
#include "backends/cpu/compute.h"
#include "backends/cpu/kernels/direct_convolution.h"
#include "backends/cpu/kernels/gather.h"
#include "backends/cpu/kernels/grouped.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/kernels/train_kernels.h"
#include "backends/cpu/kernels/weights_reorder.h"
#include "backends/cpu/kernels/winograd.h"
#include "backends/cpu/oracle_kernel.h"
#include "backends/cpu/volume.h"
#include "ir/elementwise_program.h"
#include "ir/error.h"
#include "ir/gate.h"
#include "ir/op.h"
#include "ir/sdpa.h"

namespace facet {
namespace {

/// Which code runs a kind of node.
enum class Family {
  leaf,
  compute,
  backward,
  branches,
  volume,
  resize,
  layer_norm,
  elementwise,
  reduce,
  pooling,
  softmax,
  sdpa,
  sdpa_bwd,
  score_moments,
  gate,
  batch_norm,
  prelu_bwd,
  pooling_bwd,
  reduce_max_bwd,
  softmax_bwd,
  labels,
  dropout,
  update,
  gather,
  copy,
  reorder,
  unknown
};

Family family_of(const Node& node) {
  using Names = std::initializer_list<std::string_view>;
  const auto is_one_of = [&](Names names) {
    return std::find(names.begin(), names.end(), node.kind()) != names.end();
  };
  if (is_one_of({"input", "parameter", "constant"})) return Family::leaf;
  if (cpu::is_compute(node)) return Family::compute;
  if (cpu::is_backward_compute(node)) return Family::backward;
  if (node.is("conv_branches")) return Family::branches;
  if (cpu::is_volume(node)) return Family::volume;
  if (is_one_of({"resize", "resize_bwd"})) return Family::resize;
  if (node.is("layer_norm")) return Family::layer_norm;
  if (is_one_of({"elementwise", "batch_norm"}) || elementwise_arity(node.kind()) > 0) {
    return Family::elementwise;
  }
  if (is_one_of({"reduce_mean", "reduce_sum", "reduce_max", "reduce_min"})) return Family::reduce;
  if (is_one_of({"max_pool", "avg_pool"})) return Family::pooling;
  if (node.is("softmax")) return Family::softmax;
  if (node.is("sdpa")) return Family::sdpa;
  if (node.is("sdpa_bwd")) return Family::sdpa_bwd;
  if (is_one_of({"score_moments", "score_moments_bwd"})) return Family::score_moments;
  if (node.is("gate")) return Family::gate;
  if (is_one_of({"batch_norm_train", "batch_norm_apply", "batch_norm_bwd"}))
    return Family::batch_norm;
  if (node.is("prelu_bwd")) return Family::prelu_bwd;
  if (is_one_of({"max_pool_bwd", "avg_pool_bwd"})) return Family::pooling_bwd;
  if (node.is("reduce_max_bwd")) return Family::reduce_max_bwd;
  if (node.is("softmax_bwd")) return Family::softmax_bwd;
  if (is_one_of({"cross_entropy", "cross_entropy_bwd", "pick", "pick_bwd", "place", "gather_rows",
                 "owed_rows", "scatter_add_rows"})) {
    return Family::labels;
  }
  if (node.is("dropout_train")) return Family::dropout;
  if (node.op().aliasing == Aliasing::update) return Family::update;
  if (is_one_of({"transpose", "concat", "slice", "strided_slice", "pad", "reverse", "expand",
                 "reshape", "cast"})) {
    return Family::copy;
  }
  // The other distance is one of these and a reversal, which may move elsewhere.
  if (is_one_of({"skew", "unskew"}) && node.attributes().text("distance") == "j-i") {
    return Family::copy;
  }
  if (cpu::takes_gather(node)) return Family::gather;
  if (node.is("reorder")) return Family::reorder;
  return Family::unknown;
}

/// Types the memory-bound kernels compute with.
bool is_kernel_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
}

/// Maps are read pixel by pixel, so their channels lie side by side; weights are row-major.
LayoutChoice gate_layouts(const Node& node) {
  LayoutChoice choice;
  const int residual = gate_of(node).residual;
  for (int i = 0; i < node.operand_count(); ++i) {
    choice.operands.emplace_back(i == 0 || i == residual ? "acdb" : "");
  }
  choice.results.emplace_back("acdb");
  return choice;
}

bool is_empty(const Type& type) {
  return std::any_of(type.shape.begin(), type.shape.end(),
                     [](const Dim& dim) { return dim.factor == 0; });
}

/// Whether there is not one element to compute.
bool writes_nothing(const Node& node) {
  const auto results = node.result_types();
  return !results.empty() && std::all_of(results.begin(), results.end(), is_empty);
}

/// Computes results that have no element (an extent of 0): there is no byte to write.
class EmptyKernel final : public Kernel {
 public:
  std::string implementation() const override { return "empty"; }
  std::function<void()> bind(DeviceQueue&, std::span<std::byte* const>, std::span<std::byte* const>,
                             std::byte*) const override {
    return [] {};
  }
};

class CpuBackend : public Backend {
 public:
  std::string_view name() const override { return "cpu"; }
  void end_lowering() const override { device_->cache.clear(); }

  bool supports(const Node& node) const override {
    if (writes_nothing(node)) return true;
    return runs_oracle(node) ? cpu::takes_oracle(node) : has_kernel(node);
  }

  bool multiplies(DType dtype) const override {
    if (dtype == DType::bf16) return multiplies_bf16_;
    return dtype != DType::f16 || multiplies_f16_;
  }

  bool accepts_epilogue(const Node& node, std::string_view entry,
                        const Type* extra) const override {
    return cpu::takes_direct_epilogue(node, entry, extra) ||
           cpu::accepts_epilogue(*device_, node, entry, extra);
  }

  LayoutChoice choose_layouts(const Node& node) const override {
    if (runs_oracle(node) || writes_nothing(node)) return row_major(node);
    if (runs_direct(node)) return cpu::direct_layouts(node);
    if (cpu::takes_grouped(node)) return cpu::grouped_layouts(node);
    if (family_of(node) == Family::backward) {
      return cpu::choose_backward_layouts(*device_, node);
    }
    if (family_of(node) == Family::sdpa || family_of(node) == Family::sdpa_bwd ||
        family_of(node) == Family::score_moments) {
      return channels_last(node);
    }
    if (family_of(node) == Family::gate) return gate_layouts(node);
    return cpu::choose_compute_layouts(*device_, node);
  }

  bool writes_slices(const Node& node, int index) const override {
    if (runs_oracle(node)) return true;
    if (runs_direct(node)) return true;
    if (family_of(node) == Family::compute) {
      return cpu::computes_on_slice(*device_, node, /*is_result=*/true, index);
    }
    if (node.is("reshape")) return true;
    return is_strided(node) && family_of(node) != Family::backward;
  }

  bool reads_slices(const Node& node, int index) const override {
    if (runs_oracle(node)) return true;
    if (runs_direct(node)) return true;
    if (family_of(node) == Family::compute) {
      return cpu::computes_on_slice(*device_, node, /*is_result=*/false, index);
    }
    return is_strided(node) && family_of(node) != Family::backward;
  }

  std::unique_ptr<Kernel> lower(const Node& node, std::span<const View> operands,
                                std::span<const View> results) const override {
    if (writes_nothing(node)) return std::make_unique<EmptyKernel>();
    if (runs_oracle(node)) return cpu::lower_oracle(node, operands, results);
    if (runs_direct(node)) {
      if (auto direct = cpu::lower_direct(node, operands, results)) return direct;
    }
    if (auto grouped = cpu::lower_grouped(node, operands, results)) return grouped;
    switch (family_of(node)) {
      case Family::compute:
        return cpu::lower_compute(*device_, node, operands, results[0]);
      case Family::backward:
        return cpu::lower_backward(*device_, node, operands, results);
      case Family::volume:
        if (auto volume = cpu::lower_volume(*device_, node, operands, results[0])) return volume;
        return cpu::lower_oracle(node, operands, results);
      case Family::resize:
        return cpu::lower_resize(node, operands[0], results[0]);
      case Family::layer_norm:
        return cpu::lower_layer_norm(node, operands, results[0]);
      case Family::elementwise:
        return cpu::lower_elementwise(node, operands, results);
      case Family::reduce:
        return cpu::lower_reduce(node, operands, results);
      case Family::pooling:
        return cpu::lower_pooling(node, operands, results);
      case Family::softmax:
        return cpu::lower_softmax(node, operands, results);
      case Family::sdpa:
        return cpu::lower_sdpa(node, operands, results);
      case Family::sdpa_bwd:
        return cpu::lower_sdpa_bwd(node, operands, results);
      case Family::score_moments:
        return cpu::lower_score_moments(node, operands, results);
      case Family::gate:
        return cpu::lower_gate(node, operands, results);
      case Family::batch_norm:
        if (node.is("batch_norm_bwd")) return cpu::lower_batch_norm_bwd(node, operands, results);
        return node.is("batch_norm_train") ? cpu::lower_batch_norm_train(node, operands, results)
                                           : cpu::lower_batch_norm_apply(node, operands, results);
      case Family::prelu_bwd:
        return cpu::lower_prelu_bwd(node, operands, results);
      case Family::pooling_bwd:
        return cpu::lower_pooling_bwd(node, operands, results);
      case Family::reduce_max_bwd:
        return cpu::lower_reduce_max_bwd(node, operands, results);
      case Family::softmax_bwd:
        return cpu::lower_softmax_bwd(node, operands, results);
      case Family::labels:
        return cpu::lower_labels(node, operands, results);
      case Family::dropout:
        return cpu::lower_dropout_train(node, operands, results);
      case Family::update:
        return cpu::lower_update(node, operands, results);
      case Family::gather:
        return cpu::lower_gather(node, operands, results);
      case Family::copy:
        return cpu::lower_copy(node, operands, results);
      case Family::reorder:
        if (auto packed = cpu::lower_weights_reorder(operands[0], results[0])) return packed;
        if (auto made = cpu::lower_winograd_weights(operands[0], results[0])) return made;
        if (is_blocked(operands[0].type.layout) || is_blocked(results[0].type.layout)) {
          return cpu::lower_reorder(*device_, node, operands[0], results[0]);
        }
        return cpu::lower_copy(node, operands, results);
      case Family::branches:
      case Family::leaf:
      case Family::unknown:
        break;
    }
    throw failure(
        fmt::format("the CPU has no kernel for {} '{}'", node.kind(), node.provenance().scope));
  }

 private:
  /// Whether no kernel was made for such nodes: the oracle stands in.
  static bool runs_oracle(const Node& node) {
    const Family family = family_of(node);
    if (family == Family::leaf || family == Family::copy || family == Family::gather ||
        family == Family::reorder) {
      return false;
    }
    if (family == Family::unknown) return true;
    const auto operands = node.operands();
    const auto results = node.result_types();
    const bool reads_labels = family == Family::labels || family == Family::update;
    // Kernels divide their work by the number of elements; the oracle knows the sum of none.
    return !std::all_of(operands.begin(), operands.end(), [&](const Value& value) {
      if (is_empty(value.type())) return false;
      return is_kernel_float(value.dtype()) || (reads_labels && value.dtype() == DType::i64);
    }) || !std::all_of(results.begin(), results.end(), [](const Type& type) {
      return is_kernel_float(type.dtype);
    });
  }

  /// Of a node that does not run by the oracle.
  bool has_kernel(const Node& node) const {
    switch (family_of(node)) {
      case Family::compute:
        return cpu::takes_direct(node) || cpu::supports_compute(*device_, node);
      case Family::backward:
        return cpu::supports_backward(*device_, node);
      case Family::branches:
        return cpu::takes_direct(node);
      case Family::sdpa_bwd:
        return cpu::takes_sdpa_bwd(node);
      case Family::score_moments:
        return cpu::takes_score_moments(node);
      default:
        return true;
    }
  }

  static LayoutChoice row_major(const Node& node) {
    return {std::vector<Layout>(static_cast<std::size_t>(node.operand_count())),
            std::vector<Layout>(static_cast<std::size_t>(node.result_count()))};
  }

  /// NHWC for the maps among q, k, v, the result and their gradients; sequences and tables as they
  /// are, and moments, which are no maps.
  static LayoutChoice channels_last(const Node& node) {
    const auto layouts = [](const Type& type, bool is_map) {
      return Layout(is_map && type.rank() == 4 ? "acdb" : "");
    };
    int maps = 3, results = 1;  // the first ones
    if (node.is("sdpa_bwd")) {
      maps = 4;
      results = sdpa_bwd_of(node).value + 1;
    } else if (node.is("score_moments_bwd")) {
      maps = 5;
      results = score_moments_bwd_of(node).key + 1;
    }
    LayoutChoice choice;
    for (int i = 0; i < node.operand_count(); ++i) {
      choice.operands.push_back(layouts(node.operand(i).type(), i < maps));
    }
    for (int i = 0; i < node.result_count(); ++i) {
      choice.results.push_back(
          layouts(node.result_types()[static_cast<std::size_t>(i)], i < results));
    }
    return choice;
  }

  bool runs_direct(const Node& node) const {
    return cpu::takes_direct(node) && !cpu::prefers_primitive(*device_, node);
  }

  /// Own kernels read and write any strides; but a reshape has strides for gaps on one side alone,
  /// and the zeros of an unskew reach from one row into the next.
  static bool is_strided(const Node& node) {
    if (node.is("reshape") || node.is("unskew") || node.is("score_moments_bwd") ||
        node.op().aliasing == Aliasing::update)
      return false;
    const auto types = node.result_types();
    return std::none_of(types.begin(), types.end(),
                        [](const Type& type) { return is_blocked(type.layout); });
  }

  std::shared_ptr<cpu::Device> device_ = std::make_shared<cpu::Device>();
  bool multiplies_bf16_ = cpu::multiplies(*device_, DType::bf16);
  bool multiplies_f16_ = cpu::multiplies(*device_, DType::f16);
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend() { return std::make_unique<CpuBackend>(); }

}  // namespace facet
