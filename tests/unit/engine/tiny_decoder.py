"""A tiny random Whisper of Transformers', and its decoder in the form that vLLM's has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperForConditionalGeneration

POSITIONS = 40  # of the encoder
VOCABULARY = 60
HEADS, LAYERS, WIDTH = 4, 3, 32


def tiny_whisper() -> WhisperForConditionalGeneration:
    torch.manual_seed(1)
    config = WhisperConfig(
        vocab_size=VOCABULARY,
        num_mel_bins=8,
        d_model=WIDTH,
        encoder_layers=1,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=POSITIONS,
        max_target_positions=448,
        init_std=0.4,  # so that heads look at something
        attn_implementation="eager",
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    return WhisperForConditionalGeneration(config).eval()


class Parallel(nn.Module):
    """vLLM's linear layers give a bias beside their output."""

    def __init__(self, *layers: nn.Linear) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, states: Tensor) -> tuple[Tensor, None]:
        return torch.cat([layer(states) for layer in self.layers], dim=-1), None


def as_vllms(model: WhisperForConditionalGeneration) -> Any:
    """The decoder's modules under vLLM's names."""
    decoder = model.model.decoder
    positions = decoder.embed_positions.weight
    return SimpleNamespace(
        embed_tokens=decoder.embed_tokens,
        embed_positions=lambda ids: positions[ids],
        layers=[_layer(layer) for layer in decoder.layers],
    )


def _layer(layer: Any) -> Any:
    own, cross = layer.self_attn, layer.encoder_attn
    sizes = {"head_dim": WIDTH // HEADS, "q_size": WIDTH, "kv_size": WIDTH, "num_heads": HEADS}
    sizes |= {"total_num_heads": HEADS, "scaling": (WIDTH // HEADS) ** -0.5}
    return SimpleNamespace(
        self_attn_layer_norm=layer.self_attn_layer_norm,
        self_attn=SimpleNamespace(
            qkv_proj=Parallel(own.q_proj, own.k_proj, own.v_proj),
            out_proj=Parallel(own.out_proj),
            **sizes,
        ),
        encoder_attn_layer_norm=layer.encoder_attn_layer_norm,
        encoder_attn=SimpleNamespace(
            q_proj=Parallel(cross.q_proj),
            kv_proj=Parallel(cross.k_proj, cross.v_proj),
            out_proj=Parallel(cross.out_proj),
            **sizes,
        ),
        final_layer_norm=layer.final_layer_norm,
        mlp=lambda states: layer.fc2(layer.activation_fn(layer.fc1(states))),
    )
