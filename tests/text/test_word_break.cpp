// Word boundaries against the test file of the Unicode Character Database.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "text/word_break.h"

namespace grpo {
namespace {

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  for (std::size_t at = 0, end = 0; at < text.size(); at = end) {
    end = word_end(text, at);
    words.emplace_back(text.substr(at, end - at));
  }
  return words;
}

TEST(WordBreak, agrees_with_the_test_file_of_the_standard) {
  const auto fixture = nlohmann::json::parse(std::ifstream(GRPO_FIXTURES "/word_breaks.json"));
  ASSERT_GT(fixture["words"].size(), 1800u);
  for (const std::vector<std::string> expected : fixture["words"]) {
    std::string text;
    for (const std::string& word : expected) text += word;
    EXPECT_EQ(words_of(text), expected) << text;
  }
}

TEST(WordBreak, takes_every_broken_byte_for_itself) {
  const std::vector<std::string> expected{"ab", "\xFF", "\xE4", "\xB8", "c"};
  EXPECT_EQ(words_of("ab\xFF\xE4\xB8"
                     "c"),
            expected);
}

TEST(WordBreak, knows_scripts) {
  struct Case {
    char32_t character;
    Script script;
  };
  for (const auto& [c, script] :
       {Case{U'a', Script::latin},       Case{0xE9, Script::latin},    Case{0x3B1, Script::greek},
        Case{0x436, Script::cyrillic},   Case{0x5D0, Script::hebrew},  Case{0x6CC, Script::arabic},
        Case{0x915, Script::devanagari}, Case{0xAC00, Script::hangul}, Case{0x4E00, Script::han},
        Case{0x20000, Script::han},      Case{0x3005, Script::han},    Case{0x30FC, Script::kana},
        Case{0xFF9E, Script::mark},      Case{0x301, Script::mark},    Case{0x94D, Script::mark},
        Case{0x200D, Script::mark},      Case{U'1', Script::none},     Case{0x661, Script::none},
        Case{0x1D465, Script::none},     Case{0x1F600, Script::none},  Case{0x10D0, Script::other},
        Case{0xE01, Script::thai},       Case{0x995, Script::bengali}, Case{0x110000, Script::none},
        Case{0xFFFFFFFF, Script::none}})
    EXPECT_EQ(class_of(c).script, script) << std::hex << static_cast<std::uint32_t>(c);
}

}  // namespace
}  // namespace grpo
