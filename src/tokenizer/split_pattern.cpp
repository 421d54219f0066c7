#include "tokenizer/split_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <time.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>

#include "grpo/error.h"
#include "text/tables/unicode_classes.h"
#include "text/utf8.h"
#include "tokenizer/code_point_set.h"

namespace grpo {
namespace {

constexpr std::size_t kMostSets = 64;             // bits of a mask
constexpr std::size_t kLongestPattern = 10'000;   // bytes; those in use have some hundred
constexpr std::uint32_t kEasySteps = 1000;        // of a match that need not be counted
constexpr std::uint64_t kMostSteps = 50'000'000;  // of all others in a text: half a second
constexpr std::uint32_t kMostHeap = 64 << 10;     // KiB that the interpreter may take for what it must come back to

CodePointSet category(std::string_view name) {  // "L", "Lu"; empty when there is none of that name
  std::uint32_t wanted = 0;
  for (std::size_t i = 0; i < std::size(unicode::kCategoryNames); ++i)
    if (std::string_view(unicode::kCategoryNames[i]).starts_with(name)) wanted |= 1u << i;
  std::vector<std::uint32_t> ends;
  if (name.empty() || wanted == 0) return {};
  for (const std::uint32_t run : unicode::kCategoryRuns)
    if (((wanted >> (run & 31)) & 1) != ends.size() % 2) ends.push_back(run >> 5);
  if (ends.size() % 2 == 1) ends.push_back(CodePointSet::kEnd);
  return CodePointSet(ends);
}

CodePointSet property(const std::string& name) {
  for (const unicode::Script& script : unicode::kScripts)
    if (name == script.name) return CodePointSet({script.begin, script.end});
  return category(name);
}

CodePointSet escape_class(char32_t letter) {  // of \s, \d, \w
  return letter == 's'   ? CodePointSet(unicode::kSpace)
         : letter == 'd' ? category("Nd")
                         : CodePointSet(unicode::kPatternWord);
}

/// Reads Oniguruma's syntax (as Ruby has it), and writes the same pattern with a set's number for each character.
class PatternReader {
 public:
  struct Item {
    std::string code;  // for PCRE2 as it is
    int set = -1;      // or the set that a character must be in
  };

  PatternReader(std::string_view pattern, const std::string& where) : where_(where), source_(pattern) {
    if (pattern.size() > kLongestPattern) refuse("more than " + std::to_string(kLongestPattern) + " bytes");
    std::string storage;
    if (valid_utf8(pattern, storage) != pattern) refuse("bytes that are not UTF-8");
    for (std::size_t i = 0; i < pattern.size();) {
      const CodePoint c = decode_utf8(pattern, i);
      text_ += c.value;
      i += c.size;
    }
    read();
  }

  std::vector<Item> items;
  std::vector<CodePointSet> sets;

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error("tokenizer", where_, ": expected a pattern whose meaning is known here, got ", what, " in \"",
                source_.substr(0, 200), '"');
  }
  bool more(std::size_t ahead = 0) const { return at_ + ahead < text_.size(); }
  char32_t peek(std::size_t ahead = 0) const { return more(ahead) ? text_[at_ + ahead] : U'\0'; }
  char32_t take() {
    if (!more()) refuse("an end too early");
    return text_[at_++];
  }
  bool take_if(std::u32string_view expected) {
    if (text_.compare(at_, expected.size(), expected) != 0) return false;
    at_ += expected.size();
    return true;
  }
  static std::string spell(char32_t c) {
    std::string result;
    append_utf8(result, c);
    return result;
  }

  void emit(std::string code) { items.push_back({std::move(code)}); }
  void emit(const CodePointSet& set) {
    const auto found = std::find(sets.begin(), sets.end(), set);
    items.push_back({"", static_cast<int>(found - sets.begin())});
    if (found == sets.end()) sets.push_back(set);
    if (sets.size() > kMostSets) refuse("more than 64 sets of characters");
  }

  void read() {
    std::vector<bool> outer;  // whether case mattered around each open group
    bool quantifiable = false;
    while (more()) {
      const char32_t c = take();
      const char32_t before = std::exchange(folded_letter_, U'\0');
      if (c == '(') {
        outer.push_back(fold_);
        emit(open_group());
        quantifiable = false;
      } else if (c == ')') {
        if (outer.empty()) refuse("a ) too many");
        fold_ = outer.back();
        outer.pop_back();
        emit(")");
        quantifiable = true;
      } else if (c == '|') {
        emit("|");
        quantifiable = false;
      } else if (c == '*' || c == '+' || c == '?' || (c == '{' && interval_follows())) {
        if (!quantifiable) refuse("a quantifier behind " + spell(at_ > 1 ? text_[at_ - 2] : U'^'));
        emit(quantifier(c));
        quantifiable = false;
      } else if (c == '^' || c == '$') {
        refuse("the anchor " + spell(c));
      } else {
        if (c == '[') {
          emit(bracket());
        } else if (c == '.') {
          emit(CodePointSet('\n', '\n').complement());
        } else if (c == '\\') {
          char32_t single = 0;
          CodePointSet set = escape(single);
          if (single != 0) set = character(single, before);
          emit(set);
        } else {
          emit(character(c, before));
        }
        quantifiable = true;
      }
    }
    if (!outer.empty()) refuse("a ( too many");
  }

  std::string open_group() {
    if (take_if(U"?:")) return "(?:";
    if (take_if(U"?=")) return "(?=";
    if (take_if(U"?!")) return "(?!";
    if (take_if(U"?<=")) return "(?<=";
    if (take_if(U"?<!")) return "(?<!";
    if (take_if(U"?>")) return "(?>";
    if (take_if(U"?i:")) {
      fold_ = true;
      return "(?:";
    }
    if (peek() == '?') refuse("the group (?" + spell(peek(1)));
    return "(?:";  // nobody asks what a group captured
  }

  bool interval_follows() const {
    std::size_t end = at_;
    bool digit = false, comma = false;
    for (; end < text_.size() && text_[end] != '}'; ++end) {
      if (text_[end] >= '0' && text_[end] <= '9')
        digit = true;
      else if (text_[end] == ',' && !comma)
        comma = true;
      else
        return false;
    }
    return end < text_.size() && digit;
  }

  std::string quantifier(char32_t c) {
    std::string code(1, static_cast<char>(c));
    if (c == '{') {
      if (peek() == ',') code += '0';  // {,n} counts from 0
      while (code.back() != '}') code += static_cast<char>(take());
      if (peek() == '+' || peek() == '?') refuse("an interval followed by " + spell(peek()));  // not PCRE2's meaning
    } else if (peek() == '+' || peek() == '?') {
      code += static_cast<char>(take());
    }
    return code;
  }

  /// A character that stands for itself, and for its other case where case does not matter; `before`: the letter just
  /// before it in that mode.
  CodePointSet character(char32_t c, char32_t before) {
    CodePointSet set(c, c);
    if (!fold_) return set;
    if (c >= 0x80) refuse("a letter beyond ASCII where case does not matter: " + spell(c));
    const char32_t lower = c >= 'A' && c <= 'Z' ? c + 32 : c;
    if (lower < 'a' || lower > 'z') return set;
    // Oniguruma lets one character, such as U+00DF, match two letters.
    for (const std::u32string_view both : {U"ss", U"ff", U"fi", U"fl", U"st"})
      if (before == both[0] && lower == both[1]) refuse("\"" + spell(before) + spell(lower) + "\" in any case");
    folded_letter_ = lower;
    add_folded(set, lower);
    return set;
  }

  static void add_folded(CodePointSet& set, char32_t lower) {
    set |= CodePointSet(lower, lower);
    set |= CodePointSet(lower - 32, lower - 32);
    for (std::size_t i = 0; i < std::size(unicode::kAsciiFolds); i += 2)
      if (unicode::kAsciiFolds[i] == lower)
        set |= CodePointSet(unicode::kAsciiFolds[i + 1], unicode::kAsciiFolds[i + 1]);
  }

  /// What follows a backslash: a set, or in `single` a character (never U+0000).
  CodePointSet escape(char32_t& single) {
    const char32_t c = take();
    switch (c) {
      case 's':
      case 'd':
      case 'w':
        return escape_class(c);
      case 'S':
      case 'D':
      case 'W':
        return escape_class(c + 32).complement();
      case 'p':
      case 'P': {
        if (fold_) refuse("a property where case does not matter");
        if (take() != '{') refuse("\\p without {");
        bool negated = c == 'P';
        if (peek() == '^') negated = !negated, take();
        std::string name;
        for (char32_t letter = take(); letter != '}'; letter = take()) append_utf8(name, letter);
        const CodePointSet set = property(name);
        if (set.ends().empty() && name != "Cs") refuse("the property \\p{" + name + "}");
        return negated ? set.complement() : set;
      }
      case 'n':
        return single = '\n', CodePointSet();
      case 'r':
        return single = '\r', CodePointSet();
      case 't':
        return single = '\t', CodePointSet();
      case 'f':
        return single = '\f', CodePointSet();
      case 'v':
        return single = '\v', CodePointSet();
      case 'x':
        return single = peek() == '{' ? (take(), hex(1, 6, true)) : hex(2, 2, false), CodePointSet();
      case 'u':
        return single = hex(4, 4, false), CodePointSet();
      default:
        if (c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
          refuse("\\" + spell(c));
        return single = c, CodePointSet();
    }
  }

  char32_t hex(int least, int most, bool braced) {
    char32_t value = 0;
    int digits = 0;
    for (; digits < most; ++digits) {
      const char32_t c = peek();
      const int digit = c >= '0' && c <= '9'   ? static_cast<int>(c - '0')
                        : c >= 'a' && c <= 'f' ? static_cast<int>(c - 'a') + 10
                        : c >= 'A' && c <= 'F' ? static_cast<int>(c - 'A') + 10
                                               : -1;
      if (digit < 0) break;
      value = value * 16 + static_cast<char32_t>(digit);
      take();
    }
    if (digits < least || (braced && take() != '}') || value == 0 || value >= CodePointSet::kEnd ||
        (!braced && value >= 0x80 && most == 2))
      refuse("a code point that cannot be read");
    return value;
  }

  CodePointSet bracket() {
    const bool negated = take_if(U"^");
    if (fold_ && negated) refuse("a negated set where case does not matter");
    CodePointSet set;
    if (peek() == ']') refuse("an empty set []");
    while (peek() != ']') {
      if (peek() == '[') refuse("a set within a set");
      if (peek() == '&' && peek(1) == '&') refuse("an intersection of sets");
      char32_t first = take();
      CodePointSet part;
      if (first == '\\') part = escape(first = 0);
      if (first == 0) {  // a class
        if (peek() == '-' && peek(1) != ']') refuse("a range from a class");
        set |= part;
        continue;
      }
      char32_t last = first;
      if (peek() == '-' && more(1) && peek(1) != ']') {
        take();
        last = take();
        if (last == '[') refuse("a set within a set");
        if (last == '\\') (void)escape(last = 0);
        if (last == 0) refuse("a range to a class");
        if (last < first) refuse("a range that runs backwards");
      }
      set |= CodePointSet(first, last);
      if (fold_) {
        if (last >= 0x80) refuse("a letter beyond ASCII where case does not matter");
        for (char32_t c = first; c <= last; ++c) {
          if (c >= 'A' && c <= 'Z') add_folded(set, c + 32);
          if (c >= 'a' && c <= 'z') add_folded(set, c);
        }
      }
    }
    take();
    return negated ? set.complement() : set;
  }

  const std::string& where_;
  std::string source_;
  std::u32string text_;
  std::size_t at_ = 0;
  bool fold_ = false;               // case does not matter
  char32_t folded_letter_ = U'\0';  // the character just read, if it is a letter whose case does not matter
};

std::string hex_escape(std::size_t byte) {
  constexpr char kDigits[] = "0123456789abcdef";
  return {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
}

std::string pcre2_message(int code) {
  PCRE2_UCHAR text[160];
  pcre2_get_error_message(code, text, std::size(text));
  return reinterpret_cast<const char*>(text);
}

double thread_seconds() {  // of the processor
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// What a search writes into and is bounded by. No pattern has captures, so one serves all of a thread's.
class Search {
 public:
  Search() : data_(pcre2_match_data_create(1, nullptr)), limits_(pcre2_match_context_create(nullptr)) {
    pcre2_set_heap_limit(limits_, kMostHeap);
  }
  ~Search() {
    pcre2_match_context_free(limits_);
    pcre2_match_data_free(data_);
  }
  Search(const Search&) = delete;
  Search& operator=(const Search&) = delete;

  /// The next match from `at` on, or PCRE2's error. A search that proves hard is tried again with more steps, which
  /// are taken from `budget`: so those of a whole text are bounded, without counting those that are easy.
  int match(const pcre2_code* code, std::string_view text, std::size_t at, std::uint64_t& budget) {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    for (std::uint32_t steps = kEasySteps;; steps *= 16) {
      pcre2_set_match_limit(limits_, steps);
      int status = pcre2_match(code, subject, text.size(), at, 0, data_, limits_);
      if (status == PCRE2_ERROR_JIT_STACKLIMIT)  // the interpreter keeps its stack on the heap
        status = pcre2_match(code, subject, text.size(), at, PCRE2_NO_JIT, data_, limits_);
      if (status != PCRE2_ERROR_MATCHLIMIT || steps * std::uint64_t{16} > budget) return status;
      budget -= steps * std::uint64_t{16};
    }
  }
  const PCRE2_SIZE* ends() const { return pcre2_get_ovector_pointer(data_); }

 private:
  pcre2_match_data* data_;
  pcre2_match_context* limits_;
};

}  // namespace

struct SplitPattern::Code {
  ~Code() { pcre2_code_free(code); }
  pcre2_code* code = nullptr;
};

SplitPattern SplitPattern::literal(std::string_view text, const std::string& where) {
  if (text.empty()) throw Error("tokenizer", where, ": expected a pattern that is not empty, got \"\"");
  SplitPattern result;
  result.literal_ = text;
  return result;
}

SplitPattern SplitPattern::regex(std::string_view pattern, const std::string& where) {
  const PatternReader reader(pattern, where);
  SplitPattern result;

  // Code points that are in the same sets are one class.
  std::vector<std::pair<std::uint32_t, std::uint64_t>> flips;  // at a code point, the sets that begin or end
  for (std::size_t i = 0; i < reader.sets.size(); ++i)
    for (const std::uint32_t end : reader.sets[i].ends()) flips.emplace_back(end, std::uint64_t{1} << i);
  flips.emplace_back(CodePointSet::kEnd, 0);
  std::sort(flips.begin(), flips.end());
  std::map<std::uint64_t, std::uint8_t> class_of_mask;
  std::vector<std::uint8_t> class_of(CodePointSet::kEnd);
  std::uint64_t mask = 0;
  std::uint32_t from = 0;
  for (const auto& [end, sets] : flips) {
    if (end > from) {
      const auto found = class_of_mask.try_emplace(mask, static_cast<std::uint8_t>(class_of_mask.size())).first;
      if (class_of_mask.size() > 255)
        throw Error("tokenizer", where, ": expected a pattern with at most 255 classes of characters, got more");
      std::fill(class_of.begin() + from, class_of.begin() + end, found->second);
      from = end;
    }
    mask ^= sets;
  }
  std::map<std::array<std::uint8_t, 256>, std::uint16_t> known;
  for (std::uint32_t page = 0; page < CodePointSet::kEnd >> 8; ++page) {
    std::array<std::uint8_t, 256> classes;
    std::copy_n(class_of.begin() + (page << 8), 256, classes.begin());
    const auto [found, fresh] = known.try_emplace(classes, static_cast<std::uint16_t>(result.classes_.size()));
    if (fresh) result.classes_.push_back(classes);
    result.pages_.push_back(found->second);
  }

  std::string rewritten;
  for (const PatternReader::Item& item : reader.items) {
    rewritten += item.code;
    if (item.set < 0) continue;
    std::string members;
    for (const auto& [sets, byte] : class_of_mask)
      if (sets >> item.set & 1) members += hex_escape(byte);
    rewritten += members.empty() ? "(?!)" : '[' + members + ']';
  }

  int error = 0;
  PCRE2_SIZE place = 0;
  auto code = std::make_shared<Code>();
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(rewritten.data()), rewritten.size(), PCRE2_NEVER_UTF, &error,
                             &place, nullptr);
  if (code->code == nullptr)
    throw Error("tokenizer", where, ": expected a pattern that compiles, got (", pcre2_message(error), ") \"",
                pattern.substr(0, 200), '"');
  std::uint32_t matches_nothing = 0;
  pcre2_pattern_info(code->code, PCRE2_INFO_MATCHEMPTY, &matches_nothing);
  if (matches_nothing != 0)
    throw Error("tokenizer", where, ": expected a pattern that matches at least one character, got \"",
                pattern.substr(0, 200), '"');
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);  // where it cannot, the interpreter gives the same matches
  result.code_ = std::move(code);
  return result;
}

bool SplitPattern::is_one_character() const {
  return !literal_.empty() && decode_utf8(literal_, 0).size == literal_.size();
}

void SplitPattern::find(std::string_view text, std::vector<Span>& spans) const {
  if (!literal_.empty()) {
    for (std::size_t at = 0; (at = text.find(literal_, at)) != std::string_view::npos; at += literal_.size())
      spans.emplace_back(at, at + literal_.size());
    return;
  }
  std::string classes;
  classes.reserve(text.size());
  const auto& ascii = classes_[pages_[0]];
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      classes += static_cast<char>(ascii[byte]);
      ++i;
    } else {
      const CodePoint c = decode_utf8(text, i);
      classes += static_cast<char>(class_of(c.value));
      i += c.size;
    }
  }

  const bool one_byte_each = classes.size() == text.size();
  std::size_t character = 0, byte = 0;  // the same place in both
  const auto byte_at = [&](std::size_t wanted) {
    if (one_byte_each) return wanted;
    for (; character < wanted; ++character) {
      const auto lead = static_cast<unsigned char>(text[byte]);
      byte += lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    }
    return byte;
  };
  thread_local Search search;
  std::uint64_t budget = kMostSteps + 16 * text.size();
  // PCRE2 does not count the characters that one step runs over, which can be all that are left, for each of them. So
  // the time is looked at as well; patterns in use take a thousandth of it.
  double latest = 0;
  for (std::size_t at = 0, matches = 1; at < classes.size(); ++matches) {
    int status = search.match(code_->code, classes, at, budget);
    if (matches % 256 == 0) {
      const double now = thread_seconds();
      if (latest == 0) latest = now + 1 + 1e-5 * static_cast<double>(text.size());
      if (now > latest) status = PCRE2_ERROR_MATCHLIMIT;
    }
    if (status == PCRE2_ERROR_NOMATCH) break;
    if (status < 0)
      throw Error("tokenizer", "expected the pattern to part ", text.size(),
                  " bytes in a bounded number of steps, got: ", pcre2_message(status),
                  "; give shorter texts, or a tokenizer with a simpler pattern");
    const PCRE2_SIZE* match = search.ends();
    const std::size_t first = byte_at(match[0]);
    spans.emplace_back(first, byte_at(match[1]));
    at = match[1];
  }
}

}  // namespace grpo
