// The rollout engine: tasks become groups of sampled completions. Continuous batching over a paged KV cache, with the
// policy's own weights and its own forward.
//
// A running completion has a slot: its place in the pages, its last token, the key of its next draw, where it must end.
// A step of the engine gives each of them up to `horizon` tokens, one pass behind the other, and only then are these
// looked at. End-of-sequence and the limit on tokens end a slot where it draws; stop strings are found afterwards, and
// what was drawn behind one is dropped.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "grpo/config.h"
#include "grpo/policy.h"
#include "grpo/sampling.h"
#include "grpo/task.h"
#include "grpo/tokenizer.h"

namespace grpo {

struct RolloutConfig {
  int samples = 8;
  int max_new_tokens = 128;
  SamplingConfig sampling;
  std::vector<std::string> stop;
  bool ignore_eos = false;
  int max_running_sequences = 256;
  int max_batch_tokens = 2048;
  int page_size = 16;
  int pages = 0;
  double cache_gigabytes = 1.0;
  /// No knobs. A program may have completions end where the policy's positions do, in place of refusing their prompts.
  bool ends_at_context = false;
  /// Tokens that a completion draws before the host looks at them; no completion depends on it. On the CPU, where a look
  /// costs nothing, 1 is the fastest: the place of what has ended is taken at once, and nothing is drawn in vain. Where a
  /// device brings sequences forward by itself 1 stands for 16.
  int horizon = 1;

  template <class V>
  void visit(V& v) {
    v("samples", samples, "completions of a task: the group size G", kSamples);
    v("max_new_tokens", max_new_tokens, "longest completion", kNewTokens);
    v("sampling", sampling, "temperature and truncation");
    v("stop", stop, "strings that end a completion; its text is cut before them, their tokens stay");
    v("ignore_eos", ignore_eos, "do not stop at end-of-sequence (for benchmarks)");
    v("max_running_sequences", max_running_sequences, "samples in the cache at one time", at_least(1).at_most(1 << 20));
    v("max_batch_tokens", max_batch_tokens, "tokens of one forward pass; longer prompts are prefilled in chunks",
      at_least(1).at_most(1 << 26));
    v("page_size", page_size, "tokens on a page of the KV cache, a multiple of 16 (on CUDA of 64: it is rounded up)",
      at_least(16).at_most(4096).multiple_of(16));
    v("pages", pages, "pages of the KV cache; 0: what the tasks need, up to cache_gigabytes",
      at_least(0).at_most(1 << 30));
    v("cache_gigabytes", cache_gigabytes, "limit of the KV cache when `pages` is 0", above(0).at_most(1e6));
  }
  /// Throws Error for an empty stop string and a horizon below 1.
  void validate() const;
};

/// Throws Error where no prompt at all could be answered by a policy of this shape: max_new_tokens that leave no room
/// for one, or a KV cache that does not hold the shortest and one completion. `name` is the config's own, in errors.
/// Rollout::refusal says it of each prompt.
void require_room(const RolloutConfig& config, const PolicyConfig& policy, std::string_view name = "rollout");

/// What the draws of one call are keyed by, beside sample, position and vocabulary id. `first_index` is the place of
/// the first task in the step's task list; `indices` (optional) gives each task a place of its own instead, < 2^24.
struct DrawStream {
  uint64_t seed = 0;
  Purpose purpose = Purpose::rollout;
  uint64_t step = 0;
  uint32_t first_index = 0;
  std::vector<uint32_t> indices = {};
};

struct RolloutStats {
  int64_t forward_passes = 0;
  int64_t prompt_tokens = 0;      ///< computed once per group, and not again unless pages ran out
  int64_t completion_tokens = 0;  ///< of the completions
  int64_t dropped_tokens = 0;     ///< drawn behind a stop string before it was found: below `horizon` a completion
  int64_t recomputed_tokens = 0;  ///< after preemption
  int64_t preemptions = 0;
  int peak_pages = 0, peak_running = 0;
};

class Engine;

class Rollout {
 public:
  /// Keeps references to `policy` (whose weights it reads at each step) and a copy of `tokenizer`.
  Rollout(const Policy& policy, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
          const RolloutConfig& config);
  ~Rollout();
  Rollout(Rollout&&) noexcept;

  using OnEnd = std::function<void(Group& group, std::size_t sample)>;
  using OnToken = std::function<void(const Group& group, std::size_t sample)>;

  /// Samples config.samples completions of every task. The result is a pure function of the weights, the tasks and
  /// `stream`: neither batch composition nor preemption change a token. `on_end` (optional) is told of each completion
  /// when it ends, `on_token` (optional) of each draw before that, on this thread; groups keep their place until the
  /// call returns, and the returned vector holds them at the same addresses. When the call throws, or what it tells
  /// does, they stay readable there until the next one. A token that is of the policy's vocabulary but not of the
  /// tokenizer's (a padded embedding) has no text. Throws Error, before anything is sampled, for a task that `refusal`
  /// has something to say about, and for draws beyond the places of their key (2^24 tasks, 2^32 steps).
  std::vector<Group> generate(const std::vector<Task>& tasks, const DrawStream& stream, const OnEnd& on_end = nullptr,
                              const OnToken& on_token = nullptr);

  /// The same from prompts that are tokens already, one for each task. Either throws Error while groups are under way.
  std::vector<Group> generate(const std::vector<Task>& tasks, const std::vector<std::vector<int32_t>>& prompts,
                              const DrawStream& stream, const OnEnd& on_end = nullptr,
                              const OnToken& on_token = nullptr);

  /// What generate is made of, for programs with a loop of their own:
  ///   for (Group& group : groups) rollout.submit(group, stream);
  ///   while (rollout.step())
  ///     for (const auto& [group, sample] : rollout.take_finished()) …
  /// Groups may be submitted at any time, one behind the other; the order, and what else runs, change no completion.

  /// Has config.samples completions sampled into `group`, whose task, place (`index`) and prompt are given. Until they
  /// have ended, or are cancelled, the group and its vector `completions` must keep their place. Of `stream` seed,
  /// purpose and step count. Throws Error, and submits nothing, where generate would throw.
  void submit(Group& group, const DrawStream& stream);

  /// Gives everything that runs up to config.horizon tokens, oldest groups first where not all can run; false when
  /// nothing is under way. Throws Error when the policy has diverged, or is of another version than the one that groups
  /// under way were begun with, whose keys and values lie in the cache. When it throws, or `on_token` does, cancel().
  bool step(const OnToken& on_token = nullptr);

  struct Ended {
    Group* group;
    std::size_t sample;
  };
  /// The completions that have ended since the last call, in the order in which they did.
  std::vector<Ended> take_finished();

  /// Forgets what is under way, and what has finished and was not taken. The groups stay as they are.
  void cancel();

  int unfinished() const;  ///< completions under way

  /// Why generate would refuse a task, or a prompt: a chat template that cannot render it, no tokens, one that the
  /// policy does not know, or too many for the policy or the cache. "" where it would not.
  std::string refusal(const Task& task) const;
  std::string refusal(const std::vector<int32_t>& prompt) const;

  /// Of the last call of generate; else since there was nothing under way.
  const RolloutStats& stats() const;
  const RolloutConfig& config() const { return config_; }

 private:
  const Policy& policy_;
  Tokenizer tokenizer_;
  ChatTemplate chat_template_;
  RolloutConfig config_;
  std::unique_ptr<Engine> engine_;
  std::vector<Group> groups_;  // of the call under way; still there after a throw, for those whom on_end told of them
};

}  // namespace grpo
