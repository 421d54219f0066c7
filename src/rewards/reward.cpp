// Rewards by name, the pool that evaluates them, and their sum.
#include "grpo/reward.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <limits>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stop_token>
#include <thread>
#include <tuple>
#include <unordered_map>

#include "base/nearest.h"
#include "base/thread_room.h"
#include "grpo/code.h"
#include "grpo/verifiable.h"
#include "rewards/built_in.h"
#include "rewards/worked_out.h"

namespace grpo {
namespace {

constexpr std::string_view kAlwaysEvaluated[] = {"accuracy", "format", "language_consistency"};

// ---- Built-in rewards -----------------------------------------------------------------------------------------------

BuiltInReward built_in(Reward reward) {
  return [reward = std::move(reward)](const Task& task, const Completion& completion, const Scores&) {
    return reward(task, completion);
  };
}

BuiltInReward make_accuracy(const RewardsConfig& config) {
  return [config](const Task& task, const Completion& completion, const Scores&) -> Score {
    const Verdict verdict = answer_verdict(task, completion, config);
    if (verdict == Verdict::bad_reference) return Score::undefined();
    return verdict == Verdict::correct ? 1.0 : 0.0;
  };
}

BuiltInReward make_format(const RewardsConfig&) {
  // The Scorer has read the form: bodies of valid text are never empty.
  return [](const Task&, const Completion& completion, const Scores&) -> Score {
    return completion.answer.empty() ? 0.0 : 1.0;
  };
}

BuiltInReward make_language_consistency(const RewardsConfig&) {
  return [](const Task& task, const Completion& completion, const Scores&) {
    // Text in a broken form is read whole; else breaking the form would be a way around this reward.
    return language_consistency(completion.reasoning.empty() ? completion.text : completion.reasoning, task.language);
  };
}

BuiltInReward make_overlong(const RewardsConfig& config) {
  return [limit = config.overlong_max_length, buffer = config.overlong_buffer](
             const Task&, const Completion& completion, const Scores&) -> Score {
    return overlong_penalty(static_cast<std::int64_t>(completion.tokens.size()), limit, buffer);
  };
}

BuiltInReward make_code(const RewardsConfig& config) { return built_in(code_reward(config.code)); }

// Filled in by a Judge, once the group is whole.
BuiltInReward make_judged(const RewardsConfig&) {
  return [](const Task&, const Completion&, const Scores&) { return Score::undefined(); };
}

// ---- Registry -------------------------------------------------------------------------------------------------------

struct Registered {
  std::function<BuiltInReward(const RewardsConfig&)> make;
  bool is_own = false;  // of the user, who alone knows what it reads
};

struct Registry {
  Registry() {
    for (const auto& [name, make] : text_rewards()) rewards.emplace(name, Registered{make});
  }

  std::mutex mutex;
  std::map<std::string, Registered, std::less<>> rewards{
      {"accuracy", {make_accuracy}}, {"code", {make_code}},      {"format", {make_format}},
      {"harmless", {make_judged}},   {"helpful", {make_judged}}, {"language_consistency", {make_language_consistency}},
      {"overlong", {make_overlong}}};
};

Registry& registry() {
  static Registry registry;
  return registry;
}

Registered find_reward(const std::string& name, const std::string& key) {
  {
    std::lock_guard lock(registry().mutex);
    const auto found = registry().rewards.find(name);
    if (found != registry().rewards.end()) return found->second;
  }
  throw Error("reward", key, ": expected a registered reward, got \"", name, "\"; did you mean \"",
              nearest(name, registered_rewards()),
              "\"? A reward of your own is registered with register_reward before the Scorer is built");
}

/// Whether another reward than accuracy reads the answers of tasks of this kind.
bool is_read_elsewhere(std::string_view kind) { return kind == "code" || kind == "instructions" || kind == "regex"; }

/// Why no task that was looked at can earn a reward.
std::string_view missing_for(std::string_view reward) {
  if (reward == "helpful" || reward == "harmless") return "it takes a judge, and there is none";
  if (reward == "code") return "no task has the kind \"code\" and tests as its answer";
  if (reward == "language_consistency") return "no task has a language";
  if (reward == "accuracy" || reward == "length")
    return "no task has an answer that it reads; those of the kinds code, instructions and regex have rewards of "
           "these names";
  return "no task has an answer";
}

}  // namespace

Verdict answer_verdict(const Task& task, const Completion& completion, const RewardsConfig& config) {
  if (task.answer.empty() || is_read_elsewhere(task.kind)) return Verdict::bad_reference;
  std::vector<std::string> answers;
  if (!completion.answer.empty())
    answers.push_back(completion.answer);
  else if (!config.accuracy_needs_format)
    answers = final_answer(completion.text, {.think_open = config.think_open, .last_box = config.answers.last_box});
  const auto verdict_of = [&](std::string_view answer) {
    const auto as_verdict = [](bool right) { return right ? Verdict::correct : Verdict::wrong; };
    if (const auto solved = check_verifiable(task.kind, answer, task.answer)) return as_verdict(*solved);
    if (task.kind == "countdown") return as_verdict(check_countdown(answer, task.answer));
    if (task.kind == "choice") {
      const char right = chosen_letter(task.answer);
      return right == '\0' ? Verdict::bad_reference : as_verdict(chosen_letter(answer) == right);
    }
    const Verdict verdict = check_answer(answer, task.answer, config.answers);
    const bool is_arithmetic = task.kind == "arithmetic";
    return verdict == Verdict::correct && (is_arithmetic || task.kind.empty()) &&
                   !is_worked_out(answer, task.answer) && (is_arithmetic || is_echo(answer, task.answer, task.prompt))
               ? Verdict::wrong
               : verdict;
  };
  if (answers.empty())  // a bad reference shows whatever the model wrote
    return verdict_of("") == Verdict::bad_reference ? Verdict::bad_reference : Verdict::unparseable;
  for (const std::string& answer : answers)  // several are right only if all of them are
    if (const Verdict verdict = verdict_of(answer); verdict != Verdict::correct) return verdict;
  return Verdict::correct;
}

void register_reward(std::string name, Reward reward) {
  if (name.empty()) throw Error("reward", "expected a name for the reward, got \"\"");
  if (!reward) throw Error("reward", "expected a function for the reward \"", name, "\", got an empty one");
  std::lock_guard lock(registry().mutex);
  registry().rewards.insert_or_assign(
      std::move(name),
      Registered{[reward = built_in(std::move(reward))](const RewardsConfig&) { return reward; }, /*is_own=*/true});
}

std::vector<std::string> registered_rewards() {
  std::lock_guard lock(registry().mutex);
  std::vector<std::string> names;
  for (const auto& [name, registered] : registry().rewards) names.push_back(name);
  return names;
}

std::vector<std::string> unknown_kinds(const std::vector<Task>& tasks, const std::vector<std::string>& own) {
  static const std::vector<std::string> kKnown{
      "arithmetic", "choice",  "code",  "countdown", "graph_colouring", "instructions", "knights_knaves",
      "n_queens",   "refusal", "regex", "sentence",  "sorting",         "sudoku",       "summary"};
  std::map<std::string_view, std::pair<const Task*, std::size_t>> unknown;
  for (const Task& task : tasks)
    if (!task.kind.empty() && !std::ranges::count(kKnown, task.kind) && !std::ranges::count(own, task.kind))
      ++unknown.try_emplace(task.kind, &task, 0).first->second.second;
  std::vector<std::string> told;
  for (const auto& [kind, found] : unknown) {
    std::string line = found.first->name() + ": unknown kind \"" + std::string(kind) + '"' +
                       (found.second == 1 ? "" : " (" + std::to_string(found.second) + " tasks)") +
                       ": answers are read as mathematics or text; did you mean \"" + nearest(kind, kKnown) +
                       "\"? Known are";
    for (const std::string& each : kKnown) line += (&each == kKnown.data() ? " " : ", ") + each;
    told.push_back(std::move(line));
  }
  return told;
}

void RewardsConfig::validate() const {
  const auto check = [](const std::map<std::string, double>& weights, const std::string& where) {
    bool counts = false;
    for (const auto& [name, weight] : weights) counts |= weight != 0;
    if (!counts) throw Error("reward", where, ": expected a weight other than 0, got none");
  };
  check(weights, "weights");
  for (auto each = by_kind.begin(); each != by_kind.end(); ++each) {
    check(each->weights, "by_kind." + std::to_string(each - by_kind.begin()) + ".weights");
    if (std::any_of(by_kind.begin(), each, [&](const KindWeights& other) { return other.kind == each->kind; }))
      throw Error("reward", "by_kind: expected each kind once, got \"", each->kind, "\" again");
  }
  const bool overlong = weights.contains("overlong") ||
                        std::any_of(by_kind.begin(), by_kind.end(),
                                    [](const KindWeights& each) { return each.weights.contains("overlong"); });
  if (overlong && (overlong_buffer <= 0 || overlong_buffer > overlong_max_length))
    throw Error("reward", "overlong_buffer: expected above 0 and at most overlong_max_length, got ", overlong_buffer,
                " and ", overlong_max_length, "; the reward overlong needs both");
}

const std::map<std::string, double>& RewardsConfig::weights_of(std::string_view kind) const {
  for (const KindWeights& each : by_kind)
    if (each.kind == kind) return each.weights;
  return weights;
}

double overlong_penalty(std::int64_t length, std::int64_t max_length, std::int64_t buffer) {
  const std::int64_t allowed = max_length - buffer;
  if (length <= allowed) return 0.0;
  if (length > max_length) return -1.0;
  return static_cast<double>(allowed - length) / static_cast<double>(buffer);
}

void combine(Group& group, const RewardsConfig& config) {
  const std::size_t samples = group.scores.size();
  std::vector<bool> has_reward(samples, false);
  std::vector<double> sums(samples, 0.0);
  group.weights = config.weights_of(group.task.kind);
  for (const auto& [name, weight] : group.weights) {
    if (weight == 0) continue;
    std::vector<std::optional<double>> values(samples);
    double total = 0.0;
    std::size_t defined = 0;
    for (std::size_t i = 0; i < samples; ++i) {
      const auto score = group.scores[i].find(name);
      if (score == group.scores[i].end() || !score->second.defined()) continue;
      values[i] = score->second.value();
      total += *values[i];
      ++defined;
      has_reward[i] = true;
    }
    if (defined == 0) continue;
    const double missing = config.undefined == Undefined::group_mean ? total / static_cast<double>(defined) : 0.0;
    for (std::size_t i = 0; i < samples; ++i) sums[i] += weight * values[i].value_or(missing);
  }
  for (std::size_t i = 0; i < samples; ++i)
    if (!has_reward[i]) sums[i] = std::numeric_limits<double>::quiet_NaN();
  group.rewards = std::move(sums);
}

// ---- Scorer ---------------------------------------------------------------------------------------------------------

struct Scorer::Pool {
  struct Job {
    Group* group;
    std::size_t sample;
  };
  struct Failure {
    Job job;
    std::string message;
  };

  struct Evaluated {
    std::string name, key;  // key: where it is weighed, or of what is always evaluated its name
    BuiltInReward reward;
    bool is_own, is_logged;  // logged: whatever the task's kind weighs

    bool is_judged() const { return !is_own && (name == "helpful" || name == "harmless"); }
  };

  Pool(const RewardsConfig& config, std::string_view name);
  bool evaluates(const Evaluated& each, const Task& task) const {
    return each.is_logged || config.weights_of(task.kind).contains(each.name);
  }
  Scores score(const Task& task, Completion& completion) const;
  Scores probe(const Task& task, std::string& refused) const;
  void work(std::stop_token stop);
  void cancel() noexcept;

  const RewardsConfig config;
  std::vector<Evaluated> rewards;  // alphabetical
  std::unordered_map<Group*, std::vector<bool>>
      submitted;  // by sample, since the last finish; the caller's thread only

  std::mutex mutex;  // of what follows
  std::condition_variable_any job_waits;
  std::condition_variable all_done;
  std::deque<Job> waiting;
  std::size_t running = 0;
  std::vector<Failure> failures;

  std::vector<std::jthread> threads;  // last, so that they are joined while the rest still stands
};

Scorer::Pool::Pool(const RewardsConfig& wanted, std::string_view own_name) : config(wanted) {
  validate(config, own_name);
  std::map<std::string, std::string> keys;  // by reward: where it is weighed
  const auto add = [&](const std::map<std::string, double>& weights, const std::string& key) {
    for (const auto& [name, weight] : weights) keys.emplace(name, key + '.' + name);
  };
  add(config.weights, std::string(own_name) + ".weights");
  for (std::size_t i = 0; i < config.by_kind.size(); ++i)
    add(config.by_kind[i].weights, std::string(own_name) + ".by_kind." + std::to_string(i) + ".weights");
  for (const std::string_view name : kAlwaysEvaluated) keys.emplace(name, name);
  for (const auto& [name, key] : keys) {
    const Registered found = find_reward(name, key);
    const bool is_logged = std::ranges::count(kAlwaysEvaluated, name) > 0;
    rewards.push_back({name, is_logged ? name : key, found.make(config), found.is_own, is_logged});
  }
  give_threads_room();
  for (int i = 0; i < config.threads; ++i) threads.emplace_back([this](std::stop_token stop) { work(stop); });
}

Scores Scorer::Pool::score(const Task& task, Completion& completion) const {
  const FormatReading reading = read_format(completion.text, config.think_open);
  completion.reasoning = reading.reasoning;
  completion.answer = reading.answer;
  Scores scores;
  for (const Evaluated& each : rewards) {
    if (!evaluates(each, task)) continue;
    const std::string& name = each.name;
    const auto refuse = [&](const std::string& why) {
      return Error("reward", "\"", name, "\" of ", task.name(), ": ", why);
    };
    try {
      const Score score = each.reward(task, completion, scores);
      if (score.defined() && !std::isfinite(score.value()))
        throw Error("reward", "expected a finite score or Score::undefined(), got ", score.value());
      scores.emplace(name, score);
    } catch (const std::exception& error) {
      throw refuse(reason_of(error));
    } catch (...) {
      throw refuse("expected a std::exception or a score, got something else thrown");
    }
  }
  return scores;
}

// The built-in scores of a completion that says next to nothing: which are defined, and whether one cannot be.
Scores Scorer::Pool::probe(const Task& task, std::string& refused) const {
  Completion completion;
  completion.text =
      config.think_open ? "word</think><answer>word</answer>" : "<think>word</think><answer>word</answer>";
  completion.reasoning = completion.answer = "word";
  completion.tokens = {0};
  Scores scores;
  for (const Evaluated& each : rewards) {
    if (!evaluates(each, task)) continue;
    try {
      scores.emplace(each.name, each.is_own ? Score(0.0) : each.reward(task, completion, scores));
    } catch (const std::exception& error) {
      if (refused.empty()) refused = each.key + " cannot read its answer: " + reason_of(error);
      scores.emplace(each.name, Score::undefined());  // others look at it
    }
  }
  return scores;
}

void Scorer::Pool::work(std::stop_token stop) {
  std::unique_lock lock(mutex);
  while (job_waits.wait(lock, stop, [&] { return !waiting.empty(); })) {
    const Job job = waiting.front();
    waiting.pop_front();
    ++running;
    lock.unlock();
    std::optional<std::string> failed;
    try {
      job.group->scores[job.sample] = score(job.group->task, job.group->completions[job.sample]);
    } catch (const std::exception& error) {
      failed = reason_of(error);
    }
    lock.lock();
    if (failed) failures.push_back({job, *std::move(failed)});
    --running;
    if (running == 0 && waiting.empty()) all_done.notify_all();
  }
}

void Scorer::Pool::cancel() noexcept {
  std::unique_lock lock(mutex);
  waiting.clear();
  all_done.wait(lock, [&] { return running == 0; });
  failures.clear();
  submitted.clear();
}

Scorer::Scorer(const RewardsConfig& config, std::string_view name) : pool_(std::make_unique<Pool>(config, name)) {}
Scorer::~Scorer() { cancel(); }
Scorer::Scorer(Scorer&&) noexcept = default;
Scorer& Scorer::operator=(Scorer&& other) noexcept {
  cancel();
  pool_ = std::move(other.pool_);
  return *this;
}

const RewardsConfig& Scorer::config() const { return pool_->config; }

std::vector<std::string> Scorer::names() const {
  std::vector<std::string> names;
  for (const auto& each : pool_->rewards) names.push_back(each.name);
  return names;
}

std::string Scorer::refusal(const Task& task) const {
  std::string refused;
  pool_->probe(task, refused);
  return refused;
}

std::vector<std::string> Scorer::forewarn(const std::vector<Task>& tasks, bool judged, std::string_view name) const {
  const RewardsConfig& config = pool_->config;
  struct Use {
    std::string key;
    const std::map<std::string, double>* weights;
    std::size_t tasks = 0;
    std::set<std::string> earned = {};
  };
  std::vector<Use> uses{{std::string(name) + ".weights", &config.weights}};
  std::vector<std::string> kinds;
  for (const KindWeights& each : config.by_kind) {
    uses.push_back({std::string(name) + ".by_kind." + std::to_string(kinds.size()) + ".weights", &each.weights});
    kinds.push_back(each.kind);
  }
  const Task *hopeless = nullptr, *unread = nullptr;  // the first that can earn nothing, and whose answer is none
  std::size_t count = 0, unread_count = 0;
  for (const Task& task : tasks) {
    std::string refused;
    const Scores scores = pool_->probe(task, refused);
    const auto* const weights = &config.weights_of(task.kind);
    Use& use = *std::ranges::find(uses, weights, &Use::weights);
    ++use.tasks;
    bool earns = false;
    for (const auto& each : pool_->rewards) {
      const auto weight = weights->find(each.name);
      if (weight == weights->end() || weight->second == 0) continue;
      if (each.is_judged() ? !judged : !scores.at(each.name).defined()) continue;
      use.earned.insert(each.name), earns = true;
    }
    if (!task.answer.empty() && !is_read_elsewhere(task.kind) && !scores.at("accuracy").defined() &&
        unread_count++ == 0)
      unread = &task;
    if (earns) continue;
    if (count++ == 0) hopeless = &task;
  }

  std::vector<std::string> told;
  for (std::size_t i = 0; i < uses.size(); ++i) {
    const Use& use = uses[i];
    if (use.tasks == 0 && i > 0) told.push_back(use.key + ": no task has the kind \"" + kinds[i - 1] + '"');
    for (const auto& [reward, weight] : *use.weights)
      if (weight != 0 && use.tasks > 0 && !use.earned.contains(reward))
        told.push_back(use.key + '.' + reward + ": no task can earn it, as " + std::string(missing_for(reward)));
  }
  if (count == tasks.size() && count > 0) {
    std::string all;
    for (const std::string& each : told) all += (all.empty() ? "" : "; ") + each;
    throw Error("reward", "expected a reward that some task can earn, got none: ", all);
  }
  if (count > 0)
    told.push_back(std::to_string(count) + " of " + std::to_string(tasks.size()) +
                   " tasks can earn nothing, as none of their rewards has what it reads; the first is " +
                   hopeless->name());
  if (unread_count > 0)
    told.push_back(std::to_string(unread_count) + " of " + std::to_string(tasks.size()) +
                   " tasks have an answer that accuracy cannot read; the first is " + unread->name() + ": \"" +
                   unread->answer.substr(0, 80) + '"');
  const bool has_own = std::ranges::any_of(pool_->rewards, [](const auto& each) { return each.is_own; });
  if (!has_own)
    for (std::string& each : unknown_kinds(tasks, kinds)) told.push_back(std::move(each));
  return told;
}

Scores Scorer::score(const Task& task, Completion& completion) const { return pool_->score(task, completion); }

void Scorer::submit(Group& group, std::size_t sample) {
  const std::size_t samples = group.completions.size();
  if (sample >= samples) throw Error("reward", "expected a sample below ", samples, ", got ", sample);
  auto& submitted = pool_->submitted[&group];
  if (submitted.empty()) {
    submitted.resize(samples);
    group.scores.assign(samples, {});  // before any worker may see the group
  }
  if (submitted.size() != samples)
    throw Error("reward", "expected a group to keep its ", submitted.size(), " completions until finish, got ",
                samples);
  if (submitted[sample])
    throw Error("reward", "expected sample ", sample, " once, got it submitted again before finish");
  submitted[sample] = true;
  {
    std::lock_guard lock(pool_->mutex);
    pool_->waiting.push_back({&group, sample});
  }
  pool_->job_waits.notify_one();
}

void Scorer::finish(std::vector<Group>& groups) {
  try {
    for (Group& group : groups) {
      const auto found = pool_->submitted.find(&group);
      const std::vector<bool> submitted = found == pool_->submitted.end() ? std::vector<bool>() : found->second;
      if (group.completions.empty()) group.scores.clear();
      for (std::size_t i = 0; i < group.completions.size(); ++i)
        if (i >= submitted.size() || !submitted[i]) submit(group, i);
    }
  } catch (...) {
    cancel();
    throw;
  }
  std::vector<Pool::Failure> failures;
  {
    std::unique_lock lock(pool_->mutex);
    pool_->all_done.wait(lock, [&] { return pool_->running == 0 && pool_->waiting.empty(); });
    failures.swap(pool_->failures);
  }
  std::unordered_map<Group*, std::vector<bool>> submitted;
  submitted.swap(pool_->submitted);

  if (!failures.empty()) {  // the same one however the threads ran; addresses ascend within `groups`
    const auto first = std::min_element(failures.begin(), failures.end(), [](const auto& a, const auto& b) {
      return std::tie(a.job.group, a.job.sample) < std::tie(b.job.group, b.job.sample);
    });
    throw Error("reward", first->message);
  }
  for (Group& group : groups) submitted.erase(&group);
  if (!submitted.empty())
    throw Error("reward", "expected every submitted group in finish, got ", submitted.size(),
                " elsewhere; groups must keep their place from submit to finish");
  for (Group& group : groups) combine(group, pool_->config);
}

void Scorer::cancel() noexcept {
  if (pool_) pool_->cancel();  // a moved-from Scorer has none
}

// ---- JSON ----

nlohmann::ordered_json json_of(const Score& score) {
  return score.defined() ? nlohmann::ordered_json(score.value()) : nlohmann::ordered_json(nullptr);
}

nlohmann::ordered_json json_of(const Scores& scores) {
  auto json = nlohmann::ordered_json::object();
  for (const auto& [name, score] : scores) json[name] = json_of(score);
  return json;
}

}  // namespace grpo
