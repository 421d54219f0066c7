// The CUDA kernels against the ops' reference, and their bits against each other. Built twice: as they are, for a card,
// and compiled for the CPU (kernels/cuda/emulator.h), where their logic is tested without one.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "base/philox.h"
#include "grpo/ops.h"
#include "kernels/cpu/sample.h"
#include "kernels/cuda/kernels.h"

namespace grpo {
namespace {

#ifdef GRPO_EMULATED
constexpr at::DeviceType kWhere = at::kCPU;
#else
constexpr at::DeviceType kWhere = at::kCUDA;
#endif

class CudaKernels : public testing::Test {
 protected:
  void SetUp() override {
    if (kWhere == at::kCUDA && (!dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) || !at::hasCUDA()))
      GTEST_SKIP() << "no GPU here";
    at::manual_seed(7);
    at::set_num_threads(1);  // for the references: the cores are busy already
  }
};

Tensor there(const Tensor& t) { return t.to(kWhere).contiguous(); }
Tensor randn(at::IntArrayRef shape, double deviation = 1.0) {
  return there((at::randn(shape) * deviation).to(at::kBFloat16));
}
Tensor like(at::IntArrayRef shape, at::ScalarType type = at::kBFloat16) {  // NaN, or a number that nobody means
  return type == at::kInt ? at::full(shape, -77, at::TensorOptions(kWhere).dtype(type))
                          : at::full(shape, NAN, at::TensorOptions(kWhere).dtype(type));
}
// Of a bf16 result: a rounding of the last bit or two beside what fp32 gives.
void expect_near(const Tensor& got, const Tensor& expected, double tolerance = 0.01) {
  ASSERT_EQ(got.sizes(), expected.sizes());
  const Tensor a = got.cpu().to(at::kFloat), b = expected.cpu().to(at::kFloat);
  EXPECT_TRUE(at::allclose(a, b, tolerance, tolerance, /*equal_nan=*/true))
      << "most " << (a - b).abs().max().item<float>();
}
bool same_bits(const Tensor& a, const Tensor& b) { return at::equal(a.cpu().view(at::kShort), b.cpu().view(at::kShort)); }

// Every op in fp32 of the same bf16 numbers.
Tensor wide(const Tensor& t) { return t.cpu().to(at::kFloat); }

TEST_F(CudaKernels, rows_equal_the_reference) {
  for (const int64_t n : {1, 7, 8, 31, 64, 576, 1032}) {
    SCOPED_TRACE(n);
    const Tensor x = randn({5, n}), weight = randn({n}), gate_up = randn({5, 2 * n}, 3.0), table = randn({11, n});
    Tensor y = like({5, n});
    cuda::rms_norm({}, 5, n, x.data_ptr(), weight.data_ptr(), 1e-6f, y.data_ptr());
    expect_near(y, reference::rms_norm(wide(x), wide(weight), 1e-6));
    const Tensor more = randn({5, n});
    Tensor sum = like({5, n}), normed = like({5, n});
    y = like({5, n});
    cuda::add_rms_norm({}, 5, n, x.data_ptr(), more.data_ptr(), sum.data_ptr(), weight.data_ptr(), 1e-6f, normed.data_ptr());
    EXPECT_TRUE(same_bits(sum, x + more));
    cuda::rms_norm({}, 5, n, sum.data_ptr(), weight.data_ptr(), 1e-6f, y.data_ptr());
    EXPECT_TRUE(same_bits(normed, y));
    y = like({5, n});
    cuda::swiglu({}, 5, n, gate_up.data_ptr(), y.data_ptr());
    expect_near(y, reference::swiglu(wide(gate_up)));
    y = like({4, n});
    const Tensor tokens = there(at::tensor({10, 0, 3, 3}, at::kInt));
    cuda::embedding({}, 4, n, table.data_ptr(), tokens.data_ptr<int32_t>(), y.data_ptr());
    EXPECT_TRUE(same_bits(y, table.index_select(0, tokens)));
  }
}

TEST_F(CudaKernels, a_row_that_is_not_finite_stays_alone) {
  Tensor x = randn({3, 40});
  const Tensor weight = randn({40});
  x[1][17] = NAN;
  Tensor y = like({3, 40});
  cuda::rms_norm({}, 3, 40, x.data_ptr(), weight.data_ptr(), 1e-6f, y.data_ptr());
  EXPECT_THAT((std::vector<bool>{y[0].isnan().any().item<bool>(), y[1].isnan().all().item<bool>(),
                                 y[2].isnan().any().item<bool>()}),
              testing::ElementsAre(false, true, false));
}

TEST_F(CudaKernels, rope_equals_the_reference) {
  for (const HeadLayout& layout : {HeadLayout{3, 1, 32}, HeadLayout{2, 2, 64}, HeadLayout{4, 2, 80, 0, 20},
                                   HeadLayout{2, 1, 48, 40, 8}, HeadLayout{1, 1, 6}})
    for (const bool interleaved : {false, true})
      for (const bool normed : {false, true}) {
        const Tensor qkv = randn({5, layout.width()}), q_norm = randn({layout.head_dim}), k_norm = randn({layout.head_dim});
        const Tensor positions = there(at::tensor({0, 3, 9, 2, 19}, at::kInt));
        const Tensor table = rope_table(20, layout.rotary_dim(), 1e4), angles = there(table);
        Tensor y = like(qkv.sizes());
        cuda::rope({}, {5, layout, interleaved, positions.data_ptr<int32_t>(), angles.data_ptr<float>(),
                        normed ? q_norm.data_ptr() : nullptr, normed ? k_norm.data_ptr() : nullptr, 1e-6f},
                   qkv.data_ptr(), y.data_ptr());
        const auto norm = [&](const Tensor& t) { return normed ? std::optional<Tensor>(wide(t)) : std::nullopt; };
        expect_near(y, reference::rope(wide(qkv), positions.cpu(), table, layout, norm(q_norm), norm(k_norm), 1e-6,
                                       interleaved));
      }
}

// ---------------------------------------------------------------------------------------------------------- attention

// Lengths and parents of segments.
struct Family {
  std::vector<int32_t> lengths, parents;
  int32_t start(size_t s) const { return std::accumulate(lengths.begin(), lengths.begin() + s, 0); }
  Pass pass() const {
    PassBuilder builder;
    for (size_t s = 0; s < lengths.size(); ++s) builder.add(std::vector<int32_t>(lengths[s]), 0, parents[s]);
    return builder.build();
  }
};
const Family kFamilies[] = {
    {{1}, {-1}},
    {{65}, {-1}},
    {{64, 1, 64, 2}, {-1, 0, 0, 0}},
    {{3, 70, 0, 5}, {-1, 0, 0, 0}},
    {{130, 66, 7, 33}, {-1, 0, -1, 2}},
    {{70, 2, 2, 3, 2, 2, 2, 1, 2, 2, 2, 2}, {-1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},  // more than one block takes
};
const HeadLayout kHeads[] = {{4, 2, 32},          {2, 2, 64},  {3, 1, 96, 0, 0, 0.3},
                             {1, 1, 128},         {9, 1, 32},  {5, 1, 48, 32, 16, 0.2},
                             {17, 1, 48, 32, 16}, {3, 1, 576, 512, 64, 0.05}};

// An emulator takes its time: large heads see the short families there, and all of them on a card.
bool enough(const HeadLayout& layout, const Family& family) {
  const int64_t tokens = std::accumulate(family.lengths.begin(), family.lengths.end(), int64_t{0});
  return kWhere == at::kCUDA || layout.heads * layout.head_dim * tokens < 32000;
}

Tensor packed(const Family& family, const HeadLayout& layout, const Tensor& qkv) {
  const Pass pass = family.pass();
  const Tensor starts = there(pass.starts), families = there(pass.families);
  Tensor out = like({qkv.size(0), layout.heads * layout.value_dim()}), sums = like({qkv.size(0), layout.heads}, at::kFloat);
  cuda::attention({}, {layout, qkv.size(0), pass.segments(), families.size(0) - 1, starts.data_ptr<int32_t>(),
                       families.data_ptr<int32_t>()},
                  qkv.data_ptr(), out.data_ptr(), sums.data_ptr<float>());
  return out;
}

TEST_F(CudaKernels, attention_equals_the_reference) {
  for (const HeadLayout& layout : kHeads)
    for (const Family& family : kFamilies) {
      if (!enough(layout, family)) continue;
      SCOPED_TRACE(testing::Message() << layout.heads << " heads of " << layout.head_dim << ", "
                                      << testing::PrintToString(family.lengths));
      ASSERT_TRUE(cuda::attends(layout));
      const Pass pass = family.pass();
      const Tensor qkv = randn({pass.live() + 3, layout.width()});  // some rows are inert
      const Tensor out = packed(family, layout, qkv);
      expect_near(out, reference::attention(wide(qkv), pass, layout), 0.02);
      EXPECT_TRUE(out.narrow(0, pass.live(), 3).eq(0).all().item<bool>());
    }
}

// Sets of neighbours with one parent, up to `most` of them, as next_pass makes them.
Tensor siblings_of(const std::vector<int32_t>& slots, const std::vector<int32_t>& parents, int most) {
  const auto parent_of = [&](size_t i) { return i < slots.size() && slots[i] >= 0 ? parents[slots[i]] : -1; };
  std::vector<int32_t> sets{0};
  Tensor member = at::zeros({std::ssize(slots)}, at::kInt);
  for (size_t i = 0; i < slots.size();) {
    size_t end = i + 1;
    while (end < i + most && parent_of(i) >= 0 && parent_of(end) == parent_of(i)) ++end;
    if (end - i > 1) {
      ++sets[0], sets.push_back(static_cast<int32_t>(i)), sets.push_back(static_cast<int32_t>(end - i));
      member.slice(0, i, end).fill_(1);
    }
    i = end;
  }
  Tensor all = at::zeros({1 + 3 * std::ssize(slots)}, at::kInt);
  all.narrow(0, 0, std::ssize(sets)).copy_(at::tensor(sets, at::kInt));
  all.narrow(0, 1 + 2 * std::ssize(slots), std::ssize(slots)).copy_(member);
  return all;
}

// Feeds the segments through pages, some tokens of some of them at a time, or a token of each child as sampling does.
TEST_F(CudaKernels, attention_out_of_pages_has_the_bits_of_packed_attention) {
  std::mt19937 random(5);
  const auto up_to = [&](int n) { return static_cast<int>(random() % n) + 1; };
  for (const HeadLayout& layout : kHeads)
    for (const Family& family : kFamilies)
      for (const bool single : {false, true}) {
        if (!enough(layout, family)) continue;
        const int64_t page_size = layout.heads == 2 ? 64 : 128;
        SCOPED_TRACE(testing::Message() << layout.heads << " heads of " << layout.head_dim << ", "
                                        << testing::PrintToString(family.lengths) << ", pages of " << page_size
                                        << (single ? ", token by token" : ""));
        const auto segments = static_cast<int32_t>(family.lengths.size());
        const Tensor qkv = randn({family.start(segments), layout.width()});
        const Tensor expected = packed(family, layout, qkv);
        Tensor got = like(expected.sizes());
        const int64_t most = 3, count = segments * most + 2;
        Tensor keys = like({count, layout.kv_heads, page_size * layout.head_dim}), values = randn(keys.sizes());  // finite
        const Tensor pages = there(at::randperm(count).narrow(0, 0, segments * most).view({segments, most}).to(at::kInt));
        Tensor lengths = at::zeros({segments}, at::kInt);
        const Tensor parents = there(at::tensor(family.parents, at::kInt));
        const auto done = [&](int s) { return lengths.data_ptr<int32_t>()[s]; };
        for (bool more = true; more;) {
          more = false;
          std::vector<int32_t> starts{0}, slots;
          std::vector<int64_t> rows;
          for (int s = 0; s < segments; ++s) {
            const int left = family.lengths[s] - done(s), parent = family.parents[s];
            if (left == 0 || (parent >= 0 && done(parent) < family.lengths[parent]) || random() % (single ? 9 : 3) == 0) {
              more |= left > 0;
              continue;
            }
            const int now = std::min(left, single && parent >= 0 ? 1 : up_to(s == 0 ? 80 : 40));
            for (int i = 0; i < now; ++i) rows.push_back(family.start(s) + done(s) + i);
            starts.push_back(static_cast<int32_t>(rows.size())), slots.push_back(s);
            more |= true;
          }
          slots.push_back(-1), starts.push_back(static_cast<int32_t>(rows.size()) + 1), rows.push_back(0);  // inert
          const Tensor where = at::tensor(rows, at::kLong).to(kWhere), input = qkv.index_select(0, where);
          const Tensor first = there(at::tensor(starts, at::kInt)), owners = there(at::tensor(slots, at::kInt)),
                       stored = there(lengths);
          Tensor out = like({input.size(0), expected.size(1)});
          Tensor prefix = like({input.size(0), layout.heads, layout.head_dim + 2}, at::kFloat);
          const Tensor siblings = there(siblings_of(slots, family.parents, static_cast<int>(16 * layout.kv_heads / layout.heads)));
          const bool one_each = input.size(0) == std::ssize(slots);
          cuda::paged_attention({}, {layout, input.size(0), page_size, most, first.size(0) - 1,
                                     first.data_ptr<int32_t>(), owners.data_ptr<int32_t>(), pages.data_ptr<int32_t>(),
                                     stored.data_ptr<int32_t>(), parents.data_ptr<int32_t>(), keys.data_ptr(),
                                     values.data_ptr(), one_each ? siblings.data_ptr<int32_t>() : nullptr,
                                     prefix.data_ptr<float>()},
                                input.data_ptr(), out.data_ptr());
          EXPECT_TRUE(out[-1].eq(0).all().item<bool>());
          const int64_t live = input.size(0) - 1;
          got.index_copy_(0, where.narrow(0, 0, live), out.narrow(0, 0, live));
          for (size_t r = 0; r + 1 < slots.size(); ++r) lengths[slots[r]] += starts[r + 1] - starts[r];
        }
        EXPECT_TRUE(same_bits(got, expected));
      }
}

// ------------------------------------------------------------------------------------------------------------ experts

TEST_F(CudaKernels, routing_equals_the_reference) {
  for (const int64_t n : {3, 8, 60})
    for (const Scoring scoring : {Scoring::sigmoid, Scoring::softmax})
      for (const int groups : {1, n % 4 == 0 ? 4 : 1}) {
        RouterOptions options{3, scoring, groups == 1, 1.5, groups, (groups + 1) / 2, 2};
        Tensor logits = at::randn({37, n}), bias = at::randn({n}) * 0.1;
        logits.select(0, 5).fill_(0.25);  // ties
        bias.fill_(0.5).narrow(0, 0, n / 2).add_(0.25);
        logits[7][1] = NAN;
        const Routing expected = reference::route(logits, bias, options);
        const Tensor x = there(logits), b = there(bias);
        Tensor scores = like({37, n}, at::kFloat), chosen = like({37, 3}, at::kInt), weights = like({37, 3}, at::kFloat),
               slots = like({37, 3}, at::kInt), offsets = like({n + 1}, at::kInt);
        cuda::route({}, 37, n, options, x.data_ptr<float>(), b.data_ptr<float>(), scores.data_ptr<float>(),
                    chosen.data_ptr<int32_t>(), weights.data_ptr<float>(), slots.data_ptr<int32_t>(),
                    offsets.data_ptr<int32_t>());
        expect_near(scores, expected.scores, 1e-5);
        EXPECT_TRUE(at::equal(chosen.cpu(), expected.experts)) << n << " experts, " << groups << " groups";
        expect_near(weights, expected.weights, 1e-4);
        EXPECT_TRUE(at::equal(slots.cpu(), expected.slots));
        EXPECT_TRUE(at::equal(offsets.cpu(), expected.offsets));

        const Tensor rows = randn({37, 20}), base = randn({37, 20});
        Tensor sorted = like({37 * 3, 20}), y = like({37, 20});
        cuda::dispatch({}, 37, 20, 3, rows.data_ptr(), slots.data_ptr<int32_t>(), sorted.data_ptr());
        EXPECT_TRUE(same_bits(sorted, reference::dispatch(rows.cpu(), expected)));
        weights.nan_to_num_(0.5);
        Routing finite = expected;
        finite.weights = expected.weights.nan_to_num(0.5);
        cuda::combine({}, 37, 20, 3, sorted.data_ptr(), slots.data_ptr<int32_t>(), weights.data_ptr<float>(),
                      base.data_ptr(), y.data_ptr());
        expect_near(y, reference::combine(wide(sorted), finite, wide(base)));

        // Both ways back, against autograd through the reference.
        const Tensor leaf = wide(sorted).requires_grad_(true), by = finite.weights.clone().requires_grad_(true),
                     dy = randn({37, 20});
        Routing through = finite;
        through.weights = by;
        reference::combine(leaf, through, {}).backward(wide(dy));
        Tensor dx = like({37 * 3, 20}), dweights = like({37, 3}, at::kFloat);
        cuda::combine_backward({}, 37, 20, 3, sorted.data_ptr(), slots.data_ptr<int32_t>(), weights.data_ptr<float>(),
                               dy.data_ptr(), dx.data_ptr(), dweights.data_ptr<float>());
        expect_near(dx, leaf.grad());
        expect_near(dweights, by.grad(), 1e-4);
        const Tensor raw = logits.nan_to_num(0.25).requires_grad_(true), dw = at::randn({37, 3}), ds = at::randn({37, n});
        const Routing routed = reference::route(raw, bias, options);
        ((routed.weights * dw).sum() + (routed.scores * ds).sum()).backward();
        const Tensor s = there(routed.scores.detach()), w = there(routed.weights.detach()), c = there(routed.experts),
                     d = there(dw);
        Tensor dlogits = there(ds);
        cuda::route_backward({}, 37, n, options, s.data_ptr<float>(), c.data_ptr<int32_t>(), w.data_ptr<float>(),
                             d.data_ptr<float>(), dlogits.data_ptr<float>());
        expect_near(dlogits, raw.grad(), 1e-4);
      }
}

TEST_F(CudaKernels, the_routers_product_keeps_a_rows_bits) {
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {64, 96}, {70, 131}, {8, 1024}}) {
    const Tensor a = there(at::randn({29, k})), b = there(at::randn({n, k}));
    Tensor c = like({29, n}, at::kFloat), some = like({3, n}, at::kFloat);
    cuda::narrow_product({}, 29, n, k, a.data_ptr<float>(), b.data_ptr<float>(), c.data_ptr<float>());
    expect_near(c, at::mm(a.cpu().to(at::kDouble), b.cpu().to(at::kDouble).t()), 1e-4);
    const Tensor rows = a.narrow(0, 20, 3).contiguous();
    cuda::narrow_product({}, 3, n, k, rows.data_ptr<float>(), b.data_ptr<float>(), some.data_ptr<float>());
    EXPECT_TRUE(at::equal(some, c.narrow(0, 20, 3)));
  }
}

// ------------------------------------------------------------------------------------------------------------- logits

TEST_F(CudaKernels, log_probabilities_equal_the_reference) {
  for (const int64_t vocab : {1, 33, 1024, 3001}) {
    SCOPED_TRACE(vocab);
    const float scale = 1.0f / 0.7f;
    Tensor logits = at::randn({4, vocab}) * 4;
    const Tensor targets = at::tensor({0, static_cast<int>(vocab / 2), static_cast<int>(vocab) - 1, 0}, at::kInt);
    const std::vector<int32_t> ids{0, static_cast<int32_t>(vocab) - 1};
    const Tensor kept_ids = there(at::tensor(ids, at::kInt)), kept_starts = there(at::tensor({0, 0, 0, 2, 2}, at::kLong));
    Tensor expected = logits * scale;
    for (int64_t id = 1; id + 1 < vocab; ++id) expected[2][id] = -INFINITY;
    expected = at::log_softmax(expected, -1);
    const Tensor entropy = -(expected.exp() * expected.clamp_min(-1e30)).sum(-1);
    Tensor x = there(logits), logprobs = like({4}, at::kFloat), found = like({4}, at::kFloat), sums = like({4}, at::kFloat);
    const Tensor which = there(targets);
    cuda::token_logprobs({}, 4, vocab, x.data_ptr<float>(), scale, which.data_ptr<int32_t>(),
                         {kept_ids.data_ptr<int32_t>(), kept_starts.data_ptr<int64_t>()}, logprobs.data_ptr<float>(),
                         found.data_ptr<float>(), sums.data_ptr<float>());
    expect_near(logprobs, expected.gather(1, targets.to(at::kLong).unsqueeze(1)).squeeze(1), 1e-5);
    expect_near(found, entropy, 1e-4);
    Tensor again = like({4}, at::kFloat);  // of the masked rows: the sampler's own
    cuda::logit_stats({}, 4, vocab, x.data_ptr<float>(), scale, again.data_ptr<float>(), nullptr);
    EXPECT_TRUE(at::equal(again, sums));

    const Tensor leaf = logits.clone().requires_grad_(true), dlogprobs = at::randn({4}), dentropy = at::randn({4});
    Tensor masked = leaf * scale;
    if (vocab > 2) {
      Tensor outside = at::zeros({4, vocab}, at::kBool);
      outside[2].narrow(0, 1, vocab - 2).fill_(true);
      masked = masked.masked_fill(outside, -INFINITY);
    }
    const Tensor all = at::log_softmax(masked, -1);
    const Tensor h = -(all.exp() * all.clamp_min(-1e30)).sum(-1);
    const Tensor at_target = all.gather(1, targets.to(at::kLong).unsqueeze(1)).squeeze(1);
    (at_target * dlogprobs + h * dentropy).nan_to_num(0, 0, 0).sum().backward();
    const Tensor by_logprobs = there(dlogprobs), by_entropy = there(dentropy);
    cuda::token_logprobs_backward({}, 4, vocab, x.data_ptr<float>(), scale, which.data_ptr<int32_t>(),
                                  sums.data_ptr<float>(), found.data_ptr<float>(), by_logprobs.data_ptr<float>(),
                                  by_entropy.data_ptr<float>());
    const Tensor rows = at::tensor({0, 1, 3}, at::kLong);  // row 2's target is its kept set's or −inf
    expect_near(x.cpu().index_select(0, rows), leaf.grad().index_select(0, rows), 1e-4);
    Tensor halves = like({4, vocab});
    cuda::narrow({}, x.data_ptr<float>(), halves.data_ptr(), x.numel());
    EXPECT_TRUE(same_bits(halves, x.to(at::kBFloat16)));
  }
}

// ----------------------------------------------------------------------------------------------------- draws and slots

Tensor keys_of(const std::vector<DrawKey>& keys) {
  Tensor columns = at::empty({std::ssize(keys), kKeyColumns}, at::kLong);
  for (size_t i = 0; i < keys.size(); ++i) write_key(keys[i], columns.data_ptr<int64_t>() + i * kKeyColumns);
  return there(columns);
}

TEST_F(CudaKernels, draws_are_the_cpus_and_their_statistics_trainings) {
  for (const int64_t vocab : {1, 2, 64, 65, 1031, 9001})
    for (const double temperature : {0.0, 0.7}) {
      SCOPED_TRACE(testing::Message() << vocab << " at " << temperature);
      SamplingConfig config;
      config.temperature = temperature;
      Tensor logits = at::randn({3, vocab}) * 3;
      if (vocab > 2) logits[1][0] = -INFINITY;
      std::vector<DrawKey> keys;
      std::vector<int32_t> rows;
      for (uint32_t i = 0; i < 40; ++i)
        rows.push_back(static_cast<int32_t>(i % 3)),
            keys.push_back({uint64_t{0x123456789abcdef} + i % 3, Purpose::evaluation, 9 + i % 2, i / 10, i % 10, 1000 * i});
      rows[7] = -1;
      const auto draws = std::ssize(keys);
      const Tensor x = there(logits), from = there(at::tensor(rows, at::kInt)), by = keys_of(keys);
      Tensor tokens = like({draws}, at::kInt), logprobs = like({draws}, at::kFloat), entropies = like({draws}, at::kFloat);
      cuda::sample({}, {draws, from.data_ptr<int32_t>(), by.data_ptr<int64_t>(), config.scale(), temperature == 0,
                        tokens.data_ptr<int32_t>(), logprobs.data_ptr<float>(), entropies.data_ptr<float>()},
                   vocab, x.data_ptr<float>());
      tokens = tokens.cpu(), logprobs = logprobs.cpu();
      EXPECT_EQ(tokens[7].item<int32_t>(), -77);
      for (int64_t i = 0; i < draws; ++i) {
        if (rows[i] < 0) continue;
        const float* row = logits.data_ptr<float>() + rows[i] * vocab;
        const Draw expected = sample_row(row, vocab, log_sum_exp(row, vocab, 1.0 / config.scale()), config, keys[i]);
        EXPECT_EQ(tokens.data_ptr<int32_t>()[i], expected.token) << "draw " << i;
        EXPECT_NEAR(logprobs.data_ptr<float>()[i], expected.logprob, 2e-5f);
      }
      // The same bits as training finds.
      const Tensor target = there(tokens.narrow(0, 0, 3).contiguous());
      Tensor again = like({3}, at::kFloat), entropy = like({3}, at::kFloat), sums = like({3}, at::kFloat), work = x.clone();
      cuda::token_logprobs({}, 3, vocab, work.data_ptr<float>(), config.scale(), target.data_ptr<int32_t>(), {},
                           again.data_ptr<float>(), entropy.data_ptr<float>(), sums.data_ptr<float>());
      EXPECT_TRUE(at::equal(again.cpu(), logprobs.narrow(0, 0, 3)));
      EXPECT_TRUE(at::equal(entropy.cpu(), entropies.cpu().narrow(0, 0, 3)));
    }
}

TEST_F(CudaKernels, a_row_that_is_not_finite_draws_nothing) {
  Tensor logits = at::randn({4, 70});
  logits[1][35] = NAN, logits[2][69] = INFINITY, logits[3].fill_(-INFINITY);
  const Tensor x = there(logits), from = there(at::arange(4, at::kInt)), by = keys_of({{}, {}, {}, {}});
  Tensor tokens = like({4}, at::kInt), logprobs = like({4}, at::kFloat), entropies = like({4}, at::kFloat);
  cuda::sample({}, {4, from.data_ptr<int32_t>(), by.data_ptr<int64_t>(), 1.0f, false, tokens.data_ptr<int32_t>(),
                    logprobs.data_ptr<float>(), entropies.data_ptr<float>()},
               70, x.data_ptr<float>());
  tokens = tokens.cpu();
  EXPECT_GE(tokens[0].item<int32_t>(), 0);
  for (int i = 1; i < 4; ++i) EXPECT_EQ(tokens[i].item<int32_t>(), -1) << i;
}

TEST_F(CudaKernels, slots_are_brought_forward) {
  const auto ints = [](const std::vector<int32_t>& v) { return there(at::tensor(v, at::kInt)); };
  // Slot 0 is the prompt of 1 to 3; 2 comes to its limit, 3 draws an end, 4 waits already.
  const Tensor lengths = ints({9, 2, 5, 1, 3}), parents = ints({-1, 0, 0, 0, 0}), last = ints({0, 11, 12, 13, 14}),
               limits = ints({0, 9, 7, 9, 9}), counts = ints({0, 0, 1, 0, 0}), who = ints({1, 2, -1, 3, 4});
  std::vector<DrawKey> keys(5);
  for (uint32_t i = 0; i < 5; ++i) keys[i].sample = i, keys[i].position = i + 4;
  const Tensor key = keys_of(keys), waiting = there(at::tensor({0, 0, 0, 0, 1}, at::kInt).to(at::kBool));
  Tensor ends = at::zeros({30}, at::kBool);
  ends[21] = true;
  ends = there(ends);
  Tensor drawn = like({5, 2}, at::kInt), logprobs = like({5, 2}, at::kFloat), entropies = like({5, 2}, at::kFloat);
  const kernel::Slots slots{2,
                            lengths.data_ptr<int32_t>(),
                            parents.data_ptr<int32_t>(),
                            last.data_ptr<int32_t>(),
                            key.data_ptr<int64_t>(),
                            limits.data_ptr<int32_t>(),
                            ends.data_ptr<bool>(),
                            waiting.data_ptr<bool>(),
                            counts.data_ptr<int32_t>(),
                            drawn.data_ptr<int32_t>(),
                            logprobs.data_ptr<float>(),
                            entropies.data_ptr<float>()};
  Tensor tokens = like({5}, at::kInt), positions = like({5}, at::kInt), rows = like({5}, at::kInt),
         draw_rows = like({5}, at::kInt), siblings = like({16}, at::kInt), draw_keys = at::zeros({5, kKeyColumns}, key.options());
  const auto next = [&] {
    cuda::next_pass({}, slots, 5, who.data_ptr<int32_t>(), 2, tokens.data_ptr<int32_t>(), positions.data_ptr<int32_t>(),
                    rows.data_ptr<int32_t>(), draw_rows.data_ptr<int32_t>(), draw_keys.data_ptr<int64_t>(),
                    siblings.data_ptr<int32_t>());
  };
  const auto equal = [&](const Tensor& got, const std::vector<int32_t>& expected) {
    const Tensor host = got.cpu().contiguous();
    EXPECT_EQ(std::vector<int32_t>(host.data_ptr<int32_t>(), host.data_ptr<int32_t>() + host.numel()), expected);
  };
  next();
  equal(tokens, {11, 12, 0, 13, 0}), equal(positions, {11, 14, 0, 10, 0});
  equal(rows, {1, 2, -1, 3, -1}), equal(draw_rows, {0, 1, -1, 3, -1});
  EXPECT_TRUE(at::equal(draw_keys[3].cpu(), key[3].cpu()));
  equal(siblings.narrow(0, 0, 3), {1, 0, 2}), equal(siblings.narrow(0, 11, 5), {1, 1, 0, 0, 0});
  const Tensor fresh = ints({20, 22, 1, 21, 1}), measured = there(at::tensor({0.5f, 0.25f, 9.0f, 0.125f, 9.0f}));
  cuda::take_drawn({}, slots, 5, rows.data_ptr<int32_t>(), fresh.data_ptr<int32_t>(), measured.data_ptr<float>(),
                   measured.data_ptr<float>(), 1);
  equal(lengths, {9, 3, 6, 2, 3}), equal(last, {0, 20, 22, 21, 14}), equal(counts, {0, 1, 2, 1, 0});
  equal(drawn, {-77, -77, 20, -77, -77, 22, 21, -77, -77, -77});
  EXPECT_EQ(logprobs.cpu()[2][1].item<float>(), 0.25f);
  EXPECT_EQ(entropies.cpu()[3][0].item<float>(), 0.125f);
  EXPECT_EQ(key.cpu()[1][kPositionColumn].item<int64_t>(), 6);
  next();  // 2 is at its limit, 3 has ended
  equal(rows, {1, -1, -1, -1, -1}), equal(tokens, {20, 0, 0, 0, 0});
}

// More rows than a block has threads, runs of one parent of every length: the sets are those of siblings_of.
TEST_F(CudaKernels, neighbours_of_one_parent_are_found) {
  std::mt19937 random(3);
  for (const int rows : {3, 511, 1300})
    for (const int most : {1, 3, 8}) {
      std::vector<int32_t> parents{-1, -1, -1}, who;
      for (int parent = 0; std::ssize(who) < rows; parent = (parent + 1) % 3)
        for (unsigned i = random() % 20; i > 0 && std::ssize(who) < rows; --i) {
          who.push_back(random() % 9 == 0 ? -1 : static_cast<int32_t>(parents.size()));
          parents.push_back(random() % 11 == 0 ? -1 : parent);
        }
      const auto n = std::ssize(parents);
      const auto zeros = [](at::IntArrayRef shape, at::ScalarType type) { return at::zeros(shape, at::TensorOptions(kWhere).dtype(type)); };
      const Tensor all = zeros({n}, at::kInt), owners = there(at::tensor(parents, at::kInt)), asked = there(at::tensor(who, at::kInt)),
                   keys = zeros({n, kKeyColumns}, at::kLong), ends = zeros({1}, at::kBool), waiting = zeros({n}, at::kBool);
      Tensor out = like({rows}, at::kInt), draw_keys = zeros({rows, kKeyColumns}, at::kLong), siblings = like({1 + 3 * rows}, at::kInt);
      cuda::next_pass({}, {1, all.data_ptr<int32_t>(), owners.data_ptr<int32_t>(), all.data_ptr<int32_t>(), keys.data_ptr<int64_t>(),
                           all.data_ptr<int32_t>(), ends.data_ptr<bool>(), waiting.data_ptr<bool>(), all.data_ptr<int32_t>(),
                           all.data_ptr<int32_t>(), nullptr, nullptr},
                      rows, asked.data_ptr<int32_t>(), most, out.data_ptr<int32_t>(), out.data_ptr<int32_t>(), out.data_ptr<int32_t>(),
                      out.data_ptr<int32_t>(), draw_keys.data_ptr<int64_t>(), siblings.data_ptr<int32_t>());
      const Tensor expected = siblings_of(who, parents, most), got = siblings.cpu();
      const int64_t used = 1 + 2 * expected[0].item<int32_t>();
      EXPECT_TRUE(at::equal(got.narrow(0, 0, used), expected.narrow(0, 0, used))) << rows << " rows, up to " << most;
      EXPECT_TRUE(at::equal(got.narrow(0, 1 + 2 * rows, rows), expected.narrow(0, 1 + 2 * rows, rows))) << rows << ", " << most;
    }
}

}  // namespace
}  // namespace grpo
