// Damages answers and references in many ways, and checks them. Nothing may throw, take more than 50 ms of processor
// time, or make the process larger by more than 64 MiB; what does is printed.
//
//   fuzz_answers [--seconds 5] [--seed 11] [--first 0] [--count 0]
//
// Input i depends on nothing but the seed and i, so that `--first i --count 1` does it again.
#include <sys/resource.h>

#include <chrono>
#include <ctime>
#include <exception>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "costs.h"
#include "fuzz_config.h"
#include "grpo/answer.h"

constexpr double kMostSeconds = 0.05 * grpo::kSlower;
constexpr long kMostKibibytes = grpo::kSlower > 1 ? 1L << 30 : 64 << 10;  // sanitizers have memory of their own

namespace grpo {
namespace {

using Random = std::mt19937_64;

constexpr std::size_t kMaxBytes = 64 << 10;

std::size_t below(Random& random, std::size_t end) { return end == 0 ? 0 : random() % end; }
template <class T>
const T& any_of(Random& random, const std::vector<T>& items) {
  return items[below(random, items.size())];
}

const std::vector<std::string> kAnswers = {"42",
                                           "-1,234.5",
                                           "\\frac{1}{2}",
                                           "3\\frac{1}{2}",
                                           "4\\sqrt{2}",
                                           "x^2+2x+1",
                                           "(x+1)(x-1)",
                                           "\\frac{\\pi r}{h+r}",
                                           "e^{i\\pi}",
                                           "\\sin^2 x + \\cos^2 x",
                                           "\\log_2 8",
                                           "\\begin{pmatrix}1 & 2 \\\\ 3 & 4\\end{pmatrix}",
                                           "(1,2,3)",
                                           "\\{1, 2, 3\\}",
                                           "[0,1)\\cup(2,\\infty)",
                                           "x \\geq 5",
                                           "-793 < a < 10",
                                           "y = 2x + 1",
                                           "\\pm 2021",
                                           "5\\text{ cm}^2",
                                           "5 m squared squared",
                                           "1011_2",
                                           "12:00",
                                           "January 5, 2024",
                                           "\\text{(B)}",
                                           "28\\%",
                                           "90^\\circ",
                                           "\\sum_{k=1}^{100} k^2",
                                           "\\prod_{i=1}^{9} i",
                                           "10!",
                                           "\\binom{10}{3}",
                                           "|x-1|",
                                           "\\lfloor \\pi \\rfloor",
                                           "0.1\\overline{6}",
                                           "2+3i",
                                           "1/2^{99}",
                                           "p=5,q=2;p=7,q=2",
                                           "<think>\\boxed{3}</think><answer>4</answer>",
                                           "So \\boxed{1} and \\boxed{2}.",
                                           "Final Answer: The final answer is $12$.",
                                           "정답은 42입니다.",
                                           "答案是42。",
                                           "the number is 10 which is 1,000.99m²",
                                           "\\sqrt[3]{x}",
                                           "f(x+1)",
                                           "a_{n+1}",
                                           "3:4",
                                           "\\log_{\\sqrt{2}} x^{\\ln y}",
                                           "\\tan\\left(\\frac{x}{2}\\right)",
                                           "9^{9^9}",
                                           "F_n = \\sum_{k=0}^{n-1} F_k F_{n-k-1}"};
const std::vector<std::string> kPieces = {"{",
                                          "}",
                                          "(",
                                          ")",
                                          "[",
                                          "]",
                                          "\\{",
                                          "\\}",
                                          "|",
                                          "$",
                                          "\\",
                                          "^",
                                          "_",
                                          "^{",
                                          "!",
                                          "%",
                                          ",",
                                          ";",
                                          ":",
                                          "=",
                                          "<",
                                          "9",
                                          "0",
                                          "\\frac",
                                          "\\sqrt",
                                          "\\sum_{k=1}^{",
                                          "\\boxed{",
                                          "\\text{",
                                          "\\pm ",
                                          "\\cdot",
                                          "\\sin ",
                                          "\\infty",
                                          "e",
                                          "i",
                                          "\\pi",
                                          "x",
                                          " or ",
                                          " squared",
                                          "\\(",
                                          "1A",
                                          " and ",
                                          "Answer: ",
                                          "정답:",
                                          "\\begin{pmatrix}",
                                          "\\end{pmatrix}",
                                          "&",
                                          "\\\\",
                                          "\\left",
                                          "-",
                                          "+",
                                          "/",
                                          "*",
                                          "e999",
                                          "99999999",
                                          "\xff",
                                          "\xe2\x88",
                                          "²",
                                          "∑",
                                          "\n",
                                          "<answer>",
                                          "</think>",
                                          ".",
                                          "is ",
                                          "not ",
                                          "\\overline{",
                                          "'"};

void damage(Random& random, std::string& text) {
  const std::size_t at = below(random, text.size() + 1);
  const std::size_t size = std::min(below(random, 24), text.size() - at);
  switch (below(random, 9)) {
    case 0:
      text.erase(at, size);
      break;
    case 1:
      text.insert(at, any_of(random, kPieces));
      break;
    case 2:
      text.insert(at, any_of(random, kAnswers));
      break;
    case 3:
      if (at < text.size()) text[at] = static_cast<char>(random());
      break;
    case 4:
      text.insert(at, text.substr(below(random, text.size() + 1), below(random, 24)));
      break;
    case 5:
      if (at < text.size() && text[at] >= '0' && text[at] <= '9') text[at] = static_cast<char>('0' + below(random, 10));
      break;
    case 6:
      text = any_of(random, kPieces) + text + any_of(random, kPieces);
      break;
    case 7: {
      const std::string& other = any_of(random, kAnswers);
      text = text.substr(0, at) + other.substr(below(random, other.size() + 1));
      break;
    }
    default: {  // many times the same, up to the largest input
      if (below(random, 8) != 0) break;
      const std::string piece = below(random, 2) ? any_of(random, kPieces) : any_of(random, kAnswers);
      const std::size_t most = below(random, 4) ? 300 : kMaxBytes / piece.size();
      std::string many;
      for (std::size_t n = below(random, most); n > 0 && many.size() + text.size() < kMaxBytes; --n) many += piece;
      text.insert(at, many);
    }
  }
  if (text.size() > kMaxBytes) text.resize(kMaxBytes);
}

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}
long resident_peak() {  // KiB
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

int run(std::uint64_t seed, std::uint64_t first, std::uint64_t count, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  check_answer("\\sin 1", "\\ln 2");
  const long before = resident_peak();
  int findings = 0;
  double slowest = 0;
  std::uint64_t slowest_input = 0, i = first;
  std::vector<std::uint64_t> verdicts(EnumNames<Verdict>::values.size());
  for (; count > 0 ? i < first + count : Clock::now() < end; ++i) {
    std::seed_seq seeds{seed, i, i >> 32};
    Random random(seeds);
    std::string answer = any_of(random, kAnswers), reference = below(random, 3) ? answer : any_of(random, kAnswers);
    for (std::size_t n = below(random, 8); n > 0; --n) damage(random, below(random, 4) ? answer : reference);
    AnswerOptions options;
    if (below(random, 8) == 0) options.tolerance = 0.01;
    options.decimal_comma = below(random, 8) == 0;
    options.convert_units = below(random, 8) == 0;
    std::string said;
    const double start = thread_seconds();
    try {
      ++verdicts[static_cast<std::size_t>(check_answer(answer, reference, options))];
      final_answer(answer);
    } catch (const std::exception& error) {
      said = std::string("threw: ") + error.what();
    }
    double taken = thread_seconds() - start;
    // A busy machine makes single calls slow: what is slow of itself is slow again.
    for (int again = 0; again < 3 && said.empty() && taken > kMostSeconds; ++again) {
      const double restart = thread_seconds();
      check_answer(answer, reference, options);
      final_answer(answer);
      taken = std::min(taken, thread_seconds() - restart);
    }
    if (taken > slowest) slowest = taken, slowest_input = i;
    if (said.empty() && taken > kMostSeconds) said = "took " + std::to_string(taken) + " s";
    if (said.empty() && resident_peak() - before > kMostKibibytes) {
      std::cout << "finding: seed " << seed << ", input " << i << ": took more than 64 MiB" << std::endl;
      return 1;  // all that follow would
    }
    if (said.empty()) continue;
    std::cout << "finding: seed " << seed << ", input " << i << ": " << said << "\n  answer    "
              << answer.substr(0, 300) << "\n  reference " << reference.substr(0, 300) << std::endl;
    if (++findings == 20) break;
  }
  std::cout << i - first << " inputs of seed " << seed << ", " << findings << " findings; slowest: input "
            << slowest_input << ", " << slowest * 1e3 << " ms;";
  for (const auto& [verdict, name] : EnumNames<Verdict>::values)
    std::cout << ' ' << name << ' ' << verdicts[static_cast<std::size_t>(verdict)];
  std::cout << std::endl;
  return findings > 0;
}

}  // namespace
}  // namespace grpo

int main(int argc, char** argv) try {
  const auto config = grpo::load_config<grpo::FuzzConfig>(argc, argv);
  return grpo::run(config.seed, config.first, config.count, config.seconds);
} catch (const std::exception& error) {
  return grpo::report(error);
}
