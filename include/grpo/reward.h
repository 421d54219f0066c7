// Rule-based rewards: what a completion is worth, read from its text alone. No model, no tensors.
//
// Model text is hostile by nature (training looks for whatever pays), so every reader here is strict, takes time linear
// in the text, and never throws because of it: text that cannot be read scores 0.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpo/answer.h"
#include "grpo/code.h"
#include "grpo/config.h"
#include "grpo/language.h"  // language_consistency, count_language, mixes_languages
#include "grpo/task.h"
#include "grpo/text_rewards.h"

namespace grpo {

// ---- Rewards by name ------------------------------------------------------------------------------------------------

/// A reward: one completion of one task to one score. Called from several threads at once, so it must not write to
/// anything shared. It reads `completion.text`, `.tokens`, `.finish`, and the Scorer's `.reasoning` and `.answer`.
using Reward = std::function<Score(const Task&, const Completion&)>;

/// Makes `reward` known under `name` for RewardsConfig::weights, logs (`reward/<name>`) and checkpoints. A name
/// registered again is replaced, the built-in ones included; a Scorer keeps what was registered when it was built.
/// Thread-safe. Throws Error when the name or the function is empty.
///
/// Built in, besides what the user registers:
///   accuracy              1 when answer_verdict says correct, else 0; undefined where it says bad_reference
///   code                  1 when the program passes the task's tests, else 0; see code.h
///   format                1 for `<think>…</think><answer>…</answer>`, else 0; see read_format
///   language_consistency  share of the reasoning's words that are in the task's language; see language_consistency
///   overlong              0 down to -1 for completions near or beyond the length limit; see overlong_penalty
///   helpful, harmless     undefined: a Judge (judge.h) fills them in
///   and those of text_rewards.h
/// Of a task those are evaluated that its kind weighs, and what the metrics log.
void register_reward(std::string name, Reward reward);

/// The names of all that are known now, in alphabetical order.
std::vector<std::string> registered_rewards();

/// What a sample gets for a reward that is undefined for it (and defined for another sample of its group).
enum class Undefined {
  group_mean,  ///< the group's mean of that reward over the samples that have it: it neither helps nor hurts
  skip         ///< nothing: TRL's sum over the defined rewards
};
template <>
struct EnumNames<Undefined> {
  static constexpr std::array<std::pair<Undefined, std::string_view>, 2> values{
      {{Undefined::group_mean, "group_mean"}, {Undefined::skip, "skip"}}};
};

/// Weights that tasks of one kind have instead of RewardsConfig::weights.
struct KindWeights {
  std::string kind;
  std::map<std::string, double> weights;

  template <class V>
  void visit(V& v) {
    v("kind", kind, "Task::kind");
    v("weights", weights, "weight of each reward, by name", any_finite());
  }
};

struct RewardsConfig {
  std::map<std::string, double> weights{{"accuracy", 1.0}, {"format", 0.2}};
  std::vector<KindWeights> by_kind;
  int threads = 1;
  bool think_open = false;
  bool accuracy_needs_format = true;
  Undefined undefined = Undefined::group_mean;
  AnswerOptions answers;
  CodeConfig code;
  std::int64_t overlong_max_length = 0;
  std::int64_t overlong_buffer = 0;
  TextRewardsConfig text;

  template <class V>
  void visit(V& v) {
    v("weights", weights, "weight of each reward in the sum, by name; 0: only logged", any_finite());
    v("by_kind", by_kind, "weights for tasks of some kinds, in place of `weights`");
    v("threads", threads, "threads that score completions while sampling goes on", at_least(1).at_most(1024));
    v("think_open", think_open, "the prompt ends with <think>, so that completions must not open it again");
    v("accuracy_needs_format", accuracy_needs_format,
      "an answer counts only inside the strict form; if false, what final_answer finds counts too");
    v("answers", answers, "how answers are compared with references");
    v("code", code, "how programs are run");
    v("undefined", undefined, "a sample without a reward that its group has: group_mean, or skip (TRL's sum)");
    v("overlong_max_length", overlong_max_length, "overlong: tokens from which on the penalty is -1", at_least(0));
    v("overlong_buffer", overlong_buffer, "overlong: tokens before that limit over which the penalty grows from 0",
      at_least(0));
    v("text", text, "the rewards that text_rewards.h lists");
  }
  const std::map<std::string, double>& weights_of(std::string_view kind) const;
  /// Throws Error for no weight other than 0, a kind listed twice, or overlong limits other than 0 < overlong_buffer <=
  /// overlong_max_length where `overlong` is weighted.
  void validate() const;
};

// ---- The readers behind the built-in rewards ------------------------------------------------------------------------

struct FormatReading {
  bool valid = false;
  std::string_view reasoning, answer;  ///< the bodies as written, inside the text that was read; "" unless valid
};

/// Reads `<think>reasoning</think><answer>answer</answer>`: each tag exactly once and in this order, bodies that are
/// more than white space, and nothing but white space before, between and after. With `think_open` the prompt has
/// already written `<think>`: the text starts inside the reasoning and must not contain that tag. The form of
/// DeepSeek-R1-Zero (arXiv:2501.12948, table 1).
FormatReading read_format(std::string_view text, bool think_open = false);

/// The verdict behind `accuracy`, of `completion.answer` or, where that is empty and accuracy_needs_format is off, of
/// what final_answer finds. The task's kind says who decides: check_countdown, check_verifiable, chosen_letter for
/// "choice", else check_answer; for "arithmetic" the answer must be worked out, too: 36-25 is 11, but the question again.
/// Of tasks without a kind, whose answers may be formulas, only an expression of the prompt itself is no answer to it.
/// bad_reference also for a task without a reference, a choice without a letter, and for the kinds whose reference
/// another reward reads ("code", "instructions", "regex"). Never throws because of the completion.
Verdict answer_verdict(const Task& task, const Completion& completion, const RewardsConfig& config);

/// Whether `expression` solves the countdown problem `reference`, written "24 from 3 5 7 2" (the target, then the given
/// numbers, which are non-negative integers of up to 18 digits). It may use + - * / (also − × · ⋅ ÷ and \times \cdot
/// \div), parentheses, and each given number exactly once; a sign is no operation. It may end in "= 24", which must
/// then be right. The arithmetic is exact; dividing by zero is wrong. Throws Error for a malformed reference.
bool check_countdown(std::string_view expression, std::string_view reference);

/// Whether the text re-checks itself: "wait", "hmm", "let me check", "double-check", "잠깐", "다시", "等等", "检查" and
/// the like, as whole words and in either case where the script has them.
bool reflects(std::string_view text);

/// How many such phrases stand in `text`, those inside another one not counted.
std::size_t count_reflections(std::string_view text);

/// The soft overlong punishment of DAPO (arXiv:2503.14476, equation 13), all in tokens: 0 up to max_length - buffer,
/// then linear down to -1 at max_length, and -1 beyond. Requires 0 < buffer <= max_length.
double overlong_penalty(std::int64_t length, std::int64_t max_length, std::int64_t buffer);

// ---- Scoring groups -------------------------------------------------------------------------------------------------

/// What is to be told of tasks' kinds that no built-in reward or generator knows and that are none of `own`: a line for
/// each, with the first task and the nearest known kind.
std::vector<std::string> unknown_kinds(const std::vector<Task>& tasks, const std::vector<std::string>& own = {});

/// Fills group.rewards and group.weights from group.scores: Σ weight · score over the weighted rewards. A reward undefined
/// for a sample follows config.undefined; a reward undefined for the whole group is dropped there; a sample for which no
/// weighted reward is defined gets NaN, which leaves it out of baseline and loss. A reward missing from a sample's scores
/// is undefined.
void combine(Group& group, const RewardsConfig& config);

/// Scores completions on a thread pool while sampling goes on:
///   scorer.submit(group, i);   // for each completion as it ends
///   scorer.finish(groups);     // waits, scores what was never submitted, and combines
/// Besides the weighted rewards it always evaluates `accuracy`, `format` and `language_consistency`, which the metrics
/// log. What it writes does not depend on the number of threads. All members but the const ones belong to one thread.
class Scorer {
 public:
  /// Throws Error for a config that `validate` refuses or a reward that is not registered (naming the nearest known
  /// one). `name` is the config's own, in errors.
  explicit Scorer(const RewardsConfig& config, std::string_view name = "rewards");
  ~Scorer();  ///< cancels
  Scorer(Scorer&&) noexcept;
  Scorer& operator=(Scorer&&) noexcept;

  const RewardsConfig& config() const;
  /// The rewards that are evaluated, in alphabetical order.
  std::vector<std::string> names() const;

  /// Why a task cannot be scored: a built-in reward that cannot read its answer ("27" as a sudoku). "" where it can.
  std::string refusal(const Task& task) const;

  /// What is to be told before any work on `tasks`: weighted rewards that none of them can earn, as "code" without
  /// tests or "helpful" unless they are `judged`; those that can earn nothing; weights for a kind that none has;
  /// unknown kinds. `name` is the config's own, in these. Rewards of the user's own may be earned by any. Throws Error
  /// where no task can earn anything.
  std::vector<std::string> forewarn(const std::vector<Task>& tasks, bool judged = false,
                                    std::string_view name = "rewards") const;

  /// Scores one completion on the calling thread and fills its `reasoning` and `answer`. Throws Error, naming the
  /// reward and the task, when a reward throws or returns a number that is not finite.
  Scores score(const Task& task, Completion& completion) const;

  /// Hands over group.completions[sample], which has ended. Until `finish` or `cancel` returns, the group and its
  /// vector `completions` must keep their place and size, and this completion must not be touched; the others may still
  /// grow. The first submit of a group resets group.scores. Throws Error for a sample out of range or submitted twice.
  void submit(Group& group, std::size_t sample);

  /// Waits for everything submitted, scores the rest of `groups`, and combines each. Throws Error as `score` does (of
  /// several the first in the order of `groups`), and when a submitted group is not among `groups`: it was moved or
  /// copied. Either way nothing is pending afterwards.
  void finish(std::vector<Group>& groups);

  /// Forgets what still waits and returns once no thread reads a submitted group any more; for leaving early.
  void cancel() noexcept;

 private:
  struct Pool;
  std::unique_ptr<Pool> pool_;
};

/// A score as JSON, null where it is undefined, and scores by name.
nlohmann::ordered_json json_of(const Score& score);
nlohmann::ordered_json json_of(const Scores& scores);

}  // namespace grpo
