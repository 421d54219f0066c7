// DROP: the forms it is published in, and its figures: how its published evaluation normalises, aligns and compares.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <set>

#include "base/draws.h"
#include "evaluation/benchmarks/rules.h"
#include "evaluation/benchmarks/text.h"
#include "text/ascii.h"
#include "text/letter_case.h"
#include "text/unicode_word.h"
#include "text/utf8.h"

namespace grpo {
namespace {

using Bag = std::set<std::string>;

/// `text` in ASCII, digits and spaces of all scripts included; '?' stands for anything else.
std::string plain(std::string_view text) {
  std::string ascii;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    at += c.size;
    if (is_python_space(c.value))
      ascii += ' ';
    else if (c.value < 0x80)
      ascii += static_cast<char>(c.value);
    else if (const auto digit = decimal_digit(c.value))
      ascii += static_cast<char>('0' + *digit);
    else
      ascii += '?';
  }
  return ascii;
}

/// What Python's float() makes of `text`; nothing where it refuses.
std::optional<double> read_float(std::string_view text) {
  const std::string ascii = plain(text);
  const std::size_t first = ascii.find_first_not_of(' '), last = ascii.find_last_not_of(' ');
  if (first == ascii.npos) return {};
  std::string digits;  // without the underscores that may stand between two digits
  for (std::size_t at = first; at <= last; ++at) {
    const bool between =
        ascii[at] == '_' && at > first && at < last && is_digit(ascii[at - 1]) && is_digit(ascii[at + 1]);
    if (!between) digits += ascii[at];
  }
  std::string_view rest = digits;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  const double sign = negative ? -1 : 1;
  const std::string word = to_lower(rest);
  if (word == "inf" || word == "infinity") return sign * std::numeric_limits<double>::infinity();
  if (word == "nan") return std::numeric_limits<double>::quiet_NaN();

  std::size_t at = 0, figures = 0;
  long magnitude = 0;  // the place of the first figure that is not 0, where the number is beyond the range of doubles
  bool point = false, leading = true;
  for (; at < rest.size() && (is_digit(rest[at]) || (rest[at] == '.' && !point)); ++at) {
    if (rest[at] == '.') {
      point = true;
      continue;
    }
    ++figures;
    leading = leading && rest[at] == '0';
    magnitude += point ? (leading ? -1 : 0) : (leading ? 0 : 1);
  }
  if (figures == 0) return {};
  if (at < rest.size()) {
    if ((rest[at] | 0x20) != 'e') return {};
    ++at;
    const bool down = at < rest.size() && rest[at] == '-';
    if (down || (at < rest.size() && rest[at] == '+')) ++at;
    const std::size_t start = at;
    long exponent = 0;
    for (; at < rest.size() && is_digit(rest[at]); ++at)
      exponent = std::min(exponent * 10 + (rest[at] - '0'), 1L << 40);
    if (at == start || at != rest.size()) return {};
    magnitude += down ? -exponent : exponent;
  }
  double value = 0;
  if (std::from_chars(rest.data(), rest.data() + rest.size(), value).ec == std::errc::result_out_of_range)
    value = magnitude > 0 ? std::numeric_limits<double>::infinity() : 0;
  return sign * value;
}

/// As Python's repr() has it: the shortest figures that give the number back; an exponent from 1e16 on and below 1e-4.
std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string scientific(buffer, end);
  const int exponent = std::stoi(scientific.substr(scientific.find('e') + 1));
  if (exponent < -4 || exponent >= 16) return scientific;
  const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed).ptr;
  std::string text(buffer, fixed);
  return text.find('.') == text.npos ? text + ".0" : text;
}

bool is_punctuation(char c) { return c > ' ' && c < 0x7F && !std::isalnum(static_cast<unsigned char>(c)); }

/// The words of `text`, a piece without spaces and hyphens of which each article standing alone is taken out.
void append_words(const std::string& text, std::vector<std::string>& words) {
  std::string word;  // up to white space
  const auto end_word = [&] {
    if (!word.empty()) words.push_back(std::move(word));
    word.clear();
  };
  std::size_t at = 0;
  while (at < text.size()) {
    std::size_t end = at;  // of a run of characters that are all of words or all of none
    while (end < text.size()) {
      const CodePoint c = decode_utf8(text, end);
      if (is_word_character(c.value)) {
        end += c.size;
        continue;
      }
      if (end > at) break;
      end += c.size;
      if (is_python_space(c.value))
        end_word();
      else
        word += text.substr(at, c.size);
      at = end;
    }
    const std::string_view run = std::string_view(text).substr(at, end - at);
    if (run == "a" || run == "an" || run == "the")
      end_word();
    else
      word += run;
    at = end;
  }
  end_word();
}

/// The words of an answer in their order, normalised.
std::vector<std::string> normalized_words(std::string_view answer) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at <= answer.size();) {
    const std::size_t end = std::min(answer.find_first_of(" -", at), answer.size());
    std::string token = to_lower(answer.substr(at, end - at));
    if (!read_float(token)) std::erase_if(token, is_punctuation);
    if (const auto number = read_float(token)) token = float_text(*number);
    append_words(token, words);
    at = end + 1;
  }
  return words;
}

// ---- Reading --------------------------------------------------------------------------------------------------------

using Json = nlohmann::json;
using Spans = std::vector<std::string>;
constexpr std::uint64_t kExamples = 0xE4A;  // purpose of draws

/// The parts of `text` between bars, trimmed, without those that say nothing.
Spans split_bars(std::string_view text) {
  Spans parts;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find('|', at), text.size());
    if (const std::string_view part = trim(text.substr(at, end - at)); !part.empty()) parts.emplace_back(part);
    at = end + 1;
  }
  return parts;
}

std::string text_in(const Json& object, const char* key) {
  const Json value = object.is_object() ? object.value(key, Json()) : Json();
  return value.is_string() ? value.get<std::string>() : value.is_number() ? value.dump() : std::string();
}

Spans texts_of(const Json& list) {
  Spans texts;
  for (const Json& each : list.is_array() ? list : Json::array())
    if (each.is_string()) texts.push_back(each.get<std::string>());
  return texts;
}

/// An annotator's answer, which is a number, spans or a date.
Spans spans_of(const Json& answer) {
  if (const std::string number = text_in(answer, "number"); !number.empty()) return {number};
  if (Spans spans = texts_of(answer.value("spans", Json())); !spans.empty()) return spans;
  const Json date = answer.value("date", Json());
  std::string text;
  for (const char* part : {"day", "month", "year"})
    if (const std::string word = text_in(date, part); !word.empty()) (text += text.empty() ? "" : " ") += word;
  return text.empty() ? Spans() : Spans{text};
}

struct DropQuestion {
  std::string text;               // the passage and the question
  std::vector<Spans> references;  // each of them is right
};

/// Of simple-evals: context and ref_text, or in examples completion; of the owners' own: answer and validated_answers,
/// which as columns are lists; of ucinlp/drop: answers_spans, where all annotators' spans are in one list, so that each
/// of them alone and all together count as right.
DropQuestion read_question(const JsonReader& line) {
  DropQuestion question;
  const auto add = [&](Spans spans) {
    if (!spans.empty()) question.references.push_back(std::move(spans));
  };
  if (!line.optional("context").is_null()) {
    question.text = line.string("context");
    if (line.optional("ref_text").is_null())
      add({line.string("completion")});
    else
      for (const std::string& each : split_bars(line.string("ref_text"))) add({each});
  } else {
    question.text = "Passage: " + line.string("passage") + "\nQuestion: " + line.string("question") + "\nAnswer:";
    if (const Json& all = line.optional("answers_spans"); all.is_object()) {
      Spans spans = texts_of(all.value("spans", Json())), distinct;
      for (const std::string& each : spans)
        if (std::find(distinct.begin(), distinct.end(), each) == distinct.end()) distinct.push_back(each);
      for (const std::string& each : distinct) add({each});
      if (distinct.size() > 1) add(distinct);
    } else {
      if (!line.required("answer").is_object()) line.refuse("answer", "an object with number, spans or date");
      add(spans_of(line.required("answer")));
      const Json& more = line.optional("validated_answers");
      const Json columns = more.is_object() ? more.value("number", Json()) : Json();
      for (std::size_t i = 0; i < columns.size(); ++i) {
        Json row = Json::object();
        for (const auto& [key, column] : more.items())
          if (column.is_array() && i < column.size()) row[key] = column[i];
        add(spans_of(row));
      }
      for (const Json& each : more.is_array() ? more : Json::array())
        if (each.is_object()) add(spans_of(each));
    }
  }
  if (question.references.empty()) line.refuse("answer", "an answer that says something");
  return question;
}

// ---- Figures --------------------------------------------------------------------------------------------------------

double overlap(const Bag& predicted, const Bag& reference) {
  Bag numbers;
  double shared = 0;
  bool met = false;
  for (const std::string& word : reference) {
    const bool both = predicted.contains(word);
    shared += both;
    if (!read_float(word)) continue;
    numbers.insert(word);
    met = met || both;
  }
  if (!numbers.empty() && !met) return 0;
  const double precision = predicted.empty() ? 1 : shared / static_cast<double>(predicted.size());
  const double recall = reference.empty() ? 1 : shared / static_cast<double>(reference.size());
  return precision + recall > 0 ? 100 * (2 * precision * recall) / (precision + recall) : 0;
}

/// The largest sum of scores [rows, columns] with one column at most for each row and one row for each column: the
/// Hungarian method (Kuhn, 1955) with potentials, rows <= columns.
double best_assignment(const std::vector<std::vector<double>>& scores) {
  const std::size_t rows = scores.size(), columns = rows == 0 ? 0 : scores[0].size();
  std::vector<double> row_price(rows + 1), column_price(columns + 1);
  std::vector<std::size_t> row_of(columns + 1);  // counted from 1; 0: free
  for (std::size_t row = 1; row <= rows; ++row) {
    std::vector<double> slack(columns + 1, std::numeric_limits<double>::infinity());
    std::vector<std::size_t> from(columns + 1);
    std::vector<bool> used(columns + 1);
    std::size_t column = 0;
    row_of[0] = row;
    while (row_of[column] != 0) {
      used[column] = true;
      const std::size_t current = row_of[column];
      std::size_t next = 0;
      double least = std::numeric_limits<double>::infinity();
      for (std::size_t j = 1; j <= columns; ++j) {
        if (used[j]) continue;
        const double reduced = -scores[current - 1][j - 1] - row_price[current] - column_price[j];
        if (reduced < slack[j]) slack[j] = reduced, from[j] = column;
        if (slack[j] < least) least = slack[j], next = j;
      }
      for (std::size_t j = 0; j <= columns; ++j) {
        if (used[j])
          row_price[row_of[j]] += least, column_price[j] -= least;
        else
          slack[j] -= least;
      }
      column = next;
    }
    for (; column != 0; column = from[column]) row_of[column] = row_of[from[column]];
  }
  double sum = 0;
  for (std::size_t j = 1; j <= columns; ++j)
    if (row_of[j] != 0) sum += scores[row_of[j] - 1][j - 1];
  return sum;
}

}  // namespace

DropScore drop_score(const std::vector<std::string>& predicted, const std::vector<std::string>& reference) {
  using Words = std::vector<std::vector<std::string>>;
  const auto normalize = [](const std::vector<std::string>& answers) {
    Words spans;
    for (const std::string& each : answers) spans.push_back(normalized_words(each));
    return spans;
  };
  const Words given = normalize(predicted), wanted = normalize(reference);
  if (given.empty() || wanted.empty()) return {};
  DropScore score;
  const bool same = std::set(given.begin(), given.end()) == std::set(wanted.begin(), wanted.end());
  score.exact = same && given.size() == wanted.size() ? 100 : 0;

  const bool turned = wanted.size() > given.size();
  const Words &few = turned ? given : wanted, &many = turned ? wanted : given;
  std::vector<std::vector<double>> scores(few.size(), std::vector<double>(many.size()));
  for (std::size_t i = 0; i < few.size(); ++i)
    for (std::size_t j = 0; j < many.size(); ++j) {
      const Bag a(few[i].begin(), few[i].end()), b(many[j].begin(), many[j].end());
      scores[i][j] = turned ? overlap(a, b) : overlap(b, a);
    }
  score.f1 = std::nearbyint(best_assignment(scores) / static_cast<double>(many.size()) * 100) / 100;
  return score;
}

std::vector<Json> unfold_drop(const Json& published) {
  std::vector<Json> lines;
  if (!published.is_object()) return lines;
  for (const auto& [id, section] : published.items()) {
    const Json pairs = section.is_object() ? section.value("qa_pairs", Json()) : Json();
    if (!pairs.is_array() || !section.contains("passage")) return {};
    for (Json pair : pairs) {
      if (!pair.is_object()) return {};
      pair["passage"] = section["passage"];
      lines.push_back(std::move(pair));
    }
  }
  return lines;
}

bool read_drop(const JsonReader& line, Reading& reading) {
  constexpr std::size_t kShown = 3;
  DropQuestion question = read_question(line);
  reading.question = std::move(question.text);
  reading.problem.task.answer = Json(question.references).dump(-1, ' ', false, Json::error_handler_t::replace);
  if (const std::string id = text_in(line.object(), "query_id"); !id.empty()) reading.problem.task.id = id;
  const auto& beside = *reading.beside;
  if (beside.empty() || beside[0].size() < kShown)
    throw Error("benchmark", reading.source->file.string(),
                ": expected a file beside with at least 3 examples, such as DROP's training part, got ",
                beside.empty() ? "none" : "fewer");
  Draws draws{kExamples, reading.seed, hash_of(reading.question)};
  std::vector<std::size_t> shown;
  while (shown.size() < kShown) {
    const std::size_t drawn = draws.below(beside[0].size());
    if (std::find(shown.begin(), shown.end(), drawn) != shown.end()) continue;
    shown.push_back(drawn);
    const DropQuestion example =
        read_question(JsonReader(beside[0][drawn], reading.source->beside[0].string(), "benchmark"));
    reading.examples += "---\n" + example.text + " ";
    for (const std::string& span : example.references[0])
      reading.examples += (&span == example.references[0].data() ? "" : " | ") + span;
    reading.examples += "\n\n";
  }
  return true;
}

void score_drop(const Scored& scored, Mark& mark) {
  constexpr std::size_t kMostSpans = 30;  // no reference has as many, and aligning takes the cube of the time
  mark.answer = trim(line_after_answer(scored.shown).value_or(scored.shown));
  mark.unreadable = mark.answer.empty();
  Spans said = split_bars(mark.answer);
  if (said.empty() || said.size() > kMostSpans) said = {mark.answer};
  DropScore best;
  for (const Json& reference : Json::parse(scored.problem.task.answer)) {
    const DropScore score = drop_score(said, texts_of(reference));
    best.exact = std::max(best.exact, score.exact), best.f1 = std::max(best.f1, score.f1);
  }
  mark.values["f1"] = best.f1 / 100;
  mark.values["em"] = mark.values["right"] = best.exact / 100;
}

}  // namespace grpo
