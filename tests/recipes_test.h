// What the tests of recipes share: one with every type of stage, and how it is started.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "child.h"
#include "error_of.h"
#include "files.h"
#include "grpo/recipe.h"

namespace grpo {

// Every type of stage, and everything that can pass between them, in a few steps each.
inline constexpr const char* kConfig = R"({
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

class Recipes : public testing::Test {
 protected:
  using Json = nlohmann::ordered_json;

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
    EXPECT_FALSE(std::filesystem::exists(folder_ / "refused/tokenizer.model")) << "before anything is computed";
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
    std::filesystem::remove(folder_ / (name + ".out"));
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

}  // namespace grpo
