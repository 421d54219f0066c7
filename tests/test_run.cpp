#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "error_of.h"
#include "files.h"
#include "grpo/run.h"
#include "tiny.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class RunFolder : public testing::Test {
 protected:
  RunConfig config(bool resume = false) {
    RunConfig c;
    c.out = (folder_ / "zero").string();
    c.resume = resume;
    c.keep = 0;
    return c;
  }
  fs::path at(const std::string& name) { return folder_ / ("zero/" + name); }

  Folder folder_;
};

const Json kResolved{{"steps", 3}, {"seed", 11}, {"tasks", {{"file", ""}}}};

// Two completions to each of `count` tasks, the first of them right.
std::vector<Group> groups_of(size_t count, size_t samples = 2) {
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

void record(grpo::Run& run, int64_t step, const std::vector<Group>& groups = groups_of(3),
            const UpdateReport& report = {}, const RolloutStats& stats = {}, const StepTimes& times = {1, 0.5, 0.5}) {
  run.progress().begin("step", 9, step - 1, Progress::Lines::each_step);
  run.record(step, groups, report, stats, times);
  run.progress().end();
}

void save(grpo::Run& run, int64_t step) {
  CheckpointContents contents;
  contents.policy = {{"weight", at::full({2}, static_cast<double>(step))}};
  contents.optimizer = {{"updates", at::scalar_tensor(step, at::kLong)}};
  contents.state = {{"stage", "rl"}, {"step", step}};
  run.save(step, contents);
}

TEST_F(RunFolder, is_moved_aside_and_never_overwritten) {
  for (int i = 0; i < 3; ++i) {
    RunConfig c = config();
    if (i == 1) c.out += "/";
    grpo::Run run(c, {{"number", i}}, "test");
    EXPECT_FALSE(run.resume().has_value());
    EXPECT_EQ(run.folder(), folder_ / "zero");
    record(run, 1);
    save(run, 1);
  }
  EXPECT_EQ(Json::parse(read_file(at("config.json")))["number"], 2);
  EXPECT_EQ(Json::parse(read_file(folder_ / "zero.1/config.json"))["number"], 0);
  EXPECT_EQ(Json::parse(read_file(folder_ / "zero.2/config.json"))["number"], 1);
  EXPECT_EQ(lines_of(folder_ / "zero.1/metrics.jsonl").size(), 1u);
  EXPECT_THAT(read_file(at("log.txt")), HasSubstr((folder_ / "zero.2").string()));

  // Nor do checkpoints without a config ever get into a fresh run, which --resume would take them for its own.
  fs::remove(at("config.json"));
  grpo::Run run(config(), kResolved, "test");
  EXPECT_TRUE(list_checkpoints(run.folder()).empty());
  EXPECT_EQ(list_checkpoints(folder_ / "zero.3").size(), 1u);
}

TEST_F(RunFolder, may_be_there_already_with_files_of_other_kinds) {
  fs::create_directories(folder_ / "zero");
  std::ofstream(at("notes.txt")) << "mine";
  grpo::Run run(config(), kResolved, "test");
  EXPECT_EQ(read_file(at("notes.txt")), "mine");
  EXPECT_EQ(Json::parse(read_file(at("config.json"))), kResolved);
}

TEST_F(RunFolder, is_refused_where_it_cannot_be) {
  RunConfig c = config();
  c.out = "";
  EXPECT_THAT(error_of([&] { grpo::Run(c, kResolved, "test"); }), HasSubstr("out: expected a folder"));
  std::ofstream(folder_ / "file") << "x";
  c.out = (folder_ / "file/zero").string();
  EXPECT_THAT(error_of([&] { grpo::Run(c, kResolved, "test"); }), HasSubstr("cannot make the folder"));
}

TEST_F(RunFolder, goes_on_from_its_checkpoint_and_cuts_off_what_came_later) {
  std::string metrics, samples;
  {
    grpo::Run run(config(), kResolved, "test");
    run.resume();
    record(run, 1);
    save(run, 1);
    record(run, 2);
    metrics = read_file(at("metrics.jsonl")), samples = read_file(at("samples.jsonl"));
  }
  // The run was killed in the middle of a line.
  std::ofstream(at("metrics.jsonl"), std::ios::app) << R"({"step":3,"rew)";
  std::ofstream(at("samples.jsonl"), std::ios::app) << R"({"step":3,)";
  {
    grpo::Run run(config(true), kResolved, "test");
    const auto found = run.resume();
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->state["step"], 1);
    EXPECT_EQ(found->policy[0].second[0].item<float>(), 1.0f);
    EXPECT_EQ(lines_of(at("metrics.jsonl")).size(), 1u);
    EXPECT_EQ(lines_of(at("samples.jsonl")).size(), 6u);
    record(run, 2);
  }
  EXPECT_EQ(read_file(at("metrics.jsonl")), metrics);
  EXPECT_EQ(read_file(at("samples.jsonl")), samples);
  EXPECT_THAT(read_file(at("log.txt")), HasSubstr("resuming from " + checkpoint_folder(folder_ / "zero", 1).string()));
  EXPECT_FALSE(fs::exists(folder_ / "zero.1")) << "a resumed run stays where it is";
}

TEST_F(RunFolder, passes_over_a_damaged_checkpoint_naming_its_file) {
  {
    grpo::Run run(config(), kResolved, "test");
    run.resume();
    for (int64_t step = 1; step <= 3; ++step) record(run, step), save(run, step);
  }
  const fs::path newest = checkpoint_folder(folder_ / "zero", 3) / "policy.safetensors";
  fs::resize_file(newest, fs::file_size(newest) - 1);
  {
    grpo::Run run(config(true), kResolved, "test");
    const auto found = run.resume();
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->state["step"], 2);
    EXPECT_EQ(lines_of(at("metrics.jsonl")).size(), 2u);
    EXPECT_THAT(read_file(at("log.txt")),
                AllOf(HasSubstr("passed over: "), HasSubstr("policy.safetensors was altered or cut short")));
    // The run goes its way again, and the damaged checkpoint is replaced.
    record(run, 3);
    save(run, 3);
  }
  EXPECT_EQ(read_checkpoint(checkpoint_folder(folder_ / "zero", 3)).state["step"], 3);

  for (const fs::path& each : list_checkpoints(folder_ / "zero"))
    std::ofstream(each / "state.json", std::ios::app) << ' ';
  grpo::Run run(config(true), kResolved, "test");
  EXPECT_THAT(error_of([&] { run.resume(); }),
              AllOf(HasSubstr("[run] no whole checkpoint"), HasSubstr("state.json"), HasSubstr("without --resume")));
}

TEST_F(RunFolder, starts_at_the_beginning_when_there_is_nothing_to_go_on_from) {
  {
    grpo::Run run(config(true), kResolved, "test");
    EXPECT_FALSE(run.resume().has_value());
    record(run, 1);
  }
  EXPECT_THAT(read_file(at("log.txt")), HasSubstr("starting at the beginning"));
  // Killed before the first checkpoint: what it wrote is not the new run's.
  grpo::Run run(config(true), kResolved, "test");
  EXPECT_FALSE(run.resume().has_value());
  EXPECT_EQ(read_file(at("metrics.jsonl")), "");
}

TEST_F(RunFolder, says_which_knobs_a_resumed_run_changes) {
  { grpo::Run run(config(), kResolved, "test"); }
  Json changed = kResolved;
  changed["steps"] = 9;
  changed["resume"] = true;
  grpo::Run run(config(true), changed, "test");
  EXPECT_THAT(read_file(at("log.txt")),
              AllOf(HasSubstr("changed steps: 3 → 9"), Not(HasSubstr("changed seed")), Not(HasSubstr("resume:"))));
  EXPECT_EQ(Json::parse(read_file(at("config.json"))), changed);
}

TEST_F(RunFolder, writes_a_line_a_step_with_every_figure) {
  grpo::Run run(config(), kResolved, "test");
  run.resume();
  UpdateReport report;
  report.loss = std::numeric_limits<double>::quiet_NaN();
  report.skipped = {"step 1: the loss is not finite"};
  report.skipped_updates = 1;
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
  EXPECT_THAT(read_file(at("log.txt")), HasSubstr("update skipped: step 1"));
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

TEST_F(RunFolder, stops_after_the_step_when_a_signal_asks_and_says_how_to_go_on) {
  grpo::Run run(config(), kResolved, "r1_zero");
  run.resume();
  EXPECT_FALSE(run.stopping());
  std::raise(SIGTERM);
  EXPECT_TRUE(run.stopping());
  EXPECT_EQ(run.stopped(), 130);
  EXPECT_THAT(read_file(at("log.txt")), HasSubstr("r1_zero --resume --out " + (folder_ / "zero").string()));
}

TEST_F(RunFolder, saves_every_so_many_steps) {
  RunConfig c = config();
  c.save_every = 3;
  grpo::Run run(c, kResolved, "test");
  EXPECT_FALSE(run.due(1) || run.due(2) || run.due(4));
  EXPECT_TRUE(run.due(3) && run.due(6));
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

TEST_F(RunFolder, adds_figures_of_the_callers_own_to_a_step) {
  grpo::Run run(config(), kResolved, "test");
  run.resume();
  run.progress().begin("step", 9, 0, Progress::Lines::each_step);
  run.record(1, groups_of(2), {}, {}, {}, {{"mine", 0.5}});
  run.progress().end();
  EXPECT_EQ(lines_of(at("metrics.jsonl")).at(0)["mine"], 0.5);
  EXPECT_THAT(read_file(at("events.out.tfevents.grpo")), HasSubstr("mine"));
}

TEST_F(RunFolder, holds_stages_that_are_runs_of_their_own_and_always_go_on) {
  size_t events = 0;
  for (int i = 0; i < 2; ++i) {
    grpo::Run run(config(i == 1), kResolved, "r1");
    grpo::Run stage = run.stage("base", {{"stage", i}});
    EXPECT_EQ(stage.folder(), folder_ / "zero/base");
    EXPECT_EQ(Json::parse(read_file(at("base/config.json"))), (Json{{"stage", i}}));
    const auto found = stage.resume();
    EXPECT_EQ(found.has_value(), i == 1);
    EXPECT_EQ(lines_of(at("base/metrics.jsonl")).size(), static_cast<size_t>(i));
    if (i == 1) {
      EXPECT_EQ(fs::file_size(at("base/events.out.tfevents.grpo")), events) << "cut back to the checkpoint";
    }
    record(stage, 1 + i);
    events = fs::file_size(at("base/events.out.tfevents.grpo"));
    save(stage, 1 + i);
    record(stage, 2 + i);
    EXPECT_GT(fs::file_size(at("base/events.out.tfevents.grpo")), events);
    EXPECT_FALSE(fs::exists(at("metrics.jsonl"))) << "the run has none of its own";
    // One log, one signal, one word on how to go on.
    EXPECT_FALSE(fs::exists(at("base/log.txt")));
    EXPECT_FALSE(stage.stopping());
    std::raise(SIGINT);
    EXPECT_TRUE(stage.stopping() && run.stopping());
  }
  // Without checkpoints of a resumed run, too: a stage goes on in a run that was not asked to.
  RunConfig fresh = config(true);
  fresh.resume = false;
  fs::remove(at("config.json"));
  fs::remove_all(at("checkpoints"));
  grpo::Run run(fresh, kResolved, "r1");
  EXPECT_TRUE(run.stage("base", kResolved).resume().has_value());
}

TEST(Device, is_refused_by_name) {
  EXPECT_TRUE(open_device("cpu").is_cpu());
  EXPECT_THAT(error_of([] { open_device("warp"); }),
              AllOf(HasSubstr("device: expected \"cpu\""), HasSubstr("\"warp\"")));
  EXPECT_THAT(error_of([] { open_device("meta"); }), HasSubstr("\"meta\""));
}

}  // namespace
}  // namespace grpo
