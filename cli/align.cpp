#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include "ir/error.h"
#include "runtime/formats/image.h"
#include "training/evaluation/alignment.h"
#include "training/evaluation/templates.h"

namespace facet::cli {
namespace {

struct AlignArguments {
  std::string image;
  std::string landmarks;
  std::string list;
  std::string output;
  int size = 112;
};

std::vector<Point> parse_landmarks(std::string_view text) {
  std::vector<double> numbers;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    double value = 0;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc() || (next != end && *next != ',')) {
      throw usage_error("--landmarks takes x1,y1,x2,y2,... in pixels");
    }
    numbers.push_back(value);
    at = next == end ? end : next + 1;
  }
  if (numbers.size() % 2 != 0) throw usage_error("--landmarks has an x without y");
  std::vector<Point> points;
  for (std::size_t i = 0; i < numbers.size(); i += 2)
    points.push_back({numbers[i], numbers[i + 1]});
  face_points(points);  // throws for another number than 5 and 68
  return points;
}

void align_list(const AlignArguments& arguments) {
  const std::filesystem::path from(arguments.image);
  const std::filesystem::path to(arguments.output);
  const std::vector<DetectedFace> faces = read_detected_faces(arguments.list);
  for (const DetectedFace& face : faces) {
    const std::filesystem::path file = (to / face.name).replace_extension(".png");
    std::filesystem::create_directories(file.parent_path());
    write_png(file, align_face(read_image(from / face.name), face.points, arguments.size));
  }
  write_text("", fmt::format("{}: {} faces\n", arguments.output,
                             grouped(static_cast<std::int64_t>(faces.size()))));
}

void run_align(const AlignArguments& arguments) {
  if (arguments.size < 1 || arguments.size > 4096)
    throw usage_error("--size is from 1 to 4096 pixels");
  if (arguments.landmarks.empty() == arguments.list.empty()) {
    throw usage_error("give --landmarks for one image, or --list for a folder, one of the two");
  }
  if (!arguments.list.empty()) return align_list(arguments);
  const std::vector<Point> landmarks = parse_landmarks(arguments.landmarks);
  if (!arguments.output.ends_with(".png")) {
    throw usage_error(fmt::format("--output {}: name a file .png", arguments.output));
  }
  write_png(arguments.output, align_face(read_image(arguments.image), landmarks, arguments.size));
  write_text("", fmt::format("{}: a face of {} x {} pixels\n", arguments.output, arguments.size,
                             arguments.size));
}

}  // namespace

void add_align_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("align", "Cut faces out by their landmarks, upright and of one size");
  auto arguments = std::make_shared<AlignArguments>();
  command
      ->add_option("image", arguments->image,
                   "A photo (JPEG, PNG); with --list the folder of the photos")
      ->required()
      ->type_name("IMAGE|FOLDER");
  command
      ->add_option(
          "--landmarks", arguments->landmarks,
          "5 points (eyes, nose, corners of the mouth, from the image's left) or 68, in pixels")
      ->type_name("x1,y1,x2,y2,...");
  command
      ->add_option("--list", arguments->list,
                   "Lines 'name x1 y1 ... x5 y5 score' of photos in the folder")
      ->type_name("FILE");
  command->add_option("--output", arguments->output, "The face; with --list a folder, names kept")
      ->required()
      ->type_name("FILE.png|FOLDER");
  command->add_option("--size", arguments->size, "Pixels of a side")->capture_default_str();
  command->callback([arguments] { run_align(*arguments); });
}

}  // namespace facet::cli
