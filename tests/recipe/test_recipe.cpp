// The recipe as data: what is done again, and the real r1, killed in the middle of its stages.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "recipes_test.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> keys_of(const Json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys;
}

// ---- What is there afterwards ---------------------------------------------------------------------------------------

class FinishedRecipe : public Recipes {
 protected:
  void expect_table() {
    const Json table = json("run/table.json");
    EXPECT_THAT(keys_of(table), ElementsAre("base", "cold", "zero", "taught", "distilled", "matched"));
    for (const auto& [stage, figures] : table.items()) {
      EXPECT_THAT(keys_of(figures), ElementsAre("pass@1", "cons@k", "format", "language_consistency", "mixed_traces",
                                                "completion_length", "reflection_rate", "judge"));
      const Json evaluation = json("run/" + stage + "/evaluation.json");
      for (const char* key : {"pass@1", "cons@k", "format", "completion_length", "judge"}) {
        if (stage == "base" && key == std::string("judge")) continue;
        EXPECT_EQ(figures[key], evaluation.at(key)) << stage << " " << key;
      }
      EXPECT_EQ(figures["language_consistency"], evaluation["strict_language_consistency"]);
      EXPECT_EQ(evaluation["problems"], 6);
      EXPECT_EQ(evaluation["samples"], 2);
      EXPECT_TRUE(evaluation["general"].contains("hidden_helpful"));
      EXPECT_EQ(lines_of(folder_ / "run" / stage / "evaluation.jsonl").size(), 12u);
      EXPECT_EQ(lines_of(folder_ / "run" / stage / "general.jsonl").size(), 4u);
    }
    EXPECT_TRUE(table["base"]["judge"].is_null()) << "the judge was not there yet";
    EXPECT_GT(table["zero"]["format"].get<double>(), 0.5) << "the cold start taught the form";

    const std::string markdown = read_file(folder_ / "run/table.md");
    EXPECT_THAT(markdown, HasSubstr("| base | cold | zero | taught | distilled | matched |"));
    EXPECT_THAT(markdown, HasSubstr("\n| pass@1 | "));
    EXPECT_EQ(std::count(markdown.begin(), markdown.end(), '\n'), 10);
    EXPECT_THAT(output("run"), HasSubstr("held-out (6 problems, 2 samples each)"));
  }
  void expect_stages() {
    std::vector<std::string> names;
    for (const Json& each : json("run/stages.json")) {
      names.push_back(each["name"]);
      EXPECT_EQ(each["state"], "done");
      EXPECT_TRUE(each["seconds"].is_number());
      EXPECT_EQ(each["from"], stage(names.back()).value("from", ""));
      const Json done = json("run/" + names.back() + "/done.json");
      EXPECT_EQ(done["seconds"], each["seconds"]);
    }
    EXPECT_THAT(names, ElementsAre("base", "cold", "zero", "pick", "taught", "student", "distilled", "matched",
                                   "on_all", "on_best"));
    EXPECT_EQ(json("run/zero/done.json")["steps"], 5);
    EXPECT_FALSE(fs::exists(folder_ / "run/student/evaluation.json")) << "not to be evaluated";
  }
  void expect_judge() {
    const Json judge = json("run/judge.json");
    EXPECT_THAT(keys_of(judge), ElementsAre("cold"));
    EXPECT_EQ(judge["cold"]["pairs"], 3);
    for (const char* key : {"agreement", "rating_agreement", "rating_error", "unreadable", "unreadable_ratings"}) {
      EXPECT_GE(judge["cold"][key].get<double>(), 0) << key;
      EXPECT_LE(judge["cold"][key].get<double>(), 1) << key;
    }
    EXPECT_TRUE(judge["cold"].contains("position_bias"));
  }
  void expect_selection() {
    const Json selection = json("run/selection.json");
    EXPECT_THAT(keys_of(selection), ElementsAre("all", "best"));
    EXPECT_EQ(selection["all"]["stage"], "on_all");
    EXPECT_EQ(selection["best"]["steps"], 2);
    EXPECT_LT(selection["best"]["gradient_tokens"], selection["all"]["gradient_tokens"]);
    EXPECT_TRUE(selection["best"].contains("pass@1"));
  }
  // What passes from stage to stage.
  void expect_handed_on() {
    EXPECT_EQ(json("run/pick/report.json")["sampled"], 8 * 4);
    const auto selected = lines_of(folder_ / "run/pick/selected.jsonl");
    ASSERT_FALSE(selected.empty());
    EXPECT_EQ(selected[0]["provenance"]["checkpoint"], "zero");
    EXPECT_EQ(lines_of(folder_ / "run/distilled/selected.jsonl")[0]["provenance"]["checkpoint"], "zero");
    EXPECT_EQ(lines_of(folder_ / "run/taught/demonstrations-problem.jsonl").size(), 4u);
  }
  // As many tokens as the stage to match, within a step.
  void expect_matched_tokens() {
    const int64_t wanted = json("run/distilled/done.json")["gradient_tokens"],
                  got = json("run/matched/done.json")["gradient_tokens"];
    const auto steps = lines_of(folder_ / "run/matched/metrics.jsonl");
    EXPECT_LT(steps.size(), 50u);
    EXPECT_GE(got, wanted);
    EXPECT_LT(got - steps.back()["gradient_tokens"].get<int64_t>(), wanted);
  }
  // A stage's folder is a run.
  void expect_runs_that_evaluate_reads() {
    std::ofstream(folder_ / "tasks.jsonl") << R"({"prompt": "1+1", "answer": 2})" << '\n'
                                           << R"({"prompt": "2+1", "answer": 3})" << '\n';
    child_.start({GRPO_EVALUATE, "--model", (folder_ / "run/zero").string(), "--tasks",
                  (folder_ / "tasks.jsonl").string(), "--k", "3", "--out", (folder_ / "answers.jsonl").string()},
                 folder_ / "evaluate.out");
    EXPECT_EQ(child_.wait(), 0) << output("evaluate");
    EXPECT_THAT(output("evaluate"), HasSubstr("\"pass@1\""));
    EXPECT_EQ(lines_of(folder_ / "answers.jsonl").size(), 6u);
  }
};

TEST_F(FinishedRecipe, leaves_its_stages_side_by_side) {
  ASSERT_EQ(recipe("run"), 0) << output("run");
  expect_table();
  expect_stages();
  expect_judge();
  expect_selection();
  expect_handed_on();
  expect_matched_tokens();
  expect_runs_that_evaluate_reads();
}

// ---- What is done again ---------------------------------------------------------------------------------------------

TEST_F(Recipes, give_the_same_after_kills_in_the_middle_of_their_stages) {
  ASSERT_EQ(recipe("whole"), 0) << output("whole");
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  // Killed by how far it came, in bytes written, not by the clock: a machine may be slow at one time and fast at
  // another.
  const auto written = [&](const std::string& name) {
    double bytes = 0;
    std::error_code gone;  // files come and go
    for (fs::recursive_directory_iterator each(folder_ / name, gone), end; !gone && each != end; each.increment(gone)) {
      std::error_code error;
      const auto size = fs::file_size(each->path(), error);
      if (!error) bytes += static_cast<double>(size);
    }
    return bytes;
  };
  const double all = written("whole");
  int kills = 0;
  for (int attempt = 0; attempt < 12; ++attempt) {
    const double enough = written("killed") + all * std::uniform_real_distribution<>(0.02, 0.3)(random);
    start_recipe("killed", attempt ? std::vector<std::string>{"--resume"} : std::vector<std::string>{});
    const bool running = child_.wait_until([&] { return written("killed") >= enough; });
    if (running) child_.kill(SIGKILL);
    const int status = child_.wait();
    if (status == 0) break;
    ASSERT_EQ(status, -SIGKILL) << output("killed");
    ++kills;
  }
  EXPECT_GT(kills, 0);
  start_recipe("killed", {"--resume"});
  ASSERT_EQ(child_.wait(), 0) << output("killed");
  expect_same("killed", "whole");
  EXPECT_EQ(keys_of(json("killed/selection.json")), keys_of(json("whole/selection.json")));
}

TEST_F(Recipes, stop_on_a_signal_with_all_saved_and_go_on) {
  keep({"base", "cold", "zero", "pick"});
  ASSERT_EQ(recipe("whole"), 0) << output("whole");
  start_recipe("stopped");
  ASSERT_TRUE(child_.wait_until([&] { return fs::exists(folder_ / "stopped/cold/metrics.jsonl"); }))
      << output("stopped");
  child_.kill(SIGTERM);
  EXPECT_EQ(child_.wait(), 128 + SIGTERM) << output("stopped");
  EXPECT_THAT(output("stopped"), HasSubstr("r1 --resume --out " + (folder_ / "stopped").string()));
  EXPECT_EQ(json("stopped/stages.json")[0]["state"], "done");
  EXPECT_EQ(json("stopped/stages.json")[1]["state"], "running");
  EXPECT_EQ(json("stopped/stages.json")[2]["state"], "waiting");

  // What a stage under way was made with stays.
  const Json good = config_;
  stage("cold")["data"].push_back({{"topic", "problem"}, {"count", 2}});
  const std::string config = read_file(folder_ / "stopped/config.json");
  EXPECT_EQ(recipe("stopped", {"--resume"}), 1);
  EXPECT_THAT(output("stopped"), AllOf(HasSubstr("stage \"cold\" is under way"), HasSubstr("stage.data.1"),
                                       HasSubstr("--force_from cold")));
  config_ = good;
  for (const char* place : {"base/step-2", "zero/step-1", "step-2"}) {
    EXPECT_EQ(recipe("stopped", {"--resume-from", place}), 1);
    EXPECT_THAT(output("stopped"), AllOf(HasSubstr("resume_from"), HasSubstr(place))) << "not of the stage under way";
  }
  EXPECT_EQ(read_file(folder_ / "stopped/config.json"), config);

  // Without a word on its configuration.
  const auto resume = [&] {
    fs::remove(folder_ / "stopped.out");
    child_.start({GRPO_R1, "--resume", "--out", (folder_ / "stopped").string()}, folder_ / "stopped.out");
    return child_.wait();
  };
  EXPECT_EQ(resume(), 0) << output("stopped");
  expect_same("stopped", "whole");
  EXPECT_EQ(resume(), 0) << output("stopped");
  EXPECT_THAT(output("stopped"), HasSubstr("this recipe is finished"));
  std::ofstream(folder_ / "stopped/base/done.json") << R"({"steps": 4})";
  EXPECT_EQ(resume(), 1);
  EXPECT_THAT(output("stopped"), HasSubstr("base/done.json: seconds: expected a number"));
}

TEST_F(Recipes, go_back_to_a_checkpoint_of_the_stage_under_way) {
  keep({"base", "cold"});
  config_["evaluation"].erase("judge"), config_["keep"] = 0;
  ASSERT_EQ(recipe("whole"), 0) << output("whole");
  start_recipe("back");
  ASSERT_TRUE(child_.wait_until([&] { return fs::exists(folder_ / "back/cold/checkpoints/step-000008"); }))
      << output("back");
  child_.kill(SIGKILL);
  child_.wait();
  EXPECT_EQ(recipe("back", {"--resume-from", "cold/step-4"}), 0) << output("back");
  EXPECT_TRUE(fs::exists(folder_ / "back/cold/superseded/step-000008"));
  EXPECT_EQ(metrics_without_timings(folder_ / "back/cold"), metrics_without_timings(folder_ / "whole/cold"));
}

TEST_F(Recipes, do_not_repeat_a_finished_stage_unless_forced_to) {
  keep({"base", "cold", "zero", "pick"});
  ASSERT_EQ(recipe("run"), 0) << output("run");
  const auto times = [&] {
    std::vector<fs::file_time_type> all;
    for (const char* stage : {"base", "cold", "zero", "pick"})
      all.push_back(fs::last_write_time(folder_ / "run" / stage / "done.json"));
    return all;
  };
  const auto before = times();
  const std::string table = read_file(folder_ / "run/table.json");
  fs::remove(folder_ / "run/table.json");
  ASSERT_EQ(recipe("run", {"--resume"}), 0) << output("run");
  EXPECT_EQ(times(), before);
  EXPECT_EQ(read_file(folder_ / "run/table.json"), table);
  EXPECT_THAT(output("run"), Not(HasSubstr("stage 1/4")));

  // A changed configuration of a finished stage, and what to do about it.
  stage("cold")["sft"]["optimizer"]["learning_rate"] = 1e-2;
  EXPECT_EQ(recipe("run", {"--resume"}), 1);
  EXPECT_THAT(output("run"),
              AllOf(HasSubstr("stage \"cold\" is finished"), HasSubstr("stage.sft.optimizer.learning_rate"),
                    HasSubstr("0.02 to 0.01"), HasSubstr("--force_from cold")));
  EXPECT_EQ(times(), before);
  EXPECT_EQ(recipe("run", {"--resume", "--force-from", "zero"}), 1) << "comes after the changed stage";
  EXPECT_EQ(times(), before);
  EXPECT_FALSE(fs::exists(folder_ / "run/.zero.1"));

  ASSERT_EQ(recipe("run", {"--resume", "--force-from", "cold"}), 0) << output("run");
  const auto after = times();
  EXPECT_EQ(after[0], before[0]);
  for (size_t i = 1; i < 4; ++i) EXPECT_NE(after[i], before[i]);
  for (const char* aside : {".cold.1", ".zero.1", ".pick.1"})
    EXPECT_TRUE(fs::exists(folder_ / "run" / aside / "done.json")) << aside;
  EXPECT_FALSE(fs::exists(folder_ / "run/.base.1"));
  EXPECT_EQ(json("run/cold/config.json")["stage"]["sft"]["optimizer"]["learning_rate"], 1e-2);
  EXPECT_EQ(json("run/.cold.1/config.json")["stage"]["sft"]["optimizer"]["learning_rate"], 2e-2);
}

TEST_F(Recipes, measure_finished_stages_again_when_the_evaluation_was_changed) {
  keep({"base", "cold"});
  ASSERT_EQ(recipe("run"), 0) << output("run");
  const auto trained = fs::last_write_time(folder_ / "run/cold/done.json");
  config_["evaluation"]["problems"] = 4, config_["evaluation"]["max_new_tokens"] = 9,
  config_["evaluation"]["pairs"] = 2;
  ASSERT_EQ(recipe("run", {"--resume"}), 0) << output("run");
  EXPECT_THAT(output("run"), AllOf(HasSubstr("base is measured again"), HasSubstr("cold is measured again")));
  EXPECT_EQ(fs::last_write_time(folder_ / "run/cold/done.json"), trained);
  for (const char* stage : {"base", "cold"}) {
    EXPECT_EQ(json(std::string("run/") + stage + "/evaluation.json")["problems"], 4);
    EXPECT_EQ(json(std::string("run/") + stage + "/config.json")["rollout"]["max_new_tokens"], 9)
        << "what evaluate reads";
  }
  EXPECT_EQ(json("run/judge.json")["cold"]["pairs"], 2);
  const std::string measured = read_file(folder_ / "run/cold/evaluation.jsonl");
  ASSERT_EQ(recipe("fresh"), 0) << output("fresh");
  EXPECT_EQ(read_file(folder_ / "fresh/cold/evaluation.jsonl"), measured);
  ASSERT_EQ(recipe("run", {"--resume"}), 0);
  EXPECT_THAT(output("run"), Not(HasSubstr("measured again"))) << "once";
}

TEST_F(Recipes, learn_a_new_vocabulary_when_everything_is_done_again) {
  keep({"base"});
  config_["evaluation"].erase("judge");
  ASSERT_EQ(recipe("run"), 0) << output("run");
  const std::string vocabulary = read_file(folder_ / "run/tokenizer.model");
  config_["tokenizer"]["vocab_size"] = 320;
  EXPECT_EQ(recipe("run", {"--resume"}), 1);
  EXPECT_THAT(output("run"), HasSubstr("tokenizer.vocab_size was changed from 330 to 320"));
  ASSERT_EQ(recipe("run", {"--resume", "--force-from", "base"}), 0) << output("run");
  EXPECT_EQ(Tokenizer::load(folder_ / "run/tokenizer.model").vocab_size(), 320);
  EXPECT_EQ(read_file(folder_ / "run/base/tokenizer.model"), read_file(folder_ / "run/tokenizer.model"));
  EXPECT_NE(read_file(folder_ / "run/tokenizer.model"), vocabulary);
}

TEST_F(Recipes, take_a_teacher_from_another_run_only_with_the_same_tokenizer) {
  const Json all = config_;
  keep({"base", "cold"});
  ASSERT_EQ(recipe("teacher"), 0) << output("teacher");
  config_ = all;
  keep({"student", "distilled"});
  stage("distilled")["teacher"] = (folder_ / "teacher/cold").string();
  config_["evaluation"].erase("judge");
  const Json student = config_;

  config_["tokenizer"]["vocab_size"] = 320;
  EXPECT_EQ(recipe("refused"), 1);
  EXPECT_THAT(output("refused"),
              AllOf(HasSubstr("stage \"distilled\""), HasSubstr("expected the tokenizer of this run"),
                    HasSubstr("JSONL file of demonstrations")));
  EXPECT_FALSE(fs::exists(folder_ / "refused/student/done.json")) << "before a stage is computed";
  stage("distilled")["teacher"] = (folder_ / "nowhere").string() + "/";
  EXPECT_EQ(recipe("refused"), 1);
  EXPECT_THAT(output("refused"), AllOf(HasSubstr("stage \"distilled\""), HasSubstr("expected a run's folder")));

  config_ = student;
  ASSERT_EQ(recipe("run"), 0) << output("run");
  EXPECT_EQ(lines_of(folder_ / "run/distilled/selected.jsonl")[0]["provenance"]["checkpoint"],
            (folder_ / "teacher/cold").string());

  // From a file, whoever wrote it.
  config_["tokenizer"]["vocab_size"] = 320;
  stage("distilled")["teacher"] = (folder_ / "teacher.jsonl").string();
  fs::copy_file(folder_ / "run/distilled/selected.jsonl", folder_ / "teacher.jsonl");
  EXPECT_EQ(recipe("from_file"), 0) << output("from_file");
  EXPECT_EQ(json("from_file/distilled/done.json")["steps"], json("run/distilled/done.json")["steps"]);
}

}  // namespace
}  // namespace grpo
