#include "kernels/op.h"

namespace grpo::reference {
Tensor embedding(const Tensor& weight, const Tensor& tokens) { return at::embedding(weight, tokens); }

}  // namespace grpo::reference
