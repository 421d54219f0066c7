// R1-Zero: a base model learns to reason by GRPO from rewards alone. It is made from scratch on an imperfect corpus, or
// it is anyone's: --set policy.from=FOLDER.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "grpo/checkpoint.h"
#include "grpo/collect.h"
#include "grpo/config.h"
#include "grpo/corpus.h"
#include "grpo/defaults.h"
#include "grpo/device.h"
#include "grpo/evaluate.h"
#include "grpo/messages.h"
#include "grpo/metrics.h"
#include "grpo/model.h"
#include "grpo/policy.h"
#include "grpo/reward.h"
#include "grpo/rollout.h"
#include "grpo/run.h"
#include "grpo/stages.h"
#include "grpo/step_log.h"
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
    v("problems", problems, "held-out problems, before and after; 0: none", grpo::at_least(0).at_most(1 << 24));
    v("samples", samples, "answers to each", grpo::kSamples);
  }
};

// "policy.moe.experts" as a place in JSON.
Json::json_pointer pointer_to(std::string key) {
  std::ranges::replace(key, '.', '/');
  return Json::json_pointer("/" + key);
}

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
    v("steps", steps, "RL steps", grpo::at_least(0));
    v("prompts_per_step", prompts_per_step, "tasks of one RL step; each is answered rollout.samples times",
      grpo::at_least(1).at_most(1 << 20));
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
  void choose_defaults(const grpo::GivenKeys& given, const R1ZeroConfig* made) {
    if (made) return;  // a run that goes on has its values
    // Without an evaluation nothing need be kept from training.
    if (evaluate.problems == 0 && !tasks.file.empty() && !given.contains("tasks.heldout_share") &&
        tasks.heldout_file.empty()) {
      tasks.heldout_share = 0;
      notes.push_back("tasks.heldout_share 0: nothing is evaluated (evaluate.problems 0), so all tasks are trained on");
    }
    if (policy.from.empty()) return;
    grpo::PretrainedDefaults defaults(policy.from, given);
    defaults.choose(chat);
    defaults.choose("policy.", policy.adapter);
    defaults.choose_rl("", policy.adapter, optimizer, objective, rewards);
    notes.insert(notes.end(), defaults.notes().begin(), defaults.notes().end());
    const Json all = grpo::dump_config(*this);
    for (const auto& key : given)
      if (grpo::lies_in(key, {"policy", "pretrain", "tokenizer"}) &&
          !grpo::lies_in(key, {"policy.from", "policy.dtype", "policy.max_positions", "policy.moe.auxiliary_loss",
                               "policy.adapter"}) &&
          !all.at(pointer_to(key)).is_object())
        notes.push_back("warning: " + key +
                        " counts for nothing: the model and its vocabulary are those of policy.from");
  }
  void validate() const {
    RunConfig::validate();
    if (chat.text.empty() && policy.from.empty())
      throw grpo::Error("config", "chat.text: expected a text with {prompt}, got \"\"; only a policy that comes from ",
                        "a model folder (policy.from) has a chat template of its own");
    if (policy.from.empty() && policy.adapter.rank > 0)
      throw grpo::Error("config", "policy.adapter.rank: expected 0 without policy.from, got ", policy.adapter.rank,
                        "; a model that is made here is trained whole");
    if (policy.from.empty()) grpo::require_room(rollout, policy);
    grpo::check_places(0, static_cast<uint64_t>(prompts_per_step), objective);
    objective.check_step(prompts_per_step, rollout.samples);
    grpo::require_learnable(rollout);
    grpo::lasting(optimizer, grpo::updates_of(steps, objective));
  }
};

// What a run that goes on has been made with, which stays.
bool stays(const std::string& key, const Json& state) {
  if (grpo::lies_in(key, {"policy.max_positions", "policy.moe.auxiliary_loss"})) return false;
  const bool has_base = state["stage"] != "base";
  return grpo::lies_in(key, {"seed", "chat", "tokenizer", "tasks", "policy", "pretrain.corpus"}) ||
         (has_base && grpo::lies_in(key, {"pretrain", "evaluate"}));
}

// The steps after which the run was measured for the last time; -1 when it has not come to that.
int64_t steps_measured(const grpo::Run& run) {
  std::ifstream file(run.folder() / "summary.json");
  Json summary = Json::parse(file, nullptr, false);
  return summary.is_object() && summary["steps"].is_number_integer() ? summary["steps"].get<int64_t>() : -1;
}

// Where a checkpoint's state says how long the base's logs were.
constexpr const char *kBaseOffset = "base_offset", *kBaseEventsOffset = "base_events_offset";

// All of it: the base model, then RL.
class R1Zero {
 public:
  R1Zero(const R1ZeroConfig& config, grpo::Run& run, at::Device device)
      : config_(config),
        run_(run),
        progress_(run.progress()),
        checkpoint_(run.resume(stays)),
        files_(run.folder()),
        tokenizer_(open_text()),
        scorer_(config_.rewards),
        policy_(checkpoint_ ? files_.outline(files_.policy_config(config_.policy), device)
                            : files_.first_policy(config_.policy, config_.seed, device)),
        rollout_(policy_, tokenizer_, config_.chat, config_.rollout),
        state_(open_state()) {}

  // Gives the exit status.
  int learn() {
    introduce();
    choose_tasks();
    if (state_["stage"] == "base") {
      if (corpus_ && !make_base()) return run_.stopped();
      state_["stage"] = "rl", state_["step"] = 0;
      state_.erase(kBaseOffset), state_.erase(kBaseEventsOffset);
      state_["before"] = heldout_.empty() ? Json() : heldout_figures("before", 0);
    } else if (state_["step"] >= config_.steps && steps_measured(run_) == state_["step"]) {
      progress_.note("this run is finished, after " + state_["step"].dump() + " steps; with more it goes on: " +
                     run_.resume_command() + " --set steps=N");
      return 0;
    }
    if (!reinforce()) return run_.stopped();
    conclude();
    return 0;
  }

 private:
  // Stage 1: the base model, from documents of which many are wrong or out of form. False when a signal stopped it.
  bool make_base() {
    const BaseConfig& config = config_.pretrain;
    grpo::Trainer trainer(policy_, grpo::lasting(config.optimizer, config.steps), config.trainer);
    if (checkpoint_) run_.restore(*checkpoint_, policy_, trainer);
    grpo::StepLog log(run_.folder() / "base", progress_, base_offsets());
    progress_.begin("base", config.steps, state_["step"], grpo::Progress::Lines::seldom);
    for (int64_t step = state_["step"]; step < config.steps;) {
      grpo::Stopwatch watch;
      const auto report = trainer.update(grpo::examples_of(config, *corpus_, tokenizer_, step), step);
      for (const auto& why : report.skipped) progress_.note("update skipped: " + why);
      for (const auto& warning : report.warnings) progress_.note("warning: " + warning);
      state_["step"] = ++step;
      const double seconds = watch.lap();
      log.write({{"step", step},
                 {"loss", report.loss},
                 {"grad_norm", report.grad_norm},
                 {"learning_rate", report.learning_rate},
                 {"expert_load_max", report.expert_load_max},
                 {"seconds/train", seconds}});
      progress_.step(step, {{"loss", report.loss}}, seconds);
      const bool stopping = run_.stopping();
      if (stopping || step % 100 == 0 || step == config.steps) {
        const auto [metrics, events] = log.sync();
        state_[kBaseOffset] = metrics, state_[kBaseEventsOffset] = events;
        run_.save(step, policy_, trainer, state_);
      }
      if (stopping) return false;
    }
    progress_.end();
    return true;
  }

  // Stage 2: R1-Zero. Every line of the method is in this loop. False when a signal stopped it.
  bool reinforce() {
    grpo::Trainer trainer(policy_, config_.objective,
                          grpo::lasting(config_.optimizer, grpo::updates_of(config_.steps, config_.objective)),
                          config_.rollout.sampling.temperature, config_.trainer);
    if (checkpoint_ && checkpoint_->state["stage"] == "rl")
      run_.restore(*checkpoint_, policy_, trainer);
    else
      run_.save(config_.pretrain.steps, policy_, trainer, state_);
    tasks_->seek(state_["cursor"]);

    progress_.begin("step", config_.steps, state_["step"], grpo::Progress::Lines::each_step);
    for (int64_t step = state_["step"]; step < config_.steps;) {
      auto collected = grpo::collect(
          rollout_, scorer_, [&](size_t n) { return tasks_->take(n); }, config_.prompts_per_step, config_.objective,
          config_.seed, step);
      if (collected.exhausted)
        progress_.note("dynamic sampling: some groups are without signal after " + std::to_string(collected.refills) +
                       " refills");
      grpo::Stopwatch watch;
      const auto report = trainer.update(collected.groups, step);
      ++step;
      run_.record(step, collected.groups, report, collected.stats,
                  {collected.rollout_seconds, collected.reward_seconds, watch.lap()});
      state_["step"] = step, state_["cursor"] = tasks_->cursor();
      const bool stopping = run_.stopping(), silent = step < config_.steps && run_.is_silent();
      if (stopping || silent || run_.due(step) || step == config_.steps)
        run_.save(config_.pretrain.steps + step, policy_, trainer, state_);
      if (stopping && step < config_.steps) return false;
      if (silent) run_.end_silence();
    }
    progress_.end();
    return true;
  }

  // How long the base's logs were, which have a folder of their own, as those of such a stage of a recipe have.
  grpo::StepLog::Offsets base_offsets() const {
    const auto known = [&](const char* key) -> uint64_t {
      return checkpoint_ && checkpoint_->saved().contains(key) ? checkpoint_->saved().count(key) : 0;
    };
    return {known(kBaseOffset), known(kBaseEventsOffset)};
  }

  // Text: a vocabulary, learned from the corpus or the pretrained model's, and how the policy is asked.
  grpo::Tokenizer open_text() {
    const bool from_scratch = config_.policy.from.empty();
    grpo::TasksConfig documents = config_.tasks;
    documents.seed = config_.seed;
    if (from_scratch) corpus_.emplace(config_.pretrain.corpus, documents, config_.chat);
    if (!checkpoint_ && from_scratch) {
      std::vector<std::string> texts;
      for (uint64_t i = 0; i < 4000; ++i)
        texts.push_back(corpus_->document(i).prompt + corpus_->document(i).completion);
      files_.learn_tokenizer(texts, config_.tokenizer);
    } else if (!checkpoint_) {
      if (const auto warning = files_.take_from(config_.policy.from)) progress_.note("warning: " + *warning);
    }
    config_.tasks = config_.tasks.seeded(config_.seed);
    config_.chat = files_.chat(config_.chat);
    config_.rewards.think_open = config_.chat.opens_think();
    return files_.tokenizer();
  }

  // Where it stands: the stage and the step in it, the tasks taken, the held-out figures before RL.
  Json open_state() const {
    if (!checkpoint_) return {{"stage", "base"}, {"step", 0}, {"cursor", 0}};
    const auto saved = checkpoint_->saved();
    Json state{{"stage", saved.name("stage")}, {"step", saved.count("step")}, {"cursor", 0}};
    if (state["stage"] == "rl") {
      if (state["step"] > 0) state["cursor"] = saved.count("cursor");
      state["before"] = checkpoint_->state.value("before", Json());
    } else if (state["stage"] != "base") {
      throw grpo::Error("checkpoint", checkpoint_->folder.string(), ": expected stage base or rl, got ",
                        state["stage"].dump(), "; is it a checkpoint of r1_zero?");
    }
    return state;
  }

  void introduce() {
    progress_.note("grpo.cpp r1_zero · policy " + policy_.describe() + " · seed " + std::to_string(config_.seed) +
                   " · " + run_.folder().string());
    for (const auto& note : config_.notes) progress_.note(note);
    const auto note_schedule = [&](const grpo::OptimizerConfig& optimizer, int64_t updates, const char* name) {
      for (const auto& note : grpo::schedule_notes(optimizer, updates, name)) progress_.note(note);
    };
    note_schedule(config_.optimizer, grpo::updates_of(config_.steps, config_.objective), "optimizer");
    if (corpus_) note_schedule(config_.pretrain.optimizer, config_.pretrain.steps, "pretrain.optimizer");
    run_.reads(config_.rewards);
    if (corpus_) grpo::require_room(config_.pretrain, *corpus_, tokenizer_, policy_.config().max_positions);
  }

  // Tasks, but for those that the policy cannot be asked.
  void choose_tasks() {
    const grpo::TaskCheck check = [&](const grpo::Task& task) {
      const auto why = rollout_.refusal(task);
      return why.empty() ? scorer_.refusal(task) : why;
    };
    tasks_.emplace(config_.tasks, Split::train, check);
    heldout_ = grpo::heldout_tasks(config_.tasks, config_.evaluate.problems, check, &heldout_left_out_);
    if (tasks_->left_out().count > 0) progress_.note("warning: " + tasks_->left_out().text());
    if (heldout_left_out_.count > 0) progress_.note("warning: held out, " + heldout_left_out_.text());
  }

  Json heldout_figures(const char* label, uint64_t step) {
    auto settings = config_.rollout;
    settings.samples = config_.evaluate.samples;
    settings.sampling = {};
    grpo::Rollout rollout(policy_, tokenizer_, config_.chat, settings);
    progress_.begin(label, static_cast<int64_t>(heldout_.size()), 0, grpo::Progress::Lines::seldom);
    grpo::Stopwatch watch;
    size_t before = 0;
    const auto on_progress = [&](size_t done, size_t) {
      progress_.step(static_cast<int64_t>(done), {}, watch.lap() / static_cast<double>(done - before));
      before = done;
    };
    auto figures = grpo::evaluate(rollout, scorer_, heldout_, config_.seed, step, on_progress, nullptr,
                                  [&] { run_.check_signal(); });
    progress_.end();
    figures.left_out = heldout_left_out_;  // they were taken out of `heldout_` before
    return figures.json();
  }

  // The same held-out problems again, and the model for other tools.
  void conclude() {
    const Json before = state_["before"], after = heldout_.empty() ? Json() : heldout_figures("after", 1);
    if (!heldout_.empty()) {
      grpo::Table table{"held-out (" + std::to_string(heldout_.size()) + " problems, " +
                            std::to_string(config_.evaluate.samples) + " samples each)",
                        {"before", "after"},
                        {}};
      const auto value = [](const Json& figures, const char* key) {
        const Json figure = figures.is_object() ? figures.value(key, Json()) : Json();
        return figure.is_number() ? figure.get<double>() : std::nan("");
      };
      for (const char* key :
           {"pass@1", "format", "language_consistency", "completion_length", "reflection_rate", "mixed_traces"})
        table.rows.push_back({key, {value(before, key), value(after, key)}, ""});
      progress_.note(grpo::format_table(table));
    }
    files_.save_model(policy_, config_.policy.from);
    run_.write("summary.json", {{"steps", state_["step"]}, {"before", before}, {"after", after}});  // last: all is there
    progress_.note("saved " + run_.folder().string() + " · report: scripts/report.py " + run_.folder().string());
  }

  R1ZeroConfig config_;
  grpo::Run& run_;
  grpo::Progress& progress_;
  std::optional<grpo::CheckpointContents> checkpoint_;  // to go on from
  grpo::RunFiles files_;
  std::optional<grpo::Corpus> corpus_;  // of a base that is made here
  grpo::Tokenizer tokenizer_;
  grpo::Scorer scorer_;
  grpo::Policy policy_;  // one for both stages
  grpo::Rollout rollout_;
  std::optional<grpo::TaskStream> tasks_;
  std::vector<grpo::Task> heldout_;
  grpo::LeftOut heldout_left_out_;
  Json state_;
};

}  // namespace

int main(int argc, char** argv) try {
  auto config = grpo::load_run_config<R1ZeroConfig>(argc, argv);
  config.rewards.think_open = config.chat.opens_think();
  if (!config.policy.from.empty()) config.pretrain.steps = 0;
  const at::Device device = grpo::open_device(config.device);
  // What is refused is refused before there is a folder.
  if (config.policy.from.empty()) {
    grpo::Corpus(config.pretrain.corpus, config.tasks, config.chat);
  } else {
    const grpo::RunFiles files(config.out);
    const bool is_kept = config.resume && files.has_tokenizer();
    if (!is_kept && config.chat.text.empty()) grpo::MessageTemplate::load(config.policy.from);
    grpo::require_room(config.rollout, is_kept ? files.policy_config(config.policy)
                                               : grpo::shape_from(config.policy.from, config.policy));
  }
  const grpo::Scorer scorer(config.rewards);
  const grpo::TaskCheck check = [&](const grpo::Task& task) { return scorer.refusal(task); };
  const grpo::TaskStream tasks(config.tasks, Split::train, check);
  grpo::LeftOut told = tasks.left_out();
  try {
    if (config.evaluate.problems > 0) grpo::heldout_tasks(config.tasks, 1, check, &told);
  } catch (const grpo::Error& error) {
    throw grpo::Error("task", grpo::reason_of(error), "; or evaluate nothing: --set evaluate.problems=0");
  }
  for (const auto& remark : told.remarks) config.notes.push_back("warning: " + remark);
  for (const auto& warning : scorer.forewarn(tasks.preview())) config.notes.push_back("warning: " + warning);
  if (const auto note = grpo::overlong_note(config.rewards, config.rollout.max_new_tokens, "rewards"); !note.empty())
    config.notes.push_back(note);

  grpo::Run run(config, grpo::dump_config(config), "r1_zero");
  return run.attempt([&] { return R1Zero(config, run, device).learn(); });
} catch (const std::exception& error) {
  return grpo::report(error);
}
