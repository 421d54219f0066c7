#include "kernels/op.h"

namespace grpo::reference {
Tensor rope(const Tensor& qkv, const Tensor& positions, const Tensor& table, const HeadLayout& layout,
                       const std::optional<Tensor>& q_norm, const std::optional<Tensor>& k_norm, double epsilon,
                       bool interleaved) {
  const int64_t d = layout.head_dim, turned = layout.heads + layout.kv_heads, rotary = layout.rotary_dim();
  const Tensor heads = qkv.view({qkv.size(0), qkv.size(1) / d, d});
  Tensor q = heads.narrow(1, 0, layout.heads), k = heads.narrow(1, layout.heads, layout.kv_heads);
  if (q_norm) q = rms_norm(q, *q_norm, epsilon), k = rms_norm(k, *k_norm, epsilon);
  const Tensor angles = table.index_select(0, positions).unsqueeze(1);
  const Tensor cos = angles.narrow(2, 0, rotary / 2), sin = angles.narrow(2, rotary / 2, rotary / 2);
  const Tensor all = at::cat({q, k}, 1).to(at::kFloat), x = all.narrow(2, d - rotary, rotary);
  const Tensor a = interleaved ? x.slice(2, 0, rotary, 2) : x.narrow(2, 0, rotary / 2);
  const Tensor b = interleaved ? x.slice(2, 1, rotary, 2) : x.narrow(2, rotary / 2, rotary / 2);
  const Tensor left = a * cos - b * sin, right = b * cos + a * sin;
  const Tensor y = interleaved ? at::stack({left, right}, -1).flatten(2) : at::cat({left, right}, 2);
  const Tensor out = at::cat({all.narrow(2, 0, d - rotary), y}, 2).to(qkv.scalar_type());
  return at::cat({out, heads.narrow(1, turned, heads.size(1) - turned)}, 1).view_as(qkv);
}

}  // namespace grpo::reference
