// The mixture-of-experts ops: grouped_linear, route, dispatch and combine.
#include <array>
#include <cmath>

#include "op_test.h"

namespace grpo {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

std::vector<int32_t> values_of(const Tensor& t) {
  const Tensor flat = t.contiguous();
  return {flat.const_data_ptr<int32_t>(), flat.const_data_ptr<int32_t>() + flat.numel()};
}

// ------------------------------------------------------------------------------------------------------ grouped_linear

class GroupedLinearTest : public OpTest {};
INSTANTIATE_FOR_TYPES(GroupedLinearTest);

Op grouped(const std::vector<int32_t>& offsets) {
  return [offsets = ints(offsets)](const Tensors& t) { return Tensors{grouped_linear(t[0], t[1], offsets)}; };
}

TEST_P(GroupedLinearTest, matches_its_reference_with_empty_experts_and_single_rows) {
  for (const std::vector<int32_t>& offsets :
       std::vector<std::vector<int32_t>>{{0, 5}, {0, 0, 7, 8, 8, 29}, {0, 0, 0}, {0, 1, 2, 3}, {0, 40, 40, 101}}) {
    SCOPED_TRACE(::testing::PrintToString(offsets));
    const int64_t experts = std::ssize(offsets) - 1;
    check_op(grouped(offsets),
             [&](const Tensors& t) { return Tensors{reference::grouped_linear(t[0], t[1], ints(offsets))}; },
             {randn({offsets.back(), 19}), randn({experts, 23, 19})});
  }
}

TEST_P(GroupedLinearTest, takes_slices_and_transposes_of_larger_weights) {
  const Tensor x = randn({13, 7}), whole = randn({3, 18, 7}), across = randn({3, 7, 18});
  const Tensor offsets = ints({0, 6, 6, 13});
  for (const bool transposed : {false, true}) {
    const auto part = [=](const Tensor& w) {
      return transposed ? w.narrow(2, 5, 11).transpose(1, 2) : w.narrow(1, 5, 11);
    };
    check_op([=](const Tensors& t) { return Tensors{grouped_linear(t[0], part(t[1]), offsets)}; },
             [=](const Tensors& t) { return Tensors{reference::grouped_linear(t[0], part(t[1]), offsets)}; },
             {x, transposed ? across : whole});
    const Tensor w = part(transposed ? across : whole);
    EXPECT_TRUE(same_bits(grouped_linear(x, w, offsets), grouped_linear(x, w.contiguous(), offsets)));
  }
}

TEST_P(GroupedLinearTest, row_bits_are_those_of_linear_in_any_batch) {
  const int64_t experts = 5, rows = 72;
  const Tensor x = randn({rows, 67}), weight = randn({experts, 35, 67});
  Tensors one_by_one;
  for (int64_t row = 0; row < rows; ++row)
    one_by_one.push_back(grpo::linear(x.narrow(0, row, 1), weight.select(0, row * row % experts)));
  const Tensor linear_rows = at::cat(one_by_one);
  expect_rows_independent(rows, [&](const Tensor& index) {
    const Tensor expert = index.square().remainder(experts);
    const Tensor order = std::get<1>(at::sort(expert, true, 0, false));
    std::vector<int32_t> offsets{0};
    for (int64_t e = 0; e < experts; ++e)
      offsets.push_back(offsets.back() + static_cast<int32_t>(expert.eq(e).sum().item<int64_t>()));
    const Tensor sorted = grouped_linear(x.index_select(0, index.index_select(0, order)), weight, ints(offsets));
    const Tensor out = at::empty_like(sorted).index_copy_(0, order, sorted);
    EXPECT_TRUE(same_bits(out, linear_rows.index_select(0, index)));
    return Tensors{out};
  });
}

TEST_P(GroupedLinearTest, threads_change_no_gradient) {
  expect_threads_change_nothing(grouped({0, 100, 100, 181, 243}), {randn({243, 65}), randn({4, 67, 65})});
}

TEST(GroupedLinearGradient, agrees_with_finite_differences) {
  check_finite_differences(grouped({0, 2, 2, 5}), {at::randn({5, 4}), at::randn({3, 6, 4})});
}

TEST(GroupedLinearRefuses, what_does_not_fit) {
  const Tensor x = at::randn({6, 5}), w = at::randn({2, 7, 5});
  EXPECT_ERROR(grouped_linear(x, at::randn({2, 7, 4}), ints({0, 3, 6})), "[grouped_linear] expected x [rows, in]");
  EXPECT_ERROR(grouped_linear(x, at::randn({7, 5}), ints({0, 6})), "[grouped_linear] expected x [rows, in]");
  EXPECT_ERROR(grouped_linear(x, w.to(at::kBFloat16), ints({0, 3, 6})), "[grouped_linear] expected weight to be Float");
  EXPECT_ERROR(grouped_linear(x.to(at::kHalf), w.to(at::kHalf), ints({0, 3, 6})), "[grouped_linear] expected float32");
  for (const Tensor& offsets : {ints({0, 6}), at::empty({0}, at::kInt), ints({0, 3, 6}).to(at::kLong),
                                ints({0, 3, 6}).view({3, 1})})
    EXPECT_ERROR(grouped_linear(x, w, offsets), "[grouped_linear] expected int32 offsets [3] on cpu");
  for (const auto& offsets : {ints({1, 3, 6}), ints({0, 3, 5}), ints({0, 7, 6})})
    EXPECT_ERROR(grouped_linear(x, w, offsets), "[grouped_linear] expected offsets that ascend from 0 to 6");
}

// --------------------------------------------------------------------------------------------------- route and its kin

Tensor no_bias(int64_t experts) { return at::zeros({experts}); }

class RouteTest : public ::testing::TestWithParam<RouterOptions> {
 protected:
  void SetUp() override { at::manual_seed(20240607); }
  void TearDown() override { set_num_threads(threads_); }
  int threads_ = num_threads();
};
INSTANTIATE_TEST_SUITE_P(Options, RouteTest,
                         ::testing::Values(RouterOptions{2, Scoring::sigmoid, true, 1.0}, RouterOptions{3, Scoring::sigmoid, false, 2.5},
                                           RouterOptions{1, Scoring::softmax, false, 1.0}, RouterOptions{4, Scoring::softmax, true, 0.5}),
                         [](const auto& info) {
                           const RouterOptions& o = info.param;
                           return "top" + std::to_string(o.experts_per_token) + (o.scoring == Scoring::softmax ? "_softmax" : "_sigmoid") +
                                  (o.normalize ? "_normalized" : "");
                         });

TEST_P(RouteTest, matches_its_reference_forward_and_backward) {
  for (const auto& [tokens, experts] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 4}, {0, 5}, {7, 8}, {31, 17}, {5, 67}}) {
    SCOPED_TRACE(::testing::Message() << tokens << " tokens, " << experts << " experts");
    const Tensor logits = at::randn({tokens, experts}), bias = at::randn({experts}) * 0.1;
    check_op(
        [&](const Tensors& t) {
          const Routing r = route(t[0], bias, GetParam());
          return Tensors{r.weights, r.scores};
        },
        [&](const Tensors& t) {
          const Routing r = reference::route(t[0], bias, GetParam());
          return Tensors{r.weights, r.scores};
        },
        {logits});
    const Routing got = route(logits, bias, GetParam()), expected = reference::route(logits, bias, GetParam());
    EXPECT_TRUE(same_bits(got.experts, expected.experts));
    EXPECT_TRUE(same_bits(got.slots, expected.slots));
    EXPECT_TRUE(at::equal(got.offsets, expected.offsets));
  }
}

TEST_P(RouteTest, gradients_agree_with_finite_differences) {
  const Tensor logits =
      at::tensor({0.1f, 1.2f, -0.7f, 0.6f, -2.f, 2.f, -1.f, 0.5f, 1.f, 0.f}).view({2, 5});  // no near ties
  check_finite_differences(
      [&](const Tensors& t) {
        const Routing r = route(t[0], no_bias(5), GetParam());
        return Tensors{r.weights, r.scores};
      },
      {logits}, 5e-3);
}

TEST_P(RouteTest, row_bits_do_not_depend_on_the_batch_even_with_ties) {
  Tensor logits = at::randn({75, 19});
  logits.slice(0, 0, 75, 3).round_();  // many equal logits
  const Tensor bias = (at::randn({19}) * 4).round() * 0.125;
  expect_rows_independent(75, [&](const Tensor& rows) {
    const Routing r = route(logits.index_select(0, rows), bias, GetParam());
    return Tensors{r.experts, r.weights, r.scores};
  });
}

TEST(Route, among_equals_the_lower_index_wins) {
  EXPECT_THAT(values_of(route(at::zeros({2, 5}), no_bias(5), {3}).experts), ElementsAre(0, 1, 2, 0, 1, 2));
  for (const int64_t n : {5, 64, 257}) {  // on every device: many equal ones are sorted otherwise than few
    const Tensor even = at::zeros({3, n}), tied = at::arange(n, at::kFloat).remainder(3).expand({3, n}).contiguous();
    for (const Tensor& logits : {even, tied}) {
      RouterOptions options{.experts_per_token = 4};
      EXPECT_THAT(values_of(reference::route(logits, no_bias(n), options).experts),
                  ElementsAreArray(values_of(route(logits, no_bias(n), options).experts)));
      if (n != 64) continue;
      options.groups = 16, options.groups_per_token = 2;
      EXPECT_THAT(values_of(reference::route(logits, no_bias(n), options).experts),
                  ElementsAreArray(values_of(route(logits, no_bias(n), options).experts)));
    }
    EXPECT_THAT(values_of(reference::route(even, no_bias(n), {3}).experts), ElementsAre(0, 1, 2, 0, 1, 2, 0, 1, 2));
  }
  EXPECT_THAT(values_of(route(at::tensor({1.f, 2.f, 1.f, 2.f, 0.f}).view({1, 5}), no_bias(5), {3}).experts),
              ElementsAre(1, 3, 0));
}

TEST(Route, the_bias_chooses_but_does_not_weigh) {
  const Tensor logits = at::tensor({0.f, 1.f, 2.f}).view({1, 3});
  const Routing r = route(logits, at::tensor({10.f, 0.f, 0.f}), {2, Scoring::sigmoid, true, 3.0});
  EXPECT_THAT(values_of(r.experts), ElementsAre(0, 2));
  const double a = 1 / (1 + std::exp(0.0)), c = 1 / (1 + std::exp(-2.0));
  EXPECT_NEAR(r.weights[0][0].item<float>(), 3 * a / (a + c), 1e-6);
  EXPECT_NEAR(r.weights[0][1].item<float>(), 3 * c / (a + c), 1e-6);
}

TEST(Route, slots_sort_the_tokens_by_expert_and_keep_their_order) {
  const Tensor logits = at::tensor({0.f, 5.f, 4.f, 5.f, 0.f, 4.f, 0.f, 4.f, 5.f}).view({3, 3});
  const Routing r = route(logits, no_bias(3), {2});
  EXPECT_THAT(values_of(r.experts), ElementsAre(1, 2, 0, 2, 2, 1));
  EXPECT_TRUE(at::equal(r.offsets, ints({0, 1, 3, 6})));
  EXPECT_THAT(values_of(r.slots), ElementsAre(1, 3, 0, 4, 5, 2));
}

TEST(Route, chooses_only_among_the_experts_of_the_best_groups) {
  // Groups of three. By their best expert: the first two; by the sum of their two best: the last two.
  const Tensor scores = at::tensor({0.9f, 0.1f, 0.1f, 0.8f, 0.3f, 0.2f, 0.7f, 0.6f, 0.5f}).view({1, 9});
  RouterOptions options{4};
  options.groups = 3, options.groups_per_token = 2;
  for (const int64_t best : {1, 2}) {
    options.group_best = best;
    const Routing r = route(scores.logit(), no_bias(9), options);
    EXPECT_THAT(values_of(r.experts), best == 1 ? ElementsAre(0, 3, 4, 5) : ElementsAre(3, 6, 7, 8));
  }
  // A group whose choices are all tiny stays chosen before any expert of another.
  options = {2, Scoring::softmax};
  options.groups = 3, options.groups_per_token = 1, options.group_best = 1;
  const Tensor logits = at::tensor({0.f, 0.f, 0.f, 50.f, -60.f, -70.f, 49.f, 49.f, 49.f}).view({1, 9});
  EXPECT_THAT(values_of(route(logits, no_bias(9), options).experts), ElementsAre(3, 4));
}

TEST(Route, by_groups_matches_its_reference) {
  for (const bool softmax : {false, true})
    for (const auto& [groups, kept, best] :
         std::vector<std::array<int64_t, 3>>{{1, 1, 1}, {2, 1, 2}, {4, 3, 2}, {8, 4, 1}, {24, 5, 2}}) {
      RouterOptions options{3, softmax ? Scoring::softmax : Scoring::sigmoid};
      options.groups = groups, options.groups_per_token = kept, options.group_best = best;
      const Tensor logits = at::randn({31, 24}), bias = at::randn({24}) * 0.1;
      const Routing got = route(logits, bias, options), expected = reference::route(logits, bias, options);
      EXPECT_TRUE(same_bits(got.experts, expected.experts)) << groups << " groups, softmax " << softmax;
      EXPECT_TRUE(at::allclose(got.weights, expected.weights, 1e-5, 1e-6));
    }
}

TEST(RouteRefuses, what_does_not_fit) {
  const Tensor logits = at::randn({3, 4});
  EXPECT_ERROR(route(logits.to(at::kBFloat16), no_bias(4), {}), "[route] expected fp32 logits");
  EXPECT_ERROR(route(at::randn({4}), no_bias(4), {}), "[route] expected fp32 logits");
  EXPECT_ERROR(route(logits, no_bias(5), {}), "[route] expected an fp32 selection bias [4], got [5]");
  EXPECT_ERROR(route(logits, no_bias(4).to(at::kDouble), {}), "[route] expected an fp32 selection bias [4]");
  for (const int k : {0, 5})
    EXPECT_ERROR(route(logits, no_bias(4), {k}), "[route] expected 1 … 4 experts per token, got ");
  for (const auto& [groups, kept] : std::vector<std::pair<int64_t, int64_t>>{{3, 2}, {4, 1}, {2, 3}, {0, 1}, {2, 0}}) {
    RouterOptions options{2};
    options.groups = groups, options.groups_per_token = kept;
    EXPECT_ERROR(route(logits, no_bias(4), options), "[route] expected groups that divide 4 experts");
  }
}

class CombineTest : public OpTest {
 protected:
  static Routing routing_of(int64_t tokens, int64_t k) {
    Routing r;
    r.slots = at::randperm(tokens * k, at::kInt).view({tokens, k});
    r.weights = at::rand({tokens, k});
    return r;
  }
};
INSTANTIATE_FOR_TYPES(CombineTest);

using CombineForm = Tensor (*)(const Tensor&, const Routing&, const Tensor&);
Op run_combine(CombineForm form, const Routing& routing) {
  return [=](const Tensors& t) {
    Routing r = routing;
    r.weights = t[1];
    return Tensors{form(t[0], r, t.size() > 2 ? t[2] : Tensor())};
  };
}

TEST_P(CombineTest, and_dispatch_match_their_references) {
  const int64_t shapes[][3] = {{1, 1, 1}, {0, 2, 5}, {1, 2, 17}, {13, 3, 31}, {67, 2, 48}};
  for (const auto& [tokens, k, n] : shapes) {
    SCOPED_TRACE(::testing::Message() << tokens << " x " << k << " x " << n);
    const Routing r = routing_of(tokens, k);
    check_op([&](const Tensors& t) { return Tensors{dispatch(t[0], r)}; },
             [&](const Tensors& t) { return Tensors{reference::dispatch(t[0], r)}; }, {randn({tokens, n})});
    const Tensor x = randn({tokens * k, n}), base = randn({tokens, n});
    check_op(run_combine(combine, r), run_combine(reference::combine, r), {x, r.weights, base});
    check_op(run_combine(combine, r), run_combine(reference::combine, r), {x, r.weights});
  }
}

TEST_P(CombineTest, of_what_dispatch_sent_out_gives_the_tokens_back) {
  const Routing r = route(at::randn({11, 6}), no_bias(6), {3});
  const Tensor x = randn({11, 9});
  const double tolerance = narrow() ? 0x1p-7 : 1e-5;  // normalised weights sum to 1
  EXPECT_TRUE(at::allclose(combine(dispatch(x, r), r, Tensor()), x, tolerance, tolerance));
}

TEST_P(CombineTest, row_bits_do_not_depend_on_the_batch_the_slots_or_the_threads) {
  const int64_t k = 3, n = 347;
  const Tensor values = randn({75, k, n}), weights = at::rand({75, k}), base = randn({75, n});
  for (const bool with_base : {false, true})
    expect_rows_independent(75, [&](const Tensor& rows) {
      Routing r = routing_of(rows.size(0), k);
      r.weights = weights.index_select(0, rows);
      const Tensor parts = values.index_select(0, rows).view({-1, n});
      const Tensor x = at::empty_like(parts).index_copy_(0, r.slots.flatten().to(at::kLong), parts);
      return Tensors{combine(x, r, with_base ? base.index_select(0, rows) : Tensor())};
    });
}

TEST_P(CombineTest, threads_change_no_gradient) {
  const Routing r = routing_of(200, 3);
  expect_threads_change_nothing(run_combine(combine, r), {randn({600, 65}), r.weights, randn({200, 65})});
  expect_threads_change_nothing([&](const Tensors& t) { return Tensors{dispatch(t[0], r)}; }, {randn({200, 165})});
}

TEST(CombineGradient, agrees_with_finite_differences) {
  Routing r;
  r.slots = at::tensor({3, 0, 1, 5, 4, 2}, at::kInt).view({3, 2});
  check_finite_differences(run_combine(combine, r), {at::randn({6, 4}), at::randn({3, 2}), at::randn({3, 4})});
  check_finite_differences([&](const Tensors& t) { return Tensors{dispatch(t[0], r)}; }, {at::randn({3, 4})});
}

TEST(CombineRefuses, what_does_not_fit) {
  const Routing r = route(at::randn({3, 4}), no_bias(4), {2});
  EXPECT_ERROR(dispatch(at::randn({4, 5}), r), "[dispatch] expected x [3, n], got [4, 5]");
  EXPECT_ERROR(combine(at::randn({5, 7}), r, {}), "[combine] expected x [6, n], got [5, 7]");
  EXPECT_ERROR(combine(at::randn({6, 7}), r, at::randn({3, 6})), "[combine] expected base [3, 7], got [3, 6]");
  EXPECT_ERROR(combine(at::randn({6, 7}), r, at::randn({3, 7}).to(at::kBFloat16)),
               "[combine] expected base to be Float");
  EXPECT_ERROR(combine(at::randn({6, 7}).to(at::kDouble), r, {}), "[combine] expected float32 or bfloat16");
  Routing flat = r;
  flat.slots = r.slots.flatten();
  EXPECT_ERROR(combine(at::randn({6, 7}), flat, {}), "[combine] expected slots [tokens, k], got [6]");
}

TEST(Route, chooses_nan_first_and_leaves_other_tokens_alone) {
  const Tensor logits = at::tensor({0.f, 5.f, NAN, 4.f, 9.f, 1.f, 5.f, 4.f}).view({2, 4});
  const Routing r = route(logits, no_bias(4), {2});
  EXPECT_THAT(values_of(r.experts), ElementsAre(2, 1, 0, 2));
  EXPECT_TRUE(r.weights[0].isnan().all().item<bool>());
  EXPECT_TRUE(r.weights[1].isfinite().all().item<bool>());
}

}  // namespace
}  // namespace grpo
