#include "grpo/evaluate.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "grpo/json.h"

namespace grpo {
namespace {

struct Mean {
  double sum = 0;
  int64_t count = 0;
  void add(double x) { sum += x, ++count; }
  double value() const { return count ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN(); }
};

constexpr std::size_t kTasksAtOnce = 64;

}  // namespace

nlohmann::ordered_json Evaluation::json() const {
  auto by_k = nlohmann::ordered_json::object();
  for (const auto& [k, value] : pass_at) by_k[std::to_string(k)] = json_of(value);
  return {{"pass@1", json_of(pass_at_1)},
          {"pass@1_ci95", json_of(pass_at_1_error)},
          {"pass@k", by_k},
          {"cons@k", json_of(cons_at_k)},
          {"format", json_of(format)},
          {"language_consistency", json_of(language_consistency)},
          {"mixed_traces", json_of(mixed_traces)},
          {"completion_length", json_of(completion_length)},
          {"reflection_rate", json_of(reflection_rate)},
          {"truncated", json_of(truncated)},
          {"strict_language_consistency", json_of(strict_language_consistency)},
          {"worded_traces", json_of(worded_traces)},
          {"problems", problems},
          {"left_out", left_out.count},
          {"samples", samples}};
}

Evaluation summarize(const std::vector<Group>& groups, const AnswerOptions& answer_options) {
  Mean accuracy, format, language, strict_language, worded, voted, mixed, length, reflection, truncated, spread,
      spread_squares;
  Evaluation out;
  std::vector<std::pair<int64_t, int64_t>> counts;  // samples with a verdict and right ones, of each task with any
  for (const Group& group : groups) {
    if (group.scores.size() != group.completions.size())
      throw Error("evaluate", "expected scores for each of ", group.completions.size(), " completions of task \"",
                  group.task.id, "\", got ", group.scores.size());
    Mean right;
    int64_t whole = 0;
    std::vector<std::string> answers;  // of the samples, and how right they are
    std::vector<double> marks;
    for (std::size_t i = 0; i < group.completions.size(); ++i) {
      const Completion& completion = group.completions[i];
      const auto score = [&](const char* name, Mean& into) {
        if (const auto found = group.scores[i].find(name); found != group.scores[i].end() && found->second.defined())
          into.add(found->second.value());
      };
      score("accuracy", right);
      score("accuracy", accuracy);
      score("format", format);
      score("language_consistency", language);
      const std::string& trace = completion.reasoning.empty() ? completion.text : completion.reasoning;
      if (!group.task.language.empty()) {
        const auto found = group.scores[i].find("language_consistency");
        strict_language.add(found != group.scores[i].end() && found->second.defined() ? found->second.value() : 0);
        const LanguageCount words = count_language(trace, group.task.language);
        worded.add(words.target + words.other >= 5 ? 1 : 0);
      }
      const auto found = group.scores[i].find("accuracy");
      marks.push_back(found != group.scores[i].end() && found->second.defined() ? found->second.value() : 0);
      answers.push_back(completion.answer);
      whole += marks.back() > 0.5;
      mixed.add(mixes_languages(trace) ? 1 : 0);
      length.add(static_cast<double>(completion.tokens.size()));
      reflection.add(reflects(completion.text) ? 1 : 0);
      truncated.add(completion.finish == Finish::length ? 1 : 0);
    }
    ++out.problems;
    out.samples = std::max<int64_t>(out.samples, static_cast<int64_t>(group.completions.size()));
    const auto same = [&](const std::string& a, const std::string& b) {
      return check_answer(a, b, answer_options) == Verdict::correct;
    };
    if (right.count) voted.add(consensus(answers, marks, same));
    if (right.count) counts.emplace_back(right.count, whole);
    if (right.count) spread.add(right.value()), spread_squares.add(right.value() * right.value());
  }
  out.pass_at_1 = accuracy.value();
  const double variance = std::max(0.0, spread_squares.value() - spread.value() * spread.value());
  out.pass_at_1_error =
      spread.count > 1 ? 1.96 * std::sqrt(variance / static_cast<double>(spread.count - 1)) : std::nan("");
  for (int64_t k = 1; k <= out.samples && !counts.empty();
       k = k == out.samples ? k + 1 : std::min(2 * k, out.samples)) {
    Mean mean;
    for (const auto& [samples, good] : counts)
      if (samples >= k) mean.add(pass_at_k(samples, good, k));
    out.pass_at[k] = mean.value();
  }
  out.cons_at_k = voted.value();
  out.strict_language_consistency = strict_language.value();
  out.worded_traces = worded.value();
  out.format = format.value();
  out.language_consistency = language.value();
  out.mixed_traces = mixed.value();
  out.completion_length = length.value();
  out.reflection_rate = reflection.value();
  out.truncated = truncated.value();
  return out;
}

Evaluation evaluate(Rollout& rollout, Scorer& scorer, const std::vector<Task>& tasks, uint64_t seed, uint64_t step,
                    const OnTasksDone& on_progress, std::vector<Group>* keep, const std::function<void()>& check,
                    const KeptCompletions& kept) {
  Rollout::OnToken on_token;
  if (check) on_token = [&](const Group&, std::size_t) { check(); };
  LeftOut left_out{.of = tasks.size()};
  std::vector<uint32_t> places;
  for (const Task& task : tasks) {
    std::string why = rollout.refusal(task);
    if (why.empty()) why = scorer.refusal(task);
    if (why.empty())
      places.push_back(static_cast<uint32_t>(&task - tasks.data()));
    else
      left_out.add(task.name() + ": " + why);
  }
  if (places.empty() && !tasks.empty())
    throw Error("evaluate", "expected tasks that can be asked and scored, got none; ", left_out.text());
  std::vector<Group> all;
  for (std::size_t begin = 0; begin < places.size(); begin += kTasksAtOnce) {
    const std::size_t end = std::min(places.size(), begin + kTasksAtOnce);
    std::vector<Task> part;
    std::vector<uint32_t> indices;
    std::vector<Group> sampled, known;
    for (std::size_t i = begin; i < end; ++i) {
      Group group;
      group.task = tasks[places[i]], group.index = places[i];
      if (kept.find && kept.find(group)) {
        known.push_back(std::move(group));
      } else {
        part.push_back(std::move(group.task));
        indices.push_back(places[i]);
      }
    }
    std::map<std::size_t, std::size_t> ended;  // completions, by place
    try {
      const auto on_end = [&](Group& group, std::size_t sample) {
        scorer.submit(group, sample);
        if (kept.add && ++ended[group.index] == group.completions.size()) kept.add(group);
      };
      // (No tasks have no draws to place.)
      if (!part.empty())
        sampled = rollout.generate(part, {seed, Purpose::evaluation, step, 0, indices}, on_end, on_token);
    } catch (...) {
      scorer.cancel();  // its threads must not read groups that are about to go
      throw;
    }
    scorer.finish(sampled);
    scorer.finish(known);
    std::merge(std::move_iterator(sampled.begin()), std::move_iterator(sampled.end()),
               std::move_iterator(known.begin()), std::move_iterator(known.end()), std::back_inserter(all),
               [](const Group& a, const Group& b) { return a.index < b.index; });
    if (on_progress) on_progress(end, places.size());
  }
  Evaluation out = summarize(all, scorer.config().answers);
  out.left_out = std::move(left_out);
  if (keep) *keep = std::move(all);
  return out;
}

}  // namespace grpo
