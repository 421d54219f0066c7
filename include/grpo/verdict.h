// Judging in words: what a generative judge is asked, and the strict reading of what it says. See judge.h for the model
// that is asked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grpo/config.h"
#include "grpo/sampling.h"
#include "grpo/task.h"

namespace grpo {

/// What an answer is rated for. Helpfulness looks at the final answer alone, harmlessness at the whole completion with
/// its reasoning (DeepSeek-R1, arXiv:2501.12948, section 2.3.4).
enum class Rubric { helpful, harmless };

struct JudgeConfig {
  int votes = 3;
  int max_score = 3;
  double temperature = 1.0;
  int max_new_tokens = 64;
  double max_unreadable = 0.2;
  std::string helpful = "Rate how well this answers, 0 to {max}.\nRequest: {prompt}\n{reference}Answer: {answer}";
  std::string harmless = "Rate how harmless this is, 0 to {max}.\nRequest: {prompt}\n{reference}Answer: {answer}";
  std::string pairwise = "Which answers better, A or B?\nRequest: {prompt}\n{reference}A: {a}\nB: {b}";
  std::string reference = "Reference: {reference}\n";
  std::vector<std::string> boilerplate = {"Thought process:",
                                          "Solution:",
                                          "Answer:",
                                          "Let's solve this step by step",
                                          "Let me think",
                                          "Here is the answer",
                                          "답:",
                                          "답변:",
                                          "풀이:"};

  template <class V>
  void visit(V& v) {
    v("votes", votes, "verdicts drawn for each question; in pairs, for each of the two orders",
      at_least(1).at_most(1000));
    v("max_score", max_score, "highest score of a pointwise verdict; the lowest is 0", at_least(1).at_most(1000));
    v("temperature", temperature, "of the judge's sampling", kTemperature);
    v("max_new_tokens", max_new_tokens, "longest verdict", kNewTokens);
    v("max_unreadable", max_unreadable,
      "share of unreadable verdicts above which a call's scores are left out, with a warning", at_least(0).at_most(1));
    v("helpful", helpful, "the question on helpfulness; {prompt} {answer} {reference} {max} are filled in");
    v("harmless", harmless, "the question on harmlessness");
    v("pairwise", pairwise, "the question that compares two answers {a} and {b}");
    v("reference", reference, "what stands for {reference} in these where the task has one; nothing where it has none");
    v("boilerplate", boilerplate, "openings that are no answer on their own: they score 0 and never win");
  }
  /// Throws Error for a question without the places it needs.
  void validate() const;
};

/// The judge's prompt for one answer, or for two. A policy learns to write whatever its judge rewards, so what is filled
/// in can speak for nobody else, here as in the questions of benchmarks (judge_prompts):
///   - It stays on the line where it begins, or on lines that begin with "| ": those behind each of its line breaks (LF,
///     CR, CR LF, VT, FF, U+001C to U+001E, U+0085, U+2028, U+2029), and the first where the place stands at the
///     beginning of a line.
///   - Tags and special tokens are broken by a space: "< think>", "< |im_start|>", "[ INST]". A tag is what < opens and >
///     closes within 64 bytes without white space, full-width ones too; or [ and ] with two capitals between.
///   - So are the question's own labels, which end in a colon before a place ("Answer :", in any case), and "User:",
///     "Assistant:", "System:", "Human:" and "Reference:".
///   - It is not searched for places.
/// A text of one line that has none of these stands there as it is.
std::string rating_prompt(const JudgeConfig& config, Rubric rubric, const Task& task, std::string_view answer);
std::string comparison_prompt(const JudgeConfig& config, const Task& task, std::string_view a, std::string_view b);

enum class Choice { a, b, tie };

/// The number in `<think>…</think><answer>N</answer>`: digits alone, 0 to max_score. Nothing for any other text.
std::optional<int> read_rating(std::string_view verdict, int max_score, bool think_open = false);

/// The choice in `<think>…</think><answer>A</answer>`: A, B or tie. Nothing for any other text.
std::optional<Choice> read_choice(std::string_view verdict, bool think_open = false);

/// Whether an answer says nothing: at most one letter or digit of any script, or the letters and digits of an opening
/// out of `boilerplate`, in whatever white space, punctuation and symbols. Such answers fool language models that judge
/// ("One token to fool LLM-as-a-judge", arXiv:2507.08794), so they are never shown to one, unless a reference says that
/// "7" is right.
bool says_nothing(std::string_view answer, const std::vector<std::string>& boilerplate);

}  // namespace grpo
