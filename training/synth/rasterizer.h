#pragma once

#include <span>
#include <vector>

#include "training/synth/canvas.h"

namespace facet::synth {

/// A corner of the head's mesh, ready to be drawn.
struct Vertex {
  float x = 0;  ///< in pixels of the scene
  float y = 0;
  float depth = 0;  ///< larger is nearer
  float u = 0;      ///< in pixels of the texture
  float v = 0;
  Vec3 light;       ///< what the texture's colour is multiplied by
  float gloss = 0;  ///< what is added to all channels
};

/// Draws a mesh of `columns` x `rows` vertices, row by row, whose colours come from `texture`. The
/// nearest point of a pixel wins; faces that look away are left out.
void draw_mesh(std::span<const Vertex> vertices, int columns, int rows, const Canvas& texture,
               Scene& scene);

}  // namespace facet::synth
