#include <gmock/gmock.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <thread>

#include "runtime/formats/image.h"
#include "tests/cli/command.h"
#include "tests/support/paths.h"

// `facet train` and `facet eval`: whole trainings, killed ones, and wrong calls.
namespace facet::test {
namespace {

using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

/// A picture of 16 x 16 whose brightest channel is its class.
Image picture(int label, int number) {
  Image image = make_image(16, 16);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    const auto noise = static_cast<int>((i * 37 + static_cast<std::size_t>(number) * 101) % 120);
    image.pixels[i] = static_cast<std::uint8_t>(noise + (static_cast<int>(i % 3) == label ? 120 : 0));
  }
  return image;
}

/// Eight pictures of each of three classes, a network for them, and a recipe.
class Training : public ::testing::Test {
 protected:
  Training() {
    for (int label = 0; label < 3; ++label) {
      const std::string name = "class" + std::to_string(label);
      std::filesystem::create_directories(folder_ / ("data/" + name));
      for (int i = 0; i < 8; ++i) {
        write_png(folder_ / ("data/" + name + "/" + std::to_string(i) + ".png"), picture(label, i));
      }
    }
    write_recipe();
  }
  void write_recipe() const {
    const std::string data = (folder_ / "data").string();
    write_bytes(folder_ / "r.toml",
                "[model]\nname = \"" + (folder_ / "tiny.ir").string() + "\"\n[data]\nkind = \"folder\"\n" +
                    "train = \"" + data + "\"\nvalidation = \"" + data + "\"\n" +
                    "[augmentation]\nflip = 0.5\n[optimizer]\nkind = \"adam\"\nlearning_rate = 0.01\n" +
                    "[training]\nseed = 3\nepochs = 40\nbatch = 4\ncheckpoint_every = 5\nlog_every = 4\n");
  }
  std::string arguments(const std::string& output, const std::string& more = "") const {
    return "train" + quoted(folder_ / "r.toml") + "--threads 1 --output" + quoted(folder_ / output) + more;
  }
  Outcome train(const std::string& output, const std::string& more = "") const {
    return facet_command(arguments(output, more));
  }
  /// Weights and all numbers of the log but the speed.
  std::string remains(const std::string& output) const {
    std::string all;
    for (const char* name : {"weights.safetensors", "best.safetensors"}) {
      all += read_bytes(folder_ / (output + "/" + name));
    }
    std::istringstream log(read_bytes(folder_ / (output + "/log.csv")));
    for (std::string line; std::getline(log, line);) {
      std::istringstream fields(line);
      int column = 0;
      for (std::string field; std::getline(fields, field, ','); ++column) {
        if (column != 4) all += field + ",";
      }
      all += "\n";
    }
    return all;
  }

  const TinyFolder folder_;
};

/// `facet` with these arguments, running, without output.
pid_t start(const std::string& arguments) {
  const std::string line = std::string("exec '") + testing::facet_command_path().string() + "' " + arguments + " >/dev/null 2>&1";
  const char* const argv[] = {"sh", "-c", line.c_str(), nullptr};
  pid_t pid = -1;
  EXPECT_EQ(::posix_spawn(&pid, "/bin/sh", nullptr, nullptr, const_cast<char**>(argv), environ), 0);
  return pid;
}

/// Sends the signal and returns the process's exit code; -1 if the signal ended it.
int end(pid_t pid, int signal) {
  ::kill(pid, signal);
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// Waits until the file is there. False if the process ended first.
bool wait_for(const std::filesystem::path& file, pid_t pid) {
  while (!std::filesystem::exists(file)) {
    siginfo_t info = {};
    if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

TEST_F(Training, FacesJudgeATraining) {
  const Outcome outcome = train(
      "out", " training.epochs=2 evaluation.pairs=synth:pairs=40 evaluation.metric=verification "
             "evaluation.every=4 evaluation.levels=0.2,1 --json" + quoted(folder_ / "t.json"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("best validation: verification"));
  EXPECT_THAT(outcome.out, HasSubstr("20% at 4, 100% not reached"));
  EXPECT_THAT(outcome.error, HasSubstr("iteration 4: "));
  const auto json = nlohmann::json::parse(read_bytes(folder_ / "t.json"));
  EXPECT_EQ(json.at("best_verification"), std::max({json.at("best_verification").get<double>(),
                                                    json.at("verification").at(0).at("accuracy").get<double>()}));
  EXPECT_EQ(json.at("steps_to").at(0).at("iteration"), 4);
  EXPECT_TRUE(json.at("steps_to").at(1).at("iteration").is_null());
  // The file evaluates to what the training says of it.
  const Outcome again = facet_command("eval" + quoted(folder_ / "r.toml") + " --threads 1 --weights" +
                                      quoted(folder_ / "out/best.safetensors") +
                                      "evaluation.pairs=synth:pairs=40 --batch 4 --json" + quoted(folder_ / "e.json"));
  ASSERT_EQ(again.code, 0) << again.error;
  EXPECT_EQ(nlohmann::json::parse(read_bytes(folder_ / "e.json")).at("verification").at(0).at("accuracy"),
            json.at("best_verification"));
}

TEST_F(Training, TrainsAndIsEvaluated) {
  const Outcome outcome = train("out", "--json" + quoted(folder_ / "t.json"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("40 epochs, 240 iterations"));
  EXPECT_THAT(outcome.error, HasSubstr("f32 throughout"));
  const auto json = nlohmann::json::parse(read_bytes(folder_ / "t.json"));
  EXPECT_EQ(json.at("iterations"), 240);
  EXPECT_EQ(json.at("best_top1"), 1.0);
  const std::string weights = " --weights" + quoted(folder_ / "out/best.safetensors");
  const std::string data = "--data" + quoted(folder_ / "data");
  const std::string report = " --json" + quoted(folder_ / "e.json");
  const Outcome model = facet_command("eval" + quoted(folder_ / "tiny.ir") + weights + data + report);
  ASSERT_EQ(model.code, 0) << model.error;
  const auto first = nlohmann::json::parse(read_bytes(folder_ / "e.json"));
  EXPECT_EQ(first.at("top1"), 1.0);
  EXPECT_EQ(first.at("images"), 24);
  const Outcome recipe = facet_command("eval --recipe" + quoted(folder_ / "r.toml") + weights + report);
  ASSERT_EQ(recipe.code, 0) << recipe.error;
  const auto second = nlohmann::json::parse(read_bytes(folder_ / "e.json"));
  EXPECT_NEAR(second.at("loss").get<double>(), first.at("loss").get<double>(), 1e-6);
  // What the training says of the best epoch is what the file evaluates to.
  const Outcome again = train("out", "--resume");
  EXPECT_EQ(again.code, 0) << again.error;
  EXPECT_THAT(again.out, HasSubstr("top-1 100.00%"));
}

/// FACET_KILL_ROUNDS: how many trainings to kill (3).
TEST_F(Training, KilledAtARandomMomentItEndsTheSame) {
  using Seconds = std::chrono::duration<double>;
  const auto seconds_since = [](Clock::time_point begin) { return Seconds(Clock::now() - begin); };
  const Clock::time_point first = Clock::now();
  ASSERT_EQ(train("whole", "--quiet").code, 0);
  Seconds length = seconds_since(first);
  const std::string whole = remains("whole");
  const char* wanted = std::getenv("FACET_KILL_ROUNDS");
  const int rounds = wanted != nullptr ? std::atoi(wanted) : 3;
  std::random_device seed;
  const unsigned number = seed();
  std::mt19937 random(number);
  int killed = 0;
  // On a busy machine a training may end before its moment comes: then the moments come earlier.
  for (int attempt = 0; killed < rounds; ++attempt) {
    ASSERT_LT(attempt, 20 * rounds) << "only " << killed << " trainings lived until they were killed";
    const std::string output = "killed" + std::to_string(attempt);
    const Seconds moment = std::uniform_real_distribution(0.0, 1.0)(random) * length;
    const pid_t pid = start(arguments(output, "--quiet"));
    std::this_thread::sleep_for(moment);
    const int code = end(pid, SIGKILL);
    const std::string when = "killed after " + std::to_string(moment.count()) + " s of " +
                             std::to_string(length.count()) + ", seed " + std::to_string(number);
    if (code == -1) {
      ++killed;
    } else {
      ASSERT_EQ(code, 0) << when;
      length = moment;
    }
    const Outcome resumed = train(output, "--quiet --resume");
    ASSERT_EQ(resumed.code, 0) << when << "\n" << resumed.error;
    EXPECT_EQ(remains(output) == whole, true) << when;
  }
}

TEST_F(Training, SignalEndsItWithACheckpoint) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string output = "out" + std::to_string(signal);
    const std::string longer = "training.epochs=100000";
    const pid_t pid = start(arguments(output, longer));
    ASSERT_TRUE(wait_for(folder_ / (output + "/checkpoint.safetensors"), pid));
    EXPECT_EQ(end(pid, signal), 1);
    EXPECT_TRUE(std::filesystem::exists(folder_ / (output + "/weights.safetensors")));
  }
}

TEST(TrainFashionMnist, RunsStopsAndGoesOn) {
  const TempFolder folder;
  const std::string call = "train fashion_dcr training.batch=16 training.checkpoint_every=3 "
                           "training.log_every=3 --output" + quoted(folder / "out");
  const pid_t pid = start(call);
  ASSERT_TRUE(wait_for(folder / "out/checkpoint.safetensors", pid));
  EXPECT_EQ(end(pid, SIGTERM), 1);
  const Outcome changed = facet_command(call + "--resume optimizer.momentum=0.8");
  EXPECT_EQ(changed.code, 2);
  EXPECT_THAT(changed.error, HasSubstr("optimizer.momentum: 0.8, was 0.9"));
  const std::string log = read_bytes(folder / "out/log.csv");
  EXPECT_THAT(log, HasSubstr("\n2,"));
}

TEST_F(Training, WrongCallsChangeNothing) {
  const auto error = [](const Outcome& outcome, int code) {
    EXPECT_EQ(outcome.code, code) << outcome.error;
    return outcome.error;
  };
  EXPECT_THAT(error(facet_command("train fashion_dcl --output" + quoted(folder_ / "o")), 2),
              HasSubstr("did you mean 'fashion_dcr'"));
  EXPECT_THAT(error(facet_command("train nowhere.toml --output" + quoted(folder_ / "o")), 1),
              HasSubstr("nowhere.toml"));
  EXPECT_THAT(error(train("o", "training.epoch=3"), 2), HasSubstr("did you mean 'epochs'?"));
  EXPECT_THAT(error(train("o", "data.train=nowhere"), 1), HasSubstr("nowhere"));
  EXPECT_THAT(error(train("o", "data.kind=fashion_mnist data.train="), 2), HasSubstr("num_classes=10"));
  EXPECT_THAT(error(facet_command("train" + quoted(folder_ / "r.toml")), 2), HasSubstr("--output"));
  write_bytes(folder_ / "data/class1/3.png", "damaged");
  EXPECT_THAT(error(train("bad", "--quiet"), 1), HasSubstr("class1/3.png"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "o"));
  const Outcome skipped = train("skip", "data.on_bad_image=skip training.epochs=2");
  EXPECT_EQ(skipped.code, 0) << skipped.error;
  EXPECT_THAT(skipped.error, HasSubstr("class1/3.png"));
  EXPECT_THAT(skipped.out, HasSubstr("2 times a picture could not be read"));
  EXPECT_THAT(error(train("skip"), 2), HasSubstr("--resume"));
  const std::string eval = "eval" + quoted(folder_ / "tiny.ir") + folder_.weights();
  EXPECT_THAT(error(facet_command(eval), 2), HasSubstr("--data is missing"));
  EXPECT_THAT(error(facet_command(eval + "--data" + quoted(folder_ / "data")), 1), HasSubstr("3.png"));
  EXPECT_THAT(error(facet_command(eval + "--skip-bad --data" + quoted(folder_ / "data")), 0),
              HasSubstr("1 pictures cannot be read"));
  EXPECT_THAT(error(facet_command(eval + "--data fashion_mnist"), 1), HasSubstr("3 classes"));
  EXPECT_THAT(error(facet_command(eval + "--recipe x"), 2), HasSubstr("one of the two"));
}

}  // namespace
}  // namespace facet::test
