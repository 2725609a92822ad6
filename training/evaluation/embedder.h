#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "ir/host_tensor.h"
#include "runtime/compile.h"
#include "runtime/formats/preprocess.h"
#include "training/data/dataset.h"
#include "training/loader.h"

namespace facet {

/// What a picture's mirror image adds to its embedding.
enum class Flip {
  none,
  sum,         ///< embedding of the picture + of its mirror image, not normalised (InsightFace)
  concatenate  ///< both side by side, [2 D] (LS-CNN)
};

/// The output of a network that holds embeddings: `wanted` if given, else `embedding`, else
/// `branch_embeddings`, else the first whose name has "embedding" in it. Throws Error(usage) if
/// there is none.
std::string embedding_output(const Graph& network, const std::string& wanted = "");

struct EmbedderOptions {
  CompileOptions compile;
  Preprocess preprocess;  ///< of the network's input size
  Flip flip = Flip::none;
  std::string output;       ///< see embedding_output
  std::int64_t batch = 64;  ///< pictures at a time; fewer where the set has fewer
  int loader_threads = 1;   ///< that decode
  /// Above 0: every picture is made a square of so many pixels first, with Lanczos' filter, as a far
  /// camera would see it.
  std::int64_t picture_size = 0;
  bool leave_out_bad =
      false;  ///< go on without pictures that cannot be read; else the first one throws
};

/// Rows of pictures that could be read, in the set's order.
struct EmbeddedBatch {
  std::span<const std::int64_t> items;  ///< numbers of the pictures, [rows]
  std::span<const double> values;       ///< [rows, width]
  std::span<const BadImage> problems;   ///< pictures left out here
};

/// The embeddings of a whole set. Left-out pictures have rows of zeros.
struct EmbeddedPictures {
  HostTensor embeddings;           ///< f64 [n, D or 2 D]
  std::vector<char> readable;      ///< [n]
  std::vector<BadImage> problems;  ///< pictures left out, by number
  double norm = 0;                 ///< mean L2 norm of single embeddings, over both flips
  bool complete = true;            ///< false: it was stopped
};

/// A network, compiled once, that turns sets of pictures into embeddings: decoded ahead by the
/// Loader's threads, in padded batches, so that one program serves all. f32 embeddings are added in
/// double. One thread uses it.
class Embedder {
 public:
  /// `network` in inference form, whose embedding depends on one input, pictures [N, 3, H, W].
  /// Throws Error(usage) if it is another or has no such output, and as `compile` does.
  Embedder(const Graph& network, const TensorMap& weights, EmbedderOptions options);
  ~Embedder();

  /// D, or 2 D where flips are concatenated.
  std::int64_t width() const { return width_; }

  /// Calls `take` with every batch, in order; false stops. Returns whether it came to the end.
  /// Memory does not grow with the set. Throws what a picture met unless `leave_out_bad` is set.
  bool each(const PictureSet& pictures, const std::function<bool(const EmbeddedBatch&)>& take);

  /// All at once. `on_batch` is called behind every batch with its number of pictures; false stops.
  /// Throws Error(failure) if no picture can be read.
  EmbeddedPictures all(const PictureSet& pictures,
                       const std::function<bool(std::int64_t)>& on_batch = {});

 private:
  std::vector<double> run(const HostTensor& pixels, std::int64_t rows);

  EmbedderOptions options_;
  std::string input_;
  std::string output_;
  std::int64_t single_ = 0;  ///< width of the network's embedding
  std::int64_t width_ = 0;
  double norm_sum_ = 0;  ///< of single embeddings
  std::int64_t norm_count_ = 0;
  std::shared_ptr<const Executable> executable_;
  std::unique_ptr<Context> context_;
};

/// Embeds all of one set. See Embedder.
EmbeddedPictures embed_pictures(const Graph& network, const TensorMap& weights,
                                const EmbedderOptions& options, const PictureSet& pictures,
                                const std::function<bool(std::int64_t)>& on_batch = {});

/// A batch f32 [n, 3, H, W] of mirror images.
HostTensor mirrored(const HostTensor& pixels);

}  // namespace facet
