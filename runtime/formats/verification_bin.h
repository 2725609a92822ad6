#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "runtime/formats/mapped_file.h"

namespace facet {

/// InsightFace's verification sets (`lfw.bin`, `agedb_30.bin`, `cfp_fp.bin` ...): encoded pictures
/// in pairs, and of every pair whether it shows one person. The pictures 2k and 2k + 1 are pair k.
struct VerificationBin {
  std::vector<std::span<const std::byte>> pictures;  ///< [2 * pairs], within `file`
  std::vector<bool> same;                            ///< [pairs]
  std::shared_ptr<const MappedFile> file;            ///< keeps the bytes
};

/// Reads the pickle of (pictures, same) of Python 2 (protocol 2) or Python 3 (3 to 5) as data:
/// nothing of it is executed. Throws Error(failure) that names the file and says what is wrong:
/// no such pickle, numpy arrays in place of encoded pictures, numbers that do not fit each other.
/// Format: specs of MLA-ArcFace, section 4.7.
VerificationBin read_verification_bin(const std::filesystem::path& path);
VerificationBin read_verification_bin(std::shared_ptr<const MappedFile> file);

/// Writes one atomically, as Python 2 does (protocol 2), so that Python 3 reads the pictures as
/// bytes with `pickle.load(file, encoding="bytes")`, as InsightFace has it. Throws Error(usage)
/// unless there are two pictures for every pair, Error(failure) for a picture of 2 GiB and if the
/// file cannot be written.
void write_verification_bin(const std::filesystem::path& path,
                            std::span<const std::vector<std::byte>> pictures,
                            const std::vector<bool>& same);

}  // namespace facet
