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

/// What is found of an answer in a text.
struct Finding {
  std::vector<std::string> answers;  // different ones must all be right
  bool boxed = false;                // boxes hold no sentences: \boxed{\text{June 20}} is not 20
  bool broken = false;               // there is a place for the answer, and nothing that can be read in it
};

/// <answer>, boxes, "Answer:", in this order.
Finding find_marked_answer(std::string_view text);
/// The answer that a sentence of prose ends with; nothing for refusals and doubts. `announced`: the sentence follows
/// "Answer:", so that any number in it counts.
std::optional<std::string> find_in_prose(std::string_view text, bool announced);

}  // namespace grpo
