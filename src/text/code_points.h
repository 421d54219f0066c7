// Text as a sequence of code points, with the classes of characters that Python's str and its patterns know.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace grpo {

/// The code points of `text`; U+FFFD for every byte that is part of no character.
std::u32string code_points(std::string_view text);

/// The classes that a character is in, as a sum.
enum CharacterKind : std::uint8_t {
  kWordKind = 1,     ///< \w: a letter, a number or the low line
  kDecimalKind = 2,  ///< \d
  kUpperKind = 4,    ///< counts as a capital; the letters of titles count as both
  kLowerKind = 8,    ///< counts as a small letter
  kSpaceKind = 16    ///< \s, what str.isspace says
};

inline constexpr std::array<std::uint8_t, 128> kAsciiKinds = [] {
  std::array<std::uint8_t, 128> kinds{};
  for (char c = '0'; c <= '9'; ++c) kinds[c] = kWordKind | kDecimalKind;
  for (char c = 'A'; c <= 'Z'; ++c) kinds[c] = kWordKind | kUpperKind;
  for (char c = 'a'; c <= 'z'; ++c) kinds[c] = kWordKind | kLowerKind;
  for (const char c : {' ', '\t', '\n', '\v', '\f', '\r', '\x1C', '\x1D', '\x1E', '\x1F'}) kinds[c] = kSpaceKind;
  kinds['_'] = kWordKind;
  return kinds;
}();
std::uint8_t kinds_beyond_ascii(char32_t c);
inline std::uint8_t kinds_of(char32_t c) { return c < 0x80 ? kAsciiKinds[c] : kinds_beyond_ascii(c); }

inline bool is_word(char32_t c) { return (kinds_of(c) & kWordKind) != 0; }
inline bool is_decimal(char32_t c) { return (kinds_of(c) & kDecimalKind) != 0; }
inline bool is_space(char32_t c) { return (kinds_of(c) & kSpaceKind) != 0; }
inline bool has_upper(char32_t c) { return (kinds_of(c) & kUpperKind) != 0; }
inline bool has_lower(char32_t c) { return (kinds_of(c) & kLowerKind) != 0; }

/// str.isupper and str.islower: some letter with a case, and none of the other one.
bool is_all_upper(std::u32string_view text);
bool is_all_lower(std::u32string_view text);

/// The first place at or after `at` with white space, or the size of `text`, which is UTF-8.
std::size_t find_space(std::string_view text, std::size_t at = 0);

/// str.strip, of UTF-8. (White space here is Python's, which knows neither U+200B nor U+FEFF as such.)
std::string_view strip_space(std::string_view text);

}  // namespace grpo
