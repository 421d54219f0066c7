#include "grpo/run.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <string_view>

#include "base/files/durable_file.h"
#include "base/files/folder_lock.h"
#include "base/files/input_file.h"
#include "base/plain_words.h"
#include "grpo/error.h"
#include "grpo/evaluate.h"
#include "grpo/json.h"
#include "recipe/saved_config.h"
#include "recipe/silence.h"

namespace grpo {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

// Up to `limit` samples, alternating between right (or well rewarded) and wrong ones, in the order of the groups.
std::vector<std::pair<size_t, size_t>> notebook_samples(const std::vector<Group>& groups, int limit) {
  std::vector<std::pair<size_t, size_t>> right, wrong, chosen;
  for (size_t i = 0; !groups.empty() && i < groups[0].completions.size();
       ++i)  // one of each group before a second of any
    for (size_t g = 0; g < groups.size(); ++g) {
      if (i >= groups[g].completions.size()) continue;
      const auto accuracy = groups[g].scores[i].find("accuracy");
      const bool good = accuracy != groups[g].scores[i].end() && accuracy->second.defined()
                            ? accuracy->second.value() > 0.5
                            : groups[g].rewards[i] > 0;
      (good ? right : wrong).emplace_back(g, i);
    }
  const size_t count = limit < 0 ? right.size() + wrong.size() : std::min<size_t>(limit, right.size() + wrong.size());
  for (size_t r = 0, w = 0; chosen.size() < count;) {
    if (r < right.size()) chosen.push_back(right[r++]);
    if (w < wrong.size() && chosen.size() < count) chosen.push_back(wrong[w++]);
  }
  return chosen;
}

double ratio(double a, double b) { return b > 0 ? a / b : std::nan(""); }

// What a step's samples were given: the mean reward and that of each score, and of how many it has nothing to say.
Json rewards_of(const std::vector<Group>& groups) {
  struct Total {
    double sum = 0;
    int64_t defined = 0, undefined = 0;
    Json mean() const { return json_of(ratio(sum, static_cast<double>(defined))); }
  };
  Total reward;
  std::map<std::string, Total> by_name;
  for (const Group& group : groups)
    for (size_t i = 0; i < group.completions.size(); ++i) {
      if (std::isfinite(group.rewards[i])) reward.sum += group.rewards[i], ++reward.defined;
      for (const auto& [name, score] : group.scores[i]) {
        Total& total = by_name[name];
        ++(score.defined() ? total.defined : total.undefined);
        if (score.defined()) total.sum += score.value();
      }
    }
  Json figures{{"reward", reward.mean()}};
  for (const auto& [name, total] : by_name) figures["reward/" + name] = total.mean();
  for (const auto& [name, total] : by_name) figures["undefined/" + name] = total.undefined;  // a failing sandbox
  return figures;
}

// A sample in the notebook.
Json trace_of(int64_t step, const Group& group, size_t i) {
  const Completion& completion = group.completions[i];
  return {{"step", step},
          {"task", group.task.id},
          {"sample", i},
          {"prompt", group.task.prompt},
          {"reference", group.task.answer},
          {"kind", group.task.kind},
          {"language", group.task.language},
          {"text", completion.text},
          {"answer", completion.answer},
          {"tokens", completion.tokens.size()},
          {"finish", completion.finish == Finish::stop ? "stop" : "length"},
          {"reflects", reflects(completion.text)},
          {"scores", json_of(group.scores[i])},
          {"reward", json_of(group.rewards[i])},
          {"advantage", json_of(i < group.advantages.size() ? group.advantages[i] : std::nan(""))}};
}

// Where a checkpoint's state says how long each log file was.
constexpr const char *kMetricsOffset = "metrics_offset", *kSamplesOffset = "samples_offset",
                     *kEventsOffset = "events_offset";

// The steps without signal that came last.
constexpr const char* kSilence = "silence";

// Whether a file of a run's folder, by its path in there, is one that a run writes before its first step.
bool is_own(const fs::path& file) {
  constexpr std::array<std::string_view, 14> kNames{
      ".lock",       "config.json", "log.txt",       "metrics.jsonl", "samples.jsonl",  "events.out.tfevents.grpo",
      "report.json", "stages.json", "seconds.json", "judge.json",    "selected.jsonl", "tokenizer.model",
      "frozen.json", "frozen.safetensors"};
  const std::string name = file.filename().string();
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end() || name.starts_with("demonstrations-") ||
         std::any_of(file.begin(), file.end(), [](const fs::path& each) {
           return each == "pretrained" || each.string().starts_with(".tmp-");
         });
}

// A word of a command line as a shell reads it.
std::string quoted(const std::string& word) {
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) || std::string_view("_@%+=:,./-").find(static_cast<char>(c)) != std::string_view::npos;
  };
  if (!word.empty() && std::all_of(word.begin(), word.end(), plain)) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// How the program was called, if it is the driver `name`.
std::string command_of(const std::string& name) {
  const fs::path called = program_invocation_name;
  return called.filename() == name ? called.string() : name;
}

// "step-000120", "step-120" and "120" name one checkpoint.
std::string step_named(const std::string& place) {
  std::string name = fs::path(place).filename().string();
  if (name.starts_with(".old-")) name.erase(0, 5);
  if (name.starts_with("step-")) name.erase(0, 5);
  return name.erase(0, std::min(name.find_first_not_of('0'), name.size() - !name.empty()));
}

std::string names_of(const std::vector<fs::path>& folders) {
  std::string names;
  for (const fs::path& each : folders) names += (names.empty() ? "" : ", ") + each.filename().string();
  return names.empty() ? "none" : names;
}

// The first that holds a value which is not finite.
std::optional<std::string> not_finite(const NamedTensors& tensors) {
  for (const auto& [name, tensor] : tensors)
    if (tensor.is_floating_point() && !at::isfinite(tensor).all().item<bool>()) return name;
  return std::nullopt;
}

// Weights that are finite may still be too large to compute with: are the logits of a few tokens finite, too?
bool gives_numbers(const Policy& policy) {
  const at::NoGradGuard no_grad;
  const int64_t count = std::min({policy.config().vocab_size, policy.config().max_positions, 8});
  PassBuilder text;
  std::vector<int32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), 0);
  text.add(tokens);
  return at::isfinite(policy.logits(policy.hidden(text.build(policy.device())))).all().item<bool>();
}

}  // namespace

// ---- The folder -----------------------------------------------------------------------------------------------------

Run::Run() : silence_(std::make_unique<Silence>()) {}
Run::Run(Run&&) noexcept = default;
Run::~Run() = default;

Run::Run(const RunConfig& config, const Json& resolved, const std::string& name) try : Run() {
  config_ = config;
  config_.resume |= !config.resume_from.empty();
  grpo::validate(config_, "");
  folder_ = config.out;
  if (!folder_.has_filename()) folder_ = folder_.parent_path();  // "runs/zero/" is "runs/zero"
  command_ = command_of(name);
  resolved_ = resolved;
  signal_ = std::make_shared<StopSignal>(
      "stopping as soon as all is saved; once more ends this at once\n",
      "ended at once: what was saved before stands; to go on: " + resume_command() + "\n");
  if (!config_.resume && (fs::exists(folder_ / "config.json") || !list_checkpoints(folder_).empty())) {
    const FolderLock its_own(folder_);
    const fs::path aside = free_name(folder_);
    rename_durably("run", folder_, aside);
    aside_ = aside;
  }
  std::error_code error;
  is_made_ = fs::create_directories(folder_, error);
  if (error) throw Error("run", "cannot make the folder ", folder_.string(), ": ", error.message());
  lock();
  progress_ = std::make_shared<Progress>(folder_ / "log.txt");
  if (!aside_.empty())
    progress_->note("the run that was in " + folder_.string() + " is now in " + aside_.string());
  if (!lock_->missing().empty())
    progress_->note("warning: " + folder_.string() + " cannot be locked (" + lock_->missing() +
                    "); see to it that no other process works on it");
  if (!config_.resume) write("config.json", resolved_);
} catch (const fs::filesystem_error& error) {
  throw Error("run", plain_words(error));
}

void Run::lock() { lock_ = std::make_unique<FolderLock>(folder_); }

Run Run::stage(const std::string& name, const Json& resolved) const {
  Run stage;
  stage.config_ = config_;
  stage.config_.resume = true;
  stage.config_.resume_from =
      config_.resume_from.starts_with(name + "/") ? config_.resume_from.substr(name.size() + 1) : "";
  stage.is_stage_ = true;
  stage.folder_ = folder_ / name;
  stage.command_ = command_;
  stage.resolved_ = resolved;
  stage.signal_ = signal_;
  stage.progress_ = progress_;
  std::error_code error;
  fs::create_directories(stage.folder_, error);
  if (error) throw Error("run", "cannot make the folder ", stage.folder_.string(), ": ", error.message());
  stage.lock();
  if (!fs::exists(stage.folder_ / "config.json")) stage.write("config.json", resolved);
  return stage;
}

void Run::write(const std::string& file, const Json& value) const {
  write_file("run", folder_ / file, value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

// ---- The way back in ------------------------------------------------------------------------------------------------

void Run::adopt_config() {
  const fs::path file = folder_ / "config.json";
  if (!config_.resume) return;
  if (!is_stage_ && fs::exists(file))  // of a stage the recipe names them
    for (const ConfigChange& change : config_changes(saved_config(file), resolved_))
      if (!is_of_the_start(change.key)) progress_->note("resuming with a changed " + change.text());
  write("config.json", resolved_);
}

void Run::refuse_changes(const Stays& stays, const CheckpointContents& checkpoint) const {
  const fs::path file = folder_ / "config.json";
  if (!stays || !fs::exists(file)) return;
  std::string changes;
  for (const ConfigChange& change : config_changes(saved_config(file), resolved_))
    if (!is_of_the_start(change.key) && !change.is_new && stays(change.key, checkpoint.state))
      changes += (changes.empty() ? "" : ", ") + change.text();
  if (!changes.empty())
    throw Error("run", folder_.string(), ": expected what this run was made with to stay as it is, got ", changes,
                "; leave that out (a resumed run knows its own configuration), or start a run in another --out");
}

std::optional<CheckpointContents> Run::find_checkpoint() {
  const std::vector<fs::path> folders = list_checkpoints(folder_);
  if (!config_.resume_from.empty()) {
    for (const fs::path& each : folders)
      if (step_named(each.string()) == step_named(config_.resume_from)) return read_checkpoint(each);
    throw Error("run", "resume_from: expected a checkpoint of ", folder_.string(), ", which are ", names_of(folders),
                ", got \"", config_.resume_from, '"');
  }
  std::string damage;
  for (auto each = folders.rbegin(); each != folders.rend(); ++each) try {
      return read_checkpoint(*each);
    } catch (const Error& error) {
      damage = error.what();
      progress_->note("passed over: " + damage);
    }
  if (!damage.empty())
    throw Error("run", "no whole checkpoint to resume from in ", folder_.string(), "; start over without --resume (",
                damage, ")");
  return std::nullopt;
}

// The later ones leave, the latest first: whatever interrupts this, the newest that is left is one to go on from.
void Run::go_back_to(const fs::path& checkpoint) {
  std::vector<fs::path> later = list_checkpoints(folder_);
  later.erase(later.begin(), std::next(std::find(later.begin(), later.end(), checkpoint)));
  const fs::path aside = folder_ / "superseded";
  if (!later.empty()) fs::create_directories(aside);
  for (auto each = later.rbegin(); each != later.rend(); ++each) {
    const fs::path target = aside / each->filename();
    rename_durably("run", *each, fs::exists(target) ? free_name(target) : target);
  }
  if (!later.empty()) sync_folder("run", folder_ / "checkpoints");
  if (!later.empty()) progress_->note("going back: " + names_of(later) + " are now in " + aside.string());
}

std::optional<CheckpointContents> Run::resume(const Stays& stays) try {
  std::optional<CheckpointContents> checkpoint;
  if (config_.resume) checkpoint = find_checkpoint();
  if (checkpoint) {
    const auto offset = [&](const char* key) { return static_cast<uint64_t>(checkpoint->saved().count(key)); };
    const Found found{checkpoint->folder, {offset(kMetricsOffset), offset(kEventsOffset)}, offset(kSamplesOffset)};
    refuse_changes(stays, *checkpoint);
    for (const char* key : {kMetricsOffset, kSamplesOffset, kEventsOffset}) checkpoint->state.erase(key);
    if (checkpoint->state.contains(kSilence))
      *silence_ = Silence::of(SavedState(checkpoint->saved().object(kSilence), checkpoint->folder / "state.json"));
    checkpoint->state.erase(kSilence);
    progress_->note("resuming from " + checkpoint->folder.string());
    found_ = found;
    return checkpoint;
  }
  if (config_.resume && !is_stage_)
    progress_->note("nothing to resume from in " + folder_.string() + ": starting at the beginning");
  adopt_config();
  open_logs();
  return checkpoint;
} catch (const fs::filesystem_error& error) {
  throw Error("run", plain_words(error));
}

// What resume() has found is loaded: from here on the run is the one that goes on from it.
void Run::go_on() try {
  if (!found_) return;
  if (!config_.resume_from.empty()) go_back_to(found_->checkpoint);
  adopt_config();
  open_logs(found_->steps, found_->samples);
  found_.reset();
} catch (const fs::filesystem_error& error) {
  throw Error("run", plain_words(error));
}

void Run::open_logs(const StepLog::Offsets& steps, uint64_t samples) {
  steps_ = std::make_unique<StepLog>(folder_, *progress_, steps);
  samples_ = open_log<JsonlWriter>(folder_ / "samples.jsonl", samples, *progress_);
}

void Run::save(int64_t step, CheckpointContents contents) {
  for (const NamedTensors* each : {&contents.policy, &contents.optimizer})
    if (const auto tensor = not_finite(*each)) refuse_diverged(step, *tensor + " is not finite");
  go_on();
  const auto [metrics, events] = steps_->sync();
  samples_->sync();
  contents.state.update({{kMetricsOffset, metrics}, {kSamplesOffset, samples_->offset()}, {kEventsOffset, events}});
  if ((silence_->steps > 0 || silence_->is_told) && !is_silent()) contents.state[kSilence] = silence_->json();
  write_checkpoint(folder_, step, contents, config_.keep);
}

void Run::save(int64_t step, Policy& policy, Trainer& trainer, Json state) {
  if (!gives_numbers(policy)) refuse_diverged(step, "its logits are not finite");
  CheckpointContents contents{policy.state(), trainer.state(), std::nullopt, std::move(state)};
  if (trainer.reference()) contents.reference = trainer.reference()->state();
  contents.frozen = policy.frozen();
  save(step, std::move(contents));
}

void Run::refuse_diverged(int64_t step, const std::string& why) const {
  throw Error("run", "step ", step, ": the policy has diverged (", why, ") and is not saved. Of the checkpoints (",
              names_of(list_checkpoints(folder_)), ") go back to a good one with a lower learning rate: --resume-from ",
              is_stage_ ? folder_.filename().string() + "/" : "", "step-N");
}

void Run::restore(const CheckpointContents& checkpoint, Policy& policy, Trainer& trainer) {
  try {
    policy.load_state(checkpoint.policy);
    trainer.load_state(checkpoint.optimizer);
    if (trainer.reference()) trainer.reference()->load_state(checkpoint.reference.value_or(policy.state()));
  } catch (const Error& error) {
    throw Error("checkpoint", checkpoint.folder.string(), ": ", error.what());
  }
  go_on();
  if (trainer.reference() && !checkpoint.reference)
    progress_->note("the divergence is measured from now on: its reference is the policy of this checkpoint");
}

// ---- The end --------------------------------------------------------------------------------------------------------

std::string Run::resume_command() const {
  return quoted(command_) + " --resume --out " + quoted(folder_.string());
}

int Run::attempt(const std::function<int()>& work) {
  try {
    return work();
  } catch (const Interrupted&) {
    return stopped();
  } catch (const std::exception& error) {
    progress_->end();
    progress_->note("error: " + plain_words(error));
    if (!take_back()) progress_->note("what was saved before stands; to go on: " + resume_command());
    return 1;
  }
}

// A folder in which no step was done yet goes: whoever mends what was wrong finds all as it was. False where it stays,
// as one does in which others have put something.
bool Run::take_back() {
  if (!is_made_) return false;
  std::error_code code;
  std::vector<fs::path> files, folders{folder_};
  for (const auto& each : fs::recursive_directory_iterator(folder_, code)) {
    const std::string name = each.path().filename().string();
    if (name == "manifest.json" || (name == "metrics.jsonl" && each.file_size(code) > 0)) return false;
    (each.is_directory(code) ? folders : files).push_back(each.path());
  }
  if (code || !std::all_of(files.begin(), files.end(),
                           [&](const fs::path& each) { return is_own(each.lexically_relative(folder_)); }))
    return false;
  steps_.reset(), samples_.reset();
  for (const fs::path& each : files) fs::remove(each, code);
  for (auto each = folders.rbegin(); each != folders.rend(); ++each) fs::remove(*each, code);  // those within one first
  if (code || aside_.empty()) return !code;
  try {
    rename_durably("run", aside_, folder_);
    progress_->note("the run that was in " + folder_.string() + " is there again");
  } catch (const Error& error) {
    progress_->note("warning: " + reason_of(error));
  }
  return true;
}

int Run::stopped() {
  progress_->end();
  progress_->note("stopped, and all is saved; to go on: " + resume_command());
  return signal_->exit_status();
}

// ---- What is written of each step -----------------------------------------------------------------------------------

void Run::write_metrics(const Json& line) {
  go_on();
  steps_->write(line);
}

void Run::record(int64_t step, const NamedValues& values, const NamedValues& shown, double seconds) {
  Json line{{"step", step}};
  for (const auto& [name, value] : values) line[name] = json_of(value);
  write_metrics(line);
  progress_->step(step, shown, seconds);
}

void Run::reads(const RewardsConfig& rewards) { rewards_ = rewards; }

// A step without a group whose rewards differ teaches nothing; a run of them has to be told.
void Run::watch_signal(int64_t step, const std::vector<Group>& groups) {
  constexpr int64_t kLong = 10;
  const auto teaches = [](const Group& group) {  // whitened over the batch, flat groups may have advantages
    return has_signal(group) || std::any_of(group.advantages.begin(), group.advantages.end(),
                                            [](float each) { return each != 0 && !std::isnan(each); });
  };
  if (std::any_of(groups.begin(), groups.end(), teaches)) {
    const bool is_told = silence_->is_told;
    *silence_ = {};
    silence_->is_told = is_told;
    return;
  }
  silence_->add(groups, rewards_);
  if (silence_->steps == 1)
    progress_->note("step " + std::to_string(step) +
                    " had nothing to learn from: in no group did two rewards differ (" + silence_->figures() + ")");
  if (silence_->steps == kLong && !std::exchange(silence_->is_told, true))
    progress_->note("warning: " + silence_->text() + ". What helps: " + silence_->advice(rewards_));
}

bool Run::is_silent() const {
  return config_.max_silent_steps > 0 && silence_->steps >= config_.max_silent_steps;
}

void Run::end_silence() {
  throw Error("run", silence_->text(), ", so that the run ends here. What helps: ", silence_->advice(rewards_),
              "; with --set max_silent_steps=0 it goes on all the same");
}

void Run::record(int64_t step, const std::vector<Group>& groups, const UpdateReport& report,
                 const RolloutStats& rollout, const StepTimes& times, const NamedValues& more) {
  const Evaluation figures = summarize(groups);
  const double tokens = static_cast<double>(rollout.completion_tokens);
  Json line{{"step", step}};
  line.update(rewards_of(groups));
  line.update({{"accuracy", json_of(figures.pass_at_1)},
               {"format", json_of(figures.format)},
               {"language_consistency", json_of(figures.language_consistency)},
               {"mixed_traces", json_of(figures.mixed_traces)},
               {"completion_length", json_of(figures.completion_length)},
               {"reflection_rate", json_of(figures.reflection_rate)},
               {"truncated", json_of(figures.truncated)},
               {"groups", groups.size()},
               {"flat_groups", report.flat_groups},
               {"loss", json_of(report.loss)},
               {"entropy", json_of(report.entropy)},
               {"kl", report.kl ? json_of(*report.kl) : Json(nullptr)},
               {"ratio_deviation", json_of(report.ratio_deviation)},
               {"mismatch_kl", json_of(report.mismatch_kl)},
               {"clip_fraction", json_of(report.clip_fraction)},
               {"grad_norm", json_of(report.grad_norm)},
               {"learning_rate", json_of(report.learning_rate)},
               {"skipped_updates", report.skipped_updates},
               {"expert_load_max", json_of(report.expert_load_max)},
               {"preemptions", rollout.preemptions},
               {"tokens_per_second", json_of(ratio(tokens, times.total()))},
               {"seconds/rollout", times.rollout},
               {"seconds/reward", times.reward},
               {"seconds/train", times.train}});
  if (report.entropy_deviation) line["entropy_deviation"] = json_of(*report.entropy_deviation);
  if (report.masked_fraction) line["masked_fraction"] = json_of(*report.masked_fraction);
  if (report.entropy_coefficient) line["entropy_coefficient"] = json_of(*report.entropy_coefficient);
  for (const auto& [name, value] : more) line[name] = json_of(value);
  write_metrics(line);
  for (const auto& [g, i] : notebook_samples(groups, config_.notebook)) samples_->write(trace_of(step, groups[g], i));
  for (const std::string& why : report.skipped) progress_->note("update skipped: " + why);
  for (const std::string& warning : report.warnings) progress_->note("warning: " + warning);
  watch_signal(step, groups);
  const Json& reward = line["reward"];
  progress_->step(step,
                  {{"reward", reward.is_number() ? reward.get<double>() : std::nan("")},
                   {"accuracy", figures.pass_at_1},
                   {"format", figures.format},
                   {"length", figures.completion_length},
                   {"reflect", figures.reflection_rate}},
                  times.total(), {{"roll", times.rollout}, {"score", times.reward}, {"train", times.train}});
}

}  // namespace grpo
