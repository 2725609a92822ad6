#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "training/evaluation/alignment.h"
#include "training/evaluation/embeddings.h"

/// IJB-B and IJB-C, 1:1: templates are sets of pictures and video frames of a person (specs:
/// MLA-ArcFace 6.2). The list files are those the benchmarks are passed on with.
namespace facet {

/// One line of ijbX_name_5pts_score.txt: "name x1 y1 ... x5 y5 score".
struct DetectedFace {
  std::string name;  ///< of the file in loose_crop/
  FacePoints points;
  double score = 0;  ///< of the detector
};
/// One line of ijbX_face_tid_mid.txt: "name template media".
struct TemplateFace {
  std::string name;
  std::int64_t template_id = 0;
  std::int64_t media_id = 0;
};
/// One line of ijbX_template_pair_label.txt: "template template 0|1".
struct TemplatePair {
  std::int64_t first = 0;
  std::int64_t second = 0;
  bool same = false;
};

/// All throw Error(failure) that names the file and the line that cannot be read, and for an empty
/// file.
std::vector<DetectedFace> read_detected_faces(const std::filesystem::path& file);
std::vector<TemplateFace> read_template_faces(const std::filesystem::path& file);
std::vector<TemplatePair> read_template_pairs(const std::filesystem::path& file);

/// Collects the pictures' features by template and media, in any order, and keeps but one sum for
/// each.
class TemplatePool {
 public:
  /// `feature` counts `weight` times: the detector's score. Throws Error(usage) for another width
  /// than before.
  void add(const TemplateFace& face, std::span<const double> feature, double weight);

  /// The templates by number: for every media the mean of its features, their sum over the medias,
  /// L2-normalised.
  std::map<std::int64_t, std::vector<double>> templates() const;

 private:
  struct Media {
    std::vector<double> sum;
    std::int64_t pictures = 0;
  };
  std::map<std::pair<std::int64_t, std::int64_t>, Media> medias_;  // by template, media
};

/// The dot products of the pairs' templates; NaN where one has no picture.
std::vector<double> template_scores(const std::map<std::int64_t, std::vector<double>>& templates,
                                    const std::vector<TemplatePair>& pairs);

}  // namespace facet
