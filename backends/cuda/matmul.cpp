#include "backends/cuda/matmul.h"

#include <fmt/format.h>

#include <algorithm>

#include "backends/cuda/kernels/elementwise.h"
#include "backends/cuda/kernels/loops.h"
#include "backends/cuda/kernels/reduction.h"
#include "ir/epilogue.h"
#include "ir/error.h"

namespace facet::cuda {
namespace {

using Place = KernelArgument::Place;

/// Products that are made of one node where its batch does not lie evenly.
constexpr std::int64_t kMostProducts = 64;

std::string name(const KernelArgument& argument, std::int64_t offset = 0) {
  const char* const place = argument.place == Place::operand  ? "operand"
                            : argument.place == Place::result ? "result"
                                                              : "scratch";
  const std::string behind = offset != 0 ? fmt::format("+{}", offset) : "";
  return fmt::format("{}{}{}", place, argument.index, behind);
}

std::string to_text(std::string_view role, const Matrix& matrix, std::int64_t batch) {
  std::string text =
      fmt::format("{} = {} : {}[{}, {}] leading {}", role, name(matrix.place, matrix.offset),
                  to_string(matrix.dtype), matrix.rows, matrix.columns, matrix.leading);
  if (batch > 1) text += fmt::format(" batch stride {}", matrix.batch_stride);
  return text + (matrix.transposed ? " transposed\n" : "\n");
}

/// Two axes of a value: extents and strides in elements.
struct Plane {
  std::int64_t rows = 1, columns = 1;
  std::int64_t row_stride = 0, column_stride = 1;
};

/// The plane, read as it is or with its axes swapped, as the right or the left factor's transpose:
/// BLAS computes the transpose of the row-major product, b's transpose times a's.
Matrix matrix_of(KernelArgument place, DType dtype, const Plane& plane, bool swapped) {
  type_name(dtype);  // throws for a type that is not computed with
  Matrix matrix{place, 0, dtype, plane.columns, plane.rows, plane.row_stride, swapped, 0};
  const bool by_rows = plane.column_stride == 1 || plane.columns == 1;
  if (by_rows) {
    if (plane.rows == 1) matrix.leading = plane.columns;
  } else if (plane.row_stride == 1 || plane.rows == 1) {
    matrix.rows = plane.rows;
    matrix.columns = plane.columns;
    matrix.leading = plane.column_stride;
    matrix.transposed = !swapped;
  } else {
    throw failure(
        fmt::format("products on the GPU read matrices whose rows or columns are side by "
                    "side, not strides of {} and {} elements",
                    plane.row_stride, plane.column_stride));
  }
  if (matrix.leading < matrix.rows) {
    throw failure(fmt::format("a matrix of {} rows has columns only {} elements apart", matrix.rows,
                              matrix.leading));
  }
  return matrix;
}

/// A node's product before it is cut: loops over what is batched, streams a, b and d.
struct Product {
  Matrix left, right, result;  ///< row-major roles: result = left * right
  Loops batch;
};

/// The product for each round of the outer loops; the innermost is the batch.
std::vector<Matmul> cut(const Product& product, const MatmulOptions& options) {
  const Loops& loops = product.batch;
  const std::int64_t batch = loops.extents.back();
  const std::int64_t rounds = loops.elements() / batch;
  if (product.result.transposed) throw failure("products on the GPU write rows side by side");
  if (rounds > kMostProducts) {
    throw failure(fmt::format("a batch that falls into {} products", rounds));
  }
  std::vector<Matmul> list;
  for (std::int64_t round = 0; round < rounds; ++round) {
    Matmul matmul;
    matmul.a = product.right;
    matmul.b = product.left;
    matmul.d = product.result;
    matmul.batch = batch;
    matmul.tf32 = options.tf32;
    Matrix* const matrices[] = {&matmul.b, &matmul.a, &matmul.d};
    for (std::size_t i = 0; i < 3; ++i) {
      const std::vector<std::int64_t>& strides = loops.streams[i].strides;
      matrices[i]->batch_stride = batch > 1 ? strides.back() : 0;
      std::int64_t rest = round;
      for (std::size_t axis = loops.extents.size() - 1; axis-- > 0;) {
        matrices[i]->offset += rest % loops.extents[axis] * strides[axis];
        rest /= loops.extents[axis];
      }
    }
    list.push_back(matmul);
  }
  return list;
}

std::vector<std::size_t> leading_axes(std::size_t count) {
  std::vector<std::size_t> axes(count);
  for (std::size_t i = 0; i < count; ++i) axes[i] = i;
  return axes;
}

/// The view without its last `dropped` axes.
View without_last(View view, std::size_t dropped) {
  if (view.strides.size() != view.type.shape.size()) {
    throw failure(fmt::format("the GPU reads plain layouts, not {}", to_string(view.type)));
  }
  view.type.shape.erase(view.type.shape.end() - static_cast<std::ptrdiff_t>(dropped),
                        view.type.shape.end());
  view.strides.resize(view.strides.size() - dropped);
  return view;
}

Plane last_axes(const View& view) {
  const std::vector<std::int64_t> extents = static_extents(view.type.shape);
  return {extents.end()[-2], extents.end()[-1], view.strides.end()[-2], view.strides.end()[-1]};
}

void require_same_type(const Node& node, const View& a, const View& b) {
  if (a.type.dtype == b.type.dtype) return;
  throw failure(fmt::format("'{}' multiplies {} by {}; cuBLASLt takes factors of one type",
                            node.kind(), to_string(a.type.dtype), to_string(b.type.dtype)));
}

/// a and b with batch axes that broadcast.
Product batched(const Node& node, std::span<const View> operands, const View& y) {
  const Attributes& a = node.attributes();
  Product product;
  product.left = matrix_of({Place::operand, 0}, operands[0].type.dtype, last_axes(operands[0]),
                           a.boolean("transpose_a"));
  product.right = matrix_of({Place::operand, 1}, operands[1].type.dtype, last_axes(operands[1]),
                            a.boolean("transpose_b"));
  product.result = matrix_of({Place::result, 0}, y.type.dtype, last_axes(y), false);
  const View batch = without_last(y, 2);
  const std::vector<std::int64_t> extents = static_extents(batch.type.shape);
  const std::vector<Stream> streams{broadcast_stream(without_last(operands[0], 2), extents),
                                    broadcast_stream(without_last(operands[1], 2), extents),
                                    broadcast_stream(batch, extents)};
  product.batch = loops_over(leading_axes(extents.size()), extents, streams, 2);
  return product;
}

/// Rows of x and y [..., channels] along their innermost merged axis; other axes are the batch.
struct Rows {
  Plane x, y;
  Loops batch;  ///< streams x, weight, y
};

Rows rows_of(const View& x, const View& y) {
  const View x_rows = without_last(x, 1);
  const View y_rows = without_last(y, 1);
  const std::vector<std::int64_t> extents = static_extents(y_rows.type.shape);
  const std::vector<Stream> streams{
      broadcast_stream(x_rows, extents),
      {x.type.dtype, std::vector<std::int64_t>(extents.size(), 0)},  // the same weight for all
      broadcast_stream(y_rows, extents)};
  Rows rows;
  rows.batch = loops_over(leading_axes(extents.size()), extents, streams, 2);
  const auto plane = [&](const View& view, std::size_t stream) {
    return Plane{rows.batch.extents.back(), view.type.shape.back().factor,
                 rows.batch.streams[stream].strides.back(), view.strides.back()};
  };
  rows.x = plane(x, 0);
  rows.y = plane(y, 2);
  // What is left is the batch.
  rows.batch.extents.pop_back();
  for (Stream& stream : rows.batch.streams) stream.strides.pop_back();
  if (rows.batch.extents.empty()) {
    rows.batch.extents = {1};
    for (Stream& stream : rows.batch.streams) stream.strides = {0};
  }
  return rows;
}

/// x times the weight [out, in] or its transpose.
Product rows_times_weight(std::span<const View> operands, const View& y, bool swapped) {
  const Rows rows = rows_of(operands[0], y);
  Product product;
  product.left = matrix_of({Place::operand, 0}, operands[0].type.dtype, rows.x, false);
  product.right =
      matrix_of({Place::operand, 1}, operands[1].type.dtype, last_axes(operands[1]), swapped);
  product.result = matrix_of({Place::result, 0}, y.type.dtype, rows.y, false);
  product.batch = rows.batch;
  return product;
}

/// dy's transpose times x, over all rows.
Product weight_gradient(std::span<const View> operands, const View& dw) {
  const Rows rows = rows_of(operands[1], operands[0]);
  if (rows.batch.elements() != 1) {
    throw failure("the gradient of a weight reads rows that lie evenly");
  }
  Product product;
  product.left = matrix_of({Place::operand, 0}, operands[0].type.dtype, rows.y, true);
  product.right = matrix_of({Place::operand, 1}, operands[1].type.dtype, rows.x, false);
  product.result = matrix_of({Place::result, 0}, dw.type.dtype, last_axes(dw), false);
  product.batch = rows.batch;
  return product;
}

/// Epilogues that cuBLASLt has.
bool is_known(const Strings& epilogue) {
  return epilogue.empty() || epilogue == Strings{"bias"} || epilogue == Strings{"relu"} ||
         epilogue == Strings{"bias", "relu"};
}

void add_epilogue(const Node& node, std::span<const View> operands, MatmulPlan& plan) {
  if (!is_known(node.attributes().strings("epilogue"))) {
    throw failure(fmt::format("'{}' has an epilogue that cuBLASLt has not", node.kind()));
  }
  for (const EpilogueEntry& entry : epilogue_of(node)) {
    if (entry.name == "relu") {
      for (Matmul& product : plan.products) product.relu = true;
      continue;
    }
    const View& bias = operands[static_cast<std::size_t>(entry.operand)];
    KernelArgument place{Place::operand, entry.operand};
    const DType dtype = plan.products.front().d.dtype;
    if (bias.type.dtype != dtype) {
      View rounded = bias;
      rounded.type.dtype = dtype;
      rounded.strides = {1};
      const std::vector<PlacedView> from{{place, bias}};
      place = {Place::scratch, 0};
      plan.before.push_back(elementwise_kernel({}, from, {place, rounded}));
      plan.scratch_bytes = bias.type.shape[0].factor * size_of(dtype);
    }
    for (Matmul& product : plan.products) product.bias = place;
  }
}

void add_bias_gradient(std::span<const View> operands, std::span<const View> results,
                       const MatmulOptions& options, MatmulPlan& plan) {
  if (!options.separate_bias_gradient) {
    plan.products.front().bias_gradient = KernelArgument{Place::result, 1};
    return;
  }
  std::vector<std::int64_t> axes;
  for (std::int64_t i = 0; i + 1 < operands[0].type.rank(); ++i) axes.push_back(i);
  KernelSequence sums = reduction_kernels("reduce_sum", axes, operands[0], 0, results[1], 1);
  plan.after = std::move(sums.kernels);
  plan.scratch_bytes = sums.scratch_bytes;
}

}  // namespace

std::string to_text(const Matmul& matmul) {
  std::string text = to_text("a", matmul.a, matmul.batch) + to_text("b", matmul.b, matmul.batch) +
                     to_text("d", matmul.d, matmul.batch);
  text += fmt::format("d = a * b : {} x {} x {}", matmul.m(), matmul.n(), matmul.k());
  if (matmul.batch > 1) text += fmt::format(" batch {}", matmul.batch);
  if (matmul.tf32) text += " tf32";
  if (matmul.bias) text += " bias " + name(*matmul.bias);
  if (matmul.relu) text += " relu";
  if (matmul.bias_gradient) text += " bias gradient " + name(*matmul.bias_gradient);
  return text + "\n";
}

bool is_matmul(const Node& node) {
  return (node.is("linear") || node.is("linear_bwd_data") || node.is("linear_bwd_weights") ||
          node.is("matmul")) &&
         is_float(node.operand(0).dtype());
}

bool matmul_takes_entry(const Node& node, std::string_view entry, const Type* extra) {
  if (!node.is("linear") || epilogue_reads_operand(entry) != (extra != nullptr)) return false;
  Strings epilogue = node.attributes().strings("epilogue");
  epilogue.emplace_back(entry);
  return is_known(epilogue) &&
         (extra == nullptr || extra->shape == Shape{node.result_types()[0].shape.back()});
}

MatmulPlan matmul_plan(const Node& node, std::span<const View> operands,
                       std::span<const View> results, const MatmulOptions& options) {
  if (!is_matmul(node)) throw failure(fmt::format("'{}' is no product of floats", node.kind()));
  require_same_type(node, operands[0], operands[1]);
  MatmulPlan plan;
  MatmulOptions used = options;
  if (node.is("matmul")) {
    used.tf32 &= !node.attributes().boolean("full_precision");
    plan.products = cut(batched(node, operands, results[0]), used);
  } else if (node.is("linear_bwd_weights")) {
    plan.products = cut(weight_gradient(operands, results[0]), used);
    if (results.size() > 1) add_bias_gradient(operands, results, used, plan);
  } else {
    plan.products = cut(rows_times_weight(operands, results[0], node.is("linear")), used);
    if (node.is("linear")) add_epilogue(node, operands, plan);
  }
  return plan;
}

MatmulPlan matmul_plan(const Node& node, const MatmulOptions& options) {
  const auto row_major = [](Type type) {
    type.layout = {};
    return dense_view(type);
  };
  std::vector<View> operands;
  for (const Value& value : node.operands()) operands.push_back(row_major(value.type()));
  std::vector<View> results;
  for (const Type& type : node.result_types()) results.push_back(row_major(type));
  return matmul_plan(node, operands, results, options);
}

}  // namespace facet::cuda
