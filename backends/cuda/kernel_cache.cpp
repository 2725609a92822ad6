#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <system_error>

#include "backends/cuda/nvrtc.h"
#include "backends/cuda/nvrtc_options.h"
#include "ir/hash.h"

namespace facet::cuda {
namespace {

constexpr std::string_view kMagic = "facet kernel 1\n";
constexpr const char* kExtension = ".fck";

/// Everything that decides the code.
std::string key_of(const KernelSource& kernel, int architecture) {
  return fmt::format("nvrtc {}\n{}\n{}\n{}{}", nvrtc_version(),
                     fmt::join(nvrtc_options(architecture), " "), kernel.name, kernel_prelude(),
                     kernel.text);
}

/// Numbers as they lie in memory: the folder belongs to one machine.
template <class T>
void append(std::string& bytes, const T& value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

/// Reads what `append` wrote; false at the end of the bytes.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  template <class T>
  bool read(T& value) {
    if (rest_.size() < sizeof(value)) return false;
    std::memcpy(&value, rest_.data(), sizeof(value));
    rest_.remove_prefix(sizeof(value));
    return true;
  }
  bool read(std::string& text) {
    std::uint64_t size = 0;
    if (!read(size) || size > rest_.size()) return false;
    text = rest_.substr(0, static_cast<std::size_t>(size));
    rest_.remove_prefix(text.size());
    return true;
  }
  bool skip(std::string_view expected) {
    if (!rest_.starts_with(expected)) return false;
    rest_.remove_prefix(expected.size());
    return true;
  }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

void append_text(std::string& bytes, std::string_view text) {
  append(bytes, static_cast<std::uint64_t>(text.size()));
  bytes += text;
}

}  // namespace

CompiledKernel KernelCache::get(const KernelSource& kernel, int architecture) {
  const std::string key = key_of(kernel, architecture);
  Hasher hasher;
  hasher.text(key);
  const std::filesystem::path path = folder_ / fmt::format("{:016x}{}", hasher.value(), kExtension);
  if (std::optional<CompiledKernel> known = read(path, key)) return *std::move(known);
  CompiledKernel made = compile_kernel(kernel, architecture);
  ++compiled_;
  write(path, key, made);
  return made;
}

std::optional<CompiledKernel> KernelCache::read(const std::filesystem::path& path,
                                                const std::string& key) const {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  Reader reader(bytes);
  std::string known_key;
  CompiledKernel kernel;
  const bool is_whole = reader.skip(kMagic) && reader.read(known_key) &&
                        reader.read(kernel.resources) && reader.read(kernel.code) &&
                        reader.at_end();
  if (!is_whole || known_key != key) return std::nullopt;
  std::error_code ignored;
  std::filesystem::last_write_time(path, std::filesystem::file_time_type::clock::now(), ignored);
  return kernel;
}

void KernelCache::write(const std::filesystem::path& path, const std::string& key,
                        const CompiledKernel& kernel) const {
  std::string bytes(kMagic);
  append_text(bytes, key);
  append(bytes, kernel.resources);
  append_text(bytes, kernel.code);
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  // Others may write the same file: each writes its own and renames it.
  static std::atomic<int> written = 0;
  const std::filesystem::path own = path.string() + fmt::format(".{}.{}", ::getpid(), written++);
  {
    std::ofstream file(own, std::ios::binary | std::ios::trunc);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!file.flush()) error = std::make_error_code(std::errc::io_error);
  }
  if (!error) std::filesystem::rename(own, path, error);
  if (error) {
    std::filesystem::remove(own, error);
    return;
  }
  trim(path);
}

void KernelCache::trim(const std::filesystem::path& newest) const {
  struct Entry {
    std::filesystem::path path;
    std::filesystem::file_time_type used;
    std::size_t bytes;
  };
  std::vector<Entry> entries;
  std::size_t sum = 0;
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(folder_, error)) {
    if (file.path().extension() != kExtension) continue;
    const auto bytes = static_cast<std::size_t>(file.file_size(error));
    if (error) continue;  // another process has deleted it
    sum += bytes;
    if (file.path() != newest) entries.push_back({file.path(), file.last_write_time(error), bytes});
  }
  std::ranges::sort(entries, {}, &Entry::used);
  for (const Entry& entry : entries) {
    if (sum <= limit_) break;
    std::filesystem::remove(entry.path, error);
    sum -= entry.bytes;
  }
}

}  // namespace facet::cuda
