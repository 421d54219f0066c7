#include "grpo/step_log.h"

#include <nlohmann/json.hpp>
#include <string>
#include <system_error>

#include "base/files/durable_file.h"
#include "grpo/error.h"

namespace grpo {
namespace fs = std::filesystem;

template <class Writer>
std::unique_ptr<Writer> open_log(const fs::path& file, uint64_t offset, Progress& progress) {
  std::error_code error;
  const auto size = fs::file_size(file, error);
  const bool was_there = !error && size > 0;
  try {
    return std::make_unique<Writer>(file, offset);
  } catch (const Error& refused) {
    if (offset == 0) throw;
    std::string kept;
    if (was_there) {
      const fs::path aside = free_name(file);
      rename_durably("run", file, aside);
      kept = ", and what is left of it is in " + aside.string();
    }
    progress.note(std::string("warning: ") + refused.what() + "; it begins anew" + kept);
    return std::make_unique<Writer>(file);
  }
}

template std::unique_ptr<JsonlWriter> open_log(const fs::path&, uint64_t, Progress&);
template std::unique_ptr<EventWriter> open_log(const fs::path&, uint64_t, Progress&);

StepLog::StepLog(const fs::path& folder, Progress& progress, const Offsets& known) {
  fs::create_directories(folder);
  metrics_ = open_log<JsonlWriter>(folder / "metrics.jsonl", known.metrics, progress);
  events_ = open_log<EventWriter>(folder / "events.out.tfevents.grpo", known.events, progress);
}

StepLog::Offsets StepLog::sync() {
  metrics_->sync(), events_->sync();
  return {metrics_->offset(), events_->offset()};
}

}  // namespace grpo
