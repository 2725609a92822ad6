#include <omp.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "backends/cpu/kernels/convert.h"
#include "backends/cpu/kernels/parallel.h"
#include "backends/cpu/kernels/score_moments_plan.h"
#include "backends/cpu/kernels/sdpa_bwd_store.h"

namespace facet::cpu {
namespace {

constexpr std::int64_t kTokensAhead = 2;  ///< that are asked for: a token's heads lie far apart

/// Share `part` of `parts` of 0..count.
template <class Act>
void for_share(std::int64_t count, std::int64_t part, std::int64_t parts, const Act& act) {
  for (std::int64_t i = count * part / parts; i < count * (part + 1) / parts; ++i) act(i);
}

double inner(const float* a, const float* b, std::int64_t count) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < count; ++c) sum += static_cast<double>(a[c]) * b[c];
  return sum;
}

/// One thread of a run.
class MomentsWorker {
 public:
  MomentsWorker(const ScoreMomentsPlan& plan, const Addresses& addresses, std::int64_t thread,
                std::int64_t threads)
      : p_(plan),
        s_(plan.parts),
        a_(addresses),
        base_(reinterpret_cast<float*>(addresses.scratch)),
        own_(base_ + plan.at.threads + thread * plan.at.thread),
        thread_(thread),
        threads_(threads),
        d_(plan.depth()),
        row_(plan.depth_row) {}

  /// Tables, and of a gradient its factors and the zeros of its result.
  void prepare() const {
    std::int64_t next = 0;
    const auto mine = [&] { return next++ % threads_ == thread_; };
    for (std::size_t i = 0; i < 2; ++i) {
      const MomentSide& side = p_.sides[i];
      if (!side.has_table()) continue;
      const PackSource table = table_of(side);
      const MomentsScratch::Side& at = p_.at.sides[i];
      if (mine()) pack_rows(table, 0, side.rows(), base_ + at.table, row_);
      if (mine()) pack_columns(table, 0, side.rows(), base_ + at.turned, at.turned_row);
    }
    if (!p_.is_gradient) return;
    if (mine()) set_factors();
    const int results[] = {p_.gradient.query, p_.gradient.key};
    for (std::size_t i = 0; i < 2; ++i) {
      const std::int64_t bytes = p_.sides[i].cleared;
      const std::int64_t begin = bytes * thread_ / threads_;
      std::byte* const to = a_.results[static_cast<std::size_t>(results[i])];
      std::memset(to + begin, 0,
                  static_cast<std::size_t>(bytes * (thread_ + 1) / threads_ - begin));
    }
  }

  /// Sums of the content, head by head, and of the places, chunk by chunk.
  void sum() {
    for_share(p_.heads(), thread_, threads_, [&](std::int64_t head) {
      multiply_tokens(head);
      double* const to = doubles(p_.at.content) + 2 * head;
      to[0] = inner(own_ + p_.at.total[0], own_ + p_.at.total[1], row_);
      to[1] = inner(own_ + p_.at.gram[0], own_ + p_.at.gram[1], d_ * row_);
    });
    for_each_chunk([&](std::size_t i, std::int64_t chunk) { sum_chunk(i, chunk); });
  }

  /// What tokens get from their places, and what their tables get: behind `prepare`.
  void spread_places() {
    for_each_chunk([&](std::size_t i, std::int64_t chunk) { spread_chunk(i, chunk); });
  }

  /// Gradients of tokens and tables, behind `spread_places`.
  void store_gradients() {
    for_share(p_.heads(), thread_, threads_, [&](std::int64_t head) {
      multiply_tokens(head);
      store_tokens(head, 0);
      store_tokens(head, 1);
    });
    for (std::size_t i = 0; i < 2; ++i) {
      if (p_.sides[i].table_number < 0) continue;
      const std::int64_t rows = p_.sides[i].rows();
      for_share((rows + kMomentRows - 1) / kMomentRows, thread_, threads_, [&](std::int64_t chunk) {
        store_rows_of_table(i, chunk * kMomentRows, std::min((chunk + 1) * kMomentRows, rows));
      });
    }
  }

  /// Means and variances, behind `sum`.
  void store_moments() const {
    std::vector<double> sums(static_cast<std::size_t>(2 * s_.heads));
    add_up(doubles(p_.at.content), p_.images, sums.data(), /*by_pairs=*/true);
    store_row(0, sums.data());
    for (std::size_t i = 0; i < 2; ++i) {
      if (!p_.sides[i].has_table()) continue;
      std::fill(sums.begin(), sums.end(), 0.0);
      add_up(doubles(p_.at.sides[i].sums), p_.chunks(i), sums.data(), /*by_pairs=*/false);
      store_row(p_.sides[i].part, sums.data());
    }
  }

 private:
  double* doubles(std::int64_t place) const { return reinterpret_cast<double*>(base_ + place); }

  /// Units of both sides in turn.
  template <class Act>
  void for_each_chunk(const Act& act) {
    const std::int64_t first = p_.sides[0].has_table() ? p_.chunks(0) : 0;
    const std::int64_t second = p_.sides[1].has_table() ? p_.chunks(1) : 0;
    for_share(first + second, thread_, threads_, [&](std::int64_t unit) {
      if (unit < first) {
        act(std::size_t{0}, unit);
      } else {
        act(std::size_t{1}, unit - first);
      }
    });
  }

  PackSource table_of(const MomentSide& side) const {
    PackSource source;
    source.type = side.table.type;
    source.data = a_.operands[static_cast<std::size_t>(side.table_operand)];
    source.rows = source.line_rows = side.rows();
    source.channels = d_;
    source.channel = side.table.column;
    source.row = side.table.row;
    return source;
  }

  PackSource head_of(const SdpaTokens& tokens, const std::byte* data, std::int64_t head) const {
    PackSource source = tokens.matrix;
    source.data =
        data + elements_to(tokens, head / s_.heads, head % s_.heads) * size_of(tokens.matrix.type);
    return source;
  }
  PackSource tokens_of(std::size_t i, std::int64_t head) const {
    const MomentSide& side = p_.sides[i];
    return head_of(side.tokens, a_.operands[static_cast<std::size_t>(side.operand)], head);
  }

  void multiply(const float* left, std::int64_t left_row, const float* right, float* to,
                std::int64_t rows, std::int64_t depth, bool adds) const {
    p_.loops->product({left, left_row, right, row_, to, row_, rows, row_, depth, adds});
  }

  /// Rows, sums and sums of squares of the head's queries and keys.
  void multiply_tokens(std::int64_t head) {
    for (std::size_t i = 0; i < 2; ++i) {
      const std::int64_t count = p_.sides[i].count;
      const PackSource source = tokens_of(i, head);
      float* const rows = own_ + p_.at.rows[i];
      float* const turned = own_ + p_.at.turned[i];
      pack_rows(source, 0, count, rows, row_);
      pack_columns(source, 0, count, turned, p_.at.turned_row[i]);
      multiply(turned, p_.at.turned_row[i], rows, own_ + p_.at.gram[i], d_, count, /*adds=*/false);
      float* const total = own_ + p_.at.total[i];
      std::fill_n(total, row_, 0.0F);
      for (std::int64_t t = 0; t < count; ++t)
        p_.loops->add_scaled(rows + t * row_, 1, total, row_);
    }
  }

  /// Calls act(token) for a chunk's tokens, whose W, w and rows of all heads are in the scratch.
  template <class Act>
  void for_each_token(std::size_t i, std::int64_t chunk, const Act& act) {
    const MomentSide& side = p_.sides[i];
    std::vector<PackSource> heads;
    for (std::int64_t head = 0; head < p_.heads(); ++head) heads.push_back(tokens_of(i, head));
    float* const rows = own_ + p_.at.tokens;
    std::fill_n(rows, p_.heads() * row_, 0.0F);
    const std::int64_t begin = chunk * kMomentTokens;
    for (std::int64_t t = begin; t < std::min(begin + kMomentTokens, side.count); ++t) {
      if (t == begin) {
        see(i, side.first(t));
      } else {
        move(i, side.first(t - 1), side.first(t));
      }
      for (std::int64_t head = 0; head < p_.heads(); ++head) {
        const PackSource& from = heads[static_cast<std::size_t>(head)];
        __builtin_prefetch(from.at(std::min(t + kTokensAhead, side.count - 1), 0));
        load_floats(from.type, from.at(t, 0), from.channel, rows + head * row_, d_);
      }
      multiply(rows, row_, own_ + p_.at.matrix, own_ + p_.at.products, p_.heads(), d_,
               /*adds=*/false);
      act(t);
    }
  }

  /// W and w of the rows from `first` on.
  void see(std::size_t i, std::int64_t first) const {
    const MomentsScratch::Side& at = p_.at.sides[i];
    const float* const table = base_ + at.table + first * row_;
    const std::int64_t others = p_.sides[i].others;
    multiply(base_ + at.turned + first, at.turned_row, table, own_ + p_.at.matrix, d_, others,
             /*adds=*/false);
    float* const seen = own_ + p_.at.seen;
    std::fill_n(seen, row_, 0.0F);
    for (std::int64_t r = 0; r < others; ++r) p_.loops->add_scaled(table + r * row_, 1, seen, row_);
  }

  /// From the rows that begin at `before` to those at `now`, one further up or down.
  void move(std::size_t i, std::int64_t before, std::int64_t now) const {
    const float* const table = base_ + p_.at.sides[i].table;
    const std::int64_t last = p_.sides[i].others - 1;
    const float* const comes = table + (now > before ? now + last : now) * row_;
    const float* const goes = table + (now > before ? before : before + last) * row_;
    float* const rows = own_ + p_.at.step;
    float* const turned = rows + 2 * row_;
    std::copy_n(comes, row_, rows);
    std::copy_n(goes, row_, rows + row_);
    for (std::int64_t c = 0; c < d_; ++c) {
      turned[2 * c] = comes[c];
      turned[2 * c + 1] = -goes[c];
    }
    multiply(turned, 2, rows, own_ + p_.at.matrix, d_, 2, /*adds=*/true);
    float* const seen = own_ + p_.at.seen;
    p_.loops->add_scaled(comes, 1, seen, row_);
    p_.loops->add_scaled(goes, -1, seen, row_);
  }

  void sum_chunk(std::size_t i, std::int64_t chunk) {
    const std::int64_t heads = s_.heads, lanes = heads * row_;
    float* const squares = own_ + p_.at.lanes;
    float* const totals = squares + lanes;  // of the images
    double* const to = doubles(p_.at.sides[i].sums) + 2 * heads * chunk;
    std::fill_n(to, 2 * heads, 0.0);
    std::fill_n(squares, lanes, 0.0F);
    for_each_token(i, chunk, [&](std::int64_t) {
      const float* x = own_ + p_.at.tokens;
      const float* y = own_ + p_.at.products;
      std::fill_n(totals, lanes, 0.0F);
      for (std::int64_t n = 0; n < p_.images; ++n, x += lanes, y += lanes) {
        p_.loops->add_products(x, y, totals, squares, lanes);
      }
      for (std::int64_t g = 0; g < heads; ++g) {
        to[g] += inner(totals + g * row_, own_ + p_.at.seen, row_);
      }
    });
    for (std::int64_t g = 0; g < heads; ++g) {
      for (std::int64_t c = 0; c < row_; ++c) to[heads + g] += squares[g * row_ + c];
    }
  }

  const float* factors(std::int64_t part) const {
    return base_ + p_.at.factors + 2 * part * s_.heads;
  }

  void spread_chunk(std::size_t i, std::int64_t chunk) {
    const MomentSide& side = p_.sides[i];
    const MomentsScratch::Side& at = p_.at.sides[i];
    const float* const a = factors(side.part);
    const float* const b = a + s_.heads;
    for_each_token(i, chunk, [&](std::int64_t t) {
      const float* const seen = own_ + p_.at.seen;
      float* const totals = base_ + at.totals + t * row_;
      std::fill_n(totals, row_, 0.0F);
      for (std::int64_t head = 0; head < p_.heads(); ++head) {
        PlaceShare share;
        share.x = own_ + p_.at.tokens + head * row_;
        share.y = own_ + p_.at.products + head * row_;
        share.seen = seen;
        share.factor = a[head % s_.heads];
        share.share = b[head % s_.heads];
        share.to = base_ + at.own + (head * side.count + t) * row_;
        share.scaled = own_ + p_.at.scaled + head * row_;
        share.totals = totals;
        share.count = row_;
        p_.loops->share_places(share);
      }
      float* const turned = own_ + p_.at.scaled_turned;
      vector_loops().transpose32(own_ + p_.at.scaled, row_, turned, p_.pairs_row, p_.heads(), d_);
      multiply(turned, p_.pairs_row, own_ + p_.at.tokens, base_ + at.squares + t * d_ * row_, d_,
               p_.heads(), /*adds=*/false);
    });
  }

  /// What the head's queries (0) or keys (1) get: from the content that of the other side.
  void store_tokens(std::int64_t head, std::size_t i) {
    const MomentSide& side = p_.sides[i];
    const float* const a = factors(0);
    const float factor = a[head % s_.heads], share = a[s_.heads + head % s_.heads];
    float* const gram = own_ + p_.at.gram[1 - i];
    const float* const total = own_ + p_.at.total[1 - i];
    float* of_tokens = base_ + p_.at.sides[i].own + head * side.count * row_;
    if (!side.has_table()) {
      of_tokens = own_ + p_.at.product;
      std::fill_n(of_tokens, side.count * row_, 0.0F);
    }
    for (std::int64_t c = 0; c < d_ * row_; ++c) gram[c] *= factor;
    for (std::int64_t t = 0; t < side.count; ++t) {
      p_.loops->add_scaled(total, share, of_tokens + t * row_, row_);
    }
    multiply(own_ + p_.at.rows[i], row_, gram, of_tokens, side.count, d_, /*adds=*/true);
    const int number = i == 0 ? p_.gradient.query : p_.gradient.key;
    std::byte* const result = a_.results[static_cast<std::size_t>(number)];
    store_rows(head_of(side.result, result, head), 0, {of_tokens, row_, side.count, d_},
               own_ + p_.at.turned[i]);
  }

  /// Rows begin..end of a table's gradient: the sum of A over the tokens that see a row is the one
  /// of the row before with a token more and one less.
  void store_rows_of_table(std::size_t i, std::int64_t begin, std::int64_t end) {
    const MomentSide& side = p_.sides[i];
    const MomentsScratch::Side& at = p_.at.sides[i];
    float* const matrix = own_ + p_.at.matrix;
    float* const total = own_ + p_.at.seen;
    std::fill_n(matrix, d_ * row_, 0.0F);
    std::fill_n(total, row_, 0.0F);
    const auto add = [&](std::int64_t t, float sign) {
      p_.loops->add_scaled(base_ + at.squares + t * d_ * row_, sign, matrix, d_ * row_);
      p_.loops->add_scaled(base_ + at.totals + t * row_, sign, total, row_);
    };
    std::int64_t first = side.begin(begin), last = first;
    std::byte* const result = a_.results[static_cast<std::size_t>(side.table_number)];
    for (std::int64_t r = begin; r < end; ++r) {
      // Tokens of the next row begin and end one further up or, of keys, down.
      while (last < side.end(r)) add(last++, 1);
      while (first > side.begin(r)) add(--first, 1);
      while (first < side.begin(r)) add(first++, -1);
      while (last > side.end(r)) add(--last, -1);
      const float* const from = base_ + at.table + r * row_;
      float* const to = own_ + p_.at.step;
      std::copy_n(total, row_, to);
      for (std::int64_t c = 0; c < d_; ++c)
        p_.loops->add_scaled(matrix + c * row_, from[c], to, row_);
      const SdpaExtra& table = side.table_result;
      store_floats(table.type, to, result + r * table.row * size_of(table.type), table.column, d_);
    }
  }

  void load_moments(std::size_t operand, std::int64_t part, float* to) const {
    const SdpaExtra& from = p_.moments[operand];
    load_floats(from.type, a_.operands[operand] + part * from.row * size_of(from.type), from.column,
                to, s_.heads);
  }

  /// a and b of each part.
  void set_factors() const {
    const auto pairs = static_cast<double>(p_.images * s_.queries * s_.keys);
    std::vector<float> of_mean(static_cast<std::size_t>(s_.heads)), of_variance(of_mean),
        mean(of_mean);
    for (std::int64_t part = 0; part < s_.terms(); ++part) {
      load_moments(0, part, of_mean.data());
      load_moments(1, part, of_variance.data());
      load_moments(2, part, mean.data());
      float* const a = base_ + p_.at.factors + 2 * part * s_.heads;
      for (std::size_t g = 0; g < mean.size(); ++g) {
        const double twice = 2.0 * of_variance[g];
        a[g] = static_cast<float>(twice / pairs);
        a[mean.size() + g] = static_cast<float>((of_mean[g] - twice * mean[g]) / pairs);
      }
    }
  }

  /// Adds `units` of [heads][2] or [2][heads] to [2][heads].
  void add_up(const double* from, std::int64_t units, double* to, bool by_pairs) const {
    for (std::int64_t unit = 0; unit < units; ++unit) {
      for (std::int64_t j = 0; j < 2; ++j) {
        for (std::int64_t g = 0; g < s_.heads; ++g) {
          to[j * s_.heads + g] += by_pairs ? from[2 * g + j] : from[j * s_.heads + g];
        }
      }
      from += 2 * s_.heads;
    }
  }

  void store_row(std::int64_t part, const double* sums) const {
    const auto pairs = static_cast<double>(p_.images * s_.queries * s_.keys);
    std::vector<float> values[2];
    for (std::int64_t g = 0; g < s_.heads; ++g) {
      const double mean = sums[g] / pairs;
      values[0].push_back(static_cast<float>(mean));
      values[1].push_back(static_cast<float>(sums[s_.heads + g] / pairs - mean * mean));
    }
    for (std::size_t result = 0; result < 2; ++result) {
      const SdpaExtra& to = p_.moments[result];
      store_floats(to.type, values[result].data(),
                   a_.results[result] + part * to.row * size_of(to.type), to.column, s_.heads);
    }
  }

  const ScoreMomentsPlan& p_;
  const Sdpa& s_;
  const Addresses& a_;
  float* base_;
  float* own_;
  std::int64_t thread_, threads_, d_, row_;
};

}  // namespace

void ScoreMomentsPlan::run(const Addresses& addresses) const {
  const std::int64_t work = heads() * (sides[0].count + sides[1].count) * depth() * depth();
  const auto team = static_cast<int>(
      std::min<std::int64_t>(threads, static_cast<std::int64_t>(omp_get_max_threads())));
#pragma omp parallel num_threads(work < 8 * kSerialBelow ? 1 : team)
  {
    const std::int64_t count = omp_get_num_threads();
    const std::int64_t thread = omp_get_thread_num();
    MomentsWorker worker(*this, addresses, thread, count);
    worker.prepare();
#pragma omp barrier
    is_gradient ? worker.spread_places() : worker.sum();
#pragma omp barrier
    if (is_gradient) {
      worker.store_gradients();
    } else if (thread == 0) {
      worker.store_moments();
    }
  }
}

}  // namespace facet::cpu
