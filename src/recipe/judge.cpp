#include "grpo/judge.h"

#include <unordered_map>

#include "base/draws.h"
#include "grpo/error.h"

namespace grpo {
namespace {

RolloutConfig sampling_of(const JudgeConfig& config, RolloutConfig rollout) {
  validate(config, "judging");
  rollout.samples = config.votes;
  rollout.max_new_tokens = config.max_new_tokens;
  rollout.sampling = {};
  rollout.sampling.temperature = config.temperature;
  return rollout;
}

// The distinct questions of a call, in the order of their first asking.
class Questions {
 public:
  std::size_t add(std::string question) {
    const auto [found, is_new] = places_.emplace(std::move(question), list_.size());
    if (is_new) list_.push_back(found->first);
    return found->second;
  }
  const std::vector<std::string>& list() const { return list_; }

 private:
  std::unordered_map<std::string, std::size_t> places_;
  std::vector<std::string> list_;
};

void require_task(const Task* task) {
  if (!task) throw Error("judge", "expected the task of each answer to judge, got a null pointer");
}

constexpr std::size_t kUnasked = static_cast<std::size_t>(-1);

}  // namespace

Judge::Judge(const Policy& policy, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
             const JudgeConfig& config, const RolloutConfig& rollout, std::function<void()> check)
    : config_(config),
      policy_(policy.snapshot()),
      tokenizer_(tokenizer),
      chat_template_(chat_template),
      rollout_(policy_, tokenizer, chat_template, sampling_of(config, rollout)),
      check_(std::move(check)) {}

std::vector<std::vector<std::string>> Judge::ask(const std::vector<std::string>& questions, uint64_t seed,
                                                 uint64_t step) {
  stats_ = {};
  std::vector<std::vector<std::string>> votes(questions.size());
  std::vector<Task> tasks;
  std::vector<std::vector<int32_t>> prompts;
  std::vector<std::size_t> asked;
  DrawStream stream{seed, Purpose::judge, step};
  for (std::size_t i = 0; i < questions.size(); ++i) {
    stats_.verdicts += config_.votes;
    Task task{.id = "", .prompt = questions[i], .answer = "", .kind = "judging", .language = "en"};
    std::vector<int32_t> prompt = tokenizer_.encode(chat_template_.render(task));
    if (static_cast<int64_t>(prompt.size()) + config_.max_new_tokens > policy_.config().max_positions) {
      stats_.unreadable += config_.votes;
      continue;
    }
    tasks.push_back(std::move(task));
    prompts.push_back(std::move(prompt));
    asked.push_back(i);
    // By what is asked, not by its place: a verdict does not depend on what else is judged. (Two questions that meet in
    // 24 bits share their random numbers, nothing more.)
    stream.indices.push_back(static_cast<uint32_t>(hash_of(questions[i]) >> 40));
  }
  if (tasks.empty()) return votes;
  Rollout::OnToken on_token;
  if (check_) on_token = [&](const Group&, std::size_t) { check_(); };
  const std::vector<Group> groups = rollout_.generate(tasks, prompts, stream, nullptr, on_token);
  for (std::size_t i = 0; i < groups.size(); ++i)
    for (const Completion& vote : groups[i].completions) votes[asked[i]].push_back(vote.text);
  return votes;
}

bool Judge::nothing_said(const Task& task, const std::string& answer) const {
  return says_nothing(answer, config_.boilerplate) && (task.answer.empty() || !answers_match(answer, task.answer));
}

std::vector<Score> Judge::rate(const std::vector<Rating>& ratings, uint64_t seed, uint64_t step) {
  for (const Rating& rating : ratings) require_task(rating.task);
  Questions questions;
  std::vector<std::size_t> places;
  for (const Rating& rating : ratings)
    places.push_back(nothing_said(*rating.task, rating.text)
                         ? kUnasked
                         : questions.add(rating_prompt(config_, rating.rubric, *rating.task, rating.text)));
  std::vector<Score> answers;
  for (const auto& votes : ask(questions.list(), seed, step)) {
    double sum = 0;
    int64_t readable = 0;
    for (const std::string& vote : votes) {
      const auto rating = read_rating(vote, config_.max_score, chat_template_.opens_think());
      if (!rating)
        ++stats_.unreadable;
      else
        sum += *rating, ++readable;
    }
    answers.push_back(readable ? Score(sum / static_cast<double>(readable * config_.max_score)) : Score::undefined());
  }
  std::vector<Score> scores;
  for (const std::size_t place : places) scores.push_back(place == kUnasked ? Score(0.0) : answers[place]);
  return scores;
}

std::vector<Preference> Judge::compare(const std::vector<Comparison>& comparisons, uint64_t seed, uint64_t step) {
  for (const Comparison& pair : comparisons) require_task(pair.task);
  Questions questions;
  std::vector<std::array<std::size_t, 2>> places;
  for (const Comparison& pair : comparisons) {
    const bool empty = nothing_said(*pair.task, pair.a) || nothing_said(*pair.task, pair.b);
    places.push_back(
        empty ? std::array<std::size_t, 2>{kUnasked, kUnasked}
              : std::array<std::size_t, 2>{questions.add(comparison_prompt(config_, *pair.task, pair.a, pair.b)),
                                           questions.add(comparison_prompt(config_, *pair.task, pair.b, pair.a))});
  }
  const std::vector<std::vector<std::string>> verdicts = ask(questions.list(), seed, step);
  const auto read = [&](const std::string& vote) { return read_choice(vote, chat_template_.opens_think()); };
  for (const auto& votes : verdicts)
    for (const std::string& vote : votes) stats_.unreadable += !read(vote);

  std::vector<Preference> out;
  for (std::size_t i = 0; i < comparisons.size(); ++i) {
    Preference preference;
    if (places[i][0] == kUnasked) {
      const bool a = nothing_said(*comparisons[i].task, comparisons[i].a),
                 b = nothing_said(*comparisons[i].task, comparisons[i].b);
      preference.score = a && b ? 0.5 : a ? 0.0 : 1.0;
      out.push_back(preference);
      continue;
    }
    double points = 0;
    for (const int order : {0, 1})
      for (const std::string& vote : verdicts[places[i][order]]) {
        const auto choice = read(vote);
        if (!choice) continue;
        ++preference.readable;
        preference.first_votes += *choice == Choice::a;
        preference.second_votes += *choice == Choice::b;
        points += *choice == Choice::tie ? 0.5 : (*choice == Choice::a) == (order == 0) ? 1.0 : 0.0;
      }
    if (preference.readable) preference.score = points / static_cast<double>(preference.readable);
    out.push_back(preference);
  }
  return out;
}

std::optional<std::string> Judge::score(std::vector<Group>& groups, const RewardsConfig& rewards, uint64_t seed,
                                        uint64_t step) {
  struct Place {
    std::size_t group, sample;
    const char* name;
  };
  std::vector<Rating> ratings;
  std::vector<Place> places;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    Group& group = groups[g];
    if (group.scores.size() != group.completions.size())
      throw Error("judge", "expected scores for each of ", group.completions.size(), " completions of task \"",
                  group.task.id, "\", got ", group.scores.size());
    const auto& weights = rewards.weights_of(group.task.kind);
    for (std::size_t i = 0; i < group.completions.size(); ++i)
      for (const Rubric rubric : {Rubric::helpful, Rubric::harmless}) {
        const char* name = rubric == Rubric::helpful ? "helpful" : "harmless";
        if (!weights.contains(name)) continue;
        // A broken form has no final answer: "" says nothing and scores 0.
        ratings.push_back(
            {&group.task, rubric == Rubric::helpful ? group.completions[i].answer : group.completions[i].text, rubric});
        places.push_back({g, i, name});
      }
  }
  if (ratings.empty()) return std::nullopt;
  const std::vector<Score> scores = rate(ratings, seed, step);
  if (stats_.unreadable_share() > config_.max_unreadable)
    return "the judge's scores are left out at step " + std::to_string(step) + ": " +
           std::to_string(stats_.unreadable) + " of " + std::to_string(stats_.verdicts) +
           " verdicts are unreadable; use a judge that was taught the form <think>…</think><answer>N</answer>";
  for (std::size_t i = 0; i < scores.size(); ++i)
    groups[places[i].group].scores[places[i].sample].insert_or_assign(places[i].name, scores[i]);
  for (Group& group : groups) combine(group, rewards);
  return std::nullopt;
}

}  // namespace grpo
