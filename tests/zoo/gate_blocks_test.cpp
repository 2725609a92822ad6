#include "tests/zoo/block_case.h"
#include "zoo/blocks/cbam.h"
#include "zoo/blocks/coordinate_attention.h"
#include "zoo/blocks/squeeze_excite.h"

namespace facet::zoo {
namespace {

/// A map [N, C, H, W] in row-major order.
struct Map {
  std::size_t n, c, h, w;
  std::size_t at(std::size_t i, std::size_t k, std::size_t y, std::size_t x) const {
    return ((i * c + k) * h + y) * w + x;
  }
  std::size_t size() const { return n * c * h * w; }
};
constexpr Map kMap{2, 32, 5, 4};

TEST(SqueezeExcite, WeighsChannelsByTheirMeans) {
  const BlockCase block({2, 32, 5, 4}, [](Scope s, Tensor x) { return squeeze_excite(s, x, 8); });
  const Numbers x = block.x();
  Numbers means(2 * 32, 0);
  for (std::size_t i = 0; i < x.size(); ++i) means[i / 20] += x[i] / 20;
  Numbers hidden = dense(means, block.parameter("fc1.weight"), 32);
  EXPECT_EQ(hidden.size(), 2U * 4U);
  for (double& h : hidden) h = std::max(h, 0.0);
  const Numbers weights = dense(hidden, block.parameter("fc2.weight"), 4);
  Numbers y = x;
  for (std::size_t i = 0; i < y.size(); ++i) y[i] *= sigmoid_of(weights[i / 20]);
  expect_close(block.y().to_doubles(), y);
}

/// x times the channel gate of CBAM.
Numbers channel_gated(const BlockCase& block) {
  const Numbers x = block.x();
  Numbers both(2 * 2 * 32, 0);  // the means of both images, then the maxima
  for (std::size_t i = 0; i < x.size(); ++i) {
    both[i / 20] += x[i] / 20;
    double& peak = both[64 + i / 20];
    peak = i % 20 == 0 ? x[i] : std::max(peak, x[i]);
  }
  Numbers hidden = dense(both, block.parameter("channel.fc1.weight"), 32);
  for (double& h : hidden) h = std::max(h, 0.0);
  const Numbers votes = dense(hidden, block.parameter("channel.fc2.weight"), 2);
  Numbers y = x;
  for (std::size_t i = 0; i < y.size(); ++i) y[i] *= sigmoid_of(votes[i / 20] + votes[64 + i / 20]);
  return y;
}

TEST(Cbam, ChannelsThenPlaces) {
  const BlockCase block({2, 32, 5, 4}, [](Scope s, Tensor x) { return cbam(s, x); });
  const Numbers seen = channel_gated(block);
  const Numbers weight = block.parameter("spatial.conv1.weight");  // [1, 2, 7, 7]
  Numbers y = seen;
  for (std::size_t i = 0; i < kMap.n; ++i) {
    Numbers mean(20, 0), peak(20, -1e9);
    for (std::size_t c = 0; c < kMap.c; ++c) {
      for (std::size_t p = 0; p < 20; ++p) {
        mean[p] += seen[(i * 32 + c) * 20 + p] / 32;
        peak[p] = std::max(peak[p], seen[(i * 32 + c) * 20 + p]);
      }
    }
    for (int row = 0; row < 5; ++row) {
      for (int column = 0; column < 4; ++column) {
        double vote = 0;
        for (int dy = -3; dy <= 3; ++dy) {
          for (int dx = -3; dx <= 3; ++dx) {
            const int sy = row + dy, sx = column + dx;
            if (sy < 0 || sy >= 5 || sx < 0 || sx >= 4) continue;
            const auto p = static_cast<std::size_t>(sy * 4 + sx);
            const auto k = static_cast<std::size_t>((dy + 3) * 7 + dx + 3);
            vote += weight[k] * mean[p] + weight[49 + k] * peak[p];
          }
        }
        for (std::size_t c = 0; c < kMap.c; ++c) {
          y[kMap.at(i, c, static_cast<std::size_t>(row), static_cast<std::size_t>(column))] *=
              sigmoid_of(vote);
        }
      }
    }
  }
  expect_close(block.y().to_doubles(), y);
}

TEST(CoordinateAttention, WeighsRowsAndColumns) {
  const BlockCase block({2, 32, 5, 4},
                        [](Scope s, Tensor x) { return coordinate_attention(s, x); });
  const Numbers x = block.x();
  // Tokens: five rows, then four columns, of each image.
  const std::size_t tokens = kMap.h + kMap.w;
  Numbers f(kMap.n * tokens * kMap.c, 0);
  for (std::size_t i = 0; i < kMap.n; ++i) {
    for (std::size_t c = 0; c < kMap.c; ++c) {
      for (std::size_t row = 0; row < kMap.h; ++row) {
        for (std::size_t column = 0; column < kMap.w; ++column) {
          const double v = x[kMap.at(i, c, row, column)];
          f[(i * tokens + row) * kMap.c + c] += v / 4;
          f[(i * tokens + kMap.h + column) * kMap.c + c] += v / 5;
        }
      }
    }
  }
  f = dense(f, block.parameter("conv1.weight"), kMap.c, block.parameter("conv1.bias"));
  ASSERT_EQ(f.size(), kMap.n * tokens * 8);  // at least 8 hidden channels
  const Numbers scale = block.parameter("bn1.weight"), bias = block.parameter("bn1.bias");
  const Numbers mean = block.parameter("bn1.running_mean"),
                var = block.parameter("bn1.running_var");
  for (std::size_t i = 0; i < f.size(); ++i) {
    const std::size_t c = i % 8;
    const double t = (f[i] - mean[c]) / std::sqrt(var[c] + 1e-5) * scale[c] + bias[c];
    f[i] = t * std::clamp(t + 3, 0.0, 6.0) / 6;
  }
  const Numbers rows =
      dense(f, block.parameter("conv_h.weight"), 8, block.parameter("conv_h.bias"));
  const Numbers columns =
      dense(f, block.parameter("conv_w.weight"), 8, block.parameter("conv_w.bias"));
  Numbers y = x;
  for (std::size_t i = 0; i < kMap.n; ++i) {
    for (std::size_t c = 0; c < kMap.c; ++c) {
      for (std::size_t row = 0; row < kMap.h; ++row) {
        for (std::size_t column = 0; column < kMap.w; ++column) {
          y[kMap.at(i, c, row, column)] *=
              sigmoid_of(rows[(i * tokens + row) * kMap.c + c]) *
              sigmoid_of(columns[(i * tokens + kMap.h + column) * kMap.c + c]);
        }
      }
    }
  }
  expect_close(block.y().to_doubles(), y);
}

}  // namespace
}  // namespace facet::zoo
