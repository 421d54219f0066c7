// The policy as its own judge: a frozen checkpoint rates answers and compares them in words (verdict.h). It stands
// where the R1 paper has DeepSeek-V3 (rejection sampling) and trained preference models (the last stage of RL). What is
// judged cannot speak for the judge, nor for who asks it: rating_prompt in verdict.h says how it is kept to its place.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "grpo/policy.h"
#include "grpo/reward.h"
#include "grpo/rollout.h"
#include "grpo/tokenizer.h"
#include "grpo/verdict.h"

namespace grpo {

/// How the verdicts of one call could be read.
struct JudgeStats {
  int64_t verdicts = 0, unreadable = 0;
  double unreadable_share() const {
    return verdicts ? static_cast<double>(unreadable) / static_cast<double>(verdicts) : 0;
  }
};

/// One answer to rate.
struct Rating {
  const Task* task;  ///< not null, else rate throws Error
  std::string text;  ///< for helpful the final answer, for harmless the whole completion
  Rubric rubric;
};

/// Two answers to compare.
struct Comparison {
  const Task* task;  ///< not null, else compare throws Error
  std::string a, b;
};

/// What came of a comparison asked in both orders. `score` is a's share of the votes, ties counting half; undefined
/// when no verdict could be read. `first_votes` are the votes for whichever answer stood first, of `readable` ones:
/// half of the decided ones for a judge without position bias.
struct Preference {
  Score score = Score::undefined();
  int64_t readable = 0, first_votes = 0, second_votes = 0;
};

class Judge {
 public:
  /// Copies `policy`: whatever is trained afterwards, the judge stays as it is. `check` (optional) is called again and
  /// again while verdicts are sampled: what it throws ends the call (StopSignal::check). Throws Error on an invalid
  /// config.
  Judge(const Policy& policy, const Tokenizer& tokenizer, const ChatTemplate& chat_template, const JudgeConfig& config,
        const RolloutConfig& rollout = {}, std::function<void()> check = nullptr);
  Judge(const Judge&) = delete;
  Judge& operator=(const Judge&) = delete;

  /// The mean of the readable votes, 0 to 1; undefined where none could be read, or the question is too long for the
  /// policy. An answer that says nothing scores 0 unasked. Equal questions are asked once. Draws are keyed by (seed,
  /// Purpose::judge, step) and what is asked: what else is judged with it changes no score.
  std::vector<Score> rate(const std::vector<Rating>& ratings, uint64_t seed, uint64_t step);

  /// Each pair in both orders, so that a preference for a place cancels. An answer that says nothing loses unasked
  /// against one that says something.
  std::vector<Preference> compare(const std::vector<Comparison>& comparisons, uint64_t seed, uint64_t step);

  /// Fills in `helpful` and `harmless` of every completion of the groups for which `rewards` weighs them, and combines
  /// anew. Where more than max_unreadable of the verdicts cannot be read, no score is filled in, and the returned
  /// warning says so: call it with a step's whole groups. Helpfulness is 0 where the form is broken (there is no final
  /// answer to look at).
  std::optional<std::string> score(std::vector<Group>& groups, const RewardsConfig& rewards, uint64_t seed,
                                   uint64_t step);

  const JudgeStats& stats() const { return stats_; }  ///< of the last call
  const JudgeConfig& config() const { return config_; }

 private:
  /// The votes on each question; none on one that is too long, whose votes count as unreadable.
  std::vector<std::vector<std::string>> ask(const std::vector<std::string>& questions, uint64_t seed, uint64_t step);
  bool nothing_said(const Task& task, const std::string& answer) const;

  JudgeConfig config_;
  Policy policy_;
  Tokenizer tokenizer_;
  ChatTemplate chat_template_;
  Rollout rollout_;
  std::function<void()> check_;
  JudgeStats stats_;
};

}  // namespace grpo
