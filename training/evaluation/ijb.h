#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "training/data/dataset.h"
#include "training/evaluation/embedder.h"
#include "training/evaluation/protocols.h"
#include "training/evaluation/roc.h"
#include "training/evaluation/templates.h"

namespace facet {

/// IJB-B or IJB-C as it is passed on: a folder with
///
///   loose_crop/                                 the pictures
///   meta/ijbX_name_5pts_score.txt               X: b or c
///   meta/ijbX_face_tid_mid.txt
///   meta/ijbX_template_pair_label.txt
struct TemplateSet {
  std::string name;                      ///< "IJB-C"
  std::unique_ptr<PictureSet> pictures;  ///< aligned by their landmarks, 112 x 112
  std::vector<double> weights;           ///< of the pictures: the detector's scores
  std::vector<TemplateFace> faces;       ///< of the pictures
  std::vector<TemplatePair> pairs;
};

/// Throws Error(failure) that names the folder or file: none or both of the benchmarks are there, a
/// list cannot be read, or the lists name other pictures than each other, line by line.
TemplateSet open_ijb(const std::filesystem::path& folder);

struct TemplateResult {
  std::string name;
  std::int64_t pictures = 0;  ///< embedded
  std::int64_t left_out = 0;  ///< that cannot be read
  std::int64_t templates = 0;
  std::int64_t pairs = 0;
  std::int64_t pairs_left_out = 0;  ///< of a template without a picture
  std::vector<BadImage> problems;   ///< the first pictures that cannot be read
  std::vector<RocPoint> roc;
  double area = 0;  ///< below the ROC
  double equal_error_rate = 0;
  std::vector<AcceptanceRate> rates;  ///< TAR alone
};

/// The rates of wrong acceptances that are reported: 1e-6 to 1e-1.
std::vector<double> template_far();

/// Embeds all pictures and compares the pairs' templates (specs: MLA-ArcFace 6.2): the embedder's
/// flip must be `sum`. Memory holds one sum for each media of a template, not the pictures'
/// embeddings. `on_batch` is called behind every batch with its number of pictures.
TemplateResult evaluate_templates(const TemplateSet& set, Embedder& embedder,
                                  const std::vector<double>& far,
                                  const std::function<void(std::int64_t)>& on_batch = {});

}  // namespace facet
