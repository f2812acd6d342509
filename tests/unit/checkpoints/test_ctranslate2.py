from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from whisper_service.checkpoints.ctranslate2 import (
    MalformedModelError,
    read_model,
    to_transformers,
)

from .tiny_whisper import LAYERS, Tensor, model_bin, name, tensors

SMALL: dict[str, Tensor] = {
    "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
    "halves": np.arange(4, dtype=np.float16),
    "bytes": np.array([-1, 2], np.int8),
    "number": np.array(7, np.int32),
    "nothing": np.empty((0, 3), np.int16),
}
GOOD = model_bin(SMALL.items())

hostile = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.bin"


def refused(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    with pytest.raises(MalformedModelError) as refusal:
        read_model(file)
    return str(refusal.value)


def test_every_tensor_is_read_as_it_was_written(file: Path) -> None:
    file.write_bytes(GOOD)
    read = read_model(file)
    assert read.keys() == SMALL.keys()
    for each, tensor in SMALL.items():
        assert read[each].dtype == tensor.dtype
        np.testing.assert_array_equal(read[each], tensor)


def test_the_file_may_go_once_it_was_read(file: Path) -> None:
    file.write_bytes(GOOD)
    read = read_model(file)
    file.write_bytes(b"\xff" * len(GOOD))
    np.testing.assert_array_equal(read["floats"], SMALL["floats"])


def test_another_version_and_another_model_are_refused_by_name(file: Path) -> None:
    assert "7" in refused(file, model_bin(SMALL.items(), version=7))
    assert "WhisperSpec" in refused(file, model_bin(SMALL.items(), spec="TransformerSpec"))


def test_an_empty_file_is_refused(file: Path) -> None:
    assert str(file) in refused(file, b"")


@hostile
@given(length=st.integers(0, len(GOOD) - 5))
def test_a_file_that_was_cut_short_is_refused(file: Path, length: int) -> None:
    refused(file, GOOD[:length])


@pytest.mark.parametrize(
    ("what", "tensor"),
    [
        ("dtype", struct.pack("<BIBI", 1, 2, 9, 2) + b"\0\0"),
        ("fewer bytes than the shape has", struct.pack("<BIBI", 1, 2, 0, 4) + b"\0" * 4),
        ("more bytes than the shape has", struct.pack("<BIBI", 1, 2, 0, 12) + b"\0" * 12),
        ("bytes that no number has", struct.pack("<BIBI", 1, 2, 0, 7) + b"\0" * 7),
        ("a huge tensor", struct.pack("<BIBI", 1, 2**30, 0, 2**32 - 1) + b"\0"),
        ("huge dimensions", struct.pack("<B8IBI", 8, *[2**32 - 1] * 8, 0, 4) + b"\0" * 4),
        ("a hundred dimensions", struct.pack("<B100IBI", 100, *[1] * 100, 0, 4) + b"\0" * 4),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(file: Path, what: str, tensor: bytes) -> None:
    head = struct.pack("<I", 6) + name("WhisperSpec") + struct.pack("<II", 3, 1)
    refused(file, head + name(what) + tensor + struct.pack("<I", 0))


@hostile
@given(position=st.integers(0, len(GOOD) - 1), replacement=st.binary(min_size=1, max_size=6))
@example(position=4, replacement=b"\xff\xff")  # a name longer than the file
@example(position=6, replacement=b"\xff\xfe")  # a name that is no UTF-8
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    file: Path, position: int, replacement: bytes
) -> None:
    file.write_bytes(GOOD[:position] + replacement + GOOD[position + len(replacement) :])
    with suppress(MalformedModelError):
        read_model(file)


@hostile
@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused(file: Path, content: bytes) -> None:
    refused(file, content)


def test_stacked_projections_are_taken_apart_in_the_order_query_key_value() -> None:
    source = tensors(20)
    made = to_transformers(source)
    stacked = source["decoder/layer_1/self_attention/linear_0/weight"]
    for part, projection in zip(np.split(stacked, 3), "qkv", strict=True):
        np.testing.assert_array_equal(
            made[f"model.decoder.layers.1.self_attn.{projection}_proj.weight"], part
        )
    across = source["decoder/layer_0/attention/linear_1/bias"]
    np.testing.assert_array_equal(
        made["model.decoder.layers.0.encoder_attn.v_proj.bias"], np.split(across, 2)[1]
    )
    assert not [each for each in made if each.endswith("k_proj.bias")]


def test_no_tensor_is_lost_and_none_is_made_up() -> None:
    made = to_transformers(tensors(20))
    encoder_layer, decoder_layer, outside = 15, 24, 4 + 1 + 2 + 1 + 1 + 2
    assert len(made) == LAYERS * (encoder_layer + decoder_layer) + outside


@pytest.mark.parametrize(
    "unknown",
    [
        "encoder/conv3/weight",
        "encoder/layer_0/ffn/linear_9/weight",
        "encoder/layer_0/self_attention/linear_0/weight_scale",
        "encoder/conv1/weight_zero",
        "encoder/layer_0/self_attention/linear_9/weight",
        "encoder/layer_0/attention_of_another_kind/linear_0/weight",
        "decoder/projection/weight",
    ],
)
def test_a_tensor_that_transformers_does_not_have_is_refused_by_name(unknown: str) -> None:
    with pytest.raises(MalformedModelError, match=r"layer|tensor"):
        to_transformers({unknown: np.zeros((3, 3), np.float16)})


def test_a_stack_that_cannot_be_taken_apart_is_refused() -> None:
    with pytest.raises(MalformedModelError):
        to_transformers({"encoder/layer_0/self_attention/linear_0/weight": np.zeros((4, 2))})
