#include "rollout/decoder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>
#include <vector>

#include "base/philox.h"
#include "kernels/op.h"

namespace grpo {
namespace {

// Rows of a recording: few sizes, an eighth of a power of two apart and no less than 8.
int64_t rows_for(int64_t count) {
  if (count <= 4) return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(count)));
  const auto eighth = static_cast<int64_t>(std::max<uint64_t>(8, std::bit_ceil(static_cast<uint64_t>(count)) / 8));
  return (count + eighth - 1) / eighth * eighth;
}

}  // namespace

bool Decoder::serves(const Policy& policy, const SamplingConfig& sampling) {
  const kernel::Table* kernels = kernels_of(policy.device(), policy.parameters().front().second.scalar_type());
  return kernels && kernels->next_pass && !sampling.truncates() && policy.config().dtype == DType::bfloat16 &&
         attends(kernels, kernel::Type::bf16, policy.config().layout());
}

Decoder::Decoder(const Policy& policy, const SamplingConfig& sampling, KvPages& pages, Slots& slots)
    : policy_(policy), sampling_(sampling), pages_(pages), host_(slots) {
  ends_ = host_.ends.to(policy_.device());
}

// Room for the host's slots, with some to spare: whatever grows makes recordings void.
void Decoder::fit() {
  const int64_t slots = host_.size(), most = host_.table.pages.size(1);
  const bool fits = tokens_.defined() && slots <= tokens_.size(0) && most <= table_.pages.size(1);
  if (!fits) {
    const auto up = [](int64_t n) { return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(n, 8)))); };
    const int64_t n = up(slots), horizon = host_.horizon();
    const auto ints = at::TensorOptions(policy_.device()).dtype(at::kInt);
    table_ = {host_.table.page_size, at::zeros({n, up(most)}, ints), at::zeros({n}, ints), at::zeros({n}, ints)};
    tokens_ = at::zeros({n}, ints), limits_ = at::zeros({n}, ints), counts_ = at::zeros({n}, ints);
    keys_ = at::zeros({n, kKeyColumns}, ints.dtype(at::kLong));
    waiting_ = at::zeros({n}, ints.dtype(at::kBool));
    drawn_ = at::zeros({n, horizon}, ints);
    logprobs_ = at::zeros({n, horizon}, ints.dtype(at::kFloat)), entropies_ = at::zeros_like(logprobs_);
  }
  std::vector<const void*> now = places();
  if (!fits || now != places_) recordings_.clear();
  places_ = std::move(now);
}

std::vector<const void*> Decoder::places() const {
  std::vector<const void*> places;
  for (const LayerPages& layer : pages_) {
    places.push_back(layer.values.data_ptr());
    places.push_back(layer.keys.defined() ? layer.keys.data_ptr() : nullptr);
  }
  for (const auto& [name, weight] : policy_.parameters()) places.push_back(weight.data_ptr());
  return places;
}

void Decoder::enter() {
  fit();
  const int64_t slots = host_.size();
  table_.pages.narrow(0, 0, slots).narrow(1, 0, host_.table.pages.size(1)).copy_(host_.table.pages);
  const auto copy = [slots](const Tensor& to, const Tensor& from) { to.narrow(0, 0, slots).copy_(from); };
  copy(table_.lengths, host_.table.lengths), copy(table_.parents, host_.table.parents);
  copy(tokens_, host_.tokens), copy(keys_, host_.keys), copy(limits_, host_.limits);
  counts_.zero_(), waiting_.zero_();
}

void Decoder::leave() {
  const int64_t slots = host_.size();
  const auto copy = [slots](const Tensor& to, const Tensor& from) { to.copy_(from.narrow(0, 0, slots)); };
  copy(host_.table.lengths, table_.lengths), copy(host_.tokens, tokens_), copy(host_.keys, keys_);
  copy(host_.counts, counts_), copy(host_.drawn, drawn_);
  copy(host_.logprobs, logprobs_), copy(host_.entropies, entropies_);
}

kernel::Slots Decoder::arguments() const {
  return {drawn_.size(1),
          table_.lengths.data_ptr<int32_t>(),
          table_.parents.data_ptr<int32_t>(),
          tokens_.data_ptr<int32_t>(),
          keys_.data_ptr<int64_t>(),
          limits_.data_ptr<int32_t>(),
          ends_.data_ptr<bool>(),
          waiting_.data_ptr<bool>(),
          counts_.data_ptr<int32_t>(),
          drawn_.data_ptr<int32_t>(),
          logprobs_.data_ptr<float>(),
          entropies_.data_ptr<float>()};
}

void Decoder::lengthen(const Pass& pass) {
  table_.lengths.index_add_(0, pass.slots.to(at::kLong), pass.starts.diff());
}

void Decoder::advance(std::span<const int32_t> who, const Drawn& next) {
  const Tensor slots = at::tensor(at::ArrayRef<int32_t>(who.data(), who.size()), at::kInt).to(policy_.device());
  Launch(next.logprobs, "rollout")(&kernel::Table::take_drawn, arguments(), slots.size(0), slots.data_ptr<int32_t>(),
                                   next.tokens.data_ptr<int32_t>(), next.logprobs.data_ptr<float>(),
                                   next.entropies.data_ptr<float>(), 0);
}

kernel::Draws Decoder::draws(const Recording& of) const {
  return {of.who.size(0),
          of.draw_rows.data_ptr<int32_t>(),
          of.keys.data_ptr<int64_t>(),
          sampling_.scale(),
          sampling_.temperature == 0,
          of.drawn.data_ptr<int32_t>(),
          of.logprobs.data_ptr<float>(),
          of.entropies.data_ptr<float>()};
}

// One pass and its draws, all of it on the device.
void Decoder::forward(Recording& of) {
  const int64_t rows = of.who.size(0);
  const Launch run(of.logprobs, "rollout");
  const HeadLayout layout = policy_.config().layout();
  run(&kernel::Table::next_pass, arguments(), rows, of.who.data_ptr<int32_t>(),
      static_cast<int>(std::max<int64_t>(1, run.table().query_columns * layout.kv_heads / layout.heads)), of.tokens.data_ptr<int32_t>(),
      of.positions.data_ptr<int32_t>(), of.slots.data_ptr<int32_t>(), of.draw_rows.data_ptr<int32_t>(),
      of.keys.data_ptr<int64_t>(), of.pass.siblings.data_ptr<int32_t>());
  const KvView view{&pages_, &table_};
  const Tensor logits = policy_.logits(policy_.hidden(of.pass, &view));
  run(&kernel::Table::sample, draws(of), logits.size(1), logits.data_ptr<float>());
  run(&kernel::Table::take_drawn, arguments(), rows, of.slots.data_ptr<int32_t>(), of.drawn.data_ptr<int32_t>(),
      of.logprobs.data_ptr<float>(), of.entropies.data_ptr<float>(), 1);
}

Decoder::Recording& Decoder::recording(int64_t rows) {
  Recording& of = recordings_[rows];
  if (of.graph) return of;
  const auto ints = at::TensorOptions(policy_.device()).dtype(at::kInt);
  of.who = at::full({rows}, -1, ints);
  of.tokens = at::zeros({rows}, ints), of.positions = at::zeros({rows}, ints), of.slots = at::zeros({rows}, ints);
  of.draw_rows = at::zeros({rows}, ints), of.drawn = at::zeros({rows}, ints);
  of.keys = at::zeros({rows, kKeyColumns}, ints.dtype(at::kLong));
  of.logprobs = at::zeros({rows}, ints.dtype(at::kFloat)), of.entropies = at::zeros_like(of.logprobs);
  of.pass.tokens = of.tokens, of.pass.positions = of.positions, of.pass.slots = of.slots;
  of.pass.starts = at::arange(rows + 1, ints), of.pass.siblings = at::zeros({1 + 3 * rows}, ints);
  of.pass.host_starts.resize(rows + 1);
  std::iota(of.pass.host_starts.begin(), of.pass.host_starts.end(), 0);
  forward(of);  // of nobody: whatever a first call sets up is not recorded
  of.graph = record(policy_.device(), [&] { forward(of); });
  return of;
}

void Decoder::decode(std::span<const int32_t> who, int tokens) {
  if (tokens <= 0 || who.empty()) return;
  Recording& of = recording(rows_for(static_cast<int64_t>(who.size())));
  std::vector<int32_t> padded(who.begin(), who.end());
  padded.resize(of.who.size(0), -1);
  of.who.copy_(at::tensor(padded, at::kInt));
  for (int i = 0; i < tokens; ++i) of.graph->replay();
}

}  // namespace grpo
