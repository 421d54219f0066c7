// The rewards of grpo/text_rewards.h, for the registry.
#pragma once

#include <span>
#include <string_view>
#include <utility>

#include "grpo/reward.h"

namespace grpo {

using MakeTextReward = Reward (*)(const RewardsConfig&);

std::span<const std::pair<std::string_view, MakeTextReward>> text_rewards();

/// The built-in reward `accuracy`, which others build on.
Reward make_accuracy(const RewardsConfig& config);

}  // namespace grpo
