// The comparison of two answers as wholes: answer.cpp has it down to numbers, region.cpp intervals and inequalities.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "answers/math/equal.h"
#include "answers/math/expression.h"

namespace grpo::math {

inline constexpr std::size_t kMaxMembers = 256;  // of a list or set

struct Member {
  Scalar value;
  std::string label;  // "x" of x = 3, "" for none
};

/// lower end – upper end; an end without a node is infinite.
struct Piece {
  std::optional<Scalar> low, high;
  bool low_open = true, high_open = true;
};

class Matcher {
 public:
  Matcher(Tree& tree, CompareOptions& options) : tree_(tree), compare_(tree, options), options_(options) {}
  Truth same(NodeId answer, NodeId reference);
  Truth is_defined(NodeId reference);

 private:
  const Node& at(NodeId id) const { return tree_[id]; }
  const Node& at(const Scalar& scalar) const { return tree_[scalar.node]; }
  static Scalar under(const Scalar& scalar, NodeId child) { return {child, scalar.sign}; }

  // ---- Labels: the left side of x = 3 ----
  /// Whether a node is a name for something: x, x_1, f(x), (x, y), A:B, NO/BO, |AB|.
  bool is_label(NodeId id) const;
  /// \angle ABC, dy, f^{-1}(x)
  bool is_label_product(const Node& node) const;
  /// A^{-1} and f^{-1}
  bool is_inverse(const Node& node) const;
  /// Alike for things that are written alike.
  std::string label_text(NodeId id) const;
  /// What a relation says a thing is: 3 of x = 3, of 1 + 2 = 3 and of x ≈ 3; S of x ∈ S. The working between is not
  /// judged, but a second plain number that differs is a second answer. Nothing for any other relation.
  std::optional<Member> stated(const Scalar& scalar, bool trusted);
  bool is_literal(NodeId id) const;

  // ---- Lists ----
  bool has_plus_minus(NodeId id) const;
  /// A copy in which ± is + or -.
  NodeId settled(NodeId id, int sign);
  /// The members of a list or set, each ± making two; false where a relation states nothing.
  bool flatten(const Scalar& scalar, bool trusted, std::string label, std::vector<Member>& members);
  bool same_whole(NodeId answer, NodeId reference);
  /// Whether one list is joined by "and", the other one by "or", and that makes another thing of it: of inequalities
  /// and of statements (p ∧ q), not of solutions, which "and" may list as well.
  bool is_joined_otherwise(const Node& a, const Node& b) const;
  /// Whether a list names solutions, points or values of unknowns, each of which is one however often it is named.
  bool are_solutions(const std::vector<Member>& members) const;
  /// Sets and lists of solutions hold a member or not; other lists as often as they say.
  bool same_collection(std::vector<Member> given, std::vector<Member> wanted, bool set);
  /// Of members that are written alike, one stays.
  void drop_repeats(std::vector<Member>& members);
  bool is_set(NodeId id) const { return at(id).kind == Kind::set || is_union_of_sets(at(id)); }
  bool is_union_of_sets(const Node& node) const;
  static bool distinct_labels(const std::vector<Member>& members);
  std::vector<Member> parts(const Scalar& tuple);
  bool same_in_order(const std::vector<Member>& a, const std::vector<Member>& b);
  /// In any order, as often as it is said; both of one size.
  bool same_members(const std::vector<Member>& given, const std::vector<Member>& wanted);
  bool same_member(const Member& given, const Member& wanted);
  /// x_1 of x: one of its values.
  bool is_root_of(const Member& numbered, const Member& plain) const;

  // ---- One thing ----
  bool same_item(Scalar a, Scalar b);
  /// Whether a ratio may be a number: 1:2 is a half, but nobody writes 17 as 17:1.
  bool is_fraction(const Node& ratio) const;
  int base_of(NodeId id) const { return at(id).kind == Kind::negate ? base_of(at(id).children[0]) : at(id).base; }
  /// Multiples and sums of matrices as matrices; all else as it is.
  NodeId worked_out(NodeId id, int depth = 0);
  bool same_inner(const Scalar& a, const Scalar& b);
  static bool is_vector(const Node& matrix) { return matrix.columns == 1 || matrix.columns == matrix.children.size(); }
  int infinite_sign(NodeId id) const;
  bool same_number(const Scalar& a, const Scalar& b);
  bool is_decimal(NodeId id) const;
  bool same_ratio(std::span<const NodeId> a, std::span<const NodeId> b);
  bool same_children(std::span<const NodeId> a, std::span<const NodeId> b);

  // ---- Units ----
  bool same_quantity(const Scalar& a, const Scalar& b);
  /// 5 m as five times m.
  Scalar as_product(const Scalar& quantity);

  // ---- Intervals and inequalities ----
  /// The set of reals that an interval, a union of them, or an inequality in one unknown is. A pair (a, b) may be one.
  std::optional<std::vector<Piece>> region(NodeId id, bool trusted = false);
  /// x > 1, x < 3 is what lies between: the union would be the whole line, which nobody says so.
  std::vector<Piece> met(std::vector<Piece> pieces);
  /// The real line less some points.
  std::optional<std::vector<Piece>> line_without(NodeId line, NodeId points);
  std::optional<std::vector<Piece>> region_of_relation(const Node& node);
  /// a of |x - a|, which is how far x is from a.
  std::optional<NodeId> centre(NodeId id);
  /// What is nearer to `from` than `distance`, or farther from it.
  std::optional<std::vector<Piece>> region_of_distance(NodeId from, char sign, NodeId distance);
  /// Whether two regions are not those of two variables: a > 0 is not x > 0.
  bool same_unknown(NodeId a, NodeId b) const;
  /// "" where the region names none: [0, 1), R - {0}.
  std::string unknown(NodeId id, bool related = false) const;
  bool same_end(const std::optional<Scalar>& a, const std::optional<Scalar>& b);
  bool same_region(const std::vector<Piece>& given, const std::vector<Piece>& wanted);
  /// Equations up to a factor, inequalities up to a positive one; longer chains member by member.
  bool same_relation(NodeId a, NodeId b);

  Tree& tree_;
  Comparison compare_;
  CompareOptions& options_;
  bool too_long_ = false;
};

}  // namespace grpo::math
