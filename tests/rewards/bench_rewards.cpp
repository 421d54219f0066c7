// What each reward costs on one thread: microseconds a completion, beyond reading its form, the best of several rounds
// over synthetic completions in English. Most tokens of a completion are reasoning; `whole` lines are of completions
// whose answer is all of it, as when instructions are followed.
//   bench_rewards [--filter TEXT] [--completions 64] [--tokens 1000]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "grpo/config.h"
#include "grpo/reward.h"

namespace grpo {
namespace {

struct BenchConfig {
  std::string filter;
  int completions = 64, tokens = 1000;

  template <class V>
  void visit(V& v) {
    v("filter", filter, "only the rows with this in their names");
    v("completions", completions, "how many are scored in a round", at_least(1).at_most(1 << 20));
    v("tokens", tokens, "of each completion", at_least(1).at_most(1 << 20));
  }
};

constexpr double kBytesPerToken = 4.5;

/// Sentences of a few thousand different words, with numbers, formulas, names and lists among them.
std::string prose(std::mt19937& random, std::size_t bytes) {
  static const std::string small[] = {"the", "of", "and", "to", "we", "is", "that", "in", "a", "this", "for", "so"};
  static const std::string stems[] = {"comput", "divid",    "multipl", "triang",  "circl",   "consider", "express",
                                      "observ", "remaind",  "number",  "possib",  "certain", "interest", "measur",
                                      "travel", "connect",  "balanc",  "respond", "explain", "follow",   "contain",
                                      "resolv", "calculat", "equat",   "product", "factor",  "garden",   "letter",
                                      "market", "season",   "window",  "captain"};
  static const std::string ends[] = {"", "s", "ed", "ing", "er", "ers", "ation", "able", "ly", "ive", "ment", "ness"};
  static const std::string asides[] = {"Wait, ",   "However, ",      "Dr. Smith says: ",   "e.g. ",
                                       "(again) ", "$x^2 + 1$ and ", "NASA and the U.S. ", "\"so far\" ",
                                       "- ",       "3.5 km or ",     "let me see: "};
  const auto any = [&](const auto& items) -> const std::string& { return items[random() % std::size(items)]; };
  std::string text;
  while (text.size() < bytes) {
    if (random() % 4 == 0) text += any(asides);
    const std::size_t start = text.size();
    for (std::size_t words = 5 + random() % 12; words > 0; --words) {
      const unsigned draw = random() % 20;
      text += draw < 9 ? any(small) : draw < 19 ? any(stems) + any(ends) : std::to_string(random() % 1000);
      if (words > 1) text += draw == 7 ? ", " : " ";
    }
    if (text[start] >= 'a') text[start] = static_cast<char>(text[start] - 32);
    text += random() % 8 == 0 ? "?" : ".";
    text += random() % 6 == 0 ? "\n\n" : " ";
  }
  text.resize(bytes);
  return text;
}

struct Row {
  std::string name, reward, answer;
  bool whole = false;
  std::string kind = "", language = "";
};

std::vector<Row> rows() {
  std::vector<Row> all{
      {"accuracy", "format", "42"},
      {"accuracy, whole", "format", "42", true},
      {"accuracy, sorting, whole", "format", "ascending 3 1 2", true, "sorting"},
      {"language_consistency", "format", "", false, "", "en"},
      {"overlong", "overlong", ""},
      {"repetition", "repetition", ""},
      {"length, whole", "length", "42", true},
      {"reflection", "reflection", ""},
      {"exact, whole", "exact", "New York", true},
      {"regex, whole", "regex", "[a-z ]+", true, "regex"},
      {"choice, whole", "choice", "C", true},
  };
  const std::pair<const char*, const char*> instructions[] = {
      {"change_case:capital_word_frequency", R"({"capital_frequency": 3, "capital_relation": "at least"})"},
      {"change_case:english_capital", "{}"},
      {"change_case:english_lowercase", "{}"},
      {"combination:repeat_prompt", R"({"prompt_to_repeat": "Write a poem about the sea."})"},
      {"combination:two_responses", "{}"},
      {"detectable_content:number_placeholders", R"({"num_placeholders": 2})"},
      {"detectable_content:postscript", R"({"postscript_marker": "P.S."})"},
      {"detectable_format:constrained_response", "{}"},
      {"detectable_format:json_format", "{}"},
      {"detectable_format:multiple_sections", R"({"section_spliter": "Section", "num_sections": 3})"},
      {"detectable_format:number_bullet_lists", R"({"num_bullets": 3})"},
      {"detectable_format:number_highlighted_sections", R"({"num_highlights": 3})"},
      {"detectable_format:title", "{}"},
      {"keywords:existence", R"({"keywords": ["balance", "marketing"]})"},
      {"keywords:forbidden_words", R"({"forbidden_words": ["sad", "never"]})"},
      {"keywords:frequency", R"({"keyword": "market", "frequency": 3, "relation": "at least"})"},
      {"keywords:letter_frequency", R"({"letter": "q", "let_frequency": 3, "let_relation": "at least"})"},
      {"language:response_language", R"({"language": "en"})"},
      {"length_constraints:nth_paragraph_first_word",
       R"({"num_paragraphs": 4, "nth_paragraph": 1, "first_word": "the"})"},
      {"length_constraints:number_paragraphs", R"({"num_paragraphs": 4})"},
      {"length_constraints:number_sentences", R"({"num_sentences": 9, "relation": "at least"})"},
      {"length_constraints:number_words", R"({"num_words": 500, "relation": "at least"})"},
      {"punctuation:no_comma", "{}"},
      {"startend:end_checker", R"({"end_phrase": "Any other questions?"})"},
      {"startend:quotation", "{}"}};
  for (const auto& [id, arguments] : instructions)
    all.push_back({id, "instructions",
                   std::string(R"({"instruction_id_list": [")") + id + R"("], "kwargs": [)" + arguments + "]}", true,
                   "instructions"});
  return all;
}

double seconds_of(const Scorer& scorer, const Task& task, std::vector<Completion>& completions) {
  const auto start = std::chrono::steady_clock::now();
  for (Completion& each : completions) scorer.score(task, each);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() /
         static_cast<double>(completions.size());
}

int run(const std::string& filter, std::size_t count, std::size_t tokens) {
  std::mt19937 random(11);
  std::vector<Completion> usual(count), whole(count);
  const auto bytes = static_cast<std::size_t>(kBytesPerToken * static_cast<double>(tokens));
  for (std::size_t i = 0; i < count; ++i) {
    const std::string text = prose(random, bytes);
    usual[i].text = "<think>" + text + "</think><answer>42</answer>";
    whole[i].text = "<think>" + text.substr(0, 40) + "</think><answer>" + text + "</answer>";
    for (std::size_t t = 0; t < tokens; ++t) usual[i].tokens.push_back(static_cast<std::int32_t>(random() % 32000));
    whole[i].tokens = usual[i].tokens;
  }
  const auto config_of = [&](const std::string& reward) {
    RewardsConfig config;
    config.weights = {{reward, 1.0}};
    config.overlong_max_length = static_cast<std::int64_t>(tokens);
    config.overlong_buffer = config.overlong_max_length;
    return config;
  };
  const Task nothing{"t", "?", "", "", ""};
  std::printf("%zu completions of %zu tokens, %zu bytes\n", count, tokens, bytes);
  const Scorer form(config_of("format"));
  for (const Row& row : rows()) {
    if (row.name.find(filter) == std::string::npos) continue;
    const Task task{"t", "?", row.answer, row.kind, row.language};
    std::vector<Completion>& completions = row.whole ? whole : usual;
    // Accuracy and language are read for every task that has an answer or a language.
    const Scorer scorer(config_of(row.reward));
    double all = 1, rest = 1;
    for (int round = 0; round < 16; ++round) {
      all = std::min(all, seconds_of(scorer, task, completions));
      rest = std::min(rest, seconds_of(form, row.reward == "format" ? nothing : task, completions));
    }
    std::printf("%-48s %8.1f us %8.2f s for 10,000\n", row.name.c_str(), (all - rest) * 1e6, (all - rest) * 1e4);
  }
  return 0;
}

}  // namespace
}  // namespace grpo

int main(int argc, char** argv) try {
  const auto config = grpo::load_config<grpo::BenchConfig>(argc, argv);
  return grpo::run(config.filter, static_cast<std::size_t>(config.completions),
                   static_cast<std::size_t>(config.tokens));
} catch (const std::exception& error) {
  return grpo::report(error);
}
