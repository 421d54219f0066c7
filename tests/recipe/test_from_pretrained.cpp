// A run that begins with a model folder of Hugging Face's form.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "grpo/checkpoint.h"
#include "grpo/model.h"
#include "grpo/pretrained.h"
#include "models_test.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using testing::HasSubstr;

/// R1-Zero from the model folder.
class FromPretrained : public Models {
 protected:
  std::vector<std::string> words(const std::string& name, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all =
        four_steps(name, {"evaluate.problems=4", "evaluate.samples=2", "optimizer.learning_rate=1e-2"});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  int run(const std::string& name, const std::vector<std::string>& more = {}) {
    child_.start(words(name, more), folder_ / "out");
    return child_.wait();
  }
};

TEST_F(FromPretrained, r1_zero_trains_it_resumes_without_it_and_writes_it_back) {
  ASSERT_EQ(run("whole"), 0) << output();
  const auto expected = metrics_without_timings(folder_ / "whole");
  ASSERT_EQ(expected.size(), 4u);
  double gradients = 0;
  for (const Json& line : expected) {
    EXPECT_EQ(line["ratio_deviation"], 0.0);
    gradients += line["grad_norm"].get<double>();
  }
  EXPECT_GT(gradients, 0);

  // Killed after a step, and resumed where the folder is gone.
  child_.start(words("killed"), folder_ / "out");
  ASSERT_TRUE(child_.wait_until([&] { return list_checkpoints(folder_ / "killed").size() > 1; })) << output();
  child_.kill(SIGKILL);
  child_.wait();
  fs::rename(model_, folder_ / "away");
  ASSERT_EQ(run("killed", {"--resume"}), 0) << output();
  EXPECT_EQ(metrics_without_timings(folder_ / "killed"), expected);
  EXPECT_EQ(read_file(folder_ / "killed/model/model.safetensors"),
            read_file(folder_ / "whole/model/model.safetensors"));

  // The folder that it wrote holds the weights of its last checkpoint, and all that lay beside the first ones.
  const fs::path written = folder_ / "whole/model";
  const Policy policy = load_pretrained(written);
  const NamedTensors saved = read_checkpoint(*newest_checkpoint(folder_ / "whole")).policy, left = policy.state();
  ASSERT_EQ(left.size(), saved.size());
  for (size_t i = 0; i < left.size(); ++i) EXPECT_TRUE(at::equal(left[i].second, saved[i].second)) << left[i].first;
  const auto before = load_pretrained(folder_ / "away").state();
  EXPECT_FALSE(at::equal(left[0].second, before[0].second));
  for (const char* file : {"tokenizer.json", "chat_template.jinja", "generation_config.json"})
    EXPECT_EQ(read_file(written / file), read_file(folder_ / "away" / file));

  // The run and what it wrote answer alike.
  write_lines(folder_ / "tasks.jsonl", {{{"prompt", "1+1"}, {"answer", "2"}}});
  const auto figures = [&](const fs::path& model, const std::vector<std::string>& more) {
    std::vector<std::string> all{"--model", model, "--tasks", folder_ / "tasks.jsonl", "--max_new_tokens", "24"};
    all.insert(all.end(), more.begin(), more.end());
    EXPECT_EQ(tool(GRPO_EVALUATE, all), 0) << output();
    return Json::parse(output().substr(output().find('{')))["completion_length"];
  };
  EXPECT_EQ(figures(folder_ / "whole", {}), figures(written, {"--template", "User: {prompt}\nAssistant: "}));
}

TEST_F(FromPretrained, a_stage_of_a_recipe_begins_with_it_and_the_others_share_its_tokenizer) {
  const Json rollout{{"samples", 4}, {"max_new_tokens", 16}};
  const Json rewards{
      {"weights", {{"format", 0}, {"overlong", 1}}}, {"overlong_max_length", 16}, {"overlong_buffer", 12}};
  Json config{
      {"chat", {{"text", ""}, {"system", "Think."}}},
      {"stages",
       {{{"name", "rl"},
         {"type", "grpo"},
         {"policy", {{"from", model_.string()}, {"dtype", "bfloat16"}}},
         {"grpo", {{"steps", 2}, {"prompts_per_step", 2}, {"rollout", rollout}, {"rewards", rewards}}}},
        {{"name", "tuned"},
         {"type", "sft"},
         {"from", "rl"},
         {"data", {{{"topic", "problem"}, {"count", 4}}}},
         {"sft", {{"documents_per_step", 2}}}}}},
      {"evaluation", {{"problems", 4}, {"samples", 2}, {"general_problems", 0}, {"pairs", 2}, {"max_new_tokens", 16}}}};
  write(folder_ / "r1.json", config.dump());
  const auto recipe = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all{"--config", folder_ / "r1.json", "--out", folder_ / "r1"};
    all.insert(all.end(), more.begin(), more.end());
    return tool(GRPO_R1, all);
  };
  ASSERT_EQ(recipe({}), 0) << output();
  const Json made = Json::parse(read_file(folder_ / "r1/config.json"));
  EXPECT_EQ(made["stages"][0]["grpo"]["optimizer"]["learning_rate"], 1e-5);
  EXPECT_EQ(made["stages"][1]["sft"]["optimizer"]["learning_rate"], 2e-5) << "it goes back to that model, too";
  EXPECT_EQ(made["chat"], (Json{{"text", ""}, {"system", "Think."}, {"open_think", true}}));
  EXPECT_THAT(output(), HasSubstr("stages.1.sft.optimizer.learning_rate 2e-05"));
  fs::rename(model_, folder_ / "away");
  EXPECT_EQ(recipe({"--resume"}), 0) << output();
  EXPECT_EQ(recipe({"--resume", "--force-from", "tuned"}), 0) << output();
  write_lines(folder_ / "tasks.jsonl", {{{"prompt", "1+1"}, {"answer", "2"}}});
  for (const char* stage : {"rl", "tuned"}) {
    EXPECT_EQ(tool(GRPO_EVALUATE, {"--model", folder_ / "r1" / stage, "--tasks", folder_ / "tasks.jsonl"}), 0)
        << output();
    const auto written = load_safetensors(folder_ / "r1" / stage / "model/model.safetensors");
    ASSERT_FALSE(written.empty());
    EXPECT_EQ(written[0].second.scalar_type(), at::kBFloat16);
  }
  config["stages"][1].erase("from");
  config["stages"][1]["policy"]["from"] = "elsewhere";
  write(folder_ / "r1.json", config.dump());
  EXPECT_EQ(recipe({}), 1);
  EXPECT_THAT(output(), HasSubstr("stage \"tuned\", policy.from: expected " + model_.string()));
}

TEST_F(FromPretrained, an_empty_chat_text_is_the_template_of_the_folder) {
  ASSERT_EQ(run("chat", {"--set", "chat.text=", "--set", "chat.system=", "--set", "chat.open_think=false", "--steps",
                         "1"}),
            0)
      << output();
  const Model model = [&] {
    ModelConfig config;
    config.model = folder_ / "chat";
    return open_model(config);
  }();
  EXPECT_EQ(model.chat.render(Task{"", "Hi", "", "", ""}), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  fs::remove(model_ / "chat_template.jinja");
  EXPECT_EQ(run("none", {"--set", "chat.text="}), 1);
  EXPECT_THAT(output(), HasSubstr("a base model has none"));
  EXPECT_FALSE(fs::exists(folder_ / "none")) << "said before any work";
}

// Values that follow what is trained: said with their reason, recorded, and not decided again.
TEST_F(FromPretrained, defaults_are_those_of_a_pretrained_model_where_the_user_says_nothing) {
  const auto start = [&](const std::string& name, const std::vector<std::string>& more) {
    std::vector<std::string> all{"--set", "policy.from=" + model_.string(), "--set", "steps=1", "--set",
                                 "prompts_per_step=1", "--set", "rollout.samples=2", "--set", "rollout.max_new_tokens=2",
                                 "--set", "evaluate.problems=0", "--out", (folder_ / name).string()};
    all.insert(all.end(), more.begin(), more.end());
    return tool(GRPO_R1_ZERO, all);
  };
  const auto config = [&](const std::string& name) { return Json::parse(read_file(folder_ / name / "config.json")); };
  ASSERT_EQ(start("own", {"--set", "policy.layers=3", "--set", "policy.max_positions=600"}), 0) << output();
  EXPECT_THAT(output(), HasSubstr("warning: policy.layers counts for nothing: the model and its vocabulary are"));
  EXPECT_THAT(output(), testing::Not(HasSubstr("max_positions counts for nothing")));
  EXPECT_THAT(output(), testing::AllOf(HasSubstr("optimizer.learning_rate 1e-05: the default for a pretrained model"),
                                       HasSubstr("--set optimizer.learning_rate=…"), HasSubstr("chat.system"),
                                       HasSubstr("objective.kl none")));
  Json written = config("own");
  EXPECT_EQ(written["optimizer"]["learning_rate"], 1e-5);
  EXPECT_EQ(written["optimizer"]["warmup_steps"], 10);
  EXPECT_EQ(written["rewards"]["accuracy_needs_format"], false);
  EXPECT_EQ(written["rewards"]["think_open"], true);
  EXPECT_EQ(written["chat"]["text"], "");
  EXPECT_EQ(written["chat"]["system"], kFormSystem);
  EXPECT_EQ(written["chat"]["open_think"], true);
  const Model trained = [&] {
    ModelConfig opened;
    opened.model = folder_ / "own";
    return open_model(opened);
  }();
  EXPECT_TRUE(trained.rewards.think_open);
  EXPECT_THAT(trained.chat.render(Task{"", "Hi", "", "", ""}),
              testing::AllOf(HasSubstr(std::string(kFormSystem)), testing::EndsWith("assistant\n<think>")));

  // A resumed run has what it was made with, also where defaults would be others now.
  written["optimizer"]["learning_rate"] = 3e-4;
  write(folder_ / "own/config.json", written.dump());
  ASSERT_EQ(tool(GRPO_R1_ZERO, {"--resume", "--out", folder_ / "own", "--set", "steps=2"}), 0) << output();
  EXPECT_EQ(config("own")["optimizer"]["learning_rate"], 3e-4);
  EXPECT_THAT(output(), testing::Not(HasSubstr("the default for a pretrained model")));

  // What the user says wins, from a file as from the command line.
  write(folder_ / "mine.json", R"({"optimizer": {"warmup_steps": 0}, "chat": {"open_think": false}})");
  ASSERT_EQ(start("mine", {"--config", folder_ / "mine.json", "--set", "optimizer.learning_rate=2e-5", "--set",
                           "rewards.accuracy_needs_format=true", "--set", "chat.system="}),
            0)
      << output();
  EXPECT_EQ(config("mine")["optimizer"]["learning_rate"], 2e-5);
  EXPECT_EQ(config("mine")["optimizer"]["warmup_steps"], 0);
  EXPECT_EQ(config("mine")["rewards"]["accuracy_needs_format"], true);
  EXPECT_EQ(config("mine")["chat"], (Json{{"text", ""}, {"system", ""}, {"open_think", false}}));

  // A model without a chat template is asked by a text.
  fs::remove(model_ / "chat_template.jinja");
  ASSERT_EQ(start("base", {}), 0) << output();
  EXPECT_EQ(config("base")["chat"]["text"], kFormText);
  EXPECT_EQ(config("base")["chat"]["open_think"], true);
}

TEST_F(FromPretrained, the_published_job_on_smollm2_runs_on_any_such_model) {
  ASSERT_EQ(tool(GRPO_R1_ZERO, {"--config", std::string(GRPO_FIXTURES) + "/../../configs/smollm2_sums.json", "--set",
                                "policy.from=" + model_.string(), "--set", "policy.max_positions=512", "--set",
                                "steps=1", "--set", "prompts_per_step=2", "--set", "rollout.samples=2", "--set",
                                "evaluate.problems=2", "--set", "evaluate.samples=1", "--out", folder_ / "sums"}),
            0)
      << output();
  EXPECT_THAT(output(), testing::Not(HasSubstr("warning: ")));
  const auto samples = lines_of(folder_ / "sums/samples.jsonl");
  ASSERT_EQ(samples.size(), 4u);
  for (const Json& each : samples) EXPECT_EQ(each["kind"], "arithmetic");
  EXPECT_TRUE(fs::exists(folder_ / "sums/model/model.safetensors"));
}

// The same questions, from a file of conversations, in training and in evaluation.
TEST_F(FromPretrained, conversations_are_asked_by_the_template) {
  std::vector<Json> lines;
  for (int i = 0; i < 4; ++i)
    lines.push_back({{"messages",
                      {{{"role", "system"}, {"content", "Count."}},
                       {{"role", "user"}, {"content", std::to_string(i) + "+1"}}}},
                     {"answer", i + 1}});
  write_lines(folder_ / "talks.jsonl", lines);
  const std::string file = "tasks.file=" + (folder_ / "talks.jsonl").string();
  ASSERT_EQ(run("talks", {"--set", file, "--set", "chat.text=", "--set", "evaluate.problems=0", "--set", "steps=2"}), 0)
      << output();
  EXPECT_THAT(output(), HasSubstr("tasks.heldout_share 0"));
  std::set<std::string> asked;
  for (const Json& line : lines_of(folder_ / "talks/samples.jsonl")) asked.insert(line["prompt"].get<std::string>());
  EXPECT_EQ(asked.size(), 4u) << "of four tasks none is held out where nothing is evaluated";
  ASSERT_EQ(tool(GRPO_EVALUATE, {"--model", folder_ / "talks", "--tasks", folder_ / "talks.jsonl", "--k", "2"}), 0)
      << output();
  EXPECT_EQ(run("none", {"--set", file, "--set", "tasks.heldout_share=0"}), 1);
  EXPECT_THAT(output(), testing::AllOf(HasSubstr("expected at least one held-out task"),
                                       HasSubstr("--set evaluate.problems=0")));
  EXPECT_EQ(run("text", {"--set", file, "--set", "evaluate.problems=0"}), 1);
  EXPECT_THAT(output(), HasSubstr("expected one turn, the user's"));
}

}  // namespace
}  // namespace grpo
