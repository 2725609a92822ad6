#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "training/synth/noise.h"
#include "training/synth/vector.h"

namespace facet::synth {

/// A part of a canvas in its units.
struct Box {
  float left = 0;
  float top = 0;
  float right = 0;
  float bottom = 0;
};

inline Box box_around(float x, float y, float half_width, float half_height) {
  return {x - half_width, y - half_height, x + half_width, y + half_height};
}

/// Linear-light colours on a grid of `scale` pixels per unit whose upper left corner is (left,
/// top).
class Canvas {
 public:
  Canvas(int width, int height, float left, float top, float scale, Vec3 color = {})
      : width_(width),
        height_(height),
        left_(left),
        top_(top),
        scale_(scale),
        pixels_(static_cast<std::size_t>(width) * static_cast<std::size_t>(height), color) {}

  int width() const { return width_; }
  int height() const { return height_; }
  float scale() const { return scale_; }
  /// Unit coordinates to pixel coordinates in which the first pixel's centre is 0.
  float column(float x) const { return (x - left_) * scale_ - 0.5F; }
  float row(float y) const { return (y - top_) * scale_ - 0.5F; }
  Vec3& at(int x, int y) { return pixels_[place(x, y)]; }
  const Vec3& at(int x, int y) const { return pixels_[place(x, y)]; }

  /// Calls `change(x, y, color)` for the pixels of the box, x and y in units.
  template <class Change>
  void visit(const Box& box, Change change) {
    visit_places(box, [&](float x, float y, std::size_t place) { change(x, y, pixels_[place]); });
  }

  /// How much of a pixel lies inside of an edge `distance` units away, positive inside.
  float cover(float distance) const { return unit(0.5F + distance * scale_); }

 protected:
  /// Calls `act(x, y, place)` with a pixel's number.
  template <class Act>
  void visit_places(const Box& box, Act act) const {
    const int first_x = std::max(whole_below(column(box.left)), 0);
    const int last_x = std::min(whole_below(column(box.right)) + 1, width_ - 1);
    const int first_y = std::max(whole_below(row(box.top)), 0);
    const int last_y = std::min(whole_below(row(box.bottom)) + 1, height_ - 1);
    const float step = 1 / scale_;
    for (int j = first_y; j <= last_y; ++j) {
      const float y = top_ + (static_cast<float>(j) + 0.5F) * step;
      for (int i = first_x; i <= last_x; ++i) {
        act(left_ + (static_cast<float>(i) + 0.5F) * step, y, place(i, j));
      }
    }
  }
  std::size_t place(int x, int y) const {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) +
           static_cast<std::size_t>(x);
  }
  Vec3& pixel(std::size_t place) { return pixels_[place]; }

 private:
  int width_;
  int height_;
  float left_;
  float top_;
  float scale_;
  std::vector<Vec3> pixels_;
};

/// A picture on its way: with the depth of what was drawn into it. Its units are pixels whose
/// centres lie at whole numbers.
class Scene : public Canvas {
 public:
  explicit Scene(int side)
      : Canvas(side, side, -0.5F, -0.5F, 1), depth_(place(0, side), kNothing) {}

  /// Puts a colour there unless something nearer is; `color()` is only asked if so.
  template <class Color>
  void put(int x, int y, float depth, Color color) {
    const std::size_t at = place(x, y);
    if (depth <= depth_[at]) return;
    depth_[at] = depth;
    pixel(at) = color();
  }
  /// `visit` for the pixels into which nothing was put.
  template <class Change>
  void visit_behind(const Box& box, Change change) {
    visit_places(box, [&](float x, float y, std::size_t at) {
      if (depth_[at] == kNothing) change(x, y, pixel(at));
    });
  }
  Box all() const { return {0, 0, static_cast<float>(width()), static_cast<float>(height())}; }

 private:
  static constexpr float kNothing = -1e30F;
  std::vector<float> depth_;
};

/// Puts a colour over another.
inline void blend(Vec3& pixel, Vec3 color, float alpha) { pixel = mix(pixel, color, alpha); }
/// Multiplies by a colour, `alpha` of it.
inline void tint(Vec3& pixel, Vec3 factor, float alpha) {
  pixel = pixel * mix(Vec3{1, 1, 1}, factor, alpha);
}

/// A soft spot of a colour's multiple: bump() of the ellipse.
inline void shade_ellipse(Canvas& canvas, float x, float y, float half_width, float half_height,
                          Vec3 factor, float strength) {
  canvas.visit(box_around(x, y, half_width, half_height), [&](float px, float py, Vec3& pixel) {
    const float d = square((px - x) / half_width) + square((py - y) / half_height);
    tint(pixel, factor, strength * bump(d));
  });
}

/// An ellipse with a sharp, antialiased edge.
inline void fill_ellipse(Canvas& canvas, float x, float y, float half_width, float half_height,
                         Vec3 color, float alpha = 1) {
  const float radius = std::min(half_width, half_height);
  canvas.visit(
      box_around(x, y, half_width + 1, half_height + 1), [&](float px, float py, Vec3& pixel) {
        const float d = root(square((px - x) / half_width) + square((py - y) / half_height));
        blend(pixel, color, alpha * canvas.cover((1 - d) * radius));
      });
}

}  // namespace facet::synth
