// SPDX-License-Identifier: Apache-2.0
// The heat map: how far each version's held-out loss is above the lowest one
// that it and its ancestors have had, by domain.
//
// It is a table, so it needs no other form for a screen reader. One cell has
// the keyboard focus; the arrow keys move it.

import {bits, byId, make, percent, setAttributes, setClass, setText, sync}
  from "./dom.js";
import {bestLoss, digits, heldLoss, shown as inUnit, unitOf}
  from "./measure.js";
import {verdictClass} from "./overview.js";

const LEVELS = [0.01, 0.02, 0.05, 0.1, 0.2];   // of the best loss
const NAMES = ["below 1 %", "1 %", "2 %", "5 %", "10 %", "20 % and more"];
const CELL = 20, LABEL = 118;   // widths, in pixels

const table = make("table");
table.setAttribute("role", "grid");
table.setAttribute("aria-label", "Forgetting by domain and version");
const head = make("tr"), body = make("tbody");
table.append(make("thead", "", head), body);
byId("heat-scroll").append(table);

let state = null;
let focused = null;   // "domain\nversion"
let drawn = null;     // what the picture was made from

sync(byId("heat-key"), NAMES, n => n, (n) => make("li", "",
  make("i", "f" + NAMES.indexOf(n)), n));

// What a version's holdout says of a domain; null: nothing.
function cellOf(v, domain) {
  const {status, versions} = state, loss = heldLoss(status, v, domain);
  if (loss === null) return null;
  const best = bestLoss(status, versions, v, domain);
  const low = Math.min(loss, best === undefined ? Infinity : best);
  return {loss, above: loss - low, share: (loss - low) / Math.max(low, 1e-9),
          segments: v.holdout[domain].chunks};
}

const levelOf = cell => "f" + LEVELS.filter(l => cell.share >= l).length;

function words(domain, v, cell) {
  const where = domain + ", version " + v.version + ": ";
  if (!cell) return where + "nothing held out";
  const n = digits(state.status);
  return where + bits(cell.loss, n) + " " + unitOf(state.status) + ", " +
    (cell.above > 0 ? bits(cell.above, n) + " (" + percent(cell.share) +
     ") above its best" : "its best so far") + ", " + cell.segments + " segments";
}

function say(node) {
  setText(byId("heat-readout"), node.getAttribute("aria-label"));
}

const cells = () => [...body.querySelectorAll("td")];

function focus(node) {
  for (const td of cells()) td.tabIndex = td === node ? 0 : -1;
  focused = node && node.dataset.key;
}

table.addEventListener("focusin", e => {
  const td = e.target.closest("td");
  if (td) { focus(td); say(td); }
});
table.addEventListener("pointerover", e => {
  const td = e.target.closest("td");
  if (td) say(td);
});
table.addEventListener("keydown", e => {
  const td = e.target.closest("td");
  if (!td) return;
  const row = td.parentNode, i = [...row.children].indexOf(td);
  const next = {
    ArrowLeft: td.previousElementSibling, ArrowRight: td.nextElementSibling,
    ArrowUp: row.previousElementSibling &&
      row.previousElementSibling.children[i],
    ArrowDown: row.nextElementSibling && row.nextElementSibling.children[i],
    Home: row.children[1], End: row.lastElementChild}[e.key];
  if (!next || next.tagName !== "TD") return;
  e.preventDefault();
  next.focus();
});

byId("heat-numbers").addEventListener("change",
                                      () => state && showHeatMap(state));

function showRow(row, domain, shown, numbers) {
  sync(row, [{name: domain}, ...shown],
       x => x.version || "name",
       x => x.version ? make("td", "", make("span"))
                      : Object.assign(make("th", ""), {scope: "row"}),
       (node, x) => {
    if (!x.version) {
      setText(node, domain);
      setAttributes(node, {title: domain});
      return;
    }
    const cell = cellOf(x, domain);
    node.dataset.key = domain + "\n" + x.version;
    setClass(node, cell ? levelOf(cell) : "none");
    setAttributes(node, {"aria-label": words(domain, x, cell)});
    setText(node.firstChild,
            numbers && cell ? inUnit(state.status, cell.loss) : "");
  });
}

export function showHeatMap(now) {
  state = now;
  const numbers = byId("heat-numbers").checked;
  const {clientWidth} = byId("heat-scroll"), {length} = now.status.domains;
  // With many domains it takes a while.
  const seen = [now.versions, numbers, clientWidth, length];
  if (drawn && seen.every((x, i) => x === drawn[i])) return;
  drawn = seen;
  const had = table.contains(document.activeElement);
  const width = clientWidth - LABEL;
  const n = numbers ? 60 : Math.max(6, Math.floor(width / CELL));
  const shown = now.versions.filter(v => v.state !== "pending" &&
    Object.keys(v.holdout).length).slice(0, n).reverse();
  const domains = now.status.domains.map(d => d.domain).filter(
    d => shown.some(v => v.holdout[d]));
  // Numbers of versions stand above every so many columns.
  const every = numbers ? 1 : Math.ceil(34 / CELL) + 1;
  table.classList.toggle("numbers", numbers);
  sync(head, [{name: true}, ...shown], x => x.version || "name",
       x => Object.assign(make("th", "", make("span")), {scope: "col"}),
       (node, x) => {
    const i = shown.indexOf(x);
    const label = (shown.length - 1 - i) % every === 0;
    setText(node.firstChild, x.version ? x.version : "domain");
    setClass(node, x.version ? (label ? "" : "quiet ") + verdictClass(x)
                             : "corner");
  });
  sync(body, domains, d => d, () => make("tr"),
       (row, d) => showRow(row, d, shown, numbers));
  // The focus stays in the table when its cell is no longer shown.
  const all = cells();
  const keep = all.find(td => td.dataset.key === focused) || all.at(-1);
  for (const td of all) td.tabIndex = td === keep ? 0 : -1;
  if (had && keep && !table.contains(document.activeElement)) keep.focus();
  byId("heat-scroll").hidden = !domains.length;
  if (!domains.length)
    setText(byId("heat-readout"), "Nothing is held out yet.");
}
