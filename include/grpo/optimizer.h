// AdamW with everything a training run needs around it: fp32 master weights, clipping, a schedule, and a way to skip a
// step whose gradient is broken. Its whole state goes in and out as named tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpo/config.h"
#include "grpo/safetensors.h"

namespace grpo {

/// What the learning rate does after warm-up.
enum class Schedule { constant, linear, cosine };

template <>
struct EnumNames<Schedule> {
  static constexpr std::array<std::pair<Schedule, std::string_view>, 3> values{
      {{Schedule::constant, "constant"}, {Schedule::linear, "linear"}, {Schedule::cosine, "cosine"}}};
};

/// Below 1, in fp32 too.
inline constexpr Range kMomentDecay = at_least(0).at_most(0.9999999);

struct OptimizerConfig {
  double learning_rate = 3e-4;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.0;
  double max_grad_norm = 1.0;
  Schedule schedule = Schedule::constant;
  int64_t warmup_steps = 0;
  int64_t total_steps = 0;
  double min_learning_rate_ratio = 0.0;

  template <class V>
  void visit(V& v) {
    v("learning_rate", learning_rate, "peak learning rate, reached at the end of warm-up", at_least(0));
    v("beta1", beta1, "decay of the first moment", kMomentDecay);
    v("beta2", beta2, "decay of the second moment", kMomentDecay);
    // Squares of gradients below 1e-22 are 0 in fp32: a smaller epsilon would let their steps grow without bound.
    v("epsilon", epsilon, "added to the root of the second moment", at_least(1e-20));
    v("weight_decay", weight_decay, "decoupled weight decay; parameters with fewer than two dimensions are spared",
      at_least(0));
    v("max_grad_norm", max_grad_norm, "clip the global gradient norm to this; 0 turns clipping off", at_least(0));
    v("schedule", schedule, "learning rate after warm-up");
    v("warmup_steps", warmup_steps, "updates of linear warm-up from 0", at_least(0));
    v("total_steps", total_steps, "update at which the decay ends, warm-up included; 0: the length of the stage",
      at_least(0));
    v("min_learning_rate_ratio", min_learning_rate_ratio, "the decay ends at this share of learning_rate",
      at_least(0).at_most(1));
  }

  /// Throws Error, naming the key, for what no single range can say.
  void validate() const;

  /// Learning rate of the update that follows `updates` finished ones. Warm-up: learning_rate · (updates + 1) /
  /// warmup_steps. Then, with x from 0 at its end to 1 at total_steps and r = min_learning_rate_ratio: learning_rate
  /// times r + (1 − r)(1 − x) when linear, r + (1 − r)(1 + cos πx) / 2 when cosine (Loshchilov & Hutter 2017, SGDR, eq.
  /// 5).
  double learning_rate_at(int64_t updates) const;
};

/// Trainable tensors by name: contiguous, fp32 or bf16, each listed once however often it is tied.
using NamedParameters = NamedTensors;

/// A number for each element of the parameters: one fp32 tensor, whatever their types, of zeros at first. Parameter
/// follows parameter, each from a multiple of 16 elements on, with zeros between them. What is done to all alike
/// (clearing them, summing them over processes, dividing them among these) is done to the one tensor.
struct FlatStore {
  /// Throws Error for parameters on several devices.
  explicit FlatStore(const NamedParameters& parameters);

  at::Tensor all;                 ///< [elements]
  std::vector<at::Tensor> parts;  ///< of each parameter, in its shape
};

/// The gradients of one update, for as long as it lives: a store whose parts are the parameters' grad(), to which ops
/// add in place as passes go backward.
class Gradients {
 public:
  explicit Gradients(NamedParameters parameters);
  ~Gradients();
  Gradients(const Gradients&) = delete;
  Gradients& operator=(const Gradients&) = delete;

  const at::Tensor& all() const { return store_.all; }
  const NamedParameters& parameters() const { return parameters_; }

 private:
  NamedParameters parameters_;
  FlatStore store_;
};

struct StepReport {
  double grad_norm = 0.0;      ///< global L2 norm before clipping; not finite when a gradient was not
  double learning_rate = 0.0;  ///< of this update
  double rounded_away = 0.0;   ///< share of the weights that were to change and did not, for rounding (on the CPU)
  bool skipped = false;
  std::string why;  ///< of a skipped update: the step and what was not finite
};

/// AdamW (Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2). Moments are fp32. A
/// parameter of a lower precision has an fp32 master, to which updates are applied and which is then rounded into the
/// parameter; where a parameter no longer is its rounded master (weights were loaded), the master starts anew from the
/// parameter. Masters start evenly spread over the fp32 values that round to their weights: the policy is the same, and
/// the small updates of RL reach it from the first on, as the share of the weights that they carry over a bound. Masters
/// that started at the bf16 values would hold all of them back until they add up to half of bf16's spacing.
///
/// A decay below the rounding of the weights (learning_rate·weight_decay below 3e-8, as in RL) would never happen, or
/// twice: updates put it by, in double, until it is 2^-20 of a weight, and apply it then. The whole change of a weight,
/// step and decay, is rounded once.
///
/// An expert that no token reached, whose gradient is zeros, moves on by its momentum. On the CPU the bits of an update
/// depend on neither the number of threads nor the run.
class AdamW {
 public:
  /// Throws Error on an invalid config, a decaying schedule without total_steps, or parameters that are empty, listed
  /// twice, strided, of another dtype or on several devices.
  AdamW(NamedParameters parameters, const OptimizerConfig& config);

  /// Applies the gradients. When `loss` or any of them is not finite, or their clipped norm is above 1e18, nothing
  /// changes but the count of skipped updates, and the report says why, naming `global_step`. Throws Error for the
  /// gradients of other parameters.
  StepReport step(const Gradients& gradients, int64_t global_step, double loss);

  const OptimizerConfig& config() const { return config_; }
  int64_t updates() const { return updates_; }  ///< applied ones; drives bias correction and the schedule
  int64_t skipped_updates() const { return skipped_updates_; }
  const NamedParameters& parameters() const { return parameters_; }

  /// Everything but the parameters themselves. The moments and masters are the optimizer's own memory, not copies.
  NamedTensors state() const;

  /// Takes back what `state` gave. Throws Error, before anything changes, when a tensor is missing, unknown, or of
  /// another shape or dtype, or a number is none that `state` gives.
  void load_state(const NamedTensors& state);

 private:
  struct Chunk {
    std::size_t parameter;
    int64_t begin, end;  // elements
    int64_t place;       // of the first in stores
  };
  struct Coefficients;

  std::vector<double> squared_norms(const Gradients& gradients) const;                 // one a parameter
  double update_on_cpu(const Gradients& gradients, const Coefficients& coefficients);  // what is rounded away
  void update_with_aten(std::size_t parameter, const Coefficients& coefficients);

  OptimizerConfig config_;
  NamedParameters parameters_;
  FlatStore first_moments_, second_moments_;
  std::optional<FlatStore> masters_;  // where a parameter is of a lower precision; of no use for the others
  std::vector<Chunk> chunks_;         // the parameters, cut at fixed places
  int64_t updates_ = 0;
  int64_t skipped_updates_ = 0;
  double decay_due_ = 0;  // share of themselves that the weights have yet to lose
};

}  // namespace grpo
