#include "rewards/built_in.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <vector>

#include "answers/reading.h"
#include "grpo/error.h"
#include "grpo/instructions.h"
#include "grpo/language.h"
#include "grpo/text_rewards.h"
#include "rewards/pattern.h"
#include "text/ascii.h"
#include "text/letter_case.h"
#include "text/unicode_form.h"
#include "text/utf8.h"

namespace grpo {

double repeated_share(std::span<const std::int32_t> tokens, int n) {
  const auto size = static_cast<std::size_t>(n);
  if (n < 1 || tokens.size() < size) return 0.0;
  // Rolling hashes of 64 bits in an open table: two different n-grams that meet in one are not to be expected.
  constexpr std::uint64_t kBase = 0x9E3779B97F4A7C15;
  const auto code = [&](std::size_t i) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(tokens[i])) + 1;
  };
  std::uint64_t leaving = 1, hash = 0;
  for (std::size_t i = 0; i < size; ++i) {
    hash = hash * kBase + code(i);
    leaving *= kBase;
  }
  const std::size_t total = tokens.size() - size + 1, slots = std::bit_ceil(2 * total);
  std::vector<std::uint64_t> seen(slots, 0);
  std::size_t repeated = 0;
  for (std::size_t start = 0;; ++start) {
    const std::uint64_t key = std::max<std::uint64_t>(hash, 1);  // 0: a free slot
    std::size_t slot = (key ^ key >> 29) * kBase >> 20 & (slots - 1);
    while (seen[slot] != 0 && seen[slot] != key) slot = (slot + 1) & (slots - 1);
    repeated += seen[slot] == key;
    seen[slot] = key;
    if (start + size == tokens.size()) break;
    hash = hash * kBase + code(start + size) - leaving * code(start);
  }
  return static_cast<double>(repeated) / static_cast<double>(total);
}

double cosine_length_reward(bool right, std::int64_t length, const TextRewardsConfig& config) {
  if (length >= config.length_max) return config.length_exceeded;
  const double from = right ? config.length_right_short : config.length_wrong_short;
  const double to = right ? config.length_right_long : config.length_wrong_long;
  const double way = static_cast<double>(length) / static_cast<double>(config.length_max);
  return to + 0.5 * (from - to) * (1 + std::cos(std::numbers::pi * way));
}

std::string normalized_text(std::string_view text) {
  std::string storage;
  std::string form = to_lower(normalize(UnicodeForm::nfkc, valid_utf8(unwrap_answer(text), storage)));
  std::size_t size = 0;
  for (std::size_t at = skip_white_space(form); at < form.size();) {
    if (form[at] > ' ') {  // no white space, and by far the most frequent
      form[size++] = form[at++];
      continue;
    }
    const std::size_t next = skip_white_space(form, at);
    if (next == form.size()) break;
    if (next > at) {
      form[size++] = ' ';
      at = next;
      continue;
    }
    for (std::size_t left = decode_utf8(form, at).size; left > 0; --left) form[size++] = form[at++];
  }
  form.resize(size);
  return form;
}

// ---- Multiple choice ------------------------------------------------------------------------------------------------

namespace {

/// Whether a letter beside it is part of a Latin word, and no letter of its own. Han and Hangul stand beside letters
/// without a space.
constexpr bool in_word(char32_t c) {
  return (c < 0x80 && (is_letter(static_cast<char>(c)) || is_digit(static_cast<char>(c)) || c == '_')) ||
         (c >= 0xC0 && c < 0x370);
}

char32_t code_point_before(std::string_view text, std::size_t at) {
  std::size_t start = at - 1;
  while (start > 0 && at - start < 4 && (text[start] & 0xC0) == 0x80) --start;
  return decode_utf8(text, start).value;
}

/// Whether `text` up to `at` ends in words that announce a choice.
bool is_announced(std::string_view text, std::size_t at) {
  constexpr std::string_view kCues[] = {"answer is", "answer", "option", "choice", "choose", "select",
                                        "답은",      "정답",   "答案是", "答案",   "选",     "正解は"};
  std::string before(text.substr(at > 32 ? at - 32 : 0, at > 32 ? 32 : at));
  while (!before.empty() && std::string_view(" \t\n:*({[\"'$").find(before.back()) != std::string_view::npos)
    before.pop_back();
  before = lowered(before);
  return std::any_of(std::begin(kCues), std::end(kCues), [&](std::string_view cue) { return before.ends_with(cue); });
}

}  // namespace

char chosen_letter(std::string_view text) {
  text = unwrap_answer(text);
  for (const std::string_view wrapping : {"\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{"})
    if (text.starts_with(wrapping) && text.ends_with('}'))
      text = text.substr(wrapping.size(), text.size() - wrapping.size() - 1);
  constexpr std::string_view kAround = " \t\r\n*()[]{}.:\"'$`";
  const std::size_t first = text.find_first_not_of(kAround);
  if (first == text.npos) return '\0';
  if (text.find_last_not_of(kAround) == first) {  // one letter alone may also be a small one
    const char c = static_cast<char>(text[first] & ~0x20);
    return is_letter(text[first]) && c <= 'J' ? c : '\0';
  }
  char chosen = '\0';
  bool marked = false;  // some place shows it as an option, not as a letter in a sentence
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] < 'A' || text[at] > 'J' || (at > 0 && in_word(code_point_before(text, at)))) continue;
    const char next = at + 1 < text.size() ? text[at + 1] : '.';
    if (at + 1 < text.size() && in_word(decode_utf8(text, at + 1).value)) continue;
    if (next == '\'' && at + 2 < text.size() && is_letter(text[at + 2])) continue;  // I'm
    const bool announced = is_announced(text, at);
    const bool leads = at == first && std::string_view(".):*]").find(next) != std::string_view::npos;
    const bool bracketed = at > 0 && std::string_view("([{").find(text[at - 1]) != std::string_view::npos &&
                           std::string_view(")]}").find(next) != std::string_view::npos;
    const bool before_word = next == ' ' && at + 2 < text.size() && text[at + 2] >= 'a' && text[at + 2] <= 'z';
    if ((text[at] == 'A' || text[at] == 'I') && before_word && !announced) continue;  // "A dog", "I think"
    if (chosen != '\0' && chosen != text[at]) return '\0';
    chosen = text[at];
    marked |= announced || leads || bracketed;
  }
  return marked ? chosen : '\0';
}

// ---- The rewards ----------------------------------------------------------------------------------------------------

namespace {

/// What is to be judged: the answer, or where the form is broken and that is allowed, the answer found loosely.
std::string_view answer_of(const Completion& completion, bool needs_format) {
  return completion.answer.empty() && !needs_format ? loose_answer(completion.text) : completion.answer;
}

/// A reward of 1 or 0 that needs a reference answer.
template <class F>
BuiltInReward make_answer_check(const RewardsConfig& config, F check) {
  return [needs_format = config.accuracy_needs_format, check](const Task& task, const Completion& completion,
                                                              const Scores&) -> Score {
    if (task.answer.empty()) return Score::undefined();
    return check(task, answer_of(completion, needs_format)) ? 1.0 : 0.0;
  };
}

BuiltInReward make_repetition(const RewardsConfig& config) {
  return [n = config.text.repetition_ngram, most = config.text.repetition_most](
             const Task&, const Completion& completion, const Scores&) -> Score {
    return -most * repeated_share(completion.tokens, n);  // of all tokens: a broken form is no way around it
  };
}

BuiltInReward make_length(const RewardsConfig& config) {
  return [text = config.text](const Task&, const Completion& completion, const Scores& scores) -> Score {
    const Score& right = scores.at("accuracy");
    if (!right.defined()) return Score::undefined();
    if (completion.finish == Finish::length) return text.length_exceeded;
    return cosine_length_reward(right.value() > 0, static_cast<std::int64_t>(completion.tokens.size()), text);
  };
}

BuiltInReward make_reflection(const RewardsConfig& config) {
  return [most = static_cast<std::size_t>(config.text.reflection_most)](const Task&, const Completion& completion,
                                                                        const Scores&) -> Score {
    const std::string_view text = completion.reasoning.empty() ? completion.text : completion.reasoning;
    return static_cast<double>(std::min(count_reflections(text), most));
  };
}

BuiltInReward make_instructions(const RewardsConfig& config) {
  return [needs_format = config.accuracy_needs_format, think_open = config.think_open](
             const Task& task, const Completion& completion, const Scores&) -> Score {
    if (task.answer.empty()) return Score::undefined();
    std::string_view response = completion.answer;
    if (response.empty() && !needs_format) {  // a response, not an answer somewhere in it: all but the reasoning
      constexpr std::string_view kClose = "</think>";
      const std::size_t close = completion.text.rfind(kClose);
      response = completion.text;
      if (close == completion.text.npos && think_open) return 0.0;  // it never came to a response
      if (close != completion.text.npos) response.remove_prefix(close + kClose.size());
    }
    return Instructions(task.answer, "answer").followed(response, identify_language) ? 1.0 : 0.0;
  };
}

BuiltInReward make_exact(const RewardsConfig& config) {
  return make_answer_check(config, [](const Task& task, std::string_view answer) {
    const std::string given = normalized_text(answer);
    return !given.empty() && given == normalized_text(task.answer);
  });
}

BuiltInReward make_regex(const RewardsConfig& config) {
  return make_answer_check(config, [](const Task& task, std::string_view answer) {
    const Pattern pattern(task.answer, Pattern::Case::matters, "answer");
    std::string storage;
    return !trim(answer).empty() && pattern.matches_all_of(valid_utf8(trim(answer), storage)) == true;
  });
}

BuiltInReward make_choice(const RewardsConfig& config) {
  return make_answer_check(config, [](const Task& task, std::string_view answer) {
    const std::string_view wanted = trim(task.answer);
    if (wanted.size() != 1 || wanted[0] < 'A' || wanted[0] > 'J')
      throw Error("reward", "expected a letter from A to J as the answer of a choice, got \"", wanted.substr(0, 100),
                  "\"; mend the task's answer");
    return chosen_letter(answer) == wanted[0];
  });
}

}  // namespace

std::span<const std::pair<std::string_view, MakeReward>> text_rewards() {
  static constexpr std::pair<std::string_view, MakeReward> kRewards[] = {
      {"choice", make_choice},         {"exact", make_exact}, {"instructions", make_instructions},
      {"length", make_length},         {"regex", make_regex}, {"reflection", make_reflection},
      {"repetition", make_repetition},
  };
  return kRewards;
}

}  // namespace grpo
