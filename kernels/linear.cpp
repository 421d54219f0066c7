#include <algorithm>
#include <span>

#include "kernels/op.h"

namespace grpo {
namespace {

// The three products of a linear layer, for `rows` rows; y [rows, out], x [rows, in], w and its gradient [out, in] with
// any strides of which one is 1.
struct Product {
  cpu::Type type;
  int64_t rows, in, out;
  int64_t w_out, w_in;  // strides of w

  void forward(const void* x, const void* w, void* y) const {
    cpu::kernels().gemm(type, type, rows, out, in, {x, in, 1}, {w, w_in, w_out}, y, out, false);
  }
  void input_gradient(const void* dy, const void* w, void* dx) const {
    cpu::kernels().gemm(type, type, rows, in, out, {dy, out, 1}, {w, w_out, w_in}, dx, in, false);
  }
  // Adds to dw, which is fp32.
  void weight_gradient(const void* dy, const void* x, void* dw, int64_t dw_out, int64_t dw_in) const {
    const auto add = [&](int64_t m, int64_t n, cpu::MatrixRef a, cpu::MatrixRef b, int64_t stride) {
      cpu::kernels().gemm(type, cpu::Type::f32, m, n, rows, a, b, dw, stride, true);
    };
    if (dw_in == 1)
      add(out, in, {dy, 1, out}, {x, in, 1}, dw_out);
    else
      add(in, out, {x, 1, in}, {dy, out, 1}, dw_in);
  }
};

struct Linear : Function<Linear> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight, std::optional<Tensor> bias) {
    Tensor y = at::empty({x.size(0), weight.size(0)}, x.options());
    product(x, weight).forward(x.data_ptr(), weight.data_ptr(), y.data_ptr());
    if (bias) y.add_(*bias);
    ctx->save_for_backward({x, weight, bias.value_or(Tensor())});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &bias = saved[2], dy = grads[0].contiguous();
    Tensor dx, dweight, dbias;
    if (ctx->needs_input_grad(0)) {
      dx = at::empty_like(x);
      product(x, weight).input_gradient(dy.data_ptr(), weight.data_ptr(), dx.data_ptr());
    }
    if (ctx->needs_input_grad(1)) {
      const WeightGradient gradient(weight);
      product(x, weight).weight_gradient(dy.data_ptr(), x.data_ptr(), gradient.sum.data_ptr(), x.size(1), 1);
      dweight = gradient.for_autograd();
    }
    if (bias.defined() && ctx->needs_input_grad(2)) {
      const WeightGradient gradient(bias);
      gradient.sum.add_(at::sum(dy, 0, false, at::kFloat));
      dbias = gradient.for_autograd();
    }
    return {dx, dweight, dbias};
  }

 private:
  static Product product(const Tensor& x, const Tensor& weight) {
    return {kernel_type(x, "linear"), x.size(0), x.size(1), weight.size(0), x.size(1), 1};
  }
};

// Experts side by side, one to a thread: their few rows are too little to share out. f gets the expert's product and
// functions that find its part of a tensor of rows and of a tensor of weights.
template <class F>
void each_expert(const Tensor& x, const Tensor& weight, const Tensor& offsets, F f) {
  const cpu::Type type = kernel_type(x, "grouped_linear");
  const int32_t* starts = offsets.data_ptr<int32_t>();
  parallel_for(weight.size(0), [&](int64_t e) {
    const int64_t first = starts[e], rows = starts[e + 1] - first;
    if (rows == 0) return;
    const auto at_row = [first](const Tensor& t) {
      return static_cast<char*>(t.data_ptr()) + first * t.size(1) * t.element_size();
    };
    const auto at_expert = [e](const Tensor& t) {
      return static_cast<char*>(t.data_ptr()) + e * t.stride(0) * t.element_size();
    };
    f(Product{type, rows, x.size(1), weight.size(1), weight.stride(1), weight.stride(2)}, at_row, at_expert);
  });
}

struct GroupedLinear : Function<GroupedLinear> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight, Tensor offsets) {
    Tensor y = at::empty({x.size(0), weight.size(1)}, x.options());
    each_expert(x, weight, offsets, [&](const Product& product, auto at_row, auto at_expert) {
      product.forward(at_row(x), at_expert(weight), at_row(y));
    });
    ctx->save_for_backward({x, weight, offsets});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], dy = grads[0].contiguous();
    Tensor dx;
    std::optional<WeightGradient> dweight;
    if (ctx->needs_input_grad(0)) dx = at::empty_like(x);
    if (ctx->needs_input_grad(1)) dweight.emplace(weight);
    each_expert(x, weight, saved[2], [&](const Product& product, auto at_row, auto at_expert) {
      if (dx.defined()) product.input_gradient(at_row(dy), at_expert(weight), at_row(dx));
      if (!dweight) return;
      const Tensor& dw = dweight->sum;
      product.weight_gradient(at_row(dy), at_row(x), at_expert(dw), dw.stride(1), dw.stride(2));
    });
    return {dx, dweight ? dweight->for_autograd() : Tensor(), Tensor()};
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
  if (!x.is_cpu()) return reference::linear(x, weight, bias);
  kernel_type(x, "linear");
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
  if (!x.is_cpu()) return reference::grouped_linear(x, weight, offsets);
  const std::span<const int32_t> starts(offsets.data_ptr<int32_t>(), offsets.size(0));
  require(starts.front() == 0 && starts.back() == x.size(0) && std::ranges::is_sorted(starts), "grouped_linear",
          "expected offsets that ascend from 0 to ", x.size(0));
  kernel_type(x, "grouped_linear");
  const bool usable = weight.stride(1) == 1 || weight.stride(2) == 1;
  return GroupedLinear::apply(x.contiguous(), usable ? weight : weight.contiguous(), offsets);
}

}  // namespace grpo
