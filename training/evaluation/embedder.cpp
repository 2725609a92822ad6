#include "training/evaluation/embedder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>

#include "ir/error.h"
#include "training/evaluation/embeddings.h"
#include "training/evaluator.h"
#include "training/step_setup.h"

namespace facet {
namespace {

/// Pictures without labels, as the Loader wants them: all of one class.
class Unlabelled : public Dataset {
 public:
  Unlabelled(const PictureSet& pictures, std::int64_t size) : pictures_(pictures), size_(size) {}
  std::int64_t size() const override { return pictures_.size(); }
  std::string name(std::int64_t item) const override { return pictures_.name(item); }
  Image load(std::int64_t item) const override {
    const Image image = pictures_.load(item);
    const auto side = static_cast<int>(size_);
    return size_ > 0 ? resize(image, side, side, Filter::lanczos) : image;
  }
  std::uint64_t fingerprint() const override { return pictures_.fingerprint(); }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::int64_t label(std::int64_t) const override { return 0; }

 private:
  const PictureSet& pictures_;
  const std::int64_t size_;
  const std::vector<std::string> names_ = {"unlabelled"};
};

}  // namespace

std::string embedding_output(const Graph& network, const std::string& wanted) {
  std::vector<std::string> names;
  for (const Output& output : network.outputs()) names.push_back(output.name);
  const auto has = [&](const std::string& name) {
    return std::ranges::find(names, name) != names.end();
  };
  if (!wanted.empty()) {
    if (has(wanted)) return wanted;
    throw usage_error(fmt::format("'{}' has no output '{}'; {} (outputs: {})", network.name(),
                                  wanted, did_you_mean(wanted, names), fmt::join(names, ", ")));
  }
  for (const char* usual : {"embedding", "branch_embeddings"}) {
    if (has(usual)) return usual;
  }
  for (const std::string& name : names) {
    if (name.find("embedding") != std::string::npos) return name;
  }
  throw usage_error(
      fmt::format("none of the outputs of '{}' is called an embedding; choose one of {} "
                  "with --output-name",
                  network.name(), fmt::join(names, ", ")));
}

HostTensor mirrored(const HostTensor& pixels) {
  HostTensor result(DType::f32, pixels.shape());
  const std::int64_t width = pixels.shape().at(3);
  const std::int64_t rows = width > 0 ? pixels.element_count() / width : 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* from = pixels.as<float>() + row * width;
    std::reverse_copy(from, from + width, result.as_mutable<float>() + row * width);
  }
  return result;
}

Embedder::Embedder(const Graph& network, const TensorMap& weights, EmbedderOptions options)
    : options_(std::move(options)) {
  output_ = embedding_output(network, options_.output);
  Graph own = network.clone();
  own.select_outputs({output_});
  drop_other_scales(own);
  input_ = picture_input(own).name;
  const Dim& batch = own.inputs().at(0)->result_types()[0].shape.at(0);
  if (batch.is_static()) options_.batch = batch.factor;
  if (options_.batch < 1) throw usage_error("a batch has at least 1 picture");
  single_ = 1;
  const Shape& shape = own.outputs().at(0).value.shape();
  for (std::size_t i = 1; i < shape.size(); ++i) single_ *= shape[i].factor;
  executable_ = compile(own, weights, options_.compile, options_.batch);
  context_ = executable_->make_context();
  width_ = options_.flip == Flip::concatenate ? 2 * single_ : single_;
}

Embedder::~Embedder() = default;

/// Rows [rows, width] of a batch whose picture rows may be fewer than the tensor's.
std::vector<double> Embedder::run(const HostTensor& pixels, std::int64_t rows) {
  std::vector<double> result(static_cast<std::size_t>(rows * width_));
  const int sides = options_.flip == Flip::none ? 1 : 2;
  for (int side = 0; side < sides; ++side) {
    const HostTensor out =
        context_->run({{input_, side == 0 ? pixels : mirrored(pixels)}}).at(output_);
    const std::int64_t offset = side == 1 && options_.flip == Flip::concatenate ? single_ : 0;
    for (std::int64_t row = 0; row < rows; ++row) {
      double squares = 0;
      for (std::int64_t d = 0; d < single_; ++d) {
        const double value = out.at(row * single_ + d);
        result[static_cast<std::size_t>(row * width_ + offset + d)] += value;
        squares += value * value;
      }
      norm_sum_ += std::sqrt(squares);
      ++norm_count_;
    }
  }
  return result;
}

bool Embedder::each(const PictureSet& pictures,
                    const std::function<bool(const EmbeddedBatch&)>& take) {
  const Dim& declared = executable_->graph().inputs().at(0)->result_types()[0].shape.at(0);
  // A program for a small set costs less than padding would.
  const std::int64_t rows =
      declared.is_static() ? options_.batch : std::min(options_.batch, pictures.size());
  LoaderOptions loading;
  loading.batch = rows;
  loading.shuffle = loading.drop_last = false;
  loading.end_epoch = 1;
  loading.threads = options_.loader_threads;
  loading.on_bad_image = options_.leave_out_bad ? OnBadImage::leave_out : OnBadImage::stop;
  const Unlabelled labelled(pictures, options_.picture_size);
  Loader loader(labelled, options_.preprocess, {}, loading);
  norm_sum_ = 0;
  norm_count_ = 0;
  while (std::optional<Batch> batch = loader.next()) {
    std::vector<double> values;
    if (!batch->items.empty()) {
      values = run(with_rows(batch->pixels, rows), static_cast<std::int64_t>(batch->items.size()));
    }
    if (!take({batch->items, values, batch->problems})) return false;
  }
  return true;
}

EmbeddedPictures Embedder::all(const PictureSet& pictures,
                               const std::function<bool(std::int64_t)>& on_batch) {
  EmbeddedPictures result;
  result.embeddings = HostTensor(DType::f64, {pictures.size(), width_});
  result.readable.resize(static_cast<std::size_t>(pictures.size()));
  result.complete = each(pictures, [&](const EmbeddedBatch& batch) {
    for (std::size_t i = 0; i < batch.items.size(); ++i) {
      const auto row = static_cast<std::ptrdiff_t>(i) * width_;
      std::copy_n(batch.values.begin() + row, width_,
                  result.embeddings.as_mutable<double>() + batch.items[i] * width_);
      result.readable[static_cast<std::size_t>(batch.items[i])] = 1;
    }
    result.problems.insert(result.problems.end(), batch.problems.begin(), batch.problems.end());
    return !on_batch ||
           on_batch(static_cast<std::int64_t>(batch.items.size() + batch.problems.size()));
  });
  if (norm_count_ > 0) result.norm = norm_sum_ / static_cast<double>(norm_count_);
  if (result.complete && norm_count_ == 0) {
    throw failure(fmt::format("none of the {} pictures can be read; the first: {}", pictures.size(),
                              result.problems.at(0).message));
  }
  return result;
}

EmbeddedPictures embed_pictures(const Graph& network, const TensorMap& weights,
                                const EmbedderOptions& options, const PictureSet& pictures,
                                const std::function<bool(std::int64_t)>& on_batch) {
  EmbedderOptions own = options;
  own.batch = std::min(own.batch, pictures.size());
  return Embedder(network, weights, std::move(own)).all(pictures, on_batch);
}

}  // namespace facet
