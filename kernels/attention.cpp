#include <cmath>

#include "kernels/op.h"

namespace grpo {
namespace {

// Roots and their children, family by family, for kernels that share a parent's keys among its children.
struct Families {
  std::vector<int32_t> members, starts{0};

  explicit Families(const std::vector<int32_t>& parents) {
    std::vector<std::vector<int32_t>> children(parents.size());
    for (size_t s = 0; s < parents.size(); ++s)
      if (parents[s] >= 0) children[parents[s]].push_back(static_cast<int32_t>(s));
    for (size_t s = 0; s < parents.size(); ++s) {
      if (parents[s] >= 0) continue;
      members.push_back(static_cast<int32_t>(s));
      members.insert(members.end(), children[s].begin(), children[s].end());
      starts.push_back(static_cast<int32_t>(members.size()));
    }
  }
};

cpu::Attention arguments(const HeadLayout& layout) {
  const float scale =
      layout.scale > 0 ? static_cast<float>(layout.scale) : 1.0f / std::sqrt(static_cast<float>(layout.head_dim));
  return {layout.heads, layout.kv_heads, layout.head_dim, layout.latent, scale};
}

struct AttentionFunction : Function<AttentionFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& own, const std::optional<Tensor>& given,
                        const std::optional<Tensor>& gradient, const Tensor& starts, const Tensor& members,
                        const Tensor& families, int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t latent,
                        double scale) {
    const HeadLayout layout{heads, kv_heads, head_dim, latent, 0, scale};
    const Tensor qkv = given ? at::cat({*given, own}) : own;
    Tensor out = at::empty({qkv.size(0), heads * layout.value_dim()}, qkv.options());
    Tensor log_sum_exp = at::empty({qkv.size(0), heads}, qkv.options().dtype(at::kFloat));
    cpu::Attention a = describe(layout, starts, members, families);
    a.given = given.has_value();
    cpu::kernels().attention[index(kernel_type(qkv, "attention"))](a, qkv.data_ptr(), out.data_ptr(),
                                                                   log_sum_exp.data_ptr<float>());
    ctx->save_for_backward({qkv, out, log_sum_exp, starts, members, families});
    ctx->saved_data["layout"] = std::vector<int64_t>{heads, kv_heads, head_dim, latent};
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["own"] = own.size(0);
    ctx->saved_data["gradient"] = gradient;
    return out.narrow(0, qkv.size(0) - own.size(0), own.size(0));
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto sizes = ctx->saved_data["layout"].toIntVector();
    const Tensor &qkv = saved[0], &out = saved[1];
    const auto sum = ctx->saved_data["gradient"].toOptional<Tensor>();
    const int64_t own = ctx->saved_data["own"].toInt(), given = qkv.size(0) - own;
    const Tensor dout =
        given > 0 ? at::cat({at::zeros_like(out.narrow(0, 0, given)), grads[0]}) : grads[0].contiguous();
    Tensor dqkv = at::empty_like(qkv);
    cpu::Attention a = describe({sizes[0], sizes[1], sizes[2], sizes[3], 0, ctx->saved_data["scale"].toDouble()},
                                saved[3], saved[4], saved[5]);
    a.given = given > 0;
    a.root_gradient = sum ? sum->data_ptr<float>() : nullptr;
    cpu::kernels().attention_backward[index(kernel_type(qkv, "attention"))](
        a, qkv.data_ptr(), out.data_ptr(), saved[2].data_ptr<float>(), dout.data_ptr(), dqkv.data_ptr());
    variable_list result(12);
    result[0] = dqkv.narrow(0, given, own);
    return result;
  }

 private:
  static cpu::Attention describe(const HeadLayout& layout, const Tensor& starts, const Tensor& members,
                                 const Tensor& families) {
    cpu::Attention a = arguments(layout);
    a.starts = starts.data_ptr<int32_t>();
    a.members = members.data_ptr<int32_t>();
    a.family_starts = families.data_ptr<int32_t>();
    a.families = families.size(0) - 1;
    return a;
  }
};

Tensor host_ints(const std::vector<int32_t>& values) { return at::tensor(values, at::kInt); }

void check_layout(const Tensor& qkv, const HeadLayout& layout, const char* op) {
  require(qkv.dim() == 2 && qkv.size(1) == layout.width(), op, "expected qkv [tokens, ", layout.width(), "], got ",
          qkv.sizes());
  require(layout.kv_heads > 0 && layout.heads % layout.kv_heads == 0, op,
          "expected heads to be a multiple of kv_heads, got ", layout.heads, " and ", layout.kv_heads);
  require(layout.latent <= layout.head_dim, op, "expected a latent of at most head_dim = ", layout.head_dim, ", got ",
          layout.latent);
}

}  // namespace

Tensor attention(const Tensor& qkv, const std::vector<int32_t>& starts, const std::vector<int32_t>& parents,
                 const HeadLayout& layout, const SharedRows& first) {
  check_layout(qkv, layout, "attention");
  const int64_t given = first.rows.defined() ? first.rows.size(0) : 0, rows = given + qkv.size(0);
  require(starts.size() == parents.size() + 1 && starts.front() == 0 && starts.back() == rows &&
              std::is_sorted(starts.begin(), starts.end()),
          "attention", "expected ", parents.size() + 1, " ascending starts from 0 to ", rows);
  for (size_t s = 0; s < parents.size(); ++s)
    require(parents[s] < static_cast<int32_t>(s) && (parents[s] < 0 || parents[parents[s]] < 0), "attention",
            "segment ", s, ": expected an earlier segment without parent as its parent, got ", parents[s]);
  const int64_t length = parents.empty() ? 0 : starts[1];  // of segment 0
  if (first.rows.defined()) {
    check_layout(first.rows, layout, "attention");
    require_alike(first.rows, qkv, "attention", "the shared rows");
    require(given == length, "attention", "expected the ", length, " rows of segment 0 to be shared, got ", given);
  }
  if (const Tensor& sum = first.gradient; sum.defined())
    require(sum.is_contiguous() && sum.scalar_type() == at::kFloat && sum.device() == qkv.device() &&
                sum.sizes() == at::IntArrayRef({length, qkv.size(1)}),
            "attention", "expected a Float gradient [", length, ", ", qkv.size(1), "] of segment 0, got ",
            sum.scalar_type(), " ", sum.sizes());
  if (!qkv.is_cpu()) return reference::attention(qkv, starts, parents, layout, first);
  kernel_type(qkv, "attention");
  const Families families(parents);
  const auto maybe = [](const Tensor& t) { return t.defined() ? std::optional<Tensor>(t) : std::nullopt; };
  return AttentionFunction::apply(qkv.contiguous(), maybe(first.rows), maybe(first.gradient), host_ints(starts),
                                  host_ints(families.members), host_ints(families.starts), layout.heads,
                                  layout.kv_heads, layout.head_dim, layout.latent, layout.scale);
}

Tensor paged_attention(const Tensor& qkv, const LayerPages& pages, const PageRuns& runs, const HeadLayout& layout) {
  check_layout(qkv, layout, "paged_attention");
  require(runs.page_size > 0 && runs.page_size % cpu::kKeyBlock == 0, "paged_attention",
          "expected page_size to be a multiple of ", cpu::kKeyBlock, ", got ", runs.page_size);
  require(runs.tokens.back() == qkv.size(0), "paged_attention", "expected runs that cover ", qkv.size(0), " rows, got ",
          runs.tokens.back());
  require_alike(pages.values, qkv, "paged_attention", "the pages");
  if (!qkv.is_cpu()) return reference::paged_attention(qkv, pages, runs, layout);
  const int type = index(kernel_type(qkv, "paged_attention"));
  const Tensor rows = qkv.contiguous();
  Tensor out = at::empty({rows.size(0), layout.heads * layout.value_dim()}, rows.options());
  void* keys = layout.latent > 0 ? nullptr : pages.keys.data_ptr();
  const cpu::Pages view{runs.page_size,
                        static_cast<int64_t>(runs.first.size()),
                        runs.tokens.data(),
                        runs.first.data(),
                        runs.prompt_length.data(),
                        runs.prompt_pages.data(),
                        runs.prompt_page_starts.data(),
                        runs.own_pages.data(),
                        runs.own_page_starts.data(),
                        keys,
                        pages.values.data_ptr()};
  cpu::kernels().write_pages[type](arguments(layout), view, rows.data_ptr(), keys, pages.values.data_ptr());
  cpu::kernels().paged_attention[type](arguments(layout), view, rows.data_ptr(), out.data_ptr());
  return out;
}

}  // namespace grpo
