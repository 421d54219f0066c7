#include "rewards/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstdint>

#include "grpo/error.h"
#include "text/utf8.h"

namespace grpo {
namespace {

constexpr std::size_t kLongestPattern = 20'000;  // bytes
constexpr std::size_t kLongestText = 256 << 10;  // bytes
constexpr std::size_t kMostSteps = 20'000'000;   // in a text, shared out among the places where a match may begin
constexpr std::uint32_t kMostDepth = 10'000;     // of what a match must come back to
constexpr std::uint32_t kMostHeap = 20 << 10;    // KiB for that

struct Search {
  explicit Search(std::string_view text)
      : context(pcre2_match_context_create(nullptr)), data(pcre2_match_data_create(1, nullptr)) {
    const std::size_t steps = std::clamp<std::size_t>(kMostSteps / (text.size() + 1), 1000, 1'000'000);
    pcre2_set_match_limit(context, static_cast<std::uint32_t>(steps));  // PCRE2 counts anew at each place
    pcre2_set_depth_limit(context, kMostDepth);
    pcre2_set_heap_limit(context, kMostHeap);
  }
  ~Search() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
  Search(const Search&) = delete;
  Search& operator=(const Search&) = delete;

  pcre2_match_context* context;
  pcre2_match_data* data;
};

}  // namespace

struct Pattern::Code {
  explicit Code(pcre2_code* compiled) : code(compiled) {}
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;

  /// Whether there is a match at or after `at`; nothing when that takes too long. It is interpreted, not compiled: then
  /// the steps are the same on every machine.
  std::optional<bool> match(std::string_view text, std::size_t at, std::uint32_t options, Search& search) const {
    if (text.size() > kLongestText) return {};
    const int status = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                   options | PCRE2_NO_UTF_CHECK, search.data, search.context);
    if (status < 0 && status != PCRE2_ERROR_NOMATCH) return {};
    return status >= 0;  // 0: more groups than there was room for
  }

  pcre2_code* code;
};

Pattern::Pattern(std::string_view pattern, Case letter_case, std::string_view where) {
  const auto refuse = [&](std::string_view why) {
    return Error("pattern", where, ": expected a regular expression, got \"", pattern.substr(0, 100), "\" (", why,
                 "); mend the task");
  };
  std::string storage;
  if (pattern.size() > kLongestPattern) throw refuse("longer than 20,000 bytes");
  if (valid_utf8(pattern, storage) != pattern) throw refuse("not UTF-8");
  int error = 0;
  PCRE2_SIZE place = 0;
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 100);
  // Loops that PCRE2 makes possessive by itself would run without being counted as steps.
  const std::uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_POSSESS |
                                (letter_case == Case::ignored ? PCRE2_CASELESS : 0);
  pcre2_code* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error,
                                       &place, context.get());
  if (compiled == nullptr) {
    PCRE2_UCHAR message[160];
    pcre2_get_error_message(error, message, sizeof message);
    throw refuse(reinterpret_cast<const char*>(message));
  }
  code_ = std::make_shared<const Code>(compiled);
}

std::optional<bool> Pattern::found_in(std::string_view text) const {
  Search search(text);
  return code_->match(text, 0, 0, search);
}

std::optional<bool> Pattern::matches_all_of(std::string_view text) const {
  Search search(text);
  return code_->match(text, 0, PCRE2_ANCHORED | PCRE2_ENDANCHORED, search);
}

std::optional<std::size_t> Pattern::count_in(std::string_view text) const {
  Search search(text);
  std::size_t count = 0;
  std::uint32_t options = 0;
  for (std::size_t at = 0; at <= text.size(); ++count) {
    const auto found = code_->match(text, at, options, search);
    if (!found) return {};
    if (!*found) break;
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(search.data);
    if (ends[0] < at || ends[1] < ends[0]) return {};           // a \K that turns back
    options = ends[1] == ends[0] ? PCRE2_NOTEMPTY_ATSTART : 0;  // an empty match is found once at each place
    at = ends[1];
  }
  return count;
}

}  // namespace grpo
