#include "grpo/recipe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <map>
#include <set>

#include "durable_file.h"
#include "generators.h"
#include "grpo/checkpoint.h"
#include "grpo/defaults.h"
#include "grpo/error.h"
#include "grpo/json.h"
#include "grpo/messages.h"
#include "grpo/model.h"
#include "held_out.h"
#include "input_file.h"
#include "nearest.h"
#include "plain_words.h"

namespace grpo {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

// The seed of a stage depends on its name alone: stages can be added and moved without changing the others.
uint64_t seed_of(uint64_t seed, std::string_view stage) { return Draws{seed, hash_of(stage)}.next(); }

Json read(const fs::path& file) {
  Json json = read_json<Json>(read_input("recipe", file));
  if (!json.is_object())
    throw Error("recipe", file.string(),
                ": expected a JSON object, it was altered or cut short; remove its folder to do that stage again");
  return json;
}

// What a stage that is under way was made with. The rest may change as it goes on, and is named.
bool stays(const std::string& key) {
  if (lies_in(key, {"policy.max_positions", "policy.moe.auxiliary_loss", "stage.policy.max_positions",
                    "stage.policy.moe.auxiliary_loss"}))
    return false;
  return lies_in(key, {"seed", "chat", "tokenizer", "tasks", "corpus", "policy", "stage.type", "stage.from",
                       "stage.policy", "stage.data", "stage.teacher", "stage.grpo.tasks", "stage.rejection.tasks"});
}

bool is_there(const fs::path& file) {
  std::error_code code;
  return fs::exists(file, code);
}

bool gives_policy(StageType type) { return type != StageType::rejection_sample; }

// What else than stages has a name in the folder of a recipe.
constexpr std::array<std::string_view, 12> kOfTheRun{
    "checkpoints", "config.json", "judge.json", "log.txt",  "model",      "pretrained", "selection.json",
    "stages.json", "superseded",  "table.json", "table.md", "tokenizer.model"};

bool has_teacher_file(const StageConfig& stage) { return stage.teacher.ends_with(".jsonl"); }

// What a stage does that samples, of those of others or of its teacher.
bool samples(const StageConfig& stage) {
  return stage.type == StageType::rejection_sample || (stage.type == StageType::distill && !has_teacher_file(stage));
}

// Whose policy answers there: a stage's, or that of a folder, which has a '/'.
const std::string& asked_in(const StageConfig& stage) {
  return stage.type == StageType::distill ? stage.teacher : stage.from;
}

const StageConfig& find(const RecipeConfig& config, const std::string& name) {
  return *std::find_if(config.stages.begin(), config.stages.end(),
                       [&](const StageConfig& stage) { return stage.name == name; });
}

PolicyConfig policy_config(const RecipeConfig& config, const StageConfig& stage) {
  return stage.from.empty() ? stage.policy : policy_config(config, find(config, stage.from));
}

bool measures(const RecipeConfig& config, const StageConfig& stage) {
  return gives_policy(stage.type) &&
         (stage.evaluate || std::count(config.selection.begin(), config.selection.end(), stage.name));
}

// Where a stage's demonstrations come from that are there before it begins.
std::vector<fs::path> files_of(const StageConfig& stage) {
  std::vector<fs::path> files;
  if (stage.type == StageType::sft)
    for (const DataConfig& data : stage.data)
      if (!data.file.empty()) files.push_back(data.file);
  if (stage.type == StageType::distill && has_teacher_file(stage)) files.push_back(stage.teacher);
  return files;
}

std::vector<Demonstration> read_for(const StageConfig& stage, const fs::path& file, LeftOut& left_out) {
  return read_demonstrations(file, stage.sft.on_bad, &left_out);
}

}  // namespace

// ---- Config ---------------------------------------------------------------------------------------------------------

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

// ---- What all stages share ------------------------------------------------------------------------------------------

struct Recipe::Shared {
  RunFiles files;
  at::Device device;
  Corpus corpus;
  std::optional<Tokenizer> tokenizer;
  HeldOut held_out;
};

Recipe::Recipe(const RecipeConfig& config, Run& run) try : config_(config), run_(run) {
  config_.tasks = config_.tasks.seeded(config_.seed);
  const RunFiles files(run_.folder());
  if (files.has_tokenizer()) config_.chat = files.chat(config_.chat);
  check_recipe(config_);

  const auto forced = std::find_if(config_.stages.begin(), config_.stages.end(),
                                   [&](const StageConfig& each) { return each.name == config_.force_from; });
  bool has_begun = false;
  for (auto stage = config_.stages.begin(); stage != forced; ++stage) {
    const bool goes_back = config_.resume_from.starts_with(stage->name + "/");
    const bool finished = done(*stage) || (is_trained(*stage) && !goes_back);
    if (!finished && !is_under_way(*stage)) continue;
    has_begun = true;
    for (const ConfigChange& change :
         config_changes(read(run_.folder() / stage->name / "config.json"), resolved(*stage)))
      // The rollout is how it is measured.
      if (!change.is_new && (finished ? !lies_in(change.key, {"rollout", "stage.evaluate"}) : stays(change.key)))
        throw Error("recipe", "stage \"", stage->name, "\" is ", finished ? "finished" : "under way", ", but its ",
                    change.key, " was changed from ", change.before.is_null() ? "nothing" : change.before.dump(),
                    " to ", change.after.is_null() ? "nothing" : change.after.dump(),
                    "; change it back, or do it again with --force_from ", stage->name);
  }
  if (const std::string& place = config_.resume_from; !place.empty()) {
    const std::string name = place.substr(0, place.find('/'));
    const auto stage = std::find_if(config_.stages.begin(), config_.stages.end(),
                                    [&](const StageConfig& each) { return each.name == name; });
    if (stage >= forced || name == place || done(*stage) || !is_under_way(*stage) ||
        !newest_checkpoint(run_.folder() / name))
      throw Error("recipe", "resume_from: expected STAGE/step-N with the stage that is under way, got \"", place,
                  "\"; a finished stage is done again with --force_from");
  }
  for (auto stage = forced; stage != config_.stages.end(); ++stage) {
    const fs::path folder = run_.folder() / stage->name;
    if (!is_there(folder)) continue;
    fs::path aside;
    for (int i = 1; is_there(aside = run_.folder() / ("." + stage->name + "." + std::to_string(i))); ++i) {
    }
    rename_durably("recipe", folder, aside);
    forget_judge(stage->name);
    run_.progress().note("doing " + stage->name + " again; what was there is now in " + aside.string());
  }
  // With every stage still to do the vocabulary is learned anew, too; those that were moved aside have theirs.
  if (!has_begun) files.remove();

  if (!files.has_tokenizer() && !config_.pretrained_folder().empty()) {
    if (const auto warning = files.take_from(config_.pretrained_folder())) run_.progress().note("warning: " + *warning);
    config_.chat = files.chat(config_.chat);
  }
  shared_ = std::make_unique<Shared>(
      Shared{files, open_device(config_.device), Corpus(config_.corpus, config_.tasks, config_.chat, config_.judging),
             std::nullopt, HeldOut(config_.evaluation, config_.tasks, config_.chat, config_.seed)});
  if (!files.has_tokenizer()) {
    std::vector<std::string> documents;
    for (uint64_t i = 0; i < 6000; ++i)
      documents.push_back(shared_->corpus.document(i).prompt + shared_->corpus.document(i).completion);
    files.learn_tokenizer(documents, config_.tokenizer);
  }
  shared_->tokenizer = files.tokenizer();

  // Nor does a stage fail on its data after those in front of it.
  for (const StageConfig& stage : config_.stages) {
    if (done(stage)) continue;
    try {
      if (stage.type == StageType::pretrain)
        require_room(stage.pretrain, shared_->corpus, *shared_->tokenizer,
                     files.policy_config(policy_config(config_, stage)).max_positions);
      for (const fs::path& file : files_of(stage)) {
        LeftOut left_out;
        std::vector<Demonstration> all = read_for(stage, file, left_out);
        leave_out(all, *shared_->tokenizer, config_.chat,
                  files.policy_config(policy_config(config_, stage)).max_positions, stage.sft.on_bad, left_out);
      }
      const auto require_tasks = [&](const std::vector<TaskShare>& tasks, const RolloutConfig& rollout,
                                     const StageConfig& answering) {
        const int longest = files.policy_config(policy_config(config_, answering)).max_positions;
        TaskMixture(tasks, config_.seed, [&](const Task& task) -> std::string {
          const std::size_t prompt = shared_->tokenizer->encode(config_.chat.render(task)).size();
          if (prompt + static_cast<std::size_t>(rollout.max_new_tokens) <= static_cast<std::size_t>(longest)) return "";
          return "a prompt of " + std::to_string(prompt) + " tokens and " + std::to_string(rollout.max_new_tokens) +
                 " new ones exceed policy.max_positions = " + std::to_string(longest);
        });
      };
      if (stage.type == StageType::grpo) require_tasks(stage.grpo.tasks, stage.grpo.rollout, stage);
      if (samples(stage) && asked_in(stage).find('/') == std::string::npos)
        require_tasks(stage.rejection.tasks, stage.rejection.rollout, find(config_, asked_in(stage)));
    } catch (const Error& error) {
      throw Error("recipe", "stage \"", stage.name, "\": ", reason_of(error));
    }
  }

  // A teacher from another run is looked at before the stages in front of it cost their hours.
  for (const StageConfig& stage : config_.stages) {
    if (stage.type != StageType::distill || stage.teacher.find('/') == std::string::npos ||
        stage.teacher.ends_with(".jsonl") || done(stage))
      continue;
    load(stage.teacher, "stage \"" + stage.name + "\": teacher");
  }
  run_.adopt_config();
} catch (const fs::filesystem_error& error) {
  throw Error("recipe", plain_words(error));
}

Recipe::~Recipe() = default;

bool Recipe::done(const StageConfig& stage) const { return is_there(run_.folder() / stage.name / "done.json"); }

bool Recipe::is_finished() const {
  return std::all_of(config_.stages.begin(), config_.stages.end(), [&](const StageConfig& each) { return done(each); });
}

// All its steps are done, and it is still to be measured.
bool Recipe::is_trained(const StageConfig& stage) const {
  const fs::path report = run_.folder() / stage.name / "report.json";
  if (stage.type == StageType::rejection_sample) return is_there(report) && SavedState(report).flag("finished");
  const auto newest = newest_checkpoint(run_.folder() / stage.name);
  if (!newest) return false;
  const fs::path file = *newest / "state.json";
  if (!is_there(file)) return false;  // damage is named when the stage goes on
  const Json state = read_json<Json>(read_input("recipe", file));
  return state.is_object() && state.contains("finished") && state["finished"] == true;
}

bool Recipe::is_under_way(const StageConfig& stage) const {
  const fs::path folder = run_.folder() / stage.name;
  return is_there(folder / "config.json") && (newest_checkpoint(folder) || is_there(folder / "report.json"));
}

// What config.json of a stage holds: all that it depends on, and what `evaluate` reads.
Json Recipe::resolved(const StageConfig& stage) const {
  RolloutConfig rollout;
  rollout.max_new_tokens = config_.evaluation.max_new_tokens;
  RewardsConfig rewards;
  rewards.think_open = config_.chat.opens_think();
  PolicyConfig policy = policy_config(config_, stage);
  policy.vocab_size = 0;  // known only with the tokenizer, whose own settings are here
  Json all{{"stage", dump_config(stage)},
           {"seed", config_.seed},
           {"policy", dump_config(policy)},
           {"chat", dump_config(config_.chat)},
           {"tokenizer", dump_config(config_.tokenizer)},
           {"tasks", dump_config(config_.tasks)},
           {"rewards", dump_config(rewards)},
           {"rollout", dump_config(rollout)}};
  if (stage.type == StageType::pretrain ||
      std::any_of(stage.data.begin(), stage.data.end(),
                  [](const DataConfig& data) { return data.topic != Topic::none; }))
    all["corpus"] = dump_config(config_.corpus), all["judging"] = dump_config(config_.judging);
  if (!stage.judge.empty()) all["judging"] = dump_config(config_.judging);
  return all;
}

// The policy of a finished stage, or of another folder whose tokenizer is the same.
std::unique_ptr<Policy> Recipe::load(const std::string& name, const std::string& what) const {
  const bool is_stage = std::any_of(config_.stages.begin(), config_.stages.end(),
                                    [&](const StageConfig& stage) { return stage.name == name; });
  try {
    ModelConfig opened;
    opened.model = is_stage ? (run_.folder() / name).string() : name;
    opened.device = config_.device;
    Model model = open_model(opened);
    if (!model.warning.empty()) run_.progress().note("warning: " + model.warning);
    if (model.tokenizer.serialized() != shared_->tokenizer->serialized())
      throw Error("model", "expected the tokenizer of this run, that of ", name,
                  " differs from it; let the teacher write a JSONL file of demonstrations, and name that");
    return std::make_unique<Policy>(std::move(model.policy));
  } catch (const Error& error) {
    throw Error("recipe", what, ": ", reason_of(error));
  }
}

std::unique_ptr<Judge> Recipe::judge(const std::string& stage, std::function<void()> check) const {
  if (stage.empty()) return nullptr;
  return std::make_unique<Judge>(*load(stage, "judge"), *shared_->tokenizer, config_.chat, config_.judging,
                                 RolloutConfig(), std::move(check));
}

std::vector<Demonstration> Recipe::read_demonstrations(const StageConfig& stage, const fs::path& file) const {
  LeftOut left_out;
  std::vector<Demonstration> all = read_for(stage, file, left_out);
  if (left_out.count > 0) run_.progress().note("warning: " + left_out.text("lines"));
  return all;
}

std::vector<DemonstrationSet> Recipe::demonstrations(const StageConfig& stage, const Run& run) const {
  std::vector<DemonstrationSet> sets;
  for (const DataConfig& data : stage.data) {
    DemonstrationSet set{{}, data.share};
    if (!data.file.empty()) set.demonstrations = read_demonstrations(stage, data.file);
    if (!data.stage.empty())
      set.demonstrations = read_demonstrations(stage, run_.folder() / data.stage / "selected.jsonl");
    if (data.topic != Topic::none) {
      // Written to a file first, so that they can be looked at, and read back as anyone's would be.
      const Corpus::Topic topic = data.topic == Topic::problem   ? Corpus::Topic::problem
                                  : data.topic == Topic::general ? Corpus::Topic::general
                                                                 : Corpus::Topic::judging;
      const fs::path file = run.folder() / ("demonstrations-" + std::string(enum_name(data.topic)) + ".jsonl");
      {
        JsonlWriter out(file);
        for (int i = 0; i < data.count; ++i) {
          const Demonstration each = shared_->corpus.demonstration(static_cast<uint64_t>(i), topic);
          out.write({{"id", each.task.id},
                     {"prompt", each.task.prompt},
                     {"completion", each.completion},
                     {"answer", each.task.answer},
                     {"kind", each.task.kind},
                     {"language", each.task.language}});
        }
        out.sync();
      }
      set.demonstrations = read_demonstrations(stage, file);
    }
    sets.push_back(std::move(set));
  }
  return sets;
}

// ---- A stage --------------------------------------------------------------------------------------------------------

bool Recipe::perform(const StageConfig& stage) {
  try {
    const Json config = resolved(stage);
    if (done(stage)) {
      const fs::path figures = run_.folder() / stage.name / "evaluation.json";
      const bool is_measured = is_there(figures);
      if (!measures(config_, stage)) return true;
      if (is_measured && read(figures).value("settings", Json()) == dump_config(config_.evaluation)) return true;
      run_.progress().note(stage.name + " is measured again: " +
                           (is_measured ? "the evaluation was changed" : "there are no figures"));
      const auto policy = load(stage.name, "evaluation");
      Run run = run_.stage(stage.name, config);
      run.write("config.json", config);
      measure(stage, *policy, run);
      return true;
    }
    if (is_there(run_.folder() / stage.name / "config.json"))
      for (const ConfigChange& change : config_changes(read(run_.folder() / stage.name / "config.json"), config))
        run_.progress().note(stage.name + " goes on with a changed " + change.text());
    write_overview(stage.name);
    Run run = run_.stage(stage.name, config);
    shared_->files.copy_to(run.folder());
    const auto place = &stage - config_.stages.data();
    run_.progress().note("stage " + std::to_string(place + 1) + "/" + std::to_string(config_.stages.size()) + " · " +
                         stage.name + " · " + std::string(enum_name(stage.type)) +
                         (stage.from.empty() ? "" : " from " + stage.from));
    return train(stage, run);
  } catch (const Interrupted&) {
    return false;
  } catch (const Error& error) {
    throw Error("recipe", "stage \"", stage.name, "\": ", reason_of(error));
  } catch (const fs::filesystem_error& error) {
    throw Error("recipe", "stage \"", stage.name, "\": ", reason_of(error));
  }
}

bool Recipe::train(const StageConfig& stage, Run& run) {
  Stopwatch watch;
  const fs::path time_file = run.folder() / "seconds.json";  // of the sessions before this one
  const double before = is_there(time_file) ? SavedState(time_file).number("seconds") : 0;
  const auto stop = [&] {
    run.write("seconds.json", {{"seconds", before + watch.lap()}});
    return false;
  };
  std::unique_ptr<Policy> policy;
  if (!stage.from.empty())
    policy = load(stage.from, "from");
  else if (list_checkpoints(run.folder()).empty())
    policy = std::make_unique<Policy>(shared_->files.first_policy(stage.policy, config_.seed, shared_->device));
  else  // it goes on from there
    policy =
        std::make_unique<Policy>(Policy::uninitialized(shared_->files.policy_config(stage.policy), shared_->device));
  if (stage.from.empty()) run_.progress().note(stage.name + " · policy " + policy->describe());
  Stage context{*policy, *shared_->tokenizer, config_.chat, run, seed_of(config_.seed, stage.name)};
  const std::unique_ptr<Judge> judge = this->judge(stage.judge);
  const int64_t tokens_to_match =
      stage.match_tokens.empty()
          ? 0
          : SavedState(run_.folder() / stage.match_tokens / "done.json").count("gradient_tokens");

  StageResult result;
  Json facts = Json::object();
  switch (stage.type) {
    case StageType::pretrain:
      result = pretrain(context, stage.pretrain, shared_->corpus);
      break;
    case StageType::sft: {
      SftConfig config = stage.sft;
      if (tokens_to_match) config.max_gradient_tokens = tokens_to_match;
      result = sft(context, config, demonstrations(stage, run));
      break;
    }
    case StageType::grpo: {
      GrpoConfig config = stage.grpo;
      if (tokens_to_match) config.max_gradient_tokens = tokens_to_match;
      result = grpo(context, config, judge.get(), [](const std::vector<Group>& groups) {
        // What the judge's scores are worth is measured as training goes on; nothing of it reaches a reward.
        NamedValues values;
        if (const auto hidden = hidden_score(groups)) values.emplace_back("hidden_helpful", *hidden);
        return values;
      });
      break;
    }
    case StageType::rejection_sample: {
      const RejectionReport report = rejection_sample(context, stage.rejection, stage.from, judge.get());
      result.finished = report.finished;
      facts = report.json();
      break;
    }
    case StageType::distill: {
      std::vector<DemonstrationSet> sets(1);
      if (stage.teacher.ends_with(".jsonl")) {
        sets[0].demonstrations = read_demonstrations(stage, stage.teacher);
      } else {
        const std::unique_ptr<Policy> teacher = load(stage.teacher, "teacher");
        Stage asked{*teacher, *shared_->tokenizer, config_.chat, run, context.seed};
        const RejectionReport report = rejection_sample(asked, stage.rejection, stage.teacher, judge.get());
        if (!report.finished) return stop();
        facts = report.json();
        sets[0].demonstrations = read_demonstrations(stage, run.folder() / "selected.jsonl");
      }
      SftConfig config = stage.sft;
      if (tokens_to_match) config.max_gradient_tokens = tokens_to_match;
      result = sft(context, config, sets);
      break;
    }
  }
  if (!result.finished) return stop();
  if (gives_policy(stage.type)) {
    run_.progress().note(
        stage.name + ": " + std::to_string(result.steps) + " steps, " + std::to_string(result.gradient_tokens) +
        " gradient tokens" +
        (tokens_to_match ? " (" + stage.match_tokens + ": " + std::to_string(tokens_to_match) + ")" : ""));
    try {
      measure(stage, *policy, run);
    } catch (const Interrupted&) {
      return stop();
    }
    if (judge) {
      if (const auto parted = drift(run.folder() / "metrics.jsonl")) {
        Json all = judge_figures();
        all[stage.judge]["drift"][stage.name] = *parted;
        run_.write("judge.json", all);
      }
    }
  } else {
    run_.progress().note(stage.name + ": kept " + std::to_string(facts["kept"].get<int64_t>()) + " of " +
                         std::to_string(facts["sampled"].get<int64_t>()) + ", dropped " + facts["dropped"].dump());
  }
  if (gives_policy(stage.type) && !policy_config(config_, stage).from.empty())
    RunFiles(run.folder()).save_model(*policy);
  run.write("done.json",
            {{"steps", result.steps}, {"gradient_tokens", result.gradient_tokens}, {"seconds", before + watch.lap()}});
  write_overview("");
  return true;
}

// All that is measured of a finished stage's policy. Throws Interrupted when a signal came.
void Recipe::measure(const StageConfig& stage, const Policy& policy, Run& run) {
  const bool judges = config_.evaluation.judge == stage.name ||
                      std::any_of(config_.stages.begin(), config_.stages.end(),
                                  [&](const StageConfig& each) { return each.judge == stage.name; });
  if (judges) measure_judge(stage.name);
  if (!measures(config_, stage)) return;
  const std::string& scorer = config_.evaluation.judge;
  const bool scorer_is_there = !scorer.empty() && (stage.name == scorer || done(find(config_, scorer)));
  const auto asked = scorer_is_there ? judge(scorer, [&] { run_.check_signal(); }) : nullptr;
  shared_->held_out.measure(policy, *shared_->tokenizer, asked.get(), run);
}

Json Recipe::judge_figures() const {
  const fs::path file = run_.folder() / "judge.json";
  const Json all = is_there(file) ? read(file) : Json::object();
  for (const auto& [judge, figures] : all.items())
    if (!figures.is_object())
      throw Error("recipe", file.string(), ": ", judge, ": expected figures, got ", figures.dump(), "; remove it");
  return all;
}

// Nothing said of a stage as a judge, or of a judge during it, holds once the stage is done again.
void Recipe::forget_judge(const std::string& stage) const {
  Json all = judge_figures();
  if (all.empty()) return;
  all.erase(stage);
  for (auto& judge : all)
    if (judge.contains("drift")) judge["drift"].erase(stage);
  run_.write("judge.json", all);
}

void Recipe::measure_judge(const std::string& stage) {
  const Json figures = shared_->held_out.measure(*judge(stage, [&] { run_.check_signal(); }));
  Json all = judge_figures();
  all[stage].update(figures);
  run_.write("judge.json", all);
  const auto value = [&](const char* key) { return figures.at(key).is_number() ? figures.at(key).get<double>() : 0.0; };
  char text[200];
  std::snprintf(text, sizeof text,
                "judge %s: agreement %.3f by pairs, %.3f by ratings, position bias %+.3f, unreadable %.3f / %.3f",
                stage.c_str(), value("agreement"), value("rating_agreement"), value("position_bias"),
                value("unreadable"), value("unreadable_ratings"));
  run_.progress().note(text);
  if (std::max(value("unreadable"), value("unreadable_ratings")) > config_.judging.max_unreadable)
    run_.progress().note("warning: more than " + std::to_string(config_.judging.max_unreadable) +
                         " of the verdicts of \"" + stage +
                         "\" are unreadable; its scores will be left out. Teach it to judge (corpus.judging_share, or "
                         "data of topic judging)");
}

// ---- Reports --------------------------------------------------------------------------------------------------------

double Recipe::seconds_of(const StageConfig& stage) const {
  return SavedState(run_.folder() / stage.name / "done.json").number("seconds");
}

void Recipe::write_overview(const std::string& running) const {
  Json all = Json::array();
  for (const StageConfig& stage : config_.stages) {
    const bool finished = done(stage);
    all.push_back(
        {{"name", stage.name},
         {"type", enum_name(stage.type)},
         {"from", stage.from},
         {"state", finished                ? "done"
                   : stage.name == running ? "running"
                                           : "waiting"},
         {"seconds", finished ? Json(seconds_of(stage)) : Json(nullptr)}});
  }
  run_.write("stages.json", all);
}

std::string Recipe::overview() const {
  std::string text;
  for (const StageConfig& stage : config_.stages) {
    const bool finished = done(stage);
    text += std::string(text.empty() ? "" : "\n") + (finished ? "  ✓ " : "  · ") + stage.name + " (" +
            std::string(enum_name(stage.type)) + (stage.from.empty() ? "" : " from " + stage.from) + ")";
    if (finished)
      text += "  " + format_duration(seconds_of(stage));
  }
  return text;
}

std::string Recipe::table() const {
  static constexpr std::pair<const char*, const char*> kRows[] = {
      {"pass@1", "pass@1"},
      {"cons@k", "cons@k"},
      {"format", "format"},
      {"language_consistency", "strict_language_consistency"},
      {"mixed_traces", "mixed_traces"},
      {"completion_length", "completion_length"},
      {"reflection_rate", "reflection_rate"},
      {"judge", "judge"}};
  Json json = Json::object();
  Table table{"held-out (" + std::to_string(shared_->held_out.problems()) + " problems, " +
                  std::to_string(config_.evaluation.samples) + " samples each)",
              {},
              {}};
  for (const auto& [row, key] : kRows) table.rows.push_back({row, {}, ""});
  std::string head = "|", rule = "| --- |";
  std::vector<std::string> lines;
  for (const StageConfig& stage : config_.stages) {
    const fs::path file = run_.folder() / stage.name / "evaluation.json";
    if (!stage.evaluate || !gives_policy(stage.type) || !is_there(file)) continue;
    const Json figures = read(file);
    table.columns.push_back(stage.name);
    head += " | " + stage.name, rule += " ---: |";
    for (size_t i = 0; i < std::size(kRows); ++i) {
      const Json value = figures.contains(kRows[i].second) ? figures.at(kRows[i].second) : Json(nullptr);
      json[stage.name][kRows[i].first] = value;
      table.rows[i].values.push_back(value.is_number() ? value.get<double>() : std::nan(""));
    }
  }
  std::string markdown = head + " |\n" + rule + "\n";
  for (const Table::Row& row : table.rows) {
    markdown += "| " + row.name;
    for (const double value : row.values) {
      char text[32];
      std::snprintf(text, sizeof text, row.name == "completion_length" ? " | %.1f" : " | %.3f", value);
      markdown += std::isfinite(value) ? text : " | –";
    }
    markdown += " |\n";
  }
  run_.write("table.json", json);
  write_file("recipe", run_.folder() / "table.md", markdown);
  if (config_.selection.size() == 2) {
    Json compared = Json::object();
    for (const std::string& name : config_.selection) {
      if (!done(find(config_, name))) continue;
      Json figures = read(run_.folder() / name / "evaluation.json");
      const SavedState facts(run_.folder() / name / "done.json");
      figures["steps"] = facts.count("steps"), figures["gradient_tokens"] = facts.count("gradient_tokens"),
      figures["seconds"] = facts.number("seconds");
      figures["stage"] = name;
      compared[std::string(enum_name(find(config_, name).grpo.objective.selection))] = figures;
    }
    run_.write("selection.json", compared);
  }
  return format_table(table);
}

}  // namespace grpo
