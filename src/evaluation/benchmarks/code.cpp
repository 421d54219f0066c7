// Problems that ask for programs: how their lines are read, and the tests in them.
#include <array>

#include "evaluation/benchmarks/file.h"
#include "evaluation/benchmarks/rules.h"
#include "evaluation/benchmarks/text.h"
#include "grpo/code.h"
#include "grpo/json.h"

namespace grpo {
namespace {

using Json = nlohmann::json;

/// What LiveCodeBench's evaluation has imported before a program runs, whether that asks for it or not: the signatures
/// that its problems show have List in them, and answers take heappush or gcd for granted. The built-in names come back
/// behind the modules that have their own pow or open.
constexpr std::string_view kImports = R"py(
for _name in ("string re datetime collections heapq bisect copy math random statistics itertools functools operator io "
              "sys json builtins typing").split():
    exec("from " + _name + " import *")
import bisect, collections, copy, datetime, functools, heapq, io, itertools, json, math, operator, random, re
import statistics, string, sys
sys.setrecursionlimit(50000)
)py";

/// A list of tests: as JSON, as JSON in a text, or packed into one.
Json test_list(const JsonReader& line, std::string_view key) {
  const Json& value = line.optional(key);
  if (value.is_null()) return Json::array();
  Json list = value;
  if (value.is_string()) {
    list = read_json<Json>(value.get_ref<const std::string&>());
    if (list.is_discarded())
      list = read_json<Json>(
          unpack_text(value.get_ref<const std::string&>(), line.where() + "." + std::string(key)));
  }
  if (!list.is_array()) line.refuse(key, "a list of tests");
  return list;
}

/// {"input", "output"}, or a pair of them.
CodeTests::Case case_of(const JsonReader& line, std::string_view key, const Json& test) {
  const bool pair = test.is_array() && test.size() == 2, object = test.is_object();
  const Json input = pair ? test[0] : object ? test.value("input", Json()) : Json();
  const Json output = pair ? test[1] : object ? test.value("output", Json()) : Json();
  if (!input.is_string() || !output.is_string()) line.refuse(key, "tests with \"input\" and \"output\" as texts");
  return {input.get<std::string>(), output.get<std::string>()};
}

/// The name of the function that functional tests call.
std::string function_name(const JsonReader& line) {
  const Json& given = line.required("metadata");
  const Json metadata = given.is_string() ? read_json<Json>(given.get_ref<const std::string&>()) : given;
  if (!metadata.is_object() || !metadata.value("func_name", Json()).is_string())
    line.refuse("metadata", "an object with \"func_name\"");
  return metadata["func_name"].get<std::string>();
}

/// What the problem shows as examples of input and output.
std::vector<CodeTests::Case> shown_examples(const JsonReader& line) {
  std::vector<CodeTests::Case> cases;
  for (const Json& each : test_list(line, "examples")) cases.push_back(case_of(line, "examples", each));
  return cases;
}

/// Throws Error unless there are tests, and all of them can be run.
CodeTests code_tests(const Json& published, const std::string& where) {
  const JsonReader line(published, where, "benchmark");
  const auto read = [&](const Json& form) {
    try {
      return read_code_tests(form.dump(-1, ' ', false, Json::error_handler_t::replace));
    } catch (const Error& error) {
      throw Error("benchmark", where, ": ", error.what());
    }
  };
  if (published.contains("entry_point")) return read(published);  // HumanEval
  CodeTests tests;
  auto calls = Json{{"inputs", Json::array()}, {"outputs", Json::array()}};
  for (const std::string_view key : {"public_test_cases", "private_test_cases", "official_tests", "examples"}) {
    // What is shown as an example is a test only where there are no others.
    if (key == "examples" && !tests.cases.empty()) break;
    for (const Json& each : test_list(line, key)) {
      CodeTests::Case test = case_of(line, key, each);
      if (each.is_object() && each.value("testtype", Json("stdin")) == "functional") {
        calls["inputs"].push_back(std::move(test.input));
        calls["outputs"].push_back(std::move(test.output));
      } else {
        tests.cases.push_back(std::move(test));
      }
    }
  }
  const bool functional = !calls["inputs"].empty();
  if (functional == !tests.cases.empty())
    throw Error("benchmark", where, ": expected tests, all of standard input or all of a function, got ",
                functional ? "both" : "none");
  if (!functional) {
    tests.language = published.contains("public_test_cases") ? Language::python : Language::cpp;
    return tests;
  }
  calls["fn_name"] = function_name(line);
  return read(calls);
}

}  // namespace

bool Benchmark::runs_programs() const { return rules->score == score_code; }

CodeTests code_tests(const BenchmarkProblem& problem) {
  return code_tests(problem.line, problem.task.kind + " " + problem.task.id);
}

std::string whole_program(const BenchmarkProblem& problem, const std::string& program) {
  const std::string& kind = problem.task.kind;
  if (kind == "human_eval")
    return completed_program(problem.line.value("prompt", ""), problem.line.value("entry_point", ""), program);
  const bool own = program.find("from __future__") != program.npos;  // that has to come first
  return (kind == "live_code_bench" && !own ? std::string(kImports) : "") + program;
}

std::string contest_problem(const JsonReader& line) {
  constexpr std::string_view kExpected = "a contest's number and the problem's index, such as 2024A";
  std::string id;
  if (!line.optional("problem_id").is_null()) {
    id = line.string("problem_id");
  } else if (!line.optional("contest_id").is_null()) {  // open-r1/codeforces
    const nlohmann::json& contest = line.required("contest_id");
    id = (contest.is_string() ? contest.get<std::string>() : contest.dump()) + line.string("index");
  } else if (const nlohmann::json& problem = line.optional("problem"); problem.is_object()) {  // the site's own API
    const JsonReader of(problem, line.where() + ".problem", "benchmark");
    id = of.required("contestId").dump() + of.string("index");
  }
  std::erase(id, '/');
  if (id.find_first_not_of("0123456789") == id.npos || id[0] < '0' || id[0] > '9') line.refuse("problem_id", kExpected);
  return id;
}

bool read_live_code_bench(const JsonReader& line, Reading& reading) {
  reading.question = line.string("question_content");
  set_id(line, "question_id", reading);
  const std::string& starter = line.string("starter_code");
  reading.examples = starter.empty() ? "Read the input from standard input and write the result to standard output."
                                     : "Complete this code:\n```python\n" + starter + "\n```";
  const BenchmarkSource& source = *reading.source;
  if (!source.since.empty() || !source.before.empty()) {
    const std::string& date = line.string("contest_date");  // ISO 8601 sorts as text
    if (date < source.since || (!source.before.empty() && date >= source.before)) return false;
  }
  code_tests(line.object(), line.where());  // refuses what cannot be run
  return true;
}

bool read_human_eval(const JsonReader& line, Reading& reading) {
  reading.question = line.string("prompt");
  reading.problem.task.id = line.string("task_id");
  line.string("entry_point"), code_tests(line.object(), line.where());  // refuses what cannot be run
  return true;
}

bool read_codeforces(const JsonReader& line, Reading& reading) {
  reading.problem.task.id = contest_problem(line);
  reading.question = line.string("description");
  for (const auto& [title, one, other] : {std::array<const char*, 3>{"Input", "input", "input_format"},
                                          std::array<const char*, 3>{"Output", "output", "output_format"}})
    reading.question += "\n\n" + std::string(title) + "\n" + line.string(spelled(line, {one, other}));
  if (!line.optional("examples").is_null())
    for (const CodeTests::Case& each : shown_examples(line))
      reading.question += "\n\nExample input\n" + each.input + "\nExample output\n" + each.output;
  return true;
}

void score_code(const Scored& scored, Mark& mark) {
  if (!scored.graders.passes_tests)
    throw Error("benchmark", scored.problem.task.kind, ": expected Graders::passes_tests, got none");
  const std::string program = last_code_block(scored.shown);
  mark.unreadable = program.empty();
  mark.values["right"] = !mark.unreadable && scored.graders.passes_tests(scored.problem, program) ? 1 : 0;
}

}  // namespace grpo
