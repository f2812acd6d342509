"""OpenAI's own model class, filled with the weights of a Transformers checkpoint."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_RENAMED = (
    (r"^model\.", ""),
    (r"\.layers\.", ".blocks."),
    (r"\.self_attn_layer_norm\.", ".attn_ln."),
    (r"\.encoder_attn_layer_norm\.", ".cross_attn_ln."),
    (r"\.final_layer_norm\.", ".mlp_ln."),
    (r"\.self_attn\.", ".attn."),
    (r"\.encoder_attn\.", ".cross_attn."),
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.out_proj\.", ".out."),
    (r"\.fc1\.", ".mlp.0."),
    (r"\.fc2\.", ".mlp.2."),
    (r"^encoder\.layer_norm\.", "encoder.ln_post."),
    (r"^decoder\.layer_norm\.", "decoder.ln."),
    (r"\.embed_positions\.weight$", ".positional_embedding"),
    (r"\.embed_tokens\.", ".token_embedding."),
)


def openai_name(name: str) -> str:
    """`model.encoder.layers.0.fc1.weight` is `encoder.blocks.0.mlp.0.weight` there."""
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def load_openai_model(folder: Path) -> Any:
    """The model in float32, on the CPU.

    Raises:
        RuntimeError: a tensor is missing or has no counterpart.
    """
    from safetensors.torch import load_file
    from whisper.model import ModelDimensions, Whisper

    config = json.loads((folder / "config.json").read_text())
    model = Whisper(
        ModelDimensions(
            n_mels=config["num_mel_bins"],
            n_audio_ctx=config["max_source_positions"],
            n_audio_state=config["d_model"],
            n_audio_head=config["encoder_attention_heads"],
            n_audio_layer=config["encoder_layers"],
            n_vocab=config["vocab_size"],
            n_text_ctx=config["max_target_positions"],
            n_text_state=config["d_model"],
            n_text_head=config["decoder_attention_heads"],
            n_text_layer=config["decoder_layers"],
        )
    )
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("proj_out.weight", None)  # tied to the embedding
    model.load_state_dict({openai_name(name): each.float() for name, each in tensors.items()})
    _set_alignment_heads(model, folder)
    return model.eval()


def _set_alignment_heads(model: Any, folder: Path) -> None:
    """Those of the checkpoint; openai/whisper would take all heads of the upper half."""
    import torch

    generation = json.loads((folder / "generation_config.json").read_text())
    heads = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head, dtype=torch.bool)
    for layer, head in generation["alignment_heads"]:
        heads[layer, head] = True
    model.register_buffer("alignment_heads", heads.to_sparse(), persistent=False)
