// The trainer: groups (or documents) in, one update of the policy out.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "grpo/objective.h"
#include "grpo/optimizer.h"
#include "grpo/policy.h"
#include "grpo/task.h"

namespace grpo {

/// What an update did. Means are over the tokens in the loss that went through the policy, which a group without signal
/// does not (see Trainer::update).
struct UpdateReport {
  double loss = 0;  ///< mean over the updates of a step
  double entropy = std::numeric_limits<double>::quiet_NaN();  ///< of no tokens NaN
  std::optional<double> kl;    ///< to the reference policy; none without one
  double ratio_deviation = 0;  ///< largest |ratio − 1| between sampler and trainer in the step's first update
  double mismatch_kl = 0;      ///< the same tokens' mean KL between sampler and trainer
  std::optional<double> entropy_deviation;  ///< largest |entropy − the sampler's|; none where that was not made use of
  double clip_fraction = 0;
  std::optional<double> masked_fraction;      ///< of tokens out of the policy term; none where nothing masks them
  std::optional<double> entropy_coefficient;  ///< of the last update; none without entropy_target
  double grad_norm = 0;                                               ///< of the last update
  double learning_rate = 0;                                           ///< of the last update
  double expert_load_max = std::numeric_limits<double>::quiet_NaN();  ///< see RouterRecord::max_load
  int64_t tokens = 0;                 ///< that went through the policy, forward and backward
  int64_t loss_tokens = 0;            ///< in the loss, those of groups without signal included
  int64_t flat_groups = 0;            ///< without signal: see has_signal
  int64_t skipped_updates = 0;        ///< so far, over the trainer's life
  std::vector<std::string> skipped;   ///< why updates of this step were skipped, and the samples that brought it
  std::vector<std::string> warnings;  ///< that nothing can be learned like this, and what to change; each kind once
};

/// A text to imitate: the tokens from `first_target` on are learned, given those before them.
struct Example {
  std::vector<int32_t> tokens;
  size_t first_target = 1;
};

/// `bias_update_rate` belongs to pretraining. Fine-tuning sees a narrower text, which loads the experts unevenly: to
/// even that out would send tokens to experts that never learned them, by a step that no learning rate shrinks.
/// DeepSeek-V3 sets it to 0 at the end of pretraining, too (arXiv:2412.19437, section 4.2).
struct TrainerConfig {
  int micro_batch_tokens = 1024;
  double bias_update_rate = 0;
  Recompute recompute = Recompute::none;

  template <class V>
  void visit(V& v) {
    v("micro_batch_tokens", micro_batch_tokens,
      "tokens of one forward and backward pass (a longer sequence has one of its own); gradients add up in fp32, to the "
      "same for any value",
      at_least(1));
    v("bias_update_rate", bias_update_rate,
      "step of an update on the experts' selection biases, which evens out their load; 0: they stay", at_least(0));
    v("recompute", recompute,
      "layers: of a layer the forward pass keeps its input alone, and the backward pass computes the rest again: the "
      "same bits, a third more arithmetic, less memory");
  }
};

class Trainer {
 public:
  /// `temperature` is the sampler's: log-probabilities are log-softmax(logits / temperature) on both sides. Keeps a
  /// reference to `policy`. A frozen reference policy is made only when the objective has a KL term. Throws Error on an
  /// invalid objective or a temperature that is not above 0.
  Trainer(Policy& policy, const ObjectiveConfig& objective, const OptimizerConfig& optimizer, double temperature = 1.0,
          const TrainerConfig& config = {});

  /// A trainer for documents alone.
  Trainer(Policy& policy, const OptimizerConfig& optimizer, const TrainerConfig& config = {});

  /// One GRPO step on scored groups (`rewards` filled): advantages, then objective.epochs x objective.minibatches
  /// updates, in the order of the groups. The old log-probabilities are those recorded by the sampler: there is no pass
  /// for them. Where the weights are still those that drew the completions (Group::policy_version), its records are
  /// also what whole sequences and entropy quantiles are worked out from; later these take one more forward pass
  /// through the head, or the policy. How far what is then computed differs from the records, the report says. A group
  /// whose advantages are all 0 is not computed where nothing else in the loss would give it a gradient (KL, entropy,
  /// the experts' balance); it still counts in what the loss divides by. A minibatch of such groups alone is no update:
  /// nothing moves, neither weights nor momentum nor the schedule.
  UpdateReport update(std::vector<Group>& groups, int64_t step);

  /// One supervised update: mean cross-entropy over the targets of all documents.
  UpdateReport update(const std::vector<Example>& documents, int64_t step);

  /// The optimizer's, and with entropy_target the coefficient of the entropy bonus. A state without one starts it anew.
  NamedTensors state() const;
  void load_state(const NamedTensors& state);
  Policy* reference() { return reference_.get(); }  ///< null without KL
  int64_t skipped_updates() const { return optimizer_.skipped_updates(); }

 private:
  struct Sequence;
  struct MicroBatch;
  struct Batch;
  struct CutPrompt;
  struct Learned;
  using ChunkGradient = std::function<PolicyGradient(int64_t first, const TokenLogprobs& chunk)>;
  // Which of the sampler's records are by the weights that there are now.
  struct Records {
    bool logprobs = false, entropies = false;
  };
  using ReferenceLogprobs = std::vector<std::vector<std::vector<float>>>;  // [group][sample][token]
  static int64_t tokens_of(const std::vector<Sequence>& sequences);
  std::vector<MicroBatch> micro_batches(const std::vector<Sequence>& sequences) const;
  Batch assemble(const MicroBatch& micro) const;
  CutPrompt forward(const Policy& policy, const std::vector<int32_t>& prompt, RouterRecord* record) const;
  Tensor forward(const Policy& policy, const Batch& batch, RouterRecord* record, CutPrompt* prompt) const;
  TokenLogprobs logprobs(const Policy& policy, const Batch& batch, const Tensor& hidden) const;
  template <class Take>
  int64_t each_pass(const Policy& policy, const std::vector<Sequence>& list, RouterRecord* record, Take take) const;
  std::vector<Sequence> sequences(std::vector<Group>& groups, size_t begin, size_t end, bool all) const;
  ReferenceLogprobs reference_logprobs(std::vector<Group>& groups) const;
  void refresh_reference();
  Records records(const std::vector<Group>& groups, const std::vector<Sequence>& list) const;
  Tensor recorded_entropies(const std::vector<Sequence>& list) const;
  EntropyCut entropy_cut(const std::vector<Sequence>& list, bool recorded) const;
  LossInput loss_input(const std::vector<Sequence>& sequences, const Batch& batch,
                       const ReferenceLogprobs& reference) const;
  PolicyLoss with_sequences(const PolicyLoss& loss, const LossInput& input, const Records& recorded, const Batch& batch,
                            const Tensor& hidden) const;
  Learned learn(const std::vector<Sequence>& sequences, const Batch& batch, const Tensor& hidden,
                const ChunkGradient& gradient_of);
  static std::pair<Tensor, std::string> read(const std::vector<Learned>& learned);
  void warn_of_masks(const std::vector<Group>& groups, UpdateReport& report);
  void apply(UpdateReport& report, const Gradients& gradients, const RouterRecord& record, double loss,
             const std::string& broken, int64_t step);

  Policy& policy_;
  ObjectiveConfig objective_;
  TrainerConfig config_;
  double temperature_;
  AdamW optimizer_;
  EntropyControl entropy_;
  std::unique_ptr<Policy> reference_;
  bool warned_of_masks_ = false, warned_of_rounding_ = false;
};

}  // namespace grpo
