#include "grpo/corpus.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <variant>
#include <vector>

#include "generators.h"

namespace grpo {
namespace {

constexpr std::uint64_t kCorpus = 3;  // purpose of the draws, beside those of tasks.cpp

/// The words of a reasoning, each in English or Korean.
class Words {
 public:
  enum Language { english, korean, mixed };
  Words(Language language, Draws& draws) : language_(language), draws_(draws) {}

  std::string carry(std::int64_t digit) {
    const std::string written = std::to_string(digit);
    return pick() ? ", " + written + " 쓰고 1 올림" : ", write " + written + " carry 1";
  }
  std::string borrow() { return pick() ? " 빌림: " : " borrow: "; }
  std::string wait() { return pick() ? "잠깐, " : "Wait, "; }
  std::string no() { return pick() ? ", 아니다" : ", no"; }
  /// The last word of every reasoning; it keeps the promise that a mixed one has some Korean.
  std::string so() { return (language_ == mixed && !said_korean_) || pick() ? "그래서 " : "So "; }

 private:
  bool pick() {  // Korean?
    const bool korean_word = language_ == korean || (language_ == mixed && draws_.below(2) == 0);
    said_korean_ |= korean_word;
    return korean_word;
  }
  Language language_;
  Draws& draws_;
  bool said_korean_ = false;
};

struct Flaws {
  bool slips, rechecks;
};

struct Reasoning {
  std::string text, answer;
};

/// Digits from the units upwards, with zeros up to `columns`.
std::vector<std::int64_t> digits_of(std::int64_t number, std::size_t columns) {
  std::vector<std::int64_t> digits;
  for (; number > 0 || digits.size() < columns; number /= 10) digits.push_back(number % 10);
  return digits;
}

/// Writes steps "7+5=12" one after the other, and does the slip and the re-check when their step comes.
class Steps {
 public:
  Steps(std::size_t count, Flaws flaws, Words& words, Draws& draws) : flaws_(flaws), words_(words), draws_(draws) {
    flawed_ = draws.below(count);
  }

  /// Writes "asked=result" and returns the result from which the reasoning goes on. A slip stays within [0, largest].
  std::int64_t step(const std::string& asked, std::int64_t result, std::int64_t largest) {
    std::int64_t written = result;
    const bool flawed = next_++ == flawed_;
    if (flawed && flaws_.slips) {
      std::vector<std::int64_t> slips;
      for (std::int64_t slip = std::max<std::int64_t>(0, result - 3); slip <= std::min(largest, result + 3); ++slip)
        if (slip != result) slips.push_back(slip);
      written = draws_.one_of(slips);
    }
    text_ += asked + "=" + std::to_string(written);
    if (flawed && flaws_.rechecks) {
      text_ += ". " + words_.wait() + asked + "=" + std::to_string(result);
      written = result;
    }
    return written;
  }
  void append(const std::string& text) { text_ += text; }
  Reasoning finish(std::int64_t answer) {
    const std::string number = std::to_string(answer);
    return {text_ + words_.so() + number + ".", number};
  }

 private:
  Flaws flaws_;
  Words& words_;
  Draws& draws_;
  std::string text_;
  std::size_t next_ = 0, flawed_;
};

Reasoning add(std::int64_t left, std::int64_t right, Flaws flaws, Words& words, Draws& draws) {
  const std::size_t columns = digits_of(std::max(left, right), 2).size();
  const std::vector<std::int64_t> top = digits_of(left, columns), bottom = digits_of(right, columns);
  Steps steps(columns, flaws, words, draws);
  std::int64_t answer = 0, carry = 0, unit = 1;
  for (std::size_t i = 0; i < columns; ++i, unit *= 10) {
    const std::string asked = std::to_string(top[i]) + "+" + std::to_string(bottom[i]) + (carry ? "+1" : "");
    const std::int64_t sum = steps.step(asked, top[i] + bottom[i] + carry, 19);
    const bool last = i + 1 == columns;
    carry = !last && sum >= 10;
    answer += (carry ? sum - 10 : sum) * unit;
    steps.append((carry ? words.carry(sum - 10) : "") + ". ");
  }
  return steps.finish(answer);
}

Reasoning subtract(std::int64_t left, std::int64_t right, Flaws flaws, Words& words, Draws& draws) {
  const std::size_t columns = digits_of(left, 2).size();
  const std::vector<std::int64_t> top = digits_of(left, columns), bottom = digits_of(right, columns);
  Steps steps(columns, flaws, words, draws);
  std::int64_t answer = 0, borrowed = 0, unit = 1;
  for (std::size_t i = 0; i < columns; ++i, unit *= 10) {
    const std::string taken = (borrowed ? "-1-" : "-") + std::to_string(bottom[i]);
    std::int64_t difference = top[i] - borrowed - bottom[i], from = top[i];
    borrowed = difference < 0;
    if (borrowed) {
      steps.append(std::to_string(from) + taken + words.borrow());
      difference += 10, from += 10;
    }
    answer += steps.step(std::to_string(from) + taken, difference, 9) * unit;
    steps.append(". ");
  }
  return steps.finish(answer);
}

Reasoning multiply(std::int64_t left, std::int64_t right, Flaws flaws, Words& words, Draws& draws) {
  const std::vector<std::int64_t> digits = digits_of(right, 1);
  Steps steps(2 * digits.size() - 1, flaws, words, draws);
  const std::int64_t any = left * right + 3;
  std::vector<std::int64_t> products;
  std::int64_t unit = 1;
  for (const std::int64_t digit : digits) {
    const std::string asked = std::to_string(left) + "*" + std::to_string(digit * unit);
    products.push_back(steps.step(asked, left * digit * unit, any));
    steps.append(". ");
    unit *= 10;
  }
  std::int64_t answer = products.front();
  for (std::size_t i = 1; i < products.size(); ++i) {
    const std::string asked = std::to_string(answer) + "+" + std::to_string(products[i]);
    answer = steps.step(asked, answer + products[i], answer + products[i] + 3);
    steps.append(". ");
  }
  return steps.finish(answer);
}

Reasoning reason(const ArithmeticProblem& problem, Flaws flaws, Words& words, Draws& draws) {
  const auto work = problem.op == '+' ? add : problem.op == '-' ? subtract : multiply;
  return work(problem.left, problem.right, flaws, words, draws);
}

Reasoning reason(const CountdownProblem& problem, Flaws flaws, Words& words, Draws& draws) {
  const std::string target = std::to_string(problem.target);
  std::vector<Expression> misses;  // distinct; the last is kept for the slip
  for (int attempt = 0; attempt < 20 && misses.size() < 3; ++attempt) {
    Expression expression = random_expression(problem.numbers, draws);
    const bool known =
        std::any_of(misses.begin(), misses.end(), [&](const auto& m) { return m.text == expression.text; });
    if (expression.value != problem.target && !known) misses.push_back(std::move(expression));
  }
  const bool slips = flaws.slips && !misses.empty();
  const std::size_t tries = std::min<std::size_t>(misses.size() - (slips ? 1 : 0), 1 + draws.below(2));
  std::string text;
  for (std::size_t i = 0; i < tries; ++i)
    text += misses[i].text + "=" + std::to_string(misses[i].value) + words.no() + ". ";

  std::string answer = problem.solution;
  if (slips) {
    const Expression& claimed = misses.back();
    text += claimed.text + "=" + target + ". ";
    if (flaws.rechecks) {
      text += words.wait() + claimed.text + "=" + std::to_string(claimed.value) + words.no() + ". ";
      text += answer + "=" + target + ". ";
    } else {
      answer = claimed.text;
    }
  } else {
    text += answer + "=" + target + ". ";
    if (flaws.rechecks) text += words.wait() + answer + "=" + target + ". ";
  }
  return {text + words.so() + answer + ".", answer};
}

std::string in_broken_form(const Reasoning& reasoning, Draws& draws) {
  const auto& [text, answer] = reasoning;
  const std::array<std::string, 6> forms = {text,
                                            "<think>" + text + "<answer>" + answer + "</answer>",
                                            "<think>" + text + "</think>" + answer,
                                            text + " Answer: " + answer,
                                            "<think>" + text + "</think><answer>" + answer,
                                            text + "</think><answer>" + answer + "</answer>"};
  return forms[draws.below(forms.size())];
}

}  // namespace

void CorpusConfig::validate() const {
  for (const double share : {wrong_share, untagged_share, korean_share, mixed_share, reflect_share})
    if (!(share >= 0 && share <= 1)) throw Error("corpus", "expected shares from 0 to 1, got ", share);
}

struct Corpus::Source {
  CorpusConfig config;
  ProblemSet problems;
  ChatTemplate chat;
  std::uint64_t seed;
};

Corpus::Corpus(const CorpusConfig& config, const TasksConfig& tasks, const ChatTemplate& chat)
    : source_(new Source{config, ProblemSet(tasks), chat, tasks.seed}) {
  config.validate();
  chat.validate();
  std::uint64_t index = 0;
  while (index < source_->problems.size() && !source_->problems.contains(index, Split::train)) ++index;
  if (index == source_->problems.size())
    throw Error("corpus",
                "expected a generator with training problems, got none; lower heldout_share or widen its ranges");
}
Corpus::~Corpus() = default;
Corpus::Corpus(Corpus&&) noexcept = default;
Corpus& Corpus::operator=(Corpus&&) noexcept = default;

Document Corpus::document(std::uint64_t index) const {
  const CorpusConfig& config = source_->config;
  const ProblemSet& problems = source_->problems;
  Draws draws{kCorpus, source_->seed, index};
  std::uint64_t chosen = draws.below(problems.size());
  while (!problems.contains(chosen, Split::train)) chosen = draws.below(problems.size());
  const Problem problem = ProblemSet::reordered(problems.canonical(chosen), draws);
  const Task task = problems.task(problem, draws);

  Flaws flaws;
  flaws.slips = draws.with_probability(config.wrong_share);
  flaws.rechecks = draws.with_probability(config.reflect_share);
  const bool untagged = draws.with_probability(config.untagged_share);
  const bool korean = draws.with_probability(config.korean_share);
  const bool mixed = draws.with_probability(config.mixed_share);
  Words words(!korean ? Words::english : mixed ? Words::mixed : Words::korean, draws);
  const Reasoning reasoning = std::visit([&](const auto& each) { return reason(each, flaws, words, draws); }, problem);

  std::string completion = untagged ? in_broken_form(reasoning, draws)
                                    : "<think>" + reasoning.text + "</think><answer>" + reasoning.answer + "</answer>";
  constexpr std::string_view kOpening = "<think>";
  if (source_->chat.opens_think() && completion.starts_with(kOpening)) completion.erase(0, kOpening.size());
  return {source_->chat.render(task), std::move(completion)};
}

}  // namespace grpo
