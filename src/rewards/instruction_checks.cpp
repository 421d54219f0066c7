#include "rewards/instruction_checks.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <utility>

#include "base/json_text.h"
#include "base/nearest.h"
#include "grpo/error.h"
#include "grpo/reward.h"
#include "rewards/pattern.h"
#include "text/code_points.h"
#include "text/letter_case.h"
#include "text/python_text.h"
#include "text/sentences.h"
#include "text/utf8.h"

namespace grpo {

// ---- A reading of a response ----------------------------------------------------------------------------------------

std::u32string_view ResponseText::points() const {
  if (points_.empty()) points_ = code_points(text_);
  return points_;
}

const std::string& ResponseText::small() const {
  if (small_.empty()) small_ = to_lower(text_);
  return small_;
}

bool ResponseText::is_in(const std::string& language) const {
  const auto code_of = [](const std::string& whole) { return whole.substr(0, whole.find('-')); };
  if (identify_ != nullptr && can_identify(code_of(language)))
    if (const std::string found = identify_(text_); !found.empty()) return code_of(found) == code_of(language);
  try {  // word by word, then
    const LanguageCount words = count_language(text_, language);
    return words.target >= words.other;
  } catch (const Error&) {
    return false;  // a language without a script that is known here
  }
}

namespace {

using python::Side;

// ---- Arguments ------------------------------------------------------------------------------------------------------

/// The arguments of one instruction. What is read is remembered, so that what nobody reads can be refused.
class Arguments {
 public:
  Arguments(const nlohmann::json& values, std::string where) : values_(values), where_(std::move(where)) {
    if (!values.is_object())
      throw Error("instructions", where_, ": expected an object of arguments, got ", values.type_name());
  }

  std::string string(const char* key) { return strings_of(key, false).front(); }
  std::vector<std::string> strings(const char* key) { return strings_of(key, true); }

  std::int64_t count(const char* key, std::int64_t least = 0) {
    const nlohmann::json& value = get(key);
    const bool whole = value.is_number() && value.get<double>() == std::floor(value.get<double>()) &&
                       std::abs(value.get<double>()) < 1e9;
    if (!whole || value.get<double>() < static_cast<double>(least))
      throw refuse(key, "a whole number of at least " + std::to_string(least));
    return value.is_number_integer() ? value.get<std::int64_t>() : static_cast<std::int64_t>(value.get<double>());
  }

  /// Compares with `count`: "less than" or "at least".
  std::function<bool(std::size_t)> compare(const char* count_key, const char* relation_key) {
    const auto limit = static_cast<std::size_t>(count(count_key));
    const std::string relation = string(relation_key);
    if (relation == "less than") return [limit](std::size_t value) { return value < limit; };
    if (relation == "at least") return [limit](std::size_t value) { return value >= limit; };
    throw refuse(relation_key, "\"less than\" or \"at least\"");
  }

  Pattern pattern(const char* key, const std::string& pattern, Pattern::Case letter_case) const {
    return Pattern(pattern, letter_case, where_ + "." + key);
  }

  Error refuse(const std::string& key, const std::string& expected) const {
    const auto found = values_.find(key);
    const std::string got = found == values_.end()
                                ? "nothing"
                                : found->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).substr(0, 100);
    return Error("instructions", where_, ".", key, ": expected ", expected, ", got ", got);
  }

  void expect_all_read() const {
    for (const auto& [key, value] : values_.items())
      if (!value.is_null() && !read_.contains(key)) throw refuse(key, "no argument of that name");
  }

 private:
  const nlohmann::json& get(const char* key) {
    read_.insert(key);
    static const nlohmann::json null;
    const auto found = values_.find(key);
    return found == values_.end() ? null : *found;
  }

  std::vector<std::string> strings_of(const char* key, bool list) {
    const nlohmann::json& value = get(key);
    std::vector<std::string> result;
    bool good = list ? value.is_array() && !value.empty() : value.is_string();
    if (good && !list) result.push_back(value.get<std::string>());
    if (good && list)
      for (const nlohmann::json& each : value)
        if ((good &= each.is_string())) result.push_back(each.get<std::string>());
    if (!good) throw refuse(key, list ? "a list of strings" : "a string");
    return result;
  }

  const nlohmann::json& values_;
  std::string where_;
  std::set<std::string> read_;
};

// ---- What is counted ------------------------------------------------------------------------------------------------

std::size_t count_of(std::string_view text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = 0; !part.empty() && (at = text.find(part, at)) != text.npos; at += part.size()) ++count;
  return count;
}

std::size_t count_words(std::u32string_view text) {
  std::size_t count = 0;
  bool inside = false;
  for (const char32_t c : text) {
    const bool word = is_word(c);
    count += word && !inside;
    inside = word;
  }
  return count;
}

/// Lines that begin with `mark`, behind any white space, empty lines included. After a star comes one character that is
/// no star, and that may even be the end of the line.
std::size_t count_bullets(std::u32string_view text, char32_t mark) {
  std::size_t count = 0;
  for (std::size_t start = 0; start < text.size();) {
    std::size_t at = start;
    while (at < text.size() && is_space(text[at])) ++at;
    bool found = at < text.size() && text[at] == mark;
    if (found && mark == U'*') found = ++at < text.size() && text[at] != U'*';
    if (found) {
      ++count;
      at = std::min(text.find(U'\n', at + 1), text.size());
      if (mark == U'*' && text[at - 1] == U'\n') {
        start = at;  // the line that the character ended was empty: the next one begins here
        continue;
      }
    }
    start = std::min(text.find(U'\n', at), text.size() - 1) + 1;
  }
  return count;
}

/// `[…]` on one line.
std::size_t count_placeholders(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find('[', at)) != text.npos;) {
    const std::size_t end = text.find_first_of("]\n", at);
    if (end == text.npos) break;
    count += text[end] == ']';
    at = end + 1;
  }
  return count;
}

/// Stretches of text between two marks of `width` asterisks on one line, those of white space aside.
std::size_t count_highlights(std::string_view text, std::size_t width) {
  const std::string_view mark = std::string_view("**").substr(0, width);
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(mark, at)) != text.npos;) {
    const std::size_t start = at + width, end = text.find_first_of("*\n", start);
    if (end == text.npos) break;
    if (text.substr(end, width) == mark) {
      count += !strip_space(text.substr(start, end - start)).empty();
      at = end + width;
    } else {
      ++at;
    }
  }
  return count;
}

/// `<<…>>` on one line, with something inside.
bool has_title(std::string_view text) {
  for (const std::string_view line : python::split(text, "\n")) {
    const std::size_t open = line.find("<<"), close = line.rfind(">>");
    if (open == line.npos || close == line.npos || close < open + 3) continue;
    const std::string_view title = line.substr(open, close + 2 - open);
    if (!strip_space(python::strip(python::strip(title, Side::left, "<"), Side::right, ">")).empty()) return true;
  }
  return false;
}

/// How many of the parts that `separator` makes hold text; nothing when an empty one is neither the first nor the last.
std::optional<std::vector<std::string_view>> full_parts(std::string_view text, std::string_view separator) {
  const std::vector<std::string_view> parts = python::split(text, separator);
  std::vector<std::string_view> full;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (const std::string_view part = strip_space(parts[i]); !part.empty())
      full.push_back(part);
    else if (i != 0 && i + 1 != parts.size())
      return {};
  }
  return full;
}

/// The first word of a paragraph, in small letters and up to its first punctuation mark.
std::string first_word(std::string_view paragraph) {
  std::string_view word = paragraph.substr(0, find_space(paragraph));
  word = python::strip(python::strip(word, Side::left, "'"), Side::left, "\"");
  word = word.substr(0, word.find_first_of(".,?!'\""));
  std::string small;  // each letter by itself: a sigma at the end is no other letter then
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t size = decode_utf8(word, at).size;
    small += to_lower(word.substr(at, size));
    at += size;
  }
  return small;
}

bool is_fenced_json(std::string_view text) {
  text = strip_space(text);
  for (const std::string_view fence : {"```json", "```Json", "```JSON", "```"})
    if (text.starts_with(fence)) text.remove_prefix(fence.size());
  if (text.ends_with("```")) text.remove_suffix(3);
  return is_json(strip_space(text));
}

// ---- The instructions -----------------------------------------------------------------------------------------------

using Make = InstructionCheck (*)(Arguments&);

InstructionCheck make_keywords(Arguments& arguments, const char* key, const std::string& around, bool wanted) {
  std::vector<Pattern> patterns;
  for (const std::string& word : arguments.strings(key))
    patterns.push_back(arguments.pattern(key, around + word + around, Pattern::Case::ignored));
  return [patterns = std::move(patterns), wanted](const ResponseText& response) {
    return std::all_of(patterns.begin(), patterns.end(),
                       [&](const Pattern& each) { return each.found_in(response.text()) == wanted; });
  };
}

InstructionCheck make_frequency(Arguments& arguments) {
  return [pattern = arguments.pattern("keyword", std::string(strip_space(arguments.string("keyword"))),
                                      Pattern::Case::ignored),
          enough = arguments.compare("frequency", "relation")](const ResponseText& response) {
    const auto count = pattern.count_in(response.text());
    return count && enough(*count);
  };
}

InstructionCheck make_letter_frequency(Arguments& arguments) {
  const std::string given = arguments.string("letter");
  if (python::character_count(given) != 1) throw arguments.refuse("letter", "one character");
  std::string letter = to_lower(strip_space(given));
  if (python::character_count(letter) != 1) letter.clear();  // none that a text could contain
  return [letter, enough = arguments.compare("let_frequency", "let_relation")](const ResponseText& response) {
    return enough(count_of(response.small(), letter));
  };
}

InstructionCheck make_first_word(Arguments& arguments) {
  const std::int64_t paragraphs = arguments.count("num_paragraphs", 1), nth = arguments.count("nth_paragraph", 1);
  if (nth > paragraphs) throw arguments.refuse("nth_paragraph", "at most num_paragraphs");
  return [paragraphs = static_cast<std::size_t>(paragraphs), nth = static_cast<std::size_t>(nth),
          word = to_lower(arguments.string("first_word"))](const ResponseText& response) {
    // Empty paragraphs are not counted, but they have a place in the order.
    const std::vector<std::string_view> parts = python::split(response.text(), "\n\n");
    const auto full = static_cast<std::size_t>(
        std::count_if(parts.begin(), parts.end(), [](std::string_view part) { return !strip_space(part).empty(); }));
    if (full != paragraphs || nth > full) return false;
    const std::string_view paragraph = strip_space(parts[nth - 1]);
    return !paragraph.empty() && first_word(paragraph) == word;
  };
}

InstructionCheck make_postscript(Arguments& arguments) {
  const std::string marker(strip_space(arguments.string("postscript_marker")));
  const std::string pattern = marker == "P.P.S"  ? "p\\.\\s?p\\.\\s?s"
                              : marker == "P.S." ? "p\\.\\s?s\\."
                                                 : to_lower(marker);
  return [pattern = arguments.pattern("postscript_marker", pattern, Pattern::Case::matters)](
             const ResponseText& response) { return pattern.found_in(response.small()) == true; };
}

InstructionCheck make_sections(Arguments& arguments) {
  const std::string mark(strip_space(arguments.string("section_spliter")));
  return [pattern = arguments.pattern("section_spliter", mark + "\\s?\\d+", Pattern::Case::matters),
          wanted = static_cast<std::size_t>(arguments.count("num_sections"))](const ResponseText& response) {
    const auto count = pattern.count_in(response.text());
    return count && *count >= wanted;
  };
}

/// A check of a whole number of at least 0.
template <class F>
InstructionCheck with_count(Arguments& arguments, const char* key, F check) {
  return [wanted = static_cast<std::size_t>(arguments.count(key)), check](const ResponseText& response) {
    return check(response, wanted);
  };
}

template <class F>
InstructionCheck with_relation(Arguments& arguments, const char* count, const char* relation, F measure) {
  return [enough = arguments.compare(count, relation), measure](const ResponseText& response) {
    return enough(measure(response.points()));
  };
}

constexpr std::pair<const char*, Make> kInstructions[] = {
    {"change_case:capital_word_frequency",
     [](Arguments& a) { return with_relation(a, "capital_frequency", "capital_relation", count_capital_words); }},
    {"change_case:english_capital",
     [](Arguments&) -> InstructionCheck {
       return [](const ResponseText& r) { return is_all_upper(r.points()) && r.is_in("en"); };
     }},
    {"change_case:english_lowercase",
     [](Arguments&) -> InstructionCheck {
       return [](const ResponseText& r) { return is_all_lower(r.points()) && r.is_in("en"); };
     }},
    {"combination:repeat_prompt",
     [](Arguments& a) -> InstructionCheck {
       const std::string prompt = a.string("prompt_to_repeat");
       if (prompt.empty()) throw a.refuse("prompt_to_repeat", "a prompt");
       return [prompt = to_lower(strip_space(prompt))](const ResponseText& r) {
         return to_lower(strip_space(r.text())).starts_with(prompt);
       };
     }},
    {"combination:two_responses",
     [](Arguments&) -> InstructionCheck {
       return [](const ResponseText& r) {
         const auto parts = full_parts(r.text(), "******");
         return parts && parts->size() == 2 && parts->front() != parts->back();
       };
     }},
    {"detectable_content:number_placeholders",
     [](Arguments& a) {
       return with_count(a, "num_placeholders", [](const ResponseText& r, std::size_t wanted) {
         return count_placeholders(r.text()) >= wanted;
       });
     }},
    {"detectable_content:postscript", make_postscript},
    {"detectable_format:constrained_response",
     [](Arguments&) -> InstructionCheck {
       return [](const ResponseText& r) {
         return count_of(r.text(), "My answer is yes.") + count_of(r.text(), "My answer is no.") +
                    count_of(r.text(), "My answer is maybe.") >
                0;
       };
     }},
    {"detectable_format:json_format",
     [](Arguments&) -> InstructionCheck { return [](const ResponseText& r) { return is_fenced_json(r.text()); }; }},
    {"detectable_format:multiple_sections", make_sections},
    {"detectable_format:number_bullet_lists",
     [](Arguments& a) {
       return with_count(a, "num_bullets", [](const ResponseText& r, std::size_t wanted) {
         return count_bullets(r.points(), U'*') + count_bullets(r.points(), U'-') == wanted;
       });
     }},
    {"detectable_format:number_highlighted_sections",
     [](Arguments& a) {
       return with_count(a, "num_highlights", [](const ResponseText& r, std::size_t wanted) {
         return count_highlights(r.text(), 1) + count_highlights(r.text(), 2) >= wanted;
       });
     }},
    {"detectable_format:title",
     [](Arguments&) -> InstructionCheck { return [](const ResponseText& r) { return has_title(r.text()); }; }},
    {"keywords:existence", [](Arguments& a) { return make_keywords(a, "keywords", "", true); }},
    {"keywords:forbidden_words", [](Arguments& a) { return make_keywords(a, "forbidden_words", "\\b", false); }},
    {"keywords:frequency", make_frequency},
    {"keywords:letter_frequency", make_letter_frequency},
    {"language:response_language",
     [](Arguments& a) -> InstructionCheck {
       return [language = a.string("language")](const ResponseText& r) { return r.is_in(language); };
     }},
    {"length_constraints:nth_paragraph_first_word", make_first_word},
    {"length_constraints:number_paragraphs",
     [](Arguments& a) {
       return with_count(a, "num_paragraphs", [](const ResponseText& r, std::size_t wanted) {
         const auto parts = full_parts(r.text(), "***");
         return parts && parts->size() == wanted;
       });
     }},
    {"length_constraints:number_sentences",
     [](Arguments& a) {
       return with_relation(a, "num_sentences", "relation",
                            [](std::u32string_view text) { return split_sentences(text).size(); });
     }},
    {"length_constraints:number_words",
     [](Arguments& a) { return with_relation(a, "num_words", "relation", count_words); }},
    {"punctuation:no_comma",
     [](Arguments&) -> InstructionCheck {
       return [](const ResponseText& r) { return r.text().find(',') == std::string_view::npos; };
     }},
    {"startend:end_checker",
     [](Arguments& a) -> InstructionCheck {
       return [phrase = to_lower(strip_space(a.string("end_phrase")))](const ResponseText& r) {
         return to_lower(python::strip(strip_space(r.text()), Side::both, "\"")).ends_with(phrase);
       };
     }},
    {"startend:quotation",
     [](Arguments&) -> InstructionCheck {
       return [](const ResponseText& r) {
         const std::string_view text = strip_space(r.text());
         return text.size() > 1 && text.front() == '"' && text.back() == '"';
       };
     }},
};

}  // namespace

InstructionCheck make_instruction_check(const std::string& id, const nlohmann::json& arguments,
                                        const std::string& where) {
  std::vector<std::string> known;
  for (const auto& [name, make] : kInstructions) {
    known.emplace_back(name);
    if (id != name) continue;
    Arguments values(arguments, where + " (" + id + ")");
    InstructionCheck check = make(values);
    values.expect_all_read();
    return check;
  }
  throw Error("instructions", where, ": expected a known instruction, got \"", id, "\"; did you mean \"",
              nearest(id, known), "\"?");
}

}  // namespace grpo
