// A policy with its tokenizer, from wherever one lies: a run of ours, or a model folder of Hugging Face's form. And
// what a run keeps so that its checkpoints are all that it takes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "grpo/config.h"
#include "grpo/policy.h"
#include "grpo/reward.h"
#include "grpo/rollout.h"
#include "grpo/tokenizer.h"

namespace grpo {

/// The files beside the checkpoints in `folder`, a run's or a stage's. Nothing else knows their names:
///
///   tokenizer.model   the vocabulary of a policy that was made from scratch
///   pretrained/       of one that came from a model folder (policy.from): all of that folder but the weights
///   model/            the trained policy in the form of that folder, an adapter merged into it
///   adapter/          the adapter by itself, in PEFT's form
class RunFiles {
 public:
  explicit RunFiles(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// The one or the other begins: a vocabulary is learned, or a model folder's files are copied, whole or not at all;
  /// then what its user should be told (pretrained_warning).
  void learn_tokenizer(const std::vector<std::string>& documents, const TokenizerConfig& config) const;
  std::optional<std::string> take_from(const std::filesystem::path& model_folder) const;
  void copy_to(const std::filesystem::path& run) const;
  void remove() const;

  bool has_tokenizer() const;
  Tokenizer tokenizer() const;
  /// `chat`, with the model folder's own template where its text is empty. Throws Error where there is none.
  ChatTemplate chat(const ChatTemplate& chat) const;
  /// What `config` asks for: with `from` the model folder's; else itself, with as many rows as the tokenizer has.
  /// Throws Error for fewer.
  PolicyConfig policy_config(const PolicyConfig& config) const;
  /// The policy to begin with: the weights in config.from, or fresh ones; an adapter in config.adapter.from, or a fresh
  /// one.
  Policy first_policy(const PolicyConfig& config, uint64_t seed, at::Device device) const;
  /// The policy of the run's checkpoints, whose state is still to be loaded: what is frozen is as they have it.
  Policy outline(const PolicyConfig& config, at::Device device) const;
  /// Writes `policy` for other tools to read, where it came from a model folder. `base` is what an adapter lies on.
  void save_model(const Policy& policy, const std::string& base) const;

 private:
  std::filesystem::path pretrained() const { return folder_ / "pretrained"; }
  std::filesystem::path vocabulary() const { return folder_ / "tokenizer.model"; }
  std::filesystem::path folder_;
};

/// The shape of the policy that begins with `model_folder`: the folder's, with what `config` chooses, and at most the
/// folder's positions.
PolicyConfig shape_from(const std::filesystem::path& model_folder, const PolicyConfig& config);

/// Which model a tool works with.
struct ModelConfig {
  std::string model, device = "cpu", dtype;
  int max_positions = 0;

  template <class V>
  void visit(V& v) {
    v("model", model,
      "a run's folder or a recipe's stage (its newest checkpoint), one checkpoint in it, or a model folder of Hugging "
      "Face's form");
    v("device", device, "cpu, cuda or cuda:N");
    v("dtype", dtype, "float32 or bfloat16; empty: as in training, or float32", {"", "float32", "bfloat16"});
    v("max_positions", max_positions, "longest sequence, prompt included; 0: the model's own",
      at_least(0).at_most(1 << 26));
  }
  void validate() const;
};

struct Model {
  Policy policy;
  Tokenizer tokenizer;
  ChatTemplate chat;      ///< a run's; of a model folder the bare prompt
  RewardsConfig rewards;  ///< a run's; of a model folder accuracy and format, and an answer counts in any form
  RolloutConfig rollout;  ///< a run's; of a model folder the defaults, with at most 512 new tokens
  std::filesystem::path pretrained;  ///< the model folder; "" for a run
  std::string warning = {};          ///< what the user of a model folder should be told, or ""

  /// How the model was taught to be asked: a run's chat, a model folder's own template. Throws Error where that has
  /// none.
  ChatTemplate own_chat() const;
};

/// 16 hex digits by which weights are told apart.
std::string fingerprint(const Policy& policy);

/// Throws Error that says what is missing where.
Model open_model(const ModelConfig& config);

/// The policy alone, for which a model folder needs no tokenizer; and the tokenizer alone. Both throw as open_model
/// does.
Policy open_policy(const ModelConfig& config);
Tokenizer open_tokenizer(const ModelConfig& config);
/// Model::warning, for whoever opens only parts of it.
std::string model_warning(const ModelConfig& config);

}  // namespace grpo
