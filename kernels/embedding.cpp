#include <algorithm>
#include <cstring>

#include "kernels/op.h"

namespace grpo {
namespace {

constexpr int64_t kColumns = 256;  // of the gradient that a thread takes; each adds the tokens in order

template <class T>
void add_rows(const Tensor& dy, const Tensor& tokens, float* sum) {
  const int64_t n = dy.size(1);
  const T* grad = dy.data_ptr<T>();
  const int32_t* id = tokens.data_ptr<int32_t>();
  parallel_for((n + kColumns - 1) / kColumns, [&](int64_t task) {
    const int64_t begin = task * kColumns, end = std::min(n, begin + kColumns);
    for (int64_t t = 0; t < tokens.size(0); ++t)
      for (int64_t j = begin; j < end; ++j) sum[id[t] * n + j] += static_cast<float>(grad[t * n + j]);
  });
}

struct Embedding : Function<Embedding> {
  static Tensor forward(AutogradContext* ctx, const Tensor& weight, Tensor tokens) {
    Tensor y = at::empty({tokens.size(0), weight.size(1)}, weight.options());
    const int64_t bytes = weight.size(1) * weight.element_size();
    const auto* from = static_cast<const char*>(weight.data_ptr());
    auto* to = static_cast<char*>(y.data_ptr());
    for (int64_t t = 0; t < tokens.size(0); ++t)
      std::memcpy(to + t * bytes, from + tokens.data_ptr<int32_t>()[t] * bytes, bytes);
    ctx->save_for_backward({weight, tokens});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &weight = saved[0], &tokens = saved[1], dy = grads[0].contiguous();
    const WeightGradient gradient(weight);
    float* sum = gradient.sum.data_ptr<float>();
    kernel_type(dy, "embedding") == cpu::Type::f32 ? add_rows<float>(dy, tokens, sum)
                                                   : add_rows<at::BFloat16>(dy, tokens, sum);
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
  if (!weight.is_cpu()) return reference::embedding(weight, tokens);
  kernel_type(weight, "embedding");
  const Tensor ids = tokens.contiguous();
  for (int64_t t = 0; t < ids.size(0); ++t)
    if (const int32_t id = ids.data_ptr<int32_t>()[t]; id < 0 || id >= weight.size(0))
      throw Error("embedding", "expected tokens in [0, ", weight.size(0), "), got ", id, " at token ", t);
  return Embedding::apply(weight.contiguous(), ids);
}

}  // namespace grpo
