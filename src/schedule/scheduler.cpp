#include "schedule/scheduler.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <ranges>
#include <string>
#include <string_view>
#include <utility>

#include "grpo/error.h"

namespace grpo {
namespace {

void expect_positive(std::string_view name, int value) {
  if (value < 1) throw Error("scheduler", "expected ", name, " >= 1, got ", value);
}

}  // namespace

Scheduler::Scheduler(const SchedulerConfig& config) : config_(config) {
  expect_positive("page_size", config.page_size);
  expect_positive("num_pages", config.num_pages);
  expect_positive("max_running_sequences", config.max_running_sequences);
  expect_positive("max_batch_tokens", config.max_batch_tokens);
  expect_positive("horizon", config.horizon);
  for (int page = config.num_pages - 1; page >= 0; --page) free_.push_back(page);
}

void Scheduler::add_pages(int pages) {
  expect_positive("pages", pages);
  std::vector<int32_t> added(pages);
  std::iota(added.rbegin(), added.rend(), config_.num_pages);
  free_.insert(free_.begin(), added.begin(), added.end());  // those that there were go first
  config_.num_pages += pages;
}

int Scheduler::add_group(int prompt_tokens, int samples, int max_new_tokens) {
  expect_positive("prompt_tokens", prompt_tokens);
  expect_positive("samples", samples);
  expect_positive("max_new_tokens", max_new_tokens);
  // The last token is drawn and never computed.
  const int needed = pages_for(prompt_tokens) + pages_for(max_new_tokens - 1);
  if (needed > config_.num_pages)
    throw Error("scheduler", "expected a prompt and one completion that fit in the KV cache of ", config_.num_pages,
                " pages of ", config_.page_size, " tokens, got ", prompt_tokens, " prompt tokens and up to ",
                max_new_tokens, " new ones, which need ", needed, " pages: raise num_pages or lower max_new_tokens");
  Group& group = groups_[next_group_];
  group.prompt.tokens = prompt_tokens;
  group.max_new_tokens = max_new_tokens;
  group.unfinished = samples;
  group.samples.resize(samples);
  unfinished_ += samples;
  return next_group_++;
}

std::vector<Work> Scheduler::next() {
  std::vector<Work> work;
  if (groups_.empty()) return work;
  for (const auto& [number, group] : groups_) {
    if (group.prompt.pages.empty()) break;
    for (const Sample& sample : group.samples) {
      if (sample.state == State::finished) continue;
      if (sample.drawing > 0)
        throw Error("scheduler", "expected drew() or finish() for every draw of the last step, got none for group ",
                    number);
      if (sample.tokens == group.max_new_tokens)
        throw Error("scheduler", "expected finish() after max_new_tokens draws, got none for group ", number);
    }
  }
  int budget = config_.max_batch_tokens;
  decode(work, budget);
  start(work, budget);
  assert(!work.empty());
  ++stats_.steps;
  stats_.peak_pages = std::max(stats_.peak_pages, held_pages());
  stats_.peak_running = std::max(stats_.peak_running, running_);
  return work;
}

// One token for each running sample that has caught up with its draws. Preemption hits younger samples only, whose turn
// is yet to come.
void Scheduler::decode(std::vector<Work>& work, int& budget) {
  for (auto& [number, group] : groups_) {
    if (group.prompt.pages.empty()) return;  // nor does anyone younger hold pages: see start()
    for (int i = 0; i < std::ssize(group.samples); ++i) {
      if (budget == 0) return;
      Sample& sample = group.samples[i];
      if (sample.state != State::running || sample.tokens - sample.cached != 1) continue;
      if (!reserve(group, sample, number, i)) continue;
      work.push_back(compute(number, i, 1));
      --budget;
    }
  }
}

// Chunks of prompts and of samples that have tokens to catch up with, and admission, strictly in order: the first that
// must wait for pages ends it, as whatever is younger would only be in its way. So the running samples, and the prompts
// in the cache, are always the oldest ones.
void Scheduler::start(std::vector<Work>& work, int& budget) {
  int slots = config_.max_running_sequences - running_;
  int promised = 0;  // pages that older groups will want as soon as their prompts are complete
  for (auto& [number, group] : groups_) {
    if (group.prompt.cached < group.prompt.tokens) {
      if (budget == 0 || slots == 0) return;
      if (group.prompt.pages.empty()) {
        if (free_pages() - promised < pages_for(group.prompt.tokens)) return;
        grow(group.prompt, group.prompt.tokens, number, -1);
      }
      const int count = std::min(budget, group.prompt.tokens - group.prompt.cached);
      work.push_back(compute(number, -1, count));
      budget -= count;
      const int coming = group.max_new_tokens > 1 ? std::min(slots, group.unfinished) : 0;
      slots -= coming;
      promised += coming * pages_for(reach(group, 1));
      continue;  // its samples see a complete prompt from the next step on
    }
    for (int i = 0; i < std::ssize(group.samples); ++i) {
      Sample& sample = group.samples[i];
      if (budget == 0) return;
      if (sample.state == State::finished) continue;
      if (sample.state == State::waiting) {
        if (slots == 0 || !reserve(group, sample, number, i)) return;
        sample.state = State::running;
        ++group.readers;
        ++running_;
        --slots;
      }
      // What decode() computed has no tokens left; what it could not find a page for keeps waiting.
      const int count = std::min(budget, sample.tokens - sample.cached);
      if (count == 0 || pages_for(sample.cached + count) > std::ssize(sample.pages)) continue;
      work.push_back(compute(number, i, count));
      budget -= count;
    }
  }
}

// The next `count` tokens of a segment, which are taken as cached from here on.
Work Scheduler::compute(int number, int i, int count) {
  Group& group = groups_.at(number);
  const bool is_prompt = i < 0;
  Segment& segment = is_prompt ? group.prompt : group.samples[i];
  const int first = segment.cached, end = first + count;
  segment.cached = end;
  const int fresh = std::max(0, end - std::max(first, segment.computed));
  segment.computed = std::max(segment.computed, end);
  (is_prompt ? stats_.prompt_tokens : stats_.decode_tokens) += fresh;
  stats_.recomputed_tokens += count - fresh;

  int draws = 0;
  if (end == segment.tokens && !is_prompt) {
    const int room = static_cast<int>(segment.pages.size()) * config_.page_size;
    draws = std::min(reach(group, segment.tokens), room) - segment.tokens + 1;
    group.samples[i].drawing = draws;
  } else if (end == segment.tokens && !group.prompt_drew) {
    draws = 1;
    group.prompt_drew = true;
    for (Sample& sample : group.samples) sample.drawing = 1;
  }
  return {number, i, first, count, draws, segment.slot, is_prompt ? -1 : group.prompt.slot, segment.pages};
}

void Scheduler::drew(int group, int i, int tokens) {
  Sample& sample = find(group, i);
  if (tokens < 1 || tokens > sample.drawing)
    throw Error("scheduler", "expected draws after work that draws, got ", tokens, " for group ", group, ", sample ", i,
                ", which has ", sample.drawing > 0 ? std::to_string(sample.drawing) : "none", " due");
  sample.drawing = 0;
  sample.tokens += tokens;
  // All but the last have been computed, too, on the pages that were reserved.
  sample.cached += tokens - 1;
  sample.computed = std::max(sample.computed, sample.cached);
  stats_.decode_tokens += tokens - 1;
}

void Scheduler::finish(int number, int i) {
  Sample& sample = find(number, i);
  Group& group = groups_.at(number);
  if (sample.state == State::running) {
    --group.readers;
    --running_;
  }
  release(sample);
  sample.state = State::finished;
  --unfinished_;
  if (--group.unfinished > 0) return;
  release(group.prompt);
  groups_.erase(number);
}

// How many tokens of a sample that has `tokens` are in the cache when it has drawn as many more as a step lets it.
int Scheduler::reach(const Group& group, int tokens) const {
  return tokens - 1 + std::min(config_.horizon, group.max_new_tokens - tokens);
}

// Gives a sample the pages for the tokens of a whole horizon, or else for those that it has.
bool Scheduler::reserve(const Group& group, Sample& sample, int number, int i) {
  return grow(sample, reach(group, sample.tokens), number, i) || grow(sample, sample.tokens, number, i);
}

// Gives the segment the pages for its first `tokens` tokens, all or none, and with the first ones a slot.
bool Scheduler::grow(Segment& segment, int tokens, int group, int sample) {
  const int missing = pages_for(tokens) - static_cast<int>(segment.pages.size());
  if (missing <= 0) return true;
  if (!make_room(missing, group, sample)) return false;
  segment.pages.insert(segment.pages.end(), free_.rbegin(), free_.rbegin() + missing);
  free_.resize(free_.size() - missing);
  if (segment.slot < 0) {
    if (free_slots_.empty()) free_slots_.push_back(slots_++);
    segment.slot = free_slots_.back();
    free_slots_.pop_back();
  }
  return true;
}

// Takes pages from holders younger than (group, sample), youngest first, until `pages` are free; takes none when that
// would not do.
bool Scheduler::make_room(int pages, int number, int i) {
  if (pages <= free_pages()) return true;
  std::vector<std::pair<Group*, Sample*>> victims;  // null sample: the prompt
  int obtainable = free_pages();
  for (auto& [younger, group] : std::views::reverse(groups_)) {
    if (younger < number) break;
    if (group.prompt.pages.empty()) continue;
    const int oldest = younger == number ? i + 1 : 0;
    for (int j = static_cast<int>(group.samples.size()) - 1; j >= oldest && obtainable < pages; --j) {
      Sample& sample = group.samples[j];
      if (sample.state != State::running) continue;
      victims.push_back({&group, &sample});
      obtainable += static_cast<int>(sample.pages.size());
    }
    if (younger > number && obtainable < pages) {
      victims.push_back({&group, nullptr});
      obtainable += static_cast<int>(group.prompt.pages.size());
    }
    if (obtainable >= pages) break;
  }
  if (obtainable < pages) return false;
  for (auto [group, sample] : victims) {
    if (sample) {
      preempt(*group, *sample);
    } else {
      assert(group->readers == 0);
      release(group->prompt);
      ++stats_.released_prompts;
    }
  }
  return true;
}

void Scheduler::preempt(Group& group, Sample& sample) {
  release(sample);
  sample.state = State::waiting;
  --group.readers;
  --running_;
  ++stats_.preemptions;
}

void Scheduler::release(Segment& segment) {
  free_.insert(free_.end(), segment.pages.rbegin(), segment.pages.rend());
  segment.pages.clear();
  segment.cached = 0;
  if (segment.slot >= 0) free_slots_.push_back(std::exchange(segment.slot, -1));
}

Scheduler::Sample& Scheduler::find(int group, int i) {
  const auto found = groups_.find(group);
  if (found == groups_.end() || i < 0 || i >= std::ssize(found->second.samples) ||
      found->second.samples[i].state == State::finished)
    throw Error("scheduler", "expected an unfinished sample, got group ", group, ", sample ", i);
  return found->second.samples[i];
}

void Scheduler::check() const {
  const auto expect = [](bool holds, std::string_view what) {
    if (!holds) throw Error("scheduler", "expected ", what, ", got a broken invariant: report this");
  };
  std::vector<int> holders(config_.num_pages, 0);
  const auto count = [&](const std::vector<int32_t>& pages) {
    for (const int32_t page : pages) {
      expect(page >= 0 && page < config_.num_pages, "pages of the pool");
      ++holders[page];
    }
  };
  count(free_);
  std::vector<int> slot_holders(slots_, 0);
  for (const int slot : free_slots_) ++slot_holders.at(slot);
  int held = 0, running = 0, unfinished = 0;
  const auto count_segment = [&](const Segment& segment) {
    count(segment.pages);
    expect((segment.slot >= 0) == !segment.pages.empty() && segment.slot < slots_, "a slot for whoever holds pages");
    if (segment.slot >= 0) ++slot_holders[segment.slot];
    held += static_cast<int>(segment.pages.size());
    expect(segment.cached <= segment.tokens && segment.cached <= segment.computed,
           "no more cached tokens than there are");
    expect(pages_for(segment.cached) <= std::ssize(segment.pages), "a page under every cached token");
  };
  for (const auto& [number, group] : groups_) {
    count_segment(group.prompt);
    int readers = 0, left = 0;
    for (const Sample& sample : group.samples) {
      count_segment(sample);
      expect(sample.state == State::running || sample.pages.empty(), "no pages with a sample that does not run");
      readers += sample.state == State::running;
      left += sample.state != State::finished;
    }
    expect(readers == group.readers, "as many readers of a prompt as running samples");
    expect(readers == 0 || group.prompt.cached == group.prompt.tokens, "the prompt of a running sample in the cache");
    expect(left == group.unfinished && left > 0, "as many unfinished samples as counted");
    running += readers;
    unfinished += left;
  }
  expect(std::ranges::all_of(holders, [](int n) { return n == 1; }), "every page free or held exactly once");
  expect(std::ranges::all_of(slot_holders, [](int n) { return n == 1; }), "every slot free or held exactly once");
  expect(held == held_pages(), "free + held pages = all pages");
  expect(running == running_ && running <= config_.max_running_sequences, "no more running samples than allowed");
  expect(unfinished == unfinished_, "as many unfinished samples as counted");
}

}  // namespace grpo
