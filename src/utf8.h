// Reading UTF-8 that may be broken, and the white space that Unicode knows.
#pragma once

#include <cstddef>
#include <string_view>

namespace grpo {

inline constexpr char32_t kBrokenUtf8 = 0xFFFFFFFF;

struct CodePoint {
  char32_t value;    ///< kBrokenUtf8 for a byte that starts no well-formed sequence
  std::size_t size;  ///< bytes, at least 1
};

/// The code point at `text[at]`; `at` must be inside. Overlong forms, surrogates and cut sequences are one broken byte.
CodePoint decode_utf8(std::string_view text, std::size_t at);

bool is_white_space(char32_t c);

/// The first position at or after `at` that is no white space, or text.size().
std::size_t skip_white_space(std::string_view text, std::size_t at = 0);

/// `text` without the white space at its ends.
std::string_view trim(std::string_view text);

}  // namespace grpo
