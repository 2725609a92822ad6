#pragma once

#include <string>
#include <vector>

#include "ir/op.h"
#include "ir/sdpa.h"

namespace facet::ops {

/// Declared attributes of sdpa, with `more` behind them.
std::vector<AttributeSpec> sdpa_attribute_specs(std::vector<AttributeSpec> more = {});
std::vector<Sample> sdpa_samples();
/// Flops of the products of an sdpa that reads `query`: of scores and of outputs.
double sdpa_products(const Sdpa& sdpa, Value query);

/// Of score_moments and score_moments_bwd, in score_moments_plain.cpp.
std::vector<Value> decompose_score_moments(Builder& build, Node& node);
std::vector<Value> decompose_score_moments_bwd(Builder& build, Node& node);

/// What the decompositions of sdpa, score_moments and their gradients share. Values "by token" are
/// [N, heads, tokens, channels] with channels last and [N, heads, channels, tokens] otherwise;
/// scores are [N, heads, queries, keys].
class SdpaPlain {
 protected:
  /// Operand i of the sdpa is operand `first` + i of the node.
  SdpaPlain(Builder& build, Node& node, Sdpa sdpa, int first)
      : build_(build), node_(node), s_(std::move(sdpa)), first_(first) {}

  Value extra(int operand) { return node_.operand(first_ + operand); }
  Value query() { return by_head(extra(0), s_.query, s_.queries); }
  Value key() { return by_head(extra(1), s_.key, s_.keys); }
  Value value() { return by_head(extra(2), s_.value, s_.keys); }
  /// The channels of the heads at `place`, by token.
  Value by_head(Value x, const HeadChannels& place, std::int64_t tokens);
  /// The way of by_head back to `shape`, that of the operand: zeros for channels of no head.
  Value to_operand(Value x, const HeadChannels& place, std::int64_t tokens, const Shape& shape);
  /// The two halves of that way: to [N, heads, step, tokens] or [N, heads, tokens, step], where
  /// values of places in the same steps can be added, and on.
  Value to_steps(Value x, const HeadChannels& place, const Shape& shape);
  Value steps_to_operand(Value x, const HeadChannels& place, std::int64_t tokens,
                         const Shape& shape);
  /// The first channel of the first step.
  std::int64_t start_of(const HeadChannels& place, const Shape& shape) const;

  /// The parts of the scores: content, places of the query, places of the key.
  std::vector<Value> parts(Value q, Value k);
  /// The parts' scaled sum, ahead of clamp and bias.
  Value sum(const std::vector<Value>& parts);
  /// The softmax's operand.
  Value scores(const std::vector<Value>& parts);
  Value weights(Value scores);
  /// Row `part` of score_scale, [1, heads, 1, 1].
  Value score_scale(std::size_t part);

  Value reshape(Value x, Ints shape);
  Value transpose(Value x, Ints permutation);
  Value slice(Value x, std::int64_t axis, std::int64_t start, std::int64_t count);
  Value matmul(Value a, bool transpose_a, Value b, bool transpose_b);
  Value skew(Value x, std::string distance);
  Value unskew(Value x, std::string distance);

  Builder& build_;
  Node& node_;
  Sdpa s_;

 private:
  Value padded(Value x, std::int64_t axis, std::int64_t before, std::int64_t after);
  Value against_table(Value x, int table);
  Value map_places(Value q);

  int first_;
};

}  // namespace facet::ops
