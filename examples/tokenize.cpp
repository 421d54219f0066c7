// Turns texts into token ids with a model's tokenizer, or ids back into text, line by line.
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "grpo/config.h"
#include "grpo/tokenizer.h"

namespace {

struct TokenizeConfig {
  std::string model, in, out;
  bool decode = false;

  template <class V>
  void visit(V& v) {
    v("model", model, "a sentencepiece model, a tokenizer.json, or a folder with one");
    v("in", in, "JSONL: {\"text\": …} on each line, or {\"ids\": […]} to decode");
    v("out", out, "JSONL to write: {\"ids\": […]}, or {\"text\": …}");
    v("decode", decode, "ids to text, special tokens included");
  }
  void validate() const {
    if (model.empty() || in.empty() || out.empty())
      throw grpo::Error("config", "expected --model, --in FILE.jsonl and --out FILE.jsonl (see --help)");
  }
};

}  // namespace

int main(int argc, char** argv) try {
  const auto config = grpo::load_config<TokenizeConfig>(argc, argv);
  const auto tokenizer = grpo::Tokenizer::load(config.model);
  std::ifstream in(config.in, std::ios::binary);
  if (!in) throw grpo::Error("tokenize", config.in, ": expected a JSONL file, got no such file");
  std::ofstream out(config.out, std::ios::binary);

  using Clock = std::chrono::steady_clock;
  Clock::duration spent{};  // in the tokenizer alone
  std::size_t bytes = 0, number = 0;
  for (std::string line; std::getline(in, line);) {
    const std::string where = config.in + ':' + std::to_string(++number);
    const auto json = grpo::parse_json(line, where);
    const char* key = config.decode ? "ids" : "text";
    if (!json.is_object() || !json.contains(key))
      throw grpo::Error("tokenize", where, ": expected an object with \"", key, "\", got ", line.substr(0, 80));
    nlohmann::json result;
    try {
      if (config.decode) {
        const auto ids = json.at(key).get<std::vector<std::int32_t>>();
        const auto begin = Clock::now();
        result["text"] = tokenizer.decode(ids);
        spent += Clock::now() - begin;
      } else {
        const auto& text = json.at(key).get_ref<const std::string&>();
        const auto begin = Clock::now();
        result["ids"] = tokenizer.encode(text);
        spent += Clock::now() - begin;
        bytes += text.size();
      }
    } catch (const nlohmann::json::exception&) {
      throw grpo::Error("tokenize", where, ": expected \"", key, "\" to be ",
                        config.decode ? "a list of token ids" : "a string", ", got ", line.substr(0, 80));
    }
    out << result.dump() << '\n';
  }
  if (!out.flush()) throw grpo::Error("tokenize", config.out, ": expected a file that can be written, got none");
  const double seconds = std::chrono::duration<double>(spent).count();
  std::cerr << number << (config.decode ? " lists of ids" : " texts");
  if (!config.decode && seconds > 0) std::cerr << ", " << static_cast<double>(bytes) / seconds / 1e6 << " MB/s";
  std::cerr << '\n';
  return 0;
} catch (const std::exception& error) {
  return grpo::report(error);
}
