#include "kernels/op.h"

namespace grpo {
namespace {

struct Embedding : Function<Embedding> {
  static Tensor forward(AutogradContext* ctx, const Tensor& weight, Tensor tokens) {
    Tensor y = at::empty({tokens.size(0), weight.size(1)}, weight.options());
    Launch(weight, "embedding")(&kernel::Table::embedding, tokens.size(0), weight.size(1), weight.data_ptr(),
                                tokens.data_ptr<int32_t>(), y.data_ptr());
    ctx->save_for_backward({weight, tokens});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &weight = saved[0], &tokens = saved[1], dy = grads[0].contiguous();
    const Launch run(dy, "embedding");
    if (!run.has(&kernel::Table::embedding_backward))
      return {reference_gradients({weight}, {dy}, [&](const variable_list& t) {
                return variable_list{reference::embedding(t[0], tokens)};
              })[0],
              Tensor()};
    const WeightGradient gradient(weight);
    run(&kernel::Table::embedding_backward, tokens.size(0), dy.size(1), dy.data_ptr(),
                            tokens.data_ptr<int32_t>(), gradient.sum.data_ptr<float>());
    return {gradient.for_autograd(), Tensor()};
  }
};

}  // namespace

Tensor embedding(const Tensor& weight, const Tensor& tokens) {
  require(weight.dim() == 2, "embedding", "expected weight [vocab, n], got ", weight.sizes());
  require(tokens.dim() == 1 && tokens.scalar_type() == at::kInt, "embedding", "expected int32 tokens [T], got ",
          tokens.scalar_type(), " ", tokens.sizes());
  require(tokens.device() == weight.device(), "embedding", "expected tokens on ", weight.device(), ", got ",
          tokens.device());
  if (!Launch(weight, "embedding").has(&kernel::Table::embedding)) return reference::embedding(weight, tokens);
  const Tensor ids = tokens.contiguous();
  for (int64_t t = 0; ids.is_cpu() && t < ids.size(0); ++t)
    if (const int32_t id = ids.data_ptr<int32_t>()[t]; id < 0 || id >= weight.size(0))
      throw Error("embedding", "expected tokens in [0, ", weight.size(0), "), got ", id, " at token ", t);
  return Embedding::apply(weight.contiguous(), ids);
}

}  // namespace grpo
