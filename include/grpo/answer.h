// Whether an answer is right, decided by rules: no model, no computer algebra system, no clock.
//
// Model text is hostile by nature, so whatever cannot be shown to be equal is wrong, and work is bounded by budgets
// (bytes, nesting, nodes, digits, bits, evaluation steps), never by time.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpo/config.h"

namespace grpo {

enum class Verdict {
  correct,
  wrong,          ///< read, and not shown to be equal; also several final answers that differ
  unparseable,    ///< the answer is empty, a refusal, or no mathematics where the reference is
  bad_reference,  ///< the reference is empty or means nothing, such as 1/0
  over_budget     ///< deciding would cost more than an answer may: 9^{9^9}, 64 KiB of digits
};
template <>
struct EnumNames<Verdict> {
  static constexpr std::array<std::pair<Verdict, std::string_view>, 5> values{
      {{Verdict::correct, "correct"},
       {Verdict::wrong, "wrong"},
       {Verdict::unparseable, "unparseable"},
       {Verdict::bad_reference, "bad_reference"},
       {Verdict::over_budget, "over_budget"}}};
};

struct AnswerOptions {
  double tolerance = 0;
  int precision = -1;
  bool decimal_comma = false;
  bool convert_units = false;
  bool last_box = false;

  template <class V>
  void visit(V& v) {
    v("tolerance", tolerance, "largest |answer - reference| / max(1, |reference|) that is still right; 0: exact",
      at_least(0));
    v("precision", precision, "places behind the point to which the reference is rounded; -1: none, it is exact",
      at_least(-1).at_most(100));
    v("decimal_comma", decimal_comma, "1.000,5 means 1000.5");
    v("convert_units", convert_units, "100 cm is 1 m");
    v("last_box", last_box, "of several boxes the last one is the answer, as in verl; if false, all must be right");
  }
};

/// Whether `answer` says the same as `reference`. Both may be LaTeX, plain text, or prose with the answer in it (see
/// final_answer). Understood are
///   numbers      integers, decimals, fractions, mixed numbers, percent, money, 1,000 and 1 000, 1.5e3, 1011_2, 0.1(6)
///   expressions  with π, e, i, roots, powers, logarithms, trigonometry, factorials, binomials, |x|, ⌊x⌋, Σ, variables
///   relations    x = 3 (is 3), chains, equations up to a factor, inequalities (are intervals) in either direction
///   collections  lists and sets in any order, tuples, intervals ([1, 2) and [1, 2[), unions, |x - 1| < 2, matrices,
///                ratios, ± (two members)
///   the rest     choices (B), units and counted nouns (optional where one side has none), dates, times; text, which
///                must be the same (what is counted may be left out of an answer, not added to it: 3 is 3 rubles, 3
///                rubles is not 3)
/// Rules that one may stumble over:
///   - Rational values are compared exactly. Others are compared between outward-rounded bounds: bounds that part prove
///     a difference; agreement to 380 bits, at a precision of 448 bits plus eight times the spread of all sizes that
///     came up, at four points that follow from a hash of both texts, counts as equality. That is no proof, but nothing
///     that one can write by accident or aim at comes near it. Expressions in variables are compared where both are
///     real.
///   - Decimals are exact: 0.333 is not 1/3. But a decimal that shows at least six digits behind the point (and six in
///     all) may stand for a value that is not written as a decimal if it is that value rounded or cut off at the last
///     digit shown: 0.333333 is 1/3, and 0.333334 and 0.3333 are not.
///   - A reference without a noun fixes the number alone: 17 apples, $17 a day and 17 km/h in total are 17. With a noun
///     it demands that noun or none: 17 apples is 17, not 17 pears; nor is 5 m 5 cm. Words that make another number of it
///     are no noun: 17 thousand, 17 percent, 17 dozen, 17 squared, 17 or more, 17 x are not 17.
///   - A single comma between digits that is no thousands separator parts two numbers or is a decimal comma, whichever
///     agrees with the other side. 10 is not 10%.
///   - A whole number and a fraction of two whole numbers below 1, side by side, are one mixed number with one sign:
///     -2\frac{2}{3}, -2 2/3 and -2⅔ are -8/3. All else side by side is a product: 2\frac{5}{3}, 2\frac{x}{3},
///     2(\frac23).
///   - Digits in brackets behind a decimal point repeat: 0.1(6) is 1/6. So do those that were seen to, before dots:
///     0.1666... is 1/6, and 1.414... is no number.
///   - A numeral with a base counts by its value, 52_8 is 42; but a reference with a base asks for that base.
///   - A bare reference fixes the number and leaves the unit open: 25°C, 25 cm and £25 are 25. A reference with a unit
///     takes that unit, in any spelling (m/s^2, m s^{-2}, metres per second squared), or none; 5 m is not 5 cm nor,
///     unless convert_units says so, 500 cm, and $3 is not £3. Pounds may be £ or lb, ¥ yen or yuan.
///   - A set holds a member or not, and so does a list of points or of values of unknowns: (1,7), (7,1), (1,7) is
///     (1,7), (7,1). Numbers in a bare list may be a sequence, and count as often as they are said: 2, 2, 3 is not
///     2, 3, nor is "3, 3" the answer 3.
///   - A side of an equation is its answer only where the other side is a name, which it does not hold itself: 11b + c is
///     a = 11b + c, but not 7 = 11a + c.
///   - With `precision` set, numbers wherever they stand (in tuples, intervals, matrices, lists) are the same when both
///     may be rounded to the same number of that many places; expressions in variables are still compared exactly.
///   - \log without a base is no particular logarithm: \log 8 is 3 \log 2, and \log 100 is not 2.
///   - Expressions with |x|, ⌊x⌋, roots and the like are compared at points of all signs and sizes: |x-10| is not 10-x.
///   - Inequalities and intervals are the same set whatever its name, but a > 0 is not x > 0. "x > 1 and x < 3" is what
///     lies between, "x > 1 or x < 3" is not. Solutions may be joined by either word.
///   - A ratio may be a fraction, 1:2 is 1/2, but 17:1 is not 17.
/// Never throws because of what the texts say; thread-safe.
Verdict check_answer(std::string_view answer, std::string_view reference, const AnswerOptions& options = {});

/// Whether check_answer says `correct`.
bool answers_match(std::string_view answer, std::string_view reference);

/// Where the final answer of a completion is looked for.
struct ExtractionOptions {
  bool think_open = false;       ///< the prompt ended with <think>: all text up to </think> is reasoning
  bool thinking_closed = false;  ///< a completion without </think> has no answer
  bool last_box = false;         ///< as AnswerOptions::last_box
};

/// The final answer of a whole completion: the body of <answer>, else \boxed{}, \boxed 9 or \fbox{}, else what follows
/// "Answer:", "the answer is", "####", "정답:", "答案：", "答えは" and the like. What stands inside <think> never counts.
/// Several different final answers are all returned, and an answer is right only if all of them are; none is an empty
/// vector. But a final answer that is announced as such ("Final Answer:", "最终答案是") behind the last box stands over
/// the boxes, and so does a box behind "final answer" over those in front of it. Linear in the text.
///
/// A sentence says its answer with the words that name it, and nothing of what explains it:
///   - The answer ends where a reason or an aside begins: "17 because 16 is too small", "17, as 34/2 = 17", "17 (not 16)",
///     "17, which is prime", "答案是17，因为…". Behind "if", "for", "but" and the like it ends as well, unless another
///     number follows that is as good: "17 if x > 0 and 18 otherwise" says neither.
///   - A sentence that begins otherwise ends with its answer: the last formula, or number behind "is", "=", "gets" …, that
///     is not inside a reason. With words in front that make another number of it (half of 17, at least 17, not 17) it
///     says none.
///   - A refusal counts where it governs the answer: "I cannot say that the answer is 17", "if the answer is 17", "The
///     answer is not 17", "17, which is wrong", questions. Elsewhere it is part of the explanation: "17, since a smaller
///     value can never work", "The answer is 17, not 16".
///   - Code and emphasis marks and quotes around an answer are none of it: `17`, **17**, “17”.
/// The same holds in Chinese, Japanese and Korean; of German, French, Spanish, Portuguese, Italian and Russian the
/// words for "is", for reasons, conditions and denials are known.
std::vector<std::string> final_answer(std::string_view completion, const ExtractionOptions& options = {});

/// Where an answer may be when the form is broken: in the last `<answer>…</answer>`, else in the last `\boxed{…}`; else
/// "".
std::string_view loose_answer(std::string_view text);

}  // namespace grpo
