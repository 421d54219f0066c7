// The rewards of grpo/text_rewards.h, for the registry.
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <utility>

#include "grpo/reward.h"

namespace grpo {

/// A built-in reward is also told the scores of those before it in the alphabet. `accuracy`, which is always evaluated,
/// stands before all of these.
using BuiltInReward = std::function<Score(const Task&, const Completion&, const Scores&)>;
using MakeReward = BuiltInReward (*)(const RewardsConfig&);

std::span<const std::pair<std::string_view, MakeReward>> text_rewards();

}  // namespace grpo
