// The data of a step, evaluation, and whether both make a policy learn: more of test_trainer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <thread>

#include "grpo/collect.h"
#include "grpo/evaluate.h"
#include "same_groups.h"
#include "tiny.h"

namespace grpo {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// ---- a step's data --------------------------------------------------------------------------------------------------

TasksConfig arithmetic() {
  TasksConfig config;
  config.seed = 5;
  return config;
}

RewardsConfig one_reward(const std::string& name) {
  RewardsConfig config;
  config.weights = {{name, 1.0}};
  config.threads = 2;
  return config;
}

// Which problems give no signal, from their prompt alone.
bool is_flat(const Task& task) { return std::accumulate(task.prompt.begin(), task.prompt.end(), 0) % 3 != 0; }

void register_rewards() {
  register_reward("sometimes_flat", [](const Task& task, const Completion& completion) -> Score {
    if (is_flat(task)) return 1.0;
    double sum = 0;
    for (const int32_t token : completion.tokens) sum = 0.7 * sum + token;
    return sum;
  });
  register_reward("always_flat", [](const Task&, const Completion&) -> Score { return 1.0; });
  register_reward("slow", [](const Task&, const Completion&) -> Score {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return 1.0;
  });
}

TakeTasks from(TaskStream& tasks) {
  return [&](std::size_t count) { return tasks.take(count); };
}

TEST(Collect, scores_the_tasks_of_a_step_in_their_order) {
  register_rewards();
  const Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
  Scorer scorer(one_reward("sometimes_flat"));
  TaskStream tasks(arithmetic()), twin(arithmetic());
  const Collected got = collect(rollout, scorer, from(tasks), 6, {}, 3, 2);
  const auto expected_tasks = twin.take(6);
  EXPECT_EQ(tasks.cursor(), twin.cursor());
  const auto expected = rollout.generate(expected_tasks, {3, Purpose::rollout, 2, 0});
  ASSERT_EQ(got.groups.size(), 6u);
  for (size_t g = 0; g < 6; ++g) {
    EXPECT_EQ(got.groups[g].index, g);
    EXPECT_EQ(got.groups[g].task.prompt, expected_tasks[g].prompt);
    EXPECT_EQ(tokens_of(got.groups[g]), tokens_of(expected[g]));
    EXPECT_EQ(has_signal(got.groups[g]), !is_flat(expected_tasks[g]));
  }
  EXPECT_EQ(got.refills, 0);
  EXPECT_FALSE(got.exhausted);
  EXPECT_EQ(got.stats.prompt_tokens, rollout.stats().prompt_tokens);
}

TEST(Collect, refuses_fewer_or_more_tasks_than_it_asked_for) {
  register_rewards();
  const Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
  Scorer scorer(one_reward("sometimes_flat"));
  for (const auto& [given, objective] : std::vector<std::pair<int, ObjectiveConfig>>{
           {0, {}}, {2, {}}, {4, {}}, {2, {.dynamic_sampling = true}}, {5, {.dynamic_sampling = true}}}) {
    TaskStream tasks(arithmetic());
    EXPECT_THAT(error_of([&] {
                  collect(
                      rollout, scorer, [&](std::size_t) { return tasks.take(given); }, 3, objective, 3, 2);
                }),
                HasSubstr("[collect] expected the next 3 tasks from `take`, got " + std::to_string(given)));
  }
  TaskStream tasks(arithmetic());
  EXPECT_EQ(collect(rollout, scorer, from(tasks), 3, {}, 3, 2).groups.size(), 3u) << "nothing was left pending";
}

TEST(Evaluate, leaves_out_what_cannot_be_asked_and_changes_nothing_else) {
  const Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
  Scorer scorer{RewardsConfig()};
  std::vector<Task> tasks = tiny::tasks(5);
  std::vector<Group> all, some;
  EXPECT_EQ(evaluate(rollout, scorer, tasks, 3, 2, nullptr, &all).left_out.count, 0u);
  tasks[0].prompt = std::string(3000, 'a'), tasks[3].prompt = std::string(3000, 'b');
  const Evaluation figures = evaluate(rollout, scorer, tasks, 3, 2, nullptr, &some);
  EXPECT_EQ(figures.problems, 3);
  EXPECT_EQ(figures.json()["left_out"], 2);
  EXPECT_THAT(figures.left_out.text(),
              AllOf(HasSubstr("2 of 5 tasks are left out: task \"" + tasks[0].id), HasSubstr("max_positions")));
  ASSERT_EQ(some.size(), 3u);
  const size_t places[] = {1, 2, 4};
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(tokens_of(some[i]), tokens_of(all[places[i]]));
  EXPECT_THAT(error_of([&] { evaluate(rollout, scorer, {tasks[0], tasks[3]}, 3, 2); }),
              HasSubstr("expected tasks that can be asked and scored, got none; 2 of 2 tasks are left out"));
}

TEST(Collect, keys_the_draws_of_a_later_call_by_the_place_of_its_first_task) {
  register_rewards();
  const Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
  Scorer scorer(one_reward("sometimes_flat"));
  TaskStream whole(arithmetic()), parts(arithmetic());
  const Collected expected = collect(rollout, scorer, from(whole), 5, {}, 3, 2);
  std::vector<Group> groups = collect(rollout, scorer, from(parts), 2, {}, 3, 2).groups;
  for (Group& group : collect(rollout, scorer, from(parts), 3, {}, 3, 2, nullptr, 2).groups)
    groups.push_back(std::move(group));
  for (size_t g = 0; g < 5; ++g) {
    EXPECT_EQ(groups[g].index, g);
    EXPECT_EQ(tokens_of(groups[g]), tokens_of(expected.groups[g]));
  }
}

TEST(Collect, lets_scores_change_before_it_looks_for_a_signal) {
  register_rewards();
  const Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
  Scorer scorer(one_reward("always_flat"));
  ObjectiveConfig objective;
  objective.dynamic_sampling = true;
  objective.max_refills = 9;
  TaskStream tasks(arithmetic());
  std::vector<std::size_t> rounds;
  const Collected got =
      collect(rollout, scorer, from(tasks), 3, objective, 3, 2, [&](std::vector<Group>& groups, std::size_t round) {
        rounds.push_back(round);
        for (Group& group : groups) {
          EXPECT_EQ(group.rewards, std::vector<double>(4, 1.0)) << "scored already";
          if (round > 0 && group.index != 3) group.rewards[1] = 2;
        }
      });
  EXPECT_EQ(rounds, (std::vector<std::size_t>{0, 1, 2}));
  EXPECT_EQ(got.refills, 2);
  for (const Group& group : got.groups) EXPECT_EQ(group.rewards[1], 2);
  // A round without signal, another of three tasks of which the one at place 3 has none, and one task in its stead.
  EXPECT_EQ(got.groups.back().index, 6u);
}

TEST(Collect, refills_groups_without_signal_from_fresh_tasks_that_share_no_draw) {
  register_rewards();
  const Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
  Scorer scorer(one_reward("sometimes_flat"));
  ObjectiveConfig objective;
  objective.dynamic_sampling = true;
  objective.max_refills = 50;
  TaskStream tasks(arithmetic()), twin(arithmetic());
  const Collected got = collect(rollout, scorer, from(tasks), 5, objective, 3, 2);
  EXPECT_FALSE(got.exhausted);
  EXPECT_GT(got.refills, 0);
  ASSERT_EQ(got.groups.size(), 5u);
  // Round after round takes what is missing, and no more.
  std::vector<Task> taken = twin.take(5);
  int rounds = 0;
  for (;; ++rounds) {
    const auto good =
        static_cast<size_t>(std::count_if(taken.begin(), taken.end(), [](const Task& t) { return !is_flat(t); }));
    if (good == 5) break;
    for (Task& task : twin.take(5 - good)) taken.push_back(task);
  }
  EXPECT_EQ(got.refills, rounds);
  EXPECT_EQ(tasks.cursor(), twin.cursor());
  std::vector<size_t> indices;
  for (const Group& group : got.groups) {
    EXPECT_TRUE(has_signal(group));
    ASSERT_LT(group.index, taken.size());
    EXPECT_EQ(group.task.prompt, taken[group.index].prompt)
        << "the index is the place in the step's task list, refills included";
    DrawStream stream{3, Purpose::rollout, 2, static_cast<uint32_t>(group.index)};
    EXPECT_EQ(tokens_of(group), tokens_of(rollout.generate({group.task}, stream)[0]));
    indices.push_back(group.index);
  }
  EXPECT_TRUE(std::is_sorted(indices.begin(), indices.end()));
  EXPECT_EQ(std::set(indices.begin(), indices.end()).size(), 5u);
  EXPECT_GT(indices.back(), 4u);
}

TEST(Collect, says_when_the_limit_on_refills_is_reached_and_goes_on_with_what_it_has) {
  register_rewards();
  const Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config(2, 3));
  ObjectiveConfig objective;
  objective.dynamic_sampling = true;
  for (const int limit : {0, 2}) {
    objective.max_refills = limit;
    Scorer scorer(one_reward("always_flat"));
    TaskStream tasks(arithmetic()), twin(arithmetic());
    const Collected got = collect(rollout, scorer, from(tasks), 3, objective, 3, 2);
    EXPECT_TRUE(got.exhausted);
    EXPECT_EQ(got.refills, limit);
    ASSERT_EQ(got.groups.size(), 3u);
    for (size_t g = 0; g < 3; ++g) EXPECT_EQ(got.groups[g].index, g);
    twin.take(3 * static_cast<size_t>(limit + 1));
    EXPECT_EQ(tasks.cursor(), twin.cursor());
  }
  // Some with signal, the rest filled up with those without, in the order of their indices.
  objective.max_refills = 1;
  Scorer scorer(one_reward("sometimes_flat"));
  TaskStream tasks(arithmetic());
  const Collected got = collect(rollout, scorer, from(tasks), 12, objective, 3, 2);
  EXPECT_TRUE(got.exhausted);
  EXPECT_EQ(got.groups.size(), 12u);
  EXPECT_TRUE(std::is_sorted(got.groups.begin(), got.groups.end(),
                             [](const Group& a, const Group& b) { return a.index < b.index; }));
  const auto with_signal =
      std::count_if(got.groups.begin(), got.groups.end(), [](const Group& g) { return has_signal(g); });
  EXPECT_GT(with_signal, 0);
  EXPECT_LT(with_signal, 12);
}

// A policy that fails in the middle of sampling: the input embedding of a token that only turns up late is poisoned.
TEST(Collect, and_evaluate_leave_no_thread_reading_when_sampling_fails) {
  register_rewards();
  Policy policy = tiny::policy(tiny::policy_config(DType::float32, false, true));
  RolloutConfig settings = tiny::rollout_config(8);
  settings.sampling.temperature = 1.8;
  Rollout rollout = tiny::rollout(policy, settings);
  TaskStream stream(arithmetic());
  const auto tasks = stream.take(4);
  for (const Purpose purpose : {Purpose::rollout, Purpose::evaluation}) {
    const auto groups = rollout.generate(tasks, {3, purpose, 0, 0});
    std::map<int32_t, size_t> first;  // place of each token's first appearance in any completion
    size_t shortest = 1000;
    for (const Group& group : groups) {
      for (const int32_t token : group.prompt) first[token] = 0;
      for (const Completion& completion : group.completions) {
        shortest = std::min(shortest, completion.tokens.size());
        for (size_t t = 0; t + 1 < completion.tokens.size(); ++t) {
          const auto [place, fresh] = first.emplace(completion.tokens[t], t);
          if (!fresh) place->second = std::min(place->second, t);
        }
      }
    }
    const auto late =
        std::max_element(first.begin(), first.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    ASSERT_GT(late->second, shortest) << "completions should end before the failure";

    at::Tensor row = policy.parameters()[0].second.detach()[late->first];
    const at::Tensor healthy = row.clone();
    row.fill_(std::numeric_limits<float>::quiet_NaN());
    Scorer scorer(one_reward("slow"));
    TaskStream again(arithmetic());
    const auto run = [&] {
      if (purpose == Purpose::evaluation)
        evaluate(rollout, scorer, tasks, 3, 0);
      else
        collect(rollout, scorer, from(again), 4, {}, 3, 0);
    };
    EXPECT_THAT(error_of(run), HasSubstr("NaN"));
    row.copy_(healthy);
    again.seek(0);
    EXPECT_EQ(error_of(run), "(no error)") << "the scorer is as good as new";
  }
}

// ---- evaluation -----------------------------------------------------------------------------------------------------

TEST(Evaluate, draws_for_its_own_purpose_and_reports_the_same_whatever_the_scorers_threads) {
  const Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config(3, 6));
  std::vector<Task> tasks;
  for (int i = 0; i < 70; ++i) tasks.push_back(tiny::task("a", "1"));  // the same problem, again and again
  RewardsConfig rewards;
  rewards.threads = 2;
  Scorer two(rewards), one{RewardsConfig{}};
  std::vector<Group> kept, again;
  std::vector<std::size_t> told;
  const Evaluation figures = evaluate(
      rollout, two, tasks, 3, 0, [&](std::size_t done, std::size_t) { told.push_back(done); }, &kept);
  EXPECT_EQ(figures.json(), evaluate(rollout, one, tasks, 3, 0, nullptr, &again).json());
  EXPECT_EQ(figures.problems, 70);
  EXPECT_EQ(figures.samples, 3);
  EXPECT_EQ(told.back(), 70u);
  ASSERT_EQ(kept.size(), 70u);
  std::set<std::vector<std::vector<int32_t>>> distinct;
  for (size_t g = 0; g < kept.size(); ++g) {
    EXPECT_EQ(kept[g].index, g) << "the place among all tasks, not in the batch";
    EXPECT_EQ(tokens_of(kept[g]), tokens_of(again[g]));
    distinct.insert(tokens_of(kept[g]));
  }
  EXPECT_GT(distinct.size(), 60u) << "the same task shares no draws with itself";
  const auto training = rollout.generate({tasks[0]}, {3, Purpose::rollout, 0, 0});
  EXPECT_NE(tokens_of(training[0]), tokens_of(kept[0]));
}

TEST(Evaluate, means_over_samples_and_gives_the_interval_of_the_problems_spread) {
  Group group;
  group.completions.resize(2);
  group.completions[0].text = "한국어 mixed";  // no form: the whole text counts as reasoning
  group.completions[1].text = "<think>wait</think><answer>1</answer>";
  group.completions[1].reasoning = "wait";
  group.completions[0].tokens = {1, 2, 3};
  group.completions[1].tokens = {1};
  group.completions[0].finish = Finish::length;
  group.scores = {{{"accuracy", 0.0}, {"format", 0.0}, {"language_consistency", Score::undefined()}},
                  {{"accuracy", 1.0}, {"format", 1.0}, {"language_consistency", 0.5}}};
  Group right = group;
  right.scores[0].at("accuracy") = 1.0;
  right.completions[0].text = "";
  const Evaluation figures = summarize({group, right});
  EXPECT_DOUBLE_EQ(figures.pass_at_1, 0.75);
  EXPECT_DOUBLE_EQ(figures.format, 0.5);
  EXPECT_DOUBLE_EQ(figures.language_consistency, 0.5);
  EXPECT_DOUBLE_EQ(figures.mixed_traces, 0.25);
  EXPECT_DOUBLE_EQ(figures.completion_length, 2.0);
  EXPECT_DOUBLE_EQ(figures.reflection_rate, 0.5);
  EXPECT_DOUBLE_EQ(figures.truncated, 0.5);
  EXPECT_NEAR(figures.pass_at_1_error, 1.96 * 0.25, 1e-12);
  // No reference answer anywhere: nothing to be right about.
  for (Scores& scores : group.scores) scores.at("accuracy") = Score::undefined();
  EXPECT_TRUE(std::isnan(summarize({group}).pass_at_1));
  EXPECT_TRUE(summarize({group}).json().at("pass@1").is_null());
}

TEST(Evaluate, estimates_pass_at_k_without_bias) {
  // The share of all subsets of k samples with a right one in them.
  for (int n = 1; n <= 8; ++n)
    for (int right = 0; right <= n; ++right)
      for (int k = 1; k <= n; ++k) {
        int subsets = 0, passed = 0;
        for (unsigned subset = 0; subset < 1u << n; ++subset) {
          if (std::popcount(subset) != k) continue;
          ++subsets, passed += (subset & ((1u << right) - 1)) != 0;
        }
        EXPECT_NEAR(pass_at_k(n, right, k), static_cast<double>(passed) / subsets, 1e-12)
            << n << ' ' << right << ' ' << k;
      }
  EXPECT_NEAR(pass_at_k(10'000, 1, 5'000), 0.5, 1e-9) << "no factorial overflows";
  // Of 5 samples each: 1, 2, 4 and all of them; one task has no reference.
  std::vector<Group> groups(3);
  for (size_t g = 0; g < groups.size(); ++g) {
    groups[g].completions.resize(5);
    for (size_t i = 0; i < 5; ++i) groups[g].scores.push_back({{"accuracy", i < 2 * g ? 1.0 : 0.0}});
  }
  groups.push_back(groups[0]);
  for (Scores& scores : groups.back().scores) scores.at("accuracy") = Score::undefined();
  const Evaluation figures = summarize(groups);
  const std::map<int64_t, double> expected{
      {1, (0 + 0.4 + 0.8) / 3}, {2, (0 + 0.7 + 1) / 3}, {4, (0 + 1 + 1) / 3.0}, {5, 2 / 3.0}};
  ASSERT_EQ(figures.pass_at.size(), expected.size());
  for (const auto& [k, value] : expected) EXPECT_NEAR(figures.pass_at.at(k), value, 1e-12) << k;
  EXPECT_NEAR(figures.json()["pass@k"]["2"].get<double>(), 1.7 / 3, 1e-12);
}

TEST(Evaluate, takes_the_answer_that_most_samples_give_for_the_consensus) {
  // Answers and whether they are right; the share of a group of one, or NaN.
  const auto consensus = [](const std::vector<std::pair<std::string, Score>>& answers,
                            const AnswerOptions& options = {}) {
    Group group;
    for (const auto& [answer, right] : answers) {
      group.completions.emplace_back().answer = answer;
      group.scores.push_back({{"accuracy", right}});
    }
    return summarize({group}, options).cons_at_k;
  };
  EXPECT_EQ(consensus({{"1", 0.0}, {"2", 1.0}, {"3", 0.0}, {"2", 1.0}}), 1.0);
  EXPECT_EQ(consensus({{"2", 1.0}, {"1", 0.0}, {"1", 0.0}}), 0.0);
  EXPECT_EQ(consensus({{"1", 0.0}, {"1", 0.0}, {"0.5", 1.0}, {"1/2", 1.0}, {"50%", 1.0}}), 1.0) << "equal as numbers";
  EXPECT_EQ(consensus({{"2", 1.0}, {"1", 0.0}}), 0.5) << "of equally many their mean";
  EXPECT_EQ(consensus({{"1", 0.0}, {"2", 1.0}}), 0.5);
  EXPECT_EQ(consensus({{"", 0.0}, {"", 0.0}, {"2", 1.0}}), 1.0) << "no answer is no vote";
  EXPECT_EQ(consensus({{"", 0.0}, {"", 0.0}}), 0.0);
  EXPECT_TRUE(std::isnan(consensus({{"1", Score::undefined()}}))) << "no reference";
  AnswerOptions rounded;
  rounded.tolerance = 0.01;
  EXPECT_EQ(consensus({{"1", 0.0}, {"1", 0.0}, {"3.14", 1.0}, {"3.141", 1.0}, {"3.1416", 1.0}}), 0.0);
  EXPECT_EQ(consensus({{"1", 0.0}, {"1", 0.0}, {"3.14", 1.0}, {"3.141", 1.0}, {"3.1416", 1.0}}, rounded), 1.0)
      << "what counts as equal is what the rewards count as equal";
  Group wrong, right;
  wrong.completions.resize(1), wrong.scores = {{{"accuracy", 0.0}}};
  right.completions.resize(1), right.completions[0].answer = "2", right.scores = {{{"accuracy", 1.0}}};
  EXPECT_DOUBLE_EQ(summarize({right, wrong, right, right}).json().at("cons@k").get<double>(), 0.75);
}

TEST(Evaluate, holds_a_trace_without_words_against_the_strict_language_consistency) {
  Group group;
  group.task.language = "en";
  group.completions.resize(4);
  group.completions[0].reasoning = "five words are in here";
  group.completions[1].reasoning = "다섯 낱말 are in 여기";
  group.completions[2].text = "1+1=2, so only four words here";  // no form: the whole text counts
  group.completions[2].reasoning = "1+1=2, no words";
  group.completions[3].text = "no form but five words";
  group.scores = {{{"language_consistency", 1.0}},
                  {{"language_consistency", 0.4}},
                  {{"language_consistency", Score::undefined()}},
                  {}};
  Group elsewhere = group;  // in no language: not counted
  elsewhere.task.language = "";
  const Evaluation figures = summarize({group, elsewhere});
  EXPECT_DOUBLE_EQ(figures.language_consistency, 0.7);
  EXPECT_DOUBLE_EQ(figures.strict_language_consistency, 1.4 / 4);
  EXPECT_DOUBLE_EQ(figures.worded_traces, 0.75);
  EXPECT_DOUBLE_EQ(figures.json().at("strict_language_consistency").get<double>(), 1.4 / 4);
  EXPECT_DOUBLE_EQ(figures.json().at("worded_traces").get<double>(), 0.75);
}

// ---- does it learn? -------------------------------------------------------------------------------------------------

TEST(Learning, makes_what_is_rewarded_more_frequent) {
  register_reward("likes_c", [](const Task&, const Completion& completion) -> Score {
    return static_cast<double>(std::count(completion.text.begin(), completion.text.end(), 'c')) / 12.0;
  });
  for (const bool moe : {false, true}) {
    Policy policy = tiny::policy(tiny::policy_config(DType::float32, moe));
    Rollout rollout = tiny::rollout(policy, tiny::rollout_config(8, 12));
    Scorer scorer(one_reward("likes_c"));
    OptimizerConfig optimizer;
    optimizer.learning_rate = 5e-3;
    Trainer trainer(policy, {}, optimizer);
    std::vector<double> rewards;
    for (uint64_t step = 0; step < 25; ++step) {
      auto groups = rollout.generate(tiny::tasks(6), {1, Purpose::rollout, step, 0});
      scorer.finish(groups);
      double sum = 0;
      for (const Group& group : groups) sum += std::accumulate(group.rewards.begin(), group.rewards.end(), 0.0) / 48;
      rewards.push_back(sum);
      EXPECT_EQ(trainer.update(groups, static_cast<int64_t>(step)).ratio_deviation, 0.0);
    }
    const double early = (rewards[0] + rewards[1] + rewards[2]) / 3,
                 late = (rewards[22] + rewards[23] + rewards[24]) / 3;
    EXPECT_LT(early, 0.4);
    EXPECT_GT(late, 0.7) << "from " << early;
  }
}

}  // namespace
}  // namespace grpo
