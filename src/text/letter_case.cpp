#include "text/letter_case.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>

#include "text/tables/letter_case.h"
#include "text/utf8.h"

namespace grpo {
namespace {

template <std::size_t N>
std::optional<char32_t> counterpart(const LetterRun (&runs)[N], char32_t c) {
  const auto after = std::upper_bound(std::begin(runs), std::end(runs), c,
                                      [](char32_t letter, const LetterRun& run) { return letter < run.first; });
  if (after == std::begin(runs)) return std::nullopt;
  const LetterRun& run = *std::prev(after);
  if (c > run.last || (c - run.first) % static_cast<char32_t>(run.distance) != 0) return std::nullopt;
  return static_cast<char32_t>(static_cast<int>(c) + run.move);
}

std::optional<char32_t> upper_of(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z' ? std::optional<char32_t>(c - 32) : std::nullopt;
  return counterpart(kToUpper, c);
}

std::optional<char32_t> lower_of(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? std::optional<char32_t>(c + 32) : std::nullopt;
  if (c == 0x130) return U'i';  // the dot that follows is appended where it is written
  return counterpart(kToLower, c);
}

const ExpandingLetter* expanding(char32_t c) {
  const auto found =
      std::lower_bound(std::begin(kExpanding), std::end(kExpanding), c,
                       [](const ExpandingLetter& each, char32_t letter) { return each.letter < letter; });
  return found != std::end(kExpanding) && found->letter == c ? found : nullptr;
}

// Letters that are two in one have a form with only the first in capitals; the first of each row of three.
std::optional<char32_t> digraph(char32_t c) {
  for (const char32_t first : {0x1C4u, 0x1C7u, 0x1CAu, 0x1F1u})
    if (c >= first && c < first + 3) return first;
  return std::nullopt;
}

bool is_georgian(char32_t c) { return (c >= 0x10D0 && c <= 0x10FA) || (c >= 0x10FD && c <= 0x10FF); }

// The Greek capitals with an iota below have a form for titles, too: of these and of their small letters.
std::optional<char32_t> greek_title(char32_t c) {
  if ((c >= 0x1F80 && c <= 0x1FAF)) return c | 8;
  if (c == 0x1FB3 || c == 0x1FC3 || c == 0x1FF3) return c + 9;
  if (c == 0x1FBC || c == 0x1FCC || c == 0x1FFC) return c;
  return std::nullopt;
}

void append_upper(std::string& out, std::string_view bytes, char32_t c) {
  if (const ExpandingLetter* several = c >= 0x80 ? expanding(c) : nullptr)
    out += several->capital;
  else if (const auto upper = upper_of(c))
    append_utf8(out, *upper);
  else
    out += bytes;
}

void append_title(std::string& out, std::string_view bytes, char32_t c) {
  if (const auto row = digraph(c)) return append_utf8(out, *row + 1);
  if (is_georgian(c)) return void(out += bytes);
  if (const auto greek = greek_title(c)) return append_utf8(out, *greek);
  const ExpandingLetter* several = c >= 0x80 ? expanding(c) : nullptr;
  if (!several) return append_upper(out, bytes, c);
  // Only the first of several is a capital here, and an iota is again one below.
  bool first = true;
  for (std::size_t at = 0; at < several->capital.size();) {
    const CodePoint each = decode_utf8(several->capital, at);
    const auto lower = lower_of(each.value);
    if (each.value == 0x399 && at > 0)
      append_utf8(out, 0x345);
    else
      append_utf8(out, !first && lower ? *lower : each.value);
    first = first && !lower;  // what is no letter, such as an apostrophe, is not the first one
    at += each.size;
  }
}

bool is_cased(char32_t c) { return letter_case(c) != LetterCase::none; }

// Points and marks within a word, which do not end it.
bool is_ignorable(char32_t c) {
  return c == '\'' || c == '.' || c == ':' || c == '^' || c == '`' || c == 0xA8 || c == 0xAD || c == 0xAF ||
         c == 0xB4 || c == 0xB7 || c == 0xB8 || (c >= 0x2B0 && c <= 0x36F) || c == 0x2018 || c == 0x2019 ||
         (c >= 0x200B && c <= 0x200F);
}

bool ends_word(std::string_view text, std::size_t at, std::size_t after) {
  bool letter_before = false;
  for (std::size_t i = at; i > 0;) {
    do --i;
    while (i > 0 && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80);
    const char32_t c = decode_utf8(text, i).value;
    if (is_ignorable(c)) continue;
    letter_before = is_cased(c);
    break;
  }
  if (!letter_before) return false;
  for (std::size_t i = after; i < text.size();) {
    const CodePoint c = decode_utf8(text, i);
    if (!is_ignorable(c.value)) return !is_cased(c.value);
    i += c.size;
  }
  return true;
}

void append_lower(std::string& out, std::string_view text, std::size_t at, const CodePoint& c) {
  const auto lower = lower_of(c.value);
  if (c.value == 0x3A3 && ends_word(text, at, at + c.size))
    append_utf8(out, 0x3C2);
  else if (lower)
    append_utf8(out, *lower);
  else
    out += text.substr(at, c.size);
  if (c.value == 0x130) append_utf8(out, 0x307);
}

}  // namespace

char32_t small_letter(char32_t c) {
  // The alphabets of Europe, in which most letters with a case are: a table, because language.cpp asks for each one.
  static const auto table = [] {
    std::array<char16_t, 0x600> small{};
    for (char32_t each = 0; each < small.size(); ++each)
      small[each] = static_cast<char16_t>(lower_of(each).value_or(each));
    return small;
  }();
  return c < table.size() ? table[c] : lower_of(c).value_or(c);
}

std::string to_upper(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    append_upper(result, text.substr(at, c.size), c.value);
    at += c.size;
  }
  return result;
}

std::string to_lower(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    if (const char byte = text[at]; static_cast<unsigned char>(byte) < 0x80) {
      result += static_cast<char>(byte >= 'A' && byte <= 'Z' ? byte + 32 : byte);
      ++at;
      continue;
    }
    const CodePoint c = decode_utf8(text, at);
    append_lower(result, text, at, c);
    at += c.size;
  }
  return result;
}

std::string to_capitalized(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    if (at == 0)
      append_title(result, text.substr(0, c.size), c.value);
    else
      append_lower(result, text, at, c);
    at += c.size;
  }
  return result;
}

LetterCase letter_case(char32_t c) {
  if (const auto row = digraph(c))
    return c == *row ? LetterCase::upper : c == *row + 1 ? LetterCase::title : LetterCase::lower;
  if (const auto greek = greek_title(c)) return *greek == c ? LetterCase::title : LetterCase::lower;
  if (lower_of(c)) return LetterCase::upper;
  if (upper_of(c) || (c >= 0x80 && expanding(c)) || c == 0xAA || c == 0xBA) return LetterCase::lower;
  return LetterCase::none;
}

}  // namespace grpo
