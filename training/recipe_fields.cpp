#include "training/recipe_fields.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <utility>

#include "ir/error.h"

namespace facet {
namespace {

constexpr double kMost = std::numeric_limits<double>::max();
constexpr std::int64_t kMostInteger = std::numeric_limits<std::int64_t>::max();

template <class Number>
Number parse_number(const std::string& text, std::string_view what) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw usage_error(fmt::format("is \"{}\", which is not {}", text, what));
  }
  return value;
}

void expect_one(const std::vector<std::string>& values) {
  if (values.size() == 1) return;
  throw usage_error(
      fmt::format("has {} values ({}), it takes one; text with blanks or commas needs "
                  "quotes",
                  values.size(), fmt::join(values, ", ")));
}

/// Makes the fields of one section after the other. A field is bound by the type of its member.
class Builder {
 public:
  std::vector<RecipeField> fields;

  void section(std::string name) { section_ = std::move(name); }

  void add(const char* name, std::string& value) {
    put(
        name, [&value](const auto& given) { value = one(given); },
        [&value] { return toml_string(value); });
  }

  void add(const char* name, bool& value) {
    put(
        name,
        [&value](const auto& given) {
          const std::string& text = one(given);
          if (text != "true" && text != "false") {
            throw usage_error(fmt::format("is \"{}\"; it must be true or false", text));
          }
          value = text == "true";
        },
        [&value] { return std::string(value ? "true" : "false"); });
  }

  template <std::integral Number>
  void add(const char* name, Number& value, std::int64_t least, std::int64_t most = kMostInteger) {
    put(
        name,
        [&value, least, most](const auto& given) {
          const auto number = parse_number<std::int64_t>(one(given), "a whole number");
          if (number < least || number > most) {
            throw usage_error(
                most == kMostInteger
                    ? fmt::format("is {}; it must be at least {}", number, least)
                    : fmt::format("is {}; it must be from {} to {}", number, least, most));
          }
          value = static_cast<Number>(number);
        },
        [&value] { return fmt::format("{}", value); });
  }

  void add_seed(const char* name, std::uint64_t& value) {
    put(
        name,
        [&value](const auto& given) {
          value = parse_number<std::uint64_t>(one(given), "a whole number from 0 to 2^64 - 1");
        },
        [&value] { return fmt::format("{}", value); });
  }

  void add(const char* name, double& value, double least, double most = kMost) {
    put(
        name,
        [&value, least, most](const auto& given) {
          const auto number = parse_number<double>(one(given), "a number");
          if (!(number >= least && number <= most)) {
            throw usage_error(
                most == kMost
                    ? fmt::format("is {}; it must be at least {}", number, least)
                    : fmt::format("is {}; it must be from {} to {}", number, least, most));
          }
          value = number;
        },
        [&value] { return fmt::format("{}", value); });
  }

  void add(const char* name, std::array<float, 3>& value) {
    put(
        name,
        [&value](const auto& given) {
          if (given.size() != value.size()) {
            throw usage_error(
                fmt::format("has {} values; it takes one for each of 3 channels", given.size()));
          }
          for (std::size_t i = 0; i < value.size(); ++i) {
            value[i] = parse_number<float>(given[i], "a number");
            if (!std::isfinite(value[i]))
              throw usage_error(fmt::format("has the value {}", value[i]));
          }
        },
        [&value] { return fmt::format("[{}]", fmt::join(value, ", ")); });
    fields.back().list = true;
  }

  void add(const char* name, std::vector<std::int64_t>& value) {
    put(
        name,
        [&value](const auto& given) {
          std::vector<std::int64_t> numbers;
          for (const std::string& text : given) {
            numbers.push_back(parse_number<std::int64_t>(text, "a whole number"));
          }
          value = std::move(numbers);
        },
        [&value] { return fmt::format("[{}]", fmt::join(value, ", ")); });
    fields.back().list = true;
  }

  void add(const char* name, std::vector<std::string>& value) {
    put(
        name, [&value](const auto& given) { value = given; },
        [&value] {
          std::vector<std::string> quoted;
          for (const std::string& text : value) quoted.push_back(toml_string(text));
          return fmt::format("[{}]", fmt::join(quoted, ", "));
        });
    fields.back().list = true;
  }

  /// Each from `least` to `most`.
  void add(const char* name, std::vector<double>& value, double least, double most) {
    put(
        name,
        [&value, least, most](const auto& given) {
          std::vector<double> numbers;
          for (const std::string& text : given) {
            numbers.push_back(parse_number<double>(text, "a number"));
            if (!(numbers.back() >= least && numbers.back() <= most)) {
              throw usage_error(
                  fmt::format("has the value {}; it must be from {} to {}", text, least, most));
            }
          }
          value = std::move(numbers);
        },
        [&value] { return fmt::format("[{}]", fmt::join(value, ", ")); });
    fields.back().list = true;
  }

  /// An enumeration; `names` in the order of its values.
  template <class Enum>
  void choice(const char* name, Enum& value, std::vector<std::string> names) {
    put(
        name,
        [&value, names](const auto& given) {
          const std::string& text = one(given);
          for (std::size_t i = 0; i < names.size(); ++i) {
            if (names[i] != text) continue;
            value = static_cast<Enum>(i);
            return;
          }
          throw usage_error(
              fmt::format("is \"{}\"; it must be one of: {}", text, fmt::join(names, ", ")));
        },
        [&value, names] { return toml_string(names.at(static_cast<std::size_t>(value))); });
  }

  void add(const char* name, RecomputePolicy& value) {
    put(
        name, [&value](const auto& given) { value = parse_recompute(one(given), ""); },
        [&value] { return toml_string(to_string(value)); });
  }

 private:
  static const std::string& one(const std::vector<std::string>& values) {
    expect_one(values);
    return values.front();
  }
  void put(const char* name, std::function<void(const std::vector<std::string>&)> read,
           std::function<std::string()> write) {
    fields.push_back({section_, name, std::move(read), std::move(write), false});
  }

  std::string section_;
};

void add_model_and_data(Builder& b, Recipe& recipe) {
  b.section("model");
  b.add("name", recipe.model.name);
  b.add("init", recipe.model.init);
  b.add("init_skip", recipe.model.init_skip);
  b.add("init_branches", recipe.model.init_branches);
  b.add("frozen", recipe.model.frozen);
  b.add("fixed_bn", recipe.model.fixed_bn);
  b.section("data");
  DataRecipe& data = recipe.data;
  b.choice("kind", data.kind, {"fashion_mnist", "folder", "synth", "record", "list", "scface"});
  b.add("train", data.train);
  b.add("description", data.description);
  b.add("validation", data.validation);
  b.add("root", data.root);
  b.add("classes", data.classes, 0, 1 << 30);
  b.add("holdout", data.holdout, -1, 9);
  b.add("height", data.height, 0, 1 << 14);
  b.add("width", data.width, 0, 1 << 14);
  b.add("mean", data.mean);
  b.add("std", data.std);
  b.choice("fit", data.fit, {"stretch", "center_crop"});
  b.add("resize", data.resize, 0, 1 << 14);
  b.choice("filter", data.filter, {"bilinear", "bicubic", "lanczos"});
  b.choice("on_bad_image", data.on_bad_image, {"skip", "stop"});
  b.add("loader_threads", data.loader_threads, 1, 1024);
  b.choice("sampler", data.sampler, {"shuffle", "classes"});
  b.add("per_class", data.per_class, 1, 1 << 20);
  b.add("drop_last", data.drop_last);
}

// The range of the sizes is `check_scales`'.
void add_scales(Builder& b, Scales& scales) {
  b.section("scales");
  b.add("sizes", scales.sizes);
  b.choice("filter", scales.filter, {"bilinear", "bicubic", "lanczos"});
  b.add("aligned", scales.aligned);
}

// The ranges of these are `open_synth_dataset`'s.
void add_synth(Builder& b, SynthRecipe& synth) {
  b.section("synth");
  b.add("identities", synth.identities, 1, std::int64_t{1} << 32);
  b.add("images_per_identity", synth.images_per_identity, 1, 1 << 20);
  b.add("validation_images", synth.validation_images, 0, 1 << 20);
  b.add_seed("seed", synth.seed);
  b.add("difficulty", synth.difficulty, 0, 2);
}

// The ranges of these are `check_augmentation`'s.
void add_augmentation(Builder& b, Augmentation& a) {
  b.section("augmentation");
  b.choice("crop", a.crop, {"none", "random", "resized"});
  b.add("crop_padding", a.crop_padding, 0, 1 << 14);
  const std::pair<const char*, double*> numbers[] = {
      {"area_min", &a.area_min},
      {"area_max", &a.area_max},
      {"aspect_min", &a.aspect_min},
      {"aspect_max", &a.aspect_max},
      {"flip", &a.flip},
      {"jitter", &a.jitter},
      {"brightness", &a.brightness},
      {"contrast", &a.contrast},
      {"saturation", &a.saturation},
      {"hue", &a.hue},
      {"greyscale", &a.greyscale},
      {"blur", &a.blur},
      {"blur_sigma_min", &a.blur_sigma_min},
      {"blur_sigma_max", &a.blur_sigma_max},
      {"tensor_brightness", &a.tensor_brightness},
      {"tensor_contrast", &a.tensor_contrast},
      {"tensor_saturation", &a.tensor_saturation},
      {"lighting", &a.lighting},
      {"erase", &a.erase},
      {"erase_min", &a.erase_min},
      {"erase_max", &a.erase_max},
      {"cut_mix", &a.cut_mix},
      {"cut_mix_beta", &a.cut_mix_beta},
  };
  for (const auto& [name, value] : numbers) b.add(name, *value, 0);
}

void add_loss_and_optimizer(Builder& b, LossRecipe& loss, PartialFcRecipe& partial_fc,
                            OptimizerRecipe& optimizer) {
  b.section("loss");
  b.choice("kind", loss.kind, {"cross_entropy", "arcface", "cosface", "dcr_trunk", "dcr_coupled"});
  b.add("label_smoothing", loss.label_smoothing, 0, 0.999999);
  b.add("scale", loss.scale, 1e-6);
  b.add("margin", loss.margin, 0, 3.141592653589793);
  b.choice("variant", loss.variant, {"straight_through", "threshold", "autograd"});
  b.add("filter_threshold", loss.filter_threshold, 0, 1);
  b.add("center_weight", loss.center_weight, 0);
  b.add("distance_weight", loss.distance_weight, 0);
  b.add("center_update", loss.center_update, 0, 1);
  b.section("partial_fc");
  b.add("sample_rate", partial_fc.sample_rate, 1e-9, 1);
  b.choice("version", partial_fc.version, {"v1", "v2"});
  b.section("optimizer");
  b.choice("kind", optimizer.kind, {"sgd", "adam", "adamw", "lars"});
  b.add("learning_rate", optimizer.learning_rate, 0);
  b.add("momentum", optimizer.momentum, 0, 0.999999);
  b.add("nesterov", optimizer.nesterov);
  b.add("beta1", optimizer.beta1, 0, 0.9999999);
  b.add("beta2", optimizer.beta2, 0, 0.9999999);
  b.add("epsilon", optimizer.epsilon, 0);
  b.add("weight_decay", optimizer.weight_decay, 0);
  b.add("decay_norm_and_bias", optimizer.decay_norm_and_bias);
  b.add("clip_norm", optimizer.clip_norm, 0);
  b.add("accumulate", optimizer.accumulate, 1, 1 << 20);
  b.add("ema_decay", optimizer.ema_decay, 0, 0.9999999);
  b.add("trust_coefficient", optimizer.trust_coefficient, 0);
}

void add_schedule(Builder& b, Schedule& schedule) {
  b.section("schedule");
  b.choice("kind", schedule.kind, {"constant", "step", "cosine", "polynomial", "one_cycle"});
  b.add("warmup_epochs", schedule.warmup_epochs, 0);
  b.add("milestones", schedule.milestones);
  b.add("gamma", schedule.gamma, 0);
  b.add("power", schedule.power, 0);
  b.choice("anneal", schedule.anneal, {"cosine", "linear"});
  b.add("start_factor", schedule.start_factor, 0, 1);
  b.add("final_factor", schedule.final_factor, 0, 1);
  b.add("per_epoch", schedule.per_epoch);
  b.add("warmup_from_zero", schedule.warmup_from_zero);
  b.add("first_at_base", schedule.first_at_base);
  b.add("lag", schedule.lag, 0);
}

void add_training(Builder& b, TrainingRecipe& training) {
  b.section("training");
  b.add("epochs", training.epochs, 1, 1 << 24);
  b.add("batch", training.batch, 1, 1 << 20);
  b.choice("precision", training.precision, {"f32", "bf16", "f16", "tf32"});
  b.add_seed("seed", training.seed);
  b.add("validate_every", training.validate_every, 1);
  b.add("checkpoint_every", training.checkpoint_every, 0);
  b.add("log_every", training.log_every, 1);
  b.add("patience", training.patience, 0);
  b.choice("on_nan", training.on_nan, {"stop", "skip"});
  b.add("deterministic", training.deterministic);
  b.add("recompute", training.recompute);
}

void add_evaluation(Builder& b, EvaluationRecipe& evaluation) {
  b.section("evaluation");
  b.add("pairs", evaluation.pairs);
  b.add("identification", evaluation.identification);
  b.choice("protocol", evaluation.protocol, {"insightface", "lscnn", "dcr"});
  b.choice("flip", evaluation.flip, {"protocol", "none", "sum", "concatenate"});
  b.add("pca", evaluation.pca, 0, 1 << 14);
  b.add("far", evaluation.far, 0, 1);
  b.add("every", evaluation.every, 0);
  b.choice("metric", evaluation.metric, {"top1", "verification", "rank1"});
  b.add("levels", evaluation.levels, 0, 1);
  b.add("output", evaluation.output);
  b.add("probe_size", evaluation.probe_size, 0, 1 << 14);
  b.add("probe_output", evaluation.probe_output);
}

}  // namespace

std::vector<RecipeField> recipe_fields(Recipe& recipe) {
  Builder builder;
  add_model_and_data(builder, recipe);
  add_synth(builder, recipe.data.synth);
  add_scales(builder, recipe.scales);
  add_augmentation(builder, recipe.augmentation);
  add_loss_and_optimizer(builder, recipe.loss, recipe.partial_fc, recipe.optimizer);
  add_schedule(builder, recipe.schedule);
  add_training(builder, recipe.training);
  add_evaluation(builder, recipe.evaluation);
  return std::move(builder.fields);
}

std::string toml_string(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted.append({'\\', c});
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      quoted += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
    } else {
      quoted.push_back(c);
    }
  }
  return quoted + "\"";
}

}  // namespace facet
