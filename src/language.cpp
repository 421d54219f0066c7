// Which scripts the words of a text are in.
#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "grpo/reward.h"
#include "utf8.h"

namespace grpo {
namespace {

enum class Script : std::uint8_t {
  latin,
  greek,
  cyrillic,
  hebrew,
  arabic,
  devanagari,
  thai,
  hangul,
  han,
  kana,
  other,
  mark,
  none
};
constexpr std::size_t kScripts = static_cast<std::size_t>(Script::mark);  // those that words are counted in
using WordCounts = std::array<std::size_t, kScripts>;

std::size_t& words_in(WordCounts& counts, Script script) { return counts[static_cast<std::size_t>(script)]; }

struct Range {
  char32_t first, last;
  Script script;
};

/// Letters by script, ascending, after the blocks of Unicode 15. Digits, punctuation and signs inside a block are left
/// out for the scripts that languages are told by; for the rest (`other`) whole blocks are taken. `mark` is for
/// combining marks and joiners of any script, which belong to the letter before.
constexpr Range kRanges[] = {
    {U'A', U'Z', Script::latin},          {U'a', U'z', Script::latin},
    {0x00AD, 0x00AD, Script::mark},       {0x00C0, 0x00D6, Script::latin},
    {0x00D8, 0x00F6, Script::latin},      {0x00F8, 0x02AF, Script::latin},
    {0x0300, 0x036F, Script::mark},       {0x0370, 0x037D, Script::greek},
    {0x037F, 0x0386, Script::greek},      {0x0388, 0x03FF, Script::greek},
    {0x0400, 0x0481, Script::cyrillic},   {0x0483, 0x0489, Script::mark},
    {0x048A, 0x052F, Script::cyrillic},   {0x0531, 0x0587, Script::other},  // Armenian
    {0x0591, 0x05BD, Script::mark},       {0x05BF, 0x05BF, Script::mark},   // Hebrew points
    {0x05C1, 0x05C2, Script::mark},       {0x05C4, 0x05C5, Script::mark},
    {0x05C7, 0x05C7, Script::mark},       {0x05D0, 0x05F2, Script::hebrew},
    {0x0610, 0x061A, Script::mark},       {0x0620, 0x064A, Script::arabic},
    {0x064B, 0x065F, Script::mark},       {0x066E, 0x066F, Script::arabic},
    {0x0670, 0x0670, Script::mark},       {0x0671, 0x06D3, Script::arabic},
    {0x06D5, 0x06D5, Script::arabic},     {0x06D6, 0x06ED, Script::mark},
    {0x06EE, 0x06EF, Script::arabic},     {0x06FA, 0x06FF, Script::arabic},
    {0x0700, 0x074F, Script::other},      {0x0750, 0x077F, Script::arabic},  // Syriac
    {0x0780, 0x085F, Script::other},      {0x0870, 0x08C9, Script::arabic},
    {0x08CA, 0x08FF, Script::mark},       {0x0900, 0x0903, Script::mark},
    {0x0904, 0x0939, Script::devanagari}, {0x093A, 0x093C, Script::mark},
    {0x093D, 0x093D, Script::devanagari}, {0x093E, 0x094F, Script::mark},
    {0x0950, 0x0950, Script::devanagari}, {0x0951, 0x0957, Script::mark},
    {0x0958, 0x0961, Script::devanagari}, {0x0962, 0x0963, Script::mark},
    {0x0971, 0x097F, Script::devanagari}, {0x0980, 0x0DFF, Script::other},  // Bengali … Sinhala
    {0x0E01, 0x0E30, Script::thai},       {0x0E31, 0x0E31, Script::mark},
    {0x0E32, 0x0E33, Script::thai},       {0x0E34, 0x0E3A, Script::mark},
    {0x0E40, 0x0E46, Script::thai},       {0x0E47, 0x0E4E, Script::mark},
    {0x0E80, 0x10FF, Script::other},      {0x1100, 0x11FF, Script::hangul},  // Lao … Georgian; Jamo
    {0x1200, 0x1AAF, Script::other},      {0x1AB0, 0x1AFF, Script::mark},    // Ethiopic … Tai Tham
    {0x1B00, 0x1C7F, Script::other},      {0x1C80, 0x1C8F, Script::cyrillic},
    {0x1C90, 0x1CBF, Script::other},      {0x1D00, 0x1D25, Script::latin},
    {0x1DC0, 0x1DFF, Script::mark},       {0x1E00, 0x1EFF, Script::latin},
    {0x1F00, 0x1FFF, Script::greek},      {0x200C, 0x200D, Script::mark},
    {0x20D0, 0x20FF, Script::mark},       {0x2C60, 0x2C7F, Script::latin},
    {0x2D00, 0x2DDF, Script::other},      {0x2DE0, 0x2DFF, Script::mark},
    {0x2E80, 0x2FDF, Script::han},        {0x3005, 0x3005, Script::han},  // radicals; 々
    {0x3007, 0x3007, Script::han},        {0x3021, 0x3029, Script::han},
    {0x3041, 0x3096, Script::kana},       {0x3099, 0x309A, Script::mark},
    {0x309D, 0x309F, Script::kana},       {0x30A1, 0x30FA, Script::kana},
    {0x30FC, 0x30FF, Script::kana},       {0x3105, 0x312F, Script::other},  // Bopomofo
    {0x3131, 0x318E, Script::hangul},     {0x31F0, 0x31FF, Script::kana},
    {0x3400, 0x4DBF, Script::han},        {0x4E00, 0x9FFF, Script::han},
    {0xA000, 0xA63F, Script::other},      {0xA640, 0xA69F, Script::cyrillic},  // Yi, Vai
    {0xA722, 0xA7FF, Script::latin},      {0xA800, 0xA8DF, Script::other},
    {0xA8E0, 0xA8F1, Script::mark},       {0xA8F2, 0xA8FF, Script::devanagari},
    {0xA900, 0xA95F, Script::other},      {0xA960, 0xA97C, Script::hangul},
    {0xA980, 0xAB2F, Script::other},      {0xAB30, 0xAB6F, Script::latin},
    {0xAB70, 0xABFF, Script::other},      {0xAC00, 0xD7FB, Script::hangul},
    {0xF900, 0xFAFF, Script::han},        {0xFB00, 0xFB06, Script::latin},
    {0xFB13, 0xFB17, Script::other},      {0xFB1D, 0xFB4F, Script::hebrew},
    {0xFB50, 0xFD3D, Script::arabic},     {0xFD50, 0xFDFB, Script::arabic},
    {0xFE00, 0xFE0F, Script::mark},       {0xFE20, 0xFE2F, Script::mark},
    {0xFE70, 0xFEFC, Script::arabic},     {0xFF21, 0xFF3A, Script::latin},
    {0xFF41, 0xFF5A, Script::latin},      {0xFF66, 0xFF9D, Script::kana},
    {0xFF9E, 0xFF9F, Script::mark},       {0xFFA1, 0xFFDC, Script::hangul},
    {0x10000, 0x1AFFF, Script::other},    {0x1B000, 0x1B16F, Script::kana},
    {0x20000, 0x323AF, Script::han},
};

constexpr bool ascending() {
  char32_t previous = 0;
  for (const Range& range : kRanges) {
    if (range.first <= previous || range.last < range.first) return false;
    previous = range.last;
  }
  return true;
}
static_assert(ascending());

Script script_of(char32_t c) {
  const Range* range =
      std::partition_point(std::begin(kRanges), std::end(kRanges), [c](const Range& r) { return r.last < c; });
  return range != std::end(kRanges) && range->first <= c ? range->script : Script::none;
}

/// The next place where `needle` is, from ascending places on: the whole text is searched once however often it is
/// asked.
class Next {
 public:
  Next(std::string_view text, std::string_view needle) : text_(text), needle_(needle) {}
  std::size_t from(std::size_t at) {
    if (!found_ || *found_ < at) found_ = text_.find(needle_, at);
    return *found_;
  }

 private:
  std::string_view text_, needle_;
  std::optional<std::size_t> found_;
};

/// Finds what is neutral whatever letters it is made of: mathematics, code, URLs, tags.
class NeutralSpans {
 public:
  explicit NeutralSpans(std::string_view text) : text_(text) {}

  /// The end of the neutral span that starts at `at`, or `at` when none does. To be asked of ascending places;
  /// `in_word` says that a letter stands right before.
  std::size_t end_of(std::size_t at, bool in_word) {
    switch (text_[at]) {
      case '\\':
        return end_of_latex(at);
      case '$':
        return end_of_dollars(at);
      case '`':
        return end_of_code(at);
      case '<':
        return end_of_tag(at);
      case 'h':
      case 'w':
        return in_word ? at : end_of_url(at);
      default:
        return at;
    }
  }

 private:
  bool starts_with(std::size_t at, std::string_view what) const { return text_.substr(at, what.size()) == what; }
  char char_at(std::size_t at) const { return at < text_.size() ? text_[at] : '\0'; }
  static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
  static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

  std::size_t end_of_latex(std::size_t at) {
    const char next = char_at(at + 1);
    if (next == '(' || next == '[') {
      const std::size_t close = (next == '(' ? parenthesis_ : bracket_).from(at + 2);
      return close == text_.npos ? at + 2 : close + 2;
    }
    if (!is_letter(next)) return at + (static_cast<unsigned char>(next) < 0x80 && next != '\0' ? 2 : 1);
    std::size_t end = at + 1;
    while (is_letter(char_at(end))) ++end;
    const std::string_view command = text_.substr(at + 1, end - at - 1);
    if ((command == "begin" || command == "end") && char_at(end) == '{') {  // the environment's name is no word
      std::size_t close = end + 1;
      while (is_letter(char_at(close)) || char_at(close) == '*') ++close;
      if (char_at(close) == '}') return close + 1;
    }
    return end;
  }

  /// As in Pandoc: the opening $ stands before, the closing one behind something that is no space, and no digit follows
  /// it, so that "$5 or $6" is money. A formula does not run over an empty line.
  std::size_t end_of_dollars(std::size_t at) {
    if (char_at(at + 1) == '$') {
      const std::size_t close = double_dollar_.from(at + 2);
      return close == text_.npos || paragraph_.from(at) < close ? at + 2 : close + 2;
    }
    if (at + 1 >= text_.size() || is_space(text_[at + 1])) return at + 1;
    if (dollar_ < at + 2) {
      dollar_ = at + 2;
      while (dollar_ < text_.size() && !closes_formula(dollar_)) ++dollar_;
    }
    return dollar_ >= text_.size() || paragraph_.from(at) < dollar_ ? at + 1 : dollar_ + 1;
  }
  bool closes_formula(std::size_t at) const {
    const char after = char_at(at + 1);
    return text_[at] == '$' && !is_space(text_[at - 1]) && text_[at - 1] != '\\' && !(after >= '0' && after <= '9');
  }

  std::size_t end_of_code(std::size_t at) {
    const std::size_t quotes = std::min(text_.find_first_not_of('`', at), text_.size()) - at;
    const std::size_t body = at + quotes;
    if (quotes >= 3) {
      const std::size_t close = fence_.from(body);
      return close == text_.npos ? body : close + 3;
    }
    const std::size_t close = (quotes == 1 ? quote_ : double_quote_).from(body);
    return close == text_.npos || paragraph_.from(at) < close ? body : close + quotes;
  }

  std::size_t end_of_tag(std::size_t at) const {
    for (const std::string_view tag : {"<think>", "</think>", "<answer>", "</answer>"})
      if (starts_with(at, tag)) return at + tag.size();
    return at;
  }

  std::size_t end_of_url(std::size_t at) const {
    if (!starts_with(at, "http://") && !starts_with(at, "https://") && !starts_with(at, "www.")) return at;
    while (at < text_.size() && text_[at] > ' ' && text_[at] <= '~' && text_[at] != '<' && text_[at] != '`') ++at;
    return at;
  }

  std::string_view text_;
  Next parenthesis_{text_, "\\)"}, bracket_{text_, "\\]"}, double_dollar_{text_, "$$"}, paragraph_{text_, "\n\n"};
  Next fence_{text_, "```"}, double_quote_{text_, "``"}, quote_{text_, "`"};
  std::size_t dollar_ = 0;  // the last closing $ that was found, or the size of the text
};

bool is_apostrophe(char32_t c) { return c == '\'' || c == 0x2019 || c == 0x02BC; }

WordCounts count_words(std::string_view text) {
  WordCounts counts{};
  NeutralSpans neutral(text);
  Script script = Script::none;  // of the word that is being read
  std::size_t letters = 0;       // in it so far
  const auto end_word = [&] {
    const bool variable = letters == 1 && (script == Script::latin || script == Script::greek);
    if (letters > 0 && !variable) ++words_in(counts, script);
    letters = 0;
  };
  for (std::size_t at = 0; at < text.size();) {
    if (const std::size_t end = neutral.end_of(at, letters > 0); end > at) {
      end_word();
      at = end;
      continue;
    }
    const CodePoint c = decode_utf8(text, at);
    at += c.size;
    const Script here = script_of(c.value);
    if (here == Script::mark) continue;
    if (is_apostrophe(c.value) && letters > 0 && at < text.size() && script_of(decode_utf8(text, at).value) == script)
      continue;
    if (here != script || here == Script::none) end_word();
    if (here == Script::none) continue;
    script = here;
    if (here == Script::han || here == Script::kana) {
      ++words_in(counts, here);
    } else {
      ++letters;
    }
  }
  end_word();
  return counts;
}

struct Language {
  Script script;
  std::string_view codes;  // ISO 639-1, a space around each
};
constexpr Language kLanguages[] = {
    {Script::latin,
     " en af ca cs cy da de es et eu fi fr ga gl hr hu id is it lt lv ms mt nl no pl pt ro sk sl sq sv sw tl tr vi "},
    {Script::greek, " el "},
    {Script::cyrillic, " ru be bg kk ky mk mn sr tg uk "},
    {Script::hebrew, " he yi "},
    {Script::arabic, " ar fa ps ur "},
    {Script::devanagari, " hi mr ne "},
    {Script::thai, " th "},
    {Script::hangul, " ko "},
    {Script::han, " zh "},
    {Script::kana, " ja "},
};

Script script_of_language(std::string_view language) {
  const std::string_view code = language.substr(0, language.find_first_of("-_"));
  const std::string wanted = " " + std::string(code) + " ";
  std::string known;
  for (const Language& each : kLanguages) {
    if (code.find(' ') == code.npos && !code.empty() && each.codes.find(wanted) != each.codes.npos) return each.script;
    known += each.codes.substr(1);
  }
  known.pop_back();
  throw Error("reward", "expected a language code (", known, "), got \"", language, "\"; mend the task's language");
}

}  // namespace

LanguageCount count_language(std::string_view text, std::string_view language) {
  const Script script = script_of_language(language);
  WordCounts words = count_words(text);
  LanguageCount count{words_in(words, script), 0};
  if (script == Script::kana) count.target += words_in(words, Script::han);  // Japanese is written in both
  for (const std::size_t each : words) count.other += each;
  count.other -= count.target;
  return count;
}

Score language_consistency(std::string_view reasoning, std::string_view language) {
  if (language.empty()) return Score::undefined();
  const LanguageCount count = count_language(reasoning, language);
  if (count.target + count.other == 0) return Score::undefined();
  return static_cast<double>(count.target) / static_cast<double>(count.target + count.other);
}

bool mixes_languages(std::string_view reasoning) {
  WordCounts words = count_words(reasoning);
  words_in(words, Script::kana) += words_in(words, Script::han);
  words_in(words, Script::han) = 0;
  return std::count_if(words.begin(), words.end(), [](std::size_t count) { return count > 0; }) > 1;
}

}  // namespace grpo
