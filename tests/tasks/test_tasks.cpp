// Task files, their splits, and the stream; test_generators.cpp has the problems that are made here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <tuple>

#include "grpo/tasks.h"
#include "problem_reading.h"
#include "tasks/generators.h"

namespace grpo {

bool operator==(const Task& a, const Task& b) {
  return std::tie(a.id, a.prompt, a.answer, a.kind, a.language) ==
         std::tie(b.id, b.prompt, b.answer, b.kind, b.language);
}

namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class TaskFile : public ::testing::Test {
 protected:
  std::string write(const std::string& text, const std::string& name = "train.jsonl") {
    const auto path = folder_ / name;
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }
  std::string error_in(const std::string& text) {
    const std::string path = write(text);
    return error_of([&] { read_tasks(path); });
  }
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) / ("grpo_tasks_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
};

// ---- JSONL ----

TEST_F(TaskFile, reads_every_field_and_fills_in_defaults) {
  const auto tasks =
      read_tasks(write("\xef\xbb\xbf"
                       R"({"prompt": "a\nb", "id": "x", "answer": "1/2", "kind": "arithmetic", "language": "ko"})"
                       "\r\n\n   \t\r\n"
                       R"({"prompt": "c", "answer": -3, "extra": [1, {"y": 2}], "id": 7})"
                       "\n"
                       R"({"prompt": " ", "answer": 0.1, "id": null, "kind": null})"));
  ASSERT_EQ(tasks.size(), 3u);
  EXPECT_EQ(tasks[0], (Task{"x", "a\nb", "1/2", "arithmetic", "ko"}));
  EXPECT_EQ(tasks[1], (Task{"7", "c", "-3", "", "en"}));
  EXPECT_EQ(tasks[2], (Task{"train:5", " ", "0.1", "", "en"}));
}

TEST_F(TaskFile, answers_stay_exact) {
  EXPECT_EQ(read_tasks(write(R"({"prompt": "p", "answer": 18446744073709551615})"))[0].answer, "18446744073709551615");
  for (const std::string digits :
       {"123456789012345678901234567890", "18446744073709551617", "-9223372036854775809", "0.1000000000000000000001",
        "1e-400"})
    EXPECT_EQ(read_tasks(write(R"({"prompt": "p", "answer": )" + digits + "}"))[0].answer, digits);
  // What a program printed of a double to 17 digits is that double, whichever way it rounds a half.
  EXPECT_EQ(read_tasks(write(R"({"prompt": "p", "answer": 0.10000000000000001})"))[0].answer, "0.1");
  EXPECT_EQ(read_tasks(write(R"({"prompt": "p", "answer": -3.1937942504882812})"))[0].answer,
            read_tasks(write(R"({"prompt": "p", "answer": -3.1937942504882813})"))[0].answer);
  EXPECT_THAT(error_in(R"({"prompt": "p", "answer": 1e400})"), HasSubstr("got a number beyond the range of doubles"));
}

TEST_F(TaskFile, nesting_is_bounded) {
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  EXPECT_THAT(error_in("{\"prompt\": \"p\"}\n{\"prompt\": \"p\", \"answer\": " + deep + "}"),
              HasSubstr(":2: expected a JSON object, got more than 512 levels of brackets"));
}

TEST_F(TaskFile, bad_lines_are_named) {
  const std::string good = "{\"prompt\": \"p\"}\n";
  const std::string path = write(good + "\n" + "[1]\n");
  EXPECT_EQ(error_of([&] { read_tasks(path); }),
            "[task] " + path + ":3: expected an object with \"prompt\", got an array");
  EXPECT_THAT(error_in(good + "{\"prompt\": \"p\"\n"),
              HasSubstr(":2: expected a JSON object, got malformed JSON at column"));
  EXPECT_THAT(error_in(good + "{} {}\n"), HasSubstr(":2: "));
  EXPECT_THAT(error_in("{}"), HasSubstr(":1: expected an object with \"prompt\", got one without"));
  EXPECT_THAT(error_in("{\"prompt\": 3}"), HasSubstr("a string as \"prompt\", or a list of {\"role\", \"content\"}, got a number"));
  EXPECT_THAT(error_in("{\"prompt\": null}"), HasSubstr("got null"));
  EXPECT_THAT(error_in("{\"prompt\": \"\"}"), HasSubstr("got an empty one"));
  EXPECT_THAT(error_in("{\"prompt\": \"p\", \"answer\": [1]}"),
              HasSubstr("a string or a number as \"answer\", got an array"));
  EXPECT_THAT(error_in("{\"prompt\": \"p\", \"answer\": true}"), HasSubstr("got a boolean"));
  EXPECT_THAT(error_in("{\"prompt\": \"p\", \"kind\": 1}"), HasSubstr("expected a string as \"kind\", got a number"));
  EXPECT_THAT(error_in("{\"prompt\": \"p\", \"language\": {}}"), HasSubstr("\"language\", got an object"));
  EXPECT_THAT(error_in(good + "{\"prompt\": \"\xff\"}"), HasSubstr(":2: "));
  EXPECT_THAT(error_in("{\"prompt\": \"p\", \"answer\": 1e999}"), HasSubstr(":1: "));
  EXPECT_THAT(error_in("null"), HasSubstr(":1: "));
  EXPECT_THAT(error_in(std::string(1 << 20, '[')), HasSubstr(":1: "));
  EXPECT_THAT(error_in(""), HasSubstr("at least one task"));
  EXPECT_THAT(error_in("\n \n"), HasSubstr("at least one task"));
  EXPECT_THAT(error_of([] { read_tasks("nowhere.jsonl"); }), HasSubstr("nowhere.jsonl"));
  EXPECT_THAT(error_of([&] { read_tasks(folder_); }), HasSubstr(folder_.string()));
}

TEST_F(TaskFile, keys_that_come_twice_are_refused_by_name) {
  const std::string good = "{\"prompt\": \"p\"}\n";
  EXPECT_THAT(error_in(good + R"({"prompt": "p", "answer": 1, "prompt": "q"})"),
              HasSubstr("train.jsonl:2: expected a JSON object, got the key \"prompt\" twice"));
  EXPECT_THAT(error_in(R"({"prompt": "p", "more": [{"a": {}, "b": 1, "a": 2}]})"), HasSubstr("the key \"a\" twice"));
  EXPECT_EQ(read_tasks(write(R"({"prompt": "p", "more": [{"a": 1}, {"a": 1}], "a": {"a": {}}})")).size(), 1u);
  std::string name, shown;  // of whole characters
  for (int i = 0; i < 40; ++i) (i < 26 ? shown : name) += "한";
  name = shown + name;
  EXPECT_THAT(error_in("{\"" + name + "\": 1, \"" + name + "\": 2}"), HasSubstr("the key \"" + shown + "…\" twice"));
}

TEST_F(TaskFile, malformed_lines_say_in_plain_words_what_is_wrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"{\"prompt\": \"p\"", "column 15: an end where more is expected"},
      {"{\"prompt\": \"p", "without its closing quote"},
      {"{\"prompt\": \"p\",}", "column 16: something else than a key in double quotes"},
      {"{'prompt': 'p'}", "column 2: something else than a key in double quotes"},
      {"{\"prompt\" \"p\"}", "no colon behind a key"},
      {"{\"prompt\": \"p\" \"id\": 1}", "no comma or } behind a value"},
      {"{\"prompt\": [1 2]}", "no comma or ] behind a value"},
      {"{\"prompt\": True}", "a word that is no value"},
      {"{\"prompt\": \"\tp\"}", "another control character in a text"},
      {"{\"prompt\": \"\xff\"}", "bytes that are no UTF-8"},
      {"{\"prompt\": \"\\x\"}", "a backslash in front of what it cannot escape"},
      {"{\"prompt\": 1.}", "a number that is not written out"},
      {"{} {}", "something behind the end of the value"},
      {"{\"prompt\": }", "something else than a value"},
  };
  for (const auto& [line, words] : cases)
    EXPECT_THAT(error_in(line),
                AllOf(HasSubstr(words), HasSubstr("train.jsonl:1: expected a JSON object, got malformed"),
                      testing::Not(HasSubstr("json.exception"))))
        << line;
}

TEST_F(TaskFile, keys_that_look_misspelt_are_told_once_with_their_count) {
  const auto remarks = [&](const std::string& text) {
    LeftOut left_out;
    read_tasks(write(text), BadTasks::drop, &left_out);
    return left_out.remarks;
  };
  const std::string path = (folder_ / "train.jsonl").string();
  EXPECT_THAT(
      remarks("{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"answr\": 1}\n{\"prompt\": \"c\", \"answr\": 2}\n"
              "{\"prompt\": \"d\", \"answer\": 2, \"Kind\": \"\", \"langauge\": \"en\"}\n"),
      testing::UnorderedElementsAre(path + ":2: unknown key \"answr\" in 2 lines; did you mean \"answer\"?",
                                    path + ":4: unknown key \"Kind\" in 1 line; did you mean \"kind\"?",
                                    path + ":4: unknown key \"langauge\" in 1 line; did you mean \"language\"?"));
  // Whoever's own, and what stands beside the key that it resembles.
  EXPECT_THAT(
      remarks(R"({"prompt": "a", "source": "s", "level": 3, "subject": "m", "metadata": {}, "idx": 4, "type": "x",
                       "solution": "1", "lang": "en", "question": "q", "data": 1, "split": "train"})"
              "\n"
              R"({"prompt": "a", "answer": 1, "answers": [1, 2]})"),
      IsEmpty());
  EXPECT_THAT(error_in("{\"promt\": \"p\"}"),
              HasSubstr(":1: expected an object with \"prompt\", got one with \"promt\" instead"));
  EXPECT_THAT(error_in("{\"question\": \"p\"}"), HasSubstr(":1: expected an object with \"prompt\", got one without"));
}

TEST_F(TaskFile, languages_are_those_that_can_be_told) {
  EXPECT_THAT(error_in("{\"prompt\": \"p\", \"language\": \"english\"}"),
              AllOf(HasSubstr(":1: expected one of en af "), HasSubstr(" ja as \"language\", got \"english\"")));
  EXPECT_EQ(read_tasks(write("{\"prompt\": \"p\", \"language\": \"\"}"))[0].language, "");
  EXPECT_EQ(read_tasks(write("{\"prompt\": \"p\", \"language\": \"zh-CN\"}"))[0].language, "zh-CN");
}

TEST_F(TaskFile, names_with_brackets_are_told_whole) {
  LeftOut left_out;
  const std::string lines = "{\"prompt\": \"p\"}\n{\"prompt\": \"p\", \"answer\": true}\n";
  read_tasks(write(lines, "[a] b.jsonl"), BadTasks::drop, &left_out);
  left_out.add("[a] b.jsonl:3: too long");
  EXPECT_EQ(left_out.text("lines"), "2 of 2 lines are left out: " + (folder_ / "[a] b.jsonl").string() +
                                        ":2: expected a string or a number as \"answer\", got a boolean; "
                                        "[a] b.jsonl:3: too long");
}

TEST_F(TaskFile, tasks_know_their_lines) {
  const auto tasks = read_tasks(write("\n{\"prompt\": \"p\", \"id\": \"x\"}"));
  EXPECT_EQ(tasks[0].name(), (folder_ / "train.jsonl").string() + ":2");
  EXPECT_EQ((Task{"x", "p", "", "", ""}.name()), "task \"x\"");
}

TEST_F(TaskFile, a_preview_is_all_of_a_split_and_changes_nothing) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "{\"prompt\": \"question " + std::to_string(i) + "\"}\n";
  TasksConfig config;
  config.file = write(text);
  TaskStream stream(config);
  const auto whole = stream.preview();
  EXPECT_EQ(id_set(whole), id_set(TaskStream(config).take(stream.size())));
  EXPECT_EQ(whole.size(), stream.size());
  EXPECT_EQ(stream.cursor(), 0u);
  EXPECT_EQ(ids_of(TaskStream(TasksConfig()).preview()), ids_of(TaskStream(TasksConfig()).take(64)));
}

TEST_F(TaskFile, conversations_are_lists_of_turns) {
  const auto tasks = read_tasks(write(
      R"({"prompt": [{"role": "user", "content": "a"}], "answer": 1})"
      "\n"
      R"({"messages": [{"role": "system", "content": "Be brief.", "name": "x"}, {"role": "user", "content": "b"}]})"
      "\n"
      R"({"prompt": null, "messages": [{"role": "user", "content": "b2"}]})"
      "\n"
      R"({"prompt": "c", "messages": [{"role": "user", "content": "other"}, {"role": "assistant", "content": "d"}]})"
      "\n"));
  ASSERT_EQ(tasks.size(), 4u);
  EXPECT_EQ(tasks[0].prompt, "a");
  EXPECT_TRUE(tasks[0].messages.empty()) << "the user's one turn is a prompt";
  EXPECT_EQ(tasks[1].prompt, "b");
  ASSERT_EQ(tasks[1].messages.size(), 2u);
  EXPECT_EQ(tasks[1].messages[0].role, "system");
  EXPECT_EQ(tasks[1].messages[0].content, "Be brief.");
  EXPECT_EQ(tasks[2].prompt, "b2");
  EXPECT_EQ(tasks[3].prompt, "c") << "messages are read where there is no prompt";
  EXPECT_TRUE(tasks[3].messages.empty());

  const auto all = read_demonstrations(write(
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})"
      "\n"
      R"({"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "c"}]})"
      "\n"));
  ASSERT_EQ(all.size(), 2u);
  for (const Demonstration& each : all) EXPECT_EQ(each.task.prompt, "a");
  EXPECT_EQ(all[0].completion, "b");
  EXPECT_EQ(all[1].completion, "c");

  for (const auto& [line, what] : {
           std::pair{R"({"prompt": []})", "got an empty list"},
           {R"({"prompt": ["a"]})", "or a list of {\"role\", \"content\"}, got a list with a string"},
           {R"({"messages": [{"role": "user"}]})", "got one whose \"content\" is no string"},
           {R"({"messages": [{"role": "user", "content": [1]}]})", "got one whose \"content\" is no string"},
           {R"({"messages": [{"role": "system", "content": "a"}]})", "got one in which no user asks"},
           {R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})",
            "got one that ends with the assistant's turn"},
           {R"({"prompt": [{"role": "user", "content": ""}]})", "got an empty one"},
       })
    EXPECT_THAT(error_in(line), AllOf(HasSubstr(":1: "), HasSubstr(what)));
}

TEST_F(TaskFile, conversations_are_held_out_by_all_that_they_ask) {
  TasksConfig config;
  const auto turns = [](const std::string& system) {
    return R"({"messages": [{"role": "system", "content": ")" + system +
           R"("}, {"role": "user", "content": "go on"}]})" "\n";
  };
  config.file = write(turns("one") + turns("two") + turns("three"));
  config.heldout_file = write(turns("two"), "test.jsonl");
  TaskStream train(config);
  EXPECT_EQ(id_set(train.take(2)), (std::set<std::string>{"train:1", "train:3"}));
}

TEST_F(TaskFile, demonstrations_are_tasks_with_a_completion) {
  const auto all = read_demonstrations(write(
      R"({"prompt": "a", "id": "x", "answer": 3, "kind": "arithmetic", "language": "ko", "completion": "<think>1\n</think>"})"
      "\n\n"
      R"({"completion": " ", "prompt": "b", "extra": 1})"
      "\n"));
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].task, (Task{"x", "a", "3", "arithmetic", "ko"}));
  EXPECT_EQ(all[0].completion, "<think>1\n</think>");
  EXPECT_EQ(all[1].task, (Task{"train:3", "b", "", "", "en"}));
  EXPECT_EQ(all[1].completion, " ");
}

TEST_F(TaskFile, bad_demonstrations_are_named) {
  const std::string good = "{\"prompt\": \"p\", \"completion\": \"c\"}\n";
  const auto error_with = [&](const std::string& text) {
    const std::string path = write(text);
    return error_of([&] { read_demonstrations(path); });
  };
  EXPECT_EQ(
      error_with(good + "\n{\"prompt\": \"p\"}\n"),
      "[task] " + (folder_ / "train.jsonl").string() + ":3: expected an object with \"completion\", got one without");
  EXPECT_THAT(error_with("{\"prompt\": \"p\", \"completion\": 3}"),
              AllOf(HasSubstr(":1: expected a string as \"completion\", or a list of"), HasSubstr("got a number")));
  EXPECT_THAT(error_with("{\"prompt\": \"p\", \"completion\": null}"),
              HasSubstr("got null"));
  EXPECT_THAT(error_with("{\"prompt\": \"p\", \"completion\": [\"c\"]}"), HasSubstr("got a list with a string"));
  EXPECT_THAT(error_with("{\"prompt\": \"p\", \"completion\": [{\"role\": \"user\", \"content\": \"c\"}]}"),
              HasSubstr("expected the assistant's one turn as \"completion\""));
  EXPECT_THAT(error_with("{\"prompt\": \"p\", \"completion\": \"\"}"),
              HasSubstr("expected a \"completion\" to learn, got an empty one"));
  EXPECT_THAT(error_with(good + "{\"completion\": \"c\"}"),
              HasSubstr(":2: expected an object with \"prompt\", got one without"));
  EXPECT_THAT(error_with(good + "{\"prompt\": \"\", \"completion\": \"c\"}"), HasSubstr(":2: "));
  EXPECT_THAT(error_with(good + "nonsense"), HasSubstr(":2: expected a JSON object"));
  EXPECT_THAT(error_with("\n \n"), HasSubstr("expected at least one demonstration, got none"));
  EXPECT_THAT(error_of([] { read_demonstrations("nowhere.jsonl"); }),
              HasSubstr("nowhere.jsonl: expected a file that can be read, got no such file"));
  EXPECT_THAT(error_of([] { read_tasks("nowhere.jsonl"); }),
              HasSubstr("nowhere.jsonl: expected a file that can be read, got no such file"));
}

TEST_F(TaskFile, bad_lines_are_left_out_or_refused) {
  const std::string good = "{\"prompt\": \"a\"}\n", bad = "{\"prompt\": \n[1]\n\n{}\n",
                    more = "{\"prompt\": \"b\"}\nx\n";
  TasksConfig config;
  config.file = write(good + bad + more);
  LeftOut left_out;
  EXPECT_EQ(id_set(read_tasks(config.file, BadTasks::drop, &left_out)), (std::set<std::string>{"train:1", "train:6"}));
  EXPECT_EQ(left_out.count, 4u);
  EXPECT_EQ(left_out.of, 6u);
  EXPECT_THAT(left_out.text("lines"),
              AllOf(StartsWith("4 of 6 lines are left out: " + config.file + ":2: expected a JSON object"),
                    HasSubstr("train.jsonl:3: "), HasSubstr("train.jsonl:5: "), EndsWith("; …")));

  config.heldout_share = 0;
  TaskStream stream(config);
  EXPECT_EQ(id_set(stream.take(2)), (std::set<std::string>{"train:1", "train:6"}));
  EXPECT_EQ(stream.left_out().count, 4u);
  config.on_bad = BadTasks::refuse;
  EXPECT_THAT(error_of([&] { TaskStream refused(config); }), HasSubstr("train.jsonl:2: expected a JSON object"));
  config.on_bad = BadTasks::drop;
  config.file = write(bad);
  EXPECT_THAT(error_of([&] { TaskStream empty(config); }),
              AllOf(HasSubstr("expected at least one task, got none; 3 of 3 lines"), HasSubstr(":2: ")));

  left_out = {};
  const auto kept =
      read_demonstrations(write(good + "{\"prompt\": \"b\", \"completion\": \"c\"}\n"), BadTasks::drop, &left_out);
  EXPECT_EQ(kept.size(), 1u);
  EXPECT_THAT(left_out.text("lines"), HasSubstr("1 of 2 lines are left out: " + config.file + ":1: "));
}

TEST_F(TaskFile, tasks_that_cannot_be_used_are_left_out_at_the_start_whoever_resumes) {
  std::string text, good;
  for (int i = 0; i < 200; ++i) {
    const std::string line = "{\"id\": \"" + std::to_string(i) + "\", \"prompt\": \"question " + std::to_string(i) +
                             std::string(i % 10 == 3 ? 1000 : 0, '?') + "\"}\n";
    text += line;
    if (i % 10 != 3) good += line;
  }
  const TaskCheck check = [](const Task& task) { return task.prompt.size() > 999 ? "it is too long" : ""; };
  TasksConfig config;
  config.file = write(text);
  TaskStream whole(config, Split::train, check);
  EXPECT_GT(whole.left_out().count, 10u);
  EXPECT_EQ(whole.left_out().of, 200u);
  EXPECT_THAT(whole.left_out().text(),
              HasSubstr("tasks are left out: " + config.file + ":4: it is too long; " + config.file + ":14: "));
  const auto expected = ids_of(whole.take(500));
  std::vector<std::string> got;
  for (std::uint64_t cursor = 0; got.size() < 500;) {
    TaskStream resumed(config, Split::train, check);
    resumed.seek(cursor);
    for (const Task& task : resumed.take(7)) got.push_back(task.id);
    cursor = resumed.cursor();
  }
  got.resize(500);
  EXPECT_EQ(got, expected);
  LeftOut heldout_left_out;
  const auto heldout = heldout_tasks(config, 99, check, &heldout_left_out);
  EXPECT_EQ(whole.left_out().count + heldout_left_out.count, 20u);

  TasksConfig refusing = config;
  refusing.on_bad = BadTasks::refuse;
  EXPECT_THAT(error_of([&] { TaskStream stream(refusing, Split::train, check); }),
              HasSubstr(config.file + ":4: it is too long; or leave such tasks out with on_bad = drop"));

  config.file = write(good, "good.jsonl");  // the others' order and split are those of a file without the bad ones
  EXPECT_EQ(ids_of(TaskStream(config).take(500)), expected);
  EXPECT_EQ(ids_of(heldout_tasks(config, 99)), ids_of(heldout));
}

TEST(Tasks, that_are_generated_and_do_not_fit_are_stepped_over) {
  TasksConfig config;
  const TaskCheck check = [](const Task& task) { return task.answer.size() > 2 ? "its answer is too long" : ""; };
  TaskStream whole(config, Split::train, check);
  const auto expected = ids_of(whole.take(300));
  for (const Task& task : TaskStream(config, Split::train, check).take(300)) EXPECT_LE(task.answer.size(), 2u);
  TaskStream half(config, Split::train, check), rest(config, Split::train, check);
  auto got = ids_of(half.take(100));
  rest.seek(half.cursor());
  for (const std::string& id : ids_of(rest.take(200))) got.push_back(id);
  EXPECT_EQ(got, expected);
  EXPECT_EQ(ids_of(TaskStream(config, Split::train, [](const Task&) { return ""; }).take(50)),
            ids_of(TaskStream(config).take(50)))
      << "where all fit, nothing changes";
  EXPECT_THAT(error_of([&] { TaskStream none(config, Split::train, [](const Task&) { return "it never fits"; }); }),
              HasSubstr("in a row that do not: "));
  for (const Task& task : heldout_tasks(config, 50, check)) EXPECT_LE(task.answer.size(), 2u);
}

TEST_F(TaskFile, one_file_is_split_by_prompt) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "{\"prompt\": \"question " + std::to_string(i % 500) + "\"}\n";
  TasksConfig config;
  config.file = write(text);
  TaskStream train(config), heldout(config, Split::heldout);
  EXPECT_EQ(train.size() + heldout.size(), 1000u);
  EXPECT_NEAR(static_cast<double>(heldout.size()), 100, 45);
  std::set<std::string> train_prompts, common;
  for (const Task& task : train.take(train.size())) train_prompts.insert(task.prompt);
  for (const Task& task : heldout.take(heldout.size()))
    EXPECT_FALSE(train_prompts.contains(task.prompt)) << task.prompt;
}

TEST_F(TaskFile, two_files_never_meet_either) {
  TasksConfig config;
  config.file = write("{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n{\"prompt\": \"c\"}\n");
  config.heldout_file = write("{\"prompt\": \"b\"}\n{\"prompt\": \"d\"}\n", "test.jsonl");
  TaskStream train(config), heldout(config, Split::heldout);
  EXPECT_EQ(id_set(train.take(2)), (std::set<std::string>{"train:1", "train:3"}));
  EXPECT_EQ(train.left_out().text(),
            "1 of 3 tasks are left out: " + config.file + ":2: it is a held-out one, too, by " + config.heldout_file);
  EXPECT_EQ(heldout.left_out().count, 0u);
  EXPECT_EQ(id_set(heldout.take(2)), (std::set<std::string>{"test:1", "test:2"}));
  EXPECT_EQ(heldout_tasks(config, 99).size(), 2u);
  config.heldout_file = write("{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n{\"prompt\": \"c\"}\n", "same.jsonl");
  EXPECT_THAT(error_of([&] { TaskStream stream(config); }),
              AllOf(HasSubstr("expected at least one training task"), HasSubstr(":1: it is a held-out one")));
  config.heldout_file = folder_ / "." / "train.jsonl";
  EXPECT_THAT(error_of([&] { TaskStream stream(config); }),
              HasSubstr("tasks.heldout_file: expected another file than the one of training tasks"));
  config.file = "";
  EXPECT_THAT(error_of([&] { TaskStream stream(config); }), HasSubstr("tasks.file: expected one beside heldout_file"));
  config.file = "-";
  EXPECT_THAT(error_of([&] { TaskStream stream(config); }), HasSubstr("tasks.file: expected a file that a resumed run"));
}

TEST_F(TaskFile, an_empty_split_is_refused) {
  TasksConfig config;
  config.file = write("{\"prompt\": \"a\"}\n");
  config.heldout_share = 0;
  EXPECT_EQ(TaskStream(config).size(), 1u);
  EXPECT_THAT(error_of([&] { TaskStream stream(config, Split::heldout); }), HasSubstr("at least one held-out task"));
  config.file = "";
  EXPECT_EQ(TaskStream(config).size(), 10100u);
  config.arithmetic.max_operand = 1'000'000'000;
  EXPECT_THAT(error_of([&] { TaskStream stream(config, Split::heldout); }), HasSubstr("at least one held-out task"));
}

// ---- The stream ----

TEST(TaskStream, has_the_seed_of_the_run_where_it_has_none) {
  TasksConfig config;
  EXPECT_EQ(config.seeded(7).seed, 7u);
  config.seed = 5;
  EXPECT_EQ(config.seeded(7).seed, 5u);
}

TEST(TaskStream, is_a_function_of_seed_and_cursor) {
  TasksConfig config;
  TaskStream whole(config), pieces(config);
  const auto expected = whole.take(500);
  std::vector<Task> got;
  for (std::size_t i = 0; got.size() < 500; ++i) {
    const std::uint64_t cursor = pieces.cursor();
    TaskStream fresh(config);
    fresh.seek(cursor);
    const auto next = pieces.take(1 + i % 7);
    EXPECT_EQ(fresh.take(next.size()), next);
    EXPECT_EQ(fresh.cursor(), pieces.cursor());
    got.insert(got.end(), next.begin(), next.end());
  }
  got.resize(500);
  EXPECT_EQ(got, expected);
  config.seed = 1;
  EXPECT_NE(ids_of(TaskStream(config).take(500)), ids_of(expected));
  EXPECT_THAT(whole.take(0), IsEmpty());
}

TEST(TaskStream, every_epoch_is_another_permutation_of_all) {
  TasksConfig config;
  config.arithmetic.max_operand = 9;
  TaskStream stream(config);
  const auto first = ids_of(stream.take(stream.size())), second = ids_of(stream.take(stream.size()));
  EXPECT_NE(first, second);
  EXPECT_EQ(std::set(first.begin(), first.end()).size(), stream.size());
  EXPECT_EQ(std::set(first.begin(), first.end()), std::set(second.begin(), second.end()));
}

TEST(TaskStream, heldout_tasks_are_distinct_and_the_same_for_every_seed) {
  TasksConfig config;
  const auto tasks = heldout_tasks(config, 512);
  EXPECT_EQ(id_set(tasks).size(), 512u);
  config.seed = 99;
  EXPECT_EQ(heldout_tasks(config, 512), tasks);
  const auto fewer = heldout_tasks(config, 100);
  EXPECT_TRUE(std::equal(fewer.begin(), fewer.end(), tasks.begin()));
  TaskStream stream(config, Split::heldout);
  EXPECT_EQ(heldout_tasks(config, 1'000'000).size(), stream.size());
  EXPECT_EQ(id_set(heldout_tasks(config, 1'000'000)), id_set(stream.take(stream.size())));
}

}  // namespace
}  // namespace grpo
