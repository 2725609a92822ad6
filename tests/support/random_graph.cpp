#include "tests/support/random_graph.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "ir/dsl.h"

namespace facet::testing {
namespace {

/// Builds one network. Every method adds the result of one layer to the images or features that
/// later layers draw from.
class Generator {
 public:
  explicit Generator(std::uint64_t seed)
      : dice_(seed), network_("random" + std::to_string(seed)), root_(network_.root()) {}

  Graph build(int layers) {
    const auto channels = static_cast<std::int64_t>(2 + dice_.below(3));
    const auto extent = static_cast<std::int64_t>(4 + dice_.below(4));
    images_.push_back(network_.input("x", {"N", channels, extent, extent}));
    if (dice_.chance(30)) images_.push_back(network_.input("z", {"N", 4, extent, extent}));
    for (int i = 0; i < layers; ++i) add_layer();
    if (features_.empty()) add_head();
    network_.output("image", images_.back());
    network_.output("feature", features_.back());
    for (int i = 0; i < 3; ++i) {
      if (dice_.chance(50)) network_.output("extra" + std::to_string(i), dice_.pick(images_));
    }
    Graph graph = network_.finish();
    split_constants(graph);
    leave_dead_nodes(graph);
    return graph;
  }

 private:
  using Layer = void (Generator::*)();

  void add_layer() {
    // Listed twice: what most rewrites are about.
    static constexpr std::array<Layer, 24> kLayers{
        &Generator::add_conv,      &Generator::add_conv,       &Generator::add_conv_bn,
        &Generator::add_conv_bn,   &Generator::add_bn_conv,    &Generator::add_bn_conv,
        &Generator::add_bn,        &Generator::add_activation, &Generator::add_activation,
        &Generator::add_residual,  &Generator::add_residual,   &Generator::add_gate,
        &Generator::add_scalar,    &Generator::add_scalar,     &Generator::add_channel_parameter,
        &Generator::add_concat,    &Generator::add_slice,      &Generator::add_pool,
        &Generator::add_reduction, &Generator::add_view,       &Generator::add_attention,
        &Generator::add_head,      &Generator::add_head,       &Generator::add_twin};
    (this->*dice_.pick(kLayers))();
  }

  std::string fresh(const char* kind) { return kind + std::to_string(names_++); }

  /// Mostly one of the last images, so that chains form; sometimes an old one, so that it has
  /// several readers.
  Tensor image() {
    const std::size_t reach = dice_.chance(75) ? std::min<std::size_t>(2, images_.size())
                                               : images_.size();
    return images_[images_.size() - 1 - dice_.below(reach)];
  }
  void keep(Tensor image) { images_.push_back(image); }
  static bool is_wide(Tensor x) { return x.extent(2) >= 3 && x.extent(3) >= 3; }

  Tensor conv_of(Tensor x, std::int64_t out, bool same_extent) {
    ConvOptions options{.out = out, .bias = dice_.chance(40)};
    if (is_wide(x) && dice_.chance(60)) {
      options.kernel = 3;
      options.padding = same_extent || dice_.chance(50) ? 1 : 0;
      options.dilation = !same_extent && x.extent(2) >= 5 && x.extent(3) >= 5 && dice_.chance(10) ? 2 : 1;
      options.stride = !same_extent && dice_.chance(25) ? 2 : 1;
    }
    if (dice_.chance(20)) {
      options.groups = x.channels();
      options.out = x.channels() * (same_extent ? 1 : 2);
    }
    return root_.conv(fresh("conv"), x, options);
  }
  std::int64_t some_channels() { return static_cast<std::int64_t>(2 + dice_.below(5)); }
  BatchNormOptions some_epsilon() { return {.epsilon = dice_.chance(50) ? 1e-5 : 1e-3}; }

  void add_conv() {
    const Tensor x = image();
    if (dice_.chance(20)) {  // a layer that runs on several values
      for (const auto& [name, channels] : shared_convs_) {
        if (channels == x.channels()) return keep(root_.shared().conv(name, x, {.out = 3}));
      }
      shared_convs_.emplace_back(fresh("shared"), x.channels());
      return keep(root_.conv(shared_convs_.back().first, x, {.out = 3}));
    }
    keep(conv_of(x, some_channels(), false));
  }

  void add_conv_bn() {
    const Tensor y = conv_of(image(), some_channels(), false);
    if (dice_.chance(15)) keep(y);  // the conv may get a second reader
    keep(root_.batch_norm(fresh("bn"), y, some_epsilon()));
    if (dice_.chance(60)) add_activation();
  }

  void add_bn_conv() {
    const Tensor y = root_.batch_norm(fresh("bn"), image(), some_epsilon());
    if (dice_.chance(15)) keep(y);
    keep(conv_of(y, some_channels(), false));
  }

  void add_bn() {
    const Tensor x = image();
    for (const auto& [name, channels] : shared_norms_) {
      if (channels == x.channels()) return keep(root_.shared().batch_norm(name, x));
    }
    shared_norms_.emplace_back(fresh("norm"), x.channels());
    keep(root_.batch_norm(shared_norms_.back().first, x));
  }

  Tensor activation_of(Tensor x) {
    switch (dice_.below(6)) {
      case 0:
      case 1:
        return relu(x);
      case 2:
        return root_.prelu(fresh("prelu"), x, {.shared = dice_.chance(40)});
      case 3:
        return sigmoid(x);
      case 4:
        return tanh(x);
      default:
        return clamp(x, -0.75, 6);
    }
  }
  void add_activation() { keep(activation_of(image())); }

  void add_residual() {
    const Tensor x = image();
    const Tensor y = conv_of(x, x.channels(), true);
    const bool later = dice_.chance(30);  // the other operand is computed behind the conv
    const Tensor other = later ? activation_of(x) : x;
    const Tensor sum = dice_.chance(50) ? y + other : other + y;
    keep(dice_.chance(60) ? activation_of(sum) : sum);
  }

  void add_gate() {
    const Tensor x = image();
    switch (dice_.below(4)) {
      case 0:
        return keep(x * sigmoid(x));
      case 1:  // one gate per channel
        return keep(x * sigmoid(root_.conv(fresh("gate"), mean(x, {2, 3}), {.out = x.channels()})));
      case 2:  // one gate per place
        return keep(sigmoid(root_.conv(fresh("map"), x, {.out = 1})) * x);
      default:
        return keep(conv_of(x, x.channels(), true) * sigmoid(x));
    }
  }

  void add_scalar() {
    const Tensor x = image();
    switch (dice_.below(8)) {
      case 0:
        return keep(x * 0.5);
      case 1:
        return keep(1.5 - x);
      case 2:
        return keep(x / 2.0);
      case 3:
        return keep(0.0 + x);
      case 4:
        return keep(x * 1.0);
      case 5:
        return keep(maximum(x, -0.25));
      case 6:
        return keep(minimum(3.0, x) + 0.125);
      default:
        return keep(2.0 * x + 0.25);
    }
  }

  void add_channel_parameter() {
    const Tensor x = image();
    const bool narrow = dice_.chance(30);
    const std::int64_t extent = x.channels();
    const Tensor p = root_.parameter(fresh("p"), narrow ? std::vector<std::int64_t>{1, extent, 1, 1}
                                                        : std::vector<std::int64_t>{extent, 1, 1},
                                     {});
    const Tensor base = dice_.chance(50) ? conv_of(x, extent, true) : x;
    switch (dice_.below(3)) {
      case 0:
        return keep(p + base);
      case 1:
        return keep(base * (p + 1.0));
      default:
        return keep(base - p * 0.5);
    }
  }

  void add_concat() {
    const Tensor x = image();
    std::vector<Tensor> parts{x};
    for (const Tensor& other : images_) {
      const bool fits = other.extent(2) == x.extent(2) && other.extent(3) == x.extent(3);
      if (fits && parts.size() < 3 && dice_.chance(50)) parts.push_back(other);
    }
    if (total_channels(parts) > 24) parts = {x};
    keep(concat(parts, dice_.chance(50) ? 1 : -3));
  }
  static std::int64_t total_channels(const std::vector<Tensor>& parts) {
    std::int64_t total = 0;
    for (const Tensor& part : parts) total += part.channels();
    return total;
  }

  void add_slice() {
    const Tensor x = image();
    const std::int64_t start = dice_.chance(50) ? 0 : x.channels() / 2;
    keep(slice(x, dice_.chance(50) ? 1 : -3, start, x.channels()));
  }

  void add_pool() {
    const Tensor x = image();
    if (!is_wide(x)) return add_scalar();
    switch (dice_.below(4)) {
      case 0:
        return keep(max_pool(x, {.kernel = 2, .stride = 2}));
      case 1:
        return keep(max_pool(x, {.kernel = 3, .stride = 1, .padding = 1}));
      case 2:
        return keep(avg_pool(x, {.kernel = 2, .stride = 1}));
      default: {  // the whole map, where it is square
        const std::int64_t kernel = std::min(x.extent(2), x.extent(3));
        const Tensor y = avg_pool(x, {.kernel = kernel, .stride = 1});
        return keep(x.extent(2) == x.extent(3) ? tanh(y) * x : y);
      }
    }
  }

  void add_reduction() {
    const Tensor x = image();
    switch (dice_.below(3)) {
      case 0:
        return keep(x + mean(x, {-1, 2}));
      case 1:
        return keep(x * sigmoid(max(x, {1})));
      default:
        return keep(x + sum(x, {3}) * 0.125);
    }
  }

  void add_view() {
    const Tensor x = image();
    const std::int64_t c = x.channels(), h = x.extent(2), w = x.extent(3);
    switch (dice_.below(4)) {
      case 0:
        return keep(transpose(relu(transpose(x, {0, 2, 3, 1})), {0, 3, 1, 2}));
      case 1:
        return keep(reshape(reshape(x, {0, c, -1}), {0, c, h, w}));
      case 2:
        return keep(reshape(reshape(x, {0, -1}), {0, c, w, h}));
      default:
        return keep(transpose(x, {0, 1, 3, 2}));
    }
  }

  /// softmax(q k^T) v over the places of the map.
  void add_attention() {
    const Tensor x = tanh(image());
    const std::int64_t c = x.channels(), h = x.extent(2), w = x.extent(3);
    const Tensor q = reshape(root_.conv(fresh("q"), x, {.out = c}), {0, c, -1});
    const Tensor k = reshape(x, {0, c, -1});
    const Tensor scores = matmul_transposed(q, true, k, false) * 0.25;
    const Tensor mixed = matmul_transposed(k, false, softmax(scores, -1), true);
    keep(reshape(mixed, {0, c, h, w}) + x);
  }

  void add_head() {
    if (dice_.chance(30)) return add_token_head();
    Tensor y = !features_.empty() && dice_.chance(60) ? dice_.pick(features_) : flatten(image());
    const bool square = y.rank() == 2 && dice_.chance(30);
    const std::int64_t out = square ? y.extent(-1) : some_channels();
    const Tensor x = y;
    y = root_.linear(fresh("fc"), x, {.out = out, .bias = dice_.chance(50)});
    if (dice_.chance(50)) y = root_.batch_norm(fresh("bn"), y, some_epsilon());
    if (square) y = dice_.chance(50) ? x + y : y + x;
    if (dice_.chance(60)) y = activation_of(y);
    if (dice_.chance(20)) y = l2_normalize(y);
    features_.push_back(y);
  }

  /// A linear over the channels of every place, then axis 1 is not the last.
  void add_token_head() {
    const Tensor x = image();
    const Tensor tokens = transpose(reshape(x, {0, x.channels(), -1}), {0, 2, 1});
    Tensor y = root_.linear(fresh("token"), tokens, {.out = some_channels(), .bias = dice_.chance(50)});
    if (dice_.chance(30)) y = root_.batch_norm(fresh("bn"), y);
    y = activation_of(y);
    features_.push_back(flatten(mean(y, {1})));
  }

  /// The same expression twice: one of them goes away.
  void add_twin() {
    const Tensor x = image();
    const std::string name = fresh("twin");
    const Tensor a = root_.conv(name, x, {.out = 3});
    const Tensor b = root_.shared().conv(name, x, {.out = 3});
    keep(relu(a) * 0.5 + relu(b) * 0.5);
  }

  /// Some constants become a sum of constants, exact in f32.
  void split_constants(Graph& graph) {
    for (Node* node : graph.node_list()) {
      if (!node->is("constant") || !dice_.chance(30)) continue;
      const HostTensor& value = node->attributes().tensor("value");
      const auto part = [&](double number) {
        Attributes attributes{{"value", HostTensor::scalar(value.dtype(), number)}};
        return graph.create("constant", {}, std::move(attributes), node->provenance(), node)->result();
      };
      const Value half = part(value.at(0) * 0.75);
      const Value rest = part(value.at(0) * 0.25);
      Node* sum = graph.create("add", {half, rest}, {}, node->provenance(), node);
      graph.replace_uses(node->result(), sum->result());
      graph.erase(node);
    }
  }

  /// Without one of the outputs some nodes have no purpose.
  void leave_dead_nodes(Graph& graph) {
    if (graph.outputs().size() > 2 && dice_.chance(50)) graph.outputs().pop_back();
    if (dice_.chance(20)) graph.outputs().erase(graph.outputs().begin());
  }

  Dice dice_;
  Network network_;
  Scope root_;
  int names_ = 0;
  std::vector<Tensor> images_;
  std::vector<Tensor> features_;
  std::vector<std::pair<std::string, std::int64_t>> shared_convs_;
  std::vector<std::pair<std::string, std::int64_t>> shared_norms_;
};

}  // namespace

Graph random_network(std::uint64_t seed, int layers) { return Generator(seed).build(layers); }

}  // namespace facet::testing
