// Defaults that follow what is trained. Those that the structs declare are for a model made here; where one begins with
// a model folder of others (policy.from), these take the place of what the user has not set.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "grpo/config.h"
#include "grpo/objective.h"
#include "grpo/optimizer.h"
#include "grpo/policy.h"
#include "grpo/reward.h"
#include "grpo/tokenizer.h"

namespace grpo {

/// The only place that decides them. Each call sets what `given` does not mention, and notes the value and its reason.
///
///   policy.adapter   rank, alpha and targets of the adapter in policy.adapter.from
///   optimizer.learning_rate   RL: 1e-5 for a model below a billion parameters, else 1e-6; supervised: 2e-5. That is the
///                             field's range (TRL's GRPOTrainer and verl's recipes for 7B and more 1e-6, DeepSeek-R1
///                             3e-6, published runs at 0.5B to 1.5B 5e-6 to 2e-5): a base made here bears a hundred
///                             times as much, a pretrained model is ruined by it within a few steps. Adapters
///                             bear ten times the rate (Schulman et al., "LoRA Without Regret", 2025).
///   optimizer.warmup_steps    10: Adam's first steps have full size whatever their gradients say
///   objective.kl              none, as in DAPO, Dr. GRPO and TRL: a reference costs weights and a forward pass
///   rewards.accuracy_needs_format   false: the form has a reward of its own, and right answers count before it is known
///   chat                      the model's own template with kFormSystem as the system prompt, or kFormText where it has
///                             none, and `<think>` opened; all of it left alone where there is a chat.text
class PretrainedDefaults {
 public:
  /// Reads the folder's config.json and the headers of its weights. Throws Error where they cannot be used.
  PretrainedDefaults(const std::filesystem::path& model_folder, const GivenKeys& given);

  /// Keys are "chat.text" and so on.
  void choose(ChatTemplate& chat);
  /// Keys are `prefix` + "adapter.rank" and so on. Throws Error where what is given differs from the folder's.
  void choose(const std::string& prefix, AdapterConfig& adapter);
  /// Keys are `prefix` + "optimizer.learning_rate" and so on; `prefix` is "" or such as "stages.1.grpo.". `adapter` is
  /// what is trained, if its rank is not 0.
  void choose_rl(const std::string& prefix, const AdapterConfig& adapter, OptimizerConfig& optimizer,
                 const ObjectiveConfig& objective, RewardsConfig& rewards);
  void choose_supervised(const std::string& prefix, const AdapterConfig& adapter, OptimizerConfig& optimizer);

  /// "optimizer.learning_rate 1e-05: the default for a pretrained model …; --set optimizer.learning_rate=…"
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  bool is_free(const std::string& key) const { return !given_.contains(key); }
  void note(const std::string& key, const std::string& value, const std::string& why);

  std::filesystem::path folder_;
  const GivenKeys& given_;
  bool is_small_ = false;
  std::vector<std::string> notes_;
};

}  // namespace grpo
