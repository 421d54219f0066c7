// Files of a test, and a folder for them that goes away.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

namespace grpo {

/// The bytes of a file; "" where there is none.
inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::vector<nlohmann::ordered_json> lines_of(const std::filesystem::path& jsonl) {
  std::vector<nlohmann::ordered_json> lines;
  std::istringstream in(read_file(jsonl));
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::ordered_json::parse(line));
  return lines;
}

/// The lines of a metrics.jsonl, but for what a clock says.
inline std::vector<nlohmann::ordered_json> metrics_without_timings(const std::filesystem::path& run) {
  std::vector<nlohmann::ordered_json> lines;
  for (const auto& line : lines_of(run / "metrics.jsonl")) {
    auto kept = nlohmann::ordered_json::object();
    for (const auto& [key, value] : line.items())
      if (!key.starts_with("seconds/") && key != "tokens_per_second") kept[key] = value;
    lines.push_back(kept);
  }
  return lines;
}

/// A fresh folder, gone with its owner.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "grpo-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::filesystem::path operator/(const std::filesystem::path& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }
  operator const std::filesystem::path&() const { return path_; }  // NOLINT: it is one

 private:
  std::filesystem::path path_;
};

}  // namespace grpo
