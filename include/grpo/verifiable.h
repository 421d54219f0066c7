// Puzzles whose answers a checker can verify exactly, beside countdown: any right answer counts, not only one written
// down.
#pragma once

#include <optional>
#include <string_view>

namespace grpo {

/// Whether `answer` solves the puzzle `reference` of this `kind` (Task::kind); nothing for a kind that is not one of
/// these. Answers are read in full: what is not part of the solution makes it wrong. Commas, semicolons and white space
/// separate; `\boxed{}`, `$…$` and a full stop around are passed over. Linear in the answer.
///
///   kind             reference                         answer
///   sudoku           the 16 or 81 cells in rows,       all cells in rows; between them `|`, `-`, `+` and brackets
///                    '.' or 0 for an empty one
///   n_queens         "8", or "8 1:3 5:2" with queens   the column of each row's queen, from 1: "2 4 1 3"; or the
///                    given as row:column               board of '.' and 'Q' in rows
///   graph_colouring  "3 a-b b-c d": how many colours,  a colour from 1 for each vertex: "a: 1, b: 2, c=1, d: 3"
///                    edges, vertices without one
///   sorting          "ascending 3 1/2 -7",             the numbers in that order, each as often as given
///                    "descending …"
///   knights_knaves   "A: !B; B: A & C; C: A = B": who  "A is a knight, B is a knave, …" or "A: knight; …", each one
///                    says what, with ! & | = ( )       once; knights say what is true, knaves what is false
///
/// Throws Error for a malformed reference.
std::optional<bool> check_verifiable(std::string_view kind, std::string_view answer, std::string_view reference);

}  // namespace grpo
