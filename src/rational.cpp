#include "rational.h"

#include <algorithm>
#include <cassert>

namespace grpo {
namespace {
constexpr std::uint64_t kBase = 1'000'000'000;
constexpr std::size_t kDigitsPerLimb = 9;
}  // namespace

Natural::Natural(std::uint32_t value) {
  if (value != 0) limbs_.push_back(value);
}

Natural Natural::from_digits(std::string_view digits) {
  Natural result;
  while (!digits.empty()) {
    const std::size_t count = std::min(digits.size(), kDigitsPerLimb);
    std::uint32_t limb = 0;
    for (const char digit : digits.substr(digits.size() - count))
      limb = limb * 10 + static_cast<std::uint32_t>(digit - '0');
    result.limbs_.push_back(limb);
    digits.remove_suffix(count);
  }
  result.drop_leading_zeros();
  return result;
}

void Natural::drop_leading_zeros() {
  while (!limbs_.empty() && limbs_.back() == 0) limbs_.pop_back();
}

Natural operator+(const Natural& a, const Natural& b) {
  if (a.limbs_.size() < b.limbs_.size()) return b + a;
  Natural sum = a;
  std::uint64_t carry = 0;
  for (std::size_t i = 0; i < sum.limbs_.size() && (i < b.limbs_.size() || carry != 0); ++i) {
    carry += sum.limbs_[i] + std::uint64_t{i < b.limbs_.size() ? b.limbs_[i] : 0};
    sum.limbs_[i] = static_cast<std::uint32_t>(carry % kBase);
    carry /= kBase;
  }
  if (carry != 0) sum.limbs_.push_back(static_cast<std::uint32_t>(carry));
  return sum;
}

Natural operator-(const Natural& a, const Natural& b) {
  assert(!(a < b));
  Natural difference = a;
  std::uint64_t borrow = 0;
  for (std::size_t i = 0; i < b.limbs_.size() || borrow != 0; ++i) {
    const std::uint64_t take = borrow + (i < b.limbs_.size() ? b.limbs_[i] : 0);
    borrow = difference.limbs_[i] < take ? 1 : 0;
    difference.limbs_[i] = static_cast<std::uint32_t>(difference.limbs_[i] + borrow * kBase - take);
  }
  difference.drop_leading_zeros();
  return difference;
}

Natural operator*(const Natural& a, const Natural& b) {
  Natural product;
  product.limbs_.assign(a.limbs_.size() + b.limbs_.size(), 0);
  for (std::size_t i = 0; i < a.limbs_.size(); ++i) {
    std::uint64_t carry = 0;
    for (std::size_t j = 0; j < b.limbs_.size() || carry != 0; ++j) {
      carry += product.limbs_[i + j];
      if (j < b.limbs_.size()) carry += std::uint64_t{a.limbs_[i]} * b.limbs_[j];
      product.limbs_[i + j] = static_cast<std::uint32_t>(carry % kBase);
      carry /= kBase;
    }
  }
  product.drop_leading_zeros();
  return product;
}

bool operator<(const Natural& a, const Natural& b) {
  if (a.limbs_.size() != b.limbs_.size()) return a.limbs_.size() < b.limbs_.size();
  return std::lexicographical_compare(a.limbs_.rbegin(), a.limbs_.rend(), b.limbs_.rbegin(), b.limbs_.rend());
}

Rational operator+(const Rational& a, const Rational& b) {
  const Natural left = a.numerator * b.denominator, right = b.numerator * a.denominator;
  const Natural denominator = a.denominator * b.denominator;
  if (a.negative == b.negative) return {a.negative, left + right, denominator};
  if (left < right) return {b.negative, right - left, denominator};
  return {a.negative, left - right, denominator};
}

Rational operator*(const Rational& a, const Rational& b) {
  return {a.negative != b.negative, a.numerator * b.numerator, a.denominator * b.denominator};
}

Rational operator/(const Rational& a, const Rational& b) {
  assert(!b.is_zero());
  return {a.negative != b.negative, a.numerator * b.denominator, a.denominator * b.numerator};
}

bool operator==(const Rational& a, const Rational& b) {
  if (a.is_zero() || b.is_zero()) return a.is_zero() == b.is_zero();  // zero has no sign
  return a.negative == b.negative && a.numerator * b.denominator == b.numerator * a.denominator;
}

}  // namespace grpo
