// Rewards read from text and length alone: what they are worth, and what hostile text makes of them.
#include <gmock/gmock.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "costs.h"
#include "error_of.h"
#include "grpo/reward.h"
#include "grpo/text_rewards.h"

namespace grpo {
namespace {

using ::testing::HasSubstr;

/// The score of one reward for a completion in the strict form with this answer.
Score score(const std::string& name, const std::string& reference, const std::string& answer,
            RewardsConfig config = {}) {
  config.weights = {{name, 1.0}};
  Completion completion;
  completion.text = "<think>I think so. Wait, hmm.</think><answer>" + answer + "</answer>";
  completion.tokens.assign(100, 3);
  return Scorer(config).score({"t", "?", reference, "", ""}, completion).at(name);
}

double value(const std::string& name, const std::string& reference, const std::string& answer) {
  return score(name, reference, answer).value();
}

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// ---- Repetition -----------------------------------------------------------------------------------------------------

TEST(Repetition, IsTheShareOfNgramsSeenBefore) {
  const std::vector<std::int32_t> tokens{1, 2, 3, 1, 2, 3, 1};
  EXPECT_DOUBLE_EQ(repeated_share(tokens, 1), 4.0 / 7);
  EXPECT_DOUBLE_EQ(repeated_share(tokens, 2), 3.0 / 6);
  EXPECT_DOUBLE_EQ(repeated_share(tokens, 3), 2.0 / 5);
  EXPECT_DOUBLE_EQ(repeated_share(tokens, 7), 0.0);
  EXPECT_DOUBLE_EQ(repeated_share(tokens, 8), 0.0);
  EXPECT_DOUBLE_EQ(repeated_share({}, 3), 0.0);
  EXPECT_DOUBLE_EQ(repeated_share(std::vector<std::int32_t>(1000, 7), 20), 980.0 / 981);
}

TEST(Repetition, AgreesWithASetOfNgrams) {
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    std::vector<std::int32_t> tokens(random() % 200);
    for (auto& token : tokens) token = static_cast<std::int32_t>(random() % 3) - 1;
    const int n = 1 + static_cast<int>(random() % 6);
    std::set<std::vector<std::int32_t>> seen;
    std::size_t total = 0;
    for (std::size_t i = 0; i + static_cast<std::size_t>(n) <= tokens.size(); ++i, ++total)
      seen.insert(
          {tokens.begin() + static_cast<std::ptrdiff_t>(i), tokens.begin() + static_cast<std::ptrdiff_t>(i) + n});
    const double wanted = total == 0 ? 0 : static_cast<double>(total - seen.size()) / static_cast<double>(total);
    EXPECT_DOUBLE_EQ(repeated_share(tokens, n), wanted);
  }
}

TEST(Repetition, IsAPenalty) {
  RewardsConfig config;
  config.text.repetition_most = 0.5;
  EXPECT_DOUBLE_EQ(score("repetition", "", "x", config).value(), -0.5 * 80 / 81);  // 100 tokens alike, 20-grams
}

// ---- Length ---------------------------------------------------------------------------------------------------------

TEST(Length, FollowsACosine) {
  TextRewardsConfig config;
  config.length_max = 1000;
  EXPECT_DOUBLE_EQ(cosine_length_reward(true, 0, config), 1.0);
  EXPECT_DOUBLE_EQ(cosine_length_reward(true, 500, config), 0.75);
  EXPECT_NEAR(cosine_length_reward(true, 999, config), 0.5, 1e-5);
  EXPECT_DOUBLE_EQ(cosine_length_reward(true, 1000, config), -1.0);
  EXPECT_DOUBLE_EQ(cosine_length_reward(false, 0, config), -1.0);
  EXPECT_DOUBLE_EQ(cosine_length_reward(false, 500, config), -0.75);
  EXPECT_DOUBLE_EQ(cosine_length_reward(false, 1 << 30, config), -1.0);
  for (std::int64_t length = 1; length < 1000; ++length) {
    EXPECT_LT(cosine_length_reward(true, length, config), cosine_length_reward(true, length - 1, config));
    EXPECT_GT(cosine_length_reward(false, length, config), cosine_length_reward(false, length - 1, config));
  }
}

TEST(Length, AsksWhetherTheAnswerIsRight) {
  EXPECT_GT(value("length", "42", "42"), 0.99);
  EXPECT_LT(value("length", "42", "41"), -0.99);
  EXPECT_FALSE(score("length", "", "42").defined());
}

// ---- Reflection -----------------------------------------------------------------------------------------------------

TEST(Reflection, CountsPhrasesOfTheReasoning) {
  EXPECT_EQ(count_reflections(""), 0u);
  EXPECT_EQ(count_reflections("Wait, wait. Waiter! hmm, let me check again. 잠깐, 알다시피 等等"), 6u);
  EXPECT_EQ(value("reflection", "", "wait wait wait"), 2);  // the answer's do not count
  RewardsConfig config;
  config.text.reflection_most = 1;
  EXPECT_EQ(score("reflection", "", "x", config).value(), 1);
}

// ---- Exact text and patterns ----------------------------------------------------------------------------------------

TEST(Exact, ForgivesCaseSpaceAndWrapping) {
  for (const char* same : {"New York", " new   york. ", "\\boxed{New York}", "$NEW\nYORK$", "Ｎｅｗ　Ｙｏｒｋ"})
    EXPECT_EQ(value("exact", "New York", same), 1) << same;
  for (const char* other :
       {"York", "New York City", "NewYork", "\\boxed{New York} or \\boxed{Boston}", " ", "New-York"})
    EXPECT_EQ(value("exact", "New York", other), 0) << other;
  EXPECT_EQ(normalized_text(" \xFF "), "\uFFFD");
  EXPECT_FALSE(score("exact", "", "x").defined());
}

TEST(Regex, MatchesTheWholeAnswer) {
  EXPECT_EQ(value("regex", "\\d{3}-[a-c]+", " 123-abc\n"), 1);
  EXPECT_EQ(value("regex", "\\d{3}-[a-c]+", "x123-abc"), 0);
  EXPECT_EQ(value("regex", "\\d{3}-[a-c]+", "123-abcd"), 0);
  EXPECT_EQ(value("regex", "a|ab", "ab"), 1);
  EXPECT_EQ(value("regex", ".*", " "), 0);  // no answer
  EXPECT_EQ(value("regex", "\\w+", "\xFF\xFE"), 0);
  EXPECT_THAT(error_of([] { value("regex", "(", "x"); }), HasSubstr("regular expression"));
  EXPECT_EQ(value("regex", "(a+)+", std::string(5000, 'a') + "!"), 0);
}

// ---- Multiple choice ------------------------------------------------------------------------------------------------

TEST(Choice, FindsTheOneLetter) {
  for (const char* text : {"C",
                           "c",
                           " (C) ",
                           "C.",
                           "**C**",
                           "\\boxed{C}",
                           "\\boxed{\\text{C}}",
                           "$\\text{C}$",
                           "C. Paris",
                           "C) a dog",
                           "(C) Paris",
                           "**C.** Paris",
                           "The answer is C.",
                           "The answer is (C) Paris.",
                           "I think the answer is C",
                           "A dog is option C",
                           "Answer: **C**",
                           "답은 C입니다",
                           "答案是C。",
                           "So we choose C, which is Paris.",
                           "I'd say the answer is C"})
    EXPECT_EQ(chosen_letter(text), 'C') << text;
}

TEST(Choice, RefusesCompetingLetters) {
  for (const char* text : {"",
                           " ",
                           "B or C",
                           "B and C",
                           "not B but C",
                           "A, B, C, D",
                           "(A) (B) (C)",
                           "The answer is B or C.",
                           "The answer is C. The answer is D.",
                           "\\boxed{B} \\boxed{C}",
                           "CD",
                           "K",
                           "Cat",
                           "the letter",
                           "A dog",
                           "I think",
                           "Vitamin C",
                           "ABCDEFGHIJ",
                           "C1",
                           "C. no, D.",
                           "C/D",
                           "3",
                           "Ć"})
    EXPECT_EQ(chosen_letter(text), '\0') << text;
}

TEST(Choice, IsAReward) {
  EXPECT_EQ(value("choice", "B", "The answer is B."), 1);
  EXPECT_EQ(value("choice", "B", "The answer is A, or maybe B."), 0);
  EXPECT_THAT(error_of([] { value("choice", "Paris", "B"); }), HasSubstr("letter from A to J"));
}

// ---- Instructions ---------------------------------------------------------------------------------------------------

TEST(InstructionsReward, WantsAllOfThemFollowed) {
  const std::string task =
      R"({"instruction_id_list": ["punctuation:no_comma", "detectable_format:title"], "kwargs": [{}, {}]})";
  EXPECT_EQ(value("instructions", task, "<<Title>> and text"), 1);
  EXPECT_EQ(value("instructions", task, "<<Title>>, and text"), 0);
  EXPECT_EQ(value("instructions", task, "text"), 0);
  EXPECT_FALSE(score("instructions", "", "x").defined());
  EXPECT_THAT(error_of([] { value("instructions", "{}", "x"); }), HasSubstr("instruction_id_list"));

  RewardsConfig config;
  config.weights = {{"instructions", 1.0}};
  Completion broken;
  broken.text = "<think>a, b</think>\n<<Title>> text";
  const Task question{"t", "?", task, "", ""};
  EXPECT_EQ(Scorer(config).score(question, broken).at("instructions").value(), 0);
  config.accuracy_needs_format = false;
  EXPECT_EQ(Scorer(config).score(question, broken).at("instructions").value(), 1);
  config.think_open = true;
  broken.text = "a b</think>\n<<Title>> text";
  EXPECT_EQ(Scorer(config).score(question, broken).at("instructions").value(), 1);
  broken.text = "<<Title>> text";  // reasoning that never ends
  EXPECT_EQ(Scorer(config).score(question, broken).at("instructions").value(), 0);
}

// ---- All of them ----------------------------------------------------------------------------------------------------

TEST(TextRewards, RefuseBadKnobs) {
  const auto refusal = [](auto change) {
    RewardsConfig config;
    change(config.text);
    return error_of([&] { validate(config.text, "rewards.text"); });
  };
  EXPECT_THAT(refusal([](auto& text) { text.repetition_ngram = 0; }), HasSubstr("repetition_ngram"));
  EXPECT_THAT(refusal([](auto& text) { text.length_max = 0; }), HasSubstr("length_max"));
  EXPECT_THAT(refusal([](auto& text) { text.length_exceeded = NAN; }), HasSubstr("finite"));
  EXPECT_THAT(refusal([](auto& text) { text.repetition_most = -1; }), HasSubstr("repetition_most"));
}

const std::pair<const char*, const char*> kReferences[] = {
    {"choice", "C"},
    {"exact", "New York"},
    {"instructions", R"({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]})"},
    {"length", "42"},
    {"reflection", ""},
    {"regex", "[a-z ]+"},
    {"repetition", ""}};

TEST(TextRewards, TakeAnyTextAndStayInTheirRange) {
  std::mt19937 random(3);
  const std::string_view pieces = "ABC abc()[]{}$\\.*,:'\"\n\xFF\xE2\x80\xEB\x8B\xB5<>/42";
  for (const auto& [name, reference] : kReferences)
    for (int round = 0; round < 200; ++round) {
      std::string text(random() % 50, ' ');
      for (char& c : text) c = pieces[random() % pieces.size()];
      const double got = value(name, reference, text);
      EXPECT_GE(got, -1) << name << text;
      EXPECT_LE(got, 10) << name << text;
    }
}

TEST(TextRewards, TakeLinearTime) {
  for (const auto& [name, reference] : kReferences)
    for (const std::string_view piece :
         {"A ", "(", "C. ", "\\boxed{", "$", " ", "wait ", "let me ", "a", "\xFF", "e\u0301", "等"}) {
      std::string text;
      while (text.size() < 1 << 18) text += piece;
      EXPECT_LT(seconds([&] { value(name, reference, text); }), 2) << name << piece;
    }
}

TEST(TextRewards, AreFast) {
  std::string text;
  for (int i = 0; text.size() < 4500; ++i)
    text += "Wait, the option " + std::to_string(i) + " is no answer. Let me see (again) whether A dog is fine.\n";
  Task task{"t", "?", "", "", ""};
  Completion completion;
  completion.text = "<think>" + text + "</think><answer>" + text + "</answer>";
  for (int i = 0; i < 1000; ++i) completion.tokens.push_back(i * 7 % 501);
  for (const auto& [name, reference] : kReferences) {
    RewardsConfig config;
    config.weights = {{name, 1.0}};
    config.accuracy_needs_format = false;
    task.answer = reference;
    const Scorer scorer(config), bare(RewardsConfig{});
    const auto time = [&](const Scorer& each) {
      return seconds([&] {
        for (int i = 0; i < 200; ++i) each.score(task, completion);
      });
    };
    const double rest = time(bare), all = time(scorer);  // format, accuracy and language are read for every sample
    std::printf("%-14s %6.1f us for 9,000 bytes and 1,000 tokens\n", name, (all - rest) / 200 * 1e6);
    EXPECT_LT(all, kSlower * 2);
  }
}

}  // namespace
}  // namespace grpo
