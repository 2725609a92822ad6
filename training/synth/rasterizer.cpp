#include "training/synth/rasterizer.h"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace facet::synth {
namespace {

/// Bilinear.
Vec3 sample(const Canvas& texture, float u, float v) {
  const float x = std::clamp(u, 0.0F, static_cast<float>(texture.width()) - 1.001F);
  const float y = std::clamp(v, 0.0F, static_cast<float>(texture.height()) - 1.001F);
  const int left = static_cast<int>(x);
  const int top = static_cast<int>(y);
  const float fx = x - static_cast<float>(left);
  const float fy = y - static_cast<float>(top);
  return mix(mix(texture.at(left, top), texture.at(left + 1, top), fx),
             mix(texture.at(left, top + 1), texture.at(left + 1, top + 1), fx), fy);
}

class MeshPainter {
 public:
  MeshPainter(const Canvas& texture, Canvas& canvas)
      : texture_(texture),
        canvas_(canvas),
        depth_(static_cast<std::size_t>(canvas.width()) * static_cast<std::size_t>(canvas.height()),
               std::numeric_limits<float>::lowest()) {}

  void triangle(const Vertex& a, const Vertex& b, const Vertex& c) {
    const float area = (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
    if (!(area > 1e-6F)) return;
    const int left = std::max(whole_below(std::min({a.x, b.x, c.x})), 0);
    const int right = std::min(whole_below(std::max({a.x, b.x, c.x})) + 1, canvas_.width() - 1);
    const int top = std::max(whole_below(std::min({a.y, b.y, c.y})), 0);
    const int bottom = std::min(whole_below(std::max({a.y, b.y, c.y})) + 1, canvas_.height() - 1);
    const float scale = 1 / area;
    for (int y = top; y <= bottom; ++y) {
      const float py = static_cast<float>(y);
      for (int x = left; x <= right; ++x) {
        const float px = static_cast<float>(x);
        const float wb = ((px - a.x) * (c.y - a.y) - (py - a.y) * (c.x - a.x)) * scale;
        const float wc = ((b.x - a.x) * (py - a.y) - (b.y - a.y) * (px - a.x)) * scale;
        const float wa = 1 - wb - wc;
        // A pixel on a common edge may be drawn by both: they agree there.
        if (wa < -1e-4F || wb < -1e-4F || wc < -1e-4F) continue;
        const auto blended = [&](float Vertex::*member) {
          return wa * a.*member + wb * b.*member + wc * c.*member;
        };
        const float depth = blended(&Vertex::depth);
        float& nearest =
            depth_[static_cast<std::size_t>(y) * static_cast<std::size_t>(canvas_.width()) +
                   static_cast<std::size_t>(x)];
        if (depth <= nearest) continue;
        nearest = depth;
        const Vec3 light = a.light * wa + b.light * wb + c.light * wc;
        const float gloss = blended(&Vertex::gloss);
        canvas_.at(x, y) = sample(texture_, blended(&Vertex::u), blended(&Vertex::v)) * light +
                           Vec3{gloss, gloss, gloss};
      }
    }
  }

 private:
  const Canvas& texture_;
  Canvas& canvas_;
  std::vector<float> depth_;
};

}  // namespace

void draw_mesh(std::span<const Vertex> vertices, int columns, int rows, const Canvas& texture,
               Canvas& canvas) {
  MeshPainter painter(texture, canvas);
  for (int j = 0; j + 1 < rows; ++j) {
    for (int i = 0; i + 1 < columns; ++i) {
      const Vertex* corner = &vertices[static_cast<std::size_t>(j * columns + i)];
      painter.triangle(corner[0], corner[1], corner[columns]);
      painter.triangle(corner[1], corner[columns + 1], corner[columns]);
    }
  }
}

}  // namespace facet::synth
