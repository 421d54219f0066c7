// What an evaluation of tasks keeps of its answers, so that one that was stopped goes on where it was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "grpo/metrics.h"
#include "grpo/task.h"

/// A task's completions go to FILE.part when all of them have ended. What is there, and in a FILE that is complete, is
/// not sampled again. `asked` in a line says what a completion answers: the task's words and place, and then which
/// model was asked and how it sampled.
class TaskCompletions {
 public:
  /// `prompts` are the tasks' whole ones, by place; `settings` tells models and ways of sampling apart. Tells on
  /// standard error how many tasks are answered already, and how many were in other words. Throws Error where FILE.part
  /// has completions of other settings; those in FILE, which is whole and to be replaced, are none. Nothing is kept,
  /// and nothing known, of "".
  TaskCompletions(const std::filesystem::path& file, const std::vector<std::string>& prompts,
                  const std::string& settings, std::size_t samples);

  /// Fills in the completions of group.index, if there are as many as samples.
  bool find(grpo::Group& group) const;
  void add(const grpo::Group& group);
  void remove_part();

  /// A completion as a line: "task", "sample", "prompt", "reference", "text", these `more` members, and what find()
  /// needs.
  nlohmann::ordered_json line(const grpo::Group& group, std::size_t sample,
                              const nlohmann::ordered_json& more = nlohmann::ordered_json::object()) const;
  const std::filesystem::path& part() const { return part_; }
  bool has_part() const { return out_.has_value() || bytes_ > 0; }

 private:
  void read(const std::filesystem::path& file, bool is_part);
  std::size_t answered() const;

  std::filesystem::path part_;
  std::size_t samples_;
  std::string settings_;
  std::vector<std::string> asked_;  // by place
  std::map<std::string, std::map<std::size_t, grpo::Completion>> known_;  // by what they answer, and sample
  std::uint64_t bytes_ = 0;  // of the whole lines of FILE.part
  std::optional<grpo::JsonlWriter> out_;
};
