#include "ir/error.h"
#include "tests/zoo/block_case.h"
#include "zoo/blocks/lesa_layer.h"
#include "zoo/blocks/transformer_block.h"

namespace facet::zoo {
namespace {

/// Numbers of the DSL, 1 / sqrt(d) say, are f32 constants in the graph.
constexpr double kF32 = 1e-7;

/// softmax over each row of `width` numbers.
void normalize_rows(Numbers& x, std::size_t width) {
  for (std::size_t row = 0; row < x.size(); row += width) {
    double peak = x[row], total = 0;
    for (std::size_t j = row; j < row + width; ++j) peak = std::max(peak, x[j]);
    for (std::size_t j = row; j < row + width; ++j) {
      x[j] = std::exp(x[j] - peak);
      total += x[j];
    }
    for (std::size_t j = row; j < row + width; ++j) x[j] /= total;
  }
}

/// Self-attention of images of `tokens` x `channels`; mask [heads, tokens, tokens] or empty.
Numbers attend(const BlockCase& block, const std::string& name, const Numbers& x,
               std::size_t tokens, std::size_t channels, std::size_t heads,
               const Numbers& mask = {}) {
  const Numbers qkv =
      dense(x, block.parameter(name + "qkv.weight"), channels, block.parameter(name + "qkv.bias"));
  const std::size_t d = channels / heads;
  const auto part = [&](std::size_t which, std::size_t token, std::size_t h, std::size_t c) {
    return qkv[token * 3 * channels + which * channels + h * d + c];
  };
  Numbers y(x.size(), 0);
  for (std::size_t first = 0; first < x.size() / channels; first += tokens) {
    for (std::size_t h = 0; h < heads; ++h) {
      Numbers scores(tokens * tokens, 0);
      for (std::size_t i = 0; i < tokens; ++i) {
        for (std::size_t j = 0; j < tokens; ++j) {
          double& s = scores[i * tokens + j];
          for (std::size_t c = 0; c < d; ++c)
            s += part(0, first + i, h, c) * part(1, first + j, h, c);
          s /= std::sqrt(static_cast<double>(d));
          if (!mask.empty()) s += mask[(h * tokens + i) * tokens + j];
        }
      }
      normalize_rows(scores, tokens);
      for (std::size_t i = 0; i < tokens; ++i) {
        for (std::size_t j = 0; j < tokens; ++j) {
          for (std::size_t c = 0; c < d; ++c) {
            y[(first + i) * channels + h * d + c] +=
                scores[i * tokens + j] * part(2, first + j, h, c);
          }
        }
      }
    }
  }
  return dense(y, block.parameter(name + "proj.weight"), channels,
               block.parameter(name + "proj.bias"));
}

TEST(MultiHeadAttention, IsTheTextbooks) {
  const BlockCase block({2, 7, 24},
                        [](Scope s, Tensor x) { return multi_head_attention(s, x, 3); });
  EXPECT_EQ(block.y().shape(), (std::vector<std::int64_t>{2, 7, 24}));
  expect_close(block.y().to_doubles(), attend(block, "", block.x(), 7, 24, 3), kF32);
}

TEST(MultiHeadAttention, AddsTheMask) {
  const BlockCase block({2, 5, 16}, [](Scope s, Tensor x) {
    const Initializer any{Initializer::Kind::constant, 0, 0};
    const Tensor mask = s.parameter("mask", {1, 2, 5, 5}, any);
    return multi_head_attention(s, x, 2, mask);
  });
  expect_close(block.y().to_doubles(),
               attend(block, "", block.x(), 5, 16, 2, block.parameter("mask")), kF32);
}

TEST(MultiHeadAttention, HeadsMustDivideTheChannels) {
  const auto declare = [](Scope s, Tensor x) { return multi_head_attention(s, x, 5); };
  EXPECT_THROW(BlockCase({1, 4, 24}, declare), Error);
}

Numbers layer_normed(const BlockCase& block, const std::string& name, const Numbers& x,
                     std::size_t channels) {
  const Numbers weight = block.parameter(name + ".weight"), bias = block.parameter(name + ".bias");
  Numbers y(x.size());
  for (std::size_t row = 0; row < x.size(); row += channels) {
    double mean = 0, variance = 0;
    for (std::size_t c = 0; c < channels; ++c) mean += x[row + c];
    mean /= static_cast<double>(channels);
    for (std::size_t c = 0; c < channels; ++c)
      variance += (x[row + c] - mean) * (x[row + c] - mean);
    variance /= static_cast<double>(channels);
    for (std::size_t c = 0; c < channels; ++c) {
      y[row + c] = (x[row + c] - mean) / std::sqrt(variance + 1e-6) * weight[c] + bias[c];
    }
  }
  return y;
}

TEST(TransformerBlock, NormalisesFirst) {
  const BlockCase block({2, 6, 16},
                        [](Scope s, Tensor x) { return transformer_block(s, x, {.heads = 4}); });
  Numbers x = block.x();
  const Numbers seen = attend(block, "attn.", layer_normed(block, "norm1", x, 16), 6, 16, 4);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += seen[i];
  Numbers hidden = dense(layer_normed(block, "norm2", x, 16), block.parameter("mlp.fc1.weight"), 16,
                         block.parameter("mlp.fc1.bias"));
  for (double& h : hidden) h = h / 2 * (1 + std::erf(h / std::sqrt(2.0)));
  ASSERT_EQ(hidden.size(), 2U * 6U * 64U);
  const Numbers step =
      dense(hidden, block.parameter("mlp.fc2.weight"), 64, block.parameter("mlp.fc2.bias"));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += step[i];
  expect_close(block.y().to_doubles(), x, kF32);
}

/// A LESA layer of 16 channels on a map 3 high and 5 wide, seen through the taps at both ends of
/// its context term.
class LesaContext : public ::testing::Test {
 protected:
  static constexpr std::size_t kHeads = 2, kHead = 8, kKeys = 4, kTokens = 15, kWidth = 5;

  static BlockCase make(LesaPositions positions) {
    return BlockCase({1, 16, 3, 5},
                     [=](Scope s, Tensor x) {
                       return lesa_layer(s, x, {.positions = positions, .groups = kHeads});
                     },
                     {"b.bn_qkv", "b.bn_output"});
  }

  /// Element `c` of head `g`'s q, k, v channels for one token.
  static double qkv(const Numbers& all, std::size_t g, std::size_t c, std::size_t token) {
    return all[(g * 2 * kHead + c) * kTokens + token];
  }

  static double normed(const BlockCase& block, const std::string& name, std::size_t c, double x) {
    const auto of = [&](const char* part) { return block.parameter(name + "." + part)[c]; };
    return (x - of("running_mean")) / std::sqrt(of("running_var") + 1e-5) * of("weight") +
           of("bias");
  }
};

TEST_F(LesaContext, ClassificationCountsAlongTheRaster) {
  const BlockCase block = make(LesaPositions::classification);
  const Numbers all = block.tap("b.bn_qkv"), table = block.parameter("relative");
  const auto entry = [&](std::size_t row, std::size_t minuend, std::size_t subtrahend) {
    return table[row * (2 * kTokens - 1) + minuend + kTokens - 1 - subtrahend];
  };
  Numbers expected(2 * 16 * kTokens, 0);
  for (std::size_t g = 0; g < kHeads; ++g) {
    Numbers scores(kTokens * kTokens);
    for (std::size_t i = 0; i < kTokens; ++i) {
      for (std::size_t j = 0; j < kTokens; ++j) {
        double qk = 0, qr = 0, kr = 0;
        for (std::size_t c = 0; c < kKeys; ++c) {
          qk += qkv(all, g, c, i) * qkv(all, g, kKeys + c, j);
          qr += qkv(all, g, c, i) * entry(c, i, j);
          kr += qkv(all, g, kKeys + c, j) * entry(kKeys + c, j, i);
        }
        scores[i * kTokens + j] = normed(block, "bn_similarity", g, qk) +
                                  normed(block, "bn_similarity", kHeads + g, qr) +
                                  normed(block, "bn_similarity", 2 * kHeads + g, kr);
      }
    }
    normalize_rows(scores, kTokens);
    for (std::size_t c = 0; c < kHead; ++c) {
      for (std::size_t i = 0; i < kTokens; ++i) {
        double content = 0, places = 0;
        for (std::size_t j = 0; j < kTokens; ++j) {
          content += scores[i * kTokens + j] * qkv(all, g, 2 * kKeys + c, j);
          places += scores[i * kTokens + j] * entry(2 * kKeys + c, i, j);
        }
        const std::size_t channel = 2 * (g * kHead + c);
        expected[channel * kTokens + i] = normed(block, "bn_output", channel, content);
        expected[(channel + 1) * kTokens + i] = normed(block, "bn_output", channel + 1, places);
      }
    }
  }
  expect_close(block.tap("b.bn_output"), expected);
}

TEST_F(LesaContext, DetectionCountsRowsAndColumns) {
  const BlockCase block = make(LesaPositions::detection_qr);
  const Numbers all = block.tap("b.bn_qkv");
  const Numbers rows = block.parameter("rel_height"), columns = block.parameter("rel_width");
  ASSERT_EQ(rows.size(), 5U * kKeys);
  ASSERT_EQ(columns.size(), 9U * kKeys);
  Numbers expected(16 * kTokens, 0);
  for (std::size_t g = 0; g < kHeads; ++g) {
    Numbers scores(kTokens * kTokens);
    for (std::size_t i = 0; i < kTokens; ++i) {
      for (std::size_t j = 0; j < kTokens; ++j) {
        const std::size_t dy = j / kWidth + 2 - i / kWidth, dx = j % kWidth + 4 - i % kWidth;
        double qk = 0, qr = 0;
        for (std::size_t c = 0; c < kKeys; ++c) {
          qk += qkv(all, g, c, i) * qkv(all, g, kKeys + c, j);
          qr += qkv(all, g, c, i) * (columns[dx * kKeys + c] + rows[dy * kKeys + c]);
        }
        scores[i * kTokens + j] =
            normed(block, "bn_similarity", g, qk) + normed(block, "bn_similarity", kHeads + g, qr);
      }
    }
    normalize_rows(scores, kTokens);
    for (std::size_t c = 0; c < kHead; ++c) {
      for (std::size_t i = 0; i < kTokens; ++i) {
        double y = 0;
        for (std::size_t j = 0; j < kTokens; ++j) {
          y += scores[i * kTokens + j] * qkv(all, g, 2 * kKeys + c, j);
        }
        const std::size_t channel = g * kHead + c;
        expected[channel * kTokens + i] = normed(block, "bn_output", channel, y);
      }
    }
  }
  expect_close(block.tap("b.bn_output"), expected);
}

TEST(LesaLayer, AStrideAveragesTheResult) {
  const auto layer = [](std::int64_t stride) {
    return BlockCase({2, 16, 4, 6}, [=](Scope s, Tensor x) {
      return lesa_layer(s, x, {.groups = 2, .stride = stride});
    });
  };
  const Numbers whole = layer(1).y().to_doubles();
  const HostTensor half = layer(2).y();
  ASSERT_EQ(half.shape(), (std::vector<std::int64_t>{2, 16, 2, 3}));
  Numbers expected(static_cast<std::size_t>(half.element_count()), 0);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    expected[(i / 12) * 3 + i % 6 / 2] += whole[i] / 4;  // two rows of six make one of three
  }
  expect_close(half.to_doubles(), expected);
}

TEST(LesaLayer, OneGroupNeedsNoExchange) {
  const BlockCase block({1, 8, 3, 3},
                        [](Scope s, Tensor x) { return lesa_layer(s, x, {.groups = 1}); });
  EXPECT_NE(block.graph().find_parameter("b.x_transform.0.weight"), nullptr);
  EXPECT_EQ(block.graph().find_parameter("b.x_transform.1.weight"), nullptr);
}

TEST(LesaLayer, TheFusionIsAList) {
  const LesaOptions deep{
      .groups = 2, .channel_shrink = {2, 4}, .kernel_size = {1, 3, 3}, .group = {1, 2, 1}};
  const BlockCase block({1, 16, 4, 4}, [&](Scope s, Tensor x) { return lesa_layer(s, x, deep); });
  const auto shape = [&](const char* key) { return block.graph().find_parameter(key)->type.shape; };
  EXPECT_EQ(shape("b.reasoning.1.weight"), (Shape{16, 32, 1, 1}));
  EXPECT_EQ(shape("b.reasoning.4.weight"), (Shape{4, 8, 3, 3}));
  EXPECT_EQ(shape("b.projection.0.weight"), (Shape{16, 4, 3, 3}));
  EXPECT_EQ(block.y().shape(), (std::vector<std::int64_t>{1, 16, 4, 4}));
}

TEST(LesaLayer, SaysWhatDoesNotFit) {
  const auto layer = [](const LesaOptions& options) {
    return BlockCase({1, 12, 3, 3}, [&](Scope s, Tensor x) { return lesa_layer(s, x, options); });
  };
  EXPECT_THROW(layer({.groups = 4}), Error);  // three channels a group
  EXPECT_THROW(layer({.groups = 2, .kernel_size = {1}}), Error);
  EXPECT_THROW(layer({.groups = 2, .group = {1, 1, 1}}), Error);
  EXPECT_NO_THROW(layer({.groups = 2}));
}

}  // namespace
}  // namespace facet::zoo
