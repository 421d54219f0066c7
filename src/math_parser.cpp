// From tokens to a tree: precedence climbing, with a bound on the nesting.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "math_expression.h"
#include "math_lexer.h"

namespace grpo::math {
namespace {

constexpr int kMaxDepth = 100;  // of brackets, exponents, arguments and signs
constexpr NodeId kNone = ~NodeId{0};
constexpr std::size_t kMaxDigits = 4096;  // of a number, zeros of its exponent included

/// How reading ends early; never leaves read_expression.
struct Stop {
  ReadStatus status;
};

class Parser {
 public:
  Parser(std::vector<Token> tokens, Tree& tree) : tokens_(std::move(tokens)), tree_(tree) {}

  NodeId answer() {
    const NodeId root = list(Sign::end, Kind::list);
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
  NodeId add(Kind kind, std::vector<NodeId> children, Function function = Function::none) {
    if (tree_.full()) throw Stop{ReadStatus::over_budget};
    return tree_.add(kind, std::move(children), function);
  }
  NodeId add_named(Kind kind, std::string name, std::vector<NodeId> children = {}) {
    const NodeId id = add(kind, std::move(children));
    tree_[id].name = std::move(name);
    return id;
  }
  NodeId add_number(mpq_class value) {
    const NodeId id = add(Kind::number, {});
    tree_[id].value = std::move(value);
    return id;
  }

  /// Counts nesting for as long as it lives.
  struct Level {
    explicit Level(int& depth) : depth(depth) {
      if (++depth > kMaxDepth) throw Stop{ReadStatus::over_budget};
    }
    ~Level() { --depth; }
    int& depth;
  };

  // ---- Lists and relations ----

  /// Members up to `close`, which stays. One member is itself; several are of `kind`; where both ; and , part them, the
  /// semicolons part tuples.
  NodeId list(Sign close, Kind kind) {
    std::vector<NodeId> items, groups;
    bool commas = false, semicolons = false;
    const auto end_group = [&] {
      groups.push_back(items.size() == 1 ? items[0] : add(Kind::tuple, items));
      items.clear();
    };
    std::vector<NodeId> all;
    std::vector<std::size_t> ends;
    while (true) {
      all.push_back(relation());
      if (sees(Sign::semicolon)) {
        semicolons = true;
        ends.push_back(all.size());
      }
      bool parted = false;
      while (sees(Sign::comma) || sees(Sign::semicolon) || sees(Sign::and_or)) {
        commas |= sees(Sign::comma);
        next();
        parted = true;
      }
      if (!parted && sees(close)) break;
      if (!parted && !sees(Sign::number) && !sees(Sign::symbol)) break;  // "3 3" are two members
    }
    if (all.size() == 1) return all[0];
    if (!(commas && semicolons)) return add(kind, std::move(all));
    ends.push_back(all.size());
    for (std::size_t i = 0, end = 0; end < ends.size(); ++end) {
      for (; i < ends[end]; ++i) items.push_back(all[i]);
      if (!items.empty()) end_group();
    }
    return groups.size() == 1 ? groups[0] : add(kind, std::move(groups));
  }

  NodeId relation() {
    std::vector<NodeId> members{set_expression()};
    std::string signs;
    while (true) {
      if (take(Sign::implies)) {
        members = {set_expression()};
        signs.clear();
      } else if (sees(Sign::relation)) {
        signs += next().text;
        members.push_back(set_expression());
      } else {
        break;
      }
    }
    return members.size() == 1 ? members[0] : add_named(Kind::relation, std::move(signs), std::move(members));
  }

  NodeId set_expression() {
    NodeId left = ratio();
    while (sees(Sign::unite) || sees(Sign::intersect) || sees(Sign::without)) {
      const Sign sign = next().sign;
      const NodeId right = ratio();
      left = add(sign == Sign::unite       ? Kind::unite
                 : sign == Sign::intersect ? Kind::intersect
                                           : Kind::without,
                 {left, right});
    }
    return left;
  }

  NodeId ratio() {
    NodeId left = sum();
    if (!sees(Sign::colon)) return left;
    std::vector<NodeId> members{left};
    while (take(Sign::colon)) members.push_back(sum());
    return add(Kind::ratio, std::move(members));
  }

  // ---- Arithmetic ----

  NodeId sum() {
    const Level level(depth_);
    NodeId left = term();
    std::vector<NodeId> members{left};
    const auto collect = [&] { return members.size() == 1 ? members[0] : add(Kind::sum, std::exchange(members, {})); };
    while (true) {
      if (take(Sign::plus)) {
        members.push_back(term());
      } else if (take(Sign::minus)) {
        members.push_back(add(Kind::negate, {term()}));
      } else if (sees(Sign::plus_minus) || sees(Sign::minus_plus)) {
        const Kind kind = next().sign == Sign::plus_minus ? Kind::plus_minus : Kind::minus_plus;
        const NodeId so_far = collect();
        members = {add(kind, {so_far, term()})};
      } else {
        return collect();
      }
    }
  }

  NodeId unary() {
    const Level level(depth_);
    if (take(Sign::minus)) {
      const NodeId of = unary();
      if (tree_[of].kind != Kind::quantity) return add(Kind::negate, {of});
      const NodeId turned = add(Kind::negate, {tree_[of].children[0]});  // -5 cm is (-5) cm
      tree_[of].children[0] = turned;
      return of;
    }
    if (take(Sign::plus)) return unary();
    if (take(Sign::plus_minus)) return add(Kind::plus_minus, {unary()});
    if (take(Sign::minus_plus)) return add(Kind::minus_plus, {unary()});
    return factor();
  }

  NodeId term() {
    NodeId left = unary();
    bool literal = is_literal(left);  // the last factor is a bare number
    while (true) {
      if (take(Sign::times)) {
        const NodeId right = unary();
        left = add(Kind::product, {left, right});
        literal = is_literal(right);
      } else if (take(Sign::divide)) {
        left = add(Kind::quotient, {left, unary()});
        literal = false;
      } else if (take(Sign::percent)) {  // of all that stands before: 1/2% is 0.005
        left = add(Kind::percent, {left});
        literal = false;
      } else if (starts_factor(literal)) {
        const bool mixed = literal && !tree_[left].children.size() && sees(Sign::fraction);
        const NodeId right = factor();
        if (mixed && is_proper(right)) {
          left = add(Kind::sum, {left, right});
        } else {
          left = add(Kind::product, {left, right});
        }
        literal = false;
      } else if (literal && is_mixed_ahead()) {
        const NodeId numerator = factor();
        expect(Sign::divide);
        left = add(Kind::sum, {left, add(Kind::quotient, {numerator, factor()})});
        literal = false;
      } else {
        return left;
      }
    }
  }

  bool is_literal(NodeId id) const { return tree_[id].kind == Kind::number; }
  bool is_whole(NodeId id) const { return is_literal(id) && tree_[id].digits < 0 && tree_[id].value.get_den() == 1; }
  /// 1/2 behind a whole number makes a mixed one; 3/2 and x/2 are factors.
  bool is_proper(NodeId id) const {
    const Node& node = tree_[id];
    return node.kind == Kind::quotient && is_whole(node.children[0]) && is_whole(node.children[1]) &&
           tree_[node.children[0]].value < tree_[node.children[1]].value;
  }
  /// "1/2" of "3 1/2".
  bool is_mixed_ahead() const {
    if (peek(0).sign != Sign::number || peek(1).sign != Sign::divide || peek(2).sign != Sign::number) return false;
    const std::string &a = peek(0).text, &b = peek(2).text;
    const auto whole = [](const std::string& text) {
      return text.find_first_not_of("0123456789") == text.npos && text.size() < 6;
    };
    return whole(a) && whole(b) && (a.size() < b.size() || (a.size() == b.size() && a < b));
  }

  bool starts_factor(bool after_number) const {
    switch (peek().sign) {
      case Sign::number:
      case Sign::numeral:
        return !after_number && !peek().space_before && at_ > 0 && tokens_[at_ - 1].sign != Sign::symbol;
      case Sign::symbol:
      case Sign::function:
      case Sign::pi:
      case Sign::e:
      case Sign::i:
      case Sign::open_round:
      case Sign::open_brace:
      case Sign::open_floor:
      case Sign::open_ceiling:
      case Sign::fraction:
      case Sign::binomial:
      case Sign::square_root:
      case Sign::fold:
      case Sign::overline:
      case Sign::infinity:
        return true;
      case Sign::bar:
        return bars_ == 0;
      case Sign::open_square:
        return true;
      default:
        return false;
    }
  }

  /// A primary with what stands behind and above it.
  NodeId factor() {
    NodeId node = primary();
    while (true) {
      switch (peek().sign) {
        case Sign::power:
          next();
          node = raised(node);
          break;
        case Sign::bang:
          next();
          node = add(Kind::function, {node}, take(Sign::bang) ? Function::double_factorial : Function::factorial);
          break;
        case Sign::degree:
          next();
          node = add(Kind::degree, {node});
          break;
        case Sign::prime:
          next();
          if (tree_[node].kind != Kind::symbol) fail();
          tree_[node].name += '\'';
          break;
        case Sign::unit:
        case Sign::currency:
        case Sign::word:
          if (bars_ > 0 || tree_[node].kind == Kind::symbol || tree_[node].kind == Kind::quantity) fail();
          {
            const bool doubtful = peek().function == Function::opaque;
            node = add_named(Kind::quantity, unit(), {node});
            tree_[node].called = doubtful;
          }
          break;
        default:
          return node;
      }
    }
  }

  NodeId raised(NodeId base) {
    const Level level(depth_);
    if (take(Sign::degree)) return add(Kind::degree, {base});
    if (take(Sign::prime)) {
      if (tree_[base].kind != Kind::symbol) fail();
      tree_[base].name += '\'';
      return base;
    }
    if (sees(Sign::open_brace) && peek(1).sign == Sign::degree && peek(2).sign == Sign::close_brace) {
      next(), next(), next();
      return add(Kind::degree, {base});
    }
    return add(Kind::power, {base, exponent()});
  }

  NodeId exponent() {
    const Level level(depth_);
    if (take(Sign::minus)) return add(Kind::negate, {exponent()});
    take(Sign::plus);
    const NodeId base = primary();
    return take(Sign::power) ? add(Kind::power, {base, exponent()}) : base;
  }

  /// cm, cm^2, \text{ cm}^{2}, km/h, apples.
  std::string unit() {
    std::string name = next().text;
    while (sees(Sign::word)) name += ' ' + next().text;
    const auto power = [&] {
      if (!sees(Sign::power)) return;
      next();
      const bool brace = take(Sign::open_brace);
      name += '^' + next().text;
      if (brace) expect(Sign::close_brace);
    };
    power();
    while (sees(Sign::divide) && (peek(1).sign == Sign::unit || peek(1).sign == Sign::word)) {
      next();
      name += '/' + next().text;
      power();
    }
    return name;
  }

  // ---- Primaries ----

  NodeId primary() {
    const Level level(depth_);
    const Token token = next();
    switch (token.sign) {
      case Sign::number:
        return number(token.text);
      case Sign::numeral:
        return numeral(token.text);
      case Sign::pi:
        return add(Kind::pi, {});
      case Sign::e:
        return is_bound("e") ? symbol("e", false) : add(Kind::e, {});
      case Sign::i:
        return is_bound("i") || sees(Sign::subscript) ? symbol("i", false) : add(Kind::i, {});
      case Sign::infinity:
        return add(Kind::infinity, {});
      case Sign::symbol:
        return symbol(token.text, true);
      case Sign::unit:
        return symbol(token.text, false);
      case Sign::currency:
        return add_named(Kind::quantity, token.text, {signed_factor()});
      case Sign::function:
        return function(token);
      case Sign::open_brace:
        return enclosed(Sign::close_brace, Kind::set);
      case Sign::open_round:
        return round();
      case Sign::open_square:
        return square();
      case Sign::open_set:
        return braces();
      case Sign::open_angle:
        return enclosed(Sign::close_angle, Kind::tuple);
      case Sign::open_floor:
        return add(Kind::function, {enclosed(Sign::close_floor, Kind::tuple)}, Function::floor);
      case Sign::open_ceiling:
        return add(Kind::function, {enclosed(Sign::close_ceiling, Kind::tuple)}, Function::ceiling);
      case Sign::bar:
        return bars();
      case Sign::fraction: {
        const NodeId numerator = argument();
        return add(Kind::quotient, {numerator, argument()});
      }
      case Sign::binomial: {
        const NodeId n = argument();
        return add(Kind::function, {n, argument()}, Function::binomial);
      }
      case Sign::square_root:
        return root(token.text);
      case Sign::fold:
        return fold(token.function);
      case Sign::overline:
        return overlined();
      case Sign::begin:
        return matrix(token.text);
      default:
        fail();
    }
  }

  NodeId signed_factor() { return take(Sign::minus) ? add(Kind::negate, {factor()}) : factor(); }

  NodeId number(std::string text) {
    std::string repeated;
    if (text.find('.') != text.npos && sees(Sign::overline)) {  // 0.1\overline{6}
      next();
      expect(Sign::open_brace);
      repeated = next().text;
      expect(Sign::close_brace);
      if (repeated.empty() || repeated.find_first_not_of("0123456789") != repeated.npos) fail();
    }
    long exponent = 0;
    if (const std::size_t e = text.find('e'); e != text.npos) {
      if (text.size() - e > 7) throw Stop{ReadStatus::over_budget};
      exponent = std::stol(text.substr(e + 1));
      text.resize(e);
    }
    std::int32_t digits = -1;
    if (const std::size_t point = text.find('.'); point != text.npos) {
      digits = static_cast<std::int32_t>(text.size() - point - 1);
      text.erase(point, 1);
    }
    const long scale = exponent - std::max(digits, 0);
    digits_ += text.size() + repeated.size() + static_cast<std::size_t>(std::abs(exponent));
    if (digits_ > kMaxDigits) throw Stop{ReadStatus::over_budget};
    if (text.empty()) {
      if (repeated.empty()) fail();
      text = "0";
    }
    mpq_class value{mpz_class(text, 10)};
    if (!repeated.empty()) {
      mpz_class nines;
      mpz_ui_pow_ui(nines.get_mpz_t(), 10, repeated.size());
      value += mpq_class(mpz_class(repeated, 10)) / (nines - 1);
      digits = -1;
    }
    if (scale != 0) {
      mpz_class power;
      mpz_ui_pow_ui(power.get_mpz_t(), 10, static_cast<unsigned long>(std::abs(scale)));
      if (scale > 0)
        value *= power;
      else
        value /= power;
    }
    const NodeId id = add_number(std::move(value));
    tree_[id].digits = exponent == 0 ? digits : -1;
    if (sees(Sign::subscript)) return numeral(text);
    return id;
  }

  /// Digits in another base, which follows: 1011_2.
  NodeId numeral(const std::string& digits) {
    expect(Sign::subscript);
    const bool brace = take(Sign::open_brace);
    const std::string base_text = next().text;
    if (brace) expect(Sign::close_brace);
    int base = 0;
    if (!base_text.empty() && base_text.size() <= 2 && base_text.find_first_not_of("0123456789") == base_text.npos)
      base = std::stoi(base_text);
    mpz_class value;
    digits_ += digits.size();
    if (digits_ > kMaxDigits) throw Stop{ReadStatus::over_budget};
    if (base < 2 || base > 36 || value.set_str(digits, base) != 0) fail();
    const NodeId id = add_number(mpq_class(value));
    tree_[id].base = static_cast<std::int16_t>(base);
    return id;
  }

  bool is_bound(std::string_view name) const { return std::find(bound_.begin(), bound_.end(), name) != bound_.end(); }

  NodeId symbol(std::string name, bool may_call) {
    bool subscripted = false;
    if (take(Sign::subscript)) {
      subscripted = true;
      const NodeId index = argument();
      const Node& node = tree_[index];
      if (node.kind == Kind::number && node.value.get_den() == 1) {
        name += '_' + node.value.get_num().get_str();
      } else {
        return add_named(Kind::call, name + '_', {index});
      }
    }
    while (take(Sign::prime)) name += '\'';
    if (may_call && sees(Sign::open_round) && !is_bound(name)) {
      const bool function = subscripted || name.back() == '\'' || name == "f" || name == "g" || name == "h" ||
                            (name[0] >= 'A' && name[0] <= 'Z' && name.size() == 1) || name.size() > 2;
      const bool lone = peek(1).sign == Sign::symbol && peek(2).sign == Sign::close_round;
      if (function || lone) {
        next();
        const NodeId inside = enclosed(Sign::close_round, Kind::list);
        if (function) {
          const bool several = tree_[inside].kind == Kind::list;
          return add_named(Kind::call, std::move(name), several ? tree_[inside].children : std::vector{inside});
        }
        const NodeId first = add_named(Kind::symbol, std::move(name));
        const NodeId product = add(Kind::product, {first, inside});
        tree_[product].called = true;
        return product;
      }
    }
    return add_named(Kind::symbol, std::move(name));
  }

  NodeId function(const Token& token) {
    Function which = token.function;
    NodeId power = kNone, base = kNone;
    if (take(Sign::subscript)) base = argument();
    if (take(Sign::power)) power = exponent();
    if (base == kNone && take(Sign::subscript)) base = argument();
    NodeId of;
    if (take(Sign::open_round)) {
      of = enclosed(Sign::close_round, Kind::list);
    } else if (take(Sign::open_brace)) {
      of = enclosed(Sign::close_brace, Kind::list);
    } else {
      of = bare_argument();
    }
    if (power != kNone && tree_[power].kind == Kind::negate && is_whole(tree_[power].children[0]) &&
        tree_[tree_[power].children[0]].value == 1) {
      power = kNone;
      which = which == Function::sin   ? Function::arcsin
              : which == Function::cos ? Function::arccos
              : which == Function::tan ? Function::arctan
                                       : Function::opaque;
      if (which == Function::opaque) fail();
    }
    std::vector<NodeId> arguments = tree_[of].kind == Kind::list ? tree_[of].children : std::vector{of};
    if (base != kNone) {
      if (which != Function::log) fail();
      arguments.push_back(base);
    }
    const NodeId result = add(Kind::function, std::move(arguments), which);
    return power != kNone ? add(Kind::power, {result, power}) : result;
  }

  /// What a function without brackets is of: sin 2x, \cos\frac{x}{2}, up to the next sign or function.
  NodeId bare_argument() {
    const Level level(depth_);
    if (take(Sign::minus)) return add(Kind::negate, {bare_argument()});
    NodeId of = factor();
    while (starts_factor(is_literal(of)) && !sees(Sign::function) && !sees(Sign::open_round) &&
           !sees(Sign::open_square))
      of = add(Kind::product, {of, factor()});
    return of;
  }

  NodeId enclosed(Sign close, Kind kind) {
    const int bars = std::exchange(bars_, 0);
    const NodeId inside = list(close, kind);
    expect(close);
    bars_ = bars;
    return inside;
  }

  NodeId round() {
    const int bars = std::exchange(bars_, 0);
    const NodeId inside = list(Sign::close_round, Kind::tuple);
    bars_ = bars;
    if (take(Sign::close_round)) return inside;
    expect(Sign::close_square);
    return half_open(inside, true, false);
  }

  NodeId square() {
    const int bars = std::exchange(bars_, 0);
    const NodeId inside = list(Sign::close_square, Kind::tuple);
    bars_ = bars;
    if (take(Sign::close_square)) return tree_[inside].kind == Kind::tuple ? half_open(inside, false, false) : inside;
    expect(Sign::close_round);
    return half_open(inside, false, true);
  }

  NodeId half_open(NodeId inside, bool open, bool close) {
    Node& node = tree_[inside];
    if (node.kind != Kind::tuple || ((open || close) && node.children.size() != 2)) fail();
    node.kind = Kind::bracket;
    node.open = open;
    node.close = close;
    return inside;
  }

  NodeId braces() {
    if (take(Sign::close_set)) return add(Kind::set, {});
    ++bars_;  // \{x | x > 0\}
    const NodeId first = list(Sign::close_set, Kind::set);
    --bars_;
    if (take(Sign::bar) || take(Sign::colon)) return enclosed(Sign::close_set, Kind::list);
    expect(Sign::close_set);
    return tree_[first].kind == Kind::set ? first : add(Kind::set, {first});
  }

  NodeId bars() {
    const Level level(depth_);
    ++bars_;
    const NodeId inside = sum();
    expect(Sign::bar);
    --bars_;
    return add(Kind::function, {inside}, Function::absolute);
  }

  /// An argument of \frac and the like: braces, one digit, or one sign.
  NodeId argument() {
    const Level level(depth_);
    if (take(Sign::open_brace)) {
      const int bars = std::exchange(bars_, 0);
      const NodeId inside = sum();
      bars_ = bars;
      expect(Sign::close_brace);
      return inside;
    }
    if (sees(Sign::number)) {
      Token& token = tokens_[at_];
      const std::string digit = token.text.substr(0, 1);
      if (token.text.find_first_not_of("0123456789") != token.text.npos) fail();
      if (token.text.size() == 1)
        next();
      else
        token.text.erase(0, 1);
      return number(digit);
    }
    return primary();
  }

  NodeId root(const std::string& degree) {
    std::vector<NodeId> children;
    NodeId order = kNone;
    if (take(Sign::open_square)) {
      order = sum();
      expect(Sign::close_square);
    }
    if (!degree.empty()) order = add_number(std::stoi(degree));
    children.push_back(sees(Sign::number) ? number(next().text) : argument());  // √17, and \\sqrt17 as it is meant
    if (order != kNone) children.push_back(order);
    return add(Kind::function, std::move(children), Function::root);
  }

  NodeId fold(Function which) {
    NodeId lower = kNone, upper = kNone;
    std::string index;
    for (int i = 0; i < 2; ++i) {
      if (take(Sign::subscript)) {
        expect(Sign::open_brace);
        index = next().text;
        if (index.empty() || next().text != "=") fail();
        lower = sum();
        expect(Sign::close_brace);
      } else if (take(Sign::power)) {
        upper = argument();
      }
    }
    if (lower == kNone || upper == kNone) fail();
    bound_.push_back(index);
    const NodeId body = term();
    bound_.pop_back();
    const NodeId name = add_named(Kind::symbol, index);
    return add(Kind::fold, {name, lower, upper, body}, which);
  }

  NodeId overlined() {
    std::string name = "overline ";
    if (take(Sign::open_brace)) {
      while (!sees(Sign::close_brace) && !sees(Sign::end)) name += next().text + ' ';
      expect(Sign::close_brace);
    } else {
      name += next().text;
    }
    return add_named(Kind::symbol, std::move(name));
  }

  NodeId matrix(const std::string& environment) {
    if (environment != "array" && environment != "smallmatrix" &&
        (!environment.ends_with("matrix") || environment == "vmatrix" || environment == "Vmatrix"))
      fail();
    std::vector<NodeId> cells;
    std::uint32_t columns = 0, row = 0;
    while (!sees(Sign::finish)) {
      cells.push_back(sum());
      ++row;
      if (take(Sign::column)) continue;
      const bool more = take(Sign::row);
      if (columns != 0 && columns != row) fail();
      columns = std::exchange(row, 0);
      if (!more) break;
    }
    if (row != 0 || cells.empty() || next().text != environment) fail();
    const NodeId id = add(Kind::matrix, std::move(cells));
    tree_[id].columns = columns;
    return id;
  }

  std::vector<Token> tokens_;
  Tree& tree_;
  std::vector<std::string> bound_;  // names of indices
  std::size_t at_ = 0, digits_ = 0;
  int depth_ = 0, bars_ = 0;
};

}  // namespace

ReadStatus read_expression(std::string_view text, const ReadOptions& options, Tree& tree, NodeId& root) {
  auto tokens = cut_into_tokens(text, options);
  if (!tokens) return ReadStatus::unreadable;
  try {
    root = Parser(std::move(*tokens), tree).answer();
  } catch (const Stop& stop) {
    return stop.status;
  }
  return ReadStatus::read;
}

}  // namespace grpo::math
