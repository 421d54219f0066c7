// What the tests of stages share.
#pragma once

#include <gtest/gtest.h>

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "files.h"
#include "grpo/stages.h"
#include "tiny.h"

namespace grpo {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// The same policy in every case: what it learned so far comes from checkpoints alone.
class Stages : public testing::Test {
 protected:
  // Opens (or goes on with) the run `name` and does `work` in it as if this were a process of its own.
  template <class Work>
  auto in_run(const std::string& name, Work work, int save_every = 20, bool moe = false) {
    RunConfig config;
    config.out = (folder_ / name).string();
    config.resume = fs::exists(folder_ / name);
    config.save_every = save_every;
    config.notebook = -1;
    grpo::Run run(config, Json{{"name", name}}, "test");
    Policy policy = make_policy_ ? make_policy_() : tiny::policy(tiny::policy_config(DType::float32, moe));
    Stage stage{policy, tiny::tokenizer(), chat_, run, 5};
    return work(stage);
  }

  using Work = std::function<StageResult(Stage&)>;

  // `work` undisturbed in "whole", and stopped by a signal in every step in "stopped"; both must come to the same.
  void expect_stops_to_leave_no_trace(const Work& work, int64_t steps, bool moe = false) {
    const StageResult whole = in_run("whole", work, 20, moe);
    EXPECT_TRUE(whole.finished);
    EXPECT_EQ(whole.steps, steps);
    for (int64_t step = 1; step <= steps; ++step) {
      const StageResult part = in_run(
          "stopped",
          [&](Stage& stage) {
            std::raise(SIGTERM);
            return work(stage);
          },
          20, moe);
      EXPECT_EQ(part.steps, step) << "it stops at the end of the step";
      EXPECT_EQ(part.finished, step == steps);
      // What a process that was killed in the next step leaves behind.
      for (const char* file : {"metrics.jsonl", "samples.jsonl", "events.out.tfevents.grpo"})
        std::ofstream(folder_ / "stopped" / file, std::ios::app) << "{\"step\": 9, \"rew";
    }
    const StageResult result = in_run("stopped", work, 20, moe);
    EXPECT_TRUE(result.finished);
    EXPECT_EQ(result.steps, steps) << "a finished stage has nothing more to do";
    EXPECT_EQ(result.gradient_tokens, whole.gradient_tokens);
    expect_same("stopped", steps);
  }

  void expect_same(const std::string& name, int64_t steps) {
    const auto expected = metrics_without_timings(folder_ / "whole"), got = metrics_without_timings(folder_ / name);
    ASSERT_EQ(expected.size(), static_cast<size_t>(steps));
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], expected[i]) << "step " << i + 1;
    EXPECT_TRUE(read_file(folder_ / name / "samples.jsonl") == read_file(folder_ / "whole/samples.jsonl"));
    EXPECT_EQ(fs::file_size(folder_ / name / "events.out.tfevents.grpo"),
              fs::file_size(folder_ / "whole/events.out.tfevents.grpo"));
    for (const char* file : {"policy.safetensors", "optimizer.safetensors", "reference.safetensors"}) {
      const std::string bytes = read_file(checkpoint_folder(folder_ / "whole", steps) / file);
      EXPECT_TRUE(read_file(checkpoint_folder(folder_ / name, steps) / file) == bytes) << file;
      EXPECT_TRUE(!bytes.empty() || file[0] == 'r') << file;
    }
  }

  fs::path write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }

  Folder folder_;
  ChatTemplate chat_;
  std::function<Policy()> make_policy_;
};

inline Demonstration demonstration(const std::string& prompt, const std::string& completion) {
  return {tiny::task(prompt), completion};
}

inline int64_t tokens_of(const std::string& completion) {
  return static_cast<int64_t>(tiny::tokenizer().encode(completion).size()) + 1;
}

inline OptimizerConfig decaying() {
  OptimizerConfig config;
  config.learning_rate = 1e-2;
  config.schedule = Schedule::cosine;
  config.warmup_steps = 1;
  return config;
}

inline TasksConfig tasks_from(const fs::path& file) {
  TasksConfig config;
  config.file = file.string();
  config.heldout_share = 0;
  return config;
}

// A file of tasks of one kind, all with the answer 7.
inline std::string task_lines(const std::string& kind, size_t count) {
  std::string lines;
  for (size_t i = 0; i < count; ++i)
    lines += Json{{"id", kind + std::to_string(i)}, {"prompt", kind + std::to_string(i)}, {"answer", 7}, {"kind", kind}}
                 .dump() +
             "\n";
  return lines;
}

}  // namespace grpo
