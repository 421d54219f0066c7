// Reading answers and verdicts out of model text: strict, linear in the text, and silent about what cannot be read.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace grpo {

/// What stands behind the last `</think>`; everything when there is no thinking; "" while it never ends.
std::string_view after_thinking(std::string_view text, bool think_open);

/// Choices are capital letters from A to `last`; '\0' where none can be read.

/// The text as a whole is one letter: "C", "(C)", "C.", "\boxed{C}".
char bare_choice(std::string_view text, char last);

/// The first "Answer: C" (in any case, in bold, in \boxed{} or \text{}), the form that simple-evals asks for. A letter
/// that begins a word is none.
char choice_after_answer(std::string_view text, char last);

/// The three levels of MMLU-Pro's published evaluation: the first "answer is (C)", else the first line's last
/// "answer: C", else the last letter that stands alone.
char mmlu_pro_choice(std::string_view text);

/// The last "answer": "C" of a JSON object, the form that ZeroEval asks for.
char choice_in_json(std::string_view text, char last);

/// What stands behind the last 答案 (: 是 为 and the like passed over); "" when there is none.
std::string_view after_chinese_answer(std::string_view text);

/// A capital letter that begins no word, behind marks such as ( $ \boxed{ and **.
char leading_choice(std::string_view text, char last);

/// The rest of the line behind the first "Answer:"; nothing when there is none.
std::optional<std::string_view> line_after_answer(std::string_view text);

/// The body of the last ``` block, without its language; "" when there is none.
std::string last_code_block(std::string_view text);

/// The verdict of a judge whose whole reply, thinking aside, is one of `words` ("A B C"); "" for any other.
std::string_view read_verdict(std::string_view verdict, std::string_view words);

/// The one label out of A>>B, A>B, A=B, B>A, B>>A that stands in [[ ]]; nothing when there is none or they differ.
/// From 2 (A is much better) to -2.
std::optional<int> read_arena_verdict(std::string_view verdict);

}  // namespace grpo
