// Lists, relations and arithmetic.
#include "answers/math/parser.h"

#include <cstdlib>
#include <iterator>
#include <map>
#include <optional>

namespace grpo::math {
namespace {

constexpr int kMaxUnitPower = 1000;

constexpr Sign kFactorStarts[] = {Sign::symbol,      Sign::function,     Sign::pi,          Sign::e,
                                  Sign::i,           Sign::open_round,   Sign::open_square, Sign::open_brace,
                                  Sign::open_floor,  Sign::open_ceiling, Sign::fraction,    Sign::binomial,
                                  Sign::square_root, Sign::fold,         Sign::overline,    Sign::infinity,
                                  Sign::begin};

/// What stands behind an interval that ends with [, as [1, 2[ does.
constexpr Sign kBehindIntervals[] = {Sign::end,       Sign::unite,       Sign::intersect,    Sign::without,
                                     Sign::comma,     Sign::semicolon,   Sign::and_or,       Sign::relation,
                                     Sign::implies,   Sign::close_round, Sign::close_square, Sign::close_brace,
                                     Sign::close_set};

/// 2 of "square inches" and "seconds squared".
int power_named(std::string_view word) {
  return word == "square" || word == "sq" || word == "squared" ? 2 : word == "cubic" || word == "cubed" ? 3 : 1;
}

bool starts_operand(Sign sign) {
  return sign == Sign::number ||
         std::find(std::begin(kFactorStarts), std::end(kFactorStarts), sign) != std::end(kFactorStarts);
}

}  // namespace

NodeId Parser::list(Sign close, Kind kind) {
  std::vector<NodeId> items, groups;
  bool commas = false, semicolons = false;
  const auto end_group = [&] {
    groups.push_back(items.size() == 1 ? items[0] : add(Kind::tuple, items));
    items.clear();
  };
  std::vector<NodeId> all;
  std::vector<std::size_t> ends;
  std::string joined;  // & or | where no other word joins
  while (true) {
    all.push_back(relation());
    if (sees(Sign::semicolon)) {
      semicolons = true;
      ends.push_back(all.size());
    }
    bool parted = false;
    while (sees(Sign::comma) || sees(Sign::semicolon) || sees(Sign::and_or)) {
      commas |= sees(Sign::comma);
      if (sees(Sign::and_or) && joined.find(peek().text) == joined.npos) joined += peek().text;
      next();
      parted = true;
    }
    if (!parted && sees(close)) break;
    // "3 3" are two members, and so are x = kπ (k ∈ Z).
    if (!parted && !sees(Sign::number) && !sees(Sign::symbol) && !sees(Sign::open_round)) break;
  }
  if (all.size() == 1) return all[0];
  if (!(commas && semicolons)) return add_named(kind, joined.size() == 1 ? joined : std::string(), all);
  ends.push_back(all.size());
  for (std::size_t i = 0, end = 0; end < ends.size(); ++end) {
    for (; i < ends[end]; ++i) items.push_back(all[i]);
    if (!items.empty()) end_group();
  }
  return groups.size() == 1 ? groups[0] : add(kind, groups);
}

NodeId Parser::over(NodeId left, Sign close) {
  if (!sees(Sign::over)) return left;
  const bool binomial = next().function == Function::binomial;
  const NodeId right = list(close, Kind::list);
  return binomial ? add(Kind::function, {left, right}, Function::binomial) : add(Kind::quotient, {left, right});
}

NodeId Parser::relation() {
  std::vector<NodeId> members{set_expression()};
  std::string signs;
  while (true) {
    if (take(Sign::implies)) {
      members = {set_expression()};
      signs.clear();
    } else if (sees(Sign::relation)) {
      signs += next().text;
      members.push_back(set_expression());
    } else if (sees(Sign::open_round) && peek(1).sign == Sign::relation) {  // (mod 4)
      next();
      signs += next().text;
      members.push_back(set_expression());
      expect(Sign::close_round);
    } else {
      break;
    }
  }
  return members.size() == 1 ? members[0] : add_named(Kind::relation, std::move(signs), members);
}

NodeId Parser::set_expression() {
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

NodeId Parser::ratio() {
  NodeId left = sum();
  if (!sees(Sign::colon) || !colon_parts_) return left;
  std::vector<NodeId> members{left};
  while (take(Sign::colon)) members.push_back(sum());
  return add(Kind::ratio, members);
}

NodeId Parser::sum() {
  const Level level(depth_);
  NodeId left = term();
  std::vector<NodeId> members{left};
  const auto collect = [&] { return members.size() == 1 ? members[0] : add(Kind::sum, members); };
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

NodeId Parser::unary() {
  const Level level(depth_);
  if (take(Sign::minus)) {
    const NodeId of = unary();
    if (tree_[of].kind != Kind::quantity && tree_[of].kind != Kind::degree) return add(Kind::negate, {of});
    const NodeId turned = add(Kind::negate, {tree_[of].children[0]});  // -5 cm is (-5) cm
    tree_[of].children[0] = turned;
    return of;
  }
  if (take(Sign::plus)) return unary();
  if (take(Sign::plus_minus)) return add(Kind::plus_minus, {unary()});
  if (take(Sign::minus_plus)) return add(Kind::minus_plus, {unary()});
  return factor();
}

NodeId Parser::term() {
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
    } else if (sees(Sign::unit) || sees(Sign::currency) || sees(Sign::word) ||
               (sees(Sign::fraction) && peek(1).sign == Sign::open_brace && peek(2).sign == Sign::unit)) {
      // It is the unit of all that stands before: 2√5 cm.
      const Kind kind = tree_[left].kind;
      if (bars_ > 0 || kind == Kind::symbol || kind == Kind::quantity) fail();
      if (sees(Sign::word) && kind == Kind::product) fail();  // "do not know" is prose
      const bool doubtful = peek().function == Function::opaque;
      left = add_named(Kind::quantity, unit(), {left});
      tree_[left].called = doubtful && tree_[left].name.find_first_of("*/") == std::string::npos;
      literal = false;
    } else if (sees(Sign::open_round) && peek(1).sign == Sign::unit && tree_[left].kind != Kind::symbol) {  // 9 (cm)
      next();
      left = add_named(Kind::quantity, unit(), {left});
      expect(Sign::close_round);
      literal = false;
    } else if (take(Sign::percent)) {  // of all that stands before: 1/2% is 0.005
      left = add(Kind::percent, {left});
      literal = false;
    } else if (starts_factor(literal)) {
      left = add(Kind::product, {left, factor()});
      literal = false;
    } else {
      return left;
    }
  }
}

bool Parser::is_literal(NodeId id) const { return tree_[id].kind == Kind::number; }

bool Parser::is_whole(NodeId id) const {
  return is_literal(id) && tree_[id].digits < 0 && tree_[id].value->get_den() == 1;
}

bool Parser::starts_factor(bool after_number) const {
  switch (peek().sign) {
    case Sign::number:
    case Sign::numeral:
      return !after_number && !peek().space_before && at_ > 0 && tokens_[at_ - 1].sign != Sign::symbol;
    case Sign::bar:
      return bars_ == 0;
    case Sign::open_square:
      return std::ranges::find(kBehindIntervals, peek(1).sign) == std::end(kBehindIntervals);
    case Sign::open_round:  // (k ∈ Z) and (mod 4) are no factors
      return peek(1).sign != Sign::relation && (peek(1).sign != Sign::symbol || peek(2).sign != Sign::relation);
    default:
      return std::find(std::begin(kFactorStarts), std::end(kFactorStarts), peek().sign) != std::end(kFactorStarts);
  }
}

NodeId Parser::factor() {
  const bool digits = sees(Sign::number) && is_number_of_digits(peek().text);
  const bool bracketed = sees(Sign::open_round);
  NodeId node = primary();
  if (digits && is_whole(node))
    if (const auto fraction = proper_fraction()) *tree_[node].value += *fraction;
  if (bracketed && sees(Sign::subscript) && is_whole(node)) node = numeral(tree_[node].value->get_str());  // (1011)_2
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
      default: {
        const std::string scale = tree_[node].kind == Kind::degree ? scale_ahead() : "";
        if (scale.empty()) return node;
        next();
        return add_named(Kind::quantity, scale, {tree_[node].children[0]});
      }
    }
  }
}

std::string Parser::scale_ahead() const {
  if (sees(Sign::unit) && peek().text.starts_with("\u00B0")) return peek().text;
  const bool letter = sees(Sign::symbol) && (peek().text == "C" || peek().text == "F");
  return letter && !starts_operand(peek(1).sign) ? "\u00B0" + peek().text : "";
}

NodeId Parser::raised(NodeId base) {
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
  if (tree_[base].kind == Kind::symbol) {  // \mathbb{R}^+
    const std::size_t brace = sees(Sign::open_brace) ? 1 : 0;
    const Sign sign = peek(brace).sign, after = peek(brace + 1).sign;
    const bool lone = brace ? after == Sign::close_brace : !starts_operand(after);
    if (lone && (sign == Sign::plus || sign == Sign::minus || sign == Sign::times)) {
      for (std::size_t i = 0; i < 1 + 2 * brace; ++i) next();
      const char* mark = sign == Sign::plus ? "^+" : sign == Sign::minus ? "^-" : "^*";
      return add_named(Kind::symbol, tree_[base].name + mark);
    }
  }
  return add(Kind::power, {base, exponent()});
}

NodeId Parser::exponent() {
  const Level level(depth_);
  if (take(Sign::minus)) return add(Kind::negate, {exponent()});
  take(Sign::plus);
  const NodeId base = primary();
  return take(Sign::power) ? add(Kind::power, {base, exponent()}) : base;
}

std::string Parser::unit() {
  std::map<std::string, int> powers;
  const auto product = [&](Sign close, int side) {
    do {
      take(Sign::times);
      unit_factor(powers, side);
    } while (!take(close));
  };
  if (take(Sign::fraction)) {
    for (const int side : {1, -1}) {
      expect(Sign::open_brace);
      product(Sign::close_brace, side);
    }
  } else {
    unit_factor(powers, 1);
  }
  while (true) {
    if (sees_per()) {
      next();
      if (take(Sign::open_round))  // J/(kg K)
        product(Sign::close_round, -1);
      else
        unit_factor(powers, -1);
    } else if (sees(Sign::unit) || (sees(Sign::times) && peek(1).sign == Sign::unit)) {
      take(Sign::times);
      unit_factor(powers, 1);
    } else {
      break;
    }
  }
  std::string above, below;
  for (const auto& [name, power] : powers) {
    if (power == 0) continue;
    std::string& side = power > 0 ? above : below;
    if (power < 0 || !side.empty()) side += power < 0 ? '/' : '*';
    side += name;
    if (std::abs(power) > 1) side += '^' + std::to_string(std::abs(power));
  }
  above += below;
  return above == "mi/h" ? "mph" : above == "km/h" ? "kph" : above;
}

bool Parser::sees_per() const {
  const auto measures = [&](std::size_t ahead) {
    return peek(ahead).sign == Sign::unit || peek(ahead).sign == Sign::word;
  };
  if (sees(Sign::word)) return peek().text == "per" && measures(1);
  return sees(Sign::divide) &&
         (measures(1) || peek(1).sign == Sign::symbol || (peek(1).sign == Sign::open_round && measures(2)));
}

void Parser::unit_factor(std::map<std::string, int>& powers, int side) {
  if (!sees(Sign::unit) && !sees(Sign::word) && !sees(Sign::symbol) && !sees(Sign::currency)) fail();
  std::string name = next().text;
  int power = side;
  const auto raise = [&](int exponent) {
    power *= exponent;
    if (std::abs(power) > kMaxUnitPower) fail();
  };
  if (const int both = power_named(name); both > 1 && sees(Sign::unit)) name = next().text, raise(both);
  while (sees(Sign::word) && !sees_per()) {
    const std::string word = next().text;
    if (power_named(word) > 1)
      raise(power_named(word));
    else
      name += ' ' + word;
  }
  if (take(Sign::power)) {
    const bool brace = take(Sign::open_brace), negative = take(Sign::minus);
    const std::string digits = next().text;
    if (!is_number_of_digits(digits) || digits.size() > 2) fail();
    raise(std::stoi(digits) * (negative ? -1 : 1));
    if (brace) expect(Sign::close_brace);
  }
  powers[std::move(name)] += power;
}

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
