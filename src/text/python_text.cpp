#include "text/python_text.h"

#include <cstring>
#include <functional>

#include "text/code_points.h"
#include "text/letter_case.h"
#include "text/utf8.h"

namespace grpo::python {

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> result;
  for (std::size_t at = 0; at < text.size(); at += result.back().size())
    result.push_back(text.substr(at, decode_utf8(text, at).size));
  return result;
}

std::size_t character_count(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); at += decode_utf8(text, at).size) ++count;
  return count;
}

std::size_t find_text(std::string_view text, std::string_view needle, std::size_t from) {
  constexpr std::size_t kShort = 16;  // so few bytes are compared at most as often at each place
  if (needle.size() <= kShort || from > text.size()) return text.find(needle, from);
  // The C library's search, unlike the C++ library's, is linear whatever the texts.
  const void* found = ::memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  return found ? static_cast<std::size_t>(static_cast<const char*>(found) - text.data()) : std::string_view::npos;
}

namespace {

std::string_view strip_while(std::string_view text, Side side, const std::function<bool(std::string_view)>& drop) {
  const auto has = [&](Side wanted) { return (static_cast<int>(side) & static_cast<int>(wanted)) != 0; };
  while (has(Side::left) && !text.empty()) {
    const std::size_t size = decode_utf8(text, 0).size;
    if (!drop(text.substr(0, size))) break;
    text.remove_prefix(size);
  }
  while (has(Side::right) && !text.empty()) {
    std::size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    if (start + decode_utf8(text, start).size != text.size()) start = text.size() - 1;  // a byte that is no UTF-8
    if (!drop(text.substr(start))) break;
    text = text.substr(0, start);
  }
  return text;
}

bool is_line_end(char32_t c) {
  return (c >= '\n' && c <= '\r') || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

// `text` with every run of characters that `inside` takes for a word's replaced by `change` of it.
std::string change_words(std::string_view text, const std::function<bool(char32_t)>& inside,
                         const std::function<std::string(std::string_view)>& change) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    while (end < text.size()) {
      const CodePoint c = decode_utf8(text, end);
      if (!inside(c.value)) break;
      end += c.size;
    }
    if (end > at) result += change(text.substr(at, end - at));
    if (end < text.size()) {
      const std::size_t size = decode_utf8(text, end).size;
      result += text.substr(end, size);
      end += size;
    }
    at = end;
  }
  return result;
}

}  // namespace

std::string_view strip(std::string_view text, Side side) {
  return strip_while(text, side, [](std::string_view c) { return is_space(decode_utf8(c, 0).value); });
}

std::string_view strip(std::string_view text, Side side, std::string_view set) {
  const auto all = characters(set);
  return strip_while(text, side, [&](std::string_view c) {
    for (const std::string_view each : all)
      if (each == c) return true;
    return false;
  });
}

std::vector<std::string_view> split(std::string_view text, std::string_view separator, std::int64_t most) {
  std::vector<std::string_view> parts;
  while (most-- != 0) {
    const std::size_t found = find_text(text, separator);
    if (found == std::string_view::npos) break;
    parts.push_back(text.substr(0, found));
    text.remove_prefix(found + separator.size());
  }
  parts.push_back(text);
  return parts;
}

std::vector<std::string_view> split_words(std::string_view text, std::int64_t most) {
  std::vector<std::string_view> parts;
  text = strip(text, Side::left);
  while (!text.empty() && most-- != 0) {
    std::size_t end = 0;
    while (end < text.size()) {
      const CodePoint c = decode_utf8(text, end);
      if (is_space(c.value)) break;
      end += c.size;
    }
    parts.push_back(text.substr(0, end));
    text = strip(text.substr(end), Side::left);
  }
  if (!text.empty()) parts.push_back(text);
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    std::size_t next = at + c.size;
    if (is_line_end(c.value)) {
      if (c.value == '\r' && next < text.size() && text[next] == '\n') ++next;
      lines.push_back(text.substr(begin, at - begin));
      begin = next;
    }
    at = next;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::string title(std::string_view text) {
  return change_words(
      text, [](char32_t c) { return letter_case(c) != LetterCase::none; }, to_capitalized);
}

std::string title_words(std::string_view text) {
  const auto inside = [](char32_t c) {
    return !is_space(c) && c != '-' && c != '(' && c != '{' && c != '[' && c != '<';
  };
  return change_words(text, inside, [](std::string_view word) {
    const std::size_t first = decode_utf8(word, 0).size;
    return to_upper(word.substr(0, first)) + to_lower(word.substr(first));
  });
}

}  // namespace grpo::python
