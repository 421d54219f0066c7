// Turns texts or conversations into token ids with a model's tokenizer, or ids back into text, line by line.
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grpo/config.h"
#include "grpo/messages.h"
#include "grpo/stop.h"
#include "grpo/tokenizer.h"
#include "lines.h"

namespace {

struct TokenizeConfig {
  std::string model, in, out;
  bool decode = false, messages = false;

  template <class V>
  void visit(V& v) {
    v("model", model, "a sentencepiece model, a tokenizer.json, or a folder with one");
    v("in", in,
      "JSONL: {\"text\": …} on each line, {\"ids\": […]} to decode, or {\"messages\": […]}. \"-\" is "
      "standard input");
    v("out", out, "JSONL to write: {\"ids\": […]}, or {\"text\": …}; for messages both. \"-\" is standard output");
    v("decode", decode, "ids to text, special tokens included");
    v("messages", messages,
      "conversations by the model's chat template; a line may also have \"add_generation_prompt\" (true), \"tools\", "
      "and \"variables\", an object of what else the template reads");
  }
  void validate() const {
    if (model.empty() || in.empty() || out.empty())
      throw grpo::Error("config", "expected --model, --in FILE.jsonl and --out FILE.jsonl (see --help)");
    if (decode && messages) throw grpo::Error("config", "expected --decode or --messages, got both");
    // A sentencepiece model never yields a special token from text, and a chat template is made of them.
    if (messages && !std::filesystem::exists(std::filesystem::path(model) / "tokenizer.json"))
      throw grpo::Error("config", "expected --model to be a folder with a tokenizer.json for --messages, got ", model);
  }
};

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

/// Lines one way or the other.
class Work {
 public:
  explicit Work(const TokenizeConfig& config) : config_(config), tokenizer_(grpo::Tokenizer::load(config.model)) {
    if (config.messages) chat_ = grpo::MessageTemplate::load(config.model);
  }

  /// Throws Error that names the line.
  Json of(const Line& line) try {
    Json result;
    if (config_.decode) {
      const auto ids = line.get<std::vector<std::int32_t>>("ids");
      const auto begin = Clock::now();
      result["text"] = tokenizer_.decode(ids);
      spent_ += Clock::now() - begin;
    } else {
      const std::string text = chat_ ? rendered(line) : line.get<std::string>("text");
      if (chat_) result["text"] = text;
      const auto begin = Clock::now();
      result["ids"] = tokenizer_.encode(text);
      spent_ += Clock::now() - begin;
      bytes_ += text.size();
    }
    ++lines_;
    return result;
  } catch (const grpo::Error& error) {
    if (std::string_view(error.what()).find(line.where) != std::string_view::npos) throw;
    throw grpo::Error("tokenize", line.where, ": ", grpo::reason_of(error));
  }

  void tell() const {
    const double seconds = std::chrono::duration<double>(spent_).count();
    std::cerr << lines_ << (config_.decode ? " lists of ids" : chat_ ? " conversations" : " texts");
    if (!config_.decode && seconds > 0) std::cerr << ", " << static_cast<double>(bytes_) / seconds / 1e6 << " MB/s";
    std::cerr << '\n';
  }

 private:
  std::string rendered(const Line& line) const {
    if (!line.has("messages")) line.refuse("messages", "a list of messages");
    Json variables = Json::object();
    if (line.has("variables")) variables = line.json["variables"];
    if (!variables.is_object()) line.refuse("variables", "an object");
    if (line.has("tools")) variables["tools"] = line.json["tools"];
    const bool opens = !line.has("add_generation_prompt") || line.json["add_generation_prompt"] == true;
    if (!opens && line.json["add_generation_prompt"] != false) line.refuse("add_generation_prompt", "true or false");
    return chat_->render(line.json["messages"], opens, variables);
  }

  const TokenizeConfig& config_;
  const grpo::Tokenizer tokenizer_;
  std::optional<grpo::MessageTemplate> chat_;
  Clock::duration spent_{};  // in the tokenizer alone
  std::size_t bytes_ = 0, lines_ = 0;
};

}  // namespace

int main(int argc, char** argv) try {
  const auto config = grpo::load_config<TokenizeConfig>(argc, argv);
  Work work(config);
  const grpo::StopSignal stop;
  LineReader in(config.in);
  LineWriter out(config.out, {config.in, config.model});
  for (std::string text, where; in.next(text, where);) {
    if (stop.requested()) {
      std::cerr << "stopped before " << where << '\n';
      return stop.exit_status();
    }
    out.write(work.of(parse_line(text, where)));
  }
  out.finish();
  work.tell();
  return 0;
} catch (const std::exception& error) {
  return grpo::report(error);
}
