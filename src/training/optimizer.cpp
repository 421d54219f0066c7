#include "grpo/optimizer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numbers>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/parallel.h"
#include "grpo/error.h"

namespace grpo {
namespace {

// Parameters are cut into chunks of this many elements, whatever the number of threads: partial sums of the norm are
// then the same numbers, and each chunk goes through the same vector code. Five fp32 streams of it fit a level-2 cache.
constexpr int64_t kChunk = 8192;

// Of a gradient after clipping: second moments are fp32, and one that became infinite would stay so.
constexpr double kLargestNorm = 1e18;

// The least decay that is applied: at least 8 units of every weight, so that rounding takes little of it.
constexpr double kLeastDecay = 0x1p-20;

bool is_low_precision(const at::Tensor& tensor) { return tensor.scalar_type() != at::kFloat; }

// Where the part of a store begins that follows one of so many elements: whole cache lines, and what loads of vectors
// like.
int64_t place_behind(int64_t elements) { return (elements + 15) / 16 * 16; }

at::Device device_of(const NamedParameters& parameters) {
  if (parameters.empty()) throw Error("optimizer", "expected at least one parameter, got none");
  const at::Device device = parameters.front().second.device();
  for (const auto& [name, tensor] : parameters)
    if (tensor.device() != device)
      throw Error("optimizer", name, ": expected a tensor on ", device, ", as the first, got one on ", tensor.device());
  return device;
}

// Σ x² in double: eight running sums, added up in a fixed order. fp32 squares cannot overflow a double, so the result
// is finite exactly when every element is.
double sum_of_squares(const float* x, int64_t size) {
  std::array<double, 8> lanes{};
  int64_t i = 0;
  for (; i + 8 <= size; i += 8) {
    for (int64_t lane = 0; lane < 8; ++lane) {
      const double value = x[i + lane];
      lanes[lane] += value * value;
    }
  }
  for (int64_t lane = 0; i < size; ++i, ++lane) {
    const double value = x[i];
    lanes[lane] += value * value;
  }
  double sum = 0.0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

// The numbers of one update, ready for the inner loop.
struct AdamW::Coefficients {
  float grad_scale;    // of clipping
  float beta1, beta2;  // decay of the moments
  float gain1, gain2;  // 1 − beta, taken in double
  float step_size;     // learning rate / (1 − beta1^t)
  float root_scale;    // 1 / √(1 − beta2^t)
  float epsilon;
  float decay;         // share of itself that a weight loses
};

namespace {

// An fp32 weight that rounds to the bf16 `weight`, element `index` of its parameter. Over a parameter these lie evenly
// spread between the bounds at which rounding changes (a golden-ratio sequence), so that an update too small to move any
// one weight to its next bf16 moves its share of them; from the bf16 values themselves it would move none for long.
float master_of(c10::BFloat16 weight, int64_t index) {
  const auto magnitude = static_cast<uint16_t>(weight.x & 0x7fff);
  if (magnitude == 0 || magnitude >= 0x7f80) return weight;  // 0, infinite, NaN
  const uint32_t spread = (static_cast<uint32_t>(index) * 2654435769u) >> 17;  // 15 bits
  return std::bit_cast<float>((static_cast<uint32_t>(weight.x) << 16) + 2 * spread - 0x7fff);
}

at::Tensor masters_of(const at::Tensor& weights) {
  const at::Tensor on_cpu = weights.detach().cpu().contiguous();
  at::Tensor masters = at::empty(on_cpu.sizes(), at::kFloat);
  const auto* from = on_cpu.const_data_ptr<c10::BFloat16>();
  auto* to = masters.mutable_data_ptr<float>();
  for (int64_t i = 0; i < masters.numel(); ++i) to[i] = master_of(from[i], i);
  return masters.to(weights.device());
}

// Weights that an update was to change, and those of them that rounding left as they were.
struct Changes {
  int wanted = 0, lost = 0;
};

// One chunk of one parameter. `weight` is the fp32 weight: the parameter itself, or its master, which is then rounded
// into `rounded`.
template <class Coefficients>
Changes update_chunk(float* __restrict weight, c10::BFloat16* __restrict rounded, const float* __restrict grad,
                     float* __restrict m, float* __restrict v, int64_t begin, int64_t size, float decay,
                     const Coefficients& c) {
  if (rounded != nullptr) {
    for (int64_t i = 0; i < size; ++i) {
      if (c10::BFloat16(weight[i]).x != rounded[i].x) weight[i] = master_of(rounded[i], begin + i);  // set from outside
    }
  }
  Changes changes;
  for (int64_t i = 0; i < size; ++i) {
    const float g = grad[i] * c.grad_scale;
    m[i] = c.beta1 * m[i] + c.gain1 * g;
    v[i] = c.beta2 * v[i] + c.gain2 * g * g;
    const float change = c.step_size * m[i] / (std::sqrt(v[i]) * c.root_scale + c.epsilon) + decay * weight[i];
    const float changed = weight[i] - change;
    changes.wanted += m[i] != 0.0f;
    changes.lost += m[i] != 0.0f && changed == weight[i];
    weight[i] = changed;
  }
  if (rounded != nullptr) {
    for (int64_t i = 0; i < size; ++i) rounded[i] = c10::BFloat16(weight[i]);
  }
  return changes;
}

}  // namespace

void OptimizerConfig::validate() const {
  if (schedule != Schedule::constant && total_steps > 0 && total_steps <= warmup_steps) {
    throw Error("optimizer", "total_steps: expected more than warmup_steps (", warmup_steps, "), got ", total_steps,
                "; the decay runs from the end of warm-up to total_steps");
  }
}

double OptimizerConfig::learning_rate_at(int64_t updates) const {
  if (updates < warmup_steps) {
    return learning_rate * static_cast<double>(updates + 1) / static_cast<double>(warmup_steps);
  }
  if (schedule == Schedule::constant) return learning_rate;
  const double span = static_cast<double>(std::max<int64_t>(total_steps - warmup_steps, 1));
  const double x = std::min(static_cast<double>(updates - warmup_steps) / span, 1.0);
  const double remaining = schedule == Schedule::linear ? 1.0 - x : 0.5 * (1.0 + std::cos(std::numbers::pi * x));
  return learning_rate * (min_learning_rate_ratio + (1.0 - min_learning_rate_ratio) * remaining);
}

FlatStore::FlatStore(const NamedParameters& parameters) {
  int64_t size = 0, place = 0;
  for (const auto& [name, tensor] : parameters) size += place_behind(tensor.numel());
  all = at::zeros({size}, at::TensorOptions(device_of(parameters)).dtype(at::kFloat));
  for (const auto& [name, tensor] : parameters) {
    parts.push_back(all.narrow(0, place, tensor.numel()).view(tensor.sizes()));
    place += place_behind(tensor.numel());
  }
}

Gradients::Gradients(NamedParameters parameters) : parameters_(std::move(parameters)), store_(parameters_) {
  for (std::size_t p = 0; p < parameters_.size(); ++p) parameters_[p].second.mutable_grad() = store_.parts[p];
}

Gradients::~Gradients() {
  for (auto& [name, tensor] : parameters_) tensor.mutable_grad() = at::Tensor();
}

namespace {

NamedParameters checked(NamedParameters parameters) {
  std::set<std::string> names;
  std::unordered_map<const void*, std::string> owners;
  for (const auto& [name, tensor] : parameters) {
    if (!names.insert(name).second) throw Error("optimizer", "expected distinct names, got ", name, " twice");
    if (!tensor.defined()) throw Error("optimizer", name, ": expected a tensor, got an undefined one");
    if (tensor.scalar_type() != at::kFloat && tensor.scalar_type() != at::kBFloat16) {
      throw Error("optimizer", name, ": expected float32 or bfloat16, got ", toString(tensor.scalar_type()));
    }
    if (!tensor.is_contiguous()) throw Error("optimizer", name, ": expected a contiguous tensor, got a strided view");
    if (tensor.numel() > 0) {
      const auto [owner, is_new] = owners.emplace(tensor.const_data_ptr(), name);
      if (!is_new) {
        throw Error("optimizer", name, ": expected memory of its own, got that of ", owner->second,
                    "; list a tied weight once");
      }
    }
  }
  return parameters;
}

}  // namespace

AdamW::AdamW(NamedParameters parameters, const OptimizerConfig& config)
    : config_(config),
      parameters_(checked(std::move(parameters))),
      first_moments_(parameters_),
      second_moments_(parameters_) {
  validate(config_, "optimizer");
  if (config_.schedule != Schedule::constant && config_.total_steps == 0) {
    throw Error("optimizer", "total_steps: expected the update at which the ", enum_name(config_.schedule),
                " schedule ends, got 0; set it or use schedule \"constant\"");
  }
  for (std::size_t p = 0; p < parameters_.size(); ++p) {
    const at::Tensor& tensor = parameters_[p].second;
    if (is_low_precision(tensor)) {
      if (!masters_) masters_.emplace(parameters_);
      masters_->parts[p].copy_(masters_of(tensor));
    }
    const int64_t place = first_moments_.parts[p].storage_offset();
    for (int64_t begin = 0; begin < tensor.numel(); begin += kChunk)
      chunks_.push_back({p, begin, std::min(begin + kChunk, tensor.numel()), place + begin});
  }
}

std::vector<double> AdamW::squared_norms(const Gradients& gradients) const {
  std::vector<double> of_parameter(parameters_.size(), 0.0);
  if (!gradients.all().is_cpu()) {  // ATen sums, and all the norms come back in one copy
    std::vector<at::Tensor> sums;
    for (const auto& [name, tensor] : gradients.parameters())
      sums.push_back(at::linalg_vector_norm(tensor.grad(), 2, at::OptionalIntArrayRef(), false, at::kDouble).square());
    const at::Tensor on_host = at::stack(sums).cpu();
    std::copy_n(on_host.const_data_ptr<double>(), of_parameter.size(), of_parameter.begin());
    return of_parameter;
  }
  std::vector<double> of_chunk(chunks_.size(), 0.0);
  parallel_for(static_cast<int64_t>(chunks_.size()), [&](int64_t i) {
    const auto& [p, begin, end, place] = chunks_[i];
    of_chunk[i] = sum_of_squares(gradients.all().const_data_ptr<float>() + place, end - begin);
  });
  for (std::size_t i = 0; i < chunks_.size(); ++i) of_parameter[chunks_[i].parameter] += of_chunk[i];
  return of_parameter;
}

StepReport AdamW::step(const Gradients& gradients, int64_t global_step, double loss) {
  const at::NoGradGuard no_grad;
  const auto same = [](const auto& a, const auto& b) { return a.second.is_same(b.second); };
  if (!std::equal(parameters_.begin(), parameters_.end(), gradients.parameters().begin(), gradients.parameters().end(),
                  same))
    throw Error("optimizer", "expected the gradients of its own ", parameters_.size(), " parameters, got those of ",
                gradients.parameters().size(), " others");

  StepReport report;
  report.learning_rate = config_.learning_rate_at(updates_);
  const std::vector<double> squares = squared_norms(gradients);
  double total = 0.0;
  for (const double square : squares) total += square;
  report.grad_norm = std::sqrt(total);
  const double clip = config_.max_grad_norm > 0.0 && report.grad_norm > config_.max_grad_norm
                          ? config_.max_grad_norm / report.grad_norm
                          : 1.0;
  if (!std::isfinite(loss)) {
    report.why = "the loss is not finite";
  } else if (!std::isfinite(total)) {
    const auto broken =
        std::find_if(squares.begin(), squares.end(), [](double square) { return !std::isfinite(square); });
    report.why = "the gradient of " + parameters_[broken - squares.begin()].first + " is not finite";
  } else if (clip * report.grad_norm > kLargestNorm) {
    report.why = "the gradient's norm is too large to be squared in fp32; set optimizer.max_grad_norm";
  }
  if (!report.why.empty()) {
    report.why = "step " + std::to_string(global_step) + ": " + report.why;
    report.skipped = true;
    ++skipped_updates_;
    return report;
  }

  ++updates_;
  const auto t = static_cast<double>(updates_);
  decay_due_ += report.learning_rate * config_.weight_decay * (1.0 - decay_due_);
  const double decay = decay_due_ < kLeastDecay ? 0.0 : std::exchange(decay_due_, 0.0);
  const Coefficients coefficients{
      .grad_scale = static_cast<float>(clip),
      .beta1 = static_cast<float>(config_.beta1),
      .beta2 = static_cast<float>(config_.beta2),
      .gain1 = static_cast<float>(1.0 - config_.beta1),
      .gain2 = static_cast<float>(1.0 - config_.beta2),
      .step_size = static_cast<float>(report.learning_rate / (1.0 - std::pow(config_.beta1, t))),
      .root_scale = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(config_.beta2, t))),
      .epsilon = static_cast<float>(config_.epsilon),
      .decay = static_cast<float>(decay),
  };
  if (!gradients.all().is_cpu()) {
    for (std::size_t p = 0; p < parameters_.size(); ++p) update_with_aten(p, coefficients);
    return report;
  }
  report.rounded_away = update_on_cpu(gradients, coefficients);
  for (auto& [name, tensor] : parameters_)  // a backward through the old weights must fail, not lie
    if (!tensor.is_inference()) tensor.unsafeGetTensorImpl()->bump_version();
  return report;
}

double AdamW::update_on_cpu(const Gradients& gradients, const Coefficients& coefficients) {
  const float* const gradient = gradients.all().const_data_ptr<float>();
  float* const m = first_moments_.all.mutable_data_ptr<float>();
  float* const v = second_moments_.all.mutable_data_ptr<float>();
  float* const masters = masters_ ? masters_->all.mutable_data_ptr<float>() : nullptr;
  std::vector<Changes> changes(chunks_.size());
  parallel_for(static_cast<int64_t>(chunks_.size()), [&](int64_t i) {
    const auto& [p, begin, end, place] = chunks_[i];
    at::Tensor& tensor = parameters_[p].second;
    const bool has_master = is_low_precision(tensor);
    float* weight = has_master ? masters + place : tensor.mutable_data_ptr<float>() + begin;
    c10::BFloat16* rounded = has_master ? tensor.mutable_data_ptr<c10::BFloat16>() + begin : nullptr;
    const float decay = tensor.dim() >= 2 ? coefficients.decay : 0.0f;
    changes[i] = update_chunk(weight, rounded, gradient + place, m + place, v + place, begin, end - begin, decay,
                              coefficients);
  });
  double wanted = 0, lost = 0;
  for (const Changes& each : changes) wanted += each.wanted, lost += each.lost;
  return wanted > 0 ? lost / wanted : 0.0;
}

void AdamW::update_with_aten(std::size_t parameter, const Coefficients& c) {
  at::Tensor& tensor = parameters_[parameter].second;
  const bool has_master = is_low_precision(tensor);
  at::Tensor weight = has_master ? masters_->parts[parameter] : tensor;
  at::Tensor &m = first_moments_.parts[parameter], &v = second_moments_.parts[parameter];
  if (has_master) {
    const at::Tensor kept = weight.to(tensor.scalar_type()) == tensor;
    if (!kept.all().item<bool>()) weight.copy_(at::where(kept, weight, masters_of(tensor)));  // set from outside
  }
  m.mul_(c.beta1);
  v.mul_(c.beta2);
  const at::Tensor grad = tensor.grad() * c.grad_scale;
  m.add_(grad, c.gain1);
  v.addcmul_(grad, grad, c.gain2);
  at::Tensor change = m * c.step_size / v.sqrt().mul_(c.root_scale).add_(c.epsilon);
  if (tensor.dim() >= 2 && c.decay != 0) change.add_(weight, c.decay);
  weight.sub_(change);
  if (has_master) tensor.copy_(weight);
}

NamedTensors AdamW::state() const {
  NamedTensors state{{"updates", at::scalar_tensor(updates_, at::kLong)},
                     {"skipped_updates", at::scalar_tensor(skipped_updates_, at::kLong)}};
  for (std::size_t p = 0; p < parameters_.size(); ++p) {
    const auto& [name, tensor] = parameters_[p];
    state.emplace_back("first_moment." + name, first_moments_.parts[p]);
    state.emplace_back("second_moment." + name, second_moments_.parts[p]);
    if (is_low_precision(tensor)) state.emplace_back("master." + name, masters_->parts[p]);
  }
  state.emplace_back("decay_due", at::scalar_tensor(decay_due_, at::kDouble));
  return state;
}

void AdamW::load_state(const NamedTensors& state) {
  const at::NoGradGuard no_grad;
  std::unordered_map<std::string, at::Tensor> given(state.begin(), state.end());
  given.try_emplace("decay_due", at::scalar_tensor(0.0, at::kDouble));  // earlier versions had none
  const NamedTensors own = this->state();
  for (const auto& [name, tensor] : own) {
    const auto found = given.find(name);
    if (found == given.end()) {
      throw Error("optimizer", "expected the state of these parameters, got none for ", name,
                  "; the checkpoint belongs to another policy or dtype");
    }
    const at::Tensor& source = found->second;
    if (source.sizes() != tensor.sizes() || source.scalar_type() != tensor.scalar_type()) {
      throw Error("optimizer", name, ": expected ", toString(tensor.scalar_type()), " ", tensor.sizes(), ", got ",
                  toString(source.scalar_type()), " ", source.sizes(), "; the checkpoint belongs to another policy");
    }
  }
  if (given.size() != own.size()) {
    for (const auto& [name, tensor] : own) given.erase(name);
    throw Error("optimizer", "expected the state of these parameters only, got ", given.begin()->first,
                " too; the checkpoint belongs to another policy or dtype");
  }
  const auto updates = given.at("updates").item<int64_t>();
  const auto skipped = given.at("skipped_updates").item<int64_t>();
  const auto decay_due = given.at("decay_due").item<double>();
  if (updates < 0 || skipped < 0) {
    throw Error("optimizer", "expected counts of updates and skipped_updates from 0 on, got ", updates, " and ", skipped,
                "; the checkpoint is damaged");
  }
  if (!(decay_due >= 0.0 && decay_due < 1.0)) {
    throw Error("optimizer", "decay_due: expected 0 <= x < 1, got ", decay_due, "; the checkpoint is damaged");
  }
  updates_ = updates;
  skipped_updates_ = skipped;
  decay_due_ = decay_due;
  for (const auto& [name, tensor] : own) tensor.copy_(given.at(name));
}

}  // namespace grpo
