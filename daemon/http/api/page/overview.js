// SPDX-License-Identifier: Apache-2.0
// The state in one sentence, three answers, the loss by domain, and the lag.

import {ago, bits, byId, clock, count, duration, make, plural, setAttributes,
        setClass, setText, short, sync} from "./dom.js";
import {Chart, valueAt} from "./chart.js";
import {bestLoss, heldLoss, newLoss, shown as inUnit, unitOf}
  from "./measure.js";

export const COLOURS = 8;   // of domains, in style.css
const LINES = 8;            // domains that are shown at first
const TREND_MS = 600e3;
const RECENT_MS = 900e3;    // an alarm is news for so long
const NEAR_BEST = 0.02;     // of the loss: no forgetting
const FEW_SEGMENTS = 10;    // held out: too few to say that text is forgotten

// A domain keeps its colour while the page is open.
const colours = new Map();
export function colourOf(domain) {
  if (!colours.has(domain)) colours.set(domain, colours.size % COLOURS);
  return "d" + colours.get(domain);
}

// --- the sentence ----------------------------------------------------------

// The mean of the loss in a time, from the series.
function meanLoss(series, from, to) {
  const list = series.prequential_bits_per_byte || [];
  let sum = 0, n = 0;
  for (let i = 0; i < list.length; i++) {
    if (list[i] === null || series.time_ms[i] <= from ||
        series.time_ms[i] > to)
      continue;
    sum += list[i];
    n++;
  }
  return n ? sum / n : null;
}

// The change of the loss in the last ten minutes, as far as the series reaches:
// its last quarter against its first one. {ratio, ms}, or null.
function trend(series) {
  const times = series.time_ms, end = times.at(-1);
  if (times.length < 12) return null;
  const start = Math.max(times[0], end - TREND_MS), quarter = (end - start) / 4;
  const before = meanLoss(series, start - 1, start + quarter);
  const after = meanLoss(series, end - quarter, end);
  if (before === null || after === null) return null;
  return {ratio: after / before - 1, ms: end - start};
}

function direction(t) {
  if (!t) return "";
  if (t.ratio < -0.01) return " and falling";
  return t.ratio > 0.01 ? " and rising" : " and steady";
}

function sourceWords({type, partitions}) {
  const topics = [...new Set(partitions.map(p => p.topic))];
  if (type === "stdin") return "standard input";
  if (!partitions.length) return type === "file" ? "a file" : "its source";
  if (type === "file") return topics.join(", ");
  return plural(partitions.length, "partition") +
         (topics.length === 1 ? " of " + topics[0] : "");
}

// Pieces of the sentence; a strong one is [text].
function sentence(s, versions, t) {
  const loss = s.loss.prequential_bits_per_byte, lag = s.source.lag;
  const serving = versions.find(v => v.version === s.serving_version);
  const now = {
    starting: s.vocabulary ?
      ["Starting: ", [Math.floor(100 * s.vocabulary.bytes /
        s.vocabulary.wanted) + " %"], " of the text for the vocabulary is " +
        "here"] : ["Starting"],
    learning: ["Learning from ", [sourceWords(s.source)]],
    waiting: ["Waiting for records from ", [sourceWords(s.source)],
              ": everything that arrived is learned"],
    paused: ["Learning is ", ["paused"]],
    rolling_back: [["Rolling back"]],
    stopping: [["Stopping"]],
  }[s.state];
  const parts = [...now];
  if (loss !== null)
    parts.push(", ", [bits(loss) + " bits per byte"], direction(t));
  else if (s.accuracy !== null)
    parts.push(", ", [(100 * s.accuracy).toFixed(0) + " % of labels right"]);
  if (s.serving_version) {
    parts.push("; version ", [String(s.serving_version)], " serves");
    if (serving) parts.push(", made " + ago(serving.created * 1000));
  } else parts.push("; no version serves yet");
  if (lag !== null)
    parts.push("; lag ", [plural(lag, "record")]);
  parts.push(".");
  return parts;
}

function showSentence(parts) {
  sync(byId("sentence"), parts.map((part, i) => ({part, i})),
       ({part, i}) => i + (part instanceof Array ? "b" : ""),
       ({part}) => make(part instanceof Array ? "b" : "span"),
       (node, {part}) => setText(node, part instanceof Array ? part[0] : part));
}

// --- three answers ---------------------------------------------------------

// Each is {level: good, note, warn or bad; text}.
function learning(s, t) {
  if (s.state === "paused") return {level: "bad", text: s.reason || "paused"};
  if (s.state !== "learning" && s.state !== "waiting")
    return {level: "note", text: s.state.replace("_", " ")};
  const rate = s.state === "waiting" ? "waiting for records" :
    short(s.tokens_per_second) + " tokens/s";
  if (!t) return {level: "note", text: rate + "; the trend shows soon"};
  const change = Math.abs(t.ratio) <= 0.01 ? "loss steady" :
    "loss " + (t.ratio < 0 ? "down" : "up") + " " +
    (100 * Math.abs(t.ratio)).toFixed(0) + " %";
  return {level: t.ratio > 0.05 ? "warn" : "good",
          text: change + " in " + duration(t.ms / 1000) + ", " + rate};
}

function forgetting(s, versions) {
  const judged = versions.find(v => v.version <= s.publish.judged_version &&
                                    Object.keys(v.holdout).length);
  const known = !judged ? [] : Object.keys(judged.holdout).map(name => {
    const loss = heldLoss(s, judged, name);
    const best = Math.min(loss, bestLoss(s, versions, judged, name) ?? loss);
    return {name, loss, above: loss - best,
            share: (loss - best) / Math.max(best, 1e-9)};
  }).filter(d => d.loss !== null &&
                 judged.holdout[d.name].chunks >= FEW_SEGMENTS)
    .sort((a, b) => b.share - a.share);
  const worst = known[0];
  if (!worst) return {level: "note", text: "too little is held out to say"};
  if (worst.share < NEAR_BEST)
    return {level: "good", text: known.length === 1 ?
      "the domain is within 2 % of its best" :
      "all " + known.length + " domains are within 2 % of their best"};
  const lost = known.filter(d => d.share >= NEAR_BEST).length;
  return {level: worst.share >= 0.1 ? "bad" : "warn", text:
    worst.name + " is " + inUnit(s, worst.above) + " " + unitOf(s) + " (" +
    (100 * worst.share).toFixed(0) + " %) above its best" +
    (lost > 1 ? ", and " + plural(lost - 1, "other") + " above 2 %" : "")};
}

function trouble(s, marks) {
  const p = s.publish, list = [];
  const add = (level, text) => list.push({level, text});
  if (s.state === "paused") add("bad", "learning is paused");
  if (s.source.state === "retrying" || s.source.state === "stopped")
    add("bad", "the source is " + s.source.state +
        (s.source.reason ? ": " + s.source.reason : ""));
  if (p.failed) add("bad", plural(p.failed, "publish", "publishes") +
                    " failed");
  if (s.erasure_pending) add("warn", "a forgotten record is not erased yet");
  if (p.refused_in_a_row)
    add(p.refused_in_a_row > 2 ? "bad" : "warn",
        p.refused_in_a_row === 1 ? "the gate refused the newest version" :
        "the gate refused the last " + p.refused_in_a_row + " versions");
  const news = marks.filter(m => m.time_ms > Date.now() - RECENT_MS);
  const latest = new Map(news.map(m => [m.kind + m.domain, m]));
  for (const m of [...latest.values()].slice(-2).reverse())
    add("warn", m.kind === "drift" ? m.domain + " drifted " + ago(m.time_ms) :
        "rolled back to version " + m.version + " " + ago(m.time_ms));
  if (!list.length) return {level: "good", text: "none"};
  const level = list.some(x => x.level === "bad") ? "bad" : "warn";
  return {level, text: list.slice(0, 3).map(x => x.text).join("; ")};
}

// The worst answer also stands in the title of the tab.
function showAnswers(answers) {
  const levels = Object.values(answers).map(x => x.level);
  document.title = (levels.includes("bad") ? "■ " :
                    levels.includes("warn") ? "▲ " : "") + "mneme";
  for (const [name, {level, text}] of Object.entries(answers)) {
    const node = byId("answers").querySelector(`[data-answer=${name}]`);
    setClass(node, level);
    setText(node.querySelector("dd"), text);
  }
}

// --- the loss --------------------------------------------------------------

const chosen = new Map();   // domain -> whether its line is shown
let state = null;

const loss = new Chart(byId("loss-plot"), {
  label: "Loss by domain over time", height: 270, strip: true,
  format: (v, step) => v.toFixed(step >= 1 ? 0 : step >= 0.1 ? 1 : 2)});
const lag = new Chart(byId("lag-plot"), {
  label: "Lag over time", height: 108, rows: 3, area: true, format: short});
const rate = new Chart(byId("rate-plot"), {
  label: "Tokens learned a second over time", height: 108, rows: 3, area: true,
  format: short});

const radio = name => document.querySelector(`[name=${name}]:checked`).value;

function isShown(domain, i) {
  return chosen.has(domain) ? chosen.get(domain) : i < LINES;
}

// {from, to} of what is shown.
function span(series) {
  const to = series.time_ms.at(-1) || Date.now();
  const seconds = Number(radio("range"));
  const first = radio("measure") === "held" && state.versions.length ?
    Math.min(series.time_ms[0] || to, state.versions.at(-1).created * 1000) :
    series.time_ms[0] || to;
  const from = seconds ? to - seconds * 1000 : first;
  return {from: Math.min(Math.max(from, first), to - 60e3), to};
}

// The lines of all domains: the loss on new text from the series, or that of
// each version on held-out text.
function linesOf({series, status, versions}) {
  if (radio("measure") === "new")
    return status.domains.map(d => ({
      key: d.domain, now: newLoss(status, d), times: series.time_ms,
      values: series.domains[d.domain] || []}));
  const judged = versions.filter(v => v.state !== "pending").reverse();
  return status.domains.map(d => ({
    key: d.domain, now: heldLoss(status, judged.at(-1), d.domain),
    dots: true, joined: true, times: judged.map(v => v.created * 1000),
    values: judged.map(v => heldLoss(status, v, d.domain))}));
}

// pass, fail, pending, or undone by a rollback; and whether it serves.
export function verdictClass(v) {
  if (v.state === "pending") return "pending";
  const failed = v.state === "failed" || v.state === "damaged" ||
    (v.gate && v.gate.verdict === "fail");
  return (v.state === "rolled_back" ? "undone" : failed ? "fail" : "pass") +
         (v.serving ? " serving" : "");
}

function marksOf({series, history, versions}) {
  const marks = series.marks.filter(m => m.kind === "drift").map(m => ({
    key: "drift" + m.time_ms + m.domain, time: m.time_ms, className: "drift",
    label: "drift: " + m.domain}));
  for (const h of history) {
    const automatic = h.cause === "auto_rollback";
    if (automatic || h.cause === "rollback")
      marks.push({key: "back" + h.id, time: h.from_ms, className: "rollback",
                  label: (automatic ? "guard: back to " : "back to ") +
                         h.version});
  }
  const serving = versions.find(v => v.serving);
  if (serving)
    marks.push({key: "serving", time: serving.created * 1000,
                className: "serving", label: serving.version + " serves"});
  return marks.sort((a, b) => a.time - b.time);
}

function showLegend(lines) {
  const at = loss.at;
  sync(byId("legend"), lines, l => l.key, l => {
    const button = make("button", "", make("i"), make("span", "name"),
                        make("span", "value"));
    button.type = "button";
    button.onclick = () => {
      chosen.set(l.key, button.getAttribute("aria-pressed") !== "true");
      showOverview(state);
    };
    return make("li", "", button);
  }, (li, l) => {
    const [mark, name, value] = li.firstChild.children;
    setClass(mark, colourOf(l.key));
    setAttributes(li.firstChild, {"aria-pressed": String(l.shown),
                                  title: l.key});
    setText(name, l.key);
    setText(value, l.format(at === null ? l.now : valueAt(l, at, 300e3)));
  });
}

function describe(lines, unit, at) {
  return lines.filter(l => l.shown !== false).map(l => (l.name || l.key) + " " +
    l.format(at === null ? l.now : valueAt(l, at, 300e3)) + unit).join(", ");
}

function showLoss() {
  const lines = linesOf(state), shown = span(state.series);
  lines.forEach((l, i) => {
    l.shown = isShown(l.key, i);
    l.className = colourOf(l.key);
    l.format = v => inUnit(state.status, v);
  });
  loss.describe = at => describe(lines, " " + unitOf(state.status), at);
  loss.onCursor = at => { link(loss, at); showLegend(lines); };
  loss.show({...shown, lines: lines.filter(l => l.shown),
             marks: marksOf(state),
             versions: state.versions.map(v => ({
               key: v.version, time: v.created * 1000,
               className: verdictClass(v)}))});
  setText(byId("loss-unit"), unitOf(state.status));
  showLegend(lines);
}

// --- lag and throughput ----------------------------------------------------

// The charts have one cursor.
let linking = false;
function link(from, at) {
  if (linking) return;
  linking = true;
  for (const chart of [loss, lag, rate])
    if (chart !== from) chart.move(at);
  linking = false;
}

function showFlow() {
  const {series, status} = state, shown = span(series);
  const parts = [
    [lag, "lag-now", "lag", status.source.lag, "records"],
    [rate, "rate-now", "tokens_per_second", status.tokens_per_second,
     "tokens a second"]];
  for (const [chart, output, name, now, unit] of parts) {
    const line = {key: name, name: unit, times: series.time_ms, now,
                  values: series[name] || [], className: "flow",
                  format: short};
    const say = at => setText(byId(output), short(
      at === null ? now : valueAt(line, at, 300e3)) + " " + unit +
      (at === null ? "" : ", " + clock(at)));
    chart.describe = at => describe([line], "", at);
    chart.onCursor = at => { link(chart, at); say(at); };
    chart.show({...shown, lines: [line], marks: []});
    say(chart.at);
  }
  setText(byId("flow-unit"), count(status.records.consumed) + " records, " +
    short(status.tokens_seen) + " tokens learned");
}

for (const name of ["range", "measure"])
  byId(name).addEventListener("change", () => state && showOverview(state));

export function showOverview(now) {
  state = now;
  const s = now.status, t = trend(now.series);
  showSentence(sentence(s, now.versions, t));
  showAnswers({learning: learning(s, t),
               forgetting: forgetting(s, now.versions),
               trouble: trouble(s, now.series.marks)});
  showLoss();
  showFlow();
  setText(byId("foot"), "mneme has run for " + duration(s.uptime_seconds) +
    "; figures over time begin with its start. " +
    plural(s.step, "step") + ", head version " + s.head_version + ".");
}
