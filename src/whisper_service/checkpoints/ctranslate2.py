"""Reads a CTranslate2 Whisper model and renames its tensors to those of a Transformers checkpoint.

The file format is `model.bin`, version 6, as CTranslate2's converter writes it. All integers are
little-endian: u32 version, the spec's name, u32 revision, u32 number of tensors; for each tensor
its name, u8 rank, u32 per dimension, u8 dtype, u32 number of bytes, the data; then u32 number of
aliases and pairs of names. A name is a u16 length, which counts a final NUL, and the bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[Any]

_VERSION = 6
_SPEC = "WhisperSpec"
_DTYPES: tuple[type[np.generic], ...] = (np.float32, np.int8, np.int16, np.int32, np.float16)


class MalformedModelError(ValueError):
    """The file is not a CTranslate2 Whisper model that this reader knows."""


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def integer(self, code: str) -> int:
        (value,) = struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))
        return int(value)

    def take(self, size: int) -> bytes:
        if size > self._left:
            raise MalformedModelError("the file is cut short")
        self._left -= size
        return self._file.read(size)

    def name(self) -> str:
        return self.take(self.integer("H")).rstrip(b"\0").decode()


def read_model(path: Path) -> dict[str, Tensor]:
    """The model's tensors by CTranslate2's names.

    Raises:
        MalformedModelError: the file is cut short, or of another format or version.
    """
    try:
        with path.open("rb") as file:
            return dict(_read_tensors(_Reader(file, path.stat().st_size)))
    except (ValueError, IndexError) as error:
        raise MalformedModelError(f"{path} is no CTranslate2 Whisper model: {error}") from error


def _read_tensors(reader: _Reader) -> Iterator[tuple[str, Tensor]]:
    version, spec = reader.integer("I"), reader.name()
    if (version, spec) != (_VERSION, _SPEC):
        raise MalformedModelError(f"expected {_SPEC} of version {_VERSION}, got {spec} {version}")
    reader.integer("I")  # the spec's revision: the tensor names below are what matters
    for _ in range(reader.integer("I")):
        name = reader.name()
        shape = tuple(reader.integer("I") for _ in range(reader.integer("B")))
        dtype = _DTYPES[reader.integer("B")]
        yield name, np.frombuffer(reader.take(reader.integer("I")), dtype).reshape(shape)


_ATTENTION = {"self_attention": "self_attn", "attention": "encoder_attn"}
_FEED_FORWARD = {"ffn/linear_0": "fc1", "ffn/linear_1": "fc2", "ffn/layer_norm": "final_layer_norm"}
_PARAMETER = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias"}
_OUTSIDE_LAYERS = {
    "encoder/conv1": "encoder.conv1",
    "encoder/conv2": "encoder.conv2",
    "encoder/layer_norm": "encoder.layer_norm",
    "decoder/layer_norm": "decoder.layer_norm",
}
_WHOLE_NAMES = {
    "encoder/position_encodings/encodings": "encoder.embed_positions.weight",
    "decoder/position_encodings/encodings": "decoder.embed_positions.weight",
    "decoder/embeddings/weight": "decoder.embed_tokens.weight",
}
_LAYER = re.compile(r"(encoder|decoder)/layer_(\d+)/(.+)/\w+")


def to_transformers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the names of `WhisperForConditionalGeneration`.

    CTranslate2 stacks query, key and value (and, in cross-attention, key and value); Transformers
    has them apart and gives the key no bias, which is zero in CTranslate2.

    Raises:
        MalformedModelError: a tensor has no counterpart.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim == 0 or "alignment" in name:  # numbers of the spec, not weights
            continue
        for target, part in _rename(name, tensor):
            renamed[f"model.{target}"] = part
    return renamed


def _rename(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name in _WHOLE_NAMES:
        yield _WHOLE_NAMES[name], tensor
        return
    module = name.rpartition("/")[0]
    if module in _OUTSIDE_LAYERS:
        yield f"{_OUTSIDE_LAYERS[module]}.{_parameter(name)}", tensor
        return
    match = _LAYER.fullmatch(name)
    if match is None:
        raise MalformedModelError(f"unknown tensor {name}")
    stack, index, inner = match.groups()
    parameter = _parameter(name)
    for target, part in _rename_in_layer(inner, tensor):
        if target.endswith("k_proj") and parameter == "bias":
            continue
        yield f"{stack}.layers.{index}.{target}.{parameter}", part


def _parameter(name: str) -> str:
    parameter = name.rpartition("/")[2]
    if parameter not in _PARAMETER:  # a quantized model has scales, too
        raise MalformedModelError(f"unknown tensor {name}")
    return _PARAMETER[parameter]


def _rename_in_layer(inner: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if inner in _FEED_FORWARD:
        yield _FEED_FORWARD[inner], tensor
        return
    block, _, linear = inner.partition("/")
    if block not in _ATTENTION:
        raise MalformedModelError(f"unknown layer {inner}")
    attention = _ATTENTION[block]
    if linear == "layer_norm":
        yield f"{attention}_layer_norm", tensor
        return
    projections = {
        ("self_attention", "linear_0"): ("q_proj", "k_proj", "v_proj"),
        ("self_attention", "linear_1"): ("out_proj",),
        ("attention", "linear_0"): ("q_proj",),
        ("attention", "linear_1"): ("k_proj", "v_proj"),
        ("attention", "linear_2"): ("out_proj",),
    }.get((block, linear))
    if projections is None:
        raise MalformedModelError(f"unknown layer {inner}")
    if tensor.shape[0] % len(projections):
        raise MalformedModelError(f"{inner} is no stack of {len(projections)}")
    for projection, part in zip(projections, np.split(tensor, len(projections)), strict=True):
        yield f"{attention}.{projection}", part
