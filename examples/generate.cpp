// Continues prompts with any model: those of a file, or what is typed.
//   generate --model DIR --in prompts.jsonl --out out.jsonl --n 4 --chat
//   generate --model DIR --chat                                          (a conversation on the terminal)
//   printf 'Hi\nWhat is 2+2?\n' | generate --model DIR --chat            (the same without one: a turn a line)
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "grpo/config.h"
#include "grpo/messages.h"
#include "grpo/metrics.h"
#include "grpo/model.h"
#include "grpo/rollout.h"
#include "grpo/stop.h"
#include "grpo/stopwatch.h"
#include "grpo/tasks.h"
#include "lines.h"

namespace {

using Json = nlohmann::ordered_json;

struct GenerateConfig : grpo::ModelConfig {
  std::string in, out, system;
  int n = 1, max_new_tokens = 256;
  grpo::SamplingConfig sampling;
  std::vector<std::string> stop;
  grpo::BadTasks on_bad = grpo::BadTasks::drop;
  bool chat = false, open_think = false, bos = false;
  uint64_t seed = 0;
  double cache_gigabytes = grpo::RolloutConfig().cache_gigabytes;

  template <class V>
  void visit(V& v) {
    grpo::ModelConfig::visit(v);
    v("in", in,
      "JSONL, one of these on each line: \"prompt\" (a text), \"prompt_ids\" (tokens), with chat also \"messages\"; "
      "without it a conversation on the terminal, or of the lines of standard input, at a temperature of 0.7 and a "
      "top_p of 0.95 unless they are given. \"-\" is standard input");
    v("out", out,
      "JSONL: the lines of `in` with \"completions\": text, ids, logprobs, entropies, finish_reason (stop, length). "
      "\"-\" is standard output");
    v("on_bad", on_bad, "lines that cannot be asked, as too long: give them back with an \"error\", or refuse");
    v("n", n, "completions of each prompt", grpo::kSamples);
    sampling.visit(v);
    v("max_new_tokens", max_new_tokens, "longest completion; it also ends where the model's positions do",
      grpo::kNewTokens);
    v("stop", stop, "strings that end a completion, as a JSON list; its text is cut before them");
    v("chat", chat, "a prompt is a user's turn: the text around it is the model's chat template, or what a run had");
    v("system", system, "with chat: the system prompt of every conversation that has none; empty: what a run had");
    v("open_think", open_think, "with chat: end the prompt with <think>, as a run does whose chat.open_think is set");
    v("bos", bos, "put the tokenizer's token for the beginning in front");
    v("seed", seed, "seed of the draws");
    v("cache_gigabytes", cache_gigabytes, "limit of the KV cache", grpo::above(0).at_most(1e6));
  }
  void validate() const {
    grpo::ModelConfig::validate();
    if (in.empty() != out.empty()) throw grpo::Error("config", "expected both --in and --out, or neither");
    if (!system.empty() && !chat) throw grpo::Error("config", "system: expected --chat with it");
    if (open_think && !chat) throw grpo::Error("config", "open_think: expected --chat with it");
    rollout().validate();
  }
  grpo::RolloutConfig rollout() const {
    grpo::RolloutConfig config;
    config.samples = n, config.max_new_tokens = max_new_tokens, config.sampling = sampling, config.stop = stop;
    config.cache_gigabytes = cache_gigabytes;
    config.ends_at_context = true;
    return config;
  }
};

/// Prompts as tokens.
class Prompts {
 public:
  Prompts(const GenerateConfig& config, const grpo::Model& model) : config_(config), tokenizer_(model.tokenizer) {
    if (config.chat) chat_ = model.own_chat();
    if (!config.system.empty()) chat_.system = config.system;
    chat_.open_think |= config.open_think;
    if (!config.system.empty() && !chat_.text.empty() && chat_.text.find("{system}") == std::string::npos)
      throw grpo::Error("generate",
                        "system: expected a model that is asked with one; this run's chat.text has no {system}");
    if (config.bos && tokenizer_.bos() < 0)
      throw grpo::Error("generate", "bos: expected a tokenizer with such a token, it has none");
  }

  /// Whether a conversation can have more than one turn.
  bool remembers() const { return config_.chat && chat_.text.empty(); }

  std::vector<int32_t> of(const Line& line) const {
    if (!config_.chat || line.has("prompt_ids"))
      return with_bos(line.tokens("prompt", [&]() -> const grpo::Tokenizer& { return tokenizer_; }));
    if (line.has("messages")) return of(line.json.at("messages"), line.where);
    return of(Json::array({{{"role", "user"}, {"content", line.get<std::string>("prompt")}}}), line.where);
  }

  /// What an answer begins with that the prompt has opened.
  std::string opening() const { return chat_.opens_think() ? "<think>" : ""; }

  std::vector<int32_t> of(const Json& messages, const std::string& where) const try {
    return with_bos(tokenizer_.encode(chat_.render(messages)));
  } catch (const std::exception& error) {
    throw grpo::Error("generate", where, ": ", grpo::reason_of(error));
  }

 private:
  std::vector<int32_t> with_bos(std::vector<int32_t> tokens) const {
    if (config_.bos) tokens.insert(tokens.begin(), tokenizer_.bos());
    return tokens;
  }

  const GenerateConfig& config_;
  const grpo::Tokenizer& tokenizer_;
  grpo::ChatTemplate chat_;
};

Json completions_of(const grpo::Group& group) {
  Json list = Json::array();
  for (const grpo::Completion& completion : group.completions)
    list.push_back({{"text", completion.text},
                    {"ids", completion.tokens},
                    {"logprobs", completion.logprobs},
                    {"entropies", completion.entropies},
                    {"finish_reason", completion.finish == grpo::Finish::stop ? "stop" : "length"}});
  return list;
}

grpo::Model opened(const GenerateConfig& config) {
  grpo::Model model = grpo::open_model(config);
  if (!model.warning.empty()) std::cerr << "warning: " << model.warning << '\n';
  if (const int positions = model.policy.config().max_positions; config.max_new_tokens >= positions)
    std::cerr << "warning: max_new_tokens: the model has " << positions << " positions, prompt included: completions "
              << "end there, before " << config.max_new_tokens << " tokens\n";
  return model;
}

/// Completes the lines of a file, each of which it gives back with what came of it.
class FileRun {
 public:
  explicit FileRun(const GenerateConfig& config)
      : config_(config),
        lines_(read_lines(config.in, refuses() ? nullptr : &left_out_)),
        out_(config.out, {config.in}),
        model_(opened(config)),
        prompts_(config, model_),
        rollout_(model_.policy, model_.tokenizer, model_.chat, config.rollout()) {}

  /// The status to exit with.
  int operator()() {
    if (refuses())
      for (const Line& line : lines_)
        if (const std::string why = rollout_.refusal(prompts_.of(line)); !why.empty())
          throw grpo::Error("generate", line.where, ": ", why);
    const grpo::StopSignal signal;
    progress_.begin("generate", static_cast<int64_t>(lines_.size()), 0, grpo::Progress::Lines::seldom);
    watch_.lap();
    bool interrupted = false;
    // A part at a time, so that memory holds the completions of one part alone; which part a line is in changes no draw.
    const size_t most = std::max<size_t>(64, 2048 / static_cast<size_t>(config_.n));
    for (size_t begin = 0; begin < lines_.size() && !interrupted; begin += most)
      interrupted = !complete(ask(begin, std::min(most, lines_.size() - begin)), signal);
    progress_.end();
    if (left_out_.count > 0) std::fprintf(stderr, "warning: %s\n", left_out_.text("lines").c_str());
    if (done_ > 0 || !interrupted) out_.finish();
    std::fprintf(stderr, "%s%lld of %zu prompts, %lld tokens, %.1f tokens/s\n", interrupted ? "stopped: " : "",
                 static_cast<long long>(done_), lines_.size(), static_cast<long long>(tokens_), rate());
    return interrupted ? signal.exit_status() : 0;
  }

 private:
  /// Lines from `begin` on, and those of them that can be asked.
  struct Part {
    size_t begin;
    std::vector<std::string> errors;  // of the others, which come back with it; else ""
    std::vector<grpo::Task> tasks;
    std::vector<std::vector<int32_t>> inputs;
    grpo::DrawStream stream;
  };

  bool refuses() const { return config_.on_bad == grpo::BadTasks::refuse; }
  double rate() const { return static_cast<double>(tokens_) / std::max(seconds_, 1e-9); }

  Part ask(size_t begin, size_t count) {
    Part part{begin, std::vector<std::string>(count), {}, {}, {config_.seed}};
    for (size_t i = 0; i < count; ++i) {
      const std::string& where = lines_[begin + i].where;
      try {
        std::vector<int32_t> prompt = prompts_.of(lines_[begin + i]);
        part.errors[i] = rollout_.refusal(prompt);
        if (part.errors[i].empty()) part.inputs.push_back(std::move(prompt));
      } catch (const grpo::Error& error) {  // "[line] FILE:LINE: expected …"
        const std::string_view why = error.what();
        const size_t at = why.find(where);
        part.errors[i] = at == why.npos ? why : why.substr(std::min(why.size(), at + where.size() + 2));
      }
      if (const std::string& why = part.errors[i]; !why.empty()) {
        left_out_.add(why.find(where) == std::string::npos ? where + ": " + why : why);
        continue;
      }
      part.tasks.push_back({.id = where, .prompt = "", .answer = "", .kind = "", .language = ""});
      part.stream.indices.push_back(static_cast<uint32_t>(begin + i));
    }
    return part;
  }

  /// Writes the lines of a part, in order, as they are completed. False when a signal stopped it.
  bool complete(const Part& part, const grpo::StopSignal& signal) {
    const size_t count = part.errors.size();
    std::vector<int> open(count, config_.n);  // completions still to come
    std::vector<const grpo::Group*> finished(count);
    size_t written = 0;
    const auto ready = [&](size_t i) { return finished[i] || !part.errors[i].empty(); };
    const auto on_end = [&](grpo::Group& group, size_t) {
      const size_t i = group.index - part.begin;
      if (--open[i] > 0) return;
      finished[i] = &group;
      const double lap = watch_.lap();
      seconds_ += lap;
      progress_.step(++done_, {{"tokens/s", rate()}}, lap);
      for (; written < count && ready(written); ++written) write(part, written, finished[written]);
    };
    const auto on_token = [&](const grpo::Group&, size_t) {
      ++tokens_;
      signal.check();
    };
    bool interrupted = false;
    try {
      rollout_.generate(part.tasks, part.inputs, part.stream, on_end, on_token);
    } catch (const grpo::Interrupted&) {
      interrupted = true;
    }
    for (; written < count; ++written)
      if (ready(written)) write(part, written, finished[written]);
    return !interrupted;
  }

  void write(const Part& part, size_t i, const grpo::Group* group) {
    Json result{{"completions", group ? completions_of(*group) : Json::array()}};
    if (!group) result["error"] = part.errors[i];
    // (Of one that is asked anew what came of it before goes.)
    const Line& line = lines_[part.begin + i];
    out_.write_lines(line.has("completions") ? line.with(result, {"error"}) : line.with(result));
  }

  const GenerateConfig& config_;
  grpo::LeftOut left_out_;
  const std::vector<Line> lines_;
  LineWriter out_;
  const grpo::Model model_;
  const Prompts prompts_;
  grpo::Rollout rollout_;
  grpo::Progress progress_{"/dev/null"};
  grpo::Stopwatch watch_;
  double seconds_ = 0;
  int64_t done_ = 0, tokens_ = 0;
};

/// Writes out a text that grows, but for its end while that may still change: half a character, or the
/// beginning of a stop string.
class Screen {
 public:
  Screen(LineWriter& out, std::vector<std::string> stop) : out_(out), stop_(std::move(stop)) {}

  void show(const std::string& text, bool whole) {
    size_t end = text.size();
    constexpr std::string_view kReplacement = "\uFFFD";
    if (!whole) {
      while (std::string_view(text).substr(0, end).ends_with(kReplacement)) end -= kReplacement.size();
      if (end > 0 && text[end - 1] == '\x1a') --end;
      for (const std::string& stop : stop_)
        for (size_t length = std::min(stop.size(), text.size()); length > 0; --length)
          if (text.ends_with(std::string_view(stop).substr(0, length))) end = std::min(end, text.size() - length);
    }
    if (end <= shown_) return;
    out_.write_lines(std::string_view(text).substr(shown_, end - shown_));
    shown_ = end;
  }

 private:
  LineWriter& out_;
  std::vector<std::string> stop_;
  size_t shown_ = 0;
};

/// Turns, one a line, until there are no more. Standard output has the answers and nothing else.
class Conversation {
 public:
  Conversation(const GenerateConfig& config, const grpo::Model& model)
      : config_(config), model_(model), prompts_(config, model) {}

  /// The status to exit with.
  int operator()() {
    const bool terminal = ::isatty(0) == 1;
    if (terminal) std::cerr << "Ctrl-C ends an answer, Ctrl-D the conversation.\n";
    std::string line;
    for (uint64_t turn = 0;;) {
      if (terminal) std::cerr << "> ";
      if (!std::getline(std::cin, line)) break;
      if (line.ends_with('\r')) line.pop_back();
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      if (const int status = answer(line, turn++)) return status;
    }
    if (terminal) std::cerr << '\n';
    return 0;
  }

 private:
  std::vector<int32_t> prompt_of(const std::string& line, uint64_t turn) const {
    const std::string where = "turn " + std::to_string(turn + 1);
    return config_.chat ? prompts_.of(messages_, where) : prompts_.of(Line{{{"prompt", line}}, where});
  }

  /// Makes `rollout` for an answer to this prompt, which may be shorter than asked for where positions run out, but not
  /// by much. Why there can be none, or "".
  std::string refusal(const std::vector<int32_t>& prompt, std::optional<grpo::Rollout>& rollout) const {
    grpo::RolloutConfig settings = config_.rollout();
    settings.samples = 1;
    const int64_t positions = model_.policy.config().max_positions;
    const int64_t room = positions - static_cast<int64_t>(prompt.size());
    if (room < std::min<int64_t>(settings.max_new_tokens, std::max<int64_t>(1, positions / 8)))
      return "its " + std::to_string(prompt.size()) + " tokens leave no room for an answer in the model's " +
             std::to_string(positions) + " positions";
    settings.max_new_tokens = static_cast<int>(std::min<int64_t>(settings.max_new_tokens, room));
    rollout.emplace(model_.policy, model_.tokenizer, model_.chat, settings);
    return rollout->refusal(prompt);
  }

  int answer(const std::string& line, uint64_t turn) {
    if (!prompts_.remembers()) messages_.clear();
    messages_.push_back({{"role", "user"}, {"content", line}});
    auto prompt = prompt_of(line, turn);
    std::optional<grpo::Rollout> rollout;
    std::string why = refusal(prompt, rollout);
    if (!why.empty() && messages_.size() > 1) {
      Json before = std::exchange(messages_, Json::array({messages_.back()}));
      prompt = prompt_of(line, turn);
      why = refusal(prompt, rollout);
      if (why.empty())
        std::cerr << "note: the conversation has outgrown the model's " << model_.policy.config().max_positions
                  << " positions; it begins anew here, and what was said before is forgotten" << std::endl;
      else
        messages_ = std::move(before);
    }
    if (!why.empty()) {
      std::cerr << "note: this cannot be asked, ask something shorter: " << why << std::endl;
      messages_.erase(messages_.size() - 1);
      return 0;
    }
    const grpo::StopSignal signal;  // Ctrl-C ends the answer
    grpo::TextStream text(model_.tokenizer);
    Screen screen(out_, config_.stop);
    std::string said;
    try {
      const auto groups = rollout->generate(
          {{"the prompt", line, "", "", ""}}, {prompt}, {config_.seed, grpo::Purpose::rollout, turn, 0}, nullptr,
          [&](const grpo::Group& group, size_t) {
            signal.check();
            const int32_t token = group.completions[0].tokens.back();
            if (token >= model_.tokenizer.vocab_size() || model_.tokenizer.ends(token)) return;
            text.push(token);
            screen.show(text.text(), false);
          });
      said = groups[0].completions[0].text;
      screen.show(said, true);
    } catch (const grpo::Interrupted&) {
      said = text.text();
    }
    out_.write_lines("\n");
    if (signal.requested() && signal.exit_status() != 128 + SIGINT) return signal.exit_status();
    messages_.push_back({{"role", "assistant"}, {"content", prompts_.opening() + said}});
    return 0;
  }

  const GenerateConfig& config_;
  const grpo::Model& model_;
  const Prompts prompts_;
  LineWriter out_{"-", {}};
  Json messages_ = Json::array();
};

/// What was asked for; in a conversation small models talk sense below temperature 1.
GenerateConfig configured(int argc, char** argv) {
  grpo::GivenKeys given;
  auto config = grpo::load_config<GenerateConfig>(argc, argv, &given);
  if (!config.in.empty()) return config;
  for (const char* key : {"n", "on_bad"})
    if (given.contains(key))
      throw grpo::Error("config", key, ": expected --in and --out with it; a conversation has neither");
  if (!given.contains("temperature")) config.sampling.temperature = 0.7;
  if (!given.contains("top_p")) config.sampling.top_p = 0.95;
  return config;
}

}  // namespace

int main(int argc, char** argv) try {
  const GenerateConfig config = configured(argc, argv);
  if (!config.in.empty()) return FileRun(config)();
  const grpo::Model model = opened(config);
  return Conversation(config, model)();
} catch (const std::exception& error) {
  return grpo::report(error);
}
