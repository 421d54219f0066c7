// Continuous batching over integers: which tokens of which sequences the next step computes, and on which pages of the
// KV cache. No tensors, no tokens' values; the rollout engine runs the work and tells what it drew.
//
// A step is one forward pass over chunks of prompts and a token of each running sample, and behind it as many passes
// over the running samples alone as the horizon has further tokens. Their pages are reserved before the first of them,
// so that nothing has to be decided between two passes: what was drawn need be known here at the end of the step only.
// A sample may end in the middle of it, and tokens that were drawn behind its end were never there.
//
// A group is one prompt and its samples. The prompt is computed once, its pages are read by all of the group's samples,
// and the first token of each is drawn from its last row. A sample's own tokens lie on pages of its own, so nothing is
// copied.
//
// Everything has one order, oldest first: by group, and within a group the prompt and then the samples. Older goes
// first into the budget and the running set, and may take the pages of younger:
//   - a running sample that needs a page when none is free preempts the youngest holder of pages, and waits as it is
//     when it is the youngest itself. Preempted, a sample loses its cached tokens but not the drawn ones:
//     readmitted, it recomputes them (the same bits: see rollout) and draws on from there;
//   - the youngest holder is a prompt when none of its samples runs: it is released, and computed again later without
//     drawing again.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace grpo {

struct SchedulerConfig {
  int page_size = 16;             ///< tokens on one page
  int num_pages = 0;              ///< pages in the KV cache
  int max_running_sequences = 0;  ///< samples that hold pages at the same time
  int max_batch_tokens = 0;       ///< tokens of one pass: decoding first, the rest for prompts and recomputation
  int horizon = 1;                ///< tokens that a running sample may draw in one step
};

/// One segment's share of a step's first pass: compute its tokens first … first + count − 1. They attend to the whole
/// prompt (for a sample) and to the segment's tokens up to themselves; token i of a segment lies on page
/// pages[i / page_size], row i % page_size. The span is valid until the next call of next() or finish().
///
/// A segment has a slot, a number of its own, for as long as it holds pages: the row of a page table that lives longer
/// than a step. `pages` only grows meanwhile.
struct Work {
  int group;
  int sample;  ///< −1: the prompt
  int first, count;
  int draws;  ///< not 0: the last row's logits are needed, of a prompt for the first token of every sample (1, once and
              ///< for all), of a sample for its next one. More than 1: each further pass of the step computes the token
              ///< that was drawn last and draws another, so many in all, unless the sample ends before.
  int slot;
  int prompt_slot;  ///< the prompt's, whose pages a sample reads; −1 for the prompt itself
  std::span<const int32_t> pages;
};

class Scheduler {
 public:
  struct Stats {
    int64_t steps = 0;
    int64_t prompt_tokens = 0;      ///< prompt tokens computed for the first time
    int64_t decode_tokens = 0;      ///< samples' tokens computed for the first time, but those behind an end
    int64_t recomputed_tokens = 0;  ///< tokens of either kind computed again
    int64_t preemptions = 0;        ///< samples that lost their pages
    int64_t released_prompts = 0;   ///< prompts that lost their pages with samples still to run
    int peak_pages = 0;
    int peak_running = 0;
  };

  /// Throws Error when a field is not positive.
  explicit Scheduler(const SchedulerConfig& config);

  /// Queues a group behind the others and returns its number. May be called while others run. Throws Error when an
  /// argument is not positive, or when the prompt and one sample of `max_new_tokens` can never be in the cache
  /// together.
  int add_group(int prompt_tokens, int samples, int max_new_tokens);

  /// So many more pages behind those that there are.
  void add_pages(int pages);

  /// The next step's work, oldest first among decoding samples, then oldest first among prompts and (re)starting
  /// samples; empty when every sample has finished. All of it must have been computed, and the draws of every sample
  /// reported, before the next call.
  ///
  /// Some work is always found. The oldest unfinished sample can take the pages of everyone else, and add_group made
  /// sure that these suffice. And the work ends: a step either decodes, and a drawn token is never lost, so this
  /// happens at most samples × max_new_tokens times; or its whole budget goes to prompts and recomputation, oldest
  /// first, where the oldest unfinished sample (or its prompt) advances, and nobody older is there to set it back.
  std::vector<Work> next();

  /// So many tokens were drawn for this sample in the step, from a Work with as many `draws` or more; of a sample that
  /// has ended, those up to its end. Throws Error for none, and for more.
  void drew(int group, int sample, int tokens = 1);

  /// The sample has ended (after a draw, or because it is no longer wanted). It leaves at once, its pages return, and
  /// the prompt's with the last sample. Throws Error when there is no such unfinished sample.
  void finish(int group, int sample);

  int pages() const { return config_.num_pages; }
  int free_pages() const { return static_cast<int>(free_.size()); }
  int held_pages() const { return config_.num_pages - free_pages(); }
  int running() const { return running_; }        ///< samples that hold pages
  int unfinished() const { return unfinished_; }  ///< samples of all groups
  int slots() const { return slots_; }            ///< all slots so far are below this
  const Stats& stats() const { return stats_; }

  /// Throws Error unless every page and slot is free or held exactly once, every running sample's prompt is in the
  /// cache and the counts agree. For tests: it looks at everything.
  void check() const;

 private:
  struct Segment {
    int tokens = 0;    // that exist: the prompt's length, or the tokens drawn so far
    int cached = 0;    // of these, how many are in the KV cache
    int computed = 0;  // the most that ever were
    int slot = -1;     // while it holds pages
    std::vector<int32_t> pages;
  };
  enum class State { waiting, running, finished };
  struct Sample : Segment {
    State state = State::waiting;
    int drawing = 0;  // the most draws that are due
  };
  struct Group {
    Segment prompt;
    bool prompt_drew = false;  // the samples' first tokens were asked for, once and for all
    int max_new_tokens = 0;
    int readers = 0;     // running samples: while there are any, the prompt's pages stay
    int unfinished = 0;  // 0: the group is gone
    std::vector<Sample> samples;
  };

  void decode(std::vector<Work>& work, int& budget);
  void start(std::vector<Work>& work, int& budget);
  Work compute(int group, int sample, int count);
  int reach(const Group& group, int tokens) const;
  bool reserve(const Group& group, Sample& sample, int number, int i);
  bool grow(Segment& segment, int tokens, int group, int sample);
  bool make_room(int pages, int group, int sample);
  void preempt(Group& group, Sample& sample);
  void release(Segment& segment);
  int pages_for(int tokens) const { return (tokens + config_.page_size - 1) / config_.page_size; }
  Sample& find(int group, int sample);

  SchedulerConfig config_;
  std::vector<int32_t> free_;    // a stack
  std::vector<int> free_slots_;  // a stack; further ones are numbered from slots_ on
  int slots_ = 0;
  std::map<int, Group> groups_;  // unfinished groups, oldest first
  int next_group_ = 0;
  int running_ = 0;
  int unfinished_ = 0;
  Stats stats_;
};

}  // namespace grpo
