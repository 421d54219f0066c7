// Seconds per GRPO step by phase, beside the arithmetic's limit at the matmul rate measured in the same run.
//   bench_step [--dtype bfloat16] [--steps 8] [--set policy.moe.experts=8] [--model FOLDER] …
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "grpo/collect.h"
#include "grpo/config.h"
#include "grpo/device.h"
#include "grpo/metrics.h"
#include "grpo/ops.h"
#include "grpo/policy.h"
#include "grpo/pretrained.h"
#include "grpo/rollout.h"
#include "grpo/stopwatch.h"
#include "grpo/tokenizer.h"
#include "grpo/trainer.h"

namespace {

struct BenchConfig {
  grpo::DType dtype = grpo::DType::float32;
  std::string device = "cpu", model;
  int steps = 6;
  int prompts = 16;
  int prompt_tokens = 32;
  grpo::PolicyConfig policy;
  grpo::RolloutConfig rollout;
  grpo::ObjectiveConfig objective;
  grpo::TrainerConfig trainer;

  BenchConfig() {
    policy.vocab_size = 512;
    policy.hidden_size = 256;
    policy.layers = 4;
    policy.intermediate_size = 688;
    policy.max_positions = 1024;
    rollout.samples = 8;
    rollout.max_new_tokens = 64;
    rollout.ignore_eos = true;
  }

  template <class V>
  void visit(V& v) {
    v("dtype", dtype, "weights and activations");
    v("device", device, "cpu or cuda");
    v("model", model, "a model folder in place of fresh weights; it says all of `policy`");
    v("steps", steps, "measured steps, after one to warm up; the median counts", grpo::at_least(1));
    v("prompts", prompts, "prompts of a step", grpo::at_least(1).at_most(1 << 20));
    v("prompt_tokens", prompt_tokens, "tokens of each", grpo::at_least(1));
    v("policy", policy, "the model");
    v("rollout", rollout, "sampling");
    v("objective", objective, "the loss");
    v("trainer", trainer, "micro-batches");
  }
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// A vocabulary of exactly `size` pieces, out of words that a small generator makes up.
grpo::Tokenizer make_tokenizer(int size) {
  std::vector<std::string> documents;
  uint32_t state = 1;
  for (int i = 0; i < 2000; ++i) {
    documents.emplace_back();
    for (int j = 0; j < 40; ++j)
      state = state * 1664525u + 1013904223u,
      documents.back() += j % 6 == 5 ? ' ' : static_cast<char>('a' + (state >> 24) % 26);
  }
  const auto file = std::filesystem::temp_directory_path() / "grpo_bench_step.model";
  grpo::TokenizerConfig config;
  config.vocab_size = size;
  grpo::Tokenizer::train(documents, config, file);
  return grpo::Tokenizer::load(file);
}

// The better of two shapes of the model's own products, in FLOP/s.
double matmul_rate(const grpo::PolicyConfig& policy, at::Device device) {
  at::NoGradGuard guard;
  const auto type = at::TensorOptions(device).dtype(policy.dtype == grpo::DType::bfloat16 ? at::kBFloat16 : at::kFloat);
  const auto x = at::randn({2048, policy.hidden_size}, type),
             w = at::randn({2 * policy.intermediate_size, policy.hidden_size}, type);
  double best = 1e9;
  for (int i = 0; i < 30; ++i) {
    grpo::Stopwatch watch;
    grpo::linear(x, w);
    best = std::min(best, watch.lap());
  }
  return 2.0 * 2048 * w.numel() / best;
}

// Seconds until `samples` completions of one long prompt have their first token.
double first_tokens(const grpo::Policy& policy, const grpo::Tokenizer& tokenizer, grpo::RolloutConfig config,
                    int samples) {
  config.samples = samples;
  config.max_new_tokens = 1;
  grpo::Rollout rollout(policy, tokenizer, {}, config);
  const std::vector<int32_t> prompt(static_cast<size_t>(std::min(512, policy.config().max_positions - 1)), 9);
  std::vector<double> seconds;
  for (int i = 0; i < 12; ++i) {
    grpo::Stopwatch watch;
    rollout.generate(std::vector<grpo::Task>(1), {prompt}, {7, grpo::Purpose::rollout, 0, 0});
    if (i > 0) seconds.push_back(watch.lap());  // the first one warms up
  }
  return median(seconds);
}

}  // namespace

int main(int argc, char** argv) try {
  auto config = grpo::load_config<BenchConfig>(argc, argv);
  if (!config.model.empty()) config.policy = grpo::pretrained_config(config.model);
  config.policy.dtype = config.dtype;
  config.policy.max_positions = std::min(config.policy.max_positions, 4096);
  const at::Device device = grpo::open_device(config.device);
  const auto tokenizer =
      config.model.empty() ? make_tokenizer(config.policy.vocab_size) : grpo::Tokenizer::load(config.model);
  if (config.model.empty() && tokenizer.vocab_size() != config.policy.vocab_size)
    throw grpo::Error("bench_step", "the vocabulary has ", tokenizer.vocab_size(), " pieces");
  grpo::Policy policy = config.model.empty() ? grpo::Policy(config.policy, 1, device)
                                             : grpo::load_pretrained(config.model, config.policy, device);
  std::printf("policy %s\n", policy.describe().c_str());
  grpo::Rollout rollout(policy, tokenizer, {}, config.rollout);
  grpo::OptimizerConfig optimizer;
  optimizer.learning_rate = 1e-5;
  grpo::Trainer trainer(policy, config.objective, optimizer, config.rollout.sampling.temperature, config.trainer);
  const double rate = matmul_rate(config.policy, device);

  std::vector<grpo::Task> tasks(config.prompts);
  std::vector<std::vector<int32_t>> prompts(config.prompts);
  for (int p = 0; p < config.prompts; ++p)
    for (int i = 0; i < config.prompt_tokens; ++i)
      prompts[p].push_back(8 + (p * 131 + i * 29) % (config.policy.vocab_size - 8));

  std::vector<double> rollouts, trains, totals;
  double deviation = 0;
  int64_t trained = 0;
  for (int step = 0; step <= config.steps; ++step) {
    grpo::Stopwatch watch;
    auto groups = rollout.generate(tasks, prompts, {7, grpo::Purpose::rollout, static_cast<uint64_t>(step), 0});
    const double sampling = watch.lap();
    for (auto& group : groups)
      for (const auto& completion : group.completions)
        group.rewards.push_back(static_cast<double>(
            std::count_if(completion.tokens.begin(), completion.tokens.end(), [](int32_t t) { return t % 2 == 0; })));
    const auto report = trainer.update(groups, step);
    const double training = watch.lap();
    deviation = std::max(deviation, report.ratio_deviation);
    trained = report.tokens;
    if (step == 0) continue;
    rollouts.push_back(sampling), trains.push_back(training), totals.push_back(sampling + training);
    std::printf("step %d  %.3f s (rollout %.3f train %.3f)\n", step, totals.back(), sampling, training);
    std::fflush(stdout);
  }

  // Every weight but the embedding's is multiplied once a token (the tied embedding as the head): 2 FLOP forward, 4
  // backward.
  const double weights = static_cast<double>(
      policy.active_count() -
      (config.policy.tied_embeddings ? 0 : policy.config().vocab_size * policy.config().hidden_size));
  const double sampled = static_cast<double>(rollout.stats().completion_tokens + rollout.stats().prompt_tokens);
  const double rollout_limit = 2 * weights * sampled / rate,
               train_limit = 6 * weights * static_cast<double>(trained) / rate;
  std::printf("matmul rate %.0f GFLOP/s\n", rate / 1e9);
  std::printf("%-8s %8s %8s %6s\n", "phase", "seconds", "limit", "share");
  const auto line = [](const char* name, double seconds, double limit) {
    std::printf("%-8s %8.3f %8.3f %5.0f%%\n", name, seconds, limit, 100 * limit / seconds);
  };
  line("rollout", median(rollouts), rollout_limit);
  line("train", median(trains), train_limit);
  line("step", median(totals), rollout_limit + train_limit);
  nlohmann::ordered_json result{{"policy", policy.describe()},
                                {"dtype", grpo::enum_name(config.dtype)},
                                {"seconds_per_step", median(totals)},
                                {"seconds/rollout", median(rollouts)},
                                {"seconds/train", median(trains)},
                                {"limit_share", (rollout_limit + train_limit) / median(totals)},
                                {"ratio_deviation", deviation},
                                {"peak_rss_bytes", grpo::peak_rss_bytes()}};
  // A group's prompt is computed once, so that this stays near 1.
  const double one = first_tokens(policy, tokenizer, config.rollout, 1);
  const double group = first_tokens(policy, tokenizer, config.rollout, config.rollout.samples);
  std::printf("first tokens of %d completions of a long prompt take %.2f times as long as of one\n",
              config.rollout.samples, group / one);
  result["first_tokens_ratio"] = group / one;
  std::printf("%s\n", result.dump().c_str());
  return 0;
} catch (const std::exception& error) {
  return grpo::report(error);
}
