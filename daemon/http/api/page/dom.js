// SPDX-License-Identifier: Apache-2.0
// Nodes that are updated in place, and numbers and times in words.
//
// Texts may come from the stream. They become text nodes and attributes that
// hold no code; the page parses no HTML, and the policy of trusted types
// forbids it.

const SVG = "http://www.w3.org/2000/svg";

export const byId = id => document.getElementById(id);

// make("p", "unit", "text", node): an element with a class and children.
export function make(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

export function makeSvg(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  setAttributes(node, attributes || {});
  return node;
}

// The setters write only what has changed, so that a selection stays.
export function setText(node, text) {
  text = String(text);
  if (node.textContent !== text) node.textContent = text;
}

export function setClass(node, name) {
  if (node.getAttribute("class") !== name) node.setAttribute("class", name);
}

export function setAttributes(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false)
      node.removeAttribute(name);
    else if (node.getAttribute(name) !== String(value))
      node.setAttribute(name, value);
  }
}

// Makes the children of a parent those of a list, in its order. A child whose
// key is still there is kept, with its focus and its selection.
const KEYS = new WeakMap();
export function sync(parent, items, keyOf, create, update) {
  let known = KEYS.get(parent);
  if (!known) {
    KEYS.set(parent, known = new Map());
    parent.replaceChildren();
  }
  const next = new Map();
  let at = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    if (next.has(key)) continue;
    const node = known.get(key) || create(item);
    next.set(key, node);
    known.delete(key);
  }
  for (const node of known.values()) {
    if (node === at) at = at.nextSibling;
    node.remove();
  }
  KEYS.set(parent, next);
  for (const item of items) {
    const node = next.get(keyOf(item));
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
    if (update) update(node, item);
  }
}

// Fills a <select> with [value, text] and keeps what is chosen. The last
// elements change rarely, so an open list does not move.
export function options(select, list) {
  const chosen = select.value;
  sync(select, list, o => o[0], o => new Option(o[1], o[0]),
       (node, o) => setText(node, o[1]));
  if (chosen && select.value !== chosen &&
      list.some(o => o[0] === chosen))
    select.value = chosen;
}

// --- numbers ---------------------------------------------------------------

const NONE = "–";
const isNumber = x => typeof x === "number" && isFinite(x);

export function count(x) {
  return isNumber(x) ? Math.round(x).toLocaleString("en") : NONE;
}

// Three digits: 1,234 is 1.23 k.
export function short(x) {
  if (!isNumber(x)) return NONE;
  for (const [unit, name] of [[1e9, " G"], [1e6, " M"], [1e4, " k"]]) {
    if (Math.abs(x) >= unit)
      return Number((x / (unit === 1e4 ? 1e3 : unit)).toPrecision(3)) + name;
  }
  return Math.abs(x) >= 100 || Number.isInteger(x) ? count(x)
                                                   : x.toPrecision(2);
}

export function bits(x, digits = 2) {
  return isNumber(x) ? x.toFixed(digits) : NONE;
}

// With a sign, and a true minus.
export function signed(x, digits = 2) {
  if (!isNumber(x)) return NONE;
  const text = Math.abs(x).toFixed(digits);
  if (Number(text) === 0) return text;
  return (x > 0 ? "+" : "−") + text;
}

export function percent(x, digits = 1) {
  return isNumber(x) ? signed(100 * x, digits) + " %" : NONE;
}

export function plural(n, one, many) {
  return count(n) + " " + (n === 1 ? one : many || one + "s");
}

export function bytes(x) {
  return x < 1e6 ? Math.round(x / 1024) + " KiB"
                 : (x / 1048576).toFixed(1) + " MiB";
}

// --- times -----------------------------------------------------------------

export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 100) return s + " s";
  if (s < 6000) return Math.round(s / 60) + " min";
  if (s < 172800) return Math.round(s / 3600) + " h";
  return Math.round(s / 86400) + " days";
}

export const ago = ms => duration((Date.now() - ms) / 1000) + " ago";

const pad = n => String(n).padStart(2, "0");

// The time of day; with the date where the span needs one.
export function clock(ms, spanMs = 0) {
  const d = new Date(ms);
  const time = pad(d.getHours()) + ":" + pad(d.getMinutes());
  if (spanMs > 2 * 86400e3)
    return d.toLocaleDateString("en", {day: "numeric", month: "short"}) +
           (spanMs > 8 * 86400e3 ? "" : " " + time);
  return spanMs && spanMs > 600e3 ? time : time + ":" + pad(d.getSeconds());
}
