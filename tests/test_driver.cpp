// The real driver, killed at random moments: what comes out of a resumed run is what an uninterrupted one gives.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "child.h"
#include "files.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;
using testing::HasSubstr;

// Everything that has a state of its own is on: experts, a refreshed reference, refills, minibatches, preemption.
constexpr const char* kConfig = R"({
  "steps": 7, "prompts_per_step": 4, "save_every": 2, "notebook": -1,
  "policy": {"hidden_size": 16, "layers": 1, "heads": 2, "kv_heads": 1, "max_positions": 128,
             "moe": {"experts": 4, "intermediate_size": 16}},
  "tokenizer": {"vocab_size": 330},
  "pretrain": {"steps": 115, "documents_per_step": 2, "optimizer": {"learning_rate": 1e-2, "schedule": "cosine"}},
  "rollout": {"samples": 4, "max_new_tokens": 32, "pages": 12},
  "rewards": {"weights": {"accuracy": 1.0, "format": 0.2, "language_consistency": 0.5}, "threads": 2},
  "objective": {"kl": "k3_in_loss", "kl_coefficient": 0.01, "reference_refresh_steps": 3, "dynamic_sampling": true,
                "max_refills": 1, "epochs": 2, "minibatches": 2},
  "evaluate": {"problems": 20, "samples": 2}
})";

class Driver : public testing::Test {
 protected:
  Driver() { std::ofstream(folder_ / "config.json") << kConfig; }

  // Starts the driver on the run `name`; its terminal output goes to `name`.out.
  void start(const std::string& name, bool resume, int threads = 1) {
    std::vector<std::string> words{GRPO_DRIVER, "--config", (folder_ / "config.json").string(), "--out",
                                   (folder_ / name).string()};
    if (resume) words.push_back("--resume");
    child_.start(words, folder_ / (name + ".out"), threads);
  }

  std::string output(const std::string& name) { return read_file(folder_ / (name + ".out")); }

  // The run that nobody disturbs, and how long it takes.
  void run_undisturbed() {
    const auto begin = Clock::now();
    start("whole", false);
    ASSERT_EQ(child_.wait(), 0) << output("whole");
    seconds_ = std::chrono::duration<double>(Clock::now() - begin).count();
    const auto metrics = metrics_without_timings(folder_ / "whole");
    ASSERT_EQ(metrics.size(), 7u);
    int64_t preemptions = 0;
    double gradients = 0;
    for (const Json& line : metrics) {
      EXPECT_EQ(line["ratio_deviation"], 0.0);
      EXPECT_EQ(line["mismatch_kl"], 0.0);
      preemptions += line["preemptions"].get<int64_t>();
      gradients += line["grad_norm"].get<double>();
    }
    EXPECT_GT(preemptions, 0);
    EXPECT_GT(gradients, 0.0);
    EXPECT_FALSE(Json::parse(read_file(folder_ / "whole/summary.json"))["after"]["pass@1"].is_null());
  }

  void expect_same_as_undisturbed(const std::string& name) {
    const auto expected = metrics_without_timings(folder_ / "whole"), got = metrics_without_timings(folder_ / name);
    ASSERT_EQ(got.size(), expected.size()) << output(name);
    for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], expected[i]) << "step " << i + 1;
    EXPECT_TRUE(read_file(folder_ / name / "samples.jsonl") == read_file(folder_ / "whole/samples.jsonl"));
    EXPECT_EQ(read_file(folder_ / name / "summary.json"), read_file(folder_ / "whole/summary.json"));
    for (const char* file : {"policy", "optimizer", "reference"}) {
      const std::string path = std::string("checkpoints/step-000122/") + file + ".safetensors";
      const std::string bytes = read_file(folder_ / "whole" / path);
      EXPECT_FALSE(bytes.empty()) << path;
      EXPECT_TRUE(read_file(folder_ / name / path) == bytes) << path;
    }
  }

  Folder folder_;
  Child child_;
  double seconds_ = 0;
};

TEST_F(Driver, gives_the_metrics_of_the_uninterrupted_run_after_kills_at_ten_random_moments) {
  run_undisturbed();
  if (HasFatalFailure()) return;
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  int runs = 1;
  bool begun = false;
  const auto name = [&] { return "killed" + std::to_string(runs); };
  // One moment in each tenth of a run's time, in any order; a run that ends before is compared, and the next one
  // begins.
  std::vector<double> moments;
  for (int i = 0; i < 10; ++i) moments.push_back((i + std::uniform_real_distribution<>(0, 1)(random)) / 10);
  std::shuffle(moments.begin(), moments.end(), random);
  for (int kills = 0; kills < 10;) {
    start(name(), begun, kills % 4 == 3 ? 2 : 1);
    if (HasFatalFailure()) return;
    begun = true;
    const auto moment = Clock::now() + std::chrono::duration<double>(moments[static_cast<size_t>(kills)] * seconds_);
    if (child_.wait_until([&] { return Clock::now() >= moment; })) {
      child_.kill(SIGKILL);
      if (child_.wait() == -SIGKILL) {
        ++kills;
        continue;
      }
    } else {
      ASSERT_EQ(child_.wait(), 0) << output(name());
    }
    expect_same_as_undisturbed(name());
    ++runs;
    begun = false;
  }
  start(name(), true);
  ASSERT_EQ(child_.wait(), 0) << output(name());
  expect_same_as_undisturbed(name());
}

TEST_F(Driver, finishes_the_step_saves_and_says_how_to_go_on_when_asked_to_stop) {
  run_undisturbed();
  if (HasFatalFailure()) return;
  // Asked while the base is made, then while it learns by RL.
  start("stopped", false);
  ASSERT_TRUE(child_.wait_until([&] { return fs::exists(folder_ / "stopped/tokenizer.model"); })) << output("stopped");
  child_.kill(SIGTERM);
  EXPECT_EQ(child_.wait(), 130) << output("stopped");
  EXPECT_THAT(output("stopped"), HasSubstr("r1_zero --resume --out " + (folder_ / "stopped").string()));
  EXPECT_EQ(read_file(folder_ / "stopped/metrics.jsonl"), "");
  EXPECT_FALSE(fs::is_empty(folder_ / "stopped/checkpoints"));

  start("stopped", true);
  ASSERT_TRUE(child_.wait_until([&] { return fs::file_size(folder_ / "stopped/metrics.jsonl") > 0; }))
      << output("stopped");
  child_.kill(SIGINT);
  EXPECT_EQ(child_.wait(), 130) << output("stopped");
  const auto lines = metrics_without_timings(folder_ / "stopped");
  EXPECT_LT(lines.size(), 7u);
  ASSERT_FALSE(lines.empty());
  char checkpoint[64];
  std::snprintf(checkpoint, sizeof checkpoint, "stopped/checkpoints/step-%06d", 115 + lines.back()["step"].get<int>());
  EXPECT_TRUE(fs::exists(folder_ / checkpoint)) << checkpoint;

  start("stopped", true);
  EXPECT_EQ(child_.wait(), 0) << output("stopped");
  expect_same_as_undisturbed("stopped");

  // A run that has ended already ends again, with the same figures.
  start("stopped", true);
  EXPECT_EQ(child_.wait(), 0) << output("stopped");
  expect_same_as_undisturbed("stopped");
}

TEST_F(Driver, refuses_an_unknown_key_before_it_touches_a_folder) {
  std::ofstream(folder_ / "config.json") << R"({"objective": {"clop_high": 0.3}})";
  start("refused", false);
  EXPECT_EQ(child_.wait(), 1);
  EXPECT_THAT(output("refused"), HasSubstr("\"objective.clip_high\""));
  EXPECT_FALSE(fs::exists(folder_ / "refused"));
}

}  // namespace
}  // namespace grpo
