#include "kernels/op.h"

namespace grpo::reference {
Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon) {
  const Tensor wide = x.to(at::kFloat);
  return (wide * at::rsqrt(wide.square().mean(-1, true) + epsilon) * weight.to(at::kFloat)).to(x.scalar_type());
}

}  // namespace grpo::reference
