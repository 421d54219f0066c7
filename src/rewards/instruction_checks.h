// One instruction of IFEval as a check of text.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "grpo/instructions.h"

namespace grpo {

/// A reading of a response: what several checks look at, made when first asked for. One thread's.
class ResponseText {
 public:
  /// `text` is valid UTF-8 and outlives this.
  ResponseText(std::string_view text, IdentifyLanguage identify) : text_(text), identify_(identify) {}

  std::string_view text() const { return text_; }
  std::u32string_view points() const;
  const std::string& small() const;  ///< in small letters
  /// Whether the text is in the language of this code; text without words is in any.
  bool is_in(const std::string& language) const;

 private:
  std::string_view text_;
  IdentifyLanguage identify_;
  mutable std::u32string points_;
  mutable std::string small_;
};

using InstructionCheck = std::function<bool(const ResponseText&)>;

/// The check that `id` asks for with these arguments. Throws Error naming `where`.
InstructionCheck make_instruction_check(const std::string& id, const nlohmann::json& arguments,
                                        const std::string& where);

}  // namespace grpo
