// Text as a sequence of code points, with the classes of characters that Python's str and its patterns know.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace grpo {

/// The code points of `text`; U+FFFD for every byte that is part of no character.
std::u32string code_points(std::string_view text);

bool is_word(char32_t c);     ///< \w: a letter, a number or the low line
bool is_decimal(char32_t c);  ///< \d
bool is_space(char32_t c);    ///< \s, what str.isspace says
bool has_upper(char32_t c);   ///< counts as a capital; the letters of titles count as both
bool has_lower(char32_t c);   ///< counts as a small letter

/// str.isupper and str.islower: some letter with a case, and none of the other one.
bool is_all_upper(std::u32string_view text);
bool is_all_lower(std::u32string_view text);

/// The first place at or after `at` with white space, or the size of `text`, which is UTF-8.
std::size_t find_space(std::string_view text, std::size_t at = 0);

/// str.strip, of UTF-8. (White space here is Python's, which knows neither U+200B nor U+FEFF as such.)
std::string_view strip_space(std::string_view text);

}  // namespace grpo
