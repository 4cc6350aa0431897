// SPDX-License-Identifier: Apache-2.0
// What npm's openai makes of a daemon: node compat_openai.js URL FOLDER, where
// FOLDER has node_modules/openai. Prints one line for each check, "ok" or "not
// ok". flow_openai.py runs it.
const {createRequire} = require("module");
const path = require("path");

const [url, folder] = process.argv.slice(2);
const {OpenAI} = createRequire(path.join(folder, "x.js"))("openai");
const client = new OpenAI({baseURL: url + "/v1", apiKey: "none", maxRetries: 0});
let failed = false;

function check(condition, name) {
  failed ||= !condition;
  console.log(`${condition ? "ok" : "not ok"} ${name}`);
}

async function refused(call, param) {
  try {
    await call();
  } catch (e) {
    return e.status === 400 && e.param === param;
  }
  return false;
}

async function collect(stream) {
  const all = [];
  for await (const piece of stream) all.push(piece);
  return all;
}

async function main() {
  const ids = (await client.models.list()).data.map((m) => m.id);
  check(ids.includes("mneme"), "models");

  const asked = {model: "mneme", prompt: "tide quay", seed: 3, max_tokens: 12, logprobs: 1};
  const c = await client.completions.create(asked);
  const pieces = await collect(await client.completions.create({
    ...asked, stream: true, stream_options: {include_usage: true}}));
  const choices = pieces.flatMap((p) => p.choices);
  check(choices.map((x) => x.text).join("") === c.choices[0].text, "a streamed completion");
  check(JSON.stringify(choices.flatMap((x) => x.logprobs?.token_logprobs ?? [])) ===
        JSON.stringify(c.choices[0].logprobs.token_logprobs), "streamed logprobs");
  check(pieces.at(-1).usage.total_tokens === c.usage.total_tokens, "usage in the last event");

  const chat = {model: "mneme", seed: 5, max_completion_tokens: 12, logprobs: true,
                top_logprobs: 2, messages: [{role: "user", content: "tide"}]};
  const h = await client.chat.completions.create(chat);
  const chats = client.chat.completions.stream ? client.chat.completions
                                               : client.beta.chat.completions;
  const final = await chats.stream(chat).finalChatCompletion();
  check(final.choices[0].message.content === h.choices[0].message.content &&
        final.choices[0].message.role === "assistant", "a streamed chat");
  check(h.choices[0].logprobs.content.length === h.usage.completion_tokens, "logprobs of a chat");
  check(await refused(() => client.chat.completions.create({
    ...chat, tools: [{type: "function", function: {name: "f"}}]}), "tools"), "tools refused");
  check(await refused(() => client.chat.completions.create({
    ...chat, response_format: {type: "json_object"}}), "response_format"),
    "response_format refused");

  const texts = await client.embeddings.create({model: "mneme", input: ["tide", "quay"]});
  const tokens = await client.embeddings.create({
    model: "mneme", input: [[...Buffer.from("tide")], [...Buffer.from("quay")]]});
  check(JSON.stringify(texts.data) === JSON.stringify(tokens.data), "embeddings of token ids");

  if (client.responses) {
    const r = {model: "mneme", input: "tide", max_output_tokens: 16, seed: 5};
    const whole = await client.responses.create(r);
    const events = await collect(await client.responses.create({...r, stream: true}));
    check(events.filter((e) => e.type === "response.output_text.delta")
            .map((e) => e.delta).join("") === whole.output_text, "a streamed response");
    check(await refused(() => client.responses.create({...r, background: true}), "background"),
          "background refused");
  }
  process.exit(failed ? 1 : 0);
}

main();
