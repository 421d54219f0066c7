#include "kernels/op.h"

namespace grpo {
namespace {

struct SwiGlu : Function<SwiGlu> {
  static Tensor forward(AutogradContext* ctx, const Tensor& gate_up) {
    const int64_t n = gate_up.size(1) / 2;
    Tensor y = at::empty({gate_up.size(0), n}, gate_up.options());
    Launch(gate_up, "swiglu")(&kernel::Table::swiglu, gate_up.size(0), n, gate_up.data_ptr(), y.data_ptr());
    ctx->save_for_backward({gate_up});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Tensor gate_up = ctx->get_saved_variables()[0], dy = grads[0].contiguous();
    const Launch run(gate_up, "swiglu");
    if (!run.has(&kernel::Table::swiglu_backward))
      return reference_gradients({gate_up}, {dy},
                                 [](const variable_list& t) { return variable_list{reference::swiglu(t[0])}; });
    Tensor d = at::empty_like(gate_up);
    run(&kernel::Table::swiglu_backward, gate_up.size(0), gate_up.size(1) / 2,
                              gate_up.data_ptr(), dy.data_ptr(), d.data_ptr());
    return {d};
  }
};

}  // namespace

Tensor swiglu(const Tensor& gate_up) {
  require(gate_up.dim() == 2 && gate_up.size(1) % 2 == 0, "swiglu", "expected [tokens, 2n], got ", gate_up.sizes());
  if (!Launch(gate_up, "swiglu").has(&kernel::Table::swiglu)) return reference::swiglu(gate_up);
  return SwiGlu::apply(gate_up.contiguous());
}

}  // namespace grpo
