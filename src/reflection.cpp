// Signs that a completion re-checks itself.
#include <array>
#include <string_view>

#include "grpo/reward.h"
#include "utf8.h"

namespace grpo {
namespace {

/// Whole words in either case; a space stands for any white space.
constexpr std::array<std::string_view, 11> kLatin{
    "wait",         "hmm",         "hmmm",         "recheck",       "re-check",         "double-check",
    "double check", "check again", "let me check", "let me verify", "on second thought"};
/// These begin a word: 잠깐만 and 다시 한번, but not 알다시피 ("as you know").
constexpr std::array<std::string_view, 3> kHangul{"잠깐", "다시", "재확인"};
/// Anywhere: no spaces between words.
constexpr std::array<std::string_view, 7> kHanAndKana{"等等", "等一下", "检查", "檢查", "再想", "待って", "もう一度"};

bool is_word_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool starts_with_phrase(std::string_view text, std::size_t at, std::string_view phrase) {
  for (const char wanted : phrase) {
    if (at == text.size()) return false;
    if (wanted == ' ') {
      const std::size_t next = skip_white_space(text, at);
      if (next == at) return false;
      at = next;
    } else {
      const char c = text[at++];
      if ((c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c) != wanted) return false;
    }
  }
  return at == text.size() || !is_word_char(text[at]);
}

bool is_hangul_syllable(char32_t c) { return c >= 0xAC00 && c <= 0xD7A3; }

}  // namespace

bool reflects(std::string_view text) {
  char32_t before = ' ';
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    const std::string_view rest = text.substr(at);
    if (c.value < 0x80) {
      if (is_word_char(text[at]) && (before >= 0x80 || !is_word_char(static_cast<char>(before))))
        for (const std::string_view phrase : kLatin)
          if (starts_with_phrase(text, at, phrase)) return true;
    } else {
      if (!is_hangul_syllable(before))
        for (const std::string_view word : kHangul)
          if (rest.starts_with(word)) return true;
      for (const std::string_view word : kHanAndKana)
        if (rest.starts_with(word)) return true;
    }
    before = c.value;
    at += c.size;
  }
  return false;
}

}  // namespace grpo
