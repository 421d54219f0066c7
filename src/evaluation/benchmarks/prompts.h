// How the rows ask, and what they ask a judge. The words are the library's own, the labels that answers are read by are
// the benchmarks'; see BenchmarkSource::prompt for words of another's.
#pragma once

#include <string_view>

namespace grpo {

inline constexpr std::string_view kChoicePrompt =
    "Solve this multiple choice question step by step. Close with a line of the form 'Answer: $LETTER' (without the "
    "quotes), where LETTER is one of {letters}.\n\n{question}\n\n{choices}";
inline constexpr std::string_view kJsonPrompt =
    "Solve this multiple choice question step by step. Reply with a JSON object of two strings: \"reasoning\", your "
    "reasoning, and \"answer\", the letter of your choice ({letters}).\n\n{question}\n\n{choices}";
inline constexpr std::string_view kMmluProPrompt =
    "A multiple choice question about {subject}. Think it through step by step and finish with \"the answer is (X)\", "
    "where X is the letter of your choice.\n\nQuestion: {question}\nOptions:\n{choices}";
inline constexpr std::string_view kDropPrompt =
    "Questions about passages. First some examples.\n\n{examples}# Your task\n---\n{question}\n\nThink step by step, "
    "and close with a line of the form \"Answer: $ANSWER\". Where the answer is several spans, put \" | \" between "
    "them.";
inline constexpr std::string_view kMathsPrompt =
    "{question}\n\nReason step by step and put the final answer into \\boxed{}.";
inline constexpr std::string_view kChineseMathsPrompt = "{question}\n\n请逐步推理，并把最终答案写在 \\boxed{} 里。";
inline constexpr std::string_view kCodePrompt =
    "Write a Python program that solves this problem.\n\n{question}\n\n{examples}\n\nReason first, and put the whole "
    "program into one ```python block at the end.";
inline constexpr std::string_view kContestPrompt =
    "Write a C++ program that solves this contest problem within its limits.\n\n{question}\n\nReason first, and put "
    "the "
    "whole program into one ```cpp block at the end.";
inline constexpr std::string_view kFunctionPrompt =
    "Complete this Python function. Put all of it, imports included, into one ```python block at the end.\n\n"
    "```python\n{question}\n```";
inline constexpr std::string_view kChineseChoicePrompt =
    "请逐步思考并回答这道单项选择题，最后单独一行写出“答案：X”，X 是所选项的字母。\n\n{question}\n{choices}";
inline constexpr std::string_view kCluewscPrompt =
    "{question}\n\n上文中的“{subject}”指的是“{choices}”吗？请先思考，最后单独一行写出“答案：是”或“答案：否”。";
inline constexpr std::string_view kGradePrompt =
    "Grade an answer against the reference.\nA (correct): it has all that the question asks for as the reference gives "
    "it, and contradicts none of it. Wording, language, spelling of names and hedging do not matter; a number must "
    "agree "
    "to the reference's last figure.\nB (incorrect): something in it contradicts the reference, hedged or not.\nC (not "
    "attempted): it lacks what was asked and contradicts nothing.\nA line that begins with | goes on with the text "
    "above it.\n\nQuestion: {question}\nReference: {reference}\nAnswer: {answer}\n\nReply with the one letter A, B or "
    "C.";
inline constexpr std::string_view kFramesJudge =
    "Does the answer say what the reference says? Only the meaning counts, and more detail does no harm. A line that "
    "begins with | goes on with the text above it.\n\nQuestion: {question}\nReference: {reference}\nAnswer: "
    "{answer}\n\nReply with the one word TRUE or FALSE.";
inline constexpr std::string_view kAlpacaJudge =
    "Two models answered an instruction. Which answer would people prefer? A line that begins with | goes on "
    "with the text above it.\n\nInstruction: {question}\n\nAnswer A: {a}\n\nAnswer B: {b}\n\nReply with "
    "the one letter A or B.";
inline constexpr std::string_view kArenaJudge =
    "Judge two assistants' answers to a request. Answer the request yourself first; then look for mistakes in both, "
    "and "
    "weigh how helpful, relevant, concise and, where it is asked for, original they are. End with exactly one of these "
    "labels:\n[[A>>B]] A is much better\n[[A>B]] A is a little better\n[[A=B]] about the same\n[[B>A]] B is a little "
    "better\n[[B>>A]] B is much better\nA line that begins with | belongs to the text of the request or "
    "the answer that it stands in.\n\nRequest:\n{question}\n\nAssistant A:\n{a}\n\nAssistant B:\n{b}";

}  // namespace grpo
