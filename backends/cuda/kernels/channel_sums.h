#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backends/cuda/kernels/elementwise.h"
#include "backends/cuda/kernels/kernel_source.h"
#include "backends/cuda/kernels/loops.h"

namespace facet::cuda {

/// Writes the kernels that make sums for each channel of values [N, C, ...]: one that leaves sums
/// of parts in scratch, one that adds up the parts and makes of the sums what is asked for. All
/// sums are f32 in a fixed order.
///
/// Where channels lie innermost, a thread sums some neighbouring channels over some positions, the
/// lanes of a warp share channels and positions among them so that they read neighbours, the warps
/// of a block share positions, and there are blocks enough to keep the device busy. Where positions
/// lie innermost, a block sums one channel.
class ChannelSums {
 public:
  struct Source {
    std::string name;  ///< of an element in terms; "x"
    PlacedView value;
  };
  /// Memory of one f32 per channel by name, for the text of `finish_with`.
  struct ChannelAccess {
    std::string name;
    KernelArgument place;
    bool written = false;
  };

  /// `name` starts the kernels' names; the first of the sources tells what lies innermost. Throws
  /// Error(failure) for a blocked layout.
  ChannelSums(std::string name, std::vector<Source> sources);

  /// "shift" in terms and in the last text: the channel's first element of the source.
  void add_shift(std::string source);
  /// A f32 per channel by this name in terms; `is_one`: one number for all channels.
  void add_parameter(std::string name, KernelArgument place, bool is_one = false);
  /// What is summed, C++ expressions of sources and parameters, behind the statements `lines`.
  void add_terms(std::string lines, std::vector<std::string> terms);
  /// The first kernel also writes this value, of the terms' lines, for every element.
  void write(std::string value, const PlacedView& to);
  /// Statements that get sum0, sum1, ... of channel c.
  void finish_with(std::vector<ChannelAccess> accesses, std::string text);
  /// A third kernel adds sum number `term` of all channels up into one f32.
  void add_total(std::size_t term, KernelArgument to);

  /// Elements of a channel.
  std::int64_t count() const { return count_; }
  KernelSequence kernels() const;

 private:
  struct Parameter {
    std::string name;
    KernelArgument place;
    bool is_one = false;
  };
  struct Tiling;
  Tiling tiling() const;
  KernelSource sum_kernel(const Tiling& tiling) const;
  std::string loop_text(const Tiling& tiling) const;
  std::string block_text(const Tiling& tiling) const;
  KernelSource finish_kernel(const Tiling& tiling) const;
  KernelSource total_kernel(const Tiling& tiling) const;
  std::string shift_of(const std::string& channel) const;

  std::string name_;
  std::vector<Source> sources_;  ///< those that are read, then the one that is written, if any
  std::string written_;          ///< its name, empty for none
  std::string shifted_;
  std::vector<Parameter> parameters_;
  std::string lines_;
  std::vector<std::string> terms_;
  std::vector<ChannelAccess> accesses_;
  std::string finish_;
  std::optional<std::pair<std::size_t, KernelArgument>> total_;
  std::int64_t channels_ = 0;
  std::int64_t count_ = 0;
};

}  // namespace facet::cuda
