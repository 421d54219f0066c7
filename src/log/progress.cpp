// The terminal and the log file. This is the one source that includes spdlog, whose fmt is not that of torch: its
// target must not see torch's include folder.
#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string_view>

#include "grpo/error.h"
#include "grpo/metrics.h"

namespace grpo {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// A closed terminal must not end the run, so that errors pass.
void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

std::size_t terminal_columns(int descriptor) {
  struct winsize size {};
  return ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

constexpr std::string_view kClearLine = "\r\033[K";

}  // namespace

class Progress::Log {
 public:
  explicit Log(const std::filesystem::path& file) try : logger_("grpo", std::make_shared<Sink>(file.string())) {
    logger_.set_pattern("%Y-%m-%d %H:%M:%S  %v");
    logger_.flush_on(spdlog::level::info);
  } catch (const spdlog::spdlog_ex& error) {
    throw Error("metrics", file.string(), ": cannot open this log: ", error.what());
  }

  void write(const std::string& text) { logger_.log(spdlog::level::info, spdlog::string_view_t(text)); }

 private:
  using Sink = spdlog::sinks::basic_file_sink_mt;
  spdlog::logger logger_;
};

struct Progress::Stage {
  StepLine line;
  Lines lines;
  Eta eta;
  Clock::time_point began = Clock::now();
  Clock::time_point last_line = Clock::now();
};

Progress::Progress(const std::filesystem::path& log_file, int descriptor)
    : log_(std::make_unique<Log>(log_file)), descriptor_(descriptor), is_terminal_(::isatty(descriptor) == 1) {}

Progress::~Progress() { end(); }

void Progress::note(const std::string& text) { print(text); }

void Progress::begin(std::string label, int64_t total, int64_t done, Lines lines) {
  end();
  stage_ = std::make_unique<Stage>();
  stage_->line.label = std::move(label);
  stage_->line.total = total;
  stage_->line.step = done;
  stage_->lines = lines;
  draw_bar();
}

void Progress::step(int64_t done, NamedValues values, double seconds, NamedValues phases) {
  if (!stage_) throw Error("metrics", "expected begin() before step()");
  StepLine& line = stage_->line;
  line.step = done;
  line.values = std::move(values);
  line.seconds = seconds;
  line.phases = std::move(phases);
  line.elapsed = seconds_since(stage_->began);
  stage_->eta.add(seconds);
  line.eta = stage_->eta.remaining(line.total - done);

  constexpr double kSeldom = 10.0;  // seconds
  const bool is_due = seconds_since(stage_->last_line) >= kSeldom || done >= line.total;
  if (stage_->lines == Lines::each_step || (is_due && !is_terminal_)) {
    print(format_line(line));
  } else {
    if (is_due) log_->write(format_line(line));
    draw_bar();
  }
  if (is_due) stage_->last_line = Clock::now();
}

void Progress::end() {
  if (!stage_) return;
  if (is_terminal_) write_all(descriptor_, "\n");
  stage_.reset();
}

void Progress::print(const std::string& text) {
  log_->write(text);
  write_all(descriptor_, is_terminal_ ? std::string(kClearLine) + text + "\n" : text + "\n");
  draw_bar();
}

void Progress::draw_bar() {
  if (!is_terminal_ || !stage_) return;
  // One column stays free: a full last column makes some terminals wrap.
  write_all(descriptor_, std::string(kClearLine) + format_bar(stage_->line, terminal_columns(descriptor_) - 1));
}

}  // namespace grpo
