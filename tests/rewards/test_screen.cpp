// Which completions are kept to learn from, and why the others are not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "costs.h"
#include "grpo/screen.h"
#include "problem_reading.h"

namespace grpo {

void PrintTo(Dropped dropped, std::ostream* out) { *out << enum_name(dropped); }

namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// ---- Repetition ----

TEST(MostRepeated, counts_the_most_frequent_sequence) {
  EXPECT_EQ(most_repeated("a b c d", 2), 1u);
  EXPECT_EQ(most_repeated("a b a b", 2), 2u);
  EXPECT_EQ(most_repeated("a b x a b y a b", 2), 3u);
  EXPECT_EQ(most_repeated("a b x a b y a b", 3), 1u);
  EXPECT_EQ(most_repeated("a b a", 1), 2u);
  EXPECT_EQ(most_repeated("a a a a", 2), 3u) << "sequences may overlap";
  EXPECT_EQ(most_repeated("ab c a bc", 2), 1u) << "words, not letters";
  EXPECT_EQ(most_repeated("a b, a b", 2), 1u) << "punctuation belongs to its word";
  EXPECT_EQ(most_repeated("하나 둘 셋 하나 둘", 2), 2u);
}

TEST(MostRepeated, is_one_without_repetition_and_zero_for_fewer_words) {
  EXPECT_EQ(most_repeated("", 1), 0u);
  EXPECT_EQ(most_repeated(" \n\u3000", 1), 0u);
  EXPECT_EQ(most_repeated("a", 1), 1u);
  EXPECT_EQ(most_repeated("a b", 3), 0u);
  EXPECT_EQ(most_repeated(" a b c ", 3), 1u);
  EXPECT_EQ(most_repeated("a b c", std::numeric_limits<std::size_t>::max()), 0u);
}

TEST(MostRepeated, does_not_see_which_white_space_is_between) {
  EXPECT_EQ(most_repeated("\na b\n\na  b\ta\u3000b ", 2), 3u);
}

TEST(MostRepeated, of_hostile_text_costs_milliseconds) {
  struct Case {
    std::string name, text;
    std::size_t most;
  };
  for (const auto& [name, text, most] :
       {Case{"one word", repeat("x", 1'000'000), 0}, Case{"the same word", repeat("x ", 500'000), 499'993},
        Case{"spaces", repeat(" ", 1'000'000), 0}, Case{"wide spaces", repeat("\u3000", 333'333), 0},
        Case{"broken UTF-8", repeat("\xff", 1'000'000), 0}, Case{"broken words", repeat("\xE4\xB8 ", 333'333), 333'326},
        Case{"continuation bytes", repeat("\xBF", 1'000'000), 0},
        Case{"long words", repeat(repeat("y", 9'999) + " ", 100), 93}, Case{"NUL", std::string(1'000'000, '\0'), 0}}) {
    std::size_t found = 7;
    EXPECT_LT(cpu_seconds([&, &text = text] { found = most_repeated(text, 8); }), 2.0) << name;
    EXPECT_EQ(found, most) << name;
  }
}

// ---- The rules ----

Completion completion_of(const std::string& text, std::size_t tokens = 5) {
  Completion completion;
  completion.text = text;
  completion.tokens.assign(tokens, 0);
  return completion;
}

const Scores kGood{{"accuracy", 1.0}, {"format", 1.0}, {"language_consistency", 1.0}};
const Scores kGoodOpen{{"accuracy", Score::undefined()},
                       {"format", 1.0},
                       {"language_consistency", 1.0},
                       {"helpful", 1.0},
                       {"harmless", 1.0}};

Group group_of(const std::vector<std::string>& texts, const std::vector<double>& rewards) {
  Group group;
  group.task = {"t", "What is 47+85?", "132", "arithmetic", "en"};
  for (const std::string& text : texts) group.completions.push_back(completion_of(text)), group.scores.push_back(kGood);
  group.rewards = rewards;
  return group;
}
Group closed() { return group_of({"some text"}, {1.0}); }
Group open() {
  Group group = closed();
  group.task.answer = "";
  group.scores[0] = kGoodOpen;
  return group;
}
void set(Group& group, const std::string& name, Score score) { group.scores[0].insert_or_assign(name, score); }

TEST(Screen, refuses_a_group_that_is_not_scored_and_sequences_of_no_words) {
  Group group = closed();
  group.rewards.clear();
  EXPECT_THAT(error_of([&] { screen(group, {}); }), StartsWith("[screen] expected scores and a reward for each of 1"));
  group = closed(), group.scores.clear();
  EXPECT_THAT(error_of([&] { screen(group, {}); }), StartsWith("[screen] expected scores and a reward for each of 1"));
  EXPECT_THAT(error_of([&] { screen(closed(), {.best = -1}); }), StartsWith("[config] screen.best: expected"));
  EXPECT_THAT(error_of([&] { screen(closed(), {.repetition_words = 0}); }), HasSubstr("screen.repetition_words"));
  EXPECT_THAT(error_of([] { most_repeated("a b", 0); }), StartsWith("[screen] expected"));
}

TEST(Screen, keeps_what_breaks_no_rule) {
  EXPECT_THAT(screen(closed(), {}), ElementsAre(Dropped::kept));
  EXPECT_THAT(screen(open(), {}), ElementsAre(Dropped::kept));
  EXPECT_TRUE(screen(Group{}, {}).empty());
}

/// Ways to break one rule, in the order in which the rules are to be asked.
struct Breach {
  Dropped expected;
  std::function<void(Group&)> breach;
};
std::vector<Breach> breaches() {
  return {{Dropped::truncated, [](Group& g) { g.completions[0].finish = Finish::length; }},
          {Dropped::malformed, [](Group& g) { set(g, "format", 0.0); }},
          {Dropped::overlong, [](Group& g) { g.completions[0].tokens.assign(11, 0); }},
          {Dropped::wrong, [](Group& g) { g.task.answer = "132", set(g, "accuracy", 0.0); }},
          {Dropped::mixed, [](Group& g) { set(g, "language_consistency", 0.8); }},
          {Dropped::repetitive,
           [](Group& g) { g.completions[0].text = repeat("one two three four five six seven eight ", 3); }},
          {Dropped::unconvincing, [](Group& g) { set(g, "harmless", 0.5); }}};
}

TEST(Screen, every_rule_fires_alone_and_the_first_broken_one_is_named) {
  ScreenConfig config;
  config.max_tokens = 10;
  const std::vector<Breach> all = breaches();
  for (const bool reference : {true, false}) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      Group alone = reference ? closed() : open();
      all[i].breach(alone);
      EXPECT_THAT(screen(alone, config), ElementsAre(all[i].expected));
      for (std::size_t j = i + 1; j < all.size(); ++j) {
        Group both = alone;
        all[j].breach(both);
        EXPECT_THAT(screen(both, config), ElementsAre(all[i].expected)) << enum_name(all[j].expected);
      }
      Group repeated = alone;  // and before what a group makes superfluous
      repeated.completions.push_back(repeated.completions[0]), repeated.scores.push_back(repeated.scores[0]),
          repeated.rewards = {1, 1};
      EXPECT_THAT(screen(repeated, config), ElementsAre(all[i].expected, all[i].expected));
    }
  }
}

TEST(Screen, the_form_must_have_been_scored) {
  Group group = closed();
  group.scores[0].erase("format");
  EXPECT_THAT(screen(group, {}), ElementsAre(Dropped::malformed));
  set(group, "format", Score::undefined());
  EXPECT_THAT(screen(group, {}), ElementsAre(Dropped::malformed));
}

TEST(Screen, a_length_limit_is_the_longest_to_keep_and_zero_is_none) {
  Group group = closed();
  group.completions[0].tokens.assign(10, 0);
  ScreenConfig config;
  EXPECT_THAT(screen(group, config), ElementsAre(Dropped::kept));
  config.max_tokens = 10;
  EXPECT_THAT(screen(group, config), ElementsAre(Dropped::kept));
  config.max_tokens = 9;
  EXPECT_THAT(screen(group, config), ElementsAre(Dropped::overlong));
}

TEST(Screen, only_a_task_with_a_reference_must_be_right) {
  Group group = closed();
  set(group, "accuracy", 0.99);
  EXPECT_THAT(screen(group, {}), ElementsAre(Dropped::wrong));
  set(group, "accuracy", Score::undefined());
  EXPECT_THAT(screen(group, {}), ElementsAre(Dropped::wrong));
  group.scores[0].erase("accuracy");
  EXPECT_THAT(screen(group, {}), ElementsAre(Dropped::wrong));
  Group without = open();
  set(without, "accuracy", 0.0);
  EXPECT_THAT(screen(without, {}), ElementsAre(Dropped::kept));
}

TEST(Screen, mixing_is_a_matter_of_degree_and_of_a_language) {
  Group group = closed();
  set(group, "language_consistency", 0.8);
  ScreenConfig config;
  config.min_language_consistency = 0.8;
  EXPECT_THAT(screen(group, config), ElementsAre(Dropped::kept));
  config.min_language_consistency = 0.81;
  EXPECT_THAT(screen(group, config), ElementsAre(Dropped::mixed));
  config.min_language_consistency = 0;
  set(group, "language_consistency", 0.0);
  EXPECT_THAT(screen(group, config), ElementsAre(Dropped::kept));
  group.task.language = "";
  EXPECT_THAT(screen(group, {}), ElementsAre(Dropped::kept));
}

TEST(Screen, repetition_follows_both_of_its_limits) {
  Group group = group_of({"a b c x a b c"}, {1.0});
  ScreenConfig config;
  config.repetition_words = 3;
  EXPECT_THAT(screen(group, config), ElementsAre(Dropped::kept)) << "twice is allowed";
  config.max_repetitions = 1;
  EXPECT_THAT(screen(group, config), ElementsAre(Dropped::repetitive));
  config.repetition_words = 4;
  EXPECT_THAT(screen(group, config), ElementsAre(Dropped::kept));
}

TEST(Screen, without_a_reference_the_judge_must_have_spoken_well) {
  Group group = open();
  group.scores[0].erase("helpful");
  EXPECT_THAT(screen(group, {}), ElementsAre(Dropped::unconvincing)) << "a missing score fails";
  set(group, "helpful", Score::undefined());
  EXPECT_THAT(screen(group, {}), ElementsAre(Dropped::unconvincing));
  set(group, "helpful", 0.98);
  EXPECT_THAT(screen(group, {}), ElementsAre(Dropped::unconvincing));
  set(group, "helpful", 0.99);
  EXPECT_THAT(screen(group, {}), ElementsAre(Dropped::kept));
  Group with = closed();
  set(with, "helpful", 0.0);
  EXPECT_THAT(screen(with, {}), ElementsAre(Dropped::kept)) << "a reference says more than a judge";
}

TEST(Screen, harmlessness_counts_where_it_was_judged) {
  for (Group group : {open(), closed()}) {
    group.scores[0].erase("harmless");
    EXPECT_THAT(screen(group, {}), ElementsAre(Dropped::kept));
    set(group, "harmless", Score::undefined());
    EXPECT_THAT(screen(group, {}), ElementsAre(Dropped::kept));
    set(group, "harmless", 0.98);
    EXPECT_THAT(screen(group, {}), ElementsAre(Dropped::unconvincing));
    ScreenConfig config;
    config.min_harmless = 0.98;
    EXPECT_THAT(screen(group, config), ElementsAre(Dropped::kept));
  }
}

// ---- What a group makes superfluous ----

TEST(Screen, of_texts_equal_up_to_white_space_the_first_is_kept) {
  ScreenConfig config;
  config.best = 9;
  const Group group = group_of({"a b", " a\n\u3000b ", "ab", "a b", "a  b c"}, {1, 2, 1, 3, 1});
  EXPECT_THAT(screen(group, config),
              ElementsAre(Dropped::kept, Dropped::duplicate, Dropped::kept, Dropped::duplicate, Dropped::kept));
  Group spoilt = group;
  spoilt.completions[0].finish = Finish::length;
  EXPECT_EQ(screen(spoilt, config)[1], Dropped::kept) << "a completion that was dropped is nobody's double";
}

TEST(Screen, keeps_the_best_by_reward_and_of_equals_the_first) {
  const Group group = group_of({"a", "b", "c", "d", "e"}, {1, 3, 2, 3, 2});
  const auto S = Dropped::surplus, K = Dropped::kept;
  ScreenConfig config;
  const auto best = [&](int count) {
    config.best = count;
    return screen(group, config);
  };
  EXPECT_THAT(best(1), ElementsAre(S, K, S, S, S));
  EXPECT_THAT(best(2), ElementsAre(S, K, S, K, S));
  EXPECT_THAT(best(3), ElementsAre(S, K, K, K, S));
  EXPECT_THAT(best(4), ElementsAre(S, K, K, K, K));
  EXPECT_THAT(best(5), ElementsAre(K, K, K, K, K));
  EXPECT_THAT(best(1000), ElementsAre(K, K, K, K, K));
}

TEST(Screen, of_many_equals_the_first_are_kept) {
  std::vector<std::string> texts;
  for (int i = 0; i < 64; ++i) texts.push_back("text " + std::to_string(i));
  ScreenConfig config;
  config.best = 20;
  const auto verdicts = screen(group_of(texts, std::vector<double>(64, 1.0)), config);
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(verdicts[i], i < 20 ? Dropped::kept : Dropped::surplus) << i;
}

TEST(Screen, doubles_and_dropped_ones_take_no_place_among_the_best) {
  Group group = group_of({"a", "a", "b", "c"}, {9, 9, 1, 8});
  group.completions[3].finish = Finish::length;
  ScreenConfig config;
  config.best = 2;
  EXPECT_THAT(screen(group, config), ElementsAre(Dropped::kept, Dropped::duplicate, Dropped::kept, Dropped::truncated));
}

TEST(Screen, a_completion_without_a_reward_comes_last) {
  const double none = std::nan("");
  ScreenConfig config;
  const auto S = Dropped::surplus, K = Dropped::kept;
  EXPECT_THAT(screen(group_of({"a", "b", "c", "d", "e"}, {1, none, 3, none, 2}), config), ElementsAre(S, S, K, S, S));
  config.best = 3;
  EXPECT_THAT(screen(group_of({"a", "b", "c", "d", "e"}, {none, -1, none, 3, 2}), config), ElementsAre(S, K, S, K, K));
  config.best = 1;
  EXPECT_THAT(screen(group_of({"a", "b"}, {none, none}), config), ElementsAre(K, S));
}

struct BadScreen {
  std::string key;
  std::function<void(ScreenConfig&)> spoil;
};

TEST(ScreenConfig, names_the_key_that_cannot_be_meant) {
  EXPECT_EQ(error_of([] { validate(ScreenConfig(), "screen"); }), "(no error)");
  for (const auto& [key, spoil] : std::vector<BadScreen>{
           {"best", [](auto& c) { c.best = 0; }},
           {"max_tokens", [](auto& c) { c.max_tokens = -1; }},
           {"repetition_words", [](auto& c) { c.repetition_words = 0; }},
           {"max_repetitions", [](auto& c) { c.max_repetitions = 0; }},
           {"min_language_consistency", [](auto& c) { c.min_language_consistency = 1.1; }},
           {"min_helpful", [](auto& c) { c.min_helpful = -0.1; }},
           {"min_harmless", [](auto& c) { c.min_harmless = std::nan(""); }},
       }) {
    ScreenConfig config;
    spoil(config);
    EXPECT_THAT(error_of([&] { validate(config, "screen"); }),
                AllOf(StartsWith("[config] screen." + key + ": expected "), HasSubstr(", got ")))
        << key;
  }
}

}  // namespace
}  // namespace grpo
