#include "grpo/verdict.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <iterator>

#include "grpo/reward.h"
#include "rewards/quoting.h"
#include "text/fill.h"
#include "text/utf8.h"

namespace grpo {
namespace {

// The question as this task is asked it: the places that are left are for text from elsewhere.
std::string question_of(const JudgeConfig& config, const std::string& words, const Task& task) {
  return fill(words, {{"{reference}", task.answer.empty() ? "" : config.reference},
                      {"{max}", std::to_string(config.max_score)}});
}

struct Range {
  char32_t first, last;
};

/// Beyond ASCII, ascending: controls, punctuation, symbols, marks that stand on a letter, and letters that are blank.
constexpr Range kNoSubstance[] = {
    {0x0080, 0x00BF}, {0x00D7, 0x00D7}, {0x00F7, 0x00F7}, {0x02B0, 0x036F},  // Latin signs, combining marks
    {0x037E, 0x037E}, {0x0387, 0x0387}, {0x055A, 0x055F}, {0x0589, 0x058F},  // Greek, Armenian
    {0x0591, 0x05C7}, {0x05F3, 0x05F4}, {0x0600, 0x061F}, {0x064B, 0x065F},  // Hebrew, Arabic
    {0x066A, 0x066D}, {0x06D4, 0x06D4}, {0x0964, 0x0965}, {0x0970, 0x0970},  // Devanagari
    {0x0E3F, 0x0E3F}, {0x0E4F, 0x0E4F}, {0x0E5A, 0x0E5B}, {0x115F, 0x1160},  // Thai, Hangul fillers
    {0x1360, 0x1368}, {0x17D4, 0x17DA}, {0x180B, 0x180E}, {0x2000, 0x2BFF},  // general punctuation to symbols
    {0x2E00, 0x2E7F}, {0x3000, 0x3004}, {0x3008, 0x3020}, {0x302A, 0x3030},  // CJK
    {0x303D, 0x303F}, {0x3099, 0x30A0}, {0x30FB, 0x30FB}, {0x3164, 0x3164}, {0xD800, 0xF8FF},   {0xFE00, 0xFE6F},
    {0xFEFF, 0xFF0F}, {0xFF1A, 0xFF20},  // full and half width
    {0xFF3B, 0xFF40}, {0xFF5B, 0xFF65}, {0xFFA0, 0xFFA0}, {0xFFE0, 0xFFFF}, {0x1F000, 0x1FAFF}, {0xE0000, 0xFFFFFFFF},
};

// A letter or digit of any script: what an answer is made of.
bool is_substance(char32_t c) {
  if (c < 0x80) return std::isalnum(static_cast<unsigned char>(c)) != 0;
  if (c == kBrokenUtf8 || is_white_space(c)) return false;
  const Range* range = std::partition_point(std::begin(kNoSubstance), std::end(kNoSubstance),
                                            [c](const Range& r) { return r.last < c; });
  return range == std::end(kNoSubstance) || c < range->first;
}

struct Substance {
  std::string text;  // the letters and digits alone
  std::size_t characters = 0;
};
Substance substance_of(std::string_view text) {
  Substance substance;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    if (is_substance(c.value)) substance.text += text.substr(at, c.size), ++substance.characters;
    at += c.size;
  }
  return substance;
}

void require_places(const char* key, const std::string& text, std::initializer_list<std::string_view> places) {
  for (const std::string_view place : places)
    if (text.find(place) == std::string::npos)
      throw Error("judge", key, ": expected the place ", place, " in the question, got \"", text, '"');
}

}  // namespace

void JudgeConfig::validate() const {
  require_places("helpful", helpful, {"{prompt}", "{answer}"});
  require_places("harmless", harmless, {"{prompt}", "{answer}"});
  require_places("pairwise", pairwise, {"{prompt}", "{a}", "{b}"});
  require_places("reference", reference, {"{reference}"});
}

std::string rating_prompt(const JudgeConfig& config, Rubric rubric, const Task& task, std::string_view answer) {
  return fill_quoted(question_of(config, rubric == Rubric::helpful ? config.helpful : config.harmless, task),
                     {{"{prompt}", task.prompt}, {"{answer}", answer}, {"{reference}", task.answer}});
}

std::string comparison_prompt(const JudgeConfig& config, const Task& task, std::string_view a, std::string_view b) {
  return fill_quoted(question_of(config, config.pairwise, task),
                     {{"{prompt}", task.prompt}, {"{a}", a}, {"{b}", b}, {"{reference}", task.answer}});
}

std::optional<int> read_rating(std::string_view verdict, int max_score, bool think_open) {
  const FormatReading form = read_format(verdict, think_open);
  const std::string_view digits = trim(form.answer);
  if (!form.valid || digits.empty() || digits.size() > 4) return std::nullopt;
  int value = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    value = 10 * value + (c - '0');
  }
  return value <= max_score ? std::optional<int>(value) : std::nullopt;
}

std::optional<Choice> read_choice(std::string_view verdict, bool think_open) {
  const FormatReading form = read_format(verdict, think_open);
  const std::string_view word = trim(form.answer);
  if (!form.valid) return std::nullopt;
  if (word == "A") return Choice::a;
  if (word == "B") return Choice::b;
  return word == "tie" ? std::optional<Choice>(Choice::tie) : std::nullopt;
}

bool says_nothing(std::string_view answer, const std::vector<std::string>& boilerplate) {
  const Substance said = substance_of(answer);
  return said.characters <= 1 || std::any_of(boilerplate.begin(), boilerplate.end(), [&](const std::string& opening) {
           return substance_of(opening).text == said.text;
         });
}

}  // namespace grpo
