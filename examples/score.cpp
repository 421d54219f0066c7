// Scores completions, or pairs of a reference and an answer, by the rules: each line comes back with `scores` and
// `verdict`, and with `reason` where a program failed.
//   score --rewards accuracy,format,language_consistency --in completions.jsonl --out scored.jsonl
#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "grpo/answer.h"
#include "grpo/code.h"
#include "grpo/config.h"
#include "grpo/error.h"
#include "grpo/json.h"
#include "grpo/reward.h"
#include "grpo/stop.h"
#include "lines.h"

namespace {

using Json = nlohmann::ordered_json;

struct ScoreConfig {
  std::string in, out, rewards = "accuracy,format,language_consistency";
  int threads = 0;
  grpo::RewardsConfig scoring;

  ScoreConfig() { scoring.accuracy_needs_format = false; }

  template <class V>
  void visit(V& v) {
    v("in", in,
      "JSONL: completion, and optionally prompt, answer, kind, language (en), completion_ids; or gold and pred, a "
      "reference and an answer. \"-\" is standard input");
    v("out", out,
      "JSONL: these lines with scores (an object by reward) and verdict added, and the reason why a program "
      "failed. \"-\" is standard output");
    v("rewards", rewards, "names of rewards, with commas between them");
    v("threads", threads, "threads; 0: one a core", grpo::at_least(0).at_most(1024));
    v("scoring", scoring, "how the rewards score; the weights are not used");
  }
  void validate() const {
    if (in.empty() || out.empty())
      throw grpo::Error("config", "expected --in FILE.jsonl and --out FILE.jsonl (see --help)");
  }
};

std::vector<std::string> split_names(const std::string& list) {
  std::vector<std::string> names;
  std::istringstream in(list);
  for (std::string name; std::getline(in, name, ',');) {
    std::erase(name, ' ');
    if (!name.empty()) names.push_back(name);
  }
  if (names.empty()) throw grpo::Error("config", "rewards: expected names with commas between them, got \"", list, '"');
  const std::vector<std::string> known = grpo::registered_rewards();
  for (const std::string& name : names) {
    if (name == "helpful" || name == "harmless")
      throw grpo::Error("config", "rewards: expected rewards that rules decide, got ", name, ", which takes a judge");
    if (std::ranges::count(known, name)) continue;
    std::string all;
    for (const std::string& each : known) all += (all.empty() ? "" : ", ") + each;
    throw grpo::Error("config", "rewards: expected some of ", all, ", got \"", name, '"');
  }
  return names;
}

// The text under `key`; a number counts as its text with all its digits, null and nothing as "".
std::string text_of(const Line& line, const char* key) {
  const auto found = line.json.find(key);
  if (found == line.json.end() || found->is_null()) return {};
  if (found->is_string()) return found->get<std::string>();
  if (found->is_number()) return found->dump();
  line.refuse(key, "a text");
}

class LineScorer {
 public:
  explicit LineScorer(const ScoreConfig& config)
      : names_(split_names(config.rewards)), config_(for_names(config.scoring, names_)), scorer_(config_, "scoring") {
    if (std::ranges::count(names_, "code")) code_.emplace(config.scoring.code);
  }

  /// The line with its scores and its verdict at its end, and why a program failed; all else as it was. Called from
  /// several threads.
  std::string operator()(std::string_view text, const std::string& where, grpo::Verdict& verdict) const {
    const Line line = parse_line(text, where);
    std::string members, reason;  // written by hand: many a line costs no more than that
    if (line.has("completion")) {
      Json scores = Json::object();
      score_completion(line, scores, reason, verdict);
      members = "\"scores\":" + scores.dump();
    } else if (line.has("gold") && line.has("pred")) {
      verdict = grpo::check_answer(text_of(line, "pred"), text_of(line, "gold"), config_.answers);
      members = verdict == grpo::Verdict::bad_reference ? R"("scores":{"accuracy":null})"
                : verdict == grpo::Verdict::correct     ? R"("scores":{"accuracy":1.0})"
                                                        : R"("scores":{"accuracy":0.0})";
    } else {
      throw grpo::Error("score", where, ": expected \"completion\", or \"gold\" and \"pred\", got neither");
    }
    members.append(R"(,"verdict":")").append(grpo::enum_name(verdict)) += '"';
    if (!reason.empty())
      members += ",\"reason\":" + Json(reason).dump(-1, ' ', false, Json::error_handler_t::replace);
    constexpr std::string_view kOwn[] = {"scores", "verdict", "reason"};
    const bool again = line.has("scores") || line.has("verdict");  // scored before: the reason is of that, too
    return line.with_written(members, std::span(kOwn).first(again || !reason.empty() ? 3 : 2));
  }

 private:
  void score_completion(const Line& line, Json& scores, std::string& reason, grpo::Verdict& verdict) const {
    grpo::Task task{line.where, text_of(line, "prompt"), text_of(line, "answer"), text_of(line, "kind"),
                    text_of(line, "language")};
    if (task.language.empty()) task.language = "en";  // as in a file of tasks
    task.where = line.where;
    tell_of_kind(task);
    grpo::Completion completion;
    completion.text = text_of(line, "completion");
    read_ids(line, completion);
    grpo::Scores all = scorer_.score(task, completion);
    verdict = grpo::answer_verdict(task, completion, config_);
    if (code_) {
      const auto ran = run_program(task, completion);
      all.insert_or_assign("code", code_->score(ran));
      reason = ran ? ran->reason()
                   : "no program is asked for: expected \"kind\" to be \"code\" and \"answer\" the tests";
    }
    for (const std::string& name : names_) scores[name] = grpo::json_of(all.at(name));
    // Where another reward than accuracy reads the reference, it has the verdict.
    const auto reader = all.find(task.kind);
    if ((task.kind == "code" || task.kind == "instructions" || task.kind == "regex") && reader != all.end())
      verdict = !reader->second.defined()      ? grpo::Verdict::bad_reference
                : reader->second.value() >= 1.0 ? grpo::Verdict::correct
                                                : grpo::Verdict::wrong;
  }

  // Of each kind that nobody knows once.
  void tell_of_kind(const grpo::Task& task) const {
    if (task.kind.empty()) return;
    const std::lock_guard lock(telling_);
    if (!told_.insert(task.kind).second) return;
    for (const std::string& warning : grpo::unknown_kinds({task})) std::cerr << "warning: " << warning << std::endl;
  }

  std::optional<grpo::CodeVerdict> run_program(const grpo::Task& task, const grpo::Completion& completion) const try {
    return code_->verdict(task, completion);
  } catch (const grpo::Error& error) {
    throw grpo::Error("score", task.id, ": ", grpo::reason_of(error));
  }

  // What the scorer computes: programs are run here, which also tells why one fails.
  static grpo::RewardsConfig for_names(grpo::RewardsConfig config, const std::vector<std::string>& names) {
    config.weights = {{"accuracy", 1.0}};  // which is computed anyhow
    for (const std::string& name : names)
      if (name != "code") config.weights[name] = 1.0;
    config.by_kind.clear();
    config.threads = 1;
    return config;
  }

  // Rewards that look at the length need the tokens.
  void read_ids(const Line& line, grpo::Completion& completion) const {
    if (line.has("completion_ids"))
      completion.tokens = line.get<std::vector<int32_t>>("completion_ids");
    else if (std::ranges::count(names_, "overlong"))
      throw grpo::Error("score", line.where, ": expected \"completion_ids\" for the reward overlong, got none");
  }

  std::vector<std::string> names_;
  grpo::RewardsConfig config_;
  grpo::Scorer scorer_;
  std::optional<grpo::CodeChecker> code_;
  mutable std::mutex telling_;
  mutable std::set<std::string> told_;  // kinds
};

/// The lines of a file, scored by several threads and written in their order.
class Run {
 public:
  Run(const ScoreConfig& config, const LineScorer& score)
      : config_(config), score_(score), in_(config.in), out_(config.out, {config.in}) {}

  /// The status to exit with.
  int operator()() {
    const std::size_t threads = config_.threads > 0 ? static_cast<std::size_t>(config_.threads)
                                                    : std::max(1u, std::thread::hardware_concurrency());
    {
      std::vector<std::jthread> others;
      for (std::size_t t = 1; t < threads; ++t) others.emplace_back([this] { work(); });
      work();
    }
    try {
      if (failure_) std::rethrow_exception(failure_);
    } catch (const grpo::Interrupted&) {
      std::cerr << "\rstopped after " << total_ << " lines";
      return stop_.exit_status();
    }
    out_.finish();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    std::cerr << '\r' << total_ << " lines, "
              << static_cast<long>(static_cast<double>(total_) / std::max(seconds, 1e-9)) << " a second on " << threads
              << " threads:";
    for (std::size_t v = 0; v < verdicts_.size(); ++v)
      std::cerr << (v ? ", " : " ") << verdicts_[v] << ' ' << grpo::EnumNames<grpo::Verdict>::values[v].second;
    std::cerr << '\n';
    return 0;
  }

 private:
  using Counts = std::array<std::size_t, grpo::EnumNames<grpo::Verdict>::values.size()>;

  /// Reads a block of lines, scores them, waits for the blocks before it, and writes; until there are no more.
  void work() {
    constexpr std::size_t kLinesAtOnce = 256;
    std::vector<std::string> lines(kLinesAtOnce), places(kLinesAtOnce);
    std::string scored;
    while (true) {
      std::unique_lock lock(mutex_);
      if (failure_) return;
      const std::size_t block = next_block_++;
      std::size_t count = 0;
      std::exception_ptr failure;
      try {
        while (count < kLinesAtOnce && in_.next(lines[count], places[count])) ++count;
      } catch (...) {
        failure = std::current_exception();
      }
      lock.unlock();
      Counts counts{};
      scored.clear();
      try {
        for (std::size_t i = 0; i < count && !failure; ++i) {
          grpo::Verdict verdict{};
          const std::string line = score_(lines[i], places[i], verdict);
          stop_.check();  // Ctrl-C ends sandboxes, too: what came of one then is nothing
          scored += line;
          ++counts[static_cast<std::size_t>(verdict)];
        }
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      turn_.wait(lock, [&] { return written_ == block; });
      try {
        if (!failure_) write(scored, counts);
      } catch (...) {
        if (!failure) failure = std::current_exception();
      }
      if (failure && !failure_) failure_ = failure;
      ++written_;
      turn_.notify_all();
      if (count == 0) return;
    }
  }

  void write(const std::string& scored, const Counts& counts) {
    out_.write_lines(scored);
    for (std::size_t v = 0; v < counts.size(); ++v) {
      verdicts_[v] += counts[v];
      total_ += counts[v];
    }
    if (const auto now = std::chrono::steady_clock::now(); now - told_ > std::chrono::milliseconds(500)) {
      std::cerr << '\r' << total_ << " lines" << std::flush;
      told_ = now;
    }
  }

  const ScoreConfig& config_;
  const LineScorer& score_;
  const grpo::StopSignal stop_;
  LineReader in_;
  LineWriter out_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now(), told_ = start_;
  std::mutex mutex_;  // of all below, and of the files
  std::condition_variable turn_;
  std::size_t next_block_ = 0, written_ = 0, total_ = 0;  // blocks, blocks, lines
  Counts verdicts_{};
  std::exception_ptr failure_;
};

}  // namespace

int main(int argc, char** argv) try {
  grpo::GivenKeys given;
  const auto config = grpo::load_config<ScoreConfig>(argc, argv, &given);
  for (const std::string& key : given)
    if (key.starts_with("scoring.weights") || key.starts_with("scoring.by_kind") || key == "scoring.threads")
      throw grpo::Error("config", key, ": expected none; --rewards says what is computed, --threads how");
  const LineScorer score(config);
  return Run(config, score)();
} catch (const std::exception& error) {
  return grpo::report(error);
}
