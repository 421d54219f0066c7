// What the tests of runs share: a folder for one, and steps to record in it.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "files.h"
#include "grpo/run.h"
#include "tiny.h"

namespace grpo {

class RunFolder : public testing::Test {
 protected:
  RunConfig config(bool resume = false) {
    RunConfig c;
    c.out = (folder_ / "zero").string();
    c.resume = resume;
    c.keep = 0;
    return c;
  }
  std::filesystem::path at(const std::string& name) { return folder_ / ("zero/" + name); }

  Folder folder_;
};

inline const nlohmann::ordered_json kResolved{{"steps", 3}, {"seed", 11}, {"tasks", {{"file", ""}}}};

// Two completions to each of `count` tasks, the first of them right.
inline std::vector<Group> groups_of(size_t count, size_t samples = 2) {
  std::vector<Group> groups(count);
  for (size_t g = 0; g < count; ++g) {
    groups[g].task = tiny::task("question " + std::to_string(g), "7");
    groups[g].completions.resize(samples);
    for (size_t i = 0; i < samples; ++i) {
      groups[g].completions[i].tokens = {1, 2, 3};
      groups[g].completions[i].text = "<think>Wait, seven</think><answer>7</answer>";
      groups[g].completions[i].answer = groups[g].task.answer;
      groups[g].scores.push_back(
          {{"accuracy", i == 0 ? 1.0 : 0.0}, {"format", 1.0}, {"language_consistency", Score::undefined()}});
      groups[g].rewards.push_back(i == 0 ? 1.2 : 0.2);
      groups[g].advantages.push_back(i == 0 ? 1.0f : -1.0f);
    }
  }
  return groups;
}

inline void record(grpo::Run& run, int64_t step, const std::vector<Group>& groups = groups_of(3),
            const UpdateReport& report = {}, const RolloutStats& stats = {}, const StepTimes& times = {1, 0.5, 0.5}) {
  run.progress().begin("step", 9, step - 1, Progress::Lines::each_step);
  run.record(step, groups, report, stats, times);
  run.progress().end();
}

inline void save(grpo::Run& run, int64_t step) {
  CheckpointContents contents;
  contents.policy = {{"weight", at::full({2}, static_cast<double>(step))}};
  contents.optimizer = {{"updates", at::scalar_tensor(step, at::kLong)}};
  contents.state = {{"stage", "rl"}, {"step", step}};
  run.save(step, contents);
}

}  // namespace grpo
