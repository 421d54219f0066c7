// The lines of JSONL files, for tools that give each of them back with something added.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "grpo/error.h"
#include "grpo/json.h"
#include "grpo/tasks.h"
#include "grpo/tokenizer.h"

struct Line {
  nlohmann::ordered_json json;
  std::string where;  // FILE:LINE, for errors
  std::string text = {};  // as it stands

  bool has(const char* key) const { return json.contains(key); }

  template <class T>
  T get(const char* key) const {
    if constexpr (std::is_same_v<T, std::vector<int32_t>>) return ids(key);
    try {
      return json.at(key).get<T>();
    } catch (const nlohmann::json::exception&) {
      refuse(key, "a text");
    }
  }

  /// Throws Error: expected `key` to be `expected`.
  [[noreturn]] void refuse(const char* key, std::string_view expected) const;

  /// The line, with its end, and these members behind its own; those of its own with one of their names go, and those
  /// in `without`. All else is as it was written: numbers keep their digits, keys their order.
  std::string with(const nlohmann::ordered_json& members, std::initializer_list<std::string_view> without = {}) const;
  /// The same of members that are written already, "\"a\":1,\"b\":2"; those of its own in `without` go.
  std::string with_written(std::string_view members, std::span<const std::string_view> without) const;

  /// KEY_ids as it stands, or KEY encoded by the tokenizer that is then asked for.
  std::vector<int32_t> tokens(const std::string& key, const std::function<const grpo::Tokenizer&()>& tokenizer) const;

 private:
  std::vector<int32_t> ids(const char* key) const;
};

/// One line as an object, read as json.h says; a number that would lose digits is their text. Throws Error, naming
/// `where`, for what is none.
Line parse_line(std::string_view text, const std::string& where);

/// The lines of a file one after the other; blank ones are passed over.
class LineReader {
 public:
  /// "-" is standard input. Throws Error when there is no such file.
  explicit LineReader(const std::string& file);

  /// The next line as it stands, and FILE:LINE; false at the end. Throws Error when the file cannot be read, or has no
  /// line.
  bool next(std::string& text, std::string& where);

 private:
  std::string file_;
  std::ifstream opened_;
  std::istream& in_;
  std::size_t number_ = 0;
  bool is_empty_ = true;
};

/// All of them, parsed; those that are no object are counted in `left_out`, or, without, an Error. So it is an Error
/// where none is one.
std::vector<Line> read_lines(const std::string& file, grpo::LeftOut* left_out = nullptr);

/// What a tool writes. Under its name there is what was there before until finish(): lines go to FILE.part (or what
/// `part` is in place of that ending), which then takes the name. So an error, a signal or a power cut costs nothing.
/// What is no regular file (standard output, which is "-" or /dev/stdout, a pipe, /dev/null) is written to as it is.
class LineWriter {
 public:
  /// Throws Error when `file` is one of `inputs`, under whatever name, or cannot be written.
  LineWriter(const std::string& file, std::initializer_list<std::string> inputs, std::string_view part = ".part");
  ~LineWriter();  ///< without finish() FILE.part stays, and standard error says so; an empty one goes
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  /// Lines with their ends, handed to the system at once. Throws Error when that cannot be done, and grpo::ReaderGone
  /// where it is a pipe whose reader has gone.
  void write_lines(std::string_view lines);
  /// Broken UTF-8 becomes U+FFFD, numbers that are not finite null.
  void write(const nlohmann::ordered_json& line);

  void finish();

  /// What is written, where it is a regular file; else "".
  std::filesystem::path regular_file() const { return part_.empty() ? std::filesystem::path() : file_; }

 private:
  [[noreturn]] void fail(const char* action) const;

  std::filesystem::path file_, part_;  // part_: "" where there is none
  int descriptor_ = -1;
  std::size_t bytes_ = 0;
};
