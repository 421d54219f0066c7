// One description of a forward pass over a ragged batch, made once for all layers and resident where ops run; and where
// the sequences of a pass that samples lie in pages.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <span>
#include <vector>

namespace grpo {

using at::Tensor;

/// Segments laid end to end, nothing between them. Segment s holds rows starts[s] … starts[s + 1]. When training it
/// attends first to all of segment parents[s], unless that is −1, then to itself; a parent has no parent itself, and its
/// children follow it at once: a family lies in one piece. When sampling a segment is the new tokens of a sequence, which
/// attend to what the pages of slot slots[s] hold (see PageTable). A group is one prompt and G completions whose parent
/// it is. Rows behind the last segment are inert: no attention, no page, no expert's load.
struct Pass {
  Tensor tokens;     ///< [capacity] int32
  Tensor positions;  ///< [capacity] int32, a child's going on where its parent's end
  Tensor starts;     ///< [segments + 1] int32
  Tensor parents;    ///< [segments] int32; undefined when sampling
  Tensor slots;      ///< [segments] int32; undefined when training
  Tensor families;   ///< [families + 1] int32: segments families[f] … families[f + 1] are a family; undefined when sampling

  /// Of a pass over a token each of running slots, as a device makes it for its kernels of attention; else undefined.
  Tensor siblings;

  /// `starts` and `parents` as the host made them: what sizes launches, and is checked before any.
  std::vector<int32_t> host_starts{0}, host_parents;
  int64_t shared = 0;  ///< rows of segment 0 that are not among the tokens, as other passes share them (SharedRows)

  int64_t capacity() const { return tokens.size(0); }
  int64_t segments() const { return static_cast<int64_t>(host_starts.size()) - 1; }
  int64_t live() const { return host_starts.back() - shared; }  ///< tokens of segments; those behind them are inert
};

/// A pass in the making.
struct PassBuilder {
  std::vector<int32_t> tokens, positions, starts{0}, parents, slots;
  int64_t shared = 0;

  /// Adds a segment whose tokens stand at positions `first` …, and gives its number.
  int32_t add(std::span<const int32_t> segment, int32_t first = 0, int32_t parent = -1);
  /// Adds new tokens of the sequence in a slot. A pass has segments of one of these kinds.
  void add_to_slot(std::span<const int32_t> segment, int32_t first, int32_t slot);
  /// Adds a first segment of so many shared rows.
  void add_shared(int64_t rows);

  /// Throws Error for segments that do not fit together.
  Pass build(at::Device device = at::kCPU) const;
};

/// Where running sequences lie in pages: one row a slot. A sequence is what lies in its own slot behind what lies in its
/// parent's, as a completion behind its group's prompt; a parent has none itself.
struct PageTable {
  int64_t page_size = 0;
  Tensor pages;    ///< [slots, most pages] int32: token i of a slot lies on page pages[slot, i / page_size]
  Tensor lengths;  ///< [slots] int32: tokens that lie there already, before the pass
  Tensor parents;  ///< [slots] int32; −1: none
};

}  // namespace grpo
