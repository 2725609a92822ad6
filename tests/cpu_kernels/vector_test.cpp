// The vector loops of every instruction set this machine runs, against scalar double arithmetic.

#include "backends/cpu/kernels/vector.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "ir/dtype.h"

namespace facet::cpu {
namespace {

class VectorLoopsTest : public ::testing::TestWithParam<const VectorLoops*> {
 protected:
  void SetUp() override {
    if (GetParam() == nullptr) GTEST_SKIP() << "not compiled in";
    if (!runs_here(*GetParam())) GTEST_SKIP() << "this machine cannot run " << GetParam()->name;
  }
  std::vector<float> apply(Function function, const std::vector<float>& x) const {
    std::vector<float> y(x.size());
    const Tile tile{x.data(), 0, true, Float::f32};
    GetParam()->functions[static_cast<int>(function)](y.data(), 0, &tile, 1,
                                                      static_cast<std::int64_t>(x.size()));
    return y;
  }
};
INSTANTIATE_TEST_SUITE_P(All, VectorLoopsTest,
                         ::testing::Values(baseline_loops(), avx2_loops(), avx512_loops(),
                                           avx512_bf16_loops()),
                         [](const auto& suite) {
                           return std::string(suite.param != nullptr
                                                  ? suite.param->name
                                                  : fmt::format("absent{}", suite.index));
                         });

/// Every 2^shift-th float of both signs, with special values.
std::vector<float> grid(double largest) {
  std::vector<float> x{0.0f, -0.0f, 0.75f, 1.0f, 4.0f, -1.0f};
  for (std::uint32_t bits = 0x00800000u; bits < 0x7F800000u; bits += 4099) {
    const float value = std::bit_cast<float>(bits);
    if (static_cast<double>(value) > largest) break;
    x.push_back(value);
    x.push_back(-value);
  }
  return x;
}

/// Largest relative error over the grid where the exact result is a normal f32, and largest
/// absolute error, in smallest subnormals, where it is not.
void expect_accurate(const std::vector<float>& x, const std::vector<float>& y,
                     double (*exact)(double), const char* name) {
  double relative = 0;
  double subnormals = 0;
  float where = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double e = exact(static_cast<double>(x[i]));
    const double difference = std::fabs(static_cast<double>(y[i]) - e);
    if (std::fabs(e) < std::numeric_limits<float>::min()) {
      subnormals = std::max(subnormals, difference / 0x1p-149);
    } else if (difference > relative * std::fabs(e)) {
      relative = difference / std::fabs(e);
      where = x[i];
    }
  }
  EXPECT_LE(relative, 2e-7) << name << " at " << where;
  EXPECT_LE(subnormals, 2) << name;
  ::testing::Test::RecordProperty(name, fmt::format("{:.3g} at {}", relative, where));
}

TEST_P(VectorLoopsTest, AccuracyOverTheWholeRange) {
  std::vector<float> x = grid(std::numeric_limits<float>::max());
  const auto check = [&](Function function, double (*exact)(double), const char* name) {
    expect_accurate(x, apply(function, x), exact, name);
  };
  check(
      Function::sigmoid,
      [](double v) { return v < 0 ? std::exp(v) / (1 + std::exp(v)) : 1 / (1 + std::exp(-v)); },
      "sigmoid");
  check(
      Function::tanh, [](double v) { return std::tanh(v); }, "tanh");
  check(
      Function::erf, [](double v) { return std::erf(v); }, "erf");
  check(
      Function::sin, [](double v) { return std::sin(v); }, "sin");
  check(
      Function::cos, [](double v) { return std::cos(v); }, "cos");
  x = grid(9e5);  // where the vector code serves whole rows
  check(
      Function::sin, [](double v) { return std::sin(v); }, "sin of the vector code");
  check(
      Function::cos, [](double v) { return std::cos(v); }, "cos of the vector code");
  x = grid(std::numeric_limits<float>::max());
  std::erase_if(x, [](float v) { return v <= 0; });
  for (std::uint32_t bits = 1; bits < 0x00800000u; bits += 4099) {  // subnormals
    x.push_back(std::bit_cast<float>(bits));
  }
  for (std::uint32_t bits = 0x3F000000u; bits < 0x40000000u; bits += 5) {  // around ln(1)
    x.push_back(std::bit_cast<float>(bits));
  }
  check(
      Function::log, [](double v) { return std::log(v); }, "log");
  x = grid(88.72);
  check(
      Function::exp, [](double v) { return std::exp(v); }, "exp");
}

TEST_P(VectorLoopsTest, LimitsAndSpecialValues) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> x{inf, -inf, nan, 1000.0f, -1000.0f, 0.0f};
  EXPECT_EQ(apply(Function::exp, x)[0], inf);
  EXPECT_EQ(apply(Function::exp, x)[1], 0.0f);
  EXPECT_EQ(apply(Function::exp, x)[3], inf);
  EXPECT_EQ(apply(Function::exp, x)[4], 0.0f);
  EXPECT_EQ(apply(Function::exp, x)[5], 1.0f);
  EXPECT_EQ(apply(Function::sigmoid, x)[0], 1.0f);
  EXPECT_EQ(apply(Function::sigmoid, x)[1], 0.0f);
  EXPECT_EQ(apply(Function::sigmoid, x)[5], 0.5f);
  EXPECT_EQ(apply(Function::tanh, x)[1], -1.0f);
  EXPECT_EQ(apply(Function::erf, x)[4], -1.0f);
  for (const Function f : {Function::exp, Function::sigmoid, Function::tanh, Function::erf,
                           Function::relu, Function::sqrt}) {
    EXPECT_TRUE(std::isnan(apply(f, x)[2])) << static_cast<int>(f);
  }
  const std::vector<float> one(x.size(), 1.0f);
  std::vector<float> y(x.size());
  const Tile both[] = {{x.data(), 0, true, Float::f32}, {one.data(), 0, true, Float::f32}};
  const Tile turned[] = {both[1], both[0]};
  for (const Function f : {Function::maximum, Function::minimum}) {
    for (const Tile* arguments : {both, turned}) {
      GetParam()->functions[static_cast<int>(f)](y.data(), 0, arguments, 1, 6);
      EXPECT_TRUE(std::isnan(y[2])) << static_cast<int>(f);
    }
  }
}

TEST_P(VectorLoopsTest, RoundingIsExact) {
  std::vector<float> x = grid(std::numeric_limits<float>::max());
  for (int i = -4000; i <= 4000; ++i) x.push_back(static_cast<float>(i) * 0.25f);  // halves
  for (const float edge : {8388607.5f, 8388608.0f, 4194303.5f, 4194304.5f, 0.49999997f}) {
    x.push_back(edge);
    x.push_back(-edge);
  }
  const float inf = std::numeric_limits<float>::infinity();
  x.insert(x.end(), {inf, -inf});
  const std::vector<float> down = apply(Function::floor, x), up = apply(Function::ceil, x),
                           near = apply(Function::round, x), sign = apply(Function::sign, x);
  const auto same = [](float a, float b) { return a == b && std::signbit(a) == std::signbit(b); };
  for (std::size_t i = 0; i < x.size(); ++i) {
    ASSERT_TRUE(same(down[i], std::floor(x[i]))) << x[i];
    ASSERT_TRUE(same(up[i], std::ceil(x[i]))) << x[i];
    ASSERT_TRUE(same(near[i], std::nearbyint(x[i]))) << x[i];
    ASSERT_EQ(sign[i], x[i] > 0 ? 1.0f : x[i] < 0 ? -1.0f : 0.0f) << x[i];
  }
}

TEST_P(VectorLoopsTest, LogarithmsAtTheEdges) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> y = apply(Function::log, {0.0f, -0.0f, inf, -1.0f, -inf, nan, 1.0f});
  EXPECT_EQ(y[0], -inf);
  EXPECT_EQ(y[1], -inf);
  EXPECT_EQ(y[2], inf);
  for (const std::size_t i : {3, 4, 5}) EXPECT_TRUE(std::isnan(y[i])) << i;
  EXPECT_EQ(y[6], 0.0f);
  for (const Function f : {Function::floor, Function::ceil, Function::round, Function::sign,
                           Function::sin, Function::cos}) {
    EXPECT_TRUE(std::isnan(apply(f, {1.0f, nan})[1])) << static_cast<int>(f);
  }
  EXPECT_TRUE(std::isnan(apply(Function::sin, {inf})[0]));
  EXPECT_TRUE(std::isnan(apply(Function::cos, {-inf})[0]));
}

/// Every form of the arguments (row stride 0 or not, one element or many, f32 or bf16), with tails.
/// The values are small whole numbers, so that everything is exact.
TEST_P(VectorLoopsTest, FormsOfArguments) {
  struct Operand {
    std::vector<float> values;
    std::vector<std::uint16_t> halves;
  };
  constexpr std::int64_t kRows = 5;
  for (const std::int64_t cols : {1, 3, 4, 16, 37}) {
    Operand operands[3];
    for (int k = 0; k < 3; ++k) {
      for (std::int64_t i = 0; i < kRows * cols; ++i) {
        const float value = static_cast<float>((i * (k + 3) + k) % 13 - 6);
        operands[k].values.push_back(value);
        operands[k].halves.push_back(bf16_from_float(value));
      }
    }
    // Per argument: bit 0 its rows differ, then 0 one f32, 1 a row of f32, 2 a row of bf16.
    for (int form = 0; form < 6 * 6 * 6; ++form) {
      Tile tiles[3];
      bool exists = true;
      for (int k = 0, rest = form; k < 3; ++k, rest /= 6) {
        const int kind = rest % 6 / 2;
        exists = exists && (kind != 2 || takes_bf16(Function::multiply_add_relu, k));
        tiles[k] = {operands[k].values.data(), rest % 2 != 0 ? cols : 0, kind != 0, Float::f32};
        if (kind == 2) tiles[k].data = operands[k].halves.data();
        if (kind == 2) tiles[k].type = Float::bf16;
      }
      if (!exists) continue;
      std::vector<float> y(static_cast<std::size_t>(kRows * cols));
      GetParam()->functions[static_cast<int>(Function::multiply_add_relu)](y.data(), cols, tiles,
                                                                           kRows, cols);
      for (std::int64_t i = 0; i < kRows * cols; ++i) {
        const auto value = [&](int k) {
          const std::int64_t at = i / cols * tiles[k].row + (tiles[k].varies ? i % cols : 0);
          return operands[k].values[static_cast<std::size_t>(at)];
        };
        ASSERT_EQ(y[static_cast<std::size_t>(i)], std::max(value(0) * value(1) + value(2), 0.0f))
            << "form " << form << ", " << cols << " columns, element " << i;
      }
    }
  }
}

TEST_P(VectorLoopsTest, WideningIsExact) {
  std::vector<std::uint16_t> x(65536);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<std::uint16_t>(i);
  std::vector<float> y(x.size());
  const auto same = [](float a, float b) {
    return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) ||
           (std::isnan(a) && std::isnan(b));
  };
  GetParam()->widen[static_cast<int>(Float::bf16)](x.data(), y.data(), 65536);
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_TRUE(same(y[i], float_from_bf16(x[i]))) << i;
  GetParam()->widen[static_cast<int>(Float::f16)](x.data(), y.data(), 65536);
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_TRUE(same(y[i], float_from_f16(x[i]))) << i;
}

TEST_P(VectorLoopsTest, NarrowingRoundsToNearestEven) {
  std::vector<float> x;
  for (std::uint64_t bits = 0; bits < 0x100000000u; bits += 0x1FFF) {
    x.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  }
  for (std::uint32_t high = 0; high < 0x10000u; ++high) {  // halfway for bf16 and beside it
    for (const std::uint32_t low : {0x7FFFu, 0x8000u, 0x8001u}) {
      x.push_back(std::bit_cast<float>(high << 16 | low));
    }
  }
  for (std::uint32_t half = 0; half < 0x7C00u; ++half) {  // halfway for f16
    x.push_back((float_from_f16(static_cast<std::uint16_t>(half)) +
                 float_from_f16(static_cast<std::uint16_t>(half + 1))) /
                2);
  }
  std::vector<std::uint16_t> y(x.size());
  const auto n = static_cast<std::int64_t>(x.size());
  GetParam()->narrow[static_cast<int>(Float::bf16)](x.data(), y.data(), n);
  const bool flushes = GetParam() == avx512_bf16_loops();
  for (std::size_t i = 0; i < x.size(); ++i) {
    const bool flushed = flushes && std::fabs(x[i]) < std::numeric_limits<float>::min();
    ASSERT_EQ(y[i], bf16_from_float(flushed ? std::copysign(0.0f, x[i]) : x[i])) << x[i];
  }
  for (std::int64_t tail = 1; tail < 70; ++tail) {
    std::vector<std::uint16_t> part(static_cast<std::size_t>(tail + 1), 0x1234);
    GetParam()->narrow[static_cast<int>(Float::bf16)](x.data() + 70000, part.data(), tail);
    for (std::int64_t i = 0; i < tail; ++i) {
      ASSERT_EQ(part[static_cast<std::size_t>(i)], y[static_cast<std::size_t>(70000 + i)]);
    }
    ASSERT_EQ(part.back(), 0x1234);
  }
  GetParam()->narrow[static_cast<int>(Float::f16)](x.data(), y.data(), n);
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(y[i], f16_from_float(x[i])) << x[i];
}

TEST_P(VectorLoopsTest, FoldsWithTails) {
  std::vector<float> x(4000);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 37 % 101) - 50.0f;
  for (std::int64_t n = 1; n < 150; ++n) {
    float sum = 0, most = x[5], least = x[5];
    for (std::int64_t i = 0; i < n; ++i) {
      sum += x[static_cast<std::size_t>(5 + i)];
      most = std::max(most, x[static_cast<std::size_t>(5 + i)]);
      least = std::min(least, x[static_cast<std::size_t>(5 + i)]);
    }
    ASSERT_EQ(GetParam()->fold_run[0][0](x.data() + 5, n), sum) << n;
    ASSERT_EQ(GetParam()->fold_run[1][0](x.data() + 5, n), most) << n;
    ASSERT_EQ(GetParam()->fold_run[2][0](x.data() + 5, n), least) << n;
    const std::int64_t count[2] = {2, 3}, stride[2] = {1000, 200};
    std::vector<float> y(static_cast<std::size_t>(n + 1), 7.5f);
    GetParam()->fold_rows[0][0](x.data(), count, stride, n, y.data());
    for (std::int64_t c = 0; c < n; ++c) {
      float column = 0;
      for (std::int64_t i = 0; i < 6; ++i) {
        column += x[static_cast<std::size_t>(i / 3 * 1000 + i % 3 * 200 + c)];
      }
      ASSERT_EQ(y[static_cast<std::size_t>(c)], column) << n << " columns, " << c;
    }
    ASSERT_EQ(y.back(), 7.5f);
  }
}

// Windows of a row, 3 x 3 or not, are what fold_rows makes of each, NaN and all.
TEST_P(VectorLoopsTest, WindowsFoldAsOneByOne) {
  std::vector<float> x(9000);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 37 % 101) - 50.0f;
  for (std::size_t i = 3; i < x.size(); i += 89) x[i] = std::numeric_limits<float>::quiet_NaN();
  for (const std::int64_t cols : {1, 5, 16, 48, 70, 131}) {
    for (const std::int64_t kernel : {2, 3}) {
      const std::int64_t count[2] = {kernel, 3}, stride[2] = {2500, cols};
      constexpr std::int64_t kWindows = 6;
      const std::int64_t y_step = cols + 1;
      for (int fold = 0; fold < kFolds; ++fold) {
        std::vector<float> y(static_cast<std::size_t>(kWindows * y_step), 7.5f), one(y);
        GetParam()->fold_windows[fold][0](x.data(), count, stride, cols, y.data(), kWindows,
                                          2 * cols, y_step);
        for (std::int64_t o = 0; o < kWindows; ++o) {
          GetParam()->fold_rows[fold][0](x.data() + o * 2 * cols, count, stride, cols,
                                         one.data() + o * y_step);
        }
        for (std::size_t i = 0; i < y.size(); ++i) {
          ASSERT_EQ(std::bit_cast<std::uint32_t>(y[i]), std::bit_cast<std::uint32_t>(one[i]))
              << cols << " columns, fold " << fold << ", kernel " << kernel << ", at " << i;
        }
      }
    }
  }
}

TEST_P(VectorLoopsTest, FoldsElementsSideBySide) {
  std::vector<float> x(1200);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 37 % 101) - 50.0f;
  for (const std::int64_t count : {1, 2, 3, 8}) {
    for (const std::int64_t n : {1, 15, 16, 33, 140}) {
      std::vector<float> sum(static_cast<std::size_t>(n + 1), 7.5f), most(sum);
      GetParam()->fold_side[0][0](x.data(), count, n, sum.data());
      GetParam()->fold_side[1][0](x.data(), count, n, most.data());
      for (std::int64_t c = 0; c < n; ++c) {
        const float* const from = x.data() + c * count;
        ASSERT_EQ(sum[static_cast<std::size_t>(c)], std::accumulate(from, from + count, 0.0f)) << c;
        ASSERT_EQ(most[static_cast<std::size_t>(c)], *std::max_element(from, from + count)) << c;
      }
      ASSERT_EQ(sum.back(), 7.5f);
    }
  }
}

template <class T>
void check_transpose(Transpose transpose) {
  for (const std::int64_t rows : {1, 2, 3, 4, 15, 16, 33}) {
    for (const std::int64_t cols : {1, 2, 3, 4, 16, 17, 50}) {
      for (const std::int64_t gap : {0, 3}) {
        const std::int64_t x_row = cols + gap, y_row = rows + gap;
        std::vector<T> x(static_cast<std::size_t>(rows * x_row));
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(i + 1);
        std::vector<T> y(static_cast<std::size_t>(cols * y_row), T{0});
        transpose(x.data(), x_row, y.data(), y_row, rows, cols);
        for (std::int64_t j = 0; j < cols; ++j) {
          for (std::int64_t i = 0; i < y_row; ++i) {
            const T expected = i < rows ? x[static_cast<std::size_t>(i * x_row + j)] : T{0};
            ASSERT_EQ(y[static_cast<std::size_t>(j * y_row + i)], expected)
                << rows << "x" << cols << " at " << j << ", " << i;
          }
        }
      }
    }
  }
}

TEST_P(VectorLoopsTest, Transposes) {
  check_transpose<std::uint16_t>(GetParam()->transpose16);
  check_transpose<std::uint32_t>(GetParam()->transpose32);
}

}  // namespace
}  // namespace facet::cpu
