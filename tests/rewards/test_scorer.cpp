// The Scorer: its threads, its order, and what it does with a reward that fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "error_of.h"
#include "rewards_test.h"

namespace grpo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<Group> many_groups(std::size_t count, std::size_t samples) {
  std::vector<Group> groups(count);
  for (std::size_t g = 0; g < count; ++g) {
    groups[g].task = {"task" + std::to_string(g), "", std::to_string(g), "", g % 2 ? "en" : "ko"};
    for (std::size_t i = 0; i < samples; ++i)
      groups[g].completions.push_back(
          completion_of(i % 5 == 0 ? "no form" : solution(std::to_string(g * (i % 3))), i + 1));
  }
  return groups;
}

bool same(const Scores& a, const Scores& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](const auto& x, const auto& y) {
           return x.first == y.first && x.second.defined() == y.second.defined() &&
                  (!x.second.defined() || x.second.value() == y.second.value());
         });
}

TEST(Scorer, results_do_not_depend_on_threads_or_on_order) {
  std::vector<Group> expected = many_groups(20, 8);
  Scorer(weighted({{"accuracy", 1.0}, {"language_consistency", 0.3}})).finish(expected);
  EXPECT_EQ(expected[3].completions[1].answer, "3");
  EXPECT_EQ(expected[3].completions[1].reasoning, "just add them");
  EXPECT_EQ(expected[3].completions[0].answer, "");
  for (const int threads : {1, 2, 7}) {
    Scorer scorer(weighted({{"accuracy", 1.0}, {"language_consistency", 0.3}}, threads));
    for (int round = 0; round < 2; ++round) {  // a Scorer serves step after step
      std::vector<Group> groups = many_groups(20, 8);
      for (std::size_t i = 8; i-- > 0;)
        for (Group& group : groups)
          if (group.task.id != "task7" && i != 4) scorer.submit(group, i);
      scorer.finish(groups);
      for (std::size_t g = 0; g < groups.size(); ++g) {
        EXPECT_EQ(groups[g].rewards, expected[g].rewards);
        for (std::size_t i = 0; i < 8; ++i) EXPECT_TRUE(same(groups[g].scores[i], expected[g].scores[i]));
      }
    }
  }
}

TEST(Scorer, scores_while_other_completions_still_grow) {
  Scorer scorer(weighted({{"accuracy", 1.0}}, 2));
  std::vector<Group> groups = many_groups(1, 2);
  groups[0].task.answer = "0";
  groups[0].completions[0].text.clear();
  scorer.submit(groups[0], 1);
  const std::string whole = solution("0");
  for (const char c : whole) groups[0].completions[0].text += c;
  scorer.submit(groups[0], 0);
  scorer.finish(groups);
  EXPECT_THAT(groups[0].rewards, ElementsAre(1.0, 1.0));
}

TEST(Scorer, uses_every_thread) {
  std::atomic<int> inside = 0;
  register_reward("meets", [&](const Task&, const Completion&) -> Score {
    ++inside;
    for (int i = 0; i < 5000 && inside < 2; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return inside >= 2 ? 1.0 : 0.0;
  });
  std::vector<Group> groups = many_groups(1, 2);
  Scorer(weighted({{"meets", 1.0}}, 2)).finish(groups);
  EXPECT_THAT(groups[0].rewards, ElementsAre(1.0, 1.0));
}

TEST(Scorer, names_reward_and_task_of_the_first_failure) {
  register_reward("fails", [](const Task& task, const Completion& c) -> Score {
    if (c.tokens.size() < 3) return 1.0;
    if (task.id == "task1") throw std::runtime_error("out of luck");
    if (task.id == "task2") return std::nan("");
    if (task.id == "task3") throw 7;
    return 0.0;
  });
  for (const int threads : {1, 4}) {
    Scorer scorer(weighted({{"fails", 1.0}}, threads));
    for (int round = 0; round < 2; ++round) {
      std::vector<Group> groups = many_groups(4, 6);
      for (std::size_t g = 4; g-- > 0;) scorer.submit(groups[g], 5);
      EXPECT_EQ(error_of([&] { scorer.finish(groups); }), "[reward] \"fails\" of task \"task1\": out of luck");
      std::vector<Group> good = many_groups(1, 6);
      scorer.finish(good);  // serves on
      EXPECT_THAT(good[0].rewards, ElementsAre(1, 1, 0, 0, 0, 0));
    }
    std::vector<Group> groups = many_groups(4, 6);
    groups.erase(groups.begin() + 1);
    EXPECT_THAT(error_of([&] { scorer.finish(groups); }),
                HasSubstr("\"fails\" of task \"task2\": expected a finite score"));
    groups.erase(groups.begin() + 1);
    EXPECT_THAT(error_of([&] { scorer.finish(groups); }), HasSubstr("\"fails\" of task \"task3\""));
  }
}

TEST(Scorer, bad_data_is_an_error_that_names_the_task) {
  std::vector<Group> groups = many_groups(1, 1);  // "no form": bad data shows whatever the model wrote
  groups[0].task = {"c7", "", "24 of 3 5", "countdown", ""};
  Scorer scorer(RewardsConfig{});
  EXPECT_THAT(error_of([&] { scorer.finish(groups); }),
              HasSubstr("[reward] \"accuracy\" of task \"c7\": expected a countdown"));
  groups[0].task = {"c8", "", "5", "", "klingon"};
  EXPECT_THAT(error_of([&] { scorer.finish(groups); }), HasSubstr("\"language_consistency\" of task \"c8\""));
}

TEST(Scorer, refuses_misuse) {
  Scorer scorer(RewardsConfig{});
  std::vector<Group> groups = many_groups(2, 2);
  EXPECT_THAT(error_of([&] { scorer.submit(groups[0], 2); }), HasSubstr("below 2"));
  scorer.submit(groups[0], 1);
  EXPECT_THAT(error_of([&] { scorer.submit(groups[0], 1); }), HasSubstr("again"));
  std::vector<Group> elsewhere = many_groups(1, 2);
  scorer.submit(elsewhere[0], 0);
  EXPECT_THAT(error_of([&] { scorer.finish(groups); }), HasSubstr("elsewhere"));
  scorer.finish(groups);  // nothing was left pending
  EXPECT_EQ(groups[1].rewards.size(), 2u);
}

TEST(Scorer, cancel_waits_for_the_running_and_forgets_the_rest) {
  std::atomic<int> calls = 0;
  register_reward("counts", [&](const Task&, const Completion&) -> Score {
    ++calls;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return 1.0;
  });
  Scorer scorer(weighted({{"counts", 1.0}}));
  {
    std::vector<Group> groups = many_groups(1, 100);
    for (std::size_t i = 0; i < 100; ++i) scorer.submit(groups[0], i);
    scorer.cancel();
  }
  const int after = calls;
  EXPECT_LT(after, 100);
  std::vector<Group> groups = many_groups(1, 1);
  scorer.finish(groups);
  EXPECT_EQ(calls, after + 1);
}

TEST(Scorer, empty_groups_and_moves_are_harmless) {
  std::vector<Group> groups(1);
  Scorer first(RewardsConfig{});
  Scorer scorer = std::move(first);
  scorer.finish(groups);
  EXPECT_TRUE(groups[0].rewards.empty());
  groups.clear();
  scorer.finish(groups);
  scorer = Scorer(weighted({{"format", 1.0}}, 3));
  EXPECT_EQ(scorer.names().size(), 3u);
}

}  // namespace
}  // namespace grpo
