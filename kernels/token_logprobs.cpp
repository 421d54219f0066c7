#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <utility>
#include <vector>

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

// Hidden states, the head that makes logits of them, and the tokens that are asked for, chunk by chunk.
struct Projection {
  Tensor hidden, head, targets, kept_ids, kept_starts;
  double temperature;

  int64_t vocab() const { return head.size(0); }
  float scale() const { return static_cast<float>(1.0 / temperature); }

  // f(first row, rows, their logits, log-sum-exp of each row's kept set or NaN where there is none). The logits go to
  // `all` [tokens, vocab] where it is defined, else each chunk's take the place of the last one's.
  template <class F>
  void each_chunk(const Tensor& all, F f) const {
    std::vector<float> chunk(all.defined() ? 0 : std::min(kChunk, hidden.size(0)) * vocab()), kept_sums(kChunk, NAN),
        values;
    for (int64_t first = 0; first < hidden.size(0); first += kChunk) {
      const int64_t rows = std::min(kChunk, hidden.size(0) - first);
      float* logits = all.defined() ? all.data_ptr<float>() + first * vocab() : chunk.data();
      logits_of(hidden, head, first, rows, logits);
      if (kept_ids.defined())
        for (int64_t r = 0; r < rows; ++r) {
          const int64_t* start = kept_starts.data_ptr<int64_t>() + first + r;
          const int32_t* ids = kept_ids.data_ptr<int32_t>() + start[0];
          const int64_t count = start[1] - start[0];
          kept_sums[r] = count == 0 ? NAN : keep_only(logits + r * vocab(), vocab(), scale(), ids, count, values);
        }
      f(first, rows, logits, kept_sums.data());
    }
  }
};

// What each row's logits say of its target, and the log-sum-exp that their gradient needs. [tokens] fp32.
struct Measured {
  explicit Measured(int64_t tokens)
      : logprobs(at::empty({tokens}, at::kFloat)), entropy(at::empty_like(logprobs)), sums(at::empty_like(logprobs)) {}
  Measured(Tensor entropy, Tensor sums) : entropy(std::move(entropy)), sums(std::move(sums)) {}

  void chunk(const Projection& of, int64_t first, int64_t rows, const float* logits, const float* kept_sums) {
    parallel_for(rows, [&](int64_t r) {
      const int64_t t = first + r;
      const float* row = logits + r * of.vocab();
      float* sum = sums.data_ptr<float>() + t;
      cpu::kernels().logit_stats(row, of.vocab(), of.scale(), sum, entropy.data_ptr<float>() + t);
      if (!std::isnan(kept_sums[r])) *sum = kept_sums[r];
      logprobs.data_ptr<float>()[t] = row[of.targets.data_ptr<int32_t>()[t]] * of.scale() - *sum;
    });
  }

  Tensor logprobs, entropy, sums;
};

// The gradients of hidden states and head, to which each chunk adds its part. The head's is left out where it has no
// use.
struct ProjectionGradient {
  ProjectionGradient(const Projection& of, bool of_head) : hidden(at::empty_like(of.hidden)) {
    if (of_head) head.emplace(of.head);
    if (type_of(of) == cpu::Type::bf16) narrowed = at::empty({kChunk, of.vocab()}, of.hidden.options());
  }
  static cpu::Type type_of(const Projection& of) { return kernel_type(of.hidden, "token_logprobs"); }

  // dlogprobs and dentropy [rows] are the chunk's; null: 0. The logits become their own gradient.
  void chunk(const Projection& of, int64_t first, int64_t rows, float* logits, const Measured& measured,
             const float* dlogprobs, const float* dentropy) {
    const int64_t vocab = of.vocab(), width = of.hidden.size(1);
    const cpu::Type type = type_of(of);
    parallel_for(rows, [&](int64_t r) {
      const int64_t t = first + r;
      cpu::kernels().logit_backward(logits + r * vocab, vocab, of.scale(), measured.sums.data_ptr<float>()[t],
                                    measured.entropy.data_ptr<float>()[t], of.targets.data_ptr<int32_t>()[t],
                                    dlogprobs ? dlogprobs[r] : 0.0f, dentropy ? dentropy[r] : 0.0f);
    });
    const void* dlogits = logits;
    if (narrowed.defined()) {
      cpu::kernels().narrow(logits, narrowed.data_ptr(), rows * vocab);
      dlogits = narrowed.data_ptr();
    }
    const cpu::MatrixRef d{dlogits, vocab, 1};
    cpu::kernels().gemm(type, type, rows, width, vocab, d, rows_of(of.head, 0),
                        const_cast<void*>(rows_of(hidden, first).data), width, false);
    if (head)
      cpu::kernels().gemm(type, cpu::Type::f32, vocab, width, rows, transposed(d), rows_of(of.hidden, first),
                          head->sum.data_ptr(), width, true);
  }

  Tensor hidden;
  std::optional<WeightGradient> head;
  Tensor narrowed;
};

struct TokenLogprobsFunction : Function<TokenLogprobsFunction> {
  static variable_list forward(AutogradContext* ctx, const Tensor& hidden, const Tensor& head, Tensor targets,
                               std::optional<Tensor> ids, std::optional<Tensor> starts, double temperature,
                               bool differentiable) {
    const Projection of{hidden, head, targets, ids.value_or(Tensor()), starts.value_or(Tensor()), temperature};
    const int64_t tokens = hidden.size(0);
    Measured measured(tokens);
    Tensor all = differentiable && tokens * of.vocab() <= kKeptLogits ? at::empty({tokens, of.vocab()}, at::kFloat)
                                                                     : Tensor();
    of.each_chunk(all, [&](int64_t first, int64_t rows, const float* logits, const float* kept_sums) {
      measured.chunk(of, first, rows, logits, kept_sums);
    });
    ctx->save_for_backward({hidden, head, targets, of.kept_ids, of.kept_starts, measured.sums, measured.entropy});
    ctx->saved_data["temperature"] = temperature;
    if (all.defined()) ctx->saved_data["logits"] = all;
    return {measured.logprobs, measured.entropy};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Projection of{saved[0], saved[1], saved[2], saved[3], saved[4], ctx->saved_data["temperature"].toDouble()};
    const Measured measured(saved[6], saved[5]);
    const Tensor dlogprobs = grads[0].defined() ? grads[0].contiguous() : Tensor();
    const Tensor dentropy = grads[1].defined() ? grads[1].contiguous() : Tensor();
    ProjectionGradient gradient(of, ctx->needs_input_grad(1));
    const auto of_rows = [](const Tensor& t, int64_t first) {
      return t.defined() ? t.data_ptr<float>() + first : nullptr;
    };
    const auto backward_of = [&](int64_t first, int64_t rows, float* logits, const float*) {
      gradient.chunk(of, first, rows, logits, measured, of_rows(dlogprobs, first), of_rows(dentropy, first));
    };
    // The logits become their own gradient, so they serve one backward pass; another one works them out again.
    if (const auto found = ctx->saved_data.find("logits"); found != ctx->saved_data.end()) {
      const Tensor all = found->second.toTensor();
      ctx->saved_data.erase(found);
      for (int64_t first = 0; first < of.hidden.size(0); first += kChunk)
        backward_of(first, std::min(kChunk, of.hidden.size(0) - first), all.data_ptr<float>() + first * of.vocab(),
                    nullptr);
    } else {
      of.each_chunk(Tensor(), backward_of);
    }
    variable_list gradients(7);
    gradients[0] = gradient.hidden;
    if (gradient.head) gradients[1] = gradient.head->for_autograd();
    return gradients;
  }
};

void check(const Tensor& hidden, const Tensor& head, const Tensor& targets, double temperature, const KeptSets& kept) {
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
  if (!hidden.is_cpu()) return;  // what a device holds is not looked at here
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
}

}  // namespace

TokenLogprobs token_logprobs(const Tensor& hidden, const Tensor& head, const Tensor& targets, double temperature,
                             const KeptSets& kept) {
  check(hidden, head, targets, temperature, kept);
  if (!hidden.is_cpu()) return reference::token_logprobs(hidden, head, targets, temperature, kept);
  const auto maybe = [](const Tensor& t) { return t.defined() ? std::optional<Tensor>(t) : std::nullopt; };
  const auto out = TokenLogprobsFunction::apply(
      hidden.contiguous(), head.contiguous(), targets.contiguous(), maybe(kept.ids), maybe(kept.starts), temperature,
      at::GradMode::is_enabled() && (hidden.requires_grad() || head.requires_grad()));
  return {out[0], out[1]};
}

LearnedTokens learn_tokens(const Tensor& hidden, const Tensor& head, const Tensor& targets, double temperature,
                           const KeptSets& kept, const TokenGradients& gradients) {
  check(hidden, head, targets, temperature, kept);
  if (!hidden.is_cpu()) return reference::learn_tokens(hidden, head, targets, temperature, kept, gradients);
  const at::NoGradGuard no_grad;
  const auto contiguous = [](const Tensor& t) { return t.defined() ? t.contiguous() : t; };
  const Projection of{hidden.contiguous(), head.contiguous(), targets.contiguous(), contiguous(kept.ids),
                      contiguous(kept.starts), temperature};
  Measured measured(hidden.size(0));
  ProjectionGradient gradient(of, head.requires_grad());
  require(!gradient.head || gradient.head->in_place, "learn_tokens",
          "expected a head that has a gradient in fp32, which is added to, got one without");
  of.each_chunk(Tensor(), [&](int64_t first, int64_t rows, float* logits, const float* kept_sums) {
    measured.chunk(of, first, rows, logits, kept_sums);
    const TokenLogprobs d = gradients(
        first, {measured.logprobs.narrow(0, first, rows), measured.entropy.narrow(0, first, rows)});
    const Tensor dlogprobs = contiguous(d.logprobs), dentropy = contiguous(d.entropy);
    for (const Tensor& each : {dlogprobs, dentropy})
      require(!each.defined() || (each.scalar_type() == at::kFloat && each.numel() == rows), "learn_tokens",
              "expected gradients of a chunk's ", rows, " tokens in fp32");
    gradient.chunk(of, first, rows, logits, measured, dlogprobs.defined() ? dlogprobs.data_ptr<float>() : nullptr,
                   dentropy.defined() ? dentropy.data_ptr<float>() : nullptr);
  });
  return {{measured.logprobs, measured.entropy}, gradient.hidden};
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
