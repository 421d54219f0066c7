// A tokenizer.json gives the ids that the `tokenizers` package gives, and a bad one says what is wrong with it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "error_of.h"
#include "files.h"
#include "grpo/tokenizer.h"
#include "text/utf8.h"

namespace grpo {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ids = std::vector<std::int32_t>;
using Json = nlohmann::json;

const std::filesystem::path kFamilies = std::filesystem::path(GRPO_FIXTURES) / "tokenizers";

Json json_in(const std::filesystem::path& path) { return Json::parse(read_file(path)); }

void write(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// ---- The families of models, beside what the reference makes of them (scripts/make_tokenizer_fixtures.py) ----

class Family : public ::testing::TestWithParam<const char*> {
 protected:
  const std::filesystem::path folder_ = kFamilies / GetParam();
  const Tokenizer tokenizer_ = Tokenizer::load(folder_);
  const std::vector<std::string> texts_ = json_in(kFamilies / "texts.json");
  const Json expected_ = json_in(folder_ / "expected.json");
};

TEST_P(Family, encodes_as_the_reference_does) {
  ASSERT_EQ(texts_.size(), expected_["ids"].size());
  for (std::size_t i = 0; i < texts_.size(); ++i)
    EXPECT_EQ(tokenizer_.encode(texts_[i]), expected_["ids"][i].get<Ids>()) << ::testing::PrintToString(texts_[i]);
}

TEST_P(Family, decodes_as_the_reference_does) {
  std::vector<std::string> decoded = texts_;
  for (const Json& differing : expected_["decoded"]) decoded[differing[0].get<std::size_t>()] = differing[1];
  for (std::size_t i = 0; i < texts_.size(); ++i)
    EXPECT_EQ(tokenizer_.decode(expected_["ids"][i].get<Ids>()), decoded[i]);
  for (const Json& drawn : expected_["drawn"])
    EXPECT_EQ(tokenizer_.decode(drawn[0].get<Ids>()), drawn[1].get<std::string>()) << drawn[0];
}

TEST_P(Family, streams_what_it_decodes) {
  std::vector<Ids> lists;
  for (const Json& drawn : expected_["drawn"]) lists.push_back(drawn[0]);
  for (const Json& ids : expected_["ids"]) lists.push_back(ids);
  for (const Ids& ids : lists) {
    TextStream stream(tokenizer_);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      stream.push(ids[i]);
      ASSERT_EQ(stream.text(), tokenizer_.decode(std::span(ids).first(i + 1)));
      std::string storage;
      ASSERT_EQ(valid_utf8(stream.text(), storage).data(), stream.text().data());
    }
  }
}

TEST_P(Family, survives_serialisation) {
  EXPECT_EQ(tokenizer_.serialized(), read_file(folder_ / "tokenizer.json"));
  const Tokenizer again = Tokenizer::from_serialized(tokenizer_.serialized(), "checkpoint");
  for (const std::string& text : texts_) EXPECT_EQ(again.encode(text), tokenizer_.encode(text));
}

TEST_P(Family, takes_long_stretches_of_anything) {
  for (const std::string part : {"a", " ", "\n", "\u0301", "<", "1", "한", " \n", "ab", "\u00a0", "!"}) {
    std::string text;
    while (text.size() < 100'000) text += part;
    const Ids ids = tokenizer_.encode(text);
    EXPECT_LE(ids.size(), text.size() + 2) << part;
    (void)tokenizer_.decode(ids);
  }
}

TEST_P(Family, never_has_fewer_tokens_than_it_says_for_the_bytes) {
  std::vector<std::string> texts = texts_;
  for (std::int32_t id = 0; id < tokenizer_.vocab_size(); id += 1 + tokenizer_.vocab_size() / 1000) {
    texts.emplace_back();
    for (int i = 0; i < 20; ++i) texts.back() += tokenizer_.decode(std::vector{id});
  }
  for (const std::string& text : texts)
    EXPECT_GE(tokenizer_.encode(text).size(), tokenizer_.fewest_tokens(text.size())) << ::testing::PrintToString(text);
  // Nothing is certain where texts are normalized, or white space is left out.
  const std::set<std::string> certain{"gpt2", "llama3", "deepseek", "gpt4o", "smollm", "mistral"};
  EXPECT_EQ(tokenizer_.fewest_tokens(1 << 20) > 1000, certain.contains(GetParam()));
  EXPECT_EQ(tokenizer_.fewest_tokens(1 << 20) == 0, !certain.contains(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(All, Family,
                         ::testing::Values("gpt2", "roberta", "neox", "llama3", "qwen", "deepseek", "gpt4o", "smollm",
                                           "llama2", "mistral", "gemma", "metaspace", "words", "spaces"),
                         [](const auto& info) { return std::string(info.param); });

TEST(TokenizerJson, is_shared_by_threads) {
  const Tokenizer tokenizer = Tokenizer::load(kFamilies / "deepseek");
  const std::vector<std::string> texts = json_in(kFamilies / "texts.json");
  std::vector<std::vector<Ids>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results)
    threads.emplace_back([&] {
      for (const std::string& text : texts) result.push_back(tokenizer.encode(text));
    });
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, results[0]);
}

TEST(TokenizerJson, reads_invalid_utf8_as_replacement_characters) {
  const Tokenizer tokenizer = Tokenizer::load(kFamilies / "qwen");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("a\xff\xe2\x96z\xed\xa0\x80")), "a\uFFFD\uFFFDz\uFFFD\uFFFD\uFFFD");
}

TEST(TokenizerJson, refuses_ids_out_of_range) {
  const Tokenizer tokenizer = Tokenizer::load(kFamilies / "qwen");
  for (const std::int32_t id : {-1, tokenizer.vocab_size()}) {
    EXPECT_THAT(error_of([&] { tokenizer.decode(Ids{id}); }), HasSubstr("got " + std::to_string(id)));
    EXPECT_THAT(error_of([&] { tokenizer.piece(id); }), HasSubstr("got " + std::to_string(id)));
    EXPECT_THAT(error_of([&] { TextStream(tokenizer).push(id); }), HasSubstr("got " + std::to_string(id)));
  }
  EXPECT_EQ(tokenizer.piece(tokenizer.vocab_size() - 1), "</think>");
}

TEST(TokenizerJson, streams_a_long_run_of_bytes) {
  const Tokenizer tokenizer = Tokenizer::load(kFamilies / "llama2");
  const auto byte = [&](unsigned value) { return std::int32_t(1 + value); };  // behind <unk>, as the fixture has them
  ASSERT_EQ(tokenizer.piece(byte(0xE2)), "<0xE2>");
  TextStream broken(tokenizer), whole(tokenizer);
  for (int i = 0; i < 100'000; ++i) broken.push(byte(0xE2));
  EXPECT_EQ(broken.text().size(), 300'000u);
  for (int i = 0; i < 1000; ++i)
    for (const unsigned value : {0xE2, 0x96, 0x81}) whole.push(byte(value));
  EXPECT_EQ(whole.text().substr(0, 6), "\u2581\u2581");
  whole.push(byte(0xFF));
  EXPECT_EQ(whole.text().substr(0, 6), "\uFFFD\uFFFD") << "one bad byte spoils the run, in the reference too";
}

// ---- Files and folders ----

TEST(TokenizerJson, special_tokens_come_from_the_files_beside_it) {
  const Folder folder;
  const auto load = [&] { return Tokenizer::load(folder.path()); };
  std::filesystem::copy_file(kFamilies / "qwen/tokenizer.json", folder / "tokenizer.json");
  EXPECT_THAT(error_of([&] { load().eos(); }), HasSubstr("tokenizer_config.json"));
  EXPECT_EQ(load().bos(), -1);

  write(folder / "generation_config.json",
        R"({"eos_token_id": [481, 480], "bos_token_id": 480, "pad_token_id": null})");
  EXPECT_EQ(load().eos(), 481);
  EXPECT_EQ(load().bos(), 480);
  EXPECT_EQ(load().pad(), 481) << "eos where there is none";
  EXPECT_TRUE(load().ends(481) && load().ends(480));
  EXPECT_FALSE(load().ends(482));

  write(folder / "special_tokens_map.json", R"({"eos_token": {"content": "<|endoftext|>", "lstrip": false}})");
  EXPECT_EQ(load().eos(), 480);
  write(folder / "tokenizer_config.json",
        R"({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": null})");
  EXPECT_EQ(load().eos(), 482);
  EXPECT_EQ(load().pad(), 480);
  EXPECT_EQ(load().bos(), 480);
  EXPECT_EQ(Tokenizer::load(folder / "tokenizer.json").eos(), 482) << "the file by its own name";

  const Tokenizer loaded = load(), again = Tokenizer::from_serialized(loaded.serialized(), "checkpoint");
  EXPECT_EQ(again.eos(), 482);
  EXPECT_EQ(again.pad(), 480);
  for (const std::int32_t id : {480, 481, 482}) EXPECT_TRUE(again.ends(id)) << "each file has a say in it";
  EXPECT_EQ(again.serialized(), loaded.serialized());
  const Folder other;
  write(other / "saved", loaded.serialized());
  EXPECT_EQ(Tokenizer::load(other / "saved").serialized(), loaded.serialized());

  write(folder / "tokenizer_config.json", R"({"eos_token": "<|nobody|>"})");
  EXPECT_THAT(error_of(load), AllOf(HasSubstr("eos"), HasSubstr("<|nobody|>")));
  write(folder / "tokenizer_config.json", R"({"eos_token_id": 999999})");
  EXPECT_THAT(error_of(load), HasSubstr("999999"));
  write(folder / "tokenizer_config.json", R"({"eos_token": )");
  EXPECT_THAT(error_of(load), HasSubstr("tokenizer_config.json"));
}

TEST(TokenizerJson, counts_before_a_sentencepiece_model_in_a_folder) {
  const Folder folder;
  TokenizerConfig config;
  config.vocab_size = 300;
  Tokenizer::train({"some text to learn from", "and some more"}, config, folder / "tokenizer.model");
  EXPECT_LE(Tokenizer::load(folder.path()).vocab_size(), 300);
  std::filesystem::copy_file(kFamilies / "qwen/tokenizer.json", folder / "tokenizer.json");
  EXPECT_EQ(Tokenizer::load(folder.path()).vocab_size(), 485);
}

// ---- Files that are wrong ----

/// A tokenizer.json of three letters, with something changed.
std::string file_with(const std::function<void(Json&)>& change) {
  Json json = Json::parse(R"({"version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 5, "content": "<x>", "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false, "special": true}],
    "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
              "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
              "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4}, "merges": [["a", "b"], "ab c"]}})");
  change(json);
  return json.dump();
}

Tokenizer tokenizer_with(const std::function<void(Json&)>& change) {
  return Tokenizer::from_serialized(file_with(change), "FILE");
}

std::string refusal_of(const std::function<void(Json&)>& change) {
  return error_of([&] { tokenizer_with(change); });
}

TEST(TokenizerJson, merges_in_the_order_learned) {
  const Tokenizer tokenizer = tokenizer_with([](Json&) {});
  EXPECT_THAT(tokenizer.encode("abcab<x>cba"), ElementsAre(4, 3, 5, 2, 1, 0));
  EXPECT_THAT(tokenizer.encode("a?b"), ElementsAre(3)) << "a character that nobody knows is lost, as in the reference";
  EXPECT_EQ(tokenizer.decode(Ids{4, 5, 0}), "abc<x>a");
}

TEST(TokenizerJson, strips_the_end_of_a_text_in_a_stream_too) {
  const Tokenizer tokenizer = tokenizer_with([](Json& json) {
    json["decoder"] = Json::parse(R"({"type": "Sequence", "decoders": [{"type": "Fuse"},
      {"type": "Strip", "content": "c", "start": 1, "stop": 2}]})");
  });
  EXPECT_EQ(tokenizer.decode(Ids{2, 2, 0, 2, 2, 2}), "cac");
  TextStream stream(tokenizer);
  std::vector<std::string> seen;
  for (const std::int32_t id : {2, 0, 2, 2, 2, 1}) {
    stream.push(id);
    seen.push_back(stream.text());
  }
  EXPECT_THAT(seen, ElementsAre("", "a", "a", "a", "ac", "acccb"));
}

TEST(TokenizerJson, keeps_the_length_of_texts_whatever_its_writer_did_with_his) {
  const Tokenizer tokenizer = tokenizer_with([](Json& json) {
    json["truncation"] = {{"direction", "Right"}, {"max_length", 2}, {"strategy", "LongestFirst"}, {"stride", 0}};
    json["padding"] = {{"strategy", {{"Fixed", 9}}}, {"direction", "Right"}, {"pad_id", 0}, {"pad_token", "a"}};
  });
  EXPECT_THAT(tokenizer.encode("cba"), ElementsAre(2, 1, 0));
}

// A vocabulary of bytes whose pieces are these, with tokens added behind them.
Tokenizer bytes_and_added(const std::vector<std::string>& added, const Json& more = Json::object()) {
  return tokenizer_with([&](Json& json) {
    json["model"]["vocab"] = {{"a", 0}, {"x", 1}, {"Ġ", 2}, {"Ġx", 3}, {"é", 4}, {"ł", 5}, {"Ċ", 6}, {"čč", 7}};
    json["model"]["merges"] = Json::parse(R"(["Ġ x"])");
    json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
    json["decoder"] = {{"type", "ByteLevel"}};
    json["added_tokens"] = Json::array();
    std::int32_t next = 8;
    const std::vector<std::string> known = {"a", "x", "Ġ", "Ġx", "é", "ł", "Ċ", "čč"};
    for (const std::string& content : added) {
      const auto place = std::find(known.begin(), known.end(), content) - known.begin();
      Json token = {{"id", place < 8 ? static_cast<std::int32_t>(place) : next++},
                    {"content", content},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", false}};
      token.update(more);
      json["added_tokens"].push_back(token);
    }
  });
}

TEST(TokenizerJson, gives_an_added_token_back_as_it_is_though_its_letters_could_spell_bytes) {
  const std::vector<std::string> added = {"iloveč", "Straße", "Ġĥx", "ÿ", "日本", "ab c", "<|im_end|>", "¿Ā?"};
  for (const bool normalized : {false, true})
    for (const Tokenizer& tokenizer :
         {bytes_and_added(added, {{"normalized", normalized}}),
          Tokenizer::from_serialized(bytes_and_added(added, {{"normalized", normalized}}).serialized(),
                                     "checkpoint")}) {
      std::string text, streamed;
      TextStream stream(tokenizer);
      for (std::int32_t id = 8; id < tokenizer.vocab_size(); ++id) {
        const std::string& content = added[static_cast<std::size_t>(id - 8)];
        EXPECT_THAT(tokenizer.encode(content), ElementsAre(id)) << content;
        EXPECT_EQ(tokenizer.piece(id), content);
        EXPECT_EQ(tokenizer.decode(Ids{0, id, 3}), "a" + content + " x") << content;
        text += content;
        stream.push(id);
        EXPECT_EQ(stream.text(), text);
      }
    }
}

TEST(TokenizerJson, reads_bytes_in_added_tokens_that_the_model_makes_itself) {
  const Tokenizer tokenizer = bytes_and_added({"Ġx", "é", "ł", "čč"});
  EXPECT_EQ(tokenizer.decode(Ids{0, 3}), "a x");
  EXPECT_EQ(tokenizer.decode(Ids{0, 4}), "a\uFFFD") << "the first byte of a character";
  EXPECT_EQ(tokenizer.decode(Ids{7}), "čč") << "a piece that no merge makes stands for no bytes";
  // The bytes of a character around an added token do not join over it.
  const Tokenizer around = bytes_and_added({"Straße"});
  EXPECT_EQ(around.decode(Ids{4, 8, 4}), "\uFFFDStraße\uFFFD");
}

TEST(TokenizerJson, leaves_gaps_between_ids_empty) {
  const Tokenizer tokenizer = tokenizer_with([](Json& json) {
    json["model"]["vocab"]["far"] = 900;
    json["added_tokens"][0]["id"] = 6;
  });
  EXPECT_EQ(tokenizer.vocab_size(), 901);
  EXPECT_EQ(tokenizer.piece(700), "");
  EXPECT_EQ(tokenizer.decode(Ids{0, 700, 900, 6}), "afar<x>");
}

TEST(TokenizerJson, names_what_it_does_not_know) {
  const auto set = [](const char* pointer, Json value) {
    return refusal_of([=](Json& json) { json[Json::json_pointer(pointer)] = value; });
  };
  EXPECT_THAT(set("/model/type", "Unigram"), AllOf(HasSubstr("FILE"), HasSubstr("Unigram")));
  EXPECT_THAT(set("/model/dropout", 0.1), HasSubstr("dropout"));
  EXPECT_THAT(set("/model/end_of_word_suffix", "</w>"), HasSubstr("</w>"));
  EXPECT_THAT(set("/model/continuing_subword_prefix", "##"), HasSubstr("##"));
  EXPECT_THAT(set("/model/novelty", true), HasSubstr("novelty"));
  EXPECT_THAT(set("/novelty", true), HasSubstr("novelty"));
  EXPECT_THAT(set("/version", "2.0"), HasSubstr("version"));
  EXPECT_THAT(set("/normalizer", {{"type", "Lowercase"}}), AllOf(HasSubstr("normalizer"), HasSubstr("Lowercase")));
  EXPECT_THAT(set("/normalizer", {{"type", "NFC"}, {"form", 2}}), HasSubstr("form"));
  EXPECT_THAT(set("/pre_tokenizer", {{"type", "BertPreTokenizer"}}), HasSubstr("BertPreTokenizer"));
  EXPECT_THAT(set("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {{{"type", "UnicodeScripts"}}}}}),
              AllOf(HasSubstr("pretokenizers[0]"), HasSubstr("UnicodeScripts")));
  EXPECT_THAT(set("/post_processor", {{"type", "Surprise"}}), HasSubstr("Surprise"));
  EXPECT_THAT(set("/decoder", {{"type", "WordPiece"}}), AllOf(HasSubstr("decoder"), HasSubstr("WordPiece")));
  EXPECT_THAT(
      set("/decoder", Json::parse(R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteFallback"}]})")),
      HasSubstr("ByteFallback"));
  EXPECT_THAT(refusal_of([](Json& json) {
                json["normalizer"] = Json::parse(R"({"type": "Replace", "pattern": {"String": "b"}, "content": ""})");
                json["pre_tokenizer"] =
                    Json::parse(R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "first"})");
              }),
              HasSubstr("no Replace before a Metaspace"));
  Json deep = {{"type", "NFC"}};
  for (int i = 0; i < 20; ++i) deep = {{"type", "Sequence"}, {"normalizers", Json::array({deep})}};
  EXPECT_THAT(set("/normalizer", deep), HasSubstr("fewer sequences"));
}

TEST(TokenizerJson, names_what_is_wrong_with_a_file) {
  const auto set = [](const char* pointer, Json value) {
    return refusal_of([=](Json& json) { json[Json::json_pointer(pointer)] = value; });
  };
  // vocabulary
  EXPECT_THAT(set("/model/vocab", 7), HasSubstr("vocab: expected an object"));
  EXPECT_THAT(set("/model/vocab/c", 1), AllOf(HasSubstr("got 1 for both"), HasSubstr("\"b\"")));
  for (const Json& id : {Json(-1), Json(4'000'000'000), Json(1 << 30), Json(std::uint64_t{1} << 63), Json(1e300),
                         Json("2"), Json(2.5), Json(nullptr), Json(80'000)})
    EXPECT_THAT(set("/model/vocab/c", id), HasSubstr(".\"c\": expected an id")) << id;
  EXPECT_THAT(refusal_of([](Json& json) { json["model"].erase("vocab"); }), HasSubstr("vocab"));
  EXPECT_THAT(refusal_of([](Json& json) { json.erase("model"); }), HasSubstr("model"));
  EXPECT_THAT(set("/model", Json::array()), HasSubstr("model"));
  EXPECT_THAT(set("/model/unk_token", "<unk>"), HasSubstr("<unk>"));
  EXPECT_THAT(set("/model/byte_fallback", "yes"), HasSubstr("byte_fallback"));
  // merges
  EXPECT_THAT(set("/model/merges", "ab"), HasSubstr("merges: expected an array"));
  for (const Json& merge : {Json("ab"), Json("a b c"), Json({"a"}), Json({"a", "b", "c"}), Json(3), Json({1, 2}),
                            Json({"c", "a"}), Json({"z", "a"}), Json({"", "a"}), Json(" a"), Json(nullptr)})
    EXPECT_THAT(set("/model/merges/1", merge), HasSubstr("merges[1]: expected")) << merge;
  // added tokens
  EXPECT_THAT(set("/added_tokens", 3), HasSubstr("added_tokens: expected an array"));
  for (const Json& id : {Json(-5), Json(6), Json(4), Json(4'000'000'000), Json("5"), Json(5.5)})
    EXPECT_THAT(set("/added_tokens/0/id", id), HasSubstr("added_tokens[0].id: expected")) << id;
  EXPECT_THAT(set("/added_tokens/0/content", ""), HasSubstr("content"));
  EXPECT_THAT(set("/added_tokens/0/content", 5), HasSubstr("content"));
  EXPECT_THAT(set("/added_tokens/0/lstrip", 1), HasSubstr("lstrip"));
  EXPECT_THAT(set("/added_tokens/0/novelty", 1), HasSubstr("novelty"));
  EXPECT_THAT(refusal_of([](Json& json) {
                Json again = json["added_tokens"][0];
                again["id"] = 6;
                json["added_tokens"].push_back(again);
              }),
              HasSubstr("each token once"));
  EXPECT_THAT(refusal_of([](Json& json) {
                json["added_tokens"][0]["normalized"] = true;
                json["normalizer"] = Json::parse(R"({"type": "Replace", "pattern": {"String": "<x>"}, "content": ""})");
              }),
              HasSubstr("leaves something"));
  // components
  EXPECT_THAT(set("/decoder", "Fuse"), HasSubstr("decoder: expected an object"));
  EXPECT_THAT(set("/decoder", Json::object()), HasSubstr("type"));
  EXPECT_THAT(set("/normalizer", {{"type", "Sequence"}, {"normalizers", 3}}), HasSubstr("normalizers"));
  EXPECT_THAT(set("/pre_tokenizer",
                  {{"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Isolated"}, {"invert", false}}),
              HasSubstr("(a"));
  EXPECT_THAT(set("/pre_tokenizer",
                  {{"type", "Split"}, {"pattern", {{"String", "a"}}}, {"behavior", "Gone"}, {"invert", false}}),
              HasSubstr("Gone"));
  EXPECT_THAT(set("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "ab"}, {"prepend_scheme", "always"}}),
              HasSubstr("one character"));
  EXPECT_THAT(set("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "last"}}),
              HasSubstr("prepend_scheme"));
}

TEST(TokenizerJson, refuses_pipelines_that_would_fill_the_memory) {
  const Json twice = Json::parse(R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"})");
  const auto many = [](const char* members, const Json& part, int count) {
    return Json{{"type", "Sequence"}, {members, std::vector<Json>(count, part)}};
  };
  const std::string text(1000, 'a');
  const auto refusal = [&](const char* kind, const Json& sequence) {
    return error_of([&] {
      const Tokenizer tokenizer = tokenizer_with([&](Json& json) { json[kind] = sequence; });
      (void)tokenizer.decode(tokenizer.encode(text));
    });
  };
  EXPECT_THAT(refusal("normalizer", many("normalizers", twice, 60)), HasSubstr("lengthen a text at most 64 times"));
  EXPECT_THAT(refusal("decoder", many("decoders", twice, 60)), HasSubstr("lengthen a text at most 64 times"));
  const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  EXPECT_EQ(refusal("pre_tokenizer", many("pretokenizers", bytes, 60)), "(no error)") << "letters stay one byte";
  EXPECT_THAT(error_of([&] {
                const Tokenizer tokenizer =
                    tokenizer_with([&](Json& json) { json["pre_tokenizer"] = many("pretokenizers", bytes, 60); });
                (void)tokenizer.encode("\u00e9");
              }),
              HasSubstr("lengthen a text at most 64 times"));
  for (const auto& [kind, members] : std::initializer_list<std::pair<const char*, const char*>>{
           {"normalizer", "normalizers"}, {"pre_tokenizer", "pretokenizers"}, {"decoder", "decoders"}}) {
    const Json part = kind[0] == 'p' ? bytes : twice;
    EXPECT_THAT(refusal(kind, many(members, part, 65)), AllOf(HasSubstr(kind), HasSubstr("at most 64 components")));
    EXPECT_THAT(refusal(kind, many(members, many(members, part, 33), 2)), HasSubstr("at most 64 components"));
  }
  // A token that is spelled with a normalizer is run through it when the file is read.
  EXPECT_THAT(refusal_of([&](Json& json) {
                json["added_tokens"][0]["content"] = "a" + text;
                json["added_tokens"][0]["normalized"] = true;
                json["normalizer"] = many("normalizers", twice, 60);
              }),
              HasSubstr("lengthen a text at most 64 times"));
}

TEST(TokenizerJson, takes_white_space_full_of_tokens_that_strip_it) {
  const Tokenizer tokenizer = tokenizer_with([](Json& json) {
    json["added_tokens"][0]["content"] = "\n";
    json["added_tokens"][0]["lstrip"] = json["added_tokens"][0]["rstrip"] = true;
  });
  EXPECT_EQ(tokenizer.encode("a" + std::string(300'000, '\n') + "b \n c\n").size(), 300'005u);
}

TEST(TokenizerJson, refuses_text_that_is_not_json) {
  const std::string good = file_with([](Json&) {});
  for (std::size_t size = 1; size < good.size(); ++size)
    EXPECT_THAT(error_of([&] { Tokenizer::from_serialized(good.substr(0, size), "FILE"); }), HasSubstr("FILE"));
  std::string broken = good;
  broken.replace(broken.find("abc"), 1, "\xff");
  EXPECT_THAT(error_of([&] { Tokenizer::from_serialized(broken, "FILE"); }), HasSubstr("FILE"));
  std::string twice = good;
  twice.insert(twice.find("\"ab\""), "\"a\":7,");
  EXPECT_THAT(error_of([&] { Tokenizer::from_serialized(twice, "FILE"); }), HasSubstr("twice"));
  EXPECT_THAT(error_of([&] { Tokenizer::from_serialized("{\"steps\": 3}", "FILE"); }),
              HasSubstr("FILE: expected a tokenizer.json, got JSON without \"model\""));
  EXPECT_THAT(error_of([&] { Tokenizer::from_serialized(std::string(100'000, '[') + good, "FILE"); }),
              HasSubstr("FILE"));
  EXPECT_THAT(error_of([&] { Tokenizer::from_serialized("{\"a\":" + std::string(100'000, '['), "FILE"); }),
              HasSubstr("FILE"));
  const std::string nested = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_THAT(error_of([&] { Tokenizer::from_serialized("{\"a\":" + nested + '}', "FILE"); }), HasSubstr("100 levels"));
  EXPECT_THAT(error_of([&] { Tokenizer::from_serialized(good + '\0' + good, "FILE"); }),
              HasSubstr("got a zero at byte"));
  for (const char* line : {"{\"grpo_special_tokens2\": {}}", "{\"grpo_special_tokens\": 3}"})
    EXPECT_THAT(error_of([&] { Tokenizer::from_serialized(good + '\n' + line, "FILE"); }),
                AllOf(HasSubstr("FILE"), HasSubstr("grpo_special_tokens")));
}

TEST(TokenizerJson, reads_files_only) {
  const Folder folder;
  write(folder / "tokenizer.json", file_with([](Json&) {}));
  const auto refusal = [&](const char* name, const std::filesystem::path& target) {
    std::filesystem::remove(folder / name);
    std::filesystem::create_symlink(target, folder / name);
    const std::string text = error_of([&] { Tokenizer::load(folder.path()); });
    std::filesystem::remove(folder / name);
    return text;
  };
  EXPECT_THAT(refusal("tokenizer_config.json", "/dev/zero"), HasSubstr("expected a file, got a device"));
  EXPECT_THAT(refusal("tokenizer_config.json", folder.path()), HasSubstr("expected a file, got a folder"));
  EXPECT_THAT(refusal("tokenizer_config.json", "nowhere"), HasSubstr("got a link that leads to none"));
  EXPECT_THAT(refusal("tokenizer_config.json", "tokenizer_config.json"), HasSubstr("tokenizer_config.json: expected"));
  ASSERT_EQ(::mkfifo((folder / "special_tokens_map.json").c_str(), 0600), 0);
  EXPECT_THAT(error_of([&] { Tokenizer::load(folder.path()); }), HasSubstr("special_tokens_map.json: expected a file"));
  std::filesystem::remove(folder / "special_tokens_map.json");
  write(folder / "generation_config.json", "{}");
  std::filesystem::resize_file(folder / "generation_config.json", std::uintmax_t{1} << 33);  // a hole
  EXPECT_THAT(error_of([&] { Tokenizer::load(folder.path()); }), HasSubstr("a file of at most 268435456 bytes"));
}

TEST(TokenizerJson, a_damaged_file_is_an_error_or_another_tokenizer) {
  const std::string good = read_file(kFamilies / "llama2/tokenizer.json");
  std::uint64_t state = 11;
  const auto next = [&] { return (state = state * 6364136223846793005ULL + 1442695040888963407ULL) >> 33; };
  for (int i = 0; i < 300; ++i) {
    std::string bad = good;
    for (int n = 0; n < 3; ++n) bad[next() % bad.size()] = static_cast<char>(next());
    try {
      const Tokenizer tokenizer = Tokenizer::from_serialized(bad, "FILE");
      (void)tokenizer.decode(tokenizer.encode("It's 한 <think> 12"));
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace grpo
