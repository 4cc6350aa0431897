#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes small random models of each family with Hugging Face transformers, and
their logits, for tests/interchange/test_import.c.

    make_models.py DIR

Each folder DIR/NAME is as transformers' save_pretrained writes it, with an empty
tokenizer.json. DIR/tokenizer.json has 256 bytes and <|endoftext|>, and fits all
of them. DIR/NAME/expected.txt has the
ids of a text and, for each position, the logits of some ids:

    ids N   then N ids
    logits N K   then N rows of K logits, of the ids 0, S, 2 S, ...

The weights are BF16 or F16, so the numbers of a model are exact in either
program; the logits are computed in double precision. Made with torch 2.15.0 and
transformers 4.57.1.
"""

import json
import os
import shutil
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig,
                          MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM,
                          Qwen3Config, Qwen3ForCausalLM)

SIZES = dict(vocab_size=300, hidden_size=16, intermediate_size=24,
             num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=128, bos_token_id=256, eos_token_id=256)
N_TOKENS = 40
STEP = 61

MODELS = {
    # name: (config, class, type of the numbers, largest file)
    "llama": (LlamaConfig(**SIZES, tie_word_embeddings=False,
                          rms_norm_eps=1e-5),
              LlamaForCausalLM, torch.bfloat16, "1GB"),
    "smollm": (LlamaConfig(**{**SIZES, "num_attention_heads": 3,
                              "num_key_value_heads": 1, "hidden_size": 18},
                           tie_word_embeddings=True, rope_theta=100000.0),
               LlamaForCausalLM, torch.bfloat16, "1GB"),
    "llama3": (LlamaConfig(**SIZES, tie_word_embeddings=True,
                           rope_theta=500000.0, head_dim=8,
                           rope_scaling={
                               "rope_type": "llama3", "factor": 8.0,
                               "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                               "original_max_position_embeddings": 32}),
               LlamaForCausalLM, torch.bfloat16, "20KB"),
    "linear": (LlamaConfig(**SIZES, tie_word_embeddings=True,
                           attention_bias=True,
                           rope_scaling={"rope_type": "linear",
                                         "factor": 4.0}),
               LlamaForCausalLM, torch.float16, "1GB"),
    "mistral": (MistralConfig(**SIZES, head_dim=12, sliding_window=64,
                              tie_word_embeddings=False),
                MistralForCausalLM, torch.bfloat16, "1GB"),
    "qwen2": (Qwen2Config(**SIZES, tie_word_embeddings=True,
                          rope_theta=1000000.0),
              Qwen2ForCausalLM, torch.bfloat16, "1GB"),
    "qwen3": (Qwen3Config(**SIZES, tie_word_embeddings=True, head_dim=16,
                          rope_theta=1000000.0),
              Qwen3ForCausalLM, torch.float16, "1GB"),
}


def byte_alphabet():
    keep = (list(range(ord("!"), ord("~") + 1)) + list(range(0xa1, 0xad))
            + list(range(0xae, 0x100)))
    other = iter(range(256, 512))
    return [chr(b) if b in keep else chr(next(other)) for b in range(256)]


def tokenizer():
    vocab = {piece: i for i, piece in enumerate(byte_alphabet())}
    vocab["<|endoftext|>"] = 256
    for i in range(257, SIZES["vocab_size"]):
        vocab[f"<unused_{i}>"] = i
    byte_level = {"type": "ByteLevel", "add_prefix_space": False,
                  "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": 256, "content": "<|endoftext|>",
                          "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False,
                          "special": True}],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False,
                  "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": []}}


def make(name, directory):
    config, kind, dtype, shard = MODELS[name]
    torch.manual_seed(sum(map(ord, name)))
    model = kind(config)
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.normal_(0, 0.3) if p.dim() > 1 else p.normal_(0, 0.2)
            if key.endswith("norm.weight"):
                p.add_(1)
    model.to(dtype).save_pretrained(directory, max_shard_size=shard)
    os.remove(os.path.join(directory, "generation_config.json"))
    with open(os.path.join(directory, "tokenizer.json"), "w") as f:
        f.write("{}\n")
    model = kind.from_pretrained(directory, torch_dtype=torch.float64,
                                 attn_implementation="eager")
    ids = [(31 * i * i + 7 * i + 256) % SIZES["vocab_size"]
           for i in range(N_TOKENS)]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0][:, ::STEP]
    with open(os.path.join(directory, "expected.txt"), "w") as f:
        print("ids", len(ids), *ids, file=f)
        print("logits", *logits.shape, file=f)
        for row in logits:
            print(*(f"{x:.7g}" for x in row.tolist()), file=f)


def main():
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    with open(os.path.join(sys.argv[1], "tokenizer.json"), "w") as f:
        json.dump(tokenizer(), f)
    for name in MODELS:
        directory = os.path.join(sys.argv[1], name)
        shutil.rmtree(directory, ignore_errors=True)
        make(name, directory)
        print(name, sorted(os.listdir(directory)))


main()
