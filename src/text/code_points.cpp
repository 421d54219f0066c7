#include "text/code_points.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <vector>

#include "text/tables/unicode_classes.h"
#include "text/utf8.h"

namespace grpo {
namespace {

struct Run {
  char32_t first, last;
};
/// Signs and modifier letters that have a case without being letters Lu or Ll: Unicode's Other_Uppercase and
/// Other_Lowercase.
constexpr Run kMoreUpper[] = {
    {0x2160, 0x216F}, {0x24B6, 0x24CF}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};
constexpr Run kMoreLower[] = {
    {0xAA, 0xAA},     {0xBA, 0xBA},     {0x2B0, 0x2B8},     {0x2C0, 0x2C1},     {0x2E0, 0x2E4},     {0x345, 0x345},
    {0x37A, 0x37A},   {0x1D2C, 0x1D6A}, {0x1D78, 0x1D78},   {0x1D9B, 0x1DBF},   {0x2071, 0x2071},   {0x207F, 0x207F},
    {0x2090, 0x209C}, {0x2170, 0x217F}, {0x24D0, 0x24E9},   {0x2C7C, 0x2C7D},   {0xA69C, 0xA69D},   {0xA770, 0xA770},
    {0xA7F8, 0xA7F9}, {0xAB5C, 0xAB5F}, {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA}};

std::uint8_t bits_of_category(std::string_view name) {
  std::uint8_t bits = name[0] == 'L' || name[0] == 'N' ? kWordKind : 0;
  if (name == "Nd") bits |= kDecimalKind;
  if (name == "Lu" || name == "Lt") bits |= kUpperKind;
  if (name == "Ll" || name == "Lt") bits |= kLowerKind;
  return bits;
}

/// [0x110000] one byte for each code point: a megabyte, against a search for each character.
const std::vector<std::uint8_t>& classes() {
  static const std::vector<std::uint8_t> table = [] {
    std::vector<std::uint8_t> bits(0x110000);
    for (std::size_t i = 0; i < std::size(unicode::kCategoryRuns); ++i) {
      const std::uint32_t run = unicode::kCategoryRuns[i];
      const std::size_t end =
          i + 1 < std::size(unicode::kCategoryRuns) ? unicode::kCategoryRuns[i + 1] >> 5 : bits.size();
      std::fill(bits.begin() + (run >> 5), bits.begin() + static_cast<std::ptrdiff_t>(end),
                bits_of_category(unicode::kCategoryNames[run & 31]));
    }
    const auto add = [&](const auto& runs, std::uint8_t bit) {
      for (const Run& run : runs)
        for (char32_t c = run.first; c <= run.last; ++c) bits[c] |= bit;
    };
    add(kMoreUpper, kUpperKind);
    add(kMoreLower, kLowerKind);
    for (char32_t c = 0; c <= 0x3000; ++c)
      if ((is_white_space(c) && c != 0x200B) || (c >= 0x1C && c <= 0x1F)) bits[c] |= kSpaceKind;
    return bits;
  }();
  return table;
}

bool is_all(std::u32string_view text, CharacterKind wanted, CharacterKind other) {
  std::uint8_t all = 0;
  for (const char32_t c : text) {
    all |= kinds_of(c);
    if ((all & other) != 0) return false;
  }
  return (all & wanted) != 0;
}

}  // namespace

std::u32string code_points(std::string_view text) {
  std::u32string result(text.size(), U'\0');
  std::size_t size = 0;
  for (std::size_t at = 0; at < text.size(); ++size) {
    if (const auto byte = static_cast<unsigned char>(text[at]); byte < 0x80) {
      result[size] = byte;
      ++at;
      continue;
    }
    const CodePoint c = decode_utf8(text, at);
    result[size] = c.value == kBrokenUtf8 ? U'\uFFFD' : c.value;
    at += c.size;
  }
  result.resize(size);
  return result;
}

std::uint8_t kinds_beyond_ascii(char32_t c) { return c < 0x110000 ? classes()[c] : 0; }

bool is_all_upper(std::u32string_view text) { return is_all(text, kUpperKind, kLowerKind); }
bool is_all_lower(std::u32string_view text) { return is_all(text, kLowerKind, kUpperKind); }

std::size_t find_space(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const CodePoint c = decode_utf8(text, at);
    if (is_space(c.value)) break;
    at += c.size;
  }
  return at;
}

std::string_view strip_space(std::string_view text) {
  while (!text.empty()) {
    const CodePoint c = decode_utf8(text, 0);
    if (!is_space(c.value)) break;
    text.remove_prefix(c.size);
  }
  while (!text.empty()) {
    std::size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    const CodePoint c = decode_utf8(text, start);
    if (!is_space(c.value) || start + c.size != text.size()) break;
    text = text.substr(0, start);
  }
  return text;
}

}  // namespace grpo
