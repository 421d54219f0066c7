// What every op file needs: argument checks that name the op, and the bridge from tensors to the kernels of their device.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <type_traits>
#include <utility>

#include "grpo/error.h"
#include "grpo/ops.h"
#include "kernels/backend.h"
#include "kernels/kernels.h"

namespace grpo {

template <class... Parts>
void require(bool condition, const char* op, const Parts&... parts) {
  if (!condition) throw Error(op, parts...);
}

/// `x` must have `like`'s type and device.
inline void require_alike(const Tensor& x, const Tensor& like, const char* op, const char* name) {
  require(x.scalar_type() == like.scalar_type() && x.device() == like.device(), op, "expected ", name, " to be ",
          like.scalar_type(), " on ", like.device(), ", got ", x.scalar_type(), " on ", x.device());
}

/// The kernels of a device for a type, or null where it has none: then the ops run their reference.
const kernel::Table* kernels_of(at::Device device, at::ScalarType type);

/// Whether these kernels (or none: null) have attention for such heads of a type.
bool attends(const kernel::Table* table, kernel::Type type, const HeadLayout& layout);

/// Computes the CPU's tensors with another table from here on, or with its own again (null): so a test runs what is made
/// for a device.
void use_for_cpu(const kernel::Table* table);

/// Pages of a device hold a multiple of so many tokens.
int64_t page_block(at::Device device, at::ScalarType type, const HeadLayout& layout);

/// Work on a device that can be done again: recorded there once, and done as often as it is asked for where the device is
/// the CPU (as tests do). See kernel::Backend::record.
std::unique_ptr<kernel::Graph> record(at::Device device, const std::function<void()>& work);

/// Where LibTorch queues its own work on a device.
kernel::Stream current_stream(at::Device device);

/// What an op on `x` runs with: run(&kernel::Table::rms_norm, …) calls that kernel on the device's current stream, in
/// its version for x's type where there are two.
class Launch {
 public:
  /// Throws Error, which names the op, for a type that the CPU does not compute with.
  Launch(const Tensor& x, const char* op);

  /// Whether there is such a kernel for x. Without, the reference computes it.
  template <class F>
  bool has(F kernel::Table::* f) const {
    if (!table_) return false;
    if constexpr (std::is_array_v<F>)
      return (table_->*f)[static_cast<int>(type_)] != nullptr;
    else
      return table_->*f != nullptr;
  }
  /// Whether the kernels of attention take such heads.
  bool attends(const HeadLayout& layout) const { return grpo::attends(table_, type_, layout); }
  kernel::Type type() const { return type_; }
  const kernel::Table& table() const { return *table_; }

  template <class... Parameters, class... Arguments>
  void operator()(void (*kernel::Table::* f)(kernel::Stream, Parameters...), Arguments&&... arguments) const {
    (table_->*f)(stream_, std::forward<Arguments>(arguments)...);
  }
  template <class... Parameters, class... Arguments>
  void operator()(void (*(kernel::Table::* f)[2])(kernel::Stream, Parameters...), Arguments&&... arguments) const {
    (table_->*f)[static_cast<int>(type_)](stream_, std::forward<Arguments>(arguments)...);
  }

 private:
  const kernel::Table* table_;
  kernel::Type type_;
  c10::OptionalDeviceGuard current_;  // a device's kernels run on the one that is current
  kernel::Stream stream_;
};

/// What a backward pass adds a weight's gradient to, in fp32: the gradient that the weight has already, in place, or
/// zeros, which autograd then gets. Of a weight whose gradient is not `needed` it is zeros: what it has stays as it is.
struct WeightGradient {
  explicit WeightGradient(const Tensor& weight, bool needed = true) {
    if (needed && weight.is_leaf() && weight.requires_grad()) sum = weight.grad();
    in_place = sum.defined() && sum.scalar_type() == at::kFloat && sum.strides() == weight.strides();
    if (!in_place) sum = at::zeros(weight.sizes(), weight.options().dtype(at::kFloat));
  }
  Tensor for_autograd() const { return in_place ? Tensor() : sum; }

  Tensor sum;
  bool in_place;
};

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

/// What a function's passes work with beside tensors that have gradients: one object, carried from forward to backward.
template <class Plan>
struct Carried : torch::CustomClassHolder {
  explicit Carried(Plan plan_) : plan(std::move(plan_)) {}
  Plan plan;
};
template <class Plan>
using CarriedPtr = c10::intrusive_ptr<Carried<Plan>>;
template <class Plan>
CarriedPtr<Plan> carry(Plan plan) {
  return c10::make_intrusive<Carried<Plan>>(std::move(plan));
}
template <class Plan>
void save(AutogradContext* ctx, const CarriedPtr<Plan>& carried) {
  ctx->saved_data["plan"] = c10::IValue::make_capsule(carried);
}
template <class Plan>
CarriedPtr<Plan> saved_plan(AutogradContext* ctx) {
  return c10::static_intrusive_pointer_cast<Carried<Plan>>(ctx->saved_data["plan"].toCapsule());
}

/// The gradients of `inputs` by going back through the reference, f(inputs) → outputs, computed again: where a device has
/// a kernel for an op and none for its way back. What else the reference leads to gets its gradient, too.
template <class F>
variable_list reference_gradients(variable_list inputs, const variable_list& gradients, F f) {
  const at::AutoGradMode on(true);
  for (Tensor& input : inputs)
    if (input.defined()) input = input.detach().requires_grad_();
  torch::autograd::backward(f(inputs), gradients);
  variable_list found;
  for (const Tensor& input : inputs) found.push_back(input.defined() ? input.grad() : Tensor());
  return found;
}

/// Tensors that may be missing, as autograd's functions take them.
inline std::optional<Tensor> maybe(const Tensor& t) { return t.defined() ? std::optional<Tensor>(t) : std::nullopt; }

}  // namespace grpo
