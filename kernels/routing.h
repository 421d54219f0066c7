// What the kernels and the reference of routing tokens to experts share.
#pragma once

#include <numeric>
#include <vector>

#include "kernels/op.h"

namespace grpo {

inline constexpr float kTiny = 1e-20f;  // in the sum of chosen scores, all of which may underflow

// Rows sorted by expert, tokens in order within each: fills routing.slots and routing.offsets from routing.experts.
inline void assign_slots(Routing& routing, int64_t experts) {
  const Tensor chosen = routing.experts.cpu();
  const int32_t* expert = chosen.data_ptr<int32_t>();
  Tensor offsets = at::zeros({experts + 1}, at::kInt), slots = at::empty(chosen.sizes(), at::kInt);
  int32_t* starts = offsets.data_ptr<int32_t>();
  for (int64_t i = 0; i < chosen.numel(); ++i) ++starts[expert[i] + 1];
  std::partial_sum(starts, starts + experts + 1, starts);
  std::vector<int32_t> next(starts, starts + experts);
  for (int64_t i = 0; i < chosen.numel(); ++i) slots.data_ptr<int32_t>()[i] = next[expert[i]]++;
  routing.slots = slots.to(routing.experts.device());
  routing.offsets = offsets.to(routing.experts.device());
}

// Token of each row of the expert-sorted batch.
inline Tensor tokens_of_rows(const Routing& routing) {
  Tensor tokens = at::empty({routing.slots.numel()}, routing.slots.options().dtype(at::kLong));
  return tokens.scatter_(0, routing.slots.flatten().to(at::kLong),
                         at::arange(routing.slots.numel(), tokens.options()).floor_divide(routing.slots.size(1)));
}

}  // namespace grpo
