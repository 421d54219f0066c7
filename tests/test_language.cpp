// language_consistency, mixes_languages and reflects.
#include <gtest/gtest.h>

#include <string>

#include "grpo/reward.h"

namespace grpo {
namespace {

struct Case {
  std::string text, language;
  std::size_t target, other;
};

class CountsWords : public testing::TestWithParam<Case> {};
TEST_P(CountsWords, by_script) {
  const LanguageCount count = count_language(GetParam().text, GetParam().language);
  EXPECT_EQ(count.target, GetParam().target) << GetParam().text;
  EXPECT_EQ(count.other, GetParam().other) << GetParam().text;
}
INSTANTIATE_TEST_SUITE_P(Latin, CountsWords,
                         testing::Values(Case{"first add the ones", "en", 4, 0},
                                         Case{"Don't, it\u2019s caf\u00E9 na\u00EFve", "en", 4, 0},
                                         Case{"cafe\u0301 au", "fr", 2, 0}, Case{"re-check it", "en", 3, 0},
                                         Case{"add the ones", "ko", 0, 3}, Case{"we rock'", "en", 2, 0},
                                         Case{"we're they\u2019ve", "en", 2, 0}, Case{"na\u00ADive", "en", 1, 0},
                                         Case{"ok", "en-US", 1, 0}));
INSTANTIATE_TEST_SUITE_P(
    Korean, CountsWords,
    testing::Values(Case{"먼저 일의 자리를 더한다", "ko", 4, 0}, Case{"3을 더하면 12가 된다", "ko", 4, 0},
                    Case{"carry를 더한다", "ko", 2, 1}, Case{"carry를 더한다", "en", 1, 2},
                    Case{"\u1112\u1161\u11AB\u1100\u1173\u11AF", "ko", 1, 0},  // 한글 in conjoining Jamo
                    Case{"數를 더한다", "ko", 2, 1}, Case{"그래서 therefore 然后 3+4", "ko", 1, 3}));
INSTANTIATE_TEST_SUITE_P(HanAndKana, CountsWords,
                         testing::Values(Case{"先加个位", "zh", 4, 0}, Case{"先加 carry 位，再加", "zh", 5, 1},
                                         Case{"先に足す", "ja", 4, 0}, Case{"先に足す", "zh", 2, 2},
                                         Case{"カード", "ja", 3, 0}, Case{"人々", "ja", 2, 0},
                                         Case{"\U00020000\U00020001", "zh", 2, 0}, Case{"한글と漢字", "ja", 3, 1}));
INSTANTIATE_TEST_SUITE_P(OtherScripts, CountsWords,
                         testing::Values(Case{"сложим единицы и 3", "ru", 3, 0}, Case{"сложим the единицы", "ru", 2, 1},
                                         Case{"προσθέτουμε τα δύο", "el", 3, 0},
                                         Case{"נחבר את \u05E9\u05C1\u05DC", "he", 3, 0},
                                         Case{"نجمع الآحاد", "ar", 2, 0}, Case{"हम जोड़ते हैं", "hi", 3, 0},
                                         Case{"บวก เลข", "th", 2, 0}, Case{"١٢٣ ৎ", "ar", 0, 1},
                                         Case{"Привет, мир", "en", 0, 2}));
INSTANTIATE_TEST_SUITE_P(
    Neutral, CountsWords,
    testing::Values(Case{"12 + 30 = 42!", "ko", 0, 0}, Case{"x = y, a or b", "ko", 0, 1}, Case{"각 α는", "ko", 2, 0},
                    Case{"더하면 $\\text{sum} = abc$ 이다", "ko", 2, 0}, Case{"더하면 $$abc + def$$ 이다", "ko", 2, 0},
                    Case{"더하면 \\(abc\\) 그리고 \\[def\\] 이다", "ko", 3, 0},
                    Case{"\\frac{1}{2} \\boxed{답}", "ko", 1, 0}, Case{"\\begin{align*}답\\end{align*}", "ko", 1, 0},
                    Case{"\\alphabet는", "ko", 1, 0}, Case{"코드 `return value` 와 ``a b `c d` ef`` 끝", "ko", 3, 0},
                    Case{"코드\n```python\nprint(value)\n\nreturn\n```\n끝", "ko", 2, 0},
                    Case{"보라 https://example.com/some/page?q=word 를", "ko", 2, 0},
                    Case{"www.example.com는", "ko", 1, 0}, Case{"<think>답</think><answer>끝</answer>", "ko", 2, 0},
                    Case{"<thinking>답", "ko", 1, 1}, Case{"\U0001D465 \U0001F600 … — 「」", "ko", 0, 0}));
INSTANTIATE_TEST_SUITE_P(
    NotNeutral, CountsWords,
    testing::Values(Case{"it costs $5 and then $6 more", "en", 5, 0}, Case{"pay $5 now", "en", 2, 0},
                    Case{"$5 and US$6 more", "en", 3, 0}, Case{"pay $5 or 6 $ now", "en", 3, 0},
                    Case{"\\(open and never closed", "en", 4, 0}, Case{"`open and never closed", "en", 4, 0},
                    Case{"```open and never closed", "en", 4, 0}, Case{"$open and\n\nclosed too late$", "en", 5, 0},
                    Case{"`open and\n\nclosed too late`", "en", 5, 0}, Case{"$open \\$ money", "en", 2, 0},
                    Case{"showww.it", "en", 2, 0}, Case{"$$", "en", 0, 0}, Case{"price$ and$", "en", 2, 0}));
INSTANTIATE_TEST_SUITE_P(BrokenUtf8, CountsWords,
                         testing::Values(Case{"ab\xFF\xFE"
                                              "cd",
                                              "en", 2, 0},
                                         Case{"ab\xE4\xB8", "en", 1, 0},
                                         Case{"\xC0\x80\xED\xA0\x80\xF5\x80", "en", 0, 0},
                                         Case{"\xE4\xB8 ok", "en", 1, 0}, Case{"\xE0\x81\xA1\xE0\x81\xA1", "en", 0, 0},
                                         Case{std::string("ok\0ok", 5), "en", 2, 0}, Case{"\\", "en", 0, 0},
                                         Case{"\\\xED\x95\x9C", "ko", 1, 0}, Case{"", "en", 0, 0}));

TEST(Language, never_reads_beyond_the_text) {
  EXPECT_EQ(count_language(std::string_view("\u4E00\u4E8C").substr(0, 5), "zh").target, 1u);  // cut inside the second
}

TEST(Language, consistency_is_the_share_of_target_words) {
  EXPECT_DOUBLE_EQ(language_consistency("carry를 더한다 3", "ko").value(), 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(language_consistency("all English here", "en").value(), 1.0);
  EXPECT_DOUBLE_EQ(language_consistency("all English here", "zh").value(), 0.0);
}

TEST(Language, consistency_is_undefined_without_words_or_language) {
  EXPECT_FALSE(language_consistency("1 + 2 = 3", "en").defined());
  EXPECT_FALSE(language_consistency("", "en").defined());
  EXPECT_FALSE(language_consistency("words", "").defined());
}

TEST(Language, unknown_code_names_the_known_ones) {
  for (const char* bad : {"xx", "english", "e", " ", "en af", "-", "KO"}) {
    try {
      language_consistency("words", bad);
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(" ko"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("\"" + std::string(bad) + "\""), std::string::npos) << error.what();
    }
  }
}

TEST(Language, mixing_needs_words_of_two_scripts) {
  EXPECT_TRUE(mixes_languages("carry를 더한다"));
  EXPECT_TRUE(mixes_languages("add 先"));
  EXPECT_FALSE(mixes_languages("먼저 x 를 $abc$ 더한다 3"));
  EXPECT_FALSE(mixes_languages("先に足す"));  // Japanese is written in both
  EXPECT_FALSE(mixes_languages("1 + 2"));
}

TEST(Reflection, finds_whole_words_in_either_case) {
  for (const char* text :
       {"wait", "Wait, that is wrong", "so … WAIT.", "“wait”", "Hmm", "let me\n check", "Let me check it",
        "I recheck this", "re-check", "Double-check:", "double  check", "3\u20ACwait"})
    EXPECT_TRUE(reflects(text)) << text;
  for (const char* text : {"", "await", "waiting", "waiter", "wait_for", "2wait", "checked", "let me checker",
                           "letme check", "re check", "doublecheck", "let me", "wai", "hm"})
    EXPECT_FALSE(reflects(text)) << text;
}

TEST(Reflection, finds_korean_and_chinese) {
  for (const char* text : {"잠깐, 틀렸다", "잠깐만", "그럼 다시 더하면", "等等，不对", "我检查一下", "待って"})
    EXPECT_TRUE(reflects(text)) << text;
  for (const char* text : {"알다시피 3이다", "더하면", "等于三", "检"}) EXPECT_FALSE(reflects(text)) << text;
}

}  // namespace
}  // namespace grpo
