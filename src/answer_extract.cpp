// Where in a completion the final answer stands.
#include <algorithm>
#include <array>
#include <utility>

#include "answer.h"
#include "grpo/answer.h"
#include "utf8.h"

namespace grpo {
namespace {

constexpr std::size_t kMaxFindings = 64;  // boxes or announcements that are looked at, the last ones
constexpr std::size_t kMaxBetween = 64;   // bytes between boxes that belong together
constexpr int kMaxWrappings = 8;          // \boxed{$\boxed{…}$}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

std::string lowered(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = lower(c);
  return result;
}

// ---- Boxes ----

struct Box {
  std::size_t start, end;
  std::string answer;
};

/// % of \boxed{28}\% and \boxed{28} percent, ° of \boxed{90}^\circ.
std::string_view suffix(std::string_view after) {
  std::size_t at = 0;
  while (at < after.size() && (after[at] == ' ' || after[at] == '$')) ++at;
  after.remove_prefix(at);
  for (const std::string_view percent : {"\\%", "%", "percent", "pct"})
    if (after.starts_with(percent)) return "%";
  for (const std::string_view degree : {"^\\circ", "^{\\circ}", "°"})
    if (after.starts_with(degree)) return "^\\circ";
  return {};
}

/// Whether boxes with this between them are parts of one answer: \boxed{1} and \boxed{2}.
bool joins(std::string_view between) {
  if (between.size() > kMaxBetween) return false;
  int words = 0;
  bool inside = false;
  for (std::size_t at = 0; at < between.size();) {
    const std::string_view here = between.substr(at);
    std::size_t skipped = 0;
    for (const std::string_view piece :
         {"\\text{", "\\quad", "\\qquad", "\\(", "\\)", "\\[", "\\]",  "\\,", "\\;", "\\ ", "and",
          "or",      "및",     "와",      "과",  "和",  "と",  "또는", "或",  "、",  "，"})
      if (here.starts_with(piece)) skipped = std::max(skipped, piece.size());
    if (skipped == 0 && std::string_view(" \t\r\n$,;&{}").find(here[0]) != std::string_view::npos) skipped = 1;
    if (skipped > 0) {
      inside = false;
    } else {
      if (here[0] == '.') return false;  // another sentence
      words += !inside && is_letter(here[0]) && here.find('=') == here.npos;
      inside = is_letter(here[0]);
      skipped = 1;
    }
    at += skipped;
  }
  return words <= 1;  // "\boxed{1} papers and \boxed{2} bins"
}

Finding boxes_of(std::string_view text) {
  Finding finding;
  std::vector<Box> boxes;
  for (std::size_t at = text.find("box"); at != text.npos; at = text.find("box", at + 3)) {
    std::size_t open = at + 3;
    std::size_t start = at;
    if (text.substr(open).starts_with("ed"))
      open += 2;
    else if (at > 0 && text[at - 1] == 'f')
      --start;
    else
      continue;
    while (open < text.size() && text[open] == ' ') ++open;
    if (start == 0 || text[start - 1] != '\\' || open >= text.size() || text[open] != '{') continue;
    while (start > 0 && text[start - 1] == '\\') --start;
    const auto body = braced_body(text, open);
    if (!body) {
      finding.broken = true;  // the rest is inside
      return finding;
    }
    const std::size_t end = open + body->size() + 2;
    std::string answer(trim(*body));
    if (!answer.empty()) answer += suffix(text.substr(end, 16));
    boxes.push_back({start, end, std::move(answer)});
    if (boxes.size() > kMaxFindings) boxes.erase(boxes.begin());
    at = end - 3;
  }
  for (std::size_t i = 0; i < boxes.size();) {
    std::string group = boxes[i].answer;
    bool repeated = true;
    std::size_t j = i + 1;
    for (; j < boxes.size() && joins(text.substr(boxes[j - 1].end, boxes[j].start - boxes[j - 1].end)); ++j) {
      repeated &= boxes[j].answer == boxes[i].answer;
      group += ", " + boxes[j].answer;
    }
    if (repeated) group = boxes[i].answer;
    // A final answer that is announced as such stands over what was boxed on the way to it.
    if (i > 0 && lowered(text.substr(boxes[i - 1].end, boxes[i].start - boxes[i - 1].end)).find("final answer") !=
                     std::string::npos)
      finding.answers.clear();
    if (std::find(finding.answers.begin(), finding.answers.end(), group) == finding.answers.end())
      finding.answers.push_back(std::move(group));
    i = j;
  }
  finding.boxed = !finding.answers.empty();
  if (finding.answers.size() == 1 && finding.answers[0].empty()) finding = {{}, false, true};
  return finding;
}

// ---- Prose ----

/// Where the sentence that starts at `from` ends: a full stop that no digit follows, or a line's end.
std::size_t sentence_end(std::string_view text, std::size_t from) {
  for (std::size_t i = from; i < text.size(); ++i) {
    if (text[i] == '\n' && i > from) return i;
    if (text.substr(i).starts_with("。")) return i;
    if (text[i] == '.' && (i + 1 == text.size() || text[i + 1] == ' ' || text[i + 1] == '\n' || text[i + 1] == '$' ||
                           text[i + 1] == '<' || text[i + 1] == '*'))
      return i;
  }
  return text.size();
}

constexpr std::string_view kRefusals[] = {
    "cannot",   "can't",   "can not", "don't",  "do not",  "unable", "unknown", "impossible", "sorry",
    "maybe",    "perhaps", "guess",   "unsure", "no idea", "refuse", "give up", "never",      "doubt",
    "not sure", "n't",     "모르",    "못",     "없",      "아니",   "포기",    "不知道",     "无法",
    "不能",     "不是",    "没有",    "分から", "わから",  "ない"};

bool refuses(std::string_view sentence) {
  const std::string text = lowered(sentence);
  return std::any_of(std::begin(kRefusals), std::end(kRefusals),
                     [&](std::string_view each) { return text.find(each) != text.npos; });
}

struct Span {
  std::size_t start, end;
  bool formula;
};

/// The end of the number at `at`, its separators included.
std::size_t number_end(std::string_view text, std::size_t at) {
  std::size_t end = at;
  while (end < text.size() && (is_digit(text[end]) || ((text[end] == ',' || text[end] == '.' || text[end] == '/') &&
                                                       end + 1 < text.size() && is_digit(text[end + 1]))))
    ++end;
  return end;
}

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
  // `none`: where a search for this closing mark found nothing; it need not be searched for again.
  std::array<bool, 4> none{};
  constexpr std::string_view kOpen[] = {"$$", "$", "\\[", "\\("}, kClose[] = {"$$", "$", "\\]", "\\)"};
  for (std::size_t at = 0; at < text.size();) {
    bool found = false;
    for (std::size_t i = 0; i < 4 && !found; ++i) {
      if (none[i] || !text.substr(at).starts_with(kOpen[i])) continue;
      std::size_t close = text.find(kClose[i], at + kOpen[i].size());
      while (i == 1 && close != text.npos && text[close - 1] == '\\') close = text.find('$', close + 1);  // $\$40$
      if (close == text.npos) {
        none[i] = true;
        continue;
      }
      // A formula within a line stays on it: else two prices in two paragraphs would make one.
      if (i % 2 == 1 && text.substr(at, close - at).find('\n') != text.npos) continue;
      spans.push_back({at, close + kClose[i].size(), true});
      at = close + kClose[i].size();
      found = true;
    }
    if (found) continue;
    if (const std::size_t end = point_end(text, at); end > at) {
      spans.push_back({at, end, false});
      at = end;
      continue;
    }
    const bool starts = is_digit(text[at]) || (text[at] == '.' && at + 1 < text.size() && is_digit(text[at + 1]));
    if (starts && (at == 0 || !(is_letter(text[at - 1]) || text[at - 1] == '_'))) {
      const std::size_t first = at;
      const std::size_t end = number_end(text, at + (text[at] == '.' ? 1 : 0));
      const bool sign = first > 0 && text[first - 1] == '-' && (first == 1 || text[first - 2] == ' ');
      spans.push_back({first - (sign ? 1 : 0), end, false});
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
  std::string rest = lowered(trim(between));
  return rest == "or" || rest == "and" || rest == "," || rest == ", and" || rest == ", or" || rest == ";" ||
         rest == "/" || rest == "또는" || rest == "或" || rest == "和" || rest == "및" || rest == "、";
}

bool follows_copula(std::string_view before) {
  if (before.size() > 40) before.remove_prefix(before.size() - 40);
  std::string text = lowered(trim(before));
  while (!text.empty() && std::string_view("$ \\}").find(text.back()) != std::string_view::npos) text.pop_back();
  for (const std::string_view currency : {"€", "£", "¥", "₩"})
    if (text.ends_with(currency)) text.resize(text.size() - currency.size());
  while (text.ends_with(' ')) text.pop_back();
  for (const std::string_view about : {" approximately", " about", " exactly", " just", " only"})
    if (text.ends_with(about)) text.resize(text.size() - about.size());
  for (const std::string_view word :
       {" is",   " it's",  " are",   " equals", " equal to", " by",   " was", " be",   "=",       ":",     " becomes",
        " to",   " get",   " gets",  " give",   " gives",    " have", " has", " find", " obtain", " pays", " paid",
        " cost", " costs", " takes", " needs",  " est",      "：",    "는",   "은",    "是",      "为",    "は"})
    if (text.ends_with(word)) return true;
  return text == "is" || text == "it's";
}

/// "not" with nothing after it that takes it back ("not 10 it's 12").
bool is_negated(std::string_view before) {
  const std::string text = lowered(before);
  std::size_t at = text.rfind("not");
  if (at == text.npos) return false;
  const std::string_view after = std::string_view(text).substr(at + 3);
  return after.find(" it's") == after.npos && after.find(" it is") == after.npos && after.find(" but") == after.npos;
}

// ---- "Answer:" ----

constexpr std::string_view kAnnouncements[] = {"final answer is", "answer is",  "#### ",       "option is", "choice is",
                                               "final answer\n",  "# answer\n", "answers are", "answer:",   "answer：",
                                               "answer**:",       "answer:**",  "answer**",    "answer =",  "정답은",
                                               "정답:",           "정답：",     "답은",        "답:",       "답：",
                                               "答案是",          "答案为",     "答案:",       "答案：",    "答：",
                                               "答え:",           "答え：",     "答えは"};

/// The first place of each announcement in `text` (lower case), ends of them, in order.
std::vector<std::pair<std::size_t, std::size_t>> announcements(const std::string& text) {
  std::vector<std::pair<std::size_t, std::size_t>> found;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (std::string_view("acfo#").find(c) == std::string_view::npos && static_cast<unsigned char>(c) < 0x80) continue;
    std::size_t size = 0;
    for (const std::string_view each : kAnnouncements)
      if (each[0] == c && text.compare(at, each.size(), each) == 0) size = std::max(size, each.size());
    if (size == 0 || (is_letter(c) && at > 0 && is_letter(text[at - 1]))) continue;
    found.emplace_back(at, at + size);
    if (found.size() > kMaxFindings) found.erase(found.begin());
    at += size - 1;
  }
  return found;
}

/// What an announcement announces.
std::string_view announced(std::string_view text, std::size_t from, std::size_t limit) {
  while (from < limit && (text[from] == ' ' || text[from] == '\n' || text[from] == '*' || text[from] == ':' ||
                          text[from] == '\r' || text[from] == '\t'))
    ++from;
  std::string_view rest = text.substr(from, limit - from);
  for (const std::string_view open : {"$$", "$", "\\(", "\\["}) {
    if (!rest.starts_with(open)) continue;
    const std::string_view close = open == "\\(" ? "\\)" : open == "\\[" ? "\\]" : open;
    std::size_t end = rest.find(close, open.size());
    if (end == rest.npos) break;
    return rest.substr(0, sentence_end(rest, end + close.size()));
  }
  return trim(rest.substr(0, sentence_end(rest, 0)));
}

Finding announced_answers(std::string_view text) {
  Finding finding;
  const auto places = announcements(lowered(text));
  for (std::size_t i = 0; i < places.size(); ++i) {
    const std::size_t limit = i + 1 < places.size() ? places[i + 1].first : text.size();
    std::string_view body = announced(text, places[i].second, limit);
    // "Final Answer: The final answer is …": the first announces the second.
    if (i + 1 < places.size() && places[i].second + 40 > places[i + 1].first &&
        text.substr(places[i].second, places[i + 1].first - places[i].second).find_first_of("0123456789$\\.") ==
            text.npos)
      continue;
    for (const std::string_view end : {"입니다", "이다", "です", "**", "！", "!", "，", ","})
      if (body.ends_with(end)) body = trim(body.substr(0, body.size() - end.size()));
    if (body.empty()) continue;
    if (refuses(body) || lowered(body).starts_with("not ")) {
      finding.broken = true;
      continue;
    }
    std::string answer(body);
    if (std::find(finding.answers.begin(), finding.answers.end(), answer) == finding.answers.end())
      finding.answers.push_back(std::move(answer));
  }
  return finding;
}

/// The bodies of all <answer>…</answer>; nothing where the text has none.
std::optional<std::vector<std::string_view>> tagged(std::string_view text) {
  constexpr std::string_view kOpen = "<answer>", kClose = "</answer>";
  std::vector<std::string_view> bodies;
  std::size_t open = text.find(kOpen);
  if (open == text.npos) return {};
  while (open != text.npos) {
    const std::size_t close = text.find(kClose, open);
    if (close == text.npos) break;
    // The last opening tag before the closing one: a stray tag in front opens nothing.
    open = text.substr(0, close).rfind(kOpen) + kOpen.size();
    bodies.push_back(trim(text.substr(open, close - open)));
    if (bodies.size() > kMaxFindings) bodies.erase(bodies.begin());
    open = text.find(kOpen, close);
  }
  return bodies;
}

}  // namespace

std::optional<std::string_view> braced_body(std::string_view text, std::size_t open) {
  std::size_t depth = 0;
  for (std::size_t i = open; i < text.size(); ++i) {
    if (text[i] == '\\')
      ++i;  // \{ and \} do not count
    else if (text[i] == '{')
      ++depth;
    else if (text[i] == '}' && --depth == 0)
      return text.substr(open + 1, i - open - 1);
  }
  return {};
}

std::string_view unwrap_answer(std::string_view text) {
  const auto strip_pair = [&](std::string_view open, std::string_view close) {
    if (text.size() < open.size() + close.size() || !text.starts_with(open) || !text.ends_with(close)) return false;
    const std::string_view inner = text.substr(open.size(), text.size() - open.size() - close.size());
    if (inner.find(close) != inner.npos) return false;  // `$3$ or $4$` keeps both of its
    text = inner;
    return true;
  };
  constexpr std::string_view kBoxed = "\\boxed{";
  for (int layer = 0; layer < kMaxWrappings; ++layer) {
    const std::string_view before = text = trim(text);
    if (const std::size_t first = text.find(kBoxed); first != text.npos) {
      std::optional<std::string_view> agreed;
      for (std::size_t at = first; at != text.npos;) {
        const auto body = braced_body(text, at + kBoxed.size() - 1);
        if (!body || (agreed && trim(*body) != *agreed)) return {};
        agreed = trim(*body);
        at = text.find(kBoxed, at + kBoxed.size() + body->size());
      }
      text = *agreed;
      continue;
    }
    if (text.ends_with('.') && !text.ends_with("..")) text.remove_suffix(1);
    if (text.ends_with("。")) text.remove_suffix(std::string_view("。").size());
    text = trim(text);
    strip_pair("$$", "$$") || strip_pair("$", "$") || strip_pair("\\(", "\\)") || strip_pair("\\[", "\\]");
    if (text == before) return text;
  }
  return {};
}

Finding find_marked_answer(std::string_view text) {
  if (const auto bodies = tagged(text)) {
    Finding finding;
    finding.broken = bodies->empty();
    for (const std::string_view body : *bodies) {
      Finding inside = boxes_of(body);
      if (inside.broken) return inside;
      if (inside.answers.empty() && !body.empty()) inside.answers.emplace_back(body);
      for (std::string& each : inside.answers)
        if (std::find(finding.answers.begin(), finding.answers.end(), each) == finding.answers.end())
          finding.answers.push_back(std::move(each));
      finding.broken |= body.empty();
    }
    return finding;
  }
  Finding finding = boxes_of(text);
  return finding.broken || !finding.answers.empty() ? finding : announced_answers(text);
}

std::optional<std::string> find_in_prose(std::string_view text, bool announced) {
  const std::vector<Span> spans = spans_of(text);
  if (spans.empty()) return {};
  std::size_t last = spans.size() - 1;
  // The answer is the last formula; a bare number counts after it, or where there is none.
  while (last > 0 && !spans[last].formula && !announced && !follows_copula(text.substr(0, spans[last].start))) --last;
  const Span& span = spans[last];
  std::size_t sentence = 0;
  for (std::size_t end = 0; (end = sentence_end(text.substr(0, span.start), sentence)) < span.start;)
    sentence = end + 1;
  const std::string_view around = text.substr(sentence, sentence_end(text, span.end) - sentence);
  if (refuses(around) || is_negated(text.substr(sentence, span.start - sentence))) return {};
  if (!span.formula && !announced && !follows_copula(text.substr(0, span.start))) return {};
  std::size_t first = last;
  while (first > 0 && is_joint(text.substr(spans[first - 1].end, spans[first].start - spans[first - 1].end))) --first;
  std::size_t end = span.end;
  const std::string_view after = text.substr(end, 24);
  for (const std::string_view unit : {" \\%", "\\%", " %", "%", " percent", " pct", "m²", "cm²", "^\\circ", "°"})
    if (after.starts_with(unit)) {
      end += unit.size();
      break;
    }
  if (text.substr(end).find_first_of("0123456789") != text.npos && last + 1 < spans.size() &&
      is_joint(text.substr(span.end, spans[last + 1].start - span.end)))
    return {};
  return std::string(text.substr(spans[first].start, end - spans[first].start));
}

std::vector<std::string> final_answer(std::string_view completion, const ExtractionOptions& options) {
  constexpr std::string_view kOpen = "<think>", kClose = "</think>";
  const std::size_t close = completion.rfind(kClose), open = completion.rfind(kOpen);
  const bool closed = close != completion.npos;
  if (!closed && (options.think_open || options.thinking_closed || open != completion.npos)) return {};
  if (closed && open != completion.npos && open > close) return {};  // thinking again
  if (closed) completion.remove_prefix(close + kClose.size());
  return find_marked_answer(completion).answers;
}

std::string_view loose_answer(std::string_view text) {
  constexpr std::string_view kOpen = "<answer>", kClose = "</answer>", kBoxed = "\\boxed{";
  if (const std::size_t close = text.rfind(kClose); close != text.npos) {
    const std::size_t open = text.substr(0, close).rfind(kOpen);
    if (open != text.npos) return text.substr(open + kOpen.size(), close - open - kOpen.size());
  }
  const std::size_t box = text.rfind(kBoxed);
  return box == text.npos ? std::string_view()
                          : braced_body(text, box + kBoxed.size() - 1).value_or(std::string_view());
}

}  // namespace grpo
