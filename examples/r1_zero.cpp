// R1-Zero: a base model learns to reason by GRPO from rewards alone. It is made from scratch on an imperfect corpus, or
// it is anyone's: --set policy.from=FOLDER.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "grpo/collect.h"
#include "grpo/config.h"
#include "grpo/corpus.h"
#include "grpo/evaluate.h"
#include "grpo/model.h"
#include "grpo/policy.h"
#include "grpo/reward.h"
#include "grpo/rollout.h"
#include "grpo/run.h"
#include "grpo/stages.h"
#include "grpo/tasks.h"
#include "grpo/tokenizer.h"
#include "grpo/trainer.h"

namespace {

using grpo::Split;
using Json = nlohmann::ordered_json;

struct BaseConfig : grpo::PretrainConfig {
  grpo::CorpusConfig corpus;

  template <class V>
  void visit(V& v) {
    grpo::PretrainConfig::visit(v);
    v("corpus", corpus, "the documents");
  }
};

struct EvaluateConfig {
  int problems = 512;
  int samples = 8;

  template <class V>
  void visit(V& v) {
    v("problems", problems, "held-out problems, before and after; 0: none");
    v("samples", samples, "answers to each");
  }
};

struct R1ZeroConfig : grpo::RunConfig {
  uint64_t seed = 11;
  std::string device = "cpu";
  int steps = 180;
  int prompts_per_step = 16;
  grpo::ChatTemplate chat;
  grpo::TokenizerConfig tokenizer;
  grpo::TasksConfig tasks;
  grpo::PolicyConfig policy;
  BaseConfig pretrain;
  grpo::RolloutConfig rollout;
  grpo::RewardsConfig rewards;
  grpo::ObjectiveConfig objective;
  grpo::OptimizerConfig optimizer;
  grpo::TrainerConfig trainer;
  EvaluateConfig evaluate;

  template <class V>
  void visit(V& v) {
    grpo::RunConfig::visit(v);
    v("seed", seed, "of everything that is drawn: weights, documents, tasks, samples");
    v("device", device, "cpu, cuda or cuda:N");
    v("steps", steps, "RL steps");
    v("prompts_per_step", prompts_per_step, "tasks of one RL step; each is answered rollout.samples times");
    v("chat", chat, "the text around a prompt");
    v("tokenizer", tokenizer, "how the vocabulary is learned");
    v("tasks", tasks, "the questions");
    v("policy", policy, "the model");
    v("pretrain", pretrain,
      "the stage that makes the base model; with steps = 0 RL starts from fresh weights, with policy.from it is left "
      "out");
    v("rollout", rollout, "sampling");
    v("rewards", rewards, "what is rewarded");
    v("objective", objective, "advantages and loss");
    v("optimizer", optimizer, "AdamW of the RL stage");
    v("trainer", trainer, "how updates are computed");
    v("evaluate", evaluate, "held-out evaluation, at temperature 1");
  }
};

grpo::Example tokenize(const grpo::Tokenizer& tokenizer, const grpo::Document& document) {
  grpo::Example example{tokenizer.encode(document.prompt)};
  const auto completion = tokenizer.encode(document.completion);
  example.tokens.insert(example.tokens.end(), completion.begin(), completion.end());
  example.tokens.push_back(tokenizer.eos());
  return example;
}

}  // namespace

int main(int argc, char** argv) try {
  auto config = grpo::load_config<R1ZeroConfig>(argc, argv);
  config.tasks.seed = config.seed;
  config.rewards.think_open = config.chat.opens_think();
  const bool from_scratch = config.policy.from.empty();
  if (!from_scratch) config.pretrain.steps = 0;
  const at::Device device = grpo::open_device(config.device);

  grpo::Run run(config, grpo::dump_config(config), "r1_zero");
  const auto checkpoint = run.resume();
  auto& progress = run.progress();

  // Text: a vocabulary, learned from the corpus or the pretrained model's; tasks, rewards.
  const grpo::RunFiles files(run.folder());
  std::optional<grpo::Corpus> corpus;
  if (from_scratch) corpus.emplace(config.pretrain.corpus, config.tasks, config.chat);
  if (!checkpoint && from_scratch) {
    std::vector<std::string> documents;
    for (uint64_t i = 0; i < 4000; ++i)
      documents.push_back(corpus->document(i).prompt + corpus->document(i).completion);
    files.learn_tokenizer(documents, config.tokenizer);
  } else if (!checkpoint) {
    if (const auto warning = files.take_from(config.policy.from)) progress.note("warning: " + *warning);
  }
  const auto tokenizer = files.tokenizer();
  config.chat = files.chat(config.chat);
  config.rewards.think_open = config.chat.opens_think();
  grpo::TaskStream tasks(config.tasks, Split::train);
  const auto heldout = grpo::heldout_tasks(config.tasks, config.evaluate.problems);
  grpo::Scorer scorer(config.rewards);

  // One policy for all stages.
  auto policy = checkpoint ? grpo::Policy::uninitialized(files.policy_config(config.policy), device)
                           : files.first_policy(config.policy, config.seed, device);
  progress.note("grpo.cpp r1_zero · policy " + policy.describe() + " · seed " + std::to_string(config.seed) + " · " +
                run.folder().string());

  Json state = checkpoint ? checkpoint->state : Json{{"stage", "base"}, {"step", 0}};
  const auto restore = [&](grpo::Trainer& trainer) {
    policy.load_state(checkpoint->policy);
    trainer.load_state(checkpoint->optimizer);
    if (trainer.reference() && checkpoint->reference) trainer.reference()->load_state(*checkpoint->reference);
  };
  const auto save = [&](int64_t step, grpo::Trainer& trainer) {
    grpo::CheckpointContents contents{policy.state(), trainer.state(), std::nullopt, state};
    if (trainer.reference()) contents.reference = trainer.reference()->state();
    run.save(step, contents);
  };
  const auto heldout_figures = [&](const char* label, uint64_t step) {
    auto settings = config.rollout;
    settings.samples = config.evaluate.samples;
    settings.sampling = {};
    grpo::Rollout rollout(policy, tokenizer, config.chat, settings);
    progress.begin(label, static_cast<int64_t>(heldout.size()), 0, grpo::Progress::Lines::seldom);
    grpo::Stopwatch watch;
    size_t before = 0;
    const auto figures = grpo::evaluate(rollout, scorer, heldout, config.seed, step, [&](size_t done, size_t) {
      progress.step(static_cast<int64_t>(done), {}, watch.lap() / static_cast<double>(done - before));
      before = done;
    });
    progress.end();
    return figures.json();
  };

  // Stage 1: the base model, from documents of which many are wrong or out of form.
  if (state["stage"] == "base" && from_scratch) {
    auto settings = config.pretrain.optimizer;
    if (settings.total_steps == 0) settings.total_steps = config.pretrain.steps;
    grpo::Trainer trainer(policy, settings, config.pretrain.trainer);
    if (checkpoint) restore(trainer);
    progress.begin("base", config.pretrain.steps, state["step"], grpo::Progress::Lines::seldom);
    for (int64_t step = state["step"]; step < config.pretrain.steps;) {
      grpo::Stopwatch watch;
      std::vector<grpo::Example> documents;
      for (int i = 0; i < config.pretrain.documents_per_step; ++i)
        documents.push_back(tokenize(
            tokenizer, corpus->document(static_cast<uint64_t>(step * config.pretrain.documents_per_step + i))));
      const auto report = trainer.update(documents, step);
      for (const auto& why : report.skipped) progress.note("update skipped: " + why);
      state["step"] = ++step;
      progress.step(step, {{"loss", report.loss}}, watch.lap());
      if (run.stopping() || (step % 100 == 0 && step < config.pretrain.steps)) save(step, trainer);
      if (run.stopping()) return run.stopped();
    }
    progress.end();
  }
  if (state["stage"] == "base") {
    state["stage"] = "rl", state["step"] = 0;
    state["before"] = heldout.empty() ? Json() : heldout_figures("before", 0);
  }

  // Stage 2: R1-Zero. Every line of the method is in this loop.
  auto settings = config.optimizer;
  if (settings.total_steps == 0) settings.total_steps = config.steps;
  grpo::Rollout rollout(policy, tokenizer, config.chat, config.rollout);
  grpo::Trainer trainer(policy, config.objective, settings, config.rollout.sampling.temperature, config.trainer);
  if (checkpoint && checkpoint->state["stage"] != "base")
    restore(trainer);
  else
    save(config.pretrain.steps, trainer);
  tasks.seek(state.value("cursor", uint64_t{0}));

  progress.begin("step", config.steps, state["step"], grpo::Progress::Lines::each_step);
  for (int64_t step = state["step"]; step < config.steps;) {
    auto collected = grpo::collect(
        rollout, scorer, [&](size_t n) { return tasks.take(n); }, config.prompts_per_step, config.objective,
        config.seed, step);
    if (collected.exhausted)
      progress.note("dynamic sampling: some groups are without signal after " + std::to_string(collected.refills) +
                    " refills");
    grpo::Stopwatch watch;
    const auto report = trainer.update(collected.groups, step);
    ++step;
    run.record(step, collected.groups, report, collected.stats,
               {collected.rollout_seconds, collected.reward_seconds, watch.lap()});
    state["step"] = step, state["cursor"] = tasks.cursor();
    if (run.stopping() || run.due(step) || step == config.steps) save(config.pretrain.steps + step, trainer);
    if (run.stopping() && step < config.steps) return run.stopped();
  }
  progress.end();

  // The same held-out problems again.
  const Json before = state["before"], after = heldout.empty() ? Json() : heldout_figures("after", 1);
  run.write("summary.json", {{"before", before}, {"after", after}});
  if (!heldout.empty()) {
    grpo::Table table{"held-out (" + std::to_string(heldout.size()) + " problems, " +
                          std::to_string(config.evaluate.samples) + " samples each)",
                      {"before", "after"},
                      {}};
    const auto value = [](const Json& j) { return j.is_null() ? std::nan("") : j.get<double>(); };
    for (const char* key :
         {"pass@1", "format", "language_consistency", "completion_length", "reflection_rate", "mixed_traces"})
      table.rows.push_back({key, {value(before[key]), value(after[key])}, ""});
    progress.note(grpo::format_table(table));
  }
  files.save_model(policy);
  progress.note("saved " + run.folder().string() + " · curves: scripts/plot_metrics.py " + run.folder().string());
  return 0;
} catch (const std::exception& error) {
  return grpo::report(error);
}
