#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "trainer_test.h"

namespace grpo {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// ---- RL updates -----------------------------------------------------------------------------------------------------

TEST(Trainer, gives_the_weights_a_new_version_with_every_update_that_is_one) {
  Policy policy = tiny::policy();
  auto groups = scored_groups(policy);
  ObjectiveConfig objective;
  objective.minibatches = 2;
  Trainer trainer(policy, objective, gradient_probe());
  const uint64_t start = policy.version();
  trainer.update(groups, 0);
  EXPECT_EQ(policy.version(), start + 2);
  for (Group& group : groups) group.rewards.assign(4, 1.0);
  trainer.update(groups, 1);
  EXPECT_EQ(policy.version(), start + 2) << "no signal";
  policy.parameters()[0].second.detach().fill_(NAN);
  EXPECT_FALSE(trainer.update({tiny::document("a", "b")}, 2).skipped.empty());
  EXPECT_EQ(policy.version(), start + 2) << "skipped";
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
    for (const auto& [loss, micro_batch_tokens] :
         {std::pair(Loss::grpo, 60), {Loss::grpo, 100000}, {Loss::gspo, 60}, {Loss::vespo, 60}}) {
      ObjectiveConfig objective;
      objective.loss = loss;
      Trainer trainer(policy, objective, gradient_probe(), 1.0, {micro_batch_tokens});
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
        PassBuilder builder;
        builder.add(tokens);
        const Pass pass = builder.build();
        const at::Tensor hidden = policy.hidden(pass).slice(0, prompt - 1, n - 1);
        sums.push_back(
            policy.token_logprobs(hidden, pass.tokens.slice(0, prompt), 1.0).logprobs.sum().item<double>());
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
      PassBuilder pass;
      pass.add(document.tokens);
      const at::Tensor logprobs = policy.logits(policy.hidden(pass.build())).to(at::kDouble).log_softmax(-1);
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

}  // namespace
}  // namespace grpo
