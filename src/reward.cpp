// Rewards by name, the pool that evaluates them, and their sum.
#include "grpo/reward.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <limits>
#include <mutex>
#include <optional>
#include <ranges>
#include <stop_token>
#include <thread>
#include <tuple>
#include <unordered_map>

#include "grpo/code.h"
#include "grpo/verifiable.h"
#include "answer.h"
#include "ascii.h"
#include "nearest.h"
#include "text_rewards.h"
#include "thread_room.h"

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

struct Registry {
  Registry() { rewards.insert(text_rewards().begin(), text_rewards().end()); }

  std::mutex mutex;
  std::map<std::string, std::function<BuiltInReward(const RewardsConfig&)>, std::less<>> rewards{
      {"accuracy", make_accuracy}, {"code", make_code},      {"format", make_format},
      {"harmless", make_judged},   {"helpful", make_judged}, {"language_consistency", make_language_consistency},
      {"overlong", make_overlong}};
};

Registry& registry() {
  static Registry registry;
  return registry;
}

BuiltInReward make_reward(const std::string& name, const RewardsConfig& config) {
  std::lock_guard lock(registry().mutex);
  const auto& rewards = registry().rewards;
  if (const auto found = rewards.find(name); found != rewards.end()) return found->second(config);
  std::vector<std::string> known;
  for (const auto& [each, make] : rewards) known.push_back(each);
  throw Error("reward", "expected a registered reward, got \"", name, "\"; did you mean \"", nearest(name, known),
              "\"? A reward of your own is registered with register_reward before the Scorer is built");
}

// ---- Arithmetic -----------------------------------------------------------------------------------------------------

// Whether `text` leaves something to be worked out: an operator between two operands. `quotients`: a fraction counts.
bool has_operation(std::string_view text, bool quotients) {
  static constexpr std::string_view kOperators[] = {"+", "-", "−", "*", "×", "·", "\\times", "\\cdot", "^"};
  static constexpr std::string_view kQuotients[] = {"/", "÷", "\\div", "\\frac"};
  constexpr auto is_in = [](char c, std::string_view set) { return is_digit(c) || set.find(c) != set.npos; };
  const auto operates = [&](std::string_view op, std::size_t at) {
    if (!text.substr(at).starts_with(op)) return false;
    if (op == "\\frac") return true;
    const std::size_t before = text.substr(0, at).find_last_not_of(' ');
    const std::size_t behind = text.find_first_not_of(' ', at + op.size());
    return before != text.npos && is_in(text[before], ")]}%") && behind != text.npos && is_in(text[behind], "([{\\+-");
  };
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (std::ranges::any_of(kOperators, [&](auto op) { return operates(op, at); })) return true;
    if (quotients && std::ranges::any_of(kQuotients, [&](auto op) { return operates(op, at); })) return true;
  }
  return false;
}

// Whether a right answer to an arithmetic task says its number, and not only the question again. Of an equation one
// side is enough.
bool is_worked_out(std::string_view answer, std::string_view reference) {
  if (has_operation(reference, false)) return true;
  const bool quotients = !has_operation(reference, true);
  bool leaves_work = false;
  for (const auto side : std::views::split(unwrap_answer(answer), '=')) {
    const std::string_view text(side.begin(), side.end());
    if (has_operation(text, quotients))
      leaves_work = true;
    else if (std::ranges::any_of(text, is_digit))
      return true;
  }
  return !leaves_work;
}

}  // namespace

Verdict answer_verdict(const Task& task, const Completion& completion, const RewardsConfig& config) {
  constexpr std::string_view kReadElsewhere[] = {"code", "instructions", "regex"};
  if (task.answer.empty() || std::ranges::count(kReadElsewhere, task.kind)) return Verdict::bad_reference;
  std::vector<std::string> answers;
  if (!completion.answer.empty())
    answers.push_back(completion.answer);
  else if (!config.accuracy_needs_format)
    answers = final_answer(completion.text, {.think_open = config.think_open, .last_box = config.answers.last_box});
  const auto verdict_of = [&](std::string_view answer) {
    const auto as_verdict = [](bool right) { return right ? Verdict::correct : Verdict::wrong; };
    if (const auto solved = check_verifiable(task.kind, answer, task.answer)) return as_verdict(*solved);
    if (task.kind == "countdown") return as_verdict(check_countdown(answer, task.answer));
    if (task.kind == "choice")
      return as_verdict(chosen_letter(answer) != '\0' && chosen_letter(answer) == chosen_letter(task.answer));
    const Verdict verdict = check_answer(answer, task.answer, config.answers);
    return verdict == Verdict::correct && task.kind == "arithmetic" && !is_worked_out(answer, task.answer)
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
  registry().rewards.insert_or_assign(std::move(name),
                                      [reward = built_in(std::move(reward))](const RewardsConfig&) { return reward; });
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
  for (const auto& [name, weight] : config.weights_of(group.task.kind)) {
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

  explicit Pool(const RewardsConfig& config);
  Scores score(const Task& task, Completion& completion) const;
  void work(std::stop_token stop);
  void cancel() noexcept;

  const RewardsConfig config;
  std::vector<std::pair<std::string, BuiltInReward>> rewards;  // alphabetical
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

Scorer::Pool::Pool(const RewardsConfig& wanted) : config(wanted) {
  validate(config, "rewards");
  std::map<std::string, double> names = config.weights;
  for (const KindWeights& each : config.by_kind) names.insert(each.weights.begin(), each.weights.end());
  for (const std::string_view name : kAlwaysEvaluated) names.emplace(name, 0.0);
  for (const auto& [name, weight] : names) rewards.emplace_back(name, make_reward(name, config));
  give_threads_room();
  for (int i = 0; i < config.threads; ++i) threads.emplace_back([this](std::stop_token stop) { work(stop); });
}

Scores Scorer::Pool::score(const Task& task, Completion& completion) const {
  const FormatReading reading = read_format(completion.text, config.think_open);
  completion.reasoning = reading.reasoning;
  completion.answer = reading.answer;
  Scores scores;
  for (const auto& [name, reward] : rewards) {
    const auto refuse = [&, &name = name](std::string_view why) {
      if (why.starts_with("[reward] ")) why.remove_prefix(9);
      return Error("reward", "\"", name, "\" of task \"", task.id, "\": ", why);
    };
    try {
      const Score score = reward(task, completion, scores);
      if (score.defined() && !std::isfinite(score.value()))
        throw Error("reward", "expected a finite score or Score::undefined(), got ", score.value());
      scores.emplace(name, score);
    } catch (const std::exception& error) {
      throw refuse(error.what());
    } catch (...) {
      throw refuse("expected a std::exception or a score, got something else thrown");
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
      failed = error.what();
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

Scorer::Scorer(const RewardsConfig& config) : pool_(std::make_unique<Pool>(config)) {}
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
  for (const auto& [name, reward] : pool_->rewards) names.push_back(name);
  return names;
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
    std::string_view message = first->message;
    if (message.starts_with("[reward] ")) message.remove_prefix(9);
    throw Error("reward", message);
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

}  // namespace grpo
