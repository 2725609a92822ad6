#pragma once

#include <filesystem>
#include <string_view>

namespace facet {

/// The kinds of sets that are told apart by what lies at a path.
enum class DataKind {
  class_folders,     ///< a folder for every class: open_image_folder
  fashion_mnist,     ///< a folder with train-images-idx3-ubyte or the like: open_fashion_mnist
  scface,            ///< a folder with mugshot_frontal_cropped_all: open_scface_*
  record,            ///< *.rec: open_record_dataset
  verification_bin,  ///< *.bin: open_verification_bin
  pairs,             ///< a text whose lines are pairs: open_pairs
  list               ///< any other text: open_list_dataset
};

/// By the names in a folder, by the extension of a file, and by the first lines of a text. Throws
/// Error(failure) if there is nothing at `path`.
DataKind detect_data_kind(const std::filesystem::path& path);

/// For reports: "record file".
std::string_view to_string(DataKind kind);

}  // namespace facet
