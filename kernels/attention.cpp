#include <cmath>

#include "kernels/op.h"

namespace grpo {
namespace {

cpu::Attention arguments(const HeadLayout& layout) {
  const float scale =
      layout.scale > 0 ? static_cast<float>(layout.scale) : 1.0f / std::sqrt(static_cast<float>(layout.head_dim));
  return {layout.heads, layout.kv_heads, layout.head_dim, layout.latent, scale};
}

// What forward and backward work on beside tensors that have gradients.
struct AttentionPlan : torch::CustomClassHolder {
  HeadLayout layout;
  Tensor starts, families;
  SharedRows first;

  int64_t given() const { return first.rows.defined() ? first.rows.size(0) : 0; }
  int64_t end() const { return starts.data_ptr<int32_t>()[starts.size(0) - 1]; }  // rows behind it are inert
  cpu::Attention arguments() const {
    cpu::Attention a = grpo::arguments(layout);
    a.starts = starts.data_ptr<int32_t>();
    a.family_starts = families.data_ptr<int32_t>();
    a.families = families.size(0) - 1;
    a.given = first.rows.defined();
    return a;
  }
};

struct AttentionFunction : Function<AttentionFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& own, c10::intrusive_ptr<AttentionPlan> plan) {
    const HeadLayout& layout = plan->layout;
    const Tensor qkv = plan->given() > 0 ? at::cat({plan->first.rows, own}) : own;
    Tensor out = at::empty({qkv.size(0), layout.heads * layout.value_dim()}, qkv.options());
    Tensor log_sum_exp = at::empty({qkv.size(0), layout.heads}, qkv.options().dtype(at::kFloat));
    out.slice(0, plan->end()).zero_();
    cpu::kernels().attention[index(kernel_type(qkv, "attention"))](plan->arguments(), qkv.data_ptr(), out.data_ptr(),
                                                                   log_sum_exp.data_ptr<float>());
    ctx->save_for_backward({qkv, out, log_sum_exp});
    ctx->saved_data["plan"] = c10::IValue::make_capsule(plan);
    return out.narrow(0, plan->given(), own.size(0));
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &qkv = saved[0], &out = saved[1];
    const auto plan = c10::static_intrusive_pointer_cast<AttentionPlan>(ctx->saved_data["plan"].toCapsule());
    const int64_t given = plan->given(), own = qkv.size(0) - given;
    const Tensor dout =
        given > 0 ? at::cat({at::zeros_like(out.narrow(0, 0, given)), grads[0]}) : grads[0].contiguous();
    Tensor dqkv = at::empty_like(qkv);
    dqkv.slice(0, plan->end()).zero_();
    cpu::Attention a = plan->arguments();
    a.root_gradient = plan->first.gradient.defined() ? plan->first.gradient.data_ptr<float>() : nullptr;
    cpu::kernels().attention_backward[index(kernel_type(qkv, "attention"))](
        a, qkv.data_ptr(), out.data_ptr(), saved[2].data_ptr<float>(), dout.data_ptr(), dqkv.data_ptr());
    return {dqkv.narrow(0, given, own), Tensor()};
  }
};

void check_layout(const Tensor& qkv, const HeadLayout& layout, const char* op) {
  require(qkv.dim() == 2 && qkv.size(1) == layout.width(), op, "expected qkv [tokens, ", layout.width(), "], got ",
          qkv.sizes());
  require(layout.kv_heads > 0 && layout.heads % layout.kv_heads == 0, op,
          "expected heads to be a multiple of kv_heads, got ", layout.heads, " and ", layout.kv_heads);
  require(layout.latent <= layout.head_dim, op, "expected a latent of at most head_dim = ", layout.head_dim, ", got ",
          layout.latent);
}

}  // namespace

Tensor attention(const Tensor& qkv, const Pass& pass, const HeadLayout& layout, const SharedRows& first) {
  check_layout(qkv, layout, "attention");
  require(pass.families.defined(), "attention", "expected a pass without slots");
  require(pass.live() <= qkv.size(0), "attention", "expected qkv of the ", pass.live(), " rows of the pass, got ",
          qkv.size(0));
  const int64_t given = first.rows.defined() ? first.rows.size(0) : 0;
  require(given == pass.shared, "attention", "expected ", pass.shared, " shared rows, got ", given);
  const int64_t length = pass.segments() > 0 ? pass.host_starts[1] : 0;  // of segment 0
  if (first.rows.defined()) {
    check_layout(first.rows, layout, "attention");
    require_alike(first.rows, qkv, "attention", "the shared rows");
  }
  if (const Tensor& sum = first.gradient; sum.defined())
    require(sum.is_contiguous() && sum.scalar_type() == at::kFloat && sum.device() == qkv.device() &&
                sum.sizes() == at::IntArrayRef({length, qkv.size(1)}),
            "attention", "expected a Float gradient [", length, ", ", qkv.size(1), "] of segment 0, got ",
            sum.scalar_type(), " ", sum.sizes());
  if (!qkv.is_cpu()) return reference::attention(qkv, pass, layout, first);
  kernel_type(qkv, "attention");
  auto plan = c10::make_intrusive<AttentionPlan>();
  plan->layout = layout, plan->starts = pass.starts, plan->families = pass.families, plan->first = first;
  return AttentionFunction::apply(qkv.contiguous(), std::move(plan));
}

Tensor paged_attention(const Tensor& qkv, const LayerPages& pages, const Pass& pass, const PageTable& table,
                       const HeadLayout& layout) {
  check_layout(qkv, layout, "paged_attention");
  require(table.page_size > 0 && table.page_size % cpu::kKeyBlock == 0, "paged_attention",
          "expected page_size to be a multiple of ", cpu::kKeyBlock, ", got ", table.page_size);
  require(pass.slots.defined() && pass.live() <= qkv.size(0), "paged_attention",
          "expected a pass with slots and qkv of its ", pass.live(), " rows, got ", qkv.size(0));
  require_alike(pages.values, qkv, "paged_attention", "the pages");
  if (!qkv.is_cpu()) return reference::paged_attention(qkv, pages, pass, table, layout);
  const int type = index(kernel_type(qkv, "paged_attention"));
  const Tensor rows = qkv.contiguous();
  Tensor out = at::empty({rows.size(0), layout.heads * layout.value_dim()}, rows.options());
  out.slice(0, pass.live()).zero_();
  void* keys = layout.latent > 0 ? nullptr : pages.keys.data_ptr();
  const cpu::Pages view{table.page_size,
                        table.pages.size(1),
                        pass.segments(),
                        pass.starts.data_ptr<int32_t>(),
                        pass.slots.data_ptr<int32_t>(),
                        table.pages.data_ptr<int32_t>(),
                        table.lengths.data_ptr<int32_t>(),
                        table.parents.data_ptr<int32_t>(),
                        keys,
                        pages.values.data_ptr()};
  cpu::kernels().write_pages[type](arguments(layout), view, rows.data_ptr(), keys, pages.values.data_ptr());
  cpu::kernels().paged_attention[type](arguments(layout), view, rows.data_ptr(), out.data_ptr());
  return out;
}

}  // namespace grpo
