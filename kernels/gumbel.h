// Gumbel noise out of 32 random bits, the same bits of it on the CPU and on the GPU: products and sums in a fixed order
// and never contracted (-ffp-contract=off, nvcc -fmad=false), no library functions.
#pragma once

#include <bit>
#include <cstdint>

#include "base/philox.h"

namespace grpo {

// log(1 + f) + exponent·ln 2 for f in [−1/3, 1/3]; minimax fit of (log(1 + f) − f + f²/2) / f³, error 2^-27.7.
GRPO_HD inline float log_reduced(float f, float exponent) {
  const float f2 = f * f;  // pairs first (Estrin): a shorter chain than Horner's
  const float q = ((-0.12891705f * f + 0.13984463f) * f2 + (-0.12184257f * f + 0.14005864f)) * (f2 * f2) +
                  ((-0.16680488f * f + 0.20010406f) * f2 + (-0.24999797f * f + 0.33333215f));
  const float tail = f2 * (f * q - 0.5f);
  constexpr float kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;  // 15 bits, and the rest: exponent·high is exact
  return exponent * kLn2High + (f + (tail + exponent * kLn2Low));
}

// x = m·2^exponent with m in [2/3, 4/3).
GRPO_HD inline float log_normal(float x) {
  const int32_t bits = std::bit_cast<int32_t>(x);
  const int32_t exponent = (bits - 0x3f2aaaab) >> 23;
  const float mantissa = std::bit_cast<float>(bits - exponent * (1 << 23));
  return log_reduced(mantissa - 1.0f, static_cast<float>(exponent));
}

// `a` where `mask` is all ones, `b` where it is 0. Both are computed already: no branch for the vectoriser to trip
// over.
GRPO_HD inline float select(int32_t mask, float a, float b) {
  return std::bit_cast<float>((std::bit_cast<int32_t>(a) & mask) | (std::bit_cast<int32_t>(b) & ~mask));
}

// −log u for u = (x + ½)·2^-32. When u is near 1 its distance from 1, w, holds the information and fp32 cannot hold 1 −
// w; so the half above ½ starts from w. These are the small values, the ones that let a rare token win.
GRPO_HD inline float exponential(uint32_t x) {
  const int32_t upper = static_cast<int32_t>(x) >> 31;
  const float w = (static_cast<float>(static_cast<int32_t>(x) ^ upper) + 0.5f) * 0x1p-32f;  // (0, ½]
  const int32_t bits = std::bit_cast<int32_t>(w);
  const int32_t halve = (0x3eaaaaab - bits) >> 31;  // w > 1/3: then 1 − w = (2 − 2w) / 2, with 2 − 2w in [1, 4/3)
  const int32_t exponent = (bits - 0x3f2aaaab) >> 23;
  const float mantissa = std::bit_cast<float>(bits - exponent * (1 << 23));
  const float f = select(upper, select(halve, 1.0f - 2.0f * w, -w), mantissa - 1.0f);
  return -log_reduced(f, static_cast<float>((halve & upper) | (exponent & ~upper)));
}

GRPO_HD inline float gumbel_of(uint32_t x) { return -log_normal(exponential(x)); }

}  // namespace grpo
