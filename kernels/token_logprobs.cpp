#include <algorithm>
#include <cmath>
#include <span>

#include "kernels/cpu/sample.h"
#include "kernels/op.h"
#include "kernels/reference/wide_logits.h"

namespace grpo {
namespace {

constexpr int64_t kChunk = 256;           // rows whose logits are worked out at one time
constexpr int64_t kKeptLogits = 1 << 26;  // so many (256 MiB) the forward pass keeps for the backward pass

cpu::MatrixRef rows_of(const Tensor& t, int64_t first) {
  return {static_cast<const char*>(t.data_ptr()) + first * t.size(1) * t.element_size(), t.size(1), 1};
}
cpu::MatrixRef transposed(cpu::MatrixRef m) { return {m.data, 1, m.row_stride}; }

// logits[rows, vocab] of hidden's rows from `first` on, in fp32.
void logits_of(const Tensor& hidden, const Tensor& head, int64_t first, int64_t rows, float* out) {
  const int64_t vocab = head.size(0);
  cpu::kernels().gemm(kernel_type(hidden, "token_logprobs"), cpu::Type::f32, rows, vocab, hidden.size(1),
                      rows_of(hidden, first), transposed(rows_of(head, 0)), out, vocab, false);
}

// Ids outside a token's kept set get logit −inf: from there on its softmax runs over the set. Gives the set's
// log-sum-exp by the sampler's own function, whose bits the recorded log-probability has.
float keep_only(float* row, int64_t vocab, float scale, const int32_t* ids, int64_t count, std::vector<float>& values) {
  const float sum = kept_log_sum_exp(row, scale, {ids, static_cast<size_t>(count)});
  values.resize(count);
  for (int64_t i = 0; i < count; ++i) values[i] = row[ids[i]];
  std::fill_n(row, vocab, -INFINITY);
  for (int64_t i = 0; i < count; ++i) row[ids[i]] = values[i];
  return sum;
}

struct TokenLogprobsFunction : Function<TokenLogprobsFunction> {
  static variable_list forward(AutogradContext* ctx, const Tensor& hidden, const Tensor& head, Tensor targets,
                               std::optional<Tensor> ids, std::optional<Tensor> starts, double temperature,
                               bool differentiable) {
    const Tensor kept_ids = ids.value_or(Tensor()), kept_starts = starts.value_or(Tensor());
    const int64_t tokens = hidden.size(0), vocab = head.size(0);
    const float scale = static_cast<float>(1.0 / temperature);
    const auto options = at::TensorOptions(at::kFloat);
    Tensor logprobs = at::empty({tokens}, options), entropy = at::empty({tokens}, options),
           sums = at::empty({tokens}, options);
    Tensor all = differentiable && tokens * vocab <= kKeptLogits ? at::empty({tokens, vocab}, options) : Tensor();
    each_chunk(hidden, head, kept_ids, kept_starts, scale, all,
               [&](int64_t first, int64_t rows, float* logits, const float* kept_sums) {
                 parallel_for(rows, [&](int64_t r) {
                   const int64_t t = first + r;
                   float* sum = sums.data_ptr<float>() + t;
                   cpu::kernels().logit_stats(logits + r * vocab, vocab, scale, sum, entropy.data_ptr<float>() + t);
                   if (!std::isnan(kept_sums[r])) *sum = kept_sums[r];
                   logprobs.data_ptr<float>()[t] = logits[r * vocab + targets.data_ptr<int32_t>()[t]] * scale - *sum;
                 });
               });
    ctx->save_for_backward({hidden, head, targets, kept_ids, kept_starts, sums, entropy});
    ctx->saved_data["temperature"] = temperature;
    if (all.defined()) ctx->saved_data["logits"] = all;
    return {logprobs, entropy};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &hidden = saved[0], &head = saved[1], &targets = saved[2], &sums = saved[5], &entropy = saved[6];
    const int64_t vocab = head.size(0), width = hidden.size(1);
    const float scale = static_cast<float>(1.0 / ctx->saved_data["temperature"].toDouble());
    const Tensor dlogprobs = grads[0].defined() ? grads[0].contiguous() : Tensor();
    const Tensor dentropy = grads[1].defined() ? grads[1].contiguous() : Tensor();
    const cpu::Type type = kernel_type(hidden, "token_logprobs");
    Tensor dhidden = at::empty_like(hidden);
    std::optional<WeightGradient> dhead;
    if (ctx->needs_input_grad(1)) dhead.emplace(head);
    Tensor narrowed = type == cpu::Type::bf16 ? at::empty({kChunk, vocab}, hidden.options()) : Tensor();
    // The logits become their own gradient, so they serve one backward pass; another one works them out again.
    Tensor all;
    if (const auto found = ctx->saved_data.find("logits"); found != ctx->saved_data.end()) {
      all = found->second.toTensor();
      ctx->saved_data.erase(found);
    }
    const auto backward_of = [&](int64_t first, int64_t rows, float* logits, const float*) {
      parallel_for(rows, [&](int64_t r) {
        const int64_t t = first + r;
        cpu::kernels().logit_backward(logits + r * vocab, vocab, scale, sums.data_ptr<float>()[t],
                                      entropy.data_ptr<float>()[t], targets.data_ptr<int32_t>()[t],
                                      dlogprobs.defined() ? dlogprobs.data_ptr<float>()[t] : 0.0f,
                                      dentropy.defined() ? dentropy.data_ptr<float>()[t] : 0.0f);
      });
      const void* dlogits = logits;
      if (narrowed.defined()) {
        cpu::kernels().narrow(logits, narrowed.data_ptr(), rows * vocab);
        dlogits = narrowed.data_ptr();
      }
      const cpu::MatrixRef d{dlogits, vocab, 1};
      cpu::kernels().gemm(type, type, rows, width, vocab, d, rows_of(head, 0),
                          const_cast<void*>(rows_of(dhidden, first).data), width, false);
      if (dhead)
        cpu::kernels().gemm(type, cpu::Type::f32, vocab, width, rows, transposed(d), rows_of(hidden, first),
                            dhead->sum.data_ptr(), width, true);
    };
    if (all.defined())
      for (int64_t first = 0; first < hidden.size(0); first += kChunk)
        backward_of(first, std::min(kChunk, hidden.size(0) - first), all.data_ptr<float>() + first * vocab, nullptr);
    else
      each_chunk(hidden, head, saved[3], saved[4], scale, Tensor(), backward_of);
    variable_list gradients(7);
    gradients[0] = dhidden;
    if (dhead) gradients[1] = dhead->for_autograd();
    return gradients;
  }

 private:
  // f(first row, rows, their logits, log-sum-exp of each row's kept set or NaN where there is none). The logits go to
  // `all` [tokens, vocab] where it is defined, else each chunk's take the place of the last one's.
  template <class F>
  static void each_chunk(const Tensor& hidden, const Tensor& head, const Tensor& kept_ids, const Tensor& kept_starts,
                         float scale, const Tensor& all, F f) {
    const int64_t vocab = head.size(0);
    std::vector<float> chunk(all.defined() ? 0 : std::min(kChunk, hidden.size(0)) * vocab), kept_sums(kChunk, NAN),
        values;
    for (int64_t first = 0; first < hidden.size(0); first += kChunk) {
      const int64_t rows = std::min(kChunk, hidden.size(0) - first);
      float* logits = all.defined() ? all.data_ptr<float>() + first * vocab : chunk.data();
      logits_of(hidden, head, first, rows, logits);
      if (kept_ids.defined())
        for (int64_t r = 0; r < rows; ++r) {
          const int64_t* start = kept_starts.data_ptr<int64_t>() + first + r;
          kept_sums[r] = start[1] == start[0]
                             ? NAN
                             : keep_only(logits + r * vocab, vocab, scale, kept_ids.data_ptr<int32_t>() + start[0],
                                         start[1] - start[0], values);
        }
      f(first, rows, logits, kept_sums.data());
    }
  }
};

}  // namespace

TokenLogprobs token_logprobs(const Tensor& hidden, const Tensor& head, const Tensor& targets, double temperature,
                             const KeptSets& kept) {
  const char* op = "token_logprobs";
  require(hidden.dim() == 2 && head.dim() == 2 && hidden.size(1) == head.size(1), op,
          "expected hidden [tokens, hidden] and head [vocab, hidden], got ", hidden.sizes(), " and ", head.sizes());
  require_alike(head, hidden, op, "head");
  require(targets.dim() == 1 && targets.size(0) == hidden.size(0) && targets.scalar_type() == at::kInt, op,
          "expected int32 targets [", hidden.size(0), "], got ", targets.scalar_type(), " ", targets.sizes());
  require(targets.device() == hidden.device(), op, "expected targets on ", hidden.device(), ", got ", targets.device());
  require(temperature > 0, op, "expected a temperature above 0, got ", temperature);
  if (kept.ids.defined())
    require(kept.ids.dim() == 1 && kept.ids.scalar_type() == at::kInt && kept.starts.defined() &&
                kept.starts.scalar_type() == at::kLong && kept.starts.sizes() == at::IntArrayRef({hidden.size(0) + 1}),
            op, "expected kept sets of ", hidden.size(0), " tokens: int32 ids [N] and int64 starts [",
            hidden.size(0) + 1, "]");
  if (!hidden.is_cpu()) return reference::token_logprobs(hidden, head, targets, temperature, kept);
  for (int64_t t = 0; t < targets.size(0); ++t)
    if (const int32_t id = targets.data_ptr<int32_t>()[t]; id < 0 || id >= head.size(0))
      throw Error(op, "expected targets in [0, ", head.size(0), "), got ", id, " at token ", t);
  if (kept.ids.defined()) {
    const std::span<const int32_t> ids(kept.ids.data_ptr<int32_t>(), kept.ids.numel());
    const std::span<const int64_t> starts(kept.starts.data_ptr<int64_t>(), kept.starts.numel());
    require(starts.front() == 0 && starts.back() == std::ssize(ids) && std::ranges::is_sorted(starts), op,
            "expected kept sets whose starts ascend from 0 to ", ids.size());
    for (const int32_t id : ids)
      require(id >= 0 && id < head.size(0), op, "expected kept ids in [0, ", head.size(0), "), got ", id);
  }
  kernel_type(hidden, op);
  const auto maybe = [](const Tensor& t) { return t.defined() ? std::optional<Tensor>(t) : std::nullopt; };
  const auto out = TokenLogprobsFunction::apply(
      hidden.contiguous(), head.contiguous(), targets.contiguous(), maybe(kept.ids), maybe(kept.starts), temperature,
      at::GradMode::is_enabled() && (hidden.requires_grad() || head.requires_grad()));
  return {out[0], out[1]};
}

Tensor logits(const Tensor& hidden, const Tensor& head) {
  require(hidden.dim() == 2 && head.dim() == 2 && hidden.size(1) == head.size(1), "logits",
          "expected hidden [tokens, hidden] and head [vocab, hidden], got ", hidden.sizes(), " and ", head.sizes());
  require_alike(head, hidden, "logits", "head");
  if (!hidden.is_cpu()) return reference::wide_logits(hidden, head);
  Tensor out = at::empty({hidden.size(0), head.size(0)}, hidden.options().dtype(at::kFloat));
  logits_of(hidden.contiguous(), head.contiguous(), 0, hidden.size(0), out.data_ptr<float>());
  return out;
}

float log_sum_exp(const float* row, int64_t n, double temperature) {
  float result;
  cpu::kernels().logit_stats(row, n, static_cast<float>(1.0 / temperature), &result, nullptr);
  return result;
}

}  // namespace grpo
