#pragma once

#include <cstdint>

namespace facet::cpu {

/// A place among the tiles of images, which goes on without the divisions that find one: column by
/// column, row by row, image by image.
class TileCursor {
 public:
  TileCursor(std::int64_t tile, std::int64_t rows, std::int64_t columns)
      : image(tile / columns / rows),
        row(tile / columns % rows),
        column(tile % columns),
        rows_(rows),
        columns_(columns) {}

  void advance() {
    if (++column < columns_) return;
    column = 0;
    if (++row < rows_) return;
    row = 0;
    ++image;
  }

  std::int64_t image, row, column;  ///< of the tile; rows and columns of tiles

 private:
  std::int64_t rows_, columns_;
};

}  // namespace facet::cpu
