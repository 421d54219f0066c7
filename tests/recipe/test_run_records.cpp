// What a run records: a line a step, traces, and what it says when nothing is learned.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "error_of.h"
#include "run_test.h"

namespace grpo {
namespace {

using Json = nlohmann::ordered_json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST_F(RunFolder, says_once_when_nothing_is_learned_for_long) {
  grpo::Run run(config(), kResolved, "test");
  run.resume();
  auto flat = groups_of(3);
  for (Group& group : flat) group.rewards = {0.2, 0.2}, group.advantages = {0, 0};
  const auto warnings = [&] {
    const std::string log = read_file(at("log.txt"));
    size_t count = 0;
    for (size_t i = log.find("nothing was learned"); i != std::string::npos; i = log.find("nothing was learned", i + 1))
      ++count;
    return count;
  };
  for (int step = 1; step <= 9; ++step) record(run, step, flat);
  record(run, 10);
  for (int step = 11; step <= 19; ++step) record(run, step, flat);
  EXPECT_EQ(warnings(), 0u);
  for (int step = 20; step <= 40; ++step) record(run, step, flat);
  EXPECT_EQ(warnings(), 1u);
  EXPECT_THAT(read_file(at("log.txt")),
              AllOf(HasSubstr("with the form 1.000, with an answer that can be read 1.000, right 0.500, rewards from "
                              "0.200 to 0.200"),
                    HasSubstr("rollout.sampling.temperature"), HasSubstr("step 1 had nothing to learn from"),
                    HasSubstr("step 11 had nothing"), Not(HasSubstr("step 2 had nothing"))));
  flat[0].advantages = {1, 1}, flat[1].advantages = {-1, -1};  // as a whitened batch without a baseline has them
  record(run, 41, flat);
  EXPECT_FALSE(run.is_silent());
}

TEST_F(RunFolder, ends_after_too_many_steps_without_signal_with_what_to_look_at) {
  RunConfig c = config();
  c.max_silent_steps = 4;
  auto flat = groups_of(3);
  for (Group& group : flat) {
    group.rewards = {0, 0}, group.advantages = {0, 0};
    for (Completion& each : group.completions) each.text = "I cannot say.", each.answer = "";
    for (Scores& scores : group.scores) scores.at("accuracy") = 0.0;
  }
  {
    grpo::Run run(c, kResolved, "test");
    run.resume();
    for (int step = 1; step <= 3; ++step) record(run, step, flat);
    EXPECT_FALSE(run.is_silent());
    save(run, 3);
    record(run, 4);
    for (int step = 5; step <= 7; ++step) record(run, step, flat);
    EXPECT_FALSE(run.is_silent()) << "in a row";
  }
  c.resume = true;
  {
    grpo::Run run(c, kResolved, "test");
    EXPECT_FALSE(run.resume()->state.contains("silence")) << "that is the run's own";
    record(run, 4, flat);
    EXPECT_TRUE(run.is_silent()) << "three of them were before the checkpoint";
    EXPECT_THAT(error_of([&] { run.end_silence(); }),
                AllOf(HasSubstr("in the last 4 steps"), HasSubstr("with the form 0.000"),
                      HasSubstr("answer that can be read 0.000"), HasSubstr("rewards.accuracy_needs_format=false"),
                      HasSubstr("rollout.max_new_tokens"), HasSubstr("max_silent_steps=0")));
    save(run, 4);
  }
  grpo::Run run(c, kResolved, "test");
  run.resume();
  record(run, 5, flat);
  EXPECT_FALSE(run.is_silent()) << "it has its patience again";
  c.max_silent_steps = 0;
  c.out = (folder_ / "never").string();
  grpo::Run never(c, kResolved, "test");
  never.resume();
  for (int step = 1; step <= 50; ++step) record(never, step, flat);
  EXPECT_FALSE(never.is_silent());
}

TEST_F(RunFolder, writes_a_line_a_step_with_every_figure) {
  grpo::Run run(config(), kResolved, "test");
  run.resume();
  UpdateReport report;
  report.loss = std::numeric_limits<double>::quiet_NaN();
  report.skipped = {"step 1: the loss is not finite"};
  report.warnings = {"raise a knob"};
  report.skipped_updates = 1;
  report.flat_groups = 1;
  RolloutStats stats;
  stats.completion_tokens = 30;
  auto groups = groups_of(3);
  groups[2].rewards = {std::numeric_limits<double>::quiet_NaN(), 0.2};
  record(run, 1, groups, report, stats, {1.0, 0.5, 1.5});
  report.kl = 0.25;
  report.expert_load_max = 1.5;
  record(run, 2, groups_of(2), report, stats);
  const auto lines = lines_of(at("metrics.jsonl"));
  ASSERT_EQ(lines.size(), 2u);
  for (const char* key : {"step",
                          "reward",
                          "reward/accuracy",
                          "reward/format",
                          "reward/language_consistency",
                          "accuracy",
                          "format",
                          "language_consistency",
                          "completion_length",
                          "reflection_rate",
                          "entropy",
                          "kl",
                          "ratio_deviation",
                          "mismatch_kl",
                          "clip_fraction",
                          "grad_norm",
                          "skipped_updates",
                          "expert_load_max",
                          "tokens_per_second",
                          "seconds/rollout",
                          "seconds/reward",
                          "seconds/train"})
    EXPECT_TRUE(lines[0].contains(key)) << key;
  EXPECT_EQ(lines[0]["step"], 1);
  EXPECT_NEAR(lines[0]["reward"].get<double>(), (1.2 + 0.2 + 1.2 + 0.2 + 0.2) / 5, 1e-12)
      << "a sample without reward counts nowhere";
  EXPECT_DOUBLE_EQ(lines[0]["accuracy"].get<double>(), 0.5);
  EXPECT_TRUE(lines[0]["language_consistency"].is_null());
  EXPECT_EQ(lines[0]["undefined/language_consistency"], 6);
  EXPECT_EQ(lines[0]["undefined/accuracy"], 0);
  EXPECT_TRUE(lines[0]["kl"].is_null());
  EXPECT_TRUE(lines[0]["loss"].is_null());
  EXPECT_TRUE(lines[0]["expert_load_max"].is_null());
  EXPECT_DOUBLE_EQ(lines[0]["tokens_per_second"].get<double>(), 10.0);
  EXPECT_DOUBLE_EQ(lines[0]["reflection_rate"].get<double>(), 1.0);
  EXPECT_EQ(lines[0]["flat_groups"], 1);
  EXPECT_DOUBLE_EQ(lines[1]["kl"].get<double>(), 0.25);
  EXPECT_DOUBLE_EQ(lines[1]["expert_load_max"].get<double>(), 1.5);
  EXPECT_THAT(read_file(at("log.txt")), HasSubstr("  update skipped: step 1: the loss is not finite\n"));
  EXPECT_THAT(read_file(at("log.txt")), HasSubstr("warning: raise a knob\n"));
}

TEST_F(RunFolder, notes_right_and_wrong_traces_in_equal_shares) {
  for (const auto& [limit, expected] :
       std::vector<std::pair<int, size_t>>{{0, 0}, {4, 4}, {5, 5}, {-1, 12}, {100, 12}}) {
    RunConfig c = config();
    c.notebook = limit;
    std::vector<Json> lines;
    {
      grpo::Run run(c, kResolved, "test");
      run.resume();
      record(run, 4, groups_of(4, 3));
      lines = lines_of(at("samples.jsonl"));
    }
    ASSERT_EQ(lines.size(), expected);
    const auto right =
        std::count_if(lines.begin(), lines.end(), [](const Json& line) { return line["scores"]["accuracy"] == 1.0; });
    EXPECT_EQ(right, std::min<long>(4, static_cast<long>(expected + 1) / 2));
    if (lines.empty()) continue;
    EXPECT_EQ(lines[0]["step"], 4);
    EXPECT_EQ(lines[0]["task"], "task-question 0");
    EXPECT_EQ(lines[0]["text"], "<think>Wait, seven</think><answer>7</answer>");
    EXPECT_EQ(lines[0]["advantage"], 1.0);
    EXPECT_EQ(lines[0]["reflects"], true);
    EXPECT_TRUE(lines[0]["scores"]["language_consistency"].is_null());
  }
}

TEST_F(RunFolder, writes_what_a_step_of_another_kind_says) {
  grpo::Run run(config(), kResolved, "test");
  run.resume();
  run.progress().begin("sft", 9, 0, Progress::Lines::each_step);
  run.record(4, {{"loss", 0.5}, {"expert_load_max", std::nan("")}}, {{"shown", 0.25}}, 1.5);
  run.progress().end();
  const auto lines = lines_of(at("metrics.jsonl"));
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0], (Json{{"step", 4}, {"loss", 0.5}, {"expert_load_max", nullptr}}));
  EXPECT_THAT(read_file(at("events.out.tfevents.grpo")), AllOf(HasSubstr("loss"), Not(HasSubstr("expert_load_max"))));
  EXPECT_THAT(read_file(at("log.txt")), AllOf(HasSubstr("sft 4/9"), HasSubstr("shown 0.25"), Not(HasSubstr("loss"))));
}

TEST_F(RunFolder, has_room_for_a_log_of_other_steps_that_goes_on_where_a_checkpoint_knows_it) {
  grpo::Run run(config(), kResolved, "test");
  run.resume();
  const auto steps = [&] {
    std::vector<int> found;
    for (const Json& line : lines_of(at("base/metrics.jsonl"))) found.push_back(line["step"]);
    return found;
  };
  StepLog::Offsets known;
  {
    StepLog log(at("base"), run.progress(), {});
    log.write({{"step", 1}, {"loss", 0.5}});
    known = log.sync();
    log.write({{"step", 2}, {"loss", 0.4}});
  }
  {
    StepLog log(at("base"), run.progress(), known);
    EXPECT_EQ(std::filesystem::file_size(at("base/events.out.tfevents.grpo")), known.events);
    log.write({{"step", 3}, {"loss", 0.3}});
    EXPECT_THAT(steps(), testing::ElementsAre(1, 3));
  }
  std::filesystem::resize_file(at("base/metrics.jsonl"), known.metrics - 1);
  StepLog log(at("base"), run.progress(), known);
  EXPECT_TRUE(steps().empty());
  EXPECT_EQ(std::filesystem::file_size(at("base/metrics.jsonl.1")), known.metrics - 1) << "what was left is kept";
  EXPECT_EQ(std::filesystem::file_size(at("base/events.out.tfevents.grpo")), known.events);
}

TEST_F(RunFolder, adds_figures_of_the_callers_own_to_a_step) {
  grpo::Run run(config(), kResolved, "test");
  run.resume();
  run.progress().begin("step", 9, 0, Progress::Lines::each_step);
  run.record(1, groups_of(2), {}, {}, {}, {{"mine", 0.5}});
  run.progress().end();
  EXPECT_EQ(lines_of(at("metrics.jsonl")).at(0)["mine"], 0.5);
  EXPECT_THAT(read_file(at("events.out.tfevents.grpo")), HasSubstr("mine"));
}

}  // namespace
}  // namespace grpo
