#include "kernels/op.h"

namespace grpo::reference {
Tensor linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  return at::linear(x, weight, bias);
}

Tensor grouped_linear(const Tensor& x, const Tensor& weight, const Tensor& offsets) {
  const Tensor host = offsets.cpu();
  const int32_t* starts = host.data_ptr<int32_t>();
  std::vector<Tensor> parts;
  for (int64_t e = 0; e < weight.size(0); ++e)
    parts.push_back(at::linear(x.narrow(0, starts[e], starts[e + 1] - starts[e]), weight.select(0, e)));
  return at::cat(parts);
}

}  // namespace grpo::reference
