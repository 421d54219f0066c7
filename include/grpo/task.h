// The nouns that travel: a Task is asked, a Completion is an answer to it, a Group is a task with all its answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grpo {

/// One turn of a conversation. Roles are those of chat templates: "system", "user", "assistant", often "tool".
struct Message {
  std::string role, content;
};

/// One question. `answer` is the reference ("" when there is none), `kind` says which checker reads it ("": check_answer;
/// "arithmetic": the same, of a number that must be worked out; "countdown": see reward.h; puzzles: see verifiable.h),
/// `language` is the ISO 639-1 code that the reasoning should be in. A question that takes more than the user's one turn
/// has all of them in `messages`, which is empty otherwise; `prompt` is then the user's last turn.
/// `where` is FILE:LINE of one that was read from a file.
struct Task {
  std::string id, prompt, answer, kind, language;
  std::vector<Message> messages = {};
  std::string where = {};

  /// For people: FILE:LINE, or else `task "ID"`.
  std::string name() const { return where.empty() ? "task \"" + id + '"' : where; }
};

/// Why a completion ended: the end-of-sequence token or a stop token / string, or the limit on new tokens.
enum class Finish { stop, length };

struct Completion {
  std::vector<int32_t> tokens;  ///< as drawn, the end-of-sequence token included
  std::vector<float> logprobs;  ///< [tokens] log-softmax(logits / temperature) of each drawn token
  std::vector<float> entropies;  ///< [tokens] nats, of the distribution that each was drawn from; empty: not recorded
  std::vector<std::vector<int32_t>>
      kept;  ///< [tokens] ascending ids that truncation kept; empty when nothing truncates
  Finish finish = Finish::stop;
  std::string text;       ///< decoded, without end-of-sequence; cut before a stop string (whose tokens stay)
  std::string reasoning;  ///< body of <think>, "" when the form is broken; filled by the Scorer
  std::string answer;     ///< body of <answer>, "" when the form is broken; filled by the Scorer
};

/// A reward's verdict on one completion: a number, or undefined ("this reward has nothing to say here").
class Score {
 public:
  Score(double value) : value_(value) {}  // NOLINT: a reward returns plain numbers
  static Score undefined() { return Score(); }
  bool defined() const { return value_.has_value(); }
  double value() const { return value_.value(); }

 private:
  Score() = default;
  std::optional<double> value_;
};

using Scores = std::map<std::string, Score>;  ///< by reward name

/// A task, its G completions, and what came of them. The vectors behind `completions` have one entry for each of them.
struct Group {
  Task task;
  std::size_t index = 0;                ///< place in the step's task list; part of the key of every draw
  std::vector<int32_t> prompt;          ///< prompt tokens, chat template included
  uint64_t policy_version = 0;          ///< of the weights that drew the completions
  std::vector<Completion> completions;  ///< [G]
  std::vector<Scores> scores;           ///< [G]
  std::vector<double> rewards;          ///< [G] weighted sum of the scores; NaN: no reward was defined, left out
  std::map<std::string, double> weights;  ///< by reward name, in that sum
  std::vector<float> advantages;        ///< [G]; NaN where left out
};

}  // namespace grpo
