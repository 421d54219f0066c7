#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "grpo/error.h"
#include "grpo/objective.h"

namespace grpo {
namespace {

using ::testing::HasSubstr;
using ::testing::Pointwise;
using json = nlohmann::json;

const double kNanD = std::numeric_limits<double>::quiet_NaN();

at::Tensor floats(std::vector<double> values) { return at::tensor(at::ArrayRef<double>(values)).to(at::kFloat); }
std::vector<double> doubles(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kDouble).contiguous();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}
at::Tensor starts_of(const std::vector<std::int64_t>& lengths) {
  std::vector<std::int64_t> starts{0};
  for (const std::int64_t length : lengths) starts.push_back(starts.back() + length);
  return at::tensor(at::ArrayRef<std::int64_t>(starts));
}

Group group_of(std::vector<double> rewards, std::size_t tokens) {
  Group group;
  for (std::size_t i = 0; i < rewards.size(); ++i) {
    Completion completion;
    completion.tokens.assign(tokens, 7);
    group.completions.push_back(completion);
  }
  group.rewards = std::move(rewards);
  return group;
}

// ---------------------------------------------------------------------------------------------------------------- TRL

/// A stored rollout, its tokens end to end.
struct Rollout {
  std::vector<Group> groups;
  std::vector<std::int64_t> lengths;
  std::map<std::string, std::vector<std::vector<double>>> rows;  // "old", "current", …: one vector for each completion
};

Rollout read_rollout(const json& stored) {
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
    rollout.lengths.push_back(sequence["length"]);
    for (const char* key : {"old", "current", "reference", "entropy"})
      rollout.rows[key].push_back(sequence[key].get<std::vector<double>>());
  }
  return rollout;
}

/// Runs the chosen completions (indices into the rollout's rows) as one micro-batch.
struct MicroBatch {
  std::vector<std::size_t> rows;
  LossInput input;

  MicroBatch(const Rollout& rollout, std::vector<std::size_t> chosen, bool on_policy) : rows(std::move(chosen)) {
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
    input.logprobs = floats(flat[on_policy ? "old" : "current"]).requires_grad_();
    input.old_logprobs = floats(flat["old"]);
    input.reference_logprobs = floats(flat["reference"]);
    input.entropy = floats(flat["entropy"]).requires_grad_();
    input.advantages = floats(advantages);
    input.starts = starts_of(lengths);
  }
};

struct Result {
  std::vector<double> losses;
  std::vector<std::vector<double>> gradient, entropy_gradient;  // by completion
  LossMetrics metrics;
};

/// The objective over a rollout cut into minibatches of whole groups, each cut by `split` into micro-batches.
Result evaluate(Rollout& rollout, const ObjectiveConfig& config, bool on_policy, std::size_t minibatches,
                const std::function<std::vector<std::vector<std::size_t>>(std::vector<std::size_t>)>& split) {
  const std::size_t group_size = rollout.groups[0].completions.size(), per = rollout.groups.size() / minibatches;
  Result result;
  for (const std::int64_t length : rollout.lengths) result.gradient.emplace_back(length, 0.0);
  result.entropy_gradient = result.gradient;
  for (std::size_t m = 0; m < minibatches; ++m) {
    const Normalizer normalizer =
        count(std::span<const Group>(rollout.groups).subspan(m * per, per), rollout.groups, config);
    std::vector<std::size_t> rows;
    for (std::size_t g = m * per; g < (m + 1) * per; ++g)
      for (std::size_t i = 0; i < group_size; ++i)
        if (enters_loss(rollout.groups[g], i, config)) rows.push_back(g * group_size + i);
    result.losses.push_back(0);
    for (const std::vector<std::size_t>& part : split(rows)) {
      const MicroBatch micro(rollout, part, on_policy);
      const LossOutput output = policy_loss(micro.input, normalizer, config);
      output.loss.backward();
      result.losses.back() += output.loss.item<double>();
      result.metrics.add(output.metrics);
      const auto scatter = [&](const at::Tensor& gradient, std::vector<std::vector<double>>& to) {
        if (!gradient.defined()) return;
        const std::vector<double> values = doubles(gradient);
        std::size_t next = 0;
        for (const std::size_t row : part)
          for (double& slot : to[row]) slot += values[next++];
      };
      scatter(micro.input.logprobs.grad(), result.gradient);
      scatter(micro.input.entropy.grad(), result.entropy_gradient);
    }
  }
  return result;
}

std::vector<std::vector<std::size_t>> whole(std::vector<std::size_t> rows) { return {std::move(rows)}; }

std::vector<double> joined(const std::vector<std::vector<double>>& rows) {
  std::vector<double> flat;
  for (const std::vector<double>& row : rows) flat.insert(flat.end(), row.begin(), row.end());
  return flat;
}

const json& fixture() {
  static const json stored = [] {
    std::ifstream file(GRPO_FIXTURES "/trl_objective.json");
    return json::parse(file);
  }();
  return stored;
}

struct PrintedCase {
  const json* stored;
};
void PrintTo(const PrintedCase& c, std::ostream* out) { *out << (*c.stored)["name"] << " #" << (*c.stored)["rollout"]; }

class Trl : public ::testing::TestWithParam<PrintedCase> {
 protected:
  Trl() : stored(*GetParam().stored), rollout(read_rollout(fixture()["rollouts"][stored["rollout"].get<int>()])) {
    load_json(config, stored["config"], "fixture");
    std::vector<std::vector<double>> reward_kl;
    if (config.kl == Kl::k1_in_reward) {
      const std::size_t group_size = rollout.groups[0].completions.size();
      for (std::size_t row = 0; row < rollout.lengths.size(); ++row) {
        if (row % group_size == 0) reward_kl.emplace_back();
        double sum = 0;
        for (std::size_t t = 0; t < rollout.rows["old"][row].size(); ++t)
          sum += rollout.rows["old"][row][t] - rollout.rows["reference"][row][t];
        reward_kl.back().push_back(sum);
      }
    }
    compute_advantages(rollout.groups, config, reward_kl);
  }
  const json& stored;
  ObjectiveConfig config;
  Rollout rollout;
};

TEST_P(Trl, gives_the_same_advantages) {
  std::vector<float> ours;
  for (const Group& group : rollout.groups)
    for (std::size_t i = 0; i < group.advantages.size(); ++i) {
      EXPECT_TRUE(std::isnan(group.advantages[i]) || !std::isnan(group.rewards[i]));
      ours.push_back(std::isnan(group.advantages[i]) ? 0.0f : group.advantages[i]);  // TRL writes 0
    }
  EXPECT_THAT(ours, Pointwise(::testing::FloatNear(1e-5f), stored["expected"]["advantages"].get<std::vector<float>>()));
}

TEST_P(Trl, gives_the_same_loss_and_gradient) {
  const json& expected = stored["expected"];
  if (!expected.contains("losses")) return;  // a case about advantages
  const Result result = evaluate(rollout, config, stored["on_policy"], stored["minibatches"], whole);
  EXPECT_THAT(result.losses, Pointwise(::testing::DoubleNear(2e-6), expected["losses"].get<std::vector<double>>()));
  EXPECT_THAT(joined(result.gradient),
              Pointwise(::testing::DoubleNear(1e-6), expected["gradient"].get<std::vector<double>>()));
  if (expected.contains("entropy_gradient")) {
    EXPECT_THAT(joined(result.entropy_gradient),
                Pointwise(::testing::DoubleNear(1e-7), expected["entropy_gradient"].get<std::vector<double>>()));
  }
  if (stored["on_policy"]) {
    EXPECT_EQ(result.metrics.ratio_deviation, 0.0);
    EXPECT_EQ(result.metrics.mismatch_kl_sum, 0.0);
    EXPECT_EQ(result.metrics.clipped_tokens, 0.0);
  } else if (stored["rollout"] == 1) {  // far enough off policy for the clipping to matter
    EXPECT_GT(result.metrics.clipped_tokens, 0.0);
    EXPECT_LT(result.metrics.clipped_tokens, result.metrics.tokens);
  }
}

std::vector<PrintedCase> trl_cases() {
  std::vector<PrintedCase> cases;
  for (const json& stored : fixture()["cases"]) cases.push_back({&stored});
  return cases;
}
INSTANTIATE_TEST_SUITE_P(, Trl, ::testing::ValuesIn(trl_cases()));

// --------------------------------------------------------------------------------------------------------- normalizer

class Counted : public ::testing::Test {
 protected:
  Counted() {
    groups = {group_of({1, 2}, 3), group_of({3, kNanD}, 5)};
    groups[1].completions[0].finish = Finish::length;
    compute_advantages(groups, config);
  }
  ObjectiveConfig config;
  std::vector<Group> groups;
};

TEST_F(Counted, completions_without_advantage_count_nowhere) {
  const Normalizer normalizer = count(groups, groups, config);
  EXPECT_EQ(normalizer.tokens, 3 + 3 + 5);
  EXPECT_EQ(normalizer.sequences, 3);
  EXPECT_FALSE(enters_loss(groups[1], 1, config));
  EXPECT_TRUE(enters_loss(groups[1], 0, config));
}

TEST_F(Counted, masked_completions_bring_no_tokens_but_are_sequences) {
  config.mask_truncated = true;
  const Normalizer normalizer = count(groups, groups, config);
  EXPECT_EQ(normalizer.tokens, 3 + 3);
  EXPECT_EQ(normalizer.sequences, 3);
  EXPECT_FALSE(enters_loss(groups[1], 0, config));
}

TEST_F(Counted, dapo_and_cispo_spread_the_tokens_of_the_rollout) {
  const std::span<const Group> first(groups.data(), 1);
  EXPECT_EQ(count(first, groups, config).tokens, 6);
  config.loss = Loss::bnpo;
  EXPECT_EQ(count(first, groups, config).tokens, 6);
  config.loss = Loss::dapo;
  EXPECT_EQ(count(first, groups, config).tokens, 5.5);
  config.loss = Loss::cispo;
  EXPECT_EQ(count(first, groups, config).tokens, 5.5);
}

// --------------------------------------------------------------------------------------------------------------- loss

Rollout far_rollout() { return read_rollout(fixture()["rollouts"][1]); }

class EveryLoss : public ::testing::TestWithParam<Loss> {
 protected:
  EveryLoss() {
    config.loss = GetParam();
    config.length_constant = 11;
    config.cispo_max_weight = 1.3;
    config.kl = Kl::k3_in_loss;
    config.kl_coefficient = 0.1;
    config.entropy_coefficient = 0.05;
  }
  ObjectiveConfig config;
};

TEST_P(EveryLoss, does_not_depend_on_how_a_minibatch_is_split) {
  config.mask_truncated = true;
  Rollout rollout = far_rollout();
  rollout.groups[1].rewards[2] = kNanD;
  compute_advantages(rollout.groups, config);
  const Result reference = evaluate(rollout, config, false, 2, whole);
  double largest = 0;
  for (const double value : joined(reference.gradient)) largest = std::max(largest, std::abs(value));
  std::mt19937 random(5);
  for (int trial = 0; trial < 20; ++trial) {
    const Result result = evaluate(rollout, config, false, 2, [&](std::vector<std::size_t> rows) {
      std::shuffle(rows.begin(), rows.end(), random);
      std::vector<std::vector<std::size_t>> parts(1);
      for (const std::size_t row : rows) {
        if (random() % 3 == 0) parts.emplace_back();
        parts.back().push_back(row);
      }
      return parts;  // empty micro-batches among them
    });
    EXPECT_THAT(result.losses, Pointwise(::testing::DoubleNear(1e-9), reference.losses));
    EXPECT_THAT(joined(result.gradient), Pointwise(::testing::DoubleNear(1e-6 * largest), joined(reference.gradient)));
    EXPECT_THAT(joined(result.entropy_gradient),
                Pointwise(::testing::DoubleNear(1e-7), joined(reference.entropy_gradient)));
    EXPECT_EQ(result.metrics.tokens, reference.metrics.tokens);
    EXPECT_EQ(result.metrics.clipped_tokens, reference.metrics.clipped_tokens);
    EXPECT_EQ(result.metrics.ratio_deviation, reference.metrics.ratio_deviation);
    EXPECT_NEAR(result.metrics.kl_sum, reference.metrics.kl_sum, 1e-9);
    EXPECT_NEAR(result.metrics.mismatch_kl_sum, reference.metrics.mismatch_kl_sum, 1e-9);
    EXPECT_NEAR(result.metrics.entropy_sum, reference.metrics.entropy_sum, 1e-9);
  }
}

TEST_P(EveryLoss, has_the_gradient_of_finite_differences) {
  for (const Kl kl : {Kl::k2_in_loss, Kl::k3_in_loss}) {
    config.kl = kl;
    config.kl_ratio_weighted = kl == Kl::k3_in_loss && config.loss != Loss::cispo;
    Rollout rollout = far_rollout();
    compute_advantages(rollout.groups, config);
    MicroBatch micro(rollout, {0, 5, 6, 11}, false);
    LossInput& input = micro.input;
    input.logprobs = input.logprobs.detach().to(at::kDouble).requires_grad_();
    const Normalizer normalizer{37, 6};
    policy_loss(input, normalizer, config).loss.backward();
    const std::vector<double> gradient = doubles(input.logprobs.grad());
    const std::vector<double> current = doubles(input.logprobs.detach());
    const auto loss_at = [&](const std::vector<double>& logprobs) {
      LossInput shifted = input;
      shifted.logprobs = at::tensor(at::ArrayRef<double>(logprobs));
      // The weight of cispo is a constant for the gradient: hold it by moving the old log-probabilities along.
      if (config.loss == Loss::cispo)
        shifted.old_logprobs = input.old_logprobs + shifted.logprobs - input.logprobs.detach();
      return policy_loss(shifted, normalizer, config).loss.item<double>();
    };
    for (std::size_t t = 0; t < current.size(); ++t) {
      const double step = 1e-6;
      std::vector<double> above = current, below = current;
      above[t] += step;
      below[t] -= step;
      EXPECT_NEAR(gradient[t], (loss_at(above) - loss_at(below)) / (2 * step), 1e-8) << "token " << t;
    }
  }
}

TEST_P(EveryLoss, is_the_policy_gradient_on_policy) {
  // At ratio 1 every loss has the gradient -A times its averaging weight.
  config.kl = Kl::none;
  config.kl_coefficient = config.entropy_coefficient = 0;
  LossInput input;
  input.logprobs = floats({-1, -2, -0.5, -3}).requires_grad_();
  input.old_logprobs = input.logprobs.detach().clone();
  input.advantages = floats({2, -1});
  input.starts = starts_of({3, 1});
  policy_loss(input, {8, 5}, config).loss.backward();
  std::vector<double> expected;
  switch (config.loss) {
    case Loss::grpo:
    case Loss::gspo:
      expected = {-2.0 / 15, -2.0 / 15, -2.0 / 15, 1.0 / 5};
      break;
    case Loss::rloo:
      expected = {-2.0 / 5, -2.0 / 5, -2.0 / 5, 1.0 / 5};
      break;
    case Loss::dr_grpo:
      expected = {-2.0 / 55, -2.0 / 55, -2.0 / 55, 1.0 / 55};
      break;
    case Loss::dapo:
    case Loss::bnpo:
    case Loss::cispo:
      expected = {-2.0 / 8, -2.0 / 8, -2.0 / 8, 1.0 / 8};
      break;
  }
  EXPECT_THAT(doubles(input.logprobs.grad()), Pointwise(::testing::DoubleNear(1e-7), expected));
}

TEST_P(EveryLoss, accepts_an_empty_micro_batch) {
  LossInput input;
  input.logprobs = floats({}).requires_grad_();
  input.old_logprobs = input.reference_logprobs = input.entropy = floats({});
  input.advantages = floats({});
  input.starts = starts_of({});
  const LossOutput output = policy_loss(input, {8, 5}, config);
  output.loss.backward();
  EXPECT_EQ(output.loss.item<double>(), 0.0);
  EXPECT_EQ(output.metrics.tokens, 0.0);
}

INSTANTIATE_TEST_SUITE_P(, EveryLoss,
                         ::testing::Values(Loss::grpo, Loss::dr_grpo, Loss::dapo, Loss::bnpo, Loss::gspo, Loss::cispo,
                                           Loss::rloo),
                         [](const auto& each) { return std::string(enum_name(each.param)); });

/// Three sequences of two tokens with the given log ratios.
LossInput with_log_ratios(std::vector<double> log_ratios, std::vector<double> advantages) {
  LossInput input;
  input.old_logprobs = at::full({6}, -2.0, at::kDouble);
  input.logprobs = (at::tensor(at::ArrayRef<double>(log_ratios)) - 2.0).requires_grad_();
  input.advantages = floats(std::move(advantages));
  input.starts = starts_of({2, 2, 2});
  return input;
}

TEST(Clipping, cuts_only_what_the_advantage_pushes_further_out) {
  ObjectiveConfig config;
  config.loss = Loss::dapo;
  config.clip_low = 0.2;
  config.clip_high = 0.3;
  const double up = std::log(1.31), in = std::log(1.29), down = std::log(0.79), held = std::log(0.81);
  LossInput input = with_log_ratios({up, in, up, down, down, held}, {1, -1, -1});
  const LossOutput output = policy_loss(input, {6, 3}, config);
  output.loss.backward();
  EXPECT_EQ(output.metrics.clipped_tokens, 3);  // one upwards in sequence 0, one downwards in each of 1 and 2
  EXPECT_NEAR(output.loss.item<double>(), -(1.3 + 1.29 - 1.31 - 0.8 - 0.8 - 0.81) / 6, 1e-12);
  EXPECT_THAT(doubles(input.logprobs.grad()),
              Pointwise(::testing::DoubleNear(1e-12), {0.0, -1.29 / 6, 1.31 / 6, 0.0, 0.0, 0.81 / 6}));
}

TEST(Clipping, of_gspo_is_for_whole_sequences) {
  ObjectiveConfig config;
  config.loss = Loss::gspo;
  config.clip_low = config.clip_high = 0.1;
  // Mean log ratios 0.2 (out), 0.05 (in, though its first token alone would be out), -0.2 (out).
  LossInput input = with_log_ratios({0.5, -0.1, 0.3, -0.2, -0.2, -0.2}, {1, 1, -1});
  const LossOutput output = policy_loss(input, {6, 3}, config);
  output.loss.backward();
  EXPECT_EQ(output.metrics.clipped_tokens, 4);
  EXPECT_NEAR(output.loss.item<double>(), -(1.1 + std::exp(0.05) - 0.9) / 3, 1e-12);
  const double each = -std::exp(0.05) / 2 / 3;
  EXPECT_THAT(doubles(input.logprobs.grad()),
              Pointwise(::testing::DoubleNear(1e-12), {0.0, 0.0, each, each, 0.0, 0.0}));
}

TEST(Clipping, of_cispo_keeps_the_gradient_of_every_token) {
  ObjectiveConfig config;
  config.loss = Loss::cispo;
  config.cispo_max_weight = 2;
  LossInput input = with_log_ratios({std::log(4.0), std::log(1.5), std::log(3.0), std::log(0.1), 0, 0}, {1, -1, 0.5});
  const LossOutput output = policy_loss(input, {6, 3}, config);
  output.loss.backward();
  EXPECT_EQ(output.metrics.clipped_tokens, 2);
  EXPECT_THAT(doubles(input.logprobs.grad()),
              Pointwise(::testing::DoubleNear(1e-12), {-2 / 6.0, -1.5 / 6, 2 / 6.0, 0.1 / 6, -0.5 / 6, -0.5 / 6}));
}

TEST(Divergence, is_estimated_as_configured) {
  LossInput input = with_log_ratios({0, 0, 0, 0, 0, 0}, {0, 0, 0});
  input.reference_logprobs = at::full({6}, -2.5, at::kDouble);  // d = -0.5
  ObjectiveConfig config;
  config.kl_coefficient = 2;
  const double k3 = std::exp(-0.5) + 0.5 - 1;
  const std::vector<std::tuple<Kl, double, double>> expected{
      {Kl::k1_in_reward, 0.5, 0}, {Kl::k2_in_loss, 0.125, 0.25}, {Kl::k3_in_loss, k3, 2 * k3}};
  for (const auto& [kl, each, loss] : expected) {
    config.kl = kl;
    const LossOutput output = policy_loss(input, {6, 3}, config);
    EXPECT_NEAR(output.metrics.kl_sum, 6 * each, 1e-12) << enum_name(kl);
    EXPECT_NEAR(output.loss.item<double>(), loss, 1e-12) << enum_name(kl);
  }
}

TEST(Mismatch, is_exactly_zero_only_when_all_bits_agree) {
  for (const float at : {-0.0f, -1e-30f, -1e-9f, -3e-4f, -0.7f, -20.0f}) {
    LossInput input;
    input.logprobs = at::tensor({-1.5f, at, -0.25f});
    input.old_logprobs = input.logprobs.clone();
    input.advantages = floats({1});
    input.starts = starts_of({3});
    LossMetrics metrics = policy_loss(input, {3, 1}, {}).metrics;
    EXPECT_EQ(metrics.ratio_deviation, 0.0);
    EXPECT_EQ(metrics.mismatch_kl_sum, 0.0);

    const float ulp = std::nextafter(at, -1e9f);
    input.old_logprobs = at::tensor({-1.5f, ulp, -0.25f});
    metrics = policy_loss(input, {3, 1}, {}).metrics;
    const double d = static_cast<double>(at) - static_cast<double>(ulp);
    EXPECT_GT(metrics.ratio_deviation, 0.0) << at;
    EXPECT_NEAR(metrics.ratio_deviation, d, 1e-5 * d) << at;
    EXPECT_GT(metrics.mismatch_kl_sum, 0.0) << at;
    EXPECT_NEAR(metrics.mismatch_kl_sum, d * d / 2, 1e-5 * d * d) << at;
  }
}

TEST(Mismatch, is_a_ratio_and_a_divergence_when_large) {
  const LossInput input = with_log_ratios({0, 0.3, 0, 0, -1.0, 0}, {0, 0, 0});
  const LossMetrics metrics = policy_loss(input, {6, 3}, {}).metrics;
  EXPECT_NEAR(metrics.ratio_deviation, 1 - std::exp(-1.0), 1e-12);  // the largest deviation is a fall
  EXPECT_NEAR(metrics.mismatch_kl_sum, std::exp(0.3) - 1.3 + std::exp(-1.0), 1e-12);
}

TEST(Mismatch, that_is_not_a_number_is_not_hidden_by_later_micro_batches) {
  LossMetrics sum, bad, good;
  bad.ratio_deviation = kNanD;
  good.ratio_deviation = 0.5;
  sum.add(good);
  EXPECT_EQ(sum.ratio_deviation, 0.5);
  sum.add(bad);
  sum.add(good);
  EXPECT_TRUE(std::isnan(sum.ratio_deviation));
}

// ------------------------------------------------------------------------------------------------------------ refusals

void expect_refused(const std::function<void()>& act, const std::string& words) {
  try {
    act();
    ADD_FAILURE() << "not refused: " << words;
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("objective"));
    EXPECT_THAT(e.what(), HasSubstr(words));
  }
}

TEST(Refused, are_shapes_that_do_not_fit) {
  const LossInput good = with_log_ratios({0, 0, 0, 0, 0, 0}, {1, 2, 3});
  const Normalizer normalizer{6, 3};
  const auto refused = [&](auto change, const std::string& words, ObjectiveConfig config = {}, Normalizer n = {6, 3}) {
    LossInput bad = good;
    change(bad);
    expect_refused([&] { policy_loss(bad, n, config); }, words);
  };
  EXPECT_NO_THROW(policy_loss(good, normalizer, {}));
  refused([](LossInput& i) { i.logprobs = at::zeros({2, 3}); }, "logprobs");
  refused([](LossInput& i) { i.old_logprobs = at::zeros({5}); }, "old_logprobs");
  refused([](LossInput& i) { i.entropy = at::zeros({5}); }, "entropy");
  refused([](LossInput& i) { i.starts = starts_of({2, 4}); }, "starts");
  refused([](LossInput& i) { i.starts = starts_of({2, 2, 3}); }, "starts");
  refused([](LossInput& i) { i.starts = i.starts.to(at::kInt); }, "int64");
  refused([](LossInput& i) { i.advantages = floats({1, kNanD, 1}); }, "finite advantages");
  refused([](LossInput&) {}, "normalizer", {}, {0, 0});
  ObjectiveConfig config;
  config.entropy_coefficient = 0.1;
  refused([](LossInput&) {}, "entropy", config);
  config = {};
  config.kl = Kl::k3_in_loss;
  refused([](LossInput&) {}, "reference_logprobs", config);
}

TEST(Refused, are_configurations_that_make_no_sense) {
  EXPECT_NO_THROW(validate(ObjectiveConfig(), "objective"));
  const auto refused = [](auto change, const std::string& words) {
    ObjectiveConfig config;
    change(config);
    expect_refused([&] { validate(config, "objective"); }, words);
  };
  refused([](ObjectiveConfig& c) { c.clip_low = -0.1; }, "clip_low");
  refused([](ObjectiveConfig& c) { c.clip_low = 1.5; }, "clip_low");
  refused([](ObjectiveConfig& c) { c.clip_high = -0.1; }, "clip_high");
  refused([](ObjectiveConfig& c) { c.clip_high = kNanD; }, "clip_high");
  refused([](ObjectiveConfig& c) { c.cispo_max_weight = 0; }, "cispo_max_weight");
  refused([](ObjectiveConfig& c) { c.advantage_epsilon = -1; }, "advantage_epsilon");
  refused([](ObjectiveConfig& c) { c.entropy_coefficient = -1; }, "entropy_coefficient");
  refused([](ObjectiveConfig& c) { c.loss = Loss::dr_grpo; }, "length_constant");
  refused([](ObjectiveConfig& c) { c.kl = Kl::k1_in_reward; }, "kl_coefficient: expected a value above 0");
  refused([](ObjectiveConfig& c) { c.kl_coefficient = 0.1; }, "kl_coefficient: expected 0");
  refused([](ObjectiveConfig& c) { c.kl_coefficient = -0.1; }, "kl_coefficient");
  refused([](ObjectiveConfig& c) { c.kl_ratio_weighted = true; }, "kl_ratio_weighted");
  refused([](ObjectiveConfig& c) { c.reference_refresh_steps = 5; }, "reference_refresh_steps");
  refused([](ObjectiveConfig& c) { c.epochs = 0; }, "epochs");
  refused([](ObjectiveConfig& c) { c.minibatches = 0; }, "minibatches");
  refused([](ObjectiveConfig& c) { c.dynamic_sampling = true, c.max_refills = 0; }, "max_refills");
}

}  // namespace
}  // namespace grpo
