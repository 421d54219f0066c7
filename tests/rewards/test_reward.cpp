// The form, the registry and the weighted sum; hostile text through all rewards.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "costs.h"
#include "error_of.h"
#include "rewards_test.h"

namespace grpo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// ---- The form -------------------------------------------------------------------------------------------------------

TEST(Format, reads_the_bodies) {
  const std::string text = " \n<think>a < b</think>\n\u3000<answer> 42 </answer>\r\n";
  const FormatReading reading = read_format(text);
  EXPECT_TRUE(reading.valid);
  EXPECT_EQ(reading.reasoning, "a < b");
  EXPECT_EQ(reading.answer, " 42 ");
}

TEST(Format, reads_on_from_a_think_that_the_prompt_opened) {
  const FormatReading reading = read_format("a</think><answer>b</answer>", true);
  EXPECT_TRUE(reading.valid);
  EXPECT_EQ(reading.reasoning, "a");
  EXPECT_EQ(reading.answer, "b");
  EXPECT_FALSE(read_format("<think>a</think><answer>b</answer>", true).valid);
  EXPECT_FALSE(read_format(" </think><answer>b</answer>", true).valid);
  EXPECT_FALSE(read_format("a</think><answer>b</answer>", false).valid);
}

TEST(Format, refuses_everything_else) {
  for (const char* text : {"",
                           "42",
                           "<think>a</think>",
                           "<answer>b</answer>",
                           "<think>a</think><answer>b",
                           "<think>a</think>b</answer>",
                           "<think>a<answer>b</answer>",
                           "a</think><answer>b</answer>",  // a tag is missing
                           "x<think>a</think><answer>b</answer>",
                           "<think>a</think>x<answer>b</answer>",  // text outside
                           "<think>a</think><answer>b</answer>x",
                           "\u00E9<think>a</think><answer>b</answer>",  //
                           "<think></think><answer>b</answer>",
                           "<think> \n</think><answer>b</answer>",  // empty bodies
                           "<think>a</think><answer></answer>",
                           "<think>a</think><answer>\u3000\u00A0</answer>",
                           "<think><think>a</think><answer>b</answer>",
                           "<think>a</think></think><answer>b</answer>",  // repeated tags
                           "<think>a</think><answer><answer>b</answer>",
                           "<think>a</think><answer>b</answer></answer>",
                           "<think>a</think><answer>b<think></answer>",
                           "<think>a</think><answer>b</think></answer>",
                           "<think>a</answer></think><answer>b</answer>",
                           "<think>a</think><answer>b</answer><think>a</think><answer>b</answer>",
                           "<answer>b</answer><think>a</think>",
                           "<think>a<answer>b</think></answer>",  // order
                           "</think>a<think><answer>b</answer>",
                           "<think>a</think></answer>b<answer>",
                           "<think><answer>a</answer>b</think>",
                           "<Think>a</Think><Answer>b</Answer>",
                           "<think >a</think><answer>b</answer>"}) {  // other tags
    const FormatReading reading = read_format(text);
    EXPECT_FALSE(reading.valid) << text;
    EXPECT_TRUE(reading.reasoning.empty() && reading.answer.empty()) << text;
  }
}

// ---- Built-in rewards -----------------------------------------------------------------------------------------------

double score_of(const std::string& reward, const Task& task, Completion completion, RewardsConfig config = {}) {
  if (!config.weights.contains(reward)) config.weights[reward] = 1.0;
  const Scores scores = Scorer(config).score(task, completion);
  return scores.at(reward).defined() ? scores.at(reward).value() : std::numeric_limits<double>::quiet_NaN();
}

// Giving the question back is no answer, though both are the same number.
TEST(Reward, an_arithmetic_answer_is_worked_out) {
  const auto score = [](const std::string& answer, const std::string& reference, const std::string& kind) {
    return score_of("accuracy", {"t", "", reference, kind, ""}, completion_of(solution(answer)));
  };
  for (const char* right :
       {"11", "+11", "11.0", "11 apples", "\\boxed{11}", "36-25=11", "11 = 36 - 25", "x = 11", "1.1e+1"})
    EXPECT_EQ(score(right, "11", "arithmetic"), 1.0) << right;
  for (const char* question : {"36-25", "36 - 25", "$36-25$", "\\boxed{36-25}", "36 − 25", "5+6", "(5)+(6)", "x = 5+6",
                               "22/2", "\\frac{22}{2}", "11*1", "11\\cdot 1", "11+0 apples", "11^1", "12+-1"}) {
    EXPECT_EQ(score(question, "11", "arithmetic"), 0.0) << question;
  }
  EXPECT_EQ(score("36-25", "11", ""), 1.0);  // of other kinds any value that is the same is
  EXPECT_EQ(score("-11", "-11", "arithmetic"), 1.0);
  EXPECT_EQ(score("2/4", "1/2", "arithmetic"), 1.0);
  EXPECT_EQ(score("1/4+1/4", "1/2", "arithmetic"), 0.0);
  EXPECT_EQ(score("12", "11", "arithmetic"), 0.0);
}

// Of a task without a kind an expression may be the answer, but not that of the question for its number.
TEST(Reward, an_expression_of_the_question_is_no_answer_to_it) {
  const auto score = [](const char* prompt, const char* answer, const char* reference) {
    return score_of("accuracy", {"t", prompt, reference, "", ""}, completion_of(solution(answer)));
  };
  struct Case {
    const char *prompt, *answer, *reference;
  };
  for (const Case& echo : {Case{"What is 36-25?", "36-25", "11"},
                           {"What is 36 − 25?", "$36 - 25$", "11"},
                           {"Compute 36-25.", "\\boxed{(36)-25}", "11"},
                           {"36+25=", "25+36", "61"},
                           {"Compute $3 \\cdot 4 + 5$.", "x = 3*4+5", "17"},
                           {"Find \\frac{22}{2}.", "22/2", "11"},
                           {"What is 1,000+2?", "1000 + 2", "1002"},
                           {"1. 36-25", "36-25", "11"},
                           {"Compute $2^{10}$", "2^{10}", "1024"}})
    EXPECT_EQ(score(echo.prompt, echo.answer, echo.reference), 0.0) << echo.answer;
  for (const Case& right : {Case{"What is 36-25?", "11", "11"},
                            {"What is 36-25?", "36-25=11", "11"},
                            {"What is 36-25?", "5+6", "11"},
                            {"What is 36-25+0?", "36-25", "11"},
                            {"Ten to the third, as a power of 10?", "10^3", "1000"},
                            {"Write 3+2x with its powers falling.", "3+2x", "2x+3"},
                            {"Write the sum of 36 and -25.", "36-25", "36-25"},
                            {"Simplify \\frac{2}{4}.", "1/2", "1/2"},
                            {"Solve 2x = 4-2.", "x = 1", "1"}})
    EXPECT_EQ(score(right.prompt, right.answer, right.reference), 1.0) << right.answer;
  EXPECT_EQ(score_of("accuracy", {"t", "What is 36-25?", "11", "mine", ""}, completion_of(solution("36-25"))), 1.0)
      << "a kind of one's own";
}

TEST(Accuracy, reads_the_answer_of_the_strict_form) {
  const Task task{"t", "", "42", "", "en"};
  EXPECT_EQ(score_of("accuracy", task, completion_of(solution("42"))), 1.0);
  EXPECT_EQ(score_of("accuracy", task, completion_of(solution("41"))), 0.0);
  EXPECT_EQ(score_of("accuracy", task, completion_of("<answer>42</answer>")), 0.0);
  EXPECT_EQ(score_of("accuracy", task, completion_of("\\boxed{42}")), 0.0);
  EXPECT_EQ(score_of("accuracy", {"t", "", "24 from 4 6", "countdown", ""}, completion_of(solution("4*6"))), 1.0);
  EXPECT_EQ(score_of("accuracy", {"t", "", "24 from 4 6", "countdown", ""}, completion_of(solution("24"))), 0.0);
}

TEST(Accuracy, may_read_an_answer_outside_the_form) {
  RewardsConfig config;
  config.accuracy_needs_format = false;
  const Task task{"t", "", "42", "", ""};
  EXPECT_EQ(score_of("accuracy", task, completion_of("So it is \\boxed{42}."), config), 1.0);
  EXPECT_EQ(score_of("accuracy", task, completion_of("It is \\boxed{41}, no, \\boxed{42}."), config), 0.0);
  EXPECT_EQ(score_of("accuracy", task, completion_of("<answer>41</answer> no <answer>42</answer>"), config), 0.0);
  EXPECT_EQ(score_of("accuracy", task, completion_of("\\boxed{41} <answer>42</answer>"), config), 1.0);
  EXPECT_EQ(score_of("accuracy", task, completion_of("<answer>42"), config), 0.0);
  EXPECT_EQ(score_of("accuracy", task, completion_of("\\boxed{42"), config), 0.0);
  EXPECT_EQ(score_of("accuracy", task, completion_of("42"), config), 0.0);
  EXPECT_EQ(score_of("accuracy", task, completion_of(solution("41") + "\\boxed{42}"), config), 0.0);
}

TEST(Accuracy, has_one_verdict_for_each_completion) {
  RewardsConfig config;
  config.accuracy_needs_format = false;
  const auto verdict = [&](const std::string& text, const std::string& reference, const std::string& kind = "") {
    Completion completion = completion_of(text);
    return answer_verdict({"t", "", reference, kind, ""}, completion, config);
  };
  EXPECT_EQ(verdict("\\boxed{\\frac{1}{2}}", "0.5"), Verdict::correct);
  EXPECT_EQ(verdict("\\boxed{0.4}", "0.5"), Verdict::wrong);
  EXPECT_EQ(verdict("<think>0.5</think>I give up.", "0.5"), Verdict::unparseable);
  EXPECT_EQ(verdict("\\boxed{0.5}", ""), Verdict::bad_reference);
  EXPECT_EQ(verdict("\\boxed{9^{9^{9^9}}}", "1"), Verdict::over_budget);
  EXPECT_EQ(verdict("<answer>(B)</answer>", "B", "choice"), Verdict::correct);
  EXPECT_EQ(verdict("<answer>B or C</answer>", "B", "choice"), Verdict::wrong);
  EXPECT_EQ(verdict("<answer>1 2 3</answer>", "ascending 3 1 2", "sorting"), Verdict::correct);
  EXPECT_EQ(verdict("<answer>print(1)</answer>", "{}", "code"), Verdict::bad_reference);
}

TEST(Accuracy, is_undefined_without_a_reference) {
  EXPECT_TRUE(std::isnan(score_of("accuracy", {"t", "", "", "", ""}, completion_of(solution("42")))));
}

TEST(FormatReward, is_one_or_zero_and_knows_an_open_think) {
  RewardsConfig open;
  open.think_open = true;
  EXPECT_EQ(score_of("format", {}, completion_of(solution("42"))), 1.0);
  EXPECT_EQ(score_of("format", {}, completion_of("42")), 0.0);
  EXPECT_EQ(score_of("format", {}, completion_of("a</think><answer>b</answer>"), open), 1.0);
  EXPECT_EQ(score_of("format", {}, completion_of(solution("42")), open), 0.0);
}

TEST(LanguageReward, reads_the_reasoning_or_the_whole_of_a_broken_form) {
  const Task task{"t", "", "", "", "ko"};
  EXPECT_EQ(score_of("language_consistency", task, completion_of("<think>답은</think><answer>forty two</answer>")),
            1.0);
  EXPECT_EQ(score_of("language_consistency", task, completion_of("<think>답은</think>forty")), 0.5);
  EXPECT_TRUE(
      std::isnan(score_of("language_consistency", task, completion_of("<think>1+1</think><answer>two</answer>"))));
  EXPECT_TRUE(std::isnan(score_of("language_consistency", {}, completion_of(solution("42")))));
}

TEST(Overlong, is_equation_13_of_dapo) {
  RewardsConfig config = weighted({{"overlong", 1.0}});
  config.overlong_max_length = 100;
  config.overlong_buffer = 20;
  const auto penalty = [&](std::size_t tokens) { return score_of("overlong", {}, completion_of("x", tokens), config); };
  EXPECT_EQ(penalty(0), 0.0);
  EXPECT_EQ(penalty(80), 0.0);
  EXPECT_DOUBLE_EQ(penalty(81), -0.05);
  EXPECT_DOUBLE_EQ(penalty(90), -0.5);
  EXPECT_DOUBLE_EQ(penalty(99), -0.95);
  EXPECT_EQ(penalty(100), -1.0);
  EXPECT_EQ(penalty(1000), -1.0);
}

// ---- Config and registry --------------------------------------------------------------------------------------------

TEST(RewardsConfig, refuses_what_cannot_be_meant) {
  const auto refused = [](const RewardsConfig& config) { return error_of([&] { Scorer scorer(config); }); };
  EXPECT_THAT(refused(weighted({})), HasSubstr("other than 0"));
  EXPECT_THAT(refused(weighted({{"accuracy", 0.0}})), HasSubstr("other than 0"));
  EXPECT_THAT(refused(weighted({{"accuracy", std::nan("")}})),
              HasSubstr("rewards.weights.accuracy: expected a finite number"));
  EXPECT_THAT(refused(weighted({{"accuracy", 1.0}}, 0)), HasSubstr("threads"));
  EXPECT_THAT(refused(weighted({{"overlong", 1.0}})), HasSubstr("overlong_max_length"));
  EXPECT_THAT(refused(weighted({{"accuracy", 1.0}}, 1025)),
              HasSubstr("rewards.threads: expected 1 <= x <= 1024, got 1025"));
  EXPECT_EQ(refused(RewardsConfig{}), "(no error)");
}

KindWeights weights_for(std::string kind, std::map<std::string, double> weights) {
  KindWeights each;
  each.kind = std::move(kind);
  each.weights = std::move(weights);
  return each;
}

TEST(RewardsConfig, tasks_of_a_kind_may_have_weights_of_their_own) {
  RewardsConfig config = weighted({{"accuracy", 1.0}});
  config.by_kind = {weights_for("refusal", {{"harmless", 2.0}}),
                    weights_for("summary", {{"helpful", 1.0}, {"format", 0.5}})};
  EXPECT_EQ(config.weights_of("refusal"), (std::map<std::string, double>{{"harmless", 2.0}}));
  EXPECT_EQ(config.weights_of("summary"), (std::map<std::string, double>{{"format", 0.5}, {"helpful", 1.0}}));
  for (const std::string other : {"", "arithmetic", "Refusal", "refusals", "refus"})
    EXPECT_EQ(config.weights_of(other), config.weights) << other;
  config.by_kind.push_back(weights_for("", {{"format", 1.0}}));
  EXPECT_EQ(config.weights_of(""), (std::map<std::string, double>{{"format", 1.0}}));
  EXPECT_EQ(config.weights_of("arithmetic"), config.weights);
}

TEST(RewardsConfig, refuses_weights_of_a_kind_that_cannot_be_meant) {
  const auto refused = [](std::vector<KindWeights> by_kind) {
    RewardsConfig config;
    config.by_kind = std::move(by_kind);
    return error_of([&] { Scorer scorer(config); });
  };
  EXPECT_EQ(refused({weights_for("summary", {{"helpful", 1.0}}), weights_for("refusal", {{"helpful", 1.0}})}),
            "(no error)");
  EXPECT_THAT(refused({weights_for("summary", {})}),
              HasSubstr("rewards.by_kind.0.weights: expected a weight other than 0"));
  EXPECT_THAT(refused({weights_for("summary", {{"helpful", 0.0}})}),
              HasSubstr("rewards.by_kind.0.weights: expected a weight other than 0"));
  EXPECT_THAT(refused({weights_for("summary", {{"helpful", INFINITY}})}),
              HasSubstr("rewards.by_kind.0.weights.helpful: expected a finite"));
  EXPECT_THAT(refused({weights_for("summary", {{"helpful", 1.0}}), weights_for("refusal", {{"helpful", 1.0}}),
                       weights_for("summary", {{"format", 1.0}})}),
              HasSubstr("rewards.by_kind: expected each kind once, got \"summary\" again"));
  EXPECT_THAT(refused({weights_for("summary", {{"overlong", 1.0}})}), HasSubstr("overlong_max_length"));
  EXPECT_THAT(refused({weights_for("summary", {{"helpfull", 1.0}})}),
              HasSubstr("got \"helpfull\"; did you mean \"helpful\"?"));
}

TEST(Registry, judged_rewards_are_undefined_until_a_judge_fills_them_in) {
  const Scorer scorer(weighted({{"helpful", 1.0}, {"harmless", 1.0}}));
  EXPECT_THAT(scorer.names(), ElementsAre("accuracy", "format", "harmless", "helpful", "language_consistency"));
  for (const Task& task : {Task{}, Task{"t", "", "42", "", "en"}}) {
    Completion completion = completion_of(solution("42"));
    const Scores scores = scorer.score(task, completion);
    EXPECT_FALSE(scores.at("helpful").defined());
    EXPECT_FALSE(scores.at("harmless").defined());
  }
}

TEST(Registry, scorer_evaluates_what_any_kind_is_weighted_by) {
  RewardsConfig config = weighted({{"format", 1.0}});
  config.by_kind = {weights_for("summary", {{"helpful", 1.0}}),
                    weights_for("refusal", {{"harmless", 1.0}, {"format", 0.1}})};
  EXPECT_THAT(Scorer(config).names(), ElementsAre("accuracy", "format", "harmless", "helpful", "language_consistency"));
}

TEST(Registry, unknown_name_is_refused_with_the_nearest_known_one) {
  EXPECT_THAT(error_of([] {
                Scorer scorer(weighted({{"acuracy", 1.0}}));
              }),
              HasSubstr("got \"acuracy\"; did you mean \"accuracy\"?"));
  EXPECT_THAT(error_of([] { Scorer scorer(weighted({{"fromat", 1.0}})); }), HasSubstr("did you mean \"format\"?"));
}

TEST(Registry, takes_rewards_of_ones_own) {
  register_reward("length",
                  [](const Task&, const Completion& c) -> Score { return static_cast<double>(c.tokens.size()); });
  EXPECT_EQ(score_of("length", {}, completion_of("x", 7)), 7.0);
  Scorer before(weighted({{"length", 1.0}}));
  register_reward("length", [](const Task&, const Completion&) -> Score { return -1.0; });
  Completion completion = completion_of("x", 7);
  EXPECT_EQ(score_of("length", {}, completion), -1.0);
  EXPECT_EQ(before.score({}, completion).at("length").value(), 7.0);  // keeps what was registered when it was built
  EXPECT_THROW(register_reward("", [](const Task&, const Completion&) -> Score { return 0.0; }), Error);
  EXPECT_THROW(register_reward("nothing", nullptr), Error);
}

TEST(Registry, scorer_always_evaluates_what_metrics_need) {
  EXPECT_THAT(Scorer(weighted({{"format", 1.0}})).names(), ElementsAre("accuracy", "format", "language_consistency"));
}

TEST(Registry, scorer_asks_a_task_s_kind_which_rewards_are_evaluated) {
  RewardsConfig config = weighted({{"accuracy", 1.0}});
  config.by_kind = {weights_for("choice", {{"choice", 1.0}})};
  Scorer scorer(config);
  Completion completion = completion_of(solution("131"));
  // "131" is no letter, and need not be one.
  EXPECT_FALSE(scorer.score({"1", "64+67?", "131", "arithmetic", "en"}, completion).contains("choice"));
  completion = completion_of(solution("(B)"));
  EXPECT_EQ(scorer.score({"2", "Which?", "B", "choice", "en"}, completion).at("choice").value(), 1.0);
}

// ---- What can be told before any work -------------------------------------------------------------------------------

TEST(Forewarned, of_answers_that_no_reward_can_read) {
  struct Case {
    const char *kind, *answer, *why;
  };
  Scorer scorer(weighted({{"accuracy", 1.0}, {"choice", 0.0}, {"regex", 0.0}, {"instructions", 0.0}}));
  for (const Case& each : {Case{"sudoku", "27", "expected a sudoku reference"},
                           {"countdown", "27", "expected a countdown reference"},
                           {"choice", "27", "rewards.weights.choice cannot read its answer: expected a letter"},
                           {"regex", "(", "rewards.weights."},
                           {"instructions", "{}", "rewards.weights."}})
    EXPECT_THAT(scorer.refusal({"1", "p", each.answer, each.kind, "en"}), HasSubstr(each.why)) << each.kind;
  Scorer plain(weighted({{"accuracy", 1.0}, {"format", 1.0}}));
  for (const auto& [kind, answer] : {std::pair{"", "27"},
                                     {"", ""},
                                     {"arithmetic", "1/2"},
                                     {"choice", "B"},
                                     {"countdown", "24 from 3 5 7 2"},
                                     {"code", "[]"},
                                     {"mine", "x"}})
    EXPECT_EQ(plain.refusal({"1", "p", answer, kind, "en"}), "") << kind << answer;
}

TEST(Forewarned, of_rewards_that_no_task_can_earn) {
  const Task sum{"sum", "1+1?", "2", "arithmetic", "en"}, open{"open", "Why?", "", "", ""};
  const Task puzzle{"puzzle", "p", "24 from 3 5 7 2", "countdown", "en"}, torn{"torn", "p", "27", "choice", "en"};
  const auto told = [](const std::vector<Task>& tasks, const RewardsConfig& config, bool judged = false) {
    return Scorer(config).forewarn(tasks, judged);
  };
  using testing::IsEmpty;
  EXPECT_THAT(told({sum, puzzle}, weighted({{"accuracy", 1}, {"format", 1}, {"language_consistency", 1}})), IsEmpty());
  EXPECT_THAT(told({sum}, weighted({{"accuracy", 1}, {"helpful", 1}})),
              ElementsAre("rewards.weights.helpful: no task can earn it, as it takes a judge, and there is none"));
  EXPECT_THAT(told({sum}, weighted({{"accuracy", 1}, {"helpful", 1}}), true), IsEmpty());
  EXPECT_THAT(told({sum}, weighted({{"accuracy", 1}, {"helpful", 0}})), IsEmpty()) << "only logged";
  EXPECT_THAT(told({sum}, weighted({{"accuracy", 1}, {"exact", 1}, {"reflection", 1}})), IsEmpty());
  EXPECT_THAT(
      told({open}, weighted({{"accuracy", 1}, {"format", 1}, {"language_consistency", 1}})),
      ElementsAre(HasSubstr("rewards.weights.accuracy: no task can earn it, as no task has an answer"),
                  HasSubstr("rewards.weights.language_consistency: no task can earn it, as no task has a language")));
  EXPECT_THAT(
      told({sum, sum, open}, weighted({{"accuracy", 1}})),
      ElementsAre(HasSubstr("1 of 3 tasks can earn nothing, as none of their rewards has what it reads; the first "
                            "is task \"open\"")));
  EXPECT_THAT(
      told({sum, torn}, weighted({{"accuracy", 1}, {"format", 1}})),
      ElementsAre(HasSubstr("1 of 2 tasks have an answer that accuracy cannot read; the first is task \"torn\"")));

  RewardsConfig config = weighted({{"accuracy", 1}});
  config.by_kind = {weights_for("countdown", {{"helpful", 1}, {"format", 1}}),
                    weights_for("summary", {{"helpful", 1}})};
  EXPECT_THAT(told({sum, puzzle}, config),
              ElementsAre(HasSubstr("rewards.by_kind.0.weights.helpful: no task can earn it"),
                          "rewards.by_kind.1.weights: no task has the kind \"summary\""));

  EXPECT_THAT(error_of([&] {
                told({sum, puzzle}, weighted({{"helpful", 1}, {"harmless", 1}}));
              }),
              testing::AllOf(HasSubstr("expected a reward that some task can earn, got none"),
                             HasSubstr("rewards.weights.helpful"), HasSubstr("rewards.weights.harmless")));
  EXPECT_THAT(error_of([&] { told({open}, weighted({{"accuracy", 1}})); }), HasSubstr("got none"));
  register_reward("of_my_own", [](const Task&, const Completion&) { return Score::undefined(); });
  EXPECT_THAT(told({open}, weighted({{"of_my_own", 1}})), IsEmpty()) << "who knows what it reads";
}

TEST(Forewarned, of_kinds_that_nobody_knows) {
  const Task typo{"1", "p", "2", "arithmatic", "en", {}, "mine.jsonl:7"}, own{"2", "p", "2", "mine", "en"};
  EXPECT_THAT(unknown_kinds({typo, typo, own, {"3", "p", "2", "sudoku", "en"}, {"4", "p", "2", "", "en"}}, {"mine"}),
              ElementsAre(testing::AllOf(HasSubstr("mine.jsonl:7: unknown kind \"arithmatic\" (2 tasks)"),
                                         HasSubstr("did you mean \"arithmetic\"? Known are arithmetic, choice, "))));
  RewardsConfig config = weighted({{"accuracy", 1}});
  EXPECT_THAT(Scorer(config).forewarn({typo}), ElementsAre(HasSubstr("unknown kind \"arithmatic\"")));
  config.by_kind = {weights_for("arithmatic", {{"accuracy", 1}})};
  EXPECT_THAT(Scorer(config).forewarn({typo}), testing::IsEmpty());
}

// ---- combine --------------------------------------------------------------------------------------------------------

Group scored(std::vector<Scores> scores) {
  Group group;
  group.scores = std::move(scores);
  return group;
}

TEST(Combine, sums_the_weighted_scores) {
  Group group = scored({{{"a", 1.0}, {"b", 0.5}, {"c", 9.0}}, {{"a", 0.0}, {"b", 1.0}, {"c", 9.0}}});
  combine(group, weighted({{"a", 2.0}, {"b", -0.5}, {"c", 0.0}}));
  EXPECT_THAT(group.rewards, ElementsAre(1.75, -0.5));
}

TEST(Combine, takes_the_weights_of_the_task_s_kind) {
  RewardsConfig config = weighted({{"a", 1.0}, {"b", 1.0}});
  config.by_kind = {weights_for("summary", {{"b", 10.0}}), weights_for("refusal", {{"c", 1.0}})};
  const std::vector<Scores> scores = {{{"a", 1.0}, {"b", 0.5}}, {{"a", 0.0}, {"b", 1.0}}};
  const auto rewards = [&](const std::string& kind) {
    Group group = scored(scores);
    group.task.kind = kind;
    combine(group, config);
    return group.rewards;
  };
  EXPECT_THAT(rewards(""), ElementsAre(1.5, 1.0));
  EXPECT_THAT(rewards("summary"), ElementsAre(5.0, 10.0)) << "in place of the others, not beside them";
  for (const double reward : rewards("refusal")) EXPECT_TRUE(std::isnan(reward)) << "no reward of its own is defined";
}

TEST(Combine, undefined_takes_the_mean_of_its_group) {
  const Score none = Score::undefined();
  Group group =
      scored({{{"a", 1.0}, {"b", 0.0}}, {{"a", 0.0}, {"b", 1.0}}, {{"a", 1.0}, {"b", none}}, {{"a", 0.5}, {"b", 0.8}}});
  combine(group, weighted({{"a", 1.0}, {"b", 2.0}}));
  EXPECT_DOUBLE_EQ(group.rewards[2], 1.0 + 2.0 * 0.6);
  EXPECT_DOUBLE_EQ(group.rewards[1], 2.0);
  RewardsConfig skip = weighted({{"a", 1.0}, {"b", 2.0}});
  skip.undefined = Undefined::skip;
  combine(group, skip);
  EXPECT_DOUBLE_EQ(group.rewards[2], 1.0);
  EXPECT_DOUBLE_EQ(group.rewards[1], 2.0);
}

TEST(Combine, one_defined_sample_is_the_mean) {
  Group group = scored({{{"a", 3.0}, {"b", 1.0}}, {{"a", Score::undefined()}, {"b", 0.5}}});
  combine(group, weighted({{"a", 1.0}, {"b", 1.0}}));
  EXPECT_THAT(group.rewards, ElementsAre(4.0, 3.5));
}

TEST(Combine, undefined_for_the_whole_group_is_dropped) {
  const Score none = Score::undefined();
  Group group = scored({{{"a", none}, {"b", 0.25}}, {{"a", none}, {"b", 0.75}}});
  combine(group, weighted({{"a", 1.0}, {"b", 1.0}}));
  EXPECT_THAT(group.rewards, ElementsAre(0.25, 0.75));
}

TEST(Combine, sample_without_a_weighted_reward_is_left_out) {
  const Score none = Score::undefined();
  for (const Undefined rule : {Undefined::group_mean, Undefined::skip}) {
    Group group = scored({{{"a", none}, {"b", none}, {"c", 1.0}}, {{"a", 3.0}, {"b", none}, {"c", 1.0}}, {}});
    RewardsConfig config = weighted({{"a", 1.0}, {"b", 1.0}, {"c", 0.0}});
    config.undefined = rule;
    combine(group, config);
    EXPECT_TRUE(std::isnan(group.rewards[0]));  // c is only logged
    EXPECT_EQ(group.rewards[1], 3.0);
    EXPECT_TRUE(std::isnan(group.rewards[2]));
  }
}

// ---- Scorer ---------------------------------------------------------------------------------------------------------
// ---- Hostile text ---------------------------------------------------------------------------------------------------

/// Processor time, which other programs on the machine cannot stretch.
struct Hostile {
  std::string name, text;
};

std::vector<Hostile> hostile_texts() {
#if defined(__SANITIZE_THREAD__)
  constexpr std::size_t kMegabyte = 100'000;  // every byte read costs twenty times as much there
#else
  constexpr std::size_t kMegabyte = 1'000'000;
#endif
  std::string bytes(kMegabyte, '\0');
  std::uint32_t state = 1;
  for (char& byte : bytes) byte = static_cast<char>((state = state * 1664525u + 1013904223u) >> 24);
  return {
      {"parentheses", repeat("(", kMegabyte)},
      {"digits", repeat("7", kMegabyte)},
      {"fraction", repeat("7", kMegabyte / 2) + "/" + repeat("3", kMegabyte / 2)},
      {"exponent", "1e" + repeat("9", kMegabyte)},
      {"thousands", "1" + repeat(",000", kMegabyte / 4)},
      {"signs", repeat("-", kMegabyte)},
      {"sum", repeat("1+", kMegabyte / 2) + "1"},
      {"random bytes", bytes},
      {"continuation bytes", repeat("\xBF", kMegabyte)},
      {"cut Han", repeat("\xE4\xB8", kMegabyte / 2)},
      {"combining marks", "e" + repeat("\u0301", kMegabyte / 2)},
      {"apostrophes", "e" + repeat("'", kMegabyte)},
      {"white space", "let me" + repeat(" \u3000", kMegabyte / 4)},
      {"let me", repeat("let me ", kMegabyte / 7)},
      {"dollars", repeat("$1 ", kMegabyte / 3)},
      {"open formulas", repeat("\\(", kMegabyte / 2)},
      {"backquotes", repeat("` ``", kMegabyte / 4)},
      {"fence", repeat("`", kMegabyte)},
      {"equals", repeat("=", kMegabyte)},
      {"think", repeat("<think>", kMegabyte / 10)},
      {"tags", repeat("<think>a</think><answer>b</answer>", kMegabyte / 10)},
      {"answers", repeat("<answer>", kMegabyte / 20) + repeat("</answer>", kMegabyte / 20)},
      {"open boxes", repeat("\\boxed{", kMegabyte / 10)},
      {"nested boxes", repeat("\\boxed{", kMegabyte / 10) + "1" + repeat("}", kMegabyte / 10)},
      {"boxes", repeat("\\boxed{1}", kMegabyte / 10)},
      {"fractions", repeat("\\frac{", kMegabyte / 10)},
      {"nested fractions", repeat("\\frac{1}{", kMegabyte / 10) + "1" + repeat("}", kMegabyte / 10)},
      {"environments", repeat("\\begin{", kMegabyte / 10)},
      {"NUL", std::string(kMegabyte, '\0')},
  };
}

TEST(HostileText, costs_milliseconds_in_every_reward) {
  RewardsConfig config =
      weighted({{"accuracy", 1.0}, {"format", 1.0}, {"language_consistency", 1.0}, {"overlong", 1.0}});
  config.overlong_max_length = 10;
  config.overlong_buffer = 5;
  config.accuracy_needs_format = false;
  const Scorer scorer(config);
  const std::vector<Task> tasks{{"number", "", "1.5", "", "en"},
                                {"text", "", "blue whale", "", "zh"},
                                {"countdown", "", "8 from 3 5", "countdown", "ko"}};
  for (const auto& [name, text] : hostile_texts()) {
    for (const std::string& whole : {text, "<think>" + text + "</think><answer>" + text + "</answer>"}) {
      for (const Task& task : tasks) {
        Completion completion = completion_of(whole);
        Scores scores;
        EXPECT_LT(cpu_seconds([&] { scores = scorer.score(task, completion); }), 1.0) << name << ", " << task.id;
        EXPECT_EQ(scores.at("accuracy").value(), 0.0) << name << ", " << task.id;
      }
    }
    EXPECT_LT(cpu_seconds([&, &text = text] {
                reflects(text);
                mixes_languages(text);
                answers_match("\\boxed{" + text + "}", "7");
                answers_match("7", text);
                check_countdown("\\boxed{" + text + "}", "8 from 3 5");
                check_countdown("3+5=" + text, "8 from 3 5");
              }),
              1.0)
        << name;
  }
}

}  // namespace
}  // namespace grpo
