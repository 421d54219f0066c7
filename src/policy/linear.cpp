#include "grpo/linear.h"

#include <ATen/ATen.h>

#include <optional>

#include "grpo/ops.h"
#include "policy/part.h"

namespace grpo {
namespace {

// scale·(x·Aᵀ)·Bᵀ, `times` being the product of rows with a weight. The factor stands apart, where numbers are fewest:
// x + scale·y in one operation of ATen's is fused in its vectors and not in what is left over, so that a row's bits
// would depend on its place.
template <class Times>
Tensor change(const Tensor& x, const Adapter& adapter, Times times) {
  const Tensor inner = times(x, adapter.a) * adapter.scale;
  if (adapter.parts.size() == 1) return times(inner, adapter.b);
  std::vector<Tensor> columns;
  int64_t first = 0, row = 0;  // of a part in `inner` and in B
  for (const Adapter::Part& each : adapter.parts) {
    if (!each.adapted) {
      columns.push_back(at::zeros({x.size(0), each.rows}, x.options().requires_grad(false)));
      continue;
    }
    const Tensor b = part(adapter.b, [&](const Tensor& t) { return t.narrow(-2, row, each.rows); });
    columns.push_back(times(inner.narrow(1, first, adapter.rank()), b));
    first += adapter.rank(), row += each.rows;
  }
  return at::cat(columns, 1);
}

}  // namespace

std::pair<Tensor, Tensor> Adapter::factors(std::size_t part) const {
  if (!defined() || !parts[part].adapted) return {};
  int64_t first = 0, row = 0;
  for (std::size_t i = 0; i < part; ++i)
    if (parts[i].adapted) first += rank(), row += parts[i].rows;
  return {a.narrow(-2, first, rank()), b.narrow(-2, row, parts[part].rows)};
}

Tensor linear(const Tensor& x, const Linear& projection) {
  const Tensor& bias = projection.bias;
  const Tensor y = grpo::linear(x, projection.weight, bias.defined() ? std::optional<Tensor>(bias) : std::nullopt);
  if (!projection.adapter.defined()) return y;
  return y + change(x, projection.adapter, [](const Tensor& rows, const Tensor& w) { return grpo::linear(rows, w); });
}

Tensor grouped_linear(const Tensor& x, const Linear& projection, const Tensor& offsets) {
  const Tensor y = grouped_linear(x, projection.weight, offsets);
  if (!projection.adapter.defined()) return y;
  return y + change(x, projection.adapter,
                    [&](const Tensor& rows, const Tensor& w) { return grouped_linear(rows, w, offsets); });
}

Tensor merged(const Tensor& weight, const Tensor& a, const Tensor& b, double scale) {
  const at::NoGradGuard no_grad;
  const Tensor product = grpo::linear(b.to(at::kFloat), a.to(at::kFloat).t());
  return weight.to(at::kFloat) + product * scale;
}

}  // namespace grpo
