// embedding, linear, rms_norm, swiglu and rope, and what holds for all ops. Attention, token_logprobs and the
// mixture-of-experts ops have files of their own.
#include <cmath>

#include "op_test.h"

namespace grpo {
namespace {

// ----------------------------------------------------------------------------------------------------------- embedding

class EmbeddingTest : public OpTest {};
INSTANTIATE_FOR_TYPES(EmbeddingTest);

TEST_P(EmbeddingTest, matches_its_reference_forward_and_backward) {
  for (const auto& [tokens, n] : std::vector<std::pair<int64_t, int64_t>>{{0, 5}, {1, 1}, {40, 17}, {300, 519}}) {
    SCOPED_TRACE(::testing::Message() << tokens << " x " << n);
    const Tensor ids = at::randint(11, {tokens}, at::kInt);
    check_op([&](const Tensors& t) { return Tensors{grpo::embedding(t[0], ids)}; },
             [&](const Tensors& t) { return Tensors{reference::embedding(t[0], ids)}; }, {randn({11, n})});
    expect_threads_change_nothing([&](const Tensors& t) { return Tensors{grpo::embedding(t[0], ids)}; }, {randn({11, n})});
  }
}

TEST(EmbeddingRefuses, what_does_not_fit) {
  const Tensor weight = at::randn({5, 3});
  EXPECT_ERROR(grpo::embedding(at::randn({5}), at::zeros({2}, at::kInt)), "[embedding] expected weight [vocab, n], got [5]");
  EXPECT_ERROR(grpo::embedding(weight, at::zeros({2}, at::kLong)), "[embedding] expected int32 tokens [T], got Long [2]");
  EXPECT_ERROR(grpo::embedding(weight, at::zeros({2}, at::kInt).to(at::kMeta)),
               "[embedding] expected tokens on cpu, got meta");
  for (const int id : {-1, 5})
    EXPECT_ERROR(grpo::embedding(weight, at::tensor({0, id}, at::kInt)),
                 "[embedding] expected tokens in [0, 5), got " + std::to_string(id) + " at token 1");
}

// -------------------------------------------------------------------------------------------------------------- linear

class LinearTest : public OpTest {};
INSTANTIATE_FOR_TYPES(LinearTest);

Tensors run_linear(const Tensors& in) { return {grpo::linear(in[0], in[1])}; }

TEST_P(LinearTest, matches_its_reference_forward_and_backward) {
  const int64_t shapes[][3] = {{1, 1, 1},    {0, 5, 3},   {3, 0, 4},     {1, 7, 13},   {2, 31, 17},    {5, 33, 65},
                               {16, 64, 64}, {1, 257, 2}, {19, 129, 67}, {97, 127, 1}, {61, 257, 131}, {400, 40, 96}};
  for (const auto& [rows, in, out] : shapes) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << in << " x " << out);
    const Tensor x = randn({rows, in}), weight = randn({out, in});
    check_op(run_linear, [](const Tensors& t) { return Tensors{reference::linear(t[0], t[1])}; }, {x, weight});
  }
}

TEST_P(LinearTest, adds_the_bias_and_passes_its_gradient) {
  // y + bias rounds twice in bf16: once for the product, once for the sum.
  check_op([](const Tensors& t) { return Tensors{grpo::linear(t[0], t[1], t[2])}; },
           [](const Tensors& t) { return Tensors{reference::linear(t[0], t[1], t[2])}; },
           {randn({7, 13}), randn({11, 13}), randn({11})}, {narrow() ? 5e-3 : 1e-5, narrow() ? 5e-3 : 2e-5});
}

TEST_P(LinearTest, reads_strided_inputs) {
  const Tensor x = randn({9, 26}), weight = randn({13, 11});
  EXPECT_TRUE(same_bits(grpo::linear(x.slice(1, 0, 26, 2), weight.t()),
                        grpo::linear(x.slice(1, 0, 26, 2).contiguous(), weight.t().contiguous())));
}

TEST_P(LinearTest, row_bits_do_not_depend_on_the_batch_or_the_threads) {
  const Tensor x = randn({75, 67}), weight = randn({35, 67}), bias = randn({35});
  expect_rows_independent(
      75, [&](const Tensor& rows) { return Tensors{grpo::linear(x.index_select(0, rows), weight, bias)}; });
}

TEST_P(LinearTest, row_bits_do_not_depend_on_how_a_large_batch_is_cut) {
  const Tensor x = randn({421, 161}), weight = randn({133, 161});
  expect_rows_independent(
      421, [&](const Tensor& rows) { return Tensors{grpo::linear(x.index_select(0, rows), weight)}; }, 3);
}

TEST_P(LinearTest, threads_change_no_gradient) {
  expect_threads_change_nothing(run_linear, {randn({301, 129}), randn({131, 129})});
}

TEST(LinearGradient, agrees_with_finite_differences) {
  check_finite_differences([](const Tensors& t) { return Tensors{grpo::linear(t[0], t[1], t[2])}; },
                           {at::randn({3, 5}), at::randn({7, 5}), at::randn({7})});
}

TEST(LinearGradient, is_left_out_where_nobody_asks_for_it) {
  const Tensor x = at::randn({3, 5}), weight = at::randn({7, 5}).requires_grad_(true);
  grpo::linear(x, weight).sum().backward();
  EXPECT_FALSE(x.grad().defined());
  EXPECT_TRUE(at::allclose(weight.grad(), x.sum(0).expand({7, 5}), 1e-5, 1e-5));
}

TEST(LinearRefuses, what_does_not_fit) {
  const Tensor x = at::randn({3, 5}), w = at::randn({7, 5});
  EXPECT_ERROR(grpo::linear(x, at::randn({7, 6})),
               "[linear] expected x [tokens, in] and weight [out, in], got [3, 5] and [7, 6]");
  EXPECT_ERROR(grpo::linear(at::randn({5}), w), "[linear]");
  EXPECT_ERROR(grpo::linear(x, w, at::randn({6})), "[linear] expected bias [7], got [6]");
  EXPECT_ERROR(grpo::linear(x, w.to(at::kBFloat16)), "[linear] expected weight to be Float on cpu, got BFloat16");
  EXPECT_ERROR(grpo::linear(x, w, at::randn({7}).to(at::kBFloat16)), "[linear] expected bias to be Float");
  EXPECT_ERROR(grpo::linear(x.to(at::kDouble), w.to(at::kDouble)), "[linear] expected float32 or bfloat16, got Double");
}

// ------------------------------------------------------------------------------------------------------------ rms_norm

class RmsNormTest : public OpTest {};
INSTANTIATE_FOR_TYPES(RmsNormTest);

Tensors run_rms_norm(const Tensors& in) { return {rms_norm(in[0], in[1], 1e-5)}; }

TEST_P(RmsNormTest, matches_its_reference_forward_and_backward) {
  const int64_t shapes[][2] = {{1, 2}, {0, 8}, {1, 31}, {7, 16}, {5, 17}, {131, 48}, {3, 257}, {65, 97}};
  for (const auto& [rows, n] : shapes) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << n);
    check_op(run_rms_norm, [](const Tensors& t) { return Tensors{reference::rms_norm(t[0], t[1], 1e-5)}; },
             {randn({rows, n}), randn({n})});
  }
}

TEST_P(RmsNormTest, a_row_of_zeros_stays_zero) {
  EXPECT_TRUE(rms_norm(at::zeros({2, 9}).to(GetParam()), randn({9}), 1e-6).eq(0).all().item<bool>());
}

TEST_P(RmsNormTest, row_bits_do_not_depend_on_the_batch_or_the_threads) {
  const Tensor x = randn({75, 467}), weight = randn({467});
  expect_rows_independent(75,
                          [&](const Tensor& rows) { return Tensors{rms_norm(x.index_select(0, rows), weight, 1e-6)}; });
}

TEST_P(RmsNormTest, threads_change_no_gradient) {
  expect_threads_change_nothing(run_rms_norm, {randn({400, 131}), randn({131})});
}

TEST(RmsNormGradient, agrees_with_finite_differences) {
  check_finite_differences(run_rms_norm, {at::randn({4, 11}), at::randn({11})});
}

TEST(RmsNormRefuses, what_does_not_fit) {
  EXPECT_ERROR(rms_norm(at::randn({4, 8}), at::randn({7}), 1e-6), "[rms_norm] weight: expected [8], got [7]");
  EXPECT_ERROR(rms_norm(at::randn({8}), at::randn({8}), 1e-6), "[rms_norm] expected x [tokens, n], got [8]");
  EXPECT_ERROR(rms_norm(at::randn({4, 8}), at::randn({8}).to(at::kBFloat16), 1e-6), "[rms_norm] expected weight to be");
  EXPECT_ERROR(rms_norm(at::ones({4, 8}, at::kLong), at::ones({8}, at::kLong), 1e-6), "[rms_norm] expected float32");
}

// -------------------------------------------------------------------------------------------------------------- swiglu

class SwiGluTest : public OpTest {};
INSTANTIATE_FOR_TYPES(SwiGluTest);

Tensors run_swiglu(const Tensors& in) { return {swiglu(in[0])}; }

TEST_P(SwiGluTest, matches_its_reference_forward_and_backward) {
  const int64_t shapes[][2] = {{1, 1}, {0, 8}, {1, 31}, {7, 16}, {5, 17}, {131, 48}, {3, 257}};
  for (const auto& [rows, n] : shapes) {
    SCOPED_TRACE(::testing::Message() << rows << " x 2·" << n);
    check_op(run_swiglu, [](const Tensors& t) { return Tensors{reference::swiglu(t[0])}; }, {randn({rows, 2 * n})});
  }
}

TEST_P(SwiGluTest, survives_gates_of_any_size) {
  const Tensor gate = at::tensor({-1e30f, -200.f, -88.f, -0.f, 0.f, 88.f, 200.f, 1e30f}).to(GetParam());
  const Tensor out = swiglu(at::cat({gate, at::ones_like(gate)}).unsqueeze(0)).to(at::kFloat)[0];
  EXPECT_TRUE(at::allclose(out, at::clamp_min(gate.to(at::kFloat), 0), 1e-5, 1e-6)) << out;
}

TEST_P(SwiGluTest, row_bits_do_not_depend_on_the_batch_or_the_threads) {
  const Tensor x = randn({75, 2 * 347});
  expect_rows_independent(75, [&](const Tensor& rows) { return Tensors{swiglu(x.index_select(0, rows))}; });
}

TEST_P(SwiGluTest, threads_change_no_gradient) { expect_threads_change_nothing(run_swiglu, {randn({300, 262})}); }

TEST(SwiGluGradient, agrees_with_finite_differences) { check_finite_differences(run_swiglu, {at::randn({4, 14})}); }

TEST(SwiGluRefuses, what_does_not_fit) {
  EXPECT_ERROR(swiglu(at::randn({4, 7})), "[swiglu] expected [tokens, 2n], got [4, 7]");
  EXPECT_ERROR(swiglu(at::randn({8})), "[swiglu] expected [tokens, 2n]");
  EXPECT_ERROR(swiglu(at::randn({4, 8}).to(at::kDouble)), "[swiglu] expected float32 or bfloat16, got Double");
}

// ---------------------------------------------------------------------------------------------------------------- rope

class RopeTest : public OpTest {
 protected:
  /// qkv, and q_norm and k_norm if asked for.
  Tensors inputs(int64_t rows, const HeadLayout& layout, bool normed) const {
    Tensors in{randn({rows, layout.width()})};
    if (normed) in.push_back(randn({layout.head_dim})), in.push_back(randn({layout.head_dim}));
    return in;
  }
};
INSTANTIATE_FOR_TYPES(RopeTest);

using RopeForm = Tensor (*)(const Tensor&, const Tensor&, const Tensor&, const HeadLayout&,
                            const std::optional<Tensor>&, const std::optional<Tensor>&, double, bool);
Op run_rope(RopeForm form, const Tensor& positions, const Tensor& table, const HeadLayout& layout,
            bool interleaved = false) {
  return [=](const Tensors& t) {
    const bool normed = t.size() > 1;
    return Tensors{form(t[0], positions, table, layout, normed ? std::optional(t[1]) : std::nullopt,
                        normed ? std::optional(t[2]) : std::nullopt, 1e-5, interleaved)};
  };
}

TEST_P(RopeTest, matches_its_reference_with_and_without_norms) {
  const std::pair<int64_t, HeadLayout> cases[] = {
      {1, {1, 1, 2}},    {0, {2, 1, 8}},  {5, {2, 1, 6}},  {7, {3, 3, 8}},         {17, {4, 2, 24}},
      {131, {4, 1, 16}}, {3, {2, 2, 64}}, {2, {1, 1, 80}}, {5, {3, 1, 22, 14, 8}}, {9, {2, 2, 10, 0, 4}}};
  for (const auto& [rows, layout] : cases)
    for (const bool normed : {false, true}) {
      SCOPED_TRACE(::testing::Message() << rows << " rows, head_dim " << layout.head_dim << ", normed " << normed);
      const Tensor table = rope_table(97, layout.rotary_dim(), 10000), positions = at::randint(97, {rows}, at::kInt);
      // Where one of the two norm weights gathers little, the other's size sets the scale of neither: 4e-3 in bf16.
      check_op(run_rope(rope, positions, table, layout), run_rope(reference::rope, positions, table, layout),
               inputs(rows, layout, normed), {narrow() ? 1e-3 : 1e-5, narrow() ? 4e-3 : 2e-5});
      check_op(run_rope(rope, positions, table, layout, true),
               run_rope(reference::rope, positions, table, layout, true), inputs(rows, layout, normed),
               {narrow() ? 1e-3 : 1e-5, narrow() ? 4e-3 : 2e-5});
    }
}

TEST(Rope, interleaved_is_the_other_order_of_the_same_columns) {
  const HeadLayout layout{2, 1, 12, 8, 8};  // four columns stay, eight turn
  const Tensor qkv = at::randn({5, layout.width()}), table = rope_table(40, 8, 100);
  const Tensor positions = at::tensor({0, 3, 9, 39, 1}, at::kInt);
  const Tensor order = at::tensor({0, 1, 2, 3, 4, 6, 8, 10, 5, 7, 9, 11}, at::kLong);  // even ones first
  const auto reorder = [&](const Tensor& t) { return t.view({5, 3, 12}).index_select(2, order).reshape({5, 36}); };
  EXPECT_TRUE(same_bits(rope(reorder(qkv), positions, table, layout, {}, {}, 1e-6),
                        reorder(rope(qkv, positions, table, layout, {}, {}, 1e-6, true))));
}

TEST_P(RopeTest, position_zero_turns_nothing_and_values_pass_through) {
  const HeadLayout layout{2, 1, 8};
  const Tensor qkv = randn({3, layout.width()}), table = rope_table(9, 8, 10000);
  EXPECT_TRUE(same_bits(rope(qkv, at::zeros({3}, at::kInt), table, layout, {}, {}, 1e-6), qkv));
  const Tensor turned = rope(qkv, at::full({3}, 5, at::kInt), table, layout, {}, {}, 1e-6);
  EXPECT_TRUE(same_bits(turned.narrow(1, 24, 8), qkv.narrow(1, 24, 8)));
  EXPECT_FALSE(same_bits(turned.narrow(1, 16, 8), qkv.narrow(1, 16, 8)));
}

TEST(Rope, a_query_and_a_key_see_only_their_distance) {
  const HeadLayout layout{1, 1, 16};
  const Tensor qkv = at::randn({1, layout.width()}).expand({3, -1}), table = rope_table(200, 16, 10000);
  const Tensor out = rope(qkv, at::tensor({3, 10, 150}, at::kInt), table, layout, {}, {}, 1e-6);
  const Tensor again = rope(qkv, at::tensor({13, 20, 160}, at::kInt), table, layout, {}, {}, 1e-6);
  const auto scores = [](const Tensor& t) { return at::matmul(t.narrow(1, 0, 16), t.narrow(1, 16, 16).t()); };
  EXPECT_TRUE(at::allclose(scores(out), scores(again), 1e-4, 1e-4));
}

TEST(Rope, the_table_holds_cosines_and_sines_of_the_angles) {
  const Tensor table = rope_table(50, 6, 500);
  for (const int position : {0, 1, 49})
    for (const int i : {0, 1, 2}) {
      const double angle = position * std::pow(500.0, -2.0 * i / 6);
      EXPECT_NEAR(table[position][i].item<float>(), std::cos(angle), 1e-5);
      EXPECT_NEAR(table[position][3 + i].item<float>(), std::sin(angle), 1e-5);
    }
}

TEST_P(RopeTest, row_bits_do_not_depend_on_the_batch_or_the_threads) {
  const HeadLayout layout{4, 2, 22};
  for (const bool normed : {false, true}) {
    SCOPED_TRACE(normed);
    const Tensors in = inputs(75, layout, normed);
    const Tensor table = rope_table(97, 22, 10000), positions = at::randint(97, {75}, at::kInt);
    expect_rows_independent(75, [&](const Tensor& rows) {
      Tensors some = in;
      some[0] = in[0].index_select(0, rows);
      return run_rope(rope, positions.index_select(0, rows), table, layout)(some);
    });
  }
}

TEST_P(RopeTest, threads_change_no_gradient) {
  const HeadLayout layout{4, 2, 22};
  const Tensor positions = at::randint(97, {300}, at::kInt);
  for (const bool normed : {false, true})
    expect_threads_change_nothing(run_rope(rope, positions, rope_table(97, 22, 10000), layout),
                                  inputs(300, layout, normed));
}

TEST(RopeGradient, agrees_with_finite_differences) {
  const HeadLayout layout{2, 1, 6};
  const Op op = run_rope(rope, at::tensor({3, 0, 8}, at::kInt), rope_table(9, 6, 100), layout);
  check_finite_differences(op, {at::randn({3, layout.width()})});
  check_finite_differences(op, {at::randn({3, layout.width()}), at::randn({6}), at::randn({6})});
}

TEST(RopeRefuses, what_does_not_fit) {
  const HeadLayout layout{2, 1, 6};
  const Tensor qkv = at::randn({3, layout.width()}), at_positions = at::zeros({3}, at::kInt),
               table = rope_table(9, 6, 100);
  const Tensor norm = at::ones({6});
  const auto call = [&](const Tensor& x, const Tensor& p, const Tensor& t, std::optional<Tensor> q = {},
                        std::optional<Tensor> k = {}) { return rope(x, p, t, layout, q, k, 1e-6); };
  EXPECT_ERROR(call(at::randn({3, 25}), at_positions, table), "[rope] expected qkv [tokens, 24], got [3, 25]");
  EXPECT_ERROR(call(qkv, at::zeros({2}, at::kInt), table), "[rope] expected int32 positions [3]");
  EXPECT_ERROR(call(qkv, at::zeros({3}, at::kLong), table), "[rope] expected int32 positions [3]");
  EXPECT_ERROR(call(qkv, at_positions, table.to(at::kMeta)), "[rope] expected positions and the table on cpu");
  EXPECT_ERROR(call(qkv, at_positions, rope_table(9, 8, 100)), "[rope] expected an fp32 table of [positions, 6]");
  EXPECT_ERROR(call(qkv, at_positions, table.to(at::kDouble)), "[rope] expected an fp32 table");
  EXPECT_ERROR(call(qkv, at_positions, table, norm), "[rope] expected both of q_norm and k_norm or neither");
  EXPECT_ERROR(call(qkv, at_positions, table, norm, at::ones({5})), "[rope] expected norm weights [6], got [5]");
  EXPECT_ERROR(call(qkv, at_positions, table, norm, norm.to(at::kBFloat16)), "[rope] expected the norm weights to be");
  EXPECT_ERROR(call(qkv.to(at::kHalf), at_positions, table), "[rope] expected float32 or bfloat16");
  for (const int position : {-1, 9})
    EXPECT_ERROR(call(qkv, at::full({3}, position, at::kInt), table),
                 "[rope] expected positions in [0, 9), got " + std::to_string(position));
  EXPECT_ERROR(rope_table(4, 7, 100), "[rope] expected an even head_dim");
}

// ------------------------------------------------------------------------------------------------------------ all ops

class AllOpsTest : public OpTest {
 protected:
  struct Case {
    std::string name;
    Op op, reference;
    Tensors inputs;
    size_t weights;  // so many of the inputs, from the second on
  };
  std::vector<Case> cases() const {
    const auto pair = [](auto f) {
      return std::pair<Op, Op>([f](const Tensors& t) { return f(t, false); },
                               [f](const Tensors& t) { return f(t, true); });
    };
    std::vector<Case> list;
    const auto add = [&](const std::string& name, const std::pair<Op, Op>& forms, const Tensors& inputs, size_t weights) {
      list.push_back({name, forms.first, forms.second, inputs, weights});
    };
    const int64_t n = 19;  // more than one vector, and a tail
    add("linear", pair([](const Tensors& t, bool plain) {
          return Tensors{plain ? reference::linear(t[0], t[1], t[2]) : grpo::linear(t[0], t[1], t[2])};
        }),
        {randn({3, n}), randn({5, n}), randn({5})}, 2);
    const Tensor offsets = ints({0, 2, 2, 5});
    add("grouped_linear", pair([=](const Tensors& t, bool plain) {
          return Tensors{plain ? reference::grouped_linear(t[0], t[1], offsets) : grouped_linear(t[0], t[1], offsets)};
        }),
        {randn({5, n}), randn({3, 4, n})}, 1);
    add("rms_norm", pair([](const Tensors& t, bool plain) {
          return Tensors{(plain ? reference::rms_norm : rms_norm)(t[0], t[1], 1e-5)};
        }),
        {randn({3, n}), randn({n})}, 1);
    add("swiglu", pair([](const Tensors& t, bool plain) { return Tensors{(plain ? reference::swiglu : swiglu)(t[0])}; }),
        {randn({2, 2 * n})}, 0);
    const HeadLayout layout{2, 1, 18};
    const Tensor positions = at::tensor({4, 0, 7}, at::kInt), table = rope_table(9, 18, 100);
    add("rope", pair([=](const Tensors& t, bool plain) {
          return Tensors{(plain ? reference::rope : rope)(t[0], positions, table, layout, t[1], t[2], 1e-5, false)};
        }),
        {randn({3, layout.width()}), randn({18}), randn({18})}, 2);
    const Tensor targets = at::tensor({3, 20, 0}, at::kInt);
    for (const KeptSets& kept : {KeptSets{}, KeptSets{ints({3, 7, 0, 4, 20}), at::tensor({0, 2, 5, 5}, at::kLong)}})
      add(!kept.ids.defined() ? "token_logprobs" : "token_logprobs, kept", pair([=](const Tensors& t, bool plain) {
            const auto out = (plain ? reference::token_logprobs : token_logprobs)(t[0], t[1], targets, 0.8, kept);
            return Tensors{out.logprobs, out.entropy};
          }),
          {randn({3, 5}), randn({21, 5})}, 1);
    Routing routing;
    routing.slots = at::tensor({3, 0, 1, 5, 4, 2}, at::kInt).view({3, 2});
    add("dispatch", pair([=](const Tensors& t, bool plain) {
          return Tensors{(plain ? reference::dispatch : dispatch)(t[0], routing)};
        }),
        {randn({3, n})}, 0);
    add("combine", pair([=](const Tensors& t, bool plain) {
          Routing r = routing;
          r.weights = t[1];
          return Tensors{(plain ? reference::combine : combine)(t[0], r, t[2])};
        }),
        {randn({6, n}), at::rand({3, 2}) + 0.1, randn({3, n})}, 0);
    for (const bool softmax : {false, true})
      for (const int64_t groups : {1, 3})
        add("route", pair([=](const Tensors& t, bool plain) {
              RouterOptions options{2, softmax ? Scoring::softmax : Scoring::sigmoid};
              options.groups = groups, options.groups_per_token = (groups + 1) / 2, options.group_best = 2;
              const Routing r = (plain ? reference::route : route)(t[0], at::zeros({21}), options);
              return Tensors{r.weights, r.scores};
            }),
            {at::randn({3, 21})}, 0);
    return list;
  }
};
INSTANTIATE_FOR_TYPES(AllOpsTest);

TEST_P(AllOpsTest, let_nan_and_infinity_through) {
  for (const Case& each : cases()) {
    SCOPED_TRACE(each.name);
    expect_spreads(each.op, each.reference, each.inputs);
  }
}

TEST_P(AllOpsTest, add_to_a_weights_fp32_gradient_in_place) {
  const Tensor ids = at::tensor({3, 0, 3}, at::kInt);
  std::vector<Case> list = cases();
  list.push_back({"embedding", [=](const Tensors& t) { return Tensors{grpo::embedding(t[1], ids)}; }, {},
                  {randn({1}), randn({4, 33})}, 1});
  list.push_back({"grouped_linear, a transpose",
                  [](const Tensors& t) { return Tensors{grouped_linear(t[0], t[1], ints({0, 2, 5}))}; }, {},
                  {randn({5, 19}), randn({2, 19, 4}).transpose(1, 2)}, 1});
  for (const Case& each : list) {
    if (each.weights == 0) continue;
    SCOPED_TRACE(each.name);
    const Tensors dy = random_gradients(each.op(each.inputs));
    // In fp32 alone: what each of three passes gives.
    Tensors wide, expected;
    for (const Tensor& input : each.inputs) wide.push_back(input.to(at::kFloat));
    for (const Tensor& gradient : evaluate_op(each.op, wide, dy).gradients) expected.push_back(gradient);
    Tensors leaves;
    for (const Tensor& input : each.inputs) leaves.push_back(input.detach().requires_grad_(true));
    Tensors start, memory;
    for (size_t w = 1; w <= each.weights; ++w) {
      start.push_back(at::empty_like(leaves[w], leaves[w].options().dtype(at::kFloat).requires_grad(false)).normal_());
      memory.push_back(start.back().clone());
      leaves[w].mutable_grad() = memory.back();
    }
    const auto pass = [&] {
      const Tensors out = each.op(leaves);
      Tensor loss;
      for (size_t o = 0; o < out.size(); ++o) {
        const Tensor part = (out[o].to(at::kFloat) * dy[o]).sum();
        loss = loss.defined() ? loss + part : part;
      }
      if (loss.requires_grad()) loss.backward();
    };
    for (int i = 0; i < 3; ++i) pass();
    for (size_t w = 1; w <= each.weights; ++w) {
      EXPECT_EQ(leaves[w].grad().data_ptr(), memory[w - 1].data_ptr()) << "weight " << w;
      // Nothing is rounded to the weight's type on the way, but for the gradients of logits.
      const bool rounded = narrow() && each.name.starts_with("token_logprobs");
      expect_close(leaves[w].grad() - start[w - 1], 3 * expected[w], rounded ? 0x1p-7 : 1e-5, rounded ? 1e-2 : 5e-6,
                   "weight " + std::to_string(w));
    }
    // A frozen weight's stays as it is.
    Tensors before;
    for (size_t w = 1; w <= each.weights; ++w) {
      leaves[w].requires_grad_(false);
      before.push_back(memory[w - 1].clone());
    }
    pass();
    for (size_t w = 1; w <= each.weights; ++w)
      EXPECT_TRUE(same_bits(memory[w - 1], before[w - 1])) << "frozen weight " << w;
  }
}

}  // namespace
}  // namespace grpo
