// Where in a completion the final answer stands.
#include <algorithm>
#include <array>
#include <utility>

#include "answers/math/spellings.h"
#include "answers/prose.h"
#include "answers/reading.h"
#include "grpo/answer.h"
#include "text/ascii.h"
#include "text/utf8.h"

namespace grpo {
namespace {

constexpr std::size_t kMaxFindings = 64;   // boxes or announcements that are looked at, the last ones
constexpr std::size_t kMaxBetween = 64;    // bytes between boxes that belong together
constexpr std::size_t kMinAnnounced = 11;  // bytes of "最终答:5", the shortest announcement of a final answer
constexpr std::size_t kMaxUnbraced = 256;  // bytes behind a \boxed without braces that may be in the box
constexpr int kMaxWrappings = 8;           // \boxed{$\boxed{…}$}

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

/// What is in a box without braces: the 9 of \boxed 9, the \frac12 of \boxed\frac12. TeX would box one digit of \boxed
/// 17, but nobody means that.
std::string_view unbraced(std::string_view text) {
  std::size_t end = text.starts_with('-') ? 1 : 0;
  if (end < text.size() && is_digit(text[end])) {
    while (end < text.size() &&
           (is_digit(text[end]) || (std::string_view(",./").find(text[end]) != std::string_view::npos &&
                                    end + 1 < text.size() && is_digit(text[end + 1]))))
      ++end;
    return end < text.size() && is_letter(text[end]) ? std::string_view() : text.substr(0, end);  // 9x
  }
  if (!text.substr(end).starts_with('\\')) return {};
  ++end;
  const std::size_t name = end;
  while (end < text.size() && is_letter(text[end])) ++end;
  if (end == name) return {};
  const bool fraction = text.substr(name, end - name).ends_with("frac");
  for (int i = 0; i < (fraction ? 2 : 1); ++i) {
    while (end < text.size() && text[end] == ' ') ++end;
    if (end == text.size()) break;
    if (const auto body = text[end] == '{' ? braced_body(text, end) : std::nullopt)
      end += body->size() + 2;
    else if (fraction && is_digit(text[end]))
      ++end;
  }
  return trim(text.substr(0, end));
}

/// The boxes of a text, the last ones; nothing where one stays open.
std::optional<std::vector<Box>> boxes_of(std::string_view text) {
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
    if (start == 0 || text[start - 1] != '\\' || open >= text.size()) continue;
    while (start > 0 && text[start - 1] == '\\') --start;
    std::string_view body;
    std::size_t end = open;
    if (text[open] == '{') {
      const auto braced = braced_body(text, open);
      if (!braced) return {};  // the rest is inside
      body = *braced;
      end += body.size() + 2;
    } else {
      body = unbraced(text.substr(open, kMaxUnbraced));
      if (body.empty()) continue;
      end += body.size();
    }
    std::string answer(trim(body));
    if (!answer.empty()) answer += suffix(text.substr(end, 16));
    boxes.push_back({start, end, std::move(answer)});
    if (boxes.size() > kMaxFindings) boxes.erase(boxes.begin());
    at = end - 3;
  }
  return boxes;
}

void add(Finding& finding, Found found) {
  const auto same = [&](const Found& each) { return each.text == found.text; };
  if (std::none_of(finding.answers.begin(), finding.answers.end(), same)) finding.answers.push_back(std::move(found));
}

Finding boxed_answers(std::string_view text, const std::vector<Box>& boxes, bool last_box) {
  Finding finding;
  for (std::size_t i = last_box && !boxes.empty() ? boxes.size() - 1 : 0; i < boxes.size();) {
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
    add(finding, {std::move(group)});
    i = j;
  }
  if (finding.answers.size() == 1 && finding.answers[0].text.empty()) finding = {{}, true};
  return finding;
}

// ---- "Answer:" ----

constexpr std::string_view kAnnouncements[] = {
    "final answer is", "answer is", "#### ",    "option is", "choice is", "final answer\n", "# answer\n", "answers are",
    "answer:",         "ans:",      "answer：", "answer**:", "answer:**", "answer**",       "answer =",   "정답은",
    "정답:",           "정답：",    "답은",     "답:",       "답：",      "答案是",         "答案为",     "答案:",
    "答案：",          "答：",      "答え:",    "答え：",    "答えは"};

/// Whether an announcement may begin with these two bytes: few places of a text need a longer look.
bool may_announce(char first, char second) {
  constexpr auto place = [](char a, char b) { return static_cast<std::size_t>((a & 31) << 5 | (b & 31)); };
  static constexpr auto kPairs = [place] {
    std::array<bool, 1024> pairs{};
    for (const std::string_view each : kAnnouncements) pairs[place(each[0], each[1])] = true;
    return pairs;
  }();
  return kPairs[place(first, second)];
}

/// The first place of each announcement in `text` (lower case), ends of them, in order.
std::vector<std::pair<std::size_t, std::size_t>> announcements(const std::string& text) {
  std::vector<std::pair<std::size_t, std::size_t>> found;
  for (std::size_t at = 0; at + 1 < text.size(); ++at) {
    const char c = text[at];
    if (!may_announce(c, text[at + 1])) continue;
    if (is_letter(c) && at > 0 && is_letter(text[at - 1])) continue;
    const std::size_t size = starts_with_any(std::string_view(text).substr(at), kAnnouncements);
    if (size == 0) continue;
    if (text.compare(at + size, 3, "n't") == 0) continue;
    found.emplace_back(at, at + size);
    if (found.size() > kMaxFindings) found.erase(found.begin());
    at += size - 1;
  }
  return found;
}

/// Whether the announcement at `at` is of the final answer.
bool is_final(std::string_view text, std::size_t at) {
  const std::string_view before = text.substr(0, at), here = text.substr(at);
  if (here.starts_with("final")) return true;
  for (const std::string_view word : {"final ", "최종 ", "最终", "最后", "最終", "最終的な"})
    if (before.ends_with(word)) return true;
  return false;
}

/// Whether an announcement speaks of an answer that was given: "this answer is correct".
bool praises(std::string_view before, std::string_view body) {
  return (before.ends_with("this ") || before.ends_with("that ") || before.ends_with("my ")) &&
         math::is_among(" correct right unique valid reasonable exact ", body);
}

/// What an announcement announces.
std::string_view announced(std::string_view text, std::size_t from, std::size_t limit) {
  while (from < limit && (text[from] == ' ' || text[from] == '\n' || text[from] == '*' || text[from] == ':' ||
                          text[from] == '\r' || text[from] == '\t'))
    ++from;
  if (text.substr(from, limit - from).starts_with("```")) {  // a fence, and the language that it names
    from = std::min(text.find('\n', from), limit);
    while (from < limit && text[from] == '\n') ++from;
  }
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

/// What is announced in `text` from `from` on. `final_only`: as the final answer.
Finding announced_answers(std::string_view text, std::size_t from = 0, bool final_only = false) {
  Finding finding;
  const std::string small = lowered(text.substr(from));
  text.remove_prefix(from);
  const auto places = announcements(small);
  for (std::size_t i = 0; i < places.size(); ++i) {
    const std::size_t limit = i + 1 < places.size() ? places[i + 1].first : text.size();
    if (final_only && !is_final(small, places[i].first)) continue;
    std::string_view body = announced(text, places[i].second, limit);
    // "Final Answer: The final answer is …": the first announces the second.
    if (i + 1 < places.size() && places[i].second + 40 > places[i + 1].first &&
        text.substr(places[i].second, places[i + 1].first - places[i].second).find_first_of("0123456789$\\.") ==
            text.npos)
      continue;
    for (const std::string_view end : {"입니다", "이다", "です", "**", "！", "!", "，", ","})
      if (body.ends_with(end)) body = trim(body.substr(0, body.size() - end.size()));
    if (body.empty() || praises(std::string_view(small).substr(0, places[i].first), body)) continue;
    const std::size_t stop = static_cast<std::size_t>(body.data() - text.data()) + body.size();
    const bool asks = stop < text.size() && (text[stop] == '?' || text.substr(stop).starts_with("？"));
    Statement said = asks || is_supposed_at(text, places[i].first) ? Statement{Statement::refused, ""}
                                                                   : read_statement(body, true);
    if (said.kind == Statement::refused)
      finding.broken = true;
    else
      add(finding, {said.kind == Statement::read ? std::move(said.answer) : std::string(body)});
  }
  return finding;
}

/// What is found in a text without tags: boxes, else announcements; a final answer that is announced behind the last box
/// stands over the boxes.
Finding unmarked(std::string_view text, bool last_box) {
  const auto boxes = boxes_of(text);
  if (!boxes) return {{}, true};
  if (boxes->empty()) return announced_answers(text);
  if (text.size() - boxes->back().end < kMinAnnounced) return boxed_answers(text, *boxes, last_box);
  Finding last = announced_answers(text, boxes->back().end, true);
  const bool says = std::any_of(last.answers.begin(), last.answers.end(), [](const Found& each) {
    return each.text.find_first_of("0123456789$\\") != std::string::npos;
  });
  return says ? last : boxed_answers(text, *boxes, last_box);
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
    if (text.empty() || is_letter(text[0]) || is_digit(text[0])) return text;
    strip_pair("$$", "$$") || strip_pair("$", "$") || strip_pair("\\(", "\\)") || strip_pair("\\[", "\\]") ||
        strip_pair("``", "``") || strip_pair("`", "`") || strip_pair("**", "**") || strip_pair("*", "*") ||
        strip_pair("__", "__") || strip_pair("_", "_") || strip_pair("'", "'") || strip_pair("“", "”");
    if (text == before) return text;
  }
  return {};
}

Finding find_marked_answer(std::string_view text, bool last_box) {
  if (const auto bodies = tagged(text)) {
    Finding finding;
    finding.broken = bodies->empty();
    for (const std::string_view body : *bodies) {
      Finding inside = unmarked(body, last_box);
      if (inside.broken && inside.answers.empty()) return inside;
      if (inside.answers.empty() && !body.empty()) {
        Statement said = read_statement(body, true);
        if (said.kind == Statement::refused) return {{}, true};
        add(inside, {said.kind == Statement::read ? std::move(said.answer) : std::string(body)});
      }
      for (Found& each : inside.answers) add(finding, std::move(each));
      finding.broken |= body.empty();
    }
    return finding;
  }
  return unmarked(text, last_box);
}

std::vector<std::string> final_answer(std::string_view completion, const ExtractionOptions& options) {
  constexpr std::string_view kOpen = "<think>", kClose = "</think>";
  const std::size_t close = completion.rfind(kClose), open = completion.rfind(kOpen);
  const bool closed = close != completion.npos;
  if (!closed && (options.think_open || options.thinking_closed || open != completion.npos)) return {};
  if (closed && open != completion.npos && open > close) return {};  // thinking again
  if (closed) completion.remove_prefix(close + kClose.size());
  std::vector<std::string> answers;
  for (Found& each : find_marked_answer(completion, options.last_box).answers) answers.push_back(std::move(each.text));
  return answers;
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
