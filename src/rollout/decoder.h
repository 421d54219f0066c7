// Slots that a device brings forward by itself: what a decoding pass reads and writes lies there, the pass is a graph that
// was recorded once for so many rows, and the host launches as many as it likes before it looks at what they drew.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "grpo/policy.h"
#include "grpo/sampling.h"
#include "kernels/backend.h"
#include "rollout/slots.h"

namespace grpo {

class Decoder {
 public:
  /// Whether the kernels of this policy's device can, with such draws.
  static bool serves(const Policy& policy, const SamplingConfig& sampling);

  /// Keeps references to all.
  Decoder(const Policy& policy, const SamplingConfig& sampling, KvPages& pages, Slots& slots);

  /// Takes the slots as the host has written them to the device.
  void enter();
  /// Where they lie there.
  const PageTable& table() const { return table_; }
  /// Takes a pass's tokens as stored in the pages.
  void lengthen(const Pass& pass);
  /// Takes in the next token of each of `who` (−1: of nobody here, and left alone).
  void advance(std::span<const int32_t> who, const Drawn& next);
  /// Gives each of `who` up to so many further tokens, of which each is computed and the next drawn.
  void decode(std::span<const int32_t> who, int tokens);
  /// Takes them back to the host, when all is done.
  void leave();

 private:
  struct Recording {
    Tensor who;  // [rows]
    Tensor tokens, positions, slots, draw_rows, keys, drawn, logprobs, entropies;
    Pass pass;
    std::unique_ptr<kernel::Graph> graph;
  };
  Recording& recording(int64_t rows);
  void forward(Recording& of);
  void fit();
  std::vector<const void*> places() const;
  kernel::Slots arguments() const;
  kernel::Draws draws(const Recording& of) const;

  const Policy& policy_;
  const SamplingConfig sampling_;
  KvPages& pages_;
  Slots& host_;
  PageTable table_;  // and further rows of the slots, as in Slots
  Tensor tokens_, keys_, limits_, ends_, waiting_, counts_, drawn_, logprobs_, entropies_;
  std::map<int64_t, Recording> recordings_;  // by rows
  std::vector<const void*> places_;         // of pages and of what is trained, as the recordings know them
};

}  // namespace grpo
