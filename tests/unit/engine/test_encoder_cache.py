from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from whisper_service.engine.encoder_cache import EncoderCache, FeatureDigest
from whisper_service.engine.worker_extension import WhisperWorkerExtension


class Encoder:
    """Gives each window's features back, halved, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Tensor] = []

    def __call__(self, **inputs: Any) -> tuple[Tensor, ...]:
        features = inputs["input_features"]
        self.asked.append(features.clone())
        return (features / 2).unbind()

    @property
    def windows(self) -> int:
        return sum(len(features) for features in self.asked)


def windows(*numbers: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """float[len(numbers), 4 mel, 6 frames], one value a window."""
    return torch.stack([torch.full((4, 6), number, dtype=dtype) for number in numbers])


@pytest.fixture
def encoder() -> Encoder:
    return Encoder()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_window_that_comes_again_is_not_encoded_again(
    encoder: Encoder, dtype: torch.dtype
) -> None:
    cache = EncoderCache(encoder, 4)
    first = cache.embed_multimodal(input_features=windows(1, 2, dtype=dtype))
    again = cache.embed_multimodal(input_features=windows(1, 2, dtype=dtype))
    assert encoder.windows == 2
    assert (cache.hits, cache.misses) == (2, 2)
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)
        assert one.dtype == dtype


def test_of_a_batch_only_the_unknown_windows_are_encoded_and_all_come_in_order(
    encoder: Encoder,
) -> None:
    cache = EncoderCache(encoder, 8)
    cache.embed_multimodal(input_features=windows(1, 2, 3))
    outputs = cache.embed_multimodal(input_features=windows(5, 2, 4, 1, 6))
    assert [float(output[0, 0]) for output in outputs] == [2.5, 1.0, 2.0, 0.5, 3.0]
    assert torch.equal(encoder.asked[1], windows(5, 4, 6))


def test_the_oldest_windows_make_room(encoder: Encoder) -> None:
    cache = EncoderCache(encoder, 2)
    cache.embed_multimodal(input_features=windows(1))
    cache.embed_multimodal(input_features=windows(2))
    cache.embed_multimodal(input_features=windows(1))  # now 2 is the oldest
    cache.embed_multimodal(input_features=windows(3))
    assert encoder.windows == 3
    cache.embed_multimodal(input_features=windows(1))
    assert encoder.windows == 3
    cache.embed_multimodal(input_features=windows(2))
    assert encoder.windows == 4


def test_a_batch_larger_than_the_cache_is_answered_whole(encoder: Encoder) -> None:
    cache = EncoderCache(encoder, 2)
    outputs = cache.embed_multimodal(input_features=windows(1, 2, 3, 4, 5))
    assert [float(output[0, 0]) for output in outputs] == [0.5, 1.0, 1.5, 2.0, 2.5]
    outputs = cache.embed_multimodal(input_features=windows(5, 4, 1))
    assert [float(output[0, 0]) for output in outputs] == [2.5, 2.0, 0.5]
    assert encoder.windows == 6


def test_a_cache_without_room_keeps_nothing(encoder: Encoder) -> None:
    cache = EncoderCache(encoder, 0)
    for _ in range(2):
        cache.embed_multimodal(input_features=windows(1))
    assert encoder.windows == 2


def test_a_kept_output_holds_no_other_window_in_memory(encoder: Encoder) -> None:
    cache = EncoderCache(encoder, 1)
    cache.embed_multimodal(input_features=windows(*range(32)))
    (kept,) = cache.embed_multimodal(input_features=windows(31))
    assert encoder.windows == 32
    assert kept.untyped_storage().nbytes() == kept.nbytes


def test_features_that_are_no_tensor_pass_through() -> None:
    def encode(**inputs: Any) -> list[Any]:
        return list(inputs["input_features"])

    features = [*windows(1, 2)]
    assert EncoderCache(encode, 4).embed_multimodal(input_features=features) == features


@given(
    numbers=st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=5), max_size=12),
    capacity=st.integers(0, 4),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_kept_the_answer_is_the_encoders(
    numbers: list[list[int]], capacity: int
) -> None:
    cache = EncoderCache(Encoder(), capacity)
    for batch in numbers:
        outputs = cache.embed_multimodal(input_features=windows(*batch))
        assert [float(output[0, 0]) for output in outputs] == [number / 2 for number in batch]
        assert len(cache._outputs) <= capacity


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_slightest_difference_makes_another_digest(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 80, 300, generator=generator).to(dtype).expand(64, -1, -1).clone()
    for index in range(1, 64):
        element = features.view(64, -1)[index, index * 7]
        features.view(64, -1)[index, index * 7] = (
            torch.nextafter(element.float(), torch.tensor(9.0)).to(dtype)
            if dtype == torch.float32
            else element * 1.01
        )
    assert len(set(FeatureDigest()(features))) == 64


def test_two_windows_exchanged_or_shifted_have_other_digests() -> None:
    window = torch.arange(24.0).reshape(1, 4, 6)
    digest = FeatureDigest()
    digests = digest(window) + digest(window.flip(-1)) + digest(window.roll(1, -1))
    assert len(set(digests)) == 3


def test_the_same_features_have_one_digest_however_they_lie_in_memory() -> None:
    digest = FeatureDigest()
    window = torch.arange(48.0).reshape(2, 4, 6)
    elsewhere = window.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert not elsewhere.is_contiguous()
    assert digest(window) == digest(elsewhere)
    assert digest(window)[1:] == digest(window[1:])


def test_windows_of_another_length_have_weights_of_their_own() -> None:
    digest = FeatureDigest()
    before = digest(torch.ones(1, 4, 6))
    digest(torch.ones(1, 4, 9))
    assert digest(torch.ones(1, 4, 6)) == before


def test_a_digest_cannot_be_foretold_from_another_process() -> None:
    features = windows(1)
    assert FeatureDigest()(features) != FeatureDigest()(features)


class Model:
    def embed_multimodal(self, **inputs: Any) -> tuple[Tensor, ...]:
        return (inputs["input_features"] / 2).unbind()


class Worker(WhisperWorkerExtension):
    def __init__(self) -> None:
        self.model_runner = type("ModelRunner", (), {"model": Model()})()


def test_the_workers_model_is_wrapped_once_and_counts_are_told() -> None:
    worker = Worker()
    assert worker.whisper_encoder_cache_counts() == {"hits": 0, "misses": 0, "windows": 0}
    worker.whisper_keep_encoder_outputs(4)
    worker.whisper_keep_encoder_outputs(4)
    model = worker.model_runner.model
    for _ in range(3):
        (output,) = model.embed_multimodal(input_features=windows(3))
        assert float(output[0, 0]) == 1.5
    assert worker.whisper_encoder_cache_counts() == {"hits": 2, "misses": 1, "windows": 1}


@pytest.mark.parametrize("capacity", [0, 1, 8])
def test_a_named_window_stays_until_it_is_let_go_of(encoder: Encoder, capacity: int) -> None:
    cache = EncoderCache(encoder, capacity, names=2)
    batch = windows(1, 2, 3)
    cache.expect("second", batch[1])
    cache.embed_multimodal(input_features=batch)
    for number in range(4, 20):
        cache.embed_multimodal(input_features=windows(number))
    (kept,) = [cache.named("second")]
    assert kept is not None
    assert float(kept[0, 0]) == 1.0
    assert kept.untyped_storage().nbytes() == kept.nbytes
    cache.let_go("second")
    assert cache.named("second") is None
    cache.let_go("second")


def test_one_window_may_have_several_names_and_shares_its_memory(encoder: Encoder) -> None:
    cache = EncoderCache(encoder, 4, names=4)
    for name in ("a", "b"):
        cache.expect(name, windows(7)[0])
    cache.embed_multimodal(input_features=windows(7))
    assert cache.named("a") is cache.named("b") is not None
    assert cache.windows == 1


def test_of_too_many_names_the_oldest_go(encoder: Encoder) -> None:
    cache = EncoderCache(encoder, 0, names=2)
    for number in range(3):
        cache.expect(str(number), windows(number)[0])
        cache.embed_multimodal(input_features=windows(number))
    assert [cache.named(str(number)) is not None for number in range(3)] == [False, True, True]
    assert cache.windows == 2


def test_a_name_whose_window_was_never_scheduled_does_not_wait_for_another_one(
    encoder: Encoder,
) -> None:
    cache = EncoderCache(encoder, 4, names=4)
    cache.expect("lost", windows(1)[0])
    cache.embed_multimodal(input_features=windows(2))
    cache.embed_multimodal(input_features=windows(1))
    assert cache.named("lost") is None
