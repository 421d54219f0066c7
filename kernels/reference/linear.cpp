#include "kernels/op.h"

namespace grpo::reference {
Tensor linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  return at::linear(x, weight, bias);
}

Tensor grouped_linear(const Tensor& x, const Tensor& weight, const Tensor& offsets) {
  // LibTorch's grouped product takes offsets where they lie, and on the cards that have it (compute capability 9) a row's
  // bits do not depend on how rows are grouped. It wants rows of 16 bytes, with zeros behind them where there is no more.
  if (x.is_cuda() && x.scalar_type() == at::kBFloat16) {
    const int64_t out = weight.size(1), in = weight.size(2), more_out = -out & 7, more_in = -in & 7;
    const bool whole = more_out == 0 && more_in == 0;
    const Tensor rows = more_in == 0 ? x : at::constant_pad_nd(x, {0, more_in}),
                 padded = whole ? weight : at::constant_pad_nd(weight, {0, more_in, 0, more_out}),
                 y = at::_grouped_mm(rows, padded.transpose(1, 2), offsets.narrow(0, 1, weight.size(0)));
    return more_out == 0 ? y : y.narrow(1, 0, out);
  }
  const Tensor host = offsets.cpu();
  const int32_t* starts = host.data_ptr<int32_t>();
  std::vector<Tensor> parts;
  for (int64_t e = 0; e < weight.size(0); ++e)
    parts.push_back(at::linear(x.narrow(0, starts[e], starts[e + 1] - starts[e]), weight.select(0, e)));
  return at::cat(parts);
}

}  // namespace grpo::reference
