#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/formats/atomic_file.h"
#include "runtime/formats/mapped_file.h"

namespace facet {

/// What one record of a RecordFile holds.
struct Record {
  std::vector<float> labels;           ///< at least one
  std::span<const std::byte> picture;  ///< encoded; of identity records empty
  std::vector<std::byte> joined;       ///< holds `picture` if the record is in several parts
};

/// The pictures of an MXNet record file (`train.rec` and, beside it, `train.idx`) by number. The
/// file is mapped, nothing of it is copied but records in several parts. Immutable, so several
/// threads may read at once.
///
/// Two layouts are told apart by record 0. InsightFace's has no picture in it but the labels
/// [N + 1, N + 1 + identities]: the pictures are the keys 1 to N. In im2rec's every key is a
/// picture, in the order of the index. Without an index the records are found one behind the
/// other and numbered from 0; those without a picture are left out, and where something is no
/// record the search goes on behind it, so that it counts as one picture that cannot be read.
/// Format: dmlc-core's recordio.h, MXNet's recordio.py; specs of MLA-ArcFace, section 4.1 and 4.2.
class RecordFile {
 public:
  /// Opens `path` and the index beside it (with the extension .idx), if there is one. Throws
  /// Error(failure) that names the file, for an index that is none, that lacks a picture that
  /// record 0 promises, or has a key twice, for a damaged record 0, and for files without pictures.
  explicit RecordFile(const std::filesystem::path& path);
  /// The same of files that are open; `index` may be null.
  RecordFile(std::shared_ptr<const MappedFile> records,
             const std::shared_ptr<const MappedFile>& index);

  std::int64_t size() const { return static_cast<std::int64_t>(offsets_.size()); }
  std::int64_t key(std::int64_t item) const;
  /// "train.rec#17" with the key.
  std::string name(std::int64_t item) const;
  /// Throws Error(failure) that names file, key and byte, if the record is not whole.
  Record read(std::int64_t item) const;
  /// The label (of several the first) as a class. Throws as `read`, and if it is no whole number in
  /// [0, 2^31).
  std::int64_t label(std::int64_t item) const;
  std::string path() const { return records_->path(); }
  /// The number of classes that the file `property` beside it declares; 0 if there is none. Throws
  /// Error(failure) for one that is not "classes,height,width".
  std::int64_t declared_classes() const;

 private:
  struct Entry {
    std::int64_t key;
    std::uint64_t offset;
  };
  struct Part {
    std::uint32_t kind;  ///< cflag: 0 whole, 1 first, 2 middle, 3 last
    std::span<const std::byte> bytes;
    std::uint64_t end;  ///< where the next record or part begins
  };

  static std::vector<Entry> read_index(const MappedFile& index);
  void keep_listed(const std::vector<Entry>& entries, const std::string& index);
  void keep_insight_face(const std::vector<Entry>& entries, const Record& first,
                         const std::string& index);
  void scan();
  std::uint64_t next_record(std::uint64_t from) const;
  Part part_at(std::uint64_t offset) const;
  Record read_at(std::uint64_t offset, std::uint64_t* end = nullptr) const;
  static Record parse(std::span<const std::byte> payload, std::uint64_t offset);

  std::shared_ptr<const MappedFile> records_;
  std::vector<std::uint64_t> offsets_;  ///< of the pictures
  std::vector<std::int64_t> keys_;      ///< empty if they are first_key_, first_key_ + 1, ...
  std::int64_t first_key_ = 0;
};

/// The key behind the last picture, which record 0 of InsightFace's layout holds as f32: from 2^24
/// on it was rounded, and the first key near it that has no picture is meant. `has_picture` says
/// whether the record of a key has one; nothing if there is no such key.
std::int64_t end_of_pictures(float stored,
                             const std::function<std::optional<bool>(std::int64_t)>& has_picture);

/// Writes a record file in InsightFace's layout: `x.rec`, `x.idx` and, in the same folder,
/// `property`. The three appear complete when `finish` is called, or not at all; the bytes go to
/// the disk meanwhile, so that any size can be written. Not thread-safe.
class RecordWriter {
 public:
  /// `path` ends in .rec; `width` and `height` in pixels go into `property`. Throws Error(usage)
  /// for another name, Error(failure) as AtomicFile does.
  explicit RecordWriter(const std::filesystem::path& path, int width = 112, int height = 112);

  /// Adds an encoded picture. Classes come one after the other, as identity records give the range
  /// of a class: throws Error(usage) for a label below that of the last call or from 2^24 on (a
  /// record holds it as f32), Error(failure) for a picture of 512 MiB, and as AtomicFile does.
  void add(std::int64_t label, std::span<const std::byte> picture);
  /// Adds the identity records and puts the files in place. `classes` may be more than the labels
  /// that came. To be called once. Throws Error(usage) if there was no picture or `classes` is too
  /// small, Error(failure) as AtomicFile does.
  void finish(std::int64_t classes = 0);

  std::int64_t size() const { return key_ - 1; }  ///< pictures

 private:
  /// Writes in large pieces.
  struct Stream {
    explicit Stream(const std::filesystem::path& path) : file(path) {}
    void put(std::span<const std::byte> bytes);
    void put(std::string_view text) { put(std::as_bytes(std::span(text))); }
    void flush();

    AtomicFile file;
    std::vector<std::byte> waiting;
    std::uint64_t size = 0;  ///< with what waits
  };

  void put_record(std::int64_t key, std::span<const std::byte> payload);

  int width_;
  int height_;
  Stream records_;
  Stream index_;
  Stream property_;
  std::vector<std::byte> payload_;
  std::int64_t key_ = 1;                  ///< of the next picture
  std::vector<std::int64_t> first_keys_;  ///< by label
};

}  // namespace facet
