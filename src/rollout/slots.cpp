#include "rollout/slots.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "base/philox.h"

namespace grpo {
namespace {

Tensor ints(at::IntArrayRef shape) { return at::zeros(shape, at::kInt); }

// With zeros where there was nothing.
Tensor resized(const Tensor& t, std::vector<int64_t> shape) {
  Tensor larger = at::zeros(shape, t.options());
  Tensor old = larger;
  for (int64_t d = 0; d < t.dim(); ++d) old = old.narrow(d, 0, t.size(d));
  old.copy_(t);
  return larger;
}

}  // namespace

Slots::Slots(int64_t page_size, int horizon, Tensor ends_)
    : table{page_size, ints({0, 0}), ints({0}), ints({0})},
      tokens(ints({0})),
      keys(at::zeros({0, kKeyColumns}, at::kLong)),
      limits(ints({0})),
      ends(std::move(ends_)),
      counts(ints({0})),
      drawn(ints({0, horizon})),
      logprobs(at::zeros({0, horizon}, at::kFloat)),
      entropies(logprobs.clone()) {}

void Slots::fit(int64_t slots, int64_t pages) {
  const int64_t most = std::max(pages, table.pages.size(1));
  if (slots <= size() && most == table.pages.size(1)) return;
  slots = std::max(slots, size());
  table.pages = resized(table.pages, {slots, most});
  for (Tensor* t : {&table.lengths, &table.parents, &tokens, &limits, &counts}) *t = resized(*t, {slots});
  for (Tensor* t : {&keys, &drawn, &logprobs, &entropies}) *t = resized(*t, {slots, t->size(1)});
}

void Slots::place(int32_t slot, std::span<const int32_t> pages, int32_t length, int32_t parent) {
  std::copy(pages.begin(), pages.end(), table.pages.data_ptr<int32_t>() + slot * table.pages.size(1));
  table.lengths.data_ptr<int32_t>()[slot] = length;
  table.parents.data_ptr<int32_t>()[slot] = parent;
}

void Slots::begin(int32_t slot, int32_t token, const int64_t* key, int32_t limit) {
  tokens.data_ptr<int32_t>()[slot] = token;
  std::copy_n(key, kKeyColumns, keys.data_ptr<int64_t>() + slot * kKeyColumns);
  limits.data_ptr<int32_t>()[slot] = limit;
  counts.data_ptr<int32_t>()[slot] = 0;
}

PassBuilder Slots::decoding(std::span<const int32_t> who) const {
  PassBuilder pass;
  const int32_t *lengths = table.lengths.data_ptr<int32_t>(), *parents = table.parents.data_ptr<int32_t>();
  for (const int32_t slot : who)
    pass.add_to_slot({tokens.data_ptr<int32_t>() + slot, 1}, lengths[parents[slot]] + lengths[slot], slot);
  return pass;
}

Tensor Slots::keys_of(std::span<const int32_t> who) const {
  Tensor some = at::empty({static_cast<int64_t>(who.size()), kKeyColumns}, at::kLong);
  int64_t* to = some.data_ptr<int64_t>();
  for (const int32_t slot : who) to = std::copy_n(keys.data_ptr<int64_t>() + slot * kKeyColumns, kKeyColumns, to);
  return some;
}

void Slots::lengthen(const PassBuilder& pass) {
  int32_t* lengths = table.lengths.data_ptr<int32_t>();
  for (size_t s = 0; s < pass.slots.size(); ++s) lengths[pass.slots[s]] += pass.starts[s + 1] - pass.starts[s];
}

std::vector<int32_t> Slots::advance(std::span<const int32_t> who, Drawn& next) {
  const Tensor next_tokens = next.tokens.cpu(), next_logprobs = next.logprobs.cpu(),
               next_entropies = next.entropies.cpu();
  if (!next.kept.empty()) kept.resize(size() * horizon());
  std::vector<int32_t> go_on;
  for (size_t i = 0; i < who.size(); ++i) {
    const int32_t slot = who[i], token = next_tokens.data_ptr<int32_t>()[i];
    if (slot < 0) continue;
    const int64_t place = slot * horizon() + counts.data_ptr<int32_t>()[slot]++;
    drawn.data_ptr<int32_t>()[place] = tokens.data_ptr<int32_t>()[slot] = token;
    logprobs.data_ptr<float>()[place] = next_logprobs.data_ptr<float>()[i];
    entropies.data_ptr<float>()[place] = next_entropies.data_ptr<float>()[i];
    if (!next.kept.empty()) kept[place] = std::move(next.kept[i]);
    const int64_t count = ++keys.data_ptr<int64_t>()[slot * kKeyColumns + kPositionColumn];
    if (token >= 0 && !ends.data_ptr<bool>()[token] && count < limits.data_ptr<int32_t>()[slot])
      go_on.push_back(slot);
  }
  return go_on;
}

}  // namespace grpo
