// Views of weights that are trained.
#pragma once

#include <ATen/ATen.h>

namespace grpo {

/// A view of a weight. Where the weight has a gradient that ops add to in place, the view's is the same part of that.
template <class View>
at::Tensor part(const at::Tensor& weight, View view) {
  const at::Tensor& gradient = weight.grad();
  if (!weight.requires_grad() || !gradient.defined() || gradient.scalar_type() != at::kFloat ||
      gradient.strides() != weight.strides())
    return view(weight);
  at::Tensor value = view(weight.detach()).requires_grad_(true);
  value.set_grad_dtype(at::kFloat);
  value.mutable_grad() = view(gradient);
  return value;
}

}  // namespace grpo
