#include "grpo/code.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "grpo/json.h"
#include "rewards/code/harness.h"

namespace grpo {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kReplyBytes = 1 << 22;  // of one call's result
constexpr std::size_t kDetailBytes = 400;
constexpr std::string_view kSpace = " \t\n\r\v\f";

// ---- Reading tests --------------------------------------------------------------------------------------------------

[[noreturn]] void refuse(std::string_view expected, const Json& got) {
  throw Error("code", "expected ", expected, ", got ",
              got.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 120));
}

const std::string& text_of(const Json& object, const char* key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_string())
    refuse(std::string("a text under \"") + key + '"', object);
  return object[key].get_ref<const std::string&>();
}

/// What LiveCodeBench writes as a text, one JSON value a line: as it stands, for digits are Python's to read.
std::vector<std::string> values_of_lines(const std::string& text) {
  std::vector<std::string> values;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    if (line.find_first_not_of(kSpace) == line.npos) continue;
    if (read_json<Json>(line).is_discarded()) refuse("a JSON value on each line of a call", text);
    values.push_back(line);
  }
  return values;
}

std::string written(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

/// [[argument, …], result]
std::string call_of(const Json& input, const Json& output) {
  if (!input.is_string()) {
    if (!input.is_array()) refuse("a call's arguments as a list", input);
    return '[' + written(input) + ',' + written(output) + ']';
  }
  const std::vector<std::string> result =
      output.is_string() ? values_of_lines(output.get<std::string>()) : std::vector{written(output)};
  if (result.size() != 1) refuse("one JSON value as a call's result", output);
  std::string arguments;
  for (const std::string& each : values_of_lines(input.get<std::string>()))
    arguments.append(arguments.empty() ? "" : ",").append(each);
  return "[[" + arguments + "]," + result[0] + ']';
}

// ---- Reading completions --------------------------------------------------------------------------------------------

/// A line that opens or closes a fenced block: CommonMark 0.31, section 4.5.
struct Fence {
  char mark;
  std::size_t length;
  std::string_view info;  // what follows, trimmed; a closing one has none
};

std::optional<Fence> read_fence(std::string_view line) {
  const std::size_t start = line.find_first_not_of(' ');
  if (start == line.npos || start > 3 || (line[start] != '`' && line[start] != '~')) return {};
  const char mark = line[start];
  const std::size_t end = std::min(line.find_first_not_of(mark, start), line.size());
  if (end - start < 3) return {};
  std::string_view info = line.substr(end);
  info.remove_prefix(std::min(info.find_first_not_of(kSpace), info.size()));
  info = info.substr(0, info.find_last_not_of(kSpace) + 1);
  if (mark == '`' && info.find('`') != info.npos) return {};
  return Fence{mark, end - start, info};
}

bool names(std::string_view info, Language language) {
  constexpr std::string_view kPython = " python python3 py ", kCpp = " cpp c++ cxx cc ";
  std::string word(info.substr(0, info.find_first_of(kSpace)));
  if (word.empty()) return true;
  for (char& c : word)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return (language == Language::cpp ? kCpp : kPython).find(' ' + word + ' ') != kPython.npos;
}

std::string_view final_part(std::string_view text) {
  constexpr std::string_view kThought = "</think>", kOpen = "<answer>", kClose = "</answer>";
  if (const std::size_t end = text.rfind(kThought); end != text.npos) text.remove_prefix(end + kThought.size());
  const std::size_t close = text.rfind(kClose);
  const std::size_t open = text.substr(0, close).rfind(kOpen);
  if (close == text.npos || open == text.npos) return text;
  return text.substr(open + kOpen.size(), close - open - kOpen.size());
}

// ---- Prompts that are to be completed -------------------------------------------------------------------------------

/// Where Python that is to be completed goes on.
struct Ending {
  std::string indent;       // of a body
  bool lacks_body = false;  // what ends is the head of a function
};

Ending ending_of(std::string_view prompt) {
  std::string_view last;  // line that is more than a comment
  for (std::size_t at = 0; at < prompt.size();) {
    const std::size_t end = std::min(prompt.find('\n', at), prompt.size());
    std::string_view line = prompt.substr(at, end - at);
    at = end + 1;
    const std::string_view code = line.substr(0, line.rfind('#'));  // without its comment, if that is one
    const std::size_t first = line.find_first_not_of(kSpace), code_end = code.find_last_not_of(kSpace);
    if (first == line.npos || line[first] == '#') continue;
    if (code_end != code.npos && code[code_end] == ':') line = code;
    last = line;
  }
  if (last.empty()) return {};
  Ending ending{std::string(last.substr(0, last.find_first_not_of(kSpace)))};
  ending.lacks_body = last[last.find_last_not_of(kSpace)] == ':';
  if (ending.lacks_body) ending.indent += "    ";
  return ending;
}

std::string with_line_end(std::string text) {
  if (!text.empty() && !text.ends_with('\n')) text += '\n';
  return text;
}

/// The prompt as a program of its own: a function that lacks its body does nothing.
std::string with_body(const std::string& prompt) {
  const Ending ending = ending_of(prompt);
  return ending.lacks_body ? with_line_end(prompt) + ending.indent + "pass\n" : prompt;
}

/// Whether a line of `source` begins with `word` (`indented`: white space aside).
bool has_line(std::string_view source, std::string_view word, bool indented) {
  for (std::size_t at = source.find(word); at != source.npos; at = source.find(word, at + 1)) {
    std::size_t start = at;
    while (indented && start > 0 && (source[start - 1] == ' ' || source[start - 1] == '\t')) --start;
    if (start == 0 || source[start - 1] == '\n') return true;
  }
  return false;
}

// ---- Comparing ------------------------------------------------------------------------------------------------------

/// The next token of `text`, which it leaves; "" at the end.
std::string_view take_token(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  const std::string_view token = text.substr(0, text.find_first_of(kSpace));
  text.remove_prefix(token.size());
  return token;
}

std::optional<double> number(std::string_view token) {
  if (token.starts_with('+')) token.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
  if (error != std::errc() || end != token.data() + token.size() || !std::isfinite(value)) return {};
  return value;
}

bool tokens_match(std::string_view printed, std::string_view expected, double tolerance) {
  if (printed == expected) return true;
  if (!(tolerance > 0)) return false;
  const auto a = number(printed), b = number(expected);
  return a && b && std::abs(*a - *b) <= tolerance * std::max(1.0, std::abs(*b));
}

/// The end of what a program complained about: an exception's name is in the last line.
std::string last_of(const std::string& errors) {
  const std::size_t end = errors.find_last_not_of(kSpace) + 1;
  const std::size_t start = end > kDetailBytes ? end - kDetailBytes : 0;
  return errors.substr(start, end - start);
}

/// The beginning of what was printed or expected, as JSON has it, so that it stays on a line.
std::string shown(std::string_view output) {
  const std::string text(output.substr(0, kDetailBytes / 2));
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace) + (text.size() < output.size() ? " …" : "");
}

}  // namespace

std::string CodeVerdict::reason() const {
  if (outcome == Outcome::ok) return "";
  std::string text;
  if (failed > 0) text = "test " + std::to_string(failed) + " of " + std::to_string(total) + ": ";
  text += enum_name(outcome);
  if (!detail.empty()) text += ": " + detail;
  return text;
}

CodeTests read_code_tests(std::string_view text) {
  JsonFault fault;
  const Json json = read_json<Json>(text, LongNumbers::refuse, &fault);
  if (!fault.malformed) refuse("tests as a JSON object or list", fault.problem);
  if (!json.is_object() && !json.is_array()) refuse("tests as a JSON object or list", std::string(text));
  CodeTests tests;
  if (json.is_object() && json.contains("language")) {
    const std::string& name = text_of(json, "language");
    if (name != "python" && name != "cpp") refuse("the language \"python\" or \"cpp\"", name);
    tests.language = name == "cpp" ? Language::cpp : Language::python;
  }
  if (json.is_object() && (json.contains("test") || json.contains("fn_name")) && tests.language != Language::python)
    refuse("a function in Python; other languages have whole programs only", json["language"]);
  if (json.is_object() && json.contains("test")) {
    tests.entry_point = text_of(json, "entry_point");
    tests.check = text_of(json, "test");
    if (json.contains("prompt")) tests.setup = text_of(json, "prompt");
    return tests;
  }
  if (json.is_array() || json.contains("tests")) {
    const Json& list = json.is_array() ? json : json["tests"];
    if (!list.is_array() || list.empty()) refuse("at least one test", list);
    for (const Json& each : list) {
      if (each.is_object() && each.value("testtype", Json("stdin")) != "stdin")
        refuse("tests of standard input; those of functions need \"fn_name\", \"inputs\" and \"outputs\"", each);
      tests.cases.push_back({text_of(each, "input"), text_of(each, "output")});
    }
    return tests;
  }
  const Json inputs = json.value("inputs", Json()), outputs = json.value("outputs", Json());
  if (!inputs.is_array() || !outputs.is_array() || inputs.empty() || inputs.size() != outputs.size())
    refuse("\"inputs\" and \"outputs\" as lists of one length, not empty", json);
  if (json.contains("fn_name")) {
    tests.entry_point = text_of(json, "fn_name");
    for (std::size_t i = 0; i < inputs.size(); ++i)
      tests.calls.append(i == 0 ? "[" : ",").append(call_of(inputs[i], outputs[i]));
    tests.calls += ']';
    if (read_json<Json>(tests.calls).is_discarded()) refuse("calls that nest less", inputs);
    return tests;
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].is_string() || !outputs[i].is_string()) refuse("inputs and outputs as texts", json);
    tests.cases.push_back({inputs[i].get<std::string>(), outputs[i].get<std::string>()});
  }
  return tests;
}

std::string_view find_code(std::string_view text, Language language) {
  text = final_part(text);
  std::string_view found;
  std::optional<Fence> open;
  std::size_t body = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const auto fence = read_fence(text.substr(at, end - at));
    if (fence && !open) {
      open = fence;
      body = end + 1;
    } else if (fence && fence->mark == open->mark && fence->length >= open->length && fence->info.empty()) {
      if (names(open->info, language)) found = text.substr(body, at - body);
      open.reset();
    }
    at = end + 1;
  }
  return found;
}

std::string completed_program(const std::string& prompt, std::string_view name, const std::string& source) {
  if (prompt.empty() || source.find("from __future__") != source.npos) return source;
  if (source.starts_with(' ') || source.starts_with('\t')) return with_line_end(prompt) + source;
  const auto defines = [&](const char* how) {
    return has_line(source, how + std::string(name) + '(', /*indented=*/true);
  };
  if (defines("def ") || defines("async def ") || has_line(source, "class Solution", false) ||
      has_line(source, std::string(name) + " =", false))
    return with_line_end(with_body(prompt)) + '\n' + source;
  const std::string indent = ending_of(prompt).indent;  // that the body lost, as the beginning of a block does
  std::string program = with_line_end(prompt);
  for (std::size_t at = 0; at < source.size();) {
    const std::size_t end = std::min(source.find('\n', at), source.size() - 1) + 1;
    program.append(indent).append(source, at, end - at);
    at = end;
  }
  return program;
}

bool outputs_match(std::string_view printed, std::string_view expected, double tolerance) {
  while (true) {
    const std::string_view a = take_token(printed), b = take_token(expected);
    if (a.empty() || b.empty()) return a.empty() && b.empty();
    if (!tokens_match(a, b, tolerance)) return false;
  }
}

CodeChecker::CodeChecker(CodeConfig config) : config_(std::move(config)), sandbox_(config_.sandbox) {
  validate(config_, "code");
}

CodeVerdict CodeChecker::check(std::string_view source, const CodeTests& tests) const {
  return tests.cases.empty() ? check_function(source, tests)
                             : check_cases({tests.language, std::string(source)}, tests);
}

CodeVerdict CodeChecker::check_cases(const Program& program, const CodeTests& tests) const {
  CodeVerdict verdict;
  verdict.total = static_cast<std::int64_t>(tests.cases.size());
  std::int64_t number = 0;
  const auto note = [&](Outcome outcome, std::string detail) {
    if (verdict.outcome != Outcome::ok && outcome != Outcome::infrastructure) return;
    verdict.outcome = outcome;
    verdict.failed = number;
    verdict.detail = std::move(detail);
  };
  const Build built = sandbox_.build(program);
  if (built.result.outcome != Outcome::ok) {
    note(built.result.outcome, built.result.errors.substr(0, kDetailBytes));
    return verdict;
  }
  for (const CodeTests::Case& each : tests.cases) {
    ++number;
    const RunResult result = sandbox_.run(built.executable, each.input, config_.limits);
    if (result.outcome == Outcome::ok && outputs_match(result.output, each.output, config_.tolerance)) {
      ++verdict.passed;
      continue;
    }
    if (result.outcome == Outcome::ok) {
      note(Outcome::wrong_output, "printed " + shown(result.output) + ", expected " + shown(each.output));
    } else {
      note(result.outcome, last_of(result.errors));
    }
    if (result.outcome == Outcome::infrastructure || !config_.partial) break;
  }
  return verdict;
}

CodeVerdict CodeChecker::check_function(std::string_view source, const CodeTests& tests) const {
  const std::string calls = tests.calls.empty() ? "[]" : tests.calls;
  const Json rest{{"source", source},     {"name", tests.entry_point},  {"setup", with_body(tests.setup)},
                  {"check", tests.check}, {"partial", config_.partial}, {"reply_bytes", kReplyBytes}};
  const std::string job = written(rest).insert(1, "\"calls\":" + calls + ',');
  static const Executable checker{Language::python, std::string(kValues) + kCheck};
  static const Executable candidate{Language::python, std::string(kValues) + kCandidate};
  const auto [lead, peer] =
      sandbox_.run_pair(checker, job, candidate, config_.limits);
  CodeVerdict verdict;
  verdict.total = std::max<std::int64_t>(1, static_cast<std::int64_t>(read_json<Json>(calls).size()));
  for (const RunResult* each : {&lead, &peer})
    if (each->outcome == Outcome::infrastructure) {
      verdict.outcome = Outcome::infrastructure;
      verdict.detail = each->errors.substr(0, kDetailBytes);
      return verdict;
    }
  const Json told = lead.outcome == Outcome::ok ? read_json<Json>(lead.output) : Json();
  if (told.is_object() && told.contains("broken"))
    throw Error("code", "expected a check of \"", tests.entry_point, "\" that can be run, got ",
                told["broken"].get<std::string>(), "; mend the task");
  if (!told.is_object()) {
    verdict.outcome = lead.outcome == Outcome::ok ? Outcome::runtime_error : lead.outcome;
    verdict.detail = last_of(lead.errors);
    return verdict;
  }
  verdict.passed = told["passed"].get<std::int64_t>();
  verdict.failed = told["failed"].get<std::int64_t>();
  verdict.detail = told["says"].get<std::string>();
  if (verdict.passed < verdict.total)
    verdict.outcome = peer.outcome == Outcome::ok ? Outcome::wrong_output : peer.outcome;
  if (verdict.outcome != Outcome::ok && !peer.errors.empty()) verdict.detail += "; " + last_of(peer.errors);
  return verdict;
}

std::optional<CodeVerdict> CodeChecker::verdict(const Task& task, const Completion& completion) const {
  if (task.kind != "code" || task.answer.empty()) return std::nullopt;
  const CodeTests tests = read_code_tests(task.answer);
  const std::string_view source = find_code(completion.text, tests.language);
  if (source.empty()) {
    CodeVerdict none{.outcome = Outcome::wrong_output, .total = 1, .detail = "no closed block of code in the answer"};
    return none;
  }
  const std::string program = completed_program(tests.setup, tests.entry_point, std::string(source));
  const CodeVerdict verdict = check(program, tests);
  return verdict.outcome == Outcome::infrastructure ? check(program, tests) : verdict;
}

Score CodeChecker::score(const Task& task, const Completion& completion) const {
  return score(verdict(task, completion));
}

Score CodeChecker::score(const std::optional<CodeVerdict>& verdict) const {
  if (!verdict || verdict->outcome == Outcome::infrastructure) return Score::undefined();
  if (config_.partial) return static_cast<double>(verdict->passed) / static_cast<double>(verdict->total);
  return verdict->passed == verdict->total ? 1.0 : 0.0;
}

std::function<Score(const Task&, const Completion&)> code_reward(const CodeConfig& config) {
  return [checker = std::make_shared<const CodeChecker>(config)](const Task& task, const Completion& completion) {
    return checker->score(task, completion);
  };
}

}  // namespace grpo
