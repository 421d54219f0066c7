#include <cmath>

#include "kernels/cpu/cpu.h"
#include "kernels/op.h"

namespace grpo::reference {
namespace {

// Rows of q [rows, heads, d] against gathered keys: run r's queries see rows visible[r] of keys (all but the
// last `count - 1 - i` of them for its i-th query). Padded to the longest run. Rows of no run, and of runs that see
// nothing, get zeros.
Tensor ragged_attention(const Tensor& q, const Tensor& keys, const Tensor& values, const HeadLayout& layout,
                        const std::vector<std::vector<int64_t>>& visible, const std::vector<int32_t>& starts) {
  const int64_t runs = static_cast<int64_t>(visible.size()), heads = q.size(1), d = q.size(2),
                group = heads / keys.size(1);
  int64_t longest = 1, most = 1;
  for (int64_t r = 0; r < runs; ++r) {
    longest = std::max<int64_t>(longest, starts[r + 1] - starts[r]);
    most = std::max<int64_t>(most, static_cast<int64_t>(visible[r].size()));
  }
  Tensor query_rows = at::zeros({runs, longest}, at::kLong), key_rows = at::zeros({runs, most}, at::kLong);
  Tensor allowed = at::zeros({runs, longest}, at::kLong);  // how many keys the query sees
  std::vector<int64_t> live, from;                         // rows of q that see something, and their padded index
  for (int64_t r = 0; r < runs; ++r) {
    const int64_t count = starts[r + 1] - starts[r], seen = static_cast<int64_t>(visible[r].size());
    for (int64_t i = 0; i < count; ++i) {
      query_rows.data_ptr<int64_t>()[r * longest + i] = starts[r] + i;
      allowed.data_ptr<int64_t>()[r * longest + i] = seen - (count - 1 - i);
      if (seen > 0) live.push_back(starts[r] + i), from.push_back(r * longest + i);
    }
    std::copy(visible[r].begin(), visible[r].end(), key_rows.data_ptr<int64_t>() + r * most);
  }
  const auto device = q.device();
  const Tensor padded_q =
      q.index_select(0, query_rows.flatten().to(device)).view({runs, longest, heads, d}).transpose(1, 2);
  const auto gather = [&](const Tensor& rows) {
    return rows.index_select(0, key_rows.flatten().to(device))
        .view({runs, most, rows.size(1), rows.size(2)})
        .transpose(1, 2)
        .repeat_interleave(group, 1);
  };
  // Padding queries see nothing; give them one key so that no row is all −inf.
  const Tensor mask =
      at::arange(most, at::kLong).view({1, 1, 1, most}).lt(allowed.clamp_min(1).view({runs, 1, longest, 1})).to(device);
  const Tensor scores = at::matmul(padded_q.to(at::kFloat), gather(keys).to(at::kFloat).transpose(2, 3)) *
                        (layout.scale > 0 ? layout.scale : 1.0 / std::sqrt(static_cast<double>(d)));
  const Tensor p = at::softmax(scores.masked_fill(mask.logical_not(), -INFINITY), -1);
  const Tensor out =
      at::matmul(p, gather(values).to(at::kFloat)).transpose(1, 2).reshape({runs * longest, heads * values.size(2)});
  const auto index = [&](const std::vector<int64_t>& rows) { return at::tensor(rows, at::kLong).to(device); };
  return at::zeros({q.size(0), out.size(1)}, out.options())
      .index_copy(0, index(live), out.index_select(0, index(from)))
      .to(q.scalar_type());
}

// The values in rows of heads [tokens, heads of all kinds, head_dim].
Tensor values_of(const Tensor& heads, const HeadLayout& layout) {
  if (layout.latent > 0) return heads.narrow(1, layout.heads, layout.kv_heads).narrow(2, 0, layout.latent);
  return heads.narrow(1, layout.heads + layout.kv_heads, layout.kv_heads);
}

}  // namespace

Tensor attention(const Tensor& qkv, const Pass& pass, const HeadLayout& layout, const SharedRows& first) {
  if (first.rows.defined()) {
    Tensor rows = first.rows.detach();
    if (first.gradient.defined()) {
      rows.requires_grad_(true).set_grad_dtype(at::kFloat);
      rows.mutable_grad() = first.gradient;
    }
    return reference::attention(at::cat({rows, qkv}), pass, layout).slice(0, rows.size(0));
  }
  if (first.gradient.defined() && qkv.requires_grad())
    qkv.register_hook([sum = first.gradient](const Tensor& gradient) {
      Tensor whole = gradient.clone();
      whole.narrow(0, 0, sum.size(0)).add_(sum);
      return whole;
    });
  const std::vector<int32_t>&starts = pass.host_starts, &parents = pass.host_parents;
  const Tensor heads = qkv.view({qkv.size(0), qkv.size(1) / layout.head_dim, layout.head_dim});
  std::vector<std::vector<int64_t>> visible(parents.size());
  for (size_t s = 0; s < parents.size(); ++s) {
    if (parents[s] >= 0)
      for (int32_t row = starts[parents[s]]; row < starts[parents[s] + 1]; ++row) visible[s].push_back(row);
    for (int32_t row = starts[s]; row < starts[s + 1]; ++row) visible[s].push_back(row);
  }
  return ragged_attention(heads.narrow(1, 0, layout.heads), heads.narrow(1, layout.heads, layout.kv_heads),
                          values_of(heads, layout), layout, visible, starts);
}

Tensor paged_attention(const Tensor& qkv, const LayerPages& pages, const Pass& pass, const PageTable& table,
                       const HeadLayout& layout) {
  const Tensor heads = qkv.view({qkv.size(0), qkv.size(1) / layout.head_dim, layout.head_dim});
  const int64_t size = table.page_size, most = table.pages.size(1);
  const Tensor slots = pass.slots.cpu(), lists = table.pages.cpu(), lengths = table.lengths.cpu(),
               parents = table.parents.cpu();
  std::vector<std::vector<int64_t>> visible(pass.segments());
  std::vector<int64_t> read, written, live;  // places of keys: page · page_size + row; rows of qkv that are stored
  for (size_t r = 0; r < visible.size(); ++r) {
    const int32_t slot = slots.data_ptr<int32_t>()[r], first_row = pass.host_starts[r],
                  count = pass.host_starts[r + 1] - first_row;
    if (slot < 0) continue;
    const auto see = [&](int32_t owner, int32_t i) {
      visible[r].push_back(static_cast<int64_t>(read.size()));
      read.push_back(lists.data_ptr<int32_t>()[owner * most + i / size] * size + i % size);
    };
    const int32_t parent = parents.data_ptr<int32_t>()[slot], first = lengths.data_ptr<int32_t>()[slot];
    for (int32_t i = 0; parent >= 0 && i < lengths.data_ptr<int32_t>()[parent]; ++i) see(parent, i);
    for (int32_t i = 0; i < first + count; ++i) {
      see(slot, i);
      if (i >= first) written.push_back(read.back()), live.push_back(first_row + i - first);
    }
  }
  // Both kinds of page, laid out as on the CPU, seen as [pages, rows, kv_heads, head_dim].
  const int64_t block = cpu::kKeyBlock, count = pages.count(), kv_heads = layout.kv_heads, d = layout.head_dim;
  const Tensor values = pages.values.view({count, kv_heads, size, d}).transpose(1, 2);
  const auto places = [&](const std::vector<int64_t>& list, bool blocked) {
    const Tensor at_place = at::tensor(list, at::kLong).to(qkv.device());
    const Tensor page = at_place.floor_divide(size), row = at_place.remainder(size);
    c10::List<std::optional<Tensor>> where;
    where.push_back(page);
    if (blocked) where.push_back(row.floor_divide(block));
    where.push_back(blocked ? row.remainder(block) : row);
    return where;
  };
  const Tensor rows = heads.index_select(0, at::tensor(live, at::kLong).to(qkv.device()));
  const Tensor queries = heads.narrow(1, 0, layout.heads), new_keys = rows.narrow(1, layout.heads, layout.kv_heads);
  if (layout.latent > 0) {
    values.index_put_(places(written, false), new_keys);
    const Tensor latents = values.index(places(read, false));
    return ragged_attention(queries, latents, latents.narrow(2, 0, layout.latent), layout, visible, pass.host_starts);
  }
  const Tensor keys = pages.keys.view({count, kv_heads, size / block, d, block}).permute({0, 2, 4, 1, 3});
  keys.index_put_(places(written, true), new_keys);
  values.index_put_(places(written, false), values_of(rows, layout));
  return ragged_attention(queries, keys.index(places(read, true)), values.index(places(read, false)), layout, visible,
                          pass.host_starts);
}

}  // namespace grpo::reference
