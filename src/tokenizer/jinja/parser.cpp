#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <initializer_list>
#include <optional>

#include "base/nearest.h"
#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/syntax.h"

namespace grpo::jinja {
namespace {

class Parser {
 public:
  Parser(std::vector<Token> tokens, const Reporter& reporter) : tokens_(std::move(tokens)), reporter_(reporter) {}

  Block run() { return block({}); }

 private:
  // ---- Tokens ----

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take() {
    Token token = now();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  static bool is(const Token& token, TokenKind kind, std::string_view text) {
    return token.kind == kind && token.text == text;
  }
  bool is_sign(std::string_view sign) const { return is(now(), TokenKind::sign, sign); }
  bool is_name(std::string_view name) const { return is(now(), TokenKind::name, name); }
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
  bool at_end_of_tag() const { return now().kind == TokenKind::print_end || now().kind == TokenKind::block_end; }

  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    reporter_.fail(now().line, parts...);
  }

  std::string got() const {
    if (now().kind == TokenKind::end) return "the end of the template";
    if (at_end_of_tag()) return "the end of the tag";
    return "\"" + now().text.substr(0, 40) + "\"";
  }

  void expect_sign(std::string_view sign) {
    if (!skip_sign(sign)) fail("expected ", sign, ", got ", got());
  }
  std::string expect_name(std::string_view what) {
    if (now().kind != TokenKind::name) fail("expected ", what, ", got ", got());
    return take().text;
  }
  void expect_end(TokenKind kind) {
    if (now().kind != kind) fail("expected the end of the tag, got ", got());
    take();
  }

  // ---- Nesting ----

  Level deeper() {
    if (level_ >= kMaxNesting) fail("expected a template nested at most ", kMaxNesting, " deep, got a deeper one");
    return Level(level_);
  }

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

  // ---- Statements ----

  // Up to one of `ends`, whose name is then the next token.
  Block block(std::initializer_list<std::string_view> ends) {
    const Level level = deeper();
    Block body;
    const int opened = now().line;
    while (now().kind != TokenKind::end) {
      const Token token = take();
      if (token.kind == TokenKind::text) {
        body.emplace_back(Tag::text, token.line).text = token.text;
      } else if (token.kind == TokenKind::print_begin) {
        Statement print(Tag::print, token.line);
        print.expressions.push_back(tuple());
        body.push_back(std::move(print));
        expect_end(TokenKind::print_end);
      } else {
        if (std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return is_name(end); })) return body;
        body.push_back(statement());
        expect_end(TokenKind::block_end);
      }
    }
    if (ends.size())
      fail("expected {% ", *(ends.end() - 1), " %} for the block of line ", opened, ", got the end of the template");
    return body;
  }

  // The rest of a tag and its body; which of the ends it was.
  std::string body(Statement& made, std::initializer_list<std::string_view> ends) {
    expect_end(TokenKind::block_end);
    made.blocks.push_back(block(ends));
    return take().text;
  }

  Statement statement() {
    const int line = now().line;
    const std::string tag = expect_name("the name of a tag");
    if (tag == "set") return set(line);
    if (tag == "if") return if_(line);
    if (tag == "for") return for_(line);
    if (tag == "macro") return macro(line);
    if (tag == "call") return call(line);
    if (tag == "with") return with(line);
    if (tag == "filter") {
      Statement made(Tag::filter, line);
      made.expressions.push_back(block_filters(builtin(Role::filter, line, block_text(line))));
      apart(made, "endfilter");
      return made;
    }
    if (tag == "generation") {
      Statement made(Tag::generation, line);
      apart(made, "endgeneration");
      return made;
    }
    if (tag == "break" || tag == "continue") {
      if (loops_ == 0) fail("expected ", tag, " within a for, got one outside");
      return Statement(tag == "break" ? Tag::break_ : Tag::continue_, line);
    }
    static const std::vector<std::string> kTags = {
        "set",    "endset",    "if",       "elif",       "else",          "endif", "for",
        "endfor", "macro",     "endmacro", "call",       "endcall",       "with",  "endwith",
        "filter", "endfilter", "raw",      "generation", "endgeneration", "break", "continue"};
    reporter_.fail(line, "expected a tag that this library knows and that belongs here, got \"", tag.substr(0, 64),
                   "\"; the nearest known is \"", nearest(tag.substr(0, 64), kTags), "\"");
  }

  // A body that no break leaves.
  void apart(Statement& made, std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    body(made, {end});
    loops_ = loops;
  }

  std::string new_name() {
    const int line = now().line;
    const std::string name = expect_name("a name to assign to");
    for (const std::string_view constant : {"true", "True", "false", "False", "none", "None", "loop", "caller"})
      if (name == constant) reporter_.fail(line, "expected a name to assign to, got ", name);
    return name;
  }

  ExpressionPtr target(bool spaces) {
    auto made = make(Op::name, now().line);
    made->text = new_name();
    if (!spaces || !skip_sign(".")) return made;
    made = make(Op::space_attribute, now().line, std::move(made));
    made->text = expect_name("the name of an attribute");
    if (made->text.starts_with('_')) fail("expected a name without an underscore in front, got \"", made->text, "\"");
    return made;
  }

  // One target, or several with commas between them.
  ExpressionPtr targets(bool spaces) {
    ExpressionPtr first = target(spaces);
    if (!is_sign(",")) return first;
    auto made = make(Op::tuple, now().line, std::move(first));
    while (skip_sign(",")) add(*made, target(spaces));
    return made;
  }

  Statement set(int line) {
    Statement made(Tag::set, line);
    made.target = targets(true);
    if (skip_sign("=")) {
      made.expressions.push_back(tuple());
      return made;
    }
    made.tag = Tag::set_block;
    if (is_sign("|")) made.expressions.push_back(block_filters(block_text(line)));
    body(made, {"endset"});
    return made;
  }

  Statement if_(int line) {
    Statement made(Tag::if_, line);
    const Level level(ifs_);
    std::string end = "elif";
    while (end == "elif") {
      made.expressions.push_back(binary(0));
      end = body(made, {"elif", "else", "endif"});
    }
    if (end == "else") {
      body(made, {"endif"});
    }
    return made;
  }

  Statement for_(int line) {
    Statement made(Tag::for_, line);
    made.target = targets(false);
    if (!skip_name("in")) fail("expected in, got ", got());
    made.expressions.push_back(tuple(false));
    if (skip_name("if")) made.condition = expression();
    if (is_name("recursive"))
      fail("expected a loop that this library knows, got \"recursive\"; a macro can call itself");
    ++loops_;
    const std::string end = body(made, {"else", "endfor"});
    --loops_;
    if (end == "else") {
      body(made, {"endfor"});
    }
    return made;
  }

  Statement macro(int line) {
    Statement made(Tag::macro, line);
    made.text = new_name();
    parameters(made);
    ++macros_;
    apart(made, "endmacro");
    --macros_;
    return made;
  }

  void parameters(Statement& made) {
    expect_sign("(");
    while (!is_sign(")")) {
      if (!made.parameters.empty()) expect_sign(",");
      made.parameters.push_back(new_name());
      if (skip_sign("="))
        made.expressions.push_back(expression());
      else if (!made.expressions.empty())
        fail("expected a default for the parameter \"", made.parameters.back(), "\", got none");
    }
    take();
  }

  Statement call(int line) {
    Statement made(Tag::call, line);
    if (is_sign("(")) parameters(made);
    made.target = expression();
    if (made.target->op != Op::call)
      reporter_.fail(line, "expected a call that this library knows behind {% call, got another expression");
    apart(made, "endcall");
    return made;
  }

  Statement with(int line) {
    Statement made(Tag::with, line);
    while (now().kind != TokenKind::block_end) {
      if (!made.parameters.empty()) expect_sign(",");
      made.parameters.push_back(new_name());
      expect_sign("=");
      made.expressions.push_back(expression());
    }
    body(made, {"endwith"});
    return made;
  }

  ExpressionPtr block_text(int line) {
    auto made = make(Op::name, line);
    made->text = kBlockText;
    return made;
  }

  // The first filter of a block has its arguments still to come, if it is there.
  ExpressionPtr block_filters(ExpressionPtr value) {
    if (value->op == Op::filter && is_sign("(")) arguments(*value);
    while (is_sign("|")) value = filter(std::move(value));
    return value;
  }

  // ---- Expressions ----

  // An expression, or several with commas between them, which are a tuple.
  ExpressionPtr tuple(bool conditionals = true, bool in_brackets = false) {
    const int line = now().line;
    if (in_brackets && is_sign(")")) return make(Op::tuple, line);
    ExpressionPtr first = conditionals ? expression() : binary(0);
    if (!is_sign(",")) return first;
    auto made = make(Op::tuple, line, std::move(first));
    while (skip_sign(",")) {
      if (is_sign(")") || at_end_of_tag()) break;
      add(*made, conditionals ? expression() : binary(0));
    }
    return made;
  }

  ExpressionPtr expression() {
    const Level level = deeper();
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
  ExpressionPtr binary(std::size_t strength) {
    static const std::vector<std::vector<std::pair<std::string_view, Op>>> kOperators = {
        {{"or", Op::logical_or}},
        {{"and", Op::logical_and}},
        {},
        {},
        {{"+", Op::add}, {"-", Op::subtract}},
        {{"~", Op::concat}},
        {{"*", Op::multiply}, {"/", Op::divide}, {"//", Op::floor_divide}, {"%", Op::modulo}},
        {{"**", Op::power}}};
    if (strength == kOperators.size()) return unary(true);
    if (strength == 2 && is_name("not")) {
      const Level level = deeper();
      const int line = take().line;
      return make(Op::logical_not, line, binary(2));
    }
    if (strength == 3) return comparison();
    ExpressionPtr left = binary(strength + 1);
    while (true) {
      const int line = now().line;
      std::optional<Op> op;
      for (const auto& [text, each] : kOperators[strength])
        if (is_sign(text) || (strength < 2 && is_name(text))) op = each;
      if (!op) return left;
      take();
      left = make(*op, line, std::move(left), binary(strength + 1));
    }
  }

  std::optional<Comparison> take_comparison() {
    static const std::pair<std::string_view, Comparison> kSigns[] = {
        {"==", Comparison::equal},      {"!=", Comparison::not_equal}, {"<", Comparison::less},
        {"<=", Comparison::less_equal}, {">", Comparison::greater},    {">=", Comparison::greater_equal}};
    for (const auto& [sign, meaning] : kSigns)
      if (skip_sign(sign)) return meaning;
    if (skip_name("in")) return Comparison::in;
    if (!is_name("not") || !is(ahead(), TokenKind::name, "in")) return std::nullopt;
    take();
    take();
    return Comparison::not_in;
  }

  ExpressionPtr comparison() {
    const int line = now().line;
    ExpressionPtr left = binary(4);
    auto sign = take_comparison();
    if (!sign) return left;
    const auto compared = [&](ExpressionPtr with) {
      auto made = make(Op::compare, line, std::move(with), binary(4));
      made->comparison = *sign;
      sign = take_comparison();
      return made;
    };
    ExpressionPtr made = compared(std::move(left));
    if (!sign) return made;
    made = make(Op::chain, line, std::move(made));
    while (sign) add(*made, compared(nullptr));
    return made;
  }

  ExpressionPtr unary(bool filters) {
    const int line = now().line;
    ExpressionPtr made;
    if (is_sign("-") || is_sign("+")) {
      const Level level = deeper();
      const Op op = take().text == "-" ? Op::negative : Op::positive;
      made = make(op, line, unary(false));
    } else {
      made = postfix(primary());
    }
    while (filters) {
      if (is_sign("|"))
        made = filter(std::move(made));
      else if (is_name("is"))
        made = test(std::move(made));
      else
        break;
    }
    return made;
  }

  ExpressionPtr constant(int line, Value value) {
    auto made = make(Op::constant, line);
    made->value = std::move(value);
    return made;
  }

  ExpressionPtr primary() {
    const Level level = deeper();
    const Token token = take();
    const int line = token.line;
    switch (token.kind) {
      case TokenKind::name:
        return name(token);
      case TokenKind::string: {
        std::string text = token.text;
        while (now().kind == TokenKind::string) text += take().text;
        return constant(line, Value(Kind::text, std::make_shared<Text>(std::move(text))));
      }
      case TokenKind::integer: {
        std::int64_t value = 0;
        const auto end = token.text.data() + token.text.size();
        if (std::from_chars(token.text.data(), end, value).ec != std::errc())
          reporter_.fail(line, "expected whole numbers below 2^63, got ", token.text.substr(0, 40));
        return constant(line, Value::integer(value));
      }
      case TokenKind::real:
        return constant(line, Value::real(std::strtod(token.text.c_str(), nullptr)));
      default:
        break;
    }
    if (is(token, TokenKind::sign, "(")) {
      ExpressionPtr inner = tuple(true, true);
      expect_sign(")");
      return inner;
    }
    const bool list = is(token, TokenKind::sign, "[");
    if (!list && !is(token, TokenKind::sign, "{")) {
      --at_;
      fail("expected an expression, got ", got());
    }
    auto made = make(list ? Op::list : Op::dict, line);
    const std::string_view close = list ? "]" : "}";
    while (!is_sign(close)) {
      if (!made->parts.empty()) expect_sign(",");
      if (is_sign(close)) break;
      add(*made, expression());
      if (list) continue;
      expect_sign(":");
      add(*made, expression());
    }
    take();
    return made;
  }

  ExpressionPtr name(const Token& token) {
    const std::string& name = token.text;
    if (name == "true" || name == "True") return constant(token.line, Value::boolean(true));
    if (name == "false" || name == "False") return constant(token.line, Value::boolean(false));
    if (name == "none" || name == "None") return constant(token.line, Value::none());
    if (macros_ > 0 && (name == "varargs" || name == "kwargs"))
      reporter_.fail(token.line, "expected a macro that this library knows, got one that reads \"", name, "\"");
    auto made = make(Op::name, token.line);
    made->text = name;
    return made;
  }

  ExpressionPtr postfix(ExpressionPtr value) {
    while (true) {
      const int line = now().line;
      if (skip_sign(".")) {
        if (now().kind == TokenKind::integer) {
          ExpressionPtr place = primary();
          value = make(Op::item, line, std::move(value), std::move(place));
          continue;
        }
        value = make(Op::attribute, line, std::move(value));
        value->text = expect_name("the name of an attribute");
      } else if (skip_sign("[")) {
        value = subscript(line, std::move(value));
        expect_sign("]");
      } else if (is_sign("(")) {
        if (value->op == Op::attribute && !find_builtin(Role::method, value->text) && !is_mutator(value->text))
          fail(unknown_builtin(Role::method, value->text));
        value = make(Op::call, line, std::move(value));
        arguments(*value);
      } else {
        return value;
      }
    }
  }

  ExpressionPtr subscript(int line, ExpressionPtr value) {
    ExpressionPtr bounds[3];
    if (!is_sign(":")) bounds[0] = expression();
    if (!is_sign(":")) return make(Op::item, line, std::move(value), std::move(bounds[0]));
    for (int i = 1; i < 3 && skip_sign(":"); ++i)
      if (!is_sign(":") && !is_sign("]")) bounds[i] = expression();
    return make(Op::slice, line, std::move(value), std::move(bounds[0]), std::move(bounds[1]), std::move(bounds[2]));
  }

  void arguments(Expression& call) {
    take();
    for (bool first = true; !is_sign(")"); first = false) {
      if (!first) expect_sign(",");
      if (is_sign(")")) break;
      if (!call.star && skip_sign("*")) {
        call.star = expression();
        adopt(call, call.star.get());
        continue;
      }
      if (is_sign("*") || is_sign("**"))
        fail("expected arguments that this library knows, got \"", now().text, "\" in front of one");
      if (now().kind == TokenKind::name && is(ahead(), TokenKind::sign, "=")) {
        const std::string name = take().text;
        take();
        for (const auto& [other, _] : call.keywords)
          if (other == name) fail("expected the argument \"", name, "\" once, got it twice");
        call.keywords.emplace_back(name, expression());
        adopt(call, call.keywords.back().second.get());
      } else {
        if (!call.keywords.empty() || call.star)
          fail("expected arguments without a name first, got ", got(), " behind one with one");
        add(call, expression());
      }
    }
    take();
  }

  ExpressionPtr builtin(Role role, int line, ExpressionPtr value) {
    const std::string name = expect_name("the name of a filter or test");
    auto made = make(Op::filter, line, std::move(value));
    made->builtin = find_builtin(role, name);
    if (made->builtin) return made;
    // As in Jinja2, what an if leaves out may use what there is elsewhere only.
    made->text = unknown_builtin(role, name);
    if (ifs_ == 0) reporter_.fail(line, made->text);
    return made;
  }

  ExpressionPtr filter(ExpressionPtr value) {
    const int line = take().line;
    auto made = builtin(Role::filter, line, std::move(value));
    if (is_sign("(")) arguments(*made);
    return made;
  }

  ExpressionPtr test(ExpressionPtr value) {
    const int line = take().line;
    const bool negated = skip_name("not");
    auto made = builtin(Role::test, line, std::move(value));
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
  int loops_ = 0;   // those around here that a break can leave
  int macros_ = 0;  // those around here
  int ifs_ = 0;
};

}  // namespace

Block parse(std::string_view source, const std::string& where) {
  const Reporter reporter{where};
  if (source.size() > kMaxSource)
    reporter.fail(1, "expected a template of at most ", kMaxSource, " bytes, got ", source.size());
  return Parser(tokens_of(source, reporter), reporter).run();
}

}  // namespace grpo::jinja
