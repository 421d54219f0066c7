// The objective: rewards become advantages, and advantages, with the log-probabilities of the drawn tokens, become the
// gradient of the loss by these. It knows neither models nor engines: the trainer brings [tokens] vectors and goes
// backward from the ones it gets.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "grpo/config.h"
#include "grpo/task.h"

namespace grpo {

/// A loss is a surrogate of every token, averaged. With A the advantage of the token's sequence, r its importance ratio
/// pi / pi_sampler, sg what no gradient goes through, and clip the range [1 - clip_low, 1 + clip_high], these are
///   clip   -min(min(r, max_ratio) A, clip(r) A)    (max_ratio, where not 0: two-sided, INTELLECT-2, arXiv 2505.07291)
///   cispo  -sg(min(r, cispo_max_weight)) A log pi
///   sapo   -4 / t sigmoid(t (r - 1)) A, with a temperature t for A > 0 and one for the rest
///   vespo  -sg(w^k exp(l (1 - w))) A log pi, with w the trajectory's ratio, and k and l for A >= 0 and for the rest
/// and the losses, each with the ratio level and the aggregation that it was published with,
///   grpo     clip   token       sequence_mean        (DeepSeekMath, arXiv 2402.03300, eq. 3)
///   dr_grpo  clip   token       length_constant      (Dr. GRPO, arXiv 2503.20783, section 3.2)
///   dapo     clip   token       rollout_token_mean   (DAPO, arXiv 2503.14476, eq. 8, with clip_high = 0.28)
///   bnpo     clip   token       token_mean           (TRL's "bnpo")
///   gspo     clip   sequence    sequence_mean        (GSPO, arXiv 2507.18071, eq. 5 and 7, with clip_low = 3e-4,
///                                                    clip_high = 4e-4)
///   luspo    clip   sequence    sequence_sum         (LUSPO, arXiv 2602.05261)
///   rloo     clip   trajectory  sequence_mean        (RLOO, arXiv 2402.14740; TRL's RLOOTrainer)
///   cispo    cispo  token       rollout_token_mean   (MiniMax-M1, arXiv 2506.13585, eq. 4)
///   sapo     sapo   token       sequence_mean        (SAPO, arXiv 2511.20347)
///   vespo    vespo  token       rollout_token_mean   (VESPO, arXiv 2602.10693)
/// Clip ranges stay what the config says.
enum class Loss { grpo, dr_grpo, dapo, bnpo, gspo, luspo, rloo, cispo, sapo, vespo };

/// What the importance ratio of a token is, with log r = log pi - log pi_sampler of a token alone:
///   recipe          that of the loss
///   token           exp(log r)
///   sequence        exp(mean over the sequence of log r)
///   sequence_token  the same number, of which a token's gradient is its own: sg(sequence) pi / sg(pi) (GSPO-token,
///                   arXiv 2507.18071, section 4.3)
///   trajectory      exp(sum over the sequence of log r)
enum class RatioLevel { recipe, token, sequence, sequence_token, trajectory };

/// How the terms of tokens become a loss:
///   recipe              as the loss says
///   sequence_mean       mean over sequences of the mean over each one's tokens
///   sequence_sum        mean over sequences of the sum over each one's tokens
///   length_constant     sum over tokens / (sequences * length_constant)
///   token_mean          mean over the tokens of the minibatch
///   rollout_token_mean  the same, but a minibatch counts as its share of the rollout's tokens, so that all tokens of a
///                       rollout weigh the same
enum class Aggregation { recipe, sequence_mean, sequence_sum, length_constant, token_mean, rollout_token_mean };

/// What is subtracted from a reward:
///   group                  the mean of its group
///   rloo                   the mean of the others of its group; alone, it has none and is left out of the loss
///   reinforce_pp           nothing; the batch is whitened instead         (REINFORCE++, arXiv 2501.03262)
///   reinforce_pp_baseline  the mean of its group; then the batch is whitened (the same paper's variant with baseline)
enum class Baseline { group, rloo, reinforce_pp, reinforce_pp_baseline };

/// What the difference is divided by (advantage_epsilon is added to every deviation):
///   recipe  as published: none for dr_grpo and for the rloo baseline, whiten for the reinforce_pp ones and for rewards
///           that are normalized one by one, else group
///   none    nothing
///   group   the standard deviation of the group's rewards
///   batch   the standard deviation of all rewards of the batch
///   whiten  the standard deviation of all advantages of the batch, whose mean is subtracted first
enum class Scale { recipe, none, group, batch, whiten };

/// Where the divergence from the reference policy counts, and by which estimator (Schulman's k1, k2, k3), with
/// d = log pi_reference - log pi:
///   k1_in_reward  reward -= kl_coefficient * sum over tokens of -d, before the baseline
///   k2_in_loss    loss += kl_coefficient * d^2 / 2
///   k3_in_loss    loss += kl_coefficient * (exp(d) - d - 1)               (DeepSeekMath eq. 4)
/// In the loss it is averaged over tokens exactly as the policy term is.
enum class Kl { none, k1_in_reward, k2_in_loss, k3_in_loss };

/// Which completions of a group enter the loss once the whole group has given the advantages: all, or only the one with
/// the highest reward (the first of several).
enum class Selection { all, best };

template <>
struct EnumNames<Loss> {
  static constexpr std::array<std::pair<Loss, std::string_view>, 10> values{{{Loss::grpo, "grpo"},
                                                                             {Loss::dr_grpo, "dr_grpo"},
                                                                             {Loss::dapo, "dapo"},
                                                                             {Loss::bnpo, "bnpo"},
                                                                             {Loss::gspo, "gspo"},
                                                                             {Loss::luspo, "luspo"},
                                                                             {Loss::rloo, "rloo"},
                                                                             {Loss::cispo, "cispo"},
                                                                             {Loss::sapo, "sapo"},
                                                                             {Loss::vespo, "vespo"}}};
};
template <>
struct EnumNames<RatioLevel> {
  static constexpr std::array<std::pair<RatioLevel, std::string_view>, 5> values{
      {{RatioLevel::recipe, "recipe"},
       {RatioLevel::token, "token"},
       {RatioLevel::sequence, "sequence"},
       {RatioLevel::sequence_token, "sequence_token"},
       {RatioLevel::trajectory, "trajectory"}}};
};
template <>
struct EnumNames<Aggregation> {
  static constexpr std::array<std::pair<Aggregation, std::string_view>, 6> values{
      {{Aggregation::recipe, "recipe"},
       {Aggregation::sequence_mean, "sequence_mean"},
       {Aggregation::sequence_sum, "sequence_sum"},
       {Aggregation::length_constant, "length_constant"},
       {Aggregation::token_mean, "token_mean"},
       {Aggregation::rollout_token_mean, "rollout_token_mean"}}};
};
template <>
struct EnumNames<Baseline> {
  static constexpr std::array<std::pair<Baseline, std::string_view>, 4> values{
      {{Baseline::group, "group"},
       {Baseline::rloo, "rloo"},
       {Baseline::reinforce_pp, "reinforce_pp"},
       {Baseline::reinforce_pp_baseline, "reinforce_pp_baseline"}}};
};
template <>
struct EnumNames<Scale> {
  static constexpr std::array<std::pair<Scale, std::string_view>, 5> values{{{Scale::recipe, "recipe"},
                                                                             {Scale::none, "none"},
                                                                             {Scale::group, "group"},
                                                                             {Scale::batch, "batch"},
                                                                             {Scale::whiten, "whiten"}}};
};
template <>
struct EnumNames<Kl> {
  static constexpr std::array<std::pair<Kl, std::string_view>, 4> values{{{Kl::none, "none"},
                                                                          {Kl::k1_in_reward, "k1_in_reward"},
                                                                          {Kl::k2_in_loss, "k2_in_loss"},
                                                                          {Kl::k3_in_loss, "k3_in_loss"}}};
};
template <>
struct EnumNames<Selection> {
  static constexpr std::array<std::pair<Selection, std::string_view>, 2> values{
      {{Selection::all, "all"}, {Selection::best, "best"}}};
};

struct ObjectiveConfig {
  Loss loss = Loss::grpo;
  RatioLevel ratio_level = RatioLevel::recipe;
  Aggregation aggregation = Aggregation::recipe;
  Baseline baseline = Baseline::group;
  Scale scale = Scale::recipe;
  bool normalize_each_reward = false;
  bool unbiased_std = true;
  double advantage_epsilon = 1e-4;
  double clip_low = 0.2;
  double clip_high = 0.2;
  double max_ratio = 0.0;
  double cispo_max_weight = 5.0;
  double sapo_temperature_positive = 1.0;
  double sapo_temperature_negative = 1.05;
  double vespo_k_positive = 2.0;
  double vespo_lambda_positive = 3.0;
  double vespo_k_negative = 3.0;
  double vespo_lambda_negative = 2.0;
  int length_constant = 0;
  Kl kl = Kl::none;
  double kl_coefficient = 0.0;
  bool kl_ratio_weighted = false;
  int reference_refresh_steps = 0;
  double reference_mixup = 1.0;
  double entropy_coefficient = 0.0;
  double entropy_target = 0.0;
  double entropy_coefficient_step = 0.005;
  double entropy_coefficient_min = 0.0;
  double entropy_coefficient_max = 1.0;
  Selection selection = Selection::all;
  bool mask_truncated = false;
  double top_entropy = 1.0;
  double off_policy_threshold = 0.0;
  int epochs = 1;
  int minibatches = 1;
  bool dynamic_sampling = false;
  int max_refills = 4;

  template <class V>
  void visit(V& v) {
    v("loss", loss, "how tokens are clipped and averaged");
    v("ratio_level", ratio_level, "of what a token's importance ratio is; recipe: as published for the loss");
    v("aggregation", aggregation, "how the terms of tokens become a loss; recipe: as published for it");
    v("baseline", baseline, "what is subtracted from a reward to make an advantage");
    v("scale", scale, "what an advantage is divided by; recipe: as published for the loss and the baseline");
    v("normalize_each_reward", normalize_each_reward,
      "baseline and division by the group's standard deviation are for each reward alone, before the weighted sum "
      "(GDPO)");
    v("unbiased_std", unbiased_std, "standard deviations divide by n - 1 (as TRL does) instead of n");
    v("advantage_epsilon", advantage_epsilon, "added to the standard deviation that advantages are divided by",
      at_least(0));
    v("clip_low", clip_low, "the ratio is clipped below 1 - clip_low (gspo: 3e-4); 1 never clips",
      at_least(0).at_most(1));
    v("clip_high", clip_high, "the ratio is clipped above 1 + clip_high (dapo: 0.28, gspo: 4e-4)", at_least(0));
    v("max_ratio", max_ratio,
      "the ratio counts as at most this, for negative advantages too (two-sided clipping: above 1 + clip_high); 0: "
      "no such bound",
      at_least(0));
    v("cispo_max_weight", cispo_max_weight, "largest importance weight of the cispo loss, which has no other clipping",
      above(0));
    v("sapo_temperature_positive", sapo_temperature_positive,
      "how sharply the sapo loss fades where the ratio leaves 1, for advantages above 0", above(0));
    v("sapo_temperature_negative", sapo_temperature_negative, "the same for the other advantages", above(0));
    v("vespo_k_positive", vespo_k_positive,
      "how much the vespo loss takes from completions that became less likely, for advantages of 0 and above",
      at_least(0));
    v("vespo_lambda_positive", vespo_lambda_positive, "how much from those that became more likely", above(0));
    v("vespo_k_negative", vespo_k_negative, "as vespo_k_positive, for negative advantages", at_least(0));
    v("vespo_lambda_negative", vespo_lambda_negative, "as vespo_lambda_positive, for negative advantages", above(0));
    v("length_constant", length_constant,
      "tokens that a sequence's sum is divided by in dr_grpo (the aggregation length_constant): the completion limit",
      at_least(0));
    v("kl", kl, "where the divergence from a frozen reference policy counts; none: there is no reference");
    v("kl_coefficient", kl_coefficient, "weight of that divergence", at_least(0));
    v("kl_ratio_weighted", kl_ratio_weighted,
      "multiply k3 by the importance ratio, which makes its gradient unbiased (DeepSeek-V3.2; TRL's default)");
    v("reference_refresh_steps", reference_refresh_steps,
      "copy the policy into the reference every so many steps; 0: never", at_least(0));
    v("reference_mixup", reference_mixup,
      "the policy's share in the reference that such a step leaves, the old reference's is the rest (TR-DPO's alpha)",
      above(0).at_most(1));
    v("entropy_coefficient", entropy_coefficient,
      "the mean entropy of a token, times this, is subtracted from the loss; with entropy_target what it starts at",
      at_least(0));
    v("entropy_target", entropy_target,
      "nats: the coefficient rises by entropy_coefficient_step after each update whose mean entropy is at most this, "
      "else falls, and counts only behind such an update (Skywork-OR1); 0: the coefficient stays",
      at_least(0));
    v("entropy_coefficient_step", entropy_coefficient_step, "such a step", above(0));
    v("entropy_coefficient_min", entropy_coefficient_min, "what entropy_target lets the coefficient fall to",
      at_least(0));
    v("entropy_coefficient_max", entropy_coefficient_max, "what entropy_target lets it rise to", at_least(0));
    v("selection", selection, "completions of a group that enter the loss: all, or the one with the best reward");
    v("mask_truncated", mask_truncated,
      "keep completions that were cut by length out of the loss, not of the baseline");
    v("top_entropy", top_entropy,
      "share of a minibatch's tokens, those of the highest entropy, that the policy term and the entropy bonus are for "
      "(arXiv 2506.01939: 0.2); below 1 a rollout's updates behind the first take a forward pass more to find them",
      at_least(0).at_most(1));
    v("off_policy_threshold", off_policy_threshold,
      "a completion of negative advantage is kept out of the policy term when log pi_sampler - log pi, its tokens' "
      "mean, is above this (DeepSeek-V3.2, arXiv 2512.02556, eq. 9); 0: none is",
      at_least(0));
    v("epochs", epochs, "times that a rollout is gone through", at_least(1).at_most(1 << 10));
    v("minibatches", minibatches, "updates in each of those passes", at_least(1));
    v("dynamic_sampling", dynamic_sampling, "replace groups whose rewards are all equal by fresh ones (DAPO)");
    v("max_refills", max_refills, "rounds of such replacement in a step before it goes on with what it has",
      at_least(0));
  }

  /// Throws Error for values that contradict each other (kl without a coefficient).
  void validate() const;

  /// Throws Error where a task's samples are too few for any advantage: one, with a baseline that its group makes; and
  /// for more minibatches than a step has prompts.
  void check_step(int prompts, int samples) const;

  /// `scale`, `ratio_level` and `aggregation` with `recipe` replaced by what it stands for.
  Scale resolved_scale() const;
  RatioLevel resolved_ratio_level() const;
  Aggregation resolved_aggregation() const;

  /// Whether a token's gradient needs nothing of its sequence but the advantage and the length.
  bool is_by_token() const;
};

/// Fills `advantages` of every group from its `rewards`, in double precision. `groups` is the whole batch of one step:
/// batch and whiten look at all of it. A NaN reward is left out of every mean and deviation and gets a NaN advantage;
/// completions that `selection` drops get NaN too; a group whose rewards are all equal (see has_signal) gets exactly 0
/// from every baseline but reinforce_pp, before whitening; so does a batch of equal values that is whitened.
/// With normalize_each_reward a group's `scores` and `weights` take the place of `rewards`, of which only what is NaN
/// counts: every reward goes through the baseline and is divided by its deviation in the group (plus
/// advantage_epsilon), an undefined score gives 0, and the weighted sums are whitened over the batch (GDPO, arXiv
/// 2601.05242).
/// `reward_kl[g][i]` is the sum over the tokens of completion i of log pi - log pi_reference; it is needed for
/// k1_in_reward only, and changes the advantages but not `rewards`. Throws Error when a group's rewards, scores or
/// reward_kl do not match its completions, a reward is infinite, or a divergence not finite.
void compute_advantages(std::span<Group> groups, const ObjectiveConfig& config,
                        const std::vector<std::vector<double>>& reward_kl = {});

/// Whether the group's defined rewards differ, or with `each_reward` the scores of any that has a weight, without which
/// no advantage does: what dynamic sampling asks. Rewards are equal up to rounding: when they differ by at most 64
/// units of double precision in the largest reward or score.
bool has_signal(const Group& group, bool each_reward = false);

/// Whether completion `sample` takes part in the loss: it has an advantage, and tokens, and is not masked as truncated.
/// A forward pass is needed only for these.
bool enters_loss(const Group& group, std::size_t sample, const ObjectiveConfig& config);

/// What the loss divides by, counted over a minibatch before it is split, so that the gradients of its micro-batches
/// add up to the same whatever the split. A completion without advantage counts nowhere; a truncated one that is masked
/// brings no tokens but still counts as a sequence (as in TRL). Sums over processes are a plain `+=` of the members.
struct Normalizer {
  double tokens = 0;     ///< in the loss; rollout_token_mean: the rollout's, times the minibatch's share of completions
  double sequences = 0;  ///< completions with an advantage
};

/// The normalizer of `minibatch`, a part of `rollout` (which a rollout_token_mean looks at). Advantages must be there.
Normalizer count(std::span<const Group> minibatch, std::span<const Group> rollout, const ObjectiveConfig& config);

/// The tokens of a minibatch that top_entropy keeps.
struct EntropyCut {
  at::Tensor threshold;  ///< [] float64: the least entropy of those that are kept; undefined: all are
  at::Tensor tokens;     ///< [] float64: how many these are, which the entropy bonus is a mean over
};

/// The cut through the `entropy` [N] of all of a minibatch's tokens: the quantile of 1 - top_entropy, by linear
/// interpolation.
EntropyCut entropy_cut(const at::Tensor& entropy, double top_entropy);

/// The coefficient of the entropy bonus from update to update: fixed, or what entropy_target makes of it (Skywork-OR1,
/// arXiv 2505.22312).
struct EntropyControl {
  double coefficient = 0;
  double last_entropy = std::numeric_limits<double>::max();  ///< mean over the tokens that the bonus is for

  /// What the next update's bonus is weighted with.
  double applied(const ObjectiveConfig& config) const;
  /// An update's mean entropy; one that is not finite changes nothing.
  void observe(double entropy, const ObjectiveConfig& config);
};

/// One micro-batch: S sequences, all of which enter the loss, their completion tokens end to end. All on one device.
struct LossInput {
  at::Tensor old_logprobs;        ///< [N] as recorded when each token was drawn
  at::Tensor reference_logprobs;  ///< [N]; undefined without a reference
  at::Tensor advantages;          ///< [S]
  at::Tensor starts;              ///< [S + 1] int64: sequence i is tokens starts[i] .. starts[i + 1]
  EntropyCut cut = {};            ///< of the minibatch; needed with top_entropy below 1
  at::Tensor old_entropy = {};    ///< [N] as recorded with old_logprobs; undefined: not compared
};

/// Sums over tokens, from which metrics over any number of micro-batches come by dividing by `tokens`.
struct LossMetrics {
  double loss = 0;  ///< the share of the minibatch's loss
  double tokens = 0;
  double clipped_tokens = 0;   ///< whose ratio the clipping cut off from the gradient (cispo: whose weight was cut)
  double masked_tokens = 0;    ///< that top_entropy or off_policy_threshold kept out of the policy term
  double kl_sum = 0;           ///< divergence from the reference by the configured estimator; 0 without one
  double entropy_sum = 0;      ///< 0 without `entropy`
  double bonus_tokens = 0;     ///< that the entropy bonus is for
  double bonus_entropy = 0;    ///< the sum of their entropies
  double mismatch_kl_sum = 0;  ///< k3 of trainer against sampler; exactly 0 only if all bits agree
  double ratio_deviation = 0;  ///< largest |ratio - 1|, token by token; exactly 0 only if all bits agree
  double entropy_deviation = 0;  ///< largest |entropy - old_entropy|; 0 without the latter

  static constexpr std::int64_t kSize = 11;

  LossMetrics() = default;
  /// What a device has gathered, [rows, kSize] float64 of PolicyGradient::metrics: one transfer for all of them.
  explicit LossMetrics(const at::Tensor& rows);

  void add(const LossMetrics& other);
};

/// What a micro-batch's loss asks of its log-probabilities.
struct PolicyGradient {
  at::Tensor logprobs;  ///< [N] d loss / d log pi, of the log-probabilities' type
  at::Tensor entropy;   ///< [N] d loss / d entropy; undefined without an entropy coefficient
  at::Tensor metrics;   ///< [LossMetrics::kSize] float64, in the order of its members
};

/// The loss of one micro-batch in closed form: from log-probabilities to its gradient and its metrics, all of which
/// stay on the device. Arithmetic is float64 throughout.
class PolicyLoss {
 public:
  /// Throws Error on shapes that do not fit, an advantage that is not finite, a missing reference, or an empty
  /// normalizer.
  PolicyLoss(const LossInput& input, const Normalizer& normalizer, const ObjectiveConfig& config);

  /// `logprobs` [N] under the policy being trained and the `entropy` [N] of each token's distribution, in nats, which
  /// may be undefined where the loss has no use for it. Throws Error on other shapes. A log-probability that is not
  /// finite makes the loss so.
  PolicyGradient gradient(const at::Tensor& logprobs, const at::Tensor& entropy) const;

  /// The same with what tokens take from whole sequences worked out ahead, of these [N] (`entropy` is needed with
  /// top_entropy below 1): ratios above the token level and the gradient through them, vespo's weights, strays. Of an
  /// objective that is_by_token there is none of this.
  PolicyLoss with_sequences(const at::Tensor& logprobs, const at::Tensor& entropy) const;

  /// The same of `tokens` of them alone, from `first` on: what is [N] there is [tokens] here. Throws Error where
  /// neither the objective is_by_token nor the loss is one with_sequences.
  PolicyLoss part(std::int64_t first, std::int64_t tokens) const;

 private:
  struct Surrogate;
  struct Term;
  Term term(const at::Tensor& logprobs, const at::Tensor& entropy) const;
  Surrogate surrogate(const at::Tensor& logprobs, const at::Tensor& ratio) const;
  at::Tensor masked(const at::Tensor& low_entropy) const;
  bool has_ratio_of_sequence() const;                            // through which a token's gradient is of all of them
  at::Tensor log_weight(const at::Tensor& log_ratio) const;      // of the ratio, at its level
  at::Tensor of_sequence(const at::Tensor& per_sequence) const;  // [S] to [N]
  at::Tensor sequence_sum(const at::Tensor& values) const;       // [N], at each token that of its sequence

  ObjectiveConfig config_;
  Normalizer normalizer_;
  EntropyCut cut_;
  at::Tensor lengths_, owner_, length_;  // [S]; [N] each token's sequence; [N] its length
  at::Tensor old_logprobs_, old_entropy_, reference_logprobs_, advantages_;  // [N] float64, as are these:
  at::Tensor share_;                                                         // what a token's term counts in the loss
  at::Tensor log_ratio_sum_, by_ratio_;  // with_sequences: log r, summed; the gradient through a sequence's ratio
};

}  // namespace grpo
