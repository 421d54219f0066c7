#include "grpo/checkpoint.h"

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>
#include <utility>

#include "base/files/durable_file.h"
#include "base/files/input_file.h"
#include "base/plain_words.h"
#include "grpo/error.h"
#include "grpo/json.h"
#include "policy/safetensors_digest.h"

namespace grpo {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr std::string_view kRoom = "checkpoint";
constexpr std::string_view kTemporary = ".tmp-";
constexpr std::string_view kReplaced = ".old-";  // see give_name
constexpr std::string_view kStep = "step-";
constexpr const char* kPolicy = "policy.safetensors";
constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kReference = "reference.safetensors";
constexpr const char* kState = "state.json";
constexpr const char* kManifest = "manifest.json";
constexpr const char* kFrozen = "frozen.safetensors";
constexpr const char* kFrozenManifest = "frozen.json";
constexpr const char* kFrozenFromCheckpoint = "../../frozen.safetensors";

// The step of a checkpoint folder's name, or -1 for any other name.
int64_t step_of(const fs::path& folder) {
  std::string name = folder.filename().string();
  if (name.starts_with(kReplaced)) name.erase(0, kReplaced.size());
  if (!name.starts_with(kStep) || name.size() == kStep.size() || name.size() > kStep.size() + 18) return -1;
  const std::string digits = name.substr(kStep.size());
  const bool is_number =
      std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  return is_number ? std::stoll(digits) : -1;
}

std::vector<fs::path> folders_in(const fs::path& parent) {
  std::vector<fs::path> folders;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(parent, code)) {
    if (entry.is_directory(code)) folders.push_back(entry.path());
  }
  return folders;
}

std::vector<fs::path> checkpoints_in(const fs::path& parent) {
  std::vector<fs::path> found = folders_in(parent);
  std::erase_if(found, [&](const fs::path& folder) {
    const std::string name = folder.filename().string();
    return step_of(folder) < 0 || (name.starts_with(kReplaced) && fs::exists(parent / name.substr(kReplaced.size())));
  });
  std::sort(found.begin(), found.end(), [](const fs::path& a, const fs::path& b) { return step_of(a) < step_of(b); });
  return found;
}

// A folder leaves its name in one step and its contents after that: a kill in between leaves a temporary folder.
void remove_folder(const fs::path& folder) {
  const std::string name = folder.filename().string();
  fs::path doomed = folder;
  if (!name.starts_with(kTemporary)) {
    doomed = folder.parent_path() / (std::string(kTemporary) + "old-" + name);
    fs::remove_all(doomed);
    rename_durably(kRoom, folder, doomed);
  }
  fs::remove_all(doomed);
}

// Gives a finished checkpoint its name, which an older one may have: at every moment one of the two is there for
// readers. Where the file system cannot exchange them, checkpoints_in finds the older one under another name meanwhile.
void give_name(const fs::path& finished, const fs::path& folder) {
  const fs::path replaced = folder.parent_path() / (std::string(kReplaced) + folder.filename().string());
  if (!fs::exists(folder)) {
    rename_durably(kRoom, finished, folder);
  } else if (exchange_durably(kRoom, finished, folder)) {
    fs::remove_all(finished);
  } else {
    fs::remove_all(replaced);
    rename_durably(kRoom, folder, replaced);
    rename_durably(kRoom, finished, folder);
  }
  fs::remove_all(replaced);
}

FileDigest write_text(const fs::path& path, const std::string& text) {
  DurableFile file(std::string(kRoom), path);
  file.write(text);
  return file.finish();
}

Json entry_of(const FileDigest& digest) { return {{"size", digest.size}, {"xxh64", digest.hash}}; }

// The manifest carries a hash of its own entries, lest its damage be taken for that of a file it lists.
Json manifest_of(const Json& files) {
  XxHash64 hash;
  const std::string text = files.dump();
  hash.update(text.data(), text.size());
  return {{"format", 1}, {"files", files}, {"hash", hash.hex()}};
}

// What all checkpoints of a run stand on. It is on the disk, hash and all, before the first of them.
void write_frozen(const fs::path& run, const NamedTensors& frozen) {
  if (is_there(run / kFrozenManifest) && !checkpoints_in(run / "checkpoints").empty()) return;
  fs::remove(run / kFrozenManifest);
  const fs::path unfinished = run / (std::string(kTemporary) + kFrozen);
  const FileDigest digest = save_safetensors_digest(unfinished, frozen, {{"format", "pt"}});
  rename_durably(kRoom, unfinished, run / kFrozen);
  write_file(kRoom, run / kFrozenManifest, manifest_of({{kFrozen, entry_of(digest)}}).dump(2) + "\n");
}

Json frozen_entry(const fs::path& run) {
  const Json manifest = read_json<Json>(read_input(kRoom, run / kFrozenManifest));
  if (!manifest.is_object() || !manifest.contains("files") || manifest != manifest_of(manifest["files"]))
    throw Error(kRoom, (run / kFrozenManifest).string(),
                ": expected what was written there, it was altered or cut short; start the run again");
  return manifest["files"].at(kFrozen);
}

void write_files(const fs::path& run, const fs::path& folder, const CheckpointContents& contents) {
  Json files = Json::object();
  const SafetensorsMetadata weights{{"format", "pt"}};  // asked for by readers of the field
  files[kPolicy] = entry_of(save_safetensors_digest(folder / kPolicy, contents.policy, weights));
  files[kOptimizer] = entry_of(save_safetensors_digest(folder / kOptimizer, contents.optimizer, {}));
  if (contents.reference) {
    files[kReference] = entry_of(save_safetensors_digest(folder / kReference, *contents.reference, weights));
  }
  files[kState] = entry_of(write_text(folder / kState, contents.state.dump(2) + "\n"));
  if (!contents.frozen.empty()) files[kFrozenFromCheckpoint] = frozen_entry(run);
  write_text(folder / kManifest, manifest_of(files).dump(2) + "\n");
  sync_folder(kRoom, folder);
}

// What is wrong with a checkpoint, as "FILE …", or nothing.
std::optional<std::string> find_damage(const fs::path& folder) {
  std::error_code code;
  if (!fs::exists(folder / kManifest, code)) return std::string(kManifest) + " is missing";
  const Json manifest = read_json<Json>(read_input(kRoom, folder / kManifest));
  if (!manifest.is_object() || !manifest.contains("files") || manifest != manifest_of(manifest["files"])) {
    return std::string(kManifest) + " was altered or cut short";
  }
  const Json& files = manifest["files"];
  for (const char* name : {kPolicy, kOptimizer, kState}) {
    if (!files.contains(name)) return std::string(kManifest) + " does not list " + name;
  }
  for (const auto& [name, expected] : files.items()) {
    const fs::path path = folder / name;
    const std::string shown = path.filename().string();
    if (!fs::is_regular_file(path, code)) return shown + " is missing";
    if (entry_of(digest_file(kRoom, path)) != expected) return shown + " was altered or cut short (hash differs)";
  }
  return std::nullopt;
}

// The newest whole checkpoint before `folder`, as advice.
std::string what_to_do(const fs::path& folder) {
  std::vector<fs::path> older = checkpoints_in(folder.parent_path());
  std::erase_if(older, [&](const fs::path& each) { return step_of(each) >= step_of(folder); });
  for (auto each = older.rbegin(); each != older.rend(); ++each) {
    if (!find_damage(*each)) return "the newest whole one before it is " + each->string();
  }
  return "no older one there is whole: start the run again";
}

// What both int64_t and uint64_t hold. (Numbers of 0 or more are unsigned once they are parsed.)
bool is_count(const Json& value) {
  if (!value.is_number_integer()) return false;
  return value.is_number_unsigned() ? value.get<uint64_t>() >> 63 == 0 : value.get<int64_t>() >= 0;
}

}  // namespace

SavedState::SavedState(fs::path file) : SavedState(read_json<Json>(read_input(kRoom, file)), file) {
  if (!json_.is_object())
    throw Error(kRoom, file_.string(), ": expected a JSON object, ", "it is missing, or was altered or cut short");
}

SavedState::SavedState(Json json, fs::path file) : json_(std::move(json)), file_(std::move(file)) {}

template <class Fits>
const Json& SavedState::entry(const std::string& key, const std::string& expected, const Fits& fits) const {
  const auto found = json_.find(key);
  if (found == json_.end() || !fits(*found)) {
    throw Error(kRoom, file_.string(), ": ", key, ": expected ", expected, ", got ",
                found == json_.end() ? "none" : found->dump(-1, ' ', false, Json::error_handler_t::replace),
                "; was the configuration changed, or is this another program's?");
  }
  return *found;
}

int64_t SavedState::count(const std::string& key) const {
  return entry(key, "a number of 0 or more", is_count).get<int64_t>();
}

std::vector<uint64_t> SavedState::counts(const std::string& key) const {
  const auto fits = [](const Json& value) {
    return value.is_array() && std::all_of(value.begin(), value.end(), is_count);
  };
  return entry(key, "a list of numbers of 0 or more", fits).get<std::vector<uint64_t>>();
}

std::vector<uint64_t> SavedState::counts(const std::string& key, std::size_t size) const {
  entry(key, "a list of " + std::to_string(size) + " numbers",
        [&](const Json& value) { return value.is_array() && value.size() == size; });
  return counts(key);
}

double SavedState::number(const std::string& key) const {
  return entry(key, "a number", [](const Json& value) { return value.is_number(); }).get<double>();
}

std::string SavedState::name(const std::string& key) const {
  return entry(key, "a name", [](const Json& value) { return value.is_string(); }).get<std::string>();
}

bool SavedState::flag(const std::string& key) const {
  return entry(key, "true or false", [](const Json& value) { return value.is_boolean(); }).get<bool>();
}

const Json& SavedState::object(const std::string& key) const {
  return entry(key, "an object", [](const Json& value) { return value.is_object(); });
}

fs::path checkpoint_folder(const fs::path& run, int64_t step) {
  std::string digits = std::to_string(step);
  if (digits.size() < 6) digits.insert(0, 6 - digits.size(), '0');
  return run / "checkpoints" / (std::string(kStep) + digits);
}

fs::path write_checkpoint(const fs::path& run, int64_t step, const CheckpointContents& contents, int keep) {
  if (step < 0) throw Error(kRoom, "expected a step >= 0, got ", step);
  const fs::path folder = checkpoint_folder(run, step), parent = folder.parent_path();
  const fs::path temporary = parent / (std::string(kTemporary) + folder.filename().string());
  try {
    fs::create_directories(parent);
    for (const fs::path& each : folders_in(parent)) {
      if (each.filename().string().starts_with(kTemporary)) remove_folder(each);
    }
    if (!contents.frozen.empty()) write_frozen(run, contents.frozen);
    fs::create_directory(temporary);
    write_files(run, temporary, contents);
    give_name(temporary, folder);
    remove_checkpoints_after(run, step);
    if (keep > 0) {
      const std::vector<fs::path> all = checkpoints_in(parent);
      for (std::size_t i = 0; i + static_cast<std::size_t>(keep) < all.size(); ++i) remove_folder(all[i]);
    }
    return folder;
  } catch (const fs::filesystem_error& error) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw Error(kRoom, folder.string(), ": cannot write this checkpoint: ", plain_words(error));
  } catch (const Error&) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);  // give a full disk its space back
    throw;
  }
}

std::vector<fs::path> list_checkpoints(const fs::path& run) { return checkpoints_in(run / "checkpoints"); }

std::optional<fs::path> newest_checkpoint(const fs::path& run) {
  const std::vector<fs::path> all = list_checkpoints(run);
  if (all.empty()) return std::nullopt;
  return all.back();
}

void remove_checkpoints_after(const fs::path& run, int64_t step) {
  try {
    for (const fs::path& each : list_checkpoints(run)) {
      if (step_of(each) > step) remove_folder(each);
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(kRoom, run.string(), ": cannot remove old checkpoints: ", plain_words(error));
  }
}

CheckpointContents read_checkpoint(const fs::path& folder) {
  const fs::path place = folder.filename().empty() ? folder.parent_path() : folder;  // "step-40/" is "step-40"
  std::error_code code;
  if (!fs::is_directory(place, code)) throw Error(kRoom, place.string(), ": expected a checkpoint folder, got none");
  if (const auto damage = find_damage(place)) {
    throw Error(kRoom, place.string(), ": ", *damage, "; ", what_to_do(place));
  }
  CheckpointContents contents;
  contents.policy = load_safetensors(place / kPolicy);
  contents.optimizer = load_safetensors(place / kOptimizer);
  if (read_json<Json>(read_input(kRoom, place / kManifest))["files"].contains(kReference)) {
    contents.reference = load_safetensors(place / kReference);
  }
  contents.state = read_json<Json>(read_input(kRoom, place / kState));
  contents.folder = place;
  return contents;
}

void read_frozen(const fs::path& run, const NamedTensors& frozen) {
  if (frozen.empty()) return;
  const SafetensorsFile file(run / kFrozen);
  for (const auto& [name, tensor] : frozen) {
    const auto entry = std::find_if(file.entries().begin(), file.entries().end(),
                                    [&, &name = name](const auto& each) { return each.name == name; });
    if (entry == file.entries().end() || tensor.sizes() != at::IntArrayRef(entry->shape))
      throw Error(kRoom, (run / kFrozen).string(), ": expected ", name, " of shape ", tensor.sizes(),
                  ", got none; is it another run's?");
    file.read(*entry, tensor);
  }
}

}  // namespace grpo
