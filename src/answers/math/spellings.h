// How signs, functions and units are written: LaTeX commands, plain words, Unicode characters.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "answers/math/lexer.h"

namespace grpo::math {

struct Spelling {
  std::string_view written;
  Sign sign;
  std::string_view text = "";
  Function function = Function::none;
};

// clang-format off
inline constexpr auto kCommands = std::to_array<Spelling>({
    {"Delta", Sign::symbol, "Delta"}, {"Im", Sign::function, "Im", Function::imaginary_part},
    {"Longrightarrow", Sign::implies}, {"Omega", Sign::symbol, "Omega"},
    {"Re", Sign::function, "Re", Function::real_part}, {"Rightarrow", Sign::implies}, {"Vert", Sign::bar},
    {"approx", Sign::relation, "~"}, {"arccos", Sign::function, "arccos", Function::arccos},
    {"arccot", Sign::function, "cot^-1", Function::arctan}, {"arcsin", Sign::function, "arcsin", Function::arcsin},
    {"arctan", Sign::function, "arctan", Function::arctan}, {"ast", Sign::times}, {"backslash", Sign::without},
    {"bar", Sign::overline}, {"bigcap", Sign::intersect}, {"bigcup", Sign::unite}, {"binom", Sign::binomial},
    {"bmod", Sign::relation, "m"}, {"bullet", Sign::times}, {"cap", Sign::intersect}, {"cdot", Sign::times},
    {"cdots", Sign::symbol, "..."}, {"centerdot", Sign::times}, {"cfrac", Sign::fraction},
    {"choose", Sign::over, "", Function::binomial}, {"circ", Sign::degree}, {"colon", Sign::colon},
    {"cong", Sign::relation, "~"}, {"cos", Sign::function, "cos", Function::cos},
    {"cosh", Sign::function, "cosh", Function::cosh}, {"cot", Sign::function, "cot", Function::cot}, {"cr", Sign::row},
    {"csc", Sign::function, "csc", Function::csc}, {"cup", Sign::unite}, {"dbinom", Sign::binomial},
    {"degree", Sign::degree}, {"dfrac", Sign::fraction}, {"div", Sign::divide}, {"dollar", Sign::currency, "$"},
    {"dot", Sign::overline, "dot"}, {"dots", Sign::symbol, "..."}, {"dotsc", Sign::symbol, "..."},
    {"emptyset", Sign::symbol, "\u2205"}, {"equiv", Sign::relation, "q"}, {"euro", Sign::currency, "€"},
    {"exp", Sign::function, "exp", Function::exp}, {"frac", Sign::fraction},
    {"gcd", Sign::function, "gcd", Function::gcd}, {"ge", Sign::relation, "g"}, {"geq", Sign::relation, "g"},
    {"geqslant", Sign::relation, "g"}, {"gt", Sign::relation, ">"}, {"iff", Sign::implies}, {"implies", Sign::implies},
    {"in", Sign::relation, "e"}, {"infty", Sign::infinity}, {"lVert", Sign::bar}, {"land", Sign::and_or, "&"},
    {"langle", Sign::open_angle}, {"lbrace", Sign::open_set}, {"lbrack", Sign::open_square},
    {"lceil", Sign::open_ceiling}, {"lcm", Sign::function, "lcm", Function::lcm}, {"ldots", Sign::symbol, "..."},
    {"le", Sign::relation, "l"}, {"leq", Sign::relation, "l"}, {"leqslant", Sign::relation, "l"},
    {"lfloor", Sign::open_floor}, {"lg", Sign::function, "lg", Function::log},
    {"ln", Sign::function, "ln", Function::ln}, {"log", Sign::function, "log", Function::log},
    {"lor", Sign::and_or, "|"},
    {"lt", Sign::relation, "<"}, {"lvert", Sign::bar}, {"max", Sign::function, "max", Function::maximum},
    {"mid", Sign::bar}, {"min", Sign::function, "min", Function::minimum}, {"mod", Sign::relation, "m"},
    {"mp", Sign::minus_plus}, {"ne", Sign::relation, "#"}, {"neq", Sign::relation, "#"},
    {"notin", Sign::relation, "n"}, {"over", Sign::over}, {"overline", Sign::overline},
    {"parallel", Sign::relation, "P"}, {"percent", Sign::percent}, {"perp", Sign::relation, "T"}, {"pi", Sign::pi},
    {"pm", Sign::plus_minus}, {"pmod", Sign::relation, "m"}, {"pounds", Sign::currency, "£"}, {"prime", Sign::prime},
    {"prod", Sign::fold, "prod", Function::product}, {"rVert", Sign::bar}, {"rangle", Sign::close_angle},
    {"rbrace", Sign::close_set}, {"rbrack", Sign::close_square}, {"rceil", Sign::close_ceiling},
    {"rfloor", Sign::close_floor}, {"rightarrow", Sign::implies}, {"rvert", Sign::bar},
    {"sec", Sign::function, "sec", Function::sec}, {"setminus", Sign::without}, {"sim", Sign::relation, "s"},
    {"sin", Sign::function, "sin", Function::sin}, {"sinh", Sign::function, "sinh", Function::sinh},
    {"sqrt", Sign::square_root}, {"subset", Sign::relation, "c"}, {"subseteq", Sign::relation, "C"},
    {"sum", Sign::fold, "sum", Function::sum}, {"supset", Sign::relation, "d"}, {"supseteq", Sign::relation, "D"},
    {"tan", Sign::function, "tan", Function::tan}, {"tanh", Sign::function, "tanh", Function::tanh},
    {"tbinom", Sign::binomial}, {"tfrac", Sign::fraction}, {"tg", Sign::function, "tan", Function::tan},
    {"times", Sign::times}, {"to", Sign::implies}, {"varnothing", Sign::symbol, "\u2205"}, {"vee", Sign::and_or, "|"},
    {"vert", Sign::bar}, {"wedge", Sign::and_or, "&"},
});

inline constexpr auto kWords = std::to_array<Spelling>({
    {"AND", Sign::and_or, "&"}, {"Infinity", Sign::infinity}, {"OR", Sign::and_or, "|"}, {"Pi", Sign::pi},
    {"abs", Sign::function, "abs", Function::absolute}, {"acos", Sign::function, "arccos", Function::arccos},
    {"and", Sign::and_or, "&"}, {"arccos", Sign::function, "arccos", Function::arccos},
    {"arccot", Sign::function, "cot^-1", Function::arctan}, {"arcsin", Sign::function, "arcsin", Function::arcsin},
    {"arctan", Sign::function, "arctan", Function::arctan}, {"asin", Sign::function, "arcsin", Function::arcsin},
    {"atan", Sign::function, "arctan", Function::arctan}, {"cbrt", Sign::square_root, "3"},
    {"ceil", Sign::function, "ceil", Function::ceiling}, {"cos", Sign::function, "cos", Function::cos},
    {"cosh", Sign::function, "cosh", Function::cosh}, {"cot", Sign::function, "cot", Function::cot},
    {"csc", Sign::function, "csc", Function::csc}, {"deg", Sign::degree}, {"degree", Sign::degree},
    {"degrees", Sign::degree}, {"exp", Sign::function, "exp", Function::exp},
    {"floor", Sign::function, "floor", Function::floor}, {"gcd", Sign::function, "gcd", Function::gcd},
    {"inf", Sign::infinity}, {"infinity", Sign::infinity}, {"infty", Sign::infinity},
    {"lcm", Sign::function, "lcm", Function::lcm}, {"lg", Sign::function, "lg", Function::log},
    {"ln", Sign::function, "ln", Function::ln}, {"log", Sign::function, "log", Function::log},
    {"max", Sign::function, "max", Function::maximum}, {"min", Sign::function, "min", Function::minimum},
    {"mod", Sign::relation, "m"}, {"oo", Sign::infinity}, {"or", Sign::and_or, "|"}, {"pct", Sign::percent},
    {"percent", Sign::percent}, {"pi", Sign::pi}, {"sec", Sign::function, "sec", Function::sec},
    {"sin", Sign::function, "sin", Function::sin}, {"sinh", Sign::function, "sinh", Function::sinh},
    {"sqrt", Sign::square_root}, {"tan", Sign::function, "tan", Function::tan},
    {"tanh", Sign::function, "tanh", Function::tanh}, {"times", Sign::times}, {"union", Sign::unite},
});

// In the order of their bytes, as all three.
inline constexpr auto kCharacters = std::to_array<Spelling>({
    {"\u00A2", Sign::unit, "cent"}, {"\u00A3", Sign::currency, "£"}, {"\u00A5", Sign::currency, "¥"},
    {"\u00AC", Sign::word, "not"}, {"\u00B0", Sign::degree}, {"\u00B1", Sign::plus_minus},
    {"\u00B2", Sign::power, "2"}, {"\u00B3", Sign::power, "3"}, {"\u00B7", Sign::times}, {"\u00B9", Sign::power, "1"},
    {"\u00BA", Sign::degree}, {"\u00BC", Sign::fraction, "14"}, {"\u00BD", Sign::fraction, "12"},
    {"\u00BE", Sign::fraction, "34"}, {"\u00D7", Sign::times}, {"\u00F7", Sign::divide},
    {"\u0394", Sign::symbol, "Delta"}, {"\u03A9", Sign::symbol, "Omega"}, {"\u03B1", Sign::symbol, "\\alpha"},
    {"\u03B2", Sign::symbol, "\\beta"}, {"\u03B3", Sign::symbol, "\\gamma"}, {"\u03B4", Sign::symbol, "\\delta"},
    {"\u03B8", Sign::symbol, "\\theta"}, {"\u03BB", Sign::symbol, "\\lambda"}, {"\u03BC", Sign::symbol, "\\mu"},
    {"\u03C0", Sign::pi}, {"\u03C1", Sign::symbol, "\\rho"}, {"\u03C3", Sign::symbol, "\\sigma"},
    {"\u03C4", Sign::symbol, "\\tau"}, {"\u03C6", Sign::symbol, "\\phi"}, {"\u03C9", Sign::symbol, "\\omega"},
    {"\u2010", Sign::minus}, {"\u2011", Sign::minus}, {"\u2012", Sign::minus}, {"\u2013", Sign::minus},
    {"\u2014", Sign::minus}, {"\u2026", Sign::symbol, "..."}, {"\u2032", Sign::prime}, {"\u2044", Sign::divide},
    {"\u2070", Sign::power, "0"}, {"\u2074", Sign::power, "4"}, {"\u2075", Sign::power, "5"},
    {"\u2076", Sign::power, "6"}, {"\u2077", Sign::power, "7"}, {"\u2078", Sign::power, "8"},
    {"\u2079", Sign::power, "9"}, {"\u207B", Sign::power, "-"}, {"\u2080", Sign::subscript, "0"},
    {"\u2081", Sign::subscript, "1"},
    {"\u2082", Sign::subscript, "2"}, {"\u2083", Sign::subscript, "3"}, {"\u2084", Sign::subscript, "4"},
    {"\u2085", Sign::subscript, "5"}, {"\u2086", Sign::subscript, "6"}, {"\u2087", Sign::subscript, "7"},
    {"\u2088", Sign::subscript, "8"}, {"\u2089", Sign::subscript, "9"}, {"\u20A9", Sign::currency, "₩"},
    {"\u20AC", Sign::currency, "€"}, {"\u20B9", Sign::currency, "₹"}, {"\u2102", Sign::symbol, "C"},
    {"\u2103", Sign::unit, "°C"}, {"\u2109", Sign::unit, "°F"},
    {"\u2115", Sign::symbol, "N"}, {"\u211A", Sign::symbol, "Q"}, {"\u211D", Sign::symbol, "R"},
    {"\u2124", Sign::symbol, "Z"}, {"\u2153", Sign::fraction, "13"}, {"\u2154", Sign::fraction, "23"},
    {"\u2155", Sign::fraction, "15"}, {"\u2156", Sign::fraction, "25"}, {"\u2157", Sign::fraction, "35"},
    {"\u2158", Sign::fraction, "45"}, {"\u2159", Sign::fraction, "16"}, {"\u215A", Sign::fraction, "56"},
    {"\u215B", Sign::fraction, "18"}, {"\u215C", Sign::fraction, "38"}, {"\u215D", Sign::fraction, "58"},
    {"\u215E", Sign::fraction, "78"}, {"\u2190", Sign::word, "<-"}, {"\u2192", Sign::implies},
    {"\u21D2", Sign::implies}, {"\u2205", Sign::symbol, "\u2205"}, {"\u2208", Sign::relation, "e"},
    {"\u2212", Sign::minus}, {"\u2213", Sign::minus_plus}, {"\u2215", Sign::divide}, {"\u2216", Sign::without},
    {"\u2217", Sign::times}, {"\u2218", Sign::degree}, {"\u2219", Sign::times}, {"\u221A", Sign::square_root},
    {"\u221B", Sign::square_root, "3"}, {"\u221E", Sign::infinity}, {"\u2220", Sign::symbol, "\\angle"},
    {"\u2225", Sign::relation, "P"}, {"\u2227", Sign::and_or, "&"}, {"\u2228", Sign::and_or, "|"},
    {"\u2229", Sign::intersect},
    {"\u222A", Sign::unite}, {"\u2248", Sign::relation, "~"}, {"\u2260", Sign::relation, "#"},
    {"\u2261", Sign::relation, "q"}, {"\u2264", Sign::relation, "l"}, {"\u2265", Sign::relation, "g"},
    {"\u22A5", Sign::relation, "T"}, {"\u22C5", Sign::times}, {"\u2308", Sign::open_ceiling},
    {"\u2309", Sign::close_ceiling}, {"\u230A", Sign::open_floor}, {"\u230B", Sign::close_floor},
    {"\u25B3", Sign::symbol, "\\triangle"}, {"\u27E8", Sign::open_angle}, {"\u27E9", Sign::close_angle},
    {"\u2A7D", Sign::relation, "l"}, {"\u2A7E", Sign::relation, "g"}, {"\u3001", Sign::comma},
    {"\u3002", Sign::word, "."},
});

inline constexpr std::pair<char, Sign> kMarks[] = {
    {'(', Sign::open_round}, {')', Sign::close_round}, {'[', Sign::open_square}, {']', Sign::close_square},
    {'{', Sign::open_brace}, {'}', Sign::close_brace}, {'|', Sign::bar}, {',', Sign::comma}, {';', Sign::semicolon},
    {':', Sign::colon}, {'+', Sign::plus}, {'-', Sign::minus}, {'*', Sign::times}, {'/', Sign::divide},
    {'^', Sign::power}, {'_', Sign::subscript}, {'!', Sign::bang}, {'%', Sign::percent}, {'&', Sign::column},
    {'\'', Sign::prime}};

/// Units: every spelling between spaces, and the one that stands for all. Areas and volumes are powers of lengths.
struct Unit {
  std::string_view spellings, name;
};
inline constexpr auto kUnits = std::to_array<Unit>({
    {" mm millimeter millimeters millimetre millimetres ", "mm"},
    {" cm centimeter centimeters centimetre centimetres ", "cm"}, {" m meter meters metre metres ", "m"},
    {" km kilometer kilometers kilometre kilometres ", "km"}, {" inch inches ", "inch"}, {" ft foot feet ", "ft"},
    {" yd yard yards ", "yd"}, {" mi mile miles ", "mi"}, {" mg milligram milligrams ", "mg"}, {" g gram grams ", "g"},
    {" kg kilogram kilograms ", "kg"}, {" lb lbs ", "lb"}, {" pound pounds ", "pound"}, {" oz ounce ounces ", "oz"},
    {" ton tons tonne tonnes ", "t"}, {" ms millisecond milliseconds ", "ms"}, {" s sec second seconds ", "s"},
    {" min minute minutes ", "min"}, {" h hr hrs hour hours ", "h"}, {" day days ", "day"}, {" week weeks ", "week"},
    {" month months ", "month"}, {" year years yr yrs ", "year"}, {" ml mL milliliter milliliters ", "ml"},
    {" L l liter liters litre litres ", "l"}, {" mph ", "mph"}, {" kph ", "kph"}, {" Hz hertz ", "Hz"},
    {" N newton newtons ", "N"}, {" J joule joules ", "J"}, {" W watt watts ", "W"}, {" V volt volts ", "V"},
    {" A amp amps ", "A"}, {" K kelvin ", "K"}, {" Pa pascal pascals ", "Pa"},
    {" nm nanometer nanometers nanometre nanometres ", "nm"}, {" dm decimeter decimeters decimetre decimetres ", "dm"},
    {" ha hectare hectares ", "ha"}, {" acre acres ", "acre"}, {" gal gallon gallons ", "gal"},
    {" quart quarts ", "quart"}, {" pint pints ", "pint"}, {" kJ kilojoule kilojoules ", "kJ"},
    {" kW kilowatt kilowatts ", "kW"}, {" kWh ", "kWh"}, {" mol mole moles ", "mol"}, {" cal calorie calories ", "cal"},
    {" kcal kilocalorie kilocalories ", "kcal"}, {" kPa ", "kPa"}, {" MPa ", "MPa"}, {" kN ", "kN"}, {" kV ", "kV"},
    {" MW ", "MW"}, {" rpm ", "rpm"}, {" kHz ", "kHz"}, {" MHz ", "MHz"}, {" GHz ", "GHz"},
    {" Celsius celsius ℃ ", "°C"}, {" Fahrenheit fahrenheit ℉ ", "°F"}, {" dollar dollars USD ", "$"},
    {" euro euros EUR ", "€"}, {" won KRW 원 ", "₩"}, {" GBP ", "£"}, {" yen JPY ", "yen"}, {" yuan CNY RMB ", "yuan"},
    {" rupee rupees INR ", "₹"}, {" cent cents ", "cent"}, {" unit units ", "unit"}, {" way ways ", "way"},
    {" point points ", "point"}, {" people persons 명 人 ", "person"}, {" 개 个 個 ", "piece"},
    {" rad radian radians ", "rad"},
});
// clang-format on

/// Commands whose braces hold words rather than mathematics.
inline constexpr std::string_view kTextCommands =
    " text textbf textit textrm textnormal textsf texttt mbox hbox mathrm mathbf operatorname mathit mathsf mathtt "
    "boldsymbol bm mathcal ";
/// Commands of siunitx, the package for numbers and units, and what its names of units say.
inline constexpr std::string_view kSiunitx = " SI qty num unit si ang ";
inline constexpr std::string_view kPrefixes = " nano micro milli centi deci kilo mega giga ";
inline constexpr std::pair<std::string_view, std::string_view> kUnitWords[] = {
    {"per", "/"}, {"squared", "^2"}, {"cubed", "^3"}, {"percent", "%"}, {"degree", "°"}, {"degreeCelsius", "℃"}};
/// Commands that say how a thing looks, not what it is.
inline constexpr std::string_view kIgnored =
    " left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr middle displaystyle textstyle "
    "scriptstyle limits nolimits quad qquad thinspace medspace enspace mathbb vec hat hline boxed fbox phantom "
    "mathopen mathclose nonumber hspace vspace Large large overrightarrow bf rm it sf tt Bbb mathop strut notag ";
/// Short words that are no products of variables.
inline constexpr std::string_view kShortWords =
    " no yes odd per is of if do to in on it at by as an the not all any so we he she one two six ten red tie win ";

inline bool is_among(std::string_view words, std::string_view word) {
  if (word.empty() || word.find(' ') != word.npos) return false;
  for (std::size_t at = words.find(word); at != words.npos; at = words.find(word, at + 1))
    if (words[at - 1] == ' ' && words[at + word.size()] == ' ') return true;
  return false;
}
inline bool is_text_command(std::string_view name) { return is_among(kTextCommands, name); }
inline bool is_ignored(std::string_view name) { return is_among(kIgnored, name); }
inline bool is_word(std::string_view word) { return is_among(kShortWords, word); }

template <class Table>
const Spelling* find_spelling(const Table& table, std::string_view written) {
  const auto found =
      std::lower_bound(table.begin(), table.end(), written,
                       [](const Spelling& each, std::string_view wanted) { return each.written < wanted; });
  return found != table.end() && found->written == written ? &*found : nullptr;
}

template <class Table>
constexpr bool is_ascending(const Table& table) {
  return std::is_sorted(table.begin(), table.end(),
                        [](const Spelling& a, const Spelling& b) { return a.written < b.written; });
}
static_assert(is_ascending(kCommands) && is_ascending(kWords) && is_ascending(kCharacters));

}  // namespace grpo::math
