// How a mixture of experts chooses among them.
#pragma once

namespace grpo {

enum class Scoring { sigmoid, softmax };

/// Choice by score, and by groups of experts first (auxiliary-loss-free balancing and node-limited routing:
/// DeepSeek-V3, arXiv:2412.19437, section 2.1.2).
struct RouterOptions {
  int experts_per_token = 2;
  Scoring scoring = Scoring::sigmoid;
  bool normalize = true;                 ///< divide the chosen scores by their sum
  double scaling = 1.0;                  ///< times this
  int groups = 1, groups_per_token = 1;  ///< choose only among the experts of the best groups
  int group_best = 2;                    ///< a group is as good as the sum of its so many best experts
};

}  // namespace grpo
