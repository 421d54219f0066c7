// How tokens are drawn, and what for.
#pragma once

#include <cstdint>

#include "grpo/range.h"

namespace grpo {

/// What a draw is for. Training and evaluation, for one, never share a draw. The values are part of every counter:
/// append.
enum class Purpose : uint32_t { rollout = 0, evaluation = 1, judge = 2, tasks = 3, weights = 4 };

/// What sampling can do, for all knobs that ask for it; counts are bounded by their places in a draw's key.
inline constexpr Range kTemperature = at_least(1e-6).at_most(1e6).or_zero();
inline constexpr Range kTopP = above(0).at_most(1);
inline constexpr Range kSamples = at_least(1).at_most(1 << 16);
inline constexpr Range kNewTokens = at_least(1).at_most(1 << 26);

/// How tokens are chosen. Truncation goes in this order: temperature, top-k, top-p, min-p. Ties go to the lowest id.
struct SamplingConfig {
  double temperature = 1;
  int top_k = 0;
  double top_p = 1;
  double min_p = 0;

  template <class V>
  void visit(V& v) {
    v("temperature", temperature, "divides the logits; 0 takes the most likely token", kTemperature);
    v("top_k", top_k, "sample among the k most likely tokens only; 0: all", at_least(0));
    v("top_p", top_p, "sample among the fewest most likely tokens whose mass reaches p; 1: all", kTopP);
    v("min_p", min_p, "sample among tokens at least this fraction as likely as the most likely one; 0: all",
      at_least(0).at_most(1));
  }

  /// What the logits are multiplied with: 1 / temperature, rounded once; 1 when greedy.
  float scale() const { return temperature == 0 ? 1.0f : static_cast<float>(1.0 / temperature); }

  /// Whether draws carry a kept set. Greedy choice (temperature 0) has none.
  bool truncates() const { return temperature != 0 && (top_k > 0 || top_p < 1 || min_p > 0); }
};

}  // namespace grpo
