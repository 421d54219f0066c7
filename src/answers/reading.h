// Reading one answer out of model text: its wrappings, the number inside, the sentence around it.
#pragma once

#include <gmpxx.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grpo {

/// The body of the braces that open at `text[open]`, or nothing when they are never closed. Linear.
std::optional<std::string_view> braced_body(std::string_view text, std::size_t open);

/// `text` without white space, full stop, `$…$`, `\(…\)` and `\[…\]` around it; where it holds a `\boxed{}`, the body
/// of that. "" for boxes that differ or stay open, and for more wrappings than anyone means. Linear.
std::string_view unwrap_answer(std::string_view text);

/// The number that `text` is, in full: a sign, digits with a decimal point or thousands separators, a fraction of two
/// whole numbers. Nothing for any other text, for a denominator of zero and for more than 4,096 digits.
std::optional<mpq_class> read_number(std::string_view text);

/// A final answer.
struct Found {
  std::string text;
};

/// What is found of an answer in a text.
struct Finding {
  std::vector<Found> answers;  // different ones must all be right
  bool broken = false;         // there is a place for the answer, and nothing that can be read in it
};

/// <answer>, boxes, "Answer:", in this order; a final answer that is announced behind the boxes stands over them.
/// `last_box`: of several boxes the last one counts.
Finding find_marked_answer(std::string_view text, bool last_box);

/// What a sentence says.
struct Statement {
  enum Kind {
    unclear,  ///< nothing that can be told from the words: the text as a whole may be the answer
    refused,  ///< that it has no answer, or that something is not the answer; also a question
    read      ///< `answer`
  } kind = unclear;
  std::string answer;
};

/// What a text states that should be the answer: "17 apples" of "17 apples, because 16 are too few". `announced`: it
/// follows "Answer:" or stands in <answer>; else only an answer at its start counts, and find_in_prose may see more.
Statement read_statement(std::string_view text, bool announced);
/// The answer that a text of prose ends with. `announced`: any number in it counts where there is only one.
Statement find_in_prose(std::string_view text, bool announced);
/// Whether the clause that ends at `at` makes what follows no statement: "I cannot say that", "If", "whether".
bool is_supposed_at(std::string_view text, std::size_t at);
/// Where the sentence that starts at `from` ends: at a full stop that no digit follows, a question mark, a line's end.
std::size_t sentence_end(std::string_view text, std::size_t from);

/// `text` with the braces and names of text commands, and LaTeX's spaces, as spaces; nothing where they hold more than
/// words.
std::optional<std::string> words_of(std::string_view text);

/// A value with words behind it.
struct Counted {
  enum Kind {
    none,   ///< the text is no such thing
    noun,   ///< what is counted or measured: 17 apples, $18 a day, 17 km/h in total
    factor  ///< words that make another number of it, or a sentence: 17 thousand, 17 percent, 17 or more
  } kind = none;
  std::string value, what;  ///< 17 and "apples" of "17 apples in total"
};
Counted read_counted(std::string_view text);

}  // namespace grpo
