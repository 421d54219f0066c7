// What a recipe may be, and what can be told of it before any work.
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "base/files/input_file.h"
#include "base/nearest.h"
#include "grpo/defaults.h"
#include "grpo/device.h"
#include "grpo/error.h"
#include "grpo/messages.h"
#include "grpo/model.h"
#include "grpo/recipe.h"
#include "recipe/held_out.h"
#include "recipe/stage_config.h"

namespace grpo {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

void RecipeConfig::choose_defaults(const GivenKeys& given, const RecipeConfig* made) {
  validate();
  const std::string folder = pretrained_folder();
  if (folder.empty()) return;
  std::optional<PretrainedDefaults> defaults;  // the folder may be gone when a recipe is resumed
  if (!made) defaults.emplace(folder, given).choose(chat);
  std::set<std::string> pretrained;  // the stages whose weights go back to that folder
  for (std::size_t i = 0; i < stages.size(); ++i) {
    StageConfig& stage = stages[i];
    if (stage.from.empty() ? stage.policy.from.empty() : !pretrained.contains(stage.from)) continue;
    pretrained.insert(stage.name);
    const std::string key = "stages." + std::to_string(i) + ".";
    const StageConfig* before = nullptr;
    for (std::size_t j = 0; made && j < made->stages.size(); ++j)
      if (made->stages[j].name == stage.name) before = &made->stages[j];
    if (before) {  // a file replaces the list of stages as a whole
      const auto keep = [&](const char* name, auto& value, const auto& own) {
        if (!given.contains(key + name)) value = own;
      };
      AdapterConfig& adapter = stage.policy.adapter;
      const AdapterConfig& had = before->policy.adapter;
      if (!adapter.from.empty() && adapter.from == had.from) {  // else nobody but the user chose it
        keep("policy.adapter.rank", adapter.rank, had.rank);
        keep("policy.adapter.alpha", adapter.alpha, had.alpha);
        keep("policy.adapter.targets", adapter.targets, had.targets);
      } else if (!adapter.from.empty()) {
        if (!defaults) defaults.emplace(folder, given);
        defaults->choose(key + "policy.", adapter);
      }
      keep("grpo.optimizer.learning_rate", stage.grpo.optimizer.learning_rate, before->grpo.optimizer.learning_rate);
      keep("grpo.optimizer.warmup_steps", stage.grpo.optimizer.warmup_steps, before->grpo.optimizer.warmup_steps);
      keep("grpo.rewards.accuracy_needs_format", stage.grpo.rewards.accuracy_needs_format,
           before->grpo.rewards.accuracy_needs_format);
      keep("sft.optimizer.learning_rate", stage.sft.optimizer.learning_rate, before->sft.optimizer.learning_rate);
      keep("pretrain.optimizer.learning_rate", stage.pretrain.optimizer.learning_rate,
           before->pretrain.optimizer.learning_rate);
      continue;
    }
    if (!defaults) defaults.emplace(folder, given);
    defaults->choose(key + "policy.", stage.policy.adapter);
    const AdapterConfig adapter = policy_config(*this, stage).adapter;
    if (stage.type == StageType::grpo)
      defaults->choose_rl(key + "grpo.", adapter, stage.grpo.optimizer, stage.grpo.objective, stage.grpo.rewards);
    if (stage.type == StageType::sft || stage.type == StageType::distill)
      defaults->choose_supervised(key + "sft.", adapter, stage.sft.optimizer);
    if (stage.type == StageType::pretrain)
      defaults->choose_supervised(key + "pretrain.", adapter, stage.pretrain.optimizer);
  }
  if (defaults) notes = defaults->notes();
}

namespace {

// What else than stages has a name in the folder of a recipe.
constexpr std::array<std::string_view, 12> kOfTheRun{
    "checkpoints", "config.json", "judge.json", "log.txt",  "model",      "pretrained", "selection.json",
    "stages.json", "superseded",  "table.json", "table.md", "tokenizer.model"};

// The stages in front of one, and what it says of them.
class EarlierStages {
 public:
  void add(const StageConfig& stage) { names_.push_back(stage.name), types_[stage.name] = stage.type; }
  std::size_t count() const { return names_.size(); }
  bool contains(const std::string& name) const { return types_.contains(name); }

  // Throws Error unless `name`, which `stage` has in `key`, is one of a type that `fits`.
  template <class Fits>
  void require(const StageConfig& stage, const char* key, const std::string& name, Fits fits, const char* what) const {
    if (!contains(name)) {
      const std::string guess = nearest(name, names_);
      throw Error("recipe", "stage \"", stage.name, "\", ", key, ": expected an earlier stage, got \"", name, '"',
                  guess.empty() ? "; there is none before this one" : "; did you mean \"" + guess + "\"?");
    }
    if (!fits(types_.at(name)))
      throw Error("recipe", "stage \"", stage.name, "\", ", key, ": expected a stage that ", what, ", got \"", name,
                  '"');
  }

  // Throws Error unless `name`, which the recipe has in `key`, is one of them, whose type it gives.
  StageType type_of(const char* key, const std::string& name) const {
    if (!contains(name))
      throw Error("recipe", key, ": expected a stage, got \"", name, "\"; did you mean \"", nearest(name, names_),
                  "\"?");
    return types_.at(name);
  }

 private:
  std::vector<std::string> names_;
  std::map<std::string, StageType> types_;
};

void check_name(const StageConfig& stage, const EarlierStages& earlier) {
  if (stage.name.empty()) throw Error("recipe", "stage ", earlier.count() + 1, ": expected a name, got none");
  if (stage.name.find_first_of("/\\") != std::string::npos || stage.name[0] == '.')
    throw Error("recipe", "stage \"", stage.name, "\": expected a name that can be a folder's");
  if (std::find(kOfTheRun.begin(), kOfTheRun.end(), stage.name) != kOfTheRun.end())
    throw Error("recipe", "stage \"", stage.name, "\": expected a name that nothing else in the run's folder has; ",
                "give it another");
  if (earlier.contains(stage.name))
    throw Error("recipe", "stage \"", stage.name, "\": expected names that differ, got this one twice");
}

// Of which earlier stages a stage begins, is judged and learns, and whether it has what its type needs.
void check_sources(const StageConfig& stage, const EarlierStages& earlier) {
  const auto trains = [](StageType type) { return gives_policy(type); };
  const auto selects = [](StageType type) {
    return type == StageType::rejection_sample || type == StageType::distill;
  };
  if (!stage.from.empty()) earlier.require(stage, "from", stage.from, trains, "trains a policy");
  if (!stage.judge.empty()) earlier.require(stage, "judge", stage.judge, trains, "trains a policy");
  if (!stage.match_tokens.empty())
    earlier.require(stage, "match_tokens", stage.match_tokens, trains, "trains a policy");
  for (const DataConfig& data : stage.data) {
    if (!data.file.empty() + !data.stage.empty() + (data.topic != Topic::none) != 1)
      throw Error("recipe", "stage \"", stage.name, "\", data: expected one of file, stage and topic in each entry");
    if (!data.stage.empty()) earlier.require(stage, "data", data.stage, selects, "samples");
    if (data.topic != Topic::none && data.count < 1)
      throw Error("recipe", "stage \"", stage.name, "\", data: expected a count of at least 1 with a topic, got ",
                  data.count);
  }
  if (stage.type == StageType::sft && stage.data.empty())
    throw Error("recipe", "stage \"", stage.name, "\": expected data to learn, got none");
  if (stage.type == StageType::rejection_sample && stage.from.empty())
    throw Error("recipe", "stage \"", stage.name, "\", from: expected the stage to sample from, got none");
  if (stage.type == StageType::distill) {
    if (stage.teacher.empty())
      throw Error("recipe", "stage \"", stage.name,
                  "\", teacher: expected a stage, a folder or a JSONL file, got none");
    if (stage.teacher.find('/') == std::string::npos && !has_teacher_file(stage))
      earlier.require(stage, "teacher", stage.teacher, trains, "trains a policy");
  }
}

// An adapter lies on weights that somebody has trained.
void check_adapter(const RecipeConfig& config, const StageConfig& stage) {
  const AdapterConfig& adapter = stage.policy.adapter;
  if (adapter.rank == 0 && adapter.from.empty()) return;
  const auto refuse = [&](const std::string& where) {
    if (!adapter.from.empty())
      throw Error("recipe", "stage \"", stage.name, "\", policy.adapter.from: expected none", where, ", got ",
                  adapter.from);
    throw Error("recipe", "stage \"", stage.name, "\", policy.adapter.rank: expected 0", where, ", got ", adapter.rank);
  };
  if (!gives_policy(stage.type)) refuse(" in a stage that trains nothing");
  if (stage.from.empty() && stage.policy.from.empty()) refuse(" in a stage that starts from fresh weights");
  if (stage.from.empty()) return;
  if (!adapter.from.empty()) refuse(" in a stage that starts from another");
  if (policy_config(config, find(config, stage.from)).adapter.rank > 0)
    refuse(", as the stage goes on with the adapter of " + stage.from);
}

}  // namespace

void RecipeConfig::validate() const {
  RunConfig::validate();
  const std::string pretrained = pretrained_folder();
  if (chat.text.empty() && pretrained.empty())
    throw Error("recipe", "chat.text: expected a text with {prompt}, got \"\"; only a policy that comes from a model ",
                "folder (policy.from) has a chat template of its own");
  if (stages.empty()) throw Error("recipe", "expected stages, got none; see configs/r1_tiny.json");
  EarlierStages all;
  for (const StageConfig& stage : stages) {
    check_name(stage, all);
    check_sources(stage, all);
    if (stage.from.empty() && !stage.policy.from.empty() && stage.policy.from != pretrained)
      throw Error("recipe", "stage \"", stage.name, "\", policy.from: expected ", pretrained,
                  " as in an earlier stage, whose tokenizer all share, got ", stage.policy.from);
    check_adapter(*this, stage);
    all.add(stage);
  }
  if (!force_from.empty()) {
    all.type_of("force_from", force_from);
    if (!resume && resume_from.empty())
      throw Error("recipe", "force_from: expected resume beside it, got none: without, all stages are done anew; add ",
                  "--resume");
  }
  if (!evaluation.judge.empty() && !gives_policy(all.type_of("evaluation.judge", evaluation.judge)))
    throw Error("recipe", "evaluation.judge: expected a stage that trains a policy, got \"", evaluation.judge, '"');
  if (!selection.empty() && selection.size() != 2)
    throw Error("recipe", "selection: expected two stages, got ", selection.size());
  for (const std::string& name : selection)
    if (all.type_of("selection", name) != StageType::grpo)
      throw Error("recipe", "selection: expected grpo stages, got \"", name, '"');
}

std::string RecipeConfig::pretrained_folder() const {
  for (const StageConfig& stage : stages)
    if (stage.from.empty() && !stage.policy.from.empty()) return stage.policy.from;
  return "";
}

// ---- What can be told before any work -------------------------------------------------------------------------------

namespace {

// Whether a reward that a judge gives counts in a stage.
bool asks_judge(const StageConfig& stage) {
  const RewardsConfig& rewards = stage.type == StageType::grpo ? stage.grpo.rewards : stage.rejection.rewards;
  const auto is_judged = [](const auto& weights) {
    return weights.contains("helpful") || weights.contains("harmless");
  };
  return is_judged(rewards.weights) ||
         std::any_of(rewards.by_kind.begin(), rewards.by_kind.end(),
                     [&](const KindWeights& each) { return is_judged(each.weights); });
}

// The parts of a stage that somebody filled in and that nothing reads, given its type or its `from`.
std::vector<std::string> unread_parts(const StageConfig& stage) {
  using enum StageType;
  const Json filled = dump_config(stage);
  Json blank = dump_config(StageConfig());
  if (!stage.from.empty()) blank["policy"]["adapter"] = filled.at("policy").at("adapter");
  std::vector<std::string> unread;
  const auto read_by = [&](const char* part, std::initializer_list<StageType> types) {
    if (std::find(types.begin(), types.end(), stage.type) == types.end() && filled.at(part) != blank.at(part))
      unread.push_back(std::string(part) + ": a stage of type " + std::string(enum_name(stage.type)) +
                       " does not read it");
  };
  read_by("pretrain", {pretrain});
  read_by("data", {sft});
  read_by("sft", {sft, distill});
  read_by("grpo", {StageType::grpo});
  read_by("rejection", {rejection_sample, distill});
  read_by("teacher", {distill});
  read_by("judge", {StageType::grpo, rejection_sample, distill});
  if (!stage.judge.empty() && (samples(stage) || stage.type == StageType::grpo) && !asks_judge(stage))
    unread.push_back("judge: no reward of the stage asks it, as helpful and harmless do");
  if (!stage.from.empty() && filled.at("policy") != blank.at("policy"))
    unread.push_back("policy: the stage has that of " + stage.from);
  return unread;
}

// Stages in a folder without the config.json of a run: nobody asked to go on with them.
void refuse_strays(const RecipeConfig& config) {
  const fs::path folder = config.out;
  if (is_there(folder / "config.json")) return;  // a run, which is moved aside
  std::string found;
  for (const StageConfig& stage : config.stages)
    if (is_there(folder / stage.name / "config.json")) found += (found.empty() ? "" : ", ") + stage.name;
  if (!found.empty())
    throw Error("recipe", folder.string(), ": expected a new folder or a run with its config.json, got the stages ",
                found, " without one; go on with them (--resume --config FILE), or name another --out");
}

// What is to be told of one stage, by the keys of its knobs.
class StageRemarks {
 public:
  StageRemarks(const RecipeConfig& config, const StageConfig& stage)
      : config_(config), stage_(stage), key_("stages." + std::to_string(&stage - config.stages.data()) + ".") {}

  const std::string& key() const { return key_; }
  std::vector<std::string> take() {
    for (const std::string& remark : left_out_.remarks) warn(remark);  // the stage tells of the lines themselves
    return std::move(told_);
  }

  void of_unread_parts() {
    for (const std::string& part : unread_parts(stage_)) warn(key_ + part);
  }

  // Schedules that do not fit; reads the demonstrations, whose number decides.
  void of_schedules() {
    std::size_t demonstrations = 0;
    bool are_known = stage_.type == StageType::sft || (stage_.type == StageType::distill && !samples(stage_));
    for (const fs::path& file : files_of(stage_)) demonstrations += read_for(stage_, file, left_out_).size();
    if (stage_.type == StageType::sft)
      for (const DataConfig& data : stage_.data) {
        if (data.topic != Topic::none) demonstrations += static_cast<std::size_t>(data.count);
        are_known &= data.stage.empty();
      }
    if (are_known) of_schedule(stage_.sft.optimizer, stage_.sft.steps(demonstrations), "sft");
    if (stage_.type == StageType::pretrain) of_schedule(stage_.pretrain.optimizer, stage_.pretrain.steps, "pretrain");
    if (stage_.type == StageType::grpo)
      of_schedule(stage_.grpo.optimizer, updates_of(stage_.grpo.steps, stage_.grpo.objective), "grpo");
  }

  // Rewards that cannot be meant are an Error; where the stage `reads` its tasks, those that none of them can earn.
  void of_rewards(bool reads) {
    const bool learns = stage_.type == StageType::grpo;
    if (!learns && !samples(stage_)) return;
    const std::string name = key_ + (learns ? "grpo" : "rejection");
    const Scorer scorer(learns ? stage_.grpo.rewards : stage_.rejection.rewards, name + ".rewards");
    if (!reads) return;
    const TaskMixture mixture(learns ? stage_.grpo.tasks : stage_.rejection.tasks, config_.seed,
                              [&](const Task& task) { return scorer.refusal(task); });
    const std::vector<Task> tasks = mixture.preview();
    for (const std::string& each : scorer.forewarn(tasks, !stage_.judge.empty(), name + ".rewards")) warn(each);
    const auto open = std::count_if(tasks.begin(), tasks.end(), [](const Task& each) { return each.answer.empty(); });
    const bool is_judged = !stage_.judge.empty() && asks_judge(stage_);
    if (open > 0 && !learns && !is_judged && stage_.rejection.screen.min_helpful > 0)
      warn(name + ".screen.min_helpful: " + std::to_string(open) + " of " + std::to_string(tasks.size()) +
           " tasks have no answer, and without a judge's reward helpful nothing of theirs is kept");
    const auto& rollout = learns ? stage_.grpo.rollout : stage_.rejection.rollout;
    const auto note = overlong_note(scorer.config(), rollout.max_new_tokens, name + ".rewards");
    if (!note.empty()) told_.push_back(note);
    left_out_.add(mixture.left_out());
  }

 private:
  void warn(const std::string& what) { told_.push_back("warning: " + what); }
  void of_schedule(const OptimizerConfig& optimizer, int64_t updates, const char* part) {
    for (const std::string& note : schedule_notes(optimizer, updates, key_ + part + ".optimizer"))
      told_.push_back(note);
  }

  const RecipeConfig& config_;
  const StageConfig& stage_;
  std::string key_;
  std::vector<std::string> told_;
  LeftOut left_out_;
};

// Throws Error where a policy has no room for the answers that are asked of it; `shape_of` gives that of a stage.
void require_answers(const RecipeConfig& config, const StageConfig& stage, const std::string& key,
                     const std::function<PolicyConfig(const StageConfig&)>& shape_of) {
  const auto require = [&](const char* knob, int tokens, const StageConfig& answering) {
    if (const int longest = shape_of(answering).max_positions; tokens >= longest)
      throw Error("config", knob, ": expected less than policy.max_positions (", longest,
                  "), which the prompt is part of, got ", tokens);
  };
  const bool is_measured = measures(config, stage);
  if (is_measured) require("evaluation.max_new_tokens", config.evaluation.max_new_tokens, stage);
  for (const std::string& judge : {stage.judge, is_measured ? config.evaluation.judge : std::string()})
    if (!judge.empty()) require("judging.max_new_tokens", config.judging.max_new_tokens, find(config, judge));
  if (stage.type == StageType::grpo) require_room(stage.grpo.rollout, shape_of(stage), key + "grpo.rollout");
  if (samples(stage) && asked_in(stage).find('/') == std::string::npos)
    require_room(stage.rejection.rollout, shape_of(find(config, asked_in(stage))), key + "rejection.rollout");
}

}  // namespace

std::vector<std::string> check_recipe(const RecipeConfig& config) {
  const fs::path folder = config.out;
  const RunFiles files(folder);
  const bool resumes = config.resume || !config.resume_from.empty();
  if (!resumes) refuse_strays(config);
  open_device(config.device);
  const TasksConfig tasks = config.tasks.seeded(config.seed);
  Corpus(config.corpus, tasks, config.chat, config.judging);
  HeldOut(config.evaluation, tasks, config.chat, config.seed);
  const std::string pretrained = config.pretrained_folder();
  const bool has_files = resumes && files.has_tokenizer();
  if (!has_files && !pretrained.empty() && config.chat.text.empty()) MessageTemplate::load(pretrained);
  const auto shape_of = [&](const StageConfig& stage) {
    const PolicyConfig policy = policy_config(config, stage);
    if (policy.from.empty()) return policy;
    return has_files ? files.policy_config(policy) : shape_from(policy.from, policy);
  };

  std::vector<std::string> told;
  bool again = false;
  for (const StageConfig& stage : config.stages) {
    again |= stage.name == config.force_from;
    const bool reads = !resumes || again || !is_there(folder / stage.name / "done.json");
    try {
      StageRemarks remarks(config, stage);
      remarks.of_unread_parts();
      if (reads) remarks.of_schedules();
      remarks.of_rewards(reads);
      for (std::string& each : remarks.take()) told.push_back(std::move(each));
      require_answers(config, stage, remarks.key(), shape_of);
    } catch (const Error& error) {
      throw Error("recipe", "stage \"", stage.name, "\": ", reason_of(error));
    }
  }
  return told;
}

}  // namespace grpo
