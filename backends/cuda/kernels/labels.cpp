#include "backends/cuda/kernels/labels.h"

#include <fmt/format.h>

#include <limits>
#include <numeric>

#include "backends/cuda/kernels/loops.h"
#include "backends/cuda/kernels/parameters.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;
/// Rows of so many columns have the largest block: of rows like that there are no more than
/// pictures in a batch.
constexpr std::int64_t kLongRow = 8192;
constexpr std::int64_t kMostThreads = 1024;

/// A matrix, or a vector as one of a single column.
struct Matrix {
  std::string_view type;
  std::int64_t size = 0;  ///< bytes of an element
  std::int64_t rows = 0, columns = 1;
  std::int64_t step = 0;  ///< from row to row, in elements
};

Matrix matrix_of(const View& view) {
  const std::vector<std::int64_t> extents = static_extents(view.type.shape);
  if (view.strides.size() != extents.size() || extents.empty()) {
    throw failure(fmt::format("the GPU reads plain layouts, not {}", to_string(view.type)));
  }
  Matrix matrix{type_name(view.type.dtype), size_of(view.type.dtype), extents[0], 1,
                view.strides[0]};
  if (extents.size() > 1) matrix.columns = extents[1];
  if (matrix.columns > 1 && view.strides[1] != 1) {
    throw failure(fmt::format("the GPU reads rows whose elements are side by side, not {}",
                              to_string(view.type)));
  }
  return matrix;
}

/// Writes the kernel of one node; `x0`, `y0`, ... are the operands and results.
class LabelsWriter {
 public:
  LabelsWriter(const Node& node, std::span<const View> operands, std::span<const View> results)
      : node_(node) {
    for (const View& view : operands) {
      const bool are_labels = view.type.dtype == DType::i64;
      const int i = static_cast<int>(x_.size());
      x_.push_back(are_labels ? Matrix{"long long", 8, 0, 1, view.strides.at(0)} : matrix_of(view));
      parameters_.operand(i, x_.back().type, fmt::format("x{}", i));
      if (are_labels) labels_ = i;
    }
    for (const View& view : results) {
      const int i = static_cast<int>(y_.size());
      y_.push_back(matrix_of(view));
      parameters_.result(i, y_.back().type, fmt::format("y{}", i));
      if (y_[0].rows * y_[0].columns > std::numeric_limits<std::int32_t>::max()) {
        throw failure(fmt::format("{} is too large for one kernel", to_string(view.type)));
      }
    }
    smoothing_ =
        node.attributes().has("label_smoothing") ? node.attributes().number("label_smoothing") : 0;
  }

  KernelSource run() {
    if (node_.is("cross_entropy")) return cross_entropy();
    if (node_.is("cross_entropy_bwd")) return cross_entropy_bwd();
    if (node_.is("pick")) return pick();
    if (node_.is("pick_bwd")) {
      return by_elements(0, label(y_[0].columns) +
                                "  for (int i = 0; i < V; ++i) v[i] = c + i == label ? "
                                "facet::to_float(x0[" +
                                times(x_[0].step) + "row]) : 0.0f;\n");
    }
    if (node_.is("place")) {
      return by_elements(x_[0].step, label(x_[0].columns) + load("x0", "row", 0) +
                                         "  for (int i = 0; i < V; ++i) {\n"
                                         "    if (c + i == label) v[i] = facet::to_float(x2[" +
                                         times(x_[2].step) + "row]);\n  }\n");
    }
    if (node_.is("gather_rows")) {
      return by_elements(x_[0].step, label(x_[0].rows) + zeros() + "  if (label >= 0) {\n  " +
                                         load("x0", "label", 0) + "  }\n");
    }
    if (node_.is("owed_rows")) return owed_rows();
    return scatter_add_rows();
  }

 private:
  static std::string times(std::int64_t step) {
    return step == 1 ? "" : fmt::format("{}LL * ", step);
  }
  /// The row's label, -1 for one without target.
  std::string label(std::int64_t classes) const {
    return fmt::format(
        "  long long label = x{0}[{1}row];\n"
        "  if (label < 0 || label >= {2}) label = -1;\n",
        labels_, times(x_[static_cast<std::size_t>(labels_)].step), classes);
  }
  std::string load(std::string_view name, std::string_view row, std::size_t operand,
                   std::string_view to = "v") const {
    return fmt::format("  facet::load({}, {} + {}{} + c);\n", to, name, times(x_[operand].step),
                       row);
  }
  static std::string zeros() { return "  for (int i = 0; i < V; ++i) v[i] = 0.0f;\n"; }

  /// A thread for V neighbours of the first result: `body` sets v[0..V-1] at `row` and column `c`.
  /// Steps between rows it loads from must keep vectors aligned: `step` is one, 0 for none.
  KernelSource by_elements(std::int64_t step, const std::string& body) const {
    const Matrix& y = y_[0];
    std::int64_t vector = std::gcd(16 / y.size, std::gcd(y.columns, y.step));
    vector = std::gcd(vector, step);
    for (const Matrix& x : x_) {
      if (x.columns > 1) vector = std::gcd(vector, x.step);
    }
    const std::int64_t units = y.rows * y.columns / vector;
    KernelSource kernel = parameters_.begin("facet_" + std::string(node_.kind()), kThreads,
                                            (units + kThreads - 1) / kThreads);
    kernel.text += fmt::format(
        "  constexpr int V = {};\n  const int unit = blockIdx.x * {} + threadIdx.x;\n"
        "  if (unit >= {}) return;\n  const int row = unit / {};\n"
        "  const int c = unit % {} * V;\n  float v[V];\n",
        vector, kThreads, units, y.columns / vector, y.columns / vector);
    kernel.text += body;
    kernel.text += fmt::format("  facet::store(y0 + {}row + c, v);\n}}\n", times(y.step));
    return kernel;
  }

  /// Lines that hand `take` all elements of a row, each to one of the block's `threads`, as float
  /// v[] from column c on: 16 bytes at once between a head and a tail of single ones, as rows may
  /// begin anywhere. `z` is the matrix of the rows, whose first lies at a multiple of 16 bytes.
  static std::string along_row(const Matrix& z, std::int64_t threads, std::string_view take) {
    const std::int64_t vector = 16 / z.size;
    const bool has_head = z.step % vector != 0;
    std::string text = fmt::format("  constexpr int V = {};\n", vector);
    if (has_head) {
      const std::int64_t first = z.step % vector;  // where in its 16 bytes row 1 begins
      text += fmt::format("  int head = (V - {} * (row % V) % V) % V;\n", first);
      if (z.columns < vector) text += fmt::format("  if (head > {0}) head = {0};\n", z.columns);
    } else {
      text += "  const int head = 0;\n";
    }
    const std::string one = fmt::format("    float v[1];\n{}", take);
    if (has_head)
      text += fmt::format("  if (threadIdx.x < head) {{\n    const int c = threadIdx.x;\n{}  }}\n",
                          one);
    text += fmt::format(
        "#pragma unroll 2\n  for (int c = head + V * threadIdx.x; c + V <= {}; c += {}) {{\n"
        "    float v[V];\n{}  }}\n",
        z.columns, vector * threads, take);
    if (!has_head && z.columns % vector == 0) return text;
    return text + fmt::format(
                      "  const int tail = head + ({0} - head) / V * V;\n"
                      "  if (tail + threadIdx.x < {0}) {{\n"
                      "    const int c = tail + threadIdx.x;\n{1}  }}\n",
                      z.columns, one);
  }

  /// A block for each row: larger ones for long rows, of which there are few.
  static std::int64_t threads_of_row(const Matrix& z) {
    return z.columns >= kLongRow ? kMostThreads : kThreads;
  }

  /// loss = lse - ((1 - s) * z[label] + s * mean(z)), in one pass: what a thread has added up
  /// shrinks when it meets a larger number.
  KernelSource cross_entropy() const {
    const Matrix& z = x_[0];
    const std::int64_t threads = threads_of_row(z);
    KernelSource kernel =
        parameters_.begin("facet_cross_entropy", static_cast<int>(threads), z.rows);
    const bool smooths = smoothing_ != 0;
    std::string& text = kernel.text;
    text += fmt::format(
        "  const int row = blockIdx.x;\n  x0 += {}row;\n"
        "  float most = {}, sum = 0.0f{};\n",
        times(z.step), float_literal(std::numeric_limits<float>::lowest()),
        smooths ? ", plain = 0.0f" : "");
    text += along_row(z, threads,
                      "    facet::load(v, x0 + c);\n    float next = most;\n"
                      "    for (const float z : v) next = facet::maximum(next, z);\n"
                      "    sum *= facet::exp(most - next);\n    most = next;\n"
                      "    for (const float z : v) sum += facet::exp(z - most);\n" +
                          std::string(smooths ? "    for (const float z : v) plain += z;\n" : ""));
    text += fmt::format(
        "  const float own = most;\n  most = facet::block_maximum<{0}>(most);\n"
        "  sum = facet::block_sum<{0}>(sum * facet::exp(own - most));\n{1}"
        "  if (threadIdx.x > 0) return;\n",
        threads / kWarp,
        smooths ? fmt::format("  plain = facet::block_sum<{}>(plain);\n", threads / kWarp) : "");
    text += label(z.columns) + "  const float lse = most + facet::log(sum);\n";
    std::string expected = "facet::to_float(x0[label])";
    if (smooths) {
      expected = fmt::format("({} * {} + {} * plain)", float_literal(1 - smoothing_), expected,
                             float_literal(smoothing_ / static_cast<double>(z.columns)));
    }
    text += fmt::format(
        "  facet::from_float(label < 0 ? 0.0f : lse - {}, y0[{}row]);\n"
        "  facet::from_float(lse, y1[{}row]);\n}}\n",
        expected, times(y_[0].step), times(y_[1].step));
    return kernel;
  }

  /// dloss * (exp(z - lse) - (1 - s) * onehot - s / C). Long rows that do not begin at multiples of
  /// 16 bytes have a block each.
  KernelSource cross_entropy_bwd() const {
    const Matrix &z = x_[1], &y = y_[0];
    const auto gradient = [&](std::string_view of) {
      return fmt::format("dloss * (facet::exp({} - lse) - (c + i == label ? {} : 0.0f){})", of,
                         float_literal(1 - smoothing_),
                         smoothing_ == 0
                             ? ""
                             : " - " + float_literal(smoothing_ / static_cast<double>(z.columns)));
    };
    const std::string factors = fmt::format(
        "    const float dloss = facet::to_float(x0[{}row]);\n"
        "    const float lse = facet::to_float(x3[{}row]);\n",
        times(x_[0].step), times(x_[3].step));
    const std::int64_t vector = 16 / z.size;
    const bool starts_alike = z.size == y.size && (z.step - y.step) % vector == 0;
    if (z.columns < kLongRow || z.step % vector == 0 || !starts_alike) {
      return by_elements(
          z.step,
          label(z.columns) + fmt::format("  if (label < 0) {{\n  {}  }} else {{\n{}  {}"
                                         "    for (int i = 0; i < V; ++i) v[i] = {};\n  }}\n",
                                         zeros(), factors, load("x1", "row", 1), gradient("v[i]")));
    }
    KernelSource kernel =
        parameters_.begin("facet_cross_entropy_bwd", static_cast<int>(kMostThreads), z.rows);
    kernel.text += "  const int row = blockIdx.x;\n" + label(z.columns) + factors;
    kernel.text += fmt::format("  x1 += {}row;\n  y0 += {}row;\n", times(z.step), times(y.step));
    kernel.text +=
        along_row(z, kMostThreads,
                  fmt::format("    facet::load(v, x1 + c);\n    int i = 0;\n"
                              "    for (float& z : v) {{\n      z = label < 0 ? 0.0f : {};\n"
                              "      ++i;\n    }}\n    facet::store(y0 + c, v);\n",
                              gradient("z"))) +
        "}\n";
    return kernel;
  }

  KernelSource pick() const {
    KernelSource kernel =
        parameters_.begin("facet_pick", kThreads, (y_[0].rows + kThreads - 1) / kThreads);
    kernel.text += fmt::format(
        "  const int row = blockIdx.x * {} + threadIdx.x;\n  if (row >= {}) return;\n{}"
        "  facet::from_float(label < 0 ? 0.0f : facet::to_float(x0[{}row + label]), "
        "y0[{}row]);\n}}\n",
        kThreads, y_[0].rows, label(x_[0].columns), times(x_[0].step), times(y_[0].step));
    return kernel;
  }

  /// Where nothing is owed the velocity is not read.
  KernelSource owed_rows() const {
    return by_elements(
        x_[0].step,
        label(x_[0].rows) + zeros() +
            fmt::format("  if (label >= 0) {{\n  {}"
                        "    const float of_p = facet::to_float(x3[{} * row]);\n"
                        "    const float of_v = facet::to_float(x3[{} * row + {}]);\n"
                        "    if (of_p != 1.0f || of_v != 0.0f) {{\n      float u[V];\n    {}"
                        "      for (int i = 0; i < V; ++i) v[i] = of_p * v[i] + of_v * u[i];\n"
                        "    }}\n  }}\n",
                        load("x0", "label", 0), 4 * x_[3].step, 4 * x_[3].step, x_[3].step,
                        load("x1", "label", 1, "u")));
  }

  KernelSource scatter_add_rows() const {
    const Matrix& x = x_[0];
    return by_elements(
        x.step,
        zeros() + fmt::format("  for (int n = 0; n < {}; ++n) {{\n"
                              "    if (x{}[{}n] != row) continue;\n    float u[V];\n  {}"
                              "    for (int i = 0; i < V; ++i) v[i] += u[i];\n  }}\n",
                              x.rows, labels_, times(x_[static_cast<std::size_t>(labels_)].step),
                              load("x0", "n", 0, "u")));
  }

  const Node& node_;
  Parameters parameters_;
  std::vector<Matrix> x_, y_;
  int labels_ = 0;
  double smoothing_ = 0;
};

}  // namespace

bool is_labels(const Node& node) {
  for (const char* op : {"cross_entropy", "cross_entropy_bwd", "pick", "pick_bwd", "place",
                         "gather_rows", "owed_rows", "scatter_add_rows"}) {
    if (node.is(op)) return true;
  }
  return false;
}

KernelSequence labels_kernels(const Node& node, std::span<const View> operands,
                              std::span<const View> results) {
  if (!is_labels(node)) throw failure(fmt::format("'{}' reads no labels", node.kind()));
  return {{LabelsWriter(node, operands, results).run()}, 0};
}

}  // namespace facet::cuda
