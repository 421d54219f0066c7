// Signs that a completion re-checks itself.
#include <array>
#include <string_view>

#include "grpo/reward.h"
#include "text/ascii.h"
#include "text/utf8.h"

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

constexpr bool is_word_char(char c) {
  return is_letter(c) || is_digit(c) || c == '_';
}

/// Where `phrase` ends that starts at `text[at]`, or npos.
std::size_t end_of_phrase(std::string_view text, std::size_t at, std::string_view phrase) {
  for (const char wanted : phrase) {
    if (at == text.size()) return text.npos;
    if (wanted == ' ') {
      const std::size_t next = skip_white_space(text, at);
      if (next == at) return text.npos;
      at = next;
    } else {
      if (lower(text[at++]) != wanted) return text.npos;
    }
  }
  return at == text.size() || !is_word_char(text[at]) ? at : text.npos;
}

bool is_hangul_syllable(char32_t c) { return c >= 0xAC00 && c <= 0xD7A3; }

/// Whether a Latin phrase may begin with these two letters: few words do, and each is asked.
bool may_begin(char first, char second) {
  static constexpr auto kPairs = [] {
    std::array<bool, 1024> pairs{};
    for (const std::string_view phrase : kLatin)
      pairs[static_cast<std::size_t>((phrase[0] & 31) << 5 | (phrase[1] & 31))] = true;
    return pairs;
  }();
  return kPairs[static_cast<std::size_t>((first & 31) << 5 | (second & 31))];
}

/// One past the first phrase at or after `from`, or npos.
std::size_t find_phrase(std::string_view text, std::size_t from) {
  bool in_latin_word = false, behind_hangul = false;
  for (std::size_t at = from; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      if (!in_latin_word && at + 1 < text.size() && may_begin(text[at], text[at + 1]))
        for (const std::string_view phrase : kLatin)
          if (const std::size_t end = end_of_phrase(text, at, phrase); end != text.npos) return end;
      in_latin_word = is_word_char(text[at]);
      behind_hangul = false;
      ++at;
      continue;
    }
    const CodePoint c = decode_utf8(text, at);
    const std::string_view rest = text.substr(at);
    if (is_hangul_syllable(c.value)) {
      if (!behind_hangul)
        for (const std::string_view word : kHangul)
          if (rest.starts_with(word)) return at + word.size();
      behind_hangul = true;
    } else {
      for (const std::string_view word : kHanAndKana)
        if (rest.starts_with(word)) return at + word.size();
      behind_hangul = false;
    }
    in_latin_word = false;
    at += c.size;
  }
  return text.npos;
}

}  // namespace

bool reflects(std::string_view text) { return find_phrase(text, 0) != text.npos; }

std::size_t count_reflections(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = find_phrase(text, at)) != text.npos;) ++count;
  return count;
}

}  // namespace grpo
