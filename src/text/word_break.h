// Word boundaries after Unicode Standard Annex #29, and the script of a character.
#pragma once

#include <cstddef>
#include <string_view>

#include "text/tables/characters.h"

namespace grpo {

/// What boundaries are told by. Broken UTF-8 is like punctuation.
struct CharacterClass {
  WordBreak word_break;
  Script script;
  bool pictographic;
};
CharacterClass class_of(char32_t c);

/// Whether rule WB4 passes over it: it goes with the character before it.
inline bool is_passed_over(WordBreak w) {
  return w == WordBreak::extend || w == WordBreak::format || w == WordBreak::zwj;
}

/// Where the segment ends that begins at `at`, which must be inside `text` and a boundary itself: a word, or what lies
/// between words. Rules WB3 to WB999 without tailoring; broken bytes are segments of their own. Going from boundary to
/// boundary takes linear time.
std::size_t word_end(std::string_view text, std::size_t at);

}  // namespace grpo
