#include "kernels/op.h"

namespace grpo {
namespace {

struct RouterPlan {
  RouterOptions options;
  Tensor slots, offsets;  // on their way to whoever called
};

struct Router : Function<Router> {
  static variable_list forward(AutogradContext* ctx, const Tensor& logits, const Tensor& bias,
                               CarriedPtr<RouterPlan> carried) {
    RouterPlan& plan = carried->plan;
    const int64_t tokens = logits.size(0), n = logits.size(1), k = plan.options.experts_per_token;
    const auto ints = logits.options().dtype(at::kInt);
    Tensor scores = at::empty_like(logits), experts = at::empty({tokens, k}, ints),
           weights = at::empty({tokens, k}, logits.options());
    plan.slots = at::empty({tokens, k}, ints), plan.offsets = at::empty({n + 1}, ints);
    Launch(logits, "route")(&kernel::Table::route, tokens, n, plan.options, logits.data_ptr<float>(),
                            bias.data_ptr<float>(), scores.data_ptr<float>(), experts.data_ptr<int32_t>(),
                            weights.data_ptr<float>(), plan.slots.data_ptr<int32_t>(),
                            plan.offsets.data_ptr<int32_t>());
    ctx->mark_non_differentiable({experts});
    ctx->save_for_backward({scores, experts, weights});
    save(ctx, carried);
    return {weights, scores, experts};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &scores = saved[0], &experts = saved[1], &weights = saved[2];
    Tensor d = grads[1].defined() ? grads[1].clone(at::MemoryFormat::Contiguous) : at::zeros_like(scores);
    const Tensor dweights = grads[0].defined() ? grads[0].contiguous() : at::zeros_like(weights);
    const Launch run(scores, "route");
    run(&kernel::Table::route_backward, scores.size(0), scores.size(1),
                            saved_plan<RouterPlan>(ctx)->plan.options, scores.data_ptr<float>(),
                            experts.data_ptr<int32_t>(), weights.data_ptr<float>(), dweights.data_ptr<float>(),
                            d.data_ptr<float>());
    return {d, Tensor(), Tensor()};
  }
};

struct Dispatch : Function<Dispatch> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, Tensor slots) {
    Tensor y = at::empty({slots.numel(), x.size(1)}, x.options());
    Launch(x, "dispatch")(&kernel::Table::dispatch, x.size(0), x.size(1), slots.size(1), x.data_ptr(),
                          slots.data_ptr<int32_t>(), y.data_ptr());
    ctx->save_for_backward({slots});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Tensor slots = ctx->get_saved_variables()[0], dy = grads[0].contiguous();
    Tensor dx = at::empty({slots.size(0), dy.size(1)}, dy.options());
    Launch(dy, "dispatch")(&kernel::Table::combine, slots.size(0), dy.size(1), slots.size(1), dy.data_ptr(),
                           slots.data_ptr<int32_t>(), nullptr, nullptr, dx.data_ptr());
    return {dx, Tensor()};
  }
};

struct Combine : Function<Combine> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weights, std::optional<Tensor> base,
                        Tensor slots) {
    Tensor y = at::empty({slots.size(0), x.size(1)}, x.options());
    Launch(x, "combine")(&kernel::Table::combine, slots.size(0), x.size(1), slots.size(1), x.data_ptr(),
                         slots.data_ptr<int32_t>(), weights.data_ptr<float>(), base ? base->data_ptr() : nullptr,
                         y.data_ptr());
    ctx->save_for_backward({x, weights, slots});
    ctx->saved_data["base"] = base.has_value();
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weights = saved[1], &slots = saved[2], dy = grads[0].contiguous();
    Tensor dx = at::empty_like(x), dweights = at::empty_like(weights);
    Launch(x, "combine")(&kernel::Table::combine_backward, slots.size(0), x.size(1), slots.size(1), x.data_ptr(),
                         slots.data_ptr<int32_t>(), weights.data_ptr<float>(), dy.data_ptr(), dx.data_ptr(),
                         dweights.data_ptr<float>());
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
  if (!Launch(logits, "route").has(&kernel::Table::route)) return reference::route(logits, selection_bias, options);
  const auto carried = carry(RouterPlan{options, {}, {}});
  const auto out = Router::apply(logits.contiguous(), selection_bias.contiguous(), carried);
  return {out[2], out[0], out[1], std::move(carried->plan.slots), std::move(carried->plan.offsets)};
}

Tensor dispatch(const Tensor& x, const Routing& routing) {
  check_routing(x, routing, routing.slots.size(0), "dispatch");
  if (!Launch(x, "dispatch").has(&kernel::Table::dispatch)) return reference::dispatch(x, routing);
  return Dispatch::apply(x.contiguous(), routing.slots);
}

Tensor combine(const Tensor& x, const Routing& routing, const Tensor& base) {
  check_routing(x, routing, routing.slots.numel(), "combine");
  if (base.defined()) {
    require(base.dim() == 2 && base.size(0) == routing.slots.size(0) && base.size(1) == x.size(1), "combine",
            "expected base [", routing.slots.size(0), ", ", x.size(1), "], got ", base.sizes());
    require_alike(base, x, "combine", "base");
  }
  if (!Launch(x, "combine").has(&kernel::Table::combine)) return reference::combine(x, routing, base);
  return Combine::apply(x.contiguous(), routing.weights.contiguous(),
                        maybe(base.defined() ? base.contiguous() : base), routing.slots);
}

}  // namespace grpo
