// Whether a right answer is worked out, or what was asked given back: 36-25 is 11, but the question again.
#pragma once

#include <string_view>

namespace grpo {

/// Whether a right answer to an arithmetic task says its number. Of an equation one side is enough; where the reference
/// leaves something to be worked out itself, an answer may, too.
bool is_worked_out(std::string_view answer, std::string_view reference);

/// Whether an answer that is not worked out is an expression of the question, given back for a number.
bool is_echo(std::string_view answer, std::string_view reference, std::string_view question);

}  // namespace grpo
