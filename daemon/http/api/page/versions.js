// SPDX-License-Identifier: Apache-2.0
// The timeline of versions, one version in full beside another one, and the
// operations: promote, roll back, pin.

import {ago, bits, byId, bytes, count, make, makeSvg, options, percent,
        plural, setAttributes, setClass, setText, signed, sync} from "./dom.js";
import {finish, request} from "./request.js";
import {digits, heldLoss, unitOf} from "./measure.js";
import {verdictClass} from "./overview.js";

const SHOWN = 60;     // versions of the timeline
const GAUGE = 72;     // width of the picture of a verdict

let state = null;
let chosen = null;    // the number of the version in full; null: the serving

const find = number => state.versions.find(v => v.version === number);
const current = () => find(chosen) || state.versions.find(v => v.serving) ||
                      state.versions[0];

// --- what the gate said ----------------------------------------------------

function verdictWord(v) {
  return {pending: "at the gate", passed: "passed", failed: "refused",
          rolled_back: "rolled back", damaged: "damaged"}[v.state] || v.state;
}

const reason = v => v.gate && v.gate.reason || (v.state === "pending" ?
  "The gate has not decided yet." : "");

// The difference of the candidate from the reference, relative as the limit is;
// null: nothing was compared.
function comparison(v) {
  const m = v.gate && v.gate.mean;
  if (!m || !m.serving) return null;
  const unit = m.unit || m.serving; // older versions have no unit
  return {change: m.regression / unit, error: m.error / unit,
          limit: m.limit / unit};
}

// A gauge: better to the left of the middle, worse to the right, the limit as
// a line, the estimate with its error.
function makeGauge() {
  const svg = makeSvg("svg", {class: "gauge", width: GAUGE, height: 16,
                              viewBox: `0 0 ${GAUGE} 16`,
                              "aria-hidden": "true"});
  for (const name of ["axis", "zero", "limit", "error", "at"])
    svg.append(makeSvg(name === "at" ? "circle" : "path", {class: name}));
  return svg;
}

function drawGauge(svg, v) {
  const c = comparison(v), [axis, zero, limit, error, at] = svg.children;
  svg.style.visibility = c ? "" : "hidden";
  if (!c) return;
  const most = 2.5 * c.limit, middle = GAUGE / 2;
  const x = part => middle + Math.max(-1, Math.min(1, part / most)) *
    (middle - 4);
  setAttributes(axis, {d: `M2 8.5H${GAUGE - 2}`});
  setAttributes(zero, {d: `M${middle} 5V12`});
  setAttributes(limit, {d: `M${x(c.limit)} 2V15`});
  setAttributes(error, {d: `M${x(c.change - 2 * c.error)} 8.5H` +
                            x(c.change + 2 * c.error)});
  setAttributes(at, {cx: x(c.change), cy: 8.5, r: 3,
                     class: "at " + verdictClass(v)});
}

// --- the timeline ----------------------------------------------------------

// Versions, and the moments when another one was made to serve.
function entries() {
  const list = state.versions.slice(0, SHOWN).map(v => (
    {key: "v" + v.version, time: v.created * 1000, v}));
  const oldest = list.length ? list.at(-1).time : 0;
  for (const h of state.history) {
    if (h.cause === "published" || h.from_ms < oldest) continue;
    list.push({key: "h" + h.id, time: h.from_ms, h});
  }
  return list.sort((a, b) => b.time - a.time);
}

function historyWords(h) {
  const what = {auto_rollback: "The guard went back to ",
                rollback: "Rolled back to ", promote: "An operator chose ",
                damaged: "Damage: back to "}[h.cause] || h.cause + ": ";
  return what + h.version + (h.reason ? ": " + h.reason : "");
}

function createEntry(x) {
  if (x.h)
    return make("li", "turn", make("span", "rail"), make("p", "words"),
                make("time"));
  const button = make("button", "row", make("b"), make("span", "word"),
                      makeGauge(), make("span", "change"), make("time"));
  button.type = "button";
  button.onclick = () => select(x.v.version);
  const more = make("a", "more", "Compare, promote or roll back");
  more.href = "#version";
  return make("li", "", make("span", "rail"), button, make("p", "words"), more);
}

function updateEntry(li, x) {
  if (x.h) {
    setText(li.children[1], historyWords(x.h));
    setText(li.children[2], ago(x.time));
    return;
  }
  const [number, word, gauge, change, time] = li.children[1].children;
  const v = x.v, c = comparison(v);
  setClass(li, verdictClass(v) + (v === current() ? " chosen" : ""));
  setAttributes(li.children[1], {"aria-pressed": String(v === current())});
  setText(number, v.version);
  setText(word, [verdictWord(v), v.serving && "serves", v.pinned && "pinned",
                 ...v.tags.map(tag => "@" + tag)].filter(Boolean).join(", "));
  drawGauge(gauge, v);
  setText(change, c ? percent(c.change) : "");
  setText(time, ago(x.time));
  li.children[3].hidden = v !== current();
  setText(li.children[2], v.serving || v === current() ||
    v.state === "failed" ? reason(v) : "");
}

// --- one version -----------------------------------------------------------

function select(number) {
  chosen = number;
  showVersions(state);
}

// What the gate and the shadow comparison knew.
function gateFacts({against, mean, shadow}) {
  const list = [];
  if (against)
    list.push(["gate", "compared with version " + against +
               (mean ? " on " + plural(mean.chunks, "segment") : "")]);
  if (shadow && shadow.records && shadow.difference !== null)
    list.push(["shadow", percent(shadow.difference) + " on " +
      plural(shadow.records, "segment") + "; evidence against it " +
      signed(shadow.evidence_at_once, 1) + ", a rollback needs " +
      signed(shadow.enough, 1)]);
  return list;
}

function facts(v) {
  const offsets = v.offsets.slice(0, 3).map(o =>
    o.topic + "/" + o.partition + " up to " + count(o.offset)).join(", ");
  return [
    ["made", new Date(v.created * 1000).toLocaleString("en-GB")],
    ["parent", v.parent || "none"],
    ["learned", count(v.tokens_seen) + " tokens in " + count(v.step) +
                " steps"],
    ["stream", offsets + (v.offsets.length > 3 ? ", and " +
      (v.offsets.length - 3) + " more" : "")],
    ...gateFacts(v.gate || {}),
    ["size", bytes(v.bytes)],
    ["weights", v.weights_sha256.slice(0, 16)],
  ];
}

function showFacts(v) {
  sync(byId("version-facts"), facts(v), f => f[0],
       f => make("div", "", make("dt", "", f[0]), make("dd")),
       (node, f) => setText(node.lastChild, f[1]));
}

function showDiff(v, other) {
  const names = [...new Set([...Object.keys(v.holdout),
                             ...Object.keys(other ? other.holdout : {})])];
  const limits = new Map((v.gate && v.gate.domains || []).map(
    d => [d.domain, d.limit / d.serving]));
  const {status} = state;
  setText(byId("diff-unit"), "held-out " + unitOf(status));
  setText(byId("diff-this"), v.version);
  setText(byId("diff-that"), other ? other.version : "–");
  sync(byId("diff-rows"), names, n => n, n => {
    const tr = make("tr", "", make("th", "", n));
    tr.firstChild.scope = "row";
    for (let i = 0; i < 4; i++) tr.append(make("td", "n"));
    return tr;
  }, (tr, n) => {
    const a = heldLoss(status, v, n), b = heldLoss(status, other, n);
    const change = a !== null && b ? a / b - 1 : null;
    setText(tr.children[1], bits(a, digits(status)));
    setText(tr.children[2], bits(b, digits(status)));
    setText(tr.children[3], change === null ? "–" :
      signed(a - b, digits(status)) + " (" + percent(change) + ")");
    setClass(tr.children[3], "n " + (change > 0.01 ? "worse" :
      change < -0.01 ? "better" : ""));
    setText(tr.children[4], limits.get(n) ? percent(limits.get(n)) : "–");
  });
}

function otherOf(v) {
  const value = Number(byId("against").value);
  return find(value) || find(v.parent) ||
         state.versions.find(x => x !== v && x.version < v.version);
}

function showVersion() {
  const v = current(), list = state.versions;
  byId("version-body").hidden = !v;
  if (!v) return;
  setText(byId("version-title"), "Version " + v.version);
  setText(byId("version-made"), [v.serving && "serving", v.head && "newest",
    v.pinned && "pinned", verdictWord(v) + " " + ago(v.created * 1000)]
    .filter(Boolean).join(", "));
  setText(byId("version-verdict"), reason(v));
  setClass(byId("version-verdict"), "verdict " + verdictClass(v));
  showFacts(v);
  options(byId("against"), [["0", "its parent"], ...list.filter(x => x !== v)
    .map(x => [String(x.version), x.version + (x.serving ? ", serving" :
      ", " + verdictWord(x))])]);
  showDiff(v, otherOf(v));
  const usable = v.state !== "damaged" && v.state !== "pending";
  byId("promote").disabled = !usable ||
    (v.serving && state.status.serving_pinned);
  byId("rollback").disabled = !usable || v.head || v.state === "rolled_back";
  setText(byId("promote"),
          v.serving ? "Keep it serving…" : "Make it serve…");
  setText(byId("pin"), v.pinned ? "Unpin" : "Pin");
  byId("follow").hidden = !state.status.serving_pinned;
}

byId("against").addEventListener("change", showVersion);

// --- operations ------------------------------------------------------------

export function toast(text) {
  setText(byId("toast"), text);
  byId("toast").classList.add("is-shown");
  clearTimeout(toast.timer);
  toast.timer = setTimeout(
    () => byId("toast").classList.remove("is-shown"), 8000);
}

// Runs a request that starts an operation, and says how it ended.
export async function operate(path, body, what) {
  const done = await finish(await request(path, {body}));
  if (done.state === "failed")
    throw new Error(done.error && done.error.message || done.detail ||
                    done.error || "it failed");
  toast(what + ".");
  document.dispatchEvent(new Event("mneme-changed"));
  return done;
}

// Asks for a word, then calls act({reason, stream}). What goes wrong is shown
// in the dialog, which stays open.
export function confirm({title, text, word, button, stream = false,
                         why = true, act}) {
  const dialog = byId("confirm"), typed = byId("confirm-word");
  const go = byId("confirm-go"), opener = document.activeElement;
  const close = () => { dialog.close(); if (opener) opener.focus(); };
  setText(byId("confirm-title"), title);
  setText(byId("confirm-text"), text);
  setText(byId("confirm-wanted"), word);
  setText(byId("confirm-wrong"), "");
  setText(go, button);
  byId("confirm-stream").hidden = !stream;
  byId("confirm-why-field").hidden = !why;
  typed.value = byId("confirm-why").value = "";
  go.disabled = true;
  typed.oninput = () => { go.disabled = typed.value.trim() !== word; };
  byId("confirm-no").onclick = close;
  dialog.oncancel = e => { e.preventDefault(); close(); };
  byId("confirm-form").onsubmit = async e => {
    e.preventDefault();
    if (typed.value.trim() !== word) return;
    go.disabled = true;
    setText(byId("confirm-wrong"), "");
    setText(go, "Working…");
    try {
      const chosen = document.querySelector("[name=stream]:checked");
      await act({reason: byId("confirm-why").value, stream: chosen.value});
      close();
    } catch (error) {
      setText(byId("confirm-wrong"), error.message);
    }
    setText(go, button);
    go.disabled = false;
  };
  dialog.showModal();
  (stream ? dialog.querySelector("[name=stream]:checked") :
   why ? byId("confirm-why") : typed).focus();
}

byId("promote").onclick = () => {
  const n = current().version;
  confirm({title: "Make version " + n + " serve",
    text: "It answers from now on, and goes on to answer until you let the " +
      "gate choose again. Learning goes on.",
    word: String(n), button: "Make " + n + " serve",
    act: o => operate(`v1/versions/${n}/promote`, {reason: o.reason},
                      "Version " + n + " serves")});
};

byId("rollback").onclick = () => {
  const n = current().version;
  confirm({title: "Roll back to version " + n,
    text: "It serves at once, and learning goes on from it.",
    word: String(n), button: "Roll back to " + n, stream: true,
    act: o => operate("v1/rollback", {version: n, ...o},
                      "Rolled back to version " + n)});
};

byId("follow").onclick = () => confirm({
  title: "Let the gate choose again",
  text: "The newest version that passed serves from now on, and each one " +
    "that passes after it.",
  word: "latest", button: "Follow the gate",
  act: o => operate("v1/versions/latest/promote", {reason: o.reason},
                    "The gate chooses again")});

byId("pin").onclick = async () => {
  const v = current();
  try {
    await operate(`v1/versions/${v.version}/${v.pinned ? "unpin" : "pin"}`, {},
                  "Version " + v.version + (v.pinned ? " may be removed" :
                  " is kept for good"));
  } catch (error) {
    toast(error.message);
  }
};

export function showVersions(now) {
  state = now;
  if (!state) return;
  sync(byId("versions"), entries(), x => x.key, createEntry, updateEntry);
  showVersion();
}
