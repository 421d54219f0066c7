// A recipe: the stages that lead from nothing to a reasoning model, as data. Each stage starts from an earlier one (or
// from fresh weights), runs one function of stages.h, and is evaluated on the same held-out tasks.
//
//   RUN/config.json, log.txt
//   RUN/tokenizer.model, or pretrained/ where a stage has policy.from (model.h); each stage has a copy
//   RUN/stages.json           the stages and what is done
//   RUN/STAGE/                a run of its own (run.h), which `evaluate --model RUN/STAGE` reads; then
//     evaluation.json           its held-out figures, evaluation.jsonl the answers behind them
//     selected.jsonl report.json   of a stage that samples
//     model/, adapter/          the policy for other tools, where it began with policy.from
//     done.json                 steps, gradient tokens, seconds; written last
//   RUN/judge.json            agreement of the judge with the hidden scorer, position bias, drift
//   RUN/table.json table.md   the stages side by side
//   RUN/selection.json        `selection: all` against `best`
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpo/corpus.h"
#include "grpo/evaluate.h"
#include "grpo/judge.h"
#include "grpo/policy.h"
#include "grpo/run.h"
#include "grpo/stages.h"
#include "grpo/tokenizer.h"

namespace grpo {

enum class StageType { pretrain, sft, grpo, rejection_sample, distill };
template <>
struct EnumNames<StageType> {
  static constexpr std::array<std::pair<StageType, std::string_view>, 5> values{
      {{StageType::pretrain, "pretrain"},
       {StageType::sft, "sft"},
       {StageType::grpo, "grpo"},
       {StageType::rejection_sample, "rejection_sample"},
       {StageType::distill, "distill"}}};
};

/// Where demonstrations come from: one of a file, an earlier stage that sampled, or the corpus.
struct DataConfig {
  std::string file, stage;
  Topic topic = Topic::none;
  int count = 0;
  double share = 0;

  template <class V>
  void visit(V& v) {
    v("file", file, "JSONL of demonstrations: prompt, completion, and optionally kind, language, id");
    v("stage", stage, "the selection of an earlier stage that sampled");
    v("topic", topic, "demonstrations written by the corpus about this");
    v("count", count, "how many of these", at_least(0).at_most(1 << 24));
    v("share", share, "share of what is learned, relative to the other data; 0 in all: by their sizes",
      at_least(0).at_most(1e9));
  }
};

struct StageConfig {
  std::string name;
  StageType type = StageType::grpo;
  std::string from;
  bool evaluate = true;
  PolicyConfig policy;
  PretrainConfig pretrain;
  std::vector<DataConfig> data;
  SftConfig sft;
  GrpoConfig grpo;
  RejectionConfig rejection;
  std::string teacher, judge, match_tokens;

  template <class V>
  void visit(V& v) {
    v("name", name, "name of the stage and of its folder");
    v("type", type, "what is done");
    v("from", from, "the stage whose policy this one starts from; empty: fresh weights, or those of policy.from");
    v("evaluate", evaluate, "measure it on the held-out tasks, a column of the table");
    v("policy", policy,
      "the model, of a stage that starts from fresh weights; policy.from is one folder in all of them. A stage that "
      "starts from another goes on with its adapter, or puts policy.adapter on its weights");
    v("pretrain", pretrain, "of a pretrain stage");
    v("data", data, "the demonstrations of an sft stage");
    v("sft", sft, "of an sft or distill stage");
    v("grpo", grpo, "of a grpo stage");
    v("rejection", rejection, "of a rejection_sample stage, or how the teacher of a distill stage answers");
    v("teacher", teacher,
      "of a distill stage: an earlier stage, the folder of another run, or a JSONL file of demonstrations");
    v("judge", judge, "the stage whose policy judges, frozen; empty: nobody");
    v("match_tokens", match_tokens, "end with as many gradient tokens as this earlier stage, for a fair comparison");
  }
};

struct RecipeConfig : RunConfig {
  RecipeConfig() { out = "runs/r1"; }

  uint64_t seed = 11;
  std::string device = "cpu";
  std::string force_from;
  ChatTemplate chat;
  TokenizerConfig tokenizer;
  TasksConfig tasks;
  CorpusConfig corpus;
  JudgeConfig judging;
  std::vector<StageConfig> stages;
  std::vector<std::string> selection;
  RecipeEvaluation evaluation;

  template <class V>
  void visit(V& v) {
    RunConfig::visit(v);
    v("seed", seed, "of everything that is drawn");
    v("device", device, "cpu, cuda or cuda:N");
    v("force_from", force_from, "with resume: do this stage and all behind it again, whatever is there");
    v("chat", chat, "the text around a prompt");
    v("tokenizer", tokenizer, "how the vocabulary is learned");
    v("tasks", tasks, "the problems of the corpus and of the held-out evaluation");
    v("corpus", corpus, "the documents of pretraining and of the cold start");
    v("judging", judging, "what a judge is asked, and how its verdicts count");
    v("stages", stages, "the recipe, in order");
    v("selection", selection,
      "two stages to compare in selection.json: one trained on all samples, one on each group's best");
    v("evaluation", evaluation, "the measuring after each stage");
  }
  /// For the stages that train a model of others: see defaults.h. A stage that `made` (null: none) has keeps its own.
  void choose_defaults(const GivenKeys& given, const RecipeConfig* made);
  /// Throws Error for stages without a name or with the same one, for any mention of a stage that is not an earlier one
  /// of the right type, naming the nearest, and for force_from without resume.
  void validate() const;
  /// The policy.from of the stages that have one; "" where none has.
  std::string pretrained_folder() const;
};

/// Throws Error, naming the stage, for what a recipe would fail on later and what can be told before there is a folder:
/// data files that cannot be read, tasks, rewards, schedules, rollouts without room for an answer, and stages in an
/// `out` without config.json, which nobody asked to go on with. What a finished stage of a resumed recipe was made of
/// may be gone. Gives what is to be told besides: rewards that no task can earn (Scorer::forewarn), schedules that do
/// not fit, parts of a stage that its type does not read, remarks on files.
std::vector<std::string> check_recipe(const RecipeConfig& config);

class Recipe {
 public:
  /// Opens what all stages share. Throws Error, naming the stage, where check_recipe does, and where the configuration
  /// of a finished stage was changed, or of one under way what it was made with (unless force_from comes before it):
  /// before anything is computed or written.
  Recipe(const RecipeConfig& config, Run& run);
  ~Recipe();

  const std::vector<StageConfig>& stages() const { return config_.stages; }

  /// Whether every stage is done.
  bool is_finished() const;

  /// Runs one stage, or goes on with it, and measures it; a finished one is left as it is, but measured again where the
  /// evaluation was changed. False when a signal stopped it. Errors name the stage.
  bool perform(const StageConfig& stage);

  /// Writes table.json, table.md and selection.json, and returns the table as text.
  std::string table() const;

  /// A line for each stage with what is done.
  std::string overview() const;

 private:
  struct Shared;

  void refuse_changes(const StageConfig& stage) const;
  void refuse_other_places(std::span<const StageConfig> kept) const;
  void move_aside(const StageConfig& stage) const;
  int max_positions(const StageConfig& stage) const;
  void require_tasks(const std::vector<TaskShare>& tasks, const RolloutConfig& rollout,
                     const StageConfig& answering) const;
  void check_data(const StageConfig& stage) const;
  bool train(const StageConfig& stage, Run& run);
  std::unique_ptr<Policy> first_policy(const StageConfig& stage, const Run& run) const;
  StageResult compute(const StageConfig& stage, Stage& context, Judge* judge, int64_t gradient_tokens);
  StageResult distill(const StageConfig& stage, Stage& student, const SftConfig& config, Judge* judge);
  nlohmann::ordered_json resolved(const StageConfig& stage) const;
  bool done(const StageConfig& stage) const;
  bool is_trained(const StageConfig& stage) const;
  bool is_under_way(const StageConfig& stage) const;
  bool is_complete(const StageConfig& stage) const;
  bool has_begun(const StageConfig& stage) const;
  double seconds_of(const StageConfig& stage) const;
  std::unique_ptr<Policy> load(const std::string& stage_or_folder, const std::string& what) const;
  std::unique_ptr<Judge> judge(const std::string& stage, std::function<void()> check = nullptr) const;
  std::vector<Demonstration> read_demonstrations(const StageConfig& stage, const std::filesystem::path& file) const;
  std::vector<DemonstrationSet> demonstrations(const StageConfig& stage, const Run& run) const;
  void measure(const StageConfig& stage, const Policy& policy, Run& run);
  nlohmann::ordered_json judge_figures() const;
  void forget_judge(const std::string& stage) const;
  void measure_judge(const std::string& stage);
  void write_overview(const std::string& running) const;

  RecipeConfig config_;
  Run& run_;
  std::unique_ptr<Shared> shared_;
};

}  // namespace grpo
