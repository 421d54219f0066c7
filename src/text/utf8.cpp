#include "text/utf8.h"

#include <algorithm>

namespace grpo {

CodePoint decode_utf8(std::string_view text, std::size_t at) {
  constexpr CodePoint kBroken{kBrokenUtf8, 1};
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data()) + at;
  const std::size_t left = text.size() - at;
  const auto continues = [&](std::size_t i) { return (bytes[i] & 0xC0) == 0x80; };
  const char32_t lead = bytes[0];
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xC2 || lead > 0xF4) return kBroken;
  if (lead < 0xE0) {
    if (left < 2 || !continues(1)) return kBroken;
    return {(lead & 0x1F) << 6 | (bytes[1] & 0x3Fu), 2};
  }
  if (lead < 0xF0) {
    if (left < 3 || !continues(1) || !continues(2)) return kBroken;
    const char32_t value = (lead & 0x0F) << 12 | (bytes[1] & 0x3Fu) << 6 | (bytes[2] & 0x3Fu);
    if (value < 0x800 || (value >= 0xD800 && value <= 0xDFFF)) return kBroken;
    return {value, 3};
  }
  if (left < 4 || !continues(1) || !continues(2) || !continues(3)) return kBroken;
  const char32_t value = (lead & 0x07) << 18 | (bytes[1] & 0x3Fu) << 12 | (bytes[2] & 0x3Fu) << 6 | (bytes[3] & 0x3Fu);
  if (value < 0x10000 || value > 0x10FFFF) return kBroken;
  return {value, 4};
}

Utf8Step utf8_step(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {Utf8Step::valid, 1};
  const std::size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                             : (lead & 0xF0) == 0xE0        ? 3
                             : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                            : 0;
  if (length == 0) return {Utf8Step::invalid, 1};
  // The second byte's range excludes overlong forms, surrogates, and code points beyond U+10FFFF.
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (std::size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {Utf8Step::cut_short, i};
    if (byte(i) < (i == 1 ? low : 0x80) || byte(i) > (i == 1 ? high : 0xBF)) return {Utf8Step::invalid, i};
  }
  return {Utf8Step::valid, length};
}

std::string_view valid_utf8(std::string_view text, std::string& storage) {
  std::size_t good = 0;  // bytes that need no change
  while (good < text.size()) {
    if (static_cast<unsigned char>(text[good]) < 0x80) {
      ++good;
      continue;
    }
    const Utf8Step step = utf8_step(text.substr(good));
    if (step.kind != Utf8Step::valid) break;
    good += step.size;
  }
  if (good == text.size()) return text;
  storage.assign(text, 0, good);
  for (text.remove_prefix(good); !text.empty();) {
    const Utf8Step step = utf8_step(text);
    if (step.kind == Utf8Step::valid)
      storage += text.substr(0, step.size);
    else
      storage += "\uFFFD";
    text.remove_prefix(step.size);
  }
  return storage;
}

void append_utf8(std::string& text, char32_t c) {
  if (c < 0x80) {
    text += static_cast<char>(c);
    return;
  }
  const int size = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  constexpr unsigned kLead[] = {0, 0, 0xC0, 0xE0, 0xF0};
  text += static_cast<char>(kLead[size] | c >> 6 * (size - 1));
  for (int i = size - 2; i >= 0; --i) text += static_cast<char>(0x80 | (c >> 6 * i & 0x3F));
}

bool is_white_space(char32_t c) {
  // U+200B and U+FEFF are not White_Space by the book, but a body made of them is as empty as one of spaces.
  return c == ' ' || (c >= '\t' && c <= '\r') || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200B) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000 ||
         c == 0xFEFF;
}

std::size_t skip_white_space(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const CodePoint c = decode_utf8(text, at);
    if (!is_white_space(c.value)) break;
    at += c.size;
  }
  return at;
}

std::string_view trim(std::string_view text) {
  text.remove_prefix(skip_white_space(text));
  while (!text.empty()) {
    std::size_t start = text.size() - 1;  // of the last code point: at most three continuation bytes back
    while (start > 0 && text.size() - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    const CodePoint c = decode_utf8(text, start);
    if (!is_white_space(c.value) || start + c.size != text.size()) break;
    text = text.substr(0, start);
  }
  return text;
}

}  // namespace grpo
