// Runs and recipes that train an adapter of a model folder.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "grpo/checkpoint.h"
#include "grpo/model.h"
#include "grpo/pretrained.h"
#include "grpo/recipe.h"
#include "models_test.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using testing::AllOf;
using testing::HasSubstr;

class AdapterRuns : public Models {
 protected:
  std::vector<std::string> words(const std::string& name, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all =
        four_steps(name, {"policy.adapter.rank=3", "evaluate.problems=0", "optimizer.warmup_steps=0"});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  int run(const std::string& name, const std::vector<std::string>& more = {}) {
    child_.start(words(name, more), folder_ / "out");
    return child_.wait();
  }
  static Policy open(const fs::path& model) {
    ModelConfig config;
    config.model = model;
    return open_policy(config);
  }
  static Tensor logits(const Policy& policy) {
    at::NoGradGuard guard;
    PassBuilder text;
    const std::vector<int32_t> tokens{5, 66, 7, 80, 9, 300};
    text.add(tokens);
    return policy.logits(policy.hidden(text.build()));
  }
  void write_adapter(const fs::path& folder) {
    PolicyConfig config = pretrained_config(model_);
    config.adapter.rank = 2;
    config.adapter.alpha = 6;
    config.adapter.targets = {"q_proj", "down_proj"};
    Policy policy = load_pretrained(model_, config, at::kCPU, 3);
    NamedTensors state;
    for (const auto& [name, tensor] : policy.state()) state.emplace_back(name, tensor + 0.02);
    policy.load_state(state);
    save_adapter(policy, folder, model_);
  }
};

bool same(const NamedTensors& a, const NamedTensors& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return x.first == y.first && at::equal(x.second, y.second); });
}

TEST_F(AdapterRuns, resume_to_the_same_bits_and_write_both_the_adapter_and_the_merged_model) {
  ASSERT_EQ(run("whole"), 0) << output();
  EXPECT_THAT(output(), AllOf(HasSubstr("in adapters of rank 3"),
                              HasSubstr("optimizer.learning_rate 1e-04: the default for an adapter of a pretrained")));
  const auto expected = metrics_without_timings(folder_ / "whole");
  ASSERT_EQ(expected.size(), 4u);
  for (const Json& line : expected) EXPECT_EQ(line["ratio_deviation"], 0.0);

  // Killed after a step, and resumed where the folder is gone.
  child_.start(words("killed"), folder_ / "out");
  ASSERT_TRUE(child_.wait_until([&] { return list_checkpoints(folder_ / "killed").size() > 1; })) << output();
  child_.kill(SIGKILL);
  child_.wait();
  fs::rename(model_, folder_ / "away");
  ASSERT_EQ(run("killed", {"--resume"}), 0) << output();
  EXPECT_EQ(metrics_without_timings(folder_ / "killed"), expected);
  for (const char* file : {"model/model.safetensors", "adapter/adapter_model.safetensors",
                           "adapter/adapter_config.json", "frozen.safetensors"})
    EXPECT_EQ(read_file(folder_ / "killed" / file), read_file(folder_ / "whole" / file)) << file;

  // Checkpoints hold the adapter alone; what it lies on is there once.
  const fs::path newest = *newest_checkpoint(folder_ / "whole");
  const CheckpointContents saved = read_checkpoint(newest);
  for (const auto& [name, tensor] : saved.policy) EXPECT_THAT(name, HasSubstr(".lora_"));
  EXPECT_LT(5 * fs::file_size(newest / "policy.safetensors"), fs::file_size(folder_ / "whole/frozen.safetensors"));
  const Policy base = load_pretrained(folder_ / "away"), trained = open(folder_ / "whole");
  EXPECT_TRUE(same(trained.weights(), base.weights()));
  EXPECT_TRUE(same(trained.state(), saved.policy));
  EXPECT_GT((logits(trained) - logits(base)).abs().max().item<double>(), 1e-4);

  // What was written for others computes the same: the sum, and the adapter on the model that it was made for.
  EXPECT_LT((logits(load_pretrained(folder_ / "whole/model")) - logits(trained)).abs().max().item<double>(), 1e-4);
  PolicyConfig config = pretrained_config(folder_ / "away");
  config.adapter = pretrained_adapter(folder_ / "whole/adapter");
  EXPECT_TRUE(at::equal(logits(load_pretrained(folder_ / "away", config)), logits(trained)));
  EXPECT_EQ(Json::parse(read_file(folder_ / "whole/adapter/adapter_config.json"))["base_model_name_or_path"],
            model_.string());

  write_lines(folder_ / "tasks.jsonl", {{{"prompt", "1+1"}, {"answer", "2"}}});
  EXPECT_EQ(tool(GRPO_EVALUATE, {"--model", folder_ / "whole", "--tasks", folder_ / "tasks.jsonl"}), 0) << output();
  EXPECT_EQ(tool(GRPO_EVALUATE, {"--model", newest, "--tasks", folder_ / "tasks.jsonl"}), 0) << output();
}

TEST_F(AdapterRuns, name_the_weights_under_the_adapter_where_they_were_altered) {
  ASSERT_EQ(run("zero", {"--steps", "2"}), 0) << output();
  const std::string bytes = read_file(folder_ / "zero/frozen.safetensors");
  std::string altered = bytes;
  altered[bytes.size() - 3] ^= 1;
  write(folder_ / "zero/frozen.safetensors", altered);
  EXPECT_EQ(run("zero", {"--resume", "--steps", "3"}), 1);
  EXPECT_THAT(output(), AllOf(HasSubstr("frozen.safetensors was altered or cut short (hash differs)"),
                              HasSubstr("no whole checkpoint to resume from")));
  write_lines(folder_ / "in.jsonl", {{{"prompt", "1+1"}}});
  EXPECT_EQ(tool(GRPO_GENERATE, {"--model", folder_ / "zero", "--in", folder_ / "in.jsonl", "--out", folder_ / "o",
                                 "--max-new-tokens", "4"}),
            1);
  EXPECT_THAT(output(), HasSubstr("frozen.safetensors was altered"));
  write(folder_ / "zero/frozen.safetensors", bytes);
  EXPECT_EQ(tool(GRPO_GENERATE, {"--model", folder_ / "zero", "--in", folder_ / "in.jsonl", "--out", folder_ / "o",
                                 "--max-new-tokens", "4"}),
            0) << output();
  EXPECT_EQ(run("zero", {"--resume", "--steps", "3"}), 0) << output();
}

TEST_F(AdapterRuns, begin_with_an_adapter_that_is_there) {
  write_adapter(folder_ / "start");
  std::vector<std::string> all = words("zero", {"--set", "policy.adapter.from=" + (folder_ / "start").string()});
  for (auto each = all.begin(); each != all.end(); ++each)  // rank is the folder's
    if (*each == "policy.adapter.rank=3") *each = "policy.adapter.alpha=6", each = all.end() - 1;
  child_.start(all, folder_ / "out");
  ASSERT_EQ(child_.wait(), 0) << output();
  const Json made = Json::parse(read_file(folder_ / "zero/config.json"))["policy"]["adapter"];
  EXPECT_EQ(made, (Json{{"rank", 2},
                        {"alpha", 6.0},
                        {"targets", {"down_proj", "q_proj"}},
                        {"from", (folder_ / "start").string()}}));
  EXPECT_THAT(output(), HasSubstr("policy.adapter.rank 2: that of the adapter in "));
  const Json written = Json::parse(read_file(folder_ / "zero/adapter/adapter_config.json"));
  EXPECT_EQ(written["r"], 2);
  fs::remove_all(folder_ / "start");
  EXPECT_EQ(tool(GRPO_R1_ZERO, {"--resume", "--out", folder_ / "zero", "--set", "steps=5"}), 0) << output();

  write_adapter(folder_ / "start");
  EXPECT_EQ(run("other", {"--set", "policy.adapter.from=" + (folder_ / "start").string()}), 1);
  EXPECT_THAT(output(), HasSubstr("policy.adapter.from: expected rank 2 as in that folder, got 3"));
  EXPECT_EQ(tool(GRPO_R1_ZERO, {"--set", "policy.adapter.rank=3", "--out", folder_ / "other"}), 1);
  EXPECT_THAT(output(), HasSubstr("policy.adapter.rank: expected 0 without policy.from"));
  EXPECT_FALSE(fs::exists(folder_ / "other"));
}

// The stages of a recipe: an adapter goes on, or begins over weights that a stage has trained whole.
class AdapterRecipes : public AdapterRuns {
 protected:
  AdapterRecipes() {
    const Json rollout{{"samples", 4}, {"max_new_tokens", 16}};
    const Json rewards{
        {"weights", {{"format", 0}, {"overlong", 1}}}, {"overlong_max_length", 16}, {"overlong_buffer", 12}};
    const Json rl{{"steps", 2}, {"prompts_per_step", 2}, {"rollout", rollout}, {"rewards", rewards}};
    const Json data{{{"topic", "problem"}, {"count", 4}}};
    const Json sft{{"documents_per_step", 2}};
    config_ = {
        {"chat", {{"text", ""}, {"system", "Think."}}},
        {"stages",
         {{{"name", "rl"},
           {"type", "grpo"},
           {"policy", {{"from", model_.string()}, {"adapter", {{"rank", 2}}}}},
           {"grpo", rl}},
          {{"name", "tuned"}, {"type", "sft"}, {"from", "rl"}, {"data", data}, {"sft", sft}},
          {{"name", "whole"},
           {"type", "sft"},
           {"policy", {{"from", model_.string()}}},
           {"data", data},
           {"sft", sft}},
          {{"name", "over"},
           {"type", "grpo"},
           {"from", "whole"},
           {"policy", {{"adapter", {{"rank", 3}, {"targets", {"attention"}}}}}},
           {"grpo", rl}},
          {{"name", "student"},
           {"type", "distill"},
           {"policy", {{"from", model_.string()}, {"adapter", {{"rank", 4}}}}},
           {"teacher", (folder_ / "taught.jsonl").string()},
           {"sft", sft}}}},
        {"evaluation",
         {{"problems", 2}, {"samples", 2}, {"general_problems", 0}, {"pairs", 2}, {"max_new_tokens", 16}}}};
    write_lines(folder_ / "taught.jsonl",
                {{{"prompt", "1+1"}, {"completion", "<think>1+1=2</think><answer>2</answer>"}},
                 {{"prompt", "1+2"}, {"completion", "<think>1+2=3</think><answer>3</answer>"}}});
  }
  int recipe(const std::vector<std::string>& more) {
    write(folder_ / "r1.json", config_.dump());
    std::vector<std::string> all{"--config", folder_ / "r1.json", "--out", folder_ / "r1"};
    all.insert(all.end(), more.begin(), more.end());
    return tool(GRPO_R1, all);
  }
  Json config_;
};

TEST_F(AdapterRecipes, go_on_with_an_adapter_or_put_one_on_what_a_stage_trained) {
  ASSERT_EQ(recipe({}), 0) << output();
  const Json made = Json::parse(read_file(folder_ / "r1/config.json"))["stages"];
  EXPECT_EQ(made[0]["grpo"]["optimizer"]["learning_rate"], 1e-4);
  EXPECT_EQ(made[1]["sft"]["optimizer"]["learning_rate"], 2e-4) << "of the adapter that it goes on with";
  EXPECT_EQ(made[2]["sft"]["optimizer"]["learning_rate"], 2e-5);
  EXPECT_EQ(made[3]["grpo"]["optimizer"]["learning_rate"], 1e-4);

  const fs::path stages = folder_ / "r1";
  const Policy base = load_pretrained(model_);
  for (const char* stage : {"rl", "tuned", "student"}) {
    EXPECT_TRUE(same(open(stages / stage).weights(), base.weights())) << stage;
    EXPECT_EQ(Json::parse(read_file(stages / stage / "adapter/adapter_config.json"))["base_model_name_or_path"],
              model_.string());
  }
  EXPECT_FALSE(same(open(stages / "tuned").state(), open(stages / "rl").state()));
  const Policy whole = open(stages / "whole"), over = open(stages / "over");
  EXPECT_TRUE(whole.adapters().empty());
  EXPECT_FALSE(fs::exists(stages / "whole/adapter"));
  EXPECT_FALSE(same(whole.weights(), base.weights()));
  EXPECT_TRUE(same(over.weights(), whole.weights()));
  EXPECT_EQ(Json::parse(read_file(stages / "over/adapter/adapter_config.json"))["base_model_name_or_path"],
            (stages / "whole/model").string());
  EXPECT_LT((logits(load_pretrained(stages / "over/model")) - logits(over)).abs().max().item<double>(), 1e-4);

  fs::rename(model_, folder_ / "away");
  EXPECT_EQ(recipe({"--resume"}), 0) << output();
  fs::rename(folder_ / "away", model_);
  const std::string before = read_file(stages / "over/adapter/adapter_model.safetensors");
  EXPECT_EQ(recipe({"--resume", "--force-from", "over"}), 0) << output();
  EXPECT_EQ(read_file(stages / "over/adapter/adapter_model.safetensors"), before);
}

TEST_F(AdapterRecipes, refuse_an_adapter_on_weights_that_nobody_trained_or_on_another) {
  const auto refusal = [&](auto change) {
    const Json kept = config_;
    change(config_["stages"]);
    EXPECT_EQ(recipe({}), 1);
    config_ = kept;
    return output();
  };
  EXPECT_THAT(refusal([](Json& all) { all[1]["policy"]["adapter"]["rank"] = 2; }),
              HasSubstr("stage \"tuned\", policy.adapter.rank: expected 0, as the stage goes on with the adapter of "
                        "rl"));
  EXPECT_THAT(refusal([](Json& all) { all[3]["policy"]["adapter"]["from"] = "x"; }),
              HasSubstr("policy.adapter.from: expected none in a stage that starts from another"));
  EXPECT_THAT(refusal([](Json& all) { all[4]["policy"].erase("from"); }),
              HasSubstr("policy.adapter.rank: expected 0 in a stage that starts from fresh weights, got 4"));
  EXPECT_THAT(refusal([](Json& all) { all[3]["type"] = "rejection_sample"; }),
              HasSubstr("policy.adapter.rank: expected 0 in a stage that trains nothing, got 3"));
  EXPECT_THAT(refusal([](Json& all) {
                all[3]["type"] = "rejection_sample";
                all[3]["policy"]["adapter"] = {{"from", "x"}};
              }),
              HasSubstr("policy.adapter.from: expected none in a stage that trains nothing, got x"));
}

// What a run that goes on keeps is what it had from an adapter's folder, which may be gone.
TEST_F(AdapterRecipes, that_go_on_have_the_adapter_that_the_user_says) {
  write_adapter(folder_ / "start");
  const auto recipe = [&](int rank, const fs::path& from = {}) {
    RecipeConfig config;
    StageConfig& stage = config.stages.emplace_back();
    stage.name = "rl", stage.type = StageType::grpo, stage.policy.from = model_.string();
    stage.policy.adapter.rank = rank, stage.policy.adapter.from = from.string();
    return config;
  };
  const auto chosen = [](RecipeConfig config, const RecipeConfig* made) {
    config.choose_defaults({}, made);
    return config.stages[0].policy.adapter;
  };
  RecipeConfig made = recipe(3);
  EXPECT_EQ(chosen(recipe(0), &made).rank, 0) << "taken out again";
  EXPECT_EQ(chosen(recipe(5), &made).rank, 5);
  EXPECT_EQ(chosen(recipe(0, folder_ / "start"), &made).rank, 2);
  made.stages[0].policy.adapter = chosen(recipe(0, folder_ / "start"), nullptr);
  fs::remove_all(folder_ / "start");
  const AdapterConfig kept = chosen(recipe(0, folder_ / "start"), &made);
  EXPECT_EQ(kept.rank, 2);
  EXPECT_EQ(kept.alpha, 6);
  EXPECT_EQ(kept.targets, (std::vector<std::string>{"down_proj", "q_proj"}));
}

}  // namespace
}  // namespace grpo
