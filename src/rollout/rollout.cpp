#include "grpo/rollout.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <sstream>

#include "base/parallel.h"
#include "grpo/error.h"
#include "kernels/cpu/sample.h"
#include "kernels/cuda/sample.h"
#include "schedule/scheduler.h"

namespace grpo {
namespace {

// One row of a forward pass from which a sample's next token is drawn.
struct DueDraw {
  int64_t row;
  int group, sample;
};

// A forward pass made out of the scheduler's work, and the draws that follow.
struct Step {
  PassBuilder pass;
  std::vector<int64_t> rows;   // hidden states whose logits are needed
  std::vector<DueDraw> draws;  // `row` counts in `rows`
};

// The rows of the work's slots in the page table, as they are before the pass.
void write_rows(const std::vector<Work>& work, int slots, PageTable& table) {
  if (const int64_t more = slots - table.lengths.size(0); more > 0) {
    const auto grown = [&](const Tensor& t) {
      std::vector<int64_t> shape = t.sizes().vec();
      shape[0] = more;
      return at::cat({t, at::zeros(shape, t.options())});
    };
    table.pages = grown(table.pages), table.lengths = grown(table.lengths), table.parents = grown(table.parents);
  }
  int32_t *pages = table.pages.data_ptr<int32_t>(), *lengths = table.lengths.data_ptr<int32_t>(),
          *parents = table.parents.data_ptr<int32_t>();
  for (const Work& w : work) {
    std::copy(w.pages.begin(), w.pages.end(), pages + w.slot * table.pages.size(1));
    lengths[w.slot] = w.first;
    parents[w.slot] = w.prompt_slot;
  }
}

// Takes the pass's tokens as stored.
void lengthen(const std::vector<Work>& work, PageTable& table) {
  for (const Work& w : work) table.lengths.data_ptr<int32_t>()[w.slot] = w.first + w.count;
}

Step build_step(const std::vector<Work>& work, const std::vector<Group>& groups) {
  Step step;
  for (const Work& w : work) {
    const Group& group = groups[w.group];
    const bool is_prompt = w.sample < 0;
    const std::vector<int32_t>& source = is_prompt ? group.prompt : group.completions[w.sample].tokens;
    const int32_t before = is_prompt ? 0 : static_cast<int32_t>(group.prompt.size());
    step.pass.add_to_slot(std::span(source).subspan(w.first, w.count), before + w.first, w.slot);
    if (!w.draws) continue;
    const int64_t row = static_cast<int64_t>(step.rows.size());
    step.rows.push_back(static_cast<int64_t>(step.pass.tokens.size()) - 1);
    if (is_prompt)
      for (size_t s = 0; s < group.completions.size(); ++s) step.draws.push_back({row, w.group, static_cast<int>(s)});
    else
      step.draws.push_back({row, w.group, w.sample});
  }
  return step;
}

DrawKey key_of(const DueDraw& due, const std::vector<Group>& groups, const DrawStream& stream) {
  const Group& group = groups[due.group];
  return {stream.seed,
          stream.purpose,
          stream.step,
          static_cast<uint32_t>(group.index),
          static_cast<uint32_t>(due.sample),
          static_cast<uint32_t>(group.completions[due.sample].tokens.size())};
}

#ifdef GRPO_CUDA
// The same draws as below, without the logits leaving the device.
std::vector<Draw> draw_on_gpu(const Tensor& logits, const std::vector<DueDraw>& due, const std::vector<Group>& groups,
                              const SamplingConfig& config, const DrawStream& stream) {
  const int64_t count = static_cast<int64_t>(due.size());
  Tensor jobs = at::empty({count, 4}, at::kInt);
  for (int64_t i = 0; i < count; ++i) {
    const DrawKey key = key_of(due[i], groups, stream);
    check(key);
    const CudaDraw job{static_cast<int32_t>(due[i].row), key.index, key.sample, key.position};
    std::memcpy(jobs.data_ptr<int32_t>() + 4 * i, &job, sizeof(job));
  }
  jobs = jobs.to(logits.device());
  const Tensor tokens = at::empty({count}, jobs.options()), logprobs = at::empty({count}, logits.options());
  sample_rows_cuda(logits.data_ptr<float>(), logits.size(1), config.scale(),
                   {stream.seed, stream.purpose, stream.step, 0, 0, 0},
                   reinterpret_cast<const CudaDraw*>(jobs.data_ptr<int32_t>()), count, tokens.data_ptr<int32_t>(),
                   logprobs.data_ptr<float>(), logits.device().index());
  const Tensor host_tokens = tokens.cpu(), host_logprobs = logprobs.cpu();
  std::vector<Draw> drawn;
  for (int64_t i = 0; i < count; ++i) {
    if (host_tokens.data_ptr<int32_t>()[i] < 0)
      throw Error("sample", "expected finite logits at step ", stream.step, ", task ", groups[due[i].group].index,
                  ", sample ", due[i].sample,
                  ": the policy has diverged; resume from an earlier checkpoint with a lower learning rate");
    drawn.push_back({host_tokens.data_ptr<int32_t>()[i], host_logprobs.data_ptr<float>()[i], {}});
  }
  return drawn;
}
#endif

// One token for each due draw from `logits` [rows, vocab].
std::vector<Draw> draw(const Tensor& logits, const std::vector<DueDraw>& due, const std::vector<Group>& groups,
                       const SamplingConfig& config, const DrawStream& stream) {
#ifdef GRPO_CUDA
  if (logits.is_cuda() && !config.truncates() && config.temperature != 0)
    return draw_on_gpu(logits, due, groups, config, stream);
#endif
  const Tensor host = logits.cpu();
  const float* rows = host.data_ptr<float>();
  const int64_t vocab = host.size(1);
  std::vector<float> sums(host.size(0));
  const double temperature = config.temperature == 0 ? 1.0 : config.temperature;
  parallel_for(host.size(0), [&](int64_t i) { sums[i] = log_sum_exp(rows + i * vocab, vocab, temperature); });
  std::vector<Draw> drawn(due.size());
  parallel_for(static_cast<int64_t>(due.size()), [&](int64_t i) {
    drawn[i] = sample_row(rows + due[i].row * vocab, vocab, sums[due[i].row], config, key_of(due[i], groups, stream));
  });
  return drawn;
}

}  // namespace

void RolloutConfig::validate() const {
  for (const std::string& text : stop)
    if (text.empty()) throw Error("config", "stop: expected strings that are not empty, got \"\"");
}

namespace {

int64_t pages_of(const RolloutConfig& config, size_t tokens) {
  return static_cast<int64_t>((tokens + config.page_size - 1) / config.page_size);
}

// The most tokens behind a prompt of so many; below 1 where it leaves no room.
int new_tokens(const RolloutConfig& config, size_t prompt, int max_positions) {
  if (!config.ends_at_context) return config.max_new_tokens;
  return static_cast<int>(std::min<int64_t>(config.max_new_tokens, max_positions - static_cast<int64_t>(prompt)));
}

// Of a prompt and one completion. The last token is drawn and never computed.
int64_t needed_pages(const RolloutConfig& config, size_t prompt, int new_tokens) {
  return pages_of(config, prompt) + pages_of(config, static_cast<size_t>(new_tokens - 1));
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
}

std::string Rollout::refusal(const std::vector<int32_t>& prompt) const {
  const auto say = [](const auto&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    return text.str();
  };
  const PolicyConfig& policy = policy_.config();
  if (prompt.empty()) return "expected a prompt of at least one token, got none";
  for (const int32_t token : prompt)
    if (token < 0 || token >= policy.vocab_size)
      return say("expected prompt tokens from 0 to ", policy.vocab_size - 1, ", got ", token);
  const int most = new_tokens(config_, prompt.size(), policy.max_positions);
  if (most < 1)
    return say("a prompt of ", prompt.size(), " tokens leaves no room in the model's ", policy.max_positions,
               " positions; shorten it, or raise max_positions where the model has more");
  if (prompt.size() + most > static_cast<size_t>(policy.max_positions))
    return say("a prompt of ", prompt.size(), " tokens and ", most,
               " new ones exceed policy.max_positions = ", policy.max_positions, "; raise it, or lower max_new_tokens");
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
    return refusal(tokenizer_.encode(chat_template_.render(task)));
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

std::vector<Group> Rollout::generate(const std::vector<Task>& tasks, const std::vector<std::vector<int32_t>>& prompts,
                                     const DrawStream& stream, const OnEnd& on_end, const OnToken& on_token) {
  at::NoGradGuard no_grad;
  stats_ = {};
  std::vector<Group>& groups = groups_;
  groups = std::vector<Group>(tasks.size());
  if (prompts.size() != tasks.size())
    throw Error("rollout", "expected a prompt for each of ", tasks.size(), " tasks, got ", prompts.size());
  if (!stream.indices.empty() && stream.indices.size() != tasks.size())
    throw Error("rollout", "expected an index for each of ", tasks.size(), " tasks, got ", stream.indices.size());
  int64_t most_pages = 0, longest = 1;  // of all groups, of a segment
  std::vector<int> most_tokens;  // of a completion, by group
  for (size_t g = 0; g < tasks.size(); ++g) {
    groups[g].task = tasks[g];
    groups[g].index = stream.indices.empty() ? stream.first_index + g : stream.indices[g];
    groups[g].prompt = prompts[g];
    groups[g].completions.resize(config_.samples);
    if (const std::string why = refusal(prompts[g]); !why.empty())
      throw Error("rollout", "task ", tasks[g].id, ": ", why);
    const size_t most = std::numeric_limits<uint32_t>::max();
    check(DrawKey{stream.seed, stream.purpose, stream.step, static_cast<uint32_t>(std::min(groups[g].index, most))});
    most_tokens.push_back(new_tokens(config_, prompts[g].size(), policy_.config().max_positions));
    const int64_t of_prompt = pages_of(config_, prompts[g].size()),
                  of_sample = pages_of(config_, static_cast<size_t>(most_tokens[g] - 1));
    most_pages += of_prompt + of_sample * config_.samples;
    longest = std::max({longest, of_prompt, of_sample});
  }
  if (tasks.empty()) return {};

  const int64_t affordable = affordable_pages(config_, policy_.config().page_bytes(config_.page_size));
  const int64_t pages = config_.pages > 0 ? affordable : std::min(most_pages, affordable);
  if (pages_.empty() || pages_[0].values.size(0) < pages ||
      pages_[0].values.scalar_type() != policy_.make_pages(0, config_.page_size)[0].values.scalar_type())
    pages_ = policy_.make_pages(pages, config_.page_size);
  Scheduler scheduler(
      {config_.page_size, static_cast<int>(pages), config_.max_running_sequences, config_.max_batch_tokens});
  for (size_t g = 0; g < groups.size(); ++g)
    scheduler.add_group(static_cast<int>(groups[g].prompt.size()), config_.samples, most_tokens[g]);

  // On the host, which fills it in; a pass has it where it runs.
  const Tensor ints = at::empty({0}, at::kInt);
  PageTable table{config_.page_size, at::zeros({0, longest}, at::kInt), ints, ints};

  std::vector<TextStream> texts;  // read while sampling only where stop strings are looked for
  if (!config_.stop.empty()) texts.assign(groups.size() * config_.samples, TextStream(tokenizer_));

  // Takes a draw in; true when the completion has ended.
  const auto accept = [&](Group& group, size_t sample, Draw draw, TextStream* text) {
    Completion& completion = group.completions[sample];
    completion.tokens.push_back(draw.token);
    completion.logprobs.push_back(draw.logprob);
    if (config_.sampling.truncates()) completion.kept.push_back(std::move(draw.kept));
    const auto decoded = [&](size_t count) {
      if (text) return text->text();
      std::vector<int32_t> known;
      for (size_t i = 0; i < count; ++i)
        if (completion.tokens[i] < tokenizer_.vocab_size()) known.push_back(completion.tokens[i]);
      return tokenizer_.decode(known);
    };
    if (!config_.ignore_eos && tokenizer_.ends(draw.token)) {
      completion.text = decoded(completion.tokens.size() - 1);
      return true;
    }
    if (text && draw.token < tokenizer_.vocab_size()) {
      const size_t searched = text->text().size();
      text->push(draw.token);
      size_t first = std::string::npos;
      for (const std::string& stop :
           config_.stop)  // the end of a stop string must be new; a character may have been completed
        first = std::min(first, text->text().find(stop, searched > stop.size() + 4 ? searched - stop.size() - 4 : 0));
      if (first != std::string::npos) {
        completion.text = text->text().substr(0, first);
        return true;
      }
    }
    if (static_cast<int>(completion.tokens.size()) < most_tokens[&group - groups.data()]) return false;
    completion.finish = Finish::length;
    completion.text = decoded(completion.tokens.size());
    return true;
  };

  for (std::vector<Work> work; !(work = scheduler.next()).empty();) {
    const Step step = build_step(work, groups);
    write_rows(work, scheduler.slots(), table);
    const at::Device device = policy_.device();
    const PageTable there{table.page_size, table.pages.to(device), table.lengths.to(device), table.parents.to(device)};
    const KvView view{&pages_, &there};
    const Tensor hidden = policy_.hidden(step.pass.build(device), &view);
    lengthen(work, table);
    ++stats_.forward_passes;
    if (step.draws.empty()) continue;

    const Tensor rows = step.rows.size() == step.pass.tokens.size()
                            ? hidden
                            : hidden.index_select(0, at::tensor(step.rows, at::kLong).to(device));
    std::vector<Draw> drawn = draw(policy_.logits(rows), step.draws, groups, config_.sampling, stream);
    for (size_t i = 0; i < drawn.size(); ++i) {
      const DueDraw& due = step.draws[i];
      Group& group = groups[due.group];
      TextStream* text = texts.empty() ? nullptr : &texts[due.group * config_.samples + due.sample];
      scheduler.drew(due.group, due.sample);
      ++stats_.completion_tokens;
      const bool ended = accept(group, due.sample, std::move(drawn[i]), text);
      if (on_token) on_token(group, due.sample);
      if (!ended) continue;
      scheduler.finish(due.group, due.sample);
      if (on_end) on_end(group, due.sample);
    }
  }
  stats_.prompt_tokens = scheduler.stats().prompt_tokens;
  stats_.recomputed_tokens = scheduler.stats().recomputed_tokens;
  stats_.preemptions = scheduler.stats().preemptions;
  stats_.peak_pages = scheduler.stats().peak_pages;
  stats_.peak_running = scheduler.stats().peak_running;
  return std::move(groups_);
}

}  // namespace grpo
