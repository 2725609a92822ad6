#pragma once

#include <cstdint>
#include <filesystem>

#include "runtime/formats/image.h"
#include "training/synth/synth_sets.h"

namespace facet {

struct SynthFilesOptions {
  SynthOptions training;
  std::int64_t pairs = 1000;
  /// SCface has 130: its protocol trains on the first 50 and tests on the others.
  std::int64_t surveillance_persons = 130;
  int jpeg_quality = 95;
  int threads = 1;  ///< that render; the files are the same for any number
};

/// Writes the data sets of synth_sets.h with the options' seed and difficulty as the files that
/// real ones come in, for readers of those and for other programs:
///
///   train.rec train.idx property        InsightFace's record file, label = person
///   verification.bin                    InsightFace's verification set
///   scface/mugshot_frontal_cropped_all/001_frontal.jpg
///   scface/surveillance_cameras_distance_{1,2,3}/001_cam1_1.jpg     SCface's layout
///   contact_sheet.png                   some persons, a row each: see synth_contact_sheet
///
/// All of them appear together or, after any failure, nothing; `folder` must be missing or empty.
/// Shows its progress. Throws Error(usage) for options out of range and a folder that is in use,
/// Error(failure) if something cannot be written.
void write_synth_files(const std::filesystem::path& folder, const SynthFilesOptions& options);

/// The first `persons` of a training set, a row each with the first `images` pictures of 112 x 112.
Image synth_contact_sheet(const SynthOptions& options, int persons = 12, int images = 12);

}  // namespace facet
