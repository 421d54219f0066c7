// Answers that are made to be the same, and answers that are made to differ in one place. GRPO_METAMORPHIC_PAIRS says
// how many pairs are tried.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "grpo/answer.h"

namespace grpo {
namespace {

using Random = std::mt19937_64;

long between(Random& random, long low, long high) {
  return low + static_cast<long>(random() % static_cast<unsigned long>(high - low + 1));
}
template <class T>
const T& any_of(Random& random, const std::vector<T>& items) {
  return items[random() % items.size()];
}
std::string str(long n) { return std::to_string(n); }
/// As a factor or an exponent: in braces.
std::string braced(long n) { return "{" + str(n) + "}"; }
std::string signed_term(long n, const std::string& what) { return (n < 0 ? " - " : " + ") + str(std::labs(n)) + what; }

/// One value, written in several ways, and near misses of it.
struct Sample {
  std::string reference;
  std::vector<std::string> same, other;
};

Sample integer(Random& random) {
  const long n = between(random, -99999, 99999), d = between(random, 2, 9), k = between(random, 1, 500);
  Sample sample{str(n), {}, {}};
  sample.same = {"+" + str(std::labs(n)),
                 str(n) + ".0",
                 "\\frac{" + str(n * d) + "}" + braced(d),
                 str(n + k) + " - " + str(k),
                 "x = " + str(n),
                 "\\boxed{" + str(n) + "}",
                 "$" + str(n) + "$.",
                 str(n) + "\\cdot 1",
                 "(" + str(n) + ")",
                 str(n * 10) + "/10",
                 "\\sqrt{" + str(n * n) + "}",
                 "The answer is " + str(n) + "."};
  if (n < 0) sample.same[0] = "\u2212" + str(-n), sample.same[10] = "-\\sqrt{" + str(n * n) + "}";
  if (std::labs(n) >= 1000) {
    const std::string digits = str(std::labs(n)), head = (n < 0 ? "-" : "") + digits.substr(0, digits.size() - 3);
    sample.same.push_back(head + "," + digits.substr(digits.size() - 3));
    sample.same.push_back(head + "{,}" + digits.substr(digits.size() - 3));
  }
  sample.other = {str(n + 1),
                  str(n * 10 + 1),
                  str(n) + ".5",
                  str(n) + "\\%",
                  str(n) + "\\sqrt{2}",
                  str(n) + ", " + str(n),
                  str(n) + " or " + str(n + d),
                  "\\frac{" + str(n * d + 1) + "}" + braced(d),
                  str(n + k) + " + " + str(k),
                  "x",
                  "\\boxed{" + str(n) + "} or \\boxed{" + str(n + 2) + "}",
                  "x = " + str(n) + " = " + str(n - 1)};
  if (n != 0)
    sample.other.push_back(str(-n)), sample.other.push_back(str(n) + "i"), sample.other.push_back(str(n) + "\\pi");
  return sample;
}

Sample fraction(Random& random) {
  const long b = between(random, 2, 60), a = between(random, 1, 200) * (random() % 2 ? 1 : -1),
             k = between(random, 2, 12);
  const std::string frac = "\\frac{" + str(a) + "}" + braced(b);
  Sample sample{frac, {}, {}};
  sample.same = {str(a) + "/" + str(b),
                 "\\dfrac{" + str(a * k) + "}" + braced(b * k),
                 "-\\tfrac{" + str(-a) + "}" + braced(b),
                 frac + "+" + frac + "-" + frac,
                 "\\frac{" + str(a * 100) + "}" + braced(b) + "\\%",
                 "\\left(\\frac{" + str(b) + "}" + braced(a) + "\\right)^{-1}",
                 "1 - \\frac{" + str(b - a) + "}" + braced(b)};
  if (std::labs(a) > b && a % b != 0) {  // one sign for all of a mixed number
    const std::string sign = a < 0 ? "-" : "", no_sign = a < 0 ? "" : "-";
    for (const std::string& part : {"\\frac{" + str(std::labs(a) % b) + "}" + braced(b),
                                    " " + str(std::labs(a) % b) + "/" + str(b)}) {
      const std::string mixed = str(std::labs(a) / b) + part;
      for (const std::string& form : {mixed, "\\boxed{" + mixed + "}", "The answer is $" + mixed + "$."}) {
        const std::size_t at = form.find(mixed);
        sample.same.push_back(std::string(form).insert(at, sign));
        sample.other.push_back(std::string(form).insert(at, no_sign));
      }
    }
  }
  sample.other = {str(a + 1) + "/" + str(b),
                  str(a) + "/" + str(b + 1),
                  str(-a) + "/" + str(b),
                  "\\frac{" + str(a * k + 1) + "}" + braced(b * k),
                  frac + "\\%",
                  frac + "^{2}0"};
  if (b != a) sample.other.push_back("1 + \\frac{" + str(b - a) + "}" + braced(b));
  if (b != std::labs(a)) sample.other.push_back("\\frac{" + str(b) + "}" + braced(a));
  char decimal[64];
  std::snprintf(decimal, sizeof decimal, "%.9f", static_cast<double>(a) / static_cast<double>(b));
  sample.same.push_back(decimal);
  decimal[std::string(decimal).size() - 2] = decimal[std::string(decimal).size() - 2] == '5' ? '9' : '5';
  double moved = 0;
  std::sscanf(decimal, "%lf", &moved);
  if (std::abs(moved - static_cast<double>(a) / static_cast<double>(b)) > 5e-9) sample.other.push_back(decimal);
  return sample;
}

Sample surd(Random& random) {
  static const std::vector<long> kSquareFree = {2, 3, 5, 6, 7, 10, 11, 13, 14, 15, 17, 19, 21, 23};
  const long r = any_of(random, kSquareFree), a = between(random, -30, 30), b = between(random, 1, 15),
             k = between(random, 2, 7);
  const std::string root = "\\sqrt{" + str(r) + "}";
  Sample sample{str(a) + "+" + str(b) + root, {}, {}};
  sample.same = {str(b) + root + signed_term(a, ""),
                 str(a) + "+\\sqrt{" + str(b * b * r) + "}",
                 "\\frac{" + str(a * k) + "+" + str(b * k) + root + "}" + braced(k),
                 str(a) + "+" + str(b) + "\\cdot" + braced(r) + "^{1/2}",
                 str(a) + "+\\frac{" + str(b * r) + "}{" + root + "}",
                 str(a) + "+" + str(b) + "*sqrt(" + str(r) + ")",
                 str(a - k) + "+" + str(b) + root + "+" + str(k),
                 str(a) + "-(-" + str(b) + root + ")"};
  sample.other = {str(a) + "-" + str(b) + root,
                  str(a + 1) + "+" + str(b) + root,
                  str(a) + "+" + str(b + 1) + root,
                  str(a) + "+" + str(b) + "\\sqrt{" + str(r + 1) + "}",
                  str(a) + "+" + str(b) + "\\sqrt[3]{" + str(r) + "}",
                  str(a + b) + root + "\\pi",
                  str(a) + "+" + str(b),
                  str(a) + "+" + str(b * r),
                  str(a) + "\\pm" + str(b) + root};
  return sample;
}

Sample transcendental(Random& random) {
  const long a = between(random, 1, 40), b = between(random, 2, 15), k = between(random, 2, 9);
  switch (random() % 4) {
    case 0:
      return {"\\frac{" + str(a) + "\\pi}" + braced(b),
              {str(a) + "\\pi/" + str(b), "\\frac{" + str(a * k) + "}" + braced(b * k) + "\\pi",
               "π \\cdot " + str(a) + "/" + str(b), "\\frac{" + str(a) + "}" + braced(b) + "\\times\\pi"},
              {str(a + 1) + "\\pi/" + str(b), str(a) + "\\pi/" + str(b + 1), str(a) + "/" + str(b),
               "\\frac{" + str(a) + "\\pi^2}" + braced(b), "-\\frac{" + str(a) + "\\pi}" + braced(b),
               "\\frac{" + str(a * 22) + "}" + braced(b * 7)}};
    case 1:
      return {str(a) + "e^{" + str(b) + "}",
              {str(a) + "\\cdot e^{" + str(b - k) + "}e^{" + str(k) + "}", str(a) + "/e^{-" + str(b) + "}",
               str(a) + "\\exp(" + str(b) + ")", str(a) + "(e^{" + str(b * k) + "})^{1/" + str(k) + "}"},
              {str(a + 1) + "e^{" + str(b) + "}", str(a) + "e^{" + str(b + 1) + "}", str(a) + "e^{-" + str(b) + "}",
               str(a) + "e" + str(b) + "0", str(a) + "+e^{" + str(b) + "}"}};
    case 2:
      return {"\\ln " + str(a + 1),
              {"\\log_{e}(" + str(a + 1) + ")", "-\\ln\\frac{1}{" + str(a + 1) + "}",
               "\\frac{1}{" + str(k) + "}\\ln(" + str(a + 1) + "^" + str(k) + ")",
               "\\ln " + str((a + 1) * k) + "-\\ln " + str(k)},
              {"\\ln " + str(a + 2), "-\\ln " + str(a + 1), "\\log_{2}(" + str(a + 1) + ")",
               "\\ln(" + str(a + 1) + "^2)", "\\ln " + str((a + 1) * k) + "+\\ln " + str(k)}};
    default:
      return {"\\sin\\frac{\\pi}{" + str(b + 2) + "}",
              {"\\cos(\\frac{\\pi}{2}-\\frac{\\pi}{" + str(b + 2) + "})", "-\\sin(-\\pi/" + str(b + 2) + ")",
               "\\sin(\\pi-\\pi/" + str(b + 2) + ")", "\\sqrt{1-\\cos^2(\\pi/" + str(b + 2) + ")}"},
              {"\\sin\\frac{\\pi}{" + str(b + 3) + "}", "-\\sin\\frac{\\pi}{" + str(b + 2) + "}",
               "\\tan\\frac{\\pi}{" + str(b + 2) + "}", "\\frac{\\pi}{" + str(b + 2) + "}",
               "\\sin(\\pi+\\pi/" + str(b + 2) + ")"}};
  }
}

Sample polynomial(Random& random) {
  const long a = between(random, 1, 9), b = between(random, -9, 9), c = between(random, 1, 9),
             d = between(random, 1, 12);
  // (a x + b)(c x + d)
  const std::string first = str(a) + "x" + signed_term(b, ""), second = str(c) + "x+" + str(d);
  const long p = a * c, q = a * d + b * c, r = b * d;
  Sample sample{str(p) + "x^2" + signed_term(q, "x") + signed_term(r, ""), {}, {}};
  sample.same = {"(" + first + ")(" + second + ")",
                 "(" + second + ")\\left(" + first + "\\right)",
                 "x(" + str(p) + "x" + signed_term(q, "") + ")" + signed_term(r, ""),
                 str(r) + " + " + str(q) + "x + " + str(p) + "x^{2}",
                 "\\frac{(" + first + ")(" + second + ")(x+1)}{x+1}",
                 "\\frac{" + str(p * 2) + "x^3" + signed_term(q * 2, "x^2") + signed_term(r * 2, "x") + "}{2x}"};
  sample.other = {"(" + first + ")(" + second + ")+1",
                  str(p) + "x^2" + signed_term(q + 1, "x") + signed_term(r, ""),
                  str(p) + "x^3" + signed_term(q, "x") + signed_term(r, ""),
                  str(p + 1) + "x^2" + signed_term(q, "x") + signed_term(r, ""),
                  "-(" + first + ")(" + second + ")",
                  str(p) + "y^2" + signed_term(q, "y") + signed_term(r, ""),
                  str(p) + "x^2" + signed_term(q, "x") + signed_term(r - 1, ""),
                  str(p + q + r),
                  "(" + first + ")/(" + second + ")"};
  return sample;
}

Sample collection(Random& random) {
  const long a = between(random, -50, 50), b = a + between(random, 1, 30), c = b + between(random, 1, 30);
  const std::string x = str(a), y = str(b), z = str(c);
  switch (random() % 5) {
    case 0:
      return {"\\{" + x + ", " + y + ", " + z + "\\}",
              {z + ", " + x + ", " + y, "\\{" + y + "," + x + ", " + z + "\\}", x + ", " + y + " and " + z,
               "\\boxed{" + z + "}, \\boxed{" + y + "}, \\boxed{" + x + "}",
               x + ", " + x + ", " + y + ", " + z},  // a set has a member or not
              {x + ", " + y, "(" + x + ", " + y + ", " + z + ")", x + ", " + y + ", " + str(c + 1),
               x + ", " + y + ", " + y, y}};
    case 1:
      return {
          "(" + x + ", " + y + ", " + z + ")",
          {"\\left(" + x + "," + y + " , " + z + "\\right)", "(x,y,z) = (" + x + ", " + y + ", " + z + ")",
           "(" + str(2 * a) + "/2, " + y + ", " + z + ")",
           "\\begin{pmatrix}" + x + "\\\\" + y + "\\\\" + z + "\\end{pmatrix}"},
          {"(" + y + ", " + x + ", " + z + ")", "\\{" + x + ", " + y + ", " + z + "\\}", "(" + x + ", " + y + ")",
           "(" + x + ", " + y + ", -" + str(std::labs(c) + 1) + ")", "(" + x + ", " + y + ", " + z + ", " + z + ")"}};
    case 2:
      return {"[" + x + ", " + y + ")",
              {x + " \\le x < " + y, "x \\in \\left[" + x + "," + y + "\\right)", y + " > x \\geq " + x,
               "[" + x + ".0," + y + ")"},
              {"(" + x + ", " + y + "]", "[" + x + ", " + y + "]", "(" + x + ", " + y + ")", "[" + x + ", " + z + ")",
               x + " < x < " + y, x + " \\le x \\le " + y, x + " \\ge x > " + y, x}};
    case 3:
      return {"x > " + x,
              {"(" + x + ", \\infty)", x + " < x", "x - " + y + " > " + x + " - " + y, "-x < -(" + x + ")",
               "2x > " + str(2 * a)},
              {"x \\ge " + x, "x < " + x, "[" + x + ", \\infty)", "x > " + y, "(-\\infty, " + x + ")", "x = " + x, x,
               "y + x > " + x}};
    default:
      return {"\\begin{pmatrix} " + x + " & " + y + " \\\\ " + z + " & 1 \\end{pmatrix}",
              {"\\begin{bmatrix}" + x + "&" + y + "\\\\" + z + "&1\\\\\\end{bmatrix}",
               "\\left[\\begin{array}{cc}" + x + "&" + y + "\\\\" + z + "&\\frac{2}{2}\\end{array}\\right]"},
              {"\\begin{pmatrix} " + y + " & " + x + " \\\\ " + z + " & 1 \\end{pmatrix}",
               "\\begin{pmatrix} " + x + " & " + y + " \\\\ " + z + " & 2 \\end{pmatrix}",
               "(" + x + "," + y + "," + z + ",1)",
               "\\begin{pmatrix} " + x + " & " + z + " \\\\ " + y + " & 1 \\end{pmatrix}"}};
  }
}

Sample complex_number(Random& random) {
  const long a = between(random, -20, 20), b = between(random, 1, 20), k = between(random, 1, 9);
  return {str(a) + "+" + str(b) + "i",
          {str(b) + "i" + signed_term(a, ""), str(a) + "+\\sqrt{-" + str(b * b) + "}",
           "-i(" + str(-b) + signed_term(a, "i") + ")", str(a + k) + "+" + str(b) + "i-" + str(k),
           "\\frac{" + str(a * k) + "+" + str(b * k) + "i}" + braced(k)},
          {str(a) + "-" + str(b) + "i", str(a) + "+" + str(b + 1) + "i", str(a + b), str(a) + "+" + str(b),
           str(a + 1) + "+" + str(b) + "i", str(a) + "+" + str(b) + "j", str(a) + "+" + str(b) + "i^2"}};
}

Sample quantity(Random& random) {
  static const std::vector<std::string> kUnits = {"cm", "km", "kg", "hours", "dollars"};
  const long n = between(random, 1, 9999);
  const std::string unit = any_of(random, kUnits), text = str(n) + "\\text{ " + unit + "}";
  return {text,
          {str(n) + " " + unit, str(n), str(n) + "\\;\\mathrm{" + unit + "}",
           "\\frac{" + str(2 * n) + "}{2} \\mbox{ " + unit + "}", "\\boxed{" + text + "}"},
          {str(n + 1) + " " + unit, str(n) + " minutes", str(n) + " apples", str(n) + " " + unit + "^2",
           "-" + str(n) + " " + unit, str(n) + "0 " + unit, str(n) + "\\%"}};
}

/// Compound units in several spellings, temperatures and money: a bare reference leaves them open, one with a unit does
/// not.
Sample measured(Random& random) {
  const long n = between(random, 2, 9999);
  const std::string x = str(n);
  switch (random() % 4) {
    case 0:
      return {x,
              {x + "°C", x + "^\\circ", x + " degrees Celsius", x + " m/s^2", x + "\\text{ m/s}^2", x + "\\text{ km/h}",
               "The answer is " + x + " kg."},
              {str(n + 1) + "°C", str(n + 1) + " m/s^2", x + "\\%", x + " m/s^2 + 1", "-" + x + " kg"}};
    case 1:
      return {x + "\\text{ m/s}^2",
              {x + " m/s^2", x + " m s^{-2}", x + " meters per second squared", x, "\\boxed{" + x + "\\text{ m/s}^2}"},
              {x + " m/s", x + " cm/s^2", x + " kg", x + " m s^{2}", str(n + 1) + " m/s^2"}};
    case 2:
      return {"$" + x,
              {"\\$" + x, x + " dollars", x, "\\boxed{\\$" + x + "}"},
              {"£" + x, "€" + x, "\\boxed{£" + x + "}", "\\$" + str(n + 1), x + " euros", x + " cents"}};
    default:
      return {x + "°C",
              {x + " degrees Celsius", x + "^\\circ\\text{C}", x},
              {x + "°F", x + " degrees Fahrenheit", str(n + 1) + "°C", x + " kg"}};
  }
}

/// A number in a sentence, in front of what explains it.
Sample prose(Random& random) {
  static const std::vector<std::string> kLeads = {"The answer is ", "So the answer is ", "#### ", "Answer: ", "答案是", ""};
  static const std::vector<std::string> kReasons = {" because @ is too small", ", since @ is too small", ", as @ + 1 is too much",
                                                    " (since @ is even)", ", not @", " rather than @", " (not @)",
                                                    ", since @ can never work", "，因为@太小"};
  static const std::vector<std::string> kOthers = {" or @", " and @", " to @", " plus @", " times @", " or maybe @",
                                                   " if x > 0 and @ otherwise"};
  static const std::vector<std::string> kRefusals = {
      "I cannot say that the answer is ", "I don't know whether the answer is ", "The answer is not ", "If the answer is ",
      "The answer is half of ",           "The answer is more than ",            "It can't be ",       "无法确定答案是"};
  const long n = between(random, 2, 9999), other = n + between(random, 1, 50);
  const auto with = [](std::string text, long number) {
    text.replace(text.find('@'), 1, str(number));
    return text;
  };
  Sample sample{str(n), {}, {}};
  for (const std::string& lead : kLeads) {
    sample.same.push_back(lead + str(n) + with(any_of(random, kReasons), other) + ".");
    sample.other.push_back(lead + str(other) + with(any_of(random, kReasons), n) + ".");
    sample.other.push_back(lead + str(n) + with(any_of(random, kOthers), other) + ".");
  }
  const std::string reason = with(any_of(random, kReasons), other);
  sample.same.push_back("<answer>" + str(n) + reason + "</answer>");
  sample.same.push_back("The answer is **" + str(n) + "**" + reason + ".");
  sample.same.push_back("The answer is `" + str(n) + "`.");
  sample.same.push_back("First \\boxed{" + str(other) + "}. Final Answer: The final answer is $" + str(n) + "$.");
  sample.other.push_back("First \\boxed{" + str(n) + "}. Final Answer: The final answer is $" + str(other) + "$.");
  sample.other.push_back(any_of(random, kRefusals) + str(n) + ".");
  return sample;
}

/// What is counted may be named where the reference names nothing; words that change the number are no noun.
Sample counted(Random& random) {
  static const std::vector<std::string> kNouns = {"apples", "men",    "red apples", "dollars per day", "people in total",
                                                  "km/h",   "hours",  "kg of rice", "pages a day",     "times"};
  static const std::vector<std::string> kFactors = {"thousand", "million dollars", "dozen eggs", "percent", "squared",
                                                    "halves",   "or more",         "mod 5",      "x",       "per cent"};
  static const std::vector<std::string> kGlued = {"个", "元", "个苹果", "명", "人"};
  static const std::vector<std::string> kGluedFactors = {"万元", "百", "个半", "分之一", "만 원", "번째"};
  const long n = between(random, 2, 999);
  const std::string noun = any_of(random, kNouns), factor = any_of(random, kFactors);
  Sample sample{str(n), {}, {}};
  for (const std::string& form : {str(n) + " " + noun, str(n) + "\\text{ " + noun + "}", "\\boxed{" + str(n) + "\\text{ " + noun + "}}",
                                  "The answer is " + str(n) + " " + noun + ".", "#### " + str(n) + " " + noun,
                                  "The answer is $" + str(n) + " a day.", str(n) + any_of(random, kGlued)})
    sample.same.push_back(form);
  for (const std::string& form : {str(n) + " " + factor, str(n) + "\\text{ " + factor + "}", "The answer is " + str(n) + " " + factor + ".",
                                  "$" + str(n) + " million", str(n + 1) + " " + noun, str(n) + any_of(random, kGluedFactors)})
    sample.other.push_back(form);
  return sample;
}

Sample text(Random& random) {
  static const std::vector<std::string> kWords = {"Evelyn",    "Tuesday", "parabola",  "Even",
                                                  "isosceles", "서울",    "Blue whale"};
  const std::size_t i = random() % kWords.size();
  const std::string word = kWords[i], next = kWords[(i + 1) % kWords.size()];
  return {"\\text{" + word + "}",
          {word, "\\boxed{\\text{" + word + "}}", "  " + word + ".", "$" + word + "$", "<answer>" + word + "</answer>",
           "\\textbf{" + word + "}"},
          {next, word + " or " + next, word + " " + word, word + "s", "not " + word,
           "\\boxed{\\text{" + word + "}} or \\boxed{\\text{" + next + "}}", "x"}};
}

Sample numeral(Random& random) {
  const long base = between(random, 2, 9);
  std::string digits = str(between(random, 1, base - 1));
  for (int i = 0; i < 5; ++i) digits += str(between(random, 0, base - 1));
  std::string changed = digits;
  changed[3] = changed[3] == '0' ? '1' : '0';
  return {digits + "_" + str(base),
          {digits + "_{" + str(base) + "}", "$" + digits + "_" + str(base) + "$",
           "\\boxed{" + digits + "_{" + str(base) + "}}"},
          {digits, changed + "_" + str(base), digits + "_{" + str(base + 1) + "}", "1" + digits + "_" + str(base),
           "-" + digits + "_" + str(base)}};
}

TEST(Metamorphic, equal_forms_stay_correct_and_one_change_makes_them_wrong) {
  const char* asked = std::getenv("GRPO_METAMORPHIC_PAIRS");
  const long pairs = asked ? std::atol(asked) : 4000;
  const std::vector<std::function<Sample(Random&)>> kinds = {
      integer, fraction, surd, transcendental, polynomial, collection, complex_number, quantity, measured, text, numeral,
      prose, counted};
  Random random(7);
  long done = 0, failures = 0;
  for (long i = 0; done < pairs; ++i) {
    const Sample sample = kinds[static_cast<std::size_t>(i) % kinds.size()](random);
    const auto check = [&](const std::string& answer, bool same) {
      const Verdict verdict = check_answer(answer, sample.reference);
      ++done;
      if ((verdict == Verdict::correct) == same) return;
      if (++failures <= 40)
        ADD_FAILURE() << (same ? "should be correct: " : "should be wrong: ") << answer << " for " << sample.reference
                      << ", got " << enum_name(verdict);
    };
    for (const std::string& each : sample.same) check(each, true);
    for (const std::string& each : sample.other) check(each, false);
  }
  EXPECT_EQ(failures, 0) << "of " << done;
}

}  // namespace
}  // namespace grpo
