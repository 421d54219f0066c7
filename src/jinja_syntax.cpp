#include "jinja_syntax.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <initializer_list>
#include <optional>
#include <unordered_map>

#include "jinja_builtins.h"
#include "nearest.h"
#include "utf8.h"

namespace grpo::jinja {
namespace {

// ---- Source to tokens ----

enum class TokenKind { text, block_begin, block_end, print_begin, print_end, name, string, integer, real, sign, end };

struct Token {
  TokenKind kind = TokenKind::end;
  std::string text;
  int line = 1;
};

struct Reporter {
  std::string where;
  template <class... Parts>
  [[noreturn]] void fail(int line, const Parts&... parts) const {
    throw Error("chat template", where, ":", line, ": ", parts...);
  }
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

class Lexer {
 public:
  Lexer(std::string_view source, const Reporter& reporter) : reporter_(reporter) {
    // Lines end with a line feed from here on, the last one without.
    for (std::size_t i = 0; i < source.size(); ++i) {
      if (source[i] != '\r') {
        source_ += source[i];
      } else {
        source_ += '\n';
        if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      }
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

  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  void move_to(std::size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }

  void skip_space() { move_to(source_.size() - strip_left(rest()).size()); }

  // Text up to the next tag, and the tag.
  void text() {
    std::size_t open = at_;
    while (true) {
      open = source_.find('{', open);
      if (open == std::string::npos || open + 1 >= source_.size()) {
        open = source_.size();
        break;
      }
      const char next = source_[open + 1];
      if (next == '{' || next == '%' || next == '#') break;
      ++open;
    }
    if (open == source_.size()) {
      add_text(rest());
      move_to(open);
      return;
    }
    const char kind = source_[open + 1];
    const char control = open + 2 < source_.size() ? source_[open + 2] : ' ';
    add_text(before_tag(source_.substr(at_, open - at_), control, kind == '{'));
    move_to(open + 2 + (control == '-' || control == '+' ? 1 : 0));
    if (kind == '#') return comment();
    if (kind == '%' && raw()) return;
    add(kind == '{' ? TokenKind::print_begin : TokenKind::block_begin, "");
    inside(kind == '{');
  }

  // The text before a tag loses the white space that the tag's sign says, or that leads to a block on its line.
  std::string before_tag(std::string text, char control, bool print) const {
    if (control == '-') return std::string(strip_right(text));
    if (control == '+' || print) return text;
    const std::size_t line = text.rfind('\n') + 1;  // 0 when there is none
    if (line == 0 && !line_starts_) return text;
    if (strip_left(std::string_view(text).substr(line)).empty()) text.resize(line);
    return text;
  }

  void add_text(std::string_view text) {
    if (!text.empty()) add(TokenKind::text, std::string(text));
  }

  // Consumes the end of a tag, `close`, if it is here: the sign in front of it, and the white space that it takes
  // along.
  bool close_tag(std::string_view close, bool trims_line) {
    std::size_t size = close.size();
    char control = ' ';
    if (!sees(close)) {
      if (at_ >= source_.size()) return false;
      control = source_[at_];
      if (control != '-' && (control != '+' || !trims_line)) return false;
      if (!rest().substr(1).starts_with(close)) return false;
      ++size;
    }
    const std::size_t begin = at_;
    move_to(at_ + size);
    if (control == '-')
      skip_space();
    else if (control == ' ' && trims_line && sees("\n"))
      move_to(at_ + 1);
    line_starts_ = at_ > begin && source_[at_ - 1] == '\n';
    return true;
  }

  void comment() {
    const int line = line_;
    while (at_ < source_.size()) {
      if (close_tag("#}", true)) return;
      const std::size_t next = source_.find_first_of("#+-", at_ + 1);
      move_to(next == std::string::npos ? source_.size() : next);
    }
    reporter_.fail(line, "expected a comment that ends with #}, got none; close it");
  }

  // The name of a tag between its signs, such as in `{%- endraw +%}`; where the name ends.
  std::optional<std::size_t> tag_name(std::size_t at, std::string_view name) const {
    const std::string_view after = strip_left(std::string_view(source_).substr(at));
    if (!after.starts_with(name)) return std::nullopt;
    return source_.size() - strip_left(after.substr(name.size())).size();
  }

  bool raw() {
    const auto end = tag_name(at_, "raw");
    if (!end) return false;
    const std::string_view after = std::string_view(source_).substr(*end);
    if (!after.starts_with("%}") && !after.starts_with("-%}")) return false;
    const int line = line_;
    move_to(*end);
    if (sees("-")) {
      move_to(at_ + 3);
      skip_space();
    } else {
      move_to(at_ + 2);
    }
    line_starts_ = source_[at_ - 1] == '\n';
    for (std::size_t open = source_.find("{%", at_); open != std::string::npos; open = source_.find("{%", open + 2)) {
      const char control = open + 2 < source_.size() ? source_[open + 2] : ' ';
      const auto name_end = tag_name(open + 2 + (control == '-' || control == '+' ? 1 : 0), "endraw");
      if (!name_end) continue;
      const std::string_view tail = std::string_view(source_).substr(*name_end);
      if (!tail.starts_with("%}") && !tail.starts_with("-%}") && !tail.starts_with("+%}")) continue;
      add_text(before_tag(source_.substr(at_, open - at_), control, false));
      move_to(*name_end);
      close_tag("%}", true);
      return true;
    }
    reporter_.fail(line, "expected a raw block that ends with {% endraw %}, got none; close it");
  }

  void inside(bool print) {
    std::string brackets;  // those that are open: within them %} and }} end nothing
    const int line = line_;
    while (true) {
      if (at_ >= source_.size()) {
        reporter_.fail(line, "expected a tag that ends with ", print ? "}}" : "%}", ", got the end of the template");
      }
      if (brackets.empty() && close_tag(print ? "}}" : "%}", !print)) {
        add(print ? TokenKind::print_end : TokenKind::block_end, "");
        return;
      }
      const std::size_t space = rest().size() - strip_left(rest()).size();
      if (space > 0)
        move_to(at_ + space);
      else
        token(brackets);
    }
  }

  void token(std::string& brackets) {
    const char c = source_[at_];
    if (is_digit(c)) return number();
    if (is_word(c)) {
      std::size_t end = at_;
      while (end < source_.size() && is_word(source_[end])) ++end;
      add(TokenKind::name, source_.substr(at_, end - at_));
      at_ = end;
      return;
    }
    if (c == '"' || c == '\'') return string(c);
    for (const std::string_view sign : {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"}) {
      if (!sees(sign)) continue;
      if (sign == "(" || sign == "[" || sign == "{") {
        brackets += sign == "(" ? ')' : sign == "[" ? ']' : '}';
      } else if (sign == ")" || sign == "]" || sign == "}") {
        if (brackets.empty() || brackets.back() != sign[0])
          reporter_.fail(line_, "expected ",
                         brackets.empty() ? "no closing bracket" : brackets.substr(brackets.size() - 1), ", got ",
                         sign);
        brackets.pop_back();
      }
      add(TokenKind::sign, std::string(sign));
      at_ += sign.size();
      return;
    }
    reporter_.fail(line_, "expected an expression, got the character ",
                   rest().substr(0, decode_utf8(source_, at_).size));
  }

  // The end of digits with single underscores between them; `at` when there are none.
  template <class IsDigit>
  std::size_t digits_end(std::size_t at, const IsDigit& is_one) const {
    const auto digit = [&](std::size_t i) { return i < source_.size() && is_one(source_[i]); };
    if (!digit(at)) return at;
    while (digit(at) || (at < source_.size() && source_[at] == '_' && digit(at + 1))) ++at;
    return at;
  }

  void number() {
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    std::size_t end = digits_end(at_, is_digit);
    bool real = false;
    if (!after_dot) {
      std::size_t tail = end;
      if (tail < source_.size() && source_[tail] == '.') {
        const std::size_t fraction = digits_end(tail + 1, is_digit);
        if (fraction > tail + 1) {
          tail = fraction;
          real = true;
        }
      }
      if (tail < source_.size() && (source_[tail] == 'e' || source_[tail] == 'E')) {
        std::size_t power = tail + 1;
        if (power < source_.size() && (source_[power] == '+' || source_[power] == '-')) ++power;
        const std::size_t power_end = digits_end(power, is_digit);
        if (power_end > power) {
          tail = power_end;
          real = true;
        }
      }
      if (real) end = tail;
    }
    int base = 10;
    std::size_t begin = at_;
    if (!real && source_[at_] == '0') {
      const char mark = at_ + 1 < source_.size() ? static_cast<char>(std::tolower(source_[at_ + 1])) : ' ';
      const int wanted = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
      const auto is_one = [&](char c) {
        return wanted == 16 ? std::isxdigit(static_cast<unsigned char>(c)) != 0 : c >= '0' && c < '0' + wanted;
      };
      std::size_t from = at_ + 2;
      if (from < source_.size() && source_[from] == '_') ++from;
      const std::size_t prefixed = wanted == 10 ? at_ : digits_end(from, is_one);
      if (wanted != 10 && prefixed > from) {
        base = wanted;
        begin = from;
        end = prefixed;
      } else {  // a zero, or several: Python has no octal numbers of this form
        end = digits_end(at_, [](char c) { return c == '0'; });
      }
    }
    std::string digits;
    for (std::size_t i = begin; i < end; ++i)
      if (source_[i] != '_') digits += source_[i];
    if (!real) {
      std::int64_t value = 0;
      const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
      if (error != std::errc()) reporter_.fail(line_, "expected whole numbers below 2^63, got ", digits);
      digits = std::to_string(value);
    }
    add(real ? TokenKind::real : TokenKind::integer, digits);
    at_ = end;
  }

  void string(char quote) {
    const int line = line_;
    std::string text;
    std::size_t i = at_ + 1;
    const auto hexadecimal = [&](std::size_t count) {
      std::uint32_t code = 0;
      const char* begin = source_.data() + i;
      if (source_.size() - i < count) reporter_.fail(line, "expected ", count, " hexadecimal digits in a string");
      const auto [stop, error] = std::from_chars(begin, begin + count, code, 16);
      if (error != std::errc() || stop != begin + count || *begin == '-')
        reporter_.fail(line, "expected ", count, " hexadecimal digits in a string, got ", std::string(begin, count));
      if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        reporter_.fail(line, "expected the number of a character in a string, got ", std::string(begin, count));
      i += count;
      append_utf8(text, code);
    };
    while (true) {
      if (i >= source_.size()) reporter_.fail(line, "expected a string that ends with ", quote, ", got none; close it");
      const char c = source_[i++];
      if (c == quote) break;
      if (c != '\\') {
        text += c;
        continue;
      }
      if (i >= source_.size()) continue;
      const char escape = source_[i++];
      static constexpr std::string_view kNames = "abfnrtv\\'\"", kMeanings = "\a\b\f\n\r\t\v\\'\"";
      if (const std::size_t place = kNames.find(escape); place != kNames.npos) {
        text += kMeanings[place];
      } else if (escape == '\n') {  // the string goes on
      } else if (escape >= '0' && escape <= '7') {
        char32_t code = static_cast<char32_t>(escape - '0');
        for (int more = 0; more < 2 && i < source_.size() && source_[i] >= '0' && source_[i] <= '7'; ++more)
          code = code * 8 + static_cast<char32_t>(source_[i++] - '0');
        append_utf8(text, code);
      } else if (escape == 'x') {
        hexadecimal(2);
      } else if (escape == 'u') {
        hexadecimal(4);
      } else if (escape == 'U') {
        hexadecimal(8);
      } else if (escape == 'N') {
        reporter_.fail(line, "expected an escape that this library knows, got \\N; write the character itself");
      } else {
        text += '\\';
        text += escape;
      }
    }
    add(TokenKind::string, text);
    move_to(i);
  }

  const Reporter& reporter_;
  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // what stands before `at_` ends with a line feed that a tag has taken
  std::vector<Token> tokens_;
};

// ---- Tokens to the tree ----

class Parser {
 public:
  Parser(std::vector<Token> tokens, const Reporter& reporter) : tokens_(std::move(tokens)), reporter_(reporter) {
    for (const std::string_view name : {"loop", "caller", "varargs", "kwargs"}) intern(std::string(name));
  }

  Template run() {
    Template result;
    result.body = block({});
    result.names = std::move(names_);
    return result;
  }

 private:
  // -- tokens --

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take() {
    Token token = now();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool is_sign(std::string_view sign) const { return now().kind == TokenKind::sign && now().text == sign; }
  bool is_name(std::string_view name) const { return now().kind == TokenKind::name && now().text == name; }
  bool skip_sign(std::string_view sign) {
    if (!is_sign(sign)) return false;
    take();
    return true;
  }
  bool skip_name(std::string_view name) {
    if (!is_name(name)) return false;
    take();
    return true;
  }

  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    reporter_.fail(now().line, parts...);
  }

  std::string got() const {
    switch (now().kind) {
      case TokenKind::block_end:
        return "the end of the tag";
      case TokenKind::print_end:
        return "}}";
      case TokenKind::end:
        return "the end of the template";
      case TokenKind::string:
        return "the string \"" + now().text.substr(0, 40) + "\"";
      default:
        return now().text.substr(0, 40);
    }
  }

  void expect_sign(std::string_view sign) {
    if (!skip_sign(sign)) fail("expected ", sign, ", got ", got());
  }
  std::string expect_name(std::string_view what) {
    if (now().kind != TokenKind::name) fail("expected ", what, ", got ", got());
    return take().text;
  }
  void expect_block_end() {
    if (now().kind != TokenKind::block_end) fail("expected %}, got ", got());
    take();
  }

  std::size_t intern(const std::string& name) {
    const auto [it, fresh] = places_.try_emplace(name, names_.size());
    if (fresh) names_.push_back(name);
    return it->second;
  }

  // -- nesting --

  class Level {
   public:
    explicit Level(Parser& parser) : parser_(parser) {
      if (++parser_.level_ > kMaxNesting)
        parser_.fail("expected a template nested at most ", kMaxNesting, " deep, got a deeper one");
    }
    ~Level() { --parser_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Parser& parser_;
  };

  void adopt(Expression& parent, const Expression* child) {
    if (!child) return;
    parent.depth = std::max(parent.depth, child->depth + 1);
    if (parent.depth > kMaxNesting)
      reporter_.fail(parent.line, "expected an expression nested at most ", kMaxNesting, " deep, got a deeper one");
  }

  template <class... Parts>
  ExpressionPtr make(Op op, int line, Parts... parts) {
    auto made = std::make_unique<Expression>(op, line);
    (add(*made, std::move(parts)), ...);
    return made;
  }
  void add(Expression& parent, ExpressionPtr child) {
    adopt(parent, child.get());
    parent.parts.push_back(std::move(child));
  }

  // -- statements --

  bool at_one_of(std::initializer_list<std::string_view> ends) const {
    return now().kind == TokenKind::name && std::find(ends.begin(), ends.end(), now().text) != ends.end();
  }

  // Up to one of `ends`, whose name is then the next token.
  Block block(std::initializer_list<std::string_view> ends) {
    const Level level(*this);
    Block body;
    const int opened = now().line;
    while (now().kind != TokenKind::end) {
      const Token token = take();
      switch (token.kind) {
        case TokenKind::text:
          body.emplace_back(Tag::text, token.line).text = token.text;
          break;
        case TokenKind::print_begin: {
          Statement print(Tag::print, token.line);
          print.expressions.push_back(tuple());
          if (now().kind != TokenKind::print_end) fail("expected }}, got ", got());
          take();
          body.push_back(std::move(print));
          break;
        }
        case TokenKind::block_begin:
          if (at_one_of(ends)) return body;
          statement(body);
          expect_block_end();
          break;
        default:
          fail("expected text or a tag, got ", token.text);
      }
    }
    if (ends.size())
      fail("expected {% ", *(ends.end() - 1), " %} for the block of line ", opened, ", got the end of the template");
    return body;
  }

  // The rest of a tag and its body.
  Block body(std::initializer_list<std::string_view> ends) {
    skip_sign(":");
    expect_block_end();
    return block(ends);
  }

  void statement(Block& block) {
    const int line = now().line;
    const std::string tag = expect_name("the name of a tag");
    if (tag == "set") return set(block, line);
    if (tag == "if") return if_(block, line);
    if (tag == "for") return for_(block, line);
    if (tag == "macro") return macro(block, line);
    if (tag == "call") return call_block(block, line);
    if (tag == "generation") return generation(block, line);
    if (tag == "filter") return filter_block(block, line);
    if (tag == "with") return with(block, line);
    if (tag == "print") {
      bool first = true;
      while (now().kind != TokenKind::block_end) {
        if (!std::exchange(first, false)) expect_sign(",");
        block.emplace_back(Tag::print, line).expressions.push_back(expression());
      }
      return;
    }
    if (tag == "break" || tag == "continue") {
      if (loops_ == 0) fail("expected ", tag, " within a for, got one outside");
      block.emplace_back(tag == "break" ? Tag::break_ : Tag::continue_, line);
      return;
    }
    static const std::vector<std::string> kTags = {
        "set",    "endset", "if",       "elif",       "else",    "endif",     "for",
        "endfor", "macro",  "call",     "generation", "filter",  "with",      "endwith",
        "print",  "break",  "continue", "endmacro",   "endcall", "endfilter", "endgeneration"};
    for (const std::string_view jinja : {"block", "extends", "include", "import", "from", "autoescape"})
      if (tag == jinja)
        reporter_.fail(line, "expected a tag that this library knows, got \"", tag,
                       "\"; chat templates are rendered without it");
    reporter_.fail(line, "expected a tag that belongs here, got \"", tag, "\"; the nearest known is \"",
                   nearest(tag.substr(0, 64), kTags), "\"");
  }

  ExpressionPtr target(bool spaces) {
    const auto one = [&]() -> ExpressionPtr {
      const int line = now().line;
      if (now().kind == TokenKind::sign && now().text == "(") {
        const Level level(*this);
        take();
        ExpressionPtr inner = targets(spaces, ")");
        expect_sign(")");
        return inner;
      }
      const std::string name = expect_name("a name to assign to");
      for (const std::string_view constant : {"true", "True", "false", "False", "none", "None"})
        if (name == constant) reporter_.fail(line, "expected a name to assign to, got ", name);
      if (spaces && is_sign(".")) {
        take();
        auto made = make(Op::space_attribute, line);
        made->name = intern(name);
        made->text = expect_name("the name of an attribute");
        return made;
      }
      auto made = make(Op::name, line);
      made->name = intern(name);
      made->text = name;
      return made;
    };
    return one();
  }

  // One target, or several with commas between them.
  ExpressionPtr targets(bool spaces, std::string_view end) {
    const int line = now().line;
    const auto ended = [&] {
      return (now().kind == TokenKind::sign && now().text == ")") || now().kind == TokenKind::block_end || is_name(end);
    };
    ExpressionPtr first = target(spaces);
    if (!is_sign(",")) return first;
    auto made = make(Op::tuple, line, std::move(first));
    while (skip_sign(",")) {
      if (ended()) break;
      add(*made, target(spaces));
    }
    return made;
  }

  void set(Block& block, int line) {
    ExpressionPtr to = targets(true, "");
    if (skip_sign("=")) {
      Statement made(Tag::set, line);
      made.target = std::move(to);
      made.expressions.push_back(tuple());
      block.push_back(std::move(made));
      return;
    }
    Statement made(Tag::set_block, line);
    made.target = std::move(to);
    ExpressionPtr filters;
    while (is_sign("|")) filters = filter(std::move(filters));
    made.expressions.push_back(std::move(filters));
    made.blocks.push_back(body({"endset"}));
    take();
    block.push_back(std::move(made));
  }

  void if_(Block& block, int line) {
    Statement made(Tag::if_, line);
    made.expressions.push_back(tuple(false));
    made.blocks.push_back(body({"elif", "else", "endif"}));
    while (true) {
      const bool ends = is_name("endif"), goes_on = is_name("elif");
      take();
      if (ends) break;
      if (goes_on) {
        made.expressions.push_back(tuple(false));
        made.blocks.push_back(body({"elif", "else", "endif"}));
      } else {
        made.has_else = true;
        made.blocks.push_back(body({"endif"}));
        take();
        break;
      }
    }
    block.push_back(std::move(made));
  }

  void for_(Block& block, int line) {
    Statement made(Tag::for_, line);
    made.target = targets(false, "in");
    if (!skip_name("in")) fail("expected in, got ", got());
    made.expressions.push_back(tuple(false, "recursive"));
    if (skip_name("if")) made.condition = expression();
    if (is_name("recursive"))
      fail("expected a loop that this library knows, got \"recursive\"; a macro can call itself");
    ++loops_;
    made.blocks.push_back(body({"else", "endfor"}));
    --loops_;
    if (take().text == "else") {
      made.has_else = true;
      made.blocks.push_back(body({"endfor"}));
      take();
    }
    block.push_back(std::move(made));
  }

  void signature(Macro& macro) {
    expect_sign("(");
    bool first = true;
    while (!is_sign(")")) {
      if (!std::exchange(first, false)) expect_sign(",");
      const std::string name = expect_name("the name of a parameter");
      macro.parameters.push_back(intern(name));
      macro.parameter_names.push_back(name);
      if (skip_sign("="))
        macro.defaults.push_back(expression());
      else if (!macro.defaults.empty())
        fail("expected a default for the parameter \"", name, "\", as those before it have one, got none");
    }
    expect_sign(")");
  }

  // A body of its own, which no break leaves; it notes which of its special variables the macro reads.
  void macro_body(Macro& macro, std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    const std::vector<std::size_t> reads = std::exchange(special_reads_, {0, 0, 0, 0});
    macro.body = body({end});
    take();
    const auto own = [&](std::size_t name) {
      return std::find(macro.parameters.begin(), macro.parameters.end(), name) == macro.parameters.end();
    };
    macro.uses_caller = special_reads_[kCallerName] > 0 && own(kCallerName);
    macro.uses_varargs = special_reads_[kVarargsName] > 0 && own(kVarargsName);
    macro.uses_kwargs = special_reads_[kKwargsName] > 0 && own(kKwargsName);
    special_reads_ = reads;
    loops_ = loops;
  }

  void macro(Block& block, int line) {
    Statement made(Tag::macro, line);
    made.macro = std::make_unique<Macro>();
    made.macro->name = expect_name("the name of a macro");
    made.name = intern(made.macro->name);
    signature(*made.macro);
    macro_body(*made.macro, "endmacro");
    block.push_back(std::move(made));
  }

  void call_block(Block& block, int line) {
    Statement made(Tag::call, line);
    made.macro = std::make_unique<Macro>();
    made.macro->name = "caller";
    if (is_sign("(")) signature(*made.macro);
    ExpressionPtr called = expression();
    if (called->op != Op::call) reporter_.fail(line, "expected a call behind {% call, got another expression");
    made.expressions.push_back(std::move(called));
    macro_body(*made.macro, "endcall");
    block.push_back(std::move(made));
  }

  void generation(Block& block, int line) {
    Statement made(Tag::generation, line);
    made.macro = std::make_unique<Macro>();
    macro_body(*made.macro, "endgeneration");
    block.push_back(std::move(made));
  }

  void filter_block(Block& block, int line) {
    Statement made(Tag::filter, line);
    ExpressionPtr filters = filter(nullptr, false);
    while (is_sign("|")) filters = filter(std::move(filters));
    made.expressions.push_back(std::move(filters));
    made.blocks.push_back(body({"endfilter"}));
    take();
    block.push_back(std::move(made));
  }

  void with(Block& block, int line) {
    Statement made(Tag::with, line);
    while (now().kind != TokenKind::block_end && !is_sign(":")) {
      if (!made.targets.empty()) expect_sign(",");
      made.targets.push_back(target(false));
      expect_sign("=");
      made.expressions.push_back(expression());
    }
    made.blocks.push_back(body({"endwith"}));
    take();
    block.push_back(std::move(made));
  }

  // -- expressions --

  // An expression, or several with commas between them, which are a tuple.
  ExpressionPtr tuple(bool conditionals = true, std::string_view end = "", bool in_brackets = false) {
    const int line = now().line;
    const auto ended = [&] {
      return now().kind == TokenKind::print_end || now().kind == TokenKind::block_end || is_sign(")") ||
             (!end.empty() && is_name(end));
    };
    if (ended()) {
      if (!in_brackets) fail("expected an expression, got ", got());
      return make(Op::tuple, line);
    }
    ExpressionPtr first = conditionals ? expression() : binary(0);
    if (!is_sign(",")) return first;
    auto made = make(Op::tuple, line, std::move(first));
    while (skip_sign(",")) {
      if (ended()) break;
      add(*made, conditionals ? expression() : binary(0));
    }
    return made;
  }

  ExpressionPtr expression() {
    const Level level(*this);
    const int line = now().line;
    ExpressionPtr value = binary(0);
    while (skip_name("if")) {
      ExpressionPtr condition = binary(0);
      ExpressionPtr other = skip_name("else") ? expression() : nullptr;
      value = make(Op::conditional, line, std::move(condition), std::move(value), std::move(other));
    }
    return value;
  }

  // From what binds least: or, and, not, comparisons, + -, ~, * / // %, **.
  ExpressionPtr binary(int strength) {
    const int line = now().line;
    switch (strength) {
      case 0:
      case 1: {
        const std::string_view word = strength == 0 ? "or" : "and";
        ExpressionPtr first = binary(strength + 1);
        if (!is_name(word)) return first;
        auto made = make(strength == 0 ? Op::logical_or : Op::logical_and, line, std::move(first));
        while (skip_name(word)) add(*made, binary(strength + 1));
        return made;
      }
      case 2: {
        if (!is_name("not")) return comparison();
        const Level level(*this);
        take();
        return make(Op::logical_not, line, binary(2));
      }
      case 3: {
        ExpressionPtr left = binary(4);
        bool own = false;
        while (is_sign("+") || is_sign("-")) {
          const Op op = take().text == "+" ? Op::add : Op::subtract;
          left = chain(op, line, std::move(left), binary(4), own);
        }
        return left;
      }
      case 4: {
        ExpressionPtr first = binary(5);
        if (!is_sign("~")) return first;
        auto made = make(Op::concat, line, std::move(first));
        while (skip_sign("~")) add(*made, binary(5));
        return made;
      }
      case 5: {
        ExpressionPtr left = binary(6);
        bool own = false;
        while (is_sign("*") || is_sign("/") || is_sign("//") || is_sign("%")) {
          const std::string sign = take().text;
          const Op op = sign == "*"   ? Op::multiply
                        : sign == "/" ? Op::divide
                        : sign == "%" ? Op::modulo
                                      : Op::floor_divide;
          left = chain(op, line, std::move(left), binary(6), own);
        }
        return left;
      }
      default: {
        ExpressionPtr left = unary(true);
        bool own = false;
        while (skip_sign("**")) left = chain(Op::power, line, std::move(left), unary(true), own);
        return left;
      }
    }
  }

  // a + b + c as one node of three parts, so that a long sum is not a deep tree; `own` is whether `left` is such a node
  // of this very sum, not one that came in brackets.
  ExpressionPtr chain(Op op, int line, ExpressionPtr left, ExpressionPtr right, bool& own) {
    if (own && left->op == op)
      add(*left, std::move(right));
    else
      left = make(op, line, std::move(left), std::move(right));
    own = true;
    return left;
  }

  ExpressionPtr comparison() {
    const int line = now().line;
    ExpressionPtr first = binary(3);
    ExpressionPtr made;
    while (true) {
      std::optional<Comparison> sign;
      if (now().kind == TokenKind::sign) {
        static const std::pair<std::string_view, Comparison> kSigns[] = {
            {"==", Comparison::equal},      {"!=", Comparison::not_equal}, {"<", Comparison::less},
            {"<=", Comparison::less_equal}, {">", Comparison::greater},    {">=", Comparison::greater_equal}};
        for (const auto& [text, meaning] : kSigns)
          if (now().text == text) sign = meaning;
        if (sign) take();
      } else if (skip_name("in")) {
        sign = Comparison::in;
      } else if (is_name("not") && ahead().kind == TokenKind::name && ahead().text == "in") {
        take();
        take();
        sign = Comparison::not_in;
      }
      if (!sign) break;
      if (!made) made = make(Op::compare, line, std::move(first));
      made->comparisons.push_back(*sign);
      add(*made, binary(3));
    }
    return made ? std::move(made) : std::move(first);
  }

  ExpressionPtr unary(bool filters) {
    const int line = now().line;
    ExpressionPtr made;
    if (is_sign("-") || is_sign("+")) {
      const Level level(*this);
      const Op op = take().text == "-" ? Op::negative : Op::positive;
      made = make(op, line, unary(false));
    } else {
      made = primary();
    }
    made = postfix(std::move(made));
    if (!filters) return made;
    while (true) {
      if (is_sign("|"))
        made = filter(std::move(made));
      else if (is_name("is"))
        made = test(std::move(made));
      else if (is_sign("("))
        made = call(std::move(made));
      else
        return made;
    }
  }

  ExpressionPtr constant(int line, Value value) {
    auto made = make(Op::constant, line);
    made->value = std::move(value);
    return made;
  }

  ExpressionPtr primary() {
    const Level level(*this);
    const int line = now().line;
    switch (now().kind) {
      case TokenKind::name: {
        const std::string name = take().text;
        if (name == "true" || name == "True") return constant(line, Value::boolean(true));
        if (name == "false" || name == "False") return constant(line, Value::boolean(false));
        if (name == "none" || name == "None") return constant(line, Value::none());
        auto made = make(Op::name, line);
        made->text = name;
        made->name = intern(name);
        if (made->name < special_reads_.size()) ++special_reads_[made->name];
        return made;
      }
      case TokenKind::string: {
        std::string text = take().text;
        while (now().kind == TokenKind::string) text += take().text;
        return constant(line, Value(Kind::text, std::make_shared<Text>(std::move(text))));
      }
      case TokenKind::integer: {
        const std::string digits = take().text;
        std::int64_t value = 0;
        std::from_chars(digits.data(), digits.data() + digits.size(), value);
        return constant(line, Value::integer(value));
      }
      case TokenKind::real: {
        const std::string digits = take().text;
        return constant(line, Value::real(std::strtod(digits.c_str(), nullptr)));
      }
      case TokenKind::sign:
        if (skip_sign("(")) {
          ExpressionPtr inner = tuple(true, "", true);
          expect_sign(")");
          return inner;
        }
        if (skip_sign("[")) {
          auto made = make(Op::list, line);
          while (!is_sign("]")) {
            if (!made->parts.empty()) expect_sign(",");
            if (is_sign("]")) break;
            add(*made, expression());
          }
          expect_sign("]");
          return made;
        }
        if (skip_sign("{")) {
          auto made = make(Op::dict, line);
          while (!is_sign("}")) {
            if (!made->parts.empty()) expect_sign(",");
            if (is_sign("}")) break;
            add(*made, expression());
            expect_sign(":");
            add(*made, expression());
          }
          expect_sign("}");
          return made;
        }
        [[fallthrough]];
      default:
        fail("expected an expression, got ", got());
    }
  }

  ExpressionPtr postfix(ExpressionPtr value) {
    while (true) {
      const int line = now().line;
      if (skip_sign(".")) {
        if (now().kind == TokenKind::name) {
          auto made = make(Op::attribute, line, std::move(value));
          made->text = take().text;
          value = std::move(made);
        } else if (now().kind == TokenKind::integer) {
          ExpressionPtr index = primary();
          value = make(Op::item, line, std::move(value), std::move(index));
        } else {
          fail("expected the name or number of an attribute, got ", got());
        }
      } else if (skip_sign("[")) {
        std::vector<ExpressionPtr> keys;
        while (!is_sign("]")) {
          if (!keys.empty()) expect_sign(",");
          keys.push_back(subscript());
        }
        expect_sign("]");
        ExpressionPtr key = keys.empty() ? make(Op::tuple, line) : std::move(keys[0]);
        if (keys.size() > 1) {
          key = make(Op::tuple, line, std::move(key));
          for (std::size_t i = 1; i < keys.size(); ++i) add(*key, std::move(keys[i]));
          for (const ExpressionPtr& part : key->parts)
            if (part->op == Op::slice) fail("expected one slice within [], got several keys");
        }
        value = make(Op::item, line, std::move(value), std::move(key));
      } else if (is_sign("(")) {
        value = call(std::move(value));
      } else {
        return value;
      }
    }
  }

  ExpressionPtr subscript() {
    const int line = now().line;
    ExpressionPtr parts[3];
    if (!is_sign(":")) {
      parts[0] = expression();
      if (!is_sign(":")) return std::move(parts[0]);
    }
    take();
    const auto ended = [&] { return is_sign("]") || is_sign(","); };
    if (!is_sign(":") && !ended()) parts[1] = expression();
    if (skip_sign(":") && !ended()) parts[2] = expression();
    return make(Op::slice, line, std::move(parts[0]), std::move(parts[1]), std::move(parts[2]));
  }

  void arguments(Expression& call) {
    expect_sign("(");
    bool first = true;
    while (!is_sign(")")) {
      if (!std::exchange(first, false)) {
        expect_sign(",");
        if (is_sign(")")) break;
      }
      if (is_sign("*") || is_sign("**")) {
        ExpressionPtr& place = take().text == "*" ? call.star : call.double_star;
        if (place || call.double_star) fail("expected one * and one ** at the end of a call, got more");
        place = expression();
        adopt(call, place.get());
      } else if (now().kind == TokenKind::name && ahead().kind == TokenKind::sign && ahead().text == "=") {
        if (call.double_star) fail("expected ** at the end of a call, got ", got(), " behind it");
        const std::string name = take().text;
        take();
        ExpressionPtr value = expression();
        adopt(call, value.get());
        for (const auto& [other, _] : call.keywords)
          if (other == name) fail("expected the argument \"", name, "\" once, got it twice");
        call.keywords.emplace_back(name, std::move(value));
      } else {
        if (call.star || call.double_star || !call.keywords.empty())
          fail("expected arguments without a name first, got ", got(), " behind one with a name");
        add(call, expression());
      }
    }
    expect_sign(")");
  }

  ExpressionPtr call(ExpressionPtr called) {
    const int line = now().line;
    if (called->op == Op::attribute && is_missing_method(called->text))
      fail("expected a method that this library knows, got \"", called->text, "\"");
    auto made = make(Op::call, line, std::move(called));
    arguments(*made);
    return made;
  }

  std::string dotted_name(std::string_view what) {
    std::string name = expect_name(what);
    while (skip_sign(".")) name += "." + expect_name(what);
    return name;
  }

  ExpressionPtr filter(ExpressionPtr value, bool with_sign = true) {
    if (with_sign) expect_sign("|");
    const int line = now().line;
    const std::string name = dotted_name("the name of a filter");
    auto made = make(Op::filter, line, std::move(value));
    made->text = name;
    made->filter = find_filter(name);
    if (!made->filter)
      reporter_.fail(line, "expected a filter that this library knows, got \"", name, "\"; the nearest known is \"",
                     nearest(name.substr(0, 64), filter_names()), "\"");
    if (is_sign("(")) arguments(*made);
    check_inner_name(*made);
    return made;
  }

  // map, select and their kind name a filter or a test, most often outright.
  void check_inner_name(const Expression& filter) const {
    const bool attribute = filter.text == "selectattr" || filter.text == "rejectattr";
    const bool maps = filter.text == "map";
    if (!attribute && !maps && filter.text != "select" && filter.text != "reject") return;
    const std::size_t place = attribute ? 2 : 1;
    if (filter.parts.size() <= place) return;
    const Expression& argument = *filter.parts[place];
    if (argument.op != Op::constant || !argument.value.is(Kind::text)) return;
    const std::string& name = argument.value.text();
    if (maps ? find_filter(name) != nullptr : find_test(name) != nullptr) return;
    reporter_.fail(filter.line, "expected a ", maps ? "filter" : "test", " that this library knows, got \"", name,
                   "\"; the nearest known is \"", nearest(name.substr(0, 64), maps ? filter_names() : test_names()),
                   "\"");
  }

  ExpressionPtr test(ExpressionPtr value) {
    const int line = take().line;
    const bool negated = skip_name("not");
    const std::string name = dotted_name("the name of a test");
    auto made = make(Op::test, line, std::move(value));
    made->text = name;
    made->test = find_test(name);
    if (!made->test)
      reporter_.fail(line, "expected a test that this library knows, got \"", name, "\"; the nearest known is \"",
                     nearest(name.substr(0, 64), test_names()), "\"");
    if (is_sign("(")) {
      arguments(*made);
    } else if (now().kind == TokenKind::string || now().kind == TokenKind::integer || now().kind == TokenKind::real ||
               is_sign("[") || is_sign("{") ||
               (now().kind == TokenKind::name && !is_name("else") && !is_name("or") && !is_name("and"))) {
      if (is_name("is")) fail("expected one test after another with and between them, got a second is");
      add(*made, postfix(primary()));
    }
    return negated ? make(Op::logical_not, line, std::move(made)) : std::move(made);
  }

  std::vector<Token> tokens_;
  const Reporter& reporter_;
  std::size_t at_ = 0;
  int level_ = 0;
  int loops_ = 0;  // those around here that a break can leave
  std::vector<std::size_t> special_reads_ = {0, 0, 0, 0};
  std::vector<std::string> names_;
  std::unordered_map<std::string, std::size_t> places_;
};

}  // namespace

Template parse(std::string_view source, const std::string& where) {
  const Reporter reporter{where};
  if (source.size() > kMaxText / 16)
    reporter.fail(1, "expected a template of at most 4 MiB, got ", source.size(), " bytes");
  return Parser(Lexer(source, reporter).run(), reporter).run();
}

}  // namespace grpo::jinja
