// What a sentence says the answer is, and whether it refuses, doubts or asks instead.
#include "answers/prose.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "answers/math/spellings.h"
#include "answers/reading.h"
#include "text/ascii.h"
#include "text/utf8.h"

namespace grpo {
namespace {

/// Emphasis, code and quotation marks taken off: *17*, `17`, "17". A * or _ with something on both sides is no mark.
std::string without_marks(std::string_view text) {
  if (text.find_first_of("`\"*_'\xE2") == text.npos) return std::string(text);
  std::string plain;
  plain.reserve(text.size());
  const auto bounds = [&](std::size_t at) {  // no letter, digit or sign that a mark would stand on
    return at >= text.size() || is_space(text[at]) || std::string_view(".,;:!?*_`\"'()").find(text[at]) != text.npos;
  };
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '`' || c == '"') {
      ++at;
    } else if (text.substr(at).starts_with("“") || text.substr(at).starts_with("”")) {
      at += 3;
    } else if (c == '*' || c == '_' || c == '\'') {
      std::size_t end = at;
      while (end < text.size() && text[end] == c) ++end;
      const bool before = at == 0 || bounds(at - 1), after = bounds(end);
      if (before == after && !(c == '*' && before && end - at > 1)) plain += text.substr(at, end - at);
      at = end;
    } else {
      if (c == '\\' && at + 1 < text.size()) plain += text[at++];
      plain += text[at++];
    }
  }
  return plain;
}

// ---- Refusals ----

/// The speaker does not know, wherever in the sentence it stands.
constexpr std::string_view kDoubts[] = {
    "don't know", "do not know", "doesn't know", "no idea", "give up", "sorry", "i refuse", "we refuse",
    "must refuse", "i am unable", "i'm unable", "we are unable", "we're unable", "i was unable", "we were unable",
    "unable to determine", "unable to find", "unable to solve", "unable to answer", "not sure", "unsure",
    "not certain", "cannot say", "can't say", "can not say", "cannot tell", "can't tell", "i guess", "just a guess",
    "only a guess", "my guess", "am guessing", "i'm guessing", "maybe", "perhaps", "i doubt", "weiß nicht",
    "keine ahnung", "vielleicht", "ne sais pas", "peut-être", "no sé", "no lo sé", "quizá", "tal vez", "не знаю",
    "возможно", "может быть", "不知道", "无法确定", "不确定", "不清楚", "也许", "모르", "포기", "아마", "分から", "わから", "かどうか"};
/// The clause denies what it says.
constexpr std::string_view kDenials[] = {
    "cannot",     "can't",     "can not",      "don't",     "do not",   "impossible", "never",    "n't",
    "is unknown", "neither",   "unable to be", "不能",      "不是",     "不可能",     "不会",     "未必",
    "不一定",     "并非",      "没有",         "无法",      "못",       "없",         "아니",     "ない",
    "guess",      "doubt",     "nobody",       "mistake",   "答案至少", "答案至多",   "答案最多", "nicht",
    "keine",      "unmöglich", "n'est",        " pas ",     " não ",    " non ",      "jamais",
    " no es ",    " no son ",  "nunca",        "imposible", " не ",     "нет "};
/// The clause supposes, asks or denies what it introduces.
constexpr std::string_view kSuppositions =
    " suppose supposing whether ob falls wenn imagine pretend doubt doubts deny denies unlikely refuse unsure "
    "uncertain untrue nobody ";
/// The same of a clause that introduces "the answer is". "If you add them you get 17" supposes nothing.
constexpr std::string_view kAnnouncedSuppositions =
    " if assume assuming unless impossible false wrong incorrect maybe perhaps possibly guess unable might could ";
constexpr std::string_view kNegations = " not cannot never no nor nothing none without hardly ";
constexpr std::string_view kSayings =
    " say said tell know sure certain think believe conclude claim claimed determine decide prove proof evidence "
    "reason "
    "suggest suggests confirm guarantee true way one mean means ";
constexpr std::string_view kEasternSuppositions[] = {"不知道", "无法", "不能",   "不确定", "不清楚", "是否", "如果",
                                                     "假设",   "假如", "不认为", "不可能", "难说",   "未必", "不会",
                                                     "怀疑",   "可能", "也许",   "만약",   "아마"};

/// The last clause of a text.
std::string_view last_clause(std::string_view text) {
  constexpr std::string_view kMarks[] = {", ",     ",",      "; ",   ": ",   " so ", " but ", " and ", " therefore ",
                                         " thus ", " hence ", " then ", "，", "：",   "所以",  "因此",  "但",
                                         "、"};
  for (std::size_t at = text.size(); at-- > 0;)
    if (is_letter(text[at]))
      continue;
    else if (const std::size_t size = starts_with_any(text.substr(at), kMarks); size > 0) return text.substr(at + size);
  return text;
}

/// Whether what leads to "the answer is" makes it no statement: "I cannot say that", "if", "it is false that". `before`
/// is in small letters.
bool is_supposed(std::string_view before, bool announced) {
  std::string clause(last_clause(before));
  if (clause.empty()) return false;
  if (clause.starts_with("si ")) return true;  // French and Spanish
  if ((clause.starts_with("let ") && !clause.starts_with("let us ") && !clause.starts_with("let me ")) ||
      clause.starts_with("say "))
    return true;
  // "If it were 17", but "if you add them you get 17"
  constexpr std::string_view kNone[] = {"no ", "none ", "nothing "}, kSure[] = {"no doubt", "no matter", "no wonder"};
  if (starts_with_any(clause, kNone) > 0 && starts_with_any(clause, kSure) == 0) return true;
  const std::string_view verb = trim(clause);
  if (clause.starts_with("if ") && (verb.ends_with(" is") || verb.ends_with(" are") || verb.ends_with(" were") ||
                                    verb.ends_with(" was") || verb.ends_with('=')))
    return true;
  if (clause.find("doubt") != clause.npos)
    for (const std::string_view sure :
         {"no doubt", "without a doubt", "without any doubt", "without doubt", "beyond doubt"})
      if (const std::size_t at = clause.find(sure); at != clause.npos) clause.erase(at, sure.size());
  if (announced && ((!is_ascii(clause) && contains_any(clause, kEasternSuppositions)) ||
                    clause.find("no way") != clause.npos || clause.find("no idea") != clause.npos))
    return true;
  bool negated = false, said = false;
  for (std::size_t at = 0; at < clause.size();) {
    const std::size_t end = latin_word_end(clause, at);
    if (end == at) {
      ++at;
      continue;
    }
    const std::string_view word = std::string_view(clause).substr(at, end - at);
    if (math::is_among(kSuppositions, word) || (announced && math::is_among(kAnnouncedSuppositions, word))) return true;
    negated |= math::is_among(kNegations, word) || word.ends_with("n't");
    said |= math::is_among(kSayings, word);
    at = end;
  }
  return negated && said;
}

/// Whether what follows an answer takes it back: ", which is wrong", "이 아닙니다", ", but I'm not sure".
bool takes_back(std::string_view after) {
  const std::size_t end = std::min(sentence_end(after, 0), kMaxAside);
  const bool asks = end < after.size() && (after[end] == '?' || after.substr(end).starts_with("？"));
  if (asks) return true;
  const std::string_view spoken = after.substr(0, end);
  if (std::none_of(spoken.begin(), spoken.end(), [](char c) { return is_letter(c) || !is_ascii(c); })) return false;
  const std::string text = lowered(spoken);
  for (const std::string_view doubt : kDoubts)
    if (const std::size_t at = text.find(doubt); at != text.npos &&
                                                 std::string_view(text).substr(0, at).find("not ") == text.npos)
      return true;
  constexpr std::array<std::string_view, 10> kSubjects{"which", "that", "this", "it", "but",
                                                       " he",   " she", "they", " i",  " we"};
  constexpr std::array<std::string_view, 11> kFaults{"wrong",       "incorrect", "false",        "impossible",
                                                     "not right",   "not correct", "not true",   "not possible",
                                                     "not the answer", "a mistake", "nonsense"};
  if (starts_with_any(trim(text),
                      std::array<std::string_view, 6>{"ist nicht", "ist kein", "n'est", "no es", "non è", "не "}) ||
      contains_any(text, std::array<std::string_view, 8>{"ist falsch", "falsch ist", "est faux", "est incorrect",
                                                         "es incorrect", "es fals", "неверно", "неправильно"}))
    return true;
  for (const std::string_view verb :
       {" is ", "'s ", " am ", " are ", " may be ", " might be ", " was ", " seems ", " can't be ", " cannot be "})
    for (std::size_t at = text.find(verb); at != text.npos; at = text.find(verb, at + 1)) {
      const std::string_view subject = std::string_view(text).substr(0, at);
      const std::string_view fault = std::string_view(text).substr(at + verb.size());
      if (starts_with_any(fault, kFaults) > 0 &&
          std::ranges::any_of(kSubjects, [&](std::string_view each) { return subject.ends_with(each); }))
        return true;
    }
  if (is_ascii(text)) return false;
  const std::string_view said = std::string_view(text).substr(0, std::min(text.find_first_of(",;"), text.size()));
  std::string_view clause = said.substr(0, std::min(said.find("、"), said.size()));
  if (clause.starts_with("이며") || clause.starts_with("이고"))  // 17이며 16이 아닙니다
    clause = clause.substr(0, clause.find_first_of("0123456789"));
  return contains_any(clause, std::array<std::string_view, 17>{
                                  "아니", "아닙", "아닌", "모르", "틀렸", "틀린", "ではな", "ではあり", "じゃな", "かどうか",
                                  "分から", "わから", "不对", "是错", "吗", "嗎", "ですか"});
}

/// Where the last "not", "cannot" or "nothing" of a text in small letters ends; npos for none. "Another" is none.
std::size_t last_not(std::string_view text) {
  for (std::size_t at = text.rfind("not"); at != text.npos; at = at == 0 ? text.npos : text.rfind("not", at - 1)) {
    std::size_t start = at;
    while (start > 0 && is_letter(text[start - 1]) && at - start <= 3) --start;
    const std::string_view word = text.substr(start, latin_word_end(text.substr(0, at + 8), at) - start);
    if (word == "not" || word == "cannot" || word == "nothing") return start + word.size();
  }
  return text.npos;
}

/// A text in small letters without what says whom its last clause counts: "the students who did not pass are" denies
/// nothing, it is "the students are".
std::string without_relative_clause(std::string text) {
  const std::size_t clause = text.size() - last_clause(text).size();
  std::size_t start = text.npos, words = 0;
  for (const std::string_view pronoun : {" who ", " that ", " which "})
    if (const std::size_t at = text.rfind(pronoun);
        at != text.npos && at >= clause && (start == text.npos || at > start))
      start = at, words = at + pronoun.size();
  if (start == text.npos) return text;
  std::vector<std::string_view> said;
  for (std::size_t at = words; at < text.size();) {
    const std::size_t end = latin_word_end(text, at);
    if (end > at) said.push_back(std::string_view(text).substr(at, end - at));
    at = std::max(end, at + 1);
  }
  const auto negates = [&](std::size_t i) {
    return i < said.size() && (said[i].ends_with("n't") || math::is_among(" not cannot never ", said[i]));
  };
  const std::size_t verb = negates(0) ? 1 : negates(1) ? 2 : said.size();
  if (verb + 2 > said.size() || !math::is_among(" is are was were ", said.back())) return text;
  for (const std::string_view word : said)  // "the value that does not work is" speaks of a wrong answer
    if (math::is_among(kSayings, word) ||
        math::is_among(" be work works correct right possible valid solution solutions answer answers ", word))
      return text;
  const bool counts = text.compare(start, 5, " who ") == 0 || math::is_among(" are were ", said.back()) ||
                      text.find("number of ") < start;
  if (!counts) return text;
  return text.substr(0, start) + ' ' + std::string(said.back()) + ' ';
}

/// Whether a sentence does not state the number that it leads to. `before` and `after` are its parts.
bool is_denied(std::string_view before, std::string_view after, bool confirmed) {
  const std::string text = without_relative_clause(lowered(before));
  const std::string_view clause = last_clause(text);
  if (contains_any(text, kDoubts) || contains_any(' ' + std::string(clause) + ' ', kDenials) ||
      is_supposed(text, confirmed))
    return true;
  // "not" with nothing after it that takes it back ("not 10 it's 12")
  if (const std::size_t end = last_not(text); end != text.npos) {
    const std::string_view rest = std::string_view(text).substr(end);
    if (rest.find(" it's") == rest.npos && rest.find(" it is") == rest.npos && rest.find(" but") == rest.npos &&
        rest.find(',') == rest.npos)
      return true;
  }
  return takes_back(after);
}

// ---- Sentences ----

struct Span {
  std::size_t start, end;
  bool formula;
};

/// The end of the point or interval at `at`, such as (1, 2) or [0, 1/2); else `at`.
std::size_t point_end(std::string_view text, std::size_t at) {
  if ((text[at] != '(' && text[at] != '[') || (at > 0 && is_letter(text[at - 1]))) return at;
  const std::size_t end = std::min(text.find_first_not_of("0123456789.,;/- ", at + 1), text.size());
  const std::string_view inside = text.substr(at, end - at);
  const bool parted = inside.find_first_of(",;") != inside.npos && inside.find_first_of("0123456789") != inside.npos;
  return parted && end < text.size() && (text[end] == ')' || text[end] == ']') ? end + 1 : at;
}

/// Formulas, points and bare numbers of a text, in order.
std::vector<Span> spans_of(std::string_view text) {
  std::vector<Span> spans;
  NextMarks marks;
  for (std::size_t at = 0; at < text.size();) {
    if (const std::size_t end = formula_end(text, at, marks); end > at) {
      spans.push_back({at, end, true});
      at = end;
      continue;
    }
    if (const std::size_t end = point_end(text, at); end > at) {
      spans.push_back({at, end, false});
      at = end;
      continue;
    }
    const bool starts = is_digit(text[at]) || (text[at] == '.' && at + 1 < text.size() && is_digit(text[at + 1]));
    if (starts && (at == 0 || !(is_letter(text[at - 1]) || text[at - 1] == '_'))) {
      const std::size_t end = number_end(text, at + (text[at] == '.' ? 1 : 0));
      std::size_t start = at;
      for (const std::string_view sign : {"-", "\u2212", "\u2013"})
        if (text.substr(0, at).ends_with(sign) && (at == sign.size() || text[at - sign.size() - 1] == ' '))
          start = at - sign.size();
      spans.push_back({start, end, false});
      at = end;
      continue;
    }
    if (text[at] == '\\' && at + 1 < text.size()) ++at;
    ++at;
  }
  return spans;
}

/// Whether two spans are members of one answer: 3 or 4.
bool is_joint(std::string_view between) {
  const std::string rest = lowered(trim(between));
  return rest == "or" || rest == "and" || rest == "," || rest == ", and" || rest == ", or" || rest == ";" ||
         rest == "/" || rest == "또는" || rest == "或" || rest == "和" || rest == "및" || rest == "、";
}
/// Whether they are parts of one formula: 3 + 14 = 17.
bool is_operator(std::string_view between) {
  const std::string_view rest = trim(between);
  return !rest.empty() && rest.find_first_not_of("+-*/=^() ") == rest.npos && rest.find_first_of("+-*/=^") != rest.npos;
}

/// Whether a number stands in a reason for another: "17 because 16 is too small".
bool gives_reason(std::string_view between) {
  const std::string text = lowered(between.substr(0, std::min(between.size(), kMaxAside)));
  const bool opens =
      contains_any(text, std::array<std::string_view, 15>{" because ", " since ", ", as ", " rather than ", " weil ",
                                                          ", denn ", " car ", " parce que ", " porque ", "потому что",
                                                          " instead of ", " whereas ", "因为", "由于", "왜냐하면"});
  return opens && !contains_any(text, std::array<std::string_view, 7>{" so ", " therefore", " thus", " hence", "所以",
                                                                      "因此", "따라서"});
}

std::string_view last_words(std::string_view before) {
  return before.size() > 40 ? before.substr(before.size() - 40) : before;
}

bool follows_copula(std::string_view before) {
  std::string text = lowered(trim(last_words(before)));
  while (!text.empty() && std::string_view("$ \\}").find(text.back()) != std::string_view::npos) text.pop_back();
  for (const std::string_view currency : {"€", "£", "¥", "₩"})
    if (text.ends_with(currency)) text.resize(text.size() - currency.size());
  while (text.ends_with(' ')) text.pop_back();
  if (text.ends_with("因为")) return false;
  for (const std::string_view about : {" approximately", " about", " exactly", " just", " only", " a total of"})
    if (text.ends_with(about)) text.resize(text.size() - about.size());
  for (const std::string_view word :
       {" is",    " it's", " are", " were",   " equals", " equal to", " by",     " was",     " be",  "=",         ":",
        " becomes", " to", " get",   " gets",   " give",     " gives",  " have",    " has", " find",     " obtain",
        " pays",  " paid", " cost",  " costs",  " takes",    " needs",  " makes",   " leaves", " leaving", " est",
        " ist",   " lautet", " beträgt", " sind", " sont",  " vaut",    " es",     " son",  " è",  " é",  " равно",
        " равен", " равна",  " gibt",    " hay",
       
        " so",    " thus", " hence", " therefore", "：",     "는",      "은",       "是",  "为",        "は",
        "有",     "一共",  "总共",   "剩",      "剩下"})
    if (!text.empty() && text.back() == word.back() && text.ends_with(word)) return true;
  return text == "is" || text == "it's" || text == "一共" || text == "总共";
}

/// Whether the words in front make another number of it: half of 17, at least 17, the square of 17, page 17.
bool is_changed_by(std::string_view before, bool equation) {
  std::string text = lowered(trim(last_words(before)));
  while (!text.empty() && std::string_view("$ \\").find(text.back()) != std::string_view::npos) text.pop_back();
  const auto last_word = [&] {
    std::size_t start = text.size();
    while (start > 0 && is_letter(text[start - 1])) --start;
    std::string word = text.substr(start);
    text.resize(start);
    while (text.ends_with(' ')) text.pop_back();
    return word;
  };
  const std::string word = last_word();
  if (math::is_among(" than least most twice double half triple under over above below not between minus plus times "
                     "negative neither nor except without versus beyond of but exceeds from to near nearly "
                     "almost hardly barely within "
                     "longer first unknown als que entre zwischen mindestens maximal fast nicht moins plus menos casi ",
                     word)) {
    if (word == "to") return math::is_among(" up close next prior near similar opposed ", last_word());
    if (word == "but") return math::is_among(" anything everything nothing all numbers none number ", last_word());
    if (word != "of") return true;
    const std::string what = last_word();
    return math::is_among(" half halves third thirds quarter quarters fifth tenth multiple multiples power powers square "
                          "cube root roots factor factors percent one most all none double inverse reciprocal opposite "
                          "negative out instead each any divisor divisors ",
                          what);
  }
  if (word == "be") {  // it might be 17, it used to be 17
    const std::string before_be = last_word();
    if (before_be == "to") return math::is_among(" used supposed thought believed said unlikely ", last_word());
    return math::is_among(" might could may can not cannot ", before_be);
  }
  if (word == "by")
    return math::is_among(" divisible divide divides divided dividing multiply multiplies multiplied multiplying sides ",
                          last_word());
  if (word == "de") return !math::is_among(" total est es ", last_word());
  if (text.ends_with("à") || (word == "chstens" && text.ends_with("ö"))) return true;
  return !equation && math::is_among(" page step room chapter question day week year line ", word);
}

/// Whether a sentence goes on to say what a formula in front of it is: "$x$ is the price."
bool names(std::string_view text) {
  const std::string_view said = text.substr(0, std::min(sentence_end(text, 0), text.size()));
  if (said.size() > 64 || !(said.starts_with("is the ") || said.starts_with("is our ") || said.starts_with("are the ")))
    return false;
  for (std::size_t at = 0; at < said.size();) {
    const std::size_t end = latin_word_end(said, at);
    if (math::is_among(" wrong incorrect false impossible not never no ", said.substr(at, end - at))) return false;
    at = end + 1;
  }
  return said.find_first_of("0123456789,") == said.npos;
}

}  // namespace

Statement find_in_prose(std::string_view marked, bool announced) {
  const std::string plain = without_marks(marked);
  const std::string_view text = plain;
  const std::vector<Span> spans = spans_of(text);
  if (spans.empty()) return {};
  // Each belongs to a sentence, and does not count where it only gives a reason there.
  std::vector<std::size_t> sentences(spans.size());
  std::vector<bool> explains(spans.size());
  std::size_t sentence = 0, end = sentence_end(text, 0);
  for (std::size_t i = 0; i < spans.size(); ++i) {
    while (end < spans[i].start) sentence = end + 1, end = sentence_end(text, sentence);
    if (spans[i].end > end) end = sentence_end(text, spans[i].end);
    sentences[i] = sentence;
    if (i == 0 || sentences[i - 1] != sentence) continue;
    const std::string_view between = text.substr(spans[i - 1].end, spans[i].start - spans[i - 1].end);
    explains[i] = gives_reason(between) ||
                  (explains[i - 1] && !contains_any(lowered(between), std::array<std::string_view, 6>{
                                                                          " so ", " therefore", " thus", " hence",
                                                                          "所以", "因此"}));
  }
  const auto confirmed = [&](const Span& span) {
    const std::size_t after = skip_white_space(text, span.end);
    return confirms(lowered(text.substr(after, 64)));
  };
  const auto counts = [&](std::size_t i) {
    if (explains[i]) return false;
    if (spans[i].formula || follows_copula(text.substr(0, spans[i].start)) || confirmed(spans[i])) return true;
    // "not 16 but 17"
    const std::string_view between =
        i == 0 ? std::string_view() : text.substr(spans[i - 1].end, spans[i].start - spans[i - 1].end);
    constexpr std::array<std::string_view, 4> kInstead{"but", ", but", ", sondern", ", sino"};
    return std::ranges::find(kInstead, trim(between)) != kInstead.end();
  };
  std::size_t last = spans.size();
  while (last > 0 && !counts(last - 1)) --last;
  if (last == 0) {  // after "Answer:" any number counts, but a choice among several is none
    if (!announced || std::count(explains.begin(), explains.end(), false) != 1) return {};
    last = static_cast<std::size_t>(std::find(explains.begin(), explains.end(), false) - explains.begin()) + 1;
  }
  --last;
  const Span& span = spans[last];
  std::size_t first = last;
  const auto between = [&](std::size_t i) { return text.substr(spans[i].end, spans[i + 1].start - spans[i].end); };
  while (first > 0 && sentences[first - 1] == sentences[last] &&
         (is_joint(between(first - 1)) || is_operator(between(first - 1))))
    --first;
  if (first > 0 && trim(between(first - 1)) == "to") return {Statement::refused, ""};  // from 1 to 17
  const std::string_view before = text.substr(sentences[last], spans[first].start - sentences[last]);
  // "In the last line $3 + 14 = 17$"
  const std::string_view value = text.substr(spans[first].start, span.end - spans[first].start);
  const bool equation = spans[first].formula && value.find('=') != value.npos;
  if (is_denied(before, text.substr(span.end), confirmed(span)) || is_changed_by(before, equation))
    return {Statement::refused, ""};
  std::size_t from = spans[first].start;
  if (const std::string_view lead = text.substr(0, from); lead.ends_with("\\$")) from -= 2;
  else if (lead.ends_with('$')) --from;
  for (const std::string_view currency : {"€", "£", "¥", "₩"})
    if (text.substr(0, from).ends_with(currency)) from -= currency.size();
  const std::string_view stated = text.substr(from);
  const Beginning found = beginning_of(stated);
  if (found.kind == Beginning::none && span.formula && names(lowered(trim(text.substr(span.end, 80)))))
    return {Statement::read, std::string(text.substr(from, span.end - from))};
  if (found.kind != Beginning::answer || takes_back(stated.substr(found.end))) return {Statement::refused, ""};
  return {Statement::read, answer_at(stated, found)};
}

Statement read_statement(std::string_view text, bool announced) {
  const std::string plain = without_marks(text);
  const Beginning found = beginning_of(plain);
  if (found.kind == Beginning::several) return {};
  if (found.kind == Beginning::answer) {
    const std::string_view rest = std::string_view(plain).substr(found.end);
    const std::string answer = answer_at(plain, found);
    // Of a text that nothing announces, the first number may be one of the question, or of a list of steps.
    const auto stands = [&] {
      if (announced || found.cut == Beginning::nothing || found.cut == Beginning::reason ||
          found.cut == Beginning::confirmed || trim(rest).size() <= 3)
        return true;
      if (contains_any(rest, std::array<std::string_view, 3>{" no other", "nothing else", "none other"})) return true;
      if (found.cut != Beginning::sentence || answer == "1") return false;
      const Statement other = find_in_prose(plain, false);
      return other.kind != Statement::read || other.answer == answer;
    };
    if (!stands()) return {};
    if (takes_back(rest)) return {Statement::refused, ""};
    return {Statement::read, answer};
  }
  if (!announced) return {};
  // "Evelyn because she was faster"
  const std::string small = lowered(plain);
  std::size_t end = small.size();
  for (const std::string_view reason : {" because ", ", because ", ", since ", "因为"})
    end = std::min(end, small.find(reason));
  const std::string_view words = std::string_view(small).substr(0, end);
  if (end == small.size() || words.find_first_of("0123456789$\\") != words.npos)
    if (Statement said = find_in_prose(plain, true); said.kind != Statement::unclear) return said;
  if (contains_any(small, kDoubts) || contains_any(words, kDenials) || words.starts_with("not "))
    return {Statement::refused, ""};
  return {Statement::read, std::string(trim(std::string_view(plain).substr(0, end)))};
}

bool is_supposed_at(std::string_view text, std::size_t at) {
  std::string_view before = text.substr(0, at);
  if (before.size() > kMaxAside) before.remove_prefix(before.size() - kMaxAside);
  const auto start_behind = [&](auto... stops) {
    for (const std::string_view stop : {std::string_view(stops)...})
      if (const std::size_t from = before.rfind(stop); from != before.npos) before.remove_prefix(from + stop.size());
  };
  start_behind(". ", "\n", "! ", "? ", ">");
  if (!is_ascii(before)) start_behind("。", "？", "！");
  return is_supposed(lowered(before), true);
}

}  // namespace grpo
