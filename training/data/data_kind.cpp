#include "training/data/data_kind.h"

#include <fmt/format.h>

#include "ir/error.h"
#include "runtime/formats/mapped_file.h"
#include "training/data/pair_lines.h"
#include "training/data/text_lines.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

DataKind kind_of_text(const fs::path& path) {
  const auto file = MappedFile::open(path);
  DataKind kind = DataKind::list;
  bool decided = false;
  for_each_line(*file, [&](std::int64_t number, std::string_view text) {
    if (decided || text.empty() || (number == 1 && has_numbers_alone(text))) return;
    decided = true;
    if (is_pair(text)) kind = DataKind::pairs;
  });
  return kind;
}

}  // namespace

DataKind detect_data_kind(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    if (fs::exists(path / "mugshot_frontal_cropped_all", ignored)) return DataKind::scface;
    for (const char* name : {"train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"}) {
      if (fs::exists(path / name, ignored)) return DataKind::fashion_mnist;
    }
    return DataKind::class_folders;
  }
  if (!fs::exists(path, ignored)) {
    throw failure(fmt::format("{}: there is no such file or folder", path.string()));
  }
  if (path.extension() == ".rec") return DataKind::record;
  if (path.extension() == ".bin") return DataKind::verification_bin;
  return kind_of_text(path);
}

std::string_view to_string(DataKind kind) {
  switch (kind) {
    case DataKind::class_folders:
      return "class folders";
    case DataKind::fashion_mnist:
      return "Fashion-MNIST";
    case DataKind::scface:
      return "SCface";
    case DataKind::record:
      return "record file";
    case DataKind::verification_bin:
      return "verification file";
    case DataKind::pairs:
      return "list of pairs";
    case DataKind::list:
      return "list of pictures";
  }
  return "";
}

}  // namespace facet
