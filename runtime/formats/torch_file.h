#pragma once

#include <filesystem>
#include <memory>

#include "runtime/formats/mapped_file.h"
#include "runtime/formats/safetensors.h"

namespace facet {

/// Reads the state_dict of a file that `torch.save` wrote (PyTorch 1.6 or later: a zip archive), as
/// it is or under "state_dict", "model_state_dict" or "model" of a checkpoint, in its order.
/// Nothing is executed (see read_pickle): only tensors, parameters, numbers, texts and plain
/// containers are taken, anything else is refused by name. Contiguous tensors point into the mapped
/// file, others are copied to row-major; tensors that share a storage share its bytes. f64, f32,
/// f16, bf16, i64, i32, i8, u8 and bool, little-endian. Memory beside the file is bounded before
/// anything is unpacked or copied (MemoryBudget, kMostPickleValues). Throws Error(failure) that
/// names the file, what is wrong and what to do; nothing is returned half.
NamedTensors read_torch(const std::filesystem::path& path);
NamedTensors read_torch(const std::shared_ptr<const MappedFile>& file);

/// Whether the bytes begin as a zip archive does, or as the files that PyTorch wrote before 1.6
/// (`read_torch` then says how to convert them).
bool looks_like_torch(const MappedFile& file);

}  // namespace facet
