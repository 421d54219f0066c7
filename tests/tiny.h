// Tiny tokenizers, policies and tasks: large enough to go wrong in every way, small enough to run in milliseconds.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "error_of.h"
#include "files.h"
#include "grpo/config.h"
#include "grpo/error.h"
#include "grpo/policy.h"
#include "grpo/rollout.h"
#include "grpo/task.h"
#include "grpo/tokenizer.h"
#include "grpo/trainer.h"

namespace grpo::tiny {

inline const Tokenizer& tokenizer() {
  static const Tokenizer instance = [] {
    const Folder folder;
    TokenizerConfig config;
    config.vocab_size = 285;
    Tokenizer::train({"Say abc: a b c", "abc acb bca bac cab cba, ababab", "Say it: 0123456789"}, config, folder / "m");
    return Tokenizer::load(folder / "m");
  }();
  return instance;
}

inline PolicyConfig policy_config(DType dtype = DType::float32, bool moe = false, bool qk_norm_and_bias = false) {
  PolicyConfig config;
  config.vocab_size = tokenizer().vocab_size();
  config.hidden_size = 32;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.intermediate_size = 48;
  config.max_positions = 640;
  config.dtype = dtype;
  config.init_std = 0.1;
  config.qk_norm = qk_norm_and_bias ? QkNorm::head : QkNorm::none;
  config.attention_bias = qk_norm_and_bias;
  config.tied_embeddings = !qk_norm_and_bias;
  if (moe) {
    config.moe.experts = 5;
    config.moe.intermediate_size = 16;
    config.moe.dense_layers = 1;
  }
  return config;
}

inline Task task(const std::string& prompt, const std::string& answer = "") {
  return {"task-" + prompt, prompt, answer, "", "en"};
}

/// Tasks whose prompts differ in length.
inline std::vector<Task> tasks(size_t count) {
  std::vector<Task> list;
  for (size_t i = 0; i < count; ++i) list.push_back(task(std::string(1 + 5 * i % 17, 'a') + std::to_string(i)));
  return list;
}

inline Example document(const std::string& prompt, const std::string& completion) {
  Example example{tokenizer().encode(prompt), 1};
  for (const int32_t token : tokenizer().encode(completion)) example.tokens.push_back(token);
  example.tokens.push_back(tokenizer().eos());
  return example;
}

/// A policy that has seen a few documents: short strings over a, b, c and blanks, of which some end soon. The selection
/// biases of its experts have moved, too.
inline Policy policy(const PolicyConfig& config = policy_config()) {
  static std::map<std::string, NamedTensors> taught;  // by configuration
  NamedTensors& weights = taught[dump_config(config).dump()];
  if (!weights.empty()) {
    Policy made(config, 3);
    made.load_state(weights);
    return made;
  }
  Policy made(config, 3);
  OptimizerConfig optimizer;
  optimizer.learning_rate = 0.02;
  Trainer trainer(made, optimizer, {1024, 0.01});
  const ChatTemplate chat;
  const std::string words[] = {"abc",    "b c a b", "a a a a a b a c", "c", "ab ab ab ab cb cb cb cb", "bbbb",
                               "cab 12", "b"};
  for (int step = 0; step < 12; ++step) {
    std::vector<Example> documents;
    for (int i = 0; i < 8; ++i)
      documents.push_back(
          document(chat.render(task(std::string(1 + (step + i) % 9, 'a') + std::to_string(i))), words[i]));
    trainer.update(documents, step);
  }
  for (const auto& [name, tensor] : made.state()) weights.emplace_back(name, tensor.clone());
  return policy(config);  // of the version that later calls give, too
}

inline RolloutConfig rollout_config(int samples = 4, int max_new_tokens = 24) {
  RolloutConfig config;
  config.samples = samples;
  config.max_new_tokens = max_new_tokens;
  return config;
}

inline Rollout rollout(const Policy& policy, const RolloutConfig& config) {
  return Rollout(policy, tokenizer(), ChatTemplate{}, config);
}

/// Rewards without a pattern, different within every group.
inline void reward(std::vector<Group>& groups) {
  for (Group& group : groups) {
    group.rewards.clear();
    for (size_t i = 0; i < group.completions.size(); ++i)
      group.rewards.push_back(static_cast<double>((7 * i + 3 * group.index) % 5) + 0.25 * static_cast<double>(i));
  }
}

}  // namespace grpo::tiny
