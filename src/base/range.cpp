#include "grpo/range.h"

#include <charconv>
#include <cmath>

#include "grpo/config.h"

namespace grpo {

std::string internal::number_text(double number) {
  char text[64];
  const bool whole = std::abs(number) < 1e15 && std::trunc(number) == number;
  const auto end = whole ? std::to_chars(text, text + sizeof text, static_cast<long long>(number))
                         : std::to_chars(text, text + sizeof text, number);
  return {text, end.ptr};
}

std::string Range::text() const {
  const bool from = low_ > -std::numeric_limits<double>::infinity();
  const bool to = high_ < std::numeric_limits<double>::infinity();
  std::string interval;
  if (from && to)
    interval = internal::number_text(low_) + (open_low_ ? " < x" : " <= x");
  else if (from)
    interval = (open_low_ ? "x > " : "x >= ") + internal::number_text(low_);
  if (to) interval += (from ? "" : "x") + std::string(open_high_ ? " < " : " <= ") + internal::number_text(high_);
  if (step_ != 0)
    interval = "a multiple of " + std::to_string(step_) + (interval.empty() ? "" : " with " + interval);
  if (interval.empty()) return "a finite number";
  return zero_ ? "0, or " + interval : interval;
}

}  // namespace grpo
