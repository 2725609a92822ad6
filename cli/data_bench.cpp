#include <turbojpeg.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "cli/common.h"
#include "cli/data_commands.h"
#include "ir/error.h"
#include "runtime/formats/mapped_file.h"
#include "runtime/formats/record_file.h"
#include "training/loader.h"

namespace facet::cli {
namespace {

constexpr std::int64_t kMostPictures = 4096;  // that are measured, again and again

struct BenchArguments {
  std::string path;
  std::string root;
  int size = 0;
  std::int64_t batch = 64;
  double flip = 0.5;
  std::vector<int> threads = {1};
  double seconds = 3;
  std::string json;
};

/// The first pictures of a set, or all.
class FirstPictures : public Dataset {
 public:
  FirstPictures(const Dataset& all, std::int64_t size) : all_(all), size_(size) {}
  std::int64_t size() const override { return size_; }
  const std::vector<std::string>& class_names() const override { return all_.class_names(); }
  std::int64_t label(std::int64_t item) const override { return all_.label(item); }
  std::string name(std::int64_t item) const override { return all_.name(item); }
  Image load(std::int64_t item) const override { return all_.load(item); }
  void load_into(std::int64_t item, Image& image) const override { all_.load_into(item, image); }
  bool load_to(std::int64_t item, int width, int height,
               std::span<std::uint8_t> pixels) const override {
    return all_.load_to(item, width, height, pixels);
  }
  std::uint64_t fingerprint() const override { return all_.fingerprint(); }

 private:
  const Dataset& all_;
  std::int64_t size_;
};

/// The same pictures as they are stored.
struct Encoded {
  std::vector<std::span<const std::byte>> pictures;
  std::vector<Record> records;
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::unique_ptr<RecordFile> record_file;
};

Encoded encoded_pictures(const Dataset& data, DataKind kind, const std::string& path) {
  Encoded encoded;
  if (kind == DataKind::record) encoded.record_file = std::make_unique<RecordFile>(path);
  for (std::int64_t item = 0; item < data.size(); ++item) {
    if (encoded.record_file) {
      encoded.records.push_back(encoded.record_file->read(item));
      encoded.pictures.push_back(encoded.records.back().picture);
    } else {
      encoded.files.push_back(MappedFile::open(data.name(item)));
      encoded.pictures.push_back(encoded.files.back()->bytes());
    }
  }
  return encoded;
}

/// TurboJPEG as fast as it goes: one decoder, one buffer, the flags of Facet's own decoding.
class BareDecoder {
 public:
  explicit BareDecoder(const Encoded& encoded) : encoded_(encoded), decoder_(tjInitDecompress()) {
    if (decoder_ == nullptr) throw failure("libjpeg cannot start");
  }
  ~BareDecoder() { tjDestroy(decoder_); }
  BareDecoder(const BareDecoder&) = delete;
  BareDecoder& operator=(const BareDecoder&) = delete;

  void next() {
    const auto bytes = encoded_.pictures[next_];
    next_ = (next_ + 1) % encoded_.pictures.size();
    const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
    int width = 0;
    int height = 0;
    int subsampling = 0;
    int colours = 0;
    if (tjDecompressHeader3(decoder_, data, bytes.size(), &width, &height, &subsampling,
                            &colours) != 0) {
      throw failure("data bench compares with TurboJPEG alone and takes JPEG pictures only");
    }
    buffer_.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
    constexpr int kFlags = TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS;
    if (tjDecompress2(decoder_, data, bytes.size(), buffer_.data(), width, 3 * width, height,
                      TJPF_RGB, kFlags) != 0) {
      throw failure(fmt::format("a picture cannot be decoded: {}", tjGetErrorStr2(decoder_)));
    }
  }

 private:
  const Encoded& encoded_;
  tjhandle decoder_;
  std::vector<unsigned char> buffer_;
  std::size_t next_ = 0;
};

/// Wall-clock and processor time of all threads, in seconds, and what was done in it.
struct Measure {
  double wall = 0;
  double processor = 0;
  std::int64_t pictures = 0;

  double rate() const { return static_cast<double>(pictures) / wall; }
  double microseconds() const { return processor * 1e6 / static_cast<double>(pictures); }
};

double processor_seconds() {
  timespec time = {};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

/// Until no thread has anything to do: then a loader is as far ahead as it goes.
void wait_until_idle() {
  constexpr auto kPause = std::chrono::milliseconds(5);
  constexpr double kIdle = 0.0005;  // of the pause, for the waking
  for (double last = processor_seconds();;) {
    std::this_thread::sleep_for(kPause);
    const double now = processor_seconds();
    if (now - last < kIdle) return;
    last = now;
  }
}

/// Calls `work`, which says how many pictures it did, until `seconds` are over. It begins and ends
/// idle, so that what a loader reads ahead is counted once.
template <class Work>
void measure(Measure& result, double seconds, Work&& work) {
  using Clock = std::chrono::steady_clock;
  wait_until_idle();
  const double processor = processor_seconds();
  const auto start = Clock::now();
  const auto wall = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  do {
    result.pictures += work();
  } while (wall() < seconds);
  wait_until_idle();
  result.wall += wall();
  result.processor += processor_seconds() - processor;
}

Preprocess settings_of(const Dataset& data, int size) {
  Preprocess settings;
  const Image first = data.load(0);
  settings.width = size > 0 ? size : first.width;
  settings.height = size > 0 ? size : first.height;
  return settings;
}

void run_bench(const BenchArguments& arguments) {
  const DataKind kind = detect_data_kind(arguments.path);
  if (kind == DataKind::fashion_mnist) {
    throw usage_error("data bench compares with TurboJPEG; Fashion-MNIST has no JPEG pictures");
  }
  const auto all = open_labelled(kind, arguments.path, arguments.root, {});
  const FirstPictures data(*all, std::min(all->size(), kMostPictures));
  const Encoded encoded = encoded_pictures(data, kind, arguments.path);
  const Preprocess settings = settings_of(data, arguments.size);
  Augmentation augmentation;
  augmentation.flip = arguments.flip;

  // They take turns, so that what else the machine does meets both.
  constexpr int kRounds = 5;
  Measure bare;
  Measure normalized;
  std::vector<Measure> loaded(arguments.threads.size());
  BareDecoder decoder(encoded);
  HostTensor values;
  for (int round = 0; round < kRounds; ++round) {
    measure(bare, arguments.seconds / kRounds, [&] {
      for (int i = 0; i < 64; ++i) decoder.next();
      return std::int64_t{64};
    });
    for (std::size_t i = 0; i < loaded.size(); ++i) {
      LoaderOptions options;
      options.batch = std::min(arguments.batch, data.size());
      options.threads = arguments.threads[i];
      options.bytes = true;
      Loader loader(data, settings, augmentation, options);
      Batch batch;
      measure(loaded[i], arguments.seconds / kRounds, [&] {
        batch = *loader.next();
        return static_cast<std::int64_t>(batch.items.size());
      });
      if (i > 0) continue;
      const std::vector<std::int64_t> shape = batch.pixels.shape();
      if (values.empty()) values = HostTensor(DType::f32, {shape[0], 3, shape[1], shape[2]});
      measure(normalized, arguments.seconds / kRounds / 5, [&] {
        normalize_into(batch.pixels, settings, values);
        return shape[0];
      });
    }
  }
  std::string text = fmt::format("{}: {} pictures, to {} x {}\n{:<28}{:>12}{:>18}{:>12}\n",
                                 arguments.path, grouped(data.size()), settings.width,
                                 settings.height, "", "images/s", "processor us", "of bare");
  const auto add = [&](const std::string& name, const Measure& one) {
    text += fmt::format("{:<28}{:>12.0f}{:>18.1f}{:>12.2f}\n", name, one.rate(), one.microseconds(),
                        bare.microseconds() / one.microseconds());
  };
  add("TurboJPEG alone", bare);
  nlohmann::ordered_json json = {
      {"path", arguments.path},
      {"pictures", data.size()},
      {"bare", {{"images_per_s", bare.rate()}, {"processor_us", bare.microseconds()}}}};
  for (std::size_t i = 0; i < loaded.size(); ++i) {
    add(fmt::format("Loader, {} thread{}", arguments.threads[i],
                    arguments.threads[i] == 1 ? "" : "s"),
        loaded[i]);
    json["loader"].push_back({{"threads", arguments.threads[i]},
                              {"images_per_s", loaded[i].rate()},
                              {"processor_us", loaded[i].microseconds()}});
  }
  add("bytes to f32, by the step", normalized);
  json["normalize"] = {{"images_per_s", normalized.rate()},
                       {"processor_us", normalized.microseconds()}};
  write_text("", text);
  if (!arguments.json.empty()) write_text(arguments.json, json.dump(2) + "\n");
}

}  // namespace

void add_data_bench_command(CLI::App& data) {
  CLI::App* command = data.add_subcommand(
      "bench",
      "How fast pictures are loaded for a training, beside TurboJPEG's bare decoding of them");
  auto arguments = std::make_shared<BenchArguments>();
  command
      ->add_option("path", arguments->path,
                   "Class folders, a list or a record file of JPEG pictures")
      ->required()
      ->type_name("PATH");
  command
      ->add_option("--root", arguments->root, "The folder that the paths of a list are relative to")
      ->type_name("FOLDER");
  command
      ->add_option("--size", arguments->size,
                   "Pixels of the network's input (default: the pictures')")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 14));
  command->add_option("--batch", arguments->batch, "Pictures of a batch")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--flip", arguments->flip, "Probability of mirroring")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--threads", arguments->threads, "Loader threads, several numbers with commas")
      ->type_name("N,...")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--seconds", arguments->seconds, "To measure each")
      ->check(CLI::Range(0.01, 3600.0))
      ->capture_default_str();
  command->add_option("--json", arguments->json, "Write the numbers here, too")->type_name("FILE");
  command->callback([arguments] { run_bench(*arguments); });
}

}  // namespace facet::cli
