// Puzzles that are checked exactly: right answers in several spellings, near misses, and hostile text.
#include <gmock/gmock.h>

#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "costs.h"
#include "error_of.h"
#include "grpo/reward.h"
#include "grpo/verifiable.h"

namespace grpo {
namespace {

using ::testing::HasSubstr;

bool check(std::string_view kind, std::string_view answer, std::string_view reference) {
  return check_verifiable(kind, answer, reference).value();
}

struct Puzzle {
  std::string kind, reference;
  std::vector<std::string> right, wrong;
};
const std::string kNine = "123456789 456789123 789123456 231564897 564897231 897231564 312645978 645978312 978312645";

const std::vector<Puzzle> kPuzzles = {
    {"sudoku",
     "1... ..3. .4.. ...2",
     {"1 3 2 4\n4 2 3 1\n2 4 1 3\n3 1 4 2", "\\boxed{1324 4231 2413 3142}",
      "|1 3|2 4|\n|4 2|3 1|\n-----\n[2,4,1,3],\n[3,1,4,2]"},
     {"2 3 1 4\n4 1 3 2\n1 4 2 3\n3 2 4 1",  // a clue is changed
      "1 3 2 4\n2 4 3 1\n2 4 1 3\n3 1 4 2",  // a column has 2 twice
      "1 2 4 3\n4 1 3 2\n2 4 1 3\n3 3 4 2", "1 3 2 4\n4 2 3 1\n2 4 1 3\n3 1 4", "x1 3 2 4\n4 2 3 1\n2 4 1 3\n3 1 4 2",
      "1... ..3. .4.. ...2"}},
    {"sudoku", "................", {}, {"1234 2341 3412 4123"}},  // rows and columns, but no boxes
    {"sudoku", "1" + std::string(80, '.'), {kNine}, {}},
    {"sudoku", "2" + std::string(80, '.'), {}, {kNine}},
    {"n_queens",
     "4",
     {".Q..\n...Q\nQ...\n..Q."},
     {"QQ..\n....\nQ...\n..Q.", ".Q..\n...Q\nQ...\n....", "2 4 1", "2 4 1 3 3", "2 4 1 x"}},
    {"n_queens", "4 1:2 3:1", {".Q.. ...Q Q... ..Q.", "[2, 4, 1, 3]"}, {"3 1 4 2"}},
    {"n_queens", "4 1:3", {}, {"[2, 4, 1, 3]"}},
    {"graph_colouring",
     "3 a-b b-c a-c d",
     {"a: 1, b: 2, c: 3, d: 1", "{d=2; c=1; b=3; a=2}"},
     {"a: 1, b: 2, c: 2, d: 1", "a: 1, b: 2, c: 4, d: 1", "a: 1, b: 2, c: 3", "a: 1, b: 2, c: 3, c: 3",
      "a: 1, b: 2, c: 3, d: 1, e: 1"}},
    {"sorting",
     "ascending 3 1/2 -7 3 0.25",
     {"-7, 0.25, 0.5, 3, 3", "[-7 < 1/4 < 0.50 < 3 < 3.0]"},
     {"-7, 0.25, 0.5, 3", "0.25, -7, 0.5, 3, 3", "-7, 0.25, 0.5, 3, 4", "3, 3, 0.5, 0.25, -7"}},
    {"sorting", "descending 3 1/2 -7 3 0.25", {"3, 3, 0.5, 0.25, -7"}, {"-7, 0.25, 0.5, 3, 3"}},
    {"knights_knaves",
     "A: !B; B: !A",
     {"A is a knave, B is a knight.", "A: knight; B: knave"},  // both solve it
     {"A is a knight and B is a knight", "A is a knave", "A is a knave, A is a knave", "A is a knave, B is a king",
      "A is a knave, B is a knight, C is a knight"}},
    {"knights_knaves", "A: !(A & B) ; B: !A", {"B = knave; A = knight"}, {}},
    {"knights_knaves", "A: B & C; B: !A | C; C: A = B", {"A: knave, B: knight, C: knave"}, {}},
};

TEST(Verifiable, TakesEachSolutionInManySpellingsAndNothingElse) {
  for (const auto& [kind, reference, right, wrong] : kPuzzles) {
    for (const std::string& answer : right) EXPECT_TRUE(check(kind, answer, reference)) << kind << ": " << answer;
    for (const std::string& answer : wrong) EXPECT_FALSE(check(kind, answer, reference)) << kind << ": " << answer;
  }
}

TEST(Verifiable, RefusesMalformedReferencesWhateverTheAnswer) {
  const std::string deep = "A: " + std::string(1000, '(') + "A" + std::string(1000, ')');
  const std::pair<std::string, std::vector<std::string>> malformed[] = {
      {"sudoku", {"", "123", "5..............."}},
      {"n_queens", {"", "0", "x", "4 5:1", "4 1", "4 :", "4 1:"}},
      {"graph_colouring", {"", "3", "0 a-b", "3 a-a", "3 a-", "3 -a"}},
      {"sorting", {"", "ascending", "up 1 2", "ascending one"}},
      {"knights_knaves", {"", "A", "A: C", "A: A &", "A: A; A: A", "A: (A", "A: A A", deep}}};
  for (const auto& [kind, references] : malformed)
    for (const std::string& reference : references)
      for (const char* answer : {"2 4 1 3", "A is a knight"})
        EXPECT_THAT(error_of([&] { check(kind, answer, reference); }), HasSubstr(kind + " reference")) << reference;
}

// Every answer for small boards, beside a count of squares under attack.
TEST(NQueens, CountsAsManySolutionsAsThereAre) {
  const std::size_t solutions[] = {0, 1, 0, 0, 2, 10, 4};
  for (std::size_t side = 1; side <= 6; ++side) {
    std::size_t all = 1, found = 0;
    for (std::size_t i = 0; i < side; ++i) all *= side;
    for (std::size_t code = 0; code < all; ++code) {
      std::string answer;
      for (std::size_t i = 0, rest = code; i < side; ++i, rest /= side) answer += std::to_string(rest % side + 1) + " ";
      found += check("n_queens", answer, std::to_string(side));
    }
    EXPECT_EQ(found, solutions[side]) << side;
  }
}

TEST(Verifiable, IsPartOfAccuracy) {
  EXPECT_FALSE(check_verifiable("arithmetic", "4", "4").has_value());
  const Task task{"t", "?", "ascending 2 1", "sorting", ""};
  const auto accuracy = [&](const std::string& answer) {
    Completion completion;
    completion.text = "<think>x</think><answer>" + answer + "</answer>";
    return Scorer(RewardsConfig{}).score(task, completion).at("accuracy").value();
  };
  EXPECT_EQ(accuracy("1, 2"), 1);
  EXPECT_EQ(accuracy("2, 1"), 0);
  EXPECT_EQ(accuracy("ascending 2 1"), 0);  // the reference is no answer
}

TEST(Verifiable, TakesAnyTextInLittleTime) {
  std::mt19937 random(2);
  const std::string_view pieces = "123Qab.,:;=AB knightve()[]\\{}$\xFF\xE2\n";
  const auto start = std::chrono::steady_clock::now();
  for (const auto& [kind, reference, right, wrong] : kPuzzles) {
    for (const char* answer : {"", " ", "\\boxed{}", "\\boxed{"}) EXPECT_FALSE(check(kind, answer, reference));
    for (int round = 0; round < 500; ++round) {
      std::string text(random() % 40, ' ');
      for (char& c : text) c = pieces[random() % pieces.size()];
      check(kind, text, reference);
    }
    for (const std::string_view piece : {"1 ", "(", "Q", "a: ", "A is ", "\\boxed{"}) {
      std::string text;
      while (text.size() < 1 << 20) text += piece;
      EXPECT_FALSE(check(kind, text, reference));
      EXPECT_FALSE(check(kind, std::string_view(text).substr(0, 60'000), reference));
    }
  }
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), kSlower * 5);
}

}  // namespace
}  // namespace grpo
