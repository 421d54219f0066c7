// The words of a text, as languages are told by.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>
#include <utility>

#include "text/ascii.h"
#include "text/language/neutral_spans.h"
#include "text/letter_case.h"
#include "text/utf8.h"
#include "text/word_break.h"

namespace grpo {

inline constexpr char32_t kNonJoiner = 0x200C;

struct Word {
  Script script = Script::none;
  std::size_t letters = 0;
  bool capital = false;              // it has one: a name, perhaps
  bool composed = true;              // no mark that could be part of a letter
  bool first = true;                 // of its sentence or line
  std::size_t size = 0;              // of `symbols`
  std::array<char32_t, 48> symbols;  // its beginning: small letters, marks, ' for apostrophes

  void add(char32_t c) {
    if (size < symbols.size()) symbols[size++] = c;
  }
};

inline bool is_apostrophe(char32_t c) {
  return c == '\'' || c == 0x2019 || c == 0x02BC || c == 0x00B7 || c == '"' || c == 0x05F4;
}
inline bool ends_sentence(char32_t c) {
  constexpr std::u32string_view kEnds = U".!?:;\n\u061F\u06D4\u0964\u2026\u3002\uFF01\uFF1A\uFF1B\uFF1F";
  return kEnds.find(c) != kEnds.npos;
}
inline bool is_diacritic(char32_t c) { return c >= 0x0300 && c <= 0x036F; }
inline bool is_ascii_letter(char c) { return static_cast<unsigned char>((c | 0x20) - 'a') < 26; }
inline bool is_ideographic(Script script) { return script == Script::han || script == Script::kana; }

/// Calls on_word(const Word&) for each word of a text.
template <class OnWord>
class WordReader {
 public:
  explicit WordReader(OnWord on_word) : on_word_(std::move(on_word)) {}

  void read(std::string_view text) {
    NeutralSpans neutral(text);
    std::size_t plain = 0;  // where the text that is not neutral begins
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = neutral.may_begin(at) ? neutral.end_of(at) : at;
      if (end == at) {
        ++at;
        continue;
      }
      read_plain(text.substr(plain, at - plain));
      plain = at = end;
    }
    read_plain(text.substr(plain));
  }

 private:
  /// Words are read segment by segment (see word_end). Three ways are shorter and come to the same: what is ASCII and
  /// no letter is read by itself, because no word begins with it; a run of letters that nothing can prolong is a word;
  /// and characters without a rule of their own, such as Han, are alone but for what is passed over.
  void read_plain(std::string_view text) {
    for (std::size_t at = 0; at < text.size();) {
      const char byte = text[at];
      std::size_t from = at;  // a place in the segment that word_end can start from
      if (is_ascii_letter(byte)) {
        if (const std::size_t end = end_of_ascii_letters(text, at); certainly_ends(text, end)) {
          read_ascii_word(text.substr(at, end - at));
          at = end;
          continue;
        }
      } else if (is_ascii(byte) && (at + 1 == text.size() || is_ascii(text[at + 1]))) {
        if (word_.letters == 0 || !is_apostrophe(static_cast<char32_t>(byte))) {
          end_word();
          word_.first |= ends_sentence(static_cast<char32_t>(byte));
          ++at;
          continue;
        }
      }
      CodePoint c = decode_utf8(text, at);
      CharacterClass is = class_of(c.value);
      const auto step = [&] {
        read_character(c.value, is.script);
        from = at;
        at += c.size;
        if (at == text.size()) return false;
        c = decode_utf8(text, at);
        is = class_of(c.value);
        return true;
      };
      bool whole = false;  // the segment has been read
      if (is.word_break == WordBreak::other) {
        whole = !step() || !is_passed_over(is.word_break);
      } else {
        while (is.word_break == WordBreak::letter && step()) continue;
        whole = at > from && certainly_ends(text, at);
      }
      if (!whole)
        for (const std::size_t end = word_end(text, from); at < end;) step();
      // Thai and its like know no spaces, and no boundaries in the annex: what stands together is a word.
      if (word_.script != Script::thai && word_.script != Script::other) end_word();
    }
    end_word();
  }

  static std::size_t end_of_ascii_letters(std::string_view text, std::size_t at) {
    while (at < text.size() && is_ascii_letter(text[at])) ++at;
    return at;
  }

  /// Whether nothing at `at` or behind it can belong to the word of letters before it.
  static bool certainly_ends(std::string_view text, std::size_t at) {
    if (at == text.size()) return true;
    const char c = text[at];
    if (!is_ascii(c) || is_ascii_letter(c) || (c >= '0' && c <= '9') || c == '_') return false;
    if (c != '.' && c != ':' && c != '\'') return true;
    return at + 1 == text.size() || (is_ascii(text[at + 1]) && !is_ascii_letter(text[at + 1]));
  }

  void read_ascii_word(std::string_view letters) {
    end_word();
    word_.script = Script::latin;
    word_.letters = letters.size();
    for (const char c : letters) {
      word_.capital |= c < 'a';
      word_.add(static_cast<char32_t>(c | 0x20));
    }
    end_word();
  }

  void read_character(char32_t c, Script script) {
    if (script == Script::mark) {
      if (is_diacritic(c)) word_.composed = false;
      if (is_diacritic(c)) word_.add(c);
      // The models know letters only: a vowel sign and the joiner that splits Persian words are edges to them.
      if (word_.script == Script::devanagari || c == kNonJoiner) word_.add('\'');
      return;
    }
    if (script == Script::none && is_apostrophe(c) && word_.letters > 0) return word_.add('\'');
    if (script != word_.script || is_ideographic(script)) end_word();
    word_.first |= ends_sentence(c);
    if (script == Script::none) return;
    word_.script = script;
    ++word_.letters;
    const char32_t small = small_letter(c);
    word_.capital |= small != c;
    word_.add(small);
  }

  void end_word() {
    if (word_.letters == 0 && word_.size == 0) return;
    const bool variable = word_.letters == 1 && (word_.script == Script::latin || word_.script == Script::greek);
    if (word_.letters > 0 && !variable) {
      on_word_(word_);
      word_.first = false;
    }
    word_.script = Script::none;
    word_.letters = word_.size = 0;
    word_.capital = false;
    word_.composed = true;
  }

  OnWord on_word_;
  Word word_;
};

template <class OnWord>
void for_each_word(std::string_view text, OnWord on_word) {
  WordReader<OnWord>(std::move(on_word)).read(text);
}

}  // namespace grpo
