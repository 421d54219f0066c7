// Scores completions, or pairs of a reference and an answer, by the rules: each line comes back with `scores` and
// `verdict`.
//   score --rewards accuracy,format,language_consistency --in completions.jsonl --out scored.jsonl
#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "grpo/answer.h"
#include "grpo/config.h"
#include "grpo/error.h"
#include "grpo/json.h"
#include "grpo/reward.h"

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
      "reference "
      "and an answer");
    v("out", out, "JSONL: these lines with scores (an object by reward) and verdict added");
    v("rewards", rewards, "names of rewards, with commas between them");
    v("threads", threads, "threads; 0: one a core");
    v("scoring", scoring, "how the rewards score; the weights are not used");
  }
  void validate() const {
    if (in.empty() || out.empty())
      throw grpo::Error("config", "expected --in FILE.jsonl and --out FILE.jsonl (see --help)");
    if (threads < 0) throw grpo::Error("config", "threads: expected 0 or more, got ", threads);
  }
};

std::vector<std::string> split_names(const std::string& list) {
  std::vector<std::string> names;
  std::istringstream in(list);
  for (std::string name; std::getline(in, name, ',');)
    if (!name.empty()) names.push_back(name);
  if (names.empty()) throw grpo::Error("config", "rewards: expected names with commas between them, got \"", list, '"');
  return names;
}

// The text under `key`; a number counts as its text with all its digits, null and nothing as "".
std::string text_of(const Json& line, const char* key, const std::string& where) {
  const auto found = line.find(key);
  if (found == line.end() || found->is_null()) return {};
  if (found->is_string()) return found->get<std::string>();
  if (found->is_number()) return found->dump();
  throw grpo::Error("score", where, ": expected \"", key, "\" to be a text, got ",
                    found->dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 80));
}

class LineScorer {
 public:
  explicit LineScorer(const ScoreConfig& config)
      : names_(split_names(config.rewards)), config_(with_weights(config.scoring, names_)), scorer_(config_) {}

  /// The line with its scores and its verdict at its end, all else as it was. Called from several threads.
  std::string operator()(std::string_view text, const std::string& where, grpo::Verdict& verdict) const {
    grpo::JsonFault fault;
    Json line = grpo::read_json<Json>(text, grpo::LongNumbers::as_text, &fault);
    if (!line.is_object())
      throw grpo::Error("score", where, ": expected a JSON object, got ",
                        fault.malformed ? std::string(text.substr(0, 80)) : fault.problem);
    Json scores = Json::object();
    if (line.contains("completion")) {
      grpo::Task task{where, text_of(line, "prompt", where), text_of(line, "answer", where),
                      text_of(line, "kind", where), text_of(line, "language", where)};
      if (task.language.empty()) task.language = "en";  // as in a file of tasks
      grpo::Completion completion;
      completion.text = text_of(line, "completion", where);
      read_ids(line, completion, where);
      const grpo::Scores all = scorer_.score(task, completion);
      for (const std::string& name : names_) {
        const grpo::Score& score = all.at(name);
        scores[name] = score.defined() ? Json(score.value()) : Json(nullptr);
      }
      verdict = grpo::answer_verdict(task, completion, config_);
    } else if (line.contains("gold") && line.contains("pred")) {
      verdict = grpo::check_answer(text_of(line, "pred", where), text_of(line, "gold", where), config_.answers);
      scores["accuracy"] =
          verdict == grpo::Verdict::bad_reference ? Json(nullptr) : Json(verdict == grpo::Verdict::correct ? 1.0 : 0.0);
    } else {
      throw grpo::Error("score", where, ": expected \"completion\", or \"gold\" and \"pred\", got neither");
    }
    if (line.contains("scores") || line.contains("verdict")) {  // scored before
      line["scores"] = std::move(scores);
      line["verdict"] = grpo::enum_name(verdict);
      return line.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
    }
    std::string scored(text.substr(0, text.rfind('}')));
    scored.append(",\"scores\":").append(scores.dump());
    scored.append(",\"verdict\":\"").append(grpo::enum_name(verdict)).append("\"}\n");
    return scored;
  }

 private:
  static grpo::RewardsConfig with_weights(grpo::RewardsConfig config, const std::vector<std::string>& names) {
    config.weights.clear();
    for (const std::string& name : names) config.weights[name] = 1.0;
    config.threads = 1;
    return config;
  }

  // Rewards that look at the length need the tokens.
  void read_ids(const Json& line, grpo::Completion& completion, const std::string& where) const try {
    if (line.contains("completion_ids"))
      completion.tokens = line["completion_ids"].get<std::vector<int32_t>>();
    else if (std::ranges::count(names_, "overlong"))
      throw grpo::Error("score", where, ": expected \"completion_ids\" for the reward overlong, got none");
  } catch (const nlohmann::json::exception&) {
    throw grpo::Error("score", where, ": expected \"completion_ids\" to be a list of token ids");
  }

  std::vector<std::string> names_;
  grpo::RewardsConfig config_;
  grpo::Scorer scorer_;
};

/// The lines of a file, scored by several threads and written in their order.
class Run {
 public:
  Run(const ScoreConfig& config, const LineScorer& score)
      : config_(config), score_(score), in_(config.in, std::ios::binary) {
    if (!in_) throw grpo::Error("score", config.in, ": expected a JSONL file, got no such file");
    out_.open(config.out, std::ios::binary);
    if (!out_) throw grpo::Error("score", config.out, ": expected a file to write to, could not open it");
  }

  void operator()() {
    const std::size_t threads = config_.threads > 0 ? static_cast<std::size_t>(config_.threads)
                                                    : std::max(1u, std::thread::hardware_concurrency());
    {
      std::vector<std::jthread> others;
      for (std::size_t t = 1; t < threads; ++t) others.emplace_back([this] { work(); });
      work();
    }
    out_.close();
    if (failure_) std::rethrow_exception(failure_);
    if (!out_) throw grpo::Error("score", config_.out, ": could not write all of it; is the disk full?");
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    std::cerr << '\r' << total_ << " lines, "
              << static_cast<long>(static_cast<double>(total_) / std::max(seconds, 1e-9)) << " a second on " << threads
              << " threads:";
    for (std::size_t v = 0; v < verdicts_.size(); ++v)
      std::cerr << (v ? ", " : " ") << verdicts_[v] << ' ' << grpo::EnumNames<grpo::Verdict>::values[v].second;
    std::cerr << '\n';
  }

 private:
  using Counts = std::array<std::size_t, grpo::EnumNames<grpo::Verdict>::values.size()>;

  /// Reads a block of lines, scores them, waits for the blocks before it, and writes; until there are no more.
  void work() {
    constexpr std::size_t kLinesAtOnce = 256;
    std::vector<std::string> lines(kLinesAtOnce);
    std::string scored;
    while (true) {
      std::unique_lock lock(mutex_);
      if (failure_) return;
      const std::size_t block = next_block_++, first = read_;
      std::size_t count = 0;
      while (count < kLinesAtOnce && std::getline(in_, lines[count])) ++count;
      read_ += count;
      lock.unlock();
      Counts counts{};
      std::exception_ptr failure;
      scored.clear();
      try {
        for (std::size_t i = 0; i < count; ++i) {
          if (lines[i].find_first_not_of(" \t\r") == lines[i].npos) continue;
          grpo::Verdict verdict{};
          scored += score_(lines[i], config_.in + ':' + std::to_string(first + i + 1), verdict);
          ++counts[static_cast<std::size_t>(verdict)];
        }
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      turn_.wait(lock, [&] { return written_ == block; });
      if (!failure_) write(scored, counts);
      if (failure && !failure_) failure_ = failure;
      ++written_;
      turn_.notify_all();
      if (count == 0) return;
    }
  }

  void write(const std::string& scored, const Counts& counts) {
    out_ << scored;
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
  std::ifstream in_;
  std::ofstream out_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now(), told_ = start_;
  std::mutex mutex_;  // of all below, and of the files
  std::condition_variable turn_;
  std::size_t next_block_ = 0, read_ = 0, written_ = 0, total_ = 0;  // blocks, lines, blocks, lines
  Counts verdicts_{};
  std::exception_ptr failure_;
};

}  // namespace

int main(int argc, char** argv) try {
  const auto config = grpo::load_config<ScoreConfig>(argc, argv);
  const LineScorer score(config);
  Run run(config, score);
  run();
  return 0;
} catch (const std::exception& error) {
  return grpo::report(error);
}
