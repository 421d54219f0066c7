// Exact rational numbers of any size, for the few operations that checking an answer needs.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace grpo {

/// A natural number in base 10^9, least significant limb first, no leading zero limbs (zero has none). Addition is
/// linear and multiplication quadratic in the limbs: callers bound the digits.
class Natural {
 public:
  explicit Natural(std::uint32_t value = 0);            ///< value < 10^9
  static Natural from_digits(std::string_view digits);  ///< characters '0'…'9'; "" is zero
  bool is_zero() const { return limbs_.empty(); }

  friend Natural operator+(const Natural& a, const Natural& b);
  friend Natural operator-(const Natural& a, const Natural& b);  ///< requires b <= a
  friend Natural operator*(const Natural& a, const Natural& b);
  friend bool operator<(const Natural& a, const Natural& b);
  friend bool operator==(const Natural&, const Natural&) = default;

 private:
  void drop_leading_zeros();
  std::vector<std::uint32_t> limbs_;
};

/// numerator / denominator with a sign, not reduced: with bounded operands a greatest common divisor would cost more
/// than it saves.
struct Rational {
  bool negative = false;
  Natural numerator;
  Natural denominator = Natural(1);  ///< never zero

  bool is_zero() const { return numerator.is_zero(); }
  Rational operator-() const { return {!negative, numerator, denominator}; }

  friend Rational operator+(const Rational& a, const Rational& b);
  friend Rational operator-(const Rational& a, const Rational& b) { return a + -b; }
  friend Rational operator*(const Rational& a, const Rational& b);
  friend Rational operator/(const Rational& a, const Rational& b);  ///< requires b != 0
  friend bool operator==(const Rational& a, const Rational& b);
};

}  // namespace grpo
