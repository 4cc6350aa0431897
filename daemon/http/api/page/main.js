// SPDX-License-Identifier: Apache-2.0
// What the page knows of the daemon, and when it asks again.
//
// `state` is one object; each part of the page has a function that shows it.
// Status and series are read every two seconds while the page is visible. The
// stream of events says when versions are to be read, too. Without an answer
// the page says so, turns grey, and asks on.

import {byId, clock, setText} from "./dom.js";
import {follow, NoAnswer, Refusal, request, watchLink} from "./request.js";
import {showOverview} from "./overview.js";
import {showHeatMap} from "./heat_map.js";
import {showVersions} from "./versions.js";
import {showQuarantine} from "./quarantine.js";
import {showPlayground} from "./playground.js";

const PERIOD_MS = 2000;
const ROWS_KEPT = 6000;      // of the series, before it is read anew
const VERSIONS = 100;        // read at most
const ALL_VERSIONS_MS = 30e3;

const state = {
  status: null,
  versions: [],   // the newest first
  history: [],    // which version served, the newest first
  series: {time_ms: [], domains: {}, marks: []},
};

// --- reading ---------------------------------------------------------------

// Appends the rows that are new; a domain that comes later begins with nulls.
function append(to, more) {
  const n = to.time_ms.length, m = more.time_ms.length;
  const none = k => Array(k).fill(null);
  for (const [name, list] of Object.entries(more)) {
    if (name !== "domains" && name !== "marks")
      to[name] = (to[name] || none(name === "time_ms" ? 0 : n)).concat(list);
  }
  for (const name of Object.keys({...to.domains, ...more.domains}))
    to.domains[name] = (to.domains[name] || none(n))
      .concat(more.domains[name] || none(m));
  to.marks.push(...more.marks);
}

async function readSeries() {
  const {time_ms, marks} = state.series;
  if (time_ms.length > ROWS_KEPT) {
    state.series = await request("v1/series");
    return;
  }
  const last = Math.max(0, time_ms.at(-1) || 0);
  const more = await request("v1/series" + (last ? "?after=" + last : ""));
  // A mark may be older than the last row that was read.
  const known = new Set(marks.map(m => m.time_ms + m.kind + m.domain));
  more.marks = more.marks.filter(
    m => !known.has(m.time_ms + m.kind + m.domain));
  append(state.series, more);
}

let wanted = VERSIONS;   // versions to read next; 0: none
let allAt = 0;

async function readVersions() {
  if (Date.now() - allAt > ALL_VERSIONS_MS) wanted = VERSIONS;
  if (!wanted) return;
  const limit = wanted;
  wanted = 0;
  try {
    const {versions} = await request("v1/versions?limit=" + limit);
    const oldest = versions.length ? versions.at(-1).version : 0;
    const head = versions.length ? versions[0].version : 0;
    if (limit === VERSIONS) {
      state.versions = versions;
      state.history = (await request("v1/history?limit=200")).history;
      allAt = Date.now();
    } else {
      state.versions = versions.concat(state.versions.filter(
        v => v.version < oldest && v.version <= head));
    }
  } catch (e) {
    wanted = limit;
    throw e;
  }
}

// Flags move between versions when another one serves: all are read again.
function onEvent(name, data) {
  if (name === "gate" || name === "publish" || name === "missed")
    wanted = Math.max(wanted, 10);
  if (name === "rollback" || name === "serving") wanted = VERSIONS;
  if (name !== "step") wake();
}

// --- the loop --------------------------------------------------------------

let wake = () => {};
const rest = () => new Promise(done => {
  const timer = setTimeout(done, PERIOD_MS);
  wake = () => { clearTimeout(timer); setTimeout(done, 150); };
});

function show() {
  const parts = [showOverview, showHeatMap, showVersions, showQuarantine,
                 showPlayground];
  for (const part of parts) part(state);
}

// Reads all versions again at once.
function refresh() {
  wanted = VERSIONS;
  wake();
}

let goneSince = 0;

// refusal: the daemon answers, but not this page.
function showLink(live, refusal) {
  goneSince = live ? 0 : goneSince || Date.now();
  if (!live)
    setText(byId("gone-text"), (refusal ?
      "The daemon refuses: " + refusal.message :
      "The daemon has not answered since " + clock(goneSince)) +
      (state.status ? ". The page shows what it knew then, and asks on." :
                      ". The page asks on."));
  byId("gone-token").hidden = !(refusal && refusal.status === 401);
  byId("gone").hidden = live;
  document.body.classList.toggle("is-gone", !live);
  setText(byId("link-text"), live ? "live" : "no answer");
}

async function run() {
  for (;;) {
    if (!document.hidden) {
      try {
        const status = await request("v1/status");
        if (state.status && status.uptime_seconds <
            state.status.uptime_seconds) refresh();
        const versions = state.status && state.status.serving_version;
        if (status.serving_version !== versions) wanted = VERSIONS;
        state.status = status;
        await Promise.all([readSeries(), readVersions()]);
        show();
      } catch (e) {
        if (e instanceof Refusal) showLink(false, e);
        else if (!(e instanceof NoAnswer)) console.error(e);
      }
    }
    await rest();
  }
}

watchLink(showLink);
document.addEventListener("mneme-changed", refresh);
document.addEventListener("visibilitychange", () => wake());
byId("gone-token").onclick = () => request("v1/status", {asks: true})
  .then(wake, () => {});
follow(onEvent);
run();
