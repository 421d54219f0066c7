// How tokens are drawn, and what for.
#pragma once

#include <cstdint>

namespace grpo {

/// What a draw is for. Training and evaluation, for one, never share a draw. The values are part of every counter:
/// append.
enum class Purpose : uint32_t { rollout = 0, evaluation = 1, judge = 2, tasks = 3, weights = 4 };

/// How tokens are chosen. Truncation goes in this order: temperature, top-k, top-p, min-p. Ties go to the lowest id.
struct SamplingConfig {
  double temperature = 1;
  int top_k = 0;
  double top_p = 1;
  double min_p = 0;

  template <class V>
  void visit(V& v) {
    v("temperature", temperature, "divides the logits; 0 takes the most likely token");
    v("top_k", top_k, "sample among the k most likely tokens only; 0: all");
    v("top_p", top_p, "sample among the fewest most likely tokens whose mass reaches p; 1: all");
    v("min_p", min_p, "sample among tokens at least this fraction as likely as the most likely one; 0: all");
  }

  /// Throws Error on a temperature other than 0 or [1e-6, 1e6], top_k < 0, top_p outside (0, 1], min_p outside [0, 1].
  void validate() const;

  /// What the logits are multiplied with: 1 / temperature, rounded once; 1 when greedy.
  float scale() const { return temperature == 0 ? 1.0f : static_cast<float>(1.0 / temperature); }

  /// Whether draws carry a kept set. Greedy choice (temperature 0) has none.
  bool truncates() const { return temperature != 0 && (top_k > 0 || top_p < 1 || min_p > 0); }
};

}  // namespace grpo
