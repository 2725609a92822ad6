#include "training/synth/rasterizer.h"

#include <algorithm>
#include <cstddef>

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

void draw_triangle(const Vertex& a, const Vertex& b, const Vertex& c, const Canvas& texture,
                   Scene& scene) {
  const float area = (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
  if (!(area > 1e-6F)) return;
  const int left = std::max(whole_below(std::min({a.x, b.x, c.x})), 0);
  const int right = std::min(whole_below(std::max({a.x, b.x, c.x})) + 1, scene.width() - 1);
  const int top = std::max(whole_below(std::min({a.y, b.y, c.y})), 0);
  const int bottom = std::min(whole_below(std::max({a.y, b.y, c.y})) + 1, scene.height() - 1);
  const float scale = 1 / area;
  // The corners' shares of a pixel are linear in its place.
  const float b_x = (c.y - a.y) * scale;
  const float b_y = -(c.x - a.x) * scale;
  const float c_x = -(b.y - a.y) * scale;
  const float c_y = (b.x - a.x) * scale;
  constexpr float kEdge =
      -1e-4F;  // a pixel on a common edge may be drawn by both: they agree there
  for (int y = top; y <= bottom; ++y) {
    const float dy = static_cast<float>(y) - a.y;
    for (int x = left; x <= right; ++x) {
      const float dx = static_cast<float>(x) - a.x;
      const float wb = b_x * dx + b_y * dy;
      const float wc = c_x * dx + c_y * dy;
      const float wa = 1 - wb - wc;
      if (wa < kEdge || wb < kEdge || wc < kEdge) continue;
      scene.put(x, y, wa * a.depth + wb * b.depth + wc * c.depth, [&] {
        const Vec3 light = a.light * wa + b.light * wb + c.light * wc;
        const float gloss = wa * a.gloss + wb * b.gloss + wc * c.gloss;
        const float u = wa * a.u + wb * b.u + wc * c.u;
        const float v = wa * a.v + wb * b.v + wc * c.v;
        return sample(texture, u, v) * light + Vec3{gloss, gloss, gloss};
      });
    }
  }
}

}  // namespace

void draw_mesh(std::span<const Vertex> vertices, int columns, int rows, const Canvas& texture,
               Scene& scene) {
  for (int j = 0; j + 1 < rows; ++j) {
    for (int i = 0; i + 1 < columns; ++i) {
      const Vertex* corner = &vertices[static_cast<std::size_t>(j * columns + i)];
      draw_triangle(corner[0], corner[1], corner[columns], texture, scene);
      draw_triangle(corner[1], corner[columns + 1], corner[columns], texture, scene);
    }
  }
}

}  // namespace facet::synth
