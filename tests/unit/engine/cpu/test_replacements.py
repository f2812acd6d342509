"""What computes in place of vLLM's, and what is said where it does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from whisper_service.engine.cpu import (
    cache_writes,
    cross_attention,
    decoder_steps,
    encoder_attention,
    kernel_threads,
    packed_layers,
)
from whisper_service.engine.cpu.comparison import DiffersError
from whisper_service.engine.cpu.replacements import replace_computations
from whisper_service.engine.launcher import Replaced

EVERYTHING = (
    "headwise_encoder_attention",
    "packed_weights",
    "rounded_cache_writes",
    "integer_cross_attention",
    "short_decoder",
)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Of each replacement what becomes of trying it: whether it is used, or an error."""
    results: dict[str, Any] = dict.fromkeys((*EVERYTHING, "threads"), True)
    packed: list[bool] = []
    results["packed"] = packed

    def use(name: str) -> Any:
        def try_it(*_: Any, **options: Any) -> bool:
            if "pack" in options:
                packed.append(options["pack"])
            if isinstance(results[name], Exception):
                raise results[name]
            return bool(results[name])

        return try_it

    for module, function, name in (
        (encoder_attention, "use_headwise_attention", "headwise_encoder_attention"),
        (packed_layers, "use_packed_vocabulary", "packed_weights"),
        (cache_writes, "use_rounded_cache_writes", "rounded_cache_writes"),
        (cross_attention, "use_integer_cross_attention", "integer_cross_attention"),
        (decoder_steps, "use_short_decoder", "short_decoder"),
        (kernel_threads, "shares_threads", "threads"),
    ):
        monkeypatch.setattr(module, function, use(name))
    return results


def replace() -> Replaced:
    decoder = SimpleNamespace(layers=[nn.Identity()])
    model = SimpleNamespace(model=SimpleNamespace(decoder=decoder, encoder=decoder))
    runner = SimpleNamespace(get_model=lambda: model, vllm_config=None)
    return Replaced(**replace_computations(runner, compiled=True))


def test_all_that_can_be_replaced_is_named(parts: dict[str, Any]) -> None:
    replaced = replace()
    assert replaced.in_use == EVERYTHING
    assert replaced.warnings == ()
    assert parts["packed"] == [True]


@pytest.mark.parametrize("name", EVERYTHING)
def test_what_differs_from_vllms_is_left_to_it_with_a_warning(
    parts: dict[str, Any], name: str
) -> None:
    parts[name] = DiffersError("its outputs differ")
    replaced = replace()
    assert name not in replaced.in_use
    (warning,) = replaced.warnings
    assert name in warning
    assert "its outputs differ" in warning


@pytest.mark.parametrize("name", EVERYTHING)
def test_what_fails_because_vllm_has_changed_is_left_to_it_too(
    parts: dict[str, Any], name: str
) -> None:
    parts[name] = AttributeError("no attribute 'impl'")
    (warning,) = replace().warnings
    assert "no attribute 'impl'" in warning


def test_what_the_processor_has_no_instructions_for_needs_no_warning(
    parts: dict[str, Any],
) -> None:
    parts["headwise_encoder_attention"] = parts["packed_weights"] = False
    assert replace().in_use == EVERYTHING[2:]
    assert replace().warnings == ()
    assert parts["packed"] == [False, False]


def test_integers_in_the_cache_need_the_writes_that_clear_it(parts: dict[str, Any]) -> None:
    parts["rounded_cache_writes"] = False
    assert "integer_cross_attention" not in replace().in_use


def test_kernels_with_threads_of_their_own_are_not_used(parts: dict[str, Any]) -> None:
    parts["threads"] = False
    assert replace().in_use == (
        "headwise_encoder_attention",
        "rounded_cache_writes",
        "short_decoder",
    )
    assert parts["packed"] == [False]
