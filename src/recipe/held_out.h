// What a recipe measures its stages on: tasks, requests and pairs of answers that training never sees.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "grpo/evaluate.h"
#include "grpo/general.h"
#include "grpo/judge.h"
#include "grpo/policy.h"
#include "grpo/run.h"
#include "grpo/tokenizer.h"

namespace grpo {

class HeldOut {
 public:
  /// Reads or draws everything. Throws Error as TaskStream does.
  HeldOut(const RecipeEvaluation& settings, const TasksConfig& tasks, const ChatTemplate& chat, uint64_t seed);

  /// Has the policy answer, and writes evaluation.json and, answer by answer, evaluation.jsonl and general.jsonl into
  /// the folder of `run`. `judge` scores the general answers; without it they have no score. Throws Interrupted when a
  /// signal came: then there is no evaluation.json, and doing it again gives the same.
  void measure(const Policy& policy, const Tokenizer& tokenizer, Judge* judge, Run& run) const;

  /// How the judge agrees with the hidden scorer on pairs of answers whose scores differ, and how it leans to a place:
  /// "pairs", "agreement", "rating_agreement", "rating_error", "position_bias" (null where no vote was decided),
  /// "unreadable", "unreadable_ratings".
  nlohmann::ordered_json measure(Judge& judge) const;

  size_t problems() const { return problems_.size(); }

 private:
  RecipeEvaluation settings_;
  ChatTemplate chat_;
  uint64_t seed_;
  LeftOut left_out_;  // lines of the file of problems that are none
  std::vector<Task> problems_, requests_;
  std::vector<GeneralPair> pairs_;
};

/// Mean helpfulness by the hidden scorer over the completions of general tasks; nothing without such.
std::optional<double> hidden_score(const std::vector<Group>& groups);

/// Whether a judge's scores and the hidden ones part while a stage trains on the former: means of the first and of the
/// last fifth of the steps in its metrics.jsonl, and "drift", by how much more the judge's have risen. Nothing where
/// none are logged.
std::optional<nlohmann::ordered_json> drift(const std::filesystem::path& metrics);

}  // namespace grpo
