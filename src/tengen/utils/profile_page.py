"""The page that shows a profile: a timeline to move and zoom, and what took longest. It needs nothing but a browser."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

_STYLE = """
body { font: 14px sans-serif; margin: 1.5em; color: #222 }
canvas { width: 100%; height: 16em; border: 1px solid #ccc; cursor: grab }
#said { height: 4.5em; white-space: pre-wrap; color: #444; font-family: monospace; overflow: auto }
table { border-collapse: collapse; margin-top: 1em }
td, th { padding: .15em 1em .15em 0; text-align: right; border-bottom: 1px solid #eee }
td:first-child, th:first-child { text-align: left }
"""

_SCRIPT = """
const events = JSON.parse(document.getElementById('events').textContent);
const canvas = document.getElementById('timeline'), said = document.getElementById('said');
const kinds = ['scope', 'module', 'op', 'kernel'], high = 18;
const rows = [], placed = [];
for (const tid of [...new Set(events.map(e => e.tid))]) {
  for (const kind of kinds) {
    const open = [];
    for (const e of events.filter(e => e.tid === tid && e.cat === kind).sort((a, b) => a.ts - b.ts || b.dur - a.dur)) {
      while (open.length && open[open.length - 1].ts + open[open.length - 1].dur <= e.ts) open.pop();
      open.push(e);
      const key = tid + kind + open.length;
      if (!rows.includes(key)) rows.push(key);
      placed.push([e, key]);
    }
  }
}
const end = Math.max(1, ...events.map(e => e.ts + e.dur));
let left = 0, width = end;
function color(name) { let h = 0; for (const c of name) h = (h * 31 + c.charCodeAt(0)) % 360; return `hsl(${h} 60% 75%)`; }
function draw() {
  const scale = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight, g = canvas.getContext('2d');
  canvas.width = w * scale; canvas.height = h * scale; g.scale(scale, scale); g.font = '12px sans-serif';
  for (const [e, key] of placed) {
    const x = (e.ts - left) / width * w, size = Math.max(e.dur / width * w, 0.5), y = rows.indexOf(key) * high;
    if (x + size < 0 || x > w) continue;
    g.fillStyle = color(e.name); g.fillRect(x, y, size, high - 2);
    if (size > 30) { g.save(); g.beginPath(); g.rect(x, y, size, high); g.clip(); g.fillStyle = '#222';
      g.fillText(e.name, Math.max(x, 0) + 3, y + 12); g.restore(); }
  }
}
function at(event) { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; }
canvas.onwheel = event => { event.preventDefault();
  const [x] = at(event), time = left + x / canvas.clientWidth * width;
  width = Math.min(end, Math.max(0.05, width * (event.deltaY > 0 ? 1.25 : 0.8)));
  left = Math.max(0, Math.min(end - width, time - x / canvas.clientWidth * width)); draw(); };
canvas.onmousemove = event => {
  if (event.buttons) { left = Math.max(0, Math.min(end - width, left - event.movementX / canvas.clientWidth * width)); draw(); return; }
  const [x, y] = at(event), time = left + x / canvas.clientWidth * width, key = rows[Math.floor(y / high)];
  const slack = width / canvas.clientWidth;
  const hit = placed.find(([e, k]) => k === key && e.ts - slack <= time && time <= e.ts + e.dur + slack);
  said.textContent = hit ? `${hit[0].name}: ${hit[0].dur.toFixed(1)} µs from ${hit[0].ts.toFixed(1)} µs\\n` +
    Object.entries(hit[0].args).map(([k, v]) => `${k}: ${v}`).join('\\n') : ''; };
window.onresize = draw; draw();
"""


def page(events: Sequence[dict[str, Any]]) -> str:
    """The page of these events, which are those of a Chrome trace with ph "X"."""
    import json

    data = json.dumps(list(events)).replace("<", "\\u003c")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Profile</title><style>{_STYLE}</style><h1>Profile</h1>'
        "<p>Wheel: zoom. Drag: move. One block of rows for each thread: scopes, modules, ops, kernels.</p>"
        f'<canvas id="timeline"></canvas><div id="said"></div>{_totals(events)}'
        f'<script type="application/json" id="events">{data}</script><script>{_SCRIPT}</script></html>\n'
    )


def _totals(events: Sequence[dict[str, Any]]) -> str:
    """A table of the ops, those that took longest together first."""
    import html

    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event["cat"] == "op":
            times[event["name"]].append(event["dur"])
    whole = sum(map(sum, times.values())) or 1.0
    rows = "".join(
        f"<tr><td>{html.escape(name)}<td>{len(taken)}<td>{sum(taken) / 1e3:.3f}<td>{sum(taken) / len(taken):.1f}"
        f"<td>{max(taken):.1f}<td>{100 * sum(taken) / whole:.1f}"
        for name, taken in sorted(times.items(), key=lambda item: -sum(item[1]))
    )
    titles = "<tr><th>op<th>calls<th>all, ms<th>mean, µs<th>longest, µs<th>%"
    return f"<table>{titles}{rows}</table>"
