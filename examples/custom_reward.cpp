// A reward of one's own: register it, name it in the weights, and the Scorer evaluates it beside the built-in ones.
#include <cstdio>
#include <string>
#include <vector>

#include "grpo/config.h"
#include "grpo/reward.h"

namespace {

grpo::Completion completion_of(const std::string& text, std::size_t length) {
  grpo::Completion completion;
  completion.text = text;
  completion.tokens.assign(length, 0);  // a rollout fills in what it drew; this reward only counts them
  return completion;
}

/// It has no knobs of its own: --help and --version are what every program has.
struct NoKnobs {
  template <class V>
  void visit(V&) {}
};

}  // namespace

int main(int argc, char** argv) try {
  grpo::load_config<NoKnobs>(argc, argv);
  grpo::register_reward("short_and_right", [](const grpo::Task& task, const grpo::Completion& c) -> grpo::Score {
    if (task.answer.empty()) return grpo::Score::undefined();  // neither helps nor hurts: takes the group's mean
    return grpo::answers_match(c.answer, task.answer) ? 1.0 - static_cast<double>(c.tokens.size()) / 4096.0 : 0.0;
  });

  grpo::RewardsConfig config;
  config.weights = {{"short_and_right", 1.0}, {"format", 0.2}};
  config.threads = 2;
  grpo::Scorer scorer(config);

  std::vector<grpo::Group> groups(1);
  groups[0].task = {"example", "What is 17 + 25?", "42", "arithmetic", "en"};
  groups[0].completions = {
      completion_of("<think>7 + 5 is 12, carry one, 4 tens</think><answer>42</answer>", 64),
      completion_of("<think>wait, let me check that again and again</think>\n<answer>\\boxed{42}</answer>", 2048),
      completion_of("<think>7 + 5 is 12</think><answer>32</answer>", 40),
      completion_of("It is 42.", 5),
  };
  scorer.finish(groups);  // a rollout also calls scorer.submit(group, sample) as each completion ends

  for (std::size_t i = 0; i < groups[0].completions.size(); ++i) {
    std::printf("reward %6.3f  ", groups[0].rewards[i]);
    for (const auto& [name, score] : groups[0].scores[i])
      score.defined() ? std::printf("%s %.3f  ", name.c_str(), score.value()) : std::printf("%s -  ", name.c_str());
    std::printf("| %s\n", groups[0].completions[i].text.c_str());
  }
} catch (const std::exception& error) {
  return grpo::report(error);
}
