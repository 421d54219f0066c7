// The corpus of documents on problems; test_corpus_topics.cpp has its other topics.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <initializer_list>
#include <map>
#include <regex>
#include <set>

#include "corpus_reading.h"
#include "grpo/corpus.h"
#include "grpo/general.h"
#include "grpo/reward.h"
#include "problem_reading.h"
#include "tasks/generators.h"

namespace grpo {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kFull = R"(<think>(.+)</think><answer>(.+)</answer>)";


/// The completion that a corpus without flaws writes for `wanted`.
std::string clean(const std::string& op, std::int64_t max_operand, const std::string& wanted) {
  TasksConfig tasks;
  tasks.arithmetic = {max_operand, op};
  tasks.heldout_share = 0;
  const Corpus corpus({0, 0, 0, 0, 0}, tasks);
  for (std::uint64_t i = 0; i < 500'000; ++i) {
    const Document document = corpus.document(i);
    std::string prompt = document.prompt;
    std::erase(prompt, ' ');
    const std::size_t at = prompt.find(wanted);
    if (at != std::string::npos && !std::isdigit(prompt[at - 1]) && !std::isdigit(prompt[at + wanted.size()]))
      return document.completion;
  }
  return "never asked";
}

TEST(Corpus, works_column_by_column_in_the_order_of_the_prompt) {
  EXPECT_EQ(clean("+", 99, "47+85"), "<think>7+5=12, write 2 carry 1. 4+8+1=13. So 132.</think><answer>132</answer>");
  EXPECT_EQ(clean("+", 99, "85+47"), "<think>5+7=12, write 2 carry 1. 8+4+1=13. So 132.</think><answer>132</answer>");
  EXPECT_EQ(clean("+", 99, "26+4"), "<think>6+4=10, write 0 carry 1. 2+0+1=3. So 30.</think><answer>30</answer>");
  EXPECT_EQ(clean("+", 9, "3+5"), "<think>3+5=8. 0+0=0. So 8.</think><answer>8</answer>");
  EXPECT_EQ(clean("+", 99, "5+90"), "<think>5+0=5. 0+9=9. So 95.</think><answer>95</answer>");
  EXPECT_EQ(clean("+", 130, "5+127"),
            "<think>5+7=12, write 2 carry 1. 0+2+1=3. 0+1=1. So 132.</think><answer>132</answer>");
  EXPECT_EQ(clean("-", 99, "85-47"), "<think>5-7 borrow: 15-7=8. 8-1-4=3. So 38.</think><answer>38</answer>");
  EXPECT_EQ(clean("-", 99, "42-38"), "<think>2-8 borrow: 12-8=4. 4-1-3=0. So 4.</think><answer>4</answer>");
  EXPECT_EQ(clean("-", 110, "100-1"),
            "<think>0-1 borrow: 10-1=9. 0-1-0 borrow: 10-1-0=9. 1-1-0=0. So 99.</think><answer>99</answer>");
  EXPECT_EQ(clean("*", 99, "47*85"),
            "<think>47*5=235. 47*80=3760. 235+3760=3995. So 3995.</think><answer>3995</answer>");
  EXPECT_EQ(clean("*", 9, "7*8"), "<think>7*8=56. So 56.</think><answer>56</answer>");
}

class CorpusShares : public ::testing::Test {
 protected:
  static constexpr int kDocuments = 20000;
  static const std::vector<Document>& documents() {
    static const std::vector<Document> all = [] {
      const CorpusConfig config;
      const TasksConfig tasks;  // named: GCC 12 takes a temporary's members for uninitialized
      const Corpus corpus(config, tasks);
      std::vector<Document> made;
      for (int i = 0; i < kDocuments; ++i) made.push_back(corpus.document(static_cast<std::uint64_t>(i)));
      return made;
    }();
    return all;
  }
  static const std::vector<Reading>& readings() {
    static const std::vector<Reading> all = [] {
      std::vector<Reading> made;
      for (const Document& document : documents()) made.push_back(read(document));
      return made;
    }();
    return all;
  }
  template <class Predicate>
  static double share(Predicate predicate) {
    return static_cast<double>(std::count_if(documents().begin(), documents().end(), predicate)) / kDocuments;
  }
};

TEST_F(CorpusShares, are_as_configured) {
  const CorpusConfig config;
  const std::regex full(kFull);
  EXPECT_NEAR(share([&](const Document& d) { return !std::regex_match(d.completion, full); }), config.untagged_share,
              0.015);
  const auto slipped = std::count_if(readings().begin(), readings().end(), [](const Reading& r) {
    return std::find(r.equations.begin(), r.equations.end(), false) != r.equations.end();
  });
  EXPECT_NEAR(static_cast<double>(slipped) / kDocuments, config.wrong_share, 0.015);
  const auto wrong =
      std::count_if(readings().begin(), readings().end(), [](const auto& r) { return r.answer != r.right; });
  EXPECT_NEAR(static_cast<double>(wrong) / kDocuments, config.wrong_share * (1 - config.reflect_share), 0.015);
  // A mixed document's words may all turn out Korean, so a little fewer show both.
  const double both = share([](const Document& d) { return has_hangul(d.completion) && has_english(d.completion); });
  EXPECT_GT(both, 0.2 * config.korean_share * config.mixed_share);
  EXPECT_LT(both, config.korean_share * config.mixed_share);
}

TEST_F(CorpusShares, a_slip_spoils_the_answer_unless_it_is_rechecked) {
  std::map<std::size_t, int> slipped_at;
  for (std::size_t i = 0; i < documents().size(); ++i) {
    const Document& document = documents()[i];
    const Reading& reading = readings()[i];
    const auto wrong = std::count(reading.equations.begin(), reading.equations.end(), false);
    ASSERT_LE(wrong, 1) << document.completion;
    const bool recheck = has_recheck(document.completion);
    ASSERT_EQ(reading.answer == reading.right, wrong == 0 || recheck) << document.prompt << document.completion;
    ASSERT_EQ(reading.equations.size(), recheck ? 3u : 2u) << document.completion;
    if (wrong && !recheck)
      ++slipped_at[static_cast<std::size_t>(std::find(reading.equations.begin(), reading.equations.end(), false) -
                                            reading.equations.begin())];
  }
  EXPECT_NEAR(slipped_at[0], slipped_at[1], 0.1 * slipped_at[0]) << "every step slips as often";
}

TEST_F(CorpusShares, broken_forms_come_in_six_kinds) {
  const std::vector<std::regex> forms = {std::regex("[^<]+(So|그래서) \\d+\\."),
                                         std::regex("<think>[^<]+<answer>\\d+</answer>"),
                                         std::regex("<think>[^<]+</think>\\d+"),
                                         std::regex("[^<]+ Answer: \\d+"),
                                         std::regex("<think>[^<]+</think><answer>\\d+"),
                                         std::regex("[^<]+</think><answer>\\d+</answer>"),
                                         std::regex("<think>[^<]+</think><answer>\\d+</answer>")};
  std::vector<int> counts(forms.size());
  for (const Document& document : documents()) {
    int matches = 0;
    for (std::size_t i = 0; i < forms.size(); ++i)
      if (std::regex_match(document.completion, forms[i])) ++counts[i], ++matches;
    ASSERT_EQ(matches, 1) << document.completion;
  }
  for (std::size_t i = 0; i < 6; ++i) EXPECT_NEAR(counts[i], kDocuments * 0.33 / 6, 150) << i;
}

TEST_F(CorpusShares, no_held_out_problem_appears_and_training_ones_do) {
  const TasksConfig tasks;
  const auto heldout = id_set(heldout_tasks(tasks, 100'000));
  std::set<std::string> seen;
  for (const Document& document : documents()) {
    EXPECT_THAT(document.prompt, StartsWith("User: "));
    EXPECT_TRUE(document.prompt.ends_with("\nAssistant: "));
    seen.insert("arithmetic:" + canonical_of(document.prompt));
  }
  for (const std::string& id : heldout) EXPECT_FALSE(seen.contains(id)) << id;
  EXPECT_GT(seen.size(), 7000u);
}

TEST(Corpus, extremes_are_extreme) {
  TasksConfig tasks;
  const std::regex full(kFull);
  const Corpus pure({0, 0, 0, 0, 0}, tasks), spoilt({1, 1, 1, 0, 0}, tasks), mended({1, 0, 1, 1, 1}, tasks);
  for (std::uint64_t i = 0; i < 500; ++i) {
    const Document good = pure.document(i), bad = spoilt.document(i), fixed = mended.document(i);
    EXPECT_TRUE(std::regex_match(good.completion, full) && read(good).answer == read(good).right);
    EXPECT_FALSE(has_hangul(good.completion) || has_recheck(good.completion));
    EXPECT_FALSE(std::regex_match(bad.completion, full) || read(bad).answer == read(bad).right);
    EXPECT_FALSE(has_english(bad.completion));
    EXPECT_TRUE(has_hangul(fixed.completion) && has_recheck(fixed.completion)) << fixed.completion;
    EXPECT_EQ(read(fixed).answer, read(fixed).right);
  }
}

TEST(Corpus, is_a_function_of_seed_and_index) {
  TasksConfig tasks;
  const Corpus one({}, tasks), same({}, tasks);
  tasks.seed = 1;
  const Corpus other({}, tasks);
  int equal = 0;
  for (std::uint64_t i = 0; i < 200; ++i) {
    EXPECT_EQ(one.document(199 - i).completion, same.document(199 - i).completion);
    equal += one.document(i).prompt == other.document(i).prompt;
  }
  EXPECT_LT(equal, 5);
  EXPECT_FALSE(one.document(~std::uint64_t{0}).completion.empty());
}

TEST(Corpus, larger_problems_propagate_their_slips_too) {
  TasksConfig tasks;
  tasks.arithmetic = {9999, "+-*"};
  const Corpus corpus({0.5, 0, 0, 0, 0.3}, tasks);
  for (std::uint64_t i = 0; i < 3000; ++i) {
    const Document document = corpus.document(i);
    const Reading reading = read(document);
    const auto wrong = std::count(reading.equations.begin(), reading.equations.end(), false);
    ASSERT_LE(wrong, 1);
    ASSERT_EQ(reading.answer == reading.right, wrong == 0 || has_recheck(document.completion))
        << document.prompt << document.completion;
  }
}

TEST(Corpus, countdown_claims_are_right_except_for_slips) {
  TasksConfig tasks;
  tasks.generator = TaskGenerator::countdown;
  tasks.countdown.problems = 3000;
  const auto heldout = id_set(heldout_tasks(tasks, 100'000));
  const Corpus corpus({0.4, 0, 0, 0, 0.2}, tasks);
  const std::regex full(kFull), given(R"(\[(.*)\], make (\d+))"), equation(R"(([-+*/()0-9]+)=(\d+))"), number("\\d+");
  int spoilt = 0, slips = 0, rechecks = 0;
  for (std::uint64_t i = 0; i < 4000; ++i) {
    const Document document = corpus.document(i);
    std::smatch match;
    ASSERT_TRUE(std::regex_match(document.completion, match, full)) << document.completion;
    Reader answer(match[2]);
    const double value = answer.value();
    const bool recheck = has_recheck(document.completion);
    int wrong = 0;
    for (std::sregex_iterator it(document.completion.begin(), document.completion.end(), equation), end; it != end;
         ++it)
      wrong += Reader((*it)[1]).value() != std::stod((*it)[2]);
    ASSERT_LE(wrong, 1) << document.completion;
    ASSERT_TRUE(std::regex_search(document.prompt, match, given));
    std::vector<std::int64_t> numbers;
    const std::string list = match[1];
    for (std::sregex_iterator it(list.begin(), list.end(), number), end; it != end; ++it)
      numbers.push_back(std::stoll(it->str()));
    EXPECT_EQ(answer.numbers, std::multiset<std::int64_t>(numbers.begin(), numbers.end()));
    ASSERT_EQ(value == std::stod(match[2]), wrong == 0 || recheck) << document.prompt << document.completion;
    std::sort(numbers.begin(), numbers.end());
    EXPECT_FALSE(heldout.contains("countdown:" + CountdownProblem{numbers, std::stoll(match[2]), ""}.text()));
    slips += wrong, rechecks += recheck, spoilt += value != std::stod(match[2]);
  }
  EXPECT_NEAR(slips, 1600, 150);
  EXPECT_NEAR(rechecks, 800, 120);
  EXPECT_NEAR(spoilt, 1280, 150);
}

// Every try is worked out rightly, none comes twice, the one that is found or given up is the answer.
TEST(Corpus, a_search_tries_until_it_finds_or_gives_up) {
  TasksConfig tasks;
  tasks.generator = TaskGenerator::countdown;
  tasks.countdown = {4, 4, 9, 1, 40, "+-", 1000};
  CorpusConfig config{0, 0, 0, 0, 0};
  config.search = true;
  config.give_up_share = 0.6;
  const Corpus corpus(config, tasks);
  const std::regex full(kFull), wanted(R"(make (\d+)\. Use each number once with \+ -\.)"),
      attempt(R"((\d[-+=\d]+)(, not (\d+))?\. (So|Wait))"), result(R"(=\d+)");
  int first_misses = 0, given_up = 0, longest = 0;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    const Document document = corpus.document(i);
    std::smatch match, prompt;
    ASSERT_TRUE(std::regex_match(document.completion, match, full)) << document.completion;
    ASSERT_TRUE(std::regex_search(document.prompt, prompt, wanted)) << document.prompt;
    const std::string target = prompt[1], answer = match[2];
    std::set<std::string> tried;
    std::string last, value;
    const std::string& text = document.completion;
    for (std::sregex_iterator it(text.begin(), text.end(), attempt), end; it != end; ++it) {
      const std::string worked = (*it)[1];
      for (std::size_t equals = worked.find('='); equals != worked.npos; equals = worked.find('=', equals + 1)) {
        value = worked.substr(equals + 1, worked.find_first_not_of("0123456789", equals + 1) - equals - 1);
        last = std::regex_replace(worked.substr(0, equals), result, "");
        EXPECT_EQ(Reader(last).value(), std::stod(value)) << document.completion;
      }
      EXPECT_TRUE(tried.insert(last).second) << document.completion;
      EXPECT_EQ((*it)[3], value == target ? "" : target) << document.completion;
      EXPECT_TRUE(value != target || (*it)[4] == "So") << document.completion;
    }
    EXPECT_EQ(answer, last) << document.completion;
    const bool reached = value == target;
    EXPECT_TRUE(reached || tried.size() == 1) << document.completion;
    first_misses += tried.size() > 1 || !reached, given_up += !reached;
    longest = std::max(longest, static_cast<int>(tried.size()));
  }
  EXPECT_NEAR(first_misses, 2480, 150);
  EXPECT_NEAR(given_up, 0.6 * first_misses, 100);
  EXPECT_EQ(longest, 10);
  // Demonstrations search to the end.
  for (std::uint64_t i = 0; i < 200; ++i) {
    const Demonstration each = corpus.demonstration(i, Topic::problem);
    std::smatch match;
    ASSERT_TRUE(std::regex_match(each.completion, match, full));
    EXPECT_TRUE(check_countdown(match[2].str(), each.task.answer)) << each.completion;
  }
  for (const std::string operators : {"+-*", "+/"}) {
    tasks.countdown.operators = operators;
    EXPECT_THROW(Corpus(config, tasks), Error);
  }
}

TEST(Corpus, completions_begin_inside_an_opened_think) {
  const ChatTemplate opened{"{prompt}<think>\n"};
  const TasksConfig tasks;
  const Corpus corpus({}, tasks, opened), plain({}, tasks);
  for (std::uint64_t i = 0; i < 300; ++i) {
    const std::string whole = plain.document(i).completion;
    EXPECT_EQ(corpus.document(i).completion, whole.starts_with("<think>") ? whole.substr(7) : whole);
    EXPECT_TRUE(corpus.document(i).prompt.ends_with("<think>\n"));
  }
}

// ---- Topics, styles and languages ----

std::uint64_t digest_of(const Corpus& corpus) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const Document document = corpus.document(i);
    for (const char c : document.prompt + "\1" + document.completion + "\2")
      hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  }
  return hash;
}

TEST(Corpus, documents_of_the_default_shares_stay_what_they_were) {
  TasksConfig tasks;
  tasks.languages = {"en", "ko"};
  EXPECT_EQ(digest_of(Corpus({}, tasks)), 0xffab5306900bf01cu) << "changing these changes every base model";
  tasks.generator = TaskGenerator::countdown;
  tasks.countdown.problems = 500;
  EXPECT_EQ(digest_of(Corpus({}, tasks)), 0x61d6a2b71cc701e2u);
}


TEST(Corpus, worded_style_names_columns_and_writes_every_digit) {
  TasksConfig tasks;
  tasks.arithmetic = {9999, "+-"};
  CorpusConfig pure{0, 0, 0, 0, 0};
  const Corpus terse(pure, tasks);
  pure.style = Style::worded;
  const Corpus worded(pure, tasks);
  const std::regex added(R"((Ones|Tens|Hundreds|Thousands): |, write \d+(?=\.)| the answer is)");
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const Document plain = terse.document(i), document = worded.document(i);
    EXPECT_EQ(document.prompt, plain.prompt) << "the style draws nothing";
    EXPECT_THAT(document.completion, HasSubstr("So the answer is " + read(plain).right + ".</think>"));
    EXPECT_EQ(std::regex_replace(document.completion, added, ""), plain.completion);
  }
  const auto find = [&](const std::string& asked, const std::string& language) {
    TasksConfig small;
    small.languages = {language};
    small.heldout_share = 0;
    CorpusConfig manner{0, 0, language == "ko" ? 1.0 : 0.0, 0, 0};
    manner.style = Style::worded;
    const Corpus corpus(manner, small);
    for (std::uint64_t i = 0; i < 500'000; ++i) {
      const Document document = corpus.document(i);
      std::string prompt = document.prompt;
      std::erase(prompt, ' ');
      const std::size_t at = prompt.find(asked);
      if (at != std::string::npos && !std::isdigit(prompt[at - 1]) && !std::isdigit(prompt[at + asked.size()]))
        return document.completion;
    }
    return std::string("never asked");
  };
  EXPECT_EQ(find("47+85", "en"),
            "<think>Ones: 7+5=12, write 2 carry 1. Tens: 4+8+1=13, write 13. So the answer is "
            "132.</think><answer>132</answer>");
  EXPECT_EQ(find("85-47", "en"),
            "<think>Ones: 5-7 borrow: 15-7=8, write 8. Tens: 8-1-4=3, write 3. So the answer is "
            "38.</think><answer>38</answer>");
  EXPECT_EQ(find("47+85", "ko"),
            "<think>일의 자리: 7+5=12, 2 쓰고 1 올림. 십의 자리: 4+8+1=13, 13 쓰기. 그래서 답은 "
            "132.</think><answer>132</answer>");
}

TEST(Corpus, follow_share_reasons_in_the_language_of_the_prompt) {
  CorpusConfig config{0, 0, 0.5, 0.5, 0};
  const auto share = [&](double follow_share) {
    config.follow_share = follow_share;
    const Corpus corpus(config, bilingual());
    int followed = 0;
    for (std::uint64_t i = 0; i < 4000; ++i) {
      const Document document = corpus.document(i);
      const bool korean = is_korean(document.prompt.substr(6, document.prompt.size() - 6 - 12));
      followed += korean ? has_hangul(document.completion) && !has_english(document.completion)
                         : !has_hangul(document.completion);
    }
    return followed / 4000.0;
  };
  EXPECT_EQ(share(1), 1.0);
  const double none = share(0), half = share(0.5);
  EXPECT_NEAR(half, 0.5 + none / 2, 0.03);
  EXPECT_LT(none, 0.6);
}

TEST(Corpus, mixed_documents_slip_as_often_as_their_ratio_says) {
  const auto slipped = [](double korean_share, double mixed_share) {
    CorpusConfig config;
    config.wrong_share = 0.5, config.mixed_wrong_ratio = 0.6, config.reflect_share = 0;
    config.korean_share = korean_share, config.mixed_share = mixed_share;
    const TasksConfig tasks;
    const Corpus corpus(config, tasks);
    int wrong = 0;
    for (std::uint64_t i = 0; i < 4000; ++i) {
      const Reading reading = read(corpus.document(i));
      wrong += reading.answer != reading.right;
    }
    return wrong / 4000.0;
  };
  EXPECT_NEAR(slipped(0, 1), 0.5, 0.03);
  EXPECT_NEAR(slipped(1, 0), 0.5, 0.03);
  EXPECT_NEAR(slipped(1, 1), 0.3, 0.03);
}

TEST(Corpus, shares_that_cannot_be_meant_are_named) {
  const auto refused = [](double CorpusConfig::*share, double value) {
    CorpusConfig config;
    config.*share = value;
    return error_of([&] { validate(config, "corpus"); });
  };
  const std::vector<std::pair<std::string, double CorpusConfig::*>> shares = {
      {"wrong_share", &CorpusConfig::wrong_share},     {"untagged_share", &CorpusConfig::untagged_share},
      {"korean_share", &CorpusConfig::korean_share},   {"mixed_share", &CorpusConfig::mixed_share},
      {"reflect_share", &CorpusConfig::reflect_share}, {"follow_share", &CorpusConfig::follow_share},
      {"general_share", &CorpusConfig::general_share}, {"judging_share", &CorpusConfig::judging_share}};
  for (const auto& [key, share] : shares) {
    for (const double bad : {-0.1, 1.1, std::nan("")})
      EXPECT_THAT(refused(share, bad), StartsWith("[config] corpus." + key + ": expected 0 <= x <= 1"));
    EXPECT_EQ(refused(share, 1.0), "(no error)");
  }
  CorpusConfig config;
  config.general_share = 0.6, config.judging_share = 0.5;
  EXPECT_THAT(error_of([&] { validate(config, "corpus"); }),
              HasSubstr("corpus.judging_share: expected at most 1 together with general_share"));
  for (const double ratio : {-0.1, 2.5, std::nan("")}) {
    config = CorpusConfig{};
    config.mixed_wrong_ratio = ratio;
    EXPECT_THAT(error_of([&] { validate(config, "corpus"); }), HasSubstr("mixed_wrong_ratio: expected "));
  }
  TasksConfig general;
  general.generator = TaskGenerator::general;
  EXPECT_THAT(error_of([&] { Corpus(CorpusConfig{}, general); }),
              HasSubstr("got general; give general requests their share with general_share"));
  JudgeConfig judge;
  judge.votes = 0;
  const TasksConfig tasks;
  EXPECT_THAT(error_of([&] { Corpus(CorpusConfig{}, tasks, ChatTemplate{}, judge); }), HasSubstr("votes"));
}

TEST(Corpus, requests_that_are_all_held_out_are_refused_where_they_are_wanted) {
  TasksConfig tasks;
  tasks.arithmetic = {1'000'000, "+"};
  tasks.heldout_share = 0.99999;  // sums are left, general requests are not
  const Corpus corpus({}, tasks);
  EXPECT_FALSE(corpus.document(0).completion.empty());
  EXPECT_THAT(error_of([&] { corpus.demonstration(0, Topic::general); }), HasSubstr("training problems"));
  CorpusConfig config;
  config.judging_share = 0.1;
  EXPECT_THAT(error_of([&] { Corpus(config, tasks); }), HasSubstr("training problems"));
}

TEST(Corpus, bad_settings_are_refused) {
  const TasksConfig tasks;
  EXPECT_THROW(Corpus({1.1, 0, 0, 0, 0}, tasks), Error);
  EXPECT_THROW(Corpus({0, -0.1, 0, 0, 0}, tasks), Error);
  EXPECT_THROW(Corpus({0, 0, 0, 0, std::nan("")}, tasks), Error);
  EXPECT_THROW(Corpus({}, tasks, ChatTemplate{"no place for it"}), Error);
  TasksConfig tiny;
  tiny.arithmetic = {0, "+"};
  tiny.heldout_share = 1 - 1e-12;
  EXPECT_THAT(error_of([&] { Corpus(CorpusConfig{}, tiny); }), HasSubstr("training problems"));
}

}  // namespace
}  // namespace grpo
