// Damages good inputs in many ways, and reads them. The only outcomes allowed are success and grpo::Error, within a
// second of processor time and 256 MiB of memory; what brings about another is written to a file.
//
//   FUZZER [--seconds 5] [--seed 11] [--first 0] [--count 0] [--room NAME]
//
// Input i depends on nothing but the seed, i and the rooms, so that `--first i --count 1` does it again. Inputs are
// read in a child process, whose death or silence is a finding like any other.
#pragma once

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <fstream>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "files.h"
#include "fuzz_config.h"
#include "grpo/error.h"

#ifdef __SANITIZE_ADDRESS__
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=16:detect_leaks=1"; }
constexpr double kMostSeconds = 10;
#else
constexpr double kMostSeconds = 1;
#endif

namespace grpo {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Random = std::mt19937_64;

constexpr std::uint64_t kMostKibibytes = 256 << 10;
constexpr std::uint64_t kInputsOfAChild = 20'000;  // so that what allocators keep does not add up
constexpr int kMostFindings = 20, kSilence = 30;   // the latter in seconds of processor time

inline std::size_t below(Random& random, std::size_t end) { return end == 0 ? 0 : random() % end; }

template <class T>
const T& any_of(Random& random, const std::vector<T>& items) {
  return items[below(random, items.size())];
}

// ---- Damage ----

inline const std::vector<std::string> kNumbers = {"0",
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
inline const std::vector<std::string> kStrings = {"",
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
                                           "<0x0A>",
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
                                           std::string(5000, 'a')};

struct Token {
  std::size_t begin, end;
  bool text;
};

/// The strings (without their quotes) and numbers of something like JSON.
inline std::vector<Token> tokens_of(const std::string& json) {
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

inline void damage_json(Random& random, std::string& json) {
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

inline void damage_bytes(Random& random, std::string& bytes, const std::string& other) {
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

inline std::string damaged(Random& random, const Room& room) {
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

inline void write(const fs::path& file, const std::string& bytes) { std::ofstream(file, std::ios::binary) << bytes; }

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

inline double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// Processor time of a child that has not been waited for.
inline double seconds_of(pid_t child) {
  clockid_t clock{};
  timespec time{};
  if (::clock_getcpuclockid(child, &clock) == 0) ::clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct RoomsConfig : FuzzConfig {
  std::string room;

  template <class V>
  void visit(V& v) {
    FuzzConfig::visit(v);
    v("room", room, "only what this room reads");
  }
};

struct Fuzz : RoomsConfig {
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
    double taken = processor_seconds() - start;
    // Other work on the machine makes single reads slow: what is slow of itself is slow again.
    for (int again = 0; again < 3 && said.empty() && taken > kMostSeconds; ++again) {
      const double restart = processor_seconds();
      try {
        room_of(i).read(bytes);
      } catch (const Error&) {
      }
      taken = std::min(taken, processor_seconds() - restart);
    }
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
      for (double changed = 0; ::waitpid(child, &status, WNOHANG) == 0;) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        if (std::exchange(seen, shared.next) != seen) changed = seconds_of(child);
        if (seconds_of(child) - changed > kSilence) ::kill(child, SIGKILL);
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

/// What main does of a fuzzer, whose rooms have a folder for their files.
inline int fuzz(int argc, char** argv, const std::function<std::vector<Room>(const fs::path&)>& rooms) {
  Fuzz fuzz;
  try {
    static_cast<RoomsConfig&>(fuzz) = load_config<RoomsConfig>(argc, argv);
  } catch (const std::exception& error) {
    return report(error);
  }
  const Folder folder;
  fuzz.rooms = rooms(folder);
  std::string names;
  for (const Room& each : fuzz.rooms) names += ' ' + each.name;
  if (!fuzz.room.empty()) std::erase_if(fuzz.rooms, [&](const Room& room) { return room.name != fuzz.room; });
  if (fuzz.rooms.empty()) return report(Error("config", "room: expected one of", names, ", got ", fuzz.room));
  return fuzz.run();
}

}  // namespace grpo
