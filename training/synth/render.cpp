#include "training/synth/render.h"

#include <cstddef>
#include <vector>

#include "training/synth/camera.h"
#include "training/synth/face_texture.h"
#include "training/synth/head.h"
#include "training/synth/rasterizer.h"
#include "training/synth/scene.h"

namespace facet::synth {
namespace {

/// Rendered larger and reduced, which smooths the silhouette; textures are antialiased themselves.
constexpr int kRenderSize = 132;
// The mesh: columns around the head, denser in front, and rows from the crown to the chin.
constexpr int kColumns = 49;
constexpr int kRows = 46;
constexpr float kReach = 78;  // |t|: a little behind the ears
constexpr float kTop = -61;

struct MeshPoint {
  float t = 0;
  float y = 0;
  Vec3 place;
};

std::vector<MeshPoint> mesh_of(const FaceIdentity& face, const Head& head) {
  std::vector<MeshPoint> points;
  points.reserve(static_cast<std::size_t>(kColumns * kRows));
  float columns[kColumns];
  Turn turns[kColumns];
  for (int i = 0; i < kColumns; ++i) {
    const float s = 2 * static_cast<float>(i) / (kColumns - 1) - 1;
    columns[i] = kReach * s * (0.55F + 0.45F * s * s);
    turns[i] = turn(columns[i] / kAround);
  }
  const float bottom = face.head.chin - 0.1F;
  for (int j = 0; j < kRows; ++j) {
    const float y = mix(kTop, bottom, static_cast<float>(j) / (kRows - 1));
    for (int i = 0; i < kColumns; ++i)
      points.push_back({columns[i], y, head.point(columns[i], y, turns[i])});
  }
  return points;
}

/// The outward normal at a mesh point from its neighbours.
Vec3 normal_at(const std::vector<MeshPoint>& points, int column, int row) {
  const auto place = [&](int i, int j) {
    i = std::clamp(i, 0, kColumns - 1);
    j = std::clamp(j, 0, kRows - 1);
    return points[static_cast<std::size_t>(j * kColumns + i)].place;
  };
  return normalized(cross(place(column + 1, row) - place(column - 1, row),
                          place(column, row + 1) - place(column, row - 1)));
}

std::vector<Vertex> project(const std::vector<MeshPoint>& points, const View& view,
                            const Lighting& lighting, const Canvas& texture) {
  std::vector<Vertex> vertices(points.size());
  for (int j = 0; j < kRows; ++j) {
    for (int i = 0; i < kColumns; ++i) {
      const auto index = static_cast<std::size_t>(j * kColumns + i);
      const MeshPoint& point = points[index];
      const Vec3 seen = view.project(point.place);
      const Vec3 normal = view.turned(normal_at(points, i, j));
      Vertex& vertex = vertices[index];
      vertex.x = seen.x;
      vertex.y = seen.y;
      vertex.depth = seen.z;
      vertex.u = texture.column(point.t);
      vertex.v = texture.row(point.y);
      vertex.light = light_on(lighting, normal);
      // Blinn's highlight of the first light: the bright spots on nose, brow and cheeks.
      const Vec3 half = normalized(lighting.lights[0].direction + Vec3{0, 0, 1});
      const float shine = square(square(square(std::max(dot(normal, half), 0.0F))));
      vertex.gloss = lighting.gloss * shine * shine * lighting.lights[0].color.y;
    }
  }
  return vertices;
}

}  // namespace

Image render_face(const FaceIdentity& face, const Capture& capture) {
  const Head head(face, capture.expression, capture.wear.hair_lift);
  const View view(head, capture, kRenderSize);
  const Canvas texture = paint_face(face, capture, head);
  Scene scene(kRenderSize);
  draw_mesh(project(mesh_of(face, head), view, capture.lighting, texture), kColumns, kRows, texture,
            scene);
  paint_background(capture, scene);
  paint_behind(face, capture, view, head, scene);
  paint_in_front(face, capture, view, head, scene);
  return expose(scene, capture.camera, capture.salt, kPictureSize);
}

}  // namespace facet::synth
