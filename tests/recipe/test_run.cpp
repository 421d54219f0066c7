// The folder of a run: whose it is, how it goes on, and what it keeps; test_run_records.cpp has what is recorded in it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <limits>
#include <nlohmann/json.hpp>

#include "error_of.h"
#include "grpo/device.h"
#include "run_test.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

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
    run.go_on();
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
    run.go_on();
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
  EXPECT_EQ(Json::parse(read_file(at("config.json"))), kResolved) << "nothing is written before it has looked around";
  run.resume();
  EXPECT_THAT(read_file(at("log.txt")),
              AllOf(HasSubstr("changed steps: 3 → 9"), Not(HasSubstr("changed seed")), Not(HasSubstr("resume:"))));
  EXPECT_EQ(Json::parse(read_file(at("config.json"))), changed);
}

TEST_F(RunFolder, keeps_what_it_was_made_with) {
  {
    grpo::Run run(config(), kResolved, "test");
    run.resume();
    record(run, 1);
    save(run, 1);
    record(run, 2);
  }
  const std::string metrics = read_file(at("metrics.jsonl"));
  const auto stays = [](const std::string& key, const Json& state) {
    return state["step"] == 1 && lies_in(key, {"seed", "tasks"});
  };
  const auto error = [&](const Json& resolved) {
    grpo::Run run(config(true), resolved, "test");
    return error_of([&] { run.resume(stays), run.go_on(); });
  };
  Json changed = kResolved;
  changed["steps"] = 9, changed["seed"] = 12, changed["tasks"]["file"] = "other.jsonl";
  EXPECT_THAT(error(changed), AllOf(HasSubstr("[run]"), HasSubstr("seed: 11 → 12"),
                                    HasSubstr("tasks.file: \"\" → \"other.jsonl\""), Not(HasSubstr("steps:")),
                                    HasSubstr("leave that out")));
  EXPECT_EQ(Json::parse(read_file(at("config.json"))), kResolved);
  EXPECT_EQ(read_file(at("metrics.jsonl")), metrics);
  changed = kResolved;
  changed["steps"] = 9, changed["tasks"]["languages"] = {"ko"};  // a knob that the earlier program did not know
  EXPECT_EQ(error(changed), "(no error)");
  EXPECT_EQ(Json::parse(read_file(at("config.json"))), changed);
}

TEST(ConfigChanges, are_named_by_their_keys) {
  const Json before{{"steps", 3}, {"list", {1, 2}}, {"map", {{"a", 1}, {"b", 2}}}, {"same", {{"x", nullptr}}}};
  const Json after{
      {"steps", 4}, {"list", {1}}, {"map", {{"a", 1}, {"c", 3}}}, {"same", {{"x", nullptr}}}, {"new", true}};
  std::vector<std::string> texts;
  for (const ConfigChange& change : config_changes(before, after))
    texts.push_back(change.text() + (change.is_new ? " (new)" : ""));
  EXPECT_THAT(texts, testing::ElementsAre("steps: 3 → 4", "list.1: 2 → nothing", "map.c: nothing → 3 (new)",
                                          "map.b: 2 → nothing", "new: nothing → true (new)"));
  const auto longer = config_changes({{"list", {1}}}, {{"list", {1, 2}}});
  ASSERT_EQ(longer.size(), 1u);
  EXPECT_FALSE(longer[0].is_new) << "a list is a knob of its own";
  EXPECT_TRUE(lies_in("policy.moe.experts", {"seed", "policy"}) && lies_in("policy", {"policy"}));
  EXPECT_FALSE(lies_in("policy_x", {"policy"}) || lies_in("pol", {"policy"}));
}

struct DriverConfig : RunConfig {
  int steps = 3;
  std::string force_from;
  std::vector<RunConfig> stages;

  template <class V>
  void visit(V& v) {
    RunConfig::visit(v);
    v("steps", steps, "", at_least(0));
    v("force_from", force_from, "");
    v("stages", stages, "");
  }
};

TEST_F(RunFolder, knows_its_own_configuration) {
  const std::string out = (folder_ / "zero").string(), file = (folder_ / "given.json").string();
  std::ofstream(file) << R"({"steps": 7, "keep": 5})";
  fs::create_directories(out);
  std::ofstream(at("config.json")) << R"({"out": "elsewhere", "resume": true, "resume_from": "step-3",
    "force_from": "a", "steps": 5, "keep": 4, "stages": [{"keep": 8}]})";
  const auto load = [&](std::vector<std::string> words) { return load_run_config<DriverConfig>(words); };

  DriverConfig c = load({"--resume", "--out", out});
  EXPECT_EQ(c.out, out);
  EXPECT_TRUE(c.resume);
  EXPECT_EQ(c.resume_from + c.force_from, "") << "they were of an earlier start";
  EXPECT_EQ(c.steps, 5);
  EXPECT_EQ(c.keep, 4);
  const std::vector<std::vector<std::string>> all{
      {"--config", file, "--set", "stages.0.keep=9", "--set=out=" + out, "--resume=true"},
      {"--stages.0.keep=9", "--resume-from=step-1", "--config=" + file, "--set", "out=" + out}};
  for (const std::vector<std::string>& words : all) {
    c = load(words);
    EXPECT_EQ(c.steps, 7) << "what is mentioned changes";
    EXPECT_EQ(c.keep, 5);
    ASSERT_EQ(c.stages.size(), 1u);
    EXPECT_EQ(c.stages[0].keep, 9);
    EXPECT_TRUE(c.resume);
  }
  EXPECT_EQ(c.resume_from, "step-1");
  EXPECT_EQ(load({"--out", out}).steps, 3) << "a run that begins has nothing to do with the one there";
  EXPECT_EQ(load({"--out", out + "x", "--resume", "--config", file}).steps, 7) << "nor has one that is not there";
  EXPECT_THAT(error_of([&] {
                load({"--resume", "--out", out + "x"});
              }),
              HasSubstr(out + "x: expected the folder of a run to resume, found no config.json"));
  EXPECT_THROW(load({"--resume", "--out", out, "--help"}), HelpRequested);
  EXPECT_THAT(error_of([&] { load({"--resume", "--out", out, "--keep", "-1"}); }), HasSubstr("keep: expected x >= 0"));
  std::ofstream(at("config.json")) << "{\"steps\": ";
  EXPECT_THAT(error_of([&] { load({"--resume", "--out", out}); }), HasSubstr(at("config.json").string()));
}

TEST_F(RunFolder, begins_a_log_anew_that_was_cut_short) {
  const std::vector<const char*> logs{"metrics.jsonl", "samples.jsonl", "events.out.tfevents.grpo"};
  for (const bool deleted : {true, false}) {
    fs::remove_all(folder_ / "zero");
    {
      grpo::Run run(config(), kResolved, "test");
      run.resume();
      record(run, 1);
      save(run, 1);
    }
    for (const char* log : logs) {
      if (deleted)
        fs::remove(at(log));
      else
        fs::resize_file(at(log), fs::file_size(at(log)) - 3);
    }
    {
      grpo::Run run(config(true), kResolved, "test");
      ASSERT_TRUE(run.resume().has_value());
      record(run, 2);
      save(run, 2);
    }
    for (const char* log : logs) {
      EXPECT_THAT(read_file(at("log.txt")), AllOf(HasSubstr("warning: "), HasSubstr(at(log).string() + ": expected")));
      EXPECT_EQ(fs::exists(at(log + std::string(".1"))), !deleted) << "what was left is kept";
    }
    ASSERT_EQ(lines_of(at("metrics.jsonl")).size(), 1u);
    EXPECT_EQ(lines_of(at("metrics.jsonl"))[0]["step"], 2);
    grpo::Run run(config(true), kResolved, "test");
    EXPECT_TRUE(run.resume().has_value());
    run.go_on();
    EXPECT_EQ(lines_of(at("metrics.jsonl")).size(), 1u) << "and goes on from there";
  }
}

TEST_F(RunFolder, goes_back_without_losing_what_came_later) {
  const auto begin = [&] {
    fs::remove_all(folder_ / "zero");
    grpo::Run run(config(), kResolved, "test");
    run.resume();
    for (int64_t step = 8; step <= 12; ++step) record(run, step), save(run, step);
  };
  for (const char* name : {"step-10", "step-000010", "10", "runs/zero/checkpoints/step-000010"}) {
    begin();
    RunConfig back = config();
    back.resume_from = name;
    {
      grpo::Run run(back, kResolved, "test");
      const auto found = run.resume();
      ASSERT_TRUE(found.has_value());
      EXPECT_EQ(found->state["step"], 10);
      EXPECT_EQ(list_checkpoints(run.folder()).size(), 5u);
      run.go_on();
      EXPECT_EQ(lines_of(at("metrics.jsonl")).size(), 3u);
      EXPECT_THAT(read_file(at("log.txt")),
                  HasSubstr("step-000011, step-000012 are now in " + at("superseded").string()));
      EXPECT_EQ(read_checkpoint(at("superseded/step-000012")).state["step"], 12);
    }
    // Killed before it saved anything, it does not come back to what was left behind.
    grpo::Run run(config(true), kResolved, "test");
    EXPECT_EQ(run.resume()->state["step"], 10);
    record(run, 11);
    save(run, 11);
  }
  begin();
  RunConfig back = config();
  back.resume_from = "step-13";
  grpo::Run run(back, kResolved, "test");
  EXPECT_THAT(error_of([&] { run.resume(); }),
              AllOf(HasSubstr("resume_from"), HasSubstr("step-000008, step-000009"), HasSubstr("\"step-13\"")));
  EXPECT_EQ(list_checkpoints(folder_ / "zero").size(), 5u);
}

TEST_F(RunFolder, does_not_save_a_policy_that_has_diverged) {
  grpo::Run run(config(), kResolved, "test");
  run.resume();
  save(run, 1);
  const auto error = [&](double policy, double moment) {
    CheckpointContents contents;
    contents.policy = {{"weight", at::full({2}, policy)}};
    contents.optimizer = {{"updates", at::scalar_tensor(1, at::kLong)}, {"moment", at::full({2}, moment)}};
    return error_of([&] { run.save(2, contents); });
  };
  EXPECT_EQ(error(1, 1), "(no error)");
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    EXPECT_THAT(error(bad, 1), AllOf(HasSubstr("step 2"), HasSubstr("diverged (weight is not finite)"),
                                     HasSubstr("--resume-from step-N"), HasSubstr("step-000001"),
                                     HasSubstr("lower learning rate")));
    EXPECT_THAT(error(1, bad), HasSubstr("moment is not finite"));
  }
  // Finite, and too large to compute with.
  Policy policy = tiny::policy();
  Trainer trainer(policy, OptimizerConfig{});
  EXPECT_EQ(error_of([&] { run.save(2, policy, trainer, Json::object()); }), "(no error)");
  for (const auto& [name, tensor] : policy.state())
    if (name == "model.norm.weight") tensor.fill_(3e38);
  EXPECT_THAT(error_of([&] { run.save(3, policy, trainer, Json::object()); }), HasSubstr("its logits are not finite"));
  EXPECT_EQ(list_checkpoints(folder_ / "zero").size(), 2u);
}

TEST_F(RunFolder, measures_the_divergence_from_the_policy_that_came_back_where_there_was_no_reference) {
  ObjectiveConfig with_kl;
  with_kl.kl = Kl::k3_in_loss, with_kl.kl_coefficient = 0.1;
  NamedTensors weights;
  grpo::Run run(config(), kResolved, "test");
  run.resume();
  {
    Policy policy = tiny::policy();
    Trainer trainer(policy, OptimizerConfig{});
    run.save(1, policy, trainer, Json::object());
    for (const auto& [name, tensor] : policy.state()) weights.emplace_back(name, tensor.clone());
  }
  Policy policy = Policy::uninitialized(tiny::policy_config());
  for (const auto& [name, tensor] : policy.state()) tensor.fill_(std::nan(""));  // what memory may hold
  Trainer trainer(policy, with_kl, OptimizerConfig{});
  run.restore(read_checkpoint(*newest_checkpoint(run.folder())), policy, trainer);
  for (const NamedTensors& state : {policy.state(), trainer.reference()->state()})
    for (size_t i = 0; i < weights.size(); ++i) EXPECT_TRUE(at::equal(state[i].second, weights[i].second));
  EXPECT_THAT(read_file(at("log.txt")), HasSubstr("reference is the policy of this checkpoint"));

  // A reference that is there comes back as it was.
  for (const auto& [name, tensor] : trainer.reference()->state()) tensor.mul_(2);
  run.save(2, policy, trainer, Json::object());
  Trainer again(policy, with_kl, OptimizerConfig{});
  run.restore(read_checkpoint(*newest_checkpoint(run.folder())), policy, again);
  EXPECT_TRUE(at::equal(again.reference()->state()[0].second, weights[0].second * 2));

  Policy other(tiny::policy_config(DType::float32, true), 1);
  Trainer others(other, OptimizerConfig{});
  EXPECT_THAT(error_of([&] { run.restore(read_checkpoint(*newest_checkpoint(run.folder())), other, others); }),
              HasSubstr("[checkpoint] " + checkpoint_folder(run.folder(), 2).string()));
}

TEST_F(RunFolder, changes_nothing_before_its_checkpoint_is_loaded) {
  {
    grpo::Run run(config(), kResolved, "test");
    run.resume();
    Policy policy = tiny::policy();
    Trainer trainer(policy, OptimizerConfig{});
    for (const int64_t step : {1, 2}) record(run, step), run.save(step, policy, trainer, {{"step", step}});
    record(run, 3);
  }
  const auto all = [&] {
    std::vector<std::pair<std::string, std::string>> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "zero"))
      if (entry.is_regular_file() && entry.path().filename() != "log.txt" && entry.path().filename() != ".lock")
        files.emplace_back(entry.path().string(), read_file(entry.path()));
    std::sort(files.begin(), files.end());
    return files;
  };
  Json changed = kResolved;
  changed["steps"] = 9;
  for (const char* place : {"", "step-1"}) {
    RunConfig c = config(true);
    c.resume_from = place;
    const auto before = all();
    const std::string log = read_file(at("log.txt"));
    grpo::Run run(c, changed, "test");
    const auto checkpoint = run.resume();
    ASSERT_TRUE(checkpoint.has_value());
    Policy other = tiny::policy(tiny::policy_config(DType::float32, true));
    Trainer others(other, OptimizerConfig{});
    EXPECT_THAT(error_of([&] { run.restore(*checkpoint, other, others); }), HasSubstr("[checkpoint]"));
    EXPECT_EQ(all(), before) << place;
    EXPECT_THAT(read_file(at("log.txt")).substr(log.size()), Not(HasSubstr("changed")));

    Policy policy = tiny::policy();
    Trainer trainer(policy, OptimizerConfig{});
    run.restore(*checkpoint, policy, trainer);
    EXPECT_EQ(lines_of(at("metrics.jsonl")).size(), *place ? 1u : 2u);
    EXPECT_EQ(list_checkpoints(run.folder()).size(), *place ? 1u : 2u);
    EXPECT_EQ(Json::parse(read_file(at("config.json"))), changed);
    changed["steps"] = 10;
  }
}

TEST_F(RunFolder, is_worked_on_by_one_process_at_a_time) {
  {
    grpo::Run run(config(), kResolved, "test");
    grpo::Run stage = run.stage("base", kResolved);
    for (const bool resume : {false, true})
      for (const char* name : {"zero", "zero/base"}) {
        RunConfig c = config(resume);
        c.out = (folder_ / name).string();
        EXPECT_THAT(error_of([&] { grpo::Run(c, kResolved, "test"); }),
                    AllOf(HasSubstr(c.out + ": expected a folder that no other process works on"),
                          HasSubstr("process " + std::to_string(::getpid()) + " on "), HasSubstr("since 20")));
      }
    EXPECT_FALSE(fs::exists(folder_ / "zero.1")) << "nor is it moved from under it";
  }
  EXPECT_EQ(error_of([&] { grpo::Run(config(true), kResolved, "test"); }), "(no error)");
}

TEST_F(RunFolder, writes_the_error_that_ends_it_to_the_log_with_the_way_to_go_on) {
  RunConfig c = config();
  c.out = (folder_ / "it's mine").string();
  grpo::Run run(c, kResolved, "r1_zero");
  EXPECT_EQ(run.attempt([] { return 7; }), 7);
  run.resume();
  record(run, 1);
  EXPECT_EQ(run.attempt([]() -> int { throw Error("rollout", "no more pages"); }), 1);
  const std::string command = "r1_zero --resume --out '" + (folder_ / "it'\\''s mine").string() + "'";
  EXPECT_THAT(read_file(run.folder() / "log.txt"),
              AllOf(HasSubstr("error: [rollout] no more pages"), HasSubstr("to go on: " + command)));
  std::raise(SIGHUP);
  EXPECT_EQ(run.attempt([]() -> int { throw Interrupted(); }), 128 + SIGHUP);
  EXPECT_THAT(read_file(run.folder() / "log.txt"), HasSubstr("all is saved; to go on: " + command));
}

// An error before the first step leaves all as it was.
TEST_F(RunFolder, takes_back_what_it_made_where_nothing_was_done_yet) {
  const auto fails = [&](const RunConfig& c, bool works) {
    grpo::Run run(c, kResolved, "test");
    EXPECT_EQ(run.attempt([&]() -> int {
                run.resume();
                std::ofstream(run.folder() / "tokenizer.model") << "pieces";
                if (works) record(run, 1);
                throw Error("task", "too long");
              }),
              1);
  };
  fails(config(), false);
  EXPECT_FALSE(fs::exists(folder_ / "zero"));

  fails(config(), true);  // what was done stays, and is what a later start finds again
  ASSERT_EQ(lines_of(at("metrics.jsonl")).size(), 1u);
  const std::string log = read_file(at("log.txt"));
  fails(config(), false);
  EXPECT_EQ(read_file(at("log.txt")), log);
  EXPECT_EQ(lines_of(at("metrics.jsonl")).size(), 1u);
  EXPECT_FALSE(fs::exists(folder_ / "zero.1"));

  RunConfig other = config();  // whose folder was there before, with what else is in it
  other.out = (folder_ / "mine").string();
  fs::create_directory(other.out);
  std::ofstream(folder_ / "mine/notes.txt") << "mine";
  fails(other, false);
  EXPECT_EQ(read_file(folder_ / "mine/notes.txt"), "mine");
  fails(config(/*resume=*/true), false);
  EXPECT_TRUE(fs::exists(at("log.txt")));
}

TEST_F(RunFolder, takes_nothing_back_of_what_others_have_put_there) {
  for (const char* place : {"notes.txt", "base/notes.txt", "checkpoints/weights"}) {
    fs::remove_all(folder_ / "zero");
    grpo::Run run(config(), kResolved, "test");
    EXPECT_EQ(run.attempt([&]() -> int {
                run.resume();
                fs::create_directories(at(place).parent_path());
                std::ofstream(at(place)) << "mine";
                throw Error("task", "too long");
              }),
              1);
    EXPECT_EQ(read_file(at(place)), "mine");
    EXPECT_THAT(read_file(at("log.txt")), HasSubstr("to go on: "));
  }
}

TEST_F(RunFolder, stops_after_the_step_when_a_signal_asks_and_says_how_to_go_on) {
  grpo::Run run(config(), kResolved, "r1_zero");
  run.resume();
  EXPECT_FALSE(run.stopping());
  std::raise(SIGTERM);
  EXPECT_TRUE(run.stopping());
  EXPECT_EQ(run.stopped(), 128 + SIGTERM);
  EXPECT_THAT(read_file(at("log.txt")), HasSubstr("r1_zero --resume --out " + (folder_ / "zero").string()));
}

TEST_F(RunFolder, saves_every_so_many_steps) {
  RunConfig c = config();
  c.save_every = 3;
  grpo::Run run(c, kResolved, "test");
  EXPECT_FALSE(run.due(1) || run.due(2) || run.due(4));
  EXPECT_TRUE(run.due(3) && run.due(6));
}

TEST_F(RunFolder, holds_stages_that_are_runs_of_their_own_and_always_go_on) {
  size_t events = 0;
  for (int i = 0; i < 2; ++i) {
    grpo::Run run(config(i == 1), kResolved, "r1");
    grpo::Run stage = run.stage("base", {{"stage", i}});
    EXPECT_EQ(stage.folder(), folder_ / "zero/base");
    EXPECT_EQ(Json::parse(read_file(at("base/config.json"))), (Json{{"stage", 0}}));
    const auto found = stage.resume();
    EXPECT_EQ(found.has_value(), i == 1);
    stage.go_on();
    EXPECT_EQ(Json::parse(read_file(at("base/config.json"))), (Json{{"stage", i}}));
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
  EXPECT_THAT(error_of([] { open_device("cpu:7"); }), HasSubstr("\"cpu:7\""));
}

}  // namespace
}  // namespace grpo
