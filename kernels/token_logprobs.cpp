#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "kernels/cpu/cpu.h"
#include "kernels/op.h"
#include "kernels/reference/wide_logits.h"

namespace grpo {
namespace {

constexpr int64_t kChunk = 256;           // rows whose logits are worked out at one time
constexpr int64_t kKeptLogits = 1 << 26;  // so many (256 MiB) the forward pass keeps for the backward pass

float* from(const Tensor& t, int64_t first) { return t.defined() ? t.data_ptr<float>() + first : nullptr; }

// Hidden states, the head that makes logits of them, and the tokens that are asked for, chunk by chunk.
struct Projection {
  Tensor hidden, head, targets, kept_ids, kept_starts;
  double temperature;

  int64_t vocab() const { return head.size(0); }
  float scale() const { return static_cast<float>(1.0 / temperature); }
  kernel::Kept kept(int64_t first) const {
    if (!kept_ids.defined()) return {};
    return {kept_ids.data_ptr<int32_t>(), kept_starts.data_ptr<int64_t>() + first};
  }

  // f(first row, rows) of each chunk.
  template <class F>
  void each_chunk(F f) const {
    for (int64_t first = 0; first < hidden.size(0); first += kChunk) f(first, std::min(kChunk, hidden.size(0) - first));
  }
  // Logits of rows from `first` on, [rows, vocab] fp32.
  void logits(int64_t first, int64_t rows, float* out) const {
    const Tensor some = hidden.narrow(0, first, rows);
    const Launch run(some, "token_logprobs");
    const int64_t width = hidden.size(1);
    run(&kernel::Table::gemm, run.type(), kernel::Type::f32, rows, vocab(), width,
        kernel::MatrixRef{some.data_ptr(), width, 1}, kernel::MatrixRef{head.data_ptr(), 1, width}, out, vocab(),
        false);
  }
  // Where the logits of a chunk at a time go.
  Tensor chunk() const {
    return at::empty({std::min(kChunk, hidden.size(0)), vocab()}, hidden.options().dtype(at::kFloat));
  }
};

// What each row's logits say of its target, and the log-sum-exp that their gradient needs. [tokens] fp32.
struct Measured {
  explicit Measured(const Projection& of)
      : logprobs(at::empty({of.hidden.size(0)}, of.hidden.options().dtype(at::kFloat))),
        entropy(at::empty_like(logprobs)),
        sums(at::empty_like(logprobs)) {}

  // Logits outside kept sets become −inf.
  void chunk(const Projection& of, int64_t first, int64_t rows, float* logits) const {
    Launch(of.hidden, "token_logprobs")(&kernel::Table::token_logprobs, rows, of.vocab(), logits, of.scale(),
                                        of.targets.data_ptr<int32_t>() + first, of.kept(first), from(logprobs, first),
                                        from(entropy, first), from(sums, first));
  }

  Tensor logprobs, entropy, sums;
};

// The gradients of hidden states and head, to which each chunk adds its part. The head's is left out where it has no
// use.
struct ProjectionGradient {
  ProjectionGradient(const Projection& of, bool of_head)
      : run(of.hidden, "token_logprobs"), hidden(at::empty_like(of.hidden)) {
    if (of_head) head.emplace(of.head);
    if (run.type() == kernel::Type::bf16) narrowed = at::empty({kChunk, of.vocab()}, of.hidden.options());
  }

  // dlogprobs and dentropy [rows] are the chunk's; null: 0. The logits become their own gradient.
  void chunk(const Projection& of, int64_t first, int64_t rows, float* logits, const Tensor& sums,
             const Tensor& entropy, const float* dlogprobs, const float* dentropy) {
    const int64_t vocab = of.vocab(), width = of.hidden.size(1);
    run(&kernel::Table::token_logprobs_backward, rows, vocab, logits, of.scale(),
        of.targets.data_ptr<int32_t>() + first, from(sums, first), from(entropy, first), dlogprobs, dentropy);
    const void* d = logits;
    if (narrowed.defined()) {
      run(&kernel::Table::narrow, logits, narrowed.data_ptr(), rows * vocab);
      d = narrowed.data_ptr();
    }
    run(&kernel::Table::gemm, run.type(), run.type(), rows, width, vocab, kernel::MatrixRef{d, vocab, 1},
        kernel::MatrixRef{of.head.data_ptr(), width, 1}, hidden.narrow(0, first, rows).data_ptr(), width, false);
    if (head)
      run(&kernel::Table::gemm, run.type(), kernel::Type::f32, vocab, width, rows, kernel::MatrixRef{d, 1, vocab},
          kernel::MatrixRef{of.hidden.narrow(0, first, rows).data_ptr(), width, 1}, head->sum.data_ptr(), width, true);
  }

  const Launch run;
  Tensor hidden;
  std::optional<WeightGradient> head;
  Tensor narrowed;
};

struct LogprobsPlan {
  Tensor targets, kept_ids, kept_starts;
  double temperature;
  bool differentiable;
  Tensor logits;  // [tokens, vocab], if they are few enough to be kept for the backward pass

  Projection of(const Tensor& hidden, const Tensor& head) const {
    return {hidden, head, targets, kept_ids, kept_starts, temperature};
  }
};

struct TokenLogprobsFunction : Function<TokenLogprobsFunction> {
  static variable_list forward(AutogradContext* ctx, const Tensor& hidden, const Tensor& head,
                               CarriedPtr<LogprobsPlan> carried) {
    LogprobsPlan& plan = carried->plan;
    const Projection of = plan.of(hidden, head);
    const int64_t tokens = hidden.size(0);
    if (plan.differentiable && tokens * of.vocab() <= kKeptLogits)
      plan.logits = at::empty({tokens, of.vocab()}, hidden.options().dtype(at::kFloat));
    const Measured measured(of);
    const Tensor chunk = plan.logits.defined() ? Tensor() : of.chunk();
    of.each_chunk([&](int64_t first, int64_t rows) {
      float* logits = chunk.defined() ? from(chunk, 0) : from(plan.logits, first * of.vocab());
      of.logits(first, rows, logits);
      measured.chunk(of, first, rows, logits);
    });
    ctx->save_for_backward({hidden, head, measured.sums, measured.entropy});
    save(ctx, carried);
    return {measured.logprobs, measured.entropy};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    LogprobsPlan& plan = saved_plan<LogprobsPlan>(ctx)->plan;
    const Projection of = plan.of(saved[0], saved[1]);
    const Tensor dlogprobs = grads[0].defined() ? grads[0].contiguous() : Tensor();
    const Tensor dentropy = grads[1].defined() ? grads[1].contiguous() : Tensor();
    ProjectionGradient gradient(of, ctx->needs_input_grad(1));
    // The logits become their own gradient, so they serve one backward pass; another one works them out again.
    const Tensor all = std::exchange(plan.logits, Tensor()), chunk = all.defined() ? Tensor() : of.chunk();
    std::optional<Measured> again;  // for the sake of the logits outside kept sets
    if (chunk.defined() && of.kept_ids.defined()) again.emplace(of);
    of.each_chunk([&](int64_t first, int64_t rows) {
      float* logits = chunk.defined() ? from(chunk, 0) : from(all, first * of.vocab());
      if (chunk.defined()) of.logits(first, rows, logits);
      if (again) again->chunk(of, first, rows, logits);
      gradient.chunk(of, first, rows, logits, saved[2], saved[3], from(dlogprobs, first), from(dentropy, first));
    });
    return {gradient.hidden, gradient.head ? gradient.head->for_autograd() : Tensor(), Tensor()};
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
}

}  // namespace

TokenLogprobs token_logprobs(const Tensor& hidden, const Tensor& head, const Tensor& targets, double temperature,
                             const KeptSets& kept) {
  check(hidden, head, targets, temperature, kept);
  if (!Launch(hidden, "token_logprobs").has(&kernel::Table::token_logprobs))
    return reference::token_logprobs(hidden, head, targets, temperature, kept);
  const bool differentiable = at::GradMode::is_enabled() && (hidden.requires_grad() || head.requires_grad());
  const auto out = TokenLogprobsFunction::apply(
      hidden.contiguous(), head.contiguous(),
      carry(LogprobsPlan{targets.contiguous(), kept.ids, kept.starts, temperature, differentiable, Tensor()}));
  return {out[0], out[1]};
}

LearnedTokens learn_tokens(const Tensor& hidden, const Tensor& head, const Tensor& targets, double temperature,
                           const KeptSets& kept, const TokenGradients& gradients) {
  check(hidden, head, targets, temperature, kept);
  if (!Launch(hidden, "learn_tokens").has(&kernel::Table::token_logprobs_backward))
    return reference::learn_tokens(hidden, head, targets, temperature, kept, gradients);
  const at::NoGradGuard no_grad;
  const auto contiguous = [](const Tensor& t) { return t.defined() ? t.contiguous() : t; };
  const Projection of{hidden.contiguous(), head.contiguous(), targets.contiguous(), contiguous(kept.ids),
                      contiguous(kept.starts), temperature};
  const Measured measured(of);
  ProjectionGradient gradient(of, head.requires_grad());
  require(!gradient.head || gradient.head->in_place, "learn_tokens",
          "expected a head that has a gradient in fp32, which is added to, got one without");
  const Tensor chunk = of.chunk();
  of.each_chunk([&](int64_t first, int64_t rows) {
    float* logits = from(chunk, 0);
    of.logits(first, rows, logits);
    measured.chunk(of, first, rows, logits);
    const TokenLogprobs d = gradients(
        first, {measured.logprobs.narrow(0, first, rows), measured.entropy.narrow(0, first, rows)});
    const Tensor dlogprobs = contiguous(d.logprobs), dentropy = contiguous(d.entropy);
    for (const Tensor& each : {dlogprobs, dentropy})
      require(!each.defined() || (each.scalar_type() == at::kFloat && each.numel() == rows), "learn_tokens",
              "expected gradients of a chunk's ", rows, " tokens in fp32");
    gradient.chunk(of, first, rows, logits, measured.sums, measured.entropy, from(dlogprobs, 0), from(dentropy, 0));
  });
  return {{measured.logprobs, measured.entropy}, gradient.hidden};
}

Tensor logits(const Tensor& hidden, const Tensor& head) {
  require(hidden.dim() == 2 && head.dim() == 2 && hidden.size(1) == head.size(1), "logits",
          "expected hidden [tokens, hidden] and head [vocab, hidden], got ", hidden.sizes(), " and ", head.sizes());
  require_alike(head, hidden, "logits", "head");
  if (!Launch(hidden, "logits").has(&kernel::Table::gemm)) return reference::wide_logits(hidden, head);
  Tensor out = at::empty({hidden.size(0), head.size(0)}, hidden.options().dtype(at::kFloat));
  Projection{hidden.contiguous(), head.contiguous(), {}, {}, {}, 1.0}.logits(0, hidden.size(0), from(out, 0));
  return out;
}

float log_sum_exp(const float* row, int64_t n, double temperature) {
  float result;
  cpu::table().logit_stats({}, 1, n, row, static_cast<float>(1.0 / temperature), &result, nullptr);
  return result;
}

}  // namespace grpo
