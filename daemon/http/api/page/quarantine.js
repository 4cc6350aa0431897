// SPDX-License-Identifier: Apache-2.0
// The quarantine: how many records were refused and why; the records
// themselves, which need an admin token; and their release.

import {ago, byId, count, make, plural, setText, sync} from "./dom.js";
import {request} from "./request.js";
import {confirm, operate, toast} from "./versions.js";

const PAGE = 8;

let rows = [];        // that are shown, the newest first
let open = false;     // the user has asked for them
let readAt = "";     // what the status said when they were read

async function read(before) {
  const {quarantine} = await request(
    `v1/quarantine?limit=${PAGE}` + (before ? "&before=" + before : ""),
    {asks: true});
  rows = before ? rows.concat(quarantine) : quarantine;
  byId("quarantine-more").hidden = quarantine.length < PAGE;
  byId("quarantine-none").hidden = rows.length > 0;
  showRecords();
}

async function attempt(work) {
  try {
    await work();
  } catch (error) {
    toast(error.message);
  }
}

byId("quarantine-load").onclick = () => attempt(async () => {
  await read();
  open = true;
  setText(byId("quarantine-load"), "Read again");
});
byId("quarantine-more").onclick = () => attempt(() => read(rows.at(-1).id));

// The record's bytes as text, and why it cannot be released.
async function showWhole(li, row) {
  const whole = await request("v1/quarantine/" + row.id, {asks: true});
  const pre = li.querySelector("pre"), note = li.querySelector(".note");
  setText(pre, whole.text === null ? whole.base64 : whole.text);
  setText(note, [whole.detail, whole.why_not].filter(Boolean).join(". "));
  li.querySelector(".release").disabled = !whole.releasable;
  li.classList.add("is-whole");
  li.querySelector(".whole").hidden = true;
}

function createRecord(row) {
  const whole = make("button", "whole", "Show whole");
  const release = make("button", "release", "Release");
  const li = make("li", "", make("p", "head", make("b", "reason"),
    make("span", "where"), make("time")), make("pre"),
    make("p", "actions", release, whole), make("p", "note"));
  whole.type = release.type = "button";
  whole.setAttribute("aria-label", "Show record " + row.id + " whole");
  release.setAttribute("aria-label", "Release record " + row.id);
  whole.onclick = () => attempt(() => showWhole(li, row));
  release.onclick = () => attempt(async () => {
    await operate(`v1/quarantine/${row.id}/release`, {},
                  "The record is released, and will be learned");
    await read();
  });
  return li;
}

function showRecords() {
  sync(byId("records"), rows, r => r.id, createRecord, (li, r) => {
    const q = name => li.querySelector(name);
    setText(q(".reason"), r.reason.replaceAll("_", " "));
    setText(q(".where"), [r.domain, r.topic && r.topic + "/" + r.partition +
      " at " + count(r.offset), plural(r.bytes, "byte")].filter(Boolean)
      .join(", "));
    setText(q("time"), r.time_ms > 0 ? ago(r.time_ms) : "");
    if (!li.classList.contains("is-whole"))
      setText(q("pre"), r.preview === null ? "" : r.preview);
    q(".release").hidden = r.released;
    if (r.released) setText(q(".note"), "Released.");
  });
}

function releaseAll(reason) {
  confirm({title: "Release records", text: "All quarantined records with the " +
      "reason " + reason + " go through the filters again, and are learned " +
      "if they pass.",
    word: reason, button: "Release them", why: false,
    act: async () => {
      await operate("v1/quarantine/release", {reason},
                    "The records are released");
      if (open) await read();
    }});
}

export function showQuarantine({status}) {
  const list = Object.entries(status.quarantine).map(
    ([reason, n]) => ({reason, n})).sort((a, b) => b.n - a.n);
  setText(byId("quarantine-count"), list.length ?
    plural(status.records.quarantined, "record was", "records were") +
    " refused" : "no record was refused");
  sync(byId("reasons"), list, x => x.reason, x => {
    const all = make("button", "", "Release all…");
    all.type = "button";
    all.setAttribute("aria-label", "Release all with the reason " + x.reason);
    all.onclick = () => releaseAll(x.reason);
    return make("li", "", make("b"), make("span", "",
                x.reason.replaceAll("_", " ")), all);
  }, (li, x) => setText(li.firstChild, count(x.n)));
  byId("quarantine-load").hidden = !list.length;
  // Records are listed when the next version is written.
  const at = status.head_version + " " + status.records.quarantined;
  if (open && at !== readAt && rows.length <= PAGE) attempt(() => read());
  readAt = at;
}
