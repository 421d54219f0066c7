// What a folder tells of its steps, and how that goes on behind an interruption.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "grpo/metrics.h"
#include "grpo/tensorboard.h"

namespace grpo {

/// Opens a log, `Writer` being JsonlWriter or EventWriter, cut back to the `offset` that a checkpoint knows; 0: it begins
/// anew. A log is for people, who may have cut it short: then it begins anew, too, with what is left of it under another
/// name, and `progress` says so.
template <class Writer>
std::unique_ptr<Writer> open_log(const std::filesystem::path& file, uint64_t offset, Progress& progress);

/// The figures of steps: metrics.jsonl of a folder, which is made, and the same for TensorBoard.
class StepLog {
 public:
  /// Bytes of the two files that a checkpoint knows.
  struct Offsets {
    uint64_t metrics = 0, events = 0;
  };

  StepLog(const std::filesystem::path& folder, Progress& progress, const Offsets& known);

  void write(const nlohmann::ordered_json& line) { metrics_->write(line), events_->write(line); }

  /// Flushes to the disk; gives what the checkpoint that follows is to keep.
  Offsets sync();

 private:
  std::unique_ptr<JsonlWriter> metrics_;
  std::unique_ptr<EventWriter> events_;
};

}  // namespace grpo
