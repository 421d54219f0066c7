// What expressions are made of: numbers, names, brackets, functions, roots, sums, matrices.
#include <cstdlib>
#include <iterator>

#include "answers/math/parser.h"
#include "answers/math/unit.h"

namespace grpo::math {
namespace {

constexpr std::size_t kMaxDigits = 4096;  // of all numbers, zeros of exponents included
constexpr std::size_t kMaxPart = 9;       // digits of a part of the fraction in a mixed number

/// The bases of numerals in words: 1011_{\text{two}}.
constexpr std::string_view kBases[] = {"two",  "three", "four",   "five",   "six",      "seven",    "eight",
                                       "nine", "ten",   "eleven", "twelve", "thirteen", "fourteen", "fifteen",
                                       "sixteen"};

}  // namespace

bool is_number_of_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

NodeId Parser::primary() {
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
      return token.text == "\u2205" ? add(Kind::set, {}) : symbol(token.text, true);
    case Sign::unit:
      if (is_currency(token.text) && sees(Sign::number))  // USD 3
        return add_named(Kind::quantity, token.text, {factor()});
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
      return square(false);
    case Sign::close_square:
      return square(true);
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

NodeId Parser::signed_factor() { return take(Sign::minus) ? add(Kind::negate, {factor()}) : factor(); }

std::optional<mpq_class> Parser::proper_fraction() {
  if (!sees(Sign::fraction) && peek(1).sign != Sign::divide) return {};
  std::size_t ahead = 0;
  const auto part = [&]() -> std::string {  // digits, which braces may hold
    const bool brace = peek(ahead).sign == Sign::open_brace;
    const Token& token = peek(ahead + brace);
    if (token.sign != Sign::number || (brace && peek(ahead + 2).sign != Sign::close_brace)) return {};
    ahead += brace ? 3 : 1;
    return token.text;
  };
  std::string above, below;
  if (peek().sign == Sign::fraction) {
    const bool braces = peek(++ahead).sign == Sign::open_brace;
    above = part();
    if (braces)
      below = part();
    else if (above.size() == 2)  // \frac12
      below = above.substr(1), above.resize(1);
    else if (above.size() == 1)
      below = part();
  } else {
    above = part();
    ++ahead;
    below = part();
  }
  for (const std::string* each : {&above, &below})
    if (each->size() > kMaxPart || !is_number_of_digits(*each)) return {};
  const std::uint64_t numerator = std::stoull(above), denominator = std::stoull(below);
  const bool raised = (peek(ahead).sign == Sign::power && peek(ahead + 1).sign != Sign::degree &&
                       peek(ahead + 2).sign != Sign::degree) ||
                      peek(ahead).sign == Sign::bang;
  if (numerator >= denominator || raised) return {};
  while (ahead-- > 0) next();
  mpq_class value(numerator, denominator);
  value.canonicalize();
  return value;
}

std::string Parser::repetend(const std::string& text) {
  std::string digits;
  if (sees(Sign::symbol) && peek().text == "..." && !peek().space_before) {
    const std::string_view places = std::string_view(text).substr(text.find('.') + 1);
    for (std::size_t size = 1; 2 * size <= places.size(); ++size) {
      const std::string_view last = places.substr(places.size() - size);
      const std::size_t times = size == 1 ? 3 : 2;  // 0.333…, 0.1212…
      bool repeats = times * size <= places.size();
      for (std::size_t i = 1; repeats && i < times; ++i)
        repeats = places.substr(places.size() - (i + 1) * size, size) == last;
      if (!repeats) continue;
      next();
      return std::string(last);
    }
    return {};
  }
  if (sees(Sign::open_round)) {  // 0.1(6)
    const Token& inside = peek(1);
    if (peek().space_before || inside.sign != Sign::number || !is_number_of_digits(inside.text) ||
        peek(2).sign != Sign::close_round)
      return {};
    digits = inside.text;
    next(), next(), next();
    return digits;
  }
  const auto dotted = [&] {
    next();
    const bool brace = take(Sign::open_brace);
    if (!sees(Sign::number) || !is_number_of_digits(peek().text)) fail();
    if (!brace && peek().text.size() > 1) {  // \dot14 is a 1 with a dot and a 4
      const std::string first = peek().text.substr(0, 1);
      tokens_[at_].text.erase(0, 1);
      return first;
    }
    const std::string text = next().text;
    if (brace) expect(Sign::close_brace);
    return text;
  };
  if (!sees(Sign::overline)) return {};
  const bool dot = peek().text == "dot";
  digits = dotted();
  // Dots stand over the first and the last.
  std::size_t between = sees(Sign::number) && is_number_of_digits(peek().text) ? 1 : 0;
  if (dot && peek(between).sign == Sign::overline && peek(between).text == "dot") {
    if (between > 0) digits += next().text;
    digits += dotted();
  }
  return digits;
}

NodeId Parser::number(std::string text) {
  const std::string repeated = text.find('.') != text.npos ? repetend(text) : std::string();
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

NodeId Parser::numeral(const std::string& digits) {
  expect(Sign::subscript);
  const bool brace = take(Sign::open_brace), round = take(Sign::open_round);
  const std::string base_text = next().text;
  if (round) expect(Sign::close_round);
  if (brace) expect(Sign::close_brace);
  int base = 0;
  if (const auto* word = std::ranges::find(kBases, base_text); word != std::end(kBases))
    base = static_cast<int>(word - kBases) + 2;
  else if (base_text.size() <= 2 && is_number_of_digits(base_text))
    base = std::stoi(base_text);
  mpz_class value;
  digits_ += digits.size();
  if (digits_ > kMaxDigits) throw Stop{ReadStatus::over_budget};
  if (base < 2 || base > 36 || value.set_str(digits, base) != 0) fail();
  const NodeId id = add_number(mpq_class(value));
  tree_[id].base = static_cast<std::int16_t>(base);
  return id;
}

bool Parser::is_bound(std::string_view name) const {
  return std::find(bound_.begin(), bound_.end(), name) != bound_.end();
}

NodeId Parser::symbol(std::string name, bool may_call) {
  bool subscripted = false;
  if (take(Sign::subscript)) {
    subscripted = true;
    if (const std::string words = subscript_words(); !words.empty()) return add_named(Kind::symbol, name + '_' + words);
    const NodeId index = argument();
    const Node& node = tree_[index];
    if (node.kind == Kind::number && node.value->get_den() == 1) {
      name += '_' + node.value->get_num().get_str();
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
      if (function) return add_named(Kind::call, std::move(name), members(inside));
      const NodeId first = add_named(Kind::symbol, std::move(name));
      const NodeId product = add(Kind::product, {first, inside});
      tree_[product].called = true;
      return product;
    }
  }
  return add_named(Kind::symbol, std::move(name));
}

std::string Parser::subscript_words() {
  const auto is_name = [&](std::size_t ahead) {
    const Sign sign = peek(ahead).sign;
    return sign == Sign::function || sign == Sign::word || sign == Sign::unit;
  };
  if (is_name(0)) return next().text;
  if (!sees(Sign::open_brace) || !is_name(1)) return {};
  std::string words;
  for (next(); !sees(Sign::close_brace) && !sees(Sign::end);) words += next().text + ' ';
  expect(Sign::close_brace);
  return words;
}

NodeId Parser::function(const Token& token) {
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
  bool reciprocal = token.text == "cot^-1";
  if (power != kNone && tree_[power].kind == Kind::negate && is_whole(tree_[power].children[0]) &&
      *tree_[tree_[power].children[0]].value == 1) {
    power = kNone;
    reciprocal = which == Function::cot;
    which = which == Function::sin   ? Function::arcsin
            : which == Function::cos ? Function::arccos
            : which == Function::tan ? Function::arctan
            : which == Function::cot ? Function::arctan
                                     : Function::opaque;
    if (which == Function::opaque) fail();
  }
  if (reciprocal) of = add(Kind::quotient, {add_number(1), of});  // arccot x is arctan 1/x
  if (token.text == "lg" && base == kNone) base = add_number(10);
  const auto given = members(of);
  std::vector<NodeId> arguments(given.begin(), given.end());
  if (base != kNone) {
    if (which != Function::log) fail();
    arguments.push_back(base);
  }
  const NodeId result = add(Kind::function, arguments, which);
  return power != kNone ? add(Kind::power, {result, power}) : result;
}

NodeId Parser::bare_argument() {
  const Level level(depth_);
  if (take(Sign::minus)) return add(Kind::negate, {bare_argument()});
  NodeId of = factor();
  while (starts_factor(is_literal(of)) && !sees(Sign::function) && !sees(Sign::open_round) && !sees(Sign::open_square))
    of = add(Kind::product, {of, factor()});
  return of;
}

NodeId Parser::enclosed(Sign close, Kind kind) {
  const int bars = std::exchange(bars_, 0);
  const NodeId inside = over(list(close, kind), close);
  expect(close);
  bars_ = bars;
  return inside;
}

NodeId Parser::round() {
  const int bars = std::exchange(bars_, 0);
  const NodeId inside = list(Sign::close_round, Kind::tuple);
  bars_ = bars;
  if (take(Sign::close_round)) return inside;
  if (take(Sign::open_square)) return half_open(inside, true, true);  // (1, 2[
  expect(Sign::close_square);
  return half_open(inside, true, false);
}

NodeId Parser::square(bool open) {
  const int bars = std::exchange(bars_, 0);
  const NodeId inside = list(Sign::close_square, Kind::tuple);
  bars_ = bars;
  if (take(Sign::close_square)) {
    return open || tree_[inside].kind == Kind::tuple ? half_open(inside, open, false) : inside;
  }
  if (!take(Sign::open_square)) expect(Sign::close_round);
  return half_open(inside, open, true);
}

NodeId Parser::half_open(NodeId inside, bool open, bool close) {
  Node& node = tree_[inside];
  if (node.kind != Kind::tuple || ((open || close) && node.children.size() != 2)) fail();
  node.kind = Kind::bracket;
  node.open = open;
  node.close = close;
  return inside;
}

NodeId Parser::braces() {
  if (take(Sign::close_set)) return add(Kind::set, {});
  ++bars_;  // \{x | x > 0\}
  const bool colon_parts = std::exchange(colon_parts_, !is_condition_ahead());
  const NodeId first = list(Sign::close_set, Kind::set);
  colon_parts_ = colon_parts;
  --bars_;
  if (take(Sign::bar) || take(Sign::colon)) {
    NodeId condition = enclosed(Sign::close_set, Kind::list);
    const auto is_real = [&](NodeId id) {  // x ∈ R
      return tree_[id].kind == Kind::relation && tree_[id].name == "e" && tree_[tree_[id].children[1]].name == "R";
    };
    if (tree_[condition].kind == Kind::list) {
      std::vector<NodeId> rest;
      for (const NodeId each : tree_[condition].children)
        if (!is_real(each)) rest.push_back(each);
      condition = rest.size() == 1 ? rest[0] : add(Kind::list, std::move(rest));
    }
    // The name of what meets the condition does not matter; 2k of 2k | k ∈ Z does.
    const Node& member = tree_[first];
    const bool named =
        member.kind == Kind::symbol || is_real(first) ||
        (member.kind == Kind::tuple && std::all_of(member.children.begin(), member.children.end(),
                                                   [&](NodeId id) { return tree_[id].kind == Kind::symbol; }));
    return named ? condition : add(Kind::tuple, {first, condition});
  }
  expect(Sign::close_set);
  return tree_[first].kind == Kind::set ? first : add(Kind::set, {first});
}

bool Parser::is_condition_ahead() const {
  for (std::size_t i = 0; peek(i).sign != Sign::close_set && peek(i).sign != Sign::end; ++i)
    if (peek(i).sign == Sign::relation) return true;
  return false;
}

NodeId Parser::bars() {
  const Level level(depth_);
  ++bars_;
  const NodeId inside = sum();
  expect(Sign::bar);
  --bars_;
  return add(Kind::function, {inside}, Function::absolute);
}

NodeId Parser::argument() {
  const Level level(depth_);
  if (take(Sign::open_brace)) {
    const int bars = std::exchange(bars_, 0);
    const NodeId inside = over(sum(), Sign::close_brace);
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

NodeId Parser::root(const std::string& degree) {
  std::vector<NodeId> children;
  NodeId order = kNone;
  if (take(Sign::open_square)) {
    order = sum();
    expect(Sign::close_square);
  }
  if (!degree.empty()) order = add_number(std::stoi(degree));
  children.push_back(sees(Sign::number) ? number(next().text) : argument());  // √17, and \\sqrt17 as it is meant
  if (order != kNone) children.push_back(order);
  return add(Kind::function, children, Function::root);
}

NodeId Parser::fold(Function which) {
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

NodeId Parser::overlined() {
  std::string name = "overline ";
  if (take(Sign::open_brace)) {
    while (!sees(Sign::close_brace) && !sees(Sign::end)) name += next().text + ' ';
    expect(Sign::close_brace);
  } else {
    name += next().text;
  }
  return add_named(Kind::symbol, std::move(name));
}

NodeId Parser::matrix(const std::string& environment) {
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
  const NodeId id = add(Kind::matrix, cells);
  tree_[id].columns = columns;
  return id;
}

}  // namespace grpo::math
