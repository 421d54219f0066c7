#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <stdexcept>

#include "same_groups.h"
#include "tiny.h"
#include "tokens_seen.h"

namespace grpo {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr DrawStream kStream{11, Purpose::rollout, 5, 0};
constexpr int32_t kTokenA = 65;  // any id will do

// One policy for all tests of this program; none of them changes it for good.
Policy& dense() {
  static Policy policy = tiny::policy();
  return policy;
}

Groups generate(const RolloutConfig& config, const std::vector<Task>& tasks, const DrawStream& stream = kStream,
                RolloutStats* stats = nullptr) {
  Rollout rollout = tiny::rollout(dense(), config);
  Groups groups = rollout.generate(tasks, stream);
  if (stats) *stats = rollout.stats();
  return groups;
}

// ---- the same completions, however they are batched -----------------------------------------------------------------

class Batching : public testing::TestWithParam<bool> {};

TEST_P(Batching, changes_no_token_and_no_bit_of_a_logprob) {
  const Policy policy = tiny::policy(tiny::policy_config(DType::float32, GetParam(), GetParam()));
  const auto tasks = tiny::tasks(5);
  const auto run = [&](const RolloutConfig& config, RolloutStats* stats) {
    Rollout rollout = tiny::rollout(policy, config);
    Groups groups = rollout.generate(tasks, kStream);
    *stats = rollout.stats();
    return groups;
  };
  RolloutStats plain, stats;
  const RolloutConfig base = tiny::rollout_config();
  const Groups expected = run(base, &plain);
  EXPECT_EQ(plain.completion_tokens, total_tokens(expected));
  EXPECT_EQ(plain.preemptions, 0);

  for (const auto& [running, batch] : {std::pair{1, 2048}, {3, 7}, {100, 1}, {100, 33}}) {
    SCOPED_TRACE("max_running_sequences " + std::to_string(running) + ", max_batch_tokens " + std::to_string(batch));
    RolloutConfig config = base;
    config.max_running_sequences = running;
    config.max_batch_tokens = batch;
    expect_same(expected, run(config, &stats));
    EXPECT_LE(stats.peak_running, running);
    EXPECT_EQ(stats.prompt_tokens, plain.prompt_tokens);
  }

  RolloutConfig tight = base;
  tight.pages = 6;
  expect_same(expected, run(tight, &stats));
  EXPECT_GT(stats.preemptions, 0);
  EXPECT_GT(stats.recomputed_tokens, 0);
  EXPECT_LE(stats.peak_pages, 6);
  tight.max_batch_tokens = 15;
  expect_same(expected, run(tight, &stats));
  EXPECT_GT(stats.preemptions, 0);

  RolloutConfig wide = base;
  wide.page_size = 48;
  expect_same(expected, run(wide, &stats));
}
INSTANTIATE_TEST_SUITE_P(Policies, Batching, testing::Bool(),
                         [](const auto& info) { return info.param ? "moe" : "dense"; });

TEST(Rollout, gives_a_task_the_same_completions_in_any_company_at_the_same_index) {
  const auto tasks = tiny::tasks(5);
  const Groups all = generate(tiny::rollout_config(), tasks);
  for (uint32_t g = 0; g < tasks.size(); ++g) {
    EXPECT_EQ(all[g].index, g);
    DrawStream stream = kStream;
    stream.first_index = g;
    const Groups alone = generate(tiny::rollout_config(), {tasks[g]}, stream);
    EXPECT_EQ(alone[0].index, g);
    expect_same({all[g]}, alone);
  }
  // A larger group begins with the samples of a smaller one.
  const Groups more = generate(tiny::rollout_config(6), tasks);
  for (size_t i = 0; i < 4; ++i) expect_same(all[2].completions[i], more[2].completions[i]);
}

TEST(Rollout, draws_anew_for_the_same_task_elsewhere_and_for_other_purposes_steps_and_seeds) {
  const Task task = tiny::task("ab");
  const Groups twice = generate(tiny::rollout_config(), {task, task});
  EXPECT_EQ(twice[0].prompt, twice[1].prompt);
  std::set<std::vector<std::vector<int32_t>>> seen{tokens_of(twice[0]), tokens_of(twice[1])};
  for (const DrawStream& stream : {DrawStream{11, Purpose::evaluation, 5, 0}, DrawStream{11, Purpose::rollout, 6, 0},
                                   DrawStream{12, Purpose::rollout, 5, 0}, DrawStream{11, Purpose::rollout, 5, 2}})
    seen.insert(tokens_of(generate(tiny::rollout_config(), {task}, stream)[0]));
  EXPECT_EQ(seen.size(), 6u);
  const auto samples = tokens_of(twice[0]);
  EXPECT_GT(std::set(samples.begin(), samples.end()).size(), 1u);
}

TEST(Rollout, repeats_itself_and_reads_nothing_that_an_earlier_call_left_in_the_pages) {
  Policy policy = tiny::policy();
  const NamedTensors healthy = [&] {
    NamedTensors copy;
    for (const auto& [name, tensor] : policy.state()) copy.emplace_back(name, tensor.clone());
    return copy;
  }();
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config());
  const Groups first = rollout.generate(tiny::tasks(4), kStream);
  expect_same(first, rollout.generate(tiny::tasks(4), kStream));

  {
    at::NoGradGuard guard;
    for (const auto& [name, tensor] : policy.parameters())
      if (name == "model.embed_tokens.weight") tensor.fill_(std::numeric_limits<float>::quiet_NaN());
  }
  EXPECT_THAT(error_of([&] { rollout.generate(tiny::tasks(4), kStream); }), HasSubstr("NaN"));
  policy.load_state(healthy);
  expect_same(first, rollout.generate(tiny::tasks(4), kStream));
}

// ---- what a token costs ---------------------------------------------------------------------------------------------

TEST(Rollout, computes_the_prompt_once_for_its_group_and_no_token_twice) {
  const std::vector<int32_t> prompt(512, kTokenA);
  const auto run = [&](int samples, RolloutStats* stats) {
    RolloutConfig config = tiny::rollout_config(samples, 1);
    Rollout rollout = tiny::rollout(dense(), config);
    TokensSeen seen;
    const Groups groups = rollout.generate({tiny::task("long")}, {prompt}, kStream);
    *stats = rollout.stats();
    EXPECT_EQ(total_tokens(groups), samples);
    return seen.take();
  };
  RolloutStats one, eight;
  EXPECT_EQ(run(1, &one), 512);
  EXPECT_EQ(run(8, &eight), 512);
  EXPECT_EQ(eight.prompt_tokens, 512);
  EXPECT_EQ(eight.forward_passes, one.forward_passes);
  EXPECT_EQ(eight.peak_pages, 32) << "the prompt's pages are held once";
  EXPECT_EQ(eight.completion_tokens, 8);

  // Over whole completions: all tokens but the last of each go through the policy, once.
  Rollout rollout = tiny::rollout(dense(), tiny::rollout_config());
  TokensSeen seen;
  const Groups groups = rollout.generate(tiny::tasks(5), kStream);
  int64_t prompts = 0;
  for (const Group& group : groups) prompts += static_cast<int64_t>(group.prompt.size());
  EXPECT_EQ(rollout.stats().prompt_tokens, prompts);
  EXPECT_EQ(seen.take(), prompts + total_tokens(groups) - 20);
  EXPECT_EQ(rollout.stats().recomputed_tokens, 0);
}

// ---- how completions end --------------------------------------------------------------------------------------------

TEST(Rollout, stores_the_end_of_sequence_as_a_token_that_is_not_text) {
  const Groups groups = generate(tiny::rollout_config(8), tiny::tasks(4));
  const int32_t eos = tiny::tokenizer().eos();
  int ended = 0, cut = 0;
  for (const Group& group : groups)
    for (const Completion& completion : group.completions) {
      ASSERT_EQ(completion.tokens.size(), completion.logprobs.size());
      ASSERT_EQ(completion.tokens.size(), completion.entropies.size());
      ASSERT_FALSE(completion.tokens.empty());
      EXPECT_TRUE(completion.kept.empty());
      for (const float logprob : completion.logprobs) EXPECT_LT(logprob, 0.0f);
      EXPECT_EQ(std::count(completion.tokens.begin(), completion.tokens.end() - 1, eos), 0);
      std::vector<int32_t> readable = completion.tokens;
      if (completion.finish == Finish::stop) {
        ++ended;
        EXPECT_EQ(readable.back(), eos);
        readable.pop_back();
      } else {
        ++cut;
        EXPECT_EQ(readable.size(), 24u);
        EXPECT_NE(readable.back(), eos);
      }
      EXPECT_EQ(completion.text, tiny::tokenizer().decode(readable));
    }
  EXPECT_GT(ended, 0) << "this test needs completions of both kinds";
  EXPECT_GT(cut, 0) << "this test needs completions of both kinds";
}

TEST(Rollout, goes_on_behind_the_end_of_sequence_when_told_to_ignore_it) {
  RolloutConfig config = tiny::rollout_config(8);
  config.ignore_eos = true;
  const Groups groups = generate(config, tiny::tasks(4)), plain = generate(tiny::rollout_config(8), tiny::tasks(4));
  int beyond = 0;
  for (size_t g = 0; g < groups.size(); ++g)
    for (size_t i = 0; i < 8; ++i) {
      const Completion &a = plain[g].completions[i], &b = groups[g].completions[i];
      EXPECT_EQ(b.tokens.size(), 24u);
      EXPECT_EQ(b.finish, Finish::length);
      EXPECT_TRUE(std::equal(a.tokens.begin(), a.tokens.end(), b.tokens.begin()));
      beyond += a.tokens.size() < b.tokens.size();
    }
  EXPECT_GT(beyond, 0);
}

TEST(Rollout, ends_at_a_stop_string_whose_text_is_cut_and_whose_tokens_stay) {
  const auto tasks = tiny::tasks(4);
  const Groups plain = generate(tiny::rollout_config(8), tasks);
  // A string that several completions hold and that is no single token: its first appearance ends them.
  for (const std::string& stop : {std::string("b c"), std::string("a"), std::string("bc")}) {
    RolloutConfig config = tiny::rollout_config(8);
    config.stop = {"never ever", stop};
    const Groups groups = generate(config, tasks);
    int stopped = 0, spanning = 0;
    for (size_t g = 0; g < groups.size(); ++g)
      for (size_t i = 0; i < 8; ++i) {
        SCOPED_TRACE('"' + stop + "\" in group " + std::to_string(g) + ", sample " + std::to_string(i));
        const Completion &a = plain[g].completions[i], &b = groups[g].completions[i];
        const size_t found = a.text.find(stop);
        if (found == std::string::npos) {
          expect_same(a, b);
          continue;
        }
        ++stopped;
        EXPECT_EQ(b.finish, Finish::stop);
        EXPECT_EQ(b.text, a.text.substr(0, found));
        // As many tokens as it takes to complete the stop string, and not one more.
        size_t needed = 0;
        while (tiny::tokenizer().decode({a.tokens.data(), needed}).size() < found + stop.size()) ++needed;
        ASSERT_EQ(b.tokens.size(), needed);
        EXPECT_TRUE(std::equal(b.tokens.begin(), b.tokens.end(), a.tokens.begin()));
        EXPECT_TRUE(std::equal(b.logprobs.begin(), b.logprobs.end(), a.logprobs.begin()));
        spanning += tiny::tokenizer().decode({&a.tokens[needed - 1], 1}).size() < stop.size();
      }
    EXPECT_GT(stopped, 0) << stop;
    EXPECT_TRUE(stop.size() == 1 || spanning > 0) << stop;
  }
}

TEST(Rollout, takes_the_most_likely_token_at_temperature_0_whatever_the_seed) {
  RolloutConfig config = tiny::rollout_config(2);
  config.sampling.temperature = 0;
  const auto tasks = tiny::tasks(3);
  const Groups a = generate(config, tasks, {1, Purpose::rollout, 0, 0}),
               b = generate(config, tasks, {2, Purpose::evaluation, 9, 4});
  for (size_t g = 0; g < a.size(); ++g) {
    EXPECT_EQ(tokens_of(a[g]), tokens_of(b[g]));
    EXPECT_EQ(a[g].completions[0].tokens, a[g].completions[1].tokens);
    // The policy's own forward agrees that each token is the most likely one.
    std::vector<int32_t> tokens = a[g].prompt;
    tokens.insert(tokens.end(), a[g].completions[0].tokens.begin(), a[g].completions[0].tokens.end());
    PassBuilder pass;
    pass.add(tokens);
    at::NoGradGuard guard;
    const at::Tensor best = dense().logits(dense().hidden(pass.build())).argmax(-1);
    for (size_t i = a[g].prompt.size(); i < tokens.size(); ++i)
      EXPECT_EQ(best[static_cast<int64_t>(i) - 1].item<int64_t>(), tokens[i]);
  }
}

TEST(Rollout, keeps_the_set_of_a_truncated_draw_and_its_probability_within_it) {
  RolloutConfig config = tiny::rollout_config();
  config.sampling.top_k = 3;
  const Groups groups = generate(config, tiny::tasks(3));
  const Groups plain = generate(tiny::rollout_config(), tiny::tasks(3));
  for (const Group& group : groups)
    for (const Completion& completion : group.completions) {
      ASSERT_EQ(completion.kept.size(), completion.tokens.size());
      for (size_t t = 0; t < completion.tokens.size(); ++t) {
        EXPECT_EQ(completion.kept[t].size(), 3u);
        EXPECT_TRUE(std::is_sorted(completion.kept[t].begin(), completion.kept[t].end()));
        EXPECT_TRUE(std::binary_search(completion.kept[t].begin(), completion.kept[t].end(), completion.tokens[t]));
      }
    }
  // The most likely of three at each place has at least a third of the mass that is left.
  config.sampling.top_k = 1;
  for (const Group& group : generate(config, tiny::tasks(3)))
    for (const Completion& completion : group.completions)
      for (const float logprob : completion.logprobs) EXPECT_EQ(logprob, 0.0f);
  EXPECT_TRUE(plain[0].completions[0].kept.empty());
}

// ---- the world outside ----------------------------------------------------------------------------------------------

TEST(Rollout, tells_of_each_completion_once_when_it_has_ended_at_the_address_where_it_stays) {
  Rollout rollout = tiny::rollout(dense(), tiny::rollout_config());
  std::map<const Group*, std::multiset<size_t>> told;
  std::vector<std::pair<const Completion*, Completion>> ended;
  const Groups groups = rollout.generate(tiny::tasks(5), kStream, [&](Group& group, size_t sample) {
    told[&group].insert(sample);
    ended.emplace_back(&group.completions[sample], group.completions[sample]);
  });
  ASSERT_EQ(told.size(), 5u);
  for (const Group& group : groups) EXPECT_EQ(told[&group], (std::multiset<size_t>{0, 1, 2, 3}));
  for (const auto& [address, copy] : ended) expect_same(*address, copy);
  std::set<size_t> lengths;
  for (const auto& [address, copy] : ended) lengths.insert(copy.tokens.size());
  EXPECT_GT(lengths.size(), 1u);
  EXPECT_FALSE(std::is_sorted(ended.begin(), ended.end(), [](const auto& a, const auto& b) {
    return a.first < b.first;
  })) << "completions should be told of as they end, not in the order of the groups";
}

TEST(Rollout, tells_of_each_token_when_it_was_drawn) {
  Rollout rollout = tiny::rollout(dense(), tiny::rollout_config());
  const auto tasks = tiny::tasks(3);
  std::vector<std::vector<int32_t>> prompts;
  for (const Task& task : tasks) prompts.push_back(tiny::tokenizer().encode(ChatTemplate{}.render(task)));
  std::map<std::pair<size_t, size_t>, std::vector<int32_t>> told;
  const Groups groups = rollout.generate(
      tasks, prompts, kStream,
      [&](Group& group, size_t sample) {
        EXPECT_EQ(told.at({group.index, sample}), group.completions[sample].tokens) << "the last one, too";
      },
      [&](const Group& group, size_t sample) {
        told[{group.index, sample}].push_back(group.completions[sample].tokens.back());
      });
  for (const Group& group : groups)
    for (size_t i = 0; i < group.completions.size(); ++i)
      EXPECT_EQ(told.at({group.index, i}), group.completions[i].tokens);
}

TEST(Rollout, keeps_groups_that_were_told_of_readable_when_it_fails) {
  Rollout rollout = tiny::rollout(dense(), tiny::rollout_config());
  std::pair<Group*, size_t> told{};
  int calls = 0;
  EXPECT_THROW(rollout.generate(tiny::tasks(5), kStream,
                                [&](Group& group, size_t sample) {
                                  told = {&group, sample};
                                  if (++calls == 3) throw std::runtime_error("enough");
                                }),
               std::runtime_error);
  EXPECT_EQ(told.first->task.id, tiny::tasks(5)[told.first->index].id);
  EXPECT_FALSE(told.first->completions[told.second].tokens.empty());
  expect_same(rollout.generate(tiny::tasks(5), kStream), generate(tiny::rollout_config(), tiny::tasks(5)));
}

TEST(Rollout, names_the_task_and_the_knob_of_what_cannot_be_sampled) {
  Rollout rollout = tiny::rollout(dense(), tiny::rollout_config());
  EXPECT_TRUE(rollout.generate({}, kStream).empty());
  EXPECT_THAT(error_of([&] { rollout.generate({tiny::task("x")}, {{}}, kStream); }),
              AllOf(HasSubstr("[rollout] task task-x"), HasSubstr("at least one token")));
  EXPECT_THAT(error_of([&] {
                rollout.generate({tiny::task("x")}, {{5, 100'000}}, kStream);
              }),
              AllOf(HasSubstr("[rollout] task task-x"), HasSubstr("got 100000")));
  EXPECT_THAT(error_of([&] { rollout.generate(tiny::tasks(3), {{65}, {65}}, kStream); }),
              HasSubstr("[rollout] expected a prompt for each of 3 tasks, got 2"));
  EXPECT_THAT(error_of([&] { rollout.generate(tiny::tasks(1), {{65}, {65}}, kStream); }),
              HasSubstr("a prompt for each of 1 tasks, got 2"));
  for (const DrawStream& beyond : {DrawStream{.first_index = (1u << 24) - 2}, DrawStream{.first_index = ~0u},
                                   DrawStream{.step = uint64_t{1} << 32}, DrawStream{.indices = {0, 1, 1u << 24}}})
    EXPECT_THAT(error_of([&] { rollout.generate(tiny::tasks(3), beyond); }),
                HasSubstr("expected step < 2^32, index < 2^24"));
  EXPECT_EQ(rollout.stats().completion_tokens, 0) << "refused before anything was sampled";
  const std::vector<int32_t> fits(640 - 24, 65), too_long(640 - 23, 65);
  EXPECT_EQ(rollout.refusal(fits), "");
  EXPECT_THAT(rollout.refusal(too_long),
              HasSubstr("a prompt of 617 tokens and 24 new ones exceed policy.max_positions"));
  EXPECT_EQ(rollout.refusal(tiny::task("x")), "");
  EXPECT_THAT(rollout.refusal(tiny::task(std::string(2000, 'x'))), HasSubstr("exceed policy.max_positions = 640"));
  EXPECT_THAT(rollout.refusal(tiny::task(std::string(2'000'000, 'x'))), HasSubstr("a prompt of at least "));
  EXPECT_EQ(rollout.generate({tiny::task("x")}, {fits}, kStream).size(), 1u);
  EXPECT_THAT(error_of([&] { rollout.generate({tiny::task("x")}, {too_long}, kStream); }),
              AllOf(HasSubstr("task-x"), HasSubstr("policy.max_positions = 640"), HasSubstr("max_new_tokens")));
}

TEST(Rollout, names_the_knob_of_a_cache_that_does_not_hold_a_prompt_and_a_completion) {
  const std::vector<int32_t> prompt(33, 65);  // three pages, and two for up to 23 tokens of its own
  RolloutConfig config = tiny::rollout_config();
  config.pages = 5;
  EXPECT_EQ(
      total_tokens(tiny::rollout(dense(), config).generate({tiny::task("x")}, {prompt}, kStream)),
      total_tokens(tiny::rollout(dense(), tiny::rollout_config()).generate({tiny::task("x")}, {prompt}, kStream)));
  config.pages = 4;
  EXPECT_THAT(error_of([&] { tiny::rollout(dense(), config).generate({tiny::task("x")}, {prompt}, kStream); }),
              AllOf(HasSubstr("need 5 pages of 16 tokens, got 4"), HasSubstr("raise pages or lower max_new_tokens")));
  config.pages = 0;
  config.cache_gigabytes = 4.5 * dense().config().page_bytes(16) / 1e9;
  EXPECT_THAT(error_of([&] { tiny::rollout(dense(), config).generate({tiny::task("x")}, {prompt}, kStream); }),
              AllOf(HasSubstr("need 5 pages"), HasSubstr("raise cache_gigabytes")));
}

TEST(Rollout, ends_completions_where_the_positions_do_if_a_program_says_so) {  // each is the beginning of a longer one
  RolloutConfig config = tiny::rollout_config();
  config.max_new_tokens = 10000, config.ignore_eos = true, config.ends_at_context = true;
  const std::vector<int32_t> long_prompt(635, 65), longer(639, 66), none(640, 65);
  const auto ended =
      tiny::rollout(dense(), config).generate({tiny::task("x"), tiny::task("y")}, {long_prompt, longer}, kStream);
  config.max_new_tokens = 5, config.ends_at_context = false;
  const auto whole = tiny::rollout(dense(), config).generate({tiny::task("x")}, {long_prompt}, kStream);
  for (size_t i = 0; i < whole[0].completions.size(); ++i) {
    EXPECT_EQ(ended[0].completions[i].tokens, whole[0].completions[i].tokens);
    EXPECT_EQ(ended[0].completions[i].finish, Finish::length);
    EXPECT_EQ(ended[1].completions[i].tokens.size(), 1u);
  }
  config.ends_at_context = true;
  EXPECT_THAT(error_of([&] { tiny::rollout(dense(), config).generate({tiny::task("x")}, {none}, kStream); }),
              HasSubstr("a prompt of 640 tokens leaves no room in the model's 640 positions"));
}

TEST(Rollout, refuses_configurations_by_which_no_prompt_could_be_answered) {
  const PolicyConfig shape = dense().config();
  const auto refused = [&](const RolloutConfig& c) { return error_of([&] { require_room(c, shape, "x.rollout"); }); };
  RolloutConfig config = tiny::rollout_config();  // 24 new tokens: two pages, and one for the prompt
  EXPECT_EQ(refused(config), "(no error)");
  config.pages = 3;
  EXPECT_EQ(refused(config), "(no error)");
  config.pages = 2;
  EXPECT_THAT(refused(config), StartsWith("[config] x.rollout.pages: expected at least 3, got 2"));
  config.pages = 0, config.cache_gigabytes = 3.01 * dense().config().page_bytes(16) / 1e9;
  EXPECT_EQ(refused(config), "(no error)");
  config.cache_gigabytes = 2.99 * dense().config().page_bytes(16) / 1e9;
  EXPECT_THAT(refused(config), StartsWith("[config] x.rollout.cache_gigabytes: expected at least "));
  config = tiny::rollout_config(), config.max_new_tokens = shape.max_positions;
  EXPECT_THAT(refused(config), StartsWith("[config] x.rollout.max_new_tokens: expected less than policy.max_pos"));
}

TEST(Rollout, names_the_knob_of_a_value_out_of_range) {
  for (const auto& [change, message] : std::vector<std::pair<std::function<void(RolloutConfig&)>, std::string>>{
           {[](RolloutConfig& c) { c.samples = 0; }, "rollout.samples"},
           {[](RolloutConfig& c) { c.samples = (1 << 16) + 1; }, "rollout.samples: expected 1 <= x <= 65536"},
           {[](RolloutConfig& c) { c.max_new_tokens = 0; }, "rollout.max_new_tokens"},
           {[](RolloutConfig& c) { c.page_size = 24; },
            "rollout.page_size: expected a multiple of 16 with 16 <= x <= 4096, got 24"},
           {[](RolloutConfig& c) { c.pages = -1; }, "rollout.pages"},
           {[](RolloutConfig& c) { c.stop = {""}; }, "rollout.stop"},
           {[](RolloutConfig& c) { c.horizon = 0; }, "horizon: expected at least 1, got 0"},
           {[](RolloutConfig& c) { c.sampling.top_p = 0; }, "top_p"}}) {
    RolloutConfig bad = tiny::rollout_config();
    change(bad);
    EXPECT_THAT(error_of([&] { tiny::rollout(dense(), bad); }), HasSubstr(message));
  }
}

}  // namespace
}  // namespace grpo
