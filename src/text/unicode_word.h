// Characters as Python's str and re see them, for scorers that must agree with evaluations written in Python.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace grpo {

/// \w: a letter, digit or number of any script, or an underscore.
bool is_word_character(char32_t c);

/// str.isspace(), which splits and strips.
bool is_python_space(char32_t c);
/// The first position at or after `at` that is no such space, or text.size().
std::size_t skip_python_space(std::string_view text, std::size_t at);

/// 0 to 9 for a decimal digit of any script.
std::optional<int> decimal_digit(char32_t c);

}  // namespace grpo
