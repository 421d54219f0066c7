// The recipe as data: what is refused, what is done again, and the real r1, killed in the middle of its stages.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "child.h"
#include "error_of.h"
#include "files.h"
#include "grpo/recipe.h"
#include "tiny.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// Every type of stage, and everything that can pass between them, in a few steps each.
constexpr const char* kConfig = R"({
  "save_every": 2, "notebook": -1, "seed": 3,
  "tokenizer": {"vocab_size": 330},
  "tasks": {"arithmetic": {"max_operand": 20}},
  "judging": {"votes": 1, "max_new_tokens": 8, "max_unreadable": 1.0},
  "evaluation": {"problems": 6, "samples": 2, "general_problems": 4, "general_samples": 1, "pairs": 3, "max_new_tokens": 12, "judge": "cold"},
  "selection": ["on_all", "on_best"],
  "stages": [
    {"name": "base", "type": "pretrain",
     "policy": {"hidden_size": 16, "layers": 1, "heads": 2, "kv_heads": 1, "max_positions": 640, "moe": {"experts": 4, "intermediate_size": 16}},
     "pretrain": {"steps": 4, "documents_per_step": 2, "optimizer": {"learning_rate": 1e-2}}},
    {"name": "cold", "type": "sft", "from": "base", "data": [{"file": "DEMOS"}],
     "sft": {"epochs": 20, "documents_per_step": 4, "optimizer": {"learning_rate": 2e-2}}},
    {"name": "zero", "from": "cold", "judge": "cold",
     "grpo": {"steps": 5, "prompts_per_step": 3,
              "tasks": [{"weight": 2, "tasks": {"arithmetic": {"max_operand": 20}}}, {"tasks": {"generator": "general"}}],
              "rollout": {"samples": 4, "max_new_tokens": 12},
              "rewards": {"weights": {"accuracy": 1, "format": 0.5}, "by_kind": [
                {"kind": "sentence", "weights": {"format": 0.5, "helpful": 1}}, {"kind": "summary", "weights": {"format": 0.5, "helpful": 1}},
                {"kind": "refusal", "weights": {"format": 0.5, "helpful": 1}}]},
              "objective": {"kl": "k3_in_loss", "kl_coefficient": 0.01, "reference_refresh_steps": 2},
              "optimizer": {"learning_rate": 1e-3}}},
    {"name": "pick", "type": "rejection_sample", "from": "zero",
     "rejection": {"count": 8, "tasks_per_batch": 3, "tasks": [{"tasks": {"generator": "general"}}], "rollout": {"samples": 4, "max_new_tokens": 12},
                   "screen": {"min_helpful": 0, "min_language_consistency": 0}}},
    {"name": "taught", "type": "sft", "from": "base",
     "data": [{"stage": "pick", "share": 3}, {"topic": "problem", "count": 4, "share": 1}, {"topic": "judging", "count": 2, "share": 1}],
     "sft": {"documents_per_step": 5, "epochs": 1}},
    {"name": "student", "type": "pretrain", "evaluate": false,
     "policy": {"hidden_size": 8, "layers": 1, "heads": 1, "kv_heads": 1, "max_positions": 640}, "pretrain": {"steps": 3, "documents_per_step": 2}},
    {"name": "distilled", "type": "distill", "from": "student", "teacher": "zero",
     "rejection": {"count": 6, "tasks_per_batch": 2, "tasks": [{"tasks": {"generator": "general"}}], "rollout": {"samples": 4, "max_new_tokens": 12},
                   "screen": {"min_helpful": 0, "min_language_consistency": 0}},
     "sft": {"documents_per_step": 2, "epochs": 4}},
    {"name": "matched", "from": "cold", "match_tokens": "distilled",
     "grpo": {"steps": 50, "prompts_per_step": 2, "rollout": {"samples": 4, "max_new_tokens": 12},
              "rewards": {"weights": {"overlong": 1}, "overlong_max_length": 12, "overlong_buffer": 11}}},
    {"name": "on_all", "from": "cold", "evaluate": false,
     "grpo": {"steps": 2, "prompts_per_step": 2, "rollout": {"samples": 4, "max_new_tokens": 12},
              "rewards": {"weights": {"overlong": 1}, "overlong_max_length": 12, "overlong_buffer": 11}}},
    {"name": "on_best", "from": "cold", "evaluate": false,
     "grpo": {"steps": 2, "prompts_per_step": 2, "rollout": {"samples": 4, "max_new_tokens": 12},
              "rewards": {"weights": {"overlong": 1}, "overlong_max_length": 12, "overlong_buffer": 11}, "objective": {"selection": "best"}}}
  ]
})";

std::vector<std::string> keys_of(const Json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys;
}

class Recipes : public testing::Test {
 protected:
  Recipes() {
    std::ofstream demos(folder_ / "demos.jsonl");
    for (int i = 0; i < 12; ++i)
      demos << Json{{"prompt", std::to_string(i) + "+1"},
                    {"completion", "<think>a</think><answer>" + std::string(1 + i % 2, '7') + "</answer>"}}
                   .dump()
            << '\n';
    demos.close();
    std::string text = kConfig;
    text.replace(text.find("DEMOS"), 5, (folder_ / "demos.jsonl").string());
    config_ = Json::parse(text);
  }

  Json& stage(const std::string& name) {
    for (Json& each : config_["stages"])
      if (each["name"] == name) return each;
    throw std::logic_error(name);
  }

  // Only these stages.
  void keep(const std::vector<std::string>& names) {
    Json kept = Json::array();
    for (const std::string& name : names) kept.push_back(stage(name));
    config_["stages"] = kept;
    config_.erase("selection");
  }

  RecipeConfig load(const std::string& out = "run", const std::vector<std::string>& more = {}) {
    std::ofstream(folder_ / "config.json") << config_.dump();
    std::vector<std::string> arguments{"--config", (folder_ / "config.json").string(), "--out",
                                       (folder_ / out).string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return parse_config<RecipeConfig>(arguments);
  }

  // The error of loading this config and opening its recipe, with nothing computed.
  std::string refusal() {
    const std::string error = error_of([&] {
      const RecipeConfig config = load("refused");
      grpo::Run run(config, dump_config(config), "r1");
      Recipe(config, run);
    });
    EXPECT_FALSE(fs::exists(folder_ / "refused/tokenizer.model")) << "before anything is computed";
    return error;
  }

  void start_recipe(const std::string& name, const std::vector<std::string>& more = {}) {
    std::ofstream(folder_ / "config.json") << config_.dump();
    std::vector<std::string> words{"--config", (folder_ / "config.json").string(), "--out", (folder_ / name).string()};
    words.insert(words.end(), more.begin(), more.end());
    words.insert(words.begin(), GRPO_R1);
    child_.start(words, folder_ / (name + ".out"));
  }

  int recipe(const std::string& name, const std::vector<std::string>& more = {}) {
    fs::remove(folder_ / (name + ".out"));
    start_recipe(name, more);
    return child_.wait();
  }

  std::string output(const std::string& name) { return read_file(folder_ / (name + ".out")); }
  Json json(const std::string& file) { return Json::parse(read_file(folder_ / file)); }

  // All but timings: figures, answers, selections, weights.
  void expect_same(const std::string& name, const std::string& expected) {
    for (const char* file : {"table.json", "table.md", "judge.json", "tokenizer.model"}) {
      EXPECT_FALSE(read_file(folder_ / expected / file).empty()) << file;
      EXPECT_EQ(read_file(folder_ / name / file), read_file(folder_ / expected / file)) << file;
    }
    for (const Json& each : config_["stages"]) {
      const std::string stage = each["name"];
      for (const char* file : {"evaluation.json", "evaluation.jsonl", "general.jsonl", "selected.jsonl", "report.json",
                               "samples.jsonl", "config.json"})
        EXPECT_TRUE(read_file(folder_ / name / stage / file) == read_file(folder_ / expected / stage / file))
            << stage << "/" << file;
      const Json a = json(name + "/" + stage + "/done.json"), b = json(expected + "/" + stage + "/done.json");
      EXPECT_EQ(a["steps"], b["steps"]) << stage;
      EXPECT_EQ(a["gradient_tokens"], b["gradient_tokens"]) << stage;
      EXPECT_EQ(metrics_without_timings(folder_ / name / stage), metrics_without_timings(folder_ / expected / stage))
          << stage;
      if (each["type"] == "rejection_sample") continue;
      const std::string weights = read_file(*newest_checkpoint(folder_ / expected / stage) / "policy.safetensors");
      EXPECT_TRUE(read_file(*newest_checkpoint(folder_ / name / stage) / "policy.safetensors") == weights) << stage;
    }
  }

  Folder folder_;
  Json config_;
  Child child_;
};

// ---- What is refused ------------------------------------------------------------------------------------------------

TEST_F(Recipes, name_the_nearest_stage_where_one_is_not_known) {
  const Json good = config_;
  const auto error = [&](const std::string& name, const std::string& key, const Json& value) {
    config_ = good;
    stage(name)[key] = value;
    return refusal();
  };
  EXPECT_THAT(error("cold", "from", "bse"),
              AllOf(HasSubstr("stage \"cold\", from"), HasSubstr("\"bse\""), HasSubstr("did you mean \"base\"?")));
  EXPECT_THAT(error("zero", "judge", "colt"),
              AllOf(HasSubstr("stage \"zero\", judge"), HasSubstr("did you mean \"cold\"?")));
  EXPECT_THAT(error("distilled", "teacher", "zeero"),
              AllOf(HasSubstr("stage \"distilled\", teacher"), HasSubstr("did you mean \"zero\"?")));
  EXPECT_THAT(error("matched", "match_tokens", "destilled"),
              AllOf(HasSubstr("stage \"matched\", match_tokens"), HasSubstr("did you mean \"distilled\"?")));
  EXPECT_THAT(error("taught", "data", {{{"stage", "pic"}}}),
              AllOf(HasSubstr("stage \"taught\", data"), HasSubstr("did you mean \"pick\"?")));
  EXPECT_THAT(error("cold", "from", "zero"), HasSubstr("expected an earlier stage, got \"zero\"")) << "a later one";
  EXPECT_THAT(error("base", "from", "base"), HasSubstr("there is none before this one"));

  config_ = good, config_["force_from"] = "piick";
  EXPECT_THAT(refusal(), AllOf(HasSubstr("force_from"), HasSubstr("did you mean \"pick\"?")));
  config_ = good, config_["evaluation"]["judge"] = "coldd";
  EXPECT_THAT(refusal(), AllOf(HasSubstr("evaluation.judge"), HasSubstr("did you mean \"cold\"?")));
  config_ = good, config_["selection"] = {"on_all", "on_bset"};
  EXPECT_THAT(refusal(), AllOf(HasSubstr("selection"), HasSubstr("did you mean \"on_best\"?")));
}

TEST_F(Recipes, refuse_a_stage_of_the_wrong_type) {
  const Json good = config_;
  const auto error = [&](const std::string& name, const std::string& key, const Json& value) {
    config_ = good;
    stage(name)[key] = value;
    return refusal();
  };
  for (const char* key : {"from", "judge", "match_tokens"})
    EXPECT_THAT(error("taught", key, "pick"),
                AllOf(HasSubstr(std::string("stage \"taught\", ") + key), HasSubstr("trains a policy, got \"pick\"")));
  EXPECT_THAT(error("distilled", "teacher", "pick"), AllOf(HasSubstr("teacher"), HasSubstr("trains a policy")));
  EXPECT_THAT(error("taught", "data", {{{"stage", "zero"}}}), HasSubstr("expected a stage that samples, got \"zero\""));
  config_ = good, config_["evaluation"]["judge"] = "pick";
  EXPECT_THAT(refusal(), AllOf(HasSubstr("evaluation.judge"), HasSubstr("trains a policy, got \"pick\"")));
  config_ = good, config_["selection"] = {"on_all", "pick"};
  EXPECT_THAT(refusal(), AllOf(HasSubstr("selection"), HasSubstr("\"pick\"")));
  config_ = good, config_["selection"] = {"on_all"};
  EXPECT_THAT(refusal(), HasSubstr("selection: expected two stages, got 1"));
}

TEST_F(Recipes, refuse_stages_without_names_sources_or_anything_to_do) {
  const Json good = config_;
  config_["stages"] = Json::array();
  EXPECT_THAT(refusal(), HasSubstr("expected stages, got none"));
  config_ = good, stage("student")["name"] = "zero";
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage \"zero\""), HasSubstr("twice")));
  config_ = good, stage("student").erase("name");
  EXPECT_THAT(refusal(), HasSubstr("stage 6: expected a name"));
  config_ = good, stage("student")["name"] = "../student";
  EXPECT_THAT(refusal(), HasSubstr("a name that can be a folder's"));
  config_ = good, stage("student")["name"] = "pretrained";
  EXPECT_THAT(refusal(), HasSubstr("stage \"pretrained\": expected a name that nothing else in the run's folder has"));
  config_ = good, stage("taught")["data"] = Json::array();
  EXPECT_THAT(refusal(), HasSubstr("stage \"taught\": expected data"));
  config_ = good, stage("taught")["data"] = {{{"stage", "pick"}, {"topic", "problem"}, {"count", 3}}};
  EXPECT_THAT(refusal(), HasSubstr("one of file, stage and topic"));
  config_ = good, stage("taught")["data"] = {{{"topic", "problem"}}};
  EXPECT_THAT(refusal(), HasSubstr("a count of at least 1 with a topic, got 0"));
  stage("taught")["data"][0]["count"] = 1'000'000'000;
  EXPECT_THAT(refusal(), HasSubstr("stages.4.data.0.count: expected 0 <= x <= 16777216, got 1000000000"));
  config_ = good, stage("pick").erase("from");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage \"pick\", from"), HasSubstr("got none")));
  config_ = good, stage("distilled").erase("teacher");
  EXPECT_THAT(refusal(), HasSubstr("stage \"distilled\", teacher"));
}

TEST_F(Recipes, read_every_file_before_anything_is_computed) {
  const Json good = config_;
  const std::string file = (folder_ / "bad.jsonl").string();
  std::ofstream(file) << "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\"}\n";
  stage("taught")["data"] = {{{"file", file}}}, stage("taught")["sft"]["on_bad"] = "refuse";
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage \"taught\""), HasSubstr(file + ":2"), HasSubstr("\"completion\"")));
  stage("taught")["data"] = {{{"file", file + "x"}}};
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage \"taught\""), HasSubstr(file + "x"), HasSubstr("no such file")));
  config_ = good, stage("distilled")["teacher"] = file, stage("distilled")["sft"]["on_bad"] = "refuse";
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage \"distilled\""), HasSubstr(file + ":2")));
  for (const auto& [name, part] : {std::pair{"matched", "grpo"}, std::pair{"pick", "rejection"}}) {
    config_ = good, stage(name)[part]["tasks"] = {{{"tasks", {{"file", file + "x"}}}}};
    EXPECT_THAT(refusal(), AllOf(HasSubstr("stage \"" + std::string(name) + "\""), HasSubstr(file + "x")));
  }
  config_ = good;
  stage("cold")["sft"]["optimizer"] = {{"schedule", "linear"}, {"warmup_steps", 60}, {"total_steps", 60}};
  EXPECT_THAT(refusal(), HasSubstr("total_steps: expected more than warmup_steps (60), got 60"));
  config_ = good, config_["evaluation"]["max_new_tokens"] = 640;
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage \"base\""), HasSubstr("evaluation.max_new_tokens")));
  config_ = good, stage("zero")["grpo"]["rollout"]["max_new_tokens"] = 640;
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage \"zero\""), HasSubstr("grpo.rollout.max_new_tokens")));
  config_ = good, config_["evaluation"]["samples"] = 0;
  EXPECT_THAT(refusal(), HasSubstr("evaluation.samples: expected 1"));
  for (const auto& [name, part] : {std::pair{"matched", "grpo"}, std::pair{"pick", "rejection"}}) {
    config_ = good, stage(name)[part]["rewards"]["weights"] = {{"acuracy", 1}};
    EXPECT_THAT(refusal(), AllOf(HasSubstr("stage \"" + std::string(name) + "\""), HasSubstr("accuracy")));
  }
}

// What will do nothing is told at the start, not when its stage begins.
TEST_F(Recipes, tell_of_rewards_and_files_before_anything_is_computed) {
  const Json good = config_;
  std::ofstream(folder_ / "tasks.jsonl") << R"({"prompt": "1+1", "answr": 2, "kind": "sum"})";
  stage("zero")["grpo"]["tasks"] = {{{"tasks", {{"file", (folder_ / "tasks.jsonl").string()}, {"heldout_share", 0}}}}};
  stage("zero")["grpo"]["rewards"] = {{"weights", {{"accuracy", 1}, {"helpful", 1}, {"format", 1}}}};
  stage("zero").erase("judge");
  stage("zero")["grpo"]["optimizer"]["learning_rate"] = 0;
  stage("zero")["sft"]["epochs"] = 3, stage("zero")["policy"]["layers"] = 7;
  EXPECT_THAT(check_recipe(load()),
              testing::IsSupersetOf(
                  {HasSubstr("stages.2.grpo.rewards.weights.accuracy: no task can earn it"),
                   HasSubstr("stages.2.grpo.rewards.weights.helpful: no task can earn it, as it takes a judge"),
                   HasSubstr("tasks.jsonl:1: unknown kind \"sum\""), HasSubstr("tasks.jsonl:1: unknown key \"answr\""),
                   HasSubstr("stages.2.grpo.optimizer.learning_rate is 0"),
                   HasSubstr("stages.2.sft: a stage of type grpo does not read it"),
                   HasSubstr("stages.2.policy: the stage has that of ")}));
  config_ = good;
  EXPECT_THAT(check_recipe(load()),
              testing::Each(testing::Not(
                  testing::AnyOf(HasSubstr("read it"), HasSubstr("asks it"), HasSubstr("min_helpful")))));
  stage("matched")["judge"] = "cold", stage("matched")["grpo"]["rewards"]["overlong_max_length"] = 50;
  std::ofstream(folder_ / "open.jsonl") << R"({"prompt": "Why?"})";
  const Json open{{"file", (folder_ / "open.jsonl").string()}, {"heldout_share", 0}};
  stage("pick")["rejection"]["tasks"] = {{{"tasks", open}}};
  stage("pick")["rejection"]["rewards"] = {{"weights", {{"format", 1}}}};
  stage("pick")["rejection"]["screen"]["min_helpful"] = 0.5;
  EXPECT_THAT(
      check_recipe(load()),
      testing::IsSupersetOf(
          {HasSubstr("stages.7.judge: no reward of the stage asks it"),
           HasSubstr("stages.7.grpo.rewards.weights.overlong punishes what is longer than 39 tokens"),
           HasSubstr("stages.3.rejection.screen.min_helpful: 1 of 1 tasks have no answer, and without")}));
  for (const auto& [name, part] : {std::pair{"matched", "grpo"}, std::pair{"pick", "rejection"}}) {
    config_ = good, stage(name)[part]["rewards"] = {{"weights", {{"code", 1}}}};
    EXPECT_THAT(refusal(), HasSubstr("[recipe] stage \"" + std::string(name) + "\": expected a reward that some task"));
  }
  config_ = good;
  EXPECT_THAT(error_of([&] {
                load("run", {"--force-from", "zero"});
              }),
              HasSubstr("force_from: expected resume beside it"));
  EXPECT_NO_THROW(load("run", {"--force-from", "zero", "--resume"}));
}

TEST_F(Recipes, name_the_whole_key_of_what_cannot_be) {
  const Json good = config_;
  const auto error = [&](const std::string& name, const char* part, const Json& change) {
    config_ = good;
    stage(name)[part].merge_patch(change);
    return refusal();
  };
  EXPECT_THAT(error("zero", "grpo", {{"objective", {{"kl_coefficient", 0}}}}),
              HasSubstr("[objective] stages.2.grpo.objective.kl_coefficient: expected"));
  EXPECT_THAT(error("zero", "grpo", {{"rollout", {{"samples", 1}}}}),
              HasSubstr("stages.2.grpo.rollout.samples: expected at least 2"));
  EXPECT_THAT(error("zero", "grpo", {{"rollout", {{"sampling", {{"temperature", 0}}}}}}),
              HasSubstr("stages.2.grpo.rollout.sampling.temperature: expected more than 0"));
  EXPECT_THAT(error("zero", "grpo", {{"rewards", {{"by_kind", {{{"kind", "x"}}}}}}}),
              HasSubstr("stages.2.grpo.rewards.by_kind.0.weights: expected a weight"));
  EXPECT_THAT(error("base", "policy", {{"heads", 3}}),
              HasSubstr("[config] stages.0.policy.hidden_size: expected a multiple"));

  // Rollouts without room for any answer.
  EXPECT_THAT(error("zero", "grpo", {{"rollout", {{"pages", 1}}}}),
              AllOf(HasSubstr("stage \"zero\""),
                    HasSubstr("stages.2.grpo.rollout.pages: expected at least 2, got 1")));
  EXPECT_THAT(error("pick", "rejection", {{"rollout", {{"cache_gigabytes", 1e-9}}}}),
              AllOf(HasSubstr("stage \"pick\""), HasSubstr("stages.3.rejection.rollout.cache_gigabytes: expected")));
  EXPECT_THAT(error("distilled", "rejection", {{"rollout", {{"pages", 1}}}}),
              AllOf(HasSubstr("stage \"distilled\""), HasSubstr("stages.6.rejection.rollout.pages: expected")));
  config_ = good, config_["judging"]["max_new_tokens"] = 640;
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage \"base\""), HasSubstr("judging.max_new_tokens: expected less")));
  config_["evaluation"].erase("judge");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("stage \"zero\""), HasSubstr("judging.max_new_tokens: expected less")));
}

TEST_F(Recipes, find_before_any_stage_that_no_task_fits_one_of_them) {
  const Json good = config_;
  std::ofstream(folder_ / "long.jsonl") << Json{{"prompt", std::string(700, 'x')}}.dump() << '\n';
  for (const auto& [name, part] : {std::pair{"zero", "grpo"}, {"pick", "rejection"}, {"distilled", "rejection"}}) {
    config_ = good;
    stage(name)[part]["tasks"] = {{{"tasks", {{"file", (folder_ / "long.jsonl").string()}, {"heldout_share", 0}}}}};
    EXPECT_EQ(recipe("run"), 1) << name;
    EXPECT_THAT(output("run"), AllOf(HasSubstr("stage \"" + std::string(name) + "\""),
                                     HasSubstr("new ones exceed policy.max_positions = 640")));
    EXPECT_FALSE(fs::exists(folder_ / "run/base")) << name;
  }
}

TEST_F(Recipes, leave_what_is_there_where_it_is_when_they_are_refused) {
  const Json good = config_;
  fs::create_directories(folder_ / "old/zero");
  std::ofstream(folder_ / "old/config.json") << "{}";
  std::ofstream(folder_ / "old/zero/config.json") << "{}";
  const auto expect_refused = [&](const std::string& why) {
    EXPECT_EQ(recipe("old"), 1) << why;
    EXPECT_THAT(output("old"), HasSubstr(why));
    EXPECT_FALSE(fs::exists(folder_ / "old.1")) << why;
    EXPECT_FALSE(fs::exists(folder_ / "old/log.txt")) << why;
    EXPECT_EQ(read_file(folder_ / "old/zero/config.json"), "{}") << why;
  };
  stage("zero")["grpo"]["tasks"] = {{{"tasks", {{"file", "nowhere.jsonl"}}}}};
  expect_refused("nowhere.jsonl");
  config_ = good, stage("base")["policy"]["from"] = "no-model", stage("student")["policy"]["from"] = "no-model";
  expect_refused("no-model");
  config_ = good, config_["chat"] = {{"text", ""}};
  expect_refused("chat.text");
  config_ = good, config_["tasks"] = {{"heldout_share", 0}};
  expect_refused("heldout_share");
  config_ = good, config_["device"] = "warp";
  expect_refused("warp");

  // Stages whose run cannot be told: they would be gone on with by another recipe.
  config_ = good;
  fs::remove(folder_ / "old/config.json");
  expect_refused("got the stages zero without one");
}

TEST_F(Recipes, leave_out_demonstrations_that_are_none_and_say_so) {
  keep({"base", "cold"});
  config_["evaluation"].erase("judge"), config_["evaluation"]["problems"] = 2;
  stage("cold")["sft"]["epochs"] = 1;
  std::ofstream(folder_ / "demos.jsonl", std::ios::app)
      << "{\"prompt\": \"a\"}\n" << Json{{"prompt", "b"}, {"completion", std::string(6000, '7')}}.dump() << '\n';
  ASSERT_EQ(recipe("run"), 0) << output("run");
  EXPECT_THAT(
      read_file(folder_ / "run/log.txt"),
      AllOf(HasSubstr("warning: 1 of 14 lines are left out: " + (folder_ / "demos.jsonl:13").string()),
            HasSubstr("warning: 1 of 13 demonstrations are left out: " + (folder_ / "demos.jsonl:14").string())));
  EXPECT_EQ(json("run/cold/done.json")["steps"], 3);
}

// ---- What is there afterwards ---------------------------------------------------------------------------------------

TEST_F(Recipes, leave_their_stages_side_by_side) {
  ASSERT_EQ(recipe("run"), 0) << output("run");
  const Json table = json("run/table.json");
  EXPECT_THAT(keys_of(table), ElementsAre("base", "cold", "zero", "taught", "distilled", "matched"));
  for (const auto& [stage, figures] : table.items()) {
    EXPECT_THAT(keys_of(figures), ElementsAre("pass@1", "cons@k", "format", "language_consistency", "mixed_traces",
                                              "completion_length", "reflection_rate", "judge"));
    const Json evaluation = json("run/" + stage + "/evaluation.json");
    for (const char* key : {"pass@1", "cons@k", "format", "completion_length", "judge"}) {
      if (stage == "base" && key == std::string("judge")) continue;
      EXPECT_EQ(figures[key], evaluation.at(key)) << stage << " " << key;
    }
    EXPECT_EQ(figures["language_consistency"], evaluation["strict_language_consistency"]);
    EXPECT_EQ(evaluation["problems"], 6);
    EXPECT_EQ(evaluation["samples"], 2);
    EXPECT_TRUE(evaluation["general"].contains("hidden_helpful"));
    EXPECT_EQ(lines_of(folder_ / "run" / stage / "evaluation.jsonl").size(), 12u);
    EXPECT_EQ(lines_of(folder_ / "run" / stage / "general.jsonl").size(), 4u);
  }
  EXPECT_TRUE(table["base"]["judge"].is_null()) << "the judge was not there yet";
  EXPECT_GT(table["zero"]["format"].get<double>(), 0.5) << "the cold start taught the form";

  const std::string markdown = read_file(folder_ / "run/table.md");
  EXPECT_THAT(markdown, HasSubstr("| base | cold | zero | taught | distilled | matched |"));
  EXPECT_THAT(markdown, HasSubstr("\n| pass@1 | "));
  EXPECT_EQ(std::count(markdown.begin(), markdown.end(), '\n'), 10);
  EXPECT_THAT(output("run"), HasSubstr("held-out (6 problems, 2 samples each)"));

  std::vector<std::string> names;
  for (const Json& each : json("run/stages.json")) {
    names.push_back(each["name"]);
    EXPECT_EQ(each["state"], "done");
    EXPECT_TRUE(each["seconds"].is_number());
    EXPECT_EQ(each["from"], stage(names.back()).value("from", ""));
    const Json done = json("run/" + names.back() + "/done.json");
    EXPECT_EQ(done["seconds"], each["seconds"]);
  }
  EXPECT_THAT(names, ElementsAre("base", "cold", "zero", "pick", "taught", "student", "distilled", "matched", "on_all",
                                 "on_best"));
  EXPECT_EQ(json("run/zero/done.json")["steps"], 5);
  EXPECT_FALSE(fs::exists(folder_ / "run/student/evaluation.json")) << "not to be evaluated";

  const Json judge = json("run/judge.json");
  EXPECT_THAT(keys_of(judge), ElementsAre("cold"));
  EXPECT_EQ(judge["cold"]["pairs"], 3);
  for (const char* key : {"agreement", "rating_agreement", "rating_error", "unreadable", "unreadable_ratings"}) {
    EXPECT_GE(judge["cold"][key].get<double>(), 0) << key;
    EXPECT_LE(judge["cold"][key].get<double>(), 1) << key;
  }
  EXPECT_TRUE(judge["cold"].contains("position_bias"));

  const Json selection = json("run/selection.json");
  EXPECT_THAT(keys_of(selection), ElementsAre("all", "best"));
  EXPECT_EQ(selection["all"]["stage"], "on_all");
  EXPECT_EQ(selection["best"]["steps"], 2);
  EXPECT_LT(selection["best"]["gradient_tokens"], selection["all"]["gradient_tokens"]);
  EXPECT_TRUE(selection["best"].contains("pass@1"));

  // What passes from stage to stage.
  EXPECT_EQ(json("run/pick/report.json")["sampled"], 8 * 4);
  const auto selected = lines_of(folder_ / "run/pick/selected.jsonl");
  ASSERT_FALSE(selected.empty());
  EXPECT_EQ(selected[0]["provenance"]["checkpoint"], "zero");
  EXPECT_EQ(lines_of(folder_ / "run/distilled/selected.jsonl")[0]["provenance"]["checkpoint"], "zero");
  EXPECT_EQ(lines_of(folder_ / "run/taught/demonstrations-problem.jsonl").size(), 4u);

  // As many tokens as the stage to match, within a step.
  const int64_t wanted = json("run/distilled/done.json")["gradient_tokens"],
                got = json("run/matched/done.json")["gradient_tokens"];
  const auto steps = lines_of(folder_ / "run/matched/metrics.jsonl");
  EXPECT_LT(steps.size(), 50u);
  EXPECT_GE(got, wanted);
  EXPECT_LT(got - steps.back()["gradient_tokens"].get<int64_t>(), wanted);

  // A stage's folder is a run that `evaluate` reads.
  std::ofstream(folder_ / "tasks.jsonl") << R"({"prompt": "1+1", "answer": 2})" << '\n'
                                         << R"({"prompt": "2+1", "answer": 3})" << '\n';
  child_.start({GRPO_EVALUATE, "--model", (folder_ / "run/zero").string(), "--tasks",
                (folder_ / "tasks.jsonl").string(), "--k", "3", "--out", (folder_ / "answers.jsonl").string()},
               folder_ / "evaluate.out");
  EXPECT_EQ(child_.wait(), 0) << output("evaluate");
  EXPECT_THAT(output("evaluate"), HasSubstr("\"pass@1\""));
  EXPECT_EQ(lines_of(folder_ / "answers.jsonl").size(), 6u);
}

// ---- What is done again ---------------------------------------------------------------------------------------------

TEST_F(Recipes, give_the_same_after_kills_in_the_middle_of_their_stages) {
  ASSERT_EQ(recipe("whole"), 0) << output("whole");
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  // Killed by how far it came, in bytes written, not by the clock: a machine may be slow at one time and fast at
  // another.
  const auto written = [&](const std::string& name) {
    double bytes = 0;
    std::error_code gone;  // files come and go
    for (fs::recursive_directory_iterator each(folder_ / name, gone), end; !gone && each != end; each.increment(gone)) {
      std::error_code error;
      const auto size = fs::file_size(each->path(), error);
      if (!error) bytes += static_cast<double>(size);
    }
    return bytes;
  };
  const double all = written("whole");
  int kills = 0;
  for (int attempt = 0; attempt < 12; ++attempt) {
    const double enough = written("killed") + all * std::uniform_real_distribution<>(0.02, 0.3)(random);
    start_recipe("killed", attempt ? std::vector<std::string>{"--resume"} : std::vector<std::string>{});
    const bool running = child_.wait_until([&] { return written("killed") >= enough; });
    if (running) child_.kill(SIGKILL);
    const int status = child_.wait();
    if (status == 0) break;
    ASSERT_EQ(status, -SIGKILL) << output("killed");
    ++kills;
  }
  EXPECT_GT(kills, 0);
  start_recipe("killed", {"--resume"});
  ASSERT_EQ(child_.wait(), 0) << output("killed");
  expect_same("killed", "whole");
  EXPECT_EQ(keys_of(json("killed/selection.json")), keys_of(json("whole/selection.json")));
}

TEST_F(Recipes, stop_on_a_signal_with_all_saved_and_go_on) {
  keep({"base", "cold", "zero", "pick"});
  ASSERT_EQ(recipe("whole"), 0) << output("whole");
  start_recipe("stopped");
  ASSERT_TRUE(child_.wait_until([&] { return fs::exists(folder_ / "stopped/cold/metrics.jsonl"); }))
      << output("stopped");
  child_.kill(SIGTERM);
  EXPECT_EQ(child_.wait(), 128 + SIGTERM) << output("stopped");
  EXPECT_THAT(output("stopped"), HasSubstr("r1 --resume --out " + (folder_ / "stopped").string()));
  EXPECT_EQ(json("stopped/stages.json")[0]["state"], "done");
  EXPECT_EQ(json("stopped/stages.json")[1]["state"], "running");
  EXPECT_EQ(json("stopped/stages.json")[2]["state"], "waiting");

  // What a stage under way was made with stays.
  const Json good = config_;
  stage("cold")["data"].push_back({{"topic", "problem"}, {"count", 2}});
  const std::string config = read_file(folder_ / "stopped/config.json");
  EXPECT_EQ(recipe("stopped", {"--resume"}), 1);
  EXPECT_THAT(output("stopped"), AllOf(HasSubstr("stage \"cold\" is under way"), HasSubstr("stage.data.1"),
                                       HasSubstr("--force_from cold")));
  config_ = good;
  for (const char* place : {"base/step-2", "zero/step-1", "step-2"}) {
    EXPECT_EQ(recipe("stopped", {"--resume-from", place}), 1);
    EXPECT_THAT(output("stopped"), AllOf(HasSubstr("resume_from"), HasSubstr(place))) << "not of the stage under way";
  }
  EXPECT_EQ(read_file(folder_ / "stopped/config.json"), config);

  // Without a word on its configuration.
  const auto resume = [&] {
    fs::remove(folder_ / "stopped.out");
    child_.start({GRPO_R1, "--resume", "--out", (folder_ / "stopped").string()}, folder_ / "stopped.out");
    return child_.wait();
  };
  EXPECT_EQ(resume(), 0) << output("stopped");
  expect_same("stopped", "whole");
  EXPECT_EQ(resume(), 0) << output("stopped");
  EXPECT_THAT(output("stopped"), HasSubstr("this recipe is finished"));
  std::ofstream(folder_ / "stopped/base/done.json") << R"({"steps": 4})";
  EXPECT_EQ(resume(), 1);
  EXPECT_THAT(output("stopped"), HasSubstr("base/done.json: seconds: expected a number"));
}

TEST_F(Recipes, go_back_to_a_checkpoint_of_the_stage_under_way) {
  keep({"base", "cold"});
  config_["evaluation"].erase("judge"), config_["keep"] = 0;
  ASSERT_EQ(recipe("whole"), 0) << output("whole");
  start_recipe("back");
  ASSERT_TRUE(child_.wait_until([&] { return fs::exists(folder_ / "back/cold/checkpoints/step-000008"); }))
      << output("back");
  child_.kill(SIGKILL);
  child_.wait();
  EXPECT_EQ(recipe("back", {"--resume-from", "cold/step-4"}), 0) << output("back");
  EXPECT_TRUE(fs::exists(folder_ / "back/cold/superseded/step-000008"));
  EXPECT_EQ(metrics_without_timings(folder_ / "back/cold"), metrics_without_timings(folder_ / "whole/cold"));
}

TEST_F(Recipes, do_not_repeat_a_finished_stage_unless_forced_to) {
  keep({"base", "cold", "zero", "pick"});
  ASSERT_EQ(recipe("run"), 0) << output("run");
  const auto times = [&] {
    std::vector<fs::file_time_type> all;
    for (const char* stage : {"base", "cold", "zero", "pick"})
      all.push_back(fs::last_write_time(folder_ / "run" / stage / "done.json"));
    return all;
  };
  const auto before = times();
  const std::string table = read_file(folder_ / "run/table.json");
  fs::remove(folder_ / "run/table.json");
  ASSERT_EQ(recipe("run", {"--resume"}), 0) << output("run");
  EXPECT_EQ(times(), before);
  EXPECT_EQ(read_file(folder_ / "run/table.json"), table);
  EXPECT_THAT(output("run"), Not(HasSubstr("stage 1/4")));

  // A changed configuration of a finished stage, and what to do about it.
  stage("cold")["sft"]["optimizer"]["learning_rate"] = 1e-2;
  EXPECT_EQ(recipe("run", {"--resume"}), 1);
  EXPECT_THAT(output("run"),
              AllOf(HasSubstr("stage \"cold\" is finished"), HasSubstr("stage.sft.optimizer.learning_rate"),
                    HasSubstr("0.02 to 0.01"), HasSubstr("--force_from cold")));
  EXPECT_EQ(times(), before);
  EXPECT_EQ(recipe("run", {"--resume", "--force-from", "zero"}), 1) << "comes after the changed stage";
  EXPECT_EQ(times(), before);
  EXPECT_FALSE(fs::exists(folder_ / "run/.zero.1"));

  ASSERT_EQ(recipe("run", {"--resume", "--force-from", "cold"}), 0) << output("run");
  const auto after = times();
  EXPECT_EQ(after[0], before[0]);
  for (size_t i = 1; i < 4; ++i) EXPECT_NE(after[i], before[i]);
  for (const char* aside : {".cold.1", ".zero.1", ".pick.1"})
    EXPECT_TRUE(fs::exists(folder_ / "run" / aside / "done.json")) << aside;
  EXPECT_FALSE(fs::exists(folder_ / "run/.base.1"));
  EXPECT_EQ(json("run/cold/config.json")["stage"]["sft"]["optimizer"]["learning_rate"], 1e-2);
  EXPECT_EQ(json("run/.cold.1/config.json")["stage"]["sft"]["optimizer"]["learning_rate"], 2e-2);
}

TEST_F(Recipes, measure_finished_stages_again_when_the_evaluation_was_changed) {
  keep({"base", "cold"});
  ASSERT_EQ(recipe("run"), 0) << output("run");
  const auto trained = fs::last_write_time(folder_ / "run/cold/done.json");
  config_["evaluation"]["problems"] = 4, config_["evaluation"]["max_new_tokens"] = 9,
  config_["evaluation"]["pairs"] = 2;
  ASSERT_EQ(recipe("run", {"--resume"}), 0) << output("run");
  EXPECT_THAT(output("run"), AllOf(HasSubstr("base is measured again"), HasSubstr("cold is measured again")));
  EXPECT_EQ(fs::last_write_time(folder_ / "run/cold/done.json"), trained);
  for (const char* stage : {"base", "cold"}) {
    EXPECT_EQ(json(std::string("run/") + stage + "/evaluation.json")["problems"], 4);
    EXPECT_EQ(json(std::string("run/") + stage + "/config.json")["rollout"]["max_new_tokens"], 9)
        << "what evaluate reads";
  }
  EXPECT_EQ(json("run/judge.json")["cold"]["pairs"], 2);
  const std::string measured = read_file(folder_ / "run/cold/evaluation.jsonl");
  ASSERT_EQ(recipe("fresh"), 0) << output("fresh");
  EXPECT_EQ(read_file(folder_ / "fresh/cold/evaluation.jsonl"), measured);
  ASSERT_EQ(recipe("run", {"--resume"}), 0);
  EXPECT_THAT(output("run"), Not(HasSubstr("measured again"))) << "once";
}

TEST_F(Recipes, learn_a_new_vocabulary_when_everything_is_done_again) {
  keep({"base"});
  config_["evaluation"].erase("judge");
  ASSERT_EQ(recipe("run"), 0) << output("run");
  const std::string vocabulary = read_file(folder_ / "run/tokenizer.model");
  config_["tokenizer"]["vocab_size"] = 320;
  EXPECT_EQ(recipe("run", {"--resume"}), 1);
  EXPECT_THAT(output("run"), HasSubstr("tokenizer.vocab_size was changed from 330 to 320"));
  ASSERT_EQ(recipe("run", {"--resume", "--force-from", "base"}), 0) << output("run");
  EXPECT_EQ(Tokenizer::load(folder_ / "run/tokenizer.model").vocab_size(), 320);
  EXPECT_EQ(read_file(folder_ / "run/base/tokenizer.model"), read_file(folder_ / "run/tokenizer.model"));
  EXPECT_NE(read_file(folder_ / "run/tokenizer.model"), vocabulary);
}

TEST_F(Recipes, take_a_teacher_from_another_run_only_with_the_same_tokenizer) {
  const Json all = config_;
  keep({"base", "cold"});
  ASSERT_EQ(recipe("teacher"), 0) << output("teacher");
  config_ = all;
  keep({"student", "distilled"});
  stage("distilled")["teacher"] = (folder_ / "teacher/cold").string();
  config_["evaluation"].erase("judge");
  const Json student = config_;

  config_["tokenizer"]["vocab_size"] = 320;
  EXPECT_EQ(recipe("refused"), 1);
  EXPECT_THAT(output("refused"),
              AllOf(HasSubstr("stage \"distilled\""), HasSubstr("expected the tokenizer of this run"),
                    HasSubstr("JSONL file of demonstrations")));
  EXPECT_FALSE(fs::exists(folder_ / "refused/student/done.json")) << "before a stage is computed";
  stage("distilled")["teacher"] = (folder_ / "nowhere").string() + "/";
  EXPECT_EQ(recipe("refused"), 1);
  EXPECT_THAT(output("refused"), AllOf(HasSubstr("stage \"distilled\""), HasSubstr("expected a run's folder")));

  config_ = student;
  ASSERT_EQ(recipe("run"), 0) << output("run");
  EXPECT_EQ(lines_of(folder_ / "run/distilled/selected.jsonl")[0]["provenance"]["checkpoint"],
            (folder_ / "teacher/cold").string());

  // From a file, whoever wrote it.
  config_["tokenizer"]["vocab_size"] = 320;
  stage("distilled")["teacher"] = (folder_ / "teacher.jsonl").string();
  fs::copy_file(folder_ / "run/distilled/selected.jsonl", folder_ / "teacher.jsonl");
  EXPECT_EQ(recipe("from_file"), 0) << output("from_file");
  EXPECT_EQ(json("from_file/distilled/done.json")["steps"], json("run/distilled/done.json")["steps"]);
}

}  // namespace
}  // namespace grpo
