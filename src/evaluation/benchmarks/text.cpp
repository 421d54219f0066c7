#include "evaluation/benchmarks/text.h"

#include <algorithm>
#include <array>
#include <utility>

#include "grpo/benchmarks.h"
#include "text/ascii.h"
#include "text/unicode_word.h"
#include "text/utf8.h"

namespace grpo {
namespace {

bool is_choice(char c, char last) { return c >= 'A' && c <= last; }
bool is_blank(char c) { return c == ' ' || c == '\t'; }

/// Where `word`, which is in small letters, begins at or after `from` in any case; npos when nowhere.
std::size_t find_word(std::string_view text, std::string_view word, std::size_t from = 0) {
  const auto found = std::search(text.begin() + static_cast<std::ptrdiff_t>(std::min(from, text.size())), text.end(),
                                 word.begin(), word.end(), [](char a, char b) { return (a | 0x20) == b; });
  return found == text.end() ? text.npos : static_cast<std::size_t>(found - text.begin());
}

/// The position behind the marks that may stand before an answer.
std::size_t skip_marks(std::string_view text, std::size_t at) {
  constexpr std::string_view kMarks[] = {"**",        "$",         "\\(",       "\\[",     "\\boxed{", "\\text{",
                                         "\\mathrm{", "\\mathbf{", "\\textbf{", "\\fbox{", "(",        "（",
                                         "【",        "[",         "“",         "\"",      "`"};
  for (bool more = true; more && at < text.size();) {
    more = is_blank(text[at]);
    at += more;
    for (const std::string_view mark : kMarks)
      if (!more && text.substr(at).starts_with(mark)) at += mark.size(), more = true;
  }
  return at;
}

}  // namespace

std::string_view after_thinking(std::string_view text, bool think_open) {
  constexpr std::string_view kEnd = "</think>";
  if (const std::size_t end = text.rfind(kEnd); end != text.npos) return text.substr(end + kEnd.size());
  return think_open || text.find("<think>") != text.npos ? std::string_view() : text;
}

std::string_view shown_answer(std::string_view text, bool think_open) {
  constexpr std::string_view kOpen = "<answer>", kClose = "</answer>";
  text = after_thinking(text, think_open);
  if (const std::size_t close = text.rfind(kClose); close != text.npos)
    if (const std::size_t open = text.substr(0, close).rfind(kOpen); open != text.npos)
      text = text.substr(open + kOpen.size(), close - open - kOpen.size());
  return trim(text);
}

char leading_choice(std::string_view text, char last) {
  const std::size_t at = skip_marks(text, 0);
  if (at >= text.size() || !is_choice(text[at], last)) return '\0';
  return at + 1 < text.size() && is_letter(text[at + 1]) ? '\0' : text[at];
}

char bare_choice(std::string_view text, char last) {
  text = trim(text);
  const char choice = leading_choice(text, last);
  if (choice == '\0') return choice;
  const std::string_view rest = text.substr(skip_marks(text, 0) + 1);
  return rest.find_first_not_of(" \t)}.$*]\\`\"") == rest.npos ? choice : '\0';
}

char choice_after_answer(std::string_view text, char last) {
  constexpr std::string_view kAnswer = "answer";
  for (std::size_t at = find_word(text, kAnswer); at != text.npos; at = find_word(text, kAnswer, at + 1)) {
    std::size_t colon = at + kAnswer.size();
    while (colon < text.size() && (is_blank(text[colon]) || text[colon] == '*')) ++colon;
    if (colon >= text.size() || text[colon] != ':') continue;
    if (const char choice = leading_choice(text.substr(colon + 1), last)) return choice;
  }
  return '\0';
}

char mmlu_pro_choice(std::string_view raw) {
  std::string text;  // without bold marks
  for (std::size_t at = 0; at < raw.size(); ++at) {
    if (raw.substr(at).starts_with("**"))
      ++at;
    else
      text += raw[at];
  }
  constexpr std::string_view kIs = "answer is ", kColon = "nswer:";
  for (std::size_t at = text.find(kIs); at != text.npos; at = text.find(kIs, at + 1)) {
    std::size_t letter = at + kIs.size();
    if (letter < text.size() && text[letter] == '(') ++letter;
    if (letter < text.size() && is_choice(text[letter], 'J')) return text[letter];
  }
  char found = '\0';
  std::size_t line = 0;  // the first one that has such an answer: its end
  for (std::size_t at = text.find(kColon); at != text.npos; at = text.find(kColon, at + 1)) {
    if (found && at > line) break;
    if (at == 0 || (text[at - 1] | 0x20) != 'a') continue;
    const std::size_t letter = skip_python_space(text, at + kColon.size());
    if (letter >= text.size() || !is_choice(text[letter], 'J')) continue;
    if (!found) line = std::min(text.find('\n', at), text.size());
    found = text[letter];
  }
  if (found) return found;
  bool word_before = false;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    const std::size_t after = at + c.size;
    const bool word_after = after < text.size() && is_word_character(decode_utf8(text, after).value);
    if (c.size == 1 && is_choice(text[at], 'J') && !word_before && !word_after) found = text[at];
    word_before = is_word_character(c.value);
    at = after;
  }
  return found;
}

char choice_in_json(std::string_view text, char last) {
  constexpr std::string_view kKey = "\"answer\"";
  for (std::size_t at = text.rfind(kKey); at != text.npos; at = at == 0 ? text.npos : text.rfind(kKey, at - 1)) {
    std::size_t value = skip_white_space(text, at + kKey.size());
    if (value >= text.size() || text[value] != ':') continue;
    value = skip_white_space(text, value + 1);
    if (value >= text.size() || text[value] != '"') continue;
    const std::size_t end = text.find('"', value + 1);
    if (end != text.npos) return bare_choice(text.substr(value + 1, end - value - 1), last);
  }
  return '\0';
}

std::string_view after_chinese_answer(std::string_view text) {
  constexpr std::string_view kAnswer = "答案";
  constexpr std::string_view kPassed[] = {"：", ":", "是", "为", "应选", "选", "**"};
  const std::size_t found = text.rfind(kAnswer);
  if (found == text.npos) return {};
  std::size_t at = found + kAnswer.size();
  // 答案：是 says yes: behind a colon nothing but white space is passed over.
  for (bool more = true, colon = false; more && at < text.size();) {
    const std::size_t start = at;
    at = skip_white_space(text, at);
    for (const std::string_view each : kPassed)
      if (text.substr(at).starts_with(each) && (!colon || each == "**")) {
        colon = colon || each == "：" || each == ":";
        at += each.size();
        break;
      }
    more = at > start;
  }
  return text.substr(at);
}

std::optional<std::string_view> line_after_answer(std::string_view text) {
  constexpr std::string_view kAnswer = "answer";
  for (std::size_t at = find_word(text, kAnswer); at != text.npos; at = find_word(text, kAnswer, at + 1)) {
    const std::size_t colon = skip_python_space(text, at + kAnswer.size());
    if (colon >= text.size() || text[colon] != ':') continue;
    const std::size_t start = skip_python_space(text, colon + 1);
    if (start < text.size()) return text.substr(start, text.find('\n', start) - start);
    if (colon + 1 < text.size() && text[colon + 1] != '\n') return std::string_view();
  }
  return {};
}

std::string last_code_block(std::string_view text) {
  constexpr std::string_view kFence = "```";
  std::string_view body;
  std::size_t open = std::string_view::npos;  // where the body of a block that has begun starts
  for (std::size_t line = 0; line < text.size();) {
    const std::size_t end = std::min(text.find('\n', line), text.size());
    const std::size_t mark = text.find_first_not_of(" \t", line);
    if (mark != text.npos && text.substr(mark).starts_with(kFence)) {
      if (open == text.npos) {
        open = std::min(end + 1, text.size());
      } else {
        body = text.substr(open, line - open);
        open = text.npos;
      }
    }
    line = end + 1;
  }
  return std::string(body);
}

std::string_view read_verdict(std::string_view verdict, std::string_view words) {
  std::string_view said = shown_answer(verdict);
  if (said.ends_with('.')) said.remove_suffix(1);
  for (std::size_t at = 0; at < words.size();) {
    const std::size_t end = std::min(words.find(' ', at), words.size());
    if (words.substr(at, end - at) == said) return words.substr(at, end - at);
    at = end + 1;
  }
  return {};
}

std::optional<int> read_arena_verdict(std::string_view verdict) {
  constexpr std::array<std::pair<std::string_view, int>, 5> kLabels{
      {{"A>>B", 2}, {"A>B", 1}, {"A=B", 0}, {"B>A", -1}, {"B>>A", -2}}};
  const std::string_view text = shown_answer(verdict);
  std::optional<int> agreed;
  for (std::size_t at = text.find("[["); at != text.npos; at = text.find("[[", at + 2)) {
    const std::string_view rest = text.substr(at + 2);
    for (const auto& [label, value] : kLabels) {
      if (!rest.starts_with(label) || !rest.substr(label.size()).starts_with("]]")) continue;
      if (agreed && *agreed != value) return {};
      agreed = value;
    }
  }
  return agreed;
}

}  // namespace grpo
