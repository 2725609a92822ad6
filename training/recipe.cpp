#include "training/recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <utility>

#include "ir/error.h"
#include "training/recipe_fields.h"

namespace facet {
namespace {

constexpr std::string_view kSettings = "model.settings";
constexpr std::string_view kBase = "base";

std::string trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const auto first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(kBlanks) - first + 1));
}

/// Sets fields by name and says where the values came from if they are wrong.
class Reader {
 public:
  explicit Reader(Recipe& recipe) : recipe_(recipe), fields_(recipe_fields(recipe)) {}

  void set(const std::string& section, const std::string& name,
           const std::vector<std::string>& values, std::string_view origin) {
    const std::string full_name = section + "." + name;
    if (section == kSettings) {
      recipe_.model.settings[name] = fmt::format("{}", fmt::join(values, ","));
      return;
    }
    const RecipeField& field = find(section, name, origin);
    try {
      field.read(values);
    } catch (const Error& error) {
      throw usage_error(fmt::format("{}: {} {}", origin, full_name, error.what()));
    }
  }

  /// Throws for a section that there is not.
  void check_section(const std::string& section, std::string_view origin) const {
    std::vector<std::string> known = {std::string(kSettings)};
    for (const RecipeField& field : fields_) known.push_back(field.section);
    known.erase(std::unique(known.begin(), known.end()), known.end());
    if (std::ranges::find(known, section) != known.end()) return;
    const std::string hint = did_you_mean(section, known);
    throw usage_error(fmt::format(
        "{}: there is no section [{}]; {}", origin, section,
        hint.empty() ? fmt::format("the sections are {}", fmt::join(known, ", ")) : hint));
  }

  /// The options of a base's network are not those of another one.
  void take_network(const std::vector<std::string>& name) {
    if (name != std::vector{recipe_.model.name}) recipe_.model.settings.clear();
  }

  bool is_list(const std::string& section, const std::string& name) const {
    const auto field = std::ranges::find_if(fields_, [&](const RecipeField& known) {
      return known.section == section && known.name == name;
    });
    return field != fields_.end() && field->list;
  }

 private:
  const RecipeField& find(const std::string& section, const std::string& name,
                          std::string_view origin) const {
    check_section(section, origin);
    std::vector<std::string> names;
    std::string elsewhere;
    for (const RecipeField& field : fields_) {
      if (field.section == section && field.name == name) return field;
      if (field.section == section) names.push_back(field.name);
      if (field.name == name) elsewhere = fmt::format("did you mean '{}'?", field.full_name());
    }
    const std::string hint = elsewhere.empty() ? did_you_mean(name, names) : elsewhere;
    throw usage_error(fmt::format("{}: there is no field {}.{}{}{}", origin, section, name,
                                  hint.empty() ? "" : "; ", hint));
  }

  Recipe& recipe_;
  std::vector<RecipeField> fields_;
};

std::vector<CLI::ConfigItem> parse_toml(std::string_view text, std::string_view origin) {
  std::istringstream stream{std::string(text)};
  try {
    return CLI::ConfigTOML().from_config(stream);
  } catch (const CLI::Error& error) {
    throw usage_error(fmt::format("{}: is not TOML: {}", origin, error.what()));
  } catch (const std::exception& error) {  // the reader lets some of its own through
    throw usage_error(fmt::format("{}: is not TOML: {}", origin, error.what()));
  }
}

std::string section_of(const CLI::ConfigItem& item) {
  return trimmed(fmt::format("{}", fmt::join(item.parents, ".")));
}

/// What the recipe says ahead of its sections about its base; empty: it has none.
std::string base_of(std::string_view text, std::string_view origin) {
  std::string base;
  for (const CLI::ConfigItem& item : parse_toml(text, origin)) {
    if (item.name != kBase || !section_of(item).empty()) continue;
    if (!base.empty() || item.inputs.size() != 1 || item.inputs[0].empty()) {
      throw usage_error(fmt::format("{}: base takes the name of one recipe", origin));
    }
    base = item.inputs[0];
  }
  return base;
}

/// The recipe and its bases, the farthest first.
std::vector<RecipeText> with_bases(RecipeText recipe, const FindRecipe& find) {
  std::vector<RecipeText> chain = {std::move(recipe)};
  for (;;) {
    const RecipeText& last = chain.back();
    const std::string name = base_of(last.text, last.origin);
    if (name.empty()) break;
    if (!find) {
      throw usage_error(fmt::format("{}: the base '{}' cannot be looked up here; give the whole recipe",
                                    last.origin, name));
    }
    RecipeText base;
    try {
      base = find(name, last.origin);
    } catch (Error& error) {
      throw error.add_context(fmt::format("reading the base '{}' of {}", name, last.origin));
    }
    std::vector<std::string> path;
    for (const RecipeText& one : chain) path.push_back(one.origin);
    path.push_back(base.origin);
    if (std::ranges::find(chain, base.origin, &RecipeText::origin) != chain.end()) {
      throw usage_error(fmt::format("the bases of {} lead back to a recipe that was there already: {}",
                                    path.front(), fmt::join(path, " -> ")));
    }
    chain.push_back(std::move(base));
  }
  std::ranges::reverse(chain);
  return chain;
}

void read_file(Reader& reader, std::string_view text, std::string_view origin) {
  std::set<std::string> seen;
  const std::vector<CLI::ConfigItem> items = parse_toml(text, origin);
  for (const CLI::ConfigItem& item : items) {
    if (item.name == "name" && section_of(item) == "model") reader.take_network(item.inputs);
  }
  for (const CLI::ConfigItem& item : items) {
    const std::string section = section_of(item);
    if (item.name == "--") continue;  // a section ends
    if (section.empty() && item.name == kBase) continue;
    if (section.empty()) {
      throw usage_error(
          fmt::format("{}: the field {} is outside the sections; put it below a line "
                      "such as [training]",
                      origin, item.name));
    }
    if (item.name == "++") {  // a section begins
      reader.check_section(section, origin);
      continue;
    }
    if (!seen.insert(section + "." + item.name).second) {
      throw usage_error(fmt::format("{}: {}.{} is given twice", origin, section, item.name));
    }
    reader.set(section, item.name, item.inputs, origin);
  }
}

/// The parts of "1, 2" or "[1, 2]"; none of "" and "[]".
std::vector<std::string> list_of(std::string_view text) {
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  std::vector<std::string> parts;
  if (trimmed(text).empty()) return parts;
  for (;;) {
    const auto comma = text.find(',');
    parts.push_back(trimmed(text.substr(0, comma)));
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

void apply_override(Reader& reader, const std::string& text) {
  const std::string origin = fmt::format("'{}'", text);
  const auto equals = text.find('=');
  const std::string name = trimmed(std::string_view(text).substr(0, equals));
  const auto dot = name.rfind('.');
  if (equals == std::string::npos || dot == std::string::npos) {
    throw usage_error(
        fmt::format("{}: write section.field=value, as in training.epochs=5", origin));
  }
  const std::string section = name.substr(0, dot);
  const std::string field = name.substr(dot + 1);
  std::string value = trimmed(std::string_view(text).substr(equals + 1));
  if (reader.is_list(section, field)) return reader.set(section, field, list_of(value), origin);
  if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') &&
      value.back() == value.front()) {
    value = value.substr(1, value.size() - 2);
  }
  reader.set(section, field, {value}, origin);
}

void check_partial_fc(const Recipe& recipe) {
  if (recipe.partial_fc.sample_rate == 1) return;
  using Kind = LossRecipe::Kind;
  if (recipe.loss.kind != Kind::arcface && recipe.loss.kind != Kind::cosface) {
    throw usage_error("partial_fc.sample_rate below 1 samples the centres of a margin loss; it needs "
                      "loss.kind \"arcface\" or \"cosface\"");
  }
  if (recipe.optimizer.ema_decay > 0) {
    throw usage_error("optimizer.ema_decay averages all of the centres at every step, which "
                      "partial_fc.sample_rate below 1 is to avoid; set one of them back");
  }
  if (recipe.partial_fc.version == PartialFcRecipe::Version::v2 &&
      recipe.optimizer.kind != OptimizerRecipe::Kind::sgd) {
    throw usage_error("partial_fc.version \"v2\" needs optimizer.kind \"sgd\", whose steps without a "
                      "gradient can be made up for exactly; with others take version \"v1\"");
  }
}

}  // namespace

Recipe parse_recipe(std::string_view text, std::string_view origin,
                    const std::vector<std::string>& overrides, const FindRecipe& find_base) {
  Recipe recipe;
  Reader reader(recipe);
  for (const RecipeText& one : with_bases({std::string(text), std::string(origin)}, find_base)) {
    read_file(reader, one.text, one.origin);
  }
  for (const std::string& override_text : overrides) apply_override(reader, override_text);
  try {
    check_recipe(recipe);
  } catch (const Error& error) {
    throw usage_error(fmt::format("{}: {}", origin, error.what()));
  }
  return recipe;
}

namespace {

bool is_file_name(const std::string& name) {
  return name.ends_with(".toml") || name.find('/') != std::string::npos;
}

RecipeText read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file || std::filesystem::is_directory(path)) {
    throw failure(fmt::format("{}: the recipe cannot be read: {}", path.string(),
                              file ? "it is a folder" : std::strerror(errno)));
  }
  return {std::string{std::istreambuf_iterator<char>(file), {}}, path.lexically_normal().string()};
}

}  // namespace

Recipe read_recipe(const std::filesystem::path& path, const std::vector<std::string>& overrides,
                   const FindRecipe& find_base) {
  const RecipeText recipe = read_text(path);
  const FindRecipe find = [&](const std::string& name, const std::string& origin) {
    if (is_file_name(name)) return read_text(std::filesystem::path(origin).parent_path() / name);
    if (find_base) return find_base(name, origin);
    throw usage_error(fmt::format("there is no recipe '{}'; name a .toml file", name));
  };
  return parse_recipe(recipe.text, recipe.origin, overrides, find);
}

namespace {

void check_evaluation(const EvaluationRecipe& evaluation) {
  using Metric = EvaluationRecipe::Metric;
  if (evaluation.metric == Metric::verification && evaluation.pairs.empty()) {
    throw usage_error("evaluation.metric is \"verification\", but evaluation.pairs names no pairs");
  }
  if (evaluation.metric == Metric::rank1 && evaluation.identification.empty()) {
    throw usage_error("evaluation.metric is \"rank1\", but evaluation.identification names no set");
  }
  if (evaluation.pca > 0 && evaluation.protocol != EvaluationRecipe::Protocol::insightface) {
    throw usage_error("evaluation.pca is for evaluation.protocol \"insightface\"");
  }
}

}  // namespace

void check_recipe(const Recipe& recipe) {
  check_partial_fc(recipe);
  check_evaluation(recipe.evaluation);
  if (recipe.model.name.empty()) {
    throw usage_error("model.name is empty; name a network of the zoo");
  }
  const DataRecipe& data = recipe.data;
  if (data.train.empty() && data.kind == DataRecipe::Kind::folder) {
    throw usage_error(
        data.description.empty()
            ? "data.train is empty; name the folder that has a folder for every class"
            : fmt::format("data.train is empty; it trains on {}: say where that is, as in "
                          "data.train=/path",
                          data.description));
  }
  if (data.train.empty() && (data.kind == DataRecipe::Kind::record ||
                             data.kind == DataRecipe::Kind::list ||
                             data.kind == DataRecipe::Kind::scface)) {
    throw usage_error("data.train is empty; name the record file, the list or SCface's folder");
  }
  if (data.holdout >= 0 && data.kind != DataRecipe::Kind::list) {
    throw usage_error("data.holdout needs data.kind \"list\"");
  }
  if ((recipe.data.height == 0) != (recipe.data.width == 0)) {
    throw usage_error("data.height and data.width must both be given, or both be 0");
  }
  if (std::ranges::find(recipe.data.std, 0.0F) != recipe.data.std.end()) {
    throw usage_error("data.std has a 0; pictures are divided by it");
  }
  check_augmentation(recipe.augmentation);
  check_scales(recipe.scales);
  check_schedule(recipe.schedule, recipe.training.epochs);
  const OptimizerRecipe& optimizer = recipe.optimizer;
  if (optimizer.nesterov &&
      (optimizer.kind != OptimizerRecipe::Kind::sgd || optimizer.momentum == 0)) {
    throw usage_error("optimizer.nesterov needs optimizer.kind \"sgd\" and a momentum above 0");
  }
  if (recipe.augmentation.cut_mix > 0 && recipe.loss.kind != LossRecipe::Kind::cross_entropy) {
    throw usage_error("augmentation.cut_mix needs loss.kind \"cross_entropy\"");
  }
  if (recipe.augmentation.cut_mix > 0 && !recipe.scales.sizes.empty()) {
    throw usage_error("augmentation.cut_mix cannot mix the pictures of several scales; clear one of "
                      "the two: augmentation.cut_mix or scales.sizes");
  }
  if (!recipe.data.drop_last && optimizer.accumulate > 1) {
    throw usage_error("data.drop_last = false makes a smaller step of the last batch, which "
                      "optimizer.accumulate above 1 has no place for");
  }
  if (recipe.model.init_branches && recipe.model.init.empty()) {
    throw usage_error("model.init_branches starts branches as a trained trunk; name its weights in "
                      "model.init");
  }
}

std::string to_toml(const Recipe& recipe) {
  Recipe copy = recipe;
  std::string text;
  std::string section;
  const auto begin_section = [&](std::string_view name) {
    if (!text.empty()) text += "\n";
    text += fmt::format("[{}]\n", name);
    section = name;
  };
  for (const RecipeField& field : recipe_fields(copy)) {
    if (field.section != section) {
      if (section == "model" && !copy.model.settings.empty()) {
        begin_section(kSettings);
        for (const auto& [name, value] : copy.model.settings) {
          text += fmt::format("{} = {}\n", name, toml_string(value));
        }
      }
      begin_section(field.section);
    }
    text += fmt::format("{} = {}\n", field.name, field.write());
  }
  return text;
}

std::string describe_changes(const Recipe& before, const Recipe& after) {
  Recipe old_copy = before;
  Recipe new_copy = after;
  const auto old_fields = recipe_fields(old_copy);
  const auto new_fields = recipe_fields(new_copy);
  std::string text;
  for (std::size_t i = 0; i < new_fields.size(); ++i) {
    const std::string was = old_fields[i].write();
    const std::string is = new_fields[i].write();
    if (was != is) text += fmt::format("{}: {}, was {}\n", new_fields[i].full_name(), is, was);
  }
  if (before.model.settings != after.model.settings) {
    text +=
        fmt::format("model.settings: {}, was {}\n", after.model.settings, before.model.settings);
  }
  return text;
}

}  // namespace facet
