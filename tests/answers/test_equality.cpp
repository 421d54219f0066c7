// check_answer: kinds of answers, by what is equal and what is not.
#include <gtest/gtest.h>

#include <string>

#include "grpo/answer.h"
#include "grpo/json.h"

namespace grpo {
namespace {

struct Pair {
  std::string answer, reference;
};

class Equal : public testing::TestWithParam<Pair> {};
TEST_P(Equal, is_correct) {
  EXPECT_EQ(enum_name(check_answer(GetParam().answer, GetParam().reference)), "correct")
      << GetParam().answer << " for " << GetParam().reference;
}
class Different : public testing::TestWithParam<Pair> {};
TEST_P(Different, is_not_correct) {
  EXPECT_NE(check_answer(GetParam().answer, GetParam().reference), Verdict::correct)
      << GetParam().answer << " for " << GetParam().reference;
}

INSTANTIATE_TEST_SUITE_P(
    Expressions, Equal,
    testing::Values(Pair{"\\frac{1}{2}+\\frac13", "5/6"}, Pair{"\\sqrt{2}\\sqrt{3}", "\\sqrt 6"},
                    Pair{"2^{1/2}", "\\sqrt2"}, Pair{"\\sqrt[3]{-8}", "-2"}, Pair{"\\sin\\frac{\\pi}{6}", "\\frac12"},
                    Pair{"\\sin 30^\\circ", "0.5"}, Pair{"e^{i\\pi}", "-1"}, Pair{"i", "\\sqrt{-1}"},
                    Pair{"\\frac{1+i}{1-i}", "i"}, Pair{"\\log_2 8", "3"}, Pair{"\\log 8", "3\\log 2"},
                    Pair{"\\ln 8", "3\\ln 2"}, Pair{"5!", "120"}, Pair{"\\binom{5}{2}", "10"}, Pair{"|-3|", "3"},
                    Pair{"\\lfloor 3.7\\rfloor", "3"}, Pair{"\\lceil \\pi \\rceil", "4"},
                    Pair{"\\sum_{k=1}^{100} k", "5050"}, Pair{"0.1\\overline{6}", "1/6"},
                    Pair{"1.5\\times10^3", "1500"}, Pair{"3\\frac{1}{2}", "7/2"}, Pair{"3 1/2", "3.5"},
                    Pair{"\\sqrt{3+2\\sqrt2}", "1+\\sqrt2"}, Pair{"\\arctan 1", "\\frac{\\pi}{4}"},
                    Pair{"\\cos^2 1 + \\sin^2 1", "1"}, Pair{"½", "0.5"}, Pair{"2π", "2\\pi"},
                    Pair{"√17", "\\sqrt{17}"}, Pair{"gcd(12, 18)", "6"}));
INSTANTIATE_TEST_SUITE_P(
    Variables, Equal,
    testing::Values(Pair{"x^2+2x+1", "(x+1)^2"}, Pair{"\\frac{x}{7}+\\frac27", "\\frac{x+2}{7}"},
                    Pair{"\\sec^2 y", "\\tan^2(y)+1"}, Pair{"\\frac{x^2-1}{x-1}", "x+1"}, Pair{"(\\sqrt x)^2", "x"},
                    Pair{"\\ln(x^2)", "2\\ln x"}, Pair{"n(n-1)!", "n!"}, Pair{"f(x+1)", "f(1+x)"},
                    Pair{"\\sin 2x", "2\\sin x\\cos x"}, Pair{"x^{2/3}", "\\sqrt[3]{x}^2"}, Pair{"ba", "ab"},
                    Pair{"F_n = \\sum_{k=0}^{n-1} F_{n-k-1} F_k", "F_n = \\sum_{k=0}^{n-1} F_k F_{n-k-1}"}));
INSTANTIATE_TEST_SUITE_P(
    Relations, Equal,
    testing::Values(Pair{"x=3", "3"}, Pair{"3", "x = 3"}, Pair{"2x=6", "x=3"}, Pair{"y=2x+1", "2x-y+1=0"},
                    Pair{"x = 1/3 \\approx 0.33", "1/3"}, Pair{"-x > -1", "x < 1"}, Pair{"5 \\le x", "x >= 5"},
                    Pair{"[5, \\infty)", "x \\geq 5"}, Pair{"0<f(x)<1", "(0,1)"}, Pair{"x \\in [-2,7]", "[-2,7]"},
                    Pair{"x<2 or x>3", "(-\\infty,2)\\cup(3,\\infty)"}, Pair{"3 > x > 1", "1<x<3"},
                    Pair{"(p,q)=(3,2)", "(3,2)"}, Pair{"z = 1+1 = 2", "2"}, Pair{"\\angle ABC = 90^\\circ", "90"}));
INSTANTIATE_TEST_SUITE_P(
    Collections, Equal,
    testing::Values(
        Pair{"3, 1, 2", "1, 2, 3"}, Pair{"\\{3,1,2\\}", "1, 2 \\text{ and } 3"}, Pair{"(1,2,3)", "(1,2,3)"},
        Pair{"\\pm 3", "3, -3"}, Pair{"\\frac{-1\\pm\\sqrt5}{2}", "\\frac{\\sqrt5-1}{2}, -\\frac{1+\\sqrt5}{2}"},
        Pair{"\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\left[\\begin{array}{cc}1&2\\\\3&4\\end{array}\\right]"},
        Pair{"\\begin{pmatrix}1\\\\2\\end{pmatrix}", "(1,2)"}, Pair{"(5,2),(7,2)", "p=5,q=2;p=7,q=2"},
        Pair{"(7,11), (11,7)", "(11,7) or (7,11)"}, Pair{"6:8", "3:4"}, Pair{"\\{1,2\\}\\cup\\{3\\}", "\\{1,2,3\\}"},
        Pair{"\\boxed{1} and \\boxed{2}", "1, 2"}, Pair{"1,22", "1.22"}, Pair{"1000,00", "1000"},
        Pair{"4:6:8", "2:3:4"}, Pair{"x \\neq -5, x \\neq 5", "x \\neq \\pm 5"}, Pair{"|1-x|", "|x-1|"},
        Pair{"y=|1-x|", "2y=2|x-1|"}));
INSTANTIATE_TEST_SUITE_P(
    OtherKinds, Equal,
    testing::Values(Pair{"(B)", "B"}, Pair{"B) 12", "(B)"}, Pair{"\\text{(B)}", "B"}, Pair{"5 cm", "5\\text{ cm}"},
                    Pair{"5", "5 cm"}, Pair{"15\\mbox{ cm}^2", "15\\text{ cm}^{2}"}, Pair{"5 dollars", "\\$5.00"},
                    Pair{"90", "90^\\circ"}, Pair{"\\frac{\\pi}{2}", "90^\\circ"}, Pair{"3:05 pm", "15:05 pm"},
                    Pair{"January 5, 2024", "2024-01-05"}, Pair{"5 Jan 2024", "January 5, 2024"},
                    Pair{"1011_2", "1011_{2}"}, Pair{"\\text{Evelyn}", "Evelyn"}, Pair{"1 000", "1000"},
                    Pair{"정답: ４２", "42"}, Pair{"답은 42입니다.", "42"}, Pair{"答案是42。", "42"},
                    Pair{"答えは 42 です", "42"}, Pair{"28 pct", "28\\%"}, Pair{"\\boxed{28}\\%", "28\\%"},
                    Pair{"The result is 1,000.99m²", "1000.99"}));
INSTANTIATE_TEST_SUITE_P(Decimals, Equal,
                         testing::Values(Pair{"0.333333", "1/3"}, Pair{"0.666667", "2/3"}, Pair{"0.666666", "2/3"},
                                         Pair{"0.0833333333333333", "1/12"}, Pair{"\\sqrt{17}", "4.123105625617661"},
                                         Pair{"-0.333333", "-1/3"}, Pair{"(0.333333, 2)", "(1/3, 2)"}));

// What looks like the reference and is not.
INSTANTIATE_TEST_SUITE_P(
    Traps, Different,
    testing::Values(Pair{"4", "4\\sqrt{2}"}, Pair{"4\\sqrt{2}", "4"}, Pair{"1/2^{99}", "1/2^{98}"},
                    Pair{"1-1/e", "1+1/e"}, Pair{"a^2+b=0", "a+3z=0"}, Pair{"0", "a+3z=0"}, Pair{"x+y=0", "0"},
                    Pair{"10", "10\\%"}, Pair{"10\\%", "10"}, Pair{"5 cm", "5 m"}, Pair{"100 cm", "1 m"},
                    Pair{"5 cm", "5 cm^2"}, Pair{"1011_2", "1011"}, Pair{"1011", "1011_2"}, Pair{"1011_2", "1011_3"},
                    Pair{"(1,2,3)", "\\{3,2,1\\}"}, Pair{"(3,1)", "(1,3)"}, Pair{"3,1", "(1,3)"}, Pair{"0.333", "1/3"},
                    Pair{"0.33333", "1/3"}, Pair{"0.333334", "1/3"}, Pair{"3.14", "\\pi"}, Pair{"22/7", "\\pi"},
                    Pair{"3.1415", "\\pi"}, Pair{"3 3", "3"}, Pair{"3, 3", "3"}, Pair{"4 or 5", "4"},
                    Pair{"4 or 5", "5"}, Pair{"\\{3,3\\}", "3"}, Pair{"\\boxed{4} or \\boxed{5}", "4"},
                    Pair{"\\boxed{4}. Wait, no: it must be \\boxed{5}", "5"}, Pair{"Answer: 4\n\nAnswer: 5", "5"},
                    Pair{"42 + e^{-1000}", "42"}, Pair{"\\cos(10^{-150})", "1"}, Pair{"1 + 10^{-400}", "1"},
                    Pair{"e^{\\pi\\sqrt{163}}", "262537412640768744"}, Pair{"\\sqrt{x^2}", "x"}, Pair{"|x|", "x"},
                    Pair{"x^2+2x+2", "(x+1)^2"}, Pair{"y=3", "x=3"}, Pair{"-x > 1", "x < 1"}, Pair{"[0,1)", "[0,1]"},
                    Pair{"(0,1]", "[0,1)"}, Pair{"x<5", "x>5"}, Pair{"x \\le 5", "x<5"}, Pair{"\\log 100", "2"},
                    Pair{"f(y)", "f(x)"}, Pair{"BA", "AB"}, Pair{"x", "X"}, Pair{"d", "E"}, Pair{"C", "B"},
                    Pair{"(A) or (B)", "B"}, Pair{"A) 3 or B) 4", "B"}, Pair{"1:00", "12:00"},
                    Pair{"3:05 am", "3:05 pm"}, Pair{"2024-01-06", "2024-01-05"}, Pair{"5 apples", "5 pears"},
                    Pair{"z=2, y=1", "y=2, z=1"}, Pair{"14/3, -5", "x = -5, p = 14/3"}, Pair{"4:3", "3:4"},
                    Pair{"\\begin{pmatrix}1&2\\\\3&5\\end{pmatrix}", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}"},
                    Pair{"\\begin{pmatrix}1&2\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"},
                    Pair{"-[0,1)", "1"}, Pair{"\\pm 3", "3"}, Pair{"\\infty", "-\\infty"}, Pair{"x = 3 = 4", "3"}));

INSTANTIATE_TEST_SUITE_P(
    Notation, Equal,
    testing::Values(Pair{"{1\\over 2}", "1/2"}, Pair{"$1 \\over 2$", "1/2"}, Pair{"{10 \\choose 3}", "120"},
                    Pair{"\\bf 12", "12"}, Pair{"0.\\dot{3}", "1/3"}, Pair{"\\lg 2", "\\log_{10} 2"},
                    Pair{"\\cot^{-1} 2", "\\arctan\\frac12"}, Pair{"\\operatorname{arccot} 2", "\\arctan\\frac12"},
                    Pair{"\\lVert v\\rVert", "\\|v\\|"}, Pair{"\\overrightarrow{AB}", "\\vec{AB}"},
                    Pair{"x¹⁰", "x^{10}"}, Pair{"log₂ 8", "3"}, Pair{"⅜", "3/8"}, Pair{"\\left<1,2\\right>", "(1,2)"},
                    Pair{"1,2,\\ldots,9", "1,2,\\dots,9"}, Pair{"= 42", "42"}, Pair{"\\approx 3.5", "3.5"},
                    Pair{"{\\text{Evelyn}}", "\\text{Evelyn}"}, Pair{"no", "No"},
                    Pair{"\\frac{d\\,!}{k(d-k)!}", "\\frac{(d-1)! d}{(d-k)!k}"},
                    Pair{"m_{\\max}=n^2", "m_{\\max} = n\\cdot n"},
                    Pair{"\\frac1{2004!}", "\\frac{1}{2004\\cdot 2003!}"}, Pair{"16 m^2-8 m n+n^2", "(4m-n)^2"},
                    Pair{"\\begin{align*} x &= 2\\cdot 3 \\\\ &= 6 \\end{align*}", "6"},
                    Pair{"\\begin{cases} x=1 \\\\ y=2 \\end{cases}", "x=1, y=2"},
                    Pair{"\\begin{cases} x & \\text{if } x>0 \\\\ 0, & x \\le 0 \\end{cases}",
                         "\\begin{cases} x, & x > 0 \\\\ 0 & \\text{for } x \\leq 0 \\end{cases}"},
                    Pair{"\\frac15\\begin{pmatrix}1&2\\end{pmatrix}", "\\begin{bmatrix}1/5&0.4\\end{bmatrix}"},
                    Pair{"\\begin{pmatrix}1&2\\cr 3&4\\end{pmatrix}", "\\begin{pmatrix}1&2\\\\[2mm]3&4\\end{pmatrix}"},
                    Pair{"-221_3", "-221_{3}"}));
INSTANTIATE_TEST_SUITE_P(
    SetsAndConditions, Equal,
    testing::Values(Pair{"\\varnothing", "\\emptyset"}, Pair{"\\{\\}", "∅"}, Pair{"\\{x : x \\ge 2\\}", "[2,\\infty)"},
                    Pair{"\\{x\\in\\mathbb{R} : x > 0\\}", "\\mathbb{R}^+"},
                    Pair{"\\{2k+1 \\mid k \\in Z\\}", "\\{2k+1: k\\in Z\\}"},
                    Pair{"(-\\infty,0)\\cup(0,\\infty)", "\\mathbb{R}\\setminus\\{0\\}"},
                    Pair{"\\mathbb{R} - \\{0\\}", "x \\ne 0"}, Pair{"x \\ne 0", "\\mathbb{R} - \\{0\\}"},
                    Pair{"\\mathbb{R}-\\{2,-1\\}", "(-\\infty,-1)\\cup(-1,2)\\cup(2,\\infty)"},
                    Pair{"x=k\\pi \\quad (k\\in \\mathbb{Z})", "x=k\\pi, k\\in\\mathbb{Z}"},
                    Pair{"n\\equiv 1\\pmod 4", "n \\equiv 1 \\pmod{4}"}, Pair{"n ≡ 1 (mod 4)", "n\\equiv 1\\pmod 4"},
                    Pair{"x_1=-2, x_2=3", "x=3 \\text{ or } x=-2"}, Pair{"\\frac12", "\\cos A=\\frac12"},
                    Pair{"2", "\\frac{a}{b}=2"},
                    Pair{"A^{-1} = \\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"}));
INSTANTIATE_TEST_SUITE_P(Units, Equal,
                         testing::Values(Pair{"5", "5\\text{ sq. units}"}, Pair{"80 miles per hour", "80\\text{ mph}"},
                                         Pair{"2\\pi", "2\\pi\\text{ cm}"},
                                         Pair{"36\\pi \\text{ in}^3", "36\\pi\\text{ cubic inches}"},
                                         Pair{"8\\sqrt2\\text{ cm}", "8\\sqrt{2}"}, Pair{"9(\\text{cm})", "9"},
                                         Pair{"\\frac{1}{16\\pi} cm/s", "1 /(16 \\pi) \\mathrm{cm} / \\mathrm{s}"},
                                         Pair{"20 N", "20\\text{ N}"}, Pair{"18\\text{ ways.}", "18"},
                                         Pair{"27 \\mathrm{~min}", "27"}, Pair{"3", "3 rubles"}));
INSTANTIATE_TEST_SUITE_P(
    Sentences, Equal,
    testing::Values(Pair{"#### 42", "42"}, Pair{"Some work: 6 and 7.\n#### 42", "42"}, Pair{"We get 42", "42"},
                    Pair{"He paid $15", "15"}, Pair{"It costs €15.50", "15.5"}, Pair{"Answer\n\\[\n9\n\\]", "9"},
                    Pair{"### Answer\n9", "9"}, Pair{"Final Answer\n\n12", "12"}, Pair{"The correct option is B.", "B"},
                    Pair{"The correct choice is **(B)**.", "B"}, Pair{"`C`", "C"}, Pair{"answer is (c)", "C"},
                    Pair{"The point is (1, 2).", "(1,2)"}, Pair{"Therefore $\\$40$ is the price.", "40"},
                    Pair{"So it is $\\text{June 20}$", "June 20"}, Pair{"\\boxed{\\text{June 20}}", "\\text{June 20}"},
                    Pair{"\\boxed{\\text{The answer is } 10}", "10"}, Pair{"-5°", "-5"},
                    Pair{"x \\ge -2 and x \\le 2", "[-2,2]"}, Pair{"2x", "\\frac{dy}{dx} = 2x"},
                    Pair{"\\frac{x-1}2", "f^{-1}(x) = \\frac{x-1}{2}"}, Pair{"1:2:3", "a:b:c = 2:4:6"},
                    Pair{"\\frac{2x}{\\sqrt{1-x^4}}", "2x(1-x^4)^{-1/2}"}));

INSTANTIATE_TEST_SUITE_P(
    ProseBehind, Equal,
    testing::Values(
        Pair{"The answer is 17 because 16 is too small.", "17"}, Pair{"The answer is 17, as 34/2=17", "17"},
        Pair{"The answer is 17 (since 3·5+2=17).", "17"}, Pair{"#### 17. Check: 16+1", "17"},
        Pair{"#### 17, because 20-3=17", "17"}, Pair{"The answer is 17, which is larger than 16.", "17"},
        Pair{"The answer is 17 when x is 3.", "17"}, Pair{"The answer is 17 if we count the first 3.", "17"},
        Pair{"The answer is 17 after subtracting 3 from 20.", "17"}, Pair{"The answer is 17; 16 is too small.", "17"},
        Pair{"The answer is 17 — 16 would be too small.", "17"}, Pair{"The answer is 17 - as 16 is too small.", "17"},
        Pair{"The answer is 17: the others fail.", "17"}, Pair{"The answer is 17, i.e. 20 minus 3.", "17"},
        Pair{"The answer is 17, found by adding 14 and 3.", "17"}, Pair{"The answer is 17 even though 16 is near.", "17"},
        Pair{"The answer is 3 + 14 = 17 because 3 and 14 are given.", "17"},
        Pair{"The answer is $17$ because $16$ is too small.", "17"}, Pair{"The answer is **17**, since 16 fails.", "17"},
        Pair{"<answer>17 because 16 is too small</answer>", "17"}, Pair{"<answer>17. Check: 16 + 1 = 17.</answer>", "17"},
        Pair{"<answer>We eat 3 of 20 apples. The answer is 17.</answer>", "17"},
        Pair{"<answer>She sells 9 eggs and makes $18 every day.</answer>", "18"},
        Pair{"<answer>9 eggs cost $2 each, so $18</answer>", "18"}, Pair{"17, since 16 is too small", "17"},
        Pair{"17 (since 3·5+2=17)", "17"}, Pair{"17. Because 16 is too small.", "17"},
        Pair{"The result is 17 because the other result is 16.", "17"},
        Pair{"He paid $17 because the other one cost 20.", "17"}, Pair{"答案是17因为16太小。", "17"},
        Pair{"答案是17（因为3×5+2=17）。", "17"}, Pair{"17。因为16太小", "17"}, Pair{"每组有145根香蕉，因为290÷2=145。", "145"},
        Pair{"정답은 17입니다. 왜냐하면 16은 너무 작기 때문입니다.", "17"}, Pair{"答えは17です。16は小さすぎます。", "17"},
        Pair{"The answer is (1,2), since (2,1) fails.", "(1,2)"}, Pair{"The answer is [0,1) rather than [0,1].", "[0,1)"},
        Pair{"The answer is x+1 because x is 3.", "x+1"}, Pair{"The answer is 3 and 5 because 4 is even.", "3, 5"},
        Pair{"The answer is B because A is too small.", "B"}, Pair{"The answer is A, because B is wrong.", "A"},
        Pair{"The answer is Evelyn, since 3 > 2.", "Evelyn"}, Pair{"The answer is Paris, France.", "Paris, France"},
        Pair{"Therefore, 17 is the answer.", "17"}, Pair{"2001: A Space Odyssey", "2001: A Space Odyssey"}));
INSTANTIATE_TEST_SUITE_P(
    NumbersInProse, Different,
    testing::Values(
        Pair{"The answer is 17 because 16 is too small.", "16"}, Pair{"<answer>17 because 16 is too small</answer>", "16"},
        Pair{"The answer is $17$ because $16$ is too small.", "16"}, Pair{"The answer is 17, not 16.", "16"},
        Pair{"17 because 16 is too small", "16"}, Pair{"The result is 17 because the other result is 16.", "16"},
        Pair{"The answer is 17 after 3 steps.", "3"}, Pair{"The answer is 17 when x is 3.", "3"},
        Pair{"<answer>9 eggs cost $2 each, so $18</answer>", "2"}, Pair{"The answer is 17 if x > 0 and 18 otherwise.", "17"},
        Pair{"The answer is 17, but it could also be 18.", "17"}, Pair{"The answer is 17 and, since it also works, 18.", "17"},
        Pair{"The answer is 17 or maybe 18.", "17"}, Pair{"The answer is 17 for x and 18 for y.", "17"},
        Pair{"The answer is between 17 and 20.", "17"}, Pair{"The answer is anything from 1 to 17.", "17"},
        Pair{"The answer is half of 17.", "17"}, Pair{"The answer is at least 17.", "17"},
        Pair{"The answer is greater than $17$.", "17"}, Pair{"The answer is the square root of 17.", "17"},
        Pair{"The answer is one of 17.", "17"}, Pair{"The answer is negative 17.", "17"},
        Pair{"The answer is the 17th prime.", "17"}, Pair{"The answer is page 17.", "17"},
        Pair{"The answer is > 17.", "17"}, Pair{"The answer is –17.", "17"}, Pair{"The answer is close to 17.", "17"},
        Pair{"The answer is 17 minus 2.", "17"}, Pair{"The answer is 17 by 20 feet.", "17"},
        Pair{"The answer is 17! because 17 is prime.", "17"}, Pair{"The answer is 17 (base 9).", "17"},
        Pair{"The answer is 17 and a half.", "17"}, Pair{"It costs 17 million dollars.", "17"},
        Pair{"17 is too small, so the answer is 18.", "17"}, Pair{"3 apples. He buys 14 more. He has 17 apples.", "3"},
        Pair{"The answer is 18 per day or $20 per day.", "18"}, Pair{"$20 bill, so he got 17", "20"},
        Pair{"99-90=9（页）", "99"}, Pair{"答案是17或18。", "17"}, Pair{"2001: another film", "2001: A Space Odyssey"}));
// A reference may say what an answer must not.
INSTANTIATE_TEST_SUITE_P(
    ProseReferences, Equal,
    testing::Values(Pair{"at least $17$", "at least $17$"}, Pair{"from $1$ to $17$", "from $1$ to $17$"},
                    Pair{"\\boxed{at least 17}", "at least 17"}));
INSTANTIATE_TEST_SUITE_P(ProseReferences, Different,
                         testing::Values(Pair{"17", "at least $17$"}, Pair{"17", "from $1$ to $17$"},
                                         Pair{"at least $16$", "at least $17$"}));
INSTANTIATE_TEST_SUITE_P(
    WordsInWords, Equal,
    testing::Values(
        Pair{"Adding another 5 gives 17", "17"}, Pair{"Note that the sum is 17", "17"},
        Pair{"In the last line $3 + 14 = 17$", "17"}, Pair{"From step $x = 17$", "17"},
        Pair{"16 (eggs per day) - 3 - 4 = 9, so she makes 18", "18"},
        Pair{"She pays those who refuse to go, and the rest is 17", "17"},
        Pair{"Those who are unable to come are 3, so the rest is 17", "17"},
        Pair{"The answer is 17 (eggs) - as said.", "17"}, Pair{"17 binary digits", "17"}, Pair{"17 in the box", "17"}, Pair{"17 decimal places", "17"}));
INSTANTIATE_TEST_SUITE_P(
    WordsInWords, Different,
    testing::Values(
        Pair{"16 (eggs per day) - 3 - 4 = 9, so she makes 18", "16"},
        Pair{"The answer is 16 (eggs per day) - 3 = 13", "16"},
        Pair{"I am unable to say more than that it is 17", "17"}, Pair{"I refuse, but it is 17", "17"},
        Pair{"We are unable to determine it, so it is 17", "17"}, Pair{"In the last line 17", "17"},
        Pair{"It cannot possibly be 17", "17"}, Pair{"It was nothing like it but it is not 17", "17"}));
INSTANTIATE_TEST_SUITE_P(
    NearRefusals, Equal,
    testing::Values(
        Pair{"The answer is 17, since a smaller value can never work.", "17"}, Pair{"The answer is 17, not 16.", "17"},
        Pair{"The answer is 17 (not a guess).", "17"}, Pair{"所以答案是17，没有其他解。", "17"},
        Pair{"It cannot be 16, so the answer is 17.", "17"}, Pair{"There is no doubt that the answer is 17.", "17"},
        Pair{"The answer is not 16 but 17.", "17"}, Pair{"The answer isn't 16, it is 17.", "17"},
        Pair{"I was unsure at first, but the answer is 17.", "17"}, Pair{"The unknown is 17.", "17"},
        Pair{"因为16不能，所以答案是17。", "17"}, Pair{"정답은 17이고 다른 해는 없습니다.", "17"},
        Pair{"答えは17で、他の解はない。", "17"}, Pair{"Don't forget: the answer is 17.", "17"},
        Pair{"It is not hard to see that the answer is 17.", "17"}, Pair{"#### 17 (we don't count the first)", "17"},
        Pair{"<answer>17, no other value can work</answer>", "17"}, Pair{"17, never 16", "17"}));
INSTANTIATE_TEST_SUITE_P(
    Refusals, Different,
    testing::Values(
        Pair{"I cannot say that the answer is 17.", "17"}, Pair{"I don't know whether the answer is 17", "17"},
        Pair{"I'm not sure the answer is 17.", "17"}, Pair{"I doubt the answer is 17.", "17"},
        Pair{"It is false that the answer is 17.", "17"}, Pair{"There is no proof that the answer is 17.", "17"},
        Pair{"Nobody knows whether the answer is 17.", "17"}, Pair{"If the answer is 17, then x = 3.", "17"},
        Pair{"Suppose the answer is 17.", "17"}, Pair{"Could the answer be 17?", "17"}, Pair{"The answer is 17? No.", "17"},
        Pair{"The answer is not 17.", "17"}, Pair{"The answer isn't 17, it is 18.", "17"}, Pair{"It can't be 17", "17"},
        Pair{"The answer is anything but 17.", "17"}, Pair{"The answer is no longer 17.", "17"},
        Pair{"The answer is 17, which is wrong.", "17"}, Pair{"The answer is 17 is wrong.", "17"},
        Pair{"The answer is 17, but I'm not sure.", "17"}, Pair{"17 is not the answer", "17"}, Pair{"17 fails.", "17"},
        Pair{"If 17 is the answer, then", "17"}, Pair{"I don't think 17 is the answer.", "17"},
        Pair{"<answer>I don't know, maybe 17</answer>", "17"}, Pair{"我不知道答案是不是17。", "17"},
        Pair{"无法确定答案是17。", "17"}, Pair{"答案未必是17。", "17"}, Pair{"如果答案是17，那么x=3。", "17"},
        Pair{"정답은 17이 아닙니다.", "17"}, Pair{"答えは17ではありません。", "17"}));
INSTANTIATE_TEST_SUITE_P(
    CountedNouns, Equal,
    testing::Values(
        Pair{"5 apples", "5"}, Pair{"17 men", "17"}, Pair{"\\boxed{17\\text{ apples}}", "17"}, Pair{"17\\text{apples}", "17"},
        Pair{"17 \\mathrm{~apples}", "17"}, Pair{"$17$ apples", "17"}, Pair{"The answer is 17 in total.", "17"},
        Pair{"The answer is $18 per day.", "18"}, Pair{"The answer is $18 a day.", "18"},
        Pair{"The answer is \\$18 per day.", "18"}, Pair{"$18/day", "18"}, Pair{"She makes $18 every day.", "18"},
        Pair{"17 km/h", "17"}, Pair{"17 miles an hour", "17"}, Pair{"17 kg of apples", "17"}, Pair{"17 times", "17"},
        Pair{"1,500 people", "1500"}, Pair{"\\frac{1}{2} cups", "1/2"}, Pair{"3 1/2 hours", "3.5"}, Pair{"17 CDs", "17"},
        Pair{"17 个", "17"}, Pair{"17元", "17"}, Pair{"17千米", "17"}, Pair{"17명입니다", "17"}, Pair{"17個のりんご", "17"},
        Pair{"17 яблок", "17"}, Pair{"17", "17 men"}, Pair{"17 apples in total", "17 apples"},
        Pair{"\\boxed{17\\text{ men}}", "17 men"}, Pair{"3:05 pm", "15:05 pm"}, Pair{"还剩17个", "17"},
        Pair{"290 ÷ 2 = 145（根）。答：每组有145根香蕉。", "145"}));
INSTANTIATE_TEST_SUITE_P(
    WordsOfTheNumber, Different,
    testing::Values(
        Pair{"17 thousand", "17"}, Pair{"17 million dollars", "17"}, Pair{"$17 million", "17"},
        Pair{"\\boxed{17\\text{ thousand}}", "17"}, Pair{"17 thousand/day", "17"}, Pair{"17 dozen eggs", "17"},
        Pair{"0.3 repeating", "0.3"}, Pair{"0.3 recurring", "0.3"}, Pair{"0.3 repeated", "0.3"},
        Pair{"17 in binary", "17"}, Pair{"17 in octal", "17"}, Pair{"17 in hexadecimal", "17"},
        Pair{"17 too small", "17"}, Pair{"17 and under", "17"}, Pair{"17 or under", "17"}, Pair{"17 onward", "17"}, Pair{"17 onwards", "17"},
        Pair{"17 upward", "17"}, Pair{"17 upwards", "17"}, Pair{"17 myriad", "17"}, Pair{"17 negated", "17"},
        Pair{"17 inverted", "17"},
        Pair{"17 percent", "17"}, Pair{"17 % of the apples", "17"}, Pair{"17 per cent", "17"}, Pair{"17 halves", "17"},
        Pair{"17 squared", "17"}, Pair{"17 factorial", "17"}, Pair{"17 mod 5", "17"}, Pair{"17 in base 8", "17"},
        Pair{"17 x", "17"}, Pair{"17 xy", "17"}, Pair{"17 abc", "17"}, Pair{"17th", "17"}, Pair{"17\\text{th}", "17"},
        Pair{"17 more than x", "17"}, Pair{"17 or more", "17"}, Pair{"17 at most", "17"}, Pair{"17 to 20", "17"},
        Pair{"17 and a half apples", "17"}, Pair{"17 apples or 18 apples", "17"}, Pair{"17-18 apples", "17"},
        Pair{"17 times 2", "17"}, Pair{"17 is wrong", "17"}, Pair{"17万元", "17"}, Pair{"17个半", "17"},
        Pair{"17元5角", "17"}, Pair{"17分之一", "17"}, Pair{"17만 원", "17"}, Pair{"17번째", "17"}, Pair{"17 이상", "17"},
        Pair{"17万円", "17"}, Pair{"17 тысяч", "17"}, Pair{"17 Prozent", "17"}, Pair{"17 pears", "17 apples"},
        Pair{"17", "17 thousand"}, Pair{"17 women", "17 men"}, Pair{"17 kg", "17 m"}, Pair{"16 apples", "17"}));
INSTANTIATE_TEST_SUITE_P(
    LastWord, Equal,
    testing::Values(
        Pair{"First $\\boxed{120}$. Final Answer: The final answer is $300$. I hope it is correct.", "300"},
        Pair{"\\boxed{120}\n**Final Answer:** 300", "300"}, Pair{"先得\\boxed{120}。最终答案是300。", "300"},
        Pair{"\\boxed{17}. The final answer is not 16.", "17"}, Pair{"\\boxed{120}. The final answer is in cm.", "120"},
        Pair{"So the result is \\boxed 9.", "9"}, Pair{"$\\boxed 17$", "17"}, Pair{"\\boxed\\frac12", "1/2"},
        Pair{"$\\boxed -9$", "-9"}, Pair{"\\boxed 1,234", "1234"}, Pair{"The answer is `5`.", "5"},
        Pair{"The result is `5`.", "5"}, Pair{"`5`", "5"}, Pair{"Answer:\n```\n5\n```", "5"}, Pair{"The answer is *5*.", "5"},
        Pair{"The answer is “5”.", "5"}, Pair{"`x + 1`", "x+1"}, Pair{"The answer is `5` because `4` is too small.", "5"},
        Pair{"The answer is `5`, since 2*3 is 6.", "5"}));
INSTANTIATE_TEST_SUITE_P(
    EarlierWord, Different,
    testing::Values(
        Pair{"First $\\boxed{120}$. Final Answer: The final answer is $300$. I hope it is correct.", "120"},
        Pair{"先得\\boxed{120}。最终答案是300。", "120"}, Pair{"\\boxed 9 and later \\boxed 8", "9"},
        Pair{"\\boxed 99", "9"}, Pair{"\\boxed 9x", "9"}, Pair{"\\boxed 9/2", "9"}, Pair{"\\boxed{8}. The final answer is not 9.", "9"},
        Pair{"The answer is `5` or `6`.", "5"}, Pair{"The answer is `5` because `4` is too small.", "4"}));

INSTANTIATE_TEST_SUITE_P(
    AlikeTexts, Different,
    testing::Values(
        Pair{"5:1", "2:1"}, Pair{"-2,10", "-2,1"}, Pair{"x=-1,0", "x=-1"}, Pair{"x \\neq 5", "x \\neq \\pm 5"},
        Pair{"x > 0", "a > 0"}, Pair{"k \\neq 2", "m \\neq 2"}, Pair{"45^\\circ", "45\\text{ mph}"},
        Pair{"x-1", "|x-1|"}, Pair{"10-x", "|x-10|"}, Pair{"x-500", "\\sqrt{(x-500)^2}"},
        Pair{"\\lceil x\\rceil", "\\lfloor x\\rfloor + 1"}, Pair{"\\{2k \\mid k\\in Z\\}", "\\{2k+1 \\mid k\\in Z\\}"},
        Pair{"\\{x\\in Z: x>0\\}", "(0,\\infty)"}, Pair{"n\\equiv 2\\pmod 3", "n\\equiv 1\\pmod 6"},
        Pair{"B \\subset A", "A \\subset B"}, Pair{"x¹⁰", "1"}, Pair{"0", "\\emptyset"},
        Pair{"\\mathbb{R}", "\\mathbb{R}\\setminus\\{0\\}"}, Pair{"x=1, y=3", "\\begin{cases}x=1\\\\y=2\\end{cases}"},
        Pair{"\\boxed{80 \\unknown x}", "80"}, Pair{"<think>\\boxed{12}</think> I give up", "12"},
        Pair{"\\frac12\\begin{pmatrix}1&2\\end{pmatrix}", "\\begin{pmatrix}1&2\\end{pmatrix}"}, Pair{"Room 5", "Day 5"},
        Pair{"0", "\\binom nk"}, Pair{"y = 10-x", "y = |x-10|"}, Pair{"y=x-500", "y = \\sqrt{(x-500)^2}"},
        Pair{"\\gcd(m,n)", "1"}, Pair{"\\boxed{June 20}", "20"}, Pair{"\\boxed{diverges, 0}", "0"},
        Pair{"sq \\sqrt", "sq"}, Pair{"x<1 or x>2", "1<x<2"}, Pair{"-221_3", "-221_4"}));

INSTANTIATE_TEST_SUITE_P(
    ListsAndSides, Different,
    testing::Values(Pair{"(7,1)", "(1,7),(7,1)"}, Pair{"(7,1),(7,1)", "(1,7),(7,1)"},
                    Pair{"(7,1),(1,7),(2,6)", "(1,7),(7,1)"}, Pair{"(1,1)", "1"}, Pair{"2,3", "2,2,3"},
                    Pair{"2,2,3", "2,3"}, Pair{"\\{2\\}", "\\{2,3\\}"}, Pair{"3,3", "3"}, Pair{"7", "7=11a+c"},
                    Pair{"4", "x^2 = 4"}, Pair{"6", "3x = 6"}, Pair{"12", "12=xy"}, Pair{"5", "x+y=5"},
                    Pair{"(3,2)", "(2,3)"}, Pair{"(0,0),(0,0)", "(0,0)"}, Pair{"1", "(1,1)"}, Pair{"\\pm 2, 2", "-2,2"},
                    Pair{"\\boxed{(1,2),(3,3),(3,3)}", "(1,2),(2,1),(3,3)"}, Pair{"\\boxed{\\{1,2,2\\}}", "1,2"},
                    Pair{"\\boxed{1,2}", "1,1,2"}, Pair{"\\boxed{2,2,1}", "1,1,2"}, Pair{"\\boxed{(1)}", "(1,1)"},
                    Pair{"\\boxed{x=2, x=2}", "x=1 or x=2"}, Pair{"\\boxed{x=1, x=2}", "x=1"},
                    Pair{"\\boxed{x^2-1}", "0=x^2-1"}, Pair{"\\boxed{3x}", "12=3x"}, Pair{"\\boxed{n}", "2k+1=n"},
                    Pair{"\\boxed{m+1}", "m = m+1"}));
INSTANTIATE_TEST_SUITE_P(
    ListsAndSides, Equal,
    testing::Values(Pair{"(7,1),(1,7),(7,1)", "(1,7),(7,1)"}, Pair{"5", "x=5"}, Pair{"11a+c=7", "7=11a+c"},
                    Pair{"2x+1", "y = 2x+1"}, Pair{"2x+1", "2x+1=y"}, Pair{"3", "1+2=3"}, Pair{"3x", "f(x) = 3x"},
                    Pair{"\\pi r^2", "S = \\pi r^2"}, Pair{"(3,4),(1,2)", "(1,2),(3,4)"},
                    Pair{"(1,2),(3,4),(1,2)", "\\{(1,2),(3,4)\\}"}, Pair{"x=1,y=2,x=1", "x=1,y=2"},
                    Pair{"\\boxed{(1,2),(2,1),(3,3),(3,3)}", "(1,2),(2,1),(3,3)"},
                    Pair{"\\boxed{\\{1,1\\}}", "\\{1\\}"}, Pair{"\\boxed{(7,1),(1,7),(7,1)}", "(x,y)=(1,7),(7,1)"},
                    Pair{"\\boxed{a-11b=c}", "a=11b+c"}, Pair{"\\boxed{11b+c=a}", "a=11b+c"},
                    Pair{"\\boxed{x^2}", "y=x^2"}, Pair{"\\boxed{12=3x}", "x=4"}, Pair{"\\boxed{3}", "3=3"},
                    Pair{"\\boxed{2k+1}", "n=2k+1"}, Pair{"\\boxed{2n+1}", "a_n=2n+1"},
                    Pair{"\\boxed{x+1}", "P(x)=x+1"}));
INSTANTIATE_TEST_SUITE_P(
    MixedNumbers, Different,
    testing::Values(Pair{"-2\\frac{2}{3}", "-4/3"}, Pair{"-1½", "-1/2"}, Pair{"-3 1/4", "-11/4"},
                    Pair{"-(2\\frac23)", "-4/3"}, Pair{"a+(-2\\frac12)", "a-3/2"}, Pair{"2\\frac{x}{3}", "2+x/3"},
                    Pair{"2\\cdot\\frac23", "8/3"}, Pair{"2\\frac{5}{3}", "11/3"},
                    Pair{"2\\left(\\frac23\\right)", "8/3"}, Pair{"(3)\\frac12", "7/2"}, Pair{"2 and 1/2", "5/2"},
                    Pair{"x<-2\\frac12", "(-\\infty, -3/2)"}, Pair{"-1\\frac{3}{8}", "-5/8"},
                    Pair{"-3.25", "-4\\frac{3}{4}"}, Pair{"-13/4", "-4 3/4"}, Pair{"2\\frac{3}{5}", "6/5"},
                    Pair{"2x\\frac{2}{3}", "2x+2/3"}, Pair{"3 1/2", "3,1/2"}));
INSTANTIATE_TEST_SUITE_P(
    MixedNumbers, Equal,
    testing::Values(Pair{"-1½", "-3/2"}, Pair{"-3 1/4", "-13/4"}, Pair{"-2\\dfrac 2 3", "-8/3"},
                    Pair{"-2\\,\\frac{2}{3}", "-8/3"}, Pair{"-(2\\frac23)", "-8/3"}, Pair{"x^{2\\frac12}", "x^{5/2}"},
                    Pair{"x^{-2\\frac12}", "x^{-5/2}"}, Pair{"-2\\tfrac{2}{3}", "-8/3"},
                    Pair{"- 2 \\frac{2}{3}", "-8/3"}, Pair{"\\$2\\frac{1}{2}", "5/2"}, Pair{"x^2\\frac12", "x^2/2"},
                    Pair{"(-2\\frac12)^2", "25/4"}, Pair{"(3)\\frac12", "3/2"}, Pair{"-3\\frac{1}{2}", "-7/2"},
                    Pair{"-3\\frac12 x", "-7x/2"}, Pair{"-6¾", "-27/4"}, Pair{"8/3", "2\\frac{2}{3}"},
                    Pair{"-8/3", "-2\\frac{2}{3}"}, Pair{"-2.666667", "-2\\frac{2}{3}"},
                    Pair{"-2\\frac{1}{3}\\text{ cm}", "-7/3"}, Pair{"-2 1/3", "-\\frac{7}{3}"},
                    Pair{"\\frac{1}{2}", "1/2"}, Pair{"-2\\frac23-i", "-8/3-i"}, Pair{"\\sqrt2\\frac12", "\\sqrt2/2"},
                    Pair{"\\boxed{-2 \\tfrac{3}{4}}", "-11/4"},
                    Pair{"\\boxed{\\left(-1\\tfrac12, -2\\tfrac12\\right)}", "(-3/2, -5/2)"}, Pair{"- 2 2/3", "-8/3"},
                    Pair{"\u22122 2/3", "-8/3"}, Pair{"-2\\frac12\\text{ m}", "-5/2 m"}, Pair{"3.5", "3 1/2 cups"},
                    Pair{"3-2\\frac12", "1/2"}, Pair{"4\\frac12-3", "3/2"}, Pair{"2^{-1\\frac12}", "2^{-3/2}"},
                    Pair{"-0.035", "-3½%"}));
INSTANTIATE_TEST_SUITE_P(
    Numerals, Different,
    testing::Values(Pair{"1010_2", "1010"}, Pair{"52", "52_8"}, Pair{"x", "x_2"}, Pair{"42_8", "42"},
                    Pair{"]1,2]", "[1,2)"}, Pair{"0.(4)", "1/3"}, Pair{"0.1(6)", "0.6"},
                    Pair{"|x|> 2", "(-\\infty,-2]\\cup[2,\\infty)"},
                    Pair{"x < -2 \\text{ or } x \\ge 2", "(-\\infty,-2]\\cup[2,\\infty)"}, Pair{"x<3", "|x|<3"},
                    Pair{"1\\le|x|<3", "(-3,-1)\\cup(1,3)"}, Pair{"|a|>1", "|x|>1"}, Pair{"café", "cafe"},
                    Pair{"\\boxed{255}", "377_8"}, Pair{"\\boxed{x_1}", "x_2"}, Pair{"10", "a_{10}"}, Pair{"1", "1_2"},
                    Pair{"29", "29_8"}, Pair{"5", "5!_2"}, Pair{"\\boxed{]1,2[}", "[1,2]"},
                    Pair{"\\boxed{]-\\infty,1[\\cup]2,+\\infty[}", "(-\\infty,1]\\cup(2,\\infty)"},
                    Pair{"[1,2]", "]1,2["}, Pair{"[1,2,3[", "(1,2,3)"}, Pair{"[1,2[", "1,2"}, Pair{"0.3", "0.(3)"},
                    Pair{"0.8(3)", "0.24"}, Pair{"\\boxed{0.\\overline{142858}}", "1/7"},
                    Pair{"\\boxed{|x|\\geq 3}", "(-\\infty,-2]\\cup[2,\\infty)"},
                    Pair{"\\boxed{x\\geq 2}", "(-\\infty,-2]\\cup[2,\\infty)"},
                    Pair{"\\boxed{|x|\\ge2}", "[2,\\infty)"}, Pair{"\\boxed{|x+3|\\le2}", "[1,5]"},
                    Pair{"|x|\\ge 2", "2"}, Pair{"|x|\\ge 2", "-2,2"}, Pair{"|y|<3", "|x|<3"}));
INSTANTIATE_TEST_SUITE_P(
    Numerals, Equal,
    testing::Values(Pair{"(1011)_2", "11"}, Pair{"(2A)_{16}", "42"}, Pair{"FF_{16}", "255"},
                    Pair{"1010_{\\text{two}}", "1010_2"}, Pair{"52_{10}", "52"}, Pair{"2A_1", "A_1+A_1"},
                    Pair{"-1010_2", "-10"}, Pair{"52_8+1", "43"}, Pair{"19", "19_{10}"}, Pair{"]1,2]", "(1,2]"},
                    Pair{"]1,2[", "(1,2)"}, Pair{"]-\\infty, 3[", "(-\\infty,3)"}, Pair{"[1;2[", "[1,2)"},
                    Pair{"0.\\overline3", "1/3"}, Pair{"0.(142857)", "1/7"}, Pair{"0.\\dot14285\\dot7", "1/7"},
                    Pair{"0.(9)", "1"}, Pair{"1.(6)", "5/3"}, Pair{"0.\\bar{3}", "1/3"}, Pair{"0.0\\dot7", "7/90"},
                    Pair{"|x|\\ge 2", "(-\\infty,-2]\\cup[2,\\infty)"}, Pair{"|x|<3", "(-3,3)"},
                    Pair{"|x|\\le 3", "[-3,3]"}, Pair{"|x+1| \\le 2", "[-3,1]"},
                    Pair{"|x|>0", "(-\\infty,0)\\cup(0,\\infty)"}, Pair{"x \\neq 0", "(-\\infty,0)\\cup(0,\\infty)"},
                    Pair{"x \\le -2 \\text{ or } x \\ge 2", "(-\\infty,-2]\\cup[2,\\infty)"}, Pair{"2>|x|", "(-2,2)"},
                    Pair{"|1-x|<2", "|x-1|<2"}, Pair{"|x|<\\sqrt{2}", "(-\\sqrt2,\\sqrt2)"},
                    Pair{"|x|>2", "x<-2 or x>2"}, Pair{"\\left|x\\right| \\ge 2", "|x| \\geq 2"},
                    Pair{"\\lvert x\\rvert<2", "(-2,2)"}, Pair{"\\text{cafe\u0301}", "café"},
                    Pair{"café", "cafe\u0301"}, Pair{"１／２", "1/2"}, Pair{"1\u202F000", "1000"}, Pair{"３．５", "3.5"},
                    Pair{"½", "0.5"}, Pair{"⅓", "1/3"}, Pair{"\\boxed{[1,2[}", "[1,2)"}, Pair{"[1,2)", "[1,2["},
                    Pair{"0.\\overline{3}", "0.(3)"}, Pair{"\\boxed{0.8(3)}", "5/6"}, Pair{"\\boxed{2.4(9)}", "2.5"},
                    Pair{"\\boxed{-0.8(3)}", "-5/6"}, Pair{"\\boxed{(0.(3),2)}", "(1/3,2)"},
                    Pair{"\\boxed{0.\\overline{142857}}", "1/7"},
                    Pair{"\\boxed{|x|\\geq 2}", "(-\\infty,-2]\\cup[2,\\infty)"},
                    Pair{"\\boxed{|x-3|>2}", "(-\\infty,1)\\cup(5,\\infty)"}, Pair{"\\boxed{x>1 and x<5}", "|x-3|<2"},
                    Pair{"\\boxed{|x|>0}", "\\mathbb{R}\\setminus\\{0\\}"}, Pair{"\\boxed{|x-3|>0}", "x\\ne 3"},
                    Pair{"\\boxed{|x|\\ge 2}", "x\\le-2,x\\ge2"}, Pair{"nai\u0308ve", "naïve"}, Pair{"１，２３４", "1,234"},
                    Pair{"１０％", "10\\%"}, Pair{"（１，２）", "(1,2)"}, Pair{"2\u2009000", "2000"},
                    Pair{"2\u202F000", "2000"}, Pair{"1⁄2", "1/2"}, Pair{"\u20095\u2009", "5"}));
INSTANTIATE_TEST_SUITE_P(
    UnitsAndMoney, Different,
    testing::Values(Pair{"25°F", "25°C"}, Pair{"£3.50", "$3.50"}, Pair{"5 cm^2", "5 cm"}, Pair{"5 cm^2", "5 cm^3"},
                    Pair{"1 m", "100 cm"}, Pair{"10", "10%"}, Pair{"12 kg m/s^2", "12 kg m/s"},
                    Pair{"1000\\,\\text{kg}", "1000 kg/m^3"}, Pair{"30 miles per hour", "30 miles per gallon"},
                    Pair{"20 s/m", "20 m/s"}, Pair{"2 min", "2 h"}, Pair{"$500", "¥500"}, Pair{"$3", "3 cents"},
                    Pair{"25 degrees Fahrenheit", "25°C"}, Pair{"90°C", "90^\\circ"}, Pair{"9.81 m/s^2", "9.8"},
                    Pair{"\\boxed{3\\text{ euros}}", "$3"}, Pair{"\\boxed{3\\text{ pounds}}", "$3"},
                    Pair{"\\boxed{¥3}", "\\$3"}, Pair{"\\boxed{\\pounds 3}", "$3"}, Pair{"GBP 3", "$3"},
                    Pair{"\\boxed{₩3}", "$3"}, Pair{"\\boxed{\\$4}", "$3"}, Pair{"\\$15.50", "€15.50"},
                    Pair{"50 cents", "$0.50"}, Pair{"\\boxed{\\qty{5}{kg}}", "5 m"},
                    Pair{"\\boxed{3\\text{ km}}", "3 km/h"}, Pair{"\\boxed{3\\text{ km/h}}", "3 km"},
                    Pair{"\\boxed{5\\text{ cm}}", "5 cm^2"}, Pair{"5", "5m"}, Pair{"s/m", "m/s"}, Pair{"2 A", "2a"},
                    Pair{"3", "3h"}, Pair{"\\boxed{-3^\\circ\\text{C}}", "3"}));
INSTANTIATE_TEST_SUITE_P(
    UnitsAndMoney, Equal,
    testing::Values(Pair{"25^\\circ\\text{C}", "25"}, Pair{"25 °F", "25"}, Pair{"25 degrees Celsius", "25°C"},
                    Pair{"9.8\\text{ m/s}^2", "9.8"}, Pair{"9.8 m s^{-2}", "9.8\\text{ m/s}^2"},
                    Pair{"9.8", "9.8 m/s^2"}, Pair{"9.8 meters per second squared", "9.8 m/s^2"},
                    Pair{"60 kilometers per hour", "60 km/h"}, Pair{"60 kph", "60 km/h"}, Pair{"60", "60 km/h"},
                    Pair{"60\\,\\text{km}\\cdot\\text{h}^{-1}", "60 km/h"}, Pair{"3", "$3"}, Pair{"£3", "3"},
                    Pair{"3 pounds", "£3"}, Pair{"3 euros", "€3"}, Pair{"3€", "€3"}, Pair{"3.50 dollars", "$3.50"},
                    Pair{"\\qty{5}{\\centi\\meter}", "5 cm"}, Pair{"\\qty{9.8}{m.s^{-2}}", "9.8 m/s^2"},
                    Pair{"5 square centimeters", "5 cm^2"}, Pair{"5\\ \\mathrm{kg}", "5 kg"}, Pair{"5 kg", "5"},
                    Pair{"45 degrees", "45"}, Pair{"5m", "5 m"}, Pair{"6\\text{ m}^2", "6 m^2"}, Pair{"2 hours", "2 h"},
                    Pair{"500 yen", "¥500"}, Pair{"\\boxed{25^\\circ\\mathrm{C}}", "25"},
                    Pair{"\\boxed{25\\,°\\text{C}}", "25"}, Pair{"25 degrees", "25"},
                    Pair{"25 degrees Fahrenheit", "25"}, Pair{"\\boxed{9.8\\ \\mathrm{m/s^2}}", "9.8"},
                    Pair{"\\boxed{9.8\\,\\frac{\\text{m}}{\\text{s}^2}}", "9.8"},
                    Pair{"\\boxed{9.8\\,\\mathrm{\\frac{m}{s^2}}}", "9.8 m/s^2"},
                    Pair{"9.8 meter per second squared", "9.8 m/s^2"}, Pair{"\\boxed{3\\text{ dollars}}", "$3"},
                    Pair{"\\boxed{\\$3}", "$3.00"}, Pair{"\\boxed{\\$18}", "18"},
                    Pair{"\\boxed{\\$2\\frac12}", "$2.50"}, Pair{"-5", "$-5$"}, Pair{"3, 4", "$3 and $4"},
                    Pair{"\\boxed{\\num{1000}}", "1000"}, Pair{"\\boxed{\\SI{3}{\\celsius}}", "3"},
                    Pair{"\\boxed{17\\text{ kg}}", "17"}, Pair{"\\boxed{3\\text{ kilometers per hour}}", "3 km/h"},
                    Pair{"\\boxed{20\\text{ N}}", "20"}, Pair{"\\boxed{5\\text{ cm²}}", "5 cm^2"},
                    Pair{"\\boxed{50\\,\\mathrm{J/(kg\\,K)}}", "50 J/(kg K)"}, Pair{"5 s", "5s"}, Pair{"2 m n", "2mn"},
                    Pair{"8 minutes", "8 min"}, Pair{"\\boxed{-3^\\circ\\text{C}}", "-3"}));

INSTANTIATE_TEST_SUITE_P(
    Languages, Equal,
    testing::Values(
        Pair{"Die Antwort ist 17, weil 16 zu klein ist.", "17"}, Pair{"Die Antwort ist 17, nicht 16.", "17"},
        Pair{"Die Antwort ist nicht 17, sondern 16.", "16"}, Pair{"La réponse est 17 car 16 est trop petit.", "17"},
        Pair{"La réponse est 17 et il n'y a pas d'autre solution.", "17"}, Pair{"La respuesta es 17, no 16.", "17"},
        Pair{"La respuesta es 17 y no hay otra solución.", "17"}, Pair{"A resposta é 17 porque 16 é pequeno.", "17"},
        Pair{"Das Ergebnis beträgt 17 km/h.", "17"}, Pair{"Ответ равен 17.", "17"},
        Pair{"정답은 17이며 16이 아닙니다.", "17"}, Pair{"17, da 16 zu klein ist", "17"},
        Pair{"17; il n'y a pas d'autre solution", "17"}, Pair{"17, there is no other", "17"},
        Pair{"The answer is 17, and 16 is not possible.", "17"}, Pair{"Those unable to vote are 17", "17"},
        Pair{"In total, there were 17 birds that could not fly.", "17"}, Pair{"17 for Tom", "17"},
        Pair{"The answer is 17!", "17"}, Pair{"\\boxed{17 because 16 is too small}", "17"},
        Pair{"\\boxed{17 \\text{ because } 16 \\text{ is too small}}", "17"}, Pair{"\\boxed{17, not 16}", "17"},
        Pair{"\\boxed{17\\text{, since } 16\\text{ fails}}", "17"}, Pair{"“17”", "17"}, Pair{"'17'", "17"},
        Pair{"_17_", "17"}, Pair{"__17__", "17"}, Pair{"24 Bücher", "24"},
        Pair{"The students who did not pass are 17.", "17"}, Pair{"17 stickers were left.", "17"},
        Pair{"The number of people who don't smoke is 17.", "17"}, Pair{"17 kN", "17"},
        Pair{"Therefore, 17 is the smallest such number.", "17"}, Pair{"Réponse: 17.", "17"},
        Pair{"The answer is 17. No other answer is possible.", "17"},
        Pair{"The answer is 17. This answer is correct.", "17"}, Pair{"If you add them you get 17.", "17"},
        Pair{"It increases by 17.", "17"}, Pair{"17, e não 16", "17"}, Pair{"There is no solution.", "no solution"}));
INSTANTIATE_TEST_SUITE_P(
    Languages, Different,
    testing::Values(
        Pair{"Die Antwort ist nicht 17.", "17"}, Pair{"Die Antwort ist nicht 17, sondern 16.", "17"},
        Pair{"Die Antwort ist kleiner als $17$.", "17"}, Pair{"Die Antwort ist 17 oder 18.", "17"},
        Pair{"17 ist falsch", "17"}, Pair{"17 ist nicht die Antwort", "17"}, Pair{"17 no es la respuesta", "17"},
        Pair{"La respuesta no es $17$.", "17"}, Pair{"Si la respuesta es 17, x es 3.", "17"},
        Pair{"La réponse est inférieure à $17$.", "17"}, Pair{"La réponse est la moitié de $17$.", "17"},
        Pair{"A resposta não é 17.", "17"}, Pair{"La risposta non è 17.", "17"}, Pair{"17 не подходит", "17"},
        Pair{"17 — неверно", "17"}, Pair{"17는 틀렸다", "17"}, Pair{"17이 아닙니다", "17"},
        Pair{"The answer might be 17.", "17"}, Pair{"The answer is 17 for Tom, 18 for Ann.", "17"},
        Pair{"17 for Tom and 18 for Ann", "17"}, Pair{"5 (Tom), 6 (Ann)", "5"}, Pair{"17:1", "17"}, Pair{"17", "17:1"},
        Pair{"17!", "17"}, Pair{"$17!$", "17"}, Pair{"£3", "3 euros"}, Pair{"3 dollars", "£3"},
        Pair{"3 apples", "3 груши"}, Pair{"\\SI{5}{\\metre}", "5 cm"}, Pair{"\\boxed{16, not 17}", "17"},
        Pair{"\\boxed{\\text{at least } 17}", "17"}, Pair{"“18”", "17"}, Pair{"The answer that cannot be is 17.", "17"},
        Pair{"The one that does not work is 17.", "17"}, Pair{"A value that is not possible is 17.", "17"},
        Pair{"I think that is not 17.", "17"}, Pair{"No creo que la respuesta es 17.", "17"},
        Pair{"None of them is 17.", "17"}, Pair{"The answer is 17. This answer is wrong.", "17"},
        Pair{"If it were 17, it would be odd.", "17"}, Pair{"Let the answer be 17.", "17"},
        Pair{"Say the answer is 17.", "17"}, Pair{"It used to be 17.", "17"}, Pair{"A common mistake is 17.", "17"},
        Pair{"The answer is divisible by 17.", "17"}, Pair{"He claims the answer is 17, but it is 18.", "17"},
        Pair{"He thinks it is 17, but he is wrong.", "17"}, Pair{"17 comes close", "17"},
        Pair{"The answer is 17 off.", "17"}, Pair{"17 fewer", "17"}, Pair{"정답은 17보다 작다.", "17"},
        Pair{"정답은 17의 절반이다.", "17"}, Pair{"答案至少是17。", "17"},
        Pair{"There is a solution.", "no solution"}));
INSTANTIATE_TEST_SUITE_P(Joints, Equal,
                         testing::Values(Pair{"x>1 and x<3", "(1,3)"}, Pair{"x>3 or x<1", "x<1 or x>3"},
                                         Pair{"x<1 or x>3", "x<1 and x>3"},
                                         Pair{"x<1 \\vee x>3", "(-\\infty,1)\\cup(3,\\infty)"},
                                         Pair{"x>0 and y>0", "x>0, y>0"}, Pair{"x=1 and x=2", "x=1 or x=2"},
                                         Pair{"x = 2, x = 2", "x = 2"}, Pair{"0.333...", "1/3"},
                                         Pair{"0.1666\\ldots", "1/6"}, Pair{"1/7", "0.142857142857…"}));
INSTANTIATE_TEST_SUITE_P(Joints, Different,
                         testing::Values(Pair{"x>1 or x<3", "(1,3)"}, Pair{"x>3 and x<1", "x<1 or x>3"},
                                         Pair{"p \\wedge q", "p \\vee q"},
                                         Pair{"x<1 \\wedge x>3", "(-\\infty,1)\\cup(3,\\infty)"},
                                         Pair{"x = 2, x = 3", "x = 2"}, Pair{"3, 3", "3"}, Pair{"0.33...", "0.33"},
                                         Pair{"1.414...", "\\sqrt2"}));

}  // namespace
}  // namespace grpo
