// Blocks of queries of sdpa, see SdpaPlan.

#include <algorithm>
#include <cstring>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/sdpa_plan.h"

namespace facet::cpu {
namespace {

constexpr std::int64_t kBefore = kPanel - 1;
/// Bytes a prefetch asks for.
constexpr std::int64_t kLine = 64;

/// One thread and its part of the scratch.
class Worker {
 public:
  Worker(const SdpaPlan& plan, const Addresses& addresses, std::int64_t thread)
      : p_(plan),
        s_(plan.sdpa),
        addresses_(addresses),
        tables_(reinterpret_cast<float*>(addresses.scratch)),
        own_(reinterpret_cast<float*>(addresses.scratch) + plan.at.tables +
             thread * plan.at.thread) {
    std::fill_n(own_ + p_.at.scores, kPanel + p_.loops->block_rows * p_.scores_row, 0.0f);
    if (p_.pairs) {
      std::fill_n(reinterpret_cast<std::uint16_t*>(own_ + p_.at.weights),
                  kPanel + p_.loops->block_rows * p_.scores_row, std::uint16_t{0});
    }
  }

  /// Reads the keys and values of a head.
  void begin_head(std::int64_t image, std::int64_t head) {
    image_ = image;
    head_ = head;
    rows_ = 0;
    const PackSource k = head_of(p_.k, 1);
    const PackSource v = head_of(p_.v, 2);
    float* const keys = own_ + p_.at.keys;
    float* const values = own_ + p_.at.values;
    if (p_.pairs) {
      pack_pair_columns(k, 0, p_.padded_keys, reinterpret_cast<std::uint32_t*>(keys), p_.keys_row);
      pack_pair_rows(v, 0, s_.keys, reinterpret_cast<std::uint32_t*>(values), p_.values_row);
    } else {
      pack_columns(k, 0, p_.padded_keys, keys, p_.keys_row);
      pack_rows(v, 0, s_.keys, values, p_.values_row);
    }
  }

  /// Asks for part `part` of `parts` of what a head will read: its channels of a token are few, and
  /// too far from those of the next token for the machine to guess.
  void prefetch_head(std::int64_t image, std::int64_t head, std::int64_t part,
                     std::int64_t parts) const {
    std::size_t operand = 0;
    for (const SdpaTokens* tokens : {&p_.q, &p_.k, &p_.v}) {
      const PackSource& matrix = tokens->matrix;
      const std::byte* const data =
          addresses_.operands[operand++] + offset_of(*tokens, image, head) * size_of(matrix.type);
      if (matrix.channel != 1) continue;
      const std::int64_t end = matrix.rows * (part + 1) / parts;
      for (std::int64_t token = matrix.rows * part / parts; token < end; ++token) {
        const std::byte* const row = data + (matrix.at(token, 0) - matrix.data);
        for (std::int64_t at = 0; at < matrix.channels * size_of(matrix.type); at += kLine) {
          __builtin_prefetch(row + at, 0, 2);
        }
      }
    }
  }

  /// Queries begin..end of the head; following blocks of a head share work.
  void run(std::int64_t begin, std::int64_t end) {
    const std::int64_t before = begin == first_ + rows_ ? rows_ : 0;
    first_ = begin;
    rows_ = end - begin;
    const PackSource q = head_of(p_.q, 0);
    if (p_.pairs) {
      pack_bf16_rows(q, begin, end, reinterpret_cast<std::uint16_t*>(own_ + p_.at.queries),
                     query_row());
    } else {
      pack_rows(q, begin, end, own_ + p_.at.queries, query_row());
    }
    multiply({queries(), query_row(), own_ + p_.at.keys, p_.keys_row, scores(), p_.scores_row,
              rows_, p_.padded_keys, p_.score_depth});
    if (s_.relative_key >= 0) multiply_key_places(before);
    sum_scores();
    if (s_.bias >= 0) add_bias();
    float sums[kMostRows];
    const Exponentials rows{scores(), p_.scores_row, rows_, s_.keys, p_.padded_keys, sums};
    if (p_.pairs) {
      p_.loops->pair_exponentials(rows, p_.weights.has_value(), pair_weights(0));
    } else {
      p_.loops->exponentials(rows);
      if (p_.weights) p_.loops->normalize(rows);
    }
    if (p_.weights) {  // what is kept is what is multiplied
      std::fill_n(sums, rows_, 1.0f);
      keep_weights();
    }
    multiply_values();
    sum_outputs(sums);
    if (joins_outputs()) return join_outputs();
    store_outputs(0);
    if (s_.interleaved) store_outputs(1);
  }

 private:
  PackSource head_of(const SdpaTokens& tokens, std::size_t operand) const {
    PackSource head = tokens.matrix;
    head.data =
        addresses_.operands[operand] + offset_of(tokens, image_, head_) * size_of(head.type);
    return head;
  }
  static std::int64_t offset_of(const SdpaTokens& tokens, std::int64_t image, std::int64_t head) {
    return image * tokens.image +
           (tokens.heads.first + head * tokens.heads.step) * tokens.matrix.channel;
  }
  void multiply(const Product& product) const {
    (p_.pairs ? p_.loops->pair_product : p_.loops->product)(product);
  }

  /// Row lengths of left factors count floats, or bf16.
  std::int64_t query_row() const { return p_.pairs ? 2 * p_.score_depth : p_.score_depth; }
  const void* queries() const { return own_ + p_.at.queries; }
  float* scores() const { return own_ + p_.at.scores + kPanel; }
  /// The weights of the block's first query, from key -`before` on.
  const void* weights(std::int64_t before) const {
    if (!p_.pairs) return scores() - before;
    return pair_weights(0) - before;
  }
  /// Those of row `r` in bf16.
  std::uint16_t* pair_weights(std::int64_t r) const {
    return reinterpret_cast<std::uint16_t*>(own_ + p_.at.weights) + kPanel + r * p_.scores_row;
  }
  /// The distances of the block: those of its last query come first.
  std::int64_t window() const { return s_.queries - first_ - rows_; }
  std::int64_t window_size() const { return s_.keys + rows_ - 1; }

  /// k . relative_key for all keys and the distances of the block. The last kPanel - 1 of the block
  /// before, which had `before` queries, are the first of this one.
  void multiply_key_places(std::int64_t before) const {
    const float* const table = tables_ + p_.at.key;
    const std::int64_t skip = before > 0 ? kBefore : 0;
    for (std::int64_t j = 0; j < p_.padded_keys; j += kPanel) {
      float* const sums = own_ + p_.at.key_sums + j / kPanel * p_.key_sums_panel;
      if (before > 0) std::copy_n(sums + before * kPanel, kBefore * kPanel, sums);
      const std::int64_t row = first_ - j + s_.keys - 1 + skip;
      multiply({table + row * p_.score_depth, query_row(), own_ + p_.at.keys + j, p_.keys_row,
                sums + skip * kPanel, kPanel, rows_ + kBefore - skip, kPanel, p_.score_depth});
    }
  }

  void sum_scores() const {
    ScoreSum sum;
    sum.scores = scores();
    sum.scores_row = p_.scores_row;
    sum.rows = rows_;
    sum.panels = p_.padded_keys / kPanel;
    const float* factor = tables_ + p_.at.factors + head_;
    sum.content = *factor;
    if (s_.has_query_places()) {
      factor += s_.heads;
      sum.place = *factor;
      multiply_query_places(sum);
    }
    if (s_.relative_key >= 0) {
      factor += s_.heads;
      sum.key = *factor;
      sum.keys = own_ + p_.at.key_sums;
      sum.keys_panel = p_.key_sums_panel;
    }
    if (s_.clamp) {
      sum.clamps = true;
      sum.low = static_cast<float>(s_.clamp->first);
      sum.high = static_cast<float>(s_.clamp->second);
    }
    p_.loops->sum_scores(sum);
  }

  void multiply_query_places(ScoreSum& sum) const {
    const float* const table = tables_ + p_.at.places;
    float* const sums = own_ + p_.at.query_sums;
    const bool on_map = s_.relative_height >= 0;
    const std::int64_t columns =
        on_map ? p_.places_row : (window_size() + kPanel - 1) / kPanel * kPanel;
    multiply({queries(), query_row(), table + (on_map ? 0 : window()), p_.places_row, sums,
              p_.query_sums_row, rows_, columns, p_.score_depth});
    if (!on_map) {
      sum.places = sums + rows_ - 1;
      sum.places_row = p_.query_sums_row - 1;
      return;
    }
    sum.places = own_ + p_.at.spread;
    sum.places_row = p_.scores_row;
    p_.loops->spread_map({sums, sums + p_.rows_columns, p_.query_sums_row, s_.height, s_.width,
                          first_, rows_, own_ + p_.at.spread, p_.scores_row});
  }

  void add_bias() const {
    const SdpaExtra& from = p_.extra(s_.bias);
    const std::vector<std::int64_t>& strides = p_.bias_strides;
    float* const bias = own_ + p_.at.bias;
    for (std::int64_t r = 0; r < rows_; ++r) {
      const std::int64_t offset =
          image_ * strides[0] + head_ * strides[1] + (first_ + r) * strides[2];
      load_floats(
          from.type,
          addresses_.operands[static_cast<std::size_t>(s_.bias)] + offset * size_of(from.type),
          strides[3], bias, s_.keys);
      float* const row = scores() + r * p_.scores_row;
      for (std::int64_t j = 0; j < s_.keys; ++j) row[j] += bias[j];
    }
  }

  float* output(std::int64_t part) const {
    return own_ + p_.at.output + part * p_.loops->block_rows * p_.values_row;
  }

  void keep_weights() const {
    const SdpaWeights& kept = *p_.weights;
    const bool copies = p_.pairs && kept.type == Float::bf16 && kept.strides[3] == 1;
    for (std::int64_t r = 0; r < rows_; ++r) {
      std::byte* const to = addresses_.results[1] + kept.row(image_, head_, first_ + r);
      float* const row = scores() + r * p_.scores_row;
      if (copies) {
        std::memcpy(to, pair_weights(r), static_cast<std::size_t>(2 * s_.keys));
        continue;
      }
      if (p_.pairs) {
        load_floats(Float::bf16, reinterpret_cast<const std::byte*>(pair_weights(r)), 1, row,
                    s_.keys);
      }
      store_floats(kept.type, row, to, kept.strides[3], s_.keys);
    }
  }

  /// weights . v and, with one more row of zeros before each row of weights, weights .
  /// relative_value.
  void multiply_values() const {
    const std::int64_t per_word = p_.pairs ? 2 : 1;
    multiply({weights(0), p_.scores_row, own_ + p_.at.values, p_.values_row, output(0),
              p_.values_row, rows_, p_.values_row, (s_.keys + per_word - 1) / per_word});
    if (s_.relative_value < 0) return;
    const std::int64_t odd = window() % per_word;
    multiply({weights(rows_ - 1 + odd), p_.scores_row + 1,
              tables_ + p_.at.value + window() / per_word * p_.values_row, p_.values_row, output(1),
              p_.values_row, rows_, p_.values_row,
              (window_size() + odd + per_word - 1) / per_word});
  }

  void sum_outputs(const float* sums) const {
    const float* const scales = tables_ + p_.at.outputs + head_ * s_.value.size;
    OutputSum sum;
    sum.y = output(0);
    sum.add = s_.relative_value >= 0 && !s_.interleaved ? output(1) : nullptr;
    sum.row = p_.values_row;
    sum.rows = rows_;
    sum.columns = s_.value.size;
    sum.scale = scales;
    sum.add_scale = scales + s_.channels();
    sum.shift = scales + 2 * s_.channels();
    sum.sums = sums;
    p_.loops->sum_outputs(sum);
    if (!s_.interleaved) return;
    sum.y = output(1);
    p_.loops->sum_outputs(sum);
  }

  /// Whether content and places lie side by side, as the halves of words.
  bool joins_outputs() const {
    const PackSource& y = p_.y.matrix;
    return s_.interleaved && p_.pairs && y.type == Float::bf16 && y.channel == 2 &&
           p_.between_parts == 1 && s_.value.size % kPanel == 0;
  }
  void join_outputs() const {
    PackSource y = p_.y.matrix;
    y.data = addresses_.results[0] + offset_of(p_.y, image_, head_) * size_of(y.type);
    for (std::int64_t r = 0; r < rows_; ++r) {
      auto* const to = const_cast<std::byte*>(y.at(first_ + r, 0));
      p_.loops->join_floats(output(0) + r * p_.values_row, output(1) + r * p_.values_row,
                            reinterpret_cast<std::uint32_t*>(to), s_.value.size);
    }
  }

  /// Part 1 of an interleaved result are the places, each one channel behind its content.
  void store_outputs(std::int64_t part) const {
    const PackSource& y = p_.y.matrix;
    std::byte* const data =
        addresses_.results[0] +
        (offset_of(p_.y, image_, head_) + part * p_.between_parts) * size_of(y.type);
    const auto at = [&](std::int64_t token, std::int64_t channel) {
      return data + (y.at(token, channel) - y.data);
    };
    if (y.channel == 1 || y.row != 1 || y.line_rows < y.rows) {
      for (std::int64_t r = 0; r < rows_; ++r) {
        store_floats(y.type, output(part) + r * p_.values_row, at(first_ + r, 0), y.channel,
                     s_.value.size);
      }
      return;
    }
    float* const turned = output(s_.interleaved ? 2 : 1);
    vector_loops().transpose32(output(part), p_.values_row, turned, rows_, rows_, s_.value.size);
    for (std::int64_t c = 0; c < s_.value.size; ++c) {
      store_floats(y.type, turned + c * rows_, at(first_, c), 1, rows_);
    }
  }

  const SdpaPlan& p_;
  const Sdpa& s_;
  const Addresses& addresses_;
  const float* tables_;
  float* own_;
  std::int64_t image_ = 0, head_ = 0;
  std::int64_t first_ = 0, rows_ = 0;  ///< of the last block
};

}  // namespace

void run_sdpa_blocks(const SdpaPlan& plan, const Addresses& addresses, std::int64_t thread,
                     std::int64_t begin, std::int64_t end) {
  if (begin >= end) return;
  Worker worker(plan, addresses, thread);
  const std::int64_t heads = plan.sdpa.heads;
  const std::int64_t queries = plan.sdpa.queries;
  for (std::int64_t unit = begin; unit < end; ++unit) {
    const std::int64_t block = unit % plan.blocks;
    const std::int64_t head = unit / plan.blocks;
    if (unit == begin || block == 0) worker.begin_head(head / heads, head % heads);
    const std::int64_t next = head + 1;
    if (next * plan.blocks < end) {
      worker.prefetch_head(next / heads, next % heads, block, plan.blocks);
    }
    worker.run(queries * block / plan.blocks, queries * (block + 1) / plan.blocks);
  }
}

const SdpaLoops& sdpa_loops(const VectorLoops& loops) {
  if (&loops == avx512_bf16_loops()) return *avx512_bf16_sdpa_loops();
  if (&loops == avx512_loops()) return *avx512_sdpa_loops();
  if (&loops == avx2_loops()) return *avx2_sdpa_loops();
  return *baseline_sdpa_loops();
}

}  // namespace facet::cpu
