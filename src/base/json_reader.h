// The members of a JSON object that was written by someone else.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "grpo/error.h"

namespace grpo {

/// Reads with checks: what is missing, of another type, or not known is an Error that names `where` and the key.
class JsonReader {
 public:
  JsonReader(const nlohmann::json& object, std::string where, std::string room = "tokenizer")
      : object_(object), where_(std::move(where)), room_(std::move(room)) {
    if (!object.is_object()) throw Error(room_, where_, ": expected an object, got ", object.type_name());
  }

  [[noreturn]] void refuse(std::string_view key, std::string_view expected) const {
    const auto found = object_.find(key);
    const std::string got = found == object_.end() ? "nothing" : found->dump(-1, ' ', false, kReplace).substr(0, 120);
    throw Error(room_, where_, '.', key, ": expected ", expected, ", got ", got);
  }

  /// Throws when there is a key beyond these: an option that nobody reads must not be one that matters.
  void expect_keys(std::initializer_list<std::string_view> known) const {
    for (const auto& [key, value] : object_.items())
      if (std::find(known.begin(), known.end(), key) == known.end()) refuse(key, "no option of that name");
  }

  const nlohmann::json& optional(std::string_view key) const {
    static const nlohmann::json null;
    const auto found = object_.find(key);
    return found == object_.end() ? null : *found;
  }
  const nlohmann::json& required(std::string_view key) const {
    if (!object_.contains(key)) refuse(key, "a value");
    return *object_.find(key);
  }
  const std::string& string(std::string_view key) const {
    if (!required(key).is_string()) refuse(key, "a string");
    return required(key).get_ref<const std::string&>();
  }
  bool boolean(std::string_view key) const {
    if (!required(key).is_boolean()) refuse(key, "true or false");
    return required(key).get<bool>();
  }
  bool boolean(std::string_view key, bool otherwise) const { return object_.contains(key) ? boolean(key) : otherwise; }
  std::int64_t count(std::string_view key, std::int64_t limit) const {
    const nlohmann::json& value = required(key);
    if (!value.is_number_integer() || value < 0 || value >= limit)
      refuse(key, "an integer from 0 to " + std::to_string(limit - 1));
    return value.get<std::int64_t>();
  }
  const std::string& where() const { return where_; }
  const nlohmann::json& object() const { return object_; }

 private:
  static constexpr auto kReplace = nlohmann::json::error_handler_t::replace;
  const nlohmann::json& object_;
  std::string where_, room_;
};

}  // namespace grpo
