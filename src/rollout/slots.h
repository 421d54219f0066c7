// The sequences that run, as tensors with a row for each slot: what a pass that decodes reads, and what the draws
// behind it bring forward by a token. The host writes a slot's row when a step begins, and reads what the slot drew when
// it is over; between two passes it has nothing to say. The tensors lie on the host, where the CPU's passes read them; a
// device's lie there for the time of a step (decoder.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "grpo/pass.h"
#include "kernels/draw.h"

namespace grpo {

struct Slots {
  PageTable table;   ///< of samples and of prompts, which are their parents
  Tensor tokens;     ///< [slots] int32: a sample's last token, which the next pass computes
  Tensor keys;       ///< [slots, kKeyColumns] int64: of its next draw, whose position is the number of its tokens
  Tensor limits;     ///< [slots] int32: with so many tokens it waits for the host
  Tensor ends;       ///< [vocab] bool: tokens that end a sequence
  Tensor counts;     ///< [slots] int32: how many it drew since the host last looked
  Tensor drawn;      ///< [slots, horizon] int32: which; −1: of a diverged policy
  Tensor logprobs, entropies;  ///< [slots, horizon] fp32
  std::vector<std::vector<int32_t>> kept;  ///< [slots · horizon], where sampling truncates

  /// None so far, of a policy's vocabulary and pages of so many tokens.
  Slots(int64_t page_size, int horizon, Tensor ends);

  int64_t size() const { return tokens.size(0); }
  int64_t horizon() const { return drawn.size(1); }

  /// Makes place for so many slots, of up to `pages` pages each. What there is stays.
  void fit(int64_t slots, int64_t pages);

  /// Writes a slot's place in the pages, of `length` tokens behind those of slot `parent` (−1: none).
  void place(int32_t slot, std::span<const int32_t> pages, int32_t length, int32_t parent);
  /// Writes what a sample draws with from here on, behind its last token so far, until it has `limit` tokens.
  void begin(int32_t slot, int32_t token, const int64_t* key, int32_t limit);

  /// A pass of the last tokens of `who`.
  PassBuilder decoding(std::span<const int32_t> who) const;
  /// The keys of their next draws: [who, kKeyColumns].
  Tensor keys_of(std::span<const int32_t> who) const;

  /// Takes a pass's tokens as stored in the pages.
  void lengthen(const PassBuilder& pass);
  /// Takes in the next token of each of `who` (−1: of nobody here, and left alone). Gives those that have neither ended
  /// nor come to their limit.
  std::vector<int32_t> advance(std::span<const int32_t> who, Drawn& next);
};

}  // namespace grpo
