// Continuous batching over a paged KV cache: groups of prompts go in, their completions come out, a horizon of tokens
// at a time. The scheduler says what a step computes; the slots hold what its passes read and bring forward; here the
// passes are run, and what they drew is looked at when the step is over: only then are stop strings looked for, and
// whatever was drawn behind one is dropped. A draw depends on its key and its logits alone, so that nobody else notices.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/philox.h"
#include "grpo/rollout.h"
#include "rollout/decoder.h"
#include "rollout/slots.h"
#include "schedule/scheduler.h"

namespace grpo {

/// Of so many tokens of one segment.
inline int64_t pages_of(const RolloutConfig& config, int64_t tokens) {
  return (tokens + config.page_size - 1) / config.page_size;
}

class Engine {
 public:
  /// Keeps a reference to `policy`, whose weights it reads at each step, and a cache of up to `most_pages`.
  Engine(const Policy& policy, const Tokenizer& tokenizer, const RolloutConfig& config, int64_t most_pages);

  /// See Rollout, whose members these are; `key` is that of the group's draws, but for sample and position.
  void submit(Group& group, const DrawKey& key, int max_new_tokens);
  bool step(const Rollout::OnToken& on_token);
  std::vector<Rollout::Ended> take_finished() { return std::exchange(finished_, {}); }
  void cancel();

  int unfinished() const { return scheduler_ ? scheduler_->unfinished() : 0; }
  const RolloutStats& stats() const { return stats_; }

 private:
  // A group under way.
  struct Running {
    Group* group;
    DrawKey key;
    int max_new_tokens;
    int unfinished;
    int64_t pages;                  // that it takes when all its completions run to their end
    std::vector<TextStream> texts;  // of the completions, where stop strings are looked for
  };
  // The draws behind a pass.
  struct Due {
    std::vector<int64_t> rows;   // of the pass, whose logits are needed
    std::vector<int32_t> from;   // [draws] which of these
    std::vector<int32_t> slots;  // [draws] whose; −1: of a sample without one, whose prompt is complete now
    Tensor keys;                 // [draws, kKeyColumns]
  };
  // What a sample drew in a step.
  struct News {
    int32_t count;
    const int32_t* tokens;
    const float* logprobs;
    const float* entropies;
    std::vector<int32_t>* kept;  // null: nothing truncates
  };

  void start_anew();
  void fit_pages();
  PassBuilder first_pass(const std::vector<Work>& work, Due& due);
  Drawn forward(const PassBuilder& pass, const Due& due);
  Drawn run(const std::vector<Work>& work);
  Drawn run_there(const std::vector<Work>& work);
  std::vector<int32_t> decode(const std::vector<int32_t>& who);
  void look(const std::vector<Work>& work, Drawn& first, const Rollout::OnToken& on_token);
  void take_in(int number, int sample, const News& news, const Rollout::OnToken& on_token);
  bool ends(Running& running, int sample) const;

  const Policy& policy_;
  Tokenizer tokenizer_;
  RolloutConfig config_;
  int64_t most_pages_;
  KvPages pages_;                       // kept when nothing is under way; what they hold is dropped
  std::optional<Scheduler> scheduler_;  // of what is under way
  std::optional<Slots> slots_;
  std::optional<Decoder> decoder_;  // of a device that brings the slots forward by itself
  std::map<int, Running> running_;  // by the scheduler's number
  int64_t wanted_pages_ = 0;        // of all that is under way
  int64_t longest_ = 1;             // pages of a segment
  std::vector<Rollout::Ended> finished_;
  RolloutStats stats_;
};

}  // namespace grpo
