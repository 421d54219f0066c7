// The patterns that split a text into words, and the normal forms that it is brought to before.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "error_of.h"
#include "text/unicode_form.h"
#include "text/utf8.h"
#include "tokenizer/split_pattern.h"

namespace grpo {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// ---- Patterns ----

std::vector<std::string> matches(const char* pattern, const std::string& text) {
  std::vector<SplitPattern::Span> spans;
  SplitPattern::regex(pattern, "FILE").find(text, spans);
  std::vector<std::string> result;
  for (const auto& [first, end] : spans) result.push_back(text.substr(first, end - first));
  return result;
}

TEST(SplitPattern, classes_hold_as_many_code_points_as_the_references) {
  std::string every;
  for (char32_t c = 0; c < 0x110000; ++c)
    if (c < 0xD800 || c > 0xDFFF) append_utf8(every, c);
  // counted by tokenizers 0.23.3
  for (const auto& [pattern, count] :
       std::initializer_list<std::pair<const char*, std::size_t>>{{R"(\p{L})", 141028},
                                                                  {R"(\p{N})", 1911},
                                                                  {R"(\s)", 25},
                                                                  {R"(\p{Lu})", 1858},
                                                                  {R"(\w)", 144671},
                                                                  {R"(\p{Han})", 99030},
                                                                  {R"(\d)", 760},
                                                                  {R"([^\p{^L}])", 141028},
                                                                  {R"([\P{L}])", 1112064 - 141028},
                                                                  {R"([\S])", 1112064 - 25},
                                                                  {R"(.)", 1112063},
                                                                  {R"([一-龥])", 20902},
                                                                  {R"((?i:s))", 3},
                                                                  {R"((?i:k))", 3},
                                                                  {R"(\p{Cs}|x)", 1}})
    EXPECT_EQ(matches(pattern, every).size(), count) << pattern;
}

TEST(SplitPattern, finds_what_the_pattern_says) {
  EXPECT_THAT(matches(R"('(?i:[sdmt]|ll|ve|re))", "'s'S'ſ'LL'Re'x"), ElementsAre("'s", "'S", "'ſ", "'LL", "'Re"));
  EXPECT_THAT(matches(R"(\p{N}{1,3})", "12345é6"), ElementsAre("123", "45", "6"));
  EXPECT_THAT(matches(R"(\s+(?!\S)|\s+)", "a   b \n"), ElementsAre("  ", " ", " \n"));
  EXPECT_THAT(matches(R"([^\r\n\p{L}\p{N}]?+\p{L}+)", "éa 한b\nc"), ElementsAre("éa", " 한b", "c"));
  EXPECT_THAT(matches(R"([\]\-a-c\u00e9-])", "]-abcdé"), ElementsAre("]", "-", "a", "b", "c", "é"));
  EXPECT_THAT(matches(R"(a{,2}b)", "aaab"), ElementsAre("aab"));
  EXPECT_THAT(matches(R"(a{b})", "a{b}"), ElementsAre("a{b}"));
  EXPECT_THAT(matches(R"((?<=a)b|(?<!a)c|\x41|\x{AC00})", "abacbcA가"), ElementsAre("b", "c", "A", "가"));
}

TEST(SplitPattern, refuses_what_it_cannot_vouch_for) {
  for (const auto& [pattern, name] :
       std::initializer_list<std::pair<const char*, const char*>>{{"a*", "at least one"},
                                                                  {"", "at least one"},
                                                                  {"(a", "( too many"},
                                                                  {"a)", ") too many"},
                                                                  {"^a", "anchor ^"},
                                                                  {"a$", "anchor $"},
                                                                  {R"(\ba)", R"(\b)"},
                                                                  {R"((a)\1)", R"(\1)"},
                                                                  {R"(\h)", R"(\h)"},
                                                                  {R"(\R)", R"(\R)"},
                                                                  {R"(\p{Nonsense})", "Nonsense"},
                                                                  {R"(\p{L)", "end too early"},
                                                                  {R"([a)", "end too early"},
                                                                  {R"([])", "[]"},
                                                                  {R"([[:alpha:]])", "set within"},
                                                                  {R"([a&&b])", "intersection"},
                                                                  {R"([b-a])", "backwards"},
                                                                  {R"([\w-z])", "range from a class"},
                                                                  {R"([a-\d])", "range to a class"},
                                                                  {"a{1,2}+", "interval followed"},
                                                                  {"a{2}?", "interval followed"},
                                                                  {"a+*", "quantifier"},
                                                                  {"a+{2}", "quantifier"},
                                                                  {"*a", "quantifier"},
                                                                  {"(?i:ss)", "any case"},
                                                                  {"(?i:é)", "beyond ASCII"},
                                                                  {"(?i)a", "(?i"},
                                                                  {"(?m:a)", "(?m"},
                                                                  {"(?<n>a)", "(?<"},
                                                                  {R"(\)", "end too early"},
                                                                  {"\xff", "UTF-8"},
                                                                  {"a{3,2}", "compile"}})
    EXPECT_THAT(error_of([&] { SplitPattern::regex(pattern, "FILE"); }), AllOf(HasSubstr("FILE"), HasSubstr(name)))
        << pattern;
  EXPECT_THAT(error_of([&] { SplitPattern::regex(std::string(10'000, '('), "FILE"); }), HasSubstr("FILE"));
  EXPECT_THAT(error_of([&] { SplitPattern::regex(std::string(10'001, 'a'), "FILE"); }), HasSubstr("10000 bytes"));
}

TEST(SplitPattern, gives_up_on_a_search_without_end) {
  std::vector<SplitPattern::Span> spans;
  // Each takes it all, or gives up: by its steps, by those of all its matches, by memory, or by the time.
  const auto start = std::clock();
  for (const auto& [pattern, size] :
       std::initializer_list<std::pair<const char*, std::size_t>>{{"(?:a+)+b", 1'000'000},
                                                                  {"(?:a|a|aa)+b", 1'000'000},
                                                                  {"(?:(?:a|a|aa){1,12}b|.)", 1'000'000},
                                                                  {"(?:a|b)+c(?=a)|(?:a|[ab])+?b", 1'000'000},
                                                                  {"(?:(?:(?:a{1,20}){1,20}){1,20}b|a)", 1'000'000},
                                                                  {"(?:a(?=(?:a|a|aa){1,12}b)|.)", 1'000'000},
                                                                  {"a+b|.", 100'000}})
    EXPECT_THAT(error_of([&] { SplitPattern::regex(pattern, "FILE").find(std::string(size, 'a') + "cb", spans); }),
                AnyOf("(no error)", HasSubstr("bounded number of steps")))
        << pattern;
  EXPECT_LT((std::clock() - start) / CLOCKS_PER_SEC, 60);
  const SplitPattern hopeless = SplitPattern::regex("(?:a|a|aa)+(?:a|aa)+(?:b|c)", "FILE");
  EXPECT_THAT(error_of([&] { hopeless.find(std::string(200, 'a'), spans); }), HasSubstr("bounded number of steps"));
}

// ---- Normal forms ----

TEST(UnicodeForm, orders_and_joins_marks) {
  EXPECT_EQ(normalize(UnicodeForm::nfc, "plain"), "plain");
  EXPECT_EQ(normalize(UnicodeForm::nfc, "e\u0301"), "é");
  EXPECT_EQ(normalize(UnicodeForm::nfd, "é"), "e\u0301");
  EXPECT_EQ(normalize(UnicodeForm::nfc, "a\u0323\u0307"), normalize(UnicodeForm::nfc, "a\u0307\u0323"));
  EXPECT_EQ(normalize(UnicodeForm::nfc, "\u1112\u1161\u11ab"), "한");
  EXPECT_EQ(normalize(UnicodeForm::nfd, "한"), "\u1112\u1161\u11ab");
  EXPECT_EQ(normalize(UnicodeForm::nfc, "\u0958"), "\u0915\u093c") << "excluded from composition";
  EXPECT_EQ(normalize(UnicodeForm::nfkc, "ﬁ①Å"), "fi1Å");
  EXPECT_EQ(normalize(UnicodeForm::nfkd, "½"), "1\u20442");
  EXPECT_EQ(normalize(UnicodeForm::nfc, "\u0301e"), "\u0301e");
  EXPECT_EQ(normalize(UnicodeForm::nfc, "\u0b47\u0300\u0b3e"), "\u0b47\u0300\u0b3e") << "blocked";
}

}  // namespace
}  // namespace grpo
