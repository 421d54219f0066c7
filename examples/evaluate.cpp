// Answers anyone's tasks with any model, scores the answers, and prints the figures as JSON.
//   evaluate --model runs/zero --tasks mine.jsonl --k 8
//   evaluate --model SmolLM2-135M-Instruct --chat --tasks mine.jsonl --k 8
// or a suite of benchmarks, and prints its table:
//   evaluate --model SmolLM2-135M-Instruct --chat --suite configs/eval_r1.json --out runs/evaluation
#include "grpo/evaluate.h"

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "evaluate_suite.h"
#include "grpo/config.h"
#include "grpo/model.h"
#include "grpo/reward.h"
#include "grpo/rollout.h"
#include "grpo/stop.h"
#include "grpo/tasks.h"
#include "lines.h"
#include "task_completions.h"

namespace {

struct EvaluateConfig : grpo::ModelConfig {
  std::string tasks, suite, judge, out, text, system;
  grpo::BadTasks on_bad = grpo::BadTasks::drop;
  bool chat = false, open_think = false;
  int k = 8;
  double temperature = 1.0, top_p = 1.0;
  int max_new_tokens = 0;
  uint64_t seed = 0;

  template <class V>
  void visit(V& v) {
    grpo::ModelConfig::visit(v);
    v("tasks", tasks, "JSONL: prompt, and optionally answer, kind, language, id; \"-\" is standard input");
    v("on_bad", on_bad, "lines that are no task, and tasks too long for the model: drop them and say so, or refuse");
    v("suite", suite, "in place of tasks: a list of benchmarks, such as configs/eval_r1.json; it says how to sample");
    v("judge", judge, "suite: the model folder or run that judges where a benchmark asks a judge");
    v("chat", chat,
      "ask as the model was taught to be asked: a model folder's chat template (a run's chat is its own)");
    v("template", text, "ask with this text around {prompt}; without it and without chat a model folder gets {prompt}");
    v("system", system, "the system prompt of every task that has none; empty: what a run had");
    v("open_think", open_think, "end the prompt with <think>, as a run does whose chat.open_think is set");
    v("k", k,
      "samples of each task. pass@1 is their mean over all tasks; its 95 % interval is 1.96 standard errors of the "
      "mean, "
      "tasks being the unit; pass@k is the unbiased estimate of arXiv:2107.03374; cons@k takes the most frequent "
      "answer", grpo::kSamples);
    v("temperature", temperature, "sampling temperature", grpo::kTemperature);
    v("top_p", top_p, "nucleus sampling", grpo::kTopP);
    v("max_new_tokens", max_new_tokens, "longest completion; 0: as in training, or 512 for a model folder",
      grpo::kNewTokens.or_zero());
    v("seed", seed, "seed of the draws");
    v("out", out,
      "JSONL file for the completions, one line each (\"-\": standard output, and the figures go to standard error); of "
      "a suite the folder for them. What is there is not sampled again: the command of a run that was stopped goes on");
  }
  void validate() const {
    if (model.empty() || tasks.empty() == suite.empty())
      throw grpo::Error("config",
                        "expected --model FOLDER and either --tasks FILE.jsonl or --suite FILE.json (see --help)");
    if (!suite.empty() && (out.empty() || out == "-"))
      throw grpo::Error("config", "expected --out FOLDER with --suite");
    if (!judge.empty() && suite.empty()) throw grpo::Error("config", "judge: expected --suite with it");
    grpo::ModelConfig::validate();
    if (chat && !text.empty()) throw grpo::Error("config", "expected --chat or --template, got both");
    if (!text.empty() && text.find("{prompt}") == std::string::npos)
      throw grpo::Error("config", "template: expected a text with {prompt}, got \"", text, '"');
  }
};

// Each task's whole prompt; "" of one that cannot be asked, which is left out.
std::vector<std::string> prompts_of(const std::vector<grpo::Task>& tasks, const grpo::ChatTemplate& chat) {
  std::vector<std::string> prompts;
  for (const grpo::Task& task : tasks) try {
      prompts.push_back(chat.render(task));
    } catch (const grpo::Error&) {
      prompts.emplace_back();
    }
  return prompts;
}

// What is to be told of tasks that have no part in pass@1, as nothing here reads their answers; "" where all have.
std::string unread_answers(const std::vector<grpo::Task>& tasks, const grpo::RewardsConfig& rewards) {
  const auto is_unread = [&](const grpo::Task& task) {
    try {
      return !task.answer.empty() && grpo::answer_verdict(task, {}, rewards) == grpo::Verdict::bad_reference;
    } catch (const grpo::Error&) {
      return false;  // it is left out
    }
  };
  const auto count = std::ranges::count_if(tasks, is_unread);
  if (count == 0) return "";
  const grpo::Task& first = *std::ranges::find_if(tasks, is_unread);
  return std::to_string(count) + " of " + std::to_string(tasks.size()) +
         " tasks have an answer that accuracy cannot read, and no part in pass@1; the first is " + first.name();
}

// What completions depend on beside the prompt and its place.
std::string settings_of(const grpo::Model& model, const grpo::RolloutConfig& rollout, uint64_t seed) {
  return nlohmann::ordered_json{{"weights", grpo::fingerprint(model.policy)},
                                {"sampling", grpo::dump_config(rollout.sampling)},
                                {"max_new_tokens", rollout.max_new_tokens},
                                {"max_positions", model.policy.config().max_positions},
                                {"stop", rollout.stop},
                                {"ignore_eos", rollout.ignore_eos},
                                {"seed", seed}}
      .dump();
}

void warn(const std::string& text) { std::cerr << "warning: " << text << std::endl; }

void check_suite(const EvaluateConfig& config, const grpo::GivenKeys& given) {
  for (const char* key : {"k", "temperature", "top_p", "seed", "on_bad"})
    if (!config.suite.empty() && given.contains(key))
      throw grpo::Error("config", key, ": expected none with --suite, whose file says how to sample; change ",
                        config.suite);
}

// The tasks of the file, with a warning of what is odd about them.
std::vector<grpo::Task> tasks_of(const EvaluateConfig& config, grpo::LeftOut& bad_lines) {
  const std::vector<grpo::Task> tasks = grpo::read_tasks(config.tasks, config.on_bad, &bad_lines);
  if (bad_lines.count > 0) warn(bad_lines.text("lines"));
  for (const auto& remark : bad_lines.remarks) warn(remark);
  for (const auto& warning : grpo::unknown_kinds(tasks)) warn(warning);
  if (std::ranges::all_of(tasks, [](const auto& each) { return each.answer.empty(); }))
    warn("no task of " + config.tasks + " has an answer, so that none can be right");
  return tasks;
}

grpo::ChatTemplate chat_of(const EvaluateConfig& config, const grpo::Model& model) {
  grpo::ChatTemplate chat = config.chat ? model.own_chat() : model.chat;
  if (!config.text.empty()) chat = {config.text};
  if (!config.system.empty()) chat.system = config.system;
  chat.open_think |= config.open_think;
  if (!chat.system.empty() && !chat.text.empty() && chat.text.find("{system}") == std::string::npos)
    throw grpo::Error("config", "system: expected --chat, or a --template with {system}, beside it, got ",
                      config.text.empty() ? "neither" : '"' + config.text + '"');
  return chat;
}

int answer_suite(const EvaluateConfig& config, const grpo::Model& model, const grpo::ChatTemplate& chat,
                 const grpo::StopSignal& stop) {
  SuiteRun run{model, config.model, chat, nullptr, {}, config.suite, config.out, stop, config.max_new_tokens};
  if (!config.judge.empty()) {
    grpo::ModelConfig judge = config;
    judge.model = config.judge;
    run.judge = std::make_unique<grpo::Model>(grpo::open_model(judge));
    if (!run.judge->warning.empty()) warn(run.judge->warning);
    run.judge_chat = run.judge->own_chat();
  }
  return evaluate_suite(run);
}

// Gives answers outside the form, where they count, a vote as well.
void read_final_answers(std::vector<grpo::Group>& groups, const grpo::RewardsConfig& rewards) {
  for (grpo::Group& group : groups)
    for (grpo::Completion& each : group.completions)
      if (each.answer.empty())
        for (const std::string& part : grpo::final_answer(
                 each.text, {.think_open = rewards.think_open, .last_box = rewards.answers.last_box}))
          (each.answer += each.answer.empty() ? "" : ", ") += part;
}

// A file of tasks, and where its completions and figures go.
class TaskRun {
 public:
  explicit TaskRun(const EvaluateConfig& config)
      : config_(config),
        tasks_(tasks_of(config, bad_lines_)),
        // Where completions go to standard output there is nothing but them.
        printed_(config.out == "-" ? "/dev/stderr" : "-", {}) {
    if (!config.out.empty()) out_.emplace(config.out, std::initializer_list{config.tasks}, ".new");
  }

  // Gives the exit status.
  int answer(const grpo::Model& model, const grpo::ChatTemplate& chat, const grpo::StopSignal& stop) {
    if (const auto unread = unread_answers(tasks_, model.rewards); !unread.empty()) warn(unread);
    grpo::RolloutConfig settings = model.rollout;
    settings.samples = config_.k;
    settings.sampling = {config_.temperature, 0, config_.top_p, 0};
    if (config_.max_new_tokens > 0) settings.max_new_tokens = config_.max_new_tokens;
    grpo::Rollout rollout(model.policy, model.tokenizer, chat, settings);
    grpo::Scorer scorer(model.rewards);
    if (config_.on_bad == grpo::BadTasks::refuse) refuse_bad_tasks(rollout, scorer);
    grpo::KeptCompletions kept;
    if (out_) {
      completions_.emplace(out_->regular_file(), prompts_of(tasks_, chat), settings_of(model, settings, config_.seed),
                           static_cast<size_t>(config_.k));
      kept.find = [&](grpo::Group& group) { return completions_->find(group); };
      kept.add = [&](const grpo::Group& group) { completions_->add(group); };
    }
    std::vector<grpo::Group> groups;
    grpo::Evaluation figures;
    try {
      figures = grpo::evaluate(
          rollout, scorer, tasks_, config_.seed, 0,
          [](size_t done, size_t total) { std::cerr << "\r" << done << "/" << total << " tasks" << std::flush; },
          &groups, [&] { stop.check(); }, kept);
    } catch (const grpo::Interrupted&) {
      return stopped(stop);
    }
    std::cerr << '\n';
    if (!model.rewards.accuracy_needs_format) {
      read_final_answers(groups, model.rewards);
      const grpo::LeftOut left_out = figures.left_out;
      figures = grpo::summarize(groups, model.rewards.answers);
      figures.left_out = left_out;
    }
    if (out_) write(groups);
    print(figures);
    return 0;
  }

 private:
  void refuse_bad_tasks(const grpo::Rollout& rollout, const grpo::Scorer& scorer) {
    grpo::LeftOut none;
    const auto refusal = [&](const grpo::Task& task) {
      const auto why = rollout.refusal(task);
      return why.empty() ? scorer.refusal(task) : why;
    };
    grpo::leave_out(tasks_, refusal, config_.on_bad, none);
  }

  int stopped(const grpo::StopSignal& stop) const {
    std::cerr << "\nstopped: figures are of all tasks or none";
    if (completions_ && completions_->has_part())
      std::cerr << "; the same command goes on from what is in " << completions_->part().string();
    std::cerr << std::endl;
    return stop.exit_status();
  }

  void write(const std::vector<grpo::Group>& groups) {
    for (const grpo::Group& group : groups)
      for (size_t i = 0; i < group.completions.size(); ++i)
        out_->write(completions_->line(
            group, i, {{"answer", group.completions[i].answer}, {"scores", grpo::json_of(group.scores[i])}}));
    out_->finish();
    completions_->remove_part();
  }

  void print(grpo::Evaluation& figures) {
    if (figures.left_out.count > 0) warn(figures.left_out.text());
    figures.left_out.count += bad_lines_.count;
    auto json = figures.json();
    json["method"] =
        "pass@1: mean over tasks and samples, ± 1.96 standard errors of the mean over tasks; pass@k: unbiased, over "
        "tasks";
    printed_.write_lines(json.dump(2) + '\n');
    printed_.finish();
  }

  const EvaluateConfig& config_;
  grpo::LeftOut bad_lines_;
  std::vector<grpo::Task> tasks_;
  LineWriter printed_;
  std::optional<LineWriter> out_;
  std::optional<TaskCompletions> completions_;
};

}  // namespace

int main(int argc, char** argv) try {
  grpo::GivenKeys given;
  const auto config = grpo::load_config<EvaluateConfig>(argc, argv, &given);
  check_suite(config, given);
  std::optional<TaskRun> run;
  if (config.suite.empty()) run.emplace(config);
  const grpo::StopSignal stop("\nstopping\n");
  grpo::Model model = grpo::open_model(config);
  if (!model.warning.empty()) warn(model.warning);
  const grpo::ChatTemplate chat = chat_of(config, model);
  model.rewards.think_open = chat.opens_think();
  return run ? run->answer(model, chat, stop) : answer_suite(config, model, chat, stop);
} catch (const std::exception& error) {
  return grpo::report(error);
}
