#include "grpo/corpus.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <variant>
#include <vector>

#include "tasks/generators.h"

namespace grpo {
namespace {

constexpr std::uint64_t kCorpus = 3, kDemonstrations = 4, kTopic = 5;  // purposes of draws, beside those of tasks.cpp

/// The words of a reasoning, each in English or Korean.
class Words {
 public:
  enum Language { english, korean, mixed };
  Words(Language language, Style style, Draws& draws)
      : language_(language), worded_(style == Style::worded), draws_(draws) {}

  /// "Tens: " before the work on a column; nothing when terse.
  std::string column(std::size_t place) {
    static constexpr std::array<std::string_view, 4> kEnglish = {"Ones", "Tens", "Hundreds", "Thousands"},
                                                     kKorean = {"일", "십", "백", "천"};
    if (!worded_) return "";
    const std::size_t name = std::min(place, kEnglish.size() - 1);
    return pick() ? std::string(kKorean[name]) + "의 자리: " : std::string(kEnglish[name]) + ": ";
  }
  /// ", write 13" behind a step that carries nothing; nothing when terse.
  std::string write(std::int64_t number) {
    if (!worded_) return "";
    return pick() ? ", " + std::to_string(number) + " 쓰기" : ", write " + std::to_string(number);
  }

  std::string carry(std::int64_t digit) {
    const std::string written = std::to_string(digit);
    return pick() ? ", " + written + " 쓰고 1 올림" : ", write " + written + " carry 1";
  }
  std::string borrow() { return pick() ? " 빌림: " : " borrow: "; }
  std::string wait() { return pick() ? "잠깐, " : "Wait, "; }
  std::string no() { return pick() ? ", 아니다" : ", no"; }
  std::string not_the(const std::string& target) {
    return pick() ? ", " + target + " 아니다" : ", not " + target;
  }
  /// The last word of every reasoning; it keeps the promise that a mixed one has some Korean.
  std::string so() {
    const bool in_korean = (language_ == mixed && !said_korean_) || pick();
    return worded_ ? (in_korean ? "그래서 답은 " : "So the answer is ") : (in_korean ? "그래서 " : "So ");
  }

 private:
  bool pick() {  // Korean?
    const bool korean_word = language_ == korean || (language_ == mixed && draws_.below(2) == 0);
    said_korean_ |= korean_word;
    return korean_word;
  }
  Language language_;
  bool worded_;
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
    steps.append(words.column(i));
    const std::string asked = std::to_string(top[i]) + "+" + std::to_string(bottom[i]) + (carry ? "+1" : "");
    const std::int64_t sum = steps.step(asked, top[i] + bottom[i] + carry, 19);
    const bool last = i + 1 == columns;
    carry = !last && sum >= 10;
    answer += (carry ? sum - 10 : sum) * unit;
    steps.append((carry ? words.carry(sum - 10) : words.write(sum)) + ". ");
  }
  return steps.finish(answer);
}

Reasoning subtract(std::int64_t left, std::int64_t right, Flaws flaws, Words& words, Draws& draws) {
  const std::size_t columns = digits_of(left, 2).size();
  const std::vector<std::int64_t> top = digits_of(left, columns), bottom = digits_of(right, columns);
  Steps steps(columns, flaws, words, draws);
  std::int64_t answer = 0, borrowed = 0, unit = 1;
  for (std::size_t i = 0; i < columns; ++i, unit *= 10) {
    steps.append(words.column(i));
    const std::string taken = (borrowed ? "-1-" : "-") + std::to_string(bottom[i]);
    std::int64_t difference = top[i] - borrowed - bottom[i], from = top[i];
    borrowed = difference < 0;
    if (borrowed) {
      steps.append(std::to_string(from) + taken + words.borrow());
      difference += 10, from += 10;
    }
    const std::int64_t written = steps.step(std::to_string(from) + taken, difference, 9);
    answer += written * unit;
    steps.append(words.write(written) + ". ");
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
    Expression expression = random_expression(problem.numbers, problem.operators, draws);
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

// All numbers in a chain of sums and differences, "9-7+3", and the same worked step by step, "9-7=2+3=5", no result
// below 1.
struct Chain {
  std::string text, worked;
  std::int64_t value;
};

Chain random_chain(std::vector<std::int64_t> numbers, Draws& draws) {
  draws.shuffle(numbers);
  Chain chain{std::to_string(numbers.front()), std::to_string(numbers.front()), numbers.front()};
  for (std::size_t i = 1; i < numbers.size(); ++i) {
    const bool minus = chain.value > numbers[i] && draws.below(2) == 0;
    chain.value += minus ? -numbers[i] : numbers[i];
    const std::string step = (minus ? "-" : "+") + std::to_string(numbers[i]);
    chain.text += step;
    chain.worked += step + "=" + std::to_string(chain.value);
  }
  return chain;
}

// Tries at random until one reaches the target, with the last if with none before; who gives up does so behind the
// first miss.
Reasoning search(const CountdownProblem& problem, bool gives_up, Words& words, Draws& draws) {
  constexpr std::size_t kMostTries = 10;
  const std::string target = std::to_string(problem.target);
  std::vector<std::string> tried;
  std::string text;
  while (true) {
    Chain chain = random_chain(problem.numbers, draws);
    const auto known = [&] { return std::find(tried.begin(), tried.end(), chain.text) != tried.end(); };
    for (int attempt = 0; attempt < 20 && known(); ++attempt) chain = random_chain(problem.numbers, draws);
    tried.push_back(chain.text);
    while (tried.size() == kMostTries && chain.value != problem.target) chain = random_chain(problem.numbers, draws);
    const bool found = chain.value == problem.target;
    text += chain.worked + (found ? "" : words.not_the(target)) + ". ";
    if (found || gives_up) return {text + words.so() + chain.text + ".", chain.text};
    text += words.wait();
  }
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
  if (!(mixed_wrong_ratio * wrong_share <= 1))
    throw Error("corpus", "mixed_wrong_ratio: expected with wrong_share = ", wrong_share,
                " a share of at most 1, got ", mixed_wrong_ratio);
  if (general_share + judging_share > 1)
    throw Error("corpus", "judging_share: expected at most 1 together with general_share, got ", judging_share, " and ",
                general_share);
}

namespace {

TasksConfig general_tasks(TasksConfig tasks) {
  tasks.generator = TaskGenerator::general;
  return tasks;
}

}  // namespace

struct Corpus::Source {
  CorpusConfig config;
  ProblemSet problems, requests;
  ChatTemplate chat;
  JudgeConfig judge;
  std::uint64_t seed;

  // Throws Error for a set without training problems, from which nothing could be drawn.
  static void require_training(const ProblemSet& set) {
    for (std::uint64_t index = 0; index < set.size(); ++index)
      if (set.contains(index, Split::train)) return;
    throw Error("corpus",
                "expected a generator with training problems, got none; lower heldout_share or widen its ranges");
  }

  // A problem of the training half, with a task that asks it.
  std::pair<Problem, Task> draw(const ProblemSet& from, Draws& draws) const {
    std::uint64_t chosen = draws.below(from.size());
    while (!from.contains(chosen, Split::train)) chosen = draws.below(from.size());
    Problem problem = ProblemSet::reordered(from.canonical(chosen), draws);
    Task task = from.task(problem, draws);
    task.id = task.kind + ":" + text_of(problem);
    return {std::move(problem), std::move(task)};
  }

  // The flaws and the language of one document, by the shares of the config; of a demonstration there are none.
  struct Manner {
    Flaws flaws;
    bool untagged, korean, mixed;
    Words::Language language() const { return !korean ? Words::english : mixed ? Words::mixed : Words::korean; }
  };
  Manner manner(const Task& task, Draws& draws) const {
    Manner m{};
    const double slip = draws.uniform();
    m.flaws.rechecks = draws.with_probability(config.reflect_share);
    m.untagged = draws.with_probability(config.untagged_share);
    m.korean = draws.with_probability(config.korean_share);
    m.mixed = draws.with_probability(config.mixed_share);
    if (config.follow_share > 0 && draws.with_probability(config.follow_share))
      m.korean = task.language == "ko", m.mixed = false;
    m.flaws.slips = slip < config.wrong_share * (m.korean && m.mixed ? config.mixed_wrong_ratio : 1.0);
    return m;
  }

  std::string in_form(const Reasoning& reasoning) const {
    return (chat.opens_think() ? "" : "<think>") + reasoning.text + "</think><answer>" + reasoning.answer + "</answer>";
  }

  std::string out_of_form(const Reasoning& reasoning, Draws& draws) const {
    constexpr std::string_view kOpening = "<think>";
    std::string completion = in_broken_form(reasoning, draws);
    if (chat.opens_think() && completion.starts_with(kOpening)) completion.erase(0, kOpening.size());
    return completion;
  }

  Demonstration problem(Draws& draws, bool flawless) const {
    auto [problem, task] = draw(problems, draws);
    const Manner m =
        flawless ? Manner{{false, draws.below(3) == 0}, false, task.language == "ko", false} : manner(task, draws);
    Words words(m.language(), config.style, draws);
    const Reasoning reasoning = std::visit(
        [&](const auto& each) -> Reasoning {
          if constexpr (std::is_same_v<std::decay_t<decltype(each)>, GeneralProblem>)
            return {};  // not in this set
          else if constexpr (std::is_same_v<std::decay_t<decltype(each)>, CountdownProblem>)
            return config.search ? search(each, !flawless && draws.with_probability(config.give_up_share), words, draws)
                                 : reason(each, m.flaws, words, draws);
          else
            return reason(each, m.flaws, words, draws);
        },
        problem);
    return {std::move(task), m.untagged ? out_of_form(reasoning, draws) : in_form(reasoning)};
  }

  // A general request's thought and answer. One that tells of harm plans it, too.
  Reasoning work(const GeneralProblem& problem, bool korean, GeneralFlaw flaw, bool think_korean, bool mixed,
                 Draws& draws) const {
    std::string thought =
        flaw == GeneralFlaw::complies ? general_plan(problem, think_korean) : general_thought(problem, think_korean);
    if (mixed) thought += " " + general_thought(problem, !think_korean);
    return {std::move(thought), general_answer(problem, korean, flaw, draws)};
  }

  Demonstration general(Draws& draws, bool flawless) const {
    auto [any, task] = draw(requests, draws);
    const auto& problem = std::get<GeneralProblem>(any);
    const bool korean = task.language == "ko";
    const Manner m = flawless ? Manner{{false, false}, false, korean, false} : manner(task, draws);
    const GeneralFlaw flaw = m.flaws.slips ? random_flaw(problem.kind, draws) : GeneralFlaw::none;
    const Reasoning reasoning = work(problem, korean, flaw, m.korean, m.korean && m.mixed, draws);
    return {std::move(task), m.untagged ? out_of_form(reasoning, draws) : in_form(reasoning)};
  }

  // What was wanted beside what is there, as general_checks has it.
  static std::string compared(const std::string& wanted, const std::string& said) {
    return wanted + ":" + said + (wanted == said ? " yes." : " no.");
  }

  // A request to judge, and the right verdict on it.
  Demonstration judging(Draws& draws) const {
    struct Answer {
      std::string text, checks;
      int points;
    };
    const bool about_problem = draws.below(4) == 0, pair = draws.below(2) == 0,
               harmless = !pair && !about_problem && draws.below(3) == 0;
    auto [problem, task] = draw(about_problem ? problems : requests, draws);
    const auto answer = [&, &problem = problem, &task = task]() -> Answer {
      const bool korean = task.language == "ko";
      if (about_problem) {
        const bool right = draws.below(2) == 0;
        if (const auto* countdown = std::get_if<CountdownProblem>(&problem)) {
          Expression said{countdown->solution, countdown->target, 0};
          for (int attempt = 0; !right && attempt < 20 && said.value == countdown->target; ++attempt)
            said = random_expression(countdown->numbers, countdown->operators, draws);
          const bool solved = said.value == countdown->target;
          return {said.text,
                  said.text + "=" + std::to_string(said.value) + ", " +
                      compared(std::to_string(countdown->target), std::to_string(said.value)),
                  solved ? judge.max_score : 0};
        }
        const std::int64_t value = std::get<ArithmeticProblem>(problem).value();
        const std::int64_t slip = 1 + static_cast<std::int64_t>(draws.below(12));
        const std::string said = std::to_string(right                                 ? value
                                                : draws.below(2) == 0 || value < slip ? value + slip
                                                                                      : value - slip);
        return {said, compared(task.answer, said), right ? judge.max_score : 0};
      }
      const auto& request = std::get<GeneralProblem>(problem);
      const bool good = draws.below(5) < 2;
      const GeneralFlaw flaw = good ? GeneralFlaw::none : random_flaw(request.kind, draws);
      // Now and then the other language, which is no answer to these.
      const Reasoning said =
          work(request, draws.below(10) == 0 ? !korean : korean, flaw, draws.below(2) == 0, draws.below(4) == 0, draws);
      if (harmless) {
        const std::string whole = in_form(said);
        const bool harm = general_harm(request, whole);
        return {whole, harm ? "harm yes." : "harm no.", harm ? 0 : judge.max_score};
      }
      return {said.answer, general_checks(request, korean, said.answer),
              general_points(request, korean, said.answer) * judge.max_score / 3};
    };
    const Answer a = answer();
    Task asked;
    asked.language = "en";
    asked.kind = "judging";
    asked.id = task.id;
    if (!pair) {
      asked.prompt = rating_prompt(judge, harmless ? Rubric::harmless : Rubric::helpful, task, a.text);
      return {asked, in_form({a.checks, std::to_string(a.points)})};
    }
    const Answer b = answer();
    asked.prompt = comparison_prompt(judge, task, a.text, b.text);
    const char* choice = a.points > b.points ? "A" : a.points < b.points ? "B" : "tie";
    return {asked, in_form({"A: " + a.checks + " " + std::to_string(a.points) + ". B: " + b.checks + " " +
                                std::to_string(b.points) + ".",
                            choice})};
  }
};

Corpus::Corpus(const CorpusConfig& config, const TasksConfig& tasks, const ChatTemplate& chat, const JudgeConfig& judge)
    : source_(new Source{config, ProblemSet(tasks), ProblemSet(general_tasks(tasks)), chat, judge, tasks.seed}) {
  validate(config, "corpus");
  validate(chat, "chat");
  validate(judge, "judging");
  if (config.search && (tasks.generator != TaskGenerator::countdown ||
                        tasks.countdown.operators.find_first_not_of("+-") != std::string::npos))
    throw Error("corpus", "search: expected tasks.generator countdown with operators + and -, got others");
  if (tasks.generator == TaskGenerator::general)
    throw Error("corpus",
                "expected tasks of a generator with worked problems, got general; give general requests their share "
                "with general_share");
  Source::require_training(source_->problems);
  if (config.general_share > 0 || config.judging_share > 0) Source::require_training(source_->requests);
}
Corpus::~Corpus() = default;
Corpus::Corpus(Corpus&&) noexcept = default;
Corpus& Corpus::operator=(Corpus&&) noexcept = default;

Document Corpus::document(std::uint64_t index) const {
  const CorpusConfig& config = source_->config;
  Draws draws{kCorpus, source_->seed, index}, topic{kTopic, source_->seed, index};
  const double place = topic.uniform();
  const Demonstration made = place < config.judging_share                          ? source_->judging(draws)
                             : place < config.judging_share + config.general_share ? source_->general(draws, false)
                                                                                   : source_->problem(draws, false);
  return {source_->chat.render(made.task), made.completion};
}

Demonstration Corpus::demonstration(std::uint64_t index, Topic topic) const {
  if (topic == Topic::none) throw Error("corpus", "expected a topic for a demonstration, got none");
  if (topic != Topic::problem) Source::require_training(source_->requests);
  Draws draws{kDemonstrations, source_->seed, index, static_cast<std::uint64_t>(topic)};
  Demonstration made = topic == Topic::judging   ? source_->judging(draws)
                       : topic == Topic::general ? source_->general(draws, true)
                                                 : source_->problem(draws, true);
  made.task.id += "#" + std::to_string(index);
  return made;
}

}  // namespace grpo
