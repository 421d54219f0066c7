#include "suite_completions.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <map>
#include <set>
#include <sstream>

#include "grpo/metrics.h"

namespace {

namespace fs = std::filesystem;
using grpo::Answered;
using grpo::BenchmarkData;
using Clock = std::chrono::steady_clock;

std::string minutes(double seconds) {
  std::ostringstream out;
  out << static_cast<int64_t>(seconds) / 60 << ':' << std::setw(2) << std::setfill('0')
      << static_cast<int64_t>(seconds) % 60;
  return out.str();
}

// What `file` has, which nothing is taken from but a line that a stop has torn and answers to other prompts than those
// that are `asked` now (fingerprints, by problem); in the order of the problems.
struct Saved {
  std::vector<Answered> answers;
  std::set<std::string_view> outdated;  // problems whose prompt was another one
  uint64_t bytes = 0;
  bool in_order = true;
};

Saved read_saved(const BenchmarkData& data, const fs::path& file, const std::vector<std::string>& asked) {
  Saved saved;
  if (!fs::exists(file)) return saved;
  const std::string name(data.benchmark->name);
  grpo::SavedAnswers read = grpo::read_answered(name, file);
  if (read.torn) std::cerr << name << ": left out the last line of " << file.string() << ", which a stop cut short\n";
  if (!read.ended) std::ofstream(file, std::ios::app | std::ios::binary) << '\n', ++read.bytes;
  saved.bytes = read.bytes;
  saved.in_order = !read.torn;  // the file is written anew without it, unless more is to come
  std::map<std::string_view, size_t> places;
  for (size_t i = 0; i < data.problems.size(); ++i) places[data.problems[i].task.id] = i;
  std::map<std::pair<size_t, size_t>, Answered> sorted;
  for (Answered& each : read.answers) {
    const auto place = places.find(each.id);
    if (place == places.end())
      throw grpo::Error("suite", file.string(), ": has an answer to \"", each.id,
                        "\", which the benchmark's file does not ask; give another --out to sample anew");
    if (!each.asked.empty() && each.asked != asked[place->second]) {
      saved.outdated.insert(place->first), saved.in_order = false;
      continue;
    }
    const std::pair key(place->second, each.sample);
    saved.in_order = saved.in_order && (sorted.empty() || sorted.rbegin()->first < key);
    sorted.emplace(key, std::move(each));  // a sample that was drawn twice is the same twice
  }
  for (auto& [key, each] : sorted) saved.answers.push_back(std::move(each));
  return saved;
}

}  // namespace

Progress::Progress(std::string what, size_t total)
    : what_(std::move(what)), total_(total), terminal_(::isatty(2)), begin_(Clock::now()), shown_(begin_) {
  show();
}

Progress::~Progress() { std::cerr << (terminal_ ? "\n" : ""); }

void Progress::advance() {
  ++done_;
  show();
}

void Progress::show() {
  const auto now = Clock::now();
  const double spent = std::chrono::duration<double>(now - begin_).count();
  if (!terminal_ && done_ < total_ && done_ > 0 && now - shown_ < std::chrono::seconds(30)) return;
  shown_ = now;
  std::cerr << (terminal_ ? "\r" : "") << what_ << ' ' << done_ << '/' << total_;
  if (done_ > 0)
    std::cerr << ", " << minutes(spent) << ", left "
              << minutes(spent / static_cast<double>(done_) * static_cast<double>(total_ - done_)) << "  ";
  std::cerr << (terminal_ ? "" : "\n") << std::flush;
}

void answer(const std::string& what, const grpo::Model& model, const grpo::ChatTemplate& chat,
            grpo::RolloutConfig settings, uint64_t seed, int64_t limit, const std::vector<Question>& questions,
            const grpo::StopSignal& stop, const std::function<void(const grpo::Group&)>& keep) {
  struct Asked {
    const Question* question;
    std::vector<int32_t> prompt;
  };
  Progress progress(what, questions.size());
  std::map<int64_t, std::vector<Asked>> by_limit;
  for (const Question& each : questions) {
    auto prompt = model.tokenizer.encode(chat.render(each.task));
    const int64_t room = model.policy.config().max_positions - static_cast<int64_t>(prompt.size());
    const int64_t whole = room < 256 ? room : room / 256 * 256;
    by_limit[std::clamp<int64_t>(whole, 0, limit)].push_back({&each, std::move(prompt)});
  }
  for (auto& [tokens, asked] : by_limit) {
    if (tokens == 0) {
      std::cerr << '\n'
                << what << ": no room in the model's " << model.policy.config().max_positions << " positions for "
                << asked.size() << " of the prompts, whose answers count as cut; see --max-positions\n";
      for (const Asked& each : asked) {
        grpo::Group none;
        none.task = each.question->task, none.index = each.question->place;
        none.completions.resize(static_cast<size_t>(settings.samples));
        for (grpo::Completion& empty : none.completions) empty.finish = grpo::Finish::length;
        keep(none);
        progress.advance();
      }
      continue;
    }
    settings.max_new_tokens = static_cast<int>(tokens);
    settings.pages = 0;  // a run's own number was for shorter completions
    grpo::Rollout rollout(model.policy, model.tokenizer, chat, settings);
    constexpr size_t kAtOnce = 64;
    for (size_t begin = 0; begin < asked.size(); begin += kAtOnce) {
      std::vector<grpo::Task> tasks;
      std::vector<std::vector<int32_t>> prompts;
      grpo::DrawStream stream{seed, grpo::Purpose::evaluation, 0};
      for (size_t i = begin; i < std::min(asked.size(), begin + kAtOnce); ++i) {
        tasks.push_back(asked[i].question->task);
        prompts.push_back(std::move(asked[i].prompt));
        stream.indices.push_back(asked[i].question->place);
      }
      std::map<const grpo::Group*, size_t> ended;
      rollout.generate(
          tasks, prompts, stream,
          [&](grpo::Group& group, size_t) {
            if (++ended[&group] < group.completions.size()) return;
            keep(group);
            progress.advance();
          },
          [&](const grpo::Group&, size_t) { stop.check(); });
    }
  }
}

void save(const std::string& benchmark, const std::vector<Answered>& answers, const fs::path& file) {
  const fs::path part = file.string() + ".part";
  {
    grpo::JsonlWriter out(part);
    for (const Answered& each : answers) out.write(grpo::to_json(benchmark, each));
    out.sync();
  }
  fs::rename(part, file);
}

std::vector<Answered> complete(const SuiteRun& run, const grpo::SuiteConfig& suite, const grpo::SuiteRow& row,
                               const BenchmarkData& data, const fs::path& file) {
  const auto samples = static_cast<size_t>(row.samples);
  std::vector<std::string> asked;
  for (const auto& problem : data.problems) asked.push_back(grpo::fingerprint(run.chat.render(problem.task)));
  Saved saved = read_saved(data, file, asked);
  if (!saved.outdated.empty())
    std::cerr << row.name << ": " << saved.outdated.size() << " of " << data.problems.size()
              << " problems are put in other words than those that were answered in " << file.string()
              << "; they are asked again\n";
  std::map<std::string_view, size_t> have;
  for (const Answered& each : saved.answers) have[each.id] += each.sample < samples;
  std::vector<Question> missing;
  for (size_t i = 0; i < data.problems.size(); ++i)
    if (have[data.problems[i].task.id] < samples) missing.push_back({data.problems[i].task, static_cast<uint32_t>(i)});
  if (!missing.empty()) {
    if (missing.size() < data.problems.size())
      std::cerr << row.name << ": goes on with " << data.problems.size() - missing.size() << " of "
                << data.problems.size() << " problems from " << file.string() << '\n';
    grpo::RolloutConfig settings = run.model.rollout;
    settings.samples = row.samples;
    settings.cache_gigabytes = suite.cache_gigabytes;
    settings.sampling = {suite.temperature, 0, suite.top_p, 0};
    grpo::JsonlWriter out(file, saved.bytes);
    answer(
        row.name, run.model, run.chat, settings, suite.seed, suite.max_new_tokens, missing, run.stop,
        [&](const grpo::Group& group) {
          for (size_t i = 0; i < group.completions.size(); ++i) {
            const grpo::Completion& each = group.completions[i];
            out.write(grpo::to_json(
                row.name,
                {group.task.id, i, each.text, each.finish == grpo::Finish::length, {}, asked[group.index], ""}));
          }
        });
    out.sync();
    saved = read_saved(data, file, asked);
  }
  if (!saved.in_order) save(row.name, saved.answers, file);
  return std::move(saved.answers);
}
