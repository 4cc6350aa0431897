// SPDX-License-Identifier: Apache-2.0
// Requests to the daemon, the token, and the stream of events.
//
// The token lives in this module and nowhere else. EventSource cannot send it,
// so the stream is read with fetch.

import {byId, setText} from "./dom.js";

let token = null;
let asking = null;      // the question that is open
const declined = {};    // scopes for which the question was closed
let onLink = () => {};

// callback(true) when the daemon answers, callback(false) when not.
export function watchLink(callback) {
  onLink = callback;
}

export class Refusal extends Error {
  constructor(status, error) {
    super(error && error.message || "status " + status);
    this.status = status;
    this.code = error && error.code;
  }
}

function ask(scope) {
  if (asking) return asking;
  asking = new Promise(resolve => {
    const dialog = byId("token"), word = byId("token-word");
    const finish = value => {
      byId("token-form").onsubmit = byId("token-no").onclick =
        dialog.oncancel = null;
      dialog.close();
      word.value = "";
      asking = null;
      resolve(value);
    };
    setText(byId("token-text"), scope === "admin" ?
      "This changes what the daemon does, so it needs an admin token." :
      "This daemon answers only with a token: infer to read, admin to act.");
    byId("token-form").onsubmit = e => {
      e.preventDefault();
      finish(word.value.trim() || null);
    };
    byId("token-no").onclick = () => finish(null);
    dialog.oncancel = e => { e.preventDefault(); finish(null); };
    // In front of a question that is already open.
    dialog.showModal();
    word.focus();
  });
  return asking;
}

function headers(more) {
  return token ? {...more, Authorization: "Bearer " + token} : more;
}

// The daemon cannot be reached, or left in the middle of an answer.
export class NoAnswer extends Error {}

function lost(e) {
  if (e.name === "AbortError") throw e;
  onLink(false);
  throw new NoAnswer("the daemon does not answer");
}

const send = (path, init) => fetch(path, init).catch(lost);

// body: an object, which makes it a POST.
// asks: the user did something, so the question for a token may come again.
export async function request(path, {body, asks = !!body, signal} = {}) {
  for (;;) {
    const init = {method: body ? "POST" : "GET", signal, cache: "no-store",
                  headers: headers({"Content-Type": "application/json"})};
    if (body) init.body = JSON.stringify(body);
    const reply = await send(path, init);
    if (reply.status !== 401 && reply.status !== 503) onLink(true);
    if (reply.ok) return reply.json().catch(lost);
    const {error} = await reply.json().catch(() => ({}));
    const scope = reply.status === 401 ? "infer" :
      error && error.code === "scope" ? "admin" : null;
    if (!scope || (declined[scope] && !asks))
      throw new Refusal(reply.status, error);
    const given = await ask(scope);
    declined[scope] = !given;
    if (!given) throw new Refusal(reply.status, error);
    token = given;
  }
}

const pause = ms => new Promise(done => setTimeout(done, ms));

function parse(block) {
  const event = {name: "message", data: ""};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon < 1) continue;
    const value = line.slice(colon + 1).replace(/^ /, "");
    if (line.startsWith("event:")) event.name = value;
    else if (line.startsWith("id:")) event.id = value;
    else if (line.startsWith("data:")) event.data += value;
  }
  return event;
}

// Calls handle(name, data) for each event, for ever. Reconnects after the last
// event that was read.
export async function follow(handle) {
  let last = null;
  for (;;) {
    try {
      const reply = await send("v1/events",
        {cache: "no-store",
         headers: headers(last ? {"Last-Event-ID": last} : {})});
      if (!reply.ok) throw new Refusal(reply.status);
      const reader = reply.body.pipeThrough(new TextDecoderStream())
        .getReader();
      let text = "";
      for (;;) {
        const {done, value} = await reader.read();
        if (done) break;
        const blocks = (text + value).split("\n\n");
        text = blocks.pop();
        for (const event of blocks.map(parse)) {
          last = event.id || last;
          if (event.data) handle(event.name, JSON.parse(event.data));
        }
      }
    } catch (e) {
      // The next request says what is wrong.
    }
    await pause(2000);
  }
}

// Waits for the end of an operation that an answer names.
export async function finish(answer) {
  while (answer.state !== "done" && answer.state !== "failed" && answer.id) {
    await pause(400);
    answer = await request("v1/operations/" + answer.id);
  }
  return answer;
}
