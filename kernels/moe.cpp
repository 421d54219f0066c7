#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/op.h"
#include "kernels/routing.h"

namespace grpo {
namespace {

// NaN counts as the greatest, so that it is chosen and seen.
bool greater(float a, float b) { return a > b || (std::isnan(a) && !std::isnan(b)); }

// Sets the choices of experts outside the best groups to −inf. A tie goes to the lower index.
void keep_best_groups(float* choice, int64_t experts, int64_t groups, int64_t kept, int64_t group_best) {
  const int64_t size = experts / groups;
  std::vector<float> value(groups), sorted(size);
  for (int64_t g = 0; g < groups; ++g) {
    std::partial_sort_copy(choice + g * size, choice + (g + 1) * size, sorted.begin(), sorted.end(), greater);
    value[g] = std::accumulate(sorted.begin(), sorted.begin() + std::min(group_best, size), 0.0f);
  }
  std::vector<int64_t> order(groups);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return greater(value[a], value[b]); });
  for (int64_t i = kept; i < groups; ++i) std::fill_n(choice + order[i] * size, size, -INFINITY);
}

struct Router : Function<Router> {
  static variable_list forward(AutogradContext* ctx, const Tensor& logits, const Tensor& bias, int64_t k, bool softmax,
                               bool normalize, double scaling, int64_t groups, int64_t groups_per_token,
                               int64_t group_best) {
    const int64_t tokens = logits.size(0), n = logits.size(1);
    std::vector<float> choice(n);
    Tensor scores = logits.clone(), experts = at::empty({tokens, k}, at::kInt),
           weights = at::empty({tokens, k}, at::kFloat);
    for (int64_t t = 0; t < tokens; ++t) {
      float* score = scores.data_ptr<float>() + t * n;
      cpu::kernels().router_scores(score, n, softmax);
      int32_t* chosen = experts.data_ptr<int32_t>() + t * k;
      float* weight = weights.data_ptr<float>() + t * k;
      for (int64_t e = 0; e < n; ++e) choice[e] = score[e] + bias.data_ptr<float>()[e];
      if (groups_per_token < groups) keep_best_groups(choice.data(), n, groups, groups_per_token, group_best);
      for (int64_t j = 0; j < k; ++j) {
        int32_t best = -1;
        for (int32_t e = 0; e < n; ++e)
          if ((best < 0 || greater(choice[e], choice[best])) && std::find(chosen, chosen + j, e) == chosen + j) best = e;
        chosen[j] = best;
      }
      float total = kTiny;
      for (int64_t j = 0; j < k; ++j) total += score[chosen[j]];
      const float factor = static_cast<float>(scaling) / (normalize ? total : 1.0f);
      for (int64_t j = 0; j < k; ++j) weight[j] = score[chosen[j]] * factor;
    }
    ctx->mark_non_differentiable({experts});
    ctx->save_for_backward({scores, experts, weights});
    ctx->saved_data["softmax"] = softmax;
    ctx->saved_data["normalize"] = normalize;
    ctx->saved_data["scaling"] = scaling;
    return {weights, scores, experts};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &scores = saved[0], &experts = saved[1], &weights = saved[2];
    const bool softmax = ctx->saved_data["softmax"].toBool(), normalize = ctx->saved_data["normalize"].toBool();
    const float scaling = static_cast<float>(ctx->saved_data["scaling"].toDouble());
    const int64_t tokens = scores.size(0), n = scores.size(1), k = experts.size(1);
    Tensor d = grads[1].defined() ? grads[1].clone() : at::zeros_like(scores);
    const Tensor dweights = grads[0].defined() ? grads[0].contiguous() : at::zeros_like(weights);
    for (int64_t t = 0; t < tokens; ++t) {
      const float* s = scores.data_ptr<float>() + t * n;
      const int32_t* chosen = experts.data_ptr<int32_t>() + t * k;
      const float *w = weights.data_ptr<float>() + t * k, *dw = dweights.data_ptr<float>() + t * k;
      float* ds = d.data_ptr<float>() + t * n;
      float total = kTiny, dot = 0.0f;
      for (int64_t j = 0; j < k; ++j) total += s[chosen[j]], dot += dw[j] * w[j];
      for (int64_t j = 0; j < k; ++j) ds[chosen[j]] += normalize ? (scaling * dw[j] - dot) / total : scaling * dw[j];
      float inner = 0.0f;
      if (softmax)
        for (int64_t e = 0; e < n; ++e) inner += ds[e] * s[e];
      for (int64_t e = 0; e < n; ++e) ds[e] = softmax ? s[e] * (ds[e] - inner) : ds[e] * s[e] * (1.0f - s[e]);
    }
    return {d, Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

struct Dispatch : Function<Dispatch> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, Tensor slots) {
    const int64_t k = slots.size(1), bytes = x.size(1) * x.element_size();
    Tensor y = at::empty({x.size(0) * k, x.size(1)}, x.options());
    const char* from = static_cast<const char*>(x.data_ptr());
    char* to = static_cast<char*>(y.data_ptr());
    const int32_t* slot = slots.data_ptr<int32_t>();
    for (int64_t i = 0; i < slots.numel(); ++i) std::memcpy(to + slot[i] * bytes, from + i / k * bytes, bytes);
    ctx->save_for_backward({slots});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Tensor slots = ctx->get_saved_variables()[0], dy = grads[0].contiguous();
    Tensor dx = at::empty({slots.size(0), dy.size(1)}, dy.options());
    cpu::kernels().combine[index(kernel_type(dy, "dispatch"))](slots.size(0), dy.size(1), slots.size(1), dy.data_ptr(),
                                                               slots.data_ptr<int32_t>(), nullptr, nullptr,
                                                               dx.data_ptr());
    return {dx, Tensor()};
  }
};

struct Combine : Function<Combine> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weights, std::optional<Tensor> base,
                        Tensor slots) {
    Tensor y = at::empty({slots.size(0), x.size(1)}, x.options());
    cpu::kernels().combine[index(kernel_type(x, "combine"))](slots.size(0), x.size(1), slots.size(1), x.data_ptr(),
                                                             slots.data_ptr<int32_t>(), weights.data_ptr<float>(),
                                                             base ? base->data_ptr() : nullptr, y.data_ptr());
    ctx->save_for_backward({x, weights, slots});
    ctx->saved_data["base"] = base.has_value();
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weights = saved[1], &slots = saved[2], dy = grads[0].contiguous();
    Tensor dx = at::empty_like(x), dweights = at::empty_like(weights);
    cpu::kernels().combine_backward[index(kernel_type(x, "combine"))](
        slots.size(0), x.size(1), slots.size(1), x.data_ptr(), slots.data_ptr<int32_t>(), weights.data_ptr<float>(),
        dy.data_ptr(), dx.data_ptr(), dweights.data_ptr<float>());
    return {dx, dweights, ctx->saved_data["base"].toBool() ? dy : Tensor(), Tensor()};
  }
};

void check_routing(const Tensor& x, const Routing& routing, int64_t rows, const char* op) {
  require(x.dim() == 2 && x.size(0) == rows, op, "expected x [", rows, ", n], got ", x.sizes());
  require(routing.slots.dim() == 2, op, "expected slots [tokens, k], got ", routing.slots.sizes());
}

}  // namespace

Routing route(const Tensor& logits, const Tensor& selection_bias, const RouterOptions& options) {
  require(logits.dim() == 2 && logits.scalar_type() == at::kFloat, "route",
          "expected fp32 logits [tokens, experts], got ", logits.sizes());
  const int64_t n = logits.size(1);
  require(selection_bias.dim() == 1 && selection_bias.size(0) == n && selection_bias.scalar_type() == at::kFloat,
          "route", "expected an fp32 selection bias [", n, "], got ", selection_bias.sizes());
  require(options.experts_per_token > 0 && options.experts_per_token <= n, "route", "expected 1 … ", n,
          " experts per token, got ", options.experts_per_token);
  require(options.groups > 0 && n % options.groups == 0 && options.groups_per_token > 0 &&
              options.groups_per_token <= options.groups && options.group_best > 0 &&
              options.experts_per_token <= n / options.groups * options.groups_per_token,
          "route", "expected groups that divide ", n, " experts, of which those of a token hold ",
          options.experts_per_token, ", got ", options.groups, " and ", options.groups_per_token);
  if (!logits.is_cpu()) return reference::route(logits, selection_bias, options);
  const auto out =
      Router::apply(logits.contiguous(), selection_bias.contiguous(), options.experts_per_token, options.softmax,
                    options.normalize, options.scaling, options.groups, options.groups_per_token, options.group_best);
  Routing routing{out[2], out[0], out[1], {}, {}};
  assign_slots(routing, n);
  return routing;
}

Tensor dispatch(const Tensor& x, const Routing& routing) {
  check_routing(x, routing, routing.slots.size(0), "dispatch");
  return x.is_cpu() ? Dispatch::apply(x.contiguous(), routing.slots) : reference::dispatch(x, routing);
}

Tensor combine(const Tensor& x, const Routing& routing, const Tensor& base) {
  check_routing(x, routing, routing.slots.numel(), "combine");
  if (base.defined()) {
    require(base.dim() == 2 && base.size(0) == routing.slots.size(0) && base.size(1) == x.size(1), "combine",
            "expected base [", routing.slots.size(0), ", ", x.size(1), "], got ", base.sizes());
    require_alike(base, x, "combine", "base");
  }
  if (!x.is_cpu()) return reference::combine(x, routing, base);
  return Combine::apply(x.contiguous(), routing.weights.contiguous(),
                        base.defined() ? std::optional<Tensor>(base.contiguous()) : std::nullopt, routing.slots);
}

}  // namespace grpo
