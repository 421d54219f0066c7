#include "base/files/model_file.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "grpo/config.h"
#include "grpo/error.h"

namespace grpo {

namespace fs = std::filesystem;

std::optional<std::string> read_model_file(std::string_view room, const fs::path& file) {
  std::error_code failure;
  if (fs::symlink_status(file, failure).type() == fs::file_type::not_found) return std::nullopt;
  const fs::file_status status = fs::status(file, failure);
  if (status.type() == fs::file_type::not_found)
    throw Error(room, file.string(), ": expected a file, got a link that leads to none");
  if (!fs::is_regular_file(status))
    throw Error(room, file.string(), ": expected a file, got ",
                failure                    ? failure.message()
                : fs::is_directory(status) ? "a folder"
                                           : "a device, pipe or socket");
  const std::uintmax_t size = fs::file_size(file, failure);
  if (failure || size > kMostModelFileBytes)
    throw Error(room, file.string(), ": expected a file of at most ", kMostModelFileBytes, " bytes, got ",
                failure ? failure.message() : std::to_string(size));
  std::string bytes(size, '\0');
  std::ifstream stream(file, std::ios::binary);
  stream.read(bytes.data(), static_cast<std::streamsize>(size));
  if (!stream)
    throw Error(room, file.string(), ": expected a file of ", size, " bytes that can be read, got ", stream.gcount());
  return bytes;
}

nlohmann::json parse_model_json(std::string_view text, const std::string& where) {
  constexpr int kDeepest = 100;
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    // To nlohmann's parser it is an end of the text, so that more could hide behind it.
    if (c == '\0') throw Error("config", where, ": expected JSON, got a zero at byte ", i);
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '/') throw Error("config", where, ": expected JSON without comments, got a / at byte ", i);
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    if (depth > kDeepest)
      throw Error("config", where, ": expected JSON at most ", kDeepest, " levels deep, got more at byte ", i);
  }
  return parse_json(text, where);
}

std::optional<nlohmann::json> read_model_object(std::string_view room, const std::filesystem::path& file) {
  const auto text = read_model_file(room, file);
  if (!text) return std::nullopt;
  nlohmann::json json = parse_model_json(*text, file.string());
  if (!json.is_object()) throw Error(room, file.string(), ": expected a JSON object, got ", json.type_name());
  return json;
}

}  // namespace grpo
