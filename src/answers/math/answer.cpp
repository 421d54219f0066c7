// Answers as wholes: lists, sets, tuples, relations, matrices and quantities, down to numbers.
#include <algorithm>
#include <cstdlib>
#include <utility>

#include "answers/math/matcher.h"
#include "answers/math/unit.h"

namespace grpo::math {

Truth Matcher::same(NodeId answer, NodeId reference) {
  const bool is_same = same_whole(answer, reference);
  return is_same ? Truth::yes : compare_.over_budget() || too_long_ ? Truth::over_budget : Truth::no;
}

Truth Matcher::is_defined(NodeId reference) {
  const Node& node = tree_[reference];
  if (node.kind > Kind::degree || node.kind == Kind::ratio || compare_.is_defined({reference})) return Truth::yes;
  return compare_.over_budget() ? Truth::over_budget : Truth::no;
}

// ---- Labels: the left side of x = 3 ---------------------------------------------------------------------------------

bool Matcher::is_label(NodeId id) const {
  const Node& node = at(id);
  const auto all = [&] {
    return std::all_of(node.children.begin(), node.children.end(), [&](NodeId child) { return is_label(child); });
  };
  const auto is_segment = [&](NodeId child) {
    const Node& each = at(child);
    return (each.kind == Kind::symbol && each.name[0] >= 'A' && each.name[0] <= 'Z') || is_label_product(each);
  };
  switch (node.kind) {
    case Kind::symbol:
    case Kind::call:
      return true;
    case Kind::tuple:
      return all();
    case Kind::ratio:
    case Kind::quotient:
      return all();
    case Kind::product:
      return node.called || is_label_product(node);
    case Kind::power:
      return is_inverse(node);
    case Kind::function:
      return node.children.size() == 1 && is_segment(node.children[0]) &&
             (node.function == Function::absolute || node.function <= Function::csc);  // |AB|, cos A
    default:
      return false;
  }
}

bool Matcher::is_label_product(const Node& node) const {
  if (node.kind != Kind::product) return false;
  if (at(node.children[1]).kind == Kind::symbol &&
      (at(node.children[0]).name == "d" || is_inverse(at(node.children[0]))))
    return true;
  return at(node.children[0]).kind == Kind::symbol &&
         (at(node.children[0]).name == "\\angle" || at(node.children[0]).name == "\\triangle") &&
         at(node.children[1]).kind == Kind::symbol;
}

bool Matcher::is_inverse(const Node& node) const {
  if (node.kind != Kind::power || at(node.children[0]).kind != Kind::symbol) return false;
  const char letter = at(node.children[0]).name[0];
  const Node& exponent = at(node.children[1]);
  return ((letter >= 'A' && letter <= 'Z') || (letter >= 'f' && letter <= 'h')) && exponent.kind == Kind::negate &&
         at(exponent.children[0]).value == 1;
}

std::string Matcher::label_text(NodeId id) const {
  const Node& node = at(id);
  std::string text = std::to_string(static_cast<int>(node.kind)) + node.name;
  if (node.kind == Kind::number) text += node.value->get_str();
  text += '(';
  for (const NodeId child : node.children) text += label_text(child);
  return text + ')';
}

std::optional<Member> Matcher::stated(const Scalar& scalar, bool trusted) {
  const Node& node = at(scalar);
  if (node.kind != Kind::relation) return Member{scalar, ""};
  const auto& members = node.children;
  if (node.name == "e")
    return is_label(members[0]) ? std::optional(Member{under(scalar, members[1]), ""}) : std::nullopt;
  std::size_t count = std::min(node.name.find('~'), node.name.size()) + 1;  // members before ≈
  if (node.name.find_first_not_of('=') < count - 1) return {};
  if (node.name.find_first_not_of("=~") != node.name.npos) return {};
  const bool named = is_label(members[0]);
  if (count == 1) count = named && members.size() == 2 ? 2 : 1;
  if (count == 1) return Member{under(scalar, members[0]), ""};
  NodeId value = members[count - 1];
  std::string label;
  if (named) {
    label = label_text(members[0]);
  } else if (count == 2 && is_label(value)) {
    label = label_text(value);
    value = members[0];
  } else if (compare_.has_symbols(members[0]) ? count == 2 : compare_.has_symbols(value)) {
    return {};  // an equation: 7 = 11a + c does not say what 11a + c is
  }
  const auto is_unknown = [&](NodeId id) { return at(id).kind == Kind::symbol; };
  for (const NodeId name : {members[0], members[count - 1]})
    if (!label.empty() && name != value && is_unknown(name) && compare_.has_symbol(value, at(name).name)) return {};
  if (!trusted)
    for (std::size_t i = 0; i < count; ++i)
      if (members[i] != value && is_literal(members[i]) && compare_.same({members[i]}, {value}) != Truth::yes)
        return {};
  return Member{under(scalar, value), label};
}

bool Matcher::is_literal(NodeId id) const {
  const Node& node = at(id);
  return node.kind == Kind::number || (node.kind == Kind::negate && is_literal(node.children[0]));
}

// ---- Lists ----------------------------------------------------------------------------------------------------------

bool Matcher::has_plus_minus(NodeId id) const {
  const Node& node = at(id);
  if (node.kind == Kind::plus_minus || node.kind == Kind::minus_plus) return true;
  if (node.kind > Kind::quantity && node.kind != Kind::tuple) return false;
  return std::any_of(node.children.begin(), node.children.end(), [&](NodeId child) { return has_plus_minus(child); });
}

NodeId Matcher::settled(NodeId id, int sign) {
  const Node& node = at(id);
  std::vector<NodeId> children;
  for (const NodeId child : node.children) children.push_back(settled(child, sign));
  if (node.kind != Kind::plus_minus && node.kind != Kind::minus_plus) return tree_.add_like(id, children);
  NodeId& last = children.back();
  if ((node.kind == Kind::plus_minus) != (sign > 0)) last = tree_.add(Kind::negate, {last});
  return children.size() == 1 ? last : tree_.add(Kind::sum, children);
}

bool Matcher::flatten(const Scalar& scalar, bool trusted, std::string label, std::vector<Member>& members) {
  if (members.size() > kMaxMembers) {
    too_long_ = true;
    return false;
  }
  const Node& node = at(scalar);
  if (node.kind == Kind::list || node.kind == Kind::set || is_union_of_sets(node)) {
    for (const NodeId child : node.children)
      if (!flatten({child}, trusted, label, members)) return false;
    return true;
  }
  if (node.kind == Kind::relation) {
    auto member = stated(scalar, trusted);
    if (!member) {
      const bool two =
          std::any_of(node.children.begin(), node.children.end(), [&](NodeId id) { return has_plus_minus(id); });
      members.push_back({{two ? settled(scalar.node, 1) : scalar.node, scalar.sign}, ""});
      if (two) members.push_back({{settled(scalar.node, -1)}, ""});
      return true;
    }
    return flatten(member->value, trusted, member->label, members);
  }
  if (has_plus_minus(scalar.node)) {
    members.push_back({{scalar.node, 1}, label});
    members.push_back({{scalar.node, -1}, std::move(label)});
    return true;
  }
  members.push_back({scalar, std::move(label)});
  return true;
}

bool Matcher::same_whole(NodeId answer, NodeId reference) {
  if (const auto a = region(answer), b = region(reference, true); a && b)
    return same_unknown(answer, reference) && same_region(*a, *b);
  if (is_joined_otherwise(at(answer), at(reference))) return false;
  std::vector<Member> given, wanted;
  if (!flatten({answer}, false, "", given) || !flatten({reference}, true, "", wanted)) return false;
  const bool set_given = is_set(answer), set_wanted = is_set(reference);
  if (given.size() == 1 && wanted.size() == 1) {
    return same_member(given[0], wanted[0]) ||
           (at(answer).kind == Kind::relation && at(reference).kind == Kind::relation &&
            same_relation(answer, reference));
  }
  // A bare 3, 2 where the reference is a point or names its parts: then the order counts.
  const bool labelled_given = distinct_labels(given), labelled_wanted = distinct_labels(wanted);
  if (!set_given && wanted.size() == 1 && at(wanted[0].value).kind == Kind::tuple)
    return (labelled_given || at(answer).kind == Kind::list) && same_in_order(given, parts(wanted[0].value));
  if (!set_wanted && given.size() == 1 && at(given[0].value).kind == Kind::tuple && labelled_wanted)
    return same_in_order(parts(given[0].value), wanted);
  const auto unlabelled = [](const std::vector<Member>& members) {
    return std::all_of(members.begin(), members.end(), [](const Member& each) { return each.label.empty(); });
  };
  if (labelled_given != labelled_wanted && !set_given && !set_wanted && (unlabelled(given) || unlabelled(wanted)))
    return same_in_order(given, wanted);
  return same_collection(given, wanted, set_wanted);
}

bool Matcher::is_joined_otherwise(const Node& a, const Node& b) const {
  if (a.kind != Kind::list || b.kind != Kind::list || a.name.empty() || b.name.empty() || a.name == b.name)
    return false;
  return std::ranges::any_of(a.children, [&](NodeId id) {
    return at(id).kind == Kind::symbol ||
           (at(id).kind == Kind::relation && at(id).name.find_first_of("<>lg") != std::string::npos);
  });
}

bool Matcher::are_solutions(const std::vector<Member>& members) const {
  return members.size() > 1 &&
         (std::ranges::all_of(members, [&](const Member& each) { return at(each.value).kind == Kind::tuple; }) ||
          std::ranges::none_of(members, [](const Member& each) { return each.label.empty(); }));
}

bool Matcher::same_collection(std::vector<Member> given, std::vector<Member> wanted, bool set) {
  if (given.size() != wanted.size()) {
    if (!set && !are_solutions(wanted.size() > 1 ? wanted : given)) return false;
    drop_repeats(given.size() > wanted.size() ? given : wanted);
  }
  return given.size() == wanted.size() && same_members(given, wanted);
}

void Matcher::drop_repeats(std::vector<Member>& members) {
  std::vector<std::string> texts;
  std::vector<Member> kept;
  for (const Member& each : members) {
    std::string text = label_text(each.value.node);
    std::size_t i = 0;
    while (i < kept.size() && !(texts[i] == text && same_member(each, kept[i]))) ++i;
    if (i < kept.size()) continue;
    texts.push_back(std::move(text));
    kept.push_back(each);
  }
  members = std::move(kept);
}

bool Matcher::is_union_of_sets(const Node& node) const {
  return node.kind == Kind::unite && is_set(node.children[0]) && is_set(node.children[1]);
}

bool Matcher::distinct_labels(const std::vector<Member>& members) {
  if (members.size() < 2) return false;
  for (std::size_t i = 0; i < members.size(); ++i)
    for (std::size_t j = 0; j <= i; ++j)
      if (members[i].label.empty() || (j < i && members[i].label == members[j].label)) return false;
  return true;
}

std::vector<Member> Matcher::parts(const Scalar& tuple) {
  std::vector<Member> members;
  for (const NodeId child : at(tuple).children) members.push_back({under(tuple, child), ""});
  return members;
}

bool Matcher::same_in_order(const std::vector<Member>& a, const std::vector<Member>& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [&](const Member& x, const Member& y) { return same_member(x, y); });
}

bool Matcher::same_members(const std::vector<Member>& given, const std::vector<Member>& wanted) {
  std::vector<bool> used(wanted.size());
  for (std::size_t i = 0; i < given.size(); ++i) {
    std::size_t found = wanted.size();
    for (std::size_t k = 0; k < wanted.size() && found == wanted.size(); ++k) {
      const std::size_t j = (i + k) % wanted.size();  // the same place first
      if (!used[j] && same_member(given[i], wanted[j])) found = j;
      if (compare_.over_budget()) return false;
    }
    if (found == wanted.size()) return false;
    used[found] = true;
  }
  return true;
}

bool Matcher::same_member(const Member& given, const Member& wanted) {
  if (!given.label.empty() && !wanted.label.empty() && given.label != wanted.label && !is_root_of(given, wanted) &&
      !is_root_of(wanted, given))
    return false;
  return same_item(given.value, wanted.value);
}

bool Matcher::is_root_of(const Member& numbered, const Member& plain) const {
  const std::size_t index = numbered.label.find('_');
  return index != std::string::npos && numbered.label.substr(0, index) + "()" == plain.label;
}

// ---- One thing ------------------------------------------------------------------------------------------------------

bool Matcher::same_item(Scalar a, Scalar b) {
  a.node = worked_out(a.node);
  b.node = worked_out(b.node);
  const Node &x = at(a), &y = at(b);
  const auto children = [&] {
    if (x.children.size() != y.children.size()) return false;
    for (std::size_t i = 0; i < x.children.size(); ++i)
      if (!same_inner({x.children[i], a.sign}, {y.children[i], b.sign})) return false;
    return true;
  };
  const bool x_row = x.kind == Kind::matrix && is_vector(x), y_row = y.kind == Kind::matrix && is_vector(y);
  if (x.kind == Kind::matrix && y.kind == Kind::matrix) return x.columns == y.columns && children();
  if ((x_row && y.kind == Kind::tuple) || (y_row && x.kind == Kind::tuple)) return children();
  if (x.kind == Kind::bracket && y.kind == Kind::bracket) return x.open == y.open && x.close == y.close && children();
  if (x.kind == Kind::tuple && y.kind == Kind::tuple) return children();
  if (const auto p = region(a.node), q = region(b.node); p && q)
    return same_unknown(a.node, b.node) && same_region(*p, *q);
  if (x.kind == Kind::set || y.kind == Kind::set || x.kind == Kind::list || y.kind == Kind::list) {
    std::vector<Member> given, wanted;
    if ((x.kind == Kind::list) != (y.kind == Kind::list) || !flatten(a, false, "", given) ||
        !flatten(b, true, "", wanted))
      return false;
    return same_collection(std::move(given), std::move(wanted), y.kind == Kind::set);
  }
  if (x.kind == Kind::relation || y.kind == Kind::relation) return x.kind == y.kind && same_relation(a.node, b.node);
  if (x.kind == Kind::ratio && y.kind == Kind::ratio) return same_ratio(x.children, y.children);
  if (x.kind == Kind::ratio) return is_fraction(x) && same_number({tree_.add(Kind::quotient, x.children)}, b);
  if (y.kind == Kind::ratio) return is_fraction(y) && same_number(a, {tree_.add(Kind::quotient, y.children)});
  if (base_of(b.node) != 10 && base_of(a.node) != base_of(b.node)) return false;
  if (x.kind == Kind::unite || x.kind == Kind::intersect || x.kind == Kind::without)
    return x.kind == y.kind && children();
  if (x.kind == Kind::quantity || y.kind == Kind::quantity) return same_quantity(a, b);
  return same_number(a, b);
}

bool Matcher::is_fraction(const Node& ratio) const {
  const Node& last = at(ratio.children.back());
  return ratio.children.size() == 2 && (last.kind != Kind::number || *last.value != 1);
}

NodeId Matcher::worked_out(NodeId id, int depth) {
  const Kind kind = at(id).kind;
  if (depth > 8 || at(id).children.size() > 16 ||
      (kind != Kind::product && kind != Kind::quotient && kind != Kind::sum && kind != Kind::negate))
    return id;
  const Node& node = at(id);
  std::vector<NodeId> parts;
  std::size_t matrices = 0;
  for (const NodeId child : node.children) {
    parts.push_back(worked_out(child, depth + 1));
    matrices += at(parts.back()).kind == Kind::matrix;
  }
  if (matrices == 0 || (node.kind == Kind::sum ? matrices != parts.size() : matrices != 1)) return id;
  if (node.kind == Kind::quotient && at(parts[0]).kind != Kind::matrix) return id;
  const std::size_t which = at(parts[0]).kind == Kind::matrix ? 0 : 1;
  if (tree_.full()) {  // lists compare every member with every other
    too_long_ = true;
    return id;
  }
  const Node& shape = at(parts[which]);
  for (const NodeId part : parts)
    if (node.kind == Kind::sum &&
        (at(part).columns != shape.columns || at(part).children.size() != shape.children.size()))
      return id;
  std::vector<NodeId> cells;
  for (std::size_t i = 0; i < shape.children.size(); ++i) {
    std::vector<NodeId> terms;
    for (const NodeId part : parts) terms.push_back(at(part).kind == Kind::matrix ? at(part).children[i] : part);
    cells.push_back(tree_.add(node.kind, terms));
  }
  return tree_.add_like(parts[which], cells);
}

bool Matcher::same_inner(const Scalar& a, const Scalar& b) {
  const auto given = stated(a, false), wanted = stated(b, true);
  return given && wanted ? same_member(*given, *wanted) : same_item(a, b);
}

int Matcher::infinite_sign(NodeId id) const {
  const Node& node = at(id);
  if (node.kind == Kind::infinity) return 1;
  return node.kind == Kind::negate ? -infinite_sign(node.children[0]) : 0;
}

bool Matcher::same_number(const Scalar& a, const Scalar& b) {
  if (const int x = infinite_sign(a.node), y = infinite_sign(b.node); x != 0 || y != 0) return x == y;
  const Node &x = at(a), &y = at(b);
  if ((x.kind == Kind::degree) != (y.kind == Kind::degree)) {  // 90° is 90 where the reference leaves the unit out
    const bool left = x.kind == Kind::degree;
    if (compare_.same(left ? under(a, x.children[0]) : a, left ? b : under(b, y.children[0])) == Truth::yes)
      return true;
  }
  if (compare_.same(a, b) == Truth::yes) return true;
  const bool a_decimal = is_decimal(a.node), b_decimal = is_decimal(b.node);
  if (a_decimal != b_decimal && (a_decimal ? compare_.rounds_to(a.node, b) : compare_.rounds_to(b.node, a)))
    return true;
  const bool parts = x.kind == y.kind && (x.kind == Kind::percent || x.kind == Kind::degree);  // 12.5% has one place
  return compare_.rounds_alike(parts ? under(a, x.children[0]) : a, parts ? under(b, y.children[0]) : b) ||
         compare_.within_tolerance(a, b);
}

bool Matcher::is_decimal(NodeId id) const {
  const Node& node = at(id);
  if (node.kind == Kind::negate) return at(node.children[0]).kind == Kind::number && is_decimal(node.children[0]);
  return node.kind == Kind::number && node.digits >= 0;
}

bool Matcher::same_ratio(std::span<const NodeId> a, std::span<const NodeId> b) {
  if (a.size() != b.size()) return false;
  if (same_children(a, b)) return true;
  for (std::size_t i = 1; i < a.size(); ++i) {
    const NodeId cross = tree_.add(Kind::product, {a[i], b[0]}), other = tree_.add(Kind::product, {b[i], a[0]});
    if (compare_.sign_of({a[0]}) == 0 || compare_.sign_of({b[0]}) == 0 ||
        compare_.same({cross}, {other}) != Truth::yes)
      return false;
  }
  return compare_.sign_of({a[0]}) == compare_.sign_of({b[0]});
}

bool Matcher::same_children(std::span<const NodeId> a, std::span<const NodeId> b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (compare_.same({a[i]}, {b[i]}) != Truth::yes) return false;
  return true;
}

// ---- Units ----------------------------------------------------------------------------------------------------------

bool Matcher::same_quantity(const Scalar& a, const Scalar& b) {
  const auto unit = [&](const Scalar& scalar) { return at(scalar).kind == Kind::quantity ? at(scalar).name : ""; };
  const auto bare = [&](const Scalar& scalar) {
    return at(scalar).kind == Kind::quantity ? under(scalar, at(scalar).children[0]) : scalar;
  };
  if (at(a).kind == Kind::degree || at(b).kind == Kind::degree) return false;  // 45 mph is not 45°
  const std::string given = unit(a), wanted = unit(b);
  const auto doubtful = [&](const Scalar& scalar) { return at(scalar).kind == Kind::quantity && at(scalar).called; };
  if (given.empty() && doubtful(b)) return same_number(a, as_product(b));
  if (wanted.empty() && doubtful(a) && compare_.has_symbols(b.node)) return same_number(as_product(a), b);
  // 3 for 3 rubles: the reference tells what is counted.
  if (same_unit(given, wanted) || given.empty() || (wanted.empty() && is_unit(given)))
    return same_item(bare(a), bare(b));
  if (!options_.convert_units) return false;
  const auto from = conversion(given), to = conversion(wanted);
  if (!from || !to || from->first != to->first) return false;
  const NodeId factor = tree_.add_number(from->second / to->second);
  return same_number({tree_.add(Kind::product, {bare(a).node, factor}), a.sign}, bare(b));
}

Scalar Matcher::as_product(const Scalar& quantity) {
  const std::string& name = at(quantity).name;
  const std::size_t hat = name.find('^');
  Node symbol(Kind::symbol);
  symbol.name = name.substr(0, hat);
  NodeId unit = tree_.add(std::move(symbol));
  if (hat != name.npos) unit = tree_.add(Kind::power, {unit, tree_.add_number(mpq_class(name.substr(hat + 1)))});
  return under(quantity, tree_.add(Kind::product, {at(quantity).children[0], unit}));
}

Truth same_answer(Tree& tree, NodeId answer, NodeId reference, CompareOptions& options) {
  return Matcher(tree, options).same(answer, reference);
}

Truth is_defined(Tree& tree, NodeId reference, CompareOptions& options) {
  return Matcher(tree, options).is_defined(reference);
}

}  // namespace grpo::math
