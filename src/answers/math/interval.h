// Numbers between two bounds, and complex numbers made of them. Every operation rounds outward: the true result is
// always inside.
#pragma once

#include <gmpxx.h>
#include <mpfr.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

namespace grpo::math {

/// A real number that is at least `low` and at most `high`. The digits of both lie in one block, which moves from owner
/// to owner: an evaluation makes and moves many.
class Interval {
 public:
  explicit Interval(mpfr_prec_t precision) : Interval(precision, new_digits(precision)) {}
  Interval(const mpq_class& value, mpfr_prec_t precision) : Interval(precision) {
    mpfr_set_q(low_, value.get_mpq_t(), MPFR_RNDD);
    mpfr_set_q(high_, value.get_mpq_t(), MPFR_RNDU);
  }
  Interval(const Interval& other)
      : Interval(other.precision(), other.digits_ ? new_digits(other.precision()) : nullptr) {
    if (!digits_) return;
    mpfr_set(low_, other.low_, MPFR_RNDD);
    mpfr_set(high_, other.high_, MPFR_RNDU);
  }
  Interval(Interval&&) noexcept = default;
  Interval& operator=(const Interval& other) { return *this = Interval(other); }
  Interval& operator=(Interval&&) noexcept = default;

  /// A zero to read: it has no digits, so nothing can be written to it.
  static Interval zero(mpfr_prec_t precision) { return Interval(precision, nullptr); }

  mpfr_prec_t precision() const { return mpfr_get_prec(low_); }
  mpfr_srcptr low() const { return low_; }
  mpfr_srcptr high() const { return high_; }
  mpfr_ptr low() { return low_; }
  mpfr_ptr high() { return high_; }

  bool is_finite() const { return mpfr_number_p(low_) && mpfr_number_p(high_); }
  bool is_zero() const { return mpfr_zero_p(low_) && mpfr_zero_p(high_); }
  bool contains_zero() const { return mpfr_sgn(low_) <= 0 && mpfr_sgn(high_) >= 0; }
  bool is_positive() const { return mpfr_sgn(low_) > 0; }
  bool is_negative() const { return mpfr_sgn(high_) < 0; }
  bool apart(const Interval& other) const { return mpfr_less_p(high_, other.low_) || mpfr_less_p(other.high_, low_); }
  /// Bits before the point of its larger end.
  long size() const {
    const auto of = [](mpfr_srcptr x) { return mpfr_regular_p(x) ? std::max<long>(0, mpfr_get_exp(x)) : 0; };
    return std::max(of(low_), of(high_));
  }
  /// Whether it is narrower than 2^exponent times max(1, its size).
  bool narrow(long exponent) const;

  Interval operator-() const;
  friend Interval operator+(const Interval& a, const Interval& b);
  friend Interval operator-(const Interval& a, const Interval& b);
  friend Interval operator*(const Interval& a, const Interval& b);
  /// Nothing where `b` may be zero.
  friend std::optional<Interval> divide(const Interval& a, const Interval& b);

  static Interval pi(mpfr_prec_t precision);
  /// A function that never falls, by its values at the ends.
  using Monotone = int (*)(mpfr_ptr, mpfr_srcptr, mpfr_rnd_t);
  Interval rising(Monotone f) const;
  /// Sine and cosine, whose slope is at most 1.
  Interval gentle(Monotone f) const;

 private:
  using Digits = std::unique_ptr<mp_limb_t[]>;

  Interval(mpfr_prec_t precision, Digits digits) : digits_(std::move(digits)) {
    mpfr_custom_init_set(low_, MPFR_ZERO_KIND, 0, precision, digits_.get());
    mpfr_custom_init_set(high_, MPFR_ZERO_KIND, 0, precision, digits_ ? digits_.get() + limbs(precision) : nullptr);
  }
  static std::size_t limbs(mpfr_prec_t precision) { return mpfr_custom_get_size(precision) / sizeof(mp_limb_t); }
  static Digits new_digits(mpfr_prec_t precision) {
    return std::make_unique_for_overwrite<mp_limb_t[]>(2 * limbs(precision));
  }

  Digits digits_;
  mpfr_t low_, high_;
};

std::optional<Interval> divide(const Interval& a, const Interval& b);

/// real + i · imaginary; `is_real` where the imaginary part is exactly zero.
struct Complex {
  Interval real, imaginary;
  bool is_real = true;

  explicit Complex(Interval value) : real(std::move(value)), imaginary(Interval::zero(real.precision())) {}
  Complex(Interval re, Interval im) : real(std::move(re)), imaginary(std::move(im)), is_real(imaginary.is_zero()) {}

  bool is_finite() const { return real.is_finite() && imaginary.is_finite(); }
  bool apart(const Complex& other) const { return real.apart(other.real) || imaginary.apart(other.imaginary); }
  bool narrow(long exponent) const { return real.narrow(exponent) && imaginary.narrow(exponent); }
};

Complex operator-(const Complex& a);
Complex operator+(const Complex& a, const Complex& b);
Complex operator*(const Complex& a, const Complex& b);
std::optional<Complex> divide(const Complex& a, const Complex& b);
Complex exp(const Complex& a);
std::optional<Complex> log(const Complex& a);  // the principal value; nothing where a may be zero or cross its cut
std::optional<Interval> absolute(const Complex& a);

}  // namespace grpo::math
