#include "grpo/run.h"

#include <ATen/Context.h>
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>

#include "durable_file.h"
#include "grpo/error.h"
#include "grpo/evaluate.h"

namespace grpo {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Json number(double x) { return std::isfinite(x) ? Json(x) : Json(nullptr); }

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

fs::path free_name(const fs::path& folder) {
  for (int i = 1;; ++i)
    if (fs::path candidate = folder.string() + "." + std::to_string(i); !fs::exists(candidate)) return candidate;
}

}  // namespace

Stopwatch::Stopwatch() : nanoseconds_(now()) {}

double Stopwatch::lap() {
  const int64_t before = nanoseconds_;
  nanoseconds_ = now();
  return static_cast<double>(nanoseconds_ - before) / 1e9;
}

at::Device open_device(const std::string& name) {
  at::Device device(at::kCPU);
  try {
    device = at::Device(name);
  } catch (const std::exception&) {
    throw Error("config", "device: expected \"cpu\", \"cuda\" or \"cuda:N\", got \"", name, '"');
  }
  if (device.is_cuda()) {
    // Loaded only on demand: on a machine without a GPU it would cost a second and hundreds of megabytes for nothing.
    if (!dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL))
      throw Error("config", "device: cannot load libtorch_cuda.so: ", dlerror());
    if (!at::hasCUDA()) throw Error("config", "device: expected a CUDA device, found none; use --device cpu");
  } else if (!device.is_cpu()) {
    throw Error("config", "device: expected \"cpu\", \"cuda\" or \"cuda:N\", got \"", name, '"');
  }
  return device;
}

Run::Run(const RunConfig& config, const Json& resolved, const std::string& name)
    : config_(config),
      folder_(config.out),
      command_(name),
      save_every_(std::max(1, config.save_every)),
      signal_(std::make_shared<StopSignal>()) {
  if (config.out.empty()) throw Error("config", "out: expected a folder, got \"\"");
  if (!folder_.has_filename()) folder_ = folder_.parent_path();  // "runs/zero/" is "runs/zero"
  std::string moved;
  if (!config.resume && (fs::exists(folder_ / "config.json") || !list_checkpoints(folder_).empty())) {
    const fs::path aside = free_name(folder_);
    std::error_code error;
    fs::rename(folder_, aside, error);
    if (error)
      throw Error("run", "cannot move the run that is in ", folder_.string(), " to ", aside.string(), ": ",
                  error.message());
    moved = "the run that was in " + folder_.string() + " is now in " + aside.string();
  }
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) throw Error("run", "cannot make the folder ", folder_.string(), ": ", error.message());
  progress_ = std::make_shared<Progress>(folder_ / "log.txt");
  if (!moved.empty()) progress_->note(moved);
  if (config.resume && fs::exists(folder_ / "config.json")) {
    std::ifstream file(folder_ / "config.json");
    const Json before = Json::parse(file, nullptr, false).flatten(), after = resolved.flatten();
    for (const auto& [key, value] : after.items())
      if (key != "/resume" && key != "/out" && before.contains(key) && before.at(key) != value)
        progress_->note("resuming with a changed " + key.substr(1) + ": " + before.at(key).dump() + " → " +
                        value.dump());
  }
  write("config.json", resolved);
}

Run Run::stage(const std::string& name, const Json& resolved) const {
  Run stage;
  stage.config_ = config_;
  stage.config_.resume = true;
  stage.is_stage_ = true;
  stage.folder_ = folder_ / name;
  stage.command_ = command_;
  stage.save_every_ = save_every_;
  stage.signal_ = signal_;
  stage.progress_ = progress_;
  std::error_code error;
  fs::create_directories(stage.folder_, error);
  if (error) throw Error("run", "cannot make the folder ", stage.folder_.string(), ": ", error.message());
  stage.write("config.json", resolved);
  return stage;
}

void Run::write(const std::string& file, const Json& value) const {
  const fs::path target = folder_ / file, temporary = folder_ / (".tmp-" + file);
  {
    std::ofstream out(temporary);
    out << value.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
    if (!out.flush()) throw Error("run", "cannot write ", temporary.string());
  }
  std::error_code error;
  fs::rename(temporary, target, error);
  if (error) throw Error("run", "cannot write ", target.string(), ": ", error.message());
}

std::optional<CheckpointContents> Run::resume() {
  std::optional<CheckpointContents> found;
  if (config_.resume) {
    auto folders = list_checkpoints(folder_);
    std::string damage;
    for (auto folder = folders.rbegin(); folder != folders.rend() && !found; ++folder) try {
        found = read_checkpoint(*folder);
        progress_->note("resuming from " + folder->string());
      } catch (const Error& error) {
        damage = error.what();
        progress_->note(std::string("passed over: ") + error.what());
      }
    if (!found && !damage.empty())
      throw Error("run", "no whole checkpoint to resume from in ", folder_.string(), "; start over without --resume (",
                  damage, ")");
    if (!found && !is_stage_)
      progress_->note("nothing to resume from in " + folder_.string() + ": starting at the beginning");
  }
  const auto offset = [&](const char* key) {
    return found ? std::optional<uint64_t>(found->state.at(key).get<uint64_t>()) : std::nullopt;
  };
  metrics_ = std::make_unique<JsonlWriter>(folder_ / "metrics.jsonl", offset("metrics_offset"));
  samples_ = std::make_unique<JsonlWriter>(folder_ / "samples.jsonl", offset("samples_offset"));
  events_ = std::make_unique<EventWriter>(folder_ / "events.out.tfevents.grpo", offset("events_offset"));
  if (found)
    for (const char* key : {"metrics_offset", "samples_offset", "events_offset"}) found->state.erase(key);
  return found;
}

void Run::save(int64_t step, CheckpointContents contents) {
  metrics_->sync();
  samples_->sync();
  events_->sync();
  contents.state["metrics_offset"] = metrics_->offset();
  contents.state["samples_offset"] = samples_->offset();
  contents.state["events_offset"] = events_->offset();
  write_checkpoint(folder_, step, contents, config_.keep);
}

int Run::stopped() {
  progress_->end();
  progress_->note("stopped and saved; to go on: " + command_ + " --resume --out " + folder_.string() +
                  " with the same configuration");
  return 130;
}

void Run::write_metrics(int64_t step, const Json& line) {
  metrics_->write(line);
  NamedValues scalars;
  for (const auto& [name, value] : line.items())
    if (value.is_number() && name != "step") scalars.emplace_back(name, value.get<double>());
  const double since_1970 = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  events_->write(step, since_1970, scalars);
}

void Run::record(int64_t step, const NamedValues& values, const NamedValues& shown, double seconds) {
  Json line{{"step", step}};
  for (const auto& [name, value] : values) line[name] = number(value);
  write_metrics(step, line);
  progress_->step(step, shown, seconds);
}

void Run::record(int64_t step, const std::vector<Group>& groups, const UpdateReport& report,
                 const RolloutStats& rollout, const StepTimes& times, const NamedValues& more) {
  const Evaluation figures = summarize(groups);
  double reward = 0;
  int64_t rewarded = 0, flat = 0;
  struct Total {
    double sum = 0;
    int64_t defined = 0, undefined = 0;
  };
  std::map<std::string, Total> by_name;
  for (const Group& group : groups) {
    flat += has_signal(group) ? 0 : 1;
    for (size_t i = 0; i < group.completions.size(); ++i) {
      if (std::isfinite(group.rewards[i])) reward += group.rewards[i], ++rewarded;
      for (const auto& [name, score] : group.scores[i]) {
        Total& total = by_name[name];
        ++(score.defined() ? total.defined : total.undefined);
        if (score.defined()) total.sum += score.value();
      }
    }
  }
  const auto ratio = [](double a, double b) { return b > 0 ? a / b : std::nan(""); };
  Json line{{"step", step}, {"reward", number(ratio(reward, static_cast<double>(rewarded)))}};
  for (const auto& [name, total] : by_name)
    line["reward/" + name] = number(ratio(total.sum, static_cast<double>(total.defined)));
  for (const auto& [name, total] : by_name)
    line["undefined/" + name] = total.undefined;  // a failing sandbox shows here
  line.update({{"accuracy", number(figures.pass_at_1)},
               {"format", number(figures.format)},
               {"language_consistency", number(figures.language_consistency)},
               {"mixed_traces", number(figures.mixed_traces)},
               {"completion_length", number(figures.completion_length)},
               {"reflection_rate", number(figures.reflection_rate)},
               {"truncated", number(figures.truncated)},
               {"groups", groups.size()},
               {"flat_groups", flat},
               {"loss", number(report.loss)},
               {"entropy", number(report.entropy)},
               {"kl", report.kl ? number(*report.kl) : Json(nullptr)},
               {"ratio_deviation", number(report.ratio_deviation)},
               {"mismatch_kl", number(report.mismatch_kl)},
               {"clip_fraction", number(report.clip_fraction)},
               {"grad_norm", number(report.grad_norm)},
               {"learning_rate", number(report.learning_rate)},
               {"skipped_updates", report.skipped_updates},
               {"expert_load_max", number(report.expert_load_max)},
               {"preemptions", rollout.preemptions},
               {"tokens_per_second", number(ratio(static_cast<double>(rollout.completion_tokens), times.total()))},
               {"seconds/rollout", times.rollout},
               {"seconds/reward", times.reward},
               {"seconds/train", times.train}});
  for (const auto& [name, value] : more) line[name] = number(value);
  write_metrics(step, line);
  for (const auto& [g, i] : notebook_samples(groups, config_.notebook)) {
    const Group& group = groups[g];
    const Completion& completion = group.completions[i];
    Json scores;
    for (const auto& [name, score] : group.scores[i])
      scores[name] = score.defined() ? Json(score.value()) : Json(nullptr);
    samples_->write({{"step", step},
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
                     {"scores", scores},
                     {"reward", number(group.rewards[i])},
                     {"advantage", number(i < group.advantages.size() ? group.advantages[i] : std::nan(""))}});
  }
  for (const std::string& why : report.skipped) progress_->note("update skipped: " + why);
  for (const std::string& warning : report.warnings) progress_->note("warning: " + warning);
  progress_->step(step,
                  {{"reward", ratio(reward, static_cast<double>(rewarded))},
                   {"accuracy", figures.pass_at_1},
                   {"format", figures.format},
                   {"length", figures.completion_length},
                   {"reflect", figures.reflection_rate}},
                  times.total(), {{"roll", times.rollout}, {"score", times.reward}, {"train", times.train}});
}

}  // namespace grpo
