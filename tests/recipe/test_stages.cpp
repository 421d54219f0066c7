// Every stage as a function, on tiny policies: what it learns from, and that an end in the middle leaves no trace.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "error_of.h"
#include "files.h"
#include "grpo/evaluate.h"
#include "grpo/stages.h"
#include "grpo/stop.h"
#include "recipe/held_out.h"
#include "stages_test.h"
#include "tiny.h"

namespace grpo {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::vector<Demonstration> demonstrations(size_t count, const std::string& completion) {
  std::vector<Demonstration> all;
  for (size_t i = 0; i < count; ++i) all.push_back(demonstration(completion + std::to_string(i), completion));
  return all;
}

// ---- pretrain -------------------------------------------------------------------------------------------------------

Corpus corpus(const ChatTemplate& chat) {
  TasksConfig tasks;
  tasks.arithmetic.max_operand = 9;
  return Corpus(CorpusConfig{}, tasks, chat);
}

TEST_F(Stages, pretraining_learns_every_document_with_its_prompt) {
  const Corpus texts = corpus(chat_);
  PretrainConfig config;
  config.steps = 3;
  config.documents_per_step = 2;
  const StageResult result = in_run("whole", [&](Stage& stage) { return pretrain(stage, config, texts); });
  const auto lines = metrics_without_timings(folder_ / "whole");
  ASSERT_EQ(lines.size(), 3u);
  int64_t total = 0;
  for (uint64_t step = 0; step < 3; ++step) {
    int64_t tokens = 0;
    for (uint64_t i = 2 * step; i < 2 * step + 2; ++i) {
      const Document document = texts.document(i);
      tokens +=
          static_cast<int64_t>(tiny::tokenizer().encode(document.prompt).size()) - 1 + tokens_of(document.completion);
    }
    EXPECT_EQ(lines[step]["gradient_tokens"], static_cast<double>(tokens))
        << "all but the first token of each are learned";
    EXPECT_GT(lines[step]["loss"].get<double>(), 0);
    total += tokens;
  }
  EXPECT_EQ(result.gradient_tokens, total);
}

TEST_F(Stages, pretraining_goes_on_where_it_was_stopped) {
  const Corpus texts = corpus(chat_);
  PretrainConfig config;
  config.steps = 4;
  config.documents_per_step = 2;
  config.optimizer = decaying();
  expect_stops_to_leave_no_trace([&](Stage& stage) { return pretrain(stage, config, texts); }, 4, /*moe=*/true);
}

TEST_F(Stages, a_stage_without_steps_is_finished_and_saved_at_once) {
  const Corpus texts = corpus(chat_);
  PretrainConfig config;
  config.steps = 0;
  const StageResult result = in_run("whole", [&](Stage& stage) { return pretrain(stage, config, texts); });
  EXPECT_TRUE(result.finished);
  EXPECT_EQ(result.steps, 0);
  EXPECT_TRUE(newest_checkpoint(folder_ / "whole").has_value());
}

TEST_F(Stages, a_learning_rate_that_rounding_takes_back_is_told_of) {
  const Corpus texts = corpus(chat_);
  PretrainConfig config;
  config.steps = 1;
  config.documents_per_step = 2;
  config.optimizer.learning_rate = 1e-12;
  in_run("whole", [&](Stage& stage) { return pretrain(stage, config, texts); });
  EXPECT_THAT(read_file(folder_ / "whole/log.txt"),
              AllOf(HasSubstr("warning: 100 % of the weights"), HasSubstr("raise optimizer.learning_rate")));
}

TEST_F(Stages, measuring_ends_when_asked_to_stop_and_is_done_again) {
  RecipeEvaluation settings;
  settings.problems = 4, settings.samples = 1, settings.max_new_tokens = 8;
  settings.general_problems = 0, settings.pairs = 0;
  TasksConfig tasks;
  tasks.arithmetic.max_operand = 9;
  const HeldOut held_out(settings, tasks, chat_, 5);
  for (const bool asked : {true, false})
    in_run("whole", [&](Stage& stage) {
      const auto measure = [&] { held_out.measure(stage.policy, stage.tokenizer, nullptr, stage.run); };
      if (asked) {
        std::raise(SIGTERM);
        EXPECT_THROW(measure(), Interrupted);
      } else {
        measure();
      }
      EXPECT_EQ(fs::exists(stage.run.folder() / "evaluation.json"), !asked);
      return 0;
    });
}

TEST_F(Stages, a_stage_that_went_further_than_a_shortened_config_ends) {
  const Corpus texts = corpus(chat_);
  PretrainConfig config;
  config.steps = 4;
  config.documents_per_step = 1;
  for (int i = 0; i < 2; ++i)
    in_run("whole", [&](Stage& stage) {
      std::raise(SIGTERM);
      return pretrain(stage, config, texts);
    });
  config.steps = 1;
  const StageResult result = in_run("whole", [&](Stage& stage) {
    std::raise(SIGTERM);  // ends a stage that would go on for ever, unfinished
    return pretrain(stage, config, texts);
  });
  EXPECT_TRUE(result.finished);
  EXPECT_EQ(result.steps, 2);
  EXPECT_TRUE(in_run("whole", [&](Stage& stage) { return pretrain(stage, config, texts); }).finished)
      << "that, too, is saved";
}

// ---- sft ------------------------------------------------------------------------------------------------------------

TEST_F(Stages, fine_tuning_counts_the_tokens_of_the_completions_alone) {
  // Lengths that tell which demonstrations were learned: each epoch goes once through all of them.
  std::vector<Demonstration> all;
  std::multiset<double> expected;
  for (size_t i = 0; i < 6; ++i) {
    all.push_back(demonstration(std::string(3 * i + 1, '0'), std::string(1 + i * i, '1')));
    for (int epoch = 0; epoch < 2; ++epoch) expected.insert(static_cast<double>(2 + i * i));
  }
  SftConfig config;
  config.epochs = 2;
  config.documents_per_step = 1;
  const StageResult result = in_run("whole", [&](Stage& stage) { return sft(stage, config, {{all, 0}}); });
  EXPECT_EQ(result.steps, 12);
  std::vector<double> got;
  for (const Json& line : metrics_without_timings(folder_ / "whole"))
    got.push_back(line["gradient_tokens"].get<double>());
  EXPECT_EQ(std::multiset<double>(got.begin(), got.end()), expected);
  EXPECT_EQ(std::multiset<double>(got.begin(), got.begin() + 6), std::multiset<double>(got.begin() + 6, got.end()))
      << "once in each epoch";
  EXPECT_NE(std::vector<double>(got.begin(), got.begin() + 6), std::vector<double>(got.begin() + 6, got.end()))
      << "in another order";
  EXPECT_EQ(result.gradient_tokens, 2 * (2 + 3 + 6 + 11 + 18 + 27));
}

TEST_F(Stages, fine_tuning_does_not_learn_the_prompt) {
  // Of two policies, one that saw a prompt as part of a document: the other's loss on it must not fall.
  SftConfig config;
  config.epochs = 8;
  config.documents_per_step = 1;
  config.optimizer.learning_rate = 1e-2;
  in_run("whole", [&](Stage& stage) {
    sft(stage, config, {{{demonstration("0123456789", "c")}, 0}});
    return 0;
  });
  double loss[2];
  for (const bool trained : {false, true}) {
    Policy policy = tiny::policy();
    if (trained) policy.load_state(read_checkpoint(*newest_checkpoint(folder_ / "whole")).policy);
    OptimizerConfig none;
    none.learning_rate = 1e-9;
    Trainer trainer(policy, none);
    loss[trained] =
        trainer.update(std::vector<Example>{{tiny::tokenizer().encode(chat_.render(tiny::task("0123456789"))), 1}}, 0)
            .loss;
  }
  EXPECT_GT(loss[1], loss[0] * 0.97) << "eight updates on the prompt would halve it";
}

TEST_F(Stages, fine_tuning_mixes_its_sets_at_their_shares) {
  const DemonstrationSet shorter{demonstrations(3, "1"), 3}, longer{demonstrations(5, "111111111"), 1};
  SftConfig config;
  config.documents_per_step = 8;
  config.epochs = 4;
  const auto tokens_per_step = [&](const std::string& name, std::vector<DemonstrationSet> sets) {
    in_run(name, [&](Stage& stage) { return sft(stage, config, sets); });
    std::vector<double> tokens;
    for (const Json& line : metrics_without_timings(folder_ / name))
      tokens.push_back(line["gradient_tokens"].get<double>());
    return tokens;
  };
  EXPECT_EQ(tokens_per_step("shares", {shorter, longer}), std::vector<double>(4, 6 * 2 + 2 * 10));
  EXPECT_EQ(tokens_per_step("sizes", {{shorter.demonstrations, 0}, {longer.demonstrations, 0}}),
            std::vector<double>(4, 3 * 2 + 5 * 10));
  EXPECT_EQ(tokens_per_step("one", {{shorter.demonstrations, 0}, longer}), std::vector<double>(4, 8 * 10))
      << "no share, no turn";
}

TEST_F(Stages, fine_tuning_goes_on_where_it_was_stopped) {
  SftConfig config;
  config.documents_per_step = 3;
  config.epochs = 1.5;
  config.optimizer = decaying();
  std::vector<DemonstrationSet> sets{{demonstrations(4, "1"), 2}, {demonstrations(4, "23"), 1}};
  for (size_t i = 0; i < 4; ++i)
    sets[0].demonstrations[i].completion += std::string(i, '0'),
        sets[1].demonstrations[i].completion += std::string(i, '4');
  expect_stops_to_leave_no_trace([&](Stage& stage) { return sft(stage, config, sets); }, 4);
}

TEST_F(Stages, fine_tuning_ends_after_the_step_that_reaches_the_tokens_to_match) {
  SftConfig config;
  config.documents_per_step = 2;
  config.epochs = 100;
  for (const auto& [limit, tokens] : std::vector<std::pair<int64_t, int64_t>>{{1, 8}, {16, 16}, {17, 24}}) {
    config.max_gradient_tokens = limit;
    const StageResult result = in_run("to" + std::to_string(limit), [&](Stage& stage) {
      return sft(stage, config, {{demonstrations(4, "123"), 0}});
    });
    EXPECT_TRUE(result.finished);
    EXPECT_EQ(result.gradient_tokens, tokens);
    EXPECT_EQ(result.steps, tokens / 8);
  }
}

TEST_F(Stages, fine_tuning_refuses_what_it_cannot_learn_before_it_begins) {
  const auto error = [&](const std::vector<DemonstrationSet>& sets, SftConfig config = {}) {
    return in_run("refused", [&](Stage& stage) { return error_of([&] { sft(stage, config, sets); }); });
  };
  const int64_t positions = tiny::policy_config().max_positions;
  const int64_t frame = static_cast<int64_t>(tiny::tokenizer().encode(chat_.render(tiny::task("x"))).size()) + 1;
  const auto as_long_as = [&](int64_t length) {
    Demonstration each = demonstration("x", std::string(static_cast<size_t>(length - frame), '1'));
    each.task.id = "the-long-one";
    return std::vector<Demonstration>{demonstration("y", "c"), each};
  };
  SftConfig strict;
  strict.on_bad = BadTasks::refuse;
  EXPECT_THAT(error({{as_long_as(positions + 1), 0}}, strict),
              AllOf(HasSubstr("[sft] demonstration \"the-long-one\""), HasSubstr("max_positions = 640"),
                    HasSubstr("got 641"), HasSubstr("on_bad = drop")));
  std::vector<Demonstration> too_long = as_long_as(positions + 1);
  too_long.erase(too_long.begin());
  EXPECT_THAT(error({{demonstrations(2, "c"), 1}, {too_long, 1}}),
              AllOf(HasSubstr("expected demonstrations that can be learned, got none"), HasSubstr("the-long-one")));
  EXPECT_FALSE(fs::exists(folder_ / "refused/checkpoints"));
  EXPECT_THAT(error({}), HasSubstr("expected demonstrations, got none"));
  EXPECT_THAT(error({{demonstrations(2, "c"), 1}, {{}, 1}}), HasSubstr("got an empty one"));
  EXPECT_THAT(error({{demonstrations(2, "c"), -1}}), HasSubstr("share"));
  SftConfig none;
  none.documents_per_step = 0;
  EXPECT_THAT(error({{demonstrations(2, "c"), 1}}, none), HasSubstr("documents_per_step"));
  EXPECT_EQ(error({{as_long_as(positions), 0}}), "(no error)");
}

TEST_F(Stages, fine_tuning_leaves_out_what_is_too_long_and_says_so) {
  std::vector<Demonstration> all = demonstrations(4, "cc");
  const auto learned = [&](const std::string& name) {
    SftConfig config;
    config.documents_per_step = 2;
    const StageResult result = in_run(name, [&](Stage& stage) { return sft(stage, config, {{all, 0}}); });
    return std::pair(result.steps, metrics_without_timings(folder_ / name));
  };
  const auto without = learned("without");
  EXPECT_EQ(without.first, 2);
  EXPECT_THAT(read_file(folder_ / "without/log.txt"), testing::Not(HasSubstr("left out")));
  Demonstration too_long = demonstration("x", std::string(1000, '1'));
  too_long.task.id = "the-long-one";
  all.push_back(too_long);
  EXPECT_EQ(learned("with"), without);
  EXPECT_THAT(read_file(folder_ / "with/log.txt"),
              HasSubstr("warning: 1 of 5 demonstrations are left out: demonstration \"the-long-one\": expected "));
}

TEST_F(Stages, a_saved_state_is_checked_before_it_is_used) {
  SftConfig config;
  config.epochs = 4;
  config.documents_per_step = 2;
  const auto work = [&](Stage& stage, size_t sets) {
    return sft(stage, config, std::vector<DemonstrationSet>(sets, {demonstrations(4, "c"), 1}));
  };
  in_run("whole", [&](Stage& stage) {
    std::raise(SIGTERM);
    return work(stage, 1);
  });
  const std::string file = (*newest_checkpoint(folder_ / "whole") / "state.json").string();
  EXPECT_THAT(in_run("whole", [&](Stage& stage) { return error_of([&] { work(stage, 2); }); }),
              AllOf(HasSubstr("[checkpoint] " + file + ": given: expected a list of 2 numbers, got [2]"),
                    HasSubstr("was the configuration changed")));
  EXPECT_EQ(in_run("whole", [&](Stage& stage) { return error_of([&] { work(stage, 1); }); }), "(no error)");

  // The state of another kind of stage.
  in_run("other", [&](Stage& stage) {
    std::raise(SIGTERM);
    PretrainConfig pretraining;
    return pretrain(stage, pretraining, corpus(chat_));
  });
  EXPECT_THAT(in_run("other", [&](Stage& stage) { return error_of([&] { work(stage, 1); }); }),
              HasSubstr("state.json: given: expected a list of 1 numbers, got none"));
}

TEST(StageConfigs, shorten_a_warm_up_to_the_steps_and_say_so) {
  struct Case {
    Schedule schedule;
    int64_t warmup, total, steps, expected;
  };
  for (const Case& each : {Case{Schedule::linear, 5, 0, 1, 0}, {Schedule::linear, 5, 0, 5, 4},
                           {Schedule::cosine, 5, 0, 6, 5}, {Schedule::constant, 5, 0, 3, 3},
                           {Schedule::constant, 5, 0, 5, 5}, {Schedule::linear, 5, 9, 1, 5},
                           {Schedule::linear, 5, 0, 0, 0}}) {
    OptimizerConfig config;
    config.schedule = each.schedule, config.warmup_steps = each.warmup, config.total_steps = each.total;
    EXPECT_EQ(lasting(config, each.steps).warmup_steps, each.expected) << each.steps;
    const auto notes = schedule_notes(config, each.steps, "sft.optimizer");
    if (each.expected == each.warmup)
      EXPECT_THAT(notes, testing::IsEmpty());
    else
      EXPECT_THAT(notes,
                  testing::ElementsAre(HasSubstr("sft.optimizer.warmup_steps: 5 → " + std::to_string(each.expected))));
  }
  OptimizerConfig still;
  still.learning_rate = 0;
  EXPECT_THAT(schedule_notes(still, 3, "optimizer"),
              testing::ElementsAre(HasSubstr("optimizer.learning_rate is 0: nothing will be learned")));
}

TEST(StageConfigs, refuse_what_cannot_be_before_anything_is_done) {
  const auto error = [](const auto& config, const char* name) { return error_of([&] { validate(config, name); }); };
  PretrainConfig pretrain;
  pretrain.steps = -1;
  EXPECT_THAT(error(pretrain, "pretrain"), HasSubstr("[config] pretrain.steps: expected x >= 0, got -1"));
  pretrain = {}, pretrain.documents_per_step = 0;
  EXPECT_THAT(error(pretrain, "pretrain"), HasSubstr("pretrain.documents_per_step: expected 1 <= x <= 1048576, got 0"));
  pretrain = {}, pretrain.steps = 3, pretrain.optimizer = decaying(), pretrain.optimizer.warmup_steps = 3;
  EXPECT_EQ(error(pretrain, "pretrain"), "(no error)") << "the warm-up is shortened";
  pretrain.optimizer.total_steps = 3;
  EXPECT_THAT(error(pretrain, "pretrain"), HasSubstr("total_steps: expected more than warmup_steps (3), got 3"));
  pretrain.optimizer.total_steps = 0;
  pretrain.steps = 0;
  EXPECT_EQ(error(pretrain, "pretrain"), "(no error)") << "nothing is done, at no rate";
  SftConfig sft;
  sft.epochs = -1;
  EXPECT_THAT(error(sft, "sft"), HasSubstr("[config] sft.epochs: expected 0 < x <= 1000000, got -1"));
  GrpoConfig grpo;
  grpo.prompts_per_step = 0;
  EXPECT_THAT(error(grpo, "grpo"), HasSubstr("[config] grpo.prompts_per_step: expected 1 <= x <= 1048576, got 0"));
  grpo = {}, grpo.prompts_per_step = 1 << 20, grpo.objective.max_refills = 15;
  EXPECT_EQ(error(grpo, "grpo"), "(no error)") << "without dynamic sampling there are none";
  grpo.objective.dynamic_sampling = true;
  EXPECT_EQ(error(grpo, "grpo"), "(no error)");
  grpo.objective.max_refills = 16;
  EXPECT_THAT(error(grpo, "grpo"), AllOf(HasSubstr("16777216 tasks in a step"), HasSubstr("16 refills"),
                                         HasSubstr("objective.max_refills")));
  grpo = {}, grpo.objective.epochs = 1'000'000'000;
  EXPECT_THAT(error(grpo, "grpo"), HasSubstr("grpo.objective.epochs: expected 1 <= x <= 1024, got 1000000000"));
  grpo = {}, grpo.rollout.sampling.temperature = 0;
  EXPECT_THAT(error(grpo, "grpo"), HasSubstr("greedy"));
  grpo = {}, grpo.rollout.samples = 1;
  EXPECT_THAT(error(grpo, "grpo"), HasSubstr("grpo.rollout.samples: expected at least 2"));
  grpo.objective.baseline = Baseline::reinforce_pp;
  EXPECT_EQ(error(grpo, "grpo"), "(no error)");
  grpo = {}, grpo.steps = (1 << 26) + 1;
  EXPECT_THAT(error(grpo, "grpo"), HasSubstr("grpo.steps: expected 0 <= x <= 67108864"));
  RejectionConfig rejection;
  rejection.count = (1 << 24) + 1;
  EXPECT_THAT(error(rejection, "rejection"), HasSubstr("16777217"));
}

// ---- tasks ----------------------------------------------------------------------------------------------------------

TEST_F(Stages, a_mixture_gives_each_source_its_share_of_every_stretch) {
  const auto source = [&](const std::string& kind, double weight) {
    return TaskShare{weight, tasks_from(write(kind, task_lines(kind, 7)))};
  };
  const std::vector<TaskShare> sources{source("a", 3), source("b", 0), source("c", 1), source("d", 0.5)};
  TaskMixture mixture(sources, 5);
  std::map<std::string, double> seen;
  std::vector<std::string> ids;
  for (int taken = 1; taken <= 90; ++taken) {
    const Task task = mixture.take(1).at(0);
    ids.push_back(task.id);
    ++seen[task.kind];
    for (const TaskShare& each : sources)
      EXPECT_LE(std::abs(seen[fs::path(each.tasks.file).stem()] - each.weight / 4.5 * taken), 1.0)
          << each.tasks.file << " after " << taken;
  }
  EXPECT_EQ(seen["a"], 60);
  EXPECT_EQ(seen["c"], 20);
  EXPECT_EQ(seen["b"], 0);

  // Taken in other portions, and from a state in the middle, they are the same.
  TaskMixture other(sources, 5);
  std::vector<std::string> again;
  for (const Task& task : other.take(31)) again.push_back(task.id);
  TaskMixture restored(sources, 5);
  restored.restore(other.state());
  EXPECT_EQ(restored.state(), other.state());
  for (const Task& task : restored.take(59)) again.push_back(task.id);
  EXPECT_EQ(again, ids);
  std::vector<std::string> another_seed;
  for (const Task& task : TaskMixture(sources, 6).take(90)) another_seed.push_back(task.id);
  EXPECT_NE(another_seed, ids);

  // A source may have a seed of its own.
  std::vector<TaskShare> seeded = sources;
  for (TaskShare& each : seeded) each.tasks.seed = 5;
  std::vector<std::string> own_seed;
  for (const Task& task : TaskMixture(seeded, 6).take(90)) own_seed.push_back(task.id);
  EXPECT_EQ(own_seed, ids);
  EXPECT_EQ(mixture.preview().size(), 3 * 7u) << "those with a weight";
}

TEST_F(Stages, a_mixture_refuses_weights_and_states_that_are_not_its_own) {
  const TaskShare good{1, tasks_from(write("a", task_lines("a", 3)))};
  TaskShare zero = good, negative = good;
  zero.weight = 0, negative.weight = -1;
  EXPECT_THAT(error_of([&] { TaskMixture({}, 5); }), HasSubstr("a source of tasks"));
  EXPECT_THAT(error_of([&] { TaskMixture({zero}, 5); }), HasSubstr("a weight above 0"));
  EXPECT_THAT(error_of([&] { TaskMixture({good, negative}, 5); }),
              HasSubstr("tasks.weight: expected 0 <= x <= 1000000000, got -1"));
  TaskMixture one({good}, 5), two({good, good}, 5);
  EXPECT_THAT(error_of([&] { one.restore(two.state()); }),
              AllOf(HasSubstr("1 sources, got 2"), HasSubstr("was the mixture changed?")));
}

TEST_F(Stages, sft_learns_whole_demonstrations_behind_a_think_that_the_prompt_opens) {
  const auto tokens = [&](const std::string& name, const std::string& completion) {
    SftConfig config;
    config.documents_per_step = 1;
    return in_run(name, [&](Stage& stage) {
             return sft(stage, config, {{{demonstration("q", completion)}, 0}});
           }).gradient_tokens;
  };
  EXPECT_EQ(tokens("closed", "<think>ab</think>"), tokens_of("<think>ab</think>"));
  chat_.open_think = true;
  EXPECT_EQ(tokens("opened", "<think>ab</think>"), tokens_of("ab</think>"));
  EXPECT_EQ(tokens("inside", "ab</think>"), tokens_of("ab</think>"));
}

}  // namespace
}  // namespace grpo
