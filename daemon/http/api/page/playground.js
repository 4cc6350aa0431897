// SPDX-License-Identifier: Apache-2.0
// The playground: one prompt, completed by two versions. Each token has the
// colour of its probability: those of the prompt from /v1/score, those of the
// completion from its logprobs.

import {bits, byId, make, options, setText, sync} from "./dom.js";
import {request} from "./request.js";

const ALTERNATIVES = 4;
const LEVELS = [0.5, 0.2, 0.05, 0.01];   // probabilities

// --- tokens ----------------------------------------------------------------

const decoder = new TextDecoder("utf-8", {fatal: true});

// The bytes of "bytes:\xe2\x82"; null: the token is text.
function bytesOf(token) {
  if (!/^bytes:(\\x[0-9a-f]{2})+$/.test(token)) return null;
  return token.match(/[0-9a-f]{2}(?=\\|$)/g).map(x => parseInt(x, 16));
}

// Joins the tokens that are parts of one character. The probability of a
// character is the product of its tokens'.
function characters(tokens) {
  const list = [];
  let part = null;
  for (const t of tokens) {
    const bytes = bytesOf(t.token);
    if (!bytes) {
      part = null;
      list.push({...t});
      continue;
    }
    if (!part) list.push(part = {token: "", logprob: 0, bytes: []});
    part.bytes.push(...bytes);
    part.logprob += t.logprob || 0;
    try {
      part.token = decoder.decode(new Uint8Array(part.bytes));
      part = null;
    } catch (e) {
      part.token = "�";
    }
  }
  return list;
}

const probability = t => t.logprob === null ? null : Math.exp(t.logprob);

function share(p) {
  return p >= 0.0995 ? (100 * p).toFixed(0) + " %" :
         p >= 0.001 ? (100 * p).toFixed(1) + " %" : "below 0.1 %";
}

const visible = text => JSON.stringify(text).slice(1, -1);

function tokenNode(t) {
  const p = probability(t);
  const node = make("span", p === null ? "" : "p" +
                    LEVELS.filter(l => p < l).length, t.token);
  node.words = visible(t.token) + (p === null ? "" : ": " + share(p)) +
    (t.others && t.others.length ? "; else " + t.others.map(
      ([token, logprob]) => visible(token) + " " +
        share(Math.exp(logprob))).join(", ") : "");
  return node;
}

// --- one side --------------------------------------------------------------

function createSide(x) {
  const text = make("p", "tokens"), readout = make("p", "readout");
  text.tabIndex = 0;
  text.setAttribute("role", "group");
  text.setAttribute("aria-label", x.name + ": the answer. The arrow keys " +
                    "move from token to token.");
  readout.setAttribute("role", "status");
  let at = null;
  const point = node => {
    if (at) at.classList.remove("is-at");
    at = node;
    if (!node) return;
    node.classList.add("is-at");
    setText(readout, node.words);
  };
  text.addEventListener("pointerover",
                        e => e.target.words && point(e.target));
  text.addEventListener("keydown", e => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[e.key];
    const all = [...text.querySelectorAll("span[class^=p]")];
    if (!step || !all.length) return;
    e.preventDefault();
    const i = all.indexOf(at) + step;
    point(all[Math.max(0, Math.min(all.length - 1, i))]);
  });
  return make("article", "side", make("h3"), make("p", "measure"), text,
              readout);
}

const sides = [{name: "Left", select: "left"},
               {name: "Right", select: "right"}];
sync(byId("sides"), sides, x => x.name, createSide);
byId("sides").hidden = true;

async function askSide(x, node, body, signal) {
  const [title, measure, text, readout] = node.children;
  setText(measure, "Asking…");
  setText(readout, "");
  text.replaceChildren();
  try {
    const model = byId(x.select).value;
    let prompt = [], scored = null;
    if (body.prompt) {
      scored = await request("v1/score", {signal,
        body: {text: body.prompt, model, tokens: true}});
      prompt = characters(scored.results[0].logprobs);
    }
    const answer = await request("v1/completions",
      {signal, body: {...body, model, logprobs: ALTERNATIVES,
        truncate_prompt_tokens: -1}});
    const l = answer.choices[0].logprobs;
    const others = l.top_logprobs || [];
    const made = characters(l.tokens.map((token, i) => ({token,
      logprob: l.token_logprobs[i], others: Object.entries(others[i] || {})
        .filter(([name]) => name !== token).sort((a, b) => b[1] - a[1])
        .slice(0, 3)})));
    setText(title, "Version " + answer.version);
    setText(measure, (scored ? "prompt " +
      bits(scored.results[0].bits_per_byte) + " bits per byte, " : "") +
      "seed " + answer.seed);
    const asked = make("span", "asked", ...prompt.map(tokenNode));
    text.replaceChildren(asked, ...made.map(tokenNode));
    setText(readout, "Point at a token, or move with the arrow keys.");
  } catch (error) {
    if (error.name !== "AbortError") setText(measure, error.message);
  }
}

let last = null;

byId("ask").onsubmit = async e => {
  e.preventDefault();
  if (last) last.abort();
  last = new AbortController();
  const number = id => Number(byId(id).value);
  const body = {prompt: byId("prompt").value, max_tokens: number("tokens"),
                temperature: number("temperature"), seed: number("seed")};
  byId("sides").hidden = false;
  for (const x of sides)
    setText(byId("sides").children[sides.indexOf(x)].firstChild,
            byId(x.select).selectedOptions[0].text);
  const nodes = byId("sides").children;
  await Promise.all(sides.map((x, i) => askSide(x, nodes[i], body,
                                                last.signal)));
};

export function showPlayground({versions}) {
  const list = versions.filter(v => v.state !== "damaged").map(
    v => ["mneme@" + v.version, "version " + v.version +
          (v.serving ? ", serving" : "")]);
  options(byId("left"), [["mneme", "the serving version"], ...list]);
  options(byId("right"), [["mneme@previous", "the one that served before"],
                          ["mneme@latest", "the newest version"], ...list]);
}
