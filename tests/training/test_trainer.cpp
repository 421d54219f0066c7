#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <set>
#include <thread>

#include "grpo/collect.h"
#include "grpo/evaluate.h"
#include "tiny.h"

namespace grpo {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// The first moments after one update are the gradient: beta1 = 0, no clipping.
OptimizerConfig gradient_probe() {
  OptimizerConfig config;
  config.learning_rate = 1e-3;
  config.beta1 = 0;
  config.max_grad_norm = 0;
  return config;
}

std::map<std::string, at::Tensor> gradients(const Trainer& trainer) {
  std::map<std::string, at::Tensor> out;
  for (const auto& [name, tensor] : trainer.state())
    if (name.starts_with("first_moment.")) out[name.substr(13)] = tensor.clone();
  return out;
}

NamedTensors copy_of(const NamedTensors& tensors) {
  NamedTensors out;
  for (const auto& [name, tensor] : tensors) out.emplace_back(name, tensor.detach().clone());
  return out;
}

bool same(const NamedTensors& a, const NamedTensors& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return x.first == y.first && x.second.equal(y.second); });
}

// |a − b| / |b| over all parameters together.
double relative_difference(const std::map<std::string, at::Tensor>& a, const std::map<std::string, at::Tensor>& b) {
  double difference = 0, size = 0;
  for (const auto& [name, tensor] : b) {
    difference += (a.at(name).to(at::kDouble) - tensor.to(at::kDouble)).square().sum().item<double>();
    size += tensor.to(at::kDouble).square().sum().item<double>();
  }
  return std::sqrt(difference / size);
}

std::vector<Group> scored_groups(const Policy& policy, uint64_t step = 0, int groups = 4) {
  auto out = tiny::rollout(policy, tiny::rollout_config())
                 .generate(tiny::tasks(static_cast<size_t>(groups)), {7, Purpose::rollout, step, 0});
  tiny::reward(out);
  return out;
}

// Tokens of the largest group's pass.
int largest_group(const std::vector<Group>& groups) {
  size_t largest = 0;
  for (const Group& group : groups) {
    size_t tokens = group.prompt.size();
    for (const Completion& completion : group.completions)
      tokens += std::max<size_t>(completion.tokens.size(), 1) - 1;
    largest = std::max(largest, tokens);
  }
  return static_cast<int>(largest);
}

// ---- RL updates -----------------------------------------------------------------------------------------------------

TEST(Trainer, takes_the_same_gradient_from_any_split_into_micro_batches) {
  struct Case {
    std::string name;
    ObjectiveConfig objective;
    bool moe;
  };
  std::vector<Case> cases;
  for (const Loss loss : {Loss::grpo, Loss::dr_grpo, Loss::dapo, Loss::bnpo, Loss::gspo, Loss::cispo, Loss::rloo}) {
    Case each{std::string(enum_name(loss)), {}, false};
    each.objective.loss = loss;
    each.objective.length_constant = 24;
    cases.push_back(each);
  }
  Case kl{"k3, entropy, masked truncation", {}, true};
  kl.objective.kl = Kl::k3_in_loss;
  kl.objective.kl_coefficient = 0.1;
  kl.objective.entropy_coefficient = 0.01;
  kl.objective.mask_truncated = true;
  cases.push_back(kl);
  for (const Case& each : cases) {
    SCOPED_TRACE(each.name);
    const auto run = [&](int micro_batch_tokens, UpdateReport* report) {
      Policy policy = tiny::policy(tiny::policy_config(DType::float32, each.moe));
      auto groups = scored_groups(policy);
      for (Group& group : groups)  // ratios other than 1, so that clipping has its say
        for (Completion& completion : group.completions)
          for (size_t t = 0; t < completion.logprobs.size(); ++t) completion.logprobs[t] += t % 3 == 0 ? 0.3f : -0.01f;
      Trainer trainer(policy, each.objective, gradient_probe(), 1.0, {micro_batch_tokens});
      *report = trainer.update(groups, 0);
      return gradients(trainer);
    };
    UpdateReport whole, part;
    const auto expected = run(100000, &whole);
    EXPECT_GT(whole.grad_norm, 0.0);
    for (const int micro_batch_tokens : {1, 90}) {
      EXPECT_LT(relative_difference(run(micro_batch_tokens, &part), expected), 1e-6) << micro_batch_tokens;
      EXPECT_NEAR(part.loss, whole.loss, 1e-9);
      EXPECT_NEAR(part.entropy, whole.entropy, 1e-9);
      EXPECT_NEAR(part.clip_fraction, whole.clip_fraction, 1e-12);
      EXPECT_EQ(part.ratio_deviation, whole.ratio_deviation);
      if (each.moe) {
        EXPECT_EQ(part.expert_load_max, whole.expert_load_max) << "a prompt counts once, however its group is cut";
      }
      EXPECT_NEAR(part.grad_norm, whole.grad_norm, 1e-6 * whole.grad_norm);
    }
    EXPECT_GT(part.tokens, 0);
  }
}

TEST(Trainer, pays_a_prompt_once_however_its_group_is_cut) {
  Policy policy = tiny::policy();
  const auto groups = scored_groups(policy, 0, 6);
  const auto tokens = [&](int micro_batch_tokens) {
    Policy copy = policy.clone();
    Trainer trainer(copy, {}, gradient_probe(), 1.0, {micro_batch_tokens});
    auto some = groups;
    return trainer.update(some, 0).tokens;
  };
  const int largest = largest_group(groups);
  const int64_t whole = tokens(100000);
  ASSERT_GT(whole, 2 * largest) << "this test needs several micro-batches";
  for (const int limit : {1, 30, 60, largest - 1, largest, largest + 7}) EXPECT_EQ(tokens(limit), whole) << limit;
}

TEST(Trainer, takes_the_same_gradient_from_any_split_in_bf16_too_and_nearly_that_of_fp32) {
  PolicyConfig mla = tiny::policy_config(DType::bfloat16);
  mla.attention = Attention::mla;
  mla.mla = {12, 16, 8, 8, 8};
  const std::pair<const char*, PolicyConfig> configs[] = {
      {"tied", tiny::policy_config(DType::bfloat16)},
      {"untied, with biases and norms of heads", tiny::policy_config(DType::bfloat16, false, true)},
      {"mixture of experts", tiny::policy_config(DType::bfloat16, true)},
      {"latent attention", mla}};
  for (const auto& [name, config] : configs)
    for (const bool supervised : {false, true}) {
      SCOPED_TRACE(std::string(name) + (supervised ? ", documents" : ", groups"));
      const Policy taught = tiny::policy(config);
      const auto groups = scored_groups(taught, 0, 6);
      std::vector<Example> documents;
      for (const Group& group : groups)
        for (const Completion& completion : group.completions) {
          documents.push_back({group.prompt, group.prompt.size()});
          documents.back().tokens.insert(documents.back().tokens.end(), completion.tokens.begin(),
                                         completion.tokens.end());
        }
      const auto run = [&](DType dtype, int micro_batch_tokens) {
        PolicyConfig like = config;
        like.dtype = dtype;
        Policy policy(like, 1);
        policy.load_state(taught.state());
        Trainer trainer(policy, {}, gradient_probe(), 1.0, {micro_batch_tokens});
        auto copy = groups;
        supervised ? trainer.update(documents, 0) : trainer.update(copy, 0);
        return gradients(trainer);
      };
      const auto whole = run(DType::bfloat16, 100000);
      for (const int micro_batch_tokens : {1, 40, 90, largest_group(groups) - 1, 400})
        EXPECT_LT(relative_difference(run(DType::bfloat16, micro_batch_tokens), whole), 1e-5) << micro_batch_tokens;
      EXPECT_LT(relative_difference(whole, run(DType::float32, 100000)), 0.08)
          << "roundings of bf16, each 0.004, one upon the other";
    }
}

TEST(Trainer, warns_once_where_nothing_can_be_learned_and_names_the_knob) {
  const auto warnings = [](const ObjectiveConfig& objective, double learning_rate, int steps, auto change) {
    Policy policy = tiny::policy();
    OptimizerConfig optimizer = gradient_probe();
    optimizer.learning_rate = learning_rate;
    Trainer trainer(policy, objective, optimizer);
    const auto groups = scored_groups(policy, 0, 1);
    std::vector<std::string> all;
    for (int step = 0; step < steps; ++step) {
      auto some = groups;
      change(some);
      const UpdateReport report = trainer.update(some, step);
      all.insert(all.end(), report.warnings.begin(), report.warnings.end());
    }
    return all;
  };
  const auto nothing = [](std::vector<Group>&) {};
  const auto cut = [](std::vector<Group>& groups) {
    for (Completion& completion : groups[0].completions) completion.finish = Finish::length;
  };
  using testing::ElementsAre;
  using testing::IsEmpty;
  EXPECT_THAT(warnings({}, 1e-3, 3, nothing), IsEmpty());
  EXPECT_THAT(warnings({}, 1e-12, 3, nothing), ElementsAre(HasSubstr("raise optimizer.learning_rate")));
  EXPECT_THAT(warnings({}, 1e-3, 3, cut), IsEmpty());
  ObjectiveConfig masking;
  masking.mask_truncated = true;
  EXPECT_THAT(warnings(masking, 1e-3, 3, cut), ElementsAre(HasSubstr("all 4 completions of a step were cut by length")));
}

TEST(Trainer, starts_an_update_from_zero_after_one_that_threw) {
  for (const bool supervised : {false, true}) {
    const PolicyConfig config = tiny::policy_config(DType::float32, true);
    Policy policy = tiny::policy(config), twin = tiny::policy(config);
    const auto groups = scored_groups(policy);
    const std::vector<Example> documents{tiny::document("a", "b"), tiny::document("b", "cab")};
    const auto update = [&](Trainer& trainer, bool broken) {
      auto some = groups;
      auto texts = documents;
      if (broken) some.back().completions.back().tokens.back() = texts.back().tokens.back() = config.vocab_size;
      return supervised ? trainer.update(texts, 0) : trainer.update(some, 0);
    };
    const TrainerConfig split{1, 0.01};
    Trainer trainer(policy, {}, gradient_probe(), 1.0, split), other(twin, {}, gradient_probe(), 1.0, split);
    EXPECT_THROW(update(trainer, true), Error);
    for (const auto& [name, tensor] : policy.parameters()) EXPECT_FALSE(tensor.grad().defined()) << name;
    const UpdateReport report = update(trainer, false), expected = update(other, false);
    EXPECT_EQ(report.grad_norm, expected.grad_norm);
    EXPECT_EQ(report.expert_load_max, expected.expert_load_max);
    EXPECT_TRUE(same(policy.state(), twin.state()));
    for (const auto& [name, tensor] : policy.parameters()) EXPECT_FALSE(tensor.grad().defined()) << name;
  }
}

TEST(Trainer, names_the_sample_whose_logprobs_are_not_finite) {
  // Token 5 is in one completion alone: what is wrong with its embedding is wrong there.
  PolicyConfig config = tiny::policy_config();
  config.tied_embeddings = false;
  for (const float bad : {NAN, INFINITY}) {
    Policy policy = tiny::policy(config);
    auto groups = scored_groups(policy);
    std::vector<Example> documents;
    for (Group& group : groups)
      for (Completion& completion : group.completions) {
        for (int32_t& token : completion.tokens) token = token == 5 ? 6 : token;
        documents.push_back({completion.tokens, 1});
      }
    ASSERT_GT(groups[2].completions[1].tokens.size(), 2u);
    groups[2].completions[1].tokens[0] = documents[9].tokens[0] = 5;
    at::Tensor embedding = policy.parameters()[0].second.detach();
    embedding[5].fill_(bad);
    for (const int micro_batch_tokens : {60, 100000}) {
      Trainer trainer(policy, {}, gradient_probe(), 1.0, {micro_batch_tokens});
      auto some = groups;
      const UpdateReport report = trainer.update(some, 7);
      ASSERT_EQ(report.skipped.size(), 1u);
      EXPECT_EQ(report.skipped[0], "step 7: the loss is not finite (not finite are the log-probabilities of sample 1 of "
                                   "task \"" + groups[2].task.id + "\")");
      ASSERT_EQ(trainer.update(documents, 8).skipped.size(), 1u);
      EXPECT_THAT(trainer.update(documents, 8).skipped[0], HasSubstr("of document 9)"));
    }
  }
}

TEST(Trainer, raises_the_probability_of_what_was_rewarded_and_lowers_the_rest) {
  Policy policy = tiny::policy();
  auto groups = scored_groups(policy);
  const auto logprobs = [&] {
    // The report's loss at advantage 1 and ratio 1 would be −1 for everything, so ask the policy itself.
    std::vector<double> sums;
    at::NoGradGuard guard;
    for (const Group& group : groups)
      for (const Completion& completion : group.completions) {
        std::vector<int32_t> tokens = group.prompt;
        tokens.insert(tokens.end(), completion.tokens.begin(), completion.tokens.end());
        const auto n = static_cast<int64_t>(tokens.size()), prompt = static_cast<int64_t>(group.prompt.size());
        Segments segments;
        segments.tokens = at::tensor(tokens, at::kInt);
        segments.positions = at::arange(n, at::kInt);
        segments.starts.push_back(static_cast<int32_t>(n));
        segments.parents.push_back(-1);
        const at::Tensor hidden = policy.hidden(segments).slice(0, prompt - 1, n - 1);
        sums.push_back(
            policy.token_logprobs(hidden, segments.tokens.slice(0, prompt), 1.0).logprobs.sum().item<double>());
      }
    return sums;
  };
  for (Group& group : groups) group.rewards = {1, 0, 0, 0};
  const auto before = logprobs();
  OptimizerConfig optimizer;
  optimizer.learning_rate = 1e-4;
  Trainer trainer(policy, {}, optimizer);
  trainer.update(groups, 0);
  const auto after = logprobs();
  double gained = 0;
  for (size_t i = 0; i < before.size(); ++i)
    gained += (after[i] - before[i]) * static_cast<double>(groups[i / 4].advantages[i % 4]);
  EXPECT_GT(gained, 0.0);
}

TEST(Trainer, reports_no_update_where_no_group_has_signal) {
  Policy policy = tiny::policy();
  auto groups = scored_groups(policy);
  for (Group& group : groups) group.rewards.assign(4, std::numeric_limits<double>::quiet_NaN());
  const NamedTensors before = copy_of(policy.state());
  Trainer trainer(policy, {}, gradient_probe());
  const UpdateReport report = trainer.update(groups, 0);
  EXPECT_EQ(report.tokens, 0);
  EXPECT_EQ(report.ratio_deviation, 0.0);
  EXPECT_TRUE(same(policy.state(), before));
}

TEST(Trainer, goes_over_a_rollout_in_epochs_and_minibatches) {
  ObjectiveConfig objective;
  objective.epochs = 2;
  objective.minibatches = 2;
  Policy policy = tiny::policy();
  auto groups = scored_groups(policy);
  Trainer trainer(policy, objective, gradient_probe());
  const UpdateReport report = trainer.update(groups, 0);
  const auto updates = [](const Trainer& t) { return t.state()[0].second.item<int64_t>(); };
  ASSERT_EQ(trainer.state()[0].first, "updates");
  EXPECT_EQ(updates(trainer), 4);
  EXPECT_EQ(report.ratio_deviation, 0.0) << "only the first update counts";
  Policy once_policy = tiny::policy();
  auto once_groups = scored_groups(once_policy);
  Trainer once(once_policy, {}, gradient_probe());
  EXPECT_EQ(2 * once.update(once_groups, 0).tokens, report.tokens);

  // The same four updates by hand, on halves of the rollout: from the second on, ratios are not 1.
  Policy twin = tiny::policy();
  auto all = scored_groups(twin);
  Trainer by_hand(twin, {}, gradient_probe());
  double deviation = 0;
  for (int epoch = 0; epoch < 2; ++epoch)
    for (int part = 0; part < 2; ++part) {
      std::vector<Group> half(all.begin() + 2 * part, all.begin() + 2 * part + 2);
      deviation = by_hand.update(half, 0).ratio_deviation;
      if (epoch + part == 0)
        EXPECT_EQ(deviation, 0.0);
      else
        EXPECT_GT(deviation, 0.0);
    }
  EXPECT_TRUE(same(twin.state(), policy.state()));
}

TEST(Trainer, has_a_reference_only_with_kl_which_starts_at_0_and_is_refreshed_when_asked) {
  Policy policy = tiny::policy();
  EXPECT_EQ(Trainer(policy, {}, gradient_probe()).reference(), nullptr);
  EXPECT_FALSE(Trainer(policy, {}, gradient_probe())
                   .update(*std::make_unique<std::vector<Group>>(scored_groups(policy)), 0)
                   .kl.has_value());
  for (const Kl kl : {Kl::k1_in_reward, Kl::k2_in_loss, Kl::k3_in_loss})
    for (const int refresh : {0, 2}) {
      SCOPED_TRACE(std::string(enum_name(kl)) + ", refresh " + std::to_string(refresh));
      Policy learner = tiny::policy();
      ObjectiveConfig objective;
      objective.kl = kl;
      objective.kl_coefficient = 0.05;
      objective.reference_refresh_steps = refresh;
      Trainer trainer(learner, objective, gradient_probe(), 1.0, {80});
      ASSERT_NE(trainer.reference(), nullptr);
      const NamedTensors start = copy_of(learner.state());
      std::vector<double> kls;
      for (int64_t step = 0; step < 4; ++step) {
        auto groups = scored_groups(learner, static_cast<uint64_t>(step));
        const UpdateReport report = trainer.update(groups, step);
        ASSERT_TRUE(report.kl.has_value());
        kls.push_back(*report.kl);
        EXPECT_EQ(report.ratio_deviation, 0.0);
      }
      EXPECT_EQ(kls[0], 0.0);
      EXPECT_NE(kls[1], 0.0);
      EXPECT_EQ(kls[2] == 0.0, refresh == 2);
      EXPECT_NE(kls[3], 0.0);
      EXPECT_EQ(same(trainer.reference()->state(), start), refresh == 0);
      for (const auto& [name, tensor] : trainer.reference()->parameters()) EXPECT_FALSE(tensor.requires_grad());
    }
}

TEST(Trainer, puts_the_divergence_into_the_reward_by_what_each_completion_strayed) {
  Policy policy = tiny::policy();
  ObjectiveConfig objective;
  objective.kl = Kl::k1_in_reward;
  objective.kl_coefficient = 0.5;
  objective.scale = Scale::none;
  Trainer trainer(policy, objective, gradient_probe());
  auto groups = scored_groups(policy);
  for (Group& group : groups) group.rewards.assign(4, 1.0);
  trainer.update(groups, 0);
  for (const Group& group : groups) EXPECT_EQ(group.advantages, (std::vector<float>{0, 0, 0, 0}));
  // One completion is made 0.1 nats more likely than the reference holds it: it pays 0.5 * 0.1, and the group's mean
  // moves.
  auto fresh = scored_groups(policy);
  for (Group& group : fresh) group.rewards.assign(4, 1.0);
  fresh[1].completions[2].logprobs[0] += 0.1f;
  trainer.update(fresh, 1);
  EXPECT_NEAR(fresh[1].advantages[2], -0.05 * 3 / 4, 1e-6);
  EXPECT_NEAR(fresh[1].advantages[0], 0.05 / 4, 1e-6);
  EXPECT_EQ(fresh[0].advantages[2], 0.0f);
}

TEST(Trainer, computes_only_what_enters_the_loss) {
  const auto inputs = [](const Group& group, size_t i) {
    return static_cast<int64_t>(group.completions[i].tokens.size()) - 1;
  };
  Policy policy = tiny::policy();
  auto groups = scored_groups(policy);
  ObjectiveConfig best;
  best.selection = Selection::best;
  int64_t expected = 0;
  for (const Group& group : groups) {
    const auto top = std::max_element(group.rewards.begin(), group.rewards.end()) - group.rewards.begin();
    expected += static_cast<int64_t>(group.prompt.size()) + inputs(group, static_cast<size_t>(top));
  }
  EXPECT_EQ(Trainer(policy, best, gradient_probe()).update(groups, 0).tokens, expected);

  groups = scored_groups(policy, 1);
  ObjectiveConfig masked;
  masked.mask_truncated = true;
  int64_t kept = 0, cut = 0;
  expected = 0;
  for (const Group& group : groups) {
    bool any = false;
    for (size_t i = 0; i < 4; ++i)
      if (group.completions[i].finish == Finish::stop)
        expected += inputs(group, i), any = true, ++kept;
      else
        ++cut;
    expected += any ? static_cast<int64_t>(group.prompt.size()) : 0;
  }
  ASSERT_TRUE(kept > 0 && cut > 0) << "this test needs completions of both kinds";
  EXPECT_EQ(Trainer(policy, masked, gradient_probe()).update(groups, 0).tokens, expected);
}

// The gradient, loss and counts are those of the whole step; what went through the policy is less.
TEST(Trainer, does_not_compute_groups_without_signal_unless_something_else_gives_them_a_gradient) {
  const auto passed = [](const std::vector<Group>& groups, size_t begin, size_t end) {
    int64_t tokens = 0;
    for (size_t g = begin; g < end; ++g) {
      tokens += static_cast<int64_t>(groups[g].prompt.size());
      for (const Completion& each : groups[g].completions) tokens += static_cast<int64_t>(each.tokens.size()) - 1;
    }
    return tokens;
  };
  for (const Loss loss : {Loss::grpo, Loss::dapo, Loss::dr_grpo}) {
    ObjectiveConfig objective;
    objective.loss = loss, objective.length_constant = loss == Loss::dr_grpo ? 24 : 0;
    Policy policy = tiny::policy(), other = tiny::policy();
    auto groups = scored_groups(policy);
    for (const size_t flat : {0, 2}) groups[flat].rewards.assign(4, 1.0);
    auto same_groups = groups;
    Trainer trainer(policy, objective, gradient_probe());
    const UpdateReport report = trainer.update(groups, 0);
    // An entropy bonus too small to matter has everything computed.
    objective.entropy_coefficient = 1e-12;
    Trainer whole(other, objective, gradient_probe());
    const UpdateReport expected = whole.update(same_groups, 0);
    EXPECT_EQ(expected.tokens, passed(groups, 0, 4));
    EXPECT_EQ(report.tokens, passed(groups, 1, 2) + passed(groups, 3, 4));
    EXPECT_EQ(report.loss_tokens, expected.loss_tokens);
    EXPECT_NEAR(report.loss, expected.loss, 1e-9);
    EXPECT_EQ(report.ratio_deviation, 0.0);
    EXPECT_LT(relative_difference(gradients(trainer), gradients(whole)), 1e-5);
  }
  // Experts that are evened out count every token.
  Policy moe = tiny::policy(tiny::policy_config(DType::float32, true));
  auto groups = scored_groups(moe);
  for (Group& group : groups) group.rewards.assign(4, 1.0);
  EXPECT_EQ(Trainer(moe, {}, gradient_probe()).update(groups, 0).tokens, 0);
  EXPECT_EQ(Trainer(moe, {}, gradient_probe(), 1.0, {1024, 0.01}).update(groups, 0).tokens, passed(groups, 0, 4));
  ObjectiveConfig kl;
  kl.kl = Kl::k3_in_loss, kl.kl_coefficient = 0.1;
  EXPECT_EQ(Trainer(moe, kl, gradient_probe()).update(groups, 0).tokens, passed(groups, 0, 4));
}

// Neither momentum nor weight decay moves anything in a step without signal, and the schedule waits.
TEST(Trainer, leaves_everything_as_it_is_in_a_step_without_signal) {
  Policy policy = tiny::policy();
  OptimizerConfig optimizer;
  optimizer.learning_rate = 1e-2, optimizer.weight_decay = 0.1, optimizer.warmup_steps = 5;
  Trainer trainer(policy, {}, optimizer);
  auto groups = scored_groups(policy);
  trainer.update(groups, 0);
  const NamedTensors weights = copy_of(policy.state()), state = copy_of(trainer.state());
  for (Group& group : groups) group.rewards.assign(4, 0.5);
  const UpdateReport report = trainer.update(groups, 1);
  EXPECT_EQ(report.tokens, 0);
  EXPECT_GT(report.loss_tokens, 0);
  EXPECT_TRUE(std::isnan(report.entropy));
  EXPECT_TRUE(report.skipped.empty());
  EXPECT_TRUE(same(policy.state(), weights));
  EXPECT_TRUE(same(trainer.state(), state));
}

TEST(Trainer, skips_counts_and_names_an_update_that_is_not_finite_and_leaves_everything_as_it_was) {
  for (const bool supervised : {false, true}) {
    Policy policy = tiny::policy(tiny::policy_config(DType::float32, true));
    auto groups = scored_groups(policy);
    Trainer trainer(policy, {}, gradient_probe());
    const std::vector<Example> documents{tiny::document("a", "b")};
    const auto update = [&](int64_t step) {
      return supervised ? trainer.update(documents, step) : trainer.update(groups, step);
    };
    EXPECT_TRUE(update(40).skipped.empty());

    at::Tensor weight;
    for (const auto& [name, tensor] : policy.parameters())
      if (name == "model.layers.0.self_attn.o_proj.weight") weight = tensor.detach();
    const at::Tensor healthy = weight.clone();
    weight.fill_(std::numeric_limits<float>::infinity());
    const NamedTensors before = copy_of(policy.state()), moments = copy_of(trainer.state());
    const UpdateReport report = update(41);
    ASSERT_EQ(report.skipped.size(), 1u);
    EXPECT_THAT(report.skipped[0], HasSubstr("41"));
    EXPECT_EQ(report.skipped_updates, 1);
    EXPECT_EQ(trainer.skipped_updates(), 1);
    EXPECT_TRUE(same(policy.state(), before)) << "weights and selection biases";
    for (size_t i = 0; i < moments.size(); ++i) {
      if (moments[i].first == "skipped_updates") continue;
      EXPECT_TRUE(moments[i].second.equal(trainer.state()[i].second)) << moments[i].first;
    }

    weight.copy_(healthy);
    const UpdateReport after = update(42);
    EXPECT_TRUE(after.skipped.empty());
    EXPECT_EQ(after.skipped_updates, 1) << "the count is over the trainer's life";
    EXPECT_TRUE(std::isfinite(after.loss));
    EXPECT_FALSE(same(policy.state(), before));
  }
}

TEST(Trainer, balances_the_experts_after_the_update_and_never_before) {
  const PolicyConfig config = tiny::policy_config(DType::float32, true);
  Policy policy(config, 3), off(config, 3);
  const std::string bias = "model.layers.1.mlp.gate.e_score_correction_bias";
  const auto value = [&](const Policy& p) {
    for (const auto& [name, tensor] : p.state())
      if (name == bias) return tensor;
    return at::Tensor();
  };
  ASSERT_TRUE(value(policy).defined());
  auto groups = scored_groups(policy), same_groups = scored_groups(off);
  EXPECT_EQ(value(policy).abs().max().item<float>(), 0.0f) << "sampling must not move the biases";
  Trainer trainer(policy, {}, gradient_probe(), 1.0, {1024, 0.01}), other(off, {}, gradient_probe());
  const UpdateReport report = trainer.update(groups, 0), plain = other.update(same_groups, 0);
  // The update itself knew nothing of the new biases: its gradient is that of the policy without balancing.
  EXPECT_EQ(report.loss, plain.loss);
  EXPECT_EQ(relative_difference(gradients(trainer), gradients(other)), 0.0);
  EXPECT_EQ(value(off).abs().max().item<float>(), 0.0f);
  const at::Tensor moved = value(policy);
  EXPECT_GT(moved.max().item<float>(), 0.0f) << "an expert below the mean load gains";
  EXPECT_LT(moved.min().item<float>(), 0.0f) << "an expert above the mean load loses";
  EXPECT_LE(moved.abs().max().item<float>(), 0.0100001f);
  EXPECT_GT(report.expert_load_max, 1.0);
  EXPECT_LE(report.expert_load_max, 5.0);
  EXPECT_TRUE(std::isnan(Trainer(*std::make_unique<Policy>(tiny::policy()), gradient_probe())
                             .update({tiny::document("a", "b")}, 0)
                             .expert_load_max));
}

TEST(Trainer, refuses_what_it_cannot_train_on) {
  Policy policy = tiny::policy();
  EXPECT_THAT(error_of([&] { Trainer(policy, {}, gradient_probe(), 0.0); }), HasSubstr("temperature above 0, got 0"));
  EXPECT_THAT(error_of([&] { Trainer(policy, {}, gradient_probe(), 1.0, {0}); }), HasSubstr("micro_batch_tokens"));
  ObjectiveConfig objective;
  objective.kl = Kl::k3_in_loss;
  EXPECT_THAT(error_of([&] { Trainer(policy, objective, gradient_probe()); }), HasSubstr("kl"));
  Trainer trainer(policy, gradient_probe());
  EXPECT_THAT(error_of([&] { trainer.update({Example{{1, 2}, 0}}, 0); }), HasSubstr("first_target 0"));
}

// ---- supervised updates ---------------------------------------------------------------------------------------------

TEST(Trainer, learns_documents_by_their_mean_cross_entropy) {
  Policy policy = tiny::policy();
  std::vector<Example> documents{tiny::document("Say", " abc"), tiny::document("x", "cab 0123 aaaa"), {{7}, 1}};
  documents[1].first_target = 4;
  // By hand, in double precision from the policy's logits.
  double sum = 0;
  int64_t targets = 0, inputs = 0;
  {
    at::NoGradGuard guard;
    for (const Example& document : documents) {
      if (document.tokens.size() == 1) continue;
      const auto n = static_cast<int64_t>(document.tokens.size());
      Segments segments;
      segments.tokens = at::tensor(document.tokens, at::kInt);
      segments.positions = at::arange(n, at::kInt);
      segments.starts.push_back(static_cast<int32_t>(n));
      segments.parents.push_back(-1);
      const at::Tensor logprobs = policy.logits(policy.hidden(segments)).to(at::kDouble).log_softmax(-1);
      for (int64_t t = static_cast<int64_t>(document.first_target); t < n; ++t, ++targets)
        sum -= logprobs[t - 1][document.tokens[static_cast<size_t>(t)]].item<double>();
      inputs += n - 1;
    }
  }
  Trainer trainer(policy, gradient_probe(), {100000});
  const UpdateReport report = trainer.update(documents, 0);
  EXPECT_NEAR(report.loss, sum / static_cast<double>(targets), 1e-5);
  EXPECT_EQ(report.tokens, inputs);
  EXPECT_GT(report.entropy, 0.0);
  const auto expected = gradients(trainer);

  for (const int micro_batch_tokens : {1, 12}) {
    Policy twin = tiny::policy();
    Trainer split(twin, gradient_probe(), {micro_batch_tokens});
    EXPECT_NEAR(split.update(documents, 0).loss, report.loss, 1e-6);
    EXPECT_LT(relative_difference(gradients(split), expected), 1e-6);
  }

  // The gradient, against a difference quotient along itself.
  double norm = 0;
  for (const auto& [name, gradient] : expected) norm += gradient.to(at::kDouble).square().sum().item<double>();
  norm = std::sqrt(norm);
  const auto loss_at = [&](double distance) {
    Policy moved = tiny::policy();
    at::NoGradGuard guard;
    for (const auto& [name, tensor] : moved.parameters()) tensor.detach().add_(expected.at(name), distance / norm);
    at::AutoGradMode on(true);
    return Trainer(moved, gradient_probe()).update(documents, 0).loss;
  };
  EXPECT_NEAR((loss_at(2e-3) - loss_at(-2e-3)) / 4e-3, norm, 2e-3 * norm);
  EXPECT_NEAR(report.grad_norm, norm, 1e-5 * norm);
}

TEST(Trainer, makes_nothing_of_no_documents) {
  Policy policy = tiny::policy();
  const NamedTensors before = copy_of(policy.state());
  Trainer trainer(policy, gradient_probe());
  EXPECT_EQ(trainer.update(std::vector<Example>{}, 0).tokens, 0);
  EXPECT_EQ(trainer.update({Example{{5}, 1}}, 0).tokens, 0);
  EXPECT_TRUE(same(policy.state(), before));
}

// ---- exact continuation ---------------------------------------------------------------------------------------------

TEST(Trainer, goes_on_exactly_from_its_state) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    ObjectiveConfig objective;
    objective.kl = Kl::k3_in_loss;
    objective.kl_coefficient = 0.1;
    Policy policy = tiny::policy(tiny::policy_config(dtype, true));
    Trainer trainer(policy, objective, OptimizerConfig{});
    const auto step = [](Policy& p, Trainer& t, int64_t number) {
      auto groups = scored_groups(p, static_cast<uint64_t>(number));
      return t.update(groups, number);
    };
    step(policy, trainer, 0);
    const NamedTensors weights = copy_of(policy.state()), state = copy_of(trainer.state()),
                       frozen = copy_of(trainer.reference()->state());
    const UpdateReport expected = step(policy, trainer, 1);

    Policy other(tiny::policy_config(dtype, true), 99);
    Trainer resumed(other, objective, OptimizerConfig{});
    other.load_state(weights);
    resumed.load_state(state);
    resumed.reference()->load_state(frozen);
    const UpdateReport report = step(other, resumed, 1);
    EXPECT_EQ(report.loss, expected.loss);
    EXPECT_EQ(report.kl, expected.kl);
    EXPECT_EQ(report.grad_norm, expected.grad_norm);
    EXPECT_TRUE(same(other.state(), policy.state()));
    EXPECT_TRUE(same(resumed.state(), trainer.state()));
  }
}

// ---- a step's data --------------------------------------------------------------------------------------------------

TasksConfig arithmetic() {
  TasksConfig config;
  config.seed = 5;
  return config;
}

RewardsConfig one_reward(const std::string& name) {
  RewardsConfig config;
  config.weights = {{name, 1.0}};
  config.threads = 2;
  return config;
}

// Which problems give no signal, from their prompt alone.
bool is_flat(const Task& task) { return std::accumulate(task.prompt.begin(), task.prompt.end(), 0) % 3 != 0; }

void register_rewards() {
  register_reward("sometimes_flat", [](const Task& task, const Completion& completion) -> Score {
    if (is_flat(task)) return 1.0;
    double sum = 0;
    for (const int32_t token : completion.tokens) sum = 0.7 * sum + token;
    return sum;
  });
  register_reward("always_flat", [](const Task&, const Completion&) -> Score { return 1.0; });
  register_reward("slow", [](const Task&, const Completion&) -> Score {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return 1.0;
  });
}

std::vector<std::vector<int32_t>> tokens_of(const Group& group) {
  std::vector<std::vector<int32_t>> out;
  for (const Completion& completion : group.completions) out.push_back(completion.tokens);
  return out;
}

TakeTasks from(TaskStream& tasks) {
  return [&](std::size_t count) { return tasks.take(count); };
}

TEST(Collect, scores_the_tasks_of_a_step_in_their_order) {
  register_rewards();
  const Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
  Scorer scorer(one_reward("sometimes_flat"));
  TaskStream tasks(arithmetic()), twin(arithmetic());
  const Collected got = collect(rollout, scorer, from(tasks), 6, {}, 3, 2);
  const auto expected_tasks = twin.take(6);
  EXPECT_EQ(tasks.cursor(), twin.cursor());
  const auto expected = rollout.generate(expected_tasks, {3, Purpose::rollout, 2, 0});
  ASSERT_EQ(got.groups.size(), 6u);
  for (size_t g = 0; g < 6; ++g) {
    EXPECT_EQ(got.groups[g].index, g);
    EXPECT_EQ(got.groups[g].task.prompt, expected_tasks[g].prompt);
    EXPECT_EQ(tokens_of(got.groups[g]), tokens_of(expected[g]));
    EXPECT_EQ(has_signal(got.groups[g]), !is_flat(expected_tasks[g]));
  }
  EXPECT_EQ(got.refills, 0);
  EXPECT_FALSE(got.exhausted);
  EXPECT_EQ(got.stats.prompt_tokens, rollout.stats().prompt_tokens);
}

TEST(Collect, refuses_fewer_or_more_tasks_than_it_asked_for) {
  register_rewards();
  const Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
  Scorer scorer(one_reward("sometimes_flat"));
  for (const auto& [given, objective] : std::vector<std::pair<int, ObjectiveConfig>>{
           {0, {}}, {2, {}}, {4, {}}, {2, {.dynamic_sampling = true}}, {5, {.dynamic_sampling = true}}}) {
    TaskStream tasks(arithmetic());
    EXPECT_THAT(error_of([&] {
                  collect(
                      rollout, scorer, [&](std::size_t) { return tasks.take(given); }, 3, objective, 3, 2);
                }),
                HasSubstr("[collect] expected the next 3 tasks from `take`, got " + std::to_string(given)));
  }
  TaskStream tasks(arithmetic());
  EXPECT_EQ(collect(rollout, scorer, from(tasks), 3, {}, 3, 2).groups.size(), 3u) << "nothing was left pending";
}

TEST(Evaluate, leaves_out_what_cannot_be_asked_and_changes_nothing_else) {
  const Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
  Scorer scorer{RewardsConfig()};
  std::vector<Task> tasks = tiny::tasks(5);
  std::vector<Group> all, some;
  EXPECT_EQ(evaluate(rollout, scorer, tasks, 3, 2, nullptr, &all).left_out.count, 0u);
  tasks[0].prompt = std::string(3000, 'a'), tasks[3].prompt = std::string(3000, 'b');
  const Evaluation figures = evaluate(rollout, scorer, tasks, 3, 2, nullptr, &some);
  EXPECT_EQ(figures.problems, 3);
  EXPECT_EQ(figures.json()["left_out"], 2);
  EXPECT_THAT(figures.left_out.text(),
              AllOf(HasSubstr("2 of 5 tasks are left out: task \"" + tasks[0].id), HasSubstr("max_positions")));
  ASSERT_EQ(some.size(), 3u);
  const size_t places[] = {1, 2, 4};
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(tokens_of(some[i]), tokens_of(all[places[i]]));
  EXPECT_THAT(error_of([&] { evaluate(rollout, scorer, {tasks[0], tasks[3]}, 3, 2); }),
              HasSubstr("expected tasks that can be asked and scored, got none; 2 of 2 tasks are left out"));
}

TEST(Collect, keys_the_draws_of_a_later_call_by_the_place_of_its_first_task) {
  register_rewards();
  const Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
  Scorer scorer(one_reward("sometimes_flat"));
  TaskStream whole(arithmetic()), parts(arithmetic());
  const Collected expected = collect(rollout, scorer, from(whole), 5, {}, 3, 2);
  std::vector<Group> groups = collect(rollout, scorer, from(parts), 2, {}, 3, 2).groups;
  for (Group& group : collect(rollout, scorer, from(parts), 3, {}, 3, 2, nullptr, 2).groups)
    groups.push_back(std::move(group));
  for (size_t g = 0; g < 5; ++g) {
    EXPECT_EQ(groups[g].index, g);
    EXPECT_EQ(tokens_of(groups[g]), tokens_of(expected.groups[g]));
  }
}

TEST(Collect, lets_scores_change_before_it_looks_for_a_signal) {
  register_rewards();
  const Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
  Scorer scorer(one_reward("always_flat"));
  ObjectiveConfig objective;
  objective.dynamic_sampling = true;
  objective.max_refills = 9;
  TaskStream tasks(arithmetic());
  std::vector<std::size_t> rounds;
  const Collected got =
      collect(rollout, scorer, from(tasks), 3, objective, 3, 2, [&](std::vector<Group>& groups, std::size_t round) {
        rounds.push_back(round);
        for (Group& group : groups) {
          EXPECT_EQ(group.rewards, std::vector<double>(4, 1.0)) << "scored already";
          if (round > 0 && group.index != 3) group.rewards[1] = 2;
        }
      });
  EXPECT_EQ(rounds, (std::vector<std::size_t>{0, 1, 2}));
  EXPECT_EQ(got.refills, 2);
  for (const Group& group : got.groups) EXPECT_EQ(group.rewards[1], 2);
  // A round without signal, another of three tasks of which the one at place 3 has none, and one task in its stead.
  EXPECT_EQ(got.groups.back().index, 6u);
}

TEST(Collect, refills_groups_without_signal_from_fresh_tasks_that_share_no_draw) {
  register_rewards();
  const Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
  Scorer scorer(one_reward("sometimes_flat"));
  ObjectiveConfig objective;
  objective.dynamic_sampling = true;
  objective.max_refills = 50;
  TaskStream tasks(arithmetic()), twin(arithmetic());
  const Collected got = collect(rollout, scorer, from(tasks), 5, objective, 3, 2);
  EXPECT_FALSE(got.exhausted);
  EXPECT_GT(got.refills, 0);
  ASSERT_EQ(got.groups.size(), 5u);
  // Round after round takes what is missing, and no more.
  std::vector<Task> taken = twin.take(5);
  int rounds = 0;
  for (;; ++rounds) {
    const auto good =
        static_cast<size_t>(std::count_if(taken.begin(), taken.end(), [](const Task& t) { return !is_flat(t); }));
    if (good == 5) break;
    for (Task& task : twin.take(5 - good)) taken.push_back(task);
  }
  EXPECT_EQ(got.refills, rounds);
  EXPECT_EQ(tasks.cursor(), twin.cursor());
  std::vector<size_t> indices;
  for (const Group& group : got.groups) {
    EXPECT_TRUE(has_signal(group));
    ASSERT_LT(group.index, taken.size());
    EXPECT_EQ(group.task.prompt, taken[group.index].prompt)
        << "the index is the place in the step's task list, refills included";
    DrawStream stream{3, Purpose::rollout, 2, static_cast<uint32_t>(group.index)};
    EXPECT_EQ(tokens_of(group), tokens_of(rollout.generate({group.task}, stream)[0]));
    indices.push_back(group.index);
  }
  EXPECT_TRUE(std::is_sorted(indices.begin(), indices.end()));
  EXPECT_EQ(std::set(indices.begin(), indices.end()).size(), 5u);
  EXPECT_GT(indices.back(), 4u);
}

TEST(Collect, says_when_the_limit_on_refills_is_reached_and_goes_on_with_what_it_has) {
  register_rewards();
  const Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config(2, 3));
  ObjectiveConfig objective;
  objective.dynamic_sampling = true;
  for (const int limit : {0, 2}) {
    objective.max_refills = limit;
    Scorer scorer(one_reward("always_flat"));
    TaskStream tasks(arithmetic()), twin(arithmetic());
    const Collected got = collect(rollout, scorer, from(tasks), 3, objective, 3, 2);
    EXPECT_TRUE(got.exhausted);
    EXPECT_EQ(got.refills, limit);
    ASSERT_EQ(got.groups.size(), 3u);
    for (size_t g = 0; g < 3; ++g) EXPECT_EQ(got.groups[g].index, g);
    twin.take(3 * static_cast<size_t>(limit + 1));
    EXPECT_EQ(tasks.cursor(), twin.cursor());
  }
  // Some with signal, the rest filled up with those without, in the order of their indices.
  objective.max_refills = 1;
  Scorer scorer(one_reward("sometimes_flat"));
  TaskStream tasks(arithmetic());
  const Collected got = collect(rollout, scorer, from(tasks), 12, objective, 3, 2);
  EXPECT_TRUE(got.exhausted);
  EXPECT_EQ(got.groups.size(), 12u);
  EXPECT_TRUE(std::is_sorted(got.groups.begin(), got.groups.end(),
                             [](const Group& a, const Group& b) { return a.index < b.index; }));
  const auto with_signal =
      std::count_if(got.groups.begin(), got.groups.end(), [](const Group& g) { return has_signal(g); });
  EXPECT_GT(with_signal, 0);
  EXPECT_LT(with_signal, 12);
}

// A policy that fails in the middle of sampling: the input embedding of a token that only turns up late is poisoned.
TEST(Collect, and_evaluate_leave_no_thread_reading_when_sampling_fails) {
  register_rewards();
  Policy policy = tiny::policy(tiny::policy_config(DType::float32, false, true));
  RolloutConfig settings = tiny::rollout_config(8);
  settings.sampling.temperature = 1.8;
  Rollout rollout = tiny::rollout(policy, settings);
  TaskStream stream(arithmetic());
  const auto tasks = stream.take(4);
  for (const Purpose purpose : {Purpose::rollout, Purpose::evaluation}) {
    const auto groups = rollout.generate(tasks, {3, purpose, 0, 0});
    std::map<int32_t, size_t> first;  // place of each token's first appearance in any completion
    size_t shortest = 1000;
    for (const Group& group : groups) {
      for (const int32_t token : group.prompt) first[token] = 0;
      for (const Completion& completion : group.completions) {
        shortest = std::min(shortest, completion.tokens.size());
        for (size_t t = 0; t + 1 < completion.tokens.size(); ++t) {
          const auto [place, fresh] = first.emplace(completion.tokens[t], t);
          if (!fresh) place->second = std::min(place->second, t);
        }
      }
    }
    const auto late =
        std::max_element(first.begin(), first.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    ASSERT_GT(late->second, shortest) << "completions should end before the failure";

    at::Tensor row = policy.parameters()[0].second.detach()[late->first];
    const at::Tensor healthy = row.clone();
    row.fill_(std::numeric_limits<float>::quiet_NaN());
    Scorer scorer(one_reward("slow"));
    TaskStream again(arithmetic());
    const auto run = [&] {
      if (purpose == Purpose::evaluation)
        evaluate(rollout, scorer, tasks, 3, 0);
      else
        collect(rollout, scorer, from(again), 4, {}, 3, 0);
    };
    EXPECT_THAT(error_of(run), HasSubstr("NaN"));
    row.copy_(healthy);
    again.seek(0);
    EXPECT_EQ(error_of(run), "(no error)") << "the scorer is as good as new";
  }
}

// ---- evaluation -----------------------------------------------------------------------------------------------------

TEST(Evaluate, draws_for_its_own_purpose_and_reports_the_same_whatever_the_scorers_threads) {
  const Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config(3, 6));
  std::vector<Task> tasks;
  for (int i = 0; i < 70; ++i) tasks.push_back(tiny::task("a", "1"));  // the same problem, again and again
  RewardsConfig rewards;
  rewards.threads = 2;
  Scorer two(rewards), one{RewardsConfig{}};
  std::vector<Group> kept, again;
  std::vector<std::size_t> told;
  const Evaluation figures = evaluate(
      rollout, two, tasks, 3, 0, [&](std::size_t done, std::size_t) { told.push_back(done); }, &kept);
  EXPECT_EQ(figures.json(), evaluate(rollout, one, tasks, 3, 0, nullptr, &again).json());
  EXPECT_EQ(figures.problems, 70);
  EXPECT_EQ(figures.samples, 3);
  EXPECT_EQ(told.back(), 70u);
  ASSERT_EQ(kept.size(), 70u);
  std::set<std::vector<std::vector<int32_t>>> distinct;
  for (size_t g = 0; g < kept.size(); ++g) {
    EXPECT_EQ(kept[g].index, g) << "the place among all tasks, not in the batch";
    EXPECT_EQ(tokens_of(kept[g]), tokens_of(again[g]));
    distinct.insert(tokens_of(kept[g]));
  }
  EXPECT_GT(distinct.size(), 60u) << "the same task shares no draws with itself";
  const auto training = rollout.generate({tasks[0]}, {3, Purpose::rollout, 0, 0});
  EXPECT_NE(tokens_of(training[0]), tokens_of(kept[0]));
}

TEST(Evaluate, means_over_samples_and_gives_the_interval_of_the_problems_spread) {
  Group group;
  group.completions.resize(2);
  group.completions[0].text = "한국어 mixed";  // no form: the whole text counts as reasoning
  group.completions[1].text = "<think>wait</think><answer>1</answer>";
  group.completions[1].reasoning = "wait";
  group.completions[0].tokens = {1, 2, 3};
  group.completions[1].tokens = {1};
  group.completions[0].finish = Finish::length;
  group.scores = {{{"accuracy", 0.0}, {"format", 0.0}, {"language_consistency", Score::undefined()}},
                  {{"accuracy", 1.0}, {"format", 1.0}, {"language_consistency", 0.5}}};
  Group right = group;
  right.scores[0].at("accuracy") = 1.0;
  right.completions[0].text = "";
  const Evaluation figures = summarize({group, right});
  EXPECT_DOUBLE_EQ(figures.pass_at_1, 0.75);
  EXPECT_DOUBLE_EQ(figures.format, 0.5);
  EXPECT_DOUBLE_EQ(figures.language_consistency, 0.5);
  EXPECT_DOUBLE_EQ(figures.mixed_traces, 0.25);
  EXPECT_DOUBLE_EQ(figures.completion_length, 2.0);
  EXPECT_DOUBLE_EQ(figures.reflection_rate, 0.5);
  EXPECT_DOUBLE_EQ(figures.truncated, 0.5);
  EXPECT_NEAR(figures.pass_at_1_error, 1.96 * 0.25, 1e-12);
  // No reference answer anywhere: nothing to be right about.
  for (Scores& scores : group.scores) scores.at("accuracy") = Score::undefined();
  EXPECT_TRUE(std::isnan(summarize({group}).pass_at_1));
  EXPECT_TRUE(summarize({group}).json().at("pass@1").is_null());
}

TEST(Evaluate, estimates_pass_at_k_without_bias) {
  // The share of all subsets of k samples with a right one in them.
  for (int n = 1; n <= 8; ++n)
    for (int right = 0; right <= n; ++right)
      for (int k = 1; k <= n; ++k) {
        int subsets = 0, passed = 0;
        for (unsigned subset = 0; subset < 1u << n; ++subset) {
          if (std::popcount(subset) != k) continue;
          ++subsets, passed += (subset & ((1u << right) - 1)) != 0;
        }
        EXPECT_NEAR(pass_at_k(n, right, k), static_cast<double>(passed) / subsets, 1e-12)
            << n << ' ' << right << ' ' << k;
      }
  EXPECT_NEAR(pass_at_k(10'000, 1, 5'000), 0.5, 1e-9) << "no factorial overflows";
  // Of 5 samples each: 1, 2, 4 and all of them; one task has no reference.
  std::vector<Group> groups(3);
  for (size_t g = 0; g < groups.size(); ++g) {
    groups[g].completions.resize(5);
    for (size_t i = 0; i < 5; ++i) groups[g].scores.push_back({{"accuracy", i < 2 * g ? 1.0 : 0.0}});
  }
  groups.push_back(groups[0]);
  for (Scores& scores : groups.back().scores) scores.at("accuracy") = Score::undefined();
  const Evaluation figures = summarize(groups);
  const std::map<int64_t, double> expected{
      {1, (0 + 0.4 + 0.8) / 3}, {2, (0 + 0.7 + 1) / 3}, {4, (0 + 1 + 1) / 3.0}, {5, 2 / 3.0}};
  ASSERT_EQ(figures.pass_at.size(), expected.size());
  for (const auto& [k, value] : expected) EXPECT_NEAR(figures.pass_at.at(k), value, 1e-12) << k;
  EXPECT_NEAR(figures.json()["pass@k"]["2"].get<double>(), 1.7 / 3, 1e-12);
}

TEST(Evaluate, takes_the_answer_that_most_samples_give_for_the_consensus) {
  // Answers and whether they are right; the share of a group of one, or NaN.
  const auto consensus = [](const std::vector<std::pair<std::string, Score>>& answers,
                            const AnswerOptions& options = {}) {
    Group group;
    for (const auto& [answer, right] : answers) {
      group.completions.emplace_back().answer = answer;
      group.scores.push_back({{"accuracy", right}});
    }
    return summarize({group}, options).cons_at_k;
  };
  EXPECT_EQ(consensus({{"1", 0.0}, {"2", 1.0}, {"3", 0.0}, {"2", 1.0}}), 1.0);
  EXPECT_EQ(consensus({{"2", 1.0}, {"1", 0.0}, {"1", 0.0}}), 0.0);
  EXPECT_EQ(consensus({{"1", 0.0}, {"1", 0.0}, {"0.5", 1.0}, {"1/2", 1.0}, {"50%", 1.0}}), 1.0) << "equal as numbers";
  EXPECT_EQ(consensus({{"2", 1.0}, {"1", 0.0}}), 0.5) << "of equally many their mean";
  EXPECT_EQ(consensus({{"1", 0.0}, {"2", 1.0}}), 0.5);
  EXPECT_EQ(consensus({{"", 0.0}, {"", 0.0}, {"2", 1.0}}), 1.0) << "no answer is no vote";
  EXPECT_EQ(consensus({{"", 0.0}, {"", 0.0}}), 0.0);
  EXPECT_TRUE(std::isnan(consensus({{"1", Score::undefined()}}))) << "no reference";
  AnswerOptions rounded;
  rounded.tolerance = 0.01;
  EXPECT_EQ(consensus({{"1", 0.0}, {"1", 0.0}, {"3.14", 1.0}, {"3.141", 1.0}, {"3.1416", 1.0}}), 0.0);
  EXPECT_EQ(consensus({{"1", 0.0}, {"1", 0.0}, {"3.14", 1.0}, {"3.141", 1.0}, {"3.1416", 1.0}}, rounded), 1.0)
      << "what counts as equal is what the rewards count as equal";
  Group wrong, right;
  wrong.completions.resize(1), wrong.scores = {{{"accuracy", 0.0}}};
  right.completions.resize(1), right.completions[0].answer = "2", right.scores = {{{"accuracy", 1.0}}};
  EXPECT_DOUBLE_EQ(summarize({right, wrong, right, right}).json().at("cons@k").get<double>(), 0.75);
}

TEST(Evaluate, holds_a_trace_without_words_against_the_strict_language_consistency) {
  Group group;
  group.task.language = "en";
  group.completions.resize(4);
  group.completions[0].reasoning = "five words are in here";
  group.completions[1].reasoning = "다섯 낱말 are in 여기";
  group.completions[2].text = "1+1=2, so only four words here";  // no form: the whole text counts
  group.completions[2].reasoning = "1+1=2, no words";
  group.completions[3].text = "no form but five words";
  group.scores = {{{"language_consistency", 1.0}},
                  {{"language_consistency", 0.4}},
                  {{"language_consistency", Score::undefined()}},
                  {}};
  Group elsewhere = group;  // in no language: not counted
  elsewhere.task.language = "";
  const Evaluation figures = summarize({group, elsewhere});
  EXPECT_DOUBLE_EQ(figures.language_consistency, 0.7);
  EXPECT_DOUBLE_EQ(figures.strict_language_consistency, 1.4 / 4);
  EXPECT_DOUBLE_EQ(figures.worded_traces, 0.75);
  EXPECT_DOUBLE_EQ(figures.json().at("strict_language_consistency").get<double>(), 1.4 / 4);
  EXPECT_DOUBLE_EQ(figures.json().at("worded_traces").get<double>(), 0.75);
}

// ---- does it learn? -------------------------------------------------------------------------------------------------

TEST(Learning, makes_what_is_rewarded_more_frequent) {
  register_reward("likes_c", [](const Task&, const Completion& completion) -> Score {
    return static_cast<double>(std::count(completion.text.begin(), completion.text.end(), 'c')) / 12.0;
  });
  for (const bool moe : {false, true}) {
    Policy policy = tiny::policy(tiny::policy_config(DType::float32, moe));
    Rollout rollout = tiny::rollout(policy, tiny::rollout_config(8, 12));
    Scorer scorer(one_reward("likes_c"));
    OptimizerConfig optimizer;
    optimizer.learning_rate = 5e-3;
    Trainer trainer(policy, {}, optimizer);
    std::vector<double> rewards;
    for (uint64_t step = 0; step < 25; ++step) {
      auto groups = rollout.generate(tiny::tasks(6), {1, Purpose::rollout, step, 0});
      scorer.finish(groups);
      double sum = 0;
      for (const Group& group : groups) sum += std::accumulate(group.rewards.begin(), group.rewards.end(), 0.0) / 48;
      rewards.push_back(sum);
      EXPECT_EQ(trainer.update(groups, static_cast<int64_t>(step)).ratio_deviation, 0.0);
    }
    const double early = (rewards[0] + rewards[1] + rewards[2]) / 3,
                 late = (rewards[22] + rewards[23] + rewards[24]) / 3;
    EXPECT_LT(early, 0.4);
    EXPECT_GT(late, 0.7) << "from " << early;
  }
}

}  // namespace
}  // namespace grpo
