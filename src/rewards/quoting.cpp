#include "rewards/quoting.h"

#include <algorithm>
#include <string>
#include <vector>

#include "text/ascii.h"
#include "text/utf8.h"

namespace grpo {
namespace {

constexpr std::string_view kQuote = "| ";
constexpr std::size_t kLongestTag = 64;  // bytes; special tokens are shorter

bool is_alphanumeric(char c) { return is_letter(c) || is_digit(c); }
bool breaks_line(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}
// In any of the widths that Unicode normalisation makes one.
bool is_less(char32_t c) { return c == '<' || c == 0xFF1C || c == 0xFE64; }
bool is_greater(char32_t c) { return c == '>' || c == 0xFF1E || c == 0xFE65; }
bool is_open(char32_t c) { return c == '[' || c == 0xFF3B; }
bool is_close(char32_t c) { return c == ']' || c == 0xFF3D; }
bool is_colon(char32_t c) { return c == ':' || c == 0xFF1A || c == 0xFE55; }

// Whether the bracket before `at` opens a tag: a name without white space up to the bracket that closes it, in square
// ones with two capitals, as [INST] and [[A>B]] have them.
bool opens_tag(std::string_view text, std::size_t at, char32_t bracket) {
  int capitals = 0;
  for (const std::size_t end = std::min(text.size(), at + kLongestTag); at < end;) {
    const CodePoint c = decode_utf8(text, at);
    if (is_less(bracket) ? is_greater(c.value) : is_close(c.value)) return is_less(bracket) || capitals > 1;
    if (is_white_space(c.value) || breaks_line(c.value)) return false;
    capitals += is_upper(text[at]);
    at += c.size;
  }
  return false;
}

// What stands before the places of a question and ends in a colon, "Answer:", in small letters and without it; and what
// stands there in most of them.
std::vector<std::string> labels_of(std::string_view question,
                                   std::initializer_list<std::pair<std::string_view, std::string_view>> places) {
  std::vector<std::string> labels{"user", "assistant", "system", "human", "reference"};
  for (const auto& [place, text] : places)
    for (std::size_t at = question.find(place); at != question.npos; at = question.find(place, at + 1)) {
      std::string_view before = trim(question.substr(0, at));
      if (!before.ends_with(':')) continue;
      before.remove_suffix(1);
      before = trim(before.substr(before.find_last_of("\n}") + 1));
      std::string label(before);
      std::transform(label.begin(), label.end(), label.begin(), lower);
      if (!label.empty() && std::find(labels.begin(), labels.end(), label) == labels.end())
        labels.push_back(std::move(label));
    }
  return labels;
}

// Whether one of the labels stands at `at`, and where its colon is.
std::size_t label_end(std::string_view text, std::size_t at, const std::vector<std::string>& labels) {
  if (at > 0 && is_alphanumeric(text[at - 1])) return at;
  for (const std::string& label : labels) {
    const std::string_view said = text.substr(at, label.size());
    if (said.size() == label.size() && at + said.size() < text.size() &&
        std::equal(said.begin(), said.end(), label.begin(), [](char a, char b) { return lower(a) == b; }) &&
        is_colon(decode_utf8(text, at + said.size()).value))
      return at + said.size();
  }
  return at;
}

void append_quoted(std::string& out, std::string_view text, const std::vector<std::string>& labels) {
  if (!text.empty() && (out.empty() || out.back() == '\n')) out += kQuote;
  for (std::size_t at = 0; at < text.size();) {
    if (const std::size_t end = label_end(text, at, labels); end > at) {
      out.append(text.substr(at, end - at)).push_back(' ');
      at = end;
    }
    const CodePoint c = decode_utf8(text, at);
    const std::string_view character = text.substr(at, c.size);
    at += c.size;
    if (breaks_line(c.value)) {
      if (c.value == '\r' && at < text.size() && text[at] == '\n') ++at;
      out.append("\n").append(kQuote);
      continue;
    }
    out += character;
    if ((is_less(c.value) || is_open(c.value)) && opens_tag(text, at, c.value)) out += ' ';
  }
}

}  // namespace

std::string fill_quoted(std::string_view question,
                        std::initializer_list<std::pair<std::string_view, std::string_view>> places) {
  const std::vector<std::string> labels = labels_of(question, places);
  std::string result;
  for (std::size_t i = 0; i < question.size();) {
    const auto place = std::find_if(places.begin(), places.end(),
                                    [&](const auto& each) { return question.substr(i).starts_with(each.first); });
    if (place == places.end()) {
      result += question[i++];
    } else {
      append_quoted(result, place->second, labels);
      i += place->first.size();
    }
  }
  return result;
}

}  // namespace grpo
