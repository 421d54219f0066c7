#include "rollout/engine.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <string>

#include "grpo/error.h"

namespace grpo {

Engine::Engine(const Policy& policy, const Tokenizer& tokenizer, const RolloutConfig& config, int64_t most_pages)
    : policy_(policy), tokenizer_(tokenizer), config_(config), most_pages_(most_pages) {
  config_.horizon = std::min(config_.horizon, config_.max_new_tokens);
}

void Engine::submit(Group& group, const DrawKey& key, int max_new_tokens) {
  if (running_.empty()) start_anew();
  const int64_t of_prompt = pages_of(config_, std::ssize(group.prompt)),
                of_sample = pages_of(config_, max_new_tokens - 1), wanted = of_prompt + of_sample * config_.samples;
  const int pages = static_cast<int>(config_.pages > 0 ? most_pages_ : std::min(wanted_pages_ + wanted, most_pages_));
  if (!scheduler_)
    scheduler_.emplace(SchedulerConfig{config_.page_size, pages, config_.max_running_sequences,
                                       config_.max_batch_tokens, config_.horizon});
  else if (pages > scheduler_->pages())
    scheduler_->add_pages(pages - scheduler_->pages());
  if (!slots_) {
    Tensor ends = at::zeros({policy_.config().vocab_size}, at::kBool);
    for (int32_t id = 0; !config_.ignore_eos && id < ends.size(0); ++id)
      ends.data_ptr<bool>()[id] = tokenizer_.ends(id);
    slots_.emplace(config_.page_size, config_.horizon, ends);
    if (Decoder::serves(policy_, config_.sampling)) decoder_.emplace(policy_, config_.sampling, pages_, *slots_);
  }
  const int number = scheduler_->add_group(static_cast<int>(group.prompt.size()), config_.samples, max_new_tokens);
  wanted_pages_ += wanted;
  longest_ = std::max({longest_, of_prompt, of_sample});
  group.completions.assign(config_.samples, {});
  group.policy_version = policy_.version();
  Running& running =
      running_.emplace(number, Running{&group, key, max_new_tokens, config_.samples, wanted, {}}).first->second;
  if (!config_.stop.empty()) running.texts.assign(config_.samples, TextStream(tokenizer_));
}

void Engine::cancel() {
  running_.clear();
  finished_.clear();
  start_anew();
}

void Engine::start_anew() {
  scheduler_.reset();
  wanted_pages_ = 0;
  longest_ = 1;
  stats_ = {};
}

// Tensors for as many pages as the scheduler has, of which those that are held keep what they hold.
void Engine::fit_pages() {
  const int64_t needed = scheduler_->pages();
  if (scheduler_->held_pages() == 0) {
    const auto type = policy_.make_pages(0, config_.page_size)[0].values.scalar_type();
    if (pages_.empty() || pages_[0].count() < needed || pages_[0].values.scalar_type() != type)
      pages_ = policy_.make_pages(needed, config_.page_size);
  } else if (pages_.empty()) {
    throw Error("rollout", "expected cancel() after an error, before any further step");
  } else if (needed > pages_[0].count()) {
    for (LayerPages& layer : pages_) layer.grow(needed);
  }
}

bool Engine::step(const Rollout::OnToken& on_token) {
  if (running_.empty()) return false;
  for (const auto& [number, running] : running_)
    if (const uint64_t version = policy_.version(); running.group->policy_version != version)
      throw Error("rollout", "expected weights of version ", running.group->policy_version, ", with which group ",
                  running.group->index, " was begun, got ", version,
                  ": let what is under way come to its end before an update, or cancel it");
  at::NoGradGuard no_grad;
  fit_pages();
  const std::vector<Work> work = scheduler_->next();
  slots_->fit(scheduler_->slots(), longest_);

  Drawn first = decoder_ ? run_there(work) : run(work);
  look(work, first, on_token);

  const Scheduler::Stats& stats = scheduler_->stats();
  stats_.prompt_tokens = stats.prompt_tokens, stats_.recomputed_tokens = stats.recomputed_tokens;
  stats_.preemptions = stats.preemptions;
  stats_.peak_pages = stats.peak_pages, stats_.peak_running = stats.peak_running;
  return true;
}

// A step's passes, and what the first of them drew.
Drawn Engine::run(const std::vector<Work>& work) {
  Due due;
  Drawn first = forward(first_pass(work, due), due);
  std::vector<int32_t> who;
  if (!due.slots.empty()) who = slots_->advance(due.slots, first);
  while (!who.empty()) who = decode(who);
  return first;
}

// The same on a device that brings the slots forward by itself.
Drawn Engine::run_there(const std::vector<Work>& work) {
  Due due;
  const PassBuilder pass = first_pass(work, due);
  std::vector<int32_t> who;
  std::ranges::copy_if(due.slots, std::back_inserter(who), [](int32_t slot) { return slot >= 0; });
  int draws = 0;
  for (const Work& w : work)
    if (w.sample >= 0) draws = std::max(draws, w.draws);
  Drawn first;
  decoder_->enter();
  if (who.size() < pass.tokens.size()) {  // more than a token of each sample that runs
    const Pass there = pass.build(policy_.device());
    const KvView view{&pages_, &decoder_->table()};
    const Tensor hidden = policy_.hidden(there, &view);
    decoder_->lengthen(there);
    if (!due.rows.empty()) {
      first = draw(policy_.logits(hidden.index_select(0, at::tensor(due.rows, at::kLong).to(policy_.device()))),
                   at::tensor(due.from, at::kInt), due.keys, config_.sampling);
      decoder_->advance(due.slots, first);
    }
    ++stats_.forward_passes, --draws;
  }
  decoder_->decode(who, draws);
  stats_.forward_passes += std::max(draws, 0);
  decoder_->leave();
  return first;
}

// The first pass of a step, the slots' rows for it and for those behind it, and the draws that are due.
PassBuilder Engine::first_pass(const std::vector<Work>& work, Due& due) {
  PassBuilder pass;
  std::vector<int64_t> keys;
  for (const Work& w : work) {
    const Running& running = running_.at(w.group);
    const Group& group = *running.group;
    const bool is_prompt = w.sample < 0;
    const std::vector<int32_t>& source = is_prompt ? group.prompt : group.completions[w.sample].tokens;
    const int32_t before = is_prompt ? 0 : static_cast<int32_t>(group.prompt.size());
    slots_->place(w.slot, w.pages, w.first, w.prompt_slot);
    pass.add_to_slot(std::span(source).subspan(w.first, w.count), before + w.first, w.slot);
    if (w.draws == 0) continue;
    for (int s = is_prompt ? 0 : w.sample; s < (is_prompt ? config_.samples : w.sample + 1); ++s) {
      DrawKey key = running.key;
      key.sample = static_cast<uint32_t>(s);
      key.position = static_cast<uint32_t>(group.completions[s].tokens.size());
      keys.resize(keys.size() + kKeyColumns);
      write_key(key, keys.data() + keys.size() - kKeyColumns);
      due.from.push_back(static_cast<int32_t>(due.rows.size()));
      due.slots.push_back(is_prompt ? -1 : w.slot);
      if (!is_prompt)
        slots_->begin(w.slot, source[w.first + w.count - 1], keys.data() + keys.size() - kKeyColumns,
                      static_cast<int32_t>(key.position) + w.draws);
    }
    due.rows.push_back(static_cast<int64_t>(pass.tokens.size()) - 1);
  }
  due.keys = at::tensor(keys, at::kLong).view({std::ssize(due.slots), kKeyColumns});
  return pass;
}

Drawn Engine::forward(const PassBuilder& pass, const Due& due) {
  const at::Device device = policy_.device();
  const PageTable& table = slots_->table;
  const PageTable there{table.page_size, table.pages.to(device), table.lengths.to(device), table.parents.to(device)};
  const KvView view{&pages_, &there};
  const Tensor hidden = policy_.hidden(pass.build(device), &view);
  slots_->lengthen(pass);
  ++stats_.forward_passes;
  if (due.rows.empty()) return {};
  const Tensor rows = due.rows.size() == pass.tokens.size()
                          ? hidden
                          : hidden.index_select(0, at::tensor(due.rows, at::kLong).to(device));
  return draw(policy_.logits(rows), at::tensor(due.from, at::kInt), due.keys, config_.sampling);
}

// Gives each of `who` its next token, and gives those that draw on.
std::vector<int32_t> Engine::decode(const std::vector<int32_t>& who) {
  Due due{std::vector<int64_t>(who.size()), std::vector<int32_t>(who.size()), who, slots_->keys_of(who)};
  std::iota(due.rows.begin(), due.rows.end(), 0);
  std::iota(due.from.begin(), due.from.end(), 0);
  Drawn drawn = forward(slots_->decoding(who), due);
  return slots_->advance(who, drawn);
}

// Looks at what a step drew, behind its first pass and further ones.
void Engine::look(const std::vector<Work>& work, Drawn& first, const Rollout::OnToken& on_token) {
  const auto on_host = [](const Tensor& t) { return t.defined() ? t.cpu() : t; };
  const Tensor tokens = on_host(first.tokens), logprobs = on_host(first.logprobs), entropies = on_host(first.entropies);
  const bool truncates = config_.sampling.truncates();
  int64_t draw = 0;  // of the first pass
  for (const Work& w : work) {
    if (w.draws == 0) continue;
    if (w.sample >= 0) {
      ++draw;
      const int64_t place = w.slot * slots_->horizon();
      take_in(w.group, w.sample,
              {slots_->counts.data_ptr<int32_t>()[w.slot], slots_->drawn.data_ptr<int32_t>() + place,
               slots_->logprobs.data_ptr<float>() + place,
               slots_->entropies.data_ptr<float>() + place,
               truncates ? slots_->kept.data() + place : nullptr},
              on_token);
      continue;
    }
    for (int s = 0; s < config_.samples; ++s, ++draw)
      take_in(w.group, s,
              {1, tokens.data_ptr<int32_t>() + draw, logprobs.data_ptr<float>() + draw,
               entropies.data_ptr<float>() + draw, truncates ? first.kept.data() + draw : nullptr},
              on_token);
  }
}

// Takes in what a sample drew, up to its end.
void Engine::take_in(int number, int sample, const News& news, const Rollout::OnToken& on_token) {
  Running& running = running_.at(number);
  Group& group = *running.group;
  Completion& completion = group.completions[sample];
  bool ended = false;
  int32_t taken = 0;
  for (; taken < news.count && !ended; ++taken) {
    if (news.tokens[taken] < 0) pages_.clear();  // they may hold what is not finite, and must not
    if (news.tokens[taken] < 0)
      throw Error("sample", "expected finite logits at step ", running.key.step, ", task ", running.key.index,
                  ", sample ", sample, ", position ", completion.tokens.size(),
                  ": the policy has diverged; resume from an earlier checkpoint with a lower learning rate");
    completion.tokens.push_back(news.tokens[taken]);
    completion.logprobs.push_back(news.logprobs[taken]);
    completion.entropies.push_back(news.entropies[taken]);
    if (news.kept) completion.kept.push_back(std::move(news.kept[taken]));
    ended = ends(running, sample);
    if (on_token) on_token(group, static_cast<size_t>(sample));
  }
  stats_.completion_tokens += taken;
  stats_.dropped_tokens += news.count - taken;
  scheduler_->drew(number, sample, taken);
  if (!ended) return;
  scheduler_->finish(number, sample);
  finished_.push_back({&group, static_cast<size_t>(sample)});
  if (--running.unfinished > 0) return;
  wanted_pages_ -= running.pages;
  running_.erase(number);
}

// Whether a completion's last token ended it; it has its text then.
bool Engine::ends(Running& running, int sample) const {
  Completion& completion = running.group->completions[sample];
  TextStream* text = running.texts.empty() ? nullptr : &running.texts[sample];
  const int32_t token = completion.tokens.back();
  const auto decoded = [&](size_t count) {
    if (text) return text->text();
    std::vector<int32_t> known;
    for (size_t i = 0; i < count; ++i)
      if (completion.tokens[i] < tokenizer_.vocab_size()) known.push_back(completion.tokens[i]);
    return tokenizer_.decode(known);
  };
  if (slots_->ends.data_ptr<bool>()[token]) {
    completion.text = decoded(completion.tokens.size() - 1);
    return true;
  }
  if (text && token < tokenizer_.vocab_size()) {
    const size_t searched = text->text().size();
    text->push(token);
    size_t first = std::string::npos;
    for (const std::string& stop : config_.stop)  // its end must be new; a character may have been completed
      first = std::min(first, text->text().find(stop, searched > stop.size() + 4 ? searched - stop.size() - 4 : 0));
    if (first != std::string::npos) {
      completion.text = text->text().substr(0, first);
      return true;
    }
  }
  if (static_cast<int>(completion.tokens.size()) < running.max_new_tokens) return false;
  completion.finish = Finish::length;
  completion.text = decoded(completion.tokens.size());
  return true;
}

}  // namespace grpo
