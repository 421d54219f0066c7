// Continues prompts with any model: those of a file, or what is typed.
//   generate --model DIR --in prompts.jsonl --out out.jsonl --n 4 --chat
//   generate --model DIR --chat                                          (from a terminal: a conversation)
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "grpo/config.h"
#include "grpo/messages.h"
#include "grpo/metrics.h"
#include "grpo/model.h"
#include "grpo/rollout.h"
#include "grpo/run.h"
#include "grpo/stop.h"
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
      "without it a conversation on the terminal");
    v("out", out, "JSONL: the lines of `in` with \"completions\": text, ids, logprobs, finish_reason (stop, length)");
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
    throw grpo::Error("generate", where, ": ", error.what());
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

int complete_file(const GenerateConfig& config) {
  const bool refuse = config.on_bad == grpo::BadTasks::refuse;
  grpo::LeftOut left_out;
  const std::vector<Line> lines = read_lines(config.in, refuse ? nullptr : &left_out);
  LineWriter out(config.out, {config.in});
  const grpo::Model model = opened(config);
  const Prompts prompts(config, model);
  grpo::Rollout rollout(model.policy, model.tokenizer, model.chat, config.rollout());
  if (refuse)
    for (const Line& line : lines)
      if (const std::string why = rollout.refusal(prompts.of(line)); !why.empty())
        throw grpo::Error("generate", line.where, ": ", why);
  const grpo::StopSignal signal;
  grpo::Progress progress("/dev/null");
  progress.begin("generate", static_cast<int64_t>(lines.size()), 0, grpo::Progress::Lines::seldom);
  grpo::Stopwatch watch;
  double seconds = 0;
  int64_t done = 0, tokens = 0;
  bool interrupted = false;
  // A part at a time, so that memory holds the completions of one part alone; which part a line is in changes no draw.
  const size_t part = std::max<size_t>(64, 2048 / static_cast<size_t>(config.n));
  for (size_t begin = 0; begin < lines.size() && !interrupted; begin += part) {
    const size_t count = std::min(part, lines.size() - begin);
    std::vector<grpo::Task> tasks;
    std::vector<std::vector<int32_t>> inputs;
    grpo::DrawStream stream{config.seed};
    std::vector<std::string> errors(count);  // of lines that cannot be asked: they come back with it
    for (size_t i = 0; i < count; ++i) {
      try {
        std::vector<int32_t> prompt = prompts.of(lines[begin + i]);
        errors[i] = rollout.refusal(prompt);
        if (!errors[i].empty()) continue;
        inputs.push_back(std::move(prompt));
      } catch (const grpo::Error& error) {  // "[line] FILE:LINE: expected …"
        const std::string_view why = error.what(), where = lines[begin + i].where;
        const size_t at = why.find(where);
        errors[i] = at == why.npos ? why : why.substr(std::min(why.size(), at + where.size() + 2));
        continue;
      }
      tasks.push_back({.id = lines[begin + i].where, .prompt = "", .answer = "", .kind = "", .language = ""});
      stream.indices.push_back(static_cast<uint32_t>(begin + i));
    }
    for (size_t i = 0; i < count; ++i)
      if (!errors[i].empty()) left_out.add(lines[begin + i].where + ": " + errors[i]);
    std::vector<int> open(count, config.n);  // completions still to come
    std::vector<const grpo::Group*> finished(count);
    size_t written = 0;
    const auto ready = [&](size_t i) { return finished[i] || !errors[i].empty(); };
    const auto write = [&](size_t i) {
      Json result{{"completions", finished[i] ? completions_of(*finished[i]) : Json::array()}};
      if (!finished[i]) result["error"] = errors[i];
      // (Of one that is asked anew what came of it before goes.)
      const Line& line = lines[begin + i];
      out.write_lines(line.has("completions") ? line.with(result, {"error"}) : line.with(result));
    };
    try {
      rollout.generate(
          tasks, inputs, stream,
          [&](grpo::Group& group, size_t) {
            const size_t i = group.index - begin;
            if (--open[i] > 0) return;
            finished[i] = &group;
            const double lap = watch.lap();
            seconds += lap;
            progress.step(++done, {{"tokens/s", static_cast<double>(tokens) / std::max(seconds, 1e-9)}}, lap);
            for (; written < count && ready(written); ++written) write(written);
          },
          [&](const grpo::Group&, size_t) {
            ++tokens;
            signal.check();
          });
    } catch (const grpo::Interrupted&) {
      interrupted = true;
    }
    for (; written < count; ++written)
      if (ready(written)) write(written);
  }
  progress.end();
  if (left_out.count > 0) std::fprintf(stderr, "warning: %s\n", left_out.text("lines").c_str());
  if (done > 0 || !interrupted) out.finish();
  std::fprintf(stderr, "%s%lld of %zu prompts, %lld tokens, %.1f tokens/s\n", interrupted ? "stopped: " : "",
               static_cast<long long>(done), lines.size(), static_cast<long long>(tokens),
               static_cast<double>(tokens) / std::max(seconds, 1e-9));
  return interrupted ? signal.exit_status() : 0;
}

/// Writes a text that grows to the terminal, but for its end while that may still change: half a character, or the
/// beginning of a stop string.
class Screen {
 public:
  explicit Screen(std::vector<std::string> stop) : stop_(std::move(stop)) {}

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
    std::cout << std::string_view(text).substr(shown_, end - shown_) << std::flush;
    shown_ = end;
  }

 private:
  std::vector<std::string> stop_;
  size_t shown_ = 0;
};

int converse(const GenerateConfig& config, const grpo::Model& model) {
  const Prompts prompts(config, model);
  grpo::RolloutConfig settings = config.rollout();
  settings.samples = 1;
  grpo::Rollout rollout(model.policy, model.tokenizer, model.chat, settings);
  Json messages = Json::array();
  std::string line;
  for (uint64_t turn = 0; std::cout << "> " << std::flush, std::getline(std::cin, line) && !line.empty(); ++turn) {
    if (!prompts.remembers()) messages.clear();
    messages.push_back({{"role", "user"}, {"content", line}});
    const auto prompt = config.chat ? prompts.of(messages, "turn " + std::to_string(turn + 1))
                                    : prompts.of(Line{{{"prompt", line}}, "the prompt"});
    const grpo::StopSignal signal;  // Ctrl-C ends the answer
    grpo::TextStream text(model.tokenizer);
    Screen screen(config.stop);
    std::string answer;
    try {
      const auto groups =
          rollout.generate({{"the prompt", line, "", "", ""}}, {prompt}, {config.seed, grpo::Purpose::rollout, turn, 0},
                           nullptr, [&](const grpo::Group& group, size_t) {
                             signal.check();
                             const int32_t token = group.completions[0].tokens.back();
                             if (token >= model.tokenizer.vocab_size() || model.tokenizer.ends(token)) return;
                             text.push(token);
                             screen.show(text.text(), false);
                           });
      answer = groups[0].completions[0].text;
      screen.show(answer, true);
    } catch (const grpo::Interrupted&) {
      answer = text.text();
    }
    std::cout << std::endl;
    if (signal.requested() && signal.exit_status() != 128 + SIGINT) return signal.exit_status();
    messages.push_back({{"role", "assistant"}, {"content", prompts.opening() + answer}});
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  const auto config = grpo::load_config<GenerateConfig>(argc, argv);
  if (config.in.empty() && ::isatty(0) != 1)
    throw grpo::Error("config", "expected --in FILE.jsonl and --out FILE.jsonl, or a terminal to talk to (see --help)");
  if (!config.in.empty()) return complete_file(config);
  return converse(config, opened(config));
} catch (const std::exception& error) {
  return grpo::report(error);
}
