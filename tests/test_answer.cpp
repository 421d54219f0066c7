// answers_match and check_countdown: what counts as the same answer, and what does not.
#include <gtest/gtest.h>

#include <ctime>
#include <string>

#include "grpo/reward.h"

namespace grpo {
namespace {

std::string repeat(const std::string& piece, std::size_t times) {
  std::string text;
  text.reserve(piece.size() * times);
  for (std::size_t i = 0; i < times; ++i) text += piece;
  return text;
}

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
                         testing::Values(Pair{" Even ", "Even"}, Pair{"\\boxed{Even}", "Even"}, Pair{"$Even$.", "Even"},
                                         Pair{"on  a\n Monday", "on a Monday"}, Pair{"4\\sqrt2", "4\\sqrt2"},
                                         Pair{"3 or 4", "3 or 4"}, Pair{"서울", "서울"},
                                         Pair{"\\boxed{1} and \\boxed{2}", "\\boxed{1} and \\boxed{2}"}));

class OtherAnswer : public testing::TestWithParam<Pair> {};
TEST_P(OtherAnswer, does_not_match) { EXPECT_FALSE(answers_match(GetParam().answer, GetParam().reference)); }
INSTANTIATE_TEST_SUITE_P(Values, OtherAnswer,
                         testing::Values(Pair{"43", "42"}, Pair{"-42", "42"}, Pair{"0.333", "1/3"},
                                         Pair{"0.3333333333333333", "1/3"}, Pair{"50", "50%"}, Pair{"50%", "50"},
                                         Pair{"1.5e3", "1.5e4"}, Pair{"1.5e-3", "1500"},
                                         Pair{"10000000000000000000000000000001", "10000000000000000000000000000000"},
                                         Pair{"0.10000000000000000000000000000001", "0.1"}));
INSTANTIATE_TEST_SUITE_P(NotOneNumber, OtherAnswer,
                         testing::Values(Pair{"3 or 4", "3"}, Pair{"3 or 4", "4"}, Pair{"3, 4", "3"}, Pair{"3 4", "34"},
                                         Pair{"3,4", "34"}, Pair{"4\\sqrt2", "4"}, Pair{"4\\sqrt{2}", "4"},
                                         Pair{"5 apples", "5"}, Pair{"x", "5"}, Pair{"\\boxed{3} or \\boxed{4}", "3"},
                                         Pair{"\\boxed{3} or \\boxed{4}", "4"}, Pair{"\\boxed{3", "3"},
                                         Pair{"$3$ or $4$", "3"}, Pair{"\\(3\\) or \\(4\\)", "3\\) or \\(4"},
                                         Pair{"x = 3 = 4", "4"}, Pair{"xy = 4", "4"}, Pair{"2 + 2", "4"},
                                         Pair{"3!", "6"}, Pair{"2^2", "4"}, Pair{"0x10", "16"}, Pair{"1e", "1"},
                                         Pair{"4..", "4"}, Pair{"1.2.3", "1.2"}, Pair{"42abc", "42"},
                                         Pair{"[0,1)", "1"}));
INSTANTIATE_TEST_SUITE_P(BadNumbers, OtherAnswer,
                         testing::Values(Pair{"1/0", "1"}, Pair{"1/0", "1/0.0"}, Pair{"0/0", "0"}, Pair{"--5", "5"},
                                         Pair{"+-5", "-5"}, Pair{"1/2/3", "1/6"}, Pair{"/2", "2"}, Pair{"5/", "5"},
                                         Pair{"5./2", "2.5"}, Pair{"12,34", "1234"}, Pair{"1234,567", "1234567"},
                                         Pair{"1,2345", "12345"}, Pair{",123", "123"}, Pair{"1,,234", "1234"},
                                         Pair{"0,123", "123"}, Pair{"1,234,", "1234"}, Pair{"(5", "5"}, Pair{"5)", "5"},
                                         Pair{"\\frac{1}", "1"}, Pair{"\\frac{1}{2", "0.5"}, Pair{"-", "0"},
                                         Pair{"%", "0"}, Pair{".", "0"}, Pair{"1e99999999999999999999", "1"}));
INSTANTIATE_TEST_SUITE_P(Empty, OtherAnswer,
                         testing::Values(Pair{"", ""}, Pair{" ", " "}, Pair{"", "0"}, Pair{"0", ""},
                                         Pair{"\\boxed{}", "\\boxed{}x"}, Pair{".", "0"}, Pair{"$$", "0"}));
INSTANTIATE_TEST_SUITE_P(Text, OtherAnswer,
                         testing::Values(Pair{"Odd", "Even"}, Pair{"even", "Even"}, Pair{"Evens", "Even"},
                                         Pair{"Ev en", "Even"}, Pair{"Even", "Even or odd"}, Pair{"12", "Even"}));

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
  EXPECT_FALSE(answers_match(repeat("(", 17) + "1" + repeat(")", 17), "1"));
}

struct Attempt {
  std::string expression, reference;
};

class Solves : public testing::TestWithParam<Attempt> {};
TEST_P(Solves, countdown) { EXPECT_TRUE(check_countdown(GetParam().expression, GetParam().reference)); }
INSTANTIATE_TEST_SUITE_P(
    Countdown, Solves,
    testing::Values(
        Attempt{"3 + 5", "8 from 3 5"}, Attempt{"5+3", "8 from 3 5"}, Attempt{"(7-3)*(5+1)", "24 from 3 5 7 1"},
        Attempt{"2+3*4", "14 from 2 3 4"}, Attempt{"(2+3)*4", "20 from 2 3 4"}, Attempt{"10-3-2", "5 from 10 3 2"},
        Attempt{"10-(3-2)", "9 from 10 3 2"}, Attempt{"8/4/2", "1 from 8 4 2"}, Attempt{"8/(4/2)", "4 from 8 4 2"},
        Attempt{"8/(3-8/3)", "24 from 3 3 8 8"}, Attempt{"3-5", "-2 from 3 5"},
        Attempt{"(3-5)*(1-4)", "6 from 1 3 4 5"}, Attempt{"5*(1-4)", "-15 from 1 4 5"},
        Attempt{"(3-5)/(1-4)", "2/3 from 1 3 4 5"}, Attempt{"6/(1-4)", "-2 from 1 4 6"}, Attempt{"1/3", "1/3 from 1 3"},
        Attempt{"6 \u00D7 4", "24 from 4 6"}, Attempt{"6 \u00F7 4", "1.5 from 4 6"},
        Attempt{"6 \u2212 4", "2 from 4 6"}, Attempt{"6 \u00B7 4", "24 from 4 6"},
        Attempt{"6 \\times 4 \\div 2", "12 from 2 4 6"}, Attempt{"\\left(6+4\\right)\\cdot 2", "20 from 2 4 6"},
        Attempt{"((((3))))+5", "8 from 3 5"}, Attempt{"3+5 = 8", "8 from 3 5"}, Attempt{"3+5=8.", "8 from 3 5"},
        Attempt{"\\boxed{3+5}", "8 from 3 5"}, Attempt{"$3+5=8$", "8 from 3 5"}, Attempt{"5", "5 from 5"},
        Attempt{" 3\n+\t5 ", " 8  from\t3 5 "}, Attempt{"3+3", "6 from 3 3"}, Attempt{"0*7", "0 from 0 7"},
        Attempt{"123456789012345678*987654321098765432",
                "121932631137021794322511812221002896 from "
                "123456789012345678 987654321098765432"},
        Attempt{"999999999999999999+1", "1000000000000000000 from 1 999999999999999999"},
        Attempt{"1000000000-1", "999999999 from 1000000000 1"}));

class DoesNotSolve : public testing::TestWithParam<Attempt> {};
TEST_P(DoesNotSolve, countdown) { EXPECT_FALSE(check_countdown(GetParam().expression, GetParam().reference)); }
INSTANTIATE_TEST_SUITE_P(WrongNumbers, DoesNotSolve,
                         testing::Values(Attempt{"3+5", "9 from 3 5"}, Attempt{"3+5", "8 from 3 5 7"},
                                         Attempt{"3+5+3-3", "8 from 3 5"}, Attempt{"3+3", "6 from 3"},
                                         Attempt{"3", "6 from 3 3"}, Attempt{"8", "8 from 3 5"},
                                         Attempt{"4+4", "8 from 3 5"}, Attempt{"35", "35 from 3 5"},
                                         Attempt{"3.0+5", "8 from 3 5"}, Attempt{"3+5", "8 from 5 5"},
                                         Attempt{"1000000000000000003+5", "8 from 3 5"}));
INSTANTIATE_TEST_SUITE_P(
    WrongForm, DoesNotSolve,
    testing::Values(Attempt{"", "8 from 3 5"}, Attempt{" ", "8 from 3 5"}, Attempt{"3 5", "8 from 3 5"},
                    Attempt{"3+", "3 from 3"}, Attempt{"*3", "3 from 3"}, Attempt{"3+5*", "8 from 3 5"},
                    Attempt{"+3+5", "8 from 3 5"}, Attempt{"-3+5", "2 from 3 5"}, Attempt{"5--3", "8 from 3 5"},
                    Attempt{"5-(-3)", "8 from 3 5"}, Attempt{"(3)(5)", "15 from 3 5"}, Attempt{"3(5)", "15 from 3 5"},
                    Attempt{"(3+5", "8 from 3 5"}, Attempt{"3+5)", "8 from 3 5"}, Attempt{")3+5(", "8 from 3 5"},
                    Attempt{"()3+5", "8 from 3 5"}, Attempt{"3**5", "243 from 3 5"}, Attempt{"3^5", "243 from 3 5"},
                    Attempt{"3//5", "0 from 3 5"}, Attempt{"8%3", "2 from 8 3"}, Attempt{"3+5;", "8 from 3 5"},
                    Attempt{"[3+5]", "8 from 3 5"}, Attempt{"x=3+5", "8 from 3 5"}, Attempt{"abs(3)+5", "8 from 3 5"},
                    Attempt{"3+5 or 5+3", "8 from 3 5"}));
INSTANTIATE_TEST_SUITE_P(WrongEnd, DoesNotSolve,
                         testing::Values(Attempt{"3+5=9", "8 from 3 5"}, Attempt{"3+5=", "8 from 3 5"},
                                         Attempt{"3+5=8=8", "8 from 3 5"}, Attempt{"3+5=5+3", "8 from 3 5"},
                                         Attempt{"8=3+5", "8 from 3 5"}, Attempt{"3+6=8", "8 from 3 6"},
                                         Attempt{"=8", "8 from 8"}));
INSTANTIATE_TEST_SUITE_P(DivisionByZero, DoesNotSolve,
                         testing::Values(Attempt{"7/0", "0 from 7 0"}, Attempt{"0/0", "0 from 0 0"},
                                         Attempt{"7/(3-3)", "7 from 3 3 7"}, Attempt{"7*(1/(3-3))", "0 from 1 3 3 7"}));

TEST(Countdown, refuses_a_malformed_reference) {
  for (const char* bad : {"", "24", "24 from", "from 3 5", "24 of 3 5", "24 from 3 x", "24 from 3 -5", "24 from 3.5",
                          "x from 3 5", "24 from 1234567890123456789"})
    EXPECT_THROW(check_countdown("3+5", bad), Error) << bad;
}

TEST(Countdown, parses_deep_nesting_without_recursion) {
  EXPECT_TRUE(check_countdown(repeat("(", 2000) + "3+5" + repeat(")", 2000), "8 from 3 5"));
  EXPECT_FALSE(check_countdown(repeat("(", 2100) + "3+5" + repeat(")", 2100), "8 from 3 5"));  // beyond the bound
}

TEST(Countdown, evaluates_many_numbers_quickly) {
  std::string expression = "0", reference = "500 from 0";
  for (int i = 0; i < 1000; ++i) expression += i % 2 ? "/1" : "+1", reference += " 1";
  const std::clock_t start = std::clock();  // processor time, which other programs cannot stretch
  EXPECT_TRUE(check_countdown(expression, reference));
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC / 2);
}

}  // namespace
}  // namespace grpo
