// The problems that are made here: arithmetic and countdown, and the draws that choose among them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "grpo/tasks.h"
#include "problem_reading.h"
#include "tasks/generators.h"

namespace grpo {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// ---- Hashing ----

TEST(Permutation, is_one_for_every_size_and_differs_by_key) {
  for (const std::uint64_t size : {1, 2, 3, 4, 5, 7, 16, 17, 100, 1000, 10100}) {
    std::set<std::uint64_t> seen;
    for (std::uint64_t i = 0; i < size; ++i) {
      seen.insert(permuted(i, size, 42));
      EXPECT_LT(permuted(i, size, 42), size);
    }
    EXPECT_EQ(seen.size(), size);
  }
  std::uint64_t same = 0, fixed = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    same += permuted(i, 1000, 1) == permuted(i, 1000, 2);
    fixed += permuted(i, 1000, 1) == i;
  }
  EXPECT_LT(same, 20u);
  EXPECT_LT(fixed, 20u);
  EXPECT_LT(permuted(123, std::uint64_t{1} << 62, 3), std::uint64_t{1} << 62);
}

TEST(Draws, depend_on_every_part_of_the_key_and_on_its_order) {
  const auto first = [](std::initializer_list<std::uint64_t> key) { return Draws(key).next(); };
  const std::set<std::uint64_t> values = {first({1, 2}), first({2, 1}), first({1, 2, 0}), first({1, 3}), first({0, 2}),
                                          first({1}),    first({}),     first({0}),       first({0, 0})};
  EXPECT_EQ(values.size(), 9u);
  EXPECT_EQ(first({1, 2}), first({1, 2}));
}

TEST(Draws, are_the_same_on_every_platform) {
  Draws draws{7, 8};
  const std::vector<std::uint64_t> values = {draws.below(1000), draws.below(1000), draws.below(1000),
                                             draws.below(1000)};
  EXPECT_THAT(values, ElementsAre(157, 174, 543, 512)) << "changing these changes every corpus and every task order";
}

// ---- Arithmetic ----

TEST(Arithmetic, default_has_10100_problems_in_two_disjoint_halves) {
  const TasksConfig config;
  TaskStream train(config), heldout(config, Split::heldout);
  EXPECT_EQ(train.size() + heldout.size(), 10100u);
  EXPECT_NEAR(static_cast<double>(heldout.size()), 1010, 100);
  std::set<std::string> seen[2];
  for (TaskStream* stream : {&train, &heldout})
    for (int epoch = 0; epoch < 3; ++epoch)
      for (const Task& task : stream->take(stream->size())) seen[stream == &heldout].insert(canonical_of(task.prompt));
  EXPECT_EQ(seen[0].size(), train.size());
  EXPECT_EQ(seen[1].size(), heldout.size());
  for (const std::string& problem : seen[1]) EXPECT_FALSE(seen[0].contains(problem)) << problem;
  EXPECT_TRUE(seen[0].contains("0+0") || seen[1].contains("0+0"));
  EXPECT_TRUE(seen[0].contains("99-99") || seen[1].contains("99-99"));
}

TEST(Arithmetic, answers_are_right_and_differences_not_negative) {
  TasksConfig config;
  config.arithmetic.operators = "+-*";
  config.arithmetic.max_operand = 30;
  std::map<char, int> operators;
  const std::regex problem(R"((\d+) ?([-+*]) ?(\d+))");
  for (const Task& task : TaskStream(config).take(3000)) {
    std::smatch match;
    ASSERT_TRUE(std::regex_search(task.prompt, match, problem)) << task.prompt;
    const std::int64_t a = std::stoll(match[1]), b = std::stoll(match[3]);
    const char op = match[2].str()[0];
    ++operators[op];
    EXPECT_EQ(task.answer, std::to_string(op == '+' ? a + b : op == '-' ? a - b : a * b)) << task.prompt;
    EXPECT_TRUE(op != '-' || a >= b);
    EXPECT_LE(std::max(a, b), 30);
    EXPECT_EQ(task.kind, "arithmetic");
    EXPECT_EQ(task.language, "en");
    EXPECT_EQ(task.id, "arithmetic:" + canonical_of(task.prompt));
  }
  for (const auto& [op, count] : operators) EXPECT_NEAR(count, 1000, 150) << op;
  EXPECT_EQ(operators.size(), 3u);
}

TEST(Arithmetic, stories_ask_for_the_same_answers) {
  TasksConfig config;
  config.arithmetic.operators = "+-*";
  config.languages = {"en", "ko"};
  config.arithmetic.story_share = 1;
  std::set<std::string> wordings;
  for (const Task& task : TaskStream(config).take(300)) {
    EXPECT_EQ(task.prompt.find('{'), std::string::npos) << task.prompt;
    const std::string problem = task.id.substr(task.id.find(':') + 1);  // "arithmetic:47+85"
    const std::size_t sign = problem.find_first_of("+-*");
    for (const std::string& operand : {problem.substr(0, sign), problem.substr(sign + 1)})
      EXPECT_NE(task.prompt.find(operand), std::string::npos) << task.prompt;
    const std::int64_t a = std::stoll(problem.substr(0, sign)), b = std::stoll(problem.substr(sign + 1));
    EXPECT_EQ(task.answer, std::to_string(problem[sign] == '+' ? a + b : problem[sign] == '-' ? a - b : a * b));
    EXPECT_EQ(task.kind, "arithmetic");
    wordings.insert(task.prompt);
  }
  EXPECT_GT(wordings.size(), 290u);
  config.arithmetic.story_share = 0.5;
  std::size_t stories = 0;
  for (const Task& task : TaskStream(config).take(400)) stories += task.prompt.size() > 35;
  EXPECT_NEAR(static_cast<double>(stories), 200, 60);
}

TEST(Arithmetic, wording_and_operand_order_vary_between_epochs) {
  TasksConfig config;
  config.arithmetic.max_operand = 1;
  config.heldout_share = 0;
  config.languages = {"en", "ko"};
  std::set<std::string> prompts, languages;
  for (const Task& task : TaskStream(config).take(3000)) {
    if (canonical_of(task.prompt) == "0+1") prompts.insert(task.prompt);
    languages.insert(task.language);
    const bool hangul = std::any_of(task.prompt.begin(), task.prompt.end(), [](char c) { return (c & 0x80) != 0; });
    EXPECT_EQ(hangul, task.language == "ko") << task.prompt;
  }
  for (const std::string wording :
       {"0+1=?", "1+0=?", "What is 1+0?", "0 + 1 = ?", "Compute 0+1.", "Calculate 0 + 1", "1+0는?"})
    EXPECT_TRUE(prompts.contains(wording)) << wording;
  EXPECT_THAT(languages, ElementsAre("en", "ko"));
}

TEST(Arithmetic, split_ignores_seed_ranges_and_operators) {
  TasksConfig small, large;
  small.arithmetic = {20, "+"};
  large.arithmetic = {200, "-+"};
  large.seed = 77;
  TaskStream small_heldout(small, Split::heldout), large_train(large);
  const auto held = id_set(small_heldout.take(small_heldout.size()));
  const auto trained = id_set(large_train.take(large_train.size()));
  EXPECT_FALSE(held.empty());
  for (const std::string& id : held) EXPECT_FALSE(trained.contains(id)) << id;
}

TEST(Arithmetic, huge_ranges_cost_nothing) {
  TasksConfig config;
  config.arithmetic = {1'000'000'000, "+-*"};
  EXPECT_EQ(TaskStream(config).take(100).size(), 100u);
  EXPECT_EQ(heldout_tasks(config, 50).size(), 50u);
  for (const Task& task : TaskStream(config).take(100)) EXPECT_EQ(task.id, "arithmetic:" + canonical_of(task.prompt));
}

TEST(Arithmetic, bad_settings_are_refused) {
  for (const auto& spoil : std::vector<std::function<void(TasksConfig&)>>{
           [](auto& c) { c.arithmetic.operators = ""; }, [](auto& c) { c.arithmetic.operators = "+/"; },
           [](auto& c) { c.arithmetic.operators = "++"; }, [](auto& c) { c.arithmetic.max_operand = -1; },
           [](auto& c) { c.arithmetic.max_operand = 1'000'000'001; }, [](auto& c) { c.heldout_share = 1; },
           [](auto& c) { c.heldout_share = -0.1; }, [](auto& c) { c.heldout_share = std::nan(""); },
           [](auto& c) { c.languages = {}; },
           [](auto& c) {
             c.languages = {"en", "xx"};
           }}) {
    TasksConfig config;
    spoil(config);
    EXPECT_THROW(TaskStream stream(config), Error);
  }
}

// ---- Countdown ----

TEST(Countdown, problems_are_solvable_distinct_and_within_range) {
  TasksConfig config;
  config.generator = TaskGenerator::countdown;
  config.heldout_share = 0;
  const ProblemSet problems(config);
  EXPECT_GE(problems.size(), 10000u);
  std::set<std::string> seen;
  std::map<std::size_t, int> sizes;
  for (std::uint64_t i = 0; i < problems.size(); ++i) {
    const auto problem = std::get<CountdownProblem>(problems.canonical(i));
    Reader reader(problem.solution);
    ASSERT_EQ(reader.value(), static_cast<double>(problem.target)) << problem.solution;
    ASSERT_EQ(reader.numbers, (std::multiset<std::int64_t>(problem.numbers.begin(), problem.numbers.end())));
    EXPECT_TRUE(std::is_sorted(problem.numbers.begin(), problem.numbers.end()));
    EXPECT_TRUE(problem.target >= 10 && problem.target <= 99);
    EXPECT_TRUE(problem.numbers.front() >= 1 && problem.numbers.back() <= 20);
    EXPECT_TRUE(seen.insert(problem.text()).second) << problem.text();
    ++sizes[problem.numbers.size()];
  }
  EXPECT_GT(sizes[3], 1000);
  EXPECT_GT(sizes[4], 1000);
}

TEST(Countdown, tasks_state_numbers_and_target_and_halves_are_disjoint) {
  TasksConfig config;
  config.generator = TaskGenerator::countdown;
  config.countdown.problems = 2000;
  TaskStream train(config), heldout(config, Split::heldout);
  EXPECT_EQ(train.size() + heldout.size(), 2000u);
  const auto tasks = train.take(2 * train.size());
  const auto ids = id_set(tasks);
  EXPECT_EQ(ids.size(), train.size());
  bool reordered = false;
  for (const Task& task : tasks) {
    std::smatch match;
    ASSERT_TRUE(std::regex_match(
        task.prompt, match,
        std::regex(R"(Using the numbers \[([0-9, ]+)\], make (\d+)\. Use each number once with \+ - \* /\.)")))
        << task.prompt;
    const std::string numbers = std::regex_replace(match[1].str(), std::regex(","), "");
    EXPECT_EQ(task.answer, match[2].str() + " from " + numbers);
    reordered |= task.id != "countdown:" + task.answer;
    EXPECT_EQ(task.kind, "countdown");
  }
  EXPECT_TRUE(reordered);
  for (const Task& task : heldout.take(heldout.size())) EXPECT_FALSE(ids.contains(task.id));
}

TEST(Countdown, bad_settings_are_refused_and_small_ones_end) {
  TasksConfig config;
  config.generator = TaskGenerator::countdown;
  config.heldout_share = 0;
  config.countdown = {1, 1, 1, 1, 1, "+-*/", 50};
  EXPECT_EQ(TaskStream(config).size(), 1u);
  config.countdown = {1, 1, 1, 5, 9, "+-*/", 50};
  EXPECT_THAT(error_of([&] { TaskStream stream(config); }), HasSubstr("widen"));
  for (const CountdownConfig& bad :
       {CountdownConfig{0, 4, 20, 1, 9}, CountdownConfig{4, 3, 20, 1, 9}, CountdownConfig{3, 4, 0, 1, 9},
        CountdownConfig{3, 4, 20, 9, 1}, CountdownConfig{3, 9, 20, 1, 9}, CountdownConfig{3, 4, 20, 1, 9, "+", 0},
        CountdownConfig{3, 4, 20, 1, 9, ""}, CountdownConfig{3, 4, 20, 1, 9, "-*"}, CountdownConfig{3, 4, 20, 1, 9, "+^"},
        CountdownConfig{3, 4, 20, 1, 9, "++"}}) {
    config.countdown = bad;
    EXPECT_THROW(TaskStream stream(config), Error);
  }
}

}  // namespace
}  // namespace grpo
