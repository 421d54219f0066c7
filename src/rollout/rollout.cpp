#include "grpo/rollout.h"

#include <algorithm>
#include <limits>
#include <sstream>
#include <utility>

#include "grpo/error.h"
#include "kernels/op.h"
#include "rollout/engine.h"

namespace grpo {

void RolloutConfig::validate() const {
  for (const std::string& text : stop)
    if (text.empty()) throw Error("config", "stop: expected strings that are not empty, got \"\"");
  if (horizon < 1) throw Error("config", "horizon: expected at least 1, got ", horizon);
}

namespace {

// The most tokens behind a prompt of so many; below 1 where it leaves no room.
int new_tokens(const RolloutConfig& config, size_t prompt, int max_positions) {
  if (!config.ends_at_context) return config.max_new_tokens;
  return static_cast<int>(std::min<int64_t>(config.max_new_tokens, max_positions - static_cast<int64_t>(prompt)));
}

// Of a prompt and one completion. The last token is drawn and never computed.
int64_t needed_pages(const RolloutConfig& config, size_t prompt, int new_tokens) {
  return pages_of(config, static_cast<int64_t>(prompt)) + pages_of(config, new_tokens - 1);
}

int64_t affordable_pages(const RolloutConfig& config, double page_bytes) {
  constexpr double kMostPages = 1 << 30;
  return config.pages > 0 ? config.pages
                          : static_cast<int64_t>(std::min(kMostPages, config.cache_gigabytes * 1e9 / page_bytes));
}

}  // namespace

void require_room(const RolloutConfig& config, const PolicyConfig& policy, std::string_view name) {
  if (config.max_new_tokens >= policy.max_positions)
    throw Error("config", name, ".max_new_tokens: expected less than policy.max_positions (", policy.max_positions,
                "), which the prompt is part of, got ", config.max_new_tokens);
  const double page_bytes = policy.page_bytes(config.page_size);
  const int64_t needed = needed_pages(config, 1, config.max_new_tokens), pages = affordable_pages(config, page_bytes);
  if (pages >= needed) return;
  const auto refuse = [&](const char* key, double expected, double got) {
    throw Error("config", name, '.', key, ": expected at least ", expected, ", got ", got, "; a prompt and ",
                "max_new_tokens = ", config.max_new_tokens, " take ", needed, " pages of ", config.page_size,
                " tokens: raise it, or lower ", name, ".max_new_tokens");
  };
  if (config.pages > 0) refuse("pages", static_cast<double>(needed), config.pages);
  refuse("cache_gigabytes", static_cast<double>(needed) * page_bytes / 1e9, config.cache_gigabytes);
}

Rollout::Rollout(const Policy& policy, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                 const RolloutConfig& config)
    : policy_(policy), tokenizer_(tokenizer), chat_template_(chat_template), config_(config) {
  grpo::validate(config_, "rollout");
  const auto type = policy_.config().dtype == DType::bfloat16 ? at::kBFloat16 : at::kFloat;
  const int64_t block = page_block(policy_.device(), type, policy_.config().layout());
  config_.page_size = static_cast<int>((config_.page_size + block - 1) / block * block);
  constexpr int kHorizon = 16;  // on a device, where a look costs a wait for it
  if (config_.horizon == 1 && Decoder::serves(policy_, config_.sampling)) config_.horizon = kHorizon;
  engine_ = std::make_unique<Engine>(policy_, tokenizer_, config_,
                                     affordable_pages(config_, policy_.config().page_bytes(config_.page_size)));
}

Rollout::~Rollout() = default;
Rollout::Rollout(Rollout&&) noexcept = default;

bool Rollout::step(const OnToken& on_token) { return engine_->step(on_token); }
std::vector<Rollout::Ended> Rollout::take_finished() { return engine_->take_finished(); }
void Rollout::cancel() { engine_->cancel(); }
int Rollout::unfinished() const { return engine_->unfinished(); }
const RolloutStats& Rollout::stats() const { return engine_->stats(); }

namespace {

std::string say(const auto&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

// Why a prompt of so many tokens, or `at_least` so many, has no place in the policy's positions; "" where it has.
std::string refusal_of_length(const RolloutConfig& config, const PolicyConfig& policy, size_t tokens, bool at_least) {
  const int most = new_tokens(config, tokens, policy.max_positions);
  const std::string prompt = say("a prompt of ", at_least ? "at least " : "", tokens, " tokens");
  if (most < 1)
    return say(prompt, " leaves no room in the model's ", policy.max_positions,
               " positions; shorten it, or raise max_positions where the model has more");
  if (tokens + most > static_cast<size_t>(policy.max_positions))
    return say(prompt, " and ", most, " new ones exceed policy.max_positions = ", policy.max_positions,
               "; raise it, or lower max_new_tokens");
  return "";
}

}  // namespace

std::string Rollout::refusal(const std::vector<int32_t>& prompt) const {
  const PolicyConfig& policy = policy_.config();
  if (prompt.empty()) return "expected a prompt of at least one token, got none";
  for (const int32_t token : prompt)
    if (token < 0 || token >= policy.vocab_size)
      return say("expected prompt tokens from 0 to ", policy.vocab_size - 1, ", got ", token);
  if (std::string why = refusal_of_length(config_, policy, prompt.size(), false); !why.empty()) return why;
  const int most = new_tokens(config_, prompt.size(), policy.max_positions);
  const int64_t needed = needed_pages(config_, prompt.size(), most);
  const int64_t pages = affordable_pages(config_, policy.page_bytes(config_.page_size));
  if (pages < needed)
    return say("expected a KV cache that holds a prompt and one completion, which need ", needed, " pages of ",
               config_.page_size, " tokens, got ", pages, " pages; raise ",
               config_.pages > 0 ? "pages" : "cache_gigabytes", " or lower max_new_tokens");
  return "";
}

std::string Rollout::refusal(const Task& task) const {
  try {
    const std::string text = chat_template_.render(task);
    if (const size_t fewest = tokenizer_.fewest_tokens(text.size()); fewest > size_t(policy_.config().max_positions))
      return refusal_of_length(config_, policy_.config(), fewest, true);  // whichever they are
    return refusal(tokenizer_.encode(text));
  } catch (const Error& error) {  // of a chat template that cannot say this
    return reason_of(error);
  }
}

std::vector<Group> Rollout::generate(const std::vector<Task>& tasks, const DrawStream& stream, const OnEnd& on_end,
                                     const OnToken& on_token) {
  std::vector<std::vector<int32_t>> prompts;
  for (const Task& task : tasks) prompts.push_back(tokenizer_.encode(chat_template_.render(task)));
  return generate(tasks, prompts, stream, on_end, on_token);
}

namespace {

// Of a call of generate, as they are before anything is sampled.
std::vector<Group> groups_of(const std::vector<Task>& tasks, const std::vector<std::vector<int32_t>>& prompts,
                             const DrawStream& stream) {
  if (prompts.size() != tasks.size())
    throw Error("rollout", "expected a prompt for each of ", tasks.size(), " tasks, got ", prompts.size());
  if (!stream.indices.empty() && stream.indices.size() != tasks.size())
    throw Error("rollout", "expected an index for each of ", tasks.size(), " tasks, got ", stream.indices.size());
  std::vector<Group> groups(tasks.size());
  for (size_t g = 0; g < tasks.size(); ++g) {
    groups[g].task = tasks[g];
    groups[g].index = stream.indices.empty() ? stream.first_index + g : stream.indices[g];
    groups[g].prompt = prompts[g];
  }
  return groups;
}

}  // namespace

void Rollout::submit(Group& group, const DrawStream& stream) {
  if (const std::string why = refusal(group.prompt); !why.empty())
    throw Error("rollout", "task ", group.task.id, ": ", why);
  constexpr size_t kMost = std::numeric_limits<uint32_t>::max();
  const DrawKey key{stream.seed, stream.purpose, stream.step, static_cast<uint32_t>(std::min(group.index, kMost))};
  check(key);
  engine_->submit(group, key, new_tokens(config_, group.prompt.size(), policy_.config().max_positions));
}

std::vector<Group> Rollout::generate(const std::vector<Task>& tasks, const std::vector<std::vector<int32_t>>& prompts,
                                     const DrawStream& stream, const OnEnd& on_end, const OnToken& on_token) {
  if (unfinished() > 0)
    throw Error("rollout", "expected nothing under way, got ", unfinished(),
                " completions: go on with step() until they have ended, or cancel() them");
  cancel();
  groups_ = groups_of(tasks, prompts, stream);
  try {
    for (Group& group : groups_) submit(group, stream);
    while (step(on_token))
      for (const Ended& ended : take_finished())
        if (on_end) on_end(*ended.group, ended.sample);
  } catch (...) {
    cancel();
    throw;
  }
  return std::move(groups_);
}

}  // namespace grpo
