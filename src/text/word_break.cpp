#include "text/word_break.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <vector>

#include "text/utf8.h"

namespace grpo {
namespace {

constexpr CharacterClass unpack(std::uint32_t run) {
  return {static_cast<WordBreak>(run >> 5 & 31), static_cast<Script>(run & 31), (run >> 10 & 1) != 0};
}

CharacterClass search(char32_t c) {
  const auto* after = std::partition_point(std::begin(kCharacterRuns), std::end(kCharacterRuns),
                                           [c](auto run) { return run >> 11 <= c; });
  return unpack(*std::prev(after));
}

/// The first plane as a table, because every character of every completion is looked up.
const std::vector<CharacterClass>& first_plane() {
  static const auto classes = [] {
    std::vector<CharacterClass> all(0x10000);
    const auto* run = std::begin(kCharacterRuns);
    for (char32_t c = 0; c < all.size(); ++c) {
      if (std::next(run) != std::end(kCharacterRuns) && *std::next(run) >> 11 <= c) ++run;
      all[c] = unpack(*run);
    }
    return all;
  }();
  return classes;
}

bool is_line_end(WordBreak w) { return w == WordBreak::cr || w == WordBreak::lf || w == WordBreak::newline; }
bool is_letter(WordBreak w) { return w == WordBreak::letter || w == WordBreak::hebrew_letter; }
bool is_mid_num_let_q(WordBreak w) { return w == WordBreak::mid_num_let || w == WordBreak::single_quote; }
bool takes_connectors(WordBreak w) {
  return is_letter(w) || w == WordBreak::numeric || w == WordBreak::katakana || w == WordBreak::extend_num_let;
}

/// WB5, WB8 to WB10, WB13 to WB13b: pairs that need no look ahead.
bool joins(WordBreak left, WordBreak right) {
  if (right == WordBreak::extend_num_let) return takes_connectors(left);
  if (left == WordBreak::extend_num_let) return takes_connectors(right);
  if (left == WordBreak::katakana) return right == WordBreak::katakana;
  const auto in_word = [](WordBreak w) { return is_letter(w) || w == WordBreak::numeric; };
  return in_word(left) && in_word(right);
}

/// WB6, WB7, WB7b, WB7c, WB11, WB12: whether `mid` holds `left` and `right` together.
bool bridges(WordBreak left, WordBreak mid, WordBreak right) {
  if (is_letter(left) && is_letter(right) && (mid == WordBreak::mid_letter || is_mid_num_let_q(mid))) return true;
  if (left == WordBreak::hebrew_letter && right == WordBreak::hebrew_letter && mid == WordBreak::double_quote)
    return true;
  return left == WordBreak::numeric && right == WordBreak::numeric &&
         (mid == WordBreak::mid_num || is_mid_num_let_q(mid));
}

bool may_bridge(WordBreak w) {
  return is_mid_num_let_q(w) || w == WordBreak::mid_letter || w == WordBreak::mid_num || w == WordBreak::double_quote;
}

/// The first character at or after `at` that WB4 does not pass over.
WordBreak next_break(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const CodePoint c = decode_utf8(text, at);
    const WordBreak found = class_of(c.value).word_break;
    if (!is_passed_over(found)) return found;
    at += c.size;
  }
  return WordBreak::other;
}

}  // namespace

CharacterClass class_of(char32_t c) {
  if (c < 0x10000) return first_plane()[c];
  return c < 0x110000 ? search(c) : CharacterClass{WordBreak::other, Script::none, false};
}

std::size_t word_end(std::string_view text, std::size_t at) {
  CodePoint c = decode_utf8(text, at);
  WordBreak raw = class_of(c.value).word_break;  // of the character before `at`
  WordBreak left = raw;                          // the same, but for what WB4 passes over
  at += c.size;
  if (raw == WordBreak::cr) return at < text.size() && text[at] == '\n' ? at + 1 : at;
  if (is_line_end(raw)) return at;
  bool flag_is_open = raw == WordBreak::regional;
  for (; at < text.size(); at += c.size) {
    c = decode_utf8(text, at);
    const CharacterClass here = class_of(c.value);
    const WordBreak right = here.word_break;
    if (is_line_end(right)) return at;
    const bool inside = (raw == WordBreak::zwj && here.pictographic) ||                            // WB3c
                        (raw == WordBreak::space && right == WordBreak::space) ||                  // WB3d
                        (left == WordBreak::hebrew_letter && right == WordBreak::single_quote) ||  // WB7a
                        joins(left, right);
    raw = right;
    if (is_passed_over(right)) continue;                 // WB4
    if (flag_is_open && right == WordBreak::regional) {  // WB15, WB16
      flag_is_open = false;
      left = WordBreak::other;
      continue;
    }
    flag_is_open = false;
    // What follows a bridge joins it as it would join the character before it.
    if (may_bridge(right) && bridges(left, right, next_break(text, at + c.size))) continue;
    if (!inside) return at;
    left = right;
  }
  return at;
}

}  // namespace grpo
