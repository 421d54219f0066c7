// The real driver, killed at random moments: what comes out of a resumed run is what an uninterrupted one gives.
// GRPO_KILLS and GRPO_KILL_SEED ask for more kills, or for those of an earlier time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
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

  // Starts it with these words alone, as a shell reads them.
  void start_in_shell(const std::string& words, const std::string& name) {
    child_.start({"/bin/sh", "-c", "exec " + words}, folder_ / (name + ".out"));
  }

  // It ends with an error that says `what`, and leaves no folder.
  void expect_refused(const std::string& words, const std::string& what) {
    fs::remove(folder_ / "run.out");
    start_in_shell(GRPO_DRIVER " --config " + (folder_ / "config.json").string() + " --out " +
                       (folder_ / "run").string() + " " + words,
                   "run");
    EXPECT_EQ(child_.wait(), 1) << words;
    EXPECT_THAT(output("run"), HasSubstr(what)) << words;
    EXPECT_FALSE(fs::exists(folder_ / "run")) << words;
  }

  // What it printed last as the way to go on.
  std::string printed_command(const std::string& name) {
    const std::string text = output(name), before = "to go on: ";
    const size_t begin = text.rfind(before);
    if (begin == std::string::npos) return "false";
    return text.substr(begin + before.size(), text.find('\n', begin) - begin - before.size());
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
    const auto base = metrics_without_timings(folder_ / "whole/base");
    ASSERT_EQ(base.size(), 115u);
    EXPECT_LT(base.back()["loss"], base.front()["loss"]);
    EXPECT_FALSE(Json::parse(read_file(folder_ / "whole/summary.json"))["after"]["pass@1"].is_null());
  }

  void expect_same_as_undisturbed(const std::string& name) {
    const auto expected = metrics_without_timings(folder_ / "whole"), got = metrics_without_timings(folder_ / name);
    ASSERT_EQ(got.size(), expected.size()) << output(name);
    for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], expected[i]) << "step " << i + 1;
    EXPECT_EQ(metrics_without_timings(folder_ / name / "base"), metrics_without_timings(folder_ / "whole/base"));
    EXPECT_EQ(fs::file_size(folder_ / name / "base/events.out.tfevents.grpo"),
              fs::file_size(folder_ / "whole/base/events.out.tfevents.grpo"));
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

TEST_F(Driver, gives_the_metrics_of_the_uninterrupted_run_after_kills_at_random_moments) {
  run_undisturbed();
  if (HasFatalFailure()) return;
  const auto asked = [](const char* name, unsigned otherwise) {
    const char* value = std::getenv(name);
    return value ? static_cast<unsigned>(std::stoul(value)) : otherwise;
  };
  const unsigned seed = asked("GRPO_KILL_SEED", std::random_device()()), all = asked("GRPO_KILLS", 10);
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  int runs = 1;
  bool begun = false;
  const auto name = [&] { return "killed" + std::to_string(runs); };
  // One moment in each tenth (of ten kills) of a run's time, in any order; a run that ends before is compared, and the
  // next one begins.
  std::vector<double> moments;
  for (unsigned i = 0; i < all; ++i) moments.push_back((i + std::uniform_real_distribution<>(0, 1)(random)) / all);
  std::shuffle(moments.begin(), moments.end(), random);
  for (unsigned kills = 0; kills < all;) {
    start(name(), begun, kills % 4 == 3 ? 2 : 1);
    if (HasFatalFailure()) return;
    begun = true;
    const auto moment = Clock::now() + std::chrono::duration<double>(moments[kills] * seconds_);
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
  EXPECT_EQ(child_.wait(), 128 + SIGTERM) << output("stopped");
  EXPECT_EQ(printed_command("stopped"), GRPO_DRIVER " --resume --out " + (folder_ / "stopped").string());
  EXPECT_EQ(read_file(folder_ / "stopped/metrics.jsonl"), "");
  EXPECT_FALSE(fs::is_empty(folder_ / "stopped/checkpoints"));

  start("stopped", true);
  ASSERT_TRUE(child_.wait_until([&] { return fs::file_size(folder_ / "stopped/metrics.jsonl") > 0; }))
      << output("stopped");
  child_.kill(SIGINT);
  EXPECT_EQ(child_.wait(), 128 + SIGINT) << output("stopped");
  const auto lines = metrics_without_timings(folder_ / "stopped");
  EXPECT_LT(lines.size(), 7u);
  ASSERT_FALSE(lines.empty());
  char checkpoint[64];
  std::snprintf(checkpoint, sizeof checkpoint, "stopped/checkpoints/step-%06d", 115 + lines.back()["step"].get<int>());
  EXPECT_TRUE(fs::exists(folder_ / checkpoint)) << checkpoint;

  start("stopped", true);
  EXPECT_EQ(child_.wait(), 0) << output("stopped");
  expect_same_as_undisturbed("stopped");

  // A run that has ended says so.
  start("stopped", true);
  EXPECT_EQ(child_.wait(), 0) << output("stopped");
  EXPECT_THAT(output("stopped"), HasSubstr("this run is finished, after 7 steps"));
  expect_same_as_undisturbed("stopped");
}

// The command that a run prints is all that it takes, whatever ended it and whatever its folder is called.
TEST_F(Driver, goes_on_by_the_command_that_it_prints) {
  run_undisturbed();
  if (HasFatalFailure()) return;
  const std::string name = "it's so";
  const fs::path folder = folder_ / name;
  const std::string quoted = "'" + (folder_ / "it'\\''s so").string() + "'";

  // A full disk, as far as a program can tell: files end at 16 blocks.
  start_in_shell("sh -c 'trap \"\" XFSZ; ulimit -f 16; exec " GRPO_DRIVER " --config " +
                     (folder_ / "config.json").string() + " --out \"$1\"' sh " + quoted,
                 name);
  EXPECT_EQ(child_.wait(), 1) << output(name);
  EXPECT_THAT(output(name), HasSubstr("File too large"));
  EXPECT_THAT(read_file(folder / "log.txt"), HasSubstr("error: "));
  fs::remove(folder_ / "config.json");  // from here on it knows itself
  std::string command = printed_command(name);
  EXPECT_EQ(command, GRPO_DRIVER " --resume --out " + quoted);

  for (const int signal : {SIGHUP, SIGKILL, SIGINT, SIGTERM, SIGABRT}) {
    const auto checkpoints = [&] {
      std::string names;
      std::error_code gone;
      for (const auto& each : fs::directory_iterator(folder / "checkpoints", gone))
        names += each.path().filename().string();
      return names;
    };
    const std::string before = checkpoints();
    fs::remove(folder_ / (name + ".out"));
    start_in_shell(command, name);
    if (!child_.wait_until([&] { return checkpoints() != before; })) {
      EXPECT_EQ(child_.wait(), 0) << output(name);
      break;
    }
    child_.kill(signal);
    const int status = child_.wait();
    const bool is_asked = signal != SIGKILL && signal != SIGABRT;
    EXPECT_TRUE(status == 0 || status == (is_asked ? 128 + signal : -signal)) << status << output(name);
    if (status == 128 + signal) {
      EXPECT_EQ(printed_command(name), command) << signal;
    }
  }
  start_in_shell(command, name);
  EXPECT_EQ(child_.wait(), 0) << output(name);
  expect_same_as_undisturbed(name);
}

TEST_F(Driver, names_what_is_changed_as_it_goes_on_and_keeps_what_it_was_made_with) {
  start("run", false);
  ASSERT_TRUE(child_.wait_until([&] { return fs::exists(folder_ / "run/checkpoints/step-000100"); })) << output("run");
  child_.kill(SIGKILL);
  child_.wait();
  const std::string config = read_file(folder_ / "run/config.json");
  const auto run = [&](const std::string& words) {
    fs::remove(folder_ / "run.out");
    start_in_shell(GRPO_DRIVER " --resume --out " + (folder_ / "run").string() + " " + words, "run");
    return child_.wait();
  };
  EXPECT_EQ(run("--set seed=12 --set policy.layers=2 --set steps=1"), 1);
  EXPECT_THAT(output("run"), testing::AllOf(HasSubstr("seed: 11 → 12"), HasSubstr("policy.layers: 1 → 2"),
                                            testing::Not(HasSubstr("steps: 7 → 1"))));
  EXPECT_EQ(read_file(folder_ / "run/config.json"), config);
  EXPECT_EQ(run("--steps 1 --set objective.kl=none --set objective.kl_coefficient=0 "
                "--set objective.reference_refresh_steps=0"), 0) << output("run");
  EXPECT_THAT(output("run"), HasSubstr("resuming with a changed steps: 7 → 1"));
  EXPECT_EQ(run("--set evaluate.samples=3"), 1) << "as before was measured";
  EXPECT_THAT(output("run"), HasSubstr("evaluate.samples: 2 → 3"));
  EXPECT_EQ(run(""), 0);
  EXPECT_THAT(output("run"), HasSubstr("this run is finished, after 1 steps"));

  // More steps go on; divergence that is switched on begins at the policy there.
  EXPECT_EQ(run("--set steps=3 --set objective.kl=k3_in_loss --set objective.kl_coefficient=0.1"), 0) << output("run");
  const auto lines = lines_of(folder_ / "run/metrics.jsonl");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(lines[0]["kl"].is_null());
  EXPECT_LT(lines[1]["kl"].get<double>(), 0.01);
  EXPECT_EQ(Json::parse(read_file(folder_ / "run/summary.json"))["steps"], 3);

  // Back to a checkpoint; what came later is kept.
  EXPECT_EQ(run("--resume-from step-116"), 1) << "not one of those there";
  EXPECT_EQ(run("--resume-from step-117 --set optimizer.learning_rate=1e-5"), 0) << output("run");
  EXPECT_TRUE(fs::exists(folder_ / "run/superseded/step-000118"));
  EXPECT_EQ(lines_of(folder_ / "run/metrics.jsonl").size(), 3u);
}

TEST_F(Driver, gives_up_measuring_when_asked_to_stop_and_measures_again) {
  std::string config = kConfig;
  for (const auto& [from, to] : {std::pair{"\"problems\": 20", "\"problems\": 60"},
                                 {"\"steps\": 115", "\"steps\": 5"},
                                 {"\"steps\": 7", "\"steps\": 1"}})
    config.replace(config.find(from), std::string(from).size(), to);
  std::ofstream(folder_ / "config.json") << config;
  start("whole", false);
  ASSERT_EQ(child_.wait(), 0) << output("whole");
  start("run", false);
  ASSERT_TRUE(child_.wait_until([&] { return fs::exists(folder_ / "run/checkpoints/step-000005"); })) << output("run");
  child_.kill(SIGTERM);
  EXPECT_EQ(child_.wait(), 128 + SIGTERM) << output("run");
  EXPECT_FALSE(fs::exists(folder_ / "run/summary.json"));
  start_in_shell(printed_command("run"), "run");
  EXPECT_EQ(child_.wait(), 0) << output("run");
  EXPECT_EQ(read_file(folder_ / "run/summary.json"), read_file(folder_ / "whole/summary.json"));
}

TEST_F(Driver, goes_on_without_anyone_who_reads_what_it_says) {
  start_in_shell(GRPO_DRIVER " --config " + (folder_ / "config.json").string() + " --steps 1 --set pretrain.steps=5 --out " +
                     (folder_ / "run").string() + " 2>&1 | head -n 1",
                 "run");
  EXPECT_EQ(child_.wait(), 0);
  EXPECT_TRUE(fs::exists(folder_ / "run/summary.json"));
}

TEST_F(Driver, counts_the_held_out_tasks_that_it_leaves_out) {
  std::ofstream(folder_ / "train.jsonl") << "{\"prompt\": \"1+1\", \"answer\": 2}\n";
  std::ofstream(folder_ / "heldout.jsonl") << "{\"prompt\": \"2+1\", \"answer\": 3}\n{\"prompt\": 5}\n"
                                           << Json{{"prompt", std::string(300, '1')}, {"answer", 1}}.dump() << '\n';
  start_in_shell(GRPO_DRIVER " --config " + (folder_ / "config.json").string() + " --steps 1 --set pretrain.steps=1" +
                     " --set tasks.file=" + (folder_ / "train.jsonl").string() +
                     " --set tasks.heldout_file=" + (folder_ / "heldout.jsonl").string() + " --out " +
                     (folder_ / "run").string(),
                 "run");
  ASSERT_EQ(child_.wait(), 0) << output("run");
  for (const char* when : {"before", "after"}) {
    const Json figures = Json::parse(read_file(folder_ / "run/summary.json"))[when];
    EXPECT_EQ(figures["left_out"], 2) << when;
    EXPECT_EQ(figures["problems"], 1) << when;
  }
}

// No steps at all are few.
TEST_F(Driver, ends_whole_without_steps) {
  start_in_shell(GRPO_DRIVER " --config " + (folder_ / "config.json").string() +
                     " --steps 0 --set pretrain.steps=0 --set evaluate.problems=2 --out " + (folder_ / "run").string(),
                 "run");
  EXPECT_EQ(child_.wait(), 0) << output("run");
  const Json summary = Json::parse(read_file(folder_ / "run/summary.json"));
  EXPECT_EQ(summary["steps"], 0);
  start_in_shell(GRPO_DRIVER " --resume --out " + (folder_ / "run").string(), "run");
  EXPECT_EQ(child_.wait(), 0) << output("run");
  EXPECT_THAT(output("run"), HasSubstr("this run is finished, after 0 steps"));
}

TEST_F(Driver, finds_what_is_wrong_before_any_work) {
  const std::pair<const char*, const char*> cases[] = {
      {"--set optimizer.schedule=linear --set optimizer.warmup_steps=7 --set optimizer.total_steps=7",
       "total_steps: expected more than warmup_steps (7), got 7"},
      {"--set policy.from=nowhere", "policy.from: "},
      {"--set chat.system=Think.", "chat.system: expected a chat.text with {system}"},
      {"--set rollout.max_new_tokens=128", "policy.max_positions (128)"},
      {"--set rewards.weights.acuracy=1", "accuracy"},
      {"--set rollout.sampling.temperature=0", "greedy samples cannot be trained on"},
      {"--set tasks.file=nowhere.jsonl", "nowhere.jsonl"},
      {"--set prompts_per_step=0", "prompts_per_step: expected 1 <= x"},
      {"--set prompts_per_step=1000000 --set objective.max_refills=16", "objective.max_refills"},
      {"--set save_every=0", "save_every"},
      {"--set evaluate.samples=0", "evaluate.samples"},
      {"--set rollout.samples=1", "rollout.samples: expected at least 2"},
      {"--set rollout.pages=2", "rollout.pages: expected at least 3, got 2"},
      {"--set rollout.pages=0 --set rollout.cache_gigabytes=1e-9", "rollout.cache_gigabytes: expected at least"},
      {"--set rollout.samples=65537", "rollout.samples: expected 1 <= x <= 65536"},
      {"--set chat.text=", "chat.text"},
      {"--set policy.from=nowhere", "nowhere"},
      {"--set tasks.heldout_share=0 --set tasks.file=" GRPO_FIXTURES "/../../examples/data/tasks.jsonl",
       "error: [task] " GRPO_FIXTURES "/../../examples/data/tasks.jsonl: expected at least one held-out task"},
  };
  for (const auto& [words, what] : cases) expect_refused(words, what);
}

// Each of these has a unit that tests it; here, that the driver asks before there is a folder.
TEST_F(Driver, finds_tasks_and_rewards_that_do_not_fit_before_any_work) {
  std::ofstream(folder_ / "sums.jsonl") << R"({"prompt": "1+1", "answer": 2})";
  std::ofstream(folder_ / "puzzles.jsonl") << R"({"prompt": "1+1", "answer": 2, "kind": "sudoku"})";
  const std::string folder = folder_.path().string() + "/";
  const std::pair<std::string, const char*> cases[] = {
      {"--set rewards.weights='{\"helpful\":1}'", "rewards.weights.helpful: no task can earn it, as it takes a judge"},
      {"--set rewards.weights.choice=1", "rewards.weights.choice cannot read its answer"},
      {"--set tasks.file=" + folder + "puzzles.jsonl",
       "puzzles.jsonl:1: accuracy cannot read its answer: expected a sudoku"},
      {"--set tasks.file=" + folder + "config.json",
       "config.json:1: expected a JSON object, got malformed JSON at column"},
      {"--set tasks.file=" + folder + "sums.jsonl --set tasks.heldout_file=" + folder + "sums.jsonl",
       "tasks.heldout_file: expected another file"},
      {"--set objective.minibatches=5", "objective.minibatches: expected at most prompts_per_step (4), got 5"},
      // What takes the tokenizer to tell is told before any work, and leaves nothing behind either.
      {"--set evaluate.problems=0 --set tasks.on_bad=refuse --set tasks.file=" + folder + "long.jsonl",
       "long.jsonl:1: a prompt of "},
      {"--set rollout.max_new_tokens=127", "exceed policy.max_positions = 128"},
      {"--set tasks.generator=countdown", "policy.max_positions: expected room for the documents of pretraining"},
      {"--set tokenizer.vocab_size=270", "tokenizer] vocab_size: expected at least "},
      {"--set policy.vocab_size=300", "policy.vocab_size: expected at least the "},
  };
  std::ofstream(folder_ / "long.jsonl") << Json{{"prompt", std::string(300, '7')}, {"answer", 1}}.dump();
  for (const auto& [words, what] : cases) expect_refused(words, what);
}

// What makes a part of a run useless is told at its start, by the name that was given, and once.
TEST_F(Driver, warns_of_what_will_do_nothing) {
  std::ofstream lines(folder_ / "tasks.jsonl");
  for (int i = 0; i < 30; ++i)
    lines << Json{{"prompt", std::to_string(i) + "+1"},
                  {"answer", i + 1},
                  {"kind", i % 3 ? "arithmetic" : "sum"},
                  {"languag", "en"}}
                 .dump()
          << '\n';
  lines.close();
  start_in_shell(GRPO_DRIVER " --config " + (folder_ / "config.json").string() + " --out " +
                     (folder_ / "run").string() +
                     " --steps 1 --set pretrain.steps=1 --set evaluate.problems=2 --set tasks.seed=5"
                     " --set optimizer.learning_rate=0 --set rewards.weights.code=1 --set rewards.weights.overlong=1"
                     " --set rewards.overlong_max_length=40 --set rewards.overlong_buffer=8 --set tasks.file=" +
                     (folder_ / "tasks.jsonl").string(),
                 "run");
  EXPECT_EQ(child_.wait(), 0) << output("run");
  const std::string said = output("run");
  for (const char* what : {"rewards.weights.overlong punishes what is longer than 32 tokens",
                           "rewards.weights.code: no task can earn it", "tasks.jsonl:1: unknown kind \"sum\"",
                           "tasks.jsonl:1: unknown key \"languag\" in 30 lines; did you mean \"language\"?",
                           "optimizer.learning_rate is 0: nothing will be learned"}) {
    EXPECT_THAT(said, HasSubstr(what));
    EXPECT_EQ(said.find(what), said.rfind(what)) << "once: " << what;
  }
}

// The order of tasks has a seed of its own where one is given, and else that of the run.
TEST_F(Driver, keeps_a_seed_of_tasks_that_was_given) {
  const auto prompts = [&](const std::string& name, const std::string& words) {
    start_in_shell(
        GRPO_DRIVER " --config " + (folder_ / "config.json").string() + " --out " + (folder_ / name).string() +
            " --steps 1 --set pretrain.steps=0 --set evaluate.problems=0 --set rollout.max_new_tokens=4 " + words,
        name);
    EXPECT_EQ(child_.wait(), 0) << output(name);
    std::vector<std::string> all;
    for (const Json& line : lines_of(folder_ / name / "samples.jsonl")) all.push_back(line["prompt"]);
    return all;
  };
  const auto plain = prompts("plain", "--seed 5"), same = prompts("same", "--seed 5 --set tasks.seed=5"),
             other = prompts("other", "--seed 5 --set tasks.seed=6");
  EXPECT_EQ(plain, same);
  EXPECT_NE(plain, other);
}

// Quick tries, and stages that are left out.
TEST_F(Driver, takes_as_few_steps_as_are_asked_for) {
  const std::pair<const char*, std::size_t> cases[] = {
      {"--set steps=1 --set pretrain.steps=1 --set optimizer.schedule=linear --set optimizer.warmup_steps=7 "
       "--set pretrain.optimizer.warmup_steps=5",
       1},
      {"--set steps=0 --set pretrain.steps=1", 0},
      {"--set steps=1 --set pretrain.steps=0", 1},
  };
  for (const auto& [words, steps] : cases) {
    fs::remove_all(folder_ / "run");
    fs::remove(folder_ / "run.out");
    start_in_shell(GRPO_DRIVER " --config " + (folder_ / "config.json").string() + " --out " +
                       (folder_ / "run").string() + " --set evaluate.problems=2 " + words,
                   "run");
    EXPECT_EQ(child_.wait(), 0) << words << '\n' << output("run");
    EXPECT_EQ(metrics_without_timings(folder_ / "run").size(), steps) << words;
    EXPECT_TRUE(fs::exists(folder_ / "run/summary.json")) << words;
    if (&words == &cases[0].first) {
      EXPECT_THAT(output("run"), testing::AllOf(HasSubstr("optimizer.warmup_steps: 7 → 3, in a stage of 4 updates"),
                                                HasSubstr("pretrain.optimizer.warmup_steps: 5 → 0")));
    }
  }
}

// Nothing differs where every completion is worth the same: that ends a run, saved, and a resumed one has its patience
// again. One that is stopped before goes on counting where it was.
TEST_F(Driver, ends_a_run_in_which_nothing_is_learned) {
  const std::string silent = " --set rewards.weights={\\\"overlong\\\":1} --set rewards.overlong_max_length=900"
                             " --set rewards.overlong_buffer=1 --set objective.dynamic_sampling=false"
                             " --set objective.kl=none --set objective.kl_coefficient=0"
                             " --set objective.reference_refresh_steps=0 --set pretrain.steps=3"
                             " --set evaluate.problems=0 --set max_silent_steps=3 --set save_every=1";
  start_in_shell(GRPO_DRIVER " --config " + (folder_ / "config.json").string() + " --out " + (folder_ / "run").string() +
                     silent,
                 "run");
  EXPECT_EQ(child_.wait(), 1) << output("run");
  EXPECT_THAT(output("run"), testing::AllOf(HasSubstr("step 1 had nothing to learn from: in no group did two rewards differ"),
                                            HasSubstr("nothing was learned in the last 3 steps"),
                                            HasSubstr("few have the form"), HasSubstr("rewards from 0.000 to 0.000")));
  const auto steps = [&] { return metrics_without_timings(folder_ / "run").size(); };
  EXPECT_EQ(steps(), 3u);
  for (const Json& line : metrics_without_timings(folder_ / "run")) {
    EXPECT_EQ(line["flat_groups"], line["groups"]);
    EXPECT_TRUE(line["entropy"].is_null()) << "nothing went through the policy";
  }
  // From the middle: two of the three steps are behind it.
  start_in_shell(GRPO_DRIVER " --resume-from step-5 --out " + (folder_ / "run").string(), "again");
  EXPECT_EQ(child_.wait(), 1) << output("again");
  EXPECT_EQ(steps(), 3u);
  start_in_shell(GRPO_DRIVER " --resume --out " + (folder_ / "run").string(), "on");
  EXPECT_EQ(child_.wait(), 1) << output("on");
  EXPECT_EQ(steps(), 6u);
  start_in_shell(GRPO_DRIVER " --resume --set max_silent_steps=0 --out " + (folder_ / "run").string(), "end");
  EXPECT_EQ(child_.wait(), 0) << output("end");
  EXPECT_EQ(steps(), 7u);
}

TEST_F(Driver, refuses_an_unknown_key_before_it_touches_a_folder) {
  std::ofstream(folder_ / "config.json") << R"({"objective": {"clop_high": 0.3}})";
  start("refused", false);
  EXPECT_EQ(child_.wait(), 1);
  EXPECT_THAT(output("refused"), HasSubstr("\"objective.clip_high\""));
  EXPECT_FALSE(fs::exists(folder_ / "refused"));
}

// What cannot be used is left out and told of before any work, and so is a learning rate that teaches nothing.
TEST_F(Driver, leaves_out_tasks_that_cannot_be_asked) {
  const std::string file = (folder_ / "tasks.jsonl").string();
  {
    std::ofstream lines(file);
    for (int i = 0; i < 40; ++i)
      lines << Json{{"prompt", "What is " + std::to_string(i) + "+1?" + std::string(i % 5 == 2 ? 400 : 0, 'x')},
                    {"answer", i + 1}}
                   .dump()
            << '\n';
    lines << "no task\n";
  }
  start_in_shell(GRPO_DRIVER " --config " + (folder_ / "config.json").string() + " --out " +
                     (folder_ / "run").string() + " --steps 3 --set pretrain.steps=3"
                     " --set pretrain.optimizer.learning_rate=1e-12"
                     " --set evaluate.problems=2 --set rollout.max_new_tokens=4 --set tasks.file=" + file,
                 "run");
  EXPECT_EQ(child_.wait(), 0) << output("run");
  EXPECT_EQ(lines_of(folder_ / "run/metrics.jsonl").size(), 3u);
  EXPECT_THAT(read_file(folder_ / "run/log.txt"),
              testing::AllOf(HasSubstr(" of 41 tasks are left out: " + file + ":41: expected a JSON object"),
                             HasSubstr("exceed policy.max_positions = 128"), HasSubstr("warning: held out, "),
                             HasSubstr("raise optimizer.learning_rate")));
}

TEST_F(Driver, runs_where_stacks_are_small) {
  start_in_shell("sh -c 'ulimit -s 64; exec env OMP_NUM_THREADS=2 " GRPO_DRIVER
                 " --steps 1 --set pretrain.steps=3 --set evaluate.problems=2 --config " +
                     (folder_ / "config.json").string() + " --out " + (folder_ / "run").string() + "'",
                 "run");
  EXPECT_EQ(child_.wait(), 0) << output("run");
}

}  // namespace
}  // namespace grpo
