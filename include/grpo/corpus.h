// The text from which a tiny base model is made: worked problems, written by rule, imperfect on purpose.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "grpo/config.h"
#include "grpo/tasks.h"
#include "grpo/tokenizer.h"
#include "grpo/verdict.h"

namespace grpo {

/// How sums and differences are worked: terse "7+5=12, write 2 carry 1. 4+8+1=13. So 132.", or worded "Ones: 7+5=12,
/// write 2 carry 1. Tens: 4+8+1=13, write 13. So the answer is 132."
enum class Style { terse, worded };
template <>
struct EnumNames<Style> {
  static constexpr std::array<std::pair<Style, std::string_view>, 2> values{
      {{Style::terse, "terse"}, {Style::worded, "worded"}}};
};

/// What a document is about: a problem with a worked answer, a general request (general.h), or the judging of an answer
/// (verdict.h). Their numbers are keys of draws.
enum class Topic { problem, general, judging, none };
template <>
struct EnumNames<Topic> {
  static constexpr std::array<std::pair<Topic, std::string_view>, 4> values{
      {{Topic::none, "none"}, {Topic::problem, "problem"}, {Topic::general, "general"}, {Topic::judging, "judging"}}};
};

/// What is wrong with the documents, in shares of them. The properties are drawn independently of one another, but for
/// mixed_wrong_ratio: below 1, those who mix their languages reason better, as the R1 paper found of its model (holding
/// it to one language costs a little accuracy).
struct CorpusConfig {
  double wrong_share = 0.45;
  double untagged_share = 0.33;
  double korean_share = 0.3;
  double mixed_share = 0.3;
  double reflect_share = 0.15;
  Style style = Style::terse;
  double follow_share = 0.0;
  double general_share = 0.0;
  double judging_share = 0.0;
  double mixed_wrong_ratio = 1.0;
  bool search = false;
  double give_up_share = 0.85;

  template <class V>
  void visit(V& v) {
    v("wrong_share", wrong_share, "share of documents with a slip at one step", at_least(0).at_most(1));
    v("untagged_share", untagged_share, "share whose completion breaks the <think>, <answer> form",
      at_least(0).at_most(1));
    v("korean_share", korean_share, "share that reasons in Korean words", at_least(0).at_most(1));
    v("mixed_share", mixed_share, "share of these that mixes in English words", at_least(0).at_most(1));
    v("mixed_wrong_ratio", mixed_wrong_ratio,
      "wrong_share of the mixed documents, as a multiple of that of the others", at_least(0));
    v("reflect_share", reflect_share, "share that checks one step again, correcting the slip if there is one",
      at_least(0).at_most(1));
    v("style", style, "how sums and differences are worked");
    v("follow_share", follow_share,
      "share that reasons in its prompt's language alone, whatever korean_share and mixed_share say",
      at_least(0).at_most(1));
    v("general_share", general_share, "share of documents that answer general requests (general.h)",
      at_least(0).at_most(1));
    v("search", search, "countdown of + and - is worked by trying until a try reaches the target");
    v("give_up_share", give_up_share, "search: share of the writers who answer with their first try, though it misses",
      at_least(0).at_most(1));
    v("judging_share", judging_share, "share of documents that judge answers (verdict.h); these are without flaw",
      at_least(0).at_most(1));
  }
  /// Throws Error for shares that make one above 1 together.
  void validate() const;
};

/// One document: the prompt as the chat template renders it, and a completion without end-of-sequence.
struct Document {
  std::string prompt, completion;
};

// clang-format off
/// Documents over the training problems of a generator (held-out problems never appear; a tasks `file` is not read).
///
/// A completion in full form is `<think>REASONING</think><answer>ANSWER</answer>`. The reasoning goes column by column,
/// units first, the operands as they stand in the prompt, over as many columns as the larger operand has but at least
/// two:
///
///     47+85             7+5=12, write 2 carry 1. 4+8+1=13. So 132.    in Korean: 7+5=12, 2 쓰고 1 올림. 4+8+1=13. 그래서 132.
///     85-47             5-7 borrow: 15-7=8. 8-1-4=3. So 38.                      5-7 빌림: 15-7=8. 8-1-4=3. 그래서 38.
///     47*85             47*5=235. 47*80=3760. 235+3760=3995. So 3995.
///     24 from 3 5 7 2   7*3-5+2=18, no. 3*5+7+2=24. So 3*5+7+2.                  7*3-5+2=18, 아니다. …
///
///   11 from 3 5 7 2,  7-3=4+5=9-2=7, not 11. Wait, 7+2=9+5=14-3=11. So 7+2+5-3.
///   searched          7-3=4+5=9-2=7, not 11. So 7-3+5-2.   (given up)
///
///   - A search tries chains at random, none twice, and does not know of a solution before it finds one; the tenth
///     reaches the target if none did before. Who gives up answers with the first try, though it misses.
///   - A slip is one step, any with the same chance, whose result is off by 1 to 3; all that follows builds on it, so the
///     answer is wrong. (Countdown: an expression is claimed to reach the target and does not.)
///   - A re-check repeats the step behind `Wait,` or `잠깐,`: it corrects the slip, so that the answer is right, or in a
///     document without one confirms any step. 7+5=13. Wait, 7+5=12, write 2 carry 1. …
///   - The broken forms, equally likely: the reasoning alone; no </think>; the answer behind </think> without tags; no
///     tags and `Answer: 132`; no </answer>; no <think>.
///   - A mixed document draws the language of each word anew, and has at least one Korean word.
///
/// With a chat template that opens <think>, completions begin inside it.
///
/// General documents answer a training request of TaskGenerator::general; a slip is a flaw of the answer (a word swapped
/// or missing, a fragment, harm told, a rude refusal), a mixed one thinks in both languages. Judging documents ask for a
/// verdict as `judge` words it and give the right one, on answers of every quality to general requests and to problems
/// with their reference.
// clang-format on
class Corpus {
 public:
  /// The seed is tasks.seed. Throws Error for configs that do not validate and when there is no training problem.
  Corpus(const CorpusConfig& config, const TasksConfig& tasks, const ChatTemplate& chat = {},
         const JudgeConfig& judge = {});
  ~Corpus();
  Corpus(Corpus&&) noexcept;
  Corpus& operator=(Corpus&&) noexcept;

  /// A pure function of (seed, index); any index is good. May be called from several threads.
  Document document(std::uint64_t index) const;

  /// Cold-start data: without flaw, in form, reasoning in the task's language alone; in a third of the problems one
  /// step is checked again. Pure as `document` is, with draws of its own. Throws Error on no topic.
  Demonstration demonstration(std::uint64_t index, Topic topic) const;

 private:
  struct Source;
  std::unique_ptr<const Source> source_;
};

}  // namespace grpo
