#include <algorithm>
#include <span>

#include "kernels/op.h"

namespace grpo {
namespace {

// Where gemm finds a matrix, and its transpose.
kernel::MatrixRef matrix(const Tensor& t) { return {t.data_ptr(), t.size(1), 1}; }
kernel::MatrixRef transposed(const Tensor& t) { return {t.data_ptr(), 1, t.size(1)}; }

struct Linear : Function<Linear> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight, std::optional<Tensor> bias) {
    const Launch run(x, "linear");
    Tensor y = at::empty({x.size(0), weight.size(0)}, x.options());
    run(&kernel::Table::gemm, run.type(), run.type(), x.size(0), y.size(1), x.size(1), matrix(x), transposed(weight),
        y.data_ptr(), y.size(1), false);
    if (bias) y.add_(*bias);
    ctx->save_for_backward({x, weight, bias.value_or(Tensor())});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &bias = saved[2], dy = grads[0].contiguous();
    const Launch run(x, "linear");
    const int64_t rows = x.size(0), in = x.size(1), out = weight.size(0);
    Tensor dx, dweight, dbias;
    if (ctx->needs_input_grad(0)) {
      dx = at::empty_like(x);
      run(&kernel::Table::gemm, run.type(), run.type(), rows, in, out, matrix(dy), matrix(weight), dx.data_ptr(), in,
          false);
    }
    if (ctx->needs_input_grad(1)) {
      const WeightGradient gradient(weight);
      run(&kernel::Table::gemm, run.type(), kernel::Type::f32, out, in, rows, transposed(dy), matrix(x),
          gradient.sum.data_ptr(), in, true);
      dweight = gradient.for_autograd();
    }
    if (bias.defined() && ctx->needs_input_grad(2)) {
      const WeightGradient gradient(bias);
      gradient.sum.add_(at::sum(dy, 0, false, at::kFloat));
      dbias = gradient.for_autograd();
    }
    return {dx, dweight, dbias};
  }
};

struct GroupedLinear : Function<GroupedLinear> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight, Tensor offsets) {
    const Launch run(x, "grouped_linear");
    Tensor y = at::empty({x.size(0), weight.size(1)}, x.options());
    run(&kernel::Table::grouped_gemm, run.type(), rows_of(x, offsets), y.size(1), x.size(1), x.data_ptr(),
        kernel::ExpertsRef{weight.data_ptr(), weight.stride(0), weight.stride(2), weight.stride(1)}, y.data_ptr());
    ctx->save_for_backward({x, weight, offsets});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &offsets = saved[2], dy = grads[0].contiguous();
    const Launch run(x, "grouped_linear");
    if (!run.has(&kernel::Table::grouped_gemm_sum)) {
      const variable_list found = reference_gradients({x, weight}, {dy}, [&](const variable_list& t) {
        return variable_list{reference::grouped_linear(t[0], t[1], offsets)};
      });
      return {found[0], found[1], Tensor()};
    }
    const int64_t in = x.size(1), out = dy.size(1);
    Tensor dx, dweight;
    if (ctx->needs_input_grad(0)) {
      dx = at::empty_like(x);
      run(&kernel::Table::grouped_gemm, run.type(), rows_of(x, offsets), in, out, dy.data_ptr(),
          kernel::ExpertsRef{weight.data_ptr(), weight.stride(0), weight.stride(1), weight.stride(2)}, dx.data_ptr());
    }
    if (ctx->needs_input_grad(1)) {
      const WeightGradient gradient(weight);
      const Tensor& dw = gradient.sum;
      const bool upright = dw.stride(2) == 1;  // else its transpose is what has rows
      run(&kernel::Table::grouped_gemm_sum, run.type(), rows_of(x, offsets), upright ? out : in, upright ? in : out,
          (upright ? dy : x).data_ptr(), (upright ? x : dy).data_ptr(), dw.data_ptr<float>(), dw.stride(0),
          dw.stride(upright ? 1 : 2));
      dweight = gradient.for_autograd();
    }
    return {dx, dweight, Tensor()};
  }

 private:
  static kernel::ExpertRows rows_of(const Tensor& x, const Tensor& offsets) {
    return {offsets.size(0) - 1, x.size(0), offsets.data_ptr<int32_t>()};
  }
};

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  require(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1), "linear",
          "expected x [tokens, in] and weight [out, in], got ", x.sizes(), " and ", weight.sizes());
  require_alike(weight, x, "linear", "weight");
  if (bias) {
    require(bias->dim() == 1 && bias->size(0) == weight.size(0), "linear", "expected bias [", weight.size(0), "], got ",
            bias->sizes());
    require_alike(*bias, x, "linear", "bias");
  }
  if (!Launch(x, "linear").has(&kernel::Table::gemm)) return reference::linear(x, weight, bias);
  return Linear::apply(x.contiguous(), weight.contiguous(),
                       bias ? std::optional<Tensor>(bias->contiguous()) : std::nullopt);
}

Tensor grouped_linear(const Tensor& x, const Tensor& weight, const Tensor& offsets) {
  require(x.dim() == 2 && weight.dim() == 3 && x.size(1) == weight.size(2), "grouped_linear",
          "expected x [rows, in] and weight [experts, out, in], got ", x.sizes(), " and ", weight.sizes());
  require_alike(weight, x, "grouped_linear", "weight");
  require(offsets.dim() == 1 && offsets.size(0) == weight.size(0) + 1 && offsets.scalar_type() == at::kInt &&
              offsets.device() == x.device() && offsets.is_contiguous(),
          "grouped_linear", "expected int32 offsets [", weight.size(0) + 1, "] on ", x.device(), ", got ",
          offsets.scalar_type(), " ", offsets.sizes(), " on ", offsets.device());
  if (!Launch(x, "grouped_linear").has(&kernel::Table::grouped_gemm))
    return reference::grouped_linear(x, weight, offsets);
  if (offsets.is_cpu()) {
    const std::span<const int32_t> starts(offsets.data_ptr<int32_t>(), offsets.size(0));
    require(starts.front() == 0 && starts.back() == x.size(0) && std::ranges::is_sorted(starts), "grouped_linear",
            "expected offsets that ascend from 0 to ", x.size(0));
  }
  const bool usable = weight.stride(1) == 1 || weight.stride(2) == 1;
  return GroupedLinear::apply(x.contiguous(), usable ? weight : weight.contiguous(), offsets);
}

}  // namespace grpo
