#include "recipe/held_out.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "base/files/input_file.h"
#include "grpo/evaluate.h"
#include "grpo/json.h"
#include "grpo/reward.h"
#include "grpo/rollout.h"
#include "grpo/tasks.h"

namespace grpo {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

std::optional<double> mean_score(const std::vector<Group>& groups, const char* name) {
  double sum = 0;
  int64_t count = 0;
  for (const Group& group : groups)
    for (const Scores& scores : group.scores)
      if (const auto found = scores.find(name); found != scores.end() && found->second.defined())
        sum += found->second.value(), ++count;
  return count ? std::optional<double>(sum / static_cast<double>(count)) : std::nullopt;
}

void write_answers(const fs::path& file, const std::vector<Group>& groups) {
  JsonlWriter out(file);
  for (const Group& group : groups)
    for (size_t i = 0; i < group.completions.size(); ++i) {
      out.write({{"task", group.task.id},
                 {"sample", i},
                 {"prompt", group.task.prompt},
                 {"reference", group.task.answer},
                 {"kind", group.task.kind},
                 {"language", group.task.language},
                 {"text", group.completions[i].text},
                 {"answer", group.completions[i].answer},
                 {"scores", json_of(group.scores[i])}});
    }
  out.sync();
}

}  // namespace

HeldOut::HeldOut(const RecipeEvaluation& settings, const TasksConfig& tasks, const ChatTemplate& chat, uint64_t seed)
    : settings_(settings),
      chat_(chat),
      seed_(seed),
      problems_(heldout_tasks(tasks, static_cast<size_t>(settings.problems), nullptr, &left_out_)) {
  TasksConfig general = tasks;
  general.file.clear(), general.heldout_file.clear();
  general.generator = TaskGenerator::general;
  if (settings.general_problems > 0) requests_ = heldout_tasks(general, static_cast<size_t>(settings.general_problems));
  pairs_ = heldout_general_pairs(general, static_cast<size_t>(settings.pairs));
}

void HeldOut::measure(const Policy& policy, const Tokenizer& tokenizer, Judge* judge, Run& run) const {
  RewardsConfig rewards;
  rewards.think_open = chat_.opens_think();
  if (!settings_.judge.empty()) rewards.weights["helpful"] = 0;
  Scorer scorer(rewards);
  RolloutConfig sampling;
  sampling.max_new_tokens = settings_.max_new_tokens;
  auto& progress = run.progress();
  const auto answer = [&](const std::vector<Task>& tasks, int samples, uint64_t step, std::vector<Group>& groups) {
    sampling.samples = samples;
    Rollout rollout(policy, tokenizer, chat_, sampling);
    progress.begin("evaluate", static_cast<int64_t>(tasks.size()), 0, Progress::Lines::seldom);
    Stopwatch watch;
    size_t before = 0;
    const Evaluation figures = evaluate(
        rollout, scorer, tasks, seed_, step,
        [&](size_t done, size_t) {
          progress.step(static_cast<int64_t>(done), {}, watch.lap() / static_cast<double>(done - before));
          before = done;
        },
        &groups, [&] { run.check_signal(); });
    progress.end();
    if (figures.left_out.count > 0) progress.note("warning: held out, " + figures.left_out.text());
    return figures;
  };

  std::vector<Group> groups;
  if (left_out_.count > 0) progress.note("warning: held out, " + left_out_.text("lines"));
  Evaluation solved = answer(problems_, settings_.samples, 0, groups);
  solved.left_out.count += left_out_.count;
  Json all = solved.json();
  all["settings"] = dump_config(settings_);
  write_answers(run.folder() / "evaluation.jsonl", groups);
  if (!requests_.empty()) {
    std::vector<Group> general;
    const Evaluation figures = answer(requests_, settings_.general_samples, 1, general);
    all["general"] = {{"format", json_of(figures.format)},
                      {"strict_language_consistency", json_of(figures.strict_language_consistency)},
                      {"mixed_traces", json_of(figures.mixed_traces)},
                      {"hidden_helpful", json_of(hidden_score(general).value_or(std::nan("")))}};
    if (judge) {
      if (const auto warning = judge->score(general, rewards, seed_, 0)) progress.note("warning: " + *warning);
      all["judge"] = json_of(mean_score(general, "helpful").value_or(std::nan("")));
      all["general"]["unreadable_verdicts"] = judge->stats().unreadable_share();
    }
    write_answers(run.folder() / "general.jsonl", general);
  }
  run.write("evaluation.json", all);
}

Json HeldOut::measure(Judge& judge) const {
  std::vector<Comparison> comparisons;
  std::vector<Rating> ratings;
  for (const GeneralPair& pair : pairs_) {
    comparisons.push_back({&pair.task, pair.better, pair.worse});
    ratings.push_back({&pair.task, pair.better, Rubric::helpful});
    ratings.push_back({&pair.task, pair.worse, Rubric::helpful});
  }
  double agree = 0, first = 0, second = 0, rated = 0, error = 0;
  for (const Preference& preference : judge.compare(comparisons, seed_, 1)) {
    agree += preference.score.defined() && preference.score.value() > 0.5;
    first += static_cast<double>(preference.first_votes), second += static_cast<double>(preference.second_votes);
  }
  const double unreadable = judge.stats().unreadable_share();
  const std::vector<Score> scores = judge.rate(ratings, seed_, 2);
  for (size_t i = 0; i < pairs_.size(); ++i) {
    const Score &better = scores[2 * i], &worse = scores[2 * i + 1];
    rated += better.defined() && worse.defined() && better.value() > worse.value();
    for (const auto& [score, answer] : {std::pair{better, pairs_[i].better}, std::pair{worse, pairs_[i].worse}})
      error += score.defined() ? std::abs(score.value() - general_score(pairs_[i].task, answer).value()) / 2 : 0.5;
  }
  const auto count = static_cast<double>(pairs_.size());
  return {{"pairs", pairs_.size()},
          {"agreement", agree / count},
          {"rating_agreement", rated / count},
          {"rating_error", error / count},
          {"position_bias", json_of((first - second) / (first + second))},
          {"unreadable", unreadable},
          {"unreadable_ratings", judge.stats().unreadable_share()}};
}

std::optional<double> hidden_score(const std::vector<Group>& groups) {
  double sum = 0;
  int64_t count = 0;
  for (const Group& group : groups)
    for (const Completion& completion : group.completions)
      if (const Score score = general_score(group.task, completion.answer); score.defined())
        sum += score.value(), ++count;
  return count ? std::optional<double>(sum / static_cast<double>(count)) : std::nullopt;
}

std::optional<Json> drift(const fs::path& metrics) {
  if (!fs::exists(metrics)) return std::nullopt;
  std::istringstream file(read_input("recipe", metrics));
  std::vector<std::pair<double, double>> steps;
  for (std::string text; std::getline(file, text);) {
    const Json line = read_json<Json>(text);
    if (line.is_object() && line.contains("hidden_helpful") && line.contains("reward/helpful") &&
        line["reward/helpful"].is_number() && line["hidden_helpful"].is_number())
      steps.emplace_back(line["reward/helpful"].get<double>(), line["hidden_helpful"].get<double>());
  }
  if (steps.empty()) return std::nullopt;
  const size_t part = std::max<size_t>(1, steps.size() / 5);
  const auto mean = [&](size_t begin) {
    std::pair<double, double> sum{0, 0};
    for (size_t i = begin; i < begin + part; ++i)
      sum.first += steps[i].first / static_cast<double>(part),
          sum.second += steps[i].second / static_cast<double>(part);
    return sum;
  };
  const auto first = mean(0), last = mean(steps.size() - part);
  return Json{{"judged", {first.first, last.first}},
              {"hidden", {first.second, last.second}},
              {"drift", (last.first - last.second) - (first.first - first.second)}};
}

}  // namespace grpo
