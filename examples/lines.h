// The lines of a JSONL file, for tools that give each of them back with something added.
#pragma once

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "grpo/error.h"
#include "grpo/json.h"
#include "grpo/tokenizer.h"

struct Line {
  nlohmann::ordered_json json;
  std::string where;  // FILE:LINE, for errors

  bool has(const char* key) const { return json.contains(key); }

  template <class T>
  T get(const char* key) const {
    try {
      return json.at(key).get<T>();
    } catch (const nlohmann::json::exception&) {
      throw grpo::Error("line", where, ": expected \"", key, "\" to be ",
                        std::is_same_v<T, std::string> ? "a text" : "a list of token ids", ", got ",
                        has(key)
                            ? json.at(key).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).substr(0, 80)
                            : "none");
    }
  }

  /// KEY_ids as it stands, or KEY encoded.
  std::vector<int32_t> tokens(const std::string& key, const grpo::Tokenizer& tokenizer) const {
    if (has((key + "_ids").c_str())) return get<std::vector<int32_t>>((key + "_ids").c_str());
    return tokenizer.encode(get<std::string>(key.c_str()));
  }
};

/// Throws Error, naming the line, for what is no object.
inline std::vector<Line> read_lines(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw grpo::Error("line", file, ": expected a JSONL file, got no such file");
  std::vector<Line> lines;
  std::size_t number = 0;
  for (std::string text; std::getline(in, text);) {
    const std::string where = file + ':' + std::to_string(++number);
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto json = grpo::read_json<nlohmann::ordered_json>(text);
    if (!json.is_object()) throw grpo::Error("line", where, ": expected a JSON object, got ", text.substr(0, 80));
    lines.push_back({std::move(json), where});
  }
  return lines;
}
