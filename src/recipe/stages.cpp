#include "grpo/stages.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/draws.h"
#include "base/files/durable_file.h"
#include "base/files/input_file.h"
#include "grpo/collect.h"
#include "grpo/error.h"
#include "grpo/json.h"

namespace grpo {
namespace fs = std::filesystem;

namespace {

using Json = nlohmann::ordered_json;

// Where a stage that trains stands: its trainer's checkpoint, and how it goes on from one.
class Training {
 public:
  Training(Stage& stage, Trainer& trainer) : stage_(stage), trainer_(trainer) {
    const auto checkpoint = stage.run.resume();
    if (!checkpoint) return;
    stage.run.restore(*checkpoint, stage.policy, trainer);
    state = checkpoint->state;
    saved_ = checkpoint->saved();
    step = saved_->count("step"), gradient_tokens = saved_->count("gradient_tokens");
    finished_ = saved_->flag("finished");
  }

  bool finished() const { return finished_; }

  /// `size` numbers that the stage saved after every step; zeros before the first one.
  std::vector<uint64_t> counts(const char* key, std::size_t size) const {
    return step == 0 ? std::vector<uint64_t>(size) : saved_->counts(key, size);
  }

  /// After a step. Saves when that is due, at the end, and on a signal; true when the stage must stop here.
  bool stop_after(const UpdateReport& report, bool last) {
    ++step;
    gradient_tokens += report.loss_tokens;
    finished_ = last;
    const bool stopping = stage_.run.stopping(), silent = !last && stage_.run.is_silent();
    if (stopping || last || silent || stage_.run.due(step)) save();
    if (silent && !stopping) stage_.run.end_silence();
    return stopping || last;
  }

  /// For a stage without a step left to do: none was asked for, or fewer than were done before.
  void finish() {
    finished_ = true;
    save();
  }

  StageResult result() const { return {finished_, step, gradient_tokens}; }

  Json state = Json::object();  ///< a stage's own entries
  int64_t step = 0, gradient_tokens = 0;

 private:
  void save() {
    state["step"] = step, state["gradient_tokens"] = gradient_tokens, state["finished"] = finished_;
    stage_.run.save(step, stage_.policy, trainer_, state);
  }

  Stage& stage_;
  Trainer& trainer_;
  std::optional<SavedState> saved_;  // where it goes on from
  bool finished_ = false;
};

// The tasks of a stage that it can work on, and a line in the log about the others.
TaskMixture tasks_for(Stage& stage, const std::vector<TaskShare>& sources, const Rollout& rollout,
                      const Scorer& scorer) {
  TaskMixture tasks(sources, stage.seed, [&](const Task& task) {
    const std::string why = rollout.refusal(task);
    return why.empty() ? scorer.refusal(task) : why;
  });
  if (const LeftOut left_out = tasks.left_out(); left_out.count > 0)
    stage.run.progress().note("warning: " + left_out.text());
  return tasks;
}

// A task's prompt as it is read back: a text, or a conversation.
Json prompt_of(const Task& task) {
  if (task.messages.empty()) return task.prompt;
  Json turns = Json::array();
  for (const Message& each : task.messages) turns.push_back(Json{{"role", each.role}, {"content", each.content}});
  return turns;
}

// Demonstrations are whole, and the prompt may have opened their reasoning.
std::string behind_prompt(const ChatTemplate& chat, const std::string& completion) {
  constexpr std::string_view kThink = "<think>";
  return chat.opens_think() && completion.starts_with(kThink) ? completion.substr(kThink.size()) : completion;
}

// The schedule of a stage, and a line in the log where it could not be what was asked for.
OptimizerConfig schedule_of(const Stage& stage, const OptimizerConfig& config, int64_t updates) {
  for (const std::string& note : schedule_notes(config, updates, "optimizer")) stage.run.progress().note(note);
  return lasting(config, updates);
}

Example example_of(const Tokenizer& tokenizer, const std::string& prompt, const std::string& completion,
                   bool learn_prompt) {
  Example example{tokenizer.encode(prompt)};
  if (!learn_prompt) example.first_target = std::max<size_t>(1, example.tokens.size());
  const auto tokens = tokenizer.encode(completion);
  example.tokens.insert(example.tokens.end(), tokens.begin(), tokens.end());
  example.tokens.push_back(tokenizer.eos());
  return example;
}

// One supervised step, reported.
UpdateReport learn(Stage& stage, Trainer& trainer, const std::vector<Example>& examples, int64_t step) {
  Stopwatch watch;
  const UpdateReport report = trainer.update(examples, step);
  const double seconds = watch.lap();
  stage.run.record(step + 1,
                   {{"loss", report.loss},
                    {"entropy", report.entropy},
                    {"grad_norm", report.grad_norm},
                    {"learning_rate", report.learning_rate},
                    {"gradient_tokens", static_cast<double>(report.loss_tokens)},
                    {"skipped_updates", static_cast<double>(report.skipped_updates)},
                    {"expert_load_max", report.expert_load_max},
                    {"tokens_per_second", static_cast<double>(report.tokens) / seconds},
                    {"seconds/train", seconds}},
                   {{"loss", report.loss}}, seconds);
  for (const std::string& why : report.skipped) stage.run.progress().note("update skipped: " + why);
  for (const std::string& warning : report.warnings) stage.run.progress().note("warning: " + warning);
  return report;
}

// Deals turns to several parties by their weights: whoever is furthest behind its share goes next.
std::size_t next_turn(const std::vector<double>& weights, const std::vector<uint64_t>& given) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  const double turn = static_cast<double>(std::accumulate(given.begin(), given.end(), uint64_t{0})) + 1;
  std::size_t best = 0;
  double behind = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < weights.size(); ++i)
    if (const double debt = weights[i] / total * turn - static_cast<double>(given[i]); weights[i] > 0 && debt > behind)
      behind = debt, best = i;
  return best;
}

std::vector<double> weights_of(const std::vector<TaskShare>& sources) {
  std::vector<double> weights;
  for (const TaskShare& source : sources) weights.push_back(source.weight);
  return weights;
}

}  // namespace

int64_t updates_of(int64_t steps, const ObjectiveConfig& objective) {
  const double updates = static_cast<double>(steps) * objective.epochs * objective.minibatches;
  return static_cast<int64_t>(std::min(updates, 1e15));
}

OptimizerConfig lasting(OptimizerConfig config, int64_t updates, std::string_view name) {
  if (updates == 0) config.schedule = Schedule::constant;  // nothing will ask for a rate
  if (config.total_steps == 0) {
    // A quick try has fewer than warm-up was meant for. A rate that falls does so from the end of warm-up on.
    const int64_t room = config.schedule == Schedule::constant ? updates : updates - 1;
    config.warmup_steps = std::min(config.warmup_steps, room);
    config.total_steps = updates;
  }
  validate(config, name);
  return config;
}

std::vector<std::string> schedule_notes(const OptimizerConfig& config, int64_t updates, const std::string& name) {
  std::vector<std::string> notes;
  const int64_t warmup = lasting(config, updates, name).warmup_steps;
  if (warmup != config.warmup_steps)
    notes.push_back(name + ".warmup_steps: " + std::to_string(config.warmup_steps) + " → " + std::to_string(warmup) +
                    ", in a stage of " + std::to_string(updates) + (updates == 1 ? " update" : " updates"));
  if (config.learning_rate == 0 && updates > 0)
    notes.push_back("warning: " + name + ".learning_rate is 0: nothing will be learned");
  return notes;
}

std::string overlong_note(const RewardsConfig& rewards, int max_new_tokens, const std::string& name) {
  const auto counts = [](const std::map<std::string, double>& weights) {
    const auto found = weights.find("overlong");
    return found != weights.end() && found->second != 0;
  };
  const int64_t allowed = rewards.overlong_max_length - rewards.overlong_buffer;
  if (allowed < max_new_tokens || !(counts(rewards.weights) ||
                                    std::any_of(rewards.by_kind.begin(), rewards.by_kind.end(),
                                                [&](const KindWeights& each) { return counts(each.weights); })))
    return "";
  return "warning: " + name + ".weights.overlong punishes what is longer than " + std::to_string(allowed) +
         " tokens (overlong_max_length less overlong_buffer), and with rollout.max_new_tokens = " +
         std::to_string(max_new_tokens) + " nothing is";
}

void require_learnable(const RolloutConfig& rollout) {
  if (!(rollout.sampling.temperature > 0))
    throw Error("config", "rollout.sampling.temperature: expected more than 0, got ", rollout.sampling.temperature,
                "; greedy samples cannot be trained on");
}

void leave_out(std::vector<Demonstration>& all, const Tokenizer& tokenizer, const ChatTemplate& chat,
               int64_t max_positions, BadTasks on_bad, LeftOut& left_out) {
  const auto fault = [&](const Demonstration& each) -> std::string {
    try {
      const std::string prompt = chat.render(each.task);
      const std::size_t most = static_cast<std::size_t>(max_positions) - 1;  // beside the end of sequence
      const std::size_t fewest =
          tokenizer.fewest_tokens(prompt.size()) + tokenizer.fewest_tokens(each.completion.size());
      const bool is_long = fewest > most;  // there is no need to count
      const std::size_t length =
          is_long ? fewest : tokenizer.encode(prompt).size() + tokenizer.encode(each.completion).size();
      if (length <= most) return "";
      return "expected at most policy.max_positions = " + std::to_string(max_positions) + " tokens, got " +
             (is_long ? "at least " : "") + std::to_string(length + 1) + "; shorten it or raise that";
    } catch (const Error& error) {  // of a chat template that cannot say this
      return reason_of(error);
    }
  };
  left_out.of += all.size();
  std::erase_if(all, [&](const Demonstration& each) {
    const std::string why = fault(each);
    if (why.empty()) return false;
    const std::string name = each.task.where.empty() ? "demonstration \"" + each.task.id + '"' : each.task.where;
    if (on_bad == BadTasks::refuse) throw Error("sft", name, ": ", why, "; or leave such ones out with on_bad = drop");
    left_out.add(name + ": " + why);
    return true;
  });
  if (all.empty() && left_out.count > 0)
    throw Error("sft", "expected demonstrations that can be learned, got none; ", left_out.text("demonstrations"));
}

// ---- pretrain -------------------------------------------------------------------------------------------------------

void PretrainConfig::validate() const { lasting(optimizer, steps); }

void require_room(const PretrainConfig& config, const Corpus& corpus, const Tokenizer& tokenizer, int max_positions) {
  constexpr int64_t kLookedAt = 2000;
  const int64_t count = std::min(kLookedAt, int64_t{config.steps} * config.documents_per_step);
  for (uint64_t i = 0; i < static_cast<uint64_t>(count); ++i) {
    const Document document = corpus.document(i);
    const std::size_t tokens =
        tokenizer.encode(document.prompt).size() + tokenizer.encode(document.completion).size() + 1;
    if (tokens > static_cast<std::size_t>(max_positions))
      throw Error("config", "policy.max_positions: expected room for the documents of pretraining, of which one takes ",
                  tokens, " tokens, got ", max_positions, "; raise it, perhaps to twice that, or ask for easier tasks");
  }
}

std::vector<Example> examples_of(const PretrainConfig& config, const Corpus& corpus, const Tokenizer& tokenizer,
                                 int64_t step) {
  std::vector<Example> examples;
  for (int i = 0; i < config.documents_per_step; ++i) {
    const Document document = corpus.document(static_cast<uint64_t>(step * config.documents_per_step + i));
    examples.push_back(example_of(tokenizer, document.prompt, document.completion, true));
  }
  return examples;
}

StageResult pretrain(Stage& stage, const PretrainConfig& config, const Corpus& corpus) {
  validate(config, "pretrain");
  require_room(config, corpus, stage.tokenizer, stage.policy.config().max_positions);
  Trainer trainer(stage.policy, schedule_of(stage, config.optimizer, config.steps), config.trainer);
  Training training(stage, trainer);
  if (training.finished()) return training.result();
  if (training.step >= config.steps) training.finish();
  stage.run.progress().begin("pretrain", config.steps, training.step, Progress::Lines::seldom);
  while (!training.finished()) {
    const auto examples = examples_of(config, corpus, stage.tokenizer, training.step);
    const UpdateReport report = learn(stage, trainer, examples, training.step);
    if (training.stop_after(report, training.step + 1 == config.steps)) break;
  }
  stage.run.progress().end();
  return training.result();
}

// ---- sft ------------------------------------------------------------------------------------------------------------

int64_t SftConfig::steps(std::size_t demonstrations) const {
  return static_cast<int64_t>(std::ceil(epochs * static_cast<double>(demonstrations) / documents_per_step));
}

StageResult sft(Stage& stage, const SftConfig& config, std::vector<DemonstrationSet> sets) {
  validate(config, "sft");
  std::size_t total = 0;
  std::vector<double> shares;
  LeftOut left_out;
  for (DemonstrationSet& set : sets) {
    if (set.demonstrations.empty()) throw Error("sft", "expected demonstrations in every set, got an empty one");
    if (!(set.share >= 0) || !std::isfinite(set.share))
      throw Error("sft", "expected shares of 0 or more, got ", set.share);
    leave_out(set.demonstrations, stage.tokenizer, stage.chat, stage.policy.config().max_positions, config.on_bad,
              left_out);
    total += set.demonstrations.size();
    shares.push_back(set.share);
  }
  if (left_out.count > 0) stage.run.progress().note("warning: " + left_out.text("demonstrations"));
  if (total == 0) throw Error("sft", "expected demonstrations, got none");
  if (std::all_of(shares.begin(), shares.end(), [](double share) { return share == 0; }))
    for (std::size_t i = 0; i < sets.size(); ++i) shares[i] = static_cast<double>(sets[i].demonstrations.size());
  const int64_t steps = config.steps(total);

  Trainer trainer(stage.policy, schedule_of(stage, config.optimizer, steps), config.trainer);
  Training training(stage, trainer);
  if (training.finished()) return training.result();
  if (training.step >= steps) training.finish();
  std::vector<uint64_t> given = training.counts("given", sets.size());
  stage.run.progress().begin("sft", steps, training.step, Progress::Lines::seldom);
  while (!training.finished()) {
    std::vector<Example> examples;
    for (int i = 0; i < config.documents_per_step; ++i) {
      const std::size_t from = next_turn(shares, given);
      const auto& all = sets[from].demonstrations;
      const uint64_t turn = given[from]++, size = all.size();
      const Demonstration& each = all[permuted(turn % size, size, Draws{stage.seed, from, turn / size}.next())];
      examples.push_back(
          example_of(stage.tokenizer, stage.chat.render(each.task), behind_prompt(stage.chat, each.completion), false));
    }
    const UpdateReport report = learn(stage, trainer, examples, training.step);
    training.state["given"] = given;
    const bool enough =
        config.max_gradient_tokens > 0 && training.gradient_tokens + report.loss_tokens >= config.max_gradient_tokens;
    if (training.stop_after(report, enough || training.step + 1 == steps)) break;
  }
  stage.run.progress().end();
  return training.result();
}

// ---- grpo -----------------------------------------------------------------------------------------------------------

TaskMixture::TaskMixture(std::vector<TaskShare> sources, uint64_t seed, const TaskCheck& check)
    : sources_(std::move(sources)), given_(sources_.size()) {
  double total = 0;
  for (TaskShare& source : sources_) {
    validate(source, "tasks");
    total += source.weight;
    streams_.emplace_back(source.tasks.seeded(seed), Split::train, check);
  }
  if (!(total > 0)) throw Error("task", "expected a source of tasks with a weight above 0, got none");
}

std::vector<Task> TaskMixture::take(std::size_t count) {
  std::vector<Task> tasks;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t from = next_turn(weights_of(sources_), given_);
    ++given_[from];
    tasks.push_back(streams_[from].take(1).front());
  }
  return tasks;
}

std::vector<Task> TaskMixture::preview() const {
  std::vector<Task> tasks;
  for (std::size_t i = 0; i < streams_.size(); ++i)
    if (sources_[i].weight > 0)
      for (Task& task : streams_[i].preview()) tasks.push_back(std::move(task));
  return tasks;
}

LeftOut TaskMixture::left_out() const {
  LeftOut all;
  for (const TaskStream& stream : streams_) all.add(stream.left_out());
  return all;
}

std::vector<uint64_t> TaskMixture::state() const {
  std::vector<uint64_t> state = given_;
  for (const TaskStream& stream : streams_) state.push_back(stream.cursor());
  return state;
}

void TaskMixture::restore(const std::vector<uint64_t>& state) {
  if (state.size() != 2 * streams_.size())
    throw Error("task", "expected the state of a mixture of ", streams_.size(), " sources, got ", state.size() / 2,
                "; was the mixture changed?");
  for (std::size_t i = 0; i < streams_.size(); ++i) given_[i] = state[i], streams_[i].seek(state[streams_.size() + i]);
}

void GrpoConfig::validate() const {
  check_places(0, static_cast<uint64_t>(prompts_per_step), objective);
  objective.check_step(prompts_per_step, rollout.samples);
  require_learnable(rollout);
  lasting(optimizer, updates_of(steps, objective));
}

StageResult grpo(Stage& stage, const GrpoConfig& config, Judge* judge, const Measure& measure) {
  validate(config, "grpo");
  RewardsConfig rewards = config.rewards;
  rewards.think_open = stage.chat.opens_think();
  Scorer scorer(rewards);
  stage.run.reads(rewards);
  Rollout rollout(stage.policy, stage.tokenizer, stage.chat, config.rollout);
  TaskMixture tasks = tasks_for(stage, config.tasks, rollout, scorer);

  Trainer trainer(stage.policy, config.objective,
                  schedule_of(stage, config.optimizer, updates_of(config.steps, config.objective)),
                  config.rollout.sampling.temperature, config.trainer);
  Training training(stage, trainer);
  if (training.finished()) return training.result();
  if (training.step >= config.steps) training.finish();
  tasks.restore(training.counts("tasks", tasks.state().size()));

  auto& progress = stage.run.progress();
  progress.begin("step", config.steps, training.step, Progress::Lines::each_step);
  while (!training.finished()) {
    // A budget of tokens ends within a step: that one takes as many prompts as are left of it, by the mean so far.
    int prompts = config.prompts_per_step;
    if (config.max_gradient_tokens > 0 && training.gradient_tokens > 0) {
      const double mean =
          static_cast<double>(training.gradient_tokens) / static_cast<double>(training.step * config.prompts_per_step);
      const double left = static_cast<double>(config.max_gradient_tokens - training.gradient_tokens) / mean;
      prompts = static_cast<int>(std::clamp(std::ceil(left), 1.0, static_cast<double>(prompts)));
    }
    JudgeStats verdicts;
    const auto rescore = [&](std::vector<Group>& groups, std::size_t round) {
      if (!judge) return;
      // Rounds of dynamic sampling draw as if they were steps of their own, beyond those of the run; a step's 32 bits
      // have room for 64 such rounds, and those behind them have other seeds.
      const uint64_t seed = round < 64 ? stage.seed : Draws{stage.seed, round / 64}.next();
      const auto warning =
          judge->score(groups, rewards, seed, static_cast<uint64_t>(training.step) + (round % 64 << 26));
      verdicts.verdicts += judge->stats().verdicts, verdicts.unreadable += judge->stats().unreadable;
      if (warning) progress.note("warning: " + *warning);
    };
    auto collected = collect(
        rollout, scorer, [&](std::size_t count) { return tasks.take(count); }, static_cast<std::size_t>(prompts),
        config.objective, stage.seed, static_cast<uint64_t>(training.step), rescore);
    if (collected.exhausted)
      progress.note("dynamic sampling: some groups are without signal after " + std::to_string(collected.refills) +
                    " refills");
    Stopwatch watch;
    const UpdateReport report = trainer.update(collected.groups, training.step);
    NamedValues more = measure ? measure(collected.groups) : NamedValues();
    more.emplace_back("gradient_tokens", static_cast<double>(report.loss_tokens));
    if (judge) more.emplace_back("unreadable_verdicts", verdicts.unreadable_share());
    stage.run.record(training.step + 1, collected.groups, report, collected.stats,
                     {collected.rollout_seconds, collected.reward_seconds, watch.lap()}, more);
    training.state["tasks"] = tasks.state();
    const bool enough =
        prompts < config.prompts_per_step ||
        (config.max_gradient_tokens > 0 && training.gradient_tokens + report.loss_tokens >= config.max_gradient_tokens);
    if (training.stop_after(report, enough || training.step + 1 == config.steps)) break;
  }
  progress.end();
  return training.result();
}

// ---- rejection_sample -----------------------------------------------------------------------------------------------

Json RejectionReport::json() const {
  Json reasons = Json::object();
  for (const auto& [value, name] : EnumNames<Dropped>::values)
    if (value != Dropped::kept) {
      const auto found = dropped.find(std::string(name));
      reasons[std::string(name)] = found == dropped.end() ? 0 : found->second;
    }
  return {{"finished", finished}, {"tasks", tasks}, {"sampled", sampled}, {"kept", kept}, {"dropped", reasons}};
}

namespace {

// Reads the state of a batch boundary, where there is one: what was counted, the tasks that were taken, and how much of
// selected.jsonl belongs to it.
std::optional<uint64_t> restore(const fs::path& file, RejectionReport& report, TaskMixture& tasks) {
  if (std::error_code code; !fs::exists(file, code)) return std::nullopt;
  try {
    const SavedState saved(file);
    report.finished = saved.flag("finished"), report.tasks = saved.count("tasks"),
    report.sampled = saved.count("sampled"), report.kept = saved.count("kept");
    const SavedState dropped(saved.object("dropped"), file);
    for (const auto& [value, name] : EnumNames<Dropped>::values)
      if (dropped.contains(std::string(name))) report.dropped[std::string(name)] = dropped.count(std::string(name));
    if (report.finished) return std::nullopt;
    tasks.restore(saved.counts("mixture", tasks.state().size()));
    return static_cast<uint64_t>(saved.count("offset"));
  } catch (const Error& error) {
    throw Error("rejection_sample", error.what(), "; remove it to start this stage over");
  }
}

// Screens the samples of a task: counts them all, and writes those that are kept with their provenance, which has the
// `checkpoint` and the `seed`.
void select(const Group& group, const ScreenConfig& config, const std::string& checkpoint, uint64_t seed,
            JsonlWriter& selected, RejectionReport& report) {
  const std::vector<Dropped> verdicts = screen(group, config);
  Json others = Json::array();
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    ++report.sampled;
    if (verdicts[i] == Dropped::kept) continue;
    ++report.dropped[std::string(enum_name(verdicts[i]))];
    others.push_back({{"sample", i}, {"why", enum_name(verdicts[i])}});
  }
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    if (verdicts[i] != Dropped::kept) continue;
    ++report.kept;
    selected.write({{"id", group.task.id},
                    {"prompt", prompt_of(group.task)},
                    {"completion", group.completions[i].text},
                    {"answer", group.task.answer},
                    {"kind", group.task.kind},
                    {"language", group.task.language},
                    {"provenance",
                     {{"checkpoint", checkpoint},
                      {"seed", seed},
                      {"index", group.index},
                      {"sample", i},
                      {"scores", json_of(group.scores[i])},
                      {"reward", group.rewards[i]},
                      {"dropped", others}}}});
  }
}

}  // namespace

RejectionReport rejection_sample(Stage& stage, const RejectionConfig& config, const std::string& source, Judge* judge) {
  validate(config, "rejection");
  RewardsConfig rewards = config.rewards;
  rewards.think_open = stage.chat.opens_think();
  Scorer scorer(rewards);
  Rollout rollout(stage.policy, stage.tokenizer, stage.chat, config.rollout);
  TaskMixture tasks = tasks_for(stage, config.tasks, rollout, scorer);
  const auto& folder = stage.run.folder();

  RejectionReport report;
  const std::optional<uint64_t> offset = restore(folder / "report.json", report, tasks);
  if (report.finished) return report;
  stage.run.adopt_config();
  std::optional<JsonlWriter> opened;
  try {
    opened.emplace(folder / "selected.jsonl", offset);
  } catch (const Error& error) {
    throw Error("rejection_sample", error.what(), "; remove report.json beside it to start this stage over");
  }
  JsonlWriter& selected = *opened;

  const auto save = [&] {
    report.finished = report.tasks >= config.count;
    selected.sync();
    Json saved = report.json();
    saved["offset"] = selected.offset(), saved["mixture"] = tasks.state();
    stage.run.write("report.json", saved);
  };
  if (report.tasks >= config.count) save();  // fewer are asked for than before

  auto& progress = stage.run.progress();
  progress.begin("sample", config.count, report.tasks, Progress::Lines::seldom);
  while (!report.finished) {
    Stopwatch watch;
    const auto count = static_cast<std::size_t>(std::min<int64_t>(config.tasks_per_batch, config.count - report.tasks));
    // The draws of a task depend on its place among all of them, those of a verdict on its question: how many come at
    // once changes nothing.
    auto collected = collect(
        rollout, scorer, [&](std::size_t n) { return tasks.take(n); }, count, ObjectiveConfig{}, stage.seed, 0,
        [&](std::vector<Group>& groups, std::size_t) {
          if (!judge) return;
          if (const auto warning = judge->score(groups, rewards, stage.seed, 0)) progress.note("warning: " + *warning);
        },
        static_cast<uint32_t>(report.tasks));
    for (const Group& group : collected.groups)
      select(group, config.screen, source, stage.seed, selected, report);
    report.tasks += static_cast<int64_t>(count);
    save();
    progress.step(report.tasks, {{"kept", static_cast<double>(report.kept) / static_cast<double>(report.sampled)}},
                  watch.lap() / static_cast<double>(count));
    if (stage.run.stopping()) break;
  }
  progress.end();
  return report;
}

}  // namespace grpo
