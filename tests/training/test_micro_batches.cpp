// No division of an update into passes changes it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tokens_seen.h"
#include "trainer_test.h"

namespace grpo {
namespace {

TEST(Trainer, takes_the_same_gradient_from_any_split_into_micro_batches) {
  struct Case {
    std::string name;
    ObjectiveConfig objective;
    bool moe;
  };
  std::vector<Case> cases;
  for (const auto& [loss, name] : EnumNames<Loss>::values) {
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
  Case masks{"tokens of high entropy, completions close by", {}, false};
  masks.objective.top_entropy = 0.4;
  masks.objective.off_policy_threshold = 0.05;
  masks.objective.entropy_coefficient = 0.01;
  cases.push_back(masks);
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
      EXPECT_EQ(part.masked_fraction, whole.masked_fraction);
      EXPECT_EQ(part.ratio_deviation, whole.ratio_deviation);
      if (each.moe) {
        EXPECT_EQ(part.expert_load_max, whole.expert_load_max) << "a prompt counts once, however its group is cut";
      }
      EXPECT_NEAR(part.grad_norm, whole.grad_norm, 1e-6 * whole.grad_norm);
    }
    EXPECT_GT(part.tokens, 0);
  }
}

// Documents of the groups' completions behind their prompts.
std::vector<Example> documents_of(const std::vector<Group>& groups) {
  std::vector<Example> documents;
  for (const Group& group : groups)
    for (const Completion& completion : group.completions) {
      documents.push_back({group.prompt, group.prompt.size()});
      documents.back().tokens.insert(documents.back().tokens.end(), completion.tokens.begin(), completion.tokens.end());
    }
  return documents;
}

TEST(Trainer, takes_the_auxiliary_loss_of_each_sequence_once_however_they_are_split) {
  PolicyConfig config = tiny::policy_config(DType::float32, true);
  const Policy taught = tiny::policy(config);
  const auto groups = scored_groups(taught);
  for (const bool supervised : {false, true}) {
    UpdateReport report;
    const auto run = [&](double auxiliary_loss, int micro_batch_tokens) {
      config.moe.auxiliary_loss = auxiliary_loss;
      Policy policy(config, 1);
      policy.copy_from(taught);
      Trainer trainer(policy, {}, gradient_probe(), 1.0, {micro_batch_tokens});
      auto some = groups;
      report = supervised ? trainer.update(documents_of(groups), 0) : trainer.update(some, 0);
      return gradients(trainer);
    };
    const auto without = run(0, 100000);
    const double plain = report.loss;
    const auto whole = run(2, 100000);
    EXPECT_GT(relative_difference(whole, without), 0.1);
    // A mean over tokens, of the sequences in one pass each.
    const Policy policy = [&] {
      Policy made(config, 1);
      made.copy_from(taught);
      return made;
    }();
    at::NoGradGuard guard;
    RouterRecord expected{{}, {}, report.tokens};
    for (const Group& group : groups) {
      PassBuilder alone;
      if (!supervised) alone.add(group.prompt);
      for (const Completion& completion : group.completions) {
        std::vector<int32_t> tokens = supervised ? group.prompt : std::vector<int32_t>();
        tokens.insert(tokens.end(), completion.tokens.begin(), completion.tokens.end() - 1);
        alone.add(tokens, supervised ? 0 : static_cast<int32_t>(group.prompt.size()), supervised ? -1 : 0);
      }
      policy.hidden(alone.build(), nullptr, &expected);
    }
    EXPECT_NEAR(report.loss - plain, expected.auxiliary_loss.item<double>(), 1e-6);
    EXPECT_GT(report.loss - plain, 1.9) << "its least is the coefficient, once for each layer with experts";
    at::AutoGradMode on(true);
    for (const int micro_batch_tokens : {1, 30, 90, largest_group(groups) - 1}) {
      const double loss = report.loss;
      EXPECT_LT(relative_difference(run(2, micro_batch_tokens), whole), 1e-6) << micro_batch_tokens;
      EXPECT_NEAR(report.loss, loss, 1e-6) << micro_batch_tokens;
    }
  }
}

TEST(Trainer, computes_layers_again_to_the_same_bits_and_counts_them_once) {
  PolicyConfig mla = tiny::policy_config(DType::bfloat16, true);
  mla.attention = Attention::mla;
  mla.mla = {12, 16, 8, 8, 8};
  mla.moe.auxiliary_loss = 0.1;
  PolicyConfig adapted = mla;
  adapted.adapter.rank = 4;
  for (const PolicyConfig& config :
       {tiny::policy_config(), tiny::policy_config(DType::float32, true, true), mla, adapted}) {
    const auto groups = scored_groups(tiny::policy(config));
    for (const int micro_batch_tokens : {1, 60}) {  // groups cut, and whole ones among them
      for (const bool supervised : {false, true}) {
        SCOPED_TRACE(std::to_string(micro_batch_tokens) + (supervised ? ", documents" : ", groups"));
        UpdateReport report;
        const auto run = [&](Recompute recompute) {
          Policy policy = tiny::policy(config);
          Trainer trainer(policy, {}, gradient_probe(), 1.0, {micro_batch_tokens, 0.01, recompute});
          auto some = groups;
          TokensSeen seen;
          report = supervised ? trainer.update(documents_of(groups), 0) : trainer.update(some, 0);
          EXPECT_EQ(seen.take(), report.tokens);
          NamedTensors all = copy_of(trainer.state());
          for (const auto& each : copy_of(policy.state())) all.push_back(each);
          return all;
        };
        const NamedTensors expected = run(Recompute::none);
        const UpdateReport whole = report;
        EXPECT_TRUE(same(run(Recompute::layers), expected));
        EXPECT_EQ(report.loss, whole.loss);
        EXPECT_EQ(report.grad_norm, whole.grad_norm);
        if (config.moe.experts > 0) {
          EXPECT_EQ(report.expert_load_max, whole.expert_load_max);
        }
      }
    }
  }
}

TEST(Trainer, pays_a_prompt_once_however_its_group_is_cut) {
  Policy policy = tiny::policy();
  const auto groups = scored_groups(policy, 0, 6);
  const auto tokens = [&](int micro_batch_tokens) {
    Policy copy = tiny::policy();
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
  PolicyConfig adapted = tiny::policy_config(DType::bfloat16, true), adapted_mla = mla;
  adapted.adapter.rank = 4, adapted_mla.adapter.rank = 3;
  const std::pair<const char*, PolicyConfig> configs[] = {
      {"tied", tiny::policy_config(DType::bfloat16)},
      {"untied, with biases and norms of heads", tiny::policy_config(DType::bfloat16, false, true)},
      {"mixture of experts", tiny::policy_config(DType::bfloat16, true)},
      {"latent attention", mla},
      {"an adapter", adapted},
      {"an adapter of latent attention", adapted_mla}};
  for (const auto& [name, config] : configs)
    for (const bool supervised : {false, true}) {
      SCOPED_TRACE(std::string(name) + (supervised ? ", documents" : ", groups"));
      const Policy taught = tiny::policy(config);
      const auto groups = scored_groups(taught, 0, 6);
      const std::vector<Example> documents = documents_of(groups);
      const auto run = [&](DType dtype, int micro_batch_tokens) {
        PolicyConfig like = config;
        like.dtype = dtype;
        Policy policy(like, 1);
        policy.load_state(taught.state());
        const NamedTensors frozen = taught.frozen();
        for (size_t i = 0; i < frozen.size(); ++i) policy.frozen()[i].second.copy_(frozen[i].second);
        Trainer trainer(policy, {}, gradient_probe(), 1.0, {micro_batch_tokens});
        auto copy = groups;
        supervised ? trainer.update(documents, 0) : trainer.update(copy, 0);
        return gradients(trainer);
      };
      const auto whole = run(DType::bfloat16, 100000);
      for (const int micro_batch_tokens : {1, 40, 90, largest_group(groups) - 1, 400})
        EXPECT_LT(relative_difference(run(DType::bfloat16, micro_batch_tokens), whole), 1e-5) << micro_batch_tokens;
      // Roundings of bf16, each 0.004, one upon the other; an adapter's products go through two more.
      EXPECT_LT(relative_difference(whole, run(DType::float32, 100000)), config.adapter.rank > 0 ? 0.12 : 0.08);
    }
}

}  // namespace
}  // namespace grpo
