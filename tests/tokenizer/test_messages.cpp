// Conversations against what Jinja2 made of them as transformers sets it up, and the folders that templates come from.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "child.h"
#include "error_of.h"
#include "files.h"
#include "grpo/messages.h"

namespace grpo {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Json = nlohmann::ordered_json;

const Json& fixture() {
  static const Json parsed = Json::parse(read_file(std::string(GRPO_FIXTURES) + "/chat_templates/families.json"));
  return parsed;
}

class Family : public ::testing::TestWithParam<std::string> {};
TEST_P(Family, is_rendered_as_jinja2_renders_it) {
  const Json& all = fixture();
  const Json& family = all["families"][GetParam()];
  const MessageTemplate chat(family["template"].get<std::string>(), all["tokens"], "t");
  for (const Json& each : family["cases"]) {
    const Json& messages = all["conversations"][each["conversation"].get<std::string>()];
    const auto text = [&] {
      return chat.render(messages, each["add_generation_prompt"].get<bool>(), each["variables"]);
    };
    if (each["text"].is_null())
      EXPECT_THAT(error_of(text), StartsWith("[chat template] t:")) << each;
    else
      EXPECT_EQ(text(), each["text"].get<std::string>()) << each;
  }
}
INSTANTIATE_TEST_SUITE_P(Templates, Family, ::testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const auto& [name, family] : fixture()["families"].items()) names.push_back(name);
                           return names;
                         }()),
                         [](const auto& info) { return info.param; });

// ---- Rendering ----

TEST(MessageTemplate, takes_plain_messages) {
  const MessageTemplate chat(
      "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
      "{% if add_generation_prompt %}assistant: {% endif %}",
      {{"bos_token", "<s>"}});
  const std::vector<Message> messages = {{"user", "Hi"}, {"assistant", "Ho"}};
  EXPECT_EQ(chat.render(messages), "<s>user: Hi\nassistant: Ho\nassistant: ");
  EXPECT_EQ(chat.render(messages, false), "<s>user: Hi\nassistant: Ho\n");
  EXPECT_EQ(chat.render(messages, false, {{"bos_token", "!"}}), "!user: Hi\nassistant: Ho\n");
  EXPECT_EQ(chat.render(std::vector<Message>{}), "<s>assistant: ");
}

TEST(MessageTemplate, has_tools_and_documents_without_a_value) {
  const std::vector<Message> none;
  EXPECT_EQ(MessageTemplate("{{ tools }}{{ documents }}{{ other is defined }}").render(none), "NoneNoneFalse");
  EXPECT_EQ(MessageTemplate("{{ tools|length }}").render(none, true, {{"tools", {1, 2}}}), "2");
}

TEST(MessageTemplate, gives_the_template_the_keys_that_a_message_has_and_no_others) {
  const std::vector<std::string> names = {"thinking", "reasoning", "reasoning_content"};
  for (const std::string& given : names) {
    const Json messages = Json::array({{{"role", "assistant"}, {given, "so"}}});
    for (const std::string& read : names)
      EXPECT_EQ(MessageTemplate("{{ messages[0]." + read + " }}").render(messages), read == given ? "so" : "")
          << given << " read as " << read;
    EXPECT_EQ(MessageTemplate("{{ messages[0] | tojson }}").render(messages),
              R"({"role": "assistant", ")" + given + R"(": "so"})");
  }
}

TEST(MessageTemplate, refuses_what_are_no_messages) {
  const MessageTemplate chat("x", Json::object(), "t");
  EXPECT_EQ(error_of([&] { chat.render(Json("Hi")); }), "[chat template] t: expected a list of messages, got string");
  EXPECT_EQ(error_of([&] { chat.render(Json::array({"Hi"})); }),
            "[chat template] t: expected messages that are objects, got string");
  EXPECT_EQ(error_of([&] { chat.render(Json::array(), true, Json::array()); }),
            "[chat template] t: expected an object of variables, got array");
  EXPECT_EQ(error_of([&] { MessageTemplate("x", Json(1), "t"); }),
            "[chat template] t: expected an object of variables, got number");
  EXPECT_EQ(
      error_of([&] { MessageTemplate("\n{{ raise_exception('No.') }}", Json::object(), "t").render(Json::array()); }),
      "[chat template] t:2: the template refuses these messages: No.");
}

TEST(MessageTemplate, refuses_messages_that_nest_without_end) {
  Json deep = "x";
  for (int i = 0; i < 300; ++i) deep = Json::array({deep});
  const Json messages = Json::array({{{"role", "user"}, {"content", deep}}});
  EXPECT_THAT(error_of([&] { MessageTemplate("{{ messages }}").render(messages); }), HasSubstr("nested at most"));
}

// ---- Folders ----

class ModelFolder : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  std::string load_error() {
    return error_of([&] { MessageTemplate::load(folder_); });
  }
  Folder folder_;
};

TEST_F(ModelFolder, has_the_template_in_a_file_of_its_own) {
  write("chat_template.jinja", "file {{ bos_token }}{{ eos_token }}{{ pad_token }}\n");
  write(
      "tokenizer_config.json",
      R"({"chat_template": "config", "bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null})");
  EXPECT_EQ(MessageTemplate::load(folder_).render(Json::array()), "file <s></s>");
}

TEST_F(ModelFolder, has_the_template_in_its_configuration) {
  write("tokenizer_config.json",
        R"({"chat_template": "{{ bos_token }}{{ eos_token }}{{ unk_token }}", "bos_token": "<s>"})");
  write("special_tokens_map.json", R"({"bos_token": "no", "eos_token": {"content": "</s>"}, "unk_token": "?"})");
  const MessageTemplate chat = MessageTemplate::load(folder_);
  EXPECT_EQ(chat.render(Json::array()), "<s></s>?");
  EXPECT_EQ(chat.variables(), Json({{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "?"}}));
}

TEST_F(ModelFolder, has_several_templates) {
  write("tokenizer_config.json",
        R"({"chat_template": [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]})");
  const MessageTemplate chat = MessageTemplate::load(folder_);
  EXPECT_EQ(chat.render(Json::array()), "plain");
  EXPECT_EQ(chat.render(Json::array(), true, {{"tools", Json::array({1})}}), "tools");
  EXPECT_EQ(chat.render(Json::array(), true, {{"tools", nullptr}}), "plain");
}

TEST_F(ModelFolder, without_a_template_is_an_error) {
  EXPECT_THAT(load_error(),
              AllOf(StartsWith("[chat template] " + folder_.path().string()),
                    HasSubstr("expected chat_template.jinja, or \"chat_template\" in tokenizer_config.json")));
  write("tokenizer_config.json", R"({"chat_template": null})");
  EXPECT_THAT(load_error(), HasSubstr("got neither"));
  write("tokenizer_config.json", R"({"chat_template": 3})");
  EXPECT_THAT(load_error(), HasSubstr("tokenizer_config.json: chat_template: expected a text or a list"));
  write("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "x"}]})");
  EXPECT_THAT(load_error(), HasSubstr("expected a template named \"default\""));
  write("tokenizer_config.json", R"({"chat_template": [{"name": "default"}]})");
  EXPECT_THAT(load_error(), HasSubstr("got an item without \"template\""));
  write("tokenizer_config.json", "{");
  EXPECT_THAT(load_error(), HasSubstr("tokenizer_config.json:1:2: expected JSON"));
  write("tokenizer_config.json", "{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + '}');
  EXPECT_THAT(load_error(), HasSubstr("tokenizer_config.json: expected JSON at most 100 levels deep"));
  write("tokenizer_config.json", "[]");
  EXPECT_THAT(load_error(), HasSubstr("tokenizer_config.json: expected a JSON object, got array"));
}

TEST_F(ModelFolder, names_the_file_and_the_line_of_what_it_does_not_know) {
  write("chat_template.jinja", "a\n{% include 'x' %}");
  EXPECT_THAT(load_error(),
              StartsWith("[chat template] " + (folder_ / "chat_template.jinja").string() + ":2: expected a tag"));
}

// ---- The program ----

#ifdef GRPO_TOKENIZE
class Program : public ModelFolder {
 protected:
  void SetUp() override {
    write("tokenizer.json", read_file(std::string(GRPO_FIXTURES) + "/tokenizers/qwen/tokenizer.json"));
    write("chat_template.jinja", tokenized_["template"].get<std::string>());
  }
  // Its exit status; what it writes goes to out.jsonl, what it says to said.
  int run(const std::filesystem::path& model) {
    Child child;
    child.start({GRPO_TOKENIZE, "--messages", "--model", model.string(), "--in", (folder_ / "in.jsonl").string(),
                 "--out", (folder_ / "out.jsonl").string()},
                folder_ / "said");
    return child.wait();
  }
  const Json tokenized_ = Json::parse(read_file(std::string(GRPO_FIXTURES) + "/chat_templates/tokenized.json"));
};

TEST_F(Program, gives_the_text_and_the_ids_that_transformers_gives) {
  std::string lines;
  for (const Json& line : tokenized_["lines"]) lines += line.dump() + '\n';
  write("in.jsonl", lines);
  ASSERT_EQ(run(folder_), 0) << read_file(folder_ / "said");
  EXPECT_EQ(Json(lines_of(folder_ / "out.jsonl")), tokenized_["expected"]);
}

TEST_F(Program, stands_in_pipes) {
  write("in.jsonl", "{\"messages\": []}\n");
  ASSERT_EQ(run(folder_), 0) << read_file(folder_ / "said");
  Child child;
  child.start({"/bin/sh", "-c",
               "cd " + folder_.path().string() + " && cat in.jsonl | " GRPO_TOKENIZE
                   " --messages --model . --in - --out - 2> said | cat > piped.jsonl"},
              folder_ / "said");
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(read_file(folder_ / "piped.jsonl"), read_file(folder_ / "out.jsonl"));
}

TEST_F(Program, names_the_line_that_it_cannot_render) {
  write("in.jsonl", "{\"messages\": []}\n{\"messages\": [3]}\n");
  EXPECT_EQ(run(folder_), 1);
  EXPECT_THAT(read_file(folder_ / "said"),
              AllOf(HasSubstr("in.jsonl:2"), HasSubstr("expected messages that are objects, got number")));
}

TEST_F(Program, names_the_line_and_one_room) {
  write("in.jsonl", "{\"ids\": [1]}\n{\"ids\": [99999]}\n");
  Child child;
  child.start({GRPO_TOKENIZE, "--decode", "--model", folder_.path(), "--in", folder_ / "in.jsonl", "--out",
               folder_ / "out.jsonl"},
              folder_ / "said");
  EXPECT_EQ(child.wait(), 1);
  EXPECT_THAT(read_file(folder_ / "said"), HasSubstr("error: [tokenize] " + (folder_ / "in.jsonl").string() +
                                                     ":2: expected a token id from 0 to "));
}

TEST_F(Program, passes_over_blank_lines_and_keeps_the_old_output) {
  write("in.jsonl", "\n{\"messages\": []}\n  \r\n{\"messages\": []}\n\n");
  ASSERT_EQ(run(folder_), 0) << read_file(folder_ / "said");
  EXPECT_EQ(lines_of(folder_ / "out.jsonl").size(), 2u);
  const std::string old = read_file(folder_ / "out.jsonl");
  write("in.jsonl", "{\"messages\": []}\n{\"messages\"\n");
  EXPECT_EQ(run(folder_), 1);
  EXPECT_THAT(read_file(folder_ / "said"), HasSubstr("in.jsonl:2"));
  EXPECT_EQ(read_file(folder_ / "out.jsonl"), old);
  std::filesystem::remove(folder_ / "out.jsonl");
  std::filesystem::create_hard_link(folder_ / "in.jsonl", folder_ / "out.jsonl");
  EXPECT_EQ(run(folder_), 1);
  EXPECT_THAT(read_file(folder_ / "said"), HasSubstr("an output that is none of the inputs"));
  EXPECT_EQ(read_file(folder_ / "in.jsonl").find("{\"messages\": []}"), 0u);
}

TEST_F(Program, wants_a_folder) {
  EXPECT_EQ(run(folder_ / "tokenizer.json"), 1);
  EXPECT_THAT(read_file(folder_ / "said"), HasSubstr("expected --model to be a folder with a tokenizer.json"));
}
#endif

}  // namespace
}  // namespace grpo
