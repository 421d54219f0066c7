// Upper and lower case of every letter that Unicode pairs, as Python's str has them.
#pragma once

#include <string>
#include <string_view>

namespace grpo {

/// `text` in capitals; some letters become several, such as ß. Bytes that are no UTF-8 stay.
std::string to_upper(std::string_view text);

/// `text` in small letters; a capital sigma at the end of a word becomes a final one.
std::string to_lower(std::string_view text);

/// The first character as a word in a title begins, and the others in small letters.
std::string to_capitalized(std::string_view text);

/// The small form of one letter; other characters, and letters without one, as they are.
char32_t small_letter(char32_t c);

enum class LetterCase { none, lower, upper, title };

/// What a character is; none for those without a counterpart in the other case.
LetterCase letter_case(char32_t c);

}  // namespace grpo
