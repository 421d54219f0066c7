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
#include "held_out.h"
#include "tiny.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using testing::AllOf;
using testing::HasSubstr;

// The same policy in every case: what it learned so far comes from checkpoints alone.
class Stages : public testing::Test {
 protected:
  // Opens (or goes on with) the run `name` and does `work` in it as if this were a process of its own.
  template <class Work>
  auto in_run(const std::string& name, Work work, int save_every = 20, bool moe = false) {
    RunConfig config;
    config.out = (folder_ / name).string();
    config.resume = fs::exists(folder_ / name);
    config.save_every = save_every;
    config.notebook = -1;
    grpo::Run run(config, Json{{"name", name}}, "test");
    Policy policy = make_policy_ ? make_policy_() : tiny::policy(tiny::policy_config(DType::float32, moe));
    Stage stage{policy, tiny::tokenizer(), chat_, run, 5};
    return work(stage);
  }

  using Work = std::function<StageResult(Stage&)>;

  // `work` undisturbed in "whole", and stopped by a signal in every step in "stopped"; both must come to the same.
  void expect_stops_to_leave_no_trace(const Work& work, int64_t steps, bool moe = false) {
    const StageResult whole = in_run("whole", work, 20, moe);
    EXPECT_TRUE(whole.finished);
    EXPECT_EQ(whole.steps, steps);
    for (int64_t step = 1; step <= steps; ++step) {
      const StageResult part = in_run(
          "stopped",
          [&](Stage& stage) {
            std::raise(SIGTERM);
            return work(stage);
          },
          20, moe);
      EXPECT_EQ(part.steps, step) << "it stops at the end of the step";
      EXPECT_EQ(part.finished, step == steps);
      // What a process that was killed in the next step leaves behind.
      for (const char* file : {"metrics.jsonl", "samples.jsonl", "events.out.tfevents.grpo"})
        std::ofstream(folder_ / "stopped" / file, std::ios::app) << "{\"step\": 9, \"rew";
    }
    const StageResult result = in_run("stopped", work, 20, moe);
    EXPECT_TRUE(result.finished);
    EXPECT_EQ(result.steps, steps) << "a finished stage has nothing more to do";
    EXPECT_EQ(result.gradient_tokens, whole.gradient_tokens);
    expect_same("stopped", steps);
  }

  void expect_same(const std::string& name, int64_t steps) {
    const auto expected = metrics_without_timings(folder_ / "whole"), got = metrics_without_timings(folder_ / name);
    ASSERT_EQ(expected.size(), static_cast<size_t>(steps));
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], expected[i]) << "step " << i + 1;
    EXPECT_TRUE(read_file(folder_ / name / "samples.jsonl") == read_file(folder_ / "whole/samples.jsonl"));
    EXPECT_EQ(fs::file_size(folder_ / name / "events.out.tfevents.grpo"),
              fs::file_size(folder_ / "whole/events.out.tfevents.grpo"));
    for (const char* file : {"policy.safetensors", "optimizer.safetensors", "reference.safetensors"}) {
      const std::string bytes = read_file(checkpoint_folder(folder_ / "whole", steps) / file);
      EXPECT_TRUE(read_file(checkpoint_folder(folder_ / name, steps) / file) == bytes) << file;
      EXPECT_TRUE(!bytes.empty() || file[0] == 'r') << file;
    }
  }

  fs::path write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }

  Folder folder_;
  ChatTemplate chat_;
  std::function<Policy()> make_policy_;
};

Demonstration demonstration(const std::string& prompt, const std::string& completion) {
  return {tiny::task(prompt), completion};
}

int64_t tokens_of(const std::string& completion) {
  return static_cast<int64_t>(tiny::tokenizer().encode(completion).size()) + 1;
}

std::vector<Demonstration> demonstrations(size_t count, const std::string& completion) {
  std::vector<Demonstration> all;
  for (size_t i = 0; i < count; ++i) all.push_back(demonstration(completion + std::to_string(i), completion));
  return all;
}

OptimizerConfig decaying() {
  OptimizerConfig config;
  config.learning_rate = 1e-2;
  config.schedule = Schedule::cosine;
  config.warmup_steps = 1;
  return config;
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

TasksConfig tasks_from(const fs::path& file) {
  TasksConfig config;
  config.file = file.string();
  config.heldout_share = 0;
  return config;
}

// A file of tasks of one kind, all with the answer 7.
std::string task_lines(const std::string& kind, size_t count) {
  std::string lines;
  for (size_t i = 0; i < count; ++i)
    lines += Json{{"id", kind + std::to_string(i)}, {"prompt", kind + std::to_string(i)}, {"answer", 7}, {"kind", kind}}
                 .dump() +
             "\n";
  return lines;
}

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

// ---- grpo -----------------------------------------------------------------------------------------------------------

// Answers with 7 or 5, in form or not, in one language or in two, once or again and again.
Policy answering_policy() {
  static const NamedTensors weights = [] {
    Policy policy(tiny::policy_config(), 3);
    OptimizerConfig optimizer;
    optimizer.learning_rate = 1e-2;
    Trainer trainer(policy, optimizer);
    const std::string words[] = {"<think>ab</think><answer>7</answer>",
                                 "<think>cab</think><answer>7</answer>",
                                 "<think>ba</think><answer>7</answer>",
                                 "<think>ab</think><answer>5</answer>",
                                 "<think>ab</think>7",
                                 "<think>ab나</think><answer>7</answer>"};
    for (int step = 0; step < 50; ++step) {
      std::vector<Example> documents;
      for (size_t i = 0; i < std::size(words); ++i)
        documents.push_back(tiny::document(ChatTemplate{}.render(tiny::task(std::string("q").append(
                                               std::to_string((step + static_cast<int>(i)) % 9)))),
                                           words[i]));
      trainer.update(documents, step);
    }
    NamedTensors copies;
    for (const auto& [name, tensor] : policy.state()) copies.emplace_back(name, tensor.clone());
    return copies;
  }();
  Policy policy(tiny::policy_config(), 3);
  policy.load_state(weights);
  return policy;
}

class Sampling : public Stages {
 protected:
  Sampling() { make_policy_ = answering_policy; }

  GrpoConfig grpo_config(int steps = 4) {
    GrpoConfig config;
    config.steps = steps;
    config.prompts_per_step = 3;
    config.tasks = {{2, tasks_from(write("q", task_lines("q", 7)))}, {1, tasks_from(write("p", task_lines("p", 5)))}};
    config.rollout = tiny::rollout_config(4, 16);
    config.objective.kl = Kl::k3_in_loss;
    config.objective.kl_coefficient = 0.01;
    config.objective.reference_refresh_steps = 2;
    config.objective.dynamic_sampling = true;
    config.objective.max_refills = 2;
    config.optimizer = decaying();
    return config;
  }

  RejectionConfig rejection_config(int count = 14) {
    RejectionConfig config;
    config.count = count;
    config.tasks_per_batch = 4;
    config.tasks = grpo_config().tasks;
    config.rollout = tiny::rollout_config(6, 16);
    config.screen.best = 2;
    return config;
  }
};

TEST_F(Sampling, grpo_goes_on_where_it_was_stopped) {
  const GrpoConfig config = grpo_config();
  expect_stops_to_leave_no_trace([&](Stage& stage) { return grpo::grpo(stage, config); }, 4);
  const auto lines = lines_of(folder_ / "whole/metrics.jsonl");
  double reward = 0;
  for (const Json& line : lines) reward += line["reward"].get<double>();
  EXPECT_GT(reward, 0) << "there was something to learn";
  EXPECT_EQ(lines_of(folder_ / "whole/samples.jsonl").size(), 4u * 3 * 4);
}

TEST_F(Sampling, the_learning_rate_of_grpo_falls_over_all_updates_of_its_steps) {
  GrpoConfig config = grpo_config(2);
  config.objective.epochs = 2, config.objective.minibatches = 2;
  config.optimizer.schedule = Schedule::linear, config.optimizer.warmup_steps = 0;
  in_run("whole", [&](Stage& stage) { return grpo::grpo(stage, config); });
  const auto lines = lines_of(folder_ / "whole/metrics.jsonl");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_DOUBLE_EQ(lines[0]["learning_rate"].get<double>(), 1e-2 * (1 - 3.0 / 8)) << "of the fourth of eight updates";
  EXPECT_DOUBLE_EQ(lines[1]["learning_rate"].get<double>(), 1e-2 * (1 - 7.0 / 8));
}

TEST_F(Sampling, grpo_goes_on_from_its_last_checkpoint_after_a_crash_between_two) {
  const GrpoConfig config = grpo_config(5);
  in_run("whole", [&](Stage& stage) { return grpo::grpo(stage, config); });
  for (const int crash : {3, 1, 2}) {  // steps of this process: while the 3rd, the 3rd and the 4th of all are under way
    int step = 0;
    const Measure crashing = [&](const std::vector<Group>&) {
      if (++step == crash) throw std::runtime_error("killed");
      return NamedValues();
    };
    EXPECT_THROW(in_run(
                     "crashed", [&](Stage& stage) { return grpo::grpo(stage, config, nullptr, crashing); }, 2),
                 std::runtime_error);
  }
  EXPECT_TRUE(in_run(
                  "crashed", [&](Stage& stage) { return grpo::grpo(stage, config); }, 2)
                  .finished);
  expect_same("crashed", 5);
}

TEST_F(Sampling, grpo_ends_saved_where_nothing_is_learned_for_long) {
  GrpoConfig config = grpo_config(40);
  config.objective = {};
  config.rewards.weights = {{"overlong", 1.0}};  // no completion comes near
  config.rewards.overlong_max_length = 900, config.rewards.overlong_buffer = 1;
  const auto work = [&](Stage& stage) { return error_of([&] { grpo::grpo(stage, config); }); };
  EXPECT_THAT(in_run("silent", work), HasSubstr("nothing was learned in the last 30 steps"));
  EXPECT_EQ(newest_checkpoint(folder_ / "silent"), checkpoint_folder(folder_ / "silent", 30));
  EXPECT_EQ(in_run("silent", work), "(no error)") << "it goes on from there, and ends within its patience";
  EXPECT_EQ(newest_checkpoint(folder_ / "silent"), checkpoint_folder(folder_ / "silent", 40));
}

TEST_F(Sampling, grpo_ends_with_the_tokens_to_match_in_a_step_of_the_prompts_that_are_left) {
  GrpoConfig config = grpo_config(4);
  config.objective.dynamic_sampling = false;
  const StageResult all = in_run("whole", [&](Stage& stage) { return grpo::grpo(stage, config); });
  const auto lines = metrics_without_timings(folder_ / "whole");
  const auto tokens = [&](size_t i) { return lines.at(i)["gradient_tokens"].get<int64_t>(); };
  EXPECT_EQ(all.gradient_tokens, tokens(0) + tokens(1) + tokens(2) + tokens(3));
  const int64_t two_steps = tokens(0) + tokens(1), prompt = two_steps / (2 * config.prompts_per_step);
  const std::vector<std::pair<int64_t, int64_t>> cases{{0, 0}, {1, 1}, {prompt + 2, 2}, {2 * prompt + 6, 3}};
  for (const auto& [beyond, prompts] : cases) {
    config.max_gradient_tokens = two_steps + beyond;
    const std::string name = "to" + std::to_string(beyond);
    const StageResult result = in_run(name, [&](Stage& stage) { return grpo::grpo(stage, config); });
    EXPECT_TRUE(result.finished);
    const auto steps = metrics_without_timings(folder_ / name);
    ASSERT_GE(steps.size(), prompts ? 3u : 2u);
    EXPECT_EQ(steps[0], lines[0]);
    EXPECT_EQ(steps[1], lines[1]);
    if (prompts == 0) {
      EXPECT_EQ(result.gradient_tokens, two_steps);
    } else {
      EXPECT_EQ(steps[2]["groups"], prompts);
    }
    if (prompts < 3) {
      EXPECT_EQ(steps.size(), prompts ? 3u : 2u);
    }
  }
}

TEST_F(Sampling, grpo_counts_every_token_that_gave_its_gradient) {
  GrpoConfig config = grpo_config(1);
  config.objective.dynamic_sampling = false;
  config.optimizer.warmup_steps = 0;
  int64_t tokens = 0;
  const StageResult result = in_run("whole", [&](Stage& stage) {
    return grpo::grpo(stage, config, nullptr, [&](const std::vector<Group>& groups) {
      for (const Group& group : groups)
        for (const Completion& completion : group.completions) tokens += static_cast<int64_t>(completion.tokens.size());
      return NamedValues{{"measured", 4.5}};
    });
  });
  EXPECT_GT(tokens, 0);
  EXPECT_LE(result.gradient_tokens, tokens);
  EXPECT_EQ(lines_of(folder_ / "whole/metrics.jsonl")[0]["measured"], 4.5);
}

TEST_F(Sampling, a_judge_scores_what_grpo_samples_and_stays_as_it_was) {
  GrpoConfig config = grpo_config(3);
  config.rewards.weights = {{"format", 0.2}};
  config.rewards.by_kind = {{"q", {{"format", 0.2}, {"helpful", 1.0}}}};
  for (TaskShare& share : config.tasks) {  // without references
    std::string lines;
    for (const Json& line : lines_of(share.tasks.file))
      lines += Json{{"prompt", line["prompt"]}, {"kind", line["kind"]}}.dump() + "\n";
    write(fs::path(share.tasks.file).filename(), lines);
  }
  JudgeConfig judging;
  judging.max_score = 9;
  judging.max_new_tokens = 16;
  judging.max_unreadable = 1;
  judging.boilerplate.clear();
  judging.helpful = "{prompt} {answer} ";
  const std::vector<double> helpful = in_run("whole", [&](Stage& stage) {
    Judge judge(stage.policy, tiny::tokenizer(), chat_, judging);
    // It says 7 or 5 of 9 to whatever it is asked, where the answer says more than one letter.
    std::vector<double> values;
    grpo::grpo(stage, config, &judge, [&](const std::vector<Group>& groups) {
      for (const Group& group : groups)
        for (const Scores& scores : group.scores)
          if (const auto found = scores.find("helpful"); found != scores.end() && found->second.defined()) {
            EXPECT_EQ(group.task.kind, "q");
            values.push_back(found->second.value());
          }
      return NamedValues();
    });
    return values;
  });
  EXPECT_FALSE(helpful.empty());
  for (const Json& line : lines_of(folder_ / "whole/metrics.jsonl")) EXPECT_TRUE(line.contains("unreadable_verdicts"));
}

TEST_F(Sampling, divergence_that_is_switched_on_as_grpo_goes_on_begins_at_the_policy_there) {
  GrpoConfig config = grpo_config(3);
  config.objective = {};
  in_run("whole", [&](Stage& stage) {
    std::raise(SIGTERM);
    return grpo::grpo(stage, config);
  });
  config.objective.kl = Kl::k3_in_loss, config.objective.kl_coefficient = 0.1;
  make_policy_ = [] {  // weights that are not those of the checkpoint
    Policy policy(tiny::policy_config(), 99);
    return policy;
  };
  in_run("whole", [&](Stage& stage) { return grpo::grpo(stage, config); });
  const auto lines = lines_of(folder_ / "whole/metrics.jsonl");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(lines[0]["kl"].is_null());
  EXPECT_EQ(lines[1]["kl"], 0.0);
  EXPECT_GT(lines[2]["kl"].get<double>(), 0.0);
}

TEST_F(Sampling, an_evaluation_that_was_given_up_gives_the_same_when_it_is_done_again) {
  const Policy policy = answering_policy();
  Scorer scorer{RewardsConfig()};
  Rollout rollout = tiny::rollout(policy, tiny::rollout_config(2, 16));
  const auto tasks = read_tasks(write("q", task_lines("q", 70)));
  int all = 0;
  const auto whole = evaluate(rollout, scorer, tasks, 5, 0, nullptr, nullptr, [&] { ++all; }).json();
  for (const int calls : {1, all / 2, all}) {
    int left = calls;
    const auto check = [&] {
      if (--left == 0) throw Interrupted();
    };
    EXPECT_THROW(evaluate(rollout, scorer, tasks, 5, 0, nullptr, nullptr, check), Interrupted);
    EXPECT_EQ(evaluate(rollout, scorer, tasks, 5, 0).json(), whole);
  }
}

TEST_F(Sampling, an_update_that_was_skipped_is_told_once) {
  GrpoConfig config = grpo_config(1);
  config.objective = {};
  config.objective.entropy_coefficient = 1e308;  // a loss that is not finite
  config.optimizer.schedule = Schedule::constant;
  in_run("whole", [&](Stage& stage) { return grpo::grpo(stage, config); });
  const std::string log = read_file(folder_ / "whole/log.txt"), skipped = "update skipped";
  EXPECT_THAT(log, HasSubstr("  update skipped: step 0: the loss is not finite (between sample 0 of task"));
  EXPECT_EQ(log.find(skipped), log.rfind(skipped));
}

TEST_F(Sampling, tasks_that_cannot_be_asked_are_left_out_at_the_start) {
  const std::string too_long = Json{{"prompt", std::string(2000, 'q')}, {"answer", 7}}.dump();
  const auto tasks = tasks_from(write("mixed", task_lines("q", 7) + too_long + "\nno task\n"));
  const auto expect_told = [&](const std::string& name) {
    EXPECT_THAT(read_file(folder_ / name / "log.txt"),
                AllOf(HasSubstr("warning: 2 of 9 tasks are left out"), HasSubstr("mixed:9: expected a JSON object"),
                      HasSubstr("exceed policy.max_positions")));
  };
  GrpoConfig config = grpo_config(3);  // 9 tasks and more: every one of the file is due
  config.tasks = {{1, tasks}};
  EXPECT_TRUE(in_run("rl", [&](Stage& stage) { return grpo::grpo(stage, config); }).finished);
  expect_told("rl");
  RejectionConfig rejection = rejection_config(10);
  rejection.tasks = config.tasks;
  EXPECT_TRUE(in_run("pick", [&](Stage& stage) { return rejection_sample(stage, rejection, "teacher"); }).finished);
  expect_told("pick");
}

TEST_F(Sampling, a_judge_has_room_for_any_number_of_refills) {
  GrpoConfig config = grpo_config(1);
  config.prompts_per_step = 1;
  config.rollout = tiny::rollout_config(2, 4);  // too short for any form: every reward is 0
  config.objective = {};
  config.objective.dynamic_sampling = true;
  config.objective.max_refills = 65;
  config.rewards.weights = {{"format", 0.2}, {"helpful", 1.0}};
  config.optimizer.schedule = Schedule::constant;
  JudgeConfig judging;
  judging.max_score = 9, judging.max_new_tokens = 2, judging.max_unreadable = 1, judging.votes = 1;
  judging.boilerplate.clear();
  judging.helpful = judging.harmless = "{prompt} {answer} ";
  config.rewards.weights["harmless"] = 0;  // asked about the whole text, whatever its form
  const StageResult result = in_run("whole", [&](Stage& stage) {
    Judge judge(stage.policy, tiny::tokenizer(), chat_, judging);
    return grpo::grpo(stage, config, &judge);
  });
  EXPECT_TRUE(result.finished);
  EXPECT_THAT(read_file(folder_ / "whole/log.txt"), HasSubstr("after 65 refills"));
}

// ---- rejection_sample -----------------------------------------------------------------------------------------------

TEST_F(Sampling, rejection_sampling_adds_up_and_says_where_each_demonstration_comes_from) {
  const RejectionConfig config = rejection_config();
  const RejectionReport report =
      in_run("whole", [&](Stage& stage) { return rejection_sample(stage, config, "the-teacher"); });
  EXPECT_TRUE(report.finished);
  EXPECT_EQ(report.tasks, 14);
  EXPECT_EQ(report.sampled, 14 * 6);
  int64_t dropped = 0;
  for (const auto& [reason, count] : report.dropped) dropped += count;
  EXPECT_EQ(report.kept + dropped, report.sampled);
  for (const char* reason : {"wrong", "malformed", "duplicate"}) EXPECT_GT(report.dropped.at(reason), 0) << reason;
  const Json saved = Json::parse(read_file(folder_ / "whole/report.json"));
  EXPECT_EQ(saved["kept"], report.kept);
  EXPECT_EQ(saved["dropped"]["wrong"], report.dropped.at("wrong"));
  EXPECT_EQ(saved["dropped"].size(), std::size(EnumNames<Dropped>::values) - 1) << "the reasons that never held, too";

  const auto lines = lines_of(folder_ / "whole/selected.jsonl");
  ASSERT_EQ(static_cast<int64_t>(lines.size()), report.kept);
  ASSERT_GT(report.kept, 0);
  std::map<std::string, int64_t> kept_of_task;
  for (const Json& line : lines) ++kept_of_task[line["provenance"]["index"].dump()];
  for (const Json& line : lines) {
    const Json& from = line["provenance"];
    EXPECT_EQ(from["checkpoint"], "the-teacher");
    EXPECT_EQ(from["seed"], 5);
    EXPECT_EQ(from["scores"]["accuracy"], 1.0);
    EXPECT_EQ(from["scores"]["format"], 1.0);
    EXPECT_NEAR(from["reward"].get<double>(), 1.2, 1e-9);
    EXPECT_EQ(line["answer"], "7");
    EXPECT_EQ(line["id"], line["prompt"]);
    EXPECT_EQ(line["language"], "en");
    EXPECT_THAT(line["completion"].get<std::string>(), HasSubstr("<answer>7</answer>"));
    const int64_t kept = kept_of_task[from["index"].dump()];
    EXPECT_LE(kept, 2);
    EXPECT_EQ(static_cast<int64_t>(from["dropped"].size()) + kept, 6);
    for (const Json& other : from["dropped"]) {
      EXPECT_NE(other["sample"], from["sample"]);
      EXPECT_GT(report.dropped.count(other["why"]), 0u);
    }
  }
  // What was selected can be learned.
  EXPECT_EQ(static_cast<int64_t>(read_demonstrations(folder_ / "whole/selected.jsonl").size()), report.kept);
}

TEST_F(Sampling, rejection_sampling_goes_on_where_it_was_stopped) {
  const RejectionConfig config = rejection_config();
  const auto work = [&](Stage& stage) { return rejection_sample(stage, config, "teacher"); };
  const RejectionReport whole = in_run("whole", work);
  for (int batch = 1; batch <= 4; ++batch) {
    const RejectionReport part = in_run("stopped", [&](Stage& stage) {
      std::raise(SIGTERM);
      return work(stage);
    });
    EXPECT_EQ(part.tasks, std::min(4 * batch, 14));
    EXPECT_EQ(part.finished, batch == 4);
    std::ofstream(folder_ / "stopped/selected.jsonl", std::ios::app)
        << (batch == 4 ? "" : "{\"id\": \"killed in the midd");
  }
  const RejectionReport again = in_run("stopped", work);
  EXPECT_EQ(again.json(), whole.json());
  EXPECT_EQ(read_file(folder_ / "stopped/selected.jsonl"), read_file(folder_ / "whole/selected.jsonl"));
  EXPECT_EQ(read_file(folder_ / "stopped/report.json"), read_file(folder_ / "whole/report.json"));
}

TEST_F(Sampling, rejection_sampling_ends_when_fewer_tasks_are_asked_for_than_were_answered) {
  RejectionConfig config = rejection_config();
  const auto work = [&](Stage& stage) {
    std::raise(SIGTERM);
    return rejection_sample(stage, config, "teacher");
  };
  EXPECT_FALSE(in_run("whole", work).finished);
  config.count = 3;
  const RejectionReport report = in_run("whole", work);
  EXPECT_TRUE(report.finished);
  EXPECT_EQ(report.tasks, 4);
  EXPECT_EQ(Json::parse(read_file(folder_ / "whole/report.json"))["finished"], true);
}

TEST_F(Sampling, rejection_sampling_does_not_go_on_without_what_it_selected) {
  const auto work = [&](Stage& stage) { return rejection_sample(stage, rejection_config(), "teacher"); };
  in_run("whole", [&](Stage& stage) {
    std::raise(SIGTERM);
    return work(stage);
  });
  const std::string selected = read_file(folder_ / "whole/selected.jsonl"),
                    report = read_file(folder_ / "whole/report.json");
  const auto error = [&] { return in_run("whole", [&](Stage& stage) { return error_of([&] { work(stage); }); }); };
  fs::resize_file(folder_ / "whole/selected.jsonl", selected.size() - 1);
  EXPECT_THAT(error(), AllOf(HasSubstr("selected.jsonl: expected"), HasSubstr("remove report.json")));
  write("whole/selected.jsonl", selected);
  for (const char* key : {"finished", "tasks", "sampled", "kept", "dropped", "offset", "mixture"}) {
    Json broken = Json::parse(report);
    broken[key] = "x";
    write("whole/report.json", broken.dump());
    EXPECT_THAT(error(), AllOf(HasSubstr("report.json: " + std::string(key) + ": expected"),
                               HasSubstr("remove it to start this stage over")));
  }
  Json broken = Json::parse(report);
  broken["mixture"].push_back(0);
  write("whole/report.json", broken.dump());
  EXPECT_THAT(error(), HasSubstr("report.json: mixture: expected a list of 4 numbers"));
  write("whole/report.json", report);
  EXPECT_EQ(error(), "(no error)");
}

TEST_F(Sampling, rejection_sampling_keeps_the_same_whatever_runs_together) {
  RejectionConfig config = rejection_config();
  const auto kept = [&](const std::string& name) {
    in_run(name, [&](Stage& stage) { return rejection_sample(stage, config, "teacher"); });
    std::vector<std::string> texts;
    for (const Json& line : lines_of(folder_ / name / "selected.jsonl"))
      texts.push_back(line["id"].get<std::string>() + line["completion"].get<std::string>() +
                      line["provenance"]["sample"].dump());
    return texts;
  };
  const auto whole = kept("whole");
  ASSERT_FALSE(whole.empty());
  config.rollout.max_running_sequences = 3;
  config.rollout.max_batch_tokens = 32;
  EXPECT_EQ(kept("few"), whole);
  config.tasks_per_batch = 5;
  EXPECT_EQ(kept("batches"), whole);
}

TEST_F(Sampling, rejection_sampling_judges_the_same_whatever_runs_together) {
  RejectionConfig config = rejection_config();
  config.rewards.weights = {{"format", 0.2}, {"helpful", 1.0}};
  JudgeConfig judging;
  judging.max_score = 9, judging.max_new_tokens = 16, judging.max_unreadable = 1, judging.votes = 4;
  judging.boilerplate.clear();
  judging.helpful = "{prompt} {answer} ";
  const auto scored = [&](const std::string& name) {
    in_run(name, [&](Stage& stage) {
      Judge judge(stage.policy, tiny::tokenizer(), chat_, judging);
      return rejection_sample(stage, config, "teacher", &judge);
    });
    return read_file(folder_ / name / "selected.jsonl");
  };
  const std::string whole = scored("whole");
  EXPECT_THAT(whole, HasSubstr("\"helpful\":0."));
  config.tasks_per_batch = 5;
  EXPECT_EQ(scored("batches"), whole);
}

TEST_F(Sampling, rejection_sampling_refuses_an_altered_report_and_a_config_that_cannot_be) {
  const auto error = [&](const RejectionConfig& config) {
    return in_run("refused",
                  [&](Stage& stage) { return error_of([&] { rejection_sample(stage, config, "teacher"); }); });
  };
  RejectionConfig config = rejection_config();
  config.count = 0;
  EXPECT_THAT(error(config), HasSubstr("count"));
  config = rejection_config();
  config.screen.best = 0;
  EXPECT_THAT(error(config), HasSubstr("best"));
  fs::create_directories(folder_ / "refused");
  write("refused/report.json", "{\"kept\": ");
  EXPECT_THAT(error(rejection_config()),
              AllOf(HasSubstr("report.json"), HasSubstr("remove it to start this stage over")));
}

}  // namespace
}  // namespace grpo
