#include "text/unicode_word.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "text/tables/unicode_classes.h"
#include "text/utf8.h"

namespace grpo {
namespace {

/// The run of one general category that holds `c`: its first code point << 5 | the category's number.
std::uint32_t run_of(char32_t c) {
  const std::uint32_t key = static_cast<std::uint32_t>(c) << 5 | 31;
  return *std::prev(std::upper_bound(std::begin(unicode::kCategoryRuns), std::end(unicode::kCategoryRuns), key));
}

char major_class(char32_t c) { return unicode::kCategoryNames[run_of(c) & 31][0]; }

}  // namespace

bool is_word_character(char32_t c) {
  if (c > 0x10FFFF) return false;  // a broken byte
  if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  const char major = major_class(c);
  return major == 'L' || major == 'N';
}

bool is_python_space(char32_t c) {
  return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::size_t skip_python_space(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const CodePoint c = decode_utf8(text, at);
    if (!is_python_space(c.value)) break;
    at += c.size;
  }
  return at;
}

std::optional<int> decimal_digit(char32_t c) {
  if (c > 0x10FFFF) return {};
  const std::uint32_t run = run_of(c);
  if (std::string_view(unicode::kCategoryNames[run & 31]) != "Nd") return {};
  return static_cast<int>((static_cast<std::uint32_t>(c) - (run >> 5)) % 10);
}

}  // namespace grpo
