// What is wrong with a recipe and its files is said before anything is computed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "recipes_test.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using testing::AllOf;
using testing::HasSubstr;

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
  for (const auto& [name, part] : {std::pair{"zero", "grpo"}, {"pick", "rejection"}, {"distilled", "rejection"}}) {
    config_ = good;
    const bool is_huge = part == std::string("rejection");  // it is not even counted then
    std::ofstream(folder_ / "long.jsonl") << Json{{"prompt", std::string(is_huge ? 700'000 : 700, 'x')}}.dump() << '\n';
    stage(name)[part]["tasks"] = {{{"tasks", {{"file", (folder_ / "long.jsonl").string()}, {"heldout_share", 0}}}}};
    EXPECT_EQ(recipe("run"), 1) << name;
    EXPECT_THAT(output("run"), AllOf(HasSubstr("stage \"" + std::string(name) + "\""),
                                     HasSubstr(is_huge ? "a prompt of at least " : "a prompt of "),
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
      << "{\"prompt\": \"a\"}\n" << Json{{"prompt", "b"}, {"completion", std::string(6000, '7')}}.dump() << '\n'
      << Json{{"prompt", "c"}, {"completion", std::string(600'000, '7')}}.dump() << '\n';
  ASSERT_EQ(recipe("run"), 0) << output("run");
  EXPECT_THAT(
      read_file(folder_ / "run/log.txt"),
      AllOf(HasSubstr("warning: 1 of 15 lines are left out: " + (folder_ / "demos.jsonl:13").string()),
            HasSubstr("warning: 2 of 14 demonstrations are left out: " + (folder_ / "demos.jsonl:14").string()),
            HasSubstr((folder_ / "demos.jsonl:15").string() + ": expected at most"),
            HasSubstr("tokens, got at least ")));
  EXPECT_EQ(json("run/cold/done.json")["steps"], 3);
}

}  // namespace
}  // namespace grpo
