// The engine by hand: what is drawn between two looks of the host, and groups that come and go.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <set>
#include <utility>

#include "base/philox.h"
#include "rollout/slots.h"
#include "same_groups.h"
#include "tiny.h"
#include "tokens_seen.h"

namespace grpo {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr DrawStream kStream{11, Purpose::rollout, 5, 0};

// One policy for all tests of this file; none of them changes it for good.
Policy& dense() {
  static Policy policy = tiny::policy();
  return policy;
}

// As generate would make them.
Groups groups_of(const std::vector<Task>& tasks) {
  Groups groups(tasks.size());
  for (size_t g = 0; g < tasks.size(); ++g) {
    groups[g].task = tasks[g], groups[g].index = g;
    groups[g].prompt = tiny::tokenizer().encode(ChatTemplate{}.render(tasks[g]));
  }
  return groups;
}

Groups generate(const RolloutConfig& config, const std::vector<Task>& tasks, const DrawStream& stream = kStream) {
  return tiny::rollout(dense(), config).generate(tasks, stream);
}

int64_t prompt_tokens(const Groups& groups) {
  int64_t total = 0;
  for (const Group& group : groups) total += static_cast<int64_t>(group.prompt.size());
  return total;
}

// ---- the horizon ----------------------------------------------------------------------------------------------------

class Horizon : public testing::TestWithParam<bool> {};

TEST_P(Horizon, changes_no_token_and_no_bit_of_a_logprob) {
  const Policy policy = tiny::policy(tiny::policy_config(DType::float32, GetParam(), GetParam()));
  const auto tasks = tiny::tasks(5);
  RolloutConfig plain = tiny::rollout_config(), tight = plain, narrow = plain, truncated = plain, stopped = plain;
  tight.pages = 6;
  narrow.max_running_sequences = 3, narrow.max_batch_tokens = 7;
  truncated.sampling.top_k = 3;
  stopped.stop = {"never ever", "b c", "a"};
  for (RolloutConfig config : {plain, tight, narrow, truncated, stopped}) {
    Rollout one = tiny::rollout(policy, config);
    const Groups expected = one.generate(tasks, kStream);
    int64_t preempted = 0, dropped = 0;
    for (const int horizon : {2, 3, 7, std::numeric_limits<int>::max()}) {
      SCOPED_TRACE("horizon " + std::to_string(horizon));
      config.horizon = horizon;
      Rollout rollout = tiny::rollout(policy, config);
      expect_same(expected, rollout.generate(tasks, kStream));
      EXPECT_EQ(rollout.stats().completion_tokens, one.stats().completion_tokens);
      EXPECT_EQ(rollout.stats().prompt_tokens, one.stats().prompt_tokens);
      preempted += rollout.stats().preemptions;
      dropped += rollout.stats().dropped_tokens;
    }
    EXPECT_EQ(preempted > 0, config.pages > 0);
    EXPECT_EQ(dropped > 0, !config.stop.empty());
  }
}
INSTANTIATE_TEST_SUITE_P(Policies, Horizon, testing::Bool(),
                         [](const auto& info) { return info.param ? "moe" : "dense"; });

TEST(Steps, end_a_sequence_where_its_tokens_are_drawn) {
  RolloutConfig config = tiny::rollout_config();
  config.horizon = 24;  // as far as a completion may go: the host looks once
  Rollout rollout = tiny::rollout(dense(), config);
  TokensSeen seen;
  const Groups groups = rollout.generate(tiny::tasks(5), kStream);
  EXPECT_EQ(seen.take(), prompt_tokens(groups) + total_tokens(groups) - 20) << "nothing is computed behind an end";
  std::set<Finish> ends;
  for (const Group& group : groups)
    for (const Completion& completion : group.completions) ends.insert(completion.finish);
  EXPECT_EQ(ends.size(), 2u) << "this test needs completions of both kinds";
}

TEST(Steps, count_what_was_drawn_behind_a_stop_string_and_tell_nobody_of_it) {
  RolloutConfig config = tiny::rollout_config(8);
  config.stop = {"b c", "a"};
  const Groups expected = generate(config, tiny::tasks(4));
  config.horizon = 5;
  Rollout rollout = tiny::rollout(dense(), config);
  TokensSeen seen;
  std::map<std::pair<size_t, size_t>, std::vector<int32_t>> told;
  const Groups groups = rollout.generate(tiny::tasks(4), kStream, nullptr, [&](const Group& group, size_t sample) {
    told[{group.index, sample}].push_back(group.completions[sample].tokens.back());
  });
  expect_same(expected, groups);
  const int64_t dropped = rollout.stats().dropped_tokens;
  EXPECT_GT(dropped, 0);
  EXPECT_LE(dropped, 4 * 32);
  EXPECT_EQ(rollout.stats().completion_tokens, total_tokens(groups));
  EXPECT_EQ(seen.take(), prompt_tokens(groups) + total_tokens(groups) + dropped - 32);
  for (const Group& group : groups)
    for (size_t i = 0; i < group.completions.size(); ++i)
      EXPECT_EQ(told.at({group.index, i}), group.completions[i].tokens);
}

TEST(Steps, give_a_running_completion_a_horizon_of_tokens) {
  RolloutConfig config = tiny::rollout_config(1, 20);
  config.ignore_eos = true, config.horizon = 6;
  Rollout rollout = tiny::rollout(dense(), config);
  Groups groups = groups_of(tiny::tasks(1));
  rollout.submit(groups[0], kStream);
  std::vector<size_t> lengths;
  while (rollout.step()) lengths.push_back(groups[0].completions[0].tokens.size());
  EXPECT_THAT(lengths, ElementsAre(1, 7, 13, 19, 20));
  EXPECT_EQ(rollout.stats().forward_passes, 20);
  EXPECT_EQ(rollout.take_finished().size(), 1u);
}

// ---- groups that come and go ----------------------------------------------------------------------------------------

TEST(Steps, give_the_same_completions_whatever_was_submitted_when) {
  const auto tasks = tiny::tasks(6);
  const Groups expected = generate(tiny::rollout_config(), tasks);
  for (const int horizon : {1, 4}) {
    RolloutConfig config = tiny::rollout_config();
    config.horizon = horizon;
    Rollout rollout = tiny::rollout(dense(), config);
    Groups groups = groups_of(tasks);
    std::multiset<std::pair<size_t, size_t>> ended;
    int left = 6;
    while (left > 0 || rollout.unfinished() > 0) {
      if (left > 0) rollout.submit(groups[--left], kStream);  // the last one first, and one a step
      EXPECT_TRUE(rollout.step());
      for (const auto& [group, sample] : rollout.take_finished()) ended.insert({group->index, sample});
    }
    EXPECT_FALSE(rollout.step());
    EXPECT_TRUE(rollout.take_finished().empty());
    expect_same(expected, groups);
    EXPECT_EQ(ended.size(), 24u);
    EXPECT_EQ(std::set(ended.begin(), ended.end()).size(), 24u) << "each is told of once";
    EXPECT_GT(rollout.stats().peak_pages, 2 + 4 * 2) << "the cache grows with what is under way";
    EXPECT_EQ(rollout.stats().completion_tokens, total_tokens(groups));
    EXPECT_EQ(rollout.stats().preemptions, 0);
  }
}

TEST(Steps, draw_from_several_streams_side_by_side) {
  const DrawStream other{12, Purpose::evaluation, 8, 0};
  const auto tasks = tiny::tasks(3);
  Rollout rollout = tiny::rollout(dense(), tiny::rollout_config());
  Groups a = groups_of(tasks), b = groups_of(tasks);
  for (size_t g = 0; g < tasks.size(); ++g) rollout.submit(a[g], kStream), rollout.submit(b[g], other);
  while (rollout.step()) {
  }
  expect_same(generate(tiny::rollout_config(), tasks), a);
  expect_same(generate(tiny::rollout_config(), tasks, other), b);
  EXPECT_NE(tokens_of(a[0]), tokens_of(b[0]));
}

TEST(Steps, forget_what_is_cancelled) {
  const auto tasks = tiny::tasks(5);
  Rollout rollout = tiny::rollout(dense(), tiny::rollout_config());
  Groups groups = groups_of(tasks);
  for (Group& group : groups) rollout.submit(group, kStream);
  EXPECT_EQ(rollout.unfinished(), 20);
  for (int i = 0; i < 8; ++i) rollout.step();
  const Groups seen = groups;
  EXPECT_THAT(error_of([&] { rollout.generate(tasks, kStream); }),
              AllOf(HasSubstr("[rollout] expected nothing under way"), HasSubstr("cancel()")));
  rollout.cancel();
  EXPECT_EQ(rollout.unfinished(), 0);
  EXPECT_FALSE(rollout.step());
  EXPECT_TRUE(rollout.take_finished().empty());
  expect_same(seen, groups);
  expect_same(rollout.generate(tasks, kStream), generate(tiny::rollout_config(), tasks));
}

TEST(Steps, refuse_a_group_that_cannot_be_sampled_and_go_on_with_the_others) {
  Rollout rollout = tiny::rollout(dense(), tiny::rollout_config());
  Groups groups = groups_of(tiny::tasks(2));
  groups[1].prompt.assign(640, 65);
  rollout.submit(groups[0], kStream);
  EXPECT_THAT(error_of([&] { rollout.submit(groups[1], kStream); }),
              AllOf(HasSubstr("[rollout] task " + groups[1].task.id), HasSubstr("max_positions = 640")));
  groups[1].prompt = {65}, groups[1].index = size_t{1} << 32;
  EXPECT_THAT(error_of([&] { rollout.submit(groups[1], kStream); }), HasSubstr("index < 2^24"));
  EXPECT_EQ(rollout.unfinished(), 4);
  while (rollout.step()) {
  }
  expect_same(groups[0].completions[3], generate(tiny::rollout_config(), tiny::tasks(1))[0].completions[3]);
}

TEST(Steps, belong_to_one_version_of_the_weights_which_the_group_knows) {
  Policy policy = tiny::policy();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
  const Groups before = rollout.generate(tiny::tasks(1), kStream);
  EXPECT_EQ(before[0].policy_version, policy.version());
  policy.raise_version();
  Groups groups = groups_of(tiny::tasks(2));
  rollout.submit(groups[0], kStream);
  EXPECT_EQ(groups[0].policy_version, before[0].policy_version + 1);
  EXPECT_TRUE(rollout.step());
  policy.raise_version();
  EXPECT_THAT(error_of([&] { rollout.step(); }), HasSubstr("[rollout] expected weights of version "));
  rollout.cancel();
  rollout.submit(groups[1], kStream);
  EXPECT_TRUE(rollout.step());
}

// ---- the slots ------------------------------------------------------------------------------------------------------

Drawn drawn(const std::vector<int32_t>& tokens) {
  std::vector<float> logprobs;
  for (const int32_t token : tokens) logprobs.push_back(-0.5f * static_cast<float>(token));
  return {at::tensor(tokens, at::kInt), at::tensor(logprobs), 1 - at::tensor(logprobs), {}};
}

TEST(Slots, advance_by_a_token_until_it_ends_them_or_they_come_to_their_limit) {
  Tensor ends = at::zeros({10}, at::kBool);
  ends[7] = true;
  Slots slots(16, 3, ends);
  slots.fit(2, 1);
  slots.place(1, std::vector<int32_t>{4}, 5, -1);  // a prompt of five tokens
  slots.fit(5, 2);
  const int64_t key[] = {11, 0, 3, 2, 1, 6};  // six tokens so far, of which five lie in the pages
  for (const int32_t slot : {0, 2, 3}) {
    slots.place(slot, std::vector<int32_t>{slot, 9}, 5, 1);
    slots.begin(slot, 4, key, slot == 3 ? 7 : 9);
  }
  Drawn next = drawn({3, 7, 8, 1});
  EXPECT_THAT(slots.advance(std::vector<int32_t>{0, 2, -1, 3}, next), ElementsAre(0)) << "2 ended, 3 is at its limit";
  next = drawn({5});
  EXPECT_THAT(slots.advance(std::vector<int32_t>{0}, next), ElementsAre(0));
  const PassBuilder pass = slots.decoding(std::vector<int32_t>{0});
  EXPECT_THAT(pass.tokens, ElementsAre(5));
  EXPECT_THAT(pass.positions, ElementsAre(10)) << "behind the prompt and what lies in the pages";
  EXPECT_THAT(pass.slots, ElementsAre(0));
  slots.lengthen(pass);
  EXPECT_EQ(slots.table.lengths[0].item<int>(), 6);
  EXPECT_EQ(slots.keys_of(std::vector<int32_t>{0})[0][kPositionColumn].item<int64_t>(), 8);
  next = drawn({-1});
  EXPECT_TRUE(slots.advance(std::vector<int32_t>{0}, next).empty()) << "a diverged policy draws no more";
  EXPECT_TRUE(slots.drawn[0].equal(at::tensor(std::vector<int>{3, 5, -1}, at::kInt)));
  EXPECT_TRUE(slots.logprobs[0].equal(at::tensor(std::vector<float>{-1.5f, -2.5f, 0.5f})));
  EXPECT_TRUE(slots.entropies[0].equal(at::tensor(std::vector<float>{2.5f, 3.5f, 0.5f})));
  EXPECT_TRUE(slots.counts.equal(at::tensor(std::vector<int>{3, 0, 1, 1, 0}, at::kInt)));
  EXPECT_EQ(slots.table.pages[1][0].item<int>(), 4) << "what was there stays when there are more";
}

}  // namespace
}  // namespace grpo
