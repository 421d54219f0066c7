// What the tests of the trainer share.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "tiny.h"

namespace grpo {

// The first moments after one update are the gradient: beta1 = 0, no clipping.
inline OptimizerConfig gradient_probe() {
  OptimizerConfig config;
  config.learning_rate = 1e-3;
  config.beta1 = 0;
  config.max_grad_norm = 0;
  return config;
}

inline std::map<std::string, at::Tensor> gradients(const Trainer& trainer) {
  std::map<std::string, at::Tensor> out;
  for (const auto& [name, tensor] : trainer.state())
    if (name.starts_with("first_moment.")) out[name.substr(13)] = tensor.clone();
  return out;
}

inline NamedTensors copy_of(const NamedTensors& tensors) {
  NamedTensors out;
  for (const auto& [name, tensor] : tensors) out.emplace_back(name, tensor.detach().clone());
  return out;
}

inline bool same(const NamedTensors& a, const NamedTensors& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return x.first == y.first && x.second.equal(y.second); });
}

// |a − b| / |b| over all parameters together.
inline double relative_difference(const std::map<std::string, at::Tensor>& a,
                                  const std::map<std::string, at::Tensor>& b) {
  double difference = 0, size = 0;
  for (const auto& [name, tensor] : b) {
    difference += (a.at(name).to(at::kDouble) - tensor.to(at::kDouble)).square().sum().item<double>();
    size += tensor.to(at::kDouble).square().sum().item<double>();
  }
  return std::sqrt(difference / size);
}

inline std::vector<Group> scored_groups(const Policy& policy, uint64_t step = 0, int groups = 4) {
  auto out = tiny::rollout(policy, tiny::rollout_config())
                 .generate(tiny::tasks(static_cast<size_t>(groups)), {7, Purpose::rollout, step, 0});
  tiny::reward(out);
  return out;
}

// Tokens of the largest group's pass.
inline int largest_group(const std::vector<Group>& groups) {
  size_t largest = 0;
  for (const Group& group : groups) {
    size_t tokens = group.prompt.size();
    for (const Completion& completion : group.completions)
      tokens += std::max<size_t>(completion.tokens.size(), 1) - 1;
    largest = std::max(largest, tokens);
  }
  return static_cast<int>(largest);
}

}  // namespace grpo
