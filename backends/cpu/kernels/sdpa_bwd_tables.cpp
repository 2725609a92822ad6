// The tables of sdpa_bwd, packed once per run, and the gradients of tables, added up at its end.
// See SdpaBwdPlan.

#include <algorithm>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/sdpa_bwd_plan.h"

namespace facet::cpu {
namespace {

constexpr std::int64_t kBefore = kPanel - 1;

class Tables {
 public:
  Tables(const SdpaBwdPlan& plan, const Addresses& addresses, std::int64_t part, std::int64_t parts)
      : p_(plan),
        s_(plan.bwd.sdpa),
        addresses_(addresses),
        base_(reinterpret_cast<float*>(addresses.scratch)),
        part_(part),
        parts_(parts) {}

  void pack() {
    const std::int64_t d = s_.query.size;
    if (mine()) pack_factors();
    if (s_.relative_query >= 0) {
      places(backwards(matrix(s_.relative_query, s_.distances(), d)), 0, p_.places_row);
    }
    if (s_.relative_height >= 0) {
      places(backwards(matrix(s_.relative_height, 2 * s_.height - 1, d)), 0, p_.rows_columns);
      places(backwards(matrix(s_.relative_width, 2 * s_.width - 1, d)), p_.rows_columns,
             p_.places_row - p_.rows_columns);
    }
    const SdpaFactors& f = p_.factors;
    if (s_.relative_key >= 0) {
      const PackSource key = matrix(s_.relative_key, s_.distances(), d);
      if (mine()) f.left_rows(key, -kBefore, p_.key_row - kBefore, base_ + p_.at.key, f.whole(d));
      if (mine()) f.right_rows(key, 0, p_.key_row, base_ + p_.at.key_places, p_.depth_row);
    }
    if (s_.relative_value >= 0 && mine()) {
      f.right_columns(backwards(matrix(s_.relative_value, s_.distances(), s_.value.size)), 0,
                      p_.value_row, base_ + p_.at.value_turned, p_.value_row);
    }
  }

 private:
  /// Whether this part does the next piece of work.
  bool mine() { return next_++ % parts_ == part_; }

  PackSource matrix(int operand, std::int64_t rows, std::int64_t channels) const {
    const SdpaExtra& from = p_.extra(operand);
    PackSource source;
    source.type = from.type;
    source.data = addresses_.operands[static_cast<std::size_t>(operand) + 1];
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

  /// Rows of the source become rows, and turned columns, first, first + 1, ... of the places.
  void places(const PackSource& source, std::int64_t first, std::int64_t count) {
    const SdpaFactors& f = p_.factors;
    if (mine()) {
      f.right_columns(source, 0, count, base_ + p_.at.places_turned + first, p_.places_row);
    }
    if (mine()) {
      float* const to = base_ + p_.at.places + f.words(first) * p_.depth_row;
      f.right_rows(source, 0, count, to, p_.depth_row);
    }
  }

  void pack_factors() const {
    float* const factors = base_ + p_.at.factors;
    std::fill_n(factors, 3 * s_.heads, 1.0f);
    if (s_.score_scale >= 0) {
      pack_rows(matrix(s_.score_scale, s_.terms(), s_.heads), 0, s_.terms(), factors, s_.heads);
    }
    for (std::int64_t i = 0; i < 3 * s_.heads; ++i) factors[i] *= static_cast<float>(s_.scale);
  }

  const SdpaBwdPlan& p_;
  const Sdpa& s_;
  const Addresses& addresses_;
  float* base_;
  std::int64_t part_, parts_, next_ = 0;
};

/// Adds up what the groups have and writes it.
class Sums {
 public:
  Sums(const SdpaBwdPlan& plan, const Addresses& addresses, std::int64_t part, std::int64_t parts)
      : p_(plan),
        s_(plan.bwd.sdpa),
        addresses_(addresses),
        base_(reinterpret_cast<float*>(addresses.scratch)),
        part_(part),
        parts_(parts) {}

  void write() const {
    const SdpaBwd& b = p_.bwd;
    const std::int64_t d = s_.query.size, distances = s_.distances();
    if (part_ == 0 && b.score_scale >= 0) write_scales();
    table(b.relative_query, distances, d, p_.at.of_places, p_.places_row, /*backwards=*/true);
    table(b.relative_height, 2 * s_.height - 1, d, p_.at.of_places, p_.places_row,
          /*backwards=*/true);
    table(b.relative_width, 2 * s_.width - 1, d, p_.at.of_places + p_.rows_columns, p_.places_row,
          /*backwards=*/true);
    table(b.relative_key, distances, d, p_.at.of_key, p_.key_row, /*backwards=*/false);
    table(b.relative_value, distances, s_.value.size, p_.at.of_value, p_.value_row,
          /*backwards=*/true);
  }

 private:
  /// A table's gradient, which the groups have turned, its rows maybe from the last to the first.
  void table(int result, std::int64_t rows, std::int64_t channels, std::int64_t place,
             std::int64_t place_row, bool backwards) const {
    if (result < 0) return;
    const SdpaExtra& to = extra(result);
    const std::int64_t begin = rows * part_ / parts_, end = rows * (part_ + 1) / parts_;
    const std::int64_t first = backwards ? rows - end : begin;
    std::vector<float> sums(static_cast<std::size_t>(channels * (end - begin)));
    for (std::int64_t g = 0; g < p_.groups; ++g) {
      const float* from = base_ + p_.at.tables + g * p_.at.group + place + first;
      float* sum = sums.data();
      for (std::int64_t c = 0; c < channels; ++c, from += place_row, sum += end - begin) {
#pragma omp simd
        for (std::int64_t i = 0; i < end - begin; ++i) sum[i] += from[i];
      }
    }
    std::vector<float> line(static_cast<std::size_t>(channels));
    for (std::int64_t row = begin; row < end; ++row) {
      const float* from = sums.data() + (backwards ? end - 1 - row : row - begin);
      for (float& x : line) {
        x = *from;
        from += end - begin;
      }
      store(result, row, line, to);
    }
  }

  void write_scales() const {
    std::vector<float> line(static_cast<std::size_t>(s_.heads));
    for (std::int64_t term = 0; term < s_.terms(); ++term) {
      for (std::int64_t head = 0; head < s_.heads; ++head) {
        double sum = 0;
        for (std::int64_t n = 0; n < p_.images; ++n) {
          sum += base_[p_.at.scales + 3 * (n * s_.heads + head) + term];
        }
        line[static_cast<std::size_t>(head)] = static_cast<float>(sum);
      }
      store(p_.bwd.score_scale, term, line, extra(p_.bwd.score_scale));
    }
  }

  const SdpaExtra& extra(int result) const {
    return p_.extra_results[static_cast<std::size_t>(result - p_.bwd.value - 1)];
  }
  void store(int result, std::int64_t row, const std::vector<float>& line,
             const SdpaExtra& to) const {
    store_floats(
        to.type, line.data(),
        addresses_.results[static_cast<std::size_t>(result)] + row * to.row * size_of(to.type),
        to.column, static_cast<std::int64_t>(line.size()));
  }

  const SdpaBwdPlan& p_;
  const Sdpa& s_;
  const Addresses& addresses_;
  float* base_;
  std::int64_t part_, parts_;
};

}  // namespace

void pack_sdpa_bwd_tables(const SdpaBwdPlan& plan, const Addresses& addresses, std::int64_t part,
                          std::int64_t parts) {
  Tables(plan, addresses, part, parts).pack();
}

void add_sdpa_bwd_groups(const SdpaBwdPlan& plan, const Addresses& addresses, std::int64_t part,
                         std::int64_t parts) {
  Sums(plan, addresses, part, parts).write();
}

}  // namespace facet::cpu
