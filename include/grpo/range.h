// The numbers that a knob may hold, declared with it: at_least(1), above(0).at_most(1), at_least(16).multiple_of(16).
#pragma once

#include <limits>
#include <string>

namespace grpo {

/// An interval, each end of which belongs to it or not. NaN and infinities are in none.
class Range {
 public:
  constexpr bool contains(double x) const {
    if (zero_ && x == 0) return true;
    if (!(x >= low_ && x <= high_) || (open_low_ && x == low_) || (open_high_ && x == high_)) return false;
    if (x > std::numeric_limits<double>::max() || x < std::numeric_limits<double>::lowest()) return false;
    return step_ == 0 || static_cast<long long>(x) % step_ == 0;
  }

  constexpr Range at_most(double high) const { return with_high(high, false); }
  constexpr Range below(double high) const { return with_high(high, true); }
  /// 0 is good, too, wherever the interval lies: the value that turns something off.
  constexpr Range or_zero() const {
    Range range = *this;
    range.zero_ = true;
    return range;
  }
  constexpr Range multiple_of(int step) const {
    Range range = *this;
    range.step_ = step;
    return range;
  }

  /// "0 < x <= 1", "0, or x >= 64", "a multiple of 16 with 16 <= x <= 4096", "a finite number".
  std::string text() const;

 private:
  friend constexpr Range at_least(double low);
  friend constexpr Range above(double low);
  friend constexpr Range any_finite();

  constexpr Range(double low, bool open) : low_(low), open_low_(open) {}
  constexpr Range with_high(double high, bool open) const {
    Range range = *this;
    range.high_ = high, range.open_high_ = open;
    return range;
  }

  double low_, high_ = std::numeric_limits<double>::infinity();
  bool open_low_, open_high_ = false, zero_ = false;
  int step_ = 0;
};

constexpr Range at_least(double low) { return {low, false}; }
constexpr Range above(double low) { return {low, true}; }
constexpr Range any_finite() { return {-std::numeric_limits<double>::infinity(), false}; }

}  // namespace grpo
