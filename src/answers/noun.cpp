// What is counted: the words behind a number that name it, and those that make another number of it.
#include <algorithm>

#include "answers/math/spellings.h"
#include "answers/prose.h"
#include "answers/reading.h"
#include "text/ascii.h"
#include "text/utf8.h"

namespace grpo {
namespace {

constexpr std::size_t kMaxWords = 12;  // of a noun and what belongs to it

bool is_byte_of_letter(char c) { return is_letter(c) || !is_ascii(c); }

/// Words that belong to the number: 17 thousand, 17 squared, 17 or 18, 17 is too small.
constexpr std::string_view kFactors =
    // numbers, parts and multiples
    " zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred hundreds thousand thousands "
    "million "
    "millions billion billions trillion trillions quadrillion tens dozen dozens score gross grand lakh lakhs "
    "crore crores "
    "mil mln mio bn kilo mega giga half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths "
    "seventh sevenths eighth eighths ninth ninths tenth tenths eleventh twelfth twelfths sixteenths twentieth "
    "twentieths "
    "hundredth hundredths thousandth thousandths millionth millionths ones twos threes fours fives sixes sevens eights "
    "nines percentage percentages permille basis twice double doubled triple tripled halved myriad "
    // operations
    "squared cubed factorial inverse reciprocal negative minus plus times over divided multiplied mod modulo "
    "choose sqrt "
    "root power base log ln sin cos tan exp gcd lcm max abs raised exponent negated inverted "
    // digits
    "repeating recurring repeated "
    // other numbers, bounds and times
    "or and less fewer fewest comes came goes went close off far to through until till nor than least most "
    "maximum minimum past below under above upward upwards "
    "onward onwards away short ahead behind greater larger smaller higher lower zero versus vs but except "
    "without out too "
    // sentences
    "is are was were be been being has have had can cannot could may might must will would shall should do does did "
    "equals gives makes means becomes not no never neither none maybe perhaps guess wrong incorrect false impossible "
    "unlikely fails works seems if because since so which that ist sind est sont es son nicht kein keine falsch "
    "faux pas "
    // the same in other languages
    "mille millones millionen milliarden tausend hundert dutzend docena docenas douzaine douzaines prozent procent "
    "pourcent ciento porciento cento percento medio media demi halb und oder ou ";
/// Words that the reader of expressions knows: 50 percent is 1/2, 90 degrees π/2.
constexpr std::string_view kKnown = " percent percents pct degree degrees deg radians min ";
/// Behind "in", they say in which base a number is written.
constexpr std::string_view kBases = " unary binary ternary octal hex hexadecimal ";
/// Two letters that are a word; others may be a product of variables.
constexpr std::string_view kTwoLetters =
    " of in on at sq cu an us we he by up my kg km cm mm dm mg ml cl dl ft lb oz hr pm am tv pc gb mb tb kb mi yd ha ";

/// What may stand behind a noun and adds nothing to it.
constexpr std::string_view kSums[] = {" in total", " in all", " altogether", " total", " overall", " together"};

/// What makes a sentence of a noun and adds nothing to it.
constexpr std::string_view kRemainders[] = {" is left", " are left", " was left", " were left"};

/// 17 and a half, 17 to 20, 17 or 18, 一 … 九 of 17元五角.
constexpr std::string_view kEasternFactors[] = {
    "十",   "百",   "千",   "万",   "萬",   "亿",   "億",   "兆",   "半",   "多", "分之", "之一", "第",   "左右", "以上",
    "以下", "以内", "之间", "至",   "到",   "或",   "和",   "与",   "及",   "负", "加",   "减",   "乘",   "除",   "次方",
    "平方", "立方", "根号", "开方", "百分", "不",   "一",   "二",   "三",   "四",   "五", "六",   "七",   "八",   "九",   "零",
    "两",   "未満", "番",   "は",   "是",   "为",   "吗",   "也",   "か",   "이상", "이하", "미만", "초과", "또는",
    "퍼센트", "제곱", "번째", "아니", "아닙", "보다", "절반", "틀렸", "틀린", "틀립"};
/// Directly behind the number: 17打, 17만 원, 17번째, 17분의 1.
constexpr std::string_view kEasternScales[] = {"打", "折", "成", "割", "几", "余",   "만", "억", "천", "백",
                                               "십", "조", "반", "여", "째", "프로", "분의", "배수", "의", "的", "の"};
constexpr std::string_view kCyrillicFactors[] = {"тысяч", "миллион", "миллиард", "процент", "дюжин", "половин", "сот",
                                                 "или",   "и",       "не",       "нет",     "неверн", "неправильн"};
/// Units that are written with a character of a factor.
constexpr std::string_view kEasternUnits[] = {"平方千米", "平方公里", "平方分米", "平方厘米", "平方米", "平方毫米",
                                              "立方分米", "立方厘米", "立方米",   "千米",     "千克",   "千瓦时",
                                              "千瓦",     "千卡",     "平方メートル"};

/// Whether what follows a number is a word of a script that has words, and not one that belongs to the number.
bool names_something(std::string_view word) {
  if (word.size() == 1) return word == "a" || word == "A";
  if (word.size() == 2) return math::is_among(kTwoLetters, word);
  if (word.size() > 3) return true;
  const bool run = word[1] == word[0] + 1 && word[2] == word[1] + 1;  // abc
  return !run && word.find_first_of("aeiou") != word.npos;
}

Counted::Kind kind_of_foreign(std::string_view word) {
  const CodePoint first = decode_utf8(word, 0);
  const char32_t c = first.value;
  if (c >= 0x400 && c < 0x530) {
    for (const std::string_view each : kCyrillicFactors)
      if (word == each || (each.size() > 4 && word.starts_with(each))) return Counted::factor;
    return Counted::noun;
  }
  if (is_latin(word, 0)) return Counted::noun;  // Bücher, Äpfel
  if (c < 0x3040 || c > 0xD7A3) return Counted::none;
  for (const std::string_view each : kEasternScales)
    if (word.starts_with(each)) return Counted::factor;
  std::string rest(word);
  for (const std::string_view unit : kEasternUnits)
    if (const std::size_t at = rest.find(unit); at != rest.npos) rest.erase(at, unit.size());
  for (const std::string_view each : kEasternFactors)
    if (rest.find(each) != rest.npos) return Counted::factor;
  return Counted::noun;
}

}  // namespace

std::optional<std::string> words_of(std::string_view text) {
  std::string plain;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '\\') {
      std::size_t end = at + 1;
      while (end < text.size() && is_letter(text[end])) ++end;
      const std::string_view name = text.substr(at + 1, end - at - 1);
      if (name.empty()) {
        const char next = at + 1 < text.size() ? text[at + 1] : ' ';
        if (std::string_view(" ,;:!").find(next) != std::string_view::npos)
          plain += ' ';
        else
          plain += text.substr(at, 2);
        at += 2;
        continue;
      }
      if (math::is_text_command(name) && end < text.size() && text[end] == '{') {
        const auto body = braced_body(text, end);
        if (!body || body->find_first_of("{}\\$^_") != body->npos) return {};
        // The words of a text need no space in front: 17\text{apples}; 17\text{th} is no number of things.
        const std::string_view words = trim(*body);
        if (words.size() > 2 || body->starts_with(' ') || body->starts_with('~')) plain += ' ';
        for (const char each : words) plain += each == '~' ? ' ' : each;
        at = end + body->size() + 2;
        continue;
      }
      if (name == "quad" || name == "qquad") {
        plain += ' ';
        at = end;
        continue;
      }
      plain += text.substr(at, end - at);
      at = end;
      continue;
    }
    plain += c == '~' ? ' ' : c;
    ++at;
  }
  return plain;
}

Counted read_counted(std::string_view text) {
  if (text.empty() || is_digit(text.back())) return {};
  const auto plain = words_of(text);
  if (!plain) return {};
  std::string_view whole = trim(*plain);
  for (const std::string_view ending : kRemainders)
    if (whole.ends_with(ending)) whole.remove_suffix(ending.size());
  // The longest end of the text that is words.
  std::size_t start = whole.size();
  while (start > 0 && (is_byte_of_letter(whole[start - 1]) ||
                       std::string_view(" '/.()").find(whole[start - 1]) != std::string_view::npos))
    --start;
  // A command, a root or a constant is no word, and a number may end in a full stop.
  if (start == 0) return {};
  if (whole[start - 1] == '-' && start > 1 && is_letter(whole[start - 2])) return {};
  while (start < whole.size() && std::string_view(").").find(whole[start]) != std::string_view::npos) ++start;
  const char last = whole[start - 1];
  if (!is_digit(last) && std::string_view("})$].!").find(last) == std::string_view::npos) return {};
  const bool apart = start < whole.size() && (whole[start] == ' ' || whole[start] == '/' || last == '$');
  std::size_t at = start;
  while (at < whole.size() && (whole[at] == ' ' || whole[at] == '/')) ++at;
  if (at == whole.size()) return {};
  if (!apart && is_letter(whole[at])) return {};  // 17th, 17x

  Counted counted{Counted::noun, std::string(trim(whole.substr(0, start))), std::string(whole.substr(at))};
  std::size_t words = 0;
  bool after_per = false, after_in = false;
  for (bool first = true; at < whole.size(); first = false) {
    if (std::string_view(" '/.()").find(whole[at]) != std::string_view::npos) {
      ++at;
      continue;
    }
    std::size_t end = at;
    while (is_latin(whole, end)) end += is_ascii(whole[end]) ? 1 : 2;
    const bool foreign = end == at || !is_ascii(whole.substr(at, end - at));
    if (end == at)
      while (end < whole.size() && !is_ascii(whole[end]) && !is_latin(whole, end)) ++end;
    const std::string_view written = whole.substr(at, end - at);
    if (++words > kMaxWords) return {};
    if (foreign) {
      const Counted::Kind kind = kind_of_foreign(written);
      if (kind != Counted::noun) return {kind, "", ""};
    } else {
      const std::string word = lowered(written);
      if (math::is_among(kKnown, word)) return {};
      if ((word == "cent" && after_per) || (after_in && math::is_among(kBases, word))) return {Counted::factor, "", ""};
      after_per = word == "per", after_in = word == "in";
      const bool counts_times = word == "times" && skip_white_space(whole, end) == whole.size();  // 17 times
      if ((math::is_among(kFactors, word) && !counts_times) || word.ends_with("'t")) return {Counted::factor, "", ""};
      const bool capital = written.size() > 1 && is_upper(written[0]);  // 17 CDs, 17 Nobel prizes
      if (!names_something(word) && !(capital && (!first || written.ends_with('s')))) return {};
    }
    at = end;
  }
  for (const std::string_view sum : kSums)
    if (counted.what.ends_with(sum)) counted.what.resize(counted.what.size() - sum.size());
  return counted;
}

}  // namespace grpo
