// The config.json of model folders, family by family.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "grpo/error.h"
#include "grpo/policy.h"

namespace grpo {

inline constexpr const char* kConfig = "config.json";

/// How many layers behind the decoder predict more than one token ahead; the reference has renamed it.
inline constexpr const char* kFurtherLayers[] = {"num_nextn_predict_layers", "num_mtp_layers"};

/// The object in a file. Throws Error where there is none.
nlohmann::json object_in(const std::filesystem::path& file);

/// The beginning of a value, for errors.
std::string shown(const nlohmann::json& value);

/// The fields of a config.json, each of which must be asked for: what nobody knows is refused at the end, unless its
/// value says that it is off.
class Fields {
 public:
  Fields(const nlohmann::json& json, std::string where) : json_(json), where_(std::move(where)) {}

  /// The value, or `otherwise` where it is absent or null.
  template <class T>
  T get(const std::string& key, T otherwise) {
    known_.insert(key);
    return has(key) ? as<T>(key) : otherwise;
  }
  template <class T>
  T get(const std::string& key) {
    known_.insert(key);
    if (!has(key)) throw Error("pretrained", where_, ": expected \"", key, "\", got none");
    return as<T>(key);
  }
  bool has(const std::string& key) const { return json_.contains(key) && !json_.at(key).is_null(); }

  /// As it stands; null where it is absent.
  nlohmann::json raw(const std::string& key) {
    known_.insert(key);
    return has(key) ? json_.at(key) : nlohmann::json();
  }

  /// A list's items; none where it is absent or null.
  nlohmann::json list(const std::string& key) {
    const nlohmann::json value = raw(key);
    if (!value.is_null() && !value.is_array())
      throw Error("pretrained", where_, ": \"", key, "\": expected a list, got ", shown(value));
    return value;
  }

  /// Refuses any value but this one; absent is the same as it.
  void expect(const std::string& key, const nlohmann::json& value) {
    known_.insert(key);
    if (has(key) && json_.at(key) != value)
      throw Error("pretrained", where_, ": \"", key, "\": only ", shown(value), " is supported, got ",
                  shown(json_.at(key)));
  }
  /// What changes nothing that a policy of this family computes.
  void ignore(std::initializer_list<const char*> keys) { known_.insert(keys.begin(), keys.end()); }
  Fields inside(const std::string& key) {
    known_.insert(key);
    static const nlohmann::json kNothing = nlohmann::json::object();
    const nlohmann::json& value = has(key) ? json_.at(key) : kNothing;
    if (!value.is_object())
      throw Error("pretrained", where_, ": \"", key, "\": expected an object, got ", shown(value));
    return {value, where_ + ": " + key};
  }
  void refuse_others() const;
  const std::string& where() const { return where_; }

 private:
  template <class T>
  T as(const std::string& key) const {
    const nlohmann::json& value = json_.at(key);
    const bool fits = std::is_same_v<T, bool>          ? value.is_boolean()
                      : std::is_same_v<T, std::string> ? value.is_string()
                      : std::is_integral_v<T>          ? value.is_number_integer()
                                                       : value.is_number();
    if (!fits) throw Error("pretrained", where_, ": \"", key, "\": got ", shown(value), ", which is not of its type");
    if constexpr (std::is_same_v<T, int>) {
      const auto whole = value.get<int64_t>();
      if (whole < 0 || whole > (1 << 30))
        throw Error("pretrained", where_, ": \"", key, "\": expected 0 … 2^30, got ", shown(value));
    }
    return value.get<T>();
  }

  const nlohmann::json& json_;
  std::string where_;
  std::set<std::string> known_;
};

/// How a family is described in config.json, and where its experts lie under a layer. A new one is a line of kFamilies.
struct Family {
  const char *architecture, *model_type;
  void (*read)(Fields&, PolicyConfig&);
  const char *experts, *gate, *up, *down;
  Attention attention = Attention::gqa;
  bool selection_bias = false;
  double rope_theta = 1e4;  // where config.json does not say it
};

/// Throws Error for a family that is not known.
const Family& family_of(const nlohmann::json& json, std::string_view where);

/// The policy that a config.json describes, whose embedding may be tied though the weights say otherwise. Throws Error
/// for what is not known of it, naming `where` and the field.
PolicyConfig config_of(const nlohmann::json& json, const std::string& where);

}  // namespace grpo
