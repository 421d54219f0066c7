// What the kernels and the reference of routing tokens to experts share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace grpo {

inline constexpr float kTiny = 1e-20f;  // in the sum of chosen scores, all of which may underflow

// Rows sorted by expert, tokens in order within each: slots [assignments] and offsets [experts + 1] of the chosen experts.
inline void assign_slots(const int32_t* chosen, int64_t assignments, int64_t experts, int32_t* slots,
                         int32_t* offsets) {
  std::fill_n(offsets, experts + 1, 0);
  for (int64_t i = 0; i < assignments; ++i) ++offsets[chosen[i] + 1];
  std::partial_sum(offsets, offsets + experts + 1, offsets);
  std::vector<int32_t> next(offsets, offsets + experts);
  for (int64_t i = 0; i < assignments; ++i) slots[i] = next[chosen[i]]++;
}

}  // namespace grpo
