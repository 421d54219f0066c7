// Reading UTF-8 that may be broken, and the white space that Unicode knows.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace grpo {

inline constexpr char32_t kBrokenUtf8 = 0xFFFFFFFF;

struct CodePoint {
  char32_t value;    ///< kBrokenUtf8 for a byte that starts no well-formed sequence
  std::size_t size;  ///< bytes, at least 1
};

/// The code point at `text[at]`; `at` must be inside. Overlong forms, surrogates and cut sequences are one broken byte.
CodePoint decode_utf8(std::string_view text, std::size_t at);

struct Utf8Step {
  enum { valid, invalid, cut_short } kind;
  std::size_t size;  ///< bytes of the character, or of the longest beginning of one (at least 1)
};

/// Reads one character from the front of `bytes`, which is not empty; the "maximal subpart" practice of the Unicode
/// Standard (section 3.9) for what is not one.
Utf8Step utf8_step(std::string_view bytes);

/// `text` itself when it is valid UTF-8; else a copy in `storage` with U+FFFD for every maximal subpart of no
/// character.
std::string_view valid_utf8(std::string_view text, std::string& storage);

void append_utf8(std::string& text, char32_t c);

bool is_white_space(char32_t c);

/// The first position at or after `at` that is no white space, or text.size().
std::size_t skip_white_space(std::string_view text, std::size_t at = 0);

/// `text` without the white space at its ends.
std::string_view trim(std::string_view text);

}  // namespace grpo
