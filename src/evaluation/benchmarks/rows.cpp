// The rows: how each reads a line of its file and marks a completion.
#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/draws.h"
#include "base/nearest.h"
#include "evaluation/benchmarks/prompts.h"
#include "evaluation/benchmarks/rules.h"
#include "evaluation/benchmarks/text.h"
#include "grpo/instructions.h"
#include "text/utf8.h"

namespace grpo {

std::string text_or_number(const JsonReader& line, std::string_view key) {
  const nlohmann::json& value = line.required(key);
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_number_integer()) line.refuse(key, "a string or an integer");
  return value.dump();
}

std::string_view spelled(const JsonReader& line, std::initializer_list<std::string_view> spellings) {
  const auto found = std::find_if(spellings.begin(), spellings.end(),
                                  [&](std::string_view each) { return !line.optional(each).is_null(); });
  return found == spellings.end() ? *spellings.begin() : *found;
}

void set_id(const JsonReader& line, std::string_view key, Reading& reading) {
  if (!line.optional(key).is_null()) reading.problem.task.id = text_or_number(line, key);
}

namespace {

constexpr std::uint64_t kChoices = 0xC401, kOrder = 0x04D;  // purposes of draws

// ---- Reading --------------------------------------------------------------------------------------------------------

void set_choices(Reading& reading, const std::vector<std::string>& choices, std::string_view mark) {
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const char letter = static_cast<char>('A' + i);
    reading.letters += letter;
    if (i > 0) reading.choices += '\n';
    (reading.choices += letter).append(mark) += choices[i];
  }
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

/// "abstract algebra", where the line's file is abstract_algebra_test.csv: files of one subject each do not say it in
/// their lines.
std::string subject_of_file(const std::string& where) {
  std::string name = std::filesystem::path(where.substr(0, where.rfind(':'))).stem().string();
  for (const std::string_view part : {"_test", "_val", "_dev"})
    if (name.ends_with(part)) {
      name.resize(name.size() - part.size());
      std::replace(name.begin(), name.end(), '_', ' ');
      return name;
    }
  return "";
}

bool read_four_choices(const JsonReader& line, Reading& reading) {
  // (C-Eval's own ids begin anew with each of its subjects: they are none for all of them together.)
  reading.question = line.string(spelled(line, {"question", "Question"}));
  const std::string_view answer = spelled(line, {"answer", "Answer"}), subject = spelled(line, {"subject", "Subject"});
  reading.subject = line.optional(subject).is_null() ? subject_of_file(line.where()) : line.string(subject);
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

/// As ZeroEval (github.com/WildEval/ZeroEval) takes it: what was found to be in order, and what has the key alone wrong
/// and a letter or a place that is right.
bool read_mmlu_redux(const JsonReader& line, Reading& reading) {
  read_four_choices(line, reading);
  const std::string& type = line.string("error_type");
  if (type == "ok") return true;
  if (type != "wrong_groundtruth" || line.optional("correct_answer").is_null()) return false;
  const std::string correct = text_or_number(line, "correct_answer");
  if (correct.size() != 1) return false;
  const char letter = correct[0] >= '0' && correct[0] <= '3' ? static_cast<char>('A' + (correct[0] - '0')) : correct[0];
  reading.problem.task.answer = letter;
  return letter >= 'A' && letter <= 'D';
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

bool read_maths(const JsonReader& line, Reading& reading) {
  reading.question = line.string(spelled(line, {"problem", "Problem", "question", "Question"}));
  const std::string_view answer = spelled(line, {"answer", "Answer"});
  const nlohmann::json& solution = line.optional("solution");  // whose box has the answer in MATH's own files
  if (line.optional(answer).is_null() && solution.is_string() &&
      solution.get_ref<const std::string&>().find("\\boxed") != std::string::npos) {
    for (const std::string& each : final_answer(solution.get_ref<const std::string&>(), {.last_box = true}))
      reading.problem.task.answer = each;
  } else {
    reading.problem.task.answer = text_or_number(line, answer);
  }
  for (const char* key : {"unique_id", "id", "ID"}) set_id(line, key, reading);
  return true;
}

bool read_question_answer(const JsonReader& line, Reading& reading) {
  reading.question = line.string(spelled(line, {"question", "problem"}));
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
  Instructions(line.object().dump(), line.where());  // refuses what cannot be checked
  return true;
}

bool read_alpaca(const JsonReader& line, Reading& reading) {
  reading.question = line.string("instruction");
  reading.problem.task.answer = line.string("output");
  return true;
}

/// Arena-Hard in both forms that its owners have given it: turns, and a prompt and messages. The text of a turn may be
/// the only or the first member of a list or, of a model that thinks, the answer of an object.
std::string arena_text(const JsonReader& from, std::string_view key, const nlohmann::json& turn) {
  const nlohmann::json* text = turn.is_object() && turn.contains("content") ? &turn["content"] : &turn;
  if (text->is_array() && !text->empty()) text = &text->front();
  if (text->is_object() && text->contains("answer")) text = &(*text)["answer"];
  if (!text->is_string()) from.refuse(key, "turns with a text as `content`");
  return text->get<std::string>();
}

std::string arena_answer(const JsonReader& answer) {
  const bool turns = answer.optional("messages").is_null();
  const std::string_view key = turns ? "choices" : "messages";
  const nlohmann::json& list = answer.required(key);
  if (!list.is_array() || list.empty()) answer.refuse(key, "a list that is not empty");
  if (!turns) return arena_text(answer, key, list.back());
  const nlohmann::json& first = list.front();
  if (!first.is_object() || !first.contains("turns") || !first["turns"].is_array() || first["turns"].empty())
    answer.refuse(key, "a list of choices with `turns`");
  return arena_text(answer, key, first["turns"].front());
}

bool read_arena(const JsonReader& line, Reading& reading) {
  const std::string_view key = spelled(line, {"question_id", "uid"});
  const std::string& id = reading.problem.task.id = line.string(key);
  if (line.optional("turns").is_null()) {
    reading.question = line.string("prompt");
  } else {
    const nlohmann::json& turns = line.required("turns");
    if (!turns.is_array() || turns.empty()) line.refuse("turns", "a list of turns with `content`");
    reading.question = arena_text(line, "turns", turns.front());
  }
  const auto& beside = *reading.beside;
  if (beside.empty())
    throw Error("benchmark", reading.source->file.string(),
                ": expected a file beside of the baseline's answers, got none");
  const auto found = std::find_if(beside[0].begin(), beside[0].end(), [&](const nlohmann::json& each) {
    return each.is_object() &&
           (each.value("question_id", nlohmann::json()) == id || each.value("uid", nlohmann::json()) == id);
  });
  if (found == beside[0].end()) line.refuse(key, "one that the baseline answered");
  reading.problem.task.answer =
      arena_answer(JsonReader(*found, reading.source->beside[0].string() + ":" + id, "benchmark"));
  return true;
}

bool read_cluewsc(const JsonReader& line, Reading& reading) {
  const JsonReader target(line.required("target"), line.where() + ".target", "benchmark");
  reading.question = line.string("text");
  reading.subject = target.string("span2_text");
  reading.choices = target.string("span1_text");
  reading.problem.task.language = "zh";
  // The owners' files have texts; the data set of the same name that Hugging Face hosts has the places of these
  // classes.
  const nlohmann::json& label = line.required("label");
  if (label != "true" && label != "false" && label != 0 && label != 1) line.refuse("label", "\"true\" or \"false\"");
  reading.problem.task.answer = label == "true" || label == 0 ? "是" : "否";
  return true;
}

// ---- Marking --------------------------------------------------------------------------------------------------------

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

void score_maths(const Scored& scored, Mark& mark) {
  // Several different final answers are one answer that has to be right as a whole, or each of them has to be.
  const auto answers = final_answer(
      scored.answered.text, {.think_open = scored.graders.think_open, .last_box = scored.graders.last_box});
  for (const std::string& each : answers) (mark.answer += mark.answer.empty() ? "" : ", ") += each;
  mark.unreadable = mark.answer.empty();
  const auto right = [&](const std::string& each) {
    return scored.graders.same_answer(each, scored.problem.task.answer);
  };
  mark.values["right"] =
      !mark.unreadable && (right(mark.answer) || std::all_of(answers.begin(), answers.end(), right)) ? 1 : 0;
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
constexpr std::string_view kMmluColumns[] = {"question", "A", "B", "C", "D", "answer"};  // of its owner's own files
constexpr BenchmarkRules kMmlu{.read = read_four_choices, .score = score_choice, .columns = kMmluColumns},
    kMmluRedux{.read = read_mmlu_redux, .score = score_json_choice},
    kMmluPro{.read = read_mmlu_pro, .score = score_mmlu_pro},
    kDrop{.read = read_drop, .score = score_drop, .unfold = unfold_drop, .needs_beside = 1},
    kIfEval{.read = read_if_eval, .score = score_if_eval}, kGpqa{.read = read_gpqa, .score = score_choice},
    kSimpleQa{.read = read_question_answer,
              .score = score_simple_qa,
              .summarize = summarize_simple_qa,
              .judging = Judging::alone},
    kFrames{.read = read_frames, .score = score_frames, .judging = Judging::alone},
    kAlpaca{.read = read_alpaca, .score = score_alpaca, .summarize = summarize_alpaca, .judging = Judging::once},
    kArena{.read = read_arena,
           .score = score_arena,
           .summarize = summarize_arena,
           .judging = Judging::both_orders,
           .needs_beside = 1},
    kLiveCodeBench{.read = read_live_code_bench, .score = score_code},
    kCodeforces{.read = read_codeforces,
                .score = score_code,
                .summarize = summarize_codeforces,
                .import = import_codeforces,
                .needs_beside = 1},
    kSwe{.import = import_swe}, kAider{.import = import_aider},
    kMaths{.read = read_maths, .score = score_maths, .same = same_maths},
    kCluewsc{.read = read_cluewsc, .score = score_cluewsc},
    kChoiceZh{.read = read_chinese_choices, .score = score_chinese_choice},
    kSimpleQaZh{.read = read_chinese_question,
                .score = score_simple_qa,
                .summarize = summarize_simple_qa,
                .judging = Judging::alone},
    kHumanEval{.read = read_human_eval, .score = score_code};

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
