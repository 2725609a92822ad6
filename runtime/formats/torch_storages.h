#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ir/host_tensor.h"
#include "runtime/formats/zip_archive.h"

namespace facet {

/// How a pickle refers to a storage: its type as Python names it, the entry that holds it, and its
/// number of elements.
struct TorchReference {
  std::string_view type;
  std::string_view key;
  std::int64_t elements = 0;
};

/// Which elements of a storage a tensor has, as strides in elements.
struct TorchView {
  std::int64_t offset = 0;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;
};

/// The storages of one archive, each read and checked once.
class TorchStorages {
 public:
  TorchStorages(const ZipArchive& archive, std::string folder, MemoryBudget& budget)
      : archive_(archive), folder_(std::move(folder)), budget_(budget) {}

  /// In place if the elements lie in row-major order, else copied so. Throws Error(failure) if the
  /// type has no equal, the storage is missing or damaged or of another size, the view does not lie
  /// within it, or the copies outgrow the budget.
  HostTensor tensor(const TorchReference& reference, const TorchView& view);

 private:
  const OwnedBytes& bytes(std::string_view key);

  const ZipArchive& archive_;
  std::string folder_;
  MemoryBudget& budget_;
  std::map<std::string, OwnedBytes, std::less<>> known_;
};

/// "torch.FloatStorage" and its like, also those that `TorchStorages::tensor` refuses.
std::vector<std::string_view> torch_storage_types();

}  // namespace facet
