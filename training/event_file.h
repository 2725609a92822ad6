#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

namespace facet {

/// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78) of `bytes`.
std::uint32_t crc32c(std::span<const std::byte> bytes);

/// Scalars over steps for TensorBoard: a file of its own in `folder`, one record per scalar in the
/// TFRecord framing, each an `Event` message. Every record is flushed, so what a killed training
/// wrote is readable. One thread uses it.
class EventFile {
 public:
  /// Creates the folder if it is missing and a new file "events.out.tfevents.SECONDS.HOST.facet" in
  /// it (with a number behind it if that exists). With `resumed_at` of 0 or more, TensorBoard drops
  /// what earlier files of the folder have at that step and behind it. Throws Error(failure).
  explicit EventFile(const std::filesystem::path& folder, std::int64_t resumed_at = -1);

  /// `step` is the iteration or the epoch; the tag's part before the last "/" groups the charts.
  /// Throws Error(failure) if it cannot be written.
  void scalar(std::string_view tag, std::int64_t step, double value);

  const std::filesystem::path& path() const { return path_; }

 private:
  void write_event(std::int64_t step, std::string_view fields);
  void write_record(std::string_view data);

  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace facet
