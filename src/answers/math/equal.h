// Whether two numbers, or two expressions in variables, are the same.
#pragma once

#include <string_view>
#include <vector>

#include "answers/math/expression.h"
#include "answers/math/value.h"

namespace grpo::math {

/// An expression, and what ± stands for in it.
struct Scalar {
  NodeId node;
  int sign = 1;
};

/// Compares expressions by their values, under one budget:
///   - where both are rational at a point, exactly;
///   - else between outward-rounded bounds: apart means different. Bounds that overlap at 400 bits and more beyond
///   every
///     size that came up, at several points that nobody can foresee, mean equal.
/// Whatever stays undecided is not equal. Expressions are compared where both are real, as a school does: sqrt(x)^2 is
/// x, and sqrt(x^2) is not.
class Comparison {
 public:
  Comparison(const Tree& tree, CompareOptions& options) : tree_(tree), options_(options) {}

  Truth same(Scalar a, Scalar b);
  /// a/b is the same number wherever it is defined, not zero; positive where asked.
  Truth proportional(NodeId a, NodeId b, bool positive);
  /// `decimal`, a number written with a point, is the other one cut off or rounded after six digits or more.
  bool rounds_to(NodeId decimal, Scalar exact);
  bool within_tolerance(Scalar answer, Scalar reference);
  /// Rounded to as many places as the options say, both are the same.
  bool rounds_alike(Scalar answer, Scalar reference);
  /// -1, 0, 1 for a negative, an undecided, a positive constant.
  int sign_of(Scalar a);
  bool is_defined(Scalar a);
  bool has_symbols(NodeId id) const;
  bool has_symbol(NodeId id, std::string_view name) const;
  bool over_budget() const { return over_budget_; }

 private:
  enum class Outcome { different, same, unclear };
  Outcome compare_at(Scalar a, Scalar b, const Point& point, bool complex_allowed);
  bool has(NodeId id, Kind kind) const;
  /// Whether something in it is no number: a matrix, a set, a numeral of another base.
  bool has_no_value(NodeId id) const;
  /// Whether it is made of pieces, as |x| is, so that it may be another expression on a part of the line.
  bool has_pieces(NodeId id) const;
  /// Whether points of all signs and sizes find no difference.
  bool same_on_all_pieces(Scalar a, Scalar b, bool complex_allowed);

  const Tree& tree_;
  CompareOptions& options_;
  bool over_budget_ = false;
};

}  // namespace grpo::math
