// Tokens per second of sampling, beside the hardware's limit at the rates measured in the same run.
//   bench_rollout --shape A [--layers 2] [--prompts 8 --samples 8 …] [--check] [--profile] [--json]
// Shapes: A Qwen3-0.6B's, B a Qwen3-like mixture of experts, C Qwen2.5-1.5B's, L A with few long completions, V a
// DeepSeek-V3-like one with latent attention, tiny; weights are random, the vocabulary is made up. --check computes
// every log-probability again, as training does, and counts those that differ in any bit. The checksum of tokens and
// log-probabilities is the same however many sequences run at one time.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "grpo/config.h"
#include "grpo/device.h"
#include "grpo/policy.h"
#include "grpo/rollout.h"
#include "grpo/stopwatch.h"
#include "grpo/tokenizer.h"

namespace {

using at::Tensor;

struct BenchConfig {
  std::string shape = "tiny", device = "cuda";
  int layers = 0, prompts = 0, samples = 0, prompt_tokens = 0, completion_tokens = 0, rounds = 3;
  int max_running_sequences = 0, horizon = 1, pages = 0, max_batch_tokens = 16384;
  bool check = false, profile = false, json = false;

  template <class V>
  void visit(V& v) {
    const auto count = grpo::at_least(0).at_most(1 << 20);
    v("shape", shape, "A, B, C, L, V or tiny");
    v("device", device, "cuda or cpu");
    v("layers", layers, "other than the shape's", count);
    v("prompts", prompts, "other than the shape's", count);
    v("samples", samples, "other than the shape's", count);
    v("prompt_tokens", prompt_tokens, "other than the shape's", count);
    v("completion_tokens", completion_tokens, "other than the shape's", count);
    v("rounds", rounds, "calls of generate that are measured, after one to warm up; the median counts",
      grpo::at_least(1));
    v("max_running_sequences", max_running_sequences, "0: all", count);
    v("horizon", horizon, "tokens between two looks of the host; 1: the device's own", grpo::at_least(1));
    v("pages", pages, "of the cache; 0: as many as are needed", count);
    v("max_batch_tokens", max_batch_tokens, "of a forward pass", grpo::at_least(1).at_most(1 << 26));
    v("check", check, "whether training's forward has the recorded bits");
    v("profile", profile, "time by kernel of one more call");
    v("json", json, "the result as JSON behind all else");
  }
};

struct Workload {
  grpo::PolicyConfig policy;
  int prompts = 64, samples = 8, prompt_tokens = 128, completion_tokens = 512;
};

Workload workload(const BenchConfig& config) {
  Workload w;
  grpo::PolicyConfig& p = w.policy;
  p.layers = 28, p.hidden_size = 1024, p.heads = 16, p.kv_heads = 8, p.head_dim = 128, p.intermediate_size = 3072;
  p.vocab_size = 151936, p.qk_norm = grpo::QkNorm::head, p.rope_theta = 1e6;
  if (config.shape == "B") {
    p.layers = 16, p.kv_heads = 4, p.head_dim = 64, p.vocab_size = 49152;
    p.moe.experts = 64, p.moe.experts_per_token = 8, p.moe.intermediate_size = 384, p.moe.shared_experts = 0;
    p.moe.scoring = grpo::Scoring::softmax;
  } else if (config.shape == "C") {
    p.hidden_size = 1536, p.heads = 12, p.kv_heads = 2, p.intermediate_size = 8960;
    p.qk_norm = grpo::QkNorm::none, p.attention_bias = true;
    w.prompts = 32, w.samples = 16, w.prompt_tokens = 256, w.completion_tokens = 1024;
  } else if (config.shape == "L") {
    w.prompts = 8, w.completion_tokens = 8192;
  } else if (config.shape == "V") {
    p.layers = 16, p.attention = grpo::Attention::mla, p.qk_norm = grpo::QkNorm::none, p.vocab_size = 49152;
    p.mla = {0, 512, 128, 64, 128};
    p.moe.experts = 64, p.moe.experts_per_token = 6, p.moe.shared_experts = 2, p.moe.intermediate_size = 384;
  } else if (config.shape == "tiny") {
    p.layers = 2, p.hidden_size = 256, p.heads = 4, p.kv_heads = 2, p.head_dim = 64, p.intermediate_size = 512;
    p.vocab_size = 1024;
    w.prompts = 8, w.samples = 4, w.prompt_tokens = 40, w.completion_tokens = 100;
  } else if (config.shape != "A") {
    throw grpo::Error("bench_rollout", "--shape: expected A, B, C, L, V or tiny, got \"", config.shape, '"');
  }
  const auto choose = [](int& mine, int asked) { mine = asked > 0 ? asked : mine; };
  choose(p.layers, config.layers), choose(w.prompts, config.prompts), choose(w.samples, config.samples);
  choose(w.prompt_tokens, config.prompt_tokens), choose(w.completion_tokens, config.completion_tokens);
  p.max_positions = w.prompt_tokens + w.completion_tokens + 1;
  p.dtype = grpo::DType::bfloat16;
  return w;
}

// Pieces for a few of the vocabulary: tokens beyond them have no text, and need none.
grpo::Tokenizer few_pieces() {
  const auto file = std::filesystem::temp_directory_path() / "grpo_bench_rollout.model";
  grpo::TokenizerConfig config;
  config.vocab_size = 285;
  grpo::Tokenizer::train({"Say abc: a b c", "abc acb bca bac cab cba, ababab", "Say it: 0123456789"}, config, file);
  return grpo::Tokenizer::load(file);
}

// Random weights, made where they lie.
grpo::Policy random_policy(const grpo::PolicyConfig& config, at::Device device) {
  grpo::Policy policy = grpo::Policy::uninitialized(config, device);
  const at::NoGradGuard no_grad;
  at::manual_seed(1);
  for (const auto& [name, weight] : policy.parameters()) {
    Tensor w = weight;
    if (w.dim() > 1) w.copy_((at::randn(w.sizes(), w.options().dtype(at::kFloat).requires_grad(false)) * 0.03));
  }
  return policy;
}

void wait_for(at::Device device) { at::zeros({1}, device).cpu(); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

template <class F>
double fastest(at::Device device, F work) {
  double best = 1e30;
  for (int i = 0; i < 12; ++i) {
    wait_for(device);
    grpo::Stopwatch watch;
    work();
    wait_for(device);
    best = std::min(best, watch.lap());
  }
  return best;
}

struct Rates {
  double copy, matmul;  // bytes read and written, and FLOP, a second
};

Rates measure(at::Device device) {
  const bool large = device.is_cuda();
  const auto bf16 = at::TensorOptions(device).dtype(at::kBFloat16);
  const int64_t bytes = large ? int64_t{4} << 30 : int64_t{64} << 20, n = large ? 8192 : 512;
  const Tensor from = at::zeros({bytes / 2}, bf16);
  Tensor to = at::zeros_like(from);
  const Tensor a = at::randn({n, n}, bf16), b = at::randn({n, n}, bf16);
  return {2.0 * static_cast<double>(bytes) / fastest(device, [&] { to.copy_(from); }),
          2.0 * static_cast<double>(n * n * n) / fastest(device, [&] { at::mm(a, b.t()); })};
}

// Seconds that the hardware needs at least: each step reads the weights once, prompts' keys and values once a group and
// the others' once a sample, and computes.
double limit_seconds(const Workload& w, const grpo::Policy& policy, const std::vector<int>& lengths, const Rates& rates) {
  const grpo::PolicyConfig& p = w.policy;
  const double embedding = static_cast<double>(p.vocab_size) * p.hidden_size, tied = p.tied_embeddings ? 0 : embedding;
  const double weights = static_cast<double>(policy.parameter_count()) - tied,
               active = static_cast<double>(policy.active_count()) - tied;
  const double kv = p.page_bytes(1);  // of a token
  const grpo::HeadLayout layout = p.layout();
  const double attention = 2.0 * p.layers * static_cast<double>(layout.heads * (layout.head_dim + layout.value_dim()));
  const double prompt = w.prompt_tokens;
  // Prefill: no head but for a row a prompt.
  double seconds = w.prompts * (2 * (active - embedding) * prompt + 2 * embedding + attention * prompt * prompt / 2) /
                   rates.matmul;
  const int steps = *std::max_element(lengths.begin(), lengths.end());
  for (int t = 1; t < steps; ++t) {
    double alive = 0, groups = 0;
    for (int g = 0; g < w.prompts; ++g) {
      const auto count = std::count_if(lengths.begin() + g * w.samples, lengths.begin() + (g + 1) * w.samples,
                                       [&](int length) { return length > t; });
      alive += static_cast<double>(count), groups += count > 0;
    }
    seconds += (2 * weights + kv * (groups * prompt + alive * t)) / rates.copy +
               alive * (2 * active + attention * (prompt + t)) / rates.matmul;
  }
  return seconds;
}

// How many recorded log-probabilities differ from those of training's forward.
std::pair<int64_t, int64_t> differing(const grpo::Policy& policy, const std::vector<grpo::Group>& groups) {
  const at::NoGradGuard no_grad;
  const at::Device device = policy.device();
  int64_t different = 0, all = 0;
  for (const grpo::Group& group : groups) {
    grpo::PassBuilder builder;
    std::vector<int64_t> rows;
    std::vector<int32_t> targets;
    std::vector<float> recorded, entropies;
    const int32_t root = builder.add(group.prompt), prompt = static_cast<int32_t>(group.prompt.size());
    for (const grpo::Completion& c : group.completions) {
      int64_t row = prompt - 1;
      const int64_t first = static_cast<int64_t>(builder.tokens.size());
      builder.add(std::span(c.tokens).first(c.tokens.size() - 1), prompt, root);
      for (size_t i = 0; i < c.tokens.size(); ++i) {
        rows.push_back(row), row = first + static_cast<int64_t>(i);
        targets.push_back(c.tokens[i]), recorded.push_back(c.logprobs[i]), entropies.push_back(c.entropies[i]);
      }
    }
    const Tensor hidden = policy.hidden(builder.build(device)).index_select(0, at::tensor(rows, at::kLong).to(device));
    const grpo::TokenLogprobs found = policy.token_logprobs(hidden, at::tensor(targets, at::kInt).to(device), 1.0);
    different += (found.logprobs.cpu() != at::tensor(recorded)).sum().item<int64_t>() +
                 (found.entropy.cpu() != at::tensor(entropies)).sum().item<int64_t>();
    all += 2 * std::ssize(targets);
  }
  return {different, all};
}

// Of all tokens and the bits of their log-probabilities: equal where runs are.
uint64_t checksum(const std::vector<grpo::Group>& groups) {
  uint64_t sum = 14695981039346656037u;
  const auto add = [&](uint32_t word) { sum = (sum ^ word) * 1099511628211u; };
  for (const grpo::Group& group : groups)
    for (const grpo::Completion& c : group.completions)
      for (size_t i = 0; i < c.tokens.size(); ++i)
        add(static_cast<uint32_t>(c.tokens[i])), add(std::bit_cast<uint32_t>(c.logprobs[i]));
  return sum;
}

void print_profile(const std::function<void()>& work) {
  using namespace torch::autograd::profiler;
  const torch::profiler::impl::ProfilerConfig kineto(torch::profiler::impl::ProfilerState::KINETO);
  const std::set<torch::profiler::impl::ActivityType> activities{torch::profiler::impl::ActivityType::CUDA};
  prepareProfiler(kineto, activities);
  enableProfiler(kineto, activities);
  work();
  const auto result = disableProfiler();
  std::map<std::string, std::pair<double, int64_t>> kernels;
  double total = 0;
  for (const KinetoEvent& event : result->events())
    if (event.deviceType() == at::kCUDA) {
      auto& [seconds, count] = kernels[event.name().substr(0, 100)];
      seconds += static_cast<double>(event.durationNs()) / 1e9, ++count, total += static_cast<double>(event.durationNs()) / 1e9;
    }
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [name, each] : kernels) order.emplace_back(-each.first, name);
  std::sort(order.begin(), order.end());
  std::printf("%9s %6s %8s  kernel (%.3f s in all)\n", "ms", "%", "µs each", total);
  for (size_t i = 0; i < order.size() && i < 30; ++i) {
    const auto& [seconds, count] = kernels[order[i].second];
    std::printf("%9.2f %6.1f %8.2f  %s\n", seconds * 1e3, 100 * seconds / total, seconds / static_cast<double>(count) * 1e6,
                order[i].second.c_str());
  }
}

}  // namespace

int main(int argc, char** argv) try {
  const auto config = grpo::load_config<BenchConfig>(argc, argv);
  const Workload w = workload(config);
  const at::Device device = grpo::open_device(config.device);
  const Rates rates = measure(device);
  std::printf("copy %.2f TB/s, matmul %.0f TFLOP/s\n", rates.copy / 1e12, rates.matmul / 1e12);
  const grpo::Policy policy = random_policy(w.policy, device);
  std::printf("policy %s\n", policy.describe().c_str());

  grpo::RolloutConfig sampling;
  sampling.samples = w.samples, sampling.max_new_tokens = w.completion_tokens, sampling.ignore_eos = true;
  sampling.max_running_sequences = config.max_running_sequences > 0 ? config.max_running_sequences : w.prompts * w.samples;
  sampling.max_batch_tokens = config.max_batch_tokens, sampling.horizon = config.horizon, sampling.pages = config.pages;
  sampling.page_size = 64;
  sampling.cache_gigabytes = 1e4;
  grpo::Rollout rollout(policy, few_pieces(), {}, sampling);
  std::vector<std::vector<int32_t>> prompts(w.prompts);
  for (int p = 0; p < w.prompts; ++p)
    for (int i = 0; i < w.prompt_tokens; ++i) prompts[p].push_back(8 + (p * 131 + i * 29) % (w.policy.vocab_size - 8));
  const std::vector<grpo::Task> tasks(w.prompts);
  const auto call = [&](int round) {
    return rollout.generate(tasks, prompts, {7, grpo::Purpose::rollout, static_cast<uint64_t>(round), 0});
  };

  std::vector<double> seconds;
  std::vector<grpo::Group> groups;
  for (int round = 0; round <= config.rounds; ++round) {
    grpo::Stopwatch watch;
    groups = call(round);
    const double lap = watch.lap();
    std::printf("%s %.3f s\n", round == 0 ? "warm-up" : "round", lap);
    std::fflush(stdout);
    if (round > 0) seconds.push_back(lap);
  }
  std::vector<int> lengths;
  int64_t tokens = 0;
  for (const grpo::Group& group : groups)
    for (const grpo::Completion& c : group.completions)
      lengths.push_back(static_cast<int>(c.tokens.size())), tokens += std::ssize(c.tokens);
  const double took = median(seconds), limit = limit_seconds(w, policy, lengths, rates);
  nlohmann::ordered_json result{{"shape", config.shape},
                                {"tokens_per_second", static_cast<double>(tokens) / took},
                                {"limit_share", limit / took},
                                {"seconds", took},
                                {"limit_seconds", limit},
                                {"preemptions", rollout.stats().preemptions},
                                {"copy_bytes_per_second", rates.copy},
                                {"matmul_flops", rates.matmul}};
  std::printf("%.0f tokens/s, %.1f%% of the limit (%.3f s of %.3f s)\n", static_cast<double>(tokens) / took,
              100 * limit / took, limit, took);
  std::printf("checksum %016llx\n", static_cast<unsigned long long>(checksum(groups)));
  if (config.check) {
    const auto [different, all] = differing(policy, groups);
    std::printf("%lld of %lld log-probabilities and entropies differ from training's\n", static_cast<long long>(different),
                static_cast<long long>(all));
    result["differing"] = different;
  }
  if (config.profile) print_profile([&] { call(99), wait_for(device); });
  if (config.json) std::printf("%s\n", result.dump().c_str());
  return 0;
} catch (const std::exception& error) {
  return grpo::report(error);
}
