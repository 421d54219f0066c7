// The completions of a suite: asking a model, and the file that they are kept in while they come.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "evaluate_suite.h"
#include "grpo/stop.h"

// How far something is, on the terminal or, twice a minute, in a log.
class Progress {
 public:
  Progress(std::string what, size_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void advance();

 private:
  void show();

  std::string what_;
  size_t done_ = 0, total_;
  bool terminal_;
  std::chrono::steady_clock::time_point begin_, shown_;
};

struct Question {
  grpo::Task task;
  uint32_t place = 0;  // in the whole list; with the seed it is the key of the draws
};

// Answers questions, as many times each as the settings say, and tells of each when it is done, in any order. An answer
// depends on its question alone: what is asked with it, and what was asked before a stop, changes none. `limit`: most
// new tokens; fewer, by steps of 256, where the model's positions end. A question that leaves no room has empty
// answers. Throws grpo::Interrupted when `stop` asks for it.
void answer(const std::string& what, const grpo::Model& model, const grpo::ChatTemplate& chat,
            grpo::RolloutConfig settings, uint64_t seed, int64_t limit, const std::vector<Question>& questions,
            const grpo::StopSignal& stop, const std::function<void(const grpo::Group&)>& keep);

// All completions of a row: those that are in `file`, and the missing ones, each appended when its problem is done. The
// file ends in the order of the problems, and what is returned was read from it, so that a run that was stopped and one
// that was not give the same.
std::vector<grpo::Answered> complete(const SuiteRun& run, const grpo::SuiteConfig& suite, const grpo::SuiteRow& row,
                                     const grpo::BenchmarkData& data, const std::filesystem::path& file);

// Writes them anew, whole or not at all.
void save(const std::string& benchmark, const std::vector<grpo::Answered>& answers, const std::filesystem::path& file);
