// What a recipe may be, and what can be told of it before any work.
#include <algorithm>
#include <array>
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
    if (stage.type == StageType::grpo)
      defaults->choose_rl(key + "grpo.", stage.grpo.optimizer, stage.grpo.objective, stage.grpo.rewards);
    if (stage.type == StageType::sft || stage.type == StageType::distill)
      defaults->choose_supervised(key + "sft.", stage.sft.optimizer);
    if (stage.type == StageType::pretrain) defaults->choose_supervised(key + "pretrain.", stage.pretrain.optimizer);
  }
  if (defaults) notes = defaults->notes();
}

// What else than stages has a name in the folder of a recipe.
constexpr std::array<std::string_view, 12> kOfTheRun{
    "checkpoints", "config.json", "judge.json", "log.txt",  "model",      "pretrained", "selection.json",
    "stages.json", "superseded",  "table.json", "table.md", "tokenizer.model"};

void RecipeConfig::validate() const {
  RunConfig::validate();
  if (chat.text.empty() && pretrained_folder().empty())
    throw Error("recipe", "chat.text: expected a text with {prompt}, got \"\"; only a policy that comes from a model ",
                "folder (policy.from) has a chat template of its own");
  std::vector<std::string> earlier;
  std::map<std::string, StageType> types;
  if (stages.empty()) throw Error("recipe", "expected stages, got none; see configs/r1_tiny.json");
  for (const StageConfig& stage : stages) {
    if (stage.name.empty()) throw Error("recipe", "stage ", earlier.size() + 1, ": expected a name, got none");
    if (stage.name.find_first_of("/\\") != std::string::npos || stage.name[0] == '.')
      throw Error("recipe", "stage \"", stage.name, "\": expected a name that can be a folder's");
    if (std::find(kOfTheRun.begin(), kOfTheRun.end(), stage.name) != kOfTheRun.end())
      throw Error("recipe", "stage \"", stage.name, "\": expected a name that nothing else in the run's folder has; ",
                  "give it another");
    if (types.contains(stage.name))
      throw Error("recipe", "stage \"", stage.name, "\": expected names that differ, got this one twice");
    const auto require = [&](const char* key, const std::string& name, auto fits, const char* what) {
      if (!types.contains(name)) {
        const std::string guess = nearest(name, earlier);
        throw Error("recipe", "stage \"", stage.name, "\", ", key, ": expected an earlier stage, got \"", name, '"',
                    guess.empty() ? "; there is none before this one" : "; did you mean \"" + guess + "\"?");
      }
      if (!fits(types[name]))
        throw Error("recipe", "stage \"", stage.name, "\", ", key, ": expected a stage that ", what, ", got \"", name,
                    '"');
    };
    const auto trains = [](StageType type) { return gives_policy(type); };
    if (!stage.from.empty()) require("from", stage.from, trains, "trains a policy");
    if (!stage.judge.empty()) require("judge", stage.judge, trains, "trains a policy");
    if (!stage.match_tokens.empty()) require("match_tokens", stage.match_tokens, trains, "trains a policy");
    for (const DataConfig& data : stage.data) {
      if (!data.file.empty() + !data.stage.empty() + (data.topic != Topic::none) != 1)
        throw Error("recipe", "stage \"", stage.name, "\", data: expected one of file, stage and topic in each entry");
      if (!data.stage.empty())
        require(
            "data", data.stage,
            [](StageType type) { return type == StageType::rejection_sample || type == StageType::distill; },
            "samples");
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
      if (stage.teacher.find('/') == std::string::npos && !stage.teacher.ends_with(".jsonl"))
        require("teacher", stage.teacher, trains, "trains a policy");
    }
    if (stage.from.empty() && !stage.policy.from.empty() && stage.policy.from != pretrained_folder())
      throw Error("recipe", "stage \"", stage.name, "\", policy.from: expected ", pretrained_folder(),
                  " as in an earlier stage, whose tokenizer all share, got ", stage.policy.from);
    earlier.push_back(stage.name);
    types[stage.name] = stage.type;
  }
  const auto known = [&](const char* key, const std::string& name) {
    if (!types.contains(name))
      throw Error("recipe", key, ": expected a stage, got \"", name, "\"; did you mean \"", nearest(name, earlier),
                  "\"?");
  };
  if (!force_from.empty()) {
    known("force_from", force_from);
    if (!resume && resume_from.empty())
      throw Error("recipe", "force_from: expected resume beside it, got none: without, all stages are done anew; add ",
                  "--resume");
  }
  if (!evaluation.judge.empty()) {
    known("evaluation.judge", evaluation.judge);
    if (!gives_policy(types[evaluation.judge]))
      throw Error("recipe", "evaluation.judge: expected a stage that trains a policy, got \"", evaluation.judge, '"');
  }
  if (!selection.empty() && selection.size() != 2)
    throw Error("recipe", "selection: expected two stages, got ", selection.size());
  for (const std::string& name : selection) {
    known("selection", name);
    if (types[name] != StageType::grpo) throw Error("recipe", "selection: expected grpo stages, got \"", name, '"');
  }
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
  const Json filled = dump_config(stage), blank = dump_config(StageConfig());
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

}  // namespace

std::vector<std::string> check_recipe(const RecipeConfig& config) {
  std::vector<std::string> told;
  const fs::path folder = config.out;
  const RunFiles files(folder);
  const bool resumes = config.resume || !config.resume_from.empty();
  if (!resumes && !is_there(folder / "config.json")) {  // which a run has that is moved aside
    std::string found;
    for (const StageConfig& stage : config.stages)
      if (is_there(folder / stage.name / "config.json")) found += (found.empty() ? "" : ", ") + stage.name;
    if (!found.empty())
      throw Error("recipe", folder.string(), ": expected a new folder or a run with its config.json, got the stages ",
                  found, " without one; go on with them (--resume --config FILE), or name another --out");
  }
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

  bool again = false;
  for (const StageConfig& stage : config.stages) {
    again |= stage.name == config.force_from;
    const bool reads = !resumes || again || !is_there(folder / stage.name / "done.json");
    try {
      const std::string key = "stages." + std::to_string(&stage - config.stages.data()) + ".";
      for (const std::string& part : unread_parts(stage)) told.push_back("warning: " + key + part);
      std::size_t demonstrations = 0;
      LeftOut left_out;  // the stage tells of them, but for the remarks
      bool are_known = reads && (stage.type == StageType::sft || (stage.type == StageType::distill && !samples(stage)));
      if (reads)
        for (const fs::path& file : files_of(stage)) demonstrations += read_for(stage, file, left_out).size();
      if (stage.type == StageType::sft)
        for (const DataConfig& data : stage.data) {
          if (data.topic != Topic::none) demonstrations += static_cast<std::size_t>(data.count);
          are_known &= data.stage.empty();
        }
      const auto tell_schedule = [&](const OptimizerConfig& optimizer, int64_t updates, const char* part) {
        for (const std::string& note : schedule_notes(optimizer, updates, key + part + ".optimizer"))
          told.push_back(note);
      };
      if (are_known) tell_schedule(stage.sft.optimizer, stage.sft.steps(demonstrations), "sft");
      if (reads && stage.type == StageType::pretrain)
        tell_schedule(stage.pretrain.optimizer, stage.pretrain.steps, "pretrain");
      if (reads && stage.type == StageType::grpo)
        tell_schedule(stage.grpo.optimizer, updates_of(stage.grpo.steps, stage.grpo.objective), "grpo");
      if (samples(stage) || stage.type == StageType::grpo) {
        const bool learns = stage.type == StageType::grpo;
        const std::string name = key + (learns ? "grpo" : "rejection");
        const Scorer scorer(learns ? stage.grpo.rewards : stage.rejection.rewards, name + ".rewards");
        if (reads) {
          const TaskMixture mixture(learns ? stage.grpo.tasks : stage.rejection.tasks, config.seed,
                                    [&](const Task& task) { return scorer.refusal(task); });
          const std::vector<Task> tasks = mixture.preview();
          for (const std::string& each : scorer.forewarn(tasks, !stage.judge.empty(), name + ".rewards"))
            told.push_back("warning: " + each);
          const auto open =
              std::count_if(tasks.begin(), tasks.end(), [](const Task& each) { return each.answer.empty(); });
          const bool is_judged = !stage.judge.empty() && asks_judge(stage);
          if (open > 0 && !learns && !is_judged && stage.rejection.screen.min_helpful > 0)
            told.push_back("warning: " + name + ".screen.min_helpful: " + std::to_string(open) + " of " +
                           std::to_string(tasks.size()) +
                           " tasks have no answer, and without a judge's reward helpful nothing of theirs is kept");
          const auto& rollout = learns ? stage.grpo.rollout : stage.rejection.rollout;
          const auto note = overlong_note(scorer.config(), rollout.max_new_tokens, name + ".rewards");
          if (!note.empty()) told.push_back(note);
          left_out.add(mixture.left_out());
        }
      }
      for (const std::string& remark : left_out.remarks) told.push_back("warning: " + remark);

      const auto require_answers = [&](const char* knob, int tokens, const StageConfig& answering) {
        if (const int longest = shape_of(answering).max_positions; tokens >= longest)
          throw Error("config", knob, ": expected less than policy.max_positions (", longest,
                      "), which the prompt is part of, got ", tokens);
      };
      if (measures(config, stage))
        require_answers("evaluation.max_new_tokens", config.evaluation.max_new_tokens, stage);
      for (const std::string& judge : {stage.judge, measures(config, stage) ? config.evaluation.judge : std::string()})
        if (!judge.empty())
          require_answers("judging.max_new_tokens", config.judging.max_new_tokens, find(config, judge));
      if (stage.type == StageType::grpo) require_room(stage.grpo.rollout, shape_of(stage), key + "grpo.rollout");
      if (samples(stage) && asked_in(stage).find('/') == std::string::npos)
        require_room(stage.rejection.rollout, shape_of(find(config, asked_in(stage))), key + "rejection.rollout");
    } catch (const Error& error) {
      throw Error("recipe", "stage \"", stage.name, "\": ", reason_of(error));
    }
  }
  return told;
}

}  // namespace grpo
