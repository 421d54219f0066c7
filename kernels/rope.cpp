#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "kernels/op.h"

namespace grpo {
namespace {

struct RopePlan {
  Tensor positions, table;
  HeadLayout layout;
  double epsilon;
  bool interleaved;

  kernel::Rope arguments(const Tensor& q_norm, const Tensor& k_norm) const {
    const auto data = [](const Tensor& norm) { return norm.defined() ? norm.data_ptr() : nullptr; };
    return {positions.size(0), layout,       interleaved,  positions.data_ptr<int32_t>(), table.data_ptr<float>(),
            data(q_norm),      data(k_norm), static_cast<float>(epsilon)};
  }
};

struct RopeFunction : Function<RopeFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& qkv, std::optional<Tensor> q_weight,
                        std::optional<Tensor> k_weight, CarriedPtr<RopePlan> carried) {
    const Tensor q_norm = q_weight.value_or(Tensor()), k_norm = k_weight.value_or(Tensor());
    Tensor out = at::empty_like(qkv);
    Launch(qkv, "rope")(&kernel::Table::rope, carried->plan.arguments(q_norm, k_norm), qkv.data_ptr(), out.data_ptr());
    ctx->save_for_backward({q_norm.defined() ? qkv : Tensor(), q_norm, k_norm});
    save(ctx, carried);
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor dout = grads[0].contiguous(), &q_norm = saved[1], &k_norm = saved[2];
    const Tensor qkv = q_norm.defined() ? saved[0] : dout;  // read only where heads are normalised
    const Launch run(dout, "rope");
    const auto carried = saved_plan<RopePlan>(ctx);
    const RopePlan& plan = carried->plan;
    if (!run.has(&kernel::Table::rope_backward)) {
      variable_list found = reference_gradients({qkv, q_norm, k_norm}, {dout}, [&](const variable_list& t) {
        return variable_list{reference::rope(t[0], plan.positions, plan.table, plan.layout, maybe(t[1]), maybe(t[2]),
                                             plan.epsilon, plan.interleaved)};
      });
      found.emplace_back();
      return found;
    }
    Tensor dqkv = at::empty_like(dout);
    std::optional<WeightGradient> dq, dk;
    if (q_norm.defined()) {
      dq.emplace(q_norm, ctx->needs_input_grad(1));
      dk.emplace(k_norm, ctx->needs_input_grad(2));
    }
    run(&kernel::Table::rope_backward, plan.arguments(q_norm, k_norm), qkv.data_ptr(), dout.data_ptr(), dqkv.data_ptr(),
        dq ? dq->sum.data_ptr<float>() : nullptr, dk ? dk->sum.data_ptr<float>() : nullptr);
    if (!dq) return {dqkv, Tensor(), Tensor(), Tensor()};
    return {dqkv, dq->for_autograd(), dk->for_autograd(), Tensor()};
  }
};

}  // namespace

Tensor rope_table(int64_t max_positions, const std::vector<double>& frequencies, double scale) {
  const auto half = static_cast<int64_t>(frequencies.size());
  require(half > 0 && half <= 512, "rope", "expected up to 512 frequencies, got ", half);
  Tensor table = at::empty({max_positions, 2 * half}, at::kFloat);
  float* out = table.data_ptr<float>();
  constexpr int64_t kBlock = 4096;
  parallel_for((max_positions + kBlock - 1) / kBlock, [&](int64_t block) {
    for (int64_t position = block * kBlock; position < std::min(max_positions, (block + 1) * kBlock); ++position)
      for (int64_t i = 0; i < half; ++i) {
        // fp32 frequencies and angles: what published checkpoints were trained with
        const double angle = static_cast<float>(position) * static_cast<float>(frequencies[i]);
        out[position * 2 * half + i] = static_cast<float>(std::cos(angle) * scale);
        out[position * 2 * half + half + i] = static_cast<float>(std::sin(angle) * scale);
      }
  });
  return table;
}

Tensor rope_table(int64_t max_positions, int64_t head_dim, double theta) {
  require(head_dim > 0 && head_dim % 2 == 0 && head_dim <= 1024, "rope", "expected an even head_dim up to 1024, got ",
          head_dim);
  std::vector<double> frequencies;
  for (int64_t i = 0; i < head_dim / 2; ++i)
    frequencies.push_back(1.0 / std::pow(theta, 2.0 * static_cast<double>(i) / static_cast<double>(head_dim)));
  return rope_table(max_positions, frequencies);
}

Tensor rope(const Tensor& qkv, const Tensor& positions, const Tensor& table, const HeadLayout& layout,
            const std::optional<Tensor>& q_norm, const std::optional<Tensor>& k_norm, double epsilon,
            bool interleaved) {
  require(qkv.dim() == 2 && qkv.size(1) == layout.width(), "rope", "expected qkv [tokens, ", layout.width(), "], got ",
          qkv.sizes());
  require(positions.dim() == 1 && positions.size(0) == qkv.size(0) && positions.scalar_type() == at::kInt, "rope",
          "expected int32 positions [", qkv.size(0), "], got ", positions.sizes());
  require(positions.device() == qkv.device() && table.device() == qkv.device(), "rope",
          "expected positions and the table on ", qkv.device(), ", got ", positions.device(), " and ", table.device());
  const int64_t rotary = layout.rotary_dim();
  require(rotary <= layout.head_dim && rotary % 2 == 0, "rope", "expected an even rotary dimension up to ",
          layout.head_dim, ", got ", rotary);
  require(table.dim() == 2 && table.size(1) == rotary && table.scalar_type() == at::kFloat, "rope",
          "expected an fp32 table of [positions, ", rotary, "], got ", table.scalar_type(), " ", table.sizes());
  require(q_norm.has_value() == k_norm.has_value(), "rope", "expected both of q_norm and k_norm or neither");
  for (const auto& norm : {q_norm, k_norm})
    if (norm) {
      require(norm->dim() == 1 && norm->size(0) == layout.head_dim, "rope", "expected norm weights [", layout.head_dim,
              "], got ", norm->sizes());
      require_alike(*norm, qkv, "rope", "the norm weights");
    }
  const Tensor where = positions.contiguous();
  for (int64_t t = 0; where.is_cpu() && t < where.size(0); ++t)
    if (const int32_t p = where.data_ptr<int32_t>()[t]; p < 0 || p >= table.size(0))
      throw Error("rope", "expected positions in [0, ", table.size(0), "), got ", p, " at token ", t,
                  "; raise policy.max_positions");
  if (!Launch(qkv, "rope").has(&kernel::Table::rope))
    return reference::rope(qkv, positions, table, layout, q_norm, k_norm, epsilon, interleaved);
  const auto dense = [](const std::optional<Tensor>& norm) {
    return norm ? std::optional<Tensor>(norm->contiguous()) : std::nullopt;
  };
  return RopeFunction::apply(qkv.contiguous(), dense(q_norm), dense(k_norm),
                             carry(RopePlan{where, table.contiguous(), layout, epsilon, interleaved}));
}

}  // namespace grpo
