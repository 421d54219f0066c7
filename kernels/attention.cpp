#include "kernels/op.h"

namespace grpo {
namespace {

struct AttentionPlan {
  HeadLayout layout;
  Pass pass;
  SharedRows first;

  int64_t given() const { return first.rows.defined() ? first.rows.size(0) : 0; }
  kernel::Attention arguments(const Tensor& qkv) const {
    return {layout,
            qkv.size(0),
            pass.segments(),
            pass.families.size(0) - 1,
            pass.starts.data_ptr<int32_t>(),
            pass.families.data_ptr<int32_t>(),
            first.rows.defined(),
            first.gradient.defined() ? first.gradient.data_ptr<float>() : nullptr};
  }
};

struct AttentionFunction : Function<AttentionFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& own, CarriedPtr<AttentionPlan> carried) {
    const AttentionPlan& plan = carried->plan;
    const HeadLayout& layout = plan.layout;
    const Tensor qkv = plan.given() > 0 ? at::cat({plan.first.rows, own}) : own;
    Tensor out = at::empty({qkv.size(0), layout.heads * layout.value_dim()}, qkv.options());
    Tensor log_sum_exp = at::empty({qkv.size(0), layout.heads}, qkv.options().dtype(at::kFloat));
    Launch(qkv, "attention")(&kernel::Table::attention, plan.arguments(qkv), qkv.data_ptr(), out.data_ptr(),
                             log_sum_exp.data_ptr<float>());
    ctx->save_for_backward({qkv, out, log_sum_exp});
    save(ctx, carried);
    return out.narrow(0, plan.given(), own.size(0));
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &qkv = saved[0], &out = saved[1];
    const auto carried = saved_plan<AttentionPlan>(ctx);
    const int64_t given = carried->plan.given(), own = qkv.size(0) - given;
    const Launch run(qkv, "attention");
    if (!run.has(&kernel::Table::attention_backward))
      return {reference_gradients({qkv.narrow(0, given, own)}, {grads[0]}, [&](const variable_list& t) {
                return variable_list{
                    reference::attention(t[0], carried->plan.pass, carried->plan.layout, carried->plan.first)};
              })[0],
              Tensor()};
    const Tensor dout =
        given > 0 ? at::cat({at::zeros_like(out.narrow(0, 0, given)), grads[0]}) : grads[0].contiguous();
    Tensor dqkv = at::empty_like(qkv);
    run(&kernel::Table::attention_backward, carried->plan.arguments(qkv), qkv.data_ptr(),
                             out.data_ptr(), saved[2].data_ptr<float>(), dout.data_ptr(), dqkv.data_ptr());
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
  if (!Launch(qkv, "attention").attends(layout)) return reference::attention(qkv, pass, layout, first);
  return AttentionFunction::apply(qkv.contiguous(), carry(AttentionPlan{layout, pass, first}));
}

LayerPages make_pages(const HeadLayout& layout, int64_t count, int64_t page_size, const at::TensorOptions& options) {
  const int64_t block = page_block(options.device(), options.dtype().toScalarType(), layout);
  require(count >= 0 && page_size > 0 && page_size % block == 0, "policy",
          "expected a page_size that is a multiple of ", block, ", got ", page_size);
  const std::vector<int64_t> shape{count, layout.kv_heads, page_size * layout.head_dim};
  return {layout.latent > 0 ? Tensor() : at::zeros(shape, options), at::zeros(shape, options), page_size};
}

void LayerPages::grow(int64_t to) {
  for (Tensor* pages : {&keys, &values})
    if (pages->defined()) {
      std::vector<int64_t> shape = pages->sizes().vec();
      shape[0] = to - shape[0];
      *pages = at::cat({*pages, at::zeros(shape, pages->options())});
    }
}

Tensor paged_attention(const Tensor& qkv, const LayerPages& pages, const Pass& pass, const PageTable& table,
                       const HeadLayout& layout) {
  check_layout(qkv, layout, "paged_attention");
  require(table.page_size == pages.page_size, "paged_attention", "expected a table of the pages' page_size, ",
          pages.page_size, ", got ", table.page_size);
  require(pass.slots.defined() && pass.live() <= qkv.size(0), "paged_attention",
          "expected a pass with slots and qkv of its ", pass.live(), " rows, got ", qkv.size(0));
  require_alike(pages.values, qkv, "paged_attention", "the pages");
  const Launch run(qkv, "paged_attention");
  if (!run.attends(layout)) return reference::paged_attention(qkv, pages, pass, table, layout);
  const Tensor rows = qkv.contiguous();
  Tensor out = at::empty({rows.size(0), layout.heads * layout.value_dim()}, rows.options());
  const bool siblings = pass.siblings.defined() && layout.latent == 0;
  const Tensor prefix = siblings ? at::empty({rows.size(0), layout.heads, layout.value_dim() + 2},
                                             rows.options().dtype(at::kFloat))
                                 : Tensor();
  const kernel::PagedAttention arguments{layout,
                                         rows.size(0),
                                         table.page_size,
                                         table.pages.size(1),
                                         pass.segments(),
                                         pass.starts.data_ptr<int32_t>(),
                                         pass.slots.data_ptr<int32_t>(),
                                         table.pages.data_ptr<int32_t>(),
                                         table.lengths.data_ptr<int32_t>(),
                                         table.parents.data_ptr<int32_t>(),
                                         pages.keys.defined() ? pages.keys.data_ptr() : nullptr,
                                         pages.values.data_ptr(),
                                         siblings ? pass.siblings.data_ptr<int32_t>() : nullptr,
                                         siblings ? prefix.data_ptr<float>() : nullptr};
  run(&kernel::Table::paged_attention, arguments, rows.data_ptr(), out.data_ptr());
  return out;
}

}  // namespace grpo
