"""A Whisper of a few numbers, as CTranslate2 writes it to a file."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.unit.whisper.byte_level import tokenizer_like_whispers

Tensor = NDArray[Any]

WIDTH, HEADS, LAYERS, MEL_BINS = 4, 2, 2, 5
_DTYPES = [np.float32, np.int8, np.int16, np.int32, np.float16]


def name(text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("<H", len(data)) + data


def model_bin(
    tensors: Iterable[tuple[str, Tensor]], *, version: int = 6, spec: str = "WhisperSpec"
) -> bytes:
    tensors = list(tensors)
    parts = [struct.pack("<I", version), name(spec), struct.pack("<II", 3, len(tensors))]
    for tensor_name, tensor in tensors:
        dtype = _DTYPES.index(tensor.dtype.type)
        parts += [name(tensor_name), struct.pack("<B", tensor.ndim)]
        parts += [struct.pack("<I", size) for size in tensor.shape]
        parts += [struct.pack("<BI", dtype, tensor.nbytes), tensor.tobytes()]
    return b"".join([*parts, struct.pack("<I", 0)])


def _layer(stack: str, index: int) -> Iterable[tuple[str, tuple[int, ...]]]:
    prefix = f"{stack}/layer_{index}"
    attentions = {"self_attention": [3, 1]}
    if stack == "decoder":
        attentions["attention"] = [1, 2, 1]
    for attention, stacked in attentions.items():
        yield f"{prefix}/{attention}/layer_norm/gamma", (WIDTH,)
        yield f"{prefix}/{attention}/layer_norm/beta", (WIDTH,)
        for number, parts in enumerate(stacked):
            yield f"{prefix}/{attention}/linear_{number}/weight", (parts * WIDTH, WIDTH)
            yield f"{prefix}/{attention}/linear_{number}/bias", (parts * WIDTH,)
    for part, shape in {"layer_norm": (), "linear_0": (8, WIDTH), "linear_1": (WIDTH, 8)}.items():
        names = ("weight", "bias") if shape else ("gamma", "beta")
        yield f"{prefix}/ffn/{part}/{names[0]}", shape or (WIDTH,)
        yield f"{prefix}/ffn/{part}/{names[1]}", (shape or (WIDTH,))[:1]


def tensors(vocabulary: int) -> dict[str, Tensor]:
    """Every tensor that CTranslate2 has for a Whisper, filled with noise."""
    shapes: dict[str, tuple[int, ...]] = {
        "encoder/conv1/weight": (WIDTH, MEL_BINS, 3),
        "encoder/conv1/bias": (WIDTH,),
        "encoder/conv2/weight": (WIDTH, WIDTH, 3),
        "encoder/conv2/bias": (WIDTH,),
        "encoder/position_encodings/encodings": (1500, WIDTH),
        "decoder/position_encodings/encodings": (448, WIDTH),
        "decoder/embeddings/weight": (vocabulary, WIDTH),
    }
    for stack in ("encoder", "decoder"):
        shapes |= {f"{stack}/layer_norm/{each}": (WIDTH,) for each in ("gamma", "beta")}
        for index in range(LAYERS):
            shapes |= dict(_layer(stack, index))
    noise = np.random.default_rng(0)
    made: dict[str, Tensor] = {
        each: noise.normal(size=shape).astype(np.float16) for each, shape in shapes.items()
    }
    for stack in ("encoder", "decoder"):
        made[f"{stack}/num_heads"] = np.array(HEADS, np.int16)
    made["decoder/alignment_heads"] = np.array([[0, 1]], np.int16)
    return made


def write(folder: Path, **changes: Tensor) -> Path:
    """A folder of CTranslate2's."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_like_whispers(timestamps=0)
    made = tensors(tokenizer.get_vocab_size() + 1501) | changes
    (folder / "model.bin").write_bytes(model_bin(made.items()))
    tokenizer.save(str(folder / "tokenizer.json"))
    hints = {
        "alignment_heads": [[0, 1]],
        "lang_ids": [tokenizer.token_to_id(f"<|{code}|>") for code in ("en", "de", "fr")],
        "suppress_ids": [1, 2],
        "suppress_ids_begin": [220, tokenizer.token_to_id("<|endoftext|>")],
    }
    (folder / "config.json").write_text(json.dumps(hints))
    return folder
