// Puzzles that are checked exactly: right answers in several spellings, near misses, and hostile text.
#include <gmock/gmock.h>

#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "error_of.h"
#include "grpo/reward.h"
#include "grpo/verifiable.h"

namespace grpo {
namespace {

using ::testing::HasSubstr;

bool check(std::string_view kind, std::string_view answer, std::string_view reference) {
  return check_verifiable(kind, answer, reference).value();
}

constexpr std::string_view kSmall = "1.3. ..2. .1.. 4..1";

TEST(Sudoku, WantsEachDigitOnceInEachUnit) {
  constexpr std::string_view reference = "1... ..3. .4.. ...2";
  EXPECT_TRUE(check("sudoku", "1 3 2 4\n4 2 3 1\n2 4 1 3\n3 1 4 2", reference));
  EXPECT_TRUE(check("sudoku", "\\boxed{1324 4231 2413 3142}", reference));
  EXPECT_TRUE(check("sudoku", "|1 3|2 4|\n|4 2|3 1|\n-----\n[2,4,1,3],\n[3,1,4,2]", reference));
  EXPECT_FALSE(check("sudoku", "2 3 1 4\n4 1 3 2\n1 4 2 3\n3 2 4 1", reference));  // a clue is changed
  EXPECT_FALSE(check("sudoku", "1 3 2 4\n2 4 3 1\n2 4 1 3\n3 1 4 2", reference));  // a column has 2 twice
  EXPECT_FALSE(check("sudoku", "1 2 4 3\n4 1 3 2\n2 4 1 3\n3 3 4 2", reference));
  EXPECT_FALSE(check("sudoku", "1 3 2 4\n4 2 3 1\n2 4 1 3\n3 1 4", reference));
  EXPECT_FALSE(check("sudoku", "x1 3 2 4\n4 2 3 1\n2 4 1 3\n3 1 4 2", reference));
  EXPECT_FALSE(check("sudoku", "1... ..3. .4.. ...2", reference));
  EXPECT_FALSE(check("sudoku", "1234 2341 3412 4123", "................"));  // rows and columns, but no boxes
  const std::string nine = "123456789 456789123 789123456 231564897 564897231 897231564 312645978 645978312 978312645";
  EXPECT_TRUE(check("sudoku", nine, "1" + std::string(80, '.')));
  EXPECT_FALSE(check("sudoku", nine, "2" + std::string(80, '.')));
  EXPECT_THAT(error_of([] { check("sudoku", "1", "123"); }), HasSubstr("sudoku reference"));
  EXPECT_THAT(error_of([] { check("sudoku", "1", "5..............."); }), HasSubstr("sudoku reference"));
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

TEST(NQueens, ReadsBoardsAndGivenQueens) {
  EXPECT_TRUE(check("n_queens", ".Q..\n...Q\nQ...\n..Q.", "4"));
  EXPECT_TRUE(check("n_queens", ".Q.. ...Q Q... ..Q.", "4 1:2 3:1"));
  EXPECT_TRUE(check("n_queens", "[2, 4, 1, 3]", "4 1:2"));
  EXPECT_FALSE(check("n_queens", "[2, 4, 1, 3]", "4 1:3"));
  EXPECT_FALSE(check("n_queens", "QQ..\n....\nQ...\n..Q.", "4"));
  EXPECT_FALSE(check("n_queens", ".Q..\n...Q\nQ...\n....", "4"));
  EXPECT_FALSE(check("n_queens", "2 4 1", "4"));
  EXPECT_FALSE(check("n_queens", "2 4 1 3 3", "4"));
  EXPECT_FALSE(check("n_queens", "2 4 1 x", "4"));
  for (const char* bad : {"", "0", "x", "4 5:1", "4 1", "4 :", "4 1:"})
    EXPECT_THAT(error_of([&] { check("n_queens", "2 4 1 3", bad); }), HasSubstr("n_queens reference")) << bad;
}

TEST(GraphColouring, WantsOtherColoursAtBothEnds) {
  constexpr std::string_view reference = "3 a-b b-c a-c d";
  EXPECT_TRUE(check("graph_colouring", "a: 1, b: 2, c: 3, d: 1", reference));
  EXPECT_TRUE(check("graph_colouring", "{d=2; c=1; b=3; a=2}", reference));
  EXPECT_FALSE(check("graph_colouring", "a: 1, b: 2, c: 2, d: 1", reference));
  EXPECT_FALSE(check("graph_colouring", "a: 1, b: 2, c: 4, d: 1", reference));
  EXPECT_FALSE(check("graph_colouring", "a: 1, b: 2, c: 3", reference));
  EXPECT_FALSE(check("graph_colouring", "a: 1, b: 2, c: 3, c: 3", reference));
  EXPECT_FALSE(check("graph_colouring", "a: 1, b: 2, c: 3, d: 1, e: 1", reference));
  for (const char* bad : {"", "3", "0 a-b", "3 a-a", "3 a-", "3 -a"})
    EXPECT_THAT(error_of([&] { check("graph_colouring", "a: 1", bad); }), HasSubstr("graph_colouring reference"))
        << bad;
}

TEST(Sorting, WantsTheGivenNumbersInOrder) {
  constexpr std::string_view reference = "ascending 3 1/2 -7 3 0.25";
  EXPECT_TRUE(check("sorting", "-7, 0.25, 0.5, 3, 3", reference));
  EXPECT_TRUE(check("sorting", "[-7 < 1/4 < 0.50 < 3 < 3.0]", reference));
  EXPECT_FALSE(check("sorting", "-7, 0.25, 0.5, 3", reference));
  EXPECT_FALSE(check("sorting", "0.25, -7, 0.5, 3, 3", reference));
  EXPECT_FALSE(check("sorting", "-7, 0.25, 0.5, 3, 4", reference));
  EXPECT_FALSE(check("sorting", "3, 3, 0.5, 0.25, -7", reference));
  EXPECT_TRUE(check("sorting", "3, 3, 0.5, 0.25, -7", "descending 3 1/2 -7 3 0.25"));
  for (const char* bad : {"", "ascending", "up 1 2", "ascending one"})
    EXPECT_THAT(error_of([&] { check("sorting", "1", bad); }), HasSubstr("sorting reference")) << bad;
}

TEST(KnightsKnaves, WantsKnightsToTellTheTruth) {
  EXPECT_TRUE(check("knights_knaves", "A is a knave, B is a knight.", "A: !B; B: !A"));
  EXPECT_TRUE(check("knights_knaves", "A: knight; B: knave", "A: !B; B: !A"));  // both are right
  EXPECT_FALSE(check("knights_knaves", "A is a knight and B is a knight", "A: !B; B: !A"));
  EXPECT_TRUE(check("knights_knaves", "B = knave; A = knight", "A: !(A & B) ; B: !A"));
  EXPECT_TRUE(check("knights_knaves", "A: knave, B: knight, C: knave", "A: B & C; B: !A | C; C: A = B"));
  EXPECT_FALSE(check("knights_knaves", "A is a knave", "A: !B; B: !A"));
  EXPECT_FALSE(check("knights_knaves", "A is a knave, A is a knave", "A: !B; B: !A"));
  EXPECT_FALSE(check("knights_knaves", "A is a knave, B is a king", "A: !B; B: !A"));
  EXPECT_FALSE(check("knights_knaves", "A is a knave, B is a knight, C is a knight", "A: !B; B: !A"));
  const std::string deep = "A: " + std::string(1000, '(') + "A" + std::string(1000, ')');
  for (const std::string& bad : {std::string(), std::string("A"), std::string("A: C"), std::string("A: A &"),
                                 std::string("A: A; A: A"), std::string("A: (A"), std::string("A: A A"), deep})
    EXPECT_THAT(error_of([&] { check("knights_knaves", "A is a knight", bad); }),
                HasSubstr("knights_knaves reference"));
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
  const std::pair<const char*, std::string> puzzles[] = {{"sudoku", std::string(kSmall)},
                                                         {"n_queens", "8"},
                                                         {"graph_colouring", "3 a-b b-c"},
                                                         {"sorting", "ascending 3 1 2"},
                                                         {"knights_knaves", "A: !B; B: !A"}};
  std::mt19937 random(2);
  const std::string_view pieces = "123Qab.,:;=AB knightve()[]\\{}$\xFF\xE2\n";
  const auto start = std::chrono::steady_clock::now();
  for (const auto& [kind, reference] : puzzles) {
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
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 2);
}

}  // namespace
}  // namespace grpo
