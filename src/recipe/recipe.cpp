#include "grpo/recipe.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <span>

#include "base/draws.h"
#include "base/files/durable_file.h"
#include "base/files/input_file.h"
#include "base/plain_words.h"
#include "grpo/checkpoint.h"
#include "grpo/device.h"
#include "grpo/error.h"
#include "grpo/json.h"
#include "grpo/model.h"
#include "recipe/held_out.h"
#include "recipe/stage_config.h"

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

}  // namespace

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
  const std::span<const StageConfig> kept(config_.stages.begin(), forced), again(forced, config_.stages.end());
  for (const StageConfig& stage : kept) refuse_changes(stage);
  refuse_other_places(kept);
  for (const StageConfig& stage : again) move_aside(stage);
  // With every stage still to do the vocabulary is learned anew, too; those that were moved aside have theirs.
  if (std::none_of(kept.begin(), kept.end(), [&](const StageConfig& each) { return has_begun(each); })) files.remove();

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
  for (const StageConfig& stage : config_.stages)
    if (!done(stage)) check_data(stage);
  // A teacher from another run is looked at before the stages in front of it cost their hours.
  for (const StageConfig& stage : config_.stages)
    if (stage.type == StageType::distill && samples(stage) && stage.teacher.find('/') != std::string::npos &&
        !done(stage))
      load(stage.teacher, "stage \"" + stage.name + "\": teacher");
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

// Nothing of it is computed any more, but for how it is measured.
bool Recipe::is_complete(const StageConfig& stage) const {
  return done(stage) || (is_trained(stage) && !config_.resume_from.starts_with(stage.name + "/"));
}

bool Recipe::has_begun(const StageConfig& stage) const { return is_complete(stage) || is_under_way(stage); }

// ---- What a recipe that goes on finds -------------------------------------------------------------------------------

// Throws Error where a stage that has begun was made otherwise than it is configured now.
void Recipe::refuse_changes(const StageConfig& stage) const {
  if (!has_begun(stage)) return;
  const bool finished = is_complete(stage);
  for (const ConfigChange& change : config_changes(read(run_.folder() / stage.name / "config.json"), resolved(stage)))
    // The rollout is how it is measured.
    if (!change.is_new && (finished ? !lies_in(change.key, {"rollout", "stage.evaluate"}) : stays(change.key)))
      throw Error("recipe", "stage \"", stage.name, "\" is ", finished ? "finished" : "under way", ", but its ",
                  change.key, " was changed from ", change.before.is_null() ? "nothing" : change.before.dump(),
                  " to ", change.after.is_null() ? "nothing" : change.after.dump(),
                  "; change it back, or do it again with --force_from ", stage.name);
}

// Throws Error where resume_from is no checkpoint of the stage under way, which is one of those that are kept.
void Recipe::refuse_other_places(std::span<const StageConfig> kept) const {
  const std::string& place = config_.resume_from;
  if (place.empty()) return;
  const std::string name = place.substr(0, place.find('/'));
  const auto stage = std::find_if(kept.begin(), kept.end(), [&](const StageConfig& each) { return each.name == name; });
  if (stage == kept.end() || name == place || done(*stage) || !is_under_way(*stage) ||
      !newest_checkpoint(run_.folder() / name))
    throw Error("recipe", "resume_from: expected STAGE/step-N with the stage that is under way, got \"", place,
                "\"; a finished stage is done again with --force_from");
}

void Recipe::move_aside(const StageConfig& stage) const {
  const fs::path folder = run_.folder() / stage.name;
  if (!is_there(folder)) return;
  fs::path aside;
  for (int i = 1; is_there(aside = run_.folder() / ("." + stage.name + "." + std::to_string(i))); ++i) {
  }
  rename_durably("recipe", folder, aside);
  forget_judge(stage.name);
  run_.progress().note("doing " + stage.name + " again; what was there is now in " + aside.string());
}

int Recipe::max_positions(const StageConfig& stage) const {
  return shared_->files.policy_config(policy_config(config_, stage)).max_positions;
}

// Throws Error where a source has no task that the policy of `answering` can be asked.
void Recipe::require_tasks(const std::vector<TaskShare>& tasks, const RolloutConfig& rollout,
                           const StageConfig& answering) const {
  const int longest = max_positions(answering);
  TaskMixture(tasks, config_.seed, [&](const Task& task) -> std::string {
    const std::string text = config_.chat.render(task);
    const std::size_t fewest = shared_->tokenizer->fewest_tokens(text.size());
    const bool is_long = fewest > static_cast<std::size_t>(longest);  // there is no need to count
    const std::size_t prompt = is_long ? fewest : shared_->tokenizer->encode(text).size();
    if (prompt + static_cast<std::size_t>(rollout.max_new_tokens) <= static_cast<std::size_t>(longest)) return "";
    return std::string("a prompt of ") + (is_long ? "at least " : "") + std::to_string(prompt) + " tokens and " +
           std::to_string(rollout.max_new_tokens) + " new ones exceed policy.max_positions = " + std::to_string(longest);
  });
}

// A stage does not fail on its data after those in front of it.
void Recipe::check_data(const StageConfig& stage) const try {
  if (stage.type == StageType::pretrain)
    require_room(stage.pretrain, shared_->corpus, *shared_->tokenizer, max_positions(stage));
  for (const fs::path& file : files_of(stage)) {
    LeftOut left_out;
    std::vector<Demonstration> all = read_for(stage, file, left_out);
    leave_out(all, *shared_->tokenizer, config_.chat, max_positions(stage), stage.sft.on_bad, left_out);
  }
  if (stage.type == StageType::grpo) require_tasks(stage.grpo.tasks, stage.grpo.rollout, stage);
  if (samples(stage) && asked_in(stage).find('/') == std::string::npos)
    require_tasks(stage.rejection.tasks, stage.rejection.rollout, find(config_, asked_in(stage)));
} catch (const Error& error) {
  throw Error("recipe", "stage \"", stage.name, "\": ", reason_of(error));
}

// ---- What stages are made of ----------------------------------------------------------------------------------------

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
      const fs::path file = run.folder() / ("demonstrations-" + std::string(enum_name(data.topic)) + ".jsonl");
      {
        JsonlWriter out(file);
        for (int i = 0; i < data.count; ++i) {
          const Demonstration each = shared_->corpus.demonstration(static_cast<uint64_t>(i), data.topic);
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

// The policy that a stage works on, as it is before its checkpoints are read.
std::unique_ptr<Policy> Recipe::first_policy(const StageConfig& stage, const Run& run) const {
  const AdapterConfig& adapter = stage.policy.adapter;
  if (!stage.from.empty() && adapter.rank == 0) return load(stage.from, "from");
  const RunFiles& files = shared_->files;
  const at::Device device = shared_->device;
  const auto begin = [&] {
    if (!stage.from.empty()) return std::move(*load(stage.from, "from")).adapted(adapter, config_.seed);
    if (list_checkpoints(run.folder()).empty()) return files.first_policy(stage.policy, config_.seed, device);
    return RunFiles(run.folder()).outline(files.policy_config(stage.policy), device);
  };
  auto policy = std::make_unique<Policy>(begin());
  run_.progress().note(stage.name + " · policy " + policy->describe());
  return policy;
}

// Supervised fine-tuning on what the teacher has written, or writes first.
StageResult Recipe::distill(const StageConfig& stage, Stage& student, const SftConfig& config, Judge* judge) {
  std::vector<DemonstrationSet> sets(1);
  if (has_teacher_file(stage)) {
    sets[0].demonstrations = read_demonstrations(stage, stage.teacher);
  } else {
    const std::unique_ptr<Policy> teacher = load(stage.teacher, "teacher");
    Stage asked{*teacher, student.tokenizer, student.chat, student.run, student.seed};
    if (!rejection_sample(asked, stage.rejection, stage.teacher, judge).finished) return {};
    sets[0].demonstrations = read_demonstrations(stage, student.run.folder() / "selected.jsonl");
  }
  return sft(student, config, sets);
}

// What the stage itself does, with as many gradient tokens as asked for where that is not 0.
StageResult Recipe::compute(const StageConfig& stage, Stage& context, Judge* judge, int64_t gradient_tokens) {
  SftConfig supervised = stage.sft;
  GrpoConfig rewarded = stage.grpo;
  if (gradient_tokens) supervised.max_gradient_tokens = rewarded.max_gradient_tokens = gradient_tokens;
  switch (stage.type) {
    case StageType::pretrain:
      return pretrain(context, stage.pretrain, shared_->corpus);
    case StageType::sft:
      return sft(context, supervised, demonstrations(stage, context.run));
    case StageType::distill:
      return distill(stage, context, supervised, judge);
    case StageType::grpo:
      return grpo(context, rewarded, judge, [](const std::vector<Group>& groups) {
        // What the judge's scores are worth is measured as training goes on; nothing of it reaches a reward.
        NamedValues values;
        if (const auto hidden = hidden_score(groups)) values.emplace_back("hidden_helpful", *hidden);
        return values;
      });
    case StageType::rejection_sample: {
      const RejectionReport report = rejection_sample(context, stage.rejection, stage.from, judge);
      if (report.finished)
        run_.progress().note(stage.name + ": kept " + std::to_string(report.kept) + " of " +
                             std::to_string(report.sampled) + ", dropped " + report.json()["dropped"].dump());
      return {report.finished};
    }
  }
  throw Error("recipe", "expected a type of stage, got none");
}

bool Recipe::train(const StageConfig& stage, Run& run) {
  Stopwatch watch;
  const fs::path time_file = run.folder() / "seconds.json";  // of the sessions before this one
  const double before = is_there(time_file) ? SavedState(time_file).number("seconds") : 0;
  const auto stop = [&] {
    run.write("seconds.json", {{"seconds", before + watch.lap()}});
    return false;
  };
  const std::unique_ptr<Policy> policy = first_policy(stage, run);
  Stage context{*policy, *shared_->tokenizer, config_.chat, run, seed_of(config_.seed, stage.name)};
  const std::unique_ptr<Judge> judge = this->judge(stage.judge);
  const int64_t tokens_to_match =
      stage.match_tokens.empty()
          ? 0
          : SavedState(run_.folder() / stage.match_tokens / "done.json").count("gradient_tokens");
  const StageResult result = compute(stage, context, judge.get(), tokens_to_match);
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
    if (!policy_config(config_, stage).from.empty())
      RunFiles(run.folder()).save_model(*policy, adapter_base(config_, stage));
  }
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
