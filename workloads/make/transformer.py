"""Transformers, defined in transformers; attention is written out (`eager`), not fused."""

from __future__ import annotations

import torch
import torch_export
import transformers
from torch import nn
from torch_export import Export
from transformers.models.gpt2 import modeling_gpt2
from transformers.models.vit import modeling_vit

transformers.logging.set_verbosity_error()


def bert_base() -> Export:
    return _bert()


def bert_large() -> Export:
    return _bert(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    )


def _bert(tokens: int = 384, **sizes: int) -> Export:
    """Encoder and pooler with the three inputs of MLPerf: ids, padding mask and segments."""
    config = transformers.BertConfig(attn_implementation="eager", return_dict=False, **sizes)
    module = _Bert(transformers.BertModel(config))
    index = torch.arange(tokens)[None]
    inputs = {
        "input_ids": index + 1000,
        "attention_mask": (index < tokens - 10).long(),
        "token_type_ids": (index > tokens // 2).long(),
    }
    return torch_export.export(
        module, inputs, ["last_hidden_state", "pooler_output"], prefixes=("bert.", "encoder.")
    )


class _Bert(nn.Module):
    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # The mask of the original code: a large negative number is added to the padding's scores.
        padding = (1.0 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        hidden, pooled = self.bert(ids, attention_mask=padding, token_type_ids=segments)
        return hidden, pooled


def vit_b16() -> Export:
    # Every patch attends to every other: without this the export adds a mask of zeros per layer.
    modeling_vit.create_bidirectional_mask = lambda **_: None
    config = transformers.ViTConfig(attn_implementation="eager", num_labels=1000)
    module = transformers.ViTForImageClassification(config)
    return torch_export.export(
        module, {"image": torch_export.noise(1, 3, 224, 224)}, ["logits"], prefixes=("vit.",)
    )


class _Gpt2(nn.Module):
    """GPT-2 with its output head; keys and values of past tokens come in and go out as tensors."""

    def __init__(self, past: int, tokens: int) -> None:
        super().__init__()
        config = transformers.GPT2Config(attn_implementation="eager")
        self.model = transformers.GPT2LMHeadModel(config)
        self.past = past
        self.tokens = tokens

    def forward(self, ids: torch.Tensor, *past: torch.Tensor) -> tuple[torch.Tensor, ...]:
        cache = transformers.DynamicCache()
        for layer, (key, value) in enumerate(zip(past[::2], past[1::2], strict=True)):
            cache.update(key, value, layer)
        positions = torch.arange(self.past, self.past + self.tokens)[None]
        out = self.model(
            ids,
            position_ids=positions,
            attention_mask=self._causal_mask(),
            past_key_values=cache,
            use_cache=True,
        )
        present = [t for layer in out.past_key_values.layers for t in (layer.keys, layer.values)]
        return out.logits, *present

    def _causal_mask(self) -> torch.Tensor | None:
        """Additive [1, 1, tokens, tokens]; one token sees everything and needs none."""
        if self.tokens == 1:
            return None
        index = torch.arange(self.tokens)
        visible = index[:, None] >= index[None, :]
        lowest = torch.finfo(torch.float32).min
        return torch.where(visible, 0.0, lowest)[None, None]


def gpt2_prefill(tokens: int = 128) -> Export:
    """All tokens of a prompt at once, logits at every position."""
    return _gpt2(past=0, tokens=tokens)


def gpt2_decode(past: int = 127) -> Export:
    """One token after a prompt, keys and values of the past in a cache."""
    return _gpt2(past=past, tokens=1)


def _gpt2(past: int, tokens: int) -> Export:
    # The mask is ours (or absent), so the library must not build one of its own.
    modeling_gpt2.create_causal_mask = lambda attention_mask, **_: attention_mask
    module = _Gpt2(past, tokens)
    config = module.model.config
    ends = [f"{layer}.{part}" for layer in range(config.n_layer) for part in ("key", "value")]
    inputs = {"input_ids": torch.arange(tokens)[None]}
    if past:
        shape = (1, config.n_head, past, config.n_embd // config.n_head)
        inputs |= {f"past.{end}": torch_export.noise(*shape) for end in ends}
    return torch_export.export(
        module,
        inputs,
        ["logits", *(f"present.{end}" for end in ends)],
        prefixes=("model.", "transformer."),
    )
