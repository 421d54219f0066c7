// What the tests of rewards share: completions in form, and weights.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <utility>

#include "grpo/reward.h"

namespace grpo {

inline Completion completion_of(std::string text, std::size_t tokens = 1) {
  Completion completion;
  completion.text = std::move(text);
  completion.tokens.assign(tokens, 0);
  return completion;
}

inline std::string solution(const std::string& answer) {
  return "<think>just add them</think><answer>" + answer + "</answer>";
}

inline RewardsConfig weighted(std::map<std::string, double> weights, int threads = 1) {
  RewardsConfig config;
  config.weights = std::move(weights);
  config.threads = threads;
  return config;
}

}  // namespace grpo
