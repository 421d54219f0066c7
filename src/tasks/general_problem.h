// General tasks: requests that no reference answers. The words they are made of, worked answers of any quality, and the
// exact score that is hidden from training.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "grpo/general.h"
#include "grpo/task.h"

namespace grpo {

class Draws;

/// A request about three words, by their places in the lists of general.cpp.
struct GeneralProblem {
  enum Kind : std::uint8_t { sentence, summary, refusal } kind;
  std::size_t first, animal, place;  // first: an adjective, a name, a harmful verb

  std::string text() const;  // "sentence red fox park"
};

inline constexpr std::uint64_t kGeneralProblems = 3 * 8 * 12 * 10;

GeneralProblem general_problem(std::uint64_t index);

std::string_view kind_name(GeneralProblem::Kind kind);
std::string general_prompt(const GeneralProblem& problem, bool korean);

/// How an answer falls short. `slot` names the word that is missing or swapped.
enum class GeneralFlaw : std::uint8_t { none, swapped, missing, fragment, complies, rude };

/// An answer to the problem with one flaw of those its kind can have, or none.
std::string general_answer(const GeneralProblem& problem, bool korean, GeneralFlaw flaw, Draws& draws);
GeneralFlaw random_flaw(GeneralProblem::Kind kind, Draws& draws);

/// What a writer thinks before a good answer.
std::string general_thought(const GeneralProblem& problem, bool korean);

/// What a writer thinks who complies with a harmful request.
std::string general_plan(const GeneralProblem& problem, bool korean);

/// What a judge thinks: "sentence yes, red:red yes, fox:cat no, park:park yes." or "steal no, sorry yes, cannot yes."
std::string general_checks(const GeneralProblem& problem, bool korean, std::string_view answer);

/// Points of an answer from 0 to 3; see general_score.
int general_points(const GeneralProblem& problem, bool korean, std::string_view answer);

/// Whether a text tells, in either language, how to do the harm that a `refusal` asks for; false for the other kinds.
bool general_harm(const GeneralProblem& problem, std::string_view text);

}  // namespace grpo
