// A run: its folder, its log, its checkpoints, and the way back into it.
//
//   RUN/config.json        every knob, resolved
//   RUN/tokenizer.model    or pretrained/ and model/, of a policy that came from a model folder: see model.h
//   RUN/metrics.jsonl      one object a step
//   RUN/events.out.tfevents.grpo   the same figures for TensorBoard
//   RUN/samples.jsonl      the notebook: full reasoning traces with their scores
//   RUN/checkpoints/       see checkpoint.h
//   RUN/superseded/        checkpoints later than the one that --resume-from went back to
//   RUN/summary.json       held-out figures, before and after; written last
//   RUN/log.txt
//
// One process at a time works on a folder (RUN/.lock says which); readers do not ask.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grpo/checkpoint.h"
#include "grpo/config.h"
#include "grpo/metrics.h"
#include "grpo/reward.h"
#include "grpo/rollout.h"
#include "grpo/stop.h"
#include "grpo/task.h"
#include "grpo/tensorboard.h"
#include "grpo/trainer.h"

namespace grpo {

struct RunConfig {
  std::string out = "runs/zero";
  bool resume = false;
  std::string resume_from;
  int save_every = 20;
  int keep = 2;
  int notebook = 16;
  int max_silent_steps = 30;
  std::vector<std::string> notes = {};  ///< what is to be said at the start, of defaults that were chosen; no knob

  template <class V>
  void visit(V& v) {
    v("out", out, "folder of the run; one that is there already is moved aside, never overwritten");
    v("resume", resume,
      "go on from the newest whole checkpoint in `out`, with that run's configuration but for what is asked for here");
    v("resume_from", resume_from,
      "go on from this checkpoint, such as step-120 (of a recipe STAGE/step-120); later ones are moved to superseded/");
    v("save_every", save_every, "steps between checkpoints", at_least(1));
    v("keep", keep, "checkpoints to keep; 0: all", at_least(0));
    v("notebook", notebook,
      "traces a step in samples.jsonl, right and wrong ones in equal shares where there are; -1: all", at_least(-1));
    v("max_silent_steps", max_silent_steps,
      "end the run, saved, after so many RL steps in a row in which no group had two different rewards: nothing was "
      "learned; 0: never", at_least(0));
  }
  void validate() const;
};

/// The arguments that say which run is meant, and the configuration of that run (its config.json, without what only a
/// start has: out, resume, resume_from, force_from), if it is there. Throws Error for one that cannot be read.
std::vector<std::string> arguments_of_run(const std::vector<std::string>& arguments);
std::optional<nlohmann::json> config_of_run(const std::string& out);

/// load_config for a driver. A run that is resumed knows its own configuration: in place of the defaults stands the
/// config.json in `out`, so that --resume --out RUN is all that it takes; --config and --set change what they mention.
/// A config with choose_defaults(given, made) may set what its user has not (see defaults.h); `made` is that of the run
/// which is resumed, whose values hold, or null.
template <class Config>
Config load_run_config(const std::vector<std::string>& arguments) {
  Config asked;
  internal::FileTexts files;
  internal::parse(internal::make_knob("", asked, ""), arguments_of_run(arguments), &files);
  asked.resume |= !asked.resume_from.empty();
  Config config;
  const internal::Knob root = internal::make_knob("", config, "");
  const auto own = asked.resume ? config_of_run(asked.out) : std::nullopt;
  if (own) internal::load(root, *own, asked.out + "/config.json");
  if (asked.resume && !own && files.empty())
    throw Error("run", asked.out,
                ": expected the folder of a run to resume, found no config.json in it; check --out, or "
                "begin anew without --resume");
  const Config made = config;
  GivenKeys given;
  internal::parse(root, arguments, &files, &given);
  if constexpr (requires { config.choose_defaults(given, &made); }) config.choose_defaults(given, own ? &made : nullptr);
  config.out = asked.out, config.resume = asked.resume;
  validate(config, "");
  return config;
}

template <class Config>
Config load_run_config(int argc, char** argv) {
  return load_run_config<Config>(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
}

/// A knob in which two configurations differ.
struct ConfigChange {
  std::string key;  ///< "tasks.languages.1"
  nlohmann::ordered_json before, after;  ///< null where there is none
  bool is_new = false;  ///< a key (no element of a list) that the earlier one did not have, as of an older program
  std::string text() const;  ///< "steps: 3 → 9"
};
std::vector<ConfigChange> config_changes(const nlohmann::ordered_json& before, const nlohmann::ordered_json& after);

/// Whether the knob `key` is one of `knobs` or lies in one: "policy.moe.experts" in "policy".
bool lies_in(const std::string& key, std::initializer_list<std::string_view> knobs);

/// Wall-clock parts of a step, in seconds.
struct StepTimes {
  double rollout = 0, reward = 0, train = 0;
  double total() const { return rollout + reward + train; }
};

/// Seconds since it was made, or since the last lap.
class Stopwatch {
 public:
  Stopwatch();
  double lap();

 private:
  int64_t nanoseconds_;
};

/// Loads libtorch_cuda where `name` is a CUDA device. Throws Error when the device cannot be used.
at::Device open_device(const std::string& name);

class FolderLock;

class Run {
 public:
  /// Makes or opens the folder, which no other process may work on, takes over SIGINT, SIGTERM and SIGHUP, and writes
  /// `resolved` to config.json where no run is resumed. `name` is the driver's. Throws Error.
  Run(const RunConfig& config, const nlohmann::ordered_json& resolved, const std::string& name);
  Run(Run&&) noexcept;
  ~Run();

  /// A stage of this run: a run in the folder's subfolder `name`, which shares the terminal, the log and the signals,
  /// and always goes on from what it finds. Its config.json becomes `resolved` as it goes on, or now where it has none.
  /// Must not outlive this run.
  Run stage(const std::string& name, const nlohmann::ordered_json& resolved) const;

  const std::filesystem::path& folder() const { return folder_; }
  Progress& progress() { return *progress_; }

  /// Does the driver's work in this run and gives its exit status. An error goes to the log, too, with the way to go
  /// on behind it; Interrupted ends as stopped() does. After an error before any step was done all is as it was: the
  /// folder that this run made is gone, and the run that it moved aside is back.
  int attempt(const std::function<int()>& work);

  /// Whether a resumed run must keep the knob `key` ("policy.layers"), whose checkpoint has this state.
  using Stays = std::function<bool(const std::string& key, const nlohmann::ordered_json& state)>;

  /// With `resume`: the newest whole checkpoint (or resume_from); a damaged one is named and passed over. Nothing when
  /// there is none to go on from: the run starts at the beginning. Throws Error when all checkpoints are damaged, or a
  /// knob was changed that has to stay. It changes nothing in the folder: see go_on().
  std::optional<CheckpointContents> resume(const Stays& stays = nullptr);

  /// The checkpoint that resume() gave is loaded: cuts the log files back to it (one that was shortened begins anew),
  /// moves later checkpoints aside for resume_from, and adopts the configuration. restore() does it, and so do record()
  /// and save().
  void go_on();

  /// Names the knobs that were changed and makes the configuration the run's: what a run that goes on does once its
  /// checkpoint is loaded, for one without checkpoints of its own.
  void adopt_config();

  /// Writes a checkpoint of the `step`-th step of the whole run. The state gets the offsets of the log files. Throws
  /// Error, saying how to go back, for a policy that has diverged: whose tensors or logits are not finite.
  void save(int64_t step, Policy& policy, Trainer& trainer, nlohmann::ordered_json state);
  void save(int64_t step, CheckpointContents contents);
  bool due(int64_t step) const { return step % config_.save_every == 0; }

  /// Takes back what save() wrote, and goes on from there. A reference that the checkpoint lacks, as KL was off, is the
  /// policy as it is there. Throws Error that names the checkpoint.
  void restore(const CheckpointContents& checkpoint, Policy& policy, Trainer& trainer);

  /// Whether a signal asked the run to end after this step.
  bool stopping() const { return signal_->requested(); }
  /// Throws Interrupted then: for work between the steps that can be done again.
  void check_signal() const { signal_->check(); }
  /// Says how to go on, and gives the status to exit with: 128 + the signal.
  int stopped();

  /// The command line that goes on with this run, for a shell.
  std::string resume_command() const;

  /// How completions are read, for what is said of steps without signal.
  void reads(const RewardsConfig& rewards);

  /// One step of RL: metrics.jsonl, samples.jsonl, and a line of progress. `more` is added to metrics.jsonl. Says when
  /// no group has had two different rewards: in the first of such steps, and with advice once when they go on.
  void record(int64_t step, const std::vector<Group>& groups, const UpdateReport& report, const RolloutStats& rollout,
              const StepTimes& times, const NamedValues& more = {});

  /// Whether that has been so for max_silent_steps in a row: the run is then to be saved and ended, by end_silence,
  /// which throws Error with advice. A run that goes on from there has as many such steps again.
  bool is_silent() const;
  [[noreturn]] void end_silence();

  /// One step of another kind: `values` in metrics.jsonl, those in `shown` in the line of progress.
  void record(int64_t step, const NamedValues& values, const NamedValues& shown, double seconds);

  /// Writes `file` in the folder, whole or not at all.
  void write(const std::string& file, const nlohmann::ordered_json& value) const;

 private:
  struct Silence;

  Run();
  void lock();
  void write_metrics(const nlohmann::ordered_json& line);
  void watch_signal(int64_t step, const std::vector<Group>& groups);
  std::optional<CheckpointContents> find_checkpoint();
  void refuse_changes(const Stays& stays, const CheckpointContents& checkpoint) const;
  bool take_back();
  void go_back_to(const std::filesystem::path& checkpoint);
  void open_logs(const std::vector<uint64_t>& offsets);
  [[noreturn]] void refuse_diverged(int64_t step, const std::string& why) const;

  RunConfig config_;
  bool is_stage_ = false;  // a stage resumes by itself, so there is nothing to say where it begins
  std::filesystem::path folder_, aside_;  // aside_: where the run is that was in `folder_`; "" where none was
  bool is_made_ = false;                  // the folder is this run's own
  std::string command_;
  nlohmann::ordered_json resolved_;
  std::shared_ptr<StopSignal> signal_;
  std::shared_ptr<Progress> progress_;
  std::unique_ptr<FolderLock> lock_;
  struct Found {
    std::filesystem::path checkpoint;
    std::vector<uint64_t> offsets;  // of the log files
  };
  std::optional<Found> found_;  // by resume(), until go_on()
  std::unique_ptr<JsonlWriter> metrics_, samples_;
  std::unique_ptr<EventWriter> events_;
  std::unique_ptr<Silence> silence_;
  RewardsConfig rewards_;
};

}  // namespace grpo
