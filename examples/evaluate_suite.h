// Many benchmarks in one table: each is sampled, judged and scored in turn.
#pragma once

#include <memory>
#include <string>

#include "grpo/benchmarks.h"
#include "grpo/model.h"
#include "grpo/rollout.h"
#include "grpo/stop.h"

struct SuiteRun {
  const grpo::Model& model;
  std::string name;         ///< of its column
  grpo::ChatTemplate chat;  ///< how it is asked
  std::unique_ptr<grpo::Model> judge;
  grpo::ChatTemplate judge_chat;
  std::string suite, out;  ///< the suite's file; the folder for completions, settings.json, figures.json and table.md
  const grpo::StopSignal& stop;
  int max_new_tokens = 0;  ///< 0: as the suite says
};

/// Completions go to OUT/NAME.jsonl as they are made. What is there already is not sampled again: a run that was
/// stopped goes on, and one that is complete is scored again. OUT/settings.json keeps other settings out. The status to
/// exit with: a signal stops it soon, and the same command goes on.
int evaluate_suite(const SuiteRun& run);
