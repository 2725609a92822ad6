#include "backends/cuda/kernels/attention_gradient_side.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "backends/cuda/kernels/attention_side_writer.h"
#include "backends/cuda/kernels/loops.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

/// Blocks on a multiprocessor: as many as registers leave room for, by what a lane holds of the
/// vectors of 16 tokens; f32 has its factors twice.
int resident_blocks(std::int64_t channels, DType dtype) {
  const std::int64_t words =
      rounded_up(std::min(channels, kHeldChannels), 16) / 16 * 2 * size_of(dtype);
  return words <= 16 ? 4 : words <= 32 && dtype != DType::f32 ? 3 : 2;
}

}  // namespace

SideWriter::SideWriter(const SdpaBwd& gradient, std::span<const View> operands,
                       std::span<const View> results, const GradientPlan& plan, AttentionSide side,
                       SideSums& sums)
    : d_(gradient),
      s_(gradient.sdpa),
      operands_(operands),
      results_(results),
      plan_(plan),
      side_(side),
      is_queries_(side == AttentionSide::queries),
      sums_(sums),
      room_(s_, side, plan.shared_bytes),
      type_(type_name(view(kQuery).type.dtype)),
      own_(is_queries_ ? s_.queries : s_.keys),
      others_(is_queries_ ? s_.keys : s_.queries) {
  q_ = vectors(kQuery, "q", s_.query, is_queries_);
  k_ = vectors(kKey, "k", s_.key, !is_queries_);
  v_ = vectors(kValue, "v", s_.value, !is_queries_);
  dy_ = vectors(kCotangent, "dy", {0, s_.result_channels() / s_.heads, s_.value.size}, is_queries_);
  if (s_.interleaved) dy_.step = 2;
  dplaces_ = dy_;
  if (s_.interleaved) dplaces_.part = 1;
  for (const int table : {s_.score_scale, s_.relative_query, s_.relative_key, s_.relative_height,
                          s_.relative_width, s_.relative_value}) {
    if (table < 0 || view(table).strides == dense_strides(view(table).type)) continue;
    throw failure(
        fmt::format("tables of attention must be dense, not {}", to_string(view(table).type)));
  }
}

void SideWriter::add_parameters(Parameters& parameters) const {
  for (const TokenVectors* x : {&q_, &k_, &v_, &dy_}) {
    parameters.operand(x->operand, type_name(x->lie.dtype), "all_" + x->name);
  }
  const auto add = [&](int operand, const char* name) {
    if (operand < 0) return;
    parameters.operand(operand, type_name(view(operand).type.dtype), name);
  };
  add(s_.score_scale, "score_scale");
  add(s_.relative_query, "query_table");
  add(s_.relative_key, "key_table");
  add(s_.relative_height, "height_table");
  add(s_.relative_width, "width_table");
  add(s_.bias, "bias");
  add(s_.relative_value, "value_table");
  const auto result = [&](int number, const char* name) {
    if (number < 0) return;
    parameters.result(number, type_name(results_[static_cast<std::size_t>(number)].type.dtype),
                      name);
  };
  if (is_queries_) {
    result(d_.query, "all_dq");
  } else {
    result(d_.key, "all_dk");
    result(d_.value, "all_dv");
  }
  parameters.scratch();
}

void SideWriter::plan_sums(Scratch& scratch) {
  const SdpaBwd& r = d_;
  const auto add = [&](PlaceTable table, int term, int result) {
    if (result < 0) return;
    table.result = result;
    TableSums sums{std::move(table), term};
    std::int64_t places = sums.table.places;
    if (sums.table.kind == PlaceTable::Kind::distance) {
      places += room_.all - room_.met;
      sums.row_step = is_queries_ ? kOwnTokens : -kOwnTokens;
      sums.row_first = s_.keys - (is_queries_ ? room_.all : kOwnTokens);
    }
    sums.size = rounded_up(places, 16) * rounded_up(sums.table.columns, 8);
    sums.scratch = scratch.take(blocks() * sums.size);
    sums_.tables.push_back(std::move(sums));
  };
  sums_.tiles = tiles();
  for (const PlaceTable& table : score_tables(s_, side_, side_, room_.met)) {
    const int result = table.operand == s_.relative_key      ? r.relative_key
                       : table.operand == s_.relative_query  ? r.relative_query
                       : table.operand == s_.relative_height ? r.relative_height
                                                             : r.relative_width;
    add(table, s_.score_scale < 0 ? -1 : term_of(table), result);
  }
  if (is_queries_) {
    for (const PlaceTable& table : value_tables(s_, side_, room_.met)) {
      add(table, -1, r.relative_value);
    }
  }
  if (s_.score_scale < 0 || r.score_scale < 0) return;
  if (is_queries_) sums_.scale_terms.push_back(0);
  if (is_queries_ ? s_.has_query_places() : s_.relative_key >= 0) {
    sums_.scale_terms.push_back(is_queries_ ? 1 : s_.terms() - 1);
  }
  if (sums_.scale_terms.empty()) return;
  sums_.scales = scratch.take(blocks() * static_cast<std::int64_t>(sums_.scale_terms.size()));
}

std::string SideWriter::begin() const {
  std::string text = fmt::format(
      R"(  const int lane = threadIdx.x % facet::kLanes;
  const int warp = threadIdx.x / facet::kLanes % {warps};
  const int team = threadIdx.x / facet::kLanes / {warps};
  const int g = lane / 4, t = lane % 4;
  const int first = blockIdx.x % {tiles} * {own};
  const int head = blockIdx.x / {tiles} % {heads};
  const int slice = blockIdx.x / {all};
)",
      fmt::arg("warps", kGradientWarps), fmt::arg("tiles", tiles()), fmt::arg("own", kOwnTokens),
      fmt::arg("heads", s_.heads), fmt::arg("all", tiles() * s_.heads));
  // Arrays of their own where the block need not ask for memory: that they lie apart helps the
  // compiler.
  std::int64_t taken = 0;
  const auto take = [&](std::string_view name, std::int64_t floats) {
    if (floats == 0) return;
    if (plan_.teams > 1) {
      text += fmt::format("  float* const {} = facet::block_memory() + {} * team + {};\n", name,
                          room_.bytes / 4, taken);
    } else {
      text += fmt::format(
          "  __shared__ facet::Four<float> shared_{0}[{1}];\n"
          "  float* const {0} = shared_{0}[0].values;\n",
          name, floats / 4);
    }
    taken += floats;
  };
  take("scores", kOwnTokens * room_.row);
  take("changes", kOwnTokens * room_.row);
  take("places", room_.places);
  take("totals", room_.totals);
  take("row_sums", room_.row_sums);
  for (int term = 0; s_.score_scale >= 0 && term < s_.terms(); ++term) {
    text += fmt::format("  const float a{0} = facet::to_float(score_scale[{1} + head]);\n", term,
                        term * s_.heads);
  }
  for (const int term : sums_.scale_terms) text += fmt::format("  float sum{} = 0.0f;\n", term);
  return text;
}

std::string SideWriter::pointers(bool is_own) const {
  std::string text;
  for (const TokenVectors* x : {&q_, &k_, &v_, &dy_}) {
    if (x->is_own != is_own) continue;
    text +=
        fmt::format("    const {0}* const {1} = all_{1} + {2}LL * image + {3} * head + {4}{5};\n",
                    type_name(x->lie.dtype), x->name, x->lie.image, x->head.step, x->head.first,
                    is_own ? "" : fmt::format(" + {}LL * start", x->lie.token));
  }
  return text;
}

std::string SideWriter::image() const {
  std::string text = fmt::format(
      "  for (int turn = slice; turn < {0}; turn += {1}) {{\n    const int image = {2} * turn + "
      "team;\n",
      plan_.images / plan_.teams, plan_.slices, plan_.teams);
  text += pointers(true);
  if (!room_.is_whole && is_queries_) text += stretches(row_sums());
  return text + stretches(gradients()) + "  }\n";
}

/// What is done for each stretch of others, behind scores and gradients of weights.
std::string SideWriter::stretches(const std::string& body) const {
  std::string text = room_.is_whole
                         ? fmt::format("    const int start = 0, left = {};\n", others_)
                         : fmt::format(
                               "    for (int start = 0; start < {0}; start += {1}) {{\n"
                               "    const int left = {0} - start < {1} ? {0} - start : {1};\n",
                               others_, room_.met);
  text += pointers(false);
  const AttentionSide other = is_queries_ ? AttentionSide::keys : AttentionSide::queries;
  const PlaceTables own_tables = score_tables(s_, side_, side_, room_.met);
  const PlaceTables other_tables = score_tables(s_, other, side_, room_.met);
  const PlaceTables values = value_tables(s_, side_, room_.met);
  const TokenVectors& x = is_queries_ ? q_ : k_;
  const TokenVectors& z = is_queries_ ? k_ : q_;
  text += pairs("scores", x, z, x, own_tables, z, other_tables, true);
  text += is_queries_ ? pairs("changes", dy_, v_, dplaces_, values, v_, {}, false)
                      : pairs("changes", v_, dy_, v_, {}, dplaces_, values, false);
  return text + body + (room_.is_whole ? "" : "    }\n");
}

std::string SideWriter::gradients() const {
  const PlaceTables own_tables = score_tables(s_, side_, side_, room_.met);
  const TokenVectors& x = is_queries_ ? q_ : k_;
  std::string text = weights() + spread("changes", own_tables);
  text += outcome(is_queries_ ? "dq" : "dk", is_queries_ ? d_.query : d_.key, x, "changes",
                  is_queries_ ? k_ : q_, own_tables, true, 0);
  if (!is_queries_) {
    text += outcome("dv", d_.value, v_, "scores", dy_, {}, false, rounded_up(s_.query.size, 8) / 8);
  }
  const TableSums* of_values = nullptr;
  for (const TableSums& sums : sums_.tables) {
    if (sums.table.operand == s_.relative_value) {
      of_values = &sums;
    } else {
      text += table_sums(sums, x);
    }
  }
  text += "    __syncthreads();\n";
  if (of_values != nullptr) {
    text += spread("scores", value_tables(s_, side_, room_.met)) +
            table_sums(*of_values, dplaces_) + "    __syncthreads();\n";
  }
  return text;
}

std::string SideWriter::end() const {
  std::string text;
  for (std::size_t i = 0; i < sums_.scale_terms.size(); ++i) {
    const int term = sums_.scale_terms[i];
    text += fmt::format(
        "  sum{0} = facet::block_sum<{1}>(sum{0});\n"
        "  if (threadIdx.x == 0) scratch[{2}LL + {3}LL * blockIdx.x + {4}] = sum{0};\n",
        term, plan_.teams * kGradientWarps, sums_.scales, sums_.scale_terms.size(), i);
  }
  return text;
}

KernelSource SideWriter::run(Scratch& scratch) {
  if (blocks() > std::numeric_limits<std::int32_t>::max()) {
    throw failure(fmt::format("{} is too large for one attention", to_string(view(kQuery).type)));
  }
  plan_sums(scratch);
  Parameters parameters;
  add_parameters(parameters);
  KernelSource kernel = parameters.begin(
      is_queries_ ? "facet_attention_rows" : "facet_attention_columns",
      static_cast<int>(plan_.teams * 32 * kGradientWarps), blocks(),
      std::min(resident_blocks(std::max(s_.query.size, s_.value.size), view(kQuery).type.dtype),
               room_.is_whole ? 4 : 3) /  // stretches take more registers
          static_cast<int>(plan_.teams));
  if (plan_.teams > 1) kernel.shared_bytes = plan_.teams * room_.bytes;
  kernel.text += begin() + image() + end() + "}\n";
  return kernel;
}

KernelSource attention_gradient_side(const SdpaBwd& gradient, std::span<const View> operands,
                                     std::span<const View> results, const GradientPlan& plan,
                                     AttentionSide side, Scratch& scratch, SideSums& sums) {
  return SideWriter(gradient, operands, results, plan, side, sums).run(scratch);
}

}  // namespace facet::cuda
