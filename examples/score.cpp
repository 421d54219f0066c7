// Scores completions, or pairs of a reference and an answer, by the rules: each line comes back with `scores` and
// `verdict`.
//   score --rewards accuracy,format,language_consistency --in completions.jsonl --out scored.jsonl
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <exception>
#include <fstream>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "grpo/answer.h"
#include "grpo/config.h"
#include "grpo/error.h"
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
      "JSONL: completion, and optionally prompt, answer, kind, language, completion_ids; or gold and pred, a reference "
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

// The text under `key`; a number counts as its text, null and nothing as "".
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

  /// The line with its scores and its verdict. Called from several threads.
  Json operator()(Json line, const std::string& where) const {
    grpo::Verdict verdict;
    Json scores = Json::object();
    if (line.contains("completion")) {
      const grpo::Task task{where, text_of(line, "prompt", where), text_of(line, "answer", where),
                            text_of(line, "kind", where), text_of(line, "language", where)};
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
    line["scores"] = std::move(scores);
    line["verdict"] = grpo::enum_name(verdict);
    return line;
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

struct Numbered {
  std::string text;
  std::size_t number;
};

}  // namespace

int main(int argc, char** argv) try {
  const auto config = grpo::load_config<ScoreConfig>(argc, argv);
  const LineScorer score(config);
  std::ifstream in(config.in, std::ios::binary);
  if (!in) throw grpo::Error("score", config.in, ": expected a JSONL file, got no such file");
  std::ofstream out(config.out, std::ios::binary);
  if (!out) throw grpo::Error("score", config.out, ": expected a file to write to, could not open it");

  const std::size_t threads =
      config.threads > 0 ? static_cast<std::size_t>(config.threads) : std::max(1u, std::thread::hardware_concurrency());
  constexpr std::size_t kLinesAtOnce = 8192;
  std::array<std::size_t, grpo::EnumNames<grpo::Verdict>::values.size()> verdicts{};
  const auto start = std::chrono::steady_clock::now();
  auto told = start;
  std::size_t number = 0, total = 0;
  for (bool more = true; more;) {
    std::vector<Numbered> lines;
    for (std::string text; lines.size() < kLinesAtOnce && (more = static_cast<bool>(std::getline(in, text)));) {
      ++number;
      if (text.find_first_not_of(" \t\r") != std::string::npos) lines.push_back({std::move(text), number});
    }
    std::atomic<std::size_t> next = 0;
    std::mutex mutex;
    std::exception_ptr failure;
    const auto work = [&] {
      std::array<std::size_t, verdicts.size()> counts{};
      try {
        for (std::size_t i; (i = next++) < lines.size();) {
          const std::string where = config.in + ':' + std::to_string(lines[i].number);
          Json line = Json::parse(lines[i].text, nullptr, false);
          if (!line.is_object())
            throw grpo::Error("score", where, ": expected a JSON object, got ", lines[i].text.substr(0, 80));
          line = score(std::move(line), where);
          for (std::size_t v = 0; v < counts.size(); ++v)
            counts[v] += line["verdict"] == grpo::EnumNames<grpo::Verdict>::values[v].second;
          lines[i].text = line.dump(-1, ' ', false, Json::error_handler_t::replace);
        }
      } catch (...) {
        std::lock_guard lock(mutex);
        failure = std::current_exception();
        next = lines.size();
      }
      std::lock_guard lock(mutex);
      for (std::size_t v = 0; v < counts.size(); ++v) verdicts[v] += counts[v];
    };
    {
      std::vector<std::jthread> others;
      for (std::size_t t = 1; t < threads; ++t) others.emplace_back(work);
      work();
    }
    if (failure) std::rethrow_exception(failure);
    for (const Numbered& line : lines) out << line.text << '\n';
    total += lines.size();
    if (const auto now = std::chrono::steady_clock::now(); now - told > std::chrono::milliseconds(500)) {
      std::cerr << '\r' << total << " lines" << std::flush;
      told = now;
    }
  }
  out.close();
  if (!out) throw grpo::Error("score", config.out, ": could not write all of it; is the disk full?");
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::cerr << "\r" << total << " lines, " << static_cast<long>(static_cast<double>(total) / std::max(seconds, 1e-9))
            << " a second on " << threads << " threads:";
  for (std::size_t v = 0; v < verdicts.size(); ++v)
    std::cerr << (v ? ", " : " ") << verdicts[v] << ' ' << grpo::EnumNames<grpo::Verdict>::values[v].second;
  std::cerr << '\n';
  return 0;
} catch (const std::exception& error) {
  return grpo::report(error);
}
