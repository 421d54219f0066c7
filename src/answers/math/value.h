// The value of an expression at a point: exactly where it is rational, else between bounds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "answers/math/expression.h"
#include "answers/math/interval.h"

namespace grpo::math {

/// A rational number, or bounds of one that is not known to be rational.
class Value {
 public:
  Value(mpq_class value) : value_(std::move(value)) {}  // NOLINT: values are made of numbers
  Value(Complex value) : value_(std::move(value)) {}    // NOLINT
  /// The value of a sum or product of rationals, worked out where it will lie.
  template <class T, class U>
  explicit Value(const __gmp_expr<T, U>& rational) : value_(std::in_place_type<mpq_class>, rational) {}
  bool is_exact() const { return std::holds_alternative<mpq_class>(value_); }
  const mpq_class& exact() const { return *std::get_if<mpq_class>(&value_); }
  const Complex& bounds() const { return *std::get_if<Complex>(&value_); }
  Complex to_bounds(mpfr_prec_t precision) const {
    return is_exact() ? Complex(Interval(exact(), precision)) : bounds();
  }

 private:
  std::variant<mpq_class, Complex> value_;
};

inline constexpr std::size_t kMaxBits = 1 << 15;  // of an exact number
inline constexpr long kMaxAngle = 4096;           // bits before the point of what a sine is taken of

std::size_t bits(const mpz_class& value);
std::size_t bits(const mpq_class& value);  ///< of both its parts
inline bool is_whole(const mpq_class& value) { return value.get_den() == 1; }

std::uint64_t mix(std::uint64_t x);
std::uint64_t mix_text(std::uint64_t seed, std::string_view text);
mpq_class fraction_from(std::uint64_t random);  ///< in (0, 3)

/// What every variable is worth: pseudo-random numbers that follow from the seed and the variable's name.
struct Point {
  std::uint64_t seed = 0;
  /// 0: positive fractions; 1: fractions of either sign; 2: natural numbers; 3 and more: fractions all of one sign,
  /// small and large
  int kind = 0;

  mpq_class of(std::string_view name) const;
};

/// What one evaluation may cost, and what it has cost. A unit is about ten nanoseconds.
struct Budget {
  std::int64_t left = 0;
  bool spent() const { return left < 0; }
};

/// Evaluates the nodes of a tree at a point.
class Evaluator {
 public:
  /// `sign` is what ± stands for; with `reals_only` even roots and logarithms of negative numbers have no
  /// value.
  Evaluator(const Tree& tree, Point point, int sign, mpfr_prec_t precision, Budget& budget, bool reals_only = false)
      : tree_(tree), point_(point), sign_(sign), precision_(precision), budget_(budget), reals_only_(reals_only) {}

  /// Nothing where the expression is undefined, where bounds do not tell, and where the budget ends.
  std::optional<Value> operator()(NodeId id);

  /// Bits between the largest and the smallest size that came up: what precision must exceed to see differences.
  long spread() const { return std::max(0L, largest_ - smallest_); }

 private:
  using Result = std::optional<Value>;

  Result compute(const Node& node);
  Result compute_power(const Node& node);
  Result compute_function(const Node& node);
  Result compute_fold(const Node& node);
  Result of_two_integers(Function function, const mpq_class& a, const mpq_class& b);
  Result integer_function(Function function, const mpq_class& a);
  Result transcendental(Function function, const Value& of);

  Result add(const Value& a, const Value& b);
  Result multiply(const Value& a, const Value& b);
  Result divide(const Value& a, const Value& b);
  Result raise(const Value& base, const Value& exponent);
  Result whole_power(const Value& base, const mpz_class& exponent);
  Result take_root(const Value& of, unsigned long order);
  Result log_of(const Value& of);
  Result exponential(const Value& of);
  Result opaque(std::uint64_t key, std::span<const NodeId> arguments, std::size_t first = 0);

  Complex bounds_of(const Value& value) const { return value.to_bounds(precision_); }
  Result finite(Complex value);
  void pay(std::int64_t units) { budget_.left -= units; }
  void pay_for_bits(std::size_t bits) { pay(static_cast<std::int64_t>(4 + bits / 16)); }
  /// An operation on bounds, of `weight` units at a precision of 16 bits; dearer than linear in the
  /// precision, of which an angle needs as much more as it has bits before its point.
  void pay_for_bounds(std::int64_t weight, long angle = 0) {
    const std::int64_t precision = precision_ + angle;
    pay(40 + weight * (precision / 16 + precision * precision / 16384));
  }
  void note_size(const Value& value);

  const Tree& tree_;
  Point point_;
  int sign_;
  mpfr_prec_t precision_;
  Budget& budget_;
  bool reals_only_;
  std::vector<std::pair<std::string, mpq_class>> bound_;  // indices of sums
  long largest_ = 0, smallest_ = 0;
};

}  // namespace grpo::math
