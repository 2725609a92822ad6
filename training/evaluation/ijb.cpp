#include "training/evaluation/ijb.h"

#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <utility>

#include "ir/error.h"

namespace facet {
namespace {

constexpr std::size_t kProblemsKept = 5;

class AlignedFaces : public PictureSet {
 public:
  AlignedFaces(std::filesystem::path folder, std::vector<DetectedFace> faces)
      : folder_(std::move(folder)), faces_(std::move(faces)) {}
  std::int64_t size() const override { return static_cast<std::int64_t>(faces_.size()); }
  std::string name(std::int64_t item) const override {
    return (folder_ / face(item).name).string();
  }
  Image load(std::int64_t item) const override {
    const Image image = read_image(name(item));
    try {
      return align_face(image, face(item).points);
    } catch (const Error& error) {
      throw failure(fmt::format("{}: {}", name(item), error.what()));
    }
  }
  std::uint64_t fingerprint() const override {
    std::uint64_t hash = 0xCBF29CE484222325U;  // FNV-1a of the names
    for (const DetectedFace& face : faces_) {
      for (const char c : face.name + "\n")
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
    }
    return hash;
  }

 private:
  const DetectedFace& face(std::int64_t item) const {
    return faces_.at(static_cast<std::size_t>(item));
  }

  std::filesystem::path folder_;
  std::vector<DetectedFace> faces_;
};

/// 'b' or 'c'.
char benchmark_in(const std::filesystem::path& folder) {
  const auto has = [&](char letter) {
    return std::filesystem::exists(folder / "meta" / fmt::format("ijb{}_face_tid_mid.txt", letter));
  };
  if (has('b') == has('c')) {
    throw failure(
        fmt::format("{}: {} meta/ijbb_face_tid_mid.txt and ijbc_face_tid_mid.txt; one of them "
                    "says which benchmark it is",
                    folder.string(), has('b') ? "has both" : "has neither"));
  }
  return has('b') ? 'b' : 'c';
}

}  // namespace

std::vector<double> template_far() { return {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1}; }

TemplateSet open_ijb(const std::filesystem::path& folder) {
  const char letter = benchmark_in(folder);
  const auto list = [&](const char* what) {
    return folder / "meta" / fmt::format("ijb{}_{}.txt", letter, what);
  };
  TemplateSet set;
  set.name = letter == 'b' ? "IJB-B" : "IJB-C";
  std::vector<DetectedFace> detected = read_detected_faces(list("name_5pts_score"));
  set.faces = read_template_faces(list("face_tid_mid"));
  set.pairs = read_template_pairs(list("template_pair_label"));
  if (detected.size() != set.faces.size()) {
    throw failure(fmt::format("{}: {} faces with landmarks, but {} in templates", folder.string(),
                              detected.size(), set.faces.size()));
  }
  for (std::size_t i = 0; i < detected.size(); ++i) {
    if (detected[i].name != set.faces[i].name) {
      throw failure(
          fmt::format("{}: face {} of the lists is {} with landmarks, but {} in a template",
                      folder.string(), i + 1, detected[i].name, set.faces[i].name));
    }
    set.weights.push_back(detected[i].score);
  }
  set.pictures = std::make_unique<AlignedFaces>(folder / "loose_crop", std::move(detected));
  return set;
}

TemplateResult evaluate_templates(const TemplateSet& set, Embedder& embedder,
                                  const std::vector<double>& far,
                                  const std::function<void(std::int64_t)>& on_batch) {
  TemplateResult result;
  result.name = set.name;
  TemplatePool pool;
  embedder.each(*set.pictures, [&](const EmbeddedBatch& batch) {
    const auto width = static_cast<std::size_t>(embedder.width());
    for (std::size_t i = 0; i < batch.items.size(); ++i) {
      const auto item = static_cast<std::size_t>(batch.items[i]);
      pool.add(set.faces[item], batch.values.subspan(i * width, width), set.weights[item]);
    }
    for (const BadImage& problem : batch.problems) {
      if (result.problems.size() < kProblemsKept) result.problems.push_back(problem);
    }
    result.pictures += static_cast<std::int64_t>(batch.items.size());
    result.left_out += static_cast<std::int64_t>(batch.problems.size());
    if (on_batch) on_batch(static_cast<std::int64_t>(batch.items.size() + batch.problems.size()));
    return true;
  });
  const auto templates = pool.templates();
  result.templates = static_cast<std::int64_t>(templates.size());
  const std::vector<double> all = template_scores(templates, set.pairs);
  std::vector<double> scores;
  std::vector<char> same;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (std::isnan(all[i])) {
      ++result.pairs_left_out;
      continue;
    }
    scores.push_back(all[i]);
    same.push_back(set.pairs[i].same ? 1 : 0);
  }
  result.pairs = static_cast<std::int64_t>(scores.size());
  if (scores.empty()) throw failure(fmt::format("{}: no pair of templates has pictures", set.name));
  result.roc = roc_curve(scores, same);
  result.area = area_under(result.roc);
  result.equal_error_rate = equal_error_rate(result.roc);
  for (const double rate : far) result.rates.push_back({rate, tar_at_far(result.roc, rate), {}});
  return result;
}

}  // namespace facet
