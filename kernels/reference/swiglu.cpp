#include "kernels/op.h"

namespace grpo::reference {
Tensor swiglu(const Tensor& gate_up) {
  const auto halves = gate_up.to(at::kFloat).chunk(2, -1);
  return (at::silu(halves[0]) * halves[1]).to(gate_up.scalar_type());
}

}  // namespace grpo::reference
