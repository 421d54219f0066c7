// Checkpoints: all that a run needs to go on exactly where it stood, in one folder that is either whole or not there.
//
//   RUN/frozen.safetensors    what no step changes: the weights under an adapter; frozen.json has its size and hash
//   RUN/checkpoints/step-000123/
//     policy.safetensors      what is trained: the weights, as other tools read them, or an adapter
//     optimizer.safetensors   AdamW::state()
//     reference.safetensors   the frozen reference policy, only when KL is on
//     state.json              what the trainer says: step, cursors, counters, file offsets, the config
//     manifest.json           size and XXH64 of each file above, frozen.safetensors too
//
// A checkpoint is written to a `.tmp-` sibling, flushed file by file, and renamed. So a folder named step-N was whole
// when it got its name, and what has changed since then shows in its hashes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "grpo/safetensors.h"

namespace grpo {

/// A JSON object that was saved and comes back. Its entries are checked as they are read: each throws Error, naming
/// file and key, where it is missing or of another kind.
class SavedState {
 public:
  /// Reads `file`; throws Error where it holds no object.
  explicit SavedState(std::filesystem::path file);
  SavedState(nlohmann::ordered_json json, std::filesystem::path file);

  bool contains(const std::string& key) const { return json_.contains(key); }
  int64_t count(const std::string& key) const;                              ///< 0 or more
  std::vector<uint64_t> counts(const std::string& key) const;               ///< several
  std::vector<uint64_t> counts(const std::string& key, std::size_t size) const;  ///< so many
  double number(const std::string& key) const;
  std::string name(const std::string& key) const;
  bool flag(const std::string& key) const;
  const nlohmann::ordered_json& object(const std::string& key) const;

 private:
  template <class Fits>
  const nlohmann::ordered_json& entry(const std::string& key, const std::string& expected, const Fits& fits) const;

  nlohmann::ordered_json json_;
  std::filesystem::path file_;
};

struct CheckpointContents {
  NamedTensors policy;  ///< Policy::state
  NamedTensors optimizer;
  std::optional<NamedTensors> reference;
  nlohmann::ordered_json state = nlohmann::ordered_json::object();
  std::filesystem::path folder = {};  ///< that it was read from
  /// Policy::frozen, which a run's first checkpoint writes, for all of them. It is not read back: see read_frozen.
  NamedTensors frozen = {};

  SavedState saved() const { return {state, folder / "state.json"}; }
};

/// RUN/checkpoints/step-000123 for step 123.
std::filesystem::path checkpoint_folder(const std::filesystem::path& run, int64_t step);

/// Writes the checkpoint of `step` and gives its folder. Only when it is safely on the disk are others removed: an
/// older one of the same step, those of later steps (the run has gone back: they tell of a future that it left), and
/// all but the `keep` newest (0: all are kept). Temporary folders that a killed run left behind are cleared first.
/// Throws Error when the disk refuses; the checkpoints there are then untouched.
std::filesystem::path write_checkpoint(const std::filesystem::path& run, int64_t step,
                                       const CheckpointContents& contents, int keep = 0);

/// The run's checkpoints, oldest first. Temporary folders do not count; damage is not looked for.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& run);

/// The last of list_checkpoints.
std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& run);

/// Removes the checkpoints later than `step`; all of them for -1, as a fresh run in an old folder should.
void remove_checkpoints_after(const std::filesystem::path& run, int64_t step);

/// Checks every file of the checkpoint against its manifest, then reads them. Throws Error that names the missing or
/// altered file and the newest older checkpoint that is whole.
CheckpointContents read_checkpoint(const std::filesystem::path& folder);

/// Reads what the run's checkpoints stand on into `frozen` (Policy::frozen), which may be empty. Throws Error where a
/// tensor is missing or of another shape; what was altered read_checkpoint tells.
void read_frozen(const std::filesystem::path& run, const NamedTensors& frozen);

}  // namespace grpo
