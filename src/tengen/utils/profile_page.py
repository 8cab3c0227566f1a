"""The page that shows a profile: a timeline, a flame graph, and tables of times. It needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #777 }
body { font: 14px system-ui, sans-serif; margin: 1.2em auto; padding: 0 1em; max-width: 90em }
h2 { font-size: 1.1em; margin: 1.4em 0 .3em } p { margin: .3em 0; color: var(--dim) }
canvas { width: 100%; border: 1px solid var(--line); cursor: grab; touch-action: none; display: block }
#said { min-height: 4.5em; white-space: pre-wrap; font-family: monospace; font-size: 12px; overflow-wrap: anywhere }
#flame { position: relative; border: 1px solid var(--line); overflow: hidden }
#flame div { position: absolute; height: 17px; line-height: 17px; font-size: 12px; overflow: hidden; white-space: nowrap;
  box-sizing: border-box; border-right: 1px solid #fff8; padding-left: 3px; color: #222; cursor: pointer }
nav button { font: inherit; padding: .2em .8em; margin-right: .3em; border: 1px solid var(--line); border-radius: 4px;
  background: none; cursor: pointer }
nav button[aria-pressed=true] { background: #48f3 }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin-top: .5em; width: 100% }
td, th { padding: .15em .8em .15em 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th { cursor: pointer } th[aria-sort]::after { content: " ▾" }
td:first-child, th:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 12em }
"""

_SCRIPT = """
const { events, code } = JSON.parse(document.getElementById('events').textContent);
const by = id => document.getElementById(id);
const canvas = by('timeline'), said = by('said'), kinds = ['scope', 'module', 'op', 'kernel'], high = 18;
const color = name => { let h = 0; for (const c of name) h = (h * 31 + c.charCodeAt(0)) % 360; return `hsl(${h} 60% 75%)`; };
const time = us => us >= 1e6 ? (us / 1e6).toFixed(2) + ' s' : us >= 1e3 ? (us / 1e3).toFixed(2) + ' ms' : us.toFixed(1) + ' µs';
const end = events.reduce((last, e) => Math.max(last, e.ts + e.dur), 1);
const add = (parent, tag, text, set = {}) => { const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text; Object.assign(made, set); parent.append(made); return made; };

// Each event with what it lies in, by time, on its thread. Those of outer kinds go first where they begin together.
const threads = [...new Set(events.map(e => e.tid))], inside = new Map();
for (const tid of threads) {
  const open = [], own = events.filter(e => e.tid === tid);
  own.sort((a, b) => a.ts - b.ts || kinds.indexOf(a.cat) - kinds.indexOf(b.cat) || b.dur - a.dur);
  for (const e of own) {
    while (open.length && (open.at(-1).ts + open.at(-1).dur <= e.ts || kinds.indexOf(open.at(-1).cat) > kinds.indexOf(e.cat))) open.pop();
    inside.set(e, open.at(-1)); open.push(e);
  }
}

// -- timeline
const rows = new Map(), placed = [];
for (const tid of threads) for (const kind of kinds) {
  const open = [];
  for (const e of events.filter(e => e.tid === tid && e.cat === kind).sort((a, b) => a.ts - b.ts || b.dur - a.dur)) {
    while (open.length && open.at(-1).ts + open.at(-1).dur <= e.ts) open.pop();
    open.push(e);
    const key = `${tid} ${kind} ${open.length}`;
    if (!rows.has(key)) rows.set(key, rows.size);
    placed.push([e, rows.get(key)]);
  }
}
canvas.style.height = Math.max(3, rows.size) * high + 18 + 'px';
let left = 0, width = end;
function draw() {
  const scale = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight, g = canvas.getContext('2d');
  canvas.width = w * scale; canvas.height = h * scale; g.scale(scale, scale); g.font = '12px sans-serif';
  for (const [e, row] of placed) {
    const x = (e.ts - left) / width * w, size = Math.max(e.dur / width * w, 0.5), y = row * high;
    if (x + size < 0 || x > w) continue;
    g.fillStyle = color(e.name); g.fillRect(x, y, size, high - 2);
    if (size > 30) { g.save(); g.beginPath(); g.rect(x, y, size, high); g.clip(); g.fillStyle = '#222';
      g.fillText(e.name, Math.max(x, 0) + 3, y + 12); g.restore(); }
  }
  g.fillStyle = '#888';
  const marks = Math.max(1, Math.floor(w / 110));
  for (let i = 0; i < marks; i++) g.fillText(time(left + width * i / marks), w * i / marks + 2, h - 5);
}
const place = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
function tell(e) {
  said.textContent = e ? `${e.cat} ${e.name}: ${time(e.dur)} from ${time(e.ts)}\\n` +
    Object.entries(e.args).map(([k, v]) => `${k}: ${Array.isArray(v) ? v.join(', ') : v}`).join('\\n') : '';
}
canvas.addEventListener('wheel', event => { event.preventDefault();
  const [x] = place(event), at = left + x / canvas.clientWidth * width;
  width = Math.min(end, Math.max(0.05, width * (event.deltaY > 0 ? 1.25 : 0.8)));
  left = Math.max(0, Math.min(end - width, at - x / canvas.clientWidth * width)); draw(); }, { passive: false });
canvas.onpointermove = event => {
  if (event.buttons) { left = Math.max(0, Math.min(end - width, left - event.movementX / canvas.clientWidth * width)); draw(); return; }
  const [x, y] = place(event), at = left + x / canvas.clientWidth * width, row = Math.floor(y / high), slack = width / canvas.clientWidth;
  tell((placed.find(([e, r]) => r === row && e.ts - slack <= at && at <= e.ts + e.dur + slack) || [])[0]); };
canvas.ondblclick = () => { left = 0; width = end; draw(); };

// -- flame graph: what lies in what, equal names together
const whole = { name: 'all', dur: 0, calls: 0, parts: new Map() };
const nodes = new Map([[undefined, whole]]);
for (const e of inside.keys()) {
  const parent = nodes.get(inside.get(e));
  if (!parent.parts.has(e.name)) parent.parts.set(e.name, { name: e.name, dur: 0, calls: 0, parts: new Map(), parent });
  const node = parent.parts.get(e.name);
  node.dur += e.dur; node.calls++; nodes.set(e, node);
}
for (const node of whole.parts.values()) whole.dur += node.dur;
function flame(top) {
  const box = by('flame'), full = box.clientWidth; box.textContent = '';
  let deep = 0;
  const show = (node, x, size, depth) => {
    deep = Math.max(deep, depth);
    const share = `${node.name}: ${time(node.dur)}, ${node.calls} times, ${(100 * node.dur / (whole.dur || 1)).toFixed(1)} % of all`;
    const made = add(box, 'div', node.name, { title: share });
    made.onclick = () => flame(node === top ? node.parent || node : node);
    made.onmouseenter = () => { said.textContent = share; };
    Object.assign(made.style, { left: x + 'px', width: size + 'px', top: depth * 18 + 'px', background: node === whole ? '#ddd' : color(node.name) });
    let at = x;
    for (const part of [...node.parts.values()].sort((a, b) => b.dur - a.dur)) {
      const wide = node.dur ? size * part.dur / node.dur : 0;
      if (wide >= 1) show(part, at, wide, depth + 1);
      at += wide;
    }
  };
  show(top, 0, full, 0);
  box.style.height = (deep + 1) * 18 + 'px';
}

// -- tables
const line = e => e.args.line && code[e.args.line];
const module = e => e.args.modules && (e.args.modules.at(-1) || '(no module)');
const sources = { op: ['op', e => e.name], kernel: ['kernel', e => e.name], module: ['op', module], line: ['op', line] };
const hints = { module: 'Profiler(with_scopes=True) keeps the modules.', line: 'Profiler(with_backtrace=True) keeps the lines.',
  kernel: 'No kernel has run.', op: 'No op has run.' };
let order = 2;
function tabulate(what) {
  for (const button of document.querySelectorAll('nav button')) button.setAttribute('aria-pressed', button.value === what);
  const [kind, named] = sources[what], found = new Map();
  for (const e of events) if (e.cat === kind && named(e)) {
    const name = named(e);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(e.dur);
  }
  const lines = [...found].map(([name, t]) => {
    const all = t.reduce((a, b) => a + b, 0);
    return [name, t.length, all, all / t.length, t.reduce((a, b) => Math.max(a, b))];
  });
  const sum = lines.reduce((a, l) => a + l[2], 0) || 1;
  lines.sort((a, b) => order ? b[order] - a[order] : a[0] < b[0] ? -1 : 1);
  const box = by('table'); box.textContent = '';
  if (!lines.length) { add(box, 'p', hints[what]); return; }
  const table = add(box, 'table'), head = add(table, 'tr');
  [what, 'calls', 'total', 'mean', 'longest', 'share'].forEach((title, i) => {
    const cell = add(head, 'th', title, { onclick: () => { order = i === 5 ? 2 : i; tabulate(what); } });
    if (i === order) cell.setAttribute('aria-sort', i ? 'descending' : 'ascending'); });
  for (const [name, calls, all, mean, longest] of lines) {
    const row = add(table, 'tr');
    for (const text of [name, calls, time(all), time(mean), time(longest), (100 * all / sum).toFixed(1) + ' %']) add(row, 'td', text);
  }
}
const sumOf = kind => events.filter(e => e.cat === kind).reduce((a, e) => a + e.dur, 0);
const number = events.filter(e => e.cat === 'op').length;
by('sums').textContent = `${number} ops in ${time(end)}, ${time(sumOf('op'))} of them in ops, ${time(sumOf('kernel'))} in kernels.`;
for (const button of document.querySelectorAll('nav button')) button.onclick = () => { location.hash = button.value; tabulate(button.value); };
const all = () => { draw(); flame(whole); };
window.onresize = all; all(); tabulate(location.hash.slice(1) in sources ? location.hash.slice(1) : 'op');
"""


def page(events: Sequence[dict[str, Any]]) -> str:
    """The page of these events, which are complete events ("ph": "X") of a Chrome trace."""
    import json
    from linecache import getline

    lines = dict.fromkeys(event["args"]["line"] for event in events if "line" in event.get("args", ()))
    code = {line: f"{line}  {getline(*_parts(line)).strip()}".rstrip() for line in lines}
    data = json.dumps({"events": list(events), "code": code}).replace("<", "\\u003c")
    tables = "".join(
        f'<button value="{value}">{title}</button>'
        for value, title in (("op", "by op"), ("kernel", "by kernel"), ("module", "by module"), ("line", "by line"))
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Profile</title>'
        f"<style>{_STYLE}</style><h1>Profile</h1><p id='sums'></p>"
        "<h2>Timeline</h2><p>Wheel: zoom. Drag: move. Double click: all. For each thread: scopes, modules, ops, kernels.</p>"
        '<canvas id="timeline"></canvas><div id="said"></div>'
        "<h2>Flame graph</h2><p>Width is time; equal names in one place are added up. Click: into a part, and again: out of it.</p>"
        '<div id="flame"></div>'
        f'<h2>Tables</h2><nav>{tables}</nav><div id="table" class="wide"></div>'
        f'<script type="application/json" id="events">{data}</script><script>{_SCRIPT}</script></html>\n'
    )


def _parts(line: str) -> tuple[str, int]:
    file, _, number = line.rpartition(":")
    return file, int(number)
