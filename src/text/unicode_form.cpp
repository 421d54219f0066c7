#include "text/unicode_form.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "text/tables/unicode_normalization.h"
#include "text/utf8.h"

namespace grpo {
namespace {

// Hangul syllables are composed by arithmetic (Unicode Standard, section 3.12).
constexpr char32_t kSyllables = 0xAC00, kLeads = 0x1100, kVowels = 0x1161, kTails = 0x11A7;
constexpr char32_t kLeadCount = 19, kVowelCount = 21, kTailCount = 28, kSyllableCount = 11172;

struct Character {
  char32_t value;
  unsigned rank;  // of its combining class; 0 for a starter
};

unsigned combining_rank(char32_t c) {
  if (c < 0x300) return 0;
  const auto after = std::upper_bound(std::begin(unicode::kCombiningRuns), std::end(unicode::kCombiningRuns),
                                      static_cast<std::uint32_t>(c) << 8 | 0xFF);
  return *std::prev(after) & 0xFF;
}

/// The place of `key` in a table of `Width` numbers a row, sorted by their first; null when it has none.
template <std::size_t Width, std::size_t Size>
const std::uint32_t* find_row(const std::uint32_t (&table)[Size], std::uint32_t key) {
  std::size_t low = 0, high = Size / Width;
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    if (table[middle * Width] < key)
      low = middle + 1;
    else
      high = middle;
  }
  return low < Size / Width && table[low * Width] == key ? table + low * Width : nullptr;
}

void decompose(char32_t c, bool compatible, std::vector<Character>& out) {
  const auto push = [&](char32_t part) { out.push_back({part, combining_rank(part)}); };
  if (c < 0xA0 || (c >= 0x3400 && c < 0xA000)) return out.push_back({c, 0});
  if (c >= kSyllables && c < kSyllables + kSyllableCount) {
    const char32_t index = c - kSyllables;
    push(kLeads + index / (kVowelCount * kTailCount));
    push(kVowels + index / kTailCount % kVowelCount);
    if (index % kTailCount != 0) push(kTails + index % kTailCount);
    return;
  }
  const std::uint32_t* row = compatible ? find_row<2>(unicode::kDecompositions, c << 1 | 1) : nullptr;
  if (row == nullptr) row = find_row<2>(unicode::kDecompositions, c << 1);
  if (row == nullptr) return push(c);
  for (std::uint32_t i = 0; i < (row[1] & 31); ++i) push(unicode::kDecompositionText[(row[1] >> 5) + i]);
}

/// 0 when the two do not join.
char32_t compose(char32_t first, char32_t second) {
  if (first >= kLeads && first < kLeads + kLeadCount && second >= kVowels && second < kVowels + kVowelCount)
    return kSyllables + ((first - kLeads) * kVowelCount + second - kVowels) * kTailCount;
  if (first >= kSyllables && first < kSyllables + kSyllableCount && (first - kSyllables) % kTailCount == 0 &&
      second > kTails && second < kTails + kTailCount)
    return first + second - kTails;
  std::size_t low = 0, high = std::size(unicode::kCompositions) / 3;
  const auto wanted = std::pair<std::uint32_t, std::uint32_t>(first, second);
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    const std::uint32_t* row = unicode::kCompositions + middle * 3;
    const auto pair = std::pair(row[0], row[1]);
    if (pair == wanted) return row[2];
    if (pair < wanted)
      low = middle + 1;
    else
      high = middle;
  }
  return 0;
}

void compose(std::vector<Character>& text) {
  std::size_t kept = 0, starter = 0;
  bool has_starter = false;
  unsigned last_rank = 0;  // of what was kept behind the starter; 0 when that is the starter itself
  for (const Character c : text) {
    const bool adjacent = has_starter && kept == starter + 1;
    if (has_starter && (adjacent || (last_rank != 0 && last_rank < c.rank))) {
      if (const char32_t joined = compose(text[starter].value, c.value)) {
        text[starter].value = joined;
        continue;
      }
    }
    if (c.rank == 0) {
      starter = kept;
      has_starter = true;
    }
    last_rank = c.rank;
    text[kept++] = c;
  }
  text.resize(kept);
}

}  // namespace

std::string normalize(UnicodeForm form, std::string_view text) {
  const bool composed = form == UnicodeForm::nfc || form == UnicodeForm::nfkc;
  const bool compatible = form == UnicodeForm::nfkc || form == UnicodeForm::nfkd;
  // Below U+0300 only compatible forms and decompositions change anything; U+0080 is the first byte 0xC2.
  const unsigned char least = form == UnicodeForm::nfc ? 0xCC : 0x80;
  if (std::none_of(text.begin(), text.end(), [&](unsigned char byte) { return byte >= 0xC0 && byte >= least; }))
    return std::string(text);

  std::vector<Character> characters;
  characters.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = decode_utf8(text, i);
    decompose(c.value, compatible, characters);
    i += c.size;
  }
  for (auto begin = characters.begin(); begin != characters.end();) {
    if (begin->rank == 0) {
      ++begin;
      continue;
    }
    const auto end = std::find_if(begin, characters.end(), [](const Character& c) { return c.rank == 0; });
    std::stable_sort(begin, end, [](const Character& a, const Character& b) { return a.rank < b.rank; });
    begin = end;
  }
  if (composed) compose(characters);
  std::string result;
  result.reserve(text.size());
  for (const Character& c : characters) append_utf8(result, c.value);
  return result;
}

}  // namespace grpo
