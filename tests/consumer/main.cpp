// A program outside the project: every public header, a reward of its own, a policy, and a step of training.
// The headers stand from the narrowest to the widest, so that none leans on what another includes.
#include "grpo/ops.h"
#include "grpo/safetensors.h"
#include "grpo/policy.h"
#include "grpo/error.h"
#include "grpo/sampling.h"
#include "grpo/task.h"
#include "grpo/config.h"
#include "grpo/tasks.h"
#include "grpo/tokenizer.h"
#include "grpo/corpus.h"
#include "grpo/reward.h"
#include "grpo/metrics.h"
#include "grpo/checkpoint.h"
#include "grpo/rollout.h"
#include "grpo/optimizer.h"
#include "grpo/objective.h"
#include "grpo/trainer.h"
#include "grpo/run.h"
#include "grpo/collect.h"
#include "grpo/evaluate.h"
#include "grpo/grpo.h"

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

int main(int argc, char** argv) try {
  const std::filesystem::path folder = argc > 1 ? argv[1] : ".";
  grpo::register_reward("even", [](const grpo::Task&, const grpo::Completion& completion) -> grpo::Score {
    return !completion.tokens.empty() && completion.tokens.front() % 2 == 0 ? 1.0 : 0.0;
  });
  grpo::RewardsConfig rewards;
  rewards.weights = {{"even", 1.0}};
  grpo::Scorer scorer(rewards);

  grpo::TasksConfig problems;
  grpo::TaskStream tasks(problems);
  const grpo::ChatTemplate chat;
  std::vector<std::string> documents;
  for (const grpo::Task& task : tasks.take(200)) documents.push_back(chat.render(task) + task.answer);
  grpo::TokenizerConfig vocabulary;
  vocabulary.vocab_size = 320;
  grpo::Tokenizer::train(documents, vocabulary, folder / "tokenizer.model");
  const auto tokenizer = grpo::Tokenizer::load(folder / "tokenizer.model");

  grpo::PolicyConfig shape;
  shape.vocab_size = tokenizer.vocab_size();
  shape.hidden_size = 32;
  shape.intermediate_size = 64;
  shape.moe.experts = 4;
  grpo::Policy policy(shape, 7);
  grpo::RolloutConfig sampling;
  sampling.samples = 4;
  sampling.max_new_tokens = 8;
  grpo::Rollout rollout(policy, tokenizer, chat, sampling);
  grpo::Trainer trainer(policy, grpo::ObjectiveConfig{}, grpo::OptimizerConfig{});

  auto collected = grpo::collect(rollout, scorer, [&](std::size_t n) { return tasks.take(n); }, 4, grpo::ObjectiveConfig{}, 7, 0);
  const grpo::UpdateReport report = trainer.update(collected.groups, 0);
  std::printf("%zu groups, %lld tokens, ratio deviation %g\n", collected.groups.size(),
              static_cast<long long>(report.tokens), report.ratio_deviation);
  const bool scored = collected.groups.size() == 4 && collected.groups[0].scores[0].contains("even");
  return scored && report.tokens > 0 && report.ratio_deviation == 0 ? 0 : 1;
} catch (const std::exception& error) {
  return grpo::report(error);
}
