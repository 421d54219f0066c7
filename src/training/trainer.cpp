#include "grpo/trainer.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <utility>

#include "grpo/error.h"

namespace grpo {

// A completion on its way through the loss (or a document, which is a completion without a prompt).
struct Trainer::Sequence {
  const std::vector<int32_t>* prompt;  // null for a document
  const std::vector<int32_t>* tokens;
  size_t first_target;  // of `tokens`; 0 only behind a prompt
  const Completion* completion = nullptr;
  float advantage = 0;
  size_t group = 0, sample = 0;       // of a document its place in the list, and 0
  const std::string* task = nullptr;  // its id; null for a document

  std::string name() const {
    if (!task) return "document " + std::to_string(group);
    return "sample " + std::to_string(sample) + " of task \"" + *task + '"';
  }
  int64_t targets() const { return static_cast<int64_t>(tokens->size() - first_target); }
  // Tokens of its own that are fed in: all but the last, which only is a target.
  int64_t inputs() const { return static_cast<int64_t>(tokens->size()) - 1; }
};

// Sequences that go through the policy together: whole groups and documents, or a part of a group that is cut.
struct Trainer::MicroBatch {
  std::vector<Sequence> sequences;
  bool cut = false;
};

// What a forward pass reads, and the places where targets follow.
struct Trainer::Batch {
  Pass pass;                       // where a group is cut, segment 0 is its prompt, whose tokens are not among these
  Tensor rows, targets;            // [N]: hidden state `rows[i]` is followed by `targets[i]`
  Tensor first_rows, order;        // of a cut group: `order` puts first_rows, of the prompt, and rows in place
  std::vector<int64_t> starts{0};  // [sequences + 1] in targets
  KeptSets kept;
};

// A pass that has gone backward.
struct Trainer::Learned {
  std::vector<Sequence> sequences;
  std::vector<int64_t> starts;  // as in Batch
  Tensor logprobs, sums;        // [N]; [chunks, sums] float64, the loss first, still on the device
};

// The prompt of a group that is cut. Its forward pass comes before those of the parts and its backward pass, with what
// they all give to it, behind theirs: paid once, and rounded once.
struct Trainer::CutPrompt {
  const std::vector<int32_t>* tokens;
  std::vector<SharedRows> layers;
  Tensor last;        // [1, hidden], its last hidden state
  Tensor last_apart;  // the same for the parts: gathers their gradient in fp32

  void backward() const {
    if (last.requires_grad()) last.backward(last_apart.grad().to(last.scalar_type()));
  }
};

namespace {

constexpr const char* kEntropyControl = "entropy_control";

// [group][sample] sums over tokens of log pi - log pi_reference.
std::vector<std::vector<double>> divergence(const std::vector<Group>& groups,
                                            const std::vector<std::vector<std::vector<float>>>& reference) {
  std::vector<std::vector<double>> out;
  for (size_t g = 0; g < groups.size(); ++g) {
    out.emplace_back();
    for (size_t i = 0; i < groups[g].completions.size(); ++i) {
      double sum = 0;
      for (size_t t = 0; t < reference[g][i].size(); ++t)
        sum += static_cast<double>(groups[g].completions[i].logprobs[t]) - static_cast<double>(reference[g][i][t]);
      out.back().push_back(sum);
    }
  }
  return out;
}

Tensor int_tensor(const std::vector<int32_t>& values, at::Device device) {
  return at::tensor(values, at::kInt).to(device);
}

}  // namespace

Trainer::Trainer(Policy& policy, const ObjectiveConfig& objective, const OptimizerConfig& optimizer, double temperature,
                 const TrainerConfig& config)
    : policy_(policy),
      objective_(objective),
      config_(config),
      temperature_(temperature),
      optimizer_(policy.parameters(), optimizer),
      entropy_{objective.entropy_coefficient} {
  validate(objective_, "objective");
  validate(config_, "trainer");
  if (!(temperature > 0))
    throw Error("trainer", "expected a temperature above 0, got ", temperature,
                "; greedy samples cannot be trained on");
  if (objective_.kl != Kl::none) reference_ = std::make_unique<Policy>(policy.snapshot());
}

Trainer::Trainer(Policy& policy, const OptimizerConfig& optimizer, const TrainerConfig& config)
    : Trainer(policy, ObjectiveConfig{}, optimizer, 1.0, config) {}

NamedTensors Trainer::state() const {
  NamedTensors state = optimizer_.state();
  if (objective_.entropy_target != 0)
    state.emplace_back(kEntropyControl, at::tensor({entropy_.coefficient, entropy_.last_entropy}, at::kDouble));
  return state;
}

void Trainer::load_state(const NamedTensors& state) {
  NamedTensors optimizer;
  EntropyControl entropy{objective_.entropy_coefficient};
  for (const auto& [name, tensor] : state) {
    if (name != kEntropyControl) {
      optimizer.emplace_back(name, tensor);
    } else if (objective_.entropy_target != 0) {
      if (tensor.scalar_type() != at::kDouble || tensor.sizes() != at::IntArrayRef({2}))
        throw Error("trainer", name, ": expected float64 [2], got ", toString(tensor.scalar_type()), " ",
                    tensor.sizes(), "; the checkpoint is damaged");
      entropy = {tensor[0].item<double>(), tensor[1].item<double>()};
    }
  }
  optimizer_.load_state(optimizer);
  entropy_ = entropy;
}

std::vector<Trainer::Sequence> Trainer::sequences(std::vector<Group>& groups, size_t begin, size_t end,
                                                  bool all) const {
  std::vector<Sequence> list;
  // What gives a gradient, or counts tokens, whatever the advantages.
  const bool others = objective_.kl == Kl::k2_in_loss || objective_.kl == Kl::k3_in_loss ||
                      objective_.entropy_coefficient != 0 || objective_.entropy_target != 0 ||
                      objective_.top_entropy < 1 ||
                      (policy_.config().moe.experts > 0 &&
                       (config_.bias_update_rate != 0 || policy_.config().moe.auxiliary_loss != 0));
  const auto is_zero = [](float advantage) { return advantage == 0 || std::isnan(advantage); };
  for (size_t g = begin; g < end; ++g) {
    if (!all && !others && std::all_of(groups[g].advantages.begin(), groups[g].advantages.end(), is_zero)) continue;
    for (size_t i = 0; i < groups[g].completions.size(); ++i) {
      if (all ? groups[g].completions[i].tokens.empty() : !enters_loss(groups[g], i, objective_)) continue;
      const Completion& completion = groups[g].completions[i];
      list.push_back({&groups[g].prompt, &completion.tokens, 0, &completion, all ? 0.0f : groups[g].advantages[i], g, i,
                      &groups[g].task.id});
    }
  }
  return list;
}

// Of all passes together.
int64_t Trainer::tokens_of(const std::vector<Sequence>& sequences) {
  int64_t tokens = 0;
  const std::vector<int32_t>* prompt = nullptr;
  for (const Sequence& sequence : sequences) {
    if (sequence.prompt && sequence.prompt != prompt) tokens += std::ssize(*sequence.prompt);
    prompt = sequence.prompt;
    tokens += sequence.inputs();
  }
  return tokens;
}

// Cuts the list, in order, where the tokens of a pass would exceed the limit. Only a group that exceeds it by itself is
// cut, into parts that have passes of their own.
std::vector<Trainer::MicroBatch> Trainer::micro_batches(const std::vector<Sequence>& sequences) const {
  std::vector<MicroBatch> batches;
  const int64_t limit = config_.micro_batch_tokens;
  int64_t tokens = 0;  // of the last batch
  for (size_t begin = 0, end = 0; begin < sequences.size(); begin = end) {
    const std::vector<int32_t>* shared = sequences[begin].prompt;
    const int64_t prompt = shared ? std::ssize(*shared) : 0;
    int64_t group = prompt;  // its tokens; a document is a group of one
    do {
      group += sequences[end++].inputs();
    } while (end < sequences.size() && shared && sequences[end].prompt == shared);
    const bool cut = group > limit && end - begin > 1;
    if (batches.empty() || batches.back().cut || cut || tokens + group > limit) {
      batches.push_back({{}, cut});
      tokens = 0;
    }
    tokens += cut ? prompt : group;
    for (size_t i = begin; i < end; ++i) {
      if (cut && i > begin && tokens + sequences[i].inputs() > limit) batches.push_back({{}, true}), tokens = prompt;
      if (cut) tokens += sequences[i].inputs();
      batches.back().sequences.push_back(sequences[i]);
    }
  }
  return batches;
}

Trainer::Batch Trainer::assemble(const MicroBatch& micro) const {
  Batch batch;
  PassBuilder pass;
  std::vector<int32_t> targets, rows, kept_ids;
  std::vector<int64_t> firsts, others;  // places of targets: of those behind a cut group's prompt, and of the others
  std::vector<int64_t> kept_starts{0};
  const std::vector<int32_t>* prompt = nullptr;
  int32_t parent = -1;
  int64_t prompt_end = 0;  // row behind the prompt's last token
  if (micro.cut) {
    prompt = micro.sequences.front().prompt;
    parent = 0;
    pass.add_shared(std::ssize(*prompt));
  }
  for (const Sequence& sequence : micro.sequences) {
    if (sequence.prompt && sequence.prompt != prompt) {
      parent = pass.add(*sequence.prompt);
      prompt_end = std::ssize(pass.tokens);
    }
    prompt = sequence.prompt;
    const int64_t start = std::ssize(pass.tokens);
    pass.add(std::span(*sequence.tokens).first(sequence.inputs()), prompt ? static_cast<int32_t>(prompt->size()) : 0,
             prompt ? parent : -1);
    for (size_t i = sequence.first_target; i < sequence.tokens->size(); ++i) {
      const bool first = i == 0 && micro.cut;
      (first ? firsts : others).push_back(std::ssize(targets));
      if (!first) rows.push_back(static_cast<int32_t>(i == 0 ? prompt_end - 1 : start + static_cast<int64_t>(i) - 1));
      targets.push_back((*sequence.tokens)[i]);
    }
    batch.starts.push_back(std::ssize(targets));
    if (sequence.completion && !sequence.completion->kept.empty())
      for (const auto& ids : sequence.completion->kept) {
        kept_ids.insert(kept_ids.end(), ids.begin(), ids.end());
        kept_starts.push_back(std::ssize(kept_ids));
      }
  }
  const at::Device device = policy_.device();
  batch.pass = pass.build(device);
  if (!kept_ids.empty()) batch.kept = {int_tensor(kept_ids, device), at::tensor(kept_starts, at::kLong).to(device)};
  batch.rows = int_tensor(rows, device);
  batch.targets = int_tensor(targets, device);
  if (micro.cut) {
    batch.first_rows = int_tensor(std::vector<int32_t>(firsts.size(), 0), device);
    std::vector<int64_t> order(targets.size());
    firsts.insert(firsts.end(), others.begin(), others.end());
    for (size_t i = 0; i < firsts.size(); ++i) order[firsts[i]] = static_cast<int64_t>(i);
    batch.order = at::tensor(order, at::kLong).to(device);
  }
  return batch;
}

Trainer::CutPrompt Trainer::forward(const Policy& policy, const std::vector<int32_t>& prompt,
                                    RouterRecord* record) const {
  PassBuilder pass;
  pass.add(prompt);
  CutPrompt cut{&prompt, {}, {}, {}};
  cut.last = policy.hidden(pass.build(policy.device()), nullptr, record, &cut.layers, config_.recompute)
                 .slice(0, std::ssize(prompt) - 1);
  cut.last_apart = cut.last.detach();
  if (cut.last.requires_grad()) {
    cut.last_apart.requires_grad_(true).set_grad_dtype(at::kFloat);
    cut.last_apart.mutable_grad() = at::zeros_like(cut.last_apart, at::kFloat);
  }
  return cut;
}

// The hidden states [N] that the targets follow. They are gathered by `embedding`, since their gradient adds up in fp32
// there, for the prompt's last one that all samples of a group share.
Tensor Trainer::forward(const Policy& policy, const Batch& batch, RouterRecord* record, CutPrompt* prompt) const {
  Tensor hidden;
  if (batch.pass.capacity() > 0) {  // completions of one token have none beside a prompt that is apart
    hidden = policy.hidden(batch.pass, nullptr, record, prompt ? &prompt->layers : nullptr, config_.recompute);
    hidden = grpo::embedding(hidden, batch.rows);
  }
  if (prompt) {
    const Tensor firsts = grpo::embedding(prompt->last_apart, batch.first_rows);
    hidden = (hidden.defined() ? at::cat({firsts, hidden}) : firsts).index_select(0, batch.order);
  }
  return hidden;
}

TokenLogprobs Trainer::logprobs(const Policy& policy, const Batch& batch, const Tensor& hidden) const {
  return policy.token_logprobs(hidden, batch.targets, temperature_, batch.kept);
}

// Brings the list through the policy, pass by pass. `take` gets the sequences of a pass, its batch and its hidden
// states, and goes backward, if at all, before it returns. Returns how many tokens went through the policy.
template <class Take>
int64_t Trainer::each_pass(const Policy& policy, const std::vector<Sequence>& list, RouterRecord* record,
                           Take take) const {
  int64_t tokens = 0;
  std::optional<CutPrompt> prompt;
  const auto end_prompt = [&] {
    if (prompt) prompt->backward();
    prompt.reset();
  };
  for (const MicroBatch& micro : micro_batches(list)) {
    const std::vector<int32_t>* cut = micro.cut ? micro.sequences.front().prompt : nullptr;
    if (prompt && prompt->tokens != cut) end_prompt();
    if (cut && !prompt) prompt = forward(policy, *cut, record), tokens += std::ssize(*cut);
    const Batch batch = assemble(micro);
    tokens += batch.pass.capacity();
    take(micro.sequences, batch, forward(policy, batch, record, prompt ? &*prompt : nullptr));
  }
  end_prompt();
  return tokens;
}

// Of every completion that has tokens.
Trainer::ReferenceLogprobs Trainer::reference_logprobs(std::vector<Group>& groups) const {
  at::NoGradGuard no_grad;
  ReferenceLogprobs out(groups.size());
  for (size_t g = 0; g < groups.size(); ++g) out[g].resize(groups[g].completions.size());
  each_pass(*reference_, sequences(groups, 0, groups.size(), true), nullptr,
            [&](const std::vector<Sequence>& part, const Batch& batch, const Tensor& hidden) {
              const Tensor logprobs = this->logprobs(*reference_, batch, hidden).logprobs.cpu();
              for (size_t i = 0; i < part.size(); ++i)
                out[part[i].group][part[i].sample].assign(logprobs.data_ptr<float>() + batch.starts[i],
                                                          logprobs.data_ptr<float>() + batch.starts[i + 1]);
            });
  return out;
}

// Goes backward from a pass, whose `sums`, the loss first, are read with those of the others, once. `gradient_of` makes
// the gradient of a chunk's log-probabilities and entropies as they come from the head, which is gone through once.
Trainer::Learned Trainer::learn(const std::vector<Sequence>& sequences, const Batch& batch, const Tensor& hidden,
                                const ChunkGradient& gradient_of) {
  std::vector<Tensor> sums;
  const LearnedTokens head = policy_.learn_tokens(hidden.detach(), batch.targets, temperature_, batch.kept,
                                                  [&](int64_t first, const TokenLogprobs& chunk) -> TokenLogprobs {
                                                    const PolicyGradient gradient = gradient_of(first, chunk);
                                                    sums.push_back(gradient.metrics);
                                                    return {gradient.logprobs, gradient.entropy};
                                                  });
  if (hidden.requires_grad()) torch::autograd::backward({hidden}, {head.hidden_gradient});
  return {sequences, batch.starts, head.found.logprobs, at::stack(sums)};
}

// The sums of all passes [chunks, sums] on the host, and the sequences that a loss was not finite for: those with such
// log-probabilities, or else the whole pass.
std::pair<Tensor, std::string> Trainer::read(const std::vector<Learned>& learned) {
  std::vector<Tensor> sums;
  for (const Learned& pass : learned) sums.push_back(pass.sums);
  const Tensor rows = at::cat(sums).cpu();
  int64_t end = 0;
  for (const Learned& pass : learned) {
    const int64_t begin = std::exchange(end, end + pass.sums.size(0));
    if (rows.slice(0, begin, end).select(1, 0).isfinite().all().item<bool>()) continue;
    const Tensor logprobs_finite = pass.logprobs.isfinite().cpu();
    std::vector<const Sequence*> found;
    for (size_t i = 0; i < pass.sequences.size(); ++i)
      if (!logprobs_finite.slice(0, pass.starts[i], pass.starts[i + 1]).all().item<bool>())
        found.push_back(&pass.sequences[i]);
    if (found.empty())
      return {rows, "between " + pass.sequences.front().name() + " and " + pass.sequences.back().name()};
    const std::string others = found.size() > 1 ? " and " + std::to_string(found.size() - 1) + " others" : "";
    return {rows, "not finite are the log-probabilities of " + found.front()->name() + others};
  }
  return {rows, ""};
}

void Trainer::apply(UpdateReport& report, const Gradients& gradients, const RouterRecord& record, double loss,
                    const std::string& broken, int64_t step) {
  const StepReport done = optimizer_.step(gradients, step, loss);
  if (done.skipped) {
    report.skipped.push_back(done.why + (broken.empty() ? "" : " (" + broken + ")"));
  } else {
    policy_.raise_version();
    if (config_.bias_update_rate > 0) policy_.balance(record, config_.bias_update_rate);
  }
  // At the peak of the schedule: where it ends, steps are to vanish.
  if (done.rounded_away > 0.5 && done.learning_rate >= 0.999 * optimizer_.config().learning_rate &&
      !std::exchange(warned_of_rounding_, true))
    report.warnings.push_back(std::to_string(std::lround(100 * done.rounded_away)) +
                              " % of the weights that got a gradient did not change: steps of this learning rate are "
                              "below their rounding; raise optimizer.learning_rate");
  report.grad_norm = done.grad_norm;
  report.learning_rate = done.learning_rate;
  report.skipped_updates = optimizer_.skipped_updates();
  report.expert_load_max = record.max_load();
}

void Trainer::warn_of_masks(const std::vector<Group>& groups, UpdateReport& report) {
  size_t completions = 0, masked = 0;
  for (const Group& group : groups)
    for (const Completion& completion : group.completions)
      ++completions, masked += objective_.mask_truncated && completion.finish == Finish::length ? 1 : 0;
  if (masked > 0 && masked == completions && !std::exchange(warned_of_masks_, true))
    report.warnings.push_back("all " + std::to_string(completions) +
                              " completions of a step were cut by length and so left out of the loss: raise "
                              "rollout.max_new_tokens, or set objective.mask_truncated to false");
}

// reference = mixup · policy + (1 − mixup) · reference (TR-DPO, arXiv:2404.09656, section 3).
void Trainer::refresh_reference() {
  if (objective_.reference_mixup == 1) return reference_->copy_from(policy_);
  NamedTensors mixed = policy_.state();
  const NamedTensors before = reference_->state();  // the same names in the same order
  for (size_t i = 0; i < mixed.size(); ++i) {
    const Tensor &old = before[i].second, now = mixed[i].second.detach().to(at::kFloat);
    mixed[i].second = old.to(at::kFloat).lerp(now, objective_.reference_mixup).to(old.scalar_type());
  }
  reference_->load_state(mixed);
}

Trainer::Records Trainer::records(const std::vector<Group>& groups, const std::vector<Sequence>& list) const {
  const auto all = [&](auto holds) { return std::all_of(list.begin(), list.end(), holds); };
  Records recorded;
  recorded.logprobs =
      all([&](const Sequence& each) { return groups[each.group].policy_version == policy_.version(); });
  recorded.entropies = recorded.logprobs && all([](const Sequence& each) {
                         return each.completion->entropies.size() == each.tokens->size();
                       });
  return recorded;
}

Tensor Trainer::recorded_entropies(const std::vector<Sequence>& list) const {
  std::vector<float> all;
  for (const Sequence& each : list)
    all.insert(all.end(), each.completion->entropies.begin(), each.completion->entropies.end());
  return at::tensor(all).to(policy_.device());
}

// The entropies of a whole minibatch come before any gradient: those recorded, or by one forward pass more.
EntropyCut Trainer::entropy_cut(const std::vector<Sequence>& list, bool recorded) const {
  if (objective_.top_entropy == 1) return {};
  if (recorded) return grpo::entropy_cut(recorded_entropies(list), objective_.top_entropy);
  at::NoGradGuard no_grad;
  std::vector<Tensor> entropies;
  each_pass(policy_, list, nullptr, [&](const std::vector<Sequence>&, const Batch& batch, const Tensor& hidden) {
    entropies.push_back(logprobs(policy_, batch, hidden).entropy);
  });
  return grpo::entropy_cut(at::cat(entropies), objective_.top_entropy);
}

LossInput Trainer::loss_input(const std::vector<Sequence>& sequences, const Batch& batch,
                              const ReferenceLogprobs& reference) const {
  std::vector<float> old, advantages, reference_values;
  for (const Sequence& sequence : sequences) {
    old.insert(old.end(), sequence.completion->logprobs.begin(), sequence.completion->logprobs.end());
    advantages.push_back(sequence.advantage);
    if (reference_) {
      const auto& values = reference[sequence.group][sequence.sample];
      reference_values.insert(reference_values.end(), values.begin(), values.end());
    }
  }
  const at::Device device = policy_.device();
  LossInput input;
  input.old_logprobs = at::tensor(old).to(device);
  if (reference_) input.reference_logprobs = at::tensor(reference_values).to(device);
  input.advantages = at::tensor(advantages).to(device);
  input.starts = at::tensor(batch.starts, at::kLong).to(device);
  return input;
}

// What tokens take from their whole sequences comes before any gradient, too: of what is recorded, or from the head.
PolicyLoss Trainer::with_sequences(const PolicyLoss& loss, const LossInput& input, const Records& recorded,
                                   const Batch& batch, const Tensor& hidden) const {
  if (objective_.is_by_token()) return loss;
  if (recorded.logprobs && (recorded.entropies || objective_.top_entropy == 1))
    return loss.with_sequences(input.old_logprobs, input.old_entropy);
  at::NoGradGuard no_grad;
  const TokenLogprobs now = logprobs(policy_, batch, hidden);
  return loss.with_sequences(now.logprobs, now.entropy);
}

UpdateReport Trainer::update(std::vector<Group>& groups, int64_t step) {
  UpdateReport report;
  report.skipped_updates = optimizer_.skipped_updates();
  ReferenceLogprobs reference;
  std::vector<std::vector<double>> reward_kl;
  if (reference_) {
    if (objective_.reference_refresh_steps > 0 && step > 0 && step % objective_.reference_refresh_steps == 0)
      refresh_reference();
    reference = reference_logprobs(groups);
    if (objective_.kl == Kl::k1_in_reward) reward_kl = divergence(groups, reference);
  }
  compute_advantages(groups, objective_, reward_kl);
  report.flat_groups = std::count_if(groups.begin(), groups.end(), [&](const Group& group) {
    return !has_signal(group, objective_.normalize_each_reward);
  });
  warn_of_masks(groups, report);

  LossMetrics all;
  int updates = 0;
  for (int epoch = 0; epoch < objective_.epochs; ++epoch)
    for (int part = 0; part < objective_.minibatches; ++part) {
      const size_t begin = groups.size() * part / objective_.minibatches,
                   end = groups.size() * (part + 1) / objective_.minibatches;
      for (size_t g = begin; g < end; ++g)
        for (size_t i = 0; i < groups[g].completions.size(); ++i)
          if (enters_loss(groups[g], i, objective_))
            report.loss_tokens += static_cast<int64_t>(groups[g].completions[i].tokens.size());
      const std::vector<Sequence> list = sequences(groups, begin, end, false);
      if (list.empty()) continue;
      const Normalizer normalizer =
          count(std::span<const Group>(groups.data() + begin, end - begin), groups, objective_);
      ObjectiveConfig objective = objective_;
      objective.entropy_coefficient = entropy_.applied(objective_);
      const Records recorded = records(groups, list);
      const bool entropies = objective_.top_entropy < 1 && recorded.entropies;
      const EntropyCut cut = entropy_cut(list, entropies);
      const Gradients gradients(policy_.parameters());
      RouterRecord record{{}, {}, tokens_of(list)};
      std::vector<Learned> learned;
      const auto take = [&](const std::vector<Sequence>& micro, const Batch& batch, const Tensor& hidden) {
        LossInput input = loss_input(micro, batch, reference);
        input.cut = cut;
        if (entropies) input.old_entropy = recorded_entropies(micro);
        const PolicyLoss loss =
            with_sequences(PolicyLoss(input, normalizer, objective), input, recorded, batch, hidden);
        learned.push_back(learn(micro, batch, hidden, [&](int64_t first, const TokenLogprobs& chunk) {
          return loss.part(first, chunk.logprobs.size(0)).gradient(chunk.logprobs, chunk.entropy);
        }));
      };
      report.tokens += each_pass(policy_, list, &record, take);
      const auto [sums, broken] = read(learned);
      LossMetrics metrics(sums);
      if (record.auxiliary_loss.defined()) metrics.loss += record.auxiliary_loss.item<double>();
      if (updates++ == 0) {
        report.ratio_deviation = metrics.ratio_deviation;
        report.mismatch_kl = metrics.mismatch_kl_sum / metrics.tokens;
      }
      all.add(metrics);
      if (entropies) report.entropy_deviation = all.entropy_deviation;
      entropy_.observe(metrics.bonus_entropy / metrics.bonus_tokens, objective_);
      if (objective_.entropy_target != 0) report.entropy_coefficient = objective.entropy_coefficient;
      apply(report, gradients, record, metrics.loss, broken, step);
    }
  if (updates > 0) {
    report.loss = all.loss / updates;
    report.entropy = all.entropy_sum / all.tokens;
    report.clip_fraction = all.clipped_tokens / all.tokens;
    if (reference_) report.kl = all.kl_sum / all.tokens;
    if (objective_.top_entropy < 1 || objective_.off_policy_threshold > 0)
      report.masked_fraction = all.masked_tokens / all.tokens;
  }
  return report;
}

UpdateReport Trainer::update(const std::vector<Example>& documents, int64_t step) {
  UpdateReport report;
  report.skipped_updates = optimizer_.skipped_updates();
  std::vector<Sequence> list;
  int64_t targets = 0;
  for (const Example& document : documents) {
    if (document.first_target < 1)
      throw Error("trainer", "expected documents whose first token is given, got first_target 0");
    if (document.tokens.size() <= document.first_target) continue;
    const size_t place = &document - documents.data();
    list.push_back({nullptr, &document.tokens, document.first_target, nullptr, 0, place});
    targets += list.back().targets();
  }
  if (list.empty()) return report;
  const Gradients gradients(policy_.parameters());
  RouterRecord record{{}, {}, tokens_of(list)};
  std::vector<Learned> learned;
  const double count = static_cast<double>(targets);
  const auto gradient_of = [&](int64_t, const TokenLogprobs& chunk) -> PolicyGradient {
    const Tensor sums = at::stack({-chunk.logprobs, chunk.entropy}).sum(1, false, at::kDouble);
    return {at::full_like(chunk.logprobs, -1.0 / count), {}, sums / count};
  };
  const auto take = [&](const std::vector<Sequence>& some, const Batch& batch, const Tensor& hidden) {
    learned.push_back(learn(some, batch, hidden, gradient_of));
  };
  report.tokens = each_pass(policy_, list, &record, take);
  const auto [rows, broken] = read(learned);
  const Tensor sums = rows.sum(0);
  report.loss = sums[0].item<double>();
  if (record.auxiliary_loss.defined()) report.loss += record.auxiliary_loss.item<double>();
  report.loss_tokens = targets;
  report.entropy = sums[1].item<double>();
  apply(report, gradients, record, report.loss, broken, step);
  return report;
}

}  // namespace grpo
