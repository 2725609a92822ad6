#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/formats/zip_writer.h"

namespace facet::test {

/// One tensor as a pickle describes it; the archive's one storage, "0", holds the f32 0 to 5.
struct TorchTensor {
  std::string type = "FloatStorage";
  std::string key = "0";
  std::int64_t elements = 6;
  std::int64_t offset = 0;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;
};

inline std::string pickled(const std::string& text) {
  return "X" + little_endian<std::uint32_t>(static_cast<std::uint32_t>(text.size())) + text;
}
inline std::string pickled(std::int64_t number) { return "\x8A\x08" + little_endian(number); }
inline std::string pickled(const std::vector<std::int64_t>& numbers) {
  std::string items = "(";
  for (const std::int64_t number : numbers) items += pickled(number);
  return items + "t";
}

inline std::string pickled(const TorchTensor& tensor) {
  return "ctorch._utils\n_rebuild_tensor_v2\n((" + pickled(std::string("storage")) + "ctorch\n" +
         tensor.type + "\n" + pickled(tensor.key) + pickled(std::string("cpu")) +
         pickled(tensor.elements) + "tQ" + pickled(tensor.offset) + pickled(tensor.shape) +
         pickled(tensor.strides) +
         "\x89"
         "ccollections\nOrderedDict\n)RtR";
}

/// What torch.save would write of {"w": tensor} and `others`, pickled values under their names.
inline std::string torch_archive(
    const TorchTensor& tensor, const std::vector<std::pair<std::string, std::string>>& others = {},
    bool packed = false) {
  std::string pickle = "\x80\x02}" + pickled(std::string("w")) + pickled(tensor) + "s";
  for (const auto& [name, value] : others) pickle += pickled(name) + value + "s";
  std::string storage;
  for (const float value : {0.F, 1.F, 2.F, 3.F, 4.F, 5.F}) {
    storage.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  return make_zip({{"archive/data.pkl", pickle + ".", packed},
                   {"archive/byteorder", "little", packed},
                   {"archive/data/0", storage, packed}});
}

}  // namespace facet::test
