// Stored rollouts, and the loss of a rollout cut into minibatches and micro-batches.
#pragma once

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "grpo/objective.h"

namespace grpo {

using json = nlohmann::json;

const double kNanD = std::numeric_limits<double>::quiet_NaN();

inline at::Tensor floats(std::vector<double> values) { return at::tensor(at::ArrayRef<double>(values)).to(at::kFloat); }
inline std::vector<double> doubles(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kDouble).contiguous();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}
inline at::Tensor starts_of(const std::vector<std::int64_t>& lengths) {
  std::vector<std::int64_t> starts{0};
  for (const std::int64_t length : lengths) starts.push_back(starts.back() + length);
  return at::tensor(at::ArrayRef<std::int64_t>(starts));
}

/// A micro-batch under the policy being trained.
struct MicroBatch {
  LossInput input;
  at::Tensor logprobs, entropy;
};

struct Found {
  double loss;
  at::Tensor logprobs, entropy;  // gradients
  LossMetrics metrics;
};

inline Found closed_form(const MicroBatch& micro, const Normalizer& normalizer, const ObjectiveConfig& config) {
  const PolicyGradient gradient = PolicyLoss(micro.input, normalizer, config).gradient(micro.logprobs, micro.entropy);
  const LossMetrics metrics(gradient.metrics.unsqueeze(0));
  return {metrics.loss, gradient.logprobs, gradient.entropy, metrics};
}

/// A stored rollout, its tokens end to end.
struct Rollout {
  std::vector<Group> groups;
  std::vector<std::int64_t> lengths;
  std::map<std::string, std::vector<std::vector<double>>> rows;  // "old", "current", …: a vector for each completion
};

inline Rollout read_rollout(const json& stored) {
  Rollout rollout;
  const std::size_t group_size = stored["group"];
  for (std::size_t i = 0; i < stored["sequences"].size(); ++i) {
    const json& sequence = stored["sequences"][i];
    if (i % group_size == 0) rollout.groups.emplace_back();
    Completion completion;
    completion.tokens.assign(sequence["length"].get<std::size_t>(), 2);
    completion.finish = sequence["truncated"] ? Finish::length : Finish::stop;
    rollout.groups.back().completions.push_back(completion);
    rollout.groups.back().rewards.push_back(stored["rewards"][i].is_null() ? kNanD
                                                                           : stored["rewards"][i].get<double>());
    Scores scores;
    for (const auto& [name, column] : {std::pair("first", 0), std::pair("second", 1)}) {
      const json& score = stored["scores"][i][column];
      scores.emplace(name, score.is_null() ? Score::undefined() : Score(score.get<double>()));
    }
    rollout.groups.back().scores.push_back(std::move(scores));
    rollout.groups.back().weights = {{"first", 1.0}, {"second", 0.5}};
    rollout.lengths.push_back(sequence["length"]);
    for (const char* key : {"old", "current", "reference", "entropy"})
      rollout.rows[key].push_back(sequence[key].get<std::vector<double>>());
  }
  return rollout;
}

/// The chosen completions (indices into the rollout's rows) as one micro-batch.
inline MicroBatch micro_batch(const Rollout& rollout, const std::vector<std::size_t>& rows, bool on_policy) {
  std::map<std::string, std::vector<double>> flat;
  std::vector<std::int64_t> lengths;
  std::vector<double> advantages;
  const std::size_t group_size = rollout.groups[0].completions.size();
  for (const std::size_t row : rows) {
    for (const auto& [key, values] : rollout.rows)
      flat[key].insert(flat[key].end(), values[row].begin(), values[row].end());
    lengths.push_back(rollout.lengths[row]);
    advantages.push_back(rollout.groups[row / group_size].advantages[row % group_size]);
  }
  return {{floats(flat["old"]), floats(flat["reference"]), floats(advantages), starts_of(lengths)},
          floats(flat[on_policy ? "old" : "current"]),
          floats(flat["entropy"])};
}

struct Result {
  std::vector<double> losses;
  std::vector<std::vector<double>> gradient, entropy_gradient;  // by completion
  LossMetrics metrics;
};

/// The cut through the entropies of these rows, where the objective has one.
inline EntropyCut cut_of(const Rollout& rollout, const std::vector<std::size_t>& rows, const ObjectiveConfig& config) {
  if (config.top_entropy == 1) return {};
  return entropy_cut(micro_batch(rollout, rows, false).entropy, config.top_entropy);
}

/// The objective over a rollout cut into minibatches of whole groups, each cut by `split` into micro-batches.
inline Result evaluate(
    Rollout& rollout, const ObjectiveConfig& config, bool on_policy, std::size_t minibatches,
    const std::function<std::vector<std::vector<std::size_t>>(std::vector<std::size_t>)>& split) {
  const std::size_t group_size = rollout.groups[0].completions.size(), per = rollout.groups.size() / minibatches;
  Result result;
  EntropyControl entropy{config.entropy_coefficient};
  for (const std::int64_t length : rollout.lengths) result.gradient.emplace_back(length, 0.0);
  result.entropy_gradient = result.gradient;
  for (std::size_t m = 0; m < minibatches; ++m) {
    const Normalizer normalizer =
        count(std::span<const Group>(rollout.groups).subspan(m * per, per), rollout.groups, config);
    std::vector<std::size_t> rows;
    for (std::size_t g = m * per; g < (m + 1) * per; ++g)
      for (std::size_t i = 0; i < group_size; ++i)
        if (enters_loss(rollout.groups[g], i, config)) rows.push_back(g * group_size + i);
    ObjectiveConfig applied = config;
    applied.entropy_coefficient = entropy.applied(config);
    const EntropyCut cut = cut_of(rollout, rows, config);
    LossMetrics metrics;
    result.losses.push_back(0);
    for (const std::vector<std::size_t>& part : split(rows)) {
      MicroBatch micro = micro_batch(rollout, part, on_policy);
      micro.input.cut = cut;
      const Found found = closed_form(micro, normalizer, applied);
      metrics.add(found.metrics);
      const auto scatter = [&](const at::Tensor& gradient, std::vector<std::vector<double>>& to) {
        if (!gradient.defined()) return;
        const std::vector<double> values = doubles(gradient);
        std::size_t next = 0;
        for (const std::size_t row : part)
          for (double& slot : to[row]) slot += values[next++];
      };
      scatter(found.logprobs, result.gradient);
      scatter(found.entropy, result.entropy_gradient);
      result.losses.back() += found.loss;
    }
    result.metrics.add(metrics);
    entropy.observe(metrics.bonus_entropy / metrics.bonus_tokens, config);
  }
  return result;
}

inline std::vector<std::vector<std::size_t>> whole(std::vector<std::size_t> rows) { return {std::move(rows)}; }

inline std::vector<double> joined(const std::vector<std::vector<double>>& rows) {
  std::vector<double> flat;
  for (const std::vector<double>& row : rows) flat.insert(flat.end(), row.begin(), row.end());
  return flat;
}

inline const json& fixture() {
  static const json stored = [] {
    std::ifstream file(GRPO_FIXTURES "/trl_objective.json");
    return json::parse(file);
  }();
  return stored;
}

}  // namespace grpo
