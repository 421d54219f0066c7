// Damages the files of a model folder in many ways, and reads them. The only outcomes allowed are success and
// grpo::Error, within a second of processor time and 256 MiB of memory; what brings about another is written to a file.
//
//   fuzz_model_files [--seconds 5] [--seed 11] [--first 0] [--count 0] [--room NAME]
//
// Input i depends on nothing but the seed, i and the room, so that `--first i --count 1` does it again. Inputs are read
// in a child process, whose death or silence is a finding like any other.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fstream>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "files.h"
#include "grpo/error.h"
#include "grpo/messages.h"
#include "grpo/tokenizer.h"
#include "safetensors_header.h"
#include "split_pattern.h"
#ifdef GRPO_FUZZ_TORCH
#include "grpo/pretrained.h"
#endif

#ifdef __SANITIZE_ADDRESS__
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=16:detect_leaks=1"; }
constexpr double kMostSeconds = 10;
#else
constexpr double kMostSeconds = 1;
#endif

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Random = std::mt19937_64;

constexpr std::uint64_t kMostKibibytes = 256 << 10;
constexpr std::uint64_t kInputsOfAChild = 20'000;  // so that what allocators keep does not add up
constexpr int kMostFindings = 20, kSilence = 30;   // seconds

std::size_t below(Random& random, std::size_t end) { return end == 0 ? 0 : random() % end; }

template <class T>
const T& any_of(Random& random, const std::vector<T>& items) {
  return items[below(random, items.size())];
}

// ---- Damage ----

const std::vector<std::string> kNumbers = {"0",
                                           "-1",
                                           "1",
                                           "7",
                                           "255",
                                           "65535",
                                           "100000",
                                           "1073741824",
                                           "2147483647",
                                           "2147483648",
                                           "4294967296",
                                           "9007199254740993",
                                           "9223372036854775807",
                                           "9223372036854775808",
                                           "18446744073709551615",
                                           "18446744073709551616",
                                           "-9223372036854775808",
                                           "1e308",
                                           "1e999",
                                           "-0.0",
                                           "0.5",
                                           "1e-320",
                                           "007",
                                           "NaN"};
const std::vector<std::string> kStrings = {"",
                                           " ",
                                           "\\u0000",
                                           "\\ud800",
                                           "\\u001b[2J",
                                           "../x",
                                           "/etc/passwd",
                                           "a",
                                           "ab",
                                           "\\uffff",
                                           "\xff",
                                           "Sequence",
                                           "Split",
                                           "Replace",
                                           "NFKC",
                                           "Metaspace",
                                           "ByteLevel",
                                           "Strip",
                                           "Fuse",
                                           "__metadata__",
                                           "F32",
                                           "F4",
                                           "(?:a+)+b",
                                           "(?:(?:a|a|aa)+b|.)",
                                           "(?:[^x]{1,300}){1,200}x",
                                           "{{ x }}",
                                           "{% for i in range(99999) %}x{% endfor %}",
                                           "{% raw %}",
                                           "{% filter upper %}{% with a = 1 %}",
                                           "{{ (x|list|groupby('a'))[0].list ** 99 // 1 < 2 < 3 }}",
                                           "mlp_only_layers",
                                           "decoder_sparse_step",
                                           "sliding_window",
                                           "use_sliding_window",
                                           "layer_types",
                                           "rope_scaling",
                                           "original_max_position_embeddings",
                                           "yarn",
                                           "tie_word_embeddings",
                                           "lm_head.weight",
                                           "model.embed_tokens.weight",
                                           "unsloth_fixed",
                                           "Straße",
                                           "Ġx",
                                           "<0x0A>",
                                           std::string(5000, 'a')};

struct Token {
  std::size_t begin, end;
  bool text;
};

/// The strings (without their quotes) and numbers of something like JSON.
std::vector<Token> tokens_of(const std::string& json) {
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const std::size_t begin = i;
    if (json[i] == '"') {
      for (++i; i < json.size() && json[i] != '"'; ++i)
        if (json[i] == '\\') ++i;
      tokens.push_back({begin + 1, std::min(i, json.size()), true});
    } else if (std::isdigit(static_cast<unsigned char>(json[i])) || json[i] == '-') {
      while (i < json.size() && std::strchr("0123456789+-.eE", json[i]) != nullptr && json[i] != '\0') ++i;
      tokens.push_back({begin, i--, false});
    }
  }
  return tokens;
}

void damage_json(Random& random, std::string& json) {
  const std::vector<Token> tokens = tokens_of(json);
  if (tokens.empty()) return;
  const Token& token = any_of(random, tokens);
  const std::size_t begin = token.begin - token.text, size = token.end - token.begin + 2 * token.text;  // quotes too
  const std::string whole = json.substr(begin, size);
  const Token& other = any_of(random, tokens);
  switch (below(random, 6)) {
    case 0:
      json.replace(token.begin, token.end - token.begin, any_of(random, token.text ? kStrings : kNumbers));
      break;
    case 1:
      json.replace(begin, size, token.text ? any_of(random, kNumbers) : '"' + any_of(random, kStrings) + '"');
      break;
    case 2:
      json.replace(token.begin, token.end - token.begin, json.substr(other.begin, other.end - other.begin));
      break;
    case 3: {
      const auto depth = any_of<std::size_t>(random, {1, 30, 98, 101, 100'000});
      const bool object = below(random, 2) == 0;
      std::string open, close(depth, object ? '}' : ']');
      for (std::size_t i = 0; i < depth; ++i) open += object ? "{\"a\":" : "[";
      json.replace(begin, size, open + whole + close);
      break;
    }
    case 4:
      json.replace(begin, size, any_of<std::string>(random, {"null", "true", "[]", "{}", "[[]]", "\"\""}));
      break;
    case 5: {  // a member or an item once more
      const std::size_t end = json.find_first_of(",]}", token.end);
      if (end != std::string::npos) json.insert(end, ',' + json.substr(begin, end - begin));
      break;
    }
  }
}

void damage_bytes(Random& random, std::string& bytes, const std::string& other) {
  const std::size_t at = below(random, bytes.size()),
                    size = below(random, std::min<std::size_t>(bytes.size() - at, 64));
  switch (below(random, 7)) {
    case 0:
      if (!bytes.empty()) bytes[at] = static_cast<char>(bytes[at] ^ 1 << below(random, 8));
      break;
    case 1:
      if (!bytes.empty()) bytes[at] = any_of<char>(random, {'\0', '\xff', '\x7f', '"', '[', '{', '}', ',', '0', '\\'});
      break;
    case 2:
      bytes.resize(at);
      break;
    case 3:
      bytes.erase(at, size);
      break;
    case 4:
      bytes.insert(at, bytes.substr(below(random, bytes.size()), size));
      break;
    case 5:
      for (std::size_t i = 0; i < std::min<std::size_t>(8, bytes.size() - at); ++i)
        bytes[at + i] = static_cast<char>(random());
      break;
    case 6:
      bytes = bytes.substr(0, at) + other.substr(below(random, other.size() + 1));
      break;
  }
}

// ---- What is damaged and read ----

enum class Form { bytes, json, safetensors };

struct Room {
  std::string name;
  Form form;
  std::vector<std::string> good;
  std::function<void(const std::string&)> read;
};

std::string damaged(Random& random, const Room& room) {
  std::string bytes = any_of(random, room.good);
  const std::string& other = any_of(random, room.good);
  const auto damage = [&](std::string& text, bool json) {
    for (std::size_t n = 1 + below(random, 4); n > 0; --n)
      json&& below(random, 3) > 0 ? damage_json(random, text) : damage_bytes(random, text, other);
  };
  if (room.form == Form::safetensors && below(random, 4) > 0) {  // the header alone, behind the length that it now has
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    std::string header = bytes.substr(sizeof length, length);
    const std::string data = bytes.substr(sizeof length + length);
    damage(header, true);
    length = header.size();
    return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
  }
  damage(bytes, room.form == Form::json);
  return bytes;
}

void write(const fs::path& file, const std::string& bytes) { std::ofstream(file, std::ios::binary) << bytes; }

void use(const Tokenizer& tokenizer) {
  std::string text = "It's 한국어 <think> 12 + 34\n\n  \t e\u0301 \u2581 </s><|im_end|> \xff\xe2\x96";
  text += std::string(3000, 'a') + std::string(300, '\n');
  (void)tokenizer.decode(tokenizer.encode(text));
  TextStream stream(tokenizer);
  for (std::int32_t id = 0; id < std::min(tokenizer.vocab_size(), 1000); ++id)
    stream.push(id), (void)tokenizer.piece(id);
}

std::vector<Room> rooms(const fs::path& folder) {
  const fs::path fixtures = GRPO_FIXTURES;
  const auto all = [](const fs::path& from, const char* file) {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(from))
      if (fs::exists(entry.path() / file)) found.push_back(read_file(entry.path() / file));
    std::sort(found.begin(), found.end());  // a folder has no order
    return found;
  };
  const auto tokenizers = all(fixtures / "tokenizers", "tokenizer.json");
  const auto weights = all(fixtures / "models", "model.safetensors");
  const Json chats = Json::parse(read_file(fixtures / "chat_templates/families.json"));
  std::vector<std::string> templates, configs, patterns = kStrings;
  for (const auto& [name, family] : chats["families"].items()) templates.push_back(family["template"]);
  const Json language = Json::parse(read_file(fixtures / "chat_templates/language.json"));
  for (const auto& [name, group] : language["groups"].items())
    for (const Json& each : group) templates.push_back(each["template"]);
  for (std::size_t i = 0; i < templates.size(); ++i)
    configs.push_back(
        Json{{"eos_token", "<|im_end|>"},
             {"bos_token", {{"content", "<|endoftext|>"}}},
             {"pad_token_id", 480},
             {"eos_token_id", {481, 480}},
             {"chat_template", i % 2 ? Json(templates[i]) : Json{{{"name", "default"}, {"template", templates[i]}}}}}
            .dump());
  for (const std::string& tokenizer : tokenizers)
    for (const Token& token : tokens_of(tokenizer))
      if (tokenizer.substr(token.begin > 10 ? token.begin - 10 : 0, 8) == "\"Regex\":")
        patterns.push_back(Json::parse('"' + tokenizer.substr(token.begin, token.end - token.begin) + '"'));
  TokenizerConfig training;
  training.vocab_size = 300;
  Tokenizer::train({"some text to learn from 12 + 34", "and some more"}, training, folder / "trained.model");

  const Json conversation = {{{"role", "user"}, {"content", "hello"}}, {{"role", "assistant"}, {"content", "yes"}}};
  std::vector<Room> result = {
      {"safetensors_header", Form::safetensors, weights,
       [](const std::string& bytes) { read_safetensors_header(bytes, "FILE"); }},
      {"tokenizer.json", Form::json, tokenizers,
       [](const std::string& bytes) { use(Tokenizer::from_serialized(bytes, "FILE")); }},
      {"sentencepiece",
       Form::bytes,
       {read_file(folder / "trained.model")},
       [](const std::string& bytes) { use(Tokenizer::from_serialized(bytes, "FILE")); }},
      {"tokenizer_config.json", Form::json, configs,
       [=](const std::string& bytes) {
         write(folder / "tokenizer.json", read_file(fixtures / "tokenizers/qwen/tokenizer.json"));
         write(folder / "tokenizer_config.json", bytes);
         try {
           use(Tokenizer::load(folder));
         } catch (const Error&) {
         }
         MessageTemplate::load(folder).render(conversation, true);
       }},
      {"chat_template", Form::bytes, templates,
       [=](const std::string& bytes) {
         MessageTemplate(bytes, {{"bos_token", "<s>"}, {"eos_token", "</s>"}}, "FILE")
             .render(conversation, true, language["variables"]);
       }},
      {"pattern", Form::bytes, patterns,
       [](const std::string& bytes) {
         std::vector<SplitPattern::Span> spans;
         SplitPattern::regex(bytes, "FILE").find("It's 12 " + std::string(2000, 'a') + "b 한국어", spans);
       }},
  };
#ifdef GRPO_FUZZ_TORCH
  const auto load = [=](const std::string& model, const char* file, const std::string& bytes) {
    for (const char* name : {"config.json", "model.safetensors"})
      write(folder / name, read_file(fixtures / "models" / model / name));
    fs::remove(folder / "model.safetensors.index.json");
    write(folder / file, bytes);
    PolicyConfig config = pretrained_config(folder);
    config.max_positions = std::min(config.max_positions, 4096);
    load_pretrained(folder, config);
    pretrained_warning(folder);
  };
  const auto reader = [=](const char* model, const char* file) {
    return [=](const std::string& bytes) { load(model, file, bytes); };
  };
  Json index;
  for (const auto& entry : read_safetensors_header(read_file(fixtures / "models/qwen3/model.safetensors"), "F").entries)
    index["weight_map"][entry.name] = "model.safetensors";
  result.push_back(
      {"config.json", Form::json, all(fixtures / "models", "config.json"), reader("qwen3", "config.json")});
  for (const char* model : {"llama_head", "qwen3_moe_dense_layers"})  // with the weights that belong to it
    result.push_back(
        {model, Form::json, {read_file(fixtures / "models" / model / "config.json")}, reader(model, "config.json")});
  result.push_back({"weights", Form::safetensors, weights, reader("qwen3", "model.safetensors")});
  result.push_back({"tied weights",
                    Form::safetensors,
                    {read_file(fixtures / "models/llama_head/model.safetensors")},
                    reader("llama_head", "model.safetensors")});
  result.push_back({"index", Form::json, {index.dump()}, reader("qwen3", "model.safetensors.index.json")});
#endif
  return result;
}

// ---- The child that reads, and the parent that watches it ----

struct Shared {
  std::atomic<std::uint64_t> next;  // input
  char finding[512];                // "": none but death
};

struct Peak {  // of this process, KiB
  std::uint64_t size = 0, resident = 0;
  Peak() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("VmPeak:")) size = std::stoull(line.substr(7));
      if (line.starts_with("VmHWM:")) resident = std::stoull(line.substr(6));
    }
  }
};

double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

struct Fuzz {
  std::uint64_t seed = 11, first = 0, count = 0;
  double seconds = 5;
  std::vector<Room> rooms;

  const Room& room_of(std::uint64_t i) const { return rooms[i % rooms.size()]; }
  std::string input(std::uint64_t i) const {
    std::seed_seq seeds{seed, i, i >> 32};
    Random random(seeds);
    return damaged(random, room_of(i));
  }

  bool is_finding(std::uint64_t i, const Peak& before, char (&finding)[512]) const {
    const std::string bytes = input(i);
    const double start = processor_seconds();
    std::string said;
    try {
      room_of(i).read(bytes);
    } catch (const Error&) {
    } catch (const std::exception& error) {
      said = std::string("threw, not as grpo::Error: ") + error.what();
    }
    const double taken = processor_seconds() - start;
    const Peak now;
    if (said.empty() && taken > kMostSeconds) said = "took " + std::to_string(taken) + " s";
    if (said.empty() && std::max(now.size - before.size, now.resident - before.resident) > kMostKibibytes)
      said = "took " + std::to_string(now.size - before.size) + " KiB of addresses, " +
             std::to_string(now.resident - before.resident) + " of memory";
    std::strncpy(finding, said.c_str(), sizeof finding - 1);
    return !said.empty();
  }

  int run() const {
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    const auto is_over = [&](std::uint64_t next) { return count > 0 ? next >= first + count : Clock::now() >= end; };
    void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    Shared& shared = *new (memory) Shared{};
    int findings = 0;
    for (shared.next = first; !is_over(shared.next) && findings < kMostFindings;) {
      const pid_t child = ::fork();
      if (child == 0) {
        const std::uint64_t last = shared.next + kInputsOfAChild;
        try {  // what is made but once is not held against an input
          room_of(shared.next).read(room_of(shared.next).good[0]);
        } catch (const Error&) {
        }
        for (const Peak before; shared.next < last && !is_over(shared.next); ++shared.next)
          if (is_finding(shared.next, before, shared.finding)) std::_Exit(1);
        std::_Exit(0);
      }
      int status = 0;
      std::uint64_t seen = shared.next;
      for (auto changed = Clock::now(); ::waitpid(child, &status, WNOHANG) == 0;) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        if (std::exchange(seen, shared.next) != seen) changed = Clock::now();
        if (Clock::now() - changed > std::chrono::seconds(kSilence)) ::kill(child, SIGKILL);
      }
      if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
      const std::uint64_t i = shared.next++;
      const std::string file = "fuzz-" + std::to_string(seed) + '-' + std::to_string(i) + '-' + room_of(i).name;
      write(file, input(i));
      std::string what = shared.finding;
      if (what.empty()) what = WIFSIGNALED(status) ? "died of signal " + std::to_string(WTERMSIG(status)) : "exited";
      std::cout << "finding: seed " << seed << ", input " << i << ", " << file << ": " << what << std::endl;
      shared.finding[0] = '\0';
      ++findings;
    }
    std::cout << shared.next - first << " inputs of seed " << seed << ", " << findings << " findings" << std::endl;
    return findings > 0;
  }
};

}  // namespace
}  // namespace grpo

int main(int argc, char** argv) {
  grpo::Fuzz fuzz;
  const grpo::Folder folder;
  fuzz.rooms = grpo::rooms(folder);
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i], value = argv[i + 1];
    if (option == "--seconds") fuzz.seconds = std::stod(value);
    if (option == "--seed") fuzz.seed = std::stoull(value);
    if (option == "--first") fuzz.first = std::stoull(value);
    if (option == "--count") fuzz.count = std::stoull(value);
    if (option == "--room") std::erase_if(fuzz.rooms, [&](const auto& room) { return room.name != value; });
  }
  return fuzz.run();
}
