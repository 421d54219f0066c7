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

#include "grpo/ops.h"
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
};
const HeadLayout kHeads[] = {{4, 2, 32}, {2, 2, 64}, {3, 1, 96, 0, 0, 0.3}, {1, 1, 128}, {9, 1, 32}};

Tensor packed(const Family& family, const HeadLayout& layout, const Tensor& qkv) {
  const Pass pass = family.pass();
  const Tensor starts = there(pass.starts), families = there(pass.families);
  Tensor out = like({qkv.size(0), layout.heads * layout.head_dim}), sums = like({qkv.size(0), layout.heads}, at::kFloat);
  cuda::attention({}, {layout, qkv.size(0), pass.segments(), families.size(0) - 1, starts.data_ptr<int32_t>(),
                       families.data_ptr<int32_t>()},
                  qkv.data_ptr(), out.data_ptr(), sums.data_ptr<float>());
  return out;
}

TEST_F(CudaKernels, attention_equals_the_reference) {
  for (const HeadLayout& layout : kHeads)
    for (const Family& family : kFamilies) {
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

// Feeds the segments through pages, some tokens of some of them at a time.
TEST_F(CudaKernels, attention_out_of_pages_has_the_bits_of_packed_attention) {
  std::mt19937 random(5);
  const auto up_to = [&](int n) { return static_cast<int>(random() % n) + 1; };
  for (const HeadLayout& layout : kHeads)
    for (const Family& family : kFamilies)
      for (const int64_t page_size : {layout.heads == 2 ? 64 : 128}) {
        SCOPED_TRACE(testing::Message() << layout.heads << " heads of " << layout.head_dim << ", "
                                        << testing::PrintToString(family.lengths) << ", pages of " << page_size);
        const auto segments = static_cast<int32_t>(family.lengths.size());
        const Tensor qkv = randn({family.start(segments), layout.width()});
        const Tensor expected = packed(family, layout, qkv);
        Tensor got = like(expected.sizes());
        const int64_t most = 3, count = segments * most + 2;
        Tensor keys = like({count, layout.kv_heads, page_size * layout.head_dim}), values = like(keys.sizes());
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
            if (left == 0 || (parent >= 0 && done(parent) < family.lengths[parent]) || random() % 3 == 0) {
              more |= left > 0;
              continue;
            }
            const int now = std::min(left, up_to(s == 0 ? 80 : 40));
            for (int i = 0; i < now; ++i) rows.push_back(family.start(s) + done(s) + i);
            starts.push_back(static_cast<int32_t>(rows.size())), slots.push_back(s);
            more |= true;
          }
          slots.push_back(-1), starts.push_back(static_cast<int32_t>(rows.size()) + 1), rows.push_back(0);  // inert
          const Tensor where = at::tensor(rows, at::kLong).to(kWhere), input = qkv.index_select(0, where);
          const Tensor first = there(at::tensor(starts, at::kInt)), owners = there(at::tensor(slots, at::kInt)),
                       stored = there(lengths);
          Tensor out = like({input.size(0), expected.size(1)});
          cuda::paged_attention({}, {layout, input.size(0), page_size, most, first.size(0) - 1,
                                     first.data_ptr<int32_t>(), owners.data_ptr<int32_t>(), pages.data_ptr<int32_t>(),
                                     stored.data_ptr<int32_t>(), parents.data_ptr<int32_t>(), keys.data_ptr(),
                                     values.data_ptr()},
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

}  // namespace
}  // namespace grpo
