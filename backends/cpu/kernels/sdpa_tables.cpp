// The tables of sdpa, packed once per run, see SdpaScratch.

#include <algorithm>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/sdpa_plan.h"

namespace facet::cpu {
namespace {

class Tables {
 public:
  Tables(const SdpaPlan& plan, const Addresses& addresses, std::int64_t part, std::int64_t parts)
      : p_(plan),
        s_(plan.sdpa),
        addresses_(addresses),
        base_(reinterpret_cast<float*>(addresses.scratch)),
        part_(part),
        parts_(parts) {}

  void pack() const {
    const std::int64_t d = s_.query.size;
    if (s_.relative_query >= 0) {
      turn(backwards(matrix(s_.relative_query, s_.distances(), d)), 0, p_.places_row);
    }
    if (s_.relative_height >= 0) {
      turn(backwards(matrix(s_.relative_height, 2 * s_.height - 1, d)), 0, p_.rows_columns);
      turn(backwards(matrix(s_.relative_width, 2 * s_.width - 1, d)), p_.rows_columns,
           p_.places_row - p_.rows_columns);
    }
    if (s_.relative_key >= 0) pack_key();
    if (s_.relative_value >= 0) pack_value();
    if (part_ == 0) pack_vectors();
  }

 private:
  PackSource matrix(int operand, std::int64_t rows, std::int64_t channels) const {
    const SdpaExtra& from = p_.extra(operand);
    PackSource source;
    source.type = from.type;
    source.data = addresses_.operands[static_cast<std::size_t>(operand)];
    source.rows = source.line_rows = rows;
    source.channels = channels;
    source.channel = from.column;
    source.row = from.row;
    return source;
  }
  static PackSource backwards(PackSource source) {
    source.data = source.at(source.rows - 1, 0);
    source.row = -source.row;
    return source;
  }

  /// Calls act(begin, end) with this part's share of `rows`: whole panels.
  template <class Act>
  void share(std::int64_t rows, const Act& act) const {
    const std::int64_t panels = (rows + kPanel - 1) / kPanel;
    const std::int64_t begin = panels * part_ / parts_ * kPanel;
    const std::int64_t end = std::min(panels * (part_ + 1) / parts_ * kPanel, rows);
    if (begin < end) act(begin, end);
  }

  /// Rows of the source become columns first, first + 1, ... of the places.
  void turn(const PackSource& source, std::int64_t first, std::int64_t columns) const {
    share(columns, [&](std::int64_t begin, std::int64_t end) {
      float* const to = base_ + p_.at.places + first + begin;
      if (p_.pairs) {
        pack_pair_columns(source, begin, end, reinterpret_cast<std::uint32_t*>(to), p_.places_row);
      } else {
        pack_columns(source, begin, end, to, p_.places_row);
      }
    });
  }

  void pack_key() const {
    constexpr std::int64_t kBefore = kPanel - 1;
    const PackSource source = matrix(s_.relative_key, s_.distances(), s_.query.size);
    share(s_.distances() + kBefore, [&](std::int64_t begin, std::int64_t end) {
      float* const to = base_ + p_.at.key + begin * p_.score_depth;
      if (p_.pairs) {
        pack_bf16_rows(source, begin - kBefore, end - kBefore, reinterpret_cast<std::uint16_t*>(to),
                       2 * p_.score_depth);
      } else {
        pack_rows(source, begin - kBefore, end - kBefore, to, p_.score_depth);
      }
    });
  }

  void pack_value() const {
    const PackSource source = backwards(matrix(s_.relative_value, s_.distances(), s_.value.size));
    if (!p_.pairs) {
      return share(s_.distances(), [&](std::int64_t begin, std::int64_t end) {
        pack_rows(source, begin, end, base_ + p_.at.value + begin * p_.values_row, p_.values_row);
      });
    }
    share(s_.distances() / 2 * 2 + 2, [&](std::int64_t begin, std::int64_t end) {
      float* const to = base_ + p_.at.value + begin / 2 * p_.values_row;
      pack_pair_rows(source, begin, end, reinterpret_cast<std::uint32_t*>(to), p_.values_row);
    });
  }

  void pack_vectors() const {
    float* const factors = base_ + p_.at.factors;
    std::fill_n(factors, 3 * s_.heads, 1.0f);
    load(s_.score_scale, s_.terms(), s_.heads, factors);
    for (std::int64_t i = 0; i < 3 * s_.heads; ++i) factors[i] *= static_cast<float>(s_.scale);
    const std::int64_t channels = s_.channels();
    float* const outputs = base_ + p_.at.outputs;
    std::fill_n(outputs, 2 * channels, 1.0f);
    std::fill_n(outputs + 2 * channels, channels, 0.0f);
    load(s_.output_scale, s_.relative_value >= 0 ? 2 : 1, channels, outputs);
    load(s_.output_shift, 1, channels, outputs + 2 * channels);
  }

  void load(int operand, std::int64_t rows, std::int64_t columns, float* to) const {
    if (operand >= 0) pack_rows(matrix(operand, rows, columns), 0, rows, to, columns);
  }

  const SdpaPlan& p_;
  const Sdpa& s_;
  const Addresses& addresses_;
  float* base_;
  std::int64_t part_, parts_;
};

}  // namespace

void pack_sdpa_tables(const SdpaPlan& plan, const Addresses& addresses, std::int64_t part,
                      std::int64_t parts) {
  Tables(plan, addresses, part, parts).pack();
}

}  // namespace facet::cpu
