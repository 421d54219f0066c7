// The stages of a recipe, each a function that research code can call alone. All of them work on any policy, report to
// a Run (metrics, samples, progress, checkpoints), stop on a signal at the end of a step, and go on from a checkpoint
// with the very numbers of an uninterrupted run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "grpo/corpus.h"
#include "grpo/judge.h"
#include "grpo/objective.h"
#include "grpo/optimizer.h"
#include "grpo/reward.h"
#include "grpo/rollout.h"
#include "grpo/run.h"
#include "grpo/screen.h"
#include "grpo/tasks.h"
#include "grpo/trainer.h"

namespace grpo {

/// What a stage works on: the policy it changes (or samples from), the text around it, and where it reports.
struct Stage {
  Policy& policy;
  const Tokenizer& tokenizer;
  const ChatTemplate& chat;
  Run& run;
  uint64_t seed;  ///< of all draws of this stage
};

/// The updates of `steps` RL steps: each goes through its rollout in epochs and minibatches.
int64_t updates_of(int64_t steps, const ObjectiveConfig& objective);

/// The schedule of a stage of `updates`: `config` with the stage's length as total_steps where that is 0, and with a
/// warm-up that ends within it. Throws Error where total_steps is there and contradicts the warm-up; `name` is the
/// config's own, in errors.
OptimizerConfig lasting(OptimizerConfig config, int64_t updates, std::string_view name = "optimizer");

/// What is to be said of a schedule: that `lasting` shortens its warm-up, or that its learning rate is 0. `name` is the
/// config's own.
std::vector<std::string> schedule_notes(const OptimizerConfig& config, int64_t updates, const std::string& name);

/// What is to be said of the reward `overlong` where no completion can be as long as it begins to punish; "" where some
/// can, or it has no weight. `name` is the config's own.
std::string overlong_note(const RewardsConfig& rewards, int max_new_tokens, const std::string& name);

struct StageResult {
  bool finished = false;  ///< false: a signal stopped it; what was done is saved
  int64_t steps = 0;
  int64_t gradient_tokens = 0;  ///< tokens in the loss so far
};

// ---- pretrain -------------------------------------------------------------------------------------------------------

struct PretrainConfig {
  int steps = 1000;
  int documents_per_step = 64;
  OptimizerConfig optimizer;
  TrainerConfig trainer{.bias_update_rate = 1e-3};

  template <class V>
  void visit(V& v) {
    v("steps", steps, "updates", at_least(0));
    v("documents_per_step", documents_per_step, "documents of one update", at_least(1).at_most(1 << 20));
    v("optimizer", optimizer, "AdamW");
    v("trainer", trainer, "how updates are computed");
  }
  void validate() const;
};

/// Throws Error where one of the first documents that the stage learns takes more tokens than the policy has positions.
void require_room(const PretrainConfig& config, const Corpus& corpus, const Tokenizer& tokenizer, int max_positions);

/// The documents of a step, prompts included, each with the end of a text behind it.
std::vector<Example> examples_of(const PretrainConfig& config, const Corpus& corpus, const Tokenizer& tokenizer,
                                 int64_t step);

/// Language modelling on the documents of a corpus.
StageResult pretrain(Stage& stage, const PretrainConfig& config, const Corpus& corpus);

// ---- sft ------------------------------------------------------------------------------------------------------------

struct SftConfig {
  double epochs = 1;
  int documents_per_step = 64;
  int64_t max_gradient_tokens = 0;
  BadTasks on_bad = BadTasks::drop;
  OptimizerConfig optimizer;
  TrainerConfig trainer;

  template <class V>
  void visit(V& v) {
    v("epochs", epochs, "times that as many demonstrations are learned as there are", above(0).at_most(1e6));
    v("documents_per_step", documents_per_step, "demonstrations of one update, packed without padding",
      at_least(1).at_most(1 << 20));
    v("max_gradient_tokens", max_gradient_tokens,
      "end after the step that reaches so many tokens in the loss; 0: no limit", at_least(0));
    v("on_bad", on_bad,
      "lines of files that are no demonstration, and demonstrations too long for the model: drop them, with a count "
      "and the first of them in the log, or refuse to start");
    v("optimizer", optimizer, "AdamW");
    v("trainer", trainer, "how updates are computed");
  }
  /// Updates that so many demonstrations come to.
  int64_t steps(std::size_t demonstrations) const;
};

/// Demonstrations from one source, and their share of what is learned.
struct DemonstrationSet {
  std::vector<Demonstration> demonstrations;
  double share = 0;  ///< relative to the other sets; 0 in all of them: by their sizes
};

/// Takes out of `all` those that take more than `max_positions` tokens or that the chat template cannot render, and
/// counts them. With `refuse` the first of them is an Error that names its task; so it is where none is left.
void leave_out(std::vector<Demonstration>& all, const Tokenizer& tokenizer, const ChatTemplate& chat,
               int64_t max_positions, BadTasks on_bad, LeftOut& left_out);

/// Supervised fine-tuning: mean cross-entropy over the tokens of the completions alone, end-of-sequence included. The
/// sets are mixed at their shares, each gone through in an order of its own. Demonstrations longer than the policy's
/// positions are left out, and the log says so, or refused (config.on_bad). Throws Error on an empty set.
StageResult sft(Stage& stage, const SftConfig& config, std::vector<DemonstrationSet> sets);

// ---- grpo -----------------------------------------------------------------------------------------------------------

/// One source of tasks and its weight in a mixture.
struct TaskShare {
  double weight = 1;
  TasksConfig tasks;

  template <class V>
  void visit(V& v) {
    v("weight", weight, "share of the tasks, relative to the other sources", at_least(0).at_most(1e9));
    v("tasks", tasks, "the source");
  }
};

/// Tasks of several sources in fixed proportions: of every n tasks each source gives its share, rounded.
class TaskMixture {
 public:
  /// Every source without a seed of its own draws with `seed`; `check` (optional) is as for a TaskStream. Throws Error
  /// without a source or a weight above 0, and where a TaskStream does.
  TaskMixture(std::vector<TaskShare> sources, uint64_t seed, const TaskCheck& check = nullptr);
  std::vector<Task> take(std::size_t count);

  /// The state: tasks given and the cursor of each source.
  std::vector<uint64_t> state() const;
  void restore(const std::vector<uint64_t>& state);

  /// As of a TaskStream, of all sources with a weight.
  std::vector<Task> preview() const;

  /// Of the sources' files.
  LeftOut left_out() const;

 private:
  std::vector<TaskShare> sources_;
  std::vector<TaskStream> streams_;
  std::vector<uint64_t> given_;
};

/// Throws Error for samples that nothing can be learned from: greedy ones.
void require_learnable(const RolloutConfig& rollout);

struct GrpoConfig {
  int steps = 100;
  int prompts_per_step = 16;
  int64_t max_gradient_tokens = 0;
  std::vector<TaskShare> tasks = std::vector<TaskShare>(1);
  RolloutConfig rollout;
  RewardsConfig rewards;
  ObjectiveConfig objective;
  OptimizerConfig optimizer;
  TrainerConfig trainer;

  template <class V>
  void visit(V& v) {
    v("steps", steps, "RL steps, at most", at_least(0).at_most(1 << 26));
    v("prompts_per_step", prompts_per_step, "tasks of one step; each is answered rollout.samples times",
      at_least(1).at_most(1 << 20));
    v("max_gradient_tokens", max_gradient_tokens,
      "end with so many tokens in the loss: the last step takes as many prompts as are left of them; 0: no limit",
      at_least(0));
    v("tasks", tasks, "the mixture of tasks");
    v("rollout", rollout, "sampling");
    v("rewards", rewards, "what is rewarded, by kind of task where that differs");
    v("objective", objective, "advantages and loss");
    v("optimizer", optimizer, "AdamW");
    v("trainer", trainer, "how updates are computed");
  }
  void validate() const;
};

/// More to log about a step's scored groups.
using Measure = std::function<NamedValues(const std::vector<Group>&)>;

/// GRPO. `judge` (optional) fills in the scores `helpful` and `harmless`; `measure` (optional) adds to metrics.jsonl.
StageResult grpo(Stage& stage, const GrpoConfig& config, Judge* judge = nullptr, const Measure& measure = nullptr);

// ---- rejection_sample -----------------------------------------------------------------------------------------------

struct RejectionConfig {
  int count = 500;
  int tasks_per_batch = 32;
  std::vector<TaskShare> tasks = std::vector<TaskShare>(1);
  RolloutConfig rollout;
  RewardsConfig rewards;
  ScreenConfig screen;

  template <class V>
  void visit(V& v) {
    v("count", count, "tasks that are answered", at_least(1).at_most(1 << 24));
    v("tasks_per_batch", tasks_per_batch, "tasks between two saved states", at_least(1).at_most(1 << 20));
    v("tasks", tasks, "the mixture of tasks");
    v("rollout", rollout, "sampling");
    v("rewards", rewards, "scores, by which the best are chosen");
    v("screen", screen, "what is kept");
  }
};

/// What became of all completions, by reason.
struct RejectionReport {
  bool finished = false;
  int64_t tasks = 0, sampled = 0, kept = 0;
  std::map<std::string, int64_t> dropped;
  nlohmann::ordered_json json() const;
};

/// Answers many tasks, keeps what `screen` lets through, and writes it to FOLDER/selected.jsonl as demonstrations with
/// their provenance: task, sample, checkpoint, seed, scores, and why each other sample of the task was dropped. The
/// report goes to FOLDER/report.json. `source` names the checkpoint sampled from.
RejectionReport rejection_sample(Stage& stage, const RejectionConfig& config, const std::string& source,
                                 Judge* judge = nullptr);

}  // namespace grpo
