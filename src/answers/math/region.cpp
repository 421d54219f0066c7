// Answers that are sets of reals: intervals, unions of them, and inequalities.
#include <algorithm>
#include <utility>

#include "answers/math/matcher.h"

namespace grpo::math {

std::optional<std::vector<Piece>> Matcher::region(NodeId id, bool trusted) {
  const Node& node = at(id);
  const auto end = [&](NodeId child) { return infinite_sign(child) ? std::optional<Scalar>() : Scalar{child}; };
  switch (node.kind) {
    case Kind::bracket:
    case Kind::tuple: {
      if (node.children.size() != 2) return {};
      const bool open = node.kind == Kind::tuple || node.open, close = node.kind == Kind::tuple || node.close;
      if (infinite_sign(node.children[0]) > 0 || infinite_sign(node.children[1]) < 0) return {};
      return std::vector{Piece{end(node.children[0]), end(node.children[1]), open || infinite_sign(node.children[0]),
                               close || infinite_sign(node.children[1])}};
    }
    case Kind::symbol:
      if (node.name == "R" || node.name == "\\R") return std::vector{Piece{}};
      if (node.name == "R^+" || node.name == "R_+") return std::vector{Piece{Scalar{tree_.add_number(0)}, {}}};
      if (node.name == "R^-" || node.name == "R_-") return std::vector{Piece{{}, Scalar{tree_.add_number(0)}}};
      return {};
    case Kind::without:
      return line_without(node.children[0], node.children[1]);
    case Kind::sum: {  // R - {0}
      const Node& last = at(node.children.back());
      if (node.children.size() != 2 || last.kind != Kind::negate) return {};
      return line_without(node.children[0], last.children[0]);
    }
    case Kind::unite: {
      auto pieces = region(node.children[0]);
      const auto more = pieces ? region(node.children[1]) : std::nullopt;
      if (!more) return {};
      pieces->insert(pieces->end(), more->begin(), more->end());
      return pieces;
    }
    case Kind::list: {  // x < 1 or x > 3
      std::vector<Piece> pieces;
      for (const NodeId child : node.children) {
        const auto more = at(child).kind == Kind::relation ? region(child) : std::nullopt;
        if (!more) return {};
        pieces.insert(pieces.end(), more->begin(), more->end());
      }
      if (node.name == "|") return pieces;
      const std::size_t before = pieces.size();
      pieces = met(std::move(pieces));
      // "x < 1 and x > 3" holds nowhere; nobody asks for that, but a reference may mean the union.
      if (node.name == "&" && !trusted && pieces.size() == before) return {};
      return pieces;
    }
    case Kind::relation:
      return region_of_relation(node);
    default:
      return {};
  }
}

std::vector<Piece> Matcher::met(std::vector<Piece> pieces) {
  if (pieces.size() != 2) return pieces;
  Piece &from = pieces[pieces[0].low ? 0 : 1], &to = pieces[pieces[0].low ? 1 : 0];
  if (!from.low || from.high || to.low || !to.high) return pieces;
  if (compare_.sign_of({tree_.add(Kind::sum, {to.high->node, tree_.add(Kind::negate, {from.low->node})})}) <= 0)
    return pieces;
  return {Piece{from.low, to.high, from.low_open, to.high_open}};
}

std::optional<std::vector<Piece>> Matcher::line_without(NodeId line, NodeId points) {
  if (at(line).name != "R" || at(points).kind != Kind::set || at(points).children.size() > 8) return {};
  std::vector<NodeId> sorted(at(points).children.begin(), at(points).children.end());
  for (std::size_t i = 0; i < sorted.size(); ++i)
    for (std::size_t j = i; j > 0; --j) {
      const int order =
          compare_.sign_of({tree_.add(Kind::sum, {sorted[j], tree_.add(Kind::negate, {sorted[j - 1]})})});
      if (order == 0) return {};
      if (order < 0) std::swap(sorted[j], sorted[j - 1]);
    }
  std::vector<Piece> pieces(1);
  for (const NodeId point : sorted) {
    if (has_plus_minus(point)) return {};
    pieces.back().high = Scalar{point};
    pieces.push_back(Piece{Scalar{point}, {}});
  }
  return pieces;
}

std::optional<std::vector<Piece>> Matcher::region_of_relation(const Node& node) {
  const auto& members = node.children;
  const std::string& signs = node.name;
  if (signs == "e") return is_label(members[0]) ? region(members[1]) : std::nullopt;
  const auto is_open = [](char sign) { return sign == '<' || sign == '>'; };
  const auto is_rising = [](char sign) { return sign == '<' || sign == 'l'; };
  const auto is_order = [&](char sign) { return is_open(sign) || sign == 'l' || sign == 'g'; };
  const auto is_constant = [&](NodeId id) {
    return !compare_.has_symbols(id) && at(id).kind < Kind::quantity && !has_plus_minus(id);
  };
  const auto bound = [&](NodeId id) { return infinite_sign(id) ? std::optional<Scalar>() : Scalar{id}; };
  if (signs.size() == 1 && is_label(members[0]) && is_constant(members[1])) {
    if (signs == "#") return std::vector{Piece{{}, bound(members[1])}, Piece{bound(members[1]), {}}};
    if (!is_order(signs[0])) return {};
    Piece piece;
    (is_rising(signs[0]) ? piece.high : piece.low) = bound(members[1]);
    (is_rising(signs[0]) ? piece.high_open : piece.low_open) = is_open(signs[0]);
    return std::vector{piece};
  }
  if (signs.size() == 1 && is_label(members[1]) && is_constant(members[0]) && is_order(signs[0])) {
    Piece piece;
    (is_rising(signs[0]) ? piece.low : piece.high) = bound(members[0]);
    (is_rising(signs[0]) ? piece.low_open : piece.high_open) = is_open(signs[0]);
    return std::vector{piece};
  }
  if (signs.size() == 1 && is_order(signs[0])) {
    const auto falling = [](char sign) { return sign == '<' ? '>' : sign == '>' ? '<' : sign == 'l' ? 'g' : 'l'; };
    if (const auto from = centre(members[0]); from && is_constant(members[1]))
      return region_of_distance(*from, signs[0], members[1]);
    if (const auto from = centre(members[1]); from && is_constant(members[0]))
      return region_of_distance(*from, falling(signs[0]), members[0]);
  }
  if (signs.size() != 2 || !is_constant(members[0]) || !is_constant(members[2])) return {};
  if (!is_order(signs[0]) || !is_order(signs[1]) || is_rising(signs[0]) != is_rising(signs[1])) return {};
  const bool rising = is_rising(signs[0]);
  if (const auto from = centre(members[1])) {  // 1 < |x| < 3
    const std::size_t near = rising ? 0 : 1;
    const auto beyond = region_of_distance(*from, is_open(signs[near]) ? '>' : 'g', members[2 * near]);
    const auto within = region_of_distance(*from, is_open(signs[1 - near]) ? '<' : 'l', members[2 - 2 * near]);
    if (!beyond || !within || beyond->size() != 2) return {};
    const NodeId width = tree_.add(Kind::sum, {members[2 - 2 * near], tree_.add(Kind::negate, {members[2 * near]})});
    if (compare_.sign_of({width}) <= 0) return {};
    const Piece &outer = (*within)[0], &left = (*beyond)[0], &right = (*beyond)[1];
    return std::vector{Piece{outer.low, left.high, outer.low_open, left.high_open},
                       Piece{right.low, outer.high, right.low_open, outer.high_open}};
  }
  if (!is_label(members[1])) return {};
  return std::vector{Piece{bound(members[rising ? 0 : 2]), bound(members[rising ? 2 : 0]),
                           is_open(signs[rising ? 0 : 1]), is_open(signs[rising ? 1 : 0])}};
}

std::optional<NodeId> Matcher::centre(NodeId id) {
  const Node& node = at(id);
  if (node.function != Function::absolute) return {};
  if (tree_.full()) {  // lists compare every member with every other
    too_long_ = true;
    return {};
  }
  const Node& inside = at(node.children[0]);
  if (inside.kind == Kind::symbol) return tree_.add_number(0);
  if (inside.kind != Kind::sum || inside.children.size() != 2) return {};
  for (const std::size_t i : {0u, 1u}) {
    const NodeId unknown = inside.children[i], rest = inside.children[1 - i];
    if (compare_.has_symbols(rest) || at(rest).kind >= Kind::plus_minus) continue;
    if (at(unknown).kind == Kind::symbol) return tree_.add(Kind::negate, {rest});
    if (at(unknown).kind == Kind::negate && at(at(unknown).children[0]).kind == Kind::symbol) return rest;
  }
  return {};
}

std::optional<std::vector<Piece>> Matcher::region_of_distance(NodeId from, char sign, NodeId distance) {
  if (infinite_sign(distance) != 0) return {};
  const bool open = sign == '<' || sign == '>', near = sign == '<' || sign == 'l';
  const bool zero = at(distance).kind == Kind::number && *at(distance).value == 0;
  const int side = zero ? 0 : compare_.sign_of({distance});
  if (!zero && side == 0) return {};
  if (!near && (side < 0 || (zero && !open))) return std::vector{Piece{}};
  if (near && side <= 0) return {};  // a point or nothing
  const Scalar low{tree_.add(Kind::sum, {from, tree_.add(Kind::negate, {distance})})};
  const Scalar high{tree_.add(Kind::sum, {from, distance})};
  if (near) return std::vector{Piece{low, high, open, open}};
  return std::vector{Piece{{}, low, true, open}, Piece{high, {}, open, true}};
}

bool Matcher::same_unknown(NodeId a, NodeId b) const {
  const std::string x = unknown(a), y = unknown(b);
  return x.empty() || y.empty() || x == y;
}

std::string Matcher::unknown(NodeId id, bool related) const {
  const Node& node = at(id);
  if (node.kind == Kind::list) return unknown(node.children[0]);
  if (node.kind != Kind::relation &&
      !(related && (node.kind == Kind::function || node.kind == Kind::sum || node.kind == Kind::negate)))
    return "";
  for (const NodeId child : node.children) {
    if (at(child).kind == Kind::symbol && at(child).name.size() == 1) return at(child).name;
    if (const std::string inside = unknown(child, true); !inside.empty()) return inside;
  }
  return "";
}

bool Matcher::same_end(const std::optional<Scalar>& a, const std::optional<Scalar>& b) {
  return a.has_value() == b.has_value() && (!a || same_item(*a, *b));
}

bool Matcher::same_region(const std::vector<Piece>& given, const std::vector<Piece>& wanted) {
  if (given.size() != wanted.size() || given.size() > kMaxMembers) return false;
  std::vector<bool> used(wanted.size());
  for (const Piece& piece : given) {
    std::size_t j = 0;
    while (j < wanted.size() &&
           (used[j] || piece.low_open != wanted[j].low_open || piece.high_open != wanted[j].high_open ||
            !same_end(piece.low, wanted[j].low) || !same_end(piece.high, wanted[j].high)))
      ++j;
    if (j == wanted.size()) return false;
    used[j] = true;
  }
  return true;
}

bool Matcher::same_relation(NodeId a, NodeId b) {
  struct Chain {
    std::string signs;
    std::vector<NodeId> members;
  };
  const auto rising = [&](NodeId id) {  // written with < and ≤
    const Node& node = at(id);
    Chain chain{node.name, {node.children.begin(), node.children.end()}};
    if (chain.signs.find_first_not_of(">g") != chain.signs.npos) return chain;
    std::ranges::reverse(chain.signs);
    std::ranges::reverse(chain.members);
    for (char& sign : chain.signs) sign = sign == '>' ? '<' : 'l';
    return chain;
  };
  const Chain x = rising(a), y = rising(b);
  if (x.signs != y.signs) return false;
  const char sign = x.signs[0];
  if (x.signs.size() == 1 && (sign == '=' || sign == '#' || sign == '<' || sign == 'l')) {
    const auto difference = [&](const Chain& chain) {
      return tree_.add(Kind::sum, {chain.members[0], tree_.add(Kind::negate, {chain.members[1]})});
    };
    const NodeId p = difference(x), q = difference(y);
    if (!compare_.has_symbols(p) || !compare_.has_symbols(q)) return false;
    return compare_.proportional(p, q, sign == '<' || sign == 'l') == Truth::yes;
  }
  return same_children(x.members, y.members);
}

}  // namespace grpo::math
