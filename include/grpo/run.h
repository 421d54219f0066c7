// A run: its folder, its log, its checkpoints, and the way back into it.
//
//   RUN/config.json        every knob, resolved
//   RUN/tokenizer.model    or pretrained/ and model/, of a policy that came from a model folder: see model.h
//   RUN/metrics.jsonl      one object a step
//   RUN/events.out.tfevents.grpo   the same figures for TensorBoard
//   RUN/samples.jsonl      the notebook: full reasoning traces with their scores
//   RUN/checkpoints/       see checkpoint.h, as for frozen.safetensors and frozen.json of a run with an adapter
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
#include "grpo/run_config.h"
#include "grpo/step_log.h"
#include "grpo/stop.h"
#include "grpo/stopwatch.h"
#include "grpo/task.h"
#include "grpo/trainer.h"

namespace grpo {

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
  /// folder that this run made is gone, unless others put something in it, and the run that it moved aside is back.
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
  void open_logs(const StepLog::Offsets& steps = {}, uint64_t samples = 0);
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
    StepLog::Offsets steps;
    uint64_t samples;
  };
  std::optional<Found> found_;  // by resume(), until go_on()
  std::unique_ptr<StepLog> steps_;
  std::unique_ptr<JsonlWriter> samples_;
  std::unique_ptr<Silence> silence_;
  RewardsConfig rewards_;
};

}  // namespace grpo
