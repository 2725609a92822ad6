#include "runtime/formats/weights_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <utility>

#include "ir/error.h"
#include "runtime/formats/mapped_file.h"
#include "runtime/formats/onnx/onnx_import.h"
#include "runtime/formats/quoted.h"
#include "runtime/formats/torch_file.h"
#include "runtime/formats/weight_index.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

WeightsFile read_single(const fs::path& path) {
  const auto file = MappedFile::open(path);
  if (looks_like_torch(*file)) return {read_torch(file), {}};
  SafetensorsFile tensors = read_safetensors(file);
  Metadata metadata = tensors.metadata();
  return {std::move(tensors).tensors(), std::move(metadata)};
}

/// Where links lead decides, not names. An index that is itself a link may have its shards where it
/// leads to: download caches lay out folders of links that way.
void check_confined(const fs::path& shard, const fs::path& index) {
  std::error_code error;
  const fs::path target = fs::canonical(shard, error);
  if (error) {
    throw failure(
        fmt::format("it needs the file {}, which is not there ({}); put all shards beside "
                    "the index",
                    in_quotes(shard.filename().string()), error.message()));
  }
  const fs::path beside = fs::canonical(fs::absolute(index).parent_path());
  const fs::path behind = fs::canonical(index).parent_path();
  if (target.parent_path() == beside || target.parent_path() == behind) return;
  throw failure(fmt::format("its file {} is a link out of the index's folder; copy the file there",
                            in_quotes(shard.filename().string())));
}

/// Adds the tensors of one shard in its order; it must hold those that `map` gives it, no others.
void add_shard(const fs::path& path, const std::string& name, const WeightMap& map,
               WeightsFile& all) {
  WeightsFile shard = read_single(path);
  std::set<std::string> unlisted;
  for (auto& [tensor, value] : shard.tensors) {
    const auto entry = map.find(tensor);
    if (entry == map.end() || entry->second != name) {
      unlisted.insert(in_quotes(tensor));
      continue;
    }
    all.tensors.emplace_back(tensor, std::move(value));
  }
  if (!unlisted.empty()) {
    throw failure(
        fmt::format("its file {} holds {} tensors that the weight_map does not place there "
                    "(the first is {}); download all files again",
                    in_quotes(name), unlisted.size(), *unlisted.begin()));
  }
  all.metadata.merge(shard.metadata);
}

void check_complete(const WeightMap& map, const WeightsFile& all) {
  if (all.tensors.size() == map.size()) return;
  std::set<std::string> found;
  for (const auto& item : all.tensors) found.insert(item.first);
  const auto missing =
      std::ranges::find_if(map, [&](const auto& entry) { return !found.contains(entry.first); });
  throw failure(
      fmt::format("{} of its {} tensors are not in their files (the first is {}, which {} "
                  "should have); download all files again",
                  map.size() - found.size(), map.size(), in_quotes(missing->first),
                  in_quotes(missing->second)));
}

WeightsFile read_sharded(const fs::path& path) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  const WeightMap map =
      parse_weight_index({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  std::set<std::string> shards;
  for (const auto& entry : map) shards.insert(entry.second);
  WeightsFile all;
  for (const std::string& shard : shards) {
    const fs::path shard_path = fs::absolute(path).parent_path() / shard;
    check_confined(shard_path, path);
    add_shard(shard_path, shard, map, all);
  }
  check_complete(map, all);
  return all;
}

}  // namespace

WeightsFile read_weights_file(const fs::path& path) {
  if (path.extension() == ".onnx") {
    ImportedModel model = import_onnx(path);
    return {{model.weights.begin(), model.weights.end()}, std::move(model.metadata)};
  }
  if (path.extension() != ".json") return read_single(path);
  try {
    return read_sharded(path);
  } catch (const Error& error) {
    throw failure(fmt::format("{}: cannot be read as the index of a sharded model: {}",
                              path.string(), error.what()));
  }
}

std::size_t convert_weights(const fs::path& from, const fs::path& to) {
  if (to.extension() != ".safetensors") {
    throw usage_error(
        fmt::format("{}: weights are written as safetensors; name the file "
                    "*.safetensors",
                    to.string()));
  }
  const WeightsFile file = read_weights_file(from);
  write_safetensors(to, file.tensors, file.metadata);
  return file.tensors.size();
}

}  // namespace facet
