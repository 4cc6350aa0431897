// SPDX-License-Identifier: Apache-2.0
// A chart of lines over time, as SVG whose nodes are updated in place.
//
// The vertical scale never stretches noise: it spans at least a quarter of the
// largest value, and begins at 0 where that costs little.
//
// The chart is also a slider: it has the keyboard focus, and the arrow keys
// move a cursor in time. Its owner says what is there (`describe`).

import {clock, make, makeSvg, setAttributes, setClass, setText, sync}
  from "./dom.js";

const MARGIN = {left: 46, right: 10, top: 8, bottom: 22};
const STRIP = 16;       // height of the strip of versions
const LABEL_ROWS = 2;   // of marks

const STEPS_MS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600,
                  7200, 10800, 21600, 43200, 86400, 172800, 604800]
  .map(s => s * 1000);

// Round values from low to high, about n of them.
function ticks(low, high, n) {
  const raw = (high - low) / n, unit = 10 ** Math.floor(Math.log10(raw));
  const step = unit * [1, 2, 2.5, 5, 10].find(k => k * unit >= raw * 0.999);
  const list = [];
  for (let i = Math.ceil(low / step - 1e-6); i * step <= high + step * 1e-6;
       i++)
    list.push(i * step + 0);   // no -0
  return {list, step};
}

// The scale for values from min to max.
function scale(min, max, n) {
  if (!(max > min) && !(max <= min)) { min = 0; max = 1; }
  let low = min, high = max;
  const least = Math.max(Math.abs(max) / 4, 1e-9);
  if (high - low < least) {
    const middle = (low + high) / 2;
    low = middle - least / 2;
    high = middle + least / 2;
  }
  const air = (high - low) * 0.06;
  high += air;
  low -= air;
  if (min >= 0 && (low < 0 || low < 0.35 * high)) low = 0;
  const {list, step} = ticks(low, high, n);
  if (low !== 0 && list[0] - low > step * 0.5) low = list[0] - step * 0.5;
  return {low, high, list, step};
}

export class Chart {
  // label: what a screen reader calls the chart.
  // format(y): a value on the axis.  strip: there is a strip of versions.
  constructor(host, {label, height, rows = 5, format, strip = false,
                     area = false}) {
    Object.assign(this, {host, height, rows, format, area});
    this.strip = strip ? STRIP : 0;
    this.labels = strip ? 14 * LABEL_ROWS : 0;
    this.describe = () => "";
    this.onCursor = () => {};
    this.svg = makeSvg("svg", {class: "chart", role: "slider", tabindex: 0,
                               "aria-label": label, "aria-valuemin": 0,
                               "aria-valuemax": 100, "aria-valuenow": 100,
                               "aria-valuetext": "no data yet"});
    for (const name of ["grid", "times", "marks", "areas", "lines", "dots",
                        "versions", "cursor"]) {
      this[name] = makeSvg("g", {class: name});
      this.svg.append(this[name]);
    }
    this.hair = makeSvg("path");
    this.when = makeSvg("text", {"text-anchor": "middle"});
    this.cursor.append(this.hair, this.when);
    this.empty = make("p", "empty", "No figures in this time yet.");
    host.append(this.svg, this.empty);
    this.at = null;      // the cursor's time
    this.data = null;
    this.svg.addEventListener("pointermove", e => this.point(e));
    this.svg.addEventListener("pointerdown", e => this.point(e));
    this.svg.addEventListener("pointerleave", () => this.move(null));
    this.svg.addEventListener("blur", () => this.move(null));
    this.svg.addEventListener("keydown", e => this.key(e));
    new ResizeObserver(() => this.draw()).observe(host);
  }

  point(e) {
    if (!this.data) return;
    const x = e.clientX - this.svg.getBoundingClientRect().left;
    const {from, to} = this.data;
    const part = (x - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right);
    this.move(from + Math.min(1, Math.max(0, part)) * (to - from));
  }

  key(e) {
    if (!this.data) return;
    const {from, to} = this.data, step = (to - from) / 60;
    const at = this.at === null ? to : this.at;
    const next = {ArrowLeft: at - step, ArrowRight: at + step, Home: from,
                  End: to, PageUp: at - 10 * step, PageDown: at + 10 * step,
                  ArrowDown: at - step, ArrowUp: at + step}[e.key];
    if (e.key === "Escape") this.move(null);
    if (next === undefined) return;
    e.preventDefault();
    this.move(Math.min(to, Math.max(from, next)));
  }

  move(at) {
    this.at = at;
    this.drawCursor();
    this.onCursor(at);
  }

  x(t) {
    const {from, to} = this.data;
    return MARGIN.left +
      (t - from) / (to - from) * (this.width - MARGIN.left - MARGIN.right);
  }

  y(v) {
    return this.bottom - (v - this.scale.low) /
      (this.scale.high - this.scale.low) * (this.bottom - this.top);
  }

  // data: {from, to, lines: [{key, className, times, values, dots}],
  //        marks: [{key, time, className, label}],
  //        versions: [{key, time, className}]}
  // A line's values may be null. Its `dots` shows the points, too.
  show(data) {
    this.data = data;
    this.draw();
  }

  draw() {
    const {data} = this;
    this.width = Math.round(this.host.clientWidth);
    if (!data || this.width < 50) return;
    this.top = MARGIN.top + this.labels;
    this.bottom = this.height - MARGIN.bottom - this.strip;
    setAttributes(this.svg, {width: this.width, height: this.height,
                             viewBox: `0 0 ${this.width} ${this.height}`});
    let min = Infinity, max = -Infinity;
    for (const line of data.lines) {
      for (let i = 0; i < line.times.length; i++) {
        const v = line.values[i];
        if (v === null || v === undefined || line.times[i] < data.from)
          continue;
        if (v < min) min = v;
        if (v > max) max = v;
      }
    }
    const any = max > -Infinity;
    this.empty.hidden = any;
    this.scale = any ? scale(min, max, this.rows) : scale(0, 1, this.rows);
    this.drawGrid();
    this.drawTimes();
    this.drawLines();
    this.drawMarks();
    this.drawVersions();
    this.drawCursor();
  }

  drawGrid() {
    const right = this.width - MARGIN.right;
    const list = this.empty.hidden ? this.scale.list : [];
    sync(this.grid, list, v => v.toPrecision(6), () => {
      const g = makeSvg("g");
      g.append(makeSvg("path"), makeSvg("text", {"text-anchor": "end"}));
      return g;
    }, (g, v) => {
      const y = Math.round(this.y(v)) + 0.5;
      setAttributes(g.firstChild, {d: `M${MARGIN.left} ${y}H${right}`,
                                   class: v === 0 ? "zero" : null});
      setAttributes(g.lastChild, {x: MARGIN.left - 8, y: y + 4});
      setText(g.lastChild, this.format(v, this.scale.step));
    });
  }

  drawTimes() {
    const {from, to} = this.data, span = to - from;
    const room = (this.width - MARGIN.left - MARGIN.right) / 74;
    const step = STEPS_MS.find(s => span / s <= room) || 30 * 86400e3;
    const zone = new Date(to).getTimezoneOffset() * 60e3;
    const list = [];
    for (let t = Math.ceil((from - zone) / step) * step + zone; t <= to;
         t += step)
      list.push(t);
    const y = this.height - 5;
    sync(this.times, list, t => t, () => makeSvg("text"), (node, t) => {
      const x = this.x(t);
      const anchor = x > this.width - 34 ? "end" :
        x < MARGIN.left + 20 ? "start" : "middle";
      setAttributes(node, {x: x.toFixed(1), y, "text-anchor": anchor});
      setText(node, clock(t, step < 60e3 ? 0 : Math.max(span, 601e3)));
    });
  }

  // A line breaks where it has no value for long: nothing was learned.
  path(line, closed) {
    const {from, to} = this.data, gap = Math.max(60e3, (to - from) / 15);
    let text = "", before = -Infinity, start = null;
    const close = () => {
      if (closed && start !== null)
        text += `L${this.x(before).toFixed(1)} ${this.bottom}` +
                `L${start.toFixed(1)} ${this.bottom}Z`;
    };
    for (let i = 0; i < line.times.length; i++) {
      const t = line.times[i], v = line.values[i];
      if (v === null || v === undefined || t < from || t > to) continue;
      const x = this.x(t);
      const go = line.joined ? before === -Infinity : t - before > gap;
      if (go) {
        close();
        start = x;
      }
      text += (go ? "M" : "L") + x.toFixed(1) + " " + this.y(v).toFixed(1);
      before = t;
    }
    close();
    return text;
  }

  drawLines() {
    const {lines, from, to} = this.data;
    sync(this.lines, lines, l => l.key, () => makeSvg("path"), (node, l) => {
      setAttributes(node, {d: this.path(l, false), class: l.className});
    });
    sync(this.areas, this.area ? lines : [], l => l.key,
         () => makeSvg("path"), (node, l) => {
      setAttributes(node, {d: this.path(l, true), class: l.className});
    });
    const dots = [];
    for (const l of lines) {
      const points = l.times.map((t, i) => [t, l.values[i]])
        .filter(([t, v]) => typeof v === "number" && t >= from && t <= to);
      for (const [t, v] of l.dots ? points : points.slice(-1))
        dots.push({key: l.key + " " + (l.dots ? t : ""), t, v, l});
    }
    sync(this.dots, dots, d => d.key, () => makeSvg("circle"), (node, d) => {
      setAttributes(node, {cx: this.x(d.t).toFixed(1),
                           cy: this.y(d.v).toFixed(1),
                           r: d.l.dots ? 2.2 : 3, class: d.l.className});
    });
  }

  drawMarks() {
    const {from, to} = this.data, ends = Array(LABEL_ROWS).fill(-Infinity);
    const marks = (this.data.marks || [])
      .filter(m => m.time >= from && m.time <= to);
    sync(this.marks, marks, m => m.key, m => {
      const g = makeSvg("g");
      g.append(makeSvg("path"), makeSvg("text"));
      return g;
    }, (g, m) => {
      const x = Math.round(this.x(m.time)) + 0.5, wide = 6 * m.label.length;
      const left = x + wide < this.width - MARGIN.right ? x + 4 : x - 4 - wide;
      const row = ends.findIndex(end => end < left);
      const high = MARGIN.top + 10 + 14 * Math.max(row, 0);
      if (row >= 0) ends[row] = left + wide + 6;
      setClass(g, m.className);
      setAttributes(g.firstChild,
        {d: `M${x} ${row < 0 ? this.top : high - 9}V${this.bottom}`});
      setAttributes(g.lastChild,
        {x: left > x ? x + 4 : x - 4, y: high,
         "text-anchor": left > x ? "start" : "end"});
      setText(g.lastChild, row < 0 ? "" : m.label);
    });
  }

  drawVersions() {
    const {from, to} = this.data, y = this.bottom + this.strip / 2 + 1;
    const list = (this.data.versions || [])
      .filter(v => v.time >= from && v.time <= to);
    sync(this.versions, list, v => v.key, () => makeSvg("path"), (node, v) => {
      const x = this.x(v.time).toFixed(1);
      const cross = `M${x - 3} ${y - 3}l6 6m0 -6l-6 6`;
      const disc = `M${x - 2.5} ${y}a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0 -5 0`;
      setAttributes(node, {d: /fail|undone/.test(v.className) ? cross : disc,
                           class: v.className});
    });
  }

  drawCursor() {
    if (!this.data || !this.scale) return;
    const {from, to} = this.data, at = this.at;
    const d = at === null ? "" :
      `M${this.x(at).toFixed(1)} ${MARGIN.top}V${this.bottom + this.strip}`;
    setAttributes(this.hair, {d});
    setText(this.when, at === null ? "" : clock(at));
    if (at !== null)
      setAttributes(this.when, {y: this.height - 5, x: Math.min(
        this.width - 30, Math.max(30, this.x(at))).toFixed(1)});
    const part = at === null ? 100 : 100 * (at - from) / (to - from);
    setAttributes(this.svg, {"aria-valuenow": Math.round(part),
                             "aria-valuetext": clock(at === null ? to : at) +
                               ". " + this.describe(at)});
  }
}

// The value of a line at a time: the newest one up to it, unless it is older
// than `within`.
export function valueAt(line, time, within = Infinity) {
  let low = 0, high = line.times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (line.times[middle] <= time) low = middle + 1;
    else high = middle;
  }
  for (let i = low - 1; i >= 0 && time - line.times[i] <= within; i--) {
    if (line.values[i] !== null && line.values[i] !== undefined)
      return line.values[i];
  }
  return null;
}
