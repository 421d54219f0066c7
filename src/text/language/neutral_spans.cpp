#include "text/language/neutral_spans.h"

#include <algorithm>

#include "text/ascii.h"

namespace grpo {

std::size_t NeutralSpans::end_of(std::size_t at) {
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
      return at > 0 && (is_letter(text_[at - 1]) || is_digit(text_[at - 1])) ? at : end_of_url(at);
    default:
      return at;
  }
}

std::size_t NeutralSpans::end_of_latex(std::size_t at) {
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
std::size_t NeutralSpans::end_of_dollars(std::size_t at) {
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
bool NeutralSpans::closes_formula(std::size_t at) const {
  const char after = char_at(at + 1);
  return text_[at] == '$' && !is_space(text_[at - 1]) && text_[at - 1] != '\\' && !is_digit(after);
}

std::size_t NeutralSpans::end_of_code(std::size_t at) {
  const std::size_t quotes = std::min(text_.find_first_not_of('`', at), text_.size()) - at;
  const std::size_t body = at + quotes;
  if (quotes >= 3) {
    const std::size_t close = fence_.from(body);
    return close == text_.npos ? body : close + 3;
  }
  const std::size_t close = (quotes == 1 ? quote_ : double_quote_).from(body);
  return close == text_.npos || paragraph_.from(at) < close ? body : close + quotes;
}

std::size_t NeutralSpans::end_of_tag(std::size_t at) const {
  for (const std::string_view tag : {"<think>", "</think>", "<answer>", "</answer>"})
    if (starts_with(at, tag)) return at + tag.size();
  return at;
}

std::size_t NeutralSpans::end_of_url(std::size_t at) const {
  if (!starts_with(at, "http://") && !starts_with(at, "https://") && !starts_with(at, "www.")) return at;
  while (at < text_.size() && text_[at] > ' ' && text_[at] <= '~' && text_[at] != '<' && text_[at] != '`') ++at;
  return at;
}

}  // namespace grpo
