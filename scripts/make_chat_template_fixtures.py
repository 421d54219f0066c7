#!/usr/bin/env python3
"""Writes tests/fixtures/chat_templates/*.json: what transformers makes of conversations by chat templates.

    scripts/setup_peer.sh && .peer-venv/bin/python scripts/make_chat_template_fixtures.py

The templates are our own. families.json has whole ones that use what those of the model families use, with renderings:
which conversation, which variables, and the text, or null where there is an error; messages are handed to Jinja2, as transformers
sets it up, as they are, while transformers itself would add reasoning under other names. tokenized.json has conversations with
their token ids by tests/fixtures/tokenizers/qwen. language.json has small
ones, each for one part of the language that src/tokenizer/jinja/jinja.h says we have.
"""
import json
import pathlib

import jinja2
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

assert jinja2.__version__ == "3.1.6", f"expected Jinja2 3.1.6, got {jinja2.__version__}; run scripts/setup_peer.sh"
FOLDER = pathlib.Path(__file__).parents[1] / "tests" / "fixtures" / "chat_templates"

WEATHER = {"type": "function", "function": {
    "name": "weather", "description": "The weather in a \"city\" & <more>", "parameters": {
        "type": "object", "required": ["city"], "properties": {
            "city": {"type": "string", "description": "Città"}, "days": {"type": ["integer", "null"], "default": 3},
            "unit": {"type": "string", "enum": ["C", "F"]}}}}}
ADD = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {
    "type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}}}}

SYSTEM = {"role": "system", "content": "Be brief.\n"}
USER = {"role": "user", "content": "  What is 2+2?  "}
MORE = {"role": "user", "content": "And \"3\" \\ é 日本 <b>?\n\nThanks 👍"}
ANSWER = {"role": "assistant", "content": "It is 4."}
THOUGHT = {"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\n4"}
REASONED = {"role": "assistant", "content": "4", "reasoning_content": "Because.\n"}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"id": "call00001", "type": "function", "function": {
    "name": "weather", "arguments": {"city": "Zürich", "days": 2, "x": 1.5, "ok": True, "none": None, "l": [1, "a"]}}}]}
CALLS = {"role": "assistant", "content": "Let me see.", "tool_calls": [
    {"id": "call00002", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1}"}},
    {"id": "call00003", "type": "function", "function": {"name": "weather", "arguments": {}}}]}
RESULT = {"role": "tool", "name": "weather", "tool_call_id": "call00001", "content": "{\"t\": 21}"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "image"},
                                     {"type": "text", "text": "what?"}]}
CONVERSATIONS = {
    "one": [USER], "system": [SYSTEM, USER], "turns": [USER, ANSWER, MORE], "long": [SYSTEM, USER, THOUGHT, MORE, ANSWER],
    "thought": [SYSTEM, USER, THOUGHT, MORE], "call": [SYSTEM, USER, CALL, RESULT],
    "calls": [USER, CALLS, RESULT, RESULT, ANSWER, MORE], "reasoned": [USER, REASONED], "reasoned_before": [USER, REASONED, MORE],
    "parts": [SYSTEM, PARTS], "twice": [USER, MORE], "assistant_first": [ANSWER], "empty": [],
    "blank": [{"role": "user", "content": ""}], "thinking": [USER, {"role": "assistant", "thinking": "So.\n", "content": "4"}, MORE],
    "reasoning": [USER, {"content": "4", "reasoning": "Thus.", "role": "assistant"}], "both": [USER, {**REASONED, "thinking": "No."}]}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}

FAMILIES = {}
# Headers around each turn, a date, functions listed with an indent, and calls of built-in functions as code.
FAMILIES["headers"] = r"""{{- bos_token }}
{%- set functions = custom_tools if custom_tools is defined else tools %}
{%- if today is not defined %}
    {%- if no_clock is defined %}{% set today = strftime_now("%d %b %Y") %}{% else %}{% set today = "1 Jan 2025" %}{% endif %}
{%- endif %}
{%- set rules, turns = "", messages %}
{%- if messages and messages[0]['role'] == 'system' %}
    {%- set rules = messages[0]['content']|trim %}
    {%- set turns = messages[1:] %}
{%- endif %}
{{- "<<system>>\n" -}}
{{- "It is " + today + ".\n" }}
{%- if functions is not none and functions %}
    {{- "Functions:\n" }}
    {%- for each in functions %}
        {{- each | tojson(indent=4) }}
        {{- "\n" if loop.last else ",\n" }}
    {%- endfor %}
{%- endif %}
{{- rules ~ "<<>>" }}
{%- for turn in turns %}
    {%- if turn.role in ['tool', 'ipython'] %}
        {{- "<<output>>\n" }}
        {%- if turn.content is string or not turn.content is iterable %}
            {{- turn.content }}
        {%- else %}
            {{- turn.content | tojson }}
        {%- endif %}
    {%- elif not 'tool_calls' in turn %}
        {{- '<<' + turn['role'] + '>>\n' + turn['content'] | trim }}
    {%- elif turn.tool_calls|length != 1 %}
        {{- raise_exception("This template can write one call in a turn, not " ~ turn.tool_calls|length) }}
    {%- else %}
        {%- set used = turn.tool_calls[0].function %}
        {{- '<<assistant>>\n' -}}
        {%- if builtin_tools is defined and used.name in builtin_tools %}
            {{- "!" + used.name + "(" }}
            {%- for key, value in used.arguments | items %}
                {{- key + '="' ~ value ~ '"' ~ (", " if not loop.last) }}
            {%- endfor %}
            {{- ")" }}
        {%- else %}
            {{- '{"call": "' + used.name + '", "with": ' }}
            {{- used.arguments | tojson }}
            {{- "}" }}
        {%- endif %}
    {%- endif %}
    {{- "<<>>" }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<<assistant>>\n' }}
{%- endif %}
"""
# Reasoning that is kept in the last round only, a macro for contents of several parts, outputs gathered in one turn.
FAMILIES["reasoning"] = r"""{%- macro plain(content) -%}
    {%- if content is string -%}
        {{- content -}}
    {%- elif content is not none and content is iterable and content is not mapping -%}
        {%- for part in content -%}
            {%- if part.type == 'text' -%}{{ part.text }}
            {%- elif 'image' in part or part.type == 'image' -%}[picture]
            {%- else -%}{{ raise_exception('A part of the type ' ~ part.type ~ ' cannot be written') }}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- set seen = namespace(question=-1, looking=true) %}
{%- for turn in messages[::-1] %}
    {%- set place = messages|length - loop.index %}
    {%- if seen.looking and turn.role == "user" and not (turn.content is string and turn.content.startswith('{') and turn.content.endswith('}')) %}
        {%- set seen.looking = false %}
        {%- set seen.question = place %}
    {%- endif %}
{%- endfor %}
{%- if tools or (messages and messages[0].role == 'system') %}
    {{- '[system]\n' }}
    {%- if messages[0].role == 'system' %}{{- plain(messages[0].content) ~ ('\n\n' if tools else '') }}{% endif %}
    {%- for tool in tools or [] %}
        {{- tool.function.name ~ ': ' ~ tool | tojson ~ '\n' }}
    {%- endfor %}
    {{- '[end]\n' }}
{%- endif %}
{%- for turn in messages %}
    {%- set text = plain(turn.content) | trim %}
    {%- if turn.role == "tool" %}
        {{- '[outputs]\n' if loop.first or loop.previtem.role != 'tool' }}
        {{- '- ' + text + '\n' }}
        {{- '[end]\n' if loop.last or messages[loop.index0 + 1].role != 'tool' }}
    {%- elif turn.role == "assistant" %}
        {%- set thought = turn.reasoning_content if turn.reasoning_content is string else '' %}
        {%- if not thought and '</think>' in text %}
            {%- set thought = text.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set text = text.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {{- '[assistant]\n' }}
        {%- if loop.index0 > seen.question and (thought or loop.last) %}
            {{- '<think>' + thought.strip('\n') + '</think>\n' + text }}
        {%- else %}
            {{- text }}
        {%- endif %}
        {%- for call in turn.tool_calls or [] %}
            {%- if text or not loop.first %}{{- '\n' }}{% endif %}
            {%- if call.function %}{% set call = call.function %}{% endif %}
            {{- 'call ' ~ call.name ~ ' ' }}
            {%- if call.arguments is string %}{{- call.arguments }}{% else %}{{- call.arguments | tojson }}{% endif %}
        {%- endfor %}
        {{- '[end]\n' }}
    {%- elif turn.role == "user" or not loop.first %}
        {{- '[' + turn.role + ']\n' + text + '[end]' + '\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '[assistant]\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think></think>\n' }}
    {%- endif %}
{%- endif %}
"""
# On one line, with line feeds inside the strings, and a system turn that is there even when nobody wrote one.
FAMILIES["one_line"] = r"""{% for turn in messages %}{% if loop.first and turn['role'] != 'system' %}{{ '|system
Help where you can.|
' }}{% endif %}{{'|' + turn['role'] + '
' + turn['content'] + '|' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '|assistant
' }}{% endif %}"""
# Turns that must alternate, functions before the last question only, identifiers of a fixed length.
FAMILIES["alternating"] = r"""{%- if messages[0]["role"] == "system" %}
    {%- set preface = messages[0]["content"] %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{%- set questions = turns | selectattr("role", "equalto", "user") | list %}
{%- set count = namespace() %}
{%- set count.said = 0 %}
{%- for turn in turns if turn.role != "tool" and (turn.tool_calls is undefined or turn.tool_calls is none) %}
    {%- if (turn["role"] == "user") != (count.said % 2 == 0) %}
        {{- raise_exception("Turn " ~ loop.index ~ " is by " ~ turn.role ~ ", but it was another's") }}
    {%- endif %}
    {%- set count.said = count.said + 1 %}
{%- endfor %}
{{- bos_token }}
{%- for turn in turns %}
    {%- if turn["role"] == "user" %}
        {%- if tools is not none and turn == questions[-1] %}
            {{- "(can" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- " {" }}
                {%- for key, value in tool.items() if key != "description" %}
                    {{- key + "=" }}
                    {%- if value is string %}{{- "'" + value + "'" }}{% else %}{{- value|tojson }}{% endif %}
                    {{- "; " if not loop.last else "}" }}
                {%- endfor %}
            {%- endfor %}
            {{- ")" }}
        {%- endif %}
        {%- if loop.last and preface is defined %}
            {{- "(ask) " + preface + "\n" + turn["content"] + " (/ask)" }}
        {%- else %}
            {{- "(ask) " + turn["content"] + " (/ask)" }}
        {%- endif %}
    {%- elif turn.tool_calls is defined and turn.tool_calls is not none %}
        {%- for call in turn.tool_calls %}
            {%- set written = call.function|tojson %}
            {%- if call.id is undefined or call.id|length != 9 %}
                {{- raise_exception("A call has an id of nine letters") }}
            {%- endif %}
            {{- "(do) " ~ written[:-1] ~ ', "id": "' + call.id + '"}' }}
        {%- endfor %}
        {{- eos_token }}
    {%- elif turn["role"] == "assistant" %}
        {{- " " + turn["content"]|trim + eos_token}}
    {%- elif turn["role"] == "tool" %}
        {%- set got = turn.content.content if turn.content.content is defined else turn.content %}
        {{- '(got) ' + got|string + ' for ' + turn.tool_call_id }}
    {%- else %}
        {{- raise_exception("Nobody knows the role " + turn.role) }}
    {%- endif %}
{%- endfor %}
"""
# Flags in a namespace, tokens beyond ASCII, system turns gathered from everywhere, a thought cut off.
FAMILIES["flags"] = r"""{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set flags = namespace(rules='', outputs=false, calls=0) %}{%- for turn in messages %}{%- if turn['role'] == 'system' %}{%- set flags.rules = (flags.rules + '\n' if flags.rules else '') + turn['content'] %}{%- endif %}{%- endfor %}{{ bos_token }}{{ flags.rules }}{%- for turn in messages %}{%- if turn['role'] == 'tool' %}{{ ('\n' if flags.outputs else '') + '<｜got｜>' + turn['content'] }}{%- set flags.outputs = true -%}{%- elif turn['role'] == 'user' %}{%- set flags.outputs = false -%}{{ '<｜ask｜>' + turn['content'] }}{%- elif turn['role'] == 'assistant' and 'tool_calls' in turn %}{%- for call in turn['tool_calls'] %}{{ '<｜do｜>' + (call['type'] + '▁' if loop.first else '') + call['function']['name'] + '\n```json\n' + call['function']['arguments']|tojson + '\n```' }}{%- set flags.calls = flags.calls + 1 -%}{%- endfor %}{{ eos_token ~ flags.calls }}{%- elif turn['role'] == 'assistant' %}{% set said = turn['content'] %}{% if '</think>' in said %}{% set said = said.split('</think>')[-1] %}{% endif %}{{ '<｜say｜>' + said + eos_token }}{%- set flags.outputs = false -%}{%- endif %}{%- endfor -%}{% if add_generation_prompt and not flags.outputs %}{{ '<｜say｜><think>\n' }}{% endif %}"""
# Rules inside the first question, a false in place of a missing text, tags on lines of their own that leave nothing.
FAMILIES["wrapped"] = "{% if messages[0]['role'] == 'system' %}\n{% set rules = messages[0]['content'] %}\n{% set turns = messages[1:] %}\n{% else %}\n{% set rules = false %}\n{% set turns = messages %}\n{% endif %}\n{{ bos_token }}{% for turn in turns %}\n{% if (turn['role'] == 'user') != (loop.index0 % 2 == 0) %}\n{{ raise_exception('Question and answer take turns') }}\n{% endif %}\n{% if loop.index0 == 0 and rules != false %}\n{% set text = '{' + rules + '}\n' + turn['content'] %}\n{% else %}\n{% set text = turn['content'] %}\n{% endif %}\n{% if turn['role'] == 'user' %}\n{{ '? ' + text.strip() + '\n' }}\n{% elif turn['role'] == 'assistant' %}\n{% if not loop.last %}\n{{ '! '  + text.strip() + ' ' + eos_token + '\n' }}\n{% else %}\n{{ '! '  + text.strip() + ' ' + eos_token }}\n{% endif %}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '! ' }}\n{% endif %}\n{% endfor %}"
# Marks of what is trained.
FAMILIES["training"] = r"""{%- for turn in messages -%}
<{{ turn.role }}>
{% if turn.role == 'assistant' -%}
{% generation %}{{ turn.content }}{{ eos_token }}{% endgeneration %}

{%- else %}
{{ turn.content -}}
{% endif %}
{%- endfor %}
{% if add_generation_prompt -%}
<assistant>
{% endif %}"""

# Reads a message's reasoning by each of its names, and whole messages.
FAMILIES["names"] = "{% for turn in messages %}{{ turn.thinking }}/{{ turn.reasoning_content }}/{{ turn.reasoning }} {{ turn | tojson }}\n{% endfor %}"

# What the small templates compute with.
DATA = {
    "a": 3, "b": -7, "f": 2.5, "big": 1e22, "small": 1e-7, "s": "Hello wörld", "t": "  x\ty \n", "e": "",
    "q": "it's \"q\"", "n": None, "yes": True, "no": False, "l": [1, 2, 3, "x", None], "w": ["b", "A", "c", "a"],
    "i": [3, -1, 2, 2], "d": {"k": 1, "items": 2, "b": "v", "n": None, "x": {"y": [1, {"z": "deep"}]}},
    "o": [{"n": "b", "v": 1}, {"n": "A", "v": 2}, {"n": "c", "v": 0, "o": True}], "u": "日本 ß Σίσυφος ΑΣ ǅ İ"}

SMALL = {
    "printing": ["{{ %s }}" % x for x in (
        "a", "f", "big", "small", "1.0", "1e16", "123456789012345.0", "0.1 + 0.2", "-0.0", "n", "yes", "l", "d", "(1,)",
        "(1, 2)", "()", "[]", "{}", "q", "[q]", "[t]", "[u]", "undef", "[undef]", "d.items()|list", "d.keys()|list", "range(3)|list",
        "range(5, 1, -2)|list", "'a' 'b'", "'\\x41\\u00e9\\t\\'\\\\ \\d'")],
    "operators": ["{{ %s }}" % x for x in (
        "1 + 2 * 3 - 4", "7 % -3, -7 % 3, 6 % 3", "-7.5 % 2, 7.5 % -2.5", "1.5 + 2 - 0.5 * 3",
        "'a' ~ 1 ~ none ~ true ~ undef", "'ab' * 3", "[1] * 2 + [3]", "'%s is %d and %.2f%%' % ('x', 3, 2.555)",
        "'a' < 'b', 2 < 10, 1 <= 1.0, 2 > 3, 3 >= 3", "1 == 1.0, 1 == true", "'1' == 1", "undef == undef2",
        "2 in l, 'z' in l, 'x' not in l, 'k' in d, 'lo' in s", "not a, not n", "a and b, n or 'x', '' and 1",
        "'y' if a else 'n'", "'y' if n", "1 if 0 else 2 if 0 else 3", "(1, 2) == [1, 2]", "{'a': 1} == {'a': 1.0}",
        "undef + 1", "1 + 'a'", "1 % 0", "l < 1", "undef.x", "undef[0]", "d.x.q.z",
        "7 / 2, 8 / 2, -7 / 2, 1 / 3", "7 // 2, -7 // 2, 7 // -2, -8 // 2, 7.5 // 2, -7.5 // 2, 0.0 // -3", "1 / 0", "1 // 0", "1.0 // 0",
        "2 ** 10, 2 ** -1, 2.5 ** 2, -2 ** 2, 2 ** 3 ** 2, 0 ** 0, (-1) ** 101, 4 ** 0.5", "0 ** -1", "+3, +f, -+3, +true",
        "1 < a < 4, 1 < a < 3, 1 < a > 2 == 2, a in l == true", "undef < 1 < 2", "[1, 2] < [1, 3], (1,) < (1, 0), [2] > [1, 9]", "[1] < ['a']",
        "2 * 3 / 4 * 5 // 2 % 4", "'<' ~ ('&'|safe + '<b>')", "'<i>' + \"'q'\"|safe + '\"x\"&'", "('a'|safe + '<') + '>'")],
    "access": ["{{ %s }}" % x for x in (
        "d.k, d['k'], d.x.y[1].z", "d.items is defined, d['items']", "d.zz is defined, d['zz']", "l[0], l[-1], l[99]",
        "l.0", "l[1:3], l[::-1], l[-2:], l[:-1], l[3:0:-2]", "s[0], s[-1], s[6:9], s[::-1], u[0:2]",
        "l[true]", "l['x'] is defined", "d[1] is defined", "s.upper.x is defined if false else 1", "l.append(1)",
        "d.update({})", "''.__class__", "a.x is defined", "l[::0]", "(1, 2, 3)[1:]", "d.get('k'), d.get('zz'), d.get('zz', 5)",
        "d.values()|list", "d.items()|list|length", "d.update is defined, l.pop is defined, d.copy().k, d.copy is defined", "l.append",
        "l.index(3), l.count(2), (1, 2, 1).count(1)", "l.index(99)", "d.pop('k')", "d.setdefault('k', 1)", "l.sort()")],
    "filters": ["{{ %s }}" % x for x in (
        "t|trim, t|trim('x ')", "s|upper, s|lower, u|upper, u|lower", "s|title, 'a-b (c) d_e'|title, u|title",
        "s|capitalize, u|capitalize", "l|length, s|count, d|length, undef|length", "l|first, w|last, s|first, []|first",
        "w|join, w|join(', '), o|join('-', attribute='n'), 'abc'|join('.')", "undef|default('x'), n|default('x'), n|d('x', true)",
        "l|list, s|list, d|list, undef|list", "' 12 '|int, '-3'|int, 'x'|int, 'x'|int(5), 3.9|int, -3.9|int, yes|int",
        "a|string + 'x', n|string, l|string", "s|replace('l', 'L'), s|replace('l', '', 1)",
        "d|items|list", "w|map('upper')|list", "o|map(attribute='n')|join", "o|map(attribute='o', default='-')|list",
        "l|select|list, l|select('string')|list, i|select('gt', 1)|list", "l|reject('none')|list",
        "o|selectattr('v')|list", "o|selectattr('v', 'greaterthan', 0)|map(attribute='n')|list", "o|rejectattr('o', 'defined')|list|length",
        "{'b': 1, 'A': 2}|dictsort",
        "'a\nb\n\nc'|indent, 'a\nb'|indent(2, true), 'a\n\nb'|indent('> ', blank=true)", "w|reverse|list, s|reverse",
        "w|sort, i|sort(reverse=true), o|sort(attribute='n')|map(attribute='n')|list",
        "i|unique|list, w|unique|list", "s|safe", "-3|abs, f|abs", "2.5|round, 3.5|round, 2.675|round(2), 42|round",
        "w|length * 2", "(l|length - 1)", "-1|abs", "w|tojson|length",
        "'1.5'|float, ' -2e3 '|float, '1_000.5'|float, 'x'|float, 'x'|float(9.5), 3|float, yes|float, n|float, l|float(1)",
        "undef|float", "'42.9'|int, '1e3'|int, '0x1f'|int(base=16), '1f'|int(0, 16), '101'|int(base=2), '1_0'|int, n|int(4), l|int(2), '--1'|int",
        "2.345|round(2), 2.1|round(method='ceil'), 2.9|round(method='floor'), 7|round(1, 'ceil'), -1.55|round(1, 'floor')", "1|round(0, 'x')",
        "i|min, i|max, w|min, w|max, w|min(true), o|min(attribute='v'), o|max(attribute='n'), []|min", "i|sum, o|sum('v'), o|sum(attribute='v', start=10), [1.5, 2]|sum, []|sum", "w|sum",
        "l|batch(2)|list, l|batch(3, 'f')|list, []|batch(2)|list", "l|slice(2)|list, l|slice(3, 'f')|list, [1]|slice(3)|list",
        "o|groupby('n'), o|groupby('o', default=false)|list|length", "[{'c': 'x', 'v': 1}, {'c': 'X', 'v': 2}, {'c': 'a', 'v': 3}]|groupby('c')",
        "[{'c': 'x'}, {'c': 'X'}]|groupby('c', case_sensitive=true)|map(attribute='grouper')|list, (o|groupby('v'))[0].list",
        "w|sort(case_sensitive=true), w|sort(true, true), [[2, 1], [1, 2]]|sort", "[{'a': 1, 'b': 2}, {'a': 1, 'b': 1}, {'a': 0, 'b': 3}]|sort(attribute='a,b')",
        "{'b': 1, 'A': 2, 'a': 0}|dictsort(true), {'b': 1, 'A': 2}|dictsort(by='value'), {'b': 1, 'A': 2}|dictsort(reverse=true), {'b': 'Z', 'c': 'a'}|dictsort(false, 'value')", "d|dictsort(by='x')",
        "['a', 'A', 'b']|unique(true)|list, o|unique(attribute='n')|list|length, [{'k': 'a'}, {'k': 'A'}]|unique(attribute='k')|list",
        "'%s=%d'|format('a', 3), '%.1f'|format(2.25)", "('word ' * 60)|truncate(20), 'abcdef'|truncate(3, true, '.', 0), 'abcdef'|truncate(5), 'ab cd ef'|truncate(7, false, '..', 0)", "'abc'|truncate(2)")],
    "tojson": ["{{ %s }}" % x for x in (
        "d|tojson", "d|tojson(indent=2)", "d|tojson(indent='\t')", "d|tojson(separators=(',', ':'))", "u|tojson, u|tojson(ensure_ascii=false)",
        "q|tojson", "{'b': 1, 'a': [1.0, 1e22, true, none]}|tojson(sort_keys=true)", "[]|tojson(indent=2), {}|tojson(indent=2)",
        "{1: 1, none: 2, true: 3, 1.5: 4}|tojson", "(1, 'a')|tojson", "'<a>&\\'/\\x01\\x7f\u2028'|tojson", "undef|tojson", "[undef]|tojson",
        "d.keys()|tojson", "o|tojson(indent=0)", "d|tojson(false, 1, (' , ', ' : '), true)", "u|tojson(ensure_ascii=true), 'a\\x7f😀\\x01'|tojson(true)")],
    "tests": ["{{ %s }}" % x for x in [
        ", ".join("%s is %s" % (v, t) for v in ("a", "f", "n", "yes", "s", "l", "d", "undef"))
        for t in ("defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "integer", "float",
                  "boolean", "true", "false", "not none")] + [
        "a is odd, a is even, b is odd", "a is eq 3, a is equalto(3), a is ne 3, a is gt 2, a is le 2",
        "a is in [1, 3], 'ell' is in s", "not a is defined", "a is defined and b is defined", "d.k is defined and d.k == 1",
        "6 is divisibleby 3, 7 is divisibleby(3)", "1 is divisibleby 0", "range is callable, a is callable, s.upper is callable, undef is callable"]],
    "methods": ["{{ %s }}" % x for x in (
        "t.strip(), s.strip('Hd'), t.lstrip(), t.rstrip()", "s.split(), s.split('l'), s.split('l', 1), t.split(' '), t.split(none, 1)",
        "s.startswith('He'), s.startswith(('x', 'He')), s.endswith('d')", "s.upper(), s.lower(), s.title(), s.capitalize()",
        "s.replace('l', '1'), s.replace('l', '1', 2)", "', '.join(w)", "', '.join([1])", "u.title(), u.upper()",
        "s.find('l'), s.rfind('l'), s.find('z'), u.find('ß'), u.rfind('Σ'), s.find(''), s.rfind(''), s.find('l', 3), s.find('l', 4), s.rfind('l', 0, 3), s.find('l', -2), s.find('', 99), s.find('o', 1, -3)",
        "s.index('w'), s.rindex('l')", "s.index('z')", "s.count('l'), 'aaa'.count('aa'), u.count(''), s.count('zz')",
        "s.partition(' '), s.rpartition('l'), s.partition('z'), s.rpartition('z')", "s.partition('')", "s.rsplit('l', 1), s.rsplit('l'), s.rsplit(), 'a--b--c'.rsplit('--', 1)",
        "'a\\nb\\r\\nc\\n'.splitlines(), 'a\\nb\\r\\nc'.splitlines(true), ''.splitlines()", "s.removeprefix('He'), s.removesuffix('d'), s.removeprefix('x')")],
    "statements": [
        "{% for x in l %}{{ loop.index }}/{{ loop.length }}{{ x }}{{ ', ' if not loop.last }}{% endfor %}",
        "{% for x in l %}{{ loop.first }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
        "{% for x in i if x > 0 %}{{ loop.index0 }}{{ x }}{{ loop.length }}{% else %}none{% endfor %}{% for x in [] %}{% else %}none{% endfor %}",
        "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for p, q in [[1, 2]] %}{{ p }}{{ q }}{% endfor %}",
        "{% for x in range(9) %}{% if x == 2 %}{% continue %}{% elif x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}",
        "{% for x in w %}{% for y in i %}{{ loop.index }}{{ x }}{% if y == 2 %}{% break %}{% endif %}{% endfor %}{{ loop.index }}{% endfor %}",
        "{% for x in i %}{{ x }}{% endfor %}{% for c in 'ab' %}{{ c }}{% endfor %}{% for k in d %}{{ k }}{% endfor %}",
        "{% set x = 1 %}{% for y in l %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}",
        "{% set ns = namespace(n=0) %}{% for y in i %}{% set ns.n = ns.n + y %}{% endfor %}{{ ns.n }}{{ ns.zz }}",
        "{% set x %}a{{ a }}{% endset %}[{{ x }}]{% set p, q = 1, 2 %}{{ p }}{{ q }}",
        "{% macro m(p, q='Q', r=p) %}{{ p }}{{ q }}{{ r }};{% endmacro %}{{ m(1) }}{{ m(1, 2, 3) }}{{ m(q=1, p=2) }}{{ m() }}",
        "{% macro c(x) %}<{{ caller() }}{{ x }}>{% endmacro %}{% for y in w %}{% call c(1) %}{{ y }}!{% endcall %}{% endfor %}",
        "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(9) }}{{ f(1, 2) }}", "{% macro f(n) %}{% endmacro %}{{ f(z=1) }}",
        "{% macro f() %}{{ late }}{% endmacro %}{% set late = 1 %}{{ f() }}{% set late = 2 %}{{ f() }}",
        "{% if n %}1{% elif a == 3 %}2{% else %}3{% endif %}{% if a == 1 or (b and not n) %}yes{% endif %}",
        "{# note {{ x }} #}!", "{% generation %}{% set x = 5 %}{{ x }}{% endgeneration %}{{ x }}",
        "{% set x = y %}{{ x is defined }}", "{% set d.k = 1 %}", "{% set ns = namespace() %}{% set ns._x = 1 %}", "{% for x in 5 %}{% endfor %}",
        "{% for p, q in [(1,)] %}{% endfor %}", "{{ raise_exception('no: ' ~ a) }}", "{{ nosuch(1) }}", "{{ range(200000) }}", "{{ dict(a=1, b=2) }}",
        "{% set args = [1, 2] %}{% macro g(x, y, z=0) %}{{ x }}{{ y }}{{ z }}{% endmacro %}{{ g(*args) }}{{ g(0, *args) }}",
        "{% if strftime_now is defined %}{{ strftime_now('%Y')|length }}{% endif %}",
        "{% if x is defined %}{{ x }}{% endif %}{% set x = [1] + [2] %}{{ x }}{% set x = x + [3] %}{{ x|length }}",
        "{% with x = a, y = x %}{{ x }}{{ y }}{% set z = 1 %}{% endwith %}{{ x }}{{ z }}", "{% with %}{% set x = 1 %}{{ x }}{% endwith %}{{ x }}",
        "{% for x in i %}{% with y = x %}{% if y == 2 %}{% break %}{% endif %}{{ y }}{% endwith %}{% endfor %}",
        "{% filter upper %}a{{ s }}{% set s = 'x' %}{% endfilter %}{{ s }}", "{% filter replace('a', 'b')|upper %}a-c{% endfilter %}", "{% set x | trim | upper %}  {{ s }}  {% endset %}[{{ x }}]",
        "{% macro c(x) %}{{ caller(x, 2) }}{% endmacro %}{% call(p, q, r=3) c(1) %}{{ p }}{{ q }}{{ r }}{% endcall %}",
        "{% for x in w %}{{ loop.cycle('odd', 'even') }}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}", "{% for k, v in o|groupby('v') %}{{ k }}:{{ v|length }} {% endfor %}",
        "{% if no %}{{ x|from_json }}{% elif y is nosuchtest %}{% endif %}", "{% if no %}{{ x|from_json }}{% endif %}!", "{% if yes %}{{ x|from_json }}{% endif %}",
        "{% if no %}{{ l.append(1) }}{% endif %}ok"],
    "space": [
        "a\n{% if yes %}\nb\n{% endif %}\nc\n", "a\n  {% if yes %}  \n  b\n  {% endif %}  \nc\n\n", "a  {%- if yes -%}  \n b \n {%- endif -%}  \n c",
        "  {{ a }}  \n  {{- a -}}  \n  b", "{{ a }}\n\n", "\n\n{# c #}\nx{#- c -#} y",
        "  {# c #}  \nx\n  {#- c #}\ny", "x\r\ny\rz{% if yes %}\r\nw{% endif %}",
        "{% set x %}\n  a\n{% endset %}[{{ x }}]", "{{ '{{' }}{{ '}}' }}{{ {'a': {'b': 1}}['a'] }}", "{ {a} %} #} {{ '%}' }}", "\t{% for x in w %}\n\t\t- {{ x }}\n\t{% endfor %}\nend",
        "a\n{% raw %}\n {{ x }} {% if %}\n  {% endraw %}\nb", "a {%- raw -%}  {{ b }}  {%- endraw -%} c", "{% raw %}{% endraw %}{%raw%}{{{%endraw +%}\nx",
        "  {%+ if yes %}a{% endif +%}\nb", "{% if yes +%}\n a\n  {%+ endif %}\nb", "x\n  {#+ c #}\ny", "x {# c +#}\ny", "{{+ a }} {{ +1 }}", "{{-1}} {{- 1 }}", "a {%- set x = 1 %} b {% set y = 2 -%} c", "\n {% if yes %}{% if yes %}\nx{% endif %}{% endif %}\n"]}


def outcome(render):
    try:
        return render()
    except Exception:
        return None


def family(name, template):
    cases = []
    for conversation, messages in CONVERSATIONS.items():
        for variables in ({}, {"tools": [WEATHER, ADD]}, {"enable_thinking": False, "custom_tools": [ADD], "builtin_tools": ["weather"]}):
            for prompt in (True, False) if not variables else (True,):
                given = {**TOKENS, **variables}
                text = outcome(lambda: _compile_jinja_template(template).render(**{"tools": None, "documents": None, **given}, messages=messages, add_generation_prompt=prompt))
                cases.append({"conversation": conversation, "variables": variables, "add_generation_prompt": prompt, "text": text})
    return {"template": template, "cases": cases}


def write(name, content):
    (FOLDER / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def tokenized():
    """A model's folder but for its tokenizer.json, conversations for it, and what transformers makes of them."""
    template = FAMILIES["one_line"].replace("'|system", "'<|im_start|>system").replace("Help where you can.|", "Help where you can.<|im_end|>")
    template = template.replace("'|' + turn['role']", "'<|im_start|>' + turn['role']").replace("+ '|' + '", "+ '<|im_end|>' + '")
    template = template.replace("'|assistant", "'<|im_start|>assistant").replace("{% for turn", "{{ note }}{% for turn", 1)
    template = template.replace("{% if add", "{% if tools %}{{ tools | tojson }}{% endif %}{% if add", 1)
    model = transformers.PreTrainedTokenizerFast(tokenizer_file=str(FOLDER.parent / "tokenizers" / "qwen" / "tokenizer.json"), chat_template=template)
    lines, expected = [], []
    for name in ("one", "system", "turns", "twice"):
        for more in ({}, {"add_generation_prompt": False}, {"tools": [ADD], "variables": {"note": "é<think>"}}):
            lines.append({"messages": CONVERSATIONS[name], **more})
            given = dict(add_generation_prompt=more.get("add_generation_prompt", True), tools=more.get("tools"), **more.get("variables", {}))
            expected.append({"text": model.apply_chat_template(CONVERSATIONS[name], tokenize=False, **given),
                             "ids": model.apply_chat_template(CONVERSATIONS[name], tokenize=True, return_dict=False, **given)})
    return {"template": template, "lines": lines, "expected": expected}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    write("families", {"made_with": f"transformers {transformers.__version__}, Jinja2 {jinja2.__version__}", "tokens": TOKENS,
                       "conversations": CONVERSATIONS,
                       "families": {name: family(name, template) for name, template in FAMILIES.items()}})
    write("tokenized", {"made_with": f"transformers {transformers.__version__}", **tokenized()})
    write("language", {"made_with": f"transformers {transformers.__version__}, Jinja2 {jinja2.__version__}", "variables": DATA,
                       "groups": {name: [{"template": each, "text": outcome(lambda: _compile_jinja_template(each).render(**json.loads(json.dumps(DATA))))}
                                         for each in templates] for name, templates in SMALL.items()}})


if __name__ == "__main__":
    main()
