// One line for each op: time, rate, and percent of this machine's limit, measured in the same run: a matrix product
// whose operands stay in the cache for arithmetic, a copy of 64 MiB for traffic (more than 100 % then means caches).
//   bench_ops [--filter TEXT] [--threads N]
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "grpo/config.h"
#include "grpo/ops.h"
#include "kernels/cpu/cpu.h"

namespace {

using at::Tensor;

struct BenchConfig {
  std::string filter;
  int threads = 0;

  template <class V>
  void visit(V& v) {
    v("filter", filter, "only the ops with this in their names, such as \"latent\"");
    v("threads", threads, "threads; 0: one a core, or OMP_NUM_THREADS", grpo::at_least(0).at_most(1024));
  }
};

/// Best of several rounds, each long enough for the clock.
double seconds(const std::function<void()>& f, int rounds = 4) {
  const auto timed = [&](int repeats) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < repeats; ++i) f();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / repeats;
  };
  const int repeats = std::max(1, static_cast<int>(0.03 / std::max(timed(1), 1e-7)));
  double best = timed(repeats);
  for (int round = 0; round < rounds; ++round) best = std::min(best, timed(repeats));
  return best;
}

struct Bench {
  std::string filter;
  double flops[2] = {0, 0};  // per second, fp32 and bf16
  double bytes = 0;          // per second, read and written

  /// `work` floating-point operations when `arithmetic`, bytes otherwise.
  void line(const std::string& name, int type, bool arithmetic, double work, const std::function<void()>& f) const {
    const std::string full = name + (type ? " bf16" : " fp32");
    if (full.find(filter) == std::string::npos) return;
    const double time = seconds(f), rate = work / time, limit = arithmetic ? flops[type] : bytes;
    std::printf("%-34s %10.1f us %8.1f %s %6.1f %%\n", full.c_str(), time * 1e6, rate / 1e9,
                arithmetic ? "GFLOP/s" : "GB/s   ", 100 * rate / limit);
    std::fflush(stdout);
  }
};

void measure_limits(Bench& bench) {
  for (int type = 0; type < 2; ++type) {
    const auto kind = type ? at::kBFloat16 : at::kFloat;
    const Tensor x = at::randn({768, 256}).to(kind), w = at::randn({256, 256}).to(kind);
    bench.flops[type] = 2.0 * 768 * 256 * 256 / seconds([&] { grpo::linear(x, w); }, 20);
  }
  const int64_t bytes = 64 << 20, part = 1 << 20;
  std::vector<char> from(bytes, 1), to(bytes, 2);
  bench.bytes =
      2.0 * bytes /
      seconds(
          [&] {
            grpo::parallel_for(bytes / part, [&](int64_t i) { std::memcpy(&to[i * part], &from[i * part], part); });
          },
          20);
  std::printf("%s, %d threads; limits: %.0f GFLOP/s fp32, %.0f bf16, %.1f GB/s\n", grpo::cpu::table().name,
              grpo::num_threads(), bench.flops[0] / 1e9, bench.flops[1] / 1e9, bench.bytes / 1e9);
}

constexpr int64_t kTokens = 4096, kHidden = 256, kWide = 688, kVocab = 512;
const grpo::HeadLayout kLayout{4, 2, 64};

/// The ops in one type.
class Ops {
 public:
  Ops(const Bench& bench, int type) : bench_(bench), type_(type) {}

  void run() const {
    projections();
    rows();
    attention();
    decoding();
    latent_attention();
    experts();
    head();
  }

 private:
  Tensor randn(at::IntArrayRef shape) const { return at::randn(shape).to(type_ ? at::kBFloat16 : at::kFloat); }

  double row_bytes() const { return (type_ ? 2.0 : 4.0) * kTokens * kHidden; }  // of [tokens, hidden]

  /// Forward, then forward and backward, of `f` on leaves.
  void both(const std::string& name, bool arithmetic, double forward, double backward, const std::vector<Tensor>& inputs,
            const std::function<Tensor(const std::vector<Tensor>&)>& f) const {
    bench_.line(name, type_, arithmetic, forward, [&] {
      at::NoGradGuard guard;
      f(inputs);
    });
    std::vector<Tensor> leaves;
    for (const Tensor& input : inputs) leaves.push_back(input.detach().clone().requires_grad_(true));
    const Tensor dy = at::randn_like(f(inputs));
    bench_.line(name + " + backward", type_, arithmetic, forward + backward, [&] {
      f(leaves).backward(dy);
      for (Tensor& leaf : leaves) leaf.mutable_grad().reset();
    });
  }

  void projections() const {
    for (const int64_t rows : {int64_t{1}, int64_t{16}, int64_t{128}, kTokens}) {
      const double work = 2.0 * rows * kHidden * kWide;
      both("linear " + std::to_string(rows) + "x256x688", true, work, 2 * work,
           {randn({rows, kHidden}), randn({kWide, kHidden})}, [](const auto& t) { return grpo::linear(t[0], t[1]); });
    }
    const Tensor offsets = at::tensor({0, 900, 1100, 1100, 2500, 2600, 3600, 3700, 4096}, at::kInt);
    both("grouped_linear 8 experts", true, 2.0 * kTokens * kHidden * 128, 4.0 * kTokens * kHidden * 128,
         {randn({kTokens, kHidden}), randn({8, 128, kHidden})},
         [&](const auto& t) { return grpo::grouped_linear(t[0], t[1], offsets); });
  }

  void rows() const {
    const double row = row_bytes(), wide = row * kWide / kHidden;
    both("rms_norm", false, 2 * row, 3 * row, {randn({kTokens, kHidden}), randn({kHidden})},
         [](const auto& t) { return grpo::rms_norm(t[0], t[1], 1e-6); });
    both("swiglu", false, 3 * wide, 5 * wide, {randn({kTokens, 2 * kWide})},
         [](const auto& t) { return grpo::swiglu(t[0]); });
    const Tensor table = grpo::rope_table(256, 64, 10000), positions = at::arange(kTokens, at::kInt).remainder(128);
    both("rope", false, 4 * row, 4 * row, {randn({kTokens, kLayout.width()})},
         [&](const auto& t) { return grpo::rope(t[0], positions, table, kLayout, {}, {}, 1e-6); });
  }

  /// Groups of a 32-token prompt and 8 completions of 64, and the pairs of a query and a key in one of them.
  static grpo::Pass groups_of(int groups) {
    grpo::PassBuilder builder;
    for (int group = 0; group < groups; ++group)
      for (int s = 0; s < 9; ++s)
        builder.add(std::vector<int32_t>(s == 0 ? 32 : 64), s == 0 ? 0 : 32, s == 0 ? -1 : group * 9);
    return builder.build();
  }
  static constexpr double kPairs = 32 * 33 / 2 + 8 * (64 * 32 + 64 * 65 / 2);

  void attention() const {
    const grpo::Pass groups = groups_of(16);
    both("attention 16 x (32 + 8 x 64)", true, 4.0 * 16 * kPairs * 256, 10.0 * 16 * kPairs * 256,
         {randn({groups.live(), kLayout.width()})},
         [&](const auto& t) { return grpo::attention(t[0], groups, kLayout); });
  }

  /// 128 sequences, one new token each, 32 of prompt and 63 of their own before it.
  void decoding() const {
    grpo::PassBuilder decoding;
    grpo::PageTable pages_of{16, at::zeros({16 + 128, 4}, at::kInt), at::full({16 + 128}, 63, at::kInt),
                             at::full({16 + 128}, -1, at::kInt)};
    for (int64_t slot = 0; slot < 16 + 128; ++slot) {
      const int64_t sample = slot - 16, own = sample < 0 ? 2 : 4;
      for (int64_t page = 0; page < own; ++page)
        pages_of.pages[slot][page] = (sample < 0 ? slot : 8 + sample) * own + page;
      if (sample < 0) pages_of.lengths[slot] = 32;
      if (sample >= 0) pages_of.parents[slot] = sample / 8;
      if (sample >= 0) decoding.add_to_slot(std::vector<int32_t>(1), 95, static_cast<int32_t>(slot));
    }
    const grpo::Pass one_token = decoding.build();
    const Tensor step = randn({128, kLayout.width()});
    const grpo::LayerPages pages = grpo::make_pages(kLayout, 32 + 512, 16, step.options());
    pages.keys.normal_(), pages.values.normal_();
    bench_.line("paged_attention 128 x 1 token", type_, true, 4.0 * 128 * 96 * 256,
                [&] { grpo::paged_attention(step, pages, one_token, pages_of, kLayout); });
  }

  /// Multi-head latent attention, from projected queries and latents to values, with DeepSeek-V2-Lite's widths:
  /// absorbed, as the policy computes it, and plain, the keys and values of all heads made first (values are padded to
  /// the keys' width, which costs the plain form 64 columns of 320).
  void latent_attention() const {
    const int64_t heads = 16, latent = 512, turn = 64, nope = 128, value = 128, rows = 4 * 32 + 4 * 8 * 64;
    const grpo::Pass groups = groups_of(4);
    const grpo::HeadLayout absorbed{heads, 1, latent + turn, latent, turn, 0.07}, plain{heads, heads, nope + turn};
    const auto per_head = [&](const Tensor& x, const Tensor& weight) {  // [tokens, heads, in] by [heads, out, in]
      const Tensor offsets = at::arange(heads + 1, at::kInt) * rows;
      return grpo::grouped_linear(x.transpose(0, 1).reshape({heads * rows, -1}), weight, offsets)
          .view({heads, rows, -1})
          .transpose(0, 1);
    };
    const double part = 4 * kPairs * heads, up = 2.0 * rows * heads * latent;
    const std::vector<Tensor> inputs{randn({rows, heads, nope + turn}), randn({rows, latent + turn}),
                                     randn({heads, nope + value, latent})};
    both("latent attention, absorbed", true, 2 * part * (2 * latent + turn) + up * (nope + value),
         4 * part * (2 * latent + turn) + 2 * up * (nope + value), inputs, [&](const auto& t) {
           const Tensor q = per_head(t[0].narrow(2, 0, nope), t[2].narrow(1, 0, nope).transpose(1, 2));
           const Tensor qkv = at::cat({at::cat({q, t[0].narrow(2, nope, turn)}, 2).flatten(1), t[1]}, 1);
           const Tensor seen = grpo::attention(qkv, groups, absorbed);
           return per_head(seen.view({rows, heads, latent}), t[2].narrow(1, nope, value)).flatten(1);
         });
    both("latent attention, plain", true, 2 * part * (nope + turn + value) + up * (nope + value),
         4 * part * (nope + turn + value) + 2 * up * (nope + value), inputs, [&](const auto& t) {
           const Tensor kv = grpo::linear(t[1].narrow(1, 0, latent), t[2].flatten(0, 1)).view({rows, heads, -1});
           const Tensor turned = t[1].narrow(1, latent, turn).unsqueeze(1).expand({rows, heads, turn});
           const Tensor values = at::constant_pad_nd(kv.narrow(2, nope, value), {0, nope + turn - value});
           const Tensor qkv = at::cat({t[0], at::cat({kv.narrow(2, 0, nope), turned}, 2), values}, 1).flatten(1);
           return grpo::attention(qkv, groups, plain);
         });
  }

  void experts() const {
    const double row = row_bytes();
    const Tensor scores = at::randn({kTokens, 8});
    const grpo::Routing routing = grpo::route(scores, at::zeros({8}), {});
    if (type_ == 0)
      bench_.line("route top-2 of 8", 0, false, 4.0 * kTokens * 8 * 2,
                  [&] { grpo::route(scores, at::zeros({8}), {}); });
    both("dispatch", false, 3 * row, 3 * row, {randn({kTokens, kHidden})},
         [&](const auto& t) { return grpo::dispatch(t[0], routing); });
    both("combine", false, 4 * row, 5 * row, {randn({2 * kTokens, kHidden}), randn({kTokens, kHidden})},
         [&](const auto& t) { return grpo::combine(t[0], routing, t[1]); });
  }

  void head() const {
    const Tensor targets = at::randint(kVocab, {kTokens}, at::kInt);
    const double product = 2.0 * kTokens * kHidden * kVocab;
    both("token_logprobs, vocabulary 512", true, product, 3 * product,
         {randn({kTokens, kHidden}), randn({kVocab, kHidden})},
         [&](const auto& t) { return grpo::token_logprobs(t[0], t[1], targets, 1.0).logprobs; });
    const Tensor states = randn({kTokens, kHidden}), weight = randn({kVocab, kHidden}).requires_grad_();
    weight.set_grad_dtype(at::kFloat);
    weight.mutable_grad() = at::zeros_like(weight, at::kFloat);
    const auto gradient = [](int64_t, const grpo::TokenLogprobs& chunk) {
      return grpo::TokenLogprobs{at::ones_like(chunk.logprobs), {}};
    };
    bench_.line("learn_tokens, vocabulary 512", type_, true, 3 * product,
                [&] { grpo::learn_tokens(states, weight, targets, 1.0, {}, gradient); });
  }

  const Bench& bench_;
  int type_;
};

}  // namespace

int main(int argc, char** argv) try {
  const auto config = grpo::load_config<BenchConfig>(argc, argv);
  if (config.threads > 0) grpo::set_num_threads(config.threads);
  Bench bench;
  bench.filter = config.filter;
  measure_limits(bench);
  for (const int type : {0, 1}) Ops(bench, type).run();
  return 0;
} catch (const std::exception& error) {
  return grpo::report(error);
}
