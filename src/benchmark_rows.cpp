// The rows: how each reads a line of its file and marks a completion.
#include <algorithm>
#include <cstdlib>

#include "benchmark_prompts.h"
#include "benchmark_rules.h"
#include "benchmark_text.h"
#include "generators.h"
#include "nearest.h"
#include "utf8.h"

namespace grpo {
namespace {

constexpr std::uint64_t kChoices = 0xC401, kExamples = 0xE4A, kOrder = 0x04D;  // purposes of draws

// ---- Reading --------------------------------------------------------------------------------------------------------

void set_choices(Reading& reading, const std::vector<std::string>& choices, std::string_view mark) {
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const char letter = static_cast<char>('A' + i);
    reading.letters += letter;
    if (i > 0) reading.choices += '\n';
    (reading.choices += letter).append(mark) += choices[i];
  }
}

std::string text_or_number(const JsonReader& line, std::string_view key) {
  const nlohmann::json& value = line.required(key);
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_number_integer()) line.refuse(key, "a string or an integer");
  return value.dump();
}

std::vector<std::string> strings(const JsonReader& line, std::string_view key, std::size_t least, std::size_t most) {
  const nlohmann::json& list = line.required(key);
  if (!list.is_array() || list.size() < least || list.size() > most) line.refuse(key, "a list of choices");
  std::vector<std::string> texts;
  for (const auto& each : list) {
    if (!each.is_string()) line.refuse(key, "a list of strings");
    texts.push_back(each.get<std::string>());
  }
  return texts;
}

/// The first of two spellings that the line has.
std::string_view spelled(const JsonReader& line, std::string_view one, std::string_view other) {
  return line.optional(one).is_null() && !line.optional(other).is_null() ? other : one;
}

void set_id(const JsonReader& line, std::string_view key, Reading& reading) {
  if (!line.optional(key).is_null()) reading.problem.task.id = text_or_number(line, key);
}

bool read_four_choices(const JsonReader& line, Reading& reading) {
  reading.question = line.string(spelled(line, "question", "Question"));
  const std::string_view answer = spelled(line, "answer", "Answer"), subject = spelled(line, "subject", "Subject");
  if (!line.optional(subject).is_null()) reading.subject = line.string(subject);
  set_id(line, "id", reading);
  if (!line.optional("choices").is_null()) {
    set_choices(reading, strings(line, "choices", 4, 4), ") ");
    reading.problem.task.answer = static_cast<char>('A' + line.count(answer, 4));
    return true;
  }
  set_choices(reading, {line.string("A"), line.string("B"), line.string("C"), line.string("D")}, ") ");
  const std::string& letter = line.string(answer);
  if (letter.size() != 1 || letter[0] < 'A' || letter[0] > 'D') line.refuse(answer, "a letter from A to D");
  reading.problem.task.answer = letter;
  return true;
}

bool read_chinese_choices(const JsonReader& line, Reading& reading) {
  reading.problem.task.language = "zh";
  return read_four_choices(line, reading);
}

bool read_mmlu_redux(const JsonReader& line, Reading& reading) {
  return read_four_choices(line, reading) && line.string("error_type") == "ok";
}

bool read_mmlu_pro(const JsonReader& line, Reading& reading) {
  reading.question = line.string("question");
  reading.subject = line.string("category");
  set_id(line, "question_id", reading);
  std::vector<std::string> options = strings(line, "options", 2, 10);
  std::erase(options, "N/A");  // fills up to ten in the published file
  set_choices(reading, options, ". ");
  const auto index = static_cast<std::size_t>(line.count("answer_index", 10));
  const std::string& letter = line.string("answer");
  if (letter != std::string(1, static_cast<char>('A' + index)) || index >= options.size())
    line.refuse("answer", "the letter of answer_index, among the options");
  reading.problem.task.answer = letter;
  return true;
}

bool read_gpqa(const JsonReader& line, Reading& reading) {
  reading.question = line.string("Question");
  set_id(line, "Record ID", reading);
  std::vector<std::string> choices{std::string(trim(line.string("Correct Answer")))};
  for (const char* key : {"Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"})
    choices.emplace_back(trim(line.string(key)));
  std::vector<std::size_t> order{0, 1, 2, 3};
  Draws{kChoices, reading.seed, hash_of(reading.question)}.shuffle(order);
  std::vector<std::string> shuffled;
  for (const std::size_t each : order) shuffled.push_back(choices[each]);
  set_choices(reading, shuffled, ") ");
  reading.problem.task.answer = static_cast<char>('A' + (std::find(order.begin(), order.end(), 0u) - order.begin()));
  return true;
}

bool read_drop(const JsonReader& line, Reading& reading) {
  constexpr std::size_t kShown = 3;
  reading.question = line.string("context");
  reading.problem.task.answer = line.string("ref_text");
  const auto& beside = *reading.beside;
  if (beside.empty() || beside[0].size() < kShown)
    throw Error("benchmark", reading.source->file.string(),
                ": expected a file beside with at least 3 examples (`context`, `completion`), got ",
                beside.empty() ? "none" : "fewer");
  Draws draws{kExamples, reading.seed, hash_of(reading.question)};
  std::vector<std::size_t> shown;
  while (shown.size() < kShown) {
    const std::size_t drawn = draws.below(beside[0].size());
    if (std::find(shown.begin(), shown.end(), drawn) != shown.end()) continue;
    shown.push_back(drawn);
    const JsonReader example(beside[0][drawn], reading.source->beside[0].string(), "benchmark");
    reading.examples += "---\n" + example.string("context") + " " + example.string("completion") + "\n\n";
  }
  return true;
}

bool read_maths(const JsonReader& line, Reading& reading) {
  reading.question = line.string(spelled(line, "problem", "Problem"));
  reading.problem.task.answer = text_or_number(line, spelled(line, "answer", "Answer"));
  for (const char* key : {"unique_id", "id", "ID"}) set_id(line, key, reading);
  return true;
}

bool read_question_answer(const JsonReader& line, Reading& reading) {
  reading.question = line.string(spelled(line, "question", "problem"));
  reading.problem.task.answer = text_or_number(line, "answer");
  set_id(line, "id", reading);
  return true;
}

bool read_chinese_question(const JsonReader& line, Reading& reading) {
  reading.problem.task.language = "zh";
  return read_question_answer(line, reading);
}

bool read_frames(const JsonReader& line, Reading& reading) {
  reading.question = line.string("Prompt");
  reading.problem.task.answer = text_or_number(line, "Answer");
  return true;
}

bool read_if_eval(const JsonReader& line, Reading& reading) {
  reading.question = line.string("prompt");
  set_id(line, "key", reading);
  if (!line.required("instruction_id_list").is_array()) line.refuse("instruction_id_list", "a list of instructions");
  return true;
}

bool read_alpaca(const JsonReader& line, Reading& reading) {
  reading.question = line.string("instruction");
  reading.problem.task.answer = line.string("output");
  return true;
}

bool read_arena(const JsonReader& line, Reading& reading) {
  const auto first_turn = [](const JsonReader& from, const nlohmann::json& turns, std::string_view key) {
    if (!turns.is_array() || turns.empty() || !turns[0].is_object() || !turns[0].contains("content") ||
        !turns[0]["content"].is_string())
      from.refuse(key, "a list of turns with `content`");
    return turns[0]["content"].get<std::string>();
  };
  const std::string& id = reading.problem.task.id = line.string("question_id");
  reading.question = first_turn(line, line.required("turns"), "turns");
  const auto& beside = *reading.beside;
  if (beside.empty())
    throw Error("benchmark", reading.source->file.string(),
                ": expected a file beside of the baseline's answers, got none");
  const auto found = std::find_if(beside[0].begin(), beside[0].end(), [&](const nlohmann::json& each) {
    return each.contains("question_id") && each["question_id"] == id;
  });
  if (found == beside[0].end()) line.refuse("question_id", "one that the baseline answered");
  const JsonReader answer(*found, reading.source->beside[0].string() + ":" + id, "benchmark");
  const nlohmann::json& choices = answer.required("choices");
  if (!choices.is_array() || choices.empty() || !choices[0].is_object() || !choices[0].contains("turns"))
    answer.refuse("choices", "a list of choices with `turns`");
  reading.problem.task.answer = first_turn(answer, choices[0]["turns"], "choices");
  return true;
}

bool read_live_code_bench(const JsonReader& line, Reading& reading) {
  reading.question = line.string("question_content");
  set_id(line, "question_id", reading);
  const std::string& starter = line.string("starter_code");
  reading.examples = starter.empty() ? "Read the input from standard input and write the result to standard output."
                                     : "Complete this code:\n```python\n" + starter + "\n```";
  const BenchmarkSource& source = *reading.source;
  if (source.since.empty() && source.before.empty()) return true;
  const std::string& date = line.string("contest_date");  // ISO 8601 sorts as text
  return (source.since.empty() || date >= source.since) && (source.before.empty() || date < source.before);
}

bool read_human_eval(const JsonReader& line, Reading& reading) {
  reading.question = line.string("prompt");
  reading.problem.task.id = line.string("task_id");
  line.string("test"), line.string("entry_point");  // the grader needs them
  return true;
}

bool read_codeforces(const JsonReader& line, Reading& reading) {
  const std::string& id = reading.problem.task.id = line.string("problem_id");
  if (id.find_first_not_of("0123456789") == id.npos || id[0] < '0' || id[0] > '9')
    line.refuse("problem_id", "a contest's number and the problem's index, such as 2024A");
  reading.question =
      line.string("description") + "\n\nInput\n" + line.string("input") + "\n\nOutput\n" + line.string("output");
  return true;
}

bool read_cluewsc(const JsonReader& line, Reading& reading) {
  const JsonReader target(line.required("target"), line.where() + ".target", "benchmark");
  reading.question = line.string("text");
  reading.subject = target.string("span2_text");
  reading.choices = target.string("span1_text");
  reading.problem.task.language = "zh";
  const std::string& label = line.string("label");
  if (label != "true" && label != "false") line.refuse("label", "\"true\" or \"false\"");
  reading.problem.task.answer = label == "true" ? "是" : "否";
  return true;
}

// ---- BenchmarkScore
// --------------------------------------------------------------------------------------------------------

void mark_answer(const Scored& scored, Mark& mark, std::string answer) {
  mark.unreadable = answer.empty();
  mark.values["right"] = answer == scored.problem.task.answer ? 1 : 0;
  mark.answer = std::move(answer);
}
void mark_choice(const Scored& scored, Mark& mark, char choice) {
  mark_answer(scored, mark, choice ? std::string(1, choice) : "");
}
/// `read`, after an answer that is nothing but a letter.
template <class Read>
void mark_choice(const Scored& scored, Mark& mark, char last, const Read& read) {
  const char bare = bare_choice(scored.shown, last);
  mark_choice(scored, mark, bare ? bare : read(scored.shown, last));
}

void score_choice(const Scored& s, Mark& mark) { mark_choice(s, mark, 'D', choice_after_answer); }
void score_json_choice(const Scored& s, Mark& mark) { mark_choice(s, mark, 'D', choice_in_json); }
void score_mmlu_pro(const Scored& s, Mark& mark) { mark_choice(s, mark, mmlu_pro_choice(s.shown)); }
void score_chinese_choice(const Scored& s, Mark& mark) {
  mark_choice(s, mark, 'D', [](std::string_view text, char last) {
    const char choice = leading_choice(after_chinese_answer(text), last);
    return choice ? choice : choice_after_answer(text, last);
  });
}
void score_cluewsc(const Scored& scored, Mark& mark) {
  const std::string_view behind = after_chinese_answer(scored.shown), said = behind.empty() ? scored.shown : behind;
  for (const std::string_view word : {"是", "否"})
    if (said.starts_with(word) && !said.starts_with("是否")) return mark_answer(scored, mark, std::string(word));
  mark_answer(scored, mark, "");
}

void score_drop(const Scored& scored, Mark& mark) {
  const std::string answer(trim(line_after_answer(scored.shown).value_or(scored.shown)));
  DropScore best;
  const std::string& references = scored.problem.task.answer;
  for (std::size_t at = 0; at <= references.size();) {
    const std::size_t end = std::min(references.find('|', at), references.size());
    const std::string reference = references.substr(at, end - at);
    if (!trim(reference).empty()) {
      const DropScore score = drop_score({answer}, {reference});
      best.exact = std::max(best.exact, score.exact), best.f1 = std::max(best.f1, score.f1);
    }
    at = end + 1;
  }
  mark.values["f1"] = best.f1 / 100;
  mark.values["em"] = mark.values["right"] = best.exact / 100;
  mark.unreadable = answer.empty();
  mark.answer = answer;
}

void score_maths(const Scored& scored, Mark& mark) {
  mark.answer = trim(loose_answer(after_thinking(scored.answered.text, scored.graders.think_open)));
  mark.unreadable = mark.answer.empty();
  mark.values["right"] =
      !mark.unreadable && scored.graders.same_answer(mark.answer, scored.problem.task.answer) ? 1 : 0;
}
bool same_maths(const Graders& graders, const std::string& a, const std::string& b) {
  return graders.same_answer(a, b);
}

void score_if_eval(const Scored& scored, Mark& mark) {
  if (!scored.graders.follows_instructions)
    throw Error("benchmark", "if_eval: expected Graders::follows_instructions, got none");
  const auto followed = scored.graders.follows_instructions(scored.problem, scored.shown);
  mark.values["right"] = mark.values["strict"] = followed.strict ? 1 : 0;
  mark.values["loose"] = followed.loose ? 1 : 0;
}

void score_code(const Scored& scored, Mark& mark) {
  if (!scored.graders.passes_tests)
    throw Error("benchmark", scored.problem.task.kind, ": expected Graders::passes_tests, got none");
  const std::string program = last_code_block(scored.shown);
  mark.unreadable = program.empty();
  mark.values["right"] = !mark.unreadable && scored.graders.passes_tests(scored.problem, program) ? 1 : 0;
}

std::string_view verdict_of(const Scored& scored, std::string_view words, Mark& mark) {
  const auto& verdicts = scored.answered.verdicts;
  const std::string_view word = verdicts.empty() ? std::string_view() : read_verdict(verdicts[0], words);
  mark.unreadable = word.empty();
  return word;
}

void score_simple_qa(const Scored& scored, Mark& mark) {
  const std::string_view grade = verdict_of(scored, "A B C", mark);
  mark.values["right"] = grade == "A" ? 1 : 0;
  mark.values["incorrect"] = grade == "B" ? 1 : 0;
  mark.values["not_attempted"] = grade == "A" || grade == "B" ? 0 : 1;
}

void score_frames(const Scored& scored, Mark& mark) {
  mark.values["right"] = verdict_of(scored, "TRUE FALSE", mark) == "TRUE" ? 1 : 0;
}

void score_alpaca(const Scored& scored, Mark& mark) {
  if (is_silent(scored.problem, scored.shown)) {
    mark.values["preference"] = 0;
  } else if (const std::string_view better = verdict_of(scored, "A B", mark); !better.empty()) {
    mark.values["preference"] = (better == "A") == model_is_first(scored.problem) ? 1 : 0;
  }
}

/// Points for either side, over both games: 1 for a game that was won, 3 for one that was won by far, half a point each
/// for a tie; a game without a verdict gives none.
void score_arena(const Scored& scored, Mark& mark) {
  double won = 0, lost = 0;
  const auto& verdicts = scored.answered.verdicts;
  const bool silent = is_silent(scored.problem, scored.shown);
  if (silent) lost = 6;
  for (std::size_t game = 0; game < 2 && !silent; ++game) {
    const auto verdict = game < verdicts.size() ? read_arena_verdict(verdicts[game]) : std::nullopt;
    mark.unreadable = mark.unreadable || !verdict;
    if (!verdict) continue;
    const int for_model = game == 0 ? -*verdict : *verdict;  // in the first game the baseline is A
    const double weight = std::abs(for_model) == 2 ? 3 : 1;
    if (for_model == 0)
      won += 0.5, lost += 0.5;
    else
      (for_model > 0 ? won : lost) += weight;
  }
  mark.values["won"] = won;
  mark.values["lost"] = lost;
}

// ---- The table ------------------------------------------------------------------------------------------------------

using Judging = BenchmarkRules::Judging;
constexpr BenchmarkRules kMmlu{read_four_choices, score_choice}, kMmluRedux{read_mmlu_redux, score_json_choice},
    kMmluPro{read_mmlu_pro, score_mmlu_pro}, kDrop{read_drop, score_drop}, kIfEval{read_if_eval, score_if_eval},
    kGpqa{read_gpqa, score_choice},
    kSimpleQa{read_question_answer, score_simple_qa, nullptr, summarize_simple_qa, nullptr, Judging::alone},
    kFrames{read_frames, score_frames, nullptr, nullptr, nullptr, Judging::alone},
    kAlpaca{read_alpaca, score_alpaca, nullptr, summarize_alpaca, nullptr, Judging::once},
    kArena{read_arena, score_arena, nullptr, summarize_arena, nullptr, Judging::both_orders},
    kLiveCodeBench{read_live_code_bench, score_code},
    kCodeforces{read_codeforces, score_code, nullptr, summarize_codeforces},
    kSwe{nullptr, nullptr, nullptr, nullptr, import_swe}, kAider{nullptr, nullptr, nullptr, nullptr, import_aider},
    kMaths{read_maths, score_maths, same_maths}, kCluewsc{read_cluewsc, score_cluewsc},
    kChoiceZh{read_chinese_choices, score_chinese_choice},
    kSimpleQaZh{read_chinese_question, score_simple_qa, nullptr, summarize_simple_qa, nullptr, Judging::alone},
    kHumanEval{read_human_eval, score_code};

}  // namespace

bool model_is_first(const BenchmarkProblem& problem) {
  return Draws{kOrder, hash_of(problem.task.prompt)}.below(2) == 0;
}

const std::vector<Benchmark>& benchmarks() {
  static const std::vector<Benchmark> rows{
      {"mmlu", "MMLU (Pass@1)", "pass@1", kChoicePrompt, "", &kMmlu},
      {"mmlu_redux", "MMLU-Redux (EM)", "pass@1", kJsonPrompt, "", &kMmluRedux},
      {"mmlu_pro", "MMLU-Pro (EM)", "pass@1", kMmluProPrompt, "", &kMmluPro},
      {"drop", "DROP (3-shot F1)", "f1", kDropPrompt, "", &kDrop},
      {"if_eval", "IF-Eval (Prompt Strict)", "strict", "{question}", "", &kIfEval},
      {"gpqa_diamond", "GPQA-Diamond (Pass@1)", "pass@1", kChoicePrompt, "", &kGpqa},
      {"simple_qa", "SimpleQA (Correct)", "pass@1", "{question}", kGradePrompt, &kSimpleQa},
      {"frames", "FRAMES (Acc.)", "pass@1", "{question}", kFramesJudge, &kFrames},
      {"alpaca_eval", "AlpacaEval2.0 (LC-winrate)", "lc_win_rate", "{question}", kAlpacaJudge, &kAlpaca},
      {"arena_hard", "ArenaHard (GPT-4-1106)", "score", "{question}", kArenaJudge, &kArena},
      {"live_code_bench", "LiveCodeBench (Pass@1-COT)", "pass@1", kCodePrompt, "", &kLiveCodeBench},
      {"codeforces", "Codeforces (Rating)", "rating", kContestPrompt, "", &kCodeforces},
      {"swe_verified", "SWE Verified (Resolved)", "pass@1", "", "", &kSwe},
      {"aider_polyglot", "Aider-Polyglot (Acc.)", "pass@1", "", "", &kAider},
      {"aime_2024", "AIME 2024 (Pass@1)", "pass@1", kMathsPrompt, "", &kMaths},
      {"math_500", "MATH-500 (Pass@1)", "pass@1", kMathsPrompt, "", &kMaths},
      {"cnmo_2024", "CNMO 2024 (Pass@1)", "pass@1", kChineseMathsPrompt, "", &kMaths},
      {"cluewsc", "CLUEWSC (EM)", "pass@1", kCluewscPrompt, "", &kCluewsc},
      {"c_eval", "C-Eval (EM)", "pass@1", kChineseChoicePrompt, "", &kChoiceZh},
      {"c_simple_qa", "C-SimpleQA (Correct)", "pass@1", "{question}", kGradePrompt, &kSimpleQaZh},
      {"human_eval", "HumanEval (Pass@1)", "pass@1", kFunctionPrompt, "", &kHumanEval}};
  return rows;
}

const Benchmark& find_benchmark(std::string_view name) {
  std::vector<std::string> known;
  for (const Benchmark& each : benchmarks()) {
    if (each.name == name) return each;
    known.emplace_back(each.name);
  }
  throw Error("benchmark", "expected a benchmark, got \"", name, "\"; did you mean \"", nearest(name, known), "\"?");
}

}  // namespace grpo
