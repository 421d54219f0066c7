// Many benchmarks in one table: each is sampled, judged and scored in turn.
#pragma once

#include <memory>
#include <string>

#include "grpo/benchmarks.h"
#include "grpo/model.h"
#include "grpo/rollout.h"

struct SuiteRun {
  const grpo::Model& model;
  std::string name;         ///< of its column
  grpo::ChatTemplate chat;  ///< how it is asked
  std::unique_ptr<grpo::Model> judge;
  grpo::ChatTemplate judge_chat;
  std::string suite, out;  ///< the suite's file; the folder for completions, figures.json and table.md
  int max_new_tokens = 0;  ///< 0: as the suite says
};

/// Completions go to OUT/NAME.jsonl. A file that is complete is scored again, not sampled again.
int evaluate_suite(const SuiteRun& run);
