#include "kernels/op.h"

namespace grpo {
namespace {

struct RmsNorm : Function<RmsNorm> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight, double epsilon) {
    Tensor y = at::empty_like(x);
    Launch(x, "rms_norm")(&kernel::Table::rms_norm, x.size(0), x.size(1), x.data_ptr(), weight.data_ptr(),
                          static_cast<float>(epsilon), y.data_ptr());
    ctx->save_for_backward({x, weight});
    ctx->saved_data["epsilon"] = epsilon;
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], dy = grads[0].contiguous();
    const Launch run(x, "rms_norm");
    const double epsilon = ctx->saved_data["epsilon"].toDouble();
    if (!run.has(&kernel::Table::rms_norm_backward)) {
      const variable_list found = reference_gradients({x, weight}, {dy}, [&](const variable_list& t) {
        return variable_list{reference::rms_norm(t[0], t[1], epsilon)};
      });
      return {found[0], found[1], Tensor()};
    }
    Tensor dx = at::empty_like(x);
    const WeightGradient gradient(weight, ctx->needs_input_grad(1));
    run(&kernel::Table::rms_norm_backward, x.size(0), x.size(1), x.data_ptr(), weight.data_ptr(),
                          dy.data_ptr(), static_cast<float>(epsilon), dx.data_ptr(),
                          gradient.sum.data_ptr<float>());
    return {dx, gradient.for_autograd(), Tensor()};
  }
};

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon) {
  require(x.dim() == 2, "rms_norm", "expected x [tokens, n], got ", x.sizes());
  require(weight.dim() == 1 && weight.size(0) == x.size(1), "rms_norm", "weight: expected [", x.size(1), "], got ",
          weight.sizes());
  require_alike(weight, x, "rms_norm", "weight");
  if (!Launch(x, "rms_norm").has(&kernel::Table::rms_norm)) return reference::rms_norm(x, weight, epsilon);
  return RmsNorm::apply(x.contiguous(), weight.contiguous(), epsilon);
}

NormedSum add_rms_norm(const Tensor& x, const Tensor& more, const Tensor& weight, double epsilon) {
  const Launch run(x, "rms_norm");
  if (at::GradMode::is_enabled() || !run.has(&kernel::Table::add_rms_norm) || !x.is_contiguous() ||
      !more.is_contiguous() || x.sizes() != more.sizes()) {
    const Tensor sum = x + more;
    return {sum, rms_norm(sum, weight, epsilon)};
  }
  require_alike(more, x, "rms_norm", "what is added");
  require_alike(weight, x, "rms_norm", "weight");
  NormedSum out{at::empty_like(x), at::empty_like(x)};
  run(&kernel::Table::add_rms_norm, x.size(0), x.size(1), x.data_ptr(), more.data_ptr(), out.sum.data_ptr(),
      weight.data_ptr(), static_cast<float>(epsilon), out.normed.data_ptr());
  return out;
}

}  // namespace grpo
