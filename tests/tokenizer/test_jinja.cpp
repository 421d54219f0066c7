// Chat templates against what Jinja2 made of them, templates that are not understood, and templates that mean harm.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "costs.h"
#include "error_of.h"
#include "files.h"
#include "text/letter_case.h"
#include "tokenizer/jinja/jinja.h"

namespace grpo {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Json = nlohmann::ordered_json;

std::string render(const std::string& source, const Json& variables = Json::object()) {
  return Jinja(source, "t").render(variables);
}

std::string error_in(const std::string& source, const Json& variables = Json::object()) {
  return error_of([&] { render(source, variables); });
}

// ---- Against Jinja2 ----

const Json& language() {
  static const Json fixture = Json::parse(read_file(std::string(GRPO_FIXTURES) + "/chat_templates/language.json"));
  return fixture;
}

class Language : public ::testing::TestWithParam<std::string> {};
TEST_P(Language, is_what_jinja2_makes_of_it) {
  const Json& fixture = language();
  for (const Json& each : fixture["groups"][GetParam()]) {
    const auto source = each["template"].get<std::string>();
    if (each["text"].is_null())
      EXPECT_THAT(error_in(source, fixture["variables"]), StartsWith("[chat template] t:1: ")) << source;
    else
      EXPECT_EQ(render(source, fixture["variables"]), each["text"].get<std::string>()) << source;
  }
}
INSTANTIATE_TEST_SUITE_P(Groups, Language, ::testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const auto& [name, group] : language()["groups"].items()) names.push_back(name);
                           return names;
                         }()),
                         [](const auto& info) { return info.param; });

TEST(Jinja, may_be_rendered_from_several_threads) {
  const Jinja shared("{% macro m(x) %}{{ x|upper }}{% endmacro %}{% for c in l %}{{ m(c) }}{% endfor %}");
  std::vector<std::string> results(4);
  std::vector<std::thread> threads;
  for (std::string& result : results)
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) result = shared.render({{"l", {"a", "b"}}});
    });
  for (std::thread& each : threads) each.join();
  for (const std::string& result : results) EXPECT_EQ(result, "AB");
}

TEST(Jinja, carries_bytes_that_are_no_utf8_along) {
  EXPECT_EQ(render("{{ s }}{{ s|trim }}{{ s|upper }}{{ s|length }}{{ s[1] }}", {{"s", "a\xff\xe4\xb8"}}),
            "a\xff\xe4\xb8"
            "a\xff\xe4\xb8"
            "A\xff\xe4\xb8"
            "4\xff");
}

TEST(Jinja, trims_what_python_takes_for_white_space_and_no_more) {
  EXPECT_EQ(render("{{ s|trim }}", {{"s", "\u00A0\u3000\x1F\u200Bx\uFEFF\u2003"}}), "\u200Bx\uFEFF");
}

TEST(Jinja, knows_the_date) {
  EXPECT_THAT(render("{{ strftime_now('%d %b %Y') }}"), ::testing::MatchesRegex("[0-9]+ [A-Z][a-z]+ [0-9]+"));
  EXPECT_EQ(render("{{ strftime_now('') }}"), "");
}

// ---- What it does not know ----

struct Unknown {
  std::string source, error;
};

TEST(Jinja, names_what_it_does_not_know_when_it_is_parsed) {
  for (const auto& [source, error] : std::vector<Unknown>{
           {"\n{% include 'x' %}",
            "t:2: expected a tag that this library knows and that belongs here, got \"include\""},
           {"{% block x %}{% endblock %}", "got \"block\""},
           {"{% autoescape true %}{% endautoescape %}", "got \"autoescape\""},
           {"a\n{% raw %}a{% endrow %}", "t:2: expected {% endraw %} for the raw block of line 2"},
           {"{% fro x in y %}", "got \"fro\"; the nearest known is \"for\""},
           {"{% for x in y recursive %}{% endfor %}", "got \"recursive\""},
           {"{% set x | uper %}{% endset %}", "got \"uper\""},
           {"{% filter uper %}{% endfilter %}", "got \"uper\""},
           {"{% macro m() %}{{ kwargs }}{% endmacro %}", "got one that reads \"kwargs\""},
           {"a\n\n{{ x|tirm }}",
            "t:3: expected a filter that this library knows, got \"tirm\"; the nearest known is \"trim\""},
           {"{{ x|escape }}", "got \"escape\""},
           {"{{ x is strnig }}",
            "expected a test that this library knows, got \"strnig\"; the nearest known is \"string\""},
           {"{{ s.encode('utf8') }}", "expected a method that this library knows, got \"encode\""},
           {"{{ f(**x) }}", "got \"**\""},
           {"{{ 0x1F }}", "expected a number that this library knows, got 0x"},
           {"{{ '\\N{DASH}' }}", "got \\N"},
           {"{{ 99999999999999999999 }}", "expected whole numbers below 2^63"},
       })
    EXPECT_THAT(error_of([&] { Jinja(source, "t"); }), AllOf(StartsWith("[chat template] t:"), HasSubstr(error)))
        << source;
}

TEST(Jinja, names_what_it_does_not_know_when_it_is_rendered) {
  const Json variables = {{"s", "x"}, {"l", {1}}, {"d", {{"k", 1}}}};
  for (const auto& [source, error] : std::vector<Unknown>{
           {"\n{{ nosuch() }}", "t:2: expected a value, got an undefined one: \"nosuch\" was not given or set"},
           {"{{ l|map('uper')|list }}", "got \"uper\"; the nearest known is \"upper\""},
           {"{{ l|selectattr('a', 'equlto', 1)|list }}", "got \"equlto\""},
           {"{{ l|map(s) }}", "got \"x\""},
           {"{{ '%x' % 3 }}", "got %x"},
           {"{{ d.a.b }}", "a dict has no attribute a"},
           {"{{ s|length(3) }}", "length: expected at most 0 arguments"},
           {"{{ s|trim(x=1) }}", "trim: expected an argument that this library knows, got one named \"x\""},
           {"{{ s|replace('a') }}", "replace: expected the argument \"new\", got none"},
           {"{{ '99999999999999999999'|int }}", "int: expected a whole number within 64 bits"},
           {"{% if true %}\n{{ s|from_json }}{% endif %}",
            "t:2: expected a filter that this library knows, got \"from_json\""},
           {"{{ l.append(1) }}", "a template may not change a list, as append would"},
           {"{{ d.pop('k') }}", "a template may not change a dict, as pop would"},
           {"{{ l|map('upper') }}", "expected a value that can be printed, got a iterator"},
           {"{{ d.items() }}", "pass it through list"},
           {"{{ d.keys()[0] }}", "pass it through list"},
           {"{% set x = l|map('string') %}{{ x|list }}{{ x|list }}", "got one that is used up"},
           {"{% for x in l %}{{ loop.changed(x) }}{% endfor %}", "got \"changed\""},
           {"{% set n = namespace() %}{% for x in l %}{% macro m() %}{% endmacro %}{% set n.m = m %}{% endfor %}{{ "
            "n['m'] "
            "() }}",
            "within the block that defines it"},
           {"{{ raise_exception('So ' ~ 'not.') }}", "the template refuses these messages: So not."},
       })
    EXPECT_THAT(error_in(source, variables), AllOf(StartsWith("[chat template] t:"), HasSubstr(error))) << source;
  EXPECT_THAT(error_in("{{ x }}", {{"x", 18446744073709551615u}}), HasSubstr("expected whole numbers below 2^63"));
  EXPECT_THAT(error_in("", Json::array()), HasSubstr("expected an object of variables, got array"));
}

class BadSyntax : public ::testing::TestWithParam<std::string> {};
TEST_P(BadSyntax, is_an_error) {
  EXPECT_THAT(error_of([&] { Jinja(GetParam(), "t"); }), StartsWith("[chat template] t:")) << GetParam();
}
INSTANTIATE_TEST_SUITE_P(
    Jinja, BadSyntax,
    ::testing::Values("{{", "{{ x", "{{ x }", "{%", "{% if", "{% if x", "{% if x %}", "{% if x %}{% else %}",
                      "{% endif %}", "{% for %}", "{% for x %}", "{% for x in %}", "{% for x in y %}",
                      "{% for x in y %}{% endif %}", "{#", "{# x", "{% raw %}", "{% raw %}{% endraw", "{{ }}",
                      "{{ ( }}", "{{ ) }}", "{{ (] }}", "{{ [1 }}", "{{ {1} }}", "{{ 'x }}", "{{ \"x\\\" }}",
                      "{{ '\\x4' }}", "{{ '\\uD800' }}", "{{ 1 + }}", "{{ x| }}", "{{ x is }}", "{{ x. }}", "{{ x[ }}",
                      "{{ x y }}", "{{ f(x=1, 2) }}", "{{ f(x=1, x=2) }}", "{{ a if }}", "{{ not }}", "{% set %}",
                      "{% set 1 = 2 %}", "{% set none = 2 %}", "{% set x.y.z = 1 %}", "{% set x %}",
                      "{% macro %}{% endmacro %}", "{% macro m %}{% endmacro %}", "{% macro m(a=1, b) %}{% endmacro %}",
                      "{% break %}", "{% for x in y %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}",
                      "{% call x %}{% endcall %}", "{{ ! }}", "{{ x ? y }}", "{{ \xff }}", "{% 1 %}",
                      "{% if x y %}{% endif %}", "{{ x is defined is none }}", "{{ 1 2 }}", "{{ x[1:2, 3] }}"));

// ---- What means harm ----

double seconds_of(const std::function<void()>& action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class DeepNesting : public ::testing::TestWithParam<std::pair<std::string, std::string>> {};
TEST_P(DeepNesting, is_an_error) {
  const auto& [open, close] = GetParam();
  for (const std::size_t depth : {300u, 5'000u}) {
    const std::string source = repeat(open, depth) + "1" + repeat(close, depth);
    const std::string tag = open.starts_with("{%") ? source : "{{ " + source + " }}";
    EXPECT_THAT(error_in(tag), AllOf(StartsWith("[chat template] t:"), HasSubstr("nested at most"))) << open;
  }
}
INSTANTIATE_TEST_SUITE_P(Jinja, DeepNesting,
                         ::testing::Values(std::pair{"(", ")"}, std::pair{"[", "]"}, std::pair{"{1:", "}"},
                                           std::pair{"-", ""}, std::pair{"not ", ""}, std::pair{"1 if 1 else ", ""},
                                           std::pair{"a[", "]"}, std::pair{"f(", ")"}, std::pair{"1 + (", ")"},
                                           std::pair{"{% if 1 %}", "{% endif %}"}, std::pair{"", "|abs"},
                                           std::pair{"", ".x"}, std::pair{"", "()"}, std::pair{"", "[0]"},
                                           std::pair{"", "+1-1"}, std::pair{"", " ~ 1"}, std::pair{"", " or 0"},
                                           std::pair{"{% for x in y %}", "{% endfor %}"},
                                           std::pair{"{% macro m() %}", "{% endmacro %}"}));

TEST(Jinja, takes_long_chains) {
  EXPECT_EQ(render("{{ 0" + repeat(" + 1", 150) + " }}"), "150");
  EXPECT_EQ(render("{% if 0 %}" + repeat("{% elif 0 %}", 10'000) + "{% else %}x{% endif %}"), "x");
}

TEST(Jinja, refuses_a_million_brackets) {
  for (const std::string piece : {"{", "{#", "{% if x %}"}) {
    const std::string source = repeat(piece, (1u << 20) / piece.size());
    EXPECT_THAT(error_in(source), StartsWith("[chat template] t:")) << piece;
  }
  EXPECT_THAT(error_in(repeat("a", (1u << 20) + 1)), HasSubstr("expected a template of at most"));
}

class Hostile : public ::testing::TestWithParam<std::string> {};
TEST_P(Hostile, is_an_error_in_time) {
  std::string error;
  EXPECT_LT(seconds_of([&] { error = error_in(GetParam()); }), 60) << GetParam();  // a tenth in an ordinary build
  EXPECT_THAT(error, StartsWith("[chat template] t:")) << GetParam();
}
INSTANTIATE_TEST_SUITE_P(
    Jinja, Hostile,
    ::testing::Values(
        "{{ range(1000000000) }}", "{{ range(0, 9223372036854775807, 1) }}",
        "{{ range(-9223372036854775807, 9223372036854775807) }}", "{{ 'a' * 1000000000000 }}",
        "{{ [1] * 1000000000000 }}", "{{ 'a'|indent(1000000000000, true) }}", "{{ [1]|tojson(indent=1000000000000) }}",
        "{{ 9223372036854775807 + 1 }}", "{{ -9223372036854775807 - 2 }}", "{{ 4611686018427387904 * 2 }}",
        "{{ 1 % 0 }}", "{{ 1.5 % 0 }}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(n) %}{% if n %}{{ m(n + 1) }}{% endif %}{% endmacro %}{{ m(1) }}",
        "{% macro m() %}{% call m() %}{{ m() }}{% endcall %}{% endmacro %}{{ m() }}",
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
        "{% set n = namespace(s='aaaaaaaa') %}{% for a in range(100) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{% set n = namespace(s='aaaaaaaa') %}{% for a in range(100) %}{% set n.s = n.s|replace('a', 'aa') %}{% endfor "
        "%}",
        "{% set n = namespace(l=[1]) %}{% for a in range(100) %}{% set n.l = n.l + n.l %}{% endfor %}",
        "{% set n = namespace(l=[1]) %}{% for a in range(1000) %}{% set n.l = [n.l] %}{% endfor %}",
        "{% set n = namespace(l=[1]) %}{% for a in range(1000) %}{% set n.l = {'a': n.l} %}{% endfor %}",
        "{% set n = namespace(l=[1]) %}{% for a in range(1000) %}{% set n.l = n.l|map('list') %}{% set n.l = [n.l] "
        "%}{% endfor %}",
        "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
        "{% set n = namespace() %}{% set n.n = n %}{{ [n]|tojson }}",
        "{% set n = namespace(l=[]) %}{% for a in range(100000) %}{% set n.l = n.l + [range(100000)] %}{% endfor %}",
        "{% set x = 'ab' * 7000000 %}{% for a in range(100000) %}{{ (x ~ 'c') in x }}{% endfor %}",
        "{% set x = 'a' * 4000000 %}{% for a in range(100000) %}{% if x|upper %}{% endif %}{% endfor %}",
        "{% for a in range(100000) %}{{ namespace(x=range(10000)) is none }}{% endfor %}",
        "{% for a in range(100000) %}{% for b in range(1000) %}{% macro m() %}{% endmacro %}{% endfor %}{% endfor %}",
        "{{ strftime_now('%c' * 100000) }}", "{{ '%s%s' % ('a',) }}", "{{ ('x' * 1000000).split('x' * 0) }}",
        "{% set x = 'a' * 8000000 %}{% for a in range(100000) %}{{ x.strip('bcdefgh') is none }}{% endfor %}",
        "{% set x = 'a' * 15000000 %}{{ x.split('a') }}", "{% set x = 'a' * 15000000 %}{{ x[::-1] }}",
        "{% set x = 'a' * 15000000 %}{{ x|list }}", "{% set x = range(100000)|list %}{{ x|unique|list }}"));

TEST(Jinja, leaves_nothing_behind) {  // a sanitizer's word: values that refer to each other in circles
  EXPECT_EQ(render("{% set n = namespace() %}{% set m = namespace(n=n) %}{% set n.m = m %}{% set n.l = [n, m] %}x"),
            "x");
  EXPECT_EQ(render("{% macro a() %}{{ b }}{% endmacro %}{% macro b() %}{{ a }}{% endmacro %}{% set l = [a, b] %}x"),
            "x");
  EXPECT_EQ(render("{% set n = namespace() %}{% for x in [1, 2] if x %}{% set n.l = loop %}{% endfor %}{{ n.l.index }}"
                   "{{ n.l.length }}"),
            "22");
}

TEST(Jinja, survives_random_templates) {
  std::mt19937 random(1);
  const std::vector<std::string> pieces = {"{{",        "}}",     "{%",         "%}",
                                           "{#",        "#}",     "-",          "+",
                                           " ",         "\n",     "if",         "elif",
                                           "else",      "endif",  "for",        "in",
                                           "endfor",    "set",    "endset",     "macro",
                                           "endmacro",  "call",   "endcall",    "filter",
                                           "endfilter", "raw",    "endraw",     "is",
                                           "not",       "and",    "or",         "x",
                                           "y",         "loop",   "(",          ")",
                                           "[",         "]",      "{",          "}",
                                           ".",         ",",      ":",          "|",
                                           "=",         "==",     "~",          "*",
                                           "**",        "/",      "%",          "'a'",
                                           "\"",        "'",      "\\",         "1",
                                           "2.5",       "0",      "namespace",  "range",
                                           "trim",      "tojson", "map",        "defined",
                                           "none",      "true",   "generation", "endgeneration",
                                           "break",     "\xff"};
  const Json variables = {{"x", {1, "a", nullptr}}, {"y", {{"a", 1}}}};
  std::size_t rendered = 0, refused = 0;
  for (int i = 0; i < 5'000; ++i) {
    std::string source;
    const bool bytes = random() % 4 == 0;
    const std::size_t size = random() % 30;
    for (std::size_t k = 0; k < size; ++k) {
      if (bytes)
        source += static_cast<char>(random() % 256);
      else
        source += pieces[random() % pieces.size()] + (random() % 2 ? " " : "");
    }
    if (random() % 2) source = "{{ " + source + " }}";
    error_in(source, variables) == "(no error)" ? ++rendered : ++refused;
  }
  EXPECT_GT(rendered, 0u);
  EXPECT_GT(refused, 0u);
}

// ---- The case of letters ----

TEST(LetterCase, is_that_of_unicode) {
  EXPECT_EQ(to_upper("straße ŉ ﬁ é я ა ǆ 日本"), "STRASSE ʼN FI É Я Ა Ǆ 日本");
  EXPECT_EQ(to_lower("ΑΣ Σ ΣΑΣ. İ Я Ǆ Ა"), "ας σ σας. i̇ я ǆ ა");
  EXPECT_EQ(to_capitalized("ǆEZ"), "ǅez");
  EXPECT_EQ(to_capitalized("ßA"), "Ssa");
  EXPECT_EQ(to_capitalized("ᾳΐ"), "ᾼΐ");
  EXPECT_EQ(letter_case(U'日'), LetterCase::none);
  EXPECT_EQ(letter_case(U'ß'), LetterCase::lower);
  EXPECT_EQ(letter_case(U'Я'), LetterCase::upper);
}

}  // namespace
}  // namespace grpo
