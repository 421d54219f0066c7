// language_consistency, mixes_languages, identify_language and reflects.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "costs.h"
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

// ---- Languages that share a script ----

struct Sentence {
  std::string language, text;
};
// A step of a reasoning in many languages, with what reasonings have in them.
const std::vector<Sentence>& sentences() {
  static const std::vector<Sentence> all{
      {"en", "First we add the two numbers and then we divide the result by three."},
      {"fr", "D'abord on additionne les deux nombres, puis on divise le résultat par trois."},
      {"de", "Zuerst addieren wir die beiden Zahlen und dann teilen wir das Ergebnis durch drei."},
      {"es", "Primero sumamos los dos números y luego dividimos el resultado entre tres."},
      {"it", "Prima sommiamo i due numeri e poi dividiamo il risultato per tre."},
      {"pt", "Primeiro somamos os dois números e depois dividimos o resultado por três."},
      {"nl", "Eerst tellen we de twee getallen op en daarna delen we de uitkomst door drie."},
      {"pl", "Najpierw dodajemy obie liczby, a potem dzielimy wynik przez trzy."},
      {"ro", "Mai întâi adunăm cele două numere și apoi împărțim rezultatul la trei."},
      {"cs", "Nejprve sečteme obě čísla a potom výsledek vydělíme třemi."},
      {"sv", "Först lägger vi ihop de två talen och sedan delar vi resultatet med tre."},
      {"fi", "Ensin laskemme yhteen kaksi lukua ja sitten jaamme tuloksen kolmella."},
      {"hu", "Először összeadjuk a két számot, aztán az eredményt elosztjuk hárommal."},
      {"tr", "Önce iki sayıyı toplarız ve sonra sonucu üçe böleriz."},
      {"vi", "Trước hết ta cộng hai số lại rồi chia kết quả cho ba."},
      {"id", "Pertama kita jumlahkan kedua bilangan itu lalu kita bagi hasilnya dengan tiga."},
      {"ru", "Сначала мы складываем два числа, а потом делим результат на три."},
      {"uk", "Спочатку ми додаємо два числа, а потім ділимо результат на три."},
      {"bg", "Първо събираме двете числа и след това делим резултата на три."},
      {"ar", "أولا نجمع العددين ثم نقسم الناتج على ثلاثة."},
      {"fa",
       "ابتدا دو عدد را با هم جمع می‌کنیم و سپس حاصل را بر سه تقسیم "
       "می‌کنیم."},
      {"ur", "پہلے ہم دونوں اعداد کو جمع کرتے ہیں اور پھر نتیجے کو تین سے تقسیم کرتے ہیں۔"},
      {"hi", "पहले हम दोनों संख्याओं को जोड़ते हैं और फिर परिणाम को तीन से भाग देते हैं।"},
      {"mr", "आधी आपण दोन्ही संख्यांची बेरीज करतो आणि मग उत्तराला तीनने भागतो."},
      {"el", "Πρώτα προσθέτουμε τους δύο αριθμούς και μετά διαιρούμε το αποτέλεσμα με το τρία."},
      {"he", "קודם מחברים את שני המספרים ואז מחלקים את התוצאה בשלוש."},
      {"th", "ก่อนอื่นเราบวกเลขสองจำนวนแล้วหารผลลัพธ์ด้วยสาม"},
      {"bn", "প্রথমে আমরা দুটি সংখ্যা যোগ করি এবং তারপর ফলাফলকে তিন দিয়ে ভাগ করি।"},
      {"ta", "முதலில் இரண்டு எண்களையும் கூட்டுகிறோம்."},
      {"ko", "먼저 두 수를 더한 다음 결과를 셋으로 나눕니다."},
      {"zh", "首先把两个数相加，然后把结果除以三。"},
      {"ja", "まず二つの数を足して、それから結果を三で割ります。"},
  };
  return all;
}

std::string text_of(const std::string& language) {
  return std::find_if(sentences().begin(), sentences().end(), [&](const Sentence& s) { return s.language == language; })
      ->text;
}

const std::string kEnglish =
    "Let me think about this problem step by step. We are told that the train leaves the station at nine. "
    "It travels for two hours before it stops, so we know how far it has gone. ";

TEST(SharedScript, sentences_are_identified) {
  for (const auto& [language, text] : sentences()) EXPECT_EQ(identify_language(text), language) << text;
}

TEST(SharedScript, two_sentences_are_in_their_own_language_and_in_no_other) {  // one may do for a close relative, too
  for (const auto& [language, sentence] : sentences()) {
    EXPECT_EQ(count_language(sentence, language).other, 0u) << sentence;
    const std::string text = sentence + " " + sentence;
    for (const auto& [target, ignored] : sentences()) {
      if (target == language) continue;
      const LanguageCount count = count_language(text, target);
      EXPECT_LE(count.target, 2u) << text << " as " << target;  // a word at the edge may be anyone's
    }
  }
}

TEST(SharedScript, a_foreign_sentence_counts_wherever_it_stands) {
  for (const char* language :
       {"fr", "de", "es", "it", "pt", "nl", "pl", "ro", "cs", "sv", "fi", "hu", "tr", "vi", "id"}) {
    const std::string foreign = text_of(language) + " ";
    const std::size_t words = count_language(foreign, language).target, english = count_language(kEnglish, "en").target;
    for (const std::string& text : {foreign + kEnglish, kEnglish + foreign, kEnglish + foreign + kEnglish}) {
      const LanguageCount count = count_language(text, "en");
      EXPECT_EQ(count.target + count.other, words + english * (text.size() > kEnglish.size() + foreign.size() ? 2 : 1));
      EXPECT_NEAR(static_cast<double>(count.other), static_cast<double>(words), 2) << text;
    }
  }
}

TEST(SharedScript, chopping_hides_nothing) {
  for (const char* language : {"fr", "de", "es", "id"}) {
    const std::string whole = text_of(language) + " " + text_of(language);
    const LanguageCount expected = count_language(whole, "en");
    for (const std::string between : {"\n", ".\n\n", ". ", " $x$ ", " `a` ", " 12 ", "_", ".", ":", "1", " 한글 "}) {
      std::string chopped;
      for (const char c : whole) chopped += c == ' ' ? between : std::string(1, c);
      LanguageCount count = count_language(chopped, "en");
      if (between == " 한글 ") count.other -= static_cast<std::size_t>(std::count(whole.begin(), whole.end(), ' '));
      EXPECT_EQ(count.other, expected.other) << chopped;
      EXPECT_EQ(count.target, expected.target) << chopped;
    }
    std::string shouted = whole;
    for (char& c : shouted) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
    EXPECT_GT(count_language(shouted, "en").other, expected.other * 3 / 4) << shouted;
  }
}

TEST(SharedScript, names_and_borrowed_words_do_not_count_against_a_text) {
  for (const char* text :
       {"María José and Jean-Luc share 12 apples with Søren Kierkegaard in São Paulo.",
        "The Bolzano-Weierstrass theorem and the Cauchy-Schwarz inequality give us the bound.",
        "By Fermat's little theorem, a^(p-1) = 1 mod p, q.e.d. The proof is a reductio ad absurdum.",
        "The café serves crème brûlée; the déjà vu is an ersatz Gedankenexperiment.",
        "We call malloc, memcpy and printf; stdin, stdout and argv are given.",
        "NASA, UNESCO and the IMF, e.g. in the U.S.", "Wei Zhang, Nguyen Van An and Aleksandr Petrov each get 3 coins.",
        "sin(x) cos(x) tan(x) log(x) exp(x) mod lcm gcd max min arg", "lorem ipsum", "OK", "Hmm, wait."})
    EXPECT_EQ(count_language(text, "en").other, 0u) << text;
}

TEST(SharedScript, close_relatives_of_a_language_do_not_count_against_a_text) {
  for (const auto& [language, text] : sentences()) {
    std::string three;
    for (int i = 0; i < 3; ++i) three += text + "\n";
    EXPECT_EQ(count_language(three, language).other, 0u) << text;
    EXPECT_FALSE(mixes_languages(three)) << text;
  }
}

TEST(SharedScript, a_language_without_a_model_goes_by_its_script) {
  EXPECT_EQ(count_language(text_of("en"), "gl").other, 0u);
  EXPECT_EQ(count_language(text_of("id"), "ms").other, 0u);
  EXPECT_GT(count_language(text_of("en"), "ms").other, 10u);
}

TEST(SharedScript, chinese_and_japanese_are_told_by_kana) {
  std::string chinese;
  for (int i = 0; i < 5; ++i) chinese += text_of("zh");
  EXPECT_EQ(count_language(chinese, "ja").target, 0u);
  EXPECT_EQ(count_language(text_of("ja"), "zh").target, 0u);
  EXPECT_EQ(count_language(text_of("ja"), "ja").other, 0u);
}

TEST(SharedScript, mixing_needs_more_than_a_clause) {
  EXPECT_TRUE(mixes_languages(kEnglish + text_of("fr") + " " + text_of("fr")));
  EXPECT_TRUE(mixes_languages(kEnglish + text_of("de") + " " + text_of("de") + kEnglish));
  EXPECT_FALSE(mixes_languages(kEnglish + kEnglish));
  EXPECT_FALSE(mixes_languages(kEnglish + "C'est la vie, as they say."));
}

TEST(Identify, is_unsure_without_enough_to_go_by) {
  for (const char* text : {"", "42", "$abc$", "x", "Maria", "\xFF\xFE"}) EXPECT_EQ(identify_language(text), "") << text;
}

TEST(Identify, counts_thai_which_has_no_spaces_by_its_letters) {
  EXPECT_EQ(identify_language("ไม่สามารถลบ ความสัมพันธ์แบบ many-to-many"), "th");
  EXPECT_EQ(identify_language("Relations of this kind are called many-to-many: ความสัมพันธ์"), "en");
}

TEST(Identify, knows_what_it_can_tell) {
  for (const char* language : {"en", "mr", "th", "ja"}) EXPECT_TRUE(can_identify(language)) << language;
  for (const char* language : {"ne", "gl", "ms", "xx", "", "e"}) EXPECT_FALSE(can_identify(language)) << language;
}

TEST(Identify, reads_decomposed_letters_too) {
  EXPECT_EQ(
      identify_language("Tru\u031Bo\u031B\u0301c he\u0302\u0301t ta co\u0323\u0302ng hai so\u0302\u0301 la\u0323i"),
      "vi");
}

// ---- Chinese in Latin letters ----

const std::vector<std::string> kPinyin = {
    "women xian ba geweishu jia qilai, ranhou zai jia shiweishu.",
    "Shouxian women xuyao kaolv zhege wenti de tiaojian shi shenme.",
    "yinwei san jia si dengyu qi, suoyi da'an shi qi.",
    "wo men xian suan chu zong shu, ran hou chu yi san.",
    "xiaoming you san ge pingguo, ta gei le xiaohong yi ge, hai sheng liang ge.",
    "Wǒmen xiān bǎ gèwèishù jiā qǐlái, ránhòu zài jiā shíwèishù.",
};

TEST(Pinyin, is_no_english) {
  for (const std::string& text : kPinyin)
    for (const char* target : {"en", "fr", "de", "id", "vi"}) {
      const LanguageCount count = count_language(text, target);
      EXPECT_LE(count.target, 1u) << text << " as " << target;  // a word at the edge may be anyone's
      EXPECT_GE(count.other, 8u) << text << " as " << target;
    }
}

TEST(Pinyin, counts_wherever_it_stands_in_a_trace) {
  const std::size_t english = count_language(kEnglish, "en").target;
  for (const std::string& text : kPinyin) {
    const LanguageCount alone = count_language(text, "en");
    for (const std::string& whole : {text + " " + kEnglish, kEnglish + text, kEnglish + text + " " + kEnglish}) {
      const LanguageCount count = count_language(whole, "en");
      EXPECT_NEAR(static_cast<double>(count.other), static_cast<double>(alone.target + alone.other), 2) << whole;
      EXPECT_GE(count.target + 2, english) << whole;
    }
    EXPECT_TRUE(mixes_languages(kEnglish + text + " " + text)) << text;
    EXPECT_FALSE(mixes_languages(text)) << text;
  }
}

TEST(Pinyin, is_not_seen_in_english_names_nor_in_words_that_it_could_spell) {
  for (const char* text :
       {"Wang Xiaoming and Li Hua went from Beijing to Shanghai with Zhang Wei.",
        "He can take the same line and change the name, so we made a nine.",
        "Since we can use the same rule, the name can change here and the time can be the same.",
        "Hong Kong, Nanjing, Guangzhou, Shenzhen and Chengdu are large cities.",
        "Take nine, make a line, name a game, and change the rule.", "Sun Tzu and Lao Tse, Mao and Deng.",
        "We can run a long line to the pan and sing a song to men."})
    EXPECT_EQ(count_language(text, "en").other, 0u) << text;
  for (const auto& [language, text] : sentences()) EXPECT_EQ(count_language(text, language).other, 0u) << text;
}

// ---- Names in another script ----

TEST(ForeignName, in_a_sentence_counts_for_neither) {
  for (const Case& each :
       {Case{"Then 王小明 gives three of the apples to his oldest friend.", "en", 10, 0},
        Case{"The number of students in 北京大学 is twice the number that we found before.", "en", 13, 0},
        Case{"We are told that Лев Толстой wrote the longer of the two books.", "en", 11, 0},
        Case{"Since 김철수 has seven more coins than his sister, he has twelve.", "en", 11, 0},
        Case{"먼저 학생 수를 모두 더한 다음 Cauchy 부등식을 써서 답을 구한다", "ko", 10, 0},
        Case{"因为这两个数的和等于十二，所以由 Cauchy 不等式可以得到这个结论", "zh", 26, 0}}) {
    const LanguageCount count = count_language(each.text, each.language);
    EXPECT_EQ(count.target, each.target) << each.text;
    EXPECT_EQ(count.other, 0u) << each.text;
    EXPECT_FALSE(mixes_languages(each.text)) << each.text;
  }
}

TEST(ForeignName, is_no_word_of_a_mixed_trace) {
  for (const Case& each :
       {Case{"we have 所以 the answer 是 5", "en", 4, 3},
        Case{"so now we know that the answer of this question 是 5", "en", 10, 1},
        Case{"we 先 add the two numbers of the first row and 再 divide the sum by three", "en", 15, 2},
        Case{"the 苹果 cost three coins each and the 香蕉 cost four coins each today", "en", 12, 4},
        Case{"add 先", "en", 1, 1}, Case{"we add the 苹果 now", "en", 4, 2},
        Case{"the train leaves at nine and travels for two hours 火车九点出发了", "en", 10, 7},
        Case{"먼저 carry 를 더한다", "ko", 3, 1}}) {
    const LanguageCount count = count_language(each.text, each.language);
    EXPECT_EQ(count.target, each.target) << each.text;
    EXPECT_EQ(count.other, each.other) << each.text;
    EXPECT_TRUE(mixes_languages(each.text)) << each.text;
  }
}

TEST(ForeignName, is_forgiven_once_a_text_and_once_more_for_forty_words) {
  const std::string sentence = "Then 王小明 gives three of the apples to his oldest friend. ";  // of 10 words
  std::string text;
  for (std::size_t n = 1; n <= 40; ++n) {
    text += sentence;
    const LanguageCount count = count_language(text, "en");
    EXPECT_EQ(count.target, 10 * n);
    EXPECT_EQ(count.other, 3 * (n - std::min(n, 1 + 10 * n / 40))) << n;
  }
  EXPECT_LT(language_consistency(text, "en").value(), 0.83) << "who mixes at every sentence is seen";
  EXPECT_TRUE(mixes_languages(text));
  // The longest are forgiven, wherever they stand.
  const std::string one = "Then 李 gives three of the apples to his oldest friend. ";
  EXPECT_EQ(count_language(sentence + one, "en").other, 1u);
  EXPECT_EQ(count_language(one + sentence, "en").other, 1u);
}

// ---- Properties ----

std::vector<std::string> english_sentences() {
  return {"First we add the two numbers and then we divide the result by three.",
          "The train leaves the station at nine and travels for two hours.",
          "Since the triangle is isosceles, both of these angles must be equal.",
          "We should check whether this assumption holds for all values."};
}

TEST(Property, neutral_spans_between_words_change_nothing) {
  std::mt19937 random(1);
  const std::vector<std::string> neutral{"$\\frac{a}{b}$",
                                         "\\(le chat\\)",
                                         "\\[\\text{und}\\]",
                                         "\\alpha",
                                         "`der Hund`",
                                         "```\nle chat\n```",
                                         "https://example.fr/le/chat",
                                         "3.14",
                                         "1,000",
                                         "<think>",
                                         "= + -"};
  for (const auto& [language, foreign] : sentences()) {
    const std::string text = kEnglish + foreign + " " + kEnglish;
    const LanguageCount expected = count_language(text, "en");
    for (int trial = 0; trial < 10; ++trial) {
      std::string mixed;
      for (const char c : text) {
        mixed += c;
        if (c == ' ' && random() % 4 == 0) mixed += neutral[random() % neutral.size()] + " ";
      }
      const LanguageCount count = count_language(mixed, "en");
      EXPECT_EQ(count.target, expected.target) << mixed;
      EXPECT_EQ(count.other, expected.other) << mixed;
    }
  }
}

TEST(Property, neither_order_nor_concatenation_of_clear_sentences_matters) {
  std::mt19937 random(1);
  std::vector<std::string> parts = english_sentences();
  for (const char* language : {"fr", "de", "ru", "ko", "zh"}) parts.push_back(text_of(language));
  LanguageCount sum;
  for (const std::string& part : parts) {
    const LanguageCount count = count_language(part, "en");
    sum.target += count.target, sum.other += count.other;
  }
  for (int trial = 0; trial < 50; ++trial) {
    std::shuffle(parts.begin(), parts.end(), random);
    std::string text;
    for (const std::string& part : parts) text += part + " ";
    const LanguageCount count = count_language(text, "en");
    EXPECT_EQ(count.target, sum.target) << text;
    EXPECT_EQ(count.other, sum.other) << text;
  }
}

TEST(Property, hostile_text_takes_linear_time) {
  const auto repeat = [](std::string_view what) {
    std::string text;
    while (text.size() < (1 << 20)) text += what;
    return text;
  };
  for (const std::string& text :
       {"a" + repeat("\u0301"), repeat("a\u0301"), repeat("\xFF"), repeat("\xE4\xB8"), "$" + repeat("a $"),
        "```" + repeat("a `"), repeat("a:\u0301"), repeat("a'"), "a:" + repeat("\u00AD"), repeat("\U0001F1E6"),
        repeat("\u200D"), repeat("abc"), repeat("\u05D0\""), repeat("le the "), repeat("\u0E01"), repeat("\u30AB"),
        repeat("\u4E00"), repeat("a_1.b")}) {
    const auto begin = std::chrono::steady_clock::now();
    for (const char* language : {"en", "zh", "ja", "hi"}) count_language(text, language);
    mixes_languages(text);
    identify_language(text);
    EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), kSlower * 3)
        << text.substr(0, 20);
  }
}

TEST(Property, ten_thousand_texts_are_counted_quickly) {
  std::string text;
  while (text.size() < 4500) text += kEnglish + text_of("fr") + " ";  // about 1,000 tokens
  count_language(text, "en");
  const auto begin = std::chrono::steady_clock::now();
  constexpr int kTexts = 500;
  for (int i = 0; i < kTexts; ++i) count_language(text, "en");
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const double speed = static_cast<double>(kTexts * text.size()) / seconds / 1e6;
  RecordProperty("MB_per_s", std::to_string(speed));
  std::printf("%.1f MB/s: 10,000 texts of 4.5 kB in %.2f s\n", speed, seconds * 10000 / kTexts);
  EXPECT_GT(speed, 0.2);  // under sanitizers on a busy machine; a hundred times that otherwise
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
