// Scores completions with any model: the log-probability of each of their tokens at temperature 1, and the perplexity.
//   logprobs --model DIR --in pairs.jsonl --out out.jsonl
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "grpo/config.h"
#include "grpo/metrics.h"
#include "grpo/model.h"
#include "grpo/stop.h"
#include "grpo/stopwatch.h"
#include "lines.h"

namespace {

using Json = nlohmann::ordered_json;

struct LogprobsConfig : grpo::ModelConfig {
  std::string in, out;
  bool bos = false;
  int max_batch_tokens = 2048;

  template <class V>
  void visit(V& v) {
    grpo::ModelConfig::visit(v);
    v("in", in,
      "JSONL: \"prompt\" and \"completion\" (texts, encoded apart and joined), or \"prompt_ids\" and "
      "\"completion_ids\", which need no tokenizer. \"-\" is standard input");
    v("out", out,
      "JSONL: the lines of `in` with \"logprobs\" and \"perplexity\", exp of minus their mean. \"-\" is "
      "standard output");
    v("bos", bos, "put the tokenizer's token for the beginning in front of prompts");
    v("max_batch_tokens", max_batch_tokens, "tokens of one forward pass; a longer line has one of its own",
      grpo::at_least(1).at_most(1 << 26));
  }
  void validate() const {
    grpo::ModelConfig::validate();
    if (in.empty() || out.empty()) throw grpo::Error("config", "expected --in and --out FILE.jsonl (see --help)");
  }
};

/// A line as tokens.
struct Pair {
  std::vector<int32_t> prompt, completion;
  size_t size() const { return prompt.size() + completion.size(); }
};

/// Throws Error, naming the line, for one that `policy` cannot score.
void check(const Pair& pair, const std::string& where, const grpo::PolicyConfig& policy) {
  if (pair.prompt.empty())
    throw grpo::Error("logprobs", where, ": expected a prompt of at least one token; or give --bos");
  if (pair.size() > static_cast<size_t>(policy.max_positions))
    throw grpo::Error("logprobs", where, ": expected at most ", policy.max_positions, " tokens, got ", pair.size());
  for (const auto* part : {&pair.prompt, &pair.completion})
    for (const int32_t token : *part)
      if (token < 0 || token >= policy.vocab_size)
        throw grpo::Error("logprobs", where, ": expected tokens from 0 to ", policy.vocab_size - 1, ", got ", token);
}

/// The lines of one forward pass, laid end to end: a completion is a segment behind its prompt's, as in sampling, so
/// that the bits are those of sampling, too.
struct Batch {
  grpo::PassBuilder pass;
  std::vector<int32_t> targets;
  std::vector<int64_t> rows;           // whose hidden state the next target follows
  std::vector<size_t> lines, lengths;  // which they are, and how long their completions

  void add(size_t line, const Pair& pair) {
    const int32_t parent = pass.add(pair.prompt);
    for (size_t i = 0; i < pair.completion.size(); ++i)
      rows.push_back(static_cast<int64_t>(pass.tokens.size() + i) - 1), targets.push_back(pair.completion[i]);
    if (!pair.completion.empty()) pass.add(pair.completion, static_cast<int32_t>(pair.prompt.size()), parent);
    lines.push_back(line), lengths.push_back(pair.completion.size());
  }

  std::vector<float> logprobs(const grpo::Policy& policy) const {
    if (targets.empty()) return {};
    const auto device = policy.device();
    const at::Tensor hidden =
        policy.hidden(pass.build(device)).index_select(0, at::tensor(rows, at::kLong).to(device));
    const at::Tensor all =
        policy.token_logprobs(hidden, at::tensor(targets, at::kInt).to(device), 1.0).logprobs.cpu().contiguous();
    return {all.data_ptr<float>(), all.data_ptr<float>() + all.numel()};
  }
};

}  // namespace

int main(int argc, char** argv) try {
  const auto config = grpo::load_config<LogprobsConfig>(argc, argv);
  const at::NoGradGuard no_grad;
  const std::vector<Line> lines = read_lines(config.in);
  LineWriter out(config.out, {config.in});
  const grpo::Policy policy = grpo::open_policy(config);
  if (const auto warning = grpo::model_warning(config); !warning.empty())
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  std::optional<grpo::Tokenizer> loaded;  // once there is something to encode
  const auto tokenizer = [&]() -> const grpo::Tokenizer& {
    if (!loaded) loaded = grpo::open_tokenizer(config);
    return *loaded;
  };
  if (config.bos && tokenizer().bos() < 0)
    throw grpo::Error("logprobs", "bos: expected a tokenizer with such a token, it has none");
  const grpo::StopSignal stop;
  std::vector<Pair> pairs;  // all at first: what is wrong with the last line is not told after hours
  for (size_t i = 0; i < lines.size() && !stop.requested(); ++i) {
    Pair& pair = pairs.emplace_back(
        Pair{lines[i].tokens("prompt", tokenizer), lines[i].tokens("completion", tokenizer)});
    if (config.bos) pair.prompt.insert(pair.prompt.begin(), tokenizer().bos());
    check(pair, lines[i].where, policy.config());
  }
  grpo::Progress progress("/dev/null");
  progress.begin("logprobs", static_cast<int64_t>(lines.size()), 0, grpo::Progress::Lines::seldom);
  grpo::Stopwatch watch, lap;
  int64_t tokens = 0;
  Batch batch;
  const auto flush = [&] {
    const std::vector<float> logprobs = batch.logprobs(policy);
    auto next = logprobs.begin();
    for (size_t i = 0; i < batch.lines.size(); ++i) {
      const std::vector<float> own(next, next + static_cast<std::ptrdiff_t>(batch.lengths[i]));
      next += static_cast<std::ptrdiff_t>(batch.lengths[i]);
      double sum = 0;
      for (const float logprob : own) sum += static_cast<double>(logprob);
      const Json perplexity = own.empty() ? Json(nullptr) : Json(std::exp(-sum / static_cast<double>(own.size())));
      out.write_lines(lines[batch.lines[i]].with({{"logprobs", own}, {"perplexity", perplexity}}));
    }
    tokens += static_cast<int64_t>(batch.pass.tokens.size());
    if (!batch.lines.empty()) progress.step(static_cast<int64_t>(batch.lines.back()) + 1, {}, lap.lap());
    batch = {};
  };
  for (size_t i = 0; i < lines.size() && !stop.requested(); ++i) {
    const size_t before = batch.pass.tokens.size();
    if (before > 0 && before + pairs[i].size() > static_cast<size_t>(config.max_batch_tokens)) flush();
    batch.add(i, pairs[i]);
  }
  if (stop.requested()) {
    progress.end();
    std::fprintf(stderr, "stopped\n");
    return stop.exit_status();
  }
  flush();
  progress.end();
  out.finish();
  std::fprintf(stderr, "%zu lines, %.1f tokens/s\n", lines.size(), static_cast<double>(tokens) / watch.lap());
  return 0;
} catch (const std::exception& error) {
  return grpo::report(error);
}
