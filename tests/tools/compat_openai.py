#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What OpenAI's Python package makes of a daemon: compat_openai.py URL

Prints one line for each check, "ok" or "not ok". flow_openai.py runs it.
"""

import json
import math
import sys
import urllib.request

import openai

URL = sys.argv[1]
client = openai.OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0)
n_failed = 0


def check(condition, name):
    global n_failed
    n_failed += not condition
    print(f"{'ok' if condition else 'not ok'} {name}", flush=True)


def refused(call, param, code=None):
    """True when the call fails with 400 and names the parameter."""
    try:
        call()
    except openai.BadRequestError as e:
        return e.param == param and (code is None or e.code == code)
    return False


def completions():
    c = client.completions.create(model="mneme", prompt="tide quay", seed=3,
                                  max_tokens=12)
    check(c.object == "text_completion" and c.usage.completion_tokens > 0 and
          c.system_fingerprint.startswith("fp_"), "a completion")
    pieces = list(client.completions.create(
        model="mneme", prompt="tide quay", seed=3, max_tokens=12, stream=True,
        stream_options={"include_usage": True}))
    check("".join(p.choices[0].text for p in pieces if p.choices) ==
          c.choices[0].text, "the same text streamed")
    # The second request finds the prompt in the prefix cache.
    check(pieces[-1].usage.total_tokens == c.usage.total_tokens and
          all(p.usage is None for p in pieces[:-1]), "usage in the last event")
    a = client.completions.create(model="mneme", prompt="tide quay", seed=3,
                                  max_tokens=12, logprobs=2, echo=True)
    lists = ([], [], [], [])
    for p in client.completions.create(model="mneme", prompt="tide quay",
                                       seed=3, max_tokens=12, logprobs=2,
                                       echo=True, stream=True):
        l = p.choices[0].logprobs
        if l:
            for to, part in zip(lists, (l.tokens, l.token_logprobs,
                                        l.top_logprobs, l.text_offset)):
                to.extend(part)
    l = a.choices[0].logprobs
    check(lists == (l.tokens, l.token_logprobs, l.top_logprobs,
                    l.text_offset), "streamed logprobs")
    biased = client.completions.create(model="mneme", prompt="a", max_tokens=5,
                                       logit_bias={"120": 100}, n=2)
    check([x.text for x in biased.choices] == ["xxxxx"] * 2, "logit_bias")
    one = client.completions.create(model="mneme", prompt="a", max_tokens=40,
                                    temperature=0, logit_bias={"256": -100})
    two = client.completions.create(model="mneme", prompt="a", max_tokens=40,
                                    temperature=0, logit_bias={"256": -100},
                                    frequency_penalty=2, presence_penalty=2)
    check(len(set(two.choices[0].text)) > len(set(one.choices[0].text)),
          "penalties")
    check(refused(lambda: client.completions.create(
        model="mneme", prompt="a", suffix="b"), "suffix"), "suffix refused")
    check(refused(lambda: client.completions.create(
        model="mneme", prompt="a", best_of=3), "best_of"), "best_of refused")
    check(refused(lambda: client.completions.create(
        model="mneme", prompt="a" * 5000), "prompt",
        "context_length_exceeded"), "a prompt longer than the context")
    cut = client.completions.create(
        model="mneme", prompt="a" * 5000, max_tokens=1,
        extra_body={"truncate_prompt_tokens": -1})
    check(cut.usage.prompt_tokens < 5000, "truncate_prompt_tokens")


def chat_stream(**more):
    """The helper that puts a chat together from its events."""
    chats = client.chat.completions
    if not hasattr(chats, "stream"):
        chats = client.beta.chat.completions
    with chats.stream(**more) as s:
        for _ in s:
            pass
        # get_final_completion raises when a length limit was reached
        return s.current_completion_snapshot


def chats():
    asked = {"model": "mneme", "seed": 5, "max_completion_tokens": 12,
             "messages": [{"role": "system", "content": "tide"},
                          {"role": "developer", "content": "quay"},
                          {"role": "user", "content": "harbour"}]}
    c = client.chat.completions.create(**asked, logprobs=True, top_logprobs=3)
    tokens = c.choices[0].logprobs.content
    check(c.choices[0].message.role == "assistant" and
          len(tokens) == c.usage.completion_tokens and
          all(len(t.top_logprobs) == 3 for t in tokens) and
          bytes(b for t in tokens for b in t.bytes).decode() ==
          c.choices[0].message.content, "a chat with logprobs")
    s = chat_stream(**asked, logprobs=True, top_logprobs=3)
    check(s.choices[0].message.content == c.choices[0].message.content and
          [t.logprob for t in s.choices[0].logprobs.content] ==
          [t.logprob for t in tokens] and
          s.choices[0].message.role == "assistant", "the same chat streamed")
    # An answer goes back as it came.
    again = asked["messages"] + [c.choices[0].message.model_dump(),
                                 {"role": "user", "content": [
                                     {"type": "text", "text": "gull"}]}]
    d = client.chat.completions.create(model="mneme", messages=again,
                                       max_tokens=2, n=3)
    check(len(d.choices) == 3, "a second turn, with three choices")
    for field, value in (("tools", [{"type": "function", "function": {
                              "name": "f", "parameters": {}}}]),
                         ("response_format", {"type": "json_object"}),
                         ("tool_choice", "required"),
                         ("functions", [{"name": "f"}]),
                         ("modalities", ["text", "audio"]),
                         ("reasoning_effort", "high"),
                         ("service_tier", "flex")):
        check(refused(lambda: client.chat.completions.create(
            **asked, **{field: value}), field), f"{field} refused")
    client.chat.completions.create(
        **asked, user="u", metadata={"a": "b"}, store=True, tools=[],
        response_format={"type": "text"}, tool_choice="none")
    check(True, "fields without effect")
    for role in ("tool", "function", "narrator"):
        check(refused(lambda: client.chat.completions.create(
            model="mneme", messages=[{"role": role, "content": "a"}]),
            "messages[0].role"), f"role {role} refused")


def embeddings():
    f = client.embeddings.create(model="mneme", input=["tide", "quay"],
                                 encoding_format="float")
    b = client.embeddings.create(model="mneme", input=["tide", "quay"])
    ids = client.embeddings.create(model="mneme",
                                   input=[list(b"tide"), list(b"quay")])
    one = client.embeddings.create(model="mneme", input=list(b"tide"))
    check(all(math.isclose(x, y, abs_tol=1e-6) for a, c in zip(f.data, b.data)
              for x, y in zip(a.embedding, c.embedding)), "float and base64")
    check([d.embedding for d in ids.data] == [d.embedding for d in b.data] and
          one.data[0].embedding == b.data[0].embedding,
          "embeddings of token ids")
    check(refused(lambda: client.embeddings.create(
        model="mneme", input="a", dimensions=2), "dimensions"),
        "dimensions refused")


def responses():
    if not hasattr(client, "responses"):
        check(True, "this package has no responses")
        return
    asked = {"model": "mneme", "instructions": "tide", "input": "quay",
             "max_output_tokens": 16, "extra_body": {"seed": 5}}
    r = client.responses.create(**asked)
    check(r.status in ("completed", "incomplete") and
          r.usage.output_tokens > 0 and r.output_text, "a response")
    chat = client.chat.completions.create(
        model="mneme", max_tokens=16, seed=5,
        messages=[{"role": "system", "content": "tide"},
                  {"role": "user", "content": "quay"}])
    check(chat.choices[0].message.content == r.output_text,
          "it is the chat's answer")
    text, types = "", []
    for event in client.responses.create(**asked, stream=True):
        types.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
    check(text == r.output_text and types[0] == "response.created" and
          types[-1] == f"response.{r.status}", "the same response streamed")
    with client.responses.stream(
            model="mneme", input=[{"role": "user", "content": [
                {"type": "input_text", "text": "quay"}]}],
            max_output_tokens=4) as s:
        for event in s:
            if event.type in ("response.completed", "response.incomplete"):
                final = event.response
    check(final.output[0].content[0].text == final.output_text,
          "the package's helper for streams")
    logged = client.responses.create(
        **asked, top_logprobs=2, include=["message.output_text.logprobs"])
    check(len(logged.output[0].content[0].logprobs) ==
          logged.usage.output_tokens, "logprobs of a response")
    for field, value in (("previous_response_id", "resp_1"),
                         ("tools", [{"type": "web_search_preview"}]),
                         ("background", True),
                         ("text", {"format": {"type": "json_object"}})):
        check(refused(lambda: client.responses.create(**asked,
                                                      **{field: value}),
                      field), f"{field} refused")


def table():
    """Every field that this package knows is in the daemon's table."""
    from openai.types import completion_create_params as c
    from openai.types import embedding_create_params as e
    from openai.types.chat import completion_create_params as h
    known = {"CompletionRequest": c.CompletionCreateParamsBase,
             "ChatRequest": h.CompletionCreateParamsBase,
             "EmbeddingRequest": e.EmbeddingCreateParams}
    try:
        from openai.types.responses import response_create_params as r
        known["ResponseRequest"] = r.ResponseCreateParamsBase
    except ImportError:
        pass
    with urllib.request.urlopen(URL + "/openapi.json") as f:
        schemas = json.load(f)["components"]["schemas"]
    for name, params in known.items():
        missing = set(params.__annotations__) - set(
            schemas[name]["properties"])
        check(not missing, f"{name}: all fields are known {missing or ''}")


def main():
    models = [m.id for m in client.models.list()]
    check("mneme" in models and client.models.retrieve(models[0]).id ==
          models[0], "models")
    try:
        client.completions.create(model="gpt-4", prompt="a")
        check(False, "an unknown model")
    except openai.NotFoundError as e:
        check(e.code == "model_not_found", "an unknown model")
    completions()
    chats()
    embeddings()
    responses()
    table()
    sys.exit(n_failed > 0)


main()
