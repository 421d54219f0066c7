#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/parallel.h"

namespace grpo {
namespace {

using ::testing::Each;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

class Parallel : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { set_num_threads(GetParam()); }
};

std::vector<int> runs_of(int64_t tasks) {
  std::vector<std::atomic<int>> counts(tasks);
  parallel_for(tasks, [&](int64_t task) { counts[task].fetch_add(1); });
  return {counts.begin(), counts.end()};
}

TEST_P(Parallel, every_task_runs_exactly_once) {
  for (const int64_t tasks : {0, 1, 2, 3, 7, 64, 1000}) EXPECT_THAT(runs_of(tasks), Each(1)) << tasks;
  for (int repeat = 0; repeat < 500; ++repeat) ASSERT_THAT(runs_of(5), Each(1)) << "call " << repeat;
}

TEST_P(Parallel, a_call_returns_after_its_last_task) {
  for (int repeat = 0; repeat < 100; ++repeat) {
    std::vector<int> values(37, 0);  // not atomic: whatever the tasks wrote must be visible now
    parallel_for(37, [&](int64_t task) { values[task] = static_cast<int>(task) + repeat; });
    for (int i = 0; i < 37; ++i) ASSERT_EQ(values[i], i + repeat);
  }
}

TEST_P(Parallel, sleeping_workers_wake_up) {
  runs_of(4);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_THAT(runs_of(64), Each(1));
}

TEST_P(Parallel, a_call_from_inside_a_task_runs_on_the_tasks_own_thread) {
  std::vector<std::atomic<int>> counts(8 * 8);
  std::atomic<int> elsewhere{0}, wrong_count{0};
  parallel_for(8, [&](int64_t outer) {
    const auto self = std::this_thread::get_id();
    if (num_threads() != 1) ++wrong_count;
    parallel_for(8, [&](int64_t inner) {
      if (std::this_thread::get_id() != self) ++elsewhere;
      ++counts[outer * 8 + inner];
    });
  });
  EXPECT_THAT(std::vector<int>(counts.begin(), counts.end()), Each(1));
  EXPECT_EQ(elsewhere, 0);
  EXPECT_EQ(wrong_count, 0);
}

TEST_P(Parallel, an_only_task_may_share_out_its_own) {
  std::vector<int> counts;
  parallel_for(1, [&](int64_t) {
    EXPECT_EQ(num_threads(), GetParam());
    counts = runs_of(50);
  });
  EXPECT_EQ(counts.size(), 50u);
  EXPECT_THAT(counts, Each(1));
}

TEST_P(Parallel, an_exception_reaches_the_caller_and_the_pool_survives) {
  for (const int64_t bad : {0, 5, 9}) {
    const auto call = [&] {
      parallel_for(10, [&](int64_t task) {
        if (task == bad) throw std::runtime_error("task " + std::to_string(task));
      });
    };
    EXPECT_THAT(call, ThrowsMessage<std::runtime_error>(StrEq("task " + std::to_string(bad))));
    EXPECT_THAT(runs_of(100), Each(1));
  }
  EXPECT_THROW(parallel_for(100, [](int64_t) { throw 7; }), int);  // from everywhere at once: one of them
  EXPECT_THROW(parallel_for(1, [](int64_t) { throw 7; }), int);
  EXPECT_EQ(num_threads(), GetParam());
  EXPECT_THAT(runs_of(100), Each(1));
}

TEST_P(Parallel, calls_from_two_threads_at_once_both_finish) {
  std::vector<std::thread> callers;
  std::atomic<int> incomplete{0};
  for (int caller = 0; caller < 2; ++caller)
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 200; ++repeat)
        for (const int count : runs_of(17)) incomplete += count != 1;
    });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(incomplete, 0);
}

INSTANTIATE_TEST_SUITE_P(Threads, Parallel, ::testing::Values(1, 2, 3),
                         [](const auto& info) { return std::to_string(info.param); });

TEST(SetNumThreads, is_what_num_threads_then_says) {
  for (const int threads : {1, 3, 3, 2, 1}) {
    set_num_threads(threads);
    EXPECT_EQ(num_threads(), threads);
  }
}

TEST(SetNumThreads, takes_less_than_one_as_one) {
  for (const int threads : {0, -3}) {
    set_num_threads(threads);
    EXPECT_EQ(num_threads(), 1);
    EXPECT_THAT(runs_of(5), Each(1));
  }
}

TEST(SetNumThreads, two_threads_really_run_at_the_same_time) {
  set_num_threads(2);
  std::atomic<int> arrived{0};
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  parallel_for(2, [&](int64_t) {
    ++arrived;
    while (arrived < 2 && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
  });
  EXPECT_LT(std::chrono::steady_clock::now(), give_up);
}

}  // namespace
}  // namespace grpo
