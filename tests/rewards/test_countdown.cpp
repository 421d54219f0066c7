// check_countdown: expressions that reach their target with the numbers given.
#include <gtest/gtest.h>

#include <string>

#include "costs.h"
#include "grpo/error.h"
#include "grpo/reward.h"

namespace grpo {
namespace {

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
  EXPECT_LT(cpu_seconds([&] { EXPECT_TRUE(check_countdown(expression, reference)); }), 0.5);
}

}  // namespace
}  // namespace grpo
