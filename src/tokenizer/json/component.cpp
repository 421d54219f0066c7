#include "tokenizer/json/component.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "text/tables/unicode_classes.h"
#include "text/utf8.h"

namespace grpo::tokenizer_json {

[[noreturn]] void refuse_component(const std::string& where, const char* kind, const std::string& type) {
  throw Error("tokenizer", where, ": expected a ", kind, " that is known here, got \"", type.substr(0, 80),
              "\"; nothing is approximated: use a tokenizer without it, or add it to src/tokenizer/tokenizer_json.cpp");
}

SplitPattern read_pattern(const JsonReader& owner) {
  const std::string where = owner.where() + ".pattern";
  const JsonReader pattern(owner.required("pattern"), where);
  pattern.expect_keys({"String", "Regex"});
  if (pattern.optional("Regex").is_null()) return SplitPattern::literal(pattern.string("String"), where);
  if (!pattern.optional("String").is_null()) pattern.refuse("String", "no second pattern");
  return SplitPattern::regex(pattern.string("Regex"), where);
}

std::string read_character(const JsonReader& owner, const char* key) {
  const std::string& text = owner.string(key);
  if (text.empty() || decode_utf8(text, 0).size != text.size()) owner.refuse(key, "one character");
  return text;
}

void expect_at_most(std::size_t size, std::size_t most) {
  if (size > most)
    throw Error("tokenizer",
                "expected normalizers, pre-tokenizers and decoders that lengthen a text at most 64 times, ",
                "got more than ", most, " bytes; use another tokenizer");
}

std::string replaced(std::string_view text, const SplitPattern& pattern, std::string_view content, std::size_t most) {
  std::vector<Span> spans;
  pattern.find(text, spans);
  std::string result;
  std::size_t at = 0;
  for (const auto& [first, end] : spans) {
    (result += text.substr(at, first - at)) += content;
    expect_at_most(result.size(), most);
    at = end;
  }
  return result += text.substr(at);
}

const CodePointSet& white_space() {
  static const CodePointSet set{unicode::kSpace};
  return set;
}

std::size_t character_before(std::string_view text, std::size_t end) {
  do --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

std::size_t leading_space(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const CodePoint c = decode_utf8(text, at);
    if (!white_space().contains(c.value)) break;
    at += c.size;
  }
  return at;
}
std::size_t trailing_space(std::string_view text) {
  std::size_t at = text.size();
  while (at > 0) {
    const std::size_t before = character_before(text, at);
    if (!white_space().contains(decode_utf8(text, before).value)) break;
    at = before;
  }
  return text.size() - at;
}

ByteAlphabet::ByteAlphabet() {
  std::fill(std::begin(byte_of), std::end(byte_of), std::int16_t{-1});
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
    const char32_t c = printable ? byte : next++;
    append_utf8(spelled[byte], c);
    byte_of[c] = static_cast<std::int16_t>(byte);
  }
}

const ByteAlphabet& byte_alphabet() {
  static const ByteAlphabet alphabet;
  return alphabet;
}

}  // namespace grpo::tokenizer_json
