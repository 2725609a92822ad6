#pragma once

#include <filesystem>
#include <memory>

#include "ir/host_tensor.h"

namespace facet {

class MappedFile;

/// Reads a NumPy array file, versions 1 to 3, little-endian: f64, f32, f16, i64, i32, i8, u8, bool.
/// The tensor points into the mapped file where the bytes are aligned and in C order; Fortran order
/// is converted to row-major. Throws Error(failure) that names the file and what is wrong, for
/// dtypes Facet has no type for also how to convert them. Format: numpy.lib.format in NumPy's
/// reference manual.
HostTensor read_npy(const std::filesystem::path& path);
HostTensor read_npy(const std::shared_ptr<const MappedFile>& file);

/// Writes version 1, C order, atomically (see AtomicFile). Throws Error(usage) for bf16, which the
/// format does not have, and for an empty tensor, Error(failure) if it cannot be written.
void write_npy(const std::filesystem::path& path, const HostTensor& tensor);

}  // namespace facet
