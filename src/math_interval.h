// Numbers between two bounds, and complex numbers made of them. Every operation rounds outward: the true result is
// always inside.
#pragma once

#include <gmpxx.h>
#include <mpfr.h>

#include <algorithm>
#include <optional>

namespace grpo::math {

/// A real number that is at least `low` and at most `high`.
class Interval {
 public:
  explicit Interval(mpfr_prec_t precision) {
    mpfr_init2(low_, precision);
    mpfr_init2(high_, precision);
    mpfr_set_zero(low_, 1);
    mpfr_set_zero(high_, 1);
  }
  Interval(const mpq_class& value, mpfr_prec_t precision) : Interval(precision) {
    mpfr_set_q(low_, value.get_mpq_t(), MPFR_RNDD);
    mpfr_set_q(high_, value.get_mpq_t(), MPFR_RNDU);
  }
  Interval(const Interval& other) : Interval(other.precision()) { *this = other; }
  Interval(Interval&& other) noexcept : Interval(MPFR_PREC_MIN) { swap(other); }
  Interval& operator=(const Interval& other) {
    mpfr_set(low_, other.low_, MPFR_RNDD);
    mpfr_set(high_, other.high_, MPFR_RNDU);
    return *this;
  }
  Interval& operator=(Interval&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Interval() {
    mpfr_clear(low_);
    mpfr_clear(high_);
  }

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
  void swap(Interval& other) noexcept {
    mpfr_swap(low_, other.low_);
    mpfr_swap(high_, other.high_);
  }
  mpfr_t low_, high_;
};

std::optional<Interval> divide(const Interval& a, const Interval& b);

/// real + i · imaginary; `is_real` where the imaginary part is exactly zero.
struct Complex {
  Interval real, imaginary;
  bool is_real = true;

  explicit Complex(Interval value) : real(std::move(value)), imaginary(real.precision()) {}
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
