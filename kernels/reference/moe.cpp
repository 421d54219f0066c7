#include <algorithm>
#include <cmath>

#include "kernels/op.h"
#include "kernels/routing.h"

namespace grpo::reference {
namespace {

// Where the k largest of the last dimension are, as on the CPU: ties by the lower index, which at::topk leaves open,
// and NaN first.
Tensor largest(const Tensor& x, int64_t k) {
  return std::get<1>(at::sort(x, /*stable=*/true, /*dim=*/-1, /*descending=*/true)).narrow(-1, 0, k);
}

// Rows sorted by expert: fills slots and offsets from the chosen experts.
void sort_rows(Routing& routing, int64_t experts) {
  const Tensor chosen = routing.experts.cpu().contiguous();
  Tensor slots = at::empty_like(chosen), offsets = at::empty({experts + 1}, at::kInt);
  assign_slots(chosen.data_ptr<int32_t>(), chosen.numel(), experts, slots.data_ptr<int32_t>(),
               offsets.data_ptr<int32_t>());
  routing.slots = slots.to(routing.experts.device());
  routing.offsets = offsets.to(routing.experts.device());
}

// Token of each row of the expert-sorted batch.
Tensor tokens_of_rows(const Routing& routing) {
  Tensor tokens = at::empty({routing.slots.numel()}, routing.slots.options().dtype(at::kLong));
  return tokens.scatter_(0, routing.slots.flatten().to(at::kLong),
                         at::arange(routing.slots.numel(), tokens.options()).floor_divide(routing.slots.size(1)));
}

}  // namespace

Routing route(const Tensor& logits, const Tensor& selection_bias, const RouterOptions& options) {
  const Tensor scores = options.scoring == Scoring::softmax ? at::softmax(logits, -1) : at::sigmoid(logits);
  Tensor choice = (scores + selection_bias).detach();
  if (options.groups_per_token < options.groups) {
    const Tensor grouped = choice.view({choice.size(0), options.groups, -1});
    const Tensor value = std::get<0>(at::topk(grouped, std::min<int64_t>(options.group_best, grouped.size(2)), -1)).sum(-1);
    const Tensor kept = largest(value, options.groups_per_token);
    const Tensor outside = at::ones_like(value, at::kBool).scatter_(1, kept, false);
    choice = grouped.masked_fill(outside.unsqueeze(-1), -INFINITY).view_as(choice);
  }
  const Tensor experts = largest(choice, options.experts_per_token);
  Tensor weights = scores.gather(-1, experts);
  if (options.normalize) weights = weights / (weights.sum(-1, true) + kTiny);
  Routing routing{experts.to(at::kInt), weights * options.scaling, scores, {}, {}};
  sort_rows(routing, logits.size(1));
  return routing;
}

Tensor dispatch(const Tensor& x, const Routing& routing) { return x.index_select(0, tokens_of_rows(routing)); }

Tensor combine(const Tensor& x, const Routing& routing, const Tensor& base) {
  const Tensor rows =
      x.index_select(0, routing.slots.flatten()).view({routing.slots.size(0), routing.slots.size(1), x.size(1)});
  Tensor y = (rows.to(at::kFloat) * routing.weights.unsqueeze(-1)).sum(1);
  if (base.defined()) y = y + base.to(at::kFloat);
  return y.to(x.scalar_type());
}

}  // namespace grpo::reference
