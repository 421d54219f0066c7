// The stages that sample, grpo and rejection_sample: more of test_stages.
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
  config.rollout.sampling.temperature = 10;  // entropies of more than 2
  config.objective.entropy_coefficient = 1e308;  // and with them a loss that is not finite
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
