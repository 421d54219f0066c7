#include "grpo/pretrained.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <system_error>
#include <tuple>

#include "base/files/durable_file.h"
#include "base/files/model_file.h"
#include "base/plain_words.h"
#include "grpo/error.h"
#include "grpo/safetensors.h"
#include "policy/pretrained_config.h"
#include "policy/pretrained_tensors.h"

namespace grpo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kHead = "lm_head.weight";
constexpr const char* kEmbedding = "model.embed_tokens.weight";

// ---- Files ----------------------------------------------------------------------------------------------------------

/// Refuses a config.json with more layers or experts than the files have tensors, before they are counted out one by
/// one, and tables of positions that no model needs.
void expect_possible(const PolicyConfig& config, const std::vector<SafetensorsFile>& files, const std::string& where) {
  double tensors = 0;
  for (const SafetensorsFile& file : files) tensors += static_cast<double>(file.entries().size());
  double experts = 0;
  if (config.layers <= tensors)
    for (int layer = 0; layer < config.layers; ++layer) experts += config.is_moe(layer) ? config.moe.experts : 0;
  if (config.layers > tensors || config.moe.experts > tensors || experts > tensors)
    throw Error("pretrained", where, ": expected the tensors of the ", config.layers, " layers",
                config.moe.experts > 0 ? " of " + std::to_string(config.moe.experts) + " experts" : "",
                " that its config.json describes, got files with ", tensors, " tensors");
  const double table = 4.0 * config.max_positions * static_cast<double>(config.layout().rotary_dim());
  if (table > (1 << 30))
    throw Error("pretrained", where, ": expected max_positions whose cosines and sines fit 1 GiB, got ",
                config.max_positions, "; lower it");
}

// The safetensors files of a folder.
std::vector<SafetensorsFile> weight_files(const fs::path& folder) {
  std::error_code ignored;
  const auto is_there = [&](const fs::path& name) {
    return fs::symlink_status(folder / name, ignored).type() != fs::file_type::not_found;
  };
  if (!is_there(kIndex)) {
    if (!is_there(kWeights))
      throw Error("pretrained", folder.string(), ": expected ", kWeights, " or ", kIndex, ", found neither");
    return {SafetensorsFile(folder / kWeights)};
  }
  const std::string where = (folder / kIndex).string();
  const Json index = object_in(folder / kIndex);
  if (!index.contains("weight_map") || !index.at("weight_map").is_object())
    throw Error("pretrained", where, ": expected an object \"weight_map\", got none");
  std::set<std::string> names;
  for (const auto& [tensor, file] : index.at("weight_map").items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    if (name.empty() || name == "." || name == ".." || name.size() > 255 ||
        name.find_first_of(std::string("/\0", 2)) != std::string::npos)
      throw Error("pretrained", where, ": ", cut(tensor, 200), ": expected the name of a file in the folder, got ",
                  shown(file));
    names.insert(name);
  }
  std::vector<SafetensorsFile> files;
  for (const std::string& name : names) {
    if (!is_there(name)) throw Error("pretrained", where, ": expected the file \"", name, "\", it is not there");
    files.emplace_back(folder / name);
  }
  return files;
}

// Layers behind the decoder that predict more than one token ahead: not loaded.
bool predicts_further(const std::string& name, const Json& json) {
  constexpr std::string_view kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) return false;
  const int64_t layers = json.at("num_hidden_layers"), layer = std::atoll(name.c_str() + kLayers.size());
  return std::any_of(std::begin(kFurtherLayers), std::end(kFurtherLayers), [&](const char* key) {
    const Json more = json.value(key, Json());
    return more.is_number_integer() && layer >= layers && layer - layers < more.get<int64_t>();
  });
}

// What is copied may be published, so a link to another's file must not be followed: only one within the folder, or
// that of a cache of Hugging Face's, from snapshots/REVISION to blobs.
std::vector<fs::path> files_to_copy(const fs::path& from, const fs::path& to) {
  std::vector<fs::path> files;
  std::error_code failure;
  if (fs::equivalent(from, to, failure)) return files;
  const fs::path home = fs::canonical(from, failure);
  const bool in_cache = home.parent_path().filename() == "snapshots";
  const fs::path blobs = home.parent_path().parent_path() / "blobs";
  for (const char* name :
       {"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json"}) {
    const fs::path file = from / name;
    if (fs::symlink_status(file, failure).type() == fs::file_type::not_found) continue;
    const fs::path place = fs::canonical(file, failure).parent_path();
    if (!fs::is_regular_file(file, failure) || (place != home && !(in_cache && place == blobs)))
      throw Error("pretrained", file.string(), ": expected a file, or a link within the folder or to the blobs of its ",
                  "cache, got neither; it would be copied: put the file itself there");
    files.push_back(file);
  }
  return files;
}

// Whether the weights of the folder, if it has any, hold an output projection that is not the embedding.
bool has_head_of_its_own(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::exists(fs::symlink_status(folder / kIndex, ignored)) &&
      !fs::exists(fs::symlink_status(folder / kWeights, ignored)))
    return false;
  const std::vector<SafetensorsFile> files = weight_files(folder);
  std::map<std::string, Source> found;
  for (const SafetensorsFile& file : files)
    for (const auto& entry : file.entries())
      if (entry.name == kHead || entry.name == kEmbedding) found[entry.name] = {&file, &entry};
  const Source head = found[kHead], embedding = found[kEmbedding];
  if (!head.entry || !embedding.entry || !at::isFloatingType(head.entry->dtype) ||
      !at::isFloatingType(embedding.entry->dtype) || head.entry->shape != embedding.entry->shape)
    return false;  // what is wrong with them is said when they are read
  const bool alike = head.entry->dtype == embedding.entry->dtype &&
                     (head.entry->dtype == at::kBFloat16 || head.entry->dtype == at::kHalf);
  const at::Tensor left = at::empty(head.entry->shape, alike ? head.entry->dtype : at::kFloat);
  const at::Tensor right = at::empty_like(left);
  head.file->read(*head.entry, left), embedding.file->read(*embedding.entry, right);
  return !at::equal(left, right);
}

// The folder's config.json, so that it says of the embedding what its weights say.
OrderedJson description_of(const fs::path& folder) {
  object_in(folder / kConfig);  // refuses what is not safe to parse
  OrderedJson json = OrderedJson::parse(read_model_file("pretrained", folder / kConfig).value());
  if (json.value("tie_word_embeddings", OrderedJson()) == true && has_head_of_its_own(folder))
    json["tie_word_embeddings"] = false;
  return json;
}

}  // namespace

std::optional<std::string> pretrained_warning(const fs::path& folder) {
  const Json json = object_in(folder / kConfig);
  if (json.value("tie_word_embeddings", Json()) != true || pretrained_config(folder).tied_embeddings) return {};
  return (folder / kConfig).string() + " says \"tie_word_embeddings\": true, but the weights hold an " + kHead +
         " that is not the embedding; it is what counts (as in transformers 5; earlier ones left it out). Say false "
         "there, or take the tensor away";
}

PolicyConfig pretrained_config(const fs::path& folder) {
  const fs::path file = folder / kConfig;
  const Json json = object_in(file);
  PolicyConfig config = config_of(json, file.string());
  if (config.tied_embeddings && has_head_of_its_own(folder)) config.tied_embeddings = false;
  return config;
}

Policy load_pretrained(const fs::path& folder, const PolicyConfig& config, at::Device device, uint64_t seed) {
  if (dump_config(pretrained_config(folder).with_choices_of(config)) != dump_config(config))
    throw Error("pretrained", folder.string(), ": expected the policy that its config.json describes, up to dtype, ",
                "max_positions, moe.auxiliary_loss and adapter, got ", dump_config(config).dump());
  const std::vector<SafetensorsFile> files = weight_files(folder);
  const std::string where = folder.string();
  const Json json = object_in(folder / kConfig);
  const Family& family = family_of(json, (folder / kConfig).string());
  // Against shapes without memory first: nothing is allocated for a model that is not in the files.
  expect_possible(config, files, where);
  PolicyConfig whole = config;
  whole.adapter = {};
  PolicyConfig shapes = whole;
  shapes.max_positions = 1;
  std::vector<Source> sources;
  try {
    const Policy outline = Policy::uninitialized(shapes, at::kMeta);
    const auto is_of_no_use = [&](const std::string& name) {  // computed from the config, or a copy of the embedding
      return name.ends_with(".rotary_emb.inv_freq") || predicts_further(name, json) ||
             (config.tied_embeddings && name == kHead);
    };
    sources = sources_of(slots_of(outline, family, where), files, is_of_no_use, json, where, kConfig);
  } catch (const c10::Error&) {
    throw Error("pretrained", where, ": expected sizes in config.json that can be addressed, got ",
                dump_config(config).dump());
  }
  validate(config, "policy");  // an adapter that it cannot have is told of before the weights are read
  Policy policy = Policy::uninitialized(whole, device);
  const std::vector<Slot> slots = slots_of(policy, family, where);
  for (size_t i = 0; i < slots.size(); ++i) sources[i].file->read(*sources[i].entry, slots[i].part);
  if (config.adapter.rank == 0) return policy;
  Policy adapted = std::move(policy).adapted(config.adapter, seed);
  if (!config.adapter.from.empty()) load_adapter(adapted, config.adapter.from, folder);
  return adapted;
}

Policy load_pretrained(const fs::path& folder) { return load_pretrained(folder, pretrained_config(folder)); }

void save_pretrained(const Policy& policy, const fs::path& folder, const fs::path& like,
                     std::optional<at::ScalarType> wanted, int64_t shard_bytes) {
  const at::ScalarType dtype = wanted.value_or(policy.config().dtype == DType::bfloat16 ? at::kBFloat16 : at::kFloat);
  const char* dtype_name = dtype == at::kFloat      ? "float32"
                           : dtype == at::kHalf     ? "float16"
                           : dtype == at::kBFloat16 ? "bfloat16"
                                                    : nullptr;
  if (!dtype_name)
    throw Error("pretrained", folder.string(), ": expected to write float32, float16 or bfloat16, got ",
                toString(dtype));
  const PolicyConfig& config = policy.config();
  if (dump_config(pretrained_config(like).with_choices_of(config)) != dump_config(config))
    throw Error("pretrained", folder.string(), ": expected a policy of the form of ", like.string(), ", got ",
                dump_config(config).dump());
  OrderedJson json = description_of(like);
  files_to_copy(like, folder);  // refused before anything is written
  const std::vector<Slot> slots =
      slots_of(policy, family_of(object_in(like / kConfig), (like / kConfig).string()), folder.string());
  for (const char* key : kFurtherLayers)
    if (json.contains(key)) json[key] = 0;
  for (const char* key : {"dtype", "torch_dtype"})
    if (json.contains(key) || key == std::string("torch_dtype")) json[key] = dtype_name;

  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure) throw Error("pretrained", folder.string(), ": expected a folder that can be made, ", failure.message());
  // Selection biases move by steps that are too small for two bytes.
  const auto type_of = [&](const Slot& slot) {
    return slot.name.ends_with(".e_score_correction_bias") ? at::kFloat : dtype;
  };
  std::vector<std::vector<const Slot*>> shards(1);
  int64_t total = 0, filled = 0;
  for (const Slot& slot : slots) {
    const int64_t bytes = slot.part.numel() * static_cast<int64_t>(at::elementSize(type_of(slot)));
    if (filled > 0 && filled + bytes > shard_bytes) shards.emplace_back(), filled = 0;
    shards.back().push_back(&slot);
    filled += bytes, total += bytes;
  }
  OrderedJson map = OrderedJson::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    char name[64] = "model.safetensors";
    if (shards.size() > 1) std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
    NamedTensors tensors;  // what is converted is held for one shard at a time
    for (const Slot* slot : shards[i]) tensors.emplace_back(slot->name, slot->value().to(type_of(*slot)));
    const fs::path unfinished = folder / (std::string(".tmp-") + name);
    save_safetensors(unfinished, tensors, {{"format", "pt"}});
    rename_durably("pretrained", unfinished, folder / name);
    for (const Slot* slot : shards[i]) map[slot->name] = name;
  }
  const auto write = [&](const char* name, const OrderedJson& value) {
    write_file("pretrained", folder / name, value.dump(2) + "\n");
  };
  if (shards.size() > 1) write(kIndex, {{"metadata", {{"total_size", total}}}, {"weight_map", map}});
  write(kConfig, json);
  copy_tokenizer_files(like, folder);
}

void copy_all_but_weights(const fs::path& from, const fs::path& to) {
  write_file("pretrained", to / kConfig, description_of(from).dump(2) + "\n");
  copy_tokenizer_files(from, to);
}

void copy_tokenizer_files(const fs::path& from, const fs::path& to) {
  for (const fs::path& file : files_to_copy(from, to)) copy_file("pretrained", file, to / file.filename());
}

}  // namespace grpo
