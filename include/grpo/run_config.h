// How a run is configured, and how a driver reads that: a run that is resumed knows its own configuration.
#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grpo/config.h"
#include "grpo/error.h"

namespace grpo {

struct RunConfig {
  std::string out = "runs/zero";
  bool resume = false;
  std::string resume_from;
  int save_every = 20;
  int keep = 2;
  int notebook = 16;
  int max_silent_steps = 30;
  std::vector<std::string> notes = {};  ///< what is to be said at the start, of defaults that were chosen; no knob

  template <class V>
  void visit(V& v) {
    v("out", out, "folder of the run; one that is there already is moved aside, never overwritten");
    v("resume", resume,
      "go on from the newest whole checkpoint in `out`, with that run's configuration but for what is asked for here");
    v("resume_from", resume_from,
      "go on from this checkpoint, such as step-120 (of a recipe STAGE/step-120); later ones are moved to superseded/");
    v("save_every", save_every, "steps between checkpoints", at_least(1));
    v("keep", keep, "checkpoints to keep; 0: all", at_least(0));
    v("notebook", notebook,
      "traces a step in samples.jsonl, right and wrong ones in equal shares where there are; -1: all", at_least(-1));
    v("max_silent_steps", max_silent_steps,
      "end the run, saved, after so many RL steps in a row in which no group had two different rewards: nothing was "
      "learned; 0: never", at_least(0));
  }
  void validate() const;
};

/// The arguments that say which run is meant, and the configuration of that run (its config.json, without what only a
/// start has: out, resume, resume_from, force_from), if it is there. Throws Error for one that cannot be read.
std::vector<std::string> arguments_of_run(const std::vector<std::string>& arguments);
std::optional<nlohmann::json> config_of_run(const std::string& out);

/// load_config for a driver. A run that is resumed knows its own configuration: in place of the defaults stands the
/// config.json in `out`, so that --resume --out RUN is all that it takes; --config and --set change what they mention.
/// A config with choose_defaults(given, made) may set what its user has not (see defaults.h); `made` is that of the run
/// which is resumed, whose values hold, or null.
template <class Config>
Config load_run_config(const std::vector<std::string>& arguments) {
  Config asked;
  internal::FileTexts files;
  internal::parse(internal::make_knob("", asked, ""), arguments_of_run(arguments), &files);
  asked.resume |= !asked.resume_from.empty();
  Config config;
  const internal::Knob root = internal::make_knob("", config, "");
  const auto own = asked.resume ? config_of_run(asked.out) : std::nullopt;
  if (own) internal::load(root, *own, asked.out + "/config.json");
  if (asked.resume && !own && files.empty())
    throw Error("run", asked.out,
                ": expected the folder of a run to resume, found no config.json in it; check --out, or "
                "begin anew without --resume");
  const Config made = config;
  GivenKeys given;
  internal::parse(root, arguments, &files, &given);
  if constexpr (requires { config.choose_defaults(given, &made); }) config.choose_defaults(given, own ? &made : nullptr);
  config.out = asked.out, config.resume = asked.resume;
  validate(config, "");
  return config;
}

template <class Config>
Config load_run_config(int argc, char** argv) {
  return load_run_config<Config>(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
}

/// A knob in which two configurations differ.
struct ConfigChange {
  std::string key;  ///< "tasks.languages.1"
  nlohmann::ordered_json before, after;  ///< null where there is none
  bool is_new = false;  ///< a key (no element of a list) that the earlier one did not have, as of an older program
  std::string text() const;  ///< "steps: 3 → 9"
};
std::vector<ConfigChange> config_changes(const nlohmann::ordered_json& before, const nlohmann::ordered_json& after);

/// Whether the knob `key` is one of `knobs` or lies in one: "policy.moe.experts" in "policy".
bool lies_in(const std::string& key, std::initializer_list<std::string_view> knobs);

}  // namespace grpo
