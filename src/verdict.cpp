#include "grpo/verdict.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>

#include "fill.h"
#include "grpo/reward.h"
#include "utf8.h"

namespace grpo {
namespace {

std::string reference_part(const JudgeConfig& config, const Task& task) {
  return task.answer.empty() ? "" : fill(config.reference, {{"{reference}", task.answer}});
}

// A letter or digit of any script: what an answer is made of. Beyond ASCII everything but white space and the general
// punctuation and symbol blocks counts.
bool is_substance(char32_t c) {
  if (c < 0x80) return std::isalnum(static_cast<unsigned char>(c)) != 0;
  if (c == kBrokenUtf8 || is_white_space(c)) return false;
  return !(c < 0xC0 || (c >= 0x2000 && c < 0x2C00) || (c >= 0x3000 && c < 0x3040) || (c >= 0xFE10 && c < 0xFE70) || (c >= 0xFF00 && c < 0xFF10));
}

std::size_t substance_of(std::string_view text) {
  std::size_t characters = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    characters += is_substance(c.value);
    at += c.size;
  }
  return characters;
}

void require_places(const char* key, const std::string& text, std::initializer_list<std::string_view> places) {
  for (const std::string_view place : places)
    if (text.find(place) == std::string::npos) throw Error("judge", key, ": expected the place ", place, " in the question, got \"", text, '"');
}

}  // namespace

void JudgeConfig::validate() const {
  if (votes < 1 || votes > 1000) throw Error("judge", "votes: expected 1 to 1000, got ", votes);
  if (max_score < 1 || max_score > 1000) throw Error("judge", "max_score: expected 1 to 1000, got ", max_score);
  if (max_new_tokens < 1) throw Error("judge", "max_new_tokens: expected at least 1, got ", max_new_tokens);
  if (!(max_unreadable >= 0 && max_unreadable <= 1)) throw Error("judge", "max_unreadable: expected a share from 0 to 1, got ", max_unreadable);
  require_places("helpful", helpful, {"{prompt}", "{answer}"});
  require_places("harmless", harmless, {"{prompt}", "{answer}"});
  require_places("pairwise", pairwise, {"{prompt}", "{a}", "{b}"});
  require_places("reference", reference, {"{reference}"});
}

std::string rating_prompt(const JudgeConfig& config, Rubric rubric, const Task& task, std::string_view answer) {
  return fill(rubric == Rubric::helpful ? config.helpful : config.harmless,
              {{"{prompt}", task.prompt}, {"{answer}", answer}, {"{reference}", reference_part(config, task)}, {"{max}", std::to_string(config.max_score)}});
}

std::string comparison_prompt(const JudgeConfig& config, const Task& task, std::string_view a, std::string_view b) {
  return fill(config.pairwise, {{"{prompt}", task.prompt}, {"{a}", a}, {"{b}", b}, {"{reference}", reference_part(config, task)}});
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
  const std::string_view text = trim(answer);
  if (substance_of(text) <= 1) return true;
  return std::any_of(boilerplate.begin(), boilerplate.end(), [&](const std::string& opening) {
    return text.starts_with(opening) && substance_of(text.substr(opening.size())) == 0;
  });
}

}  // namespace grpo
