#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>

#include "error_of.h"
#include "grpo/messages.h"
#include "grpo/tokenizer.h"

namespace grpo {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::string_literals;

std::filesystem::path temporary(const std::string& name) {
  return std::filesystem::path(::testing::TempDir()) / ("grpo_tokenizer_" + std::to_string(::getpid())) / name;
}

std::vector<std::string> documents() {
  std::vector<std::string> result;
  for (int i = 0; i < 200; ++i) {
    const std::string a = std::to_string(i * 37 % 100), b = std::to_string(i * 53 % 100);
    result.push_back("User: What is " + a + "+" + b + "?\nAssistant: <think>" + a + "+" + b +
                     ", write 2 carry 1.</think><answer>" + b + "</answer>");
    result.push_back("User: " + a + "+" + b + "는?\nAssistant: <think>2 쓰고 1 올림. 그래서 " + a + "</think>");
    result.push_back("a mark \u2581 and a mark \u2581 in text\n");
  }
  return result;
}

const Tokenizer& tokenizer(TokenizerAlgorithm algorithm = TokenizerAlgorithm::bpe) {
  const auto make = [](TokenizerAlgorithm which) {
    TokenizerConfig config;
    config.algorithm = which;
    config.vocab_size = 400;
    const auto path = temporary(std::string(enum_name(which)) + ".model");
    Tokenizer::train(documents(), config, path);
    return Tokenizer::load(path);
  };
  static const Tokenizer bpe = make(TokenizerAlgorithm::bpe), unigram = make(TokenizerAlgorithm::unigram);
  return algorithm == TokenizerAlgorithm::bpe ? bpe : unigram;
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

/// The ids of the byte pieces that spell `bytes`.
std::vector<std::int32_t> byte_ids(const std::string& bytes) {
  std::vector<std::int32_t> ids;
  for (const unsigned char byte : bytes) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    for (std::int32_t id = 0; id < tokenizer().vocab_size(); ++id)
      if (tokenizer().piece(id) == name) ids.push_back(id);
  }
  return ids;
}

TEST(Tokenizer, keeps_every_text_byte_for_byte) {
  std::vector<std::string> texts = {"",
                                    " ",
                                    "  ",
                                    "   a  b ",
                                    "\t",
                                    "\n",
                                    "\r\n\r\n",
                                    "a\nb\n",
                                    " \n ",
                                    "47+85=?",
                                    "007",
                                    "한국어 쓰고 1 올림",
                                    "e\u0301 \u1112\u1161\u11ab",
                                    "\U0001F600\U0001F468\u200D\U0001F469",
                                    "\u2581",
                                    "\u2581\u2581 \u2581s",
                                    "\x1a",
                                    "\x1a\x1a",
                                    "\x1as",
                                    "\x1a\u2581\x1as\x1a",
                                    "s\x1a",
                                    "\u2585",
                                    "\u2047",
                                    "\uFEFFbom",
                                    "\uFFFD",
                                    "\0"s,
                                    "a\0b"s,
                                    "\u00A0\u3000",
                                    "<think>",
                                    "a<think>b</think> <answer>\u2581</answer>",
                                    "<think",
                                    "</s>",
                                    "<s>",
                                    "<unk>",
                                    "<pad>",
                                    "<0x41>",
                                    "ﬁ①Å",
                                    "\U0010FFFF",
                                    "\uE000",
                                    "<think><think>",
                                    std::string(3000, 'x'),
                                    std::string(3000, ' ')};
  for (char c = 1; c < 127; ++c) texts.push_back(std::string(1, c) + "a" + c);
  for (const auto algorithm : {TokenizerAlgorithm::bpe, TokenizerAlgorithm::unigram})
    for (const std::string& text : texts) {
      const auto ids = tokenizer(algorithm).encode(text);
      EXPECT_EQ(tokenizer(algorithm).decode(ids), text) << ::testing::PrintToString(text);
      EXPECT_THAT(ids, Each(::testing::Ge(4))) << "special token from " << text;
      EXPECT_GE(ids.size(), tokenizer(algorithm).fewest_tokens(text.size())) << ::testing::PrintToString(text);
    }
}

TEST(Tokenizer, never_has_fewer_tokens_than_it_says_for_the_bytes) {
  for (const auto algorithm : {TokenizerAlgorithm::bpe, TokenizerAlgorithm::unigram}) {
    const Tokenizer& some = tokenizer(algorithm);
    std::size_t longest = 0;
    for (std::int32_t id = 0; id < some.vocab_size(); ++id) {
      const std::string text = some.decode(std::vector<std::int32_t>(100, id));
      EXPECT_GE(some.encode(text).size(), some.fewest_tokens(text.size())) << some.piece(id);
      longest = std::max(longest, some.piece(id).size());
    }
    EXPECT_GE(some.fewest_tokens(1 << 20), (1u << 20) / (2 * longest)) << "and not far fewer";
    EXPECT_EQ(some.fewest_tokens(0), 0u);
  }
}

TEST(Tokenizer, keeps_random_unicode) {
  std::uint64_t state = 7;
  const auto next = [&] { return (state = state * 6364136223846793005ULL + 1442695040888963407ULL) >> 33; };
  const std::vector<std::string> parts = {" ", "\u2581", "\x1a",       "s", "\n",     "\t", "<think>",
                                          "7", "가",     "\U0001F600", "é", "\u0301", "</", "a"};
  for (int i = 0; i < 500; ++i) {
    std::string text;
    for (std::uint64_t n = next() % 12; n > 0; --n) text += parts[next() % parts.size()];
    EXPECT_EQ(tokenizer().decode(tokenizer().encode(text)), text) << ::testing::PrintToString(text);
  }
}

TEST(Tokenizer, invalid_utf8_becomes_replacement_characters) {
  const auto cleaned = [](const std::string& text) { return tokenizer().decode(tokenizer().encode(text)); };
  EXPECT_EQ(cleaned("a\xff"
                    "b"),
            "a\uFFFD"
            "b");
  EXPECT_EQ(cleaned("\xc0\x80"), "\uFFFD\uFFFD") << "overlong";
  EXPECT_EQ(cleaned("\xe0\x80\x80"), "\uFFFD\uFFFD\uFFFD") << "overlong";
  EXPECT_EQ(cleaned("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD") << "surrogate";
  EXPECT_EQ(cleaned("\xf4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD") << "beyond U+10FFFF";
  EXPECT_EQ(cleaned("\xf0\x80\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD") << "overlong";
  EXPECT_EQ(cleaned("\xe2\x96"), "\uFFFD");
  EXPECT_EQ(cleaned("\xe2\x96z"), "\uFFFDz");
  EXPECT_EQ(cleaned("\xe2\xe2\x96\x81"), "\uFFFD\u2581");
  EXPECT_EQ(cleaned("\xf0\x9f\x98"), "\uFFFD");
  for (int lead = 0; lead < 256; ++lead)
    for (int second = 0; second < 256; second += 13) {
      const std::string text{static_cast<char>(lead), static_cast<char>(second), 'x'};
      EXPECT_EQ(cleaned(cleaned(text)), cleaned(text));
      EXPECT_EQ(cleaned(text).back(), 'x');
    }
}

TEST(Tokenizer, symbols_and_digits_and_line_feeds_are_tokens_of_their_own) {
  for (const auto algorithm : {TokenizerAlgorithm::bpe, TokenizerAlgorithm::unigram}) {
    const Tokenizer& t = tokenizer(algorithm);
    for (const std::string symbol : {"<think>", "</think>", "<answer>", "</answer>"}) {
      ASSERT_EQ(t.encode(symbol).size(), 1u);
      EXPECT_EQ(t.piece(t.encode(symbol)[0]), symbol);
    }
    EXPECT_EQ(t.encode("User: 4747\nAssistant: <think>4747").size() - t.encode("User: \nAssistant: <think>").size(),
              8u);
    for (std::int32_t id = 0; id < t.vocab_size(); ++id) {
      const std::string text = t.decode(std::vector{id});
      const auto digits = std::count_if(text.begin(), text.end(), [](unsigned char c) { return c >= '0' && c <= '9'; });
      EXPECT_TRUE(digits == 0 || text.size() <= 2) << t.piece(id);
      EXPECT_TRUE(text == "\n" || text.find('\n') == std::string::npos) << t.piece(id);
    }
  }
}

TEST(Tokenizer, escape_is_in_the_training_text_too) {
  EXPECT_LE(tokenizer().encode("mark \u2581 and").size(),
            tokenizer().encode("mark ").size() + tokenizer().encode(" and").size() + 2);
}

TEST(Tokenizer, special_tokens_are_distinct_and_decode_to_nothing) {
  const Tokenizer& t = tokenizer();
  EXPECT_EQ((std::vector{t.bos(), t.eos(), t.pad()}), (std::vector<std::int32_t>{1, 2, 3}));
  std::vector<std::int32_t> ids = t.encode("a b");
  ids.insert(ids.begin(), t.bos());
  ids.push_back(t.eos());
  ids.push_back(t.pad());
  EXPECT_EQ(t.decode(ids), "a b");
  EXPECT_EQ(t.decode(std::vector<std::int32_t>{0}), "\uFFFD") << "unk";
  EXPECT_EQ(t.decode({}), "");
}

TEST(Tokenizer, refuses_ids_out_of_range) {
  const Tokenizer& t = tokenizer();
  for (const std::int32_t id : {-1, t.vocab_size(), std::numeric_limits<std::int32_t>::max()}) {
    EXPECT_THAT(error_of([&] { t.decode(std::vector{id}); }), HasSubstr("got " + std::to_string(id)));
    EXPECT_THROW(t.piece(id), Error);
  }
  EXPECT_NO_THROW(t.piece(t.vocab_size() - 1));
}

TEST(Tokenizer, training_is_deterministic_and_serialises) {
  TokenizerConfig config;
  config.vocab_size = 350;
  Tokenizer::train(documents(), config, temporary("one.model"));
  Tokenizer::train(documents(), config, temporary("deep/er/two.model"));
  EXPECT_EQ(bytes_of(temporary("one.model")), bytes_of(temporary("deep/er/two.model")));
  const Tokenizer loaded = Tokenizer::load(temporary("one.model"));
  EXPECT_EQ(loaded.vocab_size(), 350);
  EXPECT_EQ(loaded.serialized(), bytes_of(temporary("one.model")));
  EXPECT_EQ(Tokenizer::from_serialized(loaded.serialized(), "checkpoint").encode("User: 12"),
            loaded.encode("User: 12"));
}

TEST(Tokenizer, bad_model_files_are_named) {
  const auto path = temporary("bad.model");
  EXPECT_THAT(error_of([&] { Tokenizer::load(path); }), HasSubstr(path.string()));
  EXPECT_THAT(error_of([&] { Tokenizer::load(path.parent_path()); }), HasSubstr(path.parent_path().string()));
  const std::string good = tokenizer().serialized();
  for (const std::string& bad : {""s, "nonsense"s, std::string(100, '\0'), good.substr(0, good.size() / 2)}) {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bad;
    EXPECT_THAT(error_of([&] { Tokenizer::load(path); }), HasSubstr(path.string())) << bad.size() << " bytes";
  }
}

TEST(Tokenizer, refuses_a_model_with_a_table_of_normalizations) {
  // What sentencepiece would look up in it, it would look up out of bounds: a number of bytes, then that many.
  const std::string table = "\x20\0\0\0"s + std::string(32, '\xfe') + "abc"s;
  const auto field = [](int number, const std::string& content) {
    return static_cast<char>(number << 3 | 2) + (static_cast<char>(content.size()) + content);
  };
  const std::string good = tokenizer().serialized();
  for (const int spec : {3, 5})
    for (const std::string& bad : {good + field(spec, field(2, table)), field(spec, field(2, table)) + good,
                                   good + "\x93\x01\x94\x01"s + field(spec, field(1, "nmt") + field(2, table))})
      EXPECT_THAT(error_of([&] { Tokenizer::from_serialized(bad, "FILE"); }),
                  AllOf(HasSubstr("FILE"), HasSubstr("table of normalizations")));
}

TEST(Tokenizer, a_damaged_model_is_an_error_or_another_tokenizer) {
  const std::string good = tokenizer(TokenizerAlgorithm::unigram).serialized();
  for (std::size_t size = 0; size < good.size(); size += 7) {
    try {
      (void)Tokenizer::from_serialized(good.substr(0, size), "FILE");
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("FILE"));
    }
  }
}

TEST(Tokenizer, training_says_what_is_wrong) {
  TokenizerConfig config;
  const auto path = temporary("never.model");
  EXPECT_THAT(error_of([&] { Tokenizer::train({}, config, path); }), HasSubstr("got no text"));
  EXPECT_THAT(error_of([&] { Tokenizer::train({"", "\n"}, config, path); }), HasSubstr("got no text"));
  config.vocab_size = 100;
  EXPECT_THAT(error_of([&] { Tokenizer::train({"some text"}, config, path); }), HasSubstr("100"));
  for (const int size : {0, 3, 264}) {
    config.vocab_size = size;
    EXPECT_THAT(error_of([&] { Tokenizer::train({"some text"}, config, path); }),
                HasSubstr("tokenizer.vocab_size: expected "));
  }
  config.vocab_size = 266;  // room for the bytes and symbols alone
  EXPECT_THAT(error_of([&] { Tokenizer::train({"some text"}, config, path); }),
              HasSubstr("vocab_size: expected at least 27"));
  config = {};
  config.symbols = {"a,b"};
  EXPECT_THAT(error_of([&] { Tokenizer::train({"some text"}, config, path); }), HasSubstr("a,b"));
  EXPECT_FALSE(std::filesystem::exists(path));
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << "no model";
  EXPECT_THAT(error_of([&] { Tokenizer::load(path); }), AllOf(HasSubstr("got a corrupt one"), Not(HasSubstr(".cc"))));
  std::filesystem::remove(path);
  EXPECT_THAT(error_of([&] { Tokenizer::load(path); }), HasSubstr("got no such file"));
  std::filesystem::create_directory(path);
  EXPECT_THAT(error_of([&] { Tokenizer::load(path); }), HasSubstr("got a folder with neither"));
  std::filesystem::remove(path);
}

TEST(Tokenizer, little_text_gives_a_smaller_vocabulary) {
  for (const auto algorithm : {TokenizerAlgorithm::bpe, TokenizerAlgorithm::unigram}) {
    TokenizerConfig config;
    config.algorithm = algorithm;
    config.vocab_size = 5000;
    Tokenizer::train({"abc abc", "\xff\0 bad"s}, config, temporary("small.model"));
    const Tokenizer small = Tokenizer::load(temporary("small.model"));
    EXPECT_LT(small.vocab_size(), 300);
    EXPECT_EQ(small.decode(small.encode("zebra \u2581 한")), "zebra \u2581 한");
  }
}

TEST(TextStream, equals_decode_after_every_token) {
  const Tokenizer& t = tokenizer();
  std::vector<std::int32_t> ids = t.encode("쓰고 \U0001F600 \u2581 \x1a\x1as <think>x</think> 뷁\u2581");
  const auto junk = byte_ids("\xf0\x9f\x98 \xe2\x96\x81\xe2\x1a");
  ids.insert(ids.end(), junk.begin(), junk.end());
  ids.push_back(t.eos());
  TextStream stream(t);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    stream.push(ids[i]);
    EXPECT_EQ(stream.text(), t.decode(std::span(ids).first(i + 1)));
  }
  EXPECT_THROW(stream.push(-1), Error);
}

TEST(TextStream, shows_unfinished_characters_until_they_are_whole) {
  TextStream stream(tokenizer());
  std::vector<std::string> seen;
  for (const std::int32_t id : byte_ids("a\xea\xb0\x80"
                                        "b\xea\xb0")) {
    stream.push(id);
    seen.push_back(stream.text());
  }
  EXPECT_THAT(seen, ::testing::ElementsAre("a", "a\uFFFD", "a\uFFFD", "a가", "a가b", "a가b\uFFFD", "a가b\uFFFD"));
  stream.push(byte_ids("c")[0]);
  EXPECT_EQ(stream.text(), "a가b\uFFFDc");
}

TEST(TextStream, escapes_resolve_across_tokens) {
  const auto text_of = [](const std::string& bytes) { return tokenizer().decode(byte_ids(bytes)); };
  EXPECT_EQ(text_of("\x1as"), "\u2581");
  EXPECT_EQ(text_of("\x1a"), "\x1a") << "an escape that never ends stands for itself";
  EXPECT_EQ(text_of("\x1ax"), "\x1ax");
  EXPECT_EQ(text_of("\x1a\x1as"), "\x1as");
  EXPECT_EQ(text_of("\x1a\xff"), "\x1a\uFFFD");
  EXPECT_EQ(text_of("\xe2\x96\x81"), "\u2581");
  EXPECT_EQ(text_of("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD") << "a surrogate drawn in bytes";
  EXPECT_EQ(text_of("\xf4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(text_of("\xe0\x80\x80"), "\uFFFD\uFFFD\uFFFD") << "overlong";
}

TEST(TextStream, is_linear_in_the_number_of_tokens) {
  TextStream stream(tokenizer());
  const auto id = byte_ids("\xe2")[0];
  for (int i = 0; i < 200'000; ++i) stream.push(id);
  EXPECT_EQ(stream.text().size(), 600'000u);
}

TEST(ChatTemplate, fills_in_prompt_and_language_once) {
  const Task task{"id", "1+1 {language} {prompt}", "2", "", "ko"};
  EXPECT_EQ(ChatTemplate{}.render(task), "User: 1+1 {language} {prompt}\nAssistant: ");
  EXPECT_EQ((ChatTemplate{"[{language}] {prompt}|{prompt} {x"}.render(task)),
            "[ko] 1+1 {language} {prompt}|1+1 {language} {prompt} {x");
  EXPECT_THAT(error_of([&] { ChatTemplate{"no place"}.render(task); }), HasSubstr("{prompt}"));
  EXPECT_THROW(parse_config<ChatTemplate>({"--text=nothing"}), Error);
}

TEST(ChatTemplate, without_a_text_is_the_models_own) {
  const Task task{"", "1+1", "", "", "en"};
  EXPECT_THAT(error_of([&] { ChatTemplate{""}.render(task); }), HasSubstr("model folder"));
  const auto own = [](const char* text) { return std::make_shared<MessageTemplate>(text); };
  EXPECT_EQ((ChatTemplate{"", own("<{{ messages[0].role }}>{{ messages[0].content }}")}.render(task)), "<user>1+1");
  EXPECT_EQ((ChatTemplate{"Q: {prompt}", own("x")}.render(task)), "Q: 1+1");
  EXPECT_TRUE((ChatTemplate{"", own("{{ messages[0].content }}<think>\n")}.opens_think()));
  EXPECT_FALSE((ChatTemplate{"", own("{{ messages[0].content }}")}.opens_think()));
}

TEST(ChatTemplate, has_a_system_prompt_and_opens_the_reasoning) {
  Task task{"", "1+1", "", "", "en"};
  const auto own = [](const std::string& text) { return std::make_shared<MessageTemplate>(text); };
  const std::string turns = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";
  ChatTemplate chat{"", own(turns), "Think.", true};
  EXPECT_EQ(chat.render(task), "<system>Think.<user>1+1<think>");
  EXPECT_TRUE(chat.opens_think());
  task.messages = {{"user", "1+1"}, {"assistant", "2"}, {"user", "and 1?"}};
  EXPECT_EQ(chat.render(task), "<system>Think.<user>1+1<assistant>2<user>and 1?<think>");
  task.messages.insert(task.messages.begin(), {"system", "Own."});
  EXPECT_EQ(chat.render(task), "<system>Own.<user>1+1<assistant>2<user>and 1?<think>") << "a task's own stays";

  // A template that opens it itself, and one that knows no system prompt.
  task.messages.clear();
  EXPECT_EQ((ChatTemplate{"", own("{{ messages[0].content }}<think>\n"), "", true}.render(task)), "1+1<think>");
  const std::string strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}";
  EXPECT_EQ((ChatTemplate{"", own(strict + turns), "Think.", false}.render(task)), "<user>Think.\n\n1+1");
  EXPECT_THAT(error_of([&] { ChatTemplate{"", own("{{ raise_exception('never') }}"), "Think."}.render(task); }),
              HasSubstr("never"));

  // A text has the user's one turn alone.
  EXPECT_EQ((ChatTemplate{"{system}|{prompt}|", nullptr, "S {prompt}", true}.render(task)), "S {prompt}|1+1|<think>");
  task.messages = {{"system", "Own."}, {"user", "1+1"}};
  EXPECT_THAT(error_of([&] { ChatTemplate{}.render(task); }), HasSubstr("expected one turn, the user's"));
  EXPECT_THAT(error_of([&] { parse_config<ChatTemplate>({"--system=Think."}); }), HasSubstr("with {system}"));
  for (const std::string_view each : {kFormSystem, kFormText})
    for (const char* tag : {"<think>", "</think>", "<answer>", "</answer>"})
      EXPECT_NE(each.find(tag), std::string_view::npos);
  EXPECT_NE(kFormText.find("{prompt}"), std::string_view::npos);
}

TEST(ChatTemplate, knows_whether_it_opens_the_reasoning) {
  EXPECT_FALSE(ChatTemplate{}.opens_think());
  EXPECT_TRUE(ChatTemplate{"{prompt}<think>"}.opens_think());
  EXPECT_TRUE(ChatTemplate{"{prompt}<think>\n"}.opens_think());
  EXPECT_FALSE(ChatTemplate{"<think>{prompt}"}.opens_think());
  EXPECT_FALSE(ChatTemplate{"{prompt}</think>"}.opens_think());
  EXPECT_FALSE(ChatTemplate{""}.opens_think());
}

}  // namespace
}  // namespace grpo
