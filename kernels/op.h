// What every op file needs: argument checks that name the op, and the bridge from tensors to the CPU kernels.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/parallel.h"
#include "grpo/error.h"
#include "grpo/ops.h"
#include "kernels/cpu/kernels.h"

namespace grpo {

template <class... Parts>
void require(bool condition, const char* op, const Parts&... parts) {
  if (!condition) throw Error(op, parts...);
}

/// fp32 or bf16, or an Error that names the op.
inline cpu::Type kernel_type(const Tensor& x, const char* op) {
  if (x.scalar_type() == at::kFloat) return cpu::Type::f32;
  require(x.scalar_type() == at::kBFloat16, op, "expected float32 or bfloat16, got ", x.scalar_type());
  return cpu::Type::bf16;
}

/// `x` must have `like`'s type and device.
inline void require_alike(const Tensor& x, const Tensor& like, const char* op, const char* name) {
  require(x.scalar_type() == like.scalar_type() && x.device() == like.device(), op, "expected ", name, " to be ",
          like.scalar_type(), " on ", like.device(), ", got ", x.scalar_type(), " on ", x.device());
}

inline int index(cpu::Type type) { return static_cast<int>(type); }

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

}  // namespace grpo
