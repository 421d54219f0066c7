// What an answer is and what counts as the same; test_equality.cpp has the kinds of answers.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "costs.h"
#include "error_of.h"
#include "grpo/answer.h"
#include "grpo/json.h"

namespace grpo {
namespace {

struct Pair {
  std::string answer, reference;
};

class SameAnswer : public testing::TestWithParam<Pair> {};
TEST_P(SameAnswer, matches) { EXPECT_TRUE(answers_match(GetParam().answer, GetParam().reference)); }
INSTANTIATE_TEST_SUITE_P(Signs, SameAnswer,
                         testing::Values(Pair{"42", "42"}, Pair{"+42", "42"}, Pair{"-7", "-7"}, Pair{"\u22127", "-7"},
                                         Pair{"- 7", "-7"}, Pair{"-0", "0"}, Pair{"007", "7"}));
INSTANTIATE_TEST_SUITE_P(Decimals, SameAnswer,
                         testing::Values(Pair{"0.5", ".5"}, Pair{"0.50", "1/2"}, Pair{"3.0", "3"}, Pair{"3.", "3"},
                                         Pair{"-0.125", "-1/8"}, Pair{"1.5e3", "1500"}, Pair{"1.5E+3", "1500"},
                                         Pair{"25e-2", "1/4"}, Pair{"1e4000", "1" + std::string(4000, '0')}));
INSTANTIATE_TEST_SUITE_P(Fractions, SameAnswer,
                         testing::Values(Pair{"2/4", "1/2"}, Pair{"1 / 3", "1/3"}, Pair{"-1/3", "\\frac{-1}{3}"},
                                         Pair{"\\frac13", "1/3"}, Pair{"\\frac{1}3", "1/3"}, Pair{"\\dfrac 1 3", "1/3"},
                                         Pair{"\\tfrac{2}{6}", "1/3"}, Pair{"\\cfrac{0.5}{1.5}", "1/3"},
                                         Pair{"-\\frac{1}{3}", "-1/3"}, Pair{"\\frac{\\frac{1}{2}}{3}", "1/6"},
                                         Pair{"(1/3)", "1/3"}, Pair{"\\left( \\frac{1}{3} \\right)", "1/3"},
                                         Pair{"3/(-4)", "-0.75"}, Pair{"0/5", "0"}));
INSTANTIATE_TEST_SUITE_P(Thousands, SameAnswer,
                         testing::Values(Pair{"1,234,567", "1234567"}, Pair{"12,345.50", "12345.5"},
                                         Pair{"1{,}234", "1234"}, Pair{"11,\\! 111", "11111"}, Pair{"1\\,000", "1000"},
                                         Pair{"1\u202F000", "1000"}, Pair{"-1,000", "-1000"}));
INSTANTIATE_TEST_SUITE_P(Percent, SameAnswer,
                         testing::Values(Pair{"50%", "0.5"}, Pair{"28\\%", "28 %"}, Pair{"12.5 percent", "1/8"},
                                         Pair{"1/2%", "0.005"}));
INSTANTIATE_TEST_SUITE_P(
    Wrappings, SameAnswer,
    testing::Values(Pair{" 42\n", "42"}, Pair{"42.", "42"}, Pair{"42。", "42"}, Pair{"$42$", "42"},
                    Pair{"$$ 42 $$", "42"}, Pair{"\\(42\\)", "42"}, Pair{"\\[ 42 \\]", "42"}, Pair{"$42", "42"},
                    Pair{"\\$1,000.99", "1000.99"}, Pair{"-$5", "-5"}, Pair{"$-5", "-5"}, Pair{"€3.50", "7/2"},
                    Pair{"x = 5", "5"}, Pair{"$x=-5$", "-5"}, Pair{"\\boxed{42}", "42"}, Pair{"42", "\\boxed{42}"},
                    Pair{"\\boxed{\\boxed{$42$}}.", "42"}, Pair{"So it is $\\boxed{\\frac{1}{2}}$, as 3 said.", "0.5"},
                    Pair{"\\boxed{3}, so \\boxed{ 3 }", "3"}, Pair{"\\boxed{\\{3\\}\\}}", "\\{3\\}\\}"}));
INSTANTIATE_TEST_SUITE_P(Text, SameAnswer,
                         testing::Values(Pair{" Even ", "Even"}, Pair{"even", "Even"}, Pair{"\\boxed{Even}", "Even"},
                                         Pair{"$Even$.", "Even"}, Pair{"on  a\n Monday", "on a Monday"},
                                         Pair{"4\\sqrt2", "4\\sqrt2"}, Pair{"3 or 4", "3 or 4"}, Pair{"서울", "서울"},
                                         Pair{"\\boxed{1} and \\boxed{2}", "\\boxed{1} and \\boxed{2}"}));

class OtherAnswer : public testing::TestWithParam<Pair> {};
TEST_P(OtherAnswer, does_not_match) { EXPECT_FALSE(answers_match(GetParam().answer, GetParam().reference)); }
INSTANTIATE_TEST_SUITE_P(Values, OtherAnswer,
                         testing::Values(Pair{"43", "42"}, Pair{"-42", "42"}, Pair{"0.333", "1/3"},
                                         Pair{"0.3333333333333334", "1/3"}, Pair{"50", "50%"}, Pair{"50%", "50"},
                                         Pair{"1.5e3", "1.5e4"}, Pair{"1.5e-3", "1500"},
                                         Pair{"10000000000000000000000000000001", "10000000000000000000000000000000"},
                                         Pair{"0.10000000000000000000000000000001", "0.1"}));
INSTANTIATE_TEST_SUITE_P(NotOneNumber, OtherAnswer,
                         testing::Values(Pair{"3 or 4", "3"}, Pair{"3 or 4", "4"}, Pair{"3, 4", "3"}, Pair{"3 4", "34"},
                                         Pair{"3,4", "34"}, Pair{"4\\sqrt2", "4"}, Pair{"4\\sqrt{2}", "4"},
                                         Pair{"5 apples", "6"}, Pair{"x", "5"}, Pair{"\\boxed{3} or \\boxed{4}", "3"},
                                         Pair{"\\boxed{3} or \\boxed{4}", "4"}, Pair{"\\boxed{3", "3"},
                                         Pair{"$3$ or $4$", "3"}, Pair{"\\(3\\) or \\(4\\)", "4"},
                                         Pair{"x = 3 = 4", "4"}, Pair{"xy = 4", "4"}, Pair{"2 + 2", "5"},
                                         Pair{"3!", "7"}, Pair{"2^2", "5"}, Pair{"0x10", "16"}, Pair{"1e", "1"},
                                         Pair{"4..", "4"}, Pair{"1.2.3", "1.2"}, Pair{"42abc", "42"},
                                         Pair{"[0,1)", "1"}));
INSTANTIATE_TEST_SUITE_P(BadNumbers, OtherAnswer,
                         testing::Values(Pair{"1/0", "1"}, Pair{"1/0", "1/0.0"}, Pair{"0/0", "0"}, Pair{"+-5", "-5"},
                                         Pair{"/2", "2"}, Pair{"5/", "5"}, Pair{"12,34", "1234"},
                                         Pair{"1234,567", "1234567"}, Pair{"1,2345", "12345"}, Pair{",123", "123"},
                                         Pair{"1,,234", "1234"}, Pair{"0,123", "123"}, Pair{"1,234,", "1234"},
                                         Pair{"(5", "5"}, Pair{"5)", "5"}, Pair{"\\frac{1}", "1"},
                                         Pair{"\\frac{1}{2", "0.5"}, Pair{"-", "0"}, Pair{"%", "0"}, Pair{".", "0"},
                                         Pair{"1e99999999999999999999", "1"}));
INSTANTIATE_TEST_SUITE_P(Empty, OtherAnswer,
                         testing::Values(Pair{"", ""}, Pair{" ", " "}, Pair{"", "0"}, Pair{"0", ""},
                                         Pair{"\\boxed{}", "\\boxed{}x"}, Pair{".", "0"}, Pair{"$$", "0"}));
INSTANTIATE_TEST_SUITE_P(Text, OtherAnswer,
                         testing::Values(Pair{"Odd", "Even"}, Pair{"Evens", "Even"}, Pair{"Ev en", "Even"},
                                         Pair{"Even", "Even or odd"}, Pair{"12", "Even"}));

TEST(Answer, compares_numbers_of_many_digits_exactly) {
  const std::string third(4000, '3'), whole(4000, '9');  // 33…3 / 99…9 = 1/3
  EXPECT_TRUE(answers_match("1/3", "1/3"));
  EXPECT_TRUE(answers_match(std::string(2000, '3') + "/" + std::string(2000, '9'), "1/3"));
  EXPECT_FALSE(answers_match(std::string(1999, '3') + "4/" + std::string(2000, '9'), "1/3"));
  EXPECT_TRUE(answers_match(whole, whole));
  EXPECT_FALSE(answers_match(whole, third));
  EXPECT_TRUE(answers_match("1000000000000000000.000000000000000001", "1000000000000000000000000000000000001e-18"));
}

TEST(Answer, refuses_numbers_beyond_its_bounds) {
  EXPECT_TRUE(answers_match(std::string(4095, '0') + "1", "1"));
  EXPECT_FALSE(answers_match(std::string(4096, '0') + "1", "1"));
  EXPECT_FALSE(answers_match("0e4097", "0"));
  EXPECT_TRUE(answers_match(repeat("(", 15) + "1" + repeat(")", 15), "1"));
  EXPECT_EQ(check_answer(repeat("(", 400) + "1" + repeat(")", 400), "1"), Verdict::over_budget);
}

TEST(Verdicts, name_what_went_wrong) {
  const auto verdict = [](const std::string& answer, const std::string& reference) {
    return std::string(enum_name(check_answer(answer, reference)));
  };
  for (const char* nothing :
       {"", "  ", "$$", "\\boxed{}", "<answer></answer>", "I give up", "I cannot say 42", "The answer is not 42",
        "I don't know if it is 42", "정답은 모르겠습니다 42", "<answer>42"})
    EXPECT_EQ(verdict(nothing, "42"), "unparseable") << nothing;
  EXPECT_EQ(verdict("It is 42. <answer>I give up</answer>", "42"), "unparseable");
  for (const char* reference : {"", " ", "1/0", "\\boxed{1/0}", "\\boxed{}"})
    EXPECT_EQ(verdict("42", reference), "bad_reference") << reference;
  EXPECT_EQ(verdict("", ""), "bad_reference");
  EXPECT_EQ(verdict("3 3", "3"), "wrong");
  EXPECT_EQ(verdict("\\boxed{3} and later \\boxed{4}", "4"), "wrong");
}

TEST(FinalAnswer, is_what_the_sentence_says) {
  const auto found = [](const std::string& text) { return final_answer(text); };
  using Answers = std::vector<std::string>;
  EXPECT_EQ(found("The answer is 17 because 16 is too small."), Answers{"17"});
  EXPECT_EQ(found("<think>16?</think><answer>17 apples, not 16</answer>"), Answers{"17 apples"});
  EXPECT_EQ(found("The answer is **$18 a day**, as 9 * $2 = $18."), Answers{"$18 a day"});
  EXPECT_EQ(found("I cannot say that the answer is 17. The answer is 18."), Answers{"18"});
  EXPECT_EQ(found("I cannot say that the answer is 17."), Answers{});
  EXPECT_EQ(found("答案是17，没有其他解。"), Answers{"17"});
  EXPECT_EQ(found("$\\boxed{120}$. Final Answer: The final answer is $300$."), Answers{"$300$"});
}

TEST(Verdicts, are_given_of_environments_without_a_name) {
  for (const char* broken :
       {"\\begin{}3\\end{}", "\\begin{ }3", "\\begin{displaymath }3\\end{displaymath }", "\\text{}_{}"})
    EXPECT_NE(check_answer(broken, "4"), Verdict::correct) << broken;
}

TEST(Verdicts, are_given_of_units_of_any_power) {
  for (const std::string word : {" squared", " cubed"})
    for (const std::size_t times : {1u, 9u, 40u, 5000u}) {
      const std::string text = "5 m" + repeat(word, times);
      EXPECT_EQ(enum_name(check_answer(text, text)), "correct") << word << times;
      EXPECT_NE(check_answer(text, "6 m"), Verdict::correct) << word << times;
    }
}

TEST(Verdicts, are_given_of_many_marks_of_formulas) {  // each of which opens nothing
  for (const std::string open : {"\\(", "$", "$$", "\\["}) {
    const std::string text = "It is " + repeat(open, 60000 / open.size()) + "\n\\) \\]";
    EXPECT_LT(cpu_seconds([&] { EXPECT_NE(check_answer(text, "17"), Verdict::correct) << open; }), kSlower / 10) << open;
  }
  for (const std::string digits : {"1A", "A1", "FF", "1"}) {
    const std::string text = repeat(digits, 16000 / digits.size());
    EXPECT_LT(cpu_seconds([&] { EXPECT_NE(check_answer(text, "17"), Verdict::correct) << digits; }), kSlower / 10) << digits;
  }
}

TEST(Verdicts, over_budget_costs_little) {
  for (const std::string& heavy :
       {std::string("9^{9^{9^9}}"), std::string("99999999!"), repeat("(", 400) + "1" + repeat(")", 400),
        std::string("\\sum_{k=1}^{10^9} k"), std::string("2^{2^{2^{2^{2^2}}}}"), std::string("e^{e^{e^{e^{e}}}}"),
        std::string("1e999999"), std::string(60000, '9'), std::string("\\binom{1000000}{500000}"),
        std::string("\\sum_{a=1}^{999}\\sum_{b=1}^{999}\\sum_{c=1}^{999} abc"), repeat("x^", 3000) + "2"}) {
    const auto check = [&] {
      EXPECT_EQ(enum_name(check_answer(heavy, "1")), "over_budget") << heavy.substr(0, 40);
      EXPECT_EQ(enum_name(check_answer("1", heavy)), "over_budget") << heavy.substr(0, 40);
    };
    EXPECT_LT(cpu_seconds(check), kSlower / 20) << heavy.substr(0, 40);
  }
}

TEST(Json, keeps_the_digits_of_numbers_or_says_that_it_cannot) {
  const auto read = [](const char* text) { return read_json<nlohmann::json>(text, LongNumbers::as_text).dump(); };
  EXPECT_EQ(read("9007199254740993"), "9007199254740993");
  EXPECT_EQ(read("9007199254740993.0"), "\"9007199254740993.0\"");
  EXPECT_EQ(read("18446744073709551617"), "\"18446744073709551617\"");
  EXPECT_EQ(read("1e-400"), "\"1e-400\"");
  EXPECT_EQ(read("1e-5000"), "\"1e-5000\"");  // below every long double as well
  EXPECT_EQ(read("0.1"), "0.1");
  EXPECT_EQ(read("0e-5000"), "0.0");
}

TEST(FinalAnswer, costs_no_more_than_the_text_is_long) {  // boxes that stay open, words that never end
  for (const std::string piece : {"\\boxed\\a{", "\\boxed\\frac{"})
    EXPECT_LE(final_answer(repeat(piece, 100'000)).size(), 64u);
  EXPECT_EQ(final_answer("The answer is " + repeat("not", 100'000) + " $17$."), std::vector<std::string>{"$17$"});
}

TEST(AnswerOptions, say_what_else_is_right) {
  AnswerOptions options;
  options.tolerance = 0.01;
  EXPECT_EQ(check_answer("3.14", "\\pi", options), Verdict::correct);
  EXPECT_EQ(check_answer("0.333", "1/3", options), Verdict::correct);
  EXPECT_EQ(check_answer("3.2", "\\pi", options), Verdict::wrong);
  EXPECT_EQ(check_answer("1009", "1000", options), Verdict::correct);  // relative beyond 1
  EXPECT_EQ(check_answer("1011", "1000", options), Verdict::wrong);
  options = {};
  options.convert_units = true;
  EXPECT_EQ(check_answer("100 cm", "1 m", options), Verdict::correct);
  EXPECT_EQ(check_answer("1 m^2", "10000 cm^2", options), Verdict::correct);
  EXPECT_EQ(check_answer("50 cents", "\\$0.50", options), Verdict::correct);
  EXPECT_EQ(check_answer("10 cm", "1 m", options), Verdict::wrong);
  EXPECT_EQ(check_answer("1 kg", "1 km", options), Verdict::wrong);
  options = {};
  options.precision = 2;
  for (const auto& [answer, reference] : std::vector<Pair>{{"2.3456", "2.35"},
                                                           {"2.345", "2.35"},  // half-way is rounded either way
                                                           {"\\pi", "3.14"},
                                                           {"0.33", "1/3"},
                                                           {"5.004", "5"},
                                                           {"(1.234, 4.5551)", "(1.23, 4.56)"},
                                                           {"[1.2345, 4.5599)", "[1.23, 4.56)"},
                                                           {"\\begin{pmatrix}1.2345\\\\5/2\\end{pmatrix}",
                                                            "\\begin{pmatrix}1.23\\\\2.5\\end{pmatrix}"},
                                                           {"4.5599, 1.2311", "1.23, 4.56"},
                                                           {"12.3456%", "12.35%"},
                                                           {"12.3456 cm", "12.35 cm"},
                                                           {"0.12", "0.125"},
                                                           {"0.13", "0.125"}})
    EXPECT_EQ(check_answer(answer, reference, options), Verdict::correct) << answer << " for " << reference;
  for (const auto& [answer, reference] : std::vector<Pair>{{"2.34", "2.35"},
                                                           {"2.356", "2.35"},
                                                           {"\\pi", "3.15"},
                                                           {"0.3382", "1/3"},  // which is rounded first
                                                           {"5.006", "5"},
                                                           {"(1.24, 4.56)", "(1.23, 4.56)"},
                                                           {"[1.2345, 4.5599]", "[1.23, 4.56)"},
                                                           {"12.3356%", "12.35%"},
                                                           {"12.3456 m", "12.35 cm"},
                                                           {"x+1.234", "x+1.23"}})
    EXPECT_NE(check_answer(answer, reference, options), Verdict::correct) << answer << " for " << reference;
  options.precision = 101;
  EXPECT_NE(error_of([&] { check_answer("1", "1", options); }).find("precision: expected -1 <= x <= 100, got 101"),
            std::string::npos);
  options.precision = -1;
  const std::string two = "\\boxed{4}. Wait, no: it must be \\boxed{5}";
  EXPECT_EQ(check_answer(two, "5", options), Verdict::wrong);
  options.last_box = true;
  EXPECT_EQ(check_answer(two, "5", options), Verdict::correct);
  EXPECT_EQ(check_answer(two, "4", options), Verdict::wrong);
  EXPECT_EQ(check_answer("\\boxed{4} and \\boxed{5}", "5", options), Verdict::correct);
  EXPECT_EQ(final_answer(two, {.last_box = true}), std::vector<std::string>{"5"});
  EXPECT_EQ(final_answer(two), (std::vector<std::string>{"4", "5"}));
  options = {};
  options.decimal_comma = true;
  EXPECT_EQ(check_answer("1.000,5", "2001/2", options), Verdict::correct);
  EXPECT_EQ(check_answer("1.000,5", "2001/2"), Verdict::wrong);
  options.tolerance = -1;
  EXPECT_NE(error_of([&] { check_answer("1", "1", options); }).find("tolerance: expected x >= 0, got -1"),
            std::string::npos);
}

TEST(FinalAnswer, is_never_taken_from_reasoning) {
  using Found = std::vector<std::string>;
  EXPECT_EQ(final_answer("<think>\\boxed{3}</think><answer>4</answer>"), Found{"4"});
  EXPECT_EQ(final_answer("<think>\\boxed{3}</think>It is \\boxed{4}."), Found{"4"});
  EXPECT_EQ(final_answer("<think>\\boxed{3}</think>No idea."), Found{});
  EXPECT_EQ(final_answer("<think>so \\boxed{3}"), Found{});
  EXPECT_EQ(final_answer("</think>\\boxed{4}<think>\\boxed{3}"), Found{});
  ExtractionOptions open;
  open.think_open = true;
  EXPECT_EQ(final_answer("so \\boxed{3}", open), Found{});
  EXPECT_EQ(final_answer("so \\boxed{3}</think>Answer: 4", open), Found{"4"});
  ExtractionOptions closed;
  closed.thinking_closed = true;
  EXPECT_EQ(final_answer("<answer>4</answer>", closed), Found{});
  EXPECT_EQ(final_answer("<answer>4</answer>"), Found{"4"});
}

TEST(FinalAnswer, is_one_or_all_that_compete) {
  using Found = std::vector<std::string>;
  EXPECT_EQ(final_answer("<answer>3</answer> or <answer>4</answer>"), (Found{"3", "4"}));
  EXPECT_EQ(final_answer("\\boxed{3} ... so in the end \\boxed{3}"), Found{"3"});
  EXPECT_EQ(final_answer("\\boxed{3} ... so in the end we get \\boxed{4}"), (Found{"3", "4"}));
  EXPECT_EQ(final_answer("\\boxed{3} or \\fbox{4}"), Found{"3, 4"});
  EXPECT_EQ(final_answer("first \\boxed{3}. **Final Answer**: \\boxed{4}"), Found{"4"});
  EXPECT_EQ(final_answer("Answer: 12"), Found{"12"});
  EXPECT_EQ(final_answer("Final Answer: The final answer is $x+1$. I hope it is correct."), Found{"$x+1$"});
  EXPECT_EQ(final_answer("정답은 12입니다."), Found{"12"});
  EXPECT_EQ(final_answer("\\boxed{3"), Found{});
  EXPECT_EQ(final_answer("It may be 3."), Found{});
}

TEST(CheckAnswer, does_not_recurse_into_chains_of_any_length) {
  for (const std::string_view piece :
       {"1-", "x", "2/", "x y ", "1+-", "!", "°", "%", "\\pm ", "a_1 ", "2^", "x=", "\\cup "})
    for (const std::size_t times : {100u, 600u, 5000u, 20000u}) {
      const std::string text = "3" + repeat(piece, times) + "3";
      check_answer(text, "3");
      check_answer("3", text);
      check_answer(text, text);
    }
  EXPECT_EQ(check_answer(repeat("1-", 5000) + "1", "-4999"), Verdict::over_budget);
  EXPECT_EQ(check_answer(repeat("1-", 100) + "1", "-99"), Verdict::correct);
}

}  // namespace
}  // namespace grpo
