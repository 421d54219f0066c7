// The parser of answers: precedence climbing, with a bound on the nesting. parser.cpp reads lists, relations and
// arithmetic, primary.cpp what they are made of.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "answers/math/expression.h"
#include "answers/math/lexer.h"

namespace grpo::math {

constexpr int kMaxDepth = 100;  // of brackets, exponents, arguments and signs
constexpr NodeId kNone = ~NodeId{0};

/// How reading ends early; never leaves read_expression.
struct Stop {
  ReadStatus status;
};

bool is_number_of_digits(std::string_view text);

class Parser {
 public:
  Parser(std::vector<Token> tokens, Tree& tree) : tokens_(std::move(tokens)), tree_(tree) {}

  NodeId answer() {
    if (sees(Sign::relation) && (peek().text == "=" || peek().text == "~")) next();  // "= 5"
    const NodeId root = over(list(Sign::end, Kind::list), Sign::end);
    if (peek().sign != Sign::end) fail();
    return root;
  }

 private:
  [[noreturn]] static void fail() { throw Stop{ReadStatus::unreadable}; }
  const Token& peek(std::size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  bool sees(Sign sign) const { return peek().sign == sign; }
  const Token& next() {
    const Token& token = peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool take(Sign sign) {
    if (!sees(sign)) return false;
    next();
    return true;
  }
  void expect(Sign sign) {
    if (!take(sign)) fail();
  }
  NodeId add(Kind kind, std::span<const NodeId> children, Function function = Function::none) {
    if (tree_.full()) throw Stop{ReadStatus::over_budget};
    return tree_.add(kind, children, function);
  }
  NodeId add(Kind kind, std::initializer_list<NodeId> children, Function function = Function::none) {
    return add(kind, std::span(children), function);
  }
  NodeId add_named(Kind kind, std::string name, std::span<const NodeId> children = {}) {
    const NodeId id = add(kind, children);
    tree_[id].name = std::move(name);
    return id;
  }
  NodeId add_named(Kind kind, std::string name, std::initializer_list<NodeId> children) {
    return add_named(kind, std::move(name), std::span(children));
  }
  NodeId add_number(mpq_class value) {
    const NodeId id = add(Kind::number, {});
    tree_[id].value = std::move(value);
    return id;
  }

  /// The members of a list; anything else is its own only member. `of` must outlive what is returned.
  std::span<const NodeId> members(const NodeId& of) const {
    return tree_[of].kind == Kind::list ? std::span<const NodeId>(tree_[of].children) : std::span(&of, 1);
  }

  /// Counts nesting for as long as it lives.
  struct Level {
    explicit Level(int& depth) : depth(depth) {
      if (++depth > kMaxDepth) throw Stop{ReadStatus::over_budget};
    }
    ~Level() { --depth; }
    int& depth;
  };

  // parser.cpp
  /// Members up to `close`, which stays. One member is itself; several are of `kind`; where both ; and , part them, the
  /// semicolons part tuples.
  NodeId list(Sign close, Kind kind);
  /// What \over and \choose make of `left` and all that follows up to `close`, which stays.
  NodeId over(NodeId left, Sign close);
  NodeId relation();
  NodeId set_expression();
  NodeId ratio();
  NodeId sum();
  NodeId unary();
  NodeId term();
  bool is_literal(NodeId id) const;
  bool is_whole(NodeId id) const;
  bool starts_factor(bool after_number) const;
  /// A primary with what stands behind and above it.
  NodeId factor();
  NodeId raised(NodeId base);
  NodeId exponent();
  /// "°C" of 25°C, "" where no letter behind a degree sign names a scale.
  std::string scale_ahead() const;
  /// cm, cm^2, \text{ cm}^{2}, km/h, m s^{-2}, apples: in one spelling, "m/s^2", whose parts are in alphabetical order.
  std::string unit();
  /// Whether what comes next divides a unit by another one: "/ h", "per hour".
  bool sees_per() const;
  /// One unit of a product and its power, which it adds to `powers`; `side` is -1 behind a stroke.
  void unit_factor(std::map<std::string, int>& powers, int side);

  // primary.cpp
  NodeId primary();
  NodeId signed_factor();
  NodeId number(std::string text);
  /// The 1/2 of 3\frac{1}{2}, of 3 1/2 and of 3½, which it takes; nothing where what comes next is no fraction of two
  /// whole numbers below 1, or is raised to a power: 3\frac{5}{2} and 3\frac{1}{2}^2 are products.
  std::optional<mpq_class> proper_fraction();
  /// The digits that repeat behind the decimal point of `text`, with the marks that say so, which it takes: (6),
  /// \overline{6}, \dot{6}, \dot{1}2\dot{3}, and … behind three equal digits, or two equal groups of them.
  std::string repetend(const std::string& text);
  /// Digits in another base, which follows: 1011_2.
  NodeId numeral(const std::string& digits);
  bool is_bound(std::string_view name) const;
  NodeId symbol(std::string name, bool may_call);
  /// max of m_{\max}, red of x_{\text{red}}; "" for an index that is an expression.
  std::string subscript_words();
  NodeId function(const Token& token);
  /// What a function without brackets is of: sin 2x, \cos\frac{x}{2}, up to the next sign or function.
  NodeId bare_argument();
  NodeId enclosed(Sign close, Kind kind);
  NodeId round();
  /// Behind [, and behind ] as in ]1, 2[, where it stands for (.
  NodeId square(bool open);
  NodeId half_open(NodeId inside, bool open, bool close);
  NodeId braces();
  /// Whether a colon stands for "such that" in the braces that are open: \{x : x > 0\}, and not \{1 : 2\}.
  bool is_condition_ahead() const;
  NodeId bars();
  /// An argument of \frac and the like: braces, one digit, or one sign.
  NodeId argument();
  NodeId root(const std::string& degree);
  NodeId fold(Function which);
  NodeId overlined();
  NodeId matrix(const std::string& environment);

  std::vector<Token> tokens_;
  Tree& tree_;
  std::vector<std::string> bound_;  // names of indices
  std::size_t at_ = 0, digits_ = 0;
  int depth_ = 0, bars_ = 0;
  bool colon_parts_ = true;  // of a ratio; else it says "such that"
};

}  // namespace grpo::math
