#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <tuple>
#include <vector>

#include "grpo/error.h"
#include "schedule/scheduler.h"

namespace grpo {
namespace {

using ::testing::HasSubstr;

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// Stands in for the rollout engine: its cache rows hold the name of the token that was written there, so it sees at
// once when a token would attend to a row that somebody else overwrote or that was never computed.
class Engine {
 public:
  using Token = std::tuple<int, int, int>;  // group, sample, index

  explicit Engine(const SchedulerConfig& config)
      : config(config), scheduler(config), rows(config.num_pages * config.page_size, Token{-1, -1, -1}) {}

  // `lengths` are the numbers of tokens after which the samples end. That is known when they are drawn, or `late`: at
  // the end of the step, when more may have been drawn behind them.
  int add(int prompt, int max_new_tokens, const std::vector<int>& lengths, bool late = false) {
    const int group = scheduler.add_group(prompt, static_cast<int>(lengths.size()), max_new_tokens);
    groups[group] = {prompt, 0, lengths, std::vector<int>(lengths.size(), 0), std::vector<int>(lengths.size(), 0),
                     false, late};
    return group;
  }

  void add_pages(int pages) {
    scheduler.add_pages(pages);
    config.num_pages += pages;
    rows.resize(config.num_pages * config.page_size, Token{-1, -1, -1});
  }

  std::vector<Work> step() {
    const std::vector<Work> work = scheduler.next();
    scheduler.check();
    EXPECT_EQ(scheduler.free_pages() + scheduler.held_pages(), config.num_pages);
    EXPECT_LE(scheduler.running(), config.max_running_sequences);
    int tokens = 0;
    std::map<std::pair<int, int>, int> seen;
    for (const Work& each : work) {
      tokens += each.count;
      EXPECT_EQ((seen[{each.group, each.sample}]++), 0) << "two pieces of one segment in a step";
      write(each);
    }
    for (const Work& each : work) read(each);  // after every write: nobody may write where another one reads
    EXPECT_LE(tokens, config.max_batch_tokens);
    if (tokens < config.max_batch_tokens) expect_oldest_first(seen);
    std::map<std::pair<int, int>, int> drawn;
    for (const Work& each : work)
      if (each.draws > 0 && each.sample >= 0) drawn[{each.group, each.sample}] = 1;
    for (int further = 1; further < config.horizon && further <= kLongest; ++further) {
      for (const Work& each : work) {
        if (each.sample < 0 || further >= each.draws) continue;
        const Group& group = groups.at(each.group);
        if (!group.late && group.drawn[each.sample] + further >= group.lengths[each.sample]) continue;
        Work more = each;
        more.first = each.first + each.count + further - 1, more.count = 1;
        row(more.pages, more.first) = {more.group, more.sample, more.first};
        read(more);
        ++drawn.at({each.group, each.sample});
        ++further_tokens;
      }
    }
    for (const Work& each : work)
      if (each.draws > 0) draw(each, each.sample < 0 ? 1 : drawn.at({each.group, each.sample}));
    scheduler.check();
    return work;
  }

  // Runs to the end, and returns the number of steps.
  int run(int limit = 100000) {
    int steps = 0;
    while (scheduler.unfinished() > 0) {
      EXPECT_FALSE(step().empty()) << "stuck";
      if (++steps > limit || ::testing::Test::HasFailure()) {
        ADD_FAILURE() << "no end after " << steps << " steps";
        break;
      }
    }
    return steps;
  }

  void expect_clean() {
    EXPECT_TRUE(scheduler.next().empty());
    EXPECT_EQ(scheduler.held_pages(), 0);
    EXPECT_EQ(scheduler.running(), 0);
    for (const auto& [number, group] : groups) EXPECT_EQ(group.drawn, group.lengths) << "group " << number;
    EXPECT_TRUE(std::is_sorted(admissions.begin(), admissions.end()));
  }

  struct Group {
    int prompt, prompt_cached;
    std::vector<int> lengths, drawn, cached;
    bool prompt_drew, late;
  };
  static constexpr int kLongest = 100;  // of what tests sample

  SchedulerConfig config;
  Scheduler scheduler;
  std::vector<Token> rows;
  std::map<int, std::vector<int32_t>> table;  // the pages of each slot, as the last work in it had them
  std::map<int, Group> groups;
  std::vector<std::pair<int, int>> admissions;  // samples in the order of their first token ever computed
  int64_t restarts = 0, further_tokens = 0, dropped = 0;

 private:
  Token& row(std::span<const int32_t> pages, int index) {
    return rows.at(pages[index / config.page_size] * config.page_size + index % config.page_size);
  }

  void write(const Work& work) {
    Group& group = groups.at(work.group);
    const int exists = work.sample < 0 ? group.prompt : group.drawn[work.sample];
    int& cached = work.sample < 0 ? group.prompt_cached : group.cached[work.sample];
    EXPECT_GT(work.count, 0);
    EXPECT_TRUE(work.first == cached || work.first == 0) << "neither where it stopped nor from the start";
    if (work.first == 0 && cached > 0) ++restarts;
    if (work.sample >= 0 && group.drawn[work.sample] == 1)
      if (const std::pair name(work.group, work.sample); !std::ranges::count(admissions, name))
        admissions.push_back(name);
    cached = work.first + work.count;
    EXPECT_LE(cached, exists);
    EXPECT_GE(std::ssize(work.pages) * config.page_size, cached);
    EXPECT_LT(work.slot, scheduler.slots());
    table[work.slot].assign(work.pages.begin(), work.pages.end());
    for (int i = work.first; i < cached; ++i) row(work.pages, i) = {work.group, work.sample, i};
    if (work.sample >= 0)
      EXPECT_EQ(work.draws > 0, cached == exists);
    else
      EXPECT_EQ(work.draws, cached == exists && !group.prompt_drew);
    EXPECT_LE(work.draws, config.horizon);
  }

  // No sample goes on while an older one waits.
  void expect_oldest_first(const std::map<std::pair<int, int>, int>& in_step) {
    bool waits = false;
    for (const auto& [number, group] : groups)
      for (int i = 0; i < std::ssize(group.lengths); ++i) {
        if (group.drawn[i] == 0 || group.drawn[i] == group.lengths[i]) continue;
        const bool goes_on = in_step.contains({number, i});
        EXPECT_FALSE(goes_on && waits) << "an older one than group " << number << ", sample " << i;
        waits |= !goes_on;
      }
  }

  void read(const Work& work) {
    const Group& group = groups.at(work.group);
    for (int i = 0; i < work.first + work.count; ++i)
      EXPECT_EQ(row(table[work.slot], i), (Token{work.group, work.sample, i})) << "own rows";
    if (work.sample < 0) {
      EXPECT_EQ(work.prompt_slot, -1);
      return;
    }
    const std::vector<int32_t>& prompt = table[work.prompt_slot];
    ASSERT_GE(std::ssize(prompt) * config.page_size, group.prompt);
    for (int i = 0; i < group.prompt; ++i)
      EXPECT_EQ(row(prompt, i), (Token{work.group, -1, i})) << "prompt rows";
  }

  void draw(const Work& work, int tokens) {
    Group& group = groups.at(work.group);
    if (work.sample >= 0) return draw(work.group, work.sample, tokens);
    group.prompt_drew = true;
    for (int i = 0; i < std::ssize(group.lengths); ++i) draw(work.group, i, 1);
  }

  void draw(int number, int sample, int tokens) {
    Group& group = groups.at(number);
    const int taken = std::min(tokens, group.lengths[sample] - group.drawn[sample]);
    dropped += tokens - taken;
    group.drawn[sample] += taken;
    group.cached[sample] += taken - 1;
    scheduler.drew(number, sample, taken);
    if (group.drawn[sample] == group.lengths[sample]) scheduler.finish(number, sample);
  }
};

TEST(Scheduler, computes_the_prompt_once_and_holds_its_pages_once) {
  Engine engine({.page_size = 16, .num_pages = 64, .max_running_sequences = 8, .max_batch_tokens = 1024});
  engine.add(100, 40, std::vector<int>(8, 40));
  auto work = engine.step();
  ASSERT_EQ(work.size(), 1u);
  EXPECT_EQ(work[0].sample, -1);
  EXPECT_EQ(work[0].count, 100);
  EXPECT_TRUE(work[0].draws);
  EXPECT_EQ(engine.scheduler.held_pages(), 7);
  work = engine.step();
  ASSERT_EQ(work.size(), 8u);
  for (const Work& each : work) EXPECT_EQ(each.prompt_slot, work[0].prompt_slot);
  EXPECT_EQ(engine.scheduler.slots(), 1 + 8);
  EXPECT_EQ(engine.scheduler.held_pages(), 7 + 8);  // a page of its own for every sample: nothing is copied
  EXPECT_EQ(engine.run(), 39 - 1);
  engine.expect_clean();
  const auto& stats = engine.scheduler.stats();
  EXPECT_EQ(stats.prompt_tokens, 100);
  EXPECT_EQ(stats.decode_tokens, 8 * 39);  // the last token of each is drawn, never computed
  EXPECT_EQ(stats.recomputed_tokens, 0);
  EXPECT_EQ(stats.preemptions, 0);
  EXPECT_EQ(stats.peak_pages, 7 + 8 * 3);
  EXPECT_EQ(stats.peak_running, 8);
  EXPECT_EQ(stats.steps, 40);
}

TEST(Scheduler, takes_a_page_only_when_a_boundary_is_crossed) {
  Engine engine({.page_size = 4, .num_pages = 8, .max_running_sequences = 1, .max_batch_tokens = 8});
  engine.add(4, 12, {12});
  std::vector<int> held;
  while (engine.scheduler.unfinished() > 0) {
    engine.step();
    held.push_back(engine.scheduler.held_pages());
  }
  EXPECT_EQ(held, (std::vector<int>{1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 0}));
}

TEST(Scheduler, reserves_the_pages_of_a_whole_horizon_at_once) {
  Engine engine({.page_size = 4, .num_pages = 9, .max_running_sequences = 2, .max_batch_tokens = 8, .horizon = 6});
  engine.add(4, 14, {14, 3});
  std::vector<int> held, draws;
  while (engine.scheduler.unfinished() > 0) {
    for (const Work& each : engine.step())
      if (each.sample == 0) draws.push_back(each.draws);
    held.push_back(engine.scheduler.held_pages());
  }
  // The prompt's page; places for six tokens of either sample, of which the second one ends; for twelve; for all.
  EXPECT_EQ(held, (std::vector<int>{1, 3, 4, 0}));
  EXPECT_EQ(draws, (std::vector<int>{6, 6, 1}));
  EXPECT_EQ(engine.scheduler.stats().steps, 4);
  EXPECT_EQ(engine.scheduler.stats().decode_tokens, 13 + 2);
  EXPECT_EQ(engine.scheduler.stats().peak_pages, 5);
  engine.expect_clean();
}

TEST(Scheduler, a_sample_that_finds_no_pages_for_a_horizon_goes_on_as_far_as_it_has_some) {
  // The prompt, and three pages for two samples of up to three pages each.
  Engine engine({.page_size = 4, .num_pages = 4, .max_running_sequences = 2, .max_batch_tokens = 8, .horizon = 3});
  engine.add(4, 13, {13, 13});
  std::vector<int> draws;
  while (engine.scheduler.stats().preemptions == 0)
    for (const Work& each : engine.step())
      if (each.sample == 1) draws.push_back(each.draws);
  // Three tokens are computed and a fourth one drawn; there is a place for it, and the second page went to the elder.
  EXPECT_EQ(draws, (std::vector<int>{3, 1}));
  EXPECT_EQ(engine.groups[0].drawn[1], 5);
  engine.run();
  engine.expect_clean();
}

TEST(Scheduler, admits_a_sample_that_finds_pages_for_less_than_a_horizon) {
  Engine engine({.page_size = 1, .num_pages = 9, .max_running_sequences = 3, .max_batch_tokens = 8, .horizon = 3});
  engine.add(1, 9, {9, 9, 9});
  engine.step();
  std::vector<int> draws;
  for (const Work& each : engine.step()) draws.push_back(each.draws);
  EXPECT_EQ(draws, (std::vector<int>{3, 3, 1}));  // two pages are left for the last one, and it takes one
  engine.run();
  engine.expect_clean();
}

TEST(Scheduler, tokens_drawn_behind_an_end_were_never_there) {
  Engine late({.page_size = 4, .num_pages = 20, .max_running_sequences = 3, .max_batch_tokens = 64, .horizon = 5});
  Engine known(late.config);
  for (const auto& [engine, is_late] : {std::pair{&late, true}, {&known, false}}) {
    for (int g = 0; g < 3; ++g) engine->add(5, 12, {7, 12, 2}, is_late);
    engine->run();
    engine->expect_clean();
  }
  EXPECT_GT(late.dropped, 0);
  EXPECT_EQ(known.dropped, 0);
  EXPECT_EQ(late.scheduler.stats().decode_tokens, known.scheduler.stats().decode_tokens);
  EXPECT_EQ(late.scheduler.stats().steps, known.scheduler.stats().steps);
}

TEST(Scheduler, takes_further_pages_while_samples_run) {
  Engine engine({.page_size = 4, .num_pages = 4, .max_running_sequences = 8, .max_batch_tokens = 64});
  engine.add(8, 8, {8, 8, 8});
  engine.step();
  engine.step();
  EXPECT_EQ(engine.scheduler.running(), 2);
  EXPECT_THROW(engine.add(20, 8, {8}), Error);  // seven pages
  engine.add_pages(3);
  engine.scheduler.check();
  EXPECT_EQ(engine.scheduler.pages(), 7);
  engine.add(20, 8, {8});
  engine.step();
  EXPECT_EQ(engine.scheduler.running(), 3);
  EXPECT_EQ(engine.scheduler.stats().preemptions, 0);
  engine.run();
  engine.expect_clean();
  EXPECT_THROW(engine.scheduler.add_pages(0), Error);
}

TEST(Scheduler, prefills_in_chunks_behind_the_decoding_tokens) {
  Engine engine({.page_size = 8, .num_pages = 64, .max_running_sequences = 4, .max_batch_tokens = 10});
  engine.add(5, 50, {50, 50});
  engine.add(23, 50, {50});
  auto work = engine.step();  // the first prompt and the beginning of the second: several may be on the way
  ASSERT_EQ(work.size(), 2u);
  EXPECT_EQ(work[1].group, 1);
  EXPECT_EQ(work[1].count, 5);
  EXPECT_FALSE(work[1].draws);
  engine.step();
  work = engine.step();
  ASSERT_EQ(work.size(), 3u);
  EXPECT_EQ(work[0].sample, 0);
  EXPECT_EQ(work[1].sample, 1);
  EXPECT_EQ(work[2].group, 1);
  EXPECT_EQ(work[2].first, 13);
  EXPECT_EQ(work[2].count, 8);
  work = engine.step();
  EXPECT_EQ(work[2].count, 2);
  EXPECT_TRUE(work[2].draws);
  engine.run();
  engine.expect_clean();
}

TEST(Scheduler, every_running_sample_decodes_in_every_step_while_there_is_room) {
  Engine engine({.page_size = 8, .num_pages = 400, .max_running_sequences = 16, .max_batch_tokens = 24});
  for (int g = 0; g < 6; ++g) engine.add(17 + g, 30, {30, 9, 21, 30});
  while (engine.scheduler.unfinished() > 0 && !HasFailure()) {
    const int running = engine.scheduler.running();
    const auto work = engine.step();
    for (int i = 0; i < running; ++i) {  // the samples that ran before come first, one token each
      EXPECT_GE(work.at(i).sample, 0);
      EXPECT_EQ(work.at(i).count, 1);
    }
  }
  engine.expect_clean();
  EXPECT_EQ(engine.scheduler.stats().peak_running, 16);
  EXPECT_EQ(engine.scheduler.stats().recomputed_tokens, 0);
}

TEST(Scheduler, leaves_prompts_alone_whose_samples_could_not_run_yet) {
  Engine engine({.page_size = 8, .num_pages = 64, .max_running_sequences = 2, .max_batch_tokens = 100});
  engine.add(5, 9, {9, 9});
  engine.add(5, 9, {9, 9});
  EXPECT_EQ(engine.step().size(), 1u);
  engine.run();
  engine.expect_clean();
}

TEST(Scheduler, preempts_the_youngest_and_recomputes_it_in_chunks_without_drawing) {
  // Prompt 1 page; 2 samples of up to 16 cached tokens, 4 pages each; 6 pages for both.
  Engine engine({.page_size = 4, .num_pages = 7, .max_running_sequences = 2, .max_batch_tokens = 5});
  engine.add(3, 17, {17, 17});
  while (engine.scheduler.stats().preemptions == 0) engine.step();
  EXPECT_EQ(engine.groups[0].drawn, (std::vector<int>{14, 13}));  // 3 pages each were full; only the older one went on
  EXPECT_EQ(engine.scheduler.running(), 1);
  while (engine.groups[0].drawn[0] < 17) {
    for (const Work& each : engine.step()) EXPECT_EQ(each.sample, 0);
  }
  std::vector<std::tuple<int, int, bool>> chunks;
  while (engine.scheduler.unfinished() > 0) {
    for (const Work& each : engine.step()) chunks.emplace_back(each.first, each.count, each.draws);
  }
  using Chunk = std::tuple<int, int, bool>;
  EXPECT_EQ(chunks, (std::vector<Chunk>{
                        {0, 5, false}, {5, 5, false}, {10, 3, true}, {13, 1, true}, {14, 1, true}, {15, 1, true}}));
  engine.expect_clean();
  EXPECT_EQ(engine.scheduler.stats().recomputed_tokens, 12);
  EXPECT_EQ(engine.scheduler.stats().decode_tokens, 32);
  EXPECT_EQ(engine.scheduler.stats().preemptions, 1);
}

TEST(Scheduler, releases_the_prompt_of_an_idle_group_and_recomputes_it_without_drawing) {
  Engine engine({.page_size = 4, .num_pages = 6, .max_running_sequences = 4, .max_batch_tokens = 64});
  engine.add(4, 20, {20});  // grows to 1 + 5 pages, which is all of them
  engine.add(8, 17, {17});
  std::vector<bool> prompt_draws;
  while (engine.scheduler.unfinished() > 0 && !HasFailure())
    for (const Work& each : engine.step())
      if (each.group == 1 && each.sample < 0) prompt_draws.push_back(each.draws);
  EXPECT_EQ(prompt_draws, (std::vector<bool>{true, false}));
  EXPECT_EQ(engine.scheduler.stats().released_prompts, 1);
  EXPECT_EQ(engine.scheduler.stats().prompt_tokens, 12);
  engine.expect_clean();
}

TEST(Scheduler, a_prompt_does_not_take_the_pages_that_older_samples_are_about_to_need) {
  Engine engine({.page_size = 4, .num_pages = 6, .max_running_sequences = 8, .max_batch_tokens = 64});
  engine.add(4, 5, {5, 5, 5, 5});  // 1 page, and soon 4 more
  engine.add(8, 5, {5});
  EXPECT_EQ(engine.step().size(), 1u);
  engine.run();
  EXPECT_EQ(engine.scheduler.stats().recomputed_tokens, 0);
  engine.expect_clean();
}

TEST(Scheduler, a_budget_too_small_for_all_goes_to_the_oldest) {
  Engine engine({.page_size = 4, .num_pages = 60, .max_running_sequences = 8, .max_batch_tokens = 3});
  engine.add(3, 9, {9, 9, 9, 9, 9});
  engine.step();
  engine.step();
  for (int step = 0; step < 7; ++step) {
    const auto work = engine.step();
    ASSERT_EQ(work.size(), 3u);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(work[i].sample, i);
  }
  engine.run();
  engine.expect_clean();
}

TEST(Scheduler, a_sample_that_ends_with_its_first_token_never_runs) {
  Engine engine({.page_size = 4, .num_pages = 2, .max_running_sequences = 1, .max_batch_tokens = 64});
  engine.add(8, 1, {1, 1, 1});
  EXPECT_EQ(engine.run(), 1);
  engine.expect_clean();
  EXPECT_EQ(engine.scheduler.stats().decode_tokens, 0);
}

TEST(Scheduler, freed_slots_and_pages_are_used_in_the_next_step) {
  Engine engine({.page_size = 4, .num_pages = 32, .max_running_sequences = 2, .max_batch_tokens = 64});
  engine.add(4, 9, {2, 9, 9});
  engine.step();
  engine.step();  // sample 0 draws its second token and leaves
  const auto work = engine.step();
  ASSERT_EQ(work.size(), 2u);
  EXPECT_EQ(work[1].sample, 2);
}

TEST(Scheduler, unwanted_samples_may_be_finished_in_any_state) {
  Scheduler scheduler({.page_size = 4, .num_pages = 8, .max_running_sequences = 1, .max_batch_tokens = 4});
  scheduler.add_group(8, 2, 9);
  scheduler.add_group(8, 1, 9);
  EXPECT_EQ(scheduler.next().size(), 1u);  // half of a prompt
  scheduler.finish(0, 0);
  scheduler.check();
  scheduler.finish(0, 1);
  scheduler.finish(1, 0);
  scheduler.check();
  EXPECT_EQ(scheduler.held_pages(), 0);
  EXPECT_TRUE(scheduler.next().empty());
}

TEST(Scheduler, refuses_what_can_never_fit_and_says_which_knob) {
  Scheduler scheduler({.page_size = 16, .num_pages = 10, .max_running_sequences = 4, .max_batch_tokens = 64});
  EXPECT_NO_THROW(scheduler.add_group(96, 8, 65));  // 6 + 4: the 65th token is never computed
  const std::string message = error_of([&] { scheduler.add_group(97, 8, 65); });
  EXPECT_THAT(message, HasSubstr("[scheduler] expected"));
  EXPECT_THAT(message, HasSubstr("need 11 pages"));
  EXPECT_THAT(message, HasSubstr("raise num_pages"));
  EXPECT_THROW(scheduler.add_group(96, 8, 66), Error);
  EXPECT_EQ(scheduler.unfinished(), 8);  // the refused ones left nothing behind
}

TEST(Scheduler, refuses_misuse) {
  EXPECT_THAT(
      error_of([] { Scheduler({.page_size = 0, .num_pages = 1, .max_running_sequences = 1, .max_batch_tokens = 1}); }),
      HasSubstr("page_size"));
  EXPECT_THAT(error_of([] { Scheduler({.num_pages = 1, .max_running_sequences = 1, .max_batch_tokens = 0}); }),
              HasSubstr("max_batch_tokens"));
  EXPECT_THAT(error_of([] {
                Scheduler({.num_pages = 1, .max_running_sequences = 1, .max_batch_tokens = 1, .horizon = 0});
              }),
              HasSubstr("horizon"));
  Scheduler scheduler({.page_size = 4, .num_pages = 8, .max_running_sequences = 2, .max_batch_tokens = 64});
  EXPECT_THROW(scheduler.add_group(0, 1, 1), Error);
  EXPECT_THROW(scheduler.add_group(1, 0, 1), Error);
  EXPECT_THROW(scheduler.add_group(1, 1, 0), Error);
  scheduler.add_group(4, 2, 2);
  EXPECT_THAT(error_of([&] { scheduler.drew(0, 0); }), HasSubstr("none due"));
  scheduler.next();
  scheduler.drew(0, 0);
  EXPECT_THROW(scheduler.drew(0, 0), Error);                              // once for each draw
  EXPECT_THAT(error_of([&] { scheduler.drew(0, 1, 2); }), HasSubstr("got 2 for group 0, sample 1, which has 1 due"));
  EXPECT_THROW(scheduler.drew(0, 1, 0), Error);
  EXPECT_THAT(error_of([&] { scheduler.next(); }), HasSubstr("drew()"));  // sample 1 has not drawn
  EXPECT_THROW(scheduler.drew(0, 2), Error);
  EXPECT_THROW(scheduler.drew(1, 0), Error);
  scheduler.finish(0, 1);
  EXPECT_THROW(scheduler.finish(0, 1), Error);
  EXPECT_EQ(scheduler.next().size(), 1u);
  scheduler.drew(0, 0);
  EXPECT_THAT(error_of([&] { scheduler.next(); }), HasSubstr("max_new_tokens"));  // sample 0 should have finished
}

// Anything at random: sizes, tiny pools, budgets, horizons, groups that arrive while others run, and pages.
TEST(Scheduler, random_traffic_ends_with_every_token_computed_in_order_on_pages_of_its_own) {
  int64_t preemptions = 0, released = 0, restarts = 0, recomputed = 0, further = 0, dropped = 0;
  for (int seed = 0; seed < 800 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto pick = [&](int low, int high) { return low + static_cast<int>(random() % (high - low + 1)); };
    SchedulerConfig config{
        .page_size = pick(1, 5), .num_pages = 0, .max_running_sequences = pick(1, 9), .max_batch_tokens = pick(1, 30)};
    if (seed % 2 == 1) config.horizon = pick(2, 8);
    const int longest_prompt = pick(1, 20), longest = pick(1, 20);
    const auto pages = [&](int tokens) { return (tokens + config.page_size - 1) / config.page_size; };
    config.num_pages = pages(longest_prompt) + pages(longest - 1) + pick(0, 12);
    Engine engine(config);
    const int total = pick(1, 8);
    int added = 0, steps = 0, tokens = 0;
    while (added < total || engine.scheduler.unfinished() > 0) {
      while (added < total && (engine.scheduler.unfinished() == 0 || pick(0, 3) == 0)) {
        std::vector<int> lengths(pick(1, 5));
        for (int& each : lengths) tokens += each = pick(1, longest);
        const int prompt = pick(1, longest_prompt);
        tokens += prompt;
        engine.add(prompt, longest, lengths, pick(0, 1) == 1);
        ++added;
        if (pick(0, 15) == 0) engine.add_pages(pick(1, 3));
      }
      ASSERT_FALSE(engine.step().empty());
      ASSERT_LT(++steps, 100 * (tokens + 10)) << "livelock";
      if (HasFailure()) return;
    }
    engine.expect_clean();
    const auto& stats = engine.scheduler.stats();
    int64_t prompts = 0, decoded = 0;
    for (const auto& [number, group] : engine.groups) {
      prompts += group.prompt;
      for (const int length : group.lengths) decoded += length - 1;
    }
    EXPECT_EQ(stats.prompt_tokens, prompts);
    EXPECT_EQ(stats.decode_tokens, decoded);
    EXPECT_EQ(stats.steps, steps);
    EXPECT_LE(engine.restarts, stats.preemptions + stats.released_prompts);
    EXPECT_EQ(stats.recomputed_tokens > 0, engine.restarts > 0);
    preemptions += stats.preemptions;
    released += stats.released_prompts;
    restarts += engine.restarts;
    recomputed += stats.recomputed_tokens;
    further += engine.further_tokens;
    dropped += engine.dropped;
  }
  EXPECT_GT(preemptions, 300);  // the pools were tight enough to mean something
  EXPECT_GT(released, 50);
  EXPECT_GT(restarts, 300);
  EXPECT_GT(further, 1000);
  EXPECT_GT(dropped, 100);
  RecordProperty("recomputed_tokens", static_cast<int>(recomputed));
}

TEST(Scheduler, what_is_drawn_does_not_depend_on_the_limits) {
  // The engine's draws depend on (group, sample, position) alone, so all that matters is that each position is drawn
  // once: expect_clean compares the counts. Here the extremes of every knob, on the same traffic.
  for (const SchedulerConfig& config :
       {SchedulerConfig{.page_size = 1, .num_pages = 30, .max_running_sequences = 100, .max_batch_tokens = 1},
        SchedulerConfig{.page_size = 1, .num_pages = 30, .max_running_sequences = 1, .max_batch_tokens = 1000},
        SchedulerConfig{.page_size = 7, .num_pages = 5, .max_running_sequences = 100, .max_batch_tokens = 3},
        SchedulerConfig{.page_size = 64, .num_pages = 2, .max_running_sequences = 100, .max_batch_tokens = 1000},
        SchedulerConfig{.page_size = 64, .num_pages = 2000, .max_running_sequences = 100, .max_batch_tokens = 1000},
        SchedulerConfig{
            .page_size = 1, .num_pages = 30, .max_running_sequences = 3, .max_batch_tokens = 2, .horizon = 9},
        SchedulerConfig{
            .page_size = 64, .num_pages = 8, .max_running_sequences = 100, .max_batch_tokens = 99, .horizon = 1000}}) {
    Engine engine(config);
    for (int g = 0; g < 5; ++g) engine.add(10 + g, 16, {16, 1, 7, 12});
    engine.run();
    engine.expect_clean();
  }
}

}  // namespace
}  // namespace grpo
