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

}  // namespace

int main(int argc, char** argv) try {
  grpo::GivenKeys given;
  const auto config = grpo::load_config<EvaluateConfig>(argc, argv, &given);
  for (const char* key : {"k", "temperature", "top_p", "seed", "on_bad"})
    if (!config.suite.empty() && given.contains(key))
      throw grpo::Error("config", key, ": expected none with --suite, whose file says how to sample; change ",
                        config.suite);
  std::vector<grpo::Task> tasks;
  grpo::LeftOut bad_lines;
  if (config.suite.empty()) tasks = grpo::read_tasks(config.tasks, config.on_bad, &bad_lines);
  if (bad_lines.count > 0) std::cerr << "warning: " << bad_lines.text("lines") << std::endl;
  for (const auto& remark : bad_lines.remarks) std::cerr << "warning: " << remark << std::endl;
  for (const auto& warning : grpo::unknown_kinds(tasks)) std::cerr << "warning: " << warning << std::endl;
  if (!tasks.empty() && std::ranges::all_of(tasks, [](const auto& each) { return each.answer.empty(); }))
    std::cerr << "warning: no task of " << config.tasks << " has an answer, so that none can be right" << std::endl;
  std::optional<LineWriter> out;
  if (config.suite.empty() && !config.out.empty()) out.emplace(config.out, std::initializer_list{config.tasks}, ".new");
  // Where completions go to standard output there is nothing but them.
  LineWriter printed(config.out == "-" ? "/dev/stderr" : "-", {});
  const grpo::StopSignal stop("\nstopping\n");
  grpo::Model model = grpo::open_model(config);
  if (!model.warning.empty()) std::cerr << "warning: " << model.warning << '\n';
  grpo::ChatTemplate chat = config.chat ? model.own_chat() : model.chat;
  if (!config.text.empty()) chat = {config.text};
  if (!config.system.empty()) chat.system = config.system;
  chat.open_think |= config.open_think;
  if (!chat.system.empty() && !chat.text.empty() && chat.text.find("{system}") == std::string::npos)
    throw grpo::Error("config", "system: expected --chat, or a --template with {system}, beside it, got ",
                      config.text.empty() ? "neither" : '"' + config.text + '"');
  model.rewards.think_open = chat.opens_think();
  if (const auto unread = unread_answers(tasks, model.rewards); !unread.empty())
    std::cerr << "warning: " << unread << std::endl;
  if (!config.suite.empty()) {
    SuiteRun run{model, config.model, chat, nullptr, {}, config.suite, config.out, stop, config.max_new_tokens};
    if (!config.judge.empty()) {
      grpo::ModelConfig judge = config;
      judge.model = config.judge;
      run.judge = std::make_unique<grpo::Model>(grpo::open_model(judge));
      if (!run.judge->warning.empty()) std::cerr << "warning: " << run.judge->warning << '\n';
      run.judge_chat = run.judge->own_chat();
    }
    return evaluate_suite(run);
  }
  grpo::RolloutConfig settings = model.rollout;
  settings.samples = config.k;
  settings.sampling = {config.temperature, 0, config.top_p, 0};
  if (config.max_new_tokens > 0) settings.max_new_tokens = config.max_new_tokens;
  grpo::Rollout rollout(model.policy, model.tokenizer, chat, settings);
  grpo::Scorer scorer(model.rewards);
  if (config.on_bad == grpo::BadTasks::refuse) {
    grpo::LeftOut none;
    const auto refusal = [&](const grpo::Task& task) {
      const auto why = rollout.refusal(task);
      return why.empty() ? scorer.refusal(task) : why;
    };
    grpo::leave_out(tasks, refusal, config.on_bad, none);
  }

  std::optional<TaskCompletions> completions;
  grpo::KeptCompletions kept;
  if (out) {
    completions.emplace(out->regular_file(), prompts_of(tasks, chat), settings_of(model, settings, config.seed),
                        static_cast<size_t>(config.k));
    kept.find = [&](grpo::Group& group) { return completions->find(group); };
    kept.add = [&](const grpo::Group& group) { completions->add(group); };
  }

  std::vector<grpo::Group> groups;
  grpo::Evaluation figures;
  try {
    figures = grpo::evaluate(
        rollout, scorer, tasks, config.seed, 0,
        [](size_t done, size_t total) { std::cerr << "\r" << done << "/" << total << " tasks" << std::flush; }, &groups,
        [&] { stop.check(); }, kept);
  } catch (const grpo::Interrupted&) {
    std::cerr << "\nstopped: figures are of all tasks or none";
    if (completions && completions->has_part())
      std::cerr << "; the same command goes on from what is in " << completions->part().string();
    std::cerr << std::endl;
    return stop.exit_status();
  }
  std::cerr << '\n';
  if (!model.rewards.accuracy_needs_format) {  // then an answer outside the form has a vote as well
    for (grpo::Group& group : groups)
      for (grpo::Completion& each : group.completions)
        if (each.answer.empty())
          for (const std::string& part : grpo::final_answer(
                   each.text,
                   {.think_open = model.rewards.think_open, .last_box = model.rewards.answers.last_box}))
            (each.answer += each.answer.empty() ? "" : ", ") += part;
    const grpo::LeftOut left_out = figures.left_out;
    figures = grpo::summarize(groups, model.rewards.answers);
    figures.left_out = left_out;
  }
  if (out) {
    for (const grpo::Group& group : groups)
      for (size_t i = 0; i < group.completions.size(); ++i) {
        out->write(completions->line(
            group, i, {{"answer", group.completions[i].answer}, {"scores", grpo::json_of(group.scores[i])}}));
      }
    out->finish();
    completions->remove_part();
  }
  if (figures.left_out.count > 0) std::cerr << "warning: " << figures.left_out.text() << std::endl;
  figures.left_out.count += bad_lines.count;
  auto json = figures.json();
  json["method"] =
      "pass@1: mean over tasks and samples, ± 1.96 standard errors of the mean over tasks; pass@k: unbiased, over "
      "tasks";
  printed.write_lines(json.dump(2) + '\n');
  printed.finish();
  return 0;
} catch (const std::exception& error) {
  return grpo::report(error);
}
