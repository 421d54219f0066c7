// Code as the answer: what earns a reward, and what tries to.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "error_of.h"
#include "grpo/code.h"
#include "grpo/reward.h"

namespace grpo {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

// ---- Reading --------------------------------------------------------------------------------------------------------

TEST(FindCode, TakesTheLastBlockOfTheFinalPart) {
  const auto python = [](std::string_view text) { return find_code(text, Language::python); };
  EXPECT_EQ(python("```python\na\n```\n"), "a\n");
  EXPECT_EQ(python("```python\na\n```\nthen\n```py\nb\nc\n```"), "b\nc\n");
  EXPECT_EQ(python("<think>```python\ndraft\n```</think>no"), "");
  EXPECT_EQ(python("<think>```python\ndraft\n```</think>```\nfinal\n```"), "final\n");
  EXPECT_EQ(python("<think>t</think>\n```python\na\n```\n<answer>\n```python\nb\n```\n</answer>\n```python\nc\n```"),
            "b\n");
  EXPECT_EQ(python("<think><answer>\n```python\na\n```\n</answer></think>\n```python\nb\n```"), "b\n");
  EXPECT_EQ(python("<answer>```python\na\n```</answer>"), "a\n");
  EXPECT_EQ(python("```python\na\n```\n```cpp\nb\n```\n"), "a\n");
  EXPECT_EQ(python("``` Python3 title=x\r\na\r\n```\r\n"), "a\r\n");
  EXPECT_EQ(python("~~~\na\n```\nb\n~~~"), "a\n```\nb\n");
  EXPECT_EQ(python("````python\n```\nin a string\n```\n````\n"), "```\nin a string\n```\n");
  EXPECT_EQ(find_code("```c++\na\n```\n```python\nb\n```", Language::cpp), "a\n");
  EXPECT_EQ(find_code("```cc\na\n```", Language::cpp), "a\n");
}

TEST(FindCode, TakesNothingElse) {
  for (const std::string_view text :
       {"", "print(1)", "```python\nprint(1)", "`print(1)`", "```text\nprint(1)\n```", "    ```python\na\n    ```",
        "```python print(1)```", "</answer>```", "```p\na\n```", "``` \n"})
    EXPECT_EQ(find_code(text, Language::python), "") << text;
}

TEST(FindCode, TakesLinearTime) {
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += "```\n<answer>";
  EXPECT_EQ(find_code(text, Language::cpp), "");
}

TEST(CompletedProgram, IsThePromptWithItsBodyOrTheWholeFunctionBehindIt) {
  const std::string head = "import math\n\ndef f(x):", documented = "def f(x):\n  \"\"\"Doubles:\"\"\"\n";
  const auto of = [](const std::string& prompt, const char* source) { return completed_program(prompt, "f", source); };
  EXPECT_EQ(of(head, "    return x\n"), head + "\n    return x\n");
  EXPECT_EQ(of(head, "y = x\nreturn y\n"), head + "\n    y = x\n    return y\n");
  EXPECT_EQ(of(documented, "return x"), documented + "  return x");
  EXPECT_EQ(of(head, "def f(x):\n    return x\n"), head + "\n    pass\n\ndef f(x):\n    return x\n");
  EXPECT_EQ(of(documented, "def f(x):\n    return x\n"), documented + "\ndef f(x):\n    return x\n");
  EXPECT_EQ(of(head + "  # doubles\n", "class Solution:\n  pass\n"),
            head + "  # doubles\n    pass\n\nclass Solution:\n  pass\n");
  EXPECT_EQ(of(head, "def foo(x):\n    return x\nreturn foo(x)"),
            head + "\n    def foo(x):\n        return x\n    return foo(x)")
      << "a helper within";
  EXPECT_EQ(of(head, "from __future__ import annotations\n"), "from __future__ import annotations\n");
  EXPECT_EQ(of("", "return x"), "return x");
}

TEST(CompletedProgram, RunsWhereThePromptEndsInTheHeadOfTheFunction) {
  if (const std::string why = Sandbox::why_unavailable(SandboxConfig()); !why.empty()) GTEST_SKIP() << why;
  const CodeChecker checker;
  for (const char* prompt : {"def f(x):", "import math\ndef f(x):  \n", "def f(x):\n    \"\"\"Floor.\"\"\"\n"}) {
    const Json tests{
        {"entry_point", "f"}, {"prompt", prompt}, {"test", "def check(g):\n    assert g(2) == f(2) == 4\n"}};
    const Task task{"1", prompt, tests.dump(), "code", "en"};
    for (const char* source : {"    return 2 * x", "return 2 * x", "def f(x):\n    return 2 * x"}) {
      Completion completion;
      completion.text = std::string("```python\n") + source + "\n```";
      EXPECT_EQ(checker.score(task, completion).value(), 1.0) << prompt << source;
    }
  }
}

TEST(OutputsMatch, ComparesTokens) {
  EXPECT_TRUE(outputs_match("1 2\n3\n", "1 2\n3"));
  EXPECT_TRUE(outputs_match(" 1\t2\r\n\n3", "1 2 3\n"));
  EXPECT_TRUE(outputs_match("", " \n"));
  EXPECT_FALSE(outputs_match("", "1"));
  EXPECT_FALSE(outputs_match("1", ""));
  EXPECT_FALSE(outputs_match("1 2", "1 2 3"));
  EXPECT_FALSE(outputs_match("1 2 3", "1 2"));
  EXPECT_FALSE(outputs_match("12", "1 2"));
  EXPECT_FALSE(outputs_match("yes", "YES"));
  EXPECT_FALSE(outputs_match("1.0", "1"));
  EXPECT_FALSE(outputs_match(std::string_view("1\0", 2), "1"));
}

TEST(OutputsMatch, TolerancesAreAskedFor) {
  EXPECT_TRUE(outputs_match("0.3333", "0.3334", 1e-3));
  EXPECT_TRUE(outputs_match("+1e3", "1000.5", 1e-3));
  EXPECT_FALSE(outputs_match("0.33", "0.34", 1e-3));
  for (const std::string_view other : {"nan", "inf", "1e999", "0x1p3", "1,5", "1.5x", ""})
    EXPECT_FALSE(outputs_match(other, "1.5", 1e9)) << other;
  EXPECT_FALSE(outputs_match("inf", "infinity", 1e9));
}

TEST(CodeTests, AreReadInEveryForm) {
  CodeTests tests = read_code_tests(R"({"inputs": ["1", "2"], "outputs": ["3", "4"], "language": "cpp"})");
  EXPECT_EQ(tests.language, Language::cpp);
  ASSERT_EQ(tests.cases.size(), 2U);
  EXPECT_EQ(tests.cases[1].output, "4");
  tests = read_code_tests(R"([{"input": "1", "output": "2", "testtype": "stdin"}])");
  ASSERT_EQ(tests.cases.size(), 1U);
  EXPECT_EQ(tests.cases[0].input, "1");
  EXPECT_EQ(read_code_tests(R"({"tests": [{"input": "1", "output": "2"}]})").cases.size(), 1U);
  tests = read_code_tests(R"({"fn_name": "f", "inputs": [[1], "[2]\n\"a\"\n"], "outputs": [3, "[4]"]})");
  EXPECT_EQ(Json::parse(tests.calls), Json::parse(R"([[[1], 3], [[[2], "a"], [4]]])"));
  tests = read_code_tests(R"({"fn_name": "f", "inputs": ["18446744073709551617\n2.50"], "outputs": ["1e2"]})");
  EXPECT_EQ(tests.calls, "[[[18446744073709551617,2.50],1e2]]");  // digits that only Python reads
  tests = read_code_tests(R"({"entry_point": "f", "test": "def check(c): pass", "prompt": "x = 1"})");
  EXPECT_EQ(tests.setup, "x = 1");
}

TEST(CodeTests, AreRefusedOtherwise) {
  for (const char* text :
       {"", "3", "{}", "[]", "[3]", R"({"inputs": [], "outputs": []})", R"({"inputs": ["1"], "outputs": []})",
        R"({"inputs": [1], "outputs": [1]})", R"([{"input": "1"}])", R"({"tests": []})",
        R"([{"input": "1", "output": "2", "testtype": "functional"}])", R"({"test": "x"})",
        R"({"language": "perl", "inputs": ["1"], "outputs": ["1"]})",
        R"({"fn_name": "f", "inputs": [1], "outputs": [1]})", R"({"fn_name": "f", "inputs": ["{"], "outputs": ["1"]})",
        R"({"language": "cpp", "fn_name": "f", "inputs": [[1]], "outputs": [1]})",
        R"({"fn_name": "f", "inputs": [[18446744073709551617]], "outputs": [1]})"})
    EXPECT_THAT(error_of([&] { read_code_tests(text); }), HasSubstr("[code] expected")) << text;
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  EXPECT_THAT(error_of([&] { read_code_tests(R"({"fn_name": "f", "inputs": [[1]], "outputs": [)" + deep + "]}"); }),
              HasSubstr("more than 512 levels of brackets"));
}

// ---- Running --------------------------------------------------------------------------------------------------------

class CodeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    static const std::string why = Sandbox::why_unavailable();
    if (!why.empty()) GTEST_SKIP() << why;
  }

  static CodeConfig config() {
    CodeConfig config;
    config.limits = {.cpu_seconds = 2, .wall_seconds = 3, .memory_bytes = 256 << 20};
    return config;
  }
  const CodeChecker& checker() {
    static const CodeChecker checker(config());
    return checker;
  }
  CodeVerdict function(const std::string& source) {
    static const CodeTests tests =
        read_code_tests(Json{{"entry_point", "f"}, {"test", kCheck}, {"prompt", kPrompt}}.dump());
    return checker().check(source, tests);
  }

  inline static const std::string kPrompt = "def helper(x):\n    return x * 2\n";
  inline static const std::string kCheck =
      "SECRET = 'the expected output'\ndef check(candidate):\n    assert candidate(2) == helper(2), 'first'\n"
      "    assert candidate(3) == 6, 'second'\n    assert candidate('ab') == 'abab'\n"
      "    assert candidate([1, (2, 3)]) == [1, (2, 3), 1, (2, 3)]\n    assert candidate(x=0.5) == 1.0\n";
};

TEST_F(CodeTest, ProgramsPassTheirTests) {
  const CodeTests tests = read_code_tests(R"({"inputs": ["1 2\n", "5 6\n"], "outputs": ["3\n", "11\n"]})");
  const CodeVerdict right = checker().check("print(sum(map(int, input().split())))", tests);
  EXPECT_EQ(right.outcome, Outcome::ok) << right.detail;
  EXPECT_EQ(right.passed, 2);
  const CodeVerdict constant = checker().check("print(3)", tests);
  EXPECT_EQ(constant.outcome, Outcome::wrong_output);
  EXPECT_EQ(constant.passed, 1);
  const CodeVerdict failing = checker().check("print(3)\nraise SystemExit(1)", tests);
  EXPECT_EQ(failing.outcome, Outcome::runtime_error) << "the right output and then a crash is no pass";
  EXPECT_EQ(failing.passed, 0);
}

TEST_F(CodeTest, CppProgramsPassTheirTests) {
  const CodeTests tests = read_code_tests(R"({"inputs": ["1 2", "5 6"], "outputs": ["3", "11"], "language": "cpp"})");
  EXPECT_EQ(
      checker()
          .check("#include <cstdio>\nint main() { int a, b; std::scanf(\"%d%d\", &a, &b); std::printf(\"%d\", a + b); "
                 "}",
                 tests)
          .passed,
      2);
  EXPECT_EQ(checker().check("int main() {", tests).outcome, Outcome::compile_error);
}

TEST_F(CodeTest, FunctionsPassTheirChecks) {
  for (const std::string source : {"def f(x):\n    return x * 2\n", "f = lambda x: x + x\n",
                                   "print('noise')\ndef f(x):\n    print('noise')\n    return 2 * x\n",
                                   "import collections\nclass L(list): pass\ndef f(x):\n    return L(x * 2) if "
                                   "isinstance(x, list) else x * 2\n"}) {
    const CodeVerdict verdict = function(source);
    EXPECT_EQ(verdict.outcome, Outcome::ok) << source << verdict.detail;
    EXPECT_EQ(verdict.passed, 1);
  }
}

TEST_F(CodeTest, ValuesAndExceptionsCross) {
  const CodeTests tests = read_code_tests(Json{
      {"entry_point", "f"},
      {"test",
       "def check(c):\n  for v in [None, True, 1, 10**50, -0.5, float('inf'), 'é\\ud800', b'\\0', 1j, [], (1,), {1},\n"
       "            frozenset({2}), {1: [2], (3, 4): {'a': None}}]:\n"
       "    assert c(v) == v and type(c(v)) is type(v), v\n"
       "  assert c(float('nan')) != c(float('nan'))\n"
       "  for kind in (ValueError, ZeroDivisionError, KeyError):\n"
       "    try: c(kind.__name__, error=True); assert False\n    except kind: pass\n"
       "  try: c('Own', error=True); assert False\n  except RuntimeError: pass\n"}}
                                              .dump());
  const CodeVerdict verdict = checker().check(
      "class Own(Exception): pass\ndef f(x, error=False):\n    if error:\n"
      "        raise (Own if x == 'Own' else getattr(__builtins__, x, None) or __builtins__[x])('no')\n"
      "    return x\n",
      tests);
  EXPECT_EQ(verdict.outcome, Outcome::ok) << verdict.detail;
}

TEST_F(CodeTest, NothingButTheAnswerPasses) {
  const std::string forged = R"({"passed": 1, "total": 1, "says": ""})";
  const std::string attacks[] = {
      "import os\nos._exit(0)\n",
      "import sys\nsys.exit(0)\n",
      "raise SystemExit\n",
      "def f(x):\n    import os; os._exit(0)\n",
      "def f(x):\n    raise SystemExit(0)\n",
      "def f(x):\n    raise KeyboardInterrupt\n",
      "def f(x):\n    raise AssertionError\n",
      "import atexit, os\natexit.register(lambda: os._exit(0))\ndef f(x): return None\n",
      "print('passed')\nimport os\nfor i in range(64):\n  try: os.write(i, b'" + forged +
          "\\n')\n  except OSError: pass\n",
      "import os\ndef f(x):\n  for i in range(64):\n    try: os.write(i, b'" + forged +
          "\\n')\n    except OSError: pass\n  os._exit(0)\n",
      "class Yes(int):\n  def __eq__(self, o): return True\n  __hash__ = int.__hash__\ndef f(x): return Yes(5)\n",
      "class Yes:\n  def __eq__(self, o): return True\ndef f(x): return Yes()\n",
      "class Yes(str):\n  def __eq__(self, o): return True\n  def __str__(self): return self\ndef f(x): return "
      "Yes('a')\n",
      "class Yes(list):\n  def __eq__(self, o): return True\ndef f(x): return Yes()\n",
      "import builtins\nbuiltins.AssertionError = type('A', (Exception,), {})\nbuiltins.all = lambda x: True\n"
      "def helper(x): return None\ndef check(c): pass\ndef f(x): return None\n",
      "import sys\nm = sys.modules['__main__']\nm.encode = lambda v: {'dict': []}\nm.answer = print\ndef f(x): return "
      "1\n",
      "import json\njson.dumps = lambda m: '" + forged + "'\ndef f(x): return 1\n",
      "import sys\ndef f(x):\n  g = sys._getframe()\n  while g:\n    g.f_locals.update(check=None, expected=None)\n"
      "    g = g.f_back\n  return None\n",
      "import gc\ndef f(x):\n  for o in gc.get_objects():\n    if isinstance(o, dict) and 'SECRET' in o: return 4\n"
      "  return 'x'\n",
      "import os\ndef f(x):\n  for n in (os.getppid(), 1, -1):\n    try: os.kill(n, 9)\n    except OSError: pass\n",
      "import os\nos.fork()\nos.fork()\ndef f(x): return None\n",
      "import time\ntime.sleep(60)\ndef f(x): return x * 2\n",
      "def f(x): return 'x' * (1 << 23)\n",
      "def f(x):\n  y = []\n  for _ in range(900): y = [y]\n  return y\n",
      "def f(x):\n  y = []\n  y.append(y)\n  return y\n",
      "import os\nos.write(1, b'{\"value\": ' + b'[' * 100000 + b'\\n')\ndef f(x): return 1\n",
      "import sys, os\nsys.modules['__main__'].answers.write(b'{\"raised\": \"__import__\", \"says\": \"os\"}\\n' * "
      "9)\n"
      "def f(x): return 1\n",
      "def f(x): return f\n",
      "def f(x):\n  yield x * 2\n",
      "def f(x): return 4\n",
      "def g(x): return x * 2\n",
      "f = 5\n",
      "def f(x) return x * 2\n",
      "",
      std::string("\0\xff\xfe", 3),
  };
  for (const std::string& source : attacks) {
    const CodeVerdict verdict = function(source);
    EXPECT_EQ(verdict.passed, 0) << source;
    EXPECT_NE(verdict.outcome, Outcome::ok) << source;
    EXPECT_NE(verdict.outcome, Outcome::infrastructure) << source << verdict.detail;
  }
}

TEST_F(CodeTest, ProgramsDoNotFindWhatIsExpected) {
  const CodeTests tests = read_code_tests(R"({"inputs": ["1"], "outputs": ["expected-7391"]})");
  for (const std::string source :
       {"import os\nfor root, folders, files in os.walk('/'):\n  if root.startswith('/usr'): folders.clear(); "
        "continue\n"
        "  for f in files:\n    try: print(open(os.path.join(root, f), 'rb').read())\n    except OSError: pass\n",
        "import os, sys\nprint(os.environ, sys.argv)\nfor i in range(64):\n  try: print(os.read(i, 1 << 20))\n"
        "  except OSError: pass\n",
        "print('ok'); print('passed'); print('{\"passed\": 1}')", "import os\nos._exit(0)\n",
        "while True: print('7391')", "import os\nos.kill(1, 9)", "import time\ntime.sleep(60)"}) {
    const CodeVerdict verdict = checker().check(source, tests);
    EXPECT_EQ(verdict.passed, 0) << source;
    EXPECT_NE(verdict.outcome, Outcome::infrastructure) << source << verdict.detail;
    EXPECT_EQ(verdict.detail.find("7391 "), std::string::npos);
  }
}

TEST_F(CodeTest, CallsAreComparedOneByOne) {
  const CodeTests tests =
      read_code_tests(R"({"fn_name": "f", "inputs": [[1, 2], [3, 4], [5, 6]], "outputs": [[1, 2], [3, 4], [6, 5]]})");
  const CodeVerdict verdict = checker().check("def f(a, b): return (a, b)\n", tests);
  EXPECT_EQ(verdict.passed, 2) << "a tuple stands for a JSON list";
  EXPECT_EQ(verdict.total, 3);
  EXPECT_EQ(verdict.outcome, Outcome::wrong_output);
  EXPECT_EQ(checker().check("def f(a, b): return [a, b] if a < 5 else [b, a]\n", tests).outcome, Outcome::ok);
}

TEST_F(CodeTest, ABrokenCheckIsTheTasksFault) {
  for (const std::string test : {"def check(c): ?", "raise SystemExit", "x = 1"})
    EXPECT_THAT(error_of([&] {
                  checker().check("def f(): pass", read_code_tests(Json{{"entry_point", "f"}, {"test", test}}.dump()));
                }),
                HasSubstr("mend the task"))
        << test;
}

TEST_F(CodeTest, ScoresCompletions) {
  Task task{.id = "t",
            .prompt = "",
            .answer = R"({"inputs": ["1", "2"], "outputs": ["1", "3"]})",
            .kind = "code",
            .language = ""};
  Completion completion;
  const auto score = [&](const CodeChecker& checker, std::string text) {
    completion.text = std::move(text);
    return checker.score(task, completion);
  };
  CodeConfig lenient = config();
  lenient.partial = true;
  const CodeChecker partial(lenient);
  EXPECT_EQ(score(checker(), "```python\nprint(input())\n```").value(), 0.0);
  EXPECT_EQ(score(partial, "```python\nprint(input())\n```").value(), 0.5);
  EXPECT_EQ(score(checker(), "```python\nprint('1' if input() == '1' else 3)\n```").value(), 1.0);
  EXPECT_EQ(score(checker(), "print(input())").value(), 0.0);
  task.kind = "";
  EXPECT_FALSE(score(checker(), "```python\nprint(input())\n```").defined());
  task.kind = "code", task.answer = "";
  EXPECT_FALSE(score(checker(), "```python\nprint(input())\n```").defined());
}

TEST_F(CodeTest, IsARewardByName) {
  RewardsConfig rewards;
  rewards.weights = {{"code", 1.0}};
  const Scorer scorer(rewards);
  const Task task{
      .id = "t", .prompt = "", .answer = R"({"inputs": ["1"], "outputs": ["1"]})", .kind = "code", .language = ""};
  Completion completion;
  completion.text = "<think>so</think><answer>\n```python\nprint(input())\n```\n</answer>";
  EXPECT_EQ(scorer.score(task, completion).at("code").value(), 1.0);
}

}  // namespace
}  // namespace grpo
