#include "grpo/model.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/files/durable_file.h"
#include "base/files/input_file.h"
#include "base/files/xxhash64.h"
#include "base/plain_words.h"
#include "grpo/checkpoint.h"
#include "grpo/device.h"
#include "grpo/error.h"
#include "grpo/messages.h"
#include "grpo/pretrained.h"
#include "grpo/run.h"

namespace grpo {
namespace fs = std::filesystem;

namespace {

[[noreturn]] void refuse(const fs::filesystem_error& error) { throw Error("model", plain_words(error)); }

}  // namespace

// ---- What a run keeps -----------------------------------------------------------------------------------------------

void RunFiles::remove() const try {
  fs::remove_all(pretrained());
  fs::remove(vocabulary());
} catch (const fs::filesystem_error& error) {
  refuse(error);
}

void RunFiles::learn_tokenizer(const std::vector<std::string>& documents, const TokenizerConfig& config) const {
  remove();
  Tokenizer::train(documents, config, vocabulary());
}

std::optional<std::string> RunFiles::take_from(const fs::path& model_folder) const try {
  pretrained_config(model_folder);  // refuses what is no such folder
  if (is_there(pretrained()) && fs::equivalent(model_folder, pretrained())) return std::nullopt;
  const fs::path unfinished = folder_ / ".tmp-pretrained";
  fs::remove_all(unfinished);
  fs::create_directories(unfinished);
  copy_all_but_weights(model_folder, unfinished);
  Tokenizer::load(unfinished).eos();  // without one nothing would ever end
  remove();
  rename_durably("model", unfinished, pretrained());
  return pretrained_warning(model_folder);
} catch (const fs::filesystem_error& error) {
  refuse(error);
}

void RunFiles::copy_to(const fs::path& run) const try {
  const RunFiles there(run);
  if (is_there(pretrained())) return (void)there.take_from(pretrained());
  copy_file("model", vocabulary(), there.vocabulary());
} catch (const fs::filesystem_error& error) {
  refuse(error);
}

bool RunFiles::has_tokenizer() const { return is_there(pretrained()) || is_there(vocabulary()); }

Tokenizer RunFiles::tokenizer() const {
  return Tokenizer::load(is_there(pretrained()) ? pretrained() : vocabulary());
}

ChatTemplate RunFiles::chat(const ChatTemplate& chat) const {
  if (!chat.text.empty()) return chat;
  if (!is_there(pretrained()))
    throw Error("model", "chat.text: expected a text with {prompt}, got \"\"; only a policy that comes from a model ",
                "folder (policy.from) can have a chat template of its own");
  ChatTemplate own = chat;
  own.messages = std::make_shared<MessageTemplate>(MessageTemplate::load(pretrained()));
  return own;
}

PolicyConfig RunFiles::policy_config(const PolicyConfig& config) const {
  if (!config.from.empty()) return shape_from(pretrained(), config);
  PolicyConfig complete = config;
  if (config.vocab_size > 0 && !has_tokenizer()) return complete;  // whoever asks works with tokens
  const int pieces = tokenizer().vocab_size();
  if (config.vocab_size == 0) complete.vocab_size = pieces;
  if (complete.vocab_size < pieces)
    throw Error("config", "policy.vocab_size: expected at least the ", pieces, " pieces of the tokenizer, got ",
                config.vocab_size, "; 0 stands for as many");
  return complete;
}

PolicyConfig shape_from(const fs::path& model_folder, const PolicyConfig& config) {
  const PolicyConfig theirs = pretrained_config(model_folder);
  PolicyConfig shape = theirs.with_choices_of(config);
  shape.max_positions = std::min(theirs.max_positions, config.max_positions);
  return shape;
}

Policy RunFiles::first_policy(const PolicyConfig& config, uint64_t seed, at::Device device) const {
  const PolicyConfig complete = policy_config(config);
  return config.from.empty() ? Policy(complete, seed, device) : load_pretrained(config.from, complete, device, seed);
}

Policy RunFiles::outline(const PolicyConfig& config, at::Device device) const {
  Policy policy = Policy::uninitialized(config, device);
  read_frozen(folder_, policy.frozen());
  return policy;
}

void RunFiles::save_model(const Policy& policy, const std::string& base) const {
  if (!is_there(pretrained())) return;
  save_pretrained(policy, folder_ / "model", pretrained());
  if (!policy.adapters().empty()) save_adapter(policy, folder_ / "adapter", pretrained(), base);
}

// ---- Opening --------------------------------------------------------------------------------------------------------

namespace {

std::optional<DType> dtype_of(const std::string& name) {
  for (const auto& [value, spelling] : EnumNames<DType>::values)
    if (spelling == name) return value;
  return std::nullopt;
}

nlohmann::json read_config(const fs::path& file) {
  return parse_json(read_input("model", file), file.string());
}

}  // namespace

void ModelConfig::validate() const {
  if (model.empty()) throw Error("config", "expected --model FOLDER, got none (see --help)");
}

namespace {

/// Where a model lies, and what its config.json says.
struct Place {
  fs::path folder, file;               // file: config.json
  std::optional<fs::path> checkpoint;  // of a run
  bool newest = false;                 // it was not named, but is the newest one
  nlohmann::json saved;
  bool is_run() const { return saved.contains("policy"); }
};

Place find_model(const ModelConfig& config) {
  validate(config, "model");
  Place place;
  place.folder = fs::absolute(config.model).lexically_normal();
  if (!place.folder.has_filename()) place.folder = place.folder.parent_path();  // "runs/zero/" is "runs/zero"
  if (is_there(place.folder / "manifest.json"))
    place.checkpoint = place.folder, place.folder = place.folder.parent_path().parent_path();
  place.file = place.folder / "config.json";
  if (!is_there(place.file))
    throw Error("model", config.model, ": expected a run's folder, a recipe's stage, a checkpoint in one, or a model ",
                "folder of Hugging Face's form; found no config.json");
  place.saved = read_config(place.file);
  if (place.is_run()) {
    place.newest = !place.checkpoint;
    if (place.newest) place.checkpoint = newest_checkpoint(place.folder);
    if (!place.checkpoint)
      throw Error("model", "expected a checkpoint in ", config.model, ", found none; has the run saved one yet?");
  } else if (place.saved.contains("stages")) {
    const auto& stages = place.saved.at("stages");
    const bool named = stages.is_array() && !stages.empty() && stages[0].is_object() && stages[0].contains("name") &&
                       stages[0]["name"].is_string();
    throw Error("model", config.model, ": expected a model, got a recipe's folder; name a stage in it, such as ",
                (fs::path(config.model) / (named ? stages[0]["name"].get<std::string>() : "STAGE")).string());
  }
  return place;
}

template <class Config>
Config load_part(const Place& place, const char* key) {
  Config config;
  if (place.saved.contains(key)) load_json(config, place.saved.at(key), place.file.string() + ": " + key);
  return config;
}

// The run may be going on: where the newest checkpoint goes away while it is read, the one that is then the newest is.
CheckpointContents read_contents(const Place& place) {
  for (fs::path checkpoint = *place.checkpoint;;) try {
      return read_checkpoint(checkpoint);
    } catch (const std::exception&) {
      const auto next = place.newest && !is_there(checkpoint) ? newest_checkpoint(place.folder) : std::nullopt;
      if (!next) throw;
      checkpoint = *next;
    }
}

Policy load_policy(const Place& place, const ModelConfig& config) {
  const at::Device device = open_device(config.device);
  PolicyConfig policy_config = place.is_run()
                                   ? RunFiles(place.folder).policy_config(load_part<PolicyConfig>(place, "policy"))
                                   : pretrained_config(place.folder);
  policy_config.dtype = dtype_of(config.dtype).value_or(policy_config.dtype);
  if (config.max_positions > 0)
    policy_config.max_positions = std::min(policy_config.max_positions, config.max_positions);
  if (!place.is_run()) return load_pretrained(place.folder, policy_config, device);
  const CheckpointContents contents = read_contents(place);  // which looks for damage first
  Policy policy = RunFiles(place.folder).outline(policy_config, device);
  policy.load_state(contents.policy);
  return policy;
}

std::string warning_of(const Place& place) {
  return place.is_run() ? "" : pretrained_warning(place.folder).value_or("");
}

Tokenizer load_tokenizer(const Place& place) {
  return place.is_run() ? RunFiles(place.folder).tokenizer() : Tokenizer::load(place.folder);
}

}  // namespace

Policy open_policy(const ModelConfig& config) try {
  return load_policy(find_model(config), config);
} catch (const fs::filesystem_error& error) {
  refuse(error);
}

Tokenizer open_tokenizer(const ModelConfig& config) try {
  return load_tokenizer(find_model(config));
} catch (const fs::filesystem_error& error) {
  refuse(error);
}

std::string model_warning(const ModelConfig& config) try {
  return warning_of(find_model(config));
} catch (const fs::filesystem_error& error) {
  refuse(error);
}

std::string fingerprint(const Policy& policy) {
  XxHash64 hash;
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    const at::Tensor bytes = tensor.cpu().contiguous();
    hash.update(name.data(), name.size());
    hash.update(bytes.data_ptr(), bytes.nbytes());
  };
  for (const auto& [name, tensor] : policy.weights()) add(name, tensor);
  for (const auto& [name, adapter] : policy.adapters())
    for (const at::Tensor& factor : {adapter.a, adapter.b * adapter.scale}) add(name, factor.detach());
  return hash.hex();
}

Model open_model(const ModelConfig& config) try {
  const Place place = find_model(config);
  if (place.is_run()) {
    const ChatTemplate chat = RunFiles(place.folder).chat(load_part<ChatTemplate>(place, "chat"));
    auto rewards = load_part<RewardsConfig>(place, "rewards");
    rewards.think_open = chat.opens_think();
    const auto rollout = load_part<RolloutConfig>(place, "rollout");
    return {load_policy(place, config), load_tokenizer(place), chat, rewards, rollout, ""};
  }
  RewardsConfig rewards;
  rewards.accuracy_needs_format = false;
  RolloutConfig rollout;
  rollout.max_new_tokens = 512;
  return {load_policy(place, config),
          load_tokenizer(place),
          {"{prompt}"},
          rewards,
          rollout,
          place.folder,
          warning_of(place)};
} catch (const fs::filesystem_error& error) {
  refuse(error);
}

ChatTemplate Model::own_chat() const {
  if (pretrained.empty()) return chat;
  return {"", std::make_shared<MessageTemplate>(MessageTemplate::load(pretrained))};
}

}  // namespace grpo
