"""How report.py's page looks, and what filters its traces."""

STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --card: #f6f7f9; --ink: #1f2933; --faint: #667280; --grid: #e4e8ed;
  --good: #2f8f5b; --bad: #c2554d; --think: #3d4f66; --answer: #0b5f3c; --answer-back: #e2f3ea; --mark: #fdf0b5 }
@media screen and (prefers-color-scheme: dark) { :root { --page: #14171c; --card: #1d2128; --ink: #e4e8ee;
  --faint: #98a3b3;
  --grid: #2c323c; --good: #57b884; --bad: #e0837b; --think: #b4c3d8; --answer: #8fe0b8; --answer-back: #183226;
  --mark: #5a4a12 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1160px; padding: 28px 24px 60px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Apple SD Gothic Neo", "Malgun Gothic",
  "Noto Sans KR", "Noto Sans CJK KR", sans-serif }
h1 { margin: 0; font-size: 26px; line-height: 1.2 }
h2 { margin: 40px 0 6px; font-size: 18px }
h3 { margin: 16px 0 6px; font-size: 14px }
.note, .facts, .faint, nav, footer { color: var(--faint) }
.note { margin: 0 0 12px; font-size: 13.5px; max-width: 85ch }
.facts { margin: 6px 0 0 }
nav { margin-top: 10px; font-size: 13.5px }
nav a { color: inherit; margin-right: 14px }
svg { display: block; width: 100%; font-family: inherit }
figure { margin: 0 }
.swatch { display: inline-block; width: 9px; height: 9px; border-radius: 2px; margin-right: 6px;
  print-color-adjust: exact }
.pipeline { display: flex; flex-wrap: wrap; gap: 10px 26px; list-style: none; margin: 0 0 12px; padding: 0 }
.pipeline li { position: relative; display: flex; flex-direction: column; min-width: 104px; padding: 8px 12px;
  font-size: 13.5px;
  background: var(--card); border-top: 3px solid; border-radius: 4px; line-height: 1.4 }
.pipeline li + li::before { content: "→"; position: absolute; left: -21px; top: 12px; color: var(--faint) }
.pipeline b { font-size: 15px }
.pipeline .from { font-style: italic }
.pipeline .waiting { opacity: .55; border-top-style: dashed }
.scroll { overflow-x: auto }
.figures { border-collapse: collapse; font-variant-numeric: tabular-nums }
.figures th, .figures td { padding: 4px 14px; text-align: right; border-bottom: 1px solid var(--grid);
  white-space: nowrap }
.figures th[scope=row] { padding-left: 0; text-align: left; font-weight: 400 }
.figures thead th { font-weight: 600; white-space: normal; vertical-align: bottom }
.dense th, .dense td { padding: 4px 8px }
.dense th[scope=row] { white-space: normal }
.dense small { display: block }
.scroll + .scroll { margin-top: 18px }
.figures td.best { font-weight: 700 }
.figures small { color: var(--faint); font-weight: 400 }
.bars { width: 100%; max-width: 760px }
.bars td.bar { width: 60% }
.wide { grid-column: 1 / -1 }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); gap: 18px 20px }
.quotes { margin: 12px 0 0; padding-left: 22px; display: grid;
  grid-template-columns: repeat(auto-fill, minmax(min(440px, 100%), 1fr));
  gap: 4px 34px }
.quotes li::marker { font-weight: 700 }
.quotes h3 { margin-top: 2px }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 0 20px }
.pair.one { grid-template-columns: 1fr }
.side { min-width: 0 }
.trace { margin: 0 0 10px; padding: 8px 12px; background: var(--card); border-left: 3px solid var(--bad);
  border-radius: 4px; font-size: 13.5px }
.trace.right { border-left-color: var(--good) }
.verdict { color: var(--bad); white-space: nowrap }
.right .verdict { color: var(--good) }
.trace .prompt { font-weight: 600; white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate;
  margin: 0 6px }
.trace pre { margin: 5px 0; white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate;
  font: 13px/1.55 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "D2Coding", "NanumGothicCoding",
  "Noto Sans Mono CJK KR", monospace }
.trace footer { font-size: 12.5px }
.tag { color: var(--faint) }
.think { color: var(--think) }
.answer { color: var(--answer); background: var(--answer-back); font-weight: 700; border-radius: 3px; padding: 0 2px;
  print-color-adjust: exact }
.foreign { text-decoration: underline dotted var(--bad); text-underline-offset: 3px }
mark { background: var(--mark); color: inherit; border-radius: 3px; print-color-adjust: exact }
form { position: sticky; top: 0; display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; padding: 10px 0;
  background: var(--page);
  border-bottom: 1px solid var(--grid); font-size: 13.5px }
form .grow { flex: 1; display: flex; gap: 6px; align-items: center; min-width: 200px }
select, input, button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--grid);
  border-radius: 4px; padding: 3px 8px }
input { flex: 1; min-width: 0 }
button { margin-top: 12px; padding: 6px 16px; cursor: pointer }
[hidden] { display: none !important }
details pre { overflow-x: auto; font-size: 12.5px }
body > footer { margin-top: 44px; font-size: 13px }
@media screen and (max-width: 760px) { .pair { grid-template-columns: 1fr } }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt }
  nav, form, button, details { display: none !important }
  figure, .trace, .quotes li, tr, .pipeline li { break-inside: avoid }
  h2, h3, .note { break-inside: avoid; break-after: avoid }
  .panels { grid-template-columns: repeat(3, 1fr) }
  .quotes { grid-template-columns: 1fr 1fr }
}
"""

# The page is whole without it: the script only filters the traces, and shows them a few at a time.
SCRIPT = """
"use strict";
(() => {
  const form = document.getElementById("filters"), more = document.getElementById("more");
  if (!form) return;
  const fold = text => text.normalize("NFC").toLowerCase();
  const blocks = [...document.querySelectorAll(".block")].map(element => ({
    element, pair: element.querySelector(".pair"), stage: element.dataset.stage,
    sides: [...element.querySelectorAll(".side")],
    traces: [...element.querySelectorAll(".trace")].map(trace => ({
      element: trace, kind: trace.dataset.kind, language: trace.dataset.language,
      verdict: trace.classList.contains("right") ? "right" : "wrong",
      text: fold(trace.querySelector(".prompt").textContent + " " + trace.querySelector("pre").textContent)}))}));
  const page = 12;
  let limit = page;
  const apply = () => {
    const wanted = Object.fromEntries(new FormData(form)), search = fold(wanted.search);
    const fits = (name, value) => wanted[name] === "*" || wanted[name] === value;
    let matching = 0, showing = 0, open = 0;
    for (const block of blocks) {
      let here = 0;
      for (const trace of block.traces) {
        const fit = fits("stage", block.stage) && fits("kind", trace.kind) && fits("language", trace.language) &&
          fits("verdict", trace.verdict) && trace.text.includes(search);
        trace.element.hidden = !fit;
        here += fit;
      }
      block.sides.forEach((side, i) => { side.hidden = !fits("verdict", i ? "wrong" : "right"); });
      block.pair.classList.toggle("one", wanted.verdict !== "*");
      matching += here;
      block.element.hidden = here === 0 || open >= limit;
      if (!block.element.hidden) { open += 1; showing += here; }
    }
    more.hidden = showing === matching;
    document.getElementById("count").textContent = `showing ${showing} of ${matching}`;
  };
  const restore = () => {  // #stage=zero&verdict=wrong&search=wait: what is looked at can be sent as a link
    if (!location.hash.includes("=")) return;
    for (const [name, value] of new URLSearchParams(location.hash.slice(1)))
      if (form.elements[name]) form.elements[name].value = value;
    for (const select of form.querySelectorAll("select")) if (select.selectedIndex < 0) select.value = "*";
  };
  form.addEventListener("input", () => {
    const set = [...new FormData(form)].filter(([, value]) => value !== "*" && value !== "");
    history.replaceState(null, "", "#" + (new URLSearchParams(set).toString() || "traces"));
    limit = page;
    apply();
  });
  form.addEventListener("submit", event => event.preventDefault());
  more.addEventListener("click", () => { limit += page; apply(); });
  addEventListener("hashchange", () => { restore(); apply(); });
  form.hidden = false;
  restore();
  apply();
})();
"""
