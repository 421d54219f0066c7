#include "answers/math/interval.h"

#include <algorithm>
#include <utility>

namespace grpo::math {

bool Interval::narrow(long exponent) const {
  if (!is_finite()) return false;
  mpfr_t width;
  mpfr_init2(width, 64);
  mpfr_sub(width, high_, low_, MPFR_RNDU);
  const long size = mpfr_zero_p(high_) ? 0 : std::max<long>(0, mpfr_get_exp(high_));
  const bool is_narrow = mpfr_zero_p(width) || mpfr_get_exp(width) <= exponent + size;
  mpfr_clear(width);
  return is_narrow;
}

Interval Interval::operator-() const {
  Interval result(precision());
  mpfr_neg(result.low_, high_, MPFR_RNDD);
  mpfr_neg(result.high_, low_, MPFR_RNDU);
  return result;
}

Interval operator+(const Interval& a, const Interval& b) {
  Interval result(a.precision());
  mpfr_add(result.low_, a.low_, b.low_, MPFR_RNDD);
  mpfr_add(result.high_, a.high_, b.high_, MPFR_RNDU);
  return result;
}

Interval operator-(const Interval& a, const Interval& b) {
  Interval result(a.precision());
  mpfr_sub(result.low_, a.low_, b.high_, MPFR_RNDD);
  mpfr_sub(result.high_, a.high_, b.low_, MPFR_RNDU);
  return result;
}

namespace {

/// The smallest and the largest of what `f` makes of the four pairs of ends.
template <class F>
Interval from_ends(const Interval& a, const Interval& b, F f) {
  Interval result(a.precision()), trial(a.precision());
  bool first = true;
  for (mpfr_srcptr x : {a.low(), a.high()})
    for (mpfr_srcptr y : {b.low(), b.high()}) {
      f(trial.low(), x, y, MPFR_RNDD);
      f(trial.high(), x, y, MPFR_RNDU);
      if (first || mpfr_less_p(trial.low(), result.low())) mpfr_set(result.low(), trial.low(), MPFR_RNDD);
      if (first || mpfr_greater_p(trial.high(), result.high())) mpfr_set(result.high(), trial.high(), MPFR_RNDU);
      first = false;
    }
  return result;
}

}  // namespace

Interval operator*(const Interval& a, const Interval& b) {
  if (mpfr_sgn(a.low_) >= 0 && mpfr_sgn(b.low_) >= 0) {
    Interval result(a.precision());
    mpfr_mul(result.low_, a.low_, b.low_, MPFR_RNDD);
    mpfr_mul(result.high_, a.high_, b.high_, MPFR_RNDU);
    return result;
  }
  return from_ends(a, b, mpfr_mul);
}

std::optional<Interval> divide(const Interval& a, const Interval& b) {
  if (b.contains_zero()) return {};
  if (mpfr_sgn(a.low()) >= 0 && b.is_positive()) {
    Interval result(a.precision());
    mpfr_div(result.low(), a.low(), b.high(), MPFR_RNDD);
    mpfr_div(result.high(), a.high(), b.low(), MPFR_RNDU);
    return result;
  }
  return from_ends(a, b, mpfr_div);
}

Interval Interval::pi(mpfr_prec_t precision) {
  Interval result(precision);
  mpfr_const_pi(result.low_, MPFR_RNDD);
  mpfr_const_pi(result.high_, MPFR_RNDU);
  return result;
}

Interval Interval::rising(Monotone f) const {
  Interval result(precision());
  f(result.low_, low_, MPFR_RNDD);
  f(result.high_, high_, MPFR_RNDU);
  return result;
}

Interval Interval::gentle(Monotone f) const {
  Interval result(precision());
  f(result.low_, low_, MPFR_RNDD);
  f(result.high_, low_, MPFR_RNDU);
  mpfr_t width;
  mpfr_init2(width, precision());
  mpfr_sub(width, high_, low_, MPFR_RNDU);
  mpfr_sub(result.low_, result.low_, width, MPFR_RNDD);
  mpfr_add(result.high_, result.high_, width, MPFR_RNDU);
  mpfr_clear(width);
  return result;
}

Complex operator-(const Complex& a) {
  if (a.is_real) return Complex(-a.real);
  return {-a.real, -a.imaginary};
}

Complex operator+(const Complex& a, const Complex& b) {
  if (a.is_real && b.is_real) return Complex(a.real + b.real);
  return {a.real + b.real, a.imaginary + b.imaginary};
}

Complex operator*(const Complex& a, const Complex& b) {
  if (a.is_real && b.is_real) return Complex(a.real * b.real);
  return {a.real * b.real - a.imaginary * b.imaginary, a.real * b.imaginary + a.imaginary * b.real};
}

std::optional<Complex> divide(const Complex& a, const Complex& b) {
  if (b.is_real) {
    auto real = divide(a.real, b.real);
    if (!real) return {};
    if (a.is_real) return Complex(std::move(*real));
    return Complex(std::move(*real), *divide(a.imaginary, b.real));
  }
  const Interval size = b.real * b.real + b.imaginary * b.imaginary;
  const Complex product = a * Complex(b.real, -b.imaginary);
  const auto real = divide(product.real, size), imaginary = divide(product.imaginary, size);
  if (!real) return {};
  return Complex(*real, *imaginary);
}

Complex exp(const Complex& a) {
  const Interval size = a.real.rising(mpfr_exp);
  if (a.is_real) return Complex(size);
  return {size * a.imaginary.gentle(mpfr_cos), size * a.imaginary.gentle(mpfr_sin)};
}

std::optional<Interval> absolute(const Complex& a) {
  if (a.is_real) {
    if (mpfr_sgn(a.real.low()) >= 0) return a.real;
    if (mpfr_sgn(a.real.high()) <= 0) return -a.real;
    Interval result(a.real.precision());
    const Interval flipped = -a.real;
    mpfr_max(result.high(), a.real.high(), flipped.high(), MPFR_RNDU);
    return result;
  }
  const Interval squares = a.real * a.real + a.imaginary * a.imaginary;
  if (mpfr_sgn(squares.low()) < 0) return {};
  return squares.rising(mpfr_sqrt);
}

std::optional<Complex> log(const Complex& a) {
  const mpfr_prec_t precision = a.real.precision();
  const Interval pi = Interval::pi(precision);
  if (a.is_real) {
    if (a.real.is_positive()) return Complex(a.real.rising(mpfr_log));
    if (a.real.is_negative()) return Complex((-a.real).rising(mpfr_log), pi);
    return {};
  }
  const auto size = absolute(a);
  if (!size || !size->is_positive()) return {};
  std::optional<Interval> angle;
  if (a.real.is_positive()) {
    angle = divide(a.imaginary, a.real)->rising(mpfr_atan);
  } else if (!a.imaginary.contains_zero()) {
    const Interval half = *divide(pi, Interval(mpq_class(2), precision));
    const Interval turned = divide(a.real, a.imaginary)->rising(mpfr_atan);
    angle = a.imaginary.is_positive() ? half - turned : -half - turned;
  } else {
    return {};
  }
  return Complex(size->rising(mpfr_log), *angle);
}

}  // namespace grpo::math
