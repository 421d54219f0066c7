// A run: its folder, its log, its checkpoints, and the way back into it.
//
//   RUN/config.json        every knob, resolved
//   RUN/tokenizer.model    or pretrained/ and model/, of a policy that came from a model folder: see model.h
//   RUN/metrics.jsonl      one object a step
//   RUN/events.out.tfevents.grpo   the same figures for TensorBoard
//   RUN/samples.jsonl      the notebook: full reasoning traces with their scores
//   RUN/checkpoints/       see checkpoint.h
//   RUN/summary.json       held-out figures, before and after
//   RUN/log.txt
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "grpo/checkpoint.h"
#include "grpo/config.h"
#include "grpo/metrics.h"
#include "grpo/rollout.h"
#include "grpo/task.h"
#include "grpo/tensorboard.h"
#include "grpo/trainer.h"

namespace grpo {

struct RunConfig {
  std::string out = "runs/zero";
  bool resume = false;
  int save_every = 20;
  int keep = 2;
  int notebook = 16;

  template <class V>
  void visit(V& v) {
    v("out", out, "folder of the run; one that is there already is moved aside, never overwritten");
    v("resume", resume, "go on from the newest whole checkpoint in `out`");
    v("save_every", save_every, "steps between checkpoints", at_least(1));
    v("keep", keep, "checkpoints to keep; 0: all", at_least(0));
    v("notebook", notebook,
      "traces a step in samples.jsonl, right and wrong ones in equal shares where there are; -1: all", at_least(-1));
  }
};

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

class Run {
 public:
  /// Makes or opens the folder, takes over SIGINT and SIGTERM, and prints the header `name` · `what` is left to note().
  /// `resolved` is what config.json will hold.
  Run(const RunConfig& config, const nlohmann::ordered_json& resolved, const std::string& name);

  /// A stage of this run: a run in the folder's subfolder `name`, whose config.json is `resolved`, which shares the
  /// terminal, the log and the signals, and always goes on from what it finds. Must not outlive this run.
  Run stage(const std::string& name, const nlohmann::ordered_json& resolved) const;

  const std::filesystem::path& folder() const { return folder_; }
  Progress& progress() { return *progress_; }

  /// With `resume`: the newest whole checkpoint, and the JSONL files cut back to it; a damaged one is named and passed
  /// over. Nothing when there is none to go on from: the run starts at the beginning. Throws Error when all are
  /// damaged.
  std::optional<CheckpointContents> resume();

  /// Writes a checkpoint of the `step`-th step of the whole run. `contents.state` gets the offsets of the JSONL files.
  void save(int64_t step, CheckpointContents contents);
  bool due(int64_t step) const { return step % save_every_ == 0; }

  /// Whether SIGINT or SIGTERM asked the run to end after this step.
  bool stopping() const { return signal_->requested(); }
  /// What to print then, and the status to exit with.
  int stopped();

  /// One step of RL: metrics.jsonl, samples.jsonl, and a line of progress.
  /// `more` is added to metrics.jsonl.
  void record(int64_t step, const std::vector<Group>& groups, const UpdateReport& report, const RolloutStats& rollout,
              const StepTimes& times, const NamedValues& more = {});

  /// One step of another kind: `values` in metrics.jsonl, those in `shown` in the line of progress.
  void record(int64_t step, const NamedValues& values, const NamedValues& shown, double seconds);

  /// Writes `file` in the folder, whole or not at all.
  void write(const std::string& file, const nlohmann::ordered_json& value) const;

 private:
  Run() = default;

  RunConfig config_;
  bool is_stage_ = false;  // a stage resumes by itself, so there is nothing to say where it begins
  std::filesystem::path folder_;
  std::string command_;
  int64_t save_every_;
  std::shared_ptr<StopSignal> signal_;
  std::shared_ptr<Progress> progress_;
  void write_metrics(int64_t step, const nlohmann::ordered_json& line);

  std::unique_ptr<JsonlWriter> metrics_, samples_;
  std::unique_ptr<EventWriter> events_;
};

}  // namespace grpo
