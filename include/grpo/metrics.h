// What a run tells the world: one JSON object a step, a progress bar, a log, and a clean way to stop it.
#pragma once

#include <cstddef>
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

/// A file with one JSON object a line (metrics.jsonl, samples.jsonl). A line is handed to the system whole, so that a
/// killed run leaves at most one half line, and a resumed one cuts off whatever its checkpoint does not know.
class JsonlWriter {
 public:
  /// Without `resume_offset` the file starts empty. With it, the bytes from there on are cut off and writing goes on.
  /// Throws Error when the file cannot be written, is shorter than the offset, or has no line end just before it.
  explicit JsonlWriter(std::filesystem::path path, std::optional<uint64_t> resume_offset = std::nullopt);
  ~JsonlWriter();
  JsonlWriter(const JsonlWriter&) = delete;
  JsonlWriter& operator=(const JsonlWriter&) = delete;

  /// Appends one line. Numbers that are not finite become null, broken UTF-8 becomes U+FFFD.
  void write(const nlohmann::ordered_json& object);

  /// Size of the file in bytes: what a checkpoint keeps as `resume_offset`.
  uint64_t offset() const;

  /// Flushes to the disk; call it before the checkpoint that records offset().
  void sync();

 private:
  std::unique_ptr<AppendFile> file_;
};

using NamedValues = std::vector<std::pair<std::string, double>>;  ///< shown in this order

/// What there is to show of a step.
struct StepLine {
  std::string label = "step";     ///< the stage: "step", "base"
  int64_t step = 0, total = 0;    ///< finished steps, of how many
  NamedValues values;             ///< reward, accuracy, …
  std::optional<double> seconds;  ///< of this step
  NamedValues phases;             ///< the parts of `seconds`: roll, score, train
  std::optional<double> eta;      ///< seconds that remain
  double elapsed = 0.0;           ///< seconds since the stage began in this process
};

/// A tidy log line: `step  63/180  reward 0.86  length 31.2  │ 1.1 s (roll 0.5 score 0.0 train 0.6)  eta 2:08`.
std::string format_line(const StepLine& line);

/// The same as a bar: `step     ███████▏             63/180  reward 0.86  length 31.2  eta 2:08`; with the elapsed time
/// at the end once it is full. Values that do not fit into `columns` are left out, the last ones first.
std::string format_bar(const StepLine& line, std::size_t columns);

/// `0:07`, `2:08`, `1:02:08`; rounded to seconds.
std::string format_duration(double seconds);

/// Seconds until the end, from a moving average of the latest steps.
class Eta {
 public:
  void add(double step_seconds);
  std::optional<double> remaining(int64_t steps) const;  ///< nothing before the first step

 private:
  double weighted_sum_ = 0.0, weight_ = 0.0;
};

/// A table such as the one of before and after. A value that is not finite shows as –.
struct Table {
  struct Row {
    std::string name;
    std::vector<double> values;  ///< one a column
    std::string note;            ///< shown behind an arrow when not empty
  };
  std::string title;
  std::vector<std::string> columns;
  std::vector<Row> rows;
};
std::string format_table(const Table& table);

/// The one writer to the terminal. On a terminal each stage has a bar that stays at the bottom, and lines scroll above
/// it; elsewhere there are only lines. All lines go to the log file too, with the time of day.
class Progress {
 public:
  /// Whether each step gets a line, or the bar alone shows them (and a line every ten seconds where there is no bar).
  enum class Lines { each_step, seldom };

  /// Appends to `log_file`; `descriptor` is where people look, standard error. Throws Error when the log cannot be
  /// opened.
  explicit Progress(const std::filesystem::path& log_file, int descriptor = 2);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// A line of its own: the header, a warning, a table.
  void note(const std::string& text);

  /// Starts a stage of `total` steps, `done` of which are behind us.
  void begin(std::string label, int64_t total, int64_t done, Lines lines);

  /// Shows that `done` steps are finished, the last one in `seconds`.
  void step(int64_t done, NamedValues values, double seconds, NamedValues phases = {});

  /// Ends the stage; its bar stays on the screen as it is.
  void end();

 private:
  class Log;
  struct Stage;
  void draw_bar();
  void print(const std::string& text);

  std::unique_ptr<Log> log_;
  std::unique_ptr<Stage> stage_;
  int descriptor_;
  bool is_terminal_;
};

/// The largest resident memory of this process so far, in bytes.
double peak_rss_bytes();

}  // namespace grpo
