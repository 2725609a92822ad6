#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

/// The language networks are declared in. A `Network` collects a graph; a `Scope` is a place in the
/// module tree and makes layers whose parameters are named by their path, exactly as the state_dict
/// of the reference names them; a `Tensor` is a value in the graph. A mistake throws Error(usage) at
/// the line that made it, with both operands' types and the caller's file:line.
/// Not synchronised: one thread builds one network.
namespace facet {

class Scope;
struct NetworkState;

/// A value of the network under construction. Cheap to copy; valid while its Network lives.
class Tensor {
 public:
  Tensor(NetworkState* state, Value value) : state_(state), value_(value) {}
  Value value() const { return value_; }
  NetworkState* state() const { return state_; }
  const Shape& shape() const { return value_.shape(); }
  std::int64_t rank() const { return value_.type().rank(); }
  /// Extent of axis 1. Throws Error(usage) if it is symbolic or missing.
  std::int64_t channels(std::source_location at = std::source_location::current()) const;
  /// Extent of `axis` (negative counts from the end). Throws Error(usage) if symbolic or missing.
  std::int64_t extent(std::int64_t axis,
                      std::source_location at = std::source_location::current()) const;

 private:
  NetworkState* state_;
  Value value_;
};

/// A tensor or a number as an operand, with the line of the call that used it.
class Operand {
 public:
  Operand(Tensor tensor, std::source_location at = std::source_location::current())  // NOLINT
      : tensor_(tensor), at_(at) {}
  Operand(double number, std::source_location at = std::source_location::current())  // NOLINT
      : number_(number), at_(at) {}
  const std::optional<Tensor>& tensor() const { return tensor_; }
  double number() const { return number_; }
  const std::source_location& at() const { return at_; }

 private:
  std::optional<Tensor> tensor_;
  double number_ = 0;
  std::source_location at_;
};

/// Options of the layers. `init` unset: the framework default, uniform(-1/sqrt(fan_in), +...).
struct ConvOptions {
  std::int64_t out = 0;  ///< output channels; required
  std::int64_t kernel = 1;
  std::int64_t stride = 1;
  std::int64_t padding = 0;
  std::int64_t dilation = 1;
  std::int64_t groups = 1;
  bool bias = true;
  std::optional<Initializer> init = std::nullopt;
};
struct LinearOptions {
  std::int64_t out = 0;  ///< output features; required
  bool bias = true;
  std::optional<Initializer> init = std::nullopt;
};
struct BatchNormOptions {
  double epsilon = 1e-5;
  double momentum = 0.1;
  bool trainable_weight = true;
};
struct PoolOptions {
  std::int64_t kernel = 2;
  std::int64_t stride = 2;
  std::int64_t padding = 0;
};
struct PReluOptions {
  bool shared = false;  ///< one slope for all channels
  double init = 0.25;
};

/// A place in the module tree. Cheap to copy.
class Scope {
 public:
  using At = std::source_location;

  /// The child scope `name`; dots step down several levels ("spatial.2").
  Scope operator/(std::string_view name) const;
  Scope operator/(std::int64_t index) const { return *this / std::to_string(index); }
  /// The same place, where declaring a layer again means using its parameters again. Without it a
  /// second declaration of a key is an error.
  Scope shared() const;
  /// State_dict order of the children that are about to be declared, when it differs from the order
  /// of use. Children that are not named follow in order of declaration.
  void order(std::initializer_list<std::string_view> children) const;
  /// Records `x` as this module's output (for `--tap`, profiles and `explain`) and returns it. The
  /// first call of a module that runs several times counts. Layers below do it for themselves.
  Tensor output(Tensor x) const;
  /// "layer1.0.conv1"; empty at the root.
  std::string path() const;

  /// x [N, C, H, W] -> [N, out, H', W']; `weight` [out, C/groups, k, k], `bias` [out].
  Tensor conv(std::string_view name, Tensor x, ConvOptions options, At at = At::current()) const;
  /// x [..., in] -> [..., out]; `weight` [out, in], `bias` [out].
  Tensor linear(std::string_view name, Tensor x, LinearOptions options, At at = At::current()) const;
  /// Over axis 1; `weight`, `bias`, `running_mean`, `running_var`, `num_batches_tracked`.
  Tensor batch_norm(std::string_view name, Tensor x, BatchNormOptions options = {},
                    At at = At::current()) const;
  /// max(x, 0) + weight[c] * min(x, 0); `weight` [C], or [1] when shared.
  Tensor prelu(std::string_view name, Tensor x, PReluOptions options = {},
               At at = At::current()) const;
  /// A bare parameter.
  Tensor parameter(std::string_view name, std::vector<std::int64_t> shape, Initializer init,
                   ParameterRole role = ParameterRole::other, At at = At::current()) const;
  /// A parameter that no optimizer touches: state that `Network::update` changes (class centres).
  Tensor state_parameter(std::string_view name, std::vector<std::int64_t> shape, Initializer init,
                         At at = At::current()) const;
  /// A buffer with fixed values (an index table); part of the state_dict, never trained.
  Tensor buffer(std::string_view name, HostTensor values, At at = At::current()) const;
  NetworkState* state() const { return state_; }

 private:
  friend class Network;
  Scope(NetworkState* state, int place, bool shared)
      : state_(state), place_(place), shared_(shared) {}
  NetworkState* state_;
  int place_;
  bool shared_;
};

/// A network under construction.
class Network {
 public:
  explicit Network(std::string name);
  /// Goes on with a finished graph: losses and heads are appended to it. Its parameters keep their
  /// order; new ones follow.
  explicit Network(Graph graph);
  ~Network();
  Network(Network&&) noexcept;

  /// A graph input; a Dim may be a symbol such as "N".
  /// Throws Error(usage) for a name that another input has.
  Tensor input(std::string name, Shape shape, DType dtype = DType::f32,
               std::source_location at = std::source_location::current());
  Scope root();
  /// An output of the graph that is gone on with. Throws Error(usage) with the nearest names.
  Tensor result(std::string_view output_name);
  /// After a run, the state `state` (what `Scope::parameter` gave) holds `value`.
  void update(Tensor state, Tensor value, std::source_location at = std::source_location::current());
  /// Throws Error(usage) for a name that another output has.
  void output(std::string name, Tensor value,
              std::source_location at = std::source_location::current());
  /// The finished, verified graph: what no output needs is removed, but the state_dict stays whole.
  /// The Network must not be used afterwards.
  Graph finish();

 private:
  std::unique_ptr<NetworkState> state_;
};

// Functions without parameters. Binary ones broadcast as NumPy does.
Tensor operator+(Operand a, Operand b);
Tensor operator-(Operand a, Operand b);
Tensor operator*(Operand a, Operand b);
Tensor operator/(Operand a, Operand b);
Tensor maximum(Operand a, Operand b);
Tensor minimum(Operand a, Operand b);

using At = std::source_location;
Tensor relu(Tensor x, At at = At::current());
Tensor sigmoid(Tensor x, At at = At::current());
Tensor tanh(Tensor x, At at = At::current());
Tensor exp(Tensor x, At at = At::current());
Tensor sqrt(Tensor x, At at = At::current());
Tensor rsqrt(Tensor x, At at = At::current());
Tensor square(Tensor x, At at = At::current());
Tensor erf(Tensor x, At at = At::current());
Tensor clamp(Tensor x, double lo, double hi, At at = At::current());
Tensor softmax(Tensor x, std::int64_t axis, At at = At::current());

/// Convolution of x [N, C, H, W] with a weight [O, C/groups, kh, kw] that is no layer's own; of the
/// options only stride, padding, dilation and groups count.
Tensor conv(Tensor x, Tensor weight, ConvOptions options = {}, At at = At::current());
Tensor max_pool(Tensor x, PoolOptions options, At at = At::current());
/// The mean of each window; padding counts as zeros.
Tensor avg_pool(Tensor x, PoolOptions options, At at = At::current());
/// Reductions keep the reduced axes with extent 1.
Tensor mean(Tensor x, Ints axes, At at = At::current());
Tensor sum(Tensor x, Ints axes, At at = At::current());
Tensor max(Tensor x, Ints axes, At at = At::current());

/// [..., m, k] x [..., k, n]; a transposed operand swaps its last two axes first.
Tensor matmul(Tensor a, Tensor b, At at = At::current());
Tensor matmul_transposed(Tensor a, bool transpose_a, Tensor b, bool transpose_b,
                         At at = At::current());
/// 0 copies the operand's extent at that place, one -1 is inferred.
Tensor reshape(Tensor x, Ints shape, At at = At::current());
Tensor transpose(Tensor x, Ints permutation, At at = At::current());
/// [N, ...] -> [N, product of the rest].
Tensor flatten(Tensor x, At at = At::current());
Tensor concat(std::vector<Tensor> inputs, std::int64_t axis, At at = At::current());
Tensor slice(Tensor x, std::int64_t axis, std::int64_t start, std::int64_t end,
             At at = At::current());
/// Zeros ahead of and behind x along one axis.
Tensor pad(Tensor x, std::int64_t axis, std::int64_t before, std::int64_t after,
           At at = At::current());
Tensor reverse(Tensor x, std::int64_t axis, At at = At::current());

/// How the rows i and columns j of a matrix count their distance.
enum class Distance {
  column_minus_row,  ///< j - i: key minus query in a score matrix
  row_minus_column   ///< i - j: query minus key
};
/// From distances to pairs: x [..., I, I+J-1], whose last axis holds a value for every distance in
/// rising order, -> y [..., I, J], y[i, j] = x[i, distance(i, j)].
Tensor skew(Tensor x, Distance distance, At at = At::current());
/// The adjoint of `skew`: x [..., I, J] -> [..., I, I+J-1], zero where no pair has that distance.
Tensor unskew(Tensor x, Distance distance, At at = At::current());

/// The value of x, without a gradient.
Tensor stop_gradient(Tensor x, At at = At::current());
/// The value of `value`; its gradient goes to `through` unchanged.
Tensor straight_through(Tensor value, Tensor through, At at = At::current());
/// 1 where a > b, else 0.
Tensor greater(Operand a, Operand b);
/// a where condition is not 0, else b; the three broadcast.
Tensor where(Tensor condition, Operand a, Operand b);
Tensor log(Tensor x, At at = At::current());
/// Elements are zeroed with probability `rate` and the others divided by 1 - rate, in training only.
Tensor dropout(Tensor x, double rate, At at = At::current());

// Functions of labels i64 [N]. A row whose label is not in [0, C) has no target.
/// Mean softmax cross entropy of logits [N, C]; smoothing s: target (1 - s) one-hot + s / C. [1].
Tensor cross_entropy(Tensor logits, Tensor labels, double label_smoothing = 0, At at = At::current());
/// x[n, labels[n]] of x [N, C] as [N, 1]; 0 without target.
Tensor pick(Tensor x, Tensor labels, At at = At::current());
/// x [N, C] with x[n, labels[n]] replaced by v [N, 1].
Tensor place(Tensor x, Tensor labels, Tensor v, At at = At::current());
/// Row labels[n] of table [C, D] for every n: [N, D]; zeros without target.
Tensor gather_rows(Tensor table, Tensor labels, At at = At::current());
/// Sums of the rows x [N, D] by label: [rows, D].
Tensor scatter_add_rows(Tensor x, Tensor labels, std::int64_t rows, At at = At::current());

/// x / max(||x||_2, epsilon) over the last axis.
Tensor l2_normalize(Tensor x, double epsilon = 1e-12, At at = At::current());

}  // namespace facet
