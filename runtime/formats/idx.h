#pragma once

#include <filesystem>

#include "ir/host_tensor.h"

namespace facet {

/// Reads an IDX file of unsigned bytes (the format of MNIST and its like), plain or gzipped, as its
/// first bytes say: u8 of the shape the file declares. Throws Error(failure) that names the file
/// and what is wrong: not IDX, another element type, cut short, too long, damaged.
HostTensor read_idx(const std::filesystem::path& path);

/// Images u8 [N, 28, 28] and labels u8 [N] (0 to 9).
struct FashionMnist {
  HostTensor images;
  HostTensor labels;
};

/// Where Debian's package dataset-fashion-mnist puts its files.
inline constexpr const char* kFashionMnistFolder = "/usr/share/datasets/fashion-mnist";

/// The training set of 60,000 or the test set of 10,000 images. Throws Error(failure) if a file is
/// missing (and names the package) or does not have these shapes.
FashionMnist read_fashion_mnist(bool training,
                                const std::filesystem::path& folder = kFashionMnistFolder);

}  // namespace facet
