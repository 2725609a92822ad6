#include "training/synth/render.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <vector>

#include "tests/training/synth/faces.h"
#include "training/synth/camera.h"
#include "training/synth/head.h"
#include "training/synth/scene.h"

namespace facet::test {
namespace {

using synth::Capture;
using synth::FaceIdentity;
using synth::render_face;
using synth::Vec3;
using synth::View;

// Whoever changes what the renderer draws changes the sets that others trained on: these numbers
// and kRendererVersion of synth_sets.cpp then change, knowingly.
TEST(RenderFace, GivesTheSameBitsOnEveryMachine) {
  std::vector<std::uint64_t> hashes;
  for (std::uint64_t number = 0; number < 6; ++number) {
    const FaceIdentity face = person(number);
    hashes.push_back(pixel_hash(render_face(face, snapshot(face, number))));
  }
  const FaceIdentity face = person(9);
  hashes.push_back(pixel_hash(render_face(face, synth::draw_mugshot(face, Random(7, 2, 0)))));
  hashes.push_back(
      pixel_hash(render_face(face, synth::draw_surveillance(face, 3, 1, Random(7, 3, 0)))));
  EXPECT_THAT(hashes,
              testing::ElementsAre(0x272d5ad17d256c66U, 0x25519fc81b370714U, 0xf03386baef8f92f6U,
                                   0x98ee8f6b940c81fdU, 0xda481ebf952021b7U, 0xefa0b25f9b79b03fU,
                                   0xc417838fb7d523d2U, 0x512086d2efa478d7U));
}

TEST(RenderFace, IsAPureFunction) {
  const FaceIdentity face = person(3);
  const Capture capture = snapshot(face, 4);
  const Image first = render_face(face, capture);
  EXPECT_EQ(first.width, synth::kPictureSize);
  EXPECT_EQ(first.height, synth::kPictureSize);
  render_face(person(5), snapshot(person(5), 5));
  EXPECT_EQ(render_face(face, capture).pixels, first.pixels);
}

TEST(RenderFace, ShowsAnotherPictureForEveryPartOfACapture) {
  const FaceIdentity face = person(2);
  const Capture plain = synth::draw_mugshot(face, Random(7, 4, 0));
  const Image before = render_face(face, plain);
  const auto changed = [&](auto&& change) {
    Capture capture = plain;
    change(capture);
    return difference(before, render_face(face, capture));
  };
  EXPECT_GT(changed([](Capture& c) { c.yaw += 0.4F; }), 4);
  EXPECT_GT(changed([](Capture& c) { c.pitch += 0.25F; }), 2);
  EXPECT_GT(changed([](Capture& c) { c.lighting.lights[0].direction = {-0.9F, 0, 0.43F}; }), 2);
  EXPECT_GT(changed([](Capture& c) { c.expression.mouth_open = 8; }), 0.2);
  EXPECT_GT(changed([](Capture& c) { c.expression.smile += 0.8F; }), 0.2);
  EXPECT_GT(changed([](Capture& c) { c.expression.lids = 0; }), 0.05);
  EXPECT_GT(changed([](Capture& c) { c.wear.glasses = synth::Wear::Glasses::dark; }), 1);
  EXPECT_GT(changed([](Capture& c) { c.wear.hat = true; }), 1);
  for (const auto cover :
       {synth::Wear::Cover::bar, synth::Wear::Cover::hand, synth::Wear::Cover::patch}) {
    EXPECT_GT(changed([&](Capture& c) {
                c.wear.cover = cover;
                c.wear.cover_x = 56;
                c.wear.cover_y = 60;
                c.wear.cover_color = {0, 0.6F, 0};
              }),
              1);
  }
  EXPECT_GT(changed([](Capture& c) { c.camera.exposure *= 1.6F; }), 5);
  EXPECT_GT(changed([](Capture& c) { c.camera.resolution = 14; }), 2);
  EXPECT_GT(changed([](Capture& c) { c.camera.motion = 6; }), 0.5);
  EXPECT_GT(changed([](Capture& c) { c.background = {0.9F, 0, 0}; }), 1);
}

TEST(RenderFace, TellsPersonsApartInEqualPictures) {
  for (std::uint64_t number = 10; number < 16; ++number) {
    const FaceIdentity face = person(number);
    const Capture capture = synth::draw_mugshot(face, Random(7, 4, number));
    FaceIdentity other = person(number + 1);
    // Colours alike: what differs is geometry and texture.
    other.skin = face.skin;
    other.hair_color = face.hair_color;
    other.iris_color = face.iris_color;
    EXPECT_GT(difference(render_face(face, capture), render_face(other, capture)), 3) << number;
  }
}

TEST(View, AlignsLandmarksToInsightFaces) {
  const float expected[5][2] = {{38.2946F, 51.6963F},
                                {73.5318F, 51.5014F},
                                {56.0252F, 71.7366F},
                                {41.5493F, 92.3655F},
                                {70.7299F, 92.2041F}};
  for (std::uint64_t number = 0; number < 40; ++number) {
    const FaceIdentity face = person(number);
    Capture capture = synth::draw_mugshot(face, Random(7, 5, number));
    capture.roll = 0.7F;  // alignment takes it out
    capture.shift_x = capture.shift_y = capture.turn = 0;
    capture.zoom = 1;
    const synth::Head head(face, capture.expression, 0);
    const View view(head, capture, 112);
    double sum = 0;
    const auto landmarks = head.landmarks();
    for (std::size_t i = 0; i < 5; ++i) {
      const Vec3 place = view.project(landmarks[i]);
      const float x = place.x - expected[i][0];
      const float y = place.y - expected[i][1];
      sum += x * x + y * y;
    }
    EXPECT_LT(sum / 5, 4.5 * 4.5) << number;  // squared pixels: faces differ
  }
}

TEST(Compress, LosesMoreTheLargerTheStep) {
  const FaceIdentity face = person(1);
  const Image image = render_face(face, synth::draw_mugshot(face, Random(7, 4, 1)));
  double last = 0;
  for (const int step : {1, 4, 10}) {
    Image coarse = image;
    synth::compress(coarse, step);
    const double loss = difference(image, coarse);
    EXPECT_GT(loss, last) << step;
    EXPECT_LT(loss, 12) << step;
    last = loss;
  }
  Image odd = make_image(13, 5);  // blocks beyond the edge
  std::ranges::fill(odd.pixels, std::uint8_t{90});
  synth::compress(odd, 1);
  EXPECT_THAT(odd.pixels, testing::Each(testing::AllOf(testing::Ge(88), testing::Le(92))));
}

TEST(Rotation, TurnsAsItSays) {
  const Vec3 front = {0, 0, 1};
  EXPECT_NEAR(synth::rotation(0.5, 0, 0).apply(front).x, 0.4794255, 1e-6);
  EXPECT_NEAR(synth::rotation(0, 0.5, 0).apply(front).y, 0.4794255, 1e-6);
  const Vec3 right = synth::rotation(0, 0, 0.5).apply({1, 0, 0});
  EXPECT_NEAR(right.x, 0.8775826, 1e-6);
  EXPECT_NEAR(right.y, 0.4794255, 1e-6);
  const Vec3 all = synth::rotation(0.7, -1.1, 2.9).apply({0.3F, -0.5F, 0.2F});
  EXPECT_NEAR(synth::dot(all, all), 0.38, 1e-6);
}

}  // namespace
}  // namespace facet::test
