#include <algorithm>
#include <map>

#include "ir/op.h"
#include "ir/sdpa.h"
#include "passes/attention.h"
#include "passes/batch_norm.h"

namespace facet::attention {
namespace {

/// The heads of `tokens` in the channels of its base, seen as [N, channels, tokens] or
/// [N, tokens, channels]; none if they do not lie so.
std::optional<HeadChannels> place_of(const Tokens& t, bool last) {
  const Dim image = element_count(Shape(t.base.shape().begin() + 1, t.base.shape().end()));
  if (!(t.base.shape()[0] == t.batch) || image.factor % t.tokens != 0) return std::nullopt;
  const std::int64_t channels = image.factor / t.tokens;
  const std::int64_t token = last ? channels : 1, channel = last ? 1 : t.tokens;
  const auto fits = [](std::int64_t stride, std::int64_t wanted, const Dim& extent) {
    return stride == wanted || extent == Dim(1);
  };
  if (!fits(t.strides[0], image.factor, t.batch) || !fits(t.strides[2], token, t.tokens) ||
      !fits(t.strides[3], channel, t.size) || t.strides[1] % channel != 0 ||
      t.offset % channel != 0) {
    return std::nullopt;
  }
  HeadChannels place{t.offset / channel, t.heads > 1 ? t.strides[1] / channel : t.size, t.size};
  if (place.step < place.size || t.heads * place.step > channels ||
      place.first + (t.heads - 1) * place.step + place.size > channels) {
    return std::nullopt;
  }
  return place;
}

class Writer {
 public:
  Writer(Graph& graph, Provenance provenance, const Scores& scores, const Mixed& mixed, bool last)
      : s_(scores), m_(mixed), last_(last), build_(graph, mixed.end.node, std::move(provenance)) {}

  /// The value that stands for `mixed.end`.
  Value run(Node*& sdpa) {
    for (const Tokens* tokens : {&*s_.query, &*s_.key, &m_.value}) {
      operands_.push_back(as_operand(*tokens));
    }
    Attributes attributes{{"heads", s_.heads},
                          {"query", channels_of(*s_.query)},
                          {"key", channels_of(*s_.key)},
                          {"value", channels_of(m_.value)},
                          {"channel_axis", std::int64_t{last_ ? -1 : 1}}};
    if (s_.clamp) attributes.set("clamp", Doubles{s_.clamp->first, s_.clamp->second});
    if (s_.relative_height) attributes.set("map", Ints{s_.height, s_.width});
    if (m_.interleaved) attributes.set("interleaved", true);
    normalise();
    add_score_scale(attributes);
    add("relative_query", table(s_.relative_query));
    add("relative_key", table(s_.relative_key));
    add("relative_height", table(s_.relative_height));
    add("relative_width", table(s_.relative_width));
    add_bias();
    add("relative_value", table(m_.relative_value));
    add_results();
    attributes.set("extras", extras_);
    const Value y = build_("sdpa", operands_, std::move(attributes));
    sdpa = y.node;
    return m_.aligned ? shaped(y, m_.end.shape()) : in_order_of_product(y);
  }

 private:
  Value reshape(Value x, Ints shape) {
    return build_("reshape", {x}, {{"shape", std::move(shape)}});
  }
  Value shaped(Value x, const Shape& wanted) {
    if (x.shape() == wanted) return x;
    Ints shape{0};
    for (std::size_t i = 1; i < wanted.size(); ++i) shape.push_back(wanted[i].factor);
    return reshape(x, std::move(shape));
  }

  Ints channels_of(const Tokens& tokens) const {
    const HeadChannels place = *place_of(tokens, last_);
    return {place.first, place.step, place.size};
  }

  /// The base itself where its axes are those of an sdpa's operand.
  Value as_operand(const Tokens& t) {
    const Shape& shape = t.base.shape();
    const std::int64_t image = element_count(Shape(shape.begin() + 1, shape.end())).factor;
    const Dim channels = image / t.tokens;
    const bool fits = last_ ? shape.size() == 3 && shape.back() == channels
                            : shape.size() >= 3 && shape[1] == channels;
    if (fits) return t.base;
    return reshape(t.base,
                   last_ ? Ints{0, t.tokens, channels.factor} : Ints{0, channels.factor, t.tokens});
  }

  void add(const char* name, Value value) {
    if (!value) return;
    extras_.emplace_back(name);
    operands_.push_back(value);
  }

  /// [distances, channels], by query minus key; null for none.
  Value table(const std::optional<Table>& from) {
    if (!from) return {};
    Value& made = tables_[&from];
    if (made) return made;
    Value x = from->value;
    if (x.type().rank() > 2) {
      x = reshape(x, {x.shape().end()[-2].factor, x.shape().end()[-1].factor});
    }
    if (from->transposed) x = build_("transpose", {x}, {{"permutation", Ints{1, 0}}});
    if (from->reversed) x = build_("reverse", {x}, {{"axis", std::int64_t{0}}});
    return made = x;
  }

  /// The scales of batch norms with statistics of the batch, [heads] each, and what becomes of
  /// their running statistics. The moments are those of the products that sdpa computes.
  void normalise() {
    if (!is_trained(s_.content) && !is_trained(s_.query_places) && !is_trained(s_.key_places))
      return;
    std::vector<Value> operands{operands_[0], operands_[1]};
    Strings extras;
    const auto take = [&](const char* name, const std::optional<Table>& from,
                          const Factor& factor) {
      if (!from || !is_trained(factor)) return false;
      extras.emplace_back(name);
      operands.push_back(table(from));
      return true;
    };
    const bool by_query = take("relative_query", s_.relative_query, s_.query_places);
    const bool by_key = take("relative_key", s_.relative_key, s_.key_places);
    const bool on_map = take("relative_height", s_.relative_height, s_.query_places);
    take("relative_width", s_.relative_width, s_.query_places);
    Attributes attributes{{"heads", s_.heads},
                          {"query", channels_of(*s_.query)},
                          {"key", channels_of(*s_.key)},
                          {"channel_axis", std::int64_t{last_ ? -1 : 1}},
                          {"extras", std::move(extras)}};
    if (on_map) attributes.set("map", Ints{s_.height, s_.width});
    Node* const moments = build_.node("score_moments", std::move(operands), std::move(attributes));
    std::int64_t part = 0;
    if (is_trained(s_.content)) trained_scale(s_.content, *moments, part);
    if (by_query || on_map) trained_scale(s_.query_places, *moments, ++part);
    if (by_key) trained_scale(s_.key_places, *moments, ++part);
    for (auto& [norm, statistics] : trained_) move_statistics(norm, statistics);
  }
  static bool is_trained(const Factor& factor) { return factor.trained != nullptr; }

  Value heads_of(Value x, const Factor& factor) {
    if (x.shape()[0] == Dim(s_.heads)) return x;
    return build_("slice", {x},
                  {{"axis", std::int64_t{0}},
                   {"start", factor.first_channel},
                   {"end", factor.first_channel + s_.heads}});
  }

  /// scale / sqrt(variance + epsilon). The shift and the mean add one number to all scores of a
  /// head, which a softmax does not see: rows of the scores' gradient sum to 0, and so the shift's
  /// gradient is 0 exactly. It stays an operand, so that the optimizer goes on treating it as a
  /// parameter.
  void trained_scale(const Factor& factor, const Node& all, std::int64_t part) {
    const auto row = [&](int result) {
      const Value moments = Value{const_cast<Node*>(&all), result};
      return reshape(build_("slice", {moments},
                            {{"axis", std::int64_t{0}}, {"start", part}, {"end", part + 1}}),
                     {s_.heads});
    };
    const Moments moments{row(0), row(1)};
    const Node& norm = *factor.trained;
    trained_[factor.trained][factor.first_channel] = moments;
    const Value epsilon = build_.scalar(norm.attributes().number("epsilon"));
    // A difference of sums, which rounding may leave below 0.
    const Value variance = build_("maximum", {moments.variance, build_.scalar(0)});
    const Value scale = build_("mul", {heads_of(norm.operand(1), factor),
                                       build_("rsqrt", {build_("add", {variance, epsilon})})});
    const Value nothing = build_("mul", {heads_of(norm.operand(2), factor), build_.scalar(0)});
    scales_[&factor] = build_("add", {scale, nothing});
  }

  /// Towards the mean and the unbiased variance, as batch_norm_train moves them.
  void move_statistics(Node* norm, const std::map<std::int64_t, Moments>& parts) {
    std::vector<Value> means, variances;
    for (const auto& [channel, moments] : parts) {
      means.push_back(moments.mean);
      variances.push_back(moments.variance);
    }
    const auto count = static_cast<double>(s_.batch.factor * s_.queries * s_.keys);
    const auto joined = [&](const std::vector<Value>& rows) {
      return rows.size() == 1 ? rows[0] : build_("concat", rows, {{"axis", std::int64_t{0}}});
    };
    // Constants are f32: counts and 10 are exact in it, their quotients and 0.1 are not.
    const auto move = [&](Value x, int index) {
      const Value old = norm->operand(index);
      const Value inverse = build_.scalar(1 / norm->attributes().number("momentum"));
      const Value step = build_("div", {build_("sub", {x, old}), inverse});
      build_.graph().replace_uses(norm->result(index), build_("add", {old, step}));
    };
    move(joined(means), 3);
    Value variance = joined(variances);
    if (count > 1) {
      variance = build_(
          "div", {build_("mul", {variance, build_.scalar(count)}), build_.scalar(count - 1)});
    }
    move(variance, 4);
  }

  Value times(Value x, double number) {
    if (number == 1) return x;
    return build_("elementwise", {x}, {{"program", Strings{fmt_mul(number)}}});
  }
  static std::string fmt_mul(double number) { return "mul 0 #" + to_string(Attribute(number)); }
  /// Ones of the shape of `x`, whose numbers are finite.
  Value ones_like(Value x) {
    return build_("elementwise", {x}, {{"program", Strings{"sub 0 0", "add 1 #1.0"}}});
  }
  Value ones(std::int64_t count) {
    const HostTensor tensor =
        HostTensor::from_floats({count}, std::vector<float>(static_cast<std::size_t>(count), 1));
    return build_("constant", {}, {{"value", tensor}});
  }
  /// A prepared value of one number or `count` as [count].
  Value as_vector(Value x, std::int64_t count) {
    if (element_count(x.shape()) == Dim(count)) {
      return x.type().rank() == 1 ? x : reshape(x, {-1});
    }
    return build_("mul", {ones(count), reshape(x, {1})});
  }
  /// Rows [count, ...] of vectors; a null one is of ones, unless all are.
  Value stacked(std::vector<Value> rows) {
    const auto known = std::find_if(rows.begin(), rows.end(), [](Value v) { return bool(v); });
    const Value some = *known;
    for (Value& row : rows) row = reshape(row ? row : ones_like(some), {1, -1});
    return rows.size() == 1 ? rows[0] : build_("concat", rows, {{"axis", std::int64_t{0}}});
  }
  Value product(Value a, Value b) { return a ? build_("mul", {a, b}) : b; }

  /// [heads]; null for a factor that is a number alone.
  Value per_head(const Factor& factor) {
    Value result = factor.trained != nullptr ? scales_.at(&factor) : Value{};
    for (const Node* norm : factor.norms) result = product(result, batch_norm_scale(build_, *norm));
    for (const Value& scale : factor.per_head) result = product(result, as_vector(scale, s_.heads));
    return result;
  }

  void add_score_scale(Attributes& attributes) {
    std::vector<const Factor*> factors{&s_.content};
    if (s_.relative_query || s_.relative_height) factors.push_back(&s_.query_places);
    if (s_.relative_key) factors.push_back(&s_.key_places);
    bool same = true, plain = true;
    for (const Factor* factor : factors) {
      same = same && factor->number == s_.content.number;
      plain =
          plain && factor->norms.empty() && factor->per_head.empty() && factor->trained == nullptr;
    }
    if (same) attributes.set("scale", s_.content.number);
    if (same && plain) return;
    std::vector<Value> rows;
    for (const Factor* factor : factors) {
      Value row = per_head(*factor);
      if (!same) row = times(row ? row : ones(s_.heads), factor->number);
      rows.push_back(row);
    }
    add("score_scale", stacked(std::move(rows)));
  }

  void add_bias() {
    Value sum;
    for (const Bias& bias : s_.biases) {
      Value x = bias.value;
      if (bias.without_heads) {
        const auto extent = [&](int axis) {
          return x.shape()[static_cast<std::size_t>(axis)].factor;
        };
        x = reshape(x, {0, 1, extent(1), extent(2)});
      }
      if (const Value scale = per_head(bias.factor)) {
        x = build_("mul", {x, reshape(scale, {-1, 1, 1})});
      }
      x = times(x, bias.factor.number);
      sum = sum ? build_("add", {sum, x}) : x;
    }
    if (sum) add("bias", sum);
  }

  /// What scales and shifts do to the parts behind them: [channels] each, or null.
  struct Affine {
    Value scale, shift;
  };
  void apply(const ChannelStep& step, Affine& affine) {
    const std::int64_t channels = s_.heads * m_.value.size;
    if (step.kind == ChannelStep::Kind::shift) {
      const Value shift = as_vector(step.value, channels);
      affine.shift = affine.shift ? build_("add", {affine.shift, shift}) : shift;
      return;
    }
    const bool norm = step.kind == ChannelStep::Kind::batch_norm;
    const Value scale =
        norm ? batch_norm_scale(build_, *step.node) : as_vector(step.value, channels);
    affine.scale = product(affine.scale, scale);
    if (affine.shift) affine.shift = product(affine.shift, scale);
    if (!norm) return;
    const Value shift = batch_norm_shift(build_, *step.node, scale);
    affine.shift = affine.shift ? build_("add", {affine.shift, shift}) : shift;
  }

  void add_results() {
    Affine content, places;
    for (const ChannelStep& step : m_.content) apply(step, content);
    for (const ChannelStep& step : m_.places) apply(step, places);
    if (places.shift) {
      content.shift = content.shift ? build_("add", {content.shift, places.shift}) : places.shift;
      places.shift = {};
    }
    for (const ChannelStep& step : m_.joint) {
      apply(step, content);
      if (step.kind != ChannelStep::Kind::shift && m_.relative_value) scale_only(step, places);
    }
    std::vector<Value> rows{content.scale};
    if (m_.relative_value) rows.push_back(places.scale);
    if (content.scale || places.scale) add("output_scale", stacked(std::move(rows)));
    if (content.shift) add("output_shift", content.shift);
  }
  void scale_only(const ChannelStep& step, Affine& affine) {
    const bool norm = step.kind == ChannelStep::Kind::batch_norm;
    affine.scale = product(affine.scale, norm ? batch_norm_scale(build_, *step.node)
                                              : as_vector(step.value, s_.heads * m_.value.size));
  }

  /// The result with the axes of the product it stands for.
  Value in_order_of_product(Value y) {
    const std::int64_t size = m_.value.size;
    const bool last = m_.product_channels_last;
    y = reshape(y,
                last_ ? Ints{0, s_.queries, s_.heads, size} : Ints{0, s_.heads, size, s_.queries});
    Ints order = last_ ? Ints{0, 2, 1, 3} : Ints{0, 1, 2, 3};  // to [N, heads, queries, size]
    if (last != last_) std::swap(order[2], order[3]);
    y = build_("transpose", {y}, {{"permutation", std::move(order)}});
    return shaped(y, m_.product.shape());
  }

  const Scores& s_;
  const Mixed& m_;
  bool last_;
  Builder build_;
  std::vector<Value> operands_;
  Strings extras_;
  std::map<const std::optional<Table>*, Value> tables_;
  std::map<const Factor*, Value> scales_;                     ///< of trained norms, [heads]
  std::map<Node*, std::map<std::int64_t, Moments>> trained_;  ///< by channel
};

}  // namespace

std::optional<bool> channels_last_of(const Scores& scores, const Mixed& mixed) {
  for (const bool last : {false, true}) {
    if (place_of(*scores.query, last) && place_of(*scores.key, last) &&
        place_of(mixed.value, last)) {
      return last;
    }
  }
  return std::nullopt;
}

Value write_sdpa(Graph& graph, const Scores& scores, const Mixed& mixed, bool channels_last,
                 Provenance provenance, Node*& sdpa) {
  return Writer(graph, std::move(provenance), scores, mixed, channels_last).run(sdpa);
}

}  // namespace facet::attention
