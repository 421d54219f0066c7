// Answers anyone's tasks with the policy of a run, scores the answers, and prints the figures as JSON.
#include "grpo/evaluate.h"

#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "grpo/checkpoint.h"
#include "grpo/config.h"
#include "grpo/policy.h"
#include "grpo/reward.h"
#include "grpo/rollout.h"
#include "grpo/run.h"
#include "grpo/tasks.h"
#include "grpo/tokenizer.h"

namespace {

namespace fs = std::filesystem;

struct EvaluateConfig {
  std::string model, tasks, out;
  int k = 8;
  double temperature = 1.0, top_p = 1.0;
  int max_new_tokens = 0;
  uint64_t seed = 0;
  std::string device = "cpu";

  template <class V>
  void visit(V& v) {
    v("model", model, "a run's folder (its newest checkpoint), or one checkpoint in it");
    v("tasks", tasks, "JSONL: prompt, and optionally answer, kind, language, id");
    v("k", k, "samples of each task");
    v("temperature", temperature, "sampling temperature");
    v("top_p", top_p, "nucleus sampling");
    v("max_new_tokens", max_new_tokens, "longest completion; 0: as in training");
    v("seed", seed, "seed of the draws");
    v("out", out, "JSONL file for the completions, one line each");
    v("device", device, "cpu, cuda or cuda:N");
  }
  void validate() const {
    if (model.empty() || tasks.empty())
      throw grpo::Error("config", "expected --model RUN and --tasks FILE.jsonl (see --help)");
    if (k < 1) throw grpo::Error("config", "k: expected at least 1, got ", k);
  }
};

// RUN, or RUN/checkpoints/step-N: the run's folder and the checkpoint to load.
std::pair<fs::path, fs::path> locate(const fs::path& model) {
  if (fs::exists(model / "manifest.json"))
    return {fs::absolute(model).lexically_normal().parent_path().parent_path(), model};
  if (!fs::exists(model / "config.json"))
    throw grpo::Error("evaluate", model.string(),
                      ": expected a run's folder (with config.json) or a checkpoint in one");
  const auto newest = grpo::newest_checkpoint(model);
  if (!newest)
    throw grpo::Error("evaluate", model.string(), ": expected a checkpoint, found none; has the run saved one yet?");
  return {model, *newest};
}

}  // namespace

int main(int argc, char** argv) try {
  const auto config = grpo::load_config<EvaluateConfig>(argc, argv);
  const auto [run, checkpoint] = locate(config.model);
  const auto file = (run / "config.json").string();
  std::ifstream stream(file);
  const auto saved = grpo::parse_json(std::string(std::istreambuf_iterator<char>(stream), {}), file);

  grpo::PolicyConfig policy_config;
  grpo::ChatTemplate chat;
  grpo::RewardsConfig rewards;
  grpo::RolloutConfig settings;
  grpo::load_json(policy_config, saved.at("policy"), file + ": policy");
  grpo::load_json(chat, saved.at("chat"), file + ": chat");
  grpo::load_json(rewards, saved.at("rewards"), file + ": rewards");
  grpo::load_json(settings, saved.at("rollout"), file + ": rollout");
  settings.samples = config.k;
  settings.sampling = {config.temperature, 0, config.top_p, 0};
  if (config.max_new_tokens > 0) settings.max_new_tokens = config.max_new_tokens;

  const auto tasks = grpo::read_tasks(config.tasks);
  const auto tokenizer = grpo::Tokenizer::load(run / "tokenizer.model");
  if (policy_config.vocab_size == 0) policy_config.vocab_size = tokenizer.vocab_size();
  grpo::Policy policy(policy_config, 0, grpo::open_device(config.device));
  policy.load_state(grpo::read_checkpoint(checkpoint).policy);
  grpo::Rollout rollout(policy, tokenizer, chat, settings);
  grpo::Scorer scorer(rewards);

  std::vector<grpo::Group> groups;
  const auto figures = grpo::evaluate(
      rollout, scorer, tasks, config.seed, 0,
      [](size_t done, size_t total) { std::cerr << "\r" << done << "/" << total << " tasks" << std::flush; }, &groups);
  std::cerr << '\n';
  if (!config.out.empty()) {
    grpo::JsonlWriter out(config.out);
    for (const grpo::Group& group : groups)
      for (size_t i = 0; i < group.completions.size(); ++i) {
        nlohmann::ordered_json scores;
        for (const auto& [name, score] : group.scores[i])
          scores[name] = score.defined() ? nlohmann::ordered_json(score.value()) : nlohmann::ordered_json(nullptr);
        out.write({{"task", group.task.id},
                   {"sample", i},
                   {"prompt", group.task.prompt},
                   {"reference", group.task.answer},
                   {"text", group.completions[i].text},
                   {"answer", group.completions[i].answer},
                   {"scores", scores}});
      }
  }
  std::cout << figures.json().dump(2) << std::endl;
  return 0;
} catch (const std::exception& error) {
  return grpo::report(error);
}
