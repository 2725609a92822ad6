#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ir/host_tensor.h"

/// The numbers of tests/golden/*.json (formulas and meaning: tests/golden/README.md).
namespace facet::testing {

/// What a golden file keeps of a tensor: its norm, its mean and samples at flat row-major indices.
struct Digest {
  std::vector<std::int64_t> shape;
  double l2 = 0;
  double mean = 0;
  std::vector<std::int64_t> index;
  std::vector<double> value;
};

/// Relative errors of a tensor against its digest; both are infinite if the shape differs or a
/// value is not finite.
struct DigestError {
  double samples = 0;  ///< rms difference of the samples over the tensor's rms
  double l2 = 0;       ///< relative difference of the l2 norms
  double worst() const { return samples > l2 ? samples : l2; }
};
double l2_norm(const HostTensor& tensor);
DigestError digest_error(const Digest& expected, const HostTensor& actual);

struct GoldenParameter {
  std::string key;
  std::vector<std::int64_t> shape;
  std::string dtype;  ///< "float32" or "int64"
  friend bool operator==(const GoldenParameter&, const GoldenParameter&) = default;
};

/// The training-mode part of a network's file: one forward with batch statistics, and the gradients
/// for the cotangents `uniform("cotangent:<output>", shape, -1, 1)` of all outputs.
struct GoldenTrain {
  std::map<std::string, std::vector<std::int64_t>> inputs;
  std::map<std::string, Digest> outputs;
  std::map<std::string, Digest> input_gradients;
  std::map<std::string, Digest> parameter_gradients;
  std::map<std::string, Digest> running_statistics;  ///< after that one forward
  double scalar = 0;  ///< sum of output times cotangent over all outputs
};

/// A network's file: its state_dict in order, the inference-mode forward and the training part.
struct GoldenCase {
  std::string name;
  std::int64_t parameters = 0;  ///< trainable numbers in all
  std::vector<GoldenParameter> state_dict;
  std::map<std::string, std::vector<std::int64_t>> inputs;
  std::map<std::string, Digest> taps;
  std::map<std::string, Digest> outputs;
  std::optional<GoldenTrain> train;  ///< not every file has one
};

/// Reads tests/golden/<name>.json. Throws Error(failure) that names the file.
GoldenCase read_golden(const std::string& name);

}  // namespace facet::testing
