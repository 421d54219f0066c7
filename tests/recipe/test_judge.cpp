// A judge that is a policy: taught in a moment to give the verdicts that a case needs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "grpo/judge.h"
#include "tiny.h"

namespace grpo {
namespace {

using testing::AllOf;
using testing::HasSubstr;

using Verdicts = std::vector<std::pair<std::string, std::string>>;  // a question, and what the judge says to it

std::string says(const std::string& answer) { return "<think>a</think><answer>" + answer + "</answer>"; }

// Short questions, and draws so cold that a judge says what it was taught.
JudgeConfig judge_config(double temperature = 0.05) {
  JudgeConfig config;
  config.votes = 4;
  config.max_new_tokens = 12;
  config.temperature = temperature;
  config.helpful = "H {prompt} {reference}{answer}";
  config.harmless = "S {prompt} {reference}{answer}";
  config.pairwise = "P {prompt} {a} {b}";
  config.reference = "r{reference} ";
  return config;
}

void teach(Policy& policy, const Verdicts& verdicts) {
  std::vector<Example> documents;
  for (const auto& [question, verdict] : verdicts) {
    documents.push_back(tiny::document(ChatTemplate{}.render(tiny::task(question)), verdict));
    documents.back().first_target = documents.back().tokens.size() - tiny::tokenizer().encode(verdict).size() - 1;
  }
  OptimizerConfig optimizer;
  optimizer.learning_rate = 1e-2;
  Trainer trainer(policy, optimizer);
  for (int step = 0; step < 80; ++step) trainer.update(documents, step);
}

// What the judge of most cases knows: the questions on "x", by their answers.
const Verdicts& lessons() {
  static const Verdicts all{
      {"H x aa", says("3")},      {"H x bb", says("1")},    {"H x cc", says("0")},    {"H x dd", "abcab"},
      {"H x ee", says("2")},      {"H x ee", says("z")},    {"S x aa", says("0")},    {"H x r7 aa", says("1")},
      {"H x r7 7", says("2")},    {"P x aa bb", says("A")}, {"P x bb aa", says("B")}, {"P x aa cc", says("A")},
      {"P x cc aa", says("A")},   {"P x bb cc", "abcab"},   {"P x cc bb", "abcab"},   {"P x bb dd", says("tie")},
      {"P x dd bb", says("tie")}, {"P x cc dd", says("B")}, {"P x dd cc", "abcab"}};
  return all;
}

Policy taught_policy() {
  static const NamedTensors weights = [] {
    Policy policy(tiny::policy_config(), 3);
    teach(policy, lessons());
    NamedTensors copies;
    for (const auto& [name, tensor] : policy.state()) copies.emplace_back(name, tensor.clone());
    return copies;
  }();
  Policy policy(tiny::policy_config(), 3);
  policy.load_state(weights);
  return policy;
}

struct Court {  // a judge with its policy's configuration
  explicit Court(const JudgeConfig& config = judge_config(), const RolloutConfig& rollout = {})
      : judge(taught_policy(), tiny::tokenizer(), ChatTemplate{}, config, rollout) {}

  std::vector<double> rate(const std::vector<std::string>& answers, uint64_t step = 0,
                           Rubric rubric = Rubric::helpful) {
    std::vector<Rating> ratings;
    for (const std::string& answer : answers) ratings.push_back({&task, answer, rubric});
    std::vector<double> scores;
    for (const Score& score : judge.rate(ratings, 7, step)) scores.push_back(score.defined() ? score.value() : -1);
    return scores;
  }
  Preference compare(const std::string& a, const std::string& b) { return judge.compare({{&task, a, b}}, 7, 0).at(0); }

  Judge judge;
  Task task = tiny::task("x");
};

TEST(Judge, rates_by_the_votes_in_shares_of_the_highest_score) {
  Court court;
  EXPECT_EQ(court.rate({"aa", "bb", "cc"}), (std::vector<double>{1, 1.0 / 3, 0}));
  EXPECT_EQ(court.judge.stats().verdicts, 12);
  EXPECT_EQ(court.judge.stats().unreadable, 0);
  EXPECT_EQ(court.rate({"aa"}, 0, Rubric::harmless), std::vector<double>{0}) << "the other rubric is another question";
}

TEST(Judge, counts_unreadable_votes_and_never_as_good_or_bad) {
  Court court;
  EXPECT_EQ(court.rate({"aa", "dd"}), (std::vector<double>{1, -1})) << "undefined where no vote could be read";
  EXPECT_EQ(court.judge.stats().verdicts, 8);
  EXPECT_EQ(court.judge.stats().unreadable, 4);
  EXPECT_DOUBLE_EQ(court.judge.stats().unreadable_share(), 0.5);

  // Half of what it says to this one can be read, and that is a 2 out of 3.
  JudgeConfig config = judge_config(1.0);
  config.votes = 40;
  Court torn(config);
  const double score = torn.rate({"ee"})[0];
  EXPECT_NEAR(score, 2.0 / 3, 0.05);
  EXPECT_EQ(torn.judge.stats().verdicts, 40);
  EXPECT_GT(torn.judge.stats().unreadable, 8);
  EXPECT_LT(torn.judge.stats().unreadable, 32);

  const Preference half = court.compare("cc", "dd");  // one order unreadable
  EXPECT_EQ(half.readable, 4);
  EXPECT_EQ(court.judge.stats().unreadable, 4);
  EXPECT_EQ(court.judge.stats().verdicts, 8);
  EXPECT_FALSE(court.compare("bb", "cc").score.defined());
  EXPECT_EQ(court.judge.stats().unreadable, 8);
}

TEST(Judge, asks_for_both_orders_so_that_a_preference_for_a_place_cancels) {
  Court court;
  const Preference fair = court.compare("aa", "bb");
  EXPECT_EQ(fair.score.value(), 1.0);
  EXPECT_EQ(fair.readable, 8);
  EXPECT_EQ(fair.first_votes, 4);
  EXPECT_EQ(fair.second_votes, 4);
  EXPECT_EQ(court.compare("bb", "aa").score.value(), 0.0);

  const Preference biased = court.compare("aa", "cc");  // "A", whoever stands there
  EXPECT_EQ(biased.score.value(), 0.5);
  EXPECT_EQ(biased.first_votes, 8);
  EXPECT_EQ(biased.second_votes, 0);

  const Preference tie = court.compare("bb", "dd");
  EXPECT_EQ(tie.score.value(), 0.5);
  EXPECT_EQ(tie.readable, 8);
  EXPECT_EQ(tie.first_votes + tie.second_votes, 0);
}

TEST(Judge, does_not_ask_about_an_answer_that_says_nothing) {
  Court court;
  EXPECT_EQ(court.rate({"", " : ", "Solution:"}), (std::vector<double>{0, 0, 0}));
  EXPECT_EQ(court.judge.stats().verdicts, 0);
  EXPECT_EQ(court.judge.stats().unreadable_share(), 0);
  EXPECT_EQ(court.compare("Answer:", "bb").score.value(), 0.0);
  EXPECT_EQ(court.compare("bb", "").score.value(), 1.0);
  const Preference none = court.compare("", ".");
  EXPECT_EQ(none.score.value(), 0.5);
  EXPECT_EQ(none.readable + none.first_votes + none.second_votes, 0);
  EXPECT_EQ(court.judge.stats().verdicts, 0);

  // A single digit says nothing, unless that is what the reference says.
  EXPECT_EQ(court.rate({"7"}), std::vector<double>{0});
  EXPECT_EQ(court.judge.stats().verdicts, 0);
  court.task.answer = "7";
  EXPECT_EQ(court.rate({"7", "8"}), (std::vector<double>{2.0 / 3, 0}));
  EXPECT_EQ(court.judge.stats().verdicts, 4);
}

TEST(Judge, sees_the_reference_where_there_is_one) {
  Court court;
  EXPECT_EQ(court.rate({"aa"}), std::vector<double>{1});
  court.task.answer = "7";
  EXPECT_EQ(court.rate({"aa"}), std::vector<double>{1.0 / 3});
}

TEST(Judge, asks_equal_questions_once) {
  JudgeConfig config = judge_config(1.0);
  config.votes = 9;
  Court court(config);
  const std::vector<double> once = court.rate({"ee", "e e"});
  const std::vector<double> often = court.rate({"ee", "ee", "", "e e", "ee"});
  EXPECT_EQ(court.judge.stats().verdicts, 18);
  EXPECT_EQ(often, (std::vector<double>{once[0], once[0], 0, once[1], once[0]}));

  const auto pairs = court.judge.compare({{&court.task, "aa", "bb"}, {&court.task, "bb", "aa"}}, 7, 0);
  EXPECT_EQ(court.judge.stats().verdicts, 18) << "the same two orders";
  EXPECT_DOUBLE_EQ(pairs[0].score.value() + pairs[1].score.value(), 1);
}

TEST(Judge, draws_by_seed_and_step_whatever_runs_together) {
  const std::vector<std::string> answers{"aa", "ab", "ee", "ee e", "bb", "abc abc", "dd"};
  JudgeConfig config = judge_config(1.5);
  config.votes = 8;
  std::vector<double> expected;
  int64_t unreadable = 0;
  for (const auto& [running, batch, pages] :
       std::vector<std::tuple<int, int, int>>{{256, 2048, 0}, {1, 16, 0}, {3, 64, 16}}) {
    RolloutConfig rollout;
    rollout.max_running_sequences = running, rollout.max_batch_tokens = batch, rollout.pages = pages;
    Court court(config, rollout);
    const std::vector<double> scores = court.rate(answers);
    if (expected.empty()) expected = scores, unreadable = court.judge.stats().unreadable;
    EXPECT_EQ(scores, expected) << running;
    EXPECT_EQ(court.judge.stats().unreadable, unreadable) << running;
    EXPECT_NE(court.rate(answers, 1), expected);
    EXPECT_EQ(court.rate(answers), expected) << "a call leaves nothing behind";
  }
}

TEST(Judge, gives_the_same_verdict_whatever_else_is_judged) {
  JudgeConfig config = judge_config(1.5);
  config.votes = 8;
  Court court(config);
  const std::vector<std::string> answers{"aa", "ab", "ee", "ee e", "bb", "abc abc", "dd"};
  const std::vector<double> together = court.rate(answers);
  for (size_t i = answers.size(); i-- > 0;)
    EXPECT_EQ(court.rate({answers[i]}), std::vector<double>{together[i]}) << answers[i];
  EXPECT_EQ(court.rate({"cc", "bb", "ab"}), (std::vector<double>{court.rate({"cc"})[0], together[4], together[1]}));
}

TEST(Judge, stays_frozen_while_the_policy_learns) {
  Policy policy = taught_policy();
  Court old;
  Judge judge(policy, tiny::tokenizer(), ChatTemplate{}, judge_config());
  const std::vector<Rating> rating{{&old.task, "aa", Rubric::helpful}};
  EXPECT_EQ(judge.rate(rating, 7, 0)[0].value(), 1.0);
  teach(policy, {{"H x aa", says("0")}});
  EXPECT_EQ(judge.rate(rating, 7, 0)[0].value(), 1.0);
  EXPECT_EQ(Judge(policy, tiny::tokenizer(), ChatTemplate{}, judge_config()).rate(rating, 7, 0)[0].value(), 0.0)
      << "the lesson was learned";
}

TEST(Judge, finds_a_question_beyond_the_policys_positions_unreadable) {
  Court court;
  const std::string long_answer(700, 'a');
  EXPECT_EQ(court.rate({"aa", long_answer, "bb"}), (std::vector<double>{1, -1, 1.0 / 3}));
  EXPECT_EQ(court.judge.stats().verdicts, 12);
  EXPECT_EQ(court.judge.stats().unreadable, 4);
  EXPECT_EQ(court.rate({long_answer}), std::vector<double>{-1});
  EXPECT_FALSE(court.compare(long_answer, "bb").score.defined());
  EXPECT_EQ(court.judge.stats().unreadable, 8);

  // Up to the last position it is asked.
  JudgeConfig config = judge_config();
  config.max_new_tokens = static_cast<int>(
      tiny::policy_config().max_positions -
      static_cast<int64_t>(tiny::tokenizer().encode(ChatTemplate{}.render(tiny::task("H x aa"))).size()));
  EXPECT_EQ(Court(config).rate({"aa"}), std::vector<double>{1});
  ++config.max_new_tokens;
  EXPECT_EQ(Court(config).rate({"aa"}), std::vector<double>{-1});
}

// A step's groups: two tasks to judge, and one of a kind that is not judged.
std::vector<Group> groups_to_judge(const std::vector<std::string>& answers) {
  std::vector<Group> groups(2);
  for (Group& group : groups) {
    group.task = tiny::task("x");
    group.task.kind = &group == &groups[0] ? "open" : "sum";
    for (const std::string& answer : answers) {
      Completion completion;
      completion.answer = answer;
      completion.text = "aa";
      group.completions.push_back(completion);
      group.scores.push_back({{"format", 1.0}, {"helpful", Score::undefined()}});
      group.rewards.push_back(0.5);
    }
  }
  return groups;
}

RewardsConfig judged_rewards() {
  RewardsConfig rewards;
  rewards.weights = {{"format", 0.5}};
  rewards.by_kind = {{"open", {{"format", 0.5}, {"helpful", 3.0}, {"harmless", 1.0}}}};
  return rewards;
}

TEST(Judge, fills_in_the_weighted_scores_and_combines_the_rewards_anew) {
  Court court;
  auto groups = groups_to_judge({"aa", "bb", ""});
  EXPECT_FALSE(court.judge.score(groups, judged_rewards(), 7, 0).has_value());
  EXPECT_EQ(court.judge.stats().verdicts, 12) << "two answers, and one text that all three have in common";
  for (size_t i = 0; i < 3; ++i) {
    const double helpful = std::vector<double>{1, 1.0 / 3, 0}[i];
    EXPECT_EQ(groups[0].scores[i].at("helpful").value(), helpful);
    EXPECT_EQ(groups[0].scores[i].at("harmless").value(), 0.0) << "harmlessness looks at the whole completion";
    EXPECT_DOUBLE_EQ(groups[0].rewards[i], 0.5 + 3 * helpful);
    EXPECT_FALSE(groups[1].scores[i].at("helpful").defined()) << "not weighted for this kind";
    EXPECT_DOUBLE_EQ(groups[1].rewards[i], 0.5);
  }
  RewardsConfig unjudged = judged_rewards();
  unjudged.by_kind.clear();
  EXPECT_FALSE(court.judge.score(groups, unjudged, 7, 0).has_value());
}

TEST(Judge, leaves_all_scores_out_when_too_many_verdicts_are_unreadable_and_says_how_many) {
  JudgeConfig config = judge_config();
  config.max_unreadable = 0.3;
  Court court(config);
  auto groups = groups_to_judge({"aa", "dd"});  // of three questions one gets no readable vote
  const auto warning = court.judge.score(groups, judged_rewards(), 7, 5);
  ASSERT_TRUE(warning.has_value());
  EXPECT_THAT(*warning, AllOf(HasSubstr("step 5"), HasSubstr("4 of 12 verdicts are unreadable")));
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_FALSE(groups[0].scores[i].at("helpful").defined());
    EXPECT_FALSE(groups[0].scores[i].contains("harmless"));
    EXPECT_DOUBLE_EQ(groups[0].rewards[i], 0.5);
  }

  config.max_unreadable = 4.0 / 12;  // just as many as may be
  Court lenient(config);
  EXPECT_FALSE(lenient.judge.score(groups, judged_rewards(), 7, 5).has_value());
  EXPECT_EQ(groups[0].scores[0].at("helpful").value(), 1.0);
  EXPECT_FALSE(groups[0].scores[1].at("helpful").defined());
  EXPECT_DOUBLE_EQ(groups[0].rewards[1], 0.5 + 3) << "an undefined score is the group's mean";
}

TEST(Judge, refuses_answers_without_a_task_and_groups_without_scores) {
  Judge judge(tiny::policy(), tiny::tokenizer(), {}, {});
  EXPECT_THAT(error_of([&] { judge.rate({{nullptr, "an answer", Rubric::helpful}}, 1, 0); }),
              HasSubstr("[judge] expected the task"));
  EXPECT_THAT(error_of([&] { judge.compare({{nullptr, "one", "another"}}, 1, 0); }),
              HasSubstr("[judge] expected the task"));
  std::vector<Group> groups(1);
  groups[0].completions.resize(2);
  RewardsConfig rewards;
  rewards.weights = {{"helpful", 1}};
  EXPECT_THAT(error_of([&] { judge.score(groups, rewards, 1, 0); }),
              HasSubstr("expected scores for each of 2 completions"));
  EXPECT_TRUE(judge.rate({}, 1, 0).empty());
  EXPECT_TRUE(judge.compare({}, 1, 0).empty());
}

TEST(Judge, refuses_a_config_that_cannot_be) {
  JudgeConfig config = judge_config();
  config.votes = 0;
  EXPECT_THAT(error_of([&] { Court{config}; }), HasSubstr("votes: expected 1 <= x <= 1000, got 0"));
}

}  // namespace
}  // namespace grpo
