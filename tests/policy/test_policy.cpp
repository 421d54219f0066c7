// The policy: its weights and its one forward in all its forms.
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <memory>
#include <span>
#include <thread>
#include <type_traits>

#include "base/parallel.h"
#include "error_of.h"
#include "grpo/policy.h"
#include "kernels/cpu/cpu.h"
#include "op_test.h"
#include "policies.h"
#include "reference_policy.h"
#include "tokens_seen.h"

namespace grpo {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

const std::vector<int32_t> kLengths{17, 5, 16, 0, 33, 9}, kParents{-1, 0, 0, 0, -1, 4};

class PolicyTest : public ::testing::TestWithParam<std::tuple<Kind, DType>> {
 protected:
  void SetUp() override { at::manual_seed(11); }
  void TearDown() override { set_num_threads(threads_); }
  Policy make() const { return lively(std::get<0>(GetParam()).config, std::get<1>(GetParam())); }
  int threads_ = num_threads();
};
INSTANTIATE_TEST_SUITE_P(Kind, PolicyTest,
                         ::testing::Combine(::testing::ValuesIn(kKinds),
                                            ::testing::Values(DType::float32, DType::bfloat16)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param).name) +
                                  (std::get<1>(info.param) == DType::float32 ? "_fp32" : "_bf16");
                         });

TEST_P(PolicyTest, hidden_states_of_a_batch_are_those_of_each_sequence_alone) {
  at::NoGradGuard guard;
  const Policy policy = make();
  const auto tokens = random_tokens(kLengths);
  const Pass batch = pass_of(tokens, kParents);
  for (const int threads : {1, 2}) {
    set_num_threads(threads);
    const Tensor all = policy.hidden(batch);
    for (size_t s = 0; s < tokens.size(); ++s) {
      const Tensor mine = all.slice(0, batch.host_starts[s], batch.host_starts[s + 1]);
      if (kParents[s] < 0) {
        EXPECT_TRUE(same_bits(policy.hidden(pass_of({tokens[s]}, {-1})), mine)) << "segment " << s;
        continue;
      }
      const auto& prompt = tokens[kParents[s]];
      const Tensor pair = policy.hidden(pass_of({prompt, tokens[s]}, {-1, 0}));
      EXPECT_TRUE(same_bits(pair.slice(0, std::ssize(prompt)), mine)) << "segment " << s;
    }
  }
}

TEST_P(PolicyTest, sampling_out_of_pages_gives_the_training_forwards_bits) {
  at::NoGradGuard guard;
  const Policy policy = make();
  const auto tokens = random_tokens(kLengths);
  const Pass batch = pass_of(tokens, kParents);
  const Tensor all = policy.hidden(batch);
  KvPages pages = policy.make_pages(32, 16);
  std::vector<int32_t> done(tokens.size(), 0);
  const auto slots = std::ssize(tokens);
  PageTable table{16, at::zeros({slots, 3}, at::kInt), at::zeros({slots}, at::kInt), at::tensor(kParents, at::kInt)};
  for (int64_t s = 0; s < slots; ++s)
    for (int64_t i = 0; i < 3; ++i) table.pages[s][i] = (s * 3 + i) * 7 % 32;  // up to 3 each, scattered
  const KvView view{&pages, &table};
  for (int number = 0, fed = 1; fed > 0; ++number) {
    PassBuilder step;
    std::vector<int64_t> rows;
    table.lengths.copy_(at::tensor(done, at::kInt));
    for (size_t s = 0; s < tokens.size(); ++s) {
      const int32_t parent = kParents[s], prompt = parent < 0 ? 0 : kLengths[parent], left = kLengths[s] - done[s];
      if (left == 0 || (parent >= 0 && table.lengths[parent].item<int32_t>() < prompt)) continue;
      const int32_t count = std::min<int32_t>(left, parent < 0 ? 7 : 1);  // prompts in chunks, completions by the token
      for (int32_t i = 0; i < count; ++i) rows.push_back(batch.host_starts[s] + done[s] + i);
      step.add_to_slot(std::span(tokens[s]).subspan(done[s], count), prompt + done[s], static_cast<int32_t>(s));
      done[s] += count;
    }
    fed = static_cast<int>(rows.size());
    if (fed == 0) break;
    const Tensor index = at::tensor(rows, at::kLong);
    EXPECT_TRUE(same_bits(policy.hidden(step.build(), &view), all.index_select(0, index))) << "pass " << number;
  }
  EXPECT_EQ(done, kLengths);
}

TEST_P(PolicyTest, every_parameter_gets_a_gradient) {
  const Policy policy = make();
  policy.hidden(pass_of(random_tokens({40, 30}), {-1, 0})).square().sum().backward();
  for (const auto& [name, parameter] : policy.parameters()) {
    if (name == "lm_head.weight") continue;  // not part of `hidden`
    ASSERT_TRUE(parameter.grad().defined()) << name;
    EXPECT_GT(parameter.grad().abs().max().item<float>(), 0) << name;
    EXPECT_EQ(parameter.grad().scalar_type(), at::kFloat) << name;
  }
}

// Bytes that forward passes hold on to while it lives.
class Held : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device) override { bytes_ += bytes; }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

TEST_P(PolicyTest, recomputed_layers_give_the_same_bits_and_hold_little) {
  PolicyConfig config = std::get<0>(GetParam()).config;
  config.moe.auxiliary_loss = 0.3;
  config.layers = 5;
  const Policy policy = lively(config, std::get<1>(GetParam()));
  const Pass batch = pass_of(random_tokens(kLengths), kParents);
  struct Outcome {
    RouterRecord record;
    Tensors tensors;  // hidden states and gradients
    int64_t held;
  };
  const auto run = [&](Recompute recompute) {
    Outcome out{{{}, {}, 2 * batch.live()}, {}, 0};
    const auto held = std::make_shared<Held>();
    Tensor hidden;
    {
      const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, held);
      hidden = policy.hidden(batch, nullptr, &out.record, nullptr, recompute);
    }
    out.held = held->bytes();
    out.tensors.push_back(hidden.detach());
    (hidden * at::arange(hidden.numel()).view_as(hidden).sin().to(hidden.scalar_type())).sum().backward();
    for (auto [name, parameter] : policy.parameters()) {
      if (name == "lm_head.weight") continue;
      out.tensors.push_back(parameter.grad());
      parameter.mutable_grad() = Tensor();
    }
    return out;
  };
  const Outcome expected = run(Recompute::none), got = run(Recompute::layers);
  EXPECT_LT(4 * got.held, expected.held);
  for (size_t i = 0; i < expected.tensors.size(); ++i) EXPECT_TRUE(same_bits(got.tensors[i], expected.tensors[i])) << i;
  if (config.moe.experts == 0) return;
  EXPECT_TRUE(same_bits(got.record.load, expected.record.load)) << "counted once";
  EXPECT_TRUE(same_bits(got.record.auxiliary_loss, expected.record.auxiliary_loss));
}

TEST_P(PolicyTest, a_snapshot_computes_the_same_and_goes_its_own_way) {
  Policy policy = make();
  const Policy copy = policy.snapshot();
  const Pass batch = pass_of(random_tokens({12}), {-1});
  const Tensor before = policy.hidden(batch);
  EXPECT_TRUE(same_bits(copy.hidden(batch), before));
  EXPECT_FALSE(copy.hidden(batch).requires_grad());
  EXPECT_TRUE(before.requires_grad());
  NamedTensors changed;
  for (const auto& [name, tensor] : policy.state()) changed.emplace_back(name, tensor + 0.5);
  policy.load_state(changed);
  EXPECT_TRUE(same_bits(copy.hidden(batch), before));
  EXPECT_FALSE(same_bits(policy.hidden(batch), before));
}

class PolicyForward : public ::testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Kind, PolicyForward, ::testing::ValuesIn(kKinds),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(PolicyForward, is_the_forward_that_the_references_spell_out) {
  PolicyConfig config = GetParam().config;
  config.moe.auxiliary_loss = 0.3;
  const Policy policy = lively(config, DType::float32);
  const Pass batch = pass_of(random_tokens(kLengths), kParents);
  Tensor auxiliary;
  const Tensor expected = reference_hidden(policy, batch, &auxiliary);
  RouterRecord record{{}, {}, batch.live()};
  expect_close(policy.hidden(batch, nullptr, &record), expected, 1e-4, 1e-4, "hidden");
  ASSERT_EQ(record.auxiliary_loss.defined(), config.moe.experts > 0);
  if (config.moe.experts > 0) {
    EXPECT_NEAR(record.auxiliary_loss.item<double>(), auxiliary.item<float>(), 1e-5);
  }
  int moe_layers = 0;
  for (int i = 0; i < config.layers; ++i) moe_layers += config.is_moe(i);
  if (moe_layers == 0) return;
  ASSERT_EQ(record.load.sizes(), at::IntArrayRef({moe_layers, config.moe.experts}));
  EXPECT_TRUE(record.load.sum(-1).eq(batch.live() * config.moe.experts_per_token).all().item<bool>());
}

TEST_P(PolicyForward, gradients_agree_with_finite_differences) {
  PolicyConfig config = GetParam().config;
  config.layers = config.moe.dense_layers + 1;
  config.moe.auxiliary_loss = 0.5;
  Policy policy = lively(config, DType::float32);
  NamedTensors decided = policy.state();  // no parameter is to change the choice of experts, which is a step
  for (auto& [name, tensor] : decided)
    if (name.find("correction_bias") != std::string::npos)
      tensor = at::tensor({3.f, 0.f, 7.f, 0.f, 5.f, 0.f}).slice(0, 0, config.moe.experts);
  policy.load_state(decided);
  const Pass batch = pass_of(random_tokens({6, 3, 4}), {-1, 0, 0});
  const Tensor targets = at::randint(37, {13}, at::kInt), dy = at::randn({13}), dentropy = at::randn({13});
  RouterRecord record;
  const auto loss = [&] {
    record = {{}, {}, batch.live()};
    const TokenLogprobs out = policy.token_logprobs(policy.hidden(batch, nullptr, &record), targets, 0.8);
    const Tensor total = (out.logprobs * dy + out.entropy * dentropy).to(at::kDouble).sum();
    // Its gradient comes with that of the hidden states.
    return record.auxiliary_loss.defined() ? total + record.auxiliary_loss : total;
  };
  loss().backward();
  at::NoGradGuard guard;
  for (const auto& [name, parameter] : policy.parameters()) {
    const Tensor gradient = parameter.grad(), v = at::randn_like(parameter), original = parameter.clone();
    const double step = 2e-3;
    parameter.copy_(original + v * step);
    double difference = loss().item<double>();
    parameter.copy_(original - v * step);
    difference = (difference - loss().item<double>()) / (2 * step);
    parameter.copy_(original);
    EXPECT_NEAR(difference, (gradient * v).sum().item<double>(), 0.02 * gradient.norm().item<double>() + 5e-3) << name;
  }
}

TEST(PolicyWeights, are_a_pure_function_of_the_seed) {
  const Policy a(moe_config(), 5), b(moe_config(), 5), c(moe_config(), 6);
  const NamedTensors x = a.state(), y = b.state(), z = c.state();
  ASSERT_EQ(x.size(), y.size());
  int different = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(x[i].first, y[i].first);
    EXPECT_TRUE(same_bits(x[i].second, y[i].second)) << x[i].first;
    different += !same_bits(x[i].second, z[i].second);
  }
  EXPECT_GT(different, 10);
}

TEST(PolicyWeights, have_the_deviation_that_the_config_says) {
  PolicyConfig config = moe_config();
  config.vocab_size = 2000;
  config.init_std = 0.05;
  std::map<std::string, Tensor> w;
  for (const auto& [name, tensor] : Policy(config, 1).state()) w[name] = tensor;
  EXPECT_NEAR(w["model.embed_tokens.weight"].std().item<float>(), 0.05, 5e-4);
  EXPECT_NEAR(w["model.embed_tokens.weight"].mean().item<float>(), 0, 1e-3);
  EXPECT_NEAR(w["model.layers.1.mlp.experts.gate_up_proj"].std().item<float>(), 0.05, 3e-3);
  EXPECT_NEAR(w["model.layers.1.mlp.experts.down_proj"].std().item<float>(), 0.05 / std::sqrt(2.0 * 2), 2e-3);
  EXPECT_TRUE(w["model.norm.weight"].eq(1).all().item<bool>());
  EXPECT_EQ(w["model.layers.0.mlp.gate.weight"].scalar_type(), at::kFloat);
}

TEST(PolicyWeights, are_as_many_as_the_config_implies) {
  const int64_t attention = (4 + 2 * 2) * 6 * 24 + 24 * 24 + 2 * 24;
  const int64_t expert = 3 * 12 * 24;
  EXPECT_EQ(Policy(dense_config(), 1).parameter_count(), 37 * 24 + 24 + 2 * (attention + 3 * 40 * 24));
  EXPECT_EQ(Policy(dense_config(), 1).active_count(), Policy(dense_config(), 1).parameter_count());
  const int64_t dressed = 8 * 10 * 24 + 8 * 10 + 2 * 10 + 24 * 40 + 2 * 24;
  EXPECT_EQ(Policy(dressed_config(), 1).parameter_count(), 2 * 37 * 24 + 24 + 2 * (dressed + 3 * 40 * 24));
  EXPECT_EQ(Policy(moe_config(), 1).parameter_count(), 37 * 24 + 24 + 2 * (attention + 5 * 24 + 6 * expert));
  EXPECT_EQ(Policy(moe_config(), 1).active_count(), 37 * 24 + 24 + 2 * (attention + 5 * 24 + 3 * expert));
  EXPECT_EQ(Policy(late_moe_config(), 1).parameter_count(),
            37 * 24 + 24 + (attention + 3 * 40 * 24) + 2 * (attention + 5 * 24 + 5 * expert));
}

TEST(Policy, describes_itself) {
  // (Which kernels run and on how many threads is of this machine.)
  EXPECT_THAT(Policy(moe_config(), 1).describe(),
              AllOf(HasSubstr("5 experts top-2 + 1 shared"),
                    HasSubstr("· cpu " + std::string(cpu::table().name) + " float32, " +
                              std::to_string(num_threads()) + " thread")));
  EXPECT_THAT(Policy(dense_config(), 1).describe(), ::testing::Not(HasSubstr("experts")));
}

static_assert(!std::is_copy_constructible_v<Policy> && !std::is_copy_assignable_v<Policy>);
static_assert(std::is_nothrow_move_constructible_v<Policy> && std::is_nothrow_move_assignable_v<Policy>);

TEST(Policy, takes_over_the_weights_of_another_in_place_with_their_version) {
  Policy policy = lively(moe_config(), DType::float32);
  Policy copy(moe_config(), 9);
  const Pass batch = pass_of({{1, 2, 3}}, {-1});
  const Tensor before = policy.hidden(batch);
  const void* memory = copy.parameters()[0].second.data_ptr();
  copy.copy_from(policy);
  EXPECT_EQ(copy.parameters()[0].second.data_ptr(), memory);
  EXPECT_TRUE(same_bits(copy.hidden(batch), before));
  EXPECT_TRUE(copy.hidden(batch).requires_grad()) << "it can be trained";
  EXPECT_EQ(copy.version(), policy.version());
  EXPECT_EQ(policy.snapshot().version(), policy.version());
  NamedTensors changed;
  for (const auto& [name, tensor] : policy.state()) changed.emplace_back(name, tensor + 0.5);
  policy.load_state(changed);
  EXPECT_GT(policy.version(), copy.version());
  EXPECT_FALSE(same_bits(policy.hidden(batch), before));
  EXPECT_TRUE(same_bits(copy.hidden(batch), before));
  const Policy other(late_moe_config(), 1);
  EXPECT_ERROR(copy.copy_from(other), "expected the tensors of this configuration");
  EXPECT_TRUE(same_bits(copy.hidden(batch), before));
  const Tensor changed_too = policy.hidden(batch);
  const Policy moved = std::move(policy);
  EXPECT_TRUE(same_bits(moved.hidden(batch), changed_too));
}

TEST(Policy, is_read_by_several_threads_at_once) {
  const Policy policy = lively(moe_config(), DType::float32);
  const Pass batch = pass_of({{1, 2, 3}, {4, 5}}, {-1, 0});
  const Tensor expected = policy.hidden(batch).detach();
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      at::NoGradGuard guard;
      for (int i = 0; i < 50; ++i) wrong += !same_bits(policy.hidden(batch), expected);
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(PolicyRefuses, what_its_ops_would_read_past_an_end_for) {
  const Policy policy = lively(moe_config(), DType::float32);
  const int vocab = policy.config().vocab_size, most = policy.config().max_positions;
  const auto refusal = [&](auto change) {
    Pass batch = pass_of({{1, 2, 3}, {4, 5}}, {-1, 0});
    change(batch);
    try {
      policy.hidden(batch);
    } catch (const std::exception& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(refusal([](Pass&) {}), "");
  EXPECT_NE(refusal([&](Pass& s) { s.tokens[1] = vocab; }), "");
  EXPECT_NE(refusal([&](Pass& s) { s.tokens[1] = -1; }), "");
  EXPECT_THAT(refusal([&](Pass& s) { s.positions[4] = most; }),
              HasSubstr("[rope] expected positions in [0, " + std::to_string(most) + "), got " + std::to_string(most)));
  EXPECT_THAT(refusal([&](Pass& s) { s.positions[4] = -1; }), HasSubstr("got -1 at token 4"));
  EXPECT_THAT(refusal([](Pass& s) { s.positions = s.positions.slice(0, 1); }), HasSubstr("a position for each"));
  EXPECT_THAT(refusal([](Pass& s) { s.tokens = Tensor(); }), HasSubstr("expected tokens [T]"));
  EXPECT_THAT(refusal([](Pass& s) { s.host_starts.back() = 6; }), HasSubstr("expected tokens [T]"));

  // Slot 1 has three tokens to come, behind those of slot 0.
  const auto paged = [&](auto change) {
    KvPages pages = policy.make_pages(4, 16);
    PassBuilder builder;
    builder.add_to_slot(std::vector<int32_t>{1, 2, 3}, 0, 1);
    Pass pass = builder.build();
    PageTable table{16, at::tensor({1, 0, 3, 2}, at::kInt).view({2, 2}), at::tensor({20, 0}, at::kInt),
                    at::tensor({-1, 0}, at::kInt)};
    KvView view{&pages, &table};
    change(view, table, pass);
    return error_of([&] {
      at::NoGradGuard guard;
      policy.hidden(pass, &view);
    });
  };
  const auto with = [&](Tensor PageTable::*member, int64_t at, int32_t value) {
    return paged([=](KvView&, PageTable& table, Pass&) { (table.*member).flatten()[at] = value; });
  };
  EXPECT_EQ(paged([](KvView&, PageTable&, Pass&) {}), "(no error)");
  EXPECT_THAT(with(&PageTable::pages, 2, 4), HasSubstr("expected pages in [0, 4), got 4"));
  EXPECT_THAT(with(&PageTable::pages, 1, -1), HasSubstr("got -1")) << "of the parent";
  EXPECT_EQ(with(&PageTable::pages, 3, -1), "(no error)") << "not read";
  EXPECT_EQ(with(&PageTable::lengths, 1, 29), "(no error)") << "fills its pages";
  EXPECT_THAT(with(&PageTable::lengths, 1, 30),
              HasSubstr("expected pages that hold segment 0, got 32 places for tokens 30 to 33"));
  EXPECT_THAT(with(&PageTable::lengths, 1, -1), HasSubstr("expected pages that hold segment 0"));
  EXPECT_THAT(with(&PageTable::lengths, 0, 33), HasSubstr("expected pages that hold segment 0"));
  EXPECT_THAT(with(&PageTable::parents, 1, 2), HasSubstr("expected parents below 2, got 2"));
  EXPECT_THAT(paged([](KvView&, PageTable&, Pass& pass) { pass.slots[0] = 2; }), HasSubstr("expected slots below 2"));
  EXPECT_EQ(paged([](KvView&, PageTable&, Pass& pass) { pass.slots[0] = -1; }), "(no error)") << "inert";
  EXPECT_THAT(paged([](KvView& view, PageTable&, Pass&) { view.pages->pop_back(); }),
              HasSubstr("expected pages of 2 layers, got 1"));
  EXPECT_THAT(paged([](KvView& view, PageTable&, Pass&) { view.pages = nullptr; }), HasSubstr("layers, got 0"));
  EXPECT_THAT(paged([](KvView& view, PageTable&, Pass&) { view.table = nullptr; }), HasSubstr("together with a table"));
  EXPECT_THAT(paged([](KvView&, PageTable&, Pass& pass) { pass.slots = Tensor(); }), HasSubstr("a pass with slots"));
  EXPECT_THAT(paged([](KvView&, PageTable& table, Pass&) { table.lengths = table.lengths.to(at::kLong); }),
              HasSubstr("expected a page table of int32"));
  EXPECT_THAT(paged([](KvView&, PageTable& table, Pass&) { table.parents = table.parents.slice(0, 1); }),
              HasSubstr("expected a page table of int32"));
  EXPECT_THAT(paged([](KvView&, PageTable& table, Pass&) { table.page_size = 32; }),
              HasSubstr("expected 4 pages of 2 heads and 32 tokens, got 4 of 2 and 16"));

  std::vector<SharedRows> shared(1);
  EXPECT_THAT(error_of([&] { policy.hidden(pass_of({{1}}, {-1}), nullptr, nullptr, &shared); }),
              HasSubstr("expected shared rows of 2 layers and no pages, got 1"));
}

TEST(Policy, tells_observers_of_its_tokens) {
  const Policy policy(dense_config(), 1);
  TokensSeen seen;
  policy.hidden(pass_of({{1, 2, 3}, {4, 5}}, {-1, 0}));
  policy.hidden(pass_of({{1}}, {-1}));
  EXPECT_EQ(seen.take(), 6);
}

TEST(Policy, pages_have_the_size_that_page_bytes_says) {
  const Policy policy = lively(dressed_config(), DType::bfloat16);
  double bytes = 0;
  for (const LayerPages& layer : policy.make_pages(7, 32))
    bytes += static_cast<double>(layer.keys.numel() + layer.values.numel()) * 2;
  EXPECT_EQ(bytes, 7 * policy.config().page_bytes(32));
  // A latent and a rotary key for each token, and nothing else.
  const Policy latent = lively(latent_config(), DType::float32);
  for (const LayerPages& layer : latent.make_pages(7, 32)) {
    EXPECT_FALSE(layer.keys.defined());
    EXPECT_EQ(layer.values.numel(), 7 * 32 * (14 + 6));
  }
  EXPECT_EQ(latent.config().page_bytes(32), 2 * 32 * (14 + 6) * 4);
  EXPECT_ERROR(policy.make_pages(7, 24), "[policy] expected a page_size that is a multiple of 16, got 24");
}

TEST(PolicyConfigRefuses, what_makes_no_model) {
  const auto broken = [](auto change) {
    PolicyConfig config = moe_config();
    change(config);
    return [config] { Policy(config, 1); };
  };
  const auto says = [](const char* text) { return ::testing::ThrowsMessage<Error>(HasSubstr(text)); };
  EXPECT_THAT(broken([](auto& c) { c.attention = Attention::mla, c.mla.qk_rope_head_dim = 5; }),
              says("policy.mla.qk_rope_head_dim: expected a multiple of 2 with 2 <= x <= 65536, got 5"));
  EXPECT_THAT(broken([](auto& c) { c.attention = Attention::mla, c.attention_bias = true; }),
              says("policy.attention_bias: expected false with attention = mla"));
  EXPECT_THAT(broken([](auto& c) { c.moe.groups = 2; }), says("policy.moe.groups: expected a divisor of"));
  EXPECT_THAT(
      broken([](auto& c) { c.moe.groups = 5; }),
      says("policy.moe.groups_per_token: expected up to 5 groups of 1 experts that hold the 2 of a token, got 1"));
  EXPECT_THAT(broken([](auto& c) { c.kv_heads = 3; }),
              says("policy.heads: expected a multiple of policy.kv_heads = 3, got 4"));
  EXPECT_THAT(broken([](auto& c) { c.hidden_size = 26; }),
              says("policy.hidden_size: expected a multiple of policy.heads"));
  EXPECT_THAT(broken([](auto& c) { c.head_dim = 7; }), says("policy.head_dim: expected an even number"));
  EXPECT_THAT(broken([](auto& c) { c.vocab_size = 0; }), says("policy.vocab_size"));
  EXPECT_THAT(broken([](auto& c) { c.hidden_size = 1024, c.layers = 1 << 12, c.moe.intermediate_size = 1 << 20; }),
              says("policy: expected weights that fit into the memory of this machine"));
  EXPECT_THAT(broken([](auto& c) { c.layers = 0; }), says("policy.layers: expected 1 <= x <= 4096, got 0"));
  EXPECT_THAT(broken([](auto& c) { c.head_dim = 8, c.max_positions = 60'000'000; }),
              says("policy.max_positions: expected at most 16777216, whose rotary angles take half a gigabyte, got "
                   "60000000"));
  EXPECT_THAT(broken([](auto& c) { c.moe.experts_per_token = 6; }),
              says("policy.moe.experts_per_token: expected 1 … 5, got 6"));
  EXPECT_THAT(broken([](auto& c) { c.moe.shared_experts = -1; }),
              says("policy.moe.shared_experts: expected 0 <= x <= 65536"));
}

TEST(PolicyState, that_does_not_fit_is_refused_and_changes_nothing) {
  Policy policy(moe_config(), 1);
  const auto values = [&] {
    Tensors all;
    for (const auto& [name, tensor] : policy.state()) all.push_back(tensor.clone());
    return all;
  };
  const Tensors before = values();
  const NamedTensors other = Policy(moe_config(), 2).state();
  NamedTensors missing = other, unknown = other, misshapen = other;
  missing.pop_back();
  unknown.emplace_back("model.layers.9.mystery", at::ones({2}));
  misshapen.back().second = at::ones({6});
  EXPECT_ERROR(policy.load_state(missing),
               "[policy] expected a tensor named \"model.layers.1.mlp.gate.e_score_correction_bias\", got none");
  EXPECT_ERROR(policy.load_state(unknown), "got an unknown one named \"model.layers.9.mystery\"");
  EXPECT_ERROR(policy.load_state(misshapen), "e_score_correction_bias\": expected shape [5], got [6]");
  const Tensors after = values();
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(same_bits(before[i], after[i]));
  policy.load_state(other);
  for (size_t i = 0; i < other.size(); ++i) EXPECT_TRUE(same_bits(policy.state()[i].second, other[i].second));
  EXPECT_TRUE(policy.parameters()[0].second.requires_grad());
}

}  // namespace
}  // namespace grpo
