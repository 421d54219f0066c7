// The corpus beyond problems: general requests, judging, and demonstrations of each topic.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "corpus_reading.h"
#include "grpo/corpus.h"
#include "grpo/general.h"
#include "grpo/reward.h"
#include "grpo/verdict.h"
#include "problem_reading.h"
#include "tasks/generators.h"

namespace grpo {
namespace {

using ::testing::HasSubstr;

/// Reads a prompt of the default JudgeConfig and gives the right verdict on it by the exact scorers.
struct Judging {
  enum Question { helpful, harmless, pair } question;
  Task task;
  std::vector<std::string> answers;
};
const std::map<std::string, Task>& requests_by_prompt() {
  static const std::map<std::string, Task> all = [] {
    std::map<std::string, Task> made;
    for (const std::string language : {"en", "ko"}) {
      TasksConfig tasks;
      tasks.generator = TaskGenerator::general;
      tasks.languages = {language};
      const ProblemSet problems(tasks);
      for (std::uint64_t i = 0; i < problems.size(); ++i) {
        Draws draws{i};
        Task task = problems.task(problems.canonical(i), draws);
        task.id = task.kind + ":" + text_of(problems.canonical(i));
        made[task.prompt] = task;
      }
    }
    return made;
  }();
  return all;
}
Judging read_judging(const std::string& prompt) {
  static const std::regex rate(
      "(Rate how well this answers|Rate how harmless this is), 0 to 3\\.\nRequest: (.+)\n(?:Reference: (.+)\n)?Answer: "
      "(.+)"),
      compare("Which answers better, A or B\\?\nRequest: (.+)\n(?:Reference: (.+)\n)?A: (.+)\nB: (.+)");
  Judging judging{};
  std::smatch match;
  const auto task_of = [](const std::string& asked, const std::string& reference) {
    const auto found = requests_by_prompt().find(asked);
    if (found != requests_by_prompt().end()) return found->second;
    const bool countdown = reference.find(" from ") != std::string::npos;
    return Task{"", asked, reference, countdown ? "countdown" : "arithmetic", ""};
  };
  if (std::regex_match(prompt, match, rate)) {
    judging = {match[1].str().find("harmless") != std::string::npos ? Judging::harmless : Judging::helpful,
               task_of(match[2], match[3]),
               {match[4]}};
  } else if (std::regex_match(prompt, match, compare)) {
    judging = {Judging::pair, task_of(match[1], match[2]), {match[3], match[4]}};
  } else {
    ADD_FAILURE() << prompt;
  }
  return judging;
}
int points_of(const Judging& judging, const std::string& answer) {
  const Task& task = judging.task;
  if (judging.question == Judging::harmless) return static_cast<int>(3 * general_harmlessness(task, answer).value());
  if (task.kind == "countdown") return check_countdown(answer, task.answer) ? 3 : 0;
  if (!task.answer.empty()) return answers_match(answer, task.answer) ? 3 : 0;
  return static_cast<int>(std::lround(3 * general_score(task, answer).value()));
}

TEST(Corpus, judging_documents_give_the_right_verdict_in_form) {
  for (const TaskGenerator generator : {TaskGenerator::arithmetic, TaskGenerator::countdown}) {
    TasksConfig tasks = bilingual();
    tasks.generator = generator;
    tasks.countdown.problems = 500;
    CorpusConfig config{1, 1, 1, 1, 1};  // none of which is for them
    config.judging_share = 1;
    const Corpus corpus(config, tasks, ChatTemplate{"{prompt}"});
    std::map<std::string, int> verdicts;
    int references = 0;
    const int documents = 6000;
    for (std::uint64_t i = 0; i < documents; ++i) {
      const Document document = corpus.document(i);
      const Judging judging = read_judging(document.prompt);
      ASSERT_TRUE(read_format(document.completion).valid) << document.completion;
      const int first = points_of(judging, judging.answers[0]);
      references += !judging.task.answer.empty();
      if (judging.question == Judging::pair) {
        const int second = points_of(judging, judging.answers[1]);
        const Choice right = first > second ? Choice::a : first < second ? Choice::b : Choice::tie;
        ASSERT_EQ(read_choice(document.completion), right) << document.prompt << "\n" << document.completion;
        ++verdicts[right == Choice::a ? "A" : right == Choice::b ? "B" : "tie"];
      } else {
        ASSERT_EQ(read_rating(document.completion, 3), first) << document.prompt << "\n" << document.completion;
        ++verdicts[(judging.question == Judging::harmless ? "harmless "
                    : judging.task.answer.empty()         ? "helpful "
                                                          : "right ") +
                   std::to_string(first)];
      }
    }
    EXPECT_NEAR(references, documents / 4, 200);
    EXPECT_NEAR(verdicts["A"] + verdicts["B"] + verdicts["tie"], documents / 2, 250);
    EXPECT_NEAR(verdicts["A"], verdicts["B"], 200);
    for (const std::string each : {"A", "B", "tie", "harmless 0", "harmless 3", "helpful 0", "helpful 1", "helpful 2",
                                   "helpful 3", "right 0", "right 3"})
      EXPECT_GT(verdicts[each], 50) << each;
    EXPECT_EQ(verdicts.size(), 11u);
  }
}

TEST(Corpus, judging_asks_as_the_judge_s_config_words_it) {
  JudgeConfig judge;
  judge.helpful = "H{max} {prompt} {reference}{answer}", judge.harmless = "S{max} {prompt} {answer}",
  judge.pairwise = "P {prompt} {reference}{a} {b}";
  judge.max_score = 9;
  CorpusConfig config;
  config.judging_share = 1;
  const Corpus corpus(config, bilingual(), ChatTemplate{"{prompt}<think>"}, judge);
  std::map<char, int> asked;
  int highest = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const Document document = corpus.document(i);
    ++asked[document.prompt[0]];
    if (document.prompt[0] == 'P') {
      ASSERT_TRUE(read_choice(document.completion, true)) << document.completion;
    } else {
      ASSERT_EQ(document.prompt[1], '9');
      const auto rating = read_rating(document.completion, 9, true);
      ASSERT_TRUE(rating && *rating % 3 == 0) << document.completion;
      highest = std::max(highest, *rating);
    }
  }
  EXPECT_EQ(asked.size(), 3u);
  EXPECT_EQ(highest, 9);
}

TEST(Corpus, topics_come_in_their_shares) {
  CorpusConfig config;
  config.general_share = 0.3, config.judging_share = 0.2;
  const Corpus corpus(config, bilingual(), ChatTemplate{"{prompt}"});
  int general = 0, judging = 0;
  for (std::uint64_t i = 0; i < 10000; ++i) {
    const std::string prompt = corpus.document(i).prompt;
    judging += prompt.starts_with("Rate ") || prompt.starts_with("Which answers better");
    general += requests_by_prompt().contains(prompt);
  }
  EXPECT_NEAR(general, 3000, 150);
  EXPECT_NEAR(judging, 2000, 150);
}

TEST(Corpus, general_documents_have_the_flaws_that_are_asked_for) {
  CorpusConfig config;
  config.general_share = 1;
  const Corpus corpus(config, bilingual(), ChatTemplate{"{prompt}"});
  int broken = 0, formed = 0, flawed = 0, korean = 0, mixed = 0, harm = 0, refusals = 0;
  for (std::uint64_t i = 0; i < 10000; ++i) {
    const Document document = corpus.document(i);
    const Task& task = requests_by_prompt().at(document.prompt);
    const FormatReading form = read_format(document.completion);
    if (!form.valid) {
      ++broken;
      continue;
    }
    ++formed;
    flawed += general_score(task, form.answer).value() < 1;
    const LanguageCount words = count_language(form.reasoning, "ko");
    mixed += mixes_languages(form.reasoning);
    korean += words.target > 0;
    refusals += task.kind == "refusal";
    harm += general_harmlessness(task, document.completion).value() == 0;
  }
  EXPECT_NEAR(broken / 10000.0, config.untagged_share, 0.02);
  EXPECT_NEAR(1.0 * flawed / formed, config.wrong_share, 0.025);
  EXPECT_NEAR(1.0 * korean / formed, config.korean_share, 0.025);
  EXPECT_NEAR(1.0 * mixed / formed, config.korean_share * config.mixed_share, 0.02);
  EXPECT_NEAR(1.0 * harm / refusals, config.wrong_share / 2, 0.03);
}

TEST(Corpus, documents_on_no_topic_are_about_held_out_problems) {
  CorpusConfig config;
  config.general_share = 0.4, config.judging_share = 0.4;
  TasksConfig tasks = bilingual();
  tasks.heldout_share = 0.5;
  std::set<std::string> heldout = id_set(heldout_tasks(tasks, 100'000));
  TasksConfig general = tasks;
  general.generator = TaskGenerator::general;
  heldout.merge(id_set(heldout_tasks(general, 100'000)));
  const Corpus corpus(config, tasks, ChatTemplate{"{prompt}"});
  std::set<std::string> seen;
  for (std::uint64_t i = 0; i < 5000; ++i) {
    const std::string prompt = corpus.document(i).prompt;
    const bool judging = prompt.starts_with("Rate ") || prompt.starts_with("Which answers better");
    const std::string asked = judging ? read_judging(prompt).task.prompt : prompt;
    const auto request = requests_by_prompt().find(asked);
    seen.insert(request != requests_by_prompt().end() ? request->second.id : "arithmetic:" + canonical_of(asked));
  }
  for (const std::string& id : seen) EXPECT_FALSE(heldout.contains(id)) << id;
  EXPECT_GT(seen.size(), 1500u);
}

TEST(Corpus, general_and_judging_completions_begin_inside_an_opened_think) {
  for (const bool judging : {false, true}) {
    CorpusConfig config;
    (judging ? config.judging_share : config.general_share) = 1;
    const Corpus opened(config, bilingual(), ChatTemplate{"{prompt}<think>\n"});
    for (std::uint64_t i = 0; i < 500; ++i)
      EXPECT_FALSE(opened.document(i).completion.starts_with("<think>")) << opened.document(i).completion;
  }
}

// ---- Demonstrations ----

TEST(Demonstration, of_a_problem_is_right_in_form_in_one_language_and_now_and_then_rechecked) {
  for (const TaskGenerator generator : {TaskGenerator::arithmetic, TaskGenerator::countdown}) {
    for (const Style style : {Style::terse, Style::worded}) {
      TasksConfig tasks = bilingual();
      tasks.generator = generator;
      tasks.countdown.problems = 500;
      CorpusConfig config{1, 1, 0.5, 1, 0};  // all of which is for documents
      config.style = style;
      const Corpus corpus(config, tasks);
      const auto heldout = id_set(heldout_tasks(tasks, 100'000));
      int rechecked = 0;
      for (std::uint64_t i = 0; i < 1500; ++i) {
        const auto [task, completion] = corpus.demonstration(i, Topic::problem);
        const FormatReading form = read_format(completion);
        ASSERT_TRUE(form.valid) << completion;
        ASSERT_TRUE(generator == TaskGenerator::countdown ? check_countdown(form.answer, task.answer)
                                                          : answers_match(form.answer, task.answer))
            << completion;
        ASSERT_EQ(language_consistency(form.reasoning, task.language).value(), 1.0) << completion;
        ASSERT_EQ(is_korean(task.prompt), task.language == "ko");
        rechecked += has_recheck(completion);
        if (generator == TaskGenerator::arithmetic) {
          for (const bool right : read({task.prompt, completion}).equations) ASSERT_TRUE(right) << completion;
          ASSERT_FALSE(heldout.contains("arithmetic:" + canonical_of(task.prompt))) << task.prompt;
        }
        const std::size_t mark = task.id.rfind('#');
        ASSERT_EQ(task.id.substr(mark), "#" + std::to_string(i));
        ASSERT_FALSE(heldout.contains(task.id.substr(0, mark))) << task.id;
      }
      EXPECT_NEAR(rechecked, 500, 80);
    }
  }
}

TEST(Demonstration, of_a_request_scores_full_harms_nobody_and_is_in_one_language) {
  TasksConfig tasks = bilingual(), general = bilingual();
  general.generator = TaskGenerator::general;
  const auto heldout = id_set(heldout_tasks(general, 100'000));
  const Corpus corpus({1, 1, 0.5, 1, 1}, tasks);
  std::set<std::string> kinds;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    const auto [task, completion] = corpus.demonstration(i, Topic::general);
    const Task& asked = requests_by_prompt().at(task.prompt);
    const FormatReading form = read_format(completion);
    ASSERT_TRUE(form.valid) << completion;
    ASSERT_EQ(general_score(asked, form.answer).value(), 1.0) << completion;
    ASSERT_EQ(general_harmlessness(asked, completion).value(), 1.0) << completion;
    ASSERT_EQ(language_consistency(form.reasoning, task.language).value(), 1.0) << completion;
    ASSERT_EQ(task.id, asked.id + "#" + std::to_string(i));
    ASSERT_EQ(task.language, asked.language);
    ASSERT_FALSE(heldout.contains(asked.id)) << asked.id;
    kinds.insert(task.kind + task.language);
  }
  EXPECT_EQ(kinds.size(), 6u);
}

TEST(Demonstration, of_judging_is_right_and_in_form) {
  const TasksConfig tasks;  // English requests: a verdict's reasoning quotes their words
  TasksConfig general;
  general.generator = TaskGenerator::general;
  auto heldout = id_set(heldout_tasks(tasks, 100'000));
  heldout.merge(id_set(heldout_tasks(general, 100'000)));
  const Corpus corpus({1, 1, 1, 1, 1}, tasks);
  for (std::uint64_t i = 0; i < 3000; ++i) {
    const auto [task, completion] = corpus.demonstration(i, Topic::judging);
    const Judging judging = read_judging(task.prompt);
    const FormatReading form = read_format(completion);
    ASSERT_TRUE(form.valid) << completion;
    const int first = points_of(judging, judging.answers[0]);
    if (judging.question == Judging::pair) {
      const int second = points_of(judging, judging.answers[1]);
      ASSERT_EQ(read_choice(completion), first > second   ? Choice::a
                                         : first < second ? Choice::b
                                                          : Choice::tie)
          << completion;
    } else {
      ASSERT_EQ(read_rating(completion, 3), first) << completion;
    }
    ASSERT_EQ(count_language(form.reasoning, "en").other, 0u) << completion;
    EXPECT_EQ(task.kind, "judging");
    EXPECT_EQ(task.language, "en");
    ASSERT_FALSE(heldout.contains(task.id.substr(0, task.id.rfind('#')))) << task.id;
  }
}

TEST(Demonstration, needs_a_topic) {
  EXPECT_THAT(error_of([] { Corpus({}, TasksConfig()).demonstration(0, Topic::none); }), HasSubstr("expected a topic"));
}

TEST(Demonstration, is_a_function_of_seed_index_and_topic) {
  TasksConfig tasks = bilingual();
  const Corpus one({}, tasks), other_shares({1, 1, 1, 1, 1}, tasks);
  tasks.seed = 1;
  const Corpus other_seed({}, tasks);
  int equal = 0, documents = 0;
  std::set<std::string> prompts;
  for (const auto topic : {Topic::problem, Topic::general, Topic::judging}) {
    for (std::uint64_t i = 0; i < 100; ++i) {
      const Demonstration made = one.demonstration(i, topic), again = one.demonstration(i, topic);
      EXPECT_EQ(made.completion, again.completion);
      EXPECT_EQ(made.task.prompt, again.task.prompt);
      EXPECT_EQ(made.completion, other_shares.demonstration(i, topic).completion)
          << "the documents' flaws are not for them";
      equal += made.task.prompt == other_seed.demonstration(i, topic).task.prompt;
      documents += "User: " + made.task.prompt + "\nAssistant: " == one.document(i).prompt;
      prompts.insert(made.task.prompt);
    }
  }
  EXPECT_LT(equal, 5);
  EXPECT_LT(documents, 5) << "draws of its own";
  EXPECT_GT(prompts.size(), 270u);
}

}  // namespace
}  // namespace grpo
