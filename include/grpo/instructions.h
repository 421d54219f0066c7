// Verifiable instructions: what IFEval (arXiv:2311.07911) asks of a response, checked from its text alone. The checks
// decide as the benchmark's own do, with three parts that were rebuilt here: NLTK's English sentence splitter and word
// tokenizer (version 3.9, as in published figures) and Python's classes of characters. Keywords, forbidden words,
// section marks and postscript marks are regular expressions there, and so they are here (PCRE2).
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grpo {

/// The ISO 639-1 code of the language that a text is in, "" when nothing tells it.
using IdentifyLanguage = std::string (*)(std::string_view text);

/// Whether each instruction was followed: to the letter, or by at least one of the eight loose readings of the response
/// (with and without asterisks; whole, and without its first, its last, or both of these lines).
struct InstructionVerdicts {
  std::vector<bool> strict, loose;  ///< [instructions]

  bool all_strict() const;
  bool all_loose() const;
};

/// The instructions of one prompt. Immutable; copies share it, and it is usable from several threads.
class Instructions {
 public:
  /// Reads an object with the benchmark's own fields: "instruction_id_list", such as ["punctuation:no_comma"], and
  /// "kwargs", an object for each of them; other members, and arguments that are null, are passed over. `where` names
  /// the source in errors. Throws Error for malformed JSON, an unknown instruction (naming the nearest), an argument
  /// that is missing, unknown to its instruction, or out of range (where the benchmark would draw one at random), and a
  /// keyword that is no regular expression.
  explicit Instructions(std::string_view json, std::string_view where = "instructions");

  const std::vector<std::string>& ids() const;  ///< such as "punctuation:no_comma"

  /// Checks a response of any bytes; takes time linear in it, the regular expressions aside, which are limited in
  /// steps: what exceeds them is not followed. Language is asked of `identify`; where that has no
  /// answer, or the language is none that identify_language can tell (Nepali), or there is no `identify`, it is enough
  /// that count_language finds no more words of others. An empty response follows nothing.
  InstructionVerdicts check(std::string_view response, IdentifyLanguage identify = nullptr) const;
  /// check(response, identify).all_strict(), without the loose readings.
  bool followed(std::string_view response, IdentifyLanguage identify = nullptr) const;

 private:
  struct Checks;
  std::shared_ptr<const Checks> checks_;
};

/// One line of the benchmark's file.
struct InstructionPrompt {
  std::string key, prompt;
  Instructions instructions;
};

/// Reads a JSONL file with "key", "prompt", "instruction_id_list" and "kwargs" in each line. Throws Error naming the
/// file and the line.
std::vector<InstructionPrompt> read_instruction_prompts(const std::string& path);

/// The four figures of the benchmark, each a share in [0, 1], NaN before the first response.
class InstructionAccuracy {
 public:
  void add(const Instructions& instructions, const InstructionVerdicts& verdicts);

  struct Share {
    std::size_t followed = 0, of = 0;
    double value() const;
  };
  Share prompt_strict, prompt_loose, instruction_strict, instruction_loose;
  std::map<std::string, Share> strict_by_type;  ///< by instruction, such as "punctuation:no_comma"
};

}  // namespace grpo
