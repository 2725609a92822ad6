#include <CLI/CLI.hpp>
#include <filesystem>
#include <numeric>

#include "cli/common.h"
#include "cli/data_commands.h"
#include "ir/error.h"
#include "runtime/formats/mapped_file.h"
#include "runtime/formats/preprocess.h"
#include "runtime/formats/record_file.h"
#include "runtime/formats/verification_bin.h"
#include "runtime/progress.h"
#include "training/data/protocol_sets.h"

namespace facet::cli {
namespace {

constexpr std::int64_t kAtATime = 1024;  // pictures in memory

struct PackArguments {
  std::string source;
  std::string root;
  std::string pairs;
  std::string output;
  int size = 0;
  int quality = 95;
  bool skip_bad = false;
  int threads = 0;
};

/// An encoded picture, or why there is none.
struct Packed {
  std::vector<std::byte> bytes;
  std::string problem;
  int width = 0;
  int height = 0;
};

bool is_jpeg(std::span<const std::byte> bytes) {
  return bytes.size() > 2 && bytes[0] == std::byte{0xFF} && bytes[1] == std::byte{0xD8};
}

/// JPEG files that keep their size are taken as they are; all are decoded, so that none is broken.
Packed pack_one(const PictureSet& set, std::int64_t item, const PackArguments& arguments) {
  Packed packed;
  try {
    Image image = set.load(item);
    if (arguments.size > 0) {
      image = resize(image, arguments.size, arguments.size, Filter::bilinear);
    }
    packed.width = image.width;
    packed.height = image.height;
    std::error_code ignored;
    const std::string name = set.name(item);
    if (arguments.size == 0 && std::filesystem::is_regular_file(name, ignored)) {
      const auto file = MappedFile::open(name);
      if (is_jpeg(file->bytes())) packed.bytes.assign(file->bytes().begin(), file->bytes().end());
    }
    if (packed.bytes.empty()) packed.bytes = encode_jpeg(image, arguments.quality);
  } catch (const Error& error) {
    packed.problem = error.what();
    if (!arguments.skip_bad) throw;
  }
  return packed;
}

/// Packs `items` in this order and hands them on with their place in it.
template <class Take>
void pack_all(const PictureSet& set, const std::vector<std::int64_t>& items,
              const PackArguments& arguments, Take&& take) {
  Progress progress("pack", static_cast<std::int64_t>(items.size()), "images");
  for (std::size_t begin = 0; begin < items.size(); begin += kAtATime) {
    const auto count =
        static_cast<std::int64_t>(std::min<std::size_t>(kAtATime, items.size() - begin));
    std::vector<Packed> packed(static_cast<std::size_t>(count));
    for_each_number(count, arguments.threads, [&](std::int64_t i) {
      const auto place = static_cast<std::size_t>(i);
      packed[place] = pack_one(set, items[begin + place], arguments);
    });
    for (std::size_t i = 0; i < packed.size(); ++i) take(begin + i, std::move(packed[i]));
    progress.advance(count);
  }
  progress.finish();
}

void say_left_out(LeftOut& left_out) {
  if (left_out.count == 0) return;
  fmt::print(stderr, "{} entries cannot be used and were left out; the first:\n", left_out.count);
  for (const std::string& problem : left_out.problems) fmt::print(stderr, "  {}\n", problem);
}

void pack_records(const PackArguments& arguments) {
  const BadEntries bad = arguments.skip_bad ? BadEntries::leave_out : BadEntries::stop;
  const auto data = open_labelled(detect_data_kind(arguments.source), arguments.source,
                                  arguments.root, {.bad_entries = bad});
  std::vector<std::int64_t> items(static_cast<std::size_t>(data->size()));
  std::iota(items.begin(), items.end(), std::int64_t{0});
  // A record file has class behind class.
  std::ranges::stable_sort(items, {}, [&](std::int64_t item) { return data->label(item); });
  LeftOut left_out = data->left_out();
  std::unique_ptr<RecordWriter> writer;
  pack_all(*data, items, arguments, [&](std::size_t place, Packed packed) {
    if (!packed.problem.empty()) return left_out.add(packed.problem);
    if (!writer)
      writer = std::make_unique<RecordWriter>(arguments.output, packed.width, packed.height);
    writer->add(data->label(items[place]), packed.bytes);
  });
  say_left_out(left_out);
  if (!writer) throw failure(fmt::format("{}: has no picture that can be read", arguments.source));
  const std::int64_t size = writer->size();
  writer->finish(data->class_count());
  write_text("", fmt::format("{}: {} pictures of {} classes\n", arguments.output, grouped(size),
                             grouped(data->class_count())));
}

void pack_pairs(const PackArguments& arguments) {
  const BadEntries bad = arguments.skip_bad ? BadEntries::leave_out : BadEntries::stop;
  const PairSet set = open_pairs(arguments.pairs, arguments.source, bad);
  std::vector<std::int64_t> items;
  for (const Pair& pair : set.pairs) {
    items.push_back(pair.first);
    items.push_back(pair.second);
  }
  LeftOut left_out = set.left_out;
  std::vector<std::vector<std::byte>> pictures;
  std::vector<bool> same;
  Packed first;
  pack_all(*set.pictures, items, arguments, [&](std::size_t place, Packed packed) {
    if (place % 2 == 0) {
      first = std::move(packed);
      return;
    }
    const std::string& problem = first.problem.empty() ? packed.problem : first.problem;
    if (!problem.empty()) return left_out.add(problem);
    pictures.push_back(std::move(first.bytes));
    pictures.push_back(std::move(packed.bytes));
    same.push_back(set.pairs[place / 2].same);
  });
  say_left_out(left_out);
  if (same.empty()) {
    throw failure(fmt::format("{}: has no pair whose pictures can be read", arguments.pairs));
  }
  write_verification_bin(arguments.output, pictures, same);
  write_text("", fmt::format("{}: {} pairs\n", arguments.output,
                             grouped(static_cast<std::int64_t>(same.size()))));
}

void run_pack(PackArguments arguments) {
  if (arguments.threads == 0) {
    arguments.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }
  const std::string wanted = arguments.pairs.empty() ? ".rec" : ".bin";
  if (std::filesystem::path(arguments.output).extension() != wanted) {
    throw usage_error(fmt::format("data pack: --output {}: {} become a file named *{}",
                                  arguments.output,
                                  arguments.pairs.empty() ? "labelled pictures" : "pairs", wanted));
  }
  if (arguments.pairs.empty()) {
    pack_records(arguments);
  } else {
    pack_pairs(arguments);
  }
}

}  // namespace

void add_data_pack_command(CLI::App& data) {
  CLI::App* command = data.add_subcommand(
      "pack",
      "Makes a record file (.rec, .idx, property) of class folders or a list, or with --pairs a "
      "verification file (.bin)");
  auto arguments = std::make_shared<PackArguments>();
  command
      ->add_option("source", arguments->source,
                   "Class folders, a list, another set with labels; with --pairs the folder of the "
                   "pictures")
      ->required()
      ->type_name("SOURCE");
  command->add_option("--output", arguments->output, "The file to write")
      ->required()
      ->type_name("FILE.rec|FILE.bin");
  command->add_option("--pairs", arguments->pairs, "LFW's pairs.txt, or lines \"a.jpg b.jpg 1\"")
      ->type_name("FILE");
  command
      ->add_option("--root", arguments->root, "The folder that the paths of a list are relative to")
      ->type_name("FOLDER");
  command
      ->add_option("--size", arguments->size,
                   "Resize pictures to N x N pixels; without it JPEG files stay as they are")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 14));
  command->add_option("--quality", arguments->quality, "Of the JPEGs that are made")
      ->type_name("N")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->add_flag("--skip-bad", arguments->skip_bad,
                    "Leave out what cannot be used, with a count, instead of ending");
  command
      ->add_option("--threads", arguments->threads, "Threads that work on pictures (default: all)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  command->callback([arguments] { run_pack(*arguments); });
}

}  // namespace facet::cli
