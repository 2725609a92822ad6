#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "runtime/formats/image.h"

namespace facet {

/// A picture that was found, and the cosine similarity to what was asked for.
struct Match {
  Image image;
  double similarity = 0;
};

/// One query with its matches, best first.
struct SheetRow {
  Image query;
  std::vector<Match> matches;
};

/// A sheet of pictures, one row a query: the query at the left in a frame, a gap, then its matches
/// with the similarity to three digits below each. Every picture is resized to fit a square of
/// `tile` pixels; its aspect ratio is kept. Throws Error(usage) for no rows or a tile below 16
/// pixels, Error(failure) for a sheet too large.
Image contact_sheet(std::span<const SheetRow> rows, int tile = 96);

/// Draws digits, '.' and '-' (other characters leave a gap) in a 5 x 7 font, each pixel of it
/// `scale` pixels wide, with the top left corner at (x, y). What lies outside the image is cut off.
void draw_digits(Image& image, int x, int y, std::string_view text, int scale);
/// Pixels `draw_digits` needs for the text, without the gap behind its last character.
int digits_width(std::string_view text, int scale);

}  // namespace facet
