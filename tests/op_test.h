// What the tests of ops share: an op beside its reference, gradients beside finite differences, rows beside themselves.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "base/parallel.h"
#include "grpo/error.h"
#include "grpo/ops.h"

#define EXPECT_ERROR(statement, text) \
  EXPECT_THAT([&] { statement; }, ::testing::ThrowsMessage<::grpo::Error>(::testing::HasSubstr(text)))

namespace grpo {

using Tensors = std::vector<Tensor>;
using Op = std::function<Tensors(const Tensors&)>;

/// One seed for each test, the machine's threads again after it. The parameter is a dtype.
class OpTest : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    at::manual_seed(20240607);
    at::set_num_threads(1);  // for the references: the cores are busy already
  }
  void TearDown() override { set_num_threads(threads_); }
  Tensor randn(at::IntArrayRef shape) const { return at::randn(shape).to(GetParam()); }
  bool narrow() const { return GetParam() == at::kBFloat16; }

 private:
  int threads_ = num_threads();
};

inline std::string type_name(const ::testing::TestParamInfo<at::ScalarType>& info) {
  return info.param == at::kFloat ? "fp32" : "bf16";
}
#define INSTANTIATE_FOR_TYPES(Suite) \
  INSTANTIATE_TEST_SUITE_P(Type, Suite, ::testing::Values(at::kFloat, at::kBFloat16), type_name)

inline Tensor ints(const std::vector<int32_t>& values) { return at::tensor(values, at::kInt); }

inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  const Tensor x = a.detach().contiguous(), y = b.detach().contiguous();
  return x.numel() == 0 || std::memcmp(x.data_ptr(), y.data_ptr(), x.numel() * x.element_size()) == 0;
}

/// |got − expected| ≤ relative·|expected| + absolute·max |expected|, everywhere.
inline void expect_close(const Tensor& got, const Tensor& expected, double relative, double absolute,
                         const std::string& what) {
  ASSERT_EQ(got.sizes(), expected.sizes()) << what;
  if (got.numel() == 0) return;
  const Tensor g = got.detach().to(at::kDouble), e = expected.detach().to(at::kDouble);
  const double scale = e.abs().max().item<double>();
  const double excess = ((g - e).abs() - e.abs() * relative).max().item<double>();
  EXPECT_LE(excess, absolute * scale + 1e-30) << what << " (of magnitude " << scale << ")";
}

struct Evaluation {
  Tensors outputs, gradients;
};

/// Outputs of `op`, and the gradients of Σ outputs·dy with respect to every floating-point input.
inline Evaluation evaluate_op(const Op& op, const Tensors& inputs, const Tensors& dy) {
  Tensors leaves;
  for (const Tensor& input : inputs) leaves.push_back(input.detach().clone().requires_grad_(input.is_floating_point()));
  Evaluation result;
  const Tensors outputs = op(leaves);
  Tensor loss;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor part = (outputs[i].to(at::kFloat) * dy[i]).sum();
    loss = loss.defined() ? loss + part : part;
    result.outputs.push_back(outputs[i].detach());
  }
  loss.backward();
  for (const Tensor& leaf : leaves)
    if (leaf.requires_grad()) result.gradients.push_back(leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf));
  return result;
}

/// Random gradients for `outputs` that bf16 holds exactly.
inline Tensors random_gradients(const Tensors& outputs) {
  Tensors dy;
  for (const Tensor& out : outputs) dy.push_back(at::randn(out.sizes()).to(at::kBFloat16).to(at::kFloat));
  return dy;
}

struct Tolerance {
  double forward = 1e-5, backward = 2e-5;  ///< of the largest value, over rounding to the dtype
};

/// `op` against `reference` with the inputs widened to fp32, forward and backward; results in bf16 may be off by their
/// rounding besides. The reference with the inputs as they are must come near, too.
inline void check_op(const Op& op, const Op& reference, const Tensors& inputs, Tolerance tolerance = {}) {
  bool narrow = false;
  Tensors wide;
  for (const Tensor& input : inputs) {
    narrow |= input.scalar_type() == at::kBFloat16;
    wide.push_back(input.is_floating_point() ? input.to(at::kFloat) : input);
  }
  const double rounding = narrow ? 0x1p-8 : 1e-6;
  const Tensors dy = random_gradients(reference(wide));
  const Evaluation got = evaluate_op(op, inputs, dy), expected = evaluate_op(reference, wide, dy);
  ASSERT_EQ(got.outputs.size(), expected.outputs.size());
  const Tensors rough = reference(inputs);
  for (size_t i = 0; i < got.outputs.size(); ++i) {
    EXPECT_EQ(got.outputs[i].scalar_type(), rough[i].scalar_type());
    expect_close(got.outputs[i], expected.outputs[i], rounding, tolerance.forward, "output " + std::to_string(i));
    if (narrow) expect_close(rough[i], expected.outputs[i], 0x1p-6, 0x1p-6, "reference " + std::to_string(i));
  }
  ASSERT_EQ(got.gradients.size(), expected.gradients.size());
  for (size_t i = 0; i < got.gradients.size(); ++i)
    expect_close(got.gradients[i], expected.gradients[i], rounding, tolerance.backward,
                 "gradient " + std::to_string(i));
}

/// The gradients of `op` (fp32) against central differences along random directions, one input at a time.
inline void check_finite_differences(const Op& op, const Tensors& inputs, double step = 1e-2, double tolerance = 3e-3) {
  const Tensors dy = random_gradients(op(inputs));
  const Tensors gradients = evaluate_op(op, inputs, dy).gradients;
  const auto loss = [&](const Tensors& at_inputs) {
    const Tensors outputs = op(at_inputs);
    double total = 0;
    for (size_t i = 0; i < outputs.size(); ++i)
      total += (outputs[i].to(at::kDouble) * dy[i].to(at::kDouble)).sum().item<double>();
    return total;
  };
  for (size_t i = 0, g = 0; i < inputs.size(); ++i) {
    if (!inputs[i].is_floating_point()) continue;
    const Tensor& gradient = gradients[g++];
    for (int direction = 0; direction < 4; ++direction) {
      const Tensor v = at::randn_like(inputs[i]);
      Tensors moved = inputs;
      moved[i] = inputs[i] + v * step;
      double difference = loss(moved);
      moved[i] = inputs[i] - v * step;
      difference = (difference - loss(moved)) / (2 * step);
      EXPECT_NEAR(difference, (gradient * v).sum().item<double>(), tolerance * gradient.norm().item<double>() + 1e-5)
          << "input " << i;
    }
  }
}

/// `compute(rows)` runs an op on the input rows that the int64 tensor `rows` lists and gives outputs with as many rows.
/// A row's bits must be those of the row alone: in any batch, at any offset, in any order, with 1, 2 and 3 threads.
inline void expect_rows_independent(int64_t rows, const std::function<Tensors(const Tensor&)>& compute,
                                    int64_t most = 70) {
  at::NoGradGuard guard;
  set_num_threads(1);
  std::vector<Tensors> each;
  for (int64_t row = 0; row < rows; ++row) each.push_back(compute(at::tensor({row}, at::kLong)));
  Tensors alone;
  for (size_t i = 0; i < each[0].size(); ++i) {
    Tensors parts;
    for (const Tensors& outputs : each) parts.push_back(outputs[i]);
    alone.push_back(at::cat(parts));
  }
  int mismatches = 0;
  const auto check = [&](const Tensor& index, int threads) {
    const Tensors out = compute(index);
    for (size_t i = 0; i < out.size() && mismatches < 5; ++i)
      if (!same_bits(out[i], alone[i].index_select(0, index)))
        ADD_FAILURE() << ++mismatches << ": output " << i << " of " << index.size(0) << " rows from "
                      << index[0].item<int64_t>() << " on, " << threads << " threads";
  };
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    // Every size, at an offset of its own; fewer with 3 threads, which few machines of two cores like.
    for (int64_t size = 1; size <= std::min(rows, most); size += threads == 3 ? 11 : 1)
      check(at::arange(size, at::kLong) + size * 7 % (rows - size + 1), threads);
    check(at::arange(rows, at::kLong), threads);
    check(at::randperm(rows, at::kLong), threads);
    check(at::randint(rows, {2 * rows + 1}, at::kLong), threads);
  }
}

/// Outputs and gradients have the same bits with 1, 2 and 3 threads. The inputs should be large enough to be shared
/// out.
inline void expect_threads_change_nothing(const Op& op, const Tensors& inputs) {
  const Tensors dy = random_gradients(op(inputs));
  set_num_threads(1);
  const Evaluation one = evaluate_op(op, inputs, dy);
  for (const int threads : {2, 3}) {
    set_num_threads(threads);
    const Evaluation many = evaluate_op(op, inputs, dy);
    for (size_t i = 0; i < one.outputs.size(); ++i)
      EXPECT_TRUE(same_bits(one.outputs[i], many.outputs[i])) << "output " << i << ", " << threads << " threads";
    for (size_t i = 0; i < one.gradients.size(); ++i)
      EXPECT_TRUE(same_bits(one.gradients[i], many.gradients[i])) << "gradient " << i << ", " << threads << " threads";
  }
}

/// 3 where a value is NaN, 1 and 2 where it is +inf and -inf, 0 where it is finite.
inline Tensor kinds(const Tensor& t) {
  const Tensor x = t.detach().to(at::kFloat);
  return x.isnan().to(at::kInt) * 3 + x.isposinf().to(at::kInt) + x.isneginf().to(at::kInt) * 2;
}

/// A NaN (of any bits) or an infinity in any row and any column of any input makes outputs what it makes those of
/// `reference`: NaN, infinite or finite; and no gradient is finite that is not so there.
inline void expect_spreads(const Op& op, const Op& reference, const Tensors& inputs) {
  set_num_threads(1);
  const Tensors dy = random_gradients(op(inputs));
  constexpr int kUpper[] = {0x7f81, 0x7f80, 0xffff, 0xff80};  // NaN, +inf, NaN of other bits, -inf
  int failures = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].is_floating_point() || inputs[i].numel() == 0) continue;
    const bool wide = inputs[i].scalar_type() == at::kFloat;
    const int64_t columns = inputs[i].size(-1), rows = inputs[i].numel() / columns;
    // Down a diagonal that comes back at the edges; in bf16, which shares most of the code, at every other place.
    for (int64_t k = 0, tried = 0; k < std::max(rows, columns); k += wide ? 1 : 2, ++tried) {
      const int64_t place = k % rows * columns + k % columns;
      const int upper = kUpper[tried % 4];
      Tensors broken = inputs, widened;
      broken[i] = inputs[i].clone();
      if (wide)
        broken[i].data_ptr<float>()[place] =
            std::bit_cast<float>(static_cast<uint32_t>(upper) << 16 | (upper % 0x80 == 0 ? 0u : 0x1bcdu));
      else
        broken[i].data_ptr<at::BFloat16>()[place] =
            at::BFloat16(static_cast<uint16_t>(upper), at::BFloat16::from_bits());
      for (const Tensor& input : broken) widened.push_back(input.is_floating_point() ? input.to(at::kFloat) : input);
      const Evaluation got = evaluate_op(op, broken, dy), expected = evaluate_op(reference, widened, dy);
      const auto fail = [&](const char* what, size_t which) {
        if (++failures <= 5)
          ADD_FAILURE() << what << " " << which << ": input " << i << " holds " << std::hex << upper << std::dec << " at "
                        << place;
      };
      for (size_t o = 0; o < got.outputs.size(); ++o)
        if (!kinds(got.outputs[o]).equal(kinds(expected.outputs[o]))) fail("output", o);
      for (size_t g = 0; g < got.gradients.size(); ++g)
        if ((got.gradients[g].isfinite() & expected.gradients[g].isfinite().logical_not()).any().item<bool>())
          fail("gradient", g);
    }
  }
}

}  // namespace grpo
