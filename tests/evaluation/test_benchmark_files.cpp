// The files of benchmarks in their owners' forms, and the packed tests of LiveCodeBench.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <fstream>

#include "error_of.h"
#include "evaluation/benchmarks/file.h"
#include "files.h"
#include "grpo/benchmarks.h"
#include "grpo/sandbox.h"

namespace grpo {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using namespace std::string_literals;

class Files : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }
  std::filesystem::path write_packed(const std::string& name, const std::string& text) {
    gzFile file = ::gzopen((folder_ / name).c_str(), "wb");
    ::gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
    ::gzclose(file);
    return folder_ / name;
  }
  /// The records, and where each stands behind the name of the file.
  std::vector<std::string> read(const std::filesystem::path& path) {
    std::vector<std::string> all;
    read_records(path, [&](json& record, const std::string& where) {
      all.push_back(where.substr(where.rfind('/') + 1) + " " + record.dump());
    });
    return all;
  }
  std::string refusal(const std::string& name, const std::string& text) {
    const auto path = write(name, text);
    return error_of([&] { read(path); });
  }
  Folder folder_;
};

TEST_F(Files, json_is_a_value_a_line_or_one_value) {
  const auto two = ElementsAre(R"(a.json[0] {"x":1})", R"(a.json[1] {"x":2})");
  EXPECT_THAT(read(write("a.json", "[{\"x\": 1}, {\"x\": 2}]")), two);
  EXPECT_THAT(read(write("a.json", "[\n  {\n    \"x\": 1\n  },\n  {\"x\": 2}\n]\n")), two);
  EXPECT_THAT(read(write("a.json", "[{\"x\": 1},\n{\"x\": 2}]")), two);
  EXPECT_THAT(read(write("a.json", "{\n  \"x\": 1\n}\n")), ElementsAre(R"(a.json:1 {"x":1})"));
  for (const char* name : {"a.json", "a.jsonl"})
    EXPECT_THAT(read(write(name, "\xEF\xBB\xBF{\"x\": 1}\r\n\n \t\n{\"x\": 2}")),
                ElementsAre(name + ":1 {\"x\":1}"s, name + ":4 {\"x\":2}"s));
  EXPECT_THAT(read(write("a.jsonl", "\n\n")), ElementsAre());
  EXPECT_THAT(read(write("a.jsonl", "{\"x\": 18446744073709551617}")),
              ElementsAre(R"(a.jsonl:1 {"x":"18446744073709551617"})"));
  EXPECT_THAT(read(write_packed("a.jsonl.gz", "{\"x\": 1}\n{\"x\": 2}\n")),
              ElementsAre(R"(a.jsonl.gz:1 {"x":1})", R"(a.jsonl.gz:2 {"x":2})"));
}

TEST_F(Files, broken_json_is_told_of_by_its_line) {
  EXPECT_THAT(refusal("a.jsonl", "{\"x\": \n{\"x\": 2}\n"), HasSubstr("a.jsonl:1: expected JSON"));
  EXPECT_THAT(refusal("a.jsonl", "{\"x\": 1}\n{\"x\": \n{\"x\": 2}\n"), HasSubstr("a.jsonl:2: expected JSON"));
  EXPECT_THAT(refusal("a.json", "[\n{\"x\": 1},\n{\"x\" 2}\n]\n"), HasSubstr("a.json:3: expected JSON"));
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  EXPECT_THAT(refusal("a.jsonl", "{\"x\": 1}\n{\"x\": " + deep + "}\n"),
              HasSubstr("a.jsonl:2: expected JSON, got more than 512 levels of brackets"));
  EXPECT_THAT(refusal("a.json", "[1]\n[2]\n"), HasSubstr("a.json:1: expected an object on each line"));
  EXPECT_THAT(error_of([&] { read(folder_ / "none.csv"); }), HasSubstr("none.csv: expected a file"));
  const auto whole = write_packed("a.jsonl.gz", std::string(1 << 17, ' ') + "{\"x\": 1}\n");
  const std::string bytes = read_file(whole);
  write("a.jsonl.gz", bytes.substr(0, bytes.size() / 2));
  EXPECT_THAT(error_of([&] { read(whole); }), HasSubstr("a.jsonl.gz: expected a whole file"));
}

TEST_F(Files, tables_have_quotes_and_line_ends_in_them) {
  EXPECT_THAT(read(write("a.csv", ",question,answer\r\n0,\"a, \"\"b\"\"\r\nc\",4\r\n\r\n1,it's 5\" wide,\"\"\r\n")),
              ElementsAre(R"(a.csv:2 {"answer":"4","question":"a, \"b\"\r\nc"})",
                          R"(a.csv:5 {"answer":"","question":"it's 5\" wide"})"));
  EXPECT_THAT(read(write("a.tsv", "Prompt\tAnswer\n\"q, r\"\tJane \"J\" Doe")),
              ElementsAre(R"(a.tsv:2 {"Answer":"Jane \"J\" Doe","Prompt":"q, r"})"));
  EXPECT_THAT(refusal("a.csv", "x,y\n1,2\n3\n"), HasSubstr("a.csv:3: expected 2 fields as in the first line, got 1"));
  EXPECT_THAT(refusal("a.csv", "x,y\n1,2\n3,\"4\n5,6\n"), HasSubstr("a.csv:3: expected a closing quote"));
  EXPECT_THAT(refusal("a.csv", "x\n\"a\"b\n"), HasSubstr("a.csv:2: expected a separator behind"));
}

TEST_F(Files, folders_are_read_by_name_and_endings_are_found) {
  write("c_eval/val/b.csv", "id,x\n0,2\n");
  write("c_eval/val/a.csv", "id,x\n0,1\n");
  write("c_eval/readme.md", "no data");
  EXPECT_THAT(read(folder_ / "c_eval"), ElementsAre(R"(a.csv:2 {"id":"0","x":"1"})", R"(b.csv:2 {"id":"0","x":"2"})"));
  EXPECT_EQ(find_data(folder_ / "c_eval.jsonl"), folder_ / "c_eval");
  write("drop_v0.train.csv", "");
  write_packed("mmlu.jsonl.gz", "");
  EXPECT_EQ(find_data(folder_ / "mmlu.jsonl"), folder_ / "mmlu.jsonl.gz");
  EXPECT_EQ(find_data(folder_ / "drop_v0.train.jsonl"), folder_ / "drop_v0.train.csv");
  EXPECT_EQ(find_data(folder_ / "none.jsonl"), folder_ / "none.jsonl");
}

TEST_F(Files, rows_read_their_owners_tables) {
  const auto problems = [&](const char* name, const std::filesystem::path& file) {
    BenchmarkSource source;
    source.file = file;
    return read_benchmark(find_benchmark(name), source).problems;
  };
  const auto gpqa = problems("gpqa_diamond", write("gpqa_diamond.csv",
                                                   "Pre-Revision Question,Question,Correct Answer,Incorrect Answer "
                                                   "1,Incorrect Answer 2,Incorrect Answer 3,Record ID\n"
                                                   "p,\"What,\nreally?\",\"yes\n\",no,maybe,never,rec1\n"));
  EXPECT_EQ(gpqa[0].task.id, "rec1");
  EXPECT_THAT(gpqa[0].task.prompt, AllOf(HasSubstr("What,\nreally?"), HasSubstr(gpqa[0].task.answer + ") yes")));
  EXPECT_EQ(
      problems("simple_qa", write("s.csv", "metadata,problem,answer\n\"{'topic': 'x'}\",Who?,Ann\n"))[0].task.answer,
      "Ann");
  EXPECT_EQ(problems("frames", write("f.tsv", "\tPrompt\tAnswer\n0\tWho?\t2010\n"))[0].task.answer, "2010");
  EXPECT_EQ(problems("mmlu", write("m.csv", ",Question,A,B,C,D,Answer,Subject\n0,q,1,2,3,4,D,law\n"))[0].task.answer,
            "D");
  EXPECT_EQ(problems("c_eval", folder_ / "m.csv").size(), 1u);
}

// Samples of our own in the form of each owner's file; what the first problem is, and how many there are.
struct Form {
  const char *row, *file, *text;
  std::size_t problems;
  std::string answer, asked;  // the latter is in the prompt
};
const Form kForms[] = {
    // data.tar of hendrycks/test: no line of names
    {"mmlu", "test/abstract_algebra_test.csv",
     "\"Which, of these,\n is odd?\",2,4,5,8,C\nWhich is a letter?,A,1,2,3,A\n", 2, "C",
     "Which, of these,\n is odd?"},
    {"mmlu", "cais.jsonl", R"({"question": "q?", "subject": "law", "choices": ["1", "2", "3", "4"], "answer": 3})", 1,
     "D", "D) 4"},
    {"mmlu", "named.csv", "Question,a,B,C,D,Answer\n", 0, "", "nothing but names"},
    {"mmlu_redux", "redux.jsonl",
     R"({"question": "q?", "choices": ["1", "2", "3", "4"], "answer": 0, "error_type": "wrong_groundtruth",
         "source": "https://x.org", "correct_answer": "1", "potential_reason": null})",
     1, "B", "A) 1"},
    {"mmlu_pro", "pro.jsonl",
     R"({"question_id": 70, "question": "q?", "options": ["a", "b", "c"], "answer": "C", "answer_index": 2,
         "cot_content": "", "category": "business", "src": "ori"})",
     1, "C", "about business"},
    {"drop", "drop_dataset_dev.json",
     R"({"history_1": {"passage": "He won 3 games.", "wiki_url": "w", "qa_pairs": [{"question": "How many?",
         "answer": {"number": "3", "date": {"day": "", "month": "", "year": ""}, "spans": []}, "query_id": "q-1",
         "validated_answers": [{"number": "", "date": {"day": "", "month": "", "year": ""}, "spans":
         ["three"]}]}]}})",
     1, R"([["3"],["three"]])", "He won 3 games."},
    {"if_eval", "input_data.jsonl",
     R"({"key": 1000, "prompt": "Say it without a comma.", "instruction_id_list": ["punctuation:no_comma"],
         "kwargs": [{}]})",
     1, "", "Say it without a comma."},
    {"gpqa_diamond", "gpqa_diamond.csv",
     "Pre-Revision Question,Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3,Record "
     "ID,High-level domain\np,q?,yes,no,maybe,never,rec1,Physics\n",
     1, "*", "yes"},
    {"simple_qa", "simple_qa_test_set.csv",
     "metadata,problem,answer\n\"{'topic': 'Art', 'urls': ['https://x.org', 'https://y.org']}\",Who?,Ann\n", 1, "Ann",
     "Who?"},
    {"frames", "test.tsv",
     "\tPrompt\tAnswer\twikipedia_link_1\twiki_links\n0\tWho?\t2010\thttps://x.org\t\"['https://x.org']\"\n", 1,
     "2010", "Who?"},
    {"alpaca_eval", "alpaca_eval_gpt4_baseline.json",
     R"([{"instruction": "Say hi.", "output": "Hi!", "generator": "gpt4_1106_preview", "dataset": "helpful_base"}])",
     1, "Hi!", "Say hi."},
    {"live_code_bench", "test.jsonl",
     R"({"question_title": "t", "question_content": "Double it.", "platform": "atcoder", "question_id": "abc_a",
         "contest_id": "abc", "contest_date": "2024-09-01T00:00:00", "starter_code": "", "difficulty": "easy",
         "public_test_cases": "[{\"input\": \"1\", \"output\": \"2\", \"testtype\": \"stdin\"}]",
         "private_test_cases": "[]", "metadata": "{}"})",
     1, "", "Double it."},
    {"codeforces", "codeelo.jsonl",
     R"({"problem_id": "1984A", "url": "u", "title": "t", "rating": "800", "tags": ["math"], "time_limit_ms": "1000",
         "description": "Double it.", "input": "n", "output": "2n", "interaction": null,
         "examples": [["1", "2"]], "note": null})",
     1, "", "Double it."},
    {"aime_2024", "maxwell.jsonl", R"({"ID": "2024-I-1", "Problem": "p?", "Solution": "s", "Answer": 204})", 1,
     "204", "p?"},
    {"aime_2024", "h4.jsonl",
     R"({"id": 60, "problem": "p?", "solution": "s", "answer": "025", "url": "u", "year": "2024"})", 1, "025", "p?"},
    {"math_500", "test500.jsonl",
     R"({"problem": "p?", "solution": "s", "answer": "\\frac{1}{2}", "subject": "Algebra", "level": 2,
         "unique_id": "test/algebra/1.json"})",
     1, "\\frac{1}{2}", "p?"},
    // MATH.tar: one file for each problem, the answer in the solution's box
    {"math_500", "MATH/test/algebra/1.json",
     "{\n    \"problem\": \"p?\",\n    \"level\": \"Level 5\",\n    \"type\": \"Algebra\",\n    \"solution\": \"Is "
     "$\\\\boxed{\\\\frac{1}{2}}$.\"\n}",
     1, "\\frac{1}{2}", "p?"},
    {"math_500", "math_500_test.csv", "Question,Answer\np?,12\n", 1, "12", "p?"},
    {"cluewsc", "dev.json",
     R"({"target": {"span2_index": 5, "span1_index": 0, "span1_text": "小王", "span2_text": "他"}, "idx": 0,
         "label": "false", "text": "小王说他来了。"})",
     1, "否", "小王说他来了。"},
    {"c_eval", "val/accountant_val.csv", "id,question,A,B,C,D,answer\n0,几？,一,二,三,四,B\n", 1, "B", "B) 二"},
    {"c_simple_qa", "chinese_simpleqa.jsonl",
     R"({"id": "x1", "primary_category": "文", "secondary_category": "诗", "question": "谁？", "answer": "李白",
         "urls": ["u"]})",
     1, "李白", "谁？"},
    {"human_eval", "HumanEval.jsonl",
     R"({"task_id": "own/0", "prompt": "def one():\n    \"\"\"1\"\"\"\n", "entry_point": "one",
         "canonical_solution": "    return 1\n", "test": "def check(candidate):\n    assert candidate() == 1\n"})",
     1, "", "def one():"},
};

TEST_F(Files, rows_read_their_owners_forms) {
  std::string examples;
  for (int i = 0; i < 3; ++i) examples += R"({"context": "c", "completion": "d"})" "\n";
  const auto train = write("train.jsonl", examples);
  const auto contests = write("contests.jsonl", "{}\n");
  for (const Form& form : kForms) {
    SCOPED_TRACE(std::string(form.row) + " " + form.file);
    std::string text = form.text;
    if (std::string_view(form.file).ends_with(".jsonl") || std::string_view(form.file) == "dev.json")
      for (std::size_t at; (at = text.find("\n         ")) != text.npos;) text.replace(at, 10, " ");  // one line
    BenchmarkSource source;
    source.file = write(form.file, text);
    source.beside = {std::string(form.row) == "codeforces" ? contests : train};
    const auto read = [&] { return read_benchmark(find_benchmark(form.row), source); };
    if (form.problems == 0) {
      EXPECT_THAT(error_of(read), HasSubstr("expected at least one problem, got none")) << form.asked;
      continue;
    }
    BenchmarkData data;
    ASSERT_EQ(error_of([&] { data = read(); }), "(no error)");
    EXPECT_EQ(data.problems.size(), form.problems);
    EXPECT_THAT(data.problems[0].task.prompt, HasSubstr(form.asked));
    if (form.answer != "*") {
      EXPECT_EQ(data.problems[0].task.answer, form.answer);
    }
  }
  // The files of one subject each tell it by their names.
  BenchmarkSource source;
  source.file = folder_ / "test", source.prompt = "About {subject}: {question}";
  EXPECT_THAT(read_benchmark(find_benchmark("mmlu"), source).problems[1].task.prompt,
              HasSubstr("About abstract algebra: Which is a letter?"));
}

TEST_F(Files, what_is_packed_otherwise_is_refused_with_the_way_to_unpack_it) {
  const auto refused = [&](const std::filesystem::path& file) { return error_of([&] { read(file); }); };
  EXPECT_THAT(refused(write("test-00000-of-00001.parquet", "PAR1")),
              AllOf(HasSubstr(".parquet: expected JSON, JSONL, CSV or TSV, got .parquet"), HasSubstr("read_parquet")));
  EXPECT_THAT(refused(write("c.tar.gz", "x")), HasSubstr("got .tar; unpack it"));
  write("only/test.parquet", "PAR1");
  EXPECT_THAT(refused(folder_ / "only"), HasSubstr("got .parquet"));
}

// ---- LiveCodeBench --------------------------------------------------------------------------------------------------

std::string base64(const std::string& bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    unsigned bits = 0;
    for (std::size_t i = at; i < at + 3; ++i)
      bits = bits << 8 | (i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0);
    for (std::size_t i = 0; i < 4; ++i) text += at + i > bytes.size() ? '=' : kDigits[bits >> (18 - 6 * i) & 63];
  }
  return text;
}

std::string deflated(const std::string& bytes) {
  std::string packed(::compressBound(bytes.size()), '\0');
  uLongf size = packed.size();
  ::compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()),
             bytes.size());
  packed.resize(size);
  return packed;
}

/// As Python's pickle.dumps(text) in protocol 4, without the frames, which say nothing.
std::string pickled(const std::string& text) {
  std::string bytes = "\x80\x04X"s;
  for (int place = 0; place < 4; ++place) bytes += static_cast<char>(text.size() >> (8 * place) & 0xFF);
  return bytes + text + "\x94.";
}

std::string pack(const std::string& text) { return base64(deflated(pickled(text))); }

TEST(PackedTests, come_out_of_what_python_packs) {
  // base64.b64encode(zlib.compress(pickle.dumps(json.dumps([{"input": "1\n", "output": "2\n", "testtype": "stdin"}]))))
  constexpr const char* kByPython =
      "eJxrYJlqwwABPRbR1UqZeQWlJUpWCkqGMXlKOgpK+aUlUAEjiEBJanFJSWVBKkiouCQlM0+pNnaKHgCVCRRG";
  EXPECT_EQ(json::parse(unpack_text(kByPython, "w"))[0]["output"], "2\n");
  for (const std::string& text : {std::string("[]"), std::string(300'000, 'x')})
    EXPECT_EQ(unpack_text(pack(text), "w"), text);
  EXPECT_EQ(unpack_text(base64(deflated("\x80\x04\x95\x05\0\0\0\0\0\0\0\x8C\x01x\x94."s)), "w"), "x")
      << "framed, short";
  EXPECT_EQ(unpack_text(base64(deflated("\x80\x02X\x01\0\0\0xq\0."s)), "w"), "x") << "protocol 2";
}

TEST(PackedTests, are_read_and_never_run) {
  const auto refusal = [](const std::string& text) { return error_of([&] { unpack_text(text, "file:3.key"); }); };
  for (const std::string& pickle :
       {"cos\nsystem\n(S'true'\ntR."s, "\x80\x04]."s, "\x80\x04."s, "\x80\x04X\xFF\xFF\xFF\xFFx."s,
        "\x80\x04\x8C\x01x\x8C\x01y."s, "\x80\x04\x8C\x01x"s, ""s})
    EXPECT_THAT(refusal(base64(deflated(pickle))), HasSubstr("file:3.key: expected a pickle of one text"));
  EXPECT_THAT(refusal("[{"), HasSubstr("file:3.key: expected JSON or base64"));
  EXPECT_THAT(refusal(base64("no zlib")), HasSubstr("packed by zlib"));
  const std::string whole = deflated(pickled("[]"));
  EXPECT_THAT(refusal(base64(whole.substr(0, whole.size() - 6))), HasSubstr("packed by zlib"));
}

json contest_problem(const json& shown, const std::string& hidden) {
  json line = json::object();
  line["question_id"] = "1", line["question_content"] = "c", line["starter_code"] = "";
  line["public_test_cases"] = shown.dump(), line["private_test_cases"] = hidden;
  return line;
}

json test_case(const char* input, const char* output, const char* type) {
  json test = json::object();
  test["input"] = input, test["output"] = output, test["testtype"] = type;
  return test;
}

BenchmarkData read_contest(const Folder& folder, const json& line) {
  std::ofstream(folder / "l.jsonl") << line.dump() << '\n';
  BenchmarkSource source;
  source.file = folder / "l.jsonl";
  return read_benchmark(find_benchmark("live_code_bench"), source);
}

TEST(LiveCodeBench, has_shown_and_hidden_tests_of_programs) {
  const Folder folder;
  const json shown = json::array({test_case("1", "2", "stdin")}), hidden = json::array({test_case("3", "4", "stdin")});
  for (const std::string& packed : {hidden.dump(), pack(hidden.dump())}) {
    const BenchmarkData data = read_contest(folder, contest_problem(shown, packed));
    const CodeTests tests = code_tests(data.problems[0]);
    ASSERT_EQ(tests.cases.size(), 2u);
    EXPECT_EQ(tests.cases[1].input + tests.cases[1].output, "34");
    EXPECT_EQ(tests.language, Language::python);
  }
  EXPECT_THAT(error_of([&] { read_contest(folder, contest_problem(shown, "eJwrSS0uAQAEXQHB")); }),
              HasSubstr("l.jsonl:1.private_test_cases"));
  EXPECT_THAT(error_of([&] { read_contest(folder, contest_problem(json::array(), "[]")); }), HasSubstr("l.jsonl:1"));
}

TEST(LiveCodeBench, calls_a_method_of_a_class_for_functional_tests) {
  if (const std::string why = Sandbox::why_unavailable(); !why.empty()) GTEST_SKIP() << why;
  const Folder folder;
  json line = contest_problem(json::array({test_case("[1, 2]\n\"a\"", "[2, 1]", "functional")}),
                              pack(json::array({test_case("[3]\n\"b\"", "[3]", "functional")}).dump()));
  EXPECT_THAT(error_of([&] { read_contest(folder, line); }), HasSubstr("l.jsonl:1.metadata"));
  line["metadata"] = R"({"func_name": "turn"})";
  line["starter_code"] = "class Solution:\n    def turn(self, values: List[int], name: str) -> List[int]:\n        ";
  const BenchmarkData data = read_contest(folder, line);
  const CodeTests tests = code_tests(data.problems[0]);
  EXPECT_EQ(tests.entry_point, "turn");
  const CodeChecker checker;
  const auto passes = [&](const std::string& program) {
    const CodeVerdict verdict = checker.check(whole_program(data.problems[0], program), tests);
    return verdict.passed == verdict.total && verdict.total == 2;
  };
  const std::string head = line["starter_code"];
  EXPECT_TRUE(passes(head + "return values[::-1]")) << "List is imported for it";
  EXPECT_TRUE(passes("def turn(values, name):\n    heapify([1]); return values[::-1]"));
  EXPECT_FALSE(passes(head + "return values"));
  EXPECT_FALSE(passes("class Solution:\n    pass"));
}

// The reference solutions of HumanEval's problems, where GRPO_HUMAN_EVAL names its file; else of three of our own.
TEST(HumanEval, passes_its_reference_solutions) {
  if (const std::string why = Sandbox::why_unavailable(); !why.empty()) GTEST_SKIP() << why;
  const char* file = std::getenv("GRPO_HUMAN_EVAL");
  const Folder folder;
  BenchmarkSource source;
  source.file = file ? std::filesystem::path(file) : folder / "own.jsonl";
  if (!file) {
    std::ofstream out(source.file);
    const auto write = [&](const char* id, const char* name, const char* prompt, const char* solution,
                           const char* test) {
      json line = json::object();
      line["task_id"] = id, line["entry_point"] = name, line["prompt"] = prompt, line["canonical_solution"] = solution;
      line["test"] = test;
      out << line.dump() << '\n';
    };
    write("own/0", "halves",
          "from typing import List\n\n\ndef halves(values: List[int]) -> List[float]:\n    \"\"\"Half of each.\"\"\"\n",
          "    return [value / 2 for value in values]\n",
          "def check(candidate):\n    assert candidate([1, 2]) == [0.5, 1.0]\n");
    write("own/1", "undo",
          "def turn(text: str):\n    return text[::-1]\n\n\ndef undo(text: str):\n    \"\"\"Takes back turn.\"\"\"\n",
          "    return turn(text)\n", "def check(candidate):\n    assert candidate(turn('abc')) == 'abc'\n");
    write("own/2", "first", "def first(values):\n    \"\"\"The first value; IndexError where there is none.\"\"\"\n",
          "    return values[0]\n",
          "def check(candidate):\n    assert candidate([3, 4]) == 3\n    try:\n        candidate([])\n        assert "
          "False\n    except IndexError:\n        pass\n");
  }
  const BenchmarkData data = read_benchmark(find_benchmark("human_eval"), source);
  const CodeChecker checker;
  const auto passes = [&](const BenchmarkProblem& problem, const std::string& program) {
    const CodeVerdict verdict = checker.check(whole_program(problem, program), code_tests(problem));
    return verdict.passed == verdict.total;
  };
  for (const BenchmarkProblem& problem : data.problems) {
    const std::string prompt = problem.line["prompt"], solution = problem.line["canonical_solution"];
    EXPECT_TRUE(passes(problem, solution)) << problem.task.id << ": the body alone";
    EXPECT_TRUE(passes(problem, prompt + solution)) << problem.task.id << ": the whole function";
    EXPECT_FALSE(passes(problem, prompt + "    return None\n")) << problem.task.id;
  }
}

}  // namespace
}  // namespace grpo
