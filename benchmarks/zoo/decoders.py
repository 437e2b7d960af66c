"""Decoders of text: language models with their heads."""

from __future__ import annotations

import transformers as hf
from torch import nn

from .architecture import Architecture, text

__all__ = ["DECODERS"]

LENGTH, VOCABULARY, WIDTH = 16, 120, 32
TEXT = text(LENGTH, VOCABULARY)
#: Four heads of queries that read two of keys and values.
GROUPED = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 40,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def gpt2() -> nn.Module:
    config = hf.GPT2Config(
        vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=2, n_head=4, n_positions=40, bos_token_id=1, eos_token_id=2
    )
    return hf.GPT2LMHeadModel(config)


def llama() -> nn.Module:
    return hf.LlamaForCausalLM(hf.LlamaConfig(**GROUPED))


def mistral() -> nn.Module:
    return hf.MistralForCausalLM(hf.MistralConfig(**GROUPED, sliding_window=8))


def qwen3() -> nn.Module:
    return hf.Qwen3ForCausalLM(hf.Qwen3Config(**GROUPED, head_dim=16, tie_word_embeddings=True))


def gemma() -> nn.Module:
    return hf.GemmaForCausalLM(hf.GemmaConfig(**GROUPED | {"num_key_value_heads": 1}, head_dim=16))


def phi() -> nn.Module:
    return hf.PhiForCausalLM(hf.PhiConfig(**GROUPED | {"num_key_value_heads": 4}))


DECODERS = (
    Architecture("GPT-2", gpt2, TEXT),
    Architecture("Llama", llama, TEXT),
    Architecture("Mistral", mistral, TEXT),
    Architecture("Qwen3", qwen3, TEXT),
    Architecture("Gemma", gemma, TEXT),
    Architecture("Phi", phi, TEXT),
)
