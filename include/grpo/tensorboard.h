// Curves for TensorBoard: the figures of each step, in the event files that it reads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace grpo {

class AppendFile;

/// An event file: TFRecords that each hold one protobuf `Event`, without needing protobuf or TensorFlow. TensorBoard
/// takes the files whose name contains "tfevents", and the folder's name for the run's. A record is handed to the
/// system whole, so that a killed run leaves at most a part of one, and a resumed one cuts off whatever its checkpoint
/// does not know.
class EventWriter {
 public:
  /// Without `resume_offset` the file starts anew. With it, the bytes from there on are cut off and writing goes on.
  /// Throws Error when the file cannot be written, is shorter than the offset, or has no end of a record there.
  explicit EventWriter(std::filesystem::path path, std::optional<uint64_t> resume_offset = std::nullopt);
  ~EventWriter();
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;

  /// Appends one event with all scalars of a step; `wall_time` in seconds since 1970. Values are kept in float32. One
  /// that is not finite there is left out, and nothing is written when none is left; broken UTF-8 in a tag becomes
  /// U+FFFD.
  void write(int64_t step, double wall_time, const std::vector<std::pair<std::string, double>>& scalars);
  /// The numbers of a line of metrics.jsonl, as those of its "step", at this moment.
  void write(const nlohmann::ordered_json& line);

  /// Size of the file in bytes: what a checkpoint keeps as `resume_offset`.
  uint64_t offset() const;

  /// Flushes to the disk; call it before the checkpoint that records offset().
  void sync();

 private:
  std::unique_ptr<AppendFile> file_;
};

}  // namespace grpo
