#include "runtime/formats/torch_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "ir/error.h"
#include "runtime/formats/pickle.h"
#include "runtime/formats/quoted.h"
#include "runtime/formats/torch_storages.h"
#include "runtime/formats/zip_archive.h"

namespace facet {
namespace {

using Kind = PickleValue::Kind;

constexpr std::string_view kPickle = "data.pkl";
constexpr std::string_view kTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kTypedTensor = "torch._utils._rebuild_tensor_v3";
constexpr std::string_view kParameter = "torch._utils._rebuild_parameter";
constexpr std::string_view kHowToSave =
    "save the state_dict alone in Python: torch.save(model.state_dict(), \"weights.pth\")";
constexpr int kMostNesting = 4;

PickleNames allowed_names() {
  PickleNames names;
  names.values = torch_storage_types();
  for (const std::string_view dtype :
       {"torch.float32", "torch.float64", "torch.float16", "torch.bfloat16", "torch.int64",
        "torch.int32", "torch.int16", "torch.int8", "torch.uint8", "torch.uint16", "torch.uint32",
        "torch.uint64", "torch.bool", "torch.float8_e4m3fn", "torch.float8_e5m2"}) {
    names.values.push_back(dtype);
  }
  // Protocol 2 spells bytes as a call of _codecs.encode.
  names.callables = {kTensor, kTypedTensor, kParameter, "torch.device", "_codecs.encode"};
  return names;
}

/// "archive/" of "archive/data.pkl": the one folder that everything is in.
std::string_view folder_of(const ZipArchive& archive) {
  std::string_view folder;
  bool found = false;
  for (const ZipEntry& entry : archive.entries()) {
    if (!entry.name.ends_with(kPickle)) continue;
    const std::string_view rest = entry.name.substr(0, entry.name.size() - kPickle.size());
    if (rest.find('/') + 1 != rest.size()) continue;
    if (found) throw failure("it has two entries data.pkl");
    folder = rest;
    found = true;
  }
  if (!found) {
    throw failure(fmt::format(
        "it is a zip archive without data.pkl, not what torch.save writes; {}", kHowToSave));
  }
  return folder;
}

std::string entry_name(std::string_view folder, std::string_view name) {
  return fmt::format("{}{}", folder, name);
}

void check_kind(const ZipArchive& archive, std::string_view folder, MemoryBudget& budget) {
  if (archive.find(entry_name(folder, "constants.pkl")) != nullptr) {
    throw failure(fmt::format("it is a TorchScript program, not weights; {}", kHowToSave));
  }
  const ZipEntry* order = archive.find(entry_name(folder, "byteorder"));
  if (order == nullptr) return;
  const OwnedBytes content = archive.read(*order, budget);
  const std::string_view text(reinterpret_cast<const char*>(content.bytes.data()),
                              content.bytes.size());
  if (text != "little") {
    throw failure(
        fmt::format("its byte order is {}; only little-endian files are read, load and save "
                    "it again on such a machine",
                    in_quotes(text)));
  }
}

/// Finds the state_dict in what the pickle holds and makes its tensors.
class StateDict {
 public:
  StateDict(const PickleData& data, TorchStorages& storages) : data_(data), storages_(storages) {}

  NamedTensors read() {
    const PickleValue& dictionary = find();
    NamedTensors tensors;
    std::vector<std::string> others;
    tensors.reserve(dictionary.items.size() / 2);
    for (std::size_t i = 0; i < dictionary.items.size(); i += 2) {
      const PickleValue& key = data_[dictionary.items[i]];
      const PickleValue* tensor = tensor_of(dictionary.items[i + 1]);
      if (key.kind != Kind::text) throw failure("its state_dict has keys that are not text");
      if (tensor == nullptr) {
        others.push_back(in_quotes(key.text));
        continue;
      }
      try {
        tensors.emplace_back(std::string(key.text), make(*tensor));
      } catch (const Error& error) {
        throw failure(fmt::format("its tensor {}: {}", in_quotes(key.text), error.what()));
      }
    }
    check(tensors, others);
    return tensors;
  }

 private:
  /// The tensor's own object behind parameters around it; null if the value is no tensor.
  const PickleValue* tensor_of(std::uint32_t id) const {
    for (int i = 0; i < kMostNesting; ++i) {
      const PickleValue& value = data_[id];
      if (value.kind != Kind::object) return nullptr;
      if (value.text == kTensor || value.text == kTypedTensor) return &value;
      const PickleValue& arguments = data_[value.items[0]];
      if (value.text != kParameter || arguments.items.empty()) return nullptr;
      id = arguments.items[0];
    }
    return nullptr;
  }

  bool has_tensors(const PickleValue& dictionary) const {
    for (std::size_t i = 1; i < dictionary.items.size(); i += 2) {
      if (tensor_of(dictionary.items[i]) != nullptr) return true;
    }
    return false;
  }

  /// The dictionary under one of the usual names; null if there is none.
  const PickleValue* nested(const PickleValue& dictionary) const {
    for (const std::string_view name : {"state_dict", "model_state_dict", "model"}) {
      for (std::size_t i = 0; i < dictionary.items.size(); i += 2) {
        const PickleValue& key = data_[dictionary.items[i]];
        const PickleValue& value = data_[dictionary.items[i + 1]];
        if (key.kind == Kind::text && key.text == name && value.kind == Kind::dictionary)
          return &value;
      }
    }
    return nullptr;
  }

  const PickleValue& find() const {
    const PickleValue* dictionary = &data_[data_.root];
    if (dictionary->kind != Kind::dictionary) {
      throw failure(fmt::format("it holds no dictionary of tensors; {}", kHowToSave));
    }
    for (int i = 0; i < kMostNesting; ++i) {
      const PickleValue* inner = nested(*dictionary);
      if (inner == nullptr) break;
      dictionary = inner;
    }
    if (!has_tensors(*dictionary)) throw failure(no_tensors(*dictionary));
    return *dictionary;
  }

  std::string no_tensors(const PickleValue& dictionary) const {
    constexpr std::size_t kMostKeys = 10;
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < dictionary.items.size() && keys.size() < kMostKeys; i += 2) {
      const PickleValue& key = data_[dictionary.items[i]];
      if (key.kind == Kind::text) keys.push_back(in_quotes(key.text));
    }
    return fmt::format(
        "it has no tensors, neither at the top nor under state_dict, model_state_dict or "
        "model (its keys: {}); {}",
        fmt::join(keys, ", "), kHowToSave);
  }

  HostTensor make(const PickleValue& tensor) {
    const std::vector<std::uint32_t>& arguments = data_[tensor.items[0]].items;
    const bool typed = tensor.text == kTypedTensor;
    if (arguments.size() < (typed ? 7U : 4U)) throw failure("it is made without size and stride");
    const PickleValue& storage = data_[arguments[0]];
    if (storage.kind != Kind::persistent) throw failure("it has no storage");
    TorchView view;
    view.offset = integer(arguments[1]);
    view.shape = integers(arguments[2]);
    view.strides = integers(arguments[3]);
    const PickleValue& reference = data_[storage.items[0]];
    if (typed) throw failure(unsupported(data_[arguments[6]]));
    return storages_.tensor(reference_of(reference), view);
  }

  static std::string unsupported(const PickleValue& dtype) {
    return fmt::format(
        "its type is {}, which is not one of float64, float32, float16, bfloat16, int64, "
        "int32, int8, uint8 and bool; convert it and save it again",
        in_quotes(dtype.text));
  }

  /// ("storage", type, key, location, number of elements).
  TorchReference reference_of(const PickleValue& value) const {
    const std::vector<std::uint32_t>& items = value.items;
    if (value.kind != Kind::sequence || items.size() != 5 || data_[items[0]].text != "storage" ||
        data_[items[1]].kind != Kind::global || data_[items[2]].kind != Kind::text) {
      throw failure("its storage is referred to in an unknown way");
    }
    return {data_[items[1]].text, data_[items[2]].text, integer(items[4])};
  }

  std::int64_t integer(std::uint32_t id) const {
    if (data_[id].kind != Kind::integer) throw failure("a number of it is not whole or too large");
    return data_[id].number;
  }

  std::vector<std::int64_t> integers(std::uint32_t id) const {
    constexpr std::size_t kLargestRank = 64;
    const PickleValue& list = data_[id];
    if (list.kind != Kind::sequence) throw failure("its size or stride is not a list");
    if (list.items.size() > kLargestRank) {
      throw failure(fmt::format("it has more than {} dimensions", kLargestRank));
    }
    std::vector<std::int64_t> values;
    for (const std::uint32_t item : list.items) values.push_back(integer(item));
    return values;
  }

  static void check(const NamedTensors& tensors, const std::vector<std::string>& others) {
    constexpr std::size_t kMostNames = 10;
    if (!others.empty()) {
      const auto shown = std::span(others).first(std::min(others.size(), kMostNames));
      throw failure(fmt::format("its state_dict has {} entries that are no tensors ({}{}); {}",
                                others.size(), fmt::join(shown, ", "),
                                shown.size() < others.size() ? ", ..." : "", kHowToSave));
    }
    std::vector<std::string_view> names;
    for (const auto& item : tensors) names.push_back(item.first);
    std::ranges::sort(names);
    const auto twice = std::ranges::adjacent_find(names);
    if (twice != names.end())
      throw failure(fmt::format("it has two tensors {}", in_quotes(*twice)));
  }

  const PickleData& data_;
  TorchStorages& storages_;
};

bool begins_with(const MappedFile& file, std::string_view magic) {
  const auto bytes = file.bytes();
  return bytes.size() >= magic.size() &&
         std::string_view(reinterpret_cast<const char*>(bytes.data()), magic.size()) == magic;
}

bool is_zip(const MappedFile& file) { return begins_with(file, "PK\x03\x04"); }

/// A pickle of protocol 2 whose first value is PyTorch's magic number, a long integer of ten bytes.
bool is_legacy(const MappedFile& file) { return begins_with(file, "\x80\x02\x8a\x0a"); }

NamedTensors read_archive(const std::shared_ptr<const MappedFile>& file) {
  MemoryBudget budget(file->bytes().size());
  const ZipArchive archive(file);
  const std::string_view folder = folder_of(archive);
  check_kind(archive, folder, budget);
  const OwnedBytes pickle = archive.read(*archive.find(entry_name(folder, kPickle)), budget);
  const PickleData data = read_pickle(pickle.bytes, allowed_names());
  TorchStorages storages(archive, std::string(folder), budget);
  return StateDict(data, storages).read();
}

}  // namespace

NamedTensors read_torch(const std::filesystem::path& path) {
  return read_torch(MappedFile::open(path));
}

NamedTensors read_torch(const std::shared_ptr<const MappedFile>& file) {
  try {
    if (is_legacy(*file)) {
      throw failure(
          "PyTorch wrote it in the format before 1.6; load and save it again with a later "
          "one: torch.save(torch.load(path, weights_only=True), path)");
    }
    if (!is_zip(*file))
      throw failure("it is not a zip archive; it may be cut short or another format");
    return read_archive(file);
  } catch (const Error& error) {
    throw failure(
        fmt::format("{}: cannot be read as PyTorch weights: {}", file->path(), error.what()));
  }
}

bool looks_like_torch(const MappedFile& file) { return is_zip(file) || is_legacy(file); }

}  // namespace facet
