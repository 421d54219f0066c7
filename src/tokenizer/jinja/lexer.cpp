#include <algorithm>
#include <charconv>
#include <cstdint>

#include "text/ascii.h"
#include "text/python_text.h"
#include "text/utf8.h"
#include "tokenizer/jinja/syntax.h"

namespace grpo::jinja {
using namespace python;
namespace {

bool is_word(char c) { return is_digit(c) || is_letter(c) || c == '_'; }

class Lexer {
 public:
  Lexer(std::string_view source, const Reporter& reporter) : reporter_(reporter) {
    // Lines end with a line feed from here on, the last one without.
    for (std::size_t i = 0; i < source.size(); ++i) {
      source_ += source[i] == '\r' ? '\n' : source[i];
      if (source[i] == '\r' && source.substr(i + 1).starts_with('\n')) ++i;
    }
    if (source_.ends_with('\n')) source_.pop_back();
  }

  std::vector<Token> run() {
    while (at_ < source_.size()) text();
    add(TokenKind::end, "");
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool sees(std::string_view what) const { return rest().starts_with(what); }
  void add(TokenKind kind, std::string_view text) { tokens_.push_back({kind, std::string(text), line_}); }

  void move_to(std::size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }
  void skip_space() { move_to(source_.size() - strip(rest(), Side::left).size()); }

  // Text up to the next tag, and the tag.
  void text() {
    std::size_t open = source_.find('{', at_);
    while (open != std::string::npos &&
           (open + 1 == source_.size() || std::string_view("{%#").find(source_[open + 1]) == std::string_view::npos))
      open = source_.find('{', open + 1);
    if (open == std::string::npos) {
      add(TokenKind::text, rest());
      return move_to(source_.size());
    }
    const char kind = source_[open + 1];
    const std::size_t raw_end = kind == '%' ? end_of_tag(open, "raw") : std::string::npos;
    open_tag(open, kind == '{');
    if (kind == '#') return comment();
    if (raw_end != std::string::npos) return raw(raw_end);
    add(kind == '{' ? TokenKind::print_begin : TokenKind::block_begin, "");
    inside(kind == '{');
  }

  // How many characters the tag at `open` begins with: its sign is one of them.
  std::size_t size_of_opening(std::size_t open) const {
    return open + 2 < source_.size() && (source_[open + 2] == '-' || source_[open + 2] == '+') ? 3 : 2;
  }

  // The text up to a tag, and what the tag begins with.
  void open_tag(std::size_t open, bool print) {
    const std::size_t size = size_of_opening(open);
    const std::string_view text = before_tag(rest().substr(0, open - at_), size == 3 ? source_[open + 2] : ' ', print);
    if (!text.empty()) add(TokenKind::text, text);
    move_to(open + size);
  }

  // Where the end of the block tag at `open` is, if it holds nothing but `word`; else npos.
  std::size_t end_of_tag(std::size_t open, std::string_view word) const {
    std::string_view left = strip(std::string_view(source_).substr(open + size_of_opening(open)), Side::left);
    if (!left.starts_with(word)) return std::string::npos;
    left = strip(left.substr(word.size()), Side::left);
    const bool ends =
        left.starts_with("%}") || left.starts_with("-%}") || (word == "endraw" && left.starts_with("+%}"));
    return ends ? source_.size() - left.size() : std::string::npos;
  }

  // All up to endraw is text; `begin` is where its tag ends.
  void raw(std::size_t begin) {
    const int line = line_;
    move_to(begin);
    close_tag("%}", false);
    for (std::size_t open = at_; (open = source_.find("{%", open)) != std::string::npos; ++open) {
      const std::size_t end = end_of_tag(open, "endraw");
      if (end == std::string::npos) continue;
      open_tag(open, false);
      move_to(end);
      close_tag("%}", true);
      return;
    }
    reporter_.fail(line, "expected {% endraw %} for the raw block of line ", line, ", got the end of the template");
  }

  // The text before a tag loses the white space that the tag's sign says, or that leads to a block on its line.
  std::string_view before_tag(std::string_view text, char sign, bool print) const {
    if (sign == '-') return strip(text, Side::right);
    if (print || sign == '+') return text;
    const std::size_t line = text.rfind('\n') + 1;  // 0 when there is none
    if (line == 0 && !line_starts_) return text;
    return strip(text.substr(line)).empty() ? text.substr(0, line) : text;
  }

  // Consumes the end of a tag, `close`, if it is here, with the white space that it takes along.
  bool close_tag(std::string_view close, bool trims_line) {
    const bool strips = sees("-"), keeps = trims_line && sees("+");
    if (!rest().substr(strips || keeps ? 1 : 0).starts_with(close)) return false;
    move_to(at_ + close.size() + (strips || keeps ? 1 : 0));
    if (strips)
      skip_space();
    else if (trims_line && !keeps && sees("\n"))
      move_to(at_ + 1);
    line_starts_ = source_[at_ - 1] == '\n';
    return true;
  }

  void comment() {
    const int line = line_;
    for (; at_ < source_.size(); move_to(at_ + 1))
      if (close_tag("#}", true)) return;
    reporter_.fail(line, "expected a comment that ends with #}, got none; close it");
  }

  void inside(bool print) {
    std::string brackets;  // those that are open: within them %} and }} end nothing
    const int line = line_;
    while (true) {
      skip_space();
      if (at_ >= source_.size())
        reporter_.fail(line, "expected a tag that ends with ", print ? "}}" : "%}", ", got the end of the template");
      if (brackets.empty() && close_tag(print ? "}}" : "%}", !print)) break;
      token(brackets);
    }
    add(print ? TokenKind::print_end : TokenKind::block_end, "");
  }

  void token(std::string& brackets) {
    const char c = source_[at_];
    if (is_digit(c)) return number();
    if (c == '"' || c == '\'') return string(c);
    if (is_word(c)) {
      const auto end = std::find_if_not(source_.begin() + static_cast<std::ptrdiff_t>(at_), source_.end(), is_word);
      add(TokenKind::name, rest().substr(0, static_cast<std::size_t>(end - source_.begin()) - at_));
      at_ += tokens_.back().text.size();
      return;
    }
    for (const std::string_view sign : {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ","}) {
      if (!sees(sign)) continue;
      if (const std::size_t open = std::string_view("([{").find(c); open != std::string_view::npos) {
        brackets += ")]}"[open];
      } else if (c == ')' || c == ']' || c == '}') {
        if (!brackets.ends_with(c))
          reporter_.fail(line_, "expected ",
                         brackets.empty() ? "no closing bracket" : brackets.substr(brackets.size() - 1), ", got ",
                         sign);
        brackets.pop_back();
      }
      add(TokenKind::sign, sign);
      at_ += sign.size();
      return;
    }
    reporter_.fail(line_, "expected an expression, got the character ",
                   rest().substr(0, decode_utf8(source_, at_).size));
  }

  void number() {
    const auto digits = [&](std::size_t at) {
      while (at < source_.size() && is_digit(source_[at])) ++at;
      return at;
    };
    std::size_t end = digits(at_);
    bool real = false;
    if (source_.compare(end, 1, ".") == 0 && digits(end + 1) > end + 1) {
      end = digits(end + 1);
      real = true;
    }
    if (source_.compare(end, 1, "e") == 0 || source_.compare(end, 1, "E") == 0) {
      const std::size_t power =
          end + (source_.compare(end + 1, 1, "+") == 0 || source_.compare(end + 1, 1, "-") == 0 ? 2 : 1);
      if (digits(power) > power) {
        end = digits(power);
        real = true;
      }
    }
    if (end < source_.size() && is_word(source_[end]))
      reporter_.fail(line_, "expected a number that this library knows, got ", rest().substr(0, end - at_ + 1));
    add(real ? TokenKind::real : TokenKind::integer, rest().substr(0, end - at_));
    at_ = end;
  }

  void string(char quote) {
    const int line = line_;
    std::string text;
    std::size_t i = at_ + 1;
    while (true) {
      if (i >= source_.size()) reporter_.fail(line, "expected a string that ends with ", quote, ", got none; close it");
      const char c = source_[i++];
      if (c == quote) break;
      if (c != '\\' || i >= source_.size()) {
        text += c;
        continue;
      }
      const char escape = source_[i++];
      static constexpr std::string_view kNames = "abfnrtv\\'\"", kMeanings = "\a\b\f\n\r\t\v\\'\"";
      if (const std::size_t place = kNames.find(escape); place != kNames.npos)
        text += kMeanings[place];
      else if (escape == 'x' || escape == 'u')
        append_utf8(text, hexadecimal(i, escape == 'x' ? 2 : 4));
      else if (escape == 'N' || escape == 'U' || escape == '\n' || is_digit(escape))
        reporter_.fail(line, "expected an escape that this library knows, got \\", escape,
                       "; write the character itself");
      else
        (text += '\\') += escape;
    }
    add(TokenKind::string, text);
    move_to(i);
  }

  char32_t hexadecimal(std::size_t& at, std::size_t count) {
    const std::string digits = source_.substr(at, count);
    std::uint32_t code = 0;
    const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (digits.size() < count || error != std::errc() || stop != digits.data() + count ||
        (code >= 0xD800 && code < 0xE000))
      reporter_.fail(line_, "expected the ", count, " hexadecimal digits of a character in a string, got ", digits);
    at += count;
    return code;
  }

  const Reporter& reporter_;
  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // what stands before `at_` ends with a line feed that a tag has taken
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokens_of(std::string_view source, const Reporter& reporter) {
  return Lexer(source, reporter).run();
}

}  // namespace grpo::jinja
