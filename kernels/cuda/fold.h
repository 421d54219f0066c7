// How tiles of attention are put together: one behind the other, whoever worked them out.
#pragma once

#include "kernels/cuda/device.h"

namespace grpo::cuda {

constexpr float kLog2e = 1.4426950408889634f;

// A row's tiles so far: the maximum of scores (times log2 e), the sum of weights. fold gives the factors of what was there and of the tile.
struct Folded {
  float maximum = -INFINITY, sum = 0.0f;
  float kept, added;

  __device__ void fold(float tile_maximum, float tile_sum) {
    const float most = fmaxf(maximum, tile_maximum);
    kept = most == -INFINITY ? 1.0f : exp2f(maximum - most);
    added = most == -INFINITY ? 0.0f : exp2f(tile_maximum - most);
    sum = fmaf(sum, kept, tile_sum * added);
    maximum = most;
  }
  __device__ float value(float before, float tile) const { return fmaf(before, kept, tile * added); }
  __device__ float log_sum_exp() const { return (maximum + log2f(sum)) / kLog2e; }
};

inline float score_scale(const HeadLayout& heads) {
  return kLog2e * (heads.scale > 0 ? static_cast<float>(heads.scale) : rsqrtf(static_cast<float>(heads.head_dim)));
}

}  // namespace grpo::cuda
