#include <torch/csrc/autograd/autograd.h>

#include "kernels/op.h"
#include "kernels/reference/wide_logits.h"

namespace grpo::reference {
namespace {

// a·b in fp32, out of factors of one type, which are not rounded further.
Tensor wide_product(const Tensor& a, const Tensor& b) {
  if (a.is_cuda() && a.scalar_type() != at::kFloat) return at::mm(a, b, at::kFloat);
  return at::mm(a.to(at::kFloat), b.to(at::kFloat));
}

struct WideLogits : Function<WideLogits> {
  static Tensor forward(AutogradContext* ctx, const Tensor& hidden, const Tensor& head) {
    ctx->save_for_backward({hidden, head});
    return wide_product(hidden, head.t());
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &hidden = saved[0], &head = saved[1], d = grads[0].to(hidden.scalar_type());
    variable_list gradients(2);
    if (ctx->needs_input_grad(0)) gradients[0] = wide_product(d, head).to(hidden.scalar_type());
    if (ctx->needs_input_grad(1)) gradients[1] = wide_product(d.t(), hidden);
    return gradients;
  }
};

}  // namespace

Tensor wide_logits(const Tensor& hidden, const Tensor& head) { return WideLogits::apply(hidden, head); }

TokenLogprobs token_logprobs(const Tensor& hidden, const Tensor& head, const Tensor& targets, double temperature,
                             const KeptSets& kept) {
  Tensor logits = wide_logits(hidden, head) / temperature;
  if (kept.ids.defined()) {
    const Tensor host_ids = kept.ids.cpu(), host_starts = kept.starts.cpu();
    const int32_t* ids = host_ids.data_ptr<int32_t>();
    const int64_t* starts = host_starts.data_ptr<int64_t>();
    Tensor allowed = at::zeros(logits.sizes(), at::kBool);
    for (int64_t t = 0; t < hidden.size(0); ++t) {
      if (starts[t] == starts[t + 1]) allowed.select(0, t).fill_(true);
      for (int64_t i = starts[t]; i < starts[t + 1]; ++i) allowed.select(0, t)[ids[i]] = true;
    }
    logits = logits.masked_fill(allowed.logical_not().to(logits.device()), -INFINITY);
  }
  const Tensor all = at::log_softmax(logits, -1);
  const Tensor entropy = -(all.exp() * all.clamp_min(-1e30)).sum(-1);
  return {all.gather(-1, targets.to(at::kLong).unsqueeze(-1)).squeeze(-1), entropy};
}

LearnedTokens learn_tokens(const Tensor& hidden, const Tensor& head, const Tensor& targets, double temperature,
                           const KeptSets& kept, const TokenGradients& gradients) {
  const at::AutoGradMode on(true);
  const Tensor leaf = hidden.detach().requires_grad_();
  const TokenLogprobs out = reference::token_logprobs(leaf, head, targets, temperature, kept);
  const TokenLogprobs found{out.logprobs.detach(), out.entropy.detach()};
  const TokenLogprobs d = gradients(0, found);
  std::vector<Tensor> roots{out.logprobs}, by{d.logprobs};
  if (d.entropy.defined()) roots.push_back(out.entropy), by.push_back(d.entropy);
  torch::autograd::backward(roots, by);
  return {found, leaf.grad()};
}

}  // namespace grpo::reference
