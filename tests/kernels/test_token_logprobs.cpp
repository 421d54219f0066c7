// token_logprobs, logits and log_sum_exp: against the reference, against the sampler, row by row.
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/philox.h"
#include "kernels/draw.h"
#include "op_test.h"

namespace grpo {
namespace {

class TokenLogprobsTest : public OpTest {
 protected:
  Tensor targets_of(int64_t tokens, int64_t vocab) const { return at::randint(vocab, {tokens}, at::kInt); }
  // In bf16 the gradient of the logits is rounded before the products that follow.
  Tolerance tolerance() const { return narrow() ? Tolerance{2e-5, 1e-2} : Tolerance{2e-5, 5e-5}; }
};
INSTANTIATE_FOR_TYPES(TokenLogprobsTest);

using Form = TokenLogprobs (*)(const Tensor&, const Tensor&, const Tensor&, double, const KeptSets&);
Op run(Form form, const Tensor& targets, double temperature, const KeptSets& kept = {}) {
  return [=](const Tensors& t) {
    const TokenLogprobs out = form(t[0], t[1], targets, temperature, kept);
    return Tensors{out.logprobs, out.entropy};
  };
}

/// Kept sets in the making.
struct Sets {
  std::vector<int32_t> ids;
  std::vector<int64_t> starts{0};
  void end() { starts.push_back(std::ssize(ids)); }
  operator KeptSets() const { return {at::tensor(ids, at::kInt), at::tensor(starts, at::kLong)}; }
};

/// Sets of random sizes, each with its token's target in it; every fifth token has none.
Sets random_sets(const Tensor& targets, int64_t vocab) {
  Sets kept;
  for (int64_t t = 0; t < targets.size(0); ++t) {
    const int32_t target = targets[t].item<int32_t>();
    const Tensor chosen = at::rand({vocab}).lt(at::rand({1})).contiguous();
    for (int32_t id = 0; t % 5 != 4 && id < vocab; ++id)
      if (id == target || chosen.const_data_ptr<bool>()[id]) kept.ids.push_back(id);
    kept.end();
  }
  return kept;
}

/// Row `t` of `kept` alone, for every t of `rows`.
Sets select(const Sets& kept, const Tensor& rows) {
  Sets some;
  for (int64_t i = 0; i < rows.size(0); ++i) {
    const int64_t t = rows[i].item<int64_t>();
    some.ids.insert(some.ids.end(), kept.ids.begin() + kept.starts[t], kept.ids.begin() + kept.starts[t + 1]);
    some.end();
  }
  return some;
}

TEST_P(TokenLogprobsTest, match_their_reference_at_the_edges_of_chunks) {
  const int64_t shapes[][3] = {{1, 3, 2},     {0, 5, 7},     {3, 7, 11},    {37, 31, 101},
                               {255, 12, 33}, {256, 12, 33}, {257, 12, 33}, {519, 9, 17}};
  for (const auto& [tokens, hidden, vocab] : shapes)
    for (const double temperature : {1.0, 0.7}) {
      SCOPED_TRACE(::testing::Message() << tokens << " x " << hidden << " x " << vocab << ", temperature "
                                        << temperature);
      const Tensor targets = targets_of(tokens, vocab);
      check_op(run(token_logprobs, targets, temperature), run(reference::token_logprobs, targets, temperature),
               {randn({tokens, hidden}), randn({vocab, hidden})}, tolerance());
    }
}

TEST_P(TokenLogprobsTest, match_their_reference_over_kept_sets) {
  for (const int64_t tokens : {1, 23, 257})
    for (const double temperature : {1.0, 1.6}) {
      SCOPED_TRACE(tokens);
      const Tensor targets = targets_of(tokens, 41);
      const KeptSets kept = random_sets(targets, 41);
      check_op(run(token_logprobs, targets, temperature, kept),
               run(reference::token_logprobs, targets, temperature, kept), {randn({tokens, 13}), randn({41, 13})},
               tolerance());
    }
}

TEST_P(TokenLogprobsTest, of_an_only_choice_are_certain) {
  const Tensor targets = at::tensor({4, 2}, at::kInt), hidden = randn({2, 6}), head = randn({7, 6});
  const TokenLogprobs out = token_logprobs(hidden, head, targets, 0.5, {targets, at::tensor({0, 1, 2}, at::kLong)});
  EXPECT_TRUE(at::allclose(out.logprobs, at::zeros({2}), 0, 1e-6)) << out.logprobs;
  EXPECT_TRUE(at::allclose(out.entropy, at::zeros({2}), 0, 1e-6)) << out.entropy;
}

TEST_P(TokenLogprobsTest, are_the_samplers_bits) {
  const int64_t tokens = 60, vocab = 97;
  const Tensor hidden = randn({tokens, 33}), head = randn({vocab, 33}) * 0.4;
  const std::vector<SamplingConfig> configs{
      {1, 0, 1, 0}, {0.7, 0, 1, 0}, {1, 5, 1, 0}, {1.3, 0, 0.8, 0}, {0.9, 40, 0.9, 0.05}};
  for (const SamplingConfig& config : configs) {
    SCOPED_TRACE("temperature " + std::to_string(config.temperature) + ", top_k " + std::to_string(config.top_k) +
                 ", top_p " + std::to_string(config.top_p));
    Tensors drawn, logprobs, entropies;
    Sets kept;
    for (int64_t t = 0; t < tokens; ++t) {  // as sampling does: few rows at a time
      const Tensor key = at::empty({1, kKeyColumns}, at::kLong);
      write_key({7, Purpose::rollout, 0, 0, 0, static_cast<uint32_t>(t)}, key.data_ptr<int64_t>());
      const Drawn one = draw(logits(hidden.narrow(0, t, 1), head), at::zeros({1}, at::kInt), key, config);
      drawn.push_back(one.tokens), logprobs.push_back(one.logprobs), entropies.push_back(one.entropies);
      if (config.truncates()) kept.ids.insert(kept.ids.end(), one.kept[0].begin(), one.kept[0].end());
      kept.end();
    }
    for (const int threads : {1, 2}) {
      set_num_threads(threads);
      const TokenLogprobs again = token_logprobs(hidden, head, at::cat(drawn), config.temperature, kept);
      EXPECT_TRUE(same_bits(again.logprobs, at::cat(logprobs)));
      EXPECT_TRUE(same_bits(again.entropy, at::cat(entropies)));
    }
  }
}

TEST_P(TokenLogprobsTest, rows_and_their_logits_do_not_depend_on_the_batch_or_the_threads) {
  const int64_t tokens = 75, vocab = 131;
  const Tensor hidden = randn({tokens, 65}), head = randn({vocab, 65}), targets = targets_of(tokens, vocab);
  const Sets kept = random_sets(targets, vocab);
  expect_rows_independent(tokens, [&](const Tensor& rows) {
    const Tensor some = hidden.index_select(0, rows), wanted = targets.index_select(0, rows);
    const TokenLogprobs all = token_logprobs(some, head, wanted, 0.9),
                        few = token_logprobs(some, head, wanted, 0.9, select(kept, rows));
    const Tensor values = logits(some, head);
    std::vector<float> sums;
    for (int64_t i = 0; i < rows.size(0); ++i)
      sums.push_back(log_sum_exp(values.const_data_ptr<float>() + i * vocab, vocab, 0.9));
    const Tensor chosen = values.gather(1, wanted.to(at::kLong).unsqueeze(1)).squeeze(1);
    EXPECT_TRUE(same_bits(chosen * static_cast<float>(1 / 0.9) - at::tensor(sums), all.logprobs));
    return Tensors{all.logprobs, all.entropy, few.logprobs, few.entropy, values, at::tensor(sums)};
  });
}

TEST_P(TokenLogprobsTest, gradients_are_the_same_from_kept_logits_and_from_logits_worked_out_again) {
  const int64_t tokens = 300, vocab = 37;
  const Tensor targets = targets_of(tokens, vocab);
  for (const KeptSets& kept : {KeptSets(), KeptSets(random_sets(targets, vocab))}) {
    const Tensor hidden = randn({tokens, 17}).requires_grad_(), head = randn({vocab, 17}).requires_grad_();
    const TokenLogprobs out = token_logprobs(hidden, head, targets, 0.8, kept);
    const Tensor loss = (out.logprobs * randn({tokens}).to(at::kFloat)).sum() + out.entropy.sum();
    const auto gradients = [&] {
      hidden.mutable_grad() = head.mutable_grad() = Tensor();
      loss.backward({}, /*retain_graph=*/true);
      return Tensors{hidden.grad().clone(), head.grad().clone()};
    };
    const Tensors first = gradients(), again = gradients();  // the first one uses the kept logits up
    EXPECT_TRUE(same_bits(first[0], again[0]));
    EXPECT_TRUE(same_bits(first[1], again[1]));
  }
}

TEST_P(TokenLogprobsTest, learned_in_one_pass_have_the_bits_of_the_way_there_and_back) {
  for (const int64_t tokens : {1, 256, 300, 520})
    for (const bool has_sets : {false, true})
      for (const bool has_entropy : {false, true}) {
        const Tensor targets = targets_of(tokens, 37);
        const KeptSets kept = has_sets ? KeptSets(random_sets(targets, 37)) : KeptSets();
        const Tensor hidden = randn({tokens, 17}).requires_grad_(), head = randn({37, 17}).requires_grad_();
        const Tensor by_logprob = at::randn({tokens}), by_entropy = at::randn({tokens});
        const auto with_gradient = [&] {
          head.set_grad_dtype(at::kFloat);
          head.mutable_grad() = at::full_like(head, 0.25, at::kFloat);
        };
        const auto loss = [&](int64_t first, const TokenLogprobs& chunk) -> TokenLogprobs {
          const int64_t rows = chunk.logprobs.size(0);
          EXPECT_LE(first + rows, tokens);
          return {chunk.logprobs * by_logprob.narrow(0, first, rows),
                  has_entropy ? chunk.entropy * by_entropy.narrow(0, first, rows) : Tensor()};
        };
        with_gradient();
        const TokenLogprobs out = token_logprobs(hidden, head, targets, 0.8, kept);
        const TokenLogprobs d = loss(0, {out.logprobs.detach(), out.entropy.detach()});
        std::vector<Tensor> roots{out.logprobs}, by{d.logprobs};
        if (has_entropy) roots.push_back(out.entropy), by.push_back(d.entropy);
        torch::autograd::backward(roots, by);
        const Tensor head_gradient = head.grad().clone();

        with_gradient();
        const LearnedTokens learned = learn_tokens(hidden.detach(), head, targets, 0.8, kept, loss);
        EXPECT_TRUE(same_bits(learned.found.logprobs, out.logprobs));
        EXPECT_TRUE(same_bits(learned.found.entropy, out.entropy));
        EXPECT_TRUE(same_bits(learned.hidden_gradient, hidden.grad()));
        EXPECT_TRUE(same_bits(head.grad(), head_gradient));
        EXPECT_FALSE(learned.found.logprobs.requires_grad());

        const Tensor frozen = head.detach();
        EXPECT_TRUE(same_bits(learn_tokens(hidden.detach(), frozen, targets, 0.8, kept, loss).hidden_gradient,
                              learned.hidden_gradient));
        const LearnedTokens plain = reference::learn_tokens(hidden.detach(), frozen, targets, 0.8, kept, loss);
        EXPECT_TRUE(at::allclose(plain.hidden_gradient.to(at::kFloat), learned.hidden_gradient.to(at::kFloat), 1e-2,
                                 narrow() ? 2e-2 : 1e-5));
      }
}

TEST_P(TokenLogprobsTest, rows_keep_their_bits_across_the_edge_of_a_chunk) {
  const Tensor hidden = randn({300, 17}), head = randn({37, 17}), targets = targets_of(300, 37);
  expect_rows_independent(
      300,
      [&](const Tensor& rows) {
        const TokenLogprobs out =
            token_logprobs(hidden.index_select(0, rows), head, targets.index_select(0, rows), 1.0);
        return Tensors{out.logprobs, out.entropy};
      },
      2);
}

TEST_P(TokenLogprobsTest, threads_change_no_gradient) {
  const Tensor targets = targets_of(400, 135);
  for (const KeptSets& kept : {KeptSets(), KeptSets(random_sets(targets, 135))})
    expect_threads_change_nothing(run(token_logprobs, targets, 0.8, kept), {randn({400, 67}), randn({135, 67})});
}

TEST(TokenLogprobsGradient, agrees_with_finite_differences) {
  const Tensor targets = at::tensor({3, 0, 6}, at::kInt);
  const KeptSets kept = Sets{{1, 3, 5, 0, 2}, {0, 3, 5, 5}};
  const Tensors inputs{at::randn({3, 5}), at::randn({7, 5})};
  check_finite_differences(run(token_logprobs, targets, 0.7), inputs, 5e-3);
  check_finite_differences(run(token_logprobs, targets, 1.0, kept), inputs, 5e-3);
}

TEST(TokenLogprobsGradient, of_the_entropy_alone_and_of_the_logprobs_alone_add_up) {
  const Tensor targets = at::tensor({3, 0, 6}, at::kInt), hidden = at::randn({3, 5}), head = at::randn({7, 5});
  const auto gradient = [&](bool logprobs, bool entropy) {
    const Tensor leaf = hidden.clone().requires_grad_(true);
    const TokenLogprobs out = token_logprobs(leaf, head, targets, 0.7);
    (logprobs && entropy ? out.logprobs.sum() + out.entropy.sum()
     : logprobs          ? out.logprobs.sum()
                         : out.entropy.sum())
        .backward();
    return leaf.grad();
  };
  EXPECT_TRUE(at::allclose(gradient(true, false) + gradient(false, true), gradient(true, true), 1e-5, 1e-6));
  EXPECT_GT(gradient(false, true).abs().max().item<float>(), 1e-3);
}

TEST(TokenLogprobsRefuse, to_learn_where_there_is_no_place_for_a_gradient) {
  const Tensor hidden = at::randn({3, 4}), head = at::randn({7, 4}).requires_grad_(), targets = at::zeros({3}, at::kInt);
  const auto ones = [](int64_t rows) {
    return [=](int64_t, const TokenLogprobs&) { return TokenLogprobs{at::ones({rows}), {}}; };
  };
  EXPECT_ERROR(learn_tokens(hidden, head, targets, 1, {}, ones(3)), "[learn_tokens] expected a head that has a gradient");
  EXPECT_ERROR(learn_tokens(hidden, head.detach(), targets, 1, {}, ones(2)),
               "[learn_tokens] expected gradients of a chunk's 3 tokens");
  EXPECT_ERROR(learn_tokens(hidden, head.detach(), targets, 0, {}, ones(3)), "[token_logprobs] expected a temperature");
}

TEST(TokenLogprobsRefuse, what_does_not_fit) {
  const Tensor hidden = at::randn({3, 5}), head = at::randn({7, 5}), targets = at::zeros({3}, at::kInt);
  EXPECT_ERROR(token_logprobs(hidden, at::randn({7, 4}), targets, 1),
               "[token_logprobs] expected hidden [tokens, hidden] and head");
  EXPECT_ERROR(token_logprobs(hidden, head.to(at::kBFloat16), targets, 1),
               "[token_logprobs] expected head to be Float");
  EXPECT_ERROR(token_logprobs(hidden.to(at::kHalf), head.to(at::kHalf), targets, 1),
               "[token_logprobs] expected float32 or");
  EXPECT_ERROR(token_logprobs(hidden, head, targets.to(at::kLong), 1),
               "[token_logprobs] expected int32 targets [3], got Long");
  EXPECT_ERROR(token_logprobs(hidden, head, at::zeros({2}, at::kInt), 1),
               "[token_logprobs] expected int32 targets [3]");
  for (const double temperature : {0.0, -1.0, double(NAN)})
    EXPECT_ERROR(token_logprobs(hidden, head, targets, temperature), "[token_logprobs] expected a temperature above 0");
  for (const int id : {-1, 7})
    EXPECT_ERROR(token_logprobs(hidden, head, at::full({3}, id, at::kInt), 1),
                 "[token_logprobs] expected targets in [0, 7), got " + std::to_string(id));
  EXPECT_ERROR(token_logprobs(hidden, head, targets, 1, Sets{{0, 1}, {0, 2}}),
               "[token_logprobs] expected kept sets of 3 tokens: int32 ids");
  EXPECT_ERROR(token_logprobs(hidden, head, targets, 1, Sets{{0, 1}, {0, 1, 1, 3}}),
               "[token_logprobs] expected kept sets whose starts ascend");
  EXPECT_ERROR(token_logprobs(hidden, head, targets, 1, Sets{{0, 7}, {0, 1, 1, 2}}),
               "[token_logprobs] expected kept ids in [0, 7), got 7");
  EXPECT_ERROR(logits(hidden, at::randn({7, 4})), "[logits] expected hidden [tokens, hidden] and head [vocab, hidden]");
  EXPECT_ERROR(logits(hidden, head.to(at::kBFloat16)), "[logits] expected head to be Float");
}

}  // namespace
}  // namespace grpo
