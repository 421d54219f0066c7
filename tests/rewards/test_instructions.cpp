// Verifiable instructions, beside the benchmark's own verdicts and in the hands of hostile text.
#include <gmock/gmock.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/json_text.h"
#include "costs.h"
#include "error_of.h"
#include "files.h"
#include "grpo/instructions.h"
#include "grpo/language.h"
#include "rewards/pattern.h"
#include "text/code_points.h"
#include "text/sentences.h"

namespace grpo {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

json fixture() { return json::parse(std::ifstream(std::string(GRPO_FIXTURES) + "/instructions.json")); }

Instructions one(const std::string& id, const json& arguments = json::object()) {
  return Instructions(json{{"instruction_id_list", {id}}, {"kwargs", {arguments}}}.dump());
}

/// These ask which language a text is in, which only the benchmark's own detector answers as it does.
bool asks_for_language(const std::string& id) {
  return id == "language:response_language" || id == "change_case:english_capital" ||
         id == "change_case:english_lowercase";
}

struct Comparison {
  std::size_t verdicts = 0, differences = 0;
};

/// Our verdicts beside those of the fixture.
Comparison compare(const json& fixture, bool languages) {
  Comparison result;
  for (const json& row : fixture["instructions"]) {
    if (asks_for_language(row["id"]) != languages) continue;
    const Instructions instructions = one(row["id"], row["kwargs"]);
    const auto& expected = row["verdicts"].get_ref<const std::string&>();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const InstructionVerdicts got = instructions.check(fixture["responses"][i].get<std::string>());
      const char as_written = got.strict[0] ? '3' : got.loose[0] ? '1' : '0';
      ++result.verdicts;
      result.differences += as_written != expected[i];
      if (!languages) {
        EXPECT_EQ(as_written, expected[i]) << row["id"] << row["kwargs"] << fixture["responses"][i];
      }
    }
  }
  return result;
}

TEST(Instructions, DecideAsTheBenchmarkDoes) {
  const json all = fixture();
  std::set<std::string> kinds;
  for (const json& row : all["instructions"]) kinds.insert(row["id"].get<std::string>());
  EXPECT_EQ(kinds.size(), 25u);
  const Comparison comparison = compare(all, false);
  EXPECT_GT(comparison.verdicts, 20000u);
  EXPECT_EQ(comparison.differences, 0u);
}

TEST(Instructions, TellLanguagesByTheirWordsWithoutAnIdentifier) {
  const Comparison comparison = compare(fixture(), true);
  RecordProperty("language verdicts", static_cast<int>(comparison.verdicts));
  RecordProperty("other than langdetect's", static_cast<int>(comparison.differences));
  const Instructions korean = one("language:response_language", {{"language", "ko"}});
  EXPECT_TRUE(korean.followed("이것은 한국어 문장입니다."));
  EXPECT_FALSE(korean.followed("This is English."));
  EXPECT_TRUE(korean.followed("42"));  // no words, no other language
  EXPECT_FALSE(one("language:response_language", {{"language", "xx"}}).followed("words"));
}

TEST(Instructions, AskTheIdentifierForLanguages) {
  const IdentifyLanguage french = [](std::string_view) { return std::string("fr"); };
  const IdentifyLanguage nothing = [](std::string_view) { return std::string(); };
  EXPECT_TRUE(one("language:response_language", {{"language", "fr"}}).followed("texte", french));
  EXPECT_FALSE(one("language:response_language", {{"language", "en"}}).followed("texte", french));
  EXPECT_TRUE(one("language:response_language", {{"language", "en"}}).followed("texte", nothing));
  EXPECT_FALSE(one("change_case:english_capital").followed("TEXTE", french));
  // No letters tell Nepali from its relatives, so any text in its script will do.
  const Instructions nepali = one("language:response_language", {{"language", "ne"}});
  const IdentifyLanguage ours = [](std::string_view text) { return identify_language(text); };
  EXPECT_TRUE(nepali.followed("कृपया फेरि प्रयास गर्नुहोस् र सही विकल्प छान्नुहोस्।", ours));
  EXPECT_FALSE(nepali.followed("Please try again and choose the right option.", ours));
  EXPECT_FALSE(one("language:response_language", {{"language", "ko"}}).followed("Maria", ours));  // too short to tell
}

TEST(Instructions, ReadThePromptsOfAFile) {
  const Folder folder;
  const std::string path = (folder / "prompts.jsonl").string();
  std::ofstream(path)
      << R"({"key": 1000, "prompt": "No commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]})"
      << "\n\n"
      << R"({"key": "b", "prompt": "Two.", "instruction_id_list": ["detectable_format:title", "length_constraints:number_words"],)"
      << R"( "kwargs": [{"num_words": null}, {"num_words": 2.0, "relation": "at least", "keyword": null}]})"
      << "\n";
  const auto prompts = read_instruction_prompts(path);
  ASSERT_EQ(prompts.size(), 2u);
  EXPECT_EQ(prompts[0].key, "1000");
  EXPECT_EQ(prompts[1].key, "b");
  EXPECT_EQ(prompts[0].prompt, "No commas.");
  EXPECT_THAT(prompts[1].instructions.ids(), ElementsAre("detectable_format:title", "length_constraints:number_words"));

  InstructionAccuracy accuracy;
  EXPECT_TRUE(std::isnan(accuracy.prompt_strict.value()));
  accuracy.add(prompts[0].instructions, prompts[0].instructions.check("Yes, sir\nno"));
  accuracy.add(prompts[1].instructions, prompts[1].instructions.check("two words"));
  EXPECT_EQ(accuracy.prompt_strict.value(), 0.0);
  EXPECT_EQ(accuracy.prompt_loose.value(), 0.5);
  EXPECT_EQ(accuracy.instruction_strict.value(), 1.0 / 3);
  EXPECT_EQ(accuracy.instruction_loose.value(), 2.0 / 3);
  EXPECT_EQ(accuracy.strict_by_type.at("detectable_format:title").value(), 0.0);
  EXPECT_EQ(accuracy.strict_by_type.at("length_constraints:number_words").value(), 1.0);

  std::ofstream(path, std::ios::app) << "{\"prompt\": 3}\n";
  EXPECT_THAT(error_of([&] { read_instruction_prompts(path); }), HasSubstr("prompts.jsonl:4"));
  EXPECT_THAT(error_of([&] { read_instruction_prompts((folder / "none").string()); }), HasSubstr("none"));
}

TEST(Instructions, RefuseWhatTheBenchmarkWouldGuess) {
  const auto refusal = [](const std::string& id, const json& arguments) {
    return error_of([&] { one(id, arguments); });
  };
  EXPECT_THAT(refusal("punctuation:no_coma", json::object()), HasSubstr("did you mean \"punctuation:no_comma\""));
  EXPECT_THAT(refusal("length_constraints:number_words", {{"relation", "at least"}}), HasSubstr("num_words"));
  EXPECT_THAT(refusal("length_constraints:number_words", {{"num_words", 3}, {"relation", "at most"}}),
              HasSubstr("\"less than\" or \"at least\""));
  EXPECT_THAT(refusal("length_constraints:number_words", {{"num_words", -3}, {"relation", "at least"}}),
              HasSubstr("at least 0"));
  EXPECT_THAT(refusal("length_constraints:number_words", {{"num_words", 2.5}, {"relation", "at least"}}),
              HasSubstr("whole number"));
  EXPECT_THAT(refusal("punctuation:no_comma", {{"num_words", 3}}), HasSubstr("no argument of that name"));
  EXPECT_THAT(refusal("keywords:existence", {{"keywords", json::array()}}), HasSubstr("list of strings"));
  EXPECT_THAT(refusal("keywords:existence", {{"keywords", {"a", 3}}}), HasSubstr("list of strings"));
  EXPECT_THAT(refusal("keywords:existence", {{"keywords", {"(a"}}}), HasSubstr("regular expression"));
  EXPECT_THAT(
      refusal("keywords:letter_frequency", {{"letter", "ab"}, {"let_frequency", 1}, {"let_relation", "at least"}}),
      HasSubstr("one character"));
  EXPECT_THAT(refusal("length_constraints:nth_paragraph_first_word",
                      {{"num_paragraphs", 2}, {"nth_paragraph", 3}, {"first_word", "a"}}),
              HasSubstr("at most num_paragraphs"));
  EXPECT_THAT(error_of([] { Instructions("[1]"); }), HasSubstr("expected an object"));
  EXPECT_THAT(error_of([] { Instructions("{"); }), HasSubstr("expected JSON"));
  EXPECT_THAT(error_of([] { Instructions(R"({"instruction_id_list": [], "kwargs": []})"); }),
              HasSubstr("expected 1 to"));
  EXPECT_THAT(error_of([] { Instructions(R"({"instruction_id_list": ["x"], "kwargs": []})"); }),
              HasSubstr("expected 1 to"));
}

std::string repeated(std::string_view piece, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += piece;
  return text;
}

std::vector<Instructions> every_kind() {
  const json all = fixture();
  std::map<std::string, Instructions> kinds;
  for (const json& row : all["instructions"]) kinds.emplace(row["id"], one(row["id"], row["kwargs"]));
  std::vector<Instructions> result;
  for (const auto& [id, instructions] : kinds) result.push_back(instructions);
  EXPECT_EQ(result.size(), 25u);
  return result;
}

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Much of what makes searches turn back; a quadratic check would take many seconds.
TEST(Instructions, TakeLinearTimeWhateverTheText) {
  const std::vector<Instructions> kinds = every_kind();
  for (const std::string_view piece :
       {"<<",      "* ", "*",   "**a",  "[",  "\n", " ",   ". ",      ".",    ". . ",   "!",        "a.b",  "'",
        "\"",      "--", ",",   "-\n",  "((", "[{", "\\",  "{\"a\":", "1",    "p.",     "Section ", "\xFF", "\xE2\x80",
        "e\u0301", "A",  "***", "\n\n", ".)", "a",  "CAN", "'s ",     "x!y?", "\u00a0", "\u00a0."})
    for (const Instructions& instructions : kinds) {
      const std::string text = repeated(piece, 1 << 16);
      EXPECT_LT(seconds([&] { instructions.check(text); }), 1) << piece << ' ' << instructions.ids()[0];
    }
}

TEST(Instructions, TakeAnyBytes) {
  std::mt19937 random(5);
  const std::vector<Instructions> kinds = every_kind();
  const std::string_view interesting = "*-.!?\"'[]<>\n \xFF\xE2\x80\xA0 aA1,:;{}\\`";
  for (int round = 0; round < 300; ++round) {
    std::string text(random() % 60, ' ');
    for (char& c : text)
      c = random() % 4 == 0 ? static_cast<char>(random()) : interesting[random() % interesting.size()];
    for (const Instructions& instructions : kinds) {
      const InstructionVerdicts verdicts = instructions.check(text);
      EXPECT_TRUE(verdicts.loose[0] || !verdicts.strict[0]);
      EXPECT_EQ(verdicts.strict[0], instructions.followed(text));
    }
  }
}

TEST(Instructions, AreUsableFromSeveralThreads) {
  const json all = fixture();
  const std::vector<Instructions> kinds = every_kind();
  std::vector<std::string> seen(4);
  std::vector<std::jthread> threads;
  for (std::string& mine : seen)
    threads.emplace_back([&] {
      for (const Instructions& each : kinds)
        for (std::size_t i = 0; i < 60; ++i)
          mine += each.check(all["responses"][i].get_ref<const std::string&>()).loose[0] ? '1' : '0';
    });
  threads.clear();
  for (const std::string& each : seen) EXPECT_EQ(each, seen[0]);
}

TEST(Instructions, AreFast) {
  std::string text;
  for (int i = 0; text.size() < 4500; ++i)
    text += "The quick brown fox, No. " + std::to_string(i) + ", jumps over Dr. Smith's dog. It's FINE!\n";
  for (const Instructions& instructions : every_kind()) {
    const double each = seconds([&] {
                          for (int i = 0; i < 100; ++i) instructions.followed(text);
                        }) /
                        100;
    std::printf("%-48s %6.1f us for 4,500 bytes\n", instructions.ids()[0].c_str(), each * 1e6);
    EXPECT_LT(each, kSlower * 5e-3);  // ten times what it takes
  }
}

// ---- The parts ------------------------------------------------------------------------------------------------------

TEST(JsonText, AcceptsWhatPythonDoes) {
  for (const std::string_view good :
       {"{}", "[]", "0", "-0.0e+1", "NaN", "[-Infinity]", "\"\\ud800\"", " [1 , {\"a\" : null}] ", "1e999"})
    EXPECT_TRUE(is_json(good)) << good;
  for (const std::string_view bad : {"",     " ",   "{",  "]",  "[1,]",   "{\"a\"}", "{\"a\":}",  "{a:1}",
                                     "01",   "1.",  ".5", "+1", "\"\n\"", "\"\\x\"", "\"\\u12\"", "[1 2]",
                                     "{}{}", "tru", "[}", "{]", "\"",     "--1",     "1e",        "\xEF\xBB\xBF{}"})
    EXPECT_FALSE(is_json(bad)) << bad;
  EXPECT_TRUE(is_json(std::string(4300, '9')));
  EXPECT_FALSE(is_json(std::string(4301, '9')));
  EXPECT_TRUE(is_json(std::string(1 << 20, '[') + std::string(1 << 20, ']')));
}

TEST(Pattern, CountsAsFindall) {
  const auto count = [](std::string_view pattern, std::string_view text) {
    return Pattern(pattern, Pattern::Case::matters, "here").count_in(text);
  };
  EXPECT_EQ(count("a", "banana"), 3u);
  EXPECT_EQ(count("aa", "aaaa"), 2u);
  EXPECT_EQ(count("", "abc"), 4u);
  EXPECT_EQ(count("x*", "axb"), 4u);
  EXPECT_EQ(count("^a", "aa"), 1u);
  EXPECT_EQ(Pattern("straße", Pattern::Case::ignored, "here").count_in("STRAßE"), 1u);
}

TEST(Pattern, StopsCatastrophes) {
  const std::string text = std::string(200'000, 'a') + "!";
  for (const std::string_view pattern :
       {"(a+)+$", "(a|a)*b", "(.*)*x", "a*a*a*a*a*b", "(?:a?){50}a{50}b", "((a*)*)*c", "a+b"}) {
    std::optional<bool> found;
    EXPECT_LT(seconds([&] { found = Pattern(pattern, Pattern::Case::matters, "here").found_in(text); }), 8) << pattern;
    EXPECT_NE(found, true) << pattern;
  }
  EXPECT_FALSE(Pattern("b", Pattern::Case::matters, "here").found_in(std::string(1 << 20, 'a')).has_value());
  EXPECT_THAT(error_of([] { Pattern("\\C", Pattern::Case::matters, "here"); }), HasSubstr("here"));
  EXPECT_THAT(error_of([] { Pattern(std::string(5000, '(') + std::string(5000, ')'), Pattern::Case::matters, "x"); }),
              HasSubstr("regular expression"));
}

TEST(Sentences, KnowAbbreviations) {
  const auto sentences = [](std::string_view text) {
    const std::u32string points = code_points(text);
    return split_sentences(points).size();
  };
  EXPECT_EQ(sentences("Dr. Smith met Mr. Jones."), 1u);
  EXPECT_EQ(sentences("It closes at 5 p.m. Please go."), 2u);
  EXPECT_EQ(sentences("He said \"Go.\" Then he left."), 2u);
  EXPECT_EQ(sentences(""), 0u);
}

}  // namespace
}  // namespace grpo
