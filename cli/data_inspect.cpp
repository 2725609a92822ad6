#include <CLI/CLI.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "cli/common.h"
#include "cli/data_commands.h"
#include "ir/error.h"
#include "runtime/progress.h"
#include "training/data/protocol_sets.h"

namespace facet::cli {
namespace {

constexpr std::size_t kProblemsShown = 10;
constexpr std::size_t kSizesShown = 5;

struct InspectArguments {
  std::string path;
  std::string root;
  std::int64_t classes = 0;
  bool fast = false;
  int threads = 0;
  std::string json;
};

/// Pictures per class.
struct Classes {
  std::int64_t count = 0;
  std::int64_t empty = 0;
  std::pair<std::string, std::int64_t> smallest;  ///< of those that have pictures
  std::pair<std::string, std::int64_t> largest;
};

struct Findings {
  DataKind kind = DataKind::list;
  std::int64_t pictures = 0;
  std::optional<Classes> classes;
  std::optional<std::pair<std::int64_t, std::int64_t>> pairs;  ///< same, different
  std::vector<std::pair<std::string, std::int64_t>> parts;     ///< of a protocol
  std::map<std::pair<int, int>, std::int64_t> sizes;           ///< by width and height
  std::int64_t unusable = 0;                                   ///< entries
  std::int64_t unreadable = 0;                                 ///< pictures
  std::vector<std::string> problems;
  bool decoded = false;

  std::int64_t wrong() const { return unusable + unreadable; }
  void add(const LeftOut& left_out) {
    unusable += left_out.count;
    for (const std::string& problem : left_out.problems) add(problem);
  }
  void add(const std::string& problem) {
    if (problems.size() < kProblemsShown) problems.push_back(problem);
  }
};

Classes count_classes(const Dataset& data) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(data.class_count()));
  for (std::int64_t i = 0; i < data.size(); ++i) {
    ++counts.at(static_cast<std::size_t>(data.label(i)));
  }
  Classes classes;
  classes.count = data.class_count();
  for (std::size_t label = 0; label < counts.size(); ++label) {
    const std::pair named(data.class_names()[label], counts[label]);
    if (named.second == 0) {
      ++classes.empty;
      continue;
    }
    if (classes.smallest.second == 0 || named.second < classes.smallest.second) {
      classes.smallest = named;
    }
    if (named.second > classes.largest.second) classes.largest = named;
  }
  return classes;
}

/// Decodes every picture and notes its size, or why it cannot be read.
void decode_all(const PictureSet& pictures, int threads, Findings& findings) {
  Progress progress("inspect", pictures.size(), "images");
  std::mutex mutex;
  std::map<std::int64_t, std::string> broken;  // by number: threads meet them in any order
  for_each_number(pictures.size(), threads, [&](std::int64_t item) {
    std::pair<int, int> size;
    std::string problem;
    try {
      const Image image = pictures.load(item);
      size = {image.width, image.height};
    } catch (const Error& error) {
      problem = error.what();
    }
    const std::lock_guard lock(mutex);
    if (problem.empty()) {
      ++findings.sizes[size];
    } else {
      ++findings.unreadable;
      broken.emplace(item, std::move(problem));
      if (broken.size() > kProblemsShown) broken.erase(std::prev(broken.end()));
    }
    progress.advance(1);
  });
  progress.finish();
  for (const auto& [item, problem] : broken) findings.add(problem);
  findings.decoded = true;
}

void inspect_pictures(const PictureSet& pictures, const InspectArguments& arguments,
                      Findings& findings) {
  findings.pictures += pictures.size();
  if (!arguments.fast) decode_all(pictures, arguments.threads, findings);
}

void inspect_pairs(PairSet set, const InspectArguments& arguments, Findings& findings) {
  std::int64_t same = 0;
  for (const Pair& pair : set.pairs) same += pair.same ? 1 : 0;
  findings.pairs.emplace(same, static_cast<std::int64_t>(set.pairs.size()) - same);
  findings.add(set.left_out);
  inspect_pictures(*set.pictures, arguments, findings);
}

void inspect_labelled(const Dataset& data, const InspectArguments& arguments, Findings& findings) {
  findings.classes = count_classes(data);
  findings.add(data.left_out());
  inspect_pictures(data, arguments, findings);
}

void inspect_scface(const InspectArguments& arguments, Findings& findings) {
  const auto training = open_scface_training(arguments.path, BadEntries::leave_out);
  inspect_labelled(*training, arguments, findings);
  const IdentificationSet test = open_scface_test(arguments.path, BadEntries::leave_out);
  findings.parts = {{"training", training->size()},
                    {"gallery", static_cast<std::int64_t>(test.gallery.size())}};
  for (const auto& group : test.groups) {
    findings.parts.emplace_back(group.name, static_cast<std::int64_t>(group.probes.size()));
  }
  findings.add(test.pictures->left_out());
  inspect_pictures(*test.pictures, arguments, findings);
}

Findings inspect(const InspectArguments& arguments) {
  Findings findings;
  findings.kind = detect_data_kind(arguments.path);
  switch (findings.kind) {
    case DataKind::verification_bin:
      inspect_pairs(open_verification_bin(arguments.path), arguments, findings);
      break;
    case DataKind::pairs:
      inspect_pairs(open_pairs(arguments.path, arguments.root, BadEntries::leave_out), arguments,
                    findings);
      break;
    case DataKind::scface:
      inspect_scface(arguments, findings);
      break;
    case DataKind::fashion_mnist:
      inspect_labelled(*open_fashion_mnist(true, arguments.path), arguments, findings);
      findings.parts = {{"training", findings.pictures}};
      inspect_pictures(*open_fashion_mnist(false, arguments.path), arguments, findings);
      findings.parts.emplace_back("test", findings.pictures - findings.parts[0].second);
      break;
    default:
      inspect_labelled(*open_labelled(findings.kind, arguments.path, arguments.root,
                                      {arguments.classes, BadEntries::leave_out}),
                       arguments, findings);
  }
  return findings;
}

/// Sizes and how many have them, the most frequent first.
std::vector<std::pair<std::string, std::int64_t>> ranked(const Findings& findings) {
  std::vector<std::pair<std::string, std::int64_t>> sizes;
  for (const auto& [size, count] : findings.sizes) {
    sizes.emplace_back(fmt::format("{} x {}", size.first, size.second), count);
  }
  std::ranges::stable_sort(sizes, std::greater{}, &std::pair<std::string, std::int64_t>::second);
  return sizes;
}

std::string report(const InspectArguments& arguments, const Findings& findings) {
  std::string text = fmt::format("{}: {}\n  pictures  {}\n", arguments.path,
                                 to_string(findings.kind), grouped(findings.pictures));
  for (const auto& [name, count] : findings.parts) {
    text += fmt::format("  {:<9} {}\n", name, grouped(count));
  }
  if (findings.classes) {
    const Classes& classes = *findings.classes;
    text += fmt::format("  classes   {}, smallest '{}' with {}, largest '{}' with {}",
                        grouped(classes.count), classes.smallest.first,
                        grouped(classes.smallest.second), classes.largest.first,
                        grouped(classes.largest.second));
    text +=
        classes.empty == 0 ? "\n" : fmt::format(", {} without pictures\n", grouped(classes.empty));
  }
  if (findings.pairs) {
    text += fmt::format("  pairs     {} of one person, {} of two\n", grouped(findings.pairs->first),
                        grouped(findings.pairs->second));
  }
  const auto sizes = ranked(findings);
  for (std::size_t i = 0; i < std::min(sizes.size(), kSizesShown); ++i) {
    text += fmt::format("  {}{}: {}\n", i == 0 ? "sizes     " : "          ", sizes[i].first,
                        grouped(sizes[i].second));
  }
  if (sizes.size() > kSizesShown) {
    text += fmt::format("            and {} other sizes\n", sizes.size() - kSizesShown);
  }
  if (!findings.decoded) text += "  not decoded (--fast)\n";
  if (findings.wrong() == 0) return text + "  nothing is wrong with it\n";
  text += fmt::format("  wrong     {} entries cannot be used, {} pictures cannot be read\n",
                      grouped(findings.unusable), grouped(findings.unreadable));
  for (const std::string& problem : findings.problems) text += fmt::format("    {}\n", problem);
  if (findings.wrong() > static_cast<std::int64_t>(findings.problems.size())) text += "    ...\n";
  return text;
}

nlohmann::ordered_json to_json(const InspectArguments& arguments, const Findings& findings) {
  nlohmann::ordered_json json = {{"path", arguments.path},
                                 {"kind", to_string(findings.kind)},
                                 {"pictures", findings.pictures}};
  for (const auto& [name, count] : findings.parts) json["parts"][name] = count;
  if (findings.classes) {
    const Classes& classes = *findings.classes;
    json["classes"] = {
        {"count", classes.count},
        {"without_pictures", classes.empty},
        {"smallest", {{"name", classes.smallest.first}, {"pictures", classes.smallest.second}}},
        {"largest", {{"name", classes.largest.first}, {"pictures", classes.largest.second}}}};
  }
  if (findings.pairs) {
    json["pairs"] = {{"same", findings.pairs->first}, {"different", findings.pairs->second}};
  }
  json["decoded"] = findings.decoded;
  for (const auto& [size, count] : ranked(findings)) json["sizes"][size] = count;
  json["unusable_entries"] = findings.unusable;
  json["unreadable_pictures"] = findings.unreadable;
  json["problems"] = findings.problems;
  return json;
}

void run_inspect(InspectArguments arguments) {
  if (arguments.threads < 0) throw usage_error("--threads takes a number from 1 on");
  if (arguments.threads == 0) {
    arguments.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }
  const Findings findings = inspect(arguments);
  write_text("", report(arguments, findings));
  if (!arguments.json.empty()) {
    write_text(
        arguments.json,
        to_json(arguments, findings).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
            "\n");
  }
  if (findings.wrong() > 0) {
    throw failure(fmt::format("{}: {} problems, named above", arguments.path, findings.wrong()));
  }
}

}  // namespace

void add_data_inspect_command(CLI::App& data) {
  CLI::App* command =
      data.add_subcommand("inspect", "What a data set has in it and what is wrong with it");
  auto arguments = std::make_shared<InspectArguments>();
  command
      ->add_option("path", arguments->path,
                   "A record file (.rec), a verification file (.bin), a list of pictures or pairs, "
                   "SCface's folder, class folders, or Fashion-MNIST's folder")
      ->required()
      ->type_name("PATH");
  command
      ->add_option("--root", arguments->root, "The folder that the paths of a list are relative to")
      ->type_name("FOLDER");
  command->add_option("--classes", arguments->classes, "Labels from this number on are wrong")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--fast", arguments->fast, "Decode no picture");
  command->add_option("--threads", arguments->threads, "Threads that decode (default: all)")
      ->type_name("N");
  command->add_option("--json", arguments->json, "Write the findings here, too")->type_name("FILE");
  command->callback([arguments] { run_inspect(*arguments); });
}

}  // namespace facet::cli
